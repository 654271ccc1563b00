from odoo import api, fields, models

from odoo.addons.report_pdf_engine.exceptions import RETRYABLE  # noqa: F401  for the other models

from ..tools.addresses import strip_emoji


class IrActionsReport(models.Model):
    """Letters are kept with their notices, and each page bears its notice's number."""
    _inherit = 'ir.actions.report'

    archive_generated = fields.Boolean(
        "Archive Generated Documents",
        help="Dunning letters: keep every PDF that was sent or printed for good, unchanged, with its notice. "
             "When this is off, a PDF is removed as soon as it has been delivered or printed.")

    def _is_dunning_letter(self):
        """Whether the report makes the document of dunning notices: one rendering each, and kept."""
        return self.sudo().model == 'dunning.notice'

    @api.private
    def keeps_documents(self):
        return self._is_dunning_letter() or super().keeps_documents()

    @api.private
    def get_kept_documents(self, records):
        """Extends it by letters: one that was handed over, or that there is, is not made again."""
        documents = super().get_kept_documents(records)
        if not self._is_dunning_letter():
            return documents
        records._check_may_be_read()
        for notice in records:
            if notice.document_id or notice._is_frozen():
                # what the user may not read is not printed either
                notice.check_access('read')
                documents[notice.id] = notice._get_document_bytes()
        return documents

    @api.private
    def get_document_numbers(self, records):
        numbers = super().get_document_numbers(records)
        if self._is_dunning_letter():
            numbers.update((notice.id, notice.name) for notice in records if notice.name)
        return numbers

    @api.private
    def prepare_document_html(self, html):
        html = super().prepare_document_html(html)
        return strip_emoji(html) if self._is_dunning_letter() else html

    @api.private
    def explain_resource_error(self, record, error):
        error = super().explain_resource_error(record, error)
        if self._is_dunning_letter():
            return record._find_faulty_text(error) or error
        return error

    @api.model
    @api.private
    def get_picture_models(self):
        return super().get_picture_models() | {'dunning.level.text'}

from odoo import api, models


class IrActionsReport(models.Model):
    """What another addon may say of its own reports. Each is called on one report and may be overridden."""
    _inherit = 'ir.actions.report'

    @api.private
    def keeps_documents(self):
        """Whether an addon keeps the documents of this report itself, each for its record.

        Such documents are made one by one whichever engine makes them, so that none is cut out of a joined PDF;
        `get_kept_documents()` is asked for those that there are, and core's attachments are left alone. A picture or a
        code that can never be shown makes such a document fail; others are printed without it, as core does.

        :return: bool
        """
        self.ensure_one()
        return False

    @api.private
    def get_kept_documents(self, records):
        """Return the documents that must not be made again. Asked where `keeps_documents()`.

        :param records: records of the report's model, in the environment of whoever wants to read them
        :return: dict id of the record -> its PDF as bytes, without those that have none yet
        :raise UserError: one may not be read, or is gone or damaged
        """
        self.ensure_one()
        return {}

    @api.private
    def get_document_numbers(self, records):
        """Return what each page of a record's document must carry, so that no page gets among another's.

        A document is held back if one of its pages does not carry its number, or carries another one of the batch.

        :param records: records of the report's model
        :return: dict id of the record -> its number, without those that are not to be checked
        """
        self.ensure_one()
        return {}

    @api.private
    def prepare_document_html(self, html):
        """Change what the template gave before an engine gets it.

        :param str html: one or several documents
        :return: str
        """
        self.ensure_one()
        return html

    @api.private
    def explain_resource_error(self, record, error):
        """Say where the address comes from that cannot be shown.

        :param record: whose document it is
        :param error: `ResourceError`
        :return: an exception with better words, or `error`
        """
        self.ensure_one()
        return error

    @api.model
    @api.private
    def get_picture_models(self):
        """Return the models whose attachments may be shown in any document: those of texts and layouts.

        :return: set of names of models
        """
        return {'ir.ui.view'}

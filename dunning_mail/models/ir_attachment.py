from odoo import api, models, tools
from odoo.exceptions import UserError
from odoo.tools.misc import clean_context

from ..tools import pdf_pages


class IrAttachment(models.Model):
    _inherit = 'ir.attachment'

    def _get_kept_dunning_documents(self):
        """Return which of these attachments are documents or mails of dunning notices that left the house."""
        candidates = self.filtered(lambda attachment: attachment.res_model == 'dunning.notice')
        if not candidates:
            return candidates
        notices = self.env['dunning.notice'].sudo().search([
            '|', ('document_id', 'in', candidates.ids), ('mail_document_id', 'in', candidates.ids)])
        frozen = notices.filtered(lambda notice: notice._is_frozen())
        return candidates & (frozen.document_id | frozen.mail_document_id)

    def _is_dunning_pdf(self):
        """Whether the file can be read as a PDF, so that it can go along with a letter."""
        self.ensure_one()
        try:
            return self._count_dunning_pages(self.checksum) > 0
        except pdf_pages.PdfError:
            return False

    @tools.ormcache('self.id', 'checksum')
    def _count_dunning_pages(self, checksum):
        """Return how many pages the file has; the checksum makes a changed file another one.

        :raise PdfError: it is no PDF, which is not remembered
        """
        return pdf_pages.count_pages(self.raw or b'')

    @api.model
    def _create_dunning_documents(self, vals_list):
        """Create what notices keep: as superuser, whatever the caller's context gives as defaults.

        :param list vals_list: values of the attachments
        :return: `ir.attachment`
        """
        context = clean_context(self.env.context)
        return self.sudo().with_context(context).create(vals_list)  # pylint: disable=context-overridden

    def _replace_dunning_mail(self, content):
        """Keep a mail as it is about to be handed over: the one thing that changes in it are its stamped headers.

        :param bytes content: the mail
        """
        # As core's own inverse of `raw` does. The notice is not frozen yet: to look that up again for each mail would
        # be a statement more.
        self._set_attachment_data(lambda _attachment: content)

    def _raise_if_kept(self):
        """:raise UserError: a document is part of the evidence of a dunning notice"""
        if kept := self.sudo()._get_kept_dunning_documents():
            raise UserError(self.env._(
                "“%s” is what was sent or printed of a dunning notice. It is kept as it is.", kept[0].name))

    def write(self, vals):
        if {'raw', 'datas', 'db_datas', 'store_fname', 'checksum', 'name', 'mimetype', 'res_model', 'res_id',
                'res_field', 'type', 'url', 'public'} & vals.keys():
            self._raise_if_kept()
        return super().write(vals)

    @api.ondelete(at_uninstall=False)
    def _unlink_except_kept_dunning_documents(self):
        self._raise_if_kept()

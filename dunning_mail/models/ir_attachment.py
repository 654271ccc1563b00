from odoo import api, models
from odoo.exceptions import UserError


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

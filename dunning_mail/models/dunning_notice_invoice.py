from odoo import api, fields, models


class DunningNotice(models.Model):
    """Copies of the overdue invoices, which go along with a notice if its level says so."""
    _inherit = 'dunning.notice'

    attachment_warning = fields.Char(compute='_compute_attachment_warning')

    @api.depends('level_id.attach_invoices', 'state', 'delivery_state', 'line_ids.move_line_id')
    def _compute_attachment_warning(self):
        for notice in self:
            is_open = notice.state == 'draft' or (
                notice.state == 'issued' and notice.delivery_state in ('released', 'paper') and not notice._is_frozen())
            missing = notice._get_invoices_without_pdf() if is_open else None
            notice.attachment_warning = missing and self.env._(
                "No PDF is stored of %s, so no copy goes along. “Send” on the invoice stores one.",
                ', '.join(missing.mapped('name')))

    def _get_attached_invoices(self):
        """Return the due invoices of which the level wants a copy attached."""
        self.ensure_one()
        if not self.level_id.attach_invoices:
            return self.env['account.move']
        due = self.line_ids.filtered(lambda line: line.kind == 'due')
        return due.move_id.sudo().filtered(lambda move: move.is_sale_document(include_receipts=True))

    def _get_invoices_without_pdf(self):
        return self._get_attached_invoices().filtered(lambda move: not move.invoice_pdf_report_id)

    def _get_invoice_documents(self):
        """Return the stored PDFs of the due invoices, where the level says so.

        :return: list of (file name, bytes, MIME type)
        """
        return [
            (attachment.name, attachment.raw, 'application/pdf')
            for attachment in self._get_attached_invoices().invoice_pdf_report_id if attachment.raw]

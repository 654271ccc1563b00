from odoo import api, fields, models


class AccountPayment(models.Model):
    _inherit = 'account.payment'

    dunning_notice_id = fields.Many2one(
        'dunning.notice', compute='_compute_dunning_notice_id', search='_search_dunning_notice_id',
        groups='account.group_account_invoice,account.group_account_readonly',
        help="The notice that this payment names by its reference.")

    @api.depends('memo', 'payment_reference', 'company_id')
    def _compute_dunning_notice_id(self):
        Notice = self.env['dunning.notice']
        for company, payments in self.grouped('company_id').items():
            words = [payment[fname] for payment in payments for fname in ('memo', 'payment_reference')]
            found = Notice._find_by_references(words, company)
            for payment in payments:
                payment.dunning_notice_id = found.get(payment.payment_reference) or found.get(payment.memo)

    def _search_dunning_notice_id(self, operator, value):
        return self.env['dunning.notice']._search_by_payment(operator, value, ('memo', 'payment_reference'))

    def action_open_dunning_notice(self):
        """Open the notice that the payment names."""
        return self.dunning_notice_id.get_formview_action()

    def action_open_dunning_items(self):
        """Open the items that the notice claimed and that are still open, to be reconciled with the payment."""
        return self.dunning_notice_id._get_open_items_action()

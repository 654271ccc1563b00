from odoo import api, fields, models


class AccountBankStatementLine(models.Model):
    _inherit = 'account.bank.statement.line'

    dunning_notice_id = fields.Many2one(
        'dunning.notice', compute='_compute_dunning_notice_id', search='_search_dunning_notice_id',
        groups='account.group_account_invoice,account.group_account_readonly',
        help="The notice that this payment names by its reference.")

    @api.depends('payment_ref', 'company_id')
    def _compute_dunning_notice_id(self):
        Notice = self.env['dunning.notice']
        for company, lines in self.grouped('company_id').items():
            found = Notice._find_by_references(lines.mapped('payment_ref'), company)
            for line in lines:
                line.dunning_notice_id = found.get(line.payment_ref)

    def _search_dunning_notice_id(self, operator, value):
        return self.env['dunning.notice']._search_by_payment(operator, value, ('payment_ref',))

    def action_open_dunning_notice(self):
        """Open the notice that the bank line names."""
        return self.dunning_notice_id.get_formview_action()

    def action_open_dunning_items(self):
        """Open the items that the notice claimed and that are still open, to be reconciled with the bank line."""
        return self.dunning_notice_id._get_open_items_action()

    def action_undo_reconciliation(self):
        result = super().action_undo_reconciliation()
        if assigned := self.move_id.sudo().filtered('dunning_settled_ids'):
            self.env['dunning.promise']._do_alone(assigned, '_drop_settled')
        return result

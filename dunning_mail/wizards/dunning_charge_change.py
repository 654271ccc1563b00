from odoo import api, fields, models


class DunningChargeChange(models.TransientModel):
    """Asks for the reason, and where it is wanted the amount, before something is done to charges."""
    _name = 'dunning.charge.change'
    _description = 'Change of Dunning Charges'
    _inherit = ['dunning.guard']

    action = fields.Selection(
        [('change', 'Change Charge'), ('add', 'Add Charge'), ('waive', 'Waive'), ('settle', 'Settled'),
         ('reinstate', 'Reinstate')], required=True)
    charge_ids = fields.Many2many('dunning.charge')
    notice_id = fields.Many2one('dunning.notice')
    kind = fields.Selection([('cost', 'Costs'), ('fee', 'Fee')], default='cost')
    currency_id = fields.Many2one('res.currency', compute='_compute_currency_id')
    amount = fields.Monetary()
    total = fields.Char(compute='_compute_total')
    reason = fields.Char(required=True)

    def _get_writable_fields(self):
        return super()._get_writable_fields() | {'action', 'charge_ids', 'notice_id', 'kind', 'amount', 'reason'}

    @api.depends('charge_ids', 'notice_id')
    def _compute_currency_id(self):
        for change in self:
            change.currency_id = change.notice_id.currency_id or change.charge_ids.currency_id[:1]

    @api.depends('charge_ids')
    def _compute_total(self):
        for change in self:
            change.total = ', '.join(
                currency.format(sum(charge.amount or charge.amount_calculated for charge in charges))
                for currency, charges in change.charge_ids.grouped('currency_id').items())

    def action_apply(self):
        """Do it.

        :raise UserError: a charge is not in a state in which it can be done
        :raise AccessError: the user may not waive so much
        """
        self.ensure_one()
        match self.action:
            case 'add':
                self.notice_id._add_charge_by_hand(self.kind, self.amount, self.reason)
            case 'change':
                self.charge_ids._change_amount(self.amount, self.reason)
            case 'waive':
                self.charge_ids._waive(self.reason)
            case 'settle':
                self.charge_ids._settle(self.reason)
            case 'reinstate':
                self.charge_ids._reinstate(self.reason)
        return {'type': 'ir.actions.act_window_close'}

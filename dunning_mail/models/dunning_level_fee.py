from odoo import api, fields, models
from odoo.exceptions import ValidationError


class DunningLevelFee(models.Model):
    """What a level costs: a row for each currency, kind of debtor and amount from which it holds.

    All is measured on the notice's overdue items less credits. The row with the highest amount that is reached holds;
    where the notice's currency has none, those of the company's currency do.
    """
    _name = 'dunning.level.fee'
    _description = 'Dunning Fee'
    _inherit = ['dunning.shared']
    _order = 'level_id, currency_id, debtor, amount_from, id'
    _rec_name = 'level_id'

    level_id = fields.Many2one('dunning.level', required=True, ondelete='cascade', index=True)
    company_id = fields.Many2one(related='level_id.company_id', store=True, index=True)
    currency_id = fields.Many2one(
        'res.currency', ondelete='restrict', help="Empty: the company's, of each company that uses the level.")
    amount_currency_id = fields.Many2one('res.currency', compute='_compute_amount_currency_id')
    debtor = fields.Selection(
        [('all', 'All'), ('business', 'Businesses'), ('consumer', 'Consumers')], required=True, default='all')
    amount_from = fields.Monetary("From Amount", currency_field='amount_currency_id')
    fixed = fields.Monetary("Fixed Amount", currency_field='amount_currency_id')
    percent = fields.Float("Per Cent", digits=(16, 4))
    minimum = fields.Monetary("At Least", currency_field='amount_currency_id')
    maximum = fields.Monetary("At Most", currency_field='amount_currency_id', help="0: no limit.")

    _not_negative = models.Constraint(
        'CHECK(COALESCE(amount_from, 0) >= 0 AND COALESCE(fixed, 0) >= 0 AND COALESCE(percent, 0) >= 0 '
        'AND COALESCE(minimum, 0) >= 0 AND COALESCE(maximum, 0) >= 0)',
        "The amounts of a dunning fee cannot be negative.")

    def _get_writable_fields(self):
        return super()._get_writable_fields() | {
            'level_id', 'currency_id', 'debtor', 'amount_from', 'fixed', 'percent', 'minimum', 'maximum'}

    def _get_shared_owner(self):
        return self.level_id.procedure_id

    @api.depends_context('company')
    @api.depends('currency_id', 'company_id')
    def _compute_amount_currency_id(self):
        for fee in self:
            fee.amount_currency_id = fee.currency_id or (fee.company_id or self.env.company).currency_id

    @api.constrains('level_id', 'currency_id', 'debtor', 'amount_from', 'percent', 'minimum', 'maximum')
    def _check_rows(self):
        for fee in self:
            names = {'level': fee.level_id.name}
            if fee.maximum and fee.maximum < fee.minimum:
                raise ValidationError(self.env._(
                    "A fee of dunning level “%(level)s” is at most less than at least.", **names))
            if fee.percent > 100:
                raise ValidationError(self.env._(
                    "A fee of dunning level “%(level)s” is more than 100 per cent of what is overdue.", **names))
            others = (fee.level_id.fee_ids - fee).filtered(lambda other, fee=fee: (
                (other.currency_id, other.debtor) == (fee.currency_id, fee.debtor)
                and not fee.amount_currency_id.compare_amounts(other.amount_from, fee.amount_from)))
            if others:
                raise ValidationError(self.env._(
                    "Dunning level “%(level)s” has two fees for the same currency, debtors and amount: only one can "
                    "hold.", **names))

from odoo import api, fields, models
from odoo.exceptions import UserError


class DunningRunException(models.Model):
    """An overdue customer or item that a run does not dun, and why."""
    _name = 'dunning.run.exception'
    _description = 'Dunning Run Exception'
    _inherit = ['dunning.guard']
    _order = 'run_id, reason, partner_id, date_due, id'
    _rec_name = 'description'
    # Made anew with each proposal, by the thousand.
    _log_access = False

    run_id = fields.Many2one('dunning.run', required=True, ondelete='cascade', index=True)
    company_id = fields.Many2one(related='run_id.company_id')
    partner_id = fields.Many2one('res.partner', string="Customer", ondelete='cascade', index='btree_not_null')
    move_line_id = fields.Many2one('account.move.line', string="Item", ondelete='cascade', index='btree_not_null')
    move_id = fields.Many2one(related='move_line_id.move_id', string="Invoice")
    document = fields.Char("Documents")
    notice_id = fields.Many2one(
        'dunning.notice', ondelete='cascade', index='btree_not_null', help="From which a person left it out.")
    line_values = fields.Json(help="How the line stood on its notice, to put it back.")
    can_put_back = fields.Boolean(compute='_compute_can_put_back')
    can_book = fields.Boolean(compute='_compute_can_book', help="Payments left money for its charges.")
    currency_id = fields.Many2one('res.currency')
    amount = fields.Monetary()
    date_due = fields.Date("Due Date")
    reason = fields.Selection([
        ('no_followup', "Excluded from follow-up"),
        ('partner_hold', "Customer on hold"),
        ('item_hold', "Invoice on hold"),
        ('resting', "Rests"),
        ('reserved', "On another open notice"),
        ('archived', "Customer archived"),
        ('no_due_date', "No due date"),
        ('in_payment', "In payment"),
        ('blocked', "Blocked"),
        ('direct_debit', "Direct debit"),
        ('no_procedure', "No dunning procedure"),
        ('unusable_procedure', "Dunning procedure not in use"),
        ('no_partner', "No customer"),
        ('covered', "Covered by credits"),
        ('on_its_way', "Payment on its way"),
        ('outgoing', "Paid out to the customer"),
        ('hint', "Dunned, but look first"),
        ('charges', "Only charges are open"),
        ('not_yet', "Not yet due for the next level"),
        ('grace', "Within days of grace"),
        ('last_level', "Last level reached"),
        ('below_minimum', "Below minimum amount"),
        ('no_rate', "No exchange rate"),
        ('excluded', "Excluded by hand"),
        ('taken_out', "Taken out by hand"),
    ], required=True)
    description = fields.Char("In Words", required=True)

    @api.depends('notice_id.state')
    def _compute_can_put_back(self):
        for exception in self:
            notice = exception.notice_id
            exception.can_put_back = notice.state == ('excluded' if exception.reason == 'excluded' else 'draft')

    def _compute_can_book(self):
        self.can_book = False
        if charges := self._find_charges():
            covered = self.env['dunning.charge'].union(*charges.sudo()._read_covers().values())
            keys = {self._get_charge_key(charge) for charge in charges if charge in covered}
            for exception in self.filtered(lambda exception: exception.reason == 'charges'):
                exception.can_book = (exception.company_id, exception.partner_id, exception.currency_id) in keys

    def action_put_back(self):
        """Put what a person left out back on its notice.

        :raise UserError: the notice has been issued, or the item is on another one or settled meanwhile
        """
        for exception in self:
            if not exception.can_put_back:
                raise UserError(self.env._("%s cannot be put back any more.", exception.document))
            if exception.reason == 'excluded':
                exception.notice_id.action_include()
            else:
                exception.notice_id._put_line_back(exception)

    def action_claim(self):
        """Say that the customer owes money that was paid out to it: the next proposal duns it like an invoice.

        :raise UserError: the item is no longer open
        """
        self.env['dunning.notice'].check_access('write')
        for exception in self.filtered(lambda exception: exception.reason == 'outgoing'):
            item = exception.move_line_id.sudo()
            if item.reconciled:
                raise UserError(self.env._("%s is settled meanwhile.", exception.document))
            item.dunning_is_claim = True
            item.move_id._message_log(body=self.env._(
                "%(user)s said that the customer owes this: it is dunned like an invoice.", user=self.env.user.name))
            exception.sudo().description = self.env._(
                "The customer owes it, says %s. Generate the notices again.", self.env.user.name)

    def action_waive_all(self):
        """Ask for the reason why all charges of customers are given up of whom nothing else is open."""
        return self._find_charges().action_waive()

    def action_settle_all(self):
        """Ask for the reason why all charges of customers count as paid of whom nothing else is open."""
        return self._find_charges().action_settle()

    def action_book_charges(self):
        """Book the charges for which payments left money, and reconcile them with it.

        :raise UserError: no payment has left anything, or they cannot be booked
        :raise AccessError: the user keeps no books
        """
        self._find_charges()._book_covered()

    def _find_charges(self):
        """Return the charges of customers of whom nothing else is open."""
        exceptions = self.filtered(lambda exception: exception.reason == 'charges')
        charges = self.env['dunning.charge'].search([
            ('state', 'in', ('claimed', 'booked')), ('company_id', 'in', exceptions.company_id.ids),
            ('partner_id.commercial_partner_id', 'in', exceptions.partner_id.ids)])
        keys = {(exception.company_id, exception.partner_id, exception.currency_id) for exception in exceptions}
        return charges.filtered(lambda charge: self._get_charge_key(charge) in keys)

    @api.model
    def _get_charge_key(self, charge):
        return charge.company_id, charge.partner_id.commercial_partner_id, charge.currency_id

    def action_start_again(self):
        """Ask for the reason why the item starts again at the first level."""
        return self.move_line_id._get_dunning_restart_action()

    def action_open_record(self):
        """Open the invoice, the customer where the reason concerns all of them, or what has no customer."""
        self.ensure_one()
        if self.reason == 'no_partner':
            return {
                'type': 'ir.actions.act_window',
                'name': self.env._("Items Without a Customer"),
                'res_model': 'account.move.line',
                'view_mode': 'list,form',
                'domain': [
                    ('partner_id', '=', False), ('parent_state', '=', 'posted'), ('reconciled', '=', False),
                    ('account_type', '=', 'asset_receivable'), ('account_id.non_trade', '=', False),
                    ('amount_residual_currency', '>', 0), ('currency_id', '=', self.currency_id.id),
                    ('company_id', 'child_of', self.company_id.id),
                    '|', ('date_maturity', '<=', self.run_id._get_due_until()),
                    '&', ('date_maturity', '=', False), ('date', '<=', self.run_id._get_due_until())],
                'context': {'create': False},
            }
        return (self.move_id or self.partner_id).get_formview_action()

import math
from datetime import timedelta

import pytz
from dateutil.relativedelta import relativedelta

from odoo import api, fields, models
from odoo.exceptions import UserError
from odoo.tools import format_list

from ..models.dunning_promise_making import MAX_LINES
from ..models.res_company_rest import MAX_DAYS
from ..tools import promise as tools

# Days looked at for one on which people work.
MAX_WAIT = 31


class DunningPromiseMake(models.TransientModel):
    """Takes down what a customer promises: amount and date, or a plan."""
    _name = 'dunning.promise.make'
    _description = 'Promise to Pay'
    _inherit = ['dunning.guard']

    partner_id = fields.Many2one('res.partner', string="Customer", compute='_compute_of_items')
    company_id = fields.Many2one('res.company', compute='_compute_of_items')
    currency_id = fields.Many2one('res.currency', compute='_compute_of_items')
    previous_id = fields.Many2one('dunning.promise', string="Extends", domain=[('state', '=', 'open')])
    item_ids = fields.Many2many('account.move.line', string="Items", required=True)
    amount = fields.Monetary(required=True)
    date = fields.Date("First Payment On", required=True)
    count = fields.Integer("Instalments", default=1)
    instalment = fields.Monetary(
        "Amount of an Instalment", help="In place of their number; the last one takes the rest.")
    period = fields.Selection([('week', 'Weekly'), ('month', 'Monthly')], default='month', required=True)
    line_ids = fields.One2many('dunning.promise.make.line', 'make_id', string="Payments")
    source = fields.Selection(
        selection=lambda self: self.env['dunning.promise']._fields['source'].selection, default='phone', required=True)
    note = fields.Text("The Customer's Words")
    falls_due_whole = fields.Boolean(
        "Falls Due as a Whole", default=True, help="Once an instalment is late, the whole plan is over.")
    stops_interest = fields.Boolean(
        "Interest Stops",
        help="What is promised bears no interest on arrears from today on. Once the promise is not kept, it counts "
             "again from that day on. Otherwise it goes on, and all of it is claimed once the promise is not kept.")
    with_charges = fields.Boolean(
        help="Fees, interest and costs that notices ask for beside these items are promised too. Money settles the "
             "items first.")
    amount_charges = fields.Monetary("Charges", compute='_compute_of_items')
    missed_count = fields.Integer("Promises Not Kept", compute='_compute_of_items')

    def _get_writable_fields(self):
        return super()._get_writable_fields() | {
            'previous_id', 'item_ids', 'amount', 'date', 'count', 'instalment', 'period', 'line_ids', 'source', 'note',
            'falls_due_whole', 'stops_interest', 'with_charges'}

    @api.model
    def _get_action(self, records):
        """Return the action that opens the dialog for customers, notices, invoices or items."""
        return {
            'type': 'ir.actions.act_window', 'name': self.env._("Promise to Pay"), 'res_model': self._name,
            'view_mode': 'form', 'target': 'new',
            'context': {'active_model': records._name, 'active_ids': records.ids, 'active_id': records[:1].id}}

    @api.depends('item_ids')
    def _compute_of_items(self):
        for make in self:
            items = make.item_ids._origin.sudo()
            make.partner_id = items[:1].partner_id.commercial_partner_id
            make.company_id = items[:1].company_id
            make.currency_id = items[:1].currency_id
            make.amount_charges = sum(self.env['dunning.promise']._get_charges_due(items).values())
            make.missed_count = make.partner_id and self.env['dunning.promise']._count_missed(
                make.partner_id, make.company_id)

    @api.model
    def default_get(self, fields_list):
        values = super().default_get(fields_list)
        if 'item_ids' not in fields_list or values.get('item_ids'):
            return values
        model, ids = self.env.context.get('active_model'), self.env.context.get('active_ids') or ()
        previous = self.env['dunning.promise']
        if model == 'dunning.promise':
            previous = previous.browse(ids)[:1]
        else:
            items = self.env['dunning.dispute']._find_active_items(model, ids)
            covering = previous.search([('item_ids', 'in', items.ids), ('state', '=', 'open')])
            if covering and items <= covering.item_ids:
                previous = covering
                if len(previous) > 1:
                    raise UserError(self.env._(
                        "All of this is promised already: %s. Press “Extend” on the promise that changes.",
                        format_list(self.env, previous.mapped(
                            lambda promise: f'{promise.display_name} ({promise.move_names})'))))
            # One company, one currency: what most is owed in.
            groups = (items - covering.item_ids).grouped(lambda item: (item.company_id, item.currency_id))
            items = max(groups.values(), key=lambda group: sum(group.mapped('amount_residual')), default=items.browse())
        if previous:
            items = self.env['account.move.line']._find_dunning_debits(previous.item_ids)
            values.update(
                previous_id=previous.id, stops_interest=previous.stops_interest,
                with_charges=bool(previous.sudo().charges))
        company = items[:1].company_id or self.env.company
        values.update(
            item_ids=[fields.Command.set(items.ids)], amount=self._get_amount(items, values.get('with_charges')),
            date=self._get_working_day(
                company._get_dunning_day() + timedelta(days=company.sudo().dunning_promise_days), company))
        return values

    @api.model
    def _get_amount(self, items, with_charges=False):
        promises = self.env['dunning.promise']
        charges = sum(promises._get_charges_due(items).values()) if with_charges else 0.0
        return items.currency_id[:1].round(promises._get_amount_wanted(items) + charges) if items else 0.0

    @api.onchange('item_ids', 'with_charges')
    def _onchange_item_ids(self):
        self.amount = self._get_amount(self.item_ids._origin, self.with_charges)

    @api.onchange('amount', 'date', 'count', 'instalment', 'period', 'item_ids', 'with_charges')
    def _onchange_plan(self):
        self.line_ids = [fields.Command.clear()]
        if (self.date and not self._is_too_far() and self.amount > 0 and self.currency_id
                and 1 <= self._get_count() <= MAX_LINES):
            self.line_ids = [
                fields.Command.create({'date': day, 'amount': amount}) for day, amount in self._plan_lines()]

    def _is_too_far(self):
        return self.date > (self.company_id or self.env.company)._get_dunning_day() + timedelta(days=MAX_DAYS)

    def _get_count(self):
        if self.instalment > 0:
            return math.ceil(round(self.amount / self.instalment, 6))
        return self.count

    def _plan_lines(self):
        """Return the payments as number, period and amount make them: list of (day, amount)."""
        self.ensure_one()
        if self._is_too_far():
            return [(self.date, self.amount)]
        count = self._get_count()
        if not 1 <= count <= MAX_LINES:
            raise UserError(self.env._("A plan has 1 to %s instalments.", MAX_LINES))
        if self.instalment > 0:
            amounts = [self.instalment] * (count - 1)
            amounts.append(self.currency_id.round(self.amount - sum(amounts)))
        else:
            amounts = tools.split(self.amount, count, self.currency_id.round)
        steps = (relativedelta(weeks=number) if self.period == 'week' else relativedelta(months=number)
                 for number in range(count))
        return [(self._get_working_day(self.date + step, self.company_id), amount)
                for step, amount in zip(steps, amounts, strict=True)]

    @api.model
    def _get_working_day(self, day, company):
        """Return the day, or the next one on which the company works."""
        calendar = company.sudo().resource_calendar_id
        if not calendar:
            return day
        start = fields.Datetime.to_datetime(day)
        tz = pytz.timezone(company._get_dunning_tz())
        start = tz.localize(start)
        intervals = calendar._work_intervals_batch(start, start + timedelta(days=MAX_WAIT))[False]
        return next((begin.date() for begin, _end, _meta in intervals), day)

    def action_make(self):
        """Make the promise.

        :raise UserError: it cannot be: names what does not fit
        """
        self.ensure_one()
        lines = [(line.date, line.amount) for line in self.line_ids] or self._plan_lines()
        promise = self.env['dunning.promise']._make(
            self.item_ids, lines, self.previous_id, self.with_charges, source=self.source, note=self.note or False,
            falls_due_whole=self.falls_due_whole and len(lines) > 1, stops_interest=self.stops_interest)
        self.env['dunning.notice']._handle_answers_of_context(promise.item_ids)
        return promise.get_formview_action()


class DunningPromiseMakeLine(models.TransientModel):
    _name = 'dunning.promise.make.line'
    _description = 'Payment of a Promise to Be Made'
    _inherit = ['dunning.guard']
    _order = 'date, id'

    make_id = fields.Many2one('dunning.promise.make', string="Promise", required=True, ondelete='cascade')
    currency_id = fields.Many2one(related='make_id.currency_id')
    date = fields.Date(required=True)
    amount = fields.Monetary(required=True)

    def _get_writable_fields(self):
        return super()._get_writable_fields() | {'make_id', 'date', 'amount'}

import logging
from collections import defaultdict
from datetime import date
from functools import lru_cache
from typing import NamedTuple

from odoo import api, fields, models
from odoo.exceptions import UserError, ValidationError
from odoo.tools import SQL, format_amount, format_date

from ..tools import promise as tools
from ..tools.debt import Rest
from ..tools.rest import Shared
from .ir_actions_report import RETRYABLE

_logger = logging.getLogger(__name__)

# What credits are known by: payments that have an entry by now as they were before.
CREDIT_KEY = SQL(
    "CASE WHEN credit.payment_id IS NULL THEN 'line-' || credit.id ELSE 'payment-' || credit.payment_id END")

# How often something is tried, where others are in the way.
CONFLICTS = 3


class Facts(NamedTuple):
    """What the books say of a promise.

    :ivar terms: :class:`~.promise.Promise`
    :ivar money: :class:`~.promise.Money`
    :ivar items: list of (id of the `account.move.line`, due date, what is open)
    :ivar state: of the promise, as it was valued last
    :ivar made: the day of the promise
    :ivar stops_interest: what is promised bears none any more
    :ivar before: what of credits and payments was there when it was promised, by the keys of
        :class:`~.dunning_promise_money.Incoming`
    :ivar paid_before: what each credit had paid of each item when it was promised
    :ivar charges: what was asked for of each charge that is promised too
    """
    terms: tools.Promise
    money: tools.Money
    items: list
    state: str
    made: date
    stops_interest: bool
    before: dict
    paid_before: dict
    charges: dict


class DunningPromise(models.Model):
    """A customer has promised to pay: by a day, or in instalments, which makes it a plan.

    What it promises rests as long as it is not late. What has become of it is derived from the ledger, and never
    written by a person: whenever something is reconciled with its items or set free again, and each morning.

    ========= ============================================================================
    state     means
    ========= ============================================================================
    open      not all has come, and something is not late yet
    kept      all came in time, or nothing of its items is open any more
    partly    over, and something came
    broken    over, and nothing came
    cancelled given up by a person, or replaced by the one that extends it
    ========= ============================================================================
    """
    _name = 'dunning.promise'
    _description = 'Promise to Pay'
    _inherit = ['dunning.resting', 'dunning.guard', 'mail.thread', 'mail.activity.mixin']
    _order = 'date desc, id desc'

    partner_id = fields.Many2one(
        'res.partner', string="Customer", required=True, readonly=True, index=True, ondelete='restrict')
    company_id = fields.Many2one('res.company', required=True, readonly=True, index=True)
    currency_id = fields.Many2one('res.currency', required=True, readonly=True)
    user_id = fields.Many2one('res.users', string="Clerk", required=True, tracking=True, index=True)
    date = fields.Date("Promised On", required=True, readonly=True)
    source = fields.Selection(
        [('phone', 'Telephone'), ('mail', 'Mail'), ('letter', 'Letter'), ('page', "Customer's page")],
        required=True, readonly=True, default='phone')
    note = fields.Text("The Customer's Words", readonly=True)
    item_ids = fields.Many2many(
        'account.move.line', 'dunning_promise_item_rel', 'promise_id', 'item_id', string="Items", readonly=True)
    move_names = fields.Char("Documents", compute='_compute_move_names')
    opened = fields.Json(readonly=True, help="What was open of each item when it was promised.")
    paid_before = fields.Json(readonly=True, help="What each payment had paid of each item when it was promised.")
    there_before = fields.Json(
        readonly=True, help="What was there of credits and payments when it was promised, and was for no item yet: "
                            "nothing of it pays what is promised.")
    credited_before = fields.Monetary(
        readonly=True, help="Credit notes that were reconciled with the items when it was promised.")
    line_ids = fields.One2many('dunning.promise.line', 'promise_id', string="Instalments", readonly=True)
    amount = fields.Monetary("Promised", compute='_compute_amount', store=True)
    falls_due_whole = fields.Boolean(
        "Falls Due as a Whole", readonly=True, help="Once an instalment is late, the whole plan is over.")
    stops_interest = fields.Boolean(
        "Interest Stops", readonly=True,
        help="What is promised bears no interest on arrears from the day of the promise on. Once it is not kept, "
             "interest counts again from the day on which it is over; what was given up until then stays so.")
    stopped = fields.Json(readonly=True, help="How much of each item bears no interest any more.")
    date_ended = fields.Date(
        readonly=True, help="The day on which it was known to be kept, or given up; of one that was not kept, the last "
                            "day on which it could have been. After it, interest is stopped no longer by it.")
    state = fields.Selection(
        [('open', 'Open'), ('kept', 'Kept'), ('partly', 'Kept in Part'), ('broken', 'Not Kept'),
         ('cancelled', 'Cancelled')], required=True, default='open', readonly=True, tracking=True, index=True)
    late_count = fields.Integer(readonly=True, help="Instalments that were late when it was valued last.")
    is_missed = fields.Boolean("Was Late", readonly=True, help="Something of it came too late, or not at all.")
    amount_received = fields.Monetary(
        "Received", readonly=True,
        help="What was open of its items when it was made, less what is open now. Credit notes are in it: they are no "
             "broken promise.")
    next_date = fields.Date("Next Payment", readonly=True)
    previous_id = fields.Many2one(
        'dunning.promise', string="Extends", readonly=True, ondelete='set null', index='btree_not_null')

    @api.depends('line_ids.amount')
    def _compute_amount(self):
        for promise in self:
            promise.amount = sum(promise.line_ids.mapped('amount'))

    @api.depends('item_ids')
    def _compute_move_names(self):
        for promise in self:
            promise.move_names = ', '.join(promise.sudo().item_ids.move_id.mapped(lambda move: move.name or ''))

    @api.depends('partner_id', 'date')
    def _compute_display_name(self):
        for promise in self:
            promise.display_name = self.env._(
                "Promise of %(day)s, %(partner)s", day=format_date(self.env, promise.date),
                partner=promise.partner_id.name or '')

    def _get_writable_fields(self):
        # What was said stays said: an extension is a promise of its own.
        return super()._get_writable_fields() | ({'user_id'} if self else set())

    @api.constrains('user_id', 'company_id')
    def _check_user(self):
        for promise in self:
            if promise.company_id not in promise.sudo().user_id.company_ids:
                raise ValidationError(self.env._(
                    "%(user)s does not work in %(company)s.", user=promise.user_id.name,
                    company=promise.company_id.name))

    # === FROM THE LEDGER === #

    @api.model
    def _read_facts(self, condition, with_parts=True):
        """Read what the books say of promises.

        An item that is not posted any more, or has become another customer's, is not this promise's matter: neither is
        it open, nor was it.

        :param condition: :class:`~odoo.tools.SQL` on the promise `p`
        :param bool with_parts: read too on which days something was paid
        :return: dict promise id -> :class:`Facts`
        """
        self.flush_model()
        for name in ('account.move.line', 'account.partial.reconcile', 'dunning.promise.line'):
            self.env[name].flush_model()
        self.env['res.partner'].flush_model(['commercial_partner_id'])
        self.env['res.company'].flush_model(['dunning_promise_grace_days'])
        found, of_item = {}, defaultdict(list)
        for (promise_id, state, made, stops, there, paid_before, charges, whole, grace, rounding, before, item_id, due,
             left, opened, restored, credited) in (
                self.env.execute_query(SQL(
                    """
                    SELECT p.id, p.state, p.date, COALESCE(p.stops_interest, FALSE), p.there_before, p.paid_before,
                           p.charges, COALESCE(p.falls_due_whole, FALSE), c.dunning_promise_grace_days,
                           currency.rounding::float, COALESCE(p.credited_before, 0)::float, aml.id,
                           COALESCE(aml.date_maturity, aml.date), GREATEST(aml.amount_residual_currency, 0)::float,
                           (p.opened ->> aml.id::text)::float, (
                           SELECT COALESCE(SUM(GREATEST(0, before.value::float - (
                                  SELECT COALESCE(SUM(part.debit_amount_currency), 0)::float
                                    FROM account_partial_reconcile part
                                   WHERE part.debit_move_id = aml.id AND part.credit_move_id = before.key::int))), 0)
                             FROM jsonb_each_text(p.paid_before -> aml.id::text) before), (
                           SELECT SUM(part.debit_amount_currency)::float
                             FROM account_partial_reconcile part
                             JOIN account_move_line refund ON refund.id = part.credit_move_id
                             JOIN account_move move ON move.id = refund.move_id AND move.move_type = 'out_refund'
                            WHERE part.debit_move_id = aml.id)
                      FROM dunning_promise p
                      JOIN res_company c ON c.id = p.company_id
                      JOIN res_currency currency ON currency.id = p.currency_id
                      JOIN res_partner own ON own.id = p.partner_id
                      LEFT JOIN (dunning_promise_item_rel rel
                           JOIN account_move_line aml ON aml.id = rel.item_id AND aml.parent_state = 'posted'
                           JOIN res_partner debtor ON debtor.id = aml.partner_id
                      ) ON rel.promise_id = p.id AND debtor.commercial_partner_id = own.commercial_partner_id
                     WHERE %s
                    """, condition))):
            if promise_id not in found:
                terms = tools.Promise([], grace or 0, whole, rounding)
                found[promise_id] = Facts(
                    terms, tools.Money(0.0, 0.0, -before, []), [], state, made, stops, there or {}, paid_before or {},
                    charges or {})
            facts = found[promise_id]
            if item_id:
                facts.items.append((item_id, due, left))
                of_item[item_id].append(facts)
                facts.money.opened += opened or 0.0
                facts.money.restored += restored
                facts.money.left += left
                facts.money.credited += credited or 0.0
        for facts in found.values():
            facts.money.credited = max(0.0, facts.money.credited)
        self._take_off_there(of_item)
        if any(facts.charges for facts in found.values()):
            self._load_charges(found)
        for promise_id, day, amount in self.env.execute_query(SQL(
                "SELECT promise_id, date, amount::float FROM dunning_promise_line WHERE promise_id = ANY(%s) "
                "ORDER BY date, id", list(found))) if found else ():
            found[promise_id].terms.lines.append((day, amount))
        for item_id, key, day, amount in self.env.execute_query(SQL(
                """
                SELECT part.debit_move_id, %s, part.max_date, part.debit_amount_currency::float
                  FROM account_partial_reconcile part
                  JOIN account_move_line credit ON credit.id = part.credit_move_id
                  JOIN account_move move ON move.id = credit.move_id AND move.move_type <> 'out_refund'
                 WHERE part.debit_move_id = ANY(%s) AND part.debit_amount_currency <> 0
                """, CREDIT_KEY, list(of_item))) if of_item and with_parts else ():
            for facts in of_item[item_id]:
                if key not in facts.before:
                    facts.money.parts.append(tools.Part(day, amount))
        return found

    @api.model
    def _get_resting(self, items, day):
        found = self._read_facts(SQL(
            "p.state IN ('open', 'partly', 'broken') AND p.id IN (SELECT promise_id FROM dunning_promise_item_rel "
            "WHERE item_id = ANY(%s))", items.ids), with_parts=False)
        asked, rests = set(items.ids), []
        describe = lru_cache(None)(lambda until: self.env._("Promised until %s.", format_date(self.env, until)))
        describe_missed = lru_cache(None)(
            lambda made: self.env._("Promise of %s not kept.", format_date(self.env, made)))
        self._load_on_way({
            promise_id: facts for promise_id, facts in found.items()
            if facts.state == 'open' and facts.terms.find_late(facts.money, day)})
        for facts in found.values():
            terms, money = facts.terms, facts.money
            is_missed = facts.state != 'open' or bool(terms.find_late(money, day))
            if is_missed:
                rests += [Rest(line_id, 0.0, None, describe_missed(facts.made))
                          for line_id, _due, _left in facts.items if line_id in asked]
            # What comes pays the items first: what is promised for charges rests last.
            if facts.state == 'open' and (
                    resting := max(0.0, terms.get_resting(money, day) - money.charges)) >= terms.nothing:
                until = terms.get_limit(terms.lines[-1][0])
                rests.append(Shared(
                    tuple(facts.items), resting, until, describe(terms.lines[-1][0]),
                    stops_interest=facts.stops_interest))
        return rests

    # === VALUING === #

    def _value(self):
        """Find out what has become of these promises, and ask a person where one is not kept."""
        found = self.sudo()._read_facts(SQL("p.id = ANY(%s) AND p.state <> 'cancelled'", self.ids))
        for promise in self.sudo().browse(found):
            self._do_alone(promise, '_apply_facts', found[promise.id])

    def _apply_facts(self, facts):
        """Write what has become of a promise.

        :param facts: :class:`Facts`
        """
        self.ensure_one()
        today = self.company_id._get_dunning_day(user=self.user_id)
        terms, money = facts.terms, facts.money
        if not facts.items or not terms.lines:
            if not terms.lines or terms.get_limit(terms.lines[-1][0]) < today:
                self._cancel(self.env._("None of its items is the customer's open item any more."))
            return
        if terms.find_late(money, today) or money.charges:
            self._load_on_way({self.id: facts})
        state, late = terms.value(money, today), len(terms.find_late(money, today))
        # Of what is over, nobody asks when the days of its other instalments come.
        is_news = late > self.late_count and self.state in ('open', 'kept')
        was_missed = self.is_missed
        values = {
            'state': state, 'is_missed': bool(late), 'late_count': late,
            'amount_received': self.currency_id.round(money.received),
            'next_date': (state == 'open' and terms.get_next_day(money)) or False}
        if state == 'kept':
            values['date_ended'] = self.date_ended or today
        else:
            # Whenever that became known: from the next day on the customer is in default again.
            values['date_ended'] = state != 'open' and terms.get_end(terms.find_late(money, today))
        changed = {fname: value for fname, value in values.items() if self[fname] != value}
        if changed:
            self.write(changed)
        if state != 'open':
            self._drop_drafts()
        if was_missed and (is_news or not late):
            self.activity_unlink(['dunning_mail.mail_activity_promise'])
        if is_news:
            self._ask_about_missed()

    def _ask_about_missed(self):
        self.ensure_one()
        user = self.company_id._get_dunning_responsible(self.user_id)
        promise = self.with_context(lang=user.lang)
        promise.activity_schedule(
            'dunning_mail.mail_activity_promise', user_id=user.id,
            summary=promise.env._("Promise not kept: %s", self.partner_id.display_name),
            note=promise.env._(
                "Promised: %(amount)s for %(items)s. Received: %(received)s. What does not rest any more is in the "
                "next dunning run.", items=self.move_names,
                amount=format_amount(promise.env, self.amount, self.currency_id),
                received=format_amount(promise.env, self.amount_received, self.currency_id)))

    @api.model
    def _value_of_items(self, line_ids):
        """Something was reconciled with items, or set free: find out what that makes of the promises for them.

        What hinders that must not keep anybody from accounting.

        :param line_ids: ids of `account.move.line`
        """
        promises = self.sudo().search([('item_ids', 'in', list(line_ids)), ('state', '!=', 'cancelled')])
        if promises:
            self._do_alone(promises, '_value')

    @api.model
    def _do_alone(self, records, method, *args):
        """Do something with records; a fault of it does not stop what else is to be done.

        :param str method: name of the method
        """
        # What others have left to write is theirs: a fault of it must not pass for one of these records.
        self.env.flush_all()
        try:
            with self.env.cr.savepoint():
                getattr(records, method)(*args)
        except RETRYABLE:
            raise
        except Exception:
            _logger.exception("%s of %s failed", method, records)

    @api.model
    def _do_each(self, records, method):
        """Do something with each of many records, in a transaction of its own; once more where others were in the way.
        Outside of a job it is all one transaction, which is the caller's.

        :param records: a recordset, or several that are each done at once
        :param str method: name of the method
        """
        is_job = bool(self.env.context.get('cron_id'))
        for record in records:
            for _attempt in range(CONFLICTS):
                try:
                    self._do_alone(record, method)
                    if is_job:
                        self.env['ir.cron']._commit_progress(1)
                    break
                except RETRYABLE:
                    if self.env.cr.closed or not is_job:
                        raise
                    self.env.cr.rollback()
            else:
                _logger.warning("%s of %s: others were in the way; it is tried with the next pass", method, record)

    @api.model
    def _process(self):
        """Entry of the scheduled action, each morning: what is late now, and which disputes should be decided."""
        self._do_each(self.search([('state', '=', 'open')]), '_value')
        self.env['dunning.dispute']._check_target_days()

    # === WHAT A PERSON DECIDES === #

    def _cancel(self, words):
        """Give promises up: nothing of them rests any more.

        :param str words: why, for the chatter
        """
        for promise in self.sudo():
            promise.write({
                'state': 'cancelled', 'next_date': False,
                'date_ended': promise.company_id._get_dunning_day(user=promise.user_id)})
            promise._drop_drafts()
            promise.activity_unlink(['dunning_mail.mail_activity_promise'])
            promise._message_log(body=words)

    def action_cancel(self):
        """Give up open promises: what they let rest is in the next run again.

        :raise UserError: one is over already
        """
        self.check_access('write')
        if over := self.filtered(lambda promise: promise.state != 'open')[:1]:
            raise UserError(self.env._("%s is over already.", over.display_name))
        self._cancel(self.env._("Cancelled by %s.", self.env.user.name))

    def action_extend(self):
        """Open the dialog for a new promise in place of this one, which stays as it was and is named there."""
        self.ensure_one()
        return {
            'type': 'ir.actions.act_window', 'name': self.env._("Extend Promise"),
            'res_model': 'dunning.promise.make', 'view_mode': 'form', 'target': 'new',
            'context': {'active_model': self._name, 'active_ids': self.ids, 'active_id': self.id}}


class DunningPromiseLine(models.Model):
    """What a customer has promised for one day."""
    _name = 'dunning.promise.line'
    _description = 'Instalment of a Promise'
    _inherit = ['dunning.guard']
    _order = 'promise_id, date, id'

    promise_id = fields.Many2one('dunning.promise', required=True, ondelete='cascade', index=True)
    company_id = fields.Many2one(related='promise_id.company_id')
    currency_id = fields.Many2one(related='promise_id.currency_id')
    date = fields.Date(required=True, readonly=True)
    amount = fields.Monetary(required=True, readonly=True)

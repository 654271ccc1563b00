from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cached_property, lru_cache

from odoo import api, fields, models
from odoo.fields import Domain
from odoo.tools import SQL, format_amount, format_date

NUMBERS_SHOWN = 3
# Stands for the numbers of all items of which the same is to be said.
ITEMS = '\N{OBJECT REPLACEMENT CHARACTER}'
# Journals in which payments are booked.
PAYING_JOURNALS = {'bank', 'cash', 'credit'}
# How lines stand on a notice.
KIND_ORDER = {'due': 1, 'credit': 2, 'info': 3}


@dataclass(eq=False, slots=True)
class Item:
    """An open receivable line as it stands; amounts in its own currency."""
    line_id: int
    move_id: int
    number: str
    partner_id: int
    currency_id: int
    residual: float
    invoiced: float
    date_due: date
    date_invoice: date
    is_payment: bool = False
    blocked_by: tuple[str, str] | None = None
    reserved_by: int = False
    previous_level_id: int = False
    previous_date: date | None = None
    previous_deadline: date | None = None
    previous_notice_id: int = False
    # What credits leave open of it, and which ones took off how much.
    uncovered: float = 0.0
    credit_parts: list[tuple['Item', float]] = field(default_factory=list)
    next_level: 'Step | None' = None
    reason: tuple[str, str] | None = None

    @property
    def is_left_over(self):
        """Whether it is what remains of a payment that was reconciled in part."""
        return self.is_payment and abs(self.residual) < abs(self.invoiced)

    @property
    def is_open(self):
        """Whether the item takes part in setting off credits.

        One on another open notice does: the credit that was set off there cannot be used again.
        """
        return not self.blocked_by or self.blocked_by[0] == 'reserved'


@dataclass(eq=False, slots=True)
class Debt:
    """What one customer owes in one currency."""
    partner_id: int
    currency_id: int
    items: list[Item] = field(default_factory=list)
    credits: list[Item] = field(default_factory=list)

    def offset(self, currency):
        """Set credits off against due items, oldest first; sets `uncovered` and `credit_parts` of the items.

        :param currency: `res.currency`, for its rounding
        """
        left = [[credit, -credit.residual] for credit in self.credits]
        for item in self.items:
            item.uncovered, item.credit_parts = item.residual, []
            if not left or not item.is_open:
                continue
            for entry in left:
                part = min(entry[1], item.uncovered)
                if currency.compare_amounts(part, 0) > 0:
                    entry[1] = currency.round(entry[1] - part)
                    item.uncovered = currency.round(item.uncovered - part)
                    item.credit_parts.append((entry[0], part))

    @staticmethod
    def sum_credits(items, currency):
        """Add up what each credit took off the given items.

        :return: list of (credit, positive amount), in the order of use
        """
        totals = {}
        for item in items:
            for credit, part in item.credit_parts:
                totals.setdefault(credit.line_id, [credit, 0.0])[1] += part
        return [(credit, currency.round(amount)) for credit, amount in totals.values()]


@dataclass(eq=False, slots=True)
class Step:
    """A level as the judgement needs it: plain values, for they are asked for once for each item."""
    level: models.BaseModel
    level_id: int
    sequence: int
    delay_days: int
    min_amount: float

    @classmethod
    def of(cls, level):
        """Return the step of a `dunning.level`, None for none."""
        return cls(level, level.id, level.sequence, level.delay_days, level.min_amount) if level else None


class Basis:
    """What all judgements of one company and day share, looked up once for each currency, day and level."""

    def __init__(self, env, company, day, run=None):
        self.run = run
        self.env = env
        self.company = company
        self.day = day
        self.currency = self.company.currency_id
        self.min_amount = self.company.dunning_min_amount
        self.rate = lru_cache(None)(self._get_rate)
        self.has_rate = lru_cache(None)(self._has_rate)
        self.next_step = lru_cache(None)(self._get_next_step)
        self.rules = lru_cache(None)(lambda procedure: (
            len(procedure.level_ids), procedure.grace_days, procedure.grouping))
        self.choose_lang = lru_cache(None)(self._choose_lang)
        self.format_date = lru_cache(None)(lambda value: format_date(env, value))

    @cached_property
    def accounts(self):
        """The company's bank accounts, with what is asked of them."""
        return self.env['res.partner.bank'].sudo().search_fetch(
            [('partner_id', '=', self.company.partner_id.id)],
            ['currency_id', 'company_id', 'sanitized_acc_number'])

    def _get_rate(self, currency):
        return self.env['res.currency']._get_conversion_rate(
            currency, self.company.currency_id, self.company, self.day)

    def _has_rate(self, currency):
        return currency == self.company.currency_id or bool(self.env['res.currency.rate'].sudo().search_count([
            ('currency_id', '=', currency.id), ('name', '<=', self.day),
            ('company_id', 'in', (False, self.company.root_id.id))], limit=1))

    def _get_next_step(self, procedure_id, level_id):
        procedure = self.env['dunning.procedure'].browse(procedure_id)
        return Step.of(procedure._get_next_level(self.env['dunning.level'].browse(level_id or ())))

    def _choose_lang(self, langs, level_id):
        return self.env['dunning.notice']._choose_lang_among(
            langs, self.env['dunning.level'].browse(level_id), self.company)

    def to_company(self, amount, currency):
        """Convert to the company's currency at the run's date."""
        return self.currency.round(amount * self.rate(currency))

    def from_company(self, amount, currency):
        """Convert from the company's currency at the run's date."""
        return currency.round(amount / self.rate(currency))


class DunningProposal(models.AbstractModel):
    """The judgement: who is dunned, at which level, for how much, and why not.

    Reads the open items in sets, decides in plain Python, and returns values. It writes nothing.
    """
    _name = 'dunning.proposal'
    _description = 'Dunning Proposal'

    # === READING === #

    @api.model
    def _load_debts(self, company, due_until, day, partners=None, replaced_run=None, line_ids=()):
        """Read open items and credits of a company's customers.

        :param company: `res.company`; its branches are included as core does
        :param due_until: items due on or before it: date, or :class:`~odoo.tools.SQL` of one
        :param date day: the day for which holds are asked
        :param partners: commercial partners to look at, None for all
        :param replaced_run: `dunning.run` whose drafts count for nothing, since they are to be replaced
        :param line_ids: ids of `account.move.line` that are read whenever they are due
        :return: dict (partner id, currency id) -> :class:`Debt`, only where something is due; the partner id is None
            where an item has no customer
        """
        self.env['account.move.line'].flush_model()
        self.env['account.move'].flush_model()
        self.env['res.partner'].flush_model(['commercial_partner_id', 'dunning_hold_until', 'dunning_hold_reason'])
        self.env['dunning.run'].flush_model(['date', 'due_until'])
        companies = SQL(
            "ARRAY(SELECT id FROM res_company WHERE active AND parent_path LIKE %s)", f'{company.parent_path}%')
        partner_filter = SQL("AND p.commercial_partner_id IN %s", tuple(partners.ids)) if partners else SQL()
        rows = self.env.execute_query_dict(SQL(
            """
            SELECT aml.id AS line_id, aml.move_id, COALESCE(am.name, '') AS number, am.move_type, am.payment_state,
                   p.commercial_partner_id AS partner_id, aml.currency_id,
                   aml.amount_residual_currency AS residual, aml.amount_currency AS invoiced,
                   aml.date_maturity, aml.date, COALESCE(am.invoice_date, aml.date) AS date_invoice,
                   aj.type IN ('bank', 'cash', 'credit') AS is_payment,
                   COALESCE(aml.no_followup, FALSE) AS no_followup,
                   aml.dunning_hold_until AS line_hold, aml.dunning_hold_reason AS line_hold_reason,
                   CASE WHEN p.id <> p.commercial_partner_id THEN p.dunning_hold_until END AS contact_hold,
                   p.dunning_hold_reason AS contact_hold_reason,
                   CASE WHEN ip.id <> p.commercial_partner_id THEN ip.dunning_hold_until END AS invoiced_hold,
                   ip.dunning_hold_reason AS invoiced_hold_reason,
                   am.dunning_hold_until AS move_hold, am.dunning_hold_reason AS move_hold_reason
              FROM account_move_line aml
              JOIN account_move am ON am.id = aml.move_id
              JOIN account_journal aj ON aj.id = am.journal_id
              JOIN account_account aa ON aa.id = aml.account_id
              LEFT JOIN res_partner p ON p.id = aml.partner_id
              -- The contact that the invoice was written to; the entry bears the customer.
              LEFT JOIN res_partner ip ON ip.id = am.partner_id
             WHERE aml.parent_state = 'posted'
               AND aa.account_type = 'asset_receivable'
               AND aa.non_trade IS NOT TRUE
               AND aml.reconciled IS NOT TRUE
               AND aml.amount_residual_currency <> 0
               AND aml.company_id = ANY(%(companies)s)
               AND (aml.amount_residual_currency < 0 OR COALESCE(aml.date_maturity, aml.date) <= %(due_until)s
                    OR aml.id = ANY(%(line_ids)s))
               %(partner_filter)s
             ORDER BY COALESCE(aml.date_maturity, aml.date), aml.id
            """, companies=companies, due_until=due_until, line_ids=list(line_ids), partner_filter=partner_filter))
        debts = {}
        for row in rows:
            key = (row['partner_id'], row['currency_id'])
            debt = debts.setdefault(key, Debt(*key))
            item = Item(
                line_id=row['line_id'], move_id=row['move_id'], number=row['number'], partner_id=row['partner_id'],
                currency_id=row['currency_id'], residual=row['residual'], invoiced=row['invoiced'],
                date_due=row['date_maturity'] or row['date'], date_invoice=row['date_invoice'],
                is_payment=row['is_payment'])
            if item.residual < 0:
                debt.credits.append(item)
            else:
                item.blocked_by = self._get_block(row, day)
                debt.items.append(item)
        debts = {key: debt for key, debt in debts.items() if debt.items}
        self._load_history([item for debt in debts.values() for item in debt.items], replaced_run)
        self._drop_fee_payments(debts, companies)
        return debts

    @api.model
    def _drop_fee_payments(self, debts, companies):
        """Take away what is left over of payments and only covers printed fees: it was never booked, and stays open.

        Left over is what remains of a payment that was reconciled in part. In one currency it is no credit as long as
        it does not exceed the fees of the notices that counted, and is too little to settle any open item. A payment
        that nobody has reconciled yet is always a credit: better to claim too little than what was paid.

        :param dict debts: (partner id, currency id) -> :class:`Debt`
        :param companies: :class:`~odoo.tools.SQL` of an array, the companies whose notices are asked
        """
        paying = {
            key: debt for key, debt in debts.items() if key[0] and any(credit.is_left_over for credit in debt.credits)}
        if not paying:
            return
        fees = {(partner_id, currency_id): fee for partner_id, currency_id, fee in self.env.execute_query(SQL(
            """
            SELECT p.commercial_partner_id, n.currency_id, SUM(LEAST(n.amount_fee, COALESCE(n.amount_fee_own, 0)))
              FROM dunning_notice n
              JOIN res_partner p ON p.id = n.partner_id
             WHERE n.is_counted AND n.amount_fee > 0 AND n.company_id = ANY(%s) AND p.commercial_partner_id = ANY(%s)
             GROUP BY p.commercial_partner_id, n.currency_id
            """, companies, [key[0] for key in paying]))}
        for key, debt in paying.items():
            compare = self.env['res.currency'].browse(key[1]).compare_amounts
            left_over = -sum(credit.residual for credit in debt.credits if credit.is_left_over)
            if compare(left_over, float(fees.get(key) or 0)) <= 0 and compare(
                    left_over, min(item.residual for item in debt.items)) < 0:
                debt.credits = [credit for credit in debt.credits if not credit.is_left_over]

    @api.model
    def _get_block(self, row, day):
        """Say why an item must not be dunned, whatever its age.

        :param dict row: the item as read
        :param date day: the day asked for
        :return: (code, words) or None
        """
        if not row['date_maturity']:
            return ('no_due_date', self.env._("The item has no due date."))
        if row['no_followup']:
            return ('no_followup', self.env._("Excluded from follow-up on the entry."))
        for until, reason in (
                (row['line_hold'], row['line_hold_reason']), (row['move_hold'], row['move_hold_reason']),
                (row['contact_hold'], row['contact_hold_reason']),
                (row['invoiced_hold'], row['invoiced_hold_reason'])):
            if until and until >= day:
                return ('item_hold', self._describe_hold(until, reason))
        if row['payment_state'] in ('in_payment', 'paid', 'reversed'):
            return ('in_payment', self.env._("The invoice is paid or in payment, its open amount is not settled yet."))
        if row['payment_state'] == 'blocked':
            return ('blocked', self.env._("The invoice is blocked for payment."))
        return None

    @api.model
    def _describe_hold(self, until, reason):
        day = format_date(self.env, until)
        if reason:
            return self.env._("On hold until %(day)s: %(reason)s", day=day, reason=reason)
        return self.env._("On hold until %(day)s.", day=day)

    @api.model
    def _load_history(self, items, replaced_run=None):
        """Set on each item what the notices that count say, and whether an open notice holds it.

        :param items: list of :class:`Item`
        :param replaced_run: `dunning.run` whose drafts hold nothing
        """
        if not items:
            return
        by_line = {item.line_id: item for item in items}
        for last in self.env['dunning.notice.line']._get_history(list(by_line), replaced_run):
            item = by_line[last.move_line_id]
            if last.is_counted:
                item.previous_level_id, item.previous_notice_id = last.level_id, last.notice_id
                item.previous_date, item.previous_deadline = last.date_left, last.date_deadline
            else:
                item.reserved_by = last.notice_id
                if not item.blocked_by:
                    item.blocked_by = ('reserved', self.env._(
                        "Already on another open notice (%s).", last.name or self.env._("draft")))

    # === DECIDING === #

    @api.model
    def _propose(self, run, replaced_run=None):
        """Decide on all customers of a run.

        :param run: one `dunning.run`
        :param replaced_run: the run that `run` stands for, where that is only in memory
        :return: (list of values for `dunning.notice`, list of values for `dunning.run.exception`)
        """
        company = run.company_id
        partner_filter = run.partner_ids.commercial_partner_id if run.partner_ids else None
        debts = self._load_debts(company, run._get_due_until(), run.date, partner_filter, replaced_run)
        partners = self.env['res.partner'].with_company(company).browse({key[0] for key in debts if key[0]})
        partners.fetch([
            'name', 'lang', 'active', 'dunning_hold_until', 'dunning_hold_reason', 'dunning_procedure_id'])
        excluded = (replaced_run or run).notice_ids.filtered(lambda notice: notice.state == 'excluded')
        # What is on them, or was taken out of them and can be put back.
        known_items = {*excluded.line_ids.move_line_id.ids, *self.env['dunning.run.exception'].search(
            [('notice_id', 'in', excluded.ids)]).move_line_id.ids} if excluded else set()
        excluded = excluded.grouped(lambda notice: (notice.partner_id.id, notice.currency_id.id))
        # The preview asks for a run that is only in memory.
        procedures = run.procedure_ids._origin
        default_procedure = company.dunning_procedure_id
        recipients = self._find_recipients(partners, company)
        basis = Basis(run.env, company, run.date, run)
        proposed, exceptions = [], []
        for debt in debts.values():
            if not debt.partner_id:
                if not procedures:
                    exceptions += [
                        self._prepare_exception_values(run, debt, item, *(item.blocked_by or (
                            'no_partner', self.env._("The item has no customer.")))) for item in debt.items]
                continue
            partner = partners.browse(debt.partner_id)
            procedure = partner.dunning_procedure_id or default_procedure
            if procedures and procedure not in procedures:
                continue
            if notices := excluded.get((debt.partner_id, debt.currency_id)):
                exceptions += self._list_excluded(run, debt, notices, known_items)
                continue
            self._judge(basis, debt, partner, procedure, recipients[partner.id], proposed, exceptions)
        self._set_fees(basis, proposed)
        return [self._prepare_notice_values(run, candidate) for candidate in proposed], exceptions

    @api.model
    def _list_excluded(self, run, debt, notices, known_items):
        """Say what a person left out: the customer's excluded notices, and the items that none of them has.

        :param debt: :class:`Debt`
        :param notices: the customer's excluded `dunning.notice` in that currency
        :param set known_items: ids of `account.move.line` that are listed with a notice
        :return: list of values for `dunning.run.exception`
        """
        words = self.env._("Excluded from this run by hand.")
        listed = [
            {**self._prepare_exception_values(run, debt, None, 'excluded', words), **notice._prepare_excluded_values()}
            for notice in notices]
        return listed + [
            self._prepare_exception_values(run, debt, item, 'excluded', words)
            for item in debt.items if item.line_id not in known_items]

    @api.model
    def _judge(self, basis, debt, partner, procedure, recipient, proposed, exceptions):
        """Decide on what one customer owes in one currency; append to `proposed` and `exceptions`."""
        run = basis.run
        currency = self.env['res.currency'].browse(debt.currency_id)

        def leave_out(code, words, item=None):
            exceptions.append(self._prepare_exception_values(run, debt, item, code, words))

        if not partner.active:
            leave_out('archived', self.env._("The customer is archived."))
            return
        hold_until = partner.dunning_hold_until
        if hold_until and hold_until >= basis.day:
            leave_out('partner_hold', self._describe_hold(hold_until, partner.dunning_hold_reason))
            return
        if not procedure:
            leave_out('no_procedure', self.env._("Neither the customer nor the company has a dunning procedure."))
            return
        level_count, grace_days, grouping = basis.rules(procedure)
        if not level_count:
            leave_out('no_procedure', self.env._("Dunning procedure “%s” has no level.", procedure.name))
            return
        debt.offset(currency)
        for item in debt.items:
            if item.blocked_by:
                leave_out(*item.blocked_by, item=item)
        items = [item for item in debt.items if not item.blocked_by]
        nothing = currency.rounding / 2
        open_items = [item for item in items if item.uncovered >= nothing]
        if items and not open_items:
            leave_out('covered', self.env._(
                "Credits of %s cover the debt.",
                format_amount(self.env, -sum(credit.residual for credit in debt.credits), currency)))
        if not open_items:
            return
        for item in items:
            if item.uncovered < nothing:
                leave_out('covered', self.env._("Covered by credits of the customer."), item=item)
        if not basis.has_rate(currency):
            leave_out('no_rate', self.env._(
                "There is no rate for %(currency)s on %(day)s. Enter one under Invoicing > Configuration > "
                "Currencies.", currency=currency.name, day=basis.format_date(run.date)))
            return

        due = []
        for item in open_items:
            self._find_level(basis, item, procedure.id, grace_days)
            if item.next_level:
                due.append(item)
        amount = basis.to_company(sum(item.uncovered for item in open_items), currency)
        due = self._apply_minimum(basis, due, amount, grouping)
        info = [item for item in open_items if item.reason]
        for item in info:
            leave_out(*item.reason, item=item)
        if not due:
            return
        groups = defaultdict(list)
        for item in due:
            groups[item.next_level.sequence if grouping == 'level' else 0].append(item)
        for number, items in sorted(groups.items()):
            # The customer's other items stand on one notice only, the one of the highest level.
            is_last = number == max(groups)
            step = max((item.next_level for item in items), key=lambda step: step.sequence)
            proposed.append({
                'partner': partner, 'recipient': recipient, 'currency': currency, 'level': step.level, 'due': items,
                'info': info if is_last else [], 'credits': debt.sum_credits(items, currency), 'fee': 0.0,
                'fee_own': 0.0, 'lang': basis.choose_lang((partner.lang, recipient.lang), step.level_id),
                'amount': sum(item.uncovered for item in items)})

    @api.model
    def _find_level(self, basis, item, procedure_id, grace_days):
        """Set the level that an item reaches on a day, or the reason why it reaches none.

        First level: days overdue >= its delay. Later ones: days since the last notice that counted >= their delay, and
        that notice's deadline is over. Grace days select items without changing levels.
        """
        day = basis.day
        step = basis.next_step(procedure_id, item.previous_level_id)
        if not step:
            item.reason = ('last_level', self.env._(
                "The last level was reached on %s and is not repeated.", basis.format_date(item.previous_date)))
            return
        if item.previous_level_id:
            start = max(
                item.previous_date + timedelta(days=step.delay_days),
                (item.previous_deadline or item.previous_date) + timedelta(days=1))
        else:
            start = item.date_due + timedelta(days=max(step.delay_days, 1))
        if grace_days:
            start = max(start, item.date_due + timedelta(days=grace_days + 1))
        if day >= start:
            item.next_level = step
        elif grace_days and (day - item.date_due).days <= grace_days:
            item.reason = ('grace', self.env._("Within the days of grace until %s.", basis.format_date(start)))
        else:
            item.reason = ('not_yet', self.env._("Next notice on %s.", basis.format_date(start)))

    @api.model
    def _apply_minimum(self, basis, due, amount, grouping):
        """Let a notice fall back level by level where the minimum amount is not reached.

        An item does not fall back with it, for the level before has gone out already: what only reaches a higher level
        waits, and the notice bears the level of what is left, which is tested again.

        :param list due: items with the level they reach; those that are not dunned get the reason
        :param float amount: what the customer owes, in the company's currency
        :param str grouping: of the procedure; with a notice for each level, each level is tested on its own
        :return: list of the items that are dunned
        """
        if not due:
            return due
        compare = basis.currency.compare_amounts
        steps = {item.next_level.sequence: item.next_level for item in due}
        reached = set()
        if compare(amount, basis.min_amount) >= 0:
            reached = {number for number, step in steps.items() if (
                not step.min_amount or compare(amount, step.min_amount) >= 0)}
            if reached and grouping != 'level':
                reached = {number for number in steps if number <= max(reached)}
        if len(reached) == len(steps):
            return due
        words = self.env._("Less than the minimum amount (%s).", format_amount(
            self.env, amount, basis.currency))
        dunned = []
        for item in due:
            if item.next_level.sequence in reached:
                dunned.append(item)
            else:
                item.next_level = None
                item.reason = ('below_minimum', words)
        return dunned

    @api.model
    def _set_fees(self, basis, proposed):
        """Put the level's fee on one notice of each customer, the one with the larger amount.

        Fees are in the company's currency, converted at the run's date.
        """
        by_partner = defaultdict(list)
        for candidate in proposed:
            by_partner[candidate['partner'].id].append(candidate)
        bearers = []
        for candidates in by_partner.values():
            level = max((candidate['level'] for candidate in candidates), key=lambda level: level.sequence)
            if level.fee_amount or level.fee_method == 'cumulated':
                bearers.append((level, candidates, max(candidates, key=lambda candidate: (
                    basis.to_company(candidate['amount'], candidate['currency']), -candidate['currency'].id))))
        earlier_fees = self._get_earlier_fees([
            item.line_id for level, candidates, _bearer in bearers if level.fee_method == 'cumulated'
            for candidate in candidates for item in candidate['due']], basis.company)
        for level, candidates, bearer in bearers:
            fee = level.fee_amount
            if level.fee_method == 'cumulated':
                # Each earlier notice once, however many of its items are dunned again.
                fee += sum({
                    notice_id: earlier for candidate in candidates for item in candidate['due']
                    for notice_id, earlier in earlier_fees[item.line_id]}.values())
            bearer['fee'] = basis.from_company(fee, bearer['currency'])
            bearer['fee_own'] = basis.from_company(level.fee_amount, bearer['currency'])

    @api.model
    def _get_earlier_fees(self, line_ids, company):
        """Return what the notices that counted for items asked for as the fee of their own level.

        :param list line_ids: ids of `account.move.line`
        :return: dict line id -> list of (notice id, fee in the company's currency)
        """
        fees = defaultdict(list)
        if not line_ids:
            return fees
        amounts = {}
        for line_id, notice_id, fee, currency_id, day in self.env.execute_query(SQL(
                """
                SELECT l.move_line_id, n.id, LEAST(n.amount_fee, COALESCE(n.amount_fee_own, 0)), n.currency_id, n.date
                  FROM dunning_notice_line l
                  JOIN dunning_notice n ON n.id = l.notice_id
                 WHERE n.is_counted AND l.kind = 'due' AND n.amount_fee > 0 AND l.move_line_id = ANY(%s)
                 ORDER BY n.id
                """, list(line_ids))):
            # A fee that was waived in the draft is not asked for later.
            if fee and notice_id not in amounts:
                amounts[notice_id] = self.env['res.currency'].browse(currency_id)._convert(
                    float(fee), company.currency_id, company, day)
            if fee:
                fees[line_id].append((notice_id, amounts[notice_id]))
        return fees

    @api.model
    def _find_recipients(self, partners, company):
        """Choose whose address stands on the notice: type dunning, else invoice, else the customer.

        :param partners: commercial partners
        :param company: `res.company`; addresses of other companies are left out
        :return: dict partner id -> `res.partner`
        """
        recipients = {partner.id: partner for partner in partners}
        addresses = self.env['res.partner'].search(self._get_recipients_domain(partners, company), order='id desc')
        for kind in ('invoice', 'dunning'):
            for address in addresses.filtered(lambda candidate, kind=kind: candidate.type == kind):
                recipients[address.commercial_partner_id.id] = address
        return recipients

    @api.model
    def _get_recipients_domain(self, partners, company):
        """Return which contacts of customers a notice may go to: their own, in use, and the company's to write to.

        :param partners: customers
        :param company: `res.company`; addresses of other companies are left out
        """
        return Domain([
            ('active', '=', True), ('type', 'in', ('dunning', 'invoice')),
            ('commercial_partner_id', 'in', partners.commercial_partner_id.ids), ('id', 'not in', partners.ids),
            ('company_id', 'in', [False, *company.parent_ids.ids])])

    # === VALUES === #

    @api.model
    def _prepare_exception_values(self, run, debt, item, code, words):
        """Values of one `dunning.run.exception`; a hook for other addons."""
        amount = item.residual if item else sum(open_item.residual for open_item in debt.items)
        return {
            'run_id': run.id,
            'partner_id': debt.partner_id,
            'currency_id': debt.currency_id,
            'move_line_id': item.line_id if item else False,
            'amount': amount,
            'date_due': item.date_due if item else min(open_item.date_due for open_item in debt.items),
            'document': self._list_numbers([item] if item else debt.items),
            'notice_id': False,
            'reason': code,
            'description': words,
        }

    @api.model
    def _list_numbers(self, items):
        """Name items by their numbers, as many as a list has room for.

        :param items: what has a `number`, oldest first
        """
        numbers = list(dict.fromkeys(item.number for item in items))
        return ', '.join(numbers[:NUMBERS_SHOWN]) + (' …' if len(numbers) > NUMBERS_SHOWN else '')

    @api.model
    def _prepare_notice_values(self, run, candidate):
        """Values of one `dunning.notice` with its lines; a hook for other addons."""
        level = candidate['level']
        partner, recipient = candidate['partner'], candidate['recipient']
        return {
            'run_id': run.id,
            'partner_id': partner.id,
            'recipient_id': recipient.id,
            'level_id': level.id,
            'currency_id': candidate['currency'].id,
            'date': run.date,
            'date_deadline': run.date + timedelta(days=level.deadline_days),
            'amount_fee': candidate['fee'],
            'amount_fee_own': candidate['fee_own'],
            'lang': candidate['lang'],
            'line_ids': [
                fields.Command.create(values) for values in [
                    *(self._prepare_line_values(item, 'due', item.next_level.level_id, run.date)
                      for item in candidate['due']),
                    *(self._prepare_line_values(item, 'info', item.previous_level_id, run.date)
                      for item in candidate['info']),
                    *(self._prepare_credit_values(credit, amount) for credit, amount in candidate['credits']),
                ]],
        }

    @api.model
    def _prepare_line_values(self, item, kind, level_id, day):
        """Values of one `dunning.notice.line` for an item; a hook for other addons.

        :param item: :class:`Item`
        :param str kind: `due` or `info`
        :param int level_id: id of the line's `dunning.level`, False for none
        :param date day: the notice's date
        """
        return {
            'kind': kind,
            'sequence': KIND_ORDER[kind],
            'move_line_id': item.line_id,
            'name': item.number,
            'date_invoice': item.date_invoice,
            'date_due': item.date_due,
            'days_overdue': (day - item.date_due).days,
            'amount_invoiced': item.invoiced,
            'amount_residual': item.residual if kind == 'due' else item.uncovered,
            'level_id': level_id or False,
            'previous_level_id': item.previous_level_id or False,
            'previous_date': item.previous_date or False,
            'previous_notice_id': item.previous_notice_id or False,
        }

    @api.model
    def _prepare_credit_values(self, credit, amount):
        """Values of one `dunning.notice.line` for a credit; `amount` is positive and is subtracted."""
        return {
            'kind': 'credit',
            'sequence': KIND_ORDER['credit'],
            'move_line_id': credit.line_id,
            'name': credit.number,
            'date_invoice': credit.date_invoice,
            'date_due': credit.date_due,
            'days_overdue': 0,
            'amount_invoiced': credit.invoiced,
            'amount_residual': -amount,
            'level_id': False,
            'previous_level_id': False,
            'previous_date': False,
            'previous_notice_id': False,
        }

    # === JUDGING AGAIN === #

    @api.model
    def _load_for_recheck(self, notices, lines, day):
        """Read what the customers of notices owe now, once for all of them.

        :param notices: `dunning.notice` of one company
        :param lines: their `dunning.notice.line`
        :param date day: for which holds are asked
        :return: as :meth:`_load_debts`
        """
        items = lines.filtered(lambda line: line.kind != 'credit')
        # As for the proposal. Items that are due later get credits only after these: they need not be read.
        due_until = SQL(
            "GREATEST(%s, (SELECT MAX(LEAST(due_until, date - 1)) FROM dunning_run WHERE id = ANY(%s)))",
            max(filter(None, items.mapped('date_due')), default=day), notices.run_id.ids)
        return self._load_debts(
            notices.company_id, due_until, day, notices.partner_id.commercial_partner_id,
            line_ids=items.move_line_id.ids)

    @api.model
    def _judge_lines(self, notice, lines, debts, basis, date):
        """Ask the rules again of each item on a notice. Writes nothing.

        :param notice: one `dunning.notice`
        :param lines: its `dunning.notice.line`
        :param dict debts: what :meth:`_load_for_recheck` returned
        :param basis: :class:`Basis` of the day on which the notice leaves
        :param date date: what the notice is dated, from which days overdue count
        :return: (`same`, `changed`, `settled` or `held`; list of words, each reason once; values of all lines as they
            should be, None where they are; dict id of the `account.move.line` -> why it is not claimed any more)
        """
        currency = notice.currency_id
        # The customer may have been merged into another one, or have become a contact of one.
        key = (notice.partner_id.commercial_partner_id.id, currency.id)
        debt = debts.get(key) or Debt(*key)
        debt.offset(currency)
        items = {item.line_id: item for item in debt.items}
        expected, due_items, codes, reasons, gone = [], [], set(), defaultdict(list), {}
        for line in lines:
            if line.kind == 'credit':
                continue
            item = items.get(line.move_line_id.id)
            if fault := self._find_line_fault(notice, line, item, basis):
                code, reason = fault
                reasons[reason].append(line.name or '')
                gone[line.move_line_id.id] = reason.replace(ITEMS, line.name or '')
                if line.kind == 'due':
                    codes.add(code)
                continue
            expected.append({
                **self._prepare_line_values(item, line.kind, line.level_id.id, date),
                'is_level_set': line.is_level_set})
            if line.kind == 'due':
                due_items.append(item)
        words = [
            reason.replace(ITEMS, ', '.join(numbers[:NUMBERS_SHOWN]) + (' …' if len(numbers) > NUMBERS_SHOWN else ''))
            for reason, numbers in reasons.items()]
        if not due_items and codes:
            return 'held' if 'held' in codes else 'settled', words, None, gone
        expected += [
            self._prepare_credit_values(credit, amount) for credit, amount in debt.sum_credits(due_items, currency)]
        if notice.kind == 'dunning' and self._is_below_minimum(notice, debt, expected, basis):
            words.append(self.env._("Less than the minimum amount is left to claim."))
            return 'held', words, None, gone

        def facts(rows, with_days):
            # That a notice is dated anew is no change of the claim, but days overdue on its lines change.
            return sorted(
                (row['kind'], row['move_line_id'] or 0, currency.round(row['amount_residual']), row['date_due'],
                 row['days_overdue'] if with_days and row['kind'] != 'credit' else 0) for row in rows)

        present = [{
            'kind': line.kind, 'move_line_id': line.move_line_id.id, 'amount_residual': line.amount_residual,
            'date_due': line.date_due, 'days_overdue': line.days_overdue} for line in lines]
        if facts(present, True) == facts(expected, True):
            return 'same', [], None, gone
        if facts(present, False) == facts(expected, False):
            return 'same', [], expected, gone
        return 'changed', words + self._describe_changes(lines, expected, currency, basis), expected, gone

    @api.model
    def _describe_changes(self, lines, expected, currency, basis):
        """Say what is new about the items that a notice goes on claiming, and about credits.

        :param lines: `dunning.notice.line` as they are
        :param list expected: values of the lines as they should be
        :param currency: `res.currency` of the notice
        :param basis: :class:`Basis`
        :return: list of str
        """
        words = []
        old = {line.move_line_id.id: line for line in lines if line.kind != 'credit'}
        for values in expected:
            if not (line := old.get(values['move_line_id'])) or values['kind'] == 'credit':
                continue
            if values['date_due'] != line.date_due:
                words.append(self.env._(
                    "%(item)s: due on %(new)s instead of %(old)s.", item=line.name,
                    new=basis.format_date(values['date_due']), old=basis.format_date(line.date_due)))
            if currency.compare_amounts(values['amount_residual'], line.amount_residual):
                words.append(self.env._(
                    "%(item)s: %(new)s open instead of %(old)s.", item=line.name,
                    new=format_amount(self.env, values['amount_residual'], currency),
                    old=format_amount(self.env, line.amount_residual, currency)))
        new_credit = -sum(values['amount_residual'] for values in expected if values['kind'] == 'credit')
        old_credit = -sum(line.amount_residual for line in lines if line.kind == 'credit')
        if currency.compare_amounts(new_credit, old_credit):
            words.append(self.env._(
                "Credits: %(new)s instead of %(old)s.", new=format_amount(self.env, new_credit, currency),
                old=format_amount(self.env, old_credit, currency)))
        return words

    @api.model
    def _find_line_fault(self, notice, line, item, basis):
        """Say why an item may not be claimed any more.

        :param notice: `dunning.notice`
        :param line: its `dunning.notice.line`
        :param item: :class:`Item` as it stands now, None where it is no open one of the customer's
        :param basis: :class:`Basis`
        :return: (`settled` or `held`, words with `ITEMS` in place of the item's number), None where it may
        """
        if not item:
            return self._describe_gone(notice, line)
        if notice.kind != 'dunning':
            # It says what is open, and claims nothing.
            return None
        if item.blocked_by and not (item.blocked_by[0] == 'reserved' and item.reserved_by == notice.id):
            return 'settled' if item.blocked_by[0] == 'in_payment' else 'held', f'{ITEMS}: {item.blocked_by[1]}'
        if item.date_due >= basis.day:
            return 'held', self.env._(
                "%(item)s is not overdue: it is payable until %(day)s now.", item=ITEMS,
                day=basis.format_date(item.date_due))
        is_own_history = item.previous_notice_id == notice.id
        if line.kind == 'due' and not is_own_history and (item.previous_notice_id or 0) != (
                line.previous_notice_id.id or 0):
            if line.previous_notice_id and not line.previous_notice_id.is_counted:
                return 'held', self.env._(
                    "%(item)s: the notice that counted before (%(notice)s) does not count any more.", item=ITEMS,
                    notice=line.previous_notice_id.display_name)
            other = self.env['dunning.notice'].browse(item.previous_notice_id or ())
            return 'held', self.env._(
                "%(item)s was dunned meanwhile by %(notice)s.", item=ITEMS, notice=other.display_name)
        if notice.currency_id.is_zero(item.uncovered):
            return 'settled', self.env._("%s: covered by credits of the customer.", ITEMS)
        # With the history and the due date that it had, it has the level that it had: what was proposed and reviewed is
        # not judged by rules that were changed since.
        if line.kind == 'due' and not is_own_history and not line.is_level_set and (
                item.date_due != line.date_due or (item.previous_date or False) != line.previous_date):
            procedure = notice.level_id.procedure_id
            item.next_level = item.reason = None
            self._find_level(basis, item, procedure.id, basis.rules(procedure)[1])
            if not item.next_level:
                return 'held', f'{ITEMS}: {item.reason[1]}'
        return None

    @api.model
    def _describe_gone(self, notice, line):
        """Say what has become of an item that is no open receivable of the customer any more.

        :return: (`settled` or `held`, words with `ITEMS` in place of the item's number)
        """
        item = line.move_line_id
        if not item:
            return 'held', self.env._("%s: the entry has been deleted.", ITEMS)
        if item.parent_state != 'posted':
            return 'held', self.env._("%s: the entry is not posted any more.", ITEMS)
        if item.reconciled or item.currency_id.is_zero(item.amount_residual_currency):
            if item.move_id.payment_state == 'reversed':
                return 'settled', self.env._("Reversed: %s.", ITEMS)
            counterparts = item.matched_credit_ids.credit_move_id
            if counterparts and set(counterparts.move_id.mapped('move_type')) == {'out_refund'}:
                return 'settled', self.env._("Covered by a credit note: %s.", ITEMS)
            # Written off, set off or moved by another entry, it is not paid.
            if set(counterparts.journal_id.mapped('type')) & PAYING_JOURNALS:
                return 'settled', self.env._("Paid: %s.", ITEMS)
            return 'settled', self.env._("Settled: %s.", ITEMS)
        if item.partner_id.commercial_partner_id != notice.partner_id.commercial_partner_id:
            return 'held', self.env._("%s belongs to another customer now.", ITEMS)
        return 'held', self.env._("%s is no open receivable any more.", ITEMS)

    @api.model
    def _is_below_minimum(self, notice, debt, expected, basis):
        """Whether what is left open of a customer's debt is less than the company or the level asks for.

        :param notice: `dunning.notice`
        :param debt: :class:`Debt` as it stands now, credits set off
        :param list expected: values of the notice's lines as they should be now
        :param basis: :class:`Basis`
        """
        company = notice.company_id
        amount = notice.currency_id._convert(
            sum(item.uncovered for item in debt.items if item.is_open and item.date_due < basis.day),
            company.currency_id, company, notice.date)
        due = [values for values in expected if values['kind'] == 'due']
        minimum = company.dunning_min_amount
        if not any(values['is_level_set'] for values in due):
            level = self.env['dunning.level'].browse([values['level_id'] for values in due]).sorted('sequence')[-1:]
            minimum = max(minimum, level.min_amount)
        return company.currency_id.compare_amounts(amount, minimum) < 0

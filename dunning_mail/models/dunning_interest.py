from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import cached_property, lru_cache
from itertools import accumulate
from operator import itemgetter
from typing import NamedTuple

from odoo import api, models
from odoo.tools import SQL

from ..tools import interest
from ..tools.rest import list_bearing

# So many days in a row on which nobody works are looked through for the next working day.
HOLIDAY_DAYS = 40
# The schedule of today says nothing of what is further back, and a slip of the finger would take minutes.
SCHEDULE_DAYS = 3650
DETAIL_STEP = Decimal('0.000001')


class Asked(NamedTuple):
    """An item whose interest is asked for.

    :ivar partner_id: the customer who owes it
    :ivar profile: `dunning.interest.profile`, may be empty
    :ivar credits: (id of the credit's `account.move.line`, else 0; id of its `account.payment`, else 0; positive
        amount): what is set off without being reconciled
    :ivar resting: what of it rests on the day asked for: it bears no interest meanwhile, on no day of the reckoning
    :ivar resting_stopped: how much of that is money whose interest an agreement stops
    """
    line_id: int
    partner_id: int
    profile: models.BaseModel
    credits: tuple = ()
    resting: float = 0.0
    resting_stopped: float = 0.0

    @classmethod
    def of(cls, item, profile):
        """Ask for an item of a proposal, with what its credits leave open.

        :param item: :class:`~.debt.Item` after :meth:`~.debt.Debt.offset`
        :param profile: `dunning.interest.profile`, may be empty
        """
        return cls(item.line_id, item.partner_id, profile, tuple(
            (credit.line_id, credit.payment_id, part) for credit, part in item.credit_parts), item.resting,
            item.resting_stopped)


@dataclass(slots=True)
class Interest:
    """The interest of one item, in its currency.

    :ivar amount: the whole calculation, rounded once
    :ivar claim: what is left to claim of it
    :ivar profile: `dunning.interest.profile`, may be empty
    :ivar debtor_kind: `business` or `consumer`
    :ivar default_from: first day of default, None where it has not begun by the day asked for
    :ivar segments: tuple of :class:`~.interest.Segment`
    :ivar reason: why nothing is claimed, else empty: `no_profile`, `no_interest` (of such debtors), `not_begun`,
        `nothing_open`, `no_rate`, `taken`, `too_little`
    """
    profile: models.BaseModel
    debtor_kind: str
    amount: Decimal = interest.ZERO
    claim: Decimal = interest.ZERO
    default_from: date | None = None
    segments: tuple = ()
    reason: str = ''

    @property
    def is_in_default(self):
        return self.default_from is not None

    @property
    def _bearing(self):
        return [segment for segment in self.segments if segment.rate is not None]

    @property
    def date_from(self):
        return self._bearing[0].date_from if self._bearing else None

    @property
    def date_to(self):
        return self._bearing[-1].date_to if self._bearing else None

    @property
    def unknown_days(self):
        return sum(
            (segment.date_to - segment.date_from).days + 1 for segment in self.segments if segment.rate is None)

    @property
    def detail(self):
        """The calculation as it is kept: a dict a segment, its amount not rounded to the currency."""
        return list_segments(self.segments)


class Principal(NamedTuple):
    """What was open of an item: `steps` are (day, `Decimal` open from that day on), the first one the due date."""
    date_due: date
    currency_id: int
    rounding: Decimal
    steps: list


class DunningInterest(models.AbstractModel):
    """The interest on arrears of items, in sets: reads the ledger and the notices, and writes nothing."""
    _name = 'dunning.interest'
    _description = 'Interest on Arrears'

    @api.model
    def _calculate(self, company, asked, day, taken=None):
        """Calculate the interest of items, by a constant number of statements.

        :param company: `res.company` that claims
        :param asked: iterable of :class:`Asked`, each item once
        :param date day: the last day that bears interest
        :param dict taken: id of `account.move.line` -> amount that is booked or waived of its interest
        :return: dict id of `account.move.line` -> :class:`Interest`, for every item that was asked for
        """
        asked = list(asked)
        kinds = self.env['res.partner'].browse(
            {one.partner_id for one in asked if one.partner_id})._get_dunning_debtor_kinds(company)
        results = {
            one.line_id: Interest(one.profile, kinds.get(one.partner_id, 'consumer'), reason='no_profile')
            for one in asked}
        # A clerk reckons by what the head of accounts has set.
        profiles = {profile: profile.sudo() for profile in {one.profile for one in asked if one.profile}}
        asked = [one._replace(profile=profiles[one.profile]) for one in asked if one.profile]
        if not asked:
            return results
        principals = self._read_principals(asked, day)
        defaults = self._find_defaults(company, asked, principals, day)
        basis = _Basis(self.env, company, min(defaults.values(), default=day), day)
        stops = self.env['dunning.proposal']._find_interest_stops(list(defaults))
        for one in asked:
            result, principal = results[one.line_id], principals.get(one.line_id)
            result.default_from = defaults.get(one.line_id)
            if principal:
                principal = principal._replace(steps=list_bearing(
                    principal.steps, stops.get(one.line_id, ()), to_decimal(one.resting),
                    to_decimal(one.resting_stopped)))
            result.reason = self._calculate_one(one, result, principal, basis, (taken or {}).get(one.line_id) or 0)
        return results

    @api.model
    def _calculate_one(self, one, result, principal, basis, taken):
        """Calculate the interest of one item.

        :param one: :class:`Asked`
        :param result: :class:`Interest`, whose amounts are set
        :param principal: :class:`Principal`, None where the item is none: of what bears interest
        :param basis: :class:`_Basis`
        :param taken: what is booked or waived of it
        :return: why nothing is claimed, else an empty string
        """
        rates, day_count = basis.get_rates(one.profile, result.debtor_kind), one.profile.day_count
        if not rates:
            return 'no_interest'
        if not principal:
            return 'nothing_open'
        if not result.is_in_default:
            return 'not_begun'
        calculation = interest.calculate(principal.steps, rates, result.default_from, basis.day, day_count)
        result.segments = calculation.segments
        result.amount = interest.round_half_up(calculation.exact, principal.rounding)
        if not result.segments:
            return 'nothing_open'
        if not result._bearing:
            return 'no_rate'
        if not result.amount:
            return 'too_little'
        left = interest.round_half_up(result.amount - to_decimal(taken), principal.rounding)
        if left <= 0:
            return 'taken'
        if left < basis.get_least_amount(one.profile, principal.currency_id):
            return 'too_little'
        result.claim = left
        return ''

    @api.model
    def _describe_unknown(self, results):
        """Say for which days no interest is claimed since no rate is known.

        :param dict results: what :meth:`_calculate` returned
        :return: str, empty where all rates are known
        """
        days = {}
        for result in results.values():
            for segment in result.segments:
                if segment.rate is None:
                    days.setdefault(result.profile, set()).add(segment.date_to)
        return '\n'.join(profile._describe_unknown_rate(max(dates)) or profile._describe_unknown_rate(min(dates))
                         for profile, dates in days.items())

    # === WHAT WAS OPEN === #

    @api.model
    def _get_principals(self, line_ids, until):
        """Return what was open of items on each day, as far as it is reconciled in the ledger.

        :param line_ids: ids of `account.move.line` of receivables
        :param date until: later changes are left out
        :return: dict id -> list of (day, `Decimal` open from that day on), in the item's currency; the first day is the
            due date
        """
        principals = self._read_principals([Asked(line_id, 0, None) for line_id in line_ids], until)
        return {line_id: principal.steps for line_id, principal in principals.items()}

    @api.model
    def _read_principals(self, asked, until):
        """Read what was open of items on each day, what is set off among it, by one statement.

        :param list asked: :class:`Asked`
        :param date until: later changes are left out
        :return: dict id of `account.move.line` -> :class:`Principal`
        """
        for model_name in ('account.move.line', 'account.move', 'account.partial.reconcile', 'account.payment'):
            self.env[model_name].flush_model()
        self.env['res.currency'].flush_model(['rounding'])
        line_ids = [one.line_id for one in asked]
        used = [(one.line_id, *credit) for one in asked for credit in one.credits]
        items, taken_off = {}, defaultdict(list)
        for line_id, day, amount, currency_id, rounding in self.env.execute_query(SQL(
                """
                SELECT aml.id, COALESCE(aml.date_maturity, aml.date), aml.amount_currency::text, aml.currency_id,
                       TRIM_SCALE(c.rounding::numeric)::text
                  FROM account_move_line aml
                  JOIN res_currency c ON c.id = aml.currency_id
                 WHERE aml.id = ANY(%s) AND aml.parent_state = 'posted'
                UNION ALL (%s)
                UNION ALL (%s)
                """, line_ids, self._get_reconciled_query(line_ids), self._get_set_off_query(used))):
            if currency_id:
                items[line_id] = (day, Decimal(amount), currency_id, Decimal(rounding))
            else:
                taken_off[line_id].append((day, Decimal(amount)))
        principals = {}
        for line_id, (due, amount, currency_id, rounding) in items.items():
            steps = {due: amount}
            for day, part in taken_off.get(line_id, ()):
                day = max(day or due, due)
                if day <= until:
                    steps[day] = steps.get(day, interest.ZERO) - part
            days = sorted(steps)
            principals[line_id] = Principal(
                due, currency_id, rounding, list(zip(days, accumulate(map(steps.get, days)), strict=True)))
        return principals

    @api.model
    def _get_reconciled_query(self, line_ids):
        """Return the :class:`~odoo.tools.SQL` query of what was reconciled with items: item, day (none where it
        corrects the claim), amount.

        An exchange difference stands in the books of the day on which its payment does, and takes nothing off an item
        in a currency of its own: what it takes off another one is dated as that payment.
        """
        return SQL(
            """
            SELECT part.debit_move_id,
                   CASE WHEN %(is_correction)s THEN NULL
                        ELSE LEAST(COALESCE(settled.max_date, part.max_date), pay.date) END AS day,
                   SUM(part.debit_amount_currency)::text, NULL::int, NULL
              FROM account_partial_reconcile part
              JOIN account_move_line item ON item.id = part.debit_move_id
              JOIN account_move_line credit ON credit.id = part.credit_move_id
              JOIN account_move cm ON cm.id = credit.move_id
              LEFT JOIN account_payment pay ON pay.id = cm.origin_payment_id
              LEFT JOIN LATERAL (SELECT MIN(max_date) AS max_date FROM account_partial_reconcile
                                  WHERE exchange_move_id = cm.id) settled ON TRUE
             WHERE part.debit_move_id = ANY(%(line_ids)s) AND part.debit_amount_currency <> 0
             GROUP BY 1, 2
            """, line_ids=list(line_ids), is_correction=self._get_correction_condition())

    @api.model
    def _get_correction_condition(self):
        """Return the :class:`~odoo.tools.SQL` condition that a credit `credit` of an entry `cm` corrects the claim: it
        never was owed, and bears no interest from its due date on.

        A hook: that a credit note was goodwill, which takes off from its own day on only, is to be said here.
        """
        return SQL("(cm.move_type = 'out_refund' OR cm.reversed_entry_id = item.move_id)")

    @api.model
    def _get_set_off_query(self, used):
        """Return the :class:`~odoo.tools.SQL` query of credits that are set off without being reconciled: as
        :meth:`_get_reconciled_query`. A credit that is gone takes nothing off.

        :param list used: (id of the item, id of the credit's line, id of its payment, amount)
        """
        items, credits, payments, amounts = map(list, zip(*used, strict=True)) if used else ([], [], [], [])
        return SQL(
            """
            SELECT used.item_id, CASE WHEN %(is_correction)s THEN NULL ELSE LEAST(credit.date, pay.date) END,
                   used.amount, NULL::int, NULL
              FROM unnest(%(items)s::int[], %(credits)s::int[], %(payments)s::int[], %(amounts)s::text[])
                   AS used(item_id, credit_id, payment_id, amount)
              JOIN account_move_line item ON item.id = used.item_id
              LEFT JOIN account_move_line credit ON credit.id = used.credit_id
              LEFT JOIN account_move cm ON cm.id = credit.move_id
              LEFT JOIN account_payment pay ON pay.id = COALESCE(NULLIF(used.payment_id, 0), cm.origin_payment_id)
             WHERE credit.id IS NOT NULL OR pay.id IS NOT NULL
            """, is_correction=self._get_correction_condition(), items=items, credits=credits, payments=payments,
            amounts=[str(to_decimal(amount)) for amount in amounts])

    # === SINCE WHEN === #

    @api.model
    def _find_defaults(self, company, asked, principals, until):
        """Find the day after the event that put the customer in default, never before the day after the due date.

        :param company: `res.company` whose working schedule says what a working day is
        :param list asked: :class:`Asked`
        :param dict principals: what :meth:`_read_principals` returned
        :param date until: the last day that is asked for
        :return: dict id of `account.move.line` -> date, without those for which the event is not over
        """
        noticed = [one.line_id for one in asked if one.profile.begin != 'due_date']
        notices = {line_id: days for line_id, *days in self.env.execute_query(
            self.env['dunning.notice.line']._get_first_counted_query(noticed))} if noticed else {}
        payable = {
            principals[one.line_id].date_due for one in asked
            if one.line_id in principals and one.profile.is_moved_to_workday}
        payable |= {deadline for _left, deadline in notices.values() if deadline} if payable else set()
        workdays = self._find_workdays(company, {due for due in payable if due < until})
        defaults = {}
        for one in asked:
            principal, notice = principals.get(one.line_id), notices.get(one.line_id)
            if not principal or (one.profile.begin != 'due_date' and not notice):
                continue
            moved = workdays if one.profile.is_moved_to_workday else {}
            event = moved.get(principal.date_due, principal.date_due)
            if notice:
                left, deadline = notice
                event = max(event, left)
                if one.profile.begin == 'deadline' and deadline:
                    event = max(event, moved.get(deadline, deadline))
            if event < until:
                defaults[one.line_id] = event + interest.ONE_DAY
        return defaults

    @api.model
    def _find_workdays(self, company, days):
        """Return for days on which nobody works the next one on which somebody does.

        :param company: `res.company`, by whose working schedule it is; Monday to Friday where it has none
        :param days: set of dates
        :return: dict day -> date, without days that are working days, and those of so long ago that nobody knows
        """
        if not days:
            return {}
        days = {day for day in days if day > max(days) - timedelta(days=SCHEDULE_DAYS)}
        first, last = min(days), max(days) + timedelta(days=HOLIDAY_DAYS)
        working = {
            first + timedelta(days=number) for number in range((last - first).days + 1)
            if (first + timedelta(days=number)).weekday() < 5}
        if calendar := company.sudo().resource_calendar_id:
            # A day more on both sides: the schedule has a time zone of its own.
            intervals = calendar._work_intervals_batch(
                datetime.combine(first - timedelta(days=1), time.min, UTC),
                datetime.combine(last + timedelta(days=2), time.min, UTC))[False]
            working = {start.date() for start, _stop, _attendance in intervals}
        moved = {}
        for day in days - working:
            following = (day + timedelta(days=number) for number in range(1, HOLIDAY_DAYS + 1))
            moved[day] = next((other for other in following if other in working), day)
        return moved


class _Basis:
    """What the calculations of one company from one day to another share, looked up once."""

    def __init__(self, env, company, first, day):
        self.env, self.company, self.first, self.day = env, company, first, day
        self.get_rates = lru_cache(None)(self._get_rates)
        self.get_least_amount = lru_cache(None)(self._get_least_amount)

    def _get_rates(self, profile, debtor_kind):
        """Return the rates, without those that had ended before the first day."""
        rates = profile._get_rates(debtor_kind)
        return rates[max(bisect_right(rates, self.first, key=itemgetter(0)) - 1, 0):]

    def _get_least_amount(self, profile, currency_id):
        """Return the least amount in another currency; none where nobody knows the rate."""
        currency, own, amount = self.env['res.currency'].browse(currency_id), profile.currency_id, profile.least_amount
        if not amount or currency == own:
            return to_decimal(amount)
        known = self._rated | self.company.currency_id
        if currency not in known or own not in known:
            return interest.ZERO
        return to_decimal(own._convert(amount, currency, self.company, self.day))

    @cached_property
    def _rated(self):
        """The currencies of which a rate is known on the day."""
        return self.env['res.currency.rate'].sudo().search([
            ('name', '<=', self.day), ('company_id', 'in', (False, self.company.root_id.id))]).currency_id


def list_segments(segments):
    """Return a calculation as it is kept: a dict a segment, its amount not rounded to the currency.

    :param segments: iterable of :class:`~.interest.Segment`
    """
    return [{
        'date_from': segment.date_from.isoformat(), 'date_to': segment.date_to.isoformat(),
        'principal': str(segment.principal), 'rate': None if segment.rate is None else str(segment.rate),
        'days': segment.days, 'year_days': segment.year_days, 'amount': str(segment.amount.quantize(DETAIL_STEP)),
    } for segment in segments]


def read_segments(rows):
    """Return the :class:`~.interest.Segment` of a calculation that was kept."""
    return [interest.Segment(
        date.fromisoformat(row['date_from']), date.fromisoformat(row['date_to']), Decimal(row['principal']),
        None if row['rate'] is None else Decimal(row['rate']), row['days'], row['year_days']) for row in rows]


def to_decimal(value):
    """Return an amount as a person reads it: floats by their shortest form."""
    return value if isinstance(value, Decimal) else Decimal(str(value))

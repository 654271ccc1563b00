"""Who is dunned, at which level, with which fee, and why not.

Plain values in, decisions out: no database, no words, no clock. Amounts are floats, in their own currency where nothing
else is said; how they are rounded, compared and converted comes with the :class:`Currency`.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta

# === WHAT IS KNOWN === #

@dataclass(frozen=True, slots=True)
class Currency:
    """What the judgement needs of a currency.

    :ivar rounding: its smallest amount
    :ivar round: function that rounds an amount
    :ivar compare: function that compares two amounts as they are when rounded: -1, 0 or 1
    :ivar get_rate: function that returns what one of it is worth in the company's currency, None where nobody knows
    """
    id: int
    rounding: float
    round: Callable[[float], float]
    compare: Callable[[float, float], int]
    get_rate: Callable[[], float | None]


@dataclass(frozen=True, slots=True)
class Terms:
    """What all judgements of one company and day share; `currency` and `min_amount` are the company's.

    :ivar per_account: items whose invoices name different bank accounts are on notices of their own
    """
    day: date
    currency: Currency
    min_amount: float = 0.0
    per_account: bool = False

    def to_company(self, amount, currency):
        """Convert to the company's currency."""
        return self.currency.round(amount * currency.get_rate())

    def from_company(self, amount, currency):
        """Convert from the company's currency."""
        return currency.round(amount / currency.get_rate())


@dataclass(frozen=True, slots=True)
class Level:
    """A level; its amounts are in the company's currency."""
    id: int
    sequence: int
    delay_days: int
    deadline_days: int
    min_amount: float = 0.0
    fee: float = 0.0
    is_cumulated: bool = False
    repeat: bool = False


@dataclass(frozen=True, slots=True)
class Procedure:
    """A procedure with its levels in their order; `per_level`: each level has a notice of its own.

    :ivar is_usable: False where it is archived, or another company's
    """
    name: str
    levels: tuple[Level, ...]
    grace_days: int = 0
    per_level: bool = False
    is_usable: bool = True

    def get_next_level(self, reached):
        """Return the level after the one that counted last; the last one again where it may be repeated.

        :param int reached: the number of that level, be it one of another procedure; None for none
        :return: :class:`Level`, None after the last one
        """
        if reached is None:
            return next(iter(self.levels), None)
        for level in self.levels:
            if level.sequence > reached:
                return level
        return next((level for level in self.levels[-1:] if level.repeat), None)


@dataclass(frozen=True, slots=True)
class Customer:
    """What the judgement needs of a customer; `procedure` is None where neither it nor the company has one."""
    procedure: Procedure | None
    is_active: bool = True
    hold_until: date | None = None
    hold_reason: str = ''


# === WHAT IS DECIDED === #

@dataclass(frozen=True, slots=True)
class Reason:
    """Why something is not dunned: a code, as `dunning.run.exception` has them, and the values that its words name."""
    code: str
    day: date | None = None
    amount: float | None = None
    currency_id: int | None = None
    text: str = ''
    count: int = 0


@dataclass(eq=False, slots=True)
class Item:
    """An open receivable line as it stands, or a payment that is not in the books yet; amounts in its own currency.

    :ivar line_id: 0 for a payment without an entry; that has a `payment_id`
    :ivar is_payment: booked in a journal of payments, or to be
    :ivar is_claim: money paid out of which a person said that the customer owes it
    :ivar is_excluded: from follow-up, by a person or because of its journal
    :ivar is_due: whether it is dunned on the day; else it only takes the credits that are its own
    :ivar names: ids of the entries that a payment is meant for
    :ivar covers_named_only: nothing is known of what it leaves after them
    :ivar account_id: the bank account that its invoice names; `contact_id`: the customer's contact it was written to
    """
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
    is_claim: bool = False
    is_excluded: bool = False
    is_due: bool = True
    payment_id: int = 0
    names: frozenset[int] = frozenset()
    covers_named_only: bool = False
    blocked_by: Reason | None = None
    reserved_by: int = False
    account_id: int = False
    contact_id: int = False
    previous_level_id: int = False
    previous_sequence: int | None = None
    previous_date: date | None = None
    previous_deadline: date | None = None
    previous_notice_id: int = False
    # What credits leave open of it, and which ones took off how much.
    uncovered: float = 0.0
    credit_parts: list[tuple['Item', float]] = field(default_factory=list)
    next_level: Level | None = None
    reason: Reason | None = None

    @property
    def is_left_over(self):
        """Whether it is what remains of a payment that was reconciled in part."""
        return self.is_payment and abs(self.residual) < abs(self.invoiced)

    @property
    def is_outgoing(self):
        """Whether it is money that was paid out to the customer."""
        return self.is_payment and self.residual > 0 and not self.is_claim

    @property
    def is_open(self):
        """Whether the item takes part in setting off credits.

        One on another open notice does: the credit that was set off there cannot be used again.
        """
        return not self.is_outgoing and (not self.blocked_by or self.blocked_by.code in ('reserved', 'excluded'))


@dataclass(eq=False, slots=True)
class Debt:
    """What one customer owes in one currency; items and credits by their due dates, oldest first.

    :ivar others: debits that take credits and are not dunned: not due yet, or another company's of the same entity
    :ivar rounding: the smallest amount of the currency
    :ivar left_over: what no debit has taken of the credits that are in the books
    """
    partner_id: int
    currency_id: int
    items: list[Item] = field(default_factory=list)
    credits: list[Item] = field(default_factory=list)
    others: list[Item] = field(default_factory=list)
    rounding: float = 0.0
    left_over: float = 0.0

    def drop_left_overs(self, fees, compare):
        """Take away what is left over of payments and only covers printed fees, which were never booked.

        It is no credit as long as it does not exceed those fees, and is too little to settle any open item. A payment
        that nobody has reconciled yet is always a credit: better to claim too little than what was paid.

        :param float fees: of the notices that counted
        :param compare: as that of the debt's :class:`Currency`
        """
        left_over = -sum(credit.residual for credit in self.credits if credit.is_left_over)
        if compare(left_over, fees) <= 0 and compare(left_over, min(item.residual for item in self.items)) < 0:
            self.credits = [credit for credit in self.credits if not credit.is_left_over]

    def offset(self, currency):
        """Set credits off against debits; sets `uncovered` and `credit_parts` of the items, and `left_over`.

        Each side has what belongs to it first: what is excluded from follow-up covers what is excluded, a payment the
        invoices that it names, and money paid out takes back credits, whether or not it is dunned. What is left of the
        credits covers what is due, oldest first.

        :param Currency currency: of the debt
        """
        debits = sorted([*self.items, *self.others], key=lambda item: (item.date_due, item.line_id))
        for item in debits:
            item.uncovered, item.credit_parts = item.residual, []
        left = [[credit, -credit.residual] for credit in self.credits]
        if left:
            excluded = [entry for entry in left if entry[0].is_excluded]
            _use(excluded, [item for item in debits if item.is_excluded], currency)
            for entry in left:
                if names := entry[0].names:
                    _use([entry], [item for item in debits if item.move_id in names], currency)
                    if entry[0].covers_named_only:
                        entry[1] = 0.0
            _use(left, [item for item in debits if item.is_outgoing], currency)
            _use(left, [item for item in debits if item.is_open and item.is_due], currency)
        self.left_over = currency.round(sum(amount for credit, amount in left if not credit.payment_id))

    def sum_overdue(self, day):
        """Add up what is overdue on a day, less the credits that were set off."""
        return sum(item.uncovered for item in self.items if item.is_open and item.date_due < day)


@dataclass(eq=False, slots=True)
class Candidate:
    """A notice that is proposed; amounts in its currency.

    :ivar info: items that are named beside those that are due
    :ivar credits: list of (credit, positive amount)
    :ivar fee: with those of earlier notices where the level cumulates; `fee_own` without them
    :ivar recipient_id: whose address it bears, and `lang` its language: nothing that is decided here
    """
    partner_id: int
    currency: Currency
    level: Level
    due: list[Item]
    info: list[Item]
    credits: list[tuple[Item, float]]
    fee: float = 0.0
    fee_own: float = 0.0
    recipient_id: int = False
    lang: str = ''

    @property
    def amount(self):
        """What is left open of the items that are due."""
        return sum(item.uncovered for item in self.due)


def _use(credits, debits, currency):
    """Set credits off against debits, both in the order given.

    :param list credits: [credit, positive amount that is left of it]
    """
    for item in debits:
        for entry in credits:
            part = min(entry[1], item.uncovered)
            if currency.compare(part, 0) > 0:
                entry[1] = currency.round(entry[1] - part)
                item.uncovered = currency.round(item.uncovered - part)
                item.credit_parts.append((entry[0], part))


def sum_credits(items, currency):
    """Add up what each credit took off the given items.

    :return: list of (credit, positive amount), in the order of use
    """
    totals = {}
    for item in items:
        for credit, part in item.credit_parts:
            totals.setdefault((credit.line_id, credit.payment_id), [credit, 0.0])[1] += part
    return [(credit, currency.round(amount)) for credit, amount in totals.values()]


# === WHO, AND WHY NOT === #

def judge(debts, customer, get_currency, terms):
    """Decide on what one customer owes.

    :param list debts: :class:`Debt`, one for each currency; their items are changed: what is left open of them, and the
        level or the reason
    :param Customer customer: None where the items have none
    :param get_currency: function that returns the :class:`Currency` of an id
    :param Terms terms: of the company and day
    :return: for each debt in which something is due (debt, list of :class:`Candidate`, list of (:class:`Reason`,
        :class:`Item`, None for the customer))
    """
    due = [debt for debt in debts if debt.items]
    if not customer:
        return [(debt, [], [(Reason(
            'no_partner', amount=sum(item.residual for item in debt.items), currency_id=debt.currency_id,
            count=len(debt.items)), None)]) for debt in due]
    if reason := find_obstacle(customer, terms.day):
        return [(debt, [], [(reason, None)]) for debt in due]
    for debt in debts:
        debt.offset(get_currency(debt.currency_id))
    is_too_little = terms.currency.compare(sum_owed(due, get_currency, terms), terms.min_amount) < 0
    return [(debt, *_judge_debt(debt, customer, get_currency(debt.currency_id), terms, is_too_little)) for debt in due]


def sum_owed(debts, get_currency, terms):
    """Add up in the company's currency what a customer owes, credits set off; without a rate it counts for nothing.

    :param list debts: :class:`Debt` of the customer, after :meth:`Debt.offset`
    """
    owed = 0.0
    for debt in debts:
        currency = get_currency(debt.currency_id)
        overdue = debt.sum_overdue(terms.day)
        if currency.compare(overdue, 0) > 0 and currency.get_rate() is not None:
            owed += terms.to_company(overdue, currency)
    return owed


def _judge_debt(debt, customer, currency, terms, is_too_little):
    """Decide on what a customer owes in one currency; the parameters are those of :func:`judge`."""
    open_items, left_out = select_open_items(debt, currency)
    if not open_items:
        return [], left_out
    if currency.get_rate() is None:
        return [], [*left_out, (Reason('no_rate', day=terms.day, currency_id=currency.id), None)]
    for item in open_items:
        set_level(item, customer.procedure, terms.day)
    apply_minimum(debt, open_items, currency, customer.procedure, terms, is_too_little)
    left_out += [(item.reason, item) for item in open_items if item.reason]
    return group_by_level(debt, open_items, currency, customer.procedure, terms.per_account), left_out


def find_obstacle(customer, day):
    """Say why nothing of a customer is dunned.

    :return: :class:`Reason`, None where there is none
    """
    if not customer.is_active:
        return Reason('archived')
    if customer.hold_until and customer.hold_until >= day:
        return Reason('partner_hold', day=customer.hold_until, text=customer.hold_reason)
    if not customer.procedure:
        return Reason('no_procedure')
    if not customer.procedure.is_usable:
        return Reason('unusable_procedure', text=customer.procedure.name)
    if not customer.procedure.levels:
        return Reason('no_procedure', text=customer.procedure.name)
    return None


def find_block(date_due, no_followup, holds, payment_state, day, is_outgoing=False, debited_by=''):
    """Say why an item must not be dunned, whatever its age.

    :param date date_due: None where the item has none
    :param bool no_followup: whether a person excluded the item
    :param holds: (until, words) of the item and of whatever holds it; until may be None
    :param str payment_state: of the invoice
    :param date day: the day asked for
    :param bool is_outgoing: whether it is money paid out: claimed only where a person says so
    :param str debited_by: name of the agreed payment method by which the company itself fetches the money
    :return: :class:`Reason`, None where it may be dunned
    """
    if not date_due:
        return Reason('no_due_date')
    if no_followup:
        return Reason('no_followup')
    for until, words in holds:
        if until and until >= day:
            return Reason('item_hold', day=until, text=words or '')
    if is_outgoing:
        return Reason('outgoing')
    if payment_state in ('in_payment', 'paid', 'reversed'):
        return Reason('in_payment')
    if payment_state == 'blocked':
        return Reason('blocked')
    if debited_by:
        return Reason('direct_debit', text=debited_by)
    return None


def select_open_items(debt, currency):
    """Tell the items of which something is left to dun from the others; credits were set off before.

    :return: (list of :class:`Item`, list of (:class:`Reason`, :class:`Item`, None for the customer))
    """
    nothing, left_out = currency.rounding / 2, []
    for item in debt.items:
        if item.blocked_by and item.blocked_by.code != 'outgoing':
            left_out.append((item.blocked_by, item))
        elif item.blocked_by and item.uncovered >= nothing:
            # What was paid out of a credit is done with.
            left_out.append((find_cover(item), item))
    items = [item for item in debt.items if not item.blocked_by]
    open_items = [item for item in items if item.uncovered >= nothing]
    if open_items:
        left_out += [(find_cover(item), item) for item in items if item.uncovered < nothing]
    elif items:
        code = 'on_its_way' if any(find_cover(item).code == 'on_its_way' for item in items) else 'covered'
        used = sum(part for item in items for _credit, part in item.credit_parts)
        amount = currency.round(used + debt.left_over)
        left_out.append((Reason(code, amount=amount, currency_id=currency.id), None))
    return open_items, left_out


def find_cover(item):
    """Say what covers an item, or what no credit covers of money paid out.

    :param Item item: after :meth:`Debt.offset`
    :return: :class:`Reason`
    """
    if item.is_outgoing:
        return Reason('outgoing', amount=item.uncovered, currency_id=item.currency_id)
    payments = [credit for credit, _part in item.credit_parts if credit.payment_id]
    if payments:
        return Reason('on_its_way', text=', '.join(payment.number for payment in payments))
    return Reason('covered')


# === AT WHICH LEVEL === #

def set_level(item, procedure, day):
    """Set the level that an item reaches on a day, or the reason why it reaches none.

    First level: days overdue >= its delay. Later ones: days since the last notice that counted >= their delay, and
    that notice's deadline is over. Grace days select items without changing levels.
    """
    item.next_level = item.reason = None
    level = procedure.get_next_level(item.previous_sequence)
    if not level:
        item.reason = Reason('last_level', day=item.previous_date)
        return
    start = find_start(item, level, procedure.grace_days)
    if day >= start:
        item.next_level = level
    elif procedure.grace_days and (day - item.date_due).days <= procedure.grace_days:
        item.reason = Reason('grace', day=start)
    else:
        item.reason = Reason('not_yet', day=start)


def find_start(item, level, grace_days):
    """Return the first day on which an item reaches a level."""
    if item.previous_sequence is not None:
        start = max(
            item.previous_date + timedelta(days=level.delay_days),
            (item.previous_deadline or item.previous_date) + timedelta(days=1))
    else:
        start = item.date_due + timedelta(days=max(level.delay_days, 1))
    if grace_days:
        start = max(start, item.date_due + timedelta(days=grace_days + 1))
    return start


def apply_minimum(debt, items, currency, procedure, terms, is_too_little):
    """Let a notice fall back level by level where the minimum amount is not reached.

    An item does not fall back with it, for the level before has gone out already: what only reaches a higher level
    waits, and the notice bears the level of what is left, which is tested again. Where each level has a notice of its
    own, each is tested on its own.

    :param items: those of the debt that may be dunned; those that are not have the reason afterwards in place of the
        level
    :param bool is_too_little: the customer owes less than the company's minimum in all currencies together
    """
    levels = {item.next_level.sequence: item.next_level for item in items if item.next_level}
    if not levels:
        return
    amount = terms.to_company(debt.sum_overdue(terms.day), currency)
    compare, reached = terms.currency.compare, set()
    if not is_too_little:
        reached = {number for number, level in levels.items() if compare(amount, level.min_amount) >= 0}
        if reached and not procedure.per_level:
            reached = {number for number in levels if number <= max(reached)}
    if len(reached) == len(levels):
        return
    reason = Reason('below_minimum', amount=amount, currency_id=terms.currency.id)
    for item in items:
        if item.next_level and item.next_level.sequence not in reached:
            item.next_level, item.reason = None, reason


def group_by_level(debt, items, currency, procedure, per_account=False):
    """Make a notice of what is dunned, or one for each level where the procedure wants that, or for each account.

    :param items: what the customer owes; those without a level are for information
    :param bool per_account: as in :class:`Terms`; what names no account goes with the oldest item that names one
    :return: list of :class:`Candidate`, by level
    """
    groups, accounts = defaultdict(list), {}
    dunned = [(item, item.next_level.sequence if procedure.per_level else 0) for item in items if item.next_level]
    for item, level in dunned:
        if item.account_id:
            accounts.setdefault(level, item.account_id)
    for item, level in dunned:
        groups[level, per_account and (item.account_id or accounts.get(level, False))].append(item)
    candidates = [
        Candidate(
            partner_id=debt.partner_id, currency=currency, due=due, info=[], credits=sum_credits(due, currency),
            level=max((item.next_level for item in due), key=lambda level: level.sequence))
        for _key, due in sorted(groups.items())]
    # The customer's other items stand on one notice only, the one of the highest level.
    for candidate in candidates[-1:]:
        candidate.info = [item for item in items if item.reason]
    return candidates


# === WITH WHICH FEE === #

def set_fees(candidates, terms, get_earlier_fees):
    """Put a fee on one notice of each customer: that of the highest level, of equal ones the larger.

    Fees are in the company's currency, converted on the day of the notice.

    :param candidates: list of :class:`Candidate` of all customers
    :param get_earlier_fees: function that returns, for ids of items, a dict id -> list of (notice id, fee in the
        company's currency): what notices that counted asked for as the fee of their own level
    """
    by_partner = defaultdict(list)
    for candidate in candidates:
        by_partner[candidate.partner_id].append(candidate)
    bearers = []
    for of_partner in by_partner.values():
        bearer = choose_bearer(of_partner, terms)
        if bearer.level.fee or bearer.level.is_cumulated:
            bearers.append((bearer, [item.line_id for candidate in of_partner for item in candidate.due]))
    earlier_fees = get_earlier_fees([
        line_id for bearer, due in bearers if bearer.level.is_cumulated for line_id in due])
    for bearer, due in bearers:
        bearer.fee, bearer.fee_own = get_fees(bearer.level, due, bearer.currency, terms, earlier_fees)


def get_fees(level, due, currency, terms, earlier_fees):
    """Return what a notice asks for as fee.

    :param Level level: of the notice
    :param due: ids of the items that the customer's notices claim
    :param Currency currency: of the notice
    :param dict earlier_fees: as for :func:`set_fees`
    :return: (fee with the earlier ones where the level cumulates, fee of the level itself)
    """
    fee = level.fee
    if level.is_cumulated:
        # Each earlier notice once, however many of its items are dunned again.
        fee += sum({
            notice_id: earlier for line_id in due for notice_id, earlier in earlier_fees.get(line_id, ())}.values())
    return terms.from_company(fee, currency), terms.from_company(level.fee, currency)


def choose_bearer(candidates, terms):
    """Choose the notice of a customer that bears the fee.

    :param candidates: list of :class:`Candidate`, or of what has its `level`, `amount` and `currency`
    """
    return max(candidates, key=lambda candidate: (
        candidate.level.sequence, terms.to_company(candidate.amount, candidate.currency), -candidate.currency.id))

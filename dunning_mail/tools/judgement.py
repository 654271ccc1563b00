"""Who is dunned, at which level, and why not. With which fee and earlier charges says :mod:`.charging`.

Plain values in, decisions out: no database, no words, no clock. Amounts are floats, in their own currency where nothing
else is said; how they are rounded, compared and converted comes with the :class:`Currency`.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date, timedelta

from .debt import Currency, Item, Reason, sum_credits

# === WHAT IS KNOWN === #

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
class Fee:
    """A row of a level's fees, in its own currency; `maximum` 0: none.

    :ivar debtor: `all`, `business` or `consumer`
    """
    currency_id: int
    debtor: str = 'all'
    amount_from: float = 0.0
    fixed: float = 0.0
    percent: float = 0.0
    minimum: float = 0.0
    maximum: float = 0.0


@dataclass(frozen=True, slots=True)
class Level:
    """A level; its minimum amount is in the company's currency.

    :ivar fees: tuple of :class:`Fee`
    :ivar is_cumulated: its fee is added to the earlier ones, in place of which it comes otherwise
    :ivar charges_interest: and `charges_lump_sum`: whether they are asked for beside the items
    """
    id: int
    sequence: int
    delay_days: int
    deadline_days: int
    min_amount: float = 0.0
    fees: tuple[Fee, ...] = ()
    is_cumulated: bool = False
    repeat: bool = False
    charges_interest: bool = False
    charges_lump_sum: bool = False


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

@dataclass(eq=False, slots=True)
class Candidate:
    """A notice that is proposed; amounts in its currency.

    :ivar info: items that are named beside those that are due
    :ivar credits: list of (credit, positive amount)
    :ivar fee: of this notice; `is_single`: it comes in place of earlier ones, except those of `kept_ids`, beside which
        it asks for what exceeds them; `set_off`: what of the notice's own lump sums it was set off against
    :ivar lump_sum: what is asked for, now or before, as lump sums of the items that are due
    :ivar debtor: `business` or `consumer`
    :ivar charges: values of interest and lump sums, as `dunning.charge` has them
    :ivar earlier: charges of earlier notices that are still asked for
    :ivar hint: what a person should know of its charges
    :ivar recipient_id: whose address it bears, and `lang` its language: nothing that is decided here
    """
    partner_id: int
    currency: Currency
    level: Level
    due: list[Item]
    info: list[Item]
    credits: list[tuple[Item, float]]
    fee: float = 0.0
    is_single: bool = False
    kept_ids: list[int] = field(default_factory=list)
    set_off: float = 0.0
    lump_sum: float = 0.0
    debtor: str = 'consumer'
    charges: list[dict] = field(default_factory=list)
    earlier: list = field(default_factory=list)
    hint: str = ''
    recipient_id: int = False
    lang: str = ''

    @property
    def amount(self):
        """What is left open of the items that are due."""
        return sum(item.uncovered for item in self.due)


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
        elif item.resting >= nothing:
            left_out.append((Reason('resting', amount=item.resting, currency_id=item.currency_id,
                                    text=item.rest_info), item))
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

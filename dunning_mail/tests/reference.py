"""The rules of the proposal, read slowly and in plain Python, for one customer at a time.

Written from the rules and not from the addon's code, to be compared with it: no database, no sets, no floats. Days are
numbers, amounts are whole cents, currencies are `own` (the company's) and `foreign`.
"""

from dataclasses import dataclass, field
from fractions import Fraction
from math import floor

# What may become of a notice: 'counts' gives its items their level, 'open' keeps them from other notices.
OUTCOMES = {
    'printed': 'counts', 'sent': 'counts', 'unclear': 'counts', 'waived': 'counts', 'postponed': 'counts',
    'draft': 'open', 'released': 'open', 'unprinted': 'open',
    'failed': 'void', 'cancelled': 'void', 'sent_cancelled': 'void', 'excluded': 'void', 'trial': 'void',
}
# Days that `postponed` adds to the payment deadline.
POSTPONED = 12


@dataclass(frozen=True)
class Level:
    number: int = 1
    delay: int = 10
    deadline: int = 10
    repeat: bool = False
    minimum: int = 0
    fee: int = 0
    cumulated: bool = False


@dataclass(frozen=True)
class Procedure:
    levels: tuple[Level, ...] = (Level(1), Level(2), Level(3))
    grace: int = 0
    per_level: bool = False


@dataclass(frozen=True)
class Item:
    """One receivable line; `due` is None where the date is missing, `paid` are (run, cents) before that run."""
    amount: int
    due: int | None = 0
    partial: int = 0
    hold: int | None = None
    no_followup: bool = False
    paid: tuple[tuple[int, int], ...] = ()

    def residual(self, run):
        return max(0, self.amount - self.partial - sum(cents for number, cents in self.paid if number <= run))


@dataclass(frozen=True)
class Entry:
    """A posted entry: `invoice`, `refund`, `payment` (of which only what is open matters), `paid_out` to the customer;
    or a payment that is `on_way`, without an entry: it names other entries by their positions.
    """
    items: tuple[Item, ...]
    kind: str = 'invoice'
    currency: str = 'own'
    hold: int | None = None
    payment_state: str = 'not_paid'
    posted_from: int = 0
    names: tuple[int, ...] = ()


@dataclass(frozen=True)
class Ledger:
    """One customer; `outcomes` are what becomes of the notices of each run."""
    entries: tuple[Entry, ...]
    procedure: Procedure = Procedure()
    hold: int | None = None
    outcomes: tuple[tuple[str, ...], ...] = (('printed',), ('printed',), ('printed',))


@dataclass(frozen=True)
class Setting:
    """What all customers of a company share; `rates` are (from day, foreign units for one of the company's)."""
    days: tuple[int, ...] = (0, 15, 30)
    due_until: tuple[int, ...] = (0, 15, 30)
    minimum: int = 0
    rates: tuple[tuple[int, Fraction], ...] = ((-1000, Fraction(2)),)
    # Which of two notices with the same amount bears the fee.
    currency_order: tuple[str, ...] = ('own', 'foreign')

    def rate(self, currency, day):
        if currency == 'own':
            return Fraction(1)
        return [rate for start, rate in self.rates if start <= day][-1]

    def to_own(self, cents, currency, day):
        return half_up(cents / self.rate(currency, day))

    def from_own(self, cents, currency, day):
        return half_up(cents * self.rate(currency, day))


@dataclass(eq=False)
class Notice:
    currency: str
    level: int
    day: int
    deadline: int
    # (kind, (entry, item)) -> (cents, level, level before, day of the notice before)
    lines: dict
    fee: int = 0
    # Whether its fee comes in place of earlier ones.
    is_single: bool = False
    # Another notice's fee stands for its own.
    is_replaced: bool = False
    # Earlier notices whose fees it asks for.
    earlier: list = field(default_factory=list, repr=False)
    run_keys: set = field(default_factory=set, repr=False)
    status: str = 'open'
    overdue: int = field(init=False)
    credit: int = field(init=False)

    def __post_init__(self):
        self.overdue = sum(line[0] for (kind, _key), line in self.lines.items() if kind == 'due')
        self.credit = -sum(line[0] for (kind, _key), line in self.lines.items() if kind == 'credit')

    has_on_way: bool = False

    @property
    def total(self):
        return self.overdue - self.credit + self.fee + self.earlier_fees

    @property
    def earlier_fees(self):
        return sum(notice.fee for notice in self.earlier)

    @property
    def due_keys(self):
        return {key for kind, key in self.lines if kind == 'due'}

    def stands_for(self, notice):
        """Whether its fee comes in place of an earlier one; one that was left out comes in place of none."""
        return bool(self.fee and self.is_single and notice.due_keys & self.run_keys) and not any(
            asked is notice for asked in self.earlier)

    def take_outcome(self, outcome, earlier):
        """Let the notice fare as the outcome says; a waived fee is not asked for, now or later."""
        self.status = OUTCOMES[outcome]
        if outcome == 'waived':
            self.fee = 0
        for notice in earlier:
            if self.status == 'counts' and notice.status == 'counts' and self.stands_for(notice):
                notice.is_replaced = True
        if outcome == 'postponed':
            self.deadline += POSTPONED


def half_up(amount):
    return floor(Fraction(amount) + Fraction(1, 2))


def propose(setting, ledger, run, earlier):
    """Say what a run does about one customer.

    :param Setting setting: of the company
    :param Ledger ledger: of the customer
    :param int run: its number, from 0
    :param list earlier: :class:`Notice` of the runs before, as they fared
    :return: (list of :class:`Notice`, dict (currency, item or None) -> set of reasons that are true)
    """
    notices, left_out, books = [], {}, {}
    for currency in setting.currency_order:
        debits, credits = _read(setting, ledger, currency, run, earlier)
        if any(debit.is_asked for debit in debits):
            _set_off(debits, credits)
            books[currency] = debits
    day = setting.days[run]
    owed = {currency: setting.to_own(sum(
        debit.uncovered for debit in debits if debit.is_asked and debit.takes_credits), currency, day)
        for currency, debits in books.items()}
    is_too_little = sum(owed.values()) < setting.minimum
    for currency, debits in books.items():
        found, reasons = _judge(setting, ledger, currency, run, earlier, debits, owed[currency], is_too_little)
        notices += found
        left_out.update({(currency, key): codes for key, codes in reasons.items()})
    _add_fee(setting, ledger, setting.days[run], notices)
    _add_earlier(notices, earlier)
    return notices, left_out


@dataclass
class _Debit:
    """Something that the customer owes, or got; `is_asked`: due, so that the run says something about it."""
    key: tuple
    due: int | None
    amount: int
    kind: str
    is_excluded: bool
    is_asked: bool
    blocks: set = field(default_factory=set)
    is_reserved: bool = False
    uncovered: int = 0
    taken: dict = field(default_factory=dict)

    @property
    def takes_credits(self):
        return self.kind == 'invoice' and not self.blocks


@dataclass
class _Credit:
    key: tuple
    due: int
    left: int
    kind: str
    is_excluded: bool
    is_partial: bool
    names: frozenset = frozenset()
    is_for_named_only: bool = False


def _open_entries(ledger, run):
    """Positions of the entries of which something is open."""
    return {number for number, entry in enumerate(ledger.entries) if entry.kind != 'on_way'
            and entry.posted_from <= run and any(item.residual(run) for item in entry.items)}


def _read(setting, ledger, currency, run, earlier):
    """Both sides of the balance in one currency: debits and credits, oldest first, payments on their way last."""
    day, until = setting.days[run], setting.due_until[run]
    opened = _open_entries(ledger, run)
    payments = [entry for entry in ledger.entries if entry.kind == 'on_way' and entry.posted_from <= run]
    known = {number for payment in payments if payment.currency == currency for number in payment.names}
    debits, credits, on_way = [], [], []
    for number, entry in enumerate(ledger.entries):
        if entry.currency != currency or entry.posted_from > run:
            continue
        for position, item in enumerate(entry.items):
            key, amount = (number, position), item.residual(run)
            if not amount:
                continue
            if entry.kind == 'on_way':
                here = {name for name in entry.names if name in opened and ledger.entries[name].currency == currency}
                if not entry.names or here:
                    on_way.append(_Credit(
                        key, item.due, amount, entry.kind, False, False, frozenset(here),
                        any(name not in opened for name in entry.names)))
                continue
            if entry.kind in ('refund', 'payment'):
                credits.append(_Credit(key, item.due, amount, entry.kind, item.no_followup, amount < item.amount))
                continue
            is_asked = item.due is None or (item.due < day and item.due <= until)
            if not is_asked and not item.no_followup and entry.kind != 'paid_out' and number not in known:
                continue
            debit = _Debit(key, item.due, amount, entry.kind, item.no_followup, is_asked)
            if item.due is None:
                debit.blocks.add('no_due_date')
            if item.no_followup:
                debit.blocks.add('no_followup')
            if any(hold is not None and hold >= day for hold in (item.hold, entry.hold)):
                debit.blocks.add('item_hold')
            if entry.kind == 'invoice':
                if entry.payment_state in ('in_payment', 'paid') and number not in known:
                    debit.blocks.add('in_payment')
                if entry.payment_state == 'blocked':
                    debit.blocks.add('blocked')
                debit.is_reserved = any(notice.status == 'open' and ('due', key) in notice.lines for notice in earlier)
            debits.append(debit)

    debits.sort(key=lambda debit: (debit.due or 0, debit.key))
    credits.sort(key=lambda credit: (credit.due, credit.key))
    on_way.sort(key=lambda credit: (credit.due, credit.key))
    return debits, credits + on_way


def _set_off(debits, credits):
    """Own credits first, then what was paid out, then the oldest debts."""
    def take(debit, credit):
        part = min(credit.left, debit.uncovered)
        if part:
            credit.left -= part
            debit.uncovered -= part
            debit.taken[credit.key, credit.kind] = debit.taken.get((credit.key, credit.kind), 0) + part

    for debit in debits:
        debit.uncovered = debit.amount
    for debit in debits:
        for credit in credits:
            if debit.is_excluded and credit.is_excluded:
                take(debit, credit)
    for credit in credits:
        for debit in debits:
            if debit.key[0] in credit.names:
                take(debit, credit)
        if credit.is_for_named_only:
            credit.left = 0
    for debit in debits:
        for credit in credits:
            if debit.kind == 'paid_out':
                take(debit, credit)
    for debit in debits:
        for credit in credits:
            if debit.takes_credits and debit.is_asked:
                take(debit, credit)


def _judge(setting, ledger, currency, run, earlier, debits, owed, is_too_little):
    """Judge one currency; returns notices without fees, and the reasons by item (None: the customer)."""
    day, procedure = setting.days[run], ledger.procedure
    if ledger.hold is not None and ledger.hold >= day:
        return [], {None: {'partner_hold'}}

    reasons, candidates = {}, []
    for debit in debits:
        if not debit.is_asked:
            continue
        if debit.blocks:
            reasons[debit.key] = debit.blocks | ({'reserved'} if debit.is_reserved else set())
        elif debit.kind == 'paid_out':
            if debit.uncovered:
                reasons[debit.key] = {'outgoing'}
        elif debit.is_reserved:
            reasons[debit.key] = {'reserved'}
        else:
            candidates.append(debit)

    def cover(debit):
        return 'on_its_way' if any(kind == 'on_way' for _key, kind in debit.taken) else 'covered'

    open_ones = [debit for debit in candidates if debit.uncovered]
    if candidates and not open_ones:
        covers = {cover(debit) for debit in candidates}
        reasons[None] = {'on_its_way'} if 'on_its_way' in covers else covers
        return [], reasons
    for debit in candidates:
        if not debit.uncovered:
            reasons[debit.key] = {cover(debit)}

    reached, history = {}, {}
    for debit in open_ones:
        history[debit.key] = before = _last_counted(earlier, debit.key)
        level, codes = _reach(procedure, debit.due, before, day)
        if level:
            reached[debit.key] = level
        else:
            reasons[debit.key] = codes
    for key in _drop_below_minimum(procedure, reached, owed, is_too_little):
        del reached[key]
        reasons[key] = {'below_minimum'}
    if not reached:
        return [], reasons

    numbers = sorted({level.number for level in reached.values()})
    groups = [[number] for number in numbers] if procedure.per_level else [numbers]
    notices = []
    for group in groups:
        lines = {}
        for debit in open_ones:
            key = debit.key
            if key in reached and reached[key].number in group:
                lines['due', key] = (debit.amount, reached[key].number, *history[key][:2])
                for (credit_key, _kind), part in debit.taken.items():
                    cents = lines.get(('credit', credit_key), (0,))[0]
                    lines['credit', credit_key] = (cents - part, None, None, None)
            elif key not in reached and group is groups[-1]:
                lines['info', key] = (debit.uncovered, history[key][0], *history[key][:2])
        level = next(level for level in procedure.levels if level.number == group[-1])
        notices.append(Notice(currency, level.number, day, day + level.deadline, lines, has_on_way=any(
            kind == 'on_way' for debit in open_ones for _key, kind in debit.taken if ('due', debit.key) in lines)))
    return notices, reasons


def _last_counted(earlier, key):
    """The last notice that counted for an item: (level, day, deadline)."""
    last = (None, None, None)
    for notice in earlier:
        if notice.status == 'counts' and ('due', key) in notice.lines:
            last = (notice.lines['due', key][1], notice.day, notice.deadline)
    return last


def _reach(procedure, due, before, day):
    """The level an item reaches on a day, or the reasons why it reaches none."""
    number, last_day, deadline = before
    if number is None:
        level = procedure.levels[0]
        is_time = day - due >= level.delay
    else:
        later = [level for level in procedure.levels if level.number > number]
        if later:
            level = later[0]
        elif procedure.levels[-1].repeat:
            level = procedure.levels[-1]
        else:
            return None, {'last_level'}
        is_time = day - last_day >= level.delay and day > deadline
    in_grace = procedure.grace > 0 and day - due <= procedure.grace
    if is_time and not in_grace:
        return level, set()
    return None, ({'grace'} if in_grace else set()) | (set() if is_time else {'not_yet'})


def _drop_below_minimum(procedure, reached, owed, is_too_little):
    """The items that are not dunned since their level's minimum amount, or the company's, is not reached."""
    if is_too_little:
        return list(reached)
    if procedure.per_level:
        return [key for key, level in reached.items() if owed < level.minimum]
    dropped = []
    # The notice falls back one level and is tested again. An item cannot fall back with it: its level before has gone
    # out already.
    for level in sorted(procedure.levels, key=lambda level: -level.number):
        bearing = [key for key, other in reached.items() if other.number == level.number]
        if bearing and owed >= level.minimum:
            break
        dropped += bearing
    return dropped


def _add_fee(setting, ledger, day, notices):
    """Once per customer and run, on the notice of the highest level, of equal ones the larger; in its currency."""
    if not notices:
        return
    number = max(notice.level for notice in notices)
    level = next(level for level in ledger.procedure.levels if level.number == number)
    bearer, best = None, None
    for notice in notices:
        if notice.level != number:
            continue
        amount = setting.to_own(notice.overdue - notice.credit, notice.currency, day)
        if best is None or amount > best:
            bearer, best = notice, amount
    bearer.fee = setting.from_own(level.fee, bearer.currency, day)
    bearer.is_single = not level.cumulated


def _add_earlier(notices, earlier):
    """Fees that are still asked for, on the notice of the highest level in their currency, and on one at a time."""
    keys = set().union(*(notice.due_keys for notice in notices))
    is_single = any(notice.fee and notice.is_single for notice in notices)
    for notice in notices:
        notice.run_keys = keys
    for old in earlier:
        if old.status != 'counts' or not old.fee or old.is_replaced or (is_single and old.due_keys & keys):
            continue
        if any(other.status == 'open' and (any(asked is old for asked in other.earlier) or other.stands_for(old))
               for other in earlier if other is not old):
            continue
        bearers = [notice for notice in notices if notice.currency == old.currency]
        if bearers:
            max(bearers, key=lambda notice: notice.level).earlier.append(old)

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
    """A posted entry: `invoice`, `refund` or `payment` (of which only what is open matters)."""
    items: tuple[Item, ...]
    kind: str = 'invoice'
    currency: str = 'own'
    hold: int | None = None
    payment_state: str = 'not_paid'
    posted_from: int = 0


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


@dataclass
class Notice:
    currency: str
    level: int
    day: int
    deadline: int
    # (kind, (entry, item)) -> (cents, level, level before, day of the notice before)
    lines: dict
    fee: int = 0
    own_fee: int = 0
    status: str = 'open'
    overdue: int = field(init=False)
    credit: int = field(init=False)

    def __post_init__(self):
        self.overdue = sum(line[0] for (kind, _key), line in self.lines.items() if kind == 'due')
        self.credit = -sum(line[0] for (kind, _key), line in self.lines.items() if kind == 'credit')

    @property
    def total(self):
        return self.overdue - self.credit + self.fee

    def take_outcome(self, outcome):
        """Let the notice fare as the outcome says; a waived fee is not asked for, now or later."""
        self.status = OUTCOMES[outcome]
        if outcome == 'waived':
            self.fee = 0
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
    notices, left_out = [], {}
    for currency in setting.currency_order:
        found, reasons = _judge(setting, ledger, currency, run, earlier)
        notices += found
        left_out.update({(currency, key): codes for key, codes in reasons.items()})
    _add_fee(setting, ledger, setting.days[run], notices, earlier)
    return notices, left_out


def _judge(setting, ledger, currency, run, earlier):
    """Judge one currency; returns notices without fees, and the reasons by item (None: the customer)."""
    day, procedure = setting.days[run], ledger.procedure
    overdue, credits, missing = [], [], []
    for number, entry in enumerate(ledger.entries):
        if entry.currency != currency or entry.posted_from > run:
            continue
        for position, item in enumerate(entry.items):
            key, open_amount = (number, position), item.residual(run)
            if not open_amount:
                continue
            if entry.kind != 'invoice':
                credits.append((item.due, key, open_amount, entry.kind, open_amount < item.amount))
            elif item.due is None:
                missing.append((key, open_amount))
            elif item.due < day and item.due <= setting.due_until[run]:
                overdue.append((item.due, key, open_amount, entry, item))
    if not overdue and not missing:
        return [], {}
    if ledger.hold is not None and ledger.hold >= day:
        return [], {None: {'partner_hold'}}

    # What is left over of a payment and only covers printed fees is not a credit; what may settle an item is.
    left_over = sum(cents for _due, _key, cents, kind, is_partial in credits if kind == 'payment' and is_partial)
    fees = sum(min(notice.own_fee, notice.fee) for notice in earlier
               if notice.status == 'counts' and notice.currency == currency)
    smallest = min([one[2] for one in overdue] + [cents for _key, cents in missing])
    if left_over <= fees and left_over < smallest:
        credits = [credit for credit in credits if credit[3] != 'payment' or not credit[4]]

    reasons = {key: {'no_due_date'} for key, _cents in missing}
    left = [[key, cents] for _due, key, cents, _kind, _is_partial in sorted(credits)]
    candidates = []
    for due, key, open_amount, entry, item in sorted(overdue, key=lambda one: one[:2]):
        blocks = set()
        if item.no_followup:
            blocks.add('no_followup')
        if any(hold is not None and hold >= day for hold in (item.hold, entry.hold)):
            blocks.add('item_hold')
        if entry.payment_state in ('in_payment', 'paid'):
            blocks.add('in_payment')
        if entry.payment_state == 'blocked':
            blocks.add('blocked')
        reserved = any(notice.status == 'open' and ('due', key) in notice.lines for notice in earlier)
        taken = {}
        uncovered = open_amount
        if not blocks:
            for credit in left:
                part = min(credit[1], uncovered)
                if part:
                    credit[1] -= part
                    uncovered -= part
                    taken[credit[0]] = part
        if reserved:
            blocks.add('reserved')
        if blocks:
            reasons[key] = blocks
        else:
            candidates.append((due, key, open_amount, uncovered, taken))
    open_ones = [candidate for candidate in candidates if candidate[3]]
    if candidates and not open_ones:
        reasons[None] = {'covered'}
        return [], reasons
    for candidate in candidates:
        if not candidate[3]:
            reasons[candidate[1]] = {'covered'}

    reached, history = {}, {}
    for due, key, *_amounts in open_ones:
        history[key] = before = _last_counted(earlier, key)
        level, codes = _reach(procedure, due, before, day)
        if level:
            reached[key] = level
        else:
            reasons[key] = codes
    owed = setting.to_own(sum(candidate[3] for candidate in open_ones), currency, day)
    for key in _drop_below_minimum(setting, procedure, reached, owed):
        del reached[key]
        reasons[key] = {'below_minimum'}
    if not reached:
        return [], reasons

    numbers = sorted({level.number for level in reached.values()})
    groups = [[number] for number in numbers] if procedure.per_level else [numbers]
    notices = []
    for group in groups:
        lines = {}
        for _due, key, open_amount, uncovered, taken in open_ones:
            if key in reached and reached[key].number in group:
                lines['due', key] = (open_amount, reached[key].number, *history[key][:2])
                for credit_key, part in taken.items():
                    cents = lines.get(('credit', credit_key), (0,))[0]
                    lines['credit', credit_key] = (cents - part, None, None, None)
            elif key not in reached and group is groups[-1]:
                lines['info', key] = (uncovered, history[key][0], *history[key][:2])
        level = next(level for level in procedure.levels if level.number == group[-1])
        notices.append(Notice(currency, level.number, day, day + level.deadline, lines))
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


def _drop_below_minimum(setting, procedure, reached, owed):
    """The items that are not dunned since their level's minimum amount, or the company's, is not reached."""
    if owed < setting.minimum:
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


def _add_fee(setting, ledger, day, notices, earlier):
    """Once per customer and run, on the notice with the larger amount, in the company's currency."""
    if not notices:
        return
    number = max(notice.level for notice in notices)
    level = next(level for level in ledger.procedure.levels if level.number == number)
    bearer, best = None, None
    for notice in notices:
        amount = setting.to_own(notice.overdue - notice.credit, notice.currency, day)
        if best is None or amount > best:
            bearer, best = notice, amount
    fee = level.fee
    if level.cumulated:
        keys = {key for notice in notices for kind, key in notice.lines if kind == 'due'}
        for notice in earlier:
            if notice.status == 'counts' and keys & {key for kind, key in notice.lines if kind == 'due'}:
                fee += setting.to_own(min(notice.own_fee, notice.fee), notice.currency, notice.day)
    bearer.fee = setting.from_own(fee, bearer.currency, day)
    bearer.own_fee = setting.from_own(level.fee, bearer.currency, day)

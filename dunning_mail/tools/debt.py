"""What a customer owes in one currency, and which credit covers what.

Plain values: no database, no words, no clock. Amounts are floats, in their own currency; how they are rounded, compared
and converted comes with the :class:`Currency`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .judgement import Level


@dataclass(frozen=True, slots=True)
class Currency:
    """What is needed of a currency.

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
class Reason:
    """Why something is not dunned: a code, as `dunning.run.exception` has them, and the values that its words name."""
    code: str
    day: date | None = None
    amount: float | None = None
    currency_id: int | None = None
    text: str = ''
    count: int = 0


@dataclass(frozen=True, slots=True)
class Rest:
    """That an item, or part of it, rests: a promise, a dispute, an answer keep it out.

    :ivar amount: as much of the item as there is, where it is None; 0: nothing rests, and the words are told beside it
    :ivar until: the last day on which it rests, None where that is not known
    :ivar words: why, for a clerk
    :ivar is_contested: the customer says that it is not owed
    :ivar stops_interest: of the same money a :class:`~.rest.Stop` speaks
    """
    line_id: int
    amount: float | None
    until: date | None
    words: str
    is_contested: bool = False
    stops_interest: bool = False


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
    :ivar resting: what of it rests; `contested`: what of that the customer contests; `rest_info`: why, in words
    :ivar resting_stopped: what of that an agreement speaks of that stops its interest
    :ivar left: what of it does not rest, None where it is all or nothing of it
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
    resting: float = 0.0
    resting_stopped: float = 0.0
    left: float | None = None
    contested: float = 0.0
    rest_info: str = ''
    # What credits leave open of it, and which ones took off how much.
    uncovered: float = 0.0
    credit_parts: list[tuple[Item, float]] = field(default_factory=list)
    next_level: Level | None = None
    reason: Reason | None = None

    @property
    def is_outgoing(self):
        """Whether it is money that was paid out to the customer."""
        return self.is_payment and self.residual > 0 and not self.is_claim

    @property
    def claimable(self):
        """What of it may be dunned; of what is blocked, how much it would be."""
        return self.residual if self.left is None else self.left

    def lay_to_rest(self, rests, currency):
        """Let the item rest as far as is said of it; several reasons add up.

        :param list rests: :class:`Rest` of this item
        :param Currency currency: of the item
        """
        def sum_up(parts):
            return min(self.residual, currency.round(sum(
                self.residual if rest.amount is None else max(0.0, rest.amount) for rest in parts)))
        self.resting = sum_up(rests)
        self.resting_stopped = sum_up([rest for rest in rests if rest.stops_interest])
        self.contested = sum_up([rest for rest in rests if rest.is_contested])
        self.rest_info = ' '.join(dict.fromkeys(rest.words for rest in rests))
        if not self.blocked_by and self.resting and currency.compare(self.resting, self.residual) >= 0:
            until = [rest.until for rest in rests if rest.until and rest.amount != 0]
            self.blocked_by = Reason('resting', day=max(until, default=None), text=self.rest_info)
        elif currency.compare(self.resting, self.residual) < 0:
            self.left = currency.round(self.residual - self.resting)

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
    :ivar covered: id of a charge -> what of it is there already
    """
    partner_id: int
    currency_id: int
    items: list[Item] = field(default_factory=list)
    credits: list[Item] = field(default_factory=list)
    others: list[Item] = field(default_factory=list)
    rounding: float = 0.0
    left_over: float = 0.0
    covered: dict[int, float] = field(default_factory=dict)

    def cover_charges(self, covers, currency):
        """Keep what is left of payments for the charges that they are there for; it is no credit.

        :param list covers: (credit's line id, charge id, amount of the charge), in the order in which they are covered
        :param Currency currency: of the debt
        """
        by_line = {credit.line_id: credit for credit in self.credits if credit.is_payment}
        for line_id, charge_id, amount in covers:
            if credit := by_line.get(line_id):
                part = min(-credit.residual, currency.round(amount - self.covered.get(charge_id, 0.0)))
                if currency.compare(part, 0) > 0:
                    credit.residual = currency.round(credit.residual + part)
                    self.covered[charge_id] = currency.round(self.covered.get(charge_id, 0.0) + part)
        self.credits = [credit for credit in self.credits if currency.compare(credit.residual, 0) < 0]

    def offset(self, currency):
        """Set credits off against debits; sets `uncovered` and `credit_parts` of the items, and `left_over`.

        Each side has what belongs to it first: what is excluded from follow-up covers what is excluded, a payment the
        invoices that it names, and money paid out takes back credits, whether or not it is dunned. What is left of the
        credits covers what is due, oldest first.

        :param Currency currency: of the debt
        """
        debits = sorted([*self.items, *self.others], key=lambda item: (item.date_due, item.line_id))
        for item in debits:
            item.uncovered, item.credit_parts = item.claimable, []
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

"""How what rests is laid on items, where several records speak of the same ones.

Plain values: no database, no words, no clock. Amounts are floats, all in one currency.
"""

import math
from collections import defaultdict
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

from .debt import Rest

# Less than this is no amount of any currency.
NOTHING = 1e-6


@dataclass(frozen=True, slots=True)
class Shared:
    """That an amount rests of several items together.

    :ivar items: tuple of (id of the `account.move.line`, due date, open amount), all that it is about
    :ivar until: the last day on which it rests, None where that is not known
    :ivar words: why, for a clerk
    :ivar is_contested: the customer says that it is not owed
    :ivar stops_interest: of the same money a :class:`Stop` speaks
    """
    items: tuple[tuple[int, date, float], ...]
    amount: float
    until: date | None
    words: str
    is_contested: bool = False
    stops_interest: bool = False

    @property
    def line_ids(self):
        """Ids of the items, newest first."""
        newest = sorted(self.items, key=lambda item: (item[1], item[0]), reverse=True)
        return [line_id for line_id, _due, _open in newest]


@dataclass(frozen=True, slots=True)
class Stop:
    """That part of an item bears no interest, as was agreed, whether or not it still rests.

    :ivar begin: the first day without interest
    :ivar end: the last one, None where there is no end
    """
    amount: Decimal
    begin: date
    end: date | None


def list_bearing(steps, stops, resting=Decimal(0), resting_stopped=Decimal(0)):
    """Return what of an item bears interest.

    What rests today bears none on any day. Several stops speak of the same money, promised again and again: the largest
    one holds. So does what rests of it.

    :param list steps: (day, `Decimal` open from that day on), by day
    :param stops: :class:`Stop` of the item
    :param Decimal resting: what of it rests
    :param Decimal resting_stopped: how much of that is money of which stops speak
    :return: list of (day, `Decimal` that bears interest from that day on)
    """
    changes = dict(steps)
    bounds = {stop.begin for stop in stops} | {stop.end + timedelta(days=1) for stop in stops if stop.end}
    bearing, left = [], Decimal(0)
    for day in sorted({*changes, *(bound for bound in bounds if steps and bound > steps[0][0])}):
        left = changes.get(day, left)
        stopped = max(
            (stop.amount for stop in stops if stop.begin <= day and (not stop.end or day <= stop.end)),
            default=Decimal(0))
        off = resting - resting_stopped + max(resting_stopped, stopped)
        bearing.append((day, max(left - off, Decimal(0))))
    return bearing


def lay(shared, rests=()):
    """Lay what rests of several items together on single ones: on the newest, as long as nothing else rests on it.

    As much is laid as there is room for: where an item is taken by what could rest on another one as well, that moves.

    :param shared: list of :class:`Shared`
    :param rests: list of :class:`~.debt.Rest` that are said of one item each
    :return: list of :class:`~.debt.Rest`, of what is shared only
    """
    room = {line_id: amount for one in shared for line_id, _due, amount in one.items}
    for rest in rests:
        # What lets all of an item rest says of no amount that it is anybody's.
        if rest.amount and rest.line_id in room:
            room[rest.line_id] = max(0.0, room[rest.line_id] - rest.amount)
    laid, speak_of = [defaultdict(float) for _one in shared], defaultdict(list)
    for number, one in enumerate(shared):
        for line_id in one.line_ids:
            speak_of[line_id].append(number)

    def put(number, amount, passed):
        """Lay an amount of what has a number; return what no room was found for."""
        for line_id in shared[number].line_ids:
            part = min(amount, room[line_id])
            if part > NOTHING:
                room[line_id] -= part
                laid[number][line_id] += part
                amount -= part
        for line_id in shared[number].line_ids:
            if amount <= NOTHING:
                break
            if line_id in passed:
                continue
            passed.add(line_id)
            for other in speak_of[line_id]:
                part = min(amount, laid[other][line_id])
                if other != number and part > NOTHING:
                    moved = part - put(other, part, passed)
                    laid[other][line_id] -= moved
                    laid[number][line_id] += moved
                    amount -= moved
        return amount

    # What has no choice first; what is contested first, of which letters speak.
    for number in sorted(range(len(shared)), key=lambda number: (
            len(shared[number].items), not shared[number].is_contested, number)):
        left, before = shared[number].amount, math.inf
        while NOTHING < left < before:
            left, before = put(number, left, set()), left
    return [
        Rest(line_id, part, one.until, one.words, one.is_contested, one.stops_interest)
        for one, parts in zip(shared, laid, strict=True) for line_id, part in parts.items() if part > NOTHING]

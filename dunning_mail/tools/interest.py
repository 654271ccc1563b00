"""Simple interest on what was open on each day, with rates that change, as exact decimals and rounded once.

Plain values in, values out: no database, no clock.

Where the rules come from:

- Simple interest, never on interest: BGB 289, OR 105 III, directive 2011/7/EU art. 2 (5).
- Which days bear interest: those after the event that begins default, the last day included; BGB 187 I. On the day of a
  payment the paid part bears none any more, as German courts reckon it.
- A rate holds from its first day on, and a change splits the period: BGB 247, 2011/7/EU art. 2 (7).
- `act_365`: days of the calendar over 365, as German practice reckons (no statute says it). `act_act`: each calendar
  year over its own 365 or 366 days. `30_360`: the European method, months of 30 days, the 31st counts as the 30th and
  February is not stretched; ISDA 2006, 4.16 (g), usual in Switzerland.
"""

from bisect import bisect_right
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Context, Decimal, localcontext
from itertools import pairwise
from math import lcm
from operator import itemgetter
from typing import NamedTuple

DAY_COUNTS = ('act_365', 'act_act', '30_360')
ONE_DAY = timedelta(days=1)
ZERO = Decimal()
# The days of each kind of year divide it: whatever years a sum is of, it is divided once.
COMMON_DAYS = lcm(360, 365, 366)
# Enough for the product of any amount, rate and number of days to be exact.
EXACT = Context(prec=80, rounding=ROUND_HALF_UP)
get_day = itemgetter(0)


class Segment(NamedTuple):
    """Days on which principal and rate were the same; both days included.

    :ivar rate: per cent a year, None where it is unknown: nothing is claimed then
    :ivar days: as the day count reckons, of `year_days` a year
    """
    date_from: date
    date_to: date
    principal: Decimal
    rate: Decimal | None
    days: int
    year_days: int

    @property
    def amount(self):
        """The interest of these days, not rounded."""
        return self.principal * self.rate * self.days / (100 * self.year_days) if self.rate is not None else ZERO


@dataclass(frozen=True, slots=True)
class Calculation:
    """What :func:`calculate` returns.

    :ivar amount: rounded, `exact` before it was
    :ivar segments: tuple of :class:`Segment`, without days on which nothing was open
    """
    amount: Decimal
    exact: Decimal
    segments: tuple[Segment, ...] = ()

    @property
    def unknown_days(self):
        """Number of days of the calendar on which something was open and the rate is unknown."""
        return sum(
            (segment.date_to - segment.date_from).days + 1 for segment in self.segments if segment.rate is None)


def calculate(principal, rates, begin, end, day_count, digits=2):
    """Calculate the interest on one claim.

    :param principal: (day, `Decimal` open from that day on), in any order; before the first day nothing is open
    :param rates: (day, `Decimal` per cent a year from that day on, None: unknown), in any order; before the first day
        the rate is unknown
    :param date begin: first day that bears interest
    :param date end: last day that bears interest; before `begin`: none does
    :param str day_count: one of :data:`DAY_COUNTS`
    :param int digits: decimals of the currency
    :return: :class:`Calculation`
    :raise ValueError: two amounts or two rates for one day, or no such day count
    """
    if day_count not in DAY_COUNTS:
        raise ValueError(f"unknown day count {day_count!r}, known are {', '.join(DAY_COUNTS)}")
    principal, rates = _sort(principal, 'amounts'), _sort(rates, 'rates')
    segments = _join(_split(principal, rates, begin, end, day_count), day_count) if begin <= end else ()
    with localcontext(EXACT):
        exact = sum((
            segment.principal * segment.rate * segment.days * (COMMON_DAYS // segment.year_days)
            for segment in segments if segment.rate is not None), ZERO) / (100 * COMMON_DAYS)
    return Calculation(round_half_up(exact, Decimal(1).scaleb(-digits)), exact, segments)


def recalculate(segments, principal=None):
    """Calculate again: the same days by the same rates, on no more than what was open as is known now.

    :param segments: list of :class:`Segment`, by their days
    :param principal: as for :func:`calculate`; without it the calculation is that of the segments
    :return: :class:`Calculation`
    """
    if not segments:
        return Calculation(ZERO, ZERO)
    year_days = {segment.year_days for segment in segments}
    day_count = '30_360' if 360 in year_days else 'act_act' if 366 in year_days else 'act_365'
    known = _sort(principal or (), 'amounts')
    steps = {segment.date_to + ONE_DAY: ZERO for segment in segments}
    for segment in segments:
        steps[segment.date_from] = segment.principal
        if principal is not None:
            changes = [day for day, _amount in known if segment.date_from < day <= segment.date_to]
            for day in (segment.date_from, *changes):
                steps[day] = min(segment.principal, _get_value(known, day) or ZERO)
    return calculate(
        steps.items(), [(segment.date_from, segment.rate) for segment in segments], segments[0].date_from,
        segments[-1].date_to, day_count)


def round_half_up(value, step):
    """Round to a multiple of the smallest amount of a currency.

    :param Decimal value: what is rounded
    :param Decimal step: the smallest amount, for example 0.01 or 0.05
    """
    with localcontext(EXACT):
        return (value / step).quantize(Decimal(1)) * step


def _sort(rows, what):
    rows = sorted(rows, key=get_day)
    for one, other in pairwise(rows):
        if one[0] == other[0]:
            raise ValueError(f"two {what} for {one[0]}")
    return rows


def _split(principal, rates, begin, end, day_count):
    """Yield the days between changes as (first day, last day, principal, rate, days of the year)."""
    starts = {begin}
    starts.update(day for rows in (principal, rates) for day, _value in rows if begin < day <= end)
    if day_count == 'act_act':
        starts.update(date(year, 1, 1) for year in range(begin.year + 1, end.year + 1))
    starts = sorted(starts)
    for start, last in zip(starts, [*(start - ONE_DAY for start in starts[1:]), end], strict=True):
        open_amount = _get_value(principal, start)
        if open_amount and open_amount > 0:
            yield start, last, open_amount, _get_value(rates, start), _get_year_days(start, day_count)


def _get_value(rows, day):
    """Return what holds on a day, None before the first one."""
    index = bisect_right(rows, day, key=get_day)
    return rows[index - 1][1] if index else None


def _join(pieces, day_count):
    """Make segments of the pieces: changes that change nothing are none.

    :param pieces: what :func:`_split` yields
    """
    segments = []
    for start, last, *same in pieces:
        if segments and segments[-1][2:] == same and segments[-1][1] + ONE_DAY == start:
            segments[-1][1] = last
        else:
            segments.append([start, last, *same])
    return tuple(
        Segment(start, last, open_amount, rate, _count_days(start, last, day_count), year_days)
        for start, last, open_amount, rate, year_days in segments)


def _get_year_days(day, day_count):
    if day_count == 'act_act':
        return (date(day.year + 1, 1, 1) - date(day.year, 1, 1)).days
    return 365 if day_count == 'act_365' else 360


def _count_days(first, last, day_count):
    """Count the days of a period, both included: those up to its end less those up to the day before it."""
    if day_count == '30_360':
        return _number_30(last) - _number_30(first - ONE_DAY)
    return (last - first).days + 1


def _number_30(day):
    return 360 * day.year + 30 * day.month + min(day.day, 30)

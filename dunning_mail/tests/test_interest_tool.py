"""Interest as plain values: cases worked out by hand, and a slow reckoning day by day. No database."""

import calendar
import functools
import unittest
from datetime import date, timedelta
from decimal import Decimal, localcontext
from fractions import Fraction

from odoo.tests import BaseCase, tagged

from odoo.addons.dunning_mail.tools import interest

from .ledgers import SEED, hypothesis

if hypothesis:
    from hypothesis import strategies as st

EXAMPLES = 300
FIRST_DAY = date(2022, 11, 1)
LONG_AGO = date(2000, 1, 1)
GERMAN = [(date(2026, 1, 1), Decimal('10.27')), (date(2026, 7, 1), Decimal('10.52'))]
SWISS = [(LONG_AGO, Decimal(5))]


def decimals(rows):
    return [(date.fromisoformat(day), None if value is None else Decimal(value)) for day, value in rows]


def day(text):
    return date.fromisoformat(text)


def value_on(rows, asked, default=None):
    return max((row for row in rows if row[0] <= asked), key=lambda row: row[0], default=(None, default))[1]


def weigh(asked, day_count):
    """Return what one day counts, as a part of a year: slowly, and another way than the tool does."""
    if day_count == 'act_365':
        return Fraction(1, 365)
    if day_count == 'act_act':
        return Fraction(1, 366 if calendar.isleap(asked.year) else 365)
    # The 31st counts for nothing; after a short February, March's first day counts for what is missing.
    before = asked - timedelta(days=1)
    if asked.day == 31:
        return Fraction(0)
    if asked.day == 1 and before.month == 2:
        return Fraction(31 - before.day, 360)
    return Fraction(1, 360)


def reckon(principal, rates, begin, end, day_count):
    """Return the interest day by day as `Fraction`."""
    total = Fraction(0)
    for number in range((end - begin).days + 1):
        asked = begin + timedelta(days=number)
        rate = value_on(rates, asked)
        if rate is not None:
            total += Fraction(value_on(principal, asked, Decimal(0))) * Fraction(rate) / 100 * weigh(asked, day_count)
    return total


def round_half_up(value, digits):
    scaled = abs(value) * 10 ** digits
    return Fraction(int(scaled + Fraction(1, 2)) * (1 if value >= 0 else -1), 10 ** digits)


@tagged('post_install', '-at_install')
class TestInterest(BaseCase):

    def calculate(self, principal, rates, begin, end, day_count='act_365', digits=2):
        return interest.calculate(decimals(principal), rates, day(begin), day(end), day_count, digits)

    def check(self, amount, *args, **values):
        calculation = self.calculate(*args, **values)
        self.assertEqual(calculation.amount, Decimal(amount))
        # As it is written on a letter.
        self.assertEqual(str(calculation.amount), amount)
        return calculation

    def test_vectors(self):
        """Sums that others have worked out."""
        for name, amount, principal, rates, begin, end, day_count in (
                ('a rate that changes, businesses', '17.94', [('2026-05-01', 1000)], GERMAN, '2026-05-30',
                 '2026-07-31', 'act_365'),
                ('the same, consumers', '11.03', [('2026-05-01', 1000)],
                 [(first, rate - 4) for first, rate in GERMAN], '2026-05-30', '2026-07-31', 'act_365'),
                ('paid in part after a year', '15.00', [('2024-01-01', 200), ('2025-01-01', 100)], SWISS,
                 '2024-01-01', '2025-12-31', '30_360'),
                ('25 days', '3.51', [('2024-01-01', 1000)], [(LONG_AGO, Decimal('5.12'))], '2026-03-01', '2026-03-25',
                 'act_365'),
                ('from the 31st to the end of February', '40.97', [('2025-10-01', 2500)], SWISS, '2025-11-01',
                 '2026-02-28', '30_360'),
                ('less than half a cent', '0.00', [('2026-01-01', '14.60')], [(LONG_AGO, Decimal(1))], '2026-03-01',
                 '2026-03-10', 'act_365'),
                ('from the end of February', '44.44', [('2026-01-01', 10000)], SWISS, '2026-03-01', '2026-03-31',
                 '30_360')):
            with self.subTest(name):
                self.check(amount, principal, rates, begin, end, day_count=day_count)

    def test_days_of_the_european_method(self):
        """By hand: 360 y + 30 m + d, the 31st counted as the 30th."""
        for days, begin, end in (
                (30, '2026-01-01', '2026-01-31'), (30, '2026-01-01', '2026-01-30'), (0, '2026-01-31', '2026-01-31'),
                (28, '2026-02-01', '2026-02-28'), (29, '2024-02-01', '2024-02-29'), (3, '2026-03-01', '2026-03-01'),
                (2, '2024-03-01', '2024-03-01'), (359, '2024-03-01', '2025-02-28'), (360, '2025-01-01', '2025-12-31'),
                (360, '2024-02-29', '2025-02-28'), (1, '2024-02-29', '2024-02-29')):
            with self.subTest(begin=begin, end=end):
                calculation = self.calculate([('2020-01-01', 360)], [(LONG_AGO, Decimal(100))], begin, end, '30_360')
                self.assertEqual(calculation.amount, days)

    def test_split_at_the_end_of_february(self):
        """Two parts are the whole, wherever it is split; other ways of counting lose or win two days there."""
        for year in (2019, 2020):
            whole = self.calculate([('2015-01-01', 36000)], SWISS, f'{year}-02-16', f'{year}-03-15', '30_360').amount
            self.assertEqual(whole, 150)
            for number in range(27):
                cut = date(year, 2, 16) + timedelta(days=number)
                parts = [self.calculate([('2015-01-01', 36000)], SWISS, begin, end, '30_360').amount for begin, end in (
                    (f'{year}-02-16', str(cut)), (str(cut + timedelta(days=1)), f'{year}-03-15'))]
                self.assertEqual(sum(parts), whole, cut)
        # From 28 February of a leap year 32 days to the end of March, from the 29th 31.
        for begin, days in (('2020-02-29', 32), ('2020-03-01', 31)):
            [segment] = self.calculate([('2015-01-01', 1)], SWISS, begin, '2020-03-31', '30_360').segments
            self.assertEqual(segment.days, days)

    def test_leap_years(self):
        year = [('2020-01-01', 36500)], [(LONG_AGO, Decimal(1))]
        self.check('365.00', *year, '2023-01-01', '2023-12-31')
        self.check('366.00', *year, '2024-01-01', '2024-12-31')
        self.check('365.00', *year, '2024-01-01', '2024-12-31', day_count='act_act')
        self.check('1.00', *year, '2024-02-29', '2024-02-29')
        # 31 days of 365 and 60 days of 366: 36500 x 1 % x (31/365 + 60/366) = 31 + 59.836066
        calculation = self.check('90.84', *year, '2023-12-01', '2024-02-29', day_count='act_act')
        self.assertEqual([(s.date_from, s.days, s.year_days) for s in calculation.segments],
                         [(day('2023-12-01'), 31, 365), (day('2024-01-01'), 60, 366)])
        # 100 years ahead there is none
        self.check('365.00', *year, '2100-01-01', '2100-12-31', day_count='act_act')

    def test_no_day_lost_or_counted_twice(self):
        calculation = self.calculate([('2026-05-01', 1000), ('2026-06-15', 400)], GERMAN, '2026-05-30', '2026-07-31')
        self.assertEqual(
            [(str(s.date_from), str(s.date_to), s.principal, s.rate, s.days) for s in calculation.segments], [
                ('2026-05-30', '2026-06-14', 1000, Decimal('10.27'), 16),
                ('2026-06-15', '2026-06-30', 400, Decimal('10.27'), 16),
                ('2026-07-01', '2026-07-31', 400, Decimal('10.52'), 31)])
        # 1000 x 10.27 x 16 + 400 x 10.27 x 16 + 400 x 10.52 x 31 over 36500
        self.assertEqual(calculation.amount, Decimal('9.88'))
        # The first day may be the one on which the rate changes, or the last one.
        self.check('2.88', [('2026-05-01', 10000)], GERMAN, '2026-07-01', '2026-07-01')
        self.check('5.70', [('2026-05-01', 10000)], GERMAN, '2026-06-30', '2026-07-01')
        # A row that changes nothing is no change.
        same = [*GERMAN, (day('2027-01-01'), Decimal('10.52'))]
        self.assertEqual(len(self.calculate([('2026-05-01', 1)], same, '2026-12-01', '2027-01-31').segments), 1)

    def test_payments(self):
        # The day on which all is paid bears none.
        self.check('1.00', [('2026-01-01', 7300), ('2026-03-03', 0)], SWISS, '2026-03-02', '2026-03-31')
        nothing = self.check('0.00', [('2026-01-01', 7300), ('2026-03-01', 0)], SWISS, '2026-03-01', '2026-03-31')
        self.assertEqual(nothing.segments, ())
        # Nothing is open before the first day, and what is overpaid bears none.
        self.check('1.00', [('2026-03-31', 7300)], SWISS, '2026-03-01', '2026-03-31')
        self.check('0.00', [('2026-01-01', -7300)], SWISS, '2026-03-01', '2026-03-31')
        # Open again later; the order of the rows says nothing.
        self.check('2.00', [('2026-03-10', 7300), ('2026-01-01', 7300), ('2026-03-02', 0)], SWISS, '2026-03-01',
                   '2026-03-10')

    def test_unknown_rates(self):
        for rates, unknown in (
                ([], 31), (decimals([('2026-03-11', '5')]), 10),
                (decimals([('2026-01-01', '5'), ('2026-03-31', None)]), 1),
                (decimals([('2026-01-01', '5'), ('2026-03-11', None), ('2026-03-21', '5')]), 10)):
            with self.subTest(unknown=unknown):
                calculation = self.calculate([('2026-01-01', 7300)], rates, '2026-03-01', '2026-03-31')
                self.assertEqual(calculation.unknown_days, unknown)
                self.assertEqual(calculation.amount, 31 - unknown)
                self.assertEqual([s.amount for s in calculation.segments if s.rate is None],
                                 [0] * sum(s.rate is None for s in calculation.segments))
        # What is not open asks for no rate.
        self.assertEqual(self.calculate([], [], '2026-03-01', '2026-03-31').unknown_days, 0)

    def test_digits(self):
        # 12345 x 5 % x 31 / 365 = 52.42397...; 52.4239726
        for digits, amount in ((0, '52'), (2, '52.42'), (3, '52.424'), (5, '52.42397')):
            with self.subTest(digits=digits):
                self.check(amount, [('2026-01-01', 12345)], SWISS, '2026-03-01', '2026-03-31', digits=digits)
        # Half of the smallest amount is rounded up, also where its parts have no end: 1/3 + 1/6 of a cent.
        third = [('2026-01-01', Decimal('0.12')), ('2026-01-21', Decimal('0.12'))]
        self.check('0.01', third, [(LONG_AGO, Decimal(50))], '2026-01-01', '2026-01-30', day_count='30_360')
        step = Decimal('0.05')
        for value, rounded in (('1.024', '1.00'), ('1.025', '1.05'), ('1.07', '1.05'), ('1.075', '1.10')):
            self.assertEqual(interest.round_half_up(Decimal(value), step), Decimal(rounded))

    def test_large_and_small(self):
        """No digit is lost, whatever a caller reckons with elsewhere."""
        with localcontext() as context:
            context.prec = 6
            self.check('61728394511.11', [('2026-01-01', '98765431217.77')], [(LONG_AGO, Decimal('62.5'))],
                       '2025-01-01', '2026-12-31', day_count='30_360')
            self.check('0.00', [('2026-01-01', '0.01')], SWISS, '2026-01-01', '2026-12-31')

    def test_bad_input(self):
        for words, principal, rates, day_count in (
                ('two rates for 2026-01-01', [], [GERMAN[0], GERMAN[0]], 'act_365'),
                ('two amounts for 2026-01-01', [GERMAN[0], GERMAN[0]], SWISS, 'act_365'),
                ("unknown day count ''", [], SWISS, ''), ('unknown day count None', [], SWISS, None)):
            with self.subTest(words), self.assertRaisesRegex(ValueError, words):
                interest.calculate(principal, rates, day('2026-01-01'), day('2026-02-01'), day_count)
        # Binary fractions are none of ours.
        with self.assertRaises(TypeError):
            interest.calculate([(LONG_AGO, 0.1)], SWISS, day('2026-01-01'), day('2026-02-01'), 'act_365')

    def test_no_days(self):
        for begin, end in (('2026-03-02', '2026-03-01'), ('2026-03-01', '2020-03-01')):
            for day_count in interest.DAY_COUNTS:
                self.assertEqual(self.calculate(
                    [('2026-01-01', 1000)], SWISS, begin, end, day_count), interest.Calculation(
                    Decimal('0.00'), Decimal(0), ()))
            # What is wrong is wrong also where there is nothing to reckon.
            with self.assertRaises(ValueError):
                self.calculate([], [], begin, end, 'bogus')


def make_strategies():
    days = st.integers(0, 1500).map(lambda number: FIRST_DAY + timedelta(days=number))
    # Month ends, leap days and changes of the rate are where days are lost.
    turns = st.sampled_from([
        date(2024, 2, 29), date(2024, 2, 28), date(2024, 3, 1), date(2025, 2, 28), date(2025, 3, 1), date(2023, 12, 31),
        date(2024, 1, 1), date(2024, 1, 30), date(2024, 1, 31), date(2024, 12, 31), date(2025, 7, 1)])
    some_days = st.one_of(days, turns)
    amounts = st.integers(0, 10_000_000).map(lambda cents: Decimal(cents) / 100)
    rates = st.one_of(st.integers(-200, 1500).map(lambda points: Decimal(points) / 100), st.none())

    def rows(values):
        return st.dictionaries(some_days, values, max_size=5).map(lambda found: list(found.items()))

    return {'principal': rows(amounts), 'rates': rows(rates), 'begin': some_days, 'end': some_days,
            'day_count': st.sampled_from(interest.DAY_COUNTS)}


def with_examples(**more):
    """Run a test with random claims, always the same ones for a seed."""
    def decorate(test):
        if not hypothesis:
            return test

        @functools.wraps(test)
        def run(self):
            @hypothesis.seed(SEED)
            @hypothesis.settings(max_examples=EXAMPLES, database=None, deadline=None)
            @hypothesis.given(**make_strategies(), **more)
            def check(**values):
                test(self, **values)

            check()
        return run
    return decorate


@unittest.skipUnless(hypothesis, "hypothesis is not installed")
@tagged('post_install', '-at_install')
class TestInterestProperties(BaseCase):

    @with_examples()
    def test_day_by_day(self, principal, rates, begin, end, day_count):
        calculation = interest.calculate(principal, rates, begin, end, day_count)
        slow = reckon(principal, rates, begin, end, day_count)
        self.assertEqual(Fraction(calculation.amount), round_half_up(slow, 2))
        self.assertAlmostEqual(float(calculation.exact), float(slow), places=9)
        self.assertAlmostEqual(float(sum(s.amount for s in calculation.segments)), float(slow), places=9)
        # Days that bear interest are in one segment each, and the others in none.
        in_segments = [s.date_from + timedelta(days=number) for s in calculation.segments
                       for number in range((s.date_to - s.date_from).days + 1)]
        bearing = [begin + timedelta(days=number) for number in range((end - begin).days + 1)]
        self.assertEqual(in_segments, [asked for asked in bearing if value_on(principal, asked, 0) > 0])
        self.assertEqual(calculation.unknown_days, sum(value_on(rates, asked) is None for asked in in_segments))

    @with_examples(**({'cut': make_strategies()['begin']} if hypothesis else {}))
    def test_split_anywhere(self, principal, rates, begin, end, day_count, cut):
        begin, cut, end = sorted((begin, cut, end))
        whole, first, second = (
            Fraction(interest.calculate(principal, rates, *period, day_count).exact)
            for period in ((begin, end), (begin, cut), (cut + timedelta(days=1), end)))
        self.assertLess(abs(whole - first - second), Fraction(1, 10 ** 50))

    @with_examples(**({'more': st.integers(1, 10_000_000)} if hypothesis else {}))
    def test_more_principal(self, principal, rates, begin, end, day_count, more):
        rates = [(first, None if rate is None else abs(rate)) for first, rate in rates]
        less = interest.calculate(principal, rates, begin, end, day_count).amount
        larger = [(first, amount + Decimal(more) / 100) for first, amount in principal]
        self.assertGreaterEqual(interest.calculate(larger, rates, begin, end, day_count).amount, less)
        self.assertGreaterEqual(less, 0)

    @with_examples(**({'known': make_strategies()['principal']} if hypothesis else {}))
    def test_recalculated(self, principal, rates, begin, end, day_count, known):
        """From its segments alone: the same, and less where less was open."""
        calculation = interest.calculate(principal, rates, begin, end, day_count)
        self.assertEqual(interest.recalculate(calculation.segments), calculation)
        lower = [(first, min(value_on(principal, first, 0), value_on(known, first, 0)))
                 for first in {first for first, _amount in principal + known}]
        self.assertEqual(
            interest.recalculate(calculation.segments, known).exact,
            interest.calculate(lower, rates, begin, end, day_count).exact)

    @with_examples()
    def test_order_of_rows(self, principal, rates, begin, end, day_count):
        self.assertEqual(
            interest.calculate(principal, rates, begin, end, day_count),
            interest.calculate(sorted(principal, reverse=True), sorted(
                rates, key=lambda row: row[0], reverse=True), begin, end, day_count))

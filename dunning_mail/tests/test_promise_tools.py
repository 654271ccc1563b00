"""What becomes of a promise, on plain values: no database. Without Odoo too, in a moment:

    python dunning_mail/tests/test_promise_tools.py
"""

import pathlib
import random
import sys
import unittest
from datetime import date, timedelta

try:
    from odoo.tests import BaseCase, tagged

    from ..tools.promise import Money, Part, Promise, split
except ImportError:
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
    from tools.promise import Money, Part, Promise, split

    BaseCase = unittest.TestCase

    def tagged(*_tags):
        return lambda case: case

TODAY = date(2026, 11, 1)


def day(number):
    return TODAY + timedelta(days=number)


class PromiseCase(BaseCase):

    def make(self, *lines, grace=2, whole=False):
        return Promise([(day(number), amount) for number, amount in lines], grace, whole)

    def pay(self, *parts, opened=100.0):
        """What came: (day, amount), a third value for a credit note."""
        credited = sum(amount for _number, amount, *kind in parts if any(kind))
        paid = [Part(day(number), amount) for number, amount, *kind in parts if not any(kind)]
        return Money(opened, opened - credited - sum(part.amount for part in paid), credited, paid)


@tagged('post_install', '-at_install')
class TestValue(PromiseCase):

    def assertStates(self, promise, money, expected):
        """The state on days: dict day -> state."""
        self.assertEqual({number: promise.value(money, day(number)) for number in expected}, expected)

    def test_nothing_comes(self):
        self.assertStates(self.make((10, 100.0)), self.pay(), {
            0: 'open', 10: 'open', 12: 'open', 13: 'broken', 99: 'broken'})

    def test_all_comes(self):
        for number in (0, 10, 12):
            self.assertStates(self.make((10, 100.0)), self.pay((number, 100.0)), {12: 'kept', 13: 'kept'})

    def test_too_late(self):
        """What comes too late does not mend it; what becomes known late, does."""
        self.assertStates(self.make((10, 100.0)), self.pay((13, 100.0)), {14: 'broken'})
        self.assertStates(self.make((10, 100.0)), self.pay((12, 100.0)), {14: 'kept'})
        self.assertStates(self.make((10, 100.0)), self.pay((9, 30.0), (13, 70.0)), {14: 'partly'})

    def test_part(self):
        self.assertStates(self.make((10, 100.0)), self.pay((10, 99.99)), {12: 'open', 13: 'partly'})
        self.assertStates(self.make((10, 60.0)), self.pay((10, 60.0)), {12: 'open', 13: 'kept'})

    def test_what_is_due_besides(self):
        """60 of 100 promised for later, 40 dunned: what comes before pays the 40, and the 60 rest until their day."""
        promise = self.make((10, 60.0))
        for paid, rest in ((40.0, 60.0), (50.0, 50.0), (60.0, 40.0), (100.0, 0.0)):
            money = self.pay((3, paid))
            self.assertEqual(promise.get_resting(money, day(12)), rest)
            self.assertEqual(promise.value(money, day(12)), 'kept' if paid == 100.0 else 'open')
            self.assertEqual((promise.get_resting(money, day(13)), promise.value(money, day(13))), (
                0.0, 'kept' if paid >= 60.0 else 'partly'))
        plan = self.make((10, 30.0), (20, 30.0))
        self.assertEqual([plan.get_resting(self.pay((3, 40.0)), day(number)) for number in (12, 13, 23)],
                         [60.0, 30.0, 0.0])

    def test_credit_note_is_no_broken_promise(self):
        self.assertStates(self.make((10, 100.0)), self.pay((5, 30.0, 'refund'), (10, 70.0)), {13: 'kept'})
        self.assertStates(self.make((10, 100.0)), self.pay((40, 100.0, 'refund')), {50: 'kept'})
        self.assertStates(self.make((10, 100.0)), self.pay((5, 30.0, 'refund')), {13: 'broken'})
        self.assertStates(self.make((10, 100.0)), self.pay((5, 30.0, 'refund'), (9, 10.0)), {13: 'partly'})
        # It is no payment either: of what was promised for less than all, as much is to be paid as before.
        part = self.make((10, 70.0))
        self.assertStates(part, self.pay((5, 30.0, 'refund')), {12: 'open', 13: 'broken'})
        self.assertStates(part, self.pay((5, 30.0, 'refund'), (9, 70.0)), {9: 'kept'})
        self.assertEqual(part.get_resting(self.pay((5, 30.0, 'refund')), day(9)), 70.0)

    def test_nothing_is_left_to_pay(self):
        """Less was owed than what was promised for: paid otherwise meanwhile."""
        self.assertStates(self.make((10, 100.0)), self.pay((3, 40.0), opened=40.0), {13: 'kept'})

    def test_undone(self):
        """What was reconciled when it was promised is set free again: that is no negative payment."""
        money = Money(60.0, 100.0, 0.0, [])
        self.assertEqual(money.received, 0.0)
        self.assertStates(self.make((10, 60.0)), money, {0: 'open', 13: 'broken'})

    def test_earlier_payment_is_taken_back(self):
        """40 had been paid when 60 were promised; these came, and the 40 went: kept, and the 40 do not rest."""
        money = Money(60.0, 40.0, 0.0, [Part(day(3), 60.0)], restored=40.0)
        promise = self.make((10, 60.0))
        self.assertStates(promise, money, {4: 'kept', 13: 'kept'})
        self.assertEqual((promise.get_resting(money, day(4)), money.received), (0.0, 60.0))
        self.assertStates(promise, Money(60.0, 100.0, 0.0, [], restored=40.0), {4: 'open', 13: 'broken'})

    def test_plan(self):
        plan = self.make((10, 50.0), (20, 50.0))
        self.assertStates(plan, self.pay((10, 50.0)), {13: 'open', 22: 'open', 23: 'partly'})
        self.assertStates(plan, self.pay(), {13: 'open', 22: 'open', 23: 'broken'})
        self.assertStates(plan, self.pay((15, 50.0), (20, 50.0)), {13: 'kept', 23: 'kept'})
        self.assertEqual(plan.find_late(self.pay((15, 50.0), (20, 50.0)), day(30)), [day(10)])
        self.assertEqual(plan.find_late(self.pay((5, 100.0)), day(30)), [])

    def test_plan_that_falls_due_as_a_whole(self):
        plan = self.make((10, 50.0), (20, 50.0), whole=True)
        self.assertStates(plan, self.pay(), {12: 'open', 13: 'broken'})
        self.assertStates(plan, self.pay((12, 20.0)), {12: 'open', 13: 'partly'})
        self.assertStates(plan, self.pay((15, 50.0), (20, 50.0)), {23: 'broken'})
        self.assertStates(plan, self.pay((12, 50.0), (22, 50.0)), {13: 'kept', 23: 'kept'})

    def test_over(self):
        """Its day is over, and nothing came: in the days of grace, and later; what came in them is no fault."""
        plan = self.make((10, 100.0), (20, 50.0))
        for paid, today, over in (
                ((), 10, []), ((), 11, [10]), ((), 13, [10]), ((), 30, [10, 20]), ([(9, 100.0)], 11, []),
                ([(12, 100.0)], 13, []), ([(13, 100.0)], 14, [10]), ([(9, 100.0)], 21, [20])):
            with self.subTest(paid=paid, today=today):
                money = self.pay(*paid, opened=150.0)
                self.assertEqual(plan.find_over(money, day(today)), [day(number) for number in over])

    def test_on_its_way(self):
        """What is registered for an instalment keeps all of the plan from being late; what comes too late does not."""
        for whole in (False, True):
            plan = self.make((10, 50.0), (20, 50.0), whole=whole)
            for number, amount, late in ((12, 50.0, []), (13, 50.0, [day(10)]), (5, 49.0, [day(10)])):
                money = self.pay()
                money.on_way = [Part(day(number), amount)]
                self.assertEqual(plan.find_late(money, day(13)), late)
                self.assertEqual(plan.value(money, day(13)), 'broken' if late and whole else 'open')
                self.assertEqual(plan.get_resting(money, day(13)), 0.0 if late and whole else 50.0)
                self.assertEqual(plan.value(money, day(23)), 'broken')
        money = self.pay((9, 50.0))
        money.on_way = [Part(day(19), 30.0), Part(day(20), 20.0)]
        self.assertStates(plan, money, {13: 'open', 23: 'open', 90: 'open'})
        self.assertEqual(plan.get_resting(money, day(23)), 0.0, "it rests no more: the credit covers it")

    def test_next_day(self):
        plan = self.make((10, 50.0), (20, 50.0))
        self.assertEqual([plan.get_next_day(self.pay((1, amount))) for amount in (10.0, 50.0, 100.0)],
                         [day(10), day(20), None])


@tagged('post_install', '-at_install')
class TestResting(PromiseCase):

    def assertResting(self, promise, money, expected):
        self.assertEqual({number: promise.get_resting(money, day(number)) for number in expected}, expected)

    def test_promise(self):
        self.assertResting(self.make((10, 100.0)), self.pay(), {0: 100.0, 12: 100.0, 13: 0.0})
        self.assertResting(self.make((10, 100.0)), self.pay((3, 30.0)), {12: 70.0, 13: 0.0})

    def test_plan(self):
        plan = self.make((10, 50.0), (20, 30.0), (30, 20.0))
        self.assertResting(plan, self.pay(), {12: 100.0, 13: 50.0, 23: 20.0, 33: 0.0})
        self.assertResting(plan, self.pay((40, 50.0)), {13: 50.0, 23: 20.0})
        self.assertResting(plan, self.pay((5, 60.0)), {12: 40.0, 23: 20.0})

    def test_plan_that_falls_due_as_a_whole(self):
        plan = self.make((10, 50.0), (20, 50.0), whole=True)
        self.assertResting(plan, self.pay(), {12: 100.0, 13: 0.0})
        self.assertResting(plan, self.pay((5, 50.0)), {12: 50.0, 13: 50.0, 23: 0.0})

    def test_never_more_than_is_promised_and_open(self):
        source = random.Random(4711)
        for _round in range(500):
            lines = sorted(
                (source.randrange(40), source.randrange(1, 60) + 0.25) for _line in range(source.randint(1, 6)))
            promise = self.make(*lines, grace=source.randrange(4), whole=source.random() < 0.5)
            money = self.pay(*((source.randrange(60), source.randrange(1, 40) * 1.0, source.random() < 0.2)
                               for _part in range(source.randint(0, 4))), opened=300.0)
            total, before = sum(amount for _day, amount in lines), None
            for number in range(0, 60, 3):
                rest = promise.get_resting(money, day(number))
                self.assertLessEqual(rest, total + 1e-9)
                self.assertLessEqual(rest, money.left + 1e-9)
                self.assertTrue(before is None or rest <= before + 1e-9, "less and less rests as time goes by")
                before = rest
            self.assertEqual(before, 0.0, "nothing rests for ever")
            self.assertNotEqual(promise.value(money, day(60)), 'open')


@tagged('post_install', '-at_install')
class TestSplit(BaseCase):

    def test_last_takes_the_rest(self):
        for total, count, expected in ((100.0, 3, [33.33, 33.33, 33.34]), (203.0, 6, [33.83] * 5 + [33.85]),
                                       (100.0, 1, [100.0]), (0.05, 2, [0.03, 0.02])):
            self.assertEqual(split(total, count, lambda amount: round(amount + 1e-9, 2)), expected)


if __name__ == '__main__':
    unittest.main()

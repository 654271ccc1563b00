"""What rests, laid on items: on plain values, no database. Without Odoo too, in a moment:

    python dunning_mail/tests/test_rest_tools.py
"""

import itertools
import pathlib
import random
import sys
import unittest
from collections import Counter
from datetime import date

try:
    from odoo.tests import BaseCase, tagged

    from ..tools.debt import Rest
    from ..tools.rest import Shared, lay
except ImportError:
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
    from tools.debt import Rest
    from tools.rest import Shared, lay

    BaseCase = unittest.TestCase

    def tagged(*_tags):
        return lambda case: case


@tagged('post_install', '-at_install')
class TestLay(BaseCase):
    """Items are 1, 2, 3 ...; the higher, the newer."""

    def lay(self, opened, *shared, rests=()):
        """Lay (amount, ids of items, whether it is contested) on items: dict id -> what rests of it."""
        found = lay([
            Shared(tuple((number, date(2026, 1, number), opened[number]) for number in ids), amount, None, '', *more)
            for amount, ids, *more in shared], rests)
        total = Counter()
        for rest in found:
            total[rest.line_id] += rest.amount
        self.found = found
        return dict(total)

    def test_on_the_newest(self):
        opened = {1: 100.0, 2: 50.0}
        self.assertEqual(self.lay(opened, (60.0, (1, 2))), {2: 50.0, 1: 10.0})
        self.assertEqual(self.lay(opened, (40.0, (1, 2))), {2: 40.0})
        self.assertEqual(self.lay(opened, (400.0, (1, 2))), {2: 50.0, 1: 100.0})
        self.assertEqual(self.lay(opened, (0.0, (1, 2))), {})

    def test_what_is_taken_is_left_to_others(self):
        opened = {1: 500.0, 2: 500.0, 3: 500.0}
        both = (1, 2)
        for shared in (
                [(500.0, both), (500.0, both)], [(500.0, both), (500.0, (2,), True)],
                [(500.0, (2,), True), (500.0, both)], [(500.0, both, True), (500.0, (2,))]):
            self.assertEqual(self.lay(opened, *shared), {1: 500.0, 2: 500.0})
        # One that came first moves to where it can, however long the chain.
        self.assertEqual(self.lay(opened, (500.0, both), (1000.0, (2, 3))), {1: 500.0, 2: 500.0, 3: 500.0})
        self.assertEqual(
            self.lay({**opened, 4: 500.0}, (500.0, both), (500.0, (2, 3)), (1000.0, (3, 4))),
            {1: 500.0, 2: 500.0, 3: 500.0, 4: 500.0})

    def test_what_is_contested_comes_first(self):
        self.lay({1: 100.0}, (70.0, (1,)), (60.0, (1,), True))
        self.assertEqual({rest.is_contested: rest.amount for rest in self.found}, {True: 60.0, False: 40.0})

    def test_beside_what_is_said_of_one_item(self):
        opened = {1: 500.0, 2: 500.0}
        self.assertEqual(
            self.lay(opened, (500.0, (1, 2)), rests=[Rest(2, 300.0, None, '')]), {2: 200.0, 1: 300.0})
        # All of it rests for some days: that is nobody's payment.
        self.assertEqual(self.lay(opened, (500.0, (1, 2)), rests=[Rest(2, None, None, '')]), {2: 500.0})

    def test_as_much_as_there_is_room_for(self):
        """Against what is known of flows: of each set of items, at most what is open of it, and all else is laid."""
        source = random.Random(17)
        for _round in range(300):
            opened = {number: source.randrange(0, 90) + 0.25 for number in range(1, source.randint(2, 5))}
            shared = [(source.randrange(0, 150) * 1.0,
                       tuple(source.sample(list(opened), source.randint(1, len(opened)))), source.random() < 0.5)
                      for _record in range(source.randint(1, 5))]
            laid = self.lay(opened, *shared)
            for line_id, amount in laid.items():
                self.assertLessEqual(amount, opened[line_id] + 1e-6)
            most = min(
                sum(opened[line_id] for line_id in some)
                + sum(amount for amount, ids, _is_contested in shared if not set(ids) <= set(some))
                for count in range(len(opened) + 1) for some in itertools.combinations(opened, count))
            self.assertAlmostEqual(sum(laid.values()), most, 4)


if __name__ == '__main__':
    unittest.main()

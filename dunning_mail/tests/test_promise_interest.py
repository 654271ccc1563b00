"""Interest on what was promised: it goes on, or stops, as was agreed. Reckoned by hand: 7,300 at 5 % are 1.00 a day."""

from datetime import date
from decimal import Decimal

from odoo.tests import tagged

from ..tools.rest import Stop, list_bearing
from .test_interest_ledger import InterestCase
from .test_promise import RestCase


@tagged('post_install', '-at_install')
class TestStoppedInterest(InterestCase, RestCase):

    def setUp(self):
        super().setUp()
        # In default since 25 October: until the promise, 24 November, 30 days have borne interest.
        self.invoice = self.make_invoice(self.partner, 7300.0, due='2026-10-24')

    def amount(self, day, *moves):
        """The interest that a proposal of a day claims of an entry."""
        found = self.propose(str(self.days(day)))
        return [float(found[move].claim) for move in moves or [self.invoice]]

    def test_before(self):
        self.assertEqual(self.amount(-1), [30.0])

    def test_goes_on(self):
        """While it rests it bears none on letters; broken, it counts as if there had been no promise."""
        promise = self.promise(self.invoice)
        self.assertEqual(self.amount(5), [0.0])
        self.go_to(20)
        self.assertEqual((promise.state, self.amount(20)), ('broken', [51.0]))

    def test_stops(self):
        """From the day of the promise on, until it is broken: after day 12, the last one of grace, come 8 more."""
        promise = self.promise(self.invoice, stops_interest=True)
        self.assertEqual(self.amount(5), [0.0])
        self.go_to(12)
        self.assertEqual((promise.state, promise.date_ended), ('open', False))
        # The morning job may be late.
        self.go_to(20)
        self.assertEqual((promise.state, promise.date_ended, self.amount(20)), ('broken', self.days(12), [38.0]))
        self.assertEqual(self.amount(200), [218.0])

    def test_plan_that_falls_due_as_a_whole(self):
        """It is over with its first instalment, and its interest counts with it: 30 days, and 14 after day 6."""
        plan = self.promise(
            self.invoice, lines=[(4, 3650.0), (40, 3650.0)], stops_interest=True, falls_due_whole=True)
        self.go_to(20)
        self.assertEqual((plan.state, plan.date_ended, self.amount(20)), ('broken', self.days(6), [44.0]))

    def test_not_over_yet(self):
        """An instalment is late, and the plan goes on: so does what was agreed on about interest."""
        plan = self.promise(self.invoice, lines=[(4, 3650.0), (40, 3650.0)], stops_interest=True)
        self.go_to(20)
        self.assertEqual((plan.state, plan.is_missed, plan.date_ended), ('open', True, False))
        self.assertEqual(self.amount(20), [15.0])
        self.go_to(50)
        # 30 days, and 8 after day 42.
        self.assertEqual((plan.state, plan.date_ended, self.amount(50)), ('broken', self.days(42), [38.0]))

    def test_kept_and_taken_back_whole(self):
        """What had kept it is taken back long after: the stop ends where it would have been broken."""
        promise = self.promise(self.invoice, stops_interest=True)
        payment = self.pay(self.invoice, day=self.days(5))
        self.assertEqual(promise.state, 'kept')
        self.go_to(20)
        self.receivable(payment).remove_move_reconcile()
        payment.button_draft()
        self.run_morning()
        self.assertEqual((promise.state, promise.date_ended, self.amount(20)), ('broken', self.days(12), [38.0]))

    def test_part_of_it_stops(self):
        """2,920 are 0.40 a day: 30 days of 7,300, 21 days of 4,380."""
        promise = self.promise(self.invoice, lines=[(10, 2920.0)], stops_interest=True)
        # While it rests, it bears none at all, and the rest bears 0.60 a day: from 25 October to 29 November, 36 days.
        self.assertEqual(self.amount(5), [21.6])
        self.go_to(20)
        # And 8 days of 2,920 after day 12.
        self.assertEqual((promise.state, self.amount(20)), ('broken', [45.8]))

    def test_newest_items(self):
        """It is the newest ones that are promised, as it is they that rest."""
        old = self.make_invoice(self.partner, 7300.0, due='2026-09-24')
        self.promise(old, self.invoice, lines=[(10, 7300.0)], stops_interest=True)
        self.go_to(20)
        # 25 September to 14 December are 81 days.
        self.assertEqual(self.amount(20, old, self.invoice), [81.0, 38.0])

    def test_paid_in_part(self):
        """An instalment came on day 5, the other one never: 6 days of 3,650 after day 14."""
        self.promise(self.invoice, lines=[(6, 3650.0), (12, 3650.0)], stops_interest=True)
        self.pay(self.invoice, 3650.0, self.days(5))
        self.go_to(20)
        self.assertEqual(self.amount(20), [33.0])

    def test_given_up(self):
        """Cancelled on day 10: from the next one on it counts again, 10 days until day 20."""
        promise = self.promise(self.invoice, stops_interest=True)
        self.clock.move_to(f'{self.days(10)} 08:00:00')
        promise.action_cancel()
        self.assertEqual(promise.date_ended, self.days(10))
        self.assertEqual(self.amount(20), [40.0])

    def test_extended(self):
        """What the first one has stopped until then stays stopped, whatever the next one says."""
        promise = self.promise(self.invoice, stops_interest=True)
        self.clock.move_to(f'{self.days(10)} 08:00:00')
        self.promise(self.invoice, lines=[(15, None)], previous=promise)
        self.go_to(20)
        self.assertEqual(self.amount(20), [40.0])

    def test_extended_and_stopped_again(self):
        """Both speak of the same money: it is stopped once."""
        promise = self.promise(self.invoice, lines=[(12, 3650.0)], stops_interest=True)
        self.clock.move_to(f'{self.days(10)} 08:00:00')
        self.promise(self.invoice, lines=[(15, 3650.0)], previous=promise, stops_interest=True)
        self.go_to(20)
        # 30 days of 7,300, 21 days of 3,650, and 3 days of the promised half after day 17.
        self.assertEqual(self.amount(20), [42.0])

    def test_kept_and_taken_back(self):
        """Kept on day 5; of what had been paid before and is taken back, interest counts from the next day on."""
        earlier = self.pay(self.invoice, 3650.0, '2026-10-24')
        promise = self.promise(self.invoice, stops_interest=True)
        self.clock.move_to(f'{self.days(5)} 08:00:00')
        self.pay(self.invoice, 3650.0, self.days(5))
        self.assertEqual((promise.state, promise.date_ended), ('kept', self.days(5)))
        self.receivable(earlier).remove_move_reconcile()
        earlier.button_draft()
        # 30 days of 7,300; of days 0 to 4 the half that was not promised, 2.50; 0 on day 5; 15 days of 3,650, 7.50.
        self.assertEqual(self.amount(20), [40.0])

    def test_beside_a_dispute(self):
        """Contested 2,920 rest, the promised 4,380 are stopped: nothing bears interest until the promise is broken."""
        self.dispute(self.invoice, amount=2920.0)
        promise = self.promise(self.invoice, lines=[(10, 4380.0)], stops_interest=True)
        self.go_to(20)
        # What rests bears none on any day: 30 days of 4,380, 0.60 each, and 8 after day 12.
        self.assertEqual((promise.state, self.amount(20)), ('broken', [22.8]))

    def test_another_customers_meanwhile(self):
        """Nothing was agreed on with him."""
        other = self.make_partner('Other', email=False)
        self.promise(self.invoice, stops_interest=True)
        self.invoice.button_draft()
        self.invoice.partner_id = other
        self.invoice.action_post()
        self.partner = other
        self.assertEqual(self.amount(20), [51.0])

    def test_statements(self):
        """One statement more, however many items."""
        line_ids = self.receivable(self.invoice).ids
        self.env.flush_all()
        with self.assertQueryCount(1):
            self.env['dunning.proposal']._find_interest_stops(line_ids)

    def test_bearing(self):
        """Plain values: open 100, then 60; stopped from the 5th to the 9th."""
        def at(number):
            return date(2026, 1, number)
        steps = [(at(1), Decimal(100)), (at(7), Decimal(60))]
        cases = {
            'nothing': ((), 0, 0, {1: 100, 7: 60}),
            'for good': ((Stop(Decimal(100), at(5), None),), 0, 0, {1: 100, 5: 0, 7: 0}),
            'for some days': ((Stop(Decimal(100), at(5), at(9)),), 0, 0, {1: 100, 5: 0, 7: 0, 10: 60}),
            'before it began': ((Stop(Decimal(30), date(2025, 1, 1), None),), 0, 0, {1: 70, 7: 30}),
            'rests too': ((Stop(Decimal(30), at(5), None),), 30, 30, {1: 70, 5: 70, 7: 30}),
            'other rests': ((Stop(Decimal(30), at(5), None),), 30, 0, {1: 70, 5: 40, 7: 0}),
        }
        for name, (stops, resting, of_stops, expected) in cases.items():
            with self.subTest(name):
                self.assertEqual(
                    {day.day: int(amount) for day, amount in list_bearing(
                        steps, stops, Decimal(resting), Decimal(of_stops))}, expected)

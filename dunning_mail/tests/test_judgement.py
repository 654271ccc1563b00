"""The judgement by itself, on plain values: no database. Without Odoo too, in a moment:

    python dunning_mail/tests/test_judgement.py
"""

import ast
import pathlib
import sys
import unittest
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal

try:
    from odoo.tests import BaseCase, tagged

    from ..tools import charging, debt, judgement, recheck
    from ..tools.debt import Debt
except ImportError:
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
    from tools import charging, debt, judgement, recheck
    from tools.debt import Debt

    BaseCase = unittest.TestCase

    def tagged(*_tags):
        return lambda case: case

TODAY = date(2026, 11, 1)
OWN, FOREIGN = 1, 2


def day(number):
    return TODAY + timedelta(days=number)


def make_currency(currency_id=OWN, rate=1.0, rounding='0.01'):
    def to_steps(amount):
        return (Decimal(repr(amount)) / Decimal(rounding)).quantize(Decimal(1), ROUND_HALF_UP)

    def compare(one, other):
        return (to_steps(one) > to_steps(other)) - (to_steps(one) < to_steps(other))

    return judgement.Currency(
        currency_id, float(rounding), lambda amount: float(to_steps(amount) * Decimal(rounding)), compare,
        lambda: rate)


def make_level(number, delay=10, **values):
    return judgement.Level(100 + number, number, delay, 10, **values)


class JudgementCase(BaseCase):

    def setUp(self):
        super().setUp()
        self.next_id = 0
        self.own = make_currency()
        self.foreign = make_currency(FOREIGN, rate=0.5)
        self.levels = make_level(1), make_level(2), make_level(3)

    def make_procedure(self, *levels, **values):
        return judgement.Procedure('Usual', levels or self.levels, **values)

    def make_terms(self, min_amount=0.0):
        return judgement.Terms(TODAY, self.own, min_amount)

    def make_item(self, amount=100.0, due=-30, before=None, **values):
        """An open item; `before` is (number of the level, day, deadline, id of the notice) of the one that counted."""
        self.next_id += 1
        if before:
            number, left, deadline, notice_id = before
            values.update(
                previous_level_id=100 + number, previous_sequence=number, previous_date=day(left),
                previous_deadline=day(deadline), previous_notice_id=notice_id)
        return judgement.Item(
            line_id=self.next_id, move_id=self.next_id, number=f'RE/{self.next_id}', partner_id=7, currency_id=OWN,
            residual=amount, invoiced=values.pop('invoiced', amount), date_due=day(due), date_invoice=day(due - 30),
            **values)

    def make_debt(self, *items, credits=(), currency=None, partner_id=7):
        return Debt(partner_id, (currency or self.own).id, list(items), list(credits))

    def judge(self, *items, credits=(), currency=None, procedure=None, min_amount=0.0, **customer):
        """Judge one debt.

        :return: (candidates, dict id of the item or None -> reason)
        """
        candidates, left_out = self.judge_one(
            self.make_debt(*items, credits=credits, currency=currency),
            judgement.Customer(procedure or self.make_procedure(), **customer), min_amount)
        reasons = {item.line_id if item else None: reason for reason, item in left_out}
        self.assertEqual(len(reasons), len(left_out), "one reason for each")
        return candidates, reasons

    def judge_one(self, debt, customer, min_amount=0.0, others=()):
        """Judge one debt of a customer who may have others."""
        currencies = {OWN: self.own, FOREIGN: self.foreign}
        [(_debt, candidates, left_out), *_others] = judgement.judge(
            [debt, *others], customer, currencies.get, self.make_terms(min_amount))
        return candidates, left_out

    def assertLevel(self, item, number, procedure=None):
        judgement.set_level(item, procedure or self.make_procedure(), TODAY)
        self.assertEqual(item.next_level and item.next_level.sequence, number)
        self.assertEqual(item.reason is None, number is not None)

    def assertReason(self, item, code, until, procedure=None):
        self.assertLevel(item, None, procedure)
        self.assertEqual(item.reason, judgement.Reason(code, day=until))


@tagged('post_install', '-at_install')
class TestLevels(JudgementCase):

    def test_first_level_counts_from_the_due_date(self):
        self.assertLevel(self.make_item(due=-10), 1)
        self.assertReason(self.make_item(due=-9), 'not_yet', day(1))

    def test_without_delay_on_the_day_after(self):
        procedure = self.make_procedure(make_level(1, delay=0))
        self.assertLevel(self.make_item(due=-1), 1, procedure)
        self.assertReason(self.make_item(due=0), 'not_yet', day(1), procedure)

    def test_later_level_waits_for_its_delay(self):
        self.assertLevel(self.make_item(before=(1, -10, -5, 1)), 2)
        self.assertReason(self.make_item(before=(1, -9, -5, 1)), 'not_yet', day(1))

    def test_later_level_waits_for_the_deadline(self):
        self.assertLevel(self.make_item(before=(1, -20, -1, 1)), 2)
        self.assertReason(self.make_item(before=(1, -20, 0, 1)), 'not_yet', day(1))
        self.assertReason(self.make_item(before=(1, -20, 14, 1)), 'not_yet', day(15))

    def test_without_a_deadline_the_notice_day_stands_for_it(self):
        item = self.make_item(before=(1, 0, 0, 1))
        item.previous_deadline = None
        self.assertReason(item, 'not_yet', day(1), self.make_procedure(make_level(1), make_level(2, delay=0)))

    def test_after_the_last_level(self):
        self.assertReason(self.make_item(before=(3, -20, -10, 1)), 'last_level', day(-20))

    def test_last_level_again(self):
        procedure = self.make_procedure(make_level(1), make_level(2, repeat=True))
        self.assertLevel(self.make_item(before=(2, -20, -10, 1)), 2, procedure)
        self.assertReason(self.make_item(before=(2, -5, -1, 1)), 'not_yet', day(5), procedure)

    def test_repeat_on_another_than_the_last_level(self):
        procedure = self.make_procedure(make_level(1, repeat=True), make_level(2))
        self.assertLevel(self.make_item(before=(1, -20, -10, 1)), 2, procedure)
        self.assertReason(self.make_item(before=(2, -20, -10, 1)), 'last_level', day(-20), procedure)

    def test_level_of_another_procedure_counts_by_its_number(self):
        procedure = self.make_procedure(make_level(1), make_level(4), make_level(7))
        self.assertLevel(self.make_item(before=(3, -20, -10, 1)), 4, procedure)
        self.assertLevel(self.make_item(before=(5, -20, -10, 1)), 7, procedure)
        self.assertReason(self.make_item(before=(9, -20, -10, 1)), 'last_level', day(-20), procedure)

    def test_grace(self):
        procedure = self.make_procedure(grace_days=20)
        self.assertLevel(self.make_item(due=-21), 1, procedure)
        self.assertReason(self.make_item(due=-20), 'grace', day(1), procedure)
        self.assertReason(self.make_item(due=-5), 'grace', day(16), procedure)

    def test_grace_changes_no_level(self):
        """Where the delay is longer, it is what the item waits for."""
        procedure = self.make_procedure(grace_days=3)
        self.assertLevel(self.make_item(due=-10), 1, procedure)
        self.assertReason(self.make_item(due=-4), 'not_yet', day(6), procedure)
        self.assertReason(self.make_item(due=-2), 'grace', day(8), procedure)
        self.assertLevel(self.make_item(due=-30, before=(1, -10, -1, 1)), 2, procedure)

    def test_asked_again_nothing_is_left_of_the_answer_before(self):
        item = self.make_item(due=-5)
        self.assertReason(item, 'not_yet', day(5))
        self.assertLevel(item, 1, self.make_procedure(make_level(1, delay=5)))


@tagged('post_install', '-at_install')
class TestReasons(JudgementCase):

    def test_blocks(self):
        none = ((None, None),) * 4
        for code, *facts in (
                (None, day(-30), False, none, 'not_paid'),
                (None, day(-30), False, none, 'partial'),
                (None, day(-30), False, ((day(-1), 'over'), *none), 'not_paid'),
                ('no_due_date', None, True, none, 'paid'),
                ('no_followup', day(-30), True, ((day(0), ''),), 'paid'),
                ('item_hold', day(-30), False, ((None, None), (day(0), None)), 'paid'),
                ('in_payment', day(-30), False, none, 'in_payment'),
                ('in_payment', day(-30), False, none, 'paid'),
                ('in_payment', day(-30), False, none, 'reversed'),
                ('blocked', day(-30), False, none, 'blocked')):
            with self.subTest(code=code, facts=facts):
                reason = judgement.find_block(*facts, TODAY)
                self.assertEqual(reason and reason.code, code)

    def test_hold_names_its_day_and_reason(self):
        reason = judgement.find_block(
            day(-30), False, ((day(-1), 'over'), (day(3), 'Complaint'), (day(9), 'Later')), 'not_paid', TODAY)
        self.assertEqual(reason, judgement.Reason('item_hold', day=day(3), text='Complaint'))

    def test_customers(self):
        item = self.make_item()
        for code, customer in (
                ('archived', {'is_active': False, 'hold_until': day(0)}),
                ('partner_hold', {'hold_until': day(0), 'hold_reason': 'Instalments'})):
            candidates, reasons = self.judge(item, **customer)
            self.assertFalse(candidates)
            self.assertEqual([(key, reason.code) for key, reason in reasons.items()], [(None, code)])
        self.assertEqual(reasons[None], judgement.Reason('partner_hold', day=day(0), text='Instalments'))
        candidates, reasons = self.judge(item, hold_until=day(-1))
        self.assertEqual((len(candidates), reasons), (1, {}))

    def test_procedures(self):
        for procedure, text in ((None, ''), (judgement.Procedure('Empty', ()), 'Empty')):
            candidates, left_out = self.judge_one(self.make_debt(self.make_item()), judgement.Customer(procedure))
            self.assertEqual((candidates, left_out), ([], [(judgement.Reason('no_procedure', text=text), None)]))

    def test_items_without_customer(self):
        hold = judgement.Reason('item_hold', day=day(5))
        one, held = self.make_item(), self.make_item(blocked_by=hold)
        candidates, left_out = self.judge_one(self.make_debt(one, held, partner_id=None), None)
        self.assertEqual((candidates, left_out), ([], [
            (judgement.Reason('no_partner', amount=200.0, currency_id=OWN, count=2), None)]))

    def test_no_rate(self):
        self.foreign = currency = make_currency(FOREIGN, rate=None)
        blocked = judgement.Reason('no_followup')
        candidates, reasons = self.judge(
            self.make_item(), self.make_item(blocked_by=blocked), currency=currency)
        self.assertFalse(candidates)
        self.assertEqual(reasons, {2: blocked, None: judgement.Reason('no_rate', day=TODAY, currency_id=FOREIGN)})

    def test_no_rate_where_nothing_is_asked(self):
        self.foreign = currency = make_currency(FOREIGN, rate=None)
        _candidates, reasons = self.judge(
            self.make_item(100.0), credits=[self.make_item(-100.0)], currency=currency)
        self.assertEqual(reasons[None].code, 'covered')

    def test_blocked_items_are_not_on_the_notice(self):
        reason = judgement.Reason('blocked')
        item, blocked = self.make_item(), self.make_item(blocked_by=reason)
        (candidate,), reasons = self.judge(item, blocked)
        self.assertEqual((candidate.due, candidate.info, reasons), ([item], [], {blocked.line_id: reason}))


@tagged('post_install', '-at_install')
class TestCredits(JudgementCase):

    def set_off(self, items, credits):
        debt = self.make_debt(*items, credits=credits)
        debt.offset(self.own)
        return [item.uncovered for item in debt.items]

    def test_oldest_first(self):
        items = self.make_item(100.0, due=-30), self.make_item(50.0, due=-20), self.make_item(70.0, due=-10)
        first, second = self.make_item(-120.0), self.make_item(-20.0)
        self.assertEqual(self.set_off(items, [first, second]), [0.0, 10.0, 70.0])
        self.assertEqual(items[0].credit_parts, [(first, 100.0)])
        self.assertEqual(items[1].credit_parts, [(first, 20.0), (second, 20.0)])
        self.assertEqual(judgement.sum_credits(items, self.own), [(first, 120.0), (second, 20.0)])
        self.assertEqual(judgement.sum_credits(items[1:], self.own), [(first, 20.0), (second, 20.0)])

    def test_once_more_gives_the_same(self):
        items, credits = [self.make_item(100.0)], [self.make_item(-30.0)]
        self.assertEqual(self.set_off(items, credits), self.set_off(items, credits))
        self.assertEqual(judgement.sum_credits(items, self.own), [(credits[0], 30.0)])

    def test_blocked_items_take_no_credit(self):
        blocked = self.make_item(100.0, blocked_by=judgement.Reason('item_hold', day=day(5)))
        self.assertEqual(self.set_off([blocked, self.make_item(100.0)], [self.make_item(-60.0)]), [100.0, 40.0])

    def test_reserved_items_do(self):
        """It was set off on the notice that holds the item."""
        reserved = self.make_item(100.0, blocked_by=judgement.Reason('reserved'))
        self.assertEqual(self.set_off([reserved, self.make_item(100.0)], [self.make_item(-60.0)]), [40.0, 100.0])

    def test_amounts_that_floats_cannot_hold(self):
        items = [self.make_item(0.1) for _number in range(10)]
        self.assertEqual(self.set_off(items, [self.make_item(-0.3), self.make_item(-0.6)]), [0.0] * 9 + [0.1])
        self.assertEqual([amount for _credit, amount in judgement.sum_credits(items, self.own)], [0.3, 0.6])
        self.assertEqual({part for item in items for _credit, part in item.credit_parts}, {0.1})
        self.assertEqual(self.set_off([self.make_item(0.3)], [self.make_item(-0.1)]), [0.2])

    def test_less_than_half_a_cent_is_nothing(self):
        dust, item = self.make_item(0.004), self.make_item(100.0)
        (candidate,), reasons = self.judge(dust, item)
        self.assertEqual((candidate.due, reasons), ([item], {dust.line_id: judgement.Reason('covered')}))

    def test_all_covered(self):
        candidates, reasons = self.judge(
            self.make_item(100.0), self.make_item(20.0), credits=[self.make_item(-150.0)])
        self.assertFalse(candidates)
        self.assertEqual(reasons, {None: judgement.Reason('covered', amount=150.0, currency_id=OWN)})

    def test_partly_covered(self):
        covered, item = self.make_item(100.0, due=-40), self.make_item(50.0)
        credit = self.make_item(-110.0)
        (candidate,), reasons = self.judge(covered, item, credits=[credit])
        self.assertEqual(reasons, {covered.line_id: judgement.Reason('covered')})
        self.assertEqual((candidate.due, candidate.credits, candidate.amount), ([item], [(credit, 10.0)], 40.0))

    def test_what_is_set_off_against_items_for_information_is_not_subtracted(self):
        waiting, due = self.make_item(105.0, due=-40, before=(1, -5, 5, 1)), self.make_item(50.0)
        credit = self.make_item(-110.0)
        (candidate,), _reasons = self.judge(waiting, due, credits=[credit])
        self.assertEqual((candidate.info, candidate.credits), ([], [(credit, 5.0)]))
        (candidate,), _reasons = self.judge(waiting, due, credits=[self.make_item(-60.0)])
        self.assertEqual((candidate.info, candidate.credits, waiting.uncovered), ([waiting], [], 45.0))

    def test_what_payments_left_for_charges(self):
        """(payments as (open, paid), charges that each is there for, what is a credit, what is there of each)."""
        for payments, covers, expected, covered in (
                (((-10.0, -110.0),), ((0, 5, 10.0),), [], {5: 10.0}),
                (((-4.0, -110.0),), ((0, 5, 10.0),), [], {5: 4.0}),
                (((-10.01, -110.0),), ((0, 5, 10.0),), [-0.01], {5: 10.0}),
                (((-6.0, -110.0), (-5.0, -50.0)), ((0, 5, 10.0), (1, 5, 10.0)), [-1.0], {5: 10.0}),
                (((-15.0, -110.0),), ((0, 5, 10.0), (0, 6, 20.0)), [], {5: 10.0, 6: 5.0}),
                (((-60.0, -110.0),), ((0, 5, 60.0),), [], {5: 60.0}),
                # What was not reconciled with anything may be there for a charge too; nothing is taken else.
                (((-10.0, -10.0),), ((0, 5, 10.0),), [], {5: 10.0}),
                (((-10.0, -110.0),), (), [-10.0], {})):
            with self.subTest(payments=payments, covers=covers):
                credits = [self.make_item(amount, invoiced=paid, is_payment=True) for amount, paid in payments]
                debt = self.make_debt(self.make_item(50.0), credits=credits)
                debt.cover_charges([
                    (credits[position].line_id, charge_id, amount) for position, charge_id, amount in covers], self.own)
                self.assertEqual([credit.residual for credit in debt.credits], expected)
                self.assertEqual(debt.covered, covered)

    def test_a_credit_note_is_there_for_no_charge(self):
        note = self.make_item(-5.0, invoiced=-100.0)
        debt = self.make_debt(self.make_item(), credits=[note])
        debt.cover_charges([(note.line_id, 5, 10.0)], self.own)
        self.assertEqual((debt.credits, note.residual), ([note], -5.0))

    def test_sum_overdue(self):
        debt = self.make_debt(
            self.make_item(100.0, due=-1), self.make_item(10.0, due=0),
            self.make_item(5.0, blocked_by=judgement.Reason('blocked')), credits=[self.make_item(-30.0)])
        debt.offset(self.own)
        self.assertEqual(debt.sum_overdue(TODAY), 70.0)


@tagged('post_install', '-at_install')
class TestBothSides(JudgementCase):
    """Each side of the balance has first what belongs to it."""

    def claim(self, *items, credits=(), others=()):
        """(what is claimed, what is left over of the credits, codes of the reasons)."""
        debt = self.make_debt(*items, credits=credits)
        debt.others = list(others)
        candidates, left_out = self.judge_one(debt, judgement.Customer(self.make_procedure()))
        return sum(candidate.amount for candidate in candidates), debt.left_over, [
            reason.code for reason, _item in left_out]

    def excluded(self, amount, **values):
        return self.make_item(
            amount, is_excluded=True, blocked_by=judgement.Reason('no_followup') if amount > 0 else None, **values)

    def paid_out(self, amount, **values):
        return self.make_item(amount, is_payment=True, blocked_by=judgement.Reason('outgoing'), **values)

    def on_its_way(self, amount, *items, **values):
        return self.make_item(
            -amount, is_payment=True, payment_id=77, names=frozenset(item.move_id for item in items), **values)

    def test_excluded_credits_cover_excluded_debits_first(self):
        invoice = self.make_item(500.0)
        self.assertEqual(
            self.claim(self.excluded(1000.0), invoice, credits=[self.excluded(-1000.0)]),
            (500.0, 0.0, ['no_followup']))
        self.assertEqual(
            self.claim(self.excluded(300.0), self.make_item(900.0), credits=[self.excluded(-700.0)]),
            (500.0, 0.0, ['no_followup']))
        # Whatever their dates are, and whether or not they are due.
        self.assertEqual(
            self.claim(self.make_item(500.0, due=-90), credits=[self.excluded(-1000.0)],
                       others=[self.excluded(1000.0, due=20, is_due=False)]), (500.0, 0.0, []))

    def test_other_credits_do_not_cover_excluded_debits(self):
        self.assertEqual(
            self.claim(self.excluded(1000.0, due=-90), self.make_item(500.0), credits=[self.make_item(-200.0)]),
            (300.0, 0.0, ['no_followup']))

    def test_money_paid_out_takes_back_credits(self):
        for paid_out, expected in ((150.0, (100.0, 0.0, [])), (50.0, (0, 0.0, ['covered'])),
                                   (120.0, (70.0, 0.0, [])), (180.0, (100.0, 0.0, ['outgoing']))):
            with self.subTest(paid_out=paid_out):
                self.assertEqual(self.claim(
                    self.make_item(100.0), self.paid_out(paid_out, due=-5), credits=[self.make_item(-150.0)]), expected)

    def test_money_paid_out_names_what_no_credit_covers(self):
        debt = self.make_debt(self.paid_out(180.0), credits=[self.make_item(-150.0)])
        _candidates, [(reason, _item)] = self.judge_one(debt, judgement.Customer(self.make_procedure()))
        self.assertEqual(reason, judgement.Reason('outgoing', amount=30.0, currency_id=OWN))

    def test_money_paid_out_that_is_a_claim(self):
        self.assertEqual(self.claim(self.make_item(80.0, is_payment=True, is_claim=True)), (80.0, 0.0, []))

    def test_payment_on_its_way(self):
        invoice, older = self.make_item(1000.0), self.make_item(200.0, due=-60)
        self.assertEqual(self.claim(invoice, credits=[self.on_its_way(100.0, invoice)]), (900.0, 0.0, []))
        # What it names first, then the oldest.
        self.claim(invoice, older, credits=[self.on_its_way(1100.0, invoice)])
        self.assertEqual((invoice.uncovered, older.uncovered), (0.0, 100.0))
        self.claim(invoice, older, credits=[self.on_its_way(1100.0, invoice, covers_named_only=True)])
        self.assertEqual((invoice.uncovered, older.uncovered), (0.0, 200.0))
        self.claim(invoice, older, credits=[self.on_its_way(300.0)])
        self.assertEqual((invoice.uncovered, older.uncovered), (900.0, 0.0))

    def test_payment_on_its_way_is_what_is_said(self):
        invoice = self.make_item(100.0)
        payment = self.on_its_way(100.0, invoice)
        _claim, _left, codes = self.claim(invoice, credits=[payment])
        self.assertEqual(codes, ['on_its_way'])
        _claim, _left, codes = self.claim(invoice, self.make_item(50.0), credits=[payment])
        self.assertEqual(codes, ['on_its_way'])
        self.assertEqual(judgement.find_cover(invoice).text, payment.number)

    def test_two_payments_on_their_way_are_two(self):
        one, two = self.make_item(100.0), self.make_item(100.0)
        first, second = self.on_its_way(40.0, one), self.on_its_way(30.0, two)
        for payment, number in ((first, 5), (second, 6)):
            payment.line_id, payment.payment_id = 0, number
        self.claim(one, two, credits=[first, second])
        self.assertEqual(judgement.sum_credits([one, two], self.own), [(first, 40.0), (second, 30.0)])

    def test_what_is_not_due_takes_its_own_only(self):
        later = self.make_item(100.0, due=20, is_due=False)
        self.assertEqual(
            self.claim(self.make_item(50.0), credits=[self.on_its_way(80.0, later)], others=[later]), (50.0, 0.0, []))
        self.assertEqual(
            self.claim(self.make_item(50.0), credits=[self.make_item(-30.0)], others=[later]), (20.0, 0.0, []))

    def test_another_companys_older_debt_is_covered_first(self):
        other = self.make_item(100.0, due=-90)
        self.assertEqual(
            self.claim(self.make_item(100.0), credits=[self.make_item(-130.0)], others=[other]), (70.0, 0.0, []))

    def test_left_over(self):
        self.assertEqual(
            self.claim(self.make_item(50.0), credits=[self.make_item(-30.0), self.make_item(-60.0)])[:2], (0, 40.0))
        # What is on its way may never come.
        self.assertEqual(self.claim(self.make_item(50.0), credits=[self.on_its_way(80.0)])[:2], (0, 0.0))


@tagged('post_install', '-at_install')
class TestResting(JudgementCase):
    """What rests is neither dunned nor covered by credits; what is left is."""

    def lay(self, item, *amounts, **values):
        item.lay_to_rest([
            debt.Rest(item.line_id, amount, day(5), f'Reason {number}.', **values)
            for number, amount in enumerate(amounts)], self.own)
        return item

    def test_all_of_an_item(self):
        whole, free = self.lay(self.make_item(100.0), None), self.make_item(40.0)
        (candidate,), reasons = self.judge(whole, free, credits=[self.make_item(-30.0)])
        self.assertEqual((candidate.due, candidate.amount), ([free], 10.0), "credits are for what is dunned")
        self.assertEqual(reasons, {whole.line_id: judgement.Reason('resting', day=day(5), text='Reason 0.')})

    def test_part_of_an_item(self):
        item = self.lay(self.make_item(100.0), 33.3)
        (candidate,), reasons = self.judge(item, credits=[self.make_item(-10.0)])
        self.assertEqual((candidate.amount, item.claimable, candidate.credits[0][1]), (56.7, 66.7, 10.0))
        self.assertEqual(reasons, {item.line_id: judgement.Reason(
            'resting', amount=33.3, currency_id=OWN, text='Reason 0.')})

    def test_reasons_add_up_to_the_item_at_most(self):
        for amounts, expected in (((40.0, 60.0), 100.0), ((70.0, 70.0), 100.0), ((None, 10.0), 100.0), ((0.0,), 0.0),
                                  ((-5.0,), 0.0), ((99.999,), 100.0), ((0.1, 0.2), 0.3)):
            with self.subTest(amounts=amounts):
                item = self.lay(self.make_item(100.0), *amounts)
                self.assertEqual(item.resting, expected)
                self.assertEqual(bool(item.blocked_by), expected == 100.0)

    def test_words_without_an_amount(self):
        """That a promise was not kept is told beside the item, and keeps nobody from dunning it."""
        item = self.lay(self.make_item(100.0), 0.0)
        (candidate,), reasons = self.judge(item)
        self.assertEqual((candidate.amount, item.rest_info, reasons), (100.0, 'Reason 0.', {}))

    def test_what_holds_it_comes_first(self):
        item = self.make_item(100.0, blocked_by=judgement.Reason('item_hold', day=day(9)))
        _candidates, reasons = self.judge(self.lay(item, None))
        self.assertEqual(reasons[item.line_id].code, 'item_hold')

    def test_what_is_contested(self):
        item = self.make_item(100.0)
        item.lay_to_rest([debt.Rest(item.line_id, 30.0, day(5), 'A', is_contested=True),
                          debt.Rest(item.line_id, 20.0, day(5), 'B')], self.own)
        self.assertEqual((item.resting, item.contested, item.rest_info), (50.0, 30.0, 'A B'))

    def test_minimum_asks_for_what_is_dunned(self):
        _candidates, reasons = self.judge(self.lay(self.make_item(100.0), 95.0), min_amount=10.0)
        self.assertIn('below_minimum', {reason.code for reason in reasons.values()})

    def judge(self, *items, **values):
        # An item that rests in part has a second reason.
        candidates, left_out = self.judge_one(
            self.make_debt(*items, credits=values.pop('credits', ())), judgement.Customer(self.make_procedure()),
            values.pop('min_amount', 0.0))
        return candidates, {item.line_id: reason for reason, item in left_out if reason.code != 'covered'}


@tagged('post_install', '-at_install')
class TestNotices(JudgementCase):

    def test_one_notice_bears_the_highest_level(self):
        old, new, waiting = self.make_item(before=(2, -20, -5, 1)), self.make_item(), self.make_item(due=-3)
        (candidate,), reasons = self.judge(old, new, waiting)
        self.assertEqual((candidate.level.sequence, candidate.partner_id, candidate.currency), (3, 7, self.own))
        self.assertEqual((candidate.due, candidate.info), ([old, new], [waiting]))
        self.assertEqual([item.next_level.sequence for item in candidate.due], [3, 1])
        self.assertEqual(reasons, {waiting.line_id: judgement.Reason('not_yet', day=day(7))})

    def test_a_notice_for_each_level(self):
        old, new, waiting = self.make_item(before=(2, -20, -5, 1)), self.make_item(), self.make_item(due=-3)
        candidates, _reasons = self.judge(old, new, waiting, procedure=self.make_procedure(per_level=True))
        self.assertEqual([(candidate.level.sequence, candidate.due, candidate.info) for candidate in candidates], [
            (1, [new], []), (3, [old], [waiting])])

    def test_a_notice_for_each_account(self):
        """What names no account goes with the oldest that does; levels of their own are parted first."""
        items = [self.make_item(account_id=account) for account in (False, 4, 3, False, 4)]
        terms = self.make_terms()
        for per_account, expected in ((False, [5]), (True, [1, 4])):
            terms = judgement.Terms(terms.day, terms.currency, per_account=per_account)
            self.assertEqual(self.count_due(items, terms), expected)
        self.assertEqual(self.count_due([self.make_item(), self.make_item()], terms), [2])

    def count_due(self, items, terms):
        """Return of how many items each notice would be."""
        [(_debt, candidates, _left_out)] = judgement.judge(
            [self.make_debt(*items)], judgement.Customer(self.make_procedure(make_level(1))), {OWN: self.own}.get,
            terms)
        return sorted(len(candidate.due) for candidate in candidates)

    def test_no_notice_of_what_only_waits(self):
        candidates, reasons = self.judge(self.make_item(due=-3), self.make_item(before=(3, -20, -5, 1)))
        self.assertFalse(candidates)
        self.assertEqual([reason.code for reason in reasons.values()], ['not_yet', 'last_level'])


@tagged('post_install', '-at_install')
class TestMinimum(JudgementCase):

    def dunned(self, *items, **values):
        """(level, amount) of each notice, codes of the reasons."""
        candidates, reasons = self.judge(*items, **values)
        return [(candidate.level.sequence, candidate.amount) for candidate in candidates], [
            reason.code for reason in reasons.values()]

    def test_of_the_company(self):
        self.assertEqual(self.dunned(self.make_item(49.99), min_amount=50.0), ([], ['below_minimum']))
        self.assertEqual(self.dunned(self.make_item(50.0), min_amount=50.0), ([(1, 50.0)], []))

    def test_names_the_amount(self):
        item = self.make_item(30.0)
        _candidates, reasons = self.judge(item, currency=self.foreign, min_amount=50.0)
        self.assertEqual(reasons[item.line_id], judgement.Reason('below_minimum', amount=15.0, currency_id=OWN))

    def test_in_the_companys_currency(self):
        self.assertEqual(self.dunned(self.make_item(99.99), currency=self.foreign, min_amount=50.0)[0], [(1, 99.99)])
        self.assertEqual(self.dunned(self.make_item(99.98), currency=self.foreign, min_amount=50.0)[0], [])

    def test_of_all_currencies_together(self):
        for amount, min_amount, expected in ((60.0, 90.0, 1), (60.0, 90.01, 0), (20.0, 90.0, 0)):
            with self.subTest(amount=amount, min_amount=min_amount):
                other = self.make_debt(self.make_item(60.0), currency=self.foreign)
                candidates, _left_out = self.judge_one(
                    self.make_debt(self.make_item(amount)), judgement.Customer(self.make_procedure()), min_amount,
                    [other])
                self.assertEqual(len(candidates), expected)

    def test_currency_without_a_rate_counts_for_nothing(self):
        self.foreign = make_currency(FOREIGN, rate=None)
        candidates, _left_out = self.judge_one(
            self.make_debt(self.make_item(60.0)), judgement.Customer(self.make_procedure()), 60.01,
            [self.make_debt(self.make_item(60.0), currency=self.foreign)])
        self.assertFalse(candidates)

    def test_what_stands_on_another_open_notice_is_owed_too(self):
        reserved = self.make_item(60.0, blocked_by=judgement.Reason('reserved'))
        self.assertEqual(self.dunned(self.make_item(60.0), reserved, min_amount=100.0), ([(1, 60.0)], ['reserved']))

    def test_of_all_that_is_owed(self):
        """What is not due for a notice counts, what credits cover does not."""
        items = self.make_item(30.0), self.make_item(30.0, due=-3)
        self.assertEqual(self.dunned(*items, min_amount=60.0), ([(1, 30.0)], ['not_yet']))
        self.assertEqual(
            self.dunned(*items, credits=[self.make_item(-1.0)], min_amount=60.0), ([], ['below_minimum', 'not_yet']))

    def test_falls_back_level_by_level(self):
        """An item that reached the higher level waits: the level before has gone out already."""
        procedure = self.make_procedure(make_level(1), make_level(2, min_amount=70.0), make_level(3, min_amount=300.0))
        items = [self.make_item(50.0), self.make_item(20.0, before=(1, -20, -5, 1)),
                 self.make_item(10.0, before=(2, -20, -5, 2))]
        self.assertEqual(self.dunned(*items, procedure=procedure), ([(2, 70.0)], ['below_minimum']))
        self.assertEqual(self.dunned(*items[:2], procedure=procedure), ([(2, 70.0)], []))
        items[1].residual = 9.99
        self.assertEqual(self.dunned(*items[:2], procedure=procedure), ([(1, 50.0)], ['below_minimum']))
        self.assertEqual(self.dunned(*items[1:2], procedure=procedure), ([], ['below_minimum']))

    def test_lower_levels_are_not_asked_where_a_higher_one_is_reached(self):
        levels = make_level(1, min_amount=500.0), make_level(2, min_amount=50.0)
        items = self.make_item(60.0), self.make_item(40.0, before=(1, -20, -5, 1))
        self.assertEqual(self.dunned(*items, procedure=self.make_procedure(*levels)), ([(2, 100.0)], []))
        self.assertEqual(
            self.dunned(*items, procedure=self.make_procedure(*levels, per_level=True)),
            ([(2, 40.0)], ['below_minimum']))

    def test_what_falls_short_is_for_information(self):
        levels = make_level(1), make_level(2, min_amount=500.0)
        new, old = self.make_item(60.0), self.make_item(40.0, before=(1, -20, -5, 1))
        (candidate,), _reasons = self.judge(new, old, procedure=self.make_procedure(*levels))
        self.assertEqual((candidate.due, candidate.info), ([new], [old]))


@tagged('post_install', '-at_install')
class TestFees(JudgementCase):

    def set_fees(self, *candidates):
        """The fee of each candidate."""
        charging.set_fees(candidates, self.make_terms())
        return [candidate.fee for candidate in candidates]

    def make_candidate(self, level, *amounts, currency=None, partner_id=7, **values):
        due = [self.make_item(amount, uncovered=amount) for amount in amounts or (100.0,)]
        return judgement.Candidate(partner_id, currency or self.own, level, due, [], [], **values)

    def make_level(self, number, fee):
        return make_level(number, fees=(judgement.Fee(self.own.id, fixed=fee),))

    def test_none(self):
        self.assertEqual(self.set_fees(self.make_candidate(make_level(1))), [0.0])

    def test_once_for_each_customer(self):
        """On the notice of the highest level, of equal ones on the larger in the company's currency."""
        own = self.make_candidate(self.make_level(1, 5.0), 900.0)
        foreign = self.make_candidate(self.make_level(2, 20.0), 100.0, currency=self.foreign)
        other = self.make_candidate(self.make_level(1, 5.0), 10.0, partner_id=8)
        self.assertEqual(self.set_fees(own, foreign, other), [0.0, 40.0, 5.0])
        own = self.make_candidate(self.make_level(2, 20.0), 60.0)
        foreign = self.make_candidate(self.make_level(2, 20.0), 100.0, currency=self.foreign)
        self.assertEqual(self.set_fees(own, foreign), [20.0, 0.0])

    def test_lower_level_does_not_bear_the_fee_of_a_higher_one(self):
        own = self.make_candidate(make_level(1), 900.0)
        foreign = self.make_candidate(make_level(2), 50.0, currency=self.foreign)
        self.assertEqual(self.set_fees(own, foreign), [0.0, 0.0])
        own = self.make_candidate(self.make_level(1, 5.0), 900.0)
        self.assertEqual(self.set_fees(own, foreign), [0.0, 0.0])

    def test_of_two_same_amounts(self):
        foreign = self.make_candidate(self.make_level(1, 5.0), 100.0, currency=self.foreign)
        own = self.make_candidate(self.make_level(1, 5.0), 50.0)
        self.assertEqual(self.set_fees(foreign, own), [0.0, 5.0])

    def test_credits_count_for_the_amount(self):
        own = self.make_candidate(self.make_level(1, 5.0), 100.0)
        own.due[0].uncovered = 40.0
        foreign = self.make_candidate(self.make_level(1, 5.0), 100.0, currency=self.foreign)
        self.assertEqual(self.set_fees(own, foreign), [0.0, 10.0])

    def test_which_row_holds(self):
        """(rows, amount in the company's currency, debtor, fee)."""
        Fee, own = judgement.Fee, self.own.id
        steps = (Fee(own, fixed=5.0), Fee(own, amount_from=100.0, fixed=10.0), Fee(own, amount_from=500.0, fixed=20.0))
        kinds = (Fee(own, fixed=5.0), Fee(own, 'business', fixed=40.0), Fee(own, 'consumer', fixed=2.5))
        for rows, amount, debtor, expected in (
                (steps, 99.99, 'consumer', 5.0), (steps, 100.0, 'consumer', 10.0), (steps, 499.99, 'consumer', 10.0),
                (steps, 500.0, 'consumer', 20.0), (steps[1:], 99.99, 'consumer', 0.0),
                (kinds, 100.0, 'business', 40.0), (kinds, 100.0, 'consumer', 2.5), (kinds[:2], 100.0, 'consumer', 5.0),
                # What is reached goes before who it is for.
                ((Fee(own, amount_from=50.0, fixed=7.0), *kinds), 60.0, 'business', 7.0),
                ((Fee(own, percent=1.5),), 1234.56, 'consumer', 18.52),
                ((Fee(own, fixed=5.0, percent=1.0),), 200.0, 'consumer', 7.0),
                ((Fee(own, percent=1.0, minimum=10.0),), 200.0, 'consumer', 10.0),
                ((Fee(own, percent=1.0, minimum=1.0, maximum=15.0),), 2000.0, 'consumer', 15.0)):
            with self.subTest(rows=rows, amount=amount, debtor=debtor):
                candidate = self.make_candidate(make_level(1, fees=rows), amount, debtor=debtor)
                self.assertEqual(self.set_fees(candidate), [expected])

    def test_in_the_currency_of_the_notice(self):
        """Its own rows; without one those of the company's currency, measured and converted at the day's rate."""
        Fee = judgement.Fee
        own = (Fee(self.own.id, fixed=20.0), Fee(self.own.id, amount_from=100.0, fixed=30.0))
        for rows, amount, expected in (
                (own, 199.0, 40.0), (own, 200.0, 60.0),
                ((*own, Fee(self.foreign.id, fixed=25.0)), 500.0, 25.0),
                ((*own, Fee(self.foreign.id, amount_from=1000.0, fixed=25.0)), 500.0, 0.0),
                ((*own, Fee(self.foreign.id, 'business', fixed=25.0)), 500.0, 60.0),
                ((Fee(99, fixed=25.0),), 500.0, 0.0)):
            with self.subTest(rows=rows, amount=amount):
                candidate = self.make_candidate(make_level(1, fees=rows), amount, currency=self.foreign)
                self.assertEqual(self.set_fees(candidate), [expected])

    def test_beside_a_lump_sum(self):
        """A lump sum is for what pursuing the claim costs."""
        for lump_sum, expected in ((0.0, 50.0), (40.0, 10.0), (50.0, 0.0), (80.0, 0.0)):
            candidate = self.make_candidate(self.make_level(2, 50.0), 1000.0, lump_sum=lump_sum)
            self.assertEqual(self.set_fees(candidate), [expected], lump_sum)


@tagged('post_install', '-at_install')
class TestChargesAgain(JudgementCase):
    """What a notice asks for in all, where charges of earlier ones are still asked for. Both items were on them."""

    def setUp(self):
        super().setUp()
        self.items = [self.make_item(1000.0, uncovered=1000.0) for _number in range(2)]

    def ask(self, *earlier, fee=0.0, method='single', interest=0.0, lump_sum=0.0, lump_sum_before=0.0, covered=None,
            borne=()):
        """What is asked for beside the items: (the fee, {id of an earlier charge: what is asked for of it})."""
        candidate = judgement.Candidate(7, self.own, make_level(
            2, fees=(judgement.Fee(OWN, fixed=fee),) if fee else (), is_cumulated=method == 'cumulated'),
            self.items, [], [], lump_sum=lump_sum + lump_sum_before)
        candidate.charges = [
            {'kind': kind, 'amount': amount, 'move_line_id': self.items[0].line_id}
            for kind, amount in (('interest', interest), ('lump_sum', lump_sum)) if amount]
        charges = [charging.Earlier(
            number, 7, OWN, kind, amount, day(-30), None if kind == 'fee' else self.items[0].line_id, 'N1',
            [item.line_id for item in self.items]) for number, (kind, amount) in enumerate(earlier, 1)]
        kept = [charging.Kept(charge.id, OWN, charge.amount) for charge in charges
                if charge.kind == 'fee' and charge.id in (covered or {})]
        charging.set_fees([candidate], self.make_terms(), {item.line_id: kept for item in self.items}, borne)
        charging.set_earlier([candidate], charges, covered or {})
        self.candidate = candidate
        return candidate.fee, {charge.id: charge.amount for charge in candidate.earlier}

    def test_what_is_there_is_not_asked_for_again(self):
        """A fee that money is there for stays, and the new one asks for what exceeds it."""
        for covered, expected, kept in (
                ({}, (10.0, {}), []), ({1: 5.0}, (5.0, {}), [1]), ({1: 2.0}, (5.0, {1: 3.0}), [1])):
            self.assertEqual(self.ask(('fee', 5.0), fee=10.0, covered=covered), expected)
            self.assertEqual(self.candidate.kept_ids, kept)
        # Of several, the others are replaced.
        self.assertEqual(self.ask(('fee', 5.0), ('fee', 3.0), fee=10.0, covered={1: 5.0}), (5.0, {}))
        self.assertEqual(self.ask(('fee', 12.0), fee=10.0, covered={1: 12.0}), (0.0, {}))
        self.assertEqual(self.ask(('fee', 0.1), ('fee', 0.2), fee=0.5, covered={1: 0.1, 2: 0.2}), (0.2, {}))

    def test_what_is_there_where_fees_are_added(self):
        self.assertEqual(self.ask(('fee', 5.0), fee=10.0, method='cumulated', covered={1: 5.0}), (10.0, {}))
        self.assertEqual(self.ask(('fee', 5.0), fee=10.0, method='cumulated', covered={1: 1.0}), (10.0, {1: 4.0}))

    def test_interest_that_is_there_stays(self):
        for covered, expected in (({}, {}), ({1: 20.0}, {}), ({1: 12.0}, {1: 8.0})):
            self.assertEqual(self.ask(('interest', 20.0), interest=5.0, covered=covered), (0.0, expected))

    def test_lump_sum_and_fees(self):
        """The larger of both is asked for in all: of fees, of this notice and earlier ones, what exceeds it."""
        for earlier, fee, method, expected in (
                ((5.0,), 10.0, 'single', (0.0, {})), ((5.0,), 10.0, 'cumulated', (0.0, {})),
                ((5.0,), 0.0, 'single', (0.0, {})), ((5.0,), 50.0, 'single', (10.0, {})),
                ((5.0,), 38.0, 'cumulated', (0.0, {1: 3.0})), ((50.0,), 10.0, 'single', (0.0, {})),
                ((50.0,), 0.0, 'single', (0.0, {1: 10.0})), ((15.0, 15.0, 15.0), 0.0, 'single', (0.0, {3: 5.0}))):
            with self.subTest(earlier=earlier, fee=fee, method=method):
                asked = self.ask(*(('fee', amount) for amount in earlier), fee=fee, method=method, lump_sum=40.0)
                self.assertEqual(asked, expected)

    def test_lump_sum_of_before(self):
        """Fees of before were set off against it then."""
        self.assertEqual(self.ask(('fee', 5.0), lump_sum_before=40.0), (0.0, {1: 5.0}))
        self.assertEqual(self.ask(('fee', 5.0), fee=50.0, lump_sum_before=40.0), (10.0, {}))
        self.assertEqual(self.ask(('fee', 5.0), fee=10.0, lump_sum_before=40.0), (0.0, {1: 5.0}), "nothing replaces it")

    def test_fee_that_is_there_beside_a_lump_sum(self):
        """The lump sum was lowered by what is there."""
        self.assertEqual(self.ask(('fee', 5.0), fee=10.0, lump_sum=35.0, covered={1: 5.0}), (0.0, {}))
        self.assertEqual(self.ask(('fee', 5.0), fee=50.0, lump_sum=35.0, covered={1: 5.0}), (10.0, {}))
        self.assertEqual(self.ask(('fee', 5.0), lump_sum=35.0, covered={1: 3.0}), (0.0, {1: 2.0}))

    def test_the_run_has_given_a_fee_already(self):
        self.assertEqual(self.ask(('fee', 5.0), fee=10.0, borne={7}), (0.0, {1: 5.0}))
        self.assertEqual(self.ask(fee=10.0, borne={8}), (10.0, {}))


@tagged('post_install', '-at_install')
class TestAskingAgain(JudgementCase):

    def find_fault(self, item, claim=None, **values):
        claim = claim or self.make_claim(item, **values)
        self.make_debt(item).offset(self.own)
        reason = recheck.find_fault(claim, item, self.own, TODAY)
        return reason and reason.code

    def make_claim(self, item, **values):
        return recheck.Claim(**{
            'notice_id': 9, 'kind': 'due', 'date_due': item.date_due, 'previous_notice_id': item.previous_notice_id,
            'previous_date': item.previous_date, **values})

    def test_as_it_was(self):
        self.assertIsNone(self.find_fault(self.make_item()))
        self.assertIsNone(self.find_fault(self.make_item(before=(1, -20, -5, 4))))

    def test_reserved_by_the_notice_itself(self):
        item = self.make_item(blocked_by=judgement.Reason('reserved'), reserved_by=9)
        self.assertIsNone(self.find_fault(item))
        self.assertEqual(self.find_fault(item, notice_id=10), 'reserved')

    def test_blocked_since(self):
        for code in ('in_payment', 'item_hold'):
            self.assertEqual(self.find_fault(self.make_item(blocked_by=judgement.Reason(code))), code)
        self.assertEqual(recheck.SETTLING, {'in_payment', 'covered', 'on_its_way'})

    def test_not_overdue_any_more(self):
        self.assertEqual(self.find_fault(self.make_item(due=0)), 'not_overdue')
        self.assertIsNone(self.find_fault(self.make_item(due=-1)))

    def test_dunned_meanwhile(self):
        item = self.make_item(before=(1, -3, 7, 4))
        self.assertEqual(self.find_fault(item, previous_notice_id=False), 'other_history')
        self.assertEqual(self.find_fault(item, previous_notice_id=3), 'other_history')
        self.assertEqual(self.find_fault(self.make_item(), previous_notice_id=3), 'other_history')
        self.assertIsNone(self.find_fault(item, previous_notice_id=3, kind='info'))

    def test_history_that_is_the_notice_itself(self):
        item = self.make_item(before=(1, 0, 10, 9))
        claim = self.make_claim(item, previous_notice_id=False, previous_date=None)
        self.assertIsNone(self.find_fault(item, claim))
        self.assertFalse(recheck.must_reach_level(claim, item))

    def test_covered(self):
        item = self.make_item(100.0)
        self.make_debt(item, credits=[self.make_item(-100.0)]).offset(self.own)
        self.assertEqual(recheck.find_fault(self.make_claim(item), item, self.own, TODAY).code, 'covered')

    def test_level_is_asked_for_only_where_its_grounds_have_changed(self):
        item = self.make_item(before=(1, -20, -5, 4))
        for expected, values in (
                (False, {}), (True, {'date_due': day(-31)}), (True, {'previous_date': day(-21)}),
                (False, {'date_due': day(-31), 'kind': 'info'}), (False, {'date_due': day(-31), 'is_level_set': True})):
            self.assertEqual(recheck.must_reach_level(self.make_claim(item, **values), item), expected, values)


@tagged('post_install', '-at_install')
class TestPlainValues(BaseCase):

    def test_imports(self):
        """Nothing of Odoo, of a database or a clock."""
        for module in (debt, judgement, recheck):
            tree = ast.parse(pathlib.Path(module.__file__).read_text(encoding='utf-8'))
            found = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)} | {
                name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
            self.assertLessEqual(found, {
                '__future__', 'collections', 'collections.abc', 'dataclasses', 'datetime', 'typing', 'debt',
                'judgement'})
            called = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
            self.assertFalse(called & {'today', 'now', 'env'})


if __name__ == '__main__':
    unittest.main()

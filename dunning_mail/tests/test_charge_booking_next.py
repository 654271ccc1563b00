from odoo.exceptions import UserError
from odoo.tests import tagged

from .common import read_pdf
from .test_charge_booking import BookingCase
from .test_charge_interest import InterestCase
from .test_charge_life import LifeCase


@tagged('post_install', '-at_install')
class TestBookedOnNextNotice(BookingCase):
    """What is in the books of charges is no item, and stands on the next notice as long as it is open."""

    def book(self, notice, **amounts):
        lines = notice.charge_ids._book(**amounts)
        # Somebody may take them for items: they are known by their link alone.
        lines.no_followup = False
        return lines

    def test_is_no_item_and_never_replaced(self):
        _invoice, first = self.make_counted()
        line = self.book(first)
        notice = self.make_run(self.days(60), partner_ids=self.partner.ids).notice_ids
        self.assertEqual(
            [(line.kind, line.amount_residual) for line in notice.line_ids],
            [('due', 100.0), ('charge', 10.0), ('charge', 20.0)])
        self.assertEqual((notice.amount_fee, notice.amount_earlier, notice.amount_total), (20.0, 10.0, 130.0))
        notice.run_id.action_print_and_send()
        self.assertIn(first.name, read_pdf(notice._get_document_bytes()))
        notice.run_id._hand_out_letters()
        notice.run_id.action_mark_printed()
        self.assertEqual(self.states(first, notice), [('fee', 10.0, 'booked'), ('fee', 20.0, 'claimed')])
        self.assertFalse(line.reconciled)

    def test_asks_for_what_is_left(self):
        _invoice, first = self.make_counted()
        self.pay_line(self.book(first), 7)
        run = self.make_run(self.days(60), partner_ids=self.partner.ids)
        self.assertEqual(run.notice_ids.amount_earlier, 3.0)
        self.pay_line(first.charge_ids.move_line_booked_id, 3)
        run.action_print_and_send()
        run._hand_out_letters()
        self.assertEqual((run.notice_ids.amount_earlier, run.notice_ids.amount_total), (0.0, 120.0), "read again")

    def test_paid_one_is_not_asked_for(self):
        _invoice, first = self.make_counted()
        self.pay_line(self.book(first), 10)
        self.assertEqual(self.make_run(self.days(60), partner_ids=self.partner.ids).notice_ids.amount_earlier, 0.0)

    def test_two_parts_of_one(self):
        """The part in the books stays; the rest is replaced by the next fee, as an unbooked one is."""
        _invoice, first = self.make_counted()
        self.book(first, amounts={first.charge_ids: 4.0})
        second = self.dun(self.days(15), partner_ids=self.partner.ids).notice_ids
        self.assertEqual((second.amount_fee, second.amount_earlier), (20.0, 4.0))
        self.assertEqual(sorted(self.states(first)), [('fee', 4.0, 'booked'), ('fee', 6.0, 'replaced')])

    def test_what_a_reversal_frees_is_a_credit(self):
        invoice, first = self.make_counted()
        self.pay_line(self.book(first), 10)
        first.charge_ids._waive('Kulanz')
        notice = self.make_run(self.days(60), partner_ids=self.partner.ids).notice_ids
        self.assertEqual((notice.amount_overdue, notice.amount_credit, notice.amount_earlier), (100.0, 10.0, 0.0))
        self.assertEqual(first.amount_unallocated, 10.0)
        self.assertEqual(self.receivable(invoice).amount_residual, 100.0)

    def test_what_a_payment_left_covers_it(self):
        invoice, first = self.make_counted()
        self.book(first)
        self.make_invoice(self.partner, 50, due='2026-11-10')
        payment = self.make_unallocated(self.partner, 110, day=self.days(1))
        (self.receivable(invoice) | self.receivable(payment)).reconcile()
        notice = self.make_run(self.days(5), partner_ids=self.partner.ids).notice_ids
        self.assertEqual((notice.amount_overdue, notice.amount_credit, notice.amount_earlier), (50.0, 0.0, 0.0))

    def test_customer_of_whom_only_charges_are_open(self):
        invoice, first = self.make_counted()
        self.pay_line(self.book(first), 4)
        self.pay(invoice)
        run = self.make_run(self.days(60), partner_ids=self.partner.ids)
        exception = run.exception_ids
        self.assertEqual((exception.reason, exception.amount), ('charges', 6.0))
        self.wizard(exception, 'action_waive_all')
        self.assertEqual(first.charge_ids.state, 'waived')
        self.assertTrue(first.charge_ids.move_line_booked_id.reconciled)

    def test_takes_no_part_in_reports_promises_disputes(self):
        invoice, first = self.make_counted()
        line = self.book(first)
        self.pay(invoice, 100)
        self.assertEqual((first.claim_state, first.amount_open), ('paid', 0.0))
        self.assertFalse(self.env['account.move.line']._find_dunning_debits(self.partner, self.company))
        with self.assertRaisesRegex(UserError, "no open item"):
            line.with_env(self.env)._check_dunning_debits()
        first.charge_ids._waive('x')
        reversal = first.charge_ids._find_reversal()
        line.remove_move_reconcile()
        self.assertFalse(reversal.reconciled)
        self.assertEqual(first.amount_unallocated, 0.0)
        self.assertFalse(self.make_run(self.days(60), partner_ids=self.partner.ids).notice_ids)

    def test_does_not_lapse(self):
        invoice, first = self.make_counted()
        self.book(first)
        self.pay(invoice, day=self.days(1))
        self.clock.move_to(f'{self.days(100)} 08:00:00')
        self.env['dunning.charge']._process()
        self.assertEqual(first.charge_ids.state, 'booked')
        first.charge_ids.move_booked_id.button_draft()
        self.env['dunning.charge']._process()
        self.assertEqual(first.charge_ids.state, 'claimed', "nor while its entry is being corrected")


@tagged('post_install', '-at_install')
class TestBookedInterest(BookingCase):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.set_fee(cls.procedure.level_ids, 0)
        cls.procedure.level_ids.charge_interest = True
        InterestCase.use_profile.__func__(cls, 'ch')

    def test_claims_what_is_neither_booked_nor_waived(self):
        """5 % of 7200 is 1 a day: 60 days on the first, 80 on the second notice."""
        self.make_invoice(self.partner, 7200, due='2026-09-30')
        first = self.dun('2026-11-30', partner_ids=self.partner.ids).notice_ids
        self.assertEqual(first.amount_interest, 60.0)
        charge = first.charge_ids
        charge._book({charge: 25.0})
        rest = first.charge_ids - charge
        self.pay_line(charge.move_line_booked_id, 25)
        second = self.dun('2026-12-20', partner_ids=self.partner.ids).notice_ids
        self.assertEqual((second.amount_interest, second.amount_earlier), (55.0, 0.0))
        self.assertEqual((charge.state, rest.state), ('paid', 'replaced'))
        second.charge_ids._book()
        third = self.make_run('2027-01-10', partner_ids=self.partner.ids).notice_ids
        self.assertEqual((third.amount_interest, third.amount_earlier), (20.0, 55.0))
        third.run_id.action_cancel()
        second.charge_ids._waive('x')
        third = self.make_run('2027-01-10', partner_ids=self.partner.ids).notice_ids
        self.assertEqual((third.amount_interest, third.amount_earlier), (20.0, 0.0), "waived is not claimed again")

    def test_reversed_by_the_accountant(self):
        """What she takes back is given up, as long as its notice stands."""
        self.make_invoice(self.partner, 7200, due='2026-09-30')
        first = self.dun('2026-11-30', partner_ids=self.partner.ids).notice_ids
        reversal = first.charge_ids._book().move_id._reverse_moves(cancel=True)
        self.assertEqual(first.charge_ids.state, 'cancelled')
        second = self.make_run('2026-12-20', partner_ids=self.partner.ids).notice_ids
        self.assertEqual((second.amount_interest, second.amount_earlier), (20.0, 0.0))
        self.assertEqual(second._recheck()[second.id].code, 'same')
        second.run_id.action_cancel()
        reversal.button_draft()
        second = self.make_run('2026-12-20', partner_ids=self.partner.ids).notice_ids
        self.assertEqual((second.amount_interest, second.amount_earlier), (20.0, 60.0), "she undid it")
        second.run_id.action_cancel()
        reversal.action_post()
        first.action_cancel()
        self.assertEqual(
            self.make_run('2026-12-20', partner_ids=self.partner.ids).notice_ids.amount_interest, 80.0,
            "nothing is given up of a notice that does not count")

    def test_entry_that_is_being_corrected(self):
        """It counts as in the books, is not asked for, and nothing takes its place."""
        self.make_invoice(self.partner, 7200, due='2026-09-30')
        first = self.dun('2026-11-30', partner_ids=self.partner.ids).notice_ids
        charge = first.charge_ids
        for paid, left in ((60, 0.0), (10, 50.0)):
            with self.subTest(paid=paid), self.env.cr.savepoint() as savepoint:
                line = charge._book()
                self.pay_line(line, paid)
                line.move_id.button_draft()
                second = self.dun('2026-12-20', partner_ids=self.partner.ids).notice_ids
                self.assertEqual((second.amount_interest, second.amount_earlier), (20.0, 0.0))
                self.assertEqual(charge.state, 'claimed', "nothing stands for it")
                line.move_id.action_post()
                self.assertEqual((charge.state, charge.amount_left), ('booked' if left else 'paid', left))
                third = self.make_run('2027-01-10', partner_ids=self.partner.ids).notice_ids
                self.assertEqual((third.amount_interest, third.amount_earlier), (40.0, left))
                savepoint.rollback()
                self.env.invalidate_all()

    def test_entry_that_is_deleted_while_it_is_being_corrected(self):
        self.make_invoice(self.partner, 7200, due='2026-09-30')
        first = self.dun('2026-11-30', partner_ids=self.partner.ids).notice_ids
        move = first.charge_ids._book().move_id
        move.button_draft()
        run = self.make_run('2026-12-20', partner_ids=self.partner.ids)
        self.assertEqual(run.notice_ids.amount_interest, 20.0)
        move.with_context(force_delete=True).unlink()
        run.action_print_and_send()
        self.assertEqual((run.notice_ids.amount_interest, run.notice_ids.amount_earlier), (80.0, 0.0), "read again")

    def test_lump_sum_and_part_reversed_by_the_accountant(self):
        self.procedure.level_ids.charge_lump_sum = True
        InterestCase.use_profile.__func__(type(self), 'de')
        self.profile.currency_id = self.currency
        self.make_invoice(self.partner, 7200, due='2026-09-30')
        first = self.dun('2026-11-30', partner_ids=self.partner.ids).notice_ids
        lump_sum, interest = (
            first.charge_ids.filtered(lambda charge, kind=kind: charge.kind == kind)
            for kind in ('lump_sum', 'interest'))
        self.assertEqual(lump_sum.amount, 40.0)
        (lump_sum | interest)._book({interest: 25.0}).move_id._reverse_moves(cancel=True)
        self.assertEqual((lump_sum.state, interest.state), ('cancelled', 'cancelled'))
        second = self.dun('2026-12-20', partner_ids=self.partner.ids).notice_ids
        whole = sum(float(row['amount']) for row in second.charge_ids.detail)
        self.assertEqual((second.amount_lump_sum, second.amount_earlier), (0.0, 0.0))
        self.assertAlmostEqual(second.amount_interest, whole - 25, 1)
        self.assertEqual(sorted((charge.kind, charge.state) for charge in first.charge_ids), [
            ('interest', 'cancelled'), ('interest', 'replaced'), ('lump_sum', 'cancelled')])

    def test_corrected_in_the_books_too(self):
        """What becomes known later takes off what was booked; what had paid it pays what is left."""
        invoice = self.make_invoice(self.partner, 7200, due='2026-09-30')
        first = self.dun('2026-11-30', partner_ids=self.partner.ids).notice_ids
        charge = first.charge_ids
        old = charge._book()
        self.pay_line(old, 25)
        # Paid in full on the 20th of November, which is known in December: 49 days of 60.
        self.pay(invoice, day='2026-11-20')
        self.env['dunning.charge']._process()
        self.assertEqual((charge.state, charge.amount, charge.amount_paid), ('booked', 49.0, 25.0))
        self.assertNotEqual(charge.move_line_booked_id, old)
        self.assertEqual(sorted(
            balance for code, balance in [(line.account_id.code, line.balance) for line in charge.booked_line_ids]
            if code == '9911'), [-60.0, -49.0, 60.0])

    def test_calculation_of_what_was_divided(self):
        self.make_invoice(self.partner, 7200, due='2026-09-30')
        first = self.dun('2026-11-30', partner_ids=self.partner.ids).notice_ids
        first.charge_ids._book({first.charge_ids: 25.0})
        report = self.env['report.dunning_mail.letter']
        rows = report._get_calculation_values(first, lambda number, digits: f'{number:.{digits}f}', str)
        self.assertEqual([(row['days'], row['amount']) for row in rows], [(60, '60.0000')])


@tagged('post_install', '-at_install')
class TestPaidWhileTheLetterWaits(BookingCase):
    """A letter has been handed out, and money for the earlier charges that it contains comes before it has left."""

    def setUp(self):
        super().setUp()
        self.procedure.level_ids.charge_interest = True
        InterestCase.use_profile.__func__(type(self), 'ch')
        self.make_invoice(self.partner, 7200, due='2026-09-30')
        self.first = self.dun('2026-11-30', partner_ids=self.partner.ids).notice_ids
        self.interest, self.fee = (
            self.first.charge_ids.filtered(lambda charge, kind=kind: charge.kind == kind)
            for kind in ('interest', 'fee'))
        self.assertEqual((self.interest.amount, self.fee.amount), (60.0, 10.0))

    def hand_out(self):
        run = self.make_run('2026-12-20', partner_ids=self.partner.ids)
        run.action_print_and_send()
        run._hand_out_letters()
        self.clock.move_to('2026-12-22 08:00:00')
        return run

    def test_what_came_is_not_claimed_twice(self):
        def book(amounts=None):
            lines = (self.interest | self.fee)._book(amounts)
            self.pay_line(lines, sum(lines.mapped('balance')))

        def give_up():
            self.interest._waive('Kulanz')

        for way, act, expected in (
                ('paid', book, [('fee', 10.0, 'claimed'), ('interest', 20.0, 'claimed')]),
                ('in part', lambda: book({self.interest: 25.0}), [
                    ('fee', 10.0, 'claimed'), ('interest', 55.0, 'claimed')]),
                ('booked', self.fee._book, [('fee', 10.0, 'claimed'), ('interest', 80.0, 'claimed')]),
                ('by hand', lambda: self.interest._settle('Cash'), [
                    ('fee', 20.0, 'claimed'), ('interest', 20.0, 'claimed')]),
                ('given up', give_up, [('fee', 20.0, 'claimed'), ('interest', 80.0, 'claimed')])):
            with self.subTest(way=way), self.env.cr.savepoint() as savepoint:
                run = self.hand_out()
                act()
                run.action_mark_printed()
                notice = run.notice_ids
                self.assertEqual(sorted(self.states(notice)), expected)
                self.assertEqual(notice.amount_total, 7300.0, "what the letter says")
                if way in ('paid', 'in part'):
                    third = self.make_run('2027-01-20', partner_ids=self.partner.ids).notice_ids
                    self.assertEqual(
                        third.amount_interest, 50.0 if way == 'paid' else 85.0, "what was paid is taken off once")
                savepoint.rollback()
                self.env.invalidate_all()

    def test_nothing_is_left_of_it(self):
        self.set_fee(self.level_2, 10)
        run = self.hand_out()
        self.pay_line(self.fee._book(), 10)
        run.action_mark_printed()
        fee = run.notice_ids.charge_ids.filtered(lambda charge: charge.kind == 'fee')
        self.assertEqual((fee.state, fee.amount_left), ('waived', 0.0))
        self.assertIn(self.first.name, fee.reason)
        self.assertIn(fee.reason, '\n'.join(run.notice_ids.message_ids.mapped('body')))

    def test_what_was_taken_into_account(self):
        """Booked before the letter was made, and corrected in the books since."""
        lines = (self.interest | self.fee)._book()
        self.pay_line(lines, 70)
        run = self.hand_out()
        before = sorted(self.states(run.notice_ids))
        self.assertEqual(before, [('fee', 20.0, 'draft'), ('interest', 20.0, 'draft')])
        lines.move_id.button_draft()
        lines.move_id.action_post()
        run.action_mark_printed()
        self.assertEqual(
            sorted(self.states(run.notice_ids)), [('fee', 20.0, 'claimed'), ('interest', 20.0, 'claimed')])


@tagged('post_install', '-at_install')
class TestBookedMeanwhile(BookingCase, LifeCase):
    """Interest that comes into the books while the next notice is on its way is named there: its own no longer contains
    it, and the customer is asked for as much as before."""

    def setUp(self):
        super().setUp()
        self.procedure.level_ids.fee_ids.unlink()
        self.use_profile('ch')
        self.make_old()
        self.first = self.dun_partner('2026-06-30')
        self.second = self.propose_partner('2026-07-30')
        self.run = self.second.run_id

    def check(self):
        self.assertEqual(
            (self.second.amount_interest, self.second.amount_earlier, self.second.amount_total), (15.0, 15.0, 3630.0))
        self.assertEqual(
            self.second.charge_line_ids.charge_id, self.first.charge_ids | self.second.charge_ids)
        text = read_pdf(self.second._get_document_bytes())
        self.assertIn(self.first.name, text)
        self.assertIn('3.630,00', text)

    def test_before_it_is_issued(self):
        self.assertEqual((self.second.amount_interest, self.second.amount_total), (30.0, 3630.0))
        self.first.charge_ids._book()
        _verdicts, totals = self.second._foresee_issue()
        self.assertEqual(totals[self.second.id], 3630.0)
        self.run.action_print_and_send()
        self.check()

    def test_before_it_leaves(self):
        self.run.action_print_and_send()
        self.first.charge_ids._book()
        self.run._hand_out_letters()
        self.check()

    def test_what_was_paid_of_it(self):
        self.run.action_print_and_send()
        self.pay_line(self.first.charge_ids._book(), 5.0)
        self.run._hand_out_letters()
        self.assertEqual((self.second.amount_interest, self.second.amount_earlier), (15.0, 10.0))

"""What a second look at the way of a notice found: each of these cost somebody money or an apology."""

from datetime import timedelta

from psycopg2 import IntegrityError

from odoo import Command
from odoo.exceptions import UserError, ValidationError
from odoo.tests import tagged

from .common import TODAY, DunningCommon


@tagged('post_install', '-at_install')
class TestSecondLook(DunningCommon):

    def setUp(self):
        super().setUp()
        self.partner = self.make_partner('Acme')

    def make_letter(self, amount=100.0, **values):
        invoice = self.make_invoice(self.partner, amount)
        run = self.make_run(**values)
        run.action_print_and_send()
        return invoice, run

    def test_letter_paid_before_it_is_printed(self):
        invoice, run = self.make_letter()
        self.pay(invoice)
        action = run.action_print_letters()
        self.assertEqual(action['tag'], 'display_notification')
        self.assertIn(f"{run.notice_ids.name}, Acme: Cancelled. Paid: {invoice.name}", action['params']['message'])
        self.assertEqual(action['params']['next']['tag'], 'soft_reload')
        self.assertEqual(run.notice_ids.state, 'cancelled')
        with self.assertRaisesRegex(UserError, "no letters"):
            run.action_print_letters()

    def test_letter_partly_paid_before_it_is_printed(self):
        invoice, run = self.make_letter()
        old = run.notice_ids.document_sha256
        self.pay(invoice, 40)
        run.action_print_letters()
        self.assertEqual(run.notice_ids.amount_total, 60.0)
        self.assertNotEqual(run.notice_ids.document_sha256, old)

    def test_only_opened_letters_are_marked_printed(self):
        _invoice, run = self.make_letter()
        # A browser may have kept the window with the letters from opening.
        run.action_print_letters()
        with self.assertRaisesRegex(UserError, "Open the letters first"):
            run.action_mark_printed()
        run._hand_out_letters()
        run.action_mark_printed()
        self.assertTrue(run.notice_ids.printed_at)

    def test_failed_notice_is_overtaken(self):
        """Another notice has dunned the item meanwhile: the old one must not go out any more."""
        _invoice, run = self.make_letter()
        first = run.notice_ids
        first.sudo()._set_delivery('released', 'x')
        first.sudo()._set_delivery('failed', 'x')
        self.dun()
        with self.assertRaisesRegex(UserError, "dunned meanwhile"):
            first.action_set_paper()

    def test_excluded_notice_is_overtaken(self):
        self.make_invoice(self.partner)
        notice = self.make_run().notice_ids
        notice.action_exclude()
        self.dun()
        with self.assertRaisesRegex(UserError, "dunned meanwhile"):
            notice.action_include()

    def test_fee_and_deadline_follow_the_level(self):
        self.level_2.write({'fee_amount': 40, 'deadline_days': 5})
        old = self.make_invoice(self.partner, 100)
        self.dun()
        new = self.make_invoice(self.partner, 20, due=self.days(-1))
        notice = self.make_run(self.days(15)).notice_ids
        self.assertEqual((notice.level_id, notice.amount_fee), (self.level_2, 40.0))
        self.pay(old, day=self.days(15))
        notice.run_id.action_print_and_send()
        self.assertEqual((notice.level_id, notice.line_ids.move_id), (self.level_1, new))
        self.assertEqual((notice.amount_fee, notice.amount_total), (0.0, 20.0))
        self.assertEqual(notice.date_deadline, notice.date + timedelta(days=self.level_1.deadline_days))

    def test_minimum_is_asked_again(self):
        self.company.dunning_min_amount = 20
        invoice = self.make_invoice(self.partner, 100)
        run = self.make_run()
        self.pay(invoice, 99.95)
        run.action_print_and_send()
        self.assertEqual(run.notice_ids.state, 'cancelled')

    def test_credit_is_not_taken_out(self):
        partner = self.make_partner('Acme', email=False)
        self.make_invoice(partner), self.make_invoice(partner, due='2026-10-05')
        self.make_unallocated(partner, 30.0)
        notice = self.make_run(partner_ids=partner.ids).notice_ids
        credit = notice.line_ids.filtered(lambda line: line.kind == 'credit')
        with self.assertRaisesRegex(UserError, "Credits cannot be taken out of the notice for Acme"):
            credit.action_take_out()
        # Chosen together with an item, it stays with the other item, which it is set off against.
        newest = notice.line_ids.filtered(lambda line: line.kind == 'due').sorted('date_due')[-1]
        (credit | newest).action_take_out()
        self.assertEqual(notice.amount_total, 70.0)
        self.assertEqual(notice.line_ids.mapped('kind'), ['due', 'credit'])

    def test_deadline_in_the_past(self):
        self.make_invoice(self.partner)
        run = self.make_run()
        self.clock.move_to(f'{self.days(30)} 08:00:00')
        run.action_print_and_send()
        notice = run.notice_ids
        self.assertEqual((notice.state, notice.date), ('issued', self.days(30)))
        self.assertEqual(notice.date_deadline, self.days(30 + self.level_1.deadline_days))

    def test_run_of_the_future(self):
        self.make_invoice(self.partner)
        run = self.make_run(self.days(365))
        self.clock.move_to(f'{TODAY} 08:00:00')
        with self.assertRaisesRegex(UserError, "before their date"):
            run.action_print_and_send()

    def test_recipient_of_another_customer(self):
        self.make_invoice(self.partner)
        notice = self.make_run().notice_ids
        with self.assertRaises(ValidationError):
            notice.recipient_id = self.make_partner('Bravo')
        with self.assertRaises(ValidationError):
            notice.amount_fee = -500
        with self.assertRaises(ValidationError):
            notice.date_deadline = '2020-01-01'

    def test_recipient_who_left(self):
        contact = self.make_partner('Contact', parent_id=self.partner.id, type='dunning', is_company=False)
        self.make_invoice(self.partner)
        run = self.make_run()
        self.assertEqual(run.notice_ids.recipient_id, contact)
        contact.parent_id = self.make_partner('Bravo')
        run.action_print_and_send()
        self.assertEqual(run.notice_ids.recipient_id, self.partner)

    def test_address_of_another_company(self):
        other = self.env['res.company'].create({'name': 'Other'})
        self.make_partner('Foreign', parent_id=self.partner.id, type='dunning', is_company=False, company_id=other.id)
        self.make_invoice(self.partner)
        self.assertEqual(self.make_run().notice_ids.recipient_id, self.partner)

    def test_draft_does_not_hold_an_invoice(self):
        invoice = self.make_invoice(self.partner)
        run = self.make_run()
        invoice.button_draft()
        invoice.with_context(force_delete=True).unlink()
        self.assertFalse(run.notice_ids.exists())

    def test_issued_notice_holds_its_invoice(self):
        invoice, _run = self.make_letter()
        invoice.button_draft()
        with self.assertRaisesRegex(UserError, "part of its evidence"), self.env.cr.savepoint():
            self.receivable(invoice).unlink()

    def test_clerk_of_issued_notices_is_fixed(self):
        _invoice, run = self.make_letter()
        with self.assertRaises(UserError):
            run.user_id = self.manager

    def test_branch_uses_its_parents_procedure(self):
        self.procedure.company_id = self.company
        branch = self.env['res.company'].create({
            'name': 'Branch', 'parent_id': self.company.id, 'dunning_procedure_id': self.procedure.id})
        self.assertEqual(branch.dunning_procedure_id, self.procedure)
        other = self.env['res.company'].create({'name': 'Other', 'dunning_procedure_id': False})
        with self.assertRaises(ValidationError):
            other.dunning_procedure_id = self.procedure

    def test_procedure_in_use_stays_with_its_company(self):
        other = self.env['res.company'].create({'name': 'Other', 'dunning_procedure_id': False})
        with self.assertRaises(ValidationError):
            self.procedure.company_id = other

    def test_filter_does_not_vanish(self):
        run = self.make_run(generate=False, partner_ids=[Command.set(self.partner.ids)])
        with self.assertRaises(IntegrityError) as raised, self.env.cr.savepoint():
            self.partner.sudo().unlink()
        self.assertIn('dunning_run', str(raised.exception))
        self.assertEqual(run.partner_ids, self.partner)

    def test_monthly_schedule_keeps_the_31st(self):
        self.clock.move_to('2027-01-31 08:00:00')
        schedule = self.env['dunning.schedule'].create({
            'name': 'Monthly', 'interval_type': 'months', 'next_date': '2027-01-31', 'user_id': self.clerk.id})
        dates = []
        for day in ('2027-01-31', '2027-02-28', '2027-03-31'):
            self.clock.move_to(f'{day} 08:00:00')
            schedule._make_run()
            dates.append(str(schedule.next_date))
        self.assertEqual(dates, ['2027-02-28', '2027-03-31', '2027-04-30'])

"""Paper: opened, printed, marked, and put back on mail."""

from odoo.exceptions import UserError
from odoo.tests import tagged

from .common import TODAY, IssueCase, OneCustomerCase


@tagged('post_install', '-at_install')
class TestLettersOfARun(OneCustomerCase):

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


@tagged('post_install', '-at_install')
class TestPaper(IssueCase):

    def test_mark_printed_and_undo(self):
        notice = self.propose(email=False)
        run = notice.run_id
        run.action_print_and_send()
        self.assertEqual((run.state, run.unprinted_count), ('processing', 1))
        run._hand_out_letters()
        run.action_mark_printed()
        self.assertEqual((notice.printed_by, notice.delivery_state), (self.clerk, 'paper'))
        self.assertEqual(notice.printed_at.date(), TODAY)
        self.assertEqual((run.state, run.unprinted_count, run.progress), ('done', 0, 100.0))
        notice.action_unmark_printed()
        self.assertFalse(notice.printed_at or notice.printed_by)
        self.assertEqual((run.state, run.unprinted_count), ('processing', 1))
        self.assertEqual(notice.delivery_log_ids.mapped('state_to'), ['paper'] * 4)
        self.assertTrue(all(log.user_id == self.clerk for log in notice.delivery_log_ids))

    def test_only_paper_can_be_marked_printed(self):
        """The print of a run says nothing about the mails in it."""
        run, acme, other, coop = self.propose_three()
        self.customer(coop).dunning_channel = 'paper'
        run.action_print_and_send()
        run._hand_out_letters()
        run.action_mark_printed()
        self.assertTrue(coop.printed_at)
        self.assertFalse(acme.printed_at or other.printed_at)
        with self.assertRaises(UserError):
            acme.action_mark_printed()

    def test_mail_put_on_paper(self):
        notice = self.propose()
        notice.run_id.action_print_and_send()
        notice.action_set_paper()
        self.assertEqual(notice.delivery_state, 'paper')
        self.assertIn('Petra Muster', notice.delivery_info)
        notice.action_mark_printed()
        self.assertTrue(notice.is_counted)
        with self.assertRaises(UserError):
            notice.action_retry()

    def test_paper_put_on_mail(self):
        notice = self.propose(email=False)
        notice.run_id.action_print_and_send()
        with self.assertRaisesRegex(UserError, "no mail address"):
            notice.action_retry()
        self.customer(notice).email = 'acme@customer.test'
        notice.action_retry()
        self.assertEqual((notice.delivery_state, notice.email_to, notice.provider_id),
                         ('released', 'acme@customer.test', self.provider))

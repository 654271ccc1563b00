"""Who was left out by hand, and how it is put back."""

from odoo.exceptions import AccessError, UserError
from odoo.tests import new_test_user, tagged

from .common import DunningCommon


@tagged('post_install', '-at_install')
class TestLeftOutByHand(DunningCommon):
    """What a person leaves out stands among the exceptions, from where it can be put back."""

    def test_what_was_taken_out_comes_back_in_the_next_run(self):
        """Dunning one invoice does not let the others be forgotten."""
        partner = self.make_partner('Three', email=False)
        first, *others = (self.make_invoice(partner, amount) for amount in (10.0, 20.0, 30.0))
        run = self.make_run(partner_ids=partner.ids)
        run.notice_ids.line_ids.filtered(lambda line: line.move_id != first).action_take_out()
        run.action_print_and_send()
        run._hand_out_letters()
        run.action_mark_printed()
        later = self.make_run(self.days(1), partner_ids=partner.ids).notice_ids
        self.assertEqual(later.due_line_ids.move_id, others[0] | others[1])
        self.assertEqual(later.amount_total, 50.0)

    def setUp(self):
        super().setUp()
        self.partner = self.make_partner('Acme')
        self.invoices = [self.make_invoice(self.partner, amount) for amount in (100.0, 40.0)]
        self.run = self.make_run()
        self.notice = self.run.notice_ids

    def line_of(self, invoice):
        return self.notice.line_ids.filtered(lambda line: line.move_id == invoice)

    def test_excluded_notice(self):
        self.notice.action_exclude()
        exception = self.run.exception_ids
        self.assertEqual(
            (exception.reason, exception.partner_id, exception.amount, exception.can_put_back),
            ('excluded', self.partner, 140.0, True))
        for invoice in self.invoices:
            self.assertIn(invoice.name, exception.document)
        self.run.action_generate_notices()
        exception = self.run.exception_ids
        self.assertEqual((exception.reason, exception.can_put_back), ('excluded', True))
        exception.action_put_back()
        self.assertEqual(self.notice.state, 'draft')
        self.assertFalse(self.run.exception_ids)

    def test_put_back_from_the_notice(self):
        self.notice.action_exclude()
        self.notice.action_include()
        self.assertFalse(self.run.exception_ids)

    def test_line_taken_out_and_put_back(self):
        fnames = ('kind', 'level_id', 'amount_residual', 'date_due', 'name', 'days_overdue')
        before = self.line_of(self.invoices[1])
        values = [before[fname] for fname in fnames]
        before.action_take_out()
        self.assertEqual(self.notice.amount_total, 100.0)
        exception = self.run.exception_ids
        self.assertEqual(
            (exception.reason, exception.document, exception.amount, exception.can_put_back),
            ('taken_out', self.invoices[1].name, 40.0, True))
        self.assertIn(self.clerk.name, exception.description)
        exception.action_put_back()
        after = self.line_of(self.invoices[1])
        self.assertEqual([after[fname] for fname in fnames], values)
        self.assertEqual(self.notice.amount_total, 140.0)
        self.assertFalse(self.run.exception_ids)

    def test_level_rises_again(self):
        self.run.action_print_and_send()
        self.run._hand_out_letters()
        self.run.action_mark_printed()
        self.invoices.append(self.make_invoice(self.partner, 25.0))
        self.run = self.make_run(self.days(40))
        self.notice = self.run.notice_ids
        self.assertEqual(self.notice.level_id, self.level_2)
        for invoice in self.invoices[:2]:
            self.line_of(invoice).action_take_out()
        self.assertEqual(self.notice.level_id, self.level_1)
        self.run.exception_ids[0].action_put_back()
        self.assertEqual(self.notice.level_id, self.level_2)

    def test_settled_meanwhile(self):
        self.line_of(self.invoices[1]).action_take_out()
        self.pay(self.invoices[1])
        with self.assertRaises(UserError), self.env.cr.savepoint():
            self.run.exception_ids.action_put_back()
        self.assertEqual(self.notice.amount_total, 100.0)

    def test_on_another_notice_meanwhile(self):
        self.line_of(self.invoices[1]).action_take_out()
        other = self.make_run()
        self.assertEqual(other.notice_ids.line_ids.move_id, self.invoices[1])
        with self.assertRaisesRegex(UserError, "another open notice"):
            self.run.exception_ids.action_put_back()

    def test_not_after_issue(self):
        self.line_of(self.invoices[1]).action_take_out()
        self.run.action_print_and_send()
        exception = self.run.exception_ids
        self.assertFalse(exception.can_put_back)
        with self.assertRaisesRegex(UserError, self.invoices[1].name):
            exception.action_put_back()

    def test_put_back_after_all_others_went_out(self):
        """The run is a person's turn again: a draft that nobody can send would keep its items for ever."""
        self.make_invoice(self.make_partner('Other', email=False))
        self.run.action_generate_notices()
        acme = self.run.notice_ids.filtered(lambda notice: notice.partner_id == self.partner)
        acme.action_exclude()
        self.run.action_print_and_send()
        self.run._hand_out_letters()
        self.run.action_mark_printed()
        self.assertEqual(self.run.state, 'done')
        self.run.exception_ids.action_put_back()
        self.assertEqual(self.run.state, 'proposed')
        acme.action_exclude()
        self.assertEqual(self.run.state, 'done')

    def test_excluding_all_drafts_lets_the_run_be_generated_again(self):
        self.notice.action_exclude()
        self.assertEqual(self.run.state, 'proposed')
        self.run.action_generate_notices()

    def test_items_due_since_are_listed(self):
        self.notice.action_exclude()
        later = self.make_invoice(self.partner, 77.0)
        self.run.action_generate_notices()
        self.assertEqual(self.run.notice_ids, self.notice, "the customer stays excluded")
        by_item = {exception.move_id: exception for exception in self.run.exception_ids}
        self.assertEqual(by_item[later].reason, 'excluded')
        self.assertFalse(by_item[later].can_put_back)
        self.assertEqual(by_item[later.browse()].notice_id, self.notice)
        self.assertEqual(len(by_item), 2)

    def test_each_excluded_notice_is_listed(self):
        self.procedure.grouping = 'level'
        self.run.action_print_and_send()
        self.run._hand_out_letters()
        self.run.action_mark_printed()
        self.make_invoice(self.partner, 25.0)
        self.run = self.make_run(self.days(40))
        self.assertEqual(len(self.run.notice_ids), 2)
        self.run.notice_ids.action_exclude()
        self.run.action_generate_notices()
        self.assertEqual(self.run.exception_ids.notice_id, self.run.notice_ids)
        self.assertEqual(len(self.run.exception_ids), 2)

    def test_taken_out_of_a_notice_that_was_excluded(self):
        self.line_of(self.invoices[1]).action_take_out()
        self.notice.action_exclude()
        self.run.action_generate_notices()
        self.assertEqual(sorted(self.run.exception_ids.mapped('reason')), ['excluded', 'taken_out'])
        for reason in ('excluded', 'taken_out'):
            self.run.exception_ids.filtered(lambda exception, reason=reason: (
                exception.reason == reason)).action_put_back()
        self.assertEqual(self.notice.amount_total, 140.0)

    def test_in_payment_meanwhile(self):
        self.line_of(self.invoices[1]).action_take_out()
        self.invoices[1].payment_state = 'in_payment'
        self.env.flush_all()
        with self.assertRaisesRegex(UserError, "cannot be put back.*paid or in payment"):
            self.run.exception_ids.action_put_back()

    def test_who_only_reads(self):
        self.line_of(self.invoices[1]).action_take_out()
        reader = new_test_user(self.env, 'reader-out', 'account.group_account_readonly')
        with self.assertRaises(AccessError):
            self.run.exception_ids.with_user(reader).action_put_back()

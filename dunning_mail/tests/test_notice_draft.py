"""What a person may do to a draft."""

from datetime import timedelta

from odoo.exceptions import UserError
from odoo.tests import tagged

from .common import DunningCommon, OneCustomerCase


@tagged('post_install', '-at_install')
class TestDraft(OneCustomerCase):

    def test_fee_and_deadline_follow_the_level(self):
        self.level_2.deadline_days = 5
        self.set_fee(self.level_2, 40)
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
        # Chosen together with an item, it would stay with the other one, which it is set off against.
        newest = notice.line_ids.filtered(lambda line: line.kind == 'due').sorted('date_due')[-1]
        with self.assertRaisesRegex(UserError, "choose the items alone"), self.env.cr.savepoint():
            (credit | newest).action_take_out()
        self.env.invalidate_all()
        newest.action_take_out()
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


@tagged('post_install', '-at_install')
class TestEdited(DunningCommon):
    """The run knows which drafts a person has changed, and asks before it drops that."""

    def setUp(self):
        super().setUp()
        self.partner = self.make_partner('Acme')
        self.make_invoice(self.partner)
        self.make_invoice(self.partner, 20)
        self.make_invoice(self.make_partner('Coop'))
        self.run_ = self.make_run()
        self.notice = self.run_.notice_ids.filtered(lambda notice: notice.partner_id == self.partner)

    def assertEdited(self, count=1):
        self.run_.invalidate_recordset()
        self.assertEqual((self.notice.is_edited, self.run_.edited_count), (bool(count), count))

    def test_proposed(self):
        self.assertEdited(0)

    def test_deadline(self):
        self.notice.with_user(self.clerk).date_deadline = self.days(30)
        self.assertEdited()

    def test_line_taken_out(self):
        self.notice.line_ids[0].with_user(self.clerk).action_take_out()
        self.assertEdited()

    def test_recipient(self):
        contact = self.make_partner('Buchhaltung', parent_id=self.partner.id, is_company=False)
        self.notice.with_user(self.clerk).recipient_id = contact
        self.assertEdited()
        self.env.flush_all()
        self.env.cr.precommit.run()
        self.assertTrue(self.notice.sudo().message_ids.tracking_value_ids, "the chatter says who it was before")

    def test_a_note_is_no_edit(self):
        self.notice.with_user(self.clerk).message_post(body="Anruf am Montag")
        self.assertEdited(0)

    def test_generating_again_drops_edits(self):
        self.notice.with_user(self.clerk).date_deadline = self.days(30)
        self.run_.action_generate_notices()
        self.assertFalse(self.notice.exists())
        self.run_.invalidate_recordset()
        self.assertEqual(self.run_.edited_count, 0)

    def test_excluded_does_not_count(self):
        self.notice.with_user(self.clerk).date_deadline = self.days(30)
        self.notice.action_exclude()
        self.run_.invalidate_recordset()
        self.assertEqual(self.run_.edited_count, 0, "it is not dropped by generating again")

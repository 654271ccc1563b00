"""A draft gets another level, with all that hangs on it."""

from odoo import Command
from odoo.exceptions import AccessError, UserError
from odoo.tests import new_test_user, tagged

from .common import DunningCommon


@tagged('post_install', '-at_install')
class TestLevelChange(DunningCommon):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.level_1.deadline_days = 10
        cls.level_2.deadline_days = 5
        cls.set_fee(cls.level_2, 20)
        cls.level_3.deadline_days = 3
        cls.set_fee(cls.level_3, 30)

    def change(self, notices, level, reason='Der Chef will es so', user=None):
        self.env['dunning.level.change'].with_user(user or self.clerk).create({
            'notice_ids': [Command.set(notices.ids)], 'level_id': level.id, 'reason': reason}).action_apply()

    def test_raise(self):
        self.make_invoice(self.make_partner('Acme'), 100)
        notice = self.make_run().notice_ids
        self.change(notice, self.level_3)
        self.assertEqual((notice.level_id, notice.due_line_ids.level_id), (self.level_3, self.level_3))
        self.assertEqual((notice.date_deadline, notice.amount_fee, notice.amount_total), (self.days(3), 30.0, 130.0))
        self.assertEqual(notice.level_change_reason, 'Der Chef will es so')
        self.assertIn('Der Chef will es so', notice.due_line_ids.level_reason)
        body = notice.message_ids[0].body
        for words in ('Der Chef will es so', self.level_1.name, self.level_3.name):
            self.assertIn(words, body)
        self.assertEqual(notice.message_ids[0].author_id, self.clerk.partner_id)
        self.assertTrue(notice.is_edited)
        notice.run_id.action_print_and_send()
        notice.run_id._hand_out_letters()
        notice.run_id.action_mark_printed()
        self.assertEqual(notice.due_line_ids.move_line_id.dunning_level_id, self.level_3, "what was sent counts")

    def test_lower(self):
        old = self.make_invoice(self.make_partner('Acme'), 100)
        self.dun()
        new = self.make_invoice(old.partner_id, 50, due=self.days(-1))
        notice = self.make_run(self.days(15)).notice_ids
        self.assertEqual((notice.level_id, notice.amount_fee), (self.level_2, 20.0))
        self.change(notice, self.level_1)
        self.assertEqual((notice.level_id, notice.amount_fee), (self.level_1, 0.0))
        self.assertEqual(notice.date_deadline, self.days(25))
        lines = {line.move_id: line for line in notice.line_ids}
        self.assertEqual((lines[old].level_id, lines[new].level_id), (self.level_1, self.level_1))
        self.assertTrue(lines[old].is_level_set)
        self.assertFalse(lines[new].is_level_set, "it had that level anyway")

    def test_language_follows_the_texts(self):
        self.make_invoice(self.make_partner('Acme', lang='fr_FR'))
        notice = self.make_run().notice_ids
        self.assertEqual(notice.lang, 'fr_FR')
        self.drop_texts(self.level_2, 'fr')
        self.change(notice, self.level_2)
        self.assertEqual(notice.lang, 'de_DE', "the level has no French texts")

    def test_fee_in_foreign_currency(self):
        self.make_invoice(self.make_partner('Acme'), 100, currency=self.foreign)
        notice = self.make_run().notice_ids
        self.change(notice, self.level_2)
        self.assertEqual(notice.amount_fee, 40.0)

    def test_several_at_once(self):
        for name in ('Acme', 'Coop'):
            self.make_invoice(self.make_partner(name))
        notices = self.make_run().notice_ids
        self.change(notices, self.level_2)
        self.assertEqual(notices.level_id, self.level_2)
        self.assertEqual(len(notices.line_ids.filtered('is_level_set')), 2)

    def test_payment_meanwhile_keeps_the_reason(self):
        invoice = self.make_invoice(self.make_partner('Acme'), 100)
        notice = self.make_run().notice_ids
        self.change(notice, self.level_2)
        self.pay(invoice, 40)
        notice.run_id.action_print_and_send()
        self.assertEqual((notice.state, notice.amount_overdue), ('issued', 60.0))
        self.assertEqual((notice.level_id, notice.due_line_ids.is_level_set), (self.level_2, True))

    def test_not_after_issue(self):
        self.make_invoice(self.make_partner('Acme'))
        notice = self.dun().notice_ids
        with self.assertRaisesRegex(UserError, "not a draft"):
            self.change(notice, self.level_2)
        self.assertEqual(notice.level_id, self.level_1)

    def test_another_procedure(self):
        strict = self.procedure.copy({'name': 'Strict'})
        self.make_invoice(self.make_partner('Acme'))
        notice = self.make_run().notice_ids
        with self.assertRaisesRegex(UserError, "another dunning procedure"):
            self.change(notice, strict.level_ids[0])

    def test_who_may(self):
        self.make_invoice(self.make_partner('Acme'))
        notice = self.make_run().notice_ids
        reader = new_test_user(self.env, login='reader', groups='account.group_account_readonly')
        with self.assertRaises(AccessError):
            self.change(notice, self.level_2, user=reader)
        self.assertEqual(notice.level_id, self.level_1)

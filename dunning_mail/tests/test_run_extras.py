"""What surrounds a run: preview, schedules, change of level, warnings, and the words that explain."""

from unittest.mock import patch

from odoo import Command, fields
from odoo.exceptions import AccessError, UserError
from odoo.tests import new_test_user, tagged
from odoo.tools import mute_logger

from .common import TODAY, DunningCommon


@tagged('post_install', '-at_install')
class TestPreview(DunningCommon):

    def preview(self, run, date, user=None):
        return self.env['dunning.run.preview'].with_user(user or self.clerk).create({'run_id': run.id, 'date': date})

    def count_writes(self):
        """Rows that this transaction has written in the addon's tables, but for the wizard's own."""
        self.env.flush_all()
        self.env.cr.execute("""
            SELECT COALESCE(SUM(n_tup_ins + n_tup_upd + n_tup_del), 0) FROM pg_stat_xact_user_tables
             WHERE (relname LIKE 'dunning%' AND relname <> 'dunning_run_preview')
                OR relname IN ('mail_message', 'ir_sequence', 'ir_sequence_date_range')
        """)
        return self.env.cr.fetchone()[0]

    def test_writes_nothing(self):
        self.make_invoice(self.make_partner('Acme'), due=self.days(-12))
        self.make_invoice(self.make_partner('Coop'), due=self.days(-2))
        run = self.make_run()
        before = self.count_writes()
        run.invalidate_recordset()
        values = run.sudo().read()
        preview = self.preview(run, self.days(9))
        self.assertEqual(preview.notice_count, 2)
        self.assertIn('Coop', preview.result)
        self.assertEqual(self.count_writes(), before)
        run.invalidate_recordset()
        self.assertEqual(run.sudo().read(), values)

    def test_customer_of_a_branch_whom_the_user_may_not_see(self):
        branch = self.env['res.company'].create({
            'name': 'Branch', 'parent_id': self.company.id, 'dunning_procedure_id': self.procedure.id})
        partner = self.make_partner('Hidden')
        self.make_invoice(partner, due=self.days(-12))
        partner.company_id = branch
        run = self.make_run(generate=False)
        self.assertFalse(self.env['res.partner'].with_user(self.clerk).search([('id', '=', partner.id)]))
        self.assertIn('Hidden', self.preview(run, self.days(0)).result)

    def test_another_date(self):
        self.make_invoice(self.make_partner('Acme'), due=self.days(-2))
        run = self.make_run(generate=False)
        self.assertEqual(self.preview(run, self.days(7)).notice_count, 0)
        self.assertIn(self.level_1.name, self.preview(run, self.days(8)).result)

    def test_reasons(self):
        partner = self.make_partner('Acme')
        self.make_invoice(partner)
        partner.write({'dunning_hold_until': self.days(10), 'dunning_hold_reason': 'Ratenzahlung'})
        run = self.make_run(generate=False)
        self.assertIn('Ratenzahlung', self.preview(run, self.days(10)).result)
        self.assertEqual(self.preview(run, self.days(11)).notice_count, 1)

    def test_own_drafts_would_be_replaced(self):
        """What the run's own drafts hold is free for its next proposal; what another run holds is not."""
        acme, coop = self.make_partner('Acme'), self.make_partner('Coop')
        self.make_invoice(acme)
        self.make_invoice(coop)
        self.make_run(partner_ids=coop.ids)
        run = self.make_run()
        self.assertEqual(run.notice_count, 1)
        preview = self.preview(run, self.days(3))
        self.assertEqual(preview.notice_count, 1)
        self.assertIn('Coop', preview.result)
        run.notice_ids.action_exclude()
        preview.invalidate_recordset()
        self.assertEqual(preview.notice_count, 0, "what is excluded stays excluded")

    def test_same_filters(self):
        acme, coop = self.make_partner('Acme'), self.make_partner('Coop')
        self.make_invoice(acme)
        self.make_invoice(coop)
        preview = self.preview(self.make_run(generate=False, partner_ids=coop.ids), TODAY)
        self.assertEqual(preview.notice_count, 1)
        self.assertNotIn('Acme', preview.result)

    def test_not_ready(self):
        run = self.make_run(generate=False)
        self.company.dunning_procedure_id = False
        preview = self.preview(run, TODAY)
        self.assertIn(self.company.name.split(' ')[0], preview.result)
        self.assertEqual(preview.notice_count, 0)

    def test_not_for_others(self):
        run = self.make_run(generate=False)
        stranger = new_test_user(self.env, login='stranger', groups='base.group_user')
        with self.assertRaises(AccessError):
            self.preview(run, TODAY, stranger)


@tagged('post_install', '-at_install')
class TestSchedule(DunningCommon):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.cron = cls.env.ref('dunning_mail.ir_cron_schedule')

    def setUp(self):
        super().setUp()
        self.clock.move_to(f'{TODAY} 08:00:00')

    def make_schedule(self, **values):
        return self.env['dunning.schedule'].with_user(self.manager).create({
            'name': 'Weekly', 'user_id': self.clerk.id, 'next_date': TODAY, **values})

    def process(self):
        with self.enter_registry_test_mode():
            self.env.flush_all()
            result = self.cron.with_user(self.env.ref('base.user_root')).method_direct_trigger()
        self.env.invalidate_all()
        self.assertIs(result, True, "the scheduled action failed")

    def test_draft_for_review(self):
        self.make_invoice(self.make_partner('Acme'))
        schedule = self.make_schedule()
        self.process()
        run = schedule.run_ids
        self.assertEqual((run.state, run.date, run.user_id, run.company_id),
                         ('proposed', TODAY, self.clerk, self.company))
        self.assertEqual(run.notice_ids.state, 'draft')
        self.assertEqual(run.create_uid, self.clerk, "in her name and with her rights")
        activity = run.activity_ids
        self.assertEqual(activity.user_id, self.clerk)
        self.assertIn('1', activity.summary)

    def test_weekday_is_kept(self):
        schedule = self.make_schedule()
        self.assertEqual(TODAY.weekday(), 1)
        self.process()
        self.assertEqual(schedule.next_date, self.days(7))
        self.process()
        self.assertEqual(len(schedule.run_ids), 1, "not before the day has come")
        # The server was off for more than two weeks: one run, not three, and a Tuesday again.
        self.clock.move_to(f'{self.days(24)} 08:00:00')
        self.process()
        self.assertEqual((len(schedule.run_ids), schedule.next_date), (2, self.days(28)))
        self.assertEqual(max(schedule.run_ids.mapped('date')), self.days(24))

    def test_intervals(self):
        every_two = self.make_schedule(interval_number=2)
        monthly = self.make_schedule(interval_type='months')
        later = self.make_schedule(next_date=self.days(1))
        asleep = self.make_schedule(active=False)
        self.process()
        self.assertEqual(every_two.next_date, self.days(14))
        self.assertEqual(monthly.next_date, fields.Date.to_date('2026-12-24'))
        self.assertFalse(later.run_ids | asleep.run_ids)

    def test_all_the_way(self):
        self.make_invoice(self.make_partner('Acme'))
        schedule = self.make_schedule(issue=True)
        self.process()
        notice = schedule.run_ids.notice_ids
        self.assertEqual((notice.state, notice.delivery_state), ('issued', 'paper'))
        self.assertEqual(schedule.run_ids.activity_ids.user_id, self.clerk)

    def test_nothing_due(self):
        for issue in (False, True):
            schedule = self.make_schedule(issue=issue)
            self.process()
            self.assertEqual((schedule.run_ids.state, schedule.run_ids.notice_count), ('proposed', 0))
            self.assertFalse(schedule.activity_ids, "nothing to do is no fault")

    @mute_logger('odoo.addons.dunning_mail.models.dunning_schedule')
    def test_fault_does_not_stop_others(self):
        self.make_invoice(self.make_partner('Acme'))
        empty = self.env['dunning.procedure'].create({'name': 'Empty'})
        bad = self.make_schedule(name='Bad', procedure_ids=[Command.set(empty.ids)])
        worse = self.make_schedule(name='Worse')
        good = self.make_schedule(name='Good', procedure_ids=[Command.set(self.procedure.ids)])
        generate = self.env.registry['dunning.run'].action_generate_notices

        def fail(run):
            if run.schedule_id == worse:
                raise ZeroDivisionError("a fault in an addon")
            return generate(run)
        with patch.object(self.env.registry['dunning.run'], 'action_generate_notices', fail):
            self.process()
        self.assertEqual(len(good.run_ids.notice_ids), 1)
        self.assertFalse(bad.run_ids | worse.run_ids, "no half-made run")
        self.assertEqual(bad.activity_ids.user_id, self.clerk)
        self.assertIn('Empty', bad.activity_ids.note)
        self.assertTrue(worse.activity_ids)
        self.assertEqual(set((bad | worse | good).mapped('next_date')), {self.days(7)})

    def test_who_may_what(self):
        with self.assertRaises(AccessError):
            self.env['dunning.schedule'].with_user(self.clerk).create({'name': 'Mine'})
        schedule = self.make_schedule()
        self.assertEqual(schedule.with_user(self.clerk).name, 'Weekly')
        for call in (lambda record: record.write({'issue': True}), lambda record: record.action_run_now(),
                     lambda record: record.unlink()):
            with self.assertRaises(AccessError):
                call(schedule.with_user(self.clerk))

    def test_clerk_without_rights(self):
        """A schedule makes nothing that its clerk may not."""
        schedule = self.make_schedule(user_id=new_test_user(self.env, login='left', groups='base.group_user').id)
        with mute_logger('odoo.addons.dunning_mail.models.dunning_schedule'):
            self.process()
        self.assertFalse(schedule.run_ids)
        self.assertTrue(schedule.activity_ids)

    def test_run_now(self):
        self.make_invoice(self.make_partner('Acme'))
        schedule = self.make_schedule(next_date=self.days(3))
        action = schedule.action_run_now()
        self.assertEqual(action['res_id'], schedule.run_ids.id)
        self.assertEqual((len(schedule.run_ids.notice_ids), schedule.next_date), (1, self.days(3)))

    def test_other_company(self):
        other = self.env['res.company'].create({'name': 'Other', 'currency_id': self.currency.id})
        self.env.user.company_ids += other
        schedule = self.env['dunning.schedule'].create({'name': 'Other', 'company_id': other.id})
        self.assertFalse(self.env['dunning.schedule'].with_user(self.manager).search([]))
        with self.assertRaises(AccessError):
            schedule.with_user(self.manager).name  # noqa: B018


@tagged('post_install', '-at_install')
class TestLevelChange(DunningCommon):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.level_1.write({'fee_amount': 0, 'deadline_days': 10})
        cls.level_2.write({'fee_amount': 20, 'deadline_days': 5})
        cls.level_3.write({'fee_amount': 30, 'deadline_days': 3})

    def change(self, notices, level, reason='Der Chef will es so', user=None):
        self.env['dunning.level.change'].with_user(user or self.clerk).create({
            'notice_ids': [Command.set(notices.ids)], 'level_id': level.id, 'reason': reason}).action_apply()

    def test_raise(self):
        self.make_invoice(self.make_partner('Acme'), 100)
        notice = self.make_run().notice_ids
        self.change(notice, self.level_3)
        self.assertEqual((notice.level_id, notice.line_ids.level_id), (self.level_3, self.level_3))
        self.assertEqual((notice.date_deadline, notice.amount_fee, notice.amount_total), (self.days(3), 30.0, 130.0))
        self.assertEqual(notice.level_change_reason, 'Der Chef will es so')
        self.assertIn('Der Chef will es so', notice.line_ids.level_reason)
        body = notice.message_ids[0].body
        for words in ('Der Chef will es so', self.level_1.name, self.level_3.name):
            self.assertIn(words, body)
        self.assertEqual(notice.message_ids[0].author_id, self.clerk.partner_id)
        self.assertTrue(notice.is_edited)
        notice.run_id.action_print_and_send()
        notice.run_id._hand_out_letters()
        notice.run_id.action_mark_printed()
        self.assertEqual(notice.line_ids.move_line_id.dunning_level_id, self.level_3, "what was sent counts")

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
        self.level_2._get_text('fr_FR').unlink()
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
        self.assertEqual((notice.level_id, notice.line_ids.is_level_set), (self.level_2, True))

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


@tagged('post_install', '-at_install')
class TestPaymentWarning(DunningCommon):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.journal = cls.env['account.journal'].search(
            [('type', '=', 'bank'), ('company_id', '=', cls.company.id)], limit=1)

    def setUp(self):
        super().setUp()
        self.run_ = self.make_run(generate=False, lang='de_DE')

    def receive(self, day, amount=-10.0):
        """A bank transaction; what goes out need not be reconciled to know who has paid."""
        return self.env['account.bank.statement.line'].create({
            'journal_id': self.journal.id, 'date': day, 'amount': amount, 'payment_ref': 'Gutschrift'})

    def warning(self):
        self.run_.invalidate_recordset()
        return self.run_.payment_warning

    def test_no_bank_transactions_at_all(self):
        self.assertFalse(self.warning(), "a company that does not import them knows")

    def test_working_days(self):
        """Tuesday: Thursday is three working days ago, Wednesday four."""
        self.receive('2026-11-18')
        self.assertIn('18.11.2026', self.warning())
        self.receive('2026-11-19')
        self.assertFalse(self.warning())

    def test_weekend(self):
        self.receive('2026-11-20')
        for day, is_old in (('2026-11-22', False), ('2026-11-23', False), ('2026-11-25', False), ('2026-11-26', True)):
            self.clock.move_to(f'{day} 08:00:00')
            self.assertEqual(bool(self.warning()), is_old, day)
        self.clock.move_to(f'{TODAY} 08:00:00')

    def test_unreconciled(self):
        self.receive(TODAY, 100.0)
        self.receive(TODAY, 50.0)
        self.receive(TODAY, -70.0)
        self.assertIn('2', self.warning())

    def test_reconciled(self):
        invoice = self.make_invoice(self.make_partner('Acme'), 100)
        line = self.receive(TODAY, 100.0)
        self.assertTrue(self.warning())
        _liquidity, suspense, _other = line._seek_for_lines()
        suspense.account_id = self.receivable(invoice).account_id
        suspense.partner_id = invoice.partner_id
        (suspense | self.receivable(invoice)).reconcile()
        self.assertTrue(line.is_reconciled)
        self.assertFalse(self.warning())

    def test_only_while_it_helps(self):
        self.receive('2026-11-01')
        self.make_invoice(self.make_partner('Acme'))
        self.run_.action_generate_notices()
        self.assertTrue(self.warning())
        self.run_.action_print_and_send()
        self.assertFalse(self.warning(), "too late")

    def test_other_company(self):
        other = self.env['res.company'].create({'name': 'Other', 'currency_id': self.currency.id})
        self.env['account.chart.template'].try_loading('generic_coa', company=other, install_demo=False)
        journal = self.env['account.journal'].search([('type', '=', 'bank'), ('company_id', '=', other.id)], limit=1)
        self.env['account.bank.statement.line'].with_company(other).create({
            'journal_id': journal.id, 'date': '2026-01-01', 'amount': 10.0, 'payment_ref': 'x'})
        self.assertFalse(self.warning())


@tagged('post_install', '-at_install')
class TestLevelReason(DunningCommon):
    """Each line says which rule gave it its level."""

    def reasons(self, run):
        return {(line.kind, line.move_id): line.level_reason for line in run.notice_ids.line_ids.with_context(
            lang='de_DE')}

    def test_each_kind(self):
        partner = self.make_partner('Acme')
        old = self.make_invoice(partner, 100, due=self.days(-60))
        self.dun()
        new = self.make_invoice(partner, 50, due=self.days(3))
        fresh = self.make_invoice(partner, 20, due=self.days(13))
        refund = self.make_invoice(partner, 5, move_type='out_refund')
        reasons = self.reasons(self.make_run(self.days(15), lang='de_DE'))
        self.assertEqual(set(reasons), {
            ('due', old), ('due', new), ('info', fresh), ('credit', refund)})
        level_1, level_2 = (level.with_context(lang='de_DE') for level in (self.level_1, self.level_2))
        for words in ('15', '24.11.2026', level_1.name, level_2.name):
            self.assertIn(words, reasons['due', old])
        for words in ('12', str(self.level_1.delay_days), level_1.name):
            self.assertIn(words, reasons['due', new])
        self.assertTrue(reasons['info', fresh])
        self.assertTrue(reasons['credit', refund])
        self.assertEqual(len(set(reasons.values())), 4, "each kind has its own words")

    def test_information_that_was_dunned_before(self):
        partner = self.make_partner('Acme')
        old = self.make_invoice(partner, 10)
        self.dun()
        self.make_invoice(partner, 20, due=self.days(-5))
        reason = self.reasons(self.make_run(self.days(6)))['info', old]
        self.assertIn('24.11.2026', reason)
        self.assertIn(self.level_1.with_context(lang='de_DE').name, reason)

    def test_exception_has_one_click_to_the_record(self):
        partner = self.make_partner('Acme')
        invoice = self.make_invoice(partner, due=self.days(-2))
        held = self.make_partner('Coop', dunning_hold_until=self.days(3))
        self.make_invoice(held)
        run = self.make_run()
        actions = {exception.partner_id: exception.action_open_record() for exception in run.exception_ids}
        self.assertEqual((actions[partner]['res_model'], actions[partner]['res_id']), ('account.move', invoice.id))
        self.assertEqual((actions[held]['res_model'], actions[held]['res_id']), ('res.partner', held.id))


@tagged('post_install', '-at_install')
class TestLeftOutByHand(DunningCommon):
    """What a person leaves out stands among the exceptions, from where it can be put back."""

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


@tagged('post_install', '-at_install')
class TestStatus(DunningCommon):

    def test_status(self):
        self.make_invoice(self.make_partner('Acme', email=False))
        run = self.make_run()
        notice = run.notice_ids
        self.assertEqual(notice.status, 'draft')
        notice.action_exclude()
        self.assertEqual(notice.status, 'excluded')
        notice.action_include()
        run.action_print_and_send()
        self.assertEqual(notice.status, 'paper')
        self.assertEqual(run.action_open_notices()['domain'], [('run_id', '=', run.id)])
        to_print = run.with_context(dunning_delivery_state='to_print').action_open_notices()
        self.assertEqual(self.env['dunning.notice'].search(to_print['domain']), notice)
        notice.action_mark_printed()
        self.assertEqual(notice.status, 'printed')
        self.assertFalse(self.env['dunning.notice'].search(to_print['domain']))
        notice.action_cancel()
        self.assertEqual(notice.status, 'cancelled')

"""Runs that are made by themselves."""

from unittest.mock import patch

from odoo import Command, fields
from odoo.exceptions import AccessError
from odoo.tests import new_test_user, tagged
from odoo.tools import mute_logger

from .common import TODAY, DunningCommon, OneCustomerCase


@tagged('post_install', '-at_install')
class TestScheduleDates(OneCustomerCase):

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

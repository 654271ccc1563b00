"""The pace of the provider, counted and not timed."""

import itertools
import random
from datetime import UTC, datetime, timedelta
from unittest.mock import patch

from odoo import fields, sql_db
from odoo.tests import tagged

from odoo.addons.dunning_mail.models import dunning_engine
from odoo.addons.dunning_mail.tools import budget, smtp

from .common import EngineCase


@tagged('post_install', '-at_install')
class TestPace(EngineCase):

    def _run_all(self, notices, passes=40):
        for _pass in range(passes):
            if 'released' not in notices.mapped('delivery_state'):
                return
            self.run_engine()
        self.fail("still released after many passes")

    def test_interval(self):
        self.provider.send_interval = 30
        notices = self.release('One', 'Two', 'Three')
        self._run_all(notices)
        self.assertDelivery(notices, 'sent')
        times = notices.mapped('sent_at')
        for before, after in itertools.pairwise(times):
            self.assertGreaterEqual(after - before, timedelta(seconds=30))
            self.assertLess(after - before, timedelta(seconds=33))
        self.assertGreaterEqual(self.provider.next_send_at - times[-1], timedelta(seconds=30))
        self.assertLessEqual(max(self.waits), dunning_engine.LOOK_EVERY, "what is released meanwhile is seen")

    def test_interval_in_real_time(self):
        """Measured at the server, to the millisecond."""
        self.provider.send_interval = 1
        notices = self.release('One', 'Two', 'Three')
        self.patch(self.env.registry['dunning.engine'], '_wait', lambda _engine, seconds: self.smtp.wait_for(
            lambda _server: False, seconds))
        self._run_all(notices)
        times = [message.time for message in self.smtp.messages]
        self.assertEqual(len(times), 3)
        for before, after in itertools.pairwise(times):
            self.assertGreaterEqual(after - before, 1.0)
            self.assertLess(after - before, 3.0)

    def test_fractions_of_a_second_count(self):
        """Moments are stored in whole seconds, and a gap that is rounded down would be too short."""
        self.provider.send_interval = 30
        self.release('One')
        ends = []
        original = smtp.Session.send

        def send(session, *args, **values):
            outcome = original(session, *args, **values)
            ends.append(datetime.now(UTC).replace(tzinfo=None))
            return outcome
        with patch.object(smtp.Session, 'send', send):
            self.run_engine()
        self.assertGreaterEqual(self.provider.next_send_at - ends[0], timedelta(seconds=30))
        self.assertLessEqual(self.provider.next_send_at - ends[0], timedelta(seconds=31.5))

    def test_slot_is_stored(self):
        self.provider.send_interval = 3600
        first, second = self.release('One', 'Two')
        with self.capture_triggers() as captured:
            self.run_engine()
        self.assertDelivery(first, 'sent')
        self.assertDelivery(second, 'released')
        self.assertFalse(self.waits, "an hour is not waited for")
        self.assertTrue(captured)
        self.assertLess(max(captured), self.provider.next_send_at)
        self.run_engine()
        self.assertDelivery(second, 'released')
        self.clock.tick(3602)
        self.run_engine()
        self.assertDelivery(second, 'sent')

    def test_refusals_keep_the_pace_too(self):
        self.provider.send_interval = 20
        notices = self.release('Refused', 'Good')
        self.smtp.set_rules('refused@* rcpt 550 5.1.1 No such user')
        self._run_all(notices)
        self.assertGreaterEqual(sum(self.waits), 19)

    def test_hourly_limit(self):
        self.provider.hourly_limit = 2
        notices = self.release('One', 'Two', 'Three', 'Four', 'Five')
        self.run_engine()
        self.assertEqual(self.accepted(), 2)
        for _pass in range(4):
            self.clock.tick(timedelta(minutes=30, seconds=5).total_seconds())
            self.run_engine()
        self.assertDelivery(notices, 'sent')
        times = sorted(notices.mapped('sent_at'))
        for first, third in zip(times, times[2:], strict=False):
            self.assertGreaterEqual(third - first, timedelta(hours=1))

    def test_daily_limit(self):
        self.provider.daily_limit = 1
        notices = self.release('One', 'Two')
        self.run_engine()
        self.clock.tick(timedelta(hours=23).total_seconds())
        self.run_engine()
        self.assertEqual(self.accepted(), 1)
        self.clock.tick(timedelta(hours=1, minutes=1).total_seconds())
        self.run_engine()
        self.assertDelivery(notices, 'sent')

    def test_limits_count_recipients(self):
        self.provider.hourly_limit = 3
        many = self.make_partner('Many', email='a@customer.test, b@customer.test')
        more = self.make_partner('More', email='c@customer.test, d@customer.test')
        first, second = self.release(many, more)
        self.run_engine()
        self.assertDelivery(first, 'sent')
        self.assertDelivery(second, 'released')
        self.assertEqual(self.accepted(), 1, "2 and 2 are more than 3")
        self.clock.tick(timedelta(hours=1, seconds=5).total_seconds())
        self.run_engine()
        self.assertDelivery(second, 'sent')

    def test_more_recipients_than_the_limit(self):
        self.provider.hourly_limit = 1
        many = self.make_partner('Many', email='a@customer.test, b@customer.test')
        notice = self.release(many)
        self.run_engine()
        self.assertDelivery(notice, 'sent')

    def test_pass_ends_for_other_actions(self):
        self.provider.send_interval = 40
        notices = self.release('One', 'Two', 'Three')
        started_at = fields.Datetime.now()
        with self.capture_triggers() as captured:
            self.run_engine()
        passed = (fields.Datetime.now() - started_at).total_seconds()
        self.assertLessEqual(passed, budget.WAIT_SECONDS + 5)
        self.assertIn('released', notices.mapped('delivery_state'))
        self.assertTrue(captured, "comes back at once")
        self.assertLessEqual(min(captured), fields.Datetime.now())

    def test_statements_and_commits_of_a_mail(self):
        """Counted, not timed: each mail costs so many, however many there are. (Outside of tests, PostgreSQL counts the
        beginning, the time and the end of both transactions besides: 32.)"""
        self.env['res.partner.bank'].create({
            'acc_number': 'CH56 0483 5012 3456 7800 9', 'partner_id': self.company.partner_id.id,
            'allow_out_payment': True})
        self.release(*(f'Partner {number}' for number in range(5)))
        steps, started_at = [], fields.Datetime.now()
        execute = sql_db.Cursor.execute
        send, commit = smtp.Session.send, self.env.registry['dunning.engine']._commit

        def watch(cr, query, *args, **values):
            steps.append(str(query))
            return execute(cr, query, *args, **values)

        def watch_send(session, *args, **values):
            steps.append('SEND')
            return send(session, *args, **values)

        def watch_commit(engine):
            commit(engine)
            steps.append('COMMIT')
        with patch.object(sql_db.Cursor, 'execute', watch), patch.object(smtp.Session, 'send', watch_send), \
                patch.object(self.env.registry['dunning.engine'], '_commit', watch_commit):
            self.run_engine()
        sent = [position for position, step in enumerate(steps) if step == 'SEND']
        self.assertEqual(len(sent), 5)
        # The slot is written when it has become another one: without an interval once a second, however many mails.
        slot = """SQL(' UPDATE "dunning_provider"\\n"""
        written = [step for step in steps if step.startswith(slot)]
        self.assertTrue(written)
        self.assertLessEqual(len(written), (self.provider.next_send_at - started_at).total_seconds() + 1)
        for before, after in itertools.pairwise(sent[1:]):
            between = [step for step in steps[before + 1:after] if not step.startswith(slot)]
            self.assertEqual(between.count('COMMIT'), 2)
            self.assertLessEqual(len(between) - 2, 26, '\n'.join(between))

    def test_window_as_reading_all_of_it_would_say(self):
        """Under a sliding limit one statement and one row say what going through every mail of the window says."""
        [notice] = self.release('One')
        logs = self.env['dunning.delivery.log'].sudo()
        choose = random.Random(7)
        now = datetime(2026, 11, 24, 12, 0, 0, 700000)

        def read_all(limit, window, recipient_count):
            left = limit - min(recipient_count, limit)
            entries = logs.search([
                ('provider_id', '=', self.provider.id), ('recipient_count', '>', 0),
                ('date', '>', now - window - timedelta(seconds=1)), ('date', '<=', now)],
                order='date desc, id desc', limit=limit)
            for log in entries:
                left -= log.recipient_count
                if left < 0:
                    return log.date + window + timedelta(seconds=1)
            return now
        for count in (0, 1, 30, 300):
            # Many in the same second, some older than the window, some that nobody got.
            logs.create([{
                'notice_id': notice.id, 'provider_id': choose.choice([self.provider.id, False]),
                'date': now.replace(microsecond=0) - timedelta(
                    seconds=choose.choice([0, 1, 59, 3600, 3601, 7000, 90000])),
                'recipient_count': choose.choice([0, 1, 1, 1, 2, 9])} for _number in range(count)])
            self.env.flush_all()
            for _case in range(40):
                limit, window = choose.choice([1, 2, 5, 20, 100, 400, 10000]), timedelta(hours=choose.choice([1, 24]))
                recipient_count = choose.choice([1, 1, 2, 30, 500])
                with self.subTest(count=count, limit=limit, window=window, recipient_count=recipient_count):
                    expected = read_all(limit, window, recipient_count)
                    self.env.invalidate_all()
                    provider = self.provider.browse(self.provider.id)
                    with patch.object(self.env.registry['dunning.delivery.log'], 'fetch', side_effect=AssertionError), \
                            self.assertQueryCount(1):
                        slot = logs._get_limit_slot(provider, limit, window, now, recipient_count)
                    self.assertEqual(slot, expected)

    def test_slot_is_reckoned_anew_on_change(self):
        """An hour between two mails, and then a second: nobody waits for an hour."""
        self.provider.send_interval = 3600
        notices = self.release('One', 'Two', 'Three')
        self.run_engine()
        self.assertEqual(self.accepted(), 1)
        sent_at = notices[0].sent_at
        self.provider.send_interval = 1800
        self.assertLessEqual(abs(self.provider.next_send_at - sent_at - timedelta(minutes=30)), timedelta(seconds=3))
        self.provider.send_interval = 7200
        self.assertLessEqual(abs(self.provider.next_send_at - sent_at - timedelta(hours=2)), timedelta(seconds=3))
        self.provider.send_interval = 1
        self.run_engine()
        self.assertDelivery(notices, 'sent')

    def test_limit_that_was_raised(self):
        """A mail to two waits for the limit's window; when the limit is raised, it does not."""
        self.provider.daily_limit = 3
        notices = self.release(*(
            self.make_partner(name, email=f'{name}1@customer.test, {name}2@customer.test') for name in ('a', 'b')))
        self.run_engine()
        self.assertEqual(self.accepted(), 1)
        self.provider.daily_limit = 100
        self.run_engine()
        self.assertDelivery(notices, 'sent')

    def test_clock_that_was_wrong(self):
        """What a wrong clock has stored years ahead holds up nobody for longer than it could."""
        far = fields.Datetime.now() + timedelta(days=4000)
        for name, values, notice_values in (
                ('slot', {'next_send_at': far}, {}),
                ('pause', {'state': 'paused', 'resume_at': far, 'fault_count': 1}, {}),
                ('attempt', {}, {'next_attempt_at': far})):
            for interval in (0, 30):
                with self.subTest(name, interval=interval):
                    self.smtp.clear()
                    self.provider.sudo().write({'send_interval': interval, **values})
                    notice = self.release('One')
                    notice.sudo().write(notice_values)
                    self.run_engine()
                    self.assertDelivery(notice, 'sent')
                    self.assertLessEqual(
                        self.provider.next_send_at, fields.Datetime.now() + timedelta(seconds=interval + 2))
                    self.assertEqual(self.provider.state, 'ready')
        self.provider.hourly_limit = 1
        notice = self.release('Two')
        self.env['dunning.delivery.log'].create({
            'notice_id': notice.id, 'provider_id': self.provider.id, 'recipient_count': 1, 'date': far})
        self.clock.tick(3605)
        self.run_engine()
        self.assertDelivery(notice, 'sent')

    def test_idle_engine_opens_nothing(self):
        with self.capture_triggers() as captured:
            self.run_engine()
        self.assertFalse(captured)
        self.assertFalse(self.smtp.events('connect'))
        self.assertFalse(self.waits)

import csv
import hashlib
import io
import math
import unittest
import zipfile
from datetime import datetime, timedelta
from unittest.mock import patch

from odoo import Command, api, fields
from odoo.exceptions import UserError, ValidationError
from odoo.tests import HttpCase, tagged
from odoo.tools import SQL, mute_logger

from odoo.addons.dunning_mail.models import dunning_engine, ir_cron
from odoo.addons.dunning_mail.tools import budget, evidence, smtp

from .test_engine import EngineCase


class TestBudget(unittest.TestCase):
    """Whatever the scheduler's limit, the worst case stays below it."""

    def _walk(self, limit, used, step, answer):
        """Return when a pass is over in which the server is as slow as it can be at every step."""
        now = 0.0
        plan = budget.make_budget(limit, used, step=step, answer=answer, clock=lambda: now)
        if plan.wait <= 0:
            return used, plan
        now = plan.waits_until
        now += plan.connect
        limits = plan.get_handover_limits()
        end = now + limits['total_timeout']
        now += limits['envelope_timeout'] + limits['body_timeout']
        self.assertLessEqual(now, end)
        self.assertGreater(end - now, 0, "something is left for the answer")
        now = min(now + limits['answer_timeout'], end)
        return used + now, plan

    def test_worst_case(self):
        for limit in (10, 30, 60, 120, 300, 3600):
            for used in (0, limit * 0.2, limit * 0.5, limit * 0.9):
                for step, answer in ((30, 600), (2, 2), (300, 6000)):
                    with self.subTest(limit=limit, used=used, step=step):
                        ends, _plan = self._walk(limit, used, step, answer)
                        self.assertLess(ends, limit)

    def test_default_limit(self):
        ends, plan = self._walk(120, 0, 30, 600)
        self.assertEqual((plan.waits_until, plan.ends_at, plan.handover), (50, 110, 45))
        self.assertEqual(ends, 110)

    def test_early_handover_has_more_time(self):
        plan = budget.make_budget(120, step=30, answer=600, clock=lambda: 0.0)
        self.assertEqual(plan.get_handover_limits()['total_timeout'], 110)
        self.assertEqual(plan.get_handover_limits()['answer_timeout'], 110)

    def test_no_limit(self):
        plan = budget.make_budget(None, step=30, answer=600, clock=lambda: 0.0)
        self.assertEqual(plan.ends_at, math.inf)
        self.assertEqual(
            plan.get_handover_limits(), {'envelope_timeout': 30, 'body_timeout': 300, 'answer_timeout': 600})

    def test_used_up(self):
        plan = budget.make_budget(120, 80, step=30, answer=600, clock=lambda: 0.0)
        self.assertLessEqual(plan.wait, 0)


@tagged('post_install', '-at_install')
class TestPass(EngineCase):

    def test_time_outs_can_be_set(self):
        parameters = self.env['ir.config_parameter']
        self.assertEqual(self.env['dunning.engine']._get_budget().step, dunning_engine.SMTP_TIMEOUT)
        parameters.set_param('dunning_mail.smtp_timeout', '2.5')
        parameters.set_param('dunning_mail.answer_timeout', '7')
        plan = self.env['dunning.engine']._get_budget()
        self.assertEqual((plan.step, plan.answer), (2.5, 7))
        for nonsense in ('0', '-1', 'x', 'nan', 'inf', '100000'):
            parameters.set_param('dunning_mail.smtp_timeout', nonsense)
            with mute_logger('odoo.addons.dunning_mail.models.dunning_engine'):
                self.assertEqual(self.env['dunning.engine']._get_budget().step, dunning_engine.SMTP_TIMEOUT)

    def test_limit_of_the_scheduler(self):
        Cron = self.env['ir.cron']
        for workers, real, cron, by_scheduler, limit in (
                (2, 120, -1, True, 120), (2, 120, 0, True, None), (0, 120, 0, True, 120), (2, 120, 300, True, 300),
                (2, 120, 300, False, 120), (2, 0, -1, True, None)):
            with self.subTest(workers=workers, real=real, cron=cron, by_scheduler=by_scheduler), \
                    patch.object(ir_cron, 'config', {
                        'workers': workers, 'limit_time_real': real, 'limit_time_real_cron': cron}), \
                    patch.object(ir_cron._pass, 'began_at', 1.0 if by_scheduler else None, create=True):
                self.assertEqual(Cron._get_dunning_pass()[0], limit)

    def test_time_of_earlier_jobs_counts(self):
        """A worker commits after each job of a pass; its limit is that of all of them."""
        used = []
        Cron = self.env.registry['ir.cron']

        def process_job(_cls, cron_cr, _job):
            used.append(round(api.Environment(cron_cr, self.env.uid, {})['ir.cron']._get_dunning_pass()[1]))
        with patch.object(self._get_core_cron(), '_process_job', classmethod(process_job)), \
                self.enter_registry_test_mode():
            with self.env.registry.cursor() as cron_cr:
                for _job in range(3):
                    Cron._process_job(cron_cr, {})
                    cron_cr.commit()
                    self.clock.tick(30)
            with self.env.registry.cursor() as cron_cr:
                Cron._process_job(cron_cr, {})
        self.assertEqual(used, [0, 30, 60, 0])

    def _get_core_cron(self):
        """Return the class that the addon's `_process_job()` calls."""
        classes = [cls for cls in self.env.registry['ir.cron'].mro() if '_process_job' in vars(cls)]
        return classes[[cls.__module__ for cls in classes].index(ir_cron.__name__) + 1]

    def test_no_handover_without_time_for_it(self):
        """Other actions of the same worker have used up its time: nothing is begun, and the engine comes back."""
        notice = self.release('One')
        with patch.object(self.env.registry['ir.cron'], '_get_dunning_pass', lambda _cron: (120, 100)), \
                self.capture_triggers() as captured:
            self.run_engine()
        self.assertDelivery(notice, 'released')
        self.assertFalse(self.smtp.events('connect'))
        self.assertTrue(captured)

    def test_letter_that_takes_too_long(self):
        """The claim is given back before anything is promised."""
        notice = self.release('One')
        original = self.env.registry['dunning.notice']._claim
        late = [True]

        def claim(notice, *args):
            if late:
                late.pop()
                self.clock.tick(100)
            return original(notice, *args)
        with patch.object(self.env.registry['dunning.notice'], '_claim', claim):
            self.run_engine()
            self.assertDelivery(notice, 'released')
            self.assertEqual(notice.attempt_count, 0)
            self.run_engine()
        self.assertDelivery(notice, 'sent')
        self.assertEqual(self.accepted(), 1)

    def test_lock_on_another_connection(self):
        """Behind a pooler the lock may be anywhere: nothing is handed over then."""
        notice = self.release('One')
        with patch.object(
                self.env.registry['dunning.provider'], '_get_lock_condition', lambda _provider: SQL("FALSE")), \
                mute_logger('odoo.addons.base.models.ir_cron'), self.enter_registry_test_mode():
            self.engine.with_user(self.env.ref('base.user_root')).method_direct_trigger()
        self.env.invalidate_all()
        self.assertDelivery(notice, 'released')
        self.assertFalse(self.smtp.messages)

    def test_lock_condition(self):
        def has_lock(provider):
            return self.env.execute_query(SQL("SELECT %s", provider._get_lock_condition())) == [(True,)]
        self.assertFalse(has_lock(self.provider))
        self.assertTrue(self.provider._lock())
        self.assertTrue(has_lock(self.provider))
        self.assertFalse(has_lock(self.make_provider(name='Other')))
        self.provider._unlock()
        self.assertFalse(has_lock(self.provider))

    def test_orphan_of_an_engine_that_is_switched_off(self):
        """Whichever engine runs finds it."""
        notice = self.release('One')
        with self.enter_registry_test_mode():
            self.assertTrue(notice.sudo()._claim(fields.Datetime.now()))
        self.provider.engine_id = self.env.ref('dunning_mail.ir_cron_engine_2')
        self.assertFalse(self.provider.engine_id.active, "shipped inactive")
        self.run_engine()
        self.assertDelivery(notice, 'unclear')

    def test_many_notices_of_one_do_not_starve_the_other(self):
        """Of two providers of one engine, the one with an interval gets its slots among the many of the other."""
        many = self.release(*(f'Many {number}' for number in range(6)))
        other = self.make_provider(name='Z, last by name', email_from='other@muster.test', send_interval=5)
        self.company.dunning_provider_id = other
        few = self.release('Few 1', 'Few 2')
        self.assertEqual(few.provider_id, other)
        original = smtp.Session.send

        def send(session, *args, **values):
            self.clock.tick(2)
            return original(session, *args, **values)
        with patch.object(smtp.Session, 'send', send):
            self.run_engine()
        self.assertDelivery(many | few, 'sent')
        order = [message.mail_from for message in self.smtp.messages]
        self.assertLess(order.index('other@muster.test'), 3, order)
        self.assertNotEqual(order[-1], 'other@muster.test', order)

    def test_chatter_shows_outcomes_only(self):
        notice = self.release('One')
        before = notice.message_ids
        self.run_engine()
        self.assertEqual((notice.message_ids - before).mapped('message_type'), ['email_outgoing'])

    def test_limit_counts_the_whole_second(self):
        """Dates are kept in whole seconds: an hour after :00.9 is not over at :00.1."""
        log = self.env['dunning.delivery.log']
        notice = self.release('One')
        log.create({'notice_id': notice.id, 'provider_id': self.provider.id, 'recipient_count': 1,
                    'date': '2026-11-24 07:00:00'})
        hour = timedelta(hours=1)
        for now, expected in (
                (datetime(2026, 11, 24, 8, 0, 0), datetime(2026, 11, 24, 8, 0, 1)),
                (datetime(2026, 11, 24, 8, 0, 0, 900000), datetime(2026, 11, 24, 8, 0, 1)),
                (datetime(2026, 11, 24, 8, 0, 1), datetime(2026, 11, 24, 8, 0, 1))):
            self.assertEqual(log._get_limit_slot(self.provider, 1, hour, now), expected)


@tagged('post_install', '-at_install')
class TestSendingHours(EngineCase):

    def setUp(self):
        super().setUp()
        # Monday to Friday, 9 to 12 and 14 to 16 in Zürich; that is an hour earlier in UTC.
        self.calendar = self.env['resource.calendar'].create({
            'name': 'Sending hours', 'tz': 'Europe/Zurich', 'company_id': False, 'attendance_ids': [
                Command.clear(),
                *(Command.create({
                    'name': 'x', 'dayofweek': str(day), 'hour_from': begin, 'hour_to': end, 'day_period': period})
                    for day in range(5) for begin, end, period in ((9, 12, 'morning'), (14, 16, 'afternoon')))]})

    def test_opening(self):
        self.provider.calendar_id = self.calendar
        for moment, opening in (
                ('2026-11-24 08:30:00', '2026-11-24 08:30:00'),  # Tuesday, open
                ('2026-11-24 05:00:00', '2026-11-24 08:00:00'),
                ('2026-11-24 11:00:00', '2026-11-24 13:00:00'),  # closes this very moment
                ('2026-11-24 15:00:01', '2026-11-25 08:00:00'),
                ('2026-11-27 20:00:00', '2026-11-30 08:00:00'),  # over the weekend
                ('2026-07-03 06:59:59', '2026-07-03 07:00:00')):  # summer time
            self.assertEqual(
                self.provider._get_opening(fields.Datetime.to_datetime(moment)), fields.Datetime.to_datetime(opening))

    def test_holidays(self):
        self.provider.calendar_id = self.calendar
        self.env['resource.calendar.leaves'].create({
            'name': 'Works holiday', 'calendar_id': self.calendar.id, 'company_id': False,
            'date_from': '2026-11-24 00:00:00', 'date_to': '2026-11-25 22:59:59'})
        self.assertEqual(
            self.provider._get_opening(datetime(2026, 11, 24, 9)), datetime(2026, 11, 26, 8))
        self.env['resource.calendar.leaves'].create({
            'name': 'Closed down', 'calendar_id': self.calendar.id, 'company_id': False,
            'date_from': '2026-11-20 00:00:00', 'date_to': '2027-11-20 00:00:00'})
        self.assertGreater(self.provider._get_opening(datetime(2026, 11, 24, 9)), datetime(2026, 12, 1))

    def test_sent_within_hours_only(self):
        self.provider.calendar_id = self.calendar
        self.clock.move_to('2026-11-24 10:59:50')
        self.provider.send_interval = 30
        first, second = self.release('One', 'Two')
        with self.capture_triggers() as captured:
            self.run_engine()
        self.assertDelivery(first, 'sent')
        self.assertDelivery(second, 'released')
        self.assertFalse([moment for moment in captured if moment < datetime(2026, 11, 24, 12, 50)],
                         "not woken again and again through lunch")
        self.assertTrue(captured)
        self.clock.move_to('2026-11-24 13:00:05')
        self.run_engine()
        self.assertDelivery(second, 'sent')

    def test_limit_reached_in_the_evening(self):
        """A limit that allows mail again when the doors are closed: next morning."""
        self.provider.write({'calendar_id': self.calendar.id, 'hourly_limit': 1})
        self.clock.move_to('2026-11-24 14:30:00')
        self.release('One', 'Two')
        self.run_engine()
        self.assertEqual(self.accepted(), 1)
        self.assertEqual(self.provider._get_next_slot(fields.Datetime.now()), datetime(2026, 11, 25, 8))

    def test_calendar_without_hours(self):
        with self.assertRaisesRegex(ValidationError, 'no working hours'):
            self.calendar.attendance_ids.unlink()
            self.provider.with_context(lang='en_US').calendar_id = self.calendar


@tagged('post_install', '-at_install')
class TestBounceHints(EngineCase):
    """*Test Connection* says what stands in the way of bounces."""

    def _test(self):
        return self.provider.with_context(lang='en_US').action_test_connection()['params']

    def test_no_mailbox(self):
        params = self._test()
        self.assertEqual(params['type'], 'warning')
        self.assertIn('mahnung@muster.test', params['message'])
        self.assertIn('no mailbox', params['message'])

    def test_mailbox(self):
        mailbox = self.env['fetchmail.server'].create({
            'name': 'Bounces', 'server_type': 'imap', 'server': 'imap.muster.test', 'user': 'mahnung@muster.test',
            'password': 'x'})
        self.provider.incoming_server_id = mailbox
        self.assertIn('not confirmed', self._test()['message'])
        mailbox.state = 'done'
        self.assertEqual(self._test()['type'], 'success')
        mailbox.user = 'else@muster.test'
        self.assertIn('else@muster.test', self._test()['message'])
        mailbox.user = 'muster-login'
        self.assertEqual(self._test()['type'], 'success', "a login that is no address says nothing")
        mailbox.write({'error_date': '2026-11-24 07:00:00', 'error_message': 'Login failed'})
        self.assertIn('Login failed', self._test()['message'])
        mailbox.date = '2026-11-24 07:30:00'
        self.assertEqual(self._test()['type'], 'success')


@tagged('post_install', '-at_install')
class TestEvidence(EngineCase):

    def _files(self, notices):
        with zipfile.ZipFile(notices.with_user(self.clerk).with_context(lang='en_US')._make_evidence()) as archive:
            self.assertFalse(archive.testzip())
            return {name: archive.read(name) for name in archive.namelist()}

    def test_zip(self):
        one, two = self.release('One', 'Two')
        self.run_engine()
        files = self._files(one | two)
        folder = one.name.replace('/', '-')
        self.assertEqual(len(files), 9)
        self.assertEqual(files[f'{folder}/{folder}.pdf'], one.document_id.raw)
        self.assertEqual(files[f'{folder}/{folder}.eml'], self.smtp.messages[0].content)
        rows = list(csv.DictReader(io.StringIO(files[f'{folder}/delivery log.csv'].decode('utf-8-sig'))))
        self.assertEqual([row['To'] for row in rows], ['Released for Sending', 'Sending', 'Sent'])
        self.assertIn(self.smtp.messages[0].queue_id, rows[-1]["Server's Number"])
        self.assertEqual(rows[-1]['Message-ID'], one.message_id)
        facts = dict(csv.reader(io.StringIO(files[f'{folder}/notice.csv'].decode('utf-8-sig'))))
        self.assertEqual(facts['SHA-256'], hashlib.sha256(files[f'{folder}/{folder}.pdf']).hexdigest())
        for line in files['SHA256SUMS'].decode().splitlines():
            digest, path = line.split('  ', 1)
            self.assertEqual(digest, hashlib.sha256(files[path]).hexdigest())

    def test_without_documents(self):
        """What was removed is not there, the log is."""
        self.level_1.report_id.archive_generated = False
        notice = self.release('One')
        self.run_engine()
        self.assertFalse(notice.document_id)
        self.assertEqual([name.rpartition('.')[2] for name in self._files(notice)], ['csv', 'csv', 'SHA256SUMS'])

    def test_drafts_have_none(self):
        partner = self.make_partner('Draft')
        self.make_invoice(partner)
        run = self.make_run(partner_ids=partner.ids)
        with self.assertRaises(UserError):
            run.notice_ids.action_export_evidence()

    def test_names_and_formulas(self):
        file = evidence.pack([('../../etc', {'a/b.pdf': b'1'}), ('..\\..\\etc', {'': b'2'}), ('ETC', {'x': b'3'})])
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
        self.assertEqual(len(set(names)), 4)
        self.assertFalse([name for name in names if '..' in name or name.startswith('/') or '\\' in name])
        table = evidence.make_csv(['a'], [['=cmd()'], ['+1'], ['550 x'], [None], [''], [False]]).decode('utf-8-sig')
        self.assertEqual(table.splitlines(), ['a', "'=cmd()", "'+1", '550 x', '""', '""', '""'])


@tagged('post_install', '-at_install')
class TestEvidenceDownload(HttpCase):

    def test_access(self):
        self.authenticate('admin', 'admin')
        for ids in ('0', '99999999', 'x', '1;2', ''):
            self.assertEqual(self.url_open(f'/dunning_mail/evidence?ids={ids}').status_code, 404, ids)
        self.authenticate(None, None)
        response = self.url_open('/dunning_mail/evidence?ids=1', allow_redirects=False)
        self.assertIn(response.status_code, (302, 303, 403))

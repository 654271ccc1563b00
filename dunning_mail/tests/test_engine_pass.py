"""A pass of the process engine: its time, its locks, and who gets how much."""

from datetime import datetime, timedelta
from unittest.mock import patch

from odoo import api, fields
from odoo.tests import tagged
from odoo.tools import SQL, mute_logger

from odoo.addons.dunning_mail.models import dunning_engine, ir_cron
from odoo.addons.dunning_mail.tools import smtp

from .common import EngineCase


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

    def test_two_without_an_interval_take_turns(self):
        """Also within one second, whatever their names."""
        one = self.release(*(f'One {number}' for number in range(4)))
        self.company.dunning_provider_id = self.make_provider(name='A, first by name', email_from='other@muster.test')
        other = self.release(*(f'Other {number}' for number in range(4)))
        self.clock.move_to('2026-11-24 08:00:00.1')
        self.run_engine()
        self.assertDelivery(one | other, 'sent')
        order = [message.mail_from for message in self.smtp.messages]
        self.assertEqual(order[:2] * 4, order)
        self.assertEqual(len(set(order)), 2)

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

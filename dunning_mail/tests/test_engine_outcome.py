"""What comes of a handover: the recipient's fault or the provider's."""

import os
import pathlib
import socket
from datetime import timedelta
from unittest.mock import patch

from odoo import fields
from odoo.exceptions import UserError
from odoo.tests import tagged
from odoo.tools import mute_logger

from odoo.addons.dunning_mail.models import dunning_engine
from odoo.addons.dunning_mail.tools import smtp

from .common import CRON_LOGGER, ENGINE_LOGGER, EngineCase


@tagged('post_install', '-at_install')
class TestOutcomes(EngineCase):
    """What the server says, and what becomes of the notice."""

    def test_accepted(self):
        notice = self.release('Acme')
        self.run_engine()
        self.assertDelivery(notice, 'sent')
        message = self.smtp.messages[0]
        self.assertEqual(message.mail_from, 'mahnung@muster.test')
        self.assertEqual(message.rcpt_tos, ['acme@customer.test'])
        self.assertIn(message.queue_id, notice.delivery_info)
        self.assertLess(fields.Datetime.now() - notice.sent_at, timedelta(seconds=30))
        self.assertTrue(notice.handover_at)
        self.assertEqual(notice.attempt_count, 1)
        logs = notice.delivery_log_ids.sorted('id')
        self.assertEqual(
            [(log.state_from or '', log.state_to) for log in logs],
            [('', 'released'), ('released', 'sending'), ('sending', 'sent')])
        log = logs[-1]
        self.assertEqual((log.queue_id, log.code, log.stage, log.host, log.recipient_count, log.message_id),
                         (message.queue_id, '250 2.0.0', 'eod', 'localhost', 1, notice.message_id))
        self.assertIn('TLS', log.tls_version)
        self.assertEqual(notice.run_id.state, 'done')

    def test_words_are_in_the_clerks_language(self):
        self.manager.lang = 'en_US'
        english = self.release('English clerk', user=self.manager)
        german = self.release('German clerk')
        # Whatever the translations are: what counts is whose language is asked for.
        notices = []

        def apply_outcome(engine, notice, *args):
            notices.append((notice.id, engine.env.lang, notice.env.lang))
            return original(engine, notice, *args)
        original = self.env.registry['dunning.engine']._apply_outcome
        self.patch(self.env.registry['dunning.engine'], '_apply_outcome', apply_outcome)
        self.run_engine()
        self.assertEqual(notices, [(english.id, 'en_US', 'en_US'), (german.id, 'de_DE', 'de_DE')])

    def test_one_session_for_many(self):
        self.release('One', 'Two', 'Three')
        self.run_engine()
        self.assertEqual(self.accepted(), 3)
        self.assertEqual(len(self.smtp.events('connect')), 1)

    def test_refused_recipient(self):
        refused, good = notices = self.release('Refused', 'Good')
        self.smtp.set_rules('refused@* rcpt 550 5.1.1 No such user here')
        self.run_engine()
        self.assertEqual(notices.mapped('delivery_state'), ['failed', 'sent'])
        self.assertIn('550 5.1.1 No such user here', refused.delivery_info)
        self.assertFalse(refused.is_counted)
        self.assertFalse(refused.handover_at, "refused at RCPT: nothing was handed over")
        activity = self.activities(refused, 'failed')
        self.assertEqual(activity.user_id, self.clerk)
        self.assertIn('No such user here', activity.note)
        self.assertFalse(good.activity_ids)
        partner = refused.partner_id
        self.assertTrue(partner.dunning_email_refused)
        self.assertIn('5.1.1', partner.dunning_email_refused_reason)
        self.assertEqual(self.provider.state, 'ready', "a recipient's fault is not the provider's")

        run = self.make_run(partner_ids=partner.ids)
        self.assertEqual(run.notice_ids.level_id, self.level_1, "what failed does not count")
        run.action_print_and_send()
        self.assertEqual(run.notice_ids.delivery_state, 'paper')
        self.assertIn('5.1.1', run.notice_ids.delivery_info)
        partner.email = 'new@customer.test'
        self.assertFalse(partner.dunning_email_refused, "a corrected address gets its chance")

    def test_refused_content_does_not_blame_the_address(self):
        notice = self.release('Picky')
        self.smtp.set_rules('* eod 554 5.6.0 This message is not to our taste')
        self.run_engine()
        self.assertDelivery(notice, 'failed')
        self.assertIn('not to our taste', notice.delivery_info)
        self.assertTrue(notice.handover_at)
        self.assertFalse(notice.partner_id.dunning_email_refused)

    def test_passing_fault_is_tried_again(self):
        notice = self.release('Busy')
        self.smtp.set_rules('* rcpt 451 4.3.0 Come again')
        message_ids = set()
        for attempt, minutes in enumerate((1, 5, 15, 60, 240), 1):
            # A minute's delay is waited for inside the pass, longer ones are not.
            self.run_engine() if minutes > 1 else self._run_until(notice, attempt)
            self.assertDelivery(notice, 'released')
            self.assertEqual(notice.attempt_count, attempt)
            self.assertIn('451 4.3.0 Come again', notice.delivery_info)
            delay = notice.next_attempt_at - fields.Datetime.now()
            self.assertLessEqual(abs(delay - timedelta(minutes=minutes)), timedelta(seconds=5))
            self.assertNotIn(notice.message_id, message_ids, "never handed over: a new Message-ID")
            message_ids.add(notice.message_id)
            self.clock.tick(delay.total_seconds() + 1)
        self.run_engine()
        self.assertDelivery(notice, 'failed')
        self.assertEqual(notice.attempt_count, 6)
        self.assertIn('6', notice.delivery_info)
        self.assertIn('Come again', notice.delivery_info)
        self.assertTrue(self.activities(notice, 'failed'))
        self.assertFalse(notice.partner_id.dunning_email_refused)
        self.assertEqual(len(self.smtp.events('rcpt')), 6)
        self.assertFalse(self.smtp.messages)

    def _run_until(self, notice, attempt):
        """Run the engine, and stop it as soon as it would wait."""
        class Stop(Exception):
            pass

        def stop(_engine, _seconds):
            raise Stop
        with patch.object(self.env.registry['dunning.engine'], '_wait', stop), mute_logger(CRON_LOGGER), \
                self.enter_registry_test_mode():
            self.engine.with_user(self.env.ref('base.user_root')).method_direct_trigger()
        self.env.invalidate_all()
        self.assertEqual(notice.attempt_count, attempt)

    def test_passing_fault_then_accepted(self):
        notice = self.release('Grey')
        self.smtp.set_rules('* rcpt times=1 450 4.7.1 Greylisted, come again')
        self.run_engine()
        if notice.delivery_state == 'released':
            self.run_engine()
        self.assertDelivery(notice, 'sent')
        self.assertEqual(notice.attempt_count, 2)
        self.assertEqual(self.accepted(), 1)
        self.assertGreaterEqual(sum(self.waits), 55)

    def test_broken_link_before_the_dot(self):
        for stage, action in (('rcpt', 'drop'), ('data', 'drop')):
            with self.subTest(stage=stage):
                self.smtp.clear()
                notice = self.release(f'Partner {stage}')
                self.smtp.set_rules(f'* {stage} {action}')
                self._run_until(notice, 1)
                self.assertDelivery(notice, 'released')
                self.assertTrue(notice.next_attempt_at)
                self.assertEqual(self.provider.state, 'ready')
                self.assertFalse(self.smtp.messages)
                notice.action_set_paper()

    def _check_unclear(self, notice, accepted):
        self.assertDelivery(notice, 'unclear')
        self.assertEqual(self.activities(notice, 'unclear').user_id, self.clerk)
        self.assertTrue(notice.is_counted, "it may have reached the customer")
        self.assertTrue(notice.handover_at)
        self.assertEqual(notice.run_id.state, 'processing')
        self.assertEqual(notice.delivery_log_ids.sorted('id')[-1].recipient_count, 1)
        self.smtp.set_rules('')
        self.clock.tick(timedelta(hours=5).total_seconds())
        self.run_engine()
        self.assertDelivery(notice, 'unclear')
        self.assertEqual(self.accepted(), accepted, "the engine sends nothing again by itself")
        self.assertTrue(self.env['mail.message'].search([('message_id', '=', notice.message_id)]),
                        "a bounce may come for it")

    def test_drop_after_the_dot(self):
        notice = self.release('Gone')
        self.smtp.set_rules('* eod drop')
        self.run_engine()
        self._check_unclear(notice, 0)

    def test_accepted_and_then_dropped(self):
        notice = self.release('Gone')
        self.smtp.set_rules('* eod accept-then-drop')
        self.run_engine()
        self._check_unclear(notice, 1)

    def test_silence_after_the_dot(self):
        notice = self.release('Silent')
        self.smtp.set_rules('* eod accept-then-silence')
        self.patch(dunning_engine, 'ANSWER_TIMEOUT', 0.5)
        self.run_engine()
        self._check_unclear(notice, 1)

    def test_the_others_go_on_after_an_unclear_one(self):
        unclear, good = notices = self.release('Gone', 'Good')
        self.smtp.set_rules('gone@* eod drop')
        self.run_engine()
        self.assertEqual(notices.mapped('delivery_state'), ['unclear', 'sent'])
        self.assertEqual(self.accepted(unclear), 0)
        self.assertEqual(self.accepted(good), 1)

    def test_several_recipients_one_refused(self):
        partner = self.make_partner('Two', email='bad@customer.test, good@customer.test')
        notice = self.release(partner)
        self.smtp.set_rules('bad@* rcpt 550 5.1.1 No such user')
        self.run_engine()
        self.assertDelivery(notice, 'sent')
        self.assertEqual(self.smtp.messages[0].rcpt_tos, ['good@customer.test'])
        self.assertIn('bad@customer.test', notice.delivery_info)
        self.assertFalse(partner.dunning_email_refused, "the other address works")
        self.assertEqual(partner.dunning_refused_addresses, 'bad@customer.test')
        self.assertEqual(notice.delivery_log_ids.sorted('id')[-1].recipient_count, 1)

    def test_one_bad_notice_does_not_stop_the_others(self):
        bad, good = notices = self.release('Bad', 'Good')
        self.forge(bad.document_id, b'damaged')
        with mute_logger(ENGINE_LOGGER):
            self.run_engine()
        self.assertEqual(notices.mapped('delivery_state'), ['failed', 'sent'])
        self.assertIn('SHA-256', bad.delivery_info)
        self.assertTrue(self.activities(bad, 'failed'))
        self.assertEqual(self.accepted(), 1)
        self.assertTrue(good.sent_at)


@tagged('post_install', '-at_install')
class TestProviderFaults(EngineCase):
    """A provider's fault pauses the provider and leaves every notice released."""

    def setUp(self):
        super().setUp()
        self.clerk.lang = 'en_US'

    def _server(self, certificate='server', **values):
        certs = pathlib.Path(os.environ['DUNNING_TEST_CERTS'])
        server = self.smtpd_module.SmtpServer(
            cert=str(certs / f'{certificate}.pem'), key=str(certs / f'{certificate}.key'), user='dunning',
            password='geheim', **values)
        return self.enterContext(server)

    def _ready(self):
        self.provider.sudo().write({
            'smtp_port': self.smtp.port, 'smtp_pass': 'geheim', 'state': 'ready', 'pause_reason': False,
            'resume_at': False, 'fault_count': 0, 'fault_since': False, 'refusals': False})
        self.provider.activity_ids.unlink()
        self.smtp.clear()

    def _check_paused(self, notices, *words, passing=False):
        provider = self.provider
        self.assertEqual(provider.state, 'paused')
        for word in words:
            self.assertIn(word, provider.pause_reason)
        self.assertEqual(bool(provider.resume_at), passing, provider.pause_reason)
        self.assertDelivery(notices, 'released')
        self.assertEqual(set(notices.mapped('attempt_count')), {0}, "it says nothing of the notice")
        self.assertFalse(notices.activity_ids)
        self.assertFalse(self.smtp.messages)
        administrators = self.env.ref('base.group_system').all_user_ids.filtered(
            lambda user: user.active and not user.share)
        self.assertTrue(administrators)
        activities = self.activities(provider, 'provider_paused')
        self.assertEqual(sorted(activities.user_id.ids), sorted(administrators.ids))
        self.assertEqual(len(activities), len(administrators), "one each")
        self.assertNotIn('geheim', provider.pause_reason)
        self.assertIn(notices.run_id.provider_warning and provider.pause_reason, notices.run_id.provider_warning)

    def test_permanent_faults(self):
        notices = self.release('One', 'Two')
        # kept, so that nobody else listens there
        closed = socket.socket()
        self.addCleanup(closed.close)
        closed.bind(('127.0.0.1', 0))
        cases = [
            ('password', {'smtp_pass': 'wrong'}, '', ('login', '535'), False),
            ('login asked for', {}, '* mail 530 5.7.0 Authentication required', ('login',), False),
            ('expired', {'smtp_port': self._server('expired').port}, '', ('expired',), False),
            ('other host', {'smtp_port': self._server('otherhost').port}, '', ('another server',), False),
            ('unknown', {'smtp_port': self._server('unknown').port}, '', ('authority',), False),
            ('no STARTTLS', {'smtp_port': self._server(tls='none').port}, '', ('STARTTLS',), False),
            ('closed', {'smtp_port': closed.getsockname()[1]}, '', ('refuses the connection',), True),
            ('sender', {}, '* mail 550 5.1.8 Sender address rejected', ('mahnung@muster.test', '550 5.1.8'), False),
            ('quota', {}, '* mail 452 4.7.28 Daily limit exceeded', ('quota',), True),
            ('not now', {}, '* connect 421 4.3.2 Come later', ('at present',), True),
            ('quota after the dot', {}, '* eod 550 5.7.508 Hourly sending limit exceeded', ('quota',), True),
        ]
        for name, values, rules, words, passing in cases:
            with self.subTest(name):
                self._ready()
                self.provider.write(values)
                self.smtp.set_rules(rules)
                with patch.object(self.env.registry['dunning.engine'], '_get_next', autospec=True,
                                  side_effect=self._only_ready()):
                    self.run_engine()
                self._check_paused(notices, *words, passing=passing)
                handed_over = name == 'quota after the dot'
                self.assertEqual(bool(notices.filtered('handover_at')), handed_over)
                if not passing:
                    self.run_engine()
                    self._check_paused(notices, *words)
        self._ready()
        self.run_engine()
        self.assertDelivery(notices, 'sent')
        self.assertEqual(self.accepted(), 2)

    def _only_ready(self):
        """Leave paused providers alone, so that a pass ends with the pause."""
        original = self.env.registry['dunning.engine']._get_next

        def get_next(engine, cron, skipped, *turns):
            paused = self.env['dunning.provider'].sudo().search([('state', '=', 'paused')])
            return original(engine, cron, skipped | paused.with_env(engine.env), *turns)
        return get_next

    def test_host_not_found(self):
        notice = self.release('One')
        self.provider.smtp_host = 'no-such-host.invalid'
        self.run_engine()
        self._check_paused(notice, 'no-such-host.invalid', 'not found', passing=self.provider.resume_at)

    def test_resume_tests_the_connection(self):
        notice = self.release('One')
        self.provider.smtp_pass = 'wrong'
        self.run_engine()
        self._check_paused(notice, '535')
        with self.assertRaisesRegex(UserError, '535'):
            self.provider.action_resume()
        self.assertEqual(self.provider.state, 'paused')
        self.provider.smtp_pass = 'geheim'
        with self.capture_triggers() as captured:
            self.provider.action_resume()
        self.assertTrue(captured, "woken at once")
        self.assertEqual((self.provider.state, self.provider.pause_reason), ('ready', False))
        self.assertFalse(self.activities(self.provider, 'provider_paused'))
        self.run_engine()
        self.assertDelivery(notice, 'sent')

    def test_passing_fault_resumes_by_itself(self):
        notice = self.release('One')
        self.smtp.set_rules('* connect times=2 421 4.3.2 Come later')
        for _pass in range(6):
            self.run_engine()
        self.assertDelivery(notice, 'sent')
        self.assertEqual((self.provider.state, self.provider.fault_count), ('ready', 0))
        self.assertGreaterEqual(sum(self.waits), 60 + 120 - 5, "1 minute, then 2")
        self.assertFalse(self.activities(self.provider, 'provider_paused'), "nothing is left to do")
        self.assertEqual(len([event for event in self.smtp.events('connect') if event.get('peer')]), 3)

    def test_backoff_grows(self):
        self.release('One')
        self.smtp.set_rules('* connect 421 4.3.2 Come later')
        delays = []
        for _pass in range(7):
            with patch.object(self.env.registry['dunning.engine'], '_get_next', autospec=True,
                              side_effect=self._only_after_resume(delays)):
                self.run_engine()
            delays.append(round((self.provider.resume_at - fields.Datetime.now()).total_seconds() / 60))
            self.clock.move_to(self.provider.resume_at + timedelta(seconds=1))
        self.assertEqual(delays, [1, 2, 5, 15, 30, 60, 60])
        self.assertEqual(len(self.activities(self.provider, 'provider_paused').user_id),
                         len(self.activities(self.provider, 'provider_paused')), "told once")

    def _only_after_resume(self, _delays):
        original = self.env.registry['dunning.engine']._get_next

        def get_next(engine, cron, skipped, *turns):
            provider, slot = original(engine, cron, skipped, *turns)
            if provider and slot > fields.Datetime.now():
                return provider.browse(), None
            return provider, slot
        return get_next

    def test_three_policy_refusals_in_a_row(self):
        notices = self.release('One', 'Two', 'Three', 'Four')
        self.smtp.set_rules('* rcpt 550 5.7.1 Message refused by local policy')
        self.run_engine()
        self.assertDelivery(notices, 'released')
        self.assertEqual(self.provider.state, 'paused')
        self.assertFalse(self.provider.resume_at, "a person has to ask the mail provider")
        self.assertFalse(any(notices.partner_id.mapped('dunning_email_refused')))
        self.smtp.set_rules('')
        self.provider.action_resume()
        self.run_engine()
        self.assertDelivery(notices, 'sent')

    def test_policy_refusals_not_in_a_row(self):
        notices = self.release('Bad One', 'Bad Two', 'Good', 'Bad Three')
        self.smtp.set_rules('bad*@* rcpt 550 5.7.1 Message refused by local policy')
        self.run_engine()
        self.assertEqual(notices.mapped('delivery_state'), ['failed', 'failed', 'sent', 'failed'])
        self.assertEqual(self.provider.state, 'ready')

    def test_policy_refusals_of_one_address(self):
        partner = self.make_partner('Same')
        self.env['res.currency.rate'].create({
            'currency_id': self.env.ref('base.GBP').id, 'name': '2026-01-01', 'rate': 2.0,
            'company_id': self.company.root_id.id})
        for currency in (self.currency, self.foreign, self.env.ref('base.GBP')):
            currency.active = True
            self.make_invoice(partner, 100.0, currency=currency)
        run = self.make_run(partner_ids=partner.ids)
        run.action_print_and_send()
        self.assertEqual(len(run.notice_ids), 3)
        self.smtp.set_rules('* rcpt 550 5.7.1 Message refused by local policy')
        self.run_engine()
        self.assertDelivery(run.notice_ids, 'failed')
        self.assertEqual(self.provider.state, 'ready', "three different recipients make it the sender's fault")

    def test_a_pause_during_a_handover_holds(self):
        first, second = notices = self.release('One', 'Two')
        original = smtp.Session.send
        provider = self.provider

        def send(session, *args, **values):
            provider.with_env(self._engine_env).sudo()._pause("A person paused it.")
            return original(session, *args, **values)

        def claim(notice, *args):
            self._engine_env = notice.env
            return original_claim(notice, *args)
        original_claim = self.env.registry['dunning.notice']._claim
        with patch.object(smtp.Session, 'send', send), \
                patch.object(self.env.registry['dunning.notice'], '_claim', claim):
            self.run_engine()
        self.assertEqual(notices.mapped('delivery_state'), ['sent', 'released'])
        self.assertEqual((provider.state, provider.pause_reason), ('paused', "A person paused it."))
        self.assertTrue(first.sent_at)
        self.assertFalse(second.sent_at)

    def test_archived_provider_sends_nothing(self):
        notice = self.release('One')
        self.provider.active = False
        self.run_engine()
        self.assertDelivery(notice, 'released')
        self.assertFalse(self.smtp.events('connect'))
        self.provider.active = True
        self.run_engine()
        self.assertDelivery(notice, 'sent')

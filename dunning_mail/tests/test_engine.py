import itertools
import os
import pathlib
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from unittest.mock import patch

import psycopg2

from odoo import fields, sql_db
from odoo.exceptions import UserError
from odoo.sql_db import db_connect
from odoo.tests import new_test_user, tagged
from odoo.tools import mute_logger

from odoo.addons.dunning_mail.models import dunning_engine
from odoo.addons.dunning_mail.tools import budget, smtp

from .common import DunningMailCommon

ENGINE_LOGGER = 'odoo.addons.dunning_mail.models.dunning_engine'
OUTCOME_LOGGER = 'odoo.addons.dunning_mail.models.dunning_outcome'
CRON_LOGGER = 'odoo.addons.base.models.ir_cron'


class EngineCase(DunningMailCommon):
    """Everything is real but the clock and the letters, whose making takes longer than all the rest."""

    def setUp(self):
        super().setUp()
        self.waits = self.turn_clock_while_waiting()
        self.patch(self.env.registry['dunning.notice'], '_make_documents', lambda notices: {
            notice.id: f'%PDF-1.7 {notice.name} {notice.amount_total}'.encode() for notice in notices})

    @contextmanager
    def capture_triggers(self):
        """Yield a list that takes up the moments at which scheduled actions are to be woken."""
        moments = []
        original = self.env.registry['ir.cron']._trigger_list

        def trigger_list(cron, at_list):
            moments.extend(at_list)
            return original(cron, at_list)
        with patch.object(self.env.registry['ir.cron'], '_trigger_list', trigger_list):
            yield moments

    def activities(self, records, kind):
        return records.activity_ids.filtered(
            lambda activity: activity.activity_type_id == self.env.ref(f'dunning_mail.mail_activity_{kind}'))

    def accepted(self, notice=None):
        """How often the server took mails, or those of one notice, whatever their Message-ID."""
        return len([message for message in self.smtp.messages
                    if not notice or message.email['X-Odoo-Objects'] == f'dunning.notice-{notice.id}'])

    def assertDelivery(self, notices, state):
        self.assertEqual(set(notices.mapped('delivery_state')), {state}, notices.mapped('delivery_info'))


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

    def test_421_and_a_broken_link_before_the_dot(self):
        for stage, action in (('rcpt', '421 4.3.2 Shutting down'), ('data', 'drop')):
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
        self.assertEqual(notice.delivery_log_ids.sorted('id')[-1].recipient_count, 1)

    def test_one_bad_notice_does_not_stop_the_others(self):
        bad, good = notices = self.release('Bad', 'Good')
        bad.document_id.with_context(dunning=True).sudo().raw = b'damaged'
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
            'resume_at': False, 'fault_count': 0, 'policy_refusal_count': 0})
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
        closed = self.smtpd_module.SmtpServer(tls='none')
        with closed:
            closed_port = closed.port
        unused = closed_port
        cases = [
            ('password', {'smtp_pass': 'wrong'}, '', ('login', '535'), False),
            ('login asked for', {}, '* mail 530 5.7.0 Authentication required', ('login',), False),
            ('expired', {'smtp_port': self._server('expired').port}, '', ('expired',), False),
            ('other host', {'smtp_port': self._server('otherhost').port}, '', ('another server',), False),
            ('unknown', {'smtp_port': self._server('unknown').port}, '', ('authority',), False),
            ('no STARTTLS', {'smtp_port': self._server(tls='none').port}, '', ('STARTTLS',), False),
            ('closed', {'smtp_port': unused}, '', ('refuses the connection',), True),
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

        def get_next(engine, cron, skipped):
            paused = self.env['dunning.provider'].sudo().search([('state', '=', 'paused')])
            return original(engine, cron, skipped | paused.with_env(engine.env))
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

        def get_next(engine, cron, skipped):
            provider, slot = original(engine, cron, skipped)
            if provider and slot > fields.Datetime.now():
                return provider.browse(), None
            return provider, slot
        return get_next

    def test_three_policy_refusals_in_a_row(self):
        notices = self.release('One', 'Two', 'Three', 'Four')
        self.smtp.set_rules('* rcpt 550 5.7.1 Message refused by local policy')
        self.run_engine()
        self.assertEqual(notices.mapped('delivery_state'), ['failed', 'failed', 'released', 'released'])
        self.assertEqual(self.provider.state, 'paused')
        self.assertFalse(self.provider.resume_at, "a person has to ask the mail provider")
        self.assertFalse(any(notices.partner_id.mapped('dunning_email_refused')))
        self.smtp.set_rules('')
        self.provider.action_resume()
        self.run_engine()
        self.assertEqual(notices.mapped('delivery_state'), ['failed', 'failed', 'sent', 'sent'])

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


@tagged('post_install', '-at_install')
class TestAtMostOnce(EngineCase):
    """Orphans, locks, collisions and retries."""

    def _orphan(self, notice):
        """Leave a notice as a process does that dies right after the claim."""
        with self.enter_registry_test_mode():
            claim = notice.sudo()._claim(fields.Datetime.now())
        self.assertTrue(claim)
        self.assertDelivery(notice, 'sending')
        return claim

    def test_order_of_steps(self):
        """`sending` is committed before the first byte, the outcome at once after the last one."""
        notice = self.release('One')
        steps = []

        def watch(owner, name, word):
            original = getattr(owner, name)

            def step(self, *args, **values):
                steps.append(word)
                return original(self, *args, **values)
            self.patch(owner, name, step)
        registry = self.env.registry
        watch(registry['dunning.engine'], '_commit', 'commit')
        watch(registry['dunning.provider'], '_lock', 'lock')
        watch(registry['dunning.provider'], '_unlock', 'unlock')
        watch(registry['dunning.notice'], '_claim', 'claim')
        watch(registry['dunning.engine'], '_apply_outcome', 'outcome')
        watch(smtp.Session, 'send', 'send')
        self.run_engine()
        self.assertDelivery(notice, 'sent')
        claimed = steps.index('claim')
        self.assertEqual(steps[claimed:claimed + 5], ['claim', 'commit', 'send', 'outcome', 'commit'])
        self.assertEqual(steps[0], 'lock')
        self.assertIn('unlock', steps[claimed:])
        self.assertNotIn('unlock', steps[:claimed])

    def test_release_wakes_the_engine(self):
        partner = self.make_partner('Acme')
        self.make_invoice(partner)
        run = self.make_run(partner_ids=partner.ids)
        with self.capture_triggers() as captured:
            run.action_print_and_send()
        self.assertTrue(captured)
        self.assertLessEqual(min(captured), fields.Datetime.now())

    def test_orphan_becomes_unclear(self):
        notice = self.release('Orphan')
        self._orphan(notice)
        self.run_engine()
        self.assertDelivery(notice, 'unclear')
        self.assertFalse(self.smtp.messages)
        self.assertEqual(self.activities(notice, 'unclear').user_id, self.clerk)
        self.assertIn(notice.message_id, notice.delivery_info)
        self.assertTrue(notice.handover_at)
        self.assertTrue(notice.is_counted)
        self.assertEqual(notice.delivery_log_ids.sorted('id')[-1].recipient_count, 1, "it counts for the limits")
        self.assertTrue(self.env['mail.message'].search([('message_id', '=', notice.message_id)]))

    def test_orphan_of_a_paused_or_archived_provider(self):
        for values in ({'state': 'paused'}, {'active': False}):
            with self.subTest(values=values):
                notice = self.release('Orphan')
                self._orphan(notice)
                self.provider.sudo().write(values)
                self.run_engine()
                self.assertDelivery(notice, 'unclear')
                self.provider.sudo().write({'state': 'ready', 'active': True})

    def test_pace_holds_after_an_orphan(self):
        self.provider.send_interval = 60
        orphan, waiting = self.release('Orphan', 'Waiting')
        self._orphan(orphan)
        found_at = fields.Datetime.now()
        for _pass in range(3):
            self.run_engine()
        self.assertDelivery(orphan, 'unclear')
        self.assertDelivery(waiting, 'sent')
        self.assertGreaterEqual(waiting.sent_at - found_at, timedelta(seconds=60))

    def test_second_sender_is_kept_out(self):
        notice, orphan = self.release('One', 'On its way')
        self._orphan(orphan)
        with db_connect(self.env.cr.dbname).cursor() as other:
            other.execute("SELECT pg_advisory_lock(hashtext('dunning_mail.provider'), %s)", [self.provider.id])
            try:
                with self.capture_triggers() as captured:
                    self.run_engine()
                self.assertFalse(captured, "the other comes back by itself")
                self.assertDelivery(notice, 'released')
                self.assertDelivery(orphan, 'sending')
                self.assertFalse(self.smtp.events('connect'))
            finally:
                other.execute("SELECT pg_advisory_unlock(hashtext('dunning_mail.provider'), %s)", [self.provider.id])
        self.run_engine()
        self.assertDelivery(notice, 'sent')
        self.assertDelivery(orphan, 'unclear')

    def _assert_lock_is_free(self):
        with db_connect(self.env.cr.dbname).cursor() as other:
            other.execute("SELECT pg_try_advisory_lock(hashtext('dunning_mail.provider'), %s)", [self.provider.id])
            self.assertTrue(other.fetchone()[0])
            other.execute("SELECT pg_advisory_unlock(hashtext('dunning_mail.provider'), %s)", [self.provider.id])

    def test_lock_is_given_back(self):
        self.release('One')
        seen = []
        original = smtp.Session.send

        def send(session, *args, **values):
            with db_connect(self.env.cr.dbname).cursor() as other:
                other.execute(
                    "SELECT pg_try_advisory_lock(hashtext('dunning_mail.provider'), %s)", [self.provider.id])
                seen.append(other.fetchone()[0])
            return original(session, *args, **values)
        with patch.object(smtp.Session, 'send', send):
            self.run_engine()
        self.assertEqual(seen, [False], "held during the handover")
        self._assert_lock_is_free()

    def test_lock_is_given_back_after_a_crash(self):
        """Also when the transaction is broken, where PostgreSQL takes no further statement."""
        notice = self.release('One')

        def send_next(engine, _provider, _work):
            engine.env.cr.execute("SELECT 1 / 0")
        with patch.object(self.env.registry['dunning.engine'], '_send_next', send_next), \
                mute_logger(CRON_LOGGER, 'odoo.sql_db'), self.enter_registry_test_mode():
            result = self.engine.with_user(self.env.ref('base.user_root')).method_direct_trigger()
        self.assertIsInstance(result, dict, "the fault is not hidden")
        self._assert_lock_is_free()
        self.env.invalidate_all()
        self.assertDelivery(notice, 'released')
        self.run_engine()
        self.assertDelivery(notice, 'sent')

    def test_collision_before_the_handover(self):
        """PostgreSQL refuses the claim, since somebody wrote to the notice: it is tried again, and has not failed."""
        notice = self.release('One')
        original = self.env.registry['dunning.notice']._claim
        faults = [psycopg2.errors.SerializationFailure(), psycopg2.errors.LockNotAvailable()]

        def claim(notice, *args):
            if faults:
                raise faults.pop()
            return original(notice, *args)
        with patch.object(self.env.registry['dunning.notice'], '_claim', claim):
            self.run_engine()
        self.assertDelivery(notice, 'sent')
        self.assertEqual(self.accepted(), 1)

    def test_collision_after_the_handover(self):
        """The server's answer survives a transaction that PostgreSQL refuses."""
        notice = self.release('One')
        original = self.env.registry['dunning.notice']._log_mail
        faults = [psycopg2.errors.SerializationFailure(), psycopg2.errors.DeadlockDetected()]

        def log_mail(sent, *args):
            if faults:
                raise faults.pop()
            return original(sent, *args)
        with patch.object(self.env.registry['dunning.notice'], '_log_mail', log_mail):
            self.run_engine()
        self.assertFalse(faults)
        self.assertDelivery(notice, 'sent')
        self.assertEqual(self.accepted(), 1)
        self.assertIn(self.smtp.messages[0].queue_id, notice.delivery_info)
        self.assertEqual(notice.delivery_log_ids.mapped('state_to').count('sent'), 1)
        self.assertEqual(notice.run_id.state, 'done')

    def test_outcome_that_cannot_be_stored(self):
        """Whatever stands in the way of the outcome for good, the notice is not sent again."""
        notice, other = self.release('One', 'Two')

        original = self.env.registry['dunning.engine']._apply_outcome

        def apply_outcome(engine, sent, *args):
            if sent.id == notice.id:
                raise psycopg2.errors.SerializationFailure
            return original(engine, sent, *args)
        with patch.object(self.env.registry['dunning.engine'], '_apply_outcome', apply_outcome), \
                mute_logger(OUTCOME_LOGGER):
            self.run_engine()
        self.assertDelivery(notice, 'unclear')
        self.assertDelivery(other, 'sent')
        self.assertEqual((self.accepted(notice), self.accepted(other)), (1, 1))

    def test_what_follows_does_not_hide_the_outcome(self):
        notice = self.release('One')

        def fail(_self, *_args):
            raise ValueError("chatter is out of order")
        with patch.object(self.env.registry['dunning.notice'], '_log_mail', fail), mute_logger(OUTCOME_LOGGER):
            self.run_engine()
        self.assertDelivery(notice, 'sent')
        self.assertEqual(notice.run_id.state, 'done')

    def test_row_in_other_hands_is_left_for_later(self):
        """A notice that a person is working on is skipped, and the pass does not spin."""
        notice = self.release('One')
        original = self.env.registry['dunning.engine']._lock_next_notice
        busy = [1, 2, 3]

        def lock_next(engine, provider):
            if busy:
                busy.pop()
                return engine.env['dunning.notice'], False
            return original(engine, provider)
        with patch.object(self.env.registry['dunning.engine'], '_lock_next_notice', lock_next):
            self.run_engine()
        self.assertDelivery(notice, 'sent')
        self.assertEqual(self.waits, [dunning_engine.LOOK_EVERY] * 3)

    # === RETRY === #

    def test_retry_unclear(self):
        notice = self.release('Gone')
        self.smtp.set_rules('* eod accept-then-drop')
        self.run_engine()
        self.assertDelivery(notice, 'unclear')
        first = self.smtp.messages[0]
        self.smtp.set_rules('')
        self.clock.tick(timedelta(minutes=9).total_seconds())
        with self.assertRaisesRegex(UserError, 'second mail'):
            notice.with_user(self.clerk).with_context(lang='en_US').action_retry()
        self.clock.tick(timedelta(minutes=2).total_seconds())
        notice.with_user(self.clerk).action_retry()
        self.assertDelivery(notice, 'released')
        self.assertFalse(self.activities(notice, 'unclear'))
        self.run_engine()
        self.assertDelivery(notice, 'sent')
        second = self.smtp.messages[1]
        self.assertEqual(second.content, first.content, "the same bytes")
        self.assertEqual(second.email['Message-ID'], notice.message_id)
        self.assertEqual(second.content, notice.mail_document_id.raw)
        self.assertEqual(
            self.env['mail.message'].search_count([('message_id', '=', notice.message_id)]), 1, "shown once")

    def test_retry_what_was_never_handed_over(self):
        notice = self.release('Refused')
        self.smtp.set_rules('* rcpt 550 5.1.1 No such user')
        self.run_engine()
        old = notice.message_id
        with self.assertRaisesRegex(UserError, '5.1.1'):
            notice.with_user(self.clerk).action_retry()
        notice.partner_id.email = 'corrected@customer.test'
        self.smtp.set_rules('')
        notice.with_user(self.clerk).action_retry()
        self.assertFalse(self.activities(notice, 'failed'))
        self.run_engine()
        self.assertDelivery(notice, 'sent')
        self.assertNotEqual(notice.message_id, old)
        self.assertEqual(self.smtp.messages[0].rcpt_tos, ['corrected@customer.test'])

    def test_retry_with_another_address_after_a_handover(self):
        notice = self.release('Moved')
        self.smtp.set_rules('* eod 554 5.6.0 Not to our taste')
        self.run_engine()
        self.assertDelivery(notice, 'failed')
        notice.partner_id.email = 'new@customer.test'
        with self.assertRaisesRegex(UserError, 'new@customer.test'):
            notice.with_user(self.clerk).action_retry()
        notice.with_user(self.clerk).action_set_paper()
        self.assertDelivery(notice, 'paper')

    def test_handed_over_then_address_refused(self):
        """After a handover: the same mail or none. An address that refuses meanwhile makes it paper."""
        notice = self.release('Late')
        self.smtp.set_rules('* eod times=1 451 4.3.0 Come again')
        original = self.env.registry['dunning.engine']._try_later

        def try_later(engine, notice, *args):
            steps = original(engine, notice, *args)
            notice.partner_id._set_dunning_refused('550 5.1.1 gone')
            return steps
        with patch.object(self.env.registry['dunning.engine'], '_try_later', try_later):
            for _pass in range(3):
                self.run_engine()
        self.assertDelivery(notice, 'paper')
        self.assertIn('5.1.1', notice.delivery_info)
        self.assertFalse(self.smtp.messages)

    def test_sent_cannot_be_sent_again(self):
        notice = self.release('One')
        self.run_engine()
        with self.assertRaises(UserError):
            notice.with_user(self.clerk).action_retry()
        self.run_engine()
        self.assertEqual(self.accepted(), 1)


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
        beginning and the end of both transactions besides: 28.)"""
        self.env['res.partner.bank'].create({
            'acc_number': 'CH56 0483 5012 3456 7800 9', 'partner_id': self.company.partner_id.id,
            'allow_out_payment': True})
        self.release(*(f'Partner {number}' for number in range(5)))
        steps = []
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
        for before, after in itertools.pairwise(sent[1:]):
            between = steps[before + 1:after]
            self.assertEqual(between.count('COMMIT'), 2)
            self.assertLessEqual(len(between) - 2, 24, '\n'.join(between))

    def test_idle_engine_opens_nothing(self):
        with self.capture_triggers() as captured:
            self.run_engine()
        self.assertFalse(captured)
        self.assertFalse(self.smtp.events('connect'))
        self.assertFalse(self.waits)


@tagged('post_install', '-at_install')
class TestRightBeforeSending(EngineCase):
    """Nobody is dunned for what they have paid, and nothing goes out that must not."""

    def test_paid(self):
        notice, other = self.release('Paid', 'Other')
        self.pay(self.receivable_move(notice))
        self.run_engine()
        self.assertEqual(notice.state, 'cancelled')
        self.assertEqual(notice.delivery_state, 'released', "it keeps its last true value")
        self.assertIn(notice.delivery_info, notice.delivery_log_ids.mapped('text'))
        self.assertDelivery(other, 'sent')
        self.assertEqual(self.accepted(notice), 0)
        self.assertEqual(notice.run_id.state, 'done')

    def receivable_move(self, notice):
        return notice.line_ids.filtered(lambda line: line.kind == 'due').move_id

    def test_partly_paid(self):
        notice = self.release('Part', amount=100.0)
        old = notice.document_sha256
        self.pay(self.receivable_move(notice), 40.0)
        self.run_engine()
        self.assertDelivery(notice, 'sent')
        self.assertEqual(notice.amount_total, 60.0)
        self.assertNotEqual(notice.document_sha256, old)
        mail = self.mails()[0]
        pdf = next(part for part in mail.walk() if part.get_content_type() == 'application/pdf')
        self.assertEqual(pdf.get_payload(decode=True), notice.document_id.raw)
        text = mail.get_body(('plain',)).get_content()
        self.assertIn('60', text)
        self.assertNotIn('100', text)

    def test_covered_by_a_credit(self):
        notice = self.release('Credit', amount=100.0)
        self.make_invoice(notice.partner_id, 100.0, move_type='out_refund')
        self.run_engine()
        self.assertEqual(notice.state, 'cancelled')
        self.assertFalse(self.smtp.messages)

    def test_changed_after_a_handover(self):
        notice = self.release('Part', amount=100.0)
        self.smtp.set_rules('* eod times=1 451 4.3.0 Come again')
        original = self.env.registry['dunning.engine']._try_later

        def try_later(engine, notice, *args):
            steps = original(engine, notice, *args)
            self.env.flush_all()
            self.pay(self.receivable_move(notice.with_env(self.env)), 40.0)
            self.env.flush_all()
            engine.env.invalidate_all()
            return steps
        with patch.object(self.env.registry['dunning.engine'], '_try_later', try_later):
            for _pass in range(3):
                self.run_engine()
        self.assertDelivery(notice, 'failed')
        self.assertEqual(notice.state, 'issued', "whether it is cancelled is a person's decision")
        self.assertTrue(self.activities(notice, 'failed'))
        self.assertFalse(self.smtp.messages, "the frozen mail claims too much")

    def test_same_bytes_after_a_handover(self):
        notice = self.release('Again')
        self.smtp.set_rules('* eod times=1 451 4.3.0 Come again')
        for _pass in range(3):
            self.run_engine()
        self.assertDelivery(notice, 'sent')
        refused = self.smtp.events('refused')
        self.assertEqual([event['message_id'] for event in refused], [notice.message_id])
        self.assertEqual(self.mails()[0]['Message-ID'], notice.message_id)

    def test_on_hold_meanwhile(self):
        customer, invoice = self.release('Customer on hold', 'Invoice on hold')
        customer.partner_id.write({'dunning_hold_until': self.days(10), 'dunning_hold_reason': 'Complaint pending'})
        self.receivable_move(invoice).dunning_hold_until = self.days(10)
        self.run_engine()
        self.assertEqual((customer.state, invoice.state), ('cancelled', 'cancelled'))
        self.assertIn('Complaint pending', customer.delivery_info)
        self.assertFalse(self.smtp.messages)

    def test_run_cancelled(self):
        notice = self.release('One')
        notice.run_id.action_cancel()
        self.run_engine()
        self.assertEqual(notice.state, 'cancelled')
        self.assertFalse(self.smtp.events('connect'))

    def test_address_refused_meanwhile(self):
        notice = self.release('One')
        notice.partner_id._set_dunning_refused('550 5.1.1 gone')
        self.run_engine()
        self.assertDelivery(notice, 'paper')
        self.assertIn('550 5.1.1 gone', notice.delivery_info)
        self.assertFalse(self.smtp.messages)
        self.assertFalse(notice.printed_at)

    def test_customer_wants_paper_meanwhile(self):
        notice = self.release('One')
        notice.partner_id.dunning_channel = 'paper'
        self.run_engine()
        self.assertDelivery(notice, 'paper')

    def test_address_corrected_meanwhile(self):
        notice = self.release('One')
        notice.partner_id.email = 'corrected@customer.test'
        self.run_engine()
        self.assertDelivery(notice, 'sent')
        self.assertEqual(notice.email_to, 'corrected@customer.test')
        self.assertEqual(self.smtp.messages[0].rcpt_tos, ['corrected@customer.test'])


@tagged('post_install', '-at_install')
class TestProvidersAndDocuments(EngineCase):

    def test_trial_mode(self):
        self.provider.redirect_to = 'trial@muster.test'
        notice = self.release('Trial')
        self.assertIn('trial@muster.test', notice.run_id.provider_warning)
        self.run_engine()
        self.assertDelivery(notice, 'sent')
        self.assertEqual(notice.redirected_to, 'trial@muster.test')
        self.assertEqual(notice.email_to, 'trial@customer.test')
        self.assertFalse(notice.is_counted)
        self.assertEqual(self.smtp.messages[0].rcpt_tos, ['trial@muster.test'])
        mail = self.mails()[0]
        self.assertEqual(mail['X-Original-To'], 'trial@customer.test')
        self.assertIn('trial@customer.test', mail['Subject'])
        self.assertNotIn('trial@customer.test', mail['To'])
        self.assertFalse(self.receivable(notice.line_ids.move_id).dunning_level_id)
        self.provider.redirect_to = False
        run = self.make_run(partner_ids=notice.partner_id.ids)
        self.assertEqual(run.notice_ids.level_id, self.level_1, "it can be dunned for real")

    def test_trial_address_refused(self):
        self.provider.redirect_to = 'trial@muster.test'
        notice = self.release('Trial')
        self.smtp.set_rules('* rcpt 550 5.1.1 No such user')
        self.run_engine()
        self.assertDelivery(notice, 'failed')
        self.assertFalse(notice.partner_id.dunning_email_refused, "nobody asked the customer's server")

    def test_trial_over_between_two_attempts(self):
        """What was made for the trial never goes to the customer."""
        self.provider.redirect_to = 'trial@muster.test'
        notice = self.release('Trial')
        self.smtp.set_rules('* eod times=1 451 4.3.0 Come again')
        original = self.env.registry['dunning.engine']._try_later

        def try_later(engine, notice, *args):
            steps = original(engine, notice, *args)
            notice.provider_id.redirect_to = False
            return steps
        with patch.object(self.env.registry['dunning.engine'], '_try_later', try_later):
            for _pass in range(3):
                self.run_engine()
        self.assertDelivery(notice, 'sent')
        self.assertEqual(self.smtp.messages[0].rcpt_tos, ['trial@customer.test'])
        mail = self.mails()[0]
        self.assertNotIn('Trial for', mail['Subject'])
        self.assertFalse(mail['X-Original-To'])
        self.assertTrue(notice.is_counted)

    def test_trial_begun_between_two_attempts(self):
        notice = self.release('Real')
        self.smtp.set_rules('* eod times=1 451 4.3.0 Come again')
        original = self.env.registry['dunning.engine']._try_later

        def try_later(engine, notice, *args):
            steps = original(engine, notice, *args)
            notice.provider_id.redirect_to = 'trial@muster.test'
            return steps
        with patch.object(self.env.registry['dunning.engine'], '_try_later', try_later):
            for _pass in range(3):
                self.run_engine()
        self.assertDelivery(notice, 'failed')
        self.assertFalse(self.smtp.messages)

    def test_two_providers_of_one_engine(self):
        """A slow or broken one does not hold up the other."""
        other_company = self.make_company()
        slow = self.provider
        slow.send_interval = 60
        one, two = self.release('One', 'Two')
        fast = self.make_provider(name='Fast', company_id=other_company.id, email_from='other@other.test')
        other_company.dunning_provider_id = fast
        three, four = self.release_in(other_company, 'Three', 'Four')
        self.run_engine()
        self.assertEqual((one | three | four).mapped('delivery_state'), ['sent'] * 3)
        self.assertDelivery(two, 'released')
        self.assertEqual(
            sorted(message.mail_from for message in self.smtp.messages),
            ['mahnung@muster.test', 'other@other.test', 'other@other.test'])
        slow.smtp_pass = 'wrong'
        five, = self.release_in(other_company, 'Five')
        for _pass in range(3):
            self.run_engine()
        self.assertEqual((slow.state, fast.state), ('paused', 'ready'))
        self.assertDelivery(five, 'sent')
        self.assertDelivery(two, 'released')

    def make_company(self):
        company = self.env['res.company'].create({
            'name': 'Zweite AG', 'currency_id': self.currency.id, 'country_id': self.company.country_id.id})
        self.env['account.chart.template'].try_loading(
            self.company.chart_template or 'generic_coa', company=company, install_demo=False)
        company.write({'dunning_procedure_id': self.procedure.id, 'dunning_fallback_lang': 'de_DE'})
        self.clerk.write({'company_ids': [(4, company.id)]})
        self.env.user.write({'company_ids': [(4, company.id)]})
        return company

    def release_in(self, company, *names):
        self.env = self.env(context=dict(self.env.context, allowed_company_ids=[company.id]))
        type(self).env, env = self.env, type(self).env
        try:
            partners = [self.make_partner(name) for name in names]
            for partner in partners:
                self.make_invoice(partner, currency=company.currency_id)
            run = self.make_run(company_id=company.id, partner_ids=[partner.id for partner in partners])
            run.action_print_and_send()
            self.assertEqual(run.notice_ids.mapped('delivery_state'), ['released'] * len(names),
                             run.notice_ids.mapped('problem'))
            return self.env['dunning.notice'].browse(run.notice_ids.sorted('id').ids).with_env(env)
        finally:
            type(self).env = env
            self.env = env

    def test_second_engine(self):
        second = self.env.ref('dunning_mail.ir_cron_engine').copy({'name': 'Second engine'})
        notice = self.release('One')
        self.provider.engine_id = second
        self.run_engine()
        self.assertDelivery(notice, 'released')
        self.run_engine(second)
        self.assertDelivery(notice, 'sent')

    def test_archive_off(self):
        self.level_1.report_id.archive_generated = False
        notice = self.release('Unkept')
        document = notice.document_id
        self.assertTrue(document.raw)
        self.run_engine()
        self.assertDelivery(notice, 'sent')
        self.assertFalse(notice.document_id)
        self.assertFalse(notice.mail_document_id)
        self.assertFalse(document.exists())
        self.assertTrue(notice.document_sha256, "the hash stays as evidence")
        self.assertFalse(self.env['ir.attachment'].search([
            ('res_model', '=', 'dunning.notice'), ('res_id', '=', notice.id)]))

    def test_archive_off_keeps_what_may_be_needed(self):
        self.level_1.report_id.archive_generated = False
        notice = self.release('Unclear')
        self.smtp.set_rules('* eod drop')
        self.run_engine()
        self.assertDelivery(notice, 'unclear')
        self.assertTrue(notice.document_id)
        self.assertTrue(notice.mail_document_id)

    def test_archive_on(self):
        notice = self.release('Kept')
        self.run_engine()
        self.assertEqual(notice.mail_document_id.raw, self.smtp.messages[0].content)
        with self.assertRaises(UserError):
            notice.document_id.raw = b'forged'
        with self.assertRaises(UserError):
            notice.document_id.unlink()
        with self.assertRaises(UserError):
            notice.mail_document_id.unlink()

    def test_issued_by_someone_who_left(self):
        clerk = new_test_user(
            self.env, login='gone', name='Gone', groups='account.group_account_invoice', company_id=self.company.id)
        notice = self.release('Refused', user=clerk)
        clerk.active = False
        self.smtp.set_rules('* rcpt 550 5.1.1 No such user')
        self.run_engine()
        self.assertDelivery(notice, 'failed')
        user = self.activities(notice, 'failed').user_id
        self.assertTrue(user.active)
        self.assertFalse(user == self.env.ref('base.user_root'), "the robot does not read its activities")

"""A mail is sent at most once, whoever dies when."""

from datetime import timedelta
from unittest.mock import patch

import psycopg2

from odoo import fields
from odoo.exceptions import UserError
from odoo.sql_db import db_connect
from odoo.tests import tagged
from odoo.tools import mute_logger

from odoo.addons.dunning_mail.models import dunning_engine
from odoo.addons.dunning_mail.tools import smtp

from .common import CRON_LOGGER, OUTCOME_LOGGER, EngineCase


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

"""Several addresses, of which the server takes some: each gets it at most once, and a person knows who has not."""

from unittest.mock import patch

from odoo import fields
from odoo.tests import tagged
from odoo.tools import mute_logger

from odoo.addons.dunning_mail.models import dunning_engine
from odoo.addons.dunning_mail.tools import smtp

from .common import ENGINE_LOGGER, EngineCase

BOTH = 'first@customer.test, second@customer.test'


@tagged('post_install', '-at_install')
class TestRest(EngineCase):

    def setUp(self):
        super().setUp()
        self.clerk.lang = 'en_US'
        self.patch(dunning_engine, 'LOOK_EVERY', 60)
        self.partner = self.make_partner('Two', email=BOTH)

    def recipients(self):
        return [message.rcpt_tos for message in self.smtp.messages]

    def run_hours(self, hours=8):
        for _hour in range(hours):
            self.run_engine()
            self.clock.tick(3605)

    def test_passing_refusal_is_tried_again_for_that_one_alone(self):
        for answer in ('450 4.2.0 Greylisted', '451 4.3.0 Try again', '452 4.2.2 Mailbox full'):
            with self.subTest(answer):
                self.smtp.clear()
                notice = self.release(self.partner)
                self.smtp.set_rules(f'second@* rcpt times=2 {answer}')
                self.run_engine()
                self.assertDelivery(notice, 'sent')
                left = notice.date_left
                self.run_hours(4)
                self.assertDelivery(notice, 'sent')
                self.assertEqual(self.recipients(), [['first@customer.test'], ['second@customer.test']])
                self.assertEqual(len({message.content for message in self.smtp.messages}), 1, "the same bytes")
                self.assertFalse(notice.rest_to or notice.activity_ids or self.partner.dunning_refused_addresses)
                self.assertEqual((notice.date_left, notice.email_to), (left, BOTH))
                self.assertIn('second@customer.test', notice.delivery_info)
                self.assertEqual(sum(notice.delivery_log_ids.mapped('recipient_count')), 2)
                self.assertFalse(notice.is_rest_sending)

    def test_final_refusal_is_marked_and_told(self):
        notice = self.release(self.partner)
        self.smtp.set_rules('second@* rcpt 550 5.1.1 No such user')
        self.run_engine()
        self.assertDelivery(notice, 'sent')
        self.assertEqual(self.partner.dunning_refused_addresses, 'second@customer.test')
        self.assertFalse(self.partner.dunning_email_refused)
        activity = self.activities(notice, 'address')
        self.assertEqual(activity.user_id, self.clerk)
        self.assertIn('second@customer.test', activity.note)
        self.assertIn('No such user', activity.note)
        self.assertEqual(notice.email_to, 'first@customer.test', "who has it")
        # The next one goes to those that are left, without another try.
        self.smtp.clear()
        again = self.release(self.partner, amount=20.0)
        self.run_engine()
        self.assertDelivery(again, 'sent')
        self.assertEqual(self.recipients(), [['first@customer.test']])
        self.assertEqual(len(self.smtp.events('rcpt')), 1)
        # When the last one is gone too, it is the customer's address that refuses.
        self.smtp.set_rules('first@* rcpt 550 5.1.1 No such user')
        last = self.release(self.partner, amount=30.0)
        self.run_engine()
        self.assertDelivery(last, 'failed')
        self.assertTrue(self.partner.dunning_email_refused)
        self.partner.action_clear_dunning_refused()
        self.assertFalse(self.partner.dunning_refused_addresses)

    def test_refusal_that_is_not_the_addresss(self):
        """Told, and tried anew by the next notice."""
        for answer in ('550 Rejected', '550 5.7.1 Spam', '550 SPF check failed'):
            with self.subTest(answer):
                self.smtp.clear()
                notice = self.release(self.partner)
                self.smtp.set_rules(f'second@* rcpt {answer}')
                self.run_engine()
                self.assertDelivery(notice, 'sent')
                self.assertFalse(self.partner.dunning_refused_addresses)
                self.assertTrue(self.activities(notice, 'address'))
                self.assertEqual(self.provider.state, 'ready')

    def test_all_refused_one_of_them_for_good(self):
        notice = self.release(self.partner)
        self.smtp.set_rules('''
            first@*   rcpt  550 5.1.1 No such user
            second@*  rcpt  times=1  450 4.2.0 Greylisted''')
        self.run_hours(2)
        self.assertDelivery(notice, 'sent')
        self.assertEqual(self.recipients(), [['second@customer.test']])
        self.assertEqual(self.partner.dunning_refused_addresses, 'first@customer.test')
        self.assertEqual(notice.email_to, 'second@customer.test')

    def test_given_up_after_the_last_attempt(self):
        notice = self.release(self.partner)
        self.smtp.set_rules('second@* rcpt 450 4.2.0 Greylisted')
        self.run_hours(12)
        self.assertDelivery(notice, 'sent')
        self.assertEqual(len(self.smtp.events('rcpt')), 7, "one that was taken, and six attempts")
        self.assertFalse(notice.rest_to)
        self.assertIn('second@customer.test', self.activities(notice, 'address').note)
        self.assertEqual(notice.email_to, 'first@customer.test')

    def test_final_refusal_later(self):
        notice = self.release(self.partner)
        self.smtp.set_rules('''
            second@*  rcpt  times=1  450 4.2.0 Greylisted
            second@*  rcpt  550 5.1.1 No such user''')
        self.run_hours(2)
        self.assertDelivery(notice, 'sent')
        self.assertEqual(self.partner.dunning_refused_addresses, 'second@customer.test')
        self.assertTrue(self.activities(notice, 'address'))

    def test_paid_in_between(self):
        """Whoever has it has it; the others do not get what is not true any more."""
        for change in ('pay', 'cancel', 'hold'):
            with self.subTest(change):
                self.smtp.clear()
                partner = self.make_partner(change, email=BOTH)
                notice = self.release(partner)
                self.smtp.set_rules('second@* rcpt times=1 450 4.2.0 Greylisted')
                self.provider.send_interval = 3600
                self.run_engine()
                self.provider.send_interval = 0
                if change == 'pay':
                    self.pay(notice.line_ids.move_id)
                elif change == 'cancel':
                    notice.action_cancel()
                else:
                    partner.write({'dunning_hold_until': self.days(30), 'dunning_hold_reason': 'Ratenzahlung'})
                self.run_hours(2)
                self.assertDelivery(notice, 'sent')
                self.assertEqual(self.recipients(), [['first@customer.test']])
                if change != 'cancel':
                    self.assertIn('second@customer.test', notice.delivery_info)

    def test_unclear_is_not_tried_again(self):
        notice = self.release(self.partner)
        self.smtp.set_rules('''
            second@*  rcpt  times=1  450 4.2.0 Greylisted
            second@*  eod   accept-then-drop''')
        self.run_hours(3)
        self.assertDelivery(notice, 'sent')
        self.assertEqual(self.recipients(), [['first@customer.test'], ['second@customer.test']])
        self.assertFalse(notice.rest_to)
        self.assertTrue(self.activities(notice, 'address'))

    def test_crash_while_the_rest_is_handed_over(self):
        notice = self.release(self.partner)
        self.smtp.set_rules('second@* rcpt times=1 450 4.2.0 Greylisted')
        original = smtp.Session.send

        class Crash(BaseException):
            pass

        def send(session, mail_from, recipients, *args, **values):
            if recipients == ['second@customer.test']:
                raise Crash
            return original(session, mail_from, recipients, *args, **values)
        self.provider.send_interval = 3600
        self.run_engine()
        self.clock.tick(3605)
        with self.enter_registry_test_mode():
            self.assertTrue(notice.sudo()._claim(fields.Datetime.now()))
        self.assertTrue(notice.is_rest_sending)
        with patch.object(smtp.Session, 'send', send):
            self.run_hours(2)
        self.assertDelivery(notice, 'sent')
        self.assertFalse(notice.rest_to or notice.is_rest_sending)
        self.assertEqual(self.recipients(), [['first@customer.test']])
        self.assertTrue(self.activities(notice, 'address'), "nobody can tell")

    def test_provider_that_pauses_meanwhile(self):
        notice = self.release(self.partner)
        self.smtp.set_rules('''
            second@*  rcpt  times=1  450 4.2.0 Greylisted
            second@*  rcpt  times=1  450 Mail send limit exceeded''')
        self.run_hours(3)
        self.assertDelivery(notice, 'sent')
        self.assertEqual(self.recipients(), [['first@customer.test'], ['second@customer.test']])
        self.assertEqual(self.provider.state, 'ready')

    def test_fault_of_the_sender_meanwhile(self):
        """It is not the address's: the rest waits for a person, as notices do, and costs no attempt."""
        for answer in ('550 Outgoing mail from "x" has been suspended.', '554 5.7.1 Relay access denied',
                       '550 5.7.1 Your account is blocked'):
            with self.subTest(answer):
                self.smtp.clear()
                self.smtp.set_rules(f'''
                    second@*  rcpt  times=1  450 4.2.0 Greylisted
                    second@*  rcpt  {answer}''')
                notice = self.release(self.partner)
                self.run_hours(4)
                self.assertDelivery(notice, 'sent')
                self.assertEqual((self.provider.state, notice.rest_to), ('paused', 'second@customer.test'))
                self.assertFalse(self.activities(notice, 'address') or self.partner.dunning_refused_addresses)
                self.assertEqual(notice.attempt_count, 1)
                self.smtp.set_rules('')
                self.provider.action_resume()
                self.run_hours(2)
                self.assertEqual(self.recipients(), [['first@customer.test'], ['second@customer.test']])
                self.assertEqual((notice.is_suspect, notice.waiting_since, notice.rest_to), (False, False, False))

    def test_fault_of_the_sender_for_the_rest_alone(self):
        """Others get through: it is the address's after all, and holds up nobody."""
        for answer, is_passing in (('554 5.7.1 Relay access denied', False), ('450 Mail send limit exceeded', True)):
            with self.subTest(answer):
                self.smtp.clear()
                self.smtp.set_rules(f'''
                    second@*  rcpt  times=1  450 4.2.0 Greylisted
                    second@*  rcpt  {answer}''')
                notice = self.release(self.partner)
                self.run_hours(1)
                for hour in range(8):
                    other = self.release(f'Other {is_passing} {hour}')
                    self.run_hours(1)
                    self.assertDelivery(other, 'sent')
                self.assertDelivery(notice, 'sent')
                self.assertFalse(notice.rest_to or notice.is_suspect)
                self.assertIn(answer.rpartition(' ')[2], self.activities(notice, 'address').note)
                self.assertEqual(self.provider.state, 'ready')

    def test_refusals_of_rests_count(self):
        """Each in the same words, with others: the sender may be meant."""
        notices = self.release(*(self.make_partner(
            name, email=f'{name.lower()}@customer.test, {name.lower()}2@customer.test') for name in ('A', 'B', 'C')))
        self.smtp.set_rules('*2@* rcpt times=3 450 4.2.0 Greylisted\n*2@* rcpt 550 5.1.1 No such user')
        self.run_hours(2)
        self.assertDelivery(notices, 'sent')
        self.assertEqual(self.provider.state, 'paused')
        self.assertIn('in a row', self.provider.pause_reason)
        self.assertFalse(any(notices.partner_id.mapped('dunning_refused_addresses')), "taken back")
        self.assertTrue(any(notices.mapped('rest_to')))

    def test_failed_while_the_rest_is_handed_over(self):
        """What the server says of the rest then is noted, and does not send the notice on its way again."""
        original = smtp.Session.send
        for answer, state in (
                ('451 4.3.0 Try again', 'ready'), ('550 5.1.1 No such user', 'ready'),
                ('550 Outgoing mail from "x" has been suspended.', 'paused')):
            with self.subTest(answer):
                self.smtp.clear()
                self.provider.action_resume()
                self.partner.action_clear_dunning_refused()
                notice = self.release(self.partner)

                def send(session, mail_from, recipients, *args, notice=notice, **values):
                    outcome = original(session, mail_from, recipients, *args, **values)
                    if recipients == ['second@customer.test']:
                        notice.sudo()._set_failed('It came back')
                        self.env.flush_all()
                    return outcome
                self.smtp.set_rules(f'''
                    second@*  rcpt  times=1  450 4.2.0 Greylisted
                    second@*  rcpt  times=1  {answer}''')
                with patch.object(smtp.Session, 'send', send):
                    self.run_hours(4)
                self.assertDelivery(notice, 'failed')
                self.assertEqual(self.recipients(), [['first@customer.test']])
                self.assertEqual(self.provider.state, state)
                self.assertIn('something else', notice.delivery_log_ids.sorted('id')[-1].text)

    def test_fault_while_the_rest_is_made_ready(self):
        """It ends with words: who has the mail has it, and the level counts."""
        notice = self.release(self.partner)
        self.smtp.set_rules('second@* rcpt times=1 450 4.2.0 Greylisted')
        self.run_hours(1)
        self.assertEqual(notice.rest_to, 'second@customer.test')
        self.forge(notice.mail_document_id.sudo(), b'damaged')
        with mute_logger(ENGINE_LOGGER):
            self.run_hours(2)
        self.assertDelivery(notice, 'sent')
        self.assertFalse(notice.rest_to)
        self.assertTrue(notice.is_counted)
        self.assertIn('could not be made', self.activities(notice, 'address').note)
        self.assertEqual(self.recipients(), [['first@customer.test']])
        self.assertFalse(self.activities(notice, 'failed'))

    def test_documents_that_are_not_kept_are_kept_until_then(self):
        self.level_1.report_id.archive_generated = False
        notice = self.release(self.partner)
        self.smtp.set_rules('second@* rcpt times=1 450 4.2.0 Greylisted')
        self.run_hours(2)
        self.assertEqual(self.recipients(), [['first@customer.test'], ['second@customer.test']])
        self.run_engine()
        self.assertFalse(notice.mail_document_id)

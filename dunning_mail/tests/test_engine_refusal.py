"""Whose fault is a refusal? What several of them in a row say, what follows from it, and what is taken back."""

import contextlib
import os
import pathlib
import random
from datetime import timedelta

from odoo import fields
from odoo.exceptions import UserError
from odoo.tests import tagged

from odoo.addons.dunning_mail.models import dunning_engine

from .common import EngineCase
from .refusal_words import get_refusals

FIVE = ('One', 'Two', 'Three', 'Four', 'Five')


class RefusalCase(EngineCase):

    def setUp(self):
        super().setUp()
        self.clerk.lang = 'en_US'
        # Nothing is released while a pass waits.
        self.patch(dunning_engine, 'LOOK_EVERY', 60)

    def marked(self, notices):
        return notices.partner_id.filtered('dunning_email_refused').mapped('name')

    def run_until_paused(self, passes=8):
        for _pass in range(passes):
            self.run_engine()
            if self.provider.state == 'paused':
                return

    def run_all(self, notices, passes=30, hours=1):
        """Run the engine every so many hours until nothing is released."""
        for _pass in range(passes):
            self.run_engine()
            if 'released' not in notices.mapped('delivery_state') and not any(notices.mapped('rest_to')):
                return
            self.clock.tick(3605 * hours)


@tagged('post_install', '-at_install')
class TestRefusals(RefusalCase):

    def test_sender_that_was_stopped(self):
        """As providers answer it; nothing fails, nobody is marked, and all of it goes out when the sender may again."""
        for rule in (
                '* rcpt 550 Requested action not taken: mailbox unavailable',
                '* rcpt 550 Failure sending mail. Try again later',
                '* rcpt 550 Outgoing mail from "x@muster.test" has been suspended.',
                '* mail 552 Your account has been suspended',
                '* rcpt 550',
                '* eod 554 5.7.1 Refused by local policy',
                '* rcpt 550 5.1.1 User unknown'):
            with self.subTest(rule):
                self.smtp.clear()
                notices = self.release(*FIVE)
                self.smtp.set_rules(rule)
                self.run_until_paused()
                self.assertDelivery(notices, 'released')
                self.assertEqual(set(notices.mapped('attempt_count')), {0})
                self.assertFalse(self.marked(notices))
                self.assertFalse(notices.activity_ids)
                self.assertEqual(self.provider.state, 'paused')
                self.assertFalse(self.provider.resume_at, "a person has to ask the mail provider")
                self.smtp.set_rules('')
                self.provider.action_resume()
                self.run_all(notices)
                self.assertDelivery(notices, 'sent')
                self.assertEqual(self.accepted(), 5)
                self.assertFalse(any(notices.mapped('is_suspect')) or any(notices.mapped('waiting_since')))

    def test_still_stopped_after_resume(self):
        notices = self.release(*FIVE)
        self.smtp.set_rules('* rcpt 550 5.1.1 User unknown')
        for _resume in range(3):
            self.run_until_paused()
            self.assertIn('in a row', self.provider.pause_reason)
            self.assertDelivery(notices, 'released')
            self.assertFalse(self.marked(notices))
            self.provider.action_resume()

    def test_unmistakable_in_words_of_their_own(self):
        """Four different servers say that there is no such address: that may be. A fifth is too much of it."""
        notices = self.release(*FIVE, 'Six')
        self.smtp.set_rules('''
            one@*    rcpt  550 5.1.1 User unknown
            two@*    rcpt  550 5.1.1 Recipient does not exist on this server
            three@*  rcpt  550 No such mailbox
            four@*   rcpt  550 Unrouteable address
            five@*   rcpt  550 5.2.1 Account was closed long ago''')
        self.run_engine()
        self.assertDelivery(notices[:5], 'released')
        self.assertFalse(self.marked(notices))
        self.assertEqual(self.provider.state, 'paused')
        self.provider.action_resume()
        self.run_all(notices)
        self.assertEqual(notices.mapped('delivery_state'), [*['failed'] * 5, 'sent'], "the sixth was accepted between")
        self.assertEqual(len(self.marked(notices)), 5)
        order = [event['subjects'][0] for event in self.smtp.events('rcpt') if event.get('subjects')]
        self.assertEqual(len(order), 10, "each of them twice, after the others")

    def test_four_in_words_of_their_own(self):
        notices = self.release(*FIVE)
        self.smtp.set_rules('''
            one@*    rcpt  550 5.1.1 User unknown
            two@*    rcpt  550 5.1.1 Recipient does not exist on this server
            three@*  rcpt  550 No such mailbox
            four@*   rcpt  550 Unrouteable address''')
        self.run_engine()
        self.assertEqual(notices.mapped('delivery_state'), [*['failed'] * 4, 'sent'])
        self.assertEqual(len(self.marked(notices)), 4)

    def test_what_marks_an_address(self):
        """Only what says that the address does not exist or is closed."""
        for number, (answer, is_marked) in enumerate((
                ('550 5.1.1 User unknown', True), ('550 no such user', True), ('550 5.2.1 Mailbox closed', True),
                ('550', False), ('550 Rejected', False), ('552 5.2.2 Mailbox full', False),
                ('552 5.3.4 Message too big', False), ('550 5.7.1 Blocked by policy', False),
                ('550 5.1.1 Rejected as spam, user unknown', False), ('554 <no-such-user@x.test> refused', False),
                ('550 5.1.1 undeliverable address: host mx said: 550 SPF check failed', False))):
            with self.subTest(answer):
                self.smtp.clear()
                notices = self.release(f'Odd {number}', f'Good {number}')
                self.smtp.set_rules(f'odd* rcpt {answer}')
                self.run_engine()
                self.assertEqual(notices.mapped('delivery_state'), ['failed', 'sent'], notices.mapped('delivery_info'))
                self.assertEqual(bool(self.marked(notices)), is_marked)
                self.assertEqual(self.provider.state, 'ready')

    def test_marks_are_taken_back(self):
        """Whatever of a customer's addresses was marked, in whichever words, and whatever has become of the notice."""
        both = {name: f'{name}1@customer.test, {name}2@customer.test' for name in ('all', 'some', 'later')}
        partners = [self.make_partner(name, email=address) for name, address in both.items()]
        notices = self.release(*partners, 'Paper', 'Last')
        self.provider.send_interval = 3600
        self.smtp.set_rules('''
            all1@*    rcpt  550 5.1.1 No such user, dear all1
            all2@*    rcpt  550 5.1.1 User unknown
            some1@*   rcpt  550 5.1.1 Recipient does not exist
            some2@*   rcpt  550 Rejected
            later1@*  rcpt  550 5.1.1 Unknown user
            later2@*  rcpt  450 4.3.0 Try later
            paper@*   rcpt  550 5.1.1 Unrouteable address
            *         rcpt  550 Rejected''')
        marks = []
        for _hour in range(4):
            self.run_engine()
            self.clock.tick(3605)
        marks = [(partner.dunning_email_refused, partner.dunning_refused_addresses)
                 for partner in notices.partner_id]
        self.assertEqual(marks[0][0], True)
        self.assertEqual([mark[1] for mark in marks[1:3]], ['some1@customer.test', 'later1@customer.test'])
        self.assertTrue(marks[3][0])
        notices[3].action_set_paper()
        self.smtp.set_rules('* rcpt 550 Rejected')
        for _hour in range(4):
            self.run_engine()
            self.clock.tick(3605)
        self.assertEqual(self.provider.state, 'paused')
        self.assertFalse(notices.partner_id.filtered(
            lambda partner: partner.dunning_email_refused or partner.dunning_refused_addresses).mapped('name'))
        self.assertEqual(notices[3].delivery_state, 'paper')

    def test_two_notices_to_one_recipient(self):
        """They count as one recipient, and both are released again."""
        partner = self.make_partner('Twice')
        notices = self.release(partner) | self.release(partner, amount=20.0) | self.release('Two', 'Three')
        self.smtp.set_rules('* rcpt 550 Rejected')
        self.run_until_paused()
        self.assertEqual(len(self.smtp.events('rcpt')), 4)
        self.assertDelivery(notices, 'released')

    def test_limit_of_recipients_of_one_mail_each(self):
        """It is no mail's number of recipients where each has one: the provider waits, and nobody loses attempts."""
        for answer in ('452 4.5.3 Recipients limit exceeded', '452 Too many recipients received this hour',
                       '450 4.7.1 Error: too many recipients from 192.0.2.1'):
            with self.subTest(answer):
                self.smtp.clear()
                notices = self.release(*FIVE)
                self.smtp.set_rules(f'* rcpt skip=2 times=9 {answer}')
                self.run_all(notices)
                self.assertDelivery(notices, 'sent')
                self.assertEqual(set(notices.mapped('attempt_count')), {1})
                self.assertEqual(self.accepted(), 5)

    def test_a_person_decides_in_between(self):
        """What was put on paper or cancelled meanwhile stays so."""
        notices = self.release(*FIVE)
        self.provider.send_interval = 3600
        self.smtp.set_rules('* rcpt 550 Rejected')
        for _hour in range(2):
            self.run_engine()
            self.clock.tick(3605)
        notices[0].action_set_paper()
        notices[1].action_cancel()
        self.run_engine()
        self.assertEqual(notices.mapped('delivery_state'), ['paper', 'failed', 'released', 'released', 'released'])
        self.assertEqual(notices[1].state, 'cancelled')
        self.assertEqual(self.provider.state, 'paused')

    def test_item_that_is_on_another_notice_by_now(self):
        notices = self.release('One', 'Two', 'Three')
        self.provider.send_interval = 3600
        self.smtp.set_rules('* rcpt 550 Rejected')
        for _hour in range(2):
            self.run_engine()
            self.clock.tick(3605)
        self.assertEqual(notices.mapped('delivery_state'), ['failed', 'failed', 'released'])
        self.make_run(partner_ids=notices[0].partner_id.ids)
        self.run_engine()
        self.assertEqual(notices.mapped('delivery_state'), ['failed', 'released', 'released'])

    def test_passing_refusals_in_a_row(self):
        """A server that has no time for anybody uses up nobody's attempts for hours."""
        notices = self.release(*FIVE)
        self.smtp.set_rules('* rcpt 451 4.3.0 Mail server configuration changed')
        for _pass in range(6):
            self.run_engine()
            self.clock.tick(2 * 3605)
        self.assertDelivery(notices, 'released')
        self.assertLess(max(notices.mapped('attempt_count')), 3)
        self.assertTrue(self.provider.resume_at)
        self.smtp.set_rules('')
        self.run_all(notices)
        self.assertDelivery(notices, 'sent')
        self.assertEqual(self.accepted(), 5)

    def test_greylisting_of_many(self):
        notices = self.release(*FIVE)
        self.smtp.set_rules('\n'.join(f'{name}@* rcpt times=1 450 4.2.0 Greylisted' for name in map(str.lower, FIVE)))
        self.run_all(notices)
        self.assertDelivery(notices, 'sent')
        self.assertEqual(set(notices.mapped('attempt_count')), {2})

    # === LIMITS === #

    def test_limits_cost_no_attempts(self):
        for rule in (
                '* rcpt skip=3 times=9 450 Requested action not taken: mailbox unavailable. Mail send limit exceeded.',
                '* rcpt skip=3 times=9 550 Requested action not taken: mailbox unavailable Mail send limit exceeded',
                '* rcpt skip=3 times=9 450 Mail send limit exceeded',
                '* eod skip=1 times=9 432 4.3.2 Concurrent connections limit exceeded',
                '* mail skip=1 times=9 432 4.3.2 Concurrent connections limit exceeded',
                '* auth times=3 432 4.3.2 Concurrent connections limit exceeded',
                '* eod skip=1 times=9 421 4.4.5 Server busy'):
            with self.subTest(rule):
                self.smtp.clear()
                notices = self.release(*FIVE)
                self.smtp.set_rules(rule)
                self.run_all(notices)
                self.assertDelivery(notices, 'sent')
                self.assertEqual(set(notices.mapped('attempt_count')), {1})
                self.assertEqual(self.accepted(), 5)
                self.assertFalse(self.marked(notices))
                self.assertEqual(self.provider.state, 'ready')

    def test_limit_of_a_session(self):
        """A session that has taken mail and takes no more is opened anew."""
        for rule in (
                'mail {} 451 4.7.0 Mails per session limit', 'mail {} 421 Maximum message count per session reached',
                     'rcpt {} 452 4.4.5 Maximum number of messages per session exceeded', 'mail {} drop',
                     'mail {} 550 5.7.0 No more mail in this session'):
            with self.subTest(rule):
                self.smtp.clear()
                notices = self.release(*(f'Partner {number}' for number in range(7)))
                self.smtp.set_rules('\n'.join('* ' + rule.format(f'skip={skip} times=1') for skip in (3, 6)))
                self.run_engine()
                self.assertDelivery(notices, 'sent')
                self.assertEqual(set(notices.mapped('attempt_count')), {1})
                self.assertEqual(self.accepted(), 7)
                self.assertEqual(len([event for event in self.smtp.events('connect') if event.get('peer')]), 3)

    def test_server_that_closes_idle_sessions_early(self):
        notices = self.release('One', 'Two')
        self.provider.send_interval = 3
        original = self.env.registry['dunning.engine']._lock_next_notice

        def lock(engine, provider):
            if self.smtp.messages:
                for connection in list(self.smtp.connections):
                    self.smtp.loop.call_soon_threadsafe(connection.abort)
                self.smtp.wait_for(lambda server: not server.connections)
            return original(engine, provider)
        self.patch(self.env.registry['dunning.engine'], '_lock_next_notice', lock)
        self.run_engine()
        self.assertDelivery(notices, 'sent')
        self.assertEqual(notices.mapped('attempt_count'), [1, 1])

    def test_nothing_at_mail_is_the_notices(self):
        for answer in ('451 4.3.0 Try again', 'drop', 'garbage', '450 4.2.0 Greylisted', '421 4.3.2 Come later'):
            with self.subTest(answer):
                self.smtp.clear()
                notices = self.release('One', 'Two')
                self.smtp.set_rules(f'* mail times=4 {answer}')
                self.run_all(notices)
                self.assertDelivery(notices, 'sent')
                self.assertEqual(notices.mapped('attempt_count'), [1, 1])

    # === ONE ALONE === #

    def test_notice_that_alone_meets_a_providers_fault(self):
        """It is set aside and named, and never holds up the others."""
        for answer in ('550 SPF check failed', '554 5.7.1 Relay access denied', '550 5.7.1 Your account is blocked'):
            with self.subTest(answer):
                self.smtp.clear()
                odd, *_others = notices = self.release('Odd', *FIVE)
                self.smtp.set_rules(f'odd@* rcpt {answer}')
                self.run_engine()
                self.assertDelivery(notices[1:], 'sent')
                self.assertDelivery(odd, 'failed')
                self.assertIn(answer, odd.delivery_info)
                self.assertIn(answer, self.activities(odd, 'failed').note)
                self.assertEqual(self.provider.state, 'ready')
                self.assertFalse(self.marked(notices))

    def test_providers_fault_that_nobody_else_can_decide(self):
        notice = self.release('Odd')
        self.smtp.set_rules('* rcpt 554 5.7.1 Relay access denied')
        self.run_engine()
        self.assertDelivery(notice, 'released')
        self.assertEqual(notice.attempt_count, 0)
        self.assertEqual((self.provider.state, self.provider.resume_at), ('paused', False))
        self.assertEqual(len(self.smtp.events('rcpt')), 2)

    def test_the_next_one_decides_at_its_pace(self):
        self.provider.send_interval = 600
        notices = self.release('Odd', 'Good')
        self.smtp.set_rules('odd@* rcpt 554 5.7.1 Relay access denied')
        self.run_engine()
        self.assertDelivery(notices, 'released')
        self.assertGreater(self.provider.next_send_at, fields.Datetime.now() + timedelta(minutes=8))
        self.run_all(notices)
        self.assertEqual(notices.mapped('delivery_state'), ['failed', 'sent'])

    def test_address_that_is_refused_for_another_reason(self):
        """A code that speaks of the address, words that do not: others get their mail without a person."""
        odd, *_others = notices = self.release('Odd', *FIVE)
        self.smtp.set_rules(
            'odd@* rcpt 550 5.1.1 <odd@customer.test>: undeliverable address: host mx said: 550 SPF check failed')
        self.run_engine()
        self.assertDelivery(odd, 'failed')
        self.assertDelivery(notices[1:], 'sent')
        self.assertFalse(self.marked(notices))

    def test_notice_that_alone_meets_a_limit(self):
        """It waits by itself, and after three days a person is asked."""
        odd, *_others = notices = self.release('Odd', *FIVE)
        self.smtp.set_rules('odd@* rcpt 450 Mail send limit exceeded')
        self.run_all(notices, passes=3)
        self.assertDelivery(notices[1:], 'sent')
        self.assertDelivery(odd, 'released')
        self.assertEqual(odd.attempt_count, 0)
        self.assertEqual(self.provider.state, 'ready')
        self.run_all(notices, passes=16, hours=6)
        self.assertDelivery(odd, 'failed')
        self.assertTrue(self.activities(odd, 'failed'))
        self.assertLess(fields.Datetime.now() - odd.delivery_log_ids.sorted('id')[0].date, timedelta(hours=80))

    def test_waiting_for_what_should_pass_ends_at_a_person(self):
        notices = self.release('One', 'Two')
        self.smtp.set_rules('* mail 450 4.7.1 Come again')
        for _pass in range(14):
            self.run_engine()
            self.clock.tick(6 * 3605)
        self.assertDelivery(notices, 'released')
        self.assertEqual(self.provider.state, 'paused')
        self.assertFalse(self.provider.resume_at)
        self.assertIn('72', self.provider.pause_reason)
        self.smtp.set_rules('')
        self.run_engine()
        self.assertFalse(self.smtp.messages)
        self.provider.action_resume()
        self.run_all(notices)
        self.assertDelivery(notices, 'sent')

    # === WHAT WE FOUND OUT OURSELVES === #

    def test_own_limits_are_said_to_be_ours(self):
        with self.smtpd_module.SmtpServer(
                cert=self.smtp_certs('pem'), key=self.smtp_certs('key'), user='dunning', password='geheim',
                max_size=900) as small:
            self.provider.smtp_port = small.port
            notices = self.release('One', 'Two', 'Three')
            self.run_engine()
        self.provider.smtp_port = self.smtp.port
        self.assertDelivery(notices, 'failed')
        self.assertEqual(self.provider.state, 'ready')
        for notice in notices:
            self.assertIn('larger than the mail server takes', notice.delivery_info)
            self.assertNotIn('refused', notice.delivery_info)
        self.assertFalse(self.marked(notices))

    def smtp_certs(self, suffix):
        return str(pathlib.Path(os.environ['DUNNING_TEST_CERTS']) / f'server.{suffix}')

    # === BY CHANCE === #

    def test_refusals_by_chance(self):
        """Providers, dead addresses, limits and stopped senders by chance: no address that takes mail is marked, those
        that are dead are, and everything that is accepted is accepted once."""
        dead_count = marked_count = 0
        for seed in (3, 14, 159):
            with self.subTest(seed=seed):
                dead = self._try_by_chance(random.Random(seed))
                dead_count += len(dead)
                marked_count += len(dead.filtered(lambda n: n.partner_id.dunning_email_refused))
        self.assertGreaterEqual(marked_count, 0.95 * dead_count)

    def _try_by_chance(self, chance):
        self.smtp.clear()
        names = [f'Partner {chance.random()}' for _number in range(14)]
        notices = self.release(*names)
        dead = notices.filtered(lambda _notice: chance.random() < 0.25)
        server = ChanceServer(chance, self.smtpd_module.Rule, set(dead.mapped('email_to')))
        self.patch(self.smtp.rules, 'find', server.find)
        for _round in range(120):
            self.run_engine()
            if 'released' not in notices.mapped('delivery_state'):
                failed = (notices - dead).filtered(lambda notice: notice.delivery_state == 'failed')
                if not failed:
                    break
                # The last ones, after which nobody was left to decide: a person was told, and sends them again.
                self.assertFalse(self.marked(failed))
                self.assertEqual(len(self.activities(failed, 'failed')), len(failed))
                server.stopped = None
                failed.action_retry()
            if self.provider.state == 'paused' and not self.provider.resume_at:
                # She asks the mail provider, and another customer is dunned meanwhile.
                server.stopped = None
                notices |= self.release(f'Later {chance.random()}')
                with contextlib.suppress(UserError):
                    self.provider.action_resume()
            self.clock.tick(chance.choice((60, 600, 3600)))
        good = notices - dead
        self.assertFalse(self.marked(good))
        self.assertDelivery(dead, 'failed')
        self.assertDelivery(good, 'sent')
        for notice in good:
            self.assertEqual(self.accepted(notice), 1)
        self.assertEqual(self.accepted(), len(good))
        return dead


class ChanceServer:
    """Answers in the words of providers; takes a fit now and then, until somebody asks or it passes."""

    def __init__(self, chance, rule_class, dead):
        self.chance = chance
        self.rule_class = rule_class
        self.unknown = {to: chance.choice(get_refusals('unknown')) for to in dead}
        self.stopped = None
        self.limit, self.limit_left = None, 0
        self.fits = 0

    def find(self, stage, subjects):
        if stage == 'mail' and not self.stopped and not self.limit_left and self.fits < 4:
            if self.chance.random() < 0.1:
                self.stopped = self.chance.choice(get_refusals('stopped') + get_refusals('other'))
                self.fits += 1
            elif self.chance.random() < 0.12:
                self.limit, self.limit_left = self.chance.choice(get_refusals('limit')), self.chance.randint(1, 4)
                self.fits += 1
        if self.stopped and self.stopped[1] == stage:
            return self._answer(stage, self.stopped, subjects)
        if self.limit_left and self.limit[1] == stage:
            self.limit_left -= 1
            return self._answer(stage, self.limit, subjects)
        if stage == 'rcpt' and subjects[0] in self.unknown:
            return self._answer(stage, self.unknown[subjects[0]], subjects)
        return None

    def _answer(self, stage, refusal, subjects):
        _provider, _stage, code, words = refusal
        return self.rule_class.parse(f"* {stage} {code} {words.replace('{to}', subjects[0])}")

"""Reports about a mail that came back: which notice they are about, and what becomes of it."""
import base64
import re

from odoo.exceptions import UserError
from odoo.tests import tagged

from . import reports
from .common import ReportCase
from .reports import EXCHANGE, FORMATS, POSTFIX, SES


@tagged('post_install', '-at_install')
class TestBounces(ReportCase):

    def setUp(self):
        super().setUp()
        self.make_letters_simple()

    def last_log(self, notice):
        return notice.delivery_log_ids.sorted('id')[-1]

    # === PROVEN === #

    def test_proven(self):
        """It bears the envelope's number: the notice has failed, does not count, and its address is marked."""
        notice, other = self.send('Acme', 'Other')
        self.assertEqual(self.message_of(notice).envelope_id, notice._get_envelope_id())
        self.assertNotIn(notice._get_envelope_id(), self.message_of(notice).content.decode())
        self.assertTrue(notice.is_counted)
        self.receive(self.fill(POSTFIX, notice, is_proven=True))
        self.assertEqual(notice.delivery_state, 'failed')
        self.assertRegex(
            notice.delivery_info, r'(?s)(diese Adresse gibt es nicht|no such address).*550 5\.1\.1.*User unknown')
        self.assertFalse(notice.is_counted, "it did not reach the customer")
        self.assertFalse(self.receivable(notice.line_ids.move_id).dunning_level_id)
        self.assertEqual((self.asked(notice), notice.activity_ids.user_id), (['failed'], self.clerk))
        self.assertTrue(notice.partner_id.dunning_email_refused)
        self.assertIn('User unknown', notice.partner_id.dunning_email_refused_reason)
        log = self.last_log(notice)
        self.assertEqual((log.state_from, log.state_to, log.stage, log.code, log.host, log.recipient_count),
                         ('sent', 'failed', 'bounce', '5.1.1', 'mx.customer.test', 0))
        kept = notice.report_ids
        self.assertEqual(
            (kept.address, kept.action, kept.status, kept.is_ours, kept.is_proven, kept.incoming_id.state),
            ('acme@customer.test', 'failed', '5.1.1', True, True, 'done'))
        self.assertEqual(other.delivery_state, 'sent')
        self.receive(self.fill(POSTFIX, notice, is_proven=True).replace('4Xyz@mx', '5Xyz@mx'))
        self.assertEqual(len(notice.activity_ids), 1, "once more changes nothing")

    def test_proven_ones_of_other_kinds(self):
        """Unclear becomes failed too; policy blames no address; a passing fault that was given up neither; nor does one
        that says nothing; a trial's address is not the customer's."""
        unclear = self.release('Unclear')
        self.smtp.set_rules('* eod accept-then-drop')
        self.run_engine()
        self.smtp.set_rules('')
        policy, late, silent = self.send('Policy', 'Late', 'Silent')
        self.provider.redirect_to = 'trial@muster.test'
        trial = self.send('Trial')
        words = 'smtp; 550 5.1.1 <{to}>: Recipient address rejected: User unknown\n    in virtual mailbox table'
        for notice, is_marked, template in (
                (unclear, True, POSTFIX),
                (policy, False, POSTFIX.replace(words, 'smtp; 550 5.7.1 Message rejected as spam').replace(
                    'Status: 5.1.1', 'Status: 5.7.1')),
                (late, False, POSTFIX.replace(words, 'X-Postfix; delivery temporarily suspended').replace(
                    'Status: 5.1.1', 'Status: 4.4.1')),
                (silent, False, re.sub(r'<{to}>: host .*\n.*', '<{to}>: failed', POSTFIX).replace(
                    f'Diagnostic-Code: {words}\n', '').replace(
                    'Status: 5.1.1', 'Status: 5.0.0').replace('Action: failed', 'Action: failed (permanent)')),
                (trial, False, POSTFIX)):
            with self.subTest(notice.partner_id.name):
                self.receive(self.fill(template, notice, to=notice.redirected_to, is_proven=True))
                self.assertEqual(notice.delivery_state, 'failed')
                self.assertEqual(notice.partner_id.dunning_email_refused, is_marked)

    def test_own_system(self):
        """It lay in the provider's own mailbox, and never came in from outside: that system has written it."""
        mailbox = self.make_mailbox()
        inside = 'Received: by mx.muster.test (Postfix)\n\tid 4Xyz; Tue, 24 Nov 2026 09:00:00 +0100 (CET)\n'
        outside = 'Received: from mx.customer.test (mx.customer.test [192.0.2.7])\n\tby mx.muster.test (Postfix)' \
            ' with ESMTPS id 4Xyz;\n\tTue, 24 Nov 2026 09:00:00 +0100 (CET)\n'
        logged_in = 'Received: from pc.muster.test (pc.muster.test [192.0.2.8])\n\tby mx.muster.test (Postfix)' \
            ' with ESMTPSA id 4Xyz;\n\tTue, 24 Nov 2026 09:00:00 +0100 (CET)\n'
        own, foreign, user, elsewhere, sender, none = self.send('Own', 'Foreign', 'User', 'Elsewhere', 'Sender', 'None')
        for notice, trace, box, state in (
                (own, inside, mailbox, 'failed'), (foreign, outside + inside, mailbox, 'sent'),
                (user, logged_in, mailbox, 'sent'), (elsewhere, inside, None, 'sent'),
                (sender, inside, mailbox, 'sent'), (none, '', mailbox, 'sent')):
            with self.subTest(notice.partner_id.name):
                report = trace + self.fill(POSTFIX, notice)
                if notice == sender:
                    report = report.replace('Return-Path: <>', 'Return-Path: <sender@customer.test>')
                self.receive(report, box)
                self.assertEqual(notice.delivery_state, state)
                self.assertEqual(self.asked(notice), ['failed' if state == 'failed' else 'returned'])

    def test_forged_code(self):
        """A number that was guessed, another notice's, or that of an earlier mail proves nothing."""
        victim, other, earlier = self.send('Victim', 'Other', 'Earlier')
        old_code = earlier._get_envelope_id()
        earlier.sudo().message_id = '<later@muster.test>'
        for notice, code in (
                (victim, f'dunning-{victim.id}-{"0" * 32}'), (victim, other._get_envelope_id()),
                (victim, 'dunning-x-y'), (victim, f'dunning-{victim.id}-'), (earlier, old_code)):
            with self.subTest(code):
                self.receive(self.fill(POSTFIX, notice).replace(
                    'X-Postfix-Sender', f'Original-Envelope-Id: {code}\nX-Postfix-Sender').replace('4Xyz@', f'{code}@'))
                self.assertEqual((victim.delivery_state, earlier.delivery_state), ('sent', 'sent'))
        self.assertEqual(other.delivery_state, 'sent')
        self.assertFalse((victim | other | earlier).partner_id.filtered('dunning_email_refused'))

    # === NOT PROVEN: A PERSON SAYS === #

    def test_formats(self):
        """Whatever program has written it: who answers for the notice is asked, with the words in view."""
        notices = self.send(*FORMATS, 'Other')
        for notice, (name, template) in zip(notices, FORMATS.items(), strict=False):
            with self.subTest(name):
                self.receive(self.fill(template, notice))
                self.assertEqual((notice.delivery_state, notice.is_return_reported), ('sent', True))
                self.assertEqual(self.asked(notice), ['returned'])
                self.assertIn(notice.email_to, notice.return_info)
                self.assertRegex(notice.return_info, '550[ -]5.1.1')
                self.assertIn('5.1.1', notice.activity_ids.note)
                self.assertRegex(self.last_log(notice).code, r'^5\.')
                self.assertFalse(notice.partner_id.dunning_email_refused)
                notice.with_user(self.clerk).action_confirm_returned()
                self.assertEqual((notice.delivery_state, notice.is_return_reported), ('failed', False))
                self.assertEqual(self.asked(notice), ['failed'])
                self.assertTrue(notice.partner_id.dunning_email_refused)
        self.assertEqual((notices[-1].delivery_state, notices[-1].activity_ids.ids), ('sent', []))

    def test_has_arrived_all_the_same(self):
        notice = self.send('Acme')
        self.receive(self.fill(POSTFIX, notice))
        notice.with_user(self.clerk).action_deny_returned()
        self.assertEqual((notice.delivery_state, notice.is_return_reported), ('sent', False))
        self.assertFalse(notice.activity_ids)
        self.assertFalse(notice.partner_id.dunning_email_refused)
        self.assertIn('Petra Muster', self.last_log(notice).text)
        for action in ('action_confirm_returned', 'action_deny_returned'):
            with self.assertRaises(UserError):
                getattr(notice.with_user(self.clerk), action)()

    def test_question_ends_with_the_next_step(self):
        """Cancelled meanwhile, or proven by a second report: nobody is asked any more."""
        cancelled, proven = self.send('Cancelled', 'Proven')
        for notice in (cancelled, proven):
            self.receive(self.fill(POSTFIX, notice).replace('4Xyz@', f'{notice.id}@'))
        cancelled.with_user(self.clerk).action_cancel()
        self.receive(self.fill(POSTFIX, proven, is_proven=True))
        self.assertEqual((self.asked(cancelled), self.asked(proven)), ([], ['failed']))
        self.receive(self.fill(POSTFIX, cancelled, is_proven=True).replace('4Xyz@', '9Xyz@'))
        self.assertEqual((cancelled.state, cancelled.delivery_state), ('cancelled', 'sent'))
        self.assertIn('User unknown', cancelled.message_ids[0].body)

    def test_passed_on(self):
        """The address stands for another one, which is dead: maybe not for that one alone. A person knows."""
        alias, redirected, unknown = self.send('Alias', 'Redirected', 'Unknown')
        for notice, final, original, is_named in (
                (alias, 'hans@intern.else.test', alias.email_to, True),
                (redirected, 'info@group.test', f'<{redirected.email_to.upper()}>', True),
                (unknown, 'hans@intern.else.test', None, False)):
            with self.subTest(notice.partner_id.name):
                report = self.fill(POSTFIX, notice, to=final, is_proven=True)
                report = re.sub(
                    'Original-Recipient.*\n', f'Original-Recipient: rfc822;{original}\n' if original else '', report)
                self.receive(report.replace('4Xyz@', f'{notice.id}@'))
                self.assertEqual((notice.delivery_state, self.asked(notice)), ('sent', ['returned']))
                self.assertIn(final, notice.return_info)
                self.assertFalse(notice.partner_id.dunning_email_refused)
                self.assertEqual(notice.report_ids.is_ours, is_named)
                notice.with_user(self.clerk).action_confirm_returned()
                self.assertEqual(notice.delivery_state, 'failed')
                self.assertFalse(notice.partner_id.dunning_email_refused, "who is dead is not the customer's address")

    def test_id_of_the_relay(self):
        """The relay has put its own Message-ID in place of ours."""
        relay_id = '0102019acccc{:04d}-aaaabbbb-cccc-dddd-eeee-ffff00001111-000000'
        with_header, queue, short, nobody = self.send('Header', 'Queue', 'Short', 'Nobody')
        header = {}
        for number, notice in enumerate((with_header, queue, short, nobody)):
            header[notice] = re.sub(
                '(?im)^Message-ID: .*?>', f'Message-ID: <{relay_id.format(number)}@eu-west-1.amazonses.test>',
                self.header_of(notice))
        without = {notice: re.sub('(?im)^X-Odoo-Objects: .*\n', '', text.replace('\r\n', '\n'))
                   for notice, text in header.items()}
        sent = queue.delivery_log_ids.filtered('queue_id')
        sent.queue_id = relay_id.format(1)
        short_id = short.delivery_log_ids.filtered('queue_id').queue_id
        for notice, report, is_found in (
                (with_header, self.fill(SES, with_header, header=header[with_header]), True),
                (queue, self.fill(SES, queue, header=without[queue]), True),
                (short, self.fill(POSTFIX, short, header=without[short]).replace(
                    'Queue-ID: 4Xyz', f'Queue-ID: {short_id}'), True),
                (nobody, self.fill(SES, nobody, header=without[nobody]), False)):
            with self.subTest(notice.partner_id.name):
                self.receive(report.replace('0102019aaaaabbbb', f'0102019aaaaab{notice.id}'))
                self.assertEqual(self.asked(notice), ['returned'] if is_found else [])
                self.assertEqual(notice.delivery_state, 'sent')

    def test_in_other_encodings(self):
        """Status and returned mail in base64 or as global ones, addresses in U-labels: read like any other."""
        partner = self.make_partner('Umlaut', email='konto@müller-ag.test')
        umlaut = self.send(partner)
        self.assertEqual(umlaut.email_to, 'konto@xn--mller-ag-65a.test')
        first, second = self.send('First', 'Second')
        for notice, address, kinds, encoding in (
                (umlaut, 'konto@müller-ag.test', ('global-delivery-status', 'global-headers'), '8bit'),
                (first, first.email_to, ('delivery-status', 'rfc822'), 'base64'),
                (second, second.email_to.upper(), ('global-delivery-status', 'global'), 'base64')):
            with self.subTest(notice.partner_id.name):
                status = (
                    f'Reporting-MTA: dns; mx.muster.test\nOriginal-Envelope-Id: {notice._get_envelope_id()}\n\n'
                    f'Final-Recipient: utf-8; {address}\nAction: failed (permanent)\nStatus: 5.1.1 (unknown)\n')
                header = self.header_of(notice).replace('\r\n', '\n') + '\n\nThe text.\n'
                parts = [
                    base64.encodebytes(text.encode()).decode() if encoding == 'base64' else text
                    for text in (status, header)]
                report = (
                    'From: Mail Delivery <MAILER-DAEMON@mx.muster.test>\nTo: mahnung@muster.test\n'
                    f'Subject: Undelivered\nMessage-ID: <{notice.id}@mx.muster.test>\nMIME-Version: 1.0\n'
                    'Content-Type: multipart/report; report-type=delivery-status; boundary=b\n\n'
                    '--b\nContent-Type: text/plain\n\nSorry.\n\n'
                    + ''.join(f'--b\nContent-Type: message/{kind}\nContent-Transfer-Encoding: {encoding}\n\n{part}\n'
                              for kind, part in zip(kinds, parts, strict=True)) + '--b--\n')
                self.receive(report.replace('\n', '\r\n').encode())
                self.assertEqual(notice.delivery_state, 'failed')
                self.assertTrue(notice.partner_id.dunning_email_refused)

    def test_one_of_two_addresses(self):
        partner = self.make_partner('Two', email='a@customer.test, ba@customer.test')
        notice = self.send(partner)
        self.receive(self.fill(POSTFIX, notice, to='ba@customer.test', is_proven=True))
        self.assertEqual(
            (notice.delivery_state, self.asked(notice)), ('sent', ['returned']), "the other address has it")
        self.assertFalse(partner.dunning_email_refused)
        self.assertIn('ba@customer.test', notice.message_ids[0].body)
        self.assertEqual(self.last_log(notice).stage, 'bounce')
        self.receive(self.fill(POSTFIX, notice, to='a@customer.test', is_proven=True).replace('4Xyz@mx', '5Xyz@mx'))
        self.assertEqual((notice.delivery_state, self.asked(notice)), ('failed', ['failed']))
        self.assertTrue(partner.dunning_email_refused)

    def test_one_proven_of_two_addresses(self):
        """It proves nothing of the other one: not with a report that anybody can have written, nor with one that a
        person has denied, or about an earlier handover of the same bytes."""
        forged, denied, earlier = (self.make_partner(name, email=f'{name}@customer.test, b-{name}@customer.test')
                                   for name in ('forged', 'denied', 'earlier'))
        for partner, is_proven in ((forged, False), (denied, True), (earlier, True)):
            with self.subTest(partner.name):
                notice = self.send(partner)
                first, second = notice.email_to.split(', ')
                self.receive(self.fill(POSTFIX, notice, to=first, is_proven=is_proven).replace(
                    '4Xyz@mx', f'{notice.id}a@mx'))
                self.assertEqual((notice.delivery_state, self.asked(notice)), ('sent', ['returned']))
                if partner == denied:
                    notice.with_user(self.clerk).action_deny_returned()
                elif partner == earlier:
                    notice.with_user(self.clerk).action_confirm_returned()
                    partner.action_clear_dunning_refused()
                    self.clock.tick(60)
                    notice.with_user(self.clerk).action_retry()
                    message_id = notice.message_id
                    self.run_engine()
                    self.assertEqual((notice.delivery_state, notice.message_id), ('sent', message_id))
                self.clock.tick(60)
                self.receive(self.fill(POSTFIX, notice, to=second, is_proven=True).replace(
                    '4Xyz@mx', f'{notice.id}b@mx'))
                self.assertEqual((notice.delivery_state, 'returned' in self.asked(notice)), ('sent', True))
                self.assertFalse(partner.dunning_email_refused)
                self.receive(self.fill(POSTFIX, notice, to=first, is_proven=True).replace(
                    '4Xyz@mx', f'{notice.id}c@mx'))
                self.assertEqual(notice.delivery_state, 'failed')

    def test_neighbour_at_the_same_hoster(self):
        """His absence assistant answers without a sender, in whatever form he wants: that is no system's report."""
        mailbox = self.make_mailbox()
        notice = self.send('Acme')
        trace = ('Received: from mail.muster.test (localhost [127.0.0.1])\n\tby mx.muster.test (Postfix) with ESMTP id '
                 '4Xyz;\n\tTue, 24 Nov 2026 09:00:00 +0100 (CET)\n')
        self.receive(trace + self.fill(POSTFIX, notice).replace(
            'MAILER-DAEMON@mx.muster.test (Mail Delivery System)', notice.email_to), mailbox)
        self.assertEqual((notice.delivery_state, self.asked(notice)), ('sent', ['returned']))

    def test_original_missing(self):
        """The report is an answer to the mail, or its text names it."""
        answered, mentioned, neither = self.send('Answered', 'Mentioned', 'Neither')
        cut = re.sub(
            r'--4Xyz.1700000000/mx.muster.test\nContent-Description: Undelivered.*', '', POSTFIX, flags=re.DOTALL)
        cut += '--4Xyz.1700000000/mx.muster.test--\n'
        self.receive(self.fill(cut, answered).replace('Subject:', f'In-Reply-To: {answered.message_id}\nSubject:', 1))
        self.receive(self.fill(cut, mentioned).replace(
            '4Xyz@mx', '5Xyz@mx').replace("I'm sorry", f"Message {mentioned.message_id}: I'm sorry", 1))
        self.receive(self.fill(cut, neither).replace('4Xyz@mx', '6Xyz@mx'))
        self.assertEqual(
            [self.asked(notice) for notice in (answered, mentioned, neither)], [['returned'], ['returned'], []])
        self.assertEqual(neither.delivery_state, 'sent')

    def test_several_mentioned(self):
        """Two Message-IDs, and an address that fits one of them."""
        one, two = self.send('One', 'Two')
        cut = EXCHANGE.replace('Content-Type: message/rfc822', 'Content-Type: application/octet-stream')
        text = self.fill(cut, one, header='gone').replace(
            f'References: {one.message_id}', f'References: {one.message_id} {two.message_id}')
        self.receive(text)
        self.assertEqual((one.delivery_state, two.delivery_state), ('sent', 'sent'))
        self.assertEqual((self.asked(one), self.asked(two)), (['returned'], []))
        self.assertIn('RecipientNotFound', one.message_ids[0].body)

    def test_forged(self):
        """Whoever has the mail can write such a report: it changes no state and marks no address."""
        victim, other = self.send('Victim', 'Other')
        header = self.header_of(other)
        for number, (name, values) in enumerate({
                'complete': {},
                "another notice's recipient": {'to': other.email_to},
                "a stranger's address": {'to': 'stranger@else.test'},
                'a Message-ID that nobody gave': {'message_id': '<1@forged.test>', 'header': re.sub(
                    'Message-Id: .*', 'Message-ID: <1@forged.test>', self.header_of(victim), flags=re.IGNORECASE)},
                "another's mail, an answer to the victim's": {'header': header}}.items()):
            for template in (POSTFIX, EXCHANGE):
                with self.subTest(name):
                    text = self.fill(template, victim, **values)
                    self.receive(re.sub('(Message-I[dD]: <2)', rf'\g<1>{number}', text, count=1))
                    self.assertEqual((victim.delivery_state, other.delivery_state), ('sent', 'sent'))
        self.assertFalse((victim | other).partner_id.filtered('dunning_email_refused'))
        self.assertEqual((self.asked(victim), self.asked(other)), (['returned'], ['returned']))

    def test_handed_in_by_a_user(self):
        """Whoever may log in can hand in a mail, and say that Odoo has read it: that proves nothing."""
        mailbox = self.make_mailbox()
        notice = self.send('Acme')
        report = 'Received: by mx.muster.test (Postfix) id 4Xyz; Tue, 24 Nov 2026 09:00:00 +0100\n' + self.fill(
            POSTFIX, notice)
        with self.enter_registry_test_mode():
            self.env['mail.thread'].with_user(self.clerk).with_context(
                default_fetchmail_server_id=mailbox.id).message_process(False, report)
        self.run_incoming()
        self.assertEqual((notice.delivery_state, self.asked(notice)), ('sent', ['returned']))

    # === UNDER WAY, ON PAPER === #

    def test_delayed(self):
        for name, template in (('Postfix', POSTFIX), ('Exchange', EXCHANGE)):
            with self.subTest(name):
                notice = self.send(f'Late {name}')
                self.receive(self.fill(template, notice, is_proven=True).replace(
                    'Action: failed', 'Action: delayed').replace('Status: 5.1.1', 'Status: 4.4.1'))
                self.assertEqual(notice.delivery_state, 'sent')
                self.assertFalse(notice.activity_ids)
                self.assertIn('delayed', notice.message_ids[0].body)
                self.assertEqual(notice.report_ids.action, 'delayed')

    def test_on_paper_meanwhile(self):
        """The report is noted and the address marked; the letter stays what it is."""
        _waiting, printed = notices = self.send('Waiting', 'Printed')
        for notice in notices:
            report = self.fill(POSTFIX, notice, is_proven=True)
            notice.sudo()._set_delivery('failed', "The mail came back")
            notice.action_set_paper()
            if notice == printed:
                notice.action_open_document()
                notice.action_mark_printed()
            status = notice.status
            self.receive(report)
            self.assertEqual(notice.status, status)
            self.assertEqual(notice.delivery_state, 'paper')
            self.assertIn('550 5.1.1', self.last_log(notice).text)
            self.assertTrue(notice.partner_id.dunning_email_refused)
        self.assertEqual(notices.mapped('status'), ['paper', 'printed'])

    # === RECEIPTS, COMPLAINTS === #

    def test_read_receipt(self):
        """It is called what it is, and changes nothing: displayed, deleted unread, or without the part that says so."""
        displayed, deleted, bare = self.send('Displayed', 'Deleted', 'Bare')
        for notice, disposition, words in (
                (displayed, 'displayed', 'was opened|geöffnet'), (deleted, 'deleted', 'deleted'), (bare, None, '-')):
            with self.subTest(notice.partner_id.name):
                self.receive(reports.RECEIPT.format(
                    to=notice.email_to, id=notice.message_id, number=notice.id, part=(
                        '--b\nContent-Type: message/disposition-notification\n\nReporting-UA: mail\n'
                        f'Final-Recipient: rfc822; {notice.email_to}\nOriginal-Message-ID: {notice.message_id}\n'
                        f'Disposition: manual-action/MDN-sent-manually; {disposition}\n\n') if disposition else ''))
                self.assertEqual((notice.delivery_state, self.asked(notice)), ('sent', []))
                self.assertRegex(notice.message_ids[0].body, words)
                self.assertFalse(notice.report_ids)

    def test_complaint(self):
        """The mail has arrived, and its reader does not like it: a person is told. Taken out of the spam: noted."""
        abuse, rescued, virus = self.send('Abuse', 'Rescued', 'Virus')
        for notice, feedback, asked in (
                (abuse, 'abuse', ['returned']), (rescued, 'not-spam', []), (virus, 'virus', ['returned'])):
            with self.subTest(feedback):
                self.receive(self.fill(
                    reports.COMPLAINT, notice).replace('{feedback}', feedback).replace('{number}', str(notice.id)))
                self.assertEqual((notice.delivery_state, notice.is_return_reported), ('sent', False))
                self.assertEqual(self.asked(notice), asked)
                self.assertFalse(notice.partner_id.dunning_email_refused)

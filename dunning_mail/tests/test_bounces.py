import email
import email.policy
import re
from email.message import EmailMessage

from odoo.tests import tagged
from odoo.tools import mute_logger

from odoo.addons.dunning_mail.tools import bounce

from .common import MAIL_LOGGERS, MailCase

# As these programs send them, less what does not matter here. {id} is the Message-ID of the mail that came back,
# {header} its header, {to} the recipient.
POSTFIX = '''\
Return-Path: <>
Date: Tue, 24 Nov 2026 09:00:00 +0100 (CET)
From: MAILER-DAEMON@mx.muster.test (Mail Delivery System)
Subject: Undelivered Mail Returned to Sender
To: mahnung@muster.test
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status;
 boundary="4Xyz.1700000000/mx.muster.test"
Content-Transfer-Encoding: 8bit
Message-Id: <20261124080000.4Xyz@mx.muster.test>

This is a MIME-encapsulated message.

--4Xyz.1700000000/mx.muster.test
Content-Description: Notification
Content-Type: text/plain; charset=us-ascii

This is the mail system at host mx.muster.test.

I'm sorry to have to inform you that your message could not
be delivered to one or more recipients. It's attached below.

<{to}>: host mx.customer.test[192.0.2.7] said: 550 5.1.1 <{to}>: Recipient
    address rejected: User unknown in virtual mailbox table (in reply to RCPT TO command)

--4Xyz.1700000000/mx.muster.test
Content-Description: Delivery report
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.muster.test
X-Postfix-Queue-ID: 4Xyz
X-Postfix-Sender: rfc822; mahnung@muster.test
Arrival-Date: Tue, 24 Nov 2026 08:59:00 +0100 (CET)

Final-Recipient: rfc822; {to}
Original-Recipient: rfc822;{to}
Action: failed
Status: 5.1.1
Remote-MTA: dns; mx.customer.test
Diagnostic-Code: smtp; 550 5.1.1 <{to}>: Recipient address rejected: User unknown
    in virtual mailbox table

--4Xyz.1700000000/mx.muster.test
Content-Description: Undelivered Message Headers
Content-Type: text/rfc822-headers
Content-Transfer-Encoding: 8bit

{header}

--4Xyz.1700000000/mx.muster.test--
'''
EXIM = '''\
Return-path: <>
Received: from Debian-exim by mail.muster.test with local (Exim 4.96)
\tid 1rABCD-0001xy-2A
\tfor mahnung@muster.test; Tue, 24 Nov 2026 09:00:00 +0100
X-Failed-Recipients: {to}
Auto-Submitted: auto-replied
From: Mail Delivery System <Mailer-Daemon@mail.muster.test>
To: mahnung@muster.test
References: {id}
Content-Type: multipart/report; report-type=delivery-status; boundary=1732440000-eximdsn-1804289383
MIME-Version: 1.0
Subject: Mail delivery failed: returning message to sender
Message-Id: <E1rABCD-0001xy-2A@mail.muster.test>
Date: Tue, 24 Nov 2026 09:00:00 +0100

--1732440000-eximdsn-1804289383
Content-type: text/plain; charset=us-ascii

This message was created automatically by mail delivery software.

A message that you sent could not be delivered to one or more of its
recipients. This is a permanent error. The following address(es) failed:

  {to}
    host mx.customer.test [192.0.2.7]
    SMTP error from remote mail server after RCPT TO:<{to}>:
    550 5.1.1 User unknown

--1732440000-eximdsn-1804289383
Content-type: message/delivery-status

Reporting-MTA: dns; mail.muster.test

Action: failed
Final-Recipient: rfc822;{to}
Status: 5.0.0
Remote-MTA: dns; mx.customer.test
Diagnostic-Code: smtp; 550 5.1.1 User unknown

--1732440000-eximdsn-1804289383
Content-type: message/rfc822

{header}

The text of the mail.

--1732440000-eximdsn-1804289383--
'''
# Before Exim 4.80, and where it is set so: no standard report.
EXIM_PLAIN = '''\
Return-path: <>
X-Failed-Recipients: {to}
Auto-Submitted: auto-replied
From: Mail Delivery System <Mailer-Daemon@mail.muster.test>
To: mahnung@muster.test
Subject: Mail delivery failed: returning message to sender
Message-Id: <E1rABCD-0001xy-3B@mail.muster.test>
Date: Tue, 24 Nov 2026 09:00:00 +0100

This message was created automatically by mail delivery software.

A message that you sent could not be delivered to one or more of its
recipients. This is a permanent error. The following address(es) failed:

  {to}
    SMTP error from remote mail server after RCPT TO:<{to}>:
    host mx.customer.test [192.0.2.7]: 550 5.1.1 User unknown

------ This is a copy of the message, including all the headers. ------

{header}

The text of the mail.
'''
EXCHANGE = '''\
From: Microsoft Outlook <MicrosoftExchange329e71ec88ae4615bbc36ab6ce41109e@muster.onmicrosoft.test>
To: <mahnung@muster.test>
Date: Tue, 24 Nov 2026 08:00:00 +0000
Content-Type: multipart/report; report-type=delivery-status;
\tboundary="25a1b2c3-0000-4000-8000-000000000001"
X-MS-Exchange-Message-Is-Ndr:
Content-Language: en-US
Message-ID: <25a1b2c3-6f6a@AM0PR01MB0001.eurprd01.prod.exchangelabs.test>
In-Reply-To: {id}
References: {id}
Subject: Undeliverable: Mahnung
Auto-Submitted: auto-replied
MIME-Version: 1.0

--25a1b2c3-0000-4000-8000-000000000001
Content-Type: multipart/alternative; differences=Content-Type;
\tboundary="25a1b2c3-0000-4000-8000-000000000002"

--25a1b2c3-0000-4000-8000-000000000002
Content-Type: text/plain; charset="us-ascii"
Content-Transfer-Encoding: quoted-printable

Delivery has failed to these recipients or groups:=20

{to}<mailto:{to}>
The email address you entered couldn't be found.

--25a1b2c3-0000-4000-8000-000000000002
Content-Type: text/html; charset="us-ascii"

<html><body><p>Your message to {to} couldn't be delivered.</p></body></html>

--25a1b2c3-0000-4000-8000-000000000002--

--25a1b2c3-0000-4000-8000-000000000001
Content-Type: message/delivery-status

Reporting-MTA: dns;AM0PR01MB0001.eurprd01.prod.exchangelabs.test
Received-From-MTA: dns;mail.muster.test
Arrival-Date: Tue, 24 Nov 2026 07:59:58 +0000

Final-Recipient: rfc822;{to}
Action: failed
Status: 5.1.10
Diagnostic-Code: smtp;550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup
X-Display-Name: {to}

--25a1b2c3-0000-4000-8000-000000000001
Content-Type: message/rfc822

{header}

--25a1b2c3-0000-4000-8000-000000000001--
'''
GMAIL = '''\
To: mahnung@muster.test
From: Mail Delivery Subsystem <mailer-daemon@googlemail.com>
Auto-Submitted: auto-replied
Subject: Delivery Status Notification (Failure)
References: {id}
In-Reply-To: {id}
X-Failed-Recipients: {to}
MIME-Version: 1.0
Content-Type: multipart/report; boundary="00000000000011aa22062d0c0001"; report-type=delivery-status
Message-ID: <6744d000.050a0220.1b2c3d.0001.GMR@mx.google.com>
Date: Tue, 24 Nov 2026 00:00:00 -0800 (PST)

--00000000000011aa22062d0c0001
Content-Type: multipart/related; boundary="00000000000011aa33062d0c0002"

--00000000000011aa33062d0c0002
Content-Type: multipart/alternative; boundary="00000000000011aa44062d0c0003"

--00000000000011aa44062d0c0003
Content-Type: text/plain; charset="UTF-8"

** Address not found **

Your message wasn't delivered to {to} because the address couldn't be found, or is unable to receive mail.

--00000000000011aa44062d0c0003--

--00000000000011aa33062d0c0002
Content-Type: image/png; name="icon.png"
Content-Disposition: attachment; filename="icon.png"
Content-Transfer-Encoding: base64
Content-ID: <icon.png>

iVBORw0KGgo=
--00000000000011aa33062d0c0002--

--00000000000011aa22062d0c0001
Content-Type: message/delivery-status

Reporting-MTA: dns; googlemail.com
Arrival-Date: Mon, 23 Nov 2026 23:59:58 -0800 (PST)
X-Original-Message-ID: {id}

Final-Recipient: rfc822; {to}
Action: failed
Status: 5.1.1
Remote-MTA: dns; gmail-smtp-in.l.google.com. (192.0.2.9, the server for the domain customer.test.)
Diagnostic-Code: smtp; 550-5.1.1 The email account that you tried to reach does not exist. Please try
 550-5.1.1 double-checking the recipient's email address for typos or
 550 5.1.1 unnecessary spaces. For more information, go to https://support.google.test/mail/?p=NoSuchUser
Last-Attempt-Date: Tue, 24 Nov 2026 00:00:00 -0800 (PST)

--00000000000011aa22062d0c0001
Content-Type: message/rfc822

{header}

--00000000000011aa22062d0c0001--
'''
FORMATS = {
    'Postfix': POSTFIX, 'Exim': EXIM, 'Exim, plain': EXIM_PLAIN, 'Exchange': EXCHANGE, 'Gmail': GMAIL,
}


@tagged('post_install', '-at_install')
class TestBounces(MailCase):

    def header_of(self, notice):
        return self.message_of(notice).content.split(b'\r\n\r\n')[0].decode()

    def fill(self, template, notice, to=None, header=None, message_id=None):
        return template.replace('{to}', to or notice.email_to).replace(
            '{header}', self.header_of(notice) if header is None else header).replace(
            '{id}', message_id or notice.message_id)

    def receive(self, text):
        message = email.message_from_string(text.replace('\r\n', '\n'), policy=email.policy.SMTP)
        with mute_logger(*MAIL_LOGGERS):
            self.env['mail.thread'].with_user(self.env.ref('base.user_root')).message_process(
                False, message.as_bytes(policy=email.policy.SMTP))
        self.env.invalidate_all()

    def test_formats(self):
        notices = self.send(*FORMATS, 'Other')
        for notice, (name, template) in zip(notices, FORMATS.items(), strict=False):
            with self.subTest(name):
                self.receive(self.fill(template, notice))
                self.assertEqual(notice.delivery_state, 'failed')
                self.assertIn(notice.email_to, notice.delivery_info)
                self.assertRegex(notice.delivery_info, '550[ -]5.1.1')
                log = notice.delivery_log_ids.sorted('id')[-1]
                self.assertEqual((log.stage, log.state_to), ('bounce', 'failed'))
                self.assertRegex(log.code, r'^5\.')
                self.assertTrue(notice.partner_id.dunning_email_refused)
                self.assertEqual(len(notice.activity_ids), 1)
        self.assertEqual(notices[-1].delivery_state, 'sent')

    def test_on_paper_meanwhile(self):
        """The report is noted and the address marked; the letter stays what it is."""
        _waiting, printed = notices = self.send('Waiting', 'Printed')
        for notice in notices:
            report = self.fill(POSTFIX, notice)
            notice.sudo()._set_delivery('failed', "The mail came back")
            notice.action_set_paper()
            if notice == printed:
                notice.action_open_document()
                notice.action_mark_printed()
            status = notice.status
            self.receive(report)
            self.assertEqual(notice.status, status)
            self.assertEqual(notice.delivery_state, 'paper')
            self.assertIn('550 5.1.1', notice.delivery_log_ids.sorted('id')[-1].text)
            self.assertTrue(notice.partner_id.dunning_email_refused)
        self.assertEqual(notices.mapped('status'), ['paper', 'printed'])

    def test_original_missing(self):
        """The report is an answer to the mail, or its text names it: exactly one notice is meant."""
        answered, mentioned, neither = self.send('Answered', 'Mentioned', 'Neither')
        cut = re.sub(
            r'--4Xyz.1700000000/mx.muster.test\nContent-Description: Undelivered.*', '', POSTFIX, flags=re.DOTALL)
        cut += '--4Xyz.1700000000/mx.muster.test--\n'
        self.receive(self.fill(cut, answered).replace('Subject:', f'In-Reply-To: {answered.message_id}\nSubject:', 1))
        self.assertEqual(answered.delivery_state, 'failed')
        self.receive(self.fill(cut, mentioned).replace(
            '4Xyz@mx', '5Xyz@mx').replace("I'm sorry", f"Message {mentioned.message_id}: I'm sorry", 1))
        self.assertEqual(mentioned.delivery_state, 'failed')
        self.receive(self.fill(cut, neither).replace('4Xyz@mx', '6Xyz@mx'))
        self.assertEqual(neither.delivery_state, 'sent')

    def test_several_mentioned(self):
        one, two = self.send('One', 'Two')
        cut = EXCHANGE.replace('Content-Type: message/rfc822', 'Content-Type: application/octet-stream')
        text = self.fill(cut, one, header='gone').replace(
            f'References: {one.message_id}', f'References: {one.message_id} {two.message_id}')
        self.receive(text)
        self.assertEqual((one.delivery_state, two.delivery_state), ('sent', 'sent'), "nobody knows which")
        self.assertIn('RecipientNotFound', one.message_ids[0].body)

    def test_forged(self):
        """A report for a notice it does not belong to changes no state."""
        victim, other = self.send('Victim', 'Other')
        header = self.header_of(other)
        for number, (name, values) in enumerate({
                "another notice's recipient": {'to': other.email_to},
                "a stranger's address": {'to': 'stranger@else.test'},
                'a Message-ID that nobody gave': {'message_id': '<1@forged.test>', 'header': re.sub(
                    'Message-Id: .*', 'Message-ID: <1@forged.test>', self.header_of(victim), flags=re.IGNORECASE)},
                'a Message-ID with something behind it': {'message_id': '<1@forged.test>', 'header': re.sub(
                    '(Message-Id: <.*)>', r'\1.forged>', self.header_of(victim), flags=re.IGNORECASE)},
                "another's mail, an answer to the victim's": {'header': header}}.items()):
            for template in (POSTFIX, EXCHANGE):
                with self.subTest(name):
                    text = self.fill(template, victim, **values)
                    self.receive(re.sub('(Message-I[dD]: <2)', rf'\g<1>{number}', text, count=1))
                    self.assertEqual((victim.delivery_state, other.delivery_state), ('sent', 'sent'))
        self.assertFalse((victim | other).partner_id.filtered('dunning_email_refused'))
        self.assertFalse((victim | other).activity_ids)

    def test_one_of_two_addresses(self):
        partner = self.make_partner('Two', email='a@customer.test, ba@customer.test')
        notice = self.send(partner)
        self.receive(self.fill(POSTFIX, notice, to='ba@customer.test'))
        self.assertEqual(notice.delivery_state, 'sent', "the other address has it")
        self.assertFalse(partner.dunning_email_refused)
        self.assertIn('ba@customer.test', notice.message_ids[0].body)
        self.assertEqual(notice.delivery_log_ids.sorted('id')[-1].stage, 'bounce')
        self.receive(self.fill(POSTFIX, notice, to='a@customer.test').replace('4Xyz@mx', '5Xyz@mx'))
        self.assertEqual(notice.delivery_state, 'failed')
        self.assertTrue(partner.dunning_email_refused)

    def test_delayed(self):
        for name, template in (('Postfix', POSTFIX), ('Exchange', EXCHANGE)):
            with self.subTest(name):
                notice = self.send(f'Late {name}')
                self.receive(self.fill(template, notice).replace('Action: failed', 'Action: delayed').replace(
                    'Status: 5.1.1', 'Status: 4.4.1'))
                self.assertEqual(notice.delivery_state, 'sent')
                self.assertFalse(notice.activity_ids)
                self.assertIn('delayed', notice.message_ids[0].body)

    def test_report_of_an_earlier_mail(self):
        """A mail of a trial comes back after the real one went out: it is another one."""
        self.provider.redirect_to = 'trial@muster.test'
        notice = self.send('Acme')
        text = self.fill(POSTFIX, notice, to='acme@customer.test')
        notice.sudo().message_id = '<later@muster.test>'
        self.receive(text)
        self.assertEqual(notice.delivery_state, 'sent')

    # === WHAT IS NO REPORT === #

    def _answer(self, notice, **headers):
        answer = EmailMessage()
        answer['From'] = f'Kunde <{notice.email_to}>'
        answer['To'] = 'mahnung@muster.test'
        answer['Message-ID'] = f'<answer-{notice.id}@customer.test>'
        answer['In-Reply-To'] = notice.message_id
        answer['References'] = notice.message_id
        for name, value in headers.items():
            answer[name.replace('_', '-')] = value
        return answer

    def test_out_of_office(self):
        """It goes to the chatter and reaches who answers for the run; the notice stays sent."""
        self.clerk.notification_type = 'inbox'
        notice = self.send('Away')
        answer = self._answer(
            notice, Subject='Automatische Antwort: Zahlungserinnerung', Auto_Submitted='auto-replied',
            X_Auto_Response_Suppress='All', Precedence='bulk')
        answer.set_content("Ich bin bis Montag nicht im Haus.")
        self.receive(answer.as_string())
        message = notice.message_ids.filtered(lambda m: m.message_id == answer['Message-ID'])
        self.assertIn('nicht im Haus', message.body)
        self.assertIn(self.clerk.partner_id, message.notification_ids.res_partner_id)
        self.assertEqual(notice.delivery_state, 'sent')
        self.assertFalse(notice.partner_id.dunning_email_refused)

    def test_read_receipt(self):
        notice = self.send('Reader')
        answer = self._answer(notice, Subject='Read: Zahlungserinnerung')
        answer.set_content("Your message was read.")
        answer.add_attachment(
            'Reporting-UA: mail\nFinal-Recipient: rfc822; reader@customer.test\n'
            f'Original-Message-ID: {notice.message_id}\nDisposition: manual-action/MDN-sent-manually; displayed\n',
            subtype='plain', filename='mdn.txt')
        answer.replace_header('Content-Type', answer['Content-Type'].replace(
            'multipart/mixed', 'multipart/report; report-type=disposition-notification'))
        self.receive(answer.as_string())
        self.assertEqual(notice.delivery_state, 'sent')
        self.assertFalse(notice.activity_ids)

    def test_reader_of_odd_reports(self):
        """Whatever comes in: no exception, no recipient that is not there, bounded."""
        for text in (
                '', 'X-Failed-Recipients: \n\nx', 'X-Failed-Recipients: no address\n\nx',
                'Content-Type: text/plain; charset=no-such\nX-Failed-Recipients: a@b.test\n\n<x@y.test>',
                'Content-Type: multipart/report; boundary=b\n\n--b\nContent-Type: message/rfc822\n\n--b--',
                'Content-Type: multipart/report; boundary=b\n\n--b\nContent-Type: text/rfc822-headers\n\n\n\n--b--',
                'References: ' + '<a@b.test> ' * 5000 + '\n\n' + '<' * 100000):
            report = bounce.read_report(email.message_from_string(text, policy=email.policy.SMTP))
            self.assertLessEqual(len(report.mentioned_ids), 1)
        inner = 'Content-Type: message/rfc822\n\nMessage-ID: <outer@x.test>\nContent-Type: message/rfc822\n\n' \
            'Message-ID: <inner@x.test>\n\nbody'
        report = bounce.read_report(email.message_from_string(inner, policy=email.policy.SMTP))
        self.assertEqual(report.original_ids, ('<outer@x.test>',), "not what was attached to it")

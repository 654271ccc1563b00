"""What machines write about a mail, read without a database."""
import email
import email.policy
import re

from odoo.tests import BaseCase, tagged

from odoo.addons.dunning_mail.tools import bounce, bounce_text, mail_trace

from . import reports

HEADER = (
    'Received: from a by b with ESMTP id QQ77;\n Tue\nMessage-ID: <1@muster.test>\nX-Odoo-Objects: dunning.notice-12')


def parse(text):
    return email.message_from_bytes(text.encode() if isinstance(text, str) else text, policy=email.policy.SMTP)


def read(text):
    return bounce.read_report(parse(text))


@tagged('post_install', '-at_install')
class TestReports(BaseCase):

    def test_formats(self):
        """Who, what, why, and which mail: from the standard parts, and from every program's plain text."""
        for name, template in reports.FORMATS.items():
            for to in ('acme@customer.test', "o'neil+mahnung@sub.customer.test"):
                with self.subTest(f'{name} {to}'):
                    report = read(template.replace('{to}', to).replace('{header}', HEADER).replace(
                        '{id}', '<1@muster.test>').replace('{envelope}', ''))
                    self.assertEqual(report.kind, 'delivery')
                    recipient, = report.recipients
                    self.assertEqual((recipient.address, recipient.action), (to, 'failed'))
                    self.assertTrue(recipient.blames_address)
                    self.assertIn('550', recipient.diagnostic)
                    self.assertEqual(report.original_ids, ('<1@muster.test>',))
                    self.assertEqual(report.objects, ('dunning.notice-12',))

    def test_plain_text(self):
        """Late is not failed; what says neither stays open; a person's words are no report."""
        head = 'From: Mail Delivery System <Mailer-Daemon@mx.test>\nSubject: {}\n\n'
        late = head.format('Warning: message delayed') + (
            "A message that you sent has not yet been delivered to one or more of its recipients.\n\n"
            "  acme@customer.test\n    Delay reason: connection refused\n\nDelivery attempts will continue.\n")
        german = head.format('Verzögerung') + (
            "Die Zustellung verzögert sich und wird weiter versucht:\n\n<acme@customer.test>: 451 4.7.1 spaeter\n")
        with_code = head.format('Hinweis') + "Empfänger: <acme@customer.test>\n452 4.2.2 Postfach voll\n"
        odd = head.format('Hinweis') + "Wir haben ein Problem.\n\nacme@customer.test\n"
        for text, actions in (
                (late, ['delayed']), (german, ['delayed']), (with_code, ['']), (odd, []),
                (late.replace('Mailer-Daemon@', 'petra@'), None),
                ('From: a@b.test\nSubject: Re: failed\n\n<acme@customer.test>: 550 5.1.1 unknown\n', None),
                ('From: a@b.test\nX-Failed-Recipients: acme@customer.test\n\nnothing', ['failed'])):
            with self.subTest(text):
                report = read(text.replace('Empfänger', 'Empfaenger'))
                self.assertEqual(
                    [one.action for one in report.recipients] if actions or report.recipients else actions, actions)
                self.assertEqual(report.kind == 'letter', not actions)

    def test_fields(self):
        report = read(
            'Content-Type: multipart/report; report-type=delivery-status; boundary=b\n\n'
            '--b\nContent-Type: message/delivery-status\n\n'
            'Reporting-MTA: dns; mx.test\nOriginal-Envelope-Id: QQ-1\nX-Postfix-Queue-ID: 4Xyz\n\n'
            'Final-Recipient: RFC822; <A@b.test>\nAction: Failed\nStatus: 5.2.2 (mailbox full)\n'
            'Diagnostic-Code: smtp;\n 552 5.2.2\n Over quota\n\n'
            'Original-Recipient: rfc822; c+2Bx@d.test\nAction: delivered\nStatus: 2.0.0\n\n'
            'Final-Recipient: utf-8; e@m\\x{FC}ller.test\nOriginal-Recipient: rfc822; E@alias.test\n'
            'Action: odd (word)\n\n'
            '--b--\n')
        first, second, third = report.recipients
        self.assertEqual(
            (first.address, first.is_failed, first.status, first.diagnostic),
            ('a@b.test', True, '5.2.2', '552 5.2.2 Over quota'))
        self.assertFalse(first.blames_address)
        self.assertEqual((second.address, second.is_failed), ('c+x@d.test', False))
        self.assertEqual((third.address, third.original, third.action), ('e@xn--mller-kva.test', 'e@alias.test', ''))
        self.assertFalse(re.search(r'[\r\n]', first.describe()))
        self.assertEqual((report.envelope_ids, report.queue_ids), (('QQ-1',), ('4Xyz',)))

    def test_odd_structures(self):
        """A status that names nobody beside a text that does; a status in a mail that does not say to be a report."""
        text = (
            'The following addresses had permanent fatal errors\n\n'
            '<acme@customer.test>\n    (reason: 550 5.1.1 unknown)\n')
        status = 'Reporting-MTA: dns; mx.test\nArrival-Date: Fri, 15 Jan 2026 07:23:35 +0200\n'
        one = '\nFinal-Recipient: rfc822; acme@customer.test\nAction: failed\nStatus: 5.1.1\n'
        for content_type, fields in (
                ('multipart/report; report-type=delivery-status', status), ('multipart/mixed', status + one),
                ('multipart/report; report-type=delivery-status', status + one)):
            report = read(
                f'From: x@mx.test\nContent-Type: {content_type}; boundary=b\n\n--b\nContent-Type: text/plain\n\n{text}'
                f'\n--b\nContent-Type: message/delivery-status\n\n{fields}\n--b--\n')
            self.assertEqual((report.kind, report.recipients[0].address, report.recipients[0].action),
                             ('delivery', 'acme@customer.test', 'failed'))
            self.assertEqual(len(report.recipients), 1)

    def test_blame(self):
        """A report that does not say why blames no address."""
        for status, words, is_blamed in (
                ('5.1.1', '', True), ('5.2.1', '550 disabled', True), ('5.0.0', '550 User unknown', True),
                ('', '552 5.2.2 mailbox full', False), ('5.2.2', 'mailbox full', False), ('5.0.0', '', False),
                ('', '', False),
                ('5.0.0', '550 Rejected', False), ('5.7.1', '550 5.7.1 spam', False), ('4.4.7', 'expired', False),
                ('5.4.7', 'delivery time expired', False), ('5.2.2', '552 5.2.2 Over quota', False),
                ('5.2.1', '550-5.2.1 The user you are trying to contact is receiving mail at a rate that 550-5.2.1 '
                 'prevents additional messages from being delivered. For more information, please visit x', False),
                ('5.4.310', '550 5.4.310 DNS domain kunde.test does not exist [Message=InfoDomainNonexistent]', True),
                ('5.6.7', 'DNS domain kunde.test does not exist [Message=InfoDomainNonexistent]', True),
                ('5.0.0', "DNS Error: DNS type 'mx' lookup of kunde.test responded with code NXDOMAIN", True),
                ('4.0.0', "DNS Error: DNS type 'mx' lookup of kunde.test responded with code NXDOMAIN", True),
                ('4.4.4', "DNS Error: DNS type 'mx' lookup of kunde.test responded with code SERVFAIL", False),
                ('4.4.3', 'Host or domain name not found. Name service error for name=kunde.test type=MX: Host not '
                 'found, try again', False),
                ('5.0.0', '550 sender rejected, MX lookup of muster.test: NXDOMAIN', False),
                ('5.2.0', '550 5.2.0 Mail rejete. Mail rejected. ofr_506 [506]', False),
                ('5.0.0', '550 invalid DNS MX or A/AAAA resource record', False)):
            with self.subTest(f'{status} {words}'):
                self.assertEqual(bounce.RecipientReport(
                    'a@b.test', action='failed', status=status, diagnostic=words).blames_address, is_blamed)

    def test_reason_elsewhere(self):
        """The machine-readable part names the address, and leaves the reason to the text or a field of its own."""
        text = (
            'A message that you sent could not be delivered to one or more of its\nrecipients. This is a permanent '
            'error. The following address(es) failed:\n\n  other@customer.test\n    mailbox is full\n\n'
            '  acme@customer.test\n    Unrouteable address\n\n')
        for said, field, is_blamed in (
                (text, '', True), (text.replace('Unrouteable address', 'retry timeout exceeded'), '', False),
                (text.replace('acme@', 'third@'), '', False),
                (text, 'Diagnostic-Code: smtp; 550 Rejected\n', False), ('', '', False),
                ('', 'X-Supplementary-Info: <192.0.2.7 #5.0.0 smtp; 550 "Unknown User">\n', True)):
            with self.subTest(said + field):
                recipient, = read(
                    'From: Mailer-Daemon@mx.test\nContent-Type: multipart/report; report-type=delivery-status; '
                    f'boundary=b\n\n--b\nContent-Type: text/plain\n\n{said}\n--b\n'
                    'Content-Type: message/delivery-status\n\nReporting-MTA: dns; mx.test\n\nAction: failed\n'
                    f'Final-Recipient: rfc822;acme@customer.test\nStatus: 5.0.0\n{field}\n--b--\n').recipients
                self.assertTrue(recipient.is_failed)
                self.assertEqual(recipient.blames_address, is_blamed)

    def test_persons_who_are_postmasters(self):
        """Words that a person may write make no report: a code, or a mail that is returned, does."""
        for sender, text, kind in (
                ('postmaster@kunde.test', 'Die Bearbeitung verzögert sich. Bei Fragen:\ninfo@kunde.test', 'letter'),
                ('postmaster@kunde.test', 'Ihre Zahlung ist fehlgeschlagen, sagt\ninfo@kunde.test\n', 'letter'),
                ('Postmaster@kunde.test', 'I am away until Monday, mail will be delayed. Ask\n<info@kunde.test>',
                 'letter'),
                ('postmaster@kunde.test', 'Unzustellbar:\n\n<info@kunde.test>: 550 5.1.1 unknown', 'delivery'),
                ('postmaster@kunde.test', 'Unzustellbar:\n\n<info@kunde.test>\nEmpfänger fehlt (5.1.1)', 'delivery'),
                ('postmaster@kunde.test', f'Verzögert:\n\ninfo@kunde.test\n\n--- Original message\n\n{HEADER}\n\nx',
                 'delivery'),
                ('MAILER-DAEMON@kunde.test', 'Unzustellbar:\n\n<info@kunde.test>', 'delivery')):
            with self.subTest(text):
                self.assertEqual(read(
                    f'From: <{sender}>\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n'
                    f'{text}\n').kind, kind)

    def test_odd_ones(self):
        """Whatever comes in: no exception, no recipient that is not there, bounded."""
        for text in (
                '', 'X-Failed-Recipients: \n\nx', 'X-Failed-Recipients: no address\n\nx',
                'Content-Type: text/plain; charset=no-such\nX-Failed-Recipients: a@b.test\n\n<x@y.test>',
                'Content-Type: message/delivery-status\n\nnonsense', 'Content-Type: text/plain\n\nhello',
                'Content-Type: message/delivery-status\nContent-Transfer-Encoding: base64\n\n!!!',
                'Content-Type: multipart/report; boundary=b\n\n--b\nContent-Type: message/rfc822\n\n--b--',
                'Content-Type: multipart/report; boundary=b\n\n--b\nContent-Type: text/rfc822-headers\n\n\n\n--b--',
                'Content-Type: multipart/report; report-type=; boundary=b\n\n--b--',
                'From: mailer-daemon@x.test\nContent-Type: text/html\n\n' + '<p>' * 20000 + 'a@b.test',
                'From: mailer-daemon@x.test\n\n' + ('<' + 'a' * 60 + '@' + 'b' * 200 + '> ') * 3000,
                'References: ' + '<a@b.test> ' * 5000 + '\n\n' + '<' * 100000):
            self.assertLessEqual(len(read(text).mentioned_ids), 1)
        inner = 'Content-Type: message/rfc822\n\nMessage-ID: <outer@x.test>\nContent-Type: message/rfc822\n\n' \
            'Message-ID: <inner@x.test>\n\nbody'
        self.assertEqual(read(inner).original_ids, ('<outer@x.test>',), "not what was attached to it")
        self.assertEqual(bounce_text.split_returned('nothing returned'), ('nothing returned', ''))

    def test_receipt_and_complaint(self):
        for subtype, fields, kind, detail in (
                ('disposition-notification', 'Disposition: manual-action/MDN-sent-manually; displayed', 'receipt',
                 'displayed'),
                ('disposition-notification', 'Disposition: automatic-action; deleted/error', 'receipt',
                 'deleted/error'),
                ('feedback-report', 'Feedback-Type: abuse', 'complaint', 'abuse')):
            for wrapper in ('multipart/mixed', 'multipart/report'):
                report = read(
                    f'Content-Type: {wrapper}; boundary=b\n\n--b\nContent-Type: message/{subtype}\n\n{fields}\n'
                    'Original-Message-ID: <1@muster.test>\n\n--b--\n')
                self.assertEqual((report.kind, report.detail), (kind, detail))
        bare = read('Content-Type: multipart/report; report-type=disposition-notification; boundary=b\n\n--b--\n')
        self.assertEqual(bare.kind, 'receipt')


@tagged('post_install', '-at_install')
class TestTrace(BaseCase):

    BOUNCE = 'Return-Path: <>'
    OWN = 'Received: from mout.hoster.test (mout.hoster.test [192.0.2.9]) by mx.hoster.test with ESMTPS id 1'
    BORN = 'Received: by mout.hoster.test (Postfix) id 4Xyz'

    def trace(self, *lines, sender='MAILER-DAEMON@mail.hoster.test (Mail Delivery System)', path='Return-Path: <>'):
        paths = [] if any(line.startswith('Return-Path') for line in lines) else [path]
        head = [*filter(None, paths), *lines, f'From: {sender}', 'Subject: x']
        return mail_trace.is_written_by_own_system(parse('\n'.join(head) + '\n\nx'))

    def test_inside(self):
        for lines in (
                (self.BORN,), (self.OWN, self.BORN), ('Return-Path: <>', self.OWN, self.BORN),
                ('Received: from localhost (localhost [127.0.0.1]) by mx.hoster.test with ESMTP id 2', self.BORN),
                ('Received: from filter ([10.1.2.3]) by mx.hoster.test with LMTP', self.BORN),
                ('Received: from Debian-exim by mail.hoster.test with local (Exim 4.96) id 1rABCD',),
                ('Received: by 2002:a05:7300:1 with SMTP id q1',
                 'Received: from mail-sor.hoster.test (mail-sor.hoster.test. [192.0.2.1])'
                 ' by mx.hoster.test with SMTPS id q2',
                 'Received: by 2002:a05:7300:2 with SMTP id q3'),
                ('Received: from AM0.prod.outlook.com (2603:10a6::1) by DB8.prod.outlook.com (2603:10a6::2)'
                 ' with Microsoft SMTP Server id 15.20', 'X-MS-Exchange-Organization-AuthAs: Internal')):
            self.assertTrue(self.trace(*lines), lines)
        for submitted in ('auto-replied', 'auto-generated (failure)', 'Auto-Generated'):
            self.assertTrue(self.trace(self.OWN, self.BORN, f'Auto-Submitted: {submitted}'), submitted)
        google = 'Received: by 2002:a05:7300:1 with SMTP id q1', 'Received: by mx.google.com with SMTP id q2'
        self.assertTrue(self.trace(*google, sender='Mail Delivery Subsystem <mailer-daemon@googlemail.com>'))

    def test_neighbour(self):
        """Who has a mailbox with the same hoster: his absence assistant writes what he likes, but not as whom he likes,
        and hands it in as a client does."""
        local = 'Received: from mail.hoster.test (localhost [127.0.0.1]) by mail.hoster.test (Postfix) with ESMTP id 3'
        for sender in ('kunde@kunde.test', 'Mailer-Daemon <kunde@hoster.test>', 'MAILER-DAEMON@kunde.test',
                       '"mailer-daemon@hoster.test" <kunde@kunde.test>', 'mailer-daemon@hoster.test, kunde@kunde.test',
                       'mailer-daemon.kunde@hoster.test', 'MAILER-DAEMON', 'MAILER-DAEMON@googlemail.com', ''):
            self.assertFalse(self.trace(self.OWN, self.BORN, sender=sender), sender)
        self.assertFalse(self.trace(self.OWN, local), "handed in")
        self.assertFalse(self.trace(self.OWN, self.BORN, path=''), "nothing says that it has no sender")
        self.assertFalse(self.trace('Return-Path: <>', 'Return-Path: <kunde@kunde.test>', self.OWN, self.BORN))
        for header in ('Auto-Submitted: auto-replied (vacation)', 'Auto-Submitted: auto-replied; x="a@b.test"',
                       'Auto-Submitted: no', 'X-Autoreply: yes', 'X-Autorespond: away'):
            self.assertFalse(self.trace(self.OWN, self.BORN, header), header)
        for client in ('p5483.dip.hoster.test', 'vps-12.hoster.test', 'hoster.test'):
            self.assertFalse(self.trace(
                f'Received: from x ({client} [192.0.2.66]) by mx.hoster.test with ESMTP id 1', self.BORN), client)

    # As Dovecot and Cyrus write them for what the mail server hands them over a socket of the same machine.
    LMTP = (
        'Received: from mail.hoster.test\n\tby {by} with LMTP\n\tid dp/oIEFDCWtzKQAAg+zDdQ\n\t(envelope-from <>)\n'
        '\tfor <mahnung@muster.test>; Fri, 27 Nov 2026 08:45:53 +0000',
        'Received: from mail.hoster.test ([unix socket])\n\t by {by} (Cyrus 3.6.1-Debian-3.6.1-4) with LMTPA;\n'
        '\t Fri, 27 Nov 2026 09:45:53 +0100')

    def test_local_store(self):
        """Handed to the mailbox's own store over a socket of the machine: what counts is how it came before that."""
        born = 'Received: by mail.hoster.test (Postfix)\n\tid 7E8AB2228BA; Fri, 27 Nov 2026 08:45:53 +0000 (UTC)'
        stranger = (
            'Received: from {helo} (host.elsewhere.test [192.0.2.66])\n\tby mail.hoster.test (Postfix) with ESMTP id '
            'A69D22225B4\n\tfor <mahnung@muster.test>; Fri, 27 Nov 2026 08:47:08 +0000 (UTC)')
        for store in self.LMTP:
            for by in ('mail.hoster.test', 'vm'):
                lmtp = store.format(by=by)
                self.assertTrue(self.trace('Return-Path: <>', 'Delivered-To: mahnung@muster.test', lmtp, born), lmtp)
                self.assertFalse(self.trace(lmtp), "nothing says of whom it was")
                self.assertFalse(self.trace('Return-Path: <a@hoster.test>', lmtp, born))
                for helo in ('mail.hoster.test', 'x by mx.hoster.test with LMTP', 'mail by mx.hoster.test with local',
                             'mail.hoster.test ([unix socket]) by vm with LMTPA', 'x (mail.hoster.test [127.0.0.1])'):
                    self.assertFalse(self.trace(lmtp, stranger.format(helo=helo), born), helo)
        # over a network, by whoever may write to the store
        for client in ('mail.hoster.test ([192.0.2.66])', 'mail.hoster.test (elsewhere.test [192.0.2.66])'):
            self.assertFalse(self.trace(f'Received: from {client} by mail.hoster.test with LMTP id 1', born), client)

    def test_outside(self):
        """A stranger anywhere in the chain; one whose name is only what he calls himself; a user; nothing to go by."""
        for lines in (
                (), ('Return-Path: <a@hoster.test>', self.BORN), ('Received: nonsense',),
                ('Received: from mx.else.test (mx.else.test [192.0.2.7]) by mx.hoster.test with ESMTPS', self.OWN),
                ('Received: from mout.hoster.test (unknown [192.0.2.7]) by mx.hoster.test with ESMTPS', self.BORN),
                ('Received: from mout.hoster.test ([192.0.2.7]) by mx.hoster.test with ESMTP (Nemesis)', self.BORN),
                ('Received: from mout.hoster.test (mout.hoster.test [192.0.2.7] (may be forged)) by mx.hoster.test',),
                ('Received: from unknown (HELO mout.hoster.test) (192.0.2.7) by mx.hoster.test with SMTP', self.BORN),
                ('Received: from x (mx.hoster.test [192.0.2.7]) (unknown [192.0.2.7]) by mx.hoster.test', self.BORN),
                (self.OWN, 'Received: by mx.else.test (Postfix) id 4'),
                (self.OWN, 'Received: from pc (pc.hoster.test [192.0.2.3]) by mout.hoster.test with ESMTPSA id 1'),
                ('Received: from a by mx.hoster.test with HTTP',),
                ('Received: by web.hoster.test (Postfix, from userid 33) id 1',),
                ('Received: from www-data by mail.hoster.test with local (Exim 4.96) id 1rABCD',),
                ('Received: from a.co.uk (a.co.uk [192.0.2.3]) by mx.b.co.uk with SMTP',),
                ('Received: from x (192.0.2.7) by DB8.mail.protection.outlook.com with Microsoft SMTP Server',
                 'X-MS-Exchange-Organization-AuthAs: Anonymous'),
                (self.OWN, 'X-MS-Exchange-Organization-AuthAs: Internal',
                 'Received: from x (x.else.test [192.0.2.7]) by AM0.prod.outlook.com with Microsoft SMTP Server')):
            self.assertFalse(self.trace(*lines), lines)

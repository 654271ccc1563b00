"""Reading and stamping headers of a mail that lies there as bytes: no database."""

import email
import email.policy
import unittest

from odoo.addons.dunning_mail.tools import mail_header

MAIL = (b'Subject: A subject that\r\n goes on\r\nTo: old@a.test,\r\n\tolder@a.test\r\nX-Long: x\r\n'
        b'MIME-Version: 1.0\r\n\r\nTo: in the body\r\n\r\nDate: too\r\n')


class TestMailHeader(unittest.TestCase):

    def parse(self, content):
        return email.message_from_bytes(content, policy=email.policy.default)

    def test_get(self):
        self.assertEqual(mail_header.get(MAIL, 'subject'), 'A subject that goes on')
        self.assertEqual([a.addr_spec for a in mail_header.get(MAIL, 'TO').addresses], ['old@a.test', 'older@a.test'])
        self.assertIsNone(mail_header.get(MAIL, 'Date'), "what is in the body is no header")
        self.assertIsNone(mail_header.get(MAIL, 'Sub'))

    def test_remove(self):
        content = mail_header.remove(MAIL, 'to', 'Date')
        self.assertEqual(
            content, MAIL.replace(b'To: old@a.test,\r\n\tolder@a.test\r\n', b'', 1))

    def test_stamp(self):
        name = 'Müller & Söhne, "Zürich" ' + 'lang ' * 30
        address = email.utils.formataddr((name, 'new@a.test'), charset='utf-8')
        content = mail_header.stamp(MAIL, {'To': address, 'Message-ID': '<x@a.test>'})
        self.assertTrue(content.isascii())
        self.assertLessEqual(max(map(len, content.split(b'\r\n'))), 998)
        message = self.parse(content)
        self.assertEqual(message.get_all('To')[0].addresses[0].addr_spec, 'new@a.test')
        self.assertEqual(len(message.get_all('To')), 1)
        self.assertEqual(' '.join(message['To'].addresses[0].display_name.split()), ' '.join(name.split()))
        self.assertEqual(message['Message-ID'], '<x@a.test>')
        self.assertEqual(content.partition(b'\r\n\r\n')[2], MAIL.partition(b'\r\n\r\n')[2])
        self.assertEqual(mail_header.stamp(content, {'Message-ID': '<y@a.test>'}).count(b'Message-ID'), 1)

    def test_no_line_gets_in(self):
        for value in ('a@b.test\r\nBcc: evil@b.test', 'a@b.test\nBcc: evil@b.test'):
            with self.assertRaises(ValueError):
                mail_header.stamp(MAIL, {'To': value})

    def test_no_mail(self):
        for content in (b'', b'Subject: x\r\n', b'nonsense'):
            with self.assertRaises(ValueError):
                mail_header.stamp(content, {'To': 'a@b.test'})

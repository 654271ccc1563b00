import base64
import email
import email.policy
import hashlib
import io
import re
from email.message import EmailMessage

from PIL import Image
from pypdf import PdfReader

from odoo.tests import tagged
from odoo.tools import html2plaintext

from .common import ReportCase, make_pdf


@tagged('post_install', '-at_install')
class TestMail(ReportCase):
    """The mail as the server got it, part by part."""

    def test_headers(self):
        notice = self.send('Acme')
        mail = self.parsed(notice)
        sender, = mail['From'].addresses
        self.assertEqual((sender.display_name, sender.addr_spec), ('Muster & Söhne AG', 'mahnung@muster.test'))
        recipient, = mail['To'].addresses
        self.assertEqual((recipient.display_name, recipient.addr_spec), ('Acme', 'acme@customer.test'))
        self.assertTrue(mail['Reply-To'].addresses[0].addr_spec)
        self.assertEqual(mail['Message-ID'], notice.message_id)
        self.assertEqual(len(mail.get_all('Message-ID')), 1)
        self.assertEqual(mail['Auto-Submitted'], 'auto-generated')
        self.assertEqual(len(mail.get_all('Date')), 1)
        self.assertIn(notice.name, mail['Subject'])
        for header in ('Cc', 'Bcc', 'X-Original-To', 'Return-Path'):
            self.assertNotIn(header, mail)

    def test_reply_to(self):
        """Answers go where Odoo reads them; without such an address to the clerk, else to the company."""
        self.company.alias_domain_id = False
        notice = self.release('Acme')
        self.assertEqual(notice._get_reply_to(), '"Petra Muster" <petra@muster.test>')
        self.clerk.email = False
        self.assertIn('info@muster.test', notice._get_reply_to())
        self.company.alias_domain_id = self.env['mail.alias.domain'].create({
            'name': 'answers.test', 'catchall_alias': 'catchall', 'bounce_alias': 'bounce'})
        answered = self.release('Answers')
        self.run_engine()
        self.assertEqual(self.parsed(notice)['Reply-To'].addresses[0].addr_spec, 'petra@muster.test', "as composed")
        self.assertEqual(self.parsed(answered)['Reply-To'].addresses[0].addr_spec, 'catchall@answers.test')
        for name in (self.clerk.name, 'Petra Muster-Beispielhausen von und zu Mittelberg am See'):
            self.clerk.name = name
            self.assertNotIn('OdooBot', answered._as_system().with_user(1)._get_reply_to(), "made in the background")
        self.clerk.name = 'Petra Muster'
        self.assertEqual(
            answered._as_system().with_user(1)._get_reply_to(), '"Petra Muster" <catchall@answers.test>')

    def test_structure(self):
        notice = self.send('Acme')
        mail = self.parsed(notice)
        self.assertEqual(
            [part.get_content_type() for part in mail.walk()],
            ['multipart/mixed', 'multipart/alternative', 'text/plain', 'text/html', 'application/pdf'])

    def test_pdf_is_the_kept_one(self):
        notice = self.send('Acme')
        _text, _html, (pdf,) = self.parts(notice)
        content = pdf.get_content()
        self.assertTrue(content.startswith(b'%PDF-'))
        self.assertEqual(content, notice.document_id.raw)
        self.assertEqual(hashlib.sha256(content).hexdigest(), notice.document_sha256)
        self.assertEqual(pdf.get_filename(), f"{notice.name.replace('/', '-')}.pdf")
        self.assertEqual(self.message_of(notice).content, notice.mail_document_id.raw)

    def test_languages(self):
        """Text, table, amounts and dates are in the customer's language, in all parts."""
        expected = {
            # language of the customer: language of the notice, amount, deadline, a word of it
            'de_DE': ('de_DE', r'1\.234,50', '4. Dezember 2026', 'Sehr geehrte'),
            'fr_FR': ('fr_FR', r'1\s234,50', '4 décembre 2026', 'Madame'),
            'it_IT': ('it_IT', r'1\.234,50', '4 dicembre 2026', 'Gentil'),
            'en_US': ('en_US', r'1,234\.50', 'December 4, 2026', 'Dear'),
            False: ('de_DE', r'1\.234,50', '4. Dezember 2026', 'Sehr geehrte'),
        }
        partners = [self.make_partner(f'Customer {lang}', lang=lang, email=f'{lang or "none"}@customer.test'.lower())
                    for lang in expected]
        notices = self.send(*partners, amount=1234.5)
        words = {word for *_rest, word in expected.values()}
        for notice, (lang, amount, deadline, word) in zip(notices, expected.values(), strict=True):
            with self.subTest(partner=notice.partner_id.name):
                self.assertEqual(notice.lang, lang)
                text, html, _attachments = self.parts(notice)
                for part in (text, html):
                    self.assertRegex(part, amount)
                    self.assertIn(deadline, part)
                    self.assertEqual([other for other in sorted(words) if other in part], [word])
                self.assertIn(f'lang="{lang.replace("_", "-")}"', html)
                others = {pattern for _lang, pattern, *_rest in expected.values()} - {amount}
                for other in others:
                    self.assertNotRegex(text + html, other)
                subject = self.level_1._get_text(lang).mail_subject
                beginning = subject.replace('{{ object.company_id.name }}', self.company.name).split('{{')[0]
                self.assertIn(' '.join(beginning.split()), ' '.join(self.parsed(notice)['Subject'].split()))

    def test_plain_text_says_the_same(self):
        partner = self.make_partner('Acme')
        invoices = self.make_invoice(partner, 300.0) | self.make_invoice(partner, 45.6)
        run = self.make_run(partner_ids=partner.ids)
        run.action_print_and_send()
        self.run_engine()
        text, html, _attachments = self.parts(run.notice_ids)
        for part in (text, html):
            for fact in (*invoices.mapped('name'), '300,00', '45,60', '345,60', '4. Dezember 2026', '01.10.2026',
                         self.company.name if part is text else 'Muster &amp; Söhne AG', self.clerk.name):
                self.assertIn(fact, part)
        self.assertNotIn('<', text.replace('<http', ''))

    def test_currency(self):
        partner = self.make_partner('Foreign')
        self.make_invoice(partner, 200.0, currency=self.foreign)
        self.make_invoice(partner, 70.0)
        run = self.make_run(partner_ids=partner.ids)
        run.action_print_and_send()
        self.run_engine()
        self.assertEqual(len(run.notice_ids), 2)
        for notice in run.notice_ids:
            text, _html, _attachments = self.parts(notice)
            own, other = ('200,00', '70,00') if notice.currency_id == self.foreign else ('70,00', '200,00')
            self.assertIn(own, text)
            self.assertNotIn(other, text)
            self.assertIn(notice.currency_id.symbol, text)

    def test_nobody_elses_paper(self):
        """No part of a mail knows of another customer: name, address, invoice, number of the notice."""
        notices = self.send('Alphaville', 'Betazoid', 'Gammaray')
        for notice in notices:
            mail = self.parsed(notice)
            readable = [str(value) for value in mail.values()]
            for part in mail.walk():
                if part.get_content_maintype() == 'text':
                    readable.append(part.get_content())
                elif part.get_content_type() == 'application/pdf':
                    readable.append(self.read_pdf(part.get_content()))
            readable = '\n'.join(readable)
            self.assertIn(notice.name, readable)
            self.assertIn(notice.partner_id.name, readable)
            for other in notices - notice:
                for word in (other.name, other.partner_id.name, other.partner_id.email, other.line_ids.move_id.name):
                    self.assertNotIn(word, readable)
            self.assertEqual(self.message_of(notice).rcpt_tos, [notice.partner_id.email])

    @staticmethod
    def read_pdf(content):
        return '\n'.join(page.extract_text() for page in PdfReader(io.BytesIO(content)).pages)

    def test_attached_invoices(self):
        self.level_1.attach_invoices = True
        partner = self.make_partner('Acme')
        with_pdf, without = self.make_invoice(partner, 10.0), self.make_invoice(partner, 20.0)
        content = make_pdf() + b'\r\n% with \x00\xff bytes'
        self.env['ir.attachment'].create({
            'name': 'Rechnung Nr. 1 – Müller.pdf', 'raw': content, 'mimetype': 'application/pdf',
            'res_model': 'account.move', 'res_id': with_pdf.id, 'res_field': 'invoice_pdf_report_file'})
        with_pdf.invalidate_recordset()
        self.assertFalse(without.invoice_pdf_report_id)
        run = self.make_run(partner_ids=partner.ids)
        self.assertIn('no_copy', {hint.code for hint in run.notice_ids._find_hints()[run.notice_ids.id]})
        self.assertIn(f"stored of {without.name},", run.notice_ids.attachment_warning)
        run.action_print_and_send()
        self.assertIn(f"stored of {without.name},", html2plaintext(run.notice_ids.message_ids[0].body))
        self.run_engine()
        self.assertEqual(run.notice_ids.delivery_state, 'sent', run.notice_ids.delivery_info)
        self.assertFalse(run.notice_ids.attachment_warning)
        _text, _html, attachments = self.parts(run.notice_ids)
        self.assertEqual(len(attachments), 2)
        self.assertEqual(attachments[0].get_content(), run.notice_ids.document_id.raw)
        self.assertEqual(attachments[1].get_content(), content)
        self.assertEqual(attachments[1].get_filename(), 'Rechnung Nr. 1 – Müller.pdf')

    def test_draft_says_where_it_goes(self):
        partner = self.make_partner('Acme')
        self.make_invoice(partner)
        notice = self.make_run().notice_ids
        self.assertEqual((notice.channel, notice.channel_info), ('mail', partner.email))

    def test_no_copies_wanted_none_missed(self):
        run = self.make_run(partner_ids=self.make_invoice(self.make_partner('Acme')).partner_id.ids)
        self.assertIs(run.notice_ids.attachment_warning, False)
        run.action_print_and_send()
        self.assertRegex(html2plaintext(run.notice_ids.message_ids[0].body), r": Released for Sending$")

    def test_logo_is_part_of_the_mail(self):
        stream = io.BytesIO()
        Image.new('RGB', (900, 300), 'navy').save(stream, 'PNG')
        self.company.logo = base64.b64encode(stream.getvalue())
        [notice] = self.send('Acme')
        mail = self.parsed(notice)
        pictures = [part for part in mail.walk() if part.get_content_maintype() == 'image']
        self.assertEqual(len(pictures), 1)
        self.assertEqual(pictures[0]['Content-ID'], '<logo@dunning.invalid>')
        self.assertEqual(pictures[0].get_content_disposition(), 'inline')
        with Image.open(io.BytesIO(pictures[0].get_content())) as picture:
            self.assertLessEqual(picture.height, 120)
        html = mail.get_body(('html',)).get_content()
        self.assertIn('src="cid:logo@dunning.invalid"', html)
        self.assertRegex(html, r'width="180" height="60"')
        self.assertNotIn('http', re.search('<img[^>]*>', html).group())
        text = mail.get_body(('plain',)).get_content()
        self.assertIn(self.company.name, text)
        self.assertNotIn('cid:', text)
        # the letter is still the one attachment
        self.assertEqual([part.get_content_type() for part in mail.iter_attachments()], ['application/pdf'])

    def test_logo_that_no_mail_reader_shows(self):
        self.company.logo = base64.b64encode(
            b'<svg xmlns="http://www.w3.org/2000/svg" width="90" height="30"><rect width="90" height="30"/></svg>')
        [notice] = self.send('Acme')
        mail = self.parsed(notice)
        self.assertFalse([part for part in mail.walk() if part.get_content_maintype() == 'image'])
        self.assertIn('Muster &amp; Söhne AG', mail.get_body(('html',)).get_content())

    def test_names_that_break_headers(self):
        names = {
            'line break': 'Evil\r\nBcc: victim@customer.test\r\n\r\nHello',
            'umlaut': 'Müller & Söhne GmbH, Zürich',
            'long': 'Sehr lange Firma ' * 18 + 'AG',
            'long word': 'x' * 300,
            'emoji': 'Pizza 🍕 Kurier 🚲',
            'quotes': 'The "Best" <Shop>, Inc. (1990); \\ back',
            'control': 'Tab\tand\x0bvertical',
            'right to left': 'شركة المثال',
        }
        partners = [
            self.make_partner(name, email=f'{key.replace(" ", "")}@customer.test') for key, name in names.items()]
        self.company.name = 'Firma "Höfe" <& Söhne>\nAG'
        text = self.level_1._get_text('de_DE')
        text.mail_subject = '{{ object.partner_id.name }}: {{ object.name }}'
        notices = self.send(*partners)
        for notice, (key, name) in zip(notices, names.items(), strict=True):
            with self.subTest(key):
                message = self.message_of(notice)
                self.assertEqual(message.rcpt_tos, [notice.partner_id.email])
                mail = self.parsed(notice)
                self.assertFalse(mail.defects)
                self.assertNotIn('Bcc', mail)
                recipient, = mail['To'].addresses
                self.assertEqual(recipient.addr_spec, notice.partner_id.email)
                self.assertEqual(' '.join(recipient.display_name.split()), ' '.join(name.split()))
                self.assertEqual(' '.join(mail['Subject'].split()), ' '.join(f'{name}: {notice.name}'.split()))
                self.assertEqual(mail['From'].addresses[0].addr_spec, 'mahnung@muster.test')
                self.assertEqual(mail['From'].addresses[0].display_name, 'Firma "Höfe" <& Söhne> AG')
                self._check_wire(message.content)

    def _check_wire(self, content):
        self.assertTrue(content.isascii(), "7-bit bytes only")
        self.assertNotIn(b'\0', content)
        self.assertEqual(content.count(b'\n'), content.count(b'\r\n'))
        self.assertEqual(content.count(b'\r'), content.count(b'\r\n'))
        self.assertLessEqual(max(len(line) for line in content.split(b'\r\n')), 998)

    def test_wire_format(self):
        text = self.level_1._get_text('de_DE')
        text.mail_body = f"<p>{'Sehr lange Zeile ohne Umbruch, mit Ümlaut. ' * 100}</p><p>.</p><p>.Punkt am Anfang</p>"
        notice = self.send('Acme')
        self._check_wire(self.message_of(notice).content)
        plain, html, _attachments = self.parts(notice)
        self.assertIn('.Punkt am Anfang', plain)
        self.assertIn('Ümlaut', html)

    def test_markup_in_names_stays_text(self):
        notice = self.send(self.make_partner('<script>alert(1)</script> & Co', email='script@customer.test'))
        _text, html, _attachments = self.parts(notice)
        self.assertNotIn('<script', html)

    def test_idn_domain(self):
        notice = self.send(self.make_partner('Umlaut', email='info@müller-söhne.test'))
        self.assertEqual(self.message_of(notice).rcpt_tos, ['info@xn--mller-shne-kcb9d.test'])

    def test_several_addresses(self):
        notice = self.send(self.make_partner('Two', email='a@customer.test; "B" <b@customer.test>'))
        self.assertEqual(self.message_of(notice).rcpt_tos, ['a@customer.test', 'b@customer.test'])
        self.assertEqual([address.addr_spec for address in self.parsed(notice)['To'].addresses],
                         ['a@customer.test', 'b@customer.test'])

    def test_dunning_address(self):
        partner = self.make_partner('Acme')
        self.env['res.partner'].create({
            'parent_id': partner.id, 'type': 'dunning', 'name': 'Kreditoren', 'email': 'kreditoren@customer.test'})
        notice = self.send(partner)
        self.assertEqual(self.message_of(notice).rcpt_tos, ['kreditoren@customer.test'])

    def test_chatter_shows_the_mail(self):
        notice = self.send('Acme')
        message = notice.message_ids.filtered(lambda message: message.message_id == notice.message_id)
        self.assertEqual(len(message), 1)
        self.assertEqual(message.author_id, self.clerk.partner_id)
        self.assertIn('4. Dezember 2026', message.body)
        self.assertFalse(self.env['mail.mail'].search([('mail_message_id', '=', message.id)]),
                         "nothing for core's own queue")

    # === ANSWERS === #

    def test_answer_reaches_the_notice_and_the_clerk(self):
        self.company.alias_domain_id = self.env['mail.alias.domain'].create({
            'name': 'answers.test', 'catchall_alias': 'catchall', 'bounce_alias': 'bounce'})
        notice, other = self.send('Acme', 'Other')
        self.clerk.notification_type = 'inbox'
        answer = EmailMessage()
        answer['From'] = 'Buchhaltung <acme@customer.test>'
        answer['To'] = self.parsed(notice)['Reply-To']
        answer['Subject'] = f"Re: {self.parsed(notice)['Subject']}"
        answer['Message-ID'] = '<answer-1@customer.test>'
        answer['In-Reply-To'] = notice.message_id
        answer.set_content("Wir haben gestern bezahlt.")
        self.receive(answer.as_bytes(policy=email.policy.SMTP))
        message = notice.message_ids.filtered(lambda message: message.message_id == '<answer-1@customer.test>')
        self.assertEqual(len(message), 1)
        self.assertIn('gestern bezahlt', message.body)
        self.assertEqual(message.author_id, notice.partner_id)
        self.assertIn(self.clerk.partner_id, message.notification_ids.res_partner_id)
        self.assertEqual(notice.delivery_state, 'sent')
        self.assertNotIn('gestern bezahlt', ''.join(other.message_ids.mapped('body')))

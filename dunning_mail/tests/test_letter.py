import base64
import hashlib
import io
import json
import re
from unittest.mock import patch
from urllib.parse import quote

from pypdf import PdfReader

from odoo import Command, http
from odoo.exceptions import UserError
from odoo.tests import HttpCase, tagged
from odoo.tools import mute_logger

from odoo.addons.report_pdf_engine.exceptions import DocumentError
from odoo.addons.report_pdf_engine.tools import pdf

from .common import DunningCommon, catch_documents

REPORT_LOGGER = 'odoo.addons.report_pdf_engine.models.ir_actions_report_document'


@tagged('post_install', '-at_install')
class TestLetter(DunningCommon):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.report = cls.env.ref('dunning_mail.report_letter')
        cls.company.partner_id.write({
            'street': 'Bundesplatz 3', 'zip': '3011', 'city': 'Bern', 'country_id': cls.env.ref('base.ch').id})
        cls.clerk_report = cls.report.with_user(cls.clerk)

    def make_notices(self, *partners, **values):
        run = self.make_run(partner_ids=[Command.set([partner.id for partner in partners])], **values)
        notices = run.notice_ids
        self.assertEqual(len(notices), len(partners))
        for index, notice in enumerate(notices.sudo()):
            notice.name = f'T/2026/{index + 1}'
        return notices

    def render(self, notices, **values):
        if 'engine' in values:
            self.report.pdf_engine = values['engine']
        documents = self.clerk_report.render_documents(notices)
        self.assertEqual(set(documents), set(notices.ids))
        for document in documents.values():
            self.assertIsInstance(document, bytes, document)
        return documents

    @staticmethod
    def texts(document):
        # non-breaking spaces of all kinds, and whatever else the engines put between two words
        return [
            ' '.join(page.extract_text().replace('\0', '').split())
            for page in PdfReader(io.BytesIO(document)).pages]

    def text(self, document):
        return '\n'.join(self.texts(document))

    # === ENGINES === #

    def _test_engine(self, engine):
        if not pdf.engine_available(engine):
            self.skipTest(f'{engine} is not installed')
        partner = self.make_partner('Müller & Söhne AG', ref='K-1')
        for index in range(45):
            self.make_invoice(partner, 100 + index)
        notice = self.make_notices(partner)
        pages = self.texts(self.render(notice, engine=engine)[notice.id])
        self.assertGreater(len(pages), 1)
        for page in pages:
            self.assertIn('T/2026/1', page)
        for line in notice.line_ids:
            self.assertEqual(sum(page.count(line.name) for page in pages), 1, line.name)
        return pages

    def test_plutoprint(self):
        self._test_engine('plutoprint')

    def test_weasyprint(self):
        self._test_engine('weasyprint')

    def test_wkhtmltopdf(self):
        if self.report.get_wkhtmltopdf_state() == 'install':
            self.skipTest('wkhtmltopdf is not installed')
        partners = [self.make_partner(name) for name in ('Erste AG', 'Zweite AG')]
        for partner in partners:
            self.make_invoice(partner)
        notices = self.make_notices(*partners)
        with mute_logger('odoo.addons.base.models.ir_actions_report'):
            documents = self.render(notices, engine='wkhtmltopdf')
        for notice in notices:
            self.assertIn(notice.partner_id.name, self.text(documents[notice.id]))

    def test_no_engine_at_all(self):
        partner = self.make_partner('Kunde AG')
        self.make_invoice(partner)
        notice = self.make_notices(partner)
        with (
            patch.object(pdf, 'engine_available', return_value=False),
            patch.object(self.env.registry['ir.actions.report'], 'get_wkhtmltopdf_state', return_value='install'),
            mute_logger(REPORT_LOGGER),
        ):
            document = self.clerk_report.render_documents(notice)[notice.id]
            self.assertIsInstance(document, DocumentError)
            for words in ('Dunning Letter', 'PlutoPrint', 'pip install plutoprint'):
                self.assertIn(words, str(document))
            with self.assertRaisesRegex(UserError, 'pip install plutoprint'):
                self.clerk_report.with_context(force_report_rendering=True)._render_qweb_pdf(
                    self.report, notice.ids)

    def test_fault_in_one_template_does_not_stop_the_others(self):
        partners = [self.make_partner(name) for name in ('Erste AG', 'Zweite AG', 'Dritte AG')]
        for partner in partners:
            self.make_invoice(partner)
        notices = self.make_notices(*partners)
        values = self.env.registry['report.dunning_mail.letter']._get_letter_values

        def fail(model, notice, *args):
            if notice.id == notices[1].id:
                # leaves the transaction broken, were it not for the savepoint
                model.env.cr.execute('SELECT 1 / 0', log_exceptions=False)
            return values(model, notice, *args)

        with (
            patch.object(self.env.registry['report.dunning_mail.letter'], '_get_letter_values', fail),
            mute_logger(REPORT_LOGGER),
        ):
            documents = self.clerk_report.render_documents(notices)
        self.assertIsInstance(documents.pop(notices[1].id), DocumentError)
        self.assertEqual({type(document) for document in documents.values()}, {bytes})

    # === EVERY WAY TO THE REPORT === #

    def test_kept_document_is_given_byte_for_byte(self):
        partners = [self.make_partner(name) for name in ('Erste AG', 'Zweite AG')]
        for partner in partners:
            self.make_invoice(partner)
        run = self.make_run(partner_ids=[Command.set([partner.id for partner in partners])])
        run.action_print_and_send()
        notice = run.notice_ids[0]
        kept = notice.sudo().document_id.raw
        self.assertEqual(hashlib.sha256(kept).hexdigest(), notice.document_sha256)
        report = self.clerk_report.with_context(force_report_rendering=True)
        content, kind = report._render_qweb_pdf('dunning_mail.report_letter', notice.ids)
        self.assertEqual((content, kind), (kept, 'pdf'))
        self.report.pdf_engine = 'wkhtmltopdf'
        self.assertEqual(report._render_qweb_pdf('dunning_mail.letter', notice.ids)[0], kept)
        both, _kind = report._render_qweb_pdf('dunning_mail.letter', run.notice_ids.ids)
        self.assertEqual(len(PdfReader(io.BytesIO(both)).pages), sum(
            len(PdfReader(io.BytesIO(document.raw)).pages) for document in run.notice_ids.sudo().document_id))

    def test_web_client_knows_the_engine(self):
        action = self.env['ir.actions.actions'].with_user(self.clerk)._for_xml_id('dunning_mail.report_letter')
        self.assertEqual(action['pdf_engine'], 'plutoprint')

    # === WHAT IT SAYS === #

    def test_all_in_the_customers_language(self):
        expected = {
            'de_DE': ('30.09.2026', '1.234,50', '24. November 2026'),
            'fr_FR': ('30/09/2026', '1 234,50', '24 novembre 2026'),
            'en_US': ('09/30/2026', '1,234.50', 'November 24, 2026'),
        }
        notices = {}
        for lang in expected:
            partner = self.make_partner(f'Kunde {lang}', lang=lang)
            self.make_invoice(partner, 1234.5, due='2026-09-30')
            notices[lang] = self.make_notices(partner)
            notices[lang].sudo().name = f'T/2026/{lang}'
        everything = self.env['dunning.notice'].union(*notices.values())
        documents = self.render(everything.with_context(lang='it_IT'))
        for lang, words in expected.items():
            text = self.text(documents[notices[lang].id])
            for word in words:
                self.assertIn(word, text)

    def test_credit_fee_and_total(self):
        partner = self.make_partner('Kunde AG', lang='en_US')
        self.make_invoice(partner, 500)
        self.make_invoice(partner, 80, move_type='out_refund')
        notice = self.make_notices(partner)
        notice.sudo().amount_fee = 20
        text = self.text(self.render(notice)[notice.id])
        self.assertEqual(notice.amount_total, 440)
        for words in ('Credit in your favour', '-80.00', 'Dunning fee', '20.00', '440.00'):
            self.assertIn(words, text)
        notice.sudo().amount_fee = 0
        self.assertNotIn('Dunning fee', self.text(self.render(notice)[notice.id]))

    def test_bank_account_for_the_currency(self):
        bank = self.env['res.partner.bank'].search([('partner_id', '=', self.company.partner_id.id)])
        bank.active = False
        partner = self.make_partner('Kunde AG', lang='en_US')
        self.make_invoice(partner, currency=self.foreign)
        notice = self.make_notices(partner)
        self.assertNotIn('IBAN', self.text(self.render(notice)[notice.id]))
        accounts = self.env['res.partner.bank'].create([
            {'acc_number': number, 'partner_id': self.company.partner_id.id, 'currency_id': currency, 'sequence': index}
            for index, (number, currency) in enumerate((
                ('CH5604835012345678009', self.currency.id),
                ('DE89370400440532013000', False),
                ('FR7630006000011234567890189', self.foreign.id)))])
        self.assertEqual(notice._get_payment_account(), accounts[2])
        accounts[2].active = False
        self.assertEqual(notice._get_payment_account(), accounts[1])
        self.assertIn('DE89 3704 0044 0532 0130 00', self.text(self.render(notice)[notice.id]))

    def test_address_side_and_country(self):
        partner = self.make_partner('Kunde AG', lang='de_DE')
        self.make_invoice(partner)
        notice = self.make_notices(partner)
        values = self.env['report.dunning_mail.letter']._get_letter_values(notice)
        self.assertEqual(values['side'], 'right')
        self.assertEqual(values['address_lines'], ['Kunde AG', 'Bahnhofstrasse 1', '8001 Zürich'])
        self.company.country_id = self.env.ref('base.de')
        values = self.env['report.dunning_mail.letter']._get_letter_values(notice)
        self.assertEqual(values['side'], 'left')
        self.assertEqual(values['address_lines'][-1], 'SCHWEIZ')
        self.assertIn('DE 3011 Bern', values['sender_line'])

    def test_address_of_a_contact(self):
        partner = self.make_partner('Kunde AG', lang='de_DE')
        self.make_invoice(partner)
        notice = self.make_notices(partner)
        named, unnamed = self.env['res.partner'].create([
            {'name': 'Kreditorenbuchhaltung', 'parent_id': partner.id, 'type': 'other', 'street': 'Weg 2',
             'zip': '3000', 'city': 'Bern', 'country_id': self.env.ref('base.ch').id},
            {'name': False, 'parent_id': partner.id, 'type': 'invoice', 'street': 'Weg 3',
             'zip': '3000', 'city': 'Bern', 'country_id': self.env.ref('base.ch').id}])
        letter = self.env['report.dunning_mail.letter']
        notice.sudo().recipient_id = named
        self.assertEqual(
            letter._get_address_lines(notice), ['Kunde AG', 'Kreditorenbuchhaltung', 'Weg 2', '3000 Bern'])
        notice.sudo().recipient_id = unnamed
        self.assertEqual(letter._get_address_lines(notice), ['Kunde AG', 'Weg 3', '3000 Bern'])

    def test_text_that_hurts(self):
        names = (
            'Zeile eins\nZeile zwei', '<script>alert("x")</script> & Co.', 'Gesellschaft ' * 25, 'X' * 300, '😀 GmbH',
            'شركة النور للتجارة')
        partners = [self.make_partner(name, email=False, street=False, zip=False, city=False) for name in names]
        for partner in partners:
            self.make_invoice(partner)
        notices = self.make_notices(*partners)
        for engine in pdf.ENGINES:
            if pdf.engine_available(engine):
                documents = self.render(notices, engine=engine)
                for document in documents.values():
                    self.assertEqual(len(PdfReader(io.BytesIO(document)).pages), 1)

    def test_colours_logo_and_nothing_from_outside(self):
        self.company.write({
            'primary_color': '#ffff66', 'secondary_color': 'red; } body { display: none',
            'logo': base64.b64encode(
                b'<svg xmlns="http://www.w3.org/2000/svg" width="90" height="30"><rect width="90" height="30"/></svg>'),
            'company_details': '<p>Details <img src="http://127.0.0.1:9/tracker.png"/></p>'})
        partner = self.make_partner('Kunde AG')
        self.make_invoice(partner)
        notice = self.make_notices(partner)
        values = self.env['report.dunning_mail.letter']._get_letter_values(notice)
        self.assertEqual(values['secondary'], '#ffff66')
        self.assertNotEqual(values['heading_color'], '#ffff66', "yellow letters on white cannot be read")
        [document] = catch_documents(self.clerk_report, notice)
        self.assertEqual({url for url in document.resources if '/static/fonts/' not in url}, set())
        self.assertTrue(document.resources)
        self.assertIn('data:image/', document.html)
        self.assertFalse(re.search(r'<script|<base|<link', document.html))
        self.render(notice)

    def test_draft_without_number_says_so(self):
        partner = self.make_partner('Kunde AG', lang='en_US')
        self.make_invoice(partner)
        notice = self.make_notices(partner)
        notice.sudo().name = False
        self.assertIn('Draft', self.text(self.render(notice)[notice.id]))


@tagged('post_install', '-at_install')
class TestLetterRoutes(DunningCommon, HttpCase):

    def test_routes(self):
        partners = [self.make_partner(name) for name in ('Erste AG', 'Zweite AG')]
        for partner in partners:
            self.make_invoice(partner)
        run = self.make_run(partner_ids=[Command.set([partner.id for partner in partners])])
        self.authenticate('clerk', 'clerk')
        # in tests core gives HTML without this
        context = json.dumps({'force_report_rendering': True})
        draft = run.notice_ids[0]
        path = f'/report/pdf/dunning_mail.letter/{draft.id}'
        response = self.url_open(f'{path}?context={quote(context)}')
        self.assertEqual(response.headers['Content-Type'], 'application/pdf')
        self.assertIn(draft.partner_id.name, PdfReader(io.BytesIO(response.content)).pages[0].extract_text())
        run.action_print_and_send()
        response = self.url_open('/report/download', data={
            'data': json.dumps([path, 'qweb-pdf']), 'context': context, 'csrf_token': http.Request.csrf_token(self)})
        self.assertEqual(response.content, draft.sudo().document_id.raw)
        self.assertIn(draft.name.replace('/', '-'), response.headers['Content-Disposition'])

"""The letters that WeasyPrint makes are PDF/A-3b, as they are kept: with payment part, page numbers and all."""

import io
import unittest

from pypdf import PdfReader, PdfWriter
from pypdf.generic import DictionaryObject, NameObject, TextStringObject

from odoo.tests import tagged

from odoo.addons.report_pdf_engine.tools import pdf

from .common import DunningCommon
from .pdfa import find_faults


@tagged('post_install', '-at_install')
class TestPdfA(DunningCommon):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        for engine in ('weasyprint', 'plutoprint'):
            if not pdf.engine_available(engine):
                raise unittest.SkipTest(f"{engine} is not installed")
        cls.report = cls.env.ref('dunning_mail.report_letter')
        cls.company.partner_id.write({
            'street': 'Bundesplatz 3', 'zip': '3011', 'city': 'Bern', 'country_id': cls.env.ref('base.ch').id})
        cls.env['res.partner.bank'].search([('partner_id', '=', cls.company.partner_id.id)]).active = False
        for code, account in (('CHF', 'CH4431999123000889012'), ('EUR', 'DE89370400440532013000')):
            currency = cls.env.ref(f'base.{code}')
            currency.active = True
            cls.env['res.partner.bank'].create({
                'acc_number': account, 'partner_id': cls.company.partner_id.id, 'currency_id': currency.id})

    def make_document(self, name, items, engine='weasyprint', currency='CHF'):
        self.report.pdf_engine = engine
        currency = self.env.ref(f'base.{currency}')
        partner = self.make_partner(name)
        for index in range(items):
            self.make_invoice(partner, 100 + index, currency=currency)
        run = self.make_run(partner_ids=partner.ids)
        run.action_print_and_send()
        notice = run.notice_ids
        self.assertEqual(notice.payment_part, 'epc' if currency.name == 'EUR' else 'swiss')
        return notice._get_document_bytes()

    def test_kept_letters(self):
        for name, items, options in (
                ("Müller & Söhne", 1, {}), ("شركة النور 🙂", 2, {}), ("Many AG", 60, {}),
                ("Europa GmbH", 3, {'currency': 'EUR'})):
            with self.subTest(name=name):
                self.assertEqual(find_faults(self.make_document(name, items, **options)), [])

    def test_faults_are_found(self):
        """What is no PDF/A is told from what is."""
        faults = find_faults(self.make_document("Acme", 1, engine='plutoprint'))
        self.assertIn('6.6', ' '.join(faults))
        good = self.make_document("Beta", 1)

        def spoil(change):
            writer = PdfWriter(clone_from=PdfReader(io.BytesIO(good)))
            change(writer)
            stream = io.BytesIO()
            writer.write(stream)
            return ' '.join(find_faults(stream.getvalue()))

        def take_fonts_out(writer):
            for entry in writer._objects:
                if entry and hasattr(entry, 'get') and entry.get('/Type') == '/FontDescriptor':
                    for key in [key for key in entry if key.startswith('/FontFile')]:
                        del entry[key]

        def run_script(writer):
            writer._root_object[NameObject('/OpenAction')] = DictionaryObject({
                NameObject('/S'): NameObject('/JavaScript'), NameObject('/JS'): TextStringObject('app.alert(1)')})

        def drop(name):
            return lambda writer: writer._root_object.pop(NameObject(name))

        self.assertIn('6.2.11.4.1', spoil(take_fonts_out))
        self.assertIn('6.2.3', spoil(drop('/OutputIntents')))
        self.assertIn('6.2.4.3', spoil(drop('/OutputIntents')))
        self.assertIn('6.6.2.1', spoil(drop('/Metadata')))
        self.assertIn('6.5.1', spoil(run_script))
        self.assertIn('6.1.3', spoil(lambda writer: writer.encrypt('secret', '')))
        self.assertIn('6.1.3', ' '.join(find_faults(good + b'more')))

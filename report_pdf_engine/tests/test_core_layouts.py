"""Core's layouts, and core's invoice where accounting is installed."""

import io
import unittest
from contextlib import contextmanager

from PIL import Image

from odoo import Command
from odoo.tests import tagged

from ..tools import pdf
from .common import DOCUMENT_LOGGER, ReportCase, find_words, page_texts

LAYOUTS = (
    'web.external_layout_standard', 'web.external_layout_striped', 'web.external_layout_boxed',
    'web.external_layout_bold', 'web.external_layout_folder', 'web.external_layout_wave', 'web.external_layout_bubble',
    'l10n_din5008.external_layout_din5008')

class LayoutCase(ReportCase):
    """Goes through core's layouts."""

    def get_layouts(self, engines=pdf.ENGINES):
        """Return (engine, name) of each layout that there is, for each engine that there is."""
        return [
            (engine, name) for engine in engines if pdf.engine_available(engine)
            for name in LAYOUTS if self.env.ref(name, raise_if_not_found=False)]

    @contextmanager
    def layout(self, name, report, engine):
        """Set a layout, with its paper format, and an engine."""
        self.company.external_report_layout_id = self.env.ref(name)
        self.company.paperformat_id = self.env.ref(
            'l10n_din5008.paperformat_euro_din' if 'din5008' in name else 'base.paperformat_euro')
        report.pdf_engine = engine
        with self.subTest(engine=engine, layout=name):
            yield


@tagged('post_install', '-at_install')
class TestCoreLayouts(LayoutCase):

    def test_header_text_and_footer_have_their_places(self):
        """On every page, in every layout: the header above the text, the footer below, nothing off the sheet."""
        self.company.report_footer = '<p>The footer</p>'
        report = self.make_report(
            '<t t-foreach="range(60)" t-as="index"><p>Line<t t-out="index"/></p></t>')
        for engine, name in self.get_layouts():
            if (engine, name) != ('weasyprint', 'web.external_layout_folder'):
                with self.layout(name, report, engine):
                    self.check_places(report)

    def check_places(self, report):
        paper = self.company.paperformat_id
        content = self.render(self.one, report)[self.one.id]
        texts = page_texts(content)
        self.assertGreater(len(texts), 1)
        self.assertEqual(
            [sum(text.split().count(f'Line{index}') for text in texts) for index in range(60)], [1] * 60)
        for number, (text, words) in enumerate(zip(texts, find_words(content), strict=True), start=1):
            self.assertRegex(text, rf'Page:? {number} (/|of) {len(texts)}')
            self.assertIn('The footer', text)
            lines = [y for _x, y, word in words if word.startswith('Line')]
            self.assertGreater(min(lines), paper.margin_top)
            self.assertLess(max(lines), 297 - paper.margin_bottom)
            self.assertGreater(min(y for _x, y, word in words if 'footer' in word), 297 - paper.margin_bottom)
            for x, y, word in words:
                self.assertTrue(5 < x < 205 and 5 < y < 294, word)

    def test_folder_by_weasyprint_is_left_to_core(self):
        """Its shapes get their colours from the style sheet, which WeasyPrint does not apply to them."""
        if not pdf.engine_available('weasyprint'):
            self.skipTest('weasyprint is not installed')
        self.company.external_report_layout_id = self.env.ref('web.external_layout_folder')
        self.report.pdf_engine = 'weasyprint'
        registry = self.env.registry['ir.actions.report']
        self.patch(registry, '_run_wkhtmltopdf', lambda _report, _bodies, **_values: b'%PDF-of-core')
        self.patch(registry, 'get_wkhtmltopdf_state', lambda _report: 'ok')
        with self.assertLogs(DOCUMENT_LOGGER, 'WARNING') as logs:
            self.assertEqual(self.print(self.one), b'%PDF-of-core')
        self.assertIn('weasyprint cannot show <', logs.output[0])
        self.report.pdf_engine = 'plutoprint'
        self.assertIn('Customer One', page_texts(self.print(self.one))[0])

    def test_as_large_as_core_draws_it(self):
        """What is 100 mm in the style sheet is 80 mm on paper at 96 dpi; the margins are what the paper format says."""
        body = '<p>A</p><p style="margin-left: 100mm">B</p>'
        report = self.make_report(body, template="""
            <t t-name="report_pdf_engine_test.%(name)s"><t t-call="web.html_container"><t t-foreach="docs" t-as="o">
            <div class="article" t-att-data-oe-model="o._name" t-att-data-oe-id="o.id">%(body)s</div></t></t></t>""")
        for values, factor in (
            ({'dpi': 96}, 0.8), ({'dpi': 90}, 0.8 * 96 / 90), ({'dpi': 96, 'disable_shrinking': True}, 1),
        ):
            report.paperformat_id = self.env['report.paperformat'].create({
                'name': 'x', 'format': 'A4', 'orientation': 'Portrait', 'margin_top': 20, 'margin_left': 15,
                'margin_right': 15, 'margin_bottom': 15, **values})
            for engine in filter(pdf.engine_available, pdf.ENGINES):
                report.pdf_engine = engine
                [words] = find_words(self.render(self.one, report)[self.one.id])
                places = {word: (x, y) for x, y, word in words}
                with self.subTest(values=values, engine=engine):
                    self.assertAlmostEqual(places['B'][0] - places['A'][0], 100 * factor, delta=0.5)


@tagged('post_install', '-at_install')
class TestInvoices(LayoutCase):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if 'account.move' not in cls.env:
            raise unittest.SkipTest("needs account")
        if not cls.company.chart_template:
            cls.env['account.chart.template'].try_loading('generic_coa', company=cls.company, install_demo=False)
        # no account to pay into: what comes of it is the business of the country's own addon
        cls.env['res.partner.bank'].search([('partner_id', '=', cls.company.partner_id.id)]).active = False
        cls.taxes = cls.env['account.tax'].create([
            {'name': f'{amount} %', 'amount': amount, 'type_tax_use': 'sale', 'price_include_override': 'tax_excluded'}
            for amount in (7, 13)])
        cls.report = cls.env.ref('account.account_invoices')
        cls.moves = cls.env['account.move'].create([{
            'move_type': kind, 'partner_id': cls.one.id, 'invoice_date': '2026-11-20',
            'invoice_line_ids': [Command.create({
                'name': f'Article{index}x', 'quantity': 2, 'price_unit': 100 + index,
                'tax_ids': [Command.set(cls.taxes[index % 2].ids)]}) for index in range(count)],
        } for kind, count in (('out_invoice', 3), ('out_refund', 2), ('out_invoice', 40))])
        cls.moves.action_post()

    def test_invoices_and_credit_notes(self):
        for engine, name in self.get_layouts():
            if (engine, name) != ('weasyprint', 'web.external_layout_folder'):
                with self.layout(name, self.report, engine):
                    self.check_invoices()

    def check_invoices(self):
        documents = self.render(self.moves)
        for move in self.moves:
            texts = page_texts(documents[move.id])
            joined = ' '.join(texts)
            for index, line in enumerate(move.invoice_line_ids):
                self.assertEqual(joined.split().count(line.name), 1, index)
            for words in (f'{move.amount_untaxed:,.2f}', f'{move.amount_total:,.2f}', self.one.name):
                self.assertIn(words, joined)
            for other in self.moves - move:
                self.assertNotIn(other.name, joined.split())
            self.assertEqual(len(texts) > 1, len(move.invoice_line_ids) > 3)
            for number, text in enumerate(texts, start=1):
                self.assertRegex(text, rf'Page:? {number} (/|of) {len(texts)}')

    def test_several_in_one_file(self):
        self.report.pdf_engine = 'plutoprint'
        texts = page_texts(self.print(self.moves))
        self.assertIn(self.moves[0].name, texts[0])
        self.assertIn(self.moves[1].name, texts[1])
        self.assertIn(self.moves[2].name, texts[2])
        self.assertEqual(
            [text for move in self.moves for text in page_texts(self.print(move))], texts)

    def test_sent_in_a_batch(self):
        """Accounting's own sending asks for the documents of many at once, and finds each by its invoice."""
        self.company.external_report_layout_id = self.env.ref('web.external_layout_folder')
        self.report.pdf_engine = 'plutoprint'
        moves = self.moves.with_context(force_report_rendering=True)
        moves[2].narration = '<h1>Terms</h1><p>text</p><h2>More</h2>'
        reports = self.env['ir.actions.report'].with_context(force_report_rendering=True)
        content, kind = reports._pre_render_qweb_pdf(self.report, moves.ids)
        documents = reports._get_splitted_report(self.report, content, kind)
        self.assertEqual(set(documents), set(moves.ids))
        for move in moves:
            self.assertIn(move.name, page_texts(documents[move.id])[0].split())

    def test_description_longer_than_a_page(self):
        """It goes on on the next page, below the header, and stands over nothing."""
        move = self.moves[2].copy({'invoice_date': '2026-11-20'})
        move.invoice_line_ids[0].name = '\n'.join(f'Word{index}x' for index in range(120))
        move.action_post()
        for engine in filter(pdf.engine_available, pdf.ENGINES):
            with self.layout('web.external_layout_bold', self.report, engine):
                pages = find_words(self.render(move)[move.id])
                words = [(page, y, word) for page, found in enumerate(pages) for _x, y, word in found]
                places = [(page, y) for page, y, word in words if word.startswith('Word')]
                self.assertEqual(len(places), 120)
                self.assertEqual(places, sorted(places))
                self.assertGreater(min(y for _page, y in places), self.company.paperformat_id.margin_top)
                after = [(page, y) for page, y, word in words if 'Article1x' in word]
                self.assertGreater(after[0], places[-1])

    def test_swiss_payment_slip_keeps_its_size(self):
        """Its style sheet says all sizes larger by what core's engine shrinks; it is cut off along its lines."""
        report = self.env.ref('l10n_ch.l10n_ch_qr_report', raise_if_not_found=False)
        if not report:
            self.skipTest("needs l10n_ch")
        picture = io.BytesIO()
        Image.new('RGB', (9, 9)).save(picture, 'PNG')
        # reportlab draws no pictures without a further library
        self.patch(self.registry['ir.actions.report'], 'barcode', lambda *_args, **_values: picture.getvalue())
        self.company.partner_id.write({
            'street': 'Gasse 1', 'zip': '3000', 'city': 'Bern', 'country_id': self.env.ref('base.ch').id})
        self.one.write({'zip': '3000', 'city': 'Bern', 'country_id': self.env.ref('base.ch').id})
        move = self.moves[0].copy({'invoice_date': '2026-11-20'})
        move.currency_id = self.env.ref('base.CHF')
        move.partner_bank_id = self.env['res.partner.bank'].create({
            'acc_number': 'CH4431999123000889012', 'partner_id': self.company.partner_id.id,
            'allow_out_payment': True})
        move.action_post()
        for engine in filter(pdf.engine_available, pdf.ENGINES):
            report.pdf_engine = engine
            with self.subTest(engine=engine):
                [words] = find_words(self.render(move, report)[move.id])
                places = {word: (x, y) for x, y, word in reversed(words)}
                [receipt], [part] = (
                    [place for word, place in places.items() if word.startswith(title)]
                    for title in ('Receipt', 'Payment part'))
                self.assertAlmostEqual(receipt[0], 5, delta=0.5)
                self.assertAlmostEqual(part[0], 67, delta=0.5)
                for _x, y in (receipt, part):
                    self.assertAlmostEqual(y, 192 + 5 + 3, delta=2)

    def test_vendor_bill_is_accountings_own(self):
        """What accounting does of its own with a report goes on: a bill's original is handed out, not made."""
        report = self.env.ref('account.action_account_original_vendor_bill', raise_if_not_found=False)
        if not report:
            self.skipTest("this accounting has no such report")
        report.pdf_engine = 'plutoprint'
        with self.assertRaisesRegex(Exception, 'original'):
            self.print(self.moves[0], report)

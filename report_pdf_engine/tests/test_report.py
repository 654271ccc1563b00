"""Any report, by the engine that was chosen for it: every way to it, and what becomes of faults."""

import base64
import io
from unittest.mock import patch

from PIL import Image
from pypdf import PdfReader

from odoo.exceptions import UserError
from odoo.tests import tagged
from odoo.tools import mute_logger

from ..exceptions import DocumentError
from ..tools import pdf, pdf_helper
from .common import DOCUMENT_LOGGER, ENGINE_LOGGER, ReportCase, find_words, page_texts


@tagged('post_install', '-at_install')
class TestReport(ReportCase):

    # === EACH GETS HIS OWN === #

    def test_header_and_footer_on_every_page(self):
        self.one.comment = '<p>text</p>' * 90
        for engine in pdf.ENGINES:
            if not pdf.engine_available(engine):
                continue
            self.report.pdf_engine = engine
            pages = page_texts(self.print(self.one))
            self.assertGreater(len(pages), 1)
            for number, page in enumerate(pages, start=1):
                self.assertIn(self.company.name, page)
                self.assertIn('The footer', page)
                self.assertRegex(page, rf'Page {number} / {len(pages)}')

    def test_several_in_one_call(self):
        """Templates are rendered for many at once; each document is its own, in the language of its record."""
        self.env['res.lang']._activate_lang('fr_FR')
        self.two.lang = 'fr_FR'
        documents = self.render(self.partners)
        names = self.partners.mapped('name')
        for partner in self.partners:
            [text] = page_texts(documents[partner.id])
            self.assertEqual([name in text for name in names], [name == partner.name for name in names])
            self.assertIn('Page 1 / 1', text)
        pages = page_texts(self.print(self.three | self.one | self.two))
        self.assertEqual([name in page for name, page in zip(
            ('Three', 'One', 'Two'), pages, strict=True)], [True] * 3)

    def test_templates_are_rendered_together(self):
        calls = []
        original = self.env.registry['ir.actions.report']._render_qweb_html

        def render(report, report_ref, docids, data=None):
            calls.append(list(docids))
            return original(report, report_ref, docids, data=data)

        with patch.object(self.env.registry['ir.actions.report'], '_render_qweb_html', render):
            self.render(self.partners)
            self.assertEqual(calls, [self.partners.ids])
            # Two articles for one record: who could tell what belongs to whom?
            calls.clear()
            report = self.make_report('<p t-out="o.name"/>', template="""
                <t t-name="report_pdf_engine_test.%(name)s"><t t-call="web.html_container"><t t-foreach="docs" t-as="o">
                <t t-call="web.external_layout"><div class="page">%(body)s</div></t>
                <t t-call="web.external_layout"><div class="page">%(body)s</div></t></t></t></t>""")
            documents = self.render(self.partners, report)
        self.assertEqual(calls, [self.partners.ids, *([partner.id] for partner in self.partners)])
        for partner in self.partners:
            self.assertTrue(all(partner.name in page for page in page_texts(documents[partner.id])))

    def test_copies(self):
        """As core does: copies that were asked for come in one piece."""
        ids = [self.one.id, self.two.id, self.one.id]
        content, _kind = self.report.with_context(force_report_rendering=True)._render_qweb_pdf(self.report, ids)
        self.assertEqual(
            ['One' in page for page in page_texts(content)], [True, False, True])

    def test_without_records(self):
        report = self.make_report('<p>Nobody in particular</p>', template="""
            <t t-name="report_pdf_engine_test.%(name)s"><t t-call="web.html_container">
            <t t-call="web.internal_layout"><div class="page">%(body)s</div></t></t></t>""")
        content, _kind = report.with_context(force_report_rendering=True)._render_qweb_pdf(report, [])
        self.assertIn('Nobody in particular', page_texts(content)[0])

    def test_what_stands_in_no_article(self):
        """It is shown, and where there is nothing to show, that is an empty page."""
        for body, text in (('', ''), ('<div class="page"/>', ''), ('<div class="page">Text</div>', 'Text')):
            report = self.make_report(body, template=(
                '<t t-name="report_pdf_engine_test.%(name)s"><t t-call="web.html_container">%(body)s</t></t>'))
            for engine in filter(pdf.engine_available, pdf.ENGINES):
                report.pdf_engine = engine
                with self.subTest(engine=engine, body=body):
                    self.assertEqual(page_texts(self.print(self.one, report)), [text])

    def test_data_reaches_the_template(self):
        report = self.make_report('<p t-out="pdf_engine"/><p t-out="said"/>')
        [text] = page_texts(self.render(self.one, report, data={'said': 'Hello'})[self.one.id])
        self.assertIn('plutoprint Hello', text)

    # === PAPER === #

    def test_paper_format(self):
        mm = 72 / 25.4
        for values, size in (
            ({'format': 'A5'}, (148, 210)), ({'format': 'A4', 'orientation': 'Landscape'}, (297, 210)),
            ({'format': 'custom', 'page_width': 100, 'page_height': 60}, (100, 60)),
            ({'format': 'Letter', 'dpi': 70}, (215.9, 279.4)),
            ({'format': 'B4', 'disable_shrinking': True}, (250, 353)),
            ({'format': 'Executive', 'dpi': 110}, (190.5, 254)),
        ):
            self.report.paperformat_id = self.env['report.paperformat'].create({
                'name': 'x', 'margin_top': 20, 'margin_bottom': 15, 'margin_left': 7, 'margin_right': 7,
                'header_spacing': 18, 'orientation': 'Portrait', **values})
            for engine in pdf.ENGINES:
                if not pdf.engine_available(engine):
                    continue
                self.report.pdf_engine = engine
                with self.subTest(values=values, engine=engine):
                    box = PdfReader(io.BytesIO(self.render(self.one)[self.one.id])).pages[0].mediabox
                    self.assertAlmostEqual(float(box.width) / mm, size[0], delta=0.6)
                    self.assertAlmostEqual(float(box.height) / mm, size[1], delta=0.6)

    def test_what_a_template_says_of_its_paper(self):
        """It comes before the paper format: landscape, margin, resolution."""
        mm = 72 / 25.4
        body = '<p>Text</p>'
        template = """
            <t t-name="report_pdf_engine_test.%(name)s">
            <t t-set="data_report_landscape" t-value="True"/><t t-set="data_report_margin_top" t-value="90"/>
            <t t-set="data_report_header_spacing" t-value="80"/><t t-set="data_report_dpi" t-value="60"/>
            <t t-call="web.html_container"><t t-foreach="docs" t-as="o"><t t-call="web.external_layout">
            <div class="page">%(body)s</div></t></t></t></t>"""
        report = self.make_report(body, template=template)
        for engine in filter(pdf.engine_available, pdf.ENGINES):
            report.pdf_engine = engine
            for document in self.render(self.one | self.two, report).values():
                [page] = PdfReader(io.BytesIO(document)).pages
                self.assertAlmostEqual(float(page.mediabox.width) / mm, 297, delta=0.6)
                [words] = find_words(document)
                self.assertGreater(next(y for _x, y, word in words if 'Text' in word), 90)

    def test_headings_part_nothing(self):
        """Headings in the text of one do not matter to the documents of the others, however many pages it has."""
        report = self.make_report('<div t-out="o.comment"/><p t-out="o.name"/>')
        self.two.comment = '<h1>One</h1>' + '<p>text</p>' * 60 + '<h1>Two</h1><h2>Three</h2>' + '<p>text</p>' * 60
        documents = self.render(self.partners, report)
        counts = [len(page_texts(documents[partner.id])) for partner in self.partners]
        self.assertEqual((counts[0], counts[2]), (1, 1))
        self.assertGreater(counts[1], 2)
        self.assertEqual(len(page_texts(self.print(self.partners, report))), sum(counts))

    def test_background(self):
        """A picture behind the text makes no page more."""
        picture = io.BytesIO()
        Image.new('RGB', (300, 500), '#eeeeff').save(picture, 'PNG')
        self.company.write({
            'layout_background': 'Custom', 'layout_background_image': base64.b64encode(picture.getvalue())})
        for landscape in (False, True):
            report = self.report.with_context(landscape=landscape)
            [document] = report.render_documents(self.one.with_context(landscape=landscape)).values()
            [page] = PdfReader(io.BytesIO(document)).pages
            self.assertEqual(page.mediabox.width > page.mediabox.height, landscape)

    # === STORED ONES === #

    def test_attachment_use(self):
        self.report.write({'attachment': "'sheet-%s.pdf' % object.id", 'attachment_use': True})
        self.print(self.one | self.two)
        stored = self.env['ir.attachment'].search([('res_model', '=', 'res.partner'), ('name', 'like', 'sheet-%')])
        self.assertEqual(sorted(stored.mapped('res_id')), sorted((self.one | self.two).ids))
        self.one.name = 'Somebody else'
        self.assertIn('Customer One', page_texts(self.print(self.one))[0])
        pages = page_texts(self.print(self.partners))
        self.assertIn('Customer One', pages[0])
        self.assertIn('Customer Three', pages[2])
        self.assertEqual(self.env['ir.attachment'].search_count([('name', 'like', 'sheet-%')]), 3)
        self.report.attachment_use = False
        self.assertIn('Somebody else', page_texts(self.print(self.one))[0])
        # a picture is taken too, as core takes it
        self.report.attachment_use = True
        stream = io.BytesIO()
        Image.new('RGBA', (60, 30), 'red').save(stream, 'PNG')
        stored.filtered(lambda attachment: attachment.res_id == self.one.id).write(
            {'raw': stream.getvalue(), 'mimetype': 'image/png'})
        self.assertEqual(page_texts(self.print(self.one)), [''])
        # What is a PDF is one whatever it is called, and to hand it out takes no engine.
        two = stored.filtered(lambda attachment: attachment.res_id == self.two.id)
        two.mimetype = 'application/octet-stream'
        self.two.name = 'Somebody else'
        with (
            patch.object(pdf, 'engine_available', return_value=False), mute_logger(ENGINE_LOGGER, DOCUMENT_LOGGER),
            patch.object(self.env.registry['ir.actions.report'], 'get_wkhtmltopdf_state', return_value='install'),
        ):
            self.assertIn('Customer Two', page_texts(self.print(self.two))[0])
            new = self.env['res.partner'].create([{'name': 'New'}, {'name': 'Newer'}])
            with self.assertRaises(UserError) as caught:
                self.print(new)
            self.assertEqual(str(caught.exception).count('pip install'), 1)

    def test_nothing_is_read_from_store_by_cores_engine(self):
        """Where documents are asked for one by one, each is made."""
        self.report.write({
            'attachment': "'sheet-%s.pdf' % object.id", 'attachment_use': True, 'pdf_engine': 'wkhtmltopdf'})
        self.env['ir.attachment'].create({
            'name': f'sheet-{self.one.id}.pdf', 'raw': b'%PDF-old', 'res_model': 'res.partner', 'res_id': self.one.id})
        registry = self.env.registry['ir.actions.report']

        def run(_report, bodies, **_values):
            return b'%PDF-Changed' if 'Changed One' in ''.join(map(str, bodies)) else b'%PDF-new'

        with (
            patch.object(registry, '_run_wkhtmltopdf', run),
            patch.object(registry, 'get_wkhtmltopdf_state', return_value='ok'),
            patch.object(registry, 'prepare_document_html', lambda _report, html: html.replace('Customer', 'Changed')),
        ):
            self.assertEqual(self.render(self.one), {self.one.id: b'%PDF-Changed'})

    # === WHICH ENGINE === #

    def test_web_client_knows_the_engine(self):
        self.assertEqual(self.report.report_action([1], config=False)['pdf_engine'], 'plutoprint')
        reports = self.env['ir.actions.report']
        self.assertEqual(reports.get_pdf_engine(self.report.report_name), 'plutoprint')
        self.assertEqual(reports.get_pdf_engine('base.report_irmodulereference'), 'wkhtmltopdf')
        self.assertEqual(reports.get_pdf_engine('no.such_report'), 'wkhtmltopdf')
        self.assertIn('pdf_engine', self.report._get_readable_fields())

    def test_core_is_left_alone(self):
        """A report for which nothing was chosen goes core's way, and no helper is started."""
        self.report.pdf_engine = 'wkhtmltopdf'
        with (
            patch.object(self.env.registry['ir.actions.report'], 'render_documents', side_effect=AssertionError),
            patch.object(self.env.registry['ir.actions.report'], '_run_wkhtmltopdf', return_value=b'%PDF-of-core'),
            patch.object(self.env.registry['ir.actions.report'], 'get_wkhtmltopdf_state', return_value='ok'),
        ):
            self.assertEqual(self.print(self.one), b'%PDF-of-core')

    def test_another_engine_stands_in(self):
        with (
            patch.object(pdf, 'engine_available', lambda engine: engine == 'weasyprint'),
            self.assertLogs(ENGINE_LOGGER, 'WARNING') as logs,
        ):
            self.assertEqual(self.report.find_pdf_engine(), 'weasyprint')
        self.assertIn('plutoprint is not installed, weasyprint is used', logs.output[0])

    def test_no_engine_at_all(self):
        with (
            patch.object(pdf, 'engine_available', return_value=False),
            patch.object(self.env.registry['ir.actions.report'], 'get_wkhtmltopdf_state', return_value='install'),
            mute_logger(ENGINE_LOGGER, DOCUMENT_LOGGER),
        ):
            document = self.report.render_documents(self.one)[self.one.id]
            self.assertIsInstance(document, DocumentError)
            for words in ('Partner Sheet', 'PlutoPrint', 'pip install plutoprint'):
                self.assertIn(words, str(document))
            with self.assertRaisesRegex(UserError, 'pip install plutoprint'):
                self.print(self.one)

    def test_what_cannot_be_shown_is_left_to_core(self):
        """It is found out before anything is printed; those that can be shown are made as ever."""
        report = self.make_report(
            '<h1 t-out="o.name"/><script t-if="o.name == \'Customer Two\'">document.write("7")</script>')
        registry = self.env.registry['ir.actions.report']

        def run(_report, bodies, **_values):
            self.assertIn('Customer Two', ''.join(map(str, bodies)))
            return b'%PDF-of-core'

        with (
            patch.object(registry, '_run_wkhtmltopdf', run),
            patch.object(registry, 'get_wkhtmltopdf_state', return_value='ok'),
            self.assertLogs(DOCUMENT_LOGGER, 'WARNING') as logs,
        ):
            documents = report.render_documents(self.partners)
        self.assertEqual(documents[self.two.id], b'%PDF-of-core')
        for partner in self.one | self.three:
            self.assertIn(partner.name, page_texts(documents[partner.id])[0])
        self.assertTrue(all('plutoprint cannot show <script>, wkhtmltopdf is used' in line for line in logs.output))
        # Where core's engine is missing, what can be shown is better than nothing.
        with (
            patch.object(registry, 'get_wkhtmltopdf_state', return_value='install'),
            self.assertLogs(DOCUMENT_LOGGER, 'WARNING') as logs,
        ):
            [document] = report.render_documents(self.two).values()
        self.assertIn('Customer Two', page_texts(document)[0])
        self.assertIn('<script> is left out', logs.output[0])

    # === FAULTS === #

    def test_engine_that_dies(self):
        render = pdf_helper.Helper.render

        def die(helper, document, seconds):
            if document.key == (self.one.id, 0):
                helper.kill()
            return render(helper, document, seconds)

        with patch.object(pdf_helper.Helper, 'render', die), mute_logger(DOCUMENT_LOGGER):
            documents = self.report.render_documents(self.one | self.two)
        self.assertIsInstance(documents[self.one.id], DocumentError)
        self.assertIn('Customer One', str(documents[self.one.id]))
        self.assertIsInstance(documents[self.two.id], bytes)

    def test_fault_in_one_template_does_not_stop_the_others(self):
        report = self.make_report(
            '<p t-out="o.name"/><p t-if="o.name == \'Customer Two\'" t-out="1 / 0"/>')
        with mute_logger(DOCUMENT_LOGGER):
            documents = report.render_documents(self.partners)
            self.assertIsInstance(documents[self.two.id], DocumentError)
            self.assertIn('Customer Two', str(documents[self.two.id]))
            self.assertIn('ZeroDivisionError', str(documents[self.two.id]))
            for partner in self.one | self.three:
                self.assertIsInstance(documents[partner.id], bytes)
            with self.assertRaisesRegex(UserError, 'Customer Two'):
                self.print(self.partners, report)

    # === WHAT OTHER ADDONS SAY === #

    def test_numbers_on_every_page(self):
        registry = self.env.registry['ir.actions.report']
        numbers = {self.one.id: 'Customer One', self.two.id: 'Customer Three'}
        with patch.object(registry, 'get_document_numbers', lambda _report, _records: numbers), mute_logger(
                DOCUMENT_LOGGER):
            documents = self.report.render_documents(self.one | self.two)
        self.assertIsInstance(documents[self.one.id], bytes)
        self.assertIn('Not every page carries the number', str(documents[self.two.id]))

    def test_kept_documents(self):
        registry = self.env.registry['ir.actions.report']
        self.report.write({'attachment': "'sheet-%s.pdf' % object.id"})
        with (
            patch.object(registry, 'keeps_documents', lambda _report: True),
            patch.object(registry, 'get_kept_documents', lambda _report, records: {self.one.id: b'%PDF-kept'}),
        ):
            streams = self.report._render_qweb_pdf_prepare_streams(self.report, {}, res_ids=(self.one | self.two).ids)
        self.assertEqual(streams[self.one.id]['stream'].getvalue(), b'%PDF-kept')
        self.assertIn('Customer Two', page_texts(streams[self.two.id]['stream'].getvalue())[0])

    def test_html_may_be_changed(self):
        registry = self.env.registry['ir.actions.report']
        with patch.object(registry, 'prepare_document_html', lambda _report, html: html.replace('Customer', 'Client')):
            self.assertIn('Client One', page_texts(self.render(self.one)[self.one.id])[0])

import io
import unittest

from pypdf import PdfReader

from odoo.tests import TransactionCase

from ..tools import pdf

DOCUMENT_LOGGER = 'odoo.addons.report_pdf_engine.models.ir_actions_report_document'
ENGINE_LOGGER = 'odoo.addons.report_pdf_engine.models.ir_actions_report'

MM = 72 / 25.4

# A report in core's layout, as other addons write theirs.
TEMPLATE = """
<t t-name="report_pdf_engine_test.%(name)s">
    <t t-call="web.html_container">
        <t t-foreach="docs" t-as="o">
            <t t-call="web.external_layout">
                <t t-set="address">
                    <div t-field="o.self" t-options="{'widget': 'contact', 'fields': ['name', 'address']}"/>
                </t>
                <t t-set="o" t-value="o.with_context(lang=o.lang)"/>
                <div class="page">%(body)s</div>
            </t>
        </t>
    </t>
</t>
"""


def page_texts(content):
    # non-breaking spaces of all kinds, and whatever else the engines put between two words
    return [
        ' '.join(page.extract_text().replace('\0', '').split()) for page in PdfReader(io.BytesIO(content)).pages]


def find_words(content):
    """Return for each page its words with their places: (millimetres from the left, from the top, word)."""
    pages = []
    for page in PdfReader(io.BytesIO(content)).pages:
        words, height = [], float(page.mediabox.height)

        def visit(text, matrix, text_matrix, _font, _size, words=words, height=height):
            if text.strip():
                x = text_matrix[4] * matrix[0] + text_matrix[5] * matrix[2] + matrix[4]
                y = text_matrix[4] * matrix[1] + text_matrix[5] * matrix[3] + matrix[5]
                words.append((x / MM, (height - y) / MM, text.strip()))
        page.extract_text(visitor_text=visit)
        pages.append(words)
    return pages


class ReportCase(TransactionCase):
    """A report of partners, made by PlutoPrint."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if not pdf.engine_available('plutoprint'):
            raise unittest.SkipTest("plutoprint is not installed")
        cls.company = cls.env.company
        cls.company.write({
            'external_report_layout_id': cls.env.ref('web.external_layout_standard').id,
            'report_footer': '<p>The footer</p>', 'paperformat_id': cls.env.ref('base.paperformat_euro').id})
        cls.report = cls.make_report('<h1 t-out="o.name"/><p t-out="o.comment"/>')
        cls.one, cls.two, cls.three = cls.partners = cls.env['res.partner'].create([
            {'name': f'Customer {name}', 'street': f'{name} Street', 'lang': 'en_US'}
            for name in ('One', 'Two', 'Three')])

    @classmethod
    def make_report(cls, body, template=TEMPLATE, **values):
        name = f'report_{cls.env["ir.actions.report"].search_count([])}'
        key = f'report_pdf_engine_test.{name}'
        view = cls.env['ir.ui.view'].create({
            'name': name, 'key': key, 'type': 'qweb', 'arch': template % {'name': name, 'body': body}})
        cls.env['ir.model.data'].create({
            'module': 'report_pdf_engine_test', 'name': name, 'model': 'ir.ui.view', 'res_id': view.id})
        return cls.env['ir.actions.report'].create({
            'name': 'Partner Sheet', 'model': 'res.partner', 'report_type': 'qweb-pdf', 'report_name': key,
            'pdf_engine': 'plutoprint', **values})

    def render(self, records, report=None, **values):
        """Return the PDFs of records, each by itself."""
        documents = (report or self.report).render_documents(records, **values)
        self.assertEqual(documents.keys(), set(records.ids))
        for document in documents.values():
            self.assertIsInstance(document, bytes, document)
        return documents

    def print(self, records, report=None):
        """Return what a user gets who prints records."""
        content, kind = self.env['ir.actions.report'].with_context(force_report_rendering=True)._render_qweb_pdf(
            report or self.report, records.ids)
        self.assertEqual(kind, 'pdf')
        return content

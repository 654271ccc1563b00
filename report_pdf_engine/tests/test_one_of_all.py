"""Which records and articles make one document, and which several: as core has it."""

from contextlib import ExitStack
from unittest.mock import patch

from odoo.exceptions import AccessError, MissingError, RedirectWarning, UserError, ValidationError
from odoo.tests import new_test_user, tagged
from odoo.tools import mute_logger

from ..exceptions import DocumentError
from ..tools import pdf
from .common import DOCUMENT_LOGGER, ReportCase, find_words, page_texts

# One table of all records, in a layout that knows no record.
TABLE = """
<t t-name="report_pdf_engine_test.%(name)s"><t t-call="web.html_container"><t t-call="web.internal_layout">
<div class="page"><table><tr t-foreach="docs" t-as="line"><td>Row<t t-out="line.id"/></td></tr></table>
<p>Sum<t t-out="len(docs)"/>x</p>%(body)s</div></t></t></t>"""
# Several articles of which none says whose it is: the first three with header and footer, of which one is missing each.
ARTICLES = """
<t t-name="report_pdf_engine_test.%(name)s"><t t-call="web.html_container"><t t-foreach="docs" t-as="o">
<t t-foreach="range(1, 4)" t-as="part">
<div class="header" t-if="part != 2">Head<t t-out="part"/>x <span class="page"/>of<span class="topage"/></div>
<div class="header" t-else=""/>
<div class="article">%(body)s</div>
<div class="footer">Foot<t t-out="part"/>x</div></t></t></t></t>"""


@tagged('post_install', '-at_install')
class TestOneOfAll(ReportCase):

    def engines(self, *reports):
        for engine in filter(pdf.engine_available, pdf.ENGINES):
            for report in reports:
                report.pdf_engine = engine
            yield engine

    def make_partners(self, count):
        return self.env['res.partner'].create([{'name': f'Number {index}'} for index in range(count)])

    def test_one_table_of_all(self):
        """However many they are, the template is called once for all of them, and its sums are of all."""
        report = self.make_report('', template=TABLE)
        partners = self.make_partners(60)
        for _engine in self.engines(report):
            text = ' '.join(page_texts(self.print(partners, report)))
            self.assertIn('Sum60x', text)
            self.assertEqual([word for word in text.split() if word.startswith('Row')], [
                f'Row{partner.id}' for partner in partners])
        # Core hands out one document that belongs to no single record.
        streams = report._render_qweb_pdf_prepare_streams(report, {}, res_ids=partners[:2].ids)
        self.assertEqual(list(streams), [False])
        self.assertIsNone(streams[False]['attachment'])
        # Copies too stand in it.
        ids = [self.one.id, self.two.id, self.one.id]
        content, _kind = report.with_context(force_report_rendering=True)._render_qweb_pdf(report, ids)
        [text] = page_texts(content)
        self.assertEqual([word for word in text.split() if word.startswith('Row')], [f'Row{res_id}' for res_id in ids])

    def test_labels(self):
        """Several to a page, for records that no article names."""
        report = self.make_report('', template="""
            <t t-name="report_pdf_engine_test.%(name)s"><t t-call="web.basic_layout"><div class="page">
            <div t-foreach="docs" t-as="label" t-out="label.name" style="float: left; width: 33%%"/>%(body)s
            </div></t></t>""")
        [text] = page_texts(self.print(self.make_partners(12), report))
        for index in range(12):
            self.assertIn(f'Number {index}', text)

    def test_each_by_itself_where_that_is_wanted(self):
        """Documents that are stored with their records are made one by one, whatever the template would do."""
        report = self.make_report('', template=TABLE)
        registry = self.env.registry['ir.actions.report']
        for values, hooks in (
            ({'attachment': "'sheet-%s.pdf' % object.id"}, {}),
            ({'attachment': False}, {'keeps_documents': lambda _report: True}),
            ({'attachment': False}, {'get_document_numbers': lambda _report, records: {
                record.id: f'Row{record.id}' for record in records}}),
        ):
            report.write(values)
            with self.subTest(values=values, hooks=list(hooks)), ExitStack() as stack:
                for name, hook in hooks.items():
                    stack.enter_context(patch.object(registry, name, hook))
                streams = report._render_qweb_pdf_prepare_streams(report, {}, res_ids=self.partners.ids)
                self.assertEqual(list(streams), self.partners.ids)
                for partner in self.partners:
                    [text] = page_texts(streams[partner.id]['stream'].getvalue())
                    self.assertEqual([word for word in text.split() if word.startswith('Row')], [f'Row{partner.id}'])
        # and so is what is asked for one by one
        documents = self.render(self.partners, report)
        self.assertTrue(all('Sum1x' in page_texts(document)[0] for document in documents.values()))

    def test_one_of_all_that_core_must_make(self):
        report = self.make_report('<script>document.write("7")</script>', template=TABLE)
        registry = self.env.registry['ir.actions.report']
        calls = []

        def run(_report, bodies, **_values):
            calls.append(''.join(map(str, bodies)))
            return b'%PDF-of-core'

        def merge(*_args):
            raise AssertionError

        with (
            patch.object(registry, '_run_wkhtmltopdf', run), patch.object(registry, '_merge_pdfs', merge),
            patch.object(registry, 'get_wkhtmltopdf_state', return_value='ok'),
            patch('odoo.addons.base.models.ir_actions_report.PdfFileReader') as reader, mute_logger(DOCUMENT_LOGGER),
        ):
            # as many pages as records would be one page each
            reader.return_value.numPages = 9
            self.assertEqual(self.print(self.partners, report), b'%PDF-of-core')
        [html] = calls
        self.assertIn('3', html[html.index('Sum'):][:9])

    def test_faults_are_of_the_record(self):
        report = self.make_report(
            '<p t-foreach="docs" t-as="line" t-if="line.name == \'Customer Two\'" t-out="1 / 0"/>', template=TABLE)
        with mute_logger(DOCUMENT_LOGGER), self.assertRaisesRegex(UserError, 'Customer Two.*ZeroDivisionError'):
            self.print(self.partners, report)

    def test_several_articles(self):
        """Each begins on a new page and has its own header and footer, and pages counted for it alone."""
        report = self.make_report('<p>Text<t t-out="part"/>x</p><p t-foreach="range(60)" t-as="n">line</p>',
                                  template=ARTICLES)
        for _engine in self.engines(report):
            content = self.render(self.one, report)[self.one.id]
            texts = page_texts(content)
            size = len(texts) // 3
            self.assertGreater(size, 1)
            for index, text in enumerate(texts):
                part, number = index // size + 1, index % size + 1
                self.assertEqual([word for word in text.split() if word[:4] in ('Text', 'Head', 'Foot')], [
                    word for word in (
                        f'Text{part}x' if number == 1 else '', f'Head{part}x' if part != 2 else '', f'Foot{part}x')
                    if word])
                if part != 2:
                    self.assertIn(f'{number}of{size}', ''.join(text.split()))
            # as high up on each page
            for words in find_words(content):
                self.assertGreater(min(y for _x, y, word in words if word in ('line', 'Text')), 20)
            self.assertEqual(page_texts(self.print(self.partners, report)), texts * 3)

    # === FAULTS AS CORE RAISES THEM === #

    def test_whose_fault_it_is_stays_known(self):
        """The web client, and a portal's page, tell them apart."""
        report = self.make_report('<p t-out="o.get_formview_id()"/>')
        registry = self.env.registry['res.partner']
        warning = RedirectWarning("No layout yet", self.env.ref('base.action_partner_form').id, "Choose one")
        for error in (AccessError("no"), MissingError("no"), ValidationError("no"), warning):
            def refuse(_partner, error=error):
                raise error

            with (
                self.subTest(error=error), patch.object(registry, 'get_formview_id', refuse),
                mute_logger(DOCUMENT_LOGGER),
            ):
                with self.assertRaises(type(error)) as caught:
                    self.print(self.one, report)
                self.assertEqual(caught.exception.args, error.args)

    def test_record_that_cannot_be_named(self):
        gone = self.make_partners(1)
        gone.unlink()
        report = self.make_report('', template="""
            <t t-name="report_pdf_engine_test.%(name)s"><t t-call="web.html_container"><t t-foreach="docs" t-as="o">
            <div class="article" t-att-data-oe-model="o._name" t-att-data-oe-id="o.id"><p t-out="1 / bool(o.exists())"/>
            </div></t>%(body)s</t></t>""")
        for one_report in (report, self.report):
            with mute_logger(DOCUMENT_LOGGER):
                documents = one_report.render_documents(self.one | gone | self.two)
            self.assertIsInstance(documents[gone.id], DocumentError)
            for partner in self.one | self.two:
                self.assertIsInstance(documents[partner.id], bytes)
            if one_report == report:
                self.assertIn(f'res.partner,{gone.id}', str(documents[gone.id]))

    def test_rights_of_whoever_prints(self):
        """A document of what a user may not read is refused, whichever way it is asked for."""
        portal = new_test_user(self.env, 'printing_portal', groups='base.group_portal')
        # what others have read stays in the cache, which asks for no rights
        self.env.flush_all()
        self.env.invalidate_all()
        with mute_logger(DOCUMENT_LOGGER):
            documents = self.report.render_documents(self.two.with_user(portal))
        self.assertIsInstance(documents[self.two.id], DocumentError)
        self.env.invalidate_all()
        with self.assertRaises(AccessError), mute_logger(DOCUMENT_LOGGER):
            self.env['ir.actions.report'].with_user(portal).with_context(
                force_report_rendering=True)._render_qweb_pdf(self.report, self.two.ids)

    # === THE DATABASE === #

    def test_what_was_written_stays_written(self):
        """A fault undoes what its template did, and nothing that was written before, or by another's."""
        registry = self.env.registry['ir.actions.report']
        self.patch(registry, 'get_wkhtmltopdf_state', lambda _report: 'ok')
        self.patch(registry, '_run_wkhtmltopdf', lambda *_args, **_values: b'%PDF-of-core')
        report = self.make_report("""
            <t t-set="known" t-value="o.search_count([('ref', '=', 'before')])"/>
            <t t-set="done" t-value="o.write({'function': 'within'})"/>
            <t t-set="known" t-value="o.search_count([('function', '=', 'within')])"/>
            <p t-if="o.name == 'Customer Two'" t-out="1 / 0"/>""")
        for engine in ('plutoprint', 'wkhtmltopdf'):
            report.pdf_engine = engine
            self.partners.write({'ref': False, 'function': False})
            self.env.flush_all()
            self.partners.ref = 'before'
            with self.subTest(engine=engine), mute_logger(DOCUMENT_LOGGER):
                documents = report.render_documents(self.partners)
                self.assertIsInstance(documents[self.two.id], Exception)
                self.env.flush_all()
                self.env.cr.execute(
                    'SELECT ref, function FROM res_partner WHERE id = ANY(%s) ORDER BY id', [self.partners.ids])
                self.assertEqual(
                    self.env.cr.fetchall(), [('before', 'within'), ('before', None), ('before', 'within')])
                self.assertEqual(self.partners.mapped('function'), ['within', False, 'within'])

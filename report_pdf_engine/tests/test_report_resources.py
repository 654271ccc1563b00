"""What a document may show: nothing is fetched, and nobody sees in it what he may not see elsewhere."""

import base64
import io
import socket
from unittest.mock import patch

import lxml.html
from PIL import Image
from pypdf import PdfReader

from odoo.tests import new_test_user, tagged
from odoo.tools import mute_logger

from ..exceptions import ResourceError
from ..tools import pdf
from .common import DOCUMENT_LOGGER, ENGINE_LOGGER, MM, ReportCase, page_texts

PICTURE = base64.b64encode(
    b'<svg xmlns="http://www.w3.org/2000/svg" width="90" height="30"><rect width="90" height="30"/></svg>')


@tagged('post_install', '-at_install')
class TestReportResources(ReportCase):

    def collect(self, html, user=None):
        report = self.report.with_user(user) if user else self.report.sudo()
        return set(report.collect_resources(lxml.html.fragment_fromstring(html, 'div')))

    def test_only_odoos_own(self):
        base_url = self.env['ir.config_parameter'].get_param('web.base.url')
        for html, found in (
            ('<img src="/web/static/img/logo.png"/>', '/web/static/img/logo.png'),
            (f'<img src="{base_url}/web/static/img/logo.png"/>', None),
            ('<p style="background: url(/web/static/img/logo.png)"></p>', '/web/static/img/logo.png'),
            ('<style>@font-face {src: url("/web/static/fonts/lato/Lato-Reg-webfont.woff")}</style>',
             '/web/static/fonts/lato/Lato-Reg-webfont.woff'),
        ):
            with self.subTest(html):
                [url] = self.collect(html)
                self.assertTrue(url.endswith(found or '/web/static/img/logo.png'))
        for html in (
            '<img src="http://elsewhere.test/x.png"/>', '<img src="//elsewhere.test/x.png"/>',
            '<img src="file:///etc/passwd"/>', '<link rel="stylesheet" href="http://elsewhere.test/x.css"/>',
            '<img src="/web/static/../../../../etc/passwd"/>', '<img src="/web/static/%2e%2e/%2e%2e/__init__.py"/>',
            '<img src="/web/static/src/env.js"/>', '<img src="/web/database/manager"/>', '<img src="http://[broken"/>',
            f'<img src="{base_url}.elsewhere.test/web/static/img/logo.png"/>',
            '<style>body {background: url(http://elsewhere.test/x.png)}</style>',
        ):
            with self.subTest(html):
                self.assertEqual(self.collect(html), set())

    def test_pictures_by_the_users_rights(self):
        user = new_test_user(self.env, 'reader', groups='base.group_user')
        Attachment = self.env['ir.attachment']
        own, foreign, public, layout = (
            Attachment.create({'name': 'x.svg', 'datas': PICTURE, **values}) for values in (
                {'res_model': 'res.partner', 'res_id': self.one.id},
                {'res_model': 'ir.mail_server', 'res_id': self.env['ir.mail_server'].create({
                    'name': 'x', 'smtp_host': 'x.test'}).id},
                {'public': True}, {'res_model': 'ir.ui.view', 'res_id': self.env.ref('web.minimal_layout').id}))
        token = foreign.generate_access_token()[0]

        def picture(attachment, query=''):
            return f'<img src="/web/image/{attachment.id}{query}"/>'

        for attachment in (own, public, layout):
            self.assertEqual(len(self.collect(picture(attachment), user)), 1)
        self.assertEqual(self.collect(picture(foreign), user), set())
        self.assertEqual(len(self.collect(picture(foreign, f'?access_token={token}'), user)), 1)
        self.assertEqual(self.collect(picture(foreign, '?access_token=no'), user), set())
        # the superuser's rights are nobody's
        superuser = self.report.with_user(1)
        self.assertEqual(superuser.collect_resources(lxml.html.fragment_fromstring(picture(own), 'div')), {})

    def test_cores_engine_fetches_nothing_foreign_either(self):
        """Where this addon calls it: neither from the network nor from the machine. Odoo itself is not at work here."""
        if self.report.get_wkhtmltopdf_state() == 'install':
            self.skipTest("wkhtmltopdf is not installed")
        with socket.create_server(('127.0.0.1', 0)) as own, socket.create_server(('127.0.0.1', 0)) as server:
            server.settimeout(0.2)
            self.env['ir.config_parameter'].set_param('report.url', f'http://127.0.0.1:{own.getsockname()[1]}')
            own.close()
            url = f'http://127.0.0.1:{server.getsockname()[1]}'
            report = self.make_report(f"""
                <p>Seen</p><img src="{url}/a.png"/><img srcset="{url}/b.png 2x"/><img src="{url[5:]}/c.png"/>
                <link rel="stylesheet" href="{url}/d.css"/><iframe src="{url}/e"/><iframe src="file:///etc/passwd"/>
                <style>@import "{url}/f.css"; @import url({url}/g.css); body {{background: url('{url}/h.png')}}</style>
                <p style="background: url({url}/i.png)">x</p><object data="{url}/j" type="text/html"/>
                <embed src="{url}/k"/><table background="{url}/l.png"><tr><td>x</td></tr></table>
                <svg><image href="{url}/m.png" width="9" height="9"/></svg>
                <meta http-equiv="refresh" content="0;url={url}/n"/>
                <video poster="{url}/o.png" src="{url}/p"/><input type="image" src="{url}/q"/>""")
            with mute_logger('odoo.addons.base.models.ir_actions_report', DOCUMENT_LOGGER):
                documents = self.render(self.one, report)
            with self.assertRaises(TimeoutError):
                server.accept()
        text = ''.join(page_texts(documents[self.one.id]))
        self.assertIn('Seen', text)
        self.assertNotIn('root:', text)

    def get_html_for_core(self, report, records):
        """Return what core's engine would get."""
        registry = self.env.registry['ir.actions.report']
        pages = []

        def run(_report, bodies, **values):
            pages.extend([*bodies, values['header'], values['footer']])
            return b'%PDF-of-core'

        with (
            patch.object(registry, '_run_wkhtmltopdf', run), mute_logger(DOCUMENT_LOGGER, ENGINE_LOGGER),
            patch.object(registry, 'get_wkhtmltopdf_state', return_value='ok'),
        ):
            report.with_context(force_report_rendering=True)._render_qweb_pdf(report, records.ids)
        return ''.join(map(str, pages))

    def test_no_way_to_cores_engine_is_left_out(self):
        """Without records, and where the chosen engine is not installed."""
        body = '<p>Seen</p><img src="http://elsewhere.test/a.png"/>'
        template = """<t t-name="report_pdf_engine_test.%(name)s"><t t-call="web.html_container">
            <t t-call="web.internal_layout"><div class="page">%(body)s</div></t></t></t>"""
        report = self.make_report(body + '<script>1</script>', template=template)
        for records in (self.one, self.partners, self.partners[:0]):
            for is_installed in (True, False):
                with (
                    self.subTest(records=records, is_installed=is_installed),
                    patch.object(pdf, 'engine_available', return_value=is_installed),
                    patch.object(self.env.registry['ir.actions.report'], 'prepare_document_html',
                                 lambda _report, html: html.replace('Seen', 'Changed')),
                    patch('odoo.addons.base.models.ir_actions_report.PdfFileReader'),
                ):
                    html = self.get_html_for_core(report, records)
                    self.assertIn('Changed', html)
                    self.assertNotIn('elsewhere.test', html)
        # What was chosen for core goes core's way.
        report.pdf_engine = 'wkhtmltopdf'
        self.assertIn('elsewhere.test', self.get_html_for_core(report, self.one))

    def test_addresses_written_in_any_way(self):
        for css in (
            'a{b:URL(http://elsewhere.test/x)}', '@IMPORT "http://elsewhere.test/x";',
            '@import"http://elsewhere.test/x";', "@Import'http://elsewhere.test/x'",
            r'a{b:u\72l(http://elsewhere.test/x)}', r'@\69mport "http://elsewhere.test/x";',
            r'a{b:url(ht\74p://elsewhere.test/x)}', 'a{b:url( "http://elsewhere.test/x" )}',
            'a{b:image-set("http://elsewhere.test/x" 1x)}', "a{b:src('http://elsewhere.test/x')}",
            'a{b:url(http://elsewhere.test/a b)}', '@import/**/"http://elsewhere.test/x";',
            'a{b:url("http://elsewhere.test/x', '@import url(//elsewhere.test/x',
        ):
            in_attribute = [f"<p style='{css[2:-1]}'>Seen</p>"] if css.startswith('a') and "'" not in css else []
            for html in (f'<style>{css}</style><p>Seen</p>', *in_attribute):
                with self.subTest(html):
                    cleaned = self.report._leave_out_foreign(f'<html><body>{html}</body></html>').decode()
                    self.assertNotIn('elsewhere.test', cleaned)
                    self.assertIn('Seen', cleaned)
        for css in (
            'a{b:url(/web/static/img/logo.png)}', "a{b: url('data:image/png;base64,x;y')}", r'a{content:"\201c"}',
            '@font-face{src:url("/web/static/fonts/x.woff") format("woff")}', '@import "/web/static/x.css";',
        ):
            with self.subTest(css):
                cleaned = self.report._leave_out_foreign(f'<html><head><style>{css}</style></head></html>').decode()
                self.assertIn(css, cleaned)
        for address in (
            r'\\elsewhere.test\x.png', r'/\elsewhere.test/x.png', r'http:\\elsewhere.test\x.png',
            r'\/elsewhere.test/x.png', '/\t/elsewhere.test/x', '\x01//elsewhere.test/x', 'ht\ntp://elsewhere.test/x',
            '/ /elsewhere.test/x', ' //elsewhere.test/x', 'HTTP://elsewhere.test/x', r'/web/static\..\elsewhere.test',
        ):
            with self.subTest(address):
                self.assertEqual(self.collect(f'<img src="{address}"/>'), set())
                if address == '/ /elsewhere.test/x':
                    # a path of this Odoo's, which there is not
                    continue
                cleaned = self.report._leave_out_foreign(f'<html><body><img src="{address}"/></body></html>').decode()
                self.assertNotIn('elsewhere.test', cleaned)

    def test_pictures_as_odoo_serves_them(self):
        """By what a model itself says of its pictures, and no field that the user may not see."""
        user = new_test_user(self.env, 'reader', groups='base.group_user')
        stream = io.BytesIO()
        Image.new('RGB', (128, 64), 'red').save(stream, 'PNG')
        self.one.image_1920 = base64.b64encode(stream.getvalue())
        address = f'<img src="/web/image/res.partner/{self.one.id}/image_1920"/>'
        self.assertEqual(len(self.collect(address, user)), 1)
        registry = self.env.registry['res.partner']
        with patch.object(registry._fields['image_1920'], 'groups', 'base.group_system'):
            self.assertEqual(self.collect(address, user), set())
        portal = new_test_user(self.env, 'portal', groups='base.group_portal')
        self.assertEqual(self.collect(address, portal), set())
        with patch.object(
                registry, '_can_return_content', lambda _partner, field=None, _token=None: field == 'image_1920'):
            self.assertEqual(len(self.collect(address, portal)), 1)
            self.assertEqual(self.collect(address.replace('1920', '128'), portal), set())
        # Of a company, what its letters show, and no paper that somebody keeps with it.
        company = self.env['res.company'].create({'name': 'Other Ltd'})
        attachments = self.env['ir.attachment'].create([
            {'name': 'x.svg', 'datas': PICTURE, 'res_model': 'res.company', 'res_id': company.id, **values}
            for values in ({}, {'res_field': 'logo_web'}, {'res_field': 'layout_background_image'})])
        self.assertEqual(
            [len(self.collect(f'<img src="/web/image/{attachment.id}"/>', portal)) for attachment in attachments],
            [0, 1, 1])

    def test_size_that_an_address_asks_for(self):
        stream = io.BytesIO()
        Image.new('RGB', (128, 64), 'red').save(stream, 'PNG')
        self.one.image_1920 = base64.b64encode(stream.getvalue())
        attachment = self.env['ir.attachment'].create({
            'name': 'x.png', 'raw': stream.getvalue(), 'public': True, 'mimetype': 'image/png'})
        partner = f'res.partner/{self.one.id}/image_1920'
        for address, size in (
            (f'image/{attachment.id}', (128, 64)), (f'image/{attachment.id}/32x32', (32, 16)),
            (f'image/{attachment.id}-abc/32x32/x.png', (32, 16)), (f'image/{attachment.id}?width=64', (64, 32)),
            (f'image/{attachment.id}?height=16&amp;width=0', (32, 16)), (f'content/{attachment.id}/32x32', (128, 64)),
            (f'image/{attachment.id}/20x20?crop=1', (20, 20)), (f'image/{partner}/64x64', (64, 32)),
            (f'image/{partner}/64x64/x.png', (64, 32)), (f'image/{partner}', (128, 64)),
        ):
            with self.subTest(address):
                user = self.report.with_user(self.env.ref('base.user_admin')).with_context(bin_size=True)
                [(content, mimetype)] = user.collect_resources(
                    lxml.html.fragment_fromstring(f'<img src="/web/{address}"/>', 'div')).values()
                self.assertEqual(mimetype, 'image/png')
                self.assertEqual(Image.open(io.BytesIO(content)).size, size)
        attachment.raw = b'no picture'
        self.assertEqual(self.collect(f'<img src="/web/image/{attachment.id}/32x32"/>'), set())

    def test_style_sheets_that_ask_for_more(self):
        css = '@import "/web/other.css"; .seen, .tight {color: red} .gone {color: red}'
        other = "@IMPORT'/web/third.css'; .x {background: url(/web/static/img/logo.png)}"
        sheets = {'/web/first.css': css, '/web/other.css': other, '/web/third.css': '@import "/web/first.css"'}
        registry = self.env.registry['ir.actions.report']
        original = registry._read_resource

        def read(report, path):
            return (sheets[path].encode(), 'text/css') if path in sheets else original(report, path)

        with patch.object(registry, '_read_resource', read):
            found = self.report.collect_resources(lxml.html.fragment_fromstring(
                '<link rel="stylesheet" href="/web/first.css"/><p class="seen"/>', 'div'), classes=('tight',))
        self.assertEqual(len(found), 4)
        first = found[f'{pdf.BASE_URL}web/first.css'][0].decode()
        self.assertIn('.tight', first)
        self.assertNotIn('.gone', first)

    def test_portal_user(self):
        """Header, footer and paper are read as core reads them: with the report's rights, not the user's."""
        user = new_test_user(self.env, 'portal', groups='base.group_portal')
        self.report.paperformat_id = self.env['report.paperformat'].create({
            'name': 'x', 'format': 'A5', 'orientation': 'Portrait', 'margin_top': 40, 'margin_bottom': 20})
        self.env.invalidate_all()
        reports = self.env['ir.actions.report'].with_user(user).with_context(force_report_rendering=True)
        content, _kind = reports._render_qweb_pdf(self.report.report_name, user.partner_id.ids)
        self.assertIn('The footer', page_texts(content)[0])
        self.assertAlmostEqual(float(PdfReader(io.BytesIO(content)).pages[0].mediabox.width), 148 * MM, delta=2)

    def test_what_can_never_be_shown_is_named(self):
        for address in (
            '/web/image/no.such.model/1/image', '/web/image/res.partner/1/no_such_field',
            '/web/image/res.partner/1/name',
            '/report/barcode/QR/x?width=wide', '/report/barcode/?barcode_type=QR&value=x&width=100000&height=100000',
        ):
            root = lxml.html.fragment_fromstring(f'<img src="{address.replace("&", "&amp;")}"/>', 'div')
            for report in (self.report, self.report.browse()):
                with (
                    self.subTest(address, report=report), self.assertRaises(ResourceError) as caught,
                    patch.object(self.env.registry['ir.actions.report'], 'keeps_documents', lambda _report: True),
                ):
                    report.collect_resources(root)
                self.assertIn(caught.exception.address, str(caught.exception))
            # Any other report is printed without it, as core does.
            with self.assertLogs('odoo.addons.report_pdf_engine.models.ir_actions_report_resource', 'WARNING') as logs:
                self.assertEqual(self.report.collect_resources(root), {})
            self.assertIn('Partner Sheet', logs.output[0])

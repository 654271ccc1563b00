"""What a document may show: nothing is fetched, and nobody sees in it what he may not see elsewhere."""

import base64
import socket

import lxml.html

from odoo.tests import new_test_user, tagged
from odoo.tools import mute_logger

from ..exceptions import ResourceError
from .common import DOCUMENT_LOGGER, ReportCase, page_texts

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

    def test_what_can_never_be_shown_is_named(self):
        for address in (
            '/web/image/no.such.model/1/image', '/web/image/res.partner/1/no_such_field',
            '/web/image/res.partner/1/name',
            '/report/barcode/QR/x?width=wide', '/report/barcode/?barcode_type=QR&value=x&width=100000&height=100000',
        ):
            with self.subTest(address), self.assertRaises(ResourceError) as caught:
                self.report.collect_resources(lxml.html.fragment_fromstring(
                    f'<img src="{address.replace("&", "&amp;")}"/>', 'div'))
            self.assertIn(caught.exception.address, str(caught.exception))

import json
from urllib.parse import quote

from odoo import http
from odoo.tests import HttpCase, tagged

from .common import ReportCase, page_texts


@tagged('post_install', '-at_install')
class TestRoutes(ReportCase, HttpCase):

    def test_routes(self):
        self.authenticate('admin', 'admin')
        # in tests core gives HTML without this
        context = json.dumps({'force_report_rendering': True})
        path = f'/report/pdf/{self.report.report_name}/{self.one.id},{self.two.id}'
        for response in (
            self.url_open(f'{path}?context={quote(context)}'),
            self.url_open('/report/download', data={
                'data': json.dumps([path, 'qweb-pdf']), 'context': context,
                'csrf_token': http.Request.csrf_token(self)}),
        ):
            self.assertEqual(response.headers['Content-Type'], 'application/pdf')
            pages = page_texts(response.content)
            self.assertEqual([name in page for name, page in zip(('One', 'Two'), pages, strict=True)], [True, True])


@tagged('post_install', '-at_install')
class TestInBrowser(HttpCase):

    def test_web_client_downloads_without_wkhtmltopdf(self):
        """Core would ask for wkhtmltopdf and show a page instead."""
        [first, second] = self.env['ir.actions.report'].search(
            [('report_type', '=', 'qweb-pdf'), ('report_name', 'like', 'base.%')], limit=2)
        (first | second).pdf_engine = 'wkhtmltopdf'
        first.pdf_engine = 'plutoprint'
        script = """
            (async () => {
                const module = (name) => odoo.loader.modules.get(name);
                const { download } = module('@web/core/network/download');
                const requests = [];
                download._download = async (options) => { requests.push(options); };
                const env = odoo.__WOWL_DEBUG__.root.env;
                const handler = module('@web/core/registry').registry
                    .category('ir.actions.report handlers').get('report_pdf_engine.download');
                const action = {
                    report_type: 'qweb-pdf', report_name: '%(first)s', context: { active_ids: [1, 2] } };
                const answers = [
                    await handler(action, {}, env),
                    await handler({ ...action, pdf_engine: 'weasyprint' }, {}, env),
                    await handler({ ...action, pdf_engine: 'wkhtmltopdf' }, {}, env),
                    await handler({ ...action, report_name: '%(second)s' }, {}, env),
                    await handler({ ...action, report_type: 'qweb-html' }, {}, env),
                ];
                const urls = requests.map((request) => JSON.parse(request.data.data)[0]);
                const expected = JSON.stringify([
                    [true, true, false, false, false],
                    ['/report/pdf/%(first)s/1,2', '/report/pdf/%(first)s/1,2']]);
                const found = JSON.stringify([answers, urls]);
                if (found === expected) {
                    console.log('test successful');
                } else {
                    console.error(found);
                }
            })();
        """
        self.browser_js(
            '/odoo', script.replace('%(first)s', first.report_name).replace('%(second)s', second.report_name),
            ready='Boolean(odoo.__WOWL_DEBUG__ && odoo.__WOWL_DEBUG__.root)', login='admin')

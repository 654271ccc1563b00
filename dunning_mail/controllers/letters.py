from odoo import http
from odoo.http import content_disposition, request

from ..tools import pdf


class DunningLetters(http.Controller):

    @http.route('/dunning_mail/run/<int:run_id>/letters', type='http', auth='user', readonly=True)
    def letters(self, run_id):
        """Hand out the letters of a run that go on paper as one PDF."""
        run = request.env['dunning.run'].browse(run_id).exists()
        if not run:
            raise request.not_found()
        run.check_access('read')
        content = pdf.join([notice._get_document_bytes() for notice in run._get_letters()])
        return request.make_response(content, headers=[
            ('Content-Type', 'application/pdf'),
            ('Content-Length', len(content)),
            ('Content-Disposition', content_disposition(f"{run.name.replace('/', '-')}.pdf", 'inline')),
        ])

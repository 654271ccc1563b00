from odoo import http
from odoo.http import content_disposition, request


class DunningLetters(http.Controller):

    @http.route('/dunning_mail/run/<int:run_id>/letters', type='http', auth='user')
    def letters(self, run_id):
        """Hand out the letters of a run that go on paper as one PDF."""
        run = request.env['dunning.run'].browse(run_id).exists()
        if not run:
            raise request.not_found()
        run.check_access('read')
        content, words = run._hand_out_letters()
        if content is None and not words:
            raise request.not_found()
        if content is None:
            return request.make_response('\n\n'.join(words), headers=[('Content-Type', 'text/plain; charset=utf-8')])
        return request.make_response(content, headers=[
            ('Content-Type', 'application/pdf'),
            ('Content-Length', len(content)),
            ('Content-Disposition', content_disposition(f"{run.name.replace('/', '-')}.pdf", 'inline')),
        ])

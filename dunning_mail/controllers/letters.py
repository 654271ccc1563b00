from odoo import http
from odoo.http import content_disposition, request


class DunningLetters(http.Controller):

    @http.route('/dunning_mail/run/<int:run_id>/letters', type='http', auth='user', readonly=True)
    def letters(self, run_id):
        """Hand out the letters of a run that go on paper as one PDF."""
        run = request.env['dunning.run'].browse(run_id).exists()
        if not run:
            raise request.not_found()
        run.check_access('read')
        letters = run._get_letters()
        if not letters:
            raise request.not_found()
        content = run._get_joined(letters) or run._join_letters(letters)
        return request.make_response(content, headers=[
            ('Content-Type', 'application/pdf'),
            ('Content-Length', len(content)),
            ('Content-Disposition', content_disposition(f"{run.name.replace('/', '-')}.pdf", 'inline')),
        ])

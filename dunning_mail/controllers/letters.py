from odoo import http
from odoo.http import content_disposition, request

from ..tools.ids import MAX_ID


class DunningLetters(http.Controller):

    @http.route('/dunning_mail/run/<int:run_id>/letters', type='http', auth='user')
    def letters(self, run_id, printed=False, **_others):
        """Hand out the letters of a run that are to be printed as one PDF.

        :param str printed: not empty: once more those that have been printed
        """
        run = request.env['dunning.run'].browse(run_id).exists() if 0 < run_id <= MAX_ID else None
        if not run:
            raise request.not_found()
        run.check_access('read')
        content, words = run._hand_out_letters(printed=bool(printed))
        if content is None:
            return request.render('dunning_mail.no_letters', {'run': run, 'words': words})
        return request.make_response(content, headers=[
            ('Content-Type', 'application/pdf'),
            ('Content-Length', len(content)),
            ('Content-Disposition', content_disposition(f"{run.name.replace('/', '-')}.pdf", 'inline')),
        ])

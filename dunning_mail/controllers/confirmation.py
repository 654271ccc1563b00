from odoo import http
from odoo.http import content_disposition, request

from ..tools.ids import MAX_ID


class DunningConfirmation(http.Controller):

    @http.route('/dunning_mail/promise/<int:promise_id>/confirmation', type='http', auth='user')
    def confirmation(self, promise_id, **_others):
        """Show the confirmation of a promise as it would be issued now."""
        promise = request.env['dunning.promise'].browse(promise_id).exists() if 0 < promise_id <= MAX_ID else None
        if not promise:
            raise request.not_found()
        promise.check_access('write')
        content = promise._render_confirmation()
        return request.make_response(content, headers=[
            ('Content-Type', 'application/pdf'),
            ('Content-Length', len(content)),
            ('Content-Disposition', content_disposition(f'{promise.display_name}.pdf', 'inline')),
        ])

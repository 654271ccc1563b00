from odoo import http
from odoo.http import content_disposition, request

from ..tools.ids import parse_ids


class DunningEvidence(http.Controller):

    @http.route('/dunning_mail/evidence', type='http', auth='user', readonly=True)
    def evidence(self, ids=None, **_others):
        """Hand out what proves the delivery of notices as one ZIP.

        :param str ids: the notices' ids, separated by commas
        """
        notices = request.env['dunning.notice'].browse(parse_ids(ids)).exists()
        if not notices:
            raise request.not_found()
        notices.check_access('read')
        notices = notices._get_with_evidence()
        file = notices._make_evidence()
        file.seek(0, 2)
        size = file.tell()
        file.seek(0)
        response = http.Response(file, direct_passthrough=True, mimetype='application/zip', headers=[
            ('Content-Length', size),
            ('Content-Disposition', content_disposition(notices._get_evidence_name()))])
        response.call_on_close(file.close)
        return response

"""Texts of the notices that have not left yet; what reports said of addresses of mails that have."""
import logging
import re

from odoo import SUPERUSER_ID, api

_logger = logging.getLogger(__name__)


def migrate(cr, version):
    env = api.Environment(cr, SUPERUSER_ID, {})
    _keep_reports_as_data(env)
    # Letters that have to be made again from now on say what the texts say today.
    open_notices = env['dunning.notice'].search([
        ('state', '=', 'issued'), ('text_version_id', '=', False),
        ('delivery_state', 'in', ('released', 'paper', 'failed', 'sending', 'unclear'))])
    with_text = open_notices.filtered('text_id')
    with_text._fix_texts()
    # A mail is composed with its letter from now on: one that was built for a handover that never came is made anew.
    for notice in open_notices.filtered(lambda notice: not notice._is_frozen() and notice.mail_document_id):
        notice._drop_attachments('mail_document_id', mail_sha256=False)
    # What the chatter shows once a mail that was built before is taken.
    for notice in with_text.filtered('mail_document_id'):
        try:
            with cr.savepoint():
                texts = notice._render_texts(('mail_subject', 'mail_body'))
                notice.write({'mail_subject': texts['mail_subject'], 'mail_body': texts['mail_body']})
        except Exception:
            _logger.info("Dunning notice %s keeps no text of its mail", notice.name, exc_info=True)


def _keep_reports_as_data(env):
    """Which of a mail's addresses have come back already stood in the words of the log. Of a notice that is sent still,
    the other addresses are waited for."""
    logs = env['dunning.delivery.log'].search([
        ('stage', '=', 'bounce'), ('notice_id.delivery_state', '=', 'sent'), ('notice_id.state', '=', 'issued')])
    values = []
    for log in logs:
        notice = log.notice_id
        words = set(re.split(r'[\s;,<>()]+', (log.text or '').lower()))
        values += [{
            'notice_id': notice.id, 'date': log.date, 'message_id': log.message_id, 'address': address,
            'action': 'failed', 'status': log.code, 'diagnostic': log.text, 'remote_mta': log.host, 'is_ours': True,
        } for address in sorted(notice._get_envelope_addresses() & words)]
    env['dunning.notice.report'].create(values)

"""Texts of the notices that have not left yet, what the evidence says in names, and what reports said of addresses."""
import logging
import re

from odoo import SUPERUSER_ID, api
from odoo.tools import convert_file

_logger = logging.getLogger(__name__)

BATCH = 1000


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
    _install_interest_profiles(env)
    _close_documents(cr)
    _fill_log_names(cr)
    _fill_snapshots(env)


def _install_interest_profiles(env):
    """Bring the profiles that an installation brings; later updates bring none back that was deleted."""
    convert_file(env, 'dunning_mail', 'data/dunning_interest_profile.xml', {}, mode='init', noupdate=True)
    env['dunning.interest.profile']._install_rates()


def _close_documents(cr):
    """Take back what made kept documents readable to others than those who may read the notice."""
    cr.execute("""
        UPDATE ir_attachment a
           SET public = FALSE, access_token = NULL
         WHERE (a.public OR a.access_token IS NOT NULL)
           AND (EXISTS (SELECT 1 FROM dunning_notice n WHERE a.id IN (n.document_id, n.mail_document_id))
                OR EXISTS (SELECT 1 FROM dunning_run r WHERE r.letters_id = a.id))
    """)


def _fill_log_names(cr):
    """Keep the names of users and providers in the delivery log, as they are now: later ones are kept as they come."""
    cr.execute("""
        UPDATE dunning_delivery_log l
           SET user_name = p.name
          FROM res_users u
          JOIN res_partner p ON p.id = u.partner_id
         WHERE u.id = l.user_id AND u.id <> %s AND l.user_name IS NULL
    """, [SUPERUSER_ID])
    cr.execute("""
        UPDATE dunning_delivery_log l
           SET provider_name = p.name
          FROM dunning_provider p
         WHERE p.id = l.provider_id AND l.provider_name IS NULL
    """)


def _fill_snapshots(env):
    """Keep the names on notices that were issued, as they are now; the evidence says that they were filled in here."""
    env.invalidate_all()
    notices = env['dunning.notice'].search([('state', 'in', ('issued', 'cancelled')), ('name', '!=', False)])
    for start in range(0, len(notices), BATCH):
        for notice in notices[start:start + BATCH]:
            try:
                with env.cr.savepoint():
                    notice.snapshot = notice.snapshot or notice._prepare_snapshot(source='upgrade')
            except Exception:
                _logger.info("The names of dunning notice %s are not kept", notice.name, exc_info=True)
        env.flush_all()
        env.invalidate_all()


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

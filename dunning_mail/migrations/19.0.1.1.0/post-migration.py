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
    _make_fee_rows(env)
    _make_charges(env)
    _install_interest_profiles(env)
    env['dunning.procedure'].with_context(active_test=False).search([])._install_default_texts()
    _close_documents(cr)
    _fill_log_names(cr)
    _fill_snapshots(env)


def _make_fee_rows(env):
    """The fixed fee of a level becomes a row, in the currency of whichever company uses the level."""
    env.cr.execute("""
        SELECT l.id, l.fee_amount
          FROM dunning_level l
         WHERE l.fee_amount > 0 AND NOT EXISTS (SELECT 1 FROM dunning_level_fee f WHERE f.level_id = l.id)
    """)
    env['dunning.level.fee'].create([
        {'level_id': level_id, 'fixed': amount} for level_id, amount in env.cr.fetchall()])


def _make_charges(env):
    """What notices said as fee becomes a charge, and a line of the notice that says what it said.

    Of notices that counted it is still claimed where an item is open, and not where a later notice's fee came in its
    place. What is settled lapses: nobody is asked for old fees. Of what has not left yet it is a draft.
    """
    env.flush_all()
    env.cr.execute("""
        WITH fee AS (
            SELECT n.*, v.fee_method,
                   -- With those of earlier notices: what was its own.
                   CASE WHEN v.fee_method = 'cumulated' THEN LEAST(n.amount_fee, COALESCE(n.amount_fee_own, 0))
                        ELSE COALESCE(n.amount_fee, 0) END AS own,
                   GREATEST(COALESCE(n.amount_fee_own, 0), CASE WHEN v.fee_method = 'cumulated'
                        THEN 0 ELSE COALESCE(n.amount_fee, 0) END) AS calculated
              FROM dunning_notice n
              JOIN dunning_level v ON v.id = n.level_id
             WHERE (n.amount_fee > 0 OR n.amount_fee_own > 0)
               AND NOT EXISTS (SELECT 1 FROM dunning_charge c WHERE c.notice_id = n.id)),
        made AS (
            INSERT INTO dunning_charge (
                notice_id, partner_id, company_id, currency_id, level_id, kind, date, amount, amount_calculated,
                amount_waived, is_set, state, reason, create_uid, create_date, write_uid, write_date)
            SELECT n.id, n.partner_id, n.company_id, n.currency_id, n.level_id, 'fee', n.date, n.own, n.calculated,
                   n.calculated - n.own, n.own < n.calculated,
                   CASE WHEN n.state = 'cancelled' THEN 'cancelled'
                        WHEN n.is_counted IS NOT TRUE THEN 'draft'
                        WHEN n.own = 0 AND n.amount_fee = 0 THEN 'waived'
                        WHEN EXISTS (
                            SELECT 1
                              FROM dunning_notice_line l
                              JOIN dunning_notice_line m ON m.move_line_id = l.move_line_id AND m.kind = 'due'
                              JOIN fee later ON later.id = m.notice_id AND later.is_counted
                               AND later.fee_method = 'single' AND later.id <> n.id
                               AND (later.date_left, later.id) > (n.date_left, n.id)
                             WHERE l.notice_id = n.id AND l.kind = 'due') THEN 'replaced'
                        WHEN EXISTS (
                            SELECT 1
                              FROM dunning_notice_line l
                              JOIN account_move_line aml ON aml.id = l.move_line_id
                             WHERE l.notice_id = n.id AND l.kind = 'due' AND aml.parent_state = 'posted'
                               AND aml.reconciled IS NOT TRUE AND aml.amount_residual_currency <> 0) THEN 'claimed'
                        ELSE 'lapsed' END,
                   NULL, 1, now() AT TIME ZONE 'UTC', 1, now() AT TIME ZONE 'UTC'
              FROM fee n
         RETURNING id, notice_id, date)
        INSERT INTO dunning_notice_line (notice_id, kind, sequence, charge_id, date_invoice, amount_residual)
        SELECT made.notice_id, 'charge', 3, made.id, made.date, COALESCE(n.amount_fee, 0)
          FROM made
          JOIN dunning_notice n ON n.id = made.notice_id
    """)
    env.cr.execute("""
        UPDATE dunning_notice n SET is_charged = TRUE
         WHERE is_charged IS NOT TRUE AND EXISTS (SELECT 1 FROM dunning_charge c WHERE c.notice_id = n.id)
    """)
    # The computed columns that say what is in the books: nothing is.
    env.cr.execute("""
        UPDATE dunning_charge SET amount_paid = 0, amount_left = CASE state WHEN 'claimed' THEN amount ELSE 0 END
         WHERE amount_left IS NULL
    """)
    _link_replaced(env)
    env.invalidate_all()
    _name_earlier_fees(env)
    lapsed = env['dunning.charge'].search([('state', '=', 'lapsed'), ('reason', '=', False)])
    for company, charges in lapsed.grouped('company_id').items():
        user_env = env(context={**env.context, 'lang': company.partner_id.lang})
        charges.reason = user_env._("Before the upgrade.")


def _link_replaced(env):
    """Say which fee came in place of one: it is claimed again if that one is cancelled."""
    env.cr.execute("""
        UPDATE dunning_charge c
           SET replaced_by_id = (
               SELECT later.id
                 FROM dunning_notice n
                 JOIN dunning_notice_line l ON l.notice_id = n.id AND l.kind = 'due'
                 JOIN dunning_notice_line m ON m.move_line_id = l.move_line_id AND m.kind = 'due'
                 JOIN dunning_notice o ON o.id = m.notice_id AND o.is_counted
                  AND (o.date_left, o.id) > (n.date_left, n.id)
                 JOIN dunning_level v ON v.id = o.level_id AND v.fee_method = 'single'
                 JOIN dunning_charge later ON later.notice_id = o.id AND later.kind = 'fee'
                WHERE n.id = c.notice_id
                ORDER BY o.date_left, o.id
                LIMIT 1)
         WHERE c.state = 'replaced' AND c.replaced_by_id IS NULL
    """)


def _name_earlier_fees(env):
    """What has not left, and asked for earlier fees together with its own, names them as lines of their own.

    What of them no charge stands for stays with its own fee, so that it asks for what it asked for.
    """
    env.cr.execute("""
        SELECT own.id, own.amount, own_line.id, own_line.amount_residual,
               ARRAY(SELECT c.id
                       FROM dunning_charge c
                      WHERE c.state = 'claimed' AND c.kind = 'fee' AND c.company_id = own.company_id
                        AND c.currency_id = own.currency_id AND EXISTS (
                            SELECT 1
                              FROM dunning_notice_line l
                              JOIN dunning_notice_line m ON m.move_line_id = l.move_line_id AND m.kind = 'due'
                             WHERE l.notice_id = c.notice_id AND l.kind = 'due' AND m.notice_id = own.notice_id)
                      ORDER BY c.date, c.id)
          FROM dunning_charge own
          JOIN dunning_notice_line own_line ON own_line.charge_id = own.id AND own_line.notice_id = own.notice_id
          JOIN dunning_notice n ON n.id = own.notice_id
         WHERE own.state = 'draft' AND own.kind = 'fee' AND n.state IN ('draft', 'excluded', 'issued')
           AND own_line.amount_residual > own.amount
         ORDER BY own.id
    """)
    charges, used, values = env['dunning.charge'], set(), []
    for charge_id, amount, line_id, asked, earlier_ids in env.cr.fetchall():
        charge, left = charges.browse(charge_id), asked - amount
        for earlier in charges.browse(earlier_ids):
            part = charge.currency_id.round(min(left, earlier.amount))
            if earlier.id in used or part <= 0:
                continue
            used.add(earlier.id)
            left = charge.currency_id.round(left - part)
            values.append({'notice_id': charge.notice_id.id, **charges._prepare_charge_line_values(
                earlier.id, part, earlier.notice_id.name, earlier.date)})
        env['dunning.notice.line'].browse(line_id).amount_residual = charge.currency_id.round(amount + left)
    env['dunning.notice.line'].create(values)


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

"""Names of views, actions, menus and rules; days on which notices left, and which notice was the last one before.

In sets: the ORM would do it one by one.
"""

from odoo.tools import SQL

# Records that others point to, or have changed, stay what they are under their new names.
RENAMED = {
    'action_dunning_level': 'dunning_level_action',
    'action_dunning_notice': 'dunning_notice_action',
    'action_dunning_procedure': 'dunning_procedure_action',
    'action_dunning_provider': 'dunning_provider_action',
    'action_dunning_run': 'dunning_run_action',
    'action_dunning_run_exception': 'dunning_run_exception_action',
    'action_dunning_schedule': 'dunning_schedule_action',
    'action_server_notice_cancel': 'dunning_notice_action_cancel',
    'action_server_notice_evidence': 'dunning_notice_action_evidence',
    'action_server_notice_exclude': 'dunning_notice_action_exclude',
    'action_server_notice_mark_printed': 'dunning_notice_action_mark_printed',
    'action_server_notice_retry': 'dunning_notice_action_retry',
    'action_server_notice_set_paper': 'dunning_notice_action_set_paper',
    'action_server_run_generate': 'dunning_run_action_generate',
    'action_server_run_print_and_send': 'dunning_run_action_print_and_send',
    'menu_document_control': 'dunning_mail_menu_document_control',
    'menu_document_control_provider': 'dunning_provider_menu_document_control',
    'menu_dunning_configuration': 'dunning_mail_menu_configuration',
    'menu_dunning_level': 'dunning_level_menu',
    'menu_dunning_notice': 'dunning_notice_menu',
    'menu_dunning_procedure': 'dunning_procedure_menu',
    'menu_dunning_provider': 'dunning_provider_menu',
    'menu_dunning_run': 'dunning_run_menu',
    'menu_dunning_schedule': 'dunning_schedule_menu',
    'rule_dunning_delivery_log_company': 'dunning_delivery_log_rule_company',
    'rule_dunning_level_company': 'dunning_level_rule_company',
    'rule_dunning_level_text_company': 'dunning_level_text_rule_company',
    'rule_dunning_notice_company': 'dunning_notice_rule_company',
    'rule_dunning_notice_line_company': 'dunning_notice_line_rule_company',
    'rule_dunning_procedure_company': 'dunning_procedure_rule_company',
    'rule_dunning_provider_company': 'dunning_provider_rule_company',
    'rule_dunning_run_company': 'dunning_run_rule_company',
    'rule_dunning_run_exception_company': 'dunning_run_exception_rule_company',
    'rule_schedule_company': 'dunning_schedule_rule_company',
    'view_dunning_level_change_form': 'dunning_level_change_view_form',
    'view_dunning_level_form': 'dunning_level_view_form',
    'view_dunning_level_list': 'dunning_level_view_list',
    'view_dunning_level_search': 'dunning_level_view_search',
    'view_dunning_level_text_form': 'dunning_level_text_view_form',
    'view_dunning_level_text_list': 'dunning_level_text_view_list',
    'view_dunning_notice_form': 'dunning_notice_view_form',
    'view_dunning_notice_list': 'dunning_notice_view_list',
    'view_dunning_notice_search': 'dunning_notice_view_search',
    'view_dunning_procedure_form': 'dunning_procedure_view_form',
    'view_dunning_procedure_list': 'dunning_procedure_view_list',
    'view_dunning_procedure_search': 'dunning_procedure_view_search',
    'view_dunning_provider_form': 'dunning_provider_view_form',
    'view_dunning_provider_list': 'dunning_provider_view_list',
    'view_dunning_provider_search': 'dunning_provider_view_search',
    'view_dunning_run_exception_list': 'dunning_run_exception_view_list',
    'view_dunning_run_exception_search': 'dunning_run_exception_view_search',
    'view_dunning_run_form': 'dunning_run_view_form',
    'view_dunning_run_list': 'dunning_run_view_list',
    'view_dunning_run_preview_form': 'dunning_run_preview_view_form',
    'view_dunning_run_search': 'dunning_run_view_search',
    'view_dunning_schedule_form': 'dunning_schedule_view_form',
    'view_dunning_schedule_list': 'dunning_schedule_view_list',
    'view_dunning_text_preview_form': 'dunning_text_preview_view_form',
    'view_partner_form': 'view_partner_property_form',
    'view_res_partner_filter': 'res_partner_view_search',
}


def make_company_dependent(cr):
    """What was said of a customer was said in every company, and stays so until one of them says something else."""
    for column, condition in (
            ('dunning_hold_until', "TRUE"), ('dunning_hold_reason', "before <> ''"),
            ('dunning_channel', "before = 'paper'")):
        cr.execute("""
            SELECT 1 FROM information_schema.columns
             WHERE table_schema = current_schema AND table_name = 'res_partner' AND column_name = %s
                   AND udt_name <> 'jsonb'
        """, [column])
        if not cr.rowcount:
            continue
        # Archived companies have their values too.
        cr.execute(SQL(
            """
            ALTER TABLE res_partner RENAME COLUMN %(column)s TO before;
            ALTER TABLE res_partner ADD COLUMN %(column)s jsonb;
            UPDATE res_partner
               SET %(column)s = (SELECT jsonb_object_agg(c.id::text, to_jsonb(before)) FROM res_company c)
             WHERE before IS NOT NULL AND %(condition)s;
            ALTER TABLE res_partner DROP COLUMN before;
            """, column=SQL.identifier(column), condition=SQL(condition)))  # pylint: disable=sql-injection


def mark_logins(cr):
    """Logins of providers are known as such. One that a provider lost still has the name that it was given."""
    cr.execute("""
        ALTER TABLE ir_mail_server ADD COLUMN IF NOT EXISTS is_dunning_login boolean;
        UPDATE ir_mail_server s
           SET is_dunning_login = TRUE
         WHERE id IN (SELECT mail_server_id FROM dunning_provider)
            OR NOT active AND name ~ '^(Dunning|Mahnwesen|Rappels|Solleciti)\\s?: '
    """)


def migrate(cr, version):
    mark_logins(cr)
    make_company_dependent(cr)
    cr.execute_values("""
        UPDATE ir_model_data d
           SET name = renamed.new
          FROM (VALUES %s) AS renamed(old, new)
         WHERE d.module = 'dunning_mail' AND d.name = renamed.old
    """, list(RENAMED.items()))
    cr.execute("""
        ALTER TABLE dunning_notice ADD COLUMN IF NOT EXISTS date_left date;
        ALTER TABLE dunning_notice ADD COLUMN IF NOT EXISTS kind varchar;
        ALTER TABLE dunning_notice ADD COLUMN IF NOT EXISTS is_deadline_set boolean;
        ALTER TABLE dunning_notice_line ADD COLUMN IF NOT EXISTS previous_notice_id int4;
        UPDATE dunning_notice SET kind = 'dunning' WHERE kind IS NULL;
        UPDATE dunning_notice n
           SET is_deadline_set = n.date_deadline <> n.date + v.deadline_days
          FROM dunning_level v
         WHERE v.id = n.level_id;
    """)
    # As `dunning.notice._compute_date_left()` says it.
    cr.execute("""
        WITH zone AS (
            -- What is kept as a time zone may be no name that PostgreSQL knows.
            SELECT n.id, COALESCE(cz.name, uz.name, 'UTC') AS name
              FROM dunning_notice n
              JOIN res_company c ON c.id = n.company_id
              JOIN res_partner cp ON cp.id = c.partner_id
              LEFT JOIN res_users u ON u.id = n.user_id
              LEFT JOIN res_partner up ON up.id = u.partner_id
              LEFT JOIN pg_timezone_names cz ON cz.name = cp.tz
              LEFT JOIN pg_timezone_names uz ON uz.name = up.tz)
        UPDATE dunning_notice n
           SET date_left = COALESCE(
                   (COALESCE(n.printed_at, CASE n.delivery_state WHEN 'sent' THEN n.sent_at
                                                ELSE COALESCE(n.claimed_at, n.handover_at) END)
                    AT TIME ZONE 'UTC' AT TIME ZONE zone.name)::date,
                   n.date)
          FROM zone
         WHERE zone.id = n.id
           AND (n.printed_at IS NOT NULL OR (n.delivery_state IN ('sent', 'unclear') AND n.redirected_to IS NULL))
    """)
    # What was proposed before is compared by the notice from now on. One that counted is taken before one that does not
    # any more: that one was dunned with what it says, and is found to be overtaken as before.
    cr.execute("""
        WITH previous AS (
            SELECT DISTINCT ON (l.id) l.id, p.id AS notice_id
              FROM dunning_notice_line l
              JOIN dunning_notice_line pl ON pl.move_line_id = l.move_line_id AND pl.kind = 'due'
                                         AND pl.notice_id < l.notice_id AND pl.level_id = l.previous_level_id
              JOIN dunning_notice p ON p.id = pl.notice_id AND p.date = l.previous_date
             WHERE l.previous_level_id IS NOT NULL
             ORDER BY l.id, p.is_counted DESC, p.id DESC)
        UPDATE dunning_notice_line l
           SET previous_notice_id = previous.notice_id
          FROM previous
         WHERE previous.id = l.id
    """)
    # Of what has not left yet it is asked whether the one before left later than it says.
    cr.execute("""
        UPDATE dunning_notice_line l
           SET previous_date = p.date_left
          FROM dunning_notice n, dunning_notice p
         WHERE n.id = l.notice_id AND p.id = l.previous_notice_id AND p.date_left IS NOT NULL AND n.date_left IS NULL
    """)
    # What was taken out of a draft or an excluded notice can be put back as it was.
    cr.execute("""
        WITH previous AS (
            SELECT DISTINCT ON (e.id) e.id, p.id AS notice_id
              FROM dunning_run_exception e
              JOIN dunning_notice_line pl ON pl.move_line_id = e.move_line_id AND pl.kind = 'due'
                                         AND pl.notice_id < e.notice_id
                                         AND pl.level_id::text = e.line_values->>'previous_level_id'
              JOIN dunning_notice p ON p.id = pl.notice_id
                                   AND to_char(p.date, 'YYYY-MM-DD') = e.line_values->>'previous_date'
             WHERE e.reason = 'taken_out'
             ORDER BY e.id, p.is_counted DESC, p.id DESC)
        UPDATE dunning_run_exception e
           SET line_values = e.line_values || jsonb_build_object(
                   'previous_notice_id', p.id, 'previous_date', to_char(COALESCE(p.date_left, p.date), 'YYYY-MM-DD'))
          FROM previous
          JOIN dunning_notice p ON p.id = previous.notice_id
         WHERE previous.id = e.id
    """)
    # Pointers that a person may have set to somebody else's files.
    cr.execute("""
        UPDATE dunning_run r
           SET letters_id = NULL, letters_key = NULL
         WHERE letters_id IS NOT NULL AND NOT EXISTS (
               SELECT 1 FROM ir_attachment a
                WHERE a.id = r.letters_id AND a.res_model = 'dunning.run' AND a.res_id = r.id AND a.res_field IS NULL);
    """)
    # Who has only printed charges until now goes on like that, until somebody says otherwise.
    cr.execute("""
        ALTER TABLE res_company ADD COLUMN IF NOT EXISTS dunning_charge_booking varchar;
        UPDATE res_company SET dunning_charge_booking = 'print' WHERE dunning_charge_booking IS NULL;
    """)
    # As they are: what they will be computed from is made afterwards.
    cr.execute("""
        ALTER TABLE dunning_notice ADD COLUMN IF NOT EXISTS amount_lump_sum numeric DEFAULT 0;
        ALTER TABLE dunning_notice ADD COLUMN IF NOT EXISTS amount_cost numeric DEFAULT 0;
        ALTER TABLE dunning_notice ADD COLUMN IF NOT EXISTS amount_earlier numeric DEFAULT 0;
        ALTER TABLE dunning_notice ADD COLUMN IF NOT EXISTS is_charged boolean;
        ALTER TABLE dunning_notice ALTER COLUMN amount_lump_sum DROP DEFAULT;
        ALTER TABLE dunning_notice ALTER COLUMN amount_cost DROP DEFAULT;
        ALTER TABLE dunning_notice ALTER COLUMN amount_earlier DROP DEFAULT;
    """)

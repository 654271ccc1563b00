from odoo.tools import SQL


def post_init_hook(env):
    """Give every company the standard procedure, and every active language its texts."""
    env['res.company'].search([('dunning_procedure_id', '=', False)]).dunning_procedure_id = env.ref(
        'dunning_mail.procedure_standard')
    env['res.lang']._install_dunning_texts()
    env['dunning.interest.profile']._install_rates()
    _adopt_sequences(env)


def uninstall_hook(env):
    """Leave the kept documents with the customers and the sequences as they stand, and nothing else: no login that
    could serve Odoo's other mail, and nothing that refers to what is about to go."""
    _hand_documents_to_customers(env)
    _clear_logins(env)
    _keep_sequences(env)
    _delete_what_refers(env)
    _delete_records(env)


def _hand_documents_to_customers(env):
    """Make letters and mails of notices attachments of their customers: the notices are about to go.

    Bytes, and so the files, stay what they are. Only SQL gets past the guard that keeps everybody else from it. What a
    notice points to is its own, or it is left alone.
    """
    env.flush_all()
    env.cr.execute("""
        UPDATE ir_attachment a
           SET res_model = 'res.partner', res_id = n.partner_id, res_field = NULL, company_id = n.company_id,
               description = concat_ws(E'\n', n.name, n.date, 'SHA-256 of the letter: ' || n.document_sha256)
          FROM dunning_notice n
         WHERE a.id IN (n.document_id, n.mail_document_id)
           AND a.res_model = 'dunning.notice' AND a.res_id = n.id AND a.res_field IS NULL
    """)
    env['ir.attachment'].invalidate_model()
    # what was put together for printing is nothing but copies of these
    runs = env['dunning.run'].search([('letters_id', '!=', False)])
    letters = env['ir.attachment'].union(*(run._get_own_attachment('letters_id') for run in runs))
    runs.letters_id = False
    letters.unlink()


def _clear_logins(env):
    """Leave no login behind that could serve Odoo's other mail.

    The mail servers of providers are archived all along; without the addon nothing keeps them so but this: no host, no
    password, and a name that says where they came from.
    """
    servers = env['ir.mail_server'].sudo().with_context(active_test=False).search([('is_dunning_login', '=', True)])
    login = {'smtp_host', 'smtp_user', 'smtp_pass'} | {
        # Core's OAuth addons keep their tokens there.
        fname for fname in servers._fields if fname.endswith(('_refresh_token', '_access_token'))}
    servers.write({
        **dict.fromkeys(login, False), 'active': False, 'from_filter': 'dunning.invalid',
        # OAuth logins would not do without a user.
        'smtp_authentication': 'login', 'smtp_encryption': 'starttls_strict'})


def _delete_records(env):
    """Delete what refers to the records that Odoo is about to remove, which it does in an order of its own.

    Levels, scheduled actions and reports would be held back by the notices.
    """
    # With what was attached to them.
    for model in ('dunning.incoming.mail', 'dunning.dispute', 'dunning.promise'):
        env[model].search([]).unlink()
    env.flush_all()
    env.cr.execute("UPDATE res_company SET dunning_interest_profile_id = NULL")
    for table in (
            'dunning_notice', 'dunning_run', 'dunning_provider', 'dunning_procedure', 'dunning_interest_profile'):
        env.cr.execute(SQL("DELETE FROM %s", SQL.identifier(table)))
    env.invalidate_all()


# === NUMBERS === #

def _keep_sequences(env):
    """Customers keep letters with these numbers: once the addon is installed again, numbers go on where they were."""
    env['ir.model.data'].search([('module', '=', 'dunning_mail'), ('model', '=', 'ir.sequence')]).unlink()


def _adopt_sequences(env):
    """Take the sequences that an earlier installation left, in place of those that were just made."""
    for name in ('sequence_dunning_run', 'sequence_dunning_notice'):
        data = env['ir.model.data'].search([('module', '=', 'dunning_mail'), ('name', '=', name)])
        made = env['ir.sequence'].browse(data.res_id)
        kept = made.search([
            ('code', '=', made.code), ('company_id', '=', False), ('id', '!=', made.id)], order='id', limit=1)
        if kept:
            data.res_id = kept.id
            made.unlink()


# === WHAT WAS MADE AROUND IT === #

def _delete_what_refers(env):
    """Delete what users and administrators made for the addon's models and fields, and what Odoo leaves of its own."""
    own = [name for name, model in env.registry.items() if model._original_module == 'dunning_mail']
    mentions = _get_field_pattern(env, own)

    def find(model, condition, *args):
        records = env[model].with_context(active_test=False)
        return records.browse(row[0] for row in env.execute_query(SQL(
            "SELECT t.id FROM %s t WHERE %s", SQL.identifier(records._table), SQL(condition, *args))))

    env.flush_all()
    windows = find('ir.actions.act_window', "t.res_model = ANY(%s)", own)
    menus = find('ir.ui.menu', """
        t.action = ANY(%s) OR EXISTS (
            SELECT 1 FROM ir_model_data d
             WHERE d.model = 'ir.ui.menu' AND d.module = 'dunning_mail' AND d.res_id = t.id)
        """, [f'ir.actions.act_window,{window.id}' for window in windows])
    # With those below, which would come up to the top.
    menus.search([('id', 'child_of', menus.ids)]).unlink()
    windows.unlink()
    find('ir.filters', "t.model_id = ANY(%s) OR concat_ws(' ', t.domain, t.context, t.sort) ~ %s", own,
         mentions).unlink()
    find('ir.exports.line', "t.name ~ %s", mentions).unlink()
    find('ir.exports', "t.resource = ANY(%s)", own).unlink()
    find('mail.message.subtype', "t.res_model = ANY(%s)", own).unlink()
    find('ir.config_parameter', "t.key LIKE 'dunning\\_mail.%%'").unlink()
    # No module's own: those go with their module.
    handmade = """
        NOT EXISTS (SELECT 1 FROM ir_model_data d JOIN ir_module_module m ON m.name = d.module
                     WHERE d.model = 'ir.ui.view' AND d.res_id = t.id)"""
    find('ir.ui.view', f"{handmade} AND t.model = ANY(%s)", own).sorted('id', reverse=True).unlink()
    # The screens of other models would not open with them.
    find('ir.ui.view', f"{handmade} AND t.active AND t.arch_db::text ~ %s", mentions).active = False
    env.flush_all()
    # Names that other modules gave to parts of the addon's models.
    env.cr.execute("""
        DELETE FROM ir_model_data d
         USING ir_model_fields_selection s
          JOIN ir_model_fields f ON f.id = s.field_id
         WHERE d.model = 'ir.model.fields.selection' AND d.res_id = s.id AND f.model = ANY(%(own)s);
        DELETE FROM ir_model_data d
         USING ir_model_inherit i
          JOIN ir_model m ON m.id = i.model_id
         WHERE d.model = 'ir.model.inherit' AND d.res_id = i.id AND m.model = ANY(%(own)s);
        DELETE FROM ir_model_constraint c
         USING ir_module_module m
         WHERE m.id = c.module AND m.name = 'dunning_mail' AND c.type = 'f'
    """, {'own': own})
    env.invalidate_all()


def _get_field_pattern(env, own):
    """Return a regular expression that finds the fields which the addon adds to other models.

    :param list own: names of its own models
    """
    names = [name for [name] in env.execute_query(SQL(
        """
        SELECT DISTINCT f.name
          FROM ir_model_fields f
          JOIN ir_model_data d ON d.model = 'ir.model.fields' AND d.res_id = f.id
         WHERE f.model <> ALL(%s)
         GROUP BY f.id
        HAVING array_agg(d.module::text) = ARRAY['dunning_mail']
        """, own))]
    return rf"\m({'|'.join(names)})\M"

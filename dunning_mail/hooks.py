from odoo.tools import SQL


def post_init_hook(env):
    """Give every company the standard procedure, and every active language its texts."""
    env['res.company'].search([('dunning_procedure_id', '=', False)]).dunning_procedure_id = env.ref(
        'dunning_mail.procedure_standard')
    env['res.lang']._install_dunning_texts()


def uninstall_hook(env):
    """Leave the kept documents with the customers, and no login that could serve Odoo's other mail."""
    _hand_documents_to_customers(env)
    _clear_logins(env)
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
    env['ir.attachment'].union(*(run._get_own_attachment('letters_id') for run in runs)).unlink()


def _clear_logins(env):
    """Leave no login behind that could serve Odoo's other mail.

    The mail servers of providers are archived all along; without the addon nothing keeps them so but this: no host, no
    password, and a name that says where they came from.
    """
    servers = env['dunning.provider'].with_context(active_test=False).search([]).sudo().mail_server_id
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
    env['dunning.incoming.mail'].search([]).unlink()
    env.flush_all()
    for table in ('dunning_notice', 'dunning_run', 'dunning_provider', 'dunning_procedure'):
        env.cr.execute(SQL("DELETE FROM %s", SQL.identifier(table)))
    env.invalidate_all()

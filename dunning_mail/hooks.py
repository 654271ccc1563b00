def post_init_hook(env):
    """Give every company the standard procedure, and every active language its texts."""
    env['res.company'].search([('dunning_procedure_id', '=', False)]).dunning_procedure_id = env.ref(
        'dunning_mail.procedure_standard')
    env['res.lang']._install_dunning_texts()


def uninstall_hook(env):
    """Leave no login behind that could serve Odoo's other mail.

    The mail servers of providers are archived all along; without the addon nothing keeps them so but this: no host, no
    password, and a name that says where they came from.
    """
    servers = env['dunning.provider'].with_context(active_test=False).search([]).sudo().mail_server_id
    login = {'smtp_host', 'smtp_user', 'smtp_pass'} | {
        # Core's OAuth addons keep their tokens there.
        fname for fname in servers._fields if fname.endswith(('_refresh_token', '_access_token'))}
    servers.write({**dict.fromkeys(login, False), 'active': False, 'from_filter': 'dunning.invalid'})

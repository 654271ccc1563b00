import idna

from odoo import api, fields, models
from odoo.exceptions import AccessError, UserError, ValidationError
from odoo.tools import LazyTranslate

from ..tools import smtp
from ..tools.smtp import Reason

_lt = LazyTranslate(__name__)

LOGIN_FIELDS = ('smtp_host', 'smtp_port', 'smtp_encryption', 'smtp_authentication', 'smtp_user', 'smtp_pass')
CONNECT_TIMEOUT = 30


class DunningProvider(models.Model):
    """How a service provider logs in: its `ir.mail_server`, the sessions, and in words why none came about.

    The login is held on an `ir.mail_server` of the provider's own. That record is archived from its creation on and
    cannot be activated: Odoo refuses to send through an archived server, so no other mail ever uses the login, and
    nothing is left to switch off when the addon is uninstalled. The engine opens its sessions itself.
    """
    _inherit = 'dunning.provider'

    # What a fault means for whoever sees to the provider: `smtp.Reason` -> a sentence that names the remedy.
    _FAULT_WORDS = {reason: words for reasons, words in (
        ((Reason.HOST_NOT_FOUND,), _lt("The SMTP server “%(host)s” was not found. Check its name on the tab Login.")),
        ((Reason.CONNECTION_REFUSED,), _lt(
            "%(where)s refuses the connection. Check server and port on the tab Login.")),
        ((Reason.CONNECT_TIMEOUT, Reason.NETWORK_UNREACHABLE), _lt(
            "%(where)s does not answer. Check server and port, and whether a firewall is in between.")),
        ((Reason.SERVICE_UNAVAILABLE, Reason.SERVICE_REFUSED, Reason.EHLO_REFUSED), _lt(
            "%(where)s does not serve this machine at present. Ask the mail provider if it lasts.")),
        ((Reason.NO_STARTTLS, Reason.TLS_UNAVAILABLE), _lt(
            "%(where)s offers no encryption (STARTTLS), so nothing was sent. Check the port: usually 587 for "
            "STARTTLS, 465 for TLS from the start.")),
        ((Reason.CERTIFICATE_EXPIRED, Reason.CERTIFICATE_NOT_YET_VALID), _lt(
            "The certificate of %(where)s has expired or is not valid yet. Nothing was sent; the mail provider "
            "has to renew it.")),
        ((Reason.CERTIFICATE_HOSTNAME,), _lt(
            "The certificate of %(where)s belongs to another server. Check the server's name on the tab Login.")),
        ((Reason.CERTIFICATE_UNTRUSTED,), _lt(
            "The certificate of %(where)s is not signed by an authority that this machine trusts. Check the "
            "server's name, or have the authority installed.")),
        ((Reason.NOT_TLS, Reason.TLS_FAILED), _lt(
            "No encrypted connection to %(where)s came about. Check port and encryption on the tab Login.")),
        ((Reason.LOGIN_REFUSED,), _lt("%(where)s refuses the login. Check login and password on the tab Login.")),
        ((Reason.CREDENTIALS_UNUSABLE,), _lt(
            "Login or password has characters that cannot be sent to a mail server (umlauts, accents, line breaks), so "
            "that %(where)s was not asked. Set a password without them at the mail provider, and enter it on the tab "
            "Login.")),
        ((Reason.LOGIN_REQUIRED, Reason.RELAY_DENIED), _lt(
            "%(where)s takes no mail without a login, or not with this one. Check login and password on the tab "
            "Login.")),
        ((Reason.LOGIN_NOT_SUPPORTED,), _lt(
            "%(where)s offers no login that is supported here. Ask the mail provider which one it expects, for "
            "example a password for applications.")),
        ((Reason.SENDER_REFUSED, Reason.SENDER_AUTHENTICATION), _lt(
            "%(where)s refuses the sender address %(sender)s. Check it on the tab Login, and whether this login "
            "may send with it.")),
        ((Reason.QUOTA,), _lt(
            "The mail provider's quota is used up (%(where)s). Set a limit per hour or day on the tab Login, or "
            "wait until it allows more.")),
        ((Reason.POLICY_BLOCK,), _lt(
            "The mail provider blocks this sender (%(where)s). Ask it for the reason before you resume.")),
    ) for reason in reasons}
    _OTHER_FAULT = _lt(
        "The mail server %(where)s has a fault (step “%(stage)s”). Check the tab Login, or ask the mail provider.")

    _OTHER_ENCRYPTION = _lt(
        "%(where)s does not greet as a mail server with STARTTLS does. Does it speak TLS from the start on this port "
        "(usually 465)? Then choose that as encryption on the tab Login; STARTTLS is usually on port 587.")

    tested_at = fields.Datetime(
        "Connection Tested", readonly=True, copy=False, help="Login and sender address are the same since.")
    login_changed_at = fields.Datetime(readonly=True, copy=False)

    # === LOGIN RECORD === #

    @api.model
    def _selection_smtp_authentication(self):
        """Offer what core knows, less the two that bring their own connection settings (command line, certificate)."""
        selection = self.env['ir.mail_server']._fields['smtp_authentication']._description_selection(self.env)
        return [(key, label) for key, label in selection if key not in ('cli', 'certificate')]

    @api.depends('mail_server_id')
    def _compute_login(self):
        for provider in self:
            server = provider.sudo().mail_server_id
            provider.smtp_host = server.smtp_host
            provider.smtp_port = server.smtp_port if server else 587
            # Core's OAuth logins insist on its unverified 'starttls'; sessions opened here verify all the same.
            provider.smtp_encryption = (
                'ssl_strict' if server.smtp_encryption in ('ssl', 'ssl_strict') else 'starttls_strict')
            provider.smtp_authentication = server.smtp_authentication or 'login'
            provider.smtp_user = server.smtp_user
            provider.smtp_pass = False
            provider.smtp_pass_is_set = bool(server.smtp_pass)

    @api.model
    def _pop_login_values(self, vals):
        """Take the login out of a provider's values, in the form of its mail server.

        :param dict vals: values of a provider; the login's are removed
        :return: values for `ir.mail_server`, only those that were given
        :raise ValidationError: the encryption does not verify the certificate
        :raise AccessError: the user is no system administrator
        """
        login = {fname: vals.pop(fname) for fname in LOGIN_FIELDS if fname in vals}
        if login and not self.env.is_system():
            raise AccessError(self.env._("Only a system administrator may set the login of a service provider."))
        if 'smtp_encryption' in login and login['smtp_encryption'] not in ('starttls_strict', 'ssl_strict'):
            raise ValidationError(self.env._(
                "Dunning mail is only sent over encrypted connections whose certificate is verified, since the "
                "password and your customers' debts go over it. “%(encryption)s” does not do that. "
                "Choose STARTTLS or TLS from the start, with verification.",
                encryption=self._describe_login_value('smtp_encryption', login['smtp_encryption'])))
        if 'smtp_authentication' in login and login['smtp_authentication'] not in dict(
                self._selection_smtp_authentication()):
            raise ValidationError(self.env._(
                "“%s” is not a way to log in that service providers support. Use login and password, or one of the "
                "installed OAuth logins.",
                self._describe_login_value('smtp_authentication', login['smtp_authentication'])))
        return login

    @api.model
    def _describe_login_value(self, fname, value):
        """Name a value as core's mail servers do."""
        selection = self.env['ir.mail_server']._fields[fname]._description_selection(self.env)
        return dict(selection).get(value, value or '')

    @api.model
    def _prepare_mail_server_values(self, login, server):
        """Make a login fit for core's mail server.

        :param dict login: what `_pop_login_values()` returned
        :param server: the `ir.mail_server` to be written, empty for a new one
        """
        values = {} if server else {
            'smtp_encryption': 'starttls_strict', 'smtp_authentication': 'login', 'smtp_port': 587, 'active': False}
        values.update(login)
        authentication = values.get('smtp_authentication', server.smtp_authentication)
        if authentication != 'login' and values.get('smtp_encryption', 'starttls_strict') == 'starttls_strict':
            # Core's OAuth logins accept no other value; sessions opened here verify all the same.
            values['smtp_encryption'] = 'starttls'
        if authentication != 'login' and 'smtp_authentication' in values:
            # And no password.
            values['smtp_pass'] = False
        return values

    @api.model_create_multi
    def create(self, vals_list):
        vals_list = [dict(vals) for vals in vals_list]
        logins = [self._pop_login_values(vals) for vals in vals_list]
        providers = super().create(vals_list)
        for provider, login in zip(providers, logins, strict=True):
            provider._make_mail_server(login)
        providers.invalidate_recordset(LOGIN_FIELDS)
        providers.sudo().login_changed_at = fields.Datetime.now()
        return providers

    def _make_mail_server(self, login):
        """Make the login record.

        :param dict login: what `_pop_login_values()` returned
        """
        self.ensure_one()
        server = self.env['ir.mail_server'].sudo().browse()
        self.sudo().mail_server_id = server.create({
            'name': self.env._("Dunning: %s", self.name), 'is_dunning_login': True,
            **self._prepare_mail_server_values(login, server)})

    def write(self, vals):
        vals = dict(vals)
        login = self._pop_login_values(vals)
        result = super().write(vals)
        if login:
            for provider in self:
                if server := provider.sudo().mail_server_id:
                    server.write(self._prepare_mail_server_values(login, server))
                else:
                    provider._make_mail_server(login)
            self.invalidate_recordset(LOGIN_FIELDS)
        if login or 'email_from' in vals:
            self.sudo().write({'login_changed_at': fields.Datetime.now(), 'tested_at': False})
        return result

    def unlink(self):
        servers = self.sudo().mail_server_id
        result = super().unlink()
        servers.unlink()
        return result

    def action_open_mail_server(self):
        """Open the login record, where core's OAuth logins are linked."""
        self.ensure_one()
        return {
            'type': 'ir.actions.act_window',
            'res_model': 'ir.mail_server',
            'res_id': self.mail_server_id.id,
            'view_mode': 'form',
        }

    # === SESSIONS === #

    def _open_session(self, timeout=CONNECT_TIMEOUT, total_timeout=None):
        """Open a verified and logged-in SMTP session.

        :param float timeout: seconds for each step
        :param float total_timeout: seconds for all of them, default twice as long
        :return: :class:`~..tools.smtp.Session`, to be closed by the caller
        :raise smtp.DeliveryFault: with an outcome of kind `provider` that says at which stage and why
        """
        self.ensure_one()
        server = self.sudo().mail_server_id

        def login(connection):
            if not server.smtp_user:
                return
            local, at, domain = server.smtp_user.rpartition('@')
            try:
                user = local + at + idna.encode(domain).decode() if at else server.smtp_user
                server._smtp_login__(connection, user, server.smtp_pass or '')
            except (UserError, idna.IDNAError) as error:
                # OAuth logins say this way that they have no token.
                raise smtp.LoginError(str(error)) from None

        return smtp.open_session(
            server.smtp_host or '', server.smtp_port or 587,
            implicit_tls=server.smtp_encryption in ('ssl', 'ssl_strict'),
            login=login, timeout=timeout, total_timeout=total_timeout, mask=self._make_mask())

    def _make_mask(self):
        """Return what takes the login out of whatever a server says: :class:`~..tools.smtp.Mask`."""
        self.ensure_one()
        server = self.sudo().mail_server_id
        secrets = [server.smtp_pass]
        # Tokens and secrets of core's OAuth addons, where they are installed.
        secrets += [server[fname] for fname in server._fields if fname.endswith(('_refresh_token', '_access_token'))]
        parameters = self.env['ir.config_parameter'].sudo()
        secrets += [parameters.get_param(key) for key in (
            'google_gmail_client_secret', 'microsoft_outlook_client_secret')]
        return smtp.Mask([server.smtp_user], [secret for secret in secrets if isinstance(secret, str)])

    # === TEST OF THE CONNECTION === #

    def action_test_connection(self):
        """Log in and offer the sender address, without sending anything.

        :raise UserError: names what is wrong: host, port, certificate, login or sender
        """
        self.check_access('write')
        hints = []
        for provider in self:
            provider._test_connection()
            hints += provider._get_bounce_hints()
        message = self.env._("Connection, certificate, login and sender address are accepted.")
        return {
            'type': 'ir.actions.client',
            'tag': 'display_notification',
            'params': {
                'type': 'warning' if hints else 'success',
                'sticky': bool(hints),
                'message': '\n'.join([message, *hints]),
                'next': {'type': 'ir.actions.act_window_close'},
            },
        }

    def _test_connection(self):
        """Open a session and offer the sender.

        :raise UserError: says at which stage it failed and what to do
        """
        self.ensure_one()
        if not self.sudo().mail_server_id.smtp_host:
            raise UserError(self.env._(
                "Service provider “%s” has no SMTP server. Enter it on the tab Login.", self.name))
        try:
            session = self._open_session()
        except smtp.DeliveryFault as fault:
            raise UserError(self._describe_fault(fault.outcome)) from fault
        try:
            outcome = session.check_sender(self._get_smtp_from())
        finally:
            session.close()
        if outcome.kind != smtp.Kind.ACCEPTED:
            raise UserError(self._describe_fault(outcome))
        self.sudo().tested_at = fields.Datetime.now()

    def _is_tested(self):
        """Whether login and sender address are known to work as they are now: by a test, or since mail went out."""
        self.ensure_one()
        provider = self.sudo()
        return bool(provider.tested_at or self.env['dunning.delivery.log'].sudo().search_count([
            ('provider_id', '=', self.id), ('recipient_count', '>', 0),
            *([('date', '>', provider.login_changed_at)] if provider.login_changed_at else [])], limit=1))

    def _get_bounce_hints(self):
        """Say what stands in the way of reports of undeliverable mail, as far as it can be seen from here.

        They go to the address in MAIL FROM (the later Return-Path), and are read if Odoo fetches that mailbox.

        :return: list of translated texts, empty where nothing is missing
        """
        self.ensure_one()
        mailbox = self.sudo().incoming_server_id
        address = self._get_smtp_from()
        if not mailbox:
            return [self.env._(
                "Reports of undeliverable mail return to %(address)s, and Odoo does not read them: no mailbox for "
                "bounces is chosen on the tab Login. A notice that comes back stays “Sent”.", address=address)]
        hints = []
        if not mailbox.active or mailbox.state != 'done':
            hints.append(self.env._(
                "The mailbox for bounces “%s” is not confirmed or is archived, so that Odoo does not read it.",
                mailbox.name))
        elif mailbox.error_date and (not mailbox.date or mailbox.error_date > mailbox.date):
            hints.append(self.env._(
                "The mailbox for bounces “%(name)s” could not be read the last time: %(error)s", name=mailbox.name,
                error=mailbox.error_message or ''))
        user = (self.env['dunning.notice']._parse_addresses(mailbox.user) or [False])[0]
        if user and user != address:
            hints.append(self.env._(
                "Reports of undeliverable mail return to %(address)s, but the mailbox for bounces is that of %(user)s. "
                "Make sure that the one is delivered to the other.", address=address, user=user))
        return hints

    # === FAULTS IN WORDS === #

    def _get_where(self):
        """Return the server and its port."""
        server = self.sudo().mail_server_id
        return f'{server.smtp_host}:{server.smtp_port}'

    def _is_other_encryption(self, outcome):
        """Whether a server that is to greet waits for TLS instead: both wait for the other to begin."""
        server = self.sudo().mail_server_id
        return outcome.stage == smtp.Stage.BANNER and outcome.code is None and (
            server.smtp_encryption not in ('ssl', 'ssl_strict')) and (
            outcome.reason in (Reason.TIMEOUT, Reason.GARBAGE) or server.smtp_port == 465)

    def _describe_fault(self, outcome):
        """Put a provider's fault into words, with the remedy.

        :param outcome: :class:`~..tools.smtp.Outcome` of kind `provider` or `transient`
        :return: translated text, without any secret
        """
        self.ensure_one()
        server = self.sudo().mail_server_id
        stages = dict(self.env['dunning.delivery.log']._fields['stage']._description_selection(self.env))
        words = self._FAULT_WORDS.get(outcome.reason, self._OTHER_FAULT)
        if self._is_other_encryption(outcome):
            words = self._OTHER_ENCRYPTION
        # Odoo takes the source where a translation has other placeholders: what happened must be written down.
        message = self.env._(
            words._source, host=server.smtp_host, where=self._get_where(), sender=self.email_from,
            stage=stages.get(outcome.stage, outcome.stage))
        if outcome.answer:
            message += '\n' + self.env._("The server says: %s", outcome.answer)
        return message

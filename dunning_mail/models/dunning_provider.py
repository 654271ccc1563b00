import logging
from datetime import UTC, timedelta

import idna
import psycopg2

from odoo import api, fields, models
from odoo.exceptions import AccessError, UserError, ValidationError
from odoo.tools import SQL, email_normalize, formataddr, plaintext2html

from ..tools import smtp

_logger = logging.getLogger(__name__)

# Below this, mail providers are known to take a sender for a bulk sender.
SAFE_INTERVAL = 60
LOGIN_FIELDS = ('smtp_host', 'smtp_port', 'smtp_encryption', 'smtp_authentication', 'smtp_user', 'smtp_pass')
# Minutes until a provider whose fault may pass by itself is tried again; the last one repeats.
RESUME_AFTER_MINUTES = (1, 2, 5, 15, 30, 60)
CONNECT_TIMEOUT = 30
# How far ahead sending hours are looked for.
CALENDAR_DAYS = 21


class DunningProvider(models.Model):
    """Who sends dunning mail: with which login, and how fast.

    ====== ================================================= ==========================
    state  means                                             left by
    ====== ================================================= ==========================
    ready  the process engine may use it                     `_pause()`
    paused no mail goes out, all its notices stay released   `action_resume()`, or by
                                                             itself at `resume_at`
    ====== ================================================= ==========================

    The login is held on an `ir.mail_server` of the provider's own. That record is archived from its creation on and
    cannot be activated: Odoo refuses to send through an archived server, so no other mail ever uses the login, and
    nothing is left to switch off when the addon is uninstalled. The engine opens its sessions itself.
    """
    _name = 'dunning.provider'
    _description = 'Dunning Service Provider'
    _inherit = ['dunning.guard', 'mail.thread', 'mail.activity.mixin']
    _order = 'name, id'
    _check_company_auto = True

    name = fields.Char(required=True, tracking=True)
    active = fields.Boolean(default=True, tracking=True)
    company_id = fields.Many2one(
        'res.company', index=True,
        help="Only this company may send with this provider. Leave empty to share it among all companies.")
    provider_type = fields.Selection([('email', 'E-mail')], string="Type", required=True, default='email')
    engine_id = fields.Many2one(
        'ir.cron', string="Process Engine", required=True, ondelete='restrict',
        domain=[('model_id.model', '=', 'dunning.engine')], context={'active_test': True},
        default=lambda self: self._default_engine_id(),
        help="The scheduled action that works through the notices which are released for sending.")

    # === LOGIN === #
    mail_server_id = fields.Many2one(
        'ir.mail_server', string="Login Record", readonly=True, copy=False, ondelete='restrict',
        groups='base.group_system')
    smtp_host = fields.Char("SMTP Server", compute='_compute_login', readonly=False, groups='base.group_system')
    smtp_port = fields.Integer(
        "Port", default=587, compute='_compute_login', readonly=False, groups='base.group_system')
    smtp_encryption = fields.Selection(
        [('starttls_strict', "STARTTLS, certificate verified"),
         ('ssl_strict', "TLS from the start, certificate verified")],
        string="Encryption", default='starttls_strict', compute='_compute_login', readonly=False,
        groups='base.group_system')
    smtp_authentication = fields.Selection(
        selection='_selection_smtp_authentication', string="Log In With", default='login',
        compute='_compute_login', readonly=False, groups='base.group_system')
    smtp_user = fields.Char("Login", compute='_compute_login', readonly=False, groups='base.group_system')
    smtp_pass = fields.Char(
        "Password", compute='_compute_login', readonly=False, groups='base.group_system',
        help="Can be set here, but never be read again.")
    smtp_pass_is_set = fields.Boolean(compute='_compute_login', groups='base.group_system')

    # === SENDING === #
    email_from = fields.Char("Sender Address", tracking=True)
    send_interval = fields.Integer(
        "Send a Mail Every (Seconds)", default=SAFE_INTERVAL, tracking=True,
        help="Seconds from the end of one handover to the start of the next.")
    is_interval_short = fields.Boolean(compute='_compute_is_interval_short')
    hourly_limit = fields.Integer(
        "Recipients per Hour", tracking=True, help="In any 60 minutes. 0 means no limit.")
    daily_limit = fields.Integer(
        "Recipients per Day", tracking=True, help="In any 24 hours. 0 means no limit.")
    calendar_id = fields.Many2one(
        'resource.calendar', string="Sending Hours", tracking=True, ondelete='restrict',
        domain="[('company_id', 'in', (company_id, False))]",
        help="Mail goes out within these working hours only. Leave empty to send around the clock.")
    redirect_to = fields.Char(
        "Trial Mode: Send Everything To", tracking=True,
        help="All mail of this provider goes to this address instead of the customers. "
             "What is sent in trial mode does not count as a dunning level.")
    incoming_server_id = fields.Many2one(
        'fetchmail.server', string="Mailbox for Bounces", groups='base.group_system',
        help="The incoming mail server that reads the mailbox to which undeliverable mail is returned.")

    # === STATE === #
    state = fields.Selection(
        [('ready', 'Ready'), ('paused', 'Paused')],
        required=True, default='ready', readonly=True, copy=False, tracking=True)
    pause_reason = fields.Text(readonly=True, copy=False)
    resume_at = fields.Datetime(
        "Tried Again At", readonly=True, copy=False, help="Empty: a person has to resume the provider.")
    fault_count = fields.Integer("Faults in a Row", readonly=True, copy=False)
    policy_refusal_count = fields.Integer("Recipients Refused for Policy in a Row", readonly=True, copy=False)
    policy_refused_to = fields.Text(readonly=True, copy=False)
    next_send_at = fields.Datetime("Next Mail Not Before", readonly=True, copy=False)
    next_send_lead = fields.Integer(
        "Microseconds Less", readonly=True, copy=False,
        help="The exact moment is so much before the one in full seconds.")
    released_count = fields.Integer("Waiting Notices", compute='_compute_released_count')

    _send_interval_not_negative = models.Constraint(
        'CHECK(send_interval >= 0)', "The seconds between two mails cannot be negative.")
    _limits_not_negative = models.Constraint(
        'CHECK(COALESCE(hourly_limit, 0) >= 0 AND COALESCE(daily_limit, 0) >= 0)',
        "A limit of recipients cannot be negative. Use 0 for no limit.")

    # === DEFAULTS, COMPUTES === #

    @api.model
    def _default_engine_id(self):
        return self.env.ref('dunning_mail.ir_cron_engine', raise_if_not_found=False)

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

    @api.depends('send_interval')
    def _compute_is_interval_short(self):
        for provider in self:
            provider.is_interval_short = 0 <= provider.send_interval < SAFE_INTERVAL

    def _compute_released_count(self):
        counts = dict(self.env['dunning.notice'].sudo()._read_group(
            [('provider_id', 'in', self.ids), ('delivery_state', '=', 'released'), ('state', '=', 'issued')],
            ['provider_id'], ['__count']))
        for provider in self:
            provider.released_count = counts.get(provider, 0)

    # === CONSTRAINTS === #

    @api.model
    def _is_address(self, text):
        """Whether a text is one address that can stand in an SMTP envelope."""
        return bool(email_normalize(text)) and len(self.env['dunning.notice']._parse_addresses(text)) == 1

    @api.constrains('email_from', 'redirect_to', 'provider_type')
    def _check_addresses(self):
        for provider in self.filtered(lambda p: p.provider_type == 'email'):
            if not self._is_address(provider.email_from):
                raise ValidationError(self.env._(
                    "Service provider “%(name)s” has no valid sender address (“%(address)s”). "
                    "Enter one mail address, such as accounts@your-company.com, on the tab Login.",
                    name=provider.name, address=provider.email_from or ''))
            if provider.redirect_to and not self._is_address(provider.redirect_to):
                raise ValidationError(self.env._(
                    "Service provider “%(name)s”: “%(address)s” is not a mail address. "
                    "Enter one address for the trial mode, or leave it empty to send to the customers.",
                    name=provider.name, address=provider.redirect_to))

    @api.constrains('company_id')
    def _check_company_users(self):
        users = self.env['res.company'].sudo().search([('dunning_provider_id', 'in', self.ids)])
        users._check_dunning_company()

    @api.constrains('calendar_id')
    def _check_calendar(self):
        for provider in self:
            if provider.calendar_id and not provider.sudo().calendar_id.attendance_ids:
                raise ValidationError(self.env._(
                    "“%(calendar)s” has no working hours, so service provider “%(name)s” could never send. Enter the "
                    "hours, or choose another calendar.", calendar=provider.calendar_id.name, name=provider.name))

    @api.constrains('engine_id')
    def _check_engine(self):
        for provider in self:
            if provider.engine_id.sudo().model_id.model != 'dunning.engine':
                raise ValidationError(self.env._(
                    "“%(engine)s” is no process engine for dunning mail. Choose an installed one for service provider "
                    "“%(name)s”.", engine=provider.engine_id.sudo().name, name=provider.name))

    # === CRUD === #

    def _get_writable_fields(self):
        # The login is taken out before, and written to the mail server.
        return super()._get_writable_fields() | {
            'name', 'active', 'company_id', 'provider_type', 'engine_id', 'email_from', 'send_interval', 'hourly_limit',
            'daily_limit', 'calendar_id', 'redirect_to', 'incoming_server_id'}

    def _raise_closed(self, fnames):
        if 'state' in fnames:
            raise AccessError(self.env._(
                "The state of a service provider is kept by the process engine. Use Pause, Resume or Test Connection."))
        return super()._raise_closed(fnames)

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
            server = self.env['ir.mail_server'].sudo().browse()
            provider.sudo().mail_server_id = server.create({
                'name': self.env._("Dunning: %s", provider.name),
                **self._prepare_mail_server_values(login, server),
            })
        providers.invalidate_recordset(LOGIN_FIELDS)
        return providers

    def write(self, vals):
        vals = dict(vals)
        login = self._pop_login_values(vals)
        result = super().write(vals)
        if login:
            for server in self.sudo().mail_server_id:
                server.write(self._prepare_mail_server_values(login, server))
            self.invalidate_recordset(LOGIN_FIELDS)
        return result

    @api.ondelete(at_uninstall=False)
    def _unlink_except_used(self):
        for provider in self:
            if self.env['dunning.notice'].sudo().search_count([('provider_id', '=', provider.id)], limit=1):
                raise UserError(self.env._(
                    "Service provider “%s” has sent dunning notices and is part of their evidence. "
                    "Archive it instead.", provider.name))

    def unlink(self):
        servers = self.sudo().mail_server_id
        result = super().unlink()
        servers.unlink()
        return result

    # === SENDING === #

    def _is_stranded(self):
        """Whether no process engine works for the provider any more."""
        self.ensure_one()
        return not (self.active and self.sudo().engine_id.active)

    def _get_smtp_from(self):
        """Return the bare address that goes into MAIL FROM; undeliverable mail returns to it."""
        self.ensure_one()
        return email_normalize(self.email_from)

    def _get_from_header(self, company):
        """Return the From header: the company's name with the provider's sender address.

        :param company: `res.company` whose notice it is
        """
        self.ensure_one()
        name = ' '.join((company.name or '').split())
        return formataddr((name, self._get_smtp_from()))

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
            login=login, timeout=timeout, total_timeout=total_timeout)

    def _lock(self):
        """Try to become the one sender of this provider, over all processes and hosts.

        A session-level advisory lock of PostgreSQL: it survives commits and dies with its connection. Release it with
        `_unlock()` on the same cursor, since Odoo's connection pool would keep it.

        :return: whether the lock was taken
        """
        self.ensure_one()
        self.env.cr.execute("SELECT pg_try_advisory_lock(hashtext('dunning_mail.provider'), %s)", [self.id])
        return self.env.cr.fetchone()[0]

    def _get_lock_condition(self):
        """Return what says in a query whether the connection that runs it holds the lock.

        It is asked in the transaction that is to be committed before a handover: behind a pooler that may be on another
        connection than the one which took the lock.
        """
        self.ensure_one()
        return SQL(
            """
            EXISTS (
                SELECT 1
                  FROM pg_locks
                 WHERE locktype = 'advisory' AND granted AND pid = pg_backend_pid()
                   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
                   AND classid::bigint = hashtext('dunning_mail.provider')::bigint & 4294967295
                   AND objid::bigint = %s AND objsubid = 2)
            """, self.id)

    def _unlock(self):
        """Give the lock back. On a connection that is lost it has gone already."""
        for provider in self:
            try:
                self.env.cr.execute("SELECT pg_advisory_unlock(hashtext('dunning_mail.provider'), %s)", [provider.id])
            except psycopg2.Error as error:
                _logger.warning("Lock of dunning provider %s not given back: %s", provider.id, error)

    def _get_next_slot(self, now, recipient_count=1):
        """Return when the provider may send its next mail, as far as its pace and limits say.

        :param datetime now: naive UTC
        :param int recipient_count: recipients of that mail
        :return: naive UTC datetime, not before `now`
        """
        self.ensure_one()
        slot = max(now, self._get_stored_slot() or now, (self.state == 'paused' and self.resume_at) or now)
        for limit, window in ((self.hourly_limit, timedelta(hours=1)), (self.daily_limit, timedelta(days=1))):
            if limit:
                slot = max(slot, self.env['dunning.delivery.log']._get_limit_slot(
                    self, limit, window, now, recipient_count))
        return self._get_opening(slot) if self.calendar_id else slot

    def _get_opening(self, moment):
        """Return the first moment within the sending hours.

        :param datetime moment: naive UTC
        :return: naive UTC, not before `moment`
        """
        self.ensure_one()
        start = moment.replace(tzinfo=UTC)
        # Mostly the doors are open, or open soon.
        for days in (1, CALENDAR_DAYS):
            hours = self.sudo().calendar_id._work_intervals_batch(start, start + timedelta(days=days))[False]
            for opens, closes, _attendance in hours:
                if closes > start:
                    return max(opens, start).astimezone(UTC).replace(tzinfo=None)
        # Nothing in sight, for example a company holiday: looked at again then.
        return moment + timedelta(days=CALENDAR_DAYS)

    def _set_next_slot(self, ended_at):
        """Store the next slot, measured from the end of a handover.

        :param datetime ended_at: naive UTC, to the microsecond
        """
        self.ensure_one()
        # Without an interval it only says who among several providers has waited longest.
        self._store_slot(ended_at + timedelta(seconds=self.send_interval))

    def _get_stored_slot(self):
        """Return the stored slot to the microsecond, False where there is none."""
        self.ensure_one()
        return self.next_send_at and self.next_send_at - timedelta(microseconds=self.next_send_lead)

    def _store_slot(self, slot):
        """Keep a slot to the microsecond: Odoo keeps datetimes in whole seconds.

        :param datetime slot: naive UTC
        """
        self.ensure_one()
        # Rounded up, so that whoever looks at the datetime alone does not send too early.
        rounded = slot.replace(microsecond=0) + timedelta(seconds=bool(slot.microsecond))
        self.sudo().write({
            'next_send_at': rounded, 'next_send_lead': round((rounded - slot).total_seconds() * 1_000_000)})

    def _after_handover(self, ended_at):
        """Store the next slot; a fault that was to pass by itself has passed.

        :param datetime ended_at: naive UTC, to the microsecond
        """
        self.ensure_one()
        self._set_next_slot(ended_at)
        if self.state == 'paused' and not self.resume_at:
            # A person paused it meanwhile.
            return
        if self.state == 'paused' or self.fault_count:
            self.sudo().write({'state': 'ready', 'pause_reason': False, 'resume_at': False, 'fault_count': 0})
            self.sudo().activity_feedback(['dunning_mail.mail_activity_provider_paused'])

    def _count_policy_refusal(self, email_to):
        """Count different recipients that are refused for policy in a row.

        :param email_to: addresses of a notice that was; False for one that was not
        """
        self.ensure_one()
        refused_to = sorted({*(self.policy_refused_to or '').splitlines(), email_to}) if email_to else []
        if refused_to or self.policy_refusal_count:
            self.sudo().write({
                'policy_refusal_count': len(refused_to), 'policy_refused_to': '\n'.join(refused_to) or False})

    # === PAUSE AND RESUME === #

    def _pause(self, reason, *, passing=False, now=None):
        """Stop sending: all notices stay released.

        :param str reason: in words, with the remedy
        :param bool passing: the fault may pass by itself, the engine tries again with growing delays
        :param datetime now: naive UTC, default the current time
        """
        now = now or fields.Datetime.now()
        for provider in self.sudo():
            if passing and provider.state == 'paused' and not provider.resume_at:
                # Somebody has to resume it already.
                continue
            delay = RESUME_AFTER_MINUTES[min(provider.fault_count, len(RESUME_AFTER_MINUTES) - 1)]
            is_news = provider.state != 'paused' or provider.pause_reason != reason
            provider.with_context(tracking_disable=not is_news).write({
                'state': 'paused',
                'pause_reason': reason,
                'resume_at': now + timedelta(minutes=delay) if passing else False,
                'fault_count': provider.fault_count + 1,
            })
            if is_news:
                _logger.info("Dunning provider %s paused: %s", provider.id, reason)
                provider._schedule_pause_activity(reason)

    def _schedule_pause_activity(self, reason):
        self.ensure_one()
        administrators = self.env.ref('base.group_system').sudo().all_user_ids.filtered(
            lambda user: user.active and not user.share and (
                not self.company_id or self.company_id in user.company_ids))
        for user in administrators - self.activity_ids.filtered(
                lambda a: a.activity_type_id == self.env.ref('dunning_mail.mail_activity_provider_paused')).user_id:
            self.with_context(lang=user.lang).activity_schedule(
                'dunning_mail.mail_activity_provider_paused', user_id=user.id,
                summary=self.env(context=dict(self.env.context, lang=user.lang))._("Dunning mail is paused"),
                note=plaintext2html(reason))

    # === ACTIONS === #

    def action_pause(self):
        """Stop sending until somebody resumes. Notices stay released."""
        self.check_access('write')
        self._pause(self.env._("Paused by %s.", self.env.user.name))

    def action_resume(self):
        """Test the connection and go on sending.

        :raise UserError: the connection test failed; the provider stays paused
        """
        self.check_access('write')
        for provider in self:
            provider._test_connection()
            provider.sudo().write({
                'state': 'ready', 'pause_reason': False, 'resume_at': False, 'fault_count': 0,
                'policy_refusal_count': 0, 'policy_refused_to': False})
            provider.sudo().activity_feedback(['dunning_mail.mail_activity_provider_paused'])
            provider.engine_id.sudo()._trigger()

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
        user = email_normalize(mailbox.user)
        if user and user != address:
            hints.append(self.env._(
                "Reports of undeliverable mail return to %(address)s, but the mailbox for bounces is that of %(user)s. "
                "Make sure that the one is delivered to the other.", address=address, user=user))
        return hints

    def action_open_released(self):
        """Open the notices that wait for this provider."""
        self.ensure_one()
        return {
            **self.env['ir.actions.act_window']._for_xml_id('dunning_mail.dunning_notice_action'),
            'domain': [('provider_id', '=', self.id), ('delivery_state', '=', 'released')],
            'context': {},
        }

    def action_open_mail_server(self):
        """Open the login record, where core's OAuth logins are linked."""
        self.ensure_one()
        return {
            'type': 'ir.actions.act_window',
            'res_model': 'ir.mail_server',
            'res_id': self.mail_server_id.id,
            'view_mode': 'form',
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

    def _describe_fault(self, outcome):
        """Put a provider's fault into words, with the remedy.

        :param outcome: :class:`~..tools.smtp.Outcome` of kind `provider` or `transient`
        :return: translated text, without any secret
        """
        self.ensure_one()
        Reason = smtp.Reason
        server = self.sudo().mail_server_id
        names = {'host': server.smtp_host, 'where': f'{server.smtp_host}:{server.smtp_port}', 'sender': self.email_from}
        messages = (
            ((Reason.HOST_NOT_FOUND,), self.env._(
                "The SMTP server “%(host)s” was not found. Check its name on the tab Login.", **names)),
            ((Reason.CONNECTION_REFUSED,), self.env._(
                "%(where)s refuses the connection. Check server and port on the tab Login.", **names)),
            ((Reason.CONNECT_TIMEOUT, Reason.NETWORK_UNREACHABLE), self.env._(
                "%(where)s does not answer. Check server and port, and whether a firewall is in between.", **names)),
            ((Reason.SERVICE_UNAVAILABLE, Reason.SERVICE_REFUSED, Reason.EHLO_REFUSED), self.env._(
                "%(where)s does not serve this machine at present. Ask the mail provider if it lasts.", **names)),
            ((Reason.NO_STARTTLS, Reason.TLS_UNAVAILABLE), self.env._(
                "%(where)s offers no encryption (STARTTLS), so nothing was sent. Check the port: usually 587 for "
                "STARTTLS, 465 for TLS from the start.", **names)),
            ((Reason.CERTIFICATE_EXPIRED, Reason.CERTIFICATE_NOT_YET_VALID), self.env._(
                "The certificate of %(where)s has expired or is not valid yet. Nothing was sent; the mail provider has "
                "to renew it.", **names)),
            ((Reason.CERTIFICATE_HOSTNAME,), self.env._(
                "The certificate of %(where)s belongs to another server. Check the server's name on the tab Login.",
                **names)),
            ((Reason.CERTIFICATE_UNTRUSTED,), self.env._(
                "The certificate of %(where)s is not signed by an authority that this machine trusts. "
                "Check the server's name, or have the authority installed.", **names)),
            ((Reason.NOT_TLS, Reason.TLS_FAILED), self.env._(
                "No encrypted connection to %(where)s came about. Check port and encryption on the tab Login.",
                **names)),
            ((Reason.LOGIN_REFUSED, Reason.CREDENTIALS_UNUSABLE), self.env._(
                "%(where)s refuses the login. Check login and password on the tab Login.", **names)),
            ((Reason.LOGIN_REQUIRED, Reason.RELAY_DENIED), self.env._(
                "%(where)s takes no mail without a login, or not with this one. Check login and password on the tab "
                "Login.", **names)),
            ((Reason.LOGIN_NOT_SUPPORTED,), self.env._(
                "%(where)s offers no login that is supported here. Ask the mail provider which one it expects, for "
                "example a password for applications.", **names)),
            ((Reason.SENDER_REFUSED, Reason.SENDER_AUTHENTICATION), self.env._(
                "%(where)s refuses the sender address %(sender)s. Check it on the tab Login, and whether this login "
                "may send with it.", **names)),
            ((Reason.QUOTA,), self.env._(
                "The mail provider's quota is used up (%(where)s). Set a limit per hour or day on the tab Login, or "
                "wait until it allows more.", **names)),
            ((Reason.POLICY_BLOCK,), self.env._(
                "The mail provider blocks this sender (%(where)s). Ask it for the reason before you resume.", **names)),
        )
        message = next((text for reasons, text in messages if outcome.reason in reasons), None) or self.env._(
            "The mail server %(where)s has a fault (step “%(stage)s”). Check the tab Login, or ask the mail provider.",
            stage=dict(self.env['dunning.delivery.log']._fields['stage']._description_selection(self.env)).get(
                outcome.stage, outcome.stage), **names)
        if outcome.answer:
            message += '\n' + self.env._("The server says: %s", outcome.answer)
        return message

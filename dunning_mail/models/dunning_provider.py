import logging
from datetime import timedelta

from odoo import api, fields, models
from odoo.exceptions import AccessError, UserError, ValidationError
from odoo.tools import email_normalize, formataddr, plaintext2html

_logger = logging.getLogger(__name__)

# Below this, mail providers are known to take a sender for a bulk sender.
SAFE_INTERVAL = 60
# Minutes until a provider whose fault may pass by itself is tried again; the last one repeats.
RESUME_AFTER_MINUTES = (1, 2, 5, 15, 30, 60)
# Hours after which a fault that was to pass by itself waits for a person.
WAIT_HOURS = 72
READY = {'state': 'ready', 'pause_reason': False, 'resume_at': False, 'fault_count': 0, 'fault_since': False}


class DunningProvider(models.Model):
    """Who sends dunning mail: with which login, and how fast.

    ====== ================================================= ==========================
    state  means                                             left by
    ====== ================================================= ==========================
    ready  the process engine may use it                     `_pause()`
    paused no mail goes out, all its notices stay released   `action_resume()`, or by
                                                             itself at `resume_at`
    ====== ================================================= ==========================
    """
    _name = 'dunning.provider'
    _description = 'Dunning Service Provider'
    _inherit = ['dunning.shared', 'mail.thread', 'mail.activity.mixin']
    _order = 'name, id'
    _check_company_auto = True

    name = fields.Char(required=True, tracking=True)
    active = fields.Boolean(default=True, tracking=True)
    company_id = fields.Many2one(
        'res.company', index=True, default=lambda self: self._default_company_id(),
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
        check_company=True, domain="[('company_id', 'in', (company_id, False))]",
        help="Mail goes out within these working hours only. Leave empty to send around the clock.")
    redirect_to = fields.Char(
        "Trial Mode: Send Everything To", tracking=True,
        help="All mail of this provider goes to this address instead of the customers. "
             "What is sent in trial mode does not count as a dunning level.")
    incoming_server_id = fields.Many2one(
        'fetchmail.server', string="Mailbox for Bounces", copy=False, groups='base.group_system',
        help="The incoming mail server that reads the mailbox to which undeliverable mail is returned.")
    user_id = fields.Many2one(
        'res.users', string="Responsible", tracking=True, check_company=True, domain="[('share', '=', False)]",
        help="Is asked about what comes into the mailbox for bounces and belongs to no notice. Empty: somebody who "
             "heads the accounts.")

    # === STATE === #
    state = fields.Selection(
        [('ready', 'Ready'), ('paused', 'Paused')],
        required=True, default='ready', readonly=True, copy=False, tracking=True)
    pause_reason = fields.Text(readonly=True, copy=False)
    resume_at = fields.Datetime(
        "Tried Again At", readonly=True, copy=False, help="Empty: a person has to resume the provider.")
    fault_count = fields.Integer("Faults in a Row", readonly=True, copy=False)
    fault_since = fields.Datetime(readonly=True, copy=False, help="Since when faults that may pass have not.")
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
            'daily_limit', 'calendar_id', 'redirect_to', 'incoming_server_id', 'user_id'}

    def copy_data(self, default=None):
        return [
            vals if 'name' in (default or {}) else {**vals, 'name': self.env._("%s (copy)", provider.name)}
            for provider, vals in zip(self, super().copy_data(default), strict=True)]

    def _raise_closed(self, fnames):
        if 'state' in fnames:
            raise AccessError(self.env._(
                "The state of a service provider is kept by the process engine. Use Pause, Resume or Test Connection."))
        return super()._raise_closed(fnames)

    @api.ondelete(at_uninstall=False)
    def _unlink_except_used(self):
        for provider in self:
            if self.env['dunning.notice'].sudo().search_count([('provider_id', '=', provider.id)], limit=1):
                raise UserError(self.env._(
                    "Service provider “%s” has sent dunning notices and is part of their evidence. "
                    "Archive it instead.", provider.name))

    # === SENDING === #

    def _is_stranded(self):
        """Whether no process engine works for the provider any more."""
        self.ensure_one()
        return not (self.active and self.sudo().engine_id.active)

    def _get_smtp_from(self):
        """Return the bare address that goes into MAIL FROM, its domain as it goes over the wire; undeliverable mail
        returns to it."""
        self.ensure_one()
        addresses = self.env['dunning.notice']._parse_addresses(self.email_from)
        return addresses[0] if addresses else email_normalize(self.email_from)

    def _get_from_header(self, company):
        """Return the From header: the company's name with the provider's sender address.

        :param company: `res.company` whose notice it is
        """
        self.ensure_one()
        name = ' '.join((company.name or '').split())
        return formataddr((name, self._get_smtp_from()))

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
            self.sudo().write(READY)
            self.sudo().activity_feedback(['dunning_mail.mail_activity_provider_paused'])

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
            since, words = provider.fault_since or now, reason
            resumes = passing and now - since < timedelta(hours=WAIT_HOURS)
            if passing and not resumes:
                words += '\n' + self.env._(
                    "It has been so for %s hours. It is not tried again by itself any more: resume it when the cause "
                    "is found.", WAIT_HOURS)
            delay = RESUME_AFTER_MINUTES[min(provider.fault_count, len(RESUME_AFTER_MINUTES) - 1)]
            is_news = provider.state != 'paused' or provider.pause_reason != words
            provider.with_context(tracking_disable=not is_news).write({
                'state': 'paused',
                'pause_reason': words,
                'resume_at': now + timedelta(minutes=delay) if resumes else False,
                'fault_count': provider.fault_count + 1,
                'fault_since': since,
            })
            if is_news:
                _logger.info("Dunning provider %s paused: %s", provider.id, words)
                provider._schedule_pause_activity(words)

    def _schedule_pause_activity(self, reason, summary=None):
        self.ensure_one()
        administrators = self.env.ref('base.group_system').sudo().all_user_ids.filtered(
            lambda user: user.active and not user.share and (
                not self.company_id or self.company_id in user.company_ids))
        for user in administrators - self.activity_ids.filtered(
                lambda a: a.activity_type_id == self.env.ref('dunning_mail.mail_activity_provider_paused')).user_id:
            self.with_context(lang=user.lang).activity_schedule(
                'dunning_mail.mail_activity_provider_paused', user_id=user.id,
                summary=summary or self.env(context=dict(self.env.context, lang=user.lang))._("Dunning mail is paused"),
                note=plaintext2html(reason))

    # === ACTIONS === #

    def action_pause(self):
        """Stop sending until somebody resumes. Notices stay released.

        It does no harm: whoever heads the accounts of one company may stop what all share.
        """
        self.check_access('read')
        self.browse().check_access('write')
        self.filtered('company_id').check_access('write')
        self._pause(self.env._("Paused by %s.", self.env.user.name))

    def action_resume(self):
        """Test the connection and go on sending.

        :raise UserError: the connection test failed; the provider stays paused
        """
        self.check_access('write')
        for provider in self:
            provider._test_connection()
            self.env['dunning.engine']._keep_database()
            provider.sudo().write({**READY, 'refusals': False})
            provider.sudo().activity_feedback(['dunning_mail.mail_activity_provider_paused'])
            provider.engine_id.sudo()._trigger()

    def action_open_released(self):
        """Open the notices that wait for this provider."""
        self.ensure_one()
        return {
            **self.env['ir.actions.act_window']._for_xml_id('dunning_mail.dunning_notice_action'),
            'domain': [('provider_id', '=', self.id), ('delivery_state', '=', 'released')],
            'context': {},
        }

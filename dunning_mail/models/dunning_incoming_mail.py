import base64
import email
import email.policy
import hashlib
import logging
import xmlrpc.client
from datetime import timedelta

from odoo import SUPERUSER_ID, api, fields, models
from odoo.exceptions import UserError
from odoo.tools import email_normalize, html2plaintext, plaintext2html
from odoo.tools.mail import decode_message_header

from ..tools import bounce, mail_trace
from .ir_actions_report import RETRYABLE

_logger = logging.getLogger(__name__)

# Collisions with others in a row, after which a mail waits for the next pass.
CONFLICTS = 5
# Failures of another kind, after which a person is asked.
FAILURES_TO_ASK = 3
RETRY_AFTER = timedelta(minutes=5)
KEEP_DAYS = 30
MAX_TEXT = 20_000
BATCH = 1000


class DunningIncomingMail(models.Model):
    """A mail that came in and may be about dunning: what a provider's mailbox received, and reports and answers that
    name a notice, wherever they came in.

    Each is kept first, by a transaction of its own, and worked on afterwards by a scheduled action, again in one of its
    own: others who write to the same notice do not make it be lost, and one that cannot be read does not
    stop the others.

    ====== ================================================ ============================================
    state  means                                            left by
    ====== ================================================ ============================================
    new    kept, not worked on yet, or to be tried again    `_process()`
    asking a person has to look at it                       `action_assign()`, `action_done()`
    done   what it says is where it belongs                 removed after 30 days, unless it is evidence; of what
                                                            belongs elsewhere nothing is kept here
    ====== ================================================ ============================================
    """
    _name = 'dunning.incoming.mail'
    _description = 'Incoming Dunning Mail'
    _inherit = ['dunning.guard', 'mail.thread', 'mail.activity.mixin']
    _order = 'id desc'

    name = fields.Char("Subject", readonly=True)
    email_from = fields.Char("Sender", readonly=True)
    email_to = fields.Char("Recipients", readonly=True)
    body = fields.Text("Text", readonly=True)
    raw = fields.Binary("Mail", attachment=True, readonly=True)
    file_name = fields.Char(compute='_compute_file_name')
    digest = fields.Char("SHA-256", required=True, readonly=True)
    kind = fields.Selection(
        [('delivery', 'Delivery report'), ('receipt', 'Read receipt'), ('complaint', 'Complaint'),
         ('letter', 'Message')], readonly=True)
    state = fields.Selection(
        [('new', 'New'), ('asking', 'To look at'), ('done', 'Done')], required=True, default='new', readonly=True,
        index=True)
    attempts = fields.Integer(readonly=True)
    next_attempt_at = fields.Datetime(readonly=True)
    error = fields.Text(readonly=True)
    provider_id = fields.Many2one('dunning.provider', string="Service Provider", readonly=True, ondelete='set null')
    company_id = fields.Many2one(
        'res.company', compute='_compute_company_id', store=True, precompute=True, readonly=False)
    server_id = fields.Many2one(
        'fetchmail.server', string="Mailbox", readonly=True, ondelete='set null', groups='base.group_system',
        help="Empty where somebody else than Odoo's own reading of the mailbox handed it in.")
    target_model = fields.Char(readonly=True, help="What the mailbox makes of mails that belong nowhere.")
    save_original = fields.Boolean(readonly=True)
    strip_attachments = fields.Boolean(readonly=True)
    found_notice_ids = fields.Many2many('dunning.notice', string="Dunning Notices", readonly=True)
    notice_id = fields.Many2one(
        'dunning.notice', string="Belongs To", domain="[('state', 'in', ('issued', 'cancelled'))]",
        ondelete='set null', index='btree_not_null')

    _digest_unique = models.UniqueIndex('(digest)')

    @api.depends('name')
    def _compute_file_name(self):
        for mail in self:
            mail.file_name = f'mail-{mail.id}.eml'

    @api.depends('notice_id')
    def _compute_company_id(self):
        # What came into a mailbox that companies share is nobody else's any more.
        for mail in self:
            mail.company_id = mail.notice_id.company_id or mail.company_id

    def _get_writable_fields(self):
        return super()._get_writable_fields() | {'notice_id'}

    # === KEEPING === #

    @api.model
    def _take_in(self, message, model, save_original, strip_attachments, is_fetched):
        """Keep a mail that is, or may be, about dunning; any other is core's matter.

        :param message: as `message_process()` takes it
        :param model: what its mailbox makes of mails that belong nowhere
        :param is_fetched: whether Odoo itself has read it from a mailbox
        :return: whether it was kept
        """
        raw = bytes(message.data) if isinstance(message, xmlrpc.client.Binary) else message
        raw = raw.encode('utf-8', 'surrogateescape') if isinstance(raw, str) else raw
        server = self.env['fetchmail.server']
        if is_fetched and (server_id := self.env.context.get('default_fetchmail_server_id')):
            server = server.browse(server_id).exists()
        provider = self.env['dunning.provider'].with_context(active_test=False).search(
            [('incoming_server_id', '=', server.id)], order='active desc, id', limit=1) if server else None
        if not (provider and not model) and not self._is_about_notice(raw):
            return False
        self._keep(raw, {
            'server_id': server.id, 'provider_id': provider and provider.id,
            'company_id': provider and provider.company_id.id, 'target_model': model or False,
            'save_original': save_original, 'strip_attachments': strip_attachments})
        return True

    @api.model
    def _is_about_notice(self, raw):
        """Whether a mail itself says that it is about a notice."""
        try:
            message = self._parse(raw)
            report = bounce.read_report(message)
            sender = email_normalize(decode_message_header(message, 'From')) or ''
            Notice = self.env['dunning.notice']
            if report.kind != bounce.Kind.LETTER:
                return bool(Notice._find_reported(report))
            return bool(Notice._find_answered(report, sender))
        except RETRYABLE:
            raise
        except Exception:
            _logger.info("An incoming mail cannot be read", exc_info=True)
            return False

    @api.model
    def _keep(self, raw, values):
        """Store a mail so that nothing that happens later in this transaction can lose it."""
        digest = hashlib.sha256(raw).hexdigest()
        with self.env.registry.cursor() as cr:
            env = api.Environment(cr, SUPERUSER_ID, {})
            Incoming = env[self._name]
            # Read twice, since a crash came between this and the mark that it was seen.
            if not Incoming.search_count([('digest', '=', digest)], limit=1):
                Incoming = Incoming.with_context(mail_create_nolog=True, tracking_disable=True)
                values = {**values, 'digest': digest, 'raw': base64.b64encode(raw)}
                try:
                    with cr.savepoint():
                        Incoming.create([{**values, **self._read_head(raw)}])
                except RETRYABLE:
                    raise
                except Exception:
                    _logger.info("The head of an incoming mail cannot be stored", exc_info=True)
                    Incoming.create([values])
            env.ref('dunning_mail.ir_cron_incoming')._trigger()

    @api.model
    def _read_head(self, raw):
        """Return what is shown of a mail in lists; nothing of it is needed to go on."""
        try:
            message = self._parse(raw)
            return {
                fname: self._get_storable(decode_message_header(message, header))[:500]
                for fname, header in (('name', 'Subject'), ('email_from', 'From'), ('email_to', 'To'))}
        except Exception:
            return {}

    @api.model
    def _get_storable(self, text):
        """Return a text without what PostgreSQL does not take."""
        return text.replace('\0', '').encode('utf-8', 'replace').decode()

    @api.model
    def _parse(self, raw):
        return email.message_from_bytes(raw, policy=email.policy.SMTP)

    # === WORKING ON THEM === #

    @api.model
    def _process(self):
        """Entry of the scheduled action: work on what was kept, each mail by itself."""
        now = fields.Datetime.now()
        ids = self.search([
            ('state', '=', 'new'), '|', ('next_attempt_at', '=', False), ('next_attempt_at', '<=', now),
        ], order='id').ids
        for position, mail_id in enumerate(ids, 1):
            self._process_one(mail_id)
            if not self.env['ir.cron']._commit_progress(1, remaining=len(ids) - position):
                break

    @api.model
    def _process_one(self, mail_id):
        for _attempt in range(CONFLICTS):
            mail = self.browse(mail_id).try_lock_for_update().filtered(lambda one: one.state == 'new')
            if not mail:
                return
            try:
                mail._work_on()
                self.env['ir.cron']._commit_progress()
                return
            except RETRYABLE:
                if self.env.cr.closed:
                    raise
                self.env.cr.rollback()
            except Exception as error:
                _logger.warning("Incoming mail %s cannot be worked on", mail_id, exc_info=True)
                self.env.cr.rollback()
                self._note_failure_of(mail_id, error)
                return

    @api.model
    def _note_failure_of(self, mail_id, error):
        """Note that a mail could not be worked on; where not even that can be, the others go on."""
        try:
            with self.env.cr.savepoint():
                self.browse(mail_id)._note_failure(error)
        except RETRYABLE:
            self.env.cr.rollback()
        except Exception:
            _logger.exception("Nobody can be told that incoming mail %s cannot be worked on", mail_id)

    def _note_failure(self, error):
        """A mail could not be worked on: try again, and ask a person in the end."""
        self.attempts += 1
        self.error = f'{type(error).__name__}: {error}'[:1000]
        if self.attempts >= FAILURES_TO_ASK:
            self._ask_responsible(self.env._("It could not be worked on: %s", self.error))
        else:
            self.next_attempt_at = fields.Datetime.now() + RETRY_AFTER
            self.env.ref('dunning_mail.ir_cron_incoming')._trigger(at=self.next_attempt_at)

    def _get_raw(self):
        self.ensure_one()
        return base64.b64decode(self.with_context(bin_size=False).raw or b'')

    def _work_on(self):
        """Bring a mail to where it belongs."""
        self.ensure_one()
        raw = self._get_raw()
        message = self._parse(raw)
        report = bounce.read_report(message)
        self.write({'kind': report.kind.value, 'body': self._read_text(message)})
        if report.kind == bounce.Kind.LETTER:
            self._work_on_letter(message, report)
        else:
            self._work_on_report(message, report)

    def _work_on_report(self, message, report):
        Notice = self.env['dunning.notice']
        notices = Notice._find_reported(report)
        if not notices and self._is_left_to_us():
            notices = Notice._find_named(self._get_words(), report.addresses, self.company_id)
        if notices:
            self._give_report(notices, message, report)
            self.state = 'done'
        elif not self._is_left_to_us() or self.env['mail.message'].search_count(
                [('message_id', 'in', report.original_ids)], limit=1):
            # About another mail of Odoo's.
            self._hand_to_core()
            self._forget()
        else:
            self._ask_responsible(self.env._(
                "This report belongs to no dunning notice that could be found. Is one of yours meant?"))

    def _give_report(self, notices, message, report):
        self.found_notice_ids |= notices
        self.company_id = self.company_id or notices[:1].company_id
        if report.kind == bounce.Kind.RECEIPT:
            notices._receive_receipt(report.detail)
        elif report.kind == bounce.Kind.COMPLAINT:
            notices._receive_complaint(report.detail)
        else:
            # What is not Odoo's own reading of the mailbox could be anybody's.
            is_own_system = bool(self.server_id) and mail_trace.is_written_by_own_system(message)
            notices._receive_report(report, self, is_own_system)

    def _work_on_letter(self, message, report):
        Notice = self.env['dunning.notice']
        sender = email_normalize(decode_message_header(message, 'From')) or ''
        notice = Notice._find_answered(report, sender)
        if not notice and self._is_left_to_us():
            notice = Notice._find_named(self._get_words(), {sender} - {''}, self.company_id)
        self.found_notice_ids |= notice
        self.company_id = self.company_id or notice.company_id
        try:
            with self.env.cr.savepoint():
                is_taken = self._hand_to_core(notice)
        except ValueError:
            # No way for it: what that means to a person is said to her.
            _logger.info("Incoming mail %s has no way", self.id, exc_info=True)
            self._ask_responsible(self.env._(
                "This mail came in, and belongs to no dunning notice that could be found."))
            return
        stored = self._find_messages(message)
        if not is_taken and not stored:
            self._ask_responsible(self.env._(
                "This mail came in, and Odoo's rules for incoming mail did not let it through: it looks as if programs "
                "answered each other, or the address is not open to its sender. Nobody else has it."))
        elif any(one.model == 'dunning.notice' for one in stored):
            self._give_answer(message, stored)
            self.state = 'done'
        elif notice and not message.get('Message-ID'):
            # It cannot be found again by its name; it went where it was told to.
            self._give_answer(message, stored, notice)
            self.state = 'done'
        else:
            self._forget()

    def _give_answer(self, message, stored, notice=None):
        """Tell the notices onto which a letter was posted that it may be an answer.

        :param message: the letter
        :param stored: `mail.message` that core has made of it
        :param notice: `dunning.notice` for which it was handed on
        """
        notices = notice or self.env['dunning.notice'].browse(
            one.res_id for one in stored if one.model == 'dunning.notice').exists()
        sender = email_normalize(decode_message_header(message, 'From')) or ''
        notices._receive_answer(message, sender, self._read_text(message))

    def _find_messages(self, message):
        """Return what core has made of a mail, by its Message-ID."""
        message_id = str(message.get('Message-ID') or '').strip()
        return self.env['mail.message'].search([('message_id', '=', message_id)]) if message_id else \
            self.env['mail.message']

    def _forget(self):
        """It is where it belongs, and was nothing about dunning: whoever may read dunning mail need not read it."""
        self.write({
            'state': 'done', 'name': False, 'email_from': False, 'email_to': False, 'body': False, 'raw': False})

    def _is_left_to_us(self):
        """Whether it came into a provider's mailbox that does nothing else with it."""
        return bool(self.provider_id) and not self.target_model

    def _hand_to_core(self, notice=None):
        """Have core take it in as it would have: as an answer to what it refers to, by an alias, or for a notice.

        :param notice: `dunning.notice` to which it belongs if core knows better
        :raise ValueError: core has no way for it
        """
        context = {'dunning_incoming_id': self.id, 'dunning_incoming_letter': self.kind == 'letter'}
        if self.server_id:
            context['default_fetchmail_server_id'] = self.server_id.id
        return self.env['mail.thread'].with_context(**context).message_process(
            'dunning.notice' if notice else self.target_model or False, self._get_raw(),
            save_original=self.save_original, strip_attachments=self.strip_attachments,
            thread_id=notice.id if notice else None)

    def _get_words(self):
        return f'{self.name or ""}\n{self.body or ""}'

    @api.model
    def _read_text(self, message):
        """Return the text of a mail, as far as it can be read."""
        try:
            part = message.get_body(('plain', 'html'))
            text = part.get_content() if part else ''
            return self._get_storable(
                html2plaintext(text) if part and part.get_content_subtype() == 'html' else text)[:MAX_TEXT]
        except (KeyError, LookupError, ValueError, AttributeError):
            return ''

    # === A PERSON === #

    def _ask_responsible(self, words):
        """Have the person who answers for the mailbox look at a mail.

        :param str words: why
        """
        self.ensure_one()
        self.state = 'asking'
        company = self.company_id or self.provider_id.company_id or self.env['res.company'].search(
            [('dunning_provider_id', '=', self.provider_id.id)], order='id', limit=1) or self.env.company
        user = company._get_dunning_responsible(self.provider_id.user_id)
        self = self.with_context(lang=user.lang)
        self.activity_schedule(
            'dunning_mail.mail_activity_incoming', user_id=user.id, note=plaintext2html(words),
            summary=self.env._("Mail from %s", self.email_from or '-'))

    def action_assign(self):
        """Give mails to the notices that were chosen: into their chatter, or as a report about them.

        :raise UserError: no notice was chosen, or it is done already
        """
        self.check_access('write')
        for mail in self:
            if not mail.notice_id or mail.state != 'asking':
                raise UserError(self.env._("Choose the dunning notice to which “%s” belongs.", mail.display_name))
            mail.notice_id.check_access('write')
            mail = mail._as_system()
            message = mail._parse(mail._get_raw())
            report = bounce.read_report(message)
            if report.kind == bounce.Kind.LETTER:
                mail.found_notice_ids |= mail.notice_id
                if not mail._hand_to_core(mail.notice_id) and not mail._find_messages(message):
                    raise UserError(self.env._(
                        "Odoo's rules for incoming mail do not let “%s” through: it looks as if programs answered each "
                        "other. Note on the dunning notice what it says, and press “Seen To” here.", mail.display_name))
                mail._give_answer(message, mail._find_messages(message), mail.notice_id)
            else:
                mail._give_report(mail.notice_id, message, report)
        self.action_done()

    def action_done(self):
        """Say that these mails were seen to."""
        self.check_access('write')
        self.sudo().write({'state': 'done'})
        self.sudo().activity_feedback(['dunning_mail.mail_activity_incoming'])

    # === HOW LONG THEY ARE KEPT === #

    @api.autovacuum
    def _gc_done(self):
        """Remove what was seen to, after some days. Reports stay with their notice as evidence: :meth:`_remove_about`.
        """
        limit = fields.Datetime.now() - timedelta(days=KEEP_DAYS)
        self.sudo().search([
            ('state', '=', 'done'), ('write_date', '<', limit), '|', ('kind', '!=', 'delivery'),
            ('found_notice_ids', '=', False)], limit=BATCH).unlink()

    @api.model
    def _remove_about(self, notices):
        """Remove what came in about notices whose personal data go. What is about others too goes with the last one.

        :param notices: `dunning.notice`
        """
        mails = self.sudo().search([
            '|', ('notice_id', 'in', notices.ids), ('found_notice_ids', 'in', notices.ids)])
        mails.filtered(lambda mail: all(
            notice in notices or notice.data_removed_at for notice in mail.notice_id | mail.found_notice_ids)).unlink()

import hashlib
import logging
import re
from collections import defaultdict
from datetime import timedelta

import idna

from odoo import api, fields, models
from odoo.exceptions import AccessError, UserError, ValidationError
from odoo.tools import (
    SQL,
    email_normalize,
    email_split,
    format_amount,
    format_date,
    plaintext2html,
)

from odoo.addons.base.models.res_partner import _lang_get

from ..tools import evidence
from .sets import insert_in_sets

_logger = logging.getLogger(__name__)

# What texts may refer to; `_get_placeholders()` describes them.
PLACEHOLDERS = (
    'object.name',
    'object.partner_id.name',
    'object.recipient_id.name',
    'object.level_id.name',
    'object.date_text',
    'object.date_deadline_text',
    'object.amount_total_text',
    'object.amount_overdue_text',
    'object.amount_credit_text',
    'object.amount_fee_text',
    'object.amount_interest_text',
    'object.items_html',
    'object.payment_reference',
    'object.run_id.name',
    'object.company_id.name',
    'object.company_id.phone',
    'object.company_id.email',
    'object.user_id.name',
    'object.user_id.email',
    'object.user_id.phone',
)

RETRY_UNCLEAR_AFTER = timedelta(minutes=10)
# Their ids stand in an address that browsers and proxies take.
MAX_EVIDENCE = 500
EVIDENCE_FIELDS = (
    'name', 'company_id', 'partner_id', 'recipient_id', 'level_id', 'lang', 'currency_id', 'date', 'date_deadline',
    'amount_total', 'state', 'delivery_state', 'delivery_info', 'provider_id', 'email_to', 'redirected_to',
    'message_id', 'attempt_count', 'handover_at', 'sent_at', 'printed_at', 'printed_by', 'document_sha256')
EVIDENCE_LOG_FIELDS = (
    'date', 'user_id', 'attempt', 'state_from', 'state_to', 'stage', 'code', 'text', 'host', 'tls_version', 'queue_id',
    'message_id', 'recipient_count', 'provider_id')


class DunningNotice(models.Model):
    """One recipient, one currency, one document, one delivery.

    ========= ==================================== =======================================================
    state     means                                may become
    ========= ==================================== =======================================================
    draft     a person reviews it                  excluded, issued (`_issue()`), cancelled (paid meanwhile)
    excluded  not in this run, kept to be seen     draft
    issued    has a number and a document          cancelled
    cancelled does not count, never goes out       --
    ========= ==================================== =======================================================

    ============== ======================================= ================================================
    delivery_state means                                   set by
    ============== ======================================= ================================================
    (empty)        not issued                              --
    released       waits for the process engine            `_issue()`, `action_retry()`, a passing fault
    paper          is, or was, to be printed               `_issue()`, `action_set_paper()`
    sending        handed to the server, answer unknown    `_claim()`, committed before the first byte
    sent           the server took it                      `_apply_outcome()`
    failed         recipient refused, bounced, given up    `_apply_outcome()`, a bounce
    unclear        the link broke after the handover       `_apply_outcome()`, or found in `sending` by the
                                                           next holder of the provider's lock
    ============== ======================================= ================================================

    All changes of `state` go through `_set_state()`, all of `delivery_state` through `_set_delivery()`. Both are closed
    to users: only methods that run as superuser get there.
    """
    _name = 'dunning.notice'
    _description = 'Dunning Notice'
    _inherit = ['mail.thread', 'mail.activity.mixin']
    _order = 'date desc, id desc'
    _check_company_auto = True

    _STATE_TRANSITIONS = {
        'draft': ('excluded', 'issued', 'cancelled'),
        'excluded': ('draft', 'cancelled'),
        'issued': ('cancelled',),
    }
    _DELIVERY_TRANSITIONS = {
        False: ('released', 'paper'),
        'released': ('sending', 'paper', 'failed', 'released'),
        'paper': ('released',),
        'sending': ('sent', 'failed', 'unclear', 'released'),
        'sent': ('failed',),
        'failed': ('released', 'paper'),
        'unclear': ('released', 'paper', 'failed', 'sent'),
    }
    # What a person may change while the notice is a draft; everything else is written by methods.
    _EDITABLE_IN_DRAFT = frozenset({'recipient_id', 'date_deadline', 'lang', 'amount_fee'})
    # Minutes until a notice that met a passing fault is tried again; after the last one it has failed.
    _RETRY_AFTER_MINUTES = (1, 5, 15, 60, 240)

    name = fields.Char("Number", readonly=True, copy=False, index='trigram')
    run_id = fields.Many2one('dunning.run', required=True, ondelete='restrict', index=True, readonly=True)
    company_id = fields.Many2one(related='run_id.company_id', store=True)
    user_id = fields.Many2one('res.users', related='run_id.user_id', string="Clerk", store=True)
    partner_id = fields.Many2one(
        'res.partner', string="Customer", required=True, ondelete='restrict', index=True, readonly=True)
    recipient_id = fields.Many2one(
        'res.partner', required=True, ondelete='restrict', tracking=True,
        domain="[('commercial_partner_id', '=', partner_id)]", help="Whose address stands on the letter.")
    level_id = fields.Many2one('dunning.level', required=True, ondelete='restrict', readonly=True)
    lang = fields.Selection(_lang_get, string="Language", required=True, tracking=True)
    text_id = fields.Many2one('dunning.level.text', compute='_compute_text_id')
    currency_id = fields.Many2one('res.currency', required=True, readonly=True)
    date = fields.Date(required=True, readonly=True)
    date_deadline = fields.Date("Payable Until", required=True, tracking=True)
    line_ids = fields.One2many('dunning.notice.line', 'notice_id', string="Items")
    amount_overdue = fields.Monetary("Overdue", compute='_compute_amounts', store=True)
    amount_credit = fields.Monetary("Credits", compute='_compute_amounts', store=True)
    amount_fee = fields.Monetary("Fee", readonly=True)
    amount_fee_own = fields.Monetary("Fee of This Level", readonly=True)
    amount_interest = fields.Monetary("Interest", readonly=True)
    amount_total = fields.Monetary("Total", compute='_compute_amounts', store=True)
    payment_reference = fields.Char(readonly=True, copy=False)
    state = fields.Selection(
        [('draft', 'Draft'), ('excluded', 'Excluded'), ('issued', 'Issued'), ('cancelled', 'Cancelled')],
        required=True, default='draft', readonly=True, copy=False, tracking=True)
    is_edited = fields.Boolean(readonly=True, copy=False, help="A person has changed the draft.")
    level_change_reason = fields.Char(readonly=True, copy=False)
    problem = fields.Text(
        readonly=True, copy=False, help="Why the notice could not be issued. Mend it and print/send the run again.")

    # === DELIVERY === #
    delivery_state = fields.Selection(
        [('released', 'Released for Sending'), ('paper', 'Paper'), ('sending', 'Sending'), ('sent', 'Sent'),
         ('failed', 'Sending Failed'), ('unclear', 'Sending Unclear')],
        readonly=True, copy=False, tracking=True)
    status = fields.Selection(
        [('draft', 'Draft'), ('excluded', 'Excluded'), ('cancelled', 'Cancelled'), ('released', 'Released for Sending'),
         ('paper', 'Paper, to Print'), ('printed', 'Paper, Printed'), ('sending', 'Sending'), ('sent', 'Sent'),
         ('failed', 'Sending Failed'), ('unclear', 'Sending Unclear')],
        compute='_compute_status', help="State and delivery state in one word, for lists.")
    delivery_info = fields.Text("Transaction Info", readonly=True, copy=False)
    provider_id = fields.Many2one('dunning.provider', ondelete='restrict', readonly=True, copy=False)
    email_to = fields.Char("Mail Address", readonly=True, copy=False)
    redirected_to = fields.Char("Trial Mode: Sent To", readonly=True, copy=False)
    channel = fields.Selection(
        [('mail', 'E-mail'), ('paper', 'Paper')], compute='_compute_channel',
        help="How the notice goes out. Of a draft: how it would go out now.")
    channel_info = fields.Char(compute='_compute_channel')
    provider_warning = fields.Text(compute='_compute_provider_warning')
    attachment_warning = fields.Text(compute='_compute_attachment_warning')
    is_email_refused = fields.Boolean(
        compute='_compute_is_email_refused', help="A mail address of the customer is known to refuse mail.")
    printed_at = fields.Datetime(readonly=True, copy=False, tracking=True)
    letter_opened_at = fields.Datetime(
        "Letter Opened", readonly=True, copy=False, help="When the letter was handed out to be printed.")
    printed_by = fields.Many2one('res.users', readonly=True, copy=False)
    message_id = fields.Char("Message-ID", readonly=True, copy=False, index='btree_not_null')
    attempt_count = fields.Integer("Attempts", readonly=True, copy=False)
    next_attempt_at = fields.Datetime("Next Attempt", readonly=True, copy=False)
    handover_at = fields.Datetime(
        "First Handed Over", readonly=True, copy=False,
        help="When the first byte of the mail went to the server. From then on document and mail are frozen.")
    claimed_at = fields.Datetime(readonly=True, copy=False)
    sent_at = fields.Datetime(readonly=True, copy=False)
    delivery_log_ids = fields.One2many('dunning.delivery.log', 'notice_id', readonly=True)
    is_counted = fields.Boolean(
        "Counts", compute='_compute_is_counted', store=True,
        help="The notice reached the world: sent, unclear or printed. Its items have reached their level.")
    is_open = fields.Boolean(compute='_compute_is_counted', store=True)

    # === DOCUMENT === #
    document_id = fields.Many2one(
        'ir.attachment', string="PDF Document", readonly=True, copy=False, ondelete='restrict', index='btree_not_null')
    document_sha256 = fields.Char("SHA-256", readonly=True, copy=False)
    mail_document_id = fields.Many2one(
        'ir.attachment', string="Mail (.eml)", readonly=True, copy=False, ondelete='restrict', index='btree_not_null')
    document_checked_at = fields.Datetime("Document Checked", readonly=True, copy=False)
    is_document_damaged = fields.Boolean(
        "Document Damaged", readonly=True, copy=False, help="The kept PDF is not what was made, or it is gone.")
    document_removed_at = fields.Datetime("Document Removed", readonly=True, copy=False)

    # === PLACEHOLDERS OF TEXTS === #
    date_text = fields.Char(compute='_compute_texts')
    date_deadline_text = fields.Char(compute='_compute_texts')
    amount_overdue_text = fields.Char(compute='_compute_texts')
    amount_credit_text = fields.Char(compute='_compute_texts')
    amount_fee_text = fields.Char(compute='_compute_texts')
    amount_interest_text = fields.Char(compute='_compute_texts')
    amount_total_text = fields.Char(compute='_compute_texts')
    items_html = fields.Html(compute='_compute_items_html', sanitize=False)

    _engine_queue = models.Index(
        "(provider_id, next_attempt_at NULLS FIRST, id) WHERE delivery_state = 'released' AND state = 'issued'")
    _document_check = models.Index("(document_checked_at NULLS FIRST) WHERE document_id IS NOT NULL")
    _engine_sending = models.Index("(provider_id) WHERE delivery_state = 'sending' AND state = 'issued'")
    _name_unique = models.UniqueIndex(
        '(company_id, name) WHERE name IS NOT NULL', "A dunning notice with this number exists already.")

    # === COMPUTES === #

    @api.depends('name', 'state', 'partner_id')
    def _compute_display_name(self):
        for notice in self:
            notice.display_name = notice.name or self.env._("Draft notice for %s", notice.partner_id.display_name)

    @api.depends('line_ids.kind', 'line_ids.amount_residual', 'amount_fee', 'amount_interest')
    def _compute_amounts(self):
        for notice in self:
            due = credit = 0.0
            for line in notice.line_ids:
                if line.kind == 'due':
                    due += line.amount_residual
                elif line.kind == 'credit':
                    credit -= line.amount_residual
            currency = notice.currency_id or notice.company_id.currency_id
            notice.amount_overdue = currency.round(due)
            notice.amount_credit = currency.round(credit)
            notice.amount_total = currency.round(due - credit + notice.amount_fee + notice.amount_interest)

    @api.depends('state', 'delivery_state', 'printed_at', 'redirected_to')
    def _compute_is_counted(self):
        for notice in self:
            reached = bool(notice.printed_at) or (
                notice.delivery_state in ('sent', 'unclear') and not notice.redirected_to)
            notice.is_counted = notice.state == 'issued' and reached
            notice.is_open = notice.state == 'draft' or (
                notice.state == 'issued' and not reached
                and notice.delivery_state in ('released', 'paper', 'sending'))

    @api.constrains('recipient_id', 'partner_id')
    def _check_recipient(self):
        for notice in self:
            if not notice._is_recipient_own():
                raise ValidationError(self.env._(
                    "%(recipient)s is no address of %(partner)s. A notice goes to an address of the customer who owes.",
                    recipient=notice.recipient_id.display_name, partner=notice.partner_id.display_name))

    @api.constrains('amount_fee', 'date_deadline', 'date')
    def _check_claim(self):
        for notice in self:
            if notice.amount_fee < 0:
                raise ValidationError(self.env._(
                    "The fee of the notice for %s cannot be negative.", notice.partner_id.display_name))
            if notice.date_deadline < notice.date:
                raise ValidationError(self.env._(
                    "The notice for %s cannot be payable before its own date.", notice.partner_id.display_name))

    def _is_recipient_own(self):
        self.ensure_one()
        return self.recipient_id.commercial_partner_id == self.partner_id.commercial_partner_id

    @api.depends('level_id.text_ids.lang', 'lang')
    def _compute_text_id(self):
        for (level, lang), notices in self.grouped(lambda notice: (notice.level_id, notice.lang)).items():
            notices.text_id = level._get_text(lang)

    @api.depends('state', 'delivery_state', 'delivery_info', 'level_id.send_by_mail', 'partner_id.dunning_channel',
                 'recipient_id.email', 'partner_id.email', 'recipient_id.dunning_email_refused',
                 'partner_id.dunning_email_refused', 'company_id.dunning_provider_id')
    def _compute_channel(self):
        for notice in self:
            if notice.state in ('draft', 'excluded'):
                channel, info, emails = notice._choose_channel()
            else:
                channel = 'paper' if notice.delivery_state == 'paper' else 'mail' if notice.delivery_state else False
                # That all went well needs no words.
                info, emails = (notice.delivery_info if notice.delivery_state != 'sent' else ''), []
            notice.channel = channel
            notice.channel_info = info or ', '.join(emails)

    @api.depends('state', 'delivery_state', 'printed_at')
    def _compute_status(self):
        for notice in self:
            status = notice.state if notice.state != 'issued' else notice.delivery_state
            notice.status = 'printed' if status == 'paper' and notice.printed_at else status

    @api.depends('state', 'delivery_state', 'run_id.provider_warning')
    def _compute_provider_warning(self):
        for notice in self:
            is_concerned = notice.state == 'draft' or (
                notice.state == 'issued' and notice.delivery_state == 'released')
            notice.provider_warning = is_concerned and notice.run_id.provider_warning

    @api.depends('level_id.attach_invoices', 'state', 'delivery_state', 'line_ids.move_line_id')
    def _compute_attachment_warning(self):
        for notice in self:
            is_open = notice.state == 'draft' or (
                notice.state == 'issued' and notice.delivery_state in ('released', 'paper') and not notice._is_frozen())
            missing = notice._get_invoices_without_pdf() if is_open else None
            notice.attachment_warning = self.env._(
                "No PDF is stored of %s, so no copy goes along. “Send” on the invoice stores one.",
                ', '.join(missing.mapped('name'))) if missing else False

    @api.depends('recipient_id.dunning_email_refused', 'partner_id.child_ids.dunning_email_refused')
    def _compute_is_email_refused(self):
        for notice in self:
            notice.is_email_refused = any(notice._get_mail_partners().mapped('dunning_email_refused'))

    @api.depends('date', 'date_deadline', 'lang', 'amount_total', 'amount_fee', 'amount_interest',
                 'line_ids.amount_residual')
    def _compute_texts(self):
        for notice in self:
            def amount(value, notice=notice):
                return format_amount(self.env, value, notice.currency_id, lang_code=notice.lang)
            # The month in words: 12/04/2026 is a day in December here and one in April there.
            notice.date_text = format_date(self.env, notice.date, lang_code=notice.lang, date_format='long')
            notice.date_deadline_text = format_date(
                self.env, notice.date_deadline, lang_code=notice.lang, date_format='long')
            for fname in ('overdue', 'credit', 'fee', 'interest', 'total'):
                notice[f'amount_{fname}_text'] = amount(notice[f'amount_{fname}'])

    @api.depends('date', 'lang', 'amount_total', 'amount_fee', 'amount_interest', 'line_ids.amount_residual')
    def _compute_items_html(self):
        for notice in self:
            notice.items_html = self.env['ir.qweb'].with_context(lang=notice.lang)._render(
                'dunning_mail.mail_items', {
                    'notice': notice.with_context(lang=notice.lang),
                    'format_amount': lambda value, notice=notice: format_amount(
                        self.env, value, notice.currency_id, lang_code=notice.lang),
                    'format_date': lambda day, notice=notice: format_date(self.env, day, lang_code=notice.lang)})

    # === PROPOSAL === #

    @api.model
    def _insert_proposed(self, vals_list):
        """Create draft notices with their lines, in sets: a run may have tens of thousands.

        Gives the same records as `create()`, less followers and tracking.

        :param list vals_list: what `dunning.proposal._propose()` returned
        :return: the new notices
        :raise psycopg2.errors.UniqueViolation: an item is on another open notice
        """
        rows, lines = [], []
        runs = {
            run.id: {'company_id': run.company_id.id, 'user_id': run.user_id.id}
            for run in self.env['dunning.run'].browse({vals['run_id'] for vals in vals_list})}
        for vals in vals_list:
            currency = self.env['res.currency'].browse(vals['currency_id'])
            due = credit = 0.0
            for _command, _id, line in vals['line_ids']:
                if line['kind'] == 'due':
                    due += line['amount_residual']
                elif line['kind'] == 'credit':
                    credit -= line['amount_residual']
            rows.append({
                **{fname: value for fname, value in vals.items() if fname != 'line_ids'},
                **runs[vals['run_id']],
                'amount_overdue': currency.round(due),
                'amount_credit': currency.round(credit) if credit else 0.0,
                'amount_total': currency.round(due - credit + vals['amount_fee']),
                'state': 'draft',
                'is_counted': False,
                'is_open': True,
            })
        notices = insert_in_sets(self, rows)
        for notice_id, vals in zip(notices._ids, vals_list, strict=True):
            for _command, _id, line in vals['line_ids']:
                lines.append({
                    'notice_id': notice_id, **line, 'is_reserved': line['kind'] == 'due'})
        insert_in_sets(self.env['dunning.notice.line'], lines)
        return notices

    # === TEXTS === #

    @api.model
    def _get_placeholders(self):
        """Return what texts may refer to.

        :return: dict of expression -> translated description, one for each of `PLACEHOLDERS`
        """
        return {
            'object.name': self.env._("Number of the notice"),
            'object.partner_id.name': self.env._("Customer"),
            'object.recipient_id.name': self.env._("Recipient (whose address stands on the letter)"),
            'object.level_id.name': self.env._("Dunning level"),
            'object.date_text': self.env._("Date of the notice"),
            'object.date_deadline_text': self.env._("Payable until"),
            'object.amount_total_text': self.env._("Total"),
            'object.amount_overdue_text': self.env._("Overdue amount"),
            'object.amount_credit_text': self.env._("Credits"),
            'object.amount_fee_text': self.env._("Fee"),
            'object.amount_interest_text': self.env._("Interest"),
            'object.items_html': self.env._("Table of the due items (not in subject and title)"),
            'object.payment_reference': self.env._("Payment reference"),
            'object.run_id.name': self.env._("Dunning run"),
            'object.company_id.name': self.env._("Your company"),
            'object.company_id.phone': self.env._("Your company's phone"),
            'object.company_id.email': self.env._("Your company's e-mail"),
            'object.user_id.name': self.env._("Clerk"),
            'object.user_id.email': self.env._("Clerk's e-mail"),
            'object.user_id.phone': self.env._("Clerk's phone"),
        }

    @api.model
    def mail_allowed_qweb_expressions(self):
        return PLACEHOLDERS

    @api.model
    def _choose_lang(self, partner, recipient, level, company):
        """Return the language of a whole notice.

        The customer's, else the recipient's own, else the fallback language; the fallback too where the level has no
        texts in the language, so that text, table and dates never differ.

        :return: code of an active language
        """
        return self._choose_lang_among((partner.lang, recipient.lang), level, company)

    @api.model
    def _choose_lang_among(self, langs, level, company):
        """Return the language of a whole notice.

        :param langs: codes of the languages that are wanted, the first one preferred; may be empty
        :return: code of an active language
        """
        installed = dict(self.env['res.lang'].get_installed())
        fallback = company._get_dunning_fallback_lang()
        lang = next((code for code in langs if code and code in installed), fallback)
        return lang if level._get_text(lang) else fallback

    def _render_texts(self, fnames=None):
        """Render the level's texts in the notice's language.

        :param fnames: which texts, default all
        :return: dict with `mail_subject` and `letter_title` (str), `mail_body`, `letter_intro` and `letter_closing`
            (Markup)
        :raise UserError: the level has no texts in the language, or a text holds a wrong placeholder
        """
        self.ensure_one()
        return self._render_all_texts(fnames)[self.id]

    def _render_all_texts(self, fnames=None):
        """Render the texts of many notices: core checks a template once for each call.

        :param fnames: which texts, default all
        :return: dict notice id -> what `_render_texts()` returns
        :raise UserError: as `_render_texts()`, for the first notice that has no text
        """
        self._check_texts()
        texts = {}
        for text, notices in self.grouped('text_id').items():
            texts.update(text.sudo()._render_for(notices.sudo(), *([fnames] if fnames else [])))
        return texts

    def _check_texts(self):
        """Check that each notice has texts in its language.

        :raise UserError: names level, language and the place where to mend it
        :raise ValidationError: a text holds a placeholder that is not allowed
        """
        for notice in self:
            if not notice.text_id:
                raise UserError(self.env._(
                    "Dunning level “%(level)s” has no texts in %(lang)s. Add them on the level's tab Dunning Texts.",
                    level=notice.level_id.name, lang=self.env['res.lang']._get_data(code=notice.lang).name))
            notice.text_id.sudo()._raise_for_placeholders()

    # === TRANSITIONS === #

    def write(self, vals):
        if not self.env.su and self._check_user_may_write(vals):
            vals = dict(vals, is_edited=True)
        return super().write(vals)

    def _check_user_may_write(self, vals):
        """Keep state, amounts and evidence out of reach of users and scripts.

        :return: the fields of the notice proper that are written; none where only chatter and activities are
        :raise AccessError: a field that only methods write
        :raise UserError: the notice is no draft any more
        """
        own = {fname for fname in vals if self._fields[fname]._module == 'dunning_mail'}
        if wrong := own - self._EDITABLE_IN_DRAFT:
            raise AccessError(self.env._(
                "These fields of a dunning notice are kept by the system: %s.", ', '.join(sorted(wrong))))
        if own and (fixed := self.filtered(lambda notice: notice.state != 'draft')):
            raise UserError(self.env._(
                "Dunning notice %s is not a draft and cannot be changed. Cancel it and make a new run.",
                fixed[0].display_name))
        return own

    def _set_state(self, target, **values):
        """Move notices to another state; those that may not go there are left alone and logged.

        :param str target: the state to reach
        :param values: further values to write
        :return: the notices that were moved
        """
        allowed = self.filtered(lambda notice: target in self._STATE_TRANSITIONS.get(notice.state, ()))
        for notice in self - allowed:
            _logger.info("Dunning notice %s: no way from state %s to %s", notice.id, notice.state, target)
        allowed.sudo().write({'state': target, **values})
        return allowed

    def _set_delivery(self, target, info, log=None, **values):
        """Move notices to another delivery state and write the delivery log.

        Issued notices only, and only along `_DELIVERY_TRANSITIONS`; the others are left alone and logged.

        :param str target: the delivery state to reach
        :param str info: what happened, in words for a clerk
        :param dict log: further values for the delivery log: stage, code, text, host ...
        :param values: further values of the notices
        :return: the notices that were moved
        """
        allowed = self.filtered(lambda notice: (
            notice.state == 'issued' and target in self._DELIVERY_TRANSITIONS[notice.delivery_state]))
        for notice in self - allowed:
            _logger.info("Dunning notice %s (%s): no way from delivery state %s to %s",
                         notice.id, notice.state, notice.delivery_state, target)
        self.env['dunning.delivery.log'].sudo().create([{
            'notice_id': notice.id,
            'company_id': notice.company_id.id,
            'provider_id': values.get('provider_id', notice.provider_id.id),
            'attempt': values.get('attempt_count', notice.attempt_count),
            'message_id': values.get('message_id', notice.message_id),
            'state_from': notice.delivery_state,
            'state_to': target,
            'text': info,
            **(log or {}),
        } for notice in allowed])
        # The chatter is for outcomes, and shows a mail that was sent itself; the delivery log has all steps.
        is_step = target in ('sending', 'sent') or bool(self.env.context.get('tracking_disable'))
        allowed.sudo().with_context(tracking_disable=is_step).write({
            'delivery_state': target, 'delivery_info': info, **values})
        return allowed

    # === CHANNEL === #

    def _get_mail_partners(self):
        """Return whose mail addresses count, in this order: the recipient's, then those it stands for."""
        self.ensure_one()
        addresses = self.partner_id.child_ids.filtered(lambda partner: partner.type in ('dunning', 'invoice'))
        return (
            self.recipient_id
            | addresses.filtered(lambda partner: partner.type == 'dunning')
            | addresses.filtered(lambda partner: partner.type == 'invoice')
            | self.partner_id)

    @api.model
    def _has_line_break(self, text):
        """Whether there is more than one line: nobody types that, and in a mail header it would start another one."""
        return len((text or '').strip().splitlines()) > 1

    @api.model
    def _parse_addresses(self, text):
        """Read the usable addresses out of a partner's e-mail field.

        :param str text: one or several addresses
        :return: list of normalized addresses that can stand in an SMTP envelope; none of a text with a line break
        """
        usable = []
        if self._has_line_break(text):
            return usable
        text = ' '.join((text or '').split())
        if '<' in text:
            candidates = email_split(text)
        else:
            # What is left of “hans. muster@example.com” may be somebody else's address.
            entries = [entry.split() for entry in re.split('[,;]', text)]
            candidates = [word for words in entries if all(word.count('@') == 1 for word in words) for word in words]
        for candidate in candidates:
            local, _at, domain = (email_normalize(candidate) or '').rpartition('@')
            if not local or not local.isascii():
                continue
            try:
                address = f'{local}@{idna.encode(domain).decode()}'
            except idna.IDNAError:
                continue
            if '.' in domain and address not in usable:
                usable.append(address)
        return usable

    def _mark_address_refused(self, answer):
        """The customer's next notice goes on paper, until somebody corrects or clears the address.

        :param str answer: the server's words
        """
        self.ensure_one()
        sent_to = set((self.email_to or '').split(', '))
        for partner in self._get_mail_partners():
            if sent_to & set(self._parse_addresses(partner.email)):
                partner.sudo()._set_dunning_refused(answer)

    def _choose_channel(self):
        """Decide how the notice goes out.

        :return: (`mail` or `paper`, reason in words where it is paper, list of addresses)
        """
        self.ensure_one()
        if not self.level_id.send_by_mail:
            return 'paper', self.env._("This dunning level goes on paper."), []
        if self.partner_id.dunning_channel == 'paper':
            return 'paper', self.env._("The customer wants paper."), []
        refused, invalid = None, None
        for partner in self._get_mail_partners():
            if not (partner.email or '').strip():
                continue
            addresses = self._parse_addresses(partner.email)
            if not addresses:
                invalid = invalid or partner
            elif partner.dunning_email_refused:
                refused = refused or partner
            elif not self.company_id.sudo().dunning_provider_id.active:
                return 'paper', self.env._("No service provider for dunning mail is chosen in the settings."), []
            else:
                return 'mail', '', addresses
        if refused:
            return 'paper', self.env._(
                "The address %(address)s refused mail on %(day)s: %(reason)s", address=refused.email,
                day=format_date(self.env, refused.dunning_email_refused_date),
                reason=refused.dunning_email_refused_reason or ''), []
        if invalid and self._has_line_break(invalid.email):
            return 'paper', self.env._("The mail address of %(partner)s holds a line break: “%(address)s”.",
                              address=' '.join(invalid.email.split()), partner=invalid.display_name), []
        if invalid:
            return 'paper', self.env._("“%(address)s” of %(partner)s is not a usable mail address.",
                              address=' '.join(invalid.email.split()), partner=invalid.display_name), []
        return 'paper', self.env._("There is no mail address."), []

    # === ISSUE === #

    def _issue(self):
        """Number the drafts, make their documents and release them: for sending, or on paper.

        What cannot be issued stays a draft and says why in `problem`; the others are not stopped by it.

        :return: the notices that were issued
        """
        today = fields.Date.context_today(self)
        # One message for each notice, at the end, in place of one for each step.
        drafts = self.filtered(lambda notice: notice.state == 'draft').sudo().with_context(tracking_disable=True)
        ready = drafts._prepare_issue_in_sets(today)
        for notice in drafts - ready:
            try:
                with self.env.cr.savepoint():
                    if notice._prepare_issue(today):
                        ready |= notice
            except (UserError, ValidationError) as error:
                notice.problem = str(error)
            except Exception:
                _logger.exception("Dunning notice %s cannot be issued", notice.id)
                notice.problem = self.env._(
                    "The notice could not be prepared because of a technical fault. The server's log says more.")
        order = {notice_id: position for position, notice_id in enumerate(drafts.ids)}
        ready = ready.sorted(lambda notice: order[notice.id])
        documents = ready._make_documents()
        issued = drafts.browse()
        for notice in ready:
            document = documents.get(notice.id)
            if not isinstance(document, bytes):
                notice.problem = str(document)
                continue
            issued |= notice
        issued._store_documents(documents)
        issued._set_state('issued', problem=False)
        issued._release()
        labels = dict(self._fields['delivery_state']._description_selection(self.env))
        issued._message_log_batch({
            notice.id: ' '.join(filter(None, [
                self.env._(
                    "Issued as %(name)s: %(delivery)s", name=notice.name, delivery=labels[notice.delivery_state]),
                notice.attachment_warning])) for notice in issued})
        return self.browse(issued.ids)

    def _prepare_issue_in_sets(self, today):
        """Check and number all those drafts together that are as they were proposed.

        What has changed or has a fault is left to `_prepare_issue()`, which takes care of one at a time.

        :param date today: for holds
        :return: the notices that may be issued
        """
        try:
            with self.env.cr.savepoint():
                ready = self.browse()
                for company, notices in self.grouped('company_id').items():
                    debts = self.env['dunning.proposal'].with_company(company)._load_for_recheck(notices, today)
                    for notice in notices:
                        try:
                            if notice._get_verdict(today, debts)[0] == 'same' and notice.partner_id.active \
                                    and not notice._is_out_of_date(today):
                                notice._check_texts()
                                ready |= notice
                        except (UserError, ValidationError) as error:
                            # Said to a person by `_prepare_issue()`.
                            _logger.info("Dunning notice %s: %s", notice.id, error)
                ready._set_numbers()
                # An item has a hundred columns, of which one is wanted.
                ready.line_ids.move_line_id.fetch(['move_id'])
                ready.line_ids.move_id.fetch(['payment_reference'])
                for notice in ready:
                    notice.write({'problem': False, **notice._prepare_payment_values()})
        except Exception:
            _logger.warning("Dunning notices are prepared one by one, since together they cannot be", exc_info=True)
            return self.browse()
        return ready

    def _set_numbers(self):
        """Give numbers to the notices that have none, in one go where the sequence may have gaps."""
        for (company, date), notices in self.filtered(lambda notice: not notice.name).grouped(
                lambda notice: (notice.company_id, notice.date)).items():
            for notice, name in zip(notices, self._draw_numbers(company, date, len(notices)), strict=True):
                notice.name = name

    @api.model
    def _draw_numbers(self, company, date, count):
        """Draw numbers as `next_by_code()` does one by one.

        :param company: `res.company`
        :param date date: of the notices
        :param int count: how many
        :return: list of str
        """
        sequence = self.env['ir.sequence'].sudo().with_company(company).search(
            [('code', '=', 'dunning.notice'), ('company_id', 'in', (company.id, False))], order='company_id', limit=1)
        if not sequence or sequence.implementation != 'standard':
            return [sequence._next(sequence_date=date) if sequence else False for _number in range(count)]
        # The first one makes the range of the year where there is none yet.
        numbers = [sequence._next(sequence_date=date)]
        name = f'ir_sequence_{sequence.id:03d}'
        if sequence.use_date_range:
            date_range = sequence.date_range_ids.filtered(
                lambda candidate: candidate.date_from <= date <= candidate.date_to)[:1]
            name = f'{name}_{date_range.id:03d}'
            sequence = sequence.with_context(ir_sequence_date_range=date_range.date_from)
        return numbers + [sequence.get_next_char(number) for (number,) in self.env.execute_query(SQL(
            "SELECT nextval(%s) FROM generate_series(1, %s)", name, count - 1))]

    def _prepare_issue(self, today):
        """Read the open amounts again, check and number one draft.

        :param date today: for holds
        :return: whether there is still something to issue
        :raise UserError: a text is missing or holds a wrong placeholder
        """
        self.ensure_one()
        if not self._refresh(today):
            return False
        if not self.partner_id.active:
            raise UserError(self.env._(
                "Customer %s has been archived or merged. Exclude the notice and make a new run.",
                self.partner_id.display_name))
        self._bring_up_to_date(today)
        self._check_texts()
        self._set_numbers()
        self.write({'problem': False, **self._prepare_payment_values()})
        return True

    def _make_current(self, today, verdict, line_values):
        """Bring an issued, unfrozen notice to what its customer owes today, and make its document again if need be.

        :param date today: the new date where the deadline is over
        :param str verdict: `same` or `changed`, as `_get_verdict()` says
        :param list line_values: the lines as they should be, where they have changed
        :return: why the document cannot be made, in words; None when all is well
        """
        self.ensure_one()
        notice = self.sudo()
        if verdict == 'changed':
            notice._replace_lines(line_values)
        if not notice._bring_up_to_date(today) and verdict == 'same':
            return None
        notice.write(notice._prepare_payment_values())
        document = notice._make_documents()[notice.id]
        if not isinstance(document, bytes):
            return str(document)
        notice._store_documents({notice.id: document})
        return None

    def _refresh_letters(self):
        """Read again what letters claim that were not printed yet; what is settled or on hold is cancelled.

        :raise UserError: a letter has to be made again and cannot be
        """
        today = fields.Date.context_today(self)
        for company, notices in self.sudo().filtered(lambda notice: not notice._is_frozen()).grouped(
                'company_id').items():
            debts = self.env['dunning.proposal'].sudo().with_company(company)._load_for_recheck(notices, today)
            for notice in notices:
                verdict, words, line_values = notice._get_verdict(today, debts)
                if verdict in ('settled', 'held'):
                    notice._cancel(words)
                elif fault := notice._make_current(today, verdict, line_values):
                    raise UserError(self.env._(
                        "The letter of dunning notice %(notice)s has to be made again, and cannot be: %(fault)s\n"
                        "Cancel the notice to print the others.", notice=notice.name, fault=fault))

    def _is_out_of_date(self, today):
        """Whether the deadline is over before anybody has the notice, or the recipient is no longer the customer's."""
        self.ensure_one()
        return self.date_deadline < today or not self._is_recipient_own()

    def _bring_up_to_date(self, today):
        """Date an unfrozen notice anew whose deadline is over, and address it anew where the recipient has left.

        A paused service provider, or a letter that lay about, would else claim money for a day that is past. The next
        level counts from the new date.

        :param date today: the new date
        :return: whether something was changed, so that the document has to be made again
        """
        self.ensure_one()
        notice = self.sudo()
        if not notice._is_out_of_date(today):
            return False
        values = {}
        if notice.date_deadline < today:
            values.update(date=today, date_deadline=today + timedelta(days=notice.level_id.deadline_days))
            notice._message_log(body=self.env._(
                "Dated anew, since the deadline was over before the notice went out."))
        if not notice._is_recipient_own():
            values['recipient_id'] = self.env['dunning.proposal'].sudo()._find_recipients(
                notice.partner_id, notice.company_id)[notice.partner_id.id].id
            notice._message_log(body=self.env._("Addressed anew: the recipient is no longer with the customer."))
        notice.write(values)
        return True

    def _get_payment_reference(self):
        """Return the invoice's own reference, as long as it stands for all that the notice claims."""
        self.ensure_one()
        moves = self.line_ids.filtered(lambda line: line.kind == 'due').move_id
        is_alone = len(self.line_ids.filtered(lambda line: line.kind != 'info')) == 1
        return moves.payment_reference if is_alone and not self.amount_fee and not self.amount_interest else False

    def _refresh(self, today):
        """Read the open amounts again and act on it, as long as nothing was handed over or printed.

        :param date today: for holds
        :return: whether the notice may go on
        """
        self.ensure_one()
        verdict, words, line_values = self._get_verdict(today)
        if verdict == 'same':
            return True
        if verdict == 'changed':
            self._replace_lines(line_values)
            self._message_log(body=words)
            return True
        self._cancel(words)
        return False

    def _get_verdict(self, today, debts=None):
        """Say what has become of the claim since it was proposed. Writes nothing.

        :param date today: for holds
        :param dict debts: what `_load_for_recheck()` returned, where several notices are asked together
        :return: as `dunning.proposal._recheck()`, and `held` for a customer on hold
        """
        self.ensure_one()
        verdict = self.env['dunning.proposal'].sudo()._recheck(self, today, debts)
        partner = self.partner_id
        if partner.dunning_hold_until and partner.dunning_hold_until >= today:
            return 'held', self.env['dunning.proposal']._describe_hold(
                partner.dunning_hold_until, partner.dunning_hold_reason), []
        return verdict

    def _replace_lines(self, line_values):
        """Give an unfrozen notice the lines as they stand now."""
        self.ensure_one()
        self.sudo().line_ids.with_context(dunning_replace_lines=True).unlink()
        self.sudo().write({'line_ids': [fields.Command.create(values) for values in line_values]})
        self._update_level_from_lines()

    def _update_level_from_lines(self):
        """A notice bears the highest level of its due lines."""
        for notice in self:
            level = notice.line_ids.filtered(lambda line: line.kind == 'due').level_id.sorted('sequence')[-1:]
            if level and level != notice.level_id:
                notice._apply_level(level)

    def _apply_level(self, level, **values):
        """Give a notice a level with all that hangs on it: deadline, fee, language of the texts.

        A deadline or fee that a person has set is kept.

        :param level: `dunning.level`
        :param values: further values to write
        """
        self.ensure_one()
        notice = self.sudo()
        company, old = notice.company_id, notice.level_id

        def amount(fee):
            return company.currency_id._convert(fee, notice.currency_id, company, notice.date)

        values['level_id'] = level.id
        values['lang'] = self._choose_lang(notice.partner_id, notice.recipient_id, level, company)
        if notice.date_deadline == notice.date + timedelta(days=old.deadline_days):
            values['date_deadline'] = notice.date + timedelta(days=level.deadline_days)
        # Once for each customer and run: another notice may bear the fee.
        siblings = (notice.run_id.notice_ids - notice).filtered(lambda other: (
            other.partner_id == notice.partner_id and other.state in ('draft', 'issued') and other.amount_fee_own))
        is_bearer = bool(notice.amount_fee_own) or not siblings
        is_waived = notice.currency_id.compare_amounts(notice.amount_fee, notice.amount_fee_own) < 0
        if is_bearer and not is_waived:
            own, earlier = amount(level.fee_amount), 0.0
            if level.fee_method == 'cumulated':
                line_ids = notice.line_ids.filtered(lambda line: line.kind == 'due').move_line_id.ids
                fees = self.env['dunning.proposal'].sudo()._get_earlier_fees(line_ids, company)
                earlier = amount(sum(dict(fee for line_fees in fees.values() for fee in line_fees).values()))
            values.update(amount_fee=own + earlier, amount_fee_own=own)
        notice.write(values)

    def action_change_level(self):
        """Open the wizard that lowers or raises the level of drafts."""
        return {
            'type': 'ir.actions.act_window',
            'name': self.env._("Change Level"),
            'res_model': 'dunning.level.change',
            'view_mode': 'form',
            'target': 'new',
            'context': {'default_notice_ids': self.ids, 'default_level_id': self.level_id[:1].id},
        }

    def _change_level(self, level, reason):
        """Give drafts another level, with all that hangs on it: deadline, fee, texts.

        :param level: `dunning.level` of the notices' procedure
        :param str reason: in the user's words, kept in the chatter and shown at the lines
        :raise UserError: a notice is not a draft
        """
        self.check_access('write')
        for notice in self:
            if notice.state != 'draft':
                raise UserError(self.env._("Dunning notice %s is not a draft.", notice.display_name))
            if notice.level_id == level:
                continue
            notice._message_log(body=self.env._(
                "Level changed from “%(old)s” to “%(new)s”: %(reason)s", old=notice.level_id.name, new=level.name,
                reason=reason))
            is_raised = level.sequence > notice.level_id.sequence
            notice = notice.sudo()
            notice.line_ids.filtered(lambda line, is_raised=is_raised: line.kind == 'due' and (
                is_raised or line.level_id.sequence > level.sequence)).write(
                    {'level_id': level.id, 'is_level_set': True})
            notice._apply_level(level, level_change_reason=reason, is_edited=True)

    def _release(self):
        """Choose the channel of issued notices and let them go."""
        by_channel = defaultdict(self.browse)
        for notice in self:
            channel, info, addresses = notice._choose_channel()
            notice.email_to = ', '.join(addresses) if channel == 'mail' else False
            by_channel[channel, info, notice.company_id.sudo().dunning_provider_id] |= notice
        engines = self.env['ir.cron']
        for (channel, info, provider), notices in by_channel.items():
            if channel == 'paper':
                notices._set_delivery('paper', info, provider_id=False)
                continue
            notices._set_delivery(
                'released', self.env._("Waits for the process engine."), provider_id=provider.id,
                next_attempt_at=False, attempt_count=0)
            engines |= provider.sudo().engine_id
        for engine in engines:
            engine._trigger()

    # === DOCUMENT === #

    def _make_documents(self):
        """Render the letters, one rendering a notice.

        :return: dict notice id -> PDF as bytes, or the exception that says why there is none
        """
        documents = {}
        by_report = defaultdict(self.browse)
        for notice in self:
            report = notice.sudo().level_id.report_id or self.env.ref('dunning_mail.report_letter').sudo()
            by_report[report] |= notice
        for report, notices in by_report.items():
            documents.update(report._render_documents(notices))
        return documents

    def _store_documents(self, documents):
        """Keep the PDFs with their notices.

        :param dict documents: notice id -> bytes
        """
        old = self.sudo().document_id
        attachments = self.env['ir.attachment'].sudo().create([
            notice._prepare_document_values(documents[notice.id]) for notice in self])
        for notice, attachment in zip(self.sudo(), attachments, strict=True):
            notice.write({
                'document_id': attachment.id,
                'letter_opened_at': False,
                'document_sha256': hashlib.sha256(documents[notice.id]).hexdigest()})
        old.unlink()

    def _prepare_document_values(self, content):
        """Values of the attachment that keeps the PDF; a hook for other addons."""
        self.ensure_one()
        return {
            'name': f'{self._get_file_name()}.pdf',
            'raw': content,
            'mimetype': 'application/pdf',
            'res_model': self._name,
            'res_id': self.id,
        }

    def _get_file_name(self):
        self.ensure_one()
        return (self.name or self.env._("Draft")).replace('/', '-')

    def _is_frozen(self):
        """Whether document and mail must not be made again: they were handed over or printed."""
        self.ensure_one()
        return bool(
            self.handover_at or self.printed_at or self.delivery_state in ('sending', 'sent', 'unclear'))

    def _get_document_bytes(self):
        """Return the kept PDF.

        :raise UserError: there is none, or it is not what was made
        """
        self.ensure_one()
        content = self.sudo().document_id.raw
        if not content:
            raise UserError(self._describe_missing_document())
        if hashlib.sha256(content).hexdigest() != self.document_sha256:
            raise UserError(self.env._(
                "The kept document of dunning notice %s is damaged: it is not what was made (SHA-256 differs). "
                "Restore the file from your backup.", self.display_name))
        return content

    def _describe_missing_document(self):
        self.ensure_one()
        if self.document_id:
            return self.env._(
                "The kept document of dunning notice %s is gone. Restore the file from your backup.", self.display_name)
        return self.env._(
            "Dunning notice %s has no document any more: its letter is set not to be archived, or your company's time "
            "for keeping documents is over.", self.display_name)

    def _get_attached_invoices(self):
        """Return the due invoices of which the level wants a copy attached."""
        self.ensure_one()
        if not self.level_id.attach_invoices:
            return self.env['account.move']
        due = self.line_ids.filtered(lambda line: line.kind == 'due')
        return due.move_id.sudo().filtered(lambda move: move.is_sale_document(include_receipts=True))

    def _get_invoices_without_pdf(self):
        return self._get_attached_invoices().filtered(lambda move: not move.invoice_pdf_report_id)

    def _get_invoice_documents(self):
        """Return the stored PDFs of the due invoices, where the level says so.

        :return: list of (file name, bytes, MIME type)
        """
        return [
            (attachment.name, attachment.raw, 'application/pdf')
            for attachment in self._get_attached_invoices().invoice_pdf_report_id if attachment.raw]

    def _report_damage(self, is_there):
        """Tell whoever answers for the notice that its kept document is not what was made.

        :param bool is_there: False if the file is gone
        """
        self.ensure_one()
        notice = self.with_context(lang=self._get_responsible_user().lang)
        if is_there:
            words = notice.env._(
                "The kept document is damaged: it is not what was made (SHA-256 differs). Restore file %s of the file "
                "store from your backup.", notice.document_id.store_fname or '-')
        else:
            words = notice.env._(
                "The kept document is gone. Restore file %s of the file store from your backup.",
                notice.document_id.store_fname or '-')
        _logger.error("Dunning notice %s: the kept document %s is damaged or gone", notice.name, notice.document_id.id)
        notice._ask_person('dunning_mail.mail_activity_damaged', words)

    def _remove_documents(self, words):
        """Remove the kept documents and mails.

        :param str words: why, for the chatter; empty for none
        """
        for notice in self.sudo():
            attachments = notice.document_id | notice.mail_document_id
            notice.write({
                'document_id': False, 'mail_document_id': False, 'is_document_damaged': False,
                'document_removed_at': fields.Datetime.now()})
            attachments.unlink()
            if words:
                notice._message_log(body=words)

    def _drop_unarchived_documents(self):
        """Remove documents of delivered or printed notices whose letter is set not to be archived."""
        for notice in self.sudo():
            report = notice.level_id.report_id or self.env.ref('dunning_mail.report_letter')
            if not report.archive_generated:
                notice._remove_documents('')

    # === REPORTS OF THE MAIL SERVER, PERSONS === #

    def _ask_person(self, activity_xmlid, note):
        """Give the person who answers for the run something to do."""
        for notice in self:
            user = notice._get_responsible_user()
            user_env = self.env(context=dict(self.env.context, lang=user.lang))
            notice.activity_schedule(
                activity_xmlid, user_id=user.id, note=plaintext2html(note),
                summary=user_env._("Dunning notice to %s", notice.partner_id.display_name))

    def _get_responsible_user(self):
        """Return the clerk of the run; if she has left, somebody who heads the accounts, or an administrator."""
        self.ensure_one()
        if self.user_id.active:
            return self.user_id
        for group in ('account.group_account_manager', 'base.group_system'):
            users = self.env.ref(group).sudo().all_user_ids.filtered(lambda user: (
                user.active and not user.share and self.company_id in user.company_ids))
            if users:
                return users.sorted('id')[0]
        return self.env.user

    def _get_report(self):
        self.ensure_one()
        return self.sudo().level_id.report_id or self.env.ref('dunning_mail.report_letter').sudo()

    @api.model
    def _receive_report(self, report, guessed):
        """A report came back for a mail that the server had taken.

        It counts for the notice whose very Message-ID it returns, if it is about one of the addresses that the mail
        went to: a permanent failure ends as `failed`. A report without the returned mail counts for the one notice that
        it mentions. Everything else, forged ones among it, is only noted.

        :param report: :class:`~..tools.bounce.Report`
        :param guessed: the notice to which Odoo would assign it, if any
        """
        certain = self._find_by_message_ids(report.original_ids)
        if not report.original_ids:
            certain = self._find_by_message_ids(report.mentioned_ids)
            if len(certain) > 1:
                guessed |= certain
                certain = self.browse()
        for notice in certain | guessed:
            notice = notice.with_context(lang=notice.user_id.lang)
            own = notice._get_envelope_addresses()
            steps = [step for step in report.recipients if notice in certain and step.address.lower() in own]
            failed = [step for step in steps if step.is_failed]
            if failed:
                notice._apply_bounce(failed)
            elif steps:
                notice._message_log(body=notice.env._("The mail server reports: %s", steps[0].describe()))
            else:
                notice._message_log(body=notice.env._(
                    "An undelivered-mail report came for this notice, but it does not say that the mail to %(address)s "
                    "has failed. It is about: %(other)s", address=notice.email_to or '-',
                    other=', '.join(step.describe() for step in report.recipients) or '-'))

    @api.model
    def _find_by_message_ids(self, message_ids):
        return self.search([('message_id', 'in', list(message_ids))]) if message_ids else self.browse()

    def _get_envelope_addresses(self):
        """Return the addresses that the last mail went to, in small letters."""
        self.ensure_one()
        return set((self.redirected_to or self.email_to or '').lower().split(', '))

    def _apply_bounce(self, steps):
        """Write down that the mail came back. Of several addresses, all have to: as long as one has it, it is sent.

        :param steps: :class:`~..tools.bounce.RecipientReport` of this notice's addresses that failed
        """
        self.ensure_one()
        step = steps[0]
        words = self.env._("The mail came back: %s", '; '.join(step.describe() for step in steps))
        log = {'stage': 'bounce', 'code': step.status, 'host': step.remote_mta}
        earlier = self.delivery_log_ids.filtered(
            lambda line: line.stage == 'bounce' and line.message_id == self.message_id)
        gone = {step.address.lower() for step in steps} | {
            word for text in earlier.mapped('text') for word in re.split(r'[\s;,<>()]+', text.lower())}
        if self.delivery_state in ('sent', 'unclear') and self.state == 'issued' \
                and self._get_envelope_addresses() - gone:
            self.env['dunning.delivery.log'].sudo().create({
                'notice_id': self.id, 'provider_id': self.provider_id.id, 'attempt': self.attempt_count,
                'message_id': self.message_id, 'state_from': self.delivery_state, 'state_to': self.delivery_state,
                'text': words, **log})
            self._message_log(body=words)
            return
        moved = self._set_delivery('failed', words, log)
        if not moved:
            self._message_log(body=words)
            return
        self._ask_person('dunning_mail.mail_activity_failed', words)
        self.run_id._update_state()
        if step.blames_address and not self.redirected_to:
            self._mark_address_refused(step.describe())

    def message_update(self, msg_dict, update_vals=None):
        # An answer is for the person who answers for the run.
        for notice in self.sudo():
            notice.message_subscribe(partner_ids=notice.user_id.partner_id.ids)
        return super().message_update(msg_dict, update_vals)

    def _mark_orphans_unclear(self):
        """Whatever a dead sender left in `sending` waits for a person: the server may have the mail."""
        for notice in self.sudo():
            notice = notice.with_context(lang=notice.user_id.lang)
            words = notice.env._(
                "The sending process ended while the mail was being handed over. The customer may or may not have it: "
                "ask the mail provider for Message-ID %s before you send again.", notice.message_id)
            moved = notice._set_delivery(
                'unclear', words, {'recipient_count': notice._count_recipients()},
                handover_at=notice.handover_at or notice.claimed_at or fields.Datetime.now())
            for orphan in moved:
                # That the state is true comes first: what tells people of it must not hold up the engine.
                self.env['dunning.engine']._follow_up(
                    lambda orphan=orphan, words=words: orphan._ask_person('dunning_mail.mail_activity_unclear', words),
                    lambda orphan=orphan: orphan._log_mail(orphan.handover_at))

    # === ACTIONS === #

    def action_exclude(self):
        """Leave drafts out of their run.

        :raise UserError: a notice is not a draft
        """
        self.check_access('write')
        for notice in self:
            if notice.state != 'draft':
                raise UserError(self.env._("Dunning notice %s is not a draft.", notice.display_name))
        excluded = self._set_state('excluded', problem=False)
        self.env['dunning.run.exception'].sudo().create([{
            **notice._prepare_excluded_values(),
            'run_id': notice.run_id.id,
            'partner_id': notice.partner_id.id,
            'currency_id': notice.currency_id.id,
            'reason': 'excluded',
            'description': self.env._("Excluded from this run by hand."),
        } for notice in excluded])
        # As long as nothing was issued, it is still a person's turn.
        self.run_id.filtered(lambda run: run._has_notice([('state', '=', 'issued')]))._update_state()

    def _prepare_excluded_values(self):
        """What a `dunning.run.exception` says of this notice, which was left out by hand."""
        self.ensure_one()
        due = self.line_ids.filtered(lambda line: line.kind == 'due').sorted('date_due')
        return {
            'amount': self.amount_total,
            'date_due': due[:1].date_due,
            'document': ', '.join(due.mapped(lambda line: line.name or '')),
            'notice_id': self.id,
        }

    def action_include(self):
        """Put excluded notices back.

        :raise UserError: an item is on another open notice meanwhile
        """
        self.check_access('write')
        for notice in self.filtered(lambda notice: notice.state == 'excluded'):
            notice._check_items_free()
            notice._set_state('draft')
            self.env['dunning.run.exception'].sudo().search(
                [('notice_id', '=', notice.id), ('reason', '=', 'excluded')]).unlink()
            notice.run_id._update_state()

    def _put_line_back(self, exception):
        """Put an item back that was taken out of the draft, with the level it had.

        :param exception: the `dunning.run.exception` that was left in its place
        :raise UserError: the item is on another notice or settled meanwhile
        """
        self.ensure_one()
        self.check_access('write')
        notice = self.sudo()
        if exception.line_values['kind'] == 'due':
            notice._check_not_reserved(exception.move_line_id)
        notice.line_ids = [fields.Command.create({
            **exception.line_values, 'move_line_id': exception.move_line_id.id, 'date_due': exception.date_due})]
        verdict, words, line_values = self.env['dunning.proposal'].sudo()._recheck(
            notice, fields.Date.context_today(self))
        if verdict in ('held', 'settled'):
            raise UserError(words)
        if exception.move_line_id.id not in [values['move_line_id'] for values in line_values]:
            raise UserError(self.env._(
                "%s cannot be put back: it is paid, in payment, or covered by credits meanwhile.", exception.document))
        notice._replace_lines(line_values)
        self._message_log(body=self.env._("Put back: %s", exception.document))
        exception.sudo().unlink()

    def action_cancel(self):
        """Cancel issued notices: they do not count and never go out. Their delivery state stays what it was.

        :raise UserError: a notice is being handed over right now
        """
        self.check_access('write')
        for notice in self:
            if notice.delivery_state == 'sending':
                raise UserError(self.env._(
                    "Dunning notice %s is being handed to the mail server right now. Wait for the outcome.",
                    notice.display_name))
        self._cancel(self.env._("Cancelled by %s.", self.env.user.name))

    def _cancel(self, words):
        """Cancel notices and say why, in the notice and in its log.

        :param str words: the reason
        """
        moved = self._set_state('cancelled', problem=False)
        self.env['dunning.delivery.log'].sudo().create([{
            'notice_id': notice.id, 'provider_id': notice.provider_id.id, 'attempt': notice.attempt_count,
            'state_from': notice.delivery_state, 'state_to': 'cancelled', 'text': words,
        } for notice in moved])
        for notice in moved.sudo():
            notice.delivery_info = words
            notice._message_log(body=words)
        moved.sudo().activity_unlink(
            ['dunning_mail.mail_activity_failed', 'dunning_mail.mail_activity_unclear'])
        moved.run_id._update_state()

    def _check_has_document(self):
        """Check that there is still something to send or print.

        :raise UserError: the documents were removed
        """
        for notice in self.sudo():
            if not notice.document_id or (notice.handover_at and not notice.mail_document_id):
                raise UserError(notice._describe_missing_document())

    def _check_items_free(self):
        """Check that no other notice took the items meanwhile.

        :raise UserError: names the other notice
        """
        for notice in self:
            due = notice.line_ids.filtered(lambda line: line.kind == 'due')
            lines = {line.move_line_id.id: line for line in due}
            for line_id, level_id, day, _deadline, other_id in self.env['dunning.notice.line'].sudo()._get_last_counted(
                    list(lines)):
                line = lines[line_id]
                if other_id != notice.id and (level_id, day) != (line.previous_level_id.id, line.previous_date):
                    raise UserError(self.env._(
                        "%(item)s was dunned meanwhile by %(notice)s. This notice would go back to an earlier level: "
                        "cancel it.", item=line.name, notice=self.browse(other_id).sudo().display_name))
            notice._check_not_reserved(due.move_line_id)

    def _check_not_reserved(self, items):
        """Check that no other open notice has items.

        :param items: `account.move.line`
        :raise UserError: names the other notice
        """
        other = self.env['dunning.notice.line'].sudo().search([
            ('move_line_id', 'in', items.ids), ('is_reserved', '=', True), ('notice_id', 'not in', self.ids)], limit=1)
        if other:
            raise UserError(self.env._(
                "%(item)s is on another open notice meanwhile (%(notice)s).", item=other.name,
                notice=other.notice_id.display_name))

    def action_retry(self):
        """Release notices again that failed, are unclear, or wait as unprinted paper.

        What was handed over once goes out with the same bytes and Message-ID.

        :raise UserError: nothing to send, or an unclear notice younger than ten minutes
        """
        self.check_access('write')
        now = fields.Datetime.now()
        for notice in self:
            is_stranded = notice.delivery_state == 'released' and notice.provider_id._is_stranded()
            if notice.state != 'issued' or not (
                    is_stranded or notice.delivery_state in ('failed', 'unclear', 'paper')):
                raise UserError(self.env._(
                    "Dunning notice %(notice)s cannot be sent again: only what failed, is unclear or waits on paper "
                    "can.",
                    notice=notice.display_name))
            if notice.printed_at:
                raise UserError(self.env._("Dunning notice %s has been printed.", notice.display_name))
            if notice.delivery_state == 'unclear' and (
                    notice.claimed_at and now < notice.claimed_at + RETRY_UNCLEAR_AFTER):
                raise UserError(self.env._(
                    "It is unclear whether dunning notice %s has reached the mail server. A second mail may reach your "
                    "customer: ask the mail provider first. Sending again is possible 10 minutes after the attempt.",
                    notice.display_name))
            notice._check_has_document()
            notice._check_items_free()
            # Where the address refused before, a person retries because it was corrected or cleared.
            channel, info, current = notice._choose_channel()
            if channel == 'paper':
                raise UserError(self.env._(
                    "Dunning notice %(notice)s cannot go by mail. %(reason)s\nCorrect the customer's address, or say "
                    "that it is good again.", notice=notice.display_name, reason=info))
            addresses = ', '.join(current)
            if notice.handover_at and not notice.redirected_to and addresses != notice.email_to:
                raise UserError(self.env._(
                    "Dunning notice %(notice)s was handed over for %(old)s, and goes out unchanged or not at all; the "
                    "address is %(new)s now. Put it on paper, or cancel it and make a new run.",
                    notice=notice.display_name, old=notice.email_to, new=addresses))
            provider = notice.provider_id.sudo()
            if not provider or provider._is_stranded():
                provider = notice.company_id.sudo().dunning_provider_id
            notice._set_delivery(
                'released', self.env._("Released again by %s.", self.env.user.name), email_to=addresses,
                provider_id=provider.id, next_attempt_at=False, attempt_count=0)
            notice.sudo().activity_feedback(
                ['dunning_mail.mail_activity_failed', 'dunning_mail.mail_activity_unclear'])
            notice.provider_id.sudo().engine_id._trigger()
        self.run_id._update_state()

    def action_confirm_arrived(self):
        """Say that notices whose sending is unclear have arrived, as the customer or the mail provider says.

        :raise UserError: a notice is not unclear
        """
        self.check_access('write')
        for notice in self:
            if notice.state != 'issued' or notice.delivery_state != 'unclear':
                raise UserError(self.env._(
                    "Only of a notice whose sending is unclear it can be said that it has arrived; %s is not.",
                    notice.display_name))
            notice._set_delivery(
                'sent', self.env._("Has arrived, says %s.", self.env.user.name), sent_at=notice.claimed_at)
        self.sudo().activity_feedback(['dunning_mail.mail_activity_unclear'])
        self.run_id._update_state()

    def action_set_paper(self):
        """Take released, failed or unclear notices off the mail and put them on paper.

        :raise UserError: a notice is elsewhere on its way
        """
        self.check_access('write')
        for notice in self:
            if notice.state != 'issued' or notice.delivery_state not in ('released', 'failed', 'unclear'):
                raise UserError(self.env._(
                    "Dunning notice %s cannot be put on paper in its present state.", notice.display_name))
            notice._check_has_document()
            if notice.delivery_state == 'failed':
                notice._check_items_free()
        self._set_delivery('paper', self.env._("Put on paper by %s.", self.env.user.name))
        self.sudo().activity_feedback(
            ['dunning_mail.mail_activity_failed', 'dunning_mail.mail_activity_unclear'])
        self.run_id._update_state()

    def action_mark_printed(self):
        """Say that letters were printed by the current user: from now on they count.

        :raise UserError: a notice is not on paper
        """
        self.check_access('write')
        for notice in self:
            if notice.state != 'issued' or notice.delivery_state != 'paper':
                raise UserError(self.env._("Dunning notice %s is not on paper.", notice.display_name))
            if not notice.printed_at:
                notice._check_has_document()
        unprinted = self.filtered(lambda notice: not notice.printed_at).sudo()
        unprinted.write({'printed_at': fields.Datetime.now(), 'printed_by': self.env.user.id})
        self.env['dunning.delivery.log'].sudo().create([{
            'notice_id': notice.id, 'state_from': 'paper', 'state_to': 'paper',
            'text': self.env._("Printed by %s.", self.env.user.name)} for notice in unprinted])
        unprinted._drop_unarchived_documents()
        self.run_id._update_state()

    def action_unmark_printed(self):
        """Take back that letters were printed; their items have the level again that other notices say."""
        self.check_access('write')
        printed = self.filtered(lambda notice: notice.printed_at and notice.state == 'issued')
        for notice in printed:
            notice._check_has_document()
            notice._check_items_free()
        printed.sudo().write({'printed_at': False, 'printed_by': False})
        self.env['dunning.delivery.log'].sudo().create([{
            'notice_id': notice.id, 'state_from': 'paper', 'state_to': 'paper',
            'text': self.env._("Not printed, says %s.", self.env.user.name)} for notice in printed])
        printed.run_id._update_state()

    def action_open_document(self):
        """Open the PDF: the kept one, or of a draft what it would look like.

        :raise UserError: the kept document is gone or damaged
        """
        self.ensure_one()
        if self.state in ('draft', 'excluded'):
            report = self.level_id.sudo().report_id or self.env.ref('dunning_mail.report_letter').sudo()
            return report.report_action(self, config=False)
        self._get_document_bytes()
        return {
            'type': 'ir.actions.act_url',
            'url': f'/web/content/{self.document_id.id}?filename={self._get_file_name()}.pdf',
            'target': 'new',
        }

    def action_open_mail(self):
        """Download the mail as it was handed to the server."""
        self.ensure_one()
        if not self.mail_document_id:
            raise UserError(self._describe_missing_document())
        return {
            'type': 'ir.actions.act_url',
            'url': f'/web/content/{self.mail_document_id.id}?download=true',
            'target': 'download',
        }

    def action_export_evidence(self):
        """Download what proves the delivery as one ZIP: for each notice the PDF, the mail and the delivery log.

        :raise UserError: none of them has been issued, or they are too many for one file
        """
        self.check_access('read')
        issued = self.filtered(lambda notice: notice.state in ('issued', 'cancelled') and notice.name)
        if not issued:
            raise UserError(self.env._("There is no evidence yet: none of these dunning notices has been issued."))
        if len(issued) > MAX_EVIDENCE:
            raise UserError(self.env._(
                "%(count)s dunning notices are too many for one file. Choose %(limit)s at most.", count=len(issued),
                limit=MAX_EVIDENCE))
        return {
            'type': 'ir.actions.act_url',
            'url': f"/dunning_mail/evidence?ids={','.join(map(str, issued.ids))}",
            'target': 'download',
        }

    def _make_evidence(self):
        """Pack the evidence of these notices.

        :return: open file with a ZIP
        """
        return evidence.pack((notice._get_file_name(), notice._get_evidence_files()) for notice in self)

    def _get_evidence_name(self):
        name = self._get_file_name() if len(self) == 1 else self.env._("Dunning notices")
        return f'{name}.zip'

    def _get_evidence_files(self):
        """Return what proves the delivery of a notice, as it is kept: a damaged document too, whose SHA-256 then
        differs from the one in the log.

        :return: dict of file name -> content
        """
        self.ensure_one()
        name = self._get_file_name()
        kept = self.sudo()
        files = {f'{name}.pdf': kept.document_id.raw, f'{name}.eml': kept.mail_document_id.raw}
        facts = [
            (self._fields[fname]._description_string(self.env), self._get_evidence_value(fname))
            for fname in EVIDENCE_FIELDS]
        logs = self.delivery_log_ids.sorted('id')
        head = [logs._fields[fname]._description_string(self.env) for fname in EVIDENCE_LOG_FIELDS]
        rows = [[log._get_evidence_value(fname) for fname in EVIDENCE_LOG_FIELDS] for log in logs]
        files[self.env._("delivery log") + '.csv'] = evidence.make_csv(head, rows)
        files[self.env._("notice") + '.csv'] = evidence.make_csv((self.env._("Field"), self.env._("Value")), facts)
        return {file_name: content for file_name, content in files.items() if content}

    def _get_evidence_value(self, fname):
        return self.env['dunning.delivery.log']._describe_value(self, fname)

    def action_clear_refused(self):
        """Say that the mail addresses of these notices are good again."""
        self.check_access('write')
        for notice in self:
            notice._get_mail_partners().sudo().action_clear_dunning_refused()

    @api.ondelete(at_uninstall=False)
    def _unlink_only_draft(self):
        for notice in self:
            if notice.state not in ('draft', 'excluded'):
                raise UserError(self.env._(
                    "Dunning notice %s has been issued and is kept as evidence. Cancel it instead.",
                    notice.display_name))

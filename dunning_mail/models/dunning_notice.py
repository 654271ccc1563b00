from odoo import api, fields, models
from odoo.exceptions import UserError, ValidationError

from odoo.addons.base.models.res_partner import _lang_get

from .dunning_level import MAX_DAYS


class DunningNotice(models.Model):
    """One recipient, one currency, one document, one delivery.

    A notice of kind `dunning` claims the items of a run at a level. The other kinds go the same way, from number and
    document to channel, engine, archive and evidence, but need neither run nor level, never count, and reserve nothing.

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
    failed         recipient refused, bounced, given up;   `_apply_outcome()`, a bounce, `_stop()`
                   held back, since it is not true
    unclear        the link broke after the handover       `_apply_outcome()`, or found in `sending` by the
                                                           next holder of the provider's lock
    ============== ======================================= ================================================

    All changes of `state` go through `_set_state()`, all of `delivery_state` through `_set_delivery()`. Both are closed
    to users: only methods that run as superuser get there.
    """
    _name = 'dunning.notice'
    _description = 'Dunning Notice'
    _inherit = ['dunning.guard', 'mail.thread', 'mail.activity.mixin']
    _order = 'date desc, id desc'
    _check_company_auto = True

    # What a person may change while the notice is a draft; everything else is written by methods.
    _EDITABLE_IN_DRAFT = frozenset({'recipient_id', 'date_deadline', 'lang', 'amount_fee'})
    # What is kept where a person has set it.
    _SET_BY_HAND = {'date_deadline': 'is_deadline_set'}
    # What decides whether a notice is on its way, and so whether its items are reserved.
    _DECIDES_OPENNESS = frozenset({'kind', 'state', 'delivery_state', 'printed_at', 'redirected_to'})
    # Minutes until a notice that met a passing fault is tried again; after the last one it has failed.
    _RETRY_AFTER_MINUTES = (1, 5, 15, 60, 240)

    name = fields.Char("Number", readonly=True, copy=False, index='trigram')
    kind = fields.Selection(
        [('dunning', 'Dunning notice'), ('plan', 'Instalment plan'), ('statement', 'Statement of account')],
        required=True, default='dunning', readonly=True)
    run_id = fields.Many2one('dunning.run', ondelete='restrict', index=True, readonly=True)
    company_id = fields.Many2one(
        'res.company', required=True, compute='_compute_from_run', store=True, precompute=True, readonly=False)
    user_id = fields.Many2one(
        'res.users', string="Clerk", compute='_compute_from_run', store=True, precompute=True, readonly=False)
    partner_id = fields.Many2one(
        'res.partner', string="Customer", required=True, ondelete='restrict', index=True, readonly=True)
    recipient_id = fields.Many2one(
        'res.partner', required=True, ondelete='restrict', tracking=True, index=True,
        domain="[('commercial_partner_id', '=', partner_id)]", help="Whose address stands on the letter.")
    level_id = fields.Many2one('dunning.level', ondelete='restrict', readonly=True)
    lang = fields.Selection(_lang_get, string="Language", required=True, tracking=True)
    text_id = fields.Many2one('dunning.level.text', compute='_compute_text_id')
    text_version_id = fields.Many2one(
        'dunning.text.version', ondelete='restrict', readonly=True, copy=False,
        help="The texts as they were when the notice was issued.")
    currency_id = fields.Many2one('res.currency', required=True, readonly=True)
    date = fields.Date(required=True, readonly=True)
    date_deadline = fields.Date("Payable Until", tracking=True)
    date_left = fields.Date(
        "Left On", compute='_compute_date_left', store=True, readonly=False,
        help="The day on which the notice reached the world. The level counts from it.")
    line_ids = fields.One2many('dunning.notice.line', 'notice_id', string="Items")
    due_line_ids = fields.One2many(
        'dunning.notice.line', string="Items Claimed", compute='_compute_lines_of_kinds')
    credit_line_ids = fields.One2many(
        'dunning.notice.line', string="Credits Set Off", compute='_compute_lines_of_kinds')
    amount_overdue = fields.Monetary("Overdue", compute='_compute_amounts', store=True)
    amount_credit = fields.Monetary("Credits", compute='_compute_amounts', store=True)
    charge_ids = fields.One2many(
        'dunning.charge', 'notice_id', string="Charges", readonly=True, help="What was claimed here first.")
    is_charged = fields.Boolean(compute='_compute_is_charged', store=True)
    charge_line_ids = fields.One2many(
        'dunning.notice.line', string="Charges Asked For", compute='_compute_lines_of_kinds')
    amount_fee = fields.Monetary("Fee", compute='_compute_amounts', store=True)
    amount_interest = fields.Monetary("Interest", compute='_compute_amounts', store=True)
    amount_lump_sum = fields.Monetary("Lump Sum", compute='_compute_amounts', store=True)
    amount_cost = fields.Monetary("Costs", compute='_compute_amounts', store=True)
    amount_earlier = fields.Monetary(
        "Earlier Charges", compute='_compute_amounts', store=True,
        help="Charges of earlier notices that are still asked for.")
    amount_total = fields.Monetary("Total", compute='_compute_amounts', store=True)
    payment_reference = fields.Char(readonly=True, copy=False, index='btree_not_null')
    state = fields.Selection(
        [('draft', 'Draft'), ('excluded', 'Excluded'), ('issued', 'Issued'), ('cancelled', 'Cancelled')],
        required=True, default='draft', readonly=True, copy=False, tracking=True)
    is_deadline_set = fields.Boolean("Deadline Set by Hand", readonly=True, copy=False)
    is_edited = fields.Boolean(readonly=True, copy=False, help="A person has changed the draft.")
    level_change_reason = fields.Char(readonly=True, copy=False)
    proposal_hint = fields.Text(
        "Hint of the Proposal", readonly=True, copy=False,
        help="Money of the customer that is not set off, a hold of its parent company.")
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
         ('failed', 'Sending Failed'), ('held', 'Held Back'), ('unclear', 'Sending Unclear')],
        compute='_compute_status', help="State and delivery state in one word, for lists.")
    is_held_back = fields.Boolean(
        readonly=True, copy=False, help="It was not refused but never left: what it says is not true any more, or it "
        "could not be made.")
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
    address_key = fields.Char(readonly=True, copy=False, help="Name and address on the letter, to be compared.")
    mail_document_id = fields.Many2one(
        'ir.attachment', string="Mail (.eml)", readonly=True, copy=False, ondelete='restrict', index='btree_not_null')
    mail_sha256 = fields.Char("SHA-256 of the Mail", readonly=True, copy=False)
    mail_subject = fields.Char(readonly=True, copy=False)
    mail_invoices_key = fields.Char(readonly=True, copy=False)
    mail_body = fields.Html(readonly=True, copy=False, sanitize=False, prefetch=False)
    document_checked_at = fields.Datetime("Document Checked", readonly=True, copy=False)
    is_document_damaged = fields.Boolean(
        "Document Damaged", readonly=True, copy=False,
        help="The kept PDF or the kept mail is not what was made, or it is gone.")
    document_removed_at = fields.Datetime("Document Removed", readonly=True, copy=False)

    # === PLACEHOLDERS OF TEXTS === #
    date_text = fields.Char(compute='_compute_texts')
    date_deadline_text = fields.Char(compute='_compute_texts')
    amount_overdue_text = fields.Char(compute='_compute_texts')
    amount_credit_text = fields.Char(compute='_compute_texts')
    amount_fee_text = fields.Char(compute='_compute_texts')
    amount_interest_text = fields.Char(compute='_compute_texts')
    amount_lump_sum_text = fields.Char(compute='_compute_texts')
    amount_cost_text = fields.Char(compute='_compute_texts')
    amount_earlier_text = fields.Char(compute='_compute_texts')
    amount_total_text = fields.Char(compute='_compute_texts')
    items_html = fields.Html(compute='_compute_items_html', sanitize=False)

    _engine_queue = models.Index(
        "(provider_id, next_attempt_at NULLS FIRST, id) "
        "WHERE (delivery_state = 'released' OR rest_to IS NOT NULL) AND state = 'issued'")
    _document_check = models.Index(
        "(document_checked_at NULLS FIRST) WHERE document_id IS NOT NULL OR mail_document_id IS NOT NULL")
    _engine_sending = models.Index(
        "(provider_id) WHERE (delivery_state = 'sending' OR is_rest_sending) AND state = 'issued'")
    _dunning_complete = models.Constraint(
        "CHECK(kind <> 'dunning' OR (run_id IS NOT NULL AND level_id IS NOT NULL AND date_deadline IS NOT NULL))",
        "A dunning notice has a run, a level and a deadline.")
    _name_unique = models.UniqueIndex(
        '(company_id, name) WHERE name IS NOT NULL', "A dunning notice with this number exists already.")

    # === COMPUTES === #

    @api.depends('run_id.company_id', 'run_id.user_id')
    def _compute_from_run(self):
        for notice in self:
            notice.company_id = notice.run_id.company_id or notice.company_id or self.env.company
            notice.user_id = notice.run_id.user_id or notice.user_id or self.env.user

    @api.depends('name', 'state', 'partner_id')
    def _compute_display_name(self):
        for notice in self:
            notice.display_name = notice.name or self.env._("Draft notice for %s", notice.partner_id.display_name)

    @api.depends('charge_ids')
    def _compute_is_charged(self):
        for notice in self:
            notice.is_charged = bool(notice.charge_ids)

    @api.depends(
        'line_ids.kind', 'line_ids.amount_residual', 'line_ids.charge_id.kind', 'line_ids.charge_id.notice_id',
        'promise_id.amount')
    def _compute_amounts(self):
        for notice in self:
            amounts = dict.fromkeys(('overdue', 'credit', 'fee', 'interest', 'lump_sum', 'cost', 'earlier'), 0.0)
            for line in notice.line_ids:
                if line.kind == 'due':
                    amounts['overdue'] += line.amount_residual
                elif line.kind == 'credit':
                    amounts['credit'] -= line.amount_residual
                elif line.kind == 'charge':
                    charge = line.charge_id
                    amounts[charge.kind if charge.notice_id == notice else 'earlier'] += line.amount_residual
            currency = notice.currency_id or notice.company_id.currency_id
            for name, amount in amounts.items():
                notice[f'amount_{name}'] = currency.round(amount)
            notice.amount_total = currency.round(sum(amounts.values()) - 2 * amounts['credit'])
            if notice.kind == 'plan':
                notice.amount_total = notice.promise_id.amount

    @api.depends('kind', 'state', 'delivery_state', 'printed_at', 'redirected_to')
    def _compute_is_counted(self):
        for notice in self:
            reached = notice._has_left()
            notice.is_counted = notice.kind == 'dunning' and notice.state == 'issued' and reached
            notice.is_open = notice.state == 'draft' or (
                notice.state == 'issued' and not reached
                and notice.delivery_state in ('released', 'paper', 'sending'))

    def _has_left(self):
        """Whether the notice reached the world: sent or unclear, and not in trial mode, or printed."""
        self.ensure_one()
        return bool(self.printed_at) or (self.delivery_state in ('sent', 'unclear') and not self.redirected_to)

    @api.depends('delivery_state', 'printed_at', 'redirected_to', 'sent_at', 'claimed_at', 'handover_at')
    def _compute_date_left(self):
        for notice in self:
            moment = notice.printed_at or (
                notice.sent_at if notice.delivery_state == 'sent' else notice.claimed_at or notice.handover_at)
            notice.date_left = notice._has_left() and (
                notice.company_id._get_dunning_day(moment, notice.user_id) if moment else notice.date)

    def _get_today(self):
        """Return the company's day."""
        self.ensure_one()
        return self.company_id._get_dunning_day(user=self.user_id)

    def _get_tz(self):
        """Return the name of the time zone in which the company's day is reckoned."""
        self.ensure_one()
        return self.company_id._get_dunning_tz(self.user_id)

    @api.depends('line_ids.kind')
    def _compute_lines_of_kinds(self):
        for notice in self:
            of_kind = notice.line_ids.grouped('kind')
            notice.due_line_ids = of_kind.get('due')
            notice.credit_line_ids = of_kind.get('credit')
            notice.charge_line_ids = of_kind.get('charge')

    @api.constrains('recipient_id', 'partner_id')
    def _check_recipient(self):
        for notice in self:
            if not notice._is_recipient_own():
                raise ValidationError(self.env._(
                    "%(recipient)s is no address of %(partner)s. A notice goes to an address of the customer who owes.",
                    recipient=notice.recipient_id.display_name, partner=notice.partner_id.display_name))

    @api.constrains('date_deadline', 'date')
    def _check_claim(self):
        for notice in self:
            if notice.date_deadline and notice.date_deadline < notice.date:
                raise ValidationError(self.env._(
                    "The notice for %s cannot be payable before its own date.", notice.partner_id.display_name))
            if notice.date_deadline and (notice.date_deadline - notice.date).days > MAX_DAYS:
                raise ValidationError(self.env._(
                    "The notice for %(partner)s cannot be payable more than %(days)s days after its date.",
                    partner=notice.partner_id.display_name, days=MAX_DAYS))

    @api.depends('state', 'delivery_state', 'printed_at', 'is_held_back')
    def _compute_status(self):
        for notice in self:
            status = notice.state if notice.state != 'issued' else notice.delivery_state
            if status == 'paper' and notice.printed_at:
                status = 'printed'
            elif status == 'failed' and notice.is_held_back:
                status = 'held'
            notice.status = status

    @api.depends('state', 'delivery_state', 'run_id.provider_warning')
    def _compute_provider_warning(self):
        for notice in self:
            is_concerned = notice.state == 'draft' or (
                notice.state == 'issued' and notice.delivery_state == 'released')
            notice.provider_warning = is_concerned and notice.run_id.provider_warning

    def _get_writable_fields(self):
        is_draft = self and all(notice.state == 'draft' for notice in self)
        return super()._get_writable_fields() | (self._EDITABLE_IN_DRAFT if is_draft else set())

    def _raise_closed(self, fnames):
        if self._EDITABLE_IN_DRAFT.issuperset(fnames) and (
                fixed := self.filtered(lambda notice: notice.state != 'draft')):
            raise UserError(self.env._(
                "Dunning notice %s is not a draft and cannot be changed. Cancel it and make a new run.",
                fixed[0].display_name))
        return super()._raise_closed(fnames)

    def write(self, vals):
        is_edit = not self.env.su and bool(vals.keys() & self._get_writable_fields())
        stood = {notice.id: (notice.is_open, notice.is_counted, notice.state) for notice in self} if (
            self._DECIDES_OPENNESS & vals.keys()) else {}
        self._check_may_write(vals)
        self._check_numbers(vals)
        # It is the sum of what the notice's charges say.
        fee = vals.get('amount_fee')
        result = super().write({fname: value for fname, value in vals.items() if fname != 'amount_fee'})
        if fee is not None:
            for notice in self:
                notice._set_fee(fee)
        if is_edit and 'recipient_id' in vals and 'lang' not in vals:
            for notice in self.sudo():
                notice.lang = notice._choose_recipients_lang()
        if is_edit:
            self.sudo().write({
                'is_edited': True, **{mark: True for fname, mark in self._SET_BY_HAND.items() if fname in vals}})
        if stood:
            self.filtered(lambda notice: stood[notice.id][0] != notice.is_open)._update_reserved()
            self.sudo().filtered(lambda notice: notice.is_charged and (
                stood[notice.id][1:] != (notice.is_counted, notice.state))).charge_ids._follow_notice()
        if 'date' in vals:
            self.sudo().charge_ids.filtered(lambda charge: charge.state == 'draft').date = vals['date']
        return result

    @api.ondelete(at_uninstall=False)
    def _unlink_only_draft(self):
        for notice in self:
            if notice.state not in ('draft', 'excluded'):
                raise UserError(self.env._(
                    "Dunning notice %s has been issued and is kept as evidence. Cancel it instead.",
                    notice.display_name))

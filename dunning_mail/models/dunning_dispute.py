from datetime import timedelta
from functools import lru_cache

from odoo import api, fields, models
from odoo.exceptions import UserError, ValidationError
from odoo.tools import SQL, format_amount, format_date

from ..tools.rest import Shared, lay
from .res_company_rest import MAX_DAYS

# Days until a dispute should be decided, where nobody says another day.
USUAL_DAYS = 14
# Days after the target day on which the head of accounts is asked.
ESCALATE_AFTER = timedelta(days=7)


class DunningDisputeReason(models.Model):
    """Why customers contest what is claimed: a list that the company keeps."""
    _name = 'dunning.dispute.reason'
    _description = 'Reason of a Dispute'
    _inherit = ['dunning.shared']
    _order = 'sequence, id'

    name = fields.Char(required=True, translate=True)
    sequence = fields.Integer(default=10)
    active = fields.Boolean(default=True)
    company_id = fields.Many2one('res.company', default=lambda self: self._default_company_id(), index='btree_not_null')

    def _get_writable_fields(self):
        return super()._get_writable_fields() | {'name', 'sequence', 'active', 'company_id'}


class DunningDispute(models.Model):
    """A customer contests an item, or part of it. What is contested is not dunned; what is left is.

    ========= ======================================== ==========================================
    state     means                                    left by
    ========= ======================================== ==========================================
    open      what is still contested rests            credit notes for all of it that are posted,
                                                       `action_reject()`, `action_withdraw()`
    accepted  credit notes were posted for all of it   one of them goes back to draft
    rejected  it is owed: dunned at the level it had   --
    withdrawn the customer contests it no more         --
    ========= ======================================== ==========================================
    """
    _name = 'dunning.dispute'
    _description = 'Dispute'
    _inherit = ['dunning.resting', 'dunning.guard', 'mail.thread', 'mail.activity.mixin']
    _order = 'date desc, id desc'

    _EDITABLE_WHILE_OPEN = frozenset({
        'reason_id', 'note', 'file', 'file_name', 'user_id', 'date_target', 'closing_note'})
    _SAID_ONCE = frozenset({'item_ids', 'amount'})

    partner_id = fields.Many2one(
        'res.partner', string="Customer", compute='_compute_from_items', store=True, precompute=True, index=True,
        ondelete='restrict')
    company_id = fields.Many2one('res.company', compute='_compute_from_items', store=True, precompute=True, index=True)
    currency_id = fields.Many2one('res.currency', compute='_compute_from_items', store=True, precompute=True)
    item_ids = fields.Many2many(
        'account.move.line', 'dunning_dispute_item_rel', 'dispute_id', 'item_id', string="Items", required=True)
    move_names = fields.Char("Documents", compute='_compute_move_names')
    amount = fields.Monetary("Contested", tracking=True, help="All of the items, or part of it. Empty: all.")
    amount_left = fields.Monetary(
        "Still Contested", compute='_compute_amount_left', store=True,
        help="What no credit note was posted for.")
    reason_id = fields.Many2one(
        'dunning.dispute.reason', required=True, ondelete='restrict', tracking=True, index=True)
    note = fields.Text("The Customer's Words")
    file = fields.Binary(attachment=True)
    file_name = fields.Char()
    user_id = fields.Many2one(
        'res.users', string="Owner", required=True, default=lambda self: self.env.user, tracking=True, index=True)
    date = fields.Date(required=True, readonly=True, default=lambda self: self.env.company._get_dunning_day())
    date_target = fields.Date(
        "To Be Decided Until", required=True, tracking=True,
        default=lambda self: self.env.company._get_dunning_day() + timedelta(
            days=min(USUAL_DAYS, self.env.company.sudo().dunning_dispute_max_days)))
    state = fields.Selection(
        [('open', 'Open'), ('accepted', 'Accepted'), ('rejected', 'Rejected'), ('withdrawn', 'Withdrawn')],
        required=True, default='open', readonly=True, copy=False, tracking=True, index=True)
    closing_note = fields.Text("Our Answer", copy=False)
    date_closed = fields.Date("Closed On", readonly=True, copy=False)
    days = fields.Integer(
        readonly=True, copy=False, aggregator='avg', help="How long it took; of an open one, until this morning.")
    refund_ids = fields.One2many('account.move', 'dunning_dispute_id', string="Credit Notes", readonly=True)
    product_categ_id = fields.Many2one(
        'product.category', string="Product Category", compute='_compute_product_categ_id', store=True,
        help="Of the dearest line of the invoices.")

    # === COMPUTES === #

    @api.depends('item_ids')
    def _compute_from_items(self):
        for dispute in self:
            item = dispute.sudo().item_ids[:1]
            # Whatever becomes of the items, it stays whose it is.
            dispute.partner_id = item.partner_id.commercial_partner_id or dispute.partner_id
            dispute.company_id = item.company_id or dispute.company_id
            dispute.currency_id = item.currency_id or dispute.currency_id

    @api.depends(
        'amount', 'refund_ids.state', 'refund_ids.move_type', 'refund_ids.amount_total', 'refund_ids.currency_id',
        'refund_ids.commercial_partner_id', 'refund_ids.company_id')
    def _compute_amount_left(self):
        for dispute in self:
            # What one in another currency is worth of it, a person knows.
            credited = sum(dispute._get_refunds_that_count().filtered(
                lambda refund, dispute=dispute: refund.currency_id == dispute.currency_id).mapped('amount_total'))
            dispute.amount_left = max(0.0, dispute.amount - credited)

    def _get_refunds_that_count(self):
        """Return the credit notes that accept what the customer contests: posted, hers and this company's."""
        return self.sudo().refund_ids.filtered(lambda refund: (
            refund.state == 'posted' and refund.move_type == 'out_refund'
            and refund.commercial_partner_id == refund.dunning_dispute_id.partner_id.commercial_partner_id
            and refund.company_id == refund.dunning_dispute_id.company_id))

    @api.depends('item_ids')
    def _compute_move_names(self):
        for dispute in self:
            dispute.move_names = ', '.join(dispute.sudo().item_ids.move_id.mapped(lambda move: move.name or ''))

    @api.depends('item_ids')
    def _compute_product_categ_id(self):
        for dispute in self:
            lines = dispute.sudo().item_ids.move_id.invoice_line_ids.filtered('product_id')
            dispute.product_categ_id = lines.sorted('price_subtotal', reverse=True)[:1].product_id.categ_id

    @api.depends('partner_id', 'date')
    def _compute_display_name(self):
        for dispute in self:
            dispute.display_name = self.env._(
                "Dispute of %(day)s, %(partner)s", day=format_date(self.env, dispute.date),
                partner=dispute.partner_id.name or '')

    @api.onchange('item_ids')
    def _onchange_item_ids(self):
        items = self.item_ids._origin
        self.amount = self.currency_id.round(sum(self._get_contestable(items).values())) if self.currency_id else 0.0

    # === MAKING === #

    @api.model
    def default_get(self, fields_list):
        values = super().default_get(fields_list)
        if 'item_ids' in fields_list and not values.get('item_ids') and (model := self.env.context.get('active_model')):
            items = self._find_active_items(model, self.env.context.get('active_ids') or ())
            values['item_ids'] = [fields.Command.set(items.ids)]
        return values

    @api.model
    def _get_new_action(self, records):
        """Return the action that opens the form of a new dispute about customers, notices or invoices."""
        items = self._find_active_items(records._name, records.ids)
        return {
            'type': 'ir.actions.act_window', 'name': self.env._("Dispute"), 'res_model': self._name,
            'view_mode': 'form', 'views': [(False, 'form')],
            'context': {
                'default_item_ids': [fields.Command.set(items.ids)],
                'dunning_answered_ids': records.ids if records._name == 'dunning.notice' else []}}

    @api.model
    def _find_active_items(self, model, ids):
        """Return the open items of the records from which the form was opened."""
        if model not in ('dunning.notice', 'account.move', 'account.move.line', 'res.partner'):
            return self.env['account.move.line']
        records = self.env[model].browse(ids)
        company = self.env.company if model == 'res.partner' else records.company_id[:1]
        return self.env['account.move.line']._find_dunning_debits(records, company, company._get_dunning_day())

    def _get_writable_fields(self):
        if not self:
            return super()._get_writable_fields() | self._EDITABLE_WHILE_OPEN | self._SAID_ONCE
        is_open = all(dispute.state == 'open' for dispute in self)
        return super()._get_writable_fields() | (self._EDITABLE_WHILE_OPEN if is_open else set())

    @api.model_create_multi
    def create(self, vals_list):
        disputes = super().create(vals_list)
        for dispute, vals in zip(disputes, vals_list, strict=True):
            dispute.item_ids._check_dunning_debits()
            self.env['dunning.promise']._lock_items(dispute.item_ids)
            limit = dispute.currency_id.round(sum(dispute._get_contestable(dispute.item_ids, dispute).values()))
            compare = dispute.currency_id.compare_amounts
            # An amount below the currency's rounding is none, and not all.
            amount = dispute.currency_id.round(dispute.amount if vals.get('amount') else limit)
            if compare(amount, 0) <= 0 or compare(amount, limit) > 0:
                raise UserError(self.env._(
                    "Of %(items)s, %(limit)s can be contested: enter an amount up to that.", items=dispute.move_names,
                    limit=format_amount(self.env, limit, dispute.currency_id)))
            dispute.sudo().amount = amount
            for move in dispute.sudo().item_ids.move_id:
                move._message_log(body=self.env._(
                    "Contested: %(amount)s, %(reason)s.", amount=format_amount(self.env, amount, dispute.currency_id),
                    reason=dispute.reason_id.name))
        self.env['dunning.notice']._handle_answers_of_context(disputes.item_ids)
        return disputes

    @api.constrains('date_target', 'date')
    def _check_date_target(self):
        for dispute in self:
            if dispute.state == 'open' and dispute.date_target < dispute.date:
                raise ValidationError(self.env._("A dispute cannot have been decided before it was opened."))
            # Constraints run as superuser, whoever writes.
            may_more = self.env.user._is_superuser() or self.env.user.has_group('account.group_account_manager')
            days = MAX_DAYS if may_more else dispute.company_id.sudo().dunning_dispute_max_days
            if dispute.state == 'open' and (dispute.date_target - dispute.date).days > days:
                last = format_date(self.env, dispute.date + timedelta(days=days))
                raise ValidationError(self.env._("This dispute is to be decided by %s at the latest.", last) if may_more
                                      else self.env._(
                    "You may set a day until %s. A later one is set by the head of accounts.", last))

    @api.constrains('reason_id', 'user_id', 'company_id')
    def _check_company_of_choice(self):
        for dispute in self:
            company, reason = dispute.company_id, dispute.sudo().reason_id
            if not company._may_use_dunning(reason):
                raise ValidationError(self.env._(
                    "“%(reason)s” belongs to another company. Choose a reason of %(company)s.", reason=reason.name,
                    company=company.name))
            if company not in dispute.sudo().user_id.company_ids:
                raise ValidationError(self.env._(
                    "%(user)s does not work in %(company)s.", user=dispute.user_id.name, company=company.name))

    # === WHAT RESTS === #

    @api.model
    def _read_open(self, items):
        """Read the open disputes of items, with all items of each.

        :param items: `account.move.line`
        :return: list of (dispute id, what is still contested, reason id, target day, list of (item id, due date, what
            is open))
        """
        self.flush_model(['state', 'amount_left', 'reason_id', 'date_target', 'partner_id', 'item_ids'])
        self.env['account.move.line'].flush_model()
        self.env['res.partner'].flush_model(['commercial_partner_id'])
        disputes = {}
        for dispute_id, amount, reason_id, target, *item in self.env.execute_query(SQL(
                """
                SELECT d.id, COALESCE(d.amount_left, 0)::float, d.reason_id, d.date_target, aml.id,
                       COALESCE(aml.date_maturity, aml.date), aml.amount_residual_currency::float
                  FROM dunning_dispute d
                  JOIN dunning_dispute_item_rel rel ON rel.dispute_id = d.id
                  JOIN account_move_line aml ON aml.id = rel.item_id AND aml.parent_state = 'posted'
                       AND aml.amount_residual_currency > 0
                  -- What has become another customer's, this one cannot contest.
                  JOIN res_partner own ON own.id = d.partner_id
                  JOIN res_partner p ON p.id = aml.partner_id AND p.commercial_partner_id = own.commercial_partner_id
                 WHERE d.state = 'open'
                   AND d.id IN (SELECT dispute_id FROM dunning_dispute_item_rel WHERE item_id = ANY(%s))
                """, items.ids)):
            disputes.setdefault(dispute_id, (dispute_id, amount, reason_id, target, []))[4].append(tuple(item))
        return list(disputes.values())

    @api.model
    def _get_resting(self, items, day):
        disputes = self._read_open(items)
        reasons = self.env['dunning.dispute.reason'].browse({dispute[2] for dispute in disputes})
        names = {reason.id: reason.name for reason in reasons}
        describe = lru_cache(None)(lambda reason_id: self.env._("Contested: %s.", names[reason_id]))
        return [
            Shared(tuple(of_dispute), amount, target, describe(reason_id), is_contested=True)
            for _id, amount, reason_id, target, of_dispute in disputes]

    @api.model
    def _get_contestable(self, items, but_for=None):
        """Return what of items is open and not contested.

        :param items: `account.move.line`
        :param but_for: `dunning.dispute` that does not count
        :return: dict id -> amount
        """
        items = items.sudo()
        left = {item.id: item.amount_residual_currency for item in items}
        for rest in lay([
                Shared(tuple(of_dispute), amount, None, '', is_contested=True)
                for dispute_id, amount, _reason, _target, of_dispute in self.sudo()._read_open_around(items)
                if dispute_id not in (but_for or self.browse()).ids]):
            if rest.line_id in left:
                left[rest.line_id] = max(0.0, left[rest.line_id] - rest.amount)
        return left

    @api.model
    def _read_open_around(self, items):
        """Read the open disputes of items, of what these are about too, and so on; as :meth:`_read_open` does."""
        disputes, asked, more = [], self.env['account.move.line'], items
        while more:
            asked |= more
            disputes = self._read_open(asked)
            more = asked.browse({item[0] for dispute in disputes for item in dispute[4]}) - asked
        return disputes

    # === WHAT BECOMES OF IT === #

    def _close(self, state, words):
        """End disputes; what was contested is judged again with the next run.

        :param str state: how
        :param str words: why, for the chatter
        """
        for dispute in self.sudo():
            today = dispute.company_id._get_dunning_day(user=dispute.user_id)
            dispute.write({'state': state, 'date_closed': today, 'days': (today - dispute.date).days})
            dispute.activity_unlink(['dunning_mail.mail_activity_dispute'])
            dispute._message_log(body=words)
            for move in dispute.item_ids.move_id:
                move._message_log(body=words)

    def _check_open(self):
        self.check_access('write')
        if closed := self.filtered(lambda dispute: dispute.state != 'open')[:1]:
            raise UserError(self.env._("%s has been closed already.", closed.display_name))

    def action_reject(self):
        """Say that what is contested is owed: it is dunned again, at the level that it had.

        :raise UserError: it is closed, or the reason is missing
        """
        self._check_open()
        for dispute in self:
            if not (dispute.closing_note or '').strip():
                raise UserError(self.env._(
                    "Say under “Our Answer” why %s is rejected: the customer will ask.", dispute.display_name))
            dispute._close('rejected', self.env._("Dispute rejected: %s", dispute.closing_note))

    def action_withdraw(self):
        """Say that the customer contests it no more.

        :raise UserError: it is closed
        """
        self._check_open()
        self._close('withdrawn', self.env._("Dispute withdrawn, says %s.", self.env.user.name))

    def action_make_refund(self):
        """Open core's wizard for a credit note: once that is posted, the dispute is accepted.

        :raise UserError: it is closed
        """
        self.ensure_one()
        self._check_open()
        moves = self.item_ids.move_id
        action = self.env['ir.actions.act_window']._for_xml_id('account.action_view_account_move_reversal')
        action['context'] = {
            'active_model': 'account.move', 'active_ids': moves.ids, 'active_id': moves[:1].id,
            'default_reason': self.reason_id.name, 'dunning_dispute_id': self.id}
        return action

    def _accept(self, refund):
        """A credit note for these disputes was posted.

        :param refund: `account.move`
        """
        for dispute in self.sudo().filtered(lambda dispute: (
                dispute.state == 'open' and refund in dispute._get_refunds_that_count())):
            if dispute.currency_id.is_zero(dispute.amount_left):
                dispute._close('accepted', self.env._("Dispute accepted: credit note %s.", refund.name))
            else:
                dispute._message_log(body=self.env._(
                    "Accepted in part: credit note %(refund)s. Still contested: %(amount)s.", refund=refund.name,
                    amount=format_amount(self.env, dispute.amount_left, dispute.currency_id)))

    def _reopen(self, words):
        """What ended these disputes is undone, all of it or in part."""
        reopened = self.sudo().filtered(lambda dispute: (
            dispute.state == 'accepted' and not dispute.currency_id.is_zero(dispute.amount_left)))
        reopened.write({'state': 'open', 'date_closed': False})
        for dispute in reopened:
            dispute._message_log(body=words)

    # === WHO HAS TO DECIDE === #

    @api.model
    def _check_target_days(self):
        """Each morning: how long open ones take; those whose target day is over ask their owner, later the head of
        accounts."""
        self.env['dunning.promise']._do_each(self.search([('state', '=', 'open')]), '_check_target_day')

    def _check_target_day(self):
        self.ensure_one()
        today = self.company_id._get_dunning_day(user=self.user_id)
        self.days = (today - self.date).days
        if self.date_target >= today:
            return
        user = self.company_id._get_dunning_responsible(self.user_id)
        if today > self.date_target + ESCALATE_AFTER:
            user = self.company_id._get_dunning_head() or user
        kind = self.env.ref('dunning_mail.mail_activity_dispute')
        activity = self.activity_ids.filtered(lambda activity: activity.activity_type_id == kind)[:1]
        if activity.user_id == user:
            return
        activity.unlink()
        self = self.with_context(lang=user.lang)
        self.activity_schedule(
            'dunning_mail.mail_activity_dispute', user_id=user.id,
            summary=self.env._("Dispute with %s", self.partner_id.display_name),
            note=self.env._(
                "It should have been decided by %(day)s. What the customer contests (%(amount)s) is not dunned until "
                "somebody accepts or rejects it.", day=format_date(self.env, self.date_target),
                amount=format_amount(self.env, self.amount_left, self.currency_id)))

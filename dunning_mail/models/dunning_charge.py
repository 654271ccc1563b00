import logging
from datetime import timedelta

from odoo import api, fields, models
from odoo.tools import SQL, format_date, formatLang, get_lang

_logger = logging.getLogger(__name__)

# What of a charge stands in the books, or was settled elsewhere.
BOOKED_STATES = ('booked', 'paid')
# How a charge stands among the lines of a notice: after items and credits.
CHARGE_SEQUENCE = 3


class DunningCharge(models.Model):
    """One thing that a notice claims beside the items: a fee, the interest or lump sum of an item, costs.

    ========= ============================================================= ======================================
    state     means                                                         may become
    ========= ============================================================= ======================================
    draft     its notice has not reached the customer                       claimed, cancelled; waived: left out,
                                                                            or given up before it left
    claimed   its notice counts; printed, not in the books                  booked, paid, replaced, waived, lapsed,
                                                                            cancelled; draft: the notice came back
    booked    a posted entry: receivable against income                     paid, waived, cancelled; claimed: the
                                                                            entry is gone, or the notice came back
    paid      its money came: its own entry is settled, or a person said    claimed (*Reinstate*); of one in the
              that it was booked elsewhere                                  books: booked, waived, cancelled
    replaced  a later notice's charge stands for it                         claimed: that one does not count; cancelled
    waived    a person gave it up, with a reason, or it was never owed;     claimed (*Reinstate*), cancelled;
              what was booked is reversed                                   draft: left out of what came back
    lapsed    its items were settled long ago                               cancelled
    cancelled with its notice; or its entry was reversed: given up          booked: that was undone
    ========= ============================================================= ======================================

    All changes of `state` go through `_set_state()`, behind named setters. Nothing is written by a person: what she may
    do goes through `_change_amount()`, `_waive()`, `_settle()` and `_reinstate()`, each with a reason.
    """
    _name = 'dunning.charge'
    _description = 'Dunning Charge'
    _inherit = ['dunning.guard']
    _order = 'date desc, id desc'

    _STATE_TRANSITIONS = {
        'draft': ('claimed', 'waived', 'cancelled'),
        'claimed': ('draft', 'booked', 'paid', 'replaced', 'waived', 'lapsed', 'cancelled'),
        'booked': ('paid', 'waived', 'cancelled', 'claimed'),
        'paid': ('booked', 'claimed', 'waived', 'cancelled'),
        # Booked again: the accountant posted the entry, or undid the reversal.
        'replaced': ('claimed', 'cancelled', 'booked'),
        'waived': ('draft', 'claimed', 'cancelled', 'booked'),
        'lapsed': ('cancelled', 'booked'),
        'cancelled': ('booked',),
    }

    notice_id = fields.Many2one(
        'dunning.notice', required=True, ondelete='cascade', index=True, readonly=True,
        help="The notice that claimed it first.")
    partner_id = fields.Many2one(
        'res.partner', string="Customer", required=True, ondelete='restrict', index=True, readonly=True)
    company_id = fields.Many2one('res.company', required=True, readonly=True)
    currency_id = fields.Many2one('res.currency', required=True, readonly=True)
    level_id = fields.Many2one(related='notice_id.level_id', store=True)
    kind = fields.Selection(
        [('fee', 'Fee'), ('interest', 'Interest'), ('lump_sum', 'Lump sum'), ('cost', 'Costs')],
        required=True, readonly=True)
    move_line_id = fields.Many2one(
        'account.move.line', string="Item", ondelete='set null', index='btree_not_null', readonly=True)
    debtor_kind = fields.Selection(
        [('business', 'Business'), ('consumer', 'Consumer')], readonly=True,
        help="What the customer was when it was reckoned.")
    date = fields.Date(required=True, readonly=True, help="The date of the notice.")
    date_from = fields.Date("From", readonly=True)
    date_to = fields.Date("To", readonly=True)
    amount = fields.Monetary(readonly=True, help="What the customer is asked for, tax contained.")
    amount_calculated = fields.Monetary("Calculated", readonly=True)
    amount_waived = fields.Monetary("Waived", compute='_compute_amount_waived', store=True)
    detail = fields.Json(readonly=True, help="The calculation, a row for each segment.")
    reason = fields.Char(readonly=True)
    is_set = fields.Boolean("Set by Hand", readonly=True)
    is_past = fields.Boolean(
        "Before It Started Again", readonly=True,
        help="Its item has started again since, and with it the default: later interest does not contain this.")
    kept_ids = fields.Json(
        "Stands Beside", readonly=True,
        help="Earlier charges beside which it stands, since money for them is there: it asks for what exceeds them.")
    replaced_by_id = fields.Many2one(
        'dunning.charge', ondelete='set null', index='btree_not_null', readonly=True)
    state = fields.Selection(
        [('draft', 'Draft'), ('claimed', 'Claimed'), ('booked', 'Booked'), ('paid', 'Paid'), ('replaced', 'Replaced'),
         ('waived', 'Waived'), ('lapsed', 'Lapsed'), ('cancelled', 'Cancelled')],
        required=True, default='draft', readonly=True)
    line_ids = fields.One2many('dunning.notice.line', 'charge_id', string="Stands On")
    calculation = fields.Html(compute='_compute_calculation', sanitize=False)

    _amount_not_negative = models.Constraint('CHECK(amount >= 0)', "A charge cannot be negative.")
    # What is still asked for is a small part of what was.
    _claimed = models.Index("(company_id, partner_id) WHERE state IN ('claimed', 'booked')")

    @api.model_create_multi
    def create(self, vals_list):
        charges = super().create(vals_list)
        self.env['dunning.notice.line'].create([charge._prepare_line_values() for charge in charges])
        return charges

    @api.depends('state', 'amount', 'amount_calculated')
    def _compute_amount_waived(self):
        for charge in self:
            charge.amount_waived = charge._get_waived(charge.state, charge.amount, charge.amount_calculated)

    @api.model
    def _get_waived(self, state, amount, calculated):
        """Return what was given up of a charge. What was lowered in the draft counts as waived by the difference."""
        return calculated if state == 'waived' else max(0.0, calculated - amount)

    @api.depends('detail')
    @api.depends_context('lang')
    def _compute_calculation(self):
        for charge in self:
            charge.calculation = charge.detail and self.env['ir.qweb']._render('dunning_mail.charge_calculation', {
                'rows': charge._get_calculation_rows()})

    def _get_calculation_rows(self, show_amount=None, show_day=None):
        """Return the calculation as it is read, a dict for each segment.

        :param show_amount: function of an amount, by default in the user's language
        :param show_day: function of a date, by default in the user's language
        """
        self.ensure_one()
        show_amount = show_amount or (lambda amount: formatLang(self.env, amount, currency_obj=self.currency_id))
        show_day = show_day or (lambda day: format_date(self.env, day))
        lang = get_lang(self.env)
        return [{
            'item': self.sudo().move_line_id.move_id.name or '',
            'date_from': show_day(fields.Date.to_date(row['date_from'])),
            'date_to': show_day(fields.Date.to_date(row['date_to'])),
            'days': row['days'],
            'rate': lang.format('%.2f', float(row['rate'])) if row['rate'] is not None else '–',
            'principal': show_amount(float(row['principal'])),
            'amount': show_amount(float(row['amount'])),
        } for row in self.detail or [] if row['days']]

    @api.depends('kind', 'notice_id.name')
    def _compute_display_name(self):
        labels = dict(self._fields['kind']._description_selection(self.env))
        for charge in self:
            charge.display_name = f'{labels.get(charge.kind, "")} {charge.notice_id.name or ""}'.strip()

    def _prepare_line_values(self):
        """Return the values of the `dunning.notice.line` on the notice that claims this charge first."""
        self.ensure_one()
        return {
            'notice_id': self.notice_id.id,
            **self._prepare_charge_line_values(
                self.id, self.amount, self.move_line_id.move_id.name or False, self.date)}

    @api.model
    def _prepare_charge_line_values(self, charge_id, amount, name, day):
        """Return the values of a `dunning.notice.line` that asks for a charge.

        :param str name: number of the entry that it is for, or of the earlier notice that claimed it first
        :param date day: of the notice that claimed it first
        """
        return {
            'kind': 'charge', 'sequence': CHARGE_SEQUENCE, 'charge_id': charge_id, 'name': name, 'date_invoice': day,
            'amount_residual': amount}

    # === THE FUNNEL === #

    def _set_state(self, target, **values):
        """Move charges to another state; those that may not go there are left alone and logged.

        :param str target: the state to reach
        :param values: further values to write
        :return: the charges that were moved
        """
        allowed = self.filtered(lambda charge: target in self._STATE_TRANSITIONS.get(charge.state, ()))
        for charge in self - allowed:
            _logger.info("Dunning charge %s: no way from state %s to %s", charge.id, charge.state, target)
        if allowed:
            allowed.sudo().write({'state': target, **values})
        return allowed

    def _set_claimed(self):
        """Say that the customer has been asked for charges."""
        return self._set_state('claimed', replaced_by_id=False)

    def _set_draft(self):
        """Say that the notice of charges came back: nobody has been asked for them."""
        return self._set_state('draft')

    def _set_replaced(self, charge):
        """Say that a later notice's charge stands for these.

        :param charge: one `dunning.charge`
        """
        return self._set_state('replaced', replaced_by_id=charge.id)

    def _set_waived(self, reason, is_unowed=False):
        """Say that charges are not asked for.

        :param str reason: in the user's words
        :param bool is_unowed: nobody gave them up: they never were owed
        """
        return self._set_state('waived', reason=reason, is_unowed=is_unowed)

    def _set_paid(self, reason=None):
        """Say that the money for charges came.

        :param str reason: where it was booked, if a person says so
        """
        return self._set_state('paid', **({'reason': reason, 'date_taken': fields.Datetime.now()} if reason else {}))

    def _set_lapsed(self, reason):
        """Say that nobody is asked for charges any more, since their items were settled long ago."""
        return self._set_state('lapsed', reason=reason)

    def _set_cancelled(self):
        """Say that the notice of charges was cancelled."""
        return self._set_state('cancelled')

    # === WHAT COMES OF A NOTICE === #

    def _follow_notice(self):
        """Bring charges to what has become of the notices that claim them first.

        Nothing of it asks what was before: a notice may come back, be sent again, and be cancelled.
        """
        self._leave_books()
        cancelled = self.filtered(lambda charge: (
            charge.notice_id.state == 'cancelled' and charge.state not in (*BOOKED_STATES, 'cancelled')))
        alive = self.filtered(lambda charge: charge.notice_id.state != 'cancelled')
        back = alive.filtered(lambda charge: not charge.notice_id.is_counted and (
            charge.state == 'claimed' or (charge.state == 'waived' and charge._is_left_out())))
        arrived = alive.filtered(lambda charge: charge.notice_id.is_counted and charge.state == 'draft')
        cancelled._set_cancelled()
        back._set_draft()
        (cancelled | back)._release_replaced()
        arrived._replace_earlier()
        arrived._lower_set_off()
        arrived._lower_by_taken()
        # What leaves once more, counts once more.
        arrived.filtered('is_past').sudo().is_past = False
        left_out = arrived.filtered(lambda charge: charge._is_left_out())
        for reason, charges in left_out.grouped('reason').items():
            charges._set_waived(reason)
        (arrived - left_out)._set_claimed()

    def _is_left_out(self):
        """Whether the notice was made without it."""
        self.ensure_one()
        return self.currency_id.is_zero(self.amount)

    def _replace_earlier(self, among=None):
        """Put charges that count in the place of the earlier ones for which they stand.

        :param among: `dunning.charge`: only of these
        """
        for charge, earlier in self._find_replaced().items():
            (earlier if among is None else earlier & among)._set_replaced(charge)

    def _release_replaced(self):
        """Ask again for that for which these stood, as far as its own notice counts. What took the place of these takes
        the place of what it stands for as well."""
        released = self.search([('replaced_by_id', 'in', self.ids), ('state', '=', 'replaced')])
        if not released:
            return
        released._set_claimed()
        released._follow_notice()
        standing = (self.replaced_by_id - self).filtered(lambda charge: charge.state not in ('draft', 'cancelled'))
        standing._replace_earlier(among=released)

    def _find_replaced(self, condition=None):
        """Find the earlier charges for which these stand: interest of the same item, which contains it, the fee of an
        earlier notice of the same items where the level's fee is single, and fees that a lump sum was set off against.

        What stands on the notice beside them is asked for by itself, and what they keep stays. A fee that was left out
        stands for nothing.

        :param condition: :class:`~odoo.tools.SQL` on the earlier charge `c`, by default what is claimed
        :return: dict `dunning.charge` of these -> earlier ones
        """
        if not self:
            return {}
        self.flush_model()
        for model_name in ('dunning.notice', 'dunning.notice.line', 'dunning.level'):
            self.env[model_name].flush_model()
        found = {}
        for charge_id, earlier_ids in self.env.execute_query(SQL(
                """
                -- In steps, each small: what was joined at once would not know where to begin.
                WITH new AS MATERIALIZED (
                    SELECT own.id, own.kind, own.amount, own.move_line_id, own.company_id, own.notice_id, n.run_id,
                           n.partner_id, v.fee_method, COALESCE(own.kept_ids, '[]'::jsonb) AS kept_ids
                      FROM dunning_charge own
                      JOIN dunning_notice n ON n.id = own.notice_id
                      JOIN dunning_level v ON v.id = n.level_id
                     WHERE own.id = ANY(%s)),
                item AS MATERIALIZED (
                    SELECT DISTINCT new.id, line.move_line_id
                      FROM new
                      JOIN dunning_notice n ON n.run_id = new.run_id AND n.partner_id = new.partner_id
                      JOIN dunning_notice_line line ON line.notice_id = n.id AND line.kind = 'due'
                     WHERE new.amount > 0 AND (
                           new.kind = 'fee' AND new.fee_method = 'single'
                           OR new.kind = 'lump_sum' AND line.move_line_id = new.move_line_id)),
                earlier AS MATERIALIZED (
                    SELECT new.id, c.id AS charge_id
                      FROM new
                      JOIN dunning_charge c ON c.move_line_id = new.move_line_id AND c.kind = 'interest'
                       AND c.is_past IS NOT TRUE
                     WHERE new.kind = 'interest'
                     UNION
                    SELECT item.id, c.id
                      FROM item
                      JOIN dunning_notice_line line ON line.move_line_id = item.move_line_id AND line.kind = 'due'
                       AND line.is_past IS NOT TRUE
                      JOIN dunning_charge c ON c.notice_id = line.notice_id AND c.kind = 'fee')
                SELECT new.id, ARRAY_AGG(c.id ORDER BY c.id)
                  FROM earlier
                  JOIN new ON new.id = earlier.id
                  JOIN dunning_charge c ON c.id = earlier.charge_id AND c.company_id = new.company_id
                   AND %s AND c.notice_id <> new.notice_id
                  JOIN dunning_notice n ON n.id = c.notice_id AND n.is_counted
                 WHERE (c.kind <> 'fee' OR n.run_id <> new.run_id) AND NOT new.kept_ids @> TO_JSONB(c.id)
                   AND NOT EXISTS (SELECT 1 FROM dunning_notice_line line
                                    WHERE line.notice_id = new.notice_id AND line.charge_id = c.id)
                 GROUP BY new.id
                """, self.ids, condition or SQL("c.state = 'claimed' AND c.is_entry_draft IS NOT TRUE"))):
            found[self.browse(charge_id)] = self.browse(earlier_ids)
        return found

    def _lower_set_off(self):
        """Lower the earlier fees against which a lump sum was set off in part to what the notice names of them."""
        for notice, lump_sums in self.filtered(
                lambda charge: charge.kind == 'lump_sum' and charge.amount).grouped('notice_id').items():
            kept = {charge_id for charge in lump_sums for charge_id in charge.kept_ids or ()}
            for line in notice.charge_line_ids:
                fee = line.charge_id
                if (fee.kind == 'fee' and fee.state == 'claimed' and not fee.is_entry_draft
                        and fee.notice_id != notice and fee.id not in kept
                        and fee.currency_id.compare_amounts(line.amount_residual, fee.amount) < 0
                        and fee.notice_id.due_line_ids.move_line_id & lump_sums.move_line_id):
                    fee.sudo().write({'amount': line.amount_residual, 'reason': self.env._(
                        "Set off against the lump sum of %s.", notice.display_name)})

    # === WHAT ITEMS HAVE === #

    @api.model
    def _read_of_items(self, line_ids, notices=None):
        """Read what notices ask, or asked, for items beside the items themselves.

        :param list line_ids: ids of `account.move.line`
        :param notices: `dunning.notice`: what these ask for themselves does not count
        :return: three dicts by id of the item: what was given up or paid of its interest, is in the books, or was
            reversed there; what is asked for as its interest; its lump sum, 0 where it was given up or reversed
        """
        taken, claimed, lump_sums = {}, {}, {}
        self.flush_model()
        self.env['dunning.notice'].flush_model(['state'])
        for line_id, kind, state, amount, waived, is_past in self.env.execute_query(SQL(
                """
                SELECT c.move_line_id, c.kind, CASE WHEN c.is_entry_draft AND c.state = 'claimed' THEN 'booked'
                       ELSE c.state END, c.amount::float, c.amount_waived::float, c.is_past
                  FROM dunning_charge c
                  JOIN dunning_notice n ON n.id = c.notice_id
                 WHERE c.move_line_id = ANY(%s) AND c.kind IN ('interest', 'lump_sum') AND c.state <> 'draft'
                   -- Where its notice stands, the accountant has reversed it.
                   AND (c.state <> 'cancelled' OR n.state <> 'cancelled')
                   AND NOT (c.state = 'waived' AND c.is_unowed IS TRUE)
                   AND (c.notice_id <> ALL(%s) OR c.state NOT IN ('claimed', 'replaced'))
                """, line_ids, notices.ids if notices else [])):
            if kind == 'lump_sum':
                is_asked = state not in ('waived', 'lapsed', 'cancelled')
                lump_sums[line_id] = lump_sums.get(line_id, 0.0) + (amount if is_asked else 0.0)
            elif not is_past:
                taken[line_id] = taken.get(line_id, 0.0) + (waived or 0.0) + (
                    amount if state in (*BOOKED_STATES, 'cancelled') else 0.0)
                if state == 'claimed':
                    claimed[line_id] = claimed.get(line_id, 0.0) + amount
        return taken, claimed, lump_sums

    @api.model
    def _begin_anew(self, lines):
        """Let interest stand by itself whose item starts again at the first level, where a notice begins the default.

        :param lines: `dunning.notice.line` that do not count for their items any more
        """
        interest = self.search([
            ('kind', '=', 'interest'), ('notice_id', 'in', lines.notice_id.ids),
            ('move_line_id', 'in', lines.move_line_id.ids)])
        interest.filtered(lambda charge: charge.level_id.procedure_id._get_interest_profile(
            charge.company_id).begin in ('notice', 'deadline')).is_past = True

    # === WHAT LAPSES === #

    @api.model
    def _process(self):
        """Correct what was claimed by what is known now, and let charges lapse whose items were settled long ago; the
        scheduled action of each day."""
        charges = self.search([
            '|', ('state', 'in', ('claimed', 'booked')),
            '&', ('state', '=', 'paid'), ('move_line_booked_id', '!=', False)])
        for method in ('_correct', '_lapse'):
            self.env['dunning.promise']._do_each(charges.grouped('company_id').values(), method)

    def _lapse(self):
        """Let those of one company's charges lapse whose items were settled long ago."""
        company = self.company_id
        if days := company.dunning_lapse_days:
            own = self.with_context(lang=company.partner_id.lang)
            own._find_lapsed(company)._set_lapsed(own.env._("Its items were settled more than %s days ago.", days))

    @api.model
    def _find_lapsed(self, company):
        """Find claimed charges of which nothing was paid and whose items are all settled for longer than the company
        waits.

        :param company: `res.company`
        """
        self.flush_model()
        for model_name in ('dunning.notice', 'dunning.notice.line', 'account.move.line', 'account.partial.reconcile'):
            self.env[model_name].flush_model()
        last_day = company._get_dunning_day() - timedelta(days=company.dunning_lapse_days)
        return self.browse(row[0] for row in self.env.execute_query(SQL(
            """
            SELECT c.id
              FROM dunning_charge c
              LEFT JOIN LATERAL (
                   -- Whose entry was reset to draft will be open again.
                   SELECT BOOL_OR(aml.parent_state = 'draft' OR aml.parent_state = 'posted'
                                  AND aml.reconciled IS NOT TRUE AND aml.amount_residual_currency <> 0) AS is_open,
                          MAX((SELECT MAX(part.max_date) FROM account_partial_reconcile part
                                WHERE part.debit_move_id = aml.id AND part.debit_amount_currency <> 0)) AS settled_on
                     FROM dunning_notice_line l
                     JOIN account_move_line aml ON aml.id = l.move_line_id
                    WHERE l.notice_id = c.notice_id AND l.kind = 'due'
                      AND (c.move_line_id IS NULL OR l.move_line_id = c.move_line_id)) item ON TRUE
             WHERE c.state = 'claimed' AND c.is_entry_draft IS NOT TRUE AND c.company_id = %s
               AND item.is_open IS NOT TRUE
               AND COALESCE(item.settled_on, c.date) < %s
               -- What is paid does not lapse.
               AND NOT EXISTS (SELECT 1 FROM (%s) AS cover
                                JOIN account_move_line aml ON aml.id = cover.credit_id
                               WHERE cover.charge_id = c.id AND aml.reconciled IS NOT TRUE
                                 AND aml.amount_residual_currency < 0)
            """, company.id, last_day, self._get_cover_query())))

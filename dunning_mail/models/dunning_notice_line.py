
from odoo import api, fields, models
from odoo.exceptions import UserError
from odoo.tools import format_amount, format_date


class DunningNoticeLine(models.Model):
    """One receivable item on a notice, as it stood."""
    _name = 'dunning.notice.line'
    _description = 'Dunning Notice Line'
    _inherit = ['dunning.guard']
    _order = 'notice_id, sequence, date_due, id'
    # A run writes a hundred thousand of them: who changed what stands in the notice and its chatter.
    _log_access = False

    notice_id = fields.Many2one('dunning.notice', required=True, ondelete='cascade', index=True)
    company_id = fields.Many2one(related='notice_id.company_id')
    currency_id = fields.Many2one(related='notice_id.currency_id')
    state = fields.Selection(related='notice_id.state')
    sequence = fields.Integer(
        readonly=True, help="Due items first, then credits, charges, and what is for information.")
    kind = fields.Selection(
        [('due', 'Due'), ('credit', 'Credit'), ('charge', 'Charge'), ('info', 'For information')],
        required=True, default='due', readonly=True)
    move_line_id = fields.Many2one('account.move.line', ondelete='restrict', index=True, readonly=True)
    move_id = fields.Many2one(related='move_line_id.move_id', string="Invoice")
    charge_id = fields.Many2one(
        'dunning.charge', ondelete='cascade', index='btree_not_null', readonly=True,
        help="What is asked for beside the items: of this notice, or of an earlier one.")
    charge_kind = fields.Selection(related='charge_id.kind', string="Kind of Charge")
    charge_state = fields.Selection(related='charge_id.state', string="State of Charge")
    is_earlier_charge = fields.Boolean(compute='_compute_is_earlier_charge')
    payment_id = fields.Many2one(
        'account.payment', ondelete='set null', index='btree_not_null', readonly=True,
        help="A payment that is registered and not in the books yet.")
    name = fields.Char("Document", readonly=True)
    date_invoice = fields.Date("Date", readonly=True)
    date_due = fields.Date("Due Date", readonly=True)
    days_overdue = fields.Integer(readonly=True)
    amount_invoiced = fields.Monetary("Invoiced", readonly=True)
    amount_residual = fields.Monetary("Open", readonly=True)
    amount_resting = fields.Monetary("Rests", readonly=True, help="What of the item is left out of the claim.")
    amount_contested = fields.Monetary("Contested", readonly=True, help="What of that the customer contests.")
    rest_info = fields.Char("Why It Rests", readonly=True)
    level_id = fields.Many2one('dunning.level', ondelete='restrict', readonly=True)
    previous_level_id = fields.Many2one('dunning.level', ondelete='restrict', readonly=True)
    previous_date = fields.Date("Last Dunned On", readonly=True)
    previous_notice_id = fields.Many2one(
        'dunning.notice', ondelete='set null', index='btree_not_null', readonly=True,
        help="The last notice that counted when this one was proposed.")
    is_level_set = fields.Boolean("Level Set by Hand", readonly=True)
    level_reason = fields.Char("Why This Level", compute='_compute_level_reason')
    is_past = fields.Boolean(
        readonly=True, copy=False, help="The item has started again since: the level of this notice does not count for "
        "it any more.")
    is_reserved = fields.Boolean(
        readonly=True, copy=False, default=False,
        help="The item is on a notice that has not reached the customer yet; no other notice may take it.")

    # Two runs that propose at the same time cannot both get an item: the later one fails and is told so.
    _reserved_unique = models.UniqueIndex(
        '(move_line_id) WHERE is_reserved',
        "An item is already on another open dunning notice. Generate the notices again.")

    @api.model_create_multi
    def create(self, vals_list):
        lines = super().create(vals_list)
        lines.notice_id._update_reserved()
        return lines

    @api.depends('charge_id.notice_id', 'notice_id')
    def _compute_is_earlier_charge(self):
        for line in self:
            line.is_earlier_charge = line.charge_id.notice_id != line.notice_id

    @api.depends(
        'kind', 'payment_id', 'days_overdue', 'level_id', 'previous_level_id', 'previous_date', 'notice_id.date',
        'rest_info')
    def _compute_level_reason(self):
        for line in self:
            level, previous = line.level_id, line.previous_level_id
            day = format_date(self.env, line.previous_date) if line.previous_date else ''
            if line.kind == 'charge':
                line.level_reason = line._describe_charge()
            elif line.payment_id:
                line.level_reason = self.env._("On its way: registered as a payment, not in the books yet.")
            elif line.kind == 'credit':
                line.level_reason = self.env._("Set off against the oldest items.")
            elif line.kind == 'info':
                line.level_reason = self.env._(
                    "Overdue, but not due for the next level yet (“%(level)s” on %(day)s).", level=previous.name,
                    day=day) if previous else self.env._("Overdue, but not due for a notice yet.")
            elif line.is_level_set:
                line.level_reason = self.env._("Set by hand: %s", line.notice_id.level_change_reason or '')
            elif not previous:
                line.level_reason = self.env._(
                    "%(days)s days overdue, “%(level)s” is due after %(delay)s.", days=line.days_overdue,
                    level=level.name, delay=level.delay_days)
            else:
                days = (line.notice_id.date - line.previous_date).days if line.previous_date else 0
                line.level_reason = self.env._(
                    "%(days)s days after “%(previous)s” of %(day)s, whose deadline is over; “%(level)s” is due after "
                    "%(delay)s.", days=days, previous=previous.name, day=day, level=level.name,
                    delay=level.delay_days)
            if line.rest_info:
                line.level_reason = f'{line.level_reason} {line.rest_info}'

    def _describe_left_out(self):
        """Say to the customer what of the item is not claimed; empty where all of it is.

        :return: text in the language of the environment
        """
        self.ensure_one()
        currency, words = self.currency_id, []
        other = currency.round(self.amount_resting - self.amount_contested)
        if self.kind not in ('due', 'info'):
            return ''
        if currency.compare_amounts(self.amount_contested, 0) > 0:
            words.append(self.env._(
                "without the contested amount of %s", format_amount(self.env, self.amount_contested, currency)))
        if currency.compare_amounts(other, 0) > 0:
            words.append(self.env._(
                "without %s that is not claimed at present", format_amount(self.env, other, currency)))
        return ', '.join(words)

    @api.ondelete(at_uninstall=False)
    def _unlink_only_from_draft(self):
        if self.env.context.get('dunning_replace_lines') and self.env.su:
            return
        for line in self:
            if line.notice_id.state not in ('draft', 'excluded'):
                raise UserError(self.env._(
                    "Dunning notice %s has been issued, its lines are fixed. Cancel the notice and make a new run.",
                    line.notice_id.display_name))

    def action_take_out(self):
        """Take lines out of a draft. The last due line cannot be: exclude the notice instead.

        :raise UserError: the notice is not a draft, no dunning notice, or nothing would be left to claim
        """
        self.notice_id.check_access('write')
        self.notice_id._check_put_together()
        for notice in self.notice_id:
            if notice.state != 'draft':
                raise UserError(self.env._(
                    "Dunning notice %s is not a draft, its lines are fixed.", notice.display_name))
            if any(line.kind == 'charge' for line in self if line.notice_id == notice):
                raise UserError(self.env._(
                    "A charge cannot be taken out of the notice for %s. Press “Change” beside it, or waive it.",
                    notice.partner_id.display_name))
            # Credits follow what they are set off against.
            of_notice = self.filtered(lambda line, notice=notice: line.notice_id == notice)
            lines = of_notice.filtered(lambda line: line.kind != 'credit')
            credits = [(line.move_line_id, line.payment_id) for line in of_notice - lines]
            if not lines:
                raise UserError(self.env._(
                    "Credits cannot be taken out of the notice for %s: they are set off against its oldest items.",
                    notice.partner_id.display_name))
            if notice.due_line_ids <= lines:
                raise UserError(self.env._(
                    "Nothing would be left to claim on the notice for %s. Exclude the notice instead.",
                    notice.partner_id.display_name))
            notice._message_log(body=self.env._("Taken out: %s", ', '.join(line.name or '' for line in lines)))
            self.env['dunning.run.exception'].sudo().create([
                line._prepare_taken_out_values() for line in lines if notice.run_id])
            lines.sudo().unlink()
            verdict = notice._recheck(keep_dates=True)[notice.id]
            # Credits that were set off against what was taken out leave with it, and its charges.
            notice._take_over(verdict)
            if again := notice.credit_line_ids.filtered(lambda line, credits=credits: (
                    (line.move_line_id, line.payment_id) in credits)):
                raise UserError(self.env._(
                    "%(credit)s cannot be taken out of the notice for %(partner)s: it is set off against the oldest "
                    "items that are left. Reconcile it with what it belongs to, or choose the items alone.",
                    credit=again[0].name, partner=notice.partner_id.display_name))
            notice._update_level_from_lines()
            notice._judge_fees_anew()
            notice.sudo().is_edited = True

    def _prepare_taken_out_values(self):
        """Values of the `dunning.run.exception` that says that the line was taken out, and can put it back."""
        self.ensure_one()
        notice = self.notice_id
        return {
            'run_id': notice.run_id.id,
            'partner_id': notice.partner_id.id,
            'currency_id': notice.currency_id.id,
            'move_line_id': self.move_line_id.id,
            'amount': self.amount_residual,
            'date_due': self.date_due,
            'document': self.name,
            'notice_id': notice.id,
            'line_values': {
                'kind': self.kind, 'level_id': self.level_id.id, 'previous_level_id': self.previous_level_id.id,
                'previous_date': fields.Date.to_string(self.previous_date),
                'previous_notice_id': self.previous_notice_id.id, 'is_level_set': self.is_level_set},
            'reason': 'taken_out',
            'description': self.env._("Taken out of the notice by %s.", self.env.user.name),
        }

    def _describe_charge(self):
        """Say how a charge comes to be on this notice."""
        self.ensure_one()
        charge = self.charge_id
        if charge.notice_id != self.notice_id:
            return self.env._(
                "Claimed on %(day)s, by %(notice)s.", day=format_date(self.env, charge.date),
                notice=charge.notice_id.display_name)
        if charge.reason:
            return charge.reason
        if charge.date_to:
            return self.env._(
                "From %(start)s to %(end)s.", start=format_date(self.env, charge.date_from),
                end=format_date(self.env, charge.date_to))
        return False

    def action_change_charge(self):
        """Ask for another amount of the charge, and the reason."""
        return self.charge_id.action_change()

    def action_waive_charge(self):
        """Ask for the reason why the charge is given up."""
        return self.charge_id.action_waive()

    def action_book_charge(self):
        """Book the charge."""
        return self.charge_id.action_book()

    def action_open_move(self):
        self.ensure_one()
        if self.charge_id:
            return self.charge_id.action_show_calculation()
        return self.move_id.get_formview_action()

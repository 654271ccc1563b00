from collections import defaultdict

from odoo import api, fields, models
from odoo.exceptions import LockError, UserError, ValidationError
from odoo.tools import format_date

from .dunning_level import MAX_DAYS


class DunningRun(models.Model):
    """One date, one company, many notices.

    ========== ============================================== ==================================
    state      means                                          left by
    ========== ============================================== ==================================
    draft      nothing proposed yet                           `action_generate_notices()`
    proposed   notices are there, a person reviews them       `action_print_and_send()`
    processing being issued, or notices are on their way      `_update_state()`
    done       every notice is where it should be             `_update_state()` (a retry reopens)
    cancelled  given up; what went out stays what it is       --
    ========== ============================================== ==================================
    """
    _name = 'dunning.run'
    _description = 'Dunning Run'
    _inherit = ['dunning.guard', 'mail.thread', 'mail.activity.mixin']
    _order = 'date desc, id desc'
    _check_company_auto = True

    # What a person may change until something of the run is issued; everything else is written by methods.
    _EDITABLE_UNISSUED = frozenset({'name', 'date', 'due_until', 'procedure_ids', 'partner_ids', 'user_id'})
    # Notices that keep an issued run from being done.
    _UNFINISHED = [
        ('state', '=', 'issued'),
        '|', ('delivery_state', 'in', ('released', 'sending', 'unclear')),
        '&', ('delivery_state', '=', 'paper'), ('printed_at', '=', False)]

    name = fields.Char(required=True, copy=False, default=lambda self: self.env._("New"))
    company_id = fields.Many2one(
        'res.company', required=True, readonly=True, default=lambda self: self.env.company, index=True)
    user_id = fields.Many2one(
        'res.users', string="Clerk", required=True, default=lambda self: self.env.user, tracking=True,
        check_company=True, help="Who stands on the letters and is told what fails.")
    date = fields.Date(required=True, default=lambda self: self.env.company._get_dunning_day(), tracking=True)
    due_until = fields.Date(
        required=True, compute='_compute_due_until', store=True, precompute=True, readonly=False, tracking=True,
        help="Items that are due on or before this day.")
    procedure_ids = fields.Many2many(
        'dunning.procedure', string="Procedures", check_company=True, ondelete='restrict',
        help="Only customers with these procedures. Empty: all.")
    partner_ids = fields.Many2many(
        'res.partner', string="Customers", ondelete='restrict', help="Only these customers. Empty: all.")
    state = fields.Selection(
        [('draft', 'New'), ('proposed', 'Proposed'), ('processing', 'Processing'), ('done', 'Done'),
         ('cancelled', 'Cancelled')],
        required=True, default='draft', readonly=True, copy=False, tracking=True, index=True)
    is_issuing = fields.Boolean(readonly=True, copy=False)
    issue_total = fields.Integer(readonly=True, copy=False)
    schedule_id = fields.Many2one('dunning.schedule', readonly=True, copy=False, index='btree_not_null')
    notice_ids = fields.One2many('dunning.notice', 'run_id', string="Notices", readonly=True, copy=False)
    exception_ids = fields.One2many(
        'dunning.run.exception', 'run_id', string="Exceptions", readonly=True, copy=False)
    provider_id = fields.Many2one(related='company_id.dunning_provider_id', string="Service Provider")

    notice_count = fields.Integer("Number of Notices", compute='_compute_counts')
    draft_count = fields.Integer("To Issue", compute='_compute_counts')
    problem_count = fields.Integer("With Problems", compute='_compute_counts')
    released_count = fields.Integer("Released", compute='_compute_counts')
    paper_count = fields.Integer("Paper", compute='_compute_counts')
    unprinted_count = fields.Integer("To Print", compute='_compute_counts')
    sending_count = fields.Integer("Sending", compute='_compute_counts')
    sent_count = fields.Integer("Sent", compute='_compute_counts')
    failed_count = fields.Integer("Failed", compute='_compute_counts')
    unclear_count = fields.Integer("Unclear", compute='_compute_counts')
    edited_count = fields.Integer("Edited", compute='_compute_counts', help="Drafts that a person has changed.")
    cancelled_count = fields.Integer("Cancelled", compute='_compute_counts')
    exception_count = fields.Integer("Number of Exceptions", compute='_compute_exception_count')
    progress = fields.Float(compute='_compute_counts', help="Per cent of the notices that are where they should be.")
    is_moving = fields.Boolean(compute='_compute_counts', help="Something changes without the user's doing.")

    # === COMPUTES === #

    @api.depends('date')
    def _compute_due_until(self):
        for run in self:
            run.due_until = run.date

    @api.depends('notice_ids.state', 'notice_ids.delivery_state', 'notice_ids.printed_at', 'notice_ids.problem',
                 'is_issuing', 'issue_total')
    def _compute_counts(self):
        counts = defaultdict(lambda: defaultdict(int))
        Notice = self.env['dunning.notice']
        for run, state, delivery_state, count in Notice._read_group(
                [('run_id', 'in', self.ids)], ['run_id', 'state', 'delivery_state'], ['__count']):
            counts[run.id][state if state != 'issued' else delivery_state] += count
        unprinted = dict(Notice._read_group(
            [('run_id', 'in', self.ids), ('state', '=', 'issued'), ('delivery_state', '=', 'paper'),
             ('printed_at', '=', False)], ['run_id'], ['__count']))
        problems = dict(Notice._read_group(
            [('run_id', 'in', self.ids), ('state', '=', 'draft'), ('problem', '!=', False)], ['run_id'], ['__count']))
        edited = dict(Notice._read_group(
            [('run_id', 'in', self.ids), ('state', '=', 'draft'), ('is_edited', '=', True)], ['run_id'], ['__count']))
        for run in self:
            count = counts[run.id]
            run.edited_count = edited.get(run, 0)
            run.notice_count = sum(count.values())
            run.draft_count = count['draft']
            run.problem_count = problems.get(run, 0)
            run.unprinted_count = unprinted.get(run, 0)
            for state in ('released', 'paper', 'sending', 'sent', 'failed', 'unclear', 'cancelled'):
                run[f'{state}_count'] = count[state]
            counted = run.notice_count - count['excluded'] - count['cancelled']
            arrived = (
                count['sent'] + count['paper'] - run.unprinted_count + count['failed'] + count['unclear'])
            if run.is_issuing:
                run.progress = 100.0 * (1 - count['draft'] / run.issue_total) if run.issue_total else 0.0
            else:
                run.progress = 100.0 * arrived / counted if counted else 0.0
            run.is_moving = run.is_issuing or bool(count['released'] or count['sending'])

    def _compute_exception_count(self):
        counts = dict(self.env['dunning.run.exception']._read_group(
            [('run_id', 'in', self.ids)], ['run_id'], ['__count']))
        for run in self:
            run.exception_count = counts.get(run, 0)

    # === CRUD === #

    @api.constrains('date', 'due_until')
    def _check_dates(self):
        for run in self:
            today = run._get_today()
            for day in filter(None, (run.date, run.due_until)):
                if abs((day - today).days) > MAX_DAYS:
                    raise ValidationError(self.env._(
                        "Dunning run %(run)s: %(day)s is more than ten years away.", run=run.name,
                        day=format_date(self.env, day)))

    def _get_writable_fields(self):
        if any(run._is_fixed() for run in self):
            return super()._get_writable_fields()
        return super()._get_writable_fields() | self._EDITABLE_UNISSUED | (set() if self else {'company_id'})

    def _is_fixed(self):
        """Whether something of the run was issued, so that it is part of the evidence."""
        self.ensure_one()
        return self.state not in ('draft', 'proposed') or self._has_notice([('state', 'not in', ('draft', 'excluded'))])

    def _raise_closed(self, fnames):
        if self._EDITABLE_UNISSUED.issuperset(fnames) and (fixed := self.filtered(lambda run: run._is_fixed())):
            raise UserError(self.env._(
                "Notices of dunning run %s have been issued; its dates, filters and clerk are fixed. Make a new run.",
                fixed[0].name))
        return super()._raise_closed(fnames)

    @api.model_create_multi
    def create(self, vals_list):
        new = self.env._("New")
        for vals in vals_list:
            if vals.get('name', new) == new:
                company = self.env['res.company'].browse(vals.get('company_id') or self.env.company.id)
                day = fields.Date.to_date(vals.get('date'))
                # The sequence does not understand a year of fewer than four digits; the dates' check says it in words.
                vals['name'] = self.env['ir.sequence'].with_company(company).next_by_code(
                    'dunning.run', sequence_date=day if day and day.year > 999 else None)
        return super().create(vals_list)

    @api.ondelete(at_uninstall=False)
    def _unlink_only_unissued(self):
        for run in self:
            if run.notice_ids.filtered(lambda notice: notice.state not in ('draft', 'excluded')):
                raise UserError(self.env._(
                    "Notices of dunning run %s have been issued and are kept as evidence. Cancel the run instead.",
                    run.name))

    def unlink(self):
        self._unlink_only_unissued()
        self.sudo().notice_ids.unlink()
        return super().unlink()

    # === STATE === #

    def _lock(self):
        """Keep others from working on these runs at the same time.

        :raise UserError: somebody does already
        """
        try:
            self.lock_for_update(allow_referencing=True)
        except LockError:
            raise UserError(self.env._(
                "Somebody else is working on this dunning run right now. Try again in a moment.")) from None

    def _update_state(self):
        """Derive the state of runs from their notices."""
        for run in self.sudo():
            if run.state in ('draft', 'cancelled') or run.is_issuing:
                continue
            if run._has_notice([('state', '=', 'draft')]):
                # Not yet printed and sent, or something could not be issued: a person's turn.
                state = 'proposed'
            elif run._has_notice(self._UNFINISHED):
                state = 'processing'
            else:
                state = 'done'
            if run.state != state:
                run.state = state

    def _get_today(self):
        """Return the company's day."""
        self.ensure_one()
        return self.company_id._get_dunning_day(user=self.user_id)

    def _has_notice(self, domain):
        self.ensure_one()
        return bool(self.env['dunning.notice'].search_count([('run_id', '=', self.id), *domain], limit=1))

    def action_cancel(self):
        """Give a run up: drafts are removed, what is released is cancelled, what went out stays what it is."""
        self.check_access('write')
        for run in self:
            run._lock()
            notices = run.sudo().notice_ids
            notices.filtered(lambda notice: notice.state in ('draft', 'excluded')).unlink()
            waiting = notices.exists().filtered(lambda notice: notice.state == 'issued' and (
                notice.delivery_state == 'released'
                or (notice.delivery_state == 'paper' and not notice.printed_at)))
            run.sudo().write({'state': 'cancelled', 'is_issuing': False})
            waiting._cancel(self.env._("The dunning run was cancelled by %s.", self.env.user.name))

    # === VIEWS === #

    def action_preview(self):
        """Show what the run would do on another date, without writing anything."""
        self.ensure_one()
        return {
            'type': 'ir.actions.act_window',
            'name': self.env._("Preview on Another Date"),
            'res_model': 'dunning.run.preview',
            'view_mode': 'form',
            'target': 'new',
            'context': {'default_run_id': self.id},
        }

    def action_open_notices(self):
        """Open the notices, filtered by the delivery state in the context (`dunning_delivery_state`), or `to_print`."""
        self.ensure_one()
        action = self.env['ir.actions.act_window']._for_xml_id('dunning_mail.dunning_notice_action')
        action['domain'] = [('run_id', '=', self.id)]
        action['context'] = {}
        state = self.env.context.get('dunning_delivery_state')
        if state == 'cancelled':
            action['domain'] += [('state', '=', 'cancelled')]
        elif state:
            is_to_print = state == 'to_print'
            action['domain'] += [
                ('state', '=', 'issued'), ('delivery_state', '=', 'paper' if is_to_print else state),
                *([('printed_at', '=', False)] if is_to_print else [])]
        return action

    def action_open_exceptions(self):
        self.ensure_one()
        action = self.env['ir.actions.act_window']._for_xml_id('dunning_mail.dunning_run_exception_action')
        action['domain'] = [('run_id', '=', self.id)]
        action['context'] = {}
        return action

import logging
from collections import defaultdict
from datetime import timedelta

from psycopg2 import errors as pg_errors

from odoo import api, fields, models
from odoo.exceptions import LockError, UserError, ValidationError
from odoo.tools import SQL, format_date, format_datetime

from ..tools import pdf
from ..tools.dates import count_working_days
from .dunning_level import MAX_DAYS
from .sets import insert_in_sets

_logger = logging.getLogger(__name__)

# Up to here a run is issued while the clerk waits; larger ones go on in the background.
ISSUE_AT_ONCE = 50
# A bank statement older than this many working days does not know what was paid since.
STATEMENT_WORKING_DAYS = 3
# Notices in one transaction of the background job.
ISSUE_BATCH = 50


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
        help="Who stands on the letters and is told what fails.")
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
    proposed_for = fields.Char(readonly=True, copy=False, help="Dates and filters of the proposal.")
    is_stale = fields.Boolean(
        compute='_compute_is_stale', help="Dates or filters were changed after the notices were generated.")
    schedule_id = fields.Many2one('dunning.schedule', readonly=True, copy=False, index='btree_not_null')
    notice_ids = fields.One2many('dunning.notice', 'run_id', string="Notices", readonly=True, copy=False)
    exception_ids = fields.One2many(
        'dunning.run.exception', 'run_id', string="Exceptions", readonly=True, copy=False)
    provider_id = fields.Many2one(related='company_id.dunning_provider_id', string="Service Provider")
    provider_warning = fields.Text(compute='_compute_provider_warning')
    payment_warning = fields.Text(compute='_compute_payment_warning')
    attachment_warning = fields.Text(compute='_compute_attachment_warning')

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
    moving_info = fields.Char(compute='_compute_moving_info')

    # === COMPUTES === #

    @api.depends('date')
    def _compute_due_until(self):
        for run in self:
            run.due_until = run.date

    @api.depends('state', 'date', 'due_until', 'procedure_ids', 'partner_ids', 'proposed_for')
    def _compute_is_stale(self):
        for run in self:
            run.is_stale = run.state == 'proposed' and run.proposed_for != run._get_proposal_key()

    def _get_proposal_key(self):
        """Return dates and filters in a form that can be compared."""
        self.ensure_one()
        return f'{self.date} {self.due_until} {sorted(self.procedure_ids.ids)} {sorted(self.partner_ids.ids)}'

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

    @api.depends('is_moving', 'company_id')
    def _compute_moving_info(self):
        for run in self:
            run.moving_info = run._describe_moving() if run.is_moving else False

    def _describe_moving(self):
        """Say what the process engine is doing about the run, or waits for."""
        self.ensure_one()
        if self.is_issuing:
            return self.env._("The notices are being made. You may close this page, nothing is lost.")
        waiting = self.env['dunning.notice'].sudo().search(
            [('run_id', '=', self.id), ('state', '=', 'issued'), ('delivery_state', '=', 'released')],
            order='next_attempt_at NULLS FIRST', limit=1)
        provider = waiting.provider_id
        if not self.sending_count and provider and (provider.state == 'paused' or provider._is_stranded()):
            return self.env._("The notices wait until their service provider sends again. Nothing is lost.")
        if not self.sending_count and waiting.next_attempt_at and waiting.next_attempt_at > fields.Datetime.now():
            return self.env._(
                "What is left waits for another attempt, the next one on %s. You may close this page, nothing is lost.",
                format_datetime(self.env, waiting.next_attempt_at, dt_format='short'))
        return self.env._("Notices are on their way, one mail at a time. You may close this page, nothing is lost.")

    def _compute_exception_count(self):
        counts = dict(self.env['dunning.run.exception']._read_group(
            [('run_id', 'in', self.ids)], ['run_id'], ['__count']))
        for run in self:
            run.exception_count = counts.get(run, 0)

    @api.depends('company_id.dunning_provider_id.state', 'company_id.dunning_provider_id.redirect_to', 'released_count')
    def _compute_provider_warning(self):
        for run in self:
            provider = run.company_id.sudo().dunning_provider_id
            words = []
            if run.state in ('done', 'cancelled'):
                pass
            elif not provider or not provider.active:
                words.append(self.env._(
                    "No service provider for dunning mail is chosen in the settings: all notices go on paper."))
            else:
                if provider.state == 'paused':
                    words.append(self.env._(
                        "Service provider “%(name)s” is paused, no mail goes out: %(reason)s", name=provider.name,
                        reason=provider.pause_reason or ''))
                if provider.redirect_to:
                    words.append(self.env._(
                        "Trial mode: all mail of “%(name)s” goes to %(address)s instead of the customers.",
                        name=provider.name, address=provider.redirect_to))
            words += run._describe_stranded()
            run.provider_warning = '\n'.join(words)

    def _describe_stranded(self):
        """Say which released notices no engine will ever send.

        :return: list of str
        """
        self.ensure_one()
        counts = self.env['dunning.notice'].sudo()._read_group(
            [('run_id', '=', self.id), ('state', '=', 'issued'), ('delivery_state', '=', 'released')],
            ['provider_id'], ['__count'])
        return [
            self.env._(
                "%(count)s released notices wait for service provider “%(name)s”, which is archived or whose process "
                "engine is switched off. Activate it, or send them again through the present one.",
                count=count, name=provider.name)
            for provider, count in counts if provider._is_stranded()]

    @api.depends('company_id', 'date', 'state')
    def _compute_payment_warning(self):
        for run in self:
            run.payment_warning = run._get_payment_warning() if run.state in ('draft', 'proposed') else False

    @api.depends('state', 'notice_ids.state', 'notice_ids.level_id.attach_invoices')
    def _compute_attachment_warning(self):
        # Most companies attach none: nothing is counted then.
        is_wanted = bool(self.env['dunning.level'].sudo().search_count([('attach_invoices', '=', True)], limit=1))
        for run in self:
            count = run._count_items_without_pdf() if is_wanted and run.state == 'proposed' else 0
            run.attachment_warning = self.env._(
                "Items of invoices of which no PDF is stored: %s. Their notices go out without a copy; “Send” on the "
                "invoice stores one.", count) if count else False

    def _count_items_without_pdf(self):
        """Return how many items of the run's drafts have an invoice whose copy is wanted and not there."""
        self.ensure_one()
        for model_name in ('dunning.notice', 'dunning.notice.line', 'dunning.level', 'account.move', 'ir.attachment'):
            self.env[model_name].flush_model()
        [(count,)] = self.env.execute_query(SQL(
            """
            SELECT COUNT(*)
              FROM dunning_notice n
              JOIN dunning_level v ON v.id = n.level_id AND v.attach_invoices
              JOIN dunning_notice_line l ON l.notice_id = n.id AND l.kind = 'due'
              JOIN account_move_line aml ON aml.id = l.move_line_id
              JOIN account_move m ON m.id = aml.move_id AND m.move_type = ANY(%s)
             WHERE n.run_id = %s AND n.state = 'draft' AND NOT EXISTS (
                   SELECT 1 FROM ir_attachment a
                    WHERE a.res_model = 'account.move' AND a.res_id = m.id AND a.res_field = 'invoice_pdf_report_file')
            """, list(self.env['account.move'].get_sale_types(include_receipts=True)), self.id))
        return count

    def _get_payment_warning(self):
        """Say why payments may be missing from the books: old bank statements, or payments nobody has assigned.

        :return: text, or False
        """
        self.ensure_one()
        StatementLine = self.env['account.bank.statement.line'].sudo()
        domain = [('company_id', 'child_of', self.company_id.ids)]
        words = []
        newest = StatementLine.search([*domain, ('move_id.state', '=', 'posted')], order='date desc', limit=1).date
        if newest and count_working_days(newest, self._get_today()) > STATEMENT_WORKING_DAYS:
            words.append(self.env._(
                "The newest bank transaction is of %s: later payments are missing.", format_date(self.env, newest)))
        unreconciled = StatementLine.search_count([
            *domain, ('move_id.state', '=', 'posted'), ('is_reconciled', '=', False), ('amount', '>', 0)])
        if unreconciled:
            words.append(self.env._(
                "Incoming bank transactions that are not reconciled: %s. They may be payments of these invoices.",
                unreconciled))
        return '\n'.join(words) or False

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

    # === PROPOSAL === #

    def _lock(self):
        """Keep others from working on these runs at the same time.

        :raise UserError: somebody does already
        """
        try:
            self.lock_for_update(allow_referencing=True)
        except LockError:
            raise UserError(self.env._(
                "Somebody else is working on this dunning run right now. Try again in a moment.")) from None

    def action_generate_notices(self):
        """Propose the notices. Drafts of an earlier proposal are replaced, nothing else is touched.

        :return: notification for the web client
        :raise UserError: nothing can be proposed: names what is missing and where
        """
        self.check_access('write')
        found = 0
        for run in self:
            run._lock()
            run._check_ready()
            if run.state not in ('draft', 'proposed'):
                raise UserError(self.env._(
                    "Dunning run %s has been printed and sent. Make a new run for what is due now.", run.name))
            run = run.sudo().with_company(run.company_id)
            run._drop_proposal()
            try:
                notice_values, exception_values = self.env['dunning.proposal'].sudo().with_company(
                    run.company_id)._propose(run)
                with self.env.cr.savepoint():
                    notices = self.env['dunning.notice'].sudo()._insert_proposed(notice_values)
                    insert_in_sets(self.env['dunning.run.exception'].sudo(), exception_values)
            except pg_errors.UniqueViolation:
                raise UserError(self.env._(
                    "Another dunning run took some of the items at the same moment. Generate the notices again.",
                )) from None
            except pg_errors.ForeignKeyViolation:
                raise UserError(self.env._(
                    "A customer or an entry was deleted or merged at the same moment. Generate the notices again.",
                )) from None
            run.invalidate_recordset(['notice_ids', 'exception_ids'])
            run.write({'state': 'proposed', 'proposed_for': run._get_proposal_key()})
            found += len(notices)
        if found:
            message, kind = self.env._("Notices proposed: %s.", found), 'success'
        else:
            message, kind = self.env._(
                "No further notice is to be made on this date. The tab Exceptions says what is overdue and why it was "
                "left out.") if self.notice_ids else self.env._(
                "Nothing is to be dunned on this date. The tab Exceptions says what is overdue and why it was left "
                "out."), 'warning'
        return {
            'type': 'ir.actions.client',
            'tag': 'display_notification',
            'params': {'type': kind, 'message': message, 'next': {'type': 'ir.actions.client', 'tag': 'soft_reload'}},
        }

    def _drop_proposal(self):
        """Remove drafts and exceptions of an earlier proposal, in sets: what has history goes the ORM's way."""
        self.ensure_one()
        drafts = self.env['dunning.notice'].search([('run_id', '=', self.id), ('state', '=', 'draft')])
        used = set()
        for model in ('mail.message', 'mail.activity', 'mail.followers', 'ir.attachment'):
            fname = 'model' if model == 'mail.message' else 'res_model'
            used.update(self.env[model].sudo().search(
                [(fname, '=', 'dunning.notice'), ('res_id', 'in', drafts.ids)]).mapped('res_id'))
        drafts.filtered(lambda notice: notice.id in used).unlink()
        self.env.flush_all()
        self.env.execute_query(SQL(
            "DELETE FROM dunning_notice WHERE run_id = %s AND state = 'draft' RETURNING id", self.id))
        # With the drafts went what had been taken out of them. What was taken out of excluded notices can still be put
        # back.
        self.env.execute_query(SQL(
            """
            DELETE FROM dunning_run_exception e
             WHERE e.run_id = %s AND NOT (e.reason = 'taken_out' AND EXISTS (
                   SELECT 1 FROM dunning_notice n WHERE n.id = e.notice_id AND n.state = 'excluded'))
            RETURNING id
            """, self.id))
        self.env.invalidate_all(flush=False)

    def _check_ready(self):
        """Check what can be checked before anything is proposed.

        :raise UserError: names company, procedure, level and language, and where to mend it
        """
        for run in self:
            company = run.company_id
            procedures = run.procedure_ids or self.env['dunning.procedure'].sudo().search(
                [('company_id', 'in', (False, company.id))])
            if not company.dunning_procedure_id and not run.procedure_ids:
                raise UserError(self.env._(
                    "Company %s has no dunning procedure. Choose one under Invoicing > Configuration > Settings > "
                    "Customer Invoices > Dunning.", company.name))
            (procedures & (run.procedure_ids | company.dunning_procedure_id)).sudo()._check_ready(company)

    # === ISSUE === #

    def action_print_and_send(self):
        """Issue all drafts: number them, make the letters, release the mails, and hand out the paper as one PDF.

        Small runs answer at once; larger ones go on in the background.

        :return: action for the web client: the letters to print, if any
        :raise UserError: there is nothing to issue, or a provider is not fit to send
        """
        self.check_access('write')
        for run in self:
            run._lock()
            run._check_sendable()
        cancelled = sum(self.mapped('cancelled_count'))
        for run in self.sudo():
            # Numbers in the order of the proposal, which is also the order of sending.
            drafts = run.notice_ids.filtered(lambda notice: notice.state == 'draft').sorted('id')
            run.write({'state': 'processing', 'issue_total': len(drafts)})
            if len(drafts) > ISSUE_AT_ONCE:
                run.is_issuing = True
                self.env.ref('dunning_mail.ir_cron_issue').sudo()._trigger()
            else:
                drafts._issue()
                run._after_issue()
        return self._get_after_issue_action(sum(self.mapped('cancelled_count')) - cancelled)

    def _check_sendable(self):
        """Check before anything is issued.

        :raise UserError: says what is missing and what to do
        """
        self.ensure_one()
        if self.state == 'draft':
            raise UserError(self.env._("Generate the notices of dunning run %s first.", self.name))
        if self.is_issuing:
            raise UserError(self.env._("Dunning run %s is being processed already.", self.name))
        if self.state == 'cancelled' or not self.notice_ids.filtered(lambda notice: notice.state == 'draft'):
            raise UserError(self.env._("Dunning run %s has no notice to print or send.", self.name))
        if self.date > self._get_today():
            raise UserError(self.env._(
                "Dunning run %(run)s is dated %(day)s. Notices cannot go out before their date: correct it and "
                "generate the notices again. “Preview on Another Date” shows what a later run would do.", run=self.name,
                day=format_date(self.env, self.date)))
        if self.is_stale:
            raise UserError(self.env._(
                "Dates or filters of dunning run %s were changed after its notices were generated. Generate the "
                "notices again.", self.name))
        provider = self.company_id.sudo().dunning_provider_id
        if provider.active and not provider.sudo().mail_server_id.smtp_host:
            raise UserError(self.env._(
                "Service provider “%s” has no SMTP server. Enter it on its tab Login.", provider.name))

    def _get_after_issue_action(self, cancelled):
        """Tell what happened, and open the letters where there are any.

        :param int cancelled: how many drafts were cancelled
        """
        unprinted = self.notice_ids.filtered(lambda notice: notice._is_unprinted_letter())
        problems = sum(self.mapped('problem_count'))
        if any(self.mapped('is_issuing')):
            message, kind = self.env._(
                "The notices are being made in the background. You may close this page."), 'info'
        elif problems:
            message, kind = self.env._(
                "Notices that could not be issued: %s. They say why, and stay drafts until it is mended.",
                problems), 'warning'
        else:
            message, kind = self.env._(
                "Released for sending: %(released)s. Letters to print: %(paper)s.",
                released=sum(self.mapped('released_count')), paper=len(unprinted)), 'success'
        if cancelled:
            message += ' ' + self.env._(
                "Cancelled, because they are paid, on hold or not overdue any more: %s.", cancelled)
            kind = 'warning'
        following = {'type': 'ir.actions.client', 'tag': 'soft_reload'}
        if unprinted and len(self) == 1:
            following = self._open_letters()
        return {
            'type': 'ir.actions.client',
            'tag': 'display_notification',
            'params': {'type': kind, 'message': message, 'next': following},
        }

    def action_mark_printed(self):
        """Say that the letters of these runs that were opened to be printed have been, by the current user.

        What came on paper later is not among them.

        :raise UserError: none was opened
        """
        self.check_access('write')
        opened = self.notice_ids.filtered(lambda notice: notice._is_unprinted_letter() and notice.letter_opened_at)
        if not opened:
            raise UserError(self.env._("Open the letters first: button “Print Letters”."))
        return opened.action_mark_printed()

    @api.model
    @pdf.keep_pools()
    def _process_issuing(self):
        """Entry of the scheduled action: issue large runs in batches that commit, and go on after a restart."""
        Notice = self.env['dunning.notice'].sudo()
        for run in self.sudo().search([('is_issuing', '=', True)], order='id'):
            last_id = 0
            # Each commit gives up the lock: it is taken anew, and the run read anew, for each batch.
            while run.try_lock_for_update(allow_referencing=True):
                domain = [('run_id', '=', run.id), ('state', '=', 'draft'), ('id', '>', last_id)]
                # What is written down on the way is for the clerk, whoever runs the job.
                batch = Notice.search(domain, order='id', limit=ISSUE_BATCH).with_company(run.company_id).with_context(
                    lang=run.user_id.lang)
                if not batch or run.state == 'cancelled':
                    run._after_issue()
                    self.env['ir.cron']._commit_progress()
                    break
                batch._issue()
                last_id = batch[-1].id
                remaining = Notice.search_count([*domain, ('id', '>', last_id)])
                if not self.env['ir.cron']._commit_progress(len(batch), remaining=remaining) and remaining:
                    # The scheduler calls again, since something remains.
                    return
                run.invalidate_recordset()

    def _after_issue(self):
        """Whatever could not be issued stays with the person who reviews."""
        for run in self.sudo():
            run.is_issuing = False
            run._update_state()

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

    def _get_due_until(self):
        """Return the last due date of the items that the run looks at: what is due on its day is not overdue yet."""
        self.ensure_one()
        return min(self.due_until, self.date - timedelta(days=1))

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

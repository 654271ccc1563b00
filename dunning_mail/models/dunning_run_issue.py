from odoo import api, fields, models
from odoo.exceptions import UserError
from odoo.tools import format_date

from odoo.addons.report_pdf_engine.tools import pdf

# Up to here a run is issued while the clerk waits; larger ones go on in the background.
ISSUE_AT_ONCE = 50
# Notices in one transaction of the background job.
ISSUE_BATCH = 50


class DunningRun(models.Model):
    """Print / Send: from drafts to letters and mails on their way, at once or in the background."""
    _inherit = 'dunning.run'

    is_within_limit = fields.Boolean(
        readonly=True, copy=False, help="Whoever pressed Print / Send may not issue notices above the limit.")

    def action_print_and_send(self):
        """Issue all drafts: number them, make the letters, release the mails, and hand out the paper as one PDF.

        Small runs answer at once; larger ones go on in the background. What is above the amount up to which clerks
        issue stays a draft and says so, unless whoever heads the accounts has pressed.

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
            run.write({
                'state': 'processing', 'issue_total': len(drafts),
                'is_within_limit': not self.env['dunning.notice']._may_issue_any_amount()})
            if len(drafts) > ISSUE_AT_ONCE:
                run.is_issuing = True
                self.env.ref('dunning_mail.ir_cron_issue').sudo()._trigger()
            else:
                drafts.with_context(dunning_within_limit=run.is_within_limit)._issue()
                run._after_issue()
        return self._get_after_issue_action(sum(self.mapped('cancelled_count')) - cancelled)

    def action_preflight(self):
        """Show what is about to go out and what to look at first; from there it is issued.

        :return: action for the web client
        :raise UserError: as `action_print_and_send()`
        """
        self.check_access('write')
        for run in self:
            run._check_sendable()
        Preflight = self.env['dunning.preflight']
        preflight = Preflight._as_system().create(Preflight._prepare(self))
        return {
            'type': 'ir.actions.act_window',
            'name': self.env._("Print / Send"),
            'res_model': preflight._name,
            'res_id': preflight.id,
            'view_mode': 'form',
            'target': 'new',
        }

    def _get_drafts(self):
        return self.env['dunning.notice'].sudo().search(
            [('run_id', 'in', self.ids), ('state', '=', 'draft')], order='id')

    def _check_not_issuing(self):
        """Check that no run is being issued: what is added now, nobody who pressed has seen.

        :raise UserError: names the run
        """
        for run in self.sudo():
            if run.is_issuing:
                raise UserError(self.env._("Dunning run %s is being processed already.", run.name))

    def _check_sendable(self):
        """Check before anything is issued.

        :raise UserError: says what is missing and what to do
        """
        self.ensure_one()
        if self.state == 'draft':
            raise UserError(self.env._("Generate the notices of dunning run %s first.", self.name))
        self._check_not_issuing()
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
                    lang=run.user_id.lang, dunning_within_limit=run.is_within_limit)
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

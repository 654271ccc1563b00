from odoo import api, fields, models
from odoo.tools import SQL, format_date, format_datetime

from ..tools.dates import count_working_days

# A bank statement older than this many working days does not know what was paid since.
STATEMENT_WORKING_DAYS = 3


class DunningRun(models.Model):
    """What a clerk should know before she prints and sends, and what a run waits for."""
    _inherit = 'dunning.run'

    provider_warning = fields.Text(compute='_compute_provider_warning')
    payment_warning = fields.Text(compute='_compute_payment_warning')
    interest_warning = fields.Text(compute='_compute_interest_warning')
    attachment_warning = fields.Text(compute='_compute_attachment_warning')
    moving_info = fields.Char(compute='_compute_moving_info')

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

    @api.depends('company_id.dunning_provider_id.state', 'company_id.dunning_provider_id.redirect_to', 'released_count')
    def _compute_provider_warning(self):
        for run in self:
            provider = run.company_id.sudo().dunning_provider_id
            words = []
            if run.state in ('done', 'cancelled'):
                pass
            elif provider and not provider.active:
                words.append(self.env._(
                    "The service provider that is chosen in the settings, “%s”, has been archived: all notices go on "
                    "paper.", provider.name))
            elif not provider:
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

    @api.depends('company_id', 'date', 'procedure_ids', 'state')
    def _compute_interest_warning(self):
        for run in self:
            profiles = self.env['dunning.interest.profile'].sudo()
            if run.date and run.state in ('draft', 'proposed'):
                procedures = run.sudo().procedure_ids or run.sudo().env['dunning.procedure'].search(
                    [('company_id', 'in', [False, *run.company_id.parent_ids.ids])])
                profiles = profiles.union(*(
                    procedure._get_interest_profile(run.company_id) for procedure in procedures))
            words = [profile._describe_unknown_rate(run.date) for profile in profiles]
            run.interest_warning = '\n'.join(filter(None, words)) or False

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

from bisect import bisect_right
from collections import defaultdict
from datetime import timedelta
from itertools import pairwise

from odoo import api, fields, models
from odoo.tools import SQL, format_date, format_datetime

# A bank account that had no transaction for so long is not used any more, and its silence says nothing.
USED_DAYS = 90


class DunningRun(models.Model):
    """What a clerk should know before she prints and sends, and what a run waits for."""
    _inherit = 'dunning.run'

    provider_warning = fields.Text(compute='_compute_provider_warning')
    payment_warning = fields.Text(compute='_compute_payment_warning')
    interest_warning = fields.Text(compute='_compute_interest_warning')
    moving_info = fields.Char(compute='_compute_moving_info')

    @api.depends('is_moving', 'company_id')
    def _compute_moving_info(self):
        for run in self:
            run.moving_info = run._describe_moving() if run.is_moving else False

    def _describe_moving(self):
        """Say what the process engine is doing about the run, or waits for."""
        self.ensure_one()
        if self.is_issuing:
            # How many of them go by mail, nobody has asked yet: it is not later than with all of them.
            provider = self.company_id.sudo().dunning_provider_id
            end = provider._estimate_end([1] * self.draft_count) if provider.active else None
            return ' '.join(filter(None, (
                self.env._("The notices are being made. You may close this page, nothing is lost."),
                end and self.env._(
                    "The last mail leaves by about %s.", format_datetime(self.env, end, dt_format='short')))))
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
        end = provider and provider._estimate_end(run=self)
        return ' '.join(filter(None, (
            self.env._("Notices are on their way, one mail at a time. You may close this page, nothing is lost."),
            end and self.env._("The last one leaves at about %s.", format_datetime(
                self.env, end, dt_format='short')))))

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
        """Say why payments may be missing from the books: old bank data, or payments nobody has assigned.

        :return: text, or False
        """
        self.ensure_one()
        return '\n'.join(filter(None, (
            *self._describe_stale_journals(self._find_stale_journals()), self._describe_unreconciled()))) or False

    def _find_stale_journals(self):
        """Find the bank accounts that have been silent for longer than the setting's working days, and for longer than
        is usual for them: than the longest silence between two of their days in the 90 days up to the last one.

        A transaction is what is posted on the account itself: a bank line, or an entry made by hand. A payment that is
        registered only and waits on an outstanding account tells nothing of the bank.

        :return: list of (`account.journal`, day of its last transaction), the oldest first
        """
        self.ensure_one()
        company, today = self.company_id.sudo(), self._get_today()
        if company.dunning_bank_days <= 0:
            return []
        stale = []
        days_of = self._get_days_of_journals(today)
        if not days_of:
            return []
        working = company._get_dunning_working_days(min(days[0] for days in days_of.values()), today)

        def count(start, end):
            return bisect_right(working, end) - bisect_right(working, start)
        for journal, days in days_of.items():
            usual = max((count(*pair) for pair in pairwise(days)), default=0)
            if count(days[-1], today) > max(company.dunning_bank_days, usual):
                stale.append((journal, days[-1]))
        return sorted(stale, key=lambda entry: (entry[1], entry[0].id))

    def _get_days_of_journals(self, today):
        """Return on which days the bank accounts had transactions that the company is paid through, those of the
        companies whose branch it is among them.

        One that was not used for 90 days is not used any more, unless none was: then something feeds none of them.

        :param date today: what is later has not happened yet
        :return: dict `account.journal` -> list of date in ascending order, the last day and those up to 90 days before
        """
        self.env['account.move.line'].flush_model(['account_id', 'journal_id', 'parent_state', 'date', 'company_id'])
        self.env['account.journal'].flush_model(['type', 'active', 'company_id', 'default_account_id'])
        posted = SQL(
            "aml.account_id = j.default_account_id AND aml.journal_id = j.id AND aml.parent_state = 'posted'")
        last = dict(self.env.execute_query(SQL(
            """
            SELECT j.id, MAX(aml.date)
              FROM account_journal j
              JOIN account_move_line aml ON %(posted)s AND aml.date <= %(today)s
             WHERE j.type = 'bank' AND j.active AND (j.company_id = ANY(%(branches)s) OR j.company_id = ANY(%(heads)s))
             GROUP BY j.id
            """, posted=posted, today=today, heads=self.company_id._get_dunning_parents().ids,
            branches=self.env['dunning.proposal']._get_companies_query(self.company_id.sudo()))))
        since = timedelta(days=USED_DAYS)
        used = {journal_id: day for journal_id, day in last.items() if day >= today - since} or dict(
            sorted(last.items(), key=lambda entry: entry[1])[-1:])
        if not used:
            return {}
        rows = self.env.execute_query(SQL(
            """
            SELECT DISTINCT j.id, aml.date
              FROM account_journal j
              JOIN account_move_line aml ON %s AND aml.date BETWEEN %s AND %s
             WHERE j.id = ANY(%s)
             ORDER BY 1, 2
            """, posted, min(used.values()) - since, today, list(used)))
        days_of = defaultdict(list)
        for journal_id, day in rows:
            if day >= used[journal_id] - since:
                days_of[self.env['account.journal'].sudo().browse(journal_id)].append(day)
        return dict(days_of)

    def _describe_stale_journals(self, stale):
        return [self.env._(
            "The newest transaction of %(journal)s is of %(day)s: later payments are missing.",
            journal=journal.display_name, day=format_date(self.env, newest)) for journal, newest in stale]

    def _describe_unreconciled(self):
        self.ensure_one()
        count = self.env['account.bank.statement.line'].sudo().search_count(self._get_unreconciled_domain())
        return count and self.env._(
            "Incoming bank transactions that are not reconciled: %s. They may be payments of these invoices.", count)

    def _get_unreconciled_domain(self):
        """Return the domain of incoming bank transactions that nobody has assigned."""
        return [
            '|', ('company_id', 'child_of', self.company_id.ids),
            ('company_id', 'in', self.company_id._get_dunning_parents().ids), ('move_id.state', '=', 'posted'),
            ('is_reconciled', '=', False), ('amount', '>', 0)]

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

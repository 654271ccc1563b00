from collections import defaultdict

from odoo import api, fields, models
from odoo.exceptions import UserError
from odoo.tools import LazyTranslate, format_amount, format_datetime

from ..models import dunning_run_issue
from ..models.dunning_notice_hint import KINDS, SEVERITIES
from ..models.dunning_provider_pace import ESTIMATE_DAYS

_lt = LazyTranslate(__name__)

ORDER = ('danger', 'warning', 'info')
# What has become of claims since they were proposed, by the code of the verdict; severity of each.
NEWS = {
    'archived': (_lt("Customer or procedure archived: stays a draft"), 'danger'),
    'settled': (_lt("Paid or settled since the proposal: will be cancelled"), 'warning'),
    'held': (_lt("Not to be claimed any more since the proposal: will be cancelled"), 'warning'),
    'changed': (_lt("Changed since the proposal: goes out as it is now"), 'info'),
}
# Notices of which it is said at once what has become of them.
NEWS_SHOWN = 5
# What a head of accounts is told of what clerks may not issue.
LARGE = _lt("Above the amount up to which clerks issue")


class DunningPreflight(models.TransientModel):
    """What is about to go out, shown before it does. Read once, when it is opened; nothing of the run is written."""
    _name = 'dunning.preflight'
    _description = 'What Is About to Go Out'
    _inherit = ['dunning.guard']

    run_ids = fields.Many2many('dunning.run', string="Dunning Runs", readonly=True)
    draft_ids = fields.Json(help="Ids of the drafts that were shown.")
    issue_count = fields.Integer("Notices to Issue", readonly=True)
    cancel_count = fields.Integer("Notices to Cancel", readonly=True)
    mail_count = fields.Integer("By E-mail", readonly=True)
    paper_count = fields.Integer("On Paper", readonly=True)
    amounts = fields.Text("Sums", readonly=True)
    end_info = fields.Char("Last Mail", readonly=True)
    issue_label = fields.Char(compute='_compute_issue_label')
    line_ids = fields.One2many('dunning.preflight.line', 'preflight_id', string="Look First", readonly=True)

    @api.depends('issue_count', 'cancel_count')
    @api.depends_context('lang')
    def _compute_issue_label(self):
        for preflight in self:
            count = preflight.issue_count
            if not count:
                preflight.issue_label = self.env._("Cancel notices: %s", preflight.cancel_count)
                continue
            preflight.issue_label = (
                self.env._("Issue 1 notice") if count == 1 else self.env._("Issue %s notices", count))

    def action_issue(self):
        """Issue what was shown.

        :return: action for the web client, as `dunning.run.action_print_and_send()`
        :raise UserError: the drafts are others than those that were shown
        """
        self.ensure_one()
        runs = self.run_ids
        runs.check_access('write')
        if runs._get_drafts().ids != self.draft_ids:
            raise UserError(self.env._(
                "The drafts of %s have changed meanwhile. Open “Print / Send” again.", ', '.join(runs.mapped('name'))))
        action = runs.action_print_and_send()
        following = action['params']['next']
        # The run behind this dialog is read again when it closes.
        if following['type'] == 'ir.actions.act_url':
            following['close'] = True
        elif following['tag'] == 'display_notification':
            following['params']['next'] = {'type': 'ir.actions.act_window_close'}
        return action

    @api.model
    def _prepare(self, runs):
        """Look at what runs would issue, read in sets: however many notices there are, it takes as many statements.

        :param runs: `dunning.run`
        :return: dict of values of a new record
        """
        drafts = runs._get_drafts()
        drafts._fetch_for_hints()
        may_issue_any = self.env['dunning.notice']._may_issue_any_amount()
        verdicts, totals = drafts._foresee_issue()
        above = drafts._get_above_limit() | drafts._get_above_limit(totals)
        hints = drafts._find_hints()
        # In the order in which issuing asks.
        asked = drafts if may_issue_any else drafts - above
        by_code = {code: asked.filtered(lambda notice, code=code: verdicts[notice.id].code == code) for code in NEWS}
        cancelled = by_code['settled'] | by_code['held']
        textless = (asked - cancelled - by_code['archived']).filtered(
            lambda notice: any(hint.code == 'no_text' for hint in hints.get(notice.id, ())))
        going = asked - cancelled - by_code['archived'] - textless
        by_code['changed'] &= going
        by_mail, amounts = defaultdict(list), defaultdict(float)
        for notice in going:
            amounts[notice.currency_id] += totals[notice.id]
            channel, _info, addresses = notice._choose_channel()
            if channel == 'mail':
                by_mail[notice.company_id.dunning_provider_id].append(len(addresses))
        mail_count = sum(map(len, by_mail.values()))
        rows = [
            *self._list_runs_rows(runs, drafts, by_mail), *self._list_news_rows(by_code, verdicts),
            *self._list_notice_rows(
                going, {'large': above & going if may_issue_any else above, 'no_text': textless}, hints,
                may_issue_any)]
        rows.sort(key=lambda row: ORDER.index(row['severity']))
        return {
            'run_ids': [fields.Command.set(runs.ids)],
            'draft_ids': drafts.ids,
            'issue_count': len(going),
            'cancel_count': len(cancelled),
            'mail_count': mail_count,
            'paper_count': len(going) - mail_count,
            'amounts': '\n'.join(
                format_amount(self.env, amount, currency)
                for currency, amount in sorted(amounts.items(), key=lambda entry: entry[0].name)),
            'end_info': self._describe_end(by_mail),
            'line_ids': [fields.Command.create({**row, 'sequence': number}) for number, row in enumerate(rows)],
        }

    @api.model
    def _describe_end(self, by_mail):
        """Say when the last mail will have left.

        :param dict by_mail: `dunning.provider` -> recipients of each mail
        """
        ends, words = [], []
        for provider, counts in by_mail.items():
            end = provider._estimate_end([1] * len(counts) if provider.redirect_to else counts)
            if end:
                ends.append(end)
            elif provider.sudo()._will_send():
                words.append(self.env._(
                    "Cannot be said of “%(provider)s”: its sending hours do not suffice for the next %(days)s days.",
                    provider=provider.name, days=ESTIMATE_DAYS))
            else:
                words.append(self.env._(
                    "Cannot be said of “%s”: it does not send at present.", provider.name))
        if ends:
            words.insert(0, self.env._(
                "Leaves at about %s, if nothing goes wrong.", format_datetime(self.env, max(ends), dt_format='short')))
        return ' '.join(words)

    # === WHAT CONCERNS CERTAIN NOTICES === #

    @api.model
    def _list_news_rows(self, by_code, verdicts):
        """Return a row for each thing that has become of claims since they were proposed.

        :param dict by_code: code of :data:`NEWS` -> `dunning.notice`
        :param dict verdicts: as `dunning.notice._foresee_issue()` returns them
        """
        rows = []
        for code, (name, severity) in NEWS.items():
            if notices := by_code[code]:
                shown = [f'{notice.partner_id.display_name}: {verdicts[notice.id].words}'
                         for notice in notices[:NEWS_SHOWN]]
                rows.append({
                    'code': code, 'severity': severity, 'name': str(name), 'notice_count': len(notices),
                    'notice_ids': notices.ids, 'words': '\n'.join(shown + ['…'] * (len(notices) > NEWS_SHOWN))})
        return rows

    @api.model
    def _list_notice_rows(self, going, instead, hints, may_issue_any):
        """Return a row for each kind of hint, with exactly the notices concerned.

        :param going: `dunning.notice` that would be issued
        :param dict instead: code -> `dunning.notice` of which it is said in their place
        :param dict hints: what `dunning.notice._find_hints()` returned
        """
        concerned, words = defaultdict(set), {}
        for notice_id, of_notice in hints.items():
            for hint in of_notice:
                concerned[hint.code].add(notice_id)
                words.setdefault(hint.code, hint.words)
        rows, going_ids = [], set(going.ids)
        for code in (*KINDS, *(code for code in concerned if code not in KINDS)):
            # Another addon's hint speaks for itself.
            name, severity = KINDS.get(code) or words[code], SEVERITIES.get(code, 'warning')
            if code == 'large' and may_issue_any:
                name, severity = LARGE, 'warning'
            if ids := sorted(instead[code].ids if code in instead else concerned[code] & going_ids):
                rows.append({
                    'code': code, 'severity': severity, 'name': str(name), 'notice_count': len(ids),
                    'notice_ids': ids})
        return rows

    # === WHAT CONCERNS ALL OF THEM === #

    @api.model
    def _list_runs_rows(self, runs, drafts, by_mail):
        """Return a row for each thing that concerns all notices of the runs' companies.

        :param drafts: all `dunning.notice` of the runs that are drafts
        :param dict by_mail: `dunning.provider` -> recipients of each mail
        """
        rows = [row for provider in by_mail for row in self._list_provider_rows(provider)]
        job = self.env.ref('dunning_mail.ir_cron_issue').sudo()
        if not job.active and any(
                len(of_run) > dunning_run_issue.ISSUE_AT_ONCE for of_run in drafts.grouped('run_id').values()):
            rows.append({
                'code': 'issue_off', 'severity': 'danger',
                'name': self.env._("Nothing is issued: “%s” is switched off", job.name),
                'action': self.env.user.has_group('base.group_system') and self._open_records(job),
                'words': self.env._(
                    "Runs of more than %s notices are issued in the background. Ask the administrator to switch it on.",
                    dunning_run_issue.ISSUE_AT_ONCE)})
        for company in runs.company_id:
            run = runs.filtered(lambda run, company=company: run.company_id == company)[0]
            stale = run._find_stale_journals()
            if stale:
                rows.append({
                    'code': 'bank_old', 'severity': 'warning', 'name': self.env._("Bank data is old"),
                    'words': '\n'.join(run._describe_stale_journals(stale)),
                    'action': self._open_records(self.env['account.journal'].browse(
                        journal.id for journal, _newest in stale))})
            if words := run._describe_unreconciled():
                rows.append({
                    'code': 'unreconciled', 'severity': 'warning',
                    'name': self.env._("Incoming bank transactions without an invoice"), 'words': words,
                    'action': {
                        **self._open_records(self.env['account.bank.statement.line']),
                        'domain': run._get_unreconciled_domain()}})
            rows += [{
                'code': f'setup_{item["code"]}', 'severity': 'warning',
                'name': self.env._("First steps, missing: %s", item['name']), 'words': item['words'],
                'action': item['action'],
            } for item in self.env['dunning.checklist']._list_items(company) if not item['is_done']]
        return rows

    @api.model
    def _list_provider_rows(self, provider):
        """Return a row for each reason why a provider's mail does not reach the customers."""
        provider, rows = provider.sudo(), []
        if provider._is_stranded():
            rows.append(('provider_off', 'danger', self.env._("No mail goes out: the process engine is off"), ''))
        if provider.state == 'paused':
            rows.append((
                'provider_paused', 'danger', self.env._("No mail goes out: the service provider is paused"),
                provider.pause_reason or ''))
        if provider.redirect_to:
            rows.append((
                'trial', 'info', self.env._("Trial mode: no mail goes to the customers"), self.env._(
                    "All mail of “%(name)s” goes to %(address)s instead, and does not count.", name=provider.name,
                    address=provider.redirect_to)))
        return [{
            'code': code, 'severity': severity, 'name': name, 'words': words, 'action': self._open_records(provider),
        } for code, severity, name, words in rows]

    @api.model
    def _open_records(self, records):
        """Return the action that opens these records, a single one as a form."""
        action = {
            'type': 'ir.actions.act_window', 'name': self.env['ir.model']._get(records._name).name,
            'res_model': records._name, 'views': [(False, 'list'), (False, 'form')],
            'domain': [('id', 'in', records.ids)]}
        if len(records) == 1:
            action |= {'res_id': records.id, 'views': [(False, 'form')]}
        return action


class DunningPreflightLine(models.TransientModel):
    """One thing to look at before notices go out."""
    _name = 'dunning.preflight.line'
    _description = 'What to Look at Before Notices Go Out'
    _inherit = ['dunning.guard']
    _order = 'sequence, id'

    preflight_id = fields.Many2one('dunning.preflight', required=True, ondelete='cascade', index=True)
    sequence = fields.Integer()
    code = fields.Char(required=True)
    severity = fields.Selection(
        [('danger', 'Stops'), ('warning', 'Warning'), ('info', 'Note')], required=True, default='warning')
    name = fields.Char("Look First", required=True)
    words = fields.Text("Details")
    notice_count = fields.Integer("Notices")
    notice_ids = fields.Json(help="Ids of the notices concerned.")
    action = fields.Json(help="What is opened, where it concerns no single notices.")

    def action_show(self):
        """Open exactly the notices concerned, or what all of them depend on.

        :return: action for the web client
        """
        self.ensure_one()
        if self.notice_ids is None or self.notice_ids is False:
            return self.action
        return {
            **self.env['ir.actions.act_window']._for_xml_id('dunning_mail.dunning_notice_action'),
            'name': self.name,
            'domain': [('id', 'in', self.notice_ids)],
            'context': {},
        }

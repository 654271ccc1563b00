from datetime import timedelta

from odoo import api, fields, models
from odoo.tools import config, format_list

from ..tools.languages import get_language

# An engine that has not run for so long does not run: it is called once a minute.
ENGINE_MINUTES = 15
# A mailbox that has not been read for so long is not read.
MAILBOX_HOURS = 24


class DunningChecklist(models.AbstractModel):
    """What has to be there before dunning runs by itself, in the order of the first steps of the documentation.

    It is looked at each time and never remembered: what was right once may not be any more.
    """
    _name = 'dunning.checklist'
    _description = 'First Steps of Dunning'

    @api.model
    def get_items(self):
        """Return the steps of the current company, for its screens.

        :return: list of dicts with `code`, `name`, `is_done`, `words` (what is missing) and `has_action`; empty once
            all are done
        :raise AccessError: the user has nothing to do with dunning runs
        """
        self.env['dunning.run'].check_access('read')
        items = self._list_items(self.env.company)
        if all(item['is_done'] for item in items):
            return []
        return [{
            'code': item['code'], 'name': item['name'], 'is_done': item['is_done'], 'words': item['words'],
            'has_action': bool(item['action'])} for item in items]

    @api.model
    def action_open(self, code):
        """Open where a step is done.

        :param str code: of the step
        :return: action for the web client; False where the user can open nothing
        :raise AccessError: the user has nothing to do with dunning runs
        """
        self.env['dunning.run'].check_access('read')
        return next((item['action'] for item in self._list_items(self.env.company) if item['code'] == code), False)

    @api.model
    def _list_items(self, company):
        """Look at all steps; a hook for other addons.

        :param company: `res.company`
        :return: list of dicts `code`, `name`, `is_done`, `words` and `action`
        """
        company = company.sudo()
        provider, items = company.dunning_provider_id, []
        procedures = self._get_procedures(company)
        if any(level.send_by_mail for level in procedures.level_ids):
            by_mail = [
                ('provider', self.env._("Service provider chosen, and its connection tested"),
                 self._check_provider(provider)),
                ('mailbox', self.env._("Mailbox for bounces read"), self._check_mailbox(provider)),
                ('bounce', self.env._("A test notice to an address that does not exist has come back"),
                 self._check_bounce(provider)),
            ]
        else:
            # All letters on paper: nobody misses a provider.
            by_mail = []
        items = [
            *by_mail,
            ('account', self.env._("Bank account or QR-IBAN to pay into"), self._check_account(company)),
            ('texts', self.env._("Texts in all languages of the customers"), self._check_texts(company, procedures)),
            ('letter', self.env._("Letter looked at"), self._check_letter(company)),
            *([('trial', self.env._("Trial run made"), self._check_trial(company))] if by_mail else []),
            ('engine', self.env._("Scheduled actions run"), self._check_engine(provider if by_mail else None)),
        ]
        return [{
            'code': code, 'name': name, 'is_done': not words, 'words': words or '',
            'action': self._get_action(code, company, procedures)} for code, name, words in items]

    @api.model
    def _get_procedures(self, company):
        """Return the procedures by which a company duns: its default, and those of its customers."""
        own = self.env['dunning.procedure'].sudo().search([('company_id', 'parent_of', company.id)]) | self.env[
            'dunning.procedure'].sudo().search([('company_id', '=', False)])
        used = self.env['res.partner'].sudo().with_company(company)._read_group(
            [('dunning_procedure_id', 'in', own.ids)], ['dunning_procedure_id'])
        return (company.dunning_procedure_id | own.union(*(procedure for procedure, in used))).filtered('active')

    # === STEPS: EACH SAYS WHAT IS MISSING === #

    @api.model
    def _check_provider(self, provider):
        if not provider:
            return self.env._("None is chosen in the settings: all notices go on paper.")
        if not provider.active:
            return self.env._("“%s” is archived: all notices go on paper.", provider.name)
        if not provider._is_tested():
            return self.env._("The connection of “%s” was never tested as it is now.", provider.name)
        return ''

    @api.model
    def _check_mailbox(self, provider):
        mailbox = provider.incoming_server_id
        if not provider:
            return self.env._("It belongs to a service provider.")
        if not mailbox:
            return self.env._("None is chosen: a notice that comes back stays “Sent”.")
        if not mailbox.active or mailbox.state != 'done':
            return self.env._("“%s” is not confirmed or is archived, so that Odoo does not read it.", mailbox.name)
        since = fields.Datetime.now() - timedelta(hours=MAILBOX_HOURS)
        # Odoo notes the time of each attempt, failed or not, and clears the fault once one has worked.
        if mailbox.error_date or not mailbox.date or mailbox.date < since:
            return self.env._("“%s” could not be read, or was not for a day.", mailbox.name)
        return ''

    @api.model
    def _check_bounce(self, provider):
        mailbox = provider.incoming_server_id
        # What came before there was a mailbox to read, somebody else has told.
        seen = mailbox and self.env['dunning.notice.report'].sudo().search_count([
            ('action', '=', 'failed'), ('is_ours', '=', True), ('notice_id.provider_id', '=', provider.id),
            ('date', '>=', mailbox.create_date)], limit=1)
        return '' if seen else self.env._(
            "Send a notice to an address at another domain that does not exist, so that its mail is accepted and comes "
            "back, in trial mode too: it must become “Sending Failed”, or ask you.")

    @api.model
    def _check_account(self, company):
        notice = self.env['dunning.notice'].sudo().new({
            'company_id': company.id, 'currency_id': company.currency_id.id})
        return '' if notice._get_payment_account() else self.env._(
            "No bank account of %(company)s takes %(currency)s. Add one to the company's contact.",
            company=company.name, currency=company.currency_id.name)

    @api.model
    def _check_texts(self, company, procedures):
        installed = dict(self.env['res.lang'].get_installed())
        wanted = {company._get_dunning_fallback_lang()} | {lang for lang, in self.env['res.partner'].sudo()._read_group(
            [('customer_rank', '>', 0), ('company_id', 'in', (False, company.id))], ['lang']) if lang in installed}
        missing = []
        for level in procedures.level_ids:
            present = set(map(get_language, level.text_ids.mapped('lang')))
            if langs := [installed[lang] for lang in sorted(wanted) if get_language(lang) not in present]:
                missing.append(f'{level.name}: {format_list(self.env, langs)}')
        if not procedures.level_ids:
            return self.env._("There is no dunning procedure with levels.")
        return self.env._("Missing: %s", '; '.join(missing)) if missing else ''

    @api.model
    def _check_letter(self, company):
        return '' if company.dunning_letter_seen == company._get_dunning_letter_key() else self.env._(
            "Nobody has opened a letter as it looks now. Open one: “Preview Document” on a draft.")

    @api.model
    def _check_trial(self, company):
        """A trial is over once mail has gone to customers."""
        has_sent = self.env['dunning.notice'].sudo().search_count([
            ('company_id', '=', company.id), ('state', '=', 'issued'), ('delivery_state', '=', 'sent')], limit=1)
        return '' if has_sent else self.env._(
            "Enter an address as trial mode of the service provider, and print and send a run.")

    @api.model
    def _check_engine(self, provider):
        engine = (provider and provider.engine_id) or self.env.ref('dunning_mail.ir_cron_engine').sudo()
        threads = config['max_cron_threads']
        off = (engine | self._get_jobs()).filtered(lambda job: not job.active)
        if off:
            return self.env._("Switched off: %s", format_list(self.env, off.mapped('name')))
        since = fields.Datetime.now() - timedelta(minutes=ENGINE_MINUTES)
        if not engine.lastcall or engine.lastcall < since:
            return self.env._(
                "“%(engine)s” has not run for %(minutes)s minutes. Do scheduled actions run at all? This server's "
                "max_cron_threads is %(threads)s.", engine=engine.name, minutes=ENGINE_MINUTES, threads=threads)
        # Others than this server may run them; where this one does, an engine must leave a thread to the rest.
        engines = self.env['ir.cron'].sudo().search_count([('model_id.model', '=', 'dunning.engine')])
        if 0 < threads <= engines:
            return self.env._(
                "max_cron_threads is %(threads)s, and should be at least %(wanted)s: each process engine occupies one.",
                threads=threads, wanted=engines + 1)
        return ''

    @api.model
    def _get_jobs(self):
        """Return the scheduled actions without which something stops, less the engines, which are a provider's."""
        ids = self.env['ir.model.data'].sudo().search(
            [('module', '=', 'dunning_mail'), ('model', '=', 'ir.cron')]).mapped('res_id')
        return self.env['ir.cron'].sudo().with_context(active_test=False).search(
            [('id', 'in', ids), ('model_id.model', '!=', 'dunning.engine')])

    # === LINKS === #

    @api.model
    def _get_action(self, code, company, procedures):
        """Return the action that opens where a step is done; False where the user may not open it."""
        provider = company.dunning_provider_id

        def window(model, name, record=None, domain=()):
            if not self.env[model].has_access('read'):
                return False
            action = {
                'type': 'ir.actions.act_window', 'name': name, 'res_model': model, 'domain': list(domain),
                'views': [(False, 'list'), (False, 'form')]}
            if record:
                action |= {'res_id': record.id, 'views': [(False, 'form')]}
            return action

        if code == 'mailbox' and not self.env['fetchmail.server'].has_access('write'):
            # Nobody else is shown that field.
            return False
        if code in ('provider', 'mailbox', 'bounce', 'trial'):
            # The settings are the administrator's.
            if not provider and self.env['res.config.settings'].has_access('create') and self.env[
                    'dunning.provider'].search_count([], limit=1):
                return self.env['ir.actions.act_window']._for_xml_id('account.action_account_config')
            return window('dunning.provider', self.env._("Service Providers"), provider)
        if code == 'account':
            return window('res.partner', self.env._("Company"), company.partner_id)
        if code == 'texts':
            return window(
                'dunning.level', self.env._("Dunning Levels"), domain=[('id', 'in', procedures.level_ids.ids)])
        if code == 'letter':
            return window('dunning.notice', self.env._("Dunning Notices"), domain=[('company_id', '=', company.id)])
        if code == 'engine' and self.env.user.has_group('base.group_system'):
            domain = ['|', ('model_id.model', '=', 'dunning.engine'), ('id', 'in', self._get_jobs().ids)]
            return {**window('ir.cron', self.env._("Scheduled Actions"), domain=domain),
                    'context': {'active_test': False}}
        return False

from odoo import api, fields, models
from odoo.exceptions import UserError, ValidationError

from ..models.dunning_proposal_basis import Basis
from ..tools import judgement


class DunningTextPreview(models.TransientModel):
    """Shows the texts of a level as a chosen customer would get them."""
    _name = 'dunning.text.preview'
    _description = 'Preview of Dunning Texts'
    _inherit = ['dunning.guard']

    level_id = fields.Many2one('dunning.level', required=True, ondelete='cascade')
    partner_id = fields.Many2one('res.partner', string="Customer", required=True)
    lang = fields.Char("Language", compute='_compute_preview')
    mail_subject = fields.Char(compute='_compute_preview')
    mail_body = fields.Html(compute='_compute_preview', sanitize=False)
    letter_title = fields.Char(compute='_compute_preview')
    letter_html = fields.Html("Letter", compute='_compute_preview', sanitize=False)
    error = fields.Text(compute='_compute_preview')

    def _get_writable_fields(self):
        return super()._get_writable_fields() | {'level_id', 'partner_id'}

    @api.depends('level_id', 'partner_id')
    def _compute_preview(self):
        for preview in self:
            preview.update(dict.fromkeys(
                ('lang', 'mail_subject', 'mail_body', 'letter_title', 'letter_html', 'error'), False))
            if not preview.level_id or not preview.partner_id:
                continue
            try:
                notice = preview._make_sample_notice()
                texts = notice._render_texts()
            except (UserError, ValidationError) as error:
                preview.error = str(error)
                continue
            preview.lang = self.env['res.lang']._get_data(code=notice.lang).name
            preview.mail_subject = texts['mail_subject']
            preview.mail_body = texts['mail_body']
            preview.letter_title = texts['letter_title']
            preview.letter_html = self.env['ir.qweb'].with_context(lang=notice.lang)._render(
                'dunning_mail.text_preview', {'texts': texts, 'items': notice.items_html})

    def _get_company(self):
        """Return for which company the level is looked at: of those that the user looks at now, one that has it.

        :raise AccessError: the level is another company's
        """
        self.level_id.check_access('read')
        owner = self.level_id.company_id
        return next(
            company for company in self.env.company | self.env.companies
            if not owner or owner in company._get_dunning_parents())

    def _make_sample_notice(self):
        """Make a notice in memory: with what the customer owes now, or an example where nothing is due."""
        self.ensure_one()
        company = self._get_company()
        partner = self.partner_id.commercial_partner_id
        # What follows is read as the superuser.
        (self.partner_id | partner).check_access('read')
        today = company._get_dunning_day()
        proposal = self.env['dunning.proposal'].sudo().with_company(company)
        run = self.env['dunning.run'].new({
            'name': self.env._("Preview"), 'company_id': company.id, 'user_id': self.env.user.id, 'date': today,
            'due_until': today})
        debts = proposal._load_debts(company, today, today, partner)
        basis = Basis(self.env, company, today, debts)
        recipient, is_named = proposal._find_recipients(partner, company)[partner.id], False
        values = {}
        for debt in debts.values():
            currency = basis.get_currency(debt.currency_id)
            debt.offset(currency)
            if due := judgement.select_open_items(debt, currency)[0]:
                recipient, is_named = proposal._choose_recipient(partner, recipient, due, basis.contacts)
                values = {'currency_id': debt.currency_id, 'line_ids': [fields.Command.create(line) for line in [
                    *(proposal._prepare_line_values(item, 'due', self.level_id.id, today) for item in due),
                    *(proposal._prepare_credit_values(credit, amount)
                      for credit, amount in judgement.sum_credits(due, currency))]]}
                break
        return self.env['dunning.notice']._new_sample(
            company, run_id=run, partner_id=partner.id, recipient_id=recipient.id, level_id=self.level_id.id,
            date_deadline=fields.Date.add(today, days=self.level_id.deadline_days),
            lang=self.env['dunning.notice']._choose_lang(partner, recipient, self.level_id, company, is_named),
            **values)

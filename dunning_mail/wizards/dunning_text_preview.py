from odoo import api, fields, models
from odoo.exceptions import UserError, ValidationError

from ..models.dunning_proposal import Basis


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

    def _make_sample_notice(self):
        """Make a notice in memory: with what the customer owes now, or an example where nothing is due."""
        self.ensure_one()
        company = self.level_id.company_id or self.env.company
        partner = self.partner_id.commercial_partner_id
        today = company._get_dunning_day()
        proposal = self.env['dunning.proposal'].sudo().with_company(company)
        run = self.env['dunning.run'].new({
            'name': self.env._("Preview"), 'company_id': company.id, 'user_id': self.env.user.id, 'date': today,
            'due_until': today})
        debt = next(iter(proposal._load_debts(company, today, today, partner).values()), None)
        recipient, is_named = proposal._find_recipients(partner, company)[partner.id], False
        if debt:
            recipient, is_named = proposal._choose_recipient(
                partner, recipient, debt.items, Basis(self.env, company, today, {None: debt}).contacts)
        currency = self.env['res.currency'].browse(debt.currency_id) if debt else company.currency_id
        lines = [{
            'kind': 'due', 'name': 'INV/0001', 'date_invoice': today, 'date_due': today, 'days_overdue': 20,
            'amount_invoiced': 100.0, 'amount_residual': 100.0}]
        if debt:
            lines = [proposal._prepare_line_values(item, 'due', self.level_id.id, today) for item in debt.items]
        return self.env['dunning.notice'].new({
            'name': 'MA/0001', 'run_id': run, 'company_id': company.id, 'user_id': self.env.user.id,
            'partner_id': partner.id, 'recipient_id': recipient.id, 'level_id': self.level_id.id,
            'currency_id': currency.id, 'date': today,
            'date_deadline': fields.Date.add(today, days=self.level_id.deadline_days),
            'lang': self.env['dunning.notice']._choose_lang(partner, recipient, self.level_id, company, is_named),
            'line_ids': [fields.Command.create(values) for values in lines]})

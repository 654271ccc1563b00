from odoo import api, fields, models
from odoo.exceptions import AccessError, UserError, ValidationError

from ..tools.languages import get_language
from .default_texts import DEFAULT_TEXTS, get_default_texts

# Ten years: more is a slip of the finger, and dates that far away cannot be reckoned with.
MAX_DAYS = 3650


class DunningLevel(models.Model):
    """When a customer is dunned, at what cost and by which channel. Knows nothing of runs."""
    _name = 'dunning.level'
    _description = 'Dunning Level'
    _inherit = ['dunning.shared', 'mail.thread']
    _order = 'procedure_id, sequence, id'

    procedure_id = fields.Many2one('dunning.procedure', required=True, ondelete='cascade', index=True)
    company_id = fields.Many2one(related='procedure_id.company_id', store=True, index=True)
    # Stored: it is asked right before each mail leaves.
    is_in_use = fields.Boolean(related='procedure_id.active', store=True, string="Procedure in Use")
    sequence = fields.Integer("Level", required=True, default=1, tracking=True)
    name = fields.Char(required=True, translate=True)
    delay_days = fields.Integer(
        "After Days", default=10, tracking=True,
        help="First level: days after the due date. Later levels: days after the day on which the last notice left.")
    deadline_days = fields.Integer(
        "Payable Within Days", default=10, tracking=True,
        help="Days from the date of the notice. The next level never starts before they are over.")
    repeat = fields.Boolean(
        tracking=True, help="On the last level: send it again and again, each time after the same delay.")
    min_amount = fields.Monetary(
        "Minimum Amount", currency_field='min_amount_currency_id', tracking=True,
        help="In the company's currency. Where a customer owes less, what would reach this level waits.")
    min_amount_currency_id = fields.Many2one('res.currency', compute='_compute_currency')
    send_by_mail = fields.Boolean("By E-mail", default=True, tracking=True)
    report_id = fields.Many2one(
        'ir.actions.report', string="Letter", domain=[('model', '=', 'dunning.notice')], ondelete='restrict',
        default=lambda self: self.env.ref('dunning_mail.report_letter', raise_if_not_found=False))
    archive_generated = fields.Boolean(
        "Archive Letters", compute='_compute_archive_generated', inverse='_inverse_archive_generated',
        help="Keep the PDF of every notice that was made with this letter for good. It is a setting of the letter.")
    attach_invoices = fields.Boolean(
        tracking=True, help="Copies of the overdue invoices go along with the notice.")
    fee_ids = fields.One2many('dunning.level.fee', 'level_id', string="Fees", copy=True)
    fee_method = fields.Selection(
        [('single', 'In place of those of earlier notices'), ('cumulated', 'Added to those of earlier notices')],
        required=True, default='single', tracking=True)
    charge_interest = fields.Boolean(
        "Interest on Arrears", tracking=True, help="By the interest profile of procedure or company; without one none.")
    charge_lump_sum = fields.Boolean(
        "Lump Sum", tracking=True,
        help="Of businesses, once for each item: as much as the interest profile of procedure or company says.")
    text_ids = fields.One2many('dunning.level.text', 'level_id', string="Dunning Texts", copy=True)
    text_tone = fields.Selection(
        [('friendly', 'Friendly reminder'), ('firm', 'Firm reminder'), ('final', 'Last reminder')],
        string="Standard Texts",
        help="The installed texts that this level gets for every language that is activated later.")
    missing_text_langs = fields.Char("Texts Missing In", compute='_compute_missing_text_langs')

    _sequence_unique = models.Constraint(
        'UNIQUE(procedure_id, sequence)',
        "Two dunning levels of one procedure cannot have the same number. Give each its own.")
    _days_not_negative = models.Constraint(
        f'CHECK(delay_days BETWEEN 0 AND {MAX_DAYS} AND deadline_days BETWEEN 0 AND {MAX_DAYS})',
        "Days cannot be negative, nor more than ten years.")
    _amounts_not_negative = models.Constraint(
        'CHECK(COALESCE(min_amount, 0) >= 0)', "The minimum amount cannot be negative.")

    def _get_writable_fields(self):
        return super()._get_writable_fields() | {
            'procedure_id', 'sequence', 'name', 'delay_days', 'deadline_days', 'repeat', 'min_amount', 'send_by_mail',
            'report_id', 'archive_generated', 'attach_invoices', 'fee_ids', 'fee_method', 'charge_interest',
            'charge_lump_sum', 'text_ids', 'text_tone'}

    def _get_shared_owner(self):
        return self.procedure_id

    def copy(self, default=None):
        # One after the other: each gets the next number of its procedure.
        copies = self.browse()
        for level in self:
            procedure = level.procedure_id.browse((default or {}).get('procedure_id')) or level.procedure_id
            copies |= super(DunningLevel, level).copy({'sequence': procedure.next_sequence, **(default or {})})
        return copies

    @api.depends_context('company')
    @api.depends('company_id')
    def _compute_currency(self):
        for level in self:
            level.min_amount_currency_id = (level.company_id or self.env.company).currency_id

    @api.depends('report_id.archive_generated')
    def _compute_archive_generated(self):
        for level in self:
            level.archive_generated = level.sudo().report_id.archive_generated

    def _inverse_archive_generated(self):
        # Reports belong to the system administrators; that a dunning letter is kept is the accountants' decision.
        # The report is what all companies share, whosever the level is.
        for level in self:
            level.check_access('write')
            report = level.sudo().report_id
            if report and report.archive_generated != level.archive_generated:
                if not self._may_change_shared():
                    raise AccessError(self.env._(
                        "Whether letters are kept is a setting of the letter “%(letter)s”, which all companies share: "
                        "only a system administrator may change it. Choose a letter of your own for dunning level "
                        "“%(level)s”, or ask the administrator.", letter=report.name, level=level.name))
                report.archive_generated = level.archive_generated

    @api.depends('text_ids.lang')
    def _compute_missing_text_langs(self):
        installed = dict(self.env['res.lang'].get_installed())
        for level in self:
            present = set(map(get_language, level.text_ids.mapped('lang')))
            level.missing_text_langs = ', '.join(
                name for code, name in installed.items() if get_language(code) not in present)

    @api.constrains('sequence')
    def _check_sequence(self):
        for level in self:
            if level.sequence < 1:
                raise ValidationError(self.env._(
                    "Dunning level “%s” needs a number from 1 upwards.", level.name))

    @api.constrains('report_id')
    def _check_report(self):
        for level in self:
            if level.sudo().report_id and level.sudo().report_id.model != 'dunning.notice':
                raise ValidationError(self.env._(
                    "“%(report)s” is no letter for dunning notices. Choose another one for dunning level “%(level)s”.",
                    report=level.sudo().report_id.name, level=level.name))

    @api.ondelete(at_uninstall=False)
    def _unlink_except_used(self):
        used = self.env['dunning.notice'].sudo().search([('level_id', 'in', self.ids)], limit=1).level_id
        if used:
            raise UserError(self.env._(
                "There are dunning notices of level “%s”, it cannot be deleted. Archive the procedure and make a new "
                "one instead.", used.name))

    # === TEXTS === #

    def _get_text(self, lang, kind='dunning'):
        """Return the row of texts in a language.

        :param str lang: code of a language, for example `de_CH`
        :param str kind: of the notice
        :return: `dunning.level.text`, empty where the level has none in that language, be it as another country has it
        """
        texts = self.env['dunning.level.text']
        if not self or kind != 'dunning':
            return texts
        return texts.search_fetch(
            [('level_id', '=', self.id), ('lang', '=like', f'{get_language(lang)}%')],
            ['lang', 'mail_subject', 'mail_body', 'letter_title', 'letter_intro', 'letter_closing'],
        )._choose_variant(lang)

    def _install_default_texts(self):
        """Add the installed texts in every active language in which the level has none and they exist."""
        vals_list = []
        for level in self.filtered('text_tone'):
            present = set(level.text_ids.mapped('lang'))
            for lang, _name in self.env['res.lang'].get_installed():
                if lang not in present and (texts := get_default_texts(level.text_tone, lang)):
                    vals_list.append({'level_id': level.id, 'lang': lang, **texts})
        self.env['dunning.level.text'].create(vals_list)

    def action_install_default_texts(self):
        """Add the installed texts for languages that lack one; rows that exist are left as they are.

        :raise UserError: a level does not say which of the installed texts it takes
        """
        for level in self:
            if level.text_tone not in DEFAULT_TEXTS:
                raise UserError(self.env._(
                    "Choose first which standard texts dunning level “%s” takes.", level.name))
        self._install_default_texts()

    def action_preview_texts(self):
        """Show the texts as a chosen customer would get them."""
        self.ensure_one()
        partner = self.env['res.partner'].search([('customer_rank', '>', 0)], limit=1) or self.env.company.partner_id
        return {
            'type': 'ir.actions.act_window',
            'name': self.env._("Preview"),
            'res_model': 'dunning.text.preview',
            'view_mode': 'form',
            'target': 'new',
            'context': {'default_level_id': self.id, 'default_partner_id': partner.id},
        }

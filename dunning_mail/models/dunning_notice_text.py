import html

from odoo import api, models
from odoo.exceptions import UserError
from odoo.fields import Command
from odoo.tools import format_amount, format_date

from ..tools.languages import choose_variant
from .dunning_level_text import HTML_FIELDS

# What texts may refer to; `_get_placeholders()` describes them.
PLACEHOLDERS = (
    'object.name',
    'object.partner_id.name',
    'object.recipient_id.name',
    'object.level_id.name',
    'object.date_text',
    'object.date_deadline_text',
    'object.amount_total_text',
    'object.amount_overdue_text',
    'object.amount_credit_text',
    'object.amount_fee_text',
    'object.amount_interest_text',
    'object.amount_lump_sum_text',
    'object.amount_cost_text',
    'object.amount_earlier_text',
    'object.items_html',
    'object.promise_date_text',
    'object.plan_html',
    'object.payment_reference',
    'object.run_id.name',
    'object.company_id.name',
    'object.company_id.phone',
    'object.company_id.email',
    'object.user_id.name',
    'object.user_id.email',
    'object.user_id.phone',
)


class DunningNotice(models.Model):
    """The words of a notice: in one language, from the texts of its level."""
    _inherit = 'dunning.notice'

    @api.depends('kind', 'level_id.text_ids.lang', 'lang', 'company_id.dunning_procedure_id')
    def _compute_text_id(self):
        for (kind, source, lang), notices in self.grouped(
                lambda notice: (notice.kind, notice._get_text_source(), notice.lang)).items():
            notices.text_id = source._get_text(lang, kind)

    def _get_text_source(self):
        """Return who has the texts: the level, and the company's procedure for what has no level."""
        self.ensure_one()
        if self.kind == 'dunning':
            return self.level_id
        return (
            self.level_id.procedure_id
            or self.partner_id.sudo().with_company(self.company_id).dunning_procedure_id
            or self.company_id.sudo().dunning_procedure_id)

    @api.depends('date', 'date_deadline', 'lang', 'amount_total', 'line_ids.amount_residual', 'line_ids.charge_id')
    def _compute_texts(self):
        for notice in self:
            def amount(value, notice=notice):
                return format_amount(self.env, value, notice.currency_id, lang_code=notice.lang)
            # The month in words: 12/04/2026 is a day in December here and one in April there.
            notice.date_text = format_date(self.env, notice.date, lang_code=notice.lang, date_format='long')
            notice.date_deadline_text = notice.date_deadline and format_date(
                self.env, notice.date_deadline, lang_code=notice.lang, date_format='long')
            for fname in ('overdue', 'credit', 'fee', 'interest', 'lump_sum', 'cost', 'earlier', 'total'):
                notice[f'amount_{fname}_text'] = amount(notice[f'amount_{fname}'])

    @api.depends('date', 'lang', 'amount_total', 'line_ids.amount_residual', 'line_ids.charge_id')
    def _compute_items_html(self):
        for notice in self:
            def show_amount(value, notice=notice):
                return format_amount(self.env, value, notice.currency_id, lang_code=notice.lang)

            def show_day(day, notice=notice):
                return format_date(self.env, day, lang_code=notice.lang)
            spoken = notice.with_context(lang=notice.lang)
            notice.items_html = self.env['ir.qweb'].with_context(lang=notice.lang)._render('dunning_mail.mail_items', {
                'notice': spoken, 'format_amount': show_amount, 'format_date': show_day,
                'charges': self.env['report.dunning_mail.letter']._get_charge_values(spoken, show_amount, show_day)})

    @api.model
    def _get_placeholders(self):
        """Return what texts may refer to.

        :return: dict of expression -> translated description, one for each of `PLACEHOLDERS`
        """
        return {
            'object.name': self.env._("Number of the notice"),
            'object.partner_id.name': self.env._("Customer"),
            'object.recipient_id.name': self.env._("Recipient (whose address stands on the letter)"),
            'object.level_id.name': self.env._("Dunning level"),
            'object.date_text': self.env._("Date of the notice"),
            'object.date_deadline_text': self.env._("Payable until"),
            'object.amount_total_text': self.env._("Total"),
            'object.amount_overdue_text': self.env._("Overdue amount"),
            'object.amount_credit_text': self.env._("Credits"),
            'object.amount_fee_text': self.env._("Fee"),
            'object.amount_interest_text': self.env._("Interest"),
            'object.amount_lump_sum_text': self.env._("Lump sum"),
            'object.amount_cost_text': self.env._("Costs"),
            'object.amount_earlier_text': self.env._("Charges of earlier notices"),
            'object.items_html': self.env._("Table of the due items (not in subject and title)"),
            'object.promise_date_text': self.env._("Day of a promise to pay, in its confirmation"),
            'object.plan_html': self.env._("Table of the instalments, in the confirmation of a promise"),
            'object.payment_reference': self.env._("Payment reference"),
            'object.run_id.name': self.env._("Dunning run"),
            'object.company_id.name': self.env._("Your company"),
            'object.company_id.phone': self.env._("Your company's phone"),
            'object.company_id.email': self.env._("Your company's e-mail"),
            'object.user_id.name': self.env._("Clerk"),
            'object.user_id.email': self.env._("Clerk's e-mail"),
            'object.user_id.phone': self.env._("Clerk's phone"),
        }

    @api.model
    def mail_allowed_qweb_expressions(self):
        return PLACEHOLDERS

    @api.model
    def _choose_lang(self, partner, recipient, level, company, is_chosen=False):
        """Return the language of a whole notice.

        The customer's, else the recipient's own, else the fallback language; the fallback too where the level has no
        texts in the language, so that text, table and dates never differ.

        :param bool is_chosen: the recipient was chosen by hand, or is the one whom the invoices name: his language
            comes first
        :return: code of an active language
        """
        langs = (partner.lang, recipient.lang)
        return self._choose_lang_among(langs[::-1] if is_chosen else langs, level, company)

    @api.model
    def _choose_lang_among(self, langs, source, company, kind='dunning'):
        """Return the language of a whole notice.

        :param langs: codes of the languages that are wanted, the first one preferred; may be empty
        :param source: who has the texts: `dunning.level`, `dunning.procedure` for other kinds
        :param str kind: of the notice
        :return: code of an active language
        """
        installed = dict(self.env['res.lang'].get_installed())
        fallback = company._get_dunning_fallback_lang()
        lang = next(filter(None, (choose_variant(code, installed) for code in langs if code)), fallback)
        return lang if source._get_text(lang, kind) else fallback

    def _render_texts(self, fnames=None):
        """Render the level's texts in the notice's language.

        :param fnames: which texts, default all
        :return: dict with `mail_subject` and `letter_title` (str), `mail_body`, `letter_intro` and `letter_closing`
            (Markup)
        :raise UserError: the level has no texts in the language, or a text holds a wrong placeholder
        """
        self.ensure_one()
        return self._render_all_texts(fnames)[self.id]

    def _render_all_texts(self, fnames=None):
        """Render the texts of many notices: core checks a template once for each call.

        :param fnames: which texts, default all
        :return: dict notice id -> what `_render_texts()` returns
        :raise UserError: as `_render_texts()`, for the first notice that has no text
        """
        self._check_texts()
        renderer = self.env['dunning.level.text'].sudo()
        texts = {}
        for source, notices in self.grouped(lambda notice: notice._get_fixed_texts() or notice.text_id).items():
            texts.update(renderer._render_source(source.sudo(), notices.sudo(), *([fnames] if fnames else [])))
        return texts

    def _get_fixed_texts(self):
        """Return the texts that an issued notice keeps, whatever becomes of those of its level."""
        self.ensure_one()
        return self.text_version_id if self.state in ('issued', 'cancelled') else self.text_version_id.browse()

    def _fix_texts(self):
        """Keep the texts as they are now: what has to be made again later says the same."""
        for text, notices in self.grouped('text_id').items():
            notices.text_version_id = text._get_version()

    def _raise_for_missing_texts(self):
        source, lang = self._get_text_source(), self.env['res.lang']._get_data(code=self.lang).name
        if not source:
            raise UserError(self.env._(
                "Neither the customer nor the company has a dunning procedure, which has the texts of %s.",
                self.display_name))
        if source._name == 'dunning.procedure':
            raise UserError(self.env._(
                "Dunning procedure “%(procedure)s” has no texts in %(lang)s for %(notice)s.", notice=self.display_name,
                procedure=source.display_name, lang=lang))
        raise UserError(self.env._(
            "Dunning level “%(level)s” has no texts in %(lang)s. Add them on the level's tab Dunning Texts.",
            level=source.display_name, lang=lang))

    @api.model
    def _new_sample(self, company, **values):
        """Return a notice in memory to show texts with, or to try them.

        :param company: `res.company` whose notice it is
        :param values: of the notice; by default the company asks itself for 100 that are overdue
        """
        today = company._get_dunning_day()
        return self.new({
            'name': 'MA/0001', 'company_id': company.id, 'user_id': self.env.user.id,
            'partner_id': company.partner_id.id, 'recipient_id': company.partner_id.id,
            'currency_id': company.currency_id.id, 'date': today, 'date_deadline': today,
            'line_ids': [Command.create({
                'kind': 'due', 'name': 'INV/0001', 'date_invoice': today, 'date_due': today, 'days_overdue': 20,
                'amount_invoiced': 100.0, 'amount_residual': 100.0})],
            **values})

    def _find_faulty_text(self, error):
        """Say which text it is that refers to what cannot be shown.

        :param error: `ResourceError`
        :return: :class:`UserError`, None where it is none of the texts, but the letter itself
        """
        self.ensure_one()
        source = (self._get_fixed_texts() or self.text_id).sudo()
        for fname in HTML_FIELDS:
            if error.address in html.unescape(str(source[fname] or '')):
                return UserError(self.env['dunning.level.text']._describe_fault(source, self, fname, error))
        return None

    def _check_texts(self):
        """Check that each notice has texts in its language, fixed ones or those of its level.

        :raise UserError: names level, language and the place where to mend it
        :raise ValidationError: a text holds a placeholder that is not allowed
        """
        for notice in self:
            if notice._get_fixed_texts():
                continue
            if not notice.text_id:
                notice._raise_for_missing_texts()
            notice.text_id.sudo()._raise_for_placeholders()

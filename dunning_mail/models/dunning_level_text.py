import re

from odoo import api, fields, models
from odoo.exceptions import ValidationError
from odoo.tools import is_html_empty
from odoo.tools.rendering_tools import parse_inline_template

from odoo.addons.base.models.res_partner import _lang_get

# What a person may have meant as a placeholder, whether or not core's renderer takes it for one.
RE_QWEB_DIRECTIVE = re.compile(r'\bt-(?!out\b)[a-z-]+\s*=', re.IGNORECASE)
RE_QWEB_OUT = re.compile(r'''\bt-out\s*=\s*(?:"([^"]*)"|'([^']*)')''')
INLINE_FIELDS = ('mail_subject', 'letter_title')
HTML_FIELDS = ('mail_body', 'letter_intro', 'letter_closing')


class DunningLevelText(models.Model):
    """The texts of a dunning level in one language.

    Rows rather than translated fields: it can be seen which language is missing, and a text is in one language as a
    whole. Placeholders are fields of `dunning.notice` on the list of `mail_allowed_qweb_expressions()`; core's renderer
    looks these up without evaluating anything, so a text cannot run code.
    """
    _name = 'dunning.level.text'
    _description = 'Dunning Text'
    _inherit = ['mail.render.mixin']
    _order = 'level_id, lang'
    _rec_name = 'lang'

    level_id = fields.Many2one('dunning.level', required=True, ondelete='cascade', index=True)
    company_id = fields.Many2one(related='level_id.company_id', store=True, index=True)
    lang = fields.Selection(_lang_get, string="Language", required=True, help="The customer's language.")
    mail_subject = fields.Char(required=True)
    mail_body = fields.Html(
        required=True, render_engine='qweb', sanitize='email_outgoing')
    letter_title = fields.Char(required=True)
    letter_intro = fields.Html(required=True, render_engine='qweb', sanitize='email_outgoing')
    letter_closing = fields.Html(required=True, render_engine='qweb', sanitize='email_outgoing')
    placeholder_help = fields.Html(compute='_compute_placeholder_help')
    placeholders = fields.Json(
        compute='_compute_placeholder_help', help="Expression and description of each placeholder, for the editor.")

    _lang_unique = models.Constraint(
        'UNIQUE(level_id, lang)', "A dunning level has its texts once in each language.")

    def _compute_render_model(self):
        self.render_model = 'dunning.notice'

    @api.depends('lang')
    def _compute_display_name(self):
        for text in self:
            text.display_name = self.env['res.lang']._get_data(code=text.lang).name or text.lang

    def _compute_placeholder_help(self):
        placeholders = self.env['dunning.notice']._get_placeholders()
        self.placeholders = placeholders
        self.placeholder_help = self.env['ir.qweb']._render(
            'dunning_mail.placeholder_help', {'placeholders': placeholders})

    @api.constrains(*INLINE_FIELDS, *HTML_FIELDS)
    def _check_placeholders(self):
        for text in self:
            text._raise_for_placeholders()

    @api.constrains(*INLINE_FIELDS, *HTML_FIELDS)
    def _check_not_empty(self):
        # The database sees that there is something; an editor leaves empty paragraphs where nothing is.
        for text in self:
            for fname in (*INLINE_FIELDS, *HTML_FIELDS):
                value = text[fname]
                if is_html_empty(value) if fname in HTML_FIELDS else not (value or '').strip():
                    raise ValidationError(self.env._(
                        "Dunning level “%(level)s”, texts in %(lang)s: “%(field)s” is empty.",
                        level=text.level_id.name, lang=self.env['res.lang']._get_data(code=text.lang).name or text.lang,
                        field=text._fields[fname]._description_string(self.env)))

    def _raise_for_placeholders(self):
        """Check that the texts hold no placeholder but the allowed ones.

        Asked again before rendering, since core evaluates other expressions for administrators.

        :raise ValidationError: names level, language, field and placeholder
        """
        self.ensure_one()
        allowed = set(self.env['dunning.notice'].mail_allowed_qweb_expressions())
        for fname in (*INLINE_FIELDS, *HTML_FIELDS):
            source = str(self[fname] or '')
            if fname in INLINE_FIELDS:
                wrong = [
                    expression for _string, expression, _default in parse_inline_template(source)
                    if expression and expression.strip() not in allowed]
                if not wrong and ('{{' in source) != ('}}' in source):
                    wrong = [source]
            else:
                wrong = [
                    double or single for double, single in RE_QWEB_OUT.findall(source)
                    if (double or single).strip() not in allowed]
                wrong += [match.rstrip('= ') for match in RE_QWEB_DIRECTIVE.findall(source)]
                if not wrong and '{{' in source:
                    # Only the one-line fields know this syntax: it would reach the customer as it is.
                    wrong = re.findall(r'\{\{.*?(?:\}\}|$)', source)
            if wrong:
                raise ValidationError(self.env._(
                    "Dunning level “%(level)s”, texts in %(lang)s, field “%(field)s”: “%(placeholder)s” is not a "
                    "placeholder. The allowed ones are listed below the texts.",
                    level=self.level_id.name, lang=self.env['res.lang']._get_data(code=self.lang).name or self.lang,
                    field=self._fields[fname]._description_string(self.env),
                    placeholder=wrong[0]))

    def _render_for(self, notices, fnames=(*INLINE_FIELDS, *HTML_FIELDS)):
        """Render the texts for notices, in the language of this row.

        :param notices: `dunning.notice`
        :param fnames: which texts
        :return: dict notice id -> dict with `mail_subject` and `letter_title` as str, `mail_body`, `letter_intro` and
            `letter_closing` as Markup
        :raise ValidationError: a text holds a placeholder that is not allowed
        """
        self.ensure_one()
        self._raise_for_placeholders()
        renderer = self.with_context(lang=self.lang)
        texts = {notice_id: {} for notice_id in notices._ids}
        for fname in fnames:
            engine = 'qweb' if fname in HTML_FIELDS else 'inline_template'
            for notice_id, value in renderer._render_template(
                    renderer[fname], 'dunning.notice', notices._ids, engine=engine).items():
                # Names of customers may hold line breaks; a subject and a title are one line.
                texts[notice_id][fname] = value if fname in HTML_FIELDS else ' '.join(str(value).split())
        return texts

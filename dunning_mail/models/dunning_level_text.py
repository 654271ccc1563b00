import hashlib
import json
import logging
import re

from lxml import html

from odoo import api, fields, models
from odoo.exceptions import UserError, ValidationError
from odoo.tools import is_html_empty
from odoo.tools.rendering_tools import parse_inline_template

from odoo.addons.base.models.ir_qweb import QWebError
from odoo.addons.base.models.res_partner import _lang_get

from ..tools.languages import choose_variant
from .ir_actions_report import RETRYABLE

_logger = logging.getLogger(__name__)

# What a person may have meant as a placeholder, whether or not core's renderer takes it for one.
RE_QWEB_DIRECTIVE = re.compile(r'\bt-(?!out\s*=)[a-z-]+\s*=', re.IGNORECASE)
RE_QWEB_OUT = re.compile(r'''\bt-out\s*=\s*(?:"([^"]*)"|'([^']*)')''')
INLINE_FIELDS = ('mail_subject', 'letter_title')
HTML_FIELDS = ('mail_body', 'letter_intro', 'letter_closing')


class DunningLevelText(models.Model):
    """The texts of a dunning level in one language; of a procedure for notices that have no level.

    Rows rather than translated fields: it can be seen which language is missing, and a text is in one language as a
    whole. Placeholders are fields of `dunning.notice` on the list of `mail_allowed_qweb_expressions()`; core's renderer
    looks these up without evaluating anything, so a text cannot run code.
    """
    _name = 'dunning.level.text'
    _description = 'Dunning Text'
    _inherit = ['dunning.shared', 'mail.render.mixin']
    _order = 'level_id, lang'
    _rec_name = 'lang'

    kind = fields.Selection(
        [('dunning', 'Dunning notice'), ('plan', 'Instalment plan'), ('statement', 'Statement of account')],
        required=True, default='dunning')
    level_id = fields.Many2one('dunning.level', ondelete='cascade', index=True)
    procedure_id = fields.Many2one(
        'dunning.procedure', ondelete='cascade', index='btree_not_null', help="Whose notices without a level they are.")
    company_id = fields.Many2one('res.company', compute='_compute_company_id', store=True, index=True)
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
    _procedure_lang_unique = models.UniqueIndex(
        '(procedure_id, kind, lang) WHERE level_id IS NULL',
        "A procedure has each kind of texts once in each language.")
    _has_owner = models.Constraint(
        "CHECK(CASE WHEN kind = 'dunning' THEN level_id IS NOT NULL AND procedure_id IS NULL "
        "ELSE level_id IS NULL AND procedure_id IS NOT NULL END)",
        "Dunning texts belong to a level, all other texts to a procedure.")

    def _get_writable_fields(self):
        return super()._get_writable_fields() | {
            'kind', 'level_id', 'procedure_id', 'lang', *INLINE_FIELDS, *HTML_FIELDS}

    def _get_shared_owner(self):
        return self.level_id.procedure_id or self.procedure_id

    def _choose_variant(self, lang):
        """Return which of these texts a language takes: its own, else those of another country that speaks it.

        :param str lang: code of a language, for example `fr_CH`
        :return: `dunning.level.text`, empty where none of them is in that language
        """
        code = choose_variant(lang, self.mapped('lang'))
        return self.filtered(lambda text: text.lang == code)[:1]

    def _compute_render_model(self):
        self.render_model = 'dunning.notice'

    @api.depends('level_id.company_id', 'procedure_id.company_id')
    def _compute_company_id(self):
        for text in self:
            text.company_id = text.level_id.company_id or text.procedure_id.company_id

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
    def _check_rendering(self):
        if not self.env.registry.ready:
            # The installed texts, and not all is there yet of what they are rendered with.
            return
        for text in self.sudo():
            sample = self.env['dunning.notice']._new_sample(
                text.company_id or self.env.company, kind=text.kind, level_id=text.level_id.id, lang=text.lang)
            for fname in (*INLINE_FIELDS, *HTML_FIELDS):
                value = self._render_source(text, sample, (fname,))[sample.id][fname]
                if fname not in HTML_FIELDS or is_html_empty(value):
                    continue
                try:
                    self.env['ir.actions.report'].collect_resources(html.fragment_fromstring(value, 'div'))
                except UserError as error:
                    raise ValidationError(self._describe_fault(text, sample, fname, error)) from error

    @api.model
    def _describe_fault(self, source, notices, fname, error):
        """Say which text cannot be shown, and why.

        :param source: one `dunning.level.text` or `dunning.text.version`
        :param notices: `dunning.notice` for which it was to be rendered
        :param str fname: name of the field
        :param Exception error: what happened
        """
        if isinstance(error, QWebError):
            # Its first lines; where in a template it stands helps nobody here.
            error = error.__cause__ or error
        owner = source._get_owner() if source._name == self._name else notices[:1]._get_text_source()
        return self.env._(
            "“%(owner)s”, texts in %(lang)s, field “%(field)s” cannot be shown: %(error)s",
            owner=owner.with_context(lang=self.env.lang).name,
            lang=self.env['res.lang']._get_data(code=source.lang).name or source.lang,
            field=self._fields[fname]._description_string(self.env), error=str(error).strip().split('\n')[0])

    @api.constrains(*INLINE_FIELDS, *HTML_FIELDS)
    def _check_not_empty(self):
        # The database sees that there is something; an editor leaves empty paragraphs where nothing is.
        for text in self:
            for fname in (*INLINE_FIELDS, *HTML_FIELDS):
                value = text[fname]
                if is_html_empty(value) if fname in HTML_FIELDS else not (value or '').strip():
                    raise ValidationError(self.env._(
                        "“%(owner)s”, texts in %(lang)s: “%(field)s” is empty.",
                        owner=text._get_owner().name,
                        lang=self.env['res.lang']._get_data(code=text.lang).name or text.lang,
                        field=text._fields[fname]._description_string(self.env)))

    def _get_owner(self):
        """Return the level, or the procedure, whose texts these are."""
        self.ensure_one()
        return self.level_id or self.procedure_id

    def _raise_for_placeholders(self):
        """Check that the texts hold no placeholder but the allowed ones.

        :raise ValidationError: names level, language, field and placeholder
        """
        self.ensure_one()
        for fname in (*INLINE_FIELDS, *HTML_FIELDS):
            if wrong := self._find_wrong_placeholder(fname, str(self[fname] or '')):
                raise ValidationError(self.env._(
                    "“%(owner)s”, texts in %(lang)s, field “%(field)s”: “%(placeholder)s” is not a placeholder. The "
                    "allowed ones are listed below the texts.",
                    owner=self._get_owner().name,
                    lang=self.env['res.lang']._get_data(code=self.lang).name or self.lang,
                    field=self._fields[fname]._description_string(self.env), placeholder=wrong))

    @api.model
    def _find_wrong_placeholder(self, fname, source):
        """Return the first placeholder that is not allowed, None where all are.

        :param str fname: name of the field
        :param str source: its text
        """
        allowed = set(self.env['dunning.notice'].mail_allowed_qweb_expressions())
        if fname in INLINE_FIELDS:
            wrong = [
                expression for _string, expression, _default in parse_inline_template(source)
                if expression and expression.strip() not in allowed]
            if not wrong and ('{{' in source) != ('}}' in source):
                wrong = [source]
        else:
            wrong = [
                double or single for double, single in RE_QWEB_OUT.findall(source)
                if (double or single) not in allowed]
            wrong += [match.rstrip('= ') for match in RE_QWEB_DIRECTIVE.findall(source)]
            if not wrong and '{{' in source:
                # Only the one-line fields know this syntax: it would reach the customer as it is.
                wrong = re.findall(r'\{\{.*?(?:\}\}|$)', source)
        return (wrong[0] or 't-out') if wrong else None

    def _get_version(self):
        """Return the :class:`dunning.text.version` of the texts as they are now, made where there is none yet."""
        self.ensure_one()
        values = {fname: str(self[fname] or '') for fname in (*INLINE_FIELDS, *HTML_FIELDS)}
        values['lang'] = self.lang
        digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
        Version = self.env['dunning.text.version'].sudo()
        return Version.search([('digest', '=', digest)], limit=1) or Version.create({**values, 'digest': digest})

    @api.model
    def _render_source(self, source, notices, fnames=(*INLINE_FIELDS, *HTML_FIELDS)):
        """Render texts for notices, in the language of the texts.

        :param source: one `dunning.level.text` or `dunning.text.version`
        :param notices: `dunning.notice`
        :param fnames: which texts
        :return: dict notice id -> dict with `mail_subject` and `letter_title` as str, `mail_body`, `letter_intro` and
            `letter_closing` as Markup
        :raise ValidationError: a text holds a placeholder that is not allowed; core would evaluate others for
            administrators
        """
        renderer = self.with_context(lang=source.lang)
        source = source.with_context(lang=source.lang)
        texts = {notice_id: {} for notice_id in notices._ids}
        for fname in fnames:
            if wrong := self._find_wrong_placeholder(fname, str(source[fname] or '')):
                raise ValidationError(self.env._("“%s” is not a placeholder of dunning texts.", wrong))
            engine = 'qweb' if fname in HTML_FIELDS else 'inline_template'
            try:
                rendered = renderer._render_template(source[fname], 'dunning.notice', notices._ids, engine=engine)
            except RETRYABLE:
                raise
            except Exception as error:
                # Whatever core makes of what a person has typed.
                _logger.info("Dunning texts %s, %s", source, fname, exc_info=True)
                raise ValidationError(self._describe_fault(source, notices, fname, error)) from error
            for notice_id, value in rendered.items():
                # Names of customers may hold line breaks; a subject and a title are one line.
                texts[notice_id][fname] = value if fname in HTML_FIELDS else ' '.join(str(value).split())
        return texts

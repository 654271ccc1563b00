from odoo import api, fields, models
from odoo.exceptions import UserError, ValidationError

from ..tools.languages import get_language
from .default_texts import KIND_TEXTS, get_default_texts
from .dunning_level import MAX_DAYS


class DunningProcedure(models.Model):
    """An ordered set of dunning levels."""
    _name = 'dunning.procedure'
    _description = 'Dunning Procedure'
    _inherit = ['dunning.shared', 'mail.thread']
    _order = 'company_id, name, id'

    name = fields.Char(required=True, translate=True)
    company_id = fields.Many2one(
        'res.company', index=True, default=lambda self: self._default_company_id(),
        help="Leave empty to share it among all companies.")
    level_ids = fields.One2many('dunning.level', 'procedure_id', string="Levels", copy=True)
    next_sequence = fields.Integer(compute='_compute_next_sequence', help="The number that a new level gets.")
    grace_days = fields.Integer(
        tracking=True,
        help="Items that are overdue by no more than these days are not dunned yet. "
             "The levels count from the due date all the same.")
    grouping = fields.Selection(
        [('customer', 'One notice for each customer'), ('level', 'One notice for each customer and level')],
        required=True, default='customer', tracking=True)
    interest_profile_id = fields.Many2one(
        'dunning.interest.profile', tracking=True, ondelete='restrict',
        domain="['|', ('company_id', '=', False), ('company_id', 'parent_of', company_id)]",
        help="Empty: that of the company. What companies share can only have one that they share.")
    text_ids = fields.One2many(
        'dunning.level.text', 'procedure_id', string="Other Texts", copy=True,
        help="Of letters that are no dunning notices.")
    active = fields.Boolean(default=True)

    _grace_days_not_negative = models.Constraint(
        f'CHECK(grace_days BETWEEN 0 AND {MAX_DAYS})', "The days of grace cannot be negative, nor more than ten years.")

    def _get_writable_fields(self):
        return super()._get_writable_fields() | {
            'name', 'company_id', 'level_ids', 'grace_days', 'grouping', 'interest_profile_id', 'text_ids', 'active'}

    @api.model_create_multi
    def create(self, vals_list):
        procedures = super().create(vals_list)
        if self.env.registry.ready:
            # Before, not all is there yet of what texts are checked with.
            procedures._install_default_texts()
        return procedures

    def _install_default_texts(self):
        """Add the installed texts of other letters in every active language in which the procedure has none and they
        exist."""
        vals_list = []
        for procedure in self.sudo():
            present = {(text.kind, text.lang) for text in procedure.text_ids}
            for kind in KIND_TEXTS:
                vals_list += [
                    {'procedure_id': procedure.id, 'kind': kind, 'lang': lang, **texts}
                    for lang, _name in self.env['res.lang'].get_installed()
                    if (kind, lang) not in present and (texts := get_default_texts(kind, lang))]
        self.env['dunning.level.text'].sudo().create(vals_list)

    def action_install_default_texts(self):
        """Add the installed texts for languages that lack one; rows that exist are left as they are."""
        self.check_access('write')
        self._install_default_texts()

    @api.depends('level_ids.sequence')
    def _compute_next_sequence(self):
        for procedure in self:
            procedure.next_sequence = max(procedure.level_ids.mapped('sequence'), default=0) + 1

    @api.constrains('company_id')
    def _check_company_users(self):
        users = self.env['res.company'].sudo().search([('dunning_procedure_id', 'in', self.ids)])
        users._check_dunning_company()

    @api.constrains('company_id', 'interest_profile_id')
    def _check_interest_profile(self):
        for procedure in self.sudo().filtered('interest_profile_id'):
            profile, company = procedure.interest_profile_id, procedure.company_id
            if profile.company_id and not (company and company._may_use_dunning(profile)):
                raise ValidationError(self.env._(
                    "Interest profile “%(profile)s” belongs to %(company)s and cannot be used by dunning procedure "
                    "“%(procedure)s”, which is not only theirs. Choose one that the same companies share.",
                    profile=profile.name, company=profile.company_id.name, procedure=procedure.name))

    def _get_interest_profile(self, company):
        """Return the profile by which interest is reckoned: the procedure's, else the company's.

        :param company: `res.company` that duns; without a procedure it decides alone
        :return: `dunning.interest.profile`, empty where no interest is claimed
        """
        profile = self.sudo().interest_profile_id
        if not profile or not profile.active or not company._may_use_dunning(profile):
            profile = company.sudo().dunning_interest_profile_id
        return profile.filtered('active').with_env(self.env)

    def _is_usable_by(self, company):
        """Whether the procedure duns the company's customers."""
        self.ensure_one()
        return self.active and company._may_use_dunning(self)

    def _get_text(self, lang, kind):
        """Return the row of texts for notices without a level.

        :param str lang: code of a language, for example `de_CH`
        :param str kind: of the notice
        :return: `dunning.level.text`, empty where the procedure has none in that language, be it as another country has
            it
        """
        if not self:
            return self.env['dunning.level.text']
        return self.env['dunning.level.text'].search([
            ('procedure_id', '=', self.id), ('kind', '=', kind), ('lang', '=like', f'{get_language(lang)}%'),
        ])._choose_variant(lang)

    def _check_ready(self, company):
        """Check what a run needs of the procedure before anything is proposed.

        :param company: `res.company` for which the notices are
        :raise UserError: names the level, the language and the place where to mend it
        """
        lang = company._get_dunning_fallback_lang()
        for procedure in self:
            if not procedure.level_ids:
                raise UserError(self.env._(
                    "Dunning procedure “%s” has no level. Add one under Invoicing > Configuration > Dunning > "
                    "Procedures.", procedure.name))
            for level in procedure.level_ids:
                if not level._get_text(lang):
                    raise UserError(self.env._(
                        "Dunning level “%(level)s” of procedure “%(procedure)s” has no texts in %(language)s, the "
                        "language of customers who have none. Add them on the level's tab Dunning Texts.",
                        level=level.name, procedure=procedure.name,
                        language=self.env['res.lang']._get_data(code=lang).name or lang))

    @api.ondelete(at_uninstall=False)
    def _unlink_except_used(self):
        if self.env['dunning.notice'].sudo().search_count([('level_id', 'in', self.level_ids.ids)], limit=1):
            raise UserError(self.env._(
                "There are dunning notices with levels of this procedure. Archive it instead of deleting it."))

from odoo import api, models


class ResLang(models.Model):
    _inherit = 'res.lang'

    @api.model_create_multi
    def create(self, vals_list):
        languages = super().create(vals_list)
        if any(languages.mapped('active')):
            self._install_dunning_texts()
        return languages

    def write(self, vals):
        result = super().write(vals)
        if vals.get('active'):
            self._install_dunning_texts()
        return result

    @api.model
    def _install_dunning_texts(self):
        """A language that is activated later gets the installed texts too."""
        self.env['dunning.level'].sudo().search([('text_tone', '!=', False)])._install_default_texts()
        self.env['dunning.procedure'].sudo().search([('active', 'in', (True, False))])._install_default_texts()

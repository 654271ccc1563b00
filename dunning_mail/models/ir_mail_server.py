from odoo import api, fields, models
from odoo.exceptions import ValidationError


class IrMailServer(models.Model):
    _inherit = 'ir.mail_server'

    dunning_provider_ids = fields.One2many('dunning.provider', 'mail_server_id', string="Dunning Service Providers")

    def write(self, vals):
        is_linking = any(fname.endswith(('_refresh_token', '_access_token')) for fname in vals)
        if vals.get('active') and is_linking and self.with_context(active_test=False).dunning_provider_ids:
            # Core activates the server whose OAuth account has been linked.
            vals = {fname: value for fname, value in vals.items() if fname != 'active'}
        return super().write(vals)

    @api.constrains('active')
    def _check_dunning_login_archived(self):
        # An active server may serve any mail of Odoo, unpaced and in another sender's name.
        for server in self.filtered('active'):
            if server.with_context(active_test=False).dunning_provider_ids:
                raise ValidationError(self.env._(
                    "“%s” is the login of a dunning service provider and stays archived, so that no other mail goes "
                    "through it. Make a mail server of its own for other mail.", server.name))

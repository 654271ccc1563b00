from odoo import api, fields, models
from odoo.exceptions import AccessError, ValidationError


class IrMailServer(models.Model):
    _inherit = 'ir.mail_server'

    dunning_provider_ids = fields.One2many('dunning.provider', 'mail_server_id', string="Dunning Service Providers")
    # A login stays one, whatever becomes of the provider's pointer to it.
    is_dunning_login = fields.Boolean(readonly=True, copy=False)

    def write(self, vals):
        if 'is_dunning_login' in vals and not self.env.su:
            raise AccessError(self.env._("That a mail server is the login of a service provider cannot be changed."))
        is_linking = any(fname.endswith(('_refresh_token', '_access_token')) for fname in vals)
        if vals.get('active') and is_linking and any(self.mapped('is_dunning_login')):
            # Core activates the server whose OAuth account has been linked.
            vals = {fname: value for fname, value in vals.items() if fname != 'active'}
        return super().write(vals)

    @api.constrains('active')
    def _check_dunning_login_archived(self):
        # An active server may serve any mail of Odoo, unpaced and in another sender's name.
        for server in self.filtered('active'):
            if server.is_dunning_login:
                raise ValidationError(self.env._(
                    "“%s” is the login of a dunning service provider and stays archived, so that no other mail goes "
                    "through it. Make a mail server of its own for other mail.", server.name))

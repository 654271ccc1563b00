from odoo import fields, models


class DunningProvider(models.Model):
    _inherit = 'dunning.provider'

    state = fields.Selection(tracking=True, readonly=False)
    next_send_at = fields.Datetime(readonly=False)
    mail_server_id = fields.Many2one(readonly=False, groups=False)

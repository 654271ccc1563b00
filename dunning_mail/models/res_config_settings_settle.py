from odoo import fields, models


class ResConfigSettings(models.TransientModel):
    _inherit = 'res.config.settings'

    dunning_settle_order = fields.Selection(related='company_id.dunning_settle_order', readonly=False)

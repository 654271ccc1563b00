from odoo import fields, models


class DunningRun(models.Model):
    _inherit = 'dunning.run'

    state = fields.Selection(selection_add=[('checked', 'Checked')], ondelete={'checked': 'set default'})
    letters_id = fields.Many2one(readonly=False)
    letters_key = fields.Char(readonly=False)

from odoo import api, fields, models

from odoo.addons.dunning_mail.tools.debt import Rest


class DunningThirdReason(models.Model):
    """A further reason for items to rest: nothing but this is needed for it."""
    _name = 'test.dunning.third.reason'
    _description = 'Third Reason for Items to Rest'
    _inherit = ['dunning.resting']

    item_id = fields.Many2one('account.move.line', required=True)
    amount = fields.Float(help="0: all of the item.")
    until = fields.Date(required=True)

    @api.model
    def _get_resting(self, items, day):
        return [
            Rest(record.item_id.id, record.amount or None, record.until, "Insured: the insurer pays.")
            for record in self.search([('item_id', 'in', items.ids), ('until', '>=', day)])]

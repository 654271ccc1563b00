from odoo import fields, models


class ResCompany(models.Model):
    """How payments settle what notices claim."""
    _inherit = 'res.company'

    dunning_settle_order = fields.Selection(
        [('items_first', "Invoices first, then charges"),
         ('charges_first', "Costs, fees and lump sums, then interest, then invoices")],
        string="Payments Settle", required=True, default='items_first',
        help="In which order a payment with the reference of a dunning notice settles what that notice claims. The "
             "law's order, where nothing else is agreed on, is the second one (BGB 367, ABGB 1416, OR 85).")

from odoo import fields, models


class DunningNotice(models.Model):
    """Fields declared anew, a state added, fields of its own: one for methods, one for people."""
    _inherit = 'dunning.notice'

    state = fields.Selection(selection_add=[('checked', 'Checked')], ondelete={'checked': 'cascade'}, readonly=False)
    delivery_state = fields.Selection(tracking=True, readonly=False)
    amount_interest = fields.Monetary(tracking=True, readonly=False)
    amount_total = fields.Monetary(tracking=True, readonly=False)
    document_sha256 = fields.Char(tracking=True, readonly=False)
    printed_at = fields.Datetime(readonly=False)
    court_number = fields.Char(help="Written by methods.")
    remark = fields.Char(help="Written by people.")

    def _get_writable_fields(self):
        return super()._get_writable_fields() | {'remark'}


class DunningNoticeLine(models.Model):
    _inherit = 'dunning.notice.line'

    amount_residual = fields.Monetary(readonly=False)
    cost_centre = fields.Char()

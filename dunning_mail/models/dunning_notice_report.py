from odoo import fields, models


class DunningNoticeReport(models.Model):
    """What a report says of one address that a notice went to, or was passed on to. Written by the system only."""
    _name = 'dunning.notice.report'
    _description = 'Dunning Delivery Report'
    _inherit = ['dunning.guard']
    _order = 'date desc, id desc'
    _rec_name = 'address'

    notice_id = fields.Many2one('dunning.notice', required=True, ondelete='cascade', index=True)
    company_id = fields.Many2one(related='notice_id.company_id', store=True, index=True)
    incoming_id = fields.Many2one('dunning.incoming.mail', string="Report", ondelete='set null', index='btree_not_null')
    date = fields.Datetime(required=True, default=fields.Datetime.now)
    message_id = fields.Char("Message-ID", help="Of the mail that the notice had when the report came.")
    address = fields.Char()
    original_address = fields.Char(help="To whom it was addressed before it was passed on.")
    action = fields.Selection([
        ('failed', 'Failed'), ('delayed', 'Late'), ('delivered', 'Delivered'), ('relayed', 'Passed on'),
        ('expanded', 'Passed on to a list')], help="Empty: the report does not say clearly.")
    status = fields.Char("Code")
    diagnostic = fields.Char("Words")
    remote_mta = fields.Char("Server")
    blames_address = fields.Boolean("Blames the Address")
    is_ours = fields.Boolean("Of This Notice", help="The notice went to this address.")
    is_proven = fields.Boolean("Proven", help="The report cannot have been written by somebody who has the mail.")

    is_denied = fields.Boolean("Denied", help="A person has said that the mail arrived all the same.")

    def _describe(self):
        self.ensure_one()
        return ' '.join(filter(None, (self.address, self.status, self.diagnostic)))

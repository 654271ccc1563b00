from odoo import api, models

from ..tools import bounce


class MailThread(models.AbstractModel):
    _inherit = 'mail.thread'

    @api.model
    def _routing_handle_bounce(self, email_message, message_dict):
        # Core tells the record whose mail it was that something came back, but not what the report says of it.
        self = self.with_context(dunning_delivery_report=bounce.read_report(email_message))
        result = super()._routing_handle_bounce(email_message, message_dict)
        if not message_dict['bounced_email']:
            # Without a readable address core tells nobody.
            message = message_dict['bounced_message']
            if message.model == 'dunning.notice':
                self.env['dunning.notice'].sudo().browse(message.res_id).exists()._message_receive_bounce(
                    False, message_dict['bounced_partner'])
        return result

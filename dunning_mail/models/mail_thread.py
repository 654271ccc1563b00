from odoo import api, models

from ..tools import bounce


class MailThread(models.AbstractModel):
    _inherit = 'mail.thread'

    @api.model
    def _routing_handle_bounce(self, email_message, message_dict):
        # Core looks for the record whose mail came back in the chatter, and guesses where the returned mail is missing.
        # What decides over a delivery state has to be certain: it is read and assigned here.
        report = bounce.read_report(email_message)
        result = super()._routing_handle_bounce(email_message, message_dict)
        guessed = self.env['dunning.notice'].sudo()
        message = message_dict['bounced_message']
        if message.model == 'dunning.notice':
            guessed = guessed.browse(message.res_id).exists()
        self.env['dunning.notice'].sudo()._receive_report(report, guessed)
        return result

from odoo import api, models


class MailThread(models.AbstractModel):
    _inherit = 'mail.thread'

    @api.model
    def message_process(self, model, message, custom_values=None, save_original=False, strip_attachments=False,
                        thread_id=None):
        # Core's fetchmail marks as seen also what it could not take in. What is about dunning is kept first, and worked
        # on afterwards, until it is through.
        Incoming = self.env['dunning.incoming.mail'].sudo()
        if not self.env.context.get('dunning_incoming_id') and Incoming._take_in(
                message, model, save_original, strip_attachments, is_fetched=self.env.su):
            return False
        return super().message_process(
            model, message, custom_values=custom_values, save_original=save_original,
            strip_attachments=strip_attachments, thread_id=thread_id)

    @api.model
    def _detect_write_to_catchall(self, msg_dict):
        # A person looks at it instead.
        return not self._is_dunning_letter() and super()._detect_write_to_catchall(msg_dict)

    @api.model
    def _detect_is_bounce(self, message, message_dict):
        # Core drops what it takes for a report, also what a person or her absence assistant has written.
        return not self._is_dunning_letter() and super()._detect_is_bounce(message, message_dict)

    @api.model
    def _is_dunning_letter(self):
        """Whether a mail is being handed on that was found to be no report."""
        return bool(self.env.su and self.env.context.get('dunning_incoming_letter'))

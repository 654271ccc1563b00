from odoo import api, models
from odoo.exceptions import AccessError

# Models whose chatter tells what the system did.
TOLD_BY_SYSTEM = ('dunning.notice', 'dunning.run', 'dunning.provider')


class MailMessage(models.Model):
    """What the system wrote into the chatter of dunning records stays as it is; a person's own notes are hers."""
    _inherit = 'mail.message'

    # What people may set on a message whoever wrote it.
    _DUNNING_PASSING = frozenset({'starred', 'starred_partner_ids', 'pinned_at'})

    def _get_dunning_records_of_system(self):
        """Return which of these messages are the system's: all but the comments that persons type."""
        told = self.sudo().filtered(lambda message: message.model in TOLD_BY_SYSTEM)
        return told.filtered(lambda message: message.message_type != 'comment' or message.tracking_value_ids)

    def _check_dunning_records_of_system(self):
        """:raise AccessError: the system wrote one of these messages, and somebody else wants to change or delete it"""
        if not self.env.su and (told := self._get_dunning_records_of_system()):
            raise AccessError(self.env._(
                "What the system wrote about “%s” cannot be changed or deleted: it is part of the evidence. Leave a "
                "note of your own if something is to be added.", told[0].record_name or told[0].model))

    def write(self, vals):
        if vals.keys() - self._DUNNING_PASSING:
            self._check_dunning_records_of_system()
        result = super().write(vals)
        # Nor does a note of one's own become one of the system's, or move to where the system's are.
        if {'message_type', 'model', 'res_id', 'tracking_value_ids'} & vals.keys():
            self._check_dunning_records_of_system()
        return result

    def unlink(self):
        # Not `@api.ondelete`: what a context says decides over that, and callers make the context.
        self._check_dunning_records_of_system()
        return super().unlink()


class MailTrackingValue(models.Model):
    """Tracked values are part of the system's messages."""
    _inherit = 'mail.tracking.value'

    @api.model_create_multi
    def create(self, vals_list):
        values = super().create(vals_list)
        values._check_dunning_records_of_system()
        return values

    def write(self, vals):
        self._check_dunning_records_of_system()
        result = super().write(vals)
        if 'mail_message_id' in vals:
            self._check_dunning_records_of_system()
        return result

    def unlink(self):
        self._check_dunning_records_of_system()
        return super().unlink()

    def _check_dunning_records_of_system(self):
        if not self.env.su:
            self.sudo().mail_message_id.sudo(False)._check_dunning_records_of_system()

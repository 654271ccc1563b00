from odoo import api, fields, models


class DunningNoticeConfirm(models.TransientModel):
    """Asks before something is done to many notices that cannot be taken back, as the buttons of a single one do."""
    _name = 'dunning.notice.confirm'
    _description = 'Question About Dunning Notices'
    _inherit = ['dunning.guard']

    notice_ids = fields.Many2many('dunning.notice', required=True)
    action = fields.Selection(
        [('retry', 'Send Again'), ('set_paper', 'Put on Paper'), ('mark_printed', 'Mark as Printed'),
         ('cancel', 'Cancel')], required=True)
    question = fields.Text(compute='_compute_question')

    def _get_writable_fields(self):
        return super()._get_writable_fields() | {'notice_ids', 'action'}

    @api.depends('notice_ids', 'action')
    def _compute_question(self):
        for confirm in self:
            notices = confirm.notice_ids
            unclear = notices.filtered(lambda notice: notice.delivery_state == 'unclear')
            names = '\n'.join(notice._get_full_name() for notice in unclear)
            confirm.question = {
                'retry': self.env._(
                    "It is not known whether these notices have arrived, and their customers may get them twice: ask "
                    "the mail provider for the Message-ID first.\n%s\nSend again?", names),
                'set_paper': self.env._(
                    "The customers may already have these notices by e-mail and would get them a second time on "
                    "paper:\n%s\nPut on paper?", names),
                'mark_printed': self.env._(
                    "From now on the documents of these confirmations are kept as they are: %s. Have they all been "
                    "printed?", len(notices)) if set(notices.mapped('kind')) == {'plan'} else self.env._(
                    "From now on these notices count, and their documents are kept as they are: %s. Have they all been "
                    "printed?", len(notices)),
                'cancel': self.env._(
                    "Cancelled notices do not count and never go out; what was sent or printed already stays so. This "
                    "cannot be undone. Cancel these notices: %s?", len(notices)),
            }.get(confirm.action)

    def action_confirm(self):
        """Do it.

        :return: what the action of the notices returns
        """
        self.ensure_one()
        return getattr(self.notice_ids, f'action_{self.action}')()

from odoo import models
from odoo.tools import format_amount


class AccountMoveReversal(models.TransientModel):
    _inherit = 'account.move.reversal'

    def _prepare_default_reversal(self, move):
        values = super()._prepare_default_reversal(move)
        if dispute_id := self.env.context.get('dunning_dispute_id'):
            dispute = self.env['dunning.dispute'].browse(dispute_id).exists()
            if dispute.state == 'open' and dispute.has_access('write') and move in dispute.item_ids.move_id:
                values['dunning_dispute_id'] = dispute.id
        return values

    def reverse_moves(self, is_modify=False):
        """Say on the credit note of how much the customer contests: core proposes all of the invoice."""
        action = super().reverse_moves(is_modify)
        for refund in self.new_move_ids:
            dispute = refund.sudo().dunning_dispute_id
            if dispute and refund.state == 'draft' and dispute.currency_id.compare_amounts(
                    dispute.amount_left, refund.amount_total) < 0:
                refund._message_log(body=self.env._(
                    "The customer contests %(amount)s. Lower this credit note before you post it, unless all of the "
                    "invoice is to be credited.",
                    amount=format_amount(self.env, dispute.amount_left, dispute.currency_id)))
        return action

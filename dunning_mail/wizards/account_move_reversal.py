from odoo import models


class AccountMoveReversal(models.TransientModel):
    _inherit = 'account.move.reversal'

    def _prepare_default_reversal(self, move):
        values = super()._prepare_default_reversal(move)
        if dispute_id := self.env.context.get('dunning_dispute_id'):
            dispute = self.env['dunning.dispute'].browse(dispute_id).exists()
            if dispute.state == 'open' and dispute.has_access('write') and move in dispute.item_ids.move_id:
                values['dunning_dispute_id'] = dispute.id
        return values

from odoo import models
from odoo.tools import format_amount


class AccountMoveReversal(models.TransientModel):
    _inherit = 'account.move.reversal'

    def reverse_moves(self, is_modify=False):
        """Let the credit notes accept the dispute from which they are made, and say on them of how much the customer
        contests: core proposes all of the invoices."""
        before = self.move_ids.reversal_move_ids
        action = super().reverse_moves(is_modify)
        if dispute_id := self.env.context.get('dunning_dispute_id'):
            dispute = self.env['dunning.dispute'].browse(dispute_id).exists()
            if dispute.state == 'open' and dispute.has_access('write'):
                self._link_refunds(dispute.sudo(), (self.move_ids.reversal_move_ids - before).filtered(
                    lambda refund: refund.reversed_entry_id in dispute.sudo().item_ids.move_id))
        return action

    def _link_refunds(self, dispute, refunds):
        """Let new credit notes accept a dispute.

        :param dispute: `dunning.dispute`
        :param refunds: `account.move`
        """
        refunds.sudo().dunning_dispute_id = dispute
        for refund in refunds.filtered(lambda refund: refund.state == 'posted'):
            dispute._accept(refund)
        drafts = refunds.filtered(lambda refund: refund.state == 'draft' and (
            refund.currency_id == dispute.currency_id))
        if dispute.currency_id.compare_amounts(dispute.amount_left, sum(drafts.mapped('amount_total'))) >= 0:
            return
        amount = format_amount(self.env, dispute.amount_left, dispute.currency_id)
        for refund in drafts:
            refund._message_log(body=self.env._(
                "The customer contests %(amount)s. Lower this credit note before you post it, unless all of the "
                "invoice is to be credited.", amount=amount) if len(drafts) == 1 else self.env._(
                "The customer contests %(amount)s of all these invoices together. Lower the credit notes (%(count)s) "
                "before you post them, unless all of the invoices is to be credited.", amount=amount,
                count=len(drafts)))

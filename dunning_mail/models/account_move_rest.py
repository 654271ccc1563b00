from odoo import api, fields, models
from odoo.exceptions import AccessError

from .res_partner import DUNNING_GROUPS


class AccountMove(models.Model):
    """A credit note for what a customer contests."""
    _inherit = 'account.move'

    dunning_dispute_id = fields.Many2one(
        'dunning.dispute', string="Dispute", readonly=True, copy=False, ondelete='set null', index='btree_not_null',
        groups=DUNNING_GROUPS, help="The dispute that this credit note accepts.")

    @api.model_create_multi
    def create(self, vals_list):
        moves = super().create(vals_list)
        if not self.env.su and moves.sudo().dunning_dispute_id:
            self._raise_dispute_closed()
        return moves

    def write(self, vals):
        if 'dunning_dispute_id' in vals and not self.env.su:
            self._raise_dispute_closed()
        return super().write(vals)

    def _raise_dispute_closed(self):
        raise AccessError(self.env._(
            "Which dispute a credit note accepts is kept by the system. Press “Credit Note” on the dispute."))

    def _post(self, soft=True):
        posted = super()._post(soft)
        for refund in posted.sudo().filtered('dunning_dispute_id'):
            refund.dunning_dispute_id._accept(refund)
        return posted

    def button_draft(self):
        disputes = self.sudo().filtered(lambda move: move.state == 'posted').dunning_dispute_id
        result = super().button_draft()
        disputes._reopen(self.env._("Open again: the credit note is a draft again."))
        return result

    def action_dunning_promise(self):
        """Open the dialog for a promise to pay these invoices."""
        return self.env['dunning.promise.make']._get_action(self)

    def action_dunning_dispute(self):
        """Open the form of a dispute about these invoices."""
        return self.env['dunning.dispute']._get_new_action(self)

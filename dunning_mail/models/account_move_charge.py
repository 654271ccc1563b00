from odoo import fields, models
from odoo.exceptions import UserError

from .dunning_charge import BOOKED_STATES


class AccountMove(models.Model):
    """Entries of dunning charges: what becomes of them by core's means is followed."""
    _inherit = 'account.move'

    def _get_dunning_charges(self):
        """Return the charges of which these entries are, or which they reverse; as superuser."""
        return self.sudo().line_ids.dunning_charge_id

    def _post(self, soft=True):
        posted = super()._post(soft)
        posted._get_dunning_charges()._follow_entry()
        return posted

    def button_draft(self):
        charges = self._get_dunning_charges()
        if charges:
            self._check_dunning_entries()
            # Core leaves a draft reconciled: what a draft reverses is open.
            self.filtered('reversed_entry_id').line_ids.filtered('dunning_charge_id').remove_move_reconcile()
        result = super().button_draft()
        charges._follow_entry()
        return result

    def unlink(self):
        charges = self._get_dunning_charges()
        booked = charges.filtered(lambda charge: charge.state in BOOKED_STATES and charge.move_booked_id in self)
        result = super().unlink()
        booked._set_claimed()
        charges._follow_entry()
        return result

    def _reverse_moves(self, default_values_list=None, cancel=False):
        if not cancel or not self._get_dunning_charges():
            return super()._reverse_moves(default_values_list, cancel)
        self._check_dunning_entries()
        # Core takes the payments off before it posts.
        reversals = super(AccountMove, self.with_context(dunning_reverses_charges=True))._reverse_moves(
            default_values_list, cancel)
        return reversals.with_env(self.env)

    def _reconcile_reversed_moves(self, reverse_moves, move_reverse_cancel):
        """Of charges: each with its own, whatever else of the entry is open. What was paid becomes a credit."""
        for move, reversal in zip(self, reverse_moves, strict=False):
            for lines in (reversal.line_ids.filtered('dunning_charge_id')).grouped(
                    lambda line: (line.dunning_charge_id, line.account_id, line.currency_id)).values():
                if not lines.account_id.reconcile:
                    continue
                own = move.line_ids.filtered(lambda line, lines=lines: (
                    (line.dunning_charge_id, line.account_id, line.currency_id) == (
                        lines.dunning_charge_id, lines.account_id, lines.currency_id)))
                own.with_context(dunning_reverses_charges=True).remove_move_reconcile()
                (own | lines).with_context(move_reverse_cancel=move_reverse_cancel).reconcile()
        pairs = [(move, reversal) for move, reversal in zip(self, reverse_moves, strict=False)
                 if not reversal.line_ids.dunning_charge_id]
        super(AccountMove, self.browse(move.id for move, _reversal in pairs))._reconcile_reversed_moves(
            self.browse(reversal.id for _move, reversal in pairs), move_reverse_cancel)
        return reverse_moves

    def _check_dunning_entries(self):
        """Check that what was reversed of a charge, or reverses one, is not undone by half.

        :raise UserError: names charge and entry
        """
        for charge in self._get_dunning_charges():
            reversal, own = charge._find_reversal().move_id, charge.move_booked_id
            if not reversal:
                continue
            if own in self and reversal not in self:
                raise UserError(self.env._(
                    "%(charge)s of entry %(entry)s has been reversed by %(reversal)s. Reset that one to draft first.",
                    charge=charge.display_name, entry=own.display_name, reversal=reversal.display_name))
            if reversal in self and charge.notice_id.state == 'cancelled':
                raise UserError(self.env._(
                    "%(entry)s reverses %(charge)s, whose notice was cancelled: it is not claimed any more.",
                    entry=reversal.display_name, charge=charge.display_name))


class AccountMoveLine(models.Model):
    _inherit = 'account.move.line'

    dunning_charge_id = fields.Many2one(
        'dunning.charge', readonly=True, copy=False, ondelete='set null',
        index='btree_not_null', help="The charge that this line books, or reverses.")

    def _copy_data_extend_business_fields(self, values):
        # What reverses a charge is that charge's too.
        if self.dunning_charge_id:
            values['dunning_charge_id'] = self.dunning_charge_id.id
        return super()._copy_data_extend_business_fields(values)

from odoo import api, models


class AccountPartialReconcile(models.Model):
    _inherit = 'account.partial.reconcile'

    @api.model_create_multi
    def create(self, vals_list):
        partials = super().create(vals_list)
        self.env['dunning.promise']._value_of_items(partials.debit_move_id.ids)
        (partials.debit_move_id | partials.credit_move_id).sudo().dunning_charge_id._follow_entry()
        return partials

    def unlink(self):
        line_ids = self.debit_move_id.ids
        charges = (self.debit_move_id | self.credit_move_id).sudo().dunning_charge_id
        result = super().unlink()
        self.env['dunning.promise']._value_of_items(line_ids)
        charges._follow_entry()
        return result

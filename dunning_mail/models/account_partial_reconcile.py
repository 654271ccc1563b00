from odoo import api, models


class AccountPartialReconcile(models.Model):
    _inherit = 'account.partial.reconcile'

    @api.model_create_multi
    def create(self, vals_list):
        partials = super().create(vals_list)
        self.env['dunning.promise']._value_of_items(partials.debit_move_id.ids)
        return partials

    def unlink(self):
        line_ids = self.debit_move_id.ids
        result = super().unlink()
        self.env['dunning.promise']._value_of_items(line_ids)
        return result

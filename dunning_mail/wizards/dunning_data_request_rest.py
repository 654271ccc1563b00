from odoo import api, models


class DunningDataRequest(models.TransientModel):
    _inherit = 'dunning.data.request'

    def _get_sayings(self):
        """Return what these customers have promised and contested, as far as it holds data: list of recordsets."""
        self.ensure_one()
        return [self.env[model].with_context(active_test=False).search([
            ('partner_id.commercial_partner_id', 'in', self.partner_ids.commercial_partner_id.ids),
            ('data_removed_at', '=', False)]) for model in ('dunning.promise', 'dunning.dispute')]

    def _get_free_sayings(self):
        """Return those of them that need not be kept."""
        archive = self.env['dunning.archive']
        return [records & records.browse().union(*(
            archive._get_expired_sayings(records._name, company) for company in records.company_id))
            for records in self._get_sayings()]

    @api.depends('partner_ids')
    def _compute_description(self):
        result = super()._compute_description()
        for request in self:
            said, free = request._get_sayings(), request._get_free_sayings()
            if not any(said):
                continue
            lines = [request.description] if request.can_remove or request._get_notices() else []
            lines += [
                self.env._("Can be removed now: %s", record.display_name) for records in free for record in records]
            lines += [
                self.env._("Must be kept: %s", record.display_name)
                for records, removable in zip(said, free, strict=True) for record in records - removable]
            request.description = '\n'.join(lines)
            request.can_remove = request.can_remove or any(free)
        return result

    def action_remove(self):
        free = self._get_free_sayings()
        result = super().action_remove()
        for records in free:
            for company, of_company in records.grouped('company_id').items():
                of_company._remove_personal_data(self.env['dunning.archive']._get_removal_words(company))
        return result

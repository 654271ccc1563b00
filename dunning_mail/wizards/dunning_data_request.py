from odoo import api, fields, models
from odoo.tools import format_date


class DunningDataRequest(models.TransientModel):
    """A person wants to know what dunning keeps of her, or to have it removed: what has to be kept is named, with the
    day and the reason, the rest can go."""
    _name = 'dunning.data.request'
    _description = 'Request About Personal Data of Dunning'
    _inherit = ['dunning.guard']

    partner_ids = fields.Many2many('res.partner', required=True, context={'active_test': False})
    description = fields.Text(compute='_compute_description')
    can_remove = fields.Boolean(compute='_compute_description')

    def _get_writable_fields(self):
        return super()._get_writable_fields() | {'partner_ids'}

    def _get_notices(self):
        """Return the notices to these persons, their customers and their customers' contacts, that still hold data, as
        far as the user sees them."""
        self.ensure_one()
        customers = self.partner_ids.commercial_partner_id
        return self.env['dunning.notice'].with_context(active_test=False).search([
            ('data_removed_at', '=', False), '|', ('recipient_id', 'in', self.partner_ids.ids),
            ('partner_id.commercial_partner_id', 'in', customers.ids)], order='date, id')

    def _get_exceptions(self):
        """Return where these customers were left out, in runs of which that is kept no longer."""
        self.ensure_one()
        exceptions = self.env['dunning.run.exception'].with_context(active_test=False).search([
            ('partner_id.commercial_partner_id', 'in', self.partner_ids.commercial_partner_id.ids)])
        archive = self.env['dunning.archive']
        expired = self.env['dunning.run'].union(*map(archive._get_expired_runs, exceptions.run_id.company_id))
        return exceptions.filtered(lambda exception: exception.run_id in expired)

    @api.depends('partner_ids')
    def _compute_description(self):
        for request in self:
            kept = {notice: notice._describe_why_kept() for notice in request._get_notices()}
            free = [notice for notice, words in kept.items() if not words]
            runs = request._get_exceptions().run_id
            lines = []
            if free or runs:
                lines += [self.env._("Can be removed now:"), *map(request._name_notice, free), *(
                    self.env._("Why they were left out of run %s", run.name) for run in runs), '']
            if len(free) < len(kept):
                lines += [self.env._("Must be kept:"), *(
                    f'{request._name_notice(notice)}: {words}' for notice, words in kept.items() if words)]
            request.description = '\n'.join(lines).strip() or self.env._("Dunning keeps no personal data of them.")
            request.can_remove = bool(free or runs)

    def _name_notice(self, notice):
        return f'{notice.display_name} ({format_date(self.env, notice.date)}, {notice.company_id.name})'

    def action_remove(self):
        """Remove what need not be kept; what has to be stays, as the description says."""
        self.ensure_one()
        archive = self.env['dunning.archive']
        free = self._get_notices().filtered(lambda notice: not notice._describe_why_kept())
        exceptions = self._get_exceptions()
        for company, notices in free.grouped('company_id').items():
            notices._remove_personal_data(archive._get_removal_words(company))
        exceptions.sudo()._empty_personal_fields()
        return {'type': 'ir.actions.act_window_close'}

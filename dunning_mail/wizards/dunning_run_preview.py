from datetime import timedelta

from odoo import api, fields, models
from odoo.exceptions import UserError

# What a person still reads on a screen.
SHOWN = 200


class DunningRunPreview(models.TransientModel):
    """Shows what a run would do on another date. Nothing of the run is written."""
    _name = 'dunning.run.preview'
    _description = 'Preview of a Dunning Run'
    _inherit = ['dunning.guard']

    run_id = fields.Many2one('dunning.run', required=True, ondelete='cascade')
    date = fields.Date(required=True, default=lambda self: self.env.company._get_dunning_day() + timedelta(days=7))
    notice_count = fields.Integer("Notices", compute='_compute_preview')
    result = fields.Html(compute='_compute_preview', sanitize=False)

    def _get_writable_fields(self):
        return super()._get_writable_fields() | {'run_id', 'date'}

    @api.depends('run_id', 'date')
    def _compute_preview(self):
        for preview in self:
            preview.notice_count, preview.result = 0, False
            if not preview.run_id or not preview.date:
                continue
            run = preview.run_id
            try:
                # What follows is read as the superuser.
                run.check_access('read')
                run._check_ready()
            except UserError as error:
                preview.result = self.env['ir.qweb']._render(
                    'dunning_mail.run_preview', {'error': str(error), 'notices': [], 'exceptions': [], 'left': 0})
                continue
            # In memory: the run itself keeps its date.
            sample = run.new({
                'company_id': run.company_id.id, 'date': preview.date, 'due_until': preview.date,
                'procedure_ids': run.sudo().procedure_ids.ids, 'partner_ids': run.sudo().partner_ids.ids})
            notices, exceptions = self.env['dunning.proposal'].sudo().with_company(run.company_id)._propose(
                sample.sudo(), run.sudo())
            preview.notice_count = len(notices)
            preview.result = self.env['ir.qweb']._render('dunning_mail.run_preview', {
                'error': False,
                'notices': [self._describe_notice(values) for values in self._sort(notices)[:SHOWN]],
                'exceptions': [self._describe_exception(values) for values in exceptions[:SHOWN]],
                'left': max(0, len(notices) - SHOWN) + max(0, len(exceptions) - SHOWN),
            })

    @api.model
    def _sort(self, notices):
        """Return values of notices in the order in which customers are listed everywhere."""
        # Of a branch there may be some whom the user does not see otherwise.
        partners = self.env['res.partner'].sudo().with_context(active_test=False).search(
            [('id', 'in', [values['partner_id'] for values in notices])])
        positions = {partner_id: position for position, partner_id in enumerate(partners.ids)}
        return sorted(notices, key=lambda values: positions[values['partner_id']])

    @api.model
    def _describe_notice(self, values):
        currency = self.env['res.currency'].browse(values['currency_id'])
        amount = sum(
            line['amount_residual'] for _command, _id, line in values['line_ids'] if line['kind'] != 'info') + sum(
            charge['amount'] for _command, _id, charge in values['charge_ids'])
        return {
            'partner': self.env['res.partner'].sudo().browse(values['partner_id']).display_name,
            'level': self.env['dunning.level'].browse(values['level_id']).name,
            'amount': currency.format(amount),
        }

    @api.model
    def _describe_exception(self, values):
        return {
            'partner': self.env['res.partner'].sudo().browse(values['partner_id']).display_name,
            'item': values['document'],
            'words': values['description'],
        }

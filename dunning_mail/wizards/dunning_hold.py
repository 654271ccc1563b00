from datetime import timedelta

from odoo import api, fields, models
from odoo.exceptions import UserError


class DunningHold(models.TransientModel):
    """Lets a clerk put a customer on hold from where she works: she may not write customers."""
    _name = 'dunning.hold'
    _description = 'Dunning Hold'
    _inherit = ['dunning.guard']

    partner_id = fields.Many2one('res.partner', string="Customer", required=True)
    company_id = fields.Many2one('res.company', required=True, default=lambda self: self.env.company)
    hold_until = fields.Date(
        "No Dunning Until", required=True,
        default=lambda self: self.env.company._get_dunning_day() + timedelta(days=14))
    reason = fields.Char("Reason for No Dunning", required=True)

    def _get_writable_fields(self):
        return super()._get_writable_fields() | {'partner_id', 'company_id', 'hold_until', 'reason'}

    @api.model
    def _get_action(self, notice):
        """Return the action that opens the dialog for the customer of a notice."""
        partner, company = notice.partner_id.commercial_partner_id, notice.company_id
        return {
            'type': 'ir.actions.act_window', 'name': self.env._("No Dunning Until"), 'res_model': self._name,
            'view_mode': 'form', 'target': 'new',
            'context': {'default_partner_id': partner.id, 'default_company_id': company.id,
                        'dunning_answered_ids': notice.ids}}

    def action_apply(self):
        """Put the customer on hold.

        :raise UserError: the day is over, or the company is not the user's
        """
        self.ensure_one()
        self.env['dunning.notice'].check_access('write')
        self.partner_id.check_access('read')
        if self.company_id not in self.env.user.company_ids:
            raise UserError(self.env._("You do not work in %s.", self.company_id.name))
        if self.hold_until < self.company_id._get_dunning_day():
            raise UserError(self.env._("A hold until a day that is over holds nothing."))
        customer = self.partner_id.commercial_partner_id.sudo().with_company(self.company_id)
        customer.write({'dunning_hold_until': self.hold_until, 'dunning_hold_reason': self.reason})
        self.env['dunning.notice']._handle_answers_of_context()
        return {'type': 'ir.actions.act_window_close'}

from odoo import api, fields, models


class DunningRestart(models.TransientModel):
    """Lets items start again at the first level, with a reason: those of an invoice or of a customer."""
    _name = 'dunning.restart'
    _description = 'Start Dunning Again'
    _inherit = ['dunning.guard']

    move_line_ids = fields.Many2many('account.move.line', string="Items", required=True)
    reason = fields.Char(required=True)

    def _get_writable_fields(self):
        return super()._get_writable_fields() | {'move_line_ids', 'reason'}

    @api.model
    def default_get(self, fields_list):
        values = super().default_get(fields_list)
        if 'move_line_ids' in fields_list and not values.get('move_line_ids'):
            values['move_line_ids'] = [fields.Command.set(self._find_items().ids)]
        return values

    def _find_items(self):
        """Return the open items that have a level, of the records from which the dialog was opened."""
        records = self.env[self.env.context.get('active_model') or 'account.move.line'].browse(
            self.env.context.get('active_ids') or ())
        if records._name == 'res.partner':
            records = records.commercial_partner_id
        fname = {'account.move': 'move_id', 'res.partner': 'partner_id.commercial_partner_id'}.get(records._name, 'id')
        return self.env['account.move.line'].search([
            (fname, 'in', records.ids), ('account_type', '=', 'asset_receivable'), ('parent_state', '=', 'posted'),
            ('reconciled', '=', False), ('dunning_level_id', '!=', False)])

    def action_apply(self):
        """Let the items start again.

        :raise UserError: one is on an open notice, or none has a level
        """
        self.ensure_one()
        self.move_line_ids._restart_dunning(self.reason)

from odoo import api, fields, models
from odoo.exceptions import UserError


class DunningLevelChange(models.TransientModel):
    """Lowers or raises the level of drafts, with a reason."""
    _name = 'dunning.level.change'
    _description = 'Change of a Dunning Level'
    _inherit = ['dunning.guard']

    notice_ids = fields.Many2many('dunning.notice', required=True)
    procedure_id = fields.Many2one('dunning.procedure', compute='_compute_procedure_id')
    level_id = fields.Many2one(
        'dunning.level', string="New Level", required=True, domain="[('procedure_id', '=', procedure_id)]")
    reason = fields.Char(required=True)

    def _get_writable_fields(self):
        return super()._get_writable_fields() | {'notice_ids', 'level_id', 'reason'}

    @api.depends('notice_ids')
    def _compute_procedure_id(self):
        for change in self:
            change.procedure_id = change.notice_ids.level_id.procedure_id[:1]

    def action_apply(self):
        """Give the notices the new level.

        :raise UserError: a notice is not a draft, or has another procedure
        """
        self.ensure_one()
        for notice in self.notice_ids:
            if notice.level_id.procedure_id != self.level_id.procedure_id:
                raise UserError(self.env._(
                    "The notice for %(partner)s follows another dunning procedure than level “%(level)s”.",
                    partner=notice.partner_id.display_name, level=self.level_id.name))
        self.notice_ids._change_level(self.level_id, self.reason)

from odoo import api, models


class DunningProposal(models.AbstractModel):
    """Gives values of its own to what is written in sets, each at another place."""
    _inherit = 'dunning.proposal'

    @api.model
    def _prepare_line_values(self, item, kind, level_id, day):
        return {'cost_centre': f'{kind} {item.number}', **super()._prepare_line_values(item, kind, level_id, day)}

    @api.model
    def _prepare_credit_values(self, credit, amount):
        return {**super()._prepare_credit_values(credit, amount), 'cost_centre': 'credit'}

    @api.model
    def _prepare_notice_values(self, run, candidate):
        return {'court_number': f'C {run.name}', **super()._prepare_notice_values(run, candidate)}

from odoo import fields, models

from .res_partner import DUNNING_GROUPS


class ResPartner(models.Model):
    """What a customer has promised and contests."""
    _inherit = 'res.partner'

    dunning_promise_count = fields.Integer("Promises", compute='_compute_dunning_rest_counts', groups=DUNNING_GROUPS)
    dunning_missed_count = fields.Integer(
        "Promises Not Kept", compute='_compute_dunning_rest_counts', groups=DUNNING_GROUPS,
        help="To your company: of which something came too late, or not at all.")
    dunning_dispute_count = fields.Integer("Disputes", compute='_compute_dunning_rest_counts', groups=DUNNING_GROUPS)

    def _compute_dunning_rest_counts(self):
        def count(model, *conditions):
            counts = {}
            for partner, number in model._read_group(
                    [('partner_id.commercial_partner_id', 'in', self.commercial_partner_id.ids), *conditions],
                    ['partner_id'], ['__count']):
                owner = partner.commercial_partner_id
                counts[owner] = counts.get(owner, 0) + number
            return counts
        promises = count(self.env['dunning.promise'])
        # What she has not kept to a branch, all of them have to know.
        missed = count(
            self.env['dunning.promise'].sudo(), ('is_missed', '=', True),
            ('company_id', 'child_of', self.env.company.root_id.id))
        disputes = count(self.env['dunning.dispute'])
        for partner in self:
            owner = partner.commercial_partner_id
            partner.dunning_promise_count = promises.get(owner, 0)
            partner.dunning_missed_count = missed.get(owner, 0)
            partner.dunning_dispute_count = disputes.get(owner, 0)

    def action_dunning_promise(self):
        """Open the dialog for a promise to pay."""
        return self.env['dunning.promise.make']._get_action(self)

    def action_dunning_dispute(self):
        """Open the form of a dispute."""
        return self.env['dunning.dispute']._get_new_action(self)

    def action_open_dunning_promises(self):
        """Open the promises of this customer."""
        return self._open_of_customer('dunning_mail.dunning_promise_action')

    def action_open_dunning_disputes(self):
        """Open the disputes of this customer."""
        return self._open_of_customer('dunning_mail.dunning_dispute_action')

    def _open_of_customer(self, xmlid):
        self.ensure_one()
        action = self.env['ir.actions.act_window']._for_xml_id(xmlid)
        action['domain'] = [('partner_id.commercial_partner_id', '=', self.commercial_partner_id.id)]
        action['context'] = {}
        return action

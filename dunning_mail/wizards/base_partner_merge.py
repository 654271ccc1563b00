from odoo import Command, models
from odoo.tools import email_normalize


class MergePartnerAutomatic(models.TransientModel):
    _inherit = 'base.partner.merge.automatic.wizard'

    def _update_foreign_keys(self, src_partners, dst_partner):
        # Core moves no row that would be there twice, and cannot delete the contact then.
        runs = self.env['dunning.run'].sudo().search([('partner_ids', 'in', src_partners.ids)])
        # By commands: archived customers of the filters are not seen, and stay.
        runs.partner_ids = [
            *(Command.unlink(partner.id) for partner in src_partners), Command.link(dst_partner.id)]
        self.env.flush_all()
        return super()._update_foreign_keys(src_partners, dst_partner)

    def _update_values(self, src_partners, dst_partner):
        # Core takes what the destination has, and else what any of the others has: an expired hold for one that runs,
        # and the mark of a dead address for a good one.
        partners = (dst_partner | src_partners).sudo()
        held = partners.filtered('dunning_hold_until').sorted('dunning_hold_until', reverse=True)[:1]
        refused = {
            email_normalize(partner.email): (partner.dunning_email_refused_date, partner.dunning_email_refused_reason)
            for partner in partners.filtered('dunning_email_refused')}
        values = {
            'dunning_channel': 'paper' if 'paper' in partners.mapped('dunning_channel') else 'level',
            'dunning_hold_until': held.dunning_hold_until, 'dunning_hold_reason': held.dunning_hold_reason}
        result = super()._update_values(src_partners, dst_partner)
        address = email_normalize(dst_partner.email)
        day, reason = refused.get(address, (False, False))
        dst_partner.sudo().write({
            **values, 'dunning_email_refused': address in refused, 'dunning_email_refused_date': day,
            'dunning_email_refused_reason': reason})
        return result

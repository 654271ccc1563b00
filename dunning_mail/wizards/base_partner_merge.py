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
        partners.invalidate_recordset(
            ['dunning_channel', 'dunning_debtor_kind', 'dunning_hold_until', 'dunning_hold_reason'])
        # What has come to the destination already may be of several: day and reason of one go first.
        said = {company: self._get_dunning_said((src_partners | dst_partner).sudo().with_company(company))
                for company in self.env['res.company'].sudo().with_context(active_test=False).search([])}
        refused = {
            email_normalize(partner.email): (partner.dunning_email_refused_date, partner.dunning_email_refused_reason)
            for partner in partners.filtered('dunning_email_refused')}
        result = super()._update_values(src_partners, dst_partner)
        address = email_normalize(dst_partner.email)
        day, reason = refused.get(address, (False, False))
        dst_partner.sudo().write({
            'dunning_email_refused': address in refused, 'dunning_email_refused_date': day,
            'dunning_email_refused_reason': reason})
        for company, values in said.items():
            dst_partner.sudo().with_company(company).write(values)
        return result

    def _get_dunning_said(self, partners):
        """Return what is to be said of several who become one: the longest hold, paper if one wants that, and a
        consumer, who owes less, if one is said to be one.

        :param partners: `res.partner` as one company sees them
        """
        held = partners.filtered('dunning_hold_until').sorted('dunning_hold_until', reverse=True)[:1]
        channels, kinds = partners.mapped('dunning_channel'), partners.mapped('dunning_debtor_kind')
        return {
            'dunning_channel': 'paper' if 'paper' in channels else 'level' if 'level' in channels else False,
            'dunning_debtor_kind': next(
                (kind for kind in ('consumer', 'business', 'auto') if kind in kinds), False),
            'dunning_hold_until': held.dunning_hold_until, 'dunning_hold_reason': held.dunning_hold_reason}

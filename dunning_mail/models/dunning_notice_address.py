from odoo import api, models


class DunningNotice(models.Model):
    """Where a letter goes: the recipient's postal address, with the customer's lines where it has none."""
    _inherit = 'dunning.notice'

    def _get_addressee(self):
        """Return the recipient with the postal address to write to.

        A contact may have been made for its mail address only. What it lacks is its company's, as long as nothing that
        it has speaks against it: a street of one town is never put before another.

        :return: `res.partner`, in memory where something was filled in
        """
        self.ensure_one()
        # By an address that the clerk need not be allowed to see.
        recipient = (self.recipient_id or self.partner_id).sudo()
        company = recipient.commercial_partner_id
        if recipient == company or (recipient.country_id or company.country_id) != company.country_id:
            return recipient
        is_same_town = all(
            not recipient[fname] or (recipient[fname] or '').casefold() == (company[fname] or '').casefold()
            for fname in ('zip', 'city'))
        fnames = ['country_id']
        if is_same_town:
            fnames += ['zip', 'city', 'state_id']
        if is_same_town and not recipient.street and not recipient.street2:
            fnames += ['street', 'street2']
        lacking = {fname: company[fname] for fname in fnames if company[fname] and not recipient[fname]}
        return recipient.new(lacking, origin=recipient) if lacking else recipient

    @api.onchange('recipient_id')
    def _onchange_recipient_id(self):
        if self.state == 'draft' and self.recipient_id and self.recipient_id != self._origin.recipient_id:
            self.lang = self._choose_recipients_lang()

    def _choose_recipients_lang(self):
        """Return the language of a notice whose recipient was chosen by hand: his own comes first."""
        self.ensure_one()
        if self.kind != 'dunning':
            return self.sudo()._choose_lang_among(
                (self.recipient_id.sudo().lang, self.partner_id.sudo().lang), self._get_text_source(),
                self.company_id.sudo(), self.kind)
        return self.sudo()._choose_lang(
            self.partner_id.sudo(), self.recipient_id.sudo(), self.level_id, self.company_id.sudo(), is_chosen=True)

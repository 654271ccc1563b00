from odoo import api, fields, models
from odoo.tools import format_list

from ..tools import qr


class DunningNotice(models.Model):
    """What a person should know of a draft before it is issued. Nothing of it keeps the notice from going out."""
    _inherit = 'dunning.notice'

    hints = fields.Text(
        compute='_compute_hints', search='_search_hints', help="What to look at before the notice is issued.")

    @api.depends(
        'state', 'lang', 'amount_total', 'proposal_hint', 'line_ids.move_line_id', 'company_id', 'currency_id',
        *(f'{fname}.{part}' for fname in ('partner_id', 'recipient_id')
          for part in ('name', 'street', 'street2', 'zip', 'city', 'country_id')))
    def _compute_hints(self):
        for notice in self:
            is_draft = notice.state in ('draft', 'excluded')
            notice.hints = '\n'.join(notice.sudo()._list_hints()) or False if is_draft else False

    @api.model
    def _search_hints(self, operator, value):
        if operator not in ('in', 'not in') or set(value) != {False}:
            return NotImplemented
        # Nothing else has any: what was issued is what it is.
        drafts = self.search([('state', 'in', ('draft', 'excluded'))])
        return [('id', 'not in' if operator == 'in' else 'in', drafts.filtered('hints').ids)]

    def _list_hints(self):
        """Return what a person should know of a draft; a hook for other addons.

        :return: list of str, in the user's language
        """
        self.ensure_one()
        return [
            *(self.proposal_hint or '').splitlines(), *self._list_invoice_hints(), *self._list_address_hints(),
            *self._list_payment_hints()]

    def _list_invoice_hints(self):
        moves = self.due_line_ids.move_id.filtered(lambda move: move.is_sale_document(include_receipts=True))
        unsent = moves.filtered(lambda move: not move.is_move_sent)
        return [self.env._(
            "As far as is known here, the customer was never sent %s.",
            format_list(self.env, unsent.mapped('name')))] if unsent else []

    def _list_address_hints(self):
        address, name = self._get_addressee(), self.recipient_id.display_name
        has_street, has_town = address.street or address.street2, address.city
        if not has_street and not has_town:
            return [self.env._("There is no postal address of %s: nobody could deliver the letter.", name)]
        if not has_town:
            return [self.env._("The postal address of %s has no town.", name)]
        if not has_street:
            return [self.env._("The postal address of %s has no street.", name)]
        letter = self.env['report.dunning_mail.letter'].with_context(lang=self.lang)
        if letter._get_address_size(self.company_id, letter._get_address_lines(self)).excess:
            return [self.env._(
                "The postal address of %s takes more lines than the window of an envelope shows, even in small "
                "letters.", name)]
        return []

    def _list_payment_hints(self):
        hints, part, accounts = [], self._get_payment_part(), self._get_invoice_accounts()
        if len(accounts) > 1:
            hints.append(self.env._(
                "The invoices ask for payment to different accounts: %(accounts)s. This notice asks for all of it to "
                "the account %(account)s. The dunning settings can make a notice for each account.",
                accounts=format_list(self.env, accounts.mapped(lambda account: account.acc_number)),
                account=part['account'].acc_number))
        if qr.is_qr_iban(part['number']) and part['info']:
            hints.append(self.env._(
                "Account %(account)s is a QR-IBAN, which takes nothing but QR-bills, and this letter has none: "
                "%(reason)s", account=qr.format_iban(part['number']), reason=part['info']))
        if part['is_shortened']:
            hints.append(self.env._(
                "The payment code has less room than names and addresses take, so it bears them shortened."))
        return hints

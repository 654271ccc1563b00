from odoo import api, fields, models
from odoo.fields import Domain

from ..tools import qr


class DunningNotice(models.Model):
    """The way back: from what a payment bears to the notice that asked for it."""
    _inherit = 'dunning.notice'

    payment_reference_search = fields.Char(
        "Reference of a Payment", compute='_compute_payment_reference_search',
        search='_search_payment_reference_search')

    @api.depends('payment_reference')
    def _compute_payment_reference_search(self):
        for notice in self:
            notice.payment_reference_search = qr.format_reference(notice.payment_reference or '')

    def _search_payment_reference_search(self, operator, value):
        """Find notices by a reference as a bank or a person writes it: with spaces, or within other words."""
        if operator == 'in':
            words = [word for word in value if isinstance(word, str)]
        elif isinstance(value, str) and operator in ('ilike', 'like', '=ilike', '=like'):
            words = [value.strip('%')]
        else:
            return NotImplemented
        candidates = set().union(*map(qr.find_references, words))
        if operator == 'in':
            return Domain('payment_reference', 'in', list(candidates))
        return Domain.OR([Domain('payment_reference', 'ilike', candidate) for candidate in candidates or {''}])

    @api.model
    def _find_by_references(self, words, company):
        """Find the issued notices that payments name.

        :param words: texts of payments
        :param company: `res.company`
        :return: dict text -> `dunning.notice`, the newest one where several bear the reference of the same invoice
        """
        found = self._search_references(words, Domain('state', '=', 'issued') & Domain('company_id', '=', company.id))
        return {text: notices[-1:] for text, notices in found.items()}

    @api.model
    def _find_by_own_references(self, words, company):
        """Find the notices that payments name by a reference of the notice's own, in all companies of an entity.

        One that was cancelled after it had left is named by its slip all the same; what stands for an invoice's own
        reference is that invoice's matter.

        :param words: texts of payments
        :param company: `res.company`
        :return: dict text -> `dunning.notice`, the older ones first
        """
        found = self._search_references(words, Domain('state', 'in', ('issued', 'cancelled')) & Domain(
            'company_id', 'child_of', company.root_id.id))
        return {text: own for text, notices in found.items() if (own := notices.filtered(
            lambda notice: notice.payment_reference in map(notice._get_own_reference, (False, True))))}

    @api.model
    def _search_references(self, words, domain):
        """Find notices whose references are in the words of payments, each as a whole.

        :param words: texts of payments
        :param domain: :class:`~odoo.fields.Domain` of the notices
        :return: dict text -> `dunning.notice`, the older ones first
        """
        candidates = {text: qr.find_references(text) for text in set(filter(None, words))}
        if not any(candidates.values()):
            return {}
        notices = self.sudo().search(
            Domain('payment_reference', 'in', list(set().union(*candidates.values()))) & domain, order='id')
        return {text: self.browse(named.ids) for text, references in candidates.items() if (
            named := notices.filtered(lambda notice, references=references: notice.payment_reference in references))}

    @api.model
    def _search_by_payment(self, operator, value, fnames):
        """Find payments by the notice whose reference they bear.

        :param str operator: `in` or `any`
        :param value: ids of notices, or a domain of notices
        :param fnames: fields of the payment that may hold the reference
        :return: domain of payments; as the reference is looked for as it is stored and as it is printed, what a payer
            wrote around it does not matter
        """
        if operator == 'in':
            notices = self.browse([record_id for record_id in value if record_id])
        elif operator == 'any':
            notices = self.search(value)
        else:
            return NotImplemented
        references = self._get_searched_references(notices)
        references |= {qr.format_reference(reference).replace('\u00a0', ' ') for reference in references}
        return Domain.OR([
            Domain(fname, 'ilike', reference) for fname in fnames for reference in references])

    @api.model
    def _get_searched_references(self, notices):
        """Return the references that payments of these notices bear: set of str."""
        return set(notices.filtered('payment_reference').mapped('payment_reference'))

    def _get_open_items_action(self):
        """Open the due items of these notices that are still open."""
        items = self.due_line_ids.move_line_id
        return {
            'type': 'ir.actions.act_window',
            'name': self.env._("Items of the Dunning Notice"),
            'res_model': 'account.move.line',
            'view_mode': 'list,form',
            'domain': [('id', 'in', items.ids), ('reconciled', '=', False)],
            'context': {'create': False},
        }

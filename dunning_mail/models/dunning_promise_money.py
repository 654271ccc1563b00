from collections import defaultdict
from datetime import date

from odoo import api, models
from odoo.tools import SQL

from ..tools.promise import Part
from .dunning_promise_plan import CREDITOR_REFERENCE_PREFIX, QR_REFERENCE_PREFIX

# What the references of instalments look like, stored or printed, among what else a payment bears.
OWN_REFERENCE = f'{QR_REFERENCE_PREFIX} ?0000|RF[0-9]{{2}} ?{CREDITOR_REFERENCE_PREFIX}'


class DunningPromise(models.Model):
    """Money for promises that is not reconciled with their items: registered, or in the books and not matched yet."""
    _inherit = 'dunning.promise'

    @api.model
    def _load_on_way(self, found):
        """Tell of the money that is on its way for promises.

        :param dict found: promise id -> :class:`~.dunning_promise.Facts`, of those for which it matters; sets their
            `on_way`
        """
        promises = self.sudo().browse(found)
        proposal = self.env['dunning.proposal']
        for root, of_root in promises.grouped(lambda promise: promise.company_id.root_id).items():
            partners = of_root.partner_id.commercial_partner_id
            entity = proposal._get_companies_query(root)
            payments = proposal._read_payments(entity, partners | self._find_payers(entity))
            credits = self._read_open_credits(root, partners)
            bank_lines = self._read_bank_lines(root)
            texts = [text for payment in payments for text in (payment['memo'], payment['payment_reference'])]
            texts += [text for of_customer in credits.values() for _part, words in of_customer for text in words]
            texts += [line.payment_ref for line in bank_lines]
            named = {}
            for company in of_root.company_id:
                named.update(self.env['dunning.promise.line']._group_by_references(texts, company))

            def is_for(promise, words, otherwise, named=named):
                # What bears the reference of an instalment is for that plan, whoever paid, and for no other.
                promise_ids = {named[text] for text in words if text in named}
                return promise.id in promise_ids if promise_ids else otherwise
            for promise in of_root:
                moves, parts = set(promise.item_ids.move_id.ids), found[promise.id].money.on_way
                partner_id, currency_id = promise.partner_id.commercial_partner_id.id, promise.currency_id.id
                parts += [
                    part for (owner_id, in_currency), of_customer in credits.items() if in_currency == currency_id
                    for part, words in of_customer if is_for(promise, words, owner_id == partner_id)]
                parts += [
                    Part(payment['date'], -float(payment['residual'])) for payment in payments
                    if payment['residual'] < 0 and payment['currency_id'] == currency_id and is_for(
                        promise, (payment['memo'], payment['payment_reference']),
                        moves & set(payment['named']) if payment['named'] else payment['partner_id'] == partner_id)]
                parts += [
                    Part(line.date, line.amount) for line in bank_lines
                    if line.currency_id == promise.currency_id and is_for(promise, (line.payment_ref,), False)]

    @api.model
    def _find_payers(self, entity):
        """Find who has registered payments by the slips of instalments, also those of others.

        :param entity: :class:`~odoo.tools.SQL` of an array of company ids
        :return: commercial partners
        """
        self.env['account.payment'].flush_model()
        return self.env['res.partner'].browse(partner_id for (partner_id,) in self.env.execute_query(SQL(
            """
            SELECT DISTINCT p.commercial_partner_id
              FROM account_payment ap
              JOIN res_partner p ON p.id = ap.partner_id
             WHERE ap.move_id IS NULL AND ap.state = 'in_process' AND ap.company_id = ANY(%s)
               AND CONCAT_WS(' ', ap.memo, ap.payment_reference) ~ %s
            """, entity, OWN_REFERENCE)))

    @api.model
    def _read_bank_lines(self, root):
        """Read what the bank has booked and nobody has assigned yet.

        :param root: `res.company`, the head of an entity
        :return: `account.bank.statement.line`
        """
        return self.env['account.bank.statement.line'].sudo().search_fetch([
            ('company_id', 'child_of', root.id), ('is_reconciled', '=', False), ('amount', '>', 0)],
            ['payment_ref', 'amount', 'currency_id', 'date'])

    @api.model
    def _read_open_credits(self, root, partners):
        """Read what is in the books as customers' credits and is reconciled with nothing.

        :param root: `res.company`, the head of an entity
        :param partners: commercial partners
        :return: dict (partner id, currency id) -> list of (:class:`~.promise.Part`, tuple of its texts)
        """
        proposal, parts = self.env['dunning.proposal'], defaultdict(list)
        self.env['account.move.line'].flush_model()
        self.env['account.move'].flush_model(['move_type', 'dunning_dispute_id', 'ref', 'payment_reference'])
        self.env['res.partner'].flush_model(['commercial_partner_id'])
        for partner_id, currency_id, day, is_refund, amount, *words in self.env.execute_query(SQL(
                """
                SELECT p.commercial_partner_id, aml.currency_id, aml.date, move.move_type = 'out_refund',
                       -aml.amount_residual_currency::float, aml.name, move.ref, move.payment_reference
                  FROM account_move_line aml
                  JOIN account_account aa ON aa.id = aml.account_id
                  JOIN account_move move ON move.id = aml.move_id
                  JOIN res_partner p ON p.id = aml.partner_id
                 -- What was credited since it is contested pays nothing that was promised.
                 WHERE %s AND aml.amount_residual_currency < 0 AND move.dunning_dispute_id IS NULL
                   AND p.commercial_partner_id = ANY(%s) AND aml.company_id = ANY(%s)
                """, proposal._get_open_condition(), partners.ids, proposal._get_companies_query(root))):
            # A credit note corrects the claim, whatever its day.
            parts[partner_id, currency_id].append((Part(date.min if is_refund else day, amount), tuple(words)))
        return parts

    @api.model
    def _get_payments_before(self, items):
        """Return what has been paid of items already, by whom.

        :param items: `account.move.line`
        :return: dict: id of an item, as text -> dict: id of the credit, as text -> amount
        """
        before = {}
        for partial in items.sudo().matched_credit_ids:
            if partial.credit_move_id.move_id.move_type != 'out_refund':
                of_item = before.setdefault(str(partial.debit_move_id.id), defaultdict(float))
                of_item[str(partial.credit_move_id.id)] += partial.debit_amount_currency
        return before

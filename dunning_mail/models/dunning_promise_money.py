from collections import defaultdict
from datetime import date

from odoo import api, models
from odoo.tools import SQL

from ..tools.promise import Part


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
            payments = proposal._read_payments(proposal._get_companies_query(root), partners)
            credits = self._read_open_credits(root, partners)
            for promise in of_root:
                moves, parts = set(promise.item_ids.move_id.ids), found[promise.id].money.on_way
                partner_id, currency_id = promise.partner_id.commercial_partner_id.id, promise.currency_id.id
                parts += credits[partner_id, currency_id]
                parts += [
                    Part(payment['date'], -float(payment['residual'])) for payment in payments
                    if payment['residual'] < 0 and payment['currency_id'] == currency_id
                    and (moves & set(payment['named']) if payment['named'] else payment['partner_id'] == partner_id)]

    @api.model
    def _read_open_credits(self, root, partners):
        """Read what is in the books as customers' credits and is reconciled with nothing.

        :param root: `res.company`, the head of an entity
        :param partners: commercial partners
        :return: dict (partner id, currency id) -> list of :class:`~.promise.Part`
        """
        proposal, parts = self.env['dunning.proposal'], defaultdict(list)
        self.env['account.move.line'].flush_model()
        self.env['account.move'].flush_model(['move_type', 'dunning_dispute_id'])
        self.env['res.partner'].flush_model(['commercial_partner_id'])
        for partner_id, currency_id, day, is_refund, amount in self.env.execute_query(SQL(
                """
                SELECT p.commercial_partner_id, aml.currency_id, aml.date, move.move_type = 'out_refund',
                       -aml.amount_residual_currency::float
                  FROM account_move_line aml
                  JOIN account_account aa ON aa.id = aml.account_id
                  JOIN account_move move ON move.id = aml.move_id
                  JOIN res_partner p ON p.id = aml.partner_id
                 -- What was credited since it is contested pays nothing that was promised.
                 WHERE %s AND aml.amount_residual_currency < 0 AND move.dunning_dispute_id IS NULL
                   AND p.commercial_partner_id = ANY(%s) AND aml.company_id = ANY(%s)
                """, proposal._get_open_condition(), partners.ids, proposal._get_companies_query(root))):
            # A credit note corrects the claim, whatever its day.
            parts[partner_id, currency_id].append(Part(date.min if is_refund else day, amount))
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

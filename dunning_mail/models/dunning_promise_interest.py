from odoo import api, models
from odoo.tools import SQL

from ..tools.rest import Shared, Stop, lay
from .dunning_interest import to_decimal


class DunningPromise(models.Model):
    """What of items bears no interest on arrears any more, since that was agreed on."""
    _inherit = 'dunning.promise'

    @api.model
    def _lay_on_items(self, items, total):
        """Return what of each item a promised total is for, as what rests is laid.

        :param items: `account.move.line`
        :param total: what is promised
        :return: dict: id of an item, as text -> amount
        """
        due = self._get_amounts_due(items)
        shared = Shared(tuple(
            (item.id, item.date_maturity or item.date, due[item.id]) for item in items.sudo()), total, None, '')
        currency = items.currency_id[:1]
        return {str(rest.line_id): currency.round(rest.amount) for rest in lay([shared])}

    @api.model
    def _get_interest_stops(self, line_ids):
        self.flush_model(['stops_interest', 'stopped', 'date', 'date_ended', 'partner_id', 'item_ids'])
        self.env['account.move.line'].flush_model(['partner_id'])
        self.env['res.partner'].flush_model(['commercial_partner_id'])
        return [(line_id, Stop(to_decimal(amount), begin, end)) for line_id, amount, begin, end in (
            self.env.execute_query(SQL(
                """
                SELECT aml.id, p.stopped ->> aml.id::text, p.date, p.date_ended
                  FROM dunning_promise p
                  JOIN dunning_promise_item_rel rel ON rel.promise_id = p.id
                  JOIN account_move_line aml ON aml.id = rel.item_id
                  JOIN res_partner own ON own.id = p.partner_id
                  JOIN res_partner debtor ON debtor.id = aml.partner_id
                 WHERE p.stops_interest AND rel.item_id = ANY(%s) AND p.stopped ? aml.id::text
                   -- Of what has become another customer's, nothing was agreed on with her.
                   AND debtor.commercial_partner_id = own.commercial_partner_id
                """, line_ids)) if line_ids else ())]

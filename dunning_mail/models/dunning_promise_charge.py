from odoo import api, fields, models
from odoo.tools import SQL, format_date


class DunningCharge(models.Model):
    """For which items charges are claimed: as long as these rest, so do they."""
    _inherit = 'dunning.charge'

    def _get_open_items(self):
        """Return what is open of that for which charges were claimed: of interest and a lump sum its item, of a fee and
        of costs all items of their notice.

        :return: dict: id of the charge -> `account.move.line`
        """
        charges, fitting = self.sudo(), self.env['account.move.line']._get_dunning_debit_domain()
        by_notice = charges.env['dunning.notice.line'].search([
            ('notice_id', 'in', charges.notice_id.ids), ('kind', '=', 'due'), ('is_past', '=', False)]).grouped(
                lambda line: line.notice_id.id)
        claimed = {
            charge.id: charge.move_line_id.ids if charge.kind in ('interest', 'lump_sum') else [
                line.move_line_id.id for line in by_notice.get(charge.notice_id.id, ())] for charge in charges}
        fit = charges.env['account.move.line'].browse(
            {item_id for item_ids in claimed.values() for item_id in item_ids if item_id}).filtered_domain(fitting)
        items = {}
        for charge in charges:
            partner = charge.partner_id.commercial_partner_id
            items[charge.id] = fit.filtered(lambda item, charge=charge, partner=partner: (
                item.id in claimed[charge.id] and item.partner_id.commercial_partner_id == partner))
        return items


class DunningPromise(models.Model):
    """What of a promise is for charges that notices ask for beside the items.

    Money settles the items first. What is promised of charges rests as long as that much is still promised; what is
    not asked for any more need not be paid.
    """
    _inherit = 'dunning.promise'

    charges = fields.Json(readonly=True, help="What was asked for of each charge that is promised too.")

    @api.model
    def _get_charges_due(self, items):
        """Return the charges that can be promised with items: those that were claimed for any of them.

        :param items: `account.move.line`
        :return: dict: id of the charge -> what is asked for
        """
        items = items.sudo()
        charges = self.env['dunning.charge'].sudo().search([
            ('state', 'in', ('claimed', 'booked')), ('amount_left', '>', 0), ('notice_id.is_counted', '=', True),
            ('partner_id.commercial_partner_id', 'in', items.partner_id.commercial_partner_id.ids),
            ('currency_id', 'in', items.currency_id.ids), ('company_id', 'in', items.company_id.ids)])
        corrections = charges._find_corrections()
        due = {}
        for charge_id, of_charge in charges._get_open_items().items():
            charge = charges.browse(charge_id)
            less = corrections[charge_id].less if charge_id in corrections else 0.0
            left = charge.currency_id.round(charge.amount_left - less)
            if of_charge & items and left > 0:
                due[charge_id] = left
        return due

    @api.model
    def _load_charges(self, found):
        """Add to the money of promises what is promised, and what is left, of charges.

        :param dict found: promise id -> :class:`~.dunning_promise.Facts`
        """
        self.env['dunning.charge'].flush_model()
        for promise_id, rounding, promised, asked, left in self.env.execute_query(SQL(
                """
                SELECT p.id, currency.rounding::float, promised.value::float,
                       COALESCE(SUM(c.amount) FILTER (WHERE c.state IN ('claimed', 'booked', 'paid')), 0)::float,
                       COALESCE(SUM(c.amount_left), 0)::float
                  FROM dunning_promise p
                  JOIN res_currency currency ON currency.id = p.currency_id
                 CROSS JOIN jsonb_each_text(p.charges) promised
                  -- What is booked in parts is several.
                  JOIN dunning_charge c ON promised.key::int IN (c.id, c.split_from_id)
                 WHERE p.id = ANY(%s)
                 GROUP BY p.id, currency.rounding, promised.key, promised.value
                """, list(found))):
            money, asked = found[promise_id].money, min(promised, asked)
            left = min(asked, left)
            money.opened += asked
            money.left += left
            money.charges += left if left >= rounding / 2 else 0.0

    @api.model
    def _get_resting_charges(self, charges, day):
        rests = {}
        if not charges:
            return rests
        for facts in self._read_facts(SQL(
                "p.state = 'open' AND p.charges IS NOT NULL AND p.charges ?| %s", [str(one) for one in charges.ids]),
                with_parts=False).values():
            resting = facts.terms.get_resting(facts.money, day)
            if facts.money.charges and resting >= facts.money.charges - facts.terms.nothing:
                words = self.env._("Promised until %s.", format_date(self.env, facts.terms.lines[-1][0]))
                rests.update({int(charge_id): words for charge_id in facts.charges})
        return {charge_id: rests[charge_id] for charge_id in charges.ids if charge_id in rests}

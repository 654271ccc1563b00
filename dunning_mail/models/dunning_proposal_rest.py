from collections import defaultdict
from functools import lru_cache, partial

from odoo import api, models
from odoo.tools import float_compare, float_round

from ..tools.debt import Currency
from ..tools.rest import Shared, lay


class DunningResting(models.AbstractModel):
    """What can let items rest: a promise, a dispute, an answer. Each model that inherits this is asked, by the proposal
    and by the recheck, in one place; other addons add theirs by inheriting it."""
    _name = 'dunning.resting'
    _description = 'Reason for Items to Rest'

    @api.model
    def _get_resting(self, items, day):
        """Say what of items rests on a day. Asked for all items of a proposal at once.

        :param items: `account.move.line`; nothing of them has been read
        :param date day: the day asked for; what has ended by then does not rest
        :return: list of :class:`~.debt.Rest`, and of :class:`~.rest.Shared` where an amount is said of several items
            together: those are laid on single items here, beside what others say
        """
        return []

    @api.model
    def _get_interest_stops(self, line_ids):
        """Say what of items bears no interest any more, as was agreed.

        :param list line_ids: ids of `account.move.line`
        :return: list of (id, :class:`~.rest.Stop`)
        """
        return []

    @api.model
    def _get_resting_charges(self, charges, day):
        """Say which charges rest, whether or not their items do. The parameters are those of
        `dunning.proposal._find_resting_charges()`, which also asks this.

        :return: dict: id of a charge -> why, in words
        """
        return {}


class DunningProposal(models.AbstractModel):
    """What rests, asked in one place of all that can let items rest."""
    _inherit = 'dunning.proposal'

    @api.model
    def _get_resting_models(self):
        """Return the names of the models that are asked."""
        return sorted(
            name for name, model in self.env.registry.items()
            if not model._abstract and issubclass(model, self.env.registry['dunning.resting']))

    @api.model
    def _find_resting(self, line_ids, day):
        """Ask all of them.

        :param list line_ids: ids of `account.move.line`
        :param date day: the day asked for
        :return: dict id -> list of :class:`~.debt.Rest`
        """
        rests, asked, more, found, shared = defaultdict(list), set(), set(line_ids), [], []
        while more:
            # What is said of these and others together hangs on what is said of the others.
            asked |= more
            items = self.env['account.move.line'].sudo().browse(asked)
            found = [rest for name in self._get_resting_models()
                     for rest in self.env[name].sudo()._get_resting(items, day)]
            shared = [rest for rest in found if isinstance(rest, Shared)]
            more = {line_id for one in shared for line_id, _due, amount in one.items if amount > 0} - asked
        single, wanted = [rest for rest in found if not isinstance(rest, Shared)], set(line_ids)
        for rest in (*single, *lay(shared, single)):
            if rest.line_id in wanted:
                rests[rest.line_id].append(rest)
        return rests

    @api.model
    def _find_interest_stops(self, line_ids):
        """Ask all of them what bears no interest any more.

        :param list line_ids: ids of `account.move.line`
        :return: dict id -> list of :class:`~.rest.Stop`
        """
        stops = defaultdict(list)
        for name in self._get_resting_models():
            for line_id, stop in self.env[name].sudo()._get_interest_stops(line_ids):
                stops[line_id].append(stop)
        return stops

    @api.model
    def _load_resting(self, debts, day):
        """Let the items of debts rest as far as something says so.

        :param dict debts: (partner id, currency id) -> :class:`~.debt.Debt`
        :param date day: the day asked for
        """
        items = {
            item.line_id: (item, debt) for debt in debts.values() for item in (*debt.items, *debt.others)
            if item.line_id}
        get_currency = lru_cache(None)(self._get_rounding_currency)
        for line_id, rests in self._find_resting(list(items), day).items():
            item, debt = items[line_id]
            item.lay_to_rest(rests, get_currency(debt.currency_id, debt.rounding))

    @api.model
    def _find_resting_charges(self, charges, day):
        """Find the charges that rest since what they were claimed for does: of interest and a lump sum its item, of a
        fee and of costs all that is open of the items of their notice.

        What of an item does not rest, and a credit of the customer covers, is not dunned either.

        :param charges: `dunning.charge`
        :param date day: the day asked for
        :return: dict: id of a charge that rests -> why, in words
        """
        found = {}
        for name in self._get_resting_models():
            found.update(self.env[name].sudo()._get_resting_charges(charges, day))
        items = charges.sudo()._get_open_items()
        asked = self.env['account.move.line'].sudo().union(*items.values())
        resting = {line_id: [rest for rest in rests if rest.amount != 0]
                   for line_id, rests in self._find_resting(asked.ids, day).items()} if asked else {}
        if not any(resting.values()):
            return found
        credits = self._sum_open_credits(asked)
        for charge_id, of_charge in items.items():
            rests, left = [rest for item in of_charge for rest in resting.get(item.id, ())], 0.0
            for item in of_charge:
                residual = item.amount_residual_currency
                left += max(0.0, residual - sum(
                    residual if rest.amount is None else rest.amount for rest in resting.get(item.id, ())))
            key = (of_charge.company_id.root_id[:1].id, of_charge.partner_id.commercial_partner_id[:1].id,
                   of_charge.currency_id[:1].id)
            if rests and of_charge.currency_id[:1].compare_amounts(left, credits.get(key, 0.0)) <= 0:
                found[charge_id] = ' '.join(dict.fromkeys(rest.words for rest in rests))
        return found

    @api.model
    def _sum_open_credits(self, items):
        """Return what customers of items have as open credits: dict (head company's id, customer's id, currency id) ->
        amount."""
        credits = defaultdict(float)
        for root, of_root in items.grouped(lambda item: item.company_id.root_id).items():
            for (partner_id, currency_id), of_customer in self.env['dunning.promise']._read_open_credits(
                    root, of_root.partner_id.commercial_partner_id).items():
                credits[root.id, partner_id, currency_id] += sum(credit.part.amount for credit in of_customer)
        return credits

    @api.model
    def _get_rounding_currency(self, currency_id, rounding):
        return Currency(
            currency_id, rounding, partial(float_round, precision_rounding=rounding),
            partial(float_compare, precision_rounding=rounding), lambda: None)

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
    def _get_rounding_currency(self, currency_id, rounding):
        return Currency(
            currency_id, rounding, partial(float_round, precision_rounding=rounding),
            partial(float_compare, precision_rounding=rounding), lambda: None)

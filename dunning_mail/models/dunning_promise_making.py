from collections import defaultdict
from datetime import timedelta

from odoo import api, fields, models
from odoo.exceptions import UserError
from odoo.tools import SQL, format_amount, format_date

from .res_company_rest import MAX_DAYS

# Instalments of a plan, whoever grants them.
MAX_LINES = 120


class DunningPromise(models.Model):
    """How promises are made: for which items, how much, and who may grant it."""
    _inherit = 'dunning.promise'

    @api.model
    def _get_amounts_due(self, items):
        """Return what can be promised for items: what is open and not contested.

        :param items: `account.move.line`
        :return: dict id -> amount
        """
        return self.env['dunning.dispute']._get_contestable(items)

    @api.model
    def _make(self, items, lines, previous=None, with_charges=False, **values):
        """Make a promise.

        :param items: `account.move.line` that it covers
        :param list lines: (day, amount)
        :param previous: open `dunning.promise` that it extends
        :param bool with_charges: what is promised beyond the items is for the charges that are asked for
        :param values: of the promise
        :return: the new promise, as the user sees it
        :raise UserError: it cannot be: names what does not fit
        """
        self.env['dunning.notice'].check_access('write')
        previous = previous or self.browse()
        if over := previous.filtered(lambda promise: promise.state != 'open'):
            raise UserError(self.env._("%s is over already: make a new promise.", over.display_name))
        partner, company, currency = items._check_dunning_debits()
        self._lock_items(items | previous.sudo().item_ids)
        previous.check_access('write')
        if previous and (previous.partner_id.commercial_partner_id, previous.company_id) != (partner, company):
            raise UserError(self.env._("%s is another customer's promise.", previous.display_name))
        if company not in self.env.user.company_ids:
            raise UserError(self.env._("These items belong to %s, where you do not work.", company.name))
        lines = self._merge_lines(lines, currency)
        self._check_lines(lines, company)
        total = sum(amount for _day, amount in lines)
        charges = self._get_charges_due(items) if with_charges else {}
        self._check_covered(items, total, currency, previous, sum(charges.values()))
        self._check_granted(lines, items, partner, company, previous)
        promise = self._as_system().create({
            **values, 'partner_id': partner.id, 'company_id': company.id, 'currency_id': currency.id,
            'user_id': self.env.uid, 'date': company._get_dunning_day(), 'previous_id': previous.id,
            'item_ids': [fields.Command.set(items.ids)],
            'opened': {str(item.id): item.amount_residual_currency for item in items.sudo()},
            'paid_before': self._get_payments_before(items),
            'there_before': self._get_there(items) or False, 'charges': charges or False,
            'credited_before': self._sum_credit_notes(items),
            'stopped': values.get('stops_interest') and self._lay_on_items(items, total),
            'line_ids': [fields.Command.create({'date': day, 'amount': amount}) for day, amount in lines],
            'next_date': lines[0][0]})
        for old in previous:
            old._cancel(self.env._("Replaced by %s.", promise.display_name))
        words = self.env._(
            "Promised until %(day)s: %(amount)s.", day=format_date(self.env, lines[-1][0]),
            amount=format_amount(self.env, promise.amount, currency))
        for move in promise.item_ids.move_id:
            move._message_log(body=words)
        return promise.with_env(self.env)

    @api.model
    def _lock_items(self, items):
        """Keep others from agreeing on, or contesting, something of the same items until this transaction is over.

        Who comes later and has begun before sees nothing of what was agreed on here: the items are written to, so that
        PostgreSQL refuses to let that one lock them, and the server does it again, knowing all.

        :param items: `account.move.line`
        :raise UserError: somebody else has them
        """
        items = items.sudo()
        items.flush_recordset()
        if locked := (items - items.try_lock_for_update(allow_referencing=True)):
            raise UserError(self.env._(
                "Somebody else is agreeing on something with the customer about %s right now. Look again in a moment.",
                ', '.join(locked.move_id.mapped(lambda move: move.name or '/'))))
        self.env.execute_query(SQL(
            "UPDATE account_move_line SET id = id WHERE id = ANY(%s) RETURNING id", items.ids))

    @api.model
    def _sum_credit_notes(self, items):
        """Return what credit notes have taken off these items."""
        partials = items.sudo().matched_credit_ids
        return sum(partials.filtered(
            lambda partial: partial.credit_move_id.move_id.move_type == 'out_refund').mapped('debit_amount_currency'))

    @api.model
    def _merge_lines(self, lines, currency):
        """Return the lines by their days, one for each, amounts rounded."""
        by_day = defaultdict(float)
        for day, amount in lines:
            if not day:
                raise UserError(self.env._("Each instalment needs a day."))
            if currency.compare_amounts(amount, 0) <= 0:
                raise UserError(self.env._(
                    "The instalment of %s has no amount that could be paid.", format_date(self.env, day)))
            by_day[day] += amount
        if not by_day:
            raise UserError(self.env._("A promise needs a day and an amount."))
        return [(day, currency.round(amount)) for day, amount in sorted(by_day.items())]

    @api.model
    def _check_lines(self, lines, company):
        if lines[0][0] < company._get_dunning_day():
            raise UserError(self.env._(
                "%s is over. A promise is for today or later.", format_date(self.env, lines[0][0])))
        last = company._get_dunning_day() + timedelta(days=MAX_DAYS)
        if lines[-1][0] > last:
            raise UserError(self.env._(
                "%(day)s is too far away. A promise is for %(last)s at the latest.",
                day=format_date(self.env, lines[-1][0]), last=format_date(self.env, last)))
        if len(lines) > MAX_LINES:
            raise UserError(self.env._("A plan has %s instalments at most.", MAX_LINES))

    @api.model
    def _check_covered(self, items, total, currency, previous, charges=0.0):
        limit = currency.round(sum(self._get_amounts_due(items).values()))
        if currency.compare_amounts(limit, 0) <= 0:
            raise UserError(self.env._(
                "The customer contests all of these items. Close the dispute first, or choose other items."))
        limit = currency.round(limit + charges)
        if currency.compare_amounts(total, limit) > 0:
            raise UserError(self.env._(
                "%(total)s is promised, and only %(limit)s is owed and not contested. Lower the amount, or choose more "
                "items.", total=format_amount(self.env, total, currency),
                limit=format_amount(self.env, limit, currency)))
        other = self.sudo().search([
            ('item_ids', 'in', items.ids), ('state', '=', 'open'), ('id', 'not in', previous.ids)], limit=1)
        if other:
            raise UserError(self.env._(
                "There is an open promise for %(items)s already (%(other)s). Extend that one, or cancel it.",
                items=', '.join((other.item_ids & items.sudo()).move_id.mapped('name')), other=other.display_name))

    @api.model
    def _check_granted(self, lines, items, partner, company, previous):
        """Check that the user may grant it: a clerk within the company's limits, the head of accounts any.

        The days count from the first promise for any of the items that was given up for another one.
        """
        if self.env.su or self.env.user.has_group('account.group_account_manager'):
            return
        company = company.sudo()
        earlier = previous.sudo() | self.sudo().search([('item_ids', 'in', items.ids), ('state', '=', 'cancelled')])
        start = min([company._get_dunning_day(), *earlier.mapped('date')])
        last = start + timedelta(days=company.dunning_promise_max_days)
        if lines[-1][0] > last:
            raise UserError(self.env._(
                "You may grant time until %(last)s, counted from %(first)s, when these items were promised first. More "
                "is granted by the head of accounts.", last=format_date(self.env, last),
                first=format_date(self.env, start)) if earlier else self.env._(
                "You may grant time until %s. More is granted by the head of accounts.", format_date(self.env, last)))
        if len(lines) > company.dunning_promise_max_lines:
            raise UserError(self.env._(
                "You may grant %s instalments. More are granted by the head of accounts.",
                company.dunning_promise_max_lines))
        missed = self._count_missed(partner, company)
        if missed >= company.dunning_promise_max_missed:
            raise UserError(self.env._(
                "%(partner)s has not kept %(count)s promises. The next one is granted by the head of accounts.",
                partner=partner.display_name, count=missed))

    @api.model
    def _count_missed(self, partner, company):
        """Return how many promises of a customer to a company and its branches were not kept, or not in time; also such
        as were extended since."""
        return self.sudo().search_count([
            ('partner_id.commercial_partner_id', '=', partner.id), ('company_id', 'child_of', company.root_id.id),
            ('is_missed', '=', True)])

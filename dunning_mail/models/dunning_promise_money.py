from collections import defaultdict
from datetime import date
from typing import NamedTuple

from odoo import api, models
from odoo.tools import SQL

from ..tools.promise import Part
from .dunning_promise import CREDIT_KEY
from .dunning_promise_plan import CREDITOR_REFERENCE_PREFIX, QR_REFERENCE_PREFIX

# What the references of instalments look like, stored or printed, among what else a payment bears.
OWN_REFERENCE = f'{QR_REFERENCE_PREFIX} ?0000|RF[0-9]{{2}} ?{CREDITOR_REFERENCE_PREFIX}'


class Incoming(NamedTuple):
    """Money that is there, and reconciled with nothing.

    :ivar key: what it is: `line-…` in the books, `payment-…` registered (and its entry), `bank-…` the bank's
    :ivar part: :class:`~.promise.Part`
    :ivar moves: ids of the open invoices that it names
    :ivar texts: what it bears as references
    :ivar names: ids of the promises of whose instalments it bears the reference
    """
    key: str
    part: Part
    currency_id: int
    partner_id: int
    moves: frozenset
    texts: tuple
    names: frozenset = frozenset()


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
        for root, of_root in promises.grouped(lambda promise: promise.company_id.root_id).items():
            rivals = of_root | self.sudo().search([
                ('state', '=', 'open'), ('company_id', 'child_of', root.id),
                ('currency_id', 'in', of_root.currency_id.ids),
                ('partner_id.commercial_partner_id', 'in', of_root.partner_id.commercial_partner_id.ids)])
            others = rivals - of_root
            facts = {**(self._read_facts(SQL("p.id = ANY(%s)", others.ids)) if others else {}), **found}
            incoming = [(money, takers) for money in self._read_incoming(root, rivals)
                        if (takers := self._find_takers(money, rivals))]
            # What names a plan is for no other.
            incoming.sort(key=lambda one: (not one[0].names, one[0].part.day))
            self._share_out(incoming, rivals, facts)

    @api.model
    def _read_incoming(self, root, promises, partners=None):
        """Read the money that is registered, or in the books, and not reconciled.

        :param root: `res.company`, the head of an entity
        :param promises: `dunning.promise`, of whose references it may bear one
        :param partners: commercial partners, those of the promises where it is None
        :return: list of :class:`Incoming`
        """
        proposal, is_for_promises = self.env['dunning.proposal'], partners is None
        partners = promises.partner_id.commercial_partner_id if is_for_promises else partners
        entity = proposal._get_companies_query(root)
        incoming = [
            Incoming(f"payment-{payment['id']}", Part(payment['date'], -float(payment['residual'])),
                     payment['currency_id'], payment['partner_id'], frozenset(payment['named'] or ()),
                     (payment['memo'], payment['payment_reference']))
            for payment in proposal._read_payments(
                entity, partners | self._find_payers(entity) if is_for_promises else partners)
            if payment['residual'] < 0]
        for of_customer in self._read_open_credits(root, partners).values():
            incoming += of_customer
        if not is_for_promises:
            return incoming
        incoming += [
            Incoming(f'bank-{line.id}', Part(line.date, line.amount), line.currency_id.id, 0, frozenset(),
                     (line.payment_ref,)) for line in self._read_bank_lines(root)]
        texts, named = [text for money in incoming for text in money.texts], defaultdict(set)
        for company in promises.company_id:
            for text, promise_id in self.env['dunning.promise.line']._group_by_references(texts, company).items():
                named[text].add(promise_id)
        return [money._replace(names=frozenset().union(*(named.get(text, ()) for text in money.texts)))
                for money in incoming]

    @api.model
    def _find_takers(self, money, promises):
        """Return those of promises that money is for: what bears the reference of an instalment is for that plan,
        whoever paid, and for no other.

        :param money: :class:`Incoming`
        """
        promises = promises.filtered(lambda promise: promise.currency_id.id == money.currency_id)
        if money.names:
            return promises.filtered(lambda promise: promise.id in money.names)
        if money.moves:
            return promises.filtered(lambda promise: money.moves & set(promise.item_ids.move_id.ids))
        return promises.filtered(lambda promise: promise.partner_id.commercial_partner_id.id == money.partner_id)

    @api.model
    def _share_out(self, incoming, promises, facts):
        """Give money to the instalments that want it, each amount once, oldest instalment first.

        What was there already when something was promised pays nothing of that.

        :param list incoming: (:class:`Incoming`, the promises that it is for)
        :param promises: `dunning.promise`
        :param dict facts: promise id -> :class:`~.dunning_promise.Facts`; sets what is on its way for them
        """
        left, taken = {money.key: money.part.amount for money, _takers in incoming}, defaultdict(float)
        wanted = []
        for promise in promises.filtered(lambda promise: promise.id in facts):
            total = 0.0
            for day, amount in facts[promise.id].terms.lines:
                total += amount
                wanted.append((day, promise.id, total))
        for day, promise_id, total in sorted(wanted):
            terms, money = facts[promise_id].terms, facts[promise_id].money
            limit = terms.get_limit(day)
            need = money.get_required(total) - money.paid_by(limit) - sum(part.amount for part in money.on_way)
            for one, takers in incoming:
                if need < terms.nothing:
                    break
                if promise_id not in takers.ids or one.part.day > limit:
                    continue
                key = promise_id, one.key
                amount = min(
                    need, left[one.key],
                    one.part.amount - float(facts[promise_id].before.get(one.key, 0.0)) - taken[key])
                if amount >= terms.nothing:
                    left[one.key] -= amount
                    taken[key] += amount
                    need -= amount
                    money.on_way.append(Part(one.part.day, amount))

    @api.model
    def _get_there(self, items):
        """Return what is there of a customer's credits and payments already: dict key of the money -> amount.

        :param items: `account.move.line`, of one customer, company and currency
        """
        items = items.sudo()
        currency_id, there = items.currency_id[:1].id, defaultdict(float)
        for money in self._read_incoming(
                items.company_id.root_id[:1], self.sudo().browse(), items.partner_id.commercial_partner_id):
            if money.currency_id == currency_id and (not money.moves or money.moves & set(items.move_id.ids)):
                there[money.key] += money.part.amount
        return there

    @api.model
    def _get_amount_wanted(self, items):
        """Return what a customer has to pay for items: what is open and not contested, less what is there of credits
        and payments, once these have covered what else is due.

        :param items: `account.move.line`, of one customer, company and currency
        """
        if not items:
            return 0.0
        company, currency = items.company_id[:1], items.currency_id[:1]
        others = items.sudo()._find_dunning_debits(
            items.sudo().partner_id.commercial_partner_id, company.root_id, company._get_dunning_day()) - items
        spare = sum(self._get_there(items).values()) - sum(
            others.filtered(lambda item: item.currency_id == currency).mapped('amount_residual_currency'))
        return currency.round(max(0.0, sum(self._get_amounts_due(items).values()) - max(0.0, spare)))

    @api.model
    def _take_off_there(self, of_item):
        """What was there when something was promised, and has been reconciled with its items since, leaves less to be
        paid, as a credit note does.

        :param dict of_item: id of an item -> list of :class:`~.dunning_promise.Facts`
        """
        keys = {key for of_facts in of_item.values() for facts in of_facts for key in facts.before}
        if not keys:
            return
        used, owners = defaultdict(float), {}
        for item_id, key, credit_id, amount in self.env.execute_query(SQL(
                """
                SELECT part.debit_move_id, %(key)s, credit.id, SUM(part.debit_amount_currency)::float
                  FROM account_partial_reconcile part
                  JOIN account_move_line credit ON credit.id = part.credit_move_id
                  JOIN account_move move ON move.id = credit.move_id AND move.move_type <> 'out_refund'
                 WHERE part.debit_move_id = ANY(%(items)s) AND %(key)s = ANY(%(keys)s)
                 GROUP BY part.debit_move_id, credit.id
                """, key=CREDIT_KEY, items=list(of_item), keys=list(keys))):
            for facts in of_item[item_id]:
                if key in facts.before:
                    paid = facts.paid_before.get(str(item_id), {}).get(str(credit_id), 0.0)
                    owners[id(facts)] = facts
                    used[id(facts), key] += max(0.0, amount - paid)
        for (owner, key), amount in used.items():
            facts = owners[owner]
            facts.money.credited += min(amount, float(facts.before[key]))

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
        :return: dict (partner id, currency id) -> list of :class:`Incoming`
        """
        proposal, parts = self.env['dunning.proposal'], defaultdict(list)
        self.env['account.move.line'].flush_model()
        self.env['account.move'].flush_model(['move_type', 'dunning_dispute_id', 'ref', 'payment_reference'])
        self.env['res.partner'].flush_model(['commercial_partner_id'])
        for key, partner_id, currency_id, day, is_refund, amount, *words in self.env.execute_query(SQL(
                """
                SELECT %s, p.commercial_partner_id, aml.currency_id, aml.date, move.move_type = 'out_refund',
                       -aml.amount_residual_currency::float, aml.name, move.ref, move.payment_reference
                  FROM account_move_line aml
                  JOIN account_move_line credit ON credit.id = aml.id
                  JOIN account_account aa ON aa.id = aml.account_id
                  JOIN account_move move ON move.id = aml.move_id
                  JOIN res_partner p ON p.id = aml.partner_id
                 -- What was credited since it is contested pays nothing that was promised.
                 WHERE %s AND aml.amount_residual_currency < 0 AND move.dunning_dispute_id IS NULL
                   AND p.commercial_partner_id = ANY(%s) AND aml.company_id = ANY(%s)
                """, CREDIT_KEY, proposal._get_open_condition(), partners.ids, proposal._get_companies_query(root))):
            # A credit note corrects the claim, whatever its day.
            parts[partner_id, currency_id].append(Incoming(
                key, Part(date.min if is_refund else day, amount), currency_id, partner_id, frozenset(), tuple(words)))
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

import re

from odoo import api, models
from odoo.tools import SQL, format_amount

from ..tools.debt import Debt, Item


class DunningProposal(models.AbstractModel):
    """Money that no receivable line shows: on its way into the books, and what a person should know of before."""
    _inherit = 'dunning.proposal'

    @api.model
    def _get_companies_query(self, company):
        """Return :class:`~odoo.tools.SQL` of an array: ids of a company and its branches."""
        return SQL("ARRAY(SELECT id FROM res_company WHERE active AND parent_path LIKE %s)", f'{company.parent_path}%')

    @api.model
    def _get_open_condition(self):
        """Return the :class:`~odoo.tools.SQL` condition of an open receivable line `aml` on an account `aa`.

        What books a charge, or reverses one, is no item: the charge stands for it.
        """
        return SQL(
            """
            aml.parent_state = 'posted'
            AND aa.account_type = 'asset_receivable'
            AND aa.non_trade IS NOT TRUE
            AND aml.reconciled IS NOT TRUE
            AND aml.amount_residual_currency <> 0
            AND aml.dunning_charge_id IS NULL
            """)

    @api.model
    def _read_payments(self, entity, partners):
        """Read payments that have no entry, as Odoo registers them where no outstanding account is set.

        One that names invoices is on its way as long as one of them is open. Where it is called paid, it is so only
        until a booked payment of its day or later is reconciled with the invoice: that is taken for its entry. One
        that names none is on its way while it is in process.

        :param entity: :class:`~odoo.tools.SQL` of an array of company ids
        :param partners: commercial partners, None for all
        :return: list of dicts; `named` are the ids of those of its invoices that are open
        """
        return self.env.execute_query_dict(self._get_payments_query(entity, partners))

    @api.model
    def _get_payments_query(self, entity, partners):
        """Return the :class:`~odoo.tools.SQL` query of :meth:`_read_payments`."""
        for model_name in ('account.payment', 'account.move.line', 'account.partial.reconcile'):
            self.env[model_name].flush_model()
        self.env['res.partner'].flush_model(['commercial_partner_id'])
        of_customer, of_payer = (
            (SQL("AND p.commercial_partner_id = ANY(%s)", partners.ids),) * 2 if partners is not None
            else (SQL(), SQL()))
        return SQL(
            """
            WITH named AS (
                SELECT rel.payment_id, ARRAY_AGG(DISTINCT aml.move_id) AS move_ids
                  FROM account_move__account_payment rel
                  JOIN account_payment ap ON ap.id = rel.payment_id AND ap.move_id IS NULL
                                         AND ap.state IN ('in_process', 'paid')
                  JOIN account_move_line aml ON aml.move_id = rel.invoice_id
                  JOIN account_account aa ON aa.id = aml.account_id
                  JOIN res_partner p ON p.id = aml.partner_id
                 WHERE %(is_open)s
                   AND aml.company_id = ANY(%(entity)s)
                   AND (ap.state = 'in_process' OR NOT EXISTS (
                       SELECT 1 FROM account_partial_reconcile part
                         JOIN account_move_line other ON other.id = CASE aml.id
                              WHEN part.debit_move_id THEN part.credit_move_id ELSE part.debit_move_id END
                         JOIN account_journal aj ON aj.id = other.journal_id AND aj.type IN ('bank', 'cash', 'credit')
                        WHERE aml.id IN (part.debit_move_id, part.credit_move_id) AND part.max_date >= ap.date))
                   %(of_customer)s
                 GROUP BY rel.payment_id)
            SELECT ap.id, COALESCE(ap.name, ap.memo, '') AS number, ap.memo, ap.payment_reference, ap.date,
                   ap.amount * CASE ap.payment_type WHEN 'inbound' THEN -1 ELSE 1 END AS residual, ap.currency_id,
                   p.commercial_partner_id AS partner_id, ap.company_id, c.rounding::float, named.move_ids AS named,
                   ap.state = 'paid' OR CARDINALITY(named.move_ids) < (
                       SELECT COUNT(*) FROM account_move__account_payment rel
                        WHERE rel.payment_id = ap.id) AS covers_named_only
              FROM named
              JOIN account_payment ap ON ap.id = named.payment_id
              JOIN res_currency c ON c.id = ap.currency_id
              LEFT JOIN res_partner p ON p.id = ap.partner_id
            UNION ALL
            SELECT ap.id, COALESCE(ap.name, ap.memo, ''), ap.memo, ap.payment_reference, ap.date,
                   ap.amount * CASE ap.payment_type WHEN 'inbound' THEN -1 ELSE 1 END, ap.currency_id,
                   p.commercial_partner_id, ap.company_id, c.rounding::float, ARRAY[]::int[], FALSE
              FROM account_payment ap
              JOIN res_currency c ON c.id = ap.currency_id
              JOIN res_partner p ON p.id = ap.partner_id
             WHERE ap.move_id IS NULL AND ap.state = 'in_process' AND ap.is_matched IS NOT TRUE
               AND ap.partner_type = 'customer' AND ap.amount > 0 AND ap.company_id = ANY(%(entity)s)
               AND NOT EXISTS (SELECT 1 FROM account_move__account_payment rel WHERE rel.payment_id = ap.id)
               %(of_payer)s
             ORDER BY date, id
            """, entity=entity, is_open=self._get_open_condition(), of_customer=of_customer, of_payer=of_payer)

    @api.model
    def _add_payments(self, debts, payments, by_move, numbers):
        """Add money on its way to the debts that it covers.

        :param dict debts: (partner id, currency id) -> :class:`Debt`
        :param list payments: what :meth:`_read_payments` returned
        :param dict by_move: (move id, currency id) -> key of the debt
        :param dict numbers: key of a debt -> list of (move id, number, payment reference)
        """
        for row in payments:
            currency_id, named = row['currency_id'], frozenset(row['named'])
            if named:
                # Paid in another currency: what it covers, a person knows.
                moves = {
                    move_id: by_move[move_id, currency_id] for move_id in sorted(named)
                    if (move_id, currency_id) in by_move}
                # One for each customer. What it is worth for each of them is not known: as much as it can be.
                shares = [
                    (key, frozenset(move_id for move_id in moves if moves[move_id] == key))
                    for key in dict.fromkeys(moves.values())]
            else:
                key = (row['partner_id'], currency_id)
                words = [word for word in (row['memo'], row['payment_reference']) if word]
                named = frozenset(
                    move_id for move_id, *names in numbers.get(key, ()) if any(
                        re.search(rf'(?<!\w){re.escape(name)}(?!\w)', word)
                        for name in names if name for word in words))
                shares = [(key, named)]
            for key, names in shares:
                debt = debts.setdefault(key, Debt(*key, rounding=row['rounding']))
                item = Item(
                    line_id=0, payment_id=row['id'], move_id=0, number=row['number'], partner_id=key[0],
                    currency_id=currency_id, residual=float(row['residual']), invoiced=float(row['residual']),
                    date_due=row['date'], date_invoice=row['date'], is_payment=True, names=names,
                    covers_named_only=row['covers_named_only'] or len(shares) > 1)
                (debt.credits if item.residual < 0 else debt.others).append(item)

    # === WHAT IS NOT SET OFF === #

    @api.model
    def _find_hints(self, candidates, basis, partners):
        """Say what a person should know of before a notice goes out, and what no rule decides.

        :param list candidates: :class:`~.judgement.Candidate`, judged
        :param basis: :class:`~.dunning_proposal.Basis`
        :param partners: `res.partner`, the customers
        :return: dict (partner id, currency id) -> words
        """
        hints, currencies = {}, self.env['res.currency']
        if not candidates:
            return hints
        partners = partners.browse({candidate.partner_id for candidate in candidates})
        vendors = self._read_vendor_debts(basis.company, partners)
        held = self._find_held_parents(partners, basis.company, basis.day)
        for candidate in candidates:
            partner_id, words = candidate.partner_id, []
            for debt in basis.debts[partner_id]:
                if debt.currency_id != candidate.currency.id and debt.left_over > 0:
                    words.append(self.env._(
                        "Not set off, since it is in another currency: credits of %s.",
                        format_amount(self.env, debt.left_over, currencies.browse(debt.currency_id))))
            words += [
                self.env._(
                    "Not set off: as a vendor the customer has open bills of %s.",
                    format_amount(self.env, amount, currencies.browse(currency_id)))
                for currency_id, amount in vendors.get(partner_id, ())]
            if partner_id in held:
                parent, until = held[partner_id]
                words.append(self.env._(
                    "Its parent company %(parent)s is on hold until %(day)s.", parent=parent.display_name,
                    day=basis.format_date(until)))
            if candidate.hint:
                words.append(candidate.hint)
            if words:
                hints[partner_id, candidate.currency.id] = '\n'.join(words)
        return hints

    @api.model
    def _read_vendor_debts(self, company, partners):
        """Read what the company owes its customers as vendors.

        :return: dict partner id -> list of (currency id, positive amount)
        """
        owed = {}
        for partner_id, currency_id, amount in self.env.execute_query(SQL(
                """
                SELECT p.commercial_partner_id, aml.currency_id, -SUM(aml.amount_residual_currency)
                  FROM account_move_line aml
                  JOIN account_account aa ON aa.id = aml.account_id
                  JOIN res_partner p ON p.id = aml.partner_id
                 WHERE aml.parent_state = 'posted' AND aa.account_type = 'liability_payable'
                   AND aa.non_trade IS NOT TRUE AND aml.reconciled IS NOT TRUE
                   AND aml.company_id = ANY(%s) AND p.commercial_partner_id = ANY(%s)
                 GROUP BY p.commercial_partner_id, aml.currency_id
                HAVING SUM(aml.amount_residual_currency) < 0
                 ORDER BY p.commercial_partner_id, aml.currency_id
                """, self._get_companies_query(company.root_id), partners.ids)):
            owed.setdefault(partner_id, []).append((currency_id, float(amount)))
        return owed

    @api.model
    def _find_held_parents(self, partners, company, day):
        """Find the companies above customers that are on hold: a hold is for one customer, theirs is a question.

        :param company: `res.company` that duns
        :return: dict partner id -> (`res.partner`, last day of the hold)
        """
        held = {}
        for partner in partners:
            parent = partner.parent_id
            while parent:
                until, _reason = parent._get_dunning_holds(company).get(parent.id, (None, ''))
                if until and until >= day:
                    held[partner.id] = parent, until
                    break
                parent = parent.parent_id
        return held

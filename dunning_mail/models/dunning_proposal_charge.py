from collections import defaultdict
from functools import partial

from odoo import api, models
from odoo.tools import SQL, float_compare, float_round, format_amount

from ..tools import charging
from ..tools.debt import Currency
from .dunning_interest import Asked


class DunningProposal(models.AbstractModel):
    """What is asked for beside the items: fees, interest, lump sums, and charges of earlier notices."""
    _inherit = 'dunning.proposal'

    # === WHAT IS THERE FOR CHARGES === #

    @api.model
    def _cover_charges(self, debts):
        """Take what payments for a notice left for the charges of that notice.

        :param dict debts: (partner id, currency id) -> :class:`~.debt.Debt`
        """
        left = {
            credit.line_id: debt for debt in debts.values() if debt.partner_id
            for credit in debt.credits if credit.is_payment and credit.line_id}
        if not left:
            return
        Charge = self.env['dunning.charge']
        covers = defaultdict(list)
        for credit_id, charge_id, amount, currency_id in self.env.execute_query(SQL(
                """
                SELECT cover.credit_id, cover.charge_id, cover.amount::float, c.currency_id
                  FROM (%s) AS cover
                  JOIN dunning_charge c ON c.id = cover.charge_id
                 ORDER BY cover.credit_id, cover.date, cover.charge_id
                """, Charge._get_cover_query(credit_ids=list(left)))):
            debt = left[credit_id]
            if debt.currency_id == currency_id:
                covers[debt.partner_id, currency_id].append((credit_id, charge_id, amount))
        for key, of_debt in covers.items():
            rounding = debts[key].rounding
            debts[key].cover_charges(of_debt, Currency(
                key[1], rounding, partial(float_round, precision_rounding=rounding),
                partial(float_compare, precision_rounding=rounding), lambda: None))

    @api.model
    def _read_there(self, partners):
        """Read how much of what payments of customers have left is there for charges.

        :param partners: commercial partners
        :return: dict (customer's id, id of the head company, currency id) -> positive amount
        """
        Charge = self.env['dunning.charge']
        Charge.flush_model()
        left, open_charges, there = {}, {}, defaultdict(float)
        for *key, credit_id, charge_id, residual, amount in self.env.execute_query(SQL(
                """
                SELECT p.commercial_partner_id, SPLIT_PART(company.parent_path, '/', 1)::int, aml.currency_id,
                       cover.credit_id, cover.charge_id, -aml.amount_residual_currency::float, cover.amount::float
                  FROM (%s) AS cover
                  JOIN account_move_line aml ON aml.id = cover.credit_id AND aml.amount_residual_currency < 0
                  JOIN dunning_charge c ON c.id = cover.charge_id AND c.currency_id = aml.currency_id
                  JOIN res_partner p ON p.id = aml.partner_id
                  JOIN res_company company ON company.id = aml.company_id
                 ORDER BY cover.credit_id, cover.date, cover.charge_id
                """, Charge._get_cover_query(SQL(
                    "c.partner_id IN (SELECT id FROM res_partner WHERE commercial_partner_id = ANY(%s))",
                    partners.ids)))):
            part = min(left.setdefault(credit_id, residual), open_charges.setdefault(charge_id, amount))
            left[credit_id] -= part
            open_charges[charge_id] -= part
            there[tuple(key)] += part
        return there

    # === CHARGES OF A PROPOSAL === #

    @api.model
    def _set_charges(self, run, candidates, basis, replaced_run=None):
        """Say of each notice that is proposed what it asks for beside the items.

        :param run: `dunning.run`
        :param list candidates: :class:`~.judgement.Candidate`, judged
        :param basis: :class:`~.dunning_proposal_basis.Basis`
        :param replaced_run: `dunning.run` whose drafts count for nothing
        """
        if not candidates:
            return
        partners = self.env['res.partner'].browse({candidate.partner_id for candidate in candidates})
        asking = [candidate for candidate in candidates if self._is_charging(candidate.level)]
        covered = self._sum_covered(basis)
        if asking:
            kinds = self._get_debtor_kinds(partners, basis.company)
            for candidate in asking:
                candidate.debtor = kinds[candidate.partner_id]
            self._set_item_charges(asking, basis, basis.day)
            charging.set_fees(
                candidates, basis.terms, self._list_kept_fees(self._read_kept(covered)), self._find_fee_bearers(run))
        if earlier := self._read_earlier(partners.ids, run, replaced_run):
            charging.set_earlier(candidates, earlier, covered)

    @api.model
    def _find_fee_bearers(self, run):
        """Return the ids of the customers who have been given the fee of a run: what was issued keeps it."""
        return set(run.notice_ids.filtered(
            lambda notice: notice.state == 'issued' and notice._get_fee()).partner_id.ids)

    # === INTEREST AND LUMP SUMS === #

    @api.model
    def _set_item_charges(self, candidates, basis, day, notices=None):
        """Say what interest and lump sums notices ask for, and which lump sums their items have anyway.

        :param list candidates: :class:`~.judgement.Candidate`, or what has its `level`, `currency` and `due`
        :param basis: :class:`~.dunning_proposal_basis.Basis`
        :param date day: of the notices, the last one that bears interest
        :param notices: `dunning.notice` whose own charges are reckoned anew
        """
        profiles = {candidate: basis.get_profile(candidate.level.id) for candidate in candidates if (
            candidate.level.charges_interest or candidate.level.charges_lump_sum)}
        line_ids = [item.line_id for candidate in candidates for item in candidate.due]
        taken, claimed, lump_sums = self.env['dunning.charge']._read_of_items(line_ids, notices)
        asked = {item: profile for candidate, profile in profiles.items() if profile for item in candidate.due}
        kept = self._read_kept(self._sum_covered(basis), notices)
        for (kind, line_id), charges in kept.items():
            if kind == 'interest':
                taken[line_id] = taken.get(line_id, 0.0) + sum(charges.mapped('amount'))
        results = self._calculate_interest(basis.company, asked, day, taken) if asked else {}
        used = self.env['dunning.charge']
        for candidate in candidates:
            if unknown := {
                    item.line_id: result for item in candidate.due
                    if (result := results.get(item.line_id)) and result.unknown_days}:
                candidate.hint = self.env['dunning.interest']._describe_unknown(unknown)
            for item in candidate.due:
                line_id = item.line_id
                candidate.lump_sum += lump_sums.get(line_id, 0.0)
                if not (result := results.get(line_id)):
                    continue
                if candidate.level.charges_interest:
                    of_item = kept.get(('interest', line_id), self.env['dunning.charge'])
                    candidate.charges += [{**values, 'kept_ids': of_item.ids} for values in (
                        self._prepare_interest_values(
                            result, item, claimed.get(line_id, 0.0) - sum(of_item.mapped('amount'))))]
                amount = self._convert_lump_sum(profiles[candidate], candidate.currency, basis)
                if (candidate.level.charges_lump_sum and amount and line_id not in lump_sums
                        and result.is_in_default and result.debtor_kind == 'business'):
                    # Of fees for which money is there, what exceeds them; each is set off once.
                    fees = (kept.get(('fee', line_id), used.browse()) - used).filtered(
                        lambda fee, candidate=candidate: fee.currency_id.id == candidate.currency.id)
                    used |= fees
                    amount = candidate.currency.round(amount - sum(fees.mapped('amount')))
                    if candidate.currency.compare(amount, 0) > 0:
                        candidate.charges.append(self._prepare_charge_values(
                            'lump_sum', amount, result.debtor_kind, line_id, result.default_from, kept_ids=fees.ids))
                        candidate.lump_sum += amount

    @api.model
    def _read_kept(self, covered, notices=None):
        """Return the charges that stay beside what a notice asks for anew, since money for them is there.

        :param dict covered: id of a charge -> what of it is there
        :param notices: `dunning.notice` whose own charges do not count
        :return: dict (`interest` or `fee`, id of an item) -> `dunning.charge`
        """
        kept = defaultdict(self.env['dunning.charge'].browse)
        charges = self.env['dunning.charge'].sudo().browse(
            charge_id for charge_id, amount in covered.items() if amount).sorted('id')
        for charge in charges:
            if charge.state != 'claimed' or (notices and charge.notice_id in notices):
                continue
            items = charge.move_line_id if charge.kind != 'fee' else charge.notice_id.due_line_ids.filtered(
                lambda line: not line.is_past).move_line_id
            for item in items:
                kept[charge.kind, item.id] |= charge
        return dict(kept)

    @api.model
    def _list_kept_fees(self, kept):
        """Return those fees as the judgement looks at them.

        :param dict kept: what `_read_kept()` returned
        :return: dict id of an item -> list of :class:`~.charging.Kept`
        """
        return {line_id: [charging.Kept(fee.id, fee.currency_id.id, fee.amount) for fee in fees]
                for (kind, line_id), fees in kept.items() if kind == 'fee'}

    @api.model
    def _calculate_interest(self, company, profiles, day, taken):
        """Ask for the interest of items, all of them together.

        :param dict profiles: :class:`~.debt.Item` -> `dunning.interest.profile`
        :param date day: the last one that bears interest
        :param dict taken: id of an item -> what was given up or paid of its interest
        :return: dict id of an item -> what `dunning.interest` says of it
        """
        return self.env['dunning.interest']._calculate(
            company, [Asked.of(item, profile) for item, profile in profiles.items()], day, taken)

    @api.model
    def _prepare_interest_values(self, result, item, claimed):
        """Return the values of the charge for the interest of an item, in a list that may be empty.

        :param result: what `dunning.interest` says of the item
        :param item: :class:`~.debt.Item`
        :param float claimed: what earlier notices ask for as its interest: the new one stands for it
        """
        amount = float(result.claim)
        # What became known late leaves less than was claimed, or nothing.
        is_less = claimed > amount and result.reason in ('', 'nothing_open', 'taken', 'too_little')
        if not amount and not is_less:
            return []
        return [self._prepare_charge_values(
            'interest', amount, result.debtor_kind, item.line_id, result.date_from or False, result.date_to or False,
            result.detail) | ({'reason': self.env._(
                "Less than was claimed before: it was reckoned anew by what is known now.")} if is_less else {})]

    @api.model
    def _convert_lump_sum(self, profile, currency, basis):
        """Return a profile's lump sum in the currency of a notice."""
        if not profile.lump_sum or profile.currency_id.id == currency.id:
            return profile.lump_sum
        rate = basis.get_currency(profile.currency_id.id).get_rate()
        return rate and currency.round(profile.lump_sum * rate / currency.get_rate())

    @api.model
    def _is_charging(self, level):
        """Whether a :class:`~.judgement.Level` asks for anything beside the items."""
        return bool(level.fees or level.charges_interest or level.charges_lump_sum)

    @api.model
    def _get_debtor_kinds(self, partners, company):
        """Return whether customers are businesses or consumers.

        :return: dict partner id -> `business` or `consumer`
        """
        return partners.sudo()._get_dunning_debtor_kinds(company)

    @api.model
    def _sum_covered(self, basis):
        """Return what is there of charges: a dict of their ids."""
        covered = {}
        for debts in basis.debts.values():
            for debt in debts:
                covered.update(debt.covered)
        return covered

    @api.model
    def _read_earlier(self, partner_ids, run, replaced_run=None, notices=None):
        """Read the charges of customers that are still asked for and stand on no open notice, and on none of the run
        that was issued.

        :param partner_ids: ids of commercial partners
        :param run: `dunning.run` of the notices that may name them
        :param replaced_run: `dunning.run` whose drafts count for nothing
        :param notices: `dunning.notice` on which they may stand
        :return: list of :class:`~.charging.Earlier`, oldest first
        """
        for model_name in ('dunning.charge', 'dunning.notice', 'dunning.notice.line'):
            self.env[model_name].flush_model()
        self.env['res.partner'].flush_model(['commercial_partner_id'])
        company, notice_ids = run.company_id, notices.ids if notices else []
        pending = self._find_pending(partner_ids, company, replaced_run, notices)
        earlier = [charging.Earlier(*row) for row in self.env.execute_query(SQL(
            """
            SELECT c.id, p.commercial_partner_id, c.currency_id, c.kind, c.amount_left::float, c.date,
                   -- What is in the books is asked for as long as it is open, whatever is claimed anew.
                   CASE WHEN c.is_past IS NOT TRUE AND c.state = 'claimed' THEN c.move_line_id END, n.name,
                   CASE WHEN c.kind = 'fee' AND c.state = 'claimed' THEN ARRAY(
                       SELECT l.move_line_id FROM dunning_notice_line l
                        WHERE l.notice_id = n.id AND l.kind = 'due' AND l.is_past IS NOT TRUE
                          AND l.move_line_id IS NOT NULL) END
              FROM dunning_charge c
              JOIN dunning_notice n ON n.id = c.notice_id AND n.is_counted
              JOIN res_partner p ON p.id = c.partner_id
             WHERE c.state IN ('claimed', 'booked') AND c.amount_left > 0 AND c.company_id = %s
               AND p.commercial_partner_id = ANY(%s) AND c.id <> ALL(%s)
               AND NOT EXISTS (
                   SELECT 1 FROM dunning_notice_line l
                     JOIN dunning_notice o ON o.id = l.notice_id
                      AND (o.is_open OR o.state = 'issued' AND o.run_id = %s)
                    WHERE l.charge_id = c.id AND o.id <> ALL(%s)
                      AND NOT (o.state = 'draft' AND o.run_id IS NOT DISTINCT FROM %s))
             ORDER BY c.date, c.id
            """, company.id, list(partner_ids), pending.ids, run._origin.id or 0, notice_ids,
            replaced_run.id if replaced_run else 0))]
        charges = self.env['dunning.charge'].browse(charge.id for charge in earlier)
        corrections, resting = charges._find_corrections(), self._find_resting_charges(charges, run.date)
        return [
            charge._replace(amount=max(0.0, charge.amount - corrections[charge.id].less))
            if charge.id in corrections else charge for charge in earlier if charge.id not in resting]

    @api.model
    def _find_pending(self, partner_ids, company, replaced_run=None, notices=None):
        """Find the charges of customers for which one of another open notice stands once that one has left.

        :param company: `res.company`; the other parameters are those of `_read_earlier()`
        """
        drafts = self.env['dunning.charge'].search([
            ('state', '=', 'draft'), ('company_id', '=', company.id), ('notice_id.is_open', '=', True),
            ('notice_id', 'not in', notices.ids if notices else []),
            ('partner_id.commercial_partner_id', 'in', list(partner_ids))])
        if replaced_run:
            drafts = drafts.filtered(lambda charge: (
                charge.notice_id.state != 'draft' or charge.notice_id.run_id != replaced_run))
        return drafts.browse().union(*drafts._find_replaced().values())

    # === VALUES === #

    @api.model
    def _prepare_charges_values(self, run, candidate):
        """Return the values of each `dunning.charge` of a notice that is proposed; a hook for other addons."""
        charges = list(candidate.charges)
        if candidate.fee:
            charges.append(self._prepare_charge_values(
                'fee', candidate.fee, candidate.debtor, kept_ids=candidate.kept_ids))
        return [{
            **values, 'partner_id': candidate.partner_id, 'company_id': run.company_id.id,
            'currency_id': candidate.currency.id, 'date': run.date} for values in charges]

    @api.model
    def _prepare_charge_values(self, kind, amount, debtor, move_line_id=False, date_from=False, date_to=False,
                               detail=None, kept_ids=()):
        """Return the values of a `dunning.charge` that do not come from its notice."""
        return {
            'kind': kind, 'amount': amount, 'amount_calculated': amount, 'debtor_kind': debtor,
            'move_line_id': move_line_id, 'date_from': date_from, 'date_to': date_to, 'detail': detail or False,
            'kept_ids': list(kept_ids), 'reason': False}

    @api.model
    def _prepare_earlier_values(self, charge):
        """Return the values of the `dunning.notice.line` that names a charge of an earlier notice.

        :param charge: :class:`~.charging.Earlier`
        """
        return self.env['dunning.charge']._prepare_charge_line_values(
            charge.id, charge.amount, charge.notice_name, charge.date)

    # === ONLY CHARGES ARE OPEN === #

    @api.model
    def _find_only_charges(self, run, basis, is_looked_at):
        """Find customers of whom nothing is open but charges of earlier notices.

        :param run: `dunning.run`
        :param basis: :class:`~.dunning_proposal_basis.Basis`
        :param is_looked_at: function that says whether the run looks at a `res.partner`
        :return: list of values for `dunning.run.exception`
        """
        self.env['dunning.charge'].flush_model()
        covered = defaultdict(float)
        for of_partner in basis.debts.values():
            for debt in of_partner:
                covered[debt.partner_id, debt.currency_id] += sum(debt.covered.values())
        values, rows = [], self.env.execute_query(SQL(
            """
            SELECT p.commercial_partner_id, c.currency_id, SUM(c.amount_left)::float, MIN(c.date),
                   ARRAY_AGG(DISTINCT n.name), ARRAY_AGG(c.id)
              FROM dunning_charge c
              JOIN dunning_notice n ON n.id = c.notice_id AND n.is_counted
              JOIN res_partner p ON p.id = c.partner_id
             WHERE c.state IN ('claimed', 'booked') AND c.amount_left > 0 AND c.company_id = %s
               AND NOT EXISTS (
                   SELECT 1 FROM account_move_line aml
                     JOIN account_account aa ON aa.id = aml.account_id
                     JOIN res_partner ip ON ip.id = aml.partner_id
                    WHERE ip.commercial_partner_id = p.commercial_partner_id AND %s
                      AND aml.amount_residual_currency > 0 AND aml.company_id = ANY(%s))
             GROUP BY p.commercial_partner_id, c.currency_id
             ORDER BY p.commercial_partner_id, c.currency_id
            """, run.company_id.id, self._get_open_condition(), self._get_companies_query(run.company_id.root_id)))
        partners = self.env['res.partner'].with_company(run.company_id).browse([row[0] for row in rows])
        charges = self.env['dunning.charge'].browse(charge_id for row in rows for charge_id in row[-1])
        corrections, resting = charges._find_corrections(), self._find_resting_charges(charges, basis.day)
        lefts = {charge.id: charge.amount_left for charge in charges.sudo()} if resting else {}
        for partner, (partner_id, currency_id, amount, day, names, charge_ids) in zip(partners, rows, strict=True):
            currency = self.env['res.currency'].browse(currency_id)
            amount = currency.round(amount - sum(
                lefts[charge_id] if charge_id in resting else corrections[charge_id].less
                for charge_id in charge_ids if charge_id in corrections or charge_id in resting))
            if currency.is_zero(amount) or not is_looked_at(partner):
                continue
            paid = covered.get((partner_id, currency_id), 0.0)
            words = self.env._(
                "Nothing is open but charges of earlier notices: %s. Waive them, or ask the customer for them.",
                format_amount(self.env, amount, currency))
            if paid:
                words = self.env._(
                    "%(words)s Of that, %(amount)s is there: what a payment left.", words=words,
                    amount=format_amount(self.env, paid, currency))
            values.append({
                'run_id': run.id, 'partner_id': partner_id, 'currency_id': currency_id, 'move_line_id': False,
                'amount': amount, 'date_due': day, 'document': ', '.join(name for name in names if name),
                'notice_id': False, 'reason': 'charges', 'description': words})
        return values

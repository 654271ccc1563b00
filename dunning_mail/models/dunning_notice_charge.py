from types import SimpleNamespace

from odoo import api, fields, models
from odoo.exceptions import UserError, ValidationError
from odoo.fields import Command
from odoo.tools import format_amount

from ..tools import charging
from .dunning_proposal_basis import Basis

# What is reckoned for each item.
ITEM_KINDS = ('interest', 'lump_sum')


class DunningNotice(models.Model):
    """What a notice asks for beside the items: one fee for each customer and run, also after drafts were left out, put
    back, changed or settled; interest and lump sums of its items; charges of earlier notices."""
    _inherit = 'dunning.notice'

    charge_count = fields.Integer(compute='_compute_charge_count')

    @api.depends('charge_ids', 'line_ids.charge_id')
    def _compute_charge_count(self):
        for notice in self:
            notice.charge_count = len(notice._get_all_charges())

    def _get_all_charges(self):
        """Return the charges that the notice claims, and those of earlier ones that it asks for."""
        return self.charge_ids | self.line_ids.charge_id

    def action_open_charges(self):
        """Open the charges of these notices."""
        action = self.env['ir.actions.act_window']._for_xml_id('dunning_mail.dunning_charge_action')
        return {**action, 'domain': [('id', 'in', self._get_all_charges().ids)], 'context': {}}

    # === ONE FEE FOR EACH CUSTOMER AND RUN === #

    def _judge_fees_anew(self):
        """Put the fee of each customer of a run on the draft that bears it now, as the proposal would.

        What was issued keeps the fee that it has, except for these notices themselves, as long as nobody has them. A
        fee that a person has set stays, and is the customer's fee.
        """
        notices = self.sudo().filtered(lambda notice: notice.kind == 'dunning' and notice.run_id)
        if not notices:
            return
        siblings = notices.search([
            ('kind', '=', 'dunning'), ('run_id', 'in', notices.run_id.ids),
            ('partner_id', 'in', notices.partner_id.ids), ('state', 'in', ('draft', 'issued'))])
        for (run, _partner), of_customer in siblings.grouped(lambda notice: (notice.run_id, notice.partner_id)).items():
            free = of_customer.filtered(lambda notice: notice.state == 'draft' or (
                notice in notices and not notice._is_frozen()))
            if free:
                free._share_fee(of_customer, Basis(run.env, run.company_id, run.date, {}))

    def _get_fee(self):
        """Return the fee that the notice claims, a `dunning.charge`."""
        return self.charge_ids.filtered(lambda charge: charge.kind == 'fee' and charge.state != 'cancelled')[:1]

    def _share_fee(self, of_customer, basis):
        """Decide which of a customer's notices bears the fee, and write what has changed.

        :param of_customer: all notices of the customer and run that are not excluded or cancelled
        :param basis: :class:`~.dunning_proposal_basis.Basis` of the run
        """
        proposal, partner = self.env['dunning.proposal'].sudo(), self.partner_id.commercial_partner_id
        drafts, covered = of_customer.filtered(lambda notice: notice.state == 'draft'), {}
        if self.env['dunning.charge'].search_count([
                ('state', '=', 'claimed'), ('company_id', '=', basis.company.id),
                ('partner_id.commercial_partner_id', 'in', partner.ids)], limit=1):
            covered = proposal._sum_covered(Basis(basis.env, basis.company, basis.day, proposal._load_for_recheck(
                self, self._fetch_lines(), basis.day)))
        bearers = {notice: bearer for notice in self if (bearer := notice._make_bearer(basis))}
        # Waived or paid is decided too.
        is_borne = any(notice._get_fee() for notice in of_customer - self) or any(
            fee.is_set or fee.state != 'draft' for fee in map(type(self)._get_fee, self) if fee)
        if bearers and not is_borne:
            chosen = charging.choose_bearer(list(bearers.values()), basis.terms)
            if chosen.level.fees:
                chosen.debtor = proposal._get_debtor_kinds(partner, basis.company)[partner.id]
                _taken, _claimed, lump_sums = self.env['dunning.charge']._read_of_items(
                    chosen.notice.due_line_ids.move_line_id.ids, chosen.notice)
                chosen.lump_sum = chosen.notice.amount_lump_sum + sum(lump_sums.values())
                kept = proposal._list_kept_fees(proposal._read_kept(covered, self))
                charging.put_fee(chosen, basis.terms, dict.fromkeys(
                    fee for line_id in of_customer.due_line_ids.move_line_id.ids for fee in kept.get(line_id, ())))
        for notice in self:
            if not notice._get_fee().is_set:
                notice._put_fee(bearers.get(notice))
        if drafts:
            drafts._place_earlier(bearers, of_customer.due_line_ids.move_line_id.ids, basis, covered)

    def _make_bearer(self, basis):
        """Return the notice as :func:`~.charging.choose_bearer` looks at it, None where it can bear no fee."""
        self.ensure_one()
        currency = basis.get_currency(self.currency_id.id)
        level = next((level for level in basis.get_procedure(self.level_id.procedure_id).levels
                      if level.id == self.level_id.id), None)
        if not level or currency.get_rate() is None:
            return None
        return SimpleNamespace(
            notice=self, level=level, amount=self.amount_overdue - self.amount_credit, currency=currency,
            debtor='consumer', charges=self._list_charges(), lump_sum=0.0, fee=0.0, is_single=False, kept_ids=[],
            set_off=0.0)

    def _list_charges(self):
        """Return what the notice claims first, as the judgement looks at it."""
        return [{'kind': charge.kind, 'amount': charge.amount, 'move_line_id': charge.move_line_id.id}
                for charge in self.charge_ids if charge.state != 'cancelled']

    def _put_fee(self, bearer=None):
        """Write the fee that the rules give to a notice.

        :param bearer: what :meth:`_make_bearer` returned, with its fee; without one it has none
        """
        self.ensure_one()
        fee, amount = self._get_fee(), bearer.fee if bearer else 0.0
        if self.currency_id.is_zero(amount):
            fee.filtered(lambda charge: charge.state == 'draft').unlink()
        elif not fee:
            self._add_charge('fee', amount, debtor_kind=bearer.debtor, kept_ids=bearer.kept_ids)
        elif fee.state == 'draft' and (
                self.currency_id.compare_amounts(fee.amount, amount) or (fee.kept_ids or []) != bearer.kept_ids):
            fee._write_amount(amount, amount_calculated=amount, kept_ids=bearer.kept_ids)

    def _set_fee(self, amount):
        """Change the fee as a person says it.

        :param float amount: 0 leaves it out
        :raise UserError: the notice is not a draft, or no dunning notice
        :raise ValidationError: it is negative
        """
        self.ensure_one()
        self._check_put_together()
        if amount < 0:
            raise ValidationError(self.env._(
                "The fee of the notice for %s cannot be negative.", self.partner_id.display_name))
        reason = self.env._("Set by %s.", self.env.user.name)
        fee = self._get_fee().with_env(self.env)
        if fee and self.currency_id.compare_amounts(fee.amount, amount):
            fee._change_amount(amount, reason)
        elif not fee and not self.currency_id.is_zero(amount):
            self.sudo()._add_charge('fee', amount, is_set=True, reason=reason)
            self._judge_fees_anew()

    def _add_charge(self, kind, amount, **values):
        """Claim one more thing on a notice that has not left.

        :param values: further values of the `dunning.charge`
        :return: the charge
        """
        self.ensure_one()
        notice = self.sudo()
        amount = notice.currency_id.round(amount)
        return self.env['dunning.charge'].sudo().create({
            'notice_id': notice.id, 'partner_id': notice.partner_id.id, 'company_id': notice.company_id.id,
            'currency_id': notice.currency_id.id, 'kind': kind, 'date': notice.date, 'amount': amount,
            'amount_calculated': amount, **values})

    def action_add_charge(self):
        """Ask what is to be claimed beside the items, and why.

        :raise UserError: it is no dunning notice
        """
        self.ensure_one()
        self._check_put_together()
        return {
            'type': 'ir.actions.act_window', 'name': self.env._("Add Charge"), 'res_model': 'dunning.charge.change',
            'view_mode': 'form', 'target': 'new',
            'context': {'default_notice_id': self.id, 'default_action': 'add', 'default_kind': 'cost'}}

    def _add_charge_by_hand(self, kind, amount, reason):
        """Claim costs or a fee on a draft, as a person says it.

        :param str kind: `cost` or `fee`
        :param str reason: in the user's words
        :raise UserError: it is no draft of a dunning notice, the amount is not positive, or it has a fee already
        """
        self.ensure_one()
        self.check_access('write')
        self._check_put_together()
        if self.state != 'draft':
            raise UserError(self.env._("Dunning notice %s is not a draft.", self.display_name))
        if kind not in ('cost', 'fee') or self.currency_id.compare_amounts(amount, 0) <= 0:
            raise UserError(self.env._("Enter what the notice for %s asks for.", self.partner_id.display_name))
        if kind == 'fee' and self._get_fee():
            raise UserError(self.env._(
                "The notice for %s has a fee already: change that one.", self.partner_id.display_name))
        charge = self._add_charge(kind, amount, is_set=True, reason=reason).with_env(self.env)
        charge._log_on_notice(self.env._(
            "Added: %(charge)s, %(amount)s. %(reason)s", charge=charge._get_words(), reason=reason,
            amount=format_amount(self.env, charge.amount, charge.currency_id)))
        self.sudo().is_edited = True
        self._judge_fees_anew()

    # === CHARGES OF EARLIER NOTICES === #

    def _place_earlier(self, bearers, line_ids, basis, covered):
        """Name on drafts of one customer the charges of earlier notices that they ask for, as the proposal would.

        :param dict bearers: `dunning.notice` -> what :meth:`_make_bearer` returned
        :param list line_ids: ids of the items that are due on the customer's notices of the run
        :param basis: :class:`~.dunning_proposal_basis.Basis` of the run
        :param dict covered: id of a charge -> what of it is there
        """
        proposal = self.env['dunning.proposal'].sudo()
        partner = self.partner_id.commercial_partner_id
        earlier = proposal._read_earlier(partner.ids, self.run_id, notices=self)
        standing = self.line_ids.filtered(lambda line: line.charge_id and line.charge_id.notice_id != line.notice_id)
        if not earlier and not standing:
            return
        candidates = []
        for notice in self.sorted(lambda notice: (notice.level_id.sequence, notice.id)):
            bearer, fee = bearers.get(notice), notice._get_fee()
            # A fee that a person left out comes in place of none.
            is_single = bearer.is_single if bearer and not fee.is_set else bool(
                fee.amount and notice.level_id.fee_method == 'single')
            candidates.append(SimpleNamespace(
                partner_id=partner.id, currency=basis.get_currency(notice.currency_id.id), notice=notice,
                due=[SimpleNamespace(line_id=line_id) for line_id in line_ids],
                is_single=is_single, set_off=bearer.set_off if bearer else 0.0, charges=notice._list_charges(),
                earlier=[]))
        charging.set_earlier(candidates, earlier, covered)
        wanted = {
            (candidate.notice, charge.id): charge for candidate in candidates for charge in candidate.earlier}
        present = {(line.notice_id, line.charge_id.id): line for line in standing}
        gone = self.env['dunning.notice.line'].union(*(line for key, line in present.items() if key not in wanted))
        gone.with_context(dunning_replace_lines=True).unlink()
        for key, line in present.items():
            if key in wanted and line.currency_id.compare_amounts(wanted[key].amount, line.amount_residual):
                line.amount_residual = wanted[key].amount
        self.env['dunning.notice.line'].create([
            {'notice_id': notice.id, **proposal._prepare_earlier_values(charge)}
            for (notice, charge_id), charge in wanted.items() if (notice, charge_id) not in present])

    # === READ AGAIN === #

    def _check_charges(self, verdicts, basis, lines):
        """Ask again what these notices claim beside their items, all of them together, and amend their verdicts.

        Interest ends on the day in the letter. An amount that a person has set stays, as long as it is not more than
        what is owed.

        :param dict verdicts: notice id -> :class:`~.dunning_notice_recheck.Verdict`
        :param basis: :class:`~.dunning_proposal_basis.Basis`
        :param lines: the notices' `dunning.notice.line`
        """
        by_day = {}
        asking = self.filtered(lambda notice: (
            notice.kind == 'dunning' and verdicts[notice.id].code in ('same', 'changed')))
        for notice in asking:
            verdict = verdicts[notice.id]
            level = notice._get_level_after(verdict)
            if not (notice.is_charged or level.charge_interest or level.charge_lump_sum):
                continue
            day = verdict.values.get('date') or notice.date
            by_day.setdefault(day, []).append(Asking(
                notice=notice, currency=basis.get_currency(notice.currency_id.id), level=SimpleNamespace(
                    id=level.id, charges_interest=level.charge_interest, charges_lump_sum=level.charge_lump_sum),
                due=basis.due_items.get(notice.id, []), charges=[], lump_sum=0.0))
        for day, candidates in by_day.items():
            self.env['dunning.proposal']._set_item_charges(candidates, basis, day, self)
            for candidate in candidates:
                candidate.notice._amend_verdict(verdicts, candidate.charges)
        for notice, charges in asking.filtered(
                lambda notice: verdicts[notice.id].charges is not None)._find_unnamed().items():
            verdicts[notice.id] = verdicts[notice.id]._replace(named=charges.ids)
        asking.filtered('is_charged')._check_kept_charges(verdicts, self.env['dunning.proposal']._sum_covered(basis))
        charge_lines = lines.filtered(lambda line: line.kind == 'charge' and line.notice_id in asking)
        if charge_lines:
            charge_lines._check_charges(verdicts, basis)

    def _find_unnamed(self):
        """Find the interest of what is due on these notices that came into the books and stands on no notice on its
        way: their own does not contain it any more.

        :return: dict `dunning.notice` -> `dunning.charge`
        """
        charges = self.env['dunning.charge'].search([
            ('state', '=', 'booked'), ('kind', '=', 'interest'), ('amount_left', '>', 0),
            ('move_line_id', 'in', self.due_line_ids.move_line_id.ids), ('notice_id', 'not in', self.ids)])
        unnamed = charges - charges.line_ids.filtered(lambda line: line.notice_id.is_open).charge_id
        return {notice: of_notice for notice in self if (of_notice := unnamed.filtered(
            lambda charge, items=notice.due_line_ids.move_line_id: charge.move_line_id in items))}

    def _check_kept_charges(self, verdicts, covered):
        """Say in the verdicts of notices that their fee asks for what is there already, or that money for an earlier
        one has gone.

        :param dict verdicts: notice id -> :class:`~.dunning_notice_recheck.Verdict`
        :param dict covered: id of a charge -> what of it is there
        """
        fees = self.charge_ids.filtered(lambda charge: (
            charge.kind == 'fee' and charge.state == 'draft' and not charge.is_set and charge.amount))
        replaced = fees._find_replaced() if covered else {}
        for fee in fees:
            came = replaced.get(fee, fee.browse()).filtered(lambda charge: covered.get(charge.id))
            gone = fee.browse(fee.kept_ids or ()).exists().filtered(
                lambda charge: charge.state == 'claimed' and not covered.get(charge.id))
            words = [self.env._(
                "%(charge)s: %(amount)s of it is there, what a payment left.", charge=charge.display_name,
                amount=format_amount(self.env, covered[charge.id], charge.currency_id)) for charge in came]
            words += [self.env._(
                "%s: the money that was there for it is not there any more.", charge.display_name) for charge in gone]
            if words:
                verdict = verdicts[fee.notice_id.id]
                amount = fee.amount - sum(came.mapped('amount')) + sum(gone.mapped('amount'))
                verdicts[fee.notice_id.id] = verdict._replace(
                    code='changed', fee=max(0.0, amount), words='\n'.join(filter(None, [verdict.words, *words])))

    def _get_total_after(self, verdict):
        """Return what the notice asks for in all once its verdict is applied. That its fee may move to another notice
        of the customer, or become another one, is not foreseen.

        :param verdict: :class:`~.dunning_notice_recheck.Verdict`
        """
        self.ensure_one()
        amounts = [self.amount_cost, self.amount_fee if verdict.fee is None else verdict.fee]
        amounts += [self.amount_overdue, -self.amount_credit] if verdict.lines is None else [
            line['amount_residual'] for line in verdict.lines if line['kind'] in ('due', 'credit')]
        amounts += [self.amount_interest, self.amount_lump_sum] if verdict.charges is None else [
            charge['amount'] for charge in verdict.charges]
        amounts += self.env['dunning.charge'].browse(verdict.named).mapped('amount_left')
        if self.amount_earlier:
            replaced = self._find_own_earlier([
                (charge['kind'], charge['move_line_id'], charge['kept_ids']) for charge in verdict.charges or ()])
            amounts += [verdict.earlier.get(line.id, line.amount_residual) for line in self.charge_line_ids - replaced
                        if line.charge_id.notice_id != self]
        return self.currency_id.round(sum(amounts))

    def _get_level_after(self, verdict):
        """Return the level that the notice has once its verdict is applied."""
        self.ensure_one()
        if verdict.lines is None:
            return self.level_id
        due = [values['level_id'] for values in verdict.lines if values['kind'] == 'due']
        return self.env['dunning.level'].browse(due).sorted('sequence')[-1:] or self.level_id

    def _amend_verdict(self, verdicts, expected):
        """Say in a verdict that interest and lump sums have changed.

        :param list expected: values of the `dunning.charge` of the items, as they should be
        """
        self.ensure_one()
        # What was given up or paid is no more of its matter.
        present = {
            (charge.kind, charge.move_line_id.id): charge for charge in self.charge_ids
            if charge.kind in ITEM_KINDS and charge.state in ('draft', 'claimed')}
        values = []
        for charge in expected:
            own = present.get((charge['kind'], charge['move_line_id']))
            if own and own.is_set:
                charge = {**charge, 'amount': min(own.amount, charge['amount']), 'reason': own.reason, 'is_set': True}
            values.append(charge)
        new = {(charge['kind'], charge['move_line_id']): self.currency_id.round(charge['amount']) for charge in values}
        old = {key: self.currency_id.round(charge.amount) for key, charge in present.items()}
        verdict, words = verdicts[self.id], []
        # Of what cannot be made again only what it asks for counts.
        if new == old and ((verdict.code == 'same' and self._is_frozen()) or all(
                self._list_calculation(charge) == self._list_calculation(
                    present[charge['kind'], charge['move_line_id']]) for charge in values)):
            return
        labels = dict(self.env['dunning.charge']._fields['kind']._description_selection(self.env))
        for kind in ITEM_KINDS:
            sums = [sum(amount for key, amount in amounts.items() if key[0] == kind) for amounts in (new, old)]
            if self.currency_id.compare_amounts(*sums):
                words.append(self.env._(
                    "%(kind)s: %(new)s instead of %(old)s.", kind=labels[kind],
                    new=format_amount(self.env, sums[0], self.currency_id),
                    old=format_amount(self.env, sums[1], self.currency_id)))
        if not words and not verdict.words:
            words.append(self.env._("The calculation of the charges has changed."))
        verdicts[self.id] = verdict._replace(
            code='changed', charges=values, words='\n'.join(filter(None, [verdict.words, *words])))

    @api.model
    def _list_calculation(self, charge):
        """Return what a charge says of how it was reckoned, to be compared.

        :param charge: `dunning.charge`, or values of one
        """
        return (
            round(charge['amount_calculated'], 6), charge['date_from'] or False, charge['date_to'] or False,
            [(row['date_from'], row['date_to'], row['days'], row['year_days'], float(row['principal']),
              row['rate'] and float(row['rate'])) for row in charge['detail'] or []])

    def _take_over(self, verdict):
        """Give a notice that has not left the lines and charges that a verdict says.

        :param verdict: :class:`~.dunning_notice_recheck.Verdict`
        """
        self.ensure_one()
        notice = self.sudo()
        if verdict.lines is not None:
            notice._replace_lines(verdict.lines)
        for line in notice.line_ids.filtered(lambda line: line.id in verdict.earlier):
            if verdict.earlier[line.id] or line.charge_id.notice_id == notice:
                line.amount_residual = verdict.earlier[line.id]
            else:
                line.with_context(dunning_replace_lines=True).unlink()
        if verdict.charges is not None:
            notice.charge_ids.filtered(lambda charge: charge.kind in ITEM_KINDS and charge.state == 'draft').unlink()
            notice.charge_ids = [Command.create({
                'partner_id': notice.partner_id.id, 'company_id': notice.company_id.id,
                'currency_id': notice.currency_id.id, 'date': notice.date, **values}) for values in verdict.charges]
            notice._place_own_earlier()
            notice.line_ids = [Command.create(charge._prepare_charge_line_values(
                charge.id, charge.amount_left, charge.notice_id.name, charge.date))
                for charge in notice.env['dunning.charge'].browse(verdict.named)]
        if verdict.charges is not None or verdict.lines is not None or verdict.fee is not None:
            # What was issued without a fee stays without.
            notice.filtered(lambda notice: notice.state == 'draft' or notice._get_fee())._judge_fees_anew()

    def _place_own_earlier(self):
        """Take off a notice the earlier charges for which one of its own stands now."""
        self._find_own_earlier([(charge.kind, charge.move_line_id.id, charge.kept_ids) for charge in self.charge_ids]
                               ).with_context(dunning_replace_lines=True).unlink()

    def _find_own_earlier(self, charges):
        """Return the lines with earlier charges for which one of the notice's own stands.

        :param charges: (kind, id of the item, ids of the charges that are kept) of its own charges
        """
        own = [(line_id, kept_ids or ()) for kind, line_id, kept_ids in charges if kind == 'interest']
        items, kept = {line_id for line_id, _kept in own}, {one for _line_id, kept_ids in own for one in kept_ids}
        return self.charge_line_ids.filtered(lambda line: (
            line.charge_id.kind == 'interest' and line.charge_id.notice_id != self
            and line.charge_id.state == 'claimed' and not line.charge_id.is_past
            and line.charge_id.id not in kept and line.charge_id.move_line_id.id in items))


class Asking(SimpleNamespace):
    """What a notice asks for, in place of a :class:`~.judgement.Candidate`; two are the same only if they are one."""
    __hash__ = object.__hash__
    __eq__ = object.__eq__

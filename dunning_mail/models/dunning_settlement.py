from typing import NamedTuple

from odoo import api, fields, models
from odoo.exceptions import UserError
from odoo.tools import SQL, format_amount, format_list, groupby


class Step(NamedTuple):
    """What is settled of one thing that a notice claims.

    :ivar kind: `credit` (set off on the notice, taken for its items), `item` or `charge`
    :ivar record: `account.move.line`, or `dunning.charge`
    :ivar open: what is open of it, positive
    :ivar amount: what is taken for it; of a credit, what is taken of it
    """
    notice: models.BaseModel
    kind: str
    record: models.BaseModel
    open: float
    amount: float


class DunningSettlement(models.AbstractModel):
    """Settles what notices claim with the money that came for them, by core's reconciliation.

    What is to be done is a plan, a list of :class:`Step`: it is shown as it is, and done as it is. Who was chosen by
    the payer or by a clerk before has been reconciled by core when it gets here: only what is left is shared out.
    """
    _name = 'dunning.settlement'
    _description = 'Settling of Dunning Notices'

    # === THE PLAN === #

    @api.model
    def _plan(self, notices, amount, currency, credits=None):
        """Share out money over what notices claim, the older notice first, each in the order of its company.

        :param notices: `dunning.notice`, in the order in which they are settled
        :param float amount: positive
        :param currency: `res.currency` of the money; what is claimed in another one is left to a person
        :param credits: `account.move.line`, where the money is: core reconciles what is on the same account. None where
            it is to be placed yet
        :return: list of :class:`Step`, those among them for which nothing is left
        """
        steps, seen = [], set(credits.ids if credits else ())
        for notice in notices.filtered(lambda notice: notice.currency_id == currency):
            items = notice._get_items_to_settle().filtered(lambda item: item.id not in seen and (
                credits is None or item.account_id in credits.account_id))
            seen.update(items.ids)
            left = {item: item.amount_residual_currency for item in items}
            for credit in notice._get_credits_to_settle().filtered(
                    lambda credit, items=items: credit.id not in seen and credit.account_id in items.account_id):
                seen.add(credit.id)
                available = -credit.amount_residual_currency
                used = 0.0
                for item in items.filtered(lambda item, credit=credit: item.account_id == credit.account_id):
                    part = min(left[item], currency.round(available - used))
                    left[item] = currency.round(left[item] - part)
                    used = currency.round(used + part)
                if used:
                    steps.append(Step(notice, 'credit', credit, available, used))
            claims = [('item', item, open_amount) for item, open_amount in left.items() if open_amount]
            charges = [
                ('charge', charge, open_amount) for charge, open_amount in notice._get_charges_to_settle().items()
                if ('charge', charge.id) not in seen]
            seen.update(('charge', charge.id) for _kind, charge, _open in charges)
            is_charges_first = notice.company_id.dunning_settle_order == 'charges_first'
            for kind, record, open_amount in charges + claims if is_charges_first else claims + charges:
                part = min(amount, open_amount)
                amount = currency.round(amount - part)
                steps.append(Step(notice, kind, record, open_amount, part))
        return steps

    @api.model
    def _sum_taken(self, steps, currency):
        """Add up what a plan takes of the money."""
        return currency.round(sum(step.amount for step in steps if step.kind != 'credit'))

    # === DOING IT === #

    @api.model
    def _settle(self, credits, steps):
        """Do what a plan says.

        :param credits: `account.move.line`, where the money is
        :param list steps: :class:`Step`
        :return: list of :class:`Step`, those that were done, with what was really taken
        :raise UserError: core does not allow it
        """
        done = []
        for notice, of_notice in groupby(steps, lambda step: step.notice):
            taken = [step for step in of_notice if step.amount]
            if not any(step.kind != 'credit' for step in taken):
                continue
            for step in taken:
                if step.kind == 'credit':
                    items = notice._get_items_to_settle().filtered(
                        lambda item, credit=step.record: item.account_id == credit.account_id)
                    (step.record | items).reconcile()
            for kind, group in groupby(taken, lambda step: step.kind):
                if kind == 'item':
                    for step in group:
                        open_before = step.record.amount_residual_currency
                        self._reconcile(credits, step.record)
                        if taken_of_it := step.record.currency_id.round(
                                open_before - step.record.amount_residual_currency):
                            done.append(step._replace(amount=taken_of_it))
                elif kind == 'charge':
                    group = list(group)
                    paid = self._settle_charges(credits, {step.record: step.amount for step in group})
                    done += [step for step in group if step.record in paid]
        return done

    @api.model
    def _settle_charges(self, credits, amounts):
        """Book charges for which money is there, as far as it goes, and reconcile them with it.

        Of what cannot be booked the head of accounts is told.

        :param dict amounts: `dunning.charge` -> what is there for it
        :return: the charges that were settled
        :raise UserError: it could not be booked, and items come after it: they would take what was meant for it
        """
        paid = self.env['dunning.charge']
        for notice, charges in self.env['dunning.charge'].union(*amounts).grouped('notice_id').items():
            is_done = charges._try(lambda charges: charges._pay(credits, {
                charge: amounts[charge] for charge in charges}))
            if is_done:
                paid |= charges
            elif notice.company_id.dunning_settle_order == 'charges_first':
                raise UserError(' '.join(charges[:1].booking_problem.split()))
        return paid

    @api.model
    def _reconcile(self, credits, item):
        """Reconcile an item with what is left of the money.

        :raise UserError: it is not on the same account, or core does not allow it
        """
        if item.reconciled:
            return
        fitting = credits.filtered(lambda credit: credit.account_id == item.account_id and not credit.reconciled)
        if not fitting:
            raise UserError(self.env._(
                "%(item)s is on account %(account)s, and the payment is not.", item=item.move_id.name or item.name,
                account=item.account_id.display_name))
        own = fitting.filtered(lambda credit: credit.partner_id.commercial_partner_id == (
            item.partner_id.commercial_partner_id))
        ((own or fitting)[:1] | item).reconcile()

    # === IN WORDS === #

    @api.model
    def _describe(self, steps, currency):
        """Return what is taken for what, in one line."""
        return format_list(self.env, [
            f'{step.record.move_id.name if step.kind == "item" else step.record._get_words()} '
            f'{format_amount(self.env, step.amount, currency)}'
            for step in steps if step.amount and step.kind != 'credit'])


class DunningNotice(models.Model):
    """What of a notice can be settled."""
    _inherit = 'dunning.notice'

    settling_count = fields.Integer("Payments", compute='_compute_settling_count')

    def _get_items_to_settle(self):
        """Return the items that are open of what the notice claims, the oldest first."""
        return self.sudo().line_ids.filtered(lambda line: line.kind == 'due').move_line_id.filtered(lambda item: (
            item.parent_state == 'posted' and not item.reconciled and item.amount_residual_currency > 0
        )).sorted(lambda item: (item.date_maturity or item.date, item.id))

    def _get_credits_to_settle(self):
        """Return what is open of the credits that the notice has set off."""
        return self.sudo().line_ids.filtered(lambda line: line.kind == 'credit').move_line_id.filtered(
            lambda credit: credit.parent_state == 'posted' and not credit.reconciled
            and credit.amount_residual_currency < 0)

    def _get_charges_to_settle(self):
        """Return the charges that the notice asks for and that a payment settles.

        For what was replaced stands what replaced it: the slip that was paid is an older one.

        :return: dict `dunning.charge` -> what is open of it; costs, lump sums and fees first, interest then
        """
        self.ensure_one()
        charges = self.env['dunning.charge']
        for charge in self.sudo()._get_all_charges():
            while charge.state == 'replaced' and charge.replaced_by_id:
                charge = charge.replaced_by_id
            charges |= charge
        return {
            charge: open_amount for charge in charges.sorted(
                lambda charge: (charge.kind == 'interest', charge.date, charge.id))
            if charge.currency_id == self.currency_id and (open_amount := charge._get_amount_to_settle()) > 0}

    # === THE PAYMENTS === #

    def _get_settling_lines(self):
        """Return the payments that settled items or charges of these notices: `account.move.line`, their credits."""
        items = self.sudo().line_ids.filtered(lambda line: line.kind == 'due').move_line_id
        items |= self.sudo()._get_all_charges()._get_booked_lines()
        return items.matched_credit_ids.credit_move_id.filtered(
            lambda credit: credit.journal_id.type in ('bank', 'cash', 'credit') or credit.payment_id)

    def _compute_settling_count(self):
        for notice in self:
            notice.settling_count = len(notice._get_settling_lines().move_id)

    def action_open_settling_payments(self):
        """Open the payments that settled items or charges of this notice."""
        lines = self._get_settling_lines()
        return {
            'type': 'ir.actions.act_window', 'name': self.env._("Payments"), 'res_model': 'account.move.line',
            'view_mode': 'list,form', 'domain': [('id', 'in', lines.ids)], 'context': {'create': False}}


class DunningCharge(models.Model):
    """What of charges a payment settles."""
    _inherit = 'dunning.charge'

    def _get_booked_lines(self):
        """Return the receivable lines of those of these charges that are in the books."""
        return self.sudo().move_line_booked_id.filtered(lambda line: line.parent_state == 'posted')

    def _get_amount_to_settle(self):
        """Return how much of the charge a payment settles by itself: what is open of it in the books, or would be
        booked now; 0 where the company books nothing by itself."""
        self.ensure_one()
        is_bookable = self.is_booked_at_issue or self.company_id.dunning_charge_booking != 'print'
        is_ready = self.state == 'booked' or (self.state == 'claimed' and is_bookable)
        return self.amount_left if is_ready else 0.0

    def _pay(self, credits, amounts):
        """Reconcile charges with money, and book them before where they are not yet.

        :param credits: `account.move.line`, where the money is
        :param dict amounts: `dunning.charge` -> how much of it is to be settled
        :raise UserError: one cannot be booked
        """
        charges = self.sudo()
        claimed = charges.filtered(lambda charge: charge.state == 'claimed')
        claimed._book({charge: amounts[charge] for charge in claimed}, max(credits.mapped('date')))
        for line in charges._get_booked_lines():
            self.env['dunning.settlement']._reconcile(credits, line)

    # === WHAT PAYMENTS LEFT === #

    def _read_covers(self):
        """Read which payments are there for these charges.

        :return: dict: open credit, an `account.move.line` -> `dunning.charge`, the older ones first
        """
        rows = self.env.execute_query(SQL(
            """
            SELECT cover.credit_id, ARRAY_AGG(cover.charge_id ORDER BY cover.date, cover.charge_id)
              FROM (%s) AS cover
              JOIN account_move_line credit ON credit.id = cover.credit_id
             WHERE credit.parent_state = 'posted' AND credit.reconciled IS NOT TRUE
               AND credit.amount_residual_currency < 0
             GROUP BY cover.credit_id
             ORDER BY MIN(credit.date), cover.credit_id
            """, self._get_cover_query(SQL("c.id = ANY(%s)", self.ids))))
        credits = self.env['account.move.line'].sudo()
        return {credits.browse(credit_id): self.browse(charge_ids) for credit_id, charge_ids in rows}

    def _book_covered(self):
        """Book charges as far as payments have left money for them, and reconcile them with it.

        :return: the charges of which something was settled
        :raise UserError: no payment has left anything for them, or they cannot be booked
        :raise AccessError: the user keeps no books
        """
        self._check_may_book()
        self.check_access('read')
        settled, wanted, used = self.browse(), self.sudo(), self.env['account.move.line'].sudo()
        while covers := {
                credit: charges for credit, charges in wanted._read_covers().items() if credit not in used}:
            credit, charges = next(iter(covers.items()))
            used |= credit
            left, amounts = -credit.amount_residual_currency, {}
            for charge in charges.filtered(lambda charge, credit=credit: charge.currency_id == credit.currency_id):
                part = min(left, charge.amount_left)
                left = charge.currency_id.round(left - part)
                if part:
                    amounts[charge] = part
            if not amounts:
                continue
            booked = self.browse().union(*amounts)
            booked.sudo()._pay(credit, amounts)
            settled |= booked
            # The rest of what was split has been left open for the next payment.
            wanted |= wanted.search([('split_from_id', 'in', booked.ids), ('state', 'in', ('claimed', 'booked'))])
            for charge, amount in amounts.items():
                charge.with_env(self.env)._log_on_notice(self.env._(
                    "Booked: %(charge)s, %(amount)s, which payment %(payment)s had left.", charge=charge._get_words(),
                    amount=format_amount(self.env, amount, charge.currency_id), payment=credit.move_id.name),
                    with_customer=True)
        if not settled:
            raise UserError(self.env._("No payment has left anything for these charges."))
        return settled.with_env(self.env)

    @api.model
    def _get_cover_query(self, condition=None, credit_ids=None):
        """Return the query of which payment is there for which charge: one of the same customer that settled an item of
        a notice, or was meant for the notice itself, is there for the charges that the notice asks for.

        :param condition: :class:`~odoo.tools.SQL` on the charge `c`
        :param list credit_ids: ids of `account.move.line`, the only payments that are asked for
        :return: :class:`~odoo.tools.SQL`: credit_id, charge_id, amount, date
        """
        for model_name in ('account.move', 'account.move.line', 'account.partial.reconcile', 'dunning.notice.line',
                           'res.partner'):
            self.env[model_name].flush_model()
        self.flush_model()
        reconciled, named = SQL(), SQL()
        if credit_ids is not None:
            reconciled, named = (
                SQL("AND %s = ANY(%s)", column, list(credit_ids))
                for column in (SQL("part.credit_move_id"), SQL("credit.id")))
        asked = SQL(
            """
              FROM dunning_charge c
              JOIN dunning_notice_line asked ON asked.charge_id = c.id
              JOIN dunning_notice n ON n.id = asked.notice_id AND n.is_counted
            """)
        own = SQL(
            """
              JOIN account_move move ON move.id = credit.move_id AND move.move_type = 'entry'
              JOIN account_journal journal ON journal.id = move.journal_id AND (
                   journal.type IN ('bank', 'cash', 'credit') OR move.origin_payment_id IS NOT NULL)
              JOIN res_partner payer ON payer.id = credit.partner_id
              JOIN res_partner debtor ON debtor.id = c.partner_id
                                     AND debtor.commercial_partner_id = payer.commercial_partner_id
            """)
        return SQL(
            """
            SELECT part.credit_move_id AS credit_id, c.id AS charge_id, %(amount)s AS amount, c.date
              %(asked)s
              JOIN dunning_notice_line l ON l.notice_id = n.id AND l.kind = 'due'
              JOIN account_partial_reconcile part ON part.debit_move_id = l.move_line_id
              JOIN account_move_line credit ON credit.id = part.credit_move_id
              %(own)s
             WHERE %(is_asked)s %(reconciled)s
             UNION
            SELECT credit.id, c.id, %(amount)s, c.date
              %(asked)s
              JOIN dunning_settled_rel settled ON settled.notice_id = n.id
              JOIN account_move_line credit ON credit.move_id = settled.move_id AND credit.amount_currency < 0
              JOIN account_account account ON account.id = credit.account_id
                                          AND account.account_type = 'asset_receivable'
              %(own)s
             WHERE %(is_asked)s %(named)s
            """, asked=asked, own=own, reconciled=reconciled, named=named, amount=SQL("c.amount_left"),
            is_asked=SQL(
                "c.state IN ('claimed', 'booked') AND c.amount_left > 0 AND %s", condition or SQL("TRUE")))

from typing import NamedTuple

from odoo import fields, models

from ..tools import judgement
from .dunning_proposal_basis import Basis


class Bearer(NamedTuple):
    """A draft that may bear the customer's fee, as :func:`~.judgement.choose_bearer` looks at it."""
    notice: models.BaseModel
    level: judgement.Level
    amount: float
    currency: judgement.Currency


class DunningNotice(models.Model):
    """One fee for each customer and run, also after drafts were left out, put back, changed or cancelled."""
    _inherit = 'dunning.notice'

    is_fee_set = fields.Boolean("Fee Set by Hand", readonly=True, copy=False)

    def _judge_fees_anew(self):
        """Put the fee of each customer of a run on the draft that bears it now, as the proposal would.

        What was issued keeps the fee that it has, except for these notices themselves. A fee that a person has set
        stays, and is the customer's fee.
        """
        notices = self.sudo().filtered(lambda notice: notice.kind == 'dunning' and notice.run_id)
        if not notices:
            return
        siblings = notices.search([
            ('kind', '=', 'dunning'), ('run_id', 'in', notices.run_id.ids),
            ('partner_id', 'in', notices.partner_id.ids), ('state', 'in', ('draft', 'issued'))])
        for (run, _partner), of_customer in siblings.grouped(lambda notice: (notice.run_id, notice.partner_id)).items():
            free = of_customer.filtered(lambda notice: notice.state == 'draft' or notice in notices)
            if free:
                free._share_fee(of_customer, Basis(run.env, run.company_id, run.date, {}))

    def _is_fee_by_hand(self):
        """Whether a person has set the fee, or waived it."""
        self.ensure_one()
        return self.is_fee_set or self.currency_id.compare_amounts(self.amount_fee, self.amount_fee_own) < 0

    def _share_fee(self, of_customer, basis):
        """Decide which of a customer's notices bears the fee, and write what has changed.

        :param of_customer: all notices of the customer and run that are not excluded or cancelled
        :param basis: :class:`~.dunning_proposal.Basis` of the run
        """
        fees = dict.fromkeys(self, (0.0, 0.0))
        bearers = []
        for notice in self:
            currency = basis.get_currency(notice.currency_id.id)
            level = next((level for level in basis.get_procedure(notice.level_id.procedure_id).levels
                          if level.id == notice.level_id.id), None)
            if level and currency.get_rate() is not None:
                bearers.append(Bearer(notice, level, notice.amount_overdue - notice.amount_credit, currency))
        # Waived is decided too.
        is_borne = any(notice.amount_fee or notice.amount_fee_own for notice in of_customer - self) or any(
            notice._is_fee_by_hand() for notice in self)
        if bearers and not is_borne:
            bearer = judgement.choose_bearer(bearers, basis.terms)
            due = of_customer.due_line_ids.move_line_id.ids
            earlier = self.env['dunning.proposal'].sudo()._get_earlier_fees(
                due, basis.company) if bearer.level.is_cumulated else {}
            fees[bearer.notice] = judgement.get_fees(bearer.level, due, bearer.currency, basis.terms, earlier)
        for notice, (fee, own) in fees.items():
            if notice._is_fee_by_hand():
                continue
            compare = notice.currency_id.compare_amounts
            if compare(notice.amount_fee, fee) or compare(notice.amount_fee_own, own):
                notice.write({'amount_fee': fee, 'amount_fee_own': own})

from decimal import Decimal
from typing import NamedTuple

from odoo import fields, models
from odoo.tools import SQL, format_amount

from ..tools import interest
from .dunning_charge import BOOKED_STATES
from .dunning_interest import list_segments, read_segments


class Correction(NamedTuple):
    """What is left of a charge that asks for more than is owed.

    :ivar amount: what may be asked for, 0 for nothing
    :ivar less: how much less that is than was asked for
    :ivar calculated: what it is reckoned to
    :ivar detail: the calculation, as `dunning.charge` keeps it
    :ivar reason: in words
    :ivar is_passing: an item is being corrected: nothing is asked for meanwhile, and nothing written down
    """
    amount: float
    less: float
    calculated: float
    detail: list
    reason: str
    is_passing: bool


class DunningCharge(models.Model):
    """What becomes known later corrects what was claimed: a credit note, an entry that is taken back, a payment's value
    date. Read wherever earlier charges are asked for, written once a day, but for what is being corrected just then."""
    _inherit = 'dunning.charge'

    is_unowed = fields.Boolean(
        "Never Owed", readonly=True, help="What became known later says so; nobody has given it up. What a person "
        "reinstates stays.")

    def _find_corrections(self):
        """Find which of these charges ask for more than is owed, as the ledger tells by now.

        Interest is reckoned again for the same days by the same rates, on what was open as is known now. A lump sum
        falls where nothing was open when the default began, a fee where none of its items was late. Costs stay.

        :return: dict id of the charge -> :class:`Correction`; a constant number of statements for those that stay
        """
        rows = self._read_touched_items()
        if not rows:
            return {}
        charges = self.sudo().browse(charge_id for charge_id, *_facts in rows)
        items = {item_id for _charge_id, item_ids, *_facts in rows for item_id in item_ids}
        principals = self.env['dunning.interest']._get_principals(list(items), max(charges.mapped('date')))
        corrections = {}
        for charge, (charge_id, item_ids, *facts) in zip(charges, rows, strict=True):
            if correction := charge._find_correction([principals.get(item_id, ()) for item_id in item_ids], *facts):
                corrections[charge_id] = correction
        return corrections

    def _read_touched_items(self):
        """Read those of these charges that are asked for, or in the books, of which every item was settled in part, or
        taken back.

        :return: list of (id, list of ids of the `account.move.line`, list of the numbers of those not posted, whether
            one of them was reset to draft)
        """
        if not self:
            return []
        self.flush_model()
        for model_name in ('account.move', 'account.move.line', 'account.partial.reconcile', 'dunning.notice.line'):
            self.env[model_name].flush_model()
        return self.env.execute_query(SQL(
            """
            SELECT c.id, ARRAY_AGG(aml.id),
                   ARRAY_AGG(COALESCE(am.name, '')) FILTER (WHERE aml.parent_state <> 'posted'),
                   BOOL_OR(aml.parent_state = 'draft')
              FROM dunning_charge c
              JOIN dunning_notice_line l ON l.notice_id = c.notice_id AND l.kind = 'due'
               AND (c.kind = 'fee' OR l.move_line_id = c.move_line_id)
              JOIN account_move_line aml ON aml.id = l.move_line_id
              JOIN account_move am ON am.id = aml.move_id
             WHERE c.id = ANY(%s) AND c.is_unowed IS NOT TRUE AND c.kind <> 'cost'
               AND (c.state IN ('claimed', 'booked') OR c.state = 'paid' AND c.move_line_booked_id IS NOT NULL)
               -- Else it would not be what its entry says when that is posted again.
               AND c.is_entry_draft IS NOT TRUE
             GROUP BY c.id
            HAVING BOOL_AND(aml.parent_state <> 'posted' OR EXISTS (
                       SELECT 1 FROM account_partial_reconcile part WHERE part.debit_move_id = aml.id))
             ORDER BY c.id
            """, self.ids))

    def _find_correction(self, principals, numbers, is_passing):
        """Find what is left of one charge.

        :param list principals: for each of its items what was open, as :func:`~.interest.calculate` takes it
        :param numbers: of its entries that are not posted, None where all are
        :param bool is_passing: one of them was reset to draft
        :return: :class:`Correction`, None where it stays
        """
        self.ensure_one()
        detail, less = self.detail or [], Decimal()
        if self.kind == 'interest' and detail:
            segments = read_segments(detail)
            now, step = interest.recalculate(segments, principals[0]), Decimal(str(self.currency_id.rounding))
            less = interest.round_half_up(interest.recalculate(segments).exact, step) - interest.round_half_up(
                now.exact, step)
            detail = list_segments(now.segments)
        elif not any(self._was_open(principal) for principal in principals):
            less = Decimal(str(self.amount_calculated))
        if less <= 0:
            return None
        calculated = max(0.0, self.currency_id.round(self.amount_calculated - float(less)))
        amount = min(self.amount, calculated)
        if numbers:
            reason = self.env._("It is not owed: %s is not posted any more.", ', '.join(numbers))
        elif amount:
            reason = self.env._("Less than was claimed before: a payment or credit became known later.")
        else:
            reason = self.env._("It is not owed: a payment or credit became known later.")
        return Correction(
            amount, self.currency_id.round(self.amount - amount), calculated, detail, reason, is_passing)

    def _was_open(self, principal):
        """Whether anything of an item was open when the charge came to be owed, else when it was due.

        :param principal: what was open, as :func:`~.interest.calculate` takes it, by days
        """
        self.ensure_one()
        last = None
        for day, amount in principal:
            if last is None or (self.date_from and day <= self.date_from):
                last = amount
        return bool(last and last > 0)

    def _lower_by_taken(self):
        """Lower what a notice asks for by the earlier charges that it contains, or that it stands for, and that were
        booked or settled after its document was made: it is not owed twice."""
        left = {}
        taken = SQL(
            "c.date_taken IS NOT NULL AND (c.state IN ('booked', 'paid') OR c.state = 'claimed' AND c.is_entry_draft)")
        for charge, earlier in self._find_replaced(taken).items():
            notice = charge.notice_id
            made_at = notice.letter_opened_at or notice.handover_at or notice.claimed_at
            amount, names = charge.amount_calculated, []
            for one in earlier.filtered(lambda one, charge=charge, made_at=made_at: (
                    one.currency_id == charge.currency_id and made_at and one.date_taken > made_at)):
                part = min(amount, left.setdefault(one, one.amount))
                left[one] -= part
                amount -= part
                if part:
                    names.append(one.display_name)
            if not names:
                continue
            old, amount = charge.amount, charge.currency_id.round(amount)
            reason = self.env._("Booked or settled since the letter was made: %s.", ', '.join(names))
            charge.sudo().write({
                'amount': min(old, amount), 'amount_calculated': amount, 'reason': reason})
            charge._log_on_notice(self.env._(
                "%(charge)s: %(new)s instead of %(old)s. %(reason)s", charge=charge._get_words(),
                new=format_amount(self.env, charge.amount, charge.currency_id),
                old=format_amount(self.env, old, charge.currency_id), reason=reason), with_customer=True)

    def _correct(self):
        """Write down what is left of one company's charges that ask for more than is owed, in the books too."""
        own = self.with_context(lang=self.company_id.partner_id.lang)
        corrections = {
            charge_id: correction for charge_id, correction in own._find_corrections().items()
            if not correction.is_passing}
        for charge in own.browse(corrections):
            if charge.state in BOOKED_STATES:
                charge._try(lambda charge, correction=corrections[charge.id]: charge._write_correction(correction))
            else:
                self.env['dunning.promise']._do_alone(charge, '_write_correction', corrections[charge.id])

    def _write_correction(self, correction):
        """Write down what is left of one charge. What had paid a booked one pays what is left.

        :param correction: :class:`Correction`
        """
        self.ensure_one()
        charge, asked, is_booked = self.sudo(), self.amount, self.state in BOOKED_STATES
        credits = charge.move_line_booked_id.matched_credit_ids.credit_move_id
        if is_booked:
            charge._take_out_of_books(correction.reason)
            charge._set_claimed()
        if correction.amount:
            charge.write({
                'amount': correction.amount, 'amount_calculated': correction.calculated,
                'detail': correction.detail, 'reason': correction.reason})
            words = self.env._(
                "%(charge)s: %(new)s instead of %(old)s. %(reason)s", charge=charge._get_words(),
                new=format_amount(self.env, charge.amount, charge.currency_id),
                old=format_amount(self.env, asked, charge.currency_id), reason=correction.reason)
        else:
            charge._set_waived(correction.reason, is_unowed=True)
            words = self.env._(
                "Waived: %(charge)s, %(amount)s. %(reason)s", charge=charge._get_words(), reason=correction.reason,
                amount=format_amount(self.env, asked, charge.currency_id))
        if is_booked and correction.amount:
            taken = charge.date_taken
            lines = charge._book() | credits
            # What was reckoned since has taken it into account.
            charge.date_taken = taken
            if credits:
                lines.reconcile()
        self._log_on_notice(words, with_customer=True)

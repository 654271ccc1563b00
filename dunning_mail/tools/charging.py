"""With which fee a notice that is proposed goes, and with which charges of earlier ones.

As :mod:`.judgement`: plain values in, decisions out; no database, no words, no clock.
"""

from collections import defaultdict
from datetime import date
from typing import NamedTuple


class Kept(NamedTuple):
    """A charge of an earlier notice for which money is there: the new one beside it asks for what exceeds it."""
    id: int
    currency_id: int
    amount: float


class Earlier(NamedTuple):
    """A charge of an earlier notice that is still asked for.

    :ivar move_line_id: the item that it is for, None for a fee
    :ivar item_ids: of a fee, the items that its notice claimed
    """
    id: int
    partner_id: int
    currency_id: int
    kind: str
    amount: float
    date: date
    move_line_id: int | None
    notice_name: str
    item_ids: list | None


def set_fees(candidates, terms, kept=None, borne=()):
    """Put a fee on one notice of each customer: that of the highest level, of equal ones the larger.

    :param candidates: list of :class:`Candidate` of all customers
    :param dict kept: id of an item -> :class:`Kept` fees of notices that it was on
    :param borne: ids of the customers who have been given the fee of this run already
    """
    by_partner = defaultdict(list)
    for candidate in candidates:
        by_partner[candidate.partner_id].append(candidate)
    for partner_id, of_partner in by_partner.items():
        if partner_id not in borne:
            bearer = choose_bearer(of_partner, terms)
            put_fee(bearer, terms, dict.fromkeys(
                fee for candidate in of_partner for item in candidate.due
                for fee in (kept or {}).get(item.line_id, ())))


def put_fee(bearer, terms, kept=()):
    """Put the fee of its level on a notice.

    Where it comes in place of earlier ones, it asks for what exceeds those for which money is there: these stay. A lump
    sum is for what pursuing the claim costs: of a fee beside it, what exceeds it is left.

    :param bearer: :class:`Candidate`, or what has its fields
    :param kept: :class:`Kept` fees of notices with some of the same items
    """
    currency = bearer.currency
    amount = get_fee(bearer, terms)
    if amount and not bearer.level.is_cumulated:
        kept = [charge for charge in kept if charge.currency_id == currency.id]
        bearer.kept_ids = [charge.id for charge in kept]
        left = currency.round(max(0.0, amount - sum(charge.amount for charge in kept)))
    else:
        left = amount
    bearer.fee = currency.round(max(0.0, left - bearer.lump_sum))
    new = sum_lump_sums(bearer)
    # Where nothing is left of it, a lump sum of this notice stands for the earlier ones.
    bearer.is_single = bool(amount and not bearer.level.is_cumulated and (bearer.fee or new))
    # Those that were asked for before come first.
    bearer.set_off = 0.0 if bearer.is_single else min(new, max(0.0, left - (bearer.lump_sum - new)))


def sum_lump_sums(candidate):
    """Add up the lump sums that a notice asks for first."""
    return sum(values['amount'] for values in candidate.charges if values['kind'] == 'lump_sum')


def get_fee(bearer, terms):
    """Return what the level of a notice costs, in its currency.

    The row holds that has the highest amount which is reached; where several have the same, the one for this kind of
    debtor.

    :param bearer: :class:`Candidate`, or what has its `level`, `amount`, `currency` and `debtor`
    """
    currency = bearer.currency
    rows = [fee for fee in bearer.level.fees if fee.debtor in ('all', bearer.debtor)]
    own = [fee for fee in rows if fee.currency_id == currency.id]
    rows = own or [fee for fee in rows if fee.currency_id == terms.currency.id]
    if not rows:
        return 0.0
    is_converted = not own
    measure = terms.to_company(bearer.amount, currency) if is_converted else bearer.amount
    unit = terms.currency if is_converted else currency
    reached = [fee for fee in rows if unit.compare(measure, fee.amount_from) >= 0]
    if not reached:
        return 0.0
    row = max(reached, key=lambda fee: (fee.amount_from, fee.debtor != 'all'))
    amount = max(row.fixed + measure * row.percent / 100, row.minimum)
    if row.maximum:
        amount = min(amount, row.maximum)
    return terms.from_company(amount, currency) if is_converted else currency.round(amount)


def set_earlier(candidates, earlier, covered):
    """Name charges of earlier notices on the notice of the highest level that the customer has in their currency.

    Left out is what is there already, and what a charge of the new notices stands for: interest of the same item, the
    fee of a notice with some of the same items where the new fee is not added to it, and as much of such fees as a new
    lump sum is not needed for otherwise. Nothing stands for that for which money is there: it would be asked for again.

    :param list candidates: :class:`Candidate` of all customers, in the order of their levels
    :param list earlier: :class:`Earlier`
    :param dict covered: id of a charge -> what of it is there
    """
    bearers, due, single, interest = {}, defaultdict(set), set(), set()
    lump_sums = defaultdict(list)
    for candidate in candidates:
        bearers[candidate.partner_id, candidate.currency.id] = candidate
        due[candidate.partner_id].update(item.line_id for item in candidate.due)
        if candidate.is_single:
            single.add(candidate.partner_id)
        interest.update(values['move_line_id'] for values in candidate.charges if values['kind'] == 'interest')
        if (left := sum_lump_sums(candidate) - candidate.set_off) > 0:
            lump_sums[candidate.partner_id, candidate.currency.id].append([left, {
                values['move_line_id'] for values in candidate.charges if values['kind'] == 'lump_sum'}])
    for charge in earlier:
        key = charge.partner_id, charge.currency_id
        if not (bearer := bearers.get(key)):
            continue
        currency, there = bearer.currency, covered.get(charge.id, 0.0)
        left = currency.round(charge.amount - there)
        if not there:
            if charge.kind == 'interest' and charge.move_line_id in interest:
                continue
            if charge.kind == 'fee':
                if charge.partner_id in single and due[charge.partner_id].intersection(charge.item_ids or ()):
                    continue
                for entry in lump_sums[key]:
                    if entry[1].intersection(charge.item_ids or ()):
                        part = min(left, entry[0])
                        left, entry[0] = currency.round(left - part), currency.round(entry[0] - part)
        if currency.compare(left, 0) > 0:
            bearer.earlier.append(charge._replace(amount=left))


def choose_bearer(candidates, terms):
    """Choose the notice of a customer that bears the fee.

    :param candidates: list of :class:`Candidate`, or of what has its `level`, `amount` and `currency`
    """
    return max(candidates, key=lambda candidate: (
        candidate.level.sequence, terms.to_company(candidate.amount, candidate.currency), -candidate.currency.id))

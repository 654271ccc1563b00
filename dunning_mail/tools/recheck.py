"""Whether an item may still be claimed as a notice does. Plain values in, decisions out, as for the judgement."""

from dataclasses import dataclass
from datetime import date

from .debt import Reason
from .judgement import find_cover

# An item of which this is said asks for nothing any more; of any other reason that it may not be claimed now.
SETTLING = {'in_payment', 'covered', 'on_its_way'}


@dataclass(frozen=True, slots=True)
class Claim:
    """An item as it stands on a notice, and what it was judged by; `is_level_set`: a person set its level."""
    notice_id: int
    kind: str
    date_due: date
    previous_notice_id: int = False
    previous_date: date | None = None
    is_level_set: bool = False


def find_fault(claim, item, currency, day):
    """Say why an item may not be claimed any more as a notice does; its level is another question.

    :param Claim claim: what the notice says
    :param Item item: what is open now, credits set off
    :param Currency currency: of the notice
    :param date day: on which the notice leaves
    :return: :class:`Reason`, None where it may. Beside the codes of a proposal: `not_overdue`; `other_history`: it was
        dunned meanwhile, or what counted before does not any more
    """
    if item.blocked_by and not (item.blocked_by.code == 'reserved' and item.reserved_by == claim.notice_id):
        return item.blocked_by
    if item.date_due >= day:
        return Reason('not_overdue', day=item.date_due)
    if _has_own_level(claim, item) and (item.previous_notice_id or 0) != (claim.previous_notice_id or 0):
        return Reason('other_history')
    if currency.compare(item.uncovered, 0) == 0:
        return find_cover(item)
    return None


def must_reach_level(claim, item):
    """Whether an item is to be asked again for the level that it reaches.

    With the history and the due date that it had, it has the level that it had: what was proposed and reviewed is not
    judged by rules that were changed since.
    """
    return _has_own_level(claim, item) and not claim.is_level_set and (
        item.date_due != claim.date_due or item.previous_date != claim.previous_date)


def _has_own_level(claim, item):
    """Whether the line bears a level that follows from an earlier notice, the notice itself not being that one."""
    return claim.kind == 'due' and item.previous_notice_id != claim.notice_id

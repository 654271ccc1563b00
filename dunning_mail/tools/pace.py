"""When the last of many mails will have left. Plain Python: it knows nothing of Odoo."""

from collections import deque
from datetime import timedelta

# The delivery log keeps whole seconds: what is written down for :00 may have happened at :00.9.
LOG_PRECISION = timedelta(seconds=1)


class _Limit:
    """A sliding limit: so many recipients in any window of that length."""

    def __init__(self, limit, window, history):
        self.limit, self.window = limit, window + LOG_PRECISION
        self.taken = deque(history)
        self.total = sum(count for _moment, count in self.taken)

    def get_slot(self, slot, count):
        """Return when a mail to so many recipients may go, not before `slot`; one to more than the limit allows goes
        when the window is empty."""
        left = self.limit - min(count, self.limit)
        while self.taken and (self.total > left or self.taken[0][0] + self.window <= slot):
            moment, taken = self.taken.popleft()
            self.total -= taken
            slot = max(slot, moment + self.window)
        return slot

    def take(self, slot, count):
        self.taken.append((slot, count))
        self.total += count


def estimate_end(start, mails, interval, limits, history, opening=None, handover=0):
    """Reckon when the last of some mails is handed over, if nothing goes wrong.

    :param datetime start: the first slot
    :param mails: (recipients, datetime before which it is not tried or None) of each, in the order of sending
    :param float interval: seconds from one mail to the next
    :param limits: (recipients, window as timedelta); 0 recipients: no limit
    :param history: (datetime, recipients) of the mails that left before `start`, the oldest first
    :param opening: function that returns the first moment within the sending hours, not before the given one; None if
        there is none in sight. Without it mail goes out around the clock
    :param float handover: seconds that it takes to hand over one mail: the interval counts from its end
    :return: datetime, `start` where there is no mail; None if it cannot be said
    """
    slot, last = start, start
    taken = [_Limit(limit, window, history) for limit, window in limits if limit]
    for count, not_before in mails:
        slot = max(slot, not_before or slot)
        for limit in taken:
            slot = limit.get_slot(slot, count)
        if opening is not None:
            slot = opening(slot)
            if slot is None:
                return None
        for limit in taken:
            limit.take(slot, count)
        last, slot = slot, slot + timedelta(seconds=handover + interval)
    return last

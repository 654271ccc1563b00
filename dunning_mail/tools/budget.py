"""How long one pass of the process engine may take, and each step of a handover in it. Plain Python.

The scheduler kills a job that takes longer than its limit (120 s by default) without asking. A handover that is cut off
so ends as `unclear` and costs a person's time, so none is begun that could not be finished. The worst case of a pass,
with a server that is as slow as it can be at every step::

    waiting for slots        until `waits_until`, at most 50 s
    connecting and login     what is left but for a handover
    MAIL, RCPT, DATA         a third of what is left then, at most the time for a step
    the message              the next third, at most ten times a step
    the answer to the dot    all that is left, at most what RFC 5321 asks for (10 minutes)
    ----------------------   `ends_at`
    everything else          the reserve: commits, the letter that is made again, taking leave of the servers

With the default limit: 50 + 15 + 45 + 10 = 120 s. A handover that begins early in a pass has more time for the answer,
and so has each one if the limit is raised.
"""
from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable

__all__ = ['HANDOVER_SECONDS', 'RESERVE_SECONDS', 'WAIT_SECONDS', 'Budget', 'make_budget']

# Other actions of the scheduler want their turn.
WAIT_SECONDS = 50
# What a handover to a slow server takes at least.
HANDOVER_SECONDS = 45
RESERVE_SECONDS = 10


def _monotonic() -> float:
    # Looked up anew each time, so that a test can turn the clock.
    return time.monotonic()


@dataclasses.dataclass(frozen=True)
class Budget:
    """The time of one pass; moments are those of `clock`.

    :ivar waits_until: until then slots are waited for and handovers begun
    :ivar ends_at: by then every handover is over; infinite where there is no limit
    :ivar handover: seconds that must be left for a handover
    :ivar step: seconds for one step of a session
    :ivar answer: seconds for the answer to the final dot
    """

    waits_until: float
    ends_at: float
    handover: float
    step: float
    answer: float
    clock: Callable[[], float] = _monotonic

    @property
    def wait(self) -> float:
        """Seconds in which handovers may still begin; not positive when the pass is to end."""
        return self.waits_until - self.clock()

    @property
    def left(self) -> float:
        return self.ends_at - self.clock()

    @property
    def connect(self) -> float:
        """Seconds for connecting and login, of which a handover is to follow."""
        return max(min(2 * self.step, self.left - self.handover), 0.1)

    def get_handover_limits(self) -> dict[str, float]:
        """Share out what is left, as `Session.send()` takes it."""
        left = max(self.left, 0.1)
        limits = {
            'envelope_timeout': min(self.step, left / 3),
            'body_timeout': min(10 * self.step, left / 3),
            'answer_timeout': min(self.answer, left),
        }
        if math.isfinite(left):
            limits['total_timeout'] = left
        return limits


def make_budget(
    limit: float | None, used: float = 0, *, step: float, answer: float, clock: Callable[[], float] = _monotonic,
) -> Budget:
    """Plan a pass that begins now.

    :param limit: seconds after which the scheduler kills a pass of a worker, `None` where it does not
    :param used: seconds that jobs before this one have taken of it
    :param step: seconds for one step of a session
    :param answer: seconds for the answer to the final dot
    :param clock: monotonic
    """
    now = clock()
    if limit is None:
        return Budget(now + WAIT_SECONDS, math.inf, HANDOVER_SECONDS, step, answer, clock)
    reserve = min(RESERVE_SECONDS, limit / 6)
    handover = min(HANDOVER_SECONDS, (limit - reserve) / 2)
    ends_at = now - used + limit - reserve
    return Budget(min(now + WAIT_SECONDS, ends_at - handover), ends_at, handover, step, answer, clock)

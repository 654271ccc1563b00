"""What has become of a promise to pay, and what it still lets rest.

Plain values: no database, no words, no clock. Amounts are floats in the promise's currency.
"""

from dataclasses import dataclass, field
from datetime import date, timedelta


@dataclass(frozen=True, slots=True)
class Part:
    """What was paid: an amount, and the day of its value."""
    day: date
    amount: float


@dataclass(slots=True)
class Money:
    """What was open of the items of a promise when it was made, and what is open now.

    A credit note corrects the claim, whatever its day: it is no payment, and less is to be paid by it.

    :ivar credited: what credit notes have taken off since
    :ivar parts: list of :class:`Part`, the payments that are reconciled with the items
    :ivar on_way: list of :class:`Part`, what is registered, or in the books, and reconciled with nothing yet: as long
        as it is, nothing is late that it would pay
    :ivar charges: what is left of charges that are promised too: it is in `left`, and what is on its way pays it
    :ivar restored: what had been paid before, and has been taken back since: owed anew, and not promised
    """
    opened: float
    left: float
    credited: float
    parts: list[Part]
    on_way: list[Part] = field(default_factory=list)
    restored: float = 0.0
    charges: float = 0.0

    @property
    def received(self):
        """What was open less what is open, credit notes with it; nothing where more is open than was."""
        return max(0.0, self.opened + self.restored - self.left)

    @property
    def paid(self):
        """What of that is no credit note."""
        return max(0.0, self.opened + self.restored - self.credited - self.left)

    def paid_by(self, day):
        """What was paid by the end of a day, by the days of value."""
        return max(0.0, self.paid - sum(part.amount for part in self.parts if part.day > day))

    def get_for_charges(self, day):
        """What is there for charges by the end of a day, with nothing to reconcile it with."""
        return min(self.charges, sum(part.amount for part in self.on_way if part.day <= day)) if (
            self.charges >= self.left) else 0.0

    def reaches(self, amount, day):
        """Whether so much was paid by the end of a day, or is on its way since."""
        return self.paid_by(day) + sum(part.amount for part in self.on_way if part.day <= day) >= amount

    def get_spare(self, amount):
        """What was to be paid besides a promised amount, when that was promised."""
        return max(0.0, self.opened - self.credited - amount)

    def get_required(self, amount):
        """How much of a promised amount is still to be paid at all."""
        return min(amount, max(0.0, self.opened + self.restored - self.credited))


@dataclass(frozen=True, slots=True)
class Promise:
    """A promise as it was made.

    :ivar lines: list of (day, amount), by day
    :ivar grace: days after which a line is late
    :ivar falls_due_whole: all of it is over once one line is late
    :ivar rounding: the smallest amount of the currency
    """
    lines: list[tuple[date, float]]
    grace: int = 0
    falls_due_whole: bool = False
    rounding: float = 0.01

    @property
    def nothing(self):
        return self.rounding / 2

    def get_limit(self, day):
        """The last day on which what is promised for a day is not late."""
        return day + timedelta(days=self.grace)

    def get_end(self, late):
        """The last day on which the promise is not over, if these lines are late."""
        return self.get_limit(late[0] if late and self.falls_due_whole else self.lines[-1][0])

    @property
    def total(self):
        return sum(amount for _day, amount in self.lines)

    def find_late(self, money, today):
        """Return the days of the lines that are late: not paid by the end of their last day, which is over."""
        late, total = [], 0.0
        for day, amount in self.lines:
            total += amount
            limit = self.get_limit(day)
            if limit < today and not money.reaches(money.get_required(total) - self.nothing, limit):
                late.append(day)
        return late

    def find_over(self, money, today):
        """Return the days of the lines that are over and were not paid in time, or are not yet: grace or not."""
        over, total = [], 0.0
        for day, amount in self.lines:
            total += amount
            if day < today and not money.reaches(
                    money.get_required(total) - self.nothing, min(self.get_limit(day), today)):
                over.append(day)
        return over

    def value(self, money, today):
        """Say what has become of it.

        What comes too late does not mend it; what only becomes known late does. Before its last day, it is kept once
        nothing of all that is due besides is open either: who pays that has not paid what was promised for later.

        :param Money money: what came
        :param date today: the day asked for
        :return: `open`, `kept`, `partly` or `broken`
        """
        late = self.find_late(money, today)
        is_over = bool(late and self.falls_due_whole)
        end = self.get_end(late)
        required = money.get_required(self.total)
        if not is_over:
            spare = money.get_spare(self.total) if end >= today and not late else 0.0
            if money.paid_by(end) + money.get_for_charges(end) >= required + spare - self.nothing:
                return 'kept'
            if end >= today or money.reaches(required - self.nothing, end):
                return 'open'
        return 'partly' if money.paid_by(end) >= self.nothing else 'broken'

    def get_next_day(self, money):
        """Return the day of the first line that is not paid; None where all are."""
        total = 0.0
        for day, amount in self.lines:
            total += amount
            if money.paid < money.get_required(total) - self.nothing:
                return day
        return None

    def get_resting(self, money, day):
        """Return what rests on a day: what the lines that are not late yet still promise.

        As long as nothing is late, what comes pays what was due besides first.
        """
        late = self.find_late(money, day)
        if late and self.falls_due_whole:
            return 0.0
        rest, total = 0.0, 0.0
        before = money.paid if late else max(0.0, money.paid - money.get_spare(self.total))
        for line_day, amount in self.lines:
            total += amount
            required = money.get_required(total)
            left, before = max(0.0, required - before), max(before, required)
            if self.get_limit(line_day) >= day:
                rest += left
        return rest


def split(total, count, round_amount):
    """Split an amount into equal parts; the last one takes the rest.

    :param round_amount: function that rounds an amount
    :return: list of amounts that add up to the total
    """
    part = round_amount(total / count)
    return [part] * (count - 1) + [round_amount(total - part * (count - 1))]

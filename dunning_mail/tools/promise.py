"""What has become of a promise to pay, and what it still lets rest.

Plain values: no database, no words, no clock. Amounts are floats in the promise's currency.
"""

from dataclasses import dataclass
from datetime import date, timedelta


@dataclass(frozen=True, slots=True)
class Part:
    """What came: an amount, and the day of its value; `is_credit_note`: no money, but less to pay."""
    day: date
    amount: float
    is_credit_note: bool = False


@dataclass(slots=True)
class Money:
    """What was open of the items of a promise when it was made, and what is open now.

    :ivar parts: list of :class:`Part`, all that is reconciled with the items
    """
    opened: float
    left: float
    parts: list[Part]

    @property
    def received(self):
        """What was open less what is open; nothing where more is open than was."""
        return max(0.0, self.opened - self.left)

    def left_at(self, day):
        """What was open at the end of a day, by the days of value. A credit note corrects the claim: it has no day."""
        return self.left + sum(part.amount for part in self.parts if part.day > day and not part.is_credit_note)

    def received_by(self, day):
        """What had come by the end of a day."""
        return max(0.0, self.opened - self.left_at(day))

    def has_come_by(self, day, since, nothing):
        """Whether money had come by the end of a day, credit notes aside.

        :param date since: the day of the promise
        :param float nothing: less than that is nothing
        """
        credited = sum(part.amount for part in self.parts if part.is_credit_note and part.day >= since)
        return self.received_by(day) - credited >= nothing


@dataclass(frozen=True, slots=True)
class Promise:
    """A promise as it was made.

    :ivar made: the day of it
    :ivar lines: list of (day, amount), by day
    :ivar grace: days after which a line is late
    :ivar falls_due_whole: all of it is over once one line is late
    :ivar rounding: the smallest amount of the currency
    """
    made: date
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

    def find_late(self, money, today):
        """Return the days of the lines that are late: not paid by the end of their last day, which is over."""
        late, total = [], 0.0
        for day, amount in self.lines:
            total += amount
            limit = self.get_limit(day)
            if limit < today and money.received_by(limit) < total - self.nothing and (
                    money.left_at(limit) >= self.nothing):
                late.append(day)
        return late

    def value(self, money, today):
        """Say what has become of it.

        What comes too late does not mend it; what only becomes known late does.

        :param Money money: what came
        :param date today: the day asked for
        :return: `open`, `kept`, `partly` or `broken`
        """
        late = self.find_late(money, today)
        end = self.get_limit(late[0] if late and self.falls_due_whole else self.lines[-1][0])
        total = sum(amount for _day, amount in self.lines)
        if not (late and self.falls_due_whole) and (
                money.received_by(end) >= total - self.nothing or money.left_at(end) < self.nothing):
            return 'kept'
        if end >= today:
            return 'open'
        return 'partly' if money.has_come_by(end, self.made, self.nothing) else 'broken'

    def get_next_day(self, money):
        """Return the day of the first line that is not paid; None where all are."""
        total = 0.0
        for day, amount in self.lines:
            total += amount
            if money.left >= self.nothing and money.received < total - self.nothing:
                return day
        return None

    def get_resting(self, money, day):
        """Return what rests on a day: what the lines that are not late yet still promise."""
        rest, received = 0.0, money.received
        for line_day, amount in self.lines:
            left = max(0.0, amount - received)
            received = max(0.0, received - amount)
            if self.get_limit(line_day) >= day:
                rest += left
            elif self.falls_due_whole and left >= self.nothing:
                return 0.0
        return rest


def split(total, count, round_amount):
    """Split an amount into equal parts; the last one takes the rest.

    :param round_amount: function that rounds an amount
    :return: list of amounts that add up to the total
    """
    part = round_amount(total / count)
    return [part] * (count - 1) + [round_amount(total - part * (count - 1))]

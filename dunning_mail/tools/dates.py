"""Days as a bank counts them."""

from datetime import date, timedelta


def count_working_days(start: date, end: date) -> int:
    """Count the days from Monday to Friday after `start`, up to and with `end`; holidays are not known.

    :param start: not counted itself
    :param end: counted if it is a working day
    :return: number of days, 0 when `end` is not after `start`
    """
    weeks, rest = divmod(max((end - start).days, 0), 7)
    return weeks * 5 + sum(
        (start + timedelta(days=day)).weekday() < 5 for day in range(1, rest + 1))

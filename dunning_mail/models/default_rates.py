"""Base rates of interest on arrears, as they are installed: the first day of each, and per cent a year.

Germany: Basiszinssatz, BGB 247, as published by the Bundesbank. Austria: Basiszinssatz on the first day of a
half-year, UGB 456, derived from the notices of the Oesterreichische Nationalbank. European Union: the European Central
Bank's rate for main refinancing operations on the first day of a half-year, directive 2011/7/EU; it is the German rate
and 0.88 more, and derived so before 2023.

New half-years are added at the end of a list: an update installs the days after the last one that it installed before.
"""

from datetime import date

GERMAN = (
    ('2002-01', 2.57), ('2002-07', 2.47), ('2003-01', 1.97), ('2003-07', 1.22), ('2004-01', 1.14), ('2004-07', 1.13),
    ('2005-01', 1.21), ('2005-07', 1.17), ('2006-01', 1.37), ('2006-07', 1.95), ('2007-01', 2.70), ('2007-07', 3.19),
    ('2008-01', 3.32), ('2008-07', 3.19), ('2009-01', 1.62), ('2009-07', 0.12), ('2011-07', 0.37), ('2012-01', 0.12),
    ('2013-01', -0.13), ('2013-07', -0.38), ('2014-01', -0.63), ('2014-07', -0.73), ('2015-01', -0.83),
    ('2016-07', -0.88), ('2023-01', 1.62), ('2023-07', 3.12), ('2024-01', 3.62), ('2024-07', 3.37), ('2025-01', 2.27),
    ('2025-07', 1.27), ('2026-01', 1.27), ('2026-07', 1.52))
AUSTRIAN = (
    ('2016-07', -0.62), ('2023-01', 1.88), ('2023-07', 3.38), ('2024-01', 3.88), ('2025-01', 2.53), ('2025-07', 1.53),
    ('2026-01', 1.53), ('2026-07', 1.53))
EUROPEAN = (
    *((month, round(rate + 0.88, 2)) for month, rate in GERMAN if '2013' <= month < '2023'),
    ('2023-01', 2.50), ('2023-07', 4.00), ('2024-01', 4.50), ('2024-07', 4.25), ('2025-01', 3.15), ('2025-07', 2.15),
    ('2026-01', 2.15), ('2026-07', 2.40))


def _add_days(rates):
    return [(date.fromisoformat(f'{month}-01'), rate) for month, rate in rates]


# Name of the installed profile -> its rates, by day. The Swiss rate is fixed.
DEFAULT_RATES = {
    'interest_profile_de': _add_days(GERMAN),
    'interest_profile_at': _add_days(AUSTRIAN),
    'interest_profile_eu': _add_days(EUROPEAN),
}


def get_half_year_end(day):
    """Return the last day of the half-year of a day."""
    return date(day.year, 6, 30) if day.month <= 6 else date(day.year, 12, 31)

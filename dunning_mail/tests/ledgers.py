"""Random settings and ledgers for the reference, and how what was found is compared with what it says."""

import os
import pprint
from dataclasses import replace
from fractions import Fraction

from . import reference

try:
    import hypothesis
    from hypothesis import strategies as st
except ImportError:
    hypothesis = None

# Another seed gives other ledgers; the same one always the same.
SEED = int(os.environ.get('DUNNING_TEST_SEED', '1'))


def draw(strategy, count, seed):
    """Return so many random values of a hypothesis strategy, always the same ones for a seed."""
    values = []

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=count, database=None, deadline=None, phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck))
    @hypothesis.given(strategy)
    def collect(value):
        values.append(value)

    collect()
    return values


def draw_distinct(strategy, count, seed):
    """Return so many values that differ from each other.

    By short lists and several seeds, since hypothesis likes to make an example out of the one before.
    """
    distinct = {}
    while len(distinct) < count:
        for values in draw(st.lists(strategy, min_size=4, max_size=4), 10, seed):
            distinct.update(dict.fromkeys(values))
        seed += 1
    return list(distinct)[:count]


def make_strategies():
    """Return the strategies (settings, ledgers): narrow ranges, so that rules meet."""
    def often(value, *others, weight=4):
        return st.sampled_from([value] * weight + list(others))

    amounts = st.sampled_from((10000, 10000, 5000, 3333, 12000, 25)) | st.integers(1, 30000)
    levels = st.lists(
        st.builds(
            reference.Level, number=st.integers(1, 9), delay=st.integers(0, 12), deadline=st.integers(0, 12),
            repeat=st.booleans(), minimum=often(0, 5000, 12000, 20000, weight=2), fee=often(0, 500, 2025, weight=1),
            cumulated=st.booleans()),
        min_size=2, max_size=4, unique_by=lambda level: level.number,
    ).map(lambda values: tuple(sorted(values, key=lambda level: level.number)))
    procedures = st.builds(
        reference.Procedure, levels=levels, grace=often(0, 5, 20), per_level=st.booleans())
    holds = often(None, 0, 20, weight=12)
    items = st.builds(
        reference.Item, amount=amounts, due=st.sampled_from((*range(-60, 0), *range(-60, -10), *range(26))),
        partial=often(0, 1, 2500, 40000, weight=8), hold=holds, no_followup=often(False, True, weight=15),
        paid=st.lists(st.tuples(st.integers(1, 2), amounts), max_size=1).map(tuple))
    invoices = st.builds(
        reference.Entry, items=st.lists(items, min_size=1, max_size=3).map(tuple),
        currency=often('own', 'foreign', weight=2), hold=holds,
        payment_state=often('not_paid', 'partial', 'in_payment', 'paid', 'blocked', weight=15),
        posted_from=often(0, 1, 2))
    undated = st.builds(
        reference.Entry, items=st.builds(reference.Item, amount=amounts, due=st.none()).map(lambda item: (item,)))
    credits = st.builds(
        reference.Entry, kind=st.sampled_from(('refund', 'payment')), currency=often('own', 'foreign', weight=2),
        posted_from=often(0, 1, 2, weight=1), items=st.builds(
            reference.Item, amount=st.sampled_from((500, 2025, 4050, 10000)) | amounts, due=st.integers(-60, 0),
            no_followup=often(False, True),
        ).map(lambda item: (item,)))
    # Opening balances on both sides, repayments, and what is registered without an entry.
    opening = st.builds(
        lambda amount, due, currency: reference.Entry(
            items=(reference.Item(amount, due, no_followup=True),), currency=currency),
        amount=amounts, due=st.integers(-60, 25), currency=often('own', 'foreign', weight=2))
    paid_out = st.builds(
        reference.Entry, kind=st.just('paid_out'), currency=often('own', 'foreign', weight=2),
        posted_from=often(0, 1, 2, weight=1), items=st.builds(
            reference.Item, amount=amounts, due=st.integers(-60, 15), no_followup=often(False, True, weight=8),
        ).map(lambda item: (item,)))
    on_way = st.builds(
        reference.Entry, kind=st.just('on_way'), currency=often('own', 'foreign', weight=2),
        posted_from=often(0, 1, 2, weight=1), names=st.lists(st.integers(0, 4), max_size=2, unique=True).map(tuple),
        items=st.builds(reference.Item, amount=amounts, due=st.integers(-30, 0)).map(lambda item: (item,)))

    def name_invoices(entries):
        # Names of what is no invoice are none.
        invoices = {number for number, entry in enumerate(entries)
                    if entry.kind == 'invoice' and all(item.due is not None for item in entry.items)}
        return tuple(
            replace(entry, names=tuple(name for name in entry.names if name in invoices)) for entry in entries)

    outcomes = st.lists(often('printed', *reference.OUTCOMES, weight=8), min_size=1, max_size=2).map(tuple)
    ledgers = st.builds(
        reference.Ledger, procedure=procedures, hold=often(None, 0, 20, weight=15),
        entries=st.lists(
            often(invoices, credits, credits, undated, opening, paid_out, paid_out, on_way, on_way, weight=12).flatmap(
                lambda entry: entry), min_size=2, max_size=6).map(name_invoices),
        outcomes=st.tuples(outcomes, outcomes, outcomes))
    settings = st.builds(
        lambda steps, until, minimum, rate: reference.Setting(
            days=(0, steps[0], sum(steps)),
            due_until=tuple(day - less for day, less in zip((0, steps[0], sum(steps)), until, strict=True)),
            minimum=minimum, rates=((-1000, Fraction(2)), (10, rate))),
        steps=st.tuples(st.integers(5, 25), st.integers(5, 25)),
        until=st.tuples(*[often(0, 10, weight=3)] * 3), minimum=often(0, 6000, weight=2),
        rate=st.sampled_from((Fraction(2), Fraction(8, 5), Fraction(5, 4))))
    return settings, ledgers


def find_difference(expected, left_out, ours, reasons):
    """Say what differs for one customer in one run, or return None."""
    wanted = {(notice.currency, notice.level): {
        'deadline': notice.deadline, 'overdue': notice.overdue, 'credit': notice.credit, 'fee': notice.fee,
        'earlier': notice.earlier_fees, 'total': notice.total, 'lines': notice.lines} for notice in expected}
    found = {key: {name: value for name, value in notice.items() if name != 'id'} for key, notice in ours.items()}
    if wanted != found:
        return f"notices\n  expected {pprint.pformat(wanted)}\n  found {pprint.pformat(found)}"
    if set(left_out) != set(reasons) or any(reasons[key] not in left_out[key] for key in reasons):
        return f"exceptions\n  expected {left_out}\n  found {reasons}"
    return None

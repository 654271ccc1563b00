"""Random ledgers as plain values: the judgement against a slow reading of its rules (reference.py). No database."""

import functools
import unittest
from datetime import timedelta

from odoo.tests import BaseCase, tagged
from odoo.tools import float_compare, float_round

from odoo.addons.dunning_mail.tools import charging, judgement
from odoo.addons.dunning_mail.tools.debt import Debt

from . import reference
from .common import TODAY
from .ledgers import SEED, find_difference, hypothesis, make_strategies

LEDGERS = 1000
CURRENCIES = {'own': 1, 'foreign': 2}


def day(number):
    return None if number is None else TODAY + timedelta(days=number)


def cents(amount):
    return round(amount * 100)


def number_of(value):
    return (value - TODAY).days if value else None


class Books:
    """One customer's ledger as it stands before a run, as plain values of the judgement."""

    def __init__(self, setting, ledger, run, earlier):
        self.setting, self.ledger, self.run, self.earlier = setting, ledger, run, earlier
        self.day = setting.days[run]
        self.currencies = {name: judgement.Currency(
            CURRENCIES[name], 0.01, functools.partial(float_round, precision_rounding=0.01),
            functools.partial(float_compare, precision_rounding=0.01),
            functools.partial(float, 1 / setting.rate(name, self.day))) for name in CURRENCIES}
        self.terms = judgement.Terms(day(self.day), self.currencies['own'], setting.minimum / 100)
        self.customer = judgement.Customer(judgement.Procedure(
            'Random', tuple(judgement.Level(
                level.number, level.number, level.delay, level.deadline, level.minimum / 100,
                (judgement.Fee(CURRENCIES['own'], fixed=level.fee / 100),) if level.fee else (),
                level.cumulated, level.repeat) for level in ledger.procedure.levels),
            ledger.procedure.grace, ledger.procedure.per_level), hold_until=day(ledger.hold))
        # By ids of the items, which follow the order of the ledger.
        self.keys = [
            (number, position) for number, entry in enumerate(ledger.entries) for position in range(len(entry.items))]

    def propose(self):
        """Return what :func:`reference.propose` says of the ledger, in the words of :func:`find_difference`."""
        candidates, reasons, debts = [], {}, {}
        for name in self.currencies:
            debts[CURRENCIES[name]] = self.make_debt(name)
        names = {number: name for name, number in CURRENCIES.items()}
        for debt, found, left_out in judgement.judge(
                list(debts.values()), self.customer, lambda number: self.currencies[names[number]], self.terms):
            candidates += found
            for reason, item in left_out:
                key = names[debt.currency_id], item and self.keys[item.line_id]
                assert key not in reasons
                reasons[key] = reason.code
        charging.set_fees(candidates, self.terms)
        charging.set_earlier(candidates, self.make_earlier(), {})
        return dict(map(self.read_candidate, candidates)), reasons

    def make_debt(self, name):
        debt, payments = Debt(1, CURRENCIES[name]), []
        opened = {number for number, position in self.keys if self.is_open(number, position)}
        known = {
            move for entry in self.ledger.entries for move in entry.names
            if entry.kind == 'on_way' and entry.currency == name and entry.posted_from <= self.run}
        for line_id, (number, position) in enumerate(self.keys):
            entry = self.ledger.entries[number]
            item = entry.items[position]
            residual = item.residual(self.run)
            if entry.currency != name or entry.posted_from > self.run or not residual:
                continue
            if entry.kind == 'on_way':
                here = {move for move in entry.names
                        if move in opened and self.ledger.entries[move].currency == name}
                if here or not entry.names:
                    payments.append(self.make_item(
                        line_id, item, -residual, is_payment=True, payment_id=line_id + 1, names=frozenset(here),
                        covers_named_only=not opened.issuperset(entry.names)))
                continue
            if entry.kind in ('refund', 'payment'):
                debt.credits.append(self.make_item(
                    line_id, item, -residual, is_payment=entry.kind == 'payment', invoiced=-item.amount / 100))
                continue
            is_outgoing = entry.kind == 'paid_out'
            is_due = item.due is None or item.due <= min(self.day - 1, self.setting.due_until[self.run])
            if not is_due and not is_outgoing and not item.no_followup and number not in known:
                continue
            is_known = number in known and entry.payment_state in ('in_payment', 'paid')
            debit = self.make_item(
                line_id, item, residual, is_payment=is_outgoing, is_due=is_due, blocked_by=judgement.find_block(
                    day(item.due), item.no_followup, ((day(item.hold), None), (day(entry.hold), None)),
                    'partial' if is_known else entry.payment_state, day(self.day), is_outgoing))
            if is_due:
                debt.items.append(debit)
                self.add_history(debit)
            else:
                debt.others.append(debit)
        for items in (debt.items, debt.credits, payments):
            items.sort(key=lambda item: (item.date_due, item.line_id))
        debt.credits += payments
        return debt

    def is_open(self, number, position):
        entry = self.ledger.entries[number]
        return entry.kind != 'on_way' and entry.posted_from <= self.run and bool(
            entry.items[position].residual(self.run))

    def make_item(self, line_id, item, residual, **values):
        due = day(item.due or 0)
        return judgement.Item(**{
            'line_id': line_id, 'move_id': self.keys[line_id][0], 'is_excluded': item.no_followup,
            'number': str(line_id), 'partner_id': 1, 'currency_id': 1,
            'residual': residual / 100, 'invoiced': item.amount / 100, 'date_due': due, 'date_invoice': due, **values})

    def add_history(self, item):
        for notice_id, notice in enumerate(self.earlier, 1):
            line = notice.lines.get(('due', self.keys[item.line_id]))
            if line and notice.status == 'counts':
                item.previous_level_id = item.previous_sequence = line[1]
                item.previous_date, item.previous_deadline = day(notice.day), day(notice.deadline)
                item.previous_notice_id = notice_id
            elif line and notice.status == 'open':
                item.reserved_by = notice_id
                item.blocked_by = item.blocked_by or judgement.Reason('reserved')

    def make_earlier(self):
        """Fees of notices that counted, which no other notice asks for and none stands for."""
        return [charging.Earlier(
            number, 1, CURRENCIES[notice.currency], 'fee', notice.fee / 100, day(notice.day), None, str(number),
            [self.keys.index(key) for key in notice.due_keys]) for number, notice in enumerate(self.earlier)
            if notice.status == 'counts' and notice.fee and not notice.is_replaced and not any(
                other.status == 'open' and (notice in other.earlier or other.stands_for(notice))
                for other in self.earlier)]

    def read_candidate(self, candidate):
        lines = {}
        for item in candidate.due:
            lines['due', self.keys[item.line_id]] = (
                cents(item.residual), item.next_level.sequence, item.previous_sequence, number_of(item.previous_date))
        for item in candidate.info:
            lines['info', self.keys[item.line_id]] = (
                cents(item.uncovered), item.previous_sequence, item.previous_sequence, number_of(item.previous_date))
        for credit, amount in candidate.credits:
            lines['credit', self.keys[credit.line_id]] = (-cents(amount), None, None, None)
        overdue = sum(cents(item.residual) for item in candidate.due)
        credit = sum(cents(amount) for _credit, amount in candidate.credits)
        earlier = sum(cents(charge.amount) for charge in candidate.earlier)
        name = next(name for name, number in CURRENCIES.items() if number == candidate.currency.id)
        return (name, candidate.level.sequence), {
            'deadline': self.day + candidate.level.deadline_days, 'overdue': overdue, 'credit': credit,
            'fee': cents(candidate.fee), 'earlier': earlier, 'total': overdue - credit + cents(candidate.fee) + earlier,
            'lines': lines}


@tagged('post_install', '-at_install')
@unittest.skipUnless(hypothesis, "needs the Python package hypothesis")
class TestJudgementProperties(BaseCase):
    """Three runs on each ledger, of which some notices do not count; what differs is printed as small as it gets."""

    def test_random_ledgers(self):
        checked = []

        @hypothesis.seed(SEED)
        @hypothesis.settings(
            max_examples=LEDGERS, database=None, deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
        @hypothesis.given(*make_strategies())
        def check(setting, ledger):
            earlier = []
            for run in range(len(setting.days)):
                expected, left_out = reference.propose(setting, ledger, run, earlier)
                difference = find_difference(expected, left_out, *Books(setting, ledger, run, earlier).propose())
                self.assertIsNone(difference, f"run {run}")
                for index, notice in enumerate(expected):
                    outcomes = ledger.outcomes[run]
                    notice.take_outcome(outcomes[index % len(outcomes)], earlier)
                earlier += expected
            checked.append(len(earlier))

        check()
        self.assertGreater(sum(checked), len(checked), "most ledgers are to have notices, or nothing is compared")

"""Random sequences of what customers and clerks do, against a small model of what may be dunned."""

import itertools
import random
from datetime import timedelta

from odoo.tests import tagged
from odoo.tools import mute_logger

from .test_promise import RestCase

SEEDS = (1, 7, 23)
STEPS = 22


class Model:
    """What is open, promised and contested of one customer's invoices; no more than addition and subtraction."""

    def __init__(self, grace):
        self.grace = grace
        self.open, self.credited, self.promises, self.disputes = {}, {}, [], []

    def get_dunnable(self, day):
        """What of all invoices together may be dunned on a day: what is open less what is promised and contested, as
        far as there is room for it."""
        said = list(self.disputes)
        for lines, whole, opened, credited_then, _step, restored in self.promises:
            owed = sum(opened.values()) - sum(self.credited[name] for name in opened) + credited_then
            spare = max(0.0, owed - sum(amount for _due, amount in lines))
            owed += sum(restored)
            paid, promised = owed - sum(self.open[name] for name in opened), sum(amount for _due, amount in lines)
            late = min(owed, sum(amount for due, amount in lines if due + self.grace < day))
            is_late = paid < late - 0.005
            # As long as nothing is late, what comes is for what was due besides.
            of_it = paid if is_late else paid - spare
            left = max(0.0, min(owed, promised) - max(late, of_it))
            said.append((tuple(opened), 0.0 if whole and is_late else left))
        names = list(self.open)
        return sum(self.open.values()) - min(
            sum(self.open[name] for name in some) + sum(amount for of, amount in said if not set(of) <= set(some))
            for count in range(len(names) + 1) for some in itertools.combinations(names, count))


@tagged('post_install', '-at_install')
class TestSequences(RestCase):

    @mute_logger('odoo.models.unlink')
    def test_sequences(self):
        for seed in SEEDS:
            with self.subTest(seed=seed), self.env.cr.savepoint() as savepoint:
                self.run_sequence(random.Random(seed), f'Customer {seed}')
                savepoint.rollback()
                self.env.invalidate_all()

    def run_sequence(self, source, name):
        self.clock.move_to('2026-11-24 08:00:00')
        self.partner = self.make_partner(name, email=False)
        self.moves, self.payments, self.records, self.today, self.is_dunned = {}, [], {}, 0, False
        self.model = Model(timedelta(days=self.company.dunning_promise_grace_days))
        for number in range(3):
            move = self.make_invoice(self.partner, 100.0 + 10 * number, due=self.days(-60 + 10 * number))
            self.moves[move.name] = move
            self.model.open[move.name] = move.amount_total
            self.model.credited[move.name] = 0.0
        for self.step in range(STEPS):
            step = source.choice([
                self.step_promise, self.step_promise, self.step_pay, self.step_pay, self.step_unreconcile,
                self.step_dispute, self.step_close, self.step_cancel, self.step_refund, self.step_morning,
                self.step_send])
            step(source)
            self.check(source.choice((0, 3, 11)), step.__name__)
        self.check_end()

    def check(self, ahead, step):
        day = self.today + ahead
        claimed, allowed = self.claimed(day), self.model.get_dunnable(self.days(day))
        for name, amount in claimed.items():
            self.assertLessEqual(amount, self.model.open[name] + 0.005, f'{step}: {name}')
        self.assertLessEqual(sum(claimed.values()), allowed + 0.005, step)
        if not self.is_dunned:
            self.assertAlmostEqual(sum(claimed.values()), allowed, 2, step)

    def check_end(self):
        """Nothing rests for ever but what a person, who has a day for it, still has to decide."""
        items = self.receivable(self.env['account.move'].union(*self.moves.values()))
        rests = self.env['dunning.proposal']._find_resting(items.ids, self.days(4000))
        for of_item in rests.values():
            for rest in of_item:
                self.assertTrue(rest.amount == 0.0 or (rest.is_contested and rest.until), rest)
        disputes = self.env['dunning.dispute'].search([('partner_id', '=', self.partner.id), ('state', '=', 'open')])
        self.assertTrue(all(dispute.user_id and dispute.date_target for dispute in disputes))
        self.clock.move_to(f'{self.days(4000)} 08:00:00')
        self.run_morning()
        promises = self.env['dunning.promise'].search([('partner_id', '=', self.partner.id), ('state', '=', 'open')])
        self.assertFalse(promises)

    def choose(self, source, condition=lambda name: True):
        names = [name for name in self.moves if self.model.open[name] > 0.005 and condition(name)]
        return source.choice(names) if names else None

    # What may happen.

    def step_promise(self, source):
        covered = {name for _lines, _whole, opened, *_more in self.model.promises for name in opened}
        names = [name for name in self.moves if name not in covered and self.model.open[name] > 0.005]
        names = names[:source.randint(1, 3)]
        items = self.receivable(self.env['account.move'].union(*(self.moves[name] for name in names)))
        limit = sum(self.env['dunning.promise']._get_amounts_due(items).values()) if items else 0.0
        if limit < 1.0:
            return
        count, whole = source.randint(1, 3), source.random() < 0.5
        amount = round(limit * source.choice((0.4, 1.0)) / count, 2)
        amount = min(amount, int(limit * 100 / count) / 100)
        lines = [(self.today + 4 * number + source.randint(0, 3), amount) for number in range(1, count + 1)]
        promise = self.promise(
            *(self.moves[name] for name in names), lines=lines, user=self.manager,
            falls_due_whole=whole and count > 1)
        self.records[promise] = entry = (
            [(line.date, line.amount) for line in promise.line_ids], promise.falls_due_whole,
            {name: self.model.open[name] for name in names}, sum(self.model.credited[name] for name in names),
            self.step, [])
        self.model.promises.append(entry)

    def step_pay(self, source):
        if name := self.choose(source):
            amount = round(self.model.open[name] * source.choice((0.3, 1.0)), 2)
            if amount < 0.01:
                return
            self.payments.append((name, amount, self.pay(self.moves[name], amount, self.days(self.today)), self.step))
            self.model.open[name] -= amount
            self.drop_over()

    def step_unreconcile(self, source):
        if self.payments:
            name, amount, entry, step = self.payments.pop(source.randrange(len(self.payments)))
            self.receivable(entry).remove_move_reconcile()
            entry.button_draft()
            self.model.open[name] += amount
            for _record, (_lines, _whole, opened, _credited, promised, restored) in self.list_promises():
                if name in opened and promised > step:
                    # It had been paid when it was promised: it never was promised.
                    restored.append(amount)
            self.drop_over()

    def list_promises(self):
        return [(record, entry) for record, entry in self.records.items() if record._name == 'dunning.promise']

    def step_dispute(self, source):
        names = [name for name in self.moves if self.model.open[name] > 0.005]
        names = tuple(source.sample(names, min(len(names), source.choice((1, 1, 2)))))
        if names:
            moves = self.env['account.move'].union(*(self.moves[name] for name in names))
            limit = self.env['dunning.dispute']._get_contestable(self.receivable(moves))
            amount = round(sum(limit.values()) * source.choice((0.25, 1.0)), 2)
            if amount >= 0.01:
                dispute = self.dispute(*moves, amount=amount)
                self.records[dispute] = entry = (names, amount)
                self.model.disputes.append(entry)

    def step_close(self, source):
        disputes = [record for record in self.records if record._name == 'dunning.dispute' and record.state == 'open']
        if disputes:
            dispute = source.choice(disputes)
            dispute.closing_note = "No"
            dispute.action_reject() if source.random() < 0.5 else dispute.action_withdraw()
            self.model.disputes.remove(self.records.pop(dispute))

    def step_cancel(self, source):
        promises = [record for record in self.records if record._name == 'dunning.promise' and record.state == 'open']
        if promises:
            promise = source.choice(promises)
            promise.action_cancel()
            self.model.promises.remove(self.records.pop(promise))

    def step_refund(self, source):
        if name := self.choose(source):
            amount = round(self.model.open[name] * 0.2, 2)
            if amount < 0.01:
                return
            refund = self.make_invoice(self.partner, amount, move_type='out_refund', due=self.days(self.today))
            (self.receivable(self.moves[name]) | self.receivable(refund)).reconcile()
            self.model.open[name] -= amount
            self.model.credited[name] += amount
            self.drop_over()

    def step_morning(self, source):
        self.today += source.randint(1, 4)
        self.go_to(self.today)
        self.drop_over()

    def step_send(self, source):
        run = self.make_run(self.days(self.today), partner_ids=self.partner.ids)
        if not run.notice_ids:
            return
        run.action_print_and_send()
        run._hand_out_letters()
        for notice in run.notice_ids.filtered(lambda notice: notice.state == 'issued'):
            self.assertLessEqual(
                notice.amount_total, self.model.get_dunnable(self.days(self.today)) + 0.005)
            notice.action_mark_printed()
            self.is_dunned = True

    def drop_over(self):
        """What is over, lets nothing rest: that it is over, is another test's matter."""
        self.env.invalidate_all()
        self.model.promises = [
            entry for record, entry in self.list_promises() if record.state == 'open']

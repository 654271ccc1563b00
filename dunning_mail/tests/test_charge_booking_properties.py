import random
from collections import defaultdict
from contextlib import suppress

from odoo import Command
from odoo.exceptions import UserError
from odoo.tests import tagged
from odoo.tools import mute_logger

from .common import make_pdf
from .test_charge_booking import BookingCase

SEEDS = range(12)
STEPS = 9


@tagged('post_install', '-at_install')
class TestBookingProperties(BookingCase):
    """Whatever happens in whatever order: the books agree with the charges, and every charge with its entry."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.company.write({'dunning_fee_tax': 'as_items', 'vat': False})
        cls.tax = cls.make_tax(8.1)
        cls.accounts = cls.env['account.account'].union(*cls.income.values())
        cls.tax_account = cls.tax.invoice_repartition_line_ids.account_id

    def setUp(self):
        super().setUp()
        # The letters are no matter here, and take longest.
        self.patch(self.env.registry['dunning.notice'], '_make_documents', lambda notices: {
            notice.id: make_pdf() for notice in notices})

    @property
    def charges(self):
        return self.env['dunning.charge'].search([('company_id', '=', self.company.id)])

    def choose(self, records):
        return self.random.choice(records.sorted('id')) if records else None

    # === STEPS === #

    def step_issue(self):
        self.day += 1
        if self.random.random() < 0.6:
            self.make_invoice(self.partner, 100, due='2026-10-01', invoice_line_ids=[Command.create({
                'name': 'x', 'quantity': 1, 'price_unit': self.random.choice((33.3, 100.0)),
                'tax_ids': [Command.set(self.random.choice((self.tax.ids, [])))]})])
        self.day += self.random.choice((0, 16))
        self.leave(self.random.random() < 0.9)

    def step_cost(self):
        self.leave(True, self.random.choice((3.33, 7.0)))

    def leave(self, is_printed, cost=0.0):
        """What the customer has of it meanwhile may refuse it, and changes nothing then."""
        with suppress(UserError), self.env.cr.savepoint():
            run = self.make_run(self.days(self.day), partner_ids=self.partner.ids)
            for notice in run.notice_ids if cost else ():
                notice._add_charge_by_hand('cost', cost, 'x')
            run.action_print_and_send()
            if is_printed:
                run._hand_out_letters()
                run.action_mark_printed()

    def step_book(self):
        if charge := self.choose(self.charges.filtered(lambda charge: (
                charge.state == 'claimed' and charge.move_booked_id.state != 'draft'))):
            charges = charge.notice_id.charge_ids.filtered(lambda other: (
                other.state == 'claimed' and other.move_booked_id.state != 'draft'))
            part = charge.currency_id.round(charge.amount * self.random.choice((0.37, 1.0)))
            charges.with_env(self.env)._book({charge: part} if part else None, date=self.days(self.day))

    def step_pay(self):
        if charge := self.choose(self.charges.filtered(lambda charge: charge.state == 'booked')):
            amount = self.random.choice((charge.amount_left, charge.currency_id.round(charge.amount_left / 3)))
            if amount:
                self.pay_line(charge.move_line_booked_id, amount, day=self.days(self.day))

    def step_unreconcile(self):
        if charge := self.choose(self.charges.filtered(lambda charge: charge.amount_paid)):
            charge.move_line_booked_id.remove_move_reconcile()

    def step_waive(self):
        if charge := self.choose(self.charges.filtered(lambda charge: (
                charge.state in ('claimed', 'booked', 'paid') and charge.move_booked_id.state != 'draft'))):
            charge._waive('x')

    def step_reinstate(self):
        if charge := self.choose(self.charges.filtered(lambda charge: (
                charge.state == 'waived' and charge.notice_id.is_counted))):
            charge._reinstate('x')

    def step_cancel(self):
        if notice := self.choose(self.charges.notice_id.filtered(lambda notice: notice.state == 'issued')):
            notice.action_cancel()

    def step_come_back(self):
        if notice := self.choose(self.charges.notice_id.filtered(lambda notice: (
                notice.state == 'issued' and notice.printed_at))):
            with suppress(UserError), self.env.cr.savepoint():
                notice.action_unmark_printed()

    def choose_entry(self, states):
        moves = self.charges.filtered(lambda charge: charge.state in states).move_booked_id
        return self.choose(moves.filtered(lambda move: not move.reversal_move_ids))

    def step_reverse_by_core(self):
        if move := self.choose_entry(('booked', 'paid')):
            move._reverse_moves(cancel=True)

    def step_reset(self):
        if move := self.choose_entry(('booked', 'paid')):
            move.button_draft()
            match self.random.choice(('post', 'delete', 'cancel')):
                case 'post':
                    move.action_post()
                case 'delete':
                    move.with_context(force_delete=True).unlink()
                case 'cancel':
                    move.button_cancel()

    # === WHAT HOLDS === #

    def check(self, trail):
        self.env.flush_all()
        self.env.invalidate_all()
        booked = self.charges.filtered(lambda charge: charge.state in ('booked', 'paid'))
        by_charge = defaultdict(float)
        lines = self.env['account.move.line'].search([
            ('dunning_charge_id', '!=', False), ('parent_state', '=', 'posted')])
        for line in lines:
            if line.account_id.account_type == 'asset_receivable':
                by_charge[line.dunning_charge_id] += line.balance
        for charge in self.charges:
            is_booked, line, words = charge in booked, charge.move_line_booked_id, (trail, charge, charge.state)
            self.assertAlmostEqual(by_charge[charge], charge.amount if is_booked else 0.0, 2, words)
            if is_booked:
                self.assertEqual(line.parent_state, 'posted', words)
                self.assertAlmostEqual(line.amount_residual, charge.amount - charge.amount_paid, 2, words)
                self.assertEqual(charge.state == 'paid', line.reconciled, words)
                self.assertAlmostEqual(sum(charge.booked_line_ids.filtered(
                    lambda other, move=line.move_id: other.move_id == move).mapped('balance')), 0.0, 2, words)
            elif line.parent_state == 'posted':
                self.assertTrue(line.reconciled, words)
        self.assertAlmostEqual(
            -sum(self.env['account.move.line'].search([
                ('account_id', 'in', (self.accounts | self.tax_account).ids), ('parent_state', '=', 'posted'),
                ('journal_id', '=', self.journal.id)]).mapped('balance')),
            sum(booked.mapped('amount')), 2, trail)
        for notice in self.charges.notice_id:
            own = notice.line_ids.filtered(lambda line, notice=notice: line.charge_id.notice_id == notice)
            self.assertAlmostEqual(
                sum(own.mapped('amount_residual')), sum(notice.charge_ids.mapped('amount')), 2, (trail, notice))

    @mute_logger('odoo.addons.dunning_mail.models.dunning_charge', 'odoo.addons.account.models.account_move')
    def test_any_sequence(self):
        steps = [name for name in dir(self) if name.startswith('step_')]
        weights = [3 if name in ('step_issue', 'step_book', 'step_pay') else 1 for name in steps]
        seen = set()
        for seed in SEEDS:
            self.random, self.day, trail = random.Random(seed), 0, [seed]
            self.partner = self.make_partner(f'Customer {seed}')
            with self.env.cr.savepoint() as savepoint:
                self.step_issue()
                for _number in range(STEPS):
                    [name] = self.random.choices(steps, weights)
                    trail.append(name)
                    getattr(self, name)()
                    seen.update(self.charges.mapped('state'))
                self.check(trail)
                savepoint.rollback()
            self.env.invalidate_all()
        self.assertLessEqual({'claimed', 'booked', 'paid', 'waived', 'cancelled'}, seen)

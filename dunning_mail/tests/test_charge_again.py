import importlib.util
import pathlib
from decimal import Decimal

from odoo.exceptions import AccessError
from odoo.tests import tagged

from .test_charge_interest import InterestCase


class AgainCase(InterestCase):
    """Charges of earlier notices beside those of new ones. Each item has 3600, 15.00 of interest a month."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.use_profile('ch')
        for level, fee in zip(cls.procedure.level_ids.sorted('sequence'), (5, 10, 20), strict=True):
            cls.set_fee(level, fee)

    def make_item(self, amount=3600, due='2026-05-31', **values):
        return self.make_invoice(self.partner, amount, due=due, invoice_date=due, **values)

    def dun_on(self, day):
        return self.dun(day, partner_ids=self.partner.ids).notice_ids

    def propose_on(self, day):
        return self.make_run(day, partner_ids=self.partner.ids).notice_ids

    def pay_too_much(self, invoice, amount, more, day='2026-07-01'):
        """A payment that settles an invoice and leaves something."""
        payment = self.make_unallocated(self.partner, amount + more, day=day)
        (self.receivable(invoice) | self.receivable(payment)).reconcile()
        return payment

    def amounts(self, notice):
        return (notice.amount_credit, notice.amount_interest, notice.amount_fee, notice.amount_earlier,
                notice.amount_total)

    def states(self, notice):
        return sorted((charge.kind, charge.amount, charge.state) for charge in notice.charge_ids)

    def leave(self, notice):
        run = notice.run_id
        run.action_print_and_send()
        run._hand_out_letters()
        run.action_mark_printed()
        self.assertTrue(notice.is_counted)


@tagged('post_install', '-at_install')
class TestPaidCharges(AgainCase):
    """What the customer has paid for charges is not asked for again when a new one contains them."""

    def setUp(self):
        super().setUp()
        self.one, self.other = self.make_item(), self.make_item()
        self.first = self.dun_on('2026-06-30')
        self.assertEqual(self.amounts(self.first), (0.0, 30.0, 5.0, 0.0, 7235.0))

    def test_all_of_them(self):
        self.pay_too_much(self.one, 3600, 35)
        notice = self.propose_on('2026-07-30')
        self.assertEqual(self.amounts(notice), (0.0, 15.0, 5.0, 0.0, 3620.0))
        notice._judge_fees_anew()
        self.assertEqual(self.amounts(notice), (0.0, 15.0, 5.0, 0.0, 3620.0))
        self.assertEqual(notice._recheck()[notice.id].code, 'same')
        self.leave(notice)
        self.assertEqual(self.states(self.first), [
            ('fee', 5.0, 'claimed'), ('interest', 15.0, 'claimed'), ('interest', 15.0, 'claimed')])
        self.assertEqual(self.states(notice), [('fee', 5.0, 'claimed'), ('interest', 15.0, 'claimed')])
        third = self.dun_on('2026-08-30')
        self.assertEqual(self.amounts(third), (0.0, 30.0, 15.0, 0.0, 3645.0), "less what was paid")
        self.assertEqual({state for _kind, _amount, state in self.states(notice)}, {'replaced'})

    def test_part_of_one(self):
        """Interest of both items, and 2 of the fee."""
        self.pay_too_much(self.one, 3600, 32)
        notice = self.propose_on('2026-07-30')
        self.assertEqual(self.amounts(notice), (0.0, 15.0, 5.0, 3.0, 3623.0))
        self.leave(notice)
        self.assertEqual(self.amounts(self.propose_on('2026-08-30')), (0.0, 30.0, 15.0, 3.0, 3648.0))

    def test_added_fees(self):
        self.procedure.level_ids.fee_method = 'cumulated'
        self.pay_too_much(self.one, 3600, 35)
        notice = self.propose_on('2026-07-30')
        self.assertEqual(self.amounts(notice), (0.0, 15.0, 10.0, 0.0, 3625.0))

    def test_paid_before_the_letter_leaves(self):
        """And when the money has gone again."""
        notice = self.propose_on('2026-07-30')
        notice.run_id.action_print_and_send()
        self.assertEqual(self.amounts(notice)[2:], (10.0, 0.0, 7270.0))
        payment = self.pay_too_much(self.one, 3600, 35, day='2026-07-30')
        notice.run_id._hand_out_letters()
        self.assertEqual(self.amounts(notice), (0.0, 15.0, 5.0, 0.0, 3620.0))
        self.receivable(payment).remove_move_reconcile()
        payment.button_draft()
        self.pay(self.one, day='2026-07-30')
        notice.run_id._hand_out_letters()
        self.assertEqual(self.amounts(notice), (0.0, 30.0, 10.0, 0.0, 3640.0))

    def test_on_another_open_notice(self):
        """What an open notice's charge stands for is named on no other one."""
        notice = self.propose_on('2026-07-30')
        self.assertEqual(self.amounts(notice), (0.0, 60.0, 10.0, 0.0, 7270.0))
        self.make_item(100, due='2026-07-01')
        other = self.propose_on('2026-07-30')
        self.assertEqual((other.amount_overdue, other.amount_earlier), (100.0, 0.0))
        other._judge_fees_anew()
        self.assertEqual(other.amount_earlier, 0.0)


@tagged('post_install', '-at_install')
class TestFeesAgain(AgainCase):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.procedure.level_ids.charge_interest = False

    def test_one_fee_of_a_run_that_is_generated_again(self):
        """What was issued has it."""
        self.make_item()
        other = self.make_partner('Other')
        self.make_invoice(other, 100, due='2026-05-31')
        run = self.make_run('2026-06-30', partner_ids=(self.partner | other).ids)
        first = run.notice_ids.filtered(lambda notice: notice.partner_id == self.partner)
        first._issue()
        for _time in range(2):
            self.make_item(200, due='2026-06-01')
            run.action_generate_notices()
            drafts = run.notice_ids.filtered(lambda notice: notice.state == 'draft')
            again = drafts.filtered(lambda notice: notice.partner_id == self.partner)
            self.assertEqual((first.amount_fee, again.amount_fee, again.amount_earlier), (5.0, 0.0, 0.0))
            self.assertEqual((drafts - again).amount_fee, 5.0)
            first.action_mark_printed()
        self.assertEqual(self.states(first), [('fee', 5.0, 'claimed')])
        again._judge_fees_anew()
        self.assertEqual((again.amount_fee, again.amount_earlier), (0.0, 0.0))

    def test_fee_by_hand_beside_one_of_the_same_run(self):
        """Two notices of a run, the same items before: neither fee replaces the other."""
        self.make_item()
        foreign = self.make_item(3600, currency=self.foreign)
        self.dun_on('2026-06-30')
        run = self.make_run('2026-07-30', partner_ids=self.partner.ids)
        own, other = run.notice_ids.sorted(lambda notice: notice.currency_id != self.currency)
        for notice in own, other:
            if not notice.amount_fee:
                notice._set_fee(7.0)
        self.leave(own)
        self.assertEqual({charge.state for charge in (own | other).charge_ids}, {'claimed'})
        self.assertTrue(foreign)

    def test_left_out_stands_for_nothing(self):
        self.set_fee(self.level_1, 20)
        self.set_fee(self.level_2, 3)
        self.company.dunning_waive_limit = 15.0
        self.make_item()
        first = self.dun_on('2026-06-30')
        notice = self.propose_on('2026-07-30')
        self.assertEqual((notice.amount_fee, notice.amount_earlier), (3.0, 0.0))
        notice.charge_ids.with_user(self.clerk)._change_amount(0.0, 'Kulanz')
        self.assertEqual((notice.amount_fee, notice.amount_earlier), (0.0, 20.0))
        self.leave(notice)
        self.assertEqual(self.states(first), [('fee', 20.0, 'claimed')])
        self.assertEqual(self.states(notice), [('fee', 0.0, 'waived')])

    def test_limit_of_all_amounts_at_once(self):
        self.company.dunning_waive_limit = 15.0
        self.make_item()
        notice = self.propose_on('2026-06-30')
        cost = notice._add_charge('cost', 12.0)
        charges = (notice.charge_ids | cost).with_user(self.clerk)
        with self.assertRaises(AccessError):
            charges._change_amount(0.0, 'Kulanz')
        self.assertEqual(sorted(charges.mapped('amount')), [5.0, 12.0])
        cost.with_user(self.clerk)._change_amount(0.0, 'Kulanz')
        self.assertEqual((cost.amount, notice.amount_cost), (0.0, 0.0))


@tagged('post_install', '-at_install')
class TestLumpSumsAgain(AgainCase):
    """Of fees and lump sum the larger is owed."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.procedure.level_ids.charge_interest = False
        cls.level_2.charge_lump_sum = True
        cls.use_profile('de')
        cls.profile.currency_id = cls.currency

    def test_stands_for_an_earlier_fee(self):
        self.make_item()
        for method in ('single', 'cumulated'):
            with self.subTest(method=method):
                self.procedure.level_ids.fee_method = method
                first = self.dun_on('2026-06-30')
                notice = self.propose_on('2026-07-30')
                self.assertEqual((notice.amount_lump_sum, notice.amount_fee, notice.amount_earlier), (40.0, 0.0, 0.0))
                notice._judge_fees_anew()
                self.assertEqual(notice.amount_total, 3640.0)
                self.leave(notice)
                self.assertEqual(self.states(first), [('fee', 5.0, 'replaced')])
                notice.action_cancel()
                self.assertEqual(self.states(first), [('fee', 5.0, 'claimed')])
                first.action_cancel()

    def test_fee_larger_than_it(self):
        self.set_fee(self.level_1, 50)
        self.set_fee(self.level_2, 0)
        self.make_item()
        first = self.dun_on('2026-06-30')
        notice = self.propose_on('2026-07-30')
        self.assertEqual((notice.amount_lump_sum, notice.amount_earlier, notice.amount_total), (40.0, 10.0, 3650.0))
        notice._judge_fees_anew()
        self.assertEqual(notice.amount_total, 3650.0)
        self.leave(notice)
        self.assertEqual((notice.amount_total, self.states(first)), (3650.0, [('fee', 10.0, 'claimed')]))
        self.assertEqual(self.dun_on('2026-08-30').amount_earlier, 50.0)

    def test_fee_that_was_paid(self):
        one, _other = self.make_item(), self.make_item()
        first = self.dun_on('2026-06-30')
        self.pay_too_much(one, 3600, 5)
        notice = self.dun_on('2026-07-30')
        self.assertEqual((notice.amount_lump_sum, notice.amount_fee, notice.amount_earlier), (35.0, 0.0, 0.0))
        self.assertEqual(self.states(first), [('fee', 5.0, 'claimed')])


@tagged('post_install', '-at_install')
class TestChargesOfTheLastVersion(AgainCase):
    """What an upgrade makes of fees, where its own test has no such case."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.procedure.level_ids.charge_interest = False
        path = pathlib.Path(__file__).parents[1] / 'migrations' / '19.0.1.1.0' / 'post-migration.py'
        spec = importlib.util.spec_from_file_location('dunning_post_migration', path)
        cls.migration = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(cls.migration)

    def test_what_came_in_place_of_a_fee(self):
        self.make_item()
        first, second, third = (self.dun_on(day) for day in ('2026-06-30', '2026-07-30', '2026-08-30'))
        (first | second).sudo().charge_ids.replaced_by_id = False
        self.env.flush_all()
        self.migration._link_replaced(self.env)
        self.env.invalidate_all()
        self.assertEqual(first.charge_ids.replaced_by_id, second.charge_ids)
        self.assertEqual(second.charge_ids.replaced_by_id, third.charge_ids)
        third.action_cancel()
        self.assertEqual([notice.charge_ids.state for notice in (first, second)], ['replaced', 'claimed'])

    def test_fees_that_were_one_amount(self):
        """Each earlier one on one open notice; what no charge stands for stays with the own one."""
        self.procedure.level_ids.fee_method = 'cumulated'
        self.make_item()
        first = self.dun_on('2026-06-30')
        for asked, expected in ((15.0, (10.0, 5.0)), (12.0, (10.0, 2.0)), (17.0, (12.0, 5.0)), (10.0, (10.0, 0.0))):
            with self.subTest(asked=asked):
                notice = self.propose_on('2026-07-30').sudo()
                (notice.charge_line_ids - notice.charge_ids.line_ids).with_context(dunning_replace_lines=True).unlink()
                notice.charge_line_ids.amount_residual = asked
                self.env.flush_all()
                self.migration._name_earlier_fees(self.env)
                self.assertEqual((notice.amount_fee, notice.amount_earlier), expected)
                notice._judge_fees_anew()
                self.assertEqual(self.states(notice), [('fee', 10.0, 'draft')])
                notice.run_id.action_cancel()
        self.assertEqual(self.states(first), [('fee', 5.0, 'claimed')])


@tagged('post_install', '-at_install')
class TestCalculationOnTheLetter(AgainCase):

    def rows(self, notice):
        values = self.env['report.dunning_mail.letter']._get_letter_values(notice)
        return [(mark, row['amount'].replace('\N{MINUS SIGN}', '-')) for row in values['calculation']
                for mark in ('is_kept', 'is_waived') if row.get(mark)]

    def test_what_was_claimed_before_and_what_was_given_up(self):
        one, _other = self.make_item(), self.make_item()
        first = self.dun_on('2026-06-30')
        self.pay_too_much(one, 3600, 35)
        notice = self.propose_on('2026-07-30')
        self.assertEqual(self.rows(notice), [('is_kept', '-15,00')])
        notice.charge_ids.filtered(lambda charge: charge.kind == 'interest')._change_amount(11.0, 'Kulanz')
        self.assertEqual(self.rows(notice), [('is_kept', '-15,00'), ('is_waived', '-4,00')])
        self.assertFalse(self.rows(first))

    def test_rounding_is_nothing_that_was_given_up(self):
        """(sum of the segments, how many, what is asked for, how much less that is)."""
        letter = self.env['report.dunning_mail.letter']
        for exact, count, amount, expected in (
                ('17.945000', 2, 17.94, 0.0), ('17.945000', 2, 17.95, 0.0), ('17.944999', 2, 17.95, 0.0),
                ('17.938600', 2, 17.94, 0.0), ('20.000000', 1, 15.0, 5.0), ('17.945000', 2, 17.93, 0.02),
                ('0.010000', 1, 0.0, 0.01)):
            with self.subTest(exact=exact, amount=amount):
                less = letter._get_less(Decimal(exact), count, amount, self.currency)
                self.assertAlmostEqual(less, expected, 6)


@tagged('post_install', '-at_install')
class TestForeseenTotals(AgainCase):
    """What would go out is shown with all that it asks for, as the letter does."""

    def check(self, notice, expected):
        verdicts, totals = notice._foresee_issue()
        self.assertEqual(totals[notice.id], expected)
        preflight = self.env['dunning.preflight']._prepare(notice.run_id.with_user(self.manager))
        self.assertIn(f'{expected:,.2f}', preflight['amounts'])
        notice.run_id.action_print_and_send()
        self.assertEqual((notice.state, notice.amount_total), ('issued', expected))
        return verdicts[notice.id].code

    def test_all_kinds_of_charges(self):
        self.procedure.level_ids.fee_method = 'cumulated'
        self.make_item()
        first = self.dun_on('2026-06-30')
        notice = self.propose_on('2026-07-30')
        notice._add_charge('cost', 33.0)
        self.assertEqual(self.amounts(notice), (0.0, 30.0, 10.0, 5.0, 3678.0))
        self.assertEqual(self.check(notice, 3678.0), 'same')
        self.assertTrue(first)

    def test_what_changes_before(self):
        """An item paid in part, and an earlier charge waived."""
        self.procedure.level_ids.fee_method = 'cumulated'
        invoice = self.make_item()
        first = self.dun_on('2026-06-30')
        notice = self.propose_on('2026-07-30')
        notice._add_charge('cost', 33.0)
        self.pay(invoice, 1800, day='2026-06-30')
        first.charge_ids.filtered(lambda charge: charge.kind == 'fee')._waive('Kulanz')
        # 29 days of 3600, and 31 of 1800: the day of payment is of the latter.
        self.assertEqual(self.check(notice, 1800 + 14.5 + 7.75 + 10 + 33), 'changed')

    def test_limit(self):
        """Charges are part of what a clerk may issue."""
        self.make_item(100)
        notice = self.propose_on('2026-06-30')
        self.company.dunning_issue_limit = 105.0
        self.assertEqual((notice.amount_total, notice._get_above_limit()), (105.42, notice))
        self.assertIn('large', [hint.code for hint in notice._find_hints()[notice.id]])
        self.company.dunning_issue_limit = 105.42
        self.assertFalse(notice._get_above_limit())

    def test_money_for_charges_is_not_forgotten(self):
        """No hint says that it was not set off; of more than that, the rest is told."""
        one, _other = self.make_item(), self.make_item()
        self.dun_on('2026-06-30')
        payment = self.pay_too_much(one, 3600, 35)
        notice = self.propose_on('2026-07-30')
        self.assertNotIn('unallocated', [hint.code for hint in notice._find_hints()[notice.id]])
        self.make_unallocated(self.partner, 7.0, currency=self.foreign, day='2026-07-01')
        words = [hint.words for hint in notice._find_hints()[notice.id] if hint.code == 'unallocated']
        self.assertEqual(len(words), 1)
        self.assertIn('7.00', words[0])
        self.assertTrue(payment)

    def test_charges_are_no_items(self):
        """No hint of items looks at the line of a charge."""
        self.procedure.level_ids.fee_method = 'cumulated'
        self.make_item()
        self.dun_on('2026-06-30')
        notice = self.propose_on('2026-07-30')
        before = [(hint.code, hint.words) for hint in notice._find_hints()[notice.id]]
        self.assertTrue(notice.charge_line_ids)
        notice.sudo().charge_line_ids.with_context(dunning_replace_lines=True).unlink()
        self.assertEqual([(hint.code, hint.words) for hint in notice._find_hints()[notice.id]], before)

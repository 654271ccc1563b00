from odoo import Command
from odoo.exceptions import AccessError, UserError, ValidationError
from odoo.tests import new_test_user, tagged

from ..models import res_company_charge
from .test_charge_life import LifeCase
from .test_charges import ChargeCase


class BookingCase(ChargeCase):
    """A company that has said where its charges are booked."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.income = {kind: cls.env['account.account'].create({
            'code': f'99{number}', 'name': kind, 'account_type': 'income_other', 'company_ids': cls.company.ids})
            for number, kind in enumerate(('fee', 'interest', 'lump_sum', 'cost'), 10)}
        cls.journal = cls.env['account.journal'].create({
            'name': 'Mahnspesen', 'code': 'MAHN', 'type': 'general', 'company_id': cls.company.id})
        cls.company.write({
            'dunning_charge_journal_id': cls.journal.id, 'dunning_charge_booking': 'print', 'dunning_fee_tax': 'none',
            **{f'dunning_{kind}_account_id': account.id for kind, account in cls.income.items()}})
        cls.accountant = new_test_user(
            cls.env, login='accountant', groups='account.group_account_user', company_id=cls.company.id)

    @classmethod
    def make_tax(cls, rate, **values):
        account = cls.env['account.account'].create({
            'code': f'88{rate * 10:.0f}', 'name': f'Tax {rate}', 'account_type': 'liability_current'})
        return cls.env['account.tax'].create({
            'name': f'{rate} %', 'amount': rate, 'amount_type': 'percent', 'type_tax_use': 'sale',
            'country_id': cls.company.account_fiscal_country_id.id, 'company_id': cls.company.id,
            'tax_group_id': cls.env['account.tax.group'].search([('company_id', '=', cls.company.id)], limit=1).id,
            'invoice_repartition_line_ids': [
                Command.create({'repartition_type': 'base'}),
                Command.create({'repartition_type': 'tax', 'account_id': account.id})],
            'refund_repartition_line_ids': [
                Command.create({'repartition_type': 'base'}),
                Command.create({'repartition_type': 'tax', 'account_id': account.id})], **values})

    def run_job(self):
        with self.enter_registry_test_mode():
            self.env.flush_all()
            self.env.ref('dunning_mail.ir_cron_charges').method_direct_trigger()
        self.env.invalidate_all()

    def entry(self, charge):
        """The lines of a charge's entry: (account, balance)."""
        move = charge.sudo().move_line_booked_id.move_id
        return sorted((line.account_id.code, line.balance) for line in move.line_ids if (
            line.dunning_charge_id == charge))

    def pay_line(self, lines, amount, day='2026-12-01'):
        """Money for receivable lines, reconciled with them."""
        entry = self.make_unallocated(self.partner, amount, day=day, currency=lines.currency_id[:1])
        (lines.with_env(self.env) | self.receivable(entry)).reconcile()
        return entry

    @property
    def receivable_code(self):
        return self.partner.property_account_receivable_id.code


@tagged('post_install', '-at_install')
class TestChargeEntry(BookingCase):
    """What an entry says, and who may make one."""

    def test_entry(self):
        _invoice, notice = self.make_counted()
        charge = notice.charge_ids
        line = charge.with_user(self.clerk)._book(date=self.days(3))
        self.assertEqual(self.entry(charge), [(self.receivable_code, 10.0), ('9910', -10.0)])
        move = line.move_id
        self.assertEqual(
            (move.state, move.journal_id, move.ref, move.date, move.invoice_user_id, line.partner_id),
            ('posted', self.journal, notice.name, self.days(3), self.clerk, self.partner))
        self.assertEqual((charge.state, charge.move_line_booked_id, charge.amount_paid, charge.amount_left),
                         ('booked', line, 0.0, 10.0))
        with self.assertRaisesRegex(UserError, "not claimed, but: Booked"):
            charge._book()

    def test_one_entry_for_each_notice(self):
        _invoice, first = self.make_counted()
        self.set_fee(self.level_2, 20, 'cumulated')
        second = self.dun(self.days(15), partner_ids=self.partner.ids).notice_ids
        lines = (first | second).charge_ids._book()
        self.assertEqual(lines.move_id.mapped('ref'), [first.name, second.name])
        self.assertEqual(lines.mapped('balance'), [10.0, 20.0])

    def test_split(self):
        _invoice, notice = self.make_counted()
        charge = notice.charge_ids
        charge._book({charge: 4.0})
        rest = notice.charge_ids - charge
        self.assertEqual([(c.amount, c.state, c.amount_waived) for c in (charge, rest)],
                         [(4.0, 'booked', 0.0), (6.0, 'claimed', 0.0)])
        self.assertEqual(rest.split_from_id, charge)
        self.assertEqual(
            [(line.charge_id, line.amount_residual) for line in notice.charge_line_ids], [(charge, 4.0), (rest, 6.0)])
        self.assertEqual((notice.amount_fee, notice.amount_total), (10.0, 110.0), "the letter says what it said")
        rest._book()
        self.assertEqual(self.entry(rest), [(self.receivable_code, 6.0), ('9910', -6.0)])

    def test_split_stands_on_every_notice_that_asks_for_it(self):
        self.set_fee(self.level_2, 20, 'cumulated')
        _invoice, first = self.make_counted()
        second = self.dun(self.days(15), partner_ids=self.partner.ids).notice_ids
        charge = first.charge_ids
        charge._book({charge: 7.0})
        rest = first.charge_ids - charge
        for notice in (first, second):
            self.assertEqual([line.amount_residual for line in notice.charge_line_ids if (
                line.charge_id in charge | rest)], [7.0, 3.0])
        self.assertEqual((second.amount_fee, second.amount_earlier, second.amount_total), (20.0, 10.0, 130.0))

    def test_bad_amounts(self):
        _invoice, notice = self.make_counted()
        charge = notice.charge_ids
        for amount in (0, -1, 10.01):
            with self.subTest(amount=amount), self.assertRaisesRegex(UserError, "cannot be booked"):
                charge._book({charge: amount})
        self.assertEqual(self.states(notice), [('fee', 10.0, 'claimed')])

    def test_what_is_missing_is_named_with_the_way_out(self):
        _invoice, notice = self.make_counted()
        self.company.dunning_fee_account_id = False
        self.patch(res_company_charge, 'DEFAULT_ACCOUNTS', {})
        charge = notice.charge_ids

        def fails(words):
            with self.assertRaisesRegex(UserError, words) as caught:
                charge._book()
            self.assertIn(notice.name, str(caught.exception))
            self.assertEqual((charge.state, charge.booked_line_ids.ids), ('claimed', []))
        fails("No account is chosen.*Fee.*settings")
        self.company.dunning_fee_account_id = self.income['fee']
        self.income['fee'].active = False
        fails("is archived. Choose another")
        self.income['fee'].active = True
        self.journal.active = False
        fails("Journal .* is archived")
        self.journal.active = True
        charge._book()
        self.assertEqual(charge.state, 'booked')

    def test_journal_that_is_there_without_a_choice(self):
        _invoice, notice = self.make_counted()
        self.company.dunning_charge_journal_id = False
        journal = notice.charge_ids._book().journal_id
        self.assertEqual(journal.type, 'general')
        self.assertNotIn(journal, self.company.currency_exchange_journal_id | self.company.tax_cash_basis_journal_id)

    def test_wrong_settings(self):
        bank = self.env['account.journal'].search(
            [('type', '=', 'bank'), ('company_id', '=', self.company.id)], limit=1)
        for values in (
                {'dunning_charge_journal_id': bank.id},
                {'dunning_fee_account_id': self.partner.property_account_receivable_id.id}):
            with self.subTest(values), self.assertRaises(ValidationError):
                self.company.write(values)

    def test_locked_year(self):
        _invoice, notice = self.make_counted()
        self.company.fiscalyear_lock_date = '2026-12-31'
        line = notice.charge_ids._book(date=self.days(0))
        self.assertEqual(line.date.isoformat(), '2027-01-01', "where core moves it")

    def test_foreign_currency(self):
        self.make_invoice(self.partner, 100, currency=self.foreign)
        notice = self.dun(partner_ids=self.partner.ids).notice_ids
        charge = notice.charge_ids
        self.assertEqual((charge.currency_id, charge.amount), (self.foreign, 20.0))
        line = charge._book()
        self.assertEqual((line.amount_currency, line.balance, line.currency_id), (20.0, 10.0, self.foreign))
        self.pay_line(line, 5)
        self.assertEqual((charge.amount_paid, charge.amount_left, charge.state), (5.0, 15.0, 'booked'))
        self.pay_line(line, 15)
        self.assertEqual(charge.state, 'paid')

    def test_currency_without_rate(self):
        self.make_invoice(self.partner, 100, currency=self.foreign)
        notice = self.dun(partner_ids=self.partner.ids).notice_ids
        self.env['res.currency.rate'].search([('currency_id', '=', self.foreign.id)]).unlink()
        with self.assertRaisesRegex(UserError, f"No rate of {self.foreign.name}"):
            notice.charge_ids._book()
        self.assertEqual(notice.charge_ids.state, 'claimed')

    def test_who_may_book_by_hand(self):
        _invoice, notice = self.make_counted()
        charge = notice.charge_ids
        with self.assertRaises(AccessError):
            charge.with_user(self.clerk).action_book()
        charge.with_user(self.accountant).action_book()
        self.assertEqual(charge.state, 'booked')
        self.assertIn('Booked', notice.message_ids[0].body)
        _other, other = self.make_counted(day=self.days(2), due='2026-11-10')
        other.charge_ids.with_user(self.manager).action_book()
        self.assertEqual(other.charge_ids.state, 'booked')

    def test_merged_customer(self):
        _invoice, notice = self.make_counted()
        other = self.make_partner('Acme AG')
        charge = notice.charge_ids
        line = charge._book()
        self.env['base.partner.merge.automatic.wizard']._merge((self.partner | other).ids, other)
        self.env.invalidate_all()
        self.assertEqual((charge.partner_id, line.partner_id), (other, other))
        charge._waive('Kulanz')
        self.assertEqual(charge.state, 'waived')
        self.assertTrue(line.reconciled)


@tagged('post_install', '-at_install')
class TestChargeEntryFollowed(BookingCase):
    """What becomes of an entry, becomes of its charge."""

    def setUp(self):
        super().setUp()
        self.invoice, self.notice = self.make_counted()
        self.charge = self.notice.charge_ids
        self.line = self.charge._book()
        self.move = self.line.move_id

    def test_paid_and_open_again(self):
        self.pay_line(self.line, 4)
        self.assertEqual((self.charge.state, self.charge.amount_paid, self.charge.amount_left), ('booked', 4.0, 6.0))
        entry = self.pay_line(self.line, 6)
        self.assertEqual((self.charge.state, self.charge.amount_paid, self.charge.amount_left), ('paid', 10.0, 0.0))
        self.receivable(entry).remove_move_reconcile()
        self.assertEqual((self.charge.state, self.charge.amount_paid), ('booked', 4.0))

    def test_reset_posted_again_deleted(self):
        self.move.button_draft()
        self.assertEqual((self.charge.state, self.charge.amount_left), ('claimed', 0.0), "it is being corrected")
        with self.assertRaisesRegex(UserError, "which is a draft"):
            self.charge._book()
        self.move.action_post()
        self.assertEqual((self.charge.state, self.charge.move_line_booked_id), ('booked', self.line))
        self.move.button_draft()
        self.move.unlink()
        self.assertEqual((self.charge.state, self.charge.move_line_booked_id.ids), ('claimed', []))
        self.assertEqual(self.charge.amount_left, 10.0)
        self.charge._book()
        self.assertEqual(self.charge.state, 'booked')

    def test_cancelled_entry(self):
        self.pay_line(self.line, 10)
        self.move.button_cancel()
        self.assertEqual(
            (self.charge.state, self.charge.amount_paid, self.charge.amount_left), ('claimed', 0.0, 10.0))
        self.charge._book()
        self.assertEqual(self.charge.state, 'booked')

    def test_reversed_by_core(self):
        payment = self.pay_line(self.line, 10)
        wizard = self.env['account.move.reversal'].with_context(
            active_model='account.move', active_ids=self.move.ids).create({'journal_id': self.journal.id})
        wizard.reverse_moves()
        self.assertEqual(self.charge.state, 'cancelled')
        self.assertFalse(self.receivable(payment).reconciled, "the money is a credit")
        reversal = self.move.reversal_move_ids
        reversal.button_draft()
        self.assertEqual(self.charge.state, 'booked', "the accountant undid it")
        reversal.action_post()
        self.assertEqual(self.charge.state, 'cancelled')

    def test_waived(self):
        payment = self.pay_line(self.line, 10)
        self.charge.with_user(self.clerk)._waive('Kulanz')
        reversal = self.move.reversal_move_ids
        self.assertEqual((self.charge.state, self.charge.amount_waived, self.charge.amount_paid), ('waived', 10.0, 0.0))
        self.assertEqual(
            sorted((line.account_id.code, line.balance) for line in reversal.line_ids),
            [(self.receivable_code, -10.0), ('9910', 10.0)])
        self.assertTrue(self.line.reconciled)
        self.assertEqual(self.receivable(payment).amount_residual, -10.0, "the money is a credit")
        self.charge._reinstate('Doch')
        self.assertEqual((self.charge.state, self.charge.amount_left), ('claimed', 10.0))
        self.charge._book()
        self.assertEqual(self.charge.state, 'booked')

    def test_waived_in_the_next_year(self):
        """The year of the entry is closed: the reversal is of the day on which it was waived."""
        self.company.fiscalyear_lock_date = '2026-12-31'
        self.clock.move_to('2027-02-03 08:00:00')
        self.charge._waive('Kulanz')
        reversal = self.move.reversal_move_ids
        self.assertEqual((str(self.move.date), str(reversal.date)), ('2026-11-24', '2027-02-03'))
        self.assertTrue(self.line.reconciled)

    def test_waived_when_the_rate_is_another(self):
        """What was booked is taken back as it was booked: no gain or loss is made of it."""
        partner = self.partner = self.make_partner('Foreign')
        self.make_invoice(partner, 100, currency=self.foreign)
        charge = self.dun(partner_ids=partner.ids).notice_ids.charge_ids
        charge._book()
        self.env['res.currency.rate'].create({
            'currency_id': self.foreign.id, 'name': '2026-11-25', 'rate': 3.0, 'company_id': self.company.root_id.id})
        self.clock.move_to(f'{self.days(10)} 08:00:00')
        charge._waive('Kulanz')
        lines = charge.booked_line_ids
        self.assertEqual(sorted(lines.mapped('balance')), [-10.0, -10.0, 10.0, 10.0])
        self.assertTrue(charge.move_line_booked_id.reconciled)
        self.assertFalse(charge.move_line_booked_id.matched_credit_ids.exchange_move_id)

    def test_cancelled_notice(self):
        self.notice.action_cancel()
        self.assertEqual(self.charge.state, 'cancelled')
        reversal = self.move.reversal_move_ids
        self.assertTrue(self.line.reconciled)
        with self.assertRaisesRegex(UserError, "not claimed any more"):
            reversal.button_draft()

    def test_one_of_several_is_reversed(self):
        other = self.charge.with_env(self.env).copy_data()[0]
        extra = self.env['dunning.charge'].create({**other, 'kind': 'cost', 'amount': 5, 'amount_calculated': 5,
                                                   'state': 'claimed'})
        third = self.env['dunning.charge'].create({**other, 'kind': 'interest', 'amount': 3, 'amount_calculated': 3,
                                                   'state': 'claimed'})
        lines = (extra | third)._book()
        self.assertEqual(len(lines.move_id), 1)
        extra._waive('Kulanz')
        self.assertEqual((extra.state, third.state, lines[1].amount_residual), ('waived', 'booked', 3.0))
        with self.assertRaisesRegex(UserError, "has been reversed by"):
            lines.move_id.button_draft()
        with self.assertRaisesRegex(UserError, "has been reversed by"):
            lines.move_id._reverse_moves(cancel=True)
        third._waive('Kulanz')
        self.assertEqual(sum(lines.move_id.reversal_move_ids.line_ids.filtered(
            lambda line: line.account_id.account_type == 'asset_receivable').mapped('balance')), -8.0)

    def test_notice_comes_back(self):
        self.notice.action_unmark_printed()
        self.assertEqual((self.charge.state, self.charge.move_line_booked_id.ids), ('draft', []))
        self.assertTrue(self.line.reconciled)

    def test_notice_comes_back_when_part_is_paid(self):
        self.pay_line(self.line, 4)
        self.notice.action_unmark_printed()
        self.assertEqual(self.charge.state, 'booked', "who pays has it")

    def test_split_is_joined_when_the_notice_comes_back(self):
        self.charge._waive('x')
        self.charge._reinstate('x')
        self.charge._book({self.charge: 4.0})
        self.notice.action_unmark_printed()
        self.assertEqual(self.states(self.notice), [('fee', 10.0, 'draft')])
        self.assertEqual([line.amount_residual for line in self.notice.charge_line_ids], [10.0])
        self.assertEqual(self.notice.amount_fee, 10.0)


@tagged('post_install', '-at_install')
class TestBookedAndNotOwed(BookingCase, LifeCase):
    """What becomes known later corrects what is in the books."""

    def setUp(self):
        super().setUp()
        self.use_profile('ch')
        self.invoice = self.make_old()
        self.charge = self.of_kind(self.dun_partner('2026-06-30'), 'interest')
        self.charge._book(date=self.days(3))

    def sum_of(self, account):
        lines = self.env['account.move.line'].search([
            ('account_id', '=', account.id), ('parent_state', '=', 'posted')])
        return round(sum(lines.mapped('balance')), 2)

    def test_less(self):
        self.assertEqual(self.sum_of(self.income['interest']), -15.0)
        self.pay(self.invoice, day='2026-06-10')
        self.process()
        self.assertEqual((self.charge.state, self.charge.amount, self.charge.amount_left), ('booked', 4.5, 4.5))
        self.assertEqual(self.sum_of(self.income['interest']), -4.5)
        self.process()
        self.assertEqual(self.sum_of(self.income['interest']), -4.5)

    def test_nothing(self):
        self.credit(self.invoice)
        self.process()
        self.assertEqual(self.charge.state, 'waived')
        self.assertEqual(self.sum_of(self.income['interest']), 0.0)

    def test_paid_in_part(self):
        """What had paid it pays what is left, and what is not owed is a credit again."""
        entry = self.pay_line(self.charge.move_line_booked_id, 6.0)
        self.pay(self.invoice, day='2026-06-10')
        self.process()
        self.assertEqual((self.charge.state, self.charge.amount), ('paid', 4.5))
        self.assertEqual(self.receivable(entry).amount_residual, -1.5)

    def test_paid_in_full(self):
        for act, expected in (
                (lambda: self.pay(self.invoice, day='2026-06-10'), ('paid', 4.5, -10.5)),
                (lambda: self.credit(self.invoice), ('waived', 15.0, -15.0)),
                (lambda: self.pay(self.invoice, day='2026-07-10'), ('paid', 15.0, 0.0))):
            with self.subTest(expected=expected), self.env.cr.savepoint() as savepoint:
                entry = self.pay_line(self.charge.move_line_booked_id, 15.0)
                self.assertEqual(self.charge.state, 'paid')
                act()
                for _time in range(2):
                    self.process()
                    self.assertEqual(
                        (self.charge.state, self.charge.amount, self.receivable(entry).amount_residual), expected)
                savepoint.rollback()
                self.env.invalidate_all()

    def test_settled_elsewhere(self):
        """What a person says was paid elsewhere is not ours to correct."""
        other = self.make_old(500)
        charge = self.of_kind(self.dun_partner('2026-07-30'), 'interest').filtered(
            lambda charge: charge.move_line_id.move_id == other)
        charge._settle('Cash')
        self.credit(other)
        self.process()
        self.assertEqual(charge.state, 'paid')


@tagged('post_install', '-at_install')
class TestInterestToTheEntry(BookingCase, LifeCase):
    """From the ledger over the notice to the entry, worked out by hand."""

    def test_cases(self):
        cases = (
            # 32 days at 10.27 and 31 at 10.52 per cent, over 365
            ('de', {}, 1000, '2026-05-29', '2026-07-31', 17.94),
            # 25 days at 5.12 per cent, over 365
            ('ch', {'day_count': 'act_365', 'business_rate': 5.12}, 1000, '2026-10-01', '2026-10-26', 3.51),
            # 118 and 32 days of months of thirty, at 5 per cent over 360
            ('ch', {'day_count': '30_360', 'business_rate': 5.0}, 2500, '2025-10-31', '2026-02-28', 40.97),
            ('ch', {'day_count': '30_360', 'business_rate': 5.0}, 10000, '2026-02-28', '2026-03-31', 44.44))
        self.procedure.level_ids.fee_ids.unlink()
        for country, values, amount, due, day, expected in cases:
            with self.subTest(expected=expected):
                self.use_profile(country, **values)
                partner = self.partner = self.make_partner(f'Customer {expected}')
                self.make_invoice(partner, amount, due=due, invoice_date=due)
                charge = self.dun_partner(day, partner).charge_ids
                charge._book(date=self.days(3))
                self.assertEqual(
                    self.entry(charge), [(self.receivable_code, expected), ('9911', -expected)])
                self.pay_line(charge.move_line_booked_id, expected)
                self.assertEqual((charge.state, charge.amount_paid), ('paid', expected))

    def test_paid_in_part_after_a_year(self):
        """5 per cent of 200 for a year, and of 100 for another."""
        self.procedure.level_ids.fee_ids.unlink()
        self.use_profile('ch')
        invoice = self.make_invoice(self.partner, 200, due='2024-06-30', invoice_date='2024-06-01')
        self.pay(invoice, 100, day='2025-07-01')
        charge = self.dun_partner('2026-06-30').charge_ids
        charge._book(date=self.days(3))
        self.assertEqual(self.entry(charge), [(self.receivable_code, 15.0), ('9911', -15.0)])

"""Interest from the ledger: what was open of items on each day, since when they are in default, and what is claimed."""

from datetime import date
from decimal import Decimal

from odoo import Command
from odoo.tests import tagged

from odoo.addons.dunning_mail.models.dunning_interest import Asked
from odoo.addons.dunning_mail.models.dunning_proposal_basis import Basis

from .common import TODAY, DunningCommon


def day(text):
    return date.fromisoformat(text)


class InterestCase(DunningCommon):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.partner = cls.make_partner('Acme')
        cls.interest = cls.env['dunning.interest']
        # 5 % on 7,300 are 1.00 a day.
        cls.profile = cls.make_profile()

    @classmethod
    def make_profile(cls, **values):
        return cls.env['dunning.interest.profile'].create({
            'name': 'Own', 'begin': 'due_date', 'business_method': 'fixed', 'business_rate': 5,
            'consumer_method': 'fixed', 'consumer_rate': 5, **values})

    def get_steps(self, move, until=None):
        """Return what was open of an entry's item: {day: amount}; in the end it is what the ledger says."""
        item = self.receivable(move)
        [steps] = self.interest._get_principals(item.ids, day(until or '2027-12-31')).values()
        if not until:
            self.assertEqual(float(steps[-1][1]), item.amount_residual_currency)
        return {str(first): float(amount) for first, amount in steps}

    def calculate(self, moves, until, profile=None, taken=None, credits=()):
        """Return a list of :class:`Interest`, one for each entry."""
        lines = [self.receivable(move) for move in moves]
        results = self.interest._calculate(self.company, [
            Asked(line.id, line.partner_id.id, profile or self.profile, tuple(credits)) for line in lines],
            day(until), taken)
        return [results[line.id] for line in lines]

    def propose(self, until, profile=None):
        """Return dict entry -> :class:`Interest`, with the credits as a proposal sets them off."""
        debts = self.env['dunning.proposal']._load_debts(self.company, day(until), day(until), self.partner)
        basis = Basis(self.env, self.company, day(until), debts)
        for debt in debts.values():
            debt.offset(basis.get_currency(debt.currency_id))
        asked = [Asked.of(item, profile or self.profile) for debt in debts.values() for item in debt.items]
        results = self.interest._calculate(self.company, asked, day(until))
        return {self.env['account.move.line'].browse(line_id).move_id: result for line_id, result in results.items()}


@tagged('post_install', '-at_install')
class TestPrincipal(InterestCase):

    def test_partial_payments(self):
        invoice = self.make_invoice(self.partner, 1000, due='2026-10-01')
        self.assertEqual(self.get_steps(invoice), {'2026-10-01': 1000})
        self.pay(invoice, 300, '2026-10-20')
        self.pay(invoice, 200, '2026-11-05')
        self.assertEqual(self.get_steps(invoice), {'2026-10-01': 1000, '2026-10-20': 700, '2026-11-05': 500})
        # As it stood then.
        self.assertEqual(self.get_steps(invoice, '2026-10-31'), {'2026-10-01': 1000, '2026-10-20': 700})
        self.pay(invoice, 500, '2026-11-06')
        self.assertEqual(self.get_steps(invoice)['2026-11-06'], 0)

    def test_paid_before(self):
        """What was paid before the due date never bore interest; several on one day are one step."""
        invoice = self.make_invoice(self.partner, 1000, due='2026-10-01')
        self.pay(invoice, 100, '2026-09-10')
        self.pay(invoice, 100, '2026-10-01')
        self.pay(invoice, 50, '2026-10-02')
        self.pay(invoice, 50, '2026-10-02')
        self.assertEqual(self.get_steps(invoice), {'2026-10-01': 800, '2026-10-02': 700})

    def test_unreconciled_again(self):
        invoice = self.make_invoice(self.partner, 1000, due='2026-10-01')
        payment = self.pay(invoice, 300, '2026-10-20')
        self.receivable(payment).remove_move_reconcile()
        self.assertEqual(self.get_steps(invoice), {'2026-10-01': 1000})

    def test_payment_reversed(self):
        """Money that went back never was there; the claim is open as before."""
        invoice = self.make_invoice(self.partner, 1000, due='2026-10-01')
        payment = self.pay(invoice, 300, '2026-10-20')
        payment._reverse_moves([{'date': day('2026-11-02')}], cancel=True)
        self.assertEqual(self.get_steps(invoice), {'2026-10-01': 1000})

    def test_paid_out_and_reversed(self):
        """Money paid out that the customer owes, and that came back by the mirror of its entry."""
        paid_out = self.make_paid_out(self.partner, 400, '2026-10-05')
        self.assertEqual(self.get_steps(paid_out), {'2026-10-05': 400})
        paid_out._reverse_moves([{'date': day('2026-11-02')}], cancel=True)
        self.assertEqual(self.get_steps(paid_out), {'2026-10-05': 0})

    def test_credit_notes(self):
        """A credit note corrects the claim, whatever its day; other entries take off on theirs."""
        invoice = self.make_invoice(self.partner, 1000, due='2026-10-01')
        refund = self.make_invoice(self.partner, 400, move_type='out_refund', due='2026-11-10')
        (self.receivable(invoice) | self.receivable(refund)).reconcile()
        self.pay(invoice, 100, '2026-10-20')
        self.assertEqual(self.get_steps(invoice), {'2026-10-01': 600, '2026-10-20': 500})
        reversed_whole = self.make_invoice(self.partner, 50, due='2026-10-01')
        reversed_whole._reverse_moves([{'invoice_date': day('2026-11-15'), 'date': day('2026-11-15')}], cancel=True)
        self.assertEqual(self.get_steps(reversed_whole), {'2026-10-01': 0})

    def test_written_off(self):
        invoice = self.make_invoice(self.partner, 1000, due='2026-10-01')
        entry = self.make_unallocated(self.partner, 250, '2026-10-25', journal=self.env['account.journal'].create({
            'name': 'Write-offs', 'code': 'WOFF', 'type': 'general', 'default_account_id': self.env[
                'account.account'].search([('account_type', '=', 'expense')], limit=1).id}))
        (self.receivable(invoice) | self.receivable(entry)).reconcile()
        self.assertEqual(self.get_steps(invoice), {'2026-10-01': 1000, '2026-10-25': 750})

    def test_exchange_differences(self):
        """An item in a currency of its own is reckoned in that; what the books win or lose on it is no payment."""
        self.env['res.currency.rate'].create({
            'currency_id': self.foreign.id, 'name': '2026-10-15', 'rate': 4.0, 'company_id': self.company.root_id.id})
        invoice = self.make_invoice(self.partner, 1000, due='2026-10-01', currency=self.foreign)
        self.pay(invoice, 300, '2026-10-20')
        self.assertTrue(self.receivable(invoice).matched_credit_ids.exchange_move_id)
        self.assertEqual(self.get_steps(invoice), {'2026-10-01': 1000, '2026-10-20': 700})
        self.pay(invoice, 700, '2026-11-05')
        self.assertEqual(self.get_steps(invoice), {'2026-10-01': 1000, '2026-10-20': 700, '2026-11-05': 0})

    def test_paid_in_another_currency(self):
        """What is written off as a difference goes with its payment, not on a day of its own."""
        self.env['res.currency.rate'].create({
            'currency_id': self.foreign.id, 'name': '2026-10-15', 'rate': 4.0, 'company_id': self.company.root_id.id})
        invoice = self.make_invoice(self.partner, 1000, due='2026-10-01')
        entry = self.make_unallocated(self.partner, 2000, '2026-10-20', currency=self.foreign)
        (self.receivable(invoice) | self.receivable(entry)).reconcile()
        self.assertEqual(set(self.get_steps(invoice)), {'2026-10-01', '2026-10-20'})

    def test_instalments(self):
        """Each instalment of an invoice is a claim of its own."""
        term = self.env['account.payment.term'].create({'name': 'In two', 'line_ids': [
            Command.create({'value': 'percent', 'value_amount': 40, 'nb_days': 10}),
            Command.create({'value': 'percent', 'value_amount': 60, 'nb_days': 40})]})
        move = self.env['account.move'].create({
            'move_type': 'out_invoice', 'partner_id': self.partner.id, 'invoice_date': '2026-09-01',
            'invoice_payment_term_id': term.id, 'invoice_line_ids': [
                Command.create({'name': 'Service', 'price_unit': 1000, 'tax_ids': False})]})
        move.action_post()
        first, second = self.receivable(move).sorted('date_maturity')
        entry = self.make_unallocated(self.partner, 500, '2026-10-20')
        (first | second | self.receivable(entry)).reconcile()
        steps = self.interest._get_principals((first | second).ids, day('2026-12-31'))
        self.assertEqual(steps, {
            first.id: [(day('2026-09-11'), 400), (day('2026-10-20'), 0)],
            second.id: [(day('2026-10-11'), 600), (day('2026-10-20'), 500)]})

    def test_value_date(self):
        """Where a payment's entry was moved to a later day, the payment's own day counts."""
        invoice = self.make_invoice(self.partner, 1000, due='2026-10-01')
        journal = self.env['account.journal'].search(
            [('type', '=', 'bank'), ('company_id', '=', self.company.id)], limit=1)
        journal.inbound_payment_method_line_ids.payment_account_id = self.env['account.account'].search(
            [('account_type', '=', 'asset_current')], limit=1)
        payment = self.env['account.payment'].create({
            'payment_type': 'inbound', 'partner_type': 'customer', 'partner_id': self.partner.id, 'amount': 300,
            'date': '2026-10-05', 'journal_id': journal.id})
        payment.action_post()
        self.assertTrue(payment.move_id)
        (self.receivable(invoice) | self.receivable(payment.move_id)).reconcile()
        self.assertEqual(self.get_steps(invoice), {'2026-10-01': 1000, '2026-10-05': 700})
        self.env.flush_all()
        self.env.cr.execute("UPDATE account_move_line SET date = '2026-11-30' WHERE move_id = %s", [payment.move_id.id])
        self.env.cr.execute("UPDATE account_partial_reconcile SET max_date = '2026-11-30' WHERE debit_move_id = %s",
                            [self.receivable(invoice).id])
        self.env.invalidate_all()
        self.assertEqual(self.get_steps(invoice), {'2026-10-01': 1000, '2026-10-05': 700})

    def test_nothing_to_read(self):
        draft = self.make_invoice(self.partner, 1000)
        line = self.receivable(draft)
        draft.button_draft()
        self.assertEqual(self.interest._get_principals([*line.ids, 0], TODAY), {})
        self.assertEqual(self.interest._get_principals([], TODAY), {})


@tagged('post_install', '-at_install')
class TestInterestOfItems(InterestCase):

    def test_vectors(self):
        """To the cent, from invoices and payments."""
        german = self.make_profile(
            business_method='base', business_rate=9, consumer_method='base', consumer_rate=5, rate_ids=[
                Command.create({'date_from': '2026-01-01', 'rate': 1.27}),
                Command.create({'date_from': '2026-07-01', 'rate': 1.52})])
        swiss = self.make_profile(day_count='30_360')
        invoice = self.make_invoice(self.partner, 1000, due='2026-05-29', invoice_date='2026-05-01')
        [result] = self.calculate([invoice], '2026-07-31', german)
        self.assertEqual((str(result.amount), str(result.claim)), ('17.94', '17.94'))
        self.assertEqual(
            [(s.days, s.rate) for s in result.segments], [(32, Decimal('10.27')), (31, Decimal('10.52'))])
        self.assertEqual((result.date_from, result.date_to), (day('2026-05-30'), day('2026-07-31')))
        self.partner.dunning_debtor_kind = 'consumer'
        [result] = self.calculate([invoice], '2026-07-31', german)
        self.assertEqual((str(result.claim), result.debtor_kind), ('11.03', 'consumer'))
        halves = self.make_invoice(self.partner, 200, due='2023-12-31', invoice_date='2023-12-01')
        self.pay(halves, 100, '2025-01-01')
        february = self.make_invoice(self.partner, 2500, due='2025-10-31', invoice_date='2025-10-01')
        march = self.make_invoice(self.partner, 10000, due='2026-02-28', invoice_date='2026-02-01')
        for move, until, amount in (
                (halves, '2025-12-31', '15.00'), (february, '2026-02-28', '40.97'), (march, '2026-03-31', '44.44')):
            [result] = self.calculate([move], until, swiss)
            self.assertEqual(str(result.claim), amount)

    def test_detail(self):
        invoice = self.make_invoice(self.partner, 7300, due='2026-10-01')
        self.pay(invoice, 3650, '2026-10-11')
        [result] = self.calculate([invoice], '2026-10-31')
        self.assertEqual(result.detail, [
            {'date_from': '2026-10-02', 'date_to': '2026-10-10', 'principal': '7300.00', 'rate': '5.000', 'days': 9,
             'year_days': 365, 'amount': '9.000000'},
            {'date_from': '2026-10-11', 'date_to': '2026-10-31', 'principal': '3650.00', 'rate': '5.000', 'days': 21,
             'year_days': 365, 'amount': '10.500000'}])
        self.assertEqual(result.amount, Decimal('19.50'))

    def test_begin(self):
        """From the day after the event: the due date, the day on which the first notice left, its deadline."""
        invoice = self.make_invoice(self.partner, 7300, due='2026-10-01')
        by_notice, by_deadline = self.make_profile(begin='notice'), self.make_profile(begin='deadline')
        [result] = self.calculate([invoice], '2026-12-01', by_notice)
        self.assertEqual((result.reason, result.claim, result.is_in_default, result.default_from),
                         ('not_begun', 0, False, None))
        self.dun('2026-10-20')
        self.dun('2026-11-20')
        for profile, begin in (
                (self.profile, '2026-10-02'), (by_notice, '2026-10-21'), (by_deadline, '2026-10-31')):
            [result] = self.calculate([invoice], '2026-12-01', profile)
            with self.subTest(begin=profile.begin):
                self.assertEqual((result.default_from, result.date_from), (day(begin), day(begin)))
                self.assertEqual(result.amount, (day('2026-12-01') - day(begin)).days + 1)
        # The notice itself begins it: on its own day there is none yet.
        [result] = self.calculate([invoice], '2026-10-20', by_notice)
        self.assertEqual((result.reason, result.is_in_default), ('not_begun', False))
        # A due date that was put off later.
        invoice.invoice_date_due = '2026-11-25'
        [result] = self.calculate([invoice], '2026-12-01', by_notice)
        self.assertEqual(result.default_from, day('2026-11-26'))

    def test_cancelled_and_started_again(self):
        invoice = self.make_invoice(self.partner, 7300, due='2026-10-01')
        profile = self.make_profile(begin='notice')
        notice = self.dun('2026-10-20').notice_ids
        self.dun('2026-11-20')
        notice.action_cancel()
        [result] = self.calculate([invoice], '2026-12-01', profile)
        self.assertEqual(result.default_from, day('2026-11-21'))
        self.env['dunning.restart'].create({
            'move_line_ids': self.receivable(invoice).ids, 'reason': 'Agreed'}).action_apply()
        [result] = self.calculate([invoice], '2026-12-01', profile)
        self.assertEqual(result.reason, 'not_begun')

    def test_workdays(self):
        """A Saturday, and a holiday in the company's schedule: the next day on which somebody works."""
        profile = self.make_profile(is_moved_to_workday=True)
        saturday, monday, friday, tuesday = (
            self.make_invoice(self.partner, 7300, due=due)
            for due in ('2026-10-03', '2026-10-12', '2026-10-16', '2026-10-20'))
        self.company.resource_calendar_id.tz = 'Europe/Zurich'
        for first, last in (('2026-10-12', '2026-10-12'), ('2026-10-16', '2026-10-19')):
            self.env['resource.calendar.leaves'].create({
                'name': 'Holiday', 'calendar_id': self.company.resource_calendar_id.id, 'company_id': self.company.id,
                'date_from': f'{day(first) - (day("2026-01-02") - day("2026-01-01"))} 22:00:00',
                'date_to': f'{last} 21:59:59'})
        moves = [saturday, monday, friday, tuesday]
        self.assertEqual(
            [str(result.default_from) for result in self.calculate(moves, '2026-12-01', profile)],
            ['2026-10-06', '2026-10-14', '2026-10-21', '2026-10-21'])
        self.assertEqual(
            [str(result.default_from) for result in self.calculate(moves, '2026-12-01')],
            ['2026-10-04', '2026-10-13', '2026-10-17', '2026-10-21'])
        # A slip of the finger is no reason to look through a thousand years.
        self.env.flush_all()
        self.env.cr.execute(
            "UPDATE account_move_line SET date_maturity = CASE id WHEN %s THEN '1026-10-03'::date ELSE '9999-12-31' END"
            " WHERE id IN %s", [self.receivable(friday).id, tuple((
                self.receivable(friday) | self.receivable(tuesday)).ids)])
        self.env.invalidate_all()
        self.assertEqual(
            [str(result.default_from) for result in self.calculate(moves, '2026-12-01', profile)],
            ['2026-10-06', '2026-10-14', '1026-10-04', 'None'])
        # Whoever has no schedule rests on weekends; whoever never works has no next day.
        self.company.resource_calendar_id.attendance_ids = False
        self.assertEqual(str(self.calculate([saturday], '2026-12-01', profile)[0].default_from), '2026-10-04')
        self.company.resource_calendar_id = False
        self.assertEqual(str(self.calculate([saturday], '2026-12-01', profile)[0].default_from), '2026-10-06')

    def test_set_off(self):
        """Credits that nobody has reconciled, as the proposal sets them off: oldest item first, from their own day."""
        old = self.make_invoice(self.partner, 7300, due='2026-10-01')
        new = self.make_invoice(self.partner, 7300, due='2026-10-11')
        self.make_unallocated(self.partner, 3650, '2026-10-21')
        results = self.propose('2026-10-31')
        self.assertEqual(results[old].amount, Decimal('19.00') + Decimal('5.50'))
        self.assertEqual(results[new].amount, 20)
        # A credit note, free or not, corrects the claim.
        self.make_invoice(self.partner, 3650, move_type='out_refund', due='2026-10-25')
        results = self.propose('2026-10-31')
        self.assertEqual(sum(result.amount for result in results.values()), Decimal('9.50') + 20)

    def test_money_on_its_way(self):
        """A payment without an entry takes off from its day, on the invoice that it names."""
        old = self.make_invoice(self.partner, 7300, due='2026-10-01')
        new = self.make_invoice(self.partner, 7300, due='2026-10-11')
        self.make_payment(self.partner, 3650, new, day='2026-10-21')
        results = self.propose('2026-10-31')
        self.assertEqual((results[old].amount, results[new].amount), (30, Decimal('9.00') + Decimal('5.50')))

    def test_foreign_currency(self):
        invoice = self.make_invoice(self.partner, 7300, due='2026-10-01', currency=self.foreign)
        self.assertEqual(self.calculate([invoice], '2026-10-11')[0].claim, 10)
        for name, rounding, amount in (('JPY', 1, '10'), ('KWD', 0.001, '10.137'), ('AUD', 0.05, '10.15')):
            currency = self.env['res.currency'].with_context(active_test=False).search([('name', '=', name)])
            currency.write({'active': True, 'rounding': rounding})
            self.env['res.currency.rate'].create({
                'currency_id': currency.id, 'name': '2026-01-01', 'rate': 2, 'company_id': self.company.root_id.id})
            move = self.make_invoice(self.partner, 7400, due='2026-10-01', currency=currency)
            with self.subTest(currency=name):
                # 7,400 x 5 % x 10 / 365 = 10.13699
                self.assertEqual(str(self.calculate([move], '2026-10-11')[0].claim), amount)

    def test_least_amount(self):
        profile = self.make_profile(least_amount=10)
        invoice = self.make_invoice(self.partner, 7300, due='2026-10-01')
        foreign = self.make_invoice(self.partner, 7300, due='2026-10-01', currency=self.foreign)
        # Two of the foreign currency are worth one of the company's.
        for until, claims in (('2026-10-10', (0, 0)), ('2026-10-11', (10, 0)), ('2026-10-20', (19, 0)),
                              ('2026-10-21', (20, 20))):
            results = self.calculate([invoice, foreign], until, profile)
            with self.subTest(until=until):
                self.assertEqual(tuple(result.claim for result in results), claims)
                self.assertEqual([result.reason for result in results], ['' if c else 'too_little' for c in claims])
                # It is said what it would be.
                self.assertGreaterEqual(results[0].amount, 9)
        # Without a rate nobody can say how much that is.
        profile.currency_id = self.env['res.currency'].with_context(active_test=False).search(
            [('name', '=', 'XAU')], limit=1) or self.env['res.currency'].create({'name': 'XQQ', 'symbol': 'Q'})
        self.assertEqual(self.calculate([invoice], '2026-10-03', profile)[0].claim, 2)
        # Half of the smallest amount is none.
        tiny = self.make_invoice(self.partner, 14.6, due='2026-10-01')
        [result] = self.calculate([tiny], '2026-10-03', self.make_profile(business_rate=5))
        self.assertEqual((result.claim, result.reason), (0, 'too_little'))

    def test_taken(self):
        """What is booked or waived of it is not claimed again, and nothing is paid back."""
        invoice = self.make_invoice(self.partner, 7300, due='2026-10-01')
        line_id = self.receivable(invoice).id
        for taken, claim, reason in (
                (4, 6, ''), (Decimal('4.55'), Decimal('5.45'), ''), (0.1 + 0.2, Decimal('9.70'), ''), (10, 0, 'taken'),
                (12.5, 0, 'taken')):
            [result] = self.calculate([invoice], '2026-10-11', taken={line_id: taken, 0: 7})
            with self.subTest(taken=taken):
                self.assertEqual((result.amount, result.claim, result.reason), (10, claim, reason))

    def test_unknown_rates(self):
        profile = self.make_profile(
            name='Half a year', business_method='base', business_rate=4, rates_until='2026-10-31', rate_ids=[
                Command.create({'date_from': '2026-10-11', 'rate': 1})])
        invoice = self.make_invoice(self.partner, 7300, due='2026-10-01')
        results = self.interest._calculate(
            self.company, [Asked(self.receivable(invoice).id, self.partner.id, profile)], day('2026-11-10'))
        [result] = results.values()
        self.assertEqual((result.claim, result.unknown_days), (21, 9 + 10))
        self.assertEqual((result.date_from, result.date_to), (day('2026-10-11'), day('2026-10-31')))
        self.assertRegex(self.interest._describe_unknown(results), "“Half a year” are confirmed until")
        profile.write({'rates_until': False})
        [result] = self.calculate([invoice], '2026-10-10', profile)
        self.assertEqual((result.claim, result.reason, result.unknown_days), (0, 'no_rate', 9))
        self.assertEqual(self.interest._describe_unknown({}), '')

    def test_defined_results(self):
        """Whatever is asked for, there is an answer."""
        invoice = self.make_invoice(self.partner, 7300, due='2026-10-01')
        paid = self.make_invoice(self.partner, 7300, due='2026-10-01')
        self.pay(paid, day='2026-10-01')
        line = self.receivable(invoice)
        nobody = self.make_profile(business_method='none', business_rate=0)
        for asked, reason in (
                (Asked(line.id, self.partner.id, self.profile.browse()), 'no_profile'),
                (Asked(line.id, self.partner.id, nobody), 'no_interest'),
                (Asked(2 ** 31 - 1, self.partner.id, self.profile), 'nothing_open'),
                (Asked(self.receivable(paid).id, self.partner.id, self.profile), 'nothing_open'),
                (Asked(line.id, self.partner.id, self.profile, ((2 ** 31 - 1, 0, 7300.0),)), ''),
                (Asked(line.id, False, self.profile), '')):
            results = self.interest._calculate(self.company, [asked], day('2026-10-11'))
            with self.subTest(reason=reason):
                self.assertEqual(results[asked.line_id].reason, reason)
                self.assertEqual(results[asked.line_id].claim, 0 if reason else 10)
        # The day may be before all others.
        self.assertEqual(self.calculate([invoice], '2020-01-01')[0].reason, 'not_begun')
        self.assertEqual(self.interest._calculate(self.company, [], TODAY), {})
        # An item without a due date was due at once.
        self.env.flush_all()
        self.env.cr.execute("UPDATE account_move_line SET date_maturity = NULL WHERE id = %s", [line.id])
        self.env.invalidate_all()
        self.assertEqual(self.calculate([invoice], '2026-09-11')[0].claim, 10)

    def test_as_others_had_it_wrong(self):
        """What went wrong elsewhere."""
        german = self.env.ref('dunning_mail.interest_profile_de').copy({'begin': 'due_date'})
        self.partner.dunning_debtor_kind = 'consumer'
        # 75 days at 7.27 %, 235 at 6.27 %
        claim = self.make_invoice(self.partner, 3089, due='2025-04-16', invoice_date='2025-04-01')
        self.assertEqual(str(self.calculate([claim], '2026-02-20', german)[0].claim), '170.84')
        self.partner.dunning_debtor_kind = 'business'
        # 10 days at 10.62 %, 62 at 12.12 %
        claim = self.make_invoice(self.partner, 1000, due='2023-06-20', invoice_date='2023-06-01')
        [result] = self.calculate([claim], '2023-08-31', german)
        self.assertEqual([(s.days, s.rate) for s in result.segments], [
            (10, Decimal('10.62')), (62, Decimal('12.12'))])
        # The day after the due date is one day.
        invoice = self.make_invoice(self.partner, 7300, due='2026-10-15')
        self.assertEqual(self.calculate([invoice], '2026-10-16')[0].claim, 1)
        # A later claim contains the earlier one: what is booked is taken from it, and nothing is claimed twice.
        line_id = self.receivable(invoice).id
        first, second = (self.calculate([invoice], until)[0].claim for until in ('2026-10-20', '2026-11-20'))
        self.assertEqual((first, second), (5, 36))
        self.assertEqual(self.calculate([invoice], '2026-11-20', taken={line_id: first})[0].claim, 31)
        # Once all is paid, what it has borne until then is known still.
        self.pay(invoice, day='2026-11-01')
        [result] = self.calculate([invoice], '2026-12-31')
        self.assertEqual((result.claim, str(result.date_to)), (16, '2026-10-31'))
        # Several items and payments at once are each what they are by themselves.
        moves = [self.make_invoice(self.partner, amount, due='2026-10-01') for amount in (7300, 3650, 1460)]
        self.pay(moves[0], 1000, '2026-10-10')
        self.pay(moves[1], 500, '2026-10-12')
        together = [result.claim for result in self.calculate(moves, '2026-10-31')]
        self.assertEqual(together, [self.calculate([move], '2026-10-31')[0].claim for move in moves])
        # A rate of nothing is a rate.
        [result] = self.calculate([claim], '2026-10-31', self.make_profile(business_rate=0))
        self.assertEqual((result.claim, result.unknown_days, result.is_in_default), (0, 0, True))

    def test_clerk(self):
        """A clerk may have it calculated, with a profile that she may not read."""
        invoice = self.make_invoice(self.partner, 7300, due='2026-10-01')
        profile = self.make_profile(
            business_method='base', business_rate=4, rate_ids=[Command.create({'date_from': '2020-01-01', 'rate': 1})])
        self.env.flush_all()
        line = self.receivable(invoice)
        self.env.invalidate_all()
        results = self.interest.with_user(self.clerk)._calculate(
            self.company, [Asked(line.id, self.partner.id, profile.with_user(self.clerk))], day('2026-10-11'))
        self.assertEqual(results[line.id].claim, 10)

    def test_statements(self):
        """As many for many items as for few."""
        profiles = [
            self.make_profile(
                begin='deadline', is_moved_to_workday=True, least_amount=0.01, business_method='base', business_rate=4,
                rate_ids=[Command.create({'date_from': '2020-01-01', 'rate': 1})]),
            self.profile]
        partners = self.env['res.partner'].create([{'name': f'Customer {number}'} for number in range(20)])
        moves = self.env['account.move'].union(*(
            self.make_invoice(partner, 7300, due='2026-10-01') for partner in partners))
        credit = self.make_unallocated(self.partner, 10, '2026-10-21')
        for move in moves[:10]:
            self.pay(move, 100, '2026-10-21')
        self.dun('2026-10-20')
        credit_id = self.receivable(credit).id
        rows = [(self.receivable(move).id, move.partner_id.id) for move in moves]
        counts = []
        for some in (rows[:2], rows):
            self.env.flush_all()
            self.env.invalidate_all()
            before = self.cr.sql_log_count
            results = self.interest._calculate(self.company, [
                Asked(line_id, partner_id, profiles[number % 2], ((credit_id, 0, 0.5),))
                for number, (line_id, partner_id) in enumerate(some)], day('2026-12-01'))
            counts.append(self.cr.sql_log_count - before)
            self.assertTrue(all(result.claim for result in results.values()))
        self.assertEqual(counts[0], counts[1])
        # With those of the working schedule, of foreign currencies, and of what a proposal has read already.
        self.assertLessEqual(counts[1], 18)

"""What a clerk is told before she prints and sends."""

from odoo.tests import tagged

from .common import TODAY, DunningCommon


@tagged('post_install', '-at_install')
class TestPaymentWarning(DunningCommon):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.journal = cls.env['account.journal'].search(
            [('type', '=', 'bank'), ('company_id', '=', cls.company.id)], limit=1)

    def setUp(self):
        super().setUp()
        self.run_ = self.make_run(generate=False, lang='de_DE')

    def receive(self, day, amount=-10.0, journal=None):
        """A bank transaction; what goes out need not be reconciled to know who has paid."""
        return self.env['account.bank.statement.line'].create({
            'journal_id': (journal or self.journal).id, 'date': day, 'amount': amount, 'payment_ref': 'Gutschrift'})

    def warning(self):
        self.run_.invalidate_recordset()
        return self.run_.payment_warning

    def test_no_bank_transactions_at_all(self):
        self.assertFalse(self.warning(), "a company that does not import them knows")

    def test_working_days(self):
        """Tuesday: Thursday is three working days ago, Wednesday four."""
        self.receive('2026-11-18')
        self.assertIn('18.11.2026', self.warning())
        self.receive('2026-11-19')
        self.assertFalse(self.warning())

    def test_dead_for_long(self):
        """An import that broke months ago is no account that is not used any more."""
        other = self.journal.copy({'name': 'Zweite'})
        for day in ('2026-06-29', '2026-06-30'):
            self.receive(day)
        self.receive('2026-05-04', journal=other)
        for today, is_old in ((TODAY, True), ('2026-07-01', False), ('2028-07-01', True)):
            self.clock.move_to(f'{today} 08:00:00')
            with self.subTest(today):
                self.assertEqual('30.06.2026' in (self.warning() or ''), is_old)
                # That one was silent before; beside the other it is told of as long as it counts as used.
                self.assertEqual('04.05.2026' in (self.warning() or ''), not is_old)
        self.clock.move_to(f'{TODAY} 08:00:00')
        # Beside one that is used, it is one that is not.
        self.receive('2026-11-23', journal=other)
        self.assertFalse(self.warning())

    def test_account_with_few_movements(self):
        """What is usual for an account says nothing of its bank data."""
        for day in ('2026-09-30', '2026-10-30'):
            self.receive(day)
        self.assertFalse(self.warning(), "22 working days lay between them")
        self.clock.move_to('2026-12-01 08:00:00')
        self.assertFalse(self.warning())
        self.clock.move_to('2026-12-02 08:00:00')
        self.assertIn('30.10.2026', self.warning())
        self.clock.move_to(f'{TODAY} 08:00:00')
        # One that moves each day beside it is judged by itself.
        daily = self.journal.copy({'name': 'Zweite'})
        for day in ('2026-11-16', '2026-11-17', '2026-11-18'):
            self.receive(day, journal=daily)
        self.assertIn('18.11.2026', self.warning())
        self.assertNotIn('30.10.2026', self.warning())

    def test_holidays(self):
        """Working days are the company's: less what its working schedule says is closed."""
        self.receive('2026-11-17')
        self.assertTrue(self.warning())
        self.env['resource.calendar.leaves'].create({
            'name': 'Feiertage', 'calendar_id': False, 'company_id': self.company.id,
            'date_from': '2026-11-18 00:00:00', 'date_to': '2026-11-19 23:59:59'})
        self.assertFalse(self.warning())
        # Those of a sister company, whose schedule bears no company either.
        other = self.env['res.company'].create({'name': 'Schwester'})
        self.env['resource.calendar.leaves'].search([]).company_id = other
        self.assertTrue(self.warning())
        # Who works on three days a week.
        calendar = self.company.resource_calendar_id
        self.env['resource.calendar.leaves'].search([]).unlink()
        self.assertTrue(self.warning())
        calendar.attendance_ids.filtered(lambda one: one.dayofweek in '24').unlink()
        self.assertFalse(self.warning())
        calendar.attendance_ids.unlink()
        self.assertTrue(self.warning(), "a schedule without hours says nothing")

    def test_branch_banks_through_its_head(self):
        self.receive('2026-11-10')
        self.receive('2026-11-10', 100.0)
        branch = self.env['res.company'].create({
            'name': 'Filiale', 'parent_id': self.company.id, 'currency_id': self.currency.id})
        self.env.user.company_ids |= branch
        run = self.env['dunning.run'].with_company(branch).create({'company_id': branch.id})
        self.assertIn(self.journal.name, run.payment_warning)
        self.assertEqual(len(run.payment_warning.splitlines()), 2)

    def test_weekend(self):
        self.receive('2026-11-20')
        for day, is_old in (('2026-11-22', False), ('2026-11-23', False), ('2026-11-25', False), ('2026-11-26', True)):
            self.clock.move_to(f'{day} 08:00:00')
            self.assertEqual(bool(self.warning()), is_old, day)
        self.clock.move_to(f'{TODAY} 08:00:00')

    def test_unreconciled(self):
        self.receive(TODAY, 100.0)
        self.receive(TODAY, 50.0)
        self.receive(TODAY, -70.0)
        self.assertIn('2', self.warning())

    def test_reconciled(self):
        invoice = self.make_invoice(self.make_partner('Acme'), 100)
        line = self.receive(TODAY, 100.0)
        self.assertTrue(self.warning())
        _liquidity, suspense, _other = line._seek_for_lines()
        suspense.account_id = self.receivable(invoice).account_id
        suspense.partner_id = invoice.partner_id
        (suspense | self.receivable(invoice)).reconcile()
        self.assertTrue(line.is_reconciled)
        self.assertFalse(self.warning())

    def test_only_while_it_helps(self):
        self.receive('2026-11-01')
        self.make_invoice(self.make_partner('Acme'))
        self.run_.action_generate_notices()
        self.assertTrue(self.warning())
        self.run_.action_print_and_send()
        self.assertFalse(self.warning(), "too late")

    def test_other_company(self):
        other = self.env['res.company'].create({'name': 'Other', 'currency_id': self.currency.id})
        self.env['account.chart.template'].try_loading('generic_coa', company=other, install_demo=False)
        journal = self.env['account.journal'].search([('type', '=', 'bank'), ('company_id', '=', other.id)], limit=1)
        self.env['account.bank.statement.line'].with_company(other).create({
            'journal_id': journal.id, 'date': '2026-01-01', 'amount': 10.0, 'payment_ref': 'x'})
        self.assertFalse(self.warning())

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

    def receive(self, day, amount=-10.0):
        """A bank transaction; what goes out need not be reconciled to know who has paid."""
        return self.env['account.bank.statement.line'].create({
            'journal_id': self.journal.id, 'date': day, 'amount': amount, 'payment_ref': 'Gutschrift'})

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

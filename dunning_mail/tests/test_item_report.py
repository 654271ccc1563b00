"""The report on what dunning brings: each dunned item with what became of it, and who may see it."""

from odoo import Command
from odoo.tests import new_test_user, tagged

from .common import DunningCommon


@tagged('post_install', '-at_install')
class TestItemReport(DunningCommon):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.tags = cls.env['res.partner.category'].create([{'name': 'Retail'}, {'name': 'Export'}])
        cls.partner = cls.make_partner('Acme', category_id=cls.tags.ids)

    def dun_items(self, *invoices):
        """Dun the customer on paper, with a deadline ten days later, and return the rows of invoices in their order."""
        notices = self.dun(partner_ids=self.partner.ids).notice_ids
        notices.sudo().date_deadline = self.days(10)
        return self.rows(*invoices)

    def rows(self, *invoices):
        self.env.flush_all()
        self.env.invalidate_all()
        Report = self.env['dunning.item.report'].with_user(self.clerk)
        return [Report.search([('move_id', '=', invoice.id)]) for invoice in invoices]

    def assertPaid(self, row, in_deadline, in_30_days, days):
        """Compare amounts, shares, which are None where nothing is decided yet, and days."""
        [values] = self.env['dunning.item.report']._read_group(
            [('id', '=', row.id)], [], [
                'amount_in_deadline:sum', 'share_in_deadline:avg', 'amount_in_30_days:sum', 'share_in_30_days:avg',
                'days:avg'])
        self.assertEqual(
            [None if value is False else float(value) for value in values],
            [*in_deadline, *in_30_days, days])

    def test_dimensions(self):
        invoice = self.make_invoice(self.partner, 100)
        [row] = self.dun_items(invoice)
        self.assertEqual(
            (row.partner_id, row.level_id, row.procedure_id, row.channel, row.lang, row.date, row.date_deadline,
             row.amount, row.company_id, row.name, row.partner_category_ids),
            (self.partner, self.level_1, self.procedure, 'paper', 'de_DE', self.days(0), self.days(10), 100,
             self.company, invoice.name, self.tags))
        self.assertEqual(row.action_open_notice()['res_id'], row.notice_id.id)
        for groupby in ('level_id', 'procedure_id', 'channel', 'lang', 'date:month', 'user_id', 'settled_by'):
            [(_value, *sums)] = row._read_group([('id', '=', row.id)], [groupby], ['item_count:sum', 'amount:sum'])
            self.assertEqual(sums, [1, 100], groupby)
        self.assertEqual(
            {tag for tag, _count in row._read_group(
                [('id', '=', row.id)], ['partner_category_ids'], ['__count'])}, set(self.tags))
        self.assertEqual(row.search([('partner_category_ids', '=', 'Retail'), ('move_id', '=', invoice.id)]), row)

    def test_nothing_decided_yet(self):
        invoice = self.make_invoice(self.partner, 100)
        [row] = self.dun_items(invoice)
        self.assertPaid(row, (0, None), (0, None), None)
        self.clock.move_to(f'{self.days(10)} 08:00:00')
        self.assertPaid(row, (0, None), (0, None), None)
        self.clock.move_to(f'{self.days(11)} 08:00:00')
        self.assertPaid(row, (0, 0), (0, None), None)
        self.clock.move_to(f'{self.days(31)} 08:00:00')
        self.assertPaid(row, (0, 0), (0, 0), None)

    def test_paid(self):
        invoices = [self.make_invoice(self.partner, 100) for _number in range(5)]
        self.pay(invoices[3], 30, day='2026-11-10')
        rows = self.dun_items(*invoices)
        days = {0: 10, 1: 11, 2: 31, 3: 4}
        for number, day in days.items():
            self.pay(invoices[number], day=self.days(day))
        self.pay(invoices[4], 40, day=self.days(5))
        self.pay(invoices[4], 25, day=self.days(20))
        rows = self.rows(*invoices)
        self.assertPaid(rows[0], (100, 100), (100, 100), 10)
        self.assertPaid(rows[1], (0, 0), (100, 100), 11)
        self.assertPaid(rows[2], (0, 0), (0, 0), 31)
        # What was paid before is not the notice's.
        self.assertPaid(rows[3], (70, 100), (70, 100), 4)
        self.assertPaid(rows[4], (40, None), (65, None), None)
        self.assertEqual([row.settled_by for row in rows], ['payment'] * 4 + [False])

    def test_settled_by(self):
        invoices = [self.make_invoice(self.partner, 100) for _number in range(2)]
        self.dun_items(*invoices)
        credit = self.make_invoice(self.partner, 100, move_type='out_refund')
        (self.receivable(invoices[0]) | self.receivable(credit)).reconcile()
        account = self.env['account.account'].search([
            ('account_type', '=', 'expense'), ('company_ids', 'in', self.company.id)], limit=1)
        journal = self.env['account.journal'].search([
            ('type', '=', 'general'), ('company_id', '=', self.company.id)], limit=1)
        item = self.receivable(invoices[1])
        write_off = self.env['account.move'].create({
            'journal_id': journal.id, 'date': self.days(2), 'line_ids': [
                Command.create({'account_id': account.id, 'balance': 100}),
                Command.create({'account_id': item.account_id.id, 'balance': -100, 'partner_id': self.partner.id})]})
        write_off.action_post()
        (item | self.receivable(write_off)).reconcile()
        credited, written_off = self.rows(*invoices)
        self.assertEqual((credited.settled_by, written_off.settled_by), ('credit', 'other'))
        # A credit note of a day before the notice left.
        self.assertPaid(credited, (100, 100), (100, 100), 0)
        self.assertPaid(written_off, (100, 100), (100, 100), 2)

    def test_foreign_currency(self):
        """In the company's, at the rate at which the item was booked; the exchange difference is no payment."""
        invoice = self.make_invoice(self.partner, 100, currency=self.foreign)
        [row] = self.dun_items(invoice)
        self.assertEqual((row.amount, row.amount_currency), (50, 100))
        self.env['res.currency.rate'].create({
            'currency_id': self.foreign.id, 'name': str(self.days(1)), 'rate': 4.0,
            'company_id': self.company.root_id.id})
        self.pay(invoice, day=self.days(3))
        [row] = self.rows(invoice)
        self.assertPaid(row, (50, 100), (50, 100), 3)

    def test_which_items(self):
        """A row for each notice that left; none of drafts, cancelled notices, trial mode and credits."""
        invoice = self.make_invoice(self.partner, 100)
        self.make_unallocated(self.partner, 10)
        run = self.make_run(partner_ids=self.partner.ids)
        self.assertFalse(self.rows(invoice)[0])
        run.action_print_and_send()
        self.assertFalse(self.rows(invoice)[0])
        run._hand_out_letters()
        run.action_mark_printed()
        self.assertEqual(len(self.rows(invoice)[0]), 1)
        second = self.dun(self.days(30), partner_ids=self.partner.ids).notice_ids
        rows = self.rows(invoice)[0]
        self.assertEqual((rows.level_id, len(rows)), (self.level_1 | self.level_2, 2))
        second.action_cancel()
        self.assertEqual(self.rows(invoice)[0].level_id, self.level_1)
        run.notice_ids.sudo().write({
            'printed_at': False, 'delivery_state': 'sent', 'sent_at': '2026-11-24 08:00:00'})
        self.assertEqual(self.rows(invoice)[0].channel, 'mail')
        run.notice_ids.sudo().redirected_to = 'trial@muster.test'
        self.assertFalse(self.rows(invoice)[0])

    def test_who_may_see_it(self):
        invoice = self.make_invoice(self.partner, 100)
        [row] = self.dun_items(invoice)
        other = self.env['res.company'].create({'name': 'Other Ltd'})
        stranger = new_test_user(
            self.env, login='stranger', groups='account.group_account_invoice', company_id=other.id,
            company_ids=[Command.set(other.ids)])
        self.assertFalse(row.with_user(stranger).search([('move_id', '=', invoice.id)]))
        reader = new_test_user(self.env, login='reader', groups='account.group_account_readonly')
        self.assertEqual(row.with_user(reader).search([('move_id', '=', invoice.id)]), row)
        employee = new_test_user(self.env, login='employee', groups='base.group_user')
        self.assertFalse(row.with_user(employee).has_access('read'))
        menus = self.env['ir.ui.menu']
        menu = self.env.ref('dunning_mail.dunning_item_report_menu')
        self.assertIn(menu.id, menus.with_user(self.clerk)._visible_menu_ids())
        self.assertNotIn(menu.id, menus.with_user(employee)._visible_menu_ids())

from odoo import Command
from odoo.exceptions import UserError
from odoo.tests import tagged
from odoo.tools import mute_logger

from ..models import res_company_charge
from .common import read_pdf
from .test_charge_booking import BookingCase


@tagged('post_install', '-at_install')
class TestBookingModes(BookingCase):
    """When charges are booked by themselves."""

    def make_in_mode(self, mode, **values):
        self.company.dunning_charge_booking = mode
        return self.make_counted(**values)

    def booking_activities(self, notice):
        return notice.activity_ids.filtered(
            lambda activity: activity.activity_type_id == self.env.ref('dunning_mail.mail_activity_booking'))

    def test_at_issue(self):
        self.company.dunning_charge_booking = 'issue'
        self.make_invoice(self.partner, 100)
        run = self.make_run(partner_ids=self.partner.ids)
        run.action_print_and_send()
        self.run_job()
        notice = run.notice_ids
        self.assertEqual(notice.charge_ids.state, 'draft', "nobody has it yet")
        run._hand_out_letters()
        cron = self.env.ref('dunning_mail.ir_cron_charges')
        self.env['ir.cron.trigger'].search([('cron_id', '=', cron.id)]).unlink()
        run.action_mark_printed()
        self.assertEqual(self.env['ir.cron.trigger'].search_count([('cron_id', '=', cron.id)]), 1)
        self.assertEqual(notice.charge_ids.state, 'claimed', "never in the way of sending")
        self.run_job()
        self.assertEqual(notice.charge_ids.state, 'booked')
        self.assertEqual(notice.charge_ids.move_line_booked_id.date, notice.date_left)

    def test_by_hand_or_by_payment_only(self):
        for mode in ('print', 'payment'):
            _invoice, notice = self.make_in_mode(mode)
            self.run_job()
            self.assertEqual(notice.charge_ids.state, 'claimed', mode)

    def test_changed_in_the_middle(self):
        _invoice, printed = self.make_in_mode('print')
        self.company.dunning_charge_booking = 'issue'
        self.run_job()
        self.assertEqual(printed.charge_ids.state, 'claimed', "as it was claimed")
        self.make_invoice(self.partner, 50, due='2026-11-10')
        at_issue = self.dun(self.days(1), partner_ids=self.partner.ids).notice_ids
        self.company.dunning_charge_booking = 'print'
        self.run_job()
        self.assertEqual((printed.charge_ids.state, at_issue.charge_ids.state), ('claimed', 'booked'))

    def test_what_fails_is_told_once_and_stops_nobody(self):
        self.company.dunning_charge_booking = 'issue'
        _invoice, first = self.make_counted()
        other = self.make_partner('Bäcker')
        self.make_invoice(other, 100)
        second = self.dun(partner_ids=other.ids).notice_ids
        account = other.property_account_receivable_id.copy({'active': False})
        other.with_env(self.env).property_account_receivable_id = account
        self.run_job()
        self.assertEqual((first.charge_ids.state, second.charge_ids.state), ('booked', 'claimed'))
        activity = self.booking_activities(second)
        self.assertEqual(activity.user_id, self.company._get_dunning_head())
        self.assertIn('archived', activity.note)
        self.assertIn('archived', second.charge_ids.booking_problem)
        activity.action_done()
        self.run_job()
        self.assertFalse(self.booking_activities(second), "once, not each time anew")
        account.active = True
        self.run_job()
        self.assertEqual((second.charge_ids.state, second.charge_ids.booking_problem), ('booked', False))

    def test_deleted_job_does_not_hinder_sending(self):
        self.env.ref('dunning_mail.ir_cron_charges').unlink()
        _invoice, notice = self.make_in_mode('issue')
        self.assertEqual((notice.is_counted, notice.charge_ids.state), (True, 'claimed'))

    def test_one_fault_stops_nobody(self):
        """Neither where charges leave the books, nor where they are booked or corrected."""
        self.company.dunning_lapse_days = 0
        partners = self.make_partner('A') | self.make_partner('B') | self.make_partner('C')
        invoices, charges = [], self.env['dunning.charge']
        for partner in partners:
            invoices.append(self.make_invoice(partner, 100))
            charges |= self.dun(partner_ids=partner.ids).notice_ids.charge_ids
        Charge = type(charges)
        for method, prepare, expected in (
                ('_leave_books', lambda: (charges._book(), self.forget_counting(charges.notice_id)), 'draft'),
                ('_book', lambda: charges.sudo().write({'is_booked_at_issue': True}), 'booked'),
                ('_write_correction', lambda: [self.refund(invoice) for invoice in invoices], 'waived')):
            with self.subTest(method=method), self.env.cr.savepoint() as savepoint:
                prepare()
                bad, others, real = charges[1], charges[0] | charges[2], getattr(Charge, method)
                before = bad.state

                def fail(self, *args, bad=bad, real=real, **kwargs):
                    if bad in self:
                        raise ZeroDivisionError
                    return real(self, *args, **kwargs)

                with mute_logger(
                        'odoo.addons.dunning_mail.models.dunning_promise',
                        'odoo.addons.dunning_mail.models.dunning_charge_job'):
                    self.patch(Charge, method, fail)
                    self.env['dunning.charge']._process()
                    self.patch(Charge, method, real)
                self.assertEqual(set(others.mapped('state')), {expected})
                self.assertEqual(bad.state, before)
                savepoint.rollback()
                self.env.invalidate_all()

    def forget_counting(self, notices):
        """Let notices not count, as if the job had not followed them yet."""
        self.env.flush_all()
        self.env.cr.execute('UPDATE dunning_notice SET is_counted = FALSE WHERE id = ANY(%s)', [notices.ids])
        self.env.invalidate_all()

    def refund(self, invoice):
        refund = self.make_invoice(invoice.partner_id, invoice.amount_total, move_type='out_refund')
        (self.receivable(invoice) | self.receivable(refund)).reconcile()

    def test_activity_goes_when_it_is_booked(self):
        _invoice, notice = self.make_in_mode('issue')
        self.journal.active = False
        self.run_job()
        self.assertEqual(len(self.booking_activities(notice)), 1)
        self.company.dunning_charge_journal_id = False
        self.run_job()
        self.assertEqual((notice.charge_ids.state, len(self.booking_activities(notice))), ('booked', 0))

    def test_reversal_that_fails_does_not_stop_the_cancellation(self):
        _invoice, notice = self.make_in_mode('issue')
        self.run_job()
        charge = notice.charge_ids
        line = charge.move_line_booked_id
        line.account_id.with_env(self.env).active = False
        notice.action_cancel()
        self.assertEqual((notice.state, charge.state), ('cancelled', 'booked'))
        self.assertEqual(len(self.booking_activities(notice)), 1)
        line.account_id.with_env(self.env).active = True
        self.run_job()
        self.assertEqual(charge.state, 'cancelled')
        self.assertTrue(line.reconciled)

    def test_reversed_though_its_journal_was_archived(self):
        _invoice, notice = self.make_in_mode('issue')
        self.run_job()
        self.journal.active = False
        self.company.dunning_charge_journal_id = False
        notice.charge_ids._waive('Kulanz')
        reversal = notice.charge_ids.move_booked_id.reversal_move_ids
        self.assertEqual(reversal.state, 'posted')
        self.assertNotEqual(reversal.journal_id, self.journal)

    def test_accounts_of_charts(self):
        company = self.company
        company.write({f'dunning_{kind}_account_id': False for kind in res_company_charge.KINDS})
        for chart, codes in res_company_charge.DEFAULT_ACCOUNTS.items():
            with self.subTest(chart=chart):
                company.chart_template = chart
                for kind, (code, _types) in codes.items():
                    self.env['account.account'].search([('code', '=', code)]).code = f'9{code}'
                    wrong = self.env['account.account'].create({
                        'code': code, 'name': 'x', 'account_type': 'asset_current'})
                    self.assertFalse(company._find_dunning_charge_account(kind), "no income")
                    wrong.account_type = 'income_other'
                    self.assertEqual(company._find_dunning_charge_account(kind), wrong)
        company.chart_template = 'at'
        with self.assertRaisesRegex(UserError, "Lump sum"):
            company._get_dunning_charge_account('lump_sum')

    def test_settings_say_what_is_missing(self):
        self.company.write({'dunning_charge_booking': 'payment', 'dunning_cost_account_id': False})
        self.patch(res_company_charge, 'DEFAULT_ACCOUNTS', {})
        settings = self.env['res.config.settings'].create({})
        self.assertIn('Costs', settings.dunning_booking_warning)
        settings.dunning_cost_account_id = self.income['cost']
        self.assertFalse(settings.dunning_booking_warning)

    def test_branch_takes_what_its_company_has_chosen(self):
        branch = self.env['res.company'].create({'name': 'Filiale', 'parent_id': self.company.id})
        self.env.user.company_ids += branch
        self.env.cr.precommit.run()
        self.assertEqual(branch._get_dunning_charge_journal(), self.journal)
        self.assertEqual(branch._get_dunning_charge_account('fee'), self.income['fee'])
        partner = self.make_partner('Of the branch')
        invoice = self.make_invoice(partner, 100, company_id=branch.id)
        self.assertEqual(invoice.company_id, branch)
        self.clerk.write({'company_ids': [Command.link(branch.id)]})
        run = self.make_run(
            user=self.clerk.with_context(allowed_company_ids=branch.ids), company_id=branch.id,
            partner_ids=partner.ids)
        run.action_print_and_send()
        run._hand_out_letters()
        run.action_mark_printed()
        charge = run.notice_ids.charge_ids
        move = charge._book().move_id
        self.assertEqual((charge.company_id, move.company_id, move.journal_id), (branch, branch, self.journal))


@tagged('post_install', '-at_install')
class TestFeeTax(BookingCase):
    """Tax that a fee contains, by the taxes of what it duns."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.company.write({'dunning_fee_tax': 'as_items', 'vat': False})
        cls.taxes = {rate: cls.make_tax(rate) for rate in (8.1, 2.6)}

    def invoice_lines(self, *lines):
        """An invoice of (amount, tax or None)."""
        return self.make_invoice(self.partner, invoice_line_ids=[Command.create({
            'name': 'x', 'quantity': 1, 'price_unit': amount, 'tax_ids': [Command.set(tax.ids if tax else [])]})
            for amount, tax in lines])

    def book(self):
        notice = self.dun(partner_ids=self.partner.ids).notice_ids
        notice.charge_ids._book()
        return notice, self.entry(notice.charge_ids)

    def test_contained(self):
        self.invoice_lines((100, self.taxes[8.1]))
        notice, lines = self.book()
        # 10.00 x 8.1 / 108.1 = 0.749
        self.assertEqual(lines, [(self.receivable_code, 10.0), ('8881', -0.75), ('9910', -9.25)])
        tax_line = notice.charge_ids.booked_line_ids.filtered('tax_line_id')
        self.assertEqual((tax_line.tax_line_id, tax_line.tax_base_amount), (self.taxes[8.1], 9.25))
        notice.charge_ids._waive('Kulanz')
        lines = notice.charge_ids.booked_line_ids
        self.assertEqual(len(lines), 6)
        for account in lines.account_id:
            self.assertEqual(sum(lines.filtered(lambda line, a=account: line.account_id == a).mapped('balance')), 0.0)
        self.assertEqual(lines.filtered('tax_line_id').tax_line_id, self.taxes[8.1])

    def test_in_proportion_and_without(self):
        self.invoice_lines((60, self.taxes[8.1]), (30, self.taxes[2.6]), (10, None))
        _notice, lines = self.book()
        self.assertAlmostEqual(sum(balance for _code, balance in lines), 0.0)
        # 64.86, 30.78 and 10 of 105.64: 6.14, 2.91, 0.95; tax 0.46 and 0.07
        self.assertEqual(lines, [
            (self.receivable_code, 10.0), ('8826', -0.07), ('8881', -0.46), ('9910', -5.68), ('9910', -2.84),
            ('9910', -0.95)])

    def test_none(self):
        self.make_invoice(self.partner, 100)
        self.assertEqual(self.book()[1], [(self.receivable_code, 10.0), ('9910', -10.0)])

    def test_only_of_fees_and_where_the_company_wants_it(self):
        self.invoice_lines((100, self.taxes[8.1]))
        self.company.dunning_fee_tax = 'none'
        self.assertEqual(self.book()[1], [(self.receivable_code, 10.0), ('9910', -10.0)])
        self.company.dunning_fee_tax = 'as_items'
        charge = self.env['dunning.charge'].search([], limit=1).with_env(self.env)
        for kind in ('interest', 'lump_sum', 'cost'):
            cost = charge.copy({'kind': kind, 'state': 'claimed', 'move_line_booked_id': False})
            cost._book()
            self.assertEqual(len(cost.booked_line_ids), 2, kind)

    def test_price_that_contains_it(self):
        tax = self.make_tax(7.7, price_include_override='tax_included')
        self.invoice_lines((100, tax))
        self.assertEqual(self.book()[1], [(self.receivable_code, 10.0), ('8877', -0.71), ('9910', -9.29)])

    def test_foreign_currency(self):
        self.make_invoice(self.partner, currency=self.foreign, invoice_line_ids=[Command.create({
            'name': 'x', 'quantity': 1, 'price_unit': 100, 'tax_ids': [Command.set(self.taxes[8.1].ids)]})])
        notice, lines = self.book()
        self.assertEqual(notice.charge_ids.amount, 20.0)
        # 20.00 x 8.1 / 108.1 = 1.50, at half
        self.assertEqual(lines, [(self.receivable_code, 10.0), ('8881', -0.75), ('9910', -9.25)])

    def test_on_the_letter_only_where_it_is_booked_with_it(self):
        for mode, is_shown in (('issue', True), ('payment', False)):
            with self.subTest(mode=mode):
                self.company.dunning_charge_booking = mode
                partner = self.partner = self.make_partner(f'Customer {mode}')
                self.invoice_lines((100, self.taxes[8.1]))
                run = self.make_run(partner_ids=partner.ids)
                run.action_print_and_send()
                text = read_pdf(run.notice_ids._get_document_bytes())
                self.assertEqual('8,1 %' in text.replace('\u00a0', ' ') and '0,75' in text, is_shown, text)

"""Which account a notice asks to be paid to, and which reference goes with it."""

import unittest

from odoo import Command
from odoo.tests import tagged

from ..tools import qr
from .common import OneCustomerCase, read_pdf

FIRST, SECOND = 'CH9300762011623852957', 'CH5604835012345678009'
QR_IBAN = 'CH4431999123000889012'
GERMAN = 'DE89370400440532013000'


class AccountCase(OneCustomerCase):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.company.partner_id.write({
            'street': 'Bundesplatz 3', 'zip': '3011', 'city': 'Bern', 'country_id': cls.env.ref('base.ch').id})
        cls.company.partner_id.bank_ids.active = False
        cls.chf, cls.eur = cls.env.ref('base.CHF'), cls.env.ref('base.EUR')
        (cls.chf | cls.eur).active = True
        cls.first = cls.make_account(FIRST, sequence=1)
        cls.second = cls.make_account(SECOND, sequence=2)

    @classmethod
    def make_account(cls, number, **values):
        return cls.env['res.partner.bank'].create({
            'acc_number': number, 'partner_id': cls.company.partner_id.id, 'allow_out_payment': True, **values})

    def make_invoice_for(self, account, partner=None, **values):
        """Post an invoice that asks for payment to an account."""
        return self.make_invoice(
            partner or self.partner, **{'currency': self.chf, 'partner_bank_id': account.id, **values})

    def propose(self, partner=None):
        return self.make_run(partner_ids=(partner or self.partner).ids).notice_ids

    def issue(self, notices):
        notices.run_id.action_print_and_send()
        self.assertEqual(set(notices.mapped('state')), {'issued'}, notices.mapped('problem'))
        return [read_pdf(notice._get_document_bytes()).replace('\u00a0', ' ') for notice in notices]

    @staticmethod
    def printed(number):
        return qr.format_iban(number).replace('\u00a0', ' ')


@tagged('post_install', '-at_install')
class TestAccountOfInvoices(AccountCase):

    def test_account_that_all_invoices_name(self):
        """A second bank, a factor: what the invoices say is what letter and code say."""
        factor = self.env['res.partner'].create({
            'name': 'Factoring AG', 'street': 'Weg 1', 'zip': '4000', 'city': 'Basel',
            'country_id': self.env.ref('base.ch').id})
        of_factor = self.env['res.partner.bank'].create({
            'acc_number': 'CH5800791123000889012', 'partner_id': factor.id, 'allow_out_payment': True})
        for account, holder in ((self.second, self.company.name), (of_factor, 'Factoring AG')):
            with self.subTest(holder):
                partner = self.make_partner(f'Kunde {holder}', email=False)
                for _count in range(2):
                    invoice = self.make_invoice_for(self.first, partner)
                    # a constraint of core keeps other holders' accounts off drafts
                    invoice.partner_bank_id = account
                notice = self.propose(partner)
                self.assertFalse(notice.hints)
                [text] = self.issue(notice)
                self.assertIn(self.printed(account.sanitized_acc_number), text)
                self.assertNotIn(self.printed(FIRST), text)
                self.assertIn(holder, text)
                self.assertEqual(notice.payment_account_number, account.sanitized_acc_number)

    def test_account_that_does_not_fit(self):
        """One that was closed since, or is kept in another currency, is none that a notice may name."""
        closed, other = self.make_account('CH3908704016075473007'), self.make_account(GERMAN, currency_id=self.eur.id)
        for account in (closed, other):
            self.make_invoice_for(account)
        closed.active = False
        notice = self.propose()
        self.assertFalse(notice.hints)
        [text] = self.issue(notice)
        self.assertIn(self.printed(FIRST), text)

    def test_different_accounts(self):
        """By default one notice, and the draft says so; or a notice for each."""
        for account in (self.second, self.first, self.second):
            self.make_invoice_for(account)
        # what names none goes with the others
        self.make_invoice(self.partner, currency=self.chf, due='2026-10-05').partner_bank_id = False
        self.set_fee(self.procedure.level_ids, 10)
        notice = self.propose()
        self.assertEqual(len(notice), 1)
        self.assertIn(self.printed(SECOND), notice.hints.replace('\u00a0', ' '))
        [text] = self.issue(notice)
        self.assertIn(self.printed(FIRST), text, "the first one of the company's that an invoice names")
        notice.action_cancel()
        self.company.dunning_account_grouping = 'separate'
        notices = self.propose()
        self.assertEqual(sorted(map(len, notices.mapped('line_ids.move_id') and [
            notice.due_line_ids for notice in notices])), [1, 3])
        self.assertEqual(len(notices.filtered('amount_fee')), 1, "one fee for a customer and run")
        self.assertFalse(any(notices.mapped('hints')))
        texts = self.issue(notices)
        for notice, text in zip(notices, texts, strict=True):
            [account] = notice.due_line_ids.move_id.partner_bank_id
            self.assertIn(self.printed(account.sanitized_acc_number), text)

    def test_one_of_two_is_excluded(self):
        """The other one stays, and what comes for the excluded account is left out with it."""
        self.company.dunning_account_grouping = 'separate'
        for grouping in ('customer', 'level'):
            with self.subTest(grouping=grouping):
                self.partner = self.make_partner(f'Kunde {grouping}')
                self.procedure.grouping = grouping
                first, second = self.make_invoice_for(self.first), self.make_invoice_for(self.second)
                run = self.propose().run_id
                by_move = {notice.due_line_ids.move_id: notice for notice in run.notice_ids}
                by_move[first].action_exclude()
                later = self.make_invoice_for(self.first)
                run.action_generate_notices()
                drafts = run.notice_ids.filtered(lambda notice: notice.state == 'draft')
                self.assertEqual(drafts.due_line_ids.move_id, second)
                excluded = run.exception_ids.filtered(lambda exception: exception.reason == 'excluded')
                self.assertEqual(excluded.move_id, later)

    def test_account_changed_on_the_invoice(self):
        invoice = self.make_invoice_for(self.first)
        self.partner.email = False
        notice = self.propose()
        self.issue(notice)
        invoice.partner_bank_id = self.second
        content, words = notice.run_id._hand_out_letters()
        self.assertIn(self.printed(SECOND), read_pdf(content).replace('\u00a0', ' '))
        self.assertIn(SECOND, ' '.join(words))


@tagged('post_install', '-at_install')
class TestAccountAndReference(AccountCase):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if 'l10n_ch_qr_iban' not in cls.env['res.partner.bank']._fields:
            raise unittest.SkipTest("Switzerland's accounting (l10n_ch) is not installed")

    def assertFits(self, notice):
        """Account and reference are of one kind, on the letter and in the records."""
        [text] = self.issue(notice)
        is_qr = qr.is_qr_iban(notice.payment_account_number)
        self.assertEqual(qr.is_qr_reference(notice.payment_reference), is_qr)
        self.assertIn(self.printed(notice.payment_account_number), text)
        self.assertIn(notice.payment_reference, text.replace(' ', ''))
        return text

    def test_references_that_only_look_like_one(self):
        """They begin as creditor references do, and are none: they go where the payer's words go."""
        for number, reference in enumerate(('RF_4711', 'RF4711#1', 'RF2026(1)', 'RF18')):
            with self.subTest(reference):
                partner = self.make_partner(f'Kunde {number}', email=False)
                self.make_invoice_for(self.first, partner, payment_reference=reference)
                notice = self.propose(partner)
                self.assertFalse(notice.hints)
                [text] = self.issue(notice)
                self.assertIn('Zahlteil', text)
                self.assertIn(reference, text)

    def test_no_slip_no_qr_iban(self):
        """A normal IBAN with a QR-IBAN beside it: whoever gets no slip is told the normal one and what it takes."""
        self.first.l10n_ch_qr_iban = QR_IBAN
        abroad = self.make_partner('Ausland GmbH', country_id=self.env.ref('base.de').id, email=False)
        incomplete = self.make_partner('Ohne Ort', city=False, email=False)
        home = self.make_partner('Kunde AG', email=False)
        reference = qr.make_qr_reference('123')
        for partner in (abroad, incomplete, home):
            self.make_invoice_for(self.first, partner, payment_reference=reference)
        for partner in (abroad, incomplete):
            with self.subTest(partner.name):
                notice = self.propose(partner)
                text = self.assertFits(notice)
                self.assertEqual(notice.payment_account_number, FIRST)
                self.assertTrue(qr.is_creditor_reference(notice.payment_reference))
                self.assertNotIn('Zahlteil', text)
        notice = self.propose(home)
        self.assertIn('Zahlteil', self.assertFits(notice))
        self.assertEqual((notice.payment_account_number, notice.payment_reference), (QR_IBAN, reference))
        self.company.dunning_payment_part = False
        notice.action_cancel()
        notice = self.propose(home)
        self.assertFits(notice)
        self.assertEqual(notice.payment_account_number, FIRST)

    def test_euros_from_abroad(self):
        """The same account in euros: an EPC code of the normal IBAN, where the bank is named."""
        self.first.l10n_ch_qr_iban = QR_IBAN
        partner = self.make_partner('Ausland GmbH', country_id=self.env.ref('base.de').id, email=False)
        for _count in range(2):
            self.make_invoice_for(self.first, partner, currency=self.eur)
        notice = self.propose(partner)
        has_epc = 'sct_qr' in dict(self.env['res.partner.bank'].get_available_qr_methods_in_sequence())
        part = notice._get_payment_part()
        self.assertEqual((part['method'], part['number']), (False, FIRST))
        self.first.bank_id = self.env['res.bank'].create({'name': 'Bank', 'bic': 'KBAGCH22XXX'})
        self.assertFits(notice)
        if has_epc:
            self.assertEqual(notice.payment_part, 'epc')
            self.assertIn(FIRST, notice._get_payment_part()['lines'])

    def test_nothing_but_a_qr_iban(self):
        """It can only be paid from at home: the draft says so where the customer is abroad."""
        account = self.make_account(QR_IBAN)
        partner = self.make_partner('Ausland GmbH', country_id=self.env.ref('base.de').id, email=False)
        self.make_invoice_for(account, partner)
        notice = self.propose(partner)
        self.assertIn(self.printed(QR_IBAN), notice.hints.replace('\u00a0', ' '))
        self.assertFits(notice)

    def test_reference_that_an_iban_does_not_take(self):
        """One of the invoice that is longer than a transfer's text, or holds what banks refuse, is not asked for."""
        for reference in ('X' * 141, 'Rechnung 😀'):
            partner = self.make_partner(f'Kunde {len(reference)}', email=False)
            self.make_invoice_for(self.first, partner, payment_reference=reference)
            notice = self.propose(partner)
            self.assertFits(notice)
            self.assertTrue(qr.is_creditor_reference(notice.payment_reference))

    def test_qr_iban_changed(self):
        self.first.l10n_ch_qr_iban = QR_IBAN
        self.make_invoice_for(self.first)
        self.partner.email = False
        notice = self.propose()
        self.issue(notice)
        self.assertEqual(notice._recheck()[notice.id].code, 'same')
        self.first.l10n_ch_qr_iban = 'CH2130808001234567827'
        self.assertEqual(notice._recheck()[notice.id].code, 'changed')


@tagged('post_install', '-at_install')
class TestDirectDebit(OneCustomerCase):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        journal = cls.env['account.journal'].search(
            [('type', '=', 'bank'), ('company_id', '=', cls.company.id)], limit=1)
        manual = cls.env['account.payment.method'].search(
            [('code', '=', 'manual'), ('payment_type', '=', 'inbound')], limit=1)
        cls.debit, cls.transfer = cls.env['account.payment.method.line'].create([
            {'name': name, 'payment_method_id': manual.id, 'journal_id': journal.id}
            for name in ('Lastschrift', 'Überweisung')])
        cls.company.dunning_debit_method_ids = [Command.set(cls.debit.ids)]

    def reasons(self, run):
        return {exception.document: exception.reason for exception in run.exception_ids}

    def test_not_dunned(self):
        debited, other, replaced = self.make_invoice(self.partner), self.make_invoice(self.partner), None
        debited.preferred_payment_method_line_id = self.debit
        customer = self.make_partner('Mandat AG')
        customer.property_inbound_payment_method_line_id = self.debit
        by_customer, replaced = self.make_invoice(customer), self.make_invoice(customer)
        replaced.preferred_payment_method_line_id = self.transfer
        earlier = self.make_partner('Seither AG')
        before = self.make_invoice(earlier)
        earlier.property_inbound_payment_method_line_id = self.debit
        run = self.make_run(lang='en_US')
        self.assertEqual(set(run.notice_ids.line_ids.move_id), {other, replaced})
        self.assertEqual(self.reasons(run), {
            debited.name: 'direct_debit', by_customer.name: 'direct_debit', before.name: 'direct_debit'})
        self.assertIn('Lastschrift', run.exception_ids[0].description)
        # what is not listed is dunned
        self.company.dunning_debit_method_ids = [Command.clear()]
        run.action_generate_notices()
        self.assertFalse(run.exception_ids)

    def test_other_companies_mandates(self):
        """What a customer agreed on with another company says nothing here."""
        other = self.env['res.company'].create({'name': 'Andere'})
        self.env['account.chart.template'].try_loading('generic_coa', company=other, install_demo=False)
        line = self.env['account.payment.method.line'].search(
            [('company_id', '=', other.id), ('payment_type', '=', 'inbound')], limit=1)
        self.partner.with_company(other).property_inbound_payment_method_line_id = line
        self.company.dunning_debit_method_ids = [Command.link(line.id)]
        self.make_invoice(self.partner)
        self.assertEqual(len(self.make_run().notice_ids), 1)

    def test_branches(self):
        """What the head company lists holds in its branches; what a branch lists holds for its invoices."""
        branch = self.env['res.company'].create({
            'name': 'Filiale', 'parent_id': self.company.id, 'dunning_procedure_id': self.procedure.id})
        (self.env.user | self.clerk).company_ids |= branch
        invoice = self.make_invoice(self.partner)
        self.env.flush_all()
        self.env.cr.execute('UPDATE account_move SET company_id = %s WHERE id = %s', [branch.id, invoice.id])
        self.env.cr.execute('UPDATE account_move_line SET company_id = %s WHERE move_id = %s', [branch.id, invoice.id])
        self.env.invalidate_all()
        invoice.preferred_payment_method_line_id = self.debit
        proposal = self.env['dunning.proposal']
        for listing, running in ((self.company, branch), (branch, self.company), (branch, branch)):
            with self.subTest(listing=listing.name, running=running.name):
                (self.company | branch).dunning_debit_method_ids = [Command.clear()]
                listing.dunning_debit_method_ids = [Command.set(self.debit.ids)]
                debts = proposal._load_debts(running, self.days(0), self.days(0), self.partner)
                [item] = [item for debt in debts.values() for item in debt.items]
                self.assertEqual(item.blocked_by and item.blocked_by.code, 'direct_debit')

    def test_agreed_meanwhile(self):
        self.partner.email = False
        invoice, run = self.make_letter()
        invoice.preferred_payment_method_line_id = self.debit
        content, _words = run._hand_out_letters()
        self.assertFalse(content)
        self.assertEqual(run.notice_ids.state, 'cancelled')
        self.assertIn('Lastschrift', run.notice_ids.delivery_log_ids.sorted('id')[-1].text)

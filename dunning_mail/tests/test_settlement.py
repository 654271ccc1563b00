from unittest.mock import patch

from odoo import Command
from odoo.exceptions import AccessError, UserError
from odoo.tests import Form, new_test_user, tagged
from odoo.tools import mute_logger

from ..models import res_company_charge
from ..tools import qr
from .common import TODAY, DunningCommon

IBAN = 'CH5604835012345678009'


class SettlementCase(DunningCommon):
    """Notices with references of their own, and money that bears them."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.env['res.partner.bank'].create({'acc_number': IBAN, 'partner_id': cls.company.partner_id.id})
        cls.set_fee(cls.level_1, 10)
        cls.partner = cls.make_partner('Acme')
        cls.journal = cls.env['account.journal'].search(
            [('type', '=', 'bank'), ('company_id', '=', cls.company.id)], limit=1)
        cls.clerk.lang = 'en_US'
        cls.income = {kind: cls.env['account.account'].create({
            'code': f'99{number}', 'name': kind, 'account_type': 'income_other', 'company_ids': cls.company.ids})
            for number, kind in enumerate(('fee', 'interest', 'lump_sum', 'cost'), 10)}
        cls.company.write({
            'dunning_charge_booking': 'print', 'dunning_fee_tax': 'none',
            **{f'dunning_{kind}_account_id': account.id for kind, account in cls.income.items()}})

    def make_notice(self, *amounts, partner=None, day=TODAY, **values):
        """Invoices, and the notice of them that counts."""
        partner = partner or self.partner
        invoices = self.env['account.move'].union(*(
            self.make_invoice(partner, amount, **values) for amount in amounts or (100,)))
        notice = self.dun(day, partner_ids=partner.ids).notice_ids.with_env(self.env)
        self.assertIn(notice.payment_reference, (notice._get_own_reference(True), notice._get_own_reference(False)))
        return invoices, notice

    def make_line(self, amount, words, partner=None, day='2026-11-24', **values):
        """A transaction of the bank, as it is imported."""
        return self.env['account.bank.statement.line'].create({
            'journal_id': self.journal.id, 'date': day, 'amount': amount, 'payment_ref': words,
            'partner_id': partner.id if partner else False, **values})

    def make_posted(self, amount, words, partner=None, **values):
        """A payment with an entry, as a clerk registers it without choosing an invoice."""
        payment = self.env['account.payment'].create({
            'payment_type': 'inbound', 'partner_type': 'customer', 'partner_id': (partner or self.partner).id,
            'amount': amount, 'date': '2026-11-24', 'journal_id': self.journal.id, 'memo': words, **values})
        payment.action_post()
        self.assertTrue(payment.move_id)
        return payment

    def register(self, invoices, amount, words, **values):
        """Pay invoices in core's wizard."""
        wizard = self.env['account.payment.register'].with_user(self.clerk).with_context(
            active_model='account.move', active_ids=invoices.ids).create({
                'payment_date': '2026-11-24', 'journal_id': self.journal.id, **values})
        wizard.write({'amount': amount, 'communication': words})
        return wizard._create_payments().with_env(self.env)

    def settle(self):
        """Let the scheduled action come by."""
        with self.enter_registry_test_mode():
            self.env.flush_all()
            self.env.ref('dunning_mail.ir_cron_settle').method_direct_trigger()
        self.env.invalidate_all()

    def left(self, *moves):
        """What is open of invoices, or left of payments."""
        return [self.receivable(move).amount_residual_currency for move in moves]

    def asked(self, record, kind):
        return record.activity_ids.filtered(
            lambda activity: activity.activity_type_id == self.env.ref(f'dunning_mail.mail_activity_{kind}'))

    def said(self, record):
        return ' '.join(record.message_ids.mapped(lambda message: str(message.body)))


@tagged('post_install', '-at_install')
class TestSettlement(SettlementCase):
    """A payment that bears a notice's own reference settles that notice."""

    def test_bank_transaction(self):
        (one, two), notice = self.make_notice(100, 50)
        line = self.make_line(120, f'Zahlung {qr.format_reference(notice.payment_reference)}')
        self.assertTrue(line.move_id.dunning_to_settle)
        self.assertEqual(self.left(one, two), [100, 50], "not while it is posted")
        self.settle()
        self.assertEqual(self.left(one, two), [0, 30], "the oldest first, in part")
        self.assertEqual((line.partner_id, line.is_reconciled), (self.partner, True))
        self.assertEqual(one.payment_state, 'paid')
        self.assertFalse(line.move_id.dunning_to_settle)
        self.assertEqual(notice.settling_count, 1)
        lines = self.env['account.move.line'].search(notice.action_open_settling_payments()['domain'])
        self.assertEqual(lines.move_id, line.move_id)
        self.assertIn(one.name, self.said(notice))
        self.assertIn(notice.name, self.said(line.move_id))

    def test_payment_and_entry_by_hand(self):
        (one, two), notice = self.make_notice(100, 50)
        payment = self.make_posted(100, notice.payment_reference)
        entry = self.make_unallocated(self.partner, 30)
        self.settle()
        self.assertEqual(self.left(one, two, payment.move_id, entry), [0, 50, 0, -30], "which names nothing")
        entry.button_draft()
        entry.line_ids.filtered('credit').name = f'{notice.payment_reference} Acme'
        entry.action_post()
        self.settle()
        self.assertEqual(self.left(two, entry), [20, 0], "a line's own words name it")

    def test_entry_of_several_customers(self):
        """What is said of the entry is about the customer's own line."""
        invoice, notice = self.make_notice()
        coop = self.make_partner('Coop')
        self.make_invoice(coop, 60)
        entry = self.make_unallocated(self.partner, 40)
        entry.button_draft()
        receivable = self.receivable(entry)
        entry.write({'ref': notice.payment_reference, 'line_ids': [
            Command.create({'account_id': receivable.account_id.id, 'partner_id': coop.id, 'credit': 60}),
            Command.create({'account_id': self.journal.default_account_id.id, 'debit': 60})]})
        entry.action_post()
        self.settle()
        self.assertEqual(self.left(invoice), [60])
        self.assertEqual(
            {line.partner_id: line.amount_residual for line in self.receivable(entry)}, {self.partner: 0, coop: -60})

    def test_choice_made_in_the_wizard_stays(self):
        (one, two), notice = self.make_notice(100, 50)
        other = self.make_invoice(self.partner, 70, due='2026-12-24')
        payment = self.register(other, 100, notice.payment_reference)
        self.assertEqual(self.left(other, one, two, payment.move_id), [0, 70, 50, 0], "and what is left, at once")
        self.assertFalse(payment.move_id.dunning_to_settle)
        self.settle()
        self.assertEqual(self.left(one, two), [70, 50])

    def test_choice_of_an_online_payment_stays(self):
        """Core posts it first and reconciles the invoices that it paid afterwards."""
        (one, two), notice = self.make_notice(100, 50)
        payment = self.make_posted(80, notice.payment_reference)
        self.assertEqual(self.left(payment.move_id), [-80])
        (payment.move_id.line_ids | two.line_ids).filtered(
            lambda line: line.account_id == payment.destination_account_id).reconcile()
        self.settle()
        self.assertEqual(self.left(one, two, payment.move_id), [70, 0, 0])

    def test_invoice_alone_is_not_a_notices_matter(self):
        self.set_fee(self.level_1, 0)
        invoice = self.make_invoice(self.partner, payment_reference='RE 2026-77')
        later = self.make_invoice(self.partner, 50, due='2026-12-24')
        notice = self.dun(partner_ids=self.partner.ids).notice_ids
        self.assertEqual(notice.payment_reference, invoice.payment_reference)
        line = self.make_line(100, invoice.payment_reference)
        self.settle()
        self.assertEqual((self.left(invoice, later), line.is_reconciled), ([100, 50], False))

    def test_overpaid_and_paid_twice(self):
        invoice, notice = self.make_notice()
        first, second = self.make_line(110, notice.payment_reference), self.make_line(110, notice.payment_reference)
        self.settle()
        self.assertEqual(self.left(invoice), [0])
        self.assertEqual(sorted(self.left(first.move_id, second.move_id)), [-110, -10], "a credit that is seen")
        self.assertEqual(second.partner_id, self.partner)
        self.assertIn('nothing is left to settle', self.said(second.move_id))
        self.settle()
        self.assertEqual(sorted(self.left(first.move_id, second.move_id)), [-110, -10])

    def test_two_notices_in_one_line(self):
        invoice, notice = self.make_notice()
        other, later = self.make_notice(60, day=self.days(1), due='2026-11-10')
        self.make_line(130, f'{later.payment_reference} {notice.payment_reference}', day='2026-11-26')
        self.settle()
        self.assertEqual(self.left(invoice, other), [0, 30], "the older one first")

    def test_two_customers_in_one_line(self):
        invoice, notice = self.make_notice()
        coop = self.make_partner('Coop')
        other, later = self.make_notice(60, partner=coop)
        line = self.make_line(180, f'{later.payment_reference} / {notice.payment_reference}')
        self.settle()
        self.assertEqual(self.left(invoice, other), [0, 0])
        credits = line.move_id.line_ids.filtered(lambda credit: credit.account_type == 'asset_receivable')
        self.assertEqual(
            sorted((credit.partner_id.name, credit.balance, credit.amount_residual) for credit in credits),
            [('Acme', -120, -20), ('Coop', -60, 0)])

    def test_reference_of_a_replaced_notice(self):
        invoice, first = self.make_notice()
        second = self.dun(self.days(15), partner_ids=self.partner.ids).notice_ids
        self.assertEqual(second.level_id, self.level_2)
        newer = self.make_invoice(self.partner, 40, due='2026-11-10')
        self.make_line(110, first.payment_reference, day='2026-12-10')
        self.settle()
        self.assertEqual(self.left(invoice, newer), [0, 40])

    def test_cancelled_notice_settles_its_items(self):
        invoice, notice = self.make_notice()
        notice.action_cancel()
        line = self.make_line(110, notice.payment_reference)
        self.settle()
        self.assertEqual(self.left(invoice, line.move_id), [0, -10])

    def test_set_off_credit_takes_part(self):
        invoice = self.make_invoice(self.partner, 100)
        refund = self.make_invoice(self.partner, 20, move_type='out_refund')
        notice = self.dun(partner_ids=self.partner.ids).notice_ids.with_env(self.env)
        self.assertEqual(notice.amount_total, 90)
        line = self.make_line(90, notice.payment_reference)
        self.settle()
        self.assertEqual(self.left(invoice, refund, line.move_id), [0, 0, -10], "10 are there for the fee")

    def test_what_a_person_reconciled_stays(self):
        invoice, notice = self.make_notice()
        payment = self.pay(invoice, 30)
        self.make_line(40, notice.payment_reference)
        self.settle()
        self.assertEqual(self.left(invoice), [30])
        self.assertEqual(sorted(self.receivable(invoice).matched_credit_ids.mapped('amount')), [30, 40])
        self.assertEqual(self.left(payment), [0])

    def test_in_process(self):
        """Money on its way settles nothing; the bank's transaction does."""
        invoice, notice = self.make_notice()
        payment = self.make_payment(self.partner, 110, invoice, memo=notice.payment_reference)
        self.settle()
        self.assertEqual((self.left(invoice), payment.move_id), ([100], self.env['account.move']))
        self.make_line(110, notice.payment_reference)
        self.settle()
        self.assertEqual(self.left(invoice), [0])

    def test_registered_payment_waits_for_its_transaction(self):
        """What the bank says of a payment that is in the books is not new money."""
        invoice, notice = self.make_notice()
        payment = self.make_posted(110, notice.payment_reference)
        self.settle()
        self.assertFalse(payment.is_matched)
        coop = self.make_partner('Coop')
        other, later = self.make_notice(60, partner=coop)
        registered = self.register(other, 60, other.name)
        for named, waiting in ((notice, payment), (later, registered)):
            line = self.make_line(waiting.amount, named.payment_reference)
            self.settle()
            self.assertFalse(line.is_reconciled)
            self.assertIn(waiting.name, self.asked(line.move_id, 'assign').note)
        self.assertEqual((self.left(invoice), other.payment_state), ([0], 'paid'))

    def test_registered_payments_wait_whatever_the_amount(self):
        """(registered: amount, on which invoice; the transaction, whether a person is asked)"""
        for number, (registered, amount, is_asked) in enumerate((
                (((600, 0), (400, 1)), 1000, True), (((1000, None),), 1010, True), (((600, 0),), 410, True),
                (((600, 'else'), (400, 'else')), 1000, True), (((50, 'else'),), 1000, False))):
            with self.subTest(registered=registered, amount=amount):
                partner = self.make_partner(f'Kunde {number}')
                invoices, notice = self.make_notice(600, 400, partner=partner)
                other = self.make_invoice(partner, 2000, due='2026-12-24')
                payments = self.env['account.payment'].union(*(
                    self.register(other if choice == 'else' else invoices if choice is None else invoices[choice],
                                  part, other.name, **({'group_payment': True} if choice is None else {}))
                    for part, choice in registered))
                self.assertEqual(set(payments.mapped('is_matched')), {False})
                line = self.make_line(amount, notice.payment_reference)
                self.settle()
                self.assertEqual(line.is_reconciled, not is_asked)
                self.assertEqual(bool(self.asked(line.move_id, 'assign')), is_asked)
                if is_asked:
                    for payment in payments:
                        self.assertIn(payment.name, self.asked(line.move_id, 'assign').note)

    def test_registered_in_another_journal(self):
        """Where nothing is left to settle, what another bank is to report counts too."""
        invoice, notice = self.make_notice()
        other = self.journal.copy({'code': 'BNK9', 'name': 'Other bank'})
        other.inbound_payment_method_line_ids.payment_account_id = (
            self.journal.inbound_payment_method_line_ids.payment_account_id[:1])
        payment = self.register(invoice, 100, invoice.name, journal_id=other.id)
        self.assertEqual((payment.is_matched, self.left(invoice)), (False, [0]))
        line = self.make_line(110, notice.payment_reference)
        self.settle()
        self.assertFalse(line.is_reconciled)
        self.assertIn(payment.name, self.asked(line.move_id, 'assign').note)

    def test_vendor_money_out_and_reversal(self):
        invoice, notice = self.make_notice()
        out = self.make_line(-110, notice.payment_reference)
        payment = self.make_posted(110, notice.payment_reference)
        self.settle()
        self.assertFalse(out.is_reconciled or out.move_id.dunning_to_settle)
        reverse = payment.move_id._reverse_moves(cancel=True)
        self.settle()
        self.assertEqual(self.left(invoice), [100])
        self.assertFalse(reverse.dunning_to_settle)


@tagged('post_install', '-at_install')
class TestSettlementLimits(SettlementCase):
    """What core would not reconcile properly is left to a person; one payment never stops the others."""

    def test_another_customers_money(self):
        """Somebody may pay for another; what is left over is his whose account it is on."""
        invoice, notice = self.make_notice()
        mother = self.make_partner('Mutter AG')
        payment = self.make_posted(120, notice.payment_reference, mother)
        line = self.make_line(50, 'Miete', mother)
        self.settle()
        self.assertEqual(self.left(invoice, payment.move_id), [0, -20])
        self.assertEqual(self.receivable(payment.move_id).partner_id, mother)
        self.assertFalse(line.is_reconciled)

    def test_another_company(self):
        _invoice, notice = self.make_notice()
        other = self.env['res.company'].create({'name': 'Andere GmbH', 'country_id': self.env.ref('base.ch').id})
        self.env['account.chart.template'].try_loading('generic_coa', company=other, install_demo=False)
        journal = self.env['account.journal'].search([('type', '=', 'bank'), ('company_id', '=', other.id)], limit=1)
        line = self.env['account.bank.statement.line'].with_company(other).create({
            'journal_id': journal.id, 'date': '2026-11-24', 'amount': 110, 'payment_ref': notice.payment_reference})
        self.settle()
        self.assertFalse(line.is_reconciled or line.move_id.dunning_to_settle)

    def test_another_currency(self):
        invoice, notice = self.make_notice()
        payment = self.make_posted(110, notice.payment_reference, currency_id=self.foreign.id)
        self.settle()
        self.assertEqual(self.left(invoice, payment.move_id), [100, -110])
        [activity] = self.asked(payment, 'assign')
        self.assertIn(self.foreign.name, activity.note)
        self.assertEqual(activity.user_id, self.clerk)

    def test_notice_in_foreign_currency(self):
        """Core writes the difference of the rates."""
        self.set_fee(self.level_1, 10, currency_id=self.foreign.id)
        self.env['res.currency.rate'].create({
            'currency_id': self.foreign.id, 'name': '2026-11-01', 'rate': 1.6, 'company_id': self.company.root_id.id})
        (one, two), notice = self.make_notice(100, 20, currency=self.foreign)
        self.make_line(
            77, notice.payment_reference, foreign_currency_id=self.foreign.id, amount_currency=110)
        self.settle()
        self.assertEqual(self.left(one, two), [0, 10])
        self.assertTrue(self.receivable(one).reconciled and self.receivable(one).amount_residual == 0)
        line = self.make_line(
            7, notice.payment_reference, foreign_currency_id=self.foreign.id, amount_currency=10)
        self.settle()
        self.assertEqual((self.left(two), line.is_reconciled), ([0], True))

    def test_another_account(self):
        invoice, notice = self.make_notice()
        account = self.env['account.account'].create({
            'name': 'Other debtors', 'code': '102999', 'account_type': 'asset_receivable', 'reconcile': True})
        self.partner.with_company(self.company).property_account_receivable_id = account
        payment = self.make_posted(110, notice.payment_reference)
        self.settle()
        self.assertEqual(self.left(invoice, payment.move_id), [100, -110])
        self.assertIn(account.display_name, self.asked(payment, 'assign').note)
        self.make_line(110, notice.payment_reference, day='2026-11-23')
        self.env.flush_all()

    def test_one_bad_payment_does_not_stop_others(self):
        invoice, notice = self.make_notice()
        other, later = self.make_notice(60, day=self.days(1), due='2026-11-10', partner=self.make_partner('Coop'))
        bad = self.make_line(110, notice.payment_reference)
        good = self.make_line(70, later.payment_reference)
        original = type(self.env['account.move.line']).reconcile

        def reconcile(lines):
            if lines & self.receivable(invoice):
                raise UserError(notice.name)
            return original(lines)
        self.patch(type(self.env['account.move.line']), 'reconcile', reconcile)
        self.settle()
        self.assertEqual((self.left(invoice, other), bad.is_reconciled), ([100, 0], False))
        self.assertTrue(good.is_reconciled)
        self.assertIn(notice.name, self.asked(bad.move_id, 'assign').note)
        self.assertFalse(bad.move_id.dunning_to_settle, "a person has been asked")

    def test_fault_in_the_wizard_is_no_fault_of_the_wizard(self):
        _invoices, notice = self.make_notice(100, 50)
        other = self.make_invoice(self.partner, 70, due='2026-12-24')

        def fail(*_args):
            raise ZeroDivisionError
        with patch.object(self.env.registry['dunning.settlement'], '_settle', fail), mute_logger(
                'odoo.addons.dunning_mail.models.account_move_settle'):
            payment = self.register(other, 100, notice.payment_reference)
        self.assertEqual(self.left(other, payment.move_id), [0, -30])
        self.assertTrue(self.asked(payment, 'assign'))


@tagged('post_install', '-at_install')
class TestSettlementOfCharges(SettlementCase):
    """Charges are booked and settled as the company books them, in its order."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.company.dunning_charge_booking = 'payment'

    def add(self, notice, kind, amount):
        """A further charge of a notice that counts."""
        charge = self.env['dunning.charge'].create({
            'notice_id': notice.id, 'partner_id': notice.partner_id.id, 'company_id': notice.company_id.id,
            'currency_id': notice.currency_id.id, 'kind': kind, 'date': notice.date, 'amount': amount,
            'amount_calculated': amount})
        return charge._set_claimed()

    def charges(self, *notices):
        """What has become of charges: (kind, amount, state)."""
        return sorted((charge.kind, charge.amount, charge.state) for notice in notices for charge in notice.charge_ids)

    def test_when_money_is_there(self):
        """(paid, open of the invoice, charges, left of the payment)"""
        for paid, left, charges, surplus in (
                (110, 0, [('fee', 10, 'paid')], 0), (60, 40, [('fee', 10, 'claimed')], 0),
                (104, 0, [('fee', 4, 'paid'), ('fee', 6, 'claimed')], 0), (130, 0, [('fee', 10, 'paid')], -20)):
            with self.subTest(paid=paid):
                partner = self.make_partner(f'Kunde {paid}')
                invoice, notice = self.make_notice(partner=partner)
                line = self.make_line(paid, notice.payment_reference)
                self.settle()
                self.assertEqual((self.left(invoice), self.charges(notice)), ([left], charges))
                self.assertEqual(self.left(line.move_id), [surplus])
                if entry := notice.charge_ids.move_booked_id:
                    self.assertEqual(entry.date, line.date)
                    self.assertIn(entry.line_ids.account_id & self.income['fee'], self.income['fee'])

    def test_two_customers_in_one_line(self):
        """Each one's money is its own."""
        _invoice, notice = self.make_notice()
        coop = self.make_partner('Coop')
        _other, later = self.make_notice(60, partner=coop)
        line = self.make_line(185, f'{later.payment_reference} / {notice.payment_reference}')
        self.settle()
        self.assertEqual(self.charges(notice, later), [('fee', 10, 'paid')] * 2)
        self.assertEqual({credit.partner_id: (credit.balance, credit.amount_residual) for credit in (
            self.receivable(line.move_id))}, {self.partner: (-115, -5), coop: (-70, 0)})

    def test_order_of_the_law(self):
        self.company.dunning_settle_order = 'charges_first'
        for paid, left, open_charges in (
                (17, 100, [('interest', 5)]), (20, 100, [('interest', 2)]), (52, 70, []), (150, 0, [])):
            with self.subTest(paid=paid):
                invoice, notice = self.make_notice(partner=self.make_partner(f'Kunde {paid}'))
                self.add(notice, 'interest', 5)
                self.add(notice, 'cost', 7)
                self.make_line(paid, notice.payment_reference)
                self.settle()
                self.assertEqual(self.left(invoice), [left])
                self.assertEqual(
                    [(charge.kind, charge.amount) for charge in notice.charge_ids if charge.state == 'claimed'],
                    open_charges)

    def test_booked_with_the_notice(self):
        self.company.dunning_charge_booking = 'issue'
        invoice, notice = self.make_notice()
        notice.charge_ids._book()
        line = self.make_line(104, notice.payment_reference)
        self.settle()
        self.assertEqual((self.left(invoice, line.move_id), self.charges(notice)), ([0, 0], [('fee', 10, 'booked')]))
        self.assertEqual(notice.charge_ids.amount_left, 6)
        second = self.make_line(6, notice.payment_reference)
        self.settle()
        self.assertEqual((self.left(second.move_id), self.charges(notice)), ([0], [('fee', 10, 'paid')]))
        self.assertEqual(notice.settling_count, 2)

    def test_paid_later_by_the_same_slip(self):
        """Who paid the invoice alone still owes the fee, and can pay it."""
        invoice, notice = self.make_notice()
        self.register(invoice, 100, 'x')
        self.assertEqual(self.charges(notice), [('fee', 10, 'claimed')])
        payment = self.make_posted(10, notice.payment_reference)
        self.settle()
        self.assertEqual((self.left(payment.move_id), self.charges(notice)), ([0], [('fee', 10, 'paid')]))

    def test_only_printed(self):
        """Nothing is booked by itself: what is there is said, and a person books it."""
        self.company.dunning_charge_booking = 'print'
        invoice, notice = self.make_notice()
        line = self.make_line(104, notice.payment_reference)
        self.settle()
        self.assertEqual((self.left(invoice, line.move_id), self.charges(notice)), ([0, -4], [('fee', 10, 'claimed')]))
        exception = self.make_run(self.days(1), partner_ids=self.partner.ids).exception_ids
        self.assertTrue(exception.can_book)
        self.assertRegex(exception.description, r"10\.00.*4\.00")
        with self.assertRaisesRegex(AccessError, 'accountant'):
            exception.action_book_charges()
        exception = exception.with_user(self.manager)
        exception.action_book_charges()
        self.assertEqual(
            (self.left(line.move_id), self.charges(notice)), ([0], [('fee', 4, 'paid'), ('fee', 6, 'claimed')]))
        exception.invalidate_recordset()
        self.assertFalse(exception.can_book)
        self.assertIn(self.manager.partner_id, notice.message_ids.author_id)
        with self.assertRaisesRegex(UserError, 'No payment has left'):
            exception.action_book_charges()

    def test_what_can_be_booked_is_asked_once(self):
        self.company.dunning_charge_booking = 'print'
        partners = [self.make_partner(name) for name in ('One', 'Two', 'Three')]
        for partner, amount in zip(partners, (104, 100, 110), strict=True):
            _invoice, notice = self.make_notice(partner=partner)
            self.make_line(amount, notice.payment_reference)
        self.settle()
        exceptions = self.make_run(self.days(1), partner_ids=[partner.id for partner in partners]).exception_ids
        Exceptions = self.env.registry['dunning.run.exception']
        with patch.object(Exceptions, '_find_charges', autospec=True, side_effect=Exceptions._find_charges) as found:
            self.assertEqual(
                {exception.partner_id.name: exception.can_book for exception in exceptions},
                {'One': True, 'Two': False, 'Three': True})
        self.assertEqual(found.call_count, 1)

    def test_only_printed_and_paid_alone(self):
        """A payment that names the notice is there for its fee, though no item of it was left to settle."""
        self.company.dunning_charge_booking = 'print'
        invoice, notice = self.make_notice()
        self.register(invoice, 100, 'x')
        payment = self.make_posted(10, notice.payment_reference)
        self.settle()
        self.assertEqual(self.left(payment.move_id), [-10])
        other = self.make_invoice(self.partner, 50, due='2026-11-10')
        draft = self.make_run(self.days(1), partner_ids=self.partner.ids).notice_ids
        self.assertEqual((draft.line_ids.move_id, draft.amount_earlier, draft.amount_credit), (other, 0, 0))
        draft.action_exclude()
        self.pay(other)
        exception = self.make_run(self.days(2), partner_ids=self.partner.ids).exception_ids
        exception.with_user(self.manager).filtered('can_book').action_book_charges()
        self.assertEqual((self.left(payment.move_id), self.charges(notice)), ([0], [('fee', 10, 'paid')]))

    def test_covered_in_the_draft_though_booked(self):
        self.company.dunning_charge_booking = 'print'
        _invoice, notice = self.make_notice()
        notice.charge_ids._book()
        self.assertEqual(self.company.dunning_charge_booking, 'print')
        self.pay(self.receivable(notice.line_ids.move_id).move_id, 100)
        payment = self.make_unallocated(self.partner, 4)
        payment.dunning_settled_ids = notice
        self.make_invoice(self.partner, 50, due='2026-11-10')
        draft = self.make_run(self.days(1), partner_ids=self.partner.ids).notice_ids
        self.assertEqual((draft.amount_earlier, draft.amount_credit), (6, 0))

    def test_slip_of_a_replaced_notice(self):
        """Money for a fee that was replaced goes to the one in its place."""
        self.set_fee(self.level_2, 20)
        invoice, first = self.make_notice()
        second = self.dun(self.days(15), partner_ids=self.partner.ids).notice_ids.with_env(self.env)
        self.assertEqual(self.charges(first, second), [('fee', 10, 'replaced'), ('fee', 20, 'claimed')])
        self.make_line(110, first.payment_reference, day='2026-12-10')
        self.settle()
        self.assertEqual(self.left(invoice), [0])
        self.assertEqual(
            self.charges(first, second), [('fee', 10, 'claimed'), ('fee', 10, 'paid'), ('fee', 10, 'replaced')])

    def test_taken_back(self):
        invoices, notice = self.make_notice(100, 50)
        waived = self.add(notice, 'cost', 7)
        waived._set_waived('Kulanz')
        payment = self.make_posted(160, notice.payment_reference)
        self.settle()
        self.assertEqual(self.charges(notice), [('cost', 7, 'waived'), ('fee', 10, 'paid')])
        self.receivable(payment.move_id).remove_move_reconcile()
        self.assertEqual((self.left(*invoices), self.charges(notice)), (
            [100, 50], [('cost', 7, 'waived'), ('fee', 10, 'booked')]))
        self.assertEqual(len(self.asked(notice, 'undone')), 1)

    def test_given_up_is_not_taken_back(self):
        """The money stays, as a credit: nobody is asked."""
        (one, two), notice = self.make_notice(100, 50)
        self.add(notice, 'cost', 7)
        self.company.dunning_settle_order = 'charges_first'
        payment = self.make_posted(60, notice.payment_reference)
        self.settle()
        self.assertEqual(self.left(one, two, payment.move_id), [57, 50, 0])
        notice.charge_ids._waive('Kulanz')
        self.assertEqual((self.left(one, two, payment.move_id), self.charges(notice)), (
            [57, 50, -17], [('cost', 7, 'waived'), ('fee', 10, 'waived')]))
        self.assertFalse(self.asked(notice, 'undone'))

    def test_charge_alone_taken_back(self):
        invoice, notice = self.make_notice()
        self.register(invoice, 100, 'x')
        payment = self.make_posted(10, notice.payment_reference)
        self.settle()
        self.receivable(payment.move_id).remove_move_reconcile()
        self.assertEqual((self.left(invoice), self.charges(notice)), ([0], [('fee', 10, 'booked')]))
        self.assertEqual(len(self.asked(notice, 'undone')), 1)

    def test_not_bookable(self):
        """The items are settled all the same, unless charges come first."""
        self.company.dunning_fee_account_id = False
        self.patch(res_company_charge, 'DEFAULT_ACCOUNTS', {})
        invoice, notice = self.make_notice()
        line = self.make_line(110, notice.payment_reference)
        self.settle()
        self.assertEqual((self.left(invoice, line.move_id), self.charges(notice)), ([0, -10], [('fee', 10, 'claimed')]))
        [activity] = self.asked(notice, 'booking')
        self.assertEqual(activity.user_id, self.company._get_dunning_head())
        self.company.dunning_settle_order = 'charges_first'
        other, later = self.make_notice(60, day=self.days(1), due='2026-11-10')
        bad = self.make_line(70, later.payment_reference, day='2026-11-26')
        self.settle()
        self.assertEqual((self.left(other), bad.is_reconciled), ([60], False))
        self.assertTrue(self.asked(bad.move_id, 'assign'))

    def test_not_bookable_is_not_called_settled(self):
        """Neither by itself nor by hand: what was not booked is named, with the reason."""
        self.company.dunning_fee_account_id = False
        self.patch(res_company_charge, 'DEFAULT_ACCOUNTS', {})
        _invoice, notice = self.make_notice()
        line = self.make_line(110, notice.payment_reference)
        self.settle()
        fee, [reason] = notice.charge_ids, set(notice.charge_ids.mapped('booking_problem'))
        self.assertTrue(reason)
        settled = [words for words in notice.message_ids.mapped('body') if 'settled:' in words]
        self.assertEqual(len(settled), 1)
        self.assertNotIn(fee._get_words(), settled[0])
        self.assertIn('not be booked', self.said(line.move_id))
        self.assertIn(fee._get_words(), self.said(line.move_id))
        entry = self.make_unallocated(self.partner, 10)
        assign = self.env['dunning.assign.payment'].with_user(self.clerk).create({
            'line_id': self.receivable(entry).id, 'notice_ids': notice.ids})
        shown = assign.action_assign()['params']
        self.assertEqual(shown['type'], 'warning')
        self.assertIn(reason, shown['message'])
        self.assertNotIn('nothing is left', self.said(entry))

    def test_undone_assignment_reserves_nothing(self):
        """A payment is there for a notice as long as it settles something of it, or names it."""
        self.company.dunning_charge_booking = 'print'
        self.company.dunning_settle_order = 'items_first'
        (one, two), notice = self.make_notice(100, 50)
        named = self.make_posted(100, notice.payment_reference)
        self.settle()
        entry = self.make_unallocated(self.partner, 60)
        entry.with_env(self.env)._settle_credit(self.receivable(entry), notice)
        self.assertEqual(self.left(one, two, entry), [0, 0, -10])
        self.assertEqual((named.move_id | entry).dunning_settled_ids, notice)
        self.assertEqual(list(notice.charge_ids._read_covers()), [self.receivable(entry)])
        self.receivable(entry).remove_move_reconcile()
        self.receivable(named.move_id).remove_move_reconcile()
        self.assertEqual((entry.dunning_settled_ids, named.move_id.dunning_settled_ids), (notice.browse(), notice))
        self.assertEqual(list(notice.charge_ids._read_covers()), [self.receivable(named.move_id)])
        line = self.make_line(160, 'Zahlung')
        line.move_id._settle_suspense(notice, is_new_money=True)
        self.assertEqual(line.move_id.dunning_settled_ids, notice)
        line.action_undo_reconciliation()
        self.assertFalse(line.move_id.dunning_settled_ids)

    def test_money_is_there_for_its_own_customer(self):
        """Also where another customer's money settled an item, or was assigned to the notice."""
        self.company.dunning_charge_booking = 'print'
        invoice, notice = self.make_notice()
        mother = self.make_unallocated(self.make_partner('Mutter AG'), 110)
        (self.receivable(mother) | self.receivable(invoice)).reconcile()
        coop = self.make_unallocated(self.make_partner('Coop'), 30)
        coop.dunning_settled_ids = notice
        self.assertEqual(self.left(invoice, mother, coop), [0, -10, -30])
        self.assertFalse(notice.charge_ids._read_covers())
        own = self.make_unallocated(self.make_contact(self.partner), 30)
        own.dunning_settled_ids = notice
        self.assertEqual(list(notice.charge_ids._read_covers()), [self.receivable(own)])

    def test_rest_of_a_credit_note_is_no_payment(self):
        self.company.dunning_charge_booking = 'print'
        invoice, notice = self.make_notice()
        self.pay(invoice, 90)
        refund = self.make_invoice(self.partner, 20, move_type='out_refund')
        (self.receivable(invoice) | self.receivable(refund)).reconcile()
        self.assertEqual(self.left(invoice, refund), [0, -10])
        self.assertFalse(notice.charge_ids._read_covers())
        with self.assertRaisesRegex(UserError, 'No payment has left'):
            notice.charge_ids.with_user(self.manager)._book_covered()

    def test_what_several_payments_left(self):
        """What the first one leaves open of a charge, the second one is there for."""
        self.company.dunning_charge_booking = 'print'
        invoice, notice = self.make_notice()
        self.pay(invoice)
        entries = [self.make_unallocated(self.partner, amount) for amount in (4, 3, 5)]
        for entry in entries:
            entry.dunning_settled_ids = notice
        notice.charge_ids.with_user(self.manager)._book_covered()
        self.assertEqual(self.charges(notice), [('fee', 3, 'paid'), ('fee', 3, 'paid'), ('fee', 4, 'paid')])
        self.assertEqual(self.left(*entries), [0, 0, -2])

    def test_entry_reversed_by_the_clerk(self):
        """Who reverses what was booked of a paid charge, knows that it is open again."""
        _invoice, notice = self.make_notice()
        self.make_posted(110, notice.payment_reference)
        self.settle()
        self.assertEqual(self.charges(notice), [('fee', 10, 'paid')])
        notice.charge_ids.move_booked_id._reverse_moves(cancel=True)
        self.assertFalse(self.asked(notice, 'undone'))

    def test_assigned_by_hand(self):
        invoice, notice = self.make_notice()
        entry = self.make_unallocated(self.partner, 110)
        assign = self.env['dunning.assign.payment'].with_user(self.clerk).with_context(
            active_model='res.partner', active_id=self.partner.id).create({})
        self.assertIn('Fee', assign.preview)
        assign.action_assign()
        self.assertEqual((self.left(invoice, entry), self.charges(notice)), ([0, 0], [('fee', 10, 'paid')]))


@tagged('post_install', '-at_install')
class TestSettlementUndone(SettlementCase):
    """Money that is taken back opens what it settled, and a person is asked once a notice."""

    def test_taken_back(self):
        def cancel(payment):
            payment.action_draft()
            payment.action_cancel()

        def unreconcile(payment):
            self.receivable(payment.move_id).remove_move_reconcile()

        def reverse(payment):
            payment.move_id._reverse_moves(cancel=True)

        for way in (cancel, unreconcile, reverse):
            with self.subTest(way=way.__name__):
                partner = self.make_partner(f'Kunde {way.__name__}')
                invoices, notice = self.make_notice(100, 50, partner=partner)
                payment = self.make_posted(150, notice.payment_reference, partner)
                self.settle()
                self.assertEqual(self.left(*invoices), [0, 0])
                self.assertFalse(self.asked(notice, 'undone'))
                way(payment)
                self.assertEqual(self.left(*invoices), [100, 50])
                [activity] = self.asked(notice, 'undone')
                self.assertEqual(activity.user_id, self.clerk)
                self.assertIn(invoices[0].name, activity.note)
                self.settle()
                self.assertEqual(self.left(*invoices), [100, 50], "what a person undid is not done again")

    def test_settled_again(self):
        invoices, notice = self.make_notice(100, 50)
        payment = self.make_posted(150, notice.payment_reference)
        self.settle()
        self.receivable(payment.move_id).remove_move_reconcile()
        self.assertTrue(self.asked(notice, 'undone'))
        (self.receivable(payment.move_id) | self.receivable(invoices[0])).reconcile()
        self.assertTrue(self.asked(notice, 'undone'), "half of it is open")
        (self.receivable(payment.move_id) | self.receivable(invoices[1])).reconcile()
        self.assertFalse(self.asked(notice, 'undone'))

    def test_what_fails_does_not_hinder_the_user(self):
        invoice, notice = self.make_notice()
        entry = self.make_unallocated(self.partner, 100)

        def fail(*_args):
            raise ZeroDivisionError
        with patch.object(self.env.registry['dunning.notice'], '_drop_undone', fail), patch.object(
                self.env.registry['account.move'], '_drop_settled', fail), mute_logger(
                'odoo.addons.dunning_mail.models.dunning_promise'):
            (self.receivable(invoice) | self.receivable(entry)).reconcile()
            self.assertEqual(self.left(invoice), [0])
            entry.dunning_settled_ids = notice
            self.receivable(entry).remove_move_reconcile()
        self.assertEqual(self.left(invoice), [100])

    def test_only_what_is_concerned_is_read(self):
        """Reconciling something else does not go through all notices about which somebody has been asked."""
        _invoice, notice = self.make_notice()
        payment = self.make_posted(100, notice.payment_reference)
        self.settle()
        self.receivable(payment.move_id).remove_move_reconcile()
        self.assertTrue(self.asked(notice, 'undone'))
        other = self.make_invoice(self.make_partner('Coop'), 30)
        with patch.object(self.env.registry['dunning.notice'], '_get_all_charges') as read:
            self.pay(other)
        read.assert_not_called()
        self.assertEqual(self.left(other), [0])

    def test_still_settled_by_another(self):
        """Of what something else settled meanwhile, nobody is asked."""
        invoice, notice = self.make_notice()
        payment = self.make_posted(60, notice.payment_reference)
        self.settle()
        self.pay(invoice)
        other = self.make_invoice(self.partner, 20, due='2026-12-24')
        surplus = self.pay(other)
        self.receivable(surplus).remove_move_reconcile()
        self.assertFalse(self.asked(notice, 'undone'), "it was never dunned")
        self.assertEqual(self.left(payment.move_id), [0])

    def test_promise_follows(self):
        invoice, notice = self.make_notice()
        promise = self.env['dunning.promise'].browse(self.env['dunning.promise.make'].with_user(self.clerk).create({
            'item_ids': [Command.set(self.receivable(invoice).ids)], 'amount': 100, 'date': self.days(10),
        }).action_make()['res_id'])
        line = self.make_line(110, notice.payment_reference)
        self.settle()
        self.assertEqual(promise.state, 'kept')
        line.action_undo_reconciliation()
        self.assertEqual(promise.state, 'open')
        self.assertEqual(len(self.asked(notice, 'undone')), 1)


@tagged('post_install', '-at_install')
class TestAssignPayment(SettlementCase):
    """What a person assigns: shown first, then done by core's means."""

    def open(self, record, **values):
        form = Form(self.env['dunning.assign.payment'].with_user(self.clerk).with_context(
            active_model=record._name, active_id=record.id))
        for fname, value in values.items():
            form[fname].clear()
            for notice in value:
                form[fname].add(notice)
        return form.save()

    def test_of_a_customer(self):
        (one, two), notice = self.make_notice(100, 50)
        entry = self.make_unallocated(self.partner, 120)
        contact = self.make_contact(self.partner)
        assign = self.open(contact)
        self.assertEqual((assign.line_id.move_id, assign.notice_ids, assign.amount), (entry, notice, 120))
        for words in (one.name, two.name, notice.name, '100.00', '30.00'):
            self.assertIn(words, assign.preview)
        self.assertEqual(self.left(one, two), [100, 50], "only shown")
        assign.action_assign()
        self.assertEqual(self.left(one, two, entry), [0, 30, 0])
        self.receivable(entry).remove_move_reconcile()
        self.assertEqual(self.left(one, two, entry), [100, 50, -120])

    def test_of_a_payment(self):
        invoice, notice = self.make_notice()
        other, later = self.make_notice(60, day=self.days(1), due='2026-11-10')
        payment = self.make_posted(80, notice.payment_reference)
        payment.move_id.dunning_to_settle = False
        assign = self.open(payment)
        self.assertEqual((assign.named_ids, assign.notice_ids), (notice, notice))
        assign = self.open(payment, notice_ids=later)
        assign.action_assign()
        self.assertEqual(payment.move_id.dunning_settled_ids, later)
        self.assertEqual(self.left(invoice, other, payment.move_id), [100, 0, -20])
        with self.assertRaisesRegex(UserError, 'on its way'):
            self.open(self.make_payment(self.partner, 10))

    def test_of_a_bank_transaction_without_customer(self):
        invoice, notice = self.make_notice()
        line = self.make_line(100, 'Zahlung Mahnung')
        assign = self.open(line, notice_ids=notice)
        self.assertFalse(assign.partner_id)
        assign.action_assign()
        self.assertEqual((self.left(invoice), line.partner_id, line.is_reconciled), ([0], self.partner, True))
        line.action_undo_reconciliation()
        self.assertEqual((self.left(invoice), line.is_reconciled), ([100], False))
        suspense = line._seek_for_lines()[1]
        self.assertEqual((len(line.line_ids), suspense.balance), (2, -100))
        self.open(line.move_id, notice_ids=notice).action_assign()
        self.assertEqual(self.left(invoice), [0])

    def test_what_does_not_fit(self):
        self.make_notice()
        payment = self.make_posted(110, 'x', currency_id=self.foreign.id)
        assign = self.open(payment)
        self.assertIn(self.foreign.name, assign.warning)
        with self.assertRaisesRegex(UserError, self.foreign.name):
            assign.action_assign()
        assign.notice_ids = False
        with self.assertRaisesRegex(UserError, 'Choose'):
            assign.action_assign()
        with self.assertRaisesRegex(UserError, 'nothing|no payment'):
            self.open(self.make_partner('Leer AG'))
        line = self.make_line(-5, 'Gebühr')
        with self.assertRaisesRegex(UserError, 'Nothing of'):
            self.open(line)

    def test_money_that_is_new(self):
        """A payment waits for a transaction: the clerk says whether it is this one."""
        invoice, notice = self.make_notice()
        waiting = self.register(invoice, 100, invoice.name)
        line = self.make_line(110, notice.payment_reference)
        assign = self.open(line)
        self.assertTrue(assign.is_waited_for)
        self.assertIn(waiting.name, assign.warning)
        with self.assertRaisesRegex(UserError, waiting.name):
            assign.action_assign()
        assign.is_new_money = True
        assign.action_assign()
        self.assertTrue(line.is_reconciled)
        self.assertEqual(self.left(line.move_id), [-110])

    def test_foreign_ids(self):
        """What another company's payment or notice says is not shown to who passes its id."""
        _invoice, notice = self.make_notice()
        entry, line = self.make_unallocated(self.partner, 30), self.make_line(40, 'x')
        other = self.env['res.company'].create({'name': 'Andere GmbH', 'country_id': self.env.ref('base.ch').id})
        self.env['account.chart.template'].try_loading('generic_coa', company=other, install_demo=False)
        journal = self.env['account.journal'].search([('type', '=', 'bank'), ('company_id', '=', other.id)], limit=1)
        theirs = self.env['account.bank.statement.line'].with_company(other).create({
            'journal_id': journal.id, 'date': '2026-11-24', 'amount': 110, 'payment_ref': 'x'})
        stranger = new_test_user(
            self.env, login='stranger', groups='account.group_account_invoice', company_id=other.id,
            company_ids=[Command.set(other.ids)])
        Assign = self.env['dunning.assign.payment'].with_user(stranger)
        own = self.env['dunning.assign.payment'].with_user(self.clerk).create({
            'line_id': self.receivable(entry).id, 'notice_ids': notice.ids})
        for values in ({'line_id': self.receivable(entry).id}, {'statement_line_id': line.id},
                       {'statement_line_id': theirs.id, 'notice_ids': [Command.set(notice.ids)]}):
            with self.subTest(values=values), self.assertRaises(AccessError):
                Assign.onchange(values, list(values), {key: {} for key in [*values, 'amount', 'preview', 'warning']})
        with self.assertRaises(AccessError):
            own.with_user(new_test_user(
                self.env, login='second', groups='account.group_account_invoice', company_id=self.company.id,
            )).read(['amount'])

    def test_rights(self):
        self.make_line(100, 'x')
        reader = new_test_user(
            self.env, login='reader', groups='account.group_account_readonly', company_id=self.company.id)
        with self.assertRaises(AccessError):
            self.env['dunning.assign.payment'].with_user(reader).create({})

"""Money on both sides of the balance: a run claims what the customer owes, and says what it cannot set off."""

from odoo import Command
from odoo.exceptions import UserError
from odoo.tests import tagged

from .common import OneCustomerCase, RecheckCase


class MoneyCase(OneCustomerCase):

    def make_opening(self, amount, partner=None, currency=None, due='2026-09-30', **values):
        """Post an opening balance, which core excludes from follow-up; negative: a credit."""
        partner = partner or self.partner
        journal = self.env['account.journal'].search(
            [('type', '=', 'general'), ('company_id', '=', self.company.id)], limit=1)
        entry = self.env['account.move'].create({
            'move_type': 'entry', 'journal_id': journal.id, 'date': '2026-09-01',
            'line_ids': [
                Command.create({
                    'account_id': partner.property_account_receivable_id.id, 'partner_id': partner.id,
                    'balance': amount, 'date_maturity': due}),
                Command.create({
                    'account_id': self.company.get_unaffected_earnings_account().id, 'balance': -amount})],
            **values})
        entry.action_post()
        self.assertTrue(self.receivable(entry).no_followup)
        return entry

    def propose(self, **values):
        """(what is claimed less fees, codes of the exceptions) of the customer."""
        self.env['dunning.run'].search([('state', '=', 'proposed')]).action_cancel()
        self.run = self.make_run(partner_ids=self.partner.ids, **values)
        self.notice = self.run.notice_ids
        claimed = sum(notice.amount_overdue - notice.amount_credit for notice in self.notice)
        return claimed, sorted(self.run.exception_ids.mapped('reason'))

    def assertStays(self):
        """What is about to leave is asked the same, and answered the same."""
        self.assertEqual({verdict.code for verdict in self.notice._recheck().values()}, {'same'})


@tagged('post_install', '-at_install')
class TestBothSidesOfTheBooks(MoneyCase):

    def test_opening_balances_that_cover_each_other(self):
        self.make_opening(1000)
        self.make_opening(-1000)
        self.make_invoice(self.partner, 500)
        self.assertEqual(self.propose(), (500.0, ['no_followup']))
        self.assertStays()

    def test_opening_credit_that_exceeds_the_debit(self):
        self.make_opening(300)
        self.make_opening(-700)
        self.make_invoice(self.partner, 900)
        self.assertEqual(self.propose(), (500.0, ['no_followup']))
        self.assertStays()

    def test_opening_debit_that_is_due_later(self):
        self.make_opening(1000, due='2027-03-31')
        self.make_opening(-1000)
        self.make_invoice(self.partner, 500, due='2026-09-15')
        self.assertEqual(self.propose(), (500.0, []))
        self.assertStays()

    def test_repayment_of_a_credit(self):
        for paid_out, expected in ((150, (100.0, [])), (50, (0, ['covered'])), (180, (100.0, ['outgoing']))):
            with self.subTest(paid_out=paid_out):
                self.partner = self.make_partner(f'Acme {paid_out}')
                self.make_invoice(self.partner, 100)
                self.make_invoice(self.partner, 150, move_type='out_refund')
                self.make_paid_out(self.partner, paid_out)
                self.assertEqual(self.propose(), expected)
                self.assertStays() if self.notice else None
        exception = self.run.exception_ids
        self.assertEqual(exception.amount, 30.0)
        self.assertIn('30.00', exception.description)

    def test_only_what_is_posted(self):
        """A credit note that was cancelled, a payment that was refused, are nothing."""
        self.make_invoice(self.partner, 100)
        refund = self.make_invoice(self.partner, 40, move_type='out_refund')
        payment = self.make_payment(self.partner, 30)
        self.assertEqual(self.propose(), (30.0, []))
        refund.button_draft()
        refund.button_cancel()
        payment.action_reject()
        self.assertEqual(self.propose(), (100.0, []))

    def test_repayment_after_the_proposal(self):
        """The credit that the draft counts with is gone."""
        self.make_invoice(self.partner, 100)
        self.make_invoice(self.partner, 60, move_type='out_refund')
        self.assertEqual(self.propose(), (40.0, []))
        self.make_paid_out(self.partner, 60)
        verdict = self.notice._recheck()[self.notice.id]
        self.assertEqual(verdict.code, 'changed')
        self.notice._apply_verdict(verdict)
        self.assertEqual(self.notice.amount_total, 100.0)
        self.assertStays()

    def test_returned_debit_is_a_claim_where_a_person_says_so(self):
        item = self.receivable(self.make_paid_out(self.partner, 100, day='2026-10-01'))
        self.assertEqual(self.propose(), (0, ['outgoing']))
        self.run.exception_ids.action_claim()
        self.assertTrue(item.dunning_is_claim)
        self.run.action_generate_notices()
        self.assertEqual(self.run.notice_ids.amount_total, 100.0)
        self.notice = self.run.notice_ids
        self.assertStays()
        # And back: it is stopped before it leaves.
        item.dunning_is_claim = False
        self.assertEqual(self.notice._recheck()[self.notice.id].code, 'held')

    def test_returned_debit_of_a_customer_who_pays_by_debit(self):
        """What was called back is not fetched again."""
        journal = self.env['account.journal'].search(
            [('type', '=', 'bank'), ('company_id', '=', self.company.id)], limit=1)
        method = journal.inbound_payment_method_line_ids[:1]
        self.company.dunning_debit_method_ids = [Command.set(method.ids)]
        self.partner.property_inbound_payment_method_line_id = method
        self.make_paid_out(self.partner, 100, day='2026-10-01')
        self.assertEqual(self.propose(), (0, ['outgoing']))
        self.run.exception_ids.action_claim()
        self.run.action_generate_notices()
        self.notice = self.run.notice_ids
        self.assertEqual(self.notice.amount_total, 100.0)
        self.assertStays()

    def test_repayment_registered_without_an_entry(self):
        self.make_invoice(self.partner, 100)
        refund = self.make_invoice(self.partner, 150, move_type='out_refund')
        self.make_payment(self.partner, 150, refund, payment_type='outbound')
        self.assertEqual(self.propose(), (100.0, []))
        self.assertStays()

    def test_items_without_a_customer_are_one_line(self):
        self.partner = self.make_partner('Nobody')
        lines = self.env['account.move.line']
        for amount in (10, 20, 30):
            lines |= self.receivable(self.make_unallocated(self.partner, -amount))
        self.env.flush_all()
        self.env.cr.execute("UPDATE account_move_line SET partner_id = NULL WHERE id = ANY(%s)", [lines.ids])
        self.env.invalidate_all()
        run = self.make_run()
        exception = run.exception_ids.filtered(lambda one: one.reason == 'no_partner')
        self.assertEqual((len(exception), exception.amount, exception.partner_id.id), (1, 60.0, False))
        self.assertIn('3', exception.description)
        action = exception.action_open_record()
        self.assertEqual(set(self.env[action['res_model']].search(action['domain'])), set(lines))


@tagged('post_install', '-at_install')
class TestMoneyOnItsWay(MoneyCase):

    def test_part_of_an_invoice(self):
        invoice = self.make_invoice(self.partner, 1000)
        payment = self.make_payment(self.partner, 100, invoice)
        self.assertEqual(self.propose(), (900.0, []))
        line = self.notice.credit_line_ids
        self.assertEqual((line.payment_id, line.move_line_id.id, line.amount_residual), (payment, False, -100.0))
        self.assertIn('On its way', line.level_reason)
        self.assertStays()

    def test_all_of_it(self):
        invoice = self.make_invoice(self.partner, 1000)
        payment = self.make_payment(self.partner, 1000, invoice)
        self.assertEqual(self.propose(), (0, ['on_its_way']))
        payment.action_cancel()
        self.assertEqual(self.propose(), (1000.0, []))

    def test_payment_that_names_no_invoice(self):
        older = self.make_invoice(self.partner, 200, due='2026-09-20')
        invoice = self.make_invoice(self.partner, 1000)
        self.make_payment(self.partner, 300)
        self.assertEqual(self.propose(), (900.0, ['on_its_way']))
        self.assertEqual(self.run.exception_ids.move_id, older)
        self.partner = self.make_partner('By number')
        invoice = self.make_invoice(self.partner, 1000)
        self.make_invoice(self.partner, 200, due='2026-09-20')
        self.make_payment(self.partner, 1000, memo=f'Rechnung {invoice.name}, danke')
        self.assertEqual(self.propose(), (200.0, ['on_its_way']))
        self.assertEqual(self.run.exception_ids.move_id, invoice)

    def test_payment_for_what_is_not_due(self):
        later = self.make_invoice(self.partner, 500, due='2027-01-31')
        self.make_invoice(self.partner, 100)
        self.make_payment(self.partner, 500, later)
        self.assertEqual(self.propose(), (100.0, []))
        self.assertStays()

    def test_payment_in_another_currency(self):
        """What it covers, a person knows."""
        invoice = self.make_invoice(self.partner, 1000)
        self.make_payment(self.partner, 500, invoice, currency=self.foreign)
        self.assertEqual(self.propose(), (0, ['in_payment']))

    def test_payment_by_somebody_else(self):
        invoice = self.make_invoice(self.partner, 1000)
        self.make_payment(self.make_partner('Treuhand'), 400, invoice)
        self.assertEqual(self.propose(), (600.0, []))
        self.assertStays()

    def test_payment_for_invoices_of_two_customers(self):
        """One of them pays for both; what each invoice gets of too little, a person knows."""
        other = self.make_partner('Other')
        for amount, left in ((200, 0), (60, 40)):
            with self.subTest(amount=amount):
                first, second = self.make_invoice(self.partner, 100), self.make_invoice(other, 100)
                payment = self.make_payment(self.partner, amount, first, second)
                self.make_invoice(self.partner, 70)
                run = self.make_run(partner_ids=(self.partner | other).ids)
                claimed = {notice.partner_id.id: notice.amount_total for notice in run.notice_ids}
                self.assertEqual(claimed.get(self.partner.id), 70.0 + left)
                self.assertEqual(claimed.get(other.id, 0), left)
                self.notice = run.notice_ids
                self.assertStays()
                for notice in self.notice:
                    self.assertEqual(notice._recheck()[notice.id].code, 'same', "asked alone too")
                run.action_cancel()
                payment.action_cancel()
                for move in self.env['account.move'].search([
                        ('partner_id', 'in', (self.partner | other).ids), ('move_type', '=', 'out_invoice')]):
                    move.button_draft()
                    move.button_cancel()

    def test_payment_that_names_anothers_credit_note(self):
        """It covers what it names, and nothing else of whom it names no invoice."""
        other = self.make_partner('Other')
        first, note = self.make_invoice(self.partner, 100), self.make_invoice(other, 30, move_type='out_refund')
        self.make_invoice(other, 500)
        self.make_payment(self.partner, 70, first, note)
        run = self.make_run(partner_ids=(self.partner | other).ids)
        self.assertEqual(
            {notice.partner_id.id: notice.amount_total for notice in run.notice_ids},
            {self.partner.id: 30.0, other.id: 470.0})

    def test_registered_then_booked(self):
        """Odoo leaves the payment as it is when the bank's line is reconciled: it is not counted twice."""
        invoice = self.make_invoice(self.partner, 1000)
        self.make_payment(self.partner, 100, invoice, day='2026-11-18').action_validate()
        self.assertEqual(self.propose(), (900.0, []))
        self.assertTrue(self.notice.credit_line_ids.payment_id)
        self.pay(invoice, 100, day='2026-11-20')
        self.assertEqual(self.propose(), (900.0, []))
        self.assertFalse(self.notice.credit_line_ids)
        self.partner = self.make_partner('Credit note, then paid in part')
        invoice = self.make_invoice(self.partner, 1000)
        refund = self.make_invoice(self.partner, 200, move_type='out_refund')
        (self.receivable(invoice) | self.receivable(refund)).reconcile()
        self.make_payment(self.partner, 100, invoice, day='2026-09-01').action_validate()
        self.assertEqual(self.propose(), (700.0, []))

    def test_named_invoice_is_settled_otherwise(self):
        invoice = self.make_invoice(self.partner, 1000)
        self.make_payment(self.partner, 1000, invoice)
        self.pay(invoice)
        self.make_invoice(self.partner, 300)
        self.assertEqual(self.propose(), (300.0, []))

    def test_registered_before_the_notice_leaves(self):
        invoice = self.make_invoice(self.partner, 1000)
        self.assertEqual(self.propose(), (1000.0, []))
        payment = self.make_payment(self.partner, 400, invoice)
        verdict = self.notice._recheck()[self.notice.id]
        self.assertEqual(verdict.code, 'changed')
        self.notice._apply_verdict(verdict)
        self.assertEqual((self.notice.amount_total, self.notice.credit_line_ids.payment_id), (600.0, payment))
        self.assertStays()
        self.make_payment(self.partner, 600, invoice)
        verdict = self.notice._recheck()[self.notice.id]
        self.assertEqual(verdict.code, 'settled')
        self.assertIn('on its way', verdict.words)


@tagged('post_install', '-at_install')
class TestNotSetOff(MoneyCase):

    def assertHinted(self, *words):
        """On the draft and beside it, and nothing is set off."""
        self.assertEqual(self.propose(), (1000.0, ['hint']))
        for text in (self.notice.proposal_hint, self.run.exception_ids.description):
            for word in words:
                self.assertIn(word, text)
        self.assertStays()

    def test_credit_in_another_currency(self):
        self.make_invoice(self.partner, 1000)
        self.make_unallocated(self.partner, 950, currency=self.foreign)
        self.assertHinted('950.00')

    def test_what_is_left_of_a_credit_in_another_currency(self):
        self.make_invoice(self.partner, 1000)
        self.make_invoice(self.partner, 100, currency=self.foreign)
        self.make_unallocated(self.partner, 950, currency=self.foreign)
        self.propose()
        self.assertIn('850.00', self.notice.proposal_hint)

    def test_vendor(self):
        self.make_invoice(self.partner, 1000)
        bill = self.make_invoice(self.partner, 320, move_type='in_invoice')
        self.assertHinted('320.00', 'vendor')
        (bill.line_ids.filtered(lambda line: line.account_type == 'liability_payable')).reconciled = True
        self.make_invoice(self.make_partner('Other'), 50, move_type='in_invoice')
        self.env.flush_all()
        self.assertEqual(self.propose(), (1000.0, []))
        self.assertFalse(self.notice.proposal_hint)

    def test_hold_of_a_parent(self):
        group = self.make_partner('Group')
        holding = self.make_partner('Holding', parent_id=group.id)
        self.partner.parent_id = holding
        self.assertEqual(self.partner.commercial_partner_id, self.partner)
        self.make_invoice(self.partner, 1000)
        group.dunning_hold_until = self.days(10)
        self.assertHinted('Group')
        group.dunning_hold_until = self.days(-1)
        self.assertEqual(self.propose(), (1000.0, []))

    def test_hold_of_a_parent_said_in_the_head_company(self):
        group = self.make_partner('Group')
        self.partner.parent_id = group
        branch = self.env['res.company'].create({'name': 'Filiale', 'parent_id': self.company.id})
        group.dunning_hold_until = self.days(10)
        held = self.env['dunning.proposal']._find_held_parents(
            self.partner.with_company(branch), branch, self.days(0))
        self.assertEqual(held, {self.partner.id: (group, self.days(10))})


@tagged('post_install', '-at_install')
class TestMinimumOfAll(MoneyCase):

    def test_two_currencies_reach_it_together(self):
        self.company.dunning_min_amount = 90
        self.make_invoice(self.partner, 60)
        self.make_invoice(self.partner, 60, currency=self.foreign)
        self.propose()
        self.assertEqual(len(self.notice), 2)
        self.assertStays()
        # Less is left of the other: it is asked again before this one leaves.
        self.make_unallocated(self.partner, 10, currency=self.foreign)
        self.assertEqual({verdict.code for verdict in self.notice._recheck().values()}, {'held'})

    def test_too_little_in_two_currencies(self):
        self.company.dunning_min_amount = 100
        self.make_invoice(self.partner, 60)
        self.make_invoice(self.partner, 60, currency=self.foreign)
        self.assertEqual(self.propose(), (0, ['below_minimum', 'below_minimum']))

    def test_new_company(self):
        self.assertEqual(self.env['res.company'].create({'name': 'New'}).dunning_min_amount, 5.0)


@tagged('post_install', '-at_install')
class TestBranches(MoneyCase):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.branch = cls.env['res.company'].create({
            'name': 'Filiale', 'parent_id': cls.company.id, 'dunning_procedure_id': cls.procedure.id,
            'dunning_min_amount': 0})
        (cls.env.user | cls.clerk).company_ids |= cls.branch
        cls.env = cls.env(context=dict(cls.env.context, allowed_company_ids=(cls.company | cls.branch).ids))

    def propose_branch(self):
        self.run = self.env['dunning.run'].with_company(self.branch).create({
            'company_id': self.branch.id, 'partner_ids': self.partner.ids})
        self.run.action_generate_notices()
        self.notice = self.run.notice_ids
        return sum(notice.amount_overdue - notice.amount_credit for notice in self.notice), sorted(
            self.run.exception_ids.mapped('reason'))

    def make_branch_invoice(self, amount, **values):
        values.setdefault('journal_id', self.env['account.journal'].search(
            [('type', '=', 'sale'), ('company_id', '=', self.company.id)], limit=1).id)
        partner = self.partner.with_company(self.branch)
        partner.property_account_receivable_id = self.partner.property_account_receivable_id
        return self.make_invoice(partner, amount, company_id=self.branch.id, **values)

    def test_credit_of_the_company_covers_the_branchs_invoice(self):
        invoice = self.make_branch_invoice(100)
        self.assertEqual(invoice.company_id, self.branch)
        self.make_unallocated(self.partner, 100)
        self.assertEqual(self.propose_branch(), (0, ['covered']))

    def test_it_covers_the_companys_own_older_invoice_first(self):
        self.make_invoice(self.partner, 70, due='2026-09-10')
        self.make_branch_invoice(100)
        self.make_unallocated(self.partner, 100)
        self.assertEqual(self.propose_branch(), (70.0, []))
        self.assertStays()
        self.assertEqual(self.notice.due_line_ids.move_id.company_id, self.branch)

    def test_the_company_duns_for_its_branches(self):
        self.make_invoice(self.partner, 70, due='2026-12-10')
        self.make_branch_invoice(100)
        self.make_unallocated(self.partner, 30)
        self.assertEqual(self.propose(), (70.0, []))


@tagged('post_install', '-at_install')
class TestStartAgain(RecheckCase, MoneyCase):

    def reach_last_level(self):
        invoice = self.make_invoice(self.partner, 100)
        self.sent = [self.dun(self.days(number), partner_ids=self.partner.ids).notice_ids for number in (0, 20, 40)]
        self.assertEqual(self.receivable(invoice).dunning_level_id, self.level_3)
        return invoice

    def test_reopened_after_the_last_level(self):
        invoice = self.reach_last_level()
        entry = self.pay(invoice)
        self.receivable(invoice).remove_move_reconcile()
        self.receivable(entry).no_followup = False
        entry.button_draft()
        self.assertEqual(self.propose(day=self.days(60)), (0, ['last_level']))
        action = self.run.exception_ids.action_start_again()
        wizard = self.env[action['res_model']].with_user(self.clerk).with_context(**action['context']).create(
            {'reason': 'Bank has called it back'})
        self.assertEqual(wizard.move_line_ids, self.receivable(invoice))
        wizard.action_apply()
        self.assertFalse(self.receivable(invoice).dunning_level_id)
        # What was sent stays what it is.
        self.assertEqual([notice.level_id for notice in self.sent], [self.level_1, self.level_2, self.level_3])
        self.assertTrue(all(notice.is_counted for notice in self.sent))
        self.assertIn('Bank has called it back', str(self.sent[-1].message_ids.mapped('body')))
        self.run.action_generate_notices()
        self.notice = self.run.notice_ids
        self.assertEqual((self.notice.level_id, self.notice.line_ids.previous_notice_id.id), (self.level_1, False))
        self.assertStays()

    def test_of_a_customer_and_of_an_invoice(self):
        first, second = self.make_invoice(self.partner, 100), self.make_invoice(self.partner, 50)
        other = self.make_invoice(self.make_partner('Other'), 70)
        self.dun()
        for records, expected in ((second, second), (self.partner, first)):
            wizard = self.env['dunning.restart'].with_context(
                active_model=records._name, active_ids=records.ids).create({'reason': 'Agreed'})
            self.assertEqual(wizard.move_line_ids.move_id, expected)
            wizard.action_apply()
        self.assertEqual(self.receivable(other).dunning_level_id, self.level_1)
        wizard = self.env['dunning.restart'].with_context(
            active_model='res.partner', active_ids=self.partner.ids).create({'reason': 'Agreed'})
        with self.assertRaisesRegex(UserError, "None of these items"):
            wizard.action_apply()

    def test_of_a_customer_not_its_subsidiaries(self):
        subsidiary = self.make_partner('Tochter', parent_id=self.partner.id, is_company=True)
        contact = self.make_partner('Person', parent_id=self.partner.id, is_company=False)
        own, others, by_contact = (
            self.make_invoice(partner, 100) for partner in (self.partner, subsidiary, contact))
        self.dun()
        wizard = self.env['dunning.restart'].with_context(
            active_model='res.partner', active_ids=self.partner.ids).create({'reason': 'Agreed'})
        self.assertEqual(wizard.move_line_ids.move_id, own | by_contact)
        wizard.action_apply()
        self.assertEqual(self.receivable(others).dunning_level_id, self.level_1)

    def test_notice_that_leaves_once_more(self):
        """It is on its way again: nobody else proposes its items, and when it has left, it counts."""
        [notice] = self.issue('Once more')
        notice.run_id._hand_out_letters()
        notice.run_id.action_mark_printed()
        item = self.invoice_of(notice).line_ids.filtered('dunning_level_id')
        item._restart_dunning('Agreed')
        notice.action_unmark_printed()
        self.assertTrue(notice.line_ids.is_reserved)
        run = self.make_run(partner_ids=self.customer_of(notice).ids)
        self.assertEqual(run.exception_ids.mapped('reason'), ['reserved'])
        notice.run_id._hand_out_letters()
        notice.run_id.action_mark_printed()
        item.invalidate_recordset()
        self.assertEqual(item.dunning_level_id, self.level_1)

    def test_not_while_it_is_on_an_open_notice(self):
        invoice = self.make_invoice(self.partner, 100)
        self.dun()
        self.make_run(self.days(20))
        with self.assertRaisesRegex(UserError, "another open notice"):
            self.receivable(invoice)._restart_dunning('Agreed')

    def test_failed_notice_of_before(self):
        """It would go on from a level that counts no more."""
        [first] = self.issue('Failing')
        first.run_id._hand_out_letters()
        first.run_id.action_mark_printed()
        partner = self.customer_of(first)
        run = self.make_run(self.days(20), partner_ids=partner.ids)
        run.action_print_and_send()
        second = run.notice_ids
        second.sudo()._stop('Refused')
        self.assertEqual(second.delivery_state, 'failed')
        self.invoice_of(first).line_ids._restart_dunning('Agreed')
        verdict = second._recheck()[second.id]
        self.assertEqual(verdict.code, 'held')
        self.assertIn('first level', verdict.words)

    def customer_of(self, notice):
        return notice.partner_id.with_env(self.env)

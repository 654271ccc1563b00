from unittest.mock import patch

from odoo import SUPERUSER_ID, Command, api, fields
from odoo.exceptions import AccessError, UserError
from odoo.tests import Form, TransactionCase, new_test_user, tagged
from odoo.tools import mute_logger

from .common import TODAY, DunningCommon


class ProposalCommon(DunningCommon):

    def lines(self, notice, kind='due'):
        return notice.line_ids.filtered(lambda line: line.kind == kind)

    def reasons(self, run, partner=None):
        exceptions = run.exception_ids
        if partner:
            exceptions = exceptions.filtered(lambda exception: exception.partner_id == partner)
        return sorted(exceptions.mapped('reason'))

    def assertNothing(self, run, *reasons):
        """No notice, and the given reasons why."""
        self.assertFalse(run.notice_ids)
        self.assertEqual(self.reasons(run), sorted(reasons))

    def assertLevels(self, invoice, *levels):
        """The levels of an entry's items, by the notices that count."""
        self.env.invalidate_all()
        self.assertEqual(tuple(line.dunning_level_id for line in self.receivable(invoice)), levels)

    def generate(self, run):
        run.action_generate_notices()
        return run.notice_ids


@tagged('post_install', '-at_install')
class TestScope(ProposalCommon):
    """Who and what is dunned, and why not."""

    def test_overdue_only(self):
        partner = self.make_partner('Acme')
        self.make_invoice(partner, due=self.days(0))
        self.make_invoice(partner, due=self.days(30))
        draft = self.make_invoice(partner)
        draft.button_draft()
        supplier = self.make_partner('Lieferant')
        self.make_invoice(supplier, move_type='in_invoice')
        self.assertNothing(self.make_run())

    def test_open_amount_not_invoiced(self):
        partner = self.make_partner('Acme')
        invoice = self.make_invoice(partner, 300.0)
        self.pay(invoice, 120.5)
        notice = self.make_run().notice_ids
        line = notice.line_ids
        self.assertEqual(line.mapped('kind'), ['due'], "a reconciled payment is no credit of its own")
        self.assertEqual((line.amount_invoiced, line.amount_residual), (300.0, 179.5))
        self.assertEqual((notice.amount_overdue, notice.amount_credit, notice.amount_total), (179.5, 0.0, 179.5))
        self.assertEqual((line.move_id, line.move_line_id), (invoice, self.receivable(invoice)))
        self.assertEqual((line.date_due, line.days_overdue), (fields.Date.to_date('2026-10-01'), 54))

    def test_no_followup(self):
        partner = self.make_partner('Acme')
        invoice = self.make_invoice(partner)
        self.receivable(invoice).no_followup = True
        other = self.make_invoice(partner, 40)
        run = self.make_run()
        self.assertEqual(run.notice_ids.line_ids.move_id, other)
        exception = run.exception_ids
        self.assertEqual((exception.reason, exception.move_id, exception.amount), ('no_followup', invoice, 100.0))
        self.receivable(invoice).no_followup = False
        self.assertEqual(self.generate(run).line_ids.move_id, invoice | other)

    def test_hold_on_customer(self):
        partner = self.make_partner('Acme')
        self.make_invoice(partner)
        partner.write({'dunning_hold_until': TODAY, 'dunning_hold_reason': 'Ratenzahlung vereinbart'})
        run = self.make_run(lang='de_DE')
        self.assertNothing(run, 'partner_hold')
        self.assertIn('Ratenzahlung vereinbart', run.exception_ids.description)
        self.assertIn('24.11.2026', run.exception_ids.description, "in the clerk's way to write dates")
        self.assertEqual(run.exception_ids.action_open_record()['res_model'], 'res.partner')
        partner.dunning_hold_until = self.days(-1)
        self.assertEqual(len(self.generate(run)), 1, "a hold that is over")

    def test_hold_on_invoice_and_item(self):
        partner = self.make_partner('Acme')
        invoice, item_of, free = (self.make_invoice(partner, amount) for amount in (10, 20, 40))
        invoice.write({'dunning_hold_until': TODAY, 'dunning_hold_reason': 'Reklamation'})
        self.receivable(item_of).dunning_hold_until = self.days(5)
        run = self.make_run()
        self.assertEqual(run.notice_ids.line_ids.move_id, free, "held ones are not even listed for information")
        self.assertEqual(self.reasons(run), ['item_hold', 'item_hold'])
        exception = run.exception_ids.filtered(lambda exception: exception.move_id == invoice)
        self.assertIn('Reklamation', exception.description)
        self.assertEqual(exception.action_open_record()['res_id'], invoice.id)
        invoice.dunning_hold_until = self.days(-1)
        self.assertEqual(self.generate(run).line_ids.move_id, invoice | free, "a hold that is over")

    def test_in_payment(self):
        """A registered payment that makes no entry leaves the residual open."""
        partner = self.make_partner('Acme')
        invoice = self.make_invoice(partner)
        journal = self.env['account.journal'].search(
            [('type', '=', 'bank'), ('company_id', '=', self.company.id)], limit=1)
        journal.inbound_payment_method_line_ids.payment_account_id = False
        wizard = self.env['account.payment.register'].with_context(
            active_model='account.move', active_ids=invoice.ids).create({'journal_id': journal.id})
        # As with Odoo's accounting app, which reconciles with the bank statement only.
        with patch.object(
                self.env.registry['account.move'], '_get_invoice_in_payment_state', lambda _self: 'in_payment'):
            wizard._create_payments()
            self.assertEqual((invoice.amount_residual, invoice.payment_state), (100.0, 'in_payment'))
        self.assertNothing(self.make_run(), 'on_its_way')
        # Called so by hand, or by another addon: what is not understood asks a person.
        self.env['account.payment'].search([('partner_id', '=', partner.id)]).action_cancel()
        self.env.flush_all()
        self.env.cr.execute("UPDATE account_move SET payment_state = 'in_payment' WHERE id = %s", [invoice.id])
        self.env.invalidate_all()
        self.assertNothing(self.make_run(), 'in_payment')

    def test_blocked(self):
        invoice = self.make_invoice(self.make_partner('Acme'))
        invoice.action_toggle_block_payment()
        self.assertEqual(invoice.payment_state, 'blocked')
        self.assertNothing(self.make_run(), 'blocked')

    def test_no_procedure(self):
        self.make_invoice(self.make_partner('Acme'))
        own = self.make_partner('Own')
        own.dunning_procedure_id = self.procedure
        self.make_invoice(own)
        run = self.make_run(generate=False).sudo()
        self.company.dunning_procedure_id = False
        notices, exceptions = self.env['dunning.proposal'].with_company(self.company)._propose(run)
        self.assertEqual([values['partner_id'] for values in notices], own.ids)
        self.assertEqual([values['reason'] for values in exceptions], ['no_procedure'])

    def test_customers_own_procedure(self):
        strict = self.procedure.copy({'name': 'Strict'})
        strict.level_ids.sorted('sequence')[0].delay_days = 1
        partner = self.make_partner('Acme')
        partner.dunning_procedure_id = strict
        self.make_invoice(partner, due=self.days(-2))
        usual = self.make_partner('Usual')
        self.make_invoice(usual, due=self.days(-2))
        run = self.make_run()
        self.assertEqual((run.notice_ids.partner_id, run.notice_ids.level_id.procedure_id), (partner, strict))
        self.assertEqual(self.reasons(run, usual), ['not_yet'])

    def test_filters(self):
        strict = self.procedure.copy({'name': 'Strict'})
        acme, other = self.make_partner('Acme'), self.make_partner('Other')
        other.dunning_procedure_id = strict
        contact = self.make_partner('Contact of Acme', is_company=False, parent_id=acme.id)
        for partner in acme | other:
            self.make_invoice(partner)
        self.assertEqual(self.make_run(partner_ids=contact.ids).notice_ids.partner_id, acme)
        run = self.make_run(procedure_ids=strict.ids)
        self.assertEqual(run.notice_ids.partner_id, other)
        self.assertFalse(run.exception_ids, "what the filter leaves out is nobody's concern")

    def test_due_until(self):
        partner = self.make_partner('Acme')
        old, new = self.make_invoice(partner, due='2026-10-01'), self.make_invoice(partner, due='2026-10-20')
        run = self.make_run(due_until='2026-10-01')
        self.assertEqual(run.notice_ids.line_ids.move_id, old)
        run.due_until = '2026-10-20'
        self.assertEqual(self.generate(run).line_ids.move_id, old | new)

    def test_due_until_follows_the_date(self):
        with Form(self.env['dunning.run'].with_user(self.clerk), view=None) as form:
            form.date = self.days(7)
            self.assertEqual(form.due_until, self.days(7))

    def test_contacts_owe_for_their_company(self):
        acme = self.make_partner('Acme')
        contact = self.make_partner('Contact', is_company=False, parent_id=acme.id)
        self.make_invoice(acme, 10)
        self.make_invoice(contact, 20)
        notice = self.make_run().notice_ids
        self.assertEqual((notice.partner_id, notice.amount_total), (acme, 30.0))

    def test_branches(self):
        """A branch's items are the company's, as everywhere in core; a run of the branch sees its own only."""
        branch = self.env['res.company'].create({'name': 'Branch', 'parent_id': self.company.id})
        self.env.cr.precommit.run()  # loads the chart of accounts
        self.env.user.company_ids += branch
        partner = self.make_partner('Acme')
        self.make_invoice(partner, 10)
        move = self.env['account.move'].with_company(branch).create({
            'move_type': 'out_invoice', 'partner_id': partner.id, 'company_id': branch.id,
            'invoice_date': '2026-09-01', 'invoice_date_due': '2026-10-01', 'invoice_payment_term_id': False,
            'invoice_line_ids': [Command.create({'name': 'S', 'quantity': 1, 'price_unit': 20, 'tax_ids': False})]})
        move.action_post()
        self.assertEqual(self.receivable(move).company_id, branch)
        self.assertEqual(self.make_run().notice_ids.amount_total, 30.0)
        self.env['dunning.run'].search([]).action_cancel()
        branch.dunning_procedure_id = self.procedure
        branch.dunning_fallback_lang = 'de_DE'
        run = self.make_run(user=self.env.user, company_id=branch.id)
        self.assertEqual((run.notice_ids.amount_total, run.notice_ids.company_id), (20.0, branch))

    def test_other_company(self):
        """Nothing of another company, and its holds and procedures are its own."""
        other = self.env['res.company'].create({'name': 'Other', 'currency_id': self.currency.id})
        self.env['account.chart.template'].try_loading('generic_coa', company=other, install_demo=False)
        partner = self.make_partner('Acme')
        self.env.user.company_ids += other
        move = self.env['account.move'].with_company(other).create({
            'move_type': 'out_invoice', 'partner_id': partner.id, 'company_id': other.id,
            'invoice_date': '2026-09-01', 'invoice_date_due': '2026-10-01', 'invoice_payment_term_id': False,
            'invoice_line_ids': [Command.create({'name': 'S', 'quantity': 1, 'price_unit': 20, 'tax_ids': False})]})
        move.action_post()
        self.assertNothing(self.make_run())
        self.make_invoice(partner, 10)
        self.assertEqual(self.make_run().notice_ids.amount_total, 10.0)


@tagged('post_install', '-at_install')
class TestItemsAndCredits(ProposalCommon):
    """Instalments, credits first, currencies, recipients."""

    def make_term(self, *parts):
        return self.env['account.payment.term'].create({
            'name': 'Instalments', 'line_ids': [
                Command.create({'value': 'percent', 'value_amount': percent, 'nb_days': days})
                for percent, days in parts]})

    def make_instalments(self, partner, amount=300.0, invoice_date='2026-09-01', parts=((40, 0), (30, 60), (30, 120))):
        move = self.env['account.move'].create({
            'move_type': 'out_invoice', 'partner_id': partner.id, 'invoice_date': invoice_date,
            'invoice_payment_term_id': self.make_term(*parts).id,
            'invoice_line_ids': [Command.create(
                {'name': 'Machine', 'quantity': 1, 'price_unit': amount, 'tax_ids': False})]})
        move.action_post()
        return move

    def test_instalments(self):
        partner = self.make_partner('Acme')
        invoice = self.make_instalments(partner)  # due on 2026-09-01, 2026-10-31 and 2026-12-30
        first, second, third = self.receivable(invoice).sorted('date_maturity')
        notice = self.dun(fields.Date.to_date('2026-10-01')).notice_ids
        self.assertEqual(notice.line_ids.move_line_id, first, "only what is due, not the whole invoice")
        self.assertEqual(notice.amount_total, 120.0)
        notice = self.dun().notice_ids
        self.assertEqual(notice.line_ids.move_line_id, first | second)
        levels = {line.move_line_id: line.level_id for line in notice.line_ids}
        self.assertEqual(levels, {first: self.level_2, second: self.level_1})
        self.assertEqual((notice.level_id, notice.amount_total), (self.level_2, 210.0))
        self.assertFalse(third.dunning_level_id)

    def test_credit_note_and_payment_oldest_first(self):
        partner = self.make_partner('Acme')
        old, new = self.make_invoice(partner, 100, '2026-09-15'), self.make_invoice(partner, 200, '2026-10-15')
        refund = self.make_invoice(partner, 130, move_type='out_refund', due='2026-11-01')
        payment = self.make_unallocated(partner, 20)
        run = self.make_run()
        notice = run.notice_ids
        self.assertEqual(self.lines(notice).move_id, new, "the oldest item is covered")
        self.assertEqual(
            {line.move_id: line.amount_residual for line in self.lines(notice, 'credit')},
            {refund: -30.0, payment: -20.0}, "what the older item left of the credits")
        self.assertEqual((notice.amount_overdue, notice.amount_credit, notice.amount_total), (200.0, 50.0, 150.0))
        self.assertEqual([(e.reason, e.move_id) for e in run.exception_ids], [('covered', old)])

    def test_credits_cover_all(self):
        partner = self.make_partner('Acme')
        self.make_invoice(partner, 100)
        self.make_invoice(partner, 300, move_type='out_refund')
        run = self.make_run()
        self.assertNothing(run, 'covered')
        self.assertIn('300', run.exception_ids.description)

    def test_credit_used_up_by_another_open_notice(self):
        partner = self.make_partner('Acme')
        self.make_invoice(partner, 100, '2026-09-15')
        self.make_unallocated(partner, 60)
        self.assertEqual(self.make_run().notice_ids.amount_total, 40.0)
        self.make_invoice(partner, 50, '2026-10-15')
        second = self.make_run()
        self.assertEqual(
            (second.notice_ids.amount_total, second.notice_ids.amount_credit), (50.0, 0.0),
            "the payment was set off on the first notice")

    def test_credit_of_another_customer(self):
        self.make_invoice(self.make_partner('Acme'), 100)
        self.make_unallocated(self.make_partner('Other'), 60)
        self.assertEqual(self.make_run().notice_ids.amount_total, 100.0)

    def test_credit_of_a_contact(self):
        acme = self.make_partner('Acme')
        contact = self.make_partner('Contact', is_company=False, parent_id=acme.id)
        self.make_invoice(acme, 100)
        self.make_unallocated(contact, 60)
        self.assertEqual(self.make_run().notice_ids.amount_total, 40.0)

    def test_credit_not_used_for_held_items(self):
        partner = self.make_partner('Acme')
        held = self.make_invoice(partner, 100, '2026-09-15')
        held.dunning_hold_until = self.days(30)
        self.make_invoice(partner, 100, '2026-10-15')
        self.make_unallocated(partner, 60)
        self.assertEqual(self.make_run().notice_ids.amount_total, 40.0, "to the customer's favour")

    def test_credits_before_levels(self):
        """What a credit covers does not raise the level of the notice."""
        partner = self.make_partner('Acme')
        old = self.make_invoice(partner, 100, '2026-09-15')
        self.dun()
        self.make_invoice(partner, 50, '2026-11-20')
        self.make_unallocated(partner, 100)
        run = self.make_run(self.days(20))
        self.assertEqual(run.notice_ids.level_id, self.level_1)
        self.assertNotIn(old, run.notice_ids.line_ids.move_id.filtered(lambda move: move.move_type == 'out_invoice'))

    def test_currencies_are_never_mixed(self):
        partner = self.make_partner('Acme')
        own = self.make_invoice(partner, 100)
        foreign = self.make_invoice(partner, 70, currency=self.foreign)
        self.make_unallocated(partner, 30, currency=self.foreign)
        run = self.make_run()
        by_currency = {notice.currency_id: notice for notice in run.notice_ids}
        self.assertEqual(set(by_currency), {self.currency, self.foreign})
        self.assertEqual(by_currency[self.currency].amount_total, 100.0)
        self.assertEqual(self.lines(by_currency[self.currency]).move_id, own)
        self.assertEqual(by_currency[self.foreign].amount_total, 40.0, "in its own currency, not converted")
        self.assertEqual(self.lines(by_currency[self.foreign]).move_id, foreign)

    def test_currency_without_rate(self):
        partner = self.make_partner('Acme')
        self.make_invoice(partner, 70, currency=self.foreign)
        other = self.make_partner('Other')
        self.make_invoice(other)
        self.env['res.currency.rate'].search([('currency_id', '=', self.foreign.id)]).unlink()
        run = self.make_run()
        self.assertEqual(run.notice_ids.partner_id, other)
        self.assertEqual(self.reasons(run, partner), ['no_rate'])
        self.assertIn(self.foreign.name, run.exception_ids.description)

    def test_recipient(self):
        partner = self.make_partner('Acme')
        self.make_invoice(partner)
        run = self.make_run()
        self.assertEqual(run.notice_ids.recipient_id, partner)
        invoice_address = self.make_partner('Invoices', parent_id=partner.id, type='invoice', is_company=False)
        self.assertEqual(self.generate(run).recipient_id, invoice_address)
        dunning_address = self.make_partner('Dunning', parent_id=partner.id, type='dunning', is_company=False)
        notice = self.generate(run)
        self.assertEqual((notice.recipient_id, notice.partner_id), (dunning_address, partner))
        dunning_address.active = False
        self.assertEqual(self.generate(run).recipient_id, invoice_address)


@tagged('post_install', '-at_install')
class TestLevels(ProposalCommon):
    """The level of an item, its grace and minimum amounts, grouping, fees."""

    def test_first_level_counts_from_the_due_date(self):
        for name, days, expected in (('a', 9, False), ('b', 10, True), ('c', 400, True)):
            partner = self.make_partner(name)
            self.make_invoice(partner, due=self.days(-days))
            run = self.make_run(lang='de_DE', partner_ids=partner.ids)
            self.assertEqual(bool(run.notice_ids), expected, days)
            if expected:
                self.assertEqual(run.notice_ids.level_id, self.level_1, "no level is skipped, however late the run")
            else:
                self.assertNothing(run, 'not_yet')
                self.assertIn('25.11.2026', run.exception_ids.description)

    def test_delay_of_zero_days_still_needs_an_overdue_item(self):
        self.level_1.delay_days = 0
        partner = self.make_partner('Acme')
        invoice = self.make_invoice(partner, due=self.days(-1))
        self.make_invoice(partner, due=self.days(0))
        self.assertEqual(self.make_run().notice_ids.line_ids.move_id, invoice)

    def test_later_levels_count_from_the_last_notice(self):
        invoice = self.make_invoice(self.make_partner('Acme'), due='2026-01-01')
        notice = self.dun().notice_ids
        self.assertEqual((notice.date, notice.date_deadline), (TODAY, self.days(10)))
        self.assertLevels(invoice, self.level_1)
        run = self.make_run(self.days(14), lang='de_DE')
        self.assertNothing(run, 'not_yet')
        self.assertIn('09.12.2026', run.exception_ids.description)
        run.sudo().unlink()
        run = self.dun(self.days(15))
        self.assertEqual(run.notice_ids.level_id, self.level_2)
        line = run.notice_ids.line_ids
        self.assertEqual((line.level_id, line.previous_level_id), (self.level_2, self.level_1))
        self.assertLevels(invoice, self.level_2)
        self.assertEqual(self.dun(self.days(30)).notice_ids.level_id, self.level_3)
        self.assertLevels(invoice, self.level_3)
        self.assertNothing(self.make_run(self.days(400)), 'last_level')

    def test_deadline_must_be_over(self):
        self.level_1.deadline_days = 20
        self.make_invoice(self.make_partner('Acme'))
        self.dun()
        self.assertNothing(self.make_run(self.days(20)), 'not_yet')
        self.assertEqual(self.make_run(self.days(21)).notice_ids.level_id, self.level_2)

    def test_deadline_as_the_clerk_set_it(self):
        self.make_invoice(self.make_partner('Acme'))
        run = self.make_run()
        run.notice_ids.date_deadline = self.days(30)
        run.action_print_and_send()
        run._hand_out_letters()
        run.action_mark_printed()
        self.assertNothing(self.make_run(self.days(30)), 'not_yet')
        self.assertEqual(self.make_run(self.days(31)).notice_ids.level_id, self.level_2)

    def test_repeat_of_the_last_level(self):
        (self.level_2 | self.level_3).unlink()
        self.level_1.repeat = True
        invoice = self.make_invoice(self.make_partner('Acme'))
        self.dun()
        self.assertNothing(self.make_run(self.days(10)), 'not_yet')
        run = self.dun(self.days(11))
        self.assertEqual(run.notice_ids.level_id, self.level_1, "the same delay, and after the deadline")
        self.assertEqual(self.receivable(invoice).dunning_last_date, self.days(11))

    def test_repeat_matters_on_the_last_level_only(self):
        self.level_1.repeat = True
        self.make_invoice(self.make_partner('Acme'))
        self.dun()
        self.assertEqual(self.make_run(self.days(15)).notice_ids.level_id, self.level_2)

    def test_grace_days_select_without_changing_levels(self):
        self.procedure.grace_days = 20
        partner = self.make_partner('Acme')
        self.make_invoice(partner, due=self.days(-20))
        run = self.make_run()
        self.assertNothing(run, 'grace')
        self.make_invoice(partner, due=self.days(-21))
        notice = self.generate(run)
        self.assertEqual(self.lines(notice).mapped('days_overdue'), [21])
        self.assertEqual(notice.level_id, self.level_1)

    def test_another_procedure_goes_on_where_the_first_ended(self):
        partner = self.make_partner('Acme')
        self.make_invoice(partner)
        self.dun()
        strict = self.procedure.copy({'name': 'Strict'})
        partner.dunning_procedure_id = strict
        self.assertEqual(self.make_run(self.days(15)).notice_ids.level_id, strict.level_ids.sorted('sequence')[1])

    def test_gap_in_the_numbers_of_levels(self):
        self.level_2.sequence = 7
        self.level_3.sequence = 9
        self.make_invoice(self.make_partner('Acme'))
        self.dun()
        self.assertEqual(self.dun(self.days(15)).notice_ids.level_id, self.level_2)
        self.assertEqual(self.make_run(self.days(30)).notice_ids.level_id, self.level_3)

    # === MINIMUM AMOUNTS === #

    def test_minimum_of_the_company(self):
        self.company.dunning_min_amount = 100
        partner = self.make_partner('Acme')
        self.make_invoice(partner, 60)
        run = self.make_run()
        self.assertNothing(run, 'below_minimum')
        self.make_invoice(partner, 40)
        self.assertEqual(self.generate(run).amount_total, 100.0, "the customer's items together")

    def test_minimum_in_foreign_currency(self):
        self.company.dunning_min_amount = 100
        partner = self.make_partner('Acme')
        self.make_invoice(partner, 150, currency=self.foreign)  # 75 in the company's currency
        run = self.make_run()
        self.assertNothing(run, 'below_minimum')
        self.make_invoice(partner, 50, currency=self.foreign)
        self.assertEqual(self.generate(run).amount_total, 200.0)

    def test_minimum_after_credits(self):
        self.company.dunning_min_amount = 100
        partner = self.make_partner('Acme')
        self.make_invoice(partner, 120)
        self.make_unallocated(partner, 21)
        self.assertNothing(self.make_run(), 'below_minimum')

    def test_level_falls_back(self):
        partner = self.make_partner('Acme')
        old = self.make_invoice(partner, 60)
        self.dun()
        new = self.make_invoice(partner, 30, due=self.days(-1))
        self.level_2.min_amount = 100
        notice = self.make_run(self.days(15)).notice_ids
        self.assertEqual(notice.level_id, self.level_1)
        self.assertEqual(self.lines(notice).move_id, new)
        info = self.lines(notice, 'info')
        self.assertEqual((info.move_id, info.level_id), (old, self.level_1))

    def test_level_falls_back_to_one_that_went_out(self):
        partner = self.make_partner('Acme')
        self.make_invoice(partner, 60)
        self.dun()
        self.level_2.min_amount = 100
        self.assertNothing(self.make_run(self.days(15)), 'below_minimum')

    def test_level_falls_back_more_than_once(self):
        partner = self.make_partner('Acme')
        self.make_invoice(partner, 60)
        self.dun()
        self.dun(self.days(15))
        self.make_invoice(partner, 5, due=self.days(-1))
        self.level_3.min_amount = self.level_2.min_amount = 100
        self.assertEqual(self.make_run(self.days(30)).notice_ids.level_id, self.level_1)

    # === GROUPING === #

    def make_two_levels(self, grouping):
        """A customer with an item of level 2, one of level 1, one that is overdue only."""
        self.procedure.grouping = grouping
        partner = self.make_partner('Acme')
        old = self.make_invoice(partner, 10)
        self.dun()
        new = self.make_invoice(partner, 20, due=self.days(-1))
        fresh = self.make_invoice(partner, 40, due=self.days(14))
        return old, new, fresh, self.make_run(self.days(15))

    def test_one_notice_for_each_customer(self):
        old, new, fresh, run = self.make_two_levels('customer')
        notice = run.notice_ids
        self.assertEqual(len(notice), 1)
        self.assertEqual(
            {(line.kind, line.move_id, line.level_id) for line in notice.line_ids},
            {('due', old, self.level_2), ('due', new, self.level_1), ('info', fresh, self.level_1.browse())})
        self.assertEqual(notice.level_id, self.level_2, "the highest level, each line its own")
        self.assertEqual((notice.amount_overdue, notice.amount_total), (30.0, 30.0), "information is not claimed")
        self.assertEqual(self.reasons(run), ['not_yet'])
        run.action_print_and_send()
        run._hand_out_letters()
        run.action_mark_printed()
        self.assertLevels(fresh, self.level_1.browse())

    def test_one_notice_for_each_level(self):
        old, new, fresh, run = self.make_two_levels('level')
        by_level = {notice.level_id: notice for notice in run.notice_ids}
        self.assertEqual(len(run.notice_ids), 2)
        self.assertEqual(self.lines(by_level[self.level_1]).move_id, new)
        self.assertEqual(self.lines(by_level[self.level_2]).move_id, old)
        self.assertFalse(self.lines(by_level[self.level_1], 'info'))
        self.assertEqual(self.lines(by_level[self.level_2], 'info').move_id, fresh)

    # === FEES === #

    def set_fees(self, method='single'):
        for level, fee in zip(self.procedure.level_ids.sorted('sequence'), (0, 20, 30), strict=True):
            self.set_fee(level, fee, method)

    def test_no_fee_as_installed(self):
        self.make_invoice(self.make_partner('Acme'))
        self.assertEqual(self.dun().notice_ids.amount_fee, 0.0)
        self.assertEqual(self.dun(self.days(15)).notice_ids.amount_fee, 0.0)

    def test_single_fee(self):
        self.set_fees()
        self.make_invoice(self.make_partner('Acme'), 100)
        fees = [self.dun(self.days(days)).notice_ids.amount_fee for days in (0, 15, 30)]
        self.assertEqual(fees, [0.0, 20.0, 30.0])

    def test_cumulated_fee(self):
        self.set_fees('cumulated')
        self.make_invoice(self.make_partner('Acme'), 100)
        notices = [self.dun(self.days(days)).notice_ids for days in (0, 15, 30)]
        self.assertEqual([(notice.amount_fee, notice.amount_earlier) for notice in notices], [
            (0.0, 0.0), (20.0, 0.0), (30.0, 20.0)])
        self.assertEqual(notices[2].amount_total, 150.0)

    def test_cumulated_fee_without_cancelled_notices(self):
        self.set_fees('cumulated')
        self.make_invoice(self.make_partner('Acme'), 100)
        self.dun()
        self.dun(self.days(15)).notice_ids.action_cancel()
        again = self.dun(self.days(16)).notice_ids
        self.assertEqual((again.level_id, again.amount_fee), (self.level_2, 20.0))
        last = self.dun(self.days(31)).notice_ids
        self.assertEqual((last.amount_fee, last.amount_earlier), (30.0, 20.0))

    def test_waived_fee_does_not_come_back(self):
        self.set_fees('cumulated')
        self.make_invoice(self.make_partner('Acme'), 100)
        self.dun()
        run = self.make_run(self.days(15))
        run.notice_ids.amount_fee = 0
        run.action_print_and_send()
        run._hand_out_letters()
        run.action_mark_printed()
        last = self.dun(self.days(30)).notice_ids
        self.assertEqual((last.amount_fee, last.amount_earlier), (30.0, 0.0))

    def test_fee_once_per_customer_with_two_currencies(self):
        self.set_fee(self.level_1, 10)
        self.make_invoice(self.make_partner('Small'), 5, currency=self.foreign)
        partner = self.make_partner('Acme')
        self.make_invoice(partner, 100)
        self.make_invoice(partner, 400, currency=self.foreign)  # 200 in the company's currency
        run = self.make_run()
        fees = {(notice.partner_id.name, notice.currency_id): notice.amount_fee for notice in run.notice_ids}
        self.assertEqual(fees, {
            ('Acme', self.currency): 0.0, ('Acme', self.foreign): 20.0, ('Small', self.foreign): 20.0})

    def test_fee_on_the_notice_of_the_highest_level(self):
        """The larger amount may be at a lower level: it does not bear the fee of the higher one."""
        self.set_fees('cumulated')
        partner = self.make_partner('Acme')
        self.make_invoice(partner, 100)
        self.dun()
        self.make_invoice(partner, 1000, due=self.days(-1), currency=self.foreign)
        run = self.dun(self.days(15))
        fees = {notice.currency_id: notice.amount_fee for notice in run.notice_ids}
        self.assertEqual(fees, {self.currency: 20.0, self.foreign: 0.0})
        run = self.make_run(self.days(30))
        fees = {notice.currency_id: (notice.amount_fee, notice.amount_earlier) for notice in run.notice_ids}
        self.assertEqual(fees, {self.currency: (30.0, 20.0), self.foreign: (0.0, 0.0)}, "30, and the 20 of before")

    def test_fee_is_no_credit_when_paid(self):
        """Fees are not booked: who pays the claim alone has paid, and a person is told of the fee."""
        self.set_fee(self.level_1, 10)
        invoice = self.make_invoice(self.make_partner('Acme'), 100)
        self.dun()
        self.pay(invoice)
        self.assertNothing(self.make_run(self.days(15)), 'charges')


@tagged('post_install', '-at_install')
class TestRepetition(ProposalCommon):
    """Generating twice, several runs, what counts and what does not."""

    def snapshot(self, run):
        return sorted(
            (notice.partner_id.name, notice.level_id.name, notice.amount_total, notice.lang,
             tuple(sorted((line.kind, line.name, line.amount_residual) for line in notice.line_ids)))
            for notice in run.notice_ids)

    def test_generating_twice_gives_the_same(self):
        for name in ('Acme', 'Other'):
            partner = self.make_partner(name)
            self.make_invoice(partner, 100)
            self.make_invoice(partner, 50, due=self.days(-3))
            self.make_unallocated(partner, 10)
        run = self.make_run()
        before, reasons = self.snapshot(run), self.reasons(run)
        first = run.notice_ids
        self.generate(run)
        self.assertEqual((self.snapshot(run), self.reasons(run)), (before, reasons))
        self.assertFalse(first.exists(), "drafts are replaced")

    def test_excluded_stays_excluded(self):
        partner, other = self.make_partner('Acme'), self.make_partner('Other')
        invoice = self.make_invoice(partner)
        self.make_invoice(other)
        run = self.make_run()
        excluded = run.notice_ids.filtered(lambda notice: notice.partner_id == partner)
        excluded.action_exclude()
        self.generate(run)
        self.assertEqual(excluded.state, 'excluded')
        self.assertEqual(sorted(run.notice_ids.mapped('state')), ['draft', 'excluded'])
        self.assertEqual(self.reasons(run, partner), ['excluded'])
        run.action_print_and_send()
        run._hand_out_letters()
        run.action_mark_printed()
        self.assertEqual(excluded.state, 'excluded')
        self.assertFalse(excluded.delivery_state)
        self.assertLevels(invoice, self.level_1.browse())

    def test_excluded_notice_can_be_put_back(self):
        self.make_invoice(self.make_partner('Acme'))
        notice = self.make_run().notice_ids
        notice.action_exclude()
        notice.action_include()
        self.assertEqual(notice.state, 'draft')
        notice.action_exclude()
        other = self.make_run()
        self.assertEqual(len(other.notice_ids), 1, "an excluded notice reserves nothing")
        with self.assertRaisesRegex(UserError, "another open notice"):
            notice.action_include()
        self.assertEqual(notice.state, 'excluded')

    def test_open_notice_reserves_its_items(self):
        invoice = self.make_invoice(self.make_partner('Acme'))
        first = self.make_run()
        self.assertNothing(self.make_run(), 'reserved')
        first.action_print_and_send()
        second = self.make_run()
        self.assertNothing(second, 'reserved')
        self.assertIn(first.notice_ids.name, second.exception_ids.description)
        self.assertLevels(invoice, self.level_1.browse())

    def test_second_run_on_the_same_day_finds_nothing(self):
        self.make_invoice(self.make_partner('Acme'))
        self.dun()
        self.assertNothing(self.make_run(), 'not_yet')

    def test_generated_run_replaces_only_its_own_drafts(self):
        acme, other = self.make_partner('Acme'), self.make_partner('Other')
        self.make_invoice(acme)
        self.make_invoice(other)
        first = self.make_run(partner_ids=acme.ids)
        second = self.make_run(partner_ids=other.ids)
        kept = first.notice_ids
        self.generate(second)
        self.assertTrue(kept.exists())
        self.assertEqual(second.notice_ids.partner_id, other)

    def test_no_generating_after_printing(self):
        self.make_invoice(self.make_partner('Acme'))
        run = self.dun()
        with self.assertRaisesRegex(UserError, run.name):
            run.action_generate_notices()

    def test_what_counts(self):
        """Printed counts, un-printed, cancelled and failed do not."""
        invoice = self.make_invoice(self.make_partner('Acme'))
        nothing = self.level_1.browse()
        run = self.make_run()
        self.assertLevels(invoice, nothing)
        run.action_print_and_send()
        notice = run.notice_ids
        self.assertEqual(notice.delivery_state, 'paper')
        self.assertLevels(invoice, nothing)
        run._hand_out_letters()
        run.action_mark_printed()
        self.assertLevels(invoice, self.level_1)
        self.assertEqual(self.receivable(invoice).dunning_last_date, TODAY)
        notice.action_unmark_printed()
        self.assertLevels(invoice, nothing)
        notice.action_mark_printed()
        self.assertLevels(invoice, self.level_1)
        notice.action_cancel()
        self.assertLevels(invoice, nothing)
        self.assertEqual(notice.delivery_state, 'paper', "it keeps its last true value")
        self.assertEqual(len(self.make_run().notice_ids), 1, "the item is free again")

    def test_delivery_states_that_count(self):
        provider = self.env['dunning.provider'].create({
            'name': 'P', 'smtp_host': 'localhost', 'email_from': 'mahnung@muster.test'})
        self.company.dunning_provider_id = provider
        invoice = self.make_invoice(self.make_partner('Acme'))
        notice = self.make_run().notice_ids
        notice.run_id.action_print_and_send()
        self.assertEqual(notice.delivery_state, 'released')
        notice = notice.sudo()
        for state, counts in (('sending', False), ('failed', False), ('released', False), ('sending', False),
                              ('unclear', True), ('released', False), ('sending', False), ('sent', True)):
            self.assertEqual(notice._set_delivery(state, 'test'), notice)
            self.assertLevels(invoice, self.level_1 if counts else self.level_1.browse())
            self.assertEqual(notice.is_counted, counts)
        self.assertNothing(self.make_run(), 'not_yet')

    def test_failed_notice_frees_its_items(self):
        provider = self.env['dunning.provider'].create({
            'name': 'P', 'smtp_host': 'localhost', 'email_from': 'mahnung@muster.test'})
        self.company.dunning_provider_id = provider
        self.make_invoice(self.make_partner('Acme'))
        run = self.make_run()
        run.action_print_and_send()
        notice = run.notice_ids.sudo()
        notice._set_delivery('sending', 'test')
        notice._set_delivery('failed', 'test')
        again = self.make_run()
        self.assertEqual(again.notice_ids.level_id, self.level_1)
        with self.assertRaises(UserError):
            notice.with_user(self.clerk).action_set_paper()
        with self.assertRaises(UserError):
            notice.with_user(self.clerk).action_retry()

    def test_trial_mode_does_not_count(self):
        provider = self.env['dunning.provider'].create({
            'name': 'P', 'smtp_host': 'localhost', 'email_from': 'mahnung@muster.test',
            'redirect_to': 'me@muster.test'})
        self.company.dunning_provider_id = provider
        invoice = self.make_invoice(self.make_partner('Acme'))
        run = self.make_run()
        self.assertIn('me@muster.test', run.provider_warning)
        run.action_print_and_send()
        notice = run.notice_ids.sudo()
        notice._set_delivery('sending', 'test', redirected_to='me@muster.test')
        notice._set_delivery('sent', 'test')
        self.assertLevels(invoice, self.level_1.browse())

    def test_unprinting_takes_back_to_the_level_before(self):
        invoice = self.make_invoice(self.make_partner('Acme'))
        self.dun()
        notice = self.dun(self.days(15)).notice_ids
        self.assertLevels(invoice, self.level_2)
        notice.action_unmark_printed()
        self.assertLevels(invoice, self.level_1)
        notice.action_cancel()
        self.assertEqual(self.make_run(self.days(16)).notice_ids.level_id, self.level_2)

    @mute_logger('odoo.sql_db')
    def test_two_runs_at_once_never_share_an_item(self):
        """The second run read before the first wrote; the database does not let it write."""
        self.make_invoice(self.make_partner('Acme'))
        acme_run = self.make_run(generate=False)
        other_run = self.make_run(generate=False)
        proposal = self.env.registry['dunning.proposal']
        before = self.env['dunning.proposal'].sudo().with_company(self.company)._propose(other_run.sudo())
        acme_run.action_generate_notices()
        with (patch.object(proposal, '_propose', lambda *_args: before),
              self.assertRaisesRegex(UserError, "same moment")):
            other_run.action_generate_notices()
        self.assertFalse(other_run.notice_ids)
        self.assertEqual(other_run.state, 'draft')
        self.assertEqual(len(acme_run.notice_ids), 1)
        other_run.action_generate_notices()
        self.assertNothing(other_run, 'reserved')

    def test_taking_lines_out_of_a_draft(self):
        partner = self.make_partner('Acme')
        old = self.make_invoice(partner, 10)
        self.dun()
        new = self.make_invoice(partner, 20, due=self.days(-1))
        run = self.make_run(self.days(15))
        notice = run.notice_ids
        self.assertEqual(notice.level_id, self.level_2)
        self.lines(notice).filtered(lambda line: line.move_id == old).action_take_out()
        self.assertEqual((notice.line_ids.move_id, notice.amount_total), (new, 20.0))
        self.assertEqual(notice.level_id, self.level_1, "the highest of what is left")
        with self.assertRaises(UserError):
            notice.line_ids.action_take_out()
        self.assertEqual(self.make_run(self.days(15)).notice_ids.line_ids.move_id, old, "the line is free again")

    def test_cancelled_run(self):
        invoice = self.make_invoice(self.make_partner('Acme'))
        run = self.make_run()
        run.action_print_and_send()
        run.action_cancel()
        self.assertEqual((run.state, run.notice_ids.state), ('cancelled', 'cancelled'))
        self.assertEqual(len(self.make_run().notice_ids), 1)
        self.assertLevels(invoice, self.level_1.browse())
        printed = self.make_run(generate=False)
        self.env['dunning.run'].search([('id', '!=', printed.id)]).action_cancel()
        printed.action_generate_notices()
        printed.action_print_and_send()
        printed._hand_out_letters()
        printed.action_mark_printed()
        printed.action_cancel()
        self.assertEqual(printed.notice_ids.state, 'issued', "what went out stays what it is")
        self.assertLevels(invoice, self.level_1)


@tagged('post_install', '-at_install')
class TestFeePayments(ProposalCommon):
    """Fees are printed and never booked: a payment of them stays open, and is no credit."""

    def setUp(self):
        super().setUp()
        self.set_fee(self.level_1, 10)
        self.partner = self.make_partner('Acme')

    def pay_with_fee(self, invoice, amount):
        """Pay an invoice and more."""
        payment = self.make_unallocated(self.partner, amount, currency=invoice.currency_id)
        (self.receivable(invoice) | self.receivable(payment)).reconcile()
        self.assertEqual(invoice.amount_residual, 0.0)

    def dun_and_pay(self, fee, currency=None):
        invoice = self.make_invoice(self.partner, 100, currency=currency)
        self.dun()
        self.pay_with_fee(invoice, 100 + fee)
        return self.make_invoice(self.partner, 50, due='2026-10-10', currency=currency)

    def credits(self, run):
        return self.lines(run.notice_ids, 'credit').mapped('amount_residual')

    def test_exactly_the_fee(self):
        new = self.dun_and_pay(10)
        run = self.make_run(self.days(1))
        self.assertEqual(self.lines(run.notice_ids).move_id, new)
        self.assertEqual((self.credits(run), run.notice_ids.amount_total), ([], 60.0))

    def test_less_than_the_fee(self):
        self.dun_and_pay(4)
        self.assertEqual(self.credits(self.make_run(self.days(1))), [])

    def test_more_than_the_fee(self):
        self.dun_and_pay(10.05)
        self.assertEqual(self.credits(self.make_run(self.days(1))), [-0.05], "what is more")

    def test_fee_in_foreign_currency(self):
        """10 in the company's currency were printed as 20."""
        self.dun_and_pay(20, currency=self.foreign)
        self.assertEqual(self.credits(self.make_run(self.days(1))), [])

    def test_fee_of_another_currency_does_not_count(self):
        self.dun_and_pay(10)
        self.make_invoice(self.partner, 50, currency=self.foreign)
        self.make_unallocated(self.partner, 10, currency=self.foreign)
        self.assertEqual(self.credits(self.make_run(self.days(1))), [-10.0])

    def test_unreconciled_payment_is_a_credit(self):
        """However small beside old fees: it may be for the new invoice."""
        self.dun_and_pay(0)
        self.make_unallocated(self.partner, 9)
        self.assertEqual(self.credits(self.make_run(self.days(1))), [-9.0])

    def test_fee_first_though_it_would_settle_an_invoice(self):
        """It was paid with the notice's items: it is there for the notice's charges."""
        self.set_fee(self.level_1, 60)
        self.dun_and_pay(50)
        notice = self.make_run(self.days(1)).notice_ids
        self.assertEqual((notice.amount_overdue, notice.amount_credit, notice.amount_earlier), (50.0, 0.0, 10.0))

    def test_credit_note_is_a_credit(self):
        self.dun_and_pay(0)
        self.make_invoice(self.partner, 10, move_type='out_refund')
        self.assertEqual(self.credits(self.make_run(self.days(1))), [-10.0])

    def test_notice_that_does_not_count(self):
        invoice = self.make_invoice(self.partner, 100)
        self.dun().notice_ids.action_cancel()
        self.pay_with_fee(invoice, 110)
        self.make_invoice(self.partner, 50)
        self.assertEqual(self.credits(self.make_run(self.days(1))), [-10.0])

    def test_waived_fee(self):
        invoice = self.make_invoice(self.partner, 100)
        run = self.make_run()
        run.notice_ids.amount_fee = 0
        run.action_print_and_send()
        run._hand_out_letters()
        run.action_mark_printed()
        self.pay_with_fee(invoice, 110)
        self.make_invoice(self.partner, 50)
        self.assertEqual(self.credits(self.make_run(self.days(1))), [-10.0])

    def test_another_customers_fees(self):
        self.make_invoice(self.make_partner('Other'), 100)
        self.dun()
        self.make_invoice(self.partner, 50)
        self.make_unallocated(self.partner, 10)
        self.assertEqual(self.credits(self.make_run()), [-10.0])

    def test_read_again_before_issue(self):
        """The rule is the same when the open amounts are read again."""
        self.dun_and_pay(10)
        run = self.make_run(self.days(1))
        run.action_print_and_send()
        self.assertEqual((run.notice_ids.state, run.notice_ids.amount_total), ('issued', 60.0))
        self.assertFalse(self.lines(run.notice_ids, 'credit'))

    def test_cumulated_without_a_fee_of_its_own(self):
        self.level_2.fee_method = 'cumulated'
        self.make_invoice(self.partner, 100)
        self.assertEqual(self.dun().notice_ids.amount_fee, 10.0)
        notice = self.dun(self.days(15)).notice_ids
        self.assertEqual((notice.amount_fee, notice.amount_earlier), (0.0, 10.0), "those of before, and nothing more")


@tagged('post_install', '-at_install')
class TestMinimumIsTestedAgain(ProposalCommon):
    """The minimum amounts need not rise with the levels."""

    def setUp(self):
        super().setUp()
        self.partner = self.make_partner('Acme')
        self.old = self.make_invoice(self.partner, 60)
        self.dun()
        self.new = self.make_invoice(self.partner, 30, due=self.days(-1))

    def test_the_level_of_what_is_left(self):
        self.level_1.min_amount = 95
        self.level_2.min_amount = 100
        self.assertNothing(self.make_run(self.days(15)), 'below_minimum', 'below_minimum')

    def test_the_highest_level_decides(self):
        self.level_1.min_amount = 95
        notice = self.make_run(self.days(15)).notice_ids
        self.assertEqual((notice.level_id, self.lines(notice).move_id), (self.level_2, self.old | self.new))

    def test_each_notice_its_own(self):
        self.procedure.grouping = 'level'
        self.level_1.min_amount = 95
        run = self.make_run(self.days(15))
        self.assertEqual((run.notice_ids.level_id, self.lines(run.notice_ids).move_id), (self.level_2, self.old))
        self.assertEqual(self.reasons(run), ['below_minimum'])
        self.assertEqual(self.lines(run.notice_ids, 'info').move_id, self.new)


@tagged('post_install', '-at_install')
class TestStrangeData(ProposalCommon):
    """A clear message or an exception line, never a traceback, never half a run."""

    def merge(self, source, target):
        self.env['base.partner.merge.automatic.wizard']._merge((source | target).ids, target)
        self.env.invalidate_all()

    def test_merged_customer_of_a_draft(self):
        acme, double = self.make_partner('Acme'), self.make_partner('Acme GmbH')
        for partner in (acme, double):
            self.make_invoice(partner, 100)
        self.make_unallocated(double, 30)
        run = self.make_run()
        self.merge(double, acme)
        self.assertEqual(run.notice_ids.partner_id, acme)
        run.action_print_and_send()
        self.assertEqual(set(run.notice_ids.mapped('state')), {'issued'})
        self.assertEqual(sum(run.notice_ids.mapped('amount_total')), 170.0, "the credit once")

    def test_merged_customer_keeps_levels(self):
        acme, double = self.make_partner('Acme'), self.make_partner('Acme GmbH')
        invoice = self.make_invoice(double, 100)
        self.dun()
        self.merge(double, acme)
        self.assertLevels(invoice, self.level_1)
        notice = self.make_run(self.days(15)).notice_ids
        self.assertEqual((notice.partner_id, notice.level_id), (acme, self.level_2))

    def test_customer_became_a_contact(self):
        """His debt is his company's from then on: the draft says no less than before."""
        group, partner = self.make_partner('Group'), self.make_partner('Acme')
        invoice = self.make_invoice(partner, 100)
        run = self.make_run()
        partner.write({'parent_id': group.id, 'is_company': False})
        self.assertEqual(partner.commercial_partner_id, group)
        run.action_print_and_send()
        self.assertEqual((run.notice_ids.state, run.notice_ids.amount_total), ('issued', 100.0))
        run._hand_out_letters()
        run.action_mark_printed()
        notice = self.make_run(self.days(15)).notice_ids
        self.assertEqual((notice.partner_id, notice.level_id, notice.line_ids.move_id), (group, self.level_2, invoice))

    def test_customer_with_open_items_cannot_be_deleted(self):
        partner = self.make_partner('Acme')
        self.make_invoice(partner)
        self.make_run()
        with self.assertRaises(UserError), self.env.cr.savepoint():
            partner.unlink()

    @mute_logger('odoo.sql_db')
    def test_customer_deleted_at_the_same_moment(self):
        """What was read is gone when it is written."""
        partner = self.make_partner('Acme')
        self.make_invoice(partner)
        run = self.make_run(generate=False)
        proposal = self.env.registry['dunning.proposal']
        notices, exceptions = self.env['dunning.proposal'].sudo().with_company(self.company)._propose(run.sudo())
        notices[0]['recipient_id'] = self.env['res.partner'].search([], order='id desc', limit=1).id + 1000
        with (patch.object(proposal, '_propose', lambda *_args: (notices, exceptions)),
              self.assertRaisesRegex(UserError, "merged at the same moment")):
            run.action_generate_notices()
        self.env.invalidate_all()
        self.assertEqual((run.state, run.notice_count, run.exception_count), ('draft', 0, 0))
        run.action_generate_notices()
        self.assertEqual(run.notice_count, 1)

    def test_item_without_customer(self):
        receivable = self.receivable(self.make_invoice(self.make_partner('Acme'))).account_id
        sales = self.env['account.account'].search(
            [('account_type', '=', 'income'), ('company_ids', '=', self.company.id)], limit=1)
        entry = self.env['account.move'].create({
            'move_type': 'entry', 'date': '2026-09-01', 'line_ids': [
                Command.create({'account_id': receivable.id, 'debit': 70, 'date_maturity': '2026-10-01'}),
                Command.create({'account_id': sales.id, 'credit': 70})]})
        entry.action_post()
        item = self.receivable(entry)
        item.no_followup = False
        run = self.make_run()
        self.assertEqual(run.notice_count, 1)
        exception = run.exception_ids
        self.assertEqual((exception.reason, exception.amount), ('no_partner', 70.0))
        self.assertFalse(exception.partner_id or exception.move_line_id)
        self.assertEqual(self.env['account.move.line'].search(exception.action_open_record()['domain']), item)

    def test_customers_procedure_without_levels(self):
        empty = self.env['dunning.procedure'].create({'name': 'Leer'})
        partner = self.make_partner('Acme')
        partner.dunning_procedure_id = empty
        self.make_invoice(partner)
        run = self.make_run()
        self.assertNothing(run, 'no_procedure')
        self.assertIn('Leer', run.exception_ids.description)

    def test_run_of_a_company_the_user_may_not_see(self):
        other = self.env['res.company'].create({'name': 'Other', 'currency_id': self.currency.id})
        run = self.env['dunning.run'].create({'company_id': other.id})
        run = run.with_user(self.clerk)
        for method in ('action_generate_notices', 'action_print_and_send', 'action_cancel'):
            with self.assertRaises(AccessError):
                getattr(run, method)()
        self.assertFalse(self.env['dunning.run'].with_user(self.clerk).search([]))
        with self.assertRaises(UserError), self.env.cr.savepoint():
            self.env['dunning.run'].with_user(self.clerk).create({'company_id': other.id}).action_generate_notices()

    def test_reader_generates_nothing(self):
        run = self.make_run(generate=False)
        reader = new_test_user(self.env, login='reader', groups='account.group_account_readonly')
        with self.assertRaises(AccessError):
            run.with_user(reader).action_generate_notices()


@tagged('post_install', '-at_install')
class TestTwoUsers(TransactionCase):
    """Apart from the others, whose transactions hold the company."""

    def test_two_users_press_generate_at_once(self):
        """With two real connections: the second one is told to wait, and neither waits for ever."""
        registry = self.env.registry
        with registry.cursor() as first, registry.cursor() as second:
            # Rather a failure than a test that waits.
            for cursor in (first, second):
                cursor.execute("SET lock_timeout = '5s'")
            env = api.Environment(first, SUPERUSER_ID, {'tracking_disable': True, 'mail_create_nolog': True})
            run = env['dunning.run'].create({'date': TODAY, 'name': 'Two users'})
            first.commit()
            try:
                run.lock_for_update(allow_referencing=True)
                with self.assertRaisesRegex(UserError, "Somebody else"):
                    api.Environment(second, SUPERUSER_ID, {})['dunning.run'].browse(run.id).action_generate_notices()
                second.rollback()
            finally:
                first.rollback()
                run.unlink()
                first.commit()

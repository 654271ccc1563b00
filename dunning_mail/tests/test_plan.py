"""The confirmation of a plan: letter, mail, a payment slip for each instalment, and the way back from a payment."""

import io
import re
from ast import literal_eval

from lxml import etree
from pypdf import PdfReader

from odoo import Command
from odoo.exceptions import AccessError, UserError
from odoo.tests import HttpCase, tagged

from ..tools import qr
from .common import TODAY, DunningMailCommon, read_pdf
from .test_notice_account import GERMAN, QR_IBAN, AccountCase
from .test_promise import RestCase
from .test_settlement import SettlementCase

THREE = ((10, 100.0), (40, 100.0), (70, 100.0))


class PlanCase(AccountCase, RestCase):

    def setUp(self):
        super().setUp()
        self.clerk.lang = 'en_US'
        self.partner = self.make_partner('Acme', lang='en_US', email=False)
        self.invoice = self.make_invoice(self.partner, 300.0, currency=self.chf)

    def plan(self, *moves, lines=THREE, **values):
        return self.promise(*(moves or [self.invoice]), lines=lines, **values)

    def confirm(self, plan):
        plan.action_send_confirmation()
        return plan.confirmation_id

    def references(self, plan):
        lines = plan.line_ids.sorted('date')
        return [qr.format_reference(line.payment_reference).replace('\u00a0', ' ') for line in lines]


@tagged('post_install', '-at_install')
class TestConfirmation(PlanCase):

    def test_letter_with_slips(self):
        """A page for each instalment with its own slip, after the letter."""
        account = self.make_account(QR_IBAN, sequence=0)
        self.invoice.button_draft()
        self.invoice.partner_bank_id = account
        self.invoice.action_post()
        plan = self.plan(stops_interest=True, falls_due_whole=True)
        notice = self.confirm(plan)
        self.assertEqual((notice.kind, notice.status, notice.user_id, notice.amount_total), (
            'plan', 'paper', self.clerk, 300.0))
        self.assertEqual((notice.payment_part, notice.payment_reference), ('swiss', False))
        pages = PdfReader(io.BytesIO(notice.document_id.sudo().raw)).pages
        texts = [' '.join(page.extract_text().replace('\0', '').replace('\u00a0', ' ').split()) for page in pages]
        self.assertEqual(len(texts), 4)
        for words in (f'Payment agreement {notice.name}', 'November 24, 2026', self.invoice.name, '300.00',
                      'no interest on arrears', 'falls due at once', '12/04/2026', '01/03/2027', '02/02/2027'):
            self.assertIn(words, texts[0])
        for number, (text, reference) in enumerate(zip(texts[1:], self.references(plan), strict=True), start=1):
            self.assertTrue(qr.is_qr_reference(reference.replace(' ', '')))
            self.assertIn(f'Instalment {number} of 3', text)
            self.assertIn('Payment part', text)
            self.assertEqual(text.count(reference), 3, "beside the day, on receipt and payment part")
            self.assertIn(reference, texts[0])
        self.assertEqual(len(set(self.references(plan))), 3)

    def test_amounts_of_slips(self):
        """Each asks for its own part, at the foot of a page of the paper's size; they add up to what was agreed on."""
        plan = self.plan(lines=[(10, 50.25), (20, 99.75), (30, 150.0)])
        notice = self.confirm(plan)
        amounts = []
        for line, part in notice._get_instalment_parts():
            code = part['lines']
            self.assertEqual(code[qr.SWISS_REFERENCE], line.payment_reference)
            amounts.append(float(code[qr.SWISS_AMOUNT]))
        self.assertEqual(amounts, [50.25, 99.75, 150.0])
        reader = PdfReader(io.BytesIO(notice.document_id.sudo().raw))
        self.assertEqual({tuple(map(round, page.mediabox[2:])) for page in reader.pages}, {(595, 842)})
        for page in reader.pages[1:]:
            heights = []

            def visit(text, matrix, text_matrix, *_font, heights=heights):
                if 'Receipt' in text:
                    heights.append(matrix[3] * text_matrix[5] + matrix[5])
            page.extract_text(visitor_text=visit)
            self.assertTrue(heights and all(height < 105 / 25.4 * 72 for height in heights), heights)

    def test_it_is_no_dunning(self):
        """It raises no level, reserves and claims nothing, and the promise goes on as it was."""
        plan = self.plan()
        notice = self.confirm(plan)
        notice.with_user(self.clerk).action_open_document()
        notice.with_user(self.clerk).action_mark_printed()
        self.assertEqual((notice.status, notice.is_counted, notice.date_left), ('printed', False, TODAY))
        self.assertFalse(self.receivable(self.invoice).dunning_level_id)
        self.assertFalse(any(notice.line_ids.mapped('is_reserved')))
        self.assertFalse(notice.charge_ids)
        self.assertEqual((notice.amount_open, notice.claim_state), (0.0, False))
        self.assertNotIn(notice, self.env['dunning.notice'].search([('claim_state', 'in', ['open', 'overdue'])]))
        self.assertFalse(self.partner.dunning_claims)
        self.assertEqual((plan.state, self.claimed()), ('open', {}))
        self.go_to(13)
        self.assertEqual((plan.state, plan.is_missed), ('open', True))
        self.assertEqual(self.make_run(self.days(13), partner_ids=self.partner.ids).notice_ids.level_id, self.level_1)

    def test_among_dunning_notices(self):
        """One sees what it is, and what is promised is not added up as claimed."""
        other = self.make_invoice(self.make_partner('Other', email=False), 70.0, currency=self.chf)
        dunned = self.make_run(partner_ids=other.partner_id.ids).notice_ids
        notice = self.confirm(self.plan())
        both = self.env['dunning.notice'].with_user(self.clerk).browse((notice | dunned).ids)
        self.assertEqual((notice.amount_claimed, dunned.amount_claimed), (0.0, dunned.amount_total))
        domain = [('id', 'in', both.ids)]
        self.assertEqual(
            both._read_group(domain, ['kind'], ['amount_claimed:sum', 'amount_open:sum']),
            [('dunning', dunned.amount_total, 70.0), ('plan', 0.0, 0.0)])
        self.assertEqual(both.search(domain, order='amount_claimed desc').ids, [dunned.id, notice.id])
        self.assertTrue(both.fields_get(['amount_claimed'])['amount_claimed']['sortable'])
        view = both.get_view(view_type='search')['arch']
        for name, expected in (('kind_dunning', dunned), ('kind_plan', notice)):
            found = re.search(rf'name="{name}"[^>]*domain="([^"]*)"', view)
            self.assertEqual(both.search([*literal_eval(found[1]), *domain]).ids, expected.ids)

    def test_words_when_it_was_printed(self):
        notice = self.confirm(self.plan())
        dunned = self.make_run(partner_ids=self.make_invoice(self.make_partner('Other')).partner_id.ids).notice_ids
        for notices, expected in ((notice, 'of these confirmations'), (notice | dunned, 'notices count')):
            confirm = self.env['dunning.notice.confirm'].create({'notice_ids': notices.ids, 'action': 'mark_printed'})
            self.assertIn(expected, confirm.with_context(lang='en_US').question)

    def test_epc_codes(self):
        account = self.make_account(GERMAN, currency_id=self.eur.id)
        invoice = self.make_invoice(self.partner, 300.0, currency=self.eur, partner_bank_id=account.id)
        plan = self.plan(invoice)
        notice = self.confirm(plan)
        text = read_pdf(notice.document_id.sudo().raw).replace('\u00a0', ' ')
        self.assertEqual(notice.payment_part, 'epc')
        self.assertIn('Scan to pay', text)
        for reference in self.references(plan):
            self.assertTrue(qr.is_creditor_reference(reference.replace(' ', '')))
            self.assertIn(reference, text)

    def test_without_an_account(self):
        self.company.partner_id.bank_ids.active = False
        notice = self.confirm(self.plan())
        self.assertFalse(notice.payment_part)
        self.assertIn('100.00', read_pdf(notice.document_id.sudo().raw))

    def test_customers_language(self):
        """Rows for each language on the procedure; one without is in the fallback language, all of it."""
        self.procedure.text_ids.filtered(lambda text: text.lang == 'de_DE' or text.lang.startswith('fr')).unlink()
        self.env['dunning.level.text'].create({
            'kind': 'plan', 'procedure_id': self.procedure.id, 'lang': 'de_DE', 'mail_subject': 'Plan',
            'mail_body': '<t t-out="object.plan_html"/>', 'letter_title': 'Vereinbarung {{ object.name }}',
            'letter_intro': '<p>Abgemacht am <t t-out="object.promise_date_text"/>.</p>', 'letter_closing': '<p>.</p>'})
        self.partner.lang = 'fr_FR'
        notice = self.confirm(self.plan())
        self.assertEqual(notice.lang, 'de_DE')
        self.assertIn('Abgemacht am 24. November 2026', read_pdf(notice.document_id.sudo().raw))

    def test_texts_of_procedures(self):
        """Each procedure has them, in the languages in which they exist; what a person has changed stays."""
        [text] = self.procedure.text_ids.filtered(lambda text: (text.kind, text.lang) == ('plan', 'en_US'))
        text.letter_title = 'Ours {{ object.name }}'
        copy = self.procedure.copy()
        self.assertEqual(copy.text_ids.filtered(lambda one: one.lang == 'en_US').letter_title, 'Ours {{ object.name }}')
        new = self.env['dunning.procedure'].create({'name': 'New'})
        self.assertIn('en_US', new.text_ids.mapped('lang'))
        new.text_ids.unlink()
        self.partner.dunning_procedure_id = new
        self.company.dunning_fallback_lang = 'it_IT'
        with self.assertRaisesRegex(UserError, "“New” has no texts in Italian"), self.env.cr.savepoint():
            self.confirm(self.plan())
        new.action_install_default_texts()
        self.assertIn('en_US', new.text_ids.mapped('lang'))

    def test_once(self):
        plan = self.plan()
        first = self.confirm(plan)
        with self.assertRaisesRegex(UserError, first.name):
            plan.action_send_confirmation()
        first.action_cancel()
        self.assertNotEqual(self.confirm(plan), first)
        self.assertEqual(plan.action_open_confirmation()['res_id'], plan.confirmation_id.id)

    def test_preview(self):
        """It shows what would be issued, as often as a person likes, and no draft stays."""
        plan = self.plan()
        for _time in range(2):
            self.assertIn(f'promise/{plan.id}/', plan.action_preview_confirmation()['url'])
            self.assertIn('100.00', read_pdf(plan._render_confirmation()))
        self.assertFalse(plan.sudo().notice_ids)
        self.assertFalse(any(plan.line_ids.mapped('payment_reference')), "no slip has left the house")
        notice = self.confirm(plan)
        self.assertNotIn('promise/', plan.action_preview_confirmation().get('url', ''))
        notice.action_cancel()
        plan.action_cancel()
        with self.assertRaisesRegex(UserError, "not open any more: Cancelled"):
            plan.action_preview_confirmation()

    def test_draft_is_not_put_together_by_hand(self):
        """Level, charges and items of a dunning notice are no matters of a plan."""
        plan = self.plan()
        draft = plan._make_confirmation().with_user(self.clerk)
        level_change = self.env['dunning.level.change'].with_user(self.clerk).create({
            'notice_ids': [Command.set(draft.ids)], 'level_id': self.level_1.id, 'reason': 'x'})
        for way, do in {
                'exclude': draft.action_exclude, 'level': draft.action_change_level,
                'level by wizard': lambda: draft._change_level(self.level_1, 'x'),
                'wizard': level_change.action_apply, 'charge': draft.action_add_charge,
                'charge by wizard': lambda: draft._add_charge_by_hand('cost', 5.0, 'x'),
                'fee': lambda: draft.write({'amount_fee': 5.0}), 'item': draft.line_ids.action_take_out}.items():
            with self.subTest(way), self.assertRaisesRegex(UserError, 'no dunning notice|another dunning procedure'):
                do()
        self.assertEqual((draft.state, len(draft.line_ids), draft.charge_ids.ids), ('draft', 1, []))
        view = self.env['dunning.notice'].with_user(self.clerk).get_view(view_type='form')['arch']
        for name in ('action_exclude', 'action_change_level', 'action_add_charge', 'action_take_out'):
            for button in etree.fromstring(view).xpath(f'//button[@name="{name}"]'):
                self.assertIn("kind != 'dunning'", button.get('invisible'))
        plan.action_cancel()
        self.assertFalse(draft.exists(), "whatever is left of it goes with the promise")

    def test_terms(self):
        """That interest goes on is said only where any is claimed."""
        plan = self.plan()
        self.assertEqual(plan._describe_terms(), [])
        self.company.dunning_interest_profile_id = self.env['dunning.interest.profile'].create({
            'name': 'Own', 'begin': 'due_date', 'business_method': 'fixed', 'business_rate': 5})
        self.level_2.charge_interest = True
        self.assertIn('goes on', plan._describe_terms()[0])


@tagged('post_install', '-at_install')
class TestPreview(HttpCase, PlanCase):

    def open(self, plan_id, login='clerk'):
        self.authenticate(login, login + 'x' * (8 - len(login)))
        return self.url_open(f'/dunning_mail/promise/{plan_id}/confirmation')

    def test_over_http(self):
        plan = self.plan()
        response = self.open(plan.id)
        self.assertEqual((response.status_code, response.headers['Content-Type']), (200, 'application/pdf'))
        self.assertIn(self.invoice.name, read_pdf(response.content))
        self.assertFalse(plan.sudo().notice_ids)
        self.assertEqual(self.open(999999999).status_code, 404)
        plan.action_cancel()
        response = self.open(plan.id)
        self.assertEqual(response.status_code, 422)
        self.assertIn('not open any more', response.text)


@tagged('post_install', '-at_install')
class TestStillTrue(PlanCase):
    """It leaves as long as the promise is open, and for as much."""

    def hand_out(self, notice):
        notice.with_user(self.clerk).action_open_document()
        return notice.state, notice.delivery_info or ''

    def test_extended(self):
        plan = self.plan()
        notice = self.confirm(plan)
        self.plan(lines=[(20, 300.0)], previous=plan)
        state, words = self.hand_out(notice)
        self.assertEqual(state, 'cancelled')
        self.assertIn('not open any more: Cancelled', words)

    def test_kept(self):
        plan = self.plan()
        notice = self.confirm(plan)
        self.pay(self.invoice, day=self.days(1))
        self.assertEqual((plan.state, self.hand_out(notice)[0]), ('kept', 'cancelled'))

    def test_instalment_paid(self):
        """What was agreed on stays so: the letter says it, and nothing of it is made anew."""
        notice = self.confirm(self.plan())
        digest = notice.document_sha256
        self.pay(self.invoice, 100.0, self.days(1))
        self.assertEqual(self.hand_out(notice)[0], 'issued')
        self.assertEqual((notice.document_sha256, notice.amount_total), (digest, 300.0))

    def test_less_is_owed(self):
        notice = self.confirm(self.plan())
        refund = self.make_invoice(self.partner, 50.0, move_type='out_refund', currency=self.chf)
        (self.receivable(self.invoice) | self.receivable(refund)).reconcile()
        state, words = self.hand_out(notice)
        self.assertEqual(state, 'cancelled')
        self.assertRegex(words, '300.00 was promised, and credit notes leave .*250.00')

    def test_item_gone(self):
        notice = self.confirm(self.plan())
        self.invoice.button_draft()
        state, words = self.hand_out(notice)
        self.assertEqual(state, 'cancelled')
        self.assertIn('no longer an item', words)

    def test_instalment_over(self):
        """Nobody is asked to pay on a day that is over; not in the days of grace either."""
        plan = self.plan()
        notice = self.confirm(plan)
        self.go_to(11)
        self.assertEqual(plan.is_missed, False)
        state, words = self.hand_out(notice)
        self.assertEqual(state, 'cancelled')
        self.assertRegex(words, '12/04/2026 is over.*Extend the promise')
        for method in ('action_send_confirmation', 'action_preview_confirmation'):
            with self.assertRaisesRegex(UserError, 'Extend the promise'):
                getattr(plan, method)()

    def test_instalment_late(self):
        """What was paid too late does not make it true again."""
        plan = self.plan()
        notice = self.confirm(plan)
        self.go_to(14)
        self.pay(self.invoice, 100.0, self.days(14))
        self.assertEqual((plan.state, plan.is_missed), ('open', True))
        self.assertEqual(self.hand_out(notice)[0], 'cancelled')

    def test_instalment_today_or_on_its_way(self):
        notice = self.confirm(self.plan())
        self.go_to(10)
        self.assertEqual(self.hand_out(notice)[0], 'issued')
        self.make_payment(self.partner, 100.0, day=self.days(10), currency=self.chf)
        self.go_to(11)
        self.assertEqual(self.hand_out(notice)[0], 'issued')

    def test_later(self):
        """It is dated anew, and what was agreed on is of the day on which it was."""
        plan = self.plan()
        notice = self.confirm(plan)
        self.clock.move_to(f'{self.days(6)} 08:00:00')
        self.assertEqual(self.hand_out(notice)[0], 'issued')
        self.assertEqual((notice.date, plan.date), (self.days(6), TODAY))
        self.assertIn('November 24, 2026', read_pdf(notice.document_id.sudo().raw))


@tagged('post_install', '-at_install')
class TestPaidBySlip(PlanCase):
    """A payment that bears an instalment's reference names the plan, and counts for it."""

    def setUp(self):
        super().setUp()
        self.other = self.make_invoice(self.partner, 300.0, currency=self.chf)
        self.plans = [self.plan(falls_due_whole=True), self.plan(self.other, falls_due_whole=True)]
        self.notices = [self.confirm(plan) for plan in self.plans]
        self.reference = self.plans[0].line_ids[0].payment_reference

    def states(self):
        self.go_to(13)
        return [plan.state for plan in self.plans]

    def test_registered(self):
        """Also by somebody else, and in the bank's way of writing."""
        friend = self.make_partner('Friend')
        printed = qr.format_reference(self.reference).replace('\u00a0', ' ')
        payment = self.make_payment(friend, 100.0, day=self.days(9), currency=self.chf, memo=f'Rate 1 {printed}')
        self.assertEqual(payment.dunning_notice_id, self.notices[0])
        self.assertEqual(
            self.env['account.payment'].search([('dunning_notice_id', 'in', self.notices[0].ids)]), payment)
        self.assertEqual(self.states(), ['open', 'broken'])

    def test_in_the_books(self):
        """Of two plans, the one that is named."""
        entry = self.make_unallocated(self.partner, 100.0, self.days(9), currency=self.chf)
        self.receivable(entry).name = self.reference
        self.assertEqual(self.states(), ['open', 'broken'])

    def test_on_the_bank_line(self):
        journal = self.env['account.journal'].search(
            [('type', '=', 'bank'), ('company_id', '=', self.company.id)], limit=1)
        journal.currency_id = self.chf if self.chf != self.company.currency_id else False
        line = self.env['account.bank.statement.line'].create({
            'journal_id': journal.id, 'date': self.days(9), 'amount': 100.0, 'payment_ref': self.reference})
        self.assertEqual(line.dunning_notice_id, self.notices[0])
        self.assertEqual(self.states(), ['open', 'broken'])

    def test_without_a_reference(self):
        self.make_unallocated(self.partner, 100.0, self.days(9), currency=self.chf)
        self.assertEqual(self.states(), ['open', 'broken'], "once, for the oldest")

    def test_more_without_a_reference(self):
        """Of what names no plan, each has what the one before left."""
        self.make_unallocated(self.partner, 130.0, self.days(9), currency=self.chf)
        self.make_unallocated(self.partner, 70.0, self.days(9), currency=self.chf)
        self.assertEqual(self.states(), ['open', 'open'])

    def test_what_it_settles(self):
        """The covered items that are still open, oldest first."""
        plan = self.plans[0]
        found = self.env['dunning.promise.line']._find_by_references([f'RG {self.reference}'], self.company)
        self.assertEqual(list(found.values()), [plan.line_ids[0]])
        self.assertEqual(plan.line_ids[0]._get_settled_items(), self.receivable(self.invoice))
        old = self.make_invoice(self.partner, 50.0, due='2026-09-15', currency=self.chf)
        new = self.make_invoice(self.partner, 50.0, due='2026-10-20', currency=self.chf)
        line = self.plan(new, old, lines=[(10, 100.0)]).line_ids
        self.assertEqual(line._get_settled_items().move_id.ids, [old.id, new.id])
        self.assertEqual(plan.line_ids._get_settled_items(), self.receivable(self.invoice), "once, for all instalments")
        self.pay(old)
        self.assertEqual(line._get_settled_items(), self.receivable(new))

    def test_extended_meanwhile(self):
        """What bears the old slip is known still, and the new promise has it."""
        self.plan(lines=[(20, 300.0)], previous=self.plans[0])
        payment = self.make_payment(self.partner, 100.0, day=self.days(9), currency=self.chf, memo=self.reference)
        self.assertEqual(payment.dunning_notice_id, self.notices[0])


@tagged('post_install', '-at_install')
class TestSettledBySlip(PlanCase):
    """A payment that bears an instalment's reference settles what the plan covers."""

    make_line, make_posted = SettlementCase.make_line, SettlementCase.make_posted
    settle, left, said = SettlementCase.settle, SettlementCase.left, SettlementCase.said

    def setUp(self):
        super().setUp()
        self.journal = self.env['account.journal'].search(
            [('type', '=', 'bank'), ('company_id', '=', self.company.id)], limit=1)
        self.journal.currency_id = self.chf if self.chf != self.company.currency_id else False
        self.agreed = self.plan()
        self.notice = self.confirm(self.agreed)
        self.slips = self.agreed.line_ids.sorted('number').mapped('payment_reference')

    def assign(self, record):
        return self.env['dunning.assign.payment'].with_user(self.clerk).with_context(
            active_model=record._name, active_id=record.id).create({})

    def test_bank_transaction(self):
        other = self.make_invoice(self.partner, 50.0, due='2026-09-15', currency=self.chf)
        line = self.make_line(100, f'Rate {qr.format_reference(self.slips[0])}')
        self.assertTrue(line.move_id.dunning_to_settle)
        self.settle()
        self.assertEqual(self.left(self.invoice, other), [200, 50])
        self.assertEqual((line.is_reconciled, line.partner_id), (True, self.partner))
        self.assertEqual((self.agreed.amount_received, self.agreed.next_date), (100, self.days(40)))
        self.assertIn(self.invoice.name, self.said(self.notice))
        self.assertEqual(line.move_id.dunning_settled_ids, self.notice)
        self.agreed.action_cancel()
        self.make_line(100, self.slips[1])
        self.settle()
        self.assertEqual(self.left(self.invoice, other), [100, 50], "also once it was given up")

    def test_payment(self):
        """Of several instalments at once: oldest item first, and what is too much stays with the customer."""
        old = self.make_invoice(self.partner, 50.0, due='2026-09-15', currency=self.chf)
        new = self.make_invoice(self.partner, 50.0, due='2026-10-20', currency=self.chf)
        plan = self.plan(new, old, lines=[(10, 50.0), (20, 50.0)])
        self.confirm(plan)
        slips = plan.line_ids.sorted('number').mapped('payment_reference')
        self.make_posted(70, f'{slips[1]} {slips[0]}', currency_id=self.chf.id)
        self.settle()
        self.assertEqual(self.left(old, new, self.invoice), [0, 30, 300])
        payment = self.make_posted(40, slips[0], currency_id=self.chf.id)
        self.settle()
        self.assertEqual(self.left(new, self.invoice, payment.move_id), [0, 300, -10])

    def test_assigned_by_hand(self):
        """It offers the plan, and not the latest notice of something else."""
        other = self.make_invoice(self.partner, 50.0, currency=self.chf)
        run = self.make_run(partner_ids=self.partner.ids)
        run.action_print_and_send()
        self.assertEqual(run.notice_ids.due_line_ids.move_id, other)
        line = self.make_line(100, f'Rate {self.slips[1]}')
        line.move_id.dunning_to_settle = False
        assign = self.assign(line)
        self.assertEqual((assign.named_ids, assign.notice_ids), (self.notice, self.notice))
        self.assertIn(self.invoice.name, assign.preview)
        assign.action_assign()
        self.assertEqual(self.left(self.invoice, other), [200, 50])

    def test_slip_of_an_earlier_confirmation(self):
        """Another account, other references: what the customer has got is found all the same."""
        self.notice.action_cancel()
        self.invoice.partner_bank_id = self.make_account(QR_IBAN, sequence=0)
        second = self.confirm(self.agreed)
        slips = self.agreed.line_ids.sorted('number').mapped('payment_reference')
        self.assertTrue(set(slips).isdisjoint(self.slips))
        for words, left in ((self.slips[0], 200), (slips[1], 100)):
            with self.subTest(words):
                line = self.make_line(100, words)
                self.assertEqual(line.dunning_notice_id, second)
                self.assertIn(line, self.env['account.bank.statement.line'].search(
                    [('dunning_notice_id', 'in', second.ids)]))
                self.settle()
                self.assertEqual(self.left(self.invoice), [left])

    def test_slip_of_a_cancelled_confirmation(self):
        self.notice.action_cancel()
        self.make_line(100, self.slips[0])
        self.settle()
        self.assertEqual(self.left(self.invoice), [200])

    def test_slip_of_an_extended_plan(self):
        """It is for what stands in its place, and counts there before it is reconciled."""
        more = self.make_invoice(self.partner, 50.0, currency=self.chf)
        later = self.plan(self.invoice, more, lines=[(20, 350.0)], previous=self.agreed)
        last = self.plan(self.invoice, more, lines=[(25, 350.0)], previous=later)
        self.make_line(300, self.slips[0], day=self.days(9))
        self.make_payment(self.make_partner('Friend'), 50.0, day=self.days(9), currency=self.chf, memo=self.slips[1])
        self.go_to(28)
        self.assertEqual((last.state, last.is_missed), ('open', False))
        self.settle()
        self.assertEqual(self.left(self.invoice, more), [0, 50])

    def test_what_is_no_slip(self):
        """Numbers of others, and such as no instalment has ever had."""
        unknown = self.promise(self.make_invoice(self.partner, 20.0, currency=self.chf)).line_ids
        for words in (qr.make_qr_reference(f'98{9:024}'), qr.make_qr_reference('98' + 24 * '9'),
                      qr.make_qr_reference(f'97{self.agreed.line_ids[0].id:024}'),
                      qr.make_creditor_reference('DP' + 19 * '9'), unknown._get_own_reference(True),
                      f'DP{self.agreed.line_ids[0].id:09}'):
            with self.subTest(words):
                line = self.make_line(100, words)
                self.assertFalse(line.move_id.dunning_to_settle)
                self.assertFalse(line.dunning_notice_id)


@tagged('post_install', '-at_install')
class TestAnswered(PlanCase):

    def test_promise_on_an_answered_plan(self):
        """What the customer asks for is another plan: the dialog extends the one that she has."""
        plan = self.plan()
        action = self.confirm(plan).with_user(self.clerk).action_dunning_promise()
        make = self.env[action['res_model']].with_user(self.clerk).with_context(**action['context']).create({})
        self.assertEqual((make.previous_id, make.amount, make.item_ids), (plan, 300.0, self.receivable(self.invoice)))


@tagged('post_install', '-at_install')
class TestByMail(DunningMailCommon, PlanCase):

    def test_whole_way(self):
        self.partner.email = 'acme@customer.test'
        plan = self.plan()
        notice = self.confirm(plan)
        self.assertEqual((notice.status, notice.channel), ('released', 'mail'))
        self.run_engine()
        self.assertEqual(notice.status, 'sent', notice.delivery_info)
        [mail] = self.mails()
        self.assertEqual(mail['Subject'], f'{self.company.name}: payment agreement {notice.name}')
        text = mail.get_body(('plain',)).get_content().replace('\u00a0', ' ')
        for words in (*self.references(plan), '12/04/2026', '100.00', 'November 24, 2026'):
            self.assertIn(words, text)
        files = notice.with_user(self.clerk)._get_evidence_files()
        self.assertEqual(sum(name.endswith(('.pdf', '.eml')) for name in files), 2)
        self.assertFalse(notice.is_counted)

    def test_cancelled_before_it_leaves(self):
        self.partner.email = 'acme@customer.test'
        plan = self.plan()
        notice = self.confirm(plan)
        plan.action_cancel()
        self.run_engine()
        self.assertEqual(notice.state, 'cancelled')
        self.assertFalse(self.smtp.messages)

    def test_several_letters_in_one_call(self):
        """Each with its own slips, also beside a dunning notice."""
        other = self.make_partner('Other', lang='en_US', email=False)
        self.make_invoice(other, 80.0, currency=self.chf)
        second = self.plan(self.make_invoice(self.make_partner('Third', lang='en_US', email=False), 300.0,
                                             currency=self.chf), lines=[(5, 150.0), (9, 150.0)])
        run = self.make_run(partner_ids=other.ids)
        drafts = self.plan()._make_confirmation() | second._make_confirmation() | run.notice_ids
        drafts._issue()
        self.assertEqual(drafts.mapped('state'), ['issued'] * 3, drafts.mapped('problem'))
        letters = [PdfReader(io.BytesIO(notice.document_id.sudo().raw)) for notice in drafts]
        self.assertEqual([len(letter.pages) for letter in letters], [4, 3, 1])


@tagged('post_install', '-at_install')
class TestBadInput(PlanCase):

    def test_plan_of_many_instalments(self):
        self.manager.lang = 'en_US'
        invoice = self.make_invoice(self.partner, 1200.0, currency=self.chf)
        plan = self.plan(invoice, lines=[(7 * number, 10.0) for number in range(1, 121)], user=self.manager)
        notice = self.confirm(plan)
        self.assertEqual(notice.state, 'issued')
        self.assertEqual(len(set(plan.line_ids.mapped('payment_reference'))), 120)

    def test_customer_without_rights(self):
        plan = self.plan()
        reader = self.env['res.users'].create({
            'name': 'Reader', 'login': 'plan_reader',
            'group_ids': [Command.set([self.env.ref('account.group_account_readonly').id,
                                       self.env.ref('base.group_user').id])]})
        for method in ('action_send_confirmation', 'action_preview_confirmation'):
            with self.assertRaises(AccessError):
                getattr(plan.with_user(reader), method)()
        self.assertFalse(plan.sudo().notice_ids)

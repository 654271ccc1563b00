from odoo import Command
from odoo.exceptions import AccessError, UserError, ValidationError
from odoo.tests import Form, tagged

from .common import TODAY, read_pdf
from .test_promise import RestCase


@tagged('post_install', '-at_install')
class TestDispute(RestCase):
    """What a customer contests is not dunned; what is left is, and the letter says so."""

    def credit(self, dispute, amount=None, post=True):
        """Make a credit note by core's wizard, as the button opens it."""
        action = dispute.action_make_refund()
        wizard = self.env[action['res_model']].with_user(self.clerk).with_context(**action['context']).create({
            'journal_id': dispute.item_ids.journal_id.id})
        refund = self.env['account.move'].browse(wizard.refund_moves()['res_id'])
        if amount:
            refund.invoice_line_ids.price_unit = amount
        if post:
            refund.action_post()
        return refund

    def test_whole_and_part(self):
        whole, part = self.make_invoice(self.partner), self.make_invoice(self.partner, 80.0, due='2026-10-15')
        dispute = self.dispute(whole)
        self.assertEqual((dispute.amount, dispute.partner_id, dispute.user_id), (100.0, self.partner, self.clerk))
        self.dispute(part, amount=30.0)
        self.assertEqual(self.claimed(), {part.name: 50.0})
        self.assertIn('Contested: Quality', self.exceptions[whole.name, 'resting']['description'])
        self.assertEqual(self.exceptions[part.name, 'resting']['amount'], 30.0)

    def test_letter_names_what_is_contested(self):
        invoice = self.make_invoice(self.partner, 80.0)
        self.dispute(invoice, amount=30.0)
        notice = self.dun(partner_ids=self.partner.ids).notice_ids
        self.assertEqual((notice.amount_total, notice.line_ids.amount_contested), (50.0, 30.0))
        text = read_pdf(notice.document_id.raw)
        # The tests run before the translations: either language of the words will do.
        self.assertTrue('without the contested amount of' in text or 'ohne den bestrittenen Betrag' in text, text)
        self.assertIn('30', str(notice.items_html))

    def test_letter_names_it_beside_other_items(self):
        """Also of an item that is listed for information only: its amount explains itself."""
        self.make_invoice(self.partner, 80.0)
        self.dun(partner_ids=self.partner.ids)
        first = self.env['account.move'].search([('partner_id', '=', self.partner.id)])
        self.dispute(first, amount=30.0)
        self.make_invoice(self.partner, 20.0, due='2026-11-01')
        notice = self.make_run(self.days(3), partner_ids=self.partner.ids).notice_ids
        line = notice.line_ids.filtered(lambda line: line.kind == 'info')
        self.assertEqual((line.move_id, line.amount_residual), (first, 50.0))
        self.assertIn('30', line._describe_left_out())

    def test_open_now(self):
        """What was not claimed is neither open nor paid of the notice, in fields and filters alike."""
        invoice = self.make_invoice(self.partner)
        dispute = self.dispute(invoice, amount=40.0)
        notice = self.dun(partner_ids=self.partner.ids).notice_ids

        def read():
            self.env.invalidate_all()
            found = self.env['dunning.notice'].search([
                ('id', '=', notice.id), ('claim_state', 'in', (notice.claim_state,))])
            return notice.amount_open, notice.amount_paid_since, notice.claim_state, found == notice
        self.assertEqual(read(), (60.0, 0.0, 'open', True))
        self.pay(invoice, 50.0)
        self.assertEqual(read(), (10.0, 50.0, 'open', True))
        refund = self.credit(dispute, 40.0)
        self.assertEqual(read(), (10.0, 50.0, 'open', True))
        refund.button_draft()
        refund.button_cancel()
        self.pay(invoice, 10.0)
        self.assertEqual(read(), (0.0, 60.0, 'paid', True))

    def test_while_it_waits(self):
        invoice = self.make_invoice(self.partner)
        run = self.make_run(partner_ids=self.partner.ids)
        run.action_print_and_send()
        dispute = self.dispute(invoice)
        run._hand_out_letters()
        self.assertEqual(run.notice_ids.state, 'cancelled')
        self.assertIn('Contested', run.notice_ids.delivery_info)
        with self.assertRaisesRegex(UserError, 'Our Answer'):
            dispute.action_reject()
        dispute.closing_note = "The delivery note is signed."
        dispute.action_reject()
        self.assertEqual((dispute.state, dispute.date_closed), ('rejected', TODAY))
        self.assertEqual(self.claimed(), {invoice.name: 100.0})

    def test_rejected_at_the_level_it_had(self):
        invoice = self.make_invoice(self.partner)
        self.dun(partner_ids=self.partner.ids)
        dispute = self.dispute(invoice, closing_note="Signed")
        self.go_to(30)
        self.assertEqual(self.claimed(30), {}, "also after its target day")
        dispute.action_reject()
        self.assertEqual(dispute.days, 30)
        line = self.make_run(self.days(30), partner_ids=self.partner.ids).notice_ids.line_ids
        self.assertEqual((line.previous_level_id, line.level_id), (self.level_1, self.level_2))

    def test_withdrawn(self):
        invoice = self.make_invoice(self.partner)
        dispute = self.dispute(invoice)
        dispute.action_withdraw()
        self.assertEqual((dispute.state, self.claimed()), ('withdrawn', {invoice.name: 100.0}))
        for method in ('action_withdraw', 'action_reject', 'action_make_refund'):
            with self.assertRaisesRegex(UserError, 'closed already'):
                getattr(dispute, method)()

    def test_accepted_by_a_credit_note(self):
        """By core's wizard; as long as it is a draft, the dispute is open."""
        invoice = self.make_invoice(self.partner)
        dispute = self.dispute(invoice, amount=30.0)
        refund = self.credit(dispute, 30.0, post=False)
        self.assertEqual((refund.state, refund.dunning_dispute_id, dispute.state), ('draft', dispute, 'open'))
        self.assertEqual(self.claimed(), {invoice.name: 70.0})
        refund.action_post()
        self.assertEqual((dispute.state, dispute.refund_ids), ('accepted', refund))
        self.assertEqual(self.claimed(), {invoice.name: 70.0})
        # Core leaves a draft reconciled: nobody is dunned for more meanwhile.
        refund.button_draft()
        self.assertEqual(dispute.state, 'open')
        refund.button_cancel()
        self.assertEqual(self.claimed(), {invoice.name: 70.0})

    def test_accepted_in_part(self):
        """A credit note for less ends nothing: what is left of it is still contested."""
        invoice = self.make_invoice(self.partner)
        dispute = self.dispute(invoice, amount=60.0)
        first = self.credit(dispute, 20.0)
        self.assertEqual((dispute.state, dispute.amount, dispute.amount_left), ('open', 60.0, 40.0))
        self.assertEqual(self.claimed(), {invoice.name: 40.0})
        first.button_draft()
        self.assertEqual(dispute.amount_left, 60.0)
        first.action_post()
        second = self.credit(dispute, 40.0)
        self.assertEqual((dispute.state, dispute.amount_left), ('accepted', 0.0))
        self.assertEqual(self.claimed(), {invoice.name: 40.0})
        first.button_draft()
        self.assertEqual((dispute.state, dispute.amount_left, second.state), ('open', 20.0, 'posted'))

    def test_credit_note_for_more_than_is_contested(self):
        """Core proposes the whole invoice: the draft says how much it is about."""
        dispute = self.dispute(self.make_invoice(self.partner), amount=30.0)
        refund = self.credit(dispute, post=False)
        self.assertRegex(' '.join(refund.message_ids.mapped('body')), r'(contests|bestreitet).*30[.,]00')

    def test_several_invoices(self):
        """What is contested of all of them, and not what each is over."""
        first, second = self.make_invoice(self.partner), self.make_invoice(self.partner)
        for amount, is_told in ((150.0, True), (200.0, False)):
            with self.subTest(amount):
                dispute = self.dispute(first, second, amount=amount)
                action = dispute.action_make_refund()
                wizard = self.env[action['res_model']].with_user(self.clerk).with_context(**action['context']).create({
                    'journal_id': dispute.item_ids.journal_id.id})
                wizard.refund_moves()
                refunds = dispute.refund_ids
                self.assertEqual((len(refunds), set(refunds.mapped('state'))), (2, {'draft'}))
                for refund in refunds:
                    words = ' '.join(refund.message_ids.mapped('body'))
                    (self.assertRegex if is_told else self.assertNotRegex)(words, r'contests.*150[.,]00')
                refunds.unlink()
                dispute.action_withdraw()

    def test_credited_and_invoiced_anew(self):
        """Core posts that credit note at once."""
        invoice = self.make_invoice(self.partner)
        dispute = self.dispute(invoice)
        action = dispute.action_make_refund()
        self.env[action['res_model']].with_user(self.clerk).with_context(**action['context']).create({
            'journal_id': dispute.item_ids.journal_id.id}).modify_moves()
        self.assertEqual((dispute.state, dispute.refund_ids.mapped('state')), ('accepted', ['posted']))

    def test_which_dispute_is_not_written(self):
        """Neither by a script nor from somebody's context; what is no credit note of hers accepts nothing."""
        dispute = self.dispute(self.make_invoice(self.partner))
        refund = self.make_invoice(self.partner, move_type='out_refund')
        Move = self.env['account.move'].with_user(self.clerk)
        values = {'move_type': 'out_refund', 'partner_id': self.partner.id}
        for act in (
                lambda: refund.with_user(self.clerk).write({'dunning_dispute_id': dispute.id}),
                lambda: Move.create({**values, 'dunning_dispute_id': dispute.id}),
                lambda: Move.with_context(default_dunning_dispute_id=dispute.id).create(values)):
            with self.assertRaises(AccessError), self.env.cr.savepoint():
                act()
        self.env.invalidate_all()
        stranger = self.make_partner('Stranger')
        for move in (self.make_invoice(self.partner), self.make_invoice(stranger, move_type='out_refund')):
            move.sudo().dunning_dispute_id = dispute
            dispute._accept(move)
            self.assertEqual((dispute.state, dispute.amount_left), ('open', 100.0))

    def test_only_for_its_own_invoices(self):
        """What is in somebody's context accepts no dispute that it is not about."""
        dispute, other = self.dispute(self.make_invoice(self.partner)), self.make_invoice(self.make_partner('Other'))
        wizard = self.env['account.move.reversal'].with_user(self.clerk).with_context(
            active_model='account.move', active_ids=other.ids, dunning_dispute_id=dispute.id).create({
                'journal_id': other.journal_id.id})
        refund = self.env['account.move'].browse(wizard.refund_moves()['res_id'])
        refund.action_post()
        self.assertEqual((refund.dunning_dispute_id.id, dispute.state), (False, 'open'))

    def test_paid_meanwhile(self):
        invoice = self.make_invoice(self.partner)
        self.dispute(invoice, amount=30.0)
        self.pay(invoice, 60.0)
        self.assertEqual(self.claimed(), {invoice.name: 10.0})
        self.pay(invoice, 25.0)
        self.assertEqual(self.claimed(), {})

    def test_beside_a_promise(self):
        invoice = self.make_invoice(self.partner)
        dispute = self.dispute(invoice, amount=30.0)
        with self.assertRaisesRegex(UserError, 'only'):
            self.promise(invoice, lines=[(10, 71.0)])
        promise = self.promise(invoice)
        self.assertEqual((promise.amount, self.claimed()), (70.0, {}))
        # The credit note for what is contested pays nothing of what is promised.
        refund = self.credit(dispute, 30.0)
        self.assertEqual((dispute.state, promise.state, promise.next_date, self.claimed()), (
            'accepted', 'open', self.days(10), {}))
        refund.button_draft()
        refund.button_cancel()
        # Contested after it was promised: both rest, and never more than there is.
        self.dispute(invoice, amount=40.0)
        self.assertEqual(self.claimed(), {})
        self.assertEqual(self.exceptions[invoice.name, 'resting']['amount'], 100.0)

    def test_how_much(self):
        invoice = self.make_invoice(self.partner)
        self.dispute(invoice, amount=30.0)
        for amount in (70.01, -1.0, 0.001):
            with self.assertRaisesRegex(UserError, 'can be contested'), self.env.cr.savepoint():
                self.dispute(invoice, amount=amount)
        self.assertEqual(self.dispute(invoice).amount, 70.0, "by default what is left")
        paid = self.make_invoice(self.partner)
        self.pay(paid)
        with self.assertRaisesRegex(UserError, 'no open item'), self.env.cr.savepoint():
            self.dispute(paid)
        with self.assertRaisesRegex(UserError, 'one customer'), self.env.cr.savepoint():
            self.dispute(self.make_invoice(self.partner), self.make_invoice(self.make_partner('Other')))

    def test_target_day(self):
        """Its owner is asked when the day is over, the head of accounts a week later; once each."""
        dispute = self.dispute(self.make_invoice(self.partner), date_target=self.days(5))
        self.go_to(5)
        self.assertFalse(self.activities(dispute))
        self.go_to(6)
        self.run_morning()
        self.assertEqual(self.activities(dispute).user_id, self.clerk)
        self.go_to(13)
        self.run_morning()
        heads = self.env.ref('account.group_account_manager').all_user_ids
        self.assertEqual(len(self.activities(dispute)), 1)
        self.assertIn(self.activities(dispute).user_id, heads)
        self.assertEqual(self.activities(dispute).user_id.company_id, self.company)
        self.assertFalse(self.activities(dispute).user_id.has_group('base.group_system'))
        self.assertEqual(dispute.days, 13)
        dispute.action_withdraw()
        self.assertFalse(self.activities(dispute))

    def test_how_long(self):
        """A clerk within the company's limit; whatever the day, nobody has it rest for ever."""
        self.company.dunning_dispute_max_days = 30
        invoice = self.make_invoice(self.partner)
        dispute = self.dispute(invoice, date_target=self.days(30), amount=10.0)
        with self.assertRaisesRegex(ValidationError, 'head of accounts'), self.env.cr.savepoint():
            dispute.date_target = self.days(31)
        with self.assertRaisesRegex(ValidationError, 'head of accounts'), self.env.cr.savepoint():
            self.dispute(invoice, date_target=self.days(31))
        dispute.with_user(self.manager).date_target = self.days(300)
        with self.assertRaisesRegex(ValidationError, 'at the latest'), self.env.cr.savepoint():
            dispute.with_user(self.manager).date_target = '9999-12-31'
        self.company.dunning_dispute_max_days = 7
        self.assertEqual(self.dispute(invoice, amount=10.0).date_target, self.days(7))

    def test_owner_who_has_left(self):
        dispute = self.dispute(self.make_invoice(self.partner), date_target=self.days(1))
        self.clerk.active = False
        self.go_to(2)
        self.assertTrue(self.activities(dispute).user_id.active)

    def test_from_where_one_hears_of_it(self):
        invoice = self.make_invoice(self.partner)
        notice = self.dun(partner_ids=self.partner.ids).notice_ids
        for record in (self.partner, invoice, notice):
            action = record.with_user(self.clerk).action_dunning_dispute()
            with Form(self.env['dunning.dispute'].with_user(self.clerk).with_context(**action['context'])) as form:
                form.reason_id = self.reason
                self.assertEqual(form.item_ids.ids, self.receivable(invoice).ids)
                form.amount = 20.0
        self.assertEqual(self.partner.dunning_dispute_count, 3)
        self.assertEqual(self.claimed(22), {invoice.name: 40.0})

    def test_what_stays_said(self):
        dispute = self.dispute(self.make_invoice(self.partner))
        dispute.note = "Half of it never came"
        for values in ({'amount': 1.0}, {'state': 'rejected'}, {'item_ids': [Command.clear()]}):
            with self.assertRaises(AccessError):
                dispute.write(values)
        dispute.action_withdraw()
        with self.assertRaises(AccessError):
            dispute.note = "x"

    def test_pivot(self):
        category = self.env['product.category'].create({'name': 'Machines'})
        product = self.env['product.product'].create({'name': 'Press', 'categ_id': category.id})
        invoice = self.make_invoice(self.partner, invoice_line_ids=[
            Command.create({'product_id': product.id, 'quantity': 1, 'price_unit': 90.0, 'tax_ids': False}),
            Command.create({'name': 'Freight', 'quantity': 1, 'price_unit': 10.0, 'tax_ids': False})])
        dispute = self.dispute(invoice, amount=60.0)
        self.assertEqual(dispute.product_categ_id, category)
        rows = self.env['dunning.dispute']._read_group(
            [('id', '=', dispute.id)], ['reason_id', 'product_categ_id', 'state'],
            ['amount:sum', 'days:avg', '__count'])
        self.assertEqual(rows, [(self.reason, category, 'open', 60.0, 0.0, 1)])

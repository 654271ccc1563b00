"""Is the claim still true? Asked whichever way a notice is about to leave."""

from unittest.mock import patch

from odoo.exceptions import UserError
from odoo.tests import HttpCase, tagged

from ..models import dunning_run_print
from .common import TODAY, RecheckCase, read_pdf


@tagged('post_install', '-at_install')
class TestLetters(RecheckCase):
    """Letters that were made, and are opened, printed or marked later."""

    def test_each_item_has_its_own_amount(self):
        partner = self.make_partner('Acme', email=False)
        invoices = [self.make_invoice(partner, amount) for amount in (100.0, 200.0, 300.0)]
        self.pay(invoices[1], 50.0)
        notice = self.make_run(partner_ids=partner.ids).notice_ids
        self.assertEqual(
            {line.move_id: line.amount_residual for line in notice.line_ids},
            dict(zip(invoices, (100.0, 150.0, 300.0), strict=True)))
        notice.run_id.action_print_and_send()
        self.pay(invoices[2])
        self.hand_out(notice.run_id)
        self.assertEqual((notice.state, notice.amount_total), ('issued', 250.0))

    def test_foreign_invoice_paid_at_another_rate(self):
        """What is open is asked in the invoice's own currency."""
        partner = self.make_partner('Acme', email=False)
        invoice = self.make_invoice(partner, 100.0, currency=self.foreign)
        self.env['res.currency.rate'].create({
            'currency_id': self.foreign.id, 'name': '2026-11-01', 'rate': 4.0, 'company_id': self.company.id})
        self.pay(invoice, 30.0)
        notice = self.make_run(partner_ids=partner.ids).notice_ids
        self.assertEqual((notice.currency_id, notice.amount_total), (self.foreign, 70.0))
        notice.run_id.action_print_and_send()
        self.pay(invoice, 70.0)
        self.assertFalse(self.hand_out(notice.run_id)[0])
        self.assertEqual(notice.state, 'cancelled')

    def test_credit_note_that_is_taken_back(self):
        """It settled the claim; without it the invoice is due as before, at the level it had."""
        notice = self.issue('Acme')
        invoice = self.invoice_of(notice)
        refund = self.make_invoice(notice.partner_id.with_env(self.env), 100.0, move_type='out_refund')
        (self.receivable(invoice) | self.receivable(refund)).reconcile()
        self.hand_out(notice.run_id)
        self.assertEqual(notice.state, 'cancelled')
        self.assertIn("Reversed: INV", notice.delivery_info)
        refund.line_ids.remove_move_reconcile()
        refund.button_draft()
        refund.button_cancel()
        again = self.make_run(partner_ids=notice.partner_id.ids).notice_ids
        self.assertEqual((again.amount_total, again.level_id), (100.0, self.level_1))

    def test_each_change_at_each_way_out(self):
        """By the button of the run, the address of its letters, the form's button, and the mark."""
        ways = {
            'print letters': lambda notice: notice.run_id.action_print_letters(),
            'address of the letters': lambda notice: notice.run_id._hand_out_letters(),
            'open document': lambda notice: notice.action_open_document(),
            'mark as printed': lambda notice: notice.action_mark_printed(),
        }
        for change, words in self.GONE.items():
            for way, leave in ways.items():
                with self.subTest(change=change, way=way), self.env.cr.savepoint() as savepoint:
                    notice = self.issue('Acme')
                    getattr(self, change)(notice)
                    answer = leave(notice)
                    self.assertEqual(notice.state, 'cancelled')
                    self.assertIn(words, notice.delivery_info)
                    self.assertIn(notice.delivery_info, notice.delivery_log_ids.mapped('text'), "the log says it too")
                    self.assertFalse(notice.printed_at or notice.is_counted or notice.letter_opened_at)
                    self.assertIn(words, str(answer), "whoever pressed is told")
                    savepoint.rollback()
                    self.env.invalidate_all()
                    self.env.registry.clear_cache()

    def test_part_payment_at_each_way_out(self):
        for way in ('action_print_letters', '_hand_out_letters', 'action_open_document', 'action_mark_printed'):
            with self.subTest(way), self.env.cr.savepoint() as savepoint:
                notice = self.issue('Acme')
                self.pay_part(notice)
                record = notice.run_id if way in ('action_print_letters', '_hand_out_letters') else notice
                answer = getattr(record, way)()
                self.assertEqual((notice.state, notice.amount_total), ('issued', 60.0))
                self.assertIn('60,00', read_pdf(notice.document_id.raw))
                self.assertNotIn('100,00 100,00', read_pdf(notice.document_id.raw))
                self.assertFalse(notice.printed_at, "a letter that nobody has seen cannot have been printed")
                if way == 'action_mark_printed':
                    self.assertIn("made anew just now", answer['params']['message'])
                    notice.action_open_document()
                    notice.action_mark_printed()
                    self.assertTrue(notice.printed_at)
                savepoint.rollback()
                self.env.invalidate_all()

    def test_stale_letter_is_left_out_and_named(self):
        paid, good, part, held = notices = self.issue('Paid AG', 'Good AG', 'Part AG', 'Held AG')
        self.pay_all(paid)
        self.pay_part(part)
        self.hold_customer(held)
        run = notices.run_id
        action = run.action_print_letters()
        self.assertEqual(action['params']['next']['url'], f'/dunning_mail/run/{run.id}/letters', "the others open")
        message = action['params']['message']
        for notice in (paid, held):
            self.assertIn(notice.name, message)
            self.assertIn(notice.partner_id.name, message)
        self.assertNotIn('Good AG', message)
        self.assertIn('Ratenzahlung', message)
        self.assertIn('Ratenzahlung', run.message_ids[0].body)
        text, _words = self.hand_out(run)
        for notice, is_there in ((paid, False), (good, True), (part, True), (held, False)):
            self.assertEqual(notice.name in text, is_there, notice.partner_id.name)
        self.assertIn('60,00', text)
        self.assertEqual(notices.mapped('status'), ['cancelled', 'paper', 'paper', 'cancelled'])

    def test_left_out_at_the_address_stands_on_the_list(self):
        self.company.dunning_print_list = True
        paid, *others = self.issue('Paid AG', 'Good AG', 'Fine AG')
        self.pay_all(paid)
        text, words = self.hand_out(paid.run_id)
        self.assertIn(f'{paid.name}, Paid AG: Cancelled. Paid: {paid.line_ids.name}', text)
        self.assertEqual(len(words), 2)
        self.assertEqual({notice.letter_opened_at is not False for notice in others}, {True})

    def test_what_was_printed_is_opened_again_unread(self):
        """Reading what has left is always allowed, whatever has become of the claim."""
        notice = self.issue('Acme')
        run = notice.run_id
        run._hand_out_letters()
        run.action_mark_printed()
        content = notice.document_id.raw
        self.pay_all(notice)
        self.assertEqual(run._hand_out_letters(), (None, []), "nothing is to be printed")
        self.assertEqual(run._hand_out_letters(printed=True), (content, []))
        self.assertEqual(run.action_reprint_letters()['url'], f'/dunning_mail/run/{run.id}/letters?printed=1')
        self.assertEqual(notice.action_open_document()['type'], 'ir.actions.act_url')
        self.assertEqual((notice.state, notice.status, notice.document_id.raw), ('issued', 'printed', content))

    def test_last_letter_left_out_does_not_reprint_the_others(self):
        printed, paid = self.issue('Printed AG', 'Paid AG')
        printed.action_mark_printed()
        self.pay_all(paid)
        action = printed.run_id.action_print_letters()
        self.assertEqual(action['params']['next']['tag'], 'soft_reload')
        self.assertIn('Paid AG', action['params']['message'])

    def test_print_and_send_again_reads_older_letters(self):
        """A mended draft is issued later; the letters of the first time may be settled by then."""
        partners = [self.make_partner(name, email=False) for name in ('Old AG', 'Paid AG', 'Mended AG')]
        partners[2].lang = 'fr_FR'
        for partner in partners:
            self.make_invoice(partner)
        run = self.make_run(partner_ids=[partner.id for partner in partners])
        old, paid, mended = self.in_order(run, partners)
        self.drop_texts(self.level_1, 'fr')
        run.action_print_and_send()
        self.assertEqual((old.status, mended.state), ('paper', 'draft'))
        self.level_1._install_default_texts()
        self.pay_all(paid)
        self.pay_part(old)
        action = run.action_print_and_send()
        self.assertEqual(action['params']['next']['url'], f'/dunning_mail/run/{run.id}/letters')
        text, _words = self.hand_out(run)
        self.assertEqual(paid.state, 'cancelled')
        self.assertEqual(old.amount_total, 60.0)
        for notice, is_there in ((old, True), (paid, False), (mended, True)):
            self.assertEqual(notice.name in text, is_there, notice.partner_id.name)

    def test_letters_joined_in_the_background(self):
        """Put together in the night, opened in the morning: what happened in between counts."""
        paid, good, other = notices = self.issue('Paid AG', 'Good AG', 'Other AG')
        run = notices.run_id
        with patch.object(dunning_run_print, 'JOIN_AT_ONCE', 1):
            run.action_print_letters()
            with self.enter_registry_test_mode():
                self.env.ref('dunning_mail.ir_cron_join').method_direct_trigger()
            self.env.invalidate_all()
            self.assertIn(paid.name, read_pdf(run._get_joined(run._get_letters())))
            self.pay_all(paid)
            content, words = run._hand_out_letters()
            self.assertIsNone(content, "what was put together is another set of letters")
            self.assertIn('Paid AG', words[1])
            self.assertIn('background', words[2])
            self.assertTrue(run.is_joining)
            with self.enter_registry_test_mode():
                self.env.ref('dunning_mail.ir_cron_join').method_direct_trigger()
            self.env.invalidate_all()
            text, words = self.hand_out(run)
        self.assertFalse(words)
        for notice, is_there in ((paid, False), (good, True), (other, True)):
            self.assertEqual(notice.name in text, is_there)

    def test_paid_in_the_background(self):
        paid, _good, _other = notices = self.issue('Paid AG', 'Good AG', 'Other AG')
        run = notices.run_id
        with patch.object(dunning_run_print, 'JOIN_AT_ONCE', 1):
            run.action_print_letters()
            self.pay_all(paid)
            with self.enter_registry_test_mode():
                self.env.ref('dunning_mail.ir_cron_join').method_direct_trigger()
            self.env.invalidate_all()
            self.assertEqual(paid.state, 'cancelled')
            self.assertNotIn(paid.name, read_pdf(run._get_joined(run._get_letters())))

    def test_marked_after_it_was_handed_out(self):
        """What is in the post is in the post: the mark stands, and whoever sets it is told."""
        notice, other = self.issue('Acme', 'Other')
        run = notice.run_id
        run._hand_out_letters()
        self.go_to(1)
        self.pay(self.invoice_of(notice), day=self.days(1))
        action = run.action_mark_printed()
        self.assertTrue(notice.printed_at and other.printed_at)
        self.assertIn("Paid: INV", action['params']['message'])
        self.assertIn("Not Printed After All", action['params']['message'])
        self.assertNotIn(other.name, action['params']['message'])
        self.assertIn("Paid: INV", notice.message_ids[0].body)

    def test_mark_taken_back_has_to_be_opened_again(self):
        notice = self.issue('Acme')
        notice.action_open_document()
        notice.action_mark_printed()
        self.pay_all(notice)
        notice.action_unmark_printed()
        self.assertFalse(notice.letter_opened_at)
        notice.run_id.action_print_letters()
        self.assertEqual(notice.state, 'cancelled')

    def test_who_may_only_read_changes_nothing(self):
        notice = self.issue('Acme')
        content = notice.document_id.raw
        self.pay_all(notice)
        auditor = self.env['res.users'].create({
            'name': 'Auditor', 'login': 'auditor', 'group_ids': [(6, 0, [
                self.env.ref('account.group_account_readonly').id])]})
        self.assertEqual(notice.run_id.with_user(auditor)._hand_out_letters(), (content, []))
        notice.with_user(auditor).action_open_document()
        self.assertEqual((notice.status, notice.letter_opened_at), ('paper', False))

    def test_one_that_cannot_be_made_again(self):
        """It waits for a person; the others are printed."""
        bad, good, other = notices = self.issue('Bad AG', 'Good AG', 'Other AG')
        self.pay_part(bad)
        original = self.env.registry['dunning.notice']._make_documents

        def make(records):
            documents = original(records)
            return {key: UserError("no paper left") if key == bad.id else value for key, value in documents.items()}
        with patch.object(self.env.registry['dunning.notice'], '_make_documents', make):
            text, words = self.hand_out(notices.run_id)
        self.assertIn("no paper left", words[1])
        self.assertEqual(notices.mapped('status'), ['held', 'paper', 'paper'])
        self.assertFalse(bad.document_id, "the letter that it had claims 100")
        self.assertIn("no paper left", bad.delivery_info)
        self.assertEqual(bad.activity_ids.user_id, self.clerk)
        for notice, is_there in ((bad, False), (good, True), (other, True)):
            self.assertEqual(notice.name in text, is_there)
        bad.action_set_paper()
        text, words = self.hand_out(notices.run_id)
        self.assertIn(bad.name, text)
        self.assertEqual((bad.amount_total, words), (60.0, []))


@tagged('post_install', '-at_install')
class TestDrafts(RecheckCase):

    def propose(self, name='Acme', **values):
        partner = self.make_partner(name, email=False, **values)
        self.make_invoice(partner)
        return self.make_run(partner_ids=partner.ids).notice_ids

    def test_preview_of_a_draft(self):
        for change, words in self.GONE.items():
            with self.subTest(change), self.env.cr.savepoint() as savepoint:
                notice = self.propose()
                getattr(self, change)(notice)
                with self.assertRaisesRegex(UserError, words):
                    notice.action_open_document()
                savepoint.rollback()
                self.env.invalidate_all()
                self.env.registry.clear_cache()
        notice = self.propose()
        self.pay_part(notice)
        notice.action_open_document()
        self.assertEqual(notice.amount_total, 60.0)

    def test_due_date_extended_within_due_until(self):
        """Still overdue, and still at its level: the letter says the new day."""
        notice = self.propose()
        self.invoice_of(notice).invoice_date_due = '2026-10-15'
        notice.run_id.action_print_and_send()
        self.assertEqual((notice.state, str(notice.line_ids.date_due)), ('issued', '2026-10-15'))
        self.assertEqual(notice.line_ids.days_overdue, 40)
        self.assertIn('15.10.2026', read_pdf(notice.document_id.raw))
        self.assertNotIn('01.10.2026', read_pdf(notice.document_id.raw))

    def test_due_date_extended_beyond_the_level(self):
        """Overdue, but not long enough: that is what the log says."""
        notice = self.propose()
        self.invoice_of(notice).invoice_date_due = self.days(-3)
        notice.run_id.action_print_and_send()
        self.assertEqual(notice.state, 'cancelled')
        self.assertIn("Next notice on", notice.delivery_info)
        self.assertNotIn("Paid", ' '.join(notice.delivery_log_ids.mapped('text')))

    def test_due_date_extended_into_the_future(self):
        notice = self.propose()
        self.invoice_of(notice).invoice_date_due = self.days(20)
        notice.run_id.action_print_and_send()
        self.assertEqual(notice.state, 'cancelled')
        self.assertRegex(notice.delivery_info, "is not overdue: it is payable until 12/14/2026 now")
        self.assertNotIn("Paid", ' '.join(notice.delivery_log_ids.mapped('text')))
        self.assertNotIn("Paid", str(notice.message_ids.mapped('body')))

    def test_one_of_two_extended(self):
        partner = self.make_partner('Two', email=False)
        first, second = self.make_invoice(partner, 100.0), self.make_invoice(partner, 30.0)
        notice = self.make_run(partner_ids=partner.ids).notice_ids
        first.invoice_date_due = self.days(20)
        notice.run_id.action_print_and_send()
        self.assertEqual((notice.state, notice.amount_total), ('issued', 30.0))
        self.assertEqual(notice.line_ids.move_id, second)

    def test_one_of_two_on_hold(self):
        """What is due besides is dunned as ever."""
        partner = self.make_partner('Two', email=False)
        first, second = self.make_invoice(partner, 100.0), self.make_invoice(partner, 30.0)
        notice = self.make_run(partner_ids=partner.ids).notice_ids
        first.dunning_hold_until = self.days(20)
        notice.run_id.action_print_and_send()
        self.assertEqual((notice.state, notice.amount_total, notice.line_ids.move_id), ('issued', 30.0, second))
        self.assertIn("On hold until", ' '.join(notice.message_ids.mapped('body')))

    def test_level_raised_by_hand_stays(self):
        notice = self.propose()
        notice._change_level(self.level_3, "She asked for it")
        self.level_3.min_amount = 5000
        notice.run_id.action_print_and_send()
        self.assertEqual((notice.state, notice.level_id), ('issued', self.level_3))

    def test_rules_changed_since(self):
        """What was proposed and reviewed is not judged by rules that were changed since; what is new is."""
        notice = self.propose()
        self.level_1.delay_days = 90
        self.procedure.grace_days = 90
        notice.run_id.action_print_and_send()
        self.assertEqual(notice.state, 'issued')

    def test_procedure_archived(self):
        notice = self.propose()
        self.procedure.active = False
        notice.run_id.action_print_and_send()
        self.assertEqual(notice.state, 'draft')
        self.assertIn(self.procedure.name, notice.problem)
        self.procedure.active = True
        notice.run_id.action_print_and_send()
        self.assertEqual(notice.state, 'issued')

    def test_minimum_raised(self):
        notice = self.propose()
        self.company.dunning_min_amount = 500
        notice.run_id.action_print_and_send()
        self.assertEqual(notice.state, 'cancelled')
        self.assertIn("minimum", notice.delivery_info)

    def test_customer_of_another_one(self):
        notice = self.propose()
        other = self.make_partner('Other')
        notice.line_ids.move_line_id.with_env(self.env).partner_id = other
        notice.run_id.action_print_and_send()
        self.assertEqual(notice.state, 'cancelled')
        self.assertIn("belongs to another customer", notice.delivery_info)

    def test_reversed(self):
        notice = self.propose()
        self.env['account.move.reversal'].create({
            'move_ids': self.invoice_of(notice).ids, 'journal_id': self.invoice_of(notice).journal_id.id,
        }).modify_moves()
        notice.run_id.action_print_and_send()
        self.assertEqual(notice.state, 'cancelled')
        self.assertRegex(notice.delivery_info, "Reversed|Covered by a credit note")


@tagged('post_install', '-at_install')
class TestRecipient(RecheckCase):

    def issue_to_contact(self):
        partner = self.make_partner('Acme', email=False)
        contact = self.make_partner('Anna Alt', parent_id=partner.id, type='dunning', is_company=False, email=False)
        self.make_invoice(partner)
        run = self.make_run(partner_ids=partner.ids)
        run.action_print_and_send()
        self.assertEqual(run.notice_ids.recipient_id, contact)
        return run.notice_ids, contact

    def test_contact_left_and_another_came(self):
        notice, contact = self.issue_to_contact()
        contact.active = False
        new = self.make_partner('Nina Neu', parent_id=notice.partner_id.id, type='dunning', is_company=False)
        text, _words = self.hand_out(notice.run_id)
        self.assertEqual(notice.recipient_id, new)
        self.assertIn('Nina Neu', text)
        self.assertNotIn('Anna Alt', text)

    def test_contact_left(self):
        notice, contact = self.issue_to_contact()
        contact.active = False
        text, _words = self.hand_out(notice.run_id)
        self.assertEqual(notice.recipient_id, notice.partner_id)
        self.assertNotIn('Anna Alt', text)

    def test_contact_went_to_another_customer(self):
        notice, contact = self.issue_to_contact()
        contact.parent_id = self.make_partner('Other')
        text, _words = self.hand_out(notice.run_id)
        self.assertNotIn('Anna Alt', text)
        self.assertEqual(notice.recipient_id, notice.partner_id)

    def test_account_changed(self):
        """Money would go to an account that is no longer ours."""
        partner = self.company.partner_id
        partner.bank_ids.unlink()
        account = self.env['res.partner.bank'].create({
            'acc_number': 'CH93 0076 2011 6238 5295 7', 'partner_id': partner.id, 'allow_out_payment': True})
        notice = self.issue('Acme')
        self.assertEqual(notice.payment_account_number, 'CH9300762011623852957')
        account.active = False
        self.env['res.partner.bank'].create({
            'acc_number': 'CH56 0483 5012 3456 7800 9', 'partner_id': partner.id, 'allow_out_payment': True})
        text, _words = self.hand_out(notice.run_id)
        self.assertIn('CH56 0483 5012 3456 7800 9', text.replace('\u00a0', ' '))
        self.assertNotIn('CH93 0076', text.replace('\u00a0', ' '))
        self.assertEqual(notice.payment_account_number, 'CH5604835012345678009')

    def test_account_opened(self):
        """That there was no account to pay into is known too."""
        partner = self.company.partner_id
        partner.bank_ids.unlink()
        notice = self.issue('Acme')
        self.env['res.partner.bank'].create({
            'acc_number': 'CH56 0483 5012 3456 7800 9', 'partner_id': partner.id, 'allow_out_payment': True})
        text, _words = self.hand_out(notice.run_id)
        self.assertIn('CH56 0483 5012 3456 7800 9', text.replace('\u00a0', ' '))

    def test_notice_before_left_later(self):
        """The level rests on the day on which the one before left: when that is another one, it is asked again."""
        partner = self.make_partner('Acme', email=False)
        self.make_invoice(partner)
        first = self.dun(partner_ids=partner.ids).notice_ids
        second = self.make_run(self.days(20), partner_ids=partner.ids).notice_ids
        self.assertEqual((second.level_id, second.line_ids.previous_date), (self.level_2, TODAY))
        second.run_id.action_print_and_send()
        first.sudo().printed_at = f'{self.days(20)} 08:00:00'
        self.assertEqual(first.date_left, self.days(20))
        text, words = self.hand_out(second.run_id)
        self.assertFalse(text)
        self.assertEqual(second.state, 'cancelled')
        self.assertIn(second.name, words[-1])


@tagged('post_install', '-at_install')
class TestAddress(HttpCase, RecheckCase):
    """The address of a run's letters, opened days later."""

    def get(self, run):
        self.env.flush_all()
        self.authenticate('clerk', 'clerk')
        response = self.url_open(f'/dunning_mail/run/{run.id}/letters')
        self.env.invalidate_all()
        return response

    def test_days_later(self):
        paid, good = self.issue('Paid AG', 'Good AG')
        run = paid.run_id
        self.assertIn(paid.name, read_pdf(self.get(run).content))
        self.go_to(5)
        self.pay(self.invoice_of(paid), day=self.days(5))
        text = read_pdf(self.get(run).content)
        self.assertNotIn(paid.name, text)
        self.assertIn(good.name, text)
        self.assertEqual((paid.state, good.date), ('cancelled', self.days(5)))

    def test_nothing_left(self):
        notice = self.issue('Paid AG')
        self.pay_all(notice)
        response = self.get(notice.run_id)
        self.assertEqual(response.headers['Content-Type'], 'text/html; charset=utf-8')
        self.assertIn(f'{notice.name}, Paid AG: Cancelled. Paid: {notice.line_ids.name}', response.text)
        self.assertIn(f'href="/odoo/dunning.run/{notice.run_id.id}"', response.text)
        self.assertIn("There are no letters to print.", self.get(notice.run_id).text)

"""Is the claim still true? Asked whichever way a notice is about to leave."""

import io
from datetime import timedelta
from unittest.mock import patch

from pypdf import PdfReader

from odoo.exceptions import UserError
from odoo.tests import HttpCase, tagged

from ..models import dunning_run_print
from .common import TODAY, DunningCommon, DunningMailCommon


def read_pdf(content):
    return ' '.join(
        ' '.join(page.extract_text().replace('\0', '').split()) for page in PdfReader(io.BytesIO(content)).pages)


class RecheckCase(DunningCommon):

    def setUp(self):
        super().setUp()
        self.clerk.lang = 'en_US'

    def issue(self, *names, email=False, **values):
        """Issue a notice for each customer in one run, on paper by default.

        :return: `dunning.notice` in the order of the names, as the clerk sees them
        """
        partners = [self.make_partner(name, email=email, **values) for name in names]
        for partner in partners:
            self.make_invoice(partner)
        run = self.make_run(partner_ids=[partner.id for partner in partners])
        run.action_print_and_send()
        self.assertFalse(any(run.notice_ids.mapped('problem')), run.notice_ids.mapped('problem'))
        return self.in_order(run, partners)

    @staticmethod
    def in_order(run, partners):
        return run.notice_ids.browse(
            run.notice_ids.filtered(lambda notice, partner=partner: notice.partner_id == partner).id
            for partner in partners)

    def invoice_of(self, notice):
        return notice.line_ids.move_id.with_env(self.env)

    def hand_out(self, run):
        """The letters as their address gives them."""
        content, words = run._hand_out_letters()
        return (read_pdf(content) if content else ''), words

    def go_to(self, day):
        self.clock.move_to(f'{self.days(day)} 08:00:00')

    # What may happen between two steps, and what comes of an unfrozen letter by it.

    def pay_all(self, notice):
        self.pay(self.invoice_of(notice))

    def pay_part(self, notice):
        self.pay(self.invoice_of(notice), 40.0)

    def credit_note(self, notice):
        self.make_invoice(notice.partner_id.with_env(self.env), 100.0, move_type='out_refund')

    def hold_customer(self, notice):
        notice.partner_id.with_env(self.env).write({
            'dunning_hold_until': self.days(60), 'dunning_hold_reason': 'Ratenzahlung'})

    def hold_invoice(self, notice):
        self.invoice_of(notice).dunning_hold_until = self.days(60)

    def exclude_item(self, notice):
        notice.line_ids.move_line_id.with_env(self.env).no_followup = True

    def reset_entry(self, notice):
        self.invoice_of(notice).button_draft()

    def archive_customer(self, notice):
        notice.partner_id.with_env(self.env).active = False

    GONE = {
        'pay_all': "Paid: INV", 'credit_note': "covered by credits", 'hold_customer': "Ratenzahlung",
        'hold_invoice': "On hold until", 'exclude_item': "Excluded from follow-up",
        'reset_entry': "the entry is not posted any more", 'archive_customer': "has been archived"}


@tagged('post_install', '-at_install')
class TestLetters(RecheckCase):
    """Letters that were made, and are opened, printed or marked later."""

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
        self.level_1._get_text('fr_FR').unlink()
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
class TestDays(RecheckCase):
    """A level counts from the day on which the notice left, and what leaves late is dated anew."""

    def test_letter_handed_out_late_is_dated_anew(self):
        notice = self.issue('Acme')
        self.go_to(9)
        text, _words = self.hand_out(notice.run_id)
        self.assertEqual((notice.date, notice.date_deadline), (self.days(9), self.days(19)))
        self.assertEqual(notice.line_ids.days_overdue, 54 + 9, "counted to the day in the letter")
        self.assertIn('3. Dezember 2026', text)
        self.assertIn('13. Dezember 2026', text)
        self.assertNotIn('24. November 2026', text)
        notice.run_id.action_mark_printed()
        self.assertEqual(notice.date_left, self.days(9))

    def test_within_three_days_it_keeps_its_date(self):
        notice = self.issue('Acme')
        sha256 = notice.document_sha256
        self.go_to(3)
        self.hand_out(notice.run_id)
        self.assertEqual((notice.date, notice.document_sha256), (TODAY, sha256))
        self.go_to(4)
        self.hand_out(notice.run_id)
        self.assertEqual(notice.date, self.days(4))

    def test_deadline_of_a_person_stays_as_long_as_it_is_not_over(self):
        partner = self.make_partner('Acme', email=False)
        self.make_invoice(partner)
        run = self.make_run(partner_ids=partner.ids)
        notice = run.notice_ids
        notice.date_deadline = self.days(45)
        run.action_print_and_send()
        self.go_to(9)
        self.hand_out(run)
        self.assertEqual((notice.date, notice.date_deadline), (self.days(9), self.days(45)))
        self.go_to(50)
        self.hand_out(run)
        self.assertEqual((notice.date, notice.date_deadline), (self.days(50), self.days(60)))

    def test_deadline_follows_the_level_though_its_days_were_changed(self):
        """Whether a person set it is noted, and not read from the days that the level has by now."""
        late, set_by_hand = self.make_partner('Late', email=False), self.make_partner('Set', email=False)
        for partner in (late, set_by_hand):
            self.make_invoice(partner)
        run = self.make_run(partner_ids=[late.id, set_by_hand.id])
        notice, other = self.in_order(run, [late, set_by_hand])
        other.date_deadline = other.date_deadline
        other.date_deadline = self.days(20)
        run.action_print_and_send()
        self.level_1.deadline_days = 20
        self.go_to(5)
        self.hand_out(run)
        self.assertEqual((notice.date, notice.date_deadline), (self.days(5), self.days(25)))
        self.assertEqual((other.date, other.date_deadline), (self.days(5), self.days(20)))

    def test_time_zone_of_who_asks_counts_for_nothing(self):
        """What day it is must not depend on whose browser asked."""
        self.company.partner_id.tz = False
        self.clerk.tz = False
        self.clock.move_to('2026-11-24 12:30:00')
        for tz in ('Pacific/Auckland', 'America/Los_Angeles', False):
            company = self.company.with_user(self.clerk).with_context(tz=tz)
            self.assertEqual(str(company._get_dunning_day()), '2026-11-24', tz)

    def test_printed_on_the_last_days(self):
        """Handed out at once, posted on day 9 of 10: the next level counts from there."""
        notice = self.issue('Acme')
        notice.run_id._hand_out_letters()
        self.go_to(9)
        notice.run_id.action_mark_printed()
        self.assertEqual((notice.date, notice.date_left), (TODAY, self.days(9)))
        item = notice.line_ids.move_line_id
        self.assertEqual((item.dunning_level_id, item.dunning_last_date), (self.level_1, self.days(9)))
        partner_ids = notice.partner_id.ids
        self.assertFalse(self.make_run(self.days(11), partner_ids=partner_ids).notice_ids)
        self.assertFalse(self.make_run(self.days(9 + 14), partner_ids=partner_ids).notice_ids)
        second = self.make_run(self.days(9 + 15), partner_ids=partner_ids).notice_ids
        self.assertEqual((second.level_id, second.line_ids.previous_date), (self.level_2, self.days(9)))
        self.assertEqual(second.line_ids.previous_notice_id, notice)

    def test_draft_issued_late(self):
        partner = self.make_partner('Acme', email=False)
        self.make_invoice(partner)
        run = self.make_run(partner_ids=partner.ids)
        self.go_to(5)
        run.action_print_and_send()
        self.assertEqual((run.notice_ids.date, run.notice_ids.date_deadline), (self.days(5), self.days(15)))
        self.assertEqual(run.notice_ids.line_ids.days_overdue, 54 + 5)

    def test_texts_stay_those_of_the_issue(self):
        text = self.level_1._get_text('de_DE')
        text.letter_title = 'Freundliche Erinnerung {{ object.name }}'
        notice = self.issue('Acme')
        text.letter_title = 'Letzte Warnung'
        text.letter_intro = '<p>Ganz andere Worte.</p>'
        self.pay_part(notice)
        printed, _words = self.hand_out(notice.run_id)
        self.assertIn(f'Freundliche Erinnerung {notice.name}', printed)
        self.assertIn('60,00', printed)
        self.assertNotIn('Letzte Warnung', printed)
        self.assertNotIn('andere Worte', printed)
        other = self.issue('Other')
        self.assertIn('Letzte Warnung', read_pdf(other.document_id.raw), "what is issued now says what they say now")

    def test_texts_that_were_deleted(self):
        notice = self.issue('Acme')
        self.level_1._get_text('de_DE').unlink()
        self.pay_part(notice)
        text, words = self.hand_out(notice.run_id)
        self.assertIn('60,00', text)
        self.assertIn('Made anew', words[0])


@tagged('post_install', '-at_install')
class TestTimeZones(DunningMailCommon):
    """Today is the company's day, for buttons, jobs and engine alike."""

    def setUp(self):
        super().setUp()
        self.company.partner_id.tz = False
        self.clerk.tz = False
        self.clerk.lang = 'en_US'

    def at(self, moment):
        self.clock.move_to(moment)

    def test_helper(self):
        company = self.company
        for moment, tz, day in (
                ('2026-07-01 22:30:00', 'Europe/Zurich', '2026-07-02'),
                ('2026-07-01 21:30:00', 'Europe/Zurich', '2026-07-01'),
                ('2026-07-01 12:30:00', 'Pacific/Auckland', '2026-07-02'),
                ('2026-07-01 05:30:00', 'America/Los_Angeles', '2026-06-30'),
                ('2026-07-01 23:59:00', False, '2026-07-01')):
            self.at(moment)
            company.partner_id.tz = tz
            self.assertEqual(str(company.sudo()._get_dunning_day()), day, (moment, tz))
            self.assertEqual(str(company.with_user(self.env.ref('base.user_root'))._get_dunning_day()), day)
        self.at('2026-07-01 12:30:00')
        self.clerk.tz = 'Pacific/Auckland'
        self.assertEqual(str(company._get_dunning_day(user=self.clerk)), '2026-07-02', "the responsible user's")
        company.partner_id.tz = 'Europe/Zurich'
        self.assertEqual(str(company._get_dunning_day(user=self.clerk)), '2026-07-01', "the company's comes first")

    def test_hold_that_ended_yesterday(self):
        """At half past midnight in Zürich yesterday's hold is over, though it is still yesterday in UTC."""
        for tz, moment in (('Europe/Zurich', '2026-11-24 23:30:00'), ('Pacific/Auckland', '2026-11-24 13:00:00')):
            with self.subTest(tz), self.env.cr.savepoint() as savepoint:
                self.at('2026-11-24 08:00:00')
                self.company.partner_id.tz = 'Europe/Zurich'
                notice = self.release(f'Acme {tz[:6]}')
                self.company.partner_id.tz = tz
                notice.partner_id.dunning_hold_until = '2026-11-24'
                self.at(moment)
                self.run_engine()
                self.assertEqual(notice.status, 'sent', notice.delivery_info)
                self.assertEqual(str(notice.date_left), '2026-11-25')
                savepoint.rollback()
                self.env.invalidate_all()

    def test_hold_that_is_not_over_yet(self):
        self.clerk.tz = 'America/Los_Angeles'
        notice = self.release('Acme')
        notice.partner_id.dunning_hold_until = '2026-11-24'
        self.at('2026-11-25 05:00:00')
        self.run_engine()
        self.assertEqual(notice.state, 'cancelled', "it is still the evening of the 24th there")

    def test_run_and_buttons(self):
        self.company.partner_id.tz = 'Pacific/Auckland'
        self.make_invoice(self.make_partner('Acme', email=False))
        self.at('2026-11-24 12:00:00')
        run = self.env['dunning.run'].with_user(self.clerk).create({})
        self.assertEqual(str(run.date), '2026-11-25')
        run.action_generate_notices()
        run.action_print_and_send()
        self.assertEqual(run.notice_ids.status, 'paper')
        run._hand_out_letters()
        run.action_mark_printed()
        self.assertEqual(str(run.notice_ids.date_left), '2026-11-25')

    def test_schedule(self):
        self.company.partner_id.tz = 'Pacific/Auckland'
        schedule = self.env['dunning.schedule'].create({
            'name': 'Weekly', 'user_id': self.clerk.id, 'next_date': '2026-11-25'})
        cron = self.env.ref('dunning_mail.ir_cron_schedule')
        for moment, count in (('2026-11-24 10:00:00', 0), ('2026-11-24 12:00:00', 1)):
            self.at(moment)
            with self.enter_registry_test_mode():
                self.env.flush_all()
                cron.method_direct_trigger()
            self.env.invalidate_all()
            self.assertEqual(len(schedule.run_ids), count, moment)
        self.assertEqual(str(schedule.run_ids.date), '2026-11-25')
        self.assertEqual(str(schedule.next_date), '2026-12-02')


@tagged('post_install', '-at_install')
class TestMails(DunningMailCommon, RecheckCase):
    """Mails before, between and after their attempts."""

    def setUp(self):
        super().setUp()
        self.turn_clock_while_waiting()

    def fail_after_data(self, name='Acme'):
        """A mail that the server refused when it had all of it."""
        notice = self.release(name)
        self.smtp.set_rules('* eod 554 5.6.0 Not to our taste')
        self.run_engine()
        self.smtp.set_rules('')
        self.assertEqual((notice.status, bool(notice.handover_at)), ('failed', True))
        return notice.with_user(self.clerk)

    def bounce(self, name='Acme'):
        """A mail that was taken and came back."""
        notice = self.release(name)
        self.run_engine()
        notice.sudo()._set_delivery('failed', "The mail came back: 550 5.7.1 policy")
        return notice.with_user(self.clerk)

    def fail_before_data(self, name='Acme'):
        """A mail that was never handed over."""
        notice = self.release(name)
        self.smtp.set_rules('* data 554 5.6.1 Not this kind')
        self.run_engine()
        self.smtp.set_rules('')
        self.assertEqual((notice.status, bool(notice.handover_at)), ('failed', False))
        return notice.with_user(self.clerk)

    def become_unclear(self, name='Acme'):
        notice = self.release(name)
        self.smtp.set_rules('* eod accept-then-drop')
        self.run_engine()
        self.smtp.set_rules('')
        self.smtp.clear()
        self.assertEqual(notice.status, 'unclear')
        self.clock.tick(timedelta(minutes=11).total_seconds())
        return notice.with_user(self.clerk)

    def test_failed_then_settled(self):
        """Refused after DATA, bounced, or refused before: paid meanwhile, it goes neither on paper nor out again."""
        for fail in (self.fail_after_data, self.bounce, self.fail_before_data):
            for change in (self.pay_all, self.credit_note):
                for way in ('action_set_paper', 'action_retry'):
                    with self.subTest(fail=fail.__name__, change=change.__name__, way=way), \
                            self.env.cr.savepoint() as savepoint:
                        self.smtp.clear()
                        notice = fail()
                        taken = len(self.smtp.messages)
                        change(notice)
                        answer = getattr(notice, way)()
                        self.assertEqual(notice.state, 'cancelled')
                        self.assertRegex(notice.delivery_info, "Paid: INV|covered by credits")
                        self.assertIn(notice.name, answer['params']['message'])
                        self.assertFalse(notice.activity_ids)
                        self.run_engine()
                        self.assertEqual(len(self.smtp.messages), taken)
                        savepoint.rollback()
                        self.env.invalidate_all()

    def test_failed_then_held(self):
        """It goes on waiting for a person."""
        for fail in (self.fail_after_data, self.bounce, self.fail_before_data):
            for change in ('hold_customer', 'hold_invoice', 'archive_customer'):
                for way in ('action_set_paper', 'action_retry'):
                    with self.subTest(fail=fail.__name__, change=change, way=way), \
                            self.env.cr.savepoint() as savepoint:
                        notice = fail()
                        getattr(self, change)(notice)
                        with self.assertRaisesRegex(UserError, self.GONE[change]):
                            getattr(notice, way)()
                        self.assertEqual(notice.status, 'failed')
                        savepoint.rollback()
                        self.env.invalidate_all()
                        self.env.registry.clear_cache()

    def test_frozen_and_part_paid(self):
        """It leaves unchanged or not at all: a person is asked."""
        for fail in (self.fail_after_data, self.bounce):
            for way in ('action_set_paper', 'action_retry'):
                with self.subTest(fail=fail.__name__, way=way), self.env.cr.savepoint() as savepoint:
                    notice = fail()
                    content = notice.document_id.raw
                    self.pay_part(notice)
                    with self.assertRaisesRegex(UserError, "must not be changed"):
                        getattr(notice, way)()
                    self.assertEqual((notice.status, notice.document_id.raw), ('failed', content))
                    savepoint.rollback()
                    self.env.invalidate_all()

    def test_never_handed_over_and_part_paid(self):
        notice = self.fail_before_data()
        self.pay_part(notice)
        notice.action_set_paper()
        self.assertEqual((notice.status, notice.amount_total), ('paper', 60.0))
        self.assertIn('60,00', read_pdf(notice.document_id.raw))
        self.assertNotIn('100,00', read_pdf(notice.document_id.raw).replace('100,00 60,00', ''))

    def test_frozen_on_paper_then_changed(self):
        """Put on paper in time, paid before it is printed."""
        paid, part, fine = (self.fail_after_data(name) for name in ('Paid', 'Part', 'Fine'))
        notices = paid | part | fine
        notices.action_set_paper()
        self.assertEqual(notices.mapped('status'), ['paper'] * 3)
        self.pay_all(paid)
        self.pay_part(part)
        for notice in notices:
            notice.run_id._hand_out_letters()
        self.assertEqual(notices.mapped('status'), ['cancelled', 'held', 'paper'])
        self.assertIn("60.00 open instead of", part.delivery_info)
        self.assertEqual(part.activity_ids.user_id, self.clerk)
        self.assertTrue(fine.letter_opened_at)

    def test_unclear_stays(self):
        """It may have arrived: whatever has happened to the claim, that is what it is."""
        for change in ('pay_all', 'pay_part', 'hold_customer', 'exclude_item'):
            for way in ('action_set_paper', 'action_retry'):
                with self.subTest(change=change, way=way), self.env.cr.savepoint() as savepoint:
                    notice = self.become_unclear()
                    getattr(self, change)(notice)
                    with self.assertRaises(UserError):
                        getattr(notice, way)()
                    self.assertEqual((notice.state, notice.status, notice.is_counted), ('issued', 'unclear', True))
                    self.run_engine()
                    self.assertFalse(self.smtp.messages)
                    savepoint.rollback()
                    self.env.invalidate_all()
        notice = self.become_unclear()
        notice.action_set_paper()
        self.assertEqual(notice.status, 'paper')

    def test_unclear_and_dunned_by_another(self):
        """A first reminder does not follow the second one."""
        notice = self.become_unclear()
        self.go_to(20)
        second = self.make_run(self.days(20), partner_ids=notice.partner_id.ids)
        self.assertEqual(second.notice_ids.level_id, self.level_2)
        for state in ('draft', 'released', 'sent'):
            with self.subTest(state):
                if state == 'released':
                    second.action_print_and_send()
                elif state == 'sent':
                    self.run_engine()
                self.assertEqual(second.notice_ids.status, state)
                words = "dunned meanwhile" if state == 'sent' else "another open notice"
                for way in ('action_set_paper', 'action_retry'):
                    with self.assertRaisesRegex(UserError, words):
                        getattr(notice, way)()
                self.assertEqual(notice.status, 'unclear')

    def test_several_of_which_one_may_not(self):
        paid, fine = self.fail_before_data('Paid'), self.fail_before_data('Fine')
        held = self.fail_before_data('Held')
        self.pay_all(paid)
        self.hold_customer(held)
        action = (paid | fine | held).action_set_paper()
        self.assertEqual((paid | fine | held).mapped('status'), ['cancelled', 'paper', 'failed'])
        self.assertIn(paid.name, action['params']['message'])
        self.assertIn(held.name, action['params']['message'])
        self.assertNotIn(fine.name, action['params']['message'])

    def test_sent_again_after_its_deadline(self):
        """Issued and bounced on day 0; on day 20 it would ask for money until day 10."""
        for fail in (self.bounce, self.fail_after_data):
            with self.subTest(fail.__name__), self.env.cr.savepoint() as savepoint:
                notice = fail()
                taken = len(self.smtp.messages)
                self.go_to(20)
                for way in ('action_retry', 'action_set_paper'):
                    with self.assertRaisesRegex(UserError, "payable until 12/04/2026, which is over"):
                        getattr(notice, way)()
                self.run_engine()
                self.assertEqual((notice.status, len(self.smtp.messages)), ('failed', taken))
                savepoint.rollback()
                self.env.invalidate_all()
        notice = self.fail_before_data()
        self.go_to(20)
        notice.action_retry()
        self.run_engine()
        self.assertEqual((notice.status, notice.date, notice.date_deadline), ('sent', self.days(20), self.days(30)))
        self.assertEqual(notice.date_left, self.days(20))

    def test_sent_again_in_time(self):
        notice = self.bounce()
        content = self.smtp.messages[0].content
        self.go_to(8)
        notice.action_retry()
        self.run_engine()
        self.assertEqual((notice.status, notice.date, notice.date_left), ('sent', TODAY, self.days(8)))
        self.assertEqual(self.smtp.messages[1].content, content, "the same bytes")
        second = self.make_run(self.days(8 + 14), partner_ids=notice.partner_id.ids)
        self.assertFalse(second.notice_ids, "the next level counts from the day on which it left")

    def test_released_and_late(self):
        """A provider that was paused for a while: dated anew at the claim, mail and letter alike."""
        notice = self.release('Acme')
        self.go_to(4)
        self.run_engine()
        self.assertEqual((notice.status, notice.date, notice.date_deadline), ('sent', self.days(4), self.days(14)))
        mail = self.mails()[0]
        self.assertIn('8. Dezember 2026', mail.get_body(('plain',)).get_content())
        pdf = next(part for part in mail.walk() if part.get_content_type() == 'application/pdf')
        self.assertIn('8. Dezember 2026', read_pdf(pdf.get_payload(decode=True)))
        self.assertEqual(notice.line_ids.days_overdue, 58)

    def test_recipient_of_a_mail_left(self):
        partner = self.make_partner('Acme')
        contact = self.make_partner('Anna Alt', parent_id=partner.id, type='dunning', is_company=False)
        notice = self.release(partner)
        self.assertEqual(notice.email_to, 'annaalt@customer.test')
        contact.active = False
        self.make_partner('Nina Neu', parent_id=partner.id, type='dunning', is_company=False)
        self.run_engine()
        self.assertEqual(self.smtp.messages[0].rcpt_tos, ['ninaneu@customer.test'])
        self.assertEqual(self.mails()[0]['To'], 'Nina Neu <ninaneu@customer.test>')
        pdf = next(part for part in self.mails()[0].walk() if part.get_content_type() == 'application/pdf')
        self.assertNotIn('Anna Alt', read_pdf(pdf.get_payload(decode=True)))

    def test_archived_between_release_and_slot(self):
        customer, procedure = self.release('Customer', 'Procedure')
        own = self.procedure.copy({'name': 'Own'})
        procedure.sudo().level_id = own.level_ids[0]
        customer.partner_id.active = False
        own.active = False
        self.run_engine()
        self.assertEqual((customer | procedure).mapped('state'), ['cancelled'] * 2)
        self.assertIn("Customer Customer has been archived", customer.delivery_info)
        self.assertIn("“Own” has been archived", procedure.delivery_info)
        self.assertFalse(self.smtp.messages)

    def test_due_date_extended_between_release_and_slot(self):
        for days, status in ((-20, 'sent'), (-3, 'cancelled'), (20, 'cancelled')):
            with self.subTest(days):
                self.smtp.clear()
                notice = self.release(f'Acme {days}')
                self.invoice_of(notice).invoice_date_due = self.days(days)
                self.run_engine()
                self.assertEqual(notice.status, status, notice.delivery_info)
                if status == 'sent':
                    self.assertIn('04.11.2026', self.mails()[0].get_body(('plain',)).get_content())
                else:
                    self.assertNotIn("Paid", notice.delivery_info)

    def test_account_closed_after_a_handover(self):
        partner = self.company.partner_id
        partner.bank_ids.unlink()
        account = self.env['res.partner.bank'].create({
            'acc_number': 'CH93 0076 2011 6238 5295 7', 'partner_id': partner.id, 'allow_out_payment': True})
        notice = self.fail_after_data()
        account.active = False
        with self.assertRaisesRegex(UserError, "Payments went to account CH9300762011623852957"):
            notice.action_retry()
        account.active = True
        notice.action_retry()
        self.run_engine()
        self.assertEqual(notice.status, 'sent')


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

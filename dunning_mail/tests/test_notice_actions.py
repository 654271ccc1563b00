"""What buttons do to notices that may not simply go, and what whoever presses them is told."""

from datetime import timedelta
from unittest.mock import patch

from odoo import Command
from odoo.exceptions import UserError
from odoo.tests import new_test_user, tagged
from odoo.tools import mute_logger

from ..models import dunning_run_print
from ..tools import mail_header
from .common import DunningMailCommon
from .test_notice_recheck import RecheckCase, read_pdf


@tagged('post_install', '-at_install')
class TestWords(RecheckCase):
    """The reasons are the true ones."""

    def test_part_payment(self):
        notice = self.issue('Acme')
        self.pay_part(notice)
        message = notice.action_open_document()['params']['message']
        for words in (notice.name, 'Acme', '60.00 instead of', '60.00 open instead of', '100.00'):
            self.assertIn(words, message)
        self.assertIn('60.00 instead of', notice.delivery_log_ids.sorted('id')[-2].text, "the evidence says it")
        self.assertIn("Letter handed out to Petra Muster", notice.delivery_log_ids.sorted('id')[-1].text)

    def test_due_date(self):
        notice = self.issue('Acme')
        self.receivable(self.invoice_of(notice)).date_maturity = '2026-10-05'
        self.assertIn("10/05/2026 instead of 10/01/2026", notice.action_open_document()['params']['message'])

    def test_credit(self):
        notice = self.issue('Acme')
        self.make_unallocated(notice.partner_id.with_env(self.env), 30.0)
        message = notice.action_open_document()['params']['message']
        self.assertRegex(message, r"Credits: \D*30.00 instead of \D*0.00")
        self.assertRegex(message, r"70.00 instead of \D*100.00")

    def test_dated_anew(self):
        notice = self.issue('Acme')
        self.go_to(5)
        message = notice.action_open_document()['params']['message']
        self.assertIn("Dated 11/29/2026, payable until 12/09/2026", message)
        self.assertNotIn("open instead of", message)

    def test_paid_or_settled(self):
        """Paid is what a payment paid; what was written off or set off is settled."""
        journal = self.env['account.journal'].search(
            [('type', '=', 'general'), ('company_id', '=', self.company.id)], limit=1)
        for kind, words in ((journal, "Settled: INV"), (None, "Paid: INV")):
            notice = self.issue('Acme')
            entry = self.make_unallocated(notice.partner_id.with_env(self.env), 100.0, journal=kind) \
                if not kind else self.make_write_off(notice, kind)
            (self.receivable(self.invoice_of(notice)) | self.receivable(entry)).reconcile()
            notice.action_open_document()
            self.assertIn(words, notice.delivery_info)
            self.assertTrue(notice.delivery_info.startswith("Cancelled."))

    def make_write_off(self, notice, journal):
        partner = notice.partner_id.with_env(self.env)
        expense = self.env['account.account'].search(
            [('account_type', '=', 'expense'), ('company_ids', 'in', self.company.ids)], limit=1)
        entry = self.env['account.move'].create({
            'move_type': 'entry', 'journal_id': journal.id, 'date': '2026-11-20', 'line_ids': [
                Command.create({'account_id': expense.id, 'debit': 100.0}),
                Command.create({'account_id': partner.property_account_receivable_id.id, 'partner_id': partner.id,
                                'credit': 100.0})]})
        entry.action_post()
        return entry

    def test_the_same_of_many_items(self):
        """It is said once, not once for each."""
        partner = self.make_partner('Acme', email=False)
        moves = [self.make_invoice(partner) for _number in range(5)]
        run = self.make_run(partner_ids=partner.ids)
        run.action_print_and_send()
        for move in moves:
            self.pay(move)
        run.notice_ids.action_open_document()
        self.assertEqual(run.notice_ids.delivery_info.count("Paid"), 1)
        self.assertIn(f'{moves[0].name}, {moves[1].name}, {moves[2].name} …', run.notice_ids.delivery_info)

    def test_dunned_meanwhile_by_an_earlier_one(self):
        """Whether the one before counts is asked of it, and not read from numbers."""
        partner = self.make_partner('Acme', email=False)
        self.make_invoice(partner)
        first = self.make_run(partner_ids=partner.ids)
        first.action_print_and_send()
        first.notice_ids.action_open_document()
        first.action_mark_printed()
        second = self.make_run(self.days(20), partner_ids=partner.ids)
        self.assertEqual(second.notice_ids.line_ids.previous_notice_id, first.notice_ids)
        second.action_print_and_send()
        second.notice_ids.action_open_document()
        second.action_mark_printed()
        third = self.make_run(self.days(40), partner_ids=partner.ids)
        third.action_print_and_send()
        notice = third.notice_ids
        self.assertEqual(notice.line_ids.previous_notice_id, second.notice_ids)
        # The first one turns out to have left later than the second one.
        first.notice_ids.sudo().printed_at = '2027-01-02 08:00:00'
        notice.action_open_document()
        self.assertIn(f"dunned meanwhile by {first.notice_ids.name}", notice.delivery_info)
        first.notice_ids.sudo().printed_at = '2026-11-24 08:00:00'

    def test_notice_before_does_not_count_any_more(self):
        partner = self.make_partner('Acme', email=False)
        self.make_invoice(partner)
        first = self.dun(partner_ids=partner.ids)
        second = self.make_run(self.days(20), partner_ids=partner.ids)
        second.action_print_and_send()
        first.notice_ids.action_cancel()
        second.notice_ids.action_open_document()
        self.assertIn(f"({first.notice_ids.name}) does not count any more", second.notice_ids.delivery_info)

    def test_contact_archived_or_moved(self):
        partner = self.make_partner('Acme', email=False)
        contact = self.env['res.partner'].create({'name': 'Frau Ex', 'parent_id': partner.id, 'type': 'dunning'})
        for change, words in (
                (lambda: contact.write({'active': False}), "Frau Ex has been archived"),
                (lambda: contact.write({'parent_id': self.make_partner('Other').id}), "no longer with the customer")):
            with self.env.cr.savepoint() as savepoint:
                self.make_invoice(partner)
                run = self.make_run(partner_ids=partner.ids)
                run.action_print_and_send()
                self.assertEqual(run.notice_ids.recipient_id, contact)
                change()
                message = run.notice_ids.action_open_document()['params']['message']
                self.assertRegex(message, f"Addressed anew to Acme: .*{words}")
                savepoint.rollback()
                self.env.invalidate_all()

    def test_lines_are_kept_apart(self):
        one, two = self.issue('One AG', 'Two AG')
        for notice in (one, two):
            self.pay_all(notice)
        action = one.run_id.action_print_letters()
        self.assertEqual(action['params']['className'], 'o_dunning_lines')
        self.assertEqual(len(action['params']['message'].split('\n')), 3)
        self.assertEqual(one.run_id.message_ids[0].body.count('<br'), 2)

    def test_what_was_opened_before(self):
        """A letter on the desk is void, or another one takes its place."""
        paid, part, fresh = notices = self.issue('Paid AG', 'Part AG', 'Fresh AG')
        for notice in (paid, part):
            notice.action_open_document()
        self.pay_all(paid)
        self.pay_part(part)
        self.pay_part(fresh)
        lines = notices.run_id.action_print_letters()['params']['message'].split('\n')
        for name in ('Paid AG', 'Part AG'):
            start = next(index for index, line in enumerate(lines) if name in line)
            self.assertIn("opened for printing", ' '.join(lines[start:start + 3]))
        self.assertEqual(sum("opened for printing" in line for line in lines), 2)

    def test_print_and_send_tells_what_was_cancelled(self):
        partners = [self.make_partner(name, email=False) for name in ('Paid AG', 'Good AG', 'Later AG')]
        moves = [self.make_invoice(partner) for partner in partners]
        run = self.make_run(partner_ids=[partner.id for partner in partners])
        self.pay(moves[0])
        self.receivable(moves[2]).date_maturity = self.days(30)
        params = run.action_print_and_send()['params']
        self.assertIn("not overdue any more: 2.", params['message'])
        self.assertEqual(params['type'], 'warning')
        self.assertEqual(run.cancelled_count, 2)
        cancelled = run.with_context(dunning_delivery_state='cancelled').action_open_notices()
        self.assertEqual(self.env['dunning.notice'].search_count(cancelled['domain']), 2)


@tagged('post_install', '-at_install')
class TestLettersOfARun(RecheckCase):

    def test_list_names_what_was_left_out_by_the_button(self):
        self.company.dunning_print_list = True
        paid, *_others = notices = self.issue('Paid AG', 'Good AG', 'Fine AG')
        self.pay_all(paid)
        run = notices.run_id
        run.action_print_letters()
        text, _words = self.hand_out(run)
        self.assertIn(f'Left out {paid.name}, Paid AG: Cancelled. Paid:', text)
        self.go_to(1)
        run.action_mark_printed()
        later = notices[1]
        later.action_unmark_printed()
        self.clock.tick(5)
        text, _words = self.hand_out(run)
        self.assertNotIn(paid.name, text, "that was before the others were printed")

    def test_printed_ones_are_not_printed_again_unasked(self):
        self.company.dunning_print_list = True
        notices = self.issue('One AG', 'Two AG')
        run = notices.run_id
        run._hand_out_letters()
        run.action_mark_printed()
        with self.assertRaisesRegex(UserError, "no letters to print"):
            run.action_print_letters()
        self.assertEqual(run._hand_out_letters(), (None, []))
        content, _words = run._hand_out_letters(printed=True)
        text = read_pdf(content)
        self.assertIn("Reprint: these letters were printed before", text)
        self.assertIn('Petra Muster', text)
        for notice in notices:
            self.assertIn(notice.name, text)
        fresh = self.issue('New AG').run_id
        with self.assertRaisesRegex(UserError, "no printed letters"):
            fresh.action_reprint_letters()

    def test_many_that_changed_are_left_to_the_background(self):
        notices = self.issue('One AG', 'Two AG', 'Three AG')
        run = notices.run_id
        for notice in notices:
            self.pay_part(notice)
        with patch.object(dunning_run_print, 'ISSUE_AT_ONCE', 1):
            for way in (lambda: run.action_print_letters()['params']['message'],
                        lambda: run._hand_out_letters()[1][0]):
                self.assertIn("in the background", way())
                self.assertEqual(notices.mapped('amount_total'), [100.0] * 3)
            self.assertTrue(run.is_joining)
            with self.enter_registry_test_mode():
                self.env.ref('dunning_mail.ir_cron_join').method_direct_trigger()
            self.env.invalidate_all()
        self.assertFalse(run.is_joining)
        self.assertEqual(notices.mapped('amount_total'), [60.0] * 3)
        text, _words = self.hand_out(run)
        self.assertIn('60,00', text)

    def test_mark_of_a_letter_that_was_paid_meanwhile(self):
        """It is told, kept in the run, and somebody has to see to it."""
        notice, other = self.issue('Acme', 'Other')
        run = notice.run_id
        run._hand_out_letters()
        self.pay_all(notice)
        message = run.action_mark_printed()['params']['message']
        self.assertIn(f'{notice.name}, Acme: ', message)
        self.assertIn(f'{notice.name}, Acme', run.message_ids[0].body)
        self.assertEqual(
            notice.activity_ids.activity_type_id, self.env.ref('dunning_mail.mail_activity_letter'))
        self.assertFalse(other.activity_ids)
        notice.action_unmark_printed()
        self.assertFalse(notice.activity_ids)

    def test_mark_of_a_letter_whose_file_was_exchanged(self):
        """What lies in the archive must be what was printed: what is not, is not marked as it."""
        notice, other = self.issue('Acme', 'Other')
        notice.run_id._hand_out_letters()
        notice.sudo().document_id.write({'raw': b'%PDF-1.7 something else'})
        message = notice.run_id.action_mark_printed()['params']['message']
        self.assertIn(notice.name, message)
        self.assertNotIn(other.name, message)
        self.assertEqual((bool(notice.printed_at), bool(other.printed_at)), (False, True))

    def test_none_is_left_in_the_background(self):
        notices = self.issue('Acme', 'Other')
        run = notices.run_id
        with patch.object(dunning_run_print, 'JOIN_AT_ONCE', 1):
            run.action_print_letters()
            for notice in notices:
                self.pay_all(notice)
            with self.enter_registry_test_mode():
                self.env.ref('dunning_mail.ir_cron_join').method_direct_trigger()
        self.env.invalidate_all()
        self.assertFalse(run.is_joining)
        self.assertEqual(notices.mapped('state'), ['cancelled', 'cancelled'])
        self.assertIn("There are no letters to print any more.", run.message_ids[0].body)

    def test_mark_of_one_that_is_made_anew_says_why(self):
        notice = self.issue('Acme')
        self.go_to(5)
        message = notice.action_mark_printed()['params']['message']
        self.assertIn("Dated 11/29/2026", message)
        self.assertNotIn("claim", message)

    def get_report(self, user):
        return self.env['ir.actions.report'].with_user(user).with_context(force_report_rendering=True)

    def test_report_menu(self):
        """*Print* of the web client knows what has become of a claim, too."""
        report = self.get_report(self.clerk)
        reader = self.get_report(new_test_user(self.env, 'reader-menu', 'account.group_account_readonly'))
        good, paid, part, cancelled = self.issue('Good AG', 'Paid AG', 'Part AG', 'Cancelled AG')
        self.pay_all(paid)
        self.pay_part(part)
        cancelled.action_cancel()
        for notice, words in ((paid, "Paid: INV"), (part, "60.00 open instead of"), (cancelled, "never goes out")):
            with self.assertRaisesRegex(UserError, f'{notice.name}, {notice.partner_id.name}: .*{words}'):
                report._render_qweb_pdf('dunning_mail.letter', [good.id, notice.id])
            self.assertFalse(good.letter_opened_at)
            self.assertTrue(reader._render_qweb_pdf('dunning_mail.letter', notice.ids))
        self.assertEqual((paid.state, part.amount_total), ('issued', 100.0), "reading changes nothing")
        content, _kind = report._render_qweb_pdf('dunning_mail.letter', good.ids)
        self.assertEqual(content, good.document_id.raw)
        self.assertTrue(good.letter_opened_at)

    def test_report_menu_of_drafts(self):
        partner = self.make_partner('Acme', email=False)
        move = self.make_invoice(partner)
        notice = self.make_run(partner_ids=partner.ids).notice_ids
        report = self.get_report(self.clerk)
        self.assertTrue(report._render_qweb_pdf('dunning_mail.letter', notice.ids))
        self.pay(move, 40.0)
        with self.assertRaisesRegex(UserError, "60.00 open instead of"):
            report._render_qweb_pdf('dunning_mail.letter', notice.ids)
        notice.action_open_document()
        self.assertTrue(report._render_qweb_pdf('dunning_mail.letter', notice.ids))

    def test_report_menu_of_what_has_left(self):
        notice = self.issue('Acme')
        notice.action_open_document()
        notice.action_mark_printed()
        self.pay_all(notice)
        report = self.get_report(self.clerk)
        self.assertEqual(
            report._render_qweb_pdf('dunning_mail.letter', notice.ids)[0], notice.document_id.raw)


@tagged('post_install', '-at_install')
class TestLevelOfIssued(RecheckCase):

    def test_level_falls(self):
        """The highest item is paid: what is left is a first reminder, in the language that a person chose."""
        partner = self.make_partner('Acme', email=False)
        old = self.make_invoice(partner, 100.0)
        first = self.dun(partner_ids=partner.ids)
        self.make_invoice(partner, 50.0, due='2026-11-01')
        second = self.make_run(self.days(20), partner_ids=partner.ids)
        notice = second.notice_ids
        self.assertEqual(notice.level_id, self.level_2)
        notice.lang = 'fr_FR'
        second.action_print_and_send()
        self.pay(old, day=self.days(20))
        text, _words = self.hand_out(second)
        self.assertEqual((notice.level_id, notice.lang), (self.level_1, 'fr_FR'))
        first_text = self.level_1._get_text('fr_FR')
        self.assertEqual(notice.text_version_id, first_text._get_version())
        self.assertIn(first_text.letter_title.split('<')[0].strip()[:12], text)
        self.assertTrue(first)

    def test_level_falls_to_one_without_texts(self):
        partner = self.make_partner('Acme', email=False)
        old = self.make_invoice(partner, 100.0)
        self.dun(partner_ids=partner.ids)
        self.make_invoice(partner, 50.0, due='2026-11-01')
        second = self.make_run(self.days(20), partner_ids=partner.ids)
        second.action_print_and_send()
        notice = second.notice_ids
        self.level_1.text_ids.unlink()
        self.pay(old, day=self.days(20))
        text, words = self.hand_out(second)
        self.assertFalse(text)
        self.assertIn("has no texts", words[1])
        self.assertEqual(notice.status, 'held')


@tagged('post_install', '-at_install')
class TestSelections(DunningMailCommon, RecheckCase):
    """Buttons on many notices."""

    def fail(self, *names):
        notices = self.release(*names)
        self.smtp.set_rules('* rcpt 550 5.1.1 Unknown')
        self.run_engine()
        self.smtp.set_rules('')
        self.assertEqual(set(notices.mapped('status')), {'failed'})
        return notices.with_user(self.clerk)

    def test_two_with_the_same_item(self):
        """One goes, the other says why not; the database's own message is nobody's."""
        first = self.fail('Acme')
        second = self.make_run(partner_ids=first.partner_id.ids)
        self.smtp.set_rules('* rcpt 550 5.1.1 Unknown')
        first.partner_id.sudo().action_clear_dunning_refused()
        second.action_print_and_send()
        self.run_engine()
        self.smtp.set_rules('')
        both = first | second.notice_ids.with_user(self.clerk)
        self.assertEqual(both.mapped('status'), ['failed', 'failed'])
        for way in ('action_set_paper', 'action_retry'):
            with self.env.cr.savepoint() as savepoint:
                both.partner_id.sudo().action_clear_dunning_refused()
                message = getattr(both, way)()['params']['message']
                self.assertIn("is on another open notice meanwhile", message)
                self.assertEqual(sorted(both.mapped('status'))[0], 'failed')
                self.assertIn(sorted(both.mapped('status'))[1], ('paper', 'released'))
                savepoint.rollback()
                self.env.invalidate_all()

    def test_a_fault_of_one_is_not_that_of_the_others(self):
        bad, good = self.fail('Bad AG', 'Good AG')
        for notice in (bad, good):
            self.pay_part(notice)
        original = self.env.registry['dunning.notice']._apply_verdict

        def apply(notice, verdict):
            if notice.id == bad.id:
                raise ZeroDivisionError
            return original(notice, verdict)
        with patch.object(self.env.registry['dunning.notice'], '_apply_verdict', apply), \
                mute_logger('odoo.addons.dunning_mail.models.dunning_notice_recheck'):
            message = (bad | good).action_set_paper()['params']['message']
        self.assertIn("technical fault", message)
        self.assertEqual((bad.status, bad.amount_total), ('failed', 100.0))
        self.assertEqual((good.status, good.amount_total), ('paper', 60.0))

    def test_list_actions_tell(self):
        """What the buttons of a single notice say, the menu of the list says too."""
        paid, good = self.fail('Paid AG', 'Good AG')
        self.pay_all(paid)
        action = self.env.ref('dunning_mail.dunning_notice_action_set_paper').with_user(self.clerk).with_context(
            active_model='dunning.notice', active_ids=(paid | good).ids).run()
        self.assertIn('Paid AG', action['params']['message'])
        self.assertEqual((paid.state, good.status), ('cancelled', 'paper'))

    def test_list_actions_ask(self):
        notice = self.release('Acme').with_user(self.clerk)
        self.smtp.set_rules('* eod accept-then-drop')
        self.run_engine()
        self.smtp.set_rules('')
        self.smtp.clear()
        self.clock.tick(timedelta(minutes=11).total_seconds())
        self.assertEqual(notice.status, 'unclear')
        for name, words in (('retry', "may get them twice"), ('set_paper', "a second time on paper"),
                            ('cancel', "cannot be undone"), ('mark_printed', "From now on these notices count")):
            with self.subTest(name):
                action = self.env.ref(f'dunning_mail.dunning_notice_action_{name}').with_user(
                    self.clerk).with_context(active_model='dunning.notice', active_ids=notice.ids).run()
                self.assertEqual((notice.state, notice.status), ('issued', 'unclear'))
                confirm = self.env['dunning.notice.confirm'].with_user(self.clerk).browse(action['res_id'])
                self.assertIn(words, confirm.question)
        self.assertIn('Acme', self.env['dunning.notice.confirm'].with_user(self.clerk).create(
            {'notice_ids': notice.ids, 'action': 'retry'}).question)
        confirm = self.env['dunning.notice.confirm'].with_user(self.clerk).create(
            {'notice_ids': notice.ids, 'action': 'cancel'})
        confirm.action_confirm()
        self.assertEqual(notice.state, 'cancelled')

    def test_no_address(self):
        notice = self.issue('Acme').with_user(self.clerk)
        with self.assertRaises(UserError) as caught:
            notice.action_retry()
        self.assertNotIn("Good Again", str(caught.exception), "there is no address that could be good again")
        refused = self.fail('Refused AG')
        with self.assertRaisesRegex(UserError, "Address Is Good Again"):
            refused.action_retry()


@tagged('post_install', '-at_install')
class TestWhatLeaves(DunningMailCommon, RecheckCase):
    """Mails between two attempts."""

    def setUp(self):
        super().setUp()
        self.turn_clock_while_waiting()

    def meet_passing_fault(self, *names, rule='* eod 451 4.3.0 Later'):
        notices = self.release(*names)
        self.smtp.set_rules(rule)
        self.run_engine()
        self.smtp.set_rules('')
        self.smtp.clear()
        self.clock.tick(3600)
        return notices

    def test_address_changed_after_the_handover(self):
        """What was handed over for one address does not go to it once the customer has another one."""
        notice = self.meet_passing_fault('Acme')
        self.assertEqual((notice.status, bool(notice.handover_at)), ('released', True))
        notice.partner_id.email = 'new@customer.test'
        self.run_engine()
        self.assertFalse(self.smtp.messages)
        self.assertEqual(notice.status, 'held')
        for words in ('acme@customer.test', 'new@customer.test'):
            self.assertIn(words, notice.delivery_info)
        self.assertTrue(notice.activity_ids)
        with self.assertRaisesRegex(UserError, "may not be sent to another address"):
            notice.with_user(self.clerk).action_retry()

    def test_sender_changed_after_the_handover(self):
        """A server that has it would get another mail for the same notice."""
        notice = self.meet_passing_fault('Acme')
        self.provider.email_from = 'neu@muster.test'
        self.run_engine()
        self.assertFalse(self.smtp.messages)
        self.assertEqual(notice.status, 'held')
        for words in ('mahnung@muster.test', 'neu@muster.test'):
            self.assertIn(words, notice.delivery_info)

    def test_letter_that_was_opened_goes_by_mail_now(self):
        notice = self.issue('Acme').with_user(self.clerk)
        notice.run_id._hand_out_letters()
        notice.partner_id.with_env(self.env).email = 'acme@customer.test'
        message = notice.action_retry()['params']['message']
        self.assertIn("take what was printed out of the post", message)
        self.assertEqual((notice.status, notice.letter_opened_at), ('released', False))
        self.run_engine()
        self.assertEqual(notice.status, 'sent')

    def test_address_changed_before_the_handover(self):
        notice = self.meet_passing_fault('Acme', rule='* rcpt 451 4.7.1 Greylisted')
        self.assertEqual((notice.status, bool(notice.handover_at)), ('released', False))
        notice.partner_id.email = 'new@customer.test'
        self.run_engine()
        self.assertEqual(self.smtp.messages[0].rcpt_tos, ['new@customer.test'])
        self.assertEqual(self.mails()[0]['To'], 'Acme <new@customer.test>')

    def test_run_cancelled_during_the_handover(self):
        """The mail that was on its way then met a passing fault: it is not sent later."""
        notice, failed = self.release('Acme', 'Failed AG')
        run = notice.run_id
        original = self.env.registry['dunning.engine']._apply_outcome

        def apply(engine, records, *args):
            run.with_user(self.clerk).action_cancel()
            return original(engine, records, *args)
        self.smtp.set_rules('failedag@customer.test rcpt 550 5.7.1 No\nacme@customer.test rcpt 451 4.7.1 Later')
        with patch.object(self.env.registry['dunning.engine'], '_apply_outcome', apply):
            self.run_engine()
        self.smtp.set_rules('')
        self.clock.tick(3600)
        self.run_engine()
        self.assertFalse(self.smtp.messages)
        self.assertEqual(notice.state, 'cancelled')
        self.assertIn("has been cancelled", notice.delivery_info)
        if failed.state == 'issued':
            with self.assertRaisesRegex(UserError, "has been cancelled"):
                failed.with_user(self.clerk).action_retry()

    def test_trial_handover_freezes_nothing(self):
        """It never reached the customer: what has changed since is made anew."""
        self.provider.redirect_to = 'me@muster.test'
        notice = self.meet_passing_fault('Acme')
        self.assertTrue(notice.handover_at and notice.redirected_to)
        self.pay_part(notice)
        notice.partner_id.email = 'new@customer.test'
        self.run_engine()
        self.assertEqual((notice.status, notice.amount_total), ('sent', 60.0))
        self.assertEqual(self.smtp.messages[0].rcpt_tos, ['me@muster.test'])
        self.assertIn('60,00', read_pdf(notice.document_id.raw))

    def test_trial_handover_then_for_real(self):
        self.provider.redirect_to = 'me@muster.test'
        notice = self.meet_passing_fault('Acme')
        message_id = notice.message_id
        self.provider.redirect_to = False
        self.pay_part(notice)
        self.run_engine()
        self.assertEqual((notice.status, notice.amount_total), ('sent', 60.0))
        self.assertEqual(self.smtp.messages[0].rcpt_tos, ['acme@customer.test'])
        self.assertNotEqual(notice.message_id, message_id)

    def test_handed_over_then_trial(self):
        notice = self.meet_passing_fault('Acme')
        self.provider.redirect_to = 'me@muster.test'
        self.run_engine()
        self.assertFalse(self.smtp.messages)
        self.assertEqual(notice.status, 'held')
        self.assertIn("trial mode now", notice.delivery_info)

    def test_paper_lets_go_of_the_mail(self):
        notice, frozen = self.release('Acme', 'Frozen AG')
        self.smtp.set_rules(
            'frozenag@customer.test eod 554 5.6.0 Not to our taste\nacme@customer.test data 554 5.6.1 Not this kind')
        self.run_engine()
        self.smtp.set_rules('')
        (notice | frozen).with_user(self.clerk).action_set_paper()
        self.assertEqual((notice | frozen).mapped('status'), ['paper'] * 2)
        self.assertFalse(notice.mail_document_id or notice.provider_id or notice.email_to)
        name = frozen._get_file_name()
        self.assertIn(f'{name}.eml', frozen._get_evidence_files())
        notice.partner_id.sudo().action_clear_dunning_refused()
        notice.with_user(self.clerk).action_retry()
        self.run_engine()
        self.assertEqual(notice.status, 'sent')

    def test_wants_paper_now(self):
        notice = self.release('Acme')
        notice.partner_id.dunning_channel = 'paper'
        self.run_engine()
        self.assertEqual(notice.status, 'paper')
        self.assertFalse(notice.mail_document_id or notice.provider_id)
        self.assertIn("On paper. The customer wants paper.", notice.delivery_log_ids.mapped('text'))

    def test_mail_that_cannot_be_made_goes_on_paper(self):
        """The way out of a fault of the mail is paper: that fault must not be in the way."""
        notice = self.meet_passing_fault('Acme', rule='* data 554 5.6.1 Not this kind')
        self.assertEqual(notice.status, 'failed')
        self.pay_part(notice)

        def make(*_args):
            raise ValueError("no mail can be made of it")
        with patch.object(self.env.registry['dunning.notice'], '_make_mail', make):
            notice.with_user(self.clerk).action_set_paper()
        self.assertEqual((notice.status, notice.amount_total), ('paper', 60.0))

    def test_evidence_of_what_was_not_handed_over(self):
        notice = self.release('Acme')
        name = notice._get_file_name()
        self.assertNotIn(f'{name}.eml', notice._get_evidence_files())
        self.run_engine()
        self.assertIn(f'{name}.eml', notice._get_evidence_files())

    def test_nobody_can_be_asked(self):
        """The state is true all the same, and the others go on."""
        bad, good = self.release('Bad AG', 'Good AG')
        self.smtp.set_rules('badag@customer.test rcpt 550 5.1.1 Unknown')

        def schedule(*_args, **_values):
            raise ValueError("no activity")
        with patch.object(self.env.registry['dunning.notice'], 'activity_schedule', schedule), \
                mute_logger('odoo.addons.dunning_mail.models.dunning_notice'):
            self.run_engine()
            self.assertEqual((bad.status, good.status), ('failed', 'sent'))
            held, other = self.release('Held AG', 'Other AG')
            held.mail_document_id.sudo()._replace_dunning_mail(b'Subject: forged\r\n\r\n\r\n')
            with mute_logger('odoo.addons.dunning_mail.models.dunning_engine'):
                self.run_engine()
        self.assertEqual((held.status, other.status), ('held', 'sent'))

    def test_copies_of_invoices_are_those_of_now(self):
        self.level_1.attach_invoices = True
        notice = self.release('Acme')
        invoice = self.invoice_of(notice)
        before = notice.document_id
        self.attach(invoice, b'%PDF-1.4 first')
        self.run_engine()
        self.assertEqual(self.attached(), [b'%PDF-1.4 first'])
        self.assertEqual(notice.status, 'sent')
        self.assertFalse(before.exists(), "letter and mail go together")
        self.smtp.clear()
        self.attach(invoice, b'%PDF-1.4 first')
        other = self.release('Other')
        self.attach(self.invoice_of(other), b'%PDF-1.4 one')
        self.attach(self.invoice_of(other), b'%PDF-1.4 two')
        self.run_engine()
        self.assertEqual(self.attached(), [b'%PDF-1.4 two'])

    def attach(self, invoice, content):
        invoice.invoice_pdf_report_id.unlink()
        invoice.invalidate_recordset()
        self.env['ir.attachment'].create({
            'name': f'{invoice.name}.pdf'.replace('/', '-'), 'raw': content, 'mimetype': 'application/pdf',
            'res_model': 'account.move', 'res_id': invoice.id, 'res_field': 'invoice_pdf_report_file'})
        invoice.invalidate_recordset()

    def attached(self):
        """The files along with the letter in the mail that arrived."""
        [mail] = self.mails()
        return [part.get_payload(decode=True) for part in mail.walk()
                if part.get_content_type() == 'application/pdf'][1:]

    def test_sender_that_reads_otherwise_than_it_is_written(self):
        """A name that a mail cannot give back to the letter is no reason to make all mails anew."""
        for name in ('Müller  &  Söhne "Zürich", AG', 'A' * 90 + ' Ä' * 30, 'x <y> z', 'Tab\tulator AG'):
            with self.subTest(name), self.env.cr.savepoint() as savepoint:
                self.company.name = name
                notice = self.release('Acme')
                document = notice.document_id
                self.run_engine()
                self.assertEqual(notice.status, 'sent')
                self.assertEqual(notice.document_id, document)
                savepoint.rollback()
                self.env.invalidate_all()

    def test_recipients_are_counted_as_they_are_now(self):
        """The provider's limit is not exceeded by addresses that were added after the release."""
        self.provider.hourly_limit = 3
        one, two = self.release('One', 'Two')
        for notice in (one, two):
            notice.partner_id.email = ', '.join(f'a{number}@{notice.id}.test' for number in range(2))
        slots = []
        original = self.env.registry['dunning.provider']._get_next_slot

        def get_slot(provider, now, recipient_count=1):
            slots.append(recipient_count)
            return original(provider, now, recipient_count)
        with patch.object(self.env.registry['dunning.provider'], '_get_next_slot', get_slot):
            self.run_engine()
        self.assertIn(2, slots)
        self.assertEqual(len(self.smtp.messages), 1, "the second one would be the fourth recipient of this hour")

    def test_headers_that_can_be_read_before(self):
        notice = self.release('Acme')
        self.assertEqual(str(mail_header.get(notice.mail_document_id.raw, 'To')), 'Acme <acme@customer.test>')

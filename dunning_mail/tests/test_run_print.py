"""The letters of a run as one PDF."""

from unittest.mock import patch

from odoo.exceptions import UserError
from odoo.tests import HttpCase, new_test_user, tagged
from odoo.tools import mute_logger

from ..models import dunning_run_print
from .common import IssueCase, RecheckCase, read_pdf


@tagged('post_install', '-at_install')
class TestLetters(HttpCase, IssueCase):
    """All letters of a run as one PDF."""

    def get_letters(self, run, login='clerk', printed=''):
        self.authenticate(login, login + 'x' * (8 - len(login)))
        return self.url_open(f'/dunning_mail/run/{run.id}/letters?printed={printed}')

    def test_letters(self):
        names = ('Coop', 'Acme', 'Bäcker')
        for name in names:
            self.make_invoice(self.make_partner(name, email=False))
        self.make_invoice(self.make_partner('Mail'))
        long = self.env['res.partner'].search([('name', '=', 'Acme')])
        for _index in range(40):
            self.make_invoice(long, 10)
        run = self.make_run()
        run.action_print_and_send()
        self.env.flush_all()
        response = self.get_letters(run)
        self.assertEqual(response.status_code, 200)
        self.assertEqual(response.headers['Content-Type'], 'application/pdf')
        pages = self.pages(response.content)
        paper = run.notice_ids.filtered(lambda notice: notice.delivery_state == 'paper')
        self.assertEqual(len(paper), 3)
        number_of = {notice.name: notice.partner_id.name for notice in paper}
        order = []
        for page in pages:
            found = [number for number in run.notice_ids.mapped('name') if number in page]
            self.assertEqual(len(found), 1, "each page carries its own number and no other's")
            if number_of[found[0]] not in order:
                order.append(number_of[found[0]])
            for name in names:
                if name != number_of[found[0]]:
                    self.assertNotIn(name, page)
        self.assertEqual(order, ['Acme', 'Bäcker', 'Coop'], "in the order of the names")
        self.assertGreater(len(pages), 3)
        self.assertEqual(len(pages), sum(len(self.pages(notice.document_id.raw)) for notice in paper))
        self.assertFalse(any(paper.mapped('printed_at')), "looking at it is not printing it")

    def test_printed_letters_come_no_more(self):
        for name in ('Acme', 'Coop'):
            self.make_invoice(self.make_partner(name, email=False))
        run = self.make_run()
        run.action_print_and_send()
        acme, coop = run.notice_ids.sorted(lambda notice: notice.partner_id.name)
        acme.action_mark_printed()
        self.env.flush_all()
        self.assertEqual(self.get_letters(run).content, coop.document_id.raw)
        coop.action_mark_printed()
        self.env.flush_all()
        self.assertIn("Es gibt keine Briefe zu drucken.", self.get_letters(run).text)
        self.assertEqual(len(self.pages(self.get_letters(run, printed=1).content)), 2, "for a second print")

    def test_no_letters(self):
        notice = self.propose()
        notice.run_id.action_print_and_send()
        with self.assertRaisesRegex(UserError, notice.run_id.name):
            notice.run_id.action_print_letters()

    def test_access(self):
        notice = self.propose(email=False)
        notice.run_id.action_print_and_send()
        new_test_user(self.env, login='nobody99', groups='base.group_user')
        self.env.flush_all()
        with mute_logger('odoo.http'):
            response = self.get_letters(notice.run_id, 'nobody99')
        self.assertNotEqual(response.status_code, 200)
        self.assertNotIn(b'%PDF', response.content)
        self.authenticate('clerk', 'clerkxxx')
        self.assertEqual(self.url_open('/dunning_mail/run/999999999/letters').status_code, 404)


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
        for notice in notices:
            self.assertIn(notice.name, text)
            self.assertIn('60,00', read_pdf(notice.document_id.raw))

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
        self.forge(notice.sudo().document_id, b'%PDF-1.7 something else')
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
            self.assertEqual(
                reader._render_qweb_pdf('dunning_mail.letter', notice.ids)[0], notice.document_id.sudo().raw)
        self.assertEqual((paid.state, part.amount_total), ('issued', 100.0), "reading changes nothing")
        content, _kind = report._render_qweb_pdf('dunning_mail.letter', good.ids)
        self.assertEqual(content, good.document_id.raw)
        self.assertTrue(good.letter_opened_at)

    def test_report_menu_of_drafts(self):
        partner = self.make_partner('Acme', email=False)
        move = self.make_invoice(partner)
        notice = self.make_run(partner_ids=partner.ids).notice_ids
        report = self.get_report(self.clerk)
        self.assertIn('100,00', read_pdf(report._render_qweb_pdf('dunning_mail.letter', notice.ids)[0]))
        self.pay(move, 40.0)
        with self.assertRaisesRegex(UserError, "60.00 open instead of"):
            report._render_qweb_pdf('dunning_mail.letter', notice.ids)
        notice.action_open_document()
        self.assertIn('60,00', read_pdf(report._render_qweb_pdf('dunning_mail.letter', notice.ids)[0]))

    def test_report_menu_of_what_has_left(self):
        notice = self.issue('Acme')
        notice.action_open_document()
        notice.action_mark_printed()
        self.pay_all(notice)
        report = self.get_report(self.clerk)
        self.assertEqual(
            report._render_qweb_pdf('dunning_mail.letter', notice.ids)[0], notice.document_id.raw)

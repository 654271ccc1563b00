import hashlib
import io
from unittest.mock import patch

from pypdf import PdfReader

from odoo.exceptions import UserError
from odoo.tests import HttpCase, new_test_user, tagged
from odoo.tools import mute_logger

from ..models import dunning_run_issue
from ..tools import pdf
from .common import TODAY, DunningCommon


class IssueCommon(DunningCommon):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        # Nothing is handed over here: a login that leads nowhere is enough.
        cls.provider = cls.env['dunning.provider'].create({
            'name': 'Provider', 'smtp_host': 'localhost', 'smtp_port': 1, 'email_from': 'mahnung@muster.test'})
        cls.company.dunning_provider_id = cls.provider

    def propose(self, name='Acme', amount=100.0, **values):
        """A draft notice of a run of its own."""
        partner = self.make_partner(name, **values)
        self.make_invoice(partner, amount)
        return self.make_run(partner_ids=partner.ids).notice_ids

    def customer(self, notice):
        """The customer as somebody sees it who may change it: clerks need not be allowed to."""
        return notice.partner_id.with_env(self.env)

    @staticmethod
    def pages(content):
        return [page.extract_text().replace('\0', '') for page in PdfReader(io.BytesIO(content)).pages]

    @classmethod
    def text(cls, notice):
        return '\n'.join(cls.pages(notice.document_id.sudo().raw))


@tagged('post_install', '-at_install')
class TestChannel(IssueCommon):
    """By mail or on paper, and the reason why."""

    def assertPaper(self, notice, words):
        notice.env.invalidate_all()
        self.assertEqual(notice.channel, 'paper')
        self.assertIn(words, notice.channel_info)

    def assertMail(self, notice, *addresses):
        notice.env.invalidate_all()
        channel, info, current = notice._choose_channel()
        self.assertEqual((channel, info, current), ('mail', '', list(addresses)))
        self.assertEqual((notice.channel, notice.channel_info), ('mail', ', '.join(addresses)))

    def test_mail(self):
        notice = self.propose()
        self.assertMail(notice, 'acme@customer.test')
        notice.run_id.action_print_and_send()
        self.assertEqual((notice.delivery_state, notice.email_to, notice.provider_id),
                         ('released', 'acme@customer.test', self.provider))
        self.assertFalse(notice.printed_at)

    def test_each_reason_for_paper(self):
        notice = self.propose()
        partner = self.customer(notice)
        self.level_1.send_by_mail = False
        self.assertPaper(notice, "This dunning level goes on paper")
        self.level_1.send_by_mail = True
        partner.dunning_channel = 'paper'
        self.assertPaper(notice, "The customer wants paper")
        partner.dunning_channel = 'level'
        for email in (False, '', ' '):
            partner.email = email
            self.assertPaper(notice, "There is no mail address")
        for email in ('not an address', 'acme', 'acme@', '@customer.test', 'acme@localhost', 'müller@customer.test',
                      'hans. muster@customer.test', 'a@b@customer.test', 'acme@-x-.test'):
            partner.email = email
            self.assertPaper(notice, email)
            self.assertIn("Acme", notice.channel_info)
        for email in ('acme@customer.test\nBcc: other@customer.test', 'acme\r\n@customer.test'):
            partner.email = email
            self.assertPaper(notice, "line break")
            self.assertNotIn('\n', notice.channel_info)
        partner.email = 'acme@customer.test'
        partner._set_dunning_refused('550 5.1.1 no such user')
        self.assertPaper(notice, '550 5.1.1 no such user')
        self.assertIn('acme@customer.test', notice.channel_info)
        partner.action_clear_dunning_refused()
        self.assertMail(notice, 'acme@customer.test')
        self.provider.active = False
        self.assertPaper(notice, "No service provider")
        self.company.dunning_provider_id = False
        self.assertPaper(notice, "No service provider")

    def test_reason_stands_on_the_issued_notice(self):
        notice = self.propose(email=False)
        notice.run_id.action_print_and_send()
        self.assertEqual((notice.state, notice.delivery_state), ('issued', 'paper'))
        self.assertEqual((notice.delivery_info, notice.channel_info), ("There is no mail address.",) * 2)
        self.assertFalse(notice.email_to or notice.provider_id)
        log = notice.delivery_log_ids
        self.assertEqual((log.state_from or '', log.state_to, log.text), (
            '', 'paper', "On paper. There is no mail address."))

    def test_without_provider_the_run_says_so(self):
        self.company.dunning_provider_id = False
        notice = self.propose()
        self.assertIn("all notices go on paper", notice.run_id.provider_warning)
        notice.run_id.action_print_and_send()
        self.assertEqual(notice.delivery_state, 'paper')

    def test_several_addresses_in_the_field(self):
        notice = self.propose()
        for email in ('a@customer.test, b@customer.test', 'a@customer.test; b@customer.test',
                      'Anna <a@customer.test>, "Bern, Hans" <b@customer.test>',
                      'A@customer.test,a@CUSTOMER.test,b@customer.test', 'a@customer.test\u00a0b@customer.test',
                      'a@customer.test b@customer.test'):
            self.customer(notice).email = email
            with self.subTest(email=email):
                self.assertMail(notice, 'a@customer.test', 'b@customer.test')

    def test_international_domain(self):
        notice = self.propose(email='info@müller.test')
        self.assertMail(notice, 'info@xn--mller-kva.test')

    def test_blacklist_does_not_matter(self):
        """Who wants no newsletters owes all the same."""
        notice = self.propose()
        self.env['mail.blacklist']._add('acme@customer.test')
        self.assertMail(notice, 'acme@customer.test')

    def test_whose_address(self):
        partner = self.make_partner('Acme')
        self.make_invoice(partner)
        invoice_address = self.make_partner('Rechnung', parent_id=partner.id, type='invoice', is_company=False)
        dunning_address = self.make_partner('Mahnung', parent_id=partner.id, type='dunning', is_company=False)
        notice = self.make_run().notice_ids
        self.assertMail(notice, 'mahnung@customer.test')
        dunning_address.email = False
        self.assertMail(notice, 'rechnung@customer.test')
        self.assertEqual(notice.recipient_id, dunning_address, "the postal address stays")
        invoice_address.email = 'no address'
        self.assertMail(notice, 'acme@customer.test')
        invoice_address.email = 'rechnung@customer.test'
        invoice_address._set_dunning_refused('550')
        self.assertMail(notice, 'acme@customer.test')
        partner.email = False
        self.assertPaper(notice, 'rechnung@customer.test')

    def test_language_and_recipient_of_a_draft_can_be_changed(self):
        notice = self.propose()
        contact = self.make_partner('Buchhaltung', parent_id=notice.partner_id.id, is_company=False)
        notice.write({'recipient_id': contact.id, 'lang': 'fr_FR'})
        self.assertMail(notice, 'buchhaltung@customer.test')
        notice.run_id.action_print_and_send()
        self.assertEqual(notice.email_to, 'buchhaltung@customer.test')
        self.assertIn('Buchhaltung', self.text(notice))


@tagged('post_install', '-at_install')
class TestIssue(IssueCommon):
    """Print / send."""

    def test_document(self):
        notice = self.propose(amount=1234.5)
        self.assertFalse(notice.document_id or notice.name)
        notice.run_id.action_print_and_send()
        content = notice.document_id.raw
        self.assertTrue(content.startswith(b'%PDF-'))
        self.assertEqual(notice.document_sha256, hashlib.sha256(content).hexdigest())
        self.assertEqual(notice._get_document_bytes(), content)
        self.assertEqual(notice.document_id.name, notice.name.replace('/', '-') + '.pdf')
        text = self.text(notice)
        for words in (notice.name, 'Acme', 'Bahnhofstrasse 1', '1.234,50', '24. November 2026', '4. Dezember 2026',
                      notice.line_ids.name, 'Petra Muster'):
            self.assertIn(words, text)
        action = notice.action_open_document()
        self.assertIn(f'/web/content/{notice.document_id.id}', action['url'])

    def test_numbers_are_unique(self):
        notices = self.propose('Acme') | self.propose('Other') | self.propose('Third')
        for run in notices.run_id:
            run.action_print_and_send()
        self.assertEqual(len(set(notices.mapped('name'))), 3)
        for number in notices.mapped('name'):
            self.assertRegex(number, r'^MA/2026/\d{5}$')

    def test_nothing_is_issued_before_generating(self):
        run = self.make_run(generate=False)
        with self.assertRaisesRegex(UserError, run.name):
            run.action_print_and_send()
        run.action_generate_notices()
        with self.assertRaisesRegex(UserError, run.name):
            run.action_print_and_send()

    def test_not_twice(self):
        notice = self.propose()
        notice.run_id.action_print_and_send()
        with self.assertRaises(UserError):
            notice.run_id.action_print_and_send()
        self.assertEqual(len(notice.delivery_log_ids), 1)

    def test_provider_without_server(self):
        self.provider.smtp_host = False
        notice = self.propose()
        with self.assertRaisesRegex(UserError, "Provider.*SMTP"):
            notice.run_id.action_print_and_send()
        self.assertEqual(notice.state, 'draft')

    # === READ AGAIN BEFORE THE DOCUMENT IS MADE === #

    def test_paid_meanwhile(self):
        notice, other = self.propose(), self.propose('Other')
        self.pay(notice.line_ids.move_id)
        run = notice.run_id
        run.action_print_and_send()
        self.assertEqual((notice.state, notice.delivery_state, notice.document_id.id), ('cancelled', False, False))
        self.assertIn("Paid", notice.delivery_info)
        self.assertEqual(run.state, 'done')
        other.run_id.action_print_and_send()
        self.assertEqual(other.state, 'issued')

    def test_partly_paid_meanwhile(self):
        notice = self.propose(amount=100)
        self.pay(notice.line_ids.move_id, 37.25)
        notice.run_id.action_print_and_send()
        self.assertEqual((notice.state, notice.amount_total), ('issued', 62.75))
        self.assertEqual(notice.line_ids.amount_residual, 62.75)
        self.assertIn('62,75', self.text(notice))

    def test_one_of_two_paid_meanwhile(self):
        partner = self.make_partner('Acme', email=False)
        old = self.make_invoice(partner, 10)
        self.dun()
        new = self.make_invoice(partner, 20, due=self.days(-1))
        run = self.make_run(self.days(15))
        self.assertEqual(run.notice_ids.level_id, self.level_2)
        self.pay(old)
        run.action_print_and_send()
        notice = run.notice_ids
        self.assertEqual((notice.line_ids.move_id, notice.amount_total), (new, 20.0))
        self.assertEqual(notice.level_id, self.level_1, "what is left has reached the first level only")

    def test_credit_meanwhile(self):
        notice = self.propose(amount=100)
        self.make_invoice(notice.partner_id, 30, move_type='out_refund')
        notice.run_id.action_print_and_send()
        self.assertEqual((notice.amount_overdue, notice.amount_credit, notice.amount_total), (100.0, 30.0, 70.0))
        other = self.propose('Other', 100)
        self.make_unallocated(other.partner_id, 100)
        other.run_id.action_print_and_send()
        self.assertEqual(other.state, 'cancelled')

    def test_hold_set_meanwhile(self):
        on_customer, on_invoice, on_item = (self.propose(name) for name in ('Acme', 'Other', 'Third'))
        self.customer(on_customer).write(
            {'dunning_hold_until': self.days(3), 'dunning_hold_reason': 'Ratenzahlung vereinbart'})
        on_invoice.line_ids.move_id.dunning_hold_until = self.days(3)
        on_item.line_ids.move_line_id.no_followup = True
        for notice in on_customer | on_invoice | on_item:
            notice.run_id.action_print_and_send()
            self.assertEqual((notice.state, notice.delivery_state), ('cancelled', False))
        self.assertIn('Ratenzahlung vereinbart', on_customer.delivery_info)
        self.assertIn(on_invoice.line_ids.name, on_invoice.delivery_info)

    # === ONE BAD NOTICE DOES NOT STOP THE OTHERS === #

    def propose_three(self):
        partners = [self.make_partner('Acme'), self.make_partner('Bäcker', lang='fr_FR'), self.make_partner('Coop')]
        for partner in partners:
            self.make_invoice(partner)
        run = self.make_run()
        return run, *(run.notice_ids.filtered(lambda n, p=partner: n.partner_id == p) for partner in partners)

    def assertOnlyBad(self, run, bad, *good):
        for notice in good:
            self.assertEqual((notice.state, notice.delivery_state, notice.problem), ('issued', 'released', False))
            self.assertTrue(notice.document_id)
        self.assertEqual((bad.state, bad.delivery_state), ('draft', False))
        self.assertFalse(bad.document_id)
        self.assertEqual((run.state, run.problem_count, run.draft_count), ('proposed', 1, 1))

    def test_broken_placeholder(self):
        run, acme, bad, coop = self.propose_three()
        text = self.level_1._get_text('fr_FR')
        subject = text.mail_subject
        # As an older version, or somebody in the database, may have left it.
        self.env.cr.execute(
            "UPDATE dunning_level_text SET mail_subject = '{{ object.no_such_field }}' WHERE id = %s", [text.id])
        text.invalidate_recordset()
        action = run.action_print_and_send()
        self.assertEqual(action['params']['type'], 'warning')
        self.assertOnlyBad(run, bad, acme, coop)
        for words in (self.level_1.name, 'French', 'object.no_such_field'):
            self.assertIn(words, bad.problem)
        text.mail_subject = subject
        run.action_print_and_send()
        self.assertEqual((bad.state, bad.delivery_state, bad.problem), ('issued', 'released', False))
        self.assertEqual(run.state, 'processing')
        self.assertEqual(len(set(run.notice_ids.mapped('name'))), 3)
        self.assertEqual(len(acme.delivery_log_ids), 1, "what was issued before is left alone")

    def test_missing_text(self):
        run, acme, bad, coop = self.propose_three()
        self.level_1._get_text('fr_FR').unlink()
        run.action_print_and_send()
        self.assertOnlyBad(run, bad, acme, coop)
        self.assertIn(self.level_1.name, bad.problem)
        bad.lang = 'de_DE'
        run.action_print_and_send()
        self.assertEqual(bad.state, 'issued')

    def test_letter_with_anothers_number(self):
        """One customer's paper never reaches another: a letter that bears another's number is not made."""
        first = self.propose('First')
        first.run_id.action_print_and_send()
        run, acme, bad, coop = self.propose_three()
        last = int(first.name.rpartition('/')[2])
        self.customer(bad).name = ' '.join(f'MA/2026/{last + offset:05}' for offset in (1, 2, 3))
        with mute_logger('odoo.addons.dunning_mail.models.ir_actions_report'):
            run.action_print_and_send()
        self.assertOnlyBad(run, bad, acme, coop)
        self.assertTrue(bad.problem)
        self.customer(bad).name = 'Bäcker'
        run.action_print_and_send()
        self.assertEqual(bad.state, 'issued')

    def test_archived_customer(self):
        run, acme, bad, coop = self.propose_three()
        self.customer(bad).active = False
        run.action_print_and_send()
        self.assertOnlyBad(run, bad, acme, coop)
        self.assertIn('Bäcker', bad.problem)

    @mute_logger('odoo.addons.dunning_mail.models.ir_actions_report', 'odoo.addons.dunning_mail.tools.pdf')
    def test_renderer_missing(self):
        run, *notices = self.propose_three()
        report = self.env.registry['ir.actions.report']
        with (patch.object(pdf, 'engine_available', lambda _engine: False),
              patch.object(report, 'get_wkhtmltopdf_state', lambda _self: 'install')):
            run.action_print_and_send()
        for notice in notices:
            self.assertEqual((notice.state, notice.delivery_state), ('draft', False))
            self.assertIn('pip install plutoprint', notice.problem)
        run.action_print_and_send()
        self.assertEqual(set(run.notice_ids.mapped('delivery_state')), {'released'})

    @mute_logger('odoo.addons.dunning_mail.models.ir_actions_report', 'odoo.addons.dunning_mail.tools.pdf')
    def test_renderer_dies(self):
        run, *notices = self.propose_three()
        with patch.object(pdf.sys, 'executable', '/bin/false'):
            run.action_print_and_send()
        for notice in notices:
            self.assertEqual((notice.state, notice.delivery_state), ('draft', False))
            self.assertTrue(notice.problem)
            self.assertNotIn('Traceback', notice.problem)
        run.action_print_and_send()
        self.assertEqual(set(run.notice_ids.mapped('delivery_state')), {'released'})

    # === PAPER === #

    def test_mark_printed_and_undo(self):
        notice = self.propose(email=False)
        run = notice.run_id
        run.action_print_and_send()
        self.assertEqual((run.state, run.unprinted_count), ('processing', 1))
        run._hand_out_letters()
        run.action_mark_printed()
        self.assertEqual((notice.printed_by, notice.delivery_state), (self.clerk, 'paper'))
        self.assertEqual(notice.printed_at.date(), TODAY)
        self.assertEqual((run.state, run.unprinted_count, run.progress), ('done', 0, 100.0))
        notice.action_unmark_printed()
        self.assertFalse(notice.printed_at or notice.printed_by)
        self.assertEqual((run.state, run.unprinted_count), ('processing', 1))
        self.assertEqual(notice.delivery_log_ids.mapped('state_to'), ['paper'] * 4)
        self.assertTrue(all(log.user_id == self.clerk for log in notice.delivery_log_ids))

    def test_only_paper_can_be_marked_printed(self):
        """The print of a run says nothing about the mails in it."""
        run, acme, other, coop = self.propose_three()
        self.customer(coop).dunning_channel = 'paper'
        run.action_print_and_send()
        run._hand_out_letters()
        run.action_mark_printed()
        self.assertTrue(coop.printed_at)
        self.assertFalse(acme.printed_at or other.printed_at)
        with self.assertRaises(UserError):
            acme.action_mark_printed()

    def test_mail_put_on_paper(self):
        notice = self.propose()
        notice.run_id.action_print_and_send()
        notice.action_set_paper()
        self.assertEqual(notice.delivery_state, 'paper')
        self.assertIn('Petra Muster', notice.delivery_info)
        notice.action_mark_printed()
        self.assertTrue(notice.is_counted)
        with self.assertRaises(UserError):
            notice.action_retry()

    def test_paper_put_on_mail(self):
        notice = self.propose(email=False)
        notice.run_id.action_print_and_send()
        with self.assertRaisesRegex(UserError, "no mail address"):
            notice.action_retry()
        self.customer(notice).email = 'acme@customer.test'
        notice.action_retry()
        self.assertEqual((notice.delivery_state, notice.email_to, notice.provider_id),
                         ('released', 'acme@customer.test', self.provider))

    def test_archive_switched_off(self):
        self.level_1.with_user(self.manager).archive_generated = False
        notice = self.propose(email=False)
        notice.run_id.action_print_and_send()
        attachment = notice.document_id
        self.assertTrue(attachment, "it is needed until it is printed")
        digest = notice.document_sha256
        notice.action_mark_printed()
        self.assertFalse(attachment.exists() or notice.document_id)
        self.assertEqual(notice.document_sha256, digest)
        with self.assertRaisesRegex(UserError, "archived"):
            notice.action_open_document()
        with self.assertRaisesRegex(UserError, "archived"):
            notice.action_unmark_printed()

    def test_archive_switched_on(self):
        self.level_1.archive_generated = True
        notice = self.propose(email=False)
        notice.run_id.action_print_and_send()
        notice.action_mark_printed()
        self.assertTrue(notice.document_id.raw)

    # === RUN === #

    def test_counts_and_progress(self):
        run, acme, other, coop = self.propose_three()
        self.assertEqual((run.notice_count, run.draft_count, run.progress, run.is_moving), (3, 3, 0.0, False))
        other.action_exclude()
        self.customer(coop).dunning_channel = 'paper'
        action = run.action_print_and_send()
        self.assertEqual((run.state, run.released_count, run.paper_count, run.unprinted_count, run.sent_count),
                         ('processing', 1, 1, 1, 0))
        self.assertEqual((run.progress, run.is_moving), (0.0, True))
        self.assertEqual(action['params']['next']['url'], f'/dunning_mail/run/{run.id}/letters')
        acme.sudo()._set_delivery('sending', 'x')
        self.assertEqual((run.sending_count, run.released_count), (1, 0))
        acme.sudo()._set_delivery('sent', 'x')
        run._update_state()
        self.assertEqual((run.state, run.sent_count, run.progress, run.is_moving), ('processing', 1, 50.0, False))
        run._hand_out_letters()
        run.action_mark_printed()
        self.assertEqual(run.state, 'done')
        acme.action_cancel()
        self.assertEqual((run.state, run.cancelled_count, acme.delivery_state), ('done', 1, 'sent'))

    def run_issue_cron(self):
        with self.enter_registry_test_mode():
            self.env.flush_all()
            self.env.ref('dunning_mail.ir_cron_issue').with_user(
                self.env.ref('base.user_root')).method_direct_trigger()
        self.env.invalidate_all()

    def test_large_run_in_the_background(self):
        for name in ('Acme', 'Bäcker', 'Coop', 'Denner', 'Emmi'):
            self.make_invoice(self.make_partner(name))
        run = self.make_run()
        with patch.object(dunning_run_issue, 'ISSUE_AT_ONCE', 2):
            action = run.action_print_and_send()
        self.assertEqual(action['params']['type'], 'info')
        self.assertEqual((run.state, run.is_issuing, run.issue_total), ('processing', True, 5))
        self.assertEqual(set(run.notice_ids.mapped('state')), {'draft'})
        self.assertEqual((run.progress, run.is_moving), (0.0, True))
        with self.assertRaises(UserError):
            run.action_print_and_send()
        with patch.object(dunning_run_issue, 'ISSUE_BATCH', 2):
            self.run_issue_cron()
        self.assertEqual((run.is_issuing, run.state, run.released_count), (False, 'processing', 5))
        self.assertEqual(len(set(run.notice_ids.mapped('name'))), 5)
        self.assertEqual(run.notice_ids.user_id, self.clerk)
        self.assertIn('Petra Muster', self.text(run.notice_ids[0]))

    def test_large_run_with_a_bad_notice(self):
        for name in ('Acme', 'Bäcker', 'Coop'):
            self.make_invoice(self.make_partner(name))
        run = self.make_run()
        bad = run.notice_ids.filtered(lambda notice: notice.partner_id.name == 'Bäcker')
        self.customer(bad).active = False
        with patch.object(dunning_run_issue, 'ISSUE_AT_ONCE', 1):
            run.action_print_and_send()
        with patch.object(dunning_run_issue, 'ISSUE_BATCH', 1):
            self.run_issue_cron()
        self.assertEqual((run.is_issuing, run.state, run.released_count, run.problem_count),
                         (False, 'proposed', 2, 1))
        self.assertIn('Bäcker', bad.problem)

    def test_large_run_cancelled_meanwhile(self):
        for name in ('Acme', 'Coop'):
            self.make_invoice(self.make_partner(name))
        run = self.make_run()
        with patch.object(dunning_run_issue, 'ISSUE_AT_ONCE', 1):
            run.action_print_and_send()
        run.action_cancel()
        self.run_issue_cron()
        self.assertEqual((run.state, run.is_issuing, len(run.notice_ids)), ('cancelled', False, 0))


@tagged('post_install', '-at_install')
class TestLetters(HttpCase, IssueCommon):
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

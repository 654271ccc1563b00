"""Print / Send: from drafts to letters and mails on their way."""

import hashlib
import sys
from unittest.mock import patch

from odoo.exceptions import UserError
from odoo.tests import tagged
from odoo.tools import mute_logger

from odoo.addons.report_pdf_engine.tools import pdf

from ..models import dunning_run_issue
from .common import IssueCase

REPORT_LOGGERS = (
    'odoo.addons.report_pdf_engine.models.ir_actions_report_document', 'odoo.addons.report_pdf_engine.tools.pdf')


@tagged('post_install', '-at_install')
class TestIssue(IssueCase):
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
        self.drop_texts(self.level_1, 'fr')
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
        with mute_logger(*REPORT_LOGGERS):
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

    @mute_logger(*REPORT_LOGGERS)
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

    @mute_logger(*REPORT_LOGGERS)
    def test_renderer_dies(self):
        run, *notices = self.propose_three()
        pdf.end_spares()
        with patch.object(sys, 'executable', '/bin/false'):
            run.action_print_and_send()
        for notice in notices:
            self.assertEqual((notice.state, notice.delivery_state), ('draft', False))
            self.assertTrue(notice.problem)
            self.assertNotIn('Traceback', notice.problem)
        run.action_print_and_send()
        self.assertEqual(set(run.notice_ids.mapped('delivery_state')), {'released'})

    # === PAPER === #

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

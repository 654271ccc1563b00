"""Notices without run and level go the same way."""

import io

import psycopg2
from pypdf import PdfReader

from odoo import Command
from odoo.tests import tagged
from odoo.tools import mute_logger

from .common import TODAY, DunningMailCommon, read_pdf


@tagged('post_install', '-at_install')
class TestKinds(DunningMailCommon):
    """Notices without run and level go the same way: number, letter, mail, engine, archive, evidence."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        for lang, words in (('de_DE', 'Kontoauszug'), ('fr_FR', 'Relevé de compte')):
            cls.env['dunning.level.text'].create({
                'kind': 'statement', 'procedure_id': cls.procedure.id, 'lang': lang,
                'mail_subject': f'{words} {{{{ object.name }}}}', 'mail_body': f'<p>{words} im Anhang.</p>',
                'letter_title': f'{words} {{{{ object.name }}}}', 'letter_intro': f'<p>{words}:</p>',
                'letter_closing': '<p>.</p>'})

    def make_statement(self, partner, **values):
        return self.env['dunning.notice'].sudo().create({
            'kind': 'statement', 'company_id': self.company.id, 'user_id': self.clerk.id, 'partner_id': partner.id,
            'recipient_id': partner.id, 'lang': partner.lang, 'currency_id': self.currency.id, 'date': TODAY,
            'line_ids': [Command.create({
                'kind': 'due', 'move_line_id': self.receivable(move).id, 'name': move.name, 'date_invoice': TODAY,
                'date_due': move.invoice_date_due, 'amount_invoiced': 100.0, 'amount_residual': 100.0,
            }) for move in self.env['account.move'].search([('partner_id', '=', partner.id)])], **values})

    def test_whole_way_by_mail(self):
        partner = self.make_partner('Acme', lang='fr_FR')
        invoice = self.make_invoice(partner)
        notice = self.make_statement(partner)
        self.assertFalse(notice.run_id or notice.level_id or notice.date_deadline)
        self.assertEqual(notice.with_user(self.clerk).display_name, 'Draft notice for Acme')
        notice._issue()
        self.assertFalse(notice.problem)
        self.assertEqual((notice.status, notice.channel), ('released', 'mail'))
        self.assertRegex(notice.name, r'^MA/2026/\d{5}$')
        self.assertIn(notice.name, notice.mail_subject)
        notice.with_user(self.clerk).action_open_mail()
        self.run_engine()
        self.assertEqual(notice.status, 'sent', notice.delivery_info)
        mail = self.mails()[0]
        self.assertEqual(mail['Subject'], f'Relevé de compte {notice.name}')
        self.assertIn('Relevé de compte', mail.get_body(('plain',)).get_content())
        pdf = next(part for part in mail.walk() if part.get_content_type() == 'application/pdf')
        text = PdfReader(io.BytesIO(pdf.get_payload(decode=True))).pages[0].extract_text()
        self.assertIn(f'Relevé de compte {notice.name}', text)
        self.assertIn(invoice.name, text)
        self.assertEqual((notice.date_left, notice.is_counted), (TODAY, False))
        self.assertFalse(self.receivable(invoice).dunning_level_id, "it never counts")
        files = notice.with_user(self.clerk)._get_evidence_files()
        self.assertEqual(sum(name.endswith(('.pdf', '.eml')) for name in files), 2)
        self.assertTrue(self.env['mail.message'].search([('message_id', '=', notice.message_id)]))

    def test_it_reserves_nothing(self):
        partner = self.make_partner('Acme')
        self.make_invoice(partner)
        statement = self.make_statement(partner)
        statement._issue()
        self.assertFalse(any(statement.line_ids.mapped('is_reserved')))
        run = self.make_run(partner_ids=partner.ids)
        self.assertEqual(run.notice_ids.level_id, self.level_1)
        run.action_print_and_send()
        self.run_engine()
        self.assertEqual((run.notice_ids | statement).mapped('status'), ['sent', 'sent'])

    def test_on_paper(self):
        partner = self.make_partner('Acme', email=False)
        notice = self.make_statement(partner)
        notice._issue()
        self.assertEqual(notice.status, 'paper')
        clerk_notice = notice.with_user(self.clerk)
        clerk_notice.action_open_document()
        clerk_notice.action_mark_printed()
        self.assertEqual((notice.status, notice.date_left, notice.is_counted), ('printed', TODAY, False))

    def test_bounce_asks_its_clerk(self):
        partner = self.make_partner('Acme')
        notice = self.make_statement(partner)
        notice._issue()
        self.smtp.set_rules('* rcpt 550 5.1.1 No such user')
        self.run_engine()
        self.assertEqual((notice.status, notice.activity_ids.user_id), ('failed', self.clerk))
        partner.email = 'new@customer.test'
        self.smtp.set_rules('')
        notice.with_user(self.clerk).action_retry()
        self.run_engine()
        self.assertEqual(notice.status, 'sent')

    def test_customer_archived(self):
        partner = self.make_partner('Acme')
        notice = self.make_statement(partner)
        notice._issue()
        partner.active = False
        self.run_engine()
        self.assertEqual(notice.state, 'cancelled')
        self.assertFalse(self.smtp.messages)

    def test_left_out_and_put_back(self):
        """Without a run there is no list to put it on; and it takes no items from others."""
        partner = self.make_partner('Acme')
        self.make_invoice(partner), self.make_invoice(partner)
        notice = self.make_statement(partner).with_user(self.clerk)
        run = self.make_run(partner_ids=partner.ids)
        notice.action_exclude()
        self.assertEqual(notice.state, 'excluded')
        notice.action_include()
        self.assertEqual(notice.state, 'draft')
        notice.line_ids[0].action_take_out()
        self.assertEqual((notice.amount_total, len(notice.line_ids)), (100.0, 1))
        self.assertFalse(notice.level_id)
        self.assertEqual(run.notice_ids.amount_total, 200.0)
        self.assertFalse(run.exception_ids)

    def test_claim_is_read_again(self):
        """What it lists is open when it leaves; rules for dunning are not asked."""
        partner, paid = self.make_partner('Acme'), self.make_partner('Paid')
        invoice, other = self.make_invoice(partner), self.make_invoice(partner)
        partner.dunning_hold_until = self.days(30)
        notice = self.make_statement(partner)
        move = self.make_invoice(paid)
        settled = self.make_statement(paid)
        (notice | settled)._issue()
        self.assertEqual((notice | settled).mapped('status'), ['released', 'released'])
        self.pay(invoice), self.pay(move)
        self.run_engine()
        self.assertEqual((notice.status, notice.amount_total), ('sent', 100.0))
        self.assertEqual(notice.line_ids.move_id, other)
        self.assertEqual(settled.state, 'cancelled')
        self.assertEqual(len(self.mails()), 1)

    def test_texts_of_the_customers_procedure(self):
        own = self.env['dunning.procedure'].create({'name': 'Key accounts'})
        partner = self.make_partner('Acme')
        partner.dunning_procedure_id = own
        self.make_invoice(partner)
        notice = self.make_statement(partner)
        notice._issue()
        self.assertIn('Key accounts', notice.problem)
        self.assertIn('German', notice.problem)
        self.env['dunning.level.text'].create({
            'kind': 'statement', 'procedure_id': own.id, 'lang': 'de_DE', 'mail_subject': 'Saldo {{ object.name }}',
            'mail_body': '<p>Saldo.</p>', 'letter_title': 'Saldo der Schlüsselkunden', 'letter_intro': '<p>.</p>',
            'letter_closing': '<p>.</p>'})
        notice._issue()
        self.assertFalse(notice.problem)
        self.assertIn('Saldo der Schlüsselkunden', read_pdf(notice.document_id.raw))

    def test_text_missing(self):
        partner = self.make_partner('Acme', lang='it_IT')
        notice = self.make_statement(partner)
        notice._issue()
        self.assertEqual(notice.state, 'draft')
        self.assertIn(self.procedure.name, notice.problem)

    def test_dunning_notice_needs_run_and_level(self):
        partner = self.make_partner('Acme')
        with self.assertRaises(psycopg2.errors.CheckViolation), mute_logger('odoo.sql_db'), self.env.cr.savepoint():
            self.make_statement(partner, kind='dunning')

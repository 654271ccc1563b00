"""From draft to issued: what the database says counts, and notices that have no level."""

import io
from unittest.mock import patch

import psycopg2
from pypdf import PdfReader

from odoo import Command
from odoo.exceptions import UserError
from odoo.tests import tagged
from odoo.tools import mute_logger

from ..tools import mail_header
from .common import TODAY, DunningCommon, DunningMailCommon

ISSUE_LOGGER = 'odoo.addons.dunning_mail.models.dunning_notice_issue'


@tagged('post_install', '-at_install')
class TestNumbers(DunningCommon):
    """A number that is taken is no number."""

    def setUp(self):
        super().setUp()
        self.sequence = self.env.ref('dunning_mail.sequence_dunning_notice')
        self.sequence.with_context(ir_sequence_date=TODAY)._next(sequence_date=TODAY)

    def issue(self, *names):
        partners = [self.make_partner(name, email=False) for name in names]
        for partner in partners:
            self.make_invoice(partner)
        run = self.make_run(partner_ids=[partner.id for partner in partners])
        run.action_print_and_send()
        return run.notice_ids

    def set_next(self, number):
        self.sequence.date_range_ids.filtered(lambda one: one.date_from <= TODAY <= one.date_to).number_next = number

    def check_all_well(self, notices):
        self.assertFalse(any(notices.mapped('problem')), notices.mapped('problem'))
        self.assertEqual(set(notices.mapped('state')), {'issued'})
        self.assertTrue(all(notices.mapped('name')))
        self.assertEqual(len(set(notices.mapped('name'))), len(notices))
        for notice in notices:
            text = PdfReader(io.BytesIO(notice.document_id.raw)).pages[0].extract_text()
            self.assertIn(notice.name, text)
            self.assertEqual(notice.document_id.name, notice.name.replace('/', '-') + '.pdf')
            self.assertIn(notice.name, notice.message_ids[0].body)

    def test_sequence_set_back(self):
        first = self.issue('One', 'Two', 'Three')
        self.set_next(int(first.sorted('id')[0].name.rpartition('/')[2]))
        second = self.issue('Four', 'Five')
        self.check_all_well(first | second)

    def test_sequence_set_back_by_far(self):
        first = self.issue(*(f'Partner {number}' for number in range(30)))
        self.set_next(int(min(first.mapped('name')).rpartition('/')[2]))
        self.check_all_well(first | self.issue('Last'))

    def test_sequence_of_the_company_with_the_same_prefix(self):
        first = self.issue('One', 'Two')
        own = self.sequence.copy({'company_id': self.company.id, 'name': 'Own', 'date_range_ids': [Command.clear()]})
        own.date_range_ids.unlink()
        self.env['ir.sequence.date_range'].create({
            'sequence_id': own.id, 'date_from': '2026-01-01', 'date_to': '2026-12-31',
            'number_next_actual': int(first.sorted('id')[0].name.rpartition('/')[2])})
        self.check_all_well(first | self.issue('Three'))

    def test_sequence_without_gaps(self):
        first = self.issue('One', 'Two')
        self.sequence.implementation = 'no_gap'
        self.set_next(int(first.sorted('id')[0].name.rpartition('/')[2]))
        second = self.issue('Three', 'Four')
        self.check_all_well(first | second)
        numbers = sorted(int(name.rpartition('/')[2]) for name in (first | second).mapped('name'))
        self.assertEqual(numbers, list(range(numbers[0], numbers[0] + 4)))

    def test_part_payment_is_not_lost_over_it(self):
        """Whatever befalls the number, the claim is what is open."""
        first = self.issue('One')
        partners = [self.make_partner(name, email=False) for name in ('Two', 'Three')]
        invoices = [self.make_invoice(partner) for partner in partners]
        run = self.make_run(partner_ids=[partner.id for partner in partners])
        self.pay(invoices[0], 40.0)
        self.set_next(int(first.name.rpartition('/')[2]))
        run.action_print_and_send()
        self.check_all_well(run.notice_ids)
        two = run.notice_ids.filtered(lambda notice: notice.partner_id == partners[0])
        self.assertEqual(two.amount_total, 60.0)

    @mute_logger(ISSUE_LOGGER, 'odoo.sql_db')
    def test_number_refused_by_the_database(self):
        """Another transaction took it at this very moment: the notice stays a draft, says so, and is issued later."""
        first = self.issue('One')
        partners = [self.make_partner(name, email=False) for name in ('Two', 'Three')]
        invoices = [self.make_invoice(partner) for partner in partners]
        run = self.make_run(partner_ids=[partner.id for partner in partners])
        self.pay(invoices[0], 40.0)
        two = run.notice_ids.filtered(lambda notice: notice.partner_id == partners[0])
        original = self.env.registry['dunning.notice']._draw_numbers

        def draw(records, company, date, count):
            if records.env.context.get('is_free'):
                return original(records, company, date, count)
            return [first.name] * count
        with patch.object(self.env.registry['dunning.notice'], '_draw_numbers', draw):
            run.action_print_and_send()
            for notice in run.notice_ids:
                self.assertEqual((notice.state, notice.name, notice.document_id.id), ('draft', False, False))
                self.assertTrue(notice.problem)
            run.with_context(is_free=True).action_print_and_send()
        self.check_all_well(run.notice_ids)
        self.assertEqual(two.amount_total, 60.0)

    @mute_logger(ISSUE_LOGGER)
    def test_number_of_the_year_in_which_it_is_issued(self):
        """A number that was drawn in vain last year is not used in the next one."""
        partner = self.make_partner('One', email=False)
        self.make_invoice(partner)
        run = self.make_run(partner_ids=partner.ids)
        notice = run.notice_ids
        notice.sudo().name = 'MA/2026/00099'
        self.clock.move_to('2027-01-04 08:00:00')
        run.action_print_and_send()
        self.assertEqual(str(notice.date), '2027-01-04')
        self.assertRegex(notice.name, r'^MA/2027/')

    @mute_logger(ISSUE_LOGGER)
    def test_no_sequence(self):
        self.env['ir.sequence'].search([('code', '=', 'dunning.notice')]).active = False
        notice = self.issue('One')
        self.assertEqual((notice.state, notice.name), ('draft', False))
        self.assertIn('dunning.notice', notice.problem)

    @mute_logger(ISSUE_LOGGER)
    def test_collision_of_transactions_is_for_the_caller(self):
        """PostgreSQL wants the whole transaction again: no notice is to blame."""
        partner = self.make_partner('One', email=False)
        self.make_invoice(partner)
        run = self.make_run(partner_ids=partner.ids)

        def collide(*_args, **_values):
            raise psycopg2.errors.SerializationFailure
        with patch.object(self.env.registry['dunning.notice'], '_recheck', collide), \
                self.assertRaises(psycopg2.errors.SerializationFailure):
            run.action_print_and_send()


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
        notice, settled = self.make_statement(partner), None
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
        own = self.procedure.copy({'name': 'Key accounts'})
        partner = self.make_partner('Acme')
        partner.dunning_procedure_id = own
        self.make_invoice(partner)
        notice = self.make_statement(partner)
        notice._issue()
        self.assertIn('Key accounts', notice.problem)
        self.assertIn('German', notice.problem)

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


@tagged('post_install', '-at_install')
class TestComposedMail(DunningMailCommon):
    """The mail is made with its letter, and can be read before it leaves."""

    def read_mail(self, notice):
        return self.smtpd_module.email.message_from_bytes(
            notice.mail_document_id.raw, policy=self.smtpd_module.email.policy.default)

    def test_before_it_leaves(self):
        notice = self.release('Acme')
        mail = self.read_mail(notice)
        self.assertEqual(mail['To'], 'Acme <acme@customer.test>')
        for name in ('Date', 'Message-ID'):
            self.assertIsNone(mail[name], "that is known when it leaves")
        self.assertIn(notice.name, mail['Subject'])
        self.assertEqual(mail['From'].addresses[0].addr_spec, 'mahnung@muster.test')
        action = notice.with_user(self.clerk).action_open_mail()
        self.assertIn(f'/web/content/{notice.mail_document_id.id}', action['url'])
        before = notice.mail_document_id.raw
        self.run_engine()
        after = self.smtp.messages[0].content
        self.assertEqual(after, notice.mail_document_id.raw)
        self.assertTrue(
            after.endswith(mail_header.remove(before, 'To')), "else byte for byte what could be read before")
        mail = self.read_mail(notice)
        self.assertEqual((mail['To'], mail['Message-ID']), ('Acme <acme@customer.test>', notice.message_id))
        self.assertEqual(mail['Date'].datetime.replace(tzinfo=None, microsecond=0), notice.claimed_at)

    def test_paper_has_none(self):
        partner = self.make_partner('Acme', email=False)
        self.make_invoice(partner)
        run = self.make_run(partner_ids=partner.ids)
        run.action_print_and_send()
        notice = run.notice_ids
        self.assertFalse(notice.mail_document_id)
        partner.email = 'acme@customer.test'
        notice.action_retry()
        self.run_engine()
        self.assertEqual(notice.status, 'sent', "composed when it is needed")
        self.assertEqual(len(self.smtp.messages), 1)

    def test_sender_changed(self):
        for change in (lambda: self.provider.write({'email_from': 'neu@muster.test'}),
                       lambda: self.company.write({'name': 'Neue Firma AG'})):
            with self.env.cr.savepoint() as savepoint:
                self.smtp.clear()
                notice = self.release('Acme')
                change()
                self.run_engine()
                self.assertEqual(notice.status, 'sent')
                mail = self.mails()[0]
                self.assertEqual(mail['From'].addresses[0].addr_spec, self.provider.email_from)
                self.assertEqual(mail['From'].addresses[0].display_name, self.company.name)
                pdf = next(part for part in mail.walk() if part.get_content_type() == 'application/pdf')
                self.assertEqual(pdf.get_payload(decode=True), notice.document_id.raw, "letter and mail go together")
                savepoint.rollback()
                self.env.invalidate_all()

    def test_trial_switched_on_and_off(self):
        on, off = self.release('Trial on'), self.release('Trial off')
        self.provider.redirect_to = 'me@muster.test'
        off.sudo()._make_anew()
        self.assertTrue(self.read_mail(off)['X-Original-To'])
        off.sudo().next_attempt_at = '2030-01-01 00:00:00'
        self.run_engine()
        self.assertEqual(self.smtp.messages[0].rcpt_tos, ['me@muster.test'])
        self.assertIn('trialon@customer.test', self.mails()[0]['Subject'])
        self.assertEqual((on.status, on.is_counted), ('sent', False))
        self.provider.redirect_to = False
        off.sudo().next_attempt_at = False
        self.run_engine()
        self.assertEqual(self.smtp.messages[1].rcpt_tos, ['trialoff@customer.test'])
        self.assertNotIn('trialoff@customer.test', self.mails()[1]['Subject'])
        self.assertIsNone(self.mails()[1]['X-Original-To'])

    @mute_logger('odoo.addons.dunning_mail.models.dunning_engine')
    def test_altered_on_disk(self):
        notice = self.release('Acme')
        forged = notice.mail_document_id.raw.replace(b'acme', b'evil').replace(b'Subject: ', b'Subject: Forged ')
        notice.mail_document_id.sudo()._replace_dunning_mail(forged)
        self.run_engine()
        self.assertEqual(notice.status, 'held')
        self.assertIn('SHA-256', notice.delivery_info)
        self.assertFalse(self.smtp.messages)
        notice.with_user(self.clerk).action_retry()
        self.run_engine()
        self.assertEqual(notice.status, 'sent', "nobody has it yet: it was made anew")
        self.assertNotIn('Forged', self.mails()[0]['Subject'])

    @mute_logger('odoo.addons.dunning_mail.models.dunning_engine')
    def test_altered_after_a_handover(self):
        notice = self.release('Acme')
        self.smtp.set_rules('* eod 554 5.6.0 Not to our taste')
        self.run_engine()
        notice.mail_document_id.sudo()._replace_dunning_mail(b'Subject: forged\r\n\r\nPay to me\r\n')
        self.smtp.set_rules('')
        with self.assertRaisesRegex(UserError, 'SHA-256'):
            notice.with_user(self.clerk).action_retry()
        # Altered when it has been released again.
        notice.sudo()._set_delivery('released', "Released again")
        self.run_engine()
        self.assertEqual(notice.status, 'held')
        self.assertIn('SHA-256', notice.delivery_info)
        self.assertFalse(self.smtp.messages)

    @mute_logger('odoo.addons.dunning_mail.models.dunning_notice_mail')
    def test_one_mail_that_cannot_be_made(self):
        """The others are issued; it stays a draft and says why."""
        partners = [self.make_partner(name) for name in ('One', 'Two', 'Three')]
        for partner in partners:
            self.make_invoice(partner)
        run = self.make_run(partner_ids=[partner.id for partner in partners])
        two = run.notice_ids.filtered(lambda notice: notice.partner_id == partners[1])
        original = self.env.registry['dunning.notice']._make_mail

        def make(notice, *args):
            if notice.id == two.id:
                raise ValueError("no mail can be made of it")
            return original(notice, *args)
        with patch.object(self.env.registry['dunning.notice'], '_make_mail', make):
            run.action_print_and_send()
        self.assertEqual(sorted(run.notice_ids.mapped('status')), ['draft', 'released', 'released'])
        self.assertIn("no mail can be made of it", two.problem)
        self.assertFalse(two.document_id or two.provider_id or two.email_to)
        run.action_print_and_send()
        self.run_engine()
        self.assertEqual(set(run.notice_ids.mapped('status')), {'sent'})

    def test_many_are_made_together(self):
        """However many notices are issued, texts and attachments are asked for once."""
        counts = []
        original = self.env.registry['ir.attachment'].create

        def create(attachments, vals_list):
            counts.append(len(vals_list))
            return original(attachments, vals_list)
        with patch.object(self.env.registry['ir.attachment'], 'create', create):
            self.release('One', 'Two', 'Three', 'Four')
        self.assertEqual(counts, [8], "four letters, four mails")

"""The letters of a run as one PDF: order, sheets, list, invoices, and that each page is where it belongs."""

import base64
import io
from unittest.mock import patch

from pypdf import PdfReader

from odoo import Command
from odoo.exceptions import UserError
from odoo.tests import HttpCase, new_test_user, tagged
from odoo.tools import mute_logger

from odoo.addons.report_pdf_engine.tools import pdf_pages

from ..models import dunning_run_print
from .common import DunningCommon, make_pdf

GUARD_LOGGER = 'odoo.addons.dunning_mail.models.dunning_guard'
RUN_LOGGER = 'odoo.addons.dunning_mail.models.dunning_run_print'


def texts(content):
    return [' '.join(page.extract_text().replace('\0', '').split()) for page in PdfReader(io.BytesIO(content)).pages]


@tagged('post_install', '-at_install')
class TestPrint(DunningCommon):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.company.partner_id.country_id = cls.env.ref('base.ch')
        cls.company.write({'dunning_print_list': False, 'dunning_payment_part': False})
        cls.germany = cls.env.ref('base.de')

    def make_letters(self, *partners):
        for partner in partners:
            self.make_invoice(partner)
        run = self.make_run(partner_ids=[Command.set([partner.id for partner in partners])])
        run.action_print_and_send()
        self.assertEqual(set(run.notice_ids.mapped('delivery_state')), {'paper'})
        return run

    def join(self, run):
        return run._join_letters(run._get_letters())

    def test_order(self):
        partners = [
            self.make_partner('Cäsar AG', zip='8001'), self.make_partner('Anton AG', zip='9000'),
            self.make_partner('Berta GmbH', zip='10115', city='Berlin', country_id=self.germany.id),
            self.make_partner('Dora AG', zip='3000'), self.make_partner('Emil GmbH', zip=False, country_id=False)]
        run = self.make_letters(*partners)
        self.assertEqual(
            run._get_letters().partner_id.mapped('name'),
            ['Emil GmbH', 'Dora AG', 'Cäsar AG', 'Anton AG', 'Berta GmbH'])
        pages = texts(self.join(run))
        self.assertEqual(len(pages), 5)
        for page, letter in zip(pages, run._get_letters(), strict=True):
            self.assertIn(letter.name, page)
        self.company.dunning_print_order = 'customer'
        self.assertEqual(
            run._get_letters().partner_id.mapped('name'),
            ['Anton AG', 'Berta GmbH', 'Cäsar AG', 'Dora AG', 'Emil GmbH'])

    def test_one_letter_is_given_as_it_is_kept(self):
        self.company.write({'dunning_print_list': True})
        run = self.make_letters(self.make_partner('Kunde AG'))
        self.assertEqual(self.join(run), run.notice_ids.sudo().document_id.raw)

    def test_both_sides_and_list(self):
        self.company.write({'dunning_print_list': True, 'dunning_print_duplex': True})
        run = self.make_letters(self.make_partner('Erste AG'), self.make_partner('Zweite AG'))
        pages = texts(self.join(run))
        letters = run._get_letters()
        self.assertEqual(len(pages), 6)
        for letter in letters:
            self.assertIn(letter.name, pages[0])
            self.assertIn(letter.partner_id.name, pages[0])
        self.assertEqual([bool(page) for page in pages], [True, False] * 3)
        self.assertIn(letters[0].name, pages[2])
        self.assertIn(letters[1].name, pages[4])

    def test_invoices_follow_their_letter(self):
        partners = [self.make_partner('Erste AG'), self.make_partner('Zweite AG')]
        run = self.make_letters(*partners)
        self.level_1.attach_invoices = True
        move = run._get_letters()[0].line_ids.move_id
        move.invoice_pdf_report_file = base64.b64encode(make_pdf(2))
        move.invalidate_recordset()
        pages = texts(self.join(run))
        self.assertEqual([bool(page) for page in pages], [True, False, False, True])
        # What cannot be read helps nobody, and keeps nobody from printing.
        for content in (b'%PDF-1.4 broken', make_pdf(password='secret')):
            move.invoice_pdf_report_file = base64.b64encode(content)
            move.invalidate_recordset()
            self.assertEqual([bool(page) for page in texts(self.join(run))], [True, True])
            self.assertIn('cannot be read', run._get_letters()[0].attachment_warning)

    def test_swapped_letters_are_found(self):
        """Whatever goes wrong on the way: no letter gets out whose pages are another's."""
        run = self.make_letters(self.make_partner('Erste AG'), self.make_partner('Zweite AG'))
        one, two = run._get_letters().sudo()
        one_document, two_document = one.document_id, two.document_id
        # as a wrong restore of the database would do it: document and checksum belong together, but to another notice
        for notice, document, sha256 in (
                (one, two_document, two.document_sha256), (two, one_document, one.document_sha256)):
            self.env.cr.execute(
                'UPDATE dunning_notice SET document_id = %s, document_sha256 = %s WHERE id = %s',
                [document.id, sha256, notice.id])
        self.env.invalidate_all()
        with self.assertRaisesRegex(UserError, 'is gone'), mute_logger(GUARD_LOGGER):
            run._join_letters(one | two)

    def test_swapped_while_joining_is_found(self):
        run = self.make_letters(self.make_partner('Erste AG'), self.make_partner('Zweite AG'))
        join = pdf_pages.join
        with (
            patch.object(pdf_pages, 'join', lambda parts, **values: join(list(parts)[::-1], **values)),
            self.assertRaisesRegex(UserError, 'own notice'), mute_logger(RUN_LOGGER),
        ):
            self.join(run)

    def test_many_are_put_together_in_the_background(self):
        run = self.make_letters(self.make_partner('Erste AG'), self.make_partner('Zweite AG'))
        self.assertEqual(run.action_print_letters()['type'], 'ir.actions.act_url')
        with patch.object(dunning_run_print, 'JOIN_AT_ONCE', 1):
            action = run.action_print_letters()
            self.assertEqual(action['tag'], 'display_notification')
            self.assertTrue(run.is_joining)
            with self.enter_registry_test_mode():
                self.env.ref('dunning_mail.ir_cron_join').method_direct_trigger()
            self.env.invalidate_all()
            self.assertFalse(run.is_joining)
            self.assertEqual(run.action_print_letters()['type'], 'ir.actions.act_url')
            joined = run._get_joined(run._get_letters())
            self.assertEqual(len(texts(joined)), 2)
            # an invoice's PDF that came later belongs to its letter
            self.level_1.attach_invoices = True
            key = run._get_joined_key(run._get_letters())
            move = run._get_letters()[0].line_ids.move_id
            move.invoice_pdf_report_file = base64.b64encode(joined)
            move.invalidate_recordset()
            self.assertNotEqual(run._get_joined_key(run._get_letters()), key)
            self.level_1.attach_invoices = False
            self.assertIsNotNone(run._get_joined(run._get_letters()))
            # another set of letters is not what was put together
            run._get_letters()[0].action_mark_printed()
            self.assertIsNone(run._get_joined(run._get_letters()))
        run._hand_out_letters()
        run.action_mark_printed()
        self.env['dunning.run']._gc_joined_letters()
        self.assertFalse(run.letters_id)

    def test_printing_changes_no_level(self):
        partner = self.make_partner('Kunde AG')
        run = self.make_letters(partner)
        item = run.notice_ids.line_ids.move_line_id
        run._hand_out_letters()
        run.action_mark_printed()
        level = item.dunning_level_id
        self.assertEqual(level, self.level_1)
        content = self.join(run)
        self.assertEqual(self.join(run), content)
        self.assertEqual(item.dunning_level_id, level)
        run.notice_ids.action_unmark_printed()
        item.invalidate_recordset()
        self.assertFalse(item.dunning_level_id)


@tagged('post_install', '-at_install')
class TestPrintRoute(DunningCommon, HttpCase):

    def test_route(self):
        partners = [self.make_partner('Erste AG'), self.make_partner('Zweite AG')]
        for partner in partners:
            self.make_invoice(partner)
        run = self.make_run(partner_ids=[Command.set([partner.id for partner in partners])])
        path = f'/dunning_mail/run/{run.id}/letters'
        self.authenticate('clerk', 'clerk')
        self.assertEqual(self.url_open(f'/dunning_mail/run/{run.id + 999}/letters').status_code, 404)
        self.assertIn("Es gibt keine Briefe zu drucken.", self.url_open(path).text)
        run.action_print_and_send()
        self.company.dunning_print_list = True
        self.env.flush_all()
        new_test_user(self.env, 'reader-print', 'account.group_account_readonly', password='reader-print')
        self.env.flush_all()
        self.authenticate('reader-print', 'reader-print')
        self.assertEqual(self.url_open(path).headers['Content-Type'], 'application/pdf')
        self.assertFalse(any(run._get_letters().mapped('letter_opened_at')), "read by who cannot have printed them")
        self.authenticate('clerk', 'clerk')
        response = self.url_open(path)
        self.assertEqual(response.headers['Content-Type'], 'application/pdf')
        run.notice_ids.invalidate_recordset()
        self.assertTrue(all(run._get_letters().mapped('letter_opened_at')))
        pages = texts(response.content)
        self.assertEqual(len(pages), 3)
        for letter, page in zip(run._get_letters(), pages[1:], strict=True):
            self.assertIn(letter.name, page)
            self.assertIn(letter.name, pages[0])

"""Payment parts: what the codes say, read back from the picture of the letter, and how a payment leads back."""

import io
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

from pypdf import PdfReader

from odoo import Command
from odoo.tests import BaseCase, tagged

from odoo.addons.report_pdf_engine.tools import pdf

from ..tools import qr
from .common import DunningCommon

try:
    import zxingcpp
    from PIL import Image
except ImportError:
    zxingcpp = None

QR_IBAN = 'CH4431999123000889012'
IBAN = 'CH9300762011623852957'


@tagged('post_install', '-at_install')
class TestReferences(BaseCase):

    def test_known_numbers(self):
        """Examples of SIX's guidelines and of ISO 11649."""
        self.assertEqual(qr.make_qr_reference('21000000000313947143000901'), '210000000003139471430009017')
        self.assertTrue(qr.is_qr_reference('210000000003139471430009017'))
        self.assertFalse(qr.is_qr_reference('210000000003139471430009018'))
        self.assertTrue(qr.is_creditor_reference('RF18539007547034'))
        self.assertFalse(qr.is_creditor_reference('RF19539007547034'))
        self.assertTrue(qr.is_qr_iban('CH44 3199 9123 0008 8901 2'))
        self.assertFalse(qr.is_qr_iban(IBAN))
        self.assertFalse(qr.is_qr_iban('DE89370400440532013000'))

    def test_made_numbers_are_right_and_differ(self):
        made = set()
        for number in range(500):
            reference = qr.make_creditor_reference(f'DN{number:09}')
            self.assertTrue(qr.is_creditor_reference(reference))
            other = qr.make_qr_reference(f'99{number:024}')
            self.assertTrue(qr.is_qr_reference(other))
            made |= {reference, other}
        self.assertEqual(len(made), 1000)
        for wrong in ('', '1' * 27, '12a'):
            with self.assertRaises(ValueError):
                qr.make_qr_reference(wrong)
        for wrong in ('', 'A' * 22, 'Ä'):
            with self.assertRaises(ValueError):
                qr.make_creditor_reference(wrong)

    def test_references_are_found_in_words(self):
        reference = qr.make_creditor_reference('DN000000123')
        for words in (reference, qr.format_reference(reference), f'Zahlung {reference} danke', reference.lower(),
                      f'Mahnung: {qr.format_reference(reference)}/Muster'):
            self.assertIn(reference, qr.find_references(words), words)
        number = '210000000003139471430009017'
        for words in (number, qr.format_reference(number), f'Ref. {qr.format_reference(number)}.'):
            self.assertIn(number, qr.find_references(words), words)
        self.assertNotIn('210000000003139471430009018', qr.find_references('x 210000000003139471430009018'))
        self.assertEqual(qr.find_references(None), set())

    def test_references_are_found_whole(self):
        """Neither the end nor the beginning of a longer one is a reference; what stands before it hides nothing."""
        number = qr.make_qr_reference('99' + '123'.zfill(24))
        for words in (f'1{number}', f'{number}1', f'INV{number}0', number[1:], number[:-1]):
            self.assertNotIn(number, qr.find_references(words), words)
        for before in ('12', '12345', '2026 12345', '1234567'):
            printed = qr.format_reference(number)
            self.assertIn(number, qr.find_references(f'{before} {printed}'), before)
        for count in range(1, 30):
            reference = qr.make_creditor_reference(f'DN{count:09}')
            for longer in filter(qr.is_creditor_reference, (f'{reference}{end}' for end in range(100))):
                self.assertNotIn(reference, qr.find_references(f'Zahlung {longer}'))
                self.assertIn(longer, qr.find_references(f'Zahlung {longer}'))
        for words in ('RF18539007547034X', 'XRF18539007547034'):
            self.assertNotIn('RF18539007547034', qr.find_references(words), words)
        other = qr.make_creditor_reference('DN000000007')
        self.assertLessEqual({number, other, 'RF18539007547034'}, qr.find_references(
            f'{number} {qr.format_reference(other)} RF18539007547034'))

    def test_swiss_characters(self):
        self.assertEqual(qr.clean_swiss_text('Müller\n& Söhne – 😀 “A” ☎'), 'Müller & Söhne - "A" .')
        self.assertEqual(qr.clean_swiss_text('Łódź ﬁ'), 'Łódź fi')

    def test_swiss_content_to_the_letter(self):
        """Characters first, lengths then: cleaning may make a text longer."""
        lines = [
            'SPC', '0200', '1', QR_IBAN, 'S', 'Muster & Söhne AG', 'Bundesplatz', '3', '3011', 'Bern', 'CH', *[''] * 7,
            '100.00', 'CHF', 'S', 'Kunde', 'Weg', '1', '8001', 'Zürich', 'CH', 'QRR',
            qr.make_qr_reference('1'), 'M/1', 'EPD']
        self.assertEqual(qr.fit_swiss(lines), (lines, False))
        self.assertEqual(qr.find_swiss_fault(lines), '')
        # Account numbers of some banks end with a letter.
        lettered = list(lines)
        lettered[qr.SWISS_ACCOUNT] = 'CH5230005292175872' + '40V'
        self.assertEqual(qr.find_swiss_fault(qr.fit_swiss(lettered)[0]), '')
        long = list(lines)
        long[qr.SWISS_DEBTOR], long[qr.SWISS_MESSAGE] = 'ﬃ' * 30, '…' * 60
        long[qr.SWISS_DEBTOR + 4], long[qr.SWISS_DEBTOR + 3] = 'Ort\n' + 'x' * 40, '\u200b8001\u00ad'
        fitting, is_shortened = qr.fit_swiss(long)
        self.assertTrue(is_shortened)
        self.assertEqual(fitting[qr.SWISS_DEBTOR], 'ffi' * 23 + 'f')
        self.assertEqual(len(fitting[qr.SWISS_MESSAGE]), 140)
        self.assertEqual(fitting[qr.SWISS_DEBTOR + 4], 'Ort ' + 'x' * 31)
        self.assertEqual(fitting[qr.SWISS_DEBTOR + 3], '8001')
        self.assertEqual(qr.find_swiss_fault(fitting), '')
        for index, value, fault in (
                (qr.SWISS_DEBTOR, '', 'debtor'), (qr.SWISS_DEBTOR + 5, '', 'debtor'), (20, 'K', 'debtor'),
                (qr.SWISS_CREDITOR + 4, '', 'creditor'), (4, 'K', 'creditor'),
                (qr.SWISS_AMOUNT, '0.00', 'amount'), (qr.SWISS_AMOUNT, '1000000000.00', 'amount'),
                (qr.SWISS_AMOUNT, '01.00', 'amount'), (qr.SWISS_AMOUNT, '1.5', 'amount'),
                (qr.SWISS_ACCOUNT, IBAN, 'reference'), (qr.SWISS_ACCOUNT, 'DE89370400440532013000', 'account'),
                (qr.SWISS_CURRENCY, 'USD', 'account'), (qr.SWISS_REFERENCE, '1', 'reference'),
                (qr.SWISS_REFERENCE_TYPE, 'NON', 'reference')):
            wrong = list(lines)
            wrong[index] = value
            with self.subTest(index=index, value=value):
                self.assertEqual(qr.find_swiss_fault(wrong), fault)

    def test_epc_content_to_the_letter(self):
        german, swiss = 'DE89370400440532013000', IBAN
        rf = qr.make_creditor_reference('DN000000001')
        self.assertEqual(qr.make_epc('Muster', german, 100.1, rf), (
            ['BCD', '002', '1', 'SCT', '', 'Muster', german, 'EUR100.10', '', rf], False))
        self.assertIn('EUR3000.00', qr.make_epc('Muster', german, 3000, rf)[0])
        self.assertEqual(qr.make_epc('Mus\nter\u200b 😀', german, 0.01, 'RE 1', 'cobadeff xxx'), (
            ['BCD', '002', '1', 'SCT', 'COBADEFFXXX', 'Mus ter', german, 'EUR0.01', '', '', 'RE 1'], False))
        self.assertEqual(
            qr.make_epc('M', german, 999999999.99, '', 'no bic')[0],
            ['BCD', '002', '1', 'SCT', '', 'M', german, 'EUR999999999.99'], "nothing after what says something")
        lines, is_shortened = qr.make_epc('Ü' * 71, german, 1, rf)
        self.assertEqual((len(lines[qr.EPC_NAME]), is_shortened), (70, True))
        # the longest that fits, in bytes: 331
        used = len('\n'.join(qr.make_epc('M', german, 1, 'x' * 70, 'COBADEFFXXX')[0]).encode())
        self.assertLess(used, qr.EPC_LIMIT)
        for values, fault in (
                (('M', swiss, 1, rf), 'bic'), (('', german, 1, rf), 'name'), (('😀', german, 1, rf), 'name'),
                (('M', german, 0, rf), 'amount'), (('M', german, 1e9, rf), 'amount'), (('M', german, -5, rf), 'amount'),
                (('M', german, 1, 'x' * 141), 'length'), (('株' * 70, german, 1, '株' * 40), 'length')):
            with self.subTest(values), self.assertRaisesRegex(ValueError, fault):
                qr.make_epc(*values)

    def test_too_much_for_a_code(self):
        with self.assertRaises(ValueError):
            qr.render_svg('x' * 3000)


class PaymentPartCase(DunningCommon):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.company.partner_id.write({
            'street': 'Bundesplatz 3', 'zip': '3011', 'city': 'Bern', 'country_id': cls.env.ref('base.ch').id})
        cls.env['res.partner.bank'].search([('partner_id', '=', cls.company.partner_id.id)]).active = False
        cls.report = cls.env.ref('dunning_mail.report_letter')
        cls.methods = dict(cls.env['res.partner.bank'].get_available_qr_methods_in_sequence())
        cls.chf, cls.eur = cls.env.ref('base.CHF'), cls.env.ref('base.EUR')
        (cls.chf | cls.eur).active = True

    @classmethod
    def make_account(cls, number, currency=None, **values):
        return cls.env['res.partner.bank'].create({
            'acc_number': number, 'partner_id': cls.company.partner_id.id,
            'currency_id': currency.id if currency else False, **values})

    def issue(self, partner, count=1, currency=None, **values):
        for index in range(count):
            self.make_invoice(partner, 100.05 + index, currency=currency or self.chf, **values)
        run = self.make_run(partner_ids=[Command.set(partner.ids)])
        run.action_print_and_send()
        notice = run.notice_ids
        self.assertEqual(len(notice), 1)
        self.assertFalse(notice.problem)
        return notice

    def read_codes(self, content):
        """Return what a decoder reads in the pictures of a PDF's pages: list of (page, text, position)."""
        if zxingcpp is None or not shutil.which('pdftoppm'):
            self.skipTest("needs zxing-cpp, Pillow and pdftoppm")
        found = []
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(
                ['pdftoppm', '-r', '150', '-gray', '-png', '-', f'{folder}/page'], input=content, check=True)
            for number, path in enumerate(sorted(Path(folder).glob('page*.png')), start=1):
                for code in zxingcpp.read_barcodes(Image.open(path)):
                    found.append((number, code.text, code.position))
        return found


@tagged('post_install', '-at_install')
class TestSwissPaymentPart(PaymentPartCase):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if 'ch_qr' not in cls.methods:
            raise unittest.SkipTest("Switzerland's accounting (l10n_ch) is not installed")

    def _test_code(self, engine):
        if not pdf.engine_available(engine):
            self.skipTest(f'{engine} is not installed')
        self.report.pdf_engine = engine
        self.make_account(QR_IBAN, self.chf)
        notice = self.issue(self.make_partner('Müller & Söhne 😀 AG'), 30)
        self.assertEqual(notice.payment_part, 'swiss')
        self.assertFalse(notice.payment_part_info)
        content = notice._get_document_bytes()
        codes = self.read_codes(content)
        self.assertEqual(len(codes), 1)
        page, text, position = codes[0]
        lines = text.split('\n')
        self.assertEqual(lines[:4], ['SPC', '0200', '1', QR_IBAN])
        self.assertEqual(lines[4:11], ['S', 'Muster & Söhne AG', 'Bundesplatz', '3', '3011', 'Bern', 'CH'])
        self.assertEqual(lines[18:20], [f'{notice.amount_total:.2f}', 'CHF'])
        self.assertEqual(lines[20:27], ['S', 'Müller & Söhne AG', 'Bahnhofstrasse', '1', '8001', 'Zürich', 'CH'])
        self.assertEqual(lines[27:], ['QRR', notice.payment_reference, notice.name, 'EPD'])
        self.assertTrue(qr.is_qr_reference(notice.payment_reference))
        # 46 mm wide, 67 mm from the left and 17 mm below the cut, on the last page
        pages = pdf_pages(content)
        self.assertEqual(page, len(pages))
        millimetre = 150 / 25.4
        for value, expected in (
                (position.top_left.x, 67), (position.top_left.y, 192 + 17),
                (position.bottom_right.x, 67 + 46), (position.bottom_right.y, 192 + 17 + 46)):
            self.assertAlmostEqual(value / millimetre, expected, delta=1)
        # the plain text says the same as the code, twice
        text = ' '.join(pages[-1].split())
        for words in ('Empfangsschein', 'Zahlteil', 'Konto / Zahlbar an', 'Zahlbar durch', 'Annahmestelle',
                      'Vor der Einzahlung abzutrennen'):
            self.assertIn(words, text)
        self.assertEqual(text.replace(' ', '').count(notice.payment_reference), 2)
        self.assertEqual(text.replace(' ', '').count(QR_IBAN), 2)
        self.assertGreaterEqual(text.count('Müller & Söhne AG'), 2)
        return notice, pages

    def test_plutoprint(self):
        notice, pages = self._test_code('plutoprint')
        self._check_carried(notice, pages)

    def test_weasyprint(self):
        notice, pages = self._test_code('weasyprint')
        self._check_carried(notice, pages)

    def _check_carried(self, notice, pages):
        """The sum that is carried over is that of the items on the pages before."""
        self.assertGreater(len(pages), 1)
        on_pages = [[line for line in notice.line_ids if line.name in page] for page in pages]
        self.assertEqual(sum(map(len, on_pages)), 30)
        # rounded as the letter does it
        total = sum(line.amount_residual for line in on_pages[0])
        letter = self.env['report.dunning_mail.letter']._get_letter_values(notice)
        carried = letter['due_lines'][len(on_pages[0]) - 1]['carried'].replace('\u00a0', ' ')
        self.assertIn(f'{total:,.2f}'[-6:].replace('.', ','), carried)
        self.assertIn(carried, ' '.join(pages[1].replace('\u00a0', ' ').split()))
        self.assertNotIn(carried, ' '.join(pages[0].replace('\u00a0', ' ').split()))

    def test_iban_and_the_invoices_own_reference(self):
        self.make_account(IBAN, self.chf)
        partner = self.make_partner('Kunde AG')
        notice = self.issue(partner, payment_reference='RE 2026-1')
        reference = notice.line_ids.move_id.payment_reference
        self.assertEqual(reference, 'RE 2026-1')
        self.assertEqual(notice.payment_reference, reference)
        [(_page, text, _position)] = self.read_codes(notice._get_document_bytes())
        self.assertEqual(text.split('\n')[27:], ['NON', '', reference, 'EPD'])

    def test_iban_and_several_items(self):
        self.make_account(IBAN, self.chf)
        notice = self.issue(self.make_partner('Kunde AG'), 2)
        self.assertTrue(qr.is_creditor_reference(notice.payment_reference))
        [(_page, text, _position)] = self.read_codes(notice._get_document_bytes())
        self.assertEqual(text.split('\n')[3], IBAN)
        self.assertEqual(text.split('\n')[27:], ['SCOR', notice.payment_reference, notice.name, 'EPD'])

    def test_fee_needs_a_reference_of_its_own(self):
        self.make_account(IBAN, self.chf)
        self.set_fee(self.level_1, 20)
        notice = self.issue(self.make_partner('Kunde AG'))
        self.assertEqual(notice.amount_fee, 20)
        self.assertTrue(qr.is_creditor_reference(notice.payment_reference))

    def test_qr_iban_of_the_account(self):
        """The account is known by its IBAN, and has a QR-IBAN beside it."""
        account = self.make_account(IBAN, self.chf)
        account.l10n_ch_qr_iban = QR_IBAN
        notice = self.issue(self.make_partner('Kunde AG'))
        [(_page, text, _position)] = self.read_codes(notice._get_document_bytes())
        self.assertEqual(text.split('\n')[3], QR_IBAN)
        self.assertTrue(qr.is_qr_reference(notice.payment_reference))

    def test_languages(self):
        self.make_account(QR_IBAN, self.chf)
        for lang, words in (('fr_FR', 'Section paiement'), ('it_IT', 'Sezione pagamento'), ('en_US', 'Payment part')):
            notice = self.issue(self.make_partner(f'Kunde {lang}', lang=lang))
            self.assertIn(words, pdf_pages(notice._get_document_bytes())[-1])

    def test_why_there_is_none(self):
        partner = self.make_partner('Kunde AG')
        account = self.make_account(QR_IBAN, self.eur)
        notice = self.issue(partner)
        self.assertFalse(notice.payment_part)
        self.assertIn('CHF', notice.payment_part_info)
        account.currency_id = self.chf
        incomplete = self.issue(self.make_partner('Ohne Ort AG', city=False))
        self.assertFalse(incomplete.payment_part)
        self.assertIn('address', incomplete.payment_part_info)
        abroad = self.issue(self.make_partner('Ausland GmbH', country_id=self.env.ref('base.de').id))
        self.assertFalse(abroad.payment_part)
        self.assertIn('Switzerland', abroad.payment_part_info)
        self.company.dunning_payment_part = False
        off = self.issue(self.make_partner('Aus AG'))
        self.assertFalse(off.payment_part or off.payment_part_info)
        self.assertNotIn('Zahlteil', ''.join(pdf_pages(off._get_document_bytes())))

    def test_account_that_is_no_iban(self):
        self.make_account('12-3456-7')
        notice = self.issue(self.make_partner('Kunde AG'), 2)
        self.assertFalse(notice.payment_part or notice.payment_reference)
        self.assertIn('IBAN', notice.payment_part_info)

    def test_longest_texts_stay_in_their_places(self):
        self.make_account(QR_IBAN, self.chf)
        partner = self.make_partner(
            'Wunderbar ' * 30, street='Lange Strasse ' * 12, street2='Postfach ' * 8, city='Ober' * 30, zip='8001')
        notice = self.issue(partner)
        [(page, _text, _position)] = self.read_codes(notice._get_document_bytes())
        self.assertLessEqual(page, 2)


@tagged('post_install', '-at_install')
class TestEpcPaymentPart(PaymentPartCase):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if 'sct_qr' not in cls.methods:
            raise unittest.SkipTest("SEPA QR codes (account_qr_code_sepa) are not installed")

    def test_code(self):
        self.make_account('DE89370400440532013000', self.eur)
        for engine in pdf.ENGINES:
            if not pdf.engine_available(engine):
                continue
            self.report.pdf_engine = engine
            notice = self.issue(self.make_partner(f'Kunde {engine}'), 2, currency=self.eur)
            self.assertEqual(notice.payment_part, 'epc')
            [(page, text, _position)] = self.read_codes(notice._get_document_bytes())
            self.assertEqual(page, 1)
            lines = text.split('\n')
            self.assertEqual(lines[:4], ['BCD', '002', '1', 'SCT'])
            self.assertEqual(lines[5:8], [
                'Muster & Söhne AG', 'DE89370400440532013000', f'EUR{notice.amount_total:.2f}'])
            self.assertEqual(lines[9], notice.payment_reference)
            self.assertTrue(qr.is_creditor_reference(notice.payment_reference))

    def test_qr_iban_takes_no_credit_transfer(self):
        self.make_account(QR_IBAN, self.eur)
        notice = self.issue(self.make_partner('Kunde GmbH', country_id=self.env.ref('base.de').id), currency=self.eur)
        self.assertFalse(notice.payment_part)
        self.assertTrue(notice.payment_part_info)


@tagged('post_install', '-at_install')
class TestPaymentsLeadBack(PaymentPartCase):

    def test_payment_and_bank_line(self):
        self.make_account(IBAN, self.chf)
        notice = self.issue(self.make_partner('Kunde AG'), 2)
        other = self.issue(self.make_partner('Andere AG'), 2)
        self.assertNotEqual(notice.payment_reference, other.payment_reference)
        journal = self.env['account.journal'].search(
            [('type', '=', 'bank'), ('company_id', '=', self.company.id)], limit=1)
        printed = qr.format_reference(notice.payment_reference).replace('\u00a0', ' ')
        payments = self.env['account.payment'].create([
            {'partner_id': notice.partner_id.id, 'amount': 10, 'payment_type': 'inbound', 'memo': memo,
             'journal_id': journal.id} for memo in (printed, f'Danke {printed} Gruss', 'Miete', False)])
        self.assertEqual([payment.dunning_notice_id.id for payment in payments], [notice.id, notice.id, False, False])
        line = self.env['account.bank.statement.line'].create({
            'journal_id': journal.id, 'date': '2026-11-24', 'amount': 10, 'payment_ref': notice.payment_reference})
        self.assertEqual(line.dunning_notice_id, notice)
        self.assertEqual(self.env['account.payment'].search([('dunning_notice_id', '=', notice.id)]), payments[:2])
        self.assertEqual(
            self.env['account.bank.statement.line'].search([('dunning_notice_id', 'in', notice.ids)]), line)
        for words in (notice.payment_reference, printed, f'Danke {printed}'):
            self.assertEqual(
                self.env['dunning.notice'].search([('payment_reference_search', 'ilike', words)]), notice, words)
        action = payments[0].action_open_dunning_items()
        items = self.env['account.move.line'].search(action['domain'])
        self.assertEqual(items, notice.line_ids.move_line_id)
        self.assertEqual(payments[0].action_open_dunning_notice()['res_id'], notice.id)
        # whoever may see payments but no dunning has no use for the field, and no error either
        self.assertFalse(self.env['dunning.notice']._find_by_references([None, ''], self.company))

    def test_cancelled_notice_is_not_suggested(self):
        self.make_account(IBAN, self.chf)
        notice = self.issue(self.make_partner('Kunde AG'), 2)
        reference = notice.payment_reference
        notice.action_cancel()
        self.assertFalse(self.env['dunning.notice']._find_by_references([reference], self.company))


def pdf_pages(content):
    """Return the text of each page."""
    return [page.extract_text().replace('\0', '') for page in PdfReader(io.BytesIO(content)).pages]

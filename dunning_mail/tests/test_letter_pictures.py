"""Pictures of the letter, compared with those that a person has looked at.

``DUNNING_GOLDEN=write dev/test dunning_mail/tests/test_letter_pictures.py`` makes them anew, in ``tests/golden/``: look
at them before you keep them. They are small on purpose: enough to see that something moved, is gone or lies over
another.
"""

import os
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

from odoo import Command
from odoo.tests import tagged

from odoo.addons.report_pdf_engine.tools import pdf

from ..tools import qr
from .common import DunningCommon

try:
    from PIL import Image, ImageChops, ImageFilter
except ImportError:
    Image = None

GOLDEN = Path(__file__).parent / 'golden'
DPI = 36
# Grey levels: few, so that the files are small.
COLORS = 8
# How far two pixels may be from each other, of 255, after a slight blur: fonts are drawn differently elsewhere.
PIXEL_TOLERANCE = 56
# How many per cent of a page's pixels may differ by more.
PAGE_TOLERANCE = 0.35
COUNTS = (1, 2, 5, 12, 60)
# What is drawn in each layout: count of items, language, whether with a payment part.
LETTERS = (
    *((count, 'de_DE', True) for count in COUNTS), *((count, 'de_DE', False) for count in (1, 12)),
    *((2, lang, True) for lang in ('fr_FR', 'it_IT', 'en_US')))


def find_difference(one, two):
    """Return how many per cent of the pixels of two pages differ; 100 where the pages have different sizes."""
    if one.size != two.size:
        return 100.0
    blur = ImageFilter.BoxBlur(1)
    difference = ImageChops.difference(one.convert('L').filter(blur), two.convert('L').filter(blur))
    histogram = difference.histogram()
    return 100.0 * sum(histogram[PIXEL_TOLERANCE:]) / (one.width * one.height)


@tagged('post_install', '-at_install')
class TestLetterPictures(DunningCommon):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if Image is None or not shutil.which('pdftoppm'):
            raise unittest.SkipTest("needs Pillow and pdftoppm")
        if not pdf.engine_available('plutoprint'):
            raise unittest.SkipTest("plutoprint is not installed")
        methods = dict(cls.env['res.partner.bank'].get_available_qr_methods_in_sequence())
        if not {'ch_qr', 'sct_qr'} <= methods.keys():
            raise unittest.SkipTest("needs l10n_ch and account_qr_code_sepa")
        cls.is_writing = os.environ.get('DUNNING_GOLDEN') == 'write'
        cls.chf, cls.eur = cls.env.ref('base.CHF'), cls.env.ref('base.EUR')
        (cls.chf | cls.eur).active = True
        cls.company.write({
            'phone': '+41 31 123 45 67', 'website': 'https://www.muster.test', 'vat': False, 'font': 'Lato',
            'primary_color': '#1f3a5f', 'secondary_color': False, 'logo': False, 'report_header': False,
            'report_footer': '<p>Handelsregister Bern · CHE-123.456.788</p>', 'company_details': False})
        cls.company.partner_id.write({
            'street': 'Bundesplatz 3', 'zip': '3011', 'city': 'Bern', 'country_id': cls.env.ref('base.ch').id})
        cls.clerk.partner_id.phone = '+41 31 123 45 99'
        cls.env['res.partner.bank'].search([('partner_id', '=', cls.company.partner_id.id)]).active = False
        cls.env['res.partner.bank'].create([
            {'acc_number': number, 'partner_id': cls.company.partner_id.id, 'currency_id': currency.id}
            for number, currency in (('CH4431999123000889012', cls.chf), ('DE89370400440532013000', cls.eur))])
        partners = {count: cls.make_partner(f'Kunde {count} AG', ref=f'K-{count}') for count in COUNTS}
        for count, partner in partners.items():
            for index in range(count):
                cls.make_invoice(
                    partner, 95.5 + index * 101.35, due=f'2026-{9 + index % 2:02}-{1 + index % 28:02}',
                    name=f'G/2026/{count:02}{index + 1:03}', currency=cls.chf)
        run = cls.make_run(partner_ids=[Command.set([partner.id for partner in partners.values()])])
        cls.notices = {}
        for count, partner in partners.items():
            notice = run.notice_ids.filtered(lambda notice, partner=partner: notice.partner_id == partner).sudo()
            notice.name = f'M/2026/{count:05}'
            cls.notices[count] = notice

    def setUp(self):
        super().setUp()
        # ids differ from database to database

        def get_reference(notice, is_qr):
            if is_qr:
                return qr.make_qr_reference('9900000000000000000000' + str(len(notice.line_ids)))
            return qr.make_creditor_reference('DN000000001')
        self.patch(self.env.registry['dunning.notice'], '_get_own_reference', get_reference)

    def render(self, notice):
        [document] = self.env.ref('dunning_mail.report_letter').render_documents(notice).values()
        self.assertIsInstance(document, bytes, document)
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(
                ['pdftoppm', '-r', str(DPI), '-gray', '-png', '-', f'{folder}/page'], input=document, check=True)
            pages = []
            for path in sorted(Path(folder).glob('page*.png')):
                with Image.open(path) as page:
                    pages.append(page.convert('L').quantize(COLORS))
        return pages

    def compare(self, name, pages):
        if self.is_writing:
            GOLDEN.mkdir(exist_ok=True)
            for path in GOLDEN.glob(f'{name}-*.png'):
                path.unlink()
            for number, page in enumerate(pages, start=1):
                page.save(GOLDEN / f'{name}-{number}.png', optimize=True)
            return
        golden = sorted(GOLDEN.glob(f'{name}-*.png'))
        self.assertEqual(len(pages), len(golden), f'{name}: number of pages')
        for path, page in zip(golden, pages, strict=True):
            with Image.open(path) as picture:
                difference = find_difference(picture, page)
            if difference > PAGE_TOLERANCE:
                # beside the results of the tests, to be looked at
                found = Path(tempfile.gettempdir()) / path.name
                page.save(found)
                self.fail(f'{path.name}: {difference:.2f} % of the pixels differ, see {found}')

    def _test_layout(self, layout, currency, country):
        self.company.dunning_letter_layout = layout
        self.company.partner_id.country_id = self.env.ref(f'base.{country}')
        for count, lang, has_part in LETTERS:
            notice = self.notices[count]
            notice.write({'lang': lang, 'currency_id': currency.id})
            self.company.dunning_payment_part = has_part
            expected = ('swiss' if currency == self.chf else 'epc') if has_part else False
            name = f'{layout}-{lang[:2]}-{count}-{"part" if has_part else "plain"}'
            with self.subTest(name):
                self.assertEqual(notice._get_payment_part()['method'], expected)
                self.compare(name, self.render(notice))
        # Seven lines of address, four of footer, a return line that is longer than the window.
        self.company.write({
            'name': 'Muster, Müller, Meier & Söhne Handelsgesellschaft für Baustoffe AG', 'dunning_payment_part': True,
            'report_footer': ''.join(f'<p>Fusszeile {line}</p>' for line in range(1, 5))})
        notice = self.notices[2]
        notice.lang = 'de_DE'
        notice.partner_id.write({
            'name': 'Verein zur Förderung der Wunderbaren Werke', 'street': 'Obere Bahnhofstrasse 123',
            'street2': 'Postfach 4567', 'zip': '79539', 'city': 'Lörrach', 'country_id': self.env.ref('base.de').id})
        notice.recipient_id = self.make_contact(
            notice.partner_id, 'Abteilung Kreditoren, Frau Wilhelmine Wunderlich-Wagenknecht', 'other',
            street='Obere Bahnhofstrasse 123', street2='Postfach 4567', zip='79539', city='Lörrach',
            country_id=self.env.ref('base.de').id)
        with self.subTest('long'):
            self.compare(f'{layout}-long-abroad', self.render(notice))
        notice.recipient_id.country_id = notice.partner_id.country_id = self.env.ref('base.ch')
        with self.subTest('long with a payment part'):
            self.compare(f'{layout}-long-part', self.render(notice))

    def test_swiss_letters(self):
        self._test_layout('right', self.chf, 'ch')

    def test_german_letters(self):
        self._test_layout('left', self.eur, 'ch')

    def test_differences_are_seen(self):
        """What the comparison is for: a line more, a word less, another side of the address."""
        self.company.dunning_letter_layout = 'right'
        notice = self.notices[1]
        notice.write({'lang': 'de_DE', 'currency_id': self.chf.id})
        [one, *_more] = self.render(notice)
        self.assertEqual(find_difference(one, self.render(notice)[0]), 0)
        notice.partner_id.street2 = 'Postfach'
        self.assertGreater(find_difference(one, self.render(notice)[0]), PAGE_TOLERANCE / 2)
        self.company.dunning_letter_layout = 'left'
        self.assertGreater(find_difference(one, self.render(notice)[0]), PAGE_TOLERANCE)

"""What fits on a letter, and where: nothing is cut, nothing lies over another, measured in millimetres."""

import io
import re
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path
from xml.etree import ElementTree

from pypdf import PdfReader

from odoo import Command
from odoo.tests import BaseCase, tagged
from odoo.tools import file_path

from odoo.addons.report_pdf_engine.tools import pdf, pdf_pages

from ..tools import letter_fit
from .common import DunningCommon, catch_documents

try:
    from PIL import Image
except ImportError:
    Image = None

POINTS_A_MM = 72 / 25.4
LATO = 'web/static/fonts/lato/Lato-Reg-webfont.ttf'


@tagged('post_install', '-at_install')
class TestLetterFit(BaseCase):

    def test_lines(self):
        path = file_path(LATO)
        self.assertEqual(letter_fit.count_lines('', 10, path), 1)
        self.assertEqual(letter_fit.count_lines('ein Wort', 10, path), 1)
        self.assertEqual(letter_fit.count_lines('Wort ' * 10, 10, path), 4, "three a line")
        self.assertEqual(letter_fit.count_lines('W' * 40, 10, path), 5, "a word that is longer than a line")
        self.assertLess(letter_fit.measure('iiii', path), letter_fit.measure('WWWW', path))
        self.assertGreater(letter_fit.measure('iiii', ''), 0, "a font that is not at hand")
        self.assertGreater(letter_fit.measure('株式会社', path), 3)

    def test_sizes(self):
        path, sizes = file_path(LATO), ((10, 4.4), (7, 3.0))
        size = letter_fit.choose_size(['a'] * 6, sizes, 78, 27, path)
        self.assertEqual((size.points, size.lines, size.excess), (10, 6, 0))
        size = letter_fit.choose_size(['a'] * 9, sizes, 78, 27, path)
        self.assertEqual((size.points, size.lines, size.excess), (7, 9, 0))
        size = letter_fit.choose_size(['a'] * 12, sizes, 78, 27, path)
        self.assertEqual((size.points, size.lines), (7, 12))
        self.assertAlmostEqual(size.excess, 9)
        self.assertEqual(letter_fit.choose_size([], sizes, 78, 27, path).lines, 0)


class LetterFitCase(DunningCommon):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if not shutil.which('pdftotext') or not pdf.engine_available('plutoprint'):
            raise unittest.SkipTest("needs pdftotext and plutoprint")
        cls.report = cls.env.ref('dunning_mail.report_letter')
        cls.chf = cls.env.ref('base.CHF')
        cls.chf.active = True
        cls.company.write({
            'phone': '+41 31 123 45 67', 'website': 'https://www.muster.test', 'font': 'Lato', 'logo': False,
            'report_header': False, 'company_details': False,
            'report_footer': '<p>Handelsregister Bern · CHE-123.456.788</p>'})
        cls.company.partner_id.write({
            'street': 'Bundesplatz 3', 'zip': '3011', 'city': 'Bern', 'country_id': cls.env.ref('base.ch').id})
        cls.company.partner_id.bank_ids.active = False
        cls.env['res.partner.bank'].create({
            'acc_number': 'CH4431999123000889012', 'partner_id': cls.company.partner_id.id})
        cls.set_fee(cls.procedure.level_ids, 20)
        cls.partner = cls.make_partner('Kunde AG', ref='K-1', email=False)
        cls.notice = cls.make_notice(cls.partner, 5)

    @classmethod
    def make_notice(cls, partner, count):
        for index in range(count):
            cls.make_invoice(partner, 95.5 + index * 101.35, currency=cls.chf)
        notice = cls.make_run(partner_ids=[Command.set(partner.ids)]).notice_ids.sudo()
        notice.name = f'M/2026/{count:05}'
        return notice

    def render(self, notice=None, engine='plutoprint'):
        self.report.pdf_engine = engine
        [document] = self.report.render_documents(notice or self.notice).values()
        self.assertIsInstance(document, bytes, document)
        return document

    def find_words(self, document):
        """Return the words on a PDF's pages: list of (page, left, top, right, bottom in millimetres, word)."""
        output = subprocess.run(
            ['pdftotext', '-bbox', '-', '-'], input=document, check=True, stdout=subprocess.PIPE).stdout
        root = ElementTree.fromstring(re.sub(rb'<!DOCTYPE[^>]*>|[\x00-\x08]', b'', output))
        words = []
        pages = [node for node in root.iter() if node.tag.endswith('page')]
        for number, page in enumerate(pages, start=1):
            words += [
                (number, *(float(word.get(name)) / POINTS_A_MM for name in ('xMin', 'yMin', 'xMax', 'yMax')), word.text)
                for word in page if word.tag.endswith('word')]
        return words

    def place_of(self, words, text, page=1):
        """Return where a word stands: (left, top, right, bottom)."""
        places = [place for number, *place, word in words if word == text and number == page]
        self.assertTrue(places, text)
        return places[0]


@tagged('post_install', '-at_install')
class TestPlaces(LetterFitCase):

    def test_five_items_and_their_payment_part_on_one_sheet(self):
        if 'ch_qr' not in dict(self.env['res.partner.bank'].get_available_qr_methods_in_sequence()):
            self.skipTest("Switzerland's accounting (l10n_ch) is not installed")
        for layout in ('right', 'left'):
            self.company.dunning_letter_layout = layout
            for level in self.procedure.level_ids:
                for lang in ('de_DE', 'fr_FR', 'it_IT', 'en_US'):
                    self.notice.write({'level_id': level.id, 'lang': lang})
                    with self.subTest(layout=layout, level=level.sequence, lang=lang):
                        document = self.render()
                        self.assertEqual(len(PdfReader(io.BytesIO(document)).pages), 1)
                        words = self.find_words(document)
                        greeting = max(bottom for _page, left, _top, _right, bottom, word in words
                                       if word == 'Söhne' and bottom < 185)
                        foot = [top for _page, _left, top, _right, _bottom, word in words if word == 'M/2026/00005']
                        self.assertLess(greeting, max(top for top in foot if top < 192), "above the foot line")

    def test_payment_part_is_as_large_as_it_must_be(self):
        """46 mm the code, 7 mm the cross, at 100 %; and no word above the cut lies over another."""
        if Image is None or 'ch_qr' not in dict(self.env['res.partner.bank'].get_available_qr_methods_in_sequence()):
            self.skipTest("needs Pillow and l10n_ch")
        for engine in pdf.ENGINES:
            if not pdf.engine_available(engine):
                continue
            with self.subTest(engine):
                document = self.render(engine=engine)
                reader = PdfReader(io.BytesIO(document))
                self.assertEqual(reader.trailer['/Root']['/ViewerPreferences']['/PrintScaling'], '/None')
                joined = PdfReader(io.BytesIO(pdf_pages.join([document, document])))
                self.assertEqual(joined.trailer['/Root']['/ViewerPreferences']['/PrintScaling'], '/None')
                words = self.find_words(document)
                cut = self.place_of(words, 'abzutrennen')
                for word in ('Seite', 'M/2026/00005'):
                    bottoms = [bottom for _page, _left, top, _right, bottom, found in words
                               if found == word and 180 < top < 192]
                    self.assertTrue(bottoms, word)
                    self.assertLessEqual(max(bottoms), cut[1] + 0.4, word)
                self.assertLess(cut[3], 192.3)
                picture = self.draw(document, 300)
                unit = 300 / 25.4
                left, top = 67 * unit, (192 + 17) * unit
                box = picture.crop(tuple(map(round, (left - unit, top - unit, left + 47 * unit, top + 47 * unit))))
                dark = box.point(lambda value: 255 * (value < 128)).getbbox()
                for value, expected in zip(dark, (1, 1, 47, 47), strict=True):
                    self.assertAlmostEqual(value / unit, expected, delta=0.3)
                for size in (dark[2] - dark[0], dark[3] - dark[1]):
                    self.assertAlmostEqual(size / unit, 46, delta=0.15)
                # The cross stands in a black square of 6 mm with half a millimetre of white around.
                row = [picture.getpixel((round(left + x), round(top + 25.5 * unit))) < 128
                       for x in range(round(46 * unit))]
                middle = round(23 * unit)
                start = middle - next(count for count in range(middle) if not row[middle - count])
                end = middle + next(count for count in range(middle) if not row[middle + count])
                self.assertAlmostEqual((end - start) / unit, 6, delta=0.2)

    def draw(self, document, dpi):
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(['pdftoppm', '-r', str(dpi), '-gray', '-png', '-singlefile', '-', f'{folder}/page'],
                           input=document, check=True)
            with Image.open(Path(folder) / 'page.png') as page:
                return page.convert('L')

    def test_address_stays_in_the_window(self):
        """Seven lines with the country, long names, another font: smaller, never cut."""
        self.partner.write({
            'name': 'Verein zur Förderung der Wunderbaren Werke Westschweiz', 'street': 'Obere Bahnhofstrasse 123',
            'street2': 'Postfach 4567', 'zip': 'D-79539', 'city': 'Lörrach', 'country_id': self.env.ref('base.de').id})
        contact = self.env['res.partner'].create({
            'name': 'Abteilung Kreditoren, Frau Wilhelmine Wunderlich-Wagenknecht', 'parent_id': self.partner.id,
            'type': 'other', 'street': 'Obere Bahnhofstrasse 123', 'street2': 'Postfach 4567', 'zip': '79539',
            'city': 'Lörrach', 'country_id': self.env.ref('base.de').id, 'email': False})
        self.notice.recipient_id = contact
        for layout, right in (('left', 103), ('right', 195)):
            self.company.dunning_letter_layout = layout
            for font in ('Lato', 'Fira_Mono', 'Montserrat'):
                self.company.font = font
                with self.subTest(layout=layout, font=font):
                    document = self.render()
                    words = self.find_words(document)
                    country = self.place_of(words, 'DEUTSCHLAND')
                    self.assertLess(country[3], 90.5)
                    for word in ('Verein', 'Wilhelmine', 'Postfach', 'DEUTSCHLAND'):
                        self.assertLess(self.place_of(words, word)[2], right + 0.5, word)
                    self.assertNotIn('address_size', self.get_hint_codes())

    def get_hint_codes(self):
        return [hint.code for hint in self.notice._find_hints()[self.notice.id]]

    def test_address_that_fits_at_no_size(self):
        """It goes on below the window, the letter begins lower, and the draft says so."""
        self.partner.write({'name': 'Wunderbar ' * 40, 'street2': 'Hinterhaus ' * 20})
        self.company.dunning_letter_layout = 'left'
        self.assertIn('address_size', self.get_hint_codes())
        words = self.find_words(self.render())
        self.assertEqual(sum(word == 'Wunderbar' for *_place, word in words if _place[2] < 150), 40)
        town = next(place for *place, word in words if word == 'Zürich')
        self.assertLess(town[4], self.place_of(words, 'Sehr')[1])

    def test_return_line(self):
        """In one line as long as it can be read, in two above the address then."""
        self.company.name = 'Muster, Müller, Meier & Söhne Handelsgesellschaft für Baustoffe AG'
        self.company.partner_id.write({'street': 'Obere Bahnhofstrasse 123', 'street2': 'Postfach 4567'})
        for layout, right in (('left', 103), ('right', 195)):
            self.company.dunning_letter_layout = layout
            words = self.find_words(self.render())
            line = [place for *place, word in words if word in ('3011', 'Bern') and 40 < place[2] < 70]
            self.assertTrue(line)
            self.assertLess(max(place[3] for place in line), right + 0.5)
            self.assertLessEqual(max(place[4] for place in line), self.place_of(words, 'Kunde')[1] + 0.5)

    def test_footer_lines(self):
        """Four and more of them stand below the text and above the edge of the paper, all of them."""
        self.company.dunning_payment_part = False
        for count in (1, 4, 7):
            self.company.report_footer = ''.join(f'<p>Fusszeile Nummer{line}</p>' for line in range(count))
            with self.subTest(count=count):
                words = self.find_words(self.render())
                last = self.place_of(words, f'Nummer{count - 1}')
                first = self.place_of(words, 'Nummer0')
                number = [place for *place, word in words if word == 'M/2026/00005'][-1]
                self.assertLessEqual(last[3], number[2] + 0.5)
                self.assertGreater(first[1], 297 - 30 - (20 if count > 5 else 0))
                self.assertLess(number[4], 297 - 5, "printers leave the edge of the paper white")

    def test_greeting_is_not_torn(self):
        """The company's name stands on the page of its greeting, wherever the page ends."""
        self.company.dunning_payment_part = False
        text = self.notice.text_id.sudo()
        text.letter_closing = '<p>Vorletztes</p><p>Grusswort</p><p>Firmenwort</p>'
        broken = 0
        for count in range(24, 44, 2):
            text.letter_intro = '<p>Absatz</p>' * count
            words = self.find_words(self.render())
            pages = {word: page for page, *_place, word in words}
            self.assertEqual(pages['Grusswort'], pages['Firmenwort'], count)
            broken += pages['Firmenwort'] == 2
        self.assertTrue(0 < broken < 10, "the page ended before, within and after")

    def test_words_that_run_on_are_not_parted(self):
        report = self.env['report.dunning_mail.letter']
        for html in ('', 'Bitte zahlen Sie an <b>uns</b> bis <i>Freitag</i>.', 'Gruss<br/>Firma', '<p>Gruss</p>Firma',
                     '<b>Gruss</b><p>Firma</p>'):
            self.assertEqual(report._keep_greeting(html), html)
        self.assertEqual(
            report._keep_greeting('<p>1</p><p>2</p><ul><li>3</li></ul><p>4</p>'),
            '<p>1</p><div class="dl-greeting"><p>2</p><ul><li>3</li></ul><p>4</p></div>')

    def test_emoji(self):
        """No font for print has them: they are left out, and the words close up."""
        self.partner.name = 'Blumen 🌷 Meier 👩🏽‍🌾 AG 🇨🇭'
        self.company.report_footer = '<p>Ruft an ☎ 📞 1️⃣</p>'
        self.notice.text_id.sudo().letter_intro = '<p>Guten Tag 🙂, alles gut?</p>'
        [document] = catch_documents(self.report, self.notice)
        for part in (document.html, *document.overlays):
            self.assertFalse(re.findall('[\U0001F000-\U0001FAFF\uFE0F\u20E3\u200D]', part))
        words = [word for *_place, word in self.find_words(self.render())]
        for expected in ('Blumen', 'Meier', 'AG', 'Tag,', '☎'):
            self.assertIn(expected, words)
        letter = self.env['report.dunning_mail.letter']
        self.assertEqual(letter._get_address_lines(self.notice)[0], 'Blumen Meier AG')

    def test_lines_of_another_direction(self):
        """An Arabic name begins where the others do, and its numbers stay on their side."""
        self.partner.write({'name': 'شركة النور للتجارة', 'street': 'شارع الملك 12'})
        self.company.dunning_letter_layout = 'left'
        words = self.find_words(self.render())
        lines = [place for page, *place, word in words if page == 1 and 60 < place[1] < 76 and place[0] < 100]
        self.assertAlmostEqual(min(place[0] for place in lines), 25, delta=1)
        number = [place for *place, word in words if word == '12' and 60 < place[2] < 76]
        self.assertTrue(number)
        self.assertLess(number[0][1], 30, "the house number is read last: it stands on the left")

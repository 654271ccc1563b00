import io
import pathlib
import re
import unittest

from odoo.tests import BaseCase, TransactionCase, tagged
from odoo.tools.translate import trans_export

try:
    from babel.messages.pofile import read_po
except ImportError:
    read_po = None

I18N = pathlib.Path(__file__).parents[1] / 'i18n'
LANGS = ('de', 'fr', 'it')
PLACEHOLDERS = re.compile(
    r'%\(\w+\)[#0\- +]*[\d.]*[a-z]'       # %(name)s
    r'|%[#0\- +]*[\d.]*[sdifr](?!\w)|%%'  # %s
    r'|\{\{.*?\}\}'                       # {{ object.name }}
    r'|\$\{.*?\}'                         # ${name} of JavaScript
    r'|\bt-out="[^"]*"'                   # <t t-out="object.name"/>
    r'|</?(?!p\b)[a-z][a-z0-9]*\b')       # tags, but for paragraphs


@unittest.skipUnless(read_po, "needs babel")
@tagged('post_install', '-at_install')
class TestTranslations(BaseCase):
    """The installed translations are complete, and say what the source says."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.template = cls.read_catalog('dunning_mail.pot')

    @staticmethod
    def read_catalog(name):
        return read_po(io.BytesIO((I18N / name).read_bytes()), abort_invalid=True)

    @staticmethod
    def messages(catalog):
        return {message.id: message for message in catalog if message.id}

    @staticmethod
    def placeholders(text):
        return sorted(PLACEHOLDERS.findall(text))

    def test_template(self):
        self.assertGreater(len(self.messages(self.template)), 200)

    def test_complete(self):
        wanted = self.messages(self.template)
        for lang in LANGS:
            translated = self.messages(self.read_catalog(f'{lang}.po'))
            missing = [source for source in wanted if not (source in translated and translated[source].string)]
            fuzzy = [source for source, message in translated.items() if message.fuzzy]
            with self.subTest(lang=lang):
                self.assertEqual(missing, [], "untranslated")
                self.assertEqual(fuzzy, [], "fuzzy")
                self.assertEqual([source for source in translated if source not in wanted], [], "no longer used")

    def test_placeholders(self):
        for lang in (*LANGS, 'de_CH'):
            for source, message in self.messages(self.read_catalog(f'{lang}.po')).items():
                if message.string:
                    with self.subTest(lang=lang, source=source):
                        self.assertEqual(self.placeholders(message.string), self.placeholders(source))

    def test_space_around(self):
        """What touches the text before or behind still does."""
        for lang in (*LANGS, 'de_CH'):
            for source, message in self.messages(self.read_catalog(f'{lang}.po')).items():
                if message.string:
                    with self.subTest(lang=lang, source=source):
                        for strip in (str.lstrip, str.rstrip):
                            self.assertEqual(
                                message.string != strip(message.string), source != strip(source))

    def test_swiss_german(self):
        known = self.messages(self.template)
        german = self.messages(self.read_catalog('de.po'))
        swiss = self.messages(self.read_catalog('de_CH.po'))
        for source, message in swiss.items():
            with self.subTest(source=source):
                self.assertIn(source, known)
                self.assertTrue(message.string)
                self.assertFalse(message.fuzzy)
                self.assertNotIn('ß', message.string)
        # What Swiss readers get is German, with what differs on top: no ß may come through from below.
        self.assertEqual([
            source for source, message in german.items()
            if 'ß' in (message.string or '') and not (source in swiss and swiss[source].string)], [])

    def test_nothing_left_in_english(self):
        """A whole sentence that reads as the source was forgotten, whatever the file says."""
        for lang in LANGS:
            same = [
                source for source, message in self.messages(self.read_catalog(f'{lang}.po')).items()
                if message.string == source and not source.startswith('(object.')  # names of printed files
                and len(re.findall(r'[A-Za-z]{3,}', PLACEHOLDERS.sub('', source))) > 3]
            with self.subTest(lang=lang):
                self.assertEqual(same, [])


@unittest.skipUnless(read_po, "needs babel")
@tagged('post_install', '-at_install')
class TestTemplate(TransactionCase):

    def test_up_to_date(self):
        """What is complete are the translations of today's strings, not of an older template."""
        exported = io.BytesIO()
        trans_export(None, ['dunning_mail'], exported, 'po', self.env)
        exported.seek(0)
        strings = {message.id for message in read_po(exported) if message.id}
        template = {message.id for message in TestTranslations.read_catalog('dunning_mail.pot') if message.id}
        self.assertEqual(strings - template, set(), "make i18n")
        self.assertEqual(template - strings, set(), "make i18n")

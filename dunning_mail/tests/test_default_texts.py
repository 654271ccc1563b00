import re
from unittest.mock import patch

from lxml import html

from odoo.tests import TransactionCase, tagged
from odoo.tools.translate import code_translations

from ..models.default_texts import DEFAULT_TEXTS, KIND_TEXTS, TEXT_FIELDS, get_default_texts

LANGS = ('en_US', 'de_DE', 'de_CH', 'fr_FR', 'it_IT')
INLINE_FIELDS = ('mail_subject', 'letter_title')
HTML_FIELDS = ('mail_body', 'letter_intro', 'letter_closing')


def _expressions(field, text):
    """Return the placeholder expressions of a text, sorted, each as often as it occurs."""
    if field in INLINE_FIELDS:
        return sorted(expression.strip() for expression in re.findall(r'\{\{(.*?)\}\}', text))
    return sorted(html.fragment_fromstring(text, create_parent='div').xpath('//t/@t-out'))


@tagged('post_install', '-at_install')
class TestDefaultTexts(TransactionCase):

    def _all_texts(self, langs=LANGS):
        """Return [(tone, lang, field, text)] for every installed text."""
        return [
            (tone, lang, field, text)
            for tone in DEFAULT_TEXTS
            for lang in langs
            for field, text in (get_default_texts(tone, lang) or self.fail(f"no texts {tone} in {lang}")).items()
        ]

    def test_complete(self):
        self.assertEqual(list(DEFAULT_TEXTS), ['friendly', 'firm', 'final'])
        self.assertEqual(sorted(TEXT_FIELDS), sorted(INLINE_FIELDS + HTML_FIELDS))
        for tone in DEFAULT_TEXTS:
            for lang in LANGS:
                with self.subTest(tone=tone, lang=lang):
                    texts = get_default_texts(tone, lang)
                    self.assertIsNotNone(texts)
                    self.assertEqual(list(texts), list(DEFAULT_TEXTS[tone]))
                    self.assertEqual(sorted(texts), sorted(TEXT_FIELDS))
                    self.assertTrue(all(text.strip() for text in texts.values()))

    def test_in_the_language(self):
        """Nothing is left in English."""
        for tone, lang, field, text in self._all_texts(langs=LANGS[1:]):
            with self.subTest(tone=tone, lang=lang, field=field):
                self.assertNotEqual(text, DEFAULT_TEXTS[tone][field])

    def test_placeholders(self):
        """A translation says the same with the same placeholders, and only with those that a text may use."""
        allowed = set(self.env['dunning.notice'].mail_allowed_qweb_expressions())
        for tone, lang, field, text in self._all_texts():
            with self.subTest(tone=tone, lang=lang, field=field):
                expressions = _expressions(field, text)
                self.assertEqual(expressions, _expressions(field, DEFAULT_TEXTS[tone][field]))
                self.assertLessEqual(set(expressions), allowed)

    def test_placeholders_of_other_letters(self):
        allowed = set(self.env['dunning.notice'].mail_allowed_qweb_expressions())
        for kind, source in KIND_TEXTS.items():
            for lang in LANGS:
                for field, text in (get_default_texts(kind, lang) or {}).items():
                    with self.subTest(kind=kind, lang=lang, field=field):
                        expressions = _expressions(field, text)
                        self.assertEqual(expressions, _expressions(field, source[field]))
                        self.assertLessEqual(set(expressions), allowed)
            self.assertIsNotNone(get_default_texts(kind, 'en_US'))

    def test_names_what_matters(self):
        """The subject says who writes and about what; mail and letter say how much, by when, and who answers."""
        vital = {'object.amount_total_text', 'object.date_deadline_text', 'object.user_id.name'}
        for tone in DEFAULT_TEXTS:
            source = DEFAULT_TEXTS[tone]
            with self.subTest(tone=tone):
                self.assertEqual(
                    _expressions('mail_subject', source['mail_subject']), ['object.company_id.name', 'object.name'])
                self.assertIn('object.name', _expressions('letter_title', source['letter_title']))
                self.assertLessEqual(vital | {'object.items_html'}, set(_expressions('mail_body', source['mail_body'])))
                self.assertLessEqual(vital, set(_expressions('letter_closing', source['letter_closing'])))

    def test_markup(self):
        """Only what the restricted renderer takes, and what the fields' sanitizer leaves as it is."""
        for tone, lang, field, text in self._all_texts():
            with self.subTest(tone=tone, lang=lang, field=field):
                self.assertNotIn('\n', text)
                if field in INLINE_FIELDS:
                    self.assertNotIn('<', text)
                    continue
                root = html.fragment_fromstring(text, create_parent='div')
                for node in root.iterdescendants():
                    self.assertIn(node.tag, ('p', 't'))
                    self.assertEqual(list(node.attrib), ['t-out'] if node.tag == 't' else [])
                    self.assertFalse(node.tag == 't' and (len(node) or node.text), "a placeholder is an empty element")
                # the field's own sanitizer: a stricter one would drop the placeholders without a word
                self.assertEqual(self.env['dunning.level.text'].new({field: text})[field], text)

    def test_swiss_german(self):
        for tone, _lang, field, text in self._all_texts(langs=['de_CH']):
            with self.subTest(tone=tone, field=field):
                self.assertNotIn('ß', text)
                self.assertNotIn('Sehr geehrte Damen und Herren,', text)
                self.assertNotIn('gerichtliche', text)
        final = get_default_texts('final', 'de_CH')
        self.assertIn('Betreibung', final['mail_body'])
        self.assertIn('Betreibung', final['letter_closing'])
        self.assertIn('gerichtliche Mahnverfahren', get_default_texts('final', 'de_DE')['letter_closing'])

    def test_variants_use_their_base_language(self):
        for variant, base in (('fr_CH', 'fr_FR'), ('fr_BE', 'fr_FR'), ('it_CH', 'it_IT'), ('de_AT', 'de_DE'),
                              ('en_GB', 'en_US')):
            for tone in DEFAULT_TEXTS:
                with self.subTest(tone=tone, variant=variant):
                    self.assertIsNotNone(get_default_texts(tone, variant))
                    self.assertEqual(get_default_texts(tone, variant), get_default_texts(tone, base))

    def test_no_half_translated_texts(self):
        self.assertIsNone(get_default_texts('friendly', 'xx_XX'), "a language that we have no file for")
        translations = dict.fromkeys(DEFAULT_TEXTS['firm'].values(), 'x')
        with patch.object(type(code_translations), 'get_python_translations', lambda *_args: translations):
            self.assertEqual(get_default_texts('firm', 'xx_XX'), dict.fromkeys(TEXT_FIELDS, 'x'))
            self.assertIsNone(get_default_texts('final', 'xx_XX'), "translated is another tone")
            del translations[DEFAULT_TEXTS['firm']['letter_closing']]
            self.assertIsNone(get_default_texts('firm', 'xx_XX'), "one text is missing")

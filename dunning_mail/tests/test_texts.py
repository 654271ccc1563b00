import io

from psycopg2 import IntegrityError
from pypdf import PdfReader

from odoo.exceptions import AccessError, UserError, ValidationError
from odoo.tests import tagged
from odoo.tools import html2plaintext, mute_logger

from .common import TODAY, DunningCommon, DunningMailCommon, read_pdf

# What a customer must read in the own language, and what would give another one away.
WORDS = {
    'de_DE': ("Sehr geehrte Damen und Herren,", "Zahlungserinnerung", "Mit freundlichen Grüßen"),
    'de_CH': ("Sehr geehrte Damen und Herren", "Zahlungserinnerung", "Freundliche Grüsse"),
    'fr_FR': ("Madame, Monsieur,", "Rappel de paiement", "salutations"),
    'it_IT': ("Gentili Signore e Signori", "Promemoria di pagamento", "saluti"),
    'en_US': ("Dear Sir or Madam,", "Payment reminder", "Yours faithfully"),
}
DATES = {'de_DE': '4. Dezember 2026', 'de_CH': '4. Dezember 2026', 'fr_FR': '4 décembre 2026',
         'it_IT': '4 dicembre 2026', 'en_US': 'December 4, 2026'}
AMOUNTS = {'de_DE': '1.234,50', 'de_CH': "1'234.50", 'fr_FR': '1 234,50', 'it_IT': '1.234,50', 'en_US': '1,234.50'}


def plain(text):
    """Without the differences between kinds of spaces and apostrophes."""
    for char in '\u00a0\u202f\u2009\0':
        text = text.replace(char, ' ' if char != '\0' else '')
    return ' '.join(text.replace('’', "'").split())


@tagged('post_install', '-at_install')
class TestLanguage(DunningCommon):
    """Which language a notice is in, as a whole."""

    def lang_of(self, partner, **run_values):
        if not partner.customer_rank:
            self.make_invoice(partner)
        self.env['dunning.run'].search([]).action_cancel()
        return self.make_run(partner_ids=partner.ids, **run_values).notice_ids.lang

    def test_customers_language(self):
        for lang in WORDS:
            self.assertEqual(self.lang_of(self.make_partner(f'Customer {lang}', lang=lang)), lang)

    def test_contacts_language(self):
        partner = self.make_partner('Acme', lang=False)
        contact = self.make_partner('Contact', lang='fr_FR', parent_id=partner.id, type='dunning', is_company=False)
        self.assertFalse(partner.lang)
        self.assertEqual(self.lang_of(partner), 'fr_FR')
        partner.lang = 'it_IT'
        self.assertEqual(self.lang_of(partner), 'it_IT', "the customer's own language comes first")
        contact.lang = partner.lang = False
        self.assertEqual(self.lang_of(partner), 'de_DE')

    def test_fallback(self):
        partner = self.make_partner('Acme', lang=False)
        self.assertEqual(self.lang_of(partner), 'de_DE')
        self.company.dunning_fallback_lang = 'it_IT'
        self.assertEqual(self.lang_of(partner), 'it_IT')
        self.company.dunning_fallback_lang = False
        self.company.partner_id.lang = 'en_US'
        self.assertTrue(self.lang_of(partner).startswith('de_'), "the installed German")

    def test_fallback_without_german(self):
        self.company.dunning_fallback_lang = False
        self.company.partner_id.lang = 'fr_FR'
        self.env['res.users'].search([('lang', '=like', 'de%')]).lang = 'en_US'
        self.env['res.partner'].with_context(active_test=False).search([('lang', '=like', 'de%')]).lang = False
        self.env['res.lang'].search([('code', '=like', 'de%')]).active = False
        self.assertEqual(self.lang_of(self.make_partner('Acme', lang=False)), 'fr_FR')

    def test_clerks_language_does_not_matter(self):
        self.clerk.lang = 'it_IT'
        self.assertEqual(self.lang_of(self.make_partner('Acme', lang=False), lang='it_IT'), 'de_DE')

    def test_language_that_is_not_active(self):
        partner = self.make_partner('Acme', lang='fr_FR')
        self.make_invoice(partner)
        self.env.cr.execute("UPDATE res_partner SET lang = 'pl_PL' WHERE id = %s", [partner.id])
        partner.invalidate_recordset()
        self.assertEqual(self.lang_of(partner), 'de_DE')

    def test_missing_row_puts_the_whole_notice_into_the_fallback(self):
        partner = self.make_partner('Acme', lang='fr_FR', email=False)
        self.drop_texts(self.level_1, 'fr')
        self.make_invoice(partner, 1234.5)
        run = self.make_run()
        self.assertEqual(run.notice_ids.lang, 'de_DE')
        run.action_print_and_send()
        text = plain('\n'.join(
            page.extract_text() for page in PdfReader(io.BytesIO(run.notice_ids.document_id.raw)).pages))
        for words in (*WORDS['de_DE'][:2], DATES['de_DE'], AMOUNTS['de_DE']):
            self.assertIn(words, text)
        self.assertNotIn(WORDS['fr_FR'][0], text)
        run._hand_out_letters()
        run.action_mark_printed()
        again = self.make_run(self.days(15)).notice_ids
        self.assertEqual((again.level_id, again.lang), (self.level_2, 'fr_FR'), "a level that has its texts")

    def test_variant_of_the_language(self):
        """French of France is better than German for a customer in Geneva, with the dates and amounts of his own."""
        self.env['res.lang']._activate_lang('fr_CH')
        self.env['res.lang']._activate_lang('fr_BE')
        partner = self.make_partner('Acme', lang='fr_CH', email=False)
        self.level_1.text_ids.filtered(lambda text: text.lang in ('fr_CH', 'fr_BE')).unlink()
        self.make_invoice(partner, 1234.5)
        run = self.make_run()
        notice = run.notice_ids
        self.assertEqual((notice.lang, notice.text_id.lang), ('fr_CH', 'fr_FR'))
        self.assertFalse(self.level_1.missing_text_langs)
        run.action_print_and_send()
        self.assertIn(WORDS['fr_FR'][0], plain(read_pdf(notice._get_document_bytes())))
        self.assertEqual(notice.text_version_id.letter_title, self.level_1._get_text('fr_FR').letter_title)

    def test_variant_of_a_language_that_is_not_active(self):
        partner = self.make_partner('Acme', lang='fr_FR')
        self.make_invoice(partner)
        self.env.cr.execute("UPDATE res_partner SET lang = 'fr_CA' WHERE id = %s", [partner.id])
        partner.invalidate_recordset()
        self.assertEqual(self.lang_of(partner), 'fr_FR')

    def test_other_languages_are_no_variants(self):
        """Letters in which two codes begin alike say nothing: fil_PH is not fi_FI."""
        self.level_1.text_ids.filtered(lambda text: text.lang == 'it_IT').lang = 'fi_FI'
        self.env['res.lang']._activate_lang('fil_PH')
        self.assertEqual(self.lang_of(self.make_partner('Acme', lang='fil_PH')), 'de_DE')
        self.assertFalse(self.level_1._get_text('fil_PH'))


@tagged('post_install', '-at_install')
class TestMailAndLetter(DunningMailCommon):
    """Subject, mail, letter, table, dates and amounts, each in the customer's language."""

    def test_each_language(self):
        partners = {lang: self.make_partner(f'Kunde {lang}', lang=lang) for lang in WORDS}
        for partner in partners.values():
            self.make_invoice(partner, 1234.5)
        # The clerk works in a language of her own.
        run = self.make_run(lang='it_IT')
        run.action_print_and_send()
        self.run_engine()
        mails = {mail['To'].addresses[0].addr_spec: mail for mail in self.mails()}
        self.assertEqual(len(mails), len(WORDS))
        for notice in run.notice_ids:
            lang = notice.lang
            with self.subTest(lang=lang):
                self.assertEqual(notice.partner_id, partners[lang])
                mail = mails[notice.email_to]
                parts = {
                    'plain': mail.get_body(('plain',)).get_content(),
                    'html': html2plaintext(mail.get_body(('html',)).get_content()),
                    'letter': '\n'.join(page.extract_text() for page in PdfReader(io.BytesIO(
                        next(mail.iter_attachments()).get_payload(decode=True))).pages),
                }
                greeting, title, _closing = WORDS[lang]
                self.assertIn(title.lower(), mail['Subject'].lower())
                self.assertIn(notice.name, mail['Subject'])
                for kind, content in parts.items():
                    content = plain(content)
                    for words in (greeting, DATES[lang], AMOUNTS[lang], notice.name if kind == 'letter' else ''):
                        self.assertIn(words, content, kind)
                    for other, (other_greeting, *_rest) in WORDS.items():
                        if other_greeting.rstrip(',') != greeting.rstrip(','):
                            self.assertNotIn(other_greeting, content, f'{kind} in {other}')
                    for other in set(DATES.values()) - {DATES[lang]}:
                        self.assertNotIn(other, content, kind)
                self.assertIn(WORDS[lang][2], plain(parts['letter']))
                if lang == 'de_CH':
                    self.assertNotIn('ß', mail['Subject'] + ''.join(parts.values()))

    def test_tables_are_translated_too(self):
        """The table in the mail and in the letter is no more in the clerk's language than the text is."""
        partner = self.make_partner('Kunde', lang='fr_FR')
        self.make_invoice(partner)
        notice = self.make_run(lang='it_IT').notice_ids
        for words in ("Due Date", "Open Amount"):
            self.assertNotIn(words, notice.items_html, "in French")
        notice.run_id.action_print_and_send()
        letter = PdfReader(io.BytesIO(notice.document_id.raw)).pages[0].extract_text()
        for words in ("Due date", "Days late", "Total amount due"):
            self.assertNotIn(words, letter)


@tagged('post_install', '-at_install')
class TestTexts(DunningCommon):
    """The rows of texts: placeholders, preview, languages."""

    def assertRefused(self, words, user=None, **values):
        text = self.level_1._get_text('de_DE').with_user(user or self.manager)
        with self.assertRaises(ValidationError) as raised, self.env.cr.savepoint():
            text.write(values)
        self.assertIn(words, str(raised.exception))
        self.assertIn(self.level_1.name, str(raised.exception), "it says where")
        self.assertIn('German', str(raised.exception))

    def test_placeholders_refused(self):
        self.assertRefused('object.no_such_field', mail_subject='Mahnung {{ object.no_such_field }}')
        self.assertRefused('object.no_such_field', mail_body='<p><t t-out="object.no_such_field"/></p>')
        self.assertRefused('object.partner_id.credit_limit', letter_title='{{ object.partner_id.credit_limit }}')
        self.assertRefused('{{ object.name }}', letter_intro='<p>{{ object.name }}</p>')
        self.assertRefused('{{ object.name', mail_subject='Mahnung {{ object.name')

    def test_code_refused(self):
        """Neither managers nor administrators, for whom core evaluates everything, can run code in a text."""
        admin = self.env.ref('base.user_admin')
        for user in (self.manager, admin):
            for code in ("object.env['res.users'].sudo().search([]).unlink()", 'object.unlink()', '1 + 1',
                         'object.name or object.unlink()', "object.partner_id.name.join('ab')"):
                with self.subTest(user=user.login, code=code):
                    self.assertRefused(code, user, mail_subject=f'{{{{ {code} }}}}')
                    self.assertRefused(code, user, letter_closing=f'<p><t t-out="{code}"/></p>')
            for directive in ('t-esc', 't-if', 't-foreach', 't-set', 't-call', 't-att-href', 't-raw', 't-value'):
                with self.subTest(user=user.login, directive=directive):
                    self.assertRefused(directive, user, mail_body=f'<p><t {directive}="object.name">x</t></p>')

    def test_code_left_in_the_database_is_not_run(self):
        partner = self.make_partner('Acme')
        self.make_invoice(partner)
        admin = self.env.ref('base.user_admin')
        notice = self.make_run(user=admin, company_id=self.company.id).notice_ids
        text = self.level_1._get_text('de_DE')
        self.env.cr.execute(
            "UPDATE dunning_level_text SET mail_body = %s WHERE id = %s",
            ['<p><t t-out="object.partner_id.write({\'name\': \'Hacked\'})"/></p>', text.id])
        text.invalidate_recordset()
        for user in (admin, self.clerk, self.env.ref('base.user_root')):
            with self.assertRaises(ValidationError):
                notice.with_user(user)._render_texts()
        self.assertEqual(partner.name, 'Acme')

    def test_allowed_placeholders_work(self):
        """Each one, in the fields where it may stand."""
        partner = self.make_partner('Müller & Cie')
        self.make_invoice(partner)
        notice = self.make_run().notice_ids
        text = self.level_1._get_text('de_DE').with_user(self.manager)
        for expression in self.env['dunning.notice'].mail_allowed_qweb_expressions():
            with self.subTest(expression=expression):
                text.write({'mail_body': f'<p>[<t t-out="{expression}"/>]</p>', 'mail_subject': 'S'})
                body = notice._render_texts()['mail_body']
                self.assertNotIn('t-out', body)
                self.assertNotIn('object.', body)
                if expression != 'object.items_html':
                    text.mail_subject = f'[{{{{ {expression} }}}}]'
                    self.assertRegex(notice._render_texts()['mail_subject'], r'^\[[^<{]*\]$')
        text.write({
            'mail_subject': '{{ object.partner_id.name }}', 'mail_body': '<p><t t-out="object.partner_id.name"/></p>'})
        texts = notice._render_texts()
        self.assertEqual(texts['mail_subject'], 'Müller & Cie')
        self.assertIn('Müller &amp; Cie', texts['mail_body'])

    def test_names_cannot_inject(self):
        """Neither markup nor placeholders nor lines come out of a customer's name."""
        partner = self.make_partner('<b>Bobby</b> {{ object.unlink() }}\r\nBcc: evil@customer.test')
        self.make_invoice(partner)
        notice = self.make_run().notice_ids
        text = self.level_1._get_text('de_DE').with_user(self.manager)
        text.write({
            'mail_subject': '{{ object.partner_id.name }}', 'mail_body': '<p><t t-out="object.partner_id.name"/></p>'})
        texts = notice._render_texts()
        self.assertEqual(texts['mail_subject'], '<b>Bobby</b> {{ object.unlink() }} Bcc: evil@customer.test')
        self.assertNotIn('<b>', texts['mail_body'])

    def test_all_texts_are_required(self):
        text = self.level_1._get_text('de_DE')
        for fname, empty in (('mail_subject', ' '), ('letter_title', False), ('mail_body', '<p><br></p>'),
                             ('letter_intro', False), ('letter_closing', '<p> </p><p></p>')):
            with self.subTest(field=fname):
                self.assertRefused(text._fields[fname]._description_string(self.env), **{fname: empty})

    @mute_logger('odoo.sql_db')
    def test_once_in_each_language(self):
        text = self.level_1._get_text('de_DE').with_user(self.manager)
        with self.assertRaises(IntegrityError), self.env.cr.savepoint():
            text.copy()

    @mute_logger('odoo.sql_db')
    def test_two_levels_with_one_number(self):
        with self.assertRaises(IntegrityError), self.env.cr.savepoint():
            self.level_2.with_user(self.manager).sequence = 1
        constraint = self.env.registry['dunning.level']._sequence_unique
        self.assertIn("same number", constraint.get_error_message(self.level_1, None))

    # === LANGUAGES === #

    def test_texts_of_the_installed_languages(self):
        for level in self.procedure.level_ids:
            self.assertLessEqual(set(WORDS), set(level.text_ids.mapped('lang')))
            self.assertFalse(level.missing_text_langs)

    def test_language_activated_later(self):
        self.env['res.lang']._activate_lang('fr_BE')
        for level in self.procedure.level_ids:
            text = level._get_text('fr_BE')
            self.assertEqual(text.letter_title, level._get_text('fr_FR').letter_title)

    def test_language_without_installed_texts(self):
        self.env['res.lang']._activate_lang('es_ES')
        self.assertFalse(self.level_1._get_text('es_ES'), "better none than English ones")
        spanish = self.env['res.lang']._get_data(code='es_ES').name
        self.level_1.invalidate_recordset()
        self.assertEqual(self.level_1.missing_text_langs, spanish)
        self.level_1.with_user(self.manager).text_ids = [(0, 0, {
            'lang': 'es_ES', 'mail_subject': 'S', 'mail_body': '<p>B</p>', 'letter_title': 'T',
            'letter_intro': '<p>I</p>', 'letter_closing': '<p>C</p>'})]
        self.assertFalse(self.level_1.missing_text_langs)
        partner = self.make_partner('Acme', lang='es_ES')
        self.make_invoice(partner)
        self.assertEqual(self.make_run().notice_ids.lang, 'es_ES')

    def test_own_texts_are_left_alone(self):
        text = self.level_1._get_text('fr_FR')
        text.letter_title = 'Mon titre'
        self.env['res.lang']._activate_lang('fr_BE')
        self.level_1.with_user(self.manager).action_install_default_texts()
        self.assertEqual(text.letter_title, 'Mon titre')

    def test_default_texts_for_a_new_level(self):
        level = self.env['dunning.level'].with_user(self.manager).create({
            'procedure_id': self.procedure.id, 'sequence': 4, 'name': 'Vierte'})
        self.assertFalse(level.text_ids)
        with self.assertRaisesRegex(UserError, 'Vierte'):
            level.action_install_default_texts()
        level.text_tone = 'final'
        level.action_install_default_texts()
        self.assertEqual(
            {text.lang: text.letter_closing for text in level.text_ids},
            {text.lang: text.letter_closing for text in self.level_3.text_ids})

    def test_clerk_reads_texts_only(self):
        text = self.level_1._get_text('de_DE').with_user(self.clerk)
        self.assertTrue(text.mail_subject)
        with self.assertRaises(AccessError):
            text.mail_subject = 'x'

    # === PREVIEW === #

    def preview(self, partner, level=None, user=None):
        action = (level or self.level_1).with_user(user or self.clerk).action_preview_texts()
        self.assertEqual(action['res_model'], 'dunning.text.preview')
        return self.env['dunning.text.preview'].with_user(user or self.clerk).with_context(
            **action['context']).create({'partner_id': partner.id})

    def test_preview(self):
        for lang, (greeting, *_rest) in WORDS.items():
            with self.subTest(lang=lang):
                partner = self.make_partner(f'Kunde {lang}', lang=lang)
                self.make_invoice(partner, 1234.5)
                preview = self.preview(partner)
                self.assertFalse(preview.error)
                self.assertIn(greeting, preview.mail_body)
                self.assertIn(greeting, preview.letter_html)
                self.assertIn(AMOUNTS[lang], plain(html2plaintext(preview.mail_body)))
                self.assertIn(DATES[lang], preview.mail_body)
                self.assertTrue(preview.mail_subject and preview.letter_title and preview.lang)

    def test_preview_claims_what_a_notice_would(self):
        partner = self.make_partner('Acme', lang='de_DE')
        self.make_invoice(partner, 100)
        self.make_invoice(partner, 150, move_type='out_refund')
        self.make_paid_out(partner, 150)
        self.make_invoice(partner, 77).dunning_hold_until = self.days(5)
        preview = self.preview(partner)
        self.assertFalse(preview.error)
        words = plain(html2plaintext(preview.mail_body))
        self.assertIn('100,00', words)
        self.assertNotIn('250', words)
        self.assertNotIn('177', words)

    def test_preview_of_a_customer_who_owes_nothing(self):
        preview = self.preview(self.make_partner('Acme', lang='fr_FR'))
        self.assertFalse(preview.error)
        self.assertIn('100,00', preview.mail_body)
        self.assertFalse(self.env['dunning.run'].search([]), "a preview leaves nothing behind")

    def test_preview_says_what_is_wrong(self):
        text = self.level_1._get_text('de_DE')
        self.env.cr.execute(
            "UPDATE dunning_level_text SET mail_subject = '{{ object.oops }}' WHERE id = %s", [text.id])
        text.invalidate_recordset()
        preview = self.preview(self.make_partner('Acme'))
        self.assertIn('object.oops', preview.error)
        self.level_1.text_ids.unlink()
        preview = self.preview(self.make_partner('Other'))
        self.assertIn(self.level_1.name, preview.error)

    def test_preview_is_as_of_today(self):
        preview = self.preview(self.make_partner('Acme', lang='de_DE'))
        self.assertIn(f'{TODAY:%d.%m.%Y}'[-4:], preview.mail_body)


@tagged('post_install', '-at_install')
class TestTried(DunningCommon):
    """Texts are tried when they are saved; what was saved before is said to be the text's fault."""

    BROKEN = (
        '<t t&#45;out="object.name"/>',
        '<p><img src="/web/image/no.such.model/1/image"/></p>',
        '<p><img src="/web/image/res.partner/1/no_such_field"/></p>',
        '<p><img src="/web/image/res.partner/1/name"/></p>',
        '<p><img src="/web/image/avatar.mixin/1/avatar_1920"/></p>',
        '<p><img src="/report/barcode/QR/x?width=wide"/></p>',
        '<p><img src="/report/barcode/?barcode_type=QR&amp;value=x&amp;width=100000&amp;height=100000"/></p>',
        '<p style="background: url(/web/image/no.such.model/1/image)">x</p>',
    )

    def test_refused(self):
        text = self.level_2.with_context(lang='en_US').text_ids.filtered(lambda text: text.lang == 'fr_FR')
        for source in ('<p t-out="">x</p>', '<p t-out>x</p>', '<p t-out=" object.name ">x</p>',
                       '<p><t t-out-x="object.name"/></p>'):
            # These would be read by the customer as they are, or as nothing.
            with self.subTest(source=source), self.assertRaises(ValidationError), self.env.cr.savepoint():
                text.letter_intro = source
            text.invalidate_recordset()
        for fname in ('letter_intro', 'mail_body', 'letter_closing'):
            label = text._fields[fname].string
            for source in self.BROKEN:
                before = text[fname]
                with self.subTest(source=source, field=fname), self.env.cr.savepoint():
                    with self.assertRaises(ValidationError) as caught, self.env.cr.savepoint():
                        text[fname] = source
                    words = str(caught.exception)
                    for part in (self.level_2.name, 'French', label):
                        self.assertIn(part, words)
                    self.assertNotIn('emplate', words)
                text.invalidate_recordset()
                self.assertEqual(text[fname], before)

    def test_accepted(self):
        text = self.level_2.text_ids[0]
        for source in ('<p>&lt;t t-foo&gt; is no directive</p>', '<p><img src="/web/image/99999999999999999999"/></p>',
                       '<p><img src="/web/image/12345678"/></p>', '<p><img src="https://elsewhere.test/x.png"/></p>',
                       '<p><img src="http://[broken"/></p>',
                       '<p><img src="/web/image/res.company/1/logo"/><t t-out="object.items_html"/></p>'):
            with self.subTest(source=source):
                text.letter_intro = source

    def test_what_was_saved_before(self):
        """It is the text that is named, not a template, and the other letters are made."""
        good, bad = self.make_partner('Good', email=False), self.make_partner('Bad', lang='fr_FR', email=False)
        text = self.level_1.text_ids.filtered(lambda text: text.lang == 'fr_FR')
        for partner in (good, bad):
            self.make_invoice(partner)
        for source in self.BROKEN[:2]:
            with self.subTest(source=source), self.env.cr.savepoint() as savepoint:
                self.env.cr.execute(
                    "UPDATE dunning_level_text SET letter_intro = %s WHERE id = %s", [source, text.id])
                text.invalidate_recordset()
                run = self.make_run()
                run.action_print_and_send()
                by_partner = {notice.partner_id: notice for notice in run.notice_ids}
                self.assertEqual(by_partner[good].state, 'issued')
                self.assertEqual(by_partner[bad].state, 'draft')
                problem = by_partner[bad].problem
                for part in (self.level_1.name, 'French'):
                    self.assertIn(part, problem)
                self.assertNotIn('emplate', problem)
                savepoint.rollback()
                self.env.invalidate_all()

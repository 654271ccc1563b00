import base64
import re
from decimal import Decimal

import babel.dates
from markupsafe import Markup

from odoo import api, fields, models
from odoo.tools import float_round, format_date, get_lang, html2plaintext, is_html_empty, posix_to_ldml
from odoo.tools.image import image_data_uri, image_process
from odoo.tools.misc import babel_locale_parse

from odoo.addons.base.models.ir_actions_report import _wkhtml

from ..tools import qr

# What of a notice's texts is in the letter itself; the others are in the mail.
LETTER_TEXTS = ('letter_title', 'letter_intro', 'letter_closing')

# The order in which charges stand on the letter.
KINDS = ('fee', 'interest', 'lump_sum', 'cost')

# Where the recipient's address lies, and so where the window of the envelope is (SN 010130 knows both sides, and the
# right one is what Swiss window envelopes have; DIN 5008 form B and most of Europe: left).
ADDRESS_RIGHT_COUNTRIES = ('CH', 'LI')

# The company's font (document layout settings) -> its regular, bold and italic face, all of which Odoo ships.
FONTS = {
    'Lato': ('lato/Lato-Reg-webfont.ttf', 'lato/Lato-Bol-webfont.ttf', 'lato/Lato-RegIta-webfont.ttf'),
    'Roboto': (
        'google/Roboto/Roboto-Regular.ttf', 'google/Roboto/Roboto-Bold.ttf', 'google/Roboto/Roboto-Italic.ttf'),
    'Open_Sans': (
        'google/Open_Sans/Open_Sans-Regular.ttf', 'google/Open_Sans/Open_Sans-Bold.ttf',
        'google/Open_Sans/Open_Sans-Italic.ttf'),
    'Montserrat': (
        'google/Montserrat/Montserrat-Regular.ttf', 'google/Montserrat/Montserrat-Bold.ttf',
        'google/Montserrat/Montserrat-Italic.ttf'),
    'Oswald': ('google/Oswald/Oswald-Regular.ttf', 'google/Oswald/Oswald-Bold.ttf', None),
    'Raleway': (
        'google/Raleway/Raleway-Regular.ttf', 'google/Raleway/Raleway-Bold.ttf', 'google/Raleway/Raleway-Italic.ttf'),
    'Tajawal': ('google/Tajawal/Tajawal-Regular.ttf', 'google/Tajawal/Tajawal-Bold.ttf', None),
    'Fira_Mono': ('google/Fira_Mono/Fira_Mono-Regular.ttf', 'google/Fira_Mono/Fira_Mono-Bold.ttf', None),
}

# The words of a QR-bill, as SIX prescribes them: no translation of ours may differ. Elsewhere it is in English.
SLIP_WORDS = {
    'en': {
        'receipt': 'Receipt', 'payment_part': 'Payment part', 'account': 'Account / Payable to',
        'reference': 'Reference', 'information': 'Additional information', 'payable_by': 'Payable by',
        'currency': 'Currency', 'amount': 'Amount', 'acceptance': 'Acceptance point',
        'separate': 'Separate before paying in'},
    'de': {
        'receipt': 'Empfangsschein', 'payment_part': 'Zahlteil', 'account': 'Konto / Zahlbar an',
        'reference': 'Referenz', 'information': 'Zusätzliche Informationen', 'payable_by': 'Zahlbar durch',
        'currency': 'Währung', 'amount': 'Betrag', 'acceptance': 'Annahmestelle',
        'separate': 'Vor der Einzahlung abzutrennen'},
    'fr': {
        'receipt': 'Récépissé', 'payment_part': 'Section paiement', 'account': 'Compte / Payable à',
        'reference': 'Référence', 'information': 'Informations supplémentaires', 'payable_by': 'Payable par',
        'currency': 'Monnaie', 'amount': 'Montant', 'acceptance': 'Point de dépôt',
        'separate': 'A détacher avant le versement'},
    'it': {
        'receipt': 'Ricevuta', 'payment_part': 'Sezione pagamento', 'account': 'Conto / Pagabile a',
        'reference': 'Riferimento', 'information': 'Informazioni supplementari', 'payable_by': 'Pagabile da',
        'currency': 'Valuta', 'amount': 'Importo', 'acceptance': 'Punto di accettazione',
        'separate': 'Da staccare prima del versamento'},
}

DEFAULT_PRIMARY = '#1f3a5f'
TEXT_COLOR = '#22262a'
# The logo is printed at most 70 mm wide: more pixels would only make every letter heavier.
LOGO_SIZE = (800, 320)


class ReportDunningLetter(models.AbstractModel):
    """What the dunning letter shows. Everything is in the notice's language, never in the viewer's."""
    _name = 'report.dunning_mail.letter'
    _description = 'Dunning Letter'

    @api.model
    def _get_report_values(self, docids, data=None):
        notices = self.env['dunning.notice'].browse(docids)
        return {
            'doc_ids': docids,
            'doc_model': 'dunning.notice',
            'docs': notices,
            'pdf_engine': (data or {}).get('pdf_engine') or 'wkhtmltopdf',
            'get_letter_values': self._get_letter_values,
            # shared by all letters of one call: what only depends on company and language
            'letter_cache': {'texts': notices._render_all_texts(LETTER_TEXTS)},
        }

    @api.model
    def _get_letter_values(self, notice, cache=None):
        """Return all that the letter of one notice shows, formatted in the notice's language.

        Another addon that wants one more thing on the letter adds it here.

        :param notice: `dunning.notice`, one record
        :param dict cache: kept between the letters of one call
        :return: dict for the template `dunning_mail.letter_document`
        """
        notice = notice.with_context(lang=notice.lang)
        self = self.with_env(notice.env)
        cache = {} if cache is None else cache
        key = (notice.company_id.id, notice.lang)
        if key not in cache:
            cache[key] = self._get_company_values(notice.company_id, notice.lang)
            cache[notice.lang] = self._get_formats(notice.lang)
        format_number, format_day = cache[notice.lang]
        currency = notice.currency_id

        def amount(value):
            return format_number(value or 0.0, currency.decimal_places)

        def line_values(line):
            return {
                'name': line.name or line.move_id.name or '',
                'left_out': line._describe_left_out(),
                'date': format_day(line.date_invoice),
                'date_due': format_day(line.date_due),
                'days_overdue': line.days_overdue if line.days_overdue and line.days_overdue > 0 else '',
                'level': line.level_id.sequence or '',
                'invoiced': amount(line.amount_invoiced),
                'residual': amount(line.amount_residual),
            }

        address_lines, sender_line = self._get_address_lines(notice), self._get_sender_line(notice)
        texts = cache.get('texts', {}).get(notice.id) or notice._render_texts(LETTER_TEXTS)
        lines = {'due': [], 'credit': [], 'info': []}
        for line in notice.line_ids.filtered(lambda line: line.kind != 'charge'):
            lines[line.kind].append(dict(line_values(line), open=line.amount_residual))
        carried = 0.0
        for line in lines['due'] + lines['credit']:
            carried += line['open']
            line['carried'] = f"{currency.name}\u00a0{amount(carried)}"
        part = notice._get_payment_part()
        return {
            **cache[key],
            'number': notice.name or '',
            'texts': {**texts, 'letter_closing': self._keep_greeting(texts['letter_closing'])},
            'sender_line': sender_line,
            'address_lines': address_lines,
            'fit': self._get_fit(notice, cache[key], sender_line, address_lines),
            'date': format_date(self.env, notice.date, date_format='long'),
            'deadline': notice.date_deadline and format_date(self.env, notice.date_deadline, date_format='long'),
            'customer_number': notice.partner_id.ref or '',
            'clerk': self._get_clerk_values(notice),
            'currency': currency.name,
            'due_lines': lines['due'],
            'credit_lines': lines['credit'],
            'info_lines': lines['info'],
            'overdue': amount(notice.amount_overdue),
            'charges': self._get_charge_values(notice, amount, format_day),
            'taxes': self._get_tax_values(notice, amount, format_number),
            'calculation': self._get_calculation_values(notice, format_number, format_day),
            'interest': amount(notice.amount_interest),
            'total': amount(notice.amount_total),
            'total_text': notice.amount_total_text,
            'bank': self._get_bank_values(part),
            'payment_reference': qr.format_reference(part['reference']),
            'slip': part['method'] == 'swiss' and self._get_slip_values(part, notice.lang),
            'epc_code': part['method'] == 'epc' and qr.data_uri(qr.render_svg('\n'.join(part['lines']))),
        }

    @api.model
    def _get_charge_values(self, notice, show_amount, show_day):
        """Return what the letter asks for beside the items: its own charges by kind, earlier ones by notice too.

        :param notice: `dunning.notice`, one record
        :param show_amount: function of an amount
        :param show_day: function of a date
        :return: list of dicts: `kind`, `amount`, and of an earlier notice `notice` (its number) and `date`
        """
        sums = {}
        for line in notice.line_ids.filtered(lambda line: line.kind == 'charge'):
            charge = line.charge_id
            earlier = charge.notice_id if charge.notice_id != notice else charge.notice_id.browse()
            key = (bool(earlier), charge.date if earlier else False, earlier.id, KINDS.index(charge.kind))
            sums[key] = sums.get(key, 0.0) + line.amount_residual
        return [{
            'kind': KINDS[kind], 'amount': show_amount(amount), 'date': show_day(day),
            'notice': notice.browse(notice_id).name or '',
        } for (_is_earlier, day, notice_id, kind), amount in sorted(sums.items())
            if not notice.currency_id.is_zero(amount)]

    @api.model
    def _get_tax_values(self, notice, show_amount, format_number):
        """Return the taxes that the notice's own charges contain, of those that are booked with it: tax that is shown
        is owed.

        :param notice: `dunning.notice`, one record
        :param show_amount: function of an amount
        :param format_number: function of a number and its decimal places
        :return: list of dicts: `rate`, `base` and `amount`, and `number` of the company
        """
        sums = {}
        for charge in notice.charge_ids.filtered(lambda charge: charge.is_booked_at_issue and charge.amount):
            for part in charge._get_tax_parts():
                for tax in part['taxes']:
                    base, amount = sums.get(tax['id'], (0.0, 0.0))
                    sums[tax['id']] = (base + tax['base'], amount + tax['amount'])
        return [{
            'rate': f'{format_number(tax.amount, 1 if round(tax.amount, 1) == tax.amount else 2)}\u00a0%',
            'base': show_amount(notice.currency_id.round(sums[tax.id][0])), 'amount': show_amount(sums[tax.id][1]),
            'number': notice.company_id.sudo().vat or '',
        } for tax in notice.env['account.tax'].sudo().browse(sums).sorted('amount')]

    @api.model
    def _get_calculation_values(self, notice, format_number, show_day):
        """Return how the interest that the letter asks for was reckoned, a row for each segment.

        :param notice: `dunning.notice`, one record
        :param format_number: function of a number and its decimal places
        :param show_day: function of a date
        """
        digits = notice.currency_id.decimal_places
        rows = []
        asked = notice.line_ids.filtered(lambda line: (
            line.charge_kind == 'interest' and not line.is_earlier_charge and line.amount_residual)).charge_id
        for charge in asked.filtered('detail').sorted('id'):
            segments = [row for row in charge.detail or [] if row['days']]
            exact = sum(Decimal(row['amount']) for row in segments)
            rows += [{
                'name': charge.move_line_id.move_id.name or '',
                'date_from': show_day(fields.Date.to_date(row['date_from'])),
                'date_to': show_day(fields.Date.to_date(row['date_to'])),
                'days': row['days'],
                'rate': '–' if row['rate'] is None else format_number(float(row['rate']), 2),
                'principal': format_number(float(row['principal']), digits),
                'amount': format_number(float(row['amount']), digits + 2),
            } for row in segments]
            claimed = sum(asked.filtered(lambda other, charge=charge: (
                other.move_line_id == charge.move_line_id)).mapped('amount'))
            kept = sum(charge.browse(charge.kept_ids or ()).exists().mapped('amount'))
            less = self._get_less(exact, len(segments), claimed, notice.currency_id) - kept
            rows += [
                {'name': charge.move_line_id.move_id.name or '', mark: True, 'amount': format_number(-amount, digits)}
                for mark, amount in (('is_kept', kept), ('is_waived', less))
                if segments and notice.currency_id.compare_amounts(amount, 0) > 0]
        return rows

    @api.model
    def _get_less(self, exact, count, amount, currency):
        """Return by how much less is asked for than was reckoned: what was claimed before, or given up before or in the
        draft.

        :param Decimal exact: sum of the segments, each kept with six decimal places
        :param int count: of them
        :param float amount: that is asked for
        :param currency: `res.currency`
        """
        # Of a sum that lies half-way, the decimal places that were not kept have decided.
        if abs(exact - Decimal(str(amount))) <= Decimal(str(currency.rounding)) / 2 + count * Decimal('0.0000005'):
            return 0.0
        return currency.round(float(exact)) - amount

    @api.model
    def _get_formats(self, lang_code):
        """Return how a language writes numbers and dates: looking that up for each of them would take longer.

        :param str lang_code: code of an active language
        :return: function of a number and its decimal places, function of a date; both return str that does not break
        """
        lang = self.env['res.lang'].browse(get_lang(self.env, lang_code).id)
        locale = babel_locale_parse(lang.code)
        pattern = posix_to_ldml(lang.date_format, locale=locale)

        def format_number(value, digits):
            rounded = float_round(value, precision_digits=digits)
            return lang.format(f'%.{digits}f', rounded, grouping=True).replace(' ', '\u00a0')

        def format_day(day):
            return babel.dates.format_date(day, format=pattern, locale=locale) if day else ''

        return format_number, format_day

    # === COMPANY === #

    @api.model
    def _get_company_values(self, company, lang):
        """Return what depends on the company alone: letterhead, colours, font, place, side of the address.

        :param company: `res.company` in the language of the letter
        :param str lang: code of that language
        :return: dict, part of what `_get_letter_values` returns
        """
        company = company.sudo().with_context(lang=lang)
        details = self._get_company_details(company)
        primary = company.primary_color if self._is_color(company.primary_color) else DEFAULT_PRIMARY
        secondary = company.secondary_color if self._is_color(company.secondary_color) else primary
        return {
            'company': company,
            'side': self._get_address_side(company),
            # wkhtmltopdf with unpatched Qt makes 75 points of a CSS inch's 96, whatever it is told
            'core_zoom': 1 if _wkhtml().is_patched_qt else 1.28,
            'direction': self.env['res.lang']._get_data(code=lang).direction or 'ltr',
            'html_lang': lang.replace('_', '-').partition('@')[0],
            'font_family': (company.font or 'Lato').replace('_', ' '),
            'font_faces': self._get_font_faces(company.font or 'Lato'),
            'primary': primary,
            'secondary': secondary,
            # A colour chosen for areas may be too light to read as text on white.
            'heading_color': primary if self._is_readable(primary) else TEXT_COLOR,
            'logo': self._get_logo(company),
            'tagline': company.report_header if not is_html_empty(company.report_header) else '',
            'details': details,
            'report_footer': company.report_footer if not is_html_empty(company.report_footer) else '',
            **self._get_letterhead_sizes(company, details),
            'place': company.city or '',
        }

    @api.model
    def _get_address_side(self, company):
        """Return on which side of the letter the recipient's address lies.

        :param company: `res.company` that sends the letter
        :return: `right` or `left`
        """
        if company.dunning_letter_layout in ('right', 'left'):
            return company.dunning_letter_layout
        return 'right' if company.country_id.code in ADDRESS_RIGHT_COUNTRIES else 'left'

    @api.model
    def _get_font_faces(self, font):
        """Return the CSS that brings a font of the document layout settings along.

        :param str font: a key of `FONTS`; unknown ones are left to the system
        """
        faces = zip(FONTS.get(font, ()), (('400', 'normal'), ('700', 'normal'), ('400', 'italic')), strict=False)
        return Markup('').join(
            Markup("@font-face{font-family:'%s';src:url('/web/static/fonts/%s');font-weight:%s;font-style:%s}") % (
                font.replace('_', ' '), path, weight, style)
            for path, (weight, style) in faces if path
        )

    @api.model
    def _get_logo(self, company):
        """Return the company's logo as a `data:` address, False when it has none of its own."""
        if not company.logo or company.uses_default_logo:
            return False
        logo = image_process(base64.b64decode(company.logo), size=LOGO_SIZE)
        return image_data_uri(base64.b64encode(logo))

    @api.model
    def _get_company_details(self, company):
        """Return the company's address block: what the document layout settings say, else what the company says."""
        if html2plaintext(company.company_details or ''):
            return company.company_details
        partner = company.partner_id
        lines = [company.name, *self._split_address(partner, without_country=True)]
        lines += [company.phone, company.email, company.website and re.sub(r'^https?://', '', company.website)]
        if company.vat:
            lines.append(company.vat)
        return Markup('<br/>').join(line for line in lines if line)

    @staticmethod
    def _is_color(color):
        return bool(color and re.fullmatch(r'#[0-9a-fA-F]{6}', color))

    @staticmethod
    def _is_readable(color):
        """Whether text of a colour has enough contrast to white (WCAG: 4.5 to 1)."""
        channels = [int(color[i:i + 2], 16) / 255 for i in (1, 3, 5)]
        red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
        return 1.05 / (0.2126 * red + 0.7152 * green + 0.0722 * blue + 0.05) >= 4.5

    # === RECIPIENT === #

    @api.model
    def _get_sender_line(self, notice):
        """Return where the post takes the letter back to, in one line above the recipient's address."""
        company = notice.company_id.sudo()
        is_domestic = self._is_domestic(notice)
        parts = (
            company.name,
            ', '.join(filter(None, (company.street, company.street2))),
            ' '.join(filter(None, (not is_domestic and company.country_id.code, company.zip, company.city))),
        )
        return qr.clean_text(' · '.join(part for part in parts if part))

    @api.model
    def _is_domestic(self, notice):
        country = notice._get_addressee().country_id
        return not country or country == notice.company_id.country_id

    @api.model
    def _get_address_lines(self, notice):
        """Return the lines of the recipient's address, as its country writes them.

        The country comes last, in capitals, and only on letters that leave the company's country.

        :param notice: `dunning.notice`, one record
        :return: list of str
        """
        recipient = notice._get_addressee()
        commercial = recipient.commercial_partner_id
        lines = []
        # An address of a company often has no name of its own, or names a person or department in it.
        if (commercial != recipient and commercial.is_company) or not recipient.name:
            lines.append(commercial.name)
        if recipient.name and recipient.name not in lines:
            lines.append(recipient.name)
        lines += self._split_address(recipient, without_country=self._is_domestic(notice))
        return [line for line in map(qr.clean_text, lines) if line]

    @api.model
    def _split_address(self, partner, without_country=False):
        # The company's name is added above, where it is not the recipient's own.
        address_format, values = partner._prepare_display_address(without_company=True)
        values['country_name'] = '' if without_country else (values['country_name'] or '').upper()
        return [line.strip(' ,') for line in (address_format % values).splitlines() if line.strip(' ,')]

    @api.model
    def _get_clerk_values(self, notice):
        """Return name, phone and mail of the person whom the customer may ask."""
        user, company = notice.user_id.sudo(), notice.company_id.sudo()
        return {
            'name': user.name or '',
            'phone': user.phone or company.phone or '',
            'email': user.email or company.email or '',
        }

    # === PAYMENT === #

    @api.model
    def _get_bank_values(self, part):
        """Return the account to pay into. What a code says too is read from it: the two never differ.

        :param dict part: what `dunning.notice._get_payment_part()` returned
        :return: dict of number, bank, bic and holder; empty when there is none
        """
        account, lines = part['account'], part['lines'] if part['method'] == 'epc' else []
        if not account:
            return {}
        is_iban = account.acc_type == 'iban'
        return {
            'number': qr.format_iban(part['number']) if is_iban else account.acc_number or '',
            'is_iban': is_iban,
            'bank': account.bank_name or '',
            'bic': lines[qr.EPC_BIC] if lines else account.bank_bic or '',
            'holder': lines[qr.EPC_NAME] if lines else account.acc_holder_name or account.partner_id.name or '',
        }

    @api.model
    def _get_slip_values(self, part, lang):
        """Return what a QR-bill shows. All of it is read from the code's content: the two never differ.

        :param dict part: what `dunning.notice._get_payment_part()` returned, method `swiss`
        :param str lang: code of the letter's language
        :return: dict for the template `dunning_mail.letter_slip`
        """
        lines = part['lines']

        def address(start):
            name, street, building, postcode, city, country = lines[start:start + 6]
            # Foreign towns bear the country's code, as SIX wants it; at home it may be left out.
            town = f'{postcode} {city}' if country in ('CH', 'LI') else f'{country} {postcode} {city}'
            return [line for line in (name, f'{street} {building}'.strip(), town.strip()) if line]

        values = {
            'words': SLIP_WORDS.get(lang.partition('_')[0], SLIP_WORDS['en']),
            'code': qr.data_uri(qr.render_svg('\n'.join(lines), cross=True)),
            'account': qr.format_iban(lines[qr.SWISS_ACCOUNT]),
            'creditor': address(qr.SWISS_CREDITOR),
            'debtor': address(qr.SWISS_DEBTOR),
            'currency': lines[qr.SWISS_CURRENCY],
            'amount': f'{float(lines[qr.SWISS_AMOUNT]):,.2f}'.replace(',', '\u00a0'),
            'reference': qr.format_reference(lines[qr.SWISS_REFERENCE]),
            'message': lines[qr.SWISS_MESSAGE],
        }
        return {**values, **self._get_slip_sizes(values)}

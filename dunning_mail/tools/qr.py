"""Payment references and QR codes. Plain Python: it knows nothing of Odoo.

What a code says is the caller's business; here it becomes a picture, and numbers get their check digits.
"""

import base64
import re
import string
import unicodedata

from stdnum import iso11649
from stdnum.ch import esr
from stdnum.iso7064 import mod_97_10

from .addresses import clean, strip_emoji

# Bank numbers (digits 5 to 9 of a Swiss IBAN) that make it a QR-IBAN.
QR_BANKS = range(30000, 32000)
# What a Swiss QR code may hold: Latin letters of the blocks that SIX names, and these.
SWISS_EXTRA = 'ȘșȚț€'
# What is often typed in place of what a Swiss QR code may hold.
SWISS_INSTEAD = str.maketrans({
    **dict.fromkeys('\u2010\u2011\u2013\u2014\u2212\u2022', '-'), **dict.fromkeys('\u2018\u2019\u201A', "'"),
    **dict.fromkeys('\u201C\u201D\u201E', '"'), '\u2026': '...'})
# Places in the content of a Swiss QR code (SIX, version 2.3), and the most characters that each of them holds.
SWISS_ACCOUNT, SWISS_CREDITOR, SWISS_AMOUNT, SWISS_CURRENCY, SWISS_DEBTOR = 3, 5, 18, 19, 21
SWISS_REFERENCE_TYPE, SWISS_REFERENCE, SWISS_MESSAGE = 27, 28, 29
SWISS_ADDRESS_LENGTHS = (70, 70, 16, 16, 35, 2)
SWISS_LENGTHS = {
    **{start + index: length for start in (SWISS_CREDITOR, SWISS_DEBTOR)
       for index, length in enumerate(SWISS_ADDRESS_LENGTHS)},
    SWISS_ACCOUNT: 21, SWISS_AMOUNT: 12, SWISS_CURRENCY: 3, SWISS_REFERENCE: 27, SWISS_MESSAGE: 140}
SWISS_LIMIT = 997
# The same of an EPC code (EPC069-12, version 2): its limit is in bytes.
EPC_BIC, EPC_NAME = 4, 5
EPC_NAME_LENGTH, EPC_TEXT_LENGTH, EPC_LIMIT = 70, 140, 331
# The European Economic Area, by the first letters of an IBAN: elsewhere a transfer must name the bank's BIC.
EEA = frozenset(
    'AT BE BG HR CY CZ DE DK EE ES FI FR GR HU IE IS IT LI LT LU LV MT NL NO PL PT RO SE SI SK'.split())
# The Swiss cross takes this much of the code's width: 7 of 46 mm.
CROSS_SHARE = 7 / 46


def make_qr_reference(payload: str) -> str:
    """Return a Swiss QR reference.

    :param str payload: at most 26 digits
    :return: 27 digits, the last one is the check digit
    :raises ValueError: these are no digits, or too many
    """
    if not re.fullmatch(r'[0-9]{1,26}', payload):
        raise ValueError('a QR reference is made of at most 26 digits')
    return f'{payload.zfill(26)}{esr.calc_check_digit(payload)}'


def is_qr_reference(reference: str) -> bool:
    """Tell whether this is a Swiss QR reference: 27 digits with the right check digit, no spaces."""
    return bool(re.fullmatch(r'[0-9]{27}', reference or '')) and make_qr_reference(reference[:26]) == reference


def make_creditor_reference(payload: str) -> str:
    """Return a creditor reference by ISO 11649.

    :param str payload: at most 21 letters and digits
    :return: `RF`, two check digits and the payload, without spaces
    :raises ValueError: other characters, or too many
    """
    payload = payload.upper()
    if not re.fullmatch(r'[0-9A-Z]{1,21}', payload):
        raise ValueError('a creditor reference is made of at most 21 letters and digits')
    return f'RF{mod_97_10.calc_check_digits(payload + "RF")}{payload}'


def is_creditor_reference(reference: str) -> bool:
    """Tell whether this is a creditor reference by ISO 11649, without spaces."""
    reference = (reference or '').upper()
    # the pattern too: the library takes separators, and letters in place of the check digits
    return bool(re.fullmatch(r'RF[0-9]{2}[0-9A-Z]{1,21}', reference)) and iso11649.is_valid(reference)


def format_reference(reference: str) -> str:
    """Group a reference as payment slips do; anything else is given back as it is.

    :param str reference: without spaces
    :return: with non-breaking spaces between the groups
    """
    if is_qr_reference(reference):
        return esr.format(reference).replace(' ', '\u00a0')
    return _group_in_fours(reference) if is_creditor_reference(reference) else reference


def format_iban(iban: str) -> str:
    """Group an IBAN in fours, by non-breaking spaces."""
    return _group_in_fours(re.sub(r'\s', '', iban))


def _group_in_fours(text: str) -> str:
    # as it was written: the library would turn small letters into capitals
    return '\u00a0'.join(text[i:i + 4] for i in range(0, len(text), 4))


def is_qr_iban(iban: str) -> bool:
    """Tell whether a Swiss or Liechtenstein IBAN is a QR-IBAN, which takes QR references only."""
    compact = re.sub(r'\s', '', iban or '').upper()
    return compact[:2] in ('CH', 'LI') and compact[4:9].isdigit() and int(compact[4:9]) in QR_BANKS


def clean_swiss_text(text: str) -> str:
    """Keep of a text what a Swiss QR code may hold.

    :param str text: a line of the code
    :return: letters of other scripts become what they are made of, or a full stop; no line breaks
    """
    def is_allowed(character):
        code = ord(character)
        return 0x20 <= code <= 0x7E or 0xA0 <= code <= 0x17F or character in SWISS_EXTRA

    text = clean_text(text).translate(SWISS_INSTEAD)
    if all(map(is_allowed, text)):
        return text
    return ''.join(
        character if is_allowed(character)
        else ''.join(filter(is_allowed, unicodedata.normalize('NFKD', character))) or '.'
        for character in text)


def clean_text(text: str) -> str:
    """Return a text in one line, without what nobody sees and without pictures in colour."""
    return ' '.join(strip_emoji(clean(unicodedata.normalize('NFC', text or ''), keep_joiners=False)).split())


def is_transferable(text: str) -> bool:
    """Tell whether a text arrives as it is when it is put into a transfer: it is short, and nothing is cleaned off."""
    text = text or ''
    return len(text) <= EPC_TEXT_LENGTH and clean_swiss_text(text) == text


def fit_swiss(lines: list[str]) -> tuple[list[str], bool]:
    """Bring the content of a Swiss QR code to what the standard allows: characters first, lengths then.

    :param lines: the 31 lines
    :return: (lines, whether something had to be shortened)
    """
    is_shortened, fitting = False, []
    for index, line in enumerate(lines):
        text = clean_swiss_text(line)
        length = SWISS_LENGTHS.get(index, len(text))
        is_shortened |= len(text) > length
        fitting.append(text[:length].rstrip())
    return fitting, is_shortened


def find_swiss_fault(lines: list[str]) -> str:
    """Say what of a Swiss QR code's content the standard does not allow.

    :param lines: the 31 lines, as `fit_swiss()` gives them
    :return: `creditor`, `debtor`, `amount`, `reference`, `account`, `length`, or nothing
    """
    for fault, start in (('creditor', SWISS_CREDITOR), ('debtor', SWISS_DEBTOR)):
        name, _street, _building, postcode, town, country = lines[start:start + 6]
        # structured addresses only
        if lines[start - 1] != 'S' or not all((name, postcode, town)) or not re.fullmatch('[A-Z]{2}', country):
            return fault
    if not re.fullmatch(r'(?!0\.00)(0|[1-9][0-9]{0,8})\.[0-9]{2}', lines[SWISS_AMOUNT]):
        return 'amount'
    if not re.fullmatch('(CH|LI)[0-9A-Z]{19}', lines[SWISS_ACCOUNT]) or lines[SWISS_CURRENCY] not in ('CHF', 'EUR'):
        return 'account'
    reference, kind = lines[SWISS_REFERENCE], lines[SWISS_REFERENCE_TYPE]
    fits = {
        'QRR': is_qr_reference(reference), 'SCOR': is_creditor_reference(reference), 'NON': not reference}.get(kind)
    if not fits or (kind == 'QRR') != is_qr_iban(lines[SWISS_ACCOUNT]):
        return 'reference'
    if len('\n'.join(lines)) > SWISS_LIMIT:
        return 'length'
    return ''


def make_epc(name: str, iban: str, amount: float, reference: str, bic: str = '') -> tuple[list[str], bool]:
    """Return the content of an EPC code (EPC069-12, version 002).

    :param str name: of whom the account belongs to
    :param float amount: in EUR
    :param str reference: a creditor reference without spaces, or any text
    :return: (lines, whether the name had to be shortened)
    :raises ValueError: `bic`, `amount`, `name` or `length`: what it cannot say
    """
    bic = ''.join(bic.split()).upper()
    if not re.fullmatch('[A-Z]{6}[0-9A-Z]{2}([0-9A-Z]{3})?', bic):
        bic = ''
    if not bic and iban[:2] not in EEA:
        raise ValueError('bic')
    if not 0.005 <= amount < 1_000_000_000:
        raise ValueError('amount')
    name, reference = clean_text(name), clean_text(reference)
    if not name:
        raise ValueError('name')
    is_structured = is_creditor_reference(reference)
    lines = [
        'BCD', '002', '1', 'SCT', bic, name[:EPC_NAME_LENGTH].rstrip(), iban, f'EUR{amount:.2f}', '',
        reference if is_structured else '', '' if is_structured else reference]
    # nothing may follow the last line that says something
    while not lines[-1]:
        lines.pop()
    if len(reference) > EPC_TEXT_LENGTH or len('\n'.join(lines).encode()) > EPC_LIMIT:
        raise ValueError('length')
    return lines, len(name) > EPC_NAME_LENGTH


def render_svg(payload: str, *, cross: bool = False) -> str:
    """Draw a QR code, error correction level M, without a quiet zone.

    :param str payload: what it says, in UTF-8
    :param bool cross: put the Swiss cross in the middle, as QR-bills have it
    :return: an SVG picture as wide as it is told to be
    :raises ValueError: more than a code can hold
    """
    import qrcode  # noqa: PLC0415  only whoever draws pays for loading it
    from qrcode.exceptions import DataOverflowError  # noqa: PLC0415
    from qrcode.util import MODE_8BIT_BYTE, QRData  # noqa: PLC0415

    # Choosing the best of eight patterns takes eight times as long, and readers need only know which one it is.
    code = qrcode.QRCode(error_correction=qrcode.constants.ERROR_CORRECT_M, mask_pattern=0)
    code.add_data(QRData(payload.encode(), mode=MODE_8BIT_BYTE))
    try:
        code.make(fit=True)
    except (DataOverflowError, ValueError) as error:
        raise ValueError('more than a QR code can hold') from error
    size = len(code.modules)
    # The library's own picture, a path of single squares, takes thrice as long and is nearly twice as large.
    # Each part is a little higher than its row, or some viewers show a fine white line between two rows.
    parts = [
        f'M{run.start()} {y}h{len(run.group())}v1.02h-{len(run.group())}z'
        for y, row in enumerate(code.modules)
        for run in re.finditer('1+', ''.join('01'[module] for module in row))]
    middle = ''
    if cross:
        width = size * CROSS_SHARE
        start, unit = (size - width) / 2, width / 19.8
        middle = (
            f'<g transform="translate({start:.4f} {start:.4f}) scale({unit:.5f})">'
            '<path fill="#fff" d="M0 0h19.8v19.8h-19.8z"/><path d="M1.42 1.42h16.96v16.96h-16.96z"/>'
            '<path fill="#fff" d="M8.3 4h3.3v11h-3.3zM4.4 7.9h11v3.3h-11z"/></g>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size} {size}">'
        f'<path d="{"".join(parts)}"/>{middle}</svg>')


def data_uri(svg: str) -> str:
    """Return an SVG picture as an address that needs nothing from outside."""
    return f'data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}'


# Letters and digits that a reference may be written with between its spaces.
_REFERENCE_CHARACTERS = string.ascii_uppercase + string.digits


def find_references(text: str) -> set[str]:
    """Find what may be a reference in the words of a payment.

    :param str text: whatever the bank or the payer wrote
    :return: the whole text without spaces, and all QR and creditor references in it, with right check digits
    """
    text = ' '.join((text or '').split())
    if not text:
        return set()
    found = {text, text.replace(' ', '')}
    # Numbers may stand before it: every group may be the first one of a reference.
    for match in re.finditer(r'(?<![0-9])(?=((?:[0-9] ?){26}[0-9])(?![0-9]))', text):
        found.add(match.group(1).replace(' ', ''))
    for match in re.finditer(r'(?i)\bRF[0-9]{2}', text):
        # where it ends is unknown: the check digits tell
        tail = text[match.start():].upper()
        compact = ''
        for position, character in enumerate(tail):
            if character == ' ':
                continue
            if character not in _REFERENCE_CHARACTERS or len(compact) == 25:
                break
            compact += character
            # What goes on without a space is another, longer one.
            if not tail[position + 1:position + 2].isalnum() and is_creditor_reference(compact):
                found.add(compact)
    return {candidate for candidate in found if not re.fullmatch(r'[0-9]{27}', candidate) or is_qr_reference(candidate)}

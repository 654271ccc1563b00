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

# Bank numbers (digits 5 to 9 of a Swiss IBAN) that make it a QR-IBAN.
QR_BANKS = range(30000, 32000)
# What a Swiss QR code may hold: Latin letters of the blocks that SIX names, and these.
SWISS_EXTRA = 'ȘșȚț€'
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

    text = ' '.join(unicodedata.normalize('NFC', text or '').split())
    if all(map(is_allowed, text)):
        return text
    return ''.join(
        character if is_allowed(character)
        else ''.join(filter(is_allowed, unicodedata.normalize('NFKD', character))) or '.'
        for character in text)


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
    for match in re.finditer(r'(?<![0-9])(?:[0-9] ?){26}[0-9](?![0-9])', text):
        found.add(match.group().replace(' ', ''))
    for match in re.finditer(r'(?i)\bRF[0-9]{2}', text):
        # where it ends is unknown: the check digits tell
        tail = text[match.start():].upper()
        compact = ''
        for character in tail:
            if character == ' ':
                continue
            if character not in _REFERENCE_CHARACTERS or len(compact) == 25:
                break
            compact += character
            if is_creditor_reference(compact):
                found.add(compact)
    return {candidate for candidate in found if not re.fullmatch(r'[0-9]{27}', candidate) or is_qr_reference(candidate)}

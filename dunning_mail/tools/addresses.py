"""What is typed and pasted into names and addresses, and what of it nobody sees. Plain Python."""

import re
import unicodedata

# Invisible, though they are no format characters: variation selectors, fillers, a joiner that joins nothing.
_INVISIBLE = {0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFFA0, *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)}
# They look like nothing, but decide how letters of some scripts join.
_JOINERS = {0x200C, 0x200D}
# Pictures in colour, which no font for print has, and what belongs to them: keycaps, flags, shades.
_EMOJI = (
    '(?:[\U0001F000-\U0001FAFF\U000E0020-\U000E007F\u20E3\uFE0E\uFE0F]+'
    '(?:\u200D+(?=[\U0001F000-\U0001FAFF\u2600-\u27BF]))?)+')


def clean(text, keep_joiners=True):
    """Leave out of a text what nobody sees: zero-width spaces, soft hyphens, byte order marks, marks of direction.

    :param str text: what a person typed or pasted; may be empty
    :param bool keep_joiners: keep the characters that join letters of some scripts, for names; never in mail addresses
    :return: str; line breaks and other spaces are left as they are
    """
    def is_kept(character):
        code = ord(character)
        if code in _JOINERS:
            return keep_joiners
        return code not in _INVISIBLE and unicodedata.category(character) != 'Cf'

    text = text or ''
    return text if text.isascii() else ''.join(filter(is_kept, text))


def strip_emoji(text):
    """Leave out pictures that no font for print has: they would come out as boxes.

    :param str text: any text, HTML too
    :return: the text without them; a space before one goes with it where none is needed
    """
    if text.isascii() or not re.search(_EMOJI, text):
        return text
    return re.sub(_EMOJI, '', re.sub(rf' {_EMOJI}(?=[\s,.;:!?<)]|$)', '', text))


def clean_mail(text):
    """Return the text of a mail field as it was meant.

    :param str text: one or several mail addresses
    :return: without what nobody sees; a slash after a whole address, where none can be part of it, parts two of them
    """
    return re.sub(r'(@[^\s,;/@<>"]+)\s*/\s*(?=[^\s,;/@<>"]+@)', r'\1, ', clean(text, keep_joiners=False))


def find_odd_character(text):
    """Return the first character that keeps a text from being a mail address though it looks like one.

    :param str text: cleaned
    :return: its code and name, such as `U+0430 CYRILLIC SMALL LETTER A`; empty where there is none
    """
    local, _at, _domain = text.rpartition('@')
    # Letters of all scripts may stand in a domain, none but the English ones before it.
    for character in local or text:
        if ord(character) > 0x7E:
            return describe_character(character)
    return ''


def describe_character(character):
    """Return code and name of a character, for people who cannot see what is wrong with it."""
    return f'U+{ord(character):04X} {unicodedata.name(character, "")}'.strip()

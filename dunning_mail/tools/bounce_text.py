"""Read reports of undelivered mail that mail systems write as plain text.

Exim (as IONOS, T-Online and many hosts run it), qmail, sendmail, Postfix and Exchange all name an address at the
beginning of a line, with or without angle brackets, and give the reason behind or below it. What they mean is taken
from a reply code where there is one, else from the words of the whole text; what says neither is left open.
"""
from __future__ import annotations

import html
import itertools
import re
from typing import NamedTuple

__all__ = ['MAX_TEXT', 'FailedAddress', 'has_code', 'read_recipients', 'split_returned', 'strip_tags']

# Of a text that is longer, the end is the returned mail's body.
MAX_TEXT = 100_000
_MAX_ADDRESSES = 50
# Lines of a reason.
_MAX_LINES = 8


class FailedAddress(NamedTuple):
    """An address, what became of it (as RFC 3464 has it, or empty) and the words about it."""
    address: str
    action: str
    words: str


# A line that begins with an address, and says nothing before it but what these programs put there.
_ADDRESS_LINE = re.compile(
    r'^[ \t>*•-]{0,12}(?:(?:recipient|empf(?:ä|ae|=e4)nger|to|an|address|adresse)\s*:\s*)?'
    r'(?:"[^"\n]{0,80}"\s*)?<?(?:mailto:)?([^\s<>@,;:()"]{1,64}@[^\s<>@,;:()"\'\]]{1,250})>?(?=[\s:,;(]|$)(.*)$',
    re.MULTILINE | re.IGNORECASE)
# Behind this the mail itself follows.
_RETURNED = re.compile(
    r'^[-=_* \t]{0,40}(?:this is a copy of (?:the|your) message|below this line is a copy of the message'
    r'|original (?:message|headers|mail)|returned (?:message|mail)|message (?:header|headers) follow'
    r'|(?:the )?(?:header|headers|first \d+ lines) of the (?:original|message)|undelivered message'
    r'|kopie (?:der|ihrer) (?:nachricht|e-?mail)|urspr(?:ü|ue)ngliche (?:nachricht|kopfzeilen)).*$',
    re.MULTILINE | re.IGNORECASE)
_HEADER_LINE = re.compile(
    r'^[ \t>|]{0,4}(?:Return-Path|Received|DKIM-Signature|Message-ID|MIME-Version|X-Odoo-Objects|Auto-Submitted): ?\S',
    re.MULTILINE | re.IGNORECASE)
_CODE = re.compile(r'(?<![\d.])([45])\d\d[ -]')
_DELAYED = re.compile(
    r'will (?:be re-?tried|keep trying|try again|continue)|(?:has been|is|was) delayed|not yet been|still being tried'
    r'|warning message only|do not need to resend|wird weiter versucht|verz(?:ö|oe)ger|erneut versuch|noch nicht',
    re.IGNORECASE)
_FAILED = re.compile(
    r'permanent|undeliverable|fatal error|has failed|have failed|addresses? failed|could ?n[o\']t be delivered'
    r'|was(?:n.t| not) delivered|unable to deliver|not been delivered|returned to sender|giving up|delivery failed'
    r'|unzustellbar|nicht zugestellt|nicht zustell|dauerhaft|fehlgeschlagen|non remis|n.a pas pu|non .{0,20}consegnat',
    re.IGNORECASE)


def strip_tags(text: str) -> str:
    """:return: the words of an HTML text, a line for each of its lines"""
    text = re.sub(r'<(?:style|script)\b.*?</(?:style|script)>', ' ', text, flags=re.DOTALL | re.IGNORECASE)
    text = re.sub(r'<(?:br|/p|/div|/tr|/li|/h\d)\b[^>]*>', '\n', text, flags=re.IGNORECASE)
    return html.unescape(re.sub(r'<[^>@]*>', ' ', text))


def split_returned(text: str) -> tuple[str, str]:
    """Part what a report says from the mail that it returns.

    :return: (the report's own words, the returned mail from its first header on; empty where there is none)
    """
    text = text[:MAX_TEXT]
    starts = [match.start() for match in (_RETURNED.search(text), _HEADER_LINE.search(text)) if match]
    if not starts:
        return text, ''
    said, returned = text[:min(starts)], text[min(starts):]
    header = _HEADER_LINE.search(returned)
    if not header:
        return said, ''
    # From the beginning of the header: of its lines, the first may be any.
    before = returned[:header.start()].rpartition('\n\n')[2] if '\n\n' in returned[:header.start()] else ''
    lines = (before + returned[header.start():]).splitlines()
    quote = re.match(r'[ \t>|]*', lines[0] if not before else header[0])[0]
    return said, '\n'.join(line.removeprefix(quote) for line in lines)


def read_recipients(text: str, named: list[str], subject: str) -> list[FailedAddress]:
    """Find the addresses that a report is about.

    :param text: the report's own words
    :param named: addresses of a header that says so (``X-Failed-Recipients``); none others are looked for then
    :param subject: may say what the text does not: that it has failed, or is late
    :return: in the order of the text, each address once
    """
    overall = next((action for part in (text, subject) for action, words in (
        ('delayed', _DELAYED), ('failed', _FAILED)) if words.search(part)), '')
    known = {address.lower(): address for address in named}
    found: dict[str, FailedAddress] = {}
    matches = list(_ADDRESS_LINE.finditer(text))
    for match, following in itertools.zip_longest(matches, matches[1:]):
        address = match[1].rstrip('.')
        if address.lower() in found or (known and address.lower() not in known) or len(found) >= _MAX_ADDRESSES:
            continue
        end = following.start() if following else len(text)
        words = _get_words(match[2], text[match.end():end])
        if known or overall or _CODE.match(words):
            found[address.lower()] = FailedAddress(address, _read_action(words, overall), words)
    for key, address in known.items():
        # The header itself says that they have failed.
        one = found.get(key, FailedAddress(address, '', ''))
        found[key] = one._replace(action=one.action or 'failed')
    return list(found.values())


def _get_words(rest: str, below: str) -> str:
    """:return: what is said of an address: behind it, and in the lines below up to an empty one"""
    paragraph = re.match(r'(?:[ \t]*\r?\n)*', below)
    lines = []
    for line in below[paragraph.end():].splitlines():
        if not line.strip() or re.search(r'[-=_*]{5}', line) or len(lines) >= _MAX_LINES:
            break
        lines.append(line.strip())
    words = ' '.join([rest.strip(' \t:>'), *lines]).strip()
    code = _CODE.search(words)
    return words[code.start():] if code else words


def has_code(words: str) -> bool:
    """Whether words about an address have a code that only mail systems write."""
    return bool(_find_code(words))


def _find_code(words: str) -> re.Match | None:
    return _CODE.match(words) or re.search(r'\b([45])\.\d{1,3}\.\d{1,3}\b', words)


def _read_action(words: str, overall: str) -> str:
    code = _find_code(words)
    if overall == 'delayed' or not code:
        return overall
    # A passing fault is given up on in the end: then the text says so.
    return 'failed' if code[1] == '5' else overall

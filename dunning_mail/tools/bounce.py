"""Read reports of undelivered mail: what became of a mail after the server had taken it.

The standard form (RFC 3464), as Postfix, Exim, Exchange, Gmail and most others send it, and the plain text of older
Exim, which names the recipients in a header. Plain Python; nothing here knows Odoo.
"""
from __future__ import annotations

import dataclasses
import email.message
import re

from . import smtp

__all__ = ['RecipientReport', 'Report', 'read_report']


@dataclasses.dataclass(frozen=True)
class RecipientReport:
    """What a report says of one recipient.

    :ivar address: bare address of Final-Recipient, else of Original-Recipient
    :ivar action: ``failed``, ``delayed``, ``delivered``, ``relayed`` or ``expanded`` (RFC 3464, 2.3.3)
    :ivar status: RFC 3463 code
    :ivar diagnostic: the words of the server that refused
    :ivar remote_mta: that server
    """

    address: str
    action: str
    status: str = ''
    diagnostic: str = ''
    remote_mta: str = ''

    @property
    def is_failed(self) -> bool:
        """Whether the mail will never arrive. A report of failure may quote the last passing fault (4.x.x)."""
        return self.action == 'failed'

    @property
    def blames_address(self) -> bool:
        """Whether the fault lies in the address itself, so that the next mail would fare no better."""
        match = re.match(r'(5\d\d)[ -]', self.diagnostic)
        words = re.sub(r'^5\d\d[ -]', '', self.diagnostic)
        if self.status and not re.match(r'5\.\d+\.\d+', words):
            words = f'{self.status} {words}'
        return smtp.classify(smtp.Stage.RCPT, int(match[1]) if match else 550, words).blames_address \
            and not self.status.startswith('4.')

    def describe(self) -> str:
        """In one line, as it would stand in a log."""
        return ' '.join(part for part in (
            self.address, self.action, self.status, self.diagnostic,
            self.remote_mta and f'({self.remote_mta})') if part)


@dataclasses.dataclass(frozen=True)
class Report:
    """What a report says.

    :ivar recipients: what became of each recipient; none when that cannot be read
    :ivar original_ids: Message-IDs of the mail that is returned, as its own header or the report's fields have them
    :ivar mentioned_ids: Message-IDs that the report refers to otherwise: as an answer to, or in its text. To be looked
        at only where the returned mail is missing, since a text can mention anything.
    """

    recipients: tuple[RecipientReport, ...] = ()
    original_ids: tuple[str, ...] = ()
    mentioned_ids: tuple[str, ...] = ()


# RFC 5322, 3.6.4, as it is found in the wild; bounded, for the text can be anybody's.
_MESSAGE_ID = re.compile(r'<[^<>@\s]{1,250}@[^<>@\s]{1,250}>')
# Of a text that is longer, the end is the returned mail's body.
_MAX_TEXT = 100_000
_MAX_IDS = 50


def read_report(message: email.message.Message) -> Report:
    """Read the machine-readable part of a report.

    :param message: the mail that came in
    :return: without recipients when it has no such part
    """
    recipients, originals, mentioned = [], [], []
    for name in ('In-Reply-To', 'References'):
        mentioned += _ids(message.get(name, ''))
    for part, is_returned in _walk(message):
        kind = part.get_content_type()
        if is_returned:
            for name in ('Message-ID', 'X-Microsoft-Original-Message-ID'):
                originals += _ids(part.get(name, ''))
            continue
        if kind == 'text/rfc822-headers':
            header = email.message_from_string(_text(part))
            originals += _ids(header.get('Message-ID', ''))
            continue
        if kind in ('text/plain', 'text/html'):
            mentioned += _ids(_text(part))
            continue
        if kind not in ('message/delivery-status', 'message/global-delivery-status') or not part.is_multipart():
            continue
        for fields in part.get_payload():
            originals += _ids(fields.get('X-Original-Message-ID', ''))
            address = _typed(fields, 'Final-Recipient') or _typed(fields, 'Original-Recipient')
            if address:
                recipients.append(RecipientReport(
                    address=address.strip('<>'), action=_value(fields, 'Action').lower(),
                    status=(re.match(r'[245]\.\d{1,3}\.\d{1,3}', _value(fields, 'Status')) or [''])[0],
                    diagnostic=_typed(fields, 'Diagnostic-Code'), remote_mta=_typed(fields, 'Remote-MTA')))
    if not recipients:
        recipients = _read_failed_header(message)
    return Report(tuple(recipients), tuple(dict.fromkeys(originals)), tuple(dict.fromkeys(mentioned)))


def _walk(message: email.message.Message):
    """Yield the parts of a report, and whether a part is the returned mail; nothing of what is inside of that one."""
    if message.get_content_type() in ('message/rfc822', 'message/global') and message.is_multipart():
        yield message.get_payload()[0], True
        return
    yield message, False
    if message.is_multipart() and message.get_content_maintype() == 'multipart':
        for part in message.get_payload():
            yield from _walk(part)


def _read_failed_header(message: email.message.Message) -> list[RecipientReport]:
    """Exim's ``X-Failed-Recipients``, with the lines of the text below the address as the server's words."""
    addresses = re.findall(r'[^\s,<>]+@[^\s,<>]+', str(message.get('X-Failed-Recipients', '')))
    if not addresses:
        return []
    text = next((_text(part) for part in message.walk() if part.get_content_type() == 'text/plain'), '')
    found = []
    for address in dict.fromkeys(addresses):
        match = re.search(
            rf'^[ \t]+{re.escape(address)}[ \t]*\r?\n((?:[ \t]+\S.*\r?\n?){{1,8}})', text, re.MULTILINE | re.IGNORECASE)
        words = _one_line(match[1]) if match else ''
        code = re.search(r'\b5\d\d[ -].*', words)
        status = re.search(r'\b5\.\d{1,3}\.\d{1,3}\b', words)
        found.append(RecipientReport(
            address=address, action='failed', status=status[0] if status else '',
            diagnostic=code[0] if code else words))
    return found


def _text(part: email.message.Message) -> str:
    """:return: the text of a part, whatever its encoding claims to be"""
    try:
        content = part.get_payload(decode=True) or b''
        return content[:_MAX_TEXT].decode(part.get_content_charset() or 'ascii', 'replace')
    except (LookupError, ValueError):
        return content[:_MAX_TEXT].decode('ascii', 'replace')


def _ids(text: object) -> list[str]:
    return _MESSAGE_ID.findall(str(text)[:_MAX_TEXT])[:_MAX_IDS]


def _value(fields: email.message.Message, name: str) -> str:
    """:return: a field on one line, without control characters, of a length that can be shown"""
    return _one_line(str(fields.get(name, '')))


def _one_line(text: str) -> str:
    return ''.join(c for c in ' '.join(text.split()) if c.isprintable())[:smtp.MAX_TEXT]


def _typed(fields: email.message.Message, name: str) -> str:
    """:return: a field's value behind its type, as in ``rfc822; a@b.test``"""
    kind, separator, value = _value(fields, name).partition(';')
    return (value if separator else kind).strip()

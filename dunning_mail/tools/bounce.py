"""Read what machines write about a mail that was sent: reports of delivery, read receipts, complaints.

The standard forms (RFC 3464 and 6533, 8098, 5965) in whichever encoding they come; where there is none, the plain text
of Exim, qmail, sendmail and others is left to :mod:`.bounce_text`. Plain Python; nothing here knows Odoo.
"""
from __future__ import annotations

import base64
import binascii
import dataclasses
import email.message
import email.parser
import email.policy
import quopri
import re
from collections.abc import Iterator
from enum import StrEnum

import idna

from . import bounce_text, smtp
from .bounce_text import MAX_TEXT

__all__ = ['Kind', 'RecipientReport', 'Report', 'normalize', 'read_report']


class Kind(StrEnum):
    """What a mail is."""

    DELIVERY = 'delivery'    # what became of a mail on its way
    RECEIPT = 'receipt'      # what its reader did with it (RFC 8098)
    COMPLAINT = 'complaint'  # what its reader says of it to his provider (RFC 5965)
    LETTER = 'letter'        # anything else: from a person, or a machine in her place


@dataclasses.dataclass(frozen=True)
class RecipientReport:
    """What a report says of one recipient.

    :ivar address: where the mail got to last, as :func:`normalize` writes it
    :ivar original: to whom it was addressed before somebody forwarded it; empty where the report does not say
    :ivar action: ``failed``, ``delayed``, ``delivered``, ``relayed`` or ``expanded`` (RFC 3464, 2.3.3); empty where it
        cannot be told
    :ivar status: RFC 3463 code
    :ivar diagnostic: the words of the server that refused
    :ivar remote_mta: that server
    """

    address: str
    original: str = ''
    action: str = ''
    status: str = ''
    diagnostic: str = ''
    remote_mta: str = ''

    @property
    def addresses(self) -> set[str]:
        return {self.address, self.original} - {''}

    @property
    def is_failed(self) -> bool:
        """Whether the mail will never arrive. A report of failure may quote the last passing fault (4.x.x)."""
        return self.action == 'failed'

    @property
    def reason(self) -> smtp.Reason:
        """Why, as far as status and words tell; ``TEMPORARY`` where the last fault was a passing one."""
        if self.status.startswith('4.'):
            # Some give up at once, and say in words alone that it will not pass.
            is_dead = self.is_failed and smtp.is_dead_domain(self.diagnostic)
            return smtp.Reason.RECIPIENT_UNKNOWN if is_dead else smtp.Reason.TEMPORARY
        match = re.search(r'\b(5\d\d)[ -]', self.diagnostic)
        words = self.diagnostic[match.end():] if match else self.diagnostic
        if self.status and self.status != '5.0.0' and not re.match(r'5\.\d+\.\d+', words):
            words = f'{self.status} {words}'
        return smtp.classify(smtp.Stage.RCPT, int(match[1]) if match else 550, words).reason

    @property
    def blames_address(self) -> bool:
        """Whether the report says that the fault lies in the address itself. One that does not say why blames nobody:
        unlike in an SMTP dialogue, nothing is known of the step at which it was refused."""
        return self.reason in smtp.ADDRESS_REASONS

    def describe(self) -> str:
        """In one line, as it would stand in a log."""
        address = self.address
        if self.original and self.original != address:
            address = f'{address} ({self.original})'
        return ' '.join(part for part in (
            address, self.action, self.status, self.diagnostic, self.remote_mta and f'({self.remote_mta})') if part)


@dataclasses.dataclass(frozen=True)
class Report:
    """What a mail says about another one that was sent.

    :ivar kind: what it is
    :ivar recipients: what became of each recipient; none when that cannot be read
    :ivar original_ids: Message-IDs of the mail that is returned, as its own header or the report's fields have them
    :ivar mentioned_ids: Message-IDs that it refers to otherwise: as an answer to; of a report, in its text too
    :ivar objects: the returned mail's ``X-Odoo-Objects``
    :ivar envelope_ids: ENVID of the envelope that the mail had (RFC 3461): the one thing that its reader never sees
    :ivar queue_ids: names under which servers had the mail in their queues
    :ivar detail: of a receipt or a complaint: what was done or said
    """

    kind: Kind = Kind.LETTER
    recipients: tuple[RecipientReport, ...] = ()
    original_ids: tuple[str, ...] = ()
    mentioned_ids: tuple[str, ...] = ()
    objects: tuple[str, ...] = ()
    envelope_ids: tuple[str, ...] = ()
    queue_ids: tuple[str, ...] = ()
    detail: str = ''

    @property
    def addresses(self) -> set[str]:
        """All that it says something of."""
        return set().union(*(recipient.addresses for recipient in self.recipients))


# RFC 5322, 3.6.4, as it is found in the wild; bounded, for the text can be anybody's.
_MESSAGE_ID = re.compile(r'<[^<>@\s]{1,250}@[^<>@\s]{1,250}>')
_OBJECT = re.compile(r'\bdunning\.notice-\d{1,9}\b')
_QUEUE_ID = re.compile(r'\bid[ =]([\w.-]{5,80})')
_MAX_IDS = 50
_MAX_DEPTH = 20
_STATUS = ('message/delivery-status', 'message/global-delivery-status')
_RECEIPT = ('message/disposition-notification', 'message/global-disposition-notification')
_RETURNED = ('message/rfc822', 'message/global')
_RETURNED_HEADER = ('text/rfc822-headers', 'message/global-headers')
_ACTIONS = ('failed', 'delayed', 'delivered', 'relayed', 'expanded')
# RFC 3464, 2.3.3 knows no others; these are what some servers write instead.
_OTHER_ACTIONS = {'failure': 'failed', 'fail': 'failed', 'delay': 'delayed'}
_DAEMONS = re.compile(r'mailer-?daemon|mail-?daemon|mdaemon|mail\.?delivery', re.IGNORECASE)
# A role, which persons have too.
_POSTMASTER = re.compile(r'postmaster', re.IGNORECASE)


class _Reader:
    """Takes up what the parts of a mail say."""

    def __init__(self, message: email.message.Message):
        self.message = message
        self.kind = Kind.LETTER
        self.recipients: list[RecipientReport] = []
        self.originals: list[str] = []
        self.mentioned: list[str] = []
        self.objects: list[str] = []
        self.envelopes: list[str] = []
        self.queues: list[str] = []
        self.detail = ''
        self.texts: list[str] = []

    def make_report(self) -> Report:
        for name in ('In-Reply-To', 'References'):
            self.mentioned += _ids(self.message.get(name, ''))
        for part in _walk(self.message):
            content_type = part.get_content_type()
            if content_type in _RETURNED:
                self.read_returned(_get_message(part))
            elif content_type in _RETURNED_HEADER:
                self.read_returned(_parse_header(_text(part)))
            elif content_type in _STATUS:
                self.kind = Kind.DELIVERY
                self.read_status(_get_blocks(part))
            elif content_type in _RECEIPT:
                self.kind = Kind.RECEIPT
                self.read_receipt(_get_blocks(part))
            elif content_type == 'message/feedback-report':
                self.kind = Kind.COMPLAINT
                self.read_complaint(_get_blocks(part))
            elif content_type == 'text/plain':
                self.texts.append(_text(part))
            elif content_type == 'text/html':
                self.texts.append(bounce_text.strip_tags(_text(part)))
        if self.kind == Kind.LETTER:
            self.read_declared_kind()
        if self.kind in (Kind.LETTER, Kind.DELIVERY) and not self.recipients:
            self.read_text()
        elif self.kind == Kind.DELIVERY:
            self.read_reasons()
        if self.kind != Kind.LETTER:
            for text in self.texts:
                self.mentioned += _ids(text)
        return Report(self.kind, *(tuple(dict.fromkeys(found)) for found in (
            self.recipients, self.originals, self.mentioned, self.objects, self.envelopes, self.queues)), self.detail)

    def read_declared_kind(self) -> None:
        """What it says to be, where the part that would say more is missing."""
        if self.message.get_content_type() == 'multipart/report':
            declared = str(self.message.get_param('report-type', '')).lower()
            self.kind = {
                'disposition-notification': Kind.RECEIPT, 'feedback-report': Kind.COMPLAINT,
            }.get(declared, Kind.DELIVERY)

    def read_returned(self, returned: email.message.Message) -> None:
        for name in ('Message-ID', 'X-Microsoft-Original-Message-ID'):
            self.originals += _ids(returned.get(name, ''))
        self.objects += _OBJECT.findall(_one_line(returned.get('X-Odoo-Objects', '')))
        for received in (returned.get_all('Received') or [])[:_MAX_IDS]:
            self.queues += _QUEUE_ID.findall(_one_line(received))

    def read_status(self, blocks: list[email.message.Message]) -> None:
        for fields in blocks:
            for name in ('X-Original-Message-ID', 'Original-Message-ID'):
                self.originals += _ids(fields.get(name, ''))
            self.envelopes += filter(None, [_value(fields, 'Original-Envelope-Id')])
            self.queues += filter(None, [_value(fields, 'X-Postfix-Queue-ID')])
            final, original = (
                normalize(_typed(fields, name)) for name in ('Final-Recipient', 'Original-Recipient'))
            if final or original:
                status = re.search(r'\b[245]\.\d{1,3}\.\d{1,3}\b', _value(fields, 'Status'))
                self.recipients.append(RecipientReport(
                    address=final or original, original=original, action=_read_action(_value(fields, 'Action')),
                    status=status[0] if status else '', diagnostic=self.read_diagnostic(fields),
                    remote_mta=_typed(fields, 'Remote-MTA')))

    @staticmethod
    def read_diagnostic(fields: email.message.Message) -> str:
        # AsyncOS: <mx.host.test #5.0.0 smtp; 550 "Unknown user">
        extra = re.search(r'smtp;\s*(.*?)>?$', _value(fields, 'X-Supplementary-Info'))
        return _typed(fields, 'Diagnostic-Code') or (extra[1] if extra else '')

    def read_receipt(self, blocks: list[email.message.Message]) -> None:
        for fields in blocks:
            self.originals += _ids(fields.get('Original-Message-ID', ''))
            self.detail = self.detail or _value(fields, 'Disposition').rpartition(';')[2].strip().lower()

    def read_complaint(self, blocks: list[email.message.Message]) -> None:
        for fields in blocks:
            self.detail = self.detail or _value(fields, 'Feedback-Type').lower()
            self.envelopes += filter(None, [_value(fields, 'Original-Envelope-Id')])

    def read_reasons(self) -> None:
        """Of what the machine-readable part gives no reason for, the text may."""
        said = bounce_text.split_returned(self.texts[0])[0] if self.texts else ''
        for number, recipient in enumerate(self.recipients):
            if not recipient.diagnostic:
                words = [one.words for one in bounce_text.read_recipients(said, sorted(recipient.addresses), '')]
                self.recipients[number] = dataclasses.replace(
                    recipient, diagnostic=_one_line(next(filter(None, words), '')))

    def read_text(self) -> None:
        """Reports without a machine-readable part: only of what says it comes from a mail system."""
        text = self.texts[0] if self.texts else ''
        named = re.findall(r'[^\s,<>]+@[^\s,<>]+', str(self.message.get('X-Failed-Recipients', ''))[:MAX_TEXT])
        is_certain = bool(named) or self.kind == Kind.DELIVERY or self.is_from(_DAEMONS)
        if not (is_certain or self.is_from(_POSTMASTER)):
            return
        said, returned = bounce_text.split_returned(text)
        if returned:
            self.read_returned(_parse_header(returned))
        found = bounce_text.read_recipients(said, named, str(self.message.get('Subject', '')))
        if not (is_certain or returned):
            found = [one for one in found if bounce_text.has_code(one.words)]
        for one in found:
            status = re.search(r'\b([245])\.\d{1,3}\.\d{1,3}\b', one.words)
            self.recipients.append(RecipientReport(
                address=normalize(one.address), action=one.action, status=status[0] if status else '',
                diagnostic=_one_line(one.words)))
        if found or returned:
            self.kind = Kind.DELIVERY
            self.queues += _QUEUE_ID.findall(said[:MAX_TEXT])[:_MAX_IDS]

    def is_from(self, names: re.Pattern) -> bool:
        sender = str(self.message.get('From', ''))[:1000]
        local = (re.findall(r'([^\s<>"@]+)@', sender) or [sender])[-1]
        return bool(names.match(local))


def read_report(message: email.message.Message) -> Report:
    """Read what a mail says about another one.

    :param message: the mail that came in
    :return: of kind ``LETTER`` when it is no report
    """
    return _Reader(message).make_report()


def normalize(address: str) -> str:
    """Write an address as the envelopes of ours have it: in small letters, its domain in A-labels (RFC 5890)."""
    address = address.strip().strip('<>').strip().lower()
    local, at, domain = address.rpartition('@')
    try:
        return f'{local}{at}{idna.encode(domain).decode()}' if at and not domain.isascii() else address
    except idna.IDNAError:
        return address


# --- parts


def _walk(message: email.message.Message, depth: int = 0) -> Iterator[email.message.Message]:
    """Yield the parts of a mail; nothing of what is inside of a returned one."""
    if message.is_multipart() and message.get_content_maintype() == 'multipart' and depth < _MAX_DEPTH:
        for part in message.get_payload():
            yield from _walk(part, depth + 1)
    else:
        yield message


def _get_raw(part: email.message.Message) -> str | None:
    """The parser takes apart what is of type message/…, also what is encoded (RFC 2046 forbids that, RFC 6532 and
    servers do not care), and then has its first line for a header or a body.

    :return: the text that was decoded, None where nothing was encoded
    """
    encoding = str(part.get('Content-Transfer-Encoding', '')).strip().lower()
    if encoding not in ('base64', 'quoted-printable'):
        return None
    payload = part.get_payload()
    inner = payload if isinstance(payload, list) else [payload]
    encoded = '\n\n'.join(one.as_string() if isinstance(one, email.message.Message) else str(one) for one in inner)
    try:
        raw = encoded.strip().encode('ascii', 'surrogateescape')
        if encoding == 'base64':
            return base64.b64decode(b''.join(raw.split())[:4 * MAX_TEXT]).decode('utf-8', 'replace')
        return quopri.decodestring(raw[:MAX_TEXT]).decode('utf-8', 'replace')
    except (ValueError, binascii.Error):
        return None


def _get_message(part: email.message.Message) -> email.message.Message:
    """:return: the returned mail"""
    raw = _get_raw(part)
    if raw is not None:
        return _parse_header(raw)
    payload = part.get_payload()
    return payload[0] if isinstance(payload, list) and payload else _parse_header(str(payload or ''))


def _get_blocks(part: email.message.Message) -> list[email.message.Message]:
    """:return: the groups of fields of a status, each as a header"""
    raw = _get_raw(part)
    if raw is None:
        payload = part.get_payload()
        if part.get_content_type() == 'message/delivery-status' and isinstance(payload, list):
            return payload
        if isinstance(payload, list):
            # Other types of message/… are read as one mail: the further groups are its body.
            raw = '\n\n'.join(one.as_bytes().decode('utf-8', 'replace') for one in payload)
        else:
            raw = _text(part) or str(payload or '')
    blocks = re.split(r'\r?\n[ \t]*\r?\n', raw[:MAX_TEXT].strip())
    return [_parse_header(block) for block in blocks[:_MAX_IDS]]


def _parse_header(text: str) -> email.message.Message:
    return email.parser.HeaderParser(policy=email.policy.compat32).parsestr(text[:MAX_TEXT].lstrip('\r\n'))


def _text(part: email.message.Message) -> str:
    """:return: the text of a part, whatever its encoding claims to be"""
    try:
        content = part.get_payload(decode=True) or b''
        return content[:MAX_TEXT].decode(part.get_content_charset() or 'utf-8', 'replace')
    except (LookupError, ValueError):
        return content[:MAX_TEXT].decode('ascii', 'replace')


# --- fields


def _ids(text: object) -> list[str]:
    return _MESSAGE_ID.findall(str(text)[:MAX_TEXT])[:_MAX_IDS]


def _value(fields: email.message.Message, name: str) -> str:
    """:return: a field on one line, without control characters, of a length that can be shown"""
    return _one_line(fields.get(name, ''))


def _one_line(text: object) -> str:
    # What is no ASCII comes as UTF-8 (RFC 6533), which the parser keeps as surrogates.
    text = str(text).encode('utf-8', 'surrogateescape').decode('utf-8', 'replace')
    return ''.join(c for c in ' '.join(text.split()) if c.isprintable())[:smtp.MAX_TEXT]


def _typed(fields: email.message.Message, name: str) -> str:
    """:return: a field's value behind its type, as in ``rfc822; a@b.test``"""
    kind, separator, value = _value(fields, name).partition(';')
    value = (value if separator else kind).strip()
    if kind.strip().lower() in ('utf-8', 'rfc822'):
        # RFC 6533, 3 and RFC 3461, 4: what could not be written as it is.
        value = re.sub(r'\\x\{([0-9A-Fa-f]{2,6})\}', lambda match: _character(match[1]), value)
        value = re.sub(r'\+([0-9A-F]{2})(?=.*@)', _hex_character, value)
    return value


def _character(code: str) -> str:
    return chr(int(code, 16)) if int(code, 16) <= 0x10ffff else ''


def _hex_character(match: re.Match) -> str:
    """RFC 3461 writes + and = of an address so; any other plus is part of the address."""
    return {'2B': '+', '3D': '='}.get(match[1], match[0])


def _read_action(text: str) -> str:
    word = (re.match(r'[a-z]+', text.lower()) or [''])[0]
    return word if word in _ACTIONS else _OTHER_ACTIONS.get(word, '')

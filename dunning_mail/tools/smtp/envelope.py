"""What can be said in a command, and sent as a message, before a server is asked."""
from __future__ import annotations

import re

from .outcome import Kind, Outcome, Reason, Stage

__all__ = ['UndeliverableError', 'check_message', 'encode_address', 'stuff']

# RFC 5321, 4.5.3.1.3: a path has at most 256 octets, its angle brackets among them.
MAX_ADDRESS = 254
_QUOTED = r'"(?:[\x20-\x21\x23-\x5b\x5d-\x7e]|\\[\x20-\x7e])*"'
_ADDRESS = re.compile(rf'(?:[^\x00-\x20\x7f<>()\[\]\\,;:@"]+|{_QUOTED})@[^\x00-\x20\x7f<>()\\,;@"]+')


class UndeliverableError(Exception):
    """An address that cannot be put into a command."""

    def __init__(self, reason: Reason, text: str):
        super().__init__(text)
        self.reason = reason
        self.text = text


def encode_address(address: str, *, smtputf8: bool) -> bytes:
    """Make an address fit for a command.

    :param smtputf8: whether the server takes non-ASCII characters
    :raises UndeliverableError: it is none (a line break would be a command of its own), or needs SMTPUTF8
    """
    if not address.isascii():
        if smtputf8:
            return _encode_international(address)
        local, _at, domain = address.rpartition('@')
        if not local.isascii():
            raise UndeliverableError(
                Reason.SMTPUTF8_MISSING, 'The address has characters that this server cannot take (no SMTPUTF8).')
        try:
            address = f"{local}@{domain.encode('idna').decode()}"
        except UnicodeError:
            raise UndeliverableError(Reason.ADDRESS_INVALID, "The address's domain is no valid name.") from None
    if len(address) > MAX_ADDRESS or not _ADDRESS.fullmatch(address):
        raise UndeliverableError(Reason.ADDRESS_INVALID, 'This is no valid address.')
    return address.encode('ascii')


def _encode_international(address: str) -> bytes:
    local, _at, domain = address.rpartition('@')
    encoded = address.encode('utf-8', 'surrogatepass')
    printable = address.replace(' ', '').isprintable()
    if printable and not re.search(r'[\s<>]', address) and local and domain and len(encoded) <= MAX_ADDRESS:
        return encoded
    raise UndeliverableError(Reason.ADDRESS_INVALID, 'This is no valid address.')


def check_message(message: bytes, *, eight_bit: bool, max_size: int | None) -> Outcome | None:
    """:param eight_bit: whether the server takes 8-bit characters
    :param max_size: octets that it takes at most
    :return: what makes it impossible to send the message; ``None`` if nothing does
    """
    def refuse(reason: Reason, text: str, **values) -> Outcome:
        return Outcome(kind=Kind.RECIPIENT, stage=Stage.MAIL, reason=reason, text=text, **values)

    breaks = message.count(b'\r\n')
    if not message or message.count(b'\r') != breaks or message.count(b'\n') != breaks or b'\0' in message:
        # RFC 5321, 2.3.8. A bare line feed with a dot behind it ends the message for some servers.
        return refuse(Reason.MESSAGE_MALFORMED, 'The message is empty, or has a NUL or a line end other than CRLF.')
    if not message.isascii() and not eight_bit:
        return refuse(Reason.MESSAGE_MALFORMED, 'The message has 8-bit characters, and this server takes none.')
    if max_size and len(message) > max_size:
        return refuse(
            Reason.MESSAGE_TOO_LARGE,
            f'The message has {_size_words(len(message))}, this server takes {_size_words(max_size)} at most.',
            message_size=len(message), size_limit=max_size,
        )
    return None


def stuff(message: bytes) -> bytes:
    """Double the dots at the beginnings of lines (RFC 5321, 4.5.2), and end the last line."""
    stuffed = message.replace(b'\r\n.', b'\r\n..')
    if stuffed.startswith(b'.'):
        stuffed = b'.' + stuffed
    return stuffed if stuffed.endswith(b'\r\n') else stuffed + b'\r\n'


def _size_words(size: int) -> str:
    """``12345678`` -> ``12.3 MB``"""
    for factor, unit in ((1_000_000, 'MB'), (1_000, 'kB')):
        if size >= factor:
            return f'{size / factor:.1f} {unit}'
    return f'{size} bytes'

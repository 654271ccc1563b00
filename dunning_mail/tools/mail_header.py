"""Read and stamp the headers of a mail that lies there as bytes. Plain Python; nothing here knows Odoo.

A mail is composed when its letter is made, and leaves later: to whom, when and under which Message-ID is known then
only, and is stamped into the very bytes.
"""
from __future__ import annotations

import email.policy
import re
from collections.abc import Mapping

__all__ = ['get', 'remove', 'stamp']

POLICY = email.policy.SMTP
# A field goes on where a line begins with white space (RFC 5322, 2.2.3).
_FIELD = re.compile(rb'^([!-9;-~]+):[^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*', re.MULTILINE)
END = b'\r\n\r\n'


def _split(content: bytes) -> tuple[bytes, bytes]:
    """:return: the header fields with their last line end, and the rest from the empty line on"""
    head, separator, body = content.partition(END)
    if not separator:
        raise ValueError('a mail without an empty line after its headers')
    return head + b'\r\n', b'\r\n' + body


def get(content: bytes, name: str):
    """Return a header field.

    :param content: a mail with CRLF line ends
    :param name: of the field
    :return: header object of :mod:`email.headerregistry`, ``None`` where there is none
    :raise ValueError: the content is no mail
    """
    for field in _FIELD.finditer(_split(content)[0]):
        if field[1].decode().lower() == name.lower():
            lines = field[0].decode('ascii', 'replace').splitlines()
            return POLICY.header_factory(*POLICY.header_source_parse(lines))
    return None


def remove(content: bytes, *names: str) -> bytes:
    """Take header fields out of a mail.

    :param content: a mail with CRLF line ends
    :param names: of the fields
    :raise ValueError: the content is no mail
    """
    head, rest = _split(content)
    wanted = {name.lower() for name in names}
    kept = [field[0] for field in _FIELD.finditer(head) if field[1].decode().lower() not in wanted]
    return b''.join(kept) + rest


def stamp(content: bytes, headers: Mapping[str, str]) -> bytes:
    """Put header fields on top of a mail, in place of those of the same names.

    :param content: a mail with CRLF line ends
    :param headers: name -> value, not encoded
    :return: the mail, its body as it was
    :raise ValueError: the content is no mail, or a value holds a line break
    """
    # As core builds mails: encoded and folded where need be, in 7 bits.
    policy = POLICY.clone(cte_type='7bit')
    fields = b''.join(policy.fold_binary(name, policy.header_store_parse(name, value)[1])
                      for name, value in headers.items())
    return fields + remove(content, *headers)

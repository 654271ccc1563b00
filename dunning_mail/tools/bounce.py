"""Read delivery status notifications (RFC 3464): what became of a mail after the server had taken it.

Plain Python; nothing here knows Odoo.
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
    recipients: tuple[RecipientReport, ...] = ()


def read_report(message: email.message.Message) -> Report:
    """Read the machine-readable part of a report.

    :param message: the mail that came in
    :return: without recipients when it has no such part
    """
    recipients = []
    for part in message.walk():
        if part.get_content_type() != 'message/delivery-status' or not part.is_multipart():
            continue
        for fields in part.get_payload():
            address = _typed(fields, 'Final-Recipient') or _typed(fields, 'Original-Recipient')
            if address:
                recipients.append(RecipientReport(
                    address=address.strip('<>'), action=_value(fields, 'Action').lower(),
                    status=(re.match(r'[245]\.\d{1,3}\.\d{1,3}', _value(fields, 'Status')) or [''])[0],
                    diagnostic=_typed(fields, 'Diagnostic-Code'), remote_mta=_typed(fields, 'Remote-MTA')))
    return Report(tuple(recipients))


def _value(fields: email.message.Message, name: str) -> str:
    """:return: a field on one line, without control characters, of a length that can be shown"""
    return ''.join(c for c in ' '.join(str(fields.get(name, '')).split()) if c.isprintable())[:smtp.MAX_TEXT]


def _typed(fields: email.message.Message, name: str) -> str:
    """:return: a field's value behind its type, as in ``rfc822; a@b.test``"""
    kind, separator, value = _value(fields, name).partition(';')
    return (value if separator else kind).strip()

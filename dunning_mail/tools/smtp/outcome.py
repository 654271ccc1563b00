"""What one attempt to hand over a mail, or one step of it, came to."""
from __future__ import annotations

import dataclasses
import re
import smtplib
import unicodedata
from collections.abc import Mapping
from enum import StrEnum

__all__ = [
    'ADDRESS_REASONS', 'MAX_REPLY_LINE', 'MAX_TEXT', 'DeliveryFault', 'GarbageError', 'Kind', 'LoginError', 'Outcome',
    'Reason', 'Stage', 'clean']

# RFC 5321, 4.5.3.1.5 asks for 512 octets a reply line; smtplib takes 8192, and so do we.
MAX_REPLY_LINE = 8192
# What of a server's words is kept: enough for any real answer, little enough for a list view.
MAX_TEXT = 500


class Kind(StrEnum):
    """Whose fault it is, and so what is to be done."""

    ACCEPTED = 'accepted'    # the server has taken the message (before Stage.EOD: the step)
    RECIPIENT = 'recipient'  # refused for good, because of this recipient or this message: that notice fails
    TRANSIENT = 'transient'  # surely not taken, may be tried again later
    UNCLEAR = 'unclear'      # may have been taken: never to be tried again without a person's decision
    PROVIDER = 'provider'    # nobody's message gets through; says nothing about this one


class Stage(StrEnum):
    """The steps of a delivery, in their order. ``starttls`` stands for every TLS handshake, implicit TLS included."""

    RESOLVE = 'resolve'
    CONNECT = 'connect'
    BANNER = 'banner'
    EHLO = 'ehlo'
    STARTTLS = 'starttls'
    AUTH = 'auth'
    MAIL = 'mail'
    RCPT = 'rcpt'
    DATA = 'data'
    BODY = 'body'  # writing the message, up to and with its last CRLF
    EOD = 'eod'    # from the first byte of the terminator on
    QUIT = 'quit'


class Reason(StrEnum):
    """Why, for a program: whoever shows it puts it into words and names the remedy."""

    OK = 'ok'
    # The way to the server
    HOST_NOT_FOUND = 'host_not_found'
    CONNECTION_REFUSED = 'connection_refused'
    CONNECT_TIMEOUT = 'connect_timeout'
    NETWORK_UNREACHABLE = 'network_unreachable'
    SERVICE_UNAVAILABLE = 'service_unavailable'      # 421 and other 4xx: not now
    SERVICE_REFUSED = 'service_refused'              # 5xx as a greeting
    EHLO_REFUSED = 'ehlo_refused'
    # TLS
    NO_STARTTLS = 'no_starttls'
    TLS_UNAVAILABLE = 'tls_unavailable'              # 454 to STARTTLS
    CERTIFICATE_EXPIRED = 'certificate_expired'
    CERTIFICATE_NOT_YET_VALID = 'certificate_not_yet_valid'
    CERTIFICATE_HOSTNAME = 'certificate_hostname'
    CERTIFICATE_UNTRUSTED = 'certificate_untrusted'
    NOT_TLS = 'not_tls'                              # implicit TLS on a port that does not speak it
    TLS_FAILED = 'tls_failed'
    # Login
    LOGIN_REFUSED = 'login_refused'
    LOGIN_REQUIRED = 'login_required'                # the server wants a login, and had none or one without right
    LOGIN_NOT_SUPPORTED = 'login_not_supported'      # no common mechanism; basic login switched off
    LOGIN_UNAVAILABLE = 'login_unavailable'          # 454: the server cannot check it now
    CREDENTIALS_UNUSABLE = 'credentials_unusable'    # non-ASCII characters or line breaks: cannot even be sent
    # The sender and its right to send
    SENDER_REFUSED = 'sender_refused'
    SENDER_AUTHENTICATION = 'sender_authentication'  # SPF, DKIM, DMARC
    RELAY_DENIED = 'relay_denied'
    QUOTA = 'quota'                                  # too many, too fast
    POLICY_BLOCK = 'policy_block'
    # The recipient
    RECIPIENT_UNKNOWN = 'recipient_unknown'
    RECIPIENT_REFUSED = 'recipient_refused'
    MAILBOX_DISABLED = 'mailbox_disabled'
    MAILBOX_FULL = 'mailbox_full'
    MAILBOX_BUSY = 'mailbox_busy'
    ADDRESS_INVALID = 'address_invalid'
    SMTPUTF8_MISSING = 'smtputf8_missing'            # a non-ASCII address, and a server that cannot take it
    TOO_MANY_RECIPIENTS = 'too_many_recipients'
    GREYLISTED = 'greylisted'
    # The message
    MESSAGE_TOO_LARGE = 'message_too_large'
    MESSAGE_MALFORMED = 'message_malformed'          # cannot be sent as it is, whoever the server
    CONTENT_REFUSED = 'content_refused'
    # The link
    DISCONNECTED = 'disconnected'
    TIMEOUT = 'timeout'
    ANSWER_MISSING = 'answer_missing'                # silence after the final dot
    GARBAGE = 'garbage'                              # what came was not SMTP
    PROTOCOL = 'protocol'                            # a command refused that every server must know
    SERVER_STORAGE = 'server_storage'
    TEMPORARY = 'temporary'                          # some other 4xx


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What one attempt, or one step of it, came to.

    :ivar kind: whose fault it is
    :ivar stage: the step at which it was decided
    :ivar reason: why, machine-readable
    :ivar code: the server's reply code; ``None`` when no (valid) reply decided it
    :ivar enhanced: its RFC 3463 code, e.g. ``5.1.1``, or ``''``
    :ivar text: the server's words without the codes, or the system's words about a fault, on one line and cut to
        ``MAX_TEXT`` characters. Free of credentials.
    :ivar passing: whether it may pass by itself: true for everything transient, and for a provider's faults that need
        nobody's hand (refused connection, 421, time-outs, quota), unlike a wrong password or a bad certificate
    :ivar queue_id: the name under which the server queued the message, as far as its answer tells
    :ivar refusals: the recipients that were refused -> the outcome for each. With kind ``accepted`` the message went to
        the others.
    :ivar host: the server, as it was asked for
    :ivar tls_version: e.g. ``TLSv1.3``; empty before the handshake
    :ivar handed_over: whether a byte of the message was written (or tried to be)
    :ivar message_size: octets of the message, where its size decided
    :ivar size_limit: octets that the server takes, where the size decided and the server says so
    """

    kind: Kind
    stage: Stage
    reason: Reason
    code: int | None = None
    enhanced: str = ''
    text: str = ''
    passing: bool = False
    queue_id: str = ''
    refusals: Mapping[str, Outcome] = dataclasses.field(default_factory=dict, hash=False)
    host: str = ''
    tls_version: str = ''
    handed_over: bool = False
    message_size: int | None = None
    size_limit: int | None = None

    @property
    def answer(self) -> str:
        """The server's answer as it would stand in a log: ``550 5.1.1 No such user``."""
        return ' '.join(part for part in (str(self.code or ''), self.enhanced, self.text) if part)

    @property
    def refused(self) -> dict[str, tuple[int | None, str]]:
        """The recipients that were refused -> (code or ``None``, the server's words with its enhanced code)."""
        return {
            address: (outcome.code, ' '.join(part for part in (outcome.enhanced, outcome.text) if part))
            for address, outcome in self.refusals.items()}

    @property
    def blames_address(self) -> bool:
        """Whether the server says beyond doubt that the address does not exist or is closed, so that the next message
        to it would fare no better. False when it gave no reason, or another one: size, content, policy, a full
        mailbox."""
        return self.kind is Kind.RECIPIENT and self.reason in ADDRESS_REASONS

    @property
    def pattern(self) -> str:
        """What is left of the answer without addresses, links and numbers: the same for two recipients who were refused
        in the same words. Empty where there were none."""
        words = _PERSONAL.sub(' ', self.text.lower())
        return ' '.join(re.findall(r'[^\W\d_]+', words))


ADDRESS_REASONS = frozenset({
    Reason.RECIPIENT_UNKNOWN, Reason.MAILBOX_DISABLED, Reason.ADDRESS_INVALID, Reason.SMTPUTF8_MISSING})

_PERSONAL = re.compile(r'<[^>]*>|"[^"]*"|\[[^\]]*\]|\(#?[^)]*\)|\S+://\S+|\S*@\S*|\S*\d\S*|[\w-]+(\.[\w-]+)+')


class DeliveryFault(Exception):
    """No session could be opened. Carries an :class:`Outcome`, no cause and no context: the frames of the original
    exception know the password."""

    def __init__(self, outcome: Outcome):
        super().__init__(f'{outcome.stage}: {outcome.reason} {outcome.answer}'.strip())
        self.outcome = outcome


class LoginError(Exception):
    """For a login callable to say, in its own words, that it cannot log in (e.g. no OAuth token to be had).

    :param text: what is wrong; free of credentials
    :param passing: whether it may pass by itself
    """

    def __init__(self, text: str, passing: bool = False):
        super().__init__(text)
        self.text = text
        self.passing = passing


class GarbageError(smtplib.SMTPException):
    """What the server sent is not a reply."""

    def __init__(self, received: bytes = b''):
        super().__init__('not an SMTP reply')
        self.received = bytes(received[:MAX_REPLY_LINE])


def clean(text: str | bytes, limit: int = MAX_TEXT) -> str:
    """One printable line: no control or format characters (a server could turn the writing direction of a log line, and
    PostgreSQL takes no NUL), no surrogates, white space collapsed, cut to ``limit`` characters."""
    if isinstance(text, bytes):
        text = text.decode('utf-8', 'replace')
    hidden = ('Cc', 'Cf', 'Cs', 'Zl', 'Zp')
    text = ''.join(' ' if unicodedata.category(char) in hidden else char for char in text[:limit * 8])
    text = ' '.join(text.split())
    return text if len(text) <= limit else text[:limit - 1] + '…'

"""Hand one message to an SMTP server, and say truly what became of it.

Plain Python on top of ``smtplib``; nothing here knows Odoo. ``smtplib`` alone does not do, because it

* reports a time-out, a reset and an end of file all as ``SMTPServerDisconnected``, whether or not the server may
  already hold the whole message;
* writes the message and its terminator in one go, so that nobody can tell on which side of it a fault lies;
* applies its time-out to each read and each write, so that a peer who sends or takes a byte now and then holds its
  client for ever;
* takes three arbitrary bytes for a reply code, and an overlong line for the reply 500;
* keeps the password in the session object, and puts it into the exception when it is not ASCII.

So the stages are written out here; of ``smtplib.SMTP`` remain the login mechanisms, for callers with a login of their
own (OAuth) that expect such an object.

How sure an outcome is
======================

A server has the message from the moment it has read ``CRLF . CRLF`` (RFC 5321, 4.1.1.4). The body, with its last
CRLF, is written completely first, the terminator ``. CRLF`` after it in a write of its own. Hence

* whatever goes wrong before that last write begins is *transient*: the server cannot have the end of the message;
* whatever goes wrong while or after it is written, but for a readable refusal, is *unclear*: it may have been sent
  even if the write itself reported an error (a write to TLS can fail after its record has left).

See :func:`classify` for the whole table.
"""
from __future__ import annotations

import base64
import binascii
import contextlib
import dataclasses
import errno
import functools
import os
import re
import smtplib
import socket
import ssl
import struct
import sys
import time
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

__all__ = [
    'DeliveryFault',
    'GarbageError',
    'Kind',
    'LoginError',
    'Outcome',
    'Reason',
    'Session',
    'Stage',
    'classify',
    'classify_exception',
    'open_session',
    'verifying_context',
]

# RFC 5321, 4.5.3.1.5 asks for 512 octets a reply line; smtplib takes 8192, and so do we. A whole reply is bounded too:
# a server that keeps sending continuation lines must not fill the memory.
MAX_REPLY_LINE = 8192
MAX_REPLY = 65536
# One TLS record.
CHUNK = 16384
# What of a server's words is kept: enough for any real answer, little enough for a list view.
MAX_TEXT = 500
# RFC 5321, 4.5.3.1.3: a path has at most 256 octets, its angle brackets among them.
MAX_ADDRESS = 254
# Linux: octets in the socket's queue that were not put on the wire yet (ioctl, tcp(7)).
SIOCOUTQNSD = 0x894B


# === WORDS === #

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
    :ivar refused: the recipients that were refused -> (code or ``None``, the server's words with its enhanced code).
        With kind ``accepted`` the message went to the others.
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
    refused: Mapping[str, tuple[int | None, str]] = dataclasses.field(default_factory=dict, hash=False)
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
    def is_policy(self) -> bool:
        """Whether a recipient was refused by somebody's policy. Once that is this recipient's matter; several different
        recipients in a row mean that the sender is what the policy is about, and the provider should be paused."""
        return self.kind is Kind.RECIPIENT and self.reason is Reason.POLICY_BLOCK

    @property
    def blames_address(self) -> bool:
        """Whether the fault lies in the address itself, so that the next message to it would fare no better. False when
        the message (size, content) or a policy was the cause."""
        return self.kind is Kind.RECIPIENT and self.reason in _ADDRESS_REASONS


_ADDRESS_REASONS = frozenset({
    Reason.RECIPIENT_UNKNOWN, Reason.RECIPIENT_REFUSED, Reason.MAILBOX_DISABLED, Reason.MAILBOX_FULL,
    Reason.ADDRESS_INVALID, Reason.SMTPUTF8_MISSING,
})


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


# === CLASSIFICATION === #

_OPENING = frozenset({Stage.RESOLVE, Stage.CONNECT, Stage.BANNER, Stage.EHLO, Stage.STARTTLS, Stage.AUTH})
_ENHANCED = re.compile(r'([245])\.(\d{1,3})\.(\d{1,3})(?!\S)')


def _pattern(*alternatives: str) -> re.Pattern:
    return re.compile('|'.join(alternatives), re.IGNORECASE)


# Many servers say in words only what RFC 3463 has a code for. The words below are English: no server was seen to
# refuse in another language without giving a code.
_AUTH_WORDS = _pattern(
    r'authentication (is )?(required|needed)', r'not authenticated', r'auth(entication)? (command )?(is )?required',
    r'must (first )?(log ?in|authenticate|issue a starttls)', r'log ?in (first|required)', r'not logged in',
    r'authenticate first', r'invalid credentials', r'must be authenticated',
)
_SENDER_AUTH_WORDS = _pattern(r'\b(dmarc|dkim|spf)\b')
_SENDER_WORDS = _pattern(
    r'sender (address |domain |verify |verification )?(rejected|refused|denied|blocked|failed|invalid)',
    r'send ?as ?denied', r'send as this sender', r'not allowed to send as', r'not owned by',
    r'sender (address )?(is )?not (allowed|permitted|authori[sz]ed|verified)( to (send|use|relay))?\b(?! .*recipient)',
    r'from address .*(not (allowed|permitted|authori[sz]ed|verified|match)|does not match)',
    r'email address is not verified', r'unverified sender', r'bad outbound sender', r'banned sender',
)
_RELAY_WORDS = _pattern(
    r'relay(ing)?( access)? (is )?(denied|not (permitted|allowed)|prohibited)', r'(unable|not permitted) to relay',
    r'(can ?not|do(es)? not|won.t) relay', r'mail sending denied',
)
_CLIENT_WORDS = _pattern(
    r'client host', r'helo command', r'reverse (dns|host ?name)', r'\bPTR\b', r'\byour (ip|host|server|network)\b',
    r'(sending|client|source) ip\b', r'the ip you.re using',
)
# At MAIL and RCPT nothing of the message is known yet: a list can only be about the client.
_LIST_WORDS = _pattern(r'blocked using', r'(black|block|deny) ?-?list', r'\bRBL\b', r'spamhaus', r'\bip .*reputation')
_POLICY_WORDS = _pattern(
    r'spam', r'\bjunk\b', r'unsolicited', r'\bbulk\b', r'polic(y|ies)', r'(black|block|deny) ?-?list', r'blocked',
    r'reputation', r'access denied', r'not allowed', r'prohibited', r'suspicious',
)
_GREYLIST_WORDS = _pattern(r'gr[ae]y ?-?list')
_SIZE_WORDS = _pattern(
    r'(message|mail|e-?mail|data|content) (is |was )?(too (large|big)|size)',
    r'(maximum|max\.?|exceed\w*).{0,40}\bsize', r'size (limit|exceed)', r'\btoo large\b',
)
_RECIPIENTS_WORDS = _pattern(r'too many recipients')
# About sending, beyond doubt: also where the code says "mailbox" (Google: 450 4.2.1 Peak SMTP relay limit exceeded).
_SENDING_QUOTA_WORDS = _pattern(
    r'(sending|submission|relay|outgoing|outbound|hourly|daily|monthly) (\w+ ){0,2}(quota|limit|rate|volume)',
    r'submission ?quota', r'(quota|limit|max(imum)?|exceed\w*)\b.{0,60} (per|an|a) (second|minute|hour|day|month)\b',
    r'max(imum)? (number of )?(e-?mails|messages|defers)', r'rate[- ]limit', r'throttl', r'unusual rate',
    r'limit for message recipients',
)
_QUOTA_WORDS = _pattern(
    _SENDING_QUOTA_WORDS.pattern, r'(message|e-?mail) (quota|rate)', r'(message|e-?mail) limit (exceed|reach)\w+',
    r'too many (e-?mails|messages|mails|connections|sessions|requests|concurrent|log)', r'exceed\w*.{0,40} rate\b',
    r'exceeded permitted limits', r'too (fast|quickly|frequently)', r'slow down',
)
_WINDOW_WORDS = _pattern(r'\b(daily|hourly)\b', r'\b(per|a|an) (day|hour)\b')
_MAILBOX_WORDS = _pattern(
    r'(mailbox|inbox|mail ?drop).{0,60}(full|quota|storage|limit|exceed)',
    r'(full|quota|exceed\w*).{0,60}(mailbox|inbox)',
    r'out of (disk |storage )?space', r'out of storage', r'(disk|storage) (quota|full)', r'user is over',
)
_FULL_WORDS = _pattern(r'over ?-?quota', r'quota (is )?(exceeded|full)', r'exceed\w* .{0,20}(quota|storage)')
_UNKNOWN_WORDS = _pattern(
    r'unknown', r'no such', r'not? (a )?(known|valid|existing)', r'does ?n.t exist', r'does not exist', r'not exist',
    r'invalid (recipient|mailbox|address|user)', r'no mailbox',
    r'(user|mailbox|recipient|account|address)( \S+)?( is| was)? not found', r'undeliverable', r'not our customer',
    r'not listed',
)

# RFC 3463 subject 7, RFC 5248 registry and Microsoft's list of non-delivery reports: details that are about the sender,
# its login or its network, whoever the recipient is ...
_LOGIN_DETAILS = frozenset({3, 8, 9, 10, 11, 12, 13, 14, 57, 139})
_SENDER_AUTH_DETAILS = frozenset({*range(20, 25), 26, 29, 509, 515})
_SENDER_DETAILS = frozenset({27, 60, 501, 502, 503, 511})
_QUOTA_DETAILS = frozenset({28, 232, 233, 500, 508, 705})
_NETWORK_DETAILS = frozenset({4, 25, *range(504, 600), *range(606, 650), *range(700, 751)})
# ... and details that are about the recipient: moved owners, restricted groups.
_RESTRICTED_DETAILS = frozenset({17, 18, 19, 124, 129, *range(133, 137), 193})


def classify(stage: Stage, code: int, text: str | bytes = '') -> Outcome:
    """Say what a reply means. A pure function.

    A reply is judged by its first digit, its RFC 3463 code if it begins with one, and its words where these leave it
    open. *P* is provider, *P+* provider but passing, *T* transient, *R* recipient.

    ==========================================  ========================================================================
    Reply                                       Meaning
    ==========================================  ========================================================================
    banner 4xx / 5xx                            P+ service_unavailable, quota / P service_refused, policy_block
    EHLO 4xx / 5xx                              P+ service_unavailable / P ehlo_refused
    STARTTLS 4xx (454) / 5xx                    P+ tls_unavailable / P no_starttls
    AUTH 4xx (454, 421) / 432                   P+ login_unavailable / P login_refused: the password is to be changed
    AUTH 535, other 5xx                         P login_refused
    AUTH 500 502 503 504 534 538, 5.7.9,        P login_not_supported: the mechanism, basic login as such, or this
    5.7.30, 5.7.139                             password where an application password is wanted
    ------------------------------------------  ------------------------------------------------------------------------
    *from MAIL to the answer to the dot, first that fits:*
    530 534 535 538, x.7.3, x.7.8 - x.7.14,     P login_required, login_not_supported; P+ if 4xx
    x.7.30, x.7.57, x.7.139, "authentication
    required"
    x.7.17 - 19, 124, 129, 133 - 136, 193       R policy_block, T if 4xx: this recipient takes mail from some only
    x.7.28, x.7.508 ..., 5.4.5, 5.1.90, "daily  P+ quota: too many messages. Quotas are windows, so all of it passes,
    limit", "rate limited" ...                  5xx too
    x.7.20 - 24, 26, 29, "SPF", "DKIM" ...      P sender_authentication; P+ if 4xx
    x.1.7, x.1.8, x.7.27, 60, "sender rejected" P sender_refused; P+ if 4xx. Postfix and others keep the verdict on
    "send as denied" ...                        the sender and the client back until RCPT, so all stages are looked at
    "relay access denied", x.7.54, x.7.64       P relay_denied; P+ if 4xx
    x.7.4, 25, Microsoft's 5xx 6xx 7xx, "client P policy_block; P+ if 4xx: the client's network is on a list
    host ...", "blocked using ..." (MAIL, RCPT)
    x.2.1 / x.2.2, "mailbox full" / x.2.3       RCPT and later: R, T if 4xx: mailbox_disabled or mailbox_busy /
                                                mailbox_full / message_too_large. At MAIL x.2.2 is the sender's own
                                                quota: P+ quota
    4xx "greylisted"                            T greylisted
    5.3.4, 552, 523, "message too large"        R message_too_large: RFC 1870; at RCPT a 552 without words is the
                                                mailbox's quota
    x.5.3, "too many recipients"                T too_many_recipients, 5xx too (RFC 5321, 4.5.3.1.10)
    MAIL 5xx, other                             P sender_refused; 500 502 503 504 555: P+ protocol
    MAIL 4.7.x                                  P+ service_unavailable
    RCPT, DATA, body, dot: 502 503,             P+ protocol: says nothing of the recipient
    RCPT also 500
    RCPT x.1.x, 5.4.1, 5.4.4, 550 551 553       R recipient_unknown
    with words for "unknown"
    RCPT 5.7.x, "policy", "spam", "denied" ...  R policy_block
    RCPT 5xx, other                             R recipient_refused
    DATA, body, dot 5.1.x                       R recipient_unknown
    DATA, body, dot 5.7.x, "spam" ...           R policy_block
    DATA, body, dot 5xx, other                  R content_refused
    452, 4.3.1 / 421 / 4xx                      T server_storage / service_unavailable / temporary
    ------------------------------------------  ------------------------------------------------------------------------
    dot 2xx                                     accepted; but 220 and 221 greet and take leave: unclear
    dot 3xx, or no valid code                   unclear garbage
    2xx/3xx as the stage expects it             accepted: the step, not the message
    another 2xx/3xx, or no valid code           opening: P+ garbage, banner P (it is not a mail server); then T garbage
    QUIT anything                               T: nothing depends on it
    ==========================================  ========================================================================

    A 5.7.1 at RCPT, or after the dot, can be this recipient's policy or one against us all. It is taken for the
    recipient's unless code or words name the sender, its network, login or quota: wrongly failing one notice is mended
    by one click, wrongly stopping a run is not seen until somebody looks. The opposite case shows by repetition, see
    :attr:`Outcome.is_policy`.

    "Quota exceeded" alone means the mailbox from RCPT on (Dovecot says so), and the sender's at MAIL.

    Sources: RFC 5321 (4.2, 4.3.2, 4.5.3), RFC 3463, RFC 5248 and its IANA registry (Enhanced Status Codes), RFC 1870
    (SIZE), RFC 2034, RFC 3207 (STARTTLS), RFC 4954 (AUTH), RFC 6531 (SMTPUTF8), RFC 7372 (x.7.20 - 26), RFC 7504
    (521, 556), RFC 8689; "Email non-delivery reports and SMTP errors in Exchange Online" (Microsoft); "Gmail SMTP
    errors and codes" (Google); access(5) and postconf(5), smtpd_delay_reject (Postfix).

    :param stage: the step that the reply answers
    :param code: the reply code; anything outside of 200 to 599 counts as garbage
    :param text: the reply's text, its lines separated by line breaks, without the reply codes
    """
    enhanced, words = _split_enhanced(text)
    kind, reason, passing = _judge(stage, code, enhanced, words)
    return Outcome(
        kind=kind, stage=stage, reason=reason, code=code if 200 <= code <= 599 else None, enhanced=enhanced, text=words,
        passing=passing, queue_id=_queue_id(words) if kind is Kind.ACCEPTED and stage is Stage.EOD else '',
    )


def _judge(stage: Stage, code: int, enhanced: str, words: str) -> tuple[Kind, Reason, bool]:
    family = code // 100 if 200 <= code <= 599 else 0
    if stage is Stage.QUIT:
        return Kind.TRANSIENT, Reason.DISCONNECTED, True
    if family == 2 and stage is Stage.EOD and code not in (220, 221):
        return Kind.ACCEPTED, Reason.OK, False
    if family in (4, 5):
        if stage in _OPENING:
            return Kind.PROVIDER, *_judge_opening(stage, code, enhanced, words)
        return _judge_transaction(stage, code, enhanced, words)
    if _is_expected(stage, code):
        return Kind.ACCEPTED, Reason.OK, False
    return _broken_link(stage, Reason.GARBAGE)


def _is_expected(stage: Stage, code: int) -> bool:
    if stage in (Stage.BANNER, Stage.STARTTLS):
        return code == 220
    if stage is Stage.AUTH:
        return code in (235, 503)  # 503: already logged in (smtplib takes it so too)
    if stage is Stage.DATA:
        return code == 354
    return stage in (Stage.EHLO, Stage.MAIL, Stage.RCPT) and code // 100 == 2


def _judge_opening(stage: Stage, code: int, enhanced: str, words: str) -> tuple[Reason, bool]:
    passing = code < 500
    if stage is Stage.AUTH:
        if code == 432:  # RFC 4954: a password transition is needed
            return Reason.LOGIN_REFUSED, False
        if passing:
            return Reason.LOGIN_UNAVAILABLE, True
        if code in (500, 502, 503, 504, 534, 538) or enhanced in ('5.7.9', '5.7.30', '5.7.139'):
            return Reason.LOGIN_NOT_SUPPORTED, False
        return Reason.LOGIN_REFUSED, False
    if stage is Stage.STARTTLS:
        return (Reason.TLS_UNAVAILABLE, True) if passing else (Reason.NO_STARTTLS, False)
    if passing:
        return (Reason.QUOTA if _QUOTA_WORDS.search(words) else Reason.SERVICE_UNAVAILABLE), True
    if stage is Stage.EHLO:
        return Reason.EHLO_REFUSED, False
    blocked = enhanced.startswith('5.7.') or _CLIENT_WORDS.search(words) or _LIST_WORDS.search(words)
    return (Reason.POLICY_BLOCK if blocked else Reason.SERVICE_REFUSED), False


def _judge_transaction(stage: Stage, code: int, enhanced: str, words: str) -> tuple[Kind, Reason, bool]:
    """The middle part of the table of :func:`classify`."""
    passing = code < 500
    recipient = (Kind.TRANSIENT, True) if passing else (Kind.RECIPIENT, False)

    def provider(reason: Reason, passes: bool = passing) -> tuple[Kind, Reason, bool]:
        return Kind.PROVIDER, reason, passes

    def blame(reason: Reason) -> tuple[Kind, Reason, bool]:
        return recipient[0], reason, recipient[1]

    subject, detail = (int(part) for part in enhanced.split('.')[1:]) if enhanced else (-1, -1)
    security = detail if subject == 7 else -1

    if code in (530, 534, 535, 538) or security in _LOGIN_DETAILS:
        return provider(Reason.LOGIN_NOT_SUPPORTED if security in (9, 139) else Reason.LOGIN_REQUIRED)
    if security == 30:
        return provider(Reason.LOGIN_NOT_SUPPORTED)
    if security in _RESTRICTED_DETAILS:
        return blame(Reason.POLICY_BLOCK)
    if subject == 5 and detail == 3 and not _WINDOW_WORDS.search(words):
        return Kind.TRANSIENT, Reason.TOO_MANY_RECIPIENTS, True
    if _SENDING_QUOTA_WORDS.search(words) or security in _QUOTA_DETAILS or enhanced in ('5.4.5', '5.1.90'):
        return provider(Reason.QUOTA, True)
    if _SENDER_AUTH_WORDS.search(words) or security in _SENDER_AUTH_DETAILS:
        return provider(Reason.SENDER_AUTHENTICATION)
    if _SENDER_WORDS.search(words) or security in _SENDER_DETAILS or (subject == 1 and detail in (7, 8)):
        return provider(Reason.SENDER_REFUSED)
    if _RELAY_WORDS.search(words) or security in (54, 64):
        return provider(Reason.RELAY_DENIED)
    if _AUTH_WORDS.search(words):
        return provider(Reason.LOGIN_REQUIRED)

    if verdict := _judge_mailbox(stage, code, subject, detail, words):
        return provider(verdict, True) if verdict is Reason.QUOTA else blame(verdict)
    if passing and _GREYLIST_WORDS.search(words):
        return Kind.TRANSIENT, Reason.GREYLISTED, True
    too_large = _SIZE_WORDS.search(words) or (subject, detail) in ((2, 3), (3, 4)) or code == 523
    if not passing and (too_large or (code == 552 and subject in (-1, 0, 3))) and not _RECIPIENTS_WORDS.search(words):
        return blame(Reason.MESSAGE_TOO_LARGE)
    if _QUOTA_WORDS.search(words):
        return provider(Reason.QUOTA, True)
    if _RECIPIENTS_WORDS.search(words):
        return Kind.TRANSIENT, Reason.TOO_MANY_RECIPIENTS, True
    listed = stage in (Stage.MAIL, Stage.RCPT) and _LIST_WORDS.search(words)
    if listed or _CLIENT_WORDS.search(words) or security in _NETWORK_DETAILS:
        return provider(Reason.POLICY_BLOCK)

    if stage is Stage.MAIL:
        if not passing:
            if code in (500, 502, 503, 504, 555):
                return provider(Reason.PROTOCOL, True)
            return provider(Reason.SENDER_REFUSED)
        if subject == 7:
            return provider(Reason.SERVICE_UNAVAILABLE)
    if passing:
        if code == 421:
            return blame(Reason.SERVICE_UNAVAILABLE)
        if code == 452 or (subject == 3 and detail == 1):
            return blame(Reason.SERVER_STORAGE)
        return blame(Reason.TEMPORARY)
    if code in (502, 503) or (code == 500 and stage is Stage.RCPT):
        return provider(Reason.PROTOCOL, True)
    if subject == 1 or (stage is Stage.RCPT and subject == 4 and detail in (1, 4)):
        return blame(Reason.RECIPIENT_UNKNOWN)
    if subject == 7:
        return blame(Reason.POLICY_BLOCK)
    if stage is Stage.RCPT:
        if subject == -1 and code in (550, 551, 553) and _UNKNOWN_WORDS.search(words):
            return blame(Reason.RECIPIENT_UNKNOWN)
        return blame(Reason.POLICY_BLOCK if _POLICY_WORDS.search(words) else Reason.RECIPIENT_REFUSED)
    return blame(Reason.POLICY_BLOCK if _POLICY_WORDS.search(words) else Reason.CONTENT_REFUSED)


def _judge_mailbox(stage: Stage, code: int, subject: int, detail: int, words: str) -> Reason | None:
    """RFC 3463, X.2.X, and the same in words. At MAIL there is only one mailbox to speak of: the sender's."""
    full = (subject == 2 and detail == 2) or (subject != 1 and _MAILBOX_WORDS.search(words))
    if not full and subject != 1 and _FULL_WORDS.search(words) and not _SIZE_WORDS.search(words):
        full = not re.search(r'(message|e-?mail) quota', words, re.IGNORECASE)
    if stage is Stage.MAIL:
        return Reason.QUOTA if full else None
    if full:
        return Reason.MAILBOX_FULL
    if subject == 2 and detail == 1:
        if _GREYLIST_WORDS.search(words):
            return None
        return Reason.MAILBOX_BUSY if code < 500 else Reason.MAILBOX_DISABLED
    if subject == 2 and detail == 3:
        return Reason.MESSAGE_TOO_LARGE
    if code == 552 and stage is Stage.RCPT and subject == -1 and not _SIZE_WORDS.search(words) \
            and not _RECIPIENTS_WORDS.search(words):
        return Reason.MAILBOX_FULL
    return None


def _broken_link(stage: Stage, reason: Reason, passing: bool = True) -> tuple[Kind, Reason, bool]:
    """What a fault without a reply means: silence, a lost connection, garbage."""
    if stage is Stage.EOD:
        return Kind.UNCLEAR, Reason.ANSWER_MISSING if reason is Reason.TIMEOUT else reason, False
    if stage in _OPENING:
        # Whatever greets with something else than SMTP is no mail server, today or tomorrow.
        return Kind.PROVIDER, reason, passing and not (stage is Stage.BANNER and reason is Reason.GARBAGE)
    return Kind.TRANSIENT, reason, True


# X509_V_ERR_... of OpenSSL's x509_vfy.h, as SSLCertVerificationError.verify_code has them.
_CERTIFICATE_REASONS = {
    9: Reason.CERTIFICATE_NOT_YET_VALID,
    10: Reason.CERTIFICATE_EXPIRED,
    62: Reason.CERTIFICATE_HOSTNAME,
    64: Reason.CERTIFICATE_HOSTNAME,
}
_UNREACHABLE = frozenset({
    errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN, errno.EACCES, errno.EPERM,
    errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT,
})


def classify_exception(stage: Stage, exc: BaseException) -> Outcome:
    """Say what an exception means that was raised at a stage. A pure function; never quotes the exception's message,
    which may hold credentials, but the system's words for its error number.

    ==========================================  ========================================================================
    Exception                                   Meaning
    ==========================================  ========================================================================
    at eod, any but a readable reply            unclear: answer_missing (silence), disconnected, garbage
    ``socket.gaierror``                         P host_not_found; P+ if the resolver itself did not answer
    name that cannot be one                     P host_not_found
    refused / unreachable / silence at connect  P+ connection_refused / network_unreachable / connect_timeout
    ``SSLCertVerificationError``                P certificate_expired, _not_yet_valid, _hostname, _untrusted
    other ``SSLError`` while opening            P not_tls (the other side speaks something else), tls_failed
    STARTTLS not offered                        P no_starttls
    no common login mechanism                   P login_not_supported
    :class:`LoginError`                         P login_refused; P+ login_unavailable if it says that it passes
    unencodable credentials                     P credentials_unusable
    ``SMTPResponseException``                   as :func:`classify`; -1 and smtplib's "Line too long": garbage
    end of file, reset, broken pipe             opening P+ disconnected, then T disconnected
    time-out                                    opening P+ timeout, then T timeout
    :class:`GarbageError`                       opening P+ garbage (banner: P), then T garbage
    ==========================================  ========================================================================

    Sources: the ``ssl`` and ``smtplib`` modules; OpenSSL, X509_STORE_CTX_get_error(3).

    :param stage: the step under way
    :param exc: what it raised
    """
    if isinstance(exc, smtplib.SMTPRecipientsRefused) and exc.recipients:
        return classify(Stage.RCPT, *next(iter(exc.recipients.values())))
    if isinstance(exc, smtplib.SMTPResponseException):
        if isinstance(exc, smtplib.SMTPHeloError):
            stage = Stage.EHLO
        line_too_long = exc.smtp_code == 500 and exc.smtp_error == 'Line too long.'
        if not line_too_long and 200 <= exc.smtp_code <= 599:
            return classify(stage, exc.smtp_code, exc.smtp_error)
    kind, reason, passing = _broken_link(stage, *_reason_of(stage, exc))
    return Outcome(kind=kind, stage=stage, reason=reason, passing=passing, text=_words_of(exc))


def _reason_of(stage: Stage, exc: BaseException) -> tuple[Reason, bool]:
    if isinstance(exc, LoginError):
        return (Reason.LOGIN_UNAVAILABLE, True) if exc.passing else (Reason.LOGIN_REFUSED, False)
    if isinstance(exc, (GarbageError, smtplib.SMTPResponseException)):
        return Reason.GARBAGE, True
    if isinstance(exc, socket.gaierror):
        # EAI_AGAIN, EAI_SYSTEM: nobody could be asked. Everything else is an answer.
        return Reason.HOST_NOT_FOUND, exc.errno in (socket.EAI_AGAIN, socket.EAI_SYSTEM)
    if isinstance(exc, ssl.SSLCertVerificationError):
        return _CERTIFICATE_REASONS.get(exc.verify_code, Reason.CERTIFICATE_UNTRUSTED), False
    if isinstance(exc, TimeoutError):
        return (Reason.CONNECT_TIMEOUT if stage is Stage.CONNECT else Reason.TIMEOUT), True
    if isinstance(exc, ssl.SSLError):
        name = getattr(exc, 'reason', None) or ''
        if isinstance(exc, (ssl.SSLEOFError, ssl.SSLZeroReturnError)) or 'EOF' in name or stage not in _OPENING:
            return Reason.DISCONNECTED, True
        # What OpenSSL 1.1 and 3 say when the first bytes are no TLS record.
        marks = ('WRONG_VERSION_NUMBER', 'HTTP', 'RECORD_LAYER_FAILURE', 'UNKNOWN_PROTOCOL')
        return (Reason.NOT_TLS if any(mark in name for mark in marks) else Reason.TLS_FAILED), False
    if isinstance(exc, ConnectionRefusedError):
        return Reason.CONNECTION_REFUSED, True
    if isinstance(exc, (UnicodeError, OverflowError)) or type(exc) is ValueError:
        # From AUTH: smtplib encodes to ASCII, and refuses line breaks. (A ValueError of a more special kind comes from
        # what a login of the caller's own does elsewhere, such as a token's answer that is no JSON.)
        return (Reason.CREDENTIALS_UNUSABLE if stage is Stage.AUTH else Reason.HOST_NOT_FOUND), False
    if isinstance(exc, OSError) and exc.errno in _UNREACHABLE and stage is Stage.CONNECT:
        return Reason.NETWORK_UNREACHABLE, True
    if isinstance(exc, smtplib.SMTPServerDisconnected):
        # smtplib wraps time-outs too; what it wrapped is the context.
        wrapped = exc.__cause__ or exc.__context__
        return (Reason.TIMEOUT if isinstance(wrapped, TimeoutError) else Reason.DISCONNECTED), True
    if isinstance(exc, smtplib.SMTPNotSupportedError) and stage is Stage.STARTTLS:
        return Reason.NO_STARTTLS, False
    if isinstance(exc, smtplib.SMTPException) and stage is Stage.AUTH:
        return Reason.LOGIN_NOT_SUPPORTED, False
    return Reason.DISCONNECTED, True


def _words_of(exc: BaseException) -> str:
    if isinstance(exc, LoginError):
        return _clean(exc.text)
    if isinstance(exc, GarbageError):
        return _clean(exc.received)
    if isinstance(exc, ssl.SSLCertVerificationError):
        return _clean(exc.verify_message or '')
    if isinstance(exc, ssl.SSLError):
        return _clean((getattr(exc, 'reason', None) or '').replace('_', ' ').lower())
    if isinstance(exc, socket.gaierror):
        return _clean(exc.strerror or '')
    if isinstance(exc, OSError) and exc.errno:
        return _clean(os.strerror(exc.errno))
    return ''


def _clean(text: str | bytes, limit: int = MAX_TEXT) -> str:
    """One printable line: no control or format characters (a server could turn the writing direction of a log line, and
    PostgreSQL takes no NUL), no surrogates, white space collapsed, cut to ``limit`` characters."""
    if isinstance(text, bytes):
        text = text.decode('utf-8', 'replace')
    hidden = ('Cc', 'Cf', 'Cs', 'Zl', 'Zp')
    text = ''.join(' ' if unicodedata.category(char) in hidden else char for char in text[:limit * 8])
    text = ' '.join(text.split())
    return text if len(text) <= limit else text[:limit - 1] + '…'


def _split_enhanced(text: str | bytes) -> tuple[str, str]:
    """:return: the RFC 3463 code, and the words without it; servers repeat it on every line of a reply (RFC 2034, 4)"""
    if isinstance(text, bytes):
        text = text.decode('utf-8', 'replace')
    enhanced, words = '', []
    for line in text.splitlines():
        line = line.strip()
        if match := _ENHANCED.match(line):
            enhanced = enhanced or match[0]
            if match[0] == enhanced:
                line = line[match.end():]
        words.append(line)
    return enhanced, _clean('\n'.join(words))


_QUEUE_IDS = [re.compile(pattern, re.IGNORECASE) for pattern in (
    r'queued as (?!.*queued as )([\w.+-]+)',             # Postfix, aiosmtpd; an amavis in front puts its own before it
    r'\[InternalId=(\w+)',                               # Exchange: the <...> before it is the Message-ID
    r'\bid=([\w.+-]+)',                                  # Exim
    r'(\S+) - gsmtp\b',                                  # Google
    r'(\S+) Message accepted for delivery',              # sendmail, OpenSMTPD
    r'\bqp (\d+)',                                       # qmail
    r'message queued \(([\w.-]+)\)',                     # Haraka
    r'^ok:? ([0-9a-f]{8,}[\w-]*)$',                      # Amazon SES and others
)]


def _queue_id(words: str) -> str:
    for pattern in _QUEUE_IDS:
        if match := pattern.search(words):
            return match[1].rstrip('.')
    return ''


# === THE LINK === #

class _Link(smtplib.SMTP):
    """An ``smtplib.SMTP`` whose reads and writes have deadlines, whose replies are checked, and whose faults are raised
    as they are. Everything of it that ``smtplib`` calls a session goes through ``send`` and ``getreply``.

    :ivar step_timeout: seconds for each command with its answer
    :ivar deadline: a moment (of :attr:`clock`) by which all steps must be over, or ``None``
    :ivar stage: the step under way, for whoever catches what it raises
    :ivar tls_version: empty before the handshake
    """

    # On the class, where a test that freezes the time of modules does not stop the deadlines.
    clock = staticmethod(time.monotonic)

    def __init__(self, local_hostname: str, step_timeout: float):
        super().__init__(local_hostname=local_hostname, timeout=step_timeout)
        self.step_timeout = step_timeout
        self.deadline = None
        self.stage = Stage.RESOLVE
        self.tls_version = ''
        self._received = bytearray()
        self._login = None

    # --- opening

    def open(self, host: str, port: int) -> None:
        """Resolve the name and connect, within the step's time for all of its addresses together. (The resolver has
        limits of its own, which no program can shorten.)"""
        self.stage = Stage.RESOLVE
        self._host = host
        found = list(dict.fromkeys(
            (family, address) for family, _type, _proto, _name, address
            in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        ))
        self.stage = Stage.CONNECT
        until = self._until()
        fault = None
        for number, (family, address) in enumerate(found):
            # A share for each: an address family that swallows packets must leave time for the other.
            share = (until - self.clock()) / (len(found) - number)
            try:
                sock = socket.socket(family, socket.SOCK_STREAM)
                try:
                    sock.settimeout(max(share, 0.001))
                    sock.connect(address)
                except BaseException:
                    sock.close()
                    raise
            except OSError as exc:
                # "No route over IPv6" tells less than what the next address answered.
                if fault is None or fault.errno in _UNREACHABLE:
                    fault = exc
                continue
            # The terminator is a small write behind another one: without this it waits for the other's acknowledgement.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.sock = sock
            return
        raise fault

    def wrap(self, context: ssl.SSLContext, host: str) -> None:
        self.stage = Stage.STARTTLS
        if self._received[:2] == b'\x15\x03':
            # A TLS alert: the server cannot even begin.
            raise ssl.SSLError(1, 'alert')
        if self._received:
            # Sent in clear behind the answer to STARTTLS, it would count as said under TLS (CVE-2011-0411).
            raise GarbageError(self._received)
        self.sock.settimeout(self._remaining(self._until()))
        self.sock = context.wrap_socket(self.sock, server_hostname=host.rstrip('.'))
        # Now, for a broken connection forgets it.
        self.tls_version = self.sock.version() or ''
        self.helo_resp = self.ehlo_resp = None
        self.esmtp_features = {}
        self.does_esmtp = False

    def ask_login(self, login: Callable[[smtplib.SMTP], None]) -> Outcome | None:
        """Let the callable log in, and look at what the server said to it: Odoo's OAuth logins do not.

        :return: ``None`` when logged in, else the fault
        """
        self.stage = Stage.AUTH
        self._login = {'pending': False, 'replies': [], 'secrets': set()}
        try:
            try:
                login(self)
                fault = None
                if self._login['pending']:
                    # RFC 7628, 3.2.3 and XOAUTH2: the reason comes as a challenge, to be answered with an empty line.
                    # Whatever the last reply is, it closes this exchange.
                    self.docmd('')
            except (OSError, ValueError, LoginError) as exc:
                fault = classify_exception(Stage.AUTH, exc)
            refusals = [
                classify(Stage.AUTH, code, text)
                for code, text in self._login['replies'] if not _is_expected(Stage.AUTH, code) and code != 334
            ]
            done = any(_is_expected(Stage.AUTH, code) for code, _text in self._login['replies'])
            link_broke = fault and fault.reason in (Reason.DISCONNECTED, Reason.TIMEOUT, Reason.GARBAGE)
            if refusals and not done and (fault is None or fault.code or link_broke):
                # smtplib tries one mechanism after the other and reports the last: the wrong password says more than a
                # mechanism that is not there, or a server that has had enough and hung up.
                fault = min(refusals, key=lambda outcome: outcome.reason is not Reason.LOGIN_REFUSED)
            elif fault is None and self._login['pending']:
                fault = classify(Stage.AUTH, 334)
            return fault and dataclasses.replace(fault, text=self._scrub(fault.text))
        finally:
            self._login = None
            for name in ('user', 'password'):
                self.__dict__.pop(name, None)

    def docmd(self, cmd: str, args: str = '') -> tuple[int, bytes]:
        if self._login is None:
            return super().docmd(cmd, args)
        sent = f'{cmd} {args}'.split()
        is_command = sent[:1] and sent[0].upper() == 'AUTH'
        is_auth = is_command or self._login['pending']
        if is_auth:
            # AUTH, the mechanism, perhaps a first response; then nothing but responses.
            self._login['secrets'].update(sent[2:] if is_command else sent)
        reply = super().docmd(cmd, args)
        if is_auth:
            self._login['pending'] = reply[0] == 334
            self._login['replies'].append(reply)
        return reply

    def _scrub(self, text: str) -> str:
        """Take out what was sent to log in, should the server have quoted it: encoded, decoded, and the password."""
        user = self.__dict__.get('user') or ''
        secrets = {self.__dict__.get('password') or ''} | self._login['secrets']
        for token in self._login['secrets']:
            with contextlib.suppress(ValueError, binascii.Error):
                decoded = base64.b64decode(token, validate=True).decode('utf-8', 'replace')
                secrets.update(re.split(r'[\0\1]+(?:auth=Bearer )?', decoded))
                secrets.add(decoded)
        for secret in sorted(secrets - {user}, key=len, reverse=True):
            # A shorter one would tear harmless words apart, and be found out by that.
            if len(secret) >= 4:
                text = text.replace(secret, '***').replace(_clean(secret), '***')
                if text.endswith('…'):
                    # Where the words were cut, the beginning of one may be left.
                    cut = next((n for n in range(len(secret) - 1, 3, -1) if text[:-1].endswith(secret[:n])), 0)
                    text = text if not cut else text[:-cut - 1] + '***'
        return text

    # --- reading and writing

    def _until(self, timeout: float | None = None) -> float:
        until = self.clock() + (self.step_timeout if timeout is None else timeout)
        return until if self.deadline is None else min(until, self.deadline)

    def _remaining(self, until: float) -> float:
        remaining = until - self.clock()
        if remaining <= 0:
            raise TimeoutError
        return remaining

    def connected(self) -> socket.socket:
        if self.sock is None:
            raise smtplib.SMTPServerDisconnected('not connected')
        return self.sock

    def send(self, s: str | bytes) -> None:
        """Send one command."""
        if self._received:
            # One command, one reply. With a reply too many, the next ones would be taken for answers to other commands.
            raise GarbageError(self._received)
        self.write_all(s.encode(self.command_encoding) if isinstance(s, str) else s, self._until())

    def write_all(self, data: bytes, until: float) -> None:
        """Write all of it before a moment, or raise: ``sendall`` would take its time-out for each piece anew."""
        view = memoryview(data)
        while view:
            sock = self.connected()
            sock.settimeout(self._remaining(until))
            view = view[sock.send(view[:CHUNK]):]

    def drain(self, until: float) -> None:
        """Wait until the system has put all on the wire that was written (Linux only; elsewhere it returns at once).

        It costs nothing, for the terminator could not overtake what waits; but a server that takes a byte a second is
        found out before the terminator lies in this system's buffers, where nobody can take it back.
        """
        if fcntl is None or not sys.platform.startswith('linux'):
            return
        pause = 0.001
        with contextlib.suppress(OSError):
            while struct.unpack('i', fcntl.ioctl(self.connected().fileno(), SIOCOUTQNSD, b'\0' * 4))[0] > 0:
                if self.clock() >= until:
                    break
                time.sleep(pause)
                pause = min(pause * 2, 0.05)
        self._remaining(until)

    def _fill(self, until: float) -> None:
        sock = self.connected()
        sock.settimeout(self._remaining(until))
        data = sock.recv(4096)
        if not data:
            raise smtplib.SMTPServerDisconnected('connection closed')
        self._received += data

    def has_reply(self) -> bool:
        """Whether the server has said something unasked. Raises if it has gone."""
        if not self._received:
            sock = self.connected()
            sock.settimeout(0)
            try:
                data = sock.recv(4096)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return False
            if not data:
                raise smtplib.SMTPServerDisconnected('connection closed')
            self._received += data
        return True

    def _readline(self, until: float) -> bytes:
        while (end := self._received.find(b'\n')) < 0:
            if len(self._received) > MAX_REPLY_LINE:
                raise GarbageError(self._received)
            self._fill(until)
        line = bytes(self._received[:end + 1])
        del self._received[:end + 1]
        if len(line) > MAX_REPLY_LINE:
            raise GarbageError(line)
        return line

    def getreply(self, timeout: float | None = None) -> tuple[int, bytes]:
        """Read one reply (RFC 5321, 4.2), all of it within the time.

        :param timeout: seconds; default is the step's time
        :raises OSError: time-out, end of file, reset, :class:`GarbageError`
        """
        until = self._until(timeout)
        lines, size, code = [], 0, None
        while True:
            line = self._readline(until)
            size += len(line)
            match = re.fullmatch(rb'([2-5][0-9]{2})(?:([ \t-])(.*))?', line.rstrip(b'\r\n'), re.DOTALL)
            # All lines of a reply have the same code; where a sloppy server differs in detail, the last one holds.
            if not match or size > MAX_REPLY or (code and code[:1] != match[1][:1]):
                raise GarbageError(line)
            code = match[1]
            lines.append((match[3] or b'').strip())
            if match[2] != b'-':
                return int(code), b'\n'.join(lines)

    def ask(self, stage: Stage, line: bytes, timeout: float | None = None) -> tuple[int, bytes]:
        self.stage = stage
        self.send(line + b'\r\n')
        return self.getreply(timeout)

    def abort(self) -> None:
        """Reset the connection. A plain close in the middle of a message would be an end of file, which a careless
        server might take for the end of the message."""
        with contextlib.suppress(OSError):
            if self.sock is not None:
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        with contextlib.suppress(OSError):
            self.close()


# === SESSIONS === #

def verifying_context() -> ssl.SSLContext:
    """A TLS context that checks the certificate's chain, dates and host name, and speaks TLS 1.2 or newer.

    It trusts the system's authorities, or those that the environment's ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` name.
    """
    context = ssl.create_default_context()
    context.check_hostname = True
    context.verify_mode = ssl.CERT_REQUIRED
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


@functools.lru_cache(maxsize=1)
def _own_name() -> str:
    """What to say in EHLO: the host's full name, else an address literal (RFC 5321, 4.1.4). Asked once a process, for
    the resolver can be slow to say that it does not know."""
    name = socket.getfqdn()
    if '.' in name and re.fullmatch(r'[A-Za-z0-9.-]+', name):
        return name
    address = '127.0.0.1'
    with contextlib.suppress(OSError):
        address = socket.gethostbyname(socket.gethostname())
    return f'[{address}]'


def open_session(
    host: str,
    port: int,
    *,
    implicit_tls: bool,
    login: Callable[[smtplib.SMTP], None] | None,
    timeout: float,
    context: ssl.SSLContext | None = None,
    local_hostname: str | None = None,
    total_timeout: float | None = None,
) -> Session:
    """Connect, secure the connection with verified TLS, and log in.

    There is no way around TLS: a server that does not offer STARTTLS is a fault. Nor is there a fallback to HELO.

    :param host: the server's name; the one that its certificate must carry
    :param port: its port
    :param implicit_tls: TLS from the first byte (RFC 8314), else STARTTLS
    :param login: called with the ``smtplib.SMTP`` object, after the last EHLO, to log in: with ``login()``, or with an
        AUTH of its own over ``docmd()``, whose reply it need not look at. May raise :class:`LoginError`. What it raises
        besides, unless it is an ``OSError`` or ``ValueError``, is passed on. ``None``: no login.
    :param timeout: seconds for each step: connecting, each command with its answer, the handshake
    :param context: default is :func:`verifying_context`; it must verify chain and host name
    :param local_hostname: what to say in EHLO; default is this host's full name
    :param total_timeout: seconds for all steps together, but for what ``login`` does elsewhere; default is twice
        ``timeout``
    :raises DeliveryFault: it did not work; its outcome says at which stage, why, and whether it may pass
    :raises ValueError: the context does not verify, or the local host name cannot be one
    """
    context = context or verifying_context()
    if context.verify_mode != ssl.CERT_REQUIRED or not context.check_hostname:
        raise ValueError("The TLS context must verify the server's certificate and host name.")
    local_hostname = local_hostname or _own_name()
    if not re.fullmatch(r'[\x21-\x7e]+', local_hostname):
        raise ValueError('The local host name must be printable ASCII without spaces.')

    link = _Link(local_hostname, timeout)
    link.deadline = link.clock() + (2 * timeout if total_timeout is None else total_timeout)
    try:
        session = _open(link, host, port, implicit_tls, login, context)
        if isinstance(session, Session):
            return session
        outcome = session
    except (OSError, ValueError, OverflowError) as exc:
        outcome = classify_exception(link.stage, exc)
    except BaseException:
        link.abort()
        raise
    link.abort()
    # Out here, so that the exception has no context: its frames hold the login callable, and so the password.
    raise DeliveryFault(dataclasses.replace(outcome, host=host, tls_version=link.tls_version))


def _open(link, host, port, implicit_tls, login, context) -> Session | Outcome:
    link.open(host, port)
    if implicit_tls:
        link.wrap(context, host)
    link.stage = Stage.BANNER
    code, banner = link.getreply()
    if code != 220:
        return classify(Stage.BANNER, code, banner)

    def greet() -> Outcome | None:
        link.stage = Stage.EHLO
        code, text = link.ehlo()
        # smtplib reads the extensions of a 250 alone.
        return None if code == 250 else classify(Stage.EHLO, code if code >= 400 else -1, text)

    if fault := greet():
        return fault
    if not implicit_tls:
        link.stage = Stage.STARTTLS
        if not link.has_extn('starttls'):
            raise smtplib.SMTPNotSupportedError('STARTTLS not offered')
        code, text = link.ask(Stage.STARTTLS, b'STARTTLS')
        if code != 220:
            return classify(Stage.STARTTLS, code, text)
        link.wrap(context, host)
        if fault := greet():
            return fault
    if login is not None and (fault := link.ask_login(login)):
        return fault
    link.deadline = None
    return Session(link, host, port, banner)


class _Undeliverable(Exception):
    """An address that cannot be put into a command."""

    def __init__(self, reason: Reason, text: str):
        super().__init__(text)
        self.reason = reason
        self.text = text


class Session:
    """One open, logged-in connection; made by :func:`open_session`. For many messages, one after the other; not for
    several threads.

    :ivar host: the server, as it was asked for
    :ivar port: its port
    :ivar tls_version: e.g. ``TLSv1.3``
    :ivar peer_banner: the server's greeting
    """

    def __init__(self, link: _Link, host: str, port: int, banner: bytes):
        self._link = link
        self._needs_reset = False
        self._handed_over = False
        self._refused: dict[str, tuple[int | None, str]] = {}
        self.host = host
        self.port = port
        self.tls_version = link.tls_version
        self.peer_banner = _clean(banner)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *exc_info) -> None:
        self.close()

    @property
    def features(self) -> dict[str, str]:
        """The extensions that the server offers, by their names in small letters, with their parameters."""
        return dict(self._link.esmtp_features)

    @property
    def max_size(self) -> int | None:
        """Octets that the server takes at most (RFC 1870), or ``None`` when it names no limit."""
        limit = self._link.esmtp_features.get('size', '').split()[:1]
        return int(limit[0]) or None if limit and limit[0].isascii() and limit[0].isdigit() else None

    @property
    def is_dead(self) -> bool:
        """Whether the connection is known to be of no more use."""
        return self._link.sock is None

    def is_alive(self, timeout: float = 5.0) -> bool:
        """Ask the server whether it is still there: NOOP, or the RSET that was due anyway.

        :param timeout: seconds to wait for its answer
        """
        if self.is_dead:
            return False
        link = self._link
        link.deadline = link.clock() + timeout
        try:
            code, _text = link.ask(link.stage, b'RSET' if self._needs_reset else b'NOOP')
        except OSError:
            code = 0
        finally:
            link.deadline = None
        if code // 100 != 2:
            link.abort()
            return False
        self._needs_reset = False
        return True

    # --- sending

    def send(
        self,
        mail_from: str,
        recipients: list[str],
        message: bytes,
        *,
        on_handover: Callable[[], None] | None = None,
        answer_timeout: float,
        body_timeout: float = 60.0,
        envelope_timeout: float | None = None,
        total_timeout: float | None = None,
    ) -> Outcome:
        """Hand one message over.

        Faults come back as an outcome, whatever they are; after a refusal the session can go on, after a broken link it
        is dead. RSET is left to the next use, so that the outcome is known, and can be written down, at once.

        If some recipients are refused, the message goes to the others, and ``Outcome.refused`` names those. If all are,
        the outcome is the gravest of theirs: a provider's fault before a transient one (trying again may reach
        somebody) before a refusal for good.

        :param mail_from: the bare envelope sender, ``''`` for none (``<>``)
        :param recipients: bare addresses, at least one
        :param message: the message, its lines ended by CRLF. It is sent as it is, but for dot-stuffing; a CRLF is added
            if it does not end with one.
        :param on_handover: called after the server has agreed to take the message, right before its first byte is
            written. If it raises, nothing of the message is sent, the session is dead, and the exception is passed on.
        :param answer_timeout: seconds to wait for the answer, from the final dot on
        :param body_timeout: seconds for writing the message
        :param envelope_timeout: seconds for all commands before the message together, however many recipients there
            are; default is no limit but the session's for each of them
        :param total_timeout: seconds for everything together, on top of the limits above; default is none
        :raises ValueError: no recipients
        """
        if not recipients:
            raise ValueError('A message needs a recipient.')
        self._handed_over = False
        self._refused = {}
        if fault := self._check_message(message):
            return self._complete(fault)
        link = self._link
        end = None if total_timeout is None else link.clock() + total_timeout
        limits = [limit for limit in (envelope_timeout, total_timeout) if limit is not None]
        link.deadline = link.clock() + min(limits) if limits else None
        try:
            fault = self._guarded(self._envelope, mail_from, recipients, message)
        finally:
            link.deadline = None
        if fault:
            return self._complete(fault)
        if on_handover is not None:
            try:
                on_handover()
            except BaseException:
                # The server waits for a message now, and there is no command to tell it otherwise.
                self._link.abort()
                raise
        return self._complete(self._guarded(self._body, message, body_timeout, answer_timeout, end))

    def check_sender(self, mail_from: str, probe_recipient: str | None = None) -> Outcome:
        """Find out whether the server takes mail from a sender, without sending any: MAIL, RCPT if a recipient is
        given, RSET.

        :param mail_from: the bare envelope sender
        :param probe_recipient: a bare address to ask for too
        :return: ``accepted`` at ``mail`` or ``rcpt``, or the fault
        """
        self._handed_over = False
        self._refused = {}
        outcome = self._complete(self._guarded(self._probe, mail_from, probe_recipient))
        if not self.is_dead and self._needs_reset:
            self.is_alive(self._link.step_timeout)
        return outcome

    def close(self, timeout: float = 2.0) -> None:
        """Take leave, if the connection is still there. Raises nothing: whatever the server answers to QUIT, or whether
        it does, what it has accepted stays accepted.

        :param timeout: seconds to wait for the answer
        """
        link = self._link
        if not self.is_dead:
            link.deadline = link.clock() + timeout
            with contextlib.suppress(OSError):
                link.ask(Stage.QUIT, b'QUIT')
        with contextlib.suppress(OSError):
            link.close()

    # --- the steps of it

    def _complete(self, outcome: Outcome) -> Outcome:
        return dataclasses.replace(
            outcome, host=self.host, tls_version=self.tls_version, handed_over=self._handed_over,
            refused=dict(self._refused),
        )

    def _guarded(self, step: Callable, *args) -> Outcome | None:
        """Run steps over the link. After a fault, or whatever else interrupts them, nobody can say which reply comes
        next: the link is not used again."""
        try:
            return step(*args)
        except OSError as exc:
            fault = classify_exception(self._link.stage, exc)
        except BaseException:
            self._link.abort()
            raise
        self._link.abort()
        return fault

    def _refusal(self, stage: Stage, code: int, text: bytes) -> Outcome:
        """Judge a refusal, and note what state it leaves the session in."""
        outcome = classify(stage, code, text)
        if code == 421 or code < 400:
            # 421: the server hangs up. Another code below 400 is an answer to something that was not asked.
            self._link.abort()
        else:
            self._needs_reset = True
        return outcome

    def _begin(self, stage: Stage) -> Outcome | None:
        self._link.stage = stage
        self._link.connected()
        if self._needs_reset:
            code, text = self._link.ask(stage, b'RSET')
            if code // 100 != 2:
                self._link.abort()
                fault = classify(stage, code, text)
                return dataclasses.replace(fault, kind=Kind.TRANSIENT, reason=Reason.SERVICE_UNAVAILABLE, passing=True)
            self._needs_reset = False
        return None

    def _check_message(self, message: bytes) -> Outcome | None:
        def refuse(reason: Reason, text: str, **values) -> Outcome:
            return Outcome(kind=Kind.RECIPIENT, stage=Stage.MAIL, reason=reason, text=text, **values)

        breaks = message.count(b'\r\n')
        if not message or message.count(b'\r') != breaks or message.count(b'\n') != breaks or b'\0' in message:
            # RFC 5321, 2.3.8. A bare line feed with a dot behind it ends the message for some servers.
            return refuse(Reason.MESSAGE_MALFORMED, 'The message is empty, or has a NUL or a line end other than CRLF.')
        if not message.isascii() and '8bitmime' not in self._link.esmtp_features:
            return refuse(Reason.MESSAGE_MALFORMED, 'The message has 8-bit characters, and this server takes none.')
        limit = self.max_size
        if limit and len(message) > limit:
            return refuse(
                Reason.MESSAGE_TOO_LARGE,
                f'The message has {_size_words(len(message))}, this server takes {_size_words(limit)} at most.',
                message_size=len(message), size_limit=limit,
            )
        return None

    def _encode(self, address: str) -> bytes:
        """Make an address fit for a command.

        :raises _Undeliverable: it is none (a line break would be a command of its own), or needs SMTPUTF8
        """
        if not address.isascii():
            local, _at, domain = address.rpartition('@')
            if 'smtputf8' in self._link.esmtp_features:
                encoded = address.encode('utf-8', 'surrogatepass')
                printable = address.replace(' ', '').isprintable()
                if printable and not re.search(r'[\s<>]', address) and local and domain and len(encoded) <= MAX_ADDRESS:
                    return encoded
                raise _Undeliverable(Reason.ADDRESS_INVALID, 'This is no valid address.')
            if not local.isascii():
                raise _Undeliverable(
                    Reason.SMTPUTF8_MISSING, 'The address has characters that this server cannot take (no SMTPUTF8).')
            try:
                address = f"{local}@{domain.encode('idna').decode()}"
            except UnicodeError:
                raise _Undeliverable(Reason.ADDRESS_INVALID, "The address's domain is no valid name.") from None
        quoted = r'"(?:[\x20-\x21\x23-\x5b\x5d-\x7e]|\\[\x20-\x7e])*"'
        if len(address) > MAX_ADDRESS or not re.fullmatch(
                rf'(?:[^\x00-\x20\x7f<>()\[\]\\,;:@"]+|{quoted})@[^\x00-\x20\x7f<>()\\,;@"]+', address):
            raise _Undeliverable(Reason.ADDRESS_INVALID, 'This is no valid address.')
        return address.encode('ascii')

    def _mail(self, mail_from: str, recipients: Iterable[str], size: int | None, eight_bit: bool) -> Outcome | None:
        if fault := self._begin(Stage.MAIL):
            return fault
        try:
            sender = self._encode(mail_from) if mail_from else b''
        except _Undeliverable as exc:
            return Outcome(kind=Kind.PROVIDER, stage=Stage.MAIL, reason=exc.reason, text=exc.text)
        line = b'MAIL FROM:<%s>' % sender
        features = self._link.esmtp_features
        if 'size' in features and size is not None:
            line += b' SIZE=%d' % size
        if eight_bit:
            line += b' BODY=8BITMIME'
        if 'smtputf8' in features and not (mail_from.isascii() and all(address.isascii() for address in recipients)):
            line += b' SMTPUTF8'
        code, text = self._link.ask(Stage.MAIL, line)
        return None if code // 100 == 2 else self._refusal(Stage.MAIL, code, text)

    def _rcpt(self, address: str) -> Outcome | None:
        try:
            encoded = self._encode(address)
        except _Undeliverable as exc:
            return Outcome(kind=Kind.RECIPIENT, stage=Stage.RCPT, reason=exc.reason, text=exc.text)
        code, text = self._link.ask(Stage.RCPT, b'RCPT TO:<%s>' % encoded)
        return None if code // 100 == 2 else self._refusal(Stage.RCPT, code, text)

    def _envelope(self, mail_from: str, recipients: list[str], message: bytes) -> Outcome | None:
        """From MAIL to the answer to DATA. :return: ``None`` when the server waits for the message, else the fault"""
        if fault := self._mail(mail_from, recipients, len(message), not message.isascii()):
            return fault
        # From here on a transaction is open, whatever comes.
        self._needs_reset = True
        refusals = []
        for address in recipients:
            if fault := self._rcpt(address):
                self._refused[address] = fault.code, ' '.join(part for part in (fault.enhanced, fault.text) if part)
                if self.is_dead:
                    return fault
                refusals.append(fault)
        if len(refusals) == len(recipients):
            gravity = [Kind.PROVIDER, Kind.TRANSIENT, Kind.RECIPIENT]
            return min(refusals, key=lambda outcome: gravity.index(outcome.kind))
        code, text = self._link.ask(Stage.DATA, b'DATA')
        return None if code == 354 else self._refusal(Stage.DATA, code, text)

    def _body(
        self,
        message: bytes,
        body_timeout: float,
        answer_timeout: float,
        end: float | None,
    ) -> Outcome:
        """Write the message, then the terminator, then wait. See the module's docstring for why in this order.

        :param end: the moment (of the link's clock) by which all of it must be over
        """
        link = self._link
        link.stage = Stage.BODY
        stuffed = message.replace(b'\r\n.', b'\r\n..')
        if stuffed.startswith(b'.'):
            stuffed = b'.' + stuffed
        if not stuffed.endswith(b'\r\n'):
            stuffed += b'\r\n'
        def until_at_most(timeout: float) -> float:
            moment = link.clock() + timeout
            return moment if end is None else min(moment, end)

        until = until_at_most(body_timeout)
        self._handed_over = True
        try:
            link.write_all(stuffed, until)
            link.drain(until)
            early = link.has_reply()
        except OSError:
            # Often the server has said why before it hung up.
            if outcome := self._last_words():
                return outcome
            raise
        if early:
            # An answer before the end was sent: a refusal, or nonsense. Either way the end must not follow, for this
            # answer would be taken for the one to it.
            return self._last_words() or Outcome(
                kind=Kind.TRANSIENT, stage=Stage.BODY, reason=Reason.GARBAGE, passing=True)
        link.stage = Stage.EOD
        until = until_at_most(answer_timeout)
        link.write_all(b'.\r\n', until)
        code, text = link.getreply(max(until - link.clock(), 0))
        if code // 100 == 2 or code // 100 == 3:
            outcome = classify(Stage.EOD, code, text)
            if outcome.kind is Kind.ACCEPTED:
                self._needs_reset = False
            else:
                link.abort()
            return outcome
        return self._refusal(Stage.EOD, code, text)

    def _last_words(self) -> Outcome | None:
        """Read a refusal that came in the middle of the message, and leave: the transaction cannot be ended properly.

        :return: ``None`` if there is none to be read
        """
        link = self._link
        try:
            code, text = link.getreply(1.0 if link.has_reply() else 0)
        except OSError:
            code, text = 0, b''
        link.abort()
        return classify(Stage.BODY, code, text) if code >= 400 else None

    def _probe(self, mail_from: str, probe_recipient: str | None) -> Outcome:
        recipients = [probe_recipient] if probe_recipient else []
        if fault := self._mail(mail_from, recipients, None, False):
            return fault
        self._needs_reset = True
        for address in recipients:
            if fault := self._rcpt(address):
                self._refused[address] = fault.code, ' '.join(part for part in (fault.enhanced, fault.text) if part)
                return fault
        stage = Stage.RCPT if recipients else Stage.MAIL
        return Outcome(kind=Kind.ACCEPTED, stage=stage, reason=Reason.OK)


def _size_words(size: int) -> str:
    """``12345678`` -> ``12.3 MB``"""
    for factor, unit in ((1_000_000, 'MB'), (1_000, 'kB')):
        if size >= factor:
            return f'{size / factor:.1f} {unit}'
    return f'{size} bytes'

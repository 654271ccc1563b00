"""What a reply or a fault means: whose it is, and whether it may pass."""
from __future__ import annotations

import errno
import os
import re
import smtplib
import socket
import ssl
from collections.abc import Callable, Collection
from typing import NamedTuple

from .mask import Mask
from .outcome import MAX_REPLY_LINE, GarbageError, Kind, LoginError, Outcome, Reason, Stage, clean
from .rules import OPENING, judge

__all__ = ['UNREACHABLE', 'classify', 'classify_exception', 'is_expected']

_ENHANCED = re.compile(r'([245])\.(\d{1,3})\.(\d{1,3})(?!\S)')


def classify(stage: Stage, code: int, text: str | bytes = '', mask: Mask | None = None) -> Outcome:
    """Say what a reply means. A pure function.

    ==============================  ====================================================================================
    4xx, 5xx                        what :data:`.rules.RULES` say
    2xx after the dot               accepted; but 220 and 221 greet and take leave: unclear
    2xx, 3xx as the stage expects   accepted: the step, not the message
    any other                       garbage: unclear after the dot, else as :func:`classify_exception` has it
    anything to QUIT                transient: nothing depends on it
    ==============================  ====================================================================================

    :param stage: the step that the reply answers
    :param code: the reply code; anything outside of 200 to 599 counts as garbage
    :param text: the reply's text, its lines separated by line breaks, without the reply codes
    :param mask: what must not be shown of it. It is judged by all of its words, and cut afterwards: of a secret that is
        cut in two, the first half would be left.
    """
    enhanced, words = _split_enhanced(text)
    kind, reason, passing = _judge(stage, code, enhanced, words)
    shown = clean(mask.apply(words) if mask else words)
    return Outcome(
        kind=kind, stage=stage, reason=reason, code=code if 200 <= code <= 599 else None, enhanced=enhanced, text=shown,
        passing=passing, queue_id=_queue_id(shown) if kind is Kind.ACCEPTED and stage is Stage.EOD else '',
    )


def _judge(stage: Stage, code: int, enhanced: str, words: str) -> tuple[Kind, Reason, bool]:
    family = code // 100 if 200 <= code <= 599 else 0
    if stage is Stage.QUIT:
        return Kind.TRANSIENT, Reason.DISCONNECTED, True
    if family == 2 and stage is Stage.EOD and code not in (220, 221):
        return Kind.ACCEPTED, Reason.OK, False
    if family in (4, 5):
        return judge(stage, code, enhanced, words)
    if is_expected(stage, code):
        return Kind.ACCEPTED, Reason.OK, False
    return _broken_link(stage, Reason.GARBAGE)


def is_expected(stage: Stage, code: int) -> bool:
    if stage in (Stage.BANNER, Stage.STARTTLS):
        return code == 220
    if stage is Stage.AUTH:
        return code in (235, 503)  # 503: already logged in (smtplib takes it so too)
    if stage is Stage.DATA:
        return code == 354
    return stage in (Stage.EHLO, Stage.MAIL, Stage.RCPT) and code // 100 == 2


def _broken_link(stage: Stage, reason: Reason, passing: bool = True) -> tuple[Kind, Reason, bool]:
    """What a fault without a reply means: silence, a lost connection, garbage."""
    if stage is Stage.EOD:
        return Kind.UNCLEAR, Reason.ANSWER_MISSING if reason is Reason.TIMEOUT else reason, False
    if stage is Stage.MAIL:
        return Kind.PROVIDER, reason, True
    if stage in OPENING:
        # Whatever greets with something else than SMTP is no mail server, today or tomorrow.
        return Kind.PROVIDER, reason, passing and not (stage is Stage.BANNER and reason is Reason.GARBAGE)
    return Kind.TRANSIENT, reason, True


UNREACHABLE = frozenset({
    errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN, errno.EACCES, errno.EPERM,
    errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT,
})


def classify_exception(stage: Stage, exc: BaseException, mask: Mask | None = None) -> Outcome:
    """Say what an exception means that was raised at a stage. A pure function; never quotes the exception's message,
    which may hold credentials, but the system's words for its error number.

    A readable reply counts as in :func:`classify`; of anything else the first of :data:`FAULTS` that fits says what it
    is. After the dot all of that is unclear: the server may have the message.

    Sources: the ``ssl`` and ``smtplib`` modules; OpenSSL, X509_STORE_CTX_get_error(3).

    :param stage: the step under way
    :param exc: what it raised
    :param mask: what must not be shown of a reply
    """
    if isinstance(exc, smtplib.SMTPRecipientsRefused) and exc.recipients:
        return classify(Stage.RCPT, *next(iter(exc.recipients.values())), mask)
    if isinstance(exc, smtplib.SMTPResponseException):
        if isinstance(exc, smtplib.SMTPHeloError):
            stage = Stage.EHLO
        line_too_long = exc.smtp_code == 500 and exc.smtp_error == 'Line too long.'
        if not line_too_long and 200 <= exc.smtp_code <= 599:
            return classify(stage, exc.smtp_code, exc.smtp_error, mask)
    fault = next(fault for fault in FAULTS if fault.fits(stage, exc))
    kind, reason, passing = _broken_link(stage, fault.reason, fault.passing)
    words = _words_of(exc)
    return Outcome(
        kind=kind, stage=stage, reason=reason, passing=passing, text=clean(mask.apply(words) if mask else words))


class Fault(NamedTuple):
    """One line of :data:`FAULTS`.

    :ivar types: what was raised
    :ivar reason: what it is
    :ivar passing: whether it may pass by itself
    :ivar stages: where; empty for anywhere
    :ivar test: what must be true of it
    """
    types: type | tuple[type, ...]
    reason: Reason
    passing: bool
    stages: Collection[Stage] = ()
    test: Callable[..., bool] = lambda exc: True

    def fits(self, stage: Stage, exc: BaseException) -> bool:
        return isinstance(exc, self.types) and (not self.stages or stage in self.stages) and self.test(exc)


def _is_resolver_silent(exc: socket.gaierror) -> bool:
    """Nobody could be asked. Every other error is an answer."""
    return exc.errno in (socket.EAI_AGAIN, socket.EAI_SYSTEM)


def _is_end_of_tls(exc: ssl.SSLError) -> bool:
    return isinstance(exc, (ssl.SSLEOFError, ssl.SSLZeroReturnError)) or 'EOF' in _tls_name(exc)


def _is_no_tls(exc: ssl.SSLError) -> bool:
    """What OpenSSL 1.1 and 3 say when the first bytes are no TLS record."""
    marks = ('WRONG_VERSION_NUMBER', 'HTTP', 'RECORD_LAYER_FAILURE', 'UNKNOWN_PROTOCOL')
    return any(mark in _tls_name(exc) for mark in marks)


def _tls_name(exc: ssl.SSLError) -> str:
    return getattr(exc, 'reason', None) or ''


def _is_time_out(exc: smtplib.SMTPServerDisconnected) -> bool:
    """smtplib wraps time-outs too; what it wrapped is the context."""
    return isinstance(exc.__cause__ or exc.__context__, TimeoutError)


def _is_unencodable(exc: ValueError | OverflowError) -> bool:
    """At AUTH: smtplib encodes to ASCII, and refuses line breaks. Before: a name that cannot be one. A ValueError of a
    more special kind comes from what a login of the caller's own does elsewhere, such as a token's answer that is no
    JSON."""
    return isinstance(exc, (UnicodeError, OverflowError)) or type(exc) is ValueError


# The first that fits decides.
FAULTS = (
    Fault(LoginError, Reason.LOGIN_UNAVAILABLE, True, test=lambda exc: exc.passing),
    Fault(LoginError, Reason.LOGIN_REFUSED, False),
    # The latter with a code that is none: -1, or smtplib's "Line too long".
    Fault((GarbageError, smtplib.SMTPResponseException), Reason.GARBAGE, True),
    Fault(socket.gaierror, Reason.HOST_NOT_FOUND, True, test=_is_resolver_silent),
    Fault(socket.gaierror, Reason.HOST_NOT_FOUND, False),
    # X509_V_ERR_... of OpenSSL's x509_vfy.h.
    Fault(ssl.SSLCertVerificationError, Reason.CERTIFICATE_NOT_YET_VALID, False, test=lambda exc: exc.verify_code == 9),
    Fault(ssl.SSLCertVerificationError, Reason.CERTIFICATE_EXPIRED, False, test=lambda exc: exc.verify_code == 10),
    Fault(ssl.SSLCertVerificationError, Reason.CERTIFICATE_HOSTNAME, False,
          test=lambda exc: exc.verify_code in (62, 64)),
    Fault(ssl.SSLCertVerificationError, Reason.CERTIFICATE_UNTRUSTED, False),
    Fault(TimeoutError, Reason.CONNECT_TIMEOUT, True, [Stage.CONNECT]),
    Fault(TimeoutError, Reason.TIMEOUT, True),
    Fault(ssl.SSLError, Reason.DISCONNECTED, True, test=_is_end_of_tls),
    Fault(ssl.SSLError, Reason.NOT_TLS, False, OPENING, _is_no_tls),
    Fault(ssl.SSLError, Reason.TLS_FAILED, False, OPENING),
    Fault(ssl.SSLError, Reason.DISCONNECTED, True),
    Fault(ConnectionRefusedError, Reason.CONNECTION_REFUSED, True),
    Fault((ValueError, OverflowError), Reason.CREDENTIALS_UNUSABLE, False, [Stage.AUTH], _is_unencodable),
    Fault((ValueError, OverflowError), Reason.HOST_NOT_FOUND, False, test=_is_unencodable),
    Fault(OSError, Reason.NETWORK_UNREACHABLE, True, [Stage.CONNECT], lambda exc: exc.errno in UNREACHABLE),
    Fault(smtplib.SMTPServerDisconnected, Reason.TIMEOUT, True, test=_is_time_out),
    Fault(smtplib.SMTPServerDisconnected, Reason.DISCONNECTED, True),
    Fault(smtplib.SMTPNotSupportedError, Reason.NO_STARTTLS, False, [Stage.STARTTLS]),
    Fault(smtplib.SMTPException, Reason.LOGIN_NOT_SUPPORTED, False, [Stage.AUTH]),
    Fault(BaseException, Reason.DISCONNECTED, True),
)


def _words_of(exc: BaseException) -> str:
    if isinstance(exc, LoginError):
        return clean(exc.text, MAX_REPLY_LINE)
    if isinstance(exc, GarbageError):
        return clean(exc.received, MAX_REPLY_LINE)
    if isinstance(exc, ssl.SSLCertVerificationError):
        return clean(exc.verify_message or '')
    if isinstance(exc, ssl.SSLError):
        return clean(_tls_name(exc).replace('_', ' ').lower())
    if isinstance(exc, socket.gaierror):
        return clean(exc.strerror or '')
    if isinstance(exc, OSError) and exc.errno:
        return clean(os.strerror(exc.errno))
    return ''


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
    return enhanced, clean('\n'.join(words), MAX_REPLY_LINE)


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



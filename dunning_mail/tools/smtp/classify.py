"""What a reply or a fault means: whose it is, and whether it may pass."""
from __future__ import annotations

import errno
import os
import re
import smtplib
import socket
import ssl

from .outcome import GarbageError, Kind, LoginError, Outcome, Reason, Stage, clean

__all__ = ['OPENING', 'UNREACHABLE', 'classify', 'classify_exception', 'is_expected']

OPENING = frozenset({Stage.RESOLVE, Stage.CONNECT, Stage.BANNER, Stage.EHLO, Stage.STARTTLS, Stage.AUTH})
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
        if stage in OPENING:
            return Kind.PROVIDER, *_judge_opening(stage, code, enhanced, words)
        return _judge_transaction(stage, code, enhanced, words)
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
    if stage in OPENING:
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
UNREACHABLE = frozenset({
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
        if isinstance(exc, (ssl.SSLEOFError, ssl.SSLZeroReturnError)) or 'EOF' in name or stage not in OPENING:
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
    if isinstance(exc, OSError) and exc.errno in UNREACHABLE and stage is Stage.CONNECT:
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
        return clean(exc.text)
    if isinstance(exc, GarbageError):
        return clean(exc.received)
    if isinstance(exc, ssl.SSLCertVerificationError):
        return clean(exc.verify_message or '')
    if isinstance(exc, ssl.SSLError):
        return clean((getattr(exc, 'reason', None) or '').replace('_', ' ').lower())
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
    return enhanced, clean('\n'.join(words))


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



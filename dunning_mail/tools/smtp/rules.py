"""What a refusal means: a list of rules, of which the first that fits decides.

A reply is judged by the step that it answers, its code, its RFC 3463 code if it begins with one, and its words where
these leave it open.

At MAIL and before, nobody has spoken of a recipient yet: nothing is the recipient's there; what is refused is the
sender, or this message for its size.

From RCPT on, a refusal can be about this recipient or about us all. It is taken for the recipient's unless code or
words name the sender, its network, login or quota: wrongly failing one notice is mended by one click, wrongly stopping
a run is not seen until somebody looks. The opposite case shows by repetition, for which whoever sends many messages
counts the refusals in a row.

That *the address* does not exist or is closed (:attr:`Outcome.blames_address`) is a third thing. It is believed where
an RFC 3463 code or unmistakable words say so, and nothing speaks against it. "Mailbox unavailable" is no such word: RFC
5321 has it for every 550, and it is what a sender is answered whom the provider has stopped.

Sources: RFC 5321 (4.2, 4.3.2, 4.5.3), RFC 3463, RFC 5248 and its IANA registry (Enhanced Status Codes), RFC 1870
(SIZE), RFC 2034, RFC 3207 (STARTTLS), RFC 4954 (AUTH), RFC 6531 (SMTPUTF8), RFC 7372 (x.7.20 - 26), RFC 7504
(521, 556), RFC 8689; "Email non-delivery reports and SMTP errors in Exchange Online" (Microsoft); "Gmail SMTP
errors and codes" (Google); access(5) and postconf(5), smtpd_delay_reject (Postfix).
"""
from __future__ import annotations

import re
from typing import NamedTuple

from .outcome import Kind, Reason, Stage

__all__ = ['OPENING', 'RULES', 'Rule', 'is_dead_domain', 'judge']

OPENING = frozenset({Stage.RESOLVE, Stage.CONNECT, Stage.BANNER, Stage.EHLO, Stage.STARTTLS, Stage.AUTH})


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
    r'email address is not verified', r'(un(verified|authori[sz]ed|known)|bad( outbound)?|banned|invalid) sender',
    r'domain of (the )?sender', r'not authori[sz]ed to perform',
)
# A sender whom the provider has stopped. Of "this account" nobody can say whose it is.
_STOPPED = r'(suspended|disabled|blocked|locked|frozen|restricted|deactivated|terminated|paused|barred)'
_STOPPED_WORDS = _pattern(
    rf'\byour ([\w-]+ )?(account|mailbox|user|access|subscription|contract|hosting|service)\b.{{0,40}}\b{_STOPPED}',
    rf'\b(outgoing|outbound|sending|submission|sender)\b.{{0,60}}\b{_STOPPED}',
    rf'\b{_STOPPED}\b.{{0,40}}\b(sending|to send|outgoing|outbound)\b',
    r'(not|no longer) (allowed|permitted|authori[sz]ed|entitled) to send(?! as| (\w+ )?to\b)',
)
_RELAY_WORDS = _pattern(
    r'relay(ing)?( access)? (is )?(denied|not (permitted|allowed)|prohibited|disallowed|refused|forbidden)',
    r'(unable|not (permitted|allowed|authori[sz]ed)) to relay',
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
_RECIPIENTS_WORDS = _pattern(r'too many recipients', r'recipients? (count )?limit')
# About sending, beyond doubt: also where the code says "mailbox" (Google: 450 4.2.1 Peak SMTP relay limit exceeded).
_SENDING_QUOTA_WORDS = _pattern(
    r'\b(send|sending|sent|submission|relay|outgoing|outbound|hourly|daily|monthly)[- ](\w+[- ]){0,3}'
    r'(quota|limit|rate|volume)s?\b',
    r'(limit|quota)s? (for|of|on) (sending|sent|outgoing|outbound|e-?mails|messages)',
    r'submission ?quota', r'(quota|limit|max(imum)?|exceed\w*)\b.{0,60} (per|an|a) (second|minute|hour|day|month)\b',
    r'\bper[- ](smtp )?(session|connection)\b',
    r'(messages|e?-?mails|transactions) in (this|one|a|the) (session|connection)',
    r'message count', r'credits? (is |are |has been )?exceeded',
    r'concurrent (\w+ ){0,2}(connection|session|limit)', r'connections? (\w+ )?limit',
    r'max(imum)? (number of )?(e-?mails|messages|connections|defers)', r'rate[- ]?limit', r'throttl',
    r'unusual (\w+ )?(rate|activity|volume|traffic)',
    r'limit for message recipients', r'too many (\w+ )?(connections|sessions)',
)
# One mailbox, which gets much at once.
_RECIPIENT_LIMIT_WORDS = _pattern(
    r'recipient (thread|rate) limit', r'receiving (e-?)?(mail|messages)s? (too (quickly|fast|often)|at a rate)',
    r'\b(recipient|user|mailbox)\b.{0,40} (receiv\w+|get\w*) too (many|much)',
    r'recipient.s (per hour|hourly) (message )?receive limit', r'messages (they|it) can receive',
)
_QUOTA_WORDS = _pattern(
    _SENDING_QUOTA_WORDS.pattern, r'(message|e-?mail) (quota|rate)', r'(message|e-?mail) limit (exceed|reach)\w+',
    r'too many (e-?mails|messages|mails|requests|concurrent|log)', r'exceed\w*.{0,40} rate\b',
    r'exceeded permitted limits', r'too (fast|quickly|frequently)', r'slow down',
)
_BUSY_WORDS = _pattern(
    r'(server|system|service)( is)?( \w+)? (busy|overloaded|unavailable|not available)', r'\b(too|very) busy\b',
    r'\b(over)?load (is |average )?(too )?high', r'system (load|resources|congest)', r'shutting down',
)
_WINDOW_WORDS = _pattern(
    r'\b(daily|hourly)\b', r'\b(per|an?|this|last|past|each|every) (minute|day|hour)\b',
    r'\bfrom \[?[0-9a-f]*[.:][0-9a-f.:]+')
_MAILBOX_WORDS = _pattern(
    r'(mailbox|inbox|mail ?drop).{0,60}(full|quota|storage|limit|exceed)',
    r'(full|quota|exceed\w*).{0,60}(mailbox|inbox)',
    r'out of (disk |storage )?space', r'out of storage', r'(disk|storage) (quota|full)', r'user is over',
)
# Said of the mailbox from RCPT on (Dovecot says so), of the sender's at MAIL.
_FULL_WORDS = _pattern(r'over ?-?quota', r'quota (is )?(exceeded|full)', r'exceed\w* .{0,20}(quota|storage)')
_MESSAGE_QUOTA_WORDS = _pattern(r'(message|e-?mail) quota')
_WHO = r'(user|recipient|mailbox|mail ?drop|account|address|addressee|alias|local part|person|customer)'
_UNKNOWN_WORDS = _pattern(
    rf'\b{_WHO}( name)?( \S+)? ?:? ?(is |was )?((not|un) ?known|not found|unrouteable|not existing|non-?existent)\b',
    rf'\b{_WHO}( \S+)? (does not|doesn.t|do not|no longer) exists?\b', rf'\b(unknown|no such|non-?existent) {_WHO}\b',
    rf'\b(no|not a) (known |valid |existing )?{_WHO} (here|with (that|this)|by (that|this)|of (that|this)|found)\b',
    r'\binvalid (recipient|mailbox)\b', r'\brecipient( address)? (is )?(invalid|not valid)\b',
    rf'\b{_WHO} (that )?you (tried|are trying|attempted) to (reach|contact) (does not|doesn.t) exist',
    r'no (one|body) (here )?(at|by|with) (this|that)', r'(does not|doesn.t) have an? \S+ account',
    r'unrout(e)?able address', r'\b(mailbox|recipient|addressee) not listed', r'not our customer', r'\bno mailbox\b',
    r'recipient ?not ?found', r'\brecipient (is )?no longer (on|at|with) ',
    r'\bnot an? (known |valid |existing )+(recipient|mailbox|addressee|user)\b',
    r'\b(recipient|destination|recipient.s) (address )?(rejected: )?(domain|host)( \S+)? '
    r'(not found|unknown|does not exist)',
    r'recipient address rejected: (domain|user|mailbox|account) (not found|unknown)',
)
_CLOSED_WORDS = _pattern(
    r'\b(mailbox|recipient|addressee|recipient.s account|address)( \S+)? (is |was |has been )?(no longer '
    r'(active|available|valid|in use)|not active|inactive|disabled|closed|discontinued|deactivated|deleted)\b',
    rf'\b{_WHO} (that )?you (tried|are trying|attempted) to (reach|contact) is (disabled|inactive|over|closed)',
)
# The name servers know of no such domain, in the words of whoever has asked them: whatever the code is. ("Invalid DNS
# MX or A/AAAA resource record" is no such word: it can be about the sender's.)
_DEAD_DOMAIN_WORDS = _pattern(
    r'\bdns domain \S+ does not exist', r'InfoDomainNonexistent', r'\b(dns|mx)\b.{0,80}\bNXDOMAIN\b')
# What speaks against the address, whatever else is said.
_DOUBT_WORDS = _pattern(
    *(words.pattern for words in (
        _SENDER_AUTH_WORDS, _SENDER_WORDS, _STOPPED_WORDS, _RELAY_WORDS, _AUTH_WORDS, _CLIENT_WORDS, _LIST_WORDS,
        _SENDING_QUOTA_WORDS, _QUOTA_WORDS, _SIZE_WORDS, _GREYLIST_WORDS, _BUSY_WORDS)),
    r'spam', r'\bjunk\b', r'unsolicited', r'\bbulk\b', r'\bpolic(y|ies)', r'reputation', r'suspicious', r'virus',
    r'try (again )?later', r'temporar', r'suspended', r'blocked', r'\bsender\b',
)
# Part of an address or of a link is nobody's word.
_QUOTED = re.compile(r'\S+://\S+|[^\s<>@"]+@[^\s<>@",;:]+')
_ADDRESS_REJECTED_WORDS = _pattern(r'recipient address rejected')
_NO_WORDS = re.compile(r'^\W*$')
_PASSWORD_CHANGE_WORDS = _pattern(r'password', r'transition')


def _security(*details: int) -> list[str]:
    """RFC 3463, subject 7."""
    return [f'x.7.{detail}' for detail in details]


# RFC 5248 registry and Microsoft's list of non-delivery reports: details that are about the sender, its login or its
# network, whoever the recipient is ...
_LOGIN_DETAILS = _security(3, 8, 9, 10, 11, 12, 13, 14, 57, 139)
_SENDER_AUTH_DETAILS = _security(*range(20, 25), 26, 29, 509, 515)
_SENDER_DETAILS = _security(27, 60, 501, 502, 503, 511)
_QUOTA_DETAILS = _security(28, 232, 233, 500, 508, 705)
_NETWORK_DETAILS = _security(4, 25, *range(504, 600), *range(606, 650), *range(700, 751))
# ... those that say that the address does not exist, or not any more ...
_ADDRESS_DETAILS = [f'x.1.{detail}' for detail in (1, 2, 3, 6, 10)]
# ... and details that are about the recipient: moved owners, restricted groups.
_RESTRICTED_DETAILS = _security(17, 18, 19, 124, 129, *range(133, 137), 193)

# A reply without an RFC 3463 code.
_BARE = 'bare'
_AFTER_MAIL = (Stage.RCPT, Stage.DATA, Stage.BODY, Stage.EOD)


def _signs(stage: Stage, code: int, enhanced: str) -> set[str | int]:
    """All that a rule can ask for but words. ``x`` stands for any part: ``x.7.1`` for 4.7.1 and 5.7.1, ``x.7.x`` for
    the whole subject."""
    signs = {stage, code, f'{code // 100}xx'}
    if not enhanced:
        return signs | {_BARE}
    digit, subject, detail = enhanced.split('.')
    return signs | {enhanced, f'{digit}.{subject}.x', f'x.{int(subject)}.{int(detail)}', f'x.{int(subject)}.x'}


class Blame(NamedTuple):
    """Whose fault it is; of a reply 4xx and of one 5xx, each with whether it may pass by itself."""
    of_4xx: tuple[Kind, bool]
    of_5xx: tuple[Kind, bool]


_PROVIDER = Blame((Kind.PROVIDER, True), (Kind.PROVIDER, False))
_PROVIDER_PASSING = Blame((Kind.PROVIDER, True), (Kind.PROVIDER, True))
_PROVIDER_LASTING = Blame((Kind.PROVIDER, False), (Kind.PROVIDER, False))
_RECIPIENT = Blame((Kind.TRANSIENT, True), (Kind.RECIPIENT, False))
_TRANSIENT = Blame((Kind.TRANSIENT, True), (Kind.TRANSIENT, True))


class Rule:
    """One line of :data:`RULES`.

    :ivar blame: whose fault it is if the rule fits
    :ivar reason: why
    :ivar groups: of each of them, one sign at least must be there: a stage, a code, an RFC 3463 code, or words
    :ivar unless: none of these must be there
    """

    def __init__(self, blame: Blame, reason: Reason, *groups, unless=()):
        self.blame = blame
        self.reason = reason
        self.groups = groups
        self.unless = unless

    def fits(self, signs: set[str | int], words: str) -> bool:
        """:param signs: what :func:`_signs` returned"""
        def has(group) -> bool:
            return any(
                sign.search(words) if isinstance(sign, re.Pattern) else sign in signs for sign in group)
        return all(has(group) for group in self.groups) and not has(self.unless)


# In their order: the first that fits decides.
RULES = (
    # --- AUTH
    Rule(_PROVIDER_PASSING, Reason.QUOTA, [Stage.AUTH], [_SENDING_QUOTA_WORDS]),
    Rule(_PROVIDER_PASSING, Reason.QUOTA, [Stage.AUTH], ['4xx'], [_QUOTA_WORDS]),
    # RFC 4954: a password transition is needed. (Exchange has the code for limits and busy servers.)
    Rule(_PROVIDER_LASTING, Reason.LOGIN_REFUSED, [Stage.AUTH], [432], ['x.7.12', _PASSWORD_CHANGE_WORDS]),
    Rule(_PROVIDER, Reason.LOGIN_UNAVAILABLE, [Stage.AUTH], ['4xx']),
    # The mechanism, basic login as such, or this password where an application password is wanted.
    Rule(_PROVIDER, Reason.LOGIN_NOT_SUPPORTED, [Stage.AUTH],
         [500, 502, 503, 504, 534, 538, '5.7.9', '5.7.30', '5.7.139']),
    Rule(_PROVIDER, Reason.LOGIN_REFUSED, [Stage.AUTH]),
    # --- the other steps of the opening
    Rule(_PROVIDER, Reason.TLS_UNAVAILABLE, [Stage.STARTTLS], ['4xx']),
    Rule(_PROVIDER, Reason.NO_STARTTLS, [Stage.STARTTLS]),
    Rule(_PROVIDER, Reason.QUOTA, OPENING, ['4xx'], [_QUOTA_WORDS]),
    Rule(_PROVIDER, Reason.SERVICE_UNAVAILABLE, OPENING, ['4xx']),
    Rule(_PROVIDER, Reason.EHLO_REFUSED, [Stage.EHLO]),
    Rule(_PROVIDER, Reason.POLICY_BLOCK, OPENING, ['5.7.x', _CLIENT_WORDS, _LIST_WORDS]),
    Rule(_PROVIDER, Reason.SERVICE_REFUSED, OPENING),

    # --- from MAIL to the answer to the dot: the sender, its login and its right to send. Postfix and others keep their
    # verdict on the sender and the client back until RCPT, so all stages are looked at.
    Rule(_PROVIDER, Reason.LOGIN_NOT_SUPPORTED, ['x.7.9', 'x.7.139']),
    Rule(_PROVIDER, Reason.LOGIN_REQUIRED, [530, 534, 535, 538, *_LOGIN_DETAILS]),
    Rule(_PROVIDER, Reason.LOGIN_NOT_SUPPORTED, ['x.7.30']),
    # This recipient takes mail from some only.
    Rule(_RECIPIENT, Reason.POLICY_BLOCK, _RESTRICTED_DETAILS),
    # Too many in one mail, 5xx too (RFC 5321, 4.5.3.1.10); too many a day are a quota.
    Rule(_TRANSIENT, Reason.TOO_MANY_RECIPIENTS, ['x.5.3'], unless=[_WINDOW_WORDS, _SENDING_QUOTA_WORDS]),
    # It passes, 5xx too; RFC 3463 has no code for it, and some say 5.2.1.
    Rule(_TRANSIENT, Reason.MAILBOX_BUSY, _AFTER_MAIL, ['x.2.121', 'x.2.122', _RECIPIENT_LIMIT_WORDS]),
    # Quotas are windows, so all of it passes, 5xx too.
    Rule(_PROVIDER_PASSING, Reason.QUOTA, [_SENDING_QUOTA_WORDS, *_QUOTA_DETAILS, '5.4.5', '5.1.90']),
    Rule(_PROVIDER_PASSING, Reason.QUOTA, [_RECIPIENTS_WORDS], [_WINDOW_WORDS]),
    # A quota that is a policy is nobody's mailbox.
    Rule(_PROVIDER_PASSING, Reason.QUOTA, ['x.7.x'], [_FULL_WORDS], unless=[_MAILBOX_WORDS]),

    # --- the address. Whose code says so but whose words speak of something else has not said it.
    Rule(_RECIPIENT, Reason.RECIPIENT_REFUSED, _AFTER_MAIL, ['5xx'], [556, *_ADDRESS_DETAILS, 'x.2.1'], [_DOUBT_WORDS]),
    Rule(_RECIPIENT, Reason.RECIPIENT_UNKNOWN, _AFTER_MAIL, ['5xx'], [556, *_ADDRESS_DETAILS]),

    Rule(_PROVIDER, Reason.SENDER_AUTHENTICATION, [_SENDER_AUTH_WORDS, *_SENDER_AUTH_DETAILS]),
    Rule(_PROVIDER, Reason.SENDER_REFUSED, [_SENDER_WORDS, _STOPPED_WORDS, *_SENDER_DETAILS, 'x.1.7', 'x.1.8']),
    Rule(_PROVIDER, Reason.RELAY_DENIED, [_RELAY_WORDS, *_security(54, 64)]),
    Rule(_PROVIDER, Reason.LOGIN_REQUIRED, [_AUTH_WORDS]),

    # --- a mailbox (RFC 3463, X.2.X, and the same in words). At MAIL there is only one to speak of: the sender's.
    Rule(_PROVIDER_PASSING, Reason.QUOTA, [Stage.MAIL], ['x.2.2', _MAILBOX_WORDS], unless=['x.1.x']),
    Rule(_PROVIDER_PASSING, Reason.QUOTA, [Stage.MAIL], [_FULL_WORDS],
         unless=['x.1.x', _SIZE_WORDS, _MESSAGE_QUOTA_WORDS]),
    Rule(_RECIPIENT, Reason.MAILBOX_FULL, _AFTER_MAIL, ['x.2.2', _MAILBOX_WORDS], unless=['x.1.x']),
    Rule(_RECIPIENT, Reason.MAILBOX_FULL, _AFTER_MAIL, [_FULL_WORDS],
         unless=['x.1.x', _SIZE_WORDS, _MESSAGE_QUOTA_WORDS]),
    Rule(_RECIPIENT, Reason.MAILBOX_BUSY, _AFTER_MAIL, ['x.2.1'], ['4xx'], unless=[_GREYLIST_WORDS]),
    Rule(_RECIPIENT, Reason.MAILBOX_DISABLED, _AFTER_MAIL, ['x.2.1'], unless=[_GREYLIST_WORDS]),
    Rule(_RECIPIENT, Reason.MESSAGE_TOO_LARGE, _AFTER_MAIL, ['x.2.3']),
    # At RCPT nothing is known of the message: without words it is the mailbox's quota.
    Rule(_RECIPIENT, Reason.MAILBOX_FULL, [Stage.RCPT], [552], [_BARE],
         unless=[_SIZE_WORDS, _RECIPIENTS_WORDS, _UNKNOWN_WORDS, _CLOSED_WORDS]),
    Rule(_TRANSIENT, Reason.GREYLISTED, ['4xx'], [_GREYLIST_WORDS]),

    # --- the message, and how much of it
    # RFC 1870.
    Rule(_RECIPIENT, Reason.MESSAGE_TOO_LARGE, ['5xx'], [523, 'x.2.3', 'x.3.4', _SIZE_WORDS],
         unless=[_RECIPIENTS_WORDS]),
    # At MAIL it may be the sender who has no room, or no right to it.
    Rule(_RECIPIENT, Reason.MESSAGE_TOO_LARGE, [Stage.MAIL], [552], [_NO_WORDS, 'x.3.x'], unless=[_RECIPIENTS_WORDS]),
    Rule(_RECIPIENT, Reason.MESSAGE_TOO_LARGE, _AFTER_MAIL, [552], [_BARE, 'x.0.x', 'x.3.x'],
         unless=[_RECIPIENTS_WORDS, _UNKNOWN_WORDS, _CLOSED_WORDS]),
    Rule(_PROVIDER_PASSING, Reason.QUOTA, [_QUOTA_WORDS]),
    Rule(_TRANSIENT, Reason.TOO_MANY_RECIPIENTS, [_RECIPIENTS_WORDS]),

    # --- the client's network is on a list
    Rule(_PROVIDER, Reason.POLICY_BLOCK, [Stage.MAIL, Stage.RCPT], [_LIST_WORDS]),
    Rule(_PROVIDER, Reason.POLICY_BLOCK, [_CLIENT_WORDS, *_NETWORK_DETAILS]),

    # --- what is left at MAIL
    Rule(_PROVIDER_PASSING, Reason.PROTOCOL, [Stage.MAIL], [500, 502, 503, 504, 555]),
    Rule(_PROVIDER, Reason.SENDER_REFUSED, [Stage.MAIL], ['5xx']),
    Rule(_PROVIDER, Reason.SERVER_STORAGE, [Stage.MAIL], [452, 'x.3.1']),
    Rule(_PROVIDER, Reason.SERVICE_UNAVAILABLE, [Stage.MAIL]),

    # --- what is left of 4xx
    # A server that has no time now has none for anybody.
    Rule(_PROVIDER, Reason.SERVICE_UNAVAILABLE, ['4xx'], [421, 'x.3.2', 'x.4.5', _BUSY_WORDS]),
    Rule(_TRANSIENT, Reason.SERVER_STORAGE, ['4xx'], [452, 'x.3.1']),
    Rule(_TRANSIENT, Reason.TEMPORARY, ['4xx']),

    # --- what is left of 5xx
    # A command that every server must know: it says nothing of the recipient.
    Rule(_PROVIDER_PASSING, Reason.PROTOCOL, [502, 503]),
    Rule(_PROVIDER_PASSING, Reason.PROTOCOL, [Stage.RCPT], [500]),
    Rule(_RECIPIENT, Reason.POLICY_BLOCK, ['x.7.x']),
    # Exchange says 5.4.1 so, to whom RFC 3463 gives another meaning.
    Rule(_RECIPIENT, Reason.RECIPIENT_UNKNOWN, [Stage.RCPT], ['x.4.1'], [_ADDRESS_REJECTED_WORDS],
         unless=[_DOUBT_WORDS]),
    Rule(_RECIPIENT, Reason.RECIPIENT_UNKNOWN, [Stage.RCPT], ['x.4.4'], unless=[_DOUBT_WORDS]),
    Rule(_RECIPIENT, Reason.RECIPIENT_UNKNOWN, [_UNKNOWN_WORDS, _DEAD_DOMAIN_WORDS], unless=[_DOUBT_WORDS]),
    Rule(_RECIPIENT, Reason.MAILBOX_DISABLED, [_CLOSED_WORDS], unless=[_DOUBT_WORDS]),
    Rule(_RECIPIENT, Reason.POLICY_BLOCK, [_POLICY_WORDS]),
    Rule(_RECIPIENT, Reason.RECIPIENT_REFUSED, [Stage.RCPT]),
    Rule(_RECIPIENT, Reason.CONTENT_REFUSED),
)


def is_dead_domain(words: str) -> bool:
    """Whether words say beyond doubt that there is no such domain as the recipient's, now or later."""
    words = _QUOTED.sub('@', words)
    return bool(_DEAD_DOMAIN_WORDS.search(words)) and not _DOUBT_WORDS.search(words)


def judge(stage: Stage, code: int, enhanced: str, words: str) -> tuple[Kind, Reason, bool]:
    """Walk through :data:`RULES`.

    :param stage: any but QUIT, whose answer nothing depends on
    :param code: 400 to 599
    :param enhanced: the RFC 3463 code, or ``''``
    :param words: the reply's words without it
    :return: whose fault it is, why, and whether it may pass by itself
    """
    signs = _signs(stage, code, enhanced)
    words = _QUOTED.sub('@', words)
    rule = next(rule for rule in RULES if rule.fits(signs, words))
    kind, passing = rule.blame.of_4xx if code < 500 else rule.blame.of_5xx
    if stage is Stage.MAIL and rule.reason is not Reason.MESSAGE_TOO_LARGE:
        # Whatever it looks like: no recipient was named yet.
        kind = Kind.PROVIDER
    return kind, rule.reason, passing

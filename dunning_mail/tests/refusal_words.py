"""What mail servers answer, as their documentation, their help pages and their sources have it.

`unknown`: the address does not exist or is closed. `stopped`: the provider has stopped the sender. `limit`: too much,
too
fast. `other`: refusals from which nobody can tell, and such as are somebody's policy. Each is (stage, code, words);
`{to}` is the recipient.
"""

PROVIDERS = {
    'Microsoft 365': {
        'unknown': [
            ('rcpt', 550, "5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient {to} not found by SMTP address lookup"),
            ('rcpt', 550,
             "5.4.1 Recipient address rejected: Access denied. [AM6EUR05FT047.eop-eur05.prod.outlook.com]"),
            ('rcpt', 550, "5.1.1 RESOLVER.ADR.ExRecipNotFound; not found"),
        ],
        'stopped': [
            ('eod', 550, "5.1.8 Access denied, bad outbound sender"),
            ('eod', 550, "5.7.501 Access denied, spam abuse detected"),
            ('mail', 550, "5.7.708 Service unavailable. Access denied, traffic not accepted from this IP"),
        ],
        'limit': [
            ('eod', 432, "4.3.2 Concurrent connections limit exceeded. Visit https://aka.ms/concurrent_sending"),
            ('eod', 554,
             "5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException; Failed to process "
             "message"),
            ('rcpt', 550,
             "5.1.90 Your message can't be sent because you've reached your daily limit for message "
             "recipients"),
            ('mail', 432, "4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded"),
        ],
        'other': [
            ('eod', 550, "5.7.133 RESOLVER.RST.SenderNotAuthenticatedForGroup; authentication required"),
        ],
    },
    'Google': {
        'unknown': [
            ('rcpt', 550,
             "5.1.1 The email account that you tried to reach does not exist. Please try double-checking "
             "the recipient's email address for typos. For more information, go to "
             "https://support.google.com/mail/?p=NoSuchUser"),
            ('rcpt', 550, "5.2.1 The email account that you tried to reach is inactive."),
        ],
        'stopped': [
            ('mail', 550, "5.7.1 Your account has been disabled for sending"),
        ],
        'limit': [
            ('eod', 550,
             "5.4.5 Daily user sending limit exceeded. For more information on Gmail sending limits go to"),
            ('rcpt', 450, "4.2.1 Peak SMTP relay limit exceeded for customer."),
            ('eod', 421, "4.7.28 Gmail has detected an unusual rate of email originating from your account"),
        ],
        'other': [
            ('eod', 550, "5.7.1 Our system has detected that this message is likely unsolicited mail"),
        ],
    },
    'IONOS, GMX, WEB.DE': {
        'unknown': [
            ('rcpt', 550, "5.1.1 unknown user"),
        ],
        'stopped': [
            ('rcpt', 550, "Requested action not taken: mailbox unavailable"),
            ('rcpt', 550, "Failure sending mail. Try again later"),
            ('eod', 554, "Transaction failed Reject due to policy violations."),
        ],
        'limit': [
            ('rcpt', 450, "Requested mail action not taken: mailbox unavailable Mail send limit exceeded."),
            ('rcpt', 550, "Requested action not taken: mailbox unavailable Mail send limit exceeded."),
            ('rcpt', 450, "Mail send limit exceeded"),
        ],
        'other': [
            ('rcpt', 550, "Requested action not taken: mailbox unavailable"),
        ],
    },
    'Infomaniak': {
        'unknown': [
            ('rcpt', 550, "5.1.1 <{to}>: Recipient address rejected: User unknown in virtual mailbox table"),
        ],
        'stopped': [
            ('mail', 550, '5.7.1 Outgoing mail from "mahnung@muster.test" has been suspended.'),
        ],
        'limit': [
            ('rcpt', 450, "4.7.1 <{to}>: Recipient address rejected: Policy Rejection- Quota Exceeded."),
        ],
        'other': [],
    },
    'Hostpoint': {
        'unknown': [
            ('rcpt', 550, "No such recipient here"),
        ],
        'stopped': [
            ('rcpt', 550, 'Outgoing mail from "mahnung@muster.test" has been suspended.'),
        ],
        'limit': [
            ('rcpt', 451, "You have exceeded the maximum number of messages per hour"),
        ],
        'other': [
            ('rcpt', 550, "Administrative prohibition"),
        ],
    },
    'T-Online': {
        'unknown': [
            ('rcpt', 550, "user unknown"),
        ],
        'stopped': [
            ('rcpt', 550, "Your mailbox is blocked for sending"),
        ],
        'limit': [
            ('rcpt', 421, "Too many mails in a short time"),
            ('mail', 451, "Too many connections"),
        ],
        'other': [
            ('eod', 554, "message rejected"),
        ],
    },
    'Amazon SES': {
        'unknown': [
            ('rcpt', 550, "5.1.1 Address does not exist"),
        ],
        'stopped': [
            ('eod', 554, "Sending paused for this account. For more information, please check the inbox"),
            ('eod', 554, "Message rejected: Email address is not verified."),
        ],
        'limit': [
            ('eod', 454, "Throttling failure: Maximum sending rate exceeded."),
            ('eod', 454, "Throttling failure: Daily message quota exceeded."),
            ('mail', 421, "Connection closed by server. Maximum message count per session reached."),
        ],
        'other': [
            ('eod', 554, "Transaction failed: Local address contains control or whitespace"),
        ],
    },
    'SendGrid, Mailgun': {
        'unknown': [
            ('rcpt', 550, "Invalid recipient {to}"),
        ],
        'stopped': [
            ('eod', 550, "The from address does not match a verified Sender Identity."),
            ('eod', 550, "5.7.1 Domain muster.test is not allowed to send: the account is disabled"),
        ],
        'limit': [
            ('mail', 451, "Authentication failed: Maximum credits exceeded"),
            ('eod', 421, "Domain muster.test is not allowed to send: hourly limit exceeded"),
        ],
        'other': [
            ('eod', 552, "5.7.0 This message presents a potential security issue"),
        ],
    },
    'OVH': {
        'unknown': [
            ('rcpt', 550, "5.1.1 <{to}>: Recipient address rejected: User unknown"),
        ],
        'stopped': [
            ('mail', 552, "Your account has been suspended"),
        ],
        'limit': [
            ('rcpt', 451, "4.7.1 Sending quota exceeded, 200 messages per hour"),
            ('mail', 450, "4.7.1 too many messages"),
        ],
        'other': [
            ('eod', 550, "spam detected"),
        ],
    },
    'Strato': {
        'unknown': [
            ('rcpt', 550, "5.1.1 <{to}> User unknown"),
        ],
        'stopped': [
            ('eod', 550, "5.7.1 Refused by local policy. Sending of SPAM is not permitted!"),
        ],
        'limit': [
            ('rcpt', 450, "4.7.1 Ratelimit exceeded, please slow down"),
        ],
        'other': [],
    },
    'Swisscom, Bluewin': {
        'unknown': [
            ('rcpt', 550, "5.1.1 <{to}> recipient not found"),
        ],
        'stopped': [
            ('rcpt', 554, "5.7.1 Your access has been temporarily blocked"),
        ],
        'limit': [
            ('rcpt', 452, "4.4.5 Maximum number of messages per session exceeded"),
            ('rcpt', 451, "outbound limit reached"),
        ],
        'other': [],
    },
    'Postfix': {
        'unknown': [
            ('rcpt', 550, "5.1.1 <{to}>: Recipient address rejected: User unknown in local recipient table"),
            ('rcpt', 550, "5.1.2 <{to}>: Recipient address rejected: Domain not found"),
        ],
        'stopped': [
            ('rcpt', 553, "5.7.1 <mahnung@muster.test>: Sender address rejected: not owned by user dunning"),
            ('rcpt', 554, "5.7.1 <{to}>: Relay access denied"),
        ],
        'limit': [
            ('mail', 450, "4.7.1 Error: too much mail from 192.0.2.1"),
            ('rcpt', 421, "4.7.0 Error: too many connections"),
        ],
        'other': [
            ('rcpt', 550, "5.1.1 <{to}>: undeliverable address: host mx said: 550 SPF check failed"),
        ],
    },
    'Exim': {
        'unknown': [
            ('rcpt', 550, "Unrouteable address"),
            ('rcpt', 550, "Unknown user"),
            ('rcpt', 550, "no such address here"),
        ],
        'stopped': [
            ('rcpt', 550, "Sender verify failed"),
            ('rcpt', 550, "relay not permitted"),
            ('rcpt', 550, "Sender mahnung@muster.test is suspended"),
        ],
        'limit': [
            ('rcpt', 550,
             "Domain muster.test has exceeded the max emails per hour (105/100 (105%)) allowed. Message "
             "discarded."),
        ],
        'other': [
            ('rcpt', 550, "Administrative prohibition"),
            ('eod', 550, "Rejected"),
        ],
    },
    'qmail': {
        'unknown': [
            ('rcpt', 550, "sorry, no mailbox here by that name. (#5.1.1)"),
            ('rcpt', 511, "sorry, no mailbox here by that name (#5.1.1 - chkuser)"),
        ],
        'stopped': [
            ('rcpt', 550, "Sorry, sending is blocked for this account (#5.7.1)"),
        ],
        'limit': [
            ('mail', 451, "Mails per session limit"),
            ('rcpt', 451, "too many messages, rate limit (#4.3.0)"),
        ],
        'other': [
            ('rcpt', 553, "sorry, your envelope recipient is in my badrcptto list (#5.7.1)"),
        ],
    },
    'Yahoo': {
        'unknown': [
            ('rcpt', 554, "delivery error: dd This user doesn't have a yahoo.com account ({to})"),
            ('rcpt', 554,
             "delivery error: dd Sorry, your message to {to} cannot be delivered. This mailbox is disabled"
             " (554.30)."),
        ],
        'stopped': [],
        'limit': [],
        'other': [],
    },
}


def get_refusals(kind):
    """Return list of (provider, stage, code, words)."""
    return [(name, *refusal) for name, provider in PROVIDERS.items() for refusal in provider[kind]]

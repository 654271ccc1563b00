"""Did a mail come in from outside, or was it written by the mail system whose mailbox it lies in?

Each server puts its ``Received`` above those that are there (RFC 5321, 4.4). The topmost ones are the mailbox's own and
true; whatever came in from outside has one among them that names the stranger. So a chain in which *no* hop comes from
outside cannot be forged by writing headers: at most the forger makes his mail look more foreign than it is.

Who has a mailbox with the same hoster is inside too, and his absence assistant writes without a sender, what he likes
(RFC 5230, ``:mime``). But not as whom: a report is in the name of the mail system itself, and it was born there, not
handed in by a client.
"""
from __future__ import annotations

import email.message
import email.utils
import ipaddress
import re

__all__ = ['is_written_by_own_system']

# Client name as the server itself has looked it up, with the address: "(mx.host.test [192.0.2.7])". What stands outside
# of the brackets is what the client calls itself.
_LOOKED_UP = re.compile(r'\((?:[\w.-]+@)?([\w-][\w.-]*?)\.? \[(?:IPv6:)?([0-9a-fA-F.:]+)\](?!\s*\(may be forged\))')
_ADDRESS = re.compile(r'[(\[](?:IPv6:)?([0-9a-fA-F]*[.:][0-9a-fA-F.:]+)[)\]]')
_BY = re.compile(r'(?:^|\s)by\s+([\w.:-]+)')
_HOST = re.compile(r'(?=.*[A-Za-z])[\w-]+(\.[\w-]+)+\.?')
# RFC 3848: the client had logged in.
_LOGGED_IN = re.compile(
    r'\bwith\s+\w*(?:SMTP|LMTP)S?A\b|\bwith\s+HTTP|\bauthenticated\b|\bfrom userid\b', re.IGNORECASE)
# Dovecot and Cyrus, of what they were handed over a socket of the same machine: from a network there is an address.
_LOCAL_STORE = re.compile(
    r'from [\w.-]+(?: \(\[unix socket\]\))? by [\w.-]+(?: \(Cyrus [^()]*\))? with LMTPA?(?: id [\w+/=.-]+)?'
    r'(?: \(envelope-from <>\))?(?: for <[^<>\s]+>)?; [\w,:+ -]+')
# Who writes reports: a name that no hoster gives to a customer.
_SYSTEM = re.compile(r'(?:mailer-?daemon|mail-?daemon|postmaster)@([\w.-]+)', re.IGNORECASE)
# RFC 3834, as reports have it; what is behind it in brackets says who else has answered. Not all have it.
_SUBMITTED = re.compile(r'(?:auto-(?:replied|generated)(?: \((?:failure|warning-timeout)\))?)?', re.IGNORECASE)
_ANSWERS = ('X-Autoreply', 'X-Autorespond', 'List-Id')
# Lines and machines of customers have names below the hoster's too.
_MAIL_HOST = re.compile(r'mail|mx|smtp|smta|mta|mout|relay', re.IGNORECASE)
_OTHER_NAMES = {'googlemail.com': 'google.com'}
_OWN_USERS = frozenset({'debian-exim', 'exim', 'mailnull', 'mail'})
_LOCAL_NETWORKS = [ipaddress.ip_network(network) for network in (
    '10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', 'fc00::/7')]
# Below these a name of one more label is somebody's.
_SECOND_LEVELS = frozenset({'ac', 'co', 'com', 'edu', 'gov', 'gv', 'ne', 'net', 'or', 'org'})


def is_written_by_own_system(message: email.message.Message) -> bool:
    """Whether a mail demonstrably never came in from outside the system whose mailbox it was read from.

    True only if it has no sender in its envelope, was written in the mail system's own name, and every ``Received``
    down to the first one is of one and the same organization: none from a client that had logged in, none from a host
    that the receiving server did not find to be of its own. What cannot be told counts as outside.

    :param message: as it was read from the mailbox
    """
    received = [' '.join(str(value).split()) for value in message.get_all('Received') or []]
    if not received or {str(value).strip() for value in message.get_all('Return-Path') or []} != {'<>'}:
        return False
    # Exchange takes these headers off whatever comes in from outside, and writes them itself.
    if re.search(r'\bwith Microsoft SMTP Server\b', received[0]) and _get_by(received[0]).endswith('.outlook.com'):
        return str(message.get('X-MS-Exchange-Organization-AuthAs', '')).strip() == 'Internal'
    homes = [_get_organization(by) for by in map(_get_by, received) if _HOST.fullmatch(by)]
    hops = received[1:] if _LOCAL_STORE.fullmatch(received[0]) else received
    return (
        bool(hops and homes) and len(set(homes)) == 1 and all(_is_hop_inside(value, homes[0]) for value in hops)
        and _is_born(hops[-1]) and _is_in_own_name(message, homes[0]))


def _is_born(received: str) -> bool:
    """Whether a mail system has made the mail itself: it comes from no client then."""
    return not received.lower().startswith('from ') or bool(re.search(r'\bwith local\b', received))


def _is_in_own_name(message: email.message.Message, home: str) -> bool:
    senders = [address for _name, address in email.utils.getaddresses(map(str, message.get_all('From') or []))]
    system = _SYSTEM.fullmatch(senders[0]) if len(senders) == 1 else None
    submitted = ' '.join(str(message.get('Auto-Submitted', '')).split())
    if not system or not _SUBMITTED.fullmatch(submitted) or any(message.get(name) for name in _ANSWERS):
        return False
    organization = _get_organization(system[1].lower())
    return _OTHER_NAMES.get(organization, organization) == home


def _get_by(received: str) -> str:
    match = _BY.search(re.sub(r'\([^()]*\)', ' ', received))
    return match[1].rstrip('.').lower() if match else ''


def _is_hop_inside(received: str, home: str) -> bool:
    if _LOGGED_IN.search(received):
        return False
    if not received.lower().startswith('from '):
        return True
    # The last one: before it a client may have called itself anything.
    client = received.rpartition(' by ')[0]
    if re.search(r'\bwith local\b', received):
        return client[len('from '):].strip().lower() in _OWN_USERS
    found = _LOOKED_UP.findall(client)
    if any(not _is_server_of(name.lower(), home) and not _is_local(address) for name, address in found):
        return False
    known = {address for _name, address in found}
    addresses = [*known, *_ADDRESS.findall(client)]
    return bool(addresses) and all(address in known or _is_local(address) for address in addresses)


def _is_server_of(name: str, home: str) -> bool:
    return _get_organization(name) == home and bool(_MAIL_HOST.search(name.removesuffix(home)))


def _is_local(address: str) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return parsed.is_loopback or any(
        parsed in network for network in _LOCAL_NETWORKS if network.version == parsed.version)


def _get_organization(host: str) -> str:
    """:return: the part of a host's name that somebody has registered, as far as can be told without a list"""
    labels = host.rstrip('.').split('.')
    size = 3 if len(labels) > 2 and labels[-2] in _SECOND_LEVELS and len(labels[-1]) == 2 else 2
    return '.'.join(labels[-size:])

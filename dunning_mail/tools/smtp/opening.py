"""The way to an open, logged-in connection."""
from __future__ import annotations

import contextlib
import dataclasses
import functools
import re
import smtplib
import socket
import ssl
from collections.abc import Callable

from .classify import classify, classify_exception
from .link import Link
from .mask import Mask
from .outcome import DeliveryFault, Outcome, Stage
from .session import Session

__all__ = ['open_session', 'verifying_context']


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
    mask: Mask | None = None,
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
    :param mask: knows what must not be shown of what the server says; what is sent to log in is added
    :raises DeliveryFault: it did not work; its outcome says at which stage, why, and whether it may pass
    :raises ValueError: the context does not verify, or the local host name cannot be one
    """
    context = context or verifying_context()
    if context.verify_mode != ssl.CERT_REQUIRED or not context.check_hostname:
        raise ValueError("The TLS context must verify the server's certificate and host name.")
    local_hostname = local_hostname or _own_name()
    if not re.fullmatch(r'[\x21-\x7e]+', local_hostname):
        raise ValueError('The local host name must be printable ASCII without spaces.')

    link = Link(local_hostname, timeout, mask)
    link.deadline = link.clock() + (2 * timeout if total_timeout is None else total_timeout)
    try:
        session = _open(link, host, port, implicit_tls, login, context)
        if isinstance(session, Session):
            return session
        outcome = session
    except (OSError, ValueError, OverflowError) as exc:
        outcome = classify_exception(link.stage, exc, link.mask)
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
        return classify(Stage.BANNER, code, banner, link.mask)

    def greet() -> Outcome | None:
        link.stage = Stage.EHLO
        code, text = link.ehlo()
        # smtplib reads the extensions of a 250 alone.
        return None if code == 250 else classify(Stage.EHLO, code if code >= 400 else -1, text, link.mask)

    if fault := greet():
        return fault
    if not implicit_tls:
        link.stage = Stage.STARTTLS
        if not link.has_extn('starttls'):
            raise smtplib.SMTPNotSupportedError('STARTTLS not offered')
        code, text = link.ask(Stage.STARTTLS, b'STARTTLS')
        if code != 220:
            return classify(Stage.STARTTLS, code, text, link.mask)
        link.wrap(context, host)
        if fault := greet():
            return fault
    if login is not None and (fault := link.ask_login(login)):
        return fault
    link.deadline = None
    return Session(link, host, port, banner)

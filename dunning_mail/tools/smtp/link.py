"""The connection: an ``smtplib.SMTP`` whose reads and writes have deadlines, and whose faults come as they are."""
from __future__ import annotations

import contextlib
import re
import smtplib
import socket
import ssl
import struct
import sys
import time
from collections.abc import Callable

from .classify import UNREACHABLE, classify, classify_exception, is_expected
from .mask import Mask
from .outcome import MAX_REPLY_LINE, GarbageError, LoginError, Outcome, Reason, Stage

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

__all__ = ['Link']

# A whole reply is bounded too: a server that keeps sending continuation lines must not fill the memory.
MAX_REPLY = 65536
# One TLS record.
CHUNK = 16384
# Linux: octets in the socket's queue that were not put on the wire yet (ioctl, tcp(7)).
SIOCOUTQNSD = 0x894B


class Link(smtplib.SMTP):
    """An ``smtplib.SMTP`` whose reads and writes have deadlines, whose replies are checked, and whose faults are raised
    as they are. Everything of it that ``smtplib`` calls a session goes through ``send`` and ``getreply``.

    :ivar step_timeout: seconds for each command with its answer
    :ivar deadline: a moment (of :attr:`clock`) by which all steps must be over, or ``None``
    :ivar stage: the step under way, for whoever catches what it raises
    :ivar tls_version: empty before the handshake
    :ivar mask: what was said to log in, and must not be shown
    """

    # On the class, where a test that freezes the time of modules does not stop the deadlines.
    clock = staticmethod(time.monotonic)

    def __init__(self, local_hostname: str, step_timeout: float, mask: Mask | None = None):
        super().__init__(local_hostname=local_hostname, timeout=step_timeout)
        self.step_timeout = step_timeout
        self.deadline = None
        self.stage = Stage.RESOLVE
        self.tls_version = ''
        self.mask = mask or Mask()
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
                if fault is None or fault.errno in UNREACHABLE:
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
        self._login = {'pending': False, 'replies': []}
        try:
            try:
                try:
                    login(self)
                finally:
                    self.mask.add([self.__dict__.get('user')], [self.__dict__.get('password')])
                fault = None
                if self._login['pending']:
                    # RFC 7628, 3.2.3 and XOAUTH2: the reason comes as a challenge, to be answered with an empty line.
                    # Whatever the last reply is, it closes this exchange.
                    self.docmd('')
            except (OSError, ValueError, LoginError) as exc:
                fault = classify_exception(Stage.AUTH, exc, self.mask)
            refusals = [
                classify(Stage.AUTH, code, text, self.mask)
                for code, text in self._login['replies'] if not is_expected(Stage.AUTH, code) and code != 334
            ]
            done = any(is_expected(Stage.AUTH, code) for code, _text in self._login['replies'])
            link_broke = fault and fault.reason in (Reason.DISCONNECTED, Reason.TIMEOUT, Reason.GARBAGE)
            if refusals and not done and (fault is None or fault.code or link_broke):
                # smtplib tries one mechanism after the other and reports the last: the wrong password says more than a
                # mechanism that is not there, or a server that has had enough and hung up.
                fault = min(refusals, key=lambda outcome: outcome.reason is not Reason.LOGIN_REFUSED)
            elif fault is None and self._login['pending']:
                fault = classify(Stage.AUTH, 334)
            return fault
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
            for token in sent[2:] if is_command else sent:
                self.mask.add_sent(token)
        reply = super().docmd(cmd, args)
        if is_auth:
            self._login['pending'] = reply[0] == 334
            self._login['replies'].append(reply)
        return reply

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

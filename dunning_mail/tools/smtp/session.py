"""How one message goes over an open, logged-in connection."""
from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable

from .classify import classify, classify_exception
from .envelope import UndeliverableError, check_message, encode_address, stuff
from .link import Link
from .outcome import MAX_REPLY_LINE, Kind, Outcome, Reason, Stage, clean

__all__ = ['Session']


class Session:
    """One open, logged-in connection; made by :func:`.opening.open_session`. For many messages, one after the other;
    not for several threads.

    :ivar host: the server, as it was asked for
    :ivar port: its port
    :ivar tls_version: e.g. ``TLSv1.3``
    :ivar peer_banner: the server's greeting
    :ivar is_used: whether the server has taken a message in it, or a sender at least
    """

    def __init__(self, link: Link, host: str, port: int, banner: bytes):
        self._link = link
        self._needs_reset = False
        self._handed_over = False
        self._refusals: dict[str, Outcome] = {}
        # How many recipients the server has taken of the mail at hand.
        self._taken = 0
        self.host = host
        self.port = port
        self.tls_version = link.tls_version
        self.is_used = False
        self.peer_banner = clean(link.mask.apply(clean(banner, MAX_REPLY_LINE)))

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
        envelope_id: str = '',
    ) -> Outcome:
        """Hand one message over.

        Faults come back as an outcome, whatever they are; after a refusal the session can go on, after a broken link it
        is dead. RSET is left to the next use, so that the outcome is known, and can be written down, at once.

        If some recipients are refused, the message goes to the others, and ``Outcome.refusals`` names those. If all
        are, the outcome is the gravest of theirs: a provider's fault before a transient one (trying again may reach
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
        :param envelope_id: comes back in reports, and is in no header (ENVID, RFC 3461); letters, digits and dashes.
            Left out where the server does not offer it
        :raises ValueError: no recipients
        """
        if not recipients:
            raise ValueError('A message needs a recipient.')
        self._handed_over = False
        self._refusals = {}
        link = self._link
        if fault := check_message(message, eight_bit='8bitmime' in link.esmtp_features, max_size=self.max_size):
            return self._complete(fault)
        end = None if total_timeout is None else link.clock() + total_timeout
        limits = [limit for limit in (envelope_timeout, total_timeout) if limit is not None]
        link.deadline = link.clock() + min(limits) if limits else None
        try:
            fault = self._guarded(self._envelope, mail_from, recipients, message, envelope_id)
        finally:
            link.deadline = None
        if fault:
            return self._complete(fault)
        if on_handover is not None:
            self._announce(on_handover)
        return self._complete(self._guarded(self._body, message, body_timeout, answer_timeout, end))

    def _announce(self, on_handover: Callable[[], None]) -> None:
        try:
            on_handover()
        except BaseException:
            # The server waits for a message now, and there is no command to tell it otherwise.
            self._link.abort()
            raise

    def check_sender(self, mail_from: str, probe_recipient: str | None = None) -> Outcome:
        """Find out whether the server takes mail from a sender, without sending any: MAIL, RCPT if a recipient is
        given, RSET.

        :param mail_from: the bare envelope sender
        :param probe_recipient: a bare address to ask for too
        :return: ``accepted`` at ``mail`` or ``rcpt``, or the fault
        """
        self._handed_over = False
        self._refusals = {}
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
            refusals=dict(self._refusals),
        )

    def _classify(self, stage: Stage, code: int, text: bytes) -> Outcome:
        """Judge a reply: the one way on which words of the server become an outcome."""
        outcome = classify(stage, code, text, self._link.mask)
        if outcome.reason is Reason.TOO_MANY_RECIPIENTS and self._taken < (1 if stage is Stage.RCPT else 2):
            # Not of this mail's, then, but of the sender's.
            return dataclasses.replace(outcome, kind=Kind.PROVIDER, reason=Reason.QUOTA, passing=True)
        return outcome

    def _guarded(self, step: Callable, *args) -> Outcome | None:
        """Run steps over the link. After a fault, or whatever else interrupts them, nobody can say which reply comes
        next: the link is not used again."""
        try:
            return step(*args)
        except OSError as exc:
            fault = classify_exception(self._link.stage, exc, self._link.mask)
        except BaseException:
            self._link.abort()
            raise
        self._link.abort()
        return fault

    def _refusal(self, stage: Stage, code: int, text: bytes) -> Outcome:
        """Judge a refusal, and note what state it leaves the session in."""
        outcome = self._classify(stage, code, text)
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
                fault = self._classify(stage, code, text)
                return dataclasses.replace(fault, kind=Kind.PROVIDER, reason=Reason.SERVICE_UNAVAILABLE, passing=True)
            self._needs_reset = False
        return None

    def _mail(
        self, mail_from: str, recipients: Iterable[str], size: int | None, eight_bit: bool, envelope_id: str = '',
    ) -> Outcome | None:
        if fault := self._begin(Stage.MAIL):
            return fault
        features = self._link.esmtp_features
        try:
            sender = encode_address(mail_from, smtputf8='smtputf8' in features) if mail_from else b''
        except UndeliverableError as exc:
            return Outcome(kind=Kind.PROVIDER, stage=Stage.MAIL, reason=exc.reason, text=exc.text)
        self._taken = 0
        line = b'MAIL FROM:<%s>' % sender
        if 'size' in features and size is not None:
            line += b' SIZE=%d' % size
        if eight_bit:
            line += b' BODY=8BITMIME'
        if 'smtputf8' in features and not (mail_from.isascii() and all(address.isascii() for address in recipients)):
            line += b' SMTPUTF8'
        if envelope_id and 'dsn' in features:
            line += b' ENVID=%s' % envelope_id.encode('ascii')
        code, text = self._link.ask(Stage.MAIL, line)
        if code // 100 != 2:
            return self._refusal(Stage.MAIL, code, text)
        self.is_used = True
        return None

    def _rcpt(self, address: str) -> Outcome | None:
        fault = self._try_rcpt(address)
        if fault:
            self._refusals[address] = fault
        return fault

    def _try_rcpt(self, address: str) -> Outcome | None:
        try:
            encoded = encode_address(address, smtputf8='smtputf8' in self._link.esmtp_features)
        except UndeliverableError as exc:
            return Outcome(kind=Kind.RECIPIENT, stage=Stage.RCPT, reason=exc.reason, text=exc.text)
        code, text = self._link.ask(Stage.RCPT, b'RCPT TO:<%s>' % encoded)
        if code // 100 != 2:
            return self._refusal(Stage.RCPT, code, text)
        self._taken += 1
        return None

    def _envelope(self, mail_from: str, recipients: list[str], message: bytes, envelope_id: str) -> Outcome | None:
        """From MAIL to the answer to DATA. :return: ``None`` when the server waits for the message, else the fault"""
        if fault := self._mail(mail_from, recipients, len(message), not message.isascii(), envelope_id):
            return fault
        # From here on a transaction is open, whatever comes.
        self._needs_reset = True
        refusals = []
        for address in recipients:
            if fault := self._rcpt(address):
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
        """Write the message, then the terminator, then wait. See the package's docstring for why in this order.

        :param end: the moment (of the link's clock) by which all of it must be over
        """
        def until_at_most(timeout: float) -> float:
            moment = self._link.clock() + timeout
            return moment if end is None else min(moment, end)

        if early := self._write(stuff(message), until_at_most(body_timeout)):
            return early
        return self._terminate(until_at_most(answer_timeout))

    def _write(self, stuffed: bytes, until: float) -> Outcome | None:
        """:return: what the server said in the middle of the message; ``None`` when it waits for its end"""
        link = self._link
        link.stage = Stage.BODY
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
        if not early:
            return None
        # An answer before the end was sent: a refusal, or nonsense. Either way the end must not follow, for this answer
        # would be taken for the one to it.
        return self._last_words() or Outcome(
            kind=Kind.TRANSIENT, stage=Stage.BODY, reason=Reason.GARBAGE, passing=True)

    def _terminate(self, until: float) -> Outcome:
        link = self._link
        link.stage = Stage.EOD
        link.write_all(b'.\r\n', until)
        code, text = link.getreply(max(until - link.clock(), 0))
        if code // 100 not in (2, 3):
            return self._refusal(Stage.EOD, code, text)
        outcome = self._classify(Stage.EOD, code, text)
        if outcome.kind is Kind.ACCEPTED:
            self._needs_reset = False
        else:
            link.abort()
        return outcome

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
        return self._classify(Stage.BODY, code, text) if code >= 400 else None

    def _probe(self, mail_from: str, probe_recipient: str | None) -> Outcome:
        recipients = [probe_recipient] if probe_recipient else []
        if fault := self._mail(mail_from, recipients, None, False):
            return fault
        self._needs_reset = True
        for address in recipients:
            if fault := self._rcpt(address):
                return fault
        stage = Stage.RCPT if recipients else Stage.MAIL
        return Outcome(kind=Kind.ACCEPTED, stage=stage, reason=Reason.OK)

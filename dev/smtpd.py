"""An SMTP server for development and tests: it keeps the mails it takes, and misbehaves as it is told.

From the shell, `dev/smtpd --help`. From a test, in a thread of its own::

    with SmtpServer(cert=..., key=..., user="u", password="p") as server:
        server.set_rules("refused@*  rcpt  550 5.1.1 Unknown user")
        ...                     # talk to 127.0.0.1, server.port
        server.messages         # what was taken, in order
        server.log              # all that happened, in order

Rules
=====
One a line, the first that matches counts; `#` starts a comment::

    # pattern    stage  action
    refused@*    rcpt   550 5.1.1 Unknown user
    slow@*       data   delay 5
    grey@*       rcpt   times=2  451 4.7.1 Greylisted, come again
    gone@*       eod    drop
    *            auth   skip=10  535 5.7.8 Password has expired

The pattern is a shell pattern, without regard to case. What it is matched against depends on the stage:

========  ==================================================  =======================
connect   before the banner                                   address of the client
ehlo      EHLO or HELO                                        address of the client
starttls  STARTTLS                                            address of the client
auth      AUTH, once login and password have come in          login
mail      MAIL FROM                                           sender
rcpt      RCPT TO                                             recipient
data      DATA                                                each recipient so far
body      after the 354, while the message comes in           each recipient
eod       after the final dot                                 each recipient
quit      QUIT                                                address of the client
========  ==================================================  =======================

Actions
    `CODE text`          answers so; the command has no effect (but a 2xx at eod takes the message, and a 421
                         closes the connection)
    `drop`               closes the connection without an answer
    `silence [SECONDS]`  gives no answer, and closes the connection after so long, or when the client gives up
    `garbage`            answers with what is not SMTP
    `delay SECONDS`      goes on as usual, later
    `accept-then-drop`, `accept-then-silence [SECONDS]`, `accept-then-garbage`, `accept-then-delay SECONDS`
                         at eod: takes the message and then does that. Without `accept-then-` it is not taken.

At the stage `body` there is no answer to give: only `drop`, `silence` and `delay` are possible.

Options, before the action: `times=N` (the rule holds for its first N matches only), `skip=N` (lets the first N
matches pass). A file of rules is read again when it changes; the counts of lines that stayed the same go on.
"""

import argparse
import asyncio
import dataclasses
import email
import email.policy
import fnmatch
import hashlib
import json
import logging
import os
import pathlib
import re
import signal
import ssl
import sys
import threading
import time

from aiosmtpd.smtp import SMTP, AuthResult

# aiosmtpd logs each line of each session, and Odoo's logging shows all that is INFO; SmtpServer.log has it in order
logging.getLogger("mail.log").setLevel(logging.ERROR)

STAGES = ("connect", "ehlo", "starttls", "auth", "mail", "rcpt", "data", "body", "eod", "quit")
GARBAGE = b"\x00\xff not a reply of any kind"


def now():
    # not time.time(): freezegun, which many tests use, would stop the server's clock too
    return time.clock_gettime(time.CLOCK_REALTIME)


class _EventLoop(asyncio.SelectorEventLoop):
    def time(self):
        # likewise: a delay has to end though the test's clock stands still
        return time.clock_gettime(time.CLOCK_MONOTONIC)


class RuleError(ValueError):
    """A line that is not a rule; says which, and why."""


@dataclasses.dataclass
class Rule:
    line: str
    pattern: str
    stage: str
    kind: str  # reply, drop, silence, garbage, delay
    reply: str = ""
    seconds: float | None = None
    accept: bool = False
    times: int | None = None
    skip: int = 0

    @classmethod
    def parse(cls, line):
        match = re.fullmatch(r"(\S+)\s+(\S+)\s+((?:(?:times|skip)=\d+\s+)*)(\S.*)", line)
        if not match:
            raise RuleError(f"not 'pattern stage action': {line!r}")
        pattern, stage, options, action = match.groups()
        if stage not in STAGES:
            raise RuleError(f"unknown stage {stage!r} (known: {', '.join(STAGES)}): {line!r}")
        rule = cls(line=line, pattern=pattern.lower(), stage=stage, kind="reply")
        for option in options.split():
            name, value = option.split("=")
            setattr(rule, name, int(value))
        if re.fullmatch(r"[2-5]\d\d( .*)?", action):
            rule.reply = action
            rule.accept = action.startswith("2")
        else:
            match = re.fullmatch(r"(accept-then-)?(drop|garbage|silence|delay)(?:\s+(\d+(?:\.\d+)?))?", action)
            if not match:
                raise RuleError(f"unknown action {action!r}: {line!r}")
            accept, rule.kind, seconds = match.groups()
            rule.accept = bool(accept)
            rule.seconds = float(seconds) if seconds else None
            if (rule.kind == "delay") != bool(seconds) and rule.kind != "silence":
                raise RuleError(f"{action!r}: only 'delay' and 'silence' take a number of seconds: {line!r}")
            if accept and stage != "eod":
                raise RuleError(f"{action!r} is not possible at the stage {stage!r}: {line!r}")
        if stage == "body" and rule.kind not in ("drop", "silence", "delay"):
            raise RuleError(f"{action!r} is not possible at the stage 'body': {line!r}")
        return rule


class Rules:
    """The rules in force, and how often each has matched."""

    def __init__(self, path=None):
        self.path = pathlib.Path(path) if path else None
        self._rules = []
        self._counts = {}
        self._state = None
        self.refresh()

    @staticmethod
    def parse(text):
        lines = (re.sub(r"(^|\s)#.*", "", line).strip() for line in text.splitlines())
        return [Rule.parse(line) for line in lines if line]

    def set(self, text):
        """Replace all rules, and forget all counts."""
        self._rules, self._counts = self.parse(text), {}

    def refresh(self):
        """Read the file again if it has changed. A file that is missing holds no rules."""
        if not self.path:
            return
        try:
            stat = self.path.stat()
            state = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        except FileNotFoundError:
            state = None
        if state == self._state:
            return
        self._state = state
        self._rules = self.parse(self.path.read_text()) if state else []
        self._counts = {rule.line: self._counts.get(rule.line, 0) for rule in self._rules}

    def find(self, stage, subjects):
        """The rule that holds for one of `subjects` now; counts the match."""
        try:
            self.refresh()
        except RuleError as error:
            print(f"rules left as they were: {error}", file=sys.stderr, flush=True)
        for rule in self._rules:
            if rule.stage != stage or not any(fnmatch.fnmatchcase(s.lower(), rule.pattern) for s in subjects):
                continue
            count = self._counts[rule.line] = self._counts.get(rule.line, 0) + 1
            if count > rule.skip and (rule.times is None or count <= rule.skip + rule.times):
                return rule
        return None


@dataclasses.dataclass
class Message:
    """A mail that the server took."""

    sequence: int
    time: float
    session: int
    login: str | None
    mail_from: str
    rcpt_tos: list
    content: bytes  # as it came in, without the dots that SMTP added
    queue_id: str
    path: pathlib.Path | None = None
    envelope_id: str | None = None

    @property
    def email(self):
        return email.message_from_bytes(self.content, policy=email.policy.SMTP)

    @property
    def message_id(self):
        return (self.email["Message-ID"] or "").strip() or None


class _Connection(SMTP):
    """One client. Where a rule speaks of a command, it answers before aiosmtpd would."""

    def __init__(self, server, session):
        self._server = server
        self._id = session
        self._login = None
        self._envelope_id = None
        self._closed_logged = False
        self._socket_transport = None
        super().__init__(
            self,
            hostname=server.hostname,
            ident="dunning_mail development server",
            data_size_limit=server.max_size,
            tls_context=server.tls_context if server.tls == "starttls" else None,
            require_starttls=server.tls == "starttls",
            auth_required=bool(server.user),
            auth_require_tls=server.tls != "none",
            authenticator=self._check_login,
            loop=server.loop,
        )
        if server.tls == "implicit":
            # aiosmtpd only knows of the encryption that it began itself
            self._tls_protocol = True

    # === LOG === #

    def _log(self, event, *, reply=None, rule=None, **values):
        envelope = self.envelope
        entry = {
            "time": now(),
            "session": self._id,
            "event": event,
            "login": self._login,
            "mail_from": envelope.mail_from if envelope else None,
            "rcpt_tos": list(envelope.rcpt_tos) if envelope else [],
            "reply": reply,
            "rule": rule.line if rule else None,
        }
        self._server.add_event(entry | values)

    # === RULES === #

    @property
    def _peer(self):
        peer = self.session.peer if self.session else None
        return peer[0] if peer else ""

    def _hang_up(self):
        self.abort()
        raise asyncio.CancelledError

    async def _obey(self, rule):
        """Carry out a rule. Returns the answer to give, or None to go on as usual."""
        if rule is None:
            return None
        if rule.kind == "delay":
            self._reset_timeout(rule.seconds + self._timeout_duration)
            await asyncio.sleep(rule.seconds)
            return None
        if rule.kind == "silence":
            await asyncio.sleep(self._timeout_duration if rule.seconds is None else rule.seconds)
            self._hang_up()
        if rule.kind == "drop":
            self._hang_up()
        return GARBAGE if rule.kind == "garbage" else rule.reply

    async def _stage(self, stage, *subjects):
        """Apply the rule for a stage, if there is one. Returns the answer to give, or None to go on as usual."""
        rule = self._server.rules.find(stage, subjects)
        if rule is not None and rule.kind != "delay":
            self._log(stage, reply=rule.reply or rule.kind, rule=rule, subjects=subjects)
        return await self._obey(rule)

    async def push(self, status):
        await super().push(status)
        text = status if isinstance(status, str) else ""
        if text.startswith("354"):
            await self._stage("body", *self.envelope.rcpt_tos)
        elif text.startswith("421") and self.transport is not None:
            self.transport.close()

    async def handle_exception(self, error):
        self._log("error", reply=f"{type(error).__name__}: {error.__cause__ or error}")
        return "451 4.3.0 Internal error"

    # === CONNECTION === #

    async def _handle_client(self):
        self._log("connect", peer=list(self.session.peer or ()))
        answer = await self._stage("connect", self._peer)
        if answer is not None:
            await self.push(answer)
            if self.transport is not None:
                self.transport.close()
            return
        await super()._handle_client()

    def handle_STARTTLS(self, _server, session, _envelope):
        cipher = session.ssl.get("cipher") if isinstance(session.ssl, dict) else None
        self._log("starttls", reply="encrypted", cipher=cipher and cipher[0])
        return True

    def abort(self):
        # the socket's transport, not that of TLS on top of it, which would take leave first
        if self._socket_transport is not None and not self._socket_transport.is_closing():
            self._socket_transport.abort()

    def connection_made(self, transport):
        if self._socket_transport is None:
            self._socket_transport = transport
        self._server.connections.add(self)
        super().connection_made(transport)

    def connection_lost(self, error):
        self._server.connections.discard(self)
        if not self._closed_logged:
            self._closed_logged = True
            self._log("close", error=str(error) if error else None)
        super().connection_lost(error)

    # === COMMANDS === #

    async def smtp_EHLO(self, hostname):
        answer = await self._stage("ehlo", self._peer)
        await (super().smtp_EHLO(hostname) if answer is None else self.push(answer))

    async def smtp_HELO(self, hostname):
        answer = await self._stage("ehlo", self._peer)
        await (super().smtp_HELO(hostname) if answer is None else self.push(answer))

    async def smtp_STARTTLS(self, arg):
        answer = await self._stage("starttls", self._peer)
        await (super().smtp_STARTTLS(arg) if answer is None else self.push(answer))

    async def auth_PLAIN(self, server, args):
        return await self._authenticated(await super().auth_PLAIN(server, args))

    async def auth_LOGIN(self, server, args):
        return await self._authenticated(await super().auth_LOGIN(server, args))

    def _check_login(self, _server, _session, _envelope, _mechanism, data):
        self._login = data.login.decode("utf-8", "replace")
        wanted = (self._server.user or "").encode(), (self._server.password or "").encode()
        if (data.login, data.password) == wanted:
            return AuthResult(success=True, auth_data=data, message="235 2.7.0 Authentication successful")
        return AuthResult(success=False, handled=False, message="535 5.7.8 Authentication credentials invalid")

    async def _authenticated(self, result):
        if not result.success and result.handled:
            return result  # was no proper AUTH, and is answered already
        answer = await self._stage("auth", self._login or "")
        if answer is not None:
            await self.push(answer)
            return AuthResult(success=False, handled=True)
        self._log("auth", reply=result.message)
        return result

    async def handle_EHLO(self, _server, session, _envelope, hostname, responses):
        session.host_name = hostname
        return [*responses[:-1], "250-DSN", responses[-1]]

    async def smtp_MAIL(self, arg):
        # aiosmtpd knows nothing of RFC 3461
        match = re.search(r" ENVID=([\x21-\x7e]+)", arg or "", re.IGNORECASE)
        self._envelope_id = match[1] if match else None
        await super().smtp_MAIL(arg.replace(match[0], "") if match else arg)

    async def handle_MAIL(self, _server, _session, envelope, address, options):
        answer = await self._stage("mail", address)
        if answer is not None:
            return answer
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        answer = "250 2.1.0 Ok"
        self._log("mail", reply=answer)
        return answer

    async def handle_RCPT(self, _server, _session, envelope, address, options):
        answer = await self._stage("rcpt", address)
        if answer is not None:
            return answer
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        answer = "250 2.1.5 Ok"
        self._log("rcpt", reply=answer)
        return answer

    async def smtp_DATA(self, arg):
        if self.envelope.rcpt_tos:
            answer = await self._stage("data", *self.envelope.rcpt_tos)
            if answer is not None:
                await self.push(answer)
                return
            self._log("data")
        await super().smtp_DATA(arg)

    async def handle_DATA(self, _server, _session, envelope):
        rule = self._server.rules.find("eod", envelope.rcpt_tos)
        queue_id = hashlib.sha1(f"{self._id} {now()}".encode()).hexdigest()[:10].upper()  # noqa: S324  only a name
        usual = f"250 2.0.0 Ok: queued as {queue_id}"
        if rule is not None and rule.kind == "delay" and not rule.accept:
            await self._obey(rule)
        taken = rule is None or rule.accept or rule.kind == "delay"
        reply = usual if rule is None or rule.kind == "delay" else rule.reply or rule.kind
        if taken:
            message = self._server.take(self, envelope, queue_id)
            self._log("accepted", reply=reply, rule=rule, message_id=message.message_id, queue_id=queue_id,
                      sequence=message.sequence, file=message.path and str(message.path))
        else:
            message_id = email.message_from_bytes(envelope.content, policy=email.policy.SMTP)["Message-ID"]
            self._log("refused", reply=reply, rule=rule, message_id=message_id and message_id.strip())
        waited = rule is None or (rule.kind == "delay" and not rule.accept)
        answer = None if waited else await self._obey(rule)
        return usual if answer is None else answer

    async def smtp_QUIT(self, arg):
        answer = await self._stage("quit", self._peer)
        if answer is not None:
            await self.push(answer)
            return
        self._log("quit")
        await super().smtp_QUIT(arg)


class SmtpServer:
    """The server, in a thread of its own. `start()` after `stop()` brings it back on the same port."""

    def __init__(
        self,
        *,
        host="127.0.0.1",
        port=0,
        tls="starttls",
        cert=None,
        key=None,
        user=None,
        password=None,
        mails=None,
        log=None,
        rules=None,
        max_size=32 * 1024 * 1024,
        hostname="localhost",
    ):
        if tls not in ("starttls", "implicit", "none"):
            raise ValueError(f"tls is starttls, implicit or none, not {tls!r}")
        self.host, self.port, self.tls = host, port, tls
        self.user, self.password = user, password
        self.max_size, self.hostname = max_size, hostname
        self.mails = pathlib.Path(mails) if mails else None
        self.rules = Rules(rules)
        self.messages = []
        self.log = []
        self.connections = set()
        self.loop = None
        self._thread = None
        self._sessions = 0
        self._sequence = 0
        self._changed = threading.Condition()
        self.tls_context = None
        if tls != "none":
            self.tls_context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            self.tls_context.load_cert_chain(cert, key)
        if self.mails:
            self.mails.mkdir(parents=True, exist_ok=True)
            # go on after what an earlier server left there
            self._sequence = max((int(path.name[:6]) for path in self.mails.glob("[0-9]*.eml")), default=0)
        self._log_file = open(log, "a", encoding="utf-8", buffering=1) if log else None  # noqa: SIM115  closed by stop()
        self._log_path = log

    # === FROM THE SERVER'S THREAD === #

    def _connection(self):
        self._sessions += 1
        return _Connection(self, self._sessions)

    def add_event(self, entry):
        with self._changed:
            self.log.append(entry)
            if self._log_file:
                self._log_file.write(json.dumps(entry, ensure_ascii=False) + "\n")
            self._changed.notify_all()

    def take(self, connection, envelope, queue_id):
        self._sequence += 1
        message = Message(
            sequence=self._sequence,
            time=now(),
            session=connection._id,
            login=connection._login,
            mail_from=envelope.mail_from,
            rcpt_tos=list(envelope.rcpt_tos),
            content=envelope.original_content,
            queue_id=queue_id,
            envelope_id=connection._envelope_id,
        )
        if self.mails:
            digest = hashlib.sha256((message.message_id or "").encode("utf-8", "surrogateescape")).hexdigest()[:12]
            message.path = self.mails / f"{message.sequence:06d}-{digest}.eml"
            # whoever watches the folder sees whole files only
            part = message.path.with_suffix(".part")
            part.write_bytes(message.content)
            part.rename(message.path)
        self.messages.append(message)
        return message

    # === FROM ANY OTHER === #

    def start(self):
        if self._log_path and not self._log_file:
            self._log_file = open(self._log_path, "a", encoding="utf-8", buffering=1)  # noqa: SIM115
        ready, problem = threading.Event(), []

        def run():
            self.loop = _EventLoop()
            asyncio.set_event_loop(self.loop)
            try:
                context = self.tls_context if self.tls == "implicit" else None
                server = self.loop.run_until_complete(
                    self.loop.create_server(self._connection, self.host, self.port, ssl=context, backlog=256)
                )
                self.port = server.sockets[0].getsockname()[1]
            except Exception as error:  # told to the thread that started it
                problem.append(error)
                return
            finally:
                ready.set()
            self.loop.run_forever()
            server.close()
            for connection in list(self.connections):
                connection.abort()
            tasks = asyncio.all_tasks(self.loop)
            for task in tasks:
                task.cancel()
            self.loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            self.loop.close()

        self._thread = threading.Thread(target=run, name="smtpd", daemon=True)
        self._thread.start()
        ready.wait()
        if problem:
            self._thread = None
            raise problem[0]
        return self

    def stop(self):
        """Stop at once: connections that are open are cut off."""
        if self._thread:
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join()
            self._thread = None
        if self._log_file:
            self._log_file.close()
            self._log_file = None

    __enter__ = start

    def __exit__(self, *_exc):
        self.stop()

    def set_rules(self, text):
        """Replace the rules, and forget how often each has matched."""
        self.rules.set(text)

    def clear(self):
        """Forget messages, log and rules (files stay)."""
        with self._changed:
            self.messages.clear()
            self.log.clear()
            self.rules.set("")

    def events(self, *names):
        return [entry for entry in list(self.log) if entry["event"] in names]

    def wait_for(self, predicate, timeout=10):
        """Wait until `predicate(self)` holds; returns whether it does."""
        with self._changed:
            end = time.clock_gettime(time.CLOCK_MONOTONIC) + timeout
            while not predicate(self):
                left = end - time.clock_gettime(time.CLOCK_MONOTONIC)
                if left <= 0:
                    return False
                self._changed.wait(min(left, 0.5))
            return True


def main(arguments=None):
    certs = pathlib.Path(__file__).resolve().parent.parent / ".dev" / "certs"
    parser = argparse.ArgumentParser(
        prog="dev/smtpd",
        description="An SMTP server that keeps the mails it takes, and misbehaves as it is told. "
        "Prints its port as the first line, and runs until it is stopped.",
        epilog=__doc__.partition("\n\n")[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 (the default): one that is free")
    parser.add_argument("--port-file", type=pathlib.Path, metavar="FILE", help="write the port there too")
    parser.add_argument("--tls", choices=("starttls", "implicit", "none"), default="starttls")
    parser.add_argument("--cert", default=certs / "server.pem", help="certificate (default: the development one)")
    parser.add_argument("--key", default=None, help="its key (default: beside it, ending in .key)")
    parser.add_argument("--user", help="insist on this login")
    parser.add_argument("--password", default="")
    parser.add_argument("--mails", metavar="DIR", help="store each mail there as .eml, byte for byte as it came in")
    parser.add_argument("--log", metavar="FILE", help="append a line of JSON for each event")
    parser.add_argument("--rules", metavar="FILE", help="what to refuse, defer or drop; read again when it changes")
    parser.add_argument("--max-size", type=int, default=32 * 1024 * 1024, metavar="BYTES")
    options = parser.parse_args(arguments)

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        server = SmtpServer(
            host=options.host, port=options.port, tls=options.tls, cert=options.cert,
            key=options.key or pathlib.Path(options.cert).with_suffix(".key"),
            user=options.user, password=options.password, mails=options.mails, log=options.log,
            rules=options.rules, max_size=options.max_size,
        )
        server.start()
    except (OSError, RuleError) as error:
        sys.exit(f"dev/smtpd: {error}")
    print(server.port, flush=True)
    if options.port_file:
        part = options.port_file.with_name(options.port_file.name + ".part")
        part.write_text(f"{server.port}\n")
        os.replace(part, options.port_file)
    stop.wait()
    server.stop()


if __name__ == "__main__":
    main()

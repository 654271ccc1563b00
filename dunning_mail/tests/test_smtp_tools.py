"""The SMTP tool against a real, misbehaving server: raw sockets, real TLS, one script a test."""
import base64
import contextlib
import datetime
import errno
import functools
import ipaddress
import logging
import os
import pathlib
import random
import re
import smtplib
import socket
import ssl
import sys
import tempfile
import threading
import time
import traceback
import urllib.parse
import warnings
from unittest.mock import Mock, patch

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from odoo.tests import BaseCase, tagged

from odoo.addons.dunning_mail.tools import smtp
from odoo.addons.dunning_mail.tools.smtp import Kind, Reason, Stage

from .refusal_words import get_refusals

ACCEPTED, RECIPIENT, TRANSIENT, UNCLEAR, PROVIDER = Kind

USER, PASSWORD = 'mahnung@example.com', 'Geheim-wort_1291'
SENDER, CUSTOMER = 'mahnung@example.com', 'kunde@example.org'
MESSAGE = b'Subject: Mahnung\r\nMessage-ID: <1@example.com>\r\n\r\nGuten Tag\r\n'
# Seconds for steps that are meant to succeed, however busy the machine; and for those that are meant to run out.
LONG, SHORT = 20.0, 0.3
# What ends by a deadline of its own must end before a step that is meant to succeed gives up.
SOON = 15.0

# Of which no part is a word of the server.
ODD_ADDRESSES = ('kunde', 'spam', 'unknown', 'no-such-user', 'sender.rejected', 'quota', 'spf')
ODD_DOMAINS = ('kunde.test', 'blocked.test', 'user-unknown.test', 'blacklist.test')

# What a step of the server can do instead of answering as it should. Bytes are sent as a reply.
DROP, SILENCE, GARBAGE, TRICKLE = 'drop', 'silence', 'garbage', 'trickle'


# === THE SERVER === #

class Gone(Exception):
    """This connection is over."""


class Connection:
    """One client, spoken to as the server's script says."""

    def __init__(self, server, sock):
        self.server = server
        self.sock = sock
        self.secured = False

    def run(self):
        with contextlib.suppress(Gone, OSError):
            if self.server.implicit:
                self.secure()
            self.step('banner', b'220 mail.test ESMTP')
            while line := self.readline():
                self.server.lines.append(line)
                self.command(line)
        with contextlib.suppress(OSError):
            self.sock.close()

    def secure(self):
        if self.server.script.get('handshake') == SILENCE:
            self.step('handshake')
        self.sock = self.server.context.wrap_socket(self.sock, server_side=True)
        self.secured = True

    def readline(self):
        line = b''
        while not line.endswith(b'\n'):
            # Byte by byte, so that nothing that belongs to a handshake is read too early.
            if not (byte := self.sock.recv(1)):
                raise Gone
            line += byte
        return line.rstrip(b'\r\n')

    def step(self, name, default=b'250 2.0.0 Ok', argument=b''):
        """Do what the script says for a step, else the default. :return: whether the reply was positive"""
        action = self.server.action(name, argument)
        action = default if action is None else action
        if callable(action):
            action = action(self, argument)
        if action == DROP:
            raise Gone
        if action == SILENCE:
            while self.sock.recv(4096):
                pass
            raise Gone
        if action == TRICKLE:
            while not self.server.stopped.wait(0.02):
                self.sock.sendall(b'250-wait\r\n')
            raise Gone
        if action == GARBAGE:
            action = b'<html>\x00 this is no mail server'
        self.sock.sendall(action + b'\r\n')
        if action.startswith(b'421'):
            raise Gone
        return action[:1] in (b'2', b'3') and action

    def command(self, line):
        verb, _space, rest = line.partition(b' ')
        verb = verb.upper()
        if verb == b'EHLO':
            features = [b'mail.test', *self.server.features]
            if not self.secured:
                features += [b'STARTTLS'] if self.server.starttls else []
            else:
                features += [b'AUTH PLAIN LOGIN']
            lines = [b'250-' + feature for feature in features]
            lines[-1] = lines[-1].replace(b'250-', b'250 ', 1)
            self.step('ehlo2' if self.secured else 'ehlo', b'\r\n'.join(lines))
        elif verb == b'STARTTLS':
            if self.step('starttls', b'220 2.0.0 Ready'):
                self.secure()
        elif verb == b'AUTH':
            right = b'PLAIN ' + base64.b64encode(f'\0{USER}\0{PASSWORD}'.encode())
            answer = self.step('auth', b'235 2.7.0 Welcome' if rest == right else b'535 5.7.8 No', line)
            while answer and answer.startswith(b'334'):
                line = self.readline()
                self.server.lines.append(line)
                answer = self.step('auth', b'535 5.7.8 No', line)
        elif verb == b'DATA':
            if self.step('data', b'354 Go ahead'):
                self.data()
        elif verb == b'QUIT':
            self.step('quit', b'221 2.0.0 Bye')
            raise Gone
        elif verb in (b'MAIL', b'RCPT', b'RSET', b'NOOP'):
            self.step(verb.decode().lower(), argument=line)
        else:
            self.step('unknown', b'500 5.5.2 What?')

    def data(self):
        if self.server.body:
            self.server.body(self)
        raw = b''
        while not (raw.endswith(b'\r\n.\r\n') or raw == b'.\r\n'):
            if not (data := self.sock.recv(65536)):
                raise Gone
            raw += data
        lines = raw[:-3].split(b'\r\n')
        message = b'\r\n'.join(line.removeprefix(b'.') for line in lines)
        self.server.messages.append(message)
        # Whatever it says next, it has the message now; only a readable 4xx or 5xx says that it has not kept it.
        action = self.server.script.get('eod', b'250 2.0.0 Ok: queued as 4XyZ0a1b')
        if not (isinstance(action, bytes) and action[:1] in b'45'):
            self.server.accepted.append(message)
        self.step('eod', action)


class MailServer:
    """A threaded SMTP server on a loopback port.

    :param script: step -> what to do there instead; a list is worked off, a dict is by recipient
    :param features: what EHLO offers beside STARTTLS and AUTH
    :param body: called with the connection before it reads a message
    """

    def __init__(self, context, script=None, *, implicit=False, features=(b'SIZE 1000000', b'8BITMIME'), starttls=True,
                 body=None, receive_buffer=None):
        self.context = context
        self.script = script or {}
        self.implicit = implicit
        self.features = features
        self.starttls = starttls
        self.body = body
        self.stopped = threading.Event()
        self.lines, self.messages, self.accepted, self.connections = [], [], [], []
        self._threads = []
        self._listener = socket.socket()
        if receive_buffer:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._listener.bind(('127.0.0.1', 0))
        self._listener.listen()
        self.port = self._listener.getsockname()[1]
        self._start(self._listen)

    def _start(self, target):
        thread = threading.Thread(target=target, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _listen(self):
        while True:
            try:
                sock, _address = self._listener.accept()
            except OSError:
                return
            if self.stopped.is_set():
                sock.close()
                return
            sock.settimeout(LONG)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = Connection(self, sock)
            self.connections.append(connection)
            self._start(connection.run)

    def action(self, name, argument):
        action = self.script.get(name)
        if isinstance(action, dict):
            action = next((value for key, value in action.items() if f'<{key}>'.encode() in argument), None)
        if isinstance(action, list):
            action = action.pop(0) if action else None
        return action

    def verbs(self):
        return [line.split(b' ')[0].upper().decode('ascii', 'replace') for line in self.lines]

    def stop(self):
        self.stopped.set()
        with contextlib.suppress(OSError), socket.create_connection(('127.0.0.1', self.port), 1):
            pass  # wakes accept()
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(LONG)
        self._listener.close()


class Authority:
    """A throw-away certificate authority."""

    def __init__(self, folder, name):
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        certificate = self._builder(self.name, self.key, -1, 1) \
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True) \
            .add_extension(usage, critical=True).sign(self.key, hashes.SHA256())
        self.path = folder / f'{name}.pem'
        self.path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def _builder(self, subject, key, since, until):
        now = datetime.datetime.now(datetime.UTC)
        return x509.CertificateBuilder(
            issuer_name=self.name, subject_name=subject, public_key=key.public_key(),
            serial_number=x509.random_serial_number(), not_valid_before=now + datetime.timedelta(days=since),
            not_valid_after=now + datetime.timedelta(days=until),
        ).add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False) \
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)

    def server_context(self, since=-1, until=1, host='localhost'):
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.DNSName(host)]
        if host == 'localhost':
            names.append(x509.IPAddress(ipaddress.ip_address('127.0.0.1')))
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        certificate = self._builder(subject, key, since, until) \
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True) \
            .add_extension(x509.SubjectAlternativeName(names), critical=False).sign(self.key, hashes.SHA256())
        path = self.folder / f'{certificate.serial_number}.pem'
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context


class FaultySocket:
    """A socket whose writes of certain bytes fail."""

    def __init__(self, sock, when, fault, deliver=False):
        self._sock, self._when, self._fault, self._deliver = sock, when, fault, deliver

    def send(self, data):
        if self._when(bytes(data)):
            if self._deliver:
                self._sock.send(data)
            raise self._fault
        return self._sock.send(data)

    def __getattr__(self, name):
        return getattr(self._sock, name)


class SmtpCase(BaseCase):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.authority = Authority(pathlib.Path(folder.name), 'Test authority')
        cls.stranger = Authority(pathlib.Path(folder.name), 'Unknown authority')
        cls.server_tls = cls.authority.server_context()
        with patch.dict(os.environ, SSL_CERT_FILE=str(cls.authority.path)):
            cls.client_tls = smtp.verifying_context()

    def serve(self, script=None, **options):
        server = MailServer(options.pop('context', self.server_tls), script, **options)
        self.addCleanup(server.stop)
        return server

    @staticmethod
    def login(connection):
        connection.login(USER, PASSWORD)

    def open(self, server, **options):
        options = {
            'host': '127.0.0.1', 'port': server.port, 'implicit_tls': server.implicit, 'login': self.login,
            'timeout': LONG, 'context': self.client_tls, 'local_hostname': 'odoo.test', **options,
        }
        session = smtp.open_session(options.pop('host'), options.pop('port'), **options)
        self.addCleanup(session.close, 0.1)
        return session

    def fault(self, server, **options):
        """Open a session that does not open. :return: its outcome"""
        with self.assertRaises(smtp.DeliveryFault) as caught:
            self.open(server, **options)
        return caught.exception.outcome

    def fault_that_runs_out(self, script, stage):
        """Open a session that is to run out of time at a step: on a busy machine one before it may, if there is little.

        :return: its outcome
        """
        for timeout in (SHORT, 10 * SHORT, SOON):
            started = time.monotonic()
            outcome = self.fault(self.serve(script), timeout=timeout)
            # Each step may take that long, a busy machine some time more.
            self.assertLess(time.monotonic() - started, 2 * timeout + 5)
            if outcome.stage == stage:
                break
        return outcome

    def send(self, session, recipients=(CUSTOMER,), message=MESSAGE, **options):
        options = {'answer_timeout': LONG, 'body_timeout': LONG, **options}
        return session.send(SENDER, list(recipients), message, **options)

    def assertOutcome(self, outcome, kind, stage=None, reason=None, passing=None):
        wanted = {'kind': kind, 'stage': stage, 'reason': reason, 'passing': passing}
        for name, value in wanted.items():
            if value is not None:
                self.assertEqual(getattr(outcome, name), value, f'{name} of {outcome}')


# === CLASSIFICATION === #

@tagged('post_install', '-at_install')
class TestSmtpClassify(BaseCase):

    def check(self, rows):
        for stage, code, text, kind, reason, *passing in rows:
            with self.subTest(stage=stage, code=code, text=text):
                outcome = smtp.classify(stage, code, text)
                self.assertEqual((outcome.kind, outcome.reason), (kind, reason))
                expected = passing[0] if passing else kind is TRANSIENT
                self.assertEqual(outcome.passing, expected, 'passing')
                self.assertEqual(outcome.stage, stage)

    def test_opening(self):
        self.check([
            (Stage.BANNER, 220, 'mail ESMTP', ACCEPTED, Reason.OK),
            (Stage.BANNER, 421, '4.3.2 too busy', PROVIDER, Reason.SERVICE_UNAVAILABLE, True),
            (Stage.BANNER, 421, '4.7.0 Too many connections from your IP', PROVIDER, Reason.QUOTA, True),
            (Stage.BANNER, 554, 'No SMTP service here', PROVIDER, Reason.SERVICE_REFUSED, False),
            (Stage.BANNER, 554, '5.7.1 Your IP is on a blacklist', PROVIDER, Reason.POLICY_BLOCK, False),
            (Stage.BANNER, -1, 'SSH-2.0', PROVIDER, Reason.GARBAGE, False),
            (Stage.BANNER, 354, '', PROVIDER, Reason.GARBAGE, False),
            (Stage.EHLO, 421, '', PROVIDER, Reason.SERVICE_UNAVAILABLE, True),
            (Stage.EHLO, 501, 'invalid domain', PROVIDER, Reason.EHLO_REFUSED, False),
            (Stage.EHLO, -1, '', PROVIDER, Reason.GARBAGE, True),
            (Stage.STARTTLS, 454, '4.7.0 TLS not available', PROVIDER, Reason.TLS_UNAVAILABLE, True),
            (Stage.STARTTLS, 502, '', PROVIDER, Reason.NO_STARTTLS, False),
            (Stage.AUTH, 235, '', ACCEPTED, Reason.OK),
            (Stage.AUTH, 535, '5.7.8 Bad credentials', PROVIDER, Reason.LOGIN_REFUSED, False),
            (Stage.AUTH, 550, '', PROVIDER, Reason.LOGIN_REFUSED, False),
            (Stage.AUTH, 530, '5.7.0 Must issue STARTTLS first', PROVIDER, Reason.LOGIN_REFUSED, False),
            (Stage.AUTH, 534, '5.7.9 Application-specific password required', PROVIDER, Reason.LOGIN_NOT_SUPPORTED,
             False),
            (Stage.AUTH, 535, '5.7.139 Authentication unsuccessful, basic authentication is disabled.', PROVIDER,
             Reason.LOGIN_NOT_SUPPORTED, False),
            (Stage.AUTH, 504, '5.7.4 Unrecognized authentication type', PROVIDER, Reason.LOGIN_NOT_SUPPORTED, False),
            (Stage.AUTH, 454, '4.7.0 Temporary authentication failure', PROVIDER, Reason.LOGIN_UNAVAILABLE, True),
            (Stage.AUTH, 421, '', PROVIDER, Reason.LOGIN_UNAVAILABLE, True),
            (Stage.AUTH, 432, '4.7.12 A password transition is needed', PROVIDER, Reason.LOGIN_REFUSED, False),
            (Stage.AUTH, 432, '4.3.2 Concurrent connections limit exceeded', PROVIDER, Reason.QUOTA, True),
            (Stage.AUTH, 432, '', PROVIDER, Reason.LOGIN_UNAVAILABLE, True),
            (Stage.AUTH, 454, '4.7.0 Too many login attempts, please try again later.', PROVIDER, Reason.QUOTA, True),
            (Stage.AUTH, 550, 'Too many simultaneous connections', PROVIDER, Reason.QUOTA, True),
        ])

    def test_mail(self):
        self.check([
            (Stage.MAIL, 250, 'Ok', ACCEPTED, Reason.OK),
            (Stage.MAIL, 421, 'shutting down', PROVIDER, Reason.SERVICE_UNAVAILABLE, True),
            (Stage.MAIL, 451, '4.3.0 try later', PROVIDER, Reason.SERVICE_UNAVAILABLE, True),
            (Stage.MAIL, 452, '4.3.1 Insufficient system storage', PROVIDER, Reason.SERVER_STORAGE, True),
            (Stage.MAIL, 450, '4.2.0 Greylisted', PROVIDER, Reason.GREYLISTED, True),
            (Stage.MAIL, 550, '5.7.133 not for you', PROVIDER, Reason.POLICY_BLOCK, False),
            (Stage.MAIL, 552, 'Your account has been suspended', PROVIDER, Reason.SENDER_REFUSED, False),
            (Stage.MAIL, 552, 'not today', PROVIDER, Reason.SENDER_REFUSED, False),
            (Stage.MAIL, 451, 'Mails per session limit', PROVIDER, Reason.QUOTA, True),
            (Stage.MAIL, 432, '4.3.2 Concurrent connections limit exceeded', PROVIDER, Reason.QUOTA, True),
            (Stage.MAIL, 450, '4.7.1 busy', PROVIDER, Reason.SERVICE_UNAVAILABLE, True),
            (Stage.MAIL, 450, '4.7.1 Error: too much mail, rate limited', PROVIDER, Reason.QUOTA, True),
            (Stage.MAIL, 550, '5.7.30 Basic authentication is not supported for Client Submission.', PROVIDER,
             Reason.LOGIN_NOT_SUPPORTED, False),
            (Stage.MAIL, 530, '5.7.57 Client was not authenticated to send anonymous mail during MAIL FROM', PROVIDER,
             Reason.LOGIN_REQUIRED, False),
            (Stage.MAIL, 530, '5.7.0 Authentication Required', PROVIDER, Reason.LOGIN_REQUIRED, False),
            (Stage.MAIL, 535, '', PROVIDER, Reason.LOGIN_REQUIRED, False),
            (Stage.MAIL, 553, '5.7.1 Sender address rejected: not owned by user x', PROVIDER, Reason.SENDER_REFUSED,
             False),
            (Stage.MAIL, 550, 'no', PROVIDER, Reason.SENDER_REFUSED, False),
            (Stage.MAIL, 550, '5.1.8 Access denied, bad outbound sender', PROVIDER, Reason.SENDER_REFUSED, False),
            (Stage.MAIL, 550, '5.4.5 Daily user sending limit exceeded', PROVIDER, Reason.QUOTA, True),
            (Stage.MAIL, 552, '5.2.2 Mailbox is full', PROVIDER, Reason.QUOTA, True),
            (Stage.MAIL, 552, 'Message size exceeds fixed maximum message size', RECIPIENT, Reason.MESSAGE_TOO_LARGE),
            (Stage.MAIL, 552, '', RECIPIENT, Reason.MESSAGE_TOO_LARGE),
            (Stage.MAIL, 554, '5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org',
             PROVIDER, Reason.POLICY_BLOCK, False),
            (Stage.MAIL, 503, '5.5.1 nested MAIL command', PROVIDER, Reason.PROTOCOL, True),
            (Stage.MAIL, -1, '', PROVIDER, Reason.GARBAGE, True),
            (Stage.MAIL, 354, '', PROVIDER, Reason.GARBAGE, True),
        ])

    def test_recipient(self):
        self.check([
            (Stage.RCPT, 250, '', ACCEPTED, Reason.OK),
            (Stage.RCPT, 251, 'will forward', ACCEPTED, Reason.OK),
            (Stage.RCPT, 550, '5.1.1 User unknown', RECIPIENT, Reason.RECIPIENT_UNKNOWN),
            (Stage.RCPT, 550, '5.1.1 see the page about a full mailbox', RECIPIENT, Reason.RECIPIENT_UNKNOWN),
            (Stage.RCPT, 550, 'No such user here', RECIPIENT, Reason.RECIPIENT_UNKNOWN),
            (Stage.RCPT, 550, 'no', RECIPIENT, Reason.RECIPIENT_REFUSED),
            (Stage.RCPT, 554, '', RECIPIENT, Reason.RECIPIENT_REFUSED),
            (Stage.RCPT, 501, '5.1.3 Bad recipient address syntax', RECIPIENT, Reason.RECIPIENT_UNKNOWN),
            (Stage.RCPT, 550, '5.4.1 Recipient address rejected: Access denied', RECIPIENT, Reason.RECIPIENT_UNKNOWN),
            (Stage.RCPT, 550, '5.2.1 Mailbox disabled', RECIPIENT, Reason.MAILBOX_DISABLED),
            (Stage.RCPT, 552, '5.2.2 Quota exceeded (mailbox for user is full)', RECIPIENT, Reason.MAILBOX_FULL),
            (Stage.RCPT, 452, '4.2.2 Mailbox full', TRANSIENT, Reason.MAILBOX_FULL),
            (Stage.RCPT, 552, 'quota', RECIPIENT, Reason.MAILBOX_FULL),
            (Stage.RCPT, 552, 'too many recipients', TRANSIENT, Reason.TOO_MANY_RECIPIENTS),
            (Stage.RCPT, 452, '4.5.3 too many recipients', TRANSIENT, Reason.TOO_MANY_RECIPIENTS),
            (Stage.RCPT, 450, '4.2.0 Greylisted, see postgrey', TRANSIENT, Reason.GREYLISTED),
            (Stage.RCPT, 451, '4.7.1 Greylisting in action, please come back later', TRANSIENT, Reason.GREYLISTED),
            (Stage.RCPT, 450, '4.2.1 The user you are trying to contact is receiving mail too quickly.', TRANSIENT,
             Reason.MAILBOX_BUSY),
            (Stage.RCPT, 550, '5.2.1 The user you are trying to contact is receiving mail at a rate that\n5.2.1 '
             'prevents additional messages from being delivered. x - gsmtp', TRANSIENT, Reason.MAILBOX_BUSY),
            (Stage.RCPT, 554, "5.2.121 Recipient's per hour message receive limit from specific sender exceeded",
             TRANSIENT, Reason.MAILBOX_BUSY),
            (Stage.RCPT, 550, 'This mailbox has received too many messages lately', TRANSIENT, Reason.MAILBOX_BUSY),
            (Stage.RCPT, 452, 'Too many recipients received this hour', PROVIDER, Reason.QUOTA, True),
            (Stage.RCPT, 450, '4.7.1 Error: too many recipients from 192.0.2.1', PROVIDER, Reason.QUOTA, True),
            (Stage.RCPT, 452, '4.5.3 Too many recipients in the last hour', PROVIDER, Reason.QUOTA, True),
            (Stage.RCPT, 452, '4.5.3 Recipients limit exceeded', TRANSIENT, Reason.TOO_MANY_RECIPIENTS),
            (Stage.RCPT, 552, '1 Requested mail action aborted, mailbox not found', RECIPIENT,
             Reason.RECIPIENT_UNKNOWN),
            (Stage.RCPT, 552, 'Mailbox disabled', RECIPIENT, Reason.MAILBOX_DISABLED),
            (Stage.RCPT, 550, 'a@b.test is not a valid recipient', RECIPIENT, Reason.RECIPIENT_UNKNOWN),
            (Stage.RCPT, 550, '5.4.310 DNS domain b.test does not exist [Message=InfoDomainNonexistent]', RECIPIENT,
             Reason.RECIPIENT_UNKNOWN),
            (Stage.RCPT, 450, '4.2.1 Peak SMTP relay limit exceeded for customer.', PROVIDER, Reason.QUOTA, True),
            (Stage.RCPT, 450, '', TRANSIENT, Reason.TEMPORARY),
            (Stage.RCPT, 451, '4.7.0 Temporary server error. Please try again later.', TRANSIENT, Reason.TEMPORARY),
            (Stage.RCPT, 421, '', PROVIDER, Reason.SERVICE_UNAVAILABLE, True),
            (Stage.RCPT, 451, '4.7.500 Server busy', PROVIDER, Reason.QUOTA, True),
            (Stage.RCPT, 550, 'Domain example.com has exceeded the max emails per hour (100/100) allowed.',
             PROVIDER, Reason.QUOTA, True),
            (Stage.RCPT, 550, '5.7.1 Email quota exceeded', PROVIDER, Reason.QUOTA, True),
            (Stage.RCPT, 550, '5.1.90 reached your daily limit', PROVIDER, Reason.QUOTA, True),
            (Stage.RCPT, 550, '5.7.1 Rejected by policy', RECIPIENT, Reason.POLICY_BLOCK),
            (Stage.RCPT, 554, '5.7.1 <a@b>: Recipient address rejected: Access denied', RECIPIENT,
             Reason.POLICY_BLOCK),
            (Stage.RCPT, 550, '5.7.133 Sender not authenticated for group', RECIPIENT, Reason.POLICY_BLOCK),
            (Stage.RCPT, 550, '5.7.1 Sender not allowed to send to this recipient', RECIPIENT, Reason.POLICY_BLOCK),
            (Stage.RCPT, 554, '5.7.1 <a@b>: Relay access denied', PROVIDER, Reason.RELAY_DENIED, False),
            (Stage.RCPT, 550, '5.7.54 SMTP; Unable to relay recipient in non-accepted domain', PROVIDER,
             Reason.RELAY_DENIED, False),
            (Stage.RCPT, 550, 'authentication required', PROVIDER, Reason.LOGIN_REQUIRED, False),
            (Stage.RCPT, 553, '5.7.1 <a@b>: Sender address rejected: not logged in', PROVIDER, Reason.SENDER_REFUSED,
             False),
            (Stage.RCPT, 450, '4.1.8 <a@b>: Sender address rejected: Domain not found', PROVIDER,
             Reason.SENDER_REFUSED, True),
            (Stage.RCPT, 450, '4.7.25 Client host rejected: cannot find your hostname', PROVIDER, Reason.POLICY_BLOCK,
             True),
            (Stage.RCPT, 554, '5.7.1 Client host rejected: Access denied', PROVIDER, Reason.POLICY_BLOCK, False),
            (Stage.RCPT, 550, '5.7.606 Access denied, banned sending IP', PROVIDER, Reason.POLICY_BLOCK, False),
            (Stage.RCPT, 503, '5.5.1 need MAIL first', PROVIDER, Reason.PROTOCOL, True),
            (Stage.RCPT, -1, '', TRANSIENT, Reason.GARBAGE),
        ])

    def test_message(self):
        for stage in (Stage.DATA, Stage.BODY, Stage.EOD):
            self.check([
                (stage, 550, '5.7.1 Message rejected as spam', RECIPIENT, Reason.POLICY_BLOCK),
                (stage, 554, 'Spam detected', RECIPIENT, Reason.POLICY_BLOCK),
                (stage, 554, '5.6.0 Malformed', RECIPIENT, Reason.CONTENT_REFUSED),
                (stage, 554, 'Transaction failed', RECIPIENT, Reason.CONTENT_REFUSED),
                (stage, 550, '5.1.1 unknown', RECIPIENT, Reason.RECIPIENT_UNKNOWN),
                (stage, 552, '', RECIPIENT, Reason.MESSAGE_TOO_LARGE),
                (stage, 552, '5.3.4 Message size exceeds limit', RECIPIENT, Reason.MESSAGE_TOO_LARGE),
                (stage, 552, "5.2.3 Your message exceeded Google's message size limits.", RECIPIENT,
                 Reason.MESSAGE_TOO_LARGE),
                (stage, 552, '5.7.0 This message presents a potential security issue', RECIPIENT, Reason.POLICY_BLOCK),
                (stage, 552, '5.2.2 over quota', RECIPIENT, Reason.MAILBOX_FULL),
                (stage, 550, '5.7.26 This mail has been blocked because the sender is unauthenticated.', PROVIDER,
                 Reason.SENDER_AUTHENTICATION, False),
                (stage, 550, 'rejected because of the DMARC policy of example.com', PROVIDER,
                 Reason.SENDER_AUTHENTICATION, False),
                (stage, 550, '5.7.60 SMTP; Client does not have permissions to send as this sender', PROVIDER,
                 Reason.SENDER_REFUSED, False),
                (stage, 554, '5.2.252 SendAsDenied; a@b not allowed to send as c@d', PROVIDER, Reason.SENDER_REFUSED,
                 False),
                (stage, 553, 'Relaying disallowed as mahnung@muster.test', PROVIDER, Reason.RELAY_DENIED, False),
                (stage, 553, 'Sender is not allowed to relay emails', PROVIDER, Reason.SENDER_REFUSED, False),
                (stage, 554, 'Transaction failed\nUnauthorized sender address.', PROVIDER,
                 Reason.SENDER_REFUSED, False),
                (stage, 550, 'Domain of sender address a@muster.test does not exist', PROVIDER, Reason.SENDER_REFUSED,
                 False),
                (stage, 554, "Access denied: User `arn:aws:iam::1:user/x' is not authorized to perform "
                 "`ses:SendRawEmail'", PROVIDER, Reason.SENDER_REFUSED, False),
                (stage, 550, '5.4.6 Unusual sending activity detected. Please try after sometime', PROVIDER,
                 Reason.QUOTA, True),
                (stage, 554, 'Not a valid recipient - atlas-production.v2', RECIPIENT, Reason.RECIPIENT_UNKNOWN),
                (stage, 554, 'Message rejected: Email address is not verified.', PROVIDER, Reason.SENDER_REFUSED,
                 False),
                (stage, 421, '4.7.28 unusual rate of unsolicited mail', PROVIDER, Reason.QUOTA, True),
                (stage, 550, '5.7.705 tenant has exceeded threshold', PROVIDER, Reason.QUOTA, True),
                (stage, 421, '', PROVIDER, Reason.SERVICE_UNAVAILABLE, True),
                (stage, 432, '4.3.2 Concurrent connections limit exceeded', PROVIDER, Reason.QUOTA, True),
                (stage, 432, '4.3.2 STOREDRV.Deliver; recipient thread limit exceeded', TRANSIENT, Reason.MAILBOX_BUSY),
                (stage, 450, '', TRANSIENT, Reason.TEMPORARY),
                (stage, 451, '4.3.0', TRANSIENT, Reason.TEMPORARY),
                (stage, 452, '', TRANSIENT, Reason.SERVER_STORAGE),
                (stage, 503, 'bad sequence', PROVIDER, Reason.PROTOCOL, True),
            ])
        self.check([
            (Stage.DATA, 354, '', ACCEPTED, Reason.OK),
            (Stage.DATA, 250, '', TRANSIENT, Reason.GARBAGE),
            (Stage.BODY, 250, '', TRANSIENT, Reason.GARBAGE),
            (Stage.EOD, 250, '', ACCEPTED, Reason.OK),
            (Stage.EOD, 251, '', ACCEPTED, Reason.OK),
            (Stage.EOD, 221, 'Bye', UNCLEAR, Reason.GARBAGE),
            (Stage.EOD, 220, 'mail ESMTP', UNCLEAR, Reason.GARBAGE),
            (Stage.EOD, 354, '', UNCLEAR, Reason.GARBAGE),
            (Stage.EOD, -1, '', UNCLEAR, Reason.GARBAGE),
            (Stage.EOD, 999, '', UNCLEAR, Reason.GARBAGE),
            (Stage.QUIT, 554, '', TRANSIENT, Reason.DISCONNECTED),
        ])

    def test_every_code_at_every_stage_has_a_verdict(self):
        for stage in Stage:
            for code in (*range(100, 600), -1, 0, 1000):
                for enhanced in ('', f'{code // 100}.0.0 x', f'{code // 100}.7.1 x'):
                    outcome = smtp.classify(stage, code, enhanced)
                    if stage is Stage.EOD:
                        self.assertNotEqual(outcome.kind is UNCLEAR, 400 <= code <= 599 or outcome.kind is ACCEPTED)
                    else:
                        self.assertIsNot(outcome.kind, UNCLEAR)
                    if stage in (Stage.RESOLVE, Stage.CONNECT, Stage.BANNER, Stage.EHLO, Stage.STARTTLS, Stage.AUTH):
                        self.assertIn(outcome.kind, (PROVIDER, ACCEPTED))

    def test_what_a_refusal_says_about_the_address(self):
        for stage, code, text, blames in (
                (Stage.RCPT, 550, '5.1.1 unknown', True), (Stage.RCPT, 550, '5.1.1', True), (Stage.RCPT, 556, '', True),
                (Stage.RCPT, 550, '5.7.1 policy', False), (Stage.EOD, 554, 'no', False), (Stage.RCPT, 550, '', False),
                (Stage.RCPT, 550, 'Requested action not taken: mailbox unavailable', False),
                (Stage.RCPT, 550, 'This account has been suspended', False),
                (Stage.RCPT, 552, '5.2.2 over quota', False), (Stage.RCPT, 550, '5.7.1 user unknown', False),
                # Nor what stands in the address, or in a link.
                (Stage.RCPT, 550, '<no-such-user@x.test> refused', False),
                (Stage.RCPT, 550, 'refused, see https://x.test/user-unknown', False),
                # A code and words that say something else.
                (Stage.RCPT, 550, '5.1.1 <a@b.test>: undeliverable: host mx said: 550 SPF check failed', False),
                (Stage.RCPT, 550, '5.1.1 sending from your account is blocked', False),
                (Stage.RCPT, 550, '5.1.1 this looks like spam', False)):
            with self.subTest(code=code, text=text):
                self.assertEqual(smtp.classify(stage, code, text).blames_address, blames)

    def test_every_provider(self):
        """Whose fault it is, in the words of real providers, however they wrap them."""
        chance = random.Random(20)
        for _round in range(30):
            for kind, refusals in (
                    (kind, get_refusals(kind)) for kind in ('unknown', 'stopped', 'limit', 'other')):
                for name, stage, code, words in refusals:
                    words = words.replace('{to}', f'{chance.choice(ODD_ADDRESSES)}@{chance.choice(ODD_DOMAINS)}')
                    words = chance.choice((str, str.upper, str.lower))(words) if '://' not in words else words
                    cut = chance.choice([0, *(m.start() for m in re.finditer(' ', words))])
                    enhanced = re.match(r'\d\.\d+\.\d+ ', words)
                    again = enhanced[0] if enhanced and chance.random() < 0.5 else ''
                    text = f'{words[:cut]}\n{again}{words[cut + 1:]}' \
                        if cut and not (enhanced and cut < enhanced.end()) else words
                    outcome = smtp.classify(Stage(stage), code, text)
                    with self.subTest(provider=name, kind=kind, text=text):
                        if kind == 'unknown':
                            self.assertTrue(outcome.blames_address)
                        else:
                            self.assertFalse(outcome.blames_address)
                        if kind == 'limit':
                            self.assertEqual((outcome.kind, outcome.passing), (PROVIDER, True))
                        if stage == 'mail':
                            self.assertEqual(outcome.kind, PROVIDER)

    def test_pattern(self):
        """Two recipients who are refused in the same words are."""
        one, two = (smtp.classify(Stage.RCPT, 550, f'5.7.1 <{address}>: Rejected by {host} ({number}), see https://x/{number}')
                    for address, host, number in (
                        ('a@b.test', 'mx1.c.test', 'AB12'), ('d@e.test', 'mail.f.test', 'XY99')))
        self.assertEqual(one.pattern, two.pattern)
        self.assertIn('rejected by', one.pattern)
        self.assertNotEqual(one.pattern, smtp.classify(Stage.RCPT, 550, 'Blocked').pattern)
        self.assertEqual(smtp.classify(Stage.RCPT, 550, '<a@b.test>').pattern, '')

    def test_words(self):
        outcome = smtp.classify(
            Stage.RCPT, 550, b'5.1.1 No such user\x00\x1b[31m\n5.1.1 on this\tserver \xe2\x80\xae\xff')
        self.assertEqual(outcome.enhanced, '5.1.1')
        self.assertEqual(outcome.text, 'No such user [31m on this server �')
        self.assertEqual(outcome.answer, '550 5.1.1 No such user [31m on this server �')
        long = smtp.classify(Stage.RCPT, 550, 'x' * 5000)
        self.assertEqual((len(long.text), long.text[-1]), (smtp.MAX_TEXT, '…'))
        self.assertEqual(smtp.classify(Stage.RCPT, 550, '10.5.1.1 is no code').enhanced, '')
        self.assertEqual(smtp.classify(Stage.RCPT, 550, '').answer, '550')

    def test_queue_id(self):
        for text, queue_id in [
            ('2.0.0 Ok: queued as 4Xq7Yz0aBcz9sWk', '4Xq7Yz0aBcz9sWk'),
            ('2.0.0 from MTA(smtp:[127.0.0.1]:10025): 250 2.0.0 Ok: queued as 12AB', '12AB'),
            ('OK id=1rXyZ0-0000000ABCD-1a2B', '1rXyZ0-0000000ABCD-1a2B'),
            ('2.6.0 <1@example.com> [InternalId=23441, Hostname=ZR0P278MB.CHEP278.PROD.OUTLOOK.COM] 9 bytes in 0.1, '
             '88 KB/sec Queued mail for delivery', '23441'),
            ('2.0.0 OK  1716200000 a640c23a62f3a-a5cdd6f6e3csm111.12 - gsmtp', 'a640c23a62f3a-a5cdd6f6e3csm111.12'),
            ('2.0.0 44KAbCdE012345 Message accepted for delivery', '44KAbCdE012345'),
            ('ok 1716200000 qp 12345', '12345'),
            ('Message Queued (A1B2C3D4-E5F6.1)', 'A1B2C3D4-E5F6.1'),
            ('Ok 0102018f0a1b2c3d-4e5f6789-000000', '0102018f0a1b2c3d-4e5f6789-000000'),
            ('Requested mail action okay, completed: id=0MRB5k-1rqXYZ', '0MRB5k-1rqXYZ'),
            ('Ok', ''), ('Great success', ''),
        ]:
            with self.subTest(text=text):
                self.assertEqual(smtp.classify(Stage.EOD, 250, text).queue_id, queue_id)
        self.assertEqual(smtp.classify(Stage.MAIL, 250, 'OK id=12345678').queue_id, '')

    def test_exceptions(self):
        def verification(code):
            exc = ssl.SSLCertVerificationError(1, 'certificate verify failed')
            exc.verify_code, exc.verify_message = code, 'words'
            return exc

        def tls(reason):
            exc = ssl.SSLError(1, f'[SSL: {reason}] (_ssl.c:1)')
            exc.reason = reason
            return exc

        def wrapped():
            try:
                raise TimeoutError
            except TimeoutError:
                return smtplib.SMTPServerDisconnected('Server not connected'), sys.exc_info()[1]

        hung, hung.__context__ = wrapped()
        refused = smtplib.SMTPRecipientsRefused({'a@b': (550, b'5.1.1 unknown')})
        for stage, exc, kind, reason, passing in [
            (Stage.RESOLVE, socket.gaierror(socket.EAI_NONAME, 'x'), PROVIDER, Reason.HOST_NOT_FOUND, False),
            (Stage.RESOLVE, socket.gaierror(socket.EAI_AGAIN, 'x'), PROVIDER, Reason.HOST_NOT_FOUND, True),
            (Stage.RESOLVE, UnicodeError('label too long'), PROVIDER, Reason.HOST_NOT_FOUND, False),
            (Stage.CONNECT, ConnectionRefusedError(errno.ECONNREFUSED, 'x'), PROVIDER, Reason.CONNECTION_REFUSED, True),
            (Stage.CONNECT, TimeoutError('timed out'), PROVIDER, Reason.CONNECT_TIMEOUT, True),
            (Stage.CONNECT, OSError(errno.ETIMEDOUT, 'x'), PROVIDER, Reason.CONNECT_TIMEOUT, True),
            (Stage.CONNECT, OSError(errno.ENETUNREACH, 'x'), PROVIDER, Reason.NETWORK_UNREACHABLE, True),
            (Stage.BANNER, smtp.GarbageError(b'SSH-2.0'), PROVIDER, Reason.GARBAGE, False),
            (Stage.EHLO, smtp.GarbageError(), PROVIDER, Reason.GARBAGE, True),
            (Stage.STARTTLS, verification(10), PROVIDER, Reason.CERTIFICATE_EXPIRED, False),
            (Stage.STARTTLS, verification(9), PROVIDER, Reason.CERTIFICATE_NOT_YET_VALID, False),
            (Stage.STARTTLS, verification(62), PROVIDER, Reason.CERTIFICATE_HOSTNAME, False),
            (Stage.STARTTLS, verification(20), PROVIDER, Reason.CERTIFICATE_UNTRUSTED, False),
            (Stage.STARTTLS, tls('WRONG_VERSION_NUMBER'), PROVIDER, Reason.NOT_TLS, False),
            (Stage.STARTTLS, tls('NO_SHARED_CIPHER'), PROVIDER, Reason.TLS_FAILED, False),
            (Stage.STARTTLS, ssl.SSLEOFError(8, 'EOF'), PROVIDER, Reason.DISCONNECTED, True),
            (Stage.STARTTLS, smtplib.SMTPNotSupportedError('x'), PROVIDER, Reason.NO_STARTTLS, False),
            (Stage.AUTH, smtplib.SMTPNotSupportedError('x'), PROVIDER, Reason.LOGIN_NOT_SUPPORTED, False),
            (Stage.AUTH, smtplib.SMTPException('No suitable method'), PROVIDER, Reason.LOGIN_NOT_SUPPORTED, False),
            (Stage.AUTH, smtplib.SMTPAuthenticationError(535, b'no'), PROVIDER, Reason.LOGIN_REFUSED, False),
            (Stage.AUTH, UnicodeEncodeError('ascii', 'ö', 0, 1, 'x'), PROVIDER, Reason.CREDENTIALS_UNUSABLE, False),
            (Stage.AUTH, smtp.LoginError('no token'), PROVIDER, Reason.LOGIN_REFUSED, False),
            (Stage.AUTH, smtp.LoginError('no token', passing=True), PROVIDER, Reason.LOGIN_UNAVAILABLE, True),
            (Stage.MAIL, smtplib.SMTPServerDisconnected(), PROVIDER, Reason.DISCONNECTED, True),
            (Stage.RCPT, hung, TRANSIENT, Reason.TIMEOUT, True),
            (Stage.RCPT, refused, RECIPIENT, Reason.RECIPIENT_UNKNOWN, False),
            (Stage.DATA, smtplib.SMTPResponseException(500, 'Line too long.'), TRANSIENT, Reason.GARBAGE, True),
            (Stage.DATA, smtplib.SMTPDataError(-1, b''), TRANSIENT, Reason.GARBAGE, True),
            (Stage.BODY, BrokenPipeError(errno.EPIPE, 'x'), TRANSIENT, Reason.DISCONNECTED, True),
            (Stage.BODY, TimeoutError(), TRANSIENT, Reason.TIMEOUT, True),
            (Stage.BODY, tls('BAD_RECORD_MAC'), TRANSIENT, Reason.DISCONNECTED, True),
            (Stage.EOD, TimeoutError(), UNCLEAR, Reason.ANSWER_MISSING, False),
            (Stage.EOD, ConnectionResetError(errno.ECONNRESET, 'x'), UNCLEAR, Reason.DISCONNECTED, False),
            (Stage.EOD, ssl.SSLZeroReturnError(6, 'x'), UNCLEAR, Reason.DISCONNECTED, False),
            (Stage.EOD, smtplib.SMTPServerDisconnected(), UNCLEAR, Reason.DISCONNECTED, False),
            (Stage.EOD, smtplib.SMTPDataError(500, 'Line too long.'), UNCLEAR, Reason.GARBAGE, False),
            (Stage.EOD, smtp.GarbageError(), UNCLEAR, Reason.GARBAGE, False),
            (Stage.EOD, RuntimeError(), UNCLEAR, Reason.DISCONNECTED, False),
        ]:
            with self.subTest(stage=stage, exc=exc):
                outcome = smtp.classify_exception(stage, exc)
                self.assertEqual((outcome.kind, outcome.reason, outcome.passing), (kind, reason, passing))

    def test_exceptions_are_not_quoted(self):
        for exc in (
            OSError(f'token {PASSWORD}'), UnicodeEncodeError('ascii', PASSWORD, 0, 1, 'x'), ValueError(PASSWORD),
            smtplib.SMTPException(PASSWORD), OSError(errno.EPIPE, PASSWORD),
        ):
            self.assertNotIn(PASSWORD, repr(smtp.classify_exception(Stage.AUTH, exc)))


# === OPENING === #

@tagged('post_install', '-at_install')
class TestSmtpOpening(SmtpCase):

    def test_starttls_and_login(self):
        server = self.serve()
        session = self.open(server)
        self.assertEqual(server.verbs(), ['EHLO', 'STARTTLS', 'EHLO', 'AUTH'])
        self.assertEqual(server.lines[0], b'ehlo odoo.test')
        self.assertTrue(session.tls_version.startswith('TLSv1.'))
        self.assertEqual(session.host, '127.0.0.1')
        self.assertEqual(session.peer_banner, 'mail.test ESMTP')
        self.assertEqual(session.features['auth'].split(), ['PLAIN', 'LOGIN'])
        self.assertEqual(session.max_size, 1000000)
        self.assertTrue(session.is_alive())
        session.close()
        self.assertTrue(session.is_dead)
        self.assertEqual(server.verbs()[-2:], ['NOOP', 'QUIT'])

    def test_implicit_tls(self):
        server = self.serve(implicit=True)
        session = self.open(server)
        self.assertEqual(server.verbs(), ['EHLO', 'AUTH'])
        self.assertEqual(self.send(session).kind, ACCEPTED)

    def test_host_name_with_several_addresses(self):
        # The name may be IPv6 first, where nobody listens.
        addresses = [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, '', ('::1', 1, 0, 0)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, '', ('127.0.0.1', 1)),
        ]
        server = self.serve()
        found = [(*address[:4], (address[4][0], server.port, *address[4][2:])) for address in addresses]
        with patch.object(socket, 'getaddrinfo', return_value=found):
            self.assertEqual(self.open(server, host='localhost').host, 'localhost')

    def test_name_is_checked_against_the_certificate(self):
        server = self.serve(context=self.authority.server_context(host='mail.test'))
        address = [(socket.AF_INET, socket.SOCK_STREAM, 6, '', ('127.0.0.1', server.port))]
        with patch.object(socket, 'getaddrinfo', return_value=address):
            for host in ('mail.test', 'mail.test.'):
                self.open(server, host=host)
            self.assertOutcome(self.fault(server, host='localhost'), PROVIDER, reason=Reason.CERTIFICATE_HOSTNAME)

    def test_trusted_authorities_from_the_environment(self):
        server = self.serve()
        with patch.dict(os.environ, SSL_CERT_FILE=str(self.authority.path)):
            self.open(server, context=None)
        with patch.dict(os.environ, SSL_CERT_FILE=str(self.stranger.path)):
            self.assertOutcome(self.fault(server, context=None), PROVIDER, Stage.STARTTLS, Reason.CERTIFICATE_UNTRUSTED)

    def test_no_context_that_does_not_verify(self):
        lax = ssl.create_default_context()
        lax.check_hostname = False
        blind = ssl.create_default_context()
        blind.check_hostname = False
        blind.verify_mode = ssl.CERT_NONE
        for context in (lax, blind):
            with self.assertRaises(ValueError):
                smtp.open_session('127.0.0.1', 1, implicit_tls=False, login=None, timeout=1, context=context)
        context = smtp.verifying_context()
        self.assertEqual(context.verify_mode, ssl.CERT_REQUIRED)
        self.assertTrue(context.check_hostname)
        self.assertGreaterEqual(context.minimum_version, ssl.TLSVersion.TLSv1_2)

    def test_bad_certificates(self):
        other = self.authority.server_context(host='other.test')
        for name, context, host, reason in [
            ('expired', self.authority.server_context(since=-9, until=-2), '127.0.0.1', Reason.CERTIFICATE_EXPIRED),
            ('future', self.authority.server_context(since=2, until=9), '127.0.0.1', Reason.CERTIFICATE_NOT_YET_VALID),
            ('other address', other, '127.0.0.1', Reason.CERTIFICATE_HOSTNAME),
            ('other host', other, 'localhost', Reason.CERTIFICATE_HOSTNAME),
            ('unknown', self.stranger.server_context(), '127.0.0.1', Reason.CERTIFICATE_UNTRUSTED),
        ]:
            for implicit in (False, True):
                with self.subTest(name, implicit=implicit):
                    server = self.serve(context=context, implicit=implicit)
                    outcome = self.fault(server, host=host)
                    self.assertOutcome(outcome, PROVIDER, Stage.STARTTLS, reason, False)
                    self.assertTrue(outcome.text)
                    self.assertEqual(outcome.host, host)
                    self.assertNotIn('AUTH', server.verbs(), 'nothing secret was said')

    def test_old_tls(self):
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', DeprecationWarning)
            context = self.authority.server_context()
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = ssl.TLSVersion.TLSv1_1
        for implicit in (False, True):
            outcome = self.fault(self.serve(context=context, implicit=implicit))
            self.assertOutcome(outcome, PROVIDER, Stage.STARTTLS, Reason.TLS_FAILED, False)
        # A server that gives up before it was spoken to.
        outcome = self.fault(self.serve({'starttls': b'220 Ready\r\n\x15\x03\x01\x00\x02\x02\x28'}))
        self.assertOutcome(outcome, PROVIDER, Stage.STARTTLS, Reason.TLS_FAILED, False)

    def test_no_plain_fallback(self):
        server = self.serve(starttls=False)
        self.assertOutcome(self.fault(server), PROVIDER, Stage.STARTTLS, Reason.NO_STARTTLS, False)
        self.assertEqual(server.verbs(), ['EHLO'])

    def test_wrong_kind_of_port(self):
        # Implicit TLS where STARTTLS is spoken; the other way round, both wait for the other to begin.
        outcome = self.fault(self.serve(), implicit_tls=True)
        self.assertOutcome(outcome, PROVIDER, Stage.STARTTLS, Reason.NOT_TLS, False)
        outcome = self.fault(self.serve(implicit=True), implicit_tls=False, timeout=SHORT)
        self.assertOutcome(outcome, PROVIDER, Stage.BANNER, Reason.TIMEOUT, True)

    def test_injection_behind_starttls(self):
        server = self.serve({'starttls': b'220 Ready\r\n250 you were hacked'})
        self.assertOutcome(self.fault(server), PROVIDER, Stage.STARTTLS, Reason.GARBAGE)

    def test_name_and_connection(self):
        for number, passing in ((socket.EAI_NONAME, False), (socket.EAI_AGAIN, True)):
            with patch.object(socket, 'getaddrinfo', side_effect=socket.gaierror(number, 'resolver')):
                outcome = self.fault(self.serve(), host='mail.invalid')
                self.assertOutcome(outcome, PROVIDER, Stage.RESOLVE, Reason.HOST_NOT_FOUND, passing)
                self.assertEqual((outcome.host, outcome.text), ('mail.invalid', 'resolver'))
        for host in ('', ' ', 'x' * 70 + '.test', 'a..test'):
            self.assertOutcome(self.fault(self.serve(), host=host), PROVIDER, Stage.RESOLVE, Reason.HOST_NOT_FOUND)

        with socket.socket() as free:
            free.bind(('127.0.0.1', 0))
            # kept, so that nobody else listens there
            outcome = self.fault(self.serve(), port=free.getsockname()[1])
        self.assertOutcome(outcome, PROVIDER, Stage.CONNECT, Reason.CONNECTION_REFUSED, True)

    def test_connect_faults(self):
        for fault, reason in (
            (TimeoutError('timed out'), Reason.CONNECT_TIMEOUT),
            (OSError(errno.EHOSTUNREACH, 'x'), Reason.NETWORK_UNREACHABLE),
        ):
            with patch.object(socket, 'socket') as fake:
                fake.return_value.connect.side_effect = fault
                with self.assertRaises(smtp.DeliveryFault) as caught:
                    smtp.open_session(
                        '127.0.0.1', 25, implicit_tls=False, login=None, timeout=1, context=self.client_tls,
                        local_hostname='odoo.test')
                self.assertOutcome(caught.exception.outcome, PROVIDER, Stage.CONNECT, reason, True)
                fake.return_value.close.assert_called()

    def test_fault_matrix(self):
        stages = {
            'banner': Stage.BANNER, 'ehlo': Stage.EHLO, 'starttls': Stage.STARTTLS, 'ehlo2': Stage.EHLO,
            'auth': Stage.AUTH,
        }
        refusals = {  # step -> reasons of 4xx, 5xx
            'banner': (Reason.SERVICE_UNAVAILABLE, Reason.SERVICE_REFUSED),
            'ehlo': (Reason.SERVICE_UNAVAILABLE, Reason.EHLO_REFUSED),
            'starttls': (Reason.TLS_UNAVAILABLE, Reason.NO_STARTTLS),
            'ehlo2': (Reason.SERVICE_UNAVAILABLE, Reason.EHLO_REFUSED),
            'auth': (Reason.LOGIN_UNAVAILABLE, Reason.LOGIN_REFUSED),
        }
        for step, stage in stages.items():
            for action, reason, passing in [
                (b'454 4.3.0 not now', refusals[step][0], True),
                (b'421 4.3.2 closing', refusals[step][0], True),
                (b'554 5.3.0 no', refusals[step][1], False),
                (DROP, Reason.DISCONNECTED, True),
                (SILENCE, Reason.TIMEOUT, True),
                (TRICKLE, Reason.TIMEOUT, True),
                (GARBAGE, Reason.GARBAGE, step != 'banner'),
                (b'x' * 10000, Reason.GARBAGE, step != 'banner'),
                (b'354 what', Reason.GARBAGE, step != 'banner'),
            ]:
                with self.subTest(step=step, action=action[:20]):
                    # A 4xx or 5xx to AUTH comes for each of the mechanisms.
                    if action in (SILENCE, TRICKLE):
                        outcome = self.fault_that_runs_out({step: action}, stage)
                    else:
                        started = time.monotonic()
                        outcome = self.fault(self.serve({step: action}), timeout=LONG)
                        self.assertLess(time.monotonic() - started, SOON)
                    self.assertOutcome(outcome, PROVIDER, stage, reason, passing)
                    self.assertEqual(bool(outcome.tls_version), step in ('ehlo2', 'auth'))
                    self.assertFalse(outcome.handed_over)

    def test_silent_handshake(self):
        outcome = self.fault_that_runs_out({'handshake': SILENCE}, Stage.STARTTLS)
        self.assertOutcome(outcome, PROVIDER, Stage.STARTTLS, Reason.TIMEOUT, True)

    def test_endless_reply(self):
        outcome = self.fault(self.serve({'ehlo': b'250-x' + b'\r\n250-yyyyyyyyyyyyyyyyyyy' * 5000}))
        self.assertOutcome(outcome, PROVIDER, Stage.EHLO, Reason.GARBAGE)

    def test_all_steps_together_have_a_limit(self):
        def late(answer):
            def action(connection, _argument):
                connection.server.stopped.wait(1.5)
                return answer
            return action
        server = self.serve({'banner': late(b'220 hello'), 'ehlo': late(b'250 mail.test')})
        outcome = self.fault(server, timeout=LONG, total_timeout=2.5)
        self.assertOutcome(outcome, PROVIDER, Stage.EHLO, Reason.TIMEOUT, True)

    # --- login

    def secrets_stay_secret(self, server, login, secrets):
        """:return: the outcome of a login that fails"""
        records = []
        handler = logging.Handler(logging.DEBUG)
        handler.emit = lambda record: records.append(record.getMessage())
        root = logging.getLogger()
        level = root.level
        root.addHandler(handler)
        root.setLevel(logging.DEBUG)
        try:
            with self.assertRaises(smtp.DeliveryFault) as caught:
                self.open(server, login=login)
        finally:
            root.removeHandler(handler)
            root.setLevel(level)
        exc = caught.exception
        self.assertIsNone(exc.__cause__)
        self.assertIsNone(exc.__context__, "its frames' variables hold the password")
        said = '\n'.join([str(exc), repr(exc), repr(exc.outcome), *traceback.format_exception(exc), *records])
        for secret in secrets:
            self.assertNotIn(secret, said)
        return exc.outcome

    def test_server_that_quotes_the_login(self):
        token = base64.b64encode(f'\0{USER}\0{PASSWORD}'.encode()).decode()
        secrets = [PASSWORD, token, base64.b64encode(PASSWORD.encode()).decode()]
        for action in (
            lambda connection, line: b'535 5.7.8 You said ' + line,
            lambda connection, line: b'535-5.7.8 You said\r\n535 5.7.8 ' + base64.b64decode(line.split(b' ')[-1]),
            lambda connection, line: b'535 5.7.8 ' + b'x' * (smtp.MAX_TEXT - 15) + b' ' + line.split(b' ')[-1],
            lambda connection, line: b'garbage ' + line,
        ):
            outcome = self.secrets_stay_secret(self.serve({'auth': action}), self.login, secrets)
            self.assertEqual(outcome.stage, Stage.AUTH)
            self.assertIn(smtp.MASK, outcome.text)
            for length in range(6, len(token)):
                self.assertNotIn(token[:length], outcome.text, 'nor the beginning of one')

    def test_challenges_are_secrets_too(self):
        def login(connection):
            connection.user, connection.password = USER, PASSWORD
            connection.auth('LOGIN', connection.auth_login, initial_response_ok=False)

        server = self.serve({'auth': [
            b'334 VXNlcm5hbWU6', b'334 UGFzc3dvcmQ6',
            lambda connection, line: b'535 5.7.8 wrong: %s %s' % (line, PASSWORD.encode()),
        ]})
        secret = base64.b64encode(PASSWORD.encode()).decode()
        outcome = self.secrets_stay_secret(server, login, [PASSWORD, secret])
        self.assertOutcome(outcome, PROVIDER, Stage.AUTH, Reason.LOGIN_REFUSED, False)
        self.assertEqual(outcome.text, 'wrong: … …')

    def test_credentials_that_cannot_be_sent(self):
        for password in ('Paßwort-Zürich', 'Geheim\nwort'):
            def login(connection, password=password):
                if '\n' in password:
                    connection.docmd('AUTH', f'PLAIN {password}')
                connection.login(USER, password)
            outcome = self.secrets_stay_secret(self.serve(), login, [password, password[-6:]])
            self.assertOutcome(outcome, PROVIDER, Stage.AUTH, Reason.CREDENTIALS_UNUSABLE, False)

    def test_server_that_quotes_at_every_step(self):
        """Login and password stay secret, whatever a server makes of them, and whenever."""
        forms = [
            USER, USER.upper(), USER.title(), PASSWORD, urllib.parse.quote(USER, safe=''),
            urllib.parse.quote_plus(USER).lower(),
            *(base64.b64encode(text.encode()).decode() for text in (
                USER, PASSWORD, f'\0{USER}\0{PASSWORD}', f'{USER}\0{USER}\0{PASSWORD}', f'{USER}:{PASSWORD}'))]
        half = len(forms[-2]) // 2
        said = f"blocked: <{'> ['.join(forms)}] {forms[-1].rstrip('=')} {forms[-2][:half]}\r\nCODE {forms[-2][half:]}"
        for step, code in (
                ('banner', 554), ('ehlo', 550), ('starttls', 554), ('ehlo2', 421), ('auth', 535), ('mail', 550),
                ('rcpt', 550), ('rcpt', 450), ('data', 554), ('eod', 554), ('eod', 250), ('rset', 451), ('mail', 250),
                ('banner', 220)):
            with self.subTest(step=step, code=code):
                server = self.serve({step: f'{code}-{said}'.replace('CODE', str(code)).encode()})
                mask = smtp.Mask([USER], [PASSWORD])
                shown = []
                try:
                    session = self.open(server, mask=mask)
                    shown += [session.check_sender(SENDER), self.send(session), self.send(session)]
                    shown += [session.peer_banner, vars(session), vars(session._link)]
                    shown += [str(outcome.refused) for outcome in shown[:3]]
                except smtp.DeliveryFault as fault:
                    shown += [fault, fault.outcome]
                self.assertIn('blocked', repr(shown) if code not in (250, 451) else 'blocked')
                # The server's extensions are its own words, and shown nowhere.
                shown = [
                    {**one, 'ehlo_resp': None, 'esmtp_features': None} if isinstance(one, dict) else one
                    for one in shown]
                text = repr(shown).lower().replace(' ', '')
                for form in (*forms, forms[-1].rstrip('=')):
                    self.assertNotIn(form.lower(), text)

    def test_login_that_says_too_much(self):
        """As an OAuth addon would quote what its provider answered."""
        def login(connection):
            raise smtp.LoginError(f'{USER}: refresh_token=1//0abcDEF is revoked, client_secret=GOC%2FSPX')
        outcome = self.fault(self.serve(), login=login, mask=smtp.Mask([USER], ['1//0abcDEF', 'GOC/SPX']))
        self.assertEqual(outcome.text, '…: refresh_token=… is revoked, client_secret=…')

    def test_masked_words_can_still_be_read(self):
        mask = smtp.Mask(['mahnung@muster.test'], ['geheim'])
        for words, masked in (
                ('Sender address rejected: not owned by mahnung@muster.test',
                 'Sender address rejected: not owned by …'),
                ('User Mahnung@MUSTER.test, geheim!', 'User …, …!'), ('mahnung for kunde@muster.test', None),
                ('mailbox unavailable', None), ('', None)):
            self.assertEqual(mask.apply(words), words if masked is None else masked)
        self.assertEqual(smtp.Mask(['p.muster@muster.test']).apply('p.muster is locked'), '… is locked')
        self.assertEqual(smtp.Mask(['m1234567']).apply('sasl_m1234567: no, use M1234567'), 'sasl_…: no, use …')
        self.assertEqual(
            smtp.Mask(['mail'], ['ab']).apply('Mail refused by mailbox: ab, abc'), '… refused by mailbox: …, abc')
        self.assertEqual(smtp.Mask(['a@müller.test']).apply('a@xn--mller-kva.test a@müller.test'), '… …')
        self.assertEqual(smtp.Mask([], []).apply('nothing'), 'nothing')
        self.assertNotIn('geheim', repr(mask))

    def test_session_forgets_the_password(self):
        session = self.open(self.serve())
        self.assertNotIn(PASSWORD, repr(vars(session)) + repr(vars(session._link)))

    def test_wrong_password(self):
        outcome = self.secrets_stay_secret(self.serve(), lambda c: c.login(USER, 'falsches-Wort'), ['falsches-Wort'])
        self.assertOutcome(outcome, PROVIDER, Stage.AUTH, Reason.LOGIN_REFUSED, False)
        self.assertEqual((outcome.code, outcome.enhanced), (535, '5.7.8'))

    def test_refusal_and_hang_up(self):
        # smtplib goes on to the next mechanism, and reports that the line is dead.
        for last in (DROP, GARBAGE, b'504 5.5.4 unknown mechanism'):
            outcome = self.fault(self.serve({'auth': [b'535 5.7.8 Bad credentials', last]}))
            self.assertOutcome(outcome, PROVIDER, Stage.AUTH, Reason.LOGIN_REFUSED, False)
            self.assertEqual(outcome.code, 535)

    def test_oauth_that_does_not_look(self):
        # Odoo's Gmail and Outlook logins ignore the reply.
        token = base64.b64encode(f'user={USER}\1auth=Bearer ya29.SecretToken\1\1'.encode()).decode()

        def login(connection):
            connection.ehlo()
            connection.docmd('AUTH', f'XOAUTH2 {token}')

        self.open(self.serve({'auth': b'235 2.7.0 Accepted'}), login=login)
        challenge = base64.b64encode(b'{"status":"400"}')
        server = self.serve({'auth': [b'334 ' + challenge, b'535 5.7.8 not accepted: ya29.SecretToken']})
        outcome = self.secrets_stay_secret(server, login, [token, 'ya29.SecretToken'])
        self.assertOutcome(outcome, PROVIDER, Stage.AUTH, Reason.LOGIN_REFUSED, False)
        self.assertEqual(outcome.code, 535)
        self.assertEqual(server.lines[-1], b'', 'the challenge was answered')
        outcome = self.fault(self.serve({'auth': b'454 4.7.0 later'}), login=login)
        self.assertOutcome(outcome, PROVIDER, Stage.AUTH, Reason.LOGIN_UNAVAILABLE, True)

    def test_login_of_its_own_kind(self):
        def broken(connection):
            raise smtp.LoginError('The token has expired.', passing=True)
        outcome = self.fault(self.serve(), login=broken)
        self.assertOutcome(outcome, PROVIDER, Stage.AUTH, Reason.LOGIN_UNAVAILABLE, True)
        self.assertEqual(outcome.text, 'The token has expired.')

        def bug(connection):
            raise KeyError('x')
        with self.assertRaises(KeyError):
            self.open(self.serve(), login=bug)

        server = self.serve()
        self.open(server, login=None)
        self.assertNotIn('AUTH', server.verbs())


# === SENDING === #

@tagged('post_install', '-at_install')
class TestSmtpSending(SmtpCase):

    def test_accepted(self):
        server = self.serve()
        session = self.open(server)
        seen = []
        outcome = self.send(session, on_handover=lambda: seen.append((server.verbs()[-1], list(server.messages))))
        self.assertOutcome(outcome, ACCEPTED, Stage.EOD, Reason.OK, False)
        self.assertEqual((outcome.code, outcome.enhanced, outcome.queue_id), (250, '2.0.0', '4XyZ0a1b'))
        self.assertEqual((outcome.host, outcome.tls_version), ('127.0.0.1', session.tls_version))
        self.assertTrue(outcome.handed_over)
        self.assertFalse(outcome.refused)
        self.assertEqual(server.accepted, [MESSAGE])
        self.assertEqual(seen, [('DATA', [])], 'after DATA, before the message, once')
        self.assertIn(b'MAIL FROM:<mahnung@example.com> SIZE=%d' % len(MESSAGE), server.lines)

    def test_envelope_id(self):
        """It goes beside the message, to servers that offer it."""
        for features, line in ((('DSN',), b'MAIL FROM:<mahnung@example.com> ENVID=dunning-7-0a1b'), ((),
                               b'MAIL FROM:<mahnung@example.com>')):
            server = self.serve(features=tuple(feature.encode() for feature in features))
            outcome = self.send(self.open(server), envelope_id='dunning-7-0a1b')
            self.assertOutcome(outcome, ACCEPTED)
            self.assertIn(line, server.lines)
            self.assertEqual(server.accepted, [MESSAGE])

    def test_many_messages_in_one_session(self):
        server = self.serve()
        session = self.open(server)
        for number in range(5):
            self.assertEqual(self.send(session, message=MESSAGE + b'%d\r\n' % number).kind, ACCEPTED)
        self.assertEqual(len(server.connections), 1)
        self.assertNotIn('RSET', server.verbs())
        self.assertEqual(server.accepted, [MESSAGE + b'%d\r\n' % number for number in range(5)])

    def test_bytes_sent_are_bytes_received(self):
        server = self.serve(features=(b'8BITMIME',))
        session = self.open(server)
        for message in [
            b'.\r\n', b'.', b'..\r\n', b'\r\n.\r\n', b'\r\n\r\n\r\n',
            b'.first\r\n.second\r\n..third\r\n.\r\n.\r\nend\r\n',
            b'S: x\r\n\r\n' + b'.' * 70 + b'\r\n', b'S: x\r\n\r\n' + b'y' * 998 + b'\r\n',
            b'S: x\r\n\r\nlast line has no end', b'S: x\r\n\r\n.', 'S: x\r\n\r\nZürich\r\n'.encode(),
            b'S: x\r\n\r\n' + b'.' + b'z' * 16370 + b'\r\n.\r\n.' + b'z' * 16370 + b'\r\n',
            b'S: x\r\n\r\n' + b'.line of a large attachment\r\n' * 40000,
        ]:
            with self.subTest(message=message[:30]):
                self.assertEqual(self.send(session, message=message).kind, ACCEPTED)
                expected = message if message.endswith(b'\r\n') else message + b'\r\n'
                self.assertEqual(server.messages[-1], expected)
        self.assertIn(b' BODY=8BITMIME', b''.join(server.lines))

    def test_message_that_cannot_be_sent(self):
        server = self.serve(features=(b'SIZE 2000',))
        session = self.open(server)
        for message, reason in [
            (b'', Reason.MESSAGE_MALFORMED),
            (b'S: x\n\nbody\n', Reason.MESSAGE_MALFORMED),
            (b'S: x\r\n\r\nsmuggled\n.\r\nMAIL FROM:<x@y>\r\n', Reason.MESSAGE_MALFORMED),
            (b'S: x\r\n\r\nbare\rreturn\r\n', Reason.MESSAGE_MALFORMED),
            (b'S: x\r\n\r\nnul\0\r\n', Reason.MESSAGE_MALFORMED),
            ('S: x\r\n\r\nZürich\r\n'.encode(), Reason.MESSAGE_MALFORMED),
            (b'S: x\r\n\r\n' + b'y' * 3491 + b'\r\n', Reason.MESSAGE_TOO_LARGE),
        ]:
            with self.subTest(message=message[:30]):
                outcome = self.send(session, message=message, on_handover=lambda: self.fail('not handed over'))
                self.assertOutcome(outcome, RECIPIENT, Stage.MAIL, reason, False)
                self.assertFalse(outcome.handed_over)
                self.assertFalse(outcome.blames_address)
        self.assertEqual((outcome.message_size, outcome.size_limit), (3501, 2000))
        self.assertEqual(outcome.text, 'The message has 3.5 kB, this server takes 2.0 kB at most.')
        self.assertNotIn('MAIL', server.verbs())
        self.assertEqual(self.send(session).kind, ACCEPTED, 'the session is as good as before')

    def test_size_limits(self):
        for feature, limit in (
            (b'SIZE', None), (b'SIZE 0', None), (b'SIZE x', None), (b'SIZE 35882577', 35882577), (b'X', None),
        ):
            self.assertEqual(self.open(self.serve(features=(feature,))).max_size, limit)

    def test_fault_matrix(self):
        refusals = {  # step -> (kind, reason, passing) of 4xx, 5xx
            'mail': ((PROVIDER, Reason.SERVICE_UNAVAILABLE), (PROVIDER, Reason.SENDER_REFUSED)),
            'rcpt': ((TRANSIENT, Reason.TEMPORARY), (RECIPIENT, Reason.RECIPIENT_UNKNOWN)),
            'data': ((TRANSIENT, Reason.TEMPORARY), (RECIPIENT, Reason.RECIPIENT_UNKNOWN)),
            'eod': ((TRANSIENT, Reason.TEMPORARY), (RECIPIENT, Reason.RECIPIENT_UNKNOWN)),
        }
        for step, (passing, permanent) in refusals.items():
            at_end = step == 'eod'
            broken = UNCLEAR if at_end else PROVIDER if step == 'mail' else TRANSIENT
            silent = Reason.ANSWER_MISSING if at_end else Reason.TIMEOUT
            for action, kind, reason, dead in [
                (b'451 4.3.0 not now', *passing, False),
                (b'421 4.3.2 closing', PROVIDER, Reason.SERVICE_UNAVAILABLE, True),
                (b'550-5.1.1 unknown\r\n550 5.1.1 here', *permanent, False),
                (DROP, broken, Reason.DISCONNECTED, True),
                (SILENCE, broken, silent, True),
                (TRICKLE, broken, silent, True),
                (GARBAGE, broken, Reason.GARBAGE, True),
                (b'250-so\r\n550 what', broken, Reason.GARBAGE, True),
                (b'x' * 10000, broken, Reason.GARBAGE, True),
                (b'2', broken, Reason.GARBAGE, True),
                (b'354 again' if step != 'data' else b'250 done', broken, Reason.GARBAGE, True),
                (b'221 Bye' if at_end else b'199 odd', broken, Reason.GARBAGE, True),
            ]:
                with self.subTest(step=step, action=action[:20]):
                    server = self.serve({step: action})
                    session = self.open(server)
                    if action in (SILENCE, TRICKLE) and not at_end:
                        session._link.step_timeout = 5 * SHORT
                    handovers = []
                    started = time.monotonic()
                    outcome = self.send(
                        session, on_handover=functools.partial(handovers.append, 1),
                        answer_timeout=SHORT if action in (SILENCE, TRICKLE) else LONG)
                    self.assertLess(time.monotonic() - started, SOON)
                    lasts = kind in (RECIPIENT, UNCLEAR) or reason is Reason.SENDER_REFUSED
                    self.assertOutcome(outcome, kind, Stage(step), reason, not lasts)
                    self.assertEqual(outcome.handed_over, at_end)
                    self.assertEqual(len(handovers), int(at_end))
                    self.assertEqual(session.is_dead, dead)
                    self.assertEqual(len(server.accepted), int(outcome.kind is UNCLEAR))
                    if not dead:
                        # The session goes on, after a RSET that the outcome did not have to wait for.
                        self.assertNotIn('RSET', server.verbs())
                        server.script.clear()
                        self.assertEqual(self.send(session).kind, ACCEPTED)
                        self.assertEqual(server.verbs().count('RSET'), 1)
                        self.assertEqual(len(server.accepted), 1)
                    else:
                        again = self.send(session)
                        self.assertOutcome(again, PROVIDER, Stage.MAIL, Reason.DISCONNECTED, True)
                        self.assertFalse(session.is_alive())

    def test_partial_refusal(self):
        server = self.serve({'rcpt': {'a@x.test': b'550 5.1.1 unknown', 'b@x.test': b'450 4.2.0 Greylisted'}})
        session = self.open(server)
        outcome = self.send(session, ['a@x.test', CUSTOMER, 'b@x.test'])
        self.assertOutcome(outcome, ACCEPTED, Stage.EOD)
        self.assertEqual(outcome.refused, {'a@x.test': (550, '5.1.1 unknown'), 'b@x.test': (450, '4.2.0 Greylisted')})
        outcome = self.send(session)
        self.assertFalse(outcome.refused, 'nothing left over from the message before')
        self.assertEqual(len(server.accepted), 2)

    def test_all_recipients_refused(self):
        for replies, kind, code in [
            ((b'550 5.1.1 unknown', b'553 5.1.3 bad'), RECIPIENT, 550),
            ((b'550 5.1.1 unknown', b'450 4.2.0 later'), TRANSIENT, 450),
            ((b'550 5.1.1 unknown', b'450 4.2.0 later', b'550 5.7.1 Relay access denied'), PROVIDER, 550),
        ]:
            recipients = [f'{number}@x.test' for number in range(len(replies))]
            server = self.serve({'rcpt': dict(zip(recipients, replies, strict=True))})
            outcome = self.send(self.open(server), recipients)
            self.assertOutcome(outcome, kind, Stage.RCPT)
            self.assertEqual(outcome.code, code)
            self.assertEqual(list(outcome.refused), recipients)
            self.assertNotIn('DATA', server.verbs())

    def test_too_many_recipients(self):
        """Of this mail, if the server has taken some of it; else of this sender, and all that it sends."""
        for reply in (b'452 4.5.3 Recipients limit exceeded', b'452 too many recipients', b'552 5.5.3 Too many'):
            session = self.open(self.serve({'rcpt': {'a@x.test': reply}}))
            for _time in range(2):
                self.assertOutcome(self.send(session, ['a@x.test']), PROVIDER, Stage.RCPT, Reason.QUOTA, True)
            outcome = self.send(session, [CUSTOMER, 'a@x.test'])
            self.assertOutcome(outcome, ACCEPTED, Stage.EOD)
            refusal, = outcome.refusals.values()
            self.assertOutcome(refusal, TRANSIENT, Stage.RCPT, Reason.TOO_MANY_RECIPIENTS)
            server = self.serve({'eod': reply})
            self.assertOutcome(self.send(self.open(server)), PROVIDER, Stage.EOD, Reason.QUOTA, True)
            self.assertOutcome(
                self.send(self.open(server), [CUSTOMER, 'b@x.test']), TRANSIENT, Stage.EOD, Reason.TOO_MANY_RECIPIENTS)

    def test_link_breaks_between_recipients(self):
        server = self.serve({'rcpt': {'b@x.test': DROP}})
        outcome = self.send(self.open(server), ['a@x.test', 'b@x.test'])
        self.assertOutcome(outcome, TRANSIENT, Stage.RCPT, Reason.DISCONNECTED)
        server = self.serve({'rcpt': {'b@x.test': b'421 4.3.2 closing'}})
        outcome = self.send(self.open(server), ['a@x.test', 'b@x.test'])
        self.assertOutcome(outcome, PROVIDER, Stage.RCPT, Reason.SERVICE_UNAVAILABLE, True)
        self.assertEqual(server.accepted, [])

    def test_addresses_that_are_none(self):
        server = self.serve()
        session = self.open(server)
        for address in (
            'a@b.test\r\nRCPT TO:<c@d.test>', 'a@b.test>', '<a@b.test>', 'a b@c.test', 'nobody', '', 'a@', '@b',
            'a@b.test c@d.test', 'a' * 250 + '@b.test', 'a@b.test\0', 'A <a@b.test>', 'a,b@c.test', 'a@b@c.test',
        ):
            with self.subTest(address=address[:30]):
                outcome = self.send(session, [address])
                self.assertOutcome(outcome, RECIPIENT, Stage.RCPT, Reason.ADDRESS_INVALID, False)
                self.assertTrue(outcome.blames_address)
                self.assertEqual(list(outcome.refused), [address])
        outcome = session.send('a@b.test\r\nDATA', [CUSTOMER], MESSAGE, answer_timeout=LONG)
        self.assertOutcome(outcome, PROVIDER, Stage.MAIL, Reason.ADDRESS_INVALID, False)
        self.assertNotIn('RCPT', server.verbs())
        self.assertNotIn('DATA', server.verbs())
        for address in ('"a b"@c.test', "o'hara+x@c.test", 'a@[192.0.2.1]', 'a.b@c-d.test'):
            self.assertEqual(self.send(session, [address]).kind, ACCEPTED, address)
        self.assertEqual(session.send('', [CUSTOMER], MESSAGE, answer_timeout=LONG).kind, ACCEPTED)
        self.assertIn(b'MAIL FROM:<> ', server.lines[-3])
        with self.assertRaises(ValueError):
            self.send(session, [])

    def test_international_addresses(self):
        server = self.serve()
        session = self.open(server)
        outcome = self.send(session, ['jürg@example.org', 'info@zürich.test'])
        self.assertEqual(outcome.kind, ACCEPTED)
        self.assertEqual(list(outcome.refused), ['jürg@example.org'])
        self.assertIn(b'RCPT TO:<info@xn--zrich-kva.test>', server.lines)
        outcome = self.send(session, ['jürg@example.org'])
        self.assertOutcome(outcome, RECIPIENT, Stage.RCPT, Reason.SMTPUTF8_MISSING, False)
        outcome = session.send('jürg@example.org', [CUSTOMER], MESSAGE, answer_timeout=LONG)
        self.assertOutcome(outcome, PROVIDER, Stage.MAIL, Reason.SMTPUTF8_MISSING, False)

        server = self.serve(features=(b'SMTPUTF8',))
        session = self.open(server)
        self.assertEqual(self.send(session, ['jürg@zürich.test']).kind, ACCEPTED)
        self.assertIn('RCPT TO:<jürg@zürich.test>'.encode(), server.lines)
        self.assertIn(b'MAIL FROM:<mahnung@example.com> SMTPUTF8', server.lines)
        self.assertEqual(self.send(session, ['jü\u2028rg@x.test']).reason, Reason.ADDRESS_INVALID)

    # --- around the handover

    def test_handover_that_must_not_be(self):
        # An OSError too: it is the caller's, and no fault of the link.
        for fault in (RuntimeError, KeyboardInterrupt, OSError):
            server = self.serve()
            session = self.open(server)
            with self.assertRaises(fault):
                self.send(session, on_handover=Mock(side_effect=fault))
            self.assertTrue(session.is_dead)
            session.close()
            server.stop()
            self.assertEqual(server.messages, [])
            self.assertNotIn('QUIT', server.verbs(), 'it would have been a line of the message')

    def test_fault_while_the_message_is_written(self):
        for fault in (
            BrokenPipeError(errno.EPIPE, 'x'), ConnectionResetError(errno.ECONNRESET, 'x'), ssl.SSLEOFError(8, 'EOF'),
            TimeoutError(),
        ):
            server = self.serve()
            session = self.open(server)
            session._link.sock = FaultySocket(session._link.sock, lambda data: b'Guten Tag' in data, fault)
            outcome = self.send(session)
            self.assertOutcome(outcome, TRANSIENT, Stage.BODY, passing=True)
            self.assertTrue(outcome.handed_over)
            self.assertTrue(session.is_dead)
            server.stop()
            self.assertEqual(server.messages, [])

    def test_fault_while_the_terminator_is_written(self):
        # The write reports a fault, and nobody can tell whether the bytes left before: twice the same outcome.
        for deliver in (False, True):
            server = self.serve()
            session = self.open(server)
            fault = BrokenPipeError(errno.EPIPE, 'x')
            session._link.sock = FaultySocket(session._link.sock, lambda data: data == b'.\r\n', fault, deliver)
            outcome = self.send(session)
            self.assertOutcome(outcome, UNCLEAR, Stage.EOD, Reason.DISCONNECTED, False)
            self.assertTrue(session.is_dead)

    def test_server_hangs_up_in_the_middle(self):
        gone = threading.Event()

        def hang_up(connection):
            connection.sock.close()
            gone.set()
            raise Gone
        server = self.serve(body=hang_up)
        outcome = self.send(self.open(server), on_handover=lambda: gone.wait(LONG))
        self.assertOutcome(outcome, TRANSIENT, Stage.BODY, Reason.DISCONNECTED)

        def later(connection):
            for _number in range(50):
                connection.sock.recv(4096)
            raise Gone
        server = self.serve(body=later, features=())
        outcome = self.send(self.open(server), message=b'x' * 70 + b'\r\n' + b'y' * 8_000_000 + b'\r\n')
        self.assertOutcome(outcome, TRANSIENT, Stage.BODY, Reason.DISCONNECTED)
        self.assertEqual(server.messages, [])

    def test_answer_before_the_end(self):
        for answer, kind, reason in [
            (b'552 5.3.4 Message too big', RECIPIENT, Reason.MESSAGE_TOO_LARGE),
            (b'421 4.3.2 closing', PROVIDER, Reason.SERVICE_UNAVAILABLE),
            (b'250 2.0.0 Ok: queued as 1234', TRANSIENT, Reason.GARBAGE),
            (b'nonsense', TRANSIENT, Reason.GARBAGE),
        ]:
            with self.subTest(answer=answer):
                server = self.serve({'data': b'354 Go ahead\r\n' + answer})
                session = self.open(server)
                outcome = self.send(session)
                self.assertOutcome(outcome, kind, Stage.BODY, reason)
                self.assertTrue(session.is_dead)
                server.stop()
                self.assertEqual(server.messages, [], 'the terminator was never sent')

    def test_refusal_behind_a_broken_link(self):
        server = self.serve({'data': b'354 Go ahead\r\n552 5.3.4 Message too big'})
        session = self.open(server)
        fault = BrokenPipeError(errno.EPIPE, 'x')
        session._link.sock = FaultySocket(session._link.sock, lambda data: b'Guten Tag' in data, fault)
        self.assertOutcome(self.send(session), RECIPIENT, Stage.BODY, Reason.MESSAGE_TOO_LARGE)

    def test_one_reply_too_many(self):
        server = self.serve({'mail': b'250 Ok\r\n250 Ok'})
        outcome = self.send(self.open(server))
        self.assertOutcome(outcome, TRANSIENT, Stage.RCPT, Reason.GARBAGE)
        self.assertEqual(server.messages, [])

    def test_server_that_takes_a_byte_now_and_then(self):
        def crawl(piece):
            def read(connection):
                while not connection.server.stopped.wait(0.02):
                    connection.sock.recv(piece)
                raise Gone
            return read
        linux = sys.platform.startswith('linux')
        for size, piece in [
            (8_000_000, 1),
            (8_000_000, 16384),  # each write goes on a little, and all of them together take too long
            # Small ones fit into this system's own buffers; only Linux tells how much of them has left.
            *([(150_000, 1)] if linux else []),
        ]:
            with self.subTest(size=size, piece=piece):
                server = self.serve(body=crawl(piece), receive_buffer=4096, features=())
                session = self.open(server)
                started = time.monotonic()
                outcome = self.send(session, message=b'x' * size + b'\r\n', body_timeout=0.5)
                self.assertLess(time.monotonic() - started, SOON)
                self.assertOutcome(outcome, TRANSIENT, Stage.BODY, Reason.TIMEOUT, True)
                self.assertTrue(outcome.handed_over)
                self.assertTrue(session.is_dead)
                self.assertEqual(server.messages, [])

    def test_late_answer_is_waited_for(self):
        def late(connection, _argument):
            connection.server.stopped.wait(7 * SHORT)
            return b'250 2.0.0 Ok: queued as LATE1'
        server = self.serve({'eod': late})
        session = self.open(server)
        # The answer's deadline is its own, and longer than the one of the other steps.
        session._link.step_timeout = 5 * SHORT
        outcome = self.send(session, answer_timeout=LONG)
        self.assertOutcome(outcome, ACCEPTED, Stage.EOD)
        self.assertEqual(outcome.queue_id, 'LATE1')

    # --- the rest of a session's life

    def test_alive(self):
        for action in (DROP, SILENCE, TRICKLE, GARBAGE, b'421 4.4.2 timeout', b'500 what'):
            with self.subTest(action=action):
                session = self.open(self.serve({'noop': action}))
                started = time.monotonic()
                self.assertFalse(session.is_alive(SHORT))
                self.assertLess(time.monotonic() - started, SOON)
                self.assertTrue(session.is_dead)
        server = self.serve()
        session = self.open(server)
        self.assertTrue(session.is_alive())
        server.stop()
        self.assertFalse(session.is_alive())

    def test_reset_fails(self):
        for action in (DROP, b'500 5.5.1 what', GARBAGE):
            server = self.serve({'rcpt': [b'550 5.1.1 unknown'], 'rset': action})
            session = self.open(server)
            self.assertEqual(self.send(session).kind, RECIPIENT)
            self.assertOutcome(self.send(session), PROVIDER, Stage.MAIL, passing=True)
            self.assertTrue(session.is_dead)

    def test_idle_session_is_closed_by_the_server(self):
        server = self.serve({'noop': b'250 Ok\r\n421 4.4.2 Idle for too long'})
        session = self.open(server)
        self.assertTrue(session.is_alive())
        self.assertOutcome(self.send(session), PROVIDER, Stage.MAIL, passing=True)

    def test_check_sender(self):
        server = self.serve()
        session = self.open(server)
        self.assertOutcome(session.check_sender(SENDER), ACCEPTED, Stage.MAIL, Reason.OK)
        self.assertEqual(server.verbs()[-2:], ['MAIL', 'RSET'])
        self.assertOutcome(session.check_sender(SENDER, CUSTOMER), ACCEPTED, Stage.RCPT, Reason.OK)
        self.assertEqual(server.verbs()[-3:], ['MAIL', 'RCPT', 'RSET'])
        self.assertEqual(self.send(session).kind, ACCEPTED)
        self.assertEqual(len(server.accepted), 1)

        session = self.open(self.serve({'mail': b'553 5.7.1 Sender address rejected: not owned by user'}))
        outcome = session.check_sender(SENDER)
        self.assertOutcome(outcome, PROVIDER, Stage.MAIL, Reason.SENDER_REFUSED, False)
        self.assertFalse(session.is_dead)
        session = self.open(self.serve({'rcpt': b'550 5.1.1 unknown'}))
        outcome = session.check_sender(SENDER, CUSTOMER)
        self.assertOutcome(outcome, RECIPIENT, Stage.RCPT, Reason.RECIPIENT_UNKNOWN)
        session = self.open(self.serve({'mail': DROP}))
        self.assertOutcome(session.check_sender(SENDER), PROVIDER, Stage.MAIL, Reason.DISCONNECTED, True)
        session = self.open(self.serve({'rset': DROP}))
        self.assertOutcome(session.check_sender(SENDER), ACCEPTED, Stage.MAIL)
        self.assertTrue(session.is_dead)

    def test_quit_faults_change_nothing(self):
        for action in (b'451 not now', b'554 no', b'421 gone', DROP, SILENCE, TRICKLE, GARBAGE):
            with self.subTest(action=action):
                server = self.serve({'quit': action})
                session = self.open(server)
                outcome = self.send(session)
                started = time.monotonic()
                session.close(SHORT)
                session.close(SHORT)
                self.assertLess(time.monotonic() - started, SOON)
                self.assertEqual(outcome.kind, ACCEPTED)
                self.assertEqual(len(server.accepted), 1)
                self.assertTrue(session.is_dead)

    def test_context_manager(self):
        server = self.serve()
        with self.open(server) as session:
            self.assertEqual(self.send(session).kind, ACCEPTED)
        self.assertTrue(session.is_dead)
        server.stop()
        self.assertEqual(server.verbs()[-1], 'QUIT')

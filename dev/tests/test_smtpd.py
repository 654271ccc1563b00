"""The development SMTP server, seen by a real client: what it takes, keeps and logs, and each rule."""

import json
import os
import pathlib
import smtplib
import socket
import ssl
import subprocess
import sys
import time

import pytest

from smtpd import Rule, RuleError, SmtpServer

CERTS = pathlib.Path(os.environ["DUNNING_TEST_CERTS"])
LOGIN = {"user": "dunning", "password": "pa ss word"}
MESSAGE = (
    b"From: a@here.test\r\nTo: b@there.test\r\nMessage-ID: <1@here.test>\r\nSubject: x\r\n\r\n"
    b"One line.\r\n.\r\n..two dots\r\n\r\nlast\r\n"
)


def trust(authority="ca.pem"):
    return ssl.create_default_context(cafile=CERTS / authority)


def serve(cert="server", **options):
    return SmtpServer(cert=CERTS / f"{cert}.pem", key=CERTS / f"{cert}.key", **options)


@pytest.fixture
def server(tmp_path):
    with serve(**LOGIN, mails=tmp_path / "mails", log=tmp_path / "log.jsonl") as running:
        yield running


def connect(server, login=True, timeout=5):
    client = smtplib.SMTP("localhost", server.port, timeout=timeout)
    client.starttls(context=trust())
    if login:
        client.login(LOGIN["user"], LOGIN["password"])
    return client


def send(client, to="b@there.test", sender="a@here.test", message=MESSAGE):
    return client.sendmail(sender, [to], message)


def test_takes_stores_and_logs(server, tmp_path):
    with connect(server) as client:
        send(client)
        code, reply = client.noop()
        assert code == 250, reply
    (message,) = server.messages
    assert message.content == MESSAGE
    assert message.path.read_bytes() == MESSAGE
    assert message.path.name.startswith("000001-")
    assert message.email["Subject"] == "x"
    assert (message.mail_from, message.rcpt_tos, message.login) == ("a@here.test", ["b@there.test"], "dunning")
    assert server.wait_for(lambda s: s.events("close"))
    assert [entry["event"] for entry in server.log] == [
        "connect", "starttls", "auth", "mail", "rcpt", "data", "accepted", "quit", "close",
    ]  # fmt: skip
    (accepted,) = server.events("accepted")
    assert accepted["reply"].startswith("250 2.0.0 Ok: queued as ")
    assert accepted["message_id"] == "<1@here.test>"
    assert accepted["rcpt_tos"] == ["b@there.test"]
    assert abs(accepted["time"] - time.time()) < 10
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == json.loads(json.dumps(server.log))


def test_two_mails_in_one_session_and_numbering_goes_on(server, tmp_path):
    with connect(server) as client:
        send(client)
        send(client)
    assert [message.session for message in server.messages] == [1, 1]
    with serve(tls="none", mails=tmp_path / "mails") as second, smtplib.SMTP("localhost", second.port) as client:
        send(client)
    assert [message.sequence for message in second.messages] == [3]


@pytest.mark.parametrize("mechanism", ["auth_plain", "auth_login"])
def test_login(server, mechanism):
    client = connect(server, login=False)
    client.ehlo()
    client.user, client.password = LOGIN["user"], "wrong"
    with pytest.raises(smtplib.SMTPAuthenticationError) as caught:
        client.auth(mechanism[5:].upper(), getattr(client, mechanism))
    assert caught.value.smtp_code == 535
    client.close()
    assert [entry["reply"][:3] for entry in server.events("auth")] == ["535"]


def test_insists_on_tls_and_login(server):
    with smtplib.SMTP("localhost", server.port) as client:
        client.ehlo()
        assert "auth" not in client.esmtp_features
        assert client.docmd("MAIL FROM:<a@here.test>")[0] == 530
    with connect(server, login=False) as client:
        client.ehlo()
        assert client.docmd("MAIL FROM:<a@here.test>")[0] == 530
    assert not server.messages


@pytest.mark.parametrize(
    ("cert", "reason"),
    [("expired", "expired"), ("otherhost", "mismatch"), ("unknown", "unable to get local issuer certificate")],
)
def test_bad_certificates_are_bad(cert, reason):
    with serve(cert) as server, smtplib.SMTP("localhost", server.port) as client:
        with pytest.raises(ssl.SSLCertVerificationError, match=reason):
            client.starttls(context=trust())
        client.close()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_implicit_tls(host):
    with serve(tls="implicit", **LOGIN) as server:
        with smtplib.SMTP_SSL(host, server.port, context=trust("bundle.pem")) as client:
            client.login(LOGIN["user"], LOGIN["password"])
            send(client)
        assert len(server.messages) == 1


# === RULES === #


@pytest.mark.parametrize("stage", ["mail", "rcpt", "data", "eod"])
@pytest.mark.parametrize("code", [451, 550])
def test_refuses_at(server, stage, code):
    server.set_rules(f"bad@* {stage} {code} 5.1.1 No, not here")
    with connect(server) as client:
        with pytest.raises((smtplib.SMTPResponseException, smtplib.SMTPRecipientsRefused)) as caught:
            send(client, to="bad@there.test", sender="bad@here.test")
        if stage == "rcpt":
            assert caught.value.recipients == {"bad@there.test": (code, b"5.1.1 No, not here")}
        else:
            assert (caught.value.smtp_code, caught.value.smtp_error) == (code, b"5.1.1 No, not here")
        assert not server.messages
        client.rset()
        send(client)
    assert len(server.messages) == 1


def test_refuses_one_of_two(server):
    server.set_rules("BAD@there.test rcpt 550 5.1.1 Unknown user")
    with connect(server) as client:
        refused = client.sendmail("a@here.test", ["bad@There.test", "b@there.test"], MESSAGE)
    assert list(refused) == ["bad@There.test"]
    assert server.messages[0].rcpt_tos == ["b@there.test"]


def test_refuses_login_and_starttls_and_connection(server):
    server.set_rules("dunning auth 454 4.7.0 Temporary authentication failure")
    with pytest.raises(smtplib.SMTPAuthenticationError, match="454"):
        connect(server)
    server.set_rules("* starttls 454 4.7.0 TLS not available")
    with pytest.raises(smtplib.SMTPResponseException, match="454"):
        connect(server)
    server.set_rules("127.0.0.1 connect 421 4.3.2 Too busy")
    with pytest.raises(smtplib.SMTPConnectError, match="421"):
        connect(server)


def test_421_closes(server):
    server.set_rules("* rcpt 421 4.7.0 Too many mails")
    client = connect(server)
    client.mail("a@here.test")
    assert client.rcpt("b@there.test")[0] == 421
    with pytest.raises(smtplib.SMTPServerDisconnected):
        client.noop()


@pytest.mark.parametrize("stage", ["connect", "ehlo", "starttls", "auth", "mail", "rcpt", "data", "body", "eod"])
def test_drops_at(server, stage):
    server.set_rules(f"* {stage} drop")
    with pytest.raises((smtplib.SMTPServerDisconnected, ConnectionError, ssl.SSLError)):
        client = connect(server)
        send(client, message=MESSAGE + b"x" * 70 * 10 + b"\r\n")
    assert not server.messages


@pytest.mark.parametrize("stage", ["mail", "rcpt", "data", "eod"])
@pytest.mark.parametrize("action", ["silence", "silence 0.2"])
def test_is_silent_at(server, stage, action):
    server.set_rules(f"* {stage} {action}")
    client = connect(server, timeout=1.5)
    with pytest.raises((TimeoutError, smtplib.SMTPServerDisconnected)):
        send(client)
    client.close()
    assert not server.messages


@pytest.mark.parametrize("action", ["drop", "silence", "garbage"])
def test_takes_the_mail_and_then(server, action):
    server.set_rules(f"* eod accept-then-{action}")
    client = connect(server, timeout=1.5)
    with pytest.raises((TimeoutError, smtplib.SMTPException)):
        send(client)
    client.close()
    assert [message.message_id for message in server.messages] == ["<1@here.test>"]
    assert server.events("accepted")[0]["reply"] == action


def test_garbage(server):
    server.set_rules("* mail garbage")
    client = connect(server)
    with pytest.raises(smtplib.SMTPException):
        send(client)


def test_delay(server):
    server.set_rules("* eod delay 0.5")
    start = time.monotonic()
    with connect(server) as client:
        send(client)
    assert 0.5 < time.monotonic() - start < 5
    assert len(server.messages) == 1


def test_times_and_skip(server):
    server.set_rules("* rcpt skip=1 times=2 451 4.7.1 Later")
    with connect(server) as client:
        outcome = []
        for _ in range(4):
            client.rset()
            client.mail("a@here.test")
            outcome.append(client.rcpt("b@there.test")[0])
    assert outcome == [250, 451, 451, 250]


def test_file_is_read_again(tmp_path):
    rules = tmp_path / "rules"
    with serve(tls="none", rules=rules) as server, smtplib.SMTP("localhost", server.port) as client:
        client.ehlo()
        for text, expected in (
            ("", 250),
            ("* rcpt times=1 450 4.2.1 Later # the first", 450),
            ("# another line, and the count goes on\n* rcpt times=1 450 4.2.1 Later # the first", 250),
            ("* rcpt 550 5.1.1 Never", 550),
            ("this is no rule", 250),
        ):
            rules.with_suffix(".new").write_text(text)
            rules.with_suffix(".new").rename(rules)
            client.rset()
            client.mail("a@here.test")
            # a file that cannot be read leaves the rules as they were
            assert client.rcpt("b@there.test")[0] == (550 if text == "this is no rule" else expected), text


@pytest.mark.parametrize(
    "line",
    [
        "* rcpt",
        "* nowhere drop",
        "* rcpt explode",
        "* rcpt delay",
        "* rcpt drop 5",
        "* rcpt accept-then-drop",
        "* body 550 No",
        "* rcpt 650 No",
    ],
)
def test_what_is_no_rule(line):
    with pytest.raises(RuleError, match=line.split()[-1]):
        Rule.parse(line)


# === LIFE === #


def test_stops_and_comes_back_on_the_same_port():
    server = serve(tls="none")
    with server:
        port = server.port
        client = smtplib.SMTP("localhost", port)
    with pytest.raises((smtplib.SMTPServerDisconnected, ConnectionError)):
        client.docmd("NOOP")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    with server, smtplib.SMTP("localhost", port) as client:
        assert client.noop()[0] == 250


def test_standing_clock(server):
    freezegun = pytest.importorskip("freezegun")
    server.set_rules("* eod delay 0.3")
    with freezegun.freeze_time("2020-01-01"), connect(server) as client:
        send(client)
    assert server.messages[0].time > 1.7e9


def test_command_line(tmp_path):
    rules, mails, port_file = tmp_path / "rules", tmp_path / "mails", tmp_path / "port"
    rules.write_text("bad@* rcpt 550 5.1.1 Unknown user")
    process = subprocess.Popen(
        [
            sys.executable, os.environ["DUNNING_TEST_SMTPD"], "--user", "u", "--password", "p", "--rules", rules,
            "--mails", mails, "--log", tmp_path / "log", "--port-file", port_file,
        ],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        port = int(process.stdout.readline())
        with smtplib.SMTP("localhost", port, timeout=5) as client:
            client.starttls(context=trust())
            client.login("u", "p")
            send(client)
            with pytest.raises(smtplib.SMTPRecipientsRefused):
                send(client, to="bad@there.test")
        assert port_file.read_text() == f"{port}\n"
        assert [path.read_bytes() for path in mails.iterdir()] == [MESSAGE]
    finally:
        process.terminate()
        assert process.wait(10) == 0

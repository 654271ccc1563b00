"""Drives the demo: `demo.py run` the main job, `demo.py serve` a server to look at. Called by dev/demo and dev/serve.

The data is that of demo_data.py, which has

    CLERK, ADMIN     pairs of login and password
    SMTP_USER, SMTP_PASSWORD
    RULES            what the SMTP server does to whom, see smtpd.py
    build(env, smtp) fills the database; `smtp` is a dict of host, port, user and password. Returns what has to come
                     of the run: a list of dicts customer, level (its number), lang, currency, state (delivery state)
"""

import argparse
import base64
import contextlib
import datetime
import hashlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
from collections import Counter

import requests

import demo_data
from smtpd import SmtpServer

ROOT = pathlib.Path(__file__).resolve().parent.parent
DEV = ROOT / ".dev"
OUT = DEV / "demo"
DATABASE = "demo"
BUSY = ("released", "sending")
TIME_LIMIT = 180  # seconds, for the sending alone

BUILD = """
import json, sys
sys.path.insert(0, {dev!r})
import demo_data
expected = demo_data.build(env, {smtp!r})
env.cr.commit()
with open({path!r}, "w") as file:
    json.dump(expected, file, indent=1, ensure_ascii=False)
"""

MOVE_SERVER = """
env["dunning.provider"].with_context(active_test=False).search([("smtp_host", "=", "localhost")]).smtp_port = {port}
env.cr.commit()
"""


def say(text=""):
    print(text, flush=True)


def where(path):
    return path.relative_to(ROOT)


def step(text):
    say(f"{datetime.datetime.now():%H:%M:%S}  {text}")


# === WHAT RUNS === #


def smtp_server(port=0):
    rules = OUT / "smtp-rules.txt"
    if not rules.exists():
        rules.write_text(demo_data.RULES)
    certificate = DEV / "certs" / "server"
    return SmtpServer(
        port=port,
        cert=certificate.with_suffix(".pem"),
        key=certificate.with_suffix(".key"),
        user=demo_data.SMTP_USER,
        password=demo_data.SMTP_PASSWORD,
        mails=OUT / "mails",
        log=OUT / "smtp.jsonl",
        rules=rules,
    )


def odoo_shell(script):
    log = OUT / "shell.log"
    with log.open("a") as output:
        status = subprocess.run(
            [sys.executable, "-m", "odoo", "shell", "-d", DATABASE, "--no-http"],
            input=script, text=True, stdout=output, stderr=subprocess.STDOUT, check=False,
        ).returncode  # fmt: skip
    if status:
        sys.exit(f"{log.read_text()[-3000:]}\nerror: the demo data was not made, see {log}")


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


@contextlib.contextmanager
def odoo_server(port):
    """A real server process, with its scheduled actions; stopped at the end."""
    log = OUT / "odoo.log"
    with log.open("a") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "odoo", "-d", DATABASE, "--http-port", str(port)],
            stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        for _ in range(300):
            with contextlib.suppress(requests.RequestException):
                if requests.get(f"http://127.0.0.1:{port}/web/health", timeout=5).ok:
                    break
            if process.poll() is not None:
                sys.exit(f"{log.read_text()[-3000:]}\nerror: the Odoo server ended by itself, see {log}")
            time.sleep(0.2)
        else:
            sys.exit(f"error: the Odoo server does not answer, see {log}")
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Client:
    """What the web client does, over the same calls."""

    def __init__(self, port, login, password):
        self.url = f"http://127.0.0.1:{port}"
        self.session = requests.Session()
        self.session.trust_env = False  # no proxy for loopback
        user = self.post("/web/session/authenticate", db=DATABASE, login=login, password=password)
        self.context = user["user_context"]

    def post(self, path, **params):
        answer = self.session.post(self.url + path, json={"jsonrpc": "2.0", "params": params}, timeout=120).json()
        if "error" in answer:
            data = answer["error"].get("data", {})
            raise RuntimeError(f"{path}: {data.get('name')}: {data.get('message')}\n{data.get('debug', '')}")
        # a method without a return value answers without a result
        return answer.get("result")

    def call(self, model, method, *args, **kwargs):
        kwargs.setdefault("context", self.context)
        return self.post(f"/web/dataset/call_kw/{model}/{method}", model=model, method=method, args=args, kwargs=kwargs)

    def download(self, url):
        answer = self.session.get(self.url + url, timeout=120)
        answer.raise_for_status()
        return answer.content


# === THE MAIN JOB === #


def wait_for(what, check, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if check():
            return
        time.sleep(0.5)
    sys.exit(f"error: {what} took longer than {seconds} s, see {where(OUT / 'odoo.log')}")


def run_state(clerk, run_id):
    return clerk.call("dunning.run", "read", [run_id], ["state"])[0]["state"]


def read_notices(clerk, run_id):
    fields = [
        "name", "partner_id", "lang", "level_id", "amount_total", "currency_id", "state", "delivery_state",
        "delivery_info", "email_to", "message_id", "document_id", "document_sha256",
    ]  # fmt: skip
    notices = clerk.call("dunning.notice", "search_read", [["run_id", "=", run_id]], fields, order="partner_id, id")
    level_ids = list({notice["level_id"][0] for notice in notices})
    numbers = {level["id"]: level["sequence"] for level in clerk.call("dunning.level", "read", level_ids, ["sequence"])}
    for notice in notices:
        notice.update(
            customer=notice["partner_id"][1],
            level=numbers[notice["level_id"][0]],
            currency=notice["currency_id"][1],
            channel="paper" if notice["delivery_state"] == "paper" else "mail",
        )
    return notices


def send(clerk, run_id):
    """Until the scheduled action has nothing left to do; prints what changes."""
    shown = None

    def finished():
        nonlocal shown
        found = clerk.call("dunning.notice", "search_read", [["run_id", "=", run_id]], ["state", "delivery_state"])
        states = Counter(notice["delivery_state"] or notice["state"] for notice in found)
        text = "  ".join(f"{state} {count}" for state, count in sorted(states.items()))
        if text != shown:
            step(f"    {text}")
            shown = text
        if states["draft"] and run_state(clerk, run_id) == "processing":
            return False
        return not any(states[state] for state in BUSY)

    wait_for("sending", finished, TIME_LIMIT)


def print_letters(clerk, run_id, notices):
    """What goes on paper, as one PDF; then the clerk says that it is printed."""
    paper = [notice["id"] for notice in notices if notice["delivery_state"] == "paper"]
    if paper:
        (OUT / "letters.pdf").write_bytes(clerk.download(f"/dunning_mail/run/{run_id}/letters"))
        clerk.call("dunning.notice", "action_mark_printed", paper)


def save_documents(clerk, notices):
    (OUT / "notices").mkdir()
    ids = [notice["document_id"][0] for notice in notices if notice["document_id"]]
    contents = {
        document["id"]: base64.b64decode(document["datas"])
        for document in clerk.call("ir.attachment", "read", ids, ["datas"])
    }
    for notice in notices:
        if not notice["document_id"]:
            continue
        content = contents[notice["document_id"][0]]
        name = notice["name"].replace("/", "-")
        (OUT / "notices" / f"{name}.pdf").write_bytes(content)


def check_mails(smtp, notices):
    """Each notice that is called sent arrived once, with the document that is kept; and nothing else arrived."""
    problems = []
    arrived = Counter(message.message_id for message in smtp.messages)
    by_id = {message.message_id: message for message in smtp.messages}
    for notice in notices:
        if notice["delivery_state"] != "sent":
            continue
        count = arrived.pop(notice["message_id"], 0)
        if count != 1:
            problems.append(f"{notice['name']}: called sent, but {count} mails arrived")
            continue
        digests = [
            hashlib.sha256(part.get_content()).hexdigest()
            for part in by_id[notice["message_id"]].email.iter_attachments()
            if part.get_content_type() == "application/pdf"
        ]
        if notice["document_sha256"] not in digests:
            problems.append(f"{notice['name']}: the PDF that arrived is not the one that is kept")
    problems += [f"a mail arrived that no notice accounts for: {message_id}" for message_id in arrived]
    return problems


def print_table(notices):
    head = ("customer", "language", "level", "amount", "channel", "state", "reason")
    rows = [
        (
            notice["customer"], notice["lang"] or "", str(notice["level"]),
            f"{notice['currency']} {notice['amount_total']:,.2f}", notice["channel"],
            notice["delivery_state"] or notice["state"],
            "" if notice["delivery_state"] == "sent" else " ".join((notice["delivery_info"] or "").split()),
        )
        for notice in notices
    ]  # fmt: skip
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head) - 1)]
    for row in (head, ("-" * width for width in (*widths, 6)), *rows):
        say("  ".join(text.ljust(width) for text, width in zip(row, (*widths, 0), strict=True)).rstrip())


def compare(expected, notices):
    keys = ("customer", "level", "lang", "currency", "state")
    wanted = Counter(tuple(item[key] for key in keys) for item in expected)
    found = Counter(
        (*(notice[key] for key in keys[:4]), notice["delivery_state"] or notice["state"]) for notice in notices
    )
    problems = [f"missing: {' / '.join(map(str, item))}" for item in (wanted - found).elements()]
    problems += [f"not intended: {' / '.join(map(str, item))}" for item in (found - wanted).elements()]
    if not notices:
        problems.append("there is no notice at all")
    return problems


def run():
    start = time.monotonic()
    with smtp_server() as smtp:
        (OUT / "smtp-port").write_text(f"{smtp.port}\n")
        step("demo data")
        login = {"user": demo_data.SMTP_USER, "password": demo_data.SMTP_PASSWORD}
        path = OUT / "expected.json"
        odoo_shell(
            BUILD.format(dev=str(ROOT / "dev"), smtp={"host": "localhost", "port": smtp.port, **login}, path=str(path))
        )
        if not path.exists():
            sys.exit(f"{(OUT / 'shell.log').read_text()[-3000:]}\nerror: the demo data was not made")
        expected = json.loads(path.read_text())
        port = free_port()
        step("Odoo server with its scheduled actions")
        with odoo_server(port):
            clerk = Client(port, *demo_data.CLERK)
            today = datetime.date.today().isoformat()
            run_id = clerk.call("dunning.run", "create", [{"date": today}])[0]
            step("dunning run: generate notices")
            clerk.call("dunning.run", "action_generate_notices", [run_id])
            wait_for("generating", lambda: run_state(clerk, run_id) == "proposed", 60)
            step(f"print and send: a mail every {demo_data.SEND_INTERVAL} s here, real providers want 60 and more")
            clerk.call("dunning.run", "action_print_and_send", [run_id])
            send(clerk, run_id)
            notices = read_notices(clerk, run_id)
            print_letters(clerk, run_id, notices)
            save_documents(clerk, notices)
            left_out = clerk.call("dunning.run.exception", "search_read", [["run_id", "=", run_id]], [])
        problems = compare(expected, notices) + check_mails(smtp, notices)
    say()
    print_table(notices)
    say()
    for item in left_out:
        say(f"left out: {item['partner_id'][1] if item['partner_id'] else '-'}: {item['description']}")
    say()
    say(f"mails as they arrived  {where(OUT / 'mails')}")
    say(f"letters to print       {where(OUT / 'letters.pdf')}")
    say(f"PDF of each notice     {where(OUT / 'notices')}")
    say(f"server logs            {where(OUT / 'odoo.log')}, {where(OUT / 'smtp.jsonl')}")
    say(f"{len(notices)} notices, {len(smtp.messages)} mails, {time.monotonic() - start:.0f} s")
    for problem in problems:
        say(f"error: {problem}")
    return 1 if problems else 0


def serve(port):
    try:
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("127.0.0.1", port))
    except OSError as error:
        sys.exit(f"error: port {port} of 127.0.0.1: {error.strerror}; PORT=... takes another")
    known = int((OUT / "smtp-port").read_text())
    try:
        smtp = smtp_server(known)
        smtp.start()
    except OSError:
        # somebody else has the port by now
        smtp = smtp_server()
        smtp.start()
        odoo_shell(MOVE_SERVER.format(port=smtp.port))
        (OUT / "smtp-port").write_text(f"{smtp.port}\n")
    with contextlib.suppress(KeyboardInterrupt), odoo_server(port) as process:
        say(f"http://127.0.0.1:{port}")
        say(f"login: clerk {' / '.join(demo_data.CLERK)}, administrator {' / '.join(demo_data.ADMIN)}")
        say(f"mails arrive in {where(OUT / 'mails')}; what is refused stands in {where(OUT / 'smtp-rules.txt')}")
        say("Ctrl-C ends it")
        process.wait()
    smtp.stop()
    return 0


def main():
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("run")
    commands.add_parser("serve").add_argument("--port", type=int, default=8069)
    options = parser.parse_args()
    # ends the processes that were started, as Ctrl-C does
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    os.chdir(ROOT)
    return serve(options.port) if options.command == "serve" else run()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)

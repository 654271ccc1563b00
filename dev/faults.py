"""Proves what the process engine promises, with real servers. Called by dev/faults, which makes database and cluster.

What is real here: Odoo's servers with `--workers`, their scheduler, PostgreSQL, the mail server of dev/smtpd.py, TLS,
letters, mails. What is not: invoices are cloned in SQL, since hundreds of them are needed; the clock of the hourly
limit is turned by moving the dates of the delivery log; the letters of the throughput trial are padded to 60 kB.
"""

import argparse
import contextlib
import dataclasses
import datetime
import itertools
import json
import os
import pathlib
import platform
import random
import signal
import smtplib
import socket
import ssl
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter

import psutil
import psycopg2

import odoo
from odoo.api import Environment
from odoo.modules.registry import Registry
from odoo.tools import config

from smtpd import SmtpServer

ROOT = pathlib.Path(__file__).resolve().parent.parent
CERTS = ROOT / ".dev" / "certs"
PG_BASE = os.environ["FAULTS_PG_BASE"]
LOGIN = {"user": "faults", "password": "faults-secret"}
SENDER = "dunning@muster.test"
# Seconds for a step and for the answer to the dot, in place of 30 and 600.
SHORT_TIMEOUT = 2


def say(text=""):
    print(text, flush=True)


def step(text):
    say(f"{datetime.datetime.now():%H:%M:%S}  {text}")


class Lab:
    """The database, the servers on it, and what is made in it."""

    def __init__(self, name, out):
        self.name, self.out = name, out
        self.servers, self.starts, self.restarts = [], 0, 0
        self._connection = None
        config.parse_config(["-d", name, "--db_host", PG_BASE, "--no-http", "--max-cron-threads=0",
                             "--log-level=warn"], setup_logging=True)  # fmt: skip

    # === DATABASE === #

    @contextlib.contextmanager
    def env(self):
        """An environment of the superuser; commits at the end."""
        with Registry(self.name).cursor() as cr:
            yield Environment(cr, odoo.SUPERUSER_ID, {})

    def sql(self, query, *args, database=None):
        """Rows of a statement that commits at once. Waits for a PostgreSQL that is being restarted."""
        for attempt in itertools.count():
            try:
                if database:
                    connection = psycopg2.connect(host=PG_BASE, dbname=database)
                else:
                    if self._connection is None or self._connection.closed:
                        self._connection = psycopg2.connect(host=PG_BASE, dbname=self.name)
                    connection = self._connection
                connection.autocommit = True
                with connection.cursor() as cursor:
                    cursor.execute(query, args or None)
                    rows = cursor.fetchall() if cursor.description else []
                if database:
                    connection.close()
                return rows
            except psycopg2.Error as error:
                # a server that goes away under a statement gives a DatabaseError without a code
                if error.pgcode and not error.pgcode.startswith("57"):
                    raise
                self._connection = None
                if attempt > 100:
                    raise
                time.sleep(0.2)
        raise AssertionError("the loop has no end")

    def pg_ctl(self, *args):
        command = [os.environ["FAULTS_PG_CTL"], "-D", f"{PG_BASE}/data", "-l", f"{PG_BASE}/server.log", "-w", *args]
        if os.geteuid() == 0:
            command = ["runuser", "-u", "postgres", "--", *command]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/")

    # === ODOO === #

    def start_server(self, threads=2):
        """A server as in production: forked workers of the scheduler, kept alive by their parent."""
        self.starts += 1
        with (self.out / f"odoo-{self.starts}.log").open("a") as log:
            server = subprocess.Popen(
                [sys.executable, "-m", "odoo", "-d", self.name, "--db_host", PG_BASE, "--workers=1", "--no-http",
                 f"--max-cron-threads={threads}"],
                stdout=log, stderr=subprocess.STDOUT, start_new_session=True)  # fmt: skip
        server.threads = threads
        self.servers.append(server)
        wanted = sum(server.threads for server in self.servers if server.poll() is None)
        self.wait_for("the servers", lambda: self.count_listeners() >= wanted, 120)

    def count_listeners(self):
        """How many workers of the scheduler listen for a wake-up."""
        ((count,),) = self.sql(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = 'postgres' AND query ~ 'LISTEN cron_trigger|COMMIT'"
            " AND application_name ~ '^odoo-' AND application_name <> %s", f"odoo-{os.getpid()}")  # fmt: skip
        return count

    def restart_ended(self):
        """What a service manager does: Odoo's parent process ends when it finds no PostgreSQL."""
        for server in [server for server in self.servers if server.poll() is not None]:
            self.servers.remove(server)
            self.restarts += 1
            self.start_server(server.threads)

    def stop_servers(self):
        for server in self.servers:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)
            server.wait()
        self.servers.clear()

    def wake(self):
        """What `ir.cron._trigger()` does, for all engines."""
        self.sql("INSERT INTO ir_cron_trigger (cron_id, call_at) SELECT c.id, now() AT TIME ZONE 'UTC' FROM ir_cron c"
                 " JOIN ir_act_server a ON a.id = c.ir_actions_server_id JOIN ir_model m ON m.id = a.model_id"
                 " WHERE m.model = 'dunning.engine' AND c.active")  # fmt: skip
        self.sql(f"NOTIFY cron_trigger, '{self.name}'", database="postgres")

    def wait_for(self, what, check, seconds, wake_every=None, pause=0.1):
        """Wait until `check()` is true; wakes the engine now and then, as whoever releases a notice does."""
        end = time.monotonic() + seconds
        woken = time.monotonic()
        while True:
            if result := check():
                return result
            if time.monotonic() > end:
                raise TimeoutError(f"{what} took longer than {seconds} s")
            if wake_every and time.monotonic() - woken > wake_every:
                self.restart_ended()
                self.wake()
                woken = time.monotonic()
            time.sleep(pause)

    def holder(self, provider_id):
        """(server's process, backend) of who sends for a provider right now, or None."""
        # The connections of a worker bear the name of its parent.
        rows = self.sql(
            "SELECT a.application_name, a.pid FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
            " WHERE l.locktype = 'advisory' AND l.objid = %s AND l.granted AND a.application_name ~ '^odoo-'",
            provider_id)  # fmt: skip
        return (int(rows[0][0].removeprefix("odoo-")), rows[0][1]) if rows else None

    # === DATA === #

    def setup(self):
        with self.env() as env:
            self.set_timeouts(env, SHORT_TIMEOUT)
            env.ref("dunning_mail.ir_cron_engine_2").active = True
            env.company.write({"email": "info@muster.test", "dunning_fallback_lang": "de_DE"})
            due = datetime.date.today() - datetime.timedelta(days=30)
            partner = env["res.partner"].create({"name": "Template", "email": "template@customer.test"})
            move = env["account.move"].create({
                "move_type": "out_invoice", "partner_id": partner.id,
                "invoice_date": due - datetime.timedelta(days=30), "invoice_date_due": due,
                "invoice_payment_term_id": False,
                "invoice_line_ids": [(0, 0, {"name": "x", "quantity": 1, "price_unit": 123.45,
                                             "tax_ids": [(5, 0, 0)]})]})  # fmt: skip
            move.action_post()
            self.template = move.id
            env["account.move.line"].search([("move_id", "=", move.id)]).no_followup = True

    @staticmethod
    def set_timeouts(env, seconds):
        for name in ("smtp_timeout", "answer_timeout"):
            env["ir.config_parameter"].set_param(f"dunning_mail.{name}", seconds and str(seconds))

    def make_provider(self, env, port, engine=None, **values):
        return env["dunning.provider"].create({
            "name": f"Port {port}", "smtp_host": "localhost", "smtp_port": port, "smtp_user": LOGIN["user"],
            "smtp_pass": LOGIN["password"], "email_from": SENDER, "send_interval": 0,
            **({"engine_id": env.ref(f"dunning_mail.{engine}").id} if engine else {}), **values})  # fmt: skip

    def make_drafts(self, env, count, label):
        """Customers with an overdue invoice each, and the draft notices of a run."""
        langs = ("de_CH", "de_DE", "fr_FR", "it_IT", "en_US")
        partners = env["res.partner"].create([
            {"name": f"{label} {number}", "is_company": True, "email": f"{label}{number}@customer.test".lower(),
             "street": "Dorfstrasse 1", "zip": "8000", "city": "Zürich", "country_id": env.ref("base.ch").id,
             "lang": langs[number % len(langs)]}
            for number in range(count)])  # fmt: skip
        env.flush_all()
        self._clone_invoices(env.cr, partners.ids)
        env.invalidate_all()
        run = env["dunning.run"].create({"date": datetime.date.today(), "partner_ids": [(6, 0, partners.ids)]})
        run.action_generate_notices()
        run.state = "processing"
        if len(run.notice_ids) != count:
            raise RuntimeError(f"{len(run.notice_ids)} notices for {count} customers")
        return run.notice_ids.sorted("id")

    def _clone_invoices(self, cr, partner_ids):
        def columns(table, *without):
            cr.execute("SELECT column_name FROM information_schema.columns WHERE table_name = %s"
                       " AND is_generated = 'NEVER'", [table])  # fmt: skip
            return [name for (name,) in cr.fetchall() if name not in ("id", *without)]

        def listed(names, prefix=""):
            return ", ".join(f'{prefix}"{name}"' for name in names)

        moves = columns("account_move", "partner_id", "commercial_partner_id", "name", "payment_reference")
        lines = columns("account_move_line", "move_id", "partner_id", "no_followup")
        cr.execute(f"""
            CREATE TEMP TABLE faults_move AS
            SELECT nextval('account_move_id_seq') AS id, p AS partner_id FROM unnest(%s) p;
            INSERT INTO account_move (id, partner_id, commercial_partner_id, name, {listed(moves)})
            SELECT b.id, b.partner_id, b.partner_id, 'F/' || b.id, {listed(moves, "m.")}
              FROM account_move m, faults_move b WHERE m.id = %s;
            INSERT INTO account_move_line (id, move_id, partner_id, no_followup, {listed(lines)})
            SELECT nextval('account_move_line_id_seq'), b.id, b.partner_id, FALSE, {listed(lines, "l.")}
              FROM account_move_line l, faults_move b WHERE l.move_id = %s;
            DROP TABLE faults_move
        """, [partner_ids, self.template, self.template])  # noqa: S608

    def release(self, provider, count, label):
        """Issue notices with real letters, for a provider. Returns their ids."""
        env = provider.env
        env.company.dunning_provider_id = provider
        drafts = self.make_drafts(env, count, label)
        issued = drafts._issue()
        if len(issued) != count:
            raise RuntimeError(drafts.mapped("problem")[:3])
        return issued.ids

    def states(self, ids):
        rows = self.sql(
            "SELECT delivery_state, count(*) FROM dunning_notice WHERE id = ANY(%s) GROUP BY 1", list(ids))  # fmt: skip
        return Counter(dict(rows))

    def count(self, ids, state):
        return self.states(ids)[state]

    def is_over(self, ids):
        states = self.states(ids)
        return not states["released"] and not states["sending"]


def mail_server(cert="server", **options):
    return SmtpServer(
        cert=CERTS / f"{cert}.pem", key=CERTS / f"{cert}.key", **(LOGIN if options.get("tls") != "none" else {}),
        **options)  # fmt: skip


def check_at_most_once(lab, ids, messages):
    """The four questions that are asked after each trial. Returns (facts, list of what did not hold)."""
    rows = lab.sql("SELECT id, delivery_state, message_id FROM dunning_notice WHERE id = ANY(%s)", list(ids))
    accepted = Counter(messages)
    states = Counter(state for _id, state, _message_id in rows)
    known = {message_id: state for _id, state, message_id in rows}
    twice = [message_id for message_id, count in accepted.items() if count > 1]
    missing = [message_id for message_id, state in known.items() if state == "sent" and not accepted[message_id]]
    untold = [message_id for message_id in accepted if known.get(message_id) not in ("sent", "unclear")]
    problems = []
    if twice:
        problems.append(f"{len(twice)} messages were accepted more than once: {twice[:3]}")
    if missing:
        problems.append(f"{len(missing)} notices are called sent, and no mail arrived: {missing[:3]}")
    if untold:
        problems.append(f"{len(untold)} mails arrived for notices that are neither sent nor unclear: {untold[:3]}")
    if states["released"] or states["sending"]:
        problems.append(f"left over: {dict(states)}")
    facts = {
        "notices": len(rows), "accepted": sum(accepted.values()), "accepted_twice": len(twice),
        "sent_without_mail": len(missing), "mail_without_state": len(untold), "states": dict(states),
        "unclear_accepted": sum(known[m] == "unclear" for m in accepted if m in known),
    }  # fmt: skip
    return facts, problems


# === 1. FAULT MATRIX === #


@dataclasses.dataclass
class Cell:
    stage: str
    fault: str
    rule: str = ""
    notice: str = "released"   # what has to come of it
    provider: str = "ready"
    attempts: int = 1
    accepted: int = 0
    cert: str = "server"
    tls: str = "starttls"
    kind: str = "smtpd"
    in_short: bool = False


def make_cells():
    paused = {"provider": "paused", "attempts": 0}
    cells = [
        Cell("connect", "refused", kind="closed", in_short=True, **paused),
        Cell("connect", "drop", kind="drop", **paused),
        Cell("connect", "silence", kind="silent", **paused),
    ]
    replies = {
        "banner": ("connect", "421 4.3.2 Come later", "554 5.3.2 No service"),
        "ehlo": ("ehlo", "421 4.3.2 Come later", "550 5.7.1 Not you"),
        "starttls": ("starttls", "454 4.7.0 TLS not available", "554 5.7.0 TLS refused"),
        "auth": ("auth", "454 4.7.0 Try again", "535 5.7.8 Bad credentials"),
        "mail": ("mail", "451 4.3.0 Try again", "550 5.1.8 Bad sender"),
        "rcpt": ("rcpt", "451 4.3.0 Try again", "550 5.1.1 No such user"),
        "data": ("data", "451 4.3.0 Try again", "554 5.6.0 Not this"),
        "after the dot": ("eod", "451 4.3.0 Try again", "554 5.6.0 Not this"),
        "quit": ("quit", "421 4.3.2 Come later", "500 5.5.1 What?"),
    }
    for stage, (word, passing, lasting) in replies.items():
        for fault, action in (
                ("4xx", passing), ("5xx", lasting), ("drop", "drop"), ("silence", "silence 30"),
                ("garbage", "garbage")):  # fmt: skip
            cell = Cell(stage, fault, f"* {word} {action}", in_short=fault == "5xx")
            if stage in ("banner", "ehlo", "starttls", "auth") or (stage == "mail" and fault == "5xx"):
                cell.provider, cell.attempts = "paused", 0
            elif stage in ("rcpt", "data", "after the dot") and fault == "5xx":
                cell.notice = "failed"
            elif stage == "after the dot" and fault != "4xx":
                cell.notice, cell.in_short = "unclear", True
            elif stage == "quit":
                cell.notice, cell.accepted, cell.in_short = "sent", 1, fault == "silence"
            if fault == "drop" and stage in ("mail", "rcpt", "data"):
                cell.in_short = True
            cells.append(cell)
    for fault in ("drop", "silence", "garbage"):
        action = f"accept-then-{fault}" + (" 30" if fault == "silence" else "")
        cells.append(Cell("after the dot", f"accepted, then {fault}", f"* eod {action}", "unclear", accepted=1,
                          in_short=True))  # fmt: skip
    # The systems in between have buffers for all of it, so that nobody can tell whether the end was read: with luck the
    # broken link is noticed before the end is written.
    cells.append(Cell("message", "drop", "* body drop", "released or unclear"))
    cells.append(Cell("message", "silence", "* body silence 60", "unclear"))
    cells.append(Cell("message", "1 byte/s", kind="trickle"))
    cells.append(Cell("no fault", "none", notice="sent", accepted=1, in_short=True))
    for cert, word in (("expired", "expired"), ("otherhost", "of another host"), ("unknown", "unknown authority")):
        cells.append(Cell("certificate", word, cert=cert, in_short=cert == "expired", **paused))
    cells.append(Cell("no STARTTLS", "not offered", tls="none", **paused))
    return cells


class Trickle:
    """Passes a connection on to a mail server: the first bytes (handshake, login) at once, then a byte a second."""

    def __init__(self, port, at_once=4000):
        self.target, self.at_once = port, at_once
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen()
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _address = self.listener.accept()
                server = socket.create_connection(("127.0.0.1", self.target))
                threading.Thread(target=self._pass_on, args=(client, server, self.at_once), daemon=True).start()
                threading.Thread(target=self._pass_on, args=(server, client, None), daemon=True).start()

    def _pass_on(self, source, target, at_once):
        passed = 0
        with contextlib.suppress(OSError):
            while data := source.recv(1 if at_once is not None and passed > at_once else 1000):
                target.sendall(data)
                passed += len(data)
                if at_once is not None and passed > at_once:
                    time.sleep(1)
        for sock in (source, target):
            with contextlib.suppress(OSError):
                sock.close()

    def close(self):
        self.listener.close()


def open_bad_port(kind, stack):
    """A port that refuses, hangs up at once, or never answers. Returns its number."""
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    port = sock.getsockname()[1]
    if kind == "closed":
        sock.close()
        return port
    stack.callback(sock.close)
    if kind == "silent":
        # Linux drops what comes when the queue is full
        sock.listen(0)
        for _ in range(3):
            client = socket.socket()
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                client.connect(("127.0.0.1", port))
            stack.callback(client.close)
        return port

    def hang_up():
        with contextlib.suppress(OSError):
            while True:
                sock.accept()[0].close()

    sock.listen()
    threading.Thread(target=hang_up, daemon=True).start()
    return port


def try_matrix(lab, short):
    cells = [cell for cell in make_cells() if cell.in_short or not short]
    results, problems = [], []
    with contextlib.ExitStack() as stack:
        servers, ports = [], []
        for cell in cells:
            server = stack.enter_context(mail_server(cell.cert, tls=cell.tls))
            server.set_rules(cell.rule)
            port = server.port
            if cell.kind == "trickle":
                trickle = Trickle(port)
                stack.callback(trickle.close)
                port = trickle.port
            elif cell.kind != "smtpd":
                port = open_bad_port(cell.kind, stack)
            servers.append(server)
            ports.append(port)
        with lab.env() as env:
            providers = [lab.make_provider(env, port) for port in ports]
            ids = lab.release(providers[0], len(cells), "matrix")
            for notice, provider in zip(env["dunning.notice"].browse(ids), providers, strict=True):
                notice.provider_id = provider
            provider_ids = [provider.id for provider in providers]
        snapshots = {}

        def settle():
            for notice_id, provider_id in zip(ids, provider_ids, strict=True):
                if notice_id in snapshots:
                    continue
                ((state, attempts, info, provider_state, reason),) = lab.sql(
                    "SELECT n.delivery_state, n.attempt_count, n.delivery_info, p.state, p.pause_reason"
                    " FROM dunning_notice n, dunning_provider p WHERE n.id = %s AND p.id = %s",
                    notice_id, provider_id)  # fmt: skip
                if state in ("sent", "failed", "unclear") or provider_state == "paused" or (
                        state == "released" and attempts):  # fmt: skip
                    words = " ".join((reason or info or "").split())
                    snapshots[notice_id] = (state, attempts, provider_state, words)
            return len(snapshots) == len(ids)

        lab.start_server()
        lab.wake()
        lab.wait_for("the fault matrix", settle, 300, wake_every=5, pause=0.05)
        # The faults are over: what waits goes out, what is decided stays.
        good = stack.enter_context(mail_server())
        for server in servers:
            server.set_rules("")
        with lab.env() as env:
            for cell, provider in zip(cells, env["dunning.provider"].browse(provider_ids), strict=True):
                if cell.kind != "smtpd" or cell.cert != "server" or cell.tls != "starttls":
                    provider.smtp_port = good.port
                provider.action_resume()
            env["dunning.notice"].browse(ids).filtered(lambda n: n.delivery_state == "released").write(
                {"next_attempt_at": False})  # fmt: skip
        lab.wake()
        lab.wait_for("the way out of the faults", lambda: lab.is_over(ids), 120, wake_every=3)
        time.sleep(1)
        accepted_by_good = Counter(message.message_id for message in good.messages)
        for cell, server, notice_id in zip(cells, servers, ids, strict=True):
            state, attempts, provider_state, words = snapshots[notice_id]
            ((final, message_id),) = lab.sql(
                "SELECT delivery_state, message_id FROM dunning_notice WHERE id = %s", notice_id)  # fmt: skip
            accepted = len(server.messages) + accepted_by_good[message_id]
            result = {
                "stage": cell.stage, "fault": cell.fault, "notice": state, "provider": provider_state,
                "attempts": attempts, "finally": final, "accepted": accepted, "words": words,
            }  # fmt: skip
            results.append(result)
            found = (state, provider_state, attempts)
            allowed = cell.notice.split(" or ")
            if state not in allowed or found[1:] != (cell.provider, cell.attempts):
                problems.append(f"{cell.stage}, {cell.fault}: {found} in place of "
                                f"{(cell.notice, cell.provider, cell.attempts)}: {words}")  # fmt: skip
            if accepted > 1:
                problems.append(f"{cell.stage}, {cell.fault}: accepted {accepted} times")
            end = "sent" if state == "released" else state
            if final != end or accepted != (1 if end == "sent" else cell.accepted):
                problems.append(f"{cell.stage}, {cell.fault}: ends as {final}, accepted {accepted} times")
        lab.stop_servers()
    return {"cells": results}, problems


# === 2. SIGKILL === #


def try_sigkill(lab, short):
    count, kills_wanted, hits_wanted = (80, 12, 5) if short else (1000, 110, 40)
    with mail_server() as server:
        # Each answer takes a while, so that there is something to aim at: of one half before the server has taken the
        # mail, of the other half after that.
        server.set_rules("*[02468]@* eod delay 0.15\n*[13579]@* eod accept-then-delay 0.15")
        with lab.env() as env:
            provider = lab.make_provider(env, server.port)
            ids = lab.release(provider, count, "sigkill")
            provider_id = provider.id
        # Two servers with a worker each: while one gets a new worker, the other goes on.
        lab.start_server(threads=1)
        lab.start_server(threads=1)
        began = time.monotonic()
        kills, hits, aimed = 0, 0, 0
        randomness = random.Random(4)
        orphans, sent = set(), 0

        def sending():
            rows = lab.sql("SELECT id FROM dunning_notice WHERE id = ANY(%s) AND delivery_state = 'sending'", ids)
            return {row[0] for row in rows} - orphans

        while (kills < kills_wanted or hits < hits_wanted) and not lab.is_over(ids):
            # Every second one is aimed at a committed `sending`, the others hit whatever is there.
            is_aimed = kills % 2 == 0 or hits < hits_wanted * kills / kills_wanted
            lab.wake()
            if is_aimed:
                # Somewhere among the next mails.
                target = sent + randomness.randrange(0, count // kills_wanted)
                with contextlib.suppress(TimeoutError):
                    lab.wait_for("mails", lambda target=target: lab.count(ids, "sent") >= target, 10, pause=0.02)
                    lab.wait_for("sending", sending, 5, pause=0.002)
                time.sleep(randomness.uniform(0, 0.1))
            else:
                time.sleep(randomness.uniform(0.05, 1.5))
            holder = lab.holder(provider_id)
            if not holder:
                continue
            (worker,) = psutil.Process(holder[0]).children()
            with contextlib.suppress(psutil.NoSuchProcess):
                worker.kill()
                kills += 1
                aimed += is_aimed
            lab.wait_for("the end of its connection", lambda pid=holder[1]: not lab.sql(
                "SELECT 1 FROM pg_stat_activity WHERE pid = %s", pid), 20, pause=0.002)  # fmt: skip
            orphans |= sending()
            sent = lab.count(ids, "sent")
            # Exactly those that hit a committed `sending`: whoever gets the lock next makes it unclear.
            hits = lab.count(ids, "unclear")
            if kills % 20 == 0:
                step(f"    {kills} kills, {hits} of them during a handover, {dict(lab.states(ids))}")
        server.set_rules("")
        lab.wait_for("the rest", lambda: lab.is_over(ids), 300, wake_every=2)
        seconds = time.monotonic() - began
        time.sleep(0.5)
        facts, problems = check_at_most_once(lab, ids, [message.message_id for message in server.messages])
        hits = facts["states"].get("unclear", 0)
        lab.stop_servers()
    facts.update(kills=kills, kills_aimed=aimed, kills_during_handover=hits, seconds=round(seconds, 1))
    if kills < kills_wanted or hits < hits_wanted:
        problems.append(f"only {kills} kills, {hits} of them during a handover")
    return facts, problems


# === 3. DATABASE === #


def try_database(lab, short):
    count = 60 if short else 300
    with mail_server() as server:
        server.set_rules("* eod delay 0.1")
        with lab.env() as env:
            provider = lab.make_provider(env, server.port)
            ids = lab.release(provider, count, "database")
            provider_id = provider.id
        lab.start_server(threads=1)
        lab.start_server(threads=1)
        lab.wake()
        events = [("terminate", None), ("restart", "fast")]
        if not short:
            events += [("terminate", None), ("restart", "immediate"), ("terminate", None), ("restart", "fast")]
        done = []
        for number, (event, mode) in enumerate(events, 1):
            target = count * number // (len(events) + 1)
            lab.wait_for(f"{target} sent", lambda target=target: lab.count(ids, "sent") >= target or lab.is_over(ids),
                         120, wake_every=2)  # fmt: skip
            if event == "terminate":
                with contextlib.suppress(TimeoutError):
                    lab.wait_for("sending", lambda: lab.count(ids, "sending"), 5, wake_every=2, pause=0.002)
                holder = lab.holder(provider_id)
                if holder:
                    lab.sql("SELECT pg_terminate_backend(%s)", holder[1])
                    done.append("pg_terminate_backend")
            else:
                odoo.sql_db.close_all()
                lab.pg_ctl("-m", mode, "stop")
                time.sleep(1)
                lab.pg_ctl("start")
                lab.restart_ended()
                done.append(f"stop -m {mode}, start")
            step(f"    {done[-1] if done else event}: {dict(lab.states(ids))}")
        server.set_rules("")
        lab.wait_for("the rest", lambda: lab.is_over(ids), 300, wake_every=2)
        time.sleep(0.5)
        facts, problems = check_at_most_once(lab, ids, [message.message_id for message in server.messages])
        lab.stop_servers()
    facts["events"] = done
    facts["servers_restarted"] = lab.restarts
    if len(done) < len(events):
        problems.append(f"only {done} of {events}")
    return facts, problems


# === 4. PACE === #


def try_pace(lab, short):
    facts, problems = {"intervals": {}}, []
    plans = [(1, 6)] if short else [(1, 30), (5, 12), (30, 6), (60, 5)]
    with contextlib.ExitStack() as stack:
        trials = []
        with lab.env() as env:
            for number, (interval, count) in enumerate(plans):
                server = stack.enter_context(mail_server())
                # Two engines: one with 1 and 30 s, one with 5 and 60 s.
                provider = lab.make_provider(
                    env, server.port, engine="ir_cron_engine_2" if number % 2 else "ir_cron_engine",
                    send_interval=interval)  # fmt: skip
                trials.append((interval, server, lab.release(provider, count, f"pace{interval}x")))
        lab.start_server()
        lab.start_server()
        lab.wake()
        seconds = max(interval * count for interval, count in plans) + 120
        everything = [notice_id for _interval, _server, ids in trials for notice_id in ids]
        lab.wait_for("the paced mails", lambda: lab.is_over(everything), seconds)
        for interval, server, ids in trials:
            ends = [entry["time"] for entry in server.events("accepted")]
            starts = [entry["time"] for entry in server.events("mail")]
            gaps = [start - end for end, start in zip(ends, starts[1:], strict=False)]
            overhead = [gap - interval for gap in gaps]
            result = {
                "mails": len(ends), "shortest_gap": round(min(gaps), 3), "longest_gap": round(max(gaps), 3),
                "mean_overhead": round(statistics.mean(overhead), 3),
            }  # fmt: skip
            facts["intervals"][str(interval)] = result
            found, wrong = check_at_most_once(lab, ids, [message.message_id for message in server.messages])
            problems += [f"interval {interval}: {problem}" for problem in wrong]
            if found["states"] != {"sent": len(ids)}:
                problems.append(f"interval {interval}: {found['states']}")
            if min(gaps) < interval:
                problems.append(f"interval {interval}: a gap of {min(gaps):.3f} s")
            if statistics.mean(overhead) >= (2 if interval >= 60 else 1):
                problems.append(f"interval {interval}: mean overhead of {statistics.mean(overhead):.3f} s")
        wrong, facts["first_handover"] = measure_latency(lab, 3 if short else 10)
        problems += wrong
        wrong, facts["hourly_limit"] = measure_limit(lab, 5, 13) if short else measure_limit(lab, 10, 45)
        problems += wrong
        lab.stop_servers()
    return facts, problems


def measure_latency(lab, count):
    """From the commit that releases a notice to the first word of its handover, with idle engines."""
    latencies = []
    with mail_server() as server:
        with lab.env() as env:
            provider = lab.make_provider(env, server.port)
            env.company.dunning_provider_id = provider
            ids = lab.make_drafts(env, count, "latency").ids
        for notice_id in ids:
            time.sleep(1.5)
            with lab.env() as env:
                env["dunning.notice"].browse(notice_id)._issue()
            released = time.time()
            known = len(latencies)
            lab.wait_for("the first handover", lambda known=known: len(server.messages) > known, 30, pause=0.01)
            latencies.append(server.events("mail")[-1]["time"] - released)
    facts = {"median": round(statistics.median(latencies), 3), "longest": round(max(latencies), 3), "samples": count}
    return ([f"released to handover: {max(latencies):.2f} s"] if max(latencies) >= 2 else []), facts


def measure_limit(lab, limit, count):
    """The clock is simulated: when the limit is reached, the dates of the log are moved so that the oldest mail of the
    window is ten seconds short of an hour. Then real seconds pass, so that the edge of the window is a real one."""
    turned = []  # (real time, seconds)
    with mail_server() as server:
        with lab.env() as env:
            provider = lab.make_provider(env, server.port, hourly_limit=limit)
            ids = lab.release(provider, count, "limit")
            provider_id = provider.id
        seen = 0
        while not lab.is_over(ids):
            wanted = min(seen + limit, count)
            lab.wait_for("mails under the limit", lambda wanted=wanted: len(server.messages) >= wanted, 60,
                         wake_every=5)  # fmt: skip
            seen = len(server.messages)
            time.sleep(1.5)
            if lab.is_over(ids):
                break
            ((oldest,),) = lab.sql("""
                SELECT extract(epoch FROM (now() AT TIME ZONE 'UTC') - min(date))
                  FROM (SELECT date FROM dunning_delivery_log WHERE provider_id = %s AND recipient_count > 0
                         ORDER BY date DESC LIMIT %s) newest""", provider_id, limit)
            seconds = int(3590 - oldest)
            lab.sql("UPDATE dunning_delivery_log SET date = date - %s * interval '1 s' WHERE provider_id = %s",
                    seconds, provider_id)  # fmt: skip
            turned.append((time.time(), seconds))
            lab.wake()
        times = sorted(
            entry["time"] + sum(seconds for moment, seconds in turned if moment < entry["time"])
            for entry in server.events("accepted"))  # fmt: skip
    most = max(sum(1 for other in times if first <= other < first + 3600) for first in times)
    gaps = [later - first for first, later in zip(times, times[limit:], strict=False)]
    facts = {"limit": limit, "mails": len(times), "most_in_any_hour": most,
             "shortest_to_the_one_after_the_limit": round(min(gaps), 3)}  # fmt: skip
    return ([f"{most} mails in an hour, {limit} are allowed"] if most > limit else []), facts


# === 5. THROUGHPUT === #


def pad(content, size=60_000):
    """A PDF of a size: what stands behind its end is a comment, of bytes that do not compress."""
    missing = size - len(content) - 2
    return content + b"\n%" + os.urandom(max(missing, 0) // 2 + 1).hex().encode()[:max(missing, 0)]


class MailServerProcess:
    """dev/smtpd in a process of its own, so that it takes no time from who is measured."""

    def __init__(self, out):
        self.log = out / "throughput-smtp.jsonl"
        self.log.unlink(missing_ok=True)

    def __enter__(self):
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "dev" / "smtpd.py"), "--user", LOGIN["user"], "--password", LOGIN["password"],
             "--log", str(self.log)], stdout=subprocess.PIPE, text=True)  # fmt: skip
        self.port = int(self.process.stdout.readline())
        return self

    def __exit__(self, *_exc):
        self.process.terminate()
        self.process.wait()

    def events(self, name, since=0.0):
        entries = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [entry for entry in entries if entry["event"] == name and entry["time"] >= since]


@contextlib.contextmanager
def niceness_of_a_worker():
    """Odoo's scheduler makes its workers nice: whoever is compared with the engine has to be as nice."""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    os.setpriority(os.PRIO_PROCESS, 0, before + 10)
    try:
        yield
    finally:
        # only root may go back
        with contextlib.suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, 0, before)


def counters(lab):
    ((statements,),) = lab.sql("SELECT coalesce(sum(calls), 0) FROM pg_stat_statements s JOIN pg_database d"
                               " ON d.oid = s.dbid WHERE d.datname = current_database()")  # fmt: skip
    ((commits,),) = lab.sql("SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()")
    return int(statements), int(commits)


# What a mail costs PostgreSQL at most, both of its transactions' beginnings and ends among the statements.
MAX_STATEMENTS, MAX_COMMITS = 28, 2


def try_throughput(lab, short):
    """The middle one of three rounds. What it fails for is counted: a machine's speed says nothing of the engine."""
    rounds, problems = [], []
    for number in range(1 if short else 3):
        facts, wrong = measure_round(lab, 60 if short else 500, number)
        rounds.append(facts)
        problems += wrong
    middle = sorted(rounds, key=lambda facts: facts["engine_to_core_queue"])[len(rounds) // 2]
    for name in ("engine_to_core_queue", "engine_to_smtplib", "mails_per_s"):
        middle[f"{name}_of_each_round"] = [facts[name] for facts in rounds]
    return middle, problems


def measure_round(lab, count, number):
    facts, problems = {"mails": count}, []
    tls = ssl.create_default_context(cafile=CERTS / "ca.pem")
    with MailServerProcess(lab.out) as server:
        with lab.env() as env:
            lab.set_timeouts(env, False)
            provider = lab.make_provider(env, server.port)
            original = type(env["dunning.notice"])._make_documents
            documents = {}

            def make_documents(notices):
                made = original(notices[:1])
                documents.update({notice.id: pad(made[notices[:1].id]) for notice in notices})
                return documents

            type(env["dunning.notice"])._make_documents = make_documents
            try:
                few = lab.release(provider, count // 5, f"few{number}")
                many = lab.release(provider, count, f"many{number}")
            finally:
                type(env["dunning.notice"])._make_documents = original
            hold = env["dunning.notice"].browse(many)
            hold.write({"next_attempt_at": "2100-01-01"})
            mails = [
                (notice.partner_id.id, notice.partner_id.email, notice._render_texts(), documents[notice.id])
                for notice in hold
            ]  # fmt: skip
        lab.start_server(threads=1)
        per_mail = {}
        for label, ids in (("few", few), ("many", many)):
            time.sleep(2)
            lab.sql("UPDATE dunning_notice SET next_attempt_at = NULL WHERE id = ANY(%s)", ids)
            before = counters(lab)
            since = time.time()
            lab.wake()
            time.sleep(0.5)
            # Asked seldom, so that asking costs nothing and counts for nothing.
            asked = 0

            def is_over(ids=ids):
                nonlocal asked
                asked += 1
                return lab.is_over(ids)

            lab.wait_for("the engine", is_over, 300, pause=1)
            time.sleep(1)
            after = counters(lab)
            accepted = server.events("accepted", since)
            begun = server.events("mail", since)[0]["time"]
            per_mail[label] = {
                "mails_per_s": round(len(accepted) / (accepted[-1]["time"] - begun), 1),
                "statements_per_mail": round((after[0] - before[0] - asked) / len(ids), 1),
                "commits_per_mail": round((after[1] - before[1] - asked) / len(ids), 1),
                "sessions": len({entry["session"] for entry in accepted}),
            }
            problems += check_at_most_once(lab, ids, [entry["message_id"] for entry in accepted])[1]
        lab.stop_servers()
        facts["engine"] = per_mail["many"]
        facts["engine_with_a_fifth_of_the_mails"] = per_mail["few"]

        with niceness_of_a_worker():
            facts["core"] = measure_core(lab, server, mails)
        # The same bytes as the engine's.
        with lab.env() as env:
            lab.set_timeouts(env, SHORT_TIMEOUT)
            notices = env["dunning.notice"].browse(many)
            contents = [(notice.email_to, notice.mail_document_id.raw) for notice in notices]
        facts["smtplib"] = {
            **measure_smtplib(server, contents, tls),
            "kB_per_mail": round(statistics.mean(len(content) for _address, content in contents) / 1000),
        }
    engine = facts["engine"]["mails_per_s"]
    facts["mails_per_s"] = engine
    facts["engine_to_core_queue"] = round(engine / facts["core"]["mails_per_s"], 2)
    facts["engine_to_smtplib"] = round(engine / facts["smtplib"]["mails_per_s"], 2)
    facts["engine_to_smtplib_without_delay"] = round(engine / facts["smtplib"]["mails_per_s_without_delay"], 2)
    # A pass has its own statements besides, which its mails share.
    if round(facts["engine"]["statements_per_mail"] - 0.2) > MAX_STATEMENTS:
        problems.append(f"{facts['engine']['statements_per_mail']} statements a mail, at most {MAX_STATEMENTS}")
    if round(facts["engine"]["commits_per_mail"] - 0.1) > MAX_COMMITS:
        problems.append(f"{facts['engine']['commits_per_mail']} commits a mail, at most {MAX_COMMITS}")
    growth = facts["engine"]["statements_per_mail"] / facts["engine_with_a_fifth_of_the_mails"]["statements_per_mail"]
    if growth > 1.1:
        problems.append(f"{growth:.2f} times as many statements a mail with five times as many mails")
    return facts, problems


def measure_smtplib(server, contents, tls):
    """A bare loop over one TLS session.

    As `smtplib` does it by itself, a small write may wait some 40 ms for the other side's acknowledgement, as those of
    Odoo's mail queue do. It happens to all, some or none of the mails of a session, at random: so there are seven
    sessions, and all of their mails and seconds count. `TCP_NODELAY`, which the engine sets, switches that off.
    """
    seconds = {False: [], True: []}
    part = contents[:200]
    with niceness_of_a_worker():
        for nodelay in (False, True) * 7:
            with smtplib.SMTP("localhost", server.port) as client:
                if nodelay:
                    client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                client.starttls(context=tls)
                client.login(LOGIN["user"], LOGIN["password"])
                began = time.monotonic()
                for address, content in part:
                    client.sendmail(SENDER, [address], content)
                seconds[nodelay].append(time.monotonic() - began)
    return {
        "mails_per_s": round(len(part) / statistics.mean(seconds[False]), 1),
        "mails_per_s_of_each_session": [round(len(part) / each, 1) for each in seconds[False]],
        "mails_per_s_without_delay": round(len(part) / statistics.mean(seconds[True]), 1),
    }


def measure_core(lab, server, mails):
    """The same mails in Odoo's own way: a message with an attachment on a record, then the mail queue."""
    with lab.env() as env:
        env["ir.mail_server"].search([("name", "=", "core")]).unlink()
        env["ir.mail_server"].create({
            "name": "core", "smtp_host": "localhost", "smtp_port": server.port, "smtp_encryption": "starttls",
            "smtp_user": LOGIN["user"], "smtp_pass": LOGIN["password"]})  # fmt: skip
        env["mail.mail"].search([]).unlink()
    before = counters(lab)
    began = time.monotonic()
    with lab.env() as env:
        for partner_id, _email, texts, pdf in mails:
            partner = env["res.partner"].browse(partner_id).with_context(mail_notify_force_send=False)
            partner.message_post(
                body=texts["mail_body"], subject=texts["mail_subject"], message_type="comment",
                subtype_xmlid="mail.mt_comment", email_from=SENDER, partner_ids=[partner_id],
                attachments=[("notice.pdf", pdf)])  # fmt: skip
            env.cr.commit()
    posted = time.monotonic()
    since = time.time()
    with lab.env() as env:
        while env["mail.mail"].search_count([("state", "=", "outgoing")]):
            env["mail.mail"].process_email_queue()
            env.cr.commit()
    ended = time.monotonic()
    after = counters(lab)
    accepted = len(server.events("accepted", since))
    if accepted != len(mails):
        raise RuntimeError(f"core sent {accepted} of {len(mails)} mails")
    return {
        "mails_per_s": round(accepted / (ended - began), 1),
        "queue_alone_mails_per_s": round(accepted / (ended - posted), 1),
        "statements_per_mail": round((after[0] - before[0]) / accepted, 1),
        "commits_per_mail": round((after[1] - before[1]) / accepted, 1),
    }


# === RESULTS === #


def describe_machine():
    model = next((line.split(":", 1)[1].strip() for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")), platform.machine())  # fmt: skip
    return {
        "cpu": model, "cores": os.cpu_count(), "load": [round(load, 1) for load in os.getloadavg()],
        "system": platform.system() + " " + platform.release(), "python": platform.python_version(),
        "odoo": odoo.release.version, "time": f"{datetime.datetime.now():%Y-%m-%d %H:%M}",
    }  # fmt: skip


def table(head, rows):
    rows = [[str(cell) for cell in row] for row in rows]
    return "\n".join(["| " + " | ".join(head) + " |", "|" + "---|" * len(head),
                      *("| " + " | ".join(cell.replace("|", "/") for cell in row) + " |" for row in rows)])  # fmt: skip


def describe(results):
    """The results as tables in Markdown."""
    machine = results["machine"]
    parts = [f"{machine['cpu']}, {machine['cores']} cores, load {machine['load'][0]} at the end; {machine['system']}, "
             f"Python {machine['python']}, PostgreSQL {machine['postgresql']}, Odoo {machine['odoo']}, "
             f"{machine['time']}."]  # fmt: skip
    if matrix := results.get("matrix"):
        parts.append("### Faults of the mail server\n\n" + table(
            ["step", "fault", "notice", "provider", "attempts", "when the fault is over", "accepted by the server"],
            [[cell[key] for key in ("stage", "fault", "notice", "provider", "attempts", "finally", "accepted")]
             for cell in matrix["cells"]]))  # fmt: skip
    rows = []
    for name, words in (("sigkill", "SIGKILL"), ("database", "PostgreSQL")):
        if found := results.get(name):
            events = (f"{found['kills']} kills, {found['kills_during_handover']} during a handover"
                      if name == "sigkill" else ", ".join(f"{count} x {event}" for event, count
                                                          in Counter(found["events"]).items()))  # fmt: skip
            rows.append([words, events, found["notices"], found["accepted_twice"], found["sent_without_mail"],
                         found["mail_without_state"], found["states"].get("sent", 0),
                         f"{found['states'].get('unclear', 0)} ({found['unclear_accepted']} of them had arrived)",
                         found["states"].get("released", 0) + found["states"].get("sending", 0)])  # fmt: skip
    if rows:
        parts.append("### Dying processes, restarting database\n\n" + table(
            ["trial", "what happened", "notices", "accepted twice", "sent, but no mail",
             "mail, but not sent or unclear", "sent", "unclear", "left over"], rows))  # fmt: skip
    if pace := results.get("pace"):
        parts.append("### Pace: two servers, two engines\n\n" + table(
            ["interval (s)", "mails", "shortest gap", "longest gap", "mean overhead"],
            [[interval, *found.values()] for interval, found in pace["intervals"].items()]))  # fmt: skip
        first, limit = pace["first_handover"], pace["hourly_limit"]
        parts.append(
            f"From release to the first handover: median {first['median']} s, longest {first['longest']} s "
            f"({first['samples']} samples). Hourly limit of {limit['limit']}: at most {limit['most_in_any_hour']} of "
            f"{limit['mails']} mails in any 60 minutes (simulated clock).")  # fmt: skip
    if found := results.get("throughput"):
        size, sessions = found["smtplib"]["kB_per_mail"], found["smtplib"]["mails_per_s_of_each_session"]
        parts.append(f"### Throughput: {found['mails']} mails with a PDF of 60 kB ({size} kB on the wire)\n\n" + table(
            ["way", "mails a second", "SQL statements a mail", "commits a mail"], [
                ["process engine, claim and outcome committed", found["engine"]["mails_per_s"],
                 found["engine"]["statements_per_mail"], found["engine"]["commits_per_mail"]],
                ["Odoo's own way: `message_post`, then the mail queue", found["core"]["mails_per_s"],
                 found["core"]["statements_per_mail"], found["core"]["commits_per_mail"]],
                ["of that, the queue alone", found["core"]["queue_alone_mails_per_s"], "", ""],
                [f"bare `smtplib` loop, one TLS session (mean of 7, from {min(sessions)} to {max(sessions)})",
                 found["smtplib"]["mails_per_s"], "", ""],
                ["the same with `TCP_NODELAY`", found["smtplib"]["mails_per_s_without_delay"], "", ""]]))  # fmt: skip
        each = found["engine_to_core_queue_of_each_round"]
        parts.append(
            f"The middle one of {len(each)} rounds (engine_to_core_queue {', '.join(map(str, each))}). "
            f"engine_to_core_queue {found['engine_to_core_queue']}, engine_to_smtplib {found['engine_to_smtplib']} "
            f"({found['engine_to_smtplib_without_delay']} with `TCP_NODELAY`); "
            f"{found['engine']['sessions']} TLS sessions for {found['mails']} mails; "
            f"{found['engine_with_a_fifth_of_the_mails']['statements_per_mail']} statements a mail with a fifth of the "
            "mails.")  # fmt: skip
    return "\n\n".join(parts) + "\n"


TRIALS = {
    "matrix": try_matrix,
    "sigkill": try_sigkill,
    "database": try_database,
    "pace": try_pace,
    "throughput": try_throughput,
}


def main():
    parser = argparse.ArgumentParser(prog="dev/faults")
    parser.add_argument("--name", required=True)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--only", default="", help=", ".join(TRIALS))
    options = parser.parse_args()
    chosen = options.only.split(",") if options.only else list(TRIALS)
    if options.short and not options.only:
        chosen.remove("throughput")
    if wrong := set(chosen) - set(TRIALS):
        parser.error(f"unknown: {', '.join(sorted(wrong))}")
    out = ROOT / ".dev" / options.name
    out.mkdir(parents=True, exist_ok=True)
    for log in out.glob("odoo-*.log"):
        log.unlink()
    lab = Lab(options.name, out)
    results, problems = {}, []
    try:
        lab.setup()
        for name in chosen:
            step(name)
            began = time.monotonic()
            try:
                found, wrong = TRIALS[name](lab, options.short)
            finally:
                lab.stop_servers()
            found["seconds"] = round(time.monotonic() - began, 1)
            found["problems"] = wrong
            results[name] = found
            problems += [f"{name}: {problem}" for problem in wrong]
            (out / f"{name}.json").write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    finally:
        lab.stop_servers()
    ((version,),) = lab.sql("SHOW server_version")
    results["machine"] = {**describe_machine(), "postgresql": version.split()[0]}
    (out / "results.json").write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    text = describe(results)
    (out / "table.md").write_text(text)
    say()
    say(text)
    for problem in problems:
        say(f"error: {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)

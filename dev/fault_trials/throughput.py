"""What a mail costs: time, statements and commits of the engine, beside Odoo's own way and a bare `smtplib` loop."""

import contextlib
import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from unittest.mock import patch

from .checks import check_at_most_once
from .lab import LOGIN, ROOT, SHORT_TIMEOUT
from .peers import measure_core, measure_smtplib

# What a mail costs PostgreSQL at most, both of its transactions' beginnings and ends among the statements.
MAX_STATEMENTS, MAX_COMMITS = 29, 2


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
    facts = {"mails": count}
    with MailServerProcess(lab.out) as server:
        few, many, mails = prepare(lab, server.port, count, number)
        lab.start_server(threads=1)
        few_facts, problems = measure_engine(lab, server, few)
        facts["engine"], wrong = measure_engine(lab, server, many)
        facts["engine_with_a_fifth_of_the_mails"] = few_facts
        problems += wrong
        lab.stop_servers()
        facts["core"] = measure_core(lab, server, mails)
        # The same bytes as the engine's.
        with lab.env() as env:
            lab.set_timeouts(env, SHORT_TIMEOUT)
            notices = env["dunning.notice"].browse(many)
            contents = [(notice.email_to, notice.mail_document_id.raw) for notice in notices]
        facts["smtplib"] = measure_smtplib(server, contents)
    engine = facts["engine"]["mails_per_s"]
    facts["mails_per_s"] = engine
    facts["engine_to_core_queue"] = round(engine / facts["core"]["mails_per_s"], 2)
    facts["engine_to_smtplib"] = round(engine / facts["smtplib"]["mails_per_s"], 2)
    facts["engine_to_smtplib_without_delay"] = round(engine / facts["smtplib"]["mails_per_s_without_delay"], 2)
    return facts, problems + find_excess(facts["engine"], few_facts)


def find_excess(engine, few):
    """What is more than a mail may cost, of the facts of all mails and of a fifth of them."""
    problems = []
    statements, commits = engine["statements_per_mail"], engine["commits_per_mail"]
    # A pass has its own statements besides, which its mails share.
    if round(statements - 0.2) > MAX_STATEMENTS:
        problems.append(f"{statements} statements a mail, at most {MAX_STATEMENTS}")
    if round(commits - 0.1) > MAX_COMMITS:
        problems.append(f"{commits} commits a mail, at most {MAX_COMMITS}")
    growth = statements / few["statements_per_mail"]
    if growth > 1.1:
        problems.append(f"{growth:.2f} times as many statements a mail with five times as many mails")
    return problems


# === ENGINE === #


def prepare(lab, port, count, number):
    """Release few notices, a fifth of the count, and as many as the count, which are held back.

    Returns the ids of the few, those of the many, and of the many what `measure_core` wants."""
    with lab.env() as env:
        lab.set_timeouts(env, False)
        provider = lab.make_provider(env, port)
        with padded_documents(env) as documents:
            few = lab.release(provider, count // 5, f"few{number}")
            many = lab.release(provider, count, f"many{number}")
        hold = env["dunning.notice"].browse(many)
        # Further ahead than a notice is ever put off, the engine takes it for the work of a wrong clock.
        hold.write({"next_attempt_at": datetime.now(UTC).replace(tzinfo=None) + timedelta(hours=3)})
        mails = [(notice.partner_id.id, notice._render_texts(), documents[notice.id]) for notice in hold]
    return few, many, mails


@contextlib.contextmanager
def padded_documents(env):
    """Each notice that is issued meanwhile has the letter of one, padded. Gives a dict of them by id of the notice."""
    cls = type(env["dunning.notice"])
    original = cls._make_documents
    documents = {}

    def make_documents(notices):
        made = original(notices[:1])
        documents.update({notice.id: pad(made[notices[:1].id]) for notice in notices})
        return documents

    with patch.object(cls, "_make_documents", make_documents):
        yield documents


def pad(content, size=60_000):
    """A PDF of a size: what stands behind its end is a comment, of bytes that do not compress."""
    missing = size - len(content) - 2
    return content + b"\n%" + os.urandom(max(missing, 0) // 2 + 1).hex().encode()[:max(missing, 0)]


def measure_engine(lab, server, ids):
    time.sleep(2)
    lab.sql("UPDATE dunning_notice SET next_attempt_at = NULL WHERE id = ANY(%s)", ids)
    before = lab.counters()
    since = time.time()
    lab.wake()
    time.sleep(0.5)
    # Asked seldom, so that asking costs nothing and counts for nothing.
    asked = 0

    def is_over():
        nonlocal asked
        asked += 1
        return lab.is_over(ids)

    lab.wait_for("the engine", is_over, 300, pause=1)
    time.sleep(1)
    after = lab.counters()
    accepted = server.events("accepted", since)
    begun = server.events("mail", since)[0]["time"]
    facts = {
        "mails_per_s": round(len(accepted) / (accepted[-1]["time"] - begun), 1),
        "statements_per_mail": round((after[0] - before[0] - asked) / len(ids), 1),
        "commits_per_mail": round((after[1] - before[1] - asked) / len(ids), 1),
        "sessions": len({entry["session"] for entry in accepted}),
    }
    return facts, check_at_most_once(lab, ids, [entry["message_id"] for entry in accepted])[1]


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


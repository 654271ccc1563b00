"""Workers that are killed, and a database that ends sessions and restarts, while mails are being handed over."""

import contextlib
import random
import time

import psutil

import odoo

from .checks import check_at_most_once
from .lab import mail_server, step


def start(lab, port, count, label):
    """Release notices, and start two servers with a worker each: while one gets a new worker, the other goes on.

    Returns the ids of the notices and of their provider."""
    with lab.env() as env:
        provider = lab.make_provider(env, port)
        ids = lab.release(provider, count, label)
        provider_id = provider.id
    lab.start_server(threads=1)
    lab.start_server(threads=1)
    return ids, provider_id


# === SIGKILL === #


def try_sigkill(lab, short):
    count, kills_wanted, hits_wanted = (80, 12, 5) if short else (1000, 110, 40)
    with mail_server() as server:
        # Each answer takes a while, so that there is something to aim at: of one half before the server has taken the
        # mail, of the other half after that.
        server.set_rules("*[02468]@* eod delay 0.15\n*[13579]@* eod accept-then-delay 0.15")
        ids, provider_id = start(lab, server.port, count, "sigkill")
        began = time.monotonic()
        killer = Killer(lab, ids, provider_id, kills_wanted, hits_wanted)
        killer.run()
        server.set_rules("")
        lab.wait_for("the rest", lambda: lab.is_over(ids), 300, wake_every=2)
        seconds = time.monotonic() - began
        time.sleep(0.5)
        facts, problems = check_at_most_once(lab, ids, [message.message_id for message in server.messages])
        lab.stop_servers()
    kills, hits = killer.kills, facts["states"].get("unclear", 0)
    facts.update(kills=kills, kills_aimed=killer.aimed, kills_during_handover=hits, seconds=round(seconds, 1))
    if kills < kills_wanted or hits < hits_wanted:
        problems.append(f"only {kills} kills, {hits} of them during a handover")
    return facts, problems


class Killer:
    """Kills the worker that sends, until there were enough kills, and enough of them during a handover."""

    def __init__(self, lab, ids, provider_id, kills_wanted, hits_wanted):
        self.lab, self.ids, self.provider_id = lab, ids, provider_id
        self.kills_wanted, self.hits_wanted = kills_wanted, hits_wanted
        self.kills, self.hits, self.aimed, self.sent = 0, 0, 0, 0
        # What earlier kills have left as `sending`.
        self.orphans = set()
        self.randomness = random.Random(4)

    def run(self):
        lab, ids = self.lab, self.ids
        while (self.kills < self.kills_wanted or self.hits < self.hits_wanted) and not lab.is_over(ids):
            # Every second one is aimed at a committed `sending`, the others hit whatever is there.
            is_aimed = self.kills % 2 == 0 or self.hits < self.hits_wanted * self.kills / self.kills_wanted
            lab.wake()
            if is_aimed:
                self.aim()
            else:
                time.sleep(self.randomness.uniform(0.05, 1.5))
            holder = lab.holder(self.provider_id)
            if not holder:
                continue
            self.kill(*holder, is_aimed)
            self.orphans |= self.sending()
            self.sent = lab.count(ids, "sent")
            # Exactly those that hit a committed `sending`: whoever gets the lock next makes it unclear.
            self.hits = lab.count(ids, "unclear")
            if self.kills % 20 == 0:
                step(f"    {self.kills} kills, {self.hits} of them during a handover, {dict(lab.states(ids))}")

    def sending(self):
        rows = self.lab.sql("SELECT id FROM dunning_notice WHERE id = ANY(%s) AND delivery_state = 'sending'", self.ids)
        return {row[0] for row in rows} - self.orphans

    def aim(self):
        """Wait for a handover, somewhere among the next mails."""
        lab = self.lab
        target = self.sent + self.randomness.randrange(0, len(self.ids) // self.kills_wanted)
        with contextlib.suppress(TimeoutError):
            lab.wait_for("mails", lambda: lab.count(self.ids, "sent") >= target, 10, pause=0.02)
            lab.wait_for("sending", self.sending, 5, pause=0.002)
        time.sleep(self.randomness.uniform(0, 0.1))

    def kill(self, server_pid, backend_pid, is_aimed):
        (worker,) = psutil.Process(server_pid).children()
        with contextlib.suppress(psutil.NoSuchProcess):
            worker.kill()
            self.kills += 1
            self.aimed += is_aimed
        self.lab.wait_for("the end of its connection", lambda: not self.lab.sql(
            "SELECT 1 FROM pg_stat_activity WHERE pid = %s", backend_pid), 20, pause=0.002)  # fmt: skip


# === DATABASE === #


def try_database(lab, short):
    count = 60 if short else 300
    events = [("terminate", None), ("restart", "fast")]
    if not short:
        events += [("terminate", None), ("restart", "immediate"), ("terminate", None), ("restart", "fast")]
    with mail_server() as server:
        server.set_rules("* eod delay 0.1")
        ids, provider_id = start(lab, server.port, count, "database")
        lab.wake()
        done = []
        for number, (event, mode) in enumerate(events, 1):
            target = count * number // (len(events) + 1)
            lab.wait_for(f"{target} sent", lambda target=target: lab.count(ids, "sent") >= target or lab.is_over(ids),
                         120, wake_every=2)  # fmt: skip
            if event == "restart":
                done.append(restart_database(lab, mode))
            elif terminate_backend(lab, ids, provider_id):
                done.append("pg_terminate_backend")
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


def terminate_backend(lab, ids, provider_id):
    """End the session of who hands over a mail. Returns whether there was one."""
    with contextlib.suppress(TimeoutError):
        lab.wait_for("sending", lambda: lab.count(ids, "sending"), 5, wake_every=2, pause=0.002)
    holder = lab.holder(provider_id)
    if holder:
        lab.sql("SELECT pg_terminate_backend(%s)", holder[1])
    return bool(holder)


def restart_database(lab, mode):
    """Stop PostgreSQL in a mode of pg_ctl, and start it again. Returns what was done."""
    odoo.sql_db.close_all()
    lab.pg_ctl("-m", mode, "stop")
    time.sleep(1)
    lab.pg_ctl("start")
    lab.restart_ended()
    return f"stop -m {mode}, start"

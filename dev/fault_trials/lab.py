"""The database, the servers on it, the mail servers they talk to, and the notices that are sent."""

import contextlib
import datetime
import itertools
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections import Counter

import psycopg2

import odoo
from odoo.api import Environment
from odoo.modules.registry import Registry
from odoo.tools import config

from ..smtpd import SmtpServer
from .invoices import make_drafts, make_template

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
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

    def counters(self):
        """How many statements and commits the database has seen so far."""
        ((statements,),) = self.sql("SELECT coalesce(sum(calls), 0) FROM pg_stat_statements s JOIN pg_database d"
                                    " ON d.oid = s.dbid WHERE d.datname = current_database()")  # fmt: skip
        ((commits,),) = self.sql("SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()")
        return int(statements), int(commits)

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
        # Another one may end meanwhile.
        self.wait_for("the servers", lambda: self.count_listeners() >= sum(
            server.threads for server in self.servers if server.poll() is None), 120)  # fmt: skip

    def count_listeners(self):
        """How many workers of the scheduler listen for a wake-up."""
        ((count,),) = self.sql(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = 'postgres' AND query ~ 'LISTEN cron_trigger|COMMIT'"
            " AND application_name ~ '^odoo-' AND application_name <> %s", f"odoo-{os.getpid()}")  # fmt: skip
        return count

    def restart_ended(self):
        """What a service manager does: Odoo's parent process ends when it finds no PostgreSQL."""
        while ended := [server for server in self.servers if server.poll() is not None]:
            self.servers.remove(ended[0])
            self.restarts += 1
            self.start_server(ended[0].threads)

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

    def trigger(self, cron):
        """What `ir.cron._trigger()` does, for the one of an external ID."""
        self.sql("INSERT INTO ir_cron_trigger (cron_id, call_at) SELECT res_id, now() AT TIME ZONE 'UTC' FROM"
                 " ir_model_data WHERE model = 'ir.cron' AND module || '.' || name = %s", cron)  # fmt: skip
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
            self.template = make_template(env)

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
        """Draft notices, of a customer each."""
        return make_drafts(env, self.template, count, label)

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

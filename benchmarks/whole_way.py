"""What a notice costs from *Print / Send* to the mail server, beside OCA's account_credit_control. Run by dev/bench.

    python benchmarks/whole_way.py own DATABASE OUTPUT.json [NOTICES]
    python benchmarks/whole_way.py oca DATABASE OUTPUT.json [MAILS] --addons FOLDER

`own`: a fresh database with dunning_mail. `oca`: one with account_credit_control, found in FOLDER. Both send to the
same kind of SMTP server (dev/smtpd, another process, STARTTLS and login), their own letter attached. The second call
adds the ratio to what the first one wrote.
"""

import argparse
import contextlib
import itertools
import json
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import customers

import odoo
from odoo import SUPERUSER_ID, api
from odoo.modules.registry import Registry

ROOT = Path(__file__).resolve().parent.parent
ITEMS = 5
# The middle one counts.
ROUNDS = 3


@contextlib.contextmanager
def smtp_server():
    """Run the development SMTP server; gives its port and a function that counts the mails it took."""
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [sys.executable, ROOT / "dev" / "smtpd.py", "--user", "dunning", "--password", "secret", "--mails", folder],
            stdout=subprocess.PIPE, text=True)  # fmt: skip
        try:
            port = int(process.stdout.readline())

            def mails():
                return sorted(Path(folder).glob("*.eml"))

            yield port, mails
        finally:
            process.terminate()
            process.wait()


def check_mails(mails, count):
    """Check that every mail came, and with a PDF."""
    found = mails()
    if len(found) != count:
        raise SystemExit(f"{len(found)} mails came in place of {count}")
    without = [mail for mail in found if b"application/pdf" not in mail.read_bytes().lower()]
    if without:
        raise SystemExit(f"{len(without)} mails came without a PDF")


def letterhead(env):
    env.company.partner_id.write({"street": "Bundesplatz 3", "zip": "3011", "city": "Bern"})
    env.company.email = "info@muster.example"
    env.user.email = "admin@muster.example"


def measure_own(env, count):
    """Time our way: the click, the scheduled action that makes the letters, the process engine that sends them."""
    letterhead(env)
    env.company.dunning_payment_part = False
    with smtp_server() as (port, mails):
        provider = env["dunning.provider"].create({
            "name": "Benchmark", "smtp_host": "localhost", "smtp_port": port, "smtp_user": "dunning",
            "smtp_pass": "secret", "email_from": "mahnung@muster.example", "send_interval": 0})  # fmt: skip
        env.company.dunning_provider_id = provider

        def make_run(size):
            partners = customers.build(env, size, ITEMS)
            run = env["dunning.run"].create({"partner_ids": [(6, 0, partners.ids)]})
            run.action_generate_notices()
            if len(run.notice_ids) != size:
                raise SystemExit(f"{len(run.notice_ids)} notices in place of {size}")
            env.cr.commit()
            return run

        def send(run):
            steps = [time.monotonic()]
            run.action_print_and_send()
            env.cr.commit()
            if run.is_issuing:
                env["dunning.run"]._process_issuing()
                env.cr.commit()
            steps.append(time.monotonic())
            engine = env.ref("dunning_mail.ir_cron_engine")
            # a pass ends after what the scheduler lets it take
            for _number in range(20):
                engine.method_direct_trigger()
                # or this transaction would not see what the job committed
                env.cr.commit()
                env.invalidate_all()
                if not env["dunning.notice"].search_count(
                    [("run_id", "=", run.id), ("delivery_state", "in", ("released", "sending"))], limit=1
                ):
                    break
            steps.append(time.monotonic())
            return [after - before for before, after in itertools.pairwise(steps)]

        send(make_run(5))  # templates, fonts and the first connection
        rounds = []
        for number in range(ROUNDS):
            run = make_run(count)
            making, sending = send(run)
            if set(run.notice_ids.mapped("delivery_state")) != {"sent"}:
                raise SystemExit(f"not all were sent: {set(run.notice_ids.mapped('delivery_info'))}")
            check_mails(mails, (number + 1) * count + 5)
            rounds.append((making + sending, making, sending))
        whole, making, sending = sorted(rounds)[ROUNDS // 2]
    return {
        "notices": count, "ms_per_notice": round(1000 * whole / count, 1),
        "ms_making": round(1000 * making / count, 1), "ms_sending": round(1000 * sending / count, 1),
        "ms_per_notice_of_each_round": [round(1000 * each[0] / count, 1) for each in rounds]}  # fmt: skip


def measure_oca(env, count):
    """Time the peer's way: its run's action that makes and sends the mails, with its own PDF, up to the SMTP server."""
    letterhead(env)
    with smtp_server() as (port, mails):
        env["ir.mail_server"].search([]).active = False
        env["ir.mail_server"].create({
            "name": "Benchmark", "smtp_host": "localhost", "smtp_port": port, "smtp_encryption": "starttls_strict",
            "smtp_authentication": "login", "smtp_user": "dunning", "smtp_pass": "secret"})  # fmt: skip
        policy = env.ref("account_credit_control.credit_control_3_time")
        policy.account_ids = env["account.account"].search([("account_type", "=", "asset_receivable")])
        policy.level_ids.channel = "email"

        def send(size):
            partners = customers.build(env, size, ITEMS)
            partners.credit_policy_id = policy
            run = env["credit.control.run"].create({
                "date": date.today(), "policy_ids": [(6, 0, policy.ids)]})  # fmt: skip
            run.generate_credit_lines()
            lines = run.line_ids.filtered(lambda line: line.partner_id in partners)
            lines.channel = "email"
            lines.state = "to_be_sent"
            env.cr.commit()
            start = time.monotonic()
            run.run_channel_action()
            # what it sends goes out with the commit, or by core's queue
            env.cr.commit()
            env["mail.mail"].process_email_queue()
            env.cr.commit()
            return time.monotonic() - start

        send(2)
        rounds = []
        for _number in range(ROUNDS):
            before = len(mails())
            seconds = send(count)
            came = len(mails()) - before
            check_mails(mails, len(mails()))
            if came < count:
                raise SystemExit(f"{came} mails came in place of {count}")
            rounds.append(1000 * seconds / came)
    return {
        "oca_mails": count, "oca_ms_per_mail": round(sorted(rounds)[ROUNDS // 2], 1),
        "oca_ms_per_mail_of_each_round": [round(each, 1) for each in rounds]}  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("whose", choices=("own", "oca"))
    parser.add_argument("database")
    parser.add_argument("output", type=Path)
    parser.add_argument("count", nargs="?", type=int)
    parser.add_argument("--addons", help="folder with the peer's addons")
    arguments = parser.parse_args()
    options = ["-d", arguments.database, "--log-level=error", "--max-cron-threads=0"]
    if arguments.addons:
        options.append(f"--addons-path={','.join([*odoo.tools.config['addons_path'], arguments.addons])}")
    odoo.tools.config.parse_config(options)
    with Registry(arguments.database).cursor() as cr:
        env = api.Environment(cr, SUPERUSER_ID, {})
        if arguments.whose == "own":
            result = measure_own(env, arguments.count or 500)
        else:
            result = json.loads(arguments.output.read_text())
            result.update(measure_oca(env, arguments.count or 25))
            result["ratio_to_oca"] = round(result["oca_ms_per_mail"] / result["ms_per_notice"], 1)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()

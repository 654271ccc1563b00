"""Measures the proposal in one database, beside OCA's account_credit_control where that is installed.

    python benchmarks/proposal.py DATABASE ITEMS RESULTS [--addons-path PATH]

The database is fresh, with dunning_mail, and with account_credit_control for a comparison. The result is appended to
the list in the file RESULTS (JSON). Called by dev/bench.
"""

import argparse
import json
import os
import statistics
import sys
import time
from datetime import date
from pathlib import Path
from unittest.mock import patch

import ledger
from lxml import etree

import odoo
from odoo import SUPERUSER_ID, api
from odoo.modules.registry import Registry

ROUNDS = 3
ISSUE_BATCH = 50
# Stands for a letter: making letters is not what is measured here.
LETTER = b"%PDF-1.4 benchmark"


def read_memory(name):
    """Return a value of this process's memory in megabytes: VmRSS (now) or VmHWM (most, since it was reset)."""
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{name}:")[1].split()[0]) / 1024


def reset_peak():
    Path("/proc/self/clear_refs").write_text("5")


def generate(env):
    """Generate one run, with its exceptions, and read what a person sees afterwards.

    :return: (run, seconds, SQL statements, increase of the peak memory in megabytes)
    """
    run = env["dunning.run"].create({"date": date.today()})
    env.flush_all()
    env.invalidate_all()
    reset_peak()
    memory, statements, started = read_memory("VmRSS"), env.cr.sql_log_count, time.perf_counter()
    run.action_generate_notices()
    env.flush_all()
    seconds, statements = time.perf_counter() - started, env.cr.sql_log_count - statements
    return run, seconds, statements, read_memory("VmHWM") - memory


def open_form(env, run):
    """Read the run as the web client does when it opens the form.

    :return: seconds
    """
    env.invalidate_all()
    view = env["dunning.run"].get_views([(False, "form")])
    spec = make_spec(env, "dunning.run", view["views"]["form"]["arch"], view["models"])
    started = time.perf_counter()
    run.web_read(spec)
    return time.perf_counter() - started


def make_spec(env, model_name, arch, models):
    """Build the specification of `web_read` out of a form's fields, as the web client does: lists load 80 rows."""
    def collect(node, name):
        spec = {}
        for field_node in node.iter("field"):
            # Fields of a list inside the form are that list's.
            ancestors = [ancestor for ancestor in field_node.iterancestors() if ancestor.tag == "field"]
            if ancestors and node not in ancestors[:1] and node.tag != "list":
                continue
            field_name = field_node.get("name")
            field = env[name]._fields.get(field_name)
            if field is None:
                continue
            if field.type in ("one2many", "many2many"):
                lists = field_node.find("list")
                sub = collect(lists, field.comodel_name) if lists is not None else {"display_name": {}}
                spec[field_name] = {"fields": sub, "limit": 80}
            elif field.type == "many2one":
                spec[field_name] = {"fields": {"display_name": {}}}
            else:
                spec[field_name] = {}
        return spec

    return collect(etree.fromstring(arch), model_name)


def issue(env, run):
    """Issue all notices of a run as the scheduled action does, without making letters.

    :return: seconds
    """
    Notice = env["dunning.notice"].with_company(run.company_id)
    started, last_id = time.perf_counter(), 0
    with patch.object(env.registry["dunning.notice"], "_make_documents",
                      lambda notices: dict.fromkeys(notices.ids, LETTER)):  # fmt: skip
        while True:
            batch = Notice.search(
                [("run_id", "=", run.id), ("state", "=", "draft"), ("id", ">", last_id)], order="id",
                limit=ISSUE_BATCH)  # fmt: skip
            if not batch:
                break
            batch._issue()
            last_id = batch[-1].id
            # What a commit does.
            env.flush_all()
            env.cr.precommit.run()
            env.invalidate_all()
    seconds = time.perf_counter() - started
    waiting = Notice.search_count([("run_id", "=", run.id), ("delivery_state", "in", ("released", "paper"))])
    if waiting != run.notice_count:
        sys.exit(f"error: {run.notice_count - waiting} of {run.notice_count} notices were not issued")
    return seconds


def run_peer(env):
    """The peer's way to the same place: its run, all lines "ready", and a communication for each customer.

    :return: dict of seconds, lines, communications
    """
    company = env.company
    accounts = env["account.account"].search(
        [("account_type", "=", "asset_receivable"), ("company_ids", "=", company.id)])
    policy = env.ref("account_credit_control.credit_control_3_time")
    policy.write({"account_ids": [(6, 0, accounts.ids)], "company_id": company.id})
    partners = env["res.partner"].search([("name", "like", "Kunde ")])
    company.credit_policy_id = policy
    partners.write({"credit_policy_id": policy.id})
    run = env["credit.control.run"].create({"date": date.today(), "policy_ids": [(6, 0, policy.ids)]})
    env.flush_all()
    env.invalidate_all()
    started = time.perf_counter()
    run.generate_credit_lines()
    run.set_to_ready_lines()
    communications = env["credit.control.communication"]._generate_comm_from_credit_lines(run.line_ids)
    env.flush_all()
    return {
        "seconds": round(time.perf_counter() - started, 2), "lines": len(run.line_ids),
        "communications": len(communications)}  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("database")
    parser.add_argument("items", type=int)
    parser.add_argument("results", type=Path)
    parser.add_argument("--addons-path")
    options = parser.parse_args()
    arguments = ["-d", options.database, "--no-http", "--log-level=warn"]
    if options.addons_path:
        arguments.append(f"--addons-path={options.addons_path}")
    odoo.tools.config.parse_config(arguments, setup_logging=True)
    registry = Registry(options.database)
    with registry.cursor() as cr:
        ledger.build(api.Environment(cr, SUPERUSER_ID, {}), options.items)
    with registry.cursor() as cr:
        env = api.Environment(cr, SUPERUSER_ID, {})
        rounds = []
        for _number in range(ROUNDS):
            rounds.append(generate(env))
            run = rounds[-1][0]
            counts = run.notice_count, run.exception_count
            if len(rounds) < ROUNDS:
                cr.rollback()
        result = {
            "items": options.items, "notices": counts[0], "exceptions": counts[1],
            "seconds": round(statistics.median(seconds for _run, seconds, *_rest in rounds), 2),
            "sql_statements": max(statements for *_rest, statements, _memory in rounds),
            "peak_rss_mb": round(max(memory for *_rest, memory in rounds)),
            "form_seconds": round(open_form(env, run), 2),
        }  # fmt: skip
        result["issue_seconds"] = round(result["seconds"] + issue(env, run), 1)
        cr.rollback()
        result["ratio_to_oca"] = None
        if "credit.control.run" in env:
            result["oca"] = run_peer(env)
            result["ratio_to_oca"] = round(result["oca"]["seconds"] / result["seconds"], 1)
        cr.rollback()
    result["machine"] = {"cpus": os.cpu_count(), "load_average": [round(load, 1) for load in os.getloadavg()]}
    print(json.dumps(result))
    results = json.loads(options.results.read_text()) if options.results.exists() else []
    options.results.write_text(json.dumps([*results, result], indent=1) + "\n")


if __name__ == "__main__":
    main()

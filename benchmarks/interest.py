"""Measures what the interest of all due items adds to a proposal, in one database and one run.

    python benchmarks/interest.py DATABASE ITEMS RESULTS

The database is fresh, with dunning_mail. Each of five pairs generates a run without interest, and then calculates the
interest of the items that it duns, as the charges of the notices will ask for it. RESULTS is a JSON file. Called by
dev/bench.
"""

import argparse
import gc
import json
import os
import statistics
import time
from datetime import date
from pathlib import Path

import ledger
from proposal import generate

import odoo
from odoo import SUPERUSER_ID, api
from odoo.modules.registry import Registry

PAIRS = 5
ALLOWED_RATIO = 1.5
ALLOWED_STATEMENTS = 10


def collect(env, profile):
    """Return what is asked for: the items of the company's customers, credits set off.

    :return: list of `Asked`
    """
    # Where the addons are is known only once the registry is there.
    from odoo.addons.dunning_mail.models.dunning_interest import Asked  # noqa: PLC0415
    from odoo.addons.dunning_mail.models.dunning_proposal_basis import Basis  # noqa: PLC0415

    debts = env["dunning.proposal"]._load_debts(env.company, date.today(), date.today())
    basis = Basis(env, env.company, date.today(), debts)
    for debt in debts.values():
        debt.offset(basis.get_currency(debt.currency_id))
    return [Asked.of(item, profile) for debt in debts.values() for item in debt.items if not item.blocked_by]


def calculate(env, asked):
    """Calculate all of it.

    :return: (seconds, SQL statements, dict line id -> interest)
    """
    env.flush_all()
    env.invalidate_all()
    gc.collect()
    statements, started = env.cr.sql_log_count, time.perf_counter()
    results = env["dunning.interest"]._calculate(env.company, asked, date.today())
    return time.perf_counter() - started, env.cr.sql_log_count - statements, results


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("database")
    parser.add_argument("items", type=int)
    parser.add_argument("results", type=Path)
    options = parser.parse_args()
    odoo.tools.config.parse_config(["-d", options.database, "--no-http", "--log-level=warn"], setup_logging=True)
    registry = Registry(options.database)
    with registry.cursor() as cr:
        env = api.Environment(cr, SUPERUSER_ID, {})
        ledger.build(env, options.items)
        # As dear as it gets: rates that change, and due days that move.
        env.ref("dunning_mail.interest_profile_de").write({"begin": "due_date", "is_moved_to_workday": True})
    proposals, calculations, statements = [], [], []
    with registry.cursor() as cr:
        env = api.Environment(cr, SUPERUSER_ID, {})
        asked = collect(env, env.ref("dunning_mail.interest_profile_de"))
        for _number in range(PAIRS):
            proposals.append(generate(env)[1])
            cr.rollback()
            seconds, count, results = calculate(env, asked)
            calculations.append(seconds)
            statements.append(count)
        cr.rollback()
    proposal, calculation = statistics.median(proposals), statistics.median(calculations)
    result = {
        "items": options.items, "asked": len(asked), "claimed": sum(bool(one.claim) for one in results.values()),
        "segments": sum(len(one.segments) for one in results.values()), "proposal_seconds": round(proposal, 2),
        "interest_seconds": round(calculation, 2),
        "ratio": round(statistics.median(
            (one + other) / one for one, other in zip(proposals, calculations, strict=True)), 2),
        "allowed_ratio": ALLOWED_RATIO, "sql_statements": max(statements), "allowed_statements": ALLOWED_STATEMENTS,
        "machine": {"cpus": os.cpu_count(), "load_average": [round(load, 1) for load in os.getloadavg()]},
    }  # fmt: skip
    print(json.dumps(result))
    options.results.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()

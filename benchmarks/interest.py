"""Measures what interest costs the proposal: pairs of one without and one with it.

    python benchmarks/interest.py DATABASE ITEMS RESULT

The database is fresh, with dunning_mail. The interest is as dear as it gets: each item bears some, its rate changes,
and due days move to working days. The result is written to the file RESULT (JSON). Called by dev/bench.
"""

import argparse
import json
import os
import statistics
from pathlib import Path

import ledger
from proposal import generate

import odoo
from odoo import SUPERUSER_ID, api
from odoo.modules.registry import Registry

PAIRS = 5
ALLOWED_RATIO = 1.5
ALLOWED_STATEMENTS = 10


def claim_interest(env):
    """Let all levels claim interest from the day after the due date."""
    profile = env.ref("dunning_mail.interest_profile_de")
    profile.write({"begin": "due_date", "is_moved_to_workday": True})
    env.company.dunning_interest_profile_id = profile
    env["dunning.level"].search([]).charge_interest = True
    env.flush_all()
    env.cr.precommit.run()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("database")
    parser.add_argument("items", type=int)
    parser.add_argument("result", type=Path)
    options = parser.parse_args()
    odoo.tools.config.parse_config(["-d", options.database, "--no-http", "--log-level=warn"], setup_logging=True)
    registry = Registry(options.database)
    with registry.cursor() as cr:
        ledger.build(api.Environment(cr, SUPERUSER_ID, {}), options.items)
    rounds = {False: [], True: []}
    for number in range(2 * PAIRS):
        with registry.cursor() as cr:
            env = api.Environment(cr, SUPERUSER_ID, {})
            if number % 2:
                claim_interest(env)
            run, seconds, statements, _memory = generate(env)
            charges = run.notice_ids.charge_ids
            rounds[bool(number % 2)].append((
                seconds, statements, len(charges), sum(len(charge.detail or []) for charge in charges)))  # fmt: skip
            cr.rollback()
    result = {
        "items": options.items, "allowed_ratio": ALLOWED_RATIO, "allowed_statements": ALLOWED_STATEMENTS, "machine": {
            "cpus": os.cpu_count(), "load_average": [round(load, 1) for load in os.getloadavg()]}}  # fmt: skip
    for name, found in (("without", rounds[False]), ("with", rounds[True])):
        result[name] = {
            "seconds": round(statistics.median(seconds for seconds, *_rest in found), 2),
            "sql_statements": max(statements for _seconds, statements, *_rest in found),
            "charges": found[0][2], "segments": found[0][3]}  # fmt: skip
    result["ratio"] = round(statistics.median(
        one[0] / other[0] for one, other in zip(rounds[True], rounds[False], strict=True)), 2)  # fmt: skip
    print(json.dumps(result))
    options.result.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""Measures what promises and disputes cost the proposal: pairs of one without and one with them.

    python benchmarks/resting.py DATABASE ITEMS RESULT

The database is fresh, with dunning_mail. A tenth of the items is promised, a twentieth is contested. The result is
written to the file RESULT (JSON). Called by dev/bench.
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


def let_rest(env, items):
    """Promise a tenth of so many items, and contest a twentieth."""
    reason = env.ref("dunning_mail.dispute_reason_price")
    values = {"company": env.company.id, "user": env.uid, "reason": reason.id, "promises": items // 10}
    values["all"] = values["promises"] + items // 20
    env.cr.execute("""
        CREATE TEMP TABLE bench_rest ON COMMIT DROP AS
        SELECT aml.*, ROW_NUMBER() OVER (ORDER BY aml.id) AS n
          FROM account_move_line aml JOIN account_account aa ON aa.id = aml.account_id
         WHERE aa.account_type = 'asset_receivable' AND aml.amount_residual_currency > 0
           AND aml.no_followup IS NOT TRUE AND aml.parent_state = 'posted'
         ORDER BY MOD(aml.id, 7), aml.id LIMIT %(all)s;
        INSERT INTO dunning_promise (id, partner_id, company_id, currency_id, user_id, date, source, state, opened)
        SELECT n, partner_id, company_id, currency_id, %(user)s, CURRENT_DATE, 'phone', 'open',
               JSONB_BUILD_OBJECT(id, amount_residual_currency)
          FROM bench_rest WHERE n <= %(promises)s;
        INSERT INTO dunning_promise_line (promise_id, date, amount)
        SELECT n, CURRENT_DATE + 10, amount_residual_currency FROM bench_rest WHERE n <= %(promises)s;
        INSERT INTO dunning_promise_item_rel (promise_id, item_id) SELECT n, id FROM bench_rest WHERE n <= %(promises)s;
        INSERT INTO dunning_dispute (id, partner_id, company_id, currency_id, user_id, date, date_target, reason_id,
                                     state, amount, amount_left)
        SELECT n, partner_id, company_id, currency_id, %(user)s, CURRENT_DATE, CURRENT_DATE + 9, %(reason)s, 'open',
               ROUND(amount_residual_currency / 2, 2), ROUND(amount_residual_currency / 2, 2)
          FROM bench_rest WHERE n > %(promises)s;
        INSERT INTO dunning_dispute_item_rel (dispute_id, item_id) SELECT n, id FROM bench_rest WHERE n > %(promises)s;
        ANALYZE
    """, values)
    env.invalidate_all()


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
                let_rest(env, options.items)
            run, seconds, statements, _memory = generate(env)
            rested = run.exception_ids.filtered(lambda exception: exception.reason == "resting")
            rounds[bool(number % 2)].append((seconds, statements, len(rested)))
            cr.rollback()
    result = {"items": options.items, "machine": {
        "cpus": os.cpu_count(), "load_average": [round(load, 1) for load in os.getloadavg()]}}  # fmt: skip
    for name, found in (("without", rounds[False]), ("with", rounds[True])):
        result[name] = {
            "seconds": round(statistics.median(seconds for seconds, *_rest in found), 2),
            "sql_statements": max(statements for _seconds, statements, _rested in found),
            "resting": found[0][2]}  # fmt: skip
    result["ratio"] = round(result["with"]["seconds"] / result["without"]["seconds"], 2)
    print(json.dumps(result))
    options.result.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""Measures how long the screens of notices and the report take to open, beside core's own list of invoices.

    python benchmarks/screens.py DATABASE ITEMS RESULTS

The database is fresh, with dunning_mail. Each screen is read as the web client reads it, in turns with core's list,
five times; the result, with the medians and their ratio, goes to the file RESULTS (JSON). Called by dev/bench.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import ledger
from proposal import make_spec

import odoo
from odoo import SUPERUSER_ID, api
from odoo.modules.registry import Registry

PAIRS = 5
PAGE = {"limit": 80, "count_limit": 10001}
MEASURES = [
    "__count", "item_count:sum", "amount:sum", "amount_in_deadline:sum", "share_in_deadline:avg",
    "share_in_30_days:avg", "days:avg", "company_currency_id:array_agg_distinct"]  # fmt: skip


def build(env, items):
    """Make notices for so many open items: a tenth drafts, the others sent or printed, two fifths of the items paid.

    :return: `dunning.run`
    """
    ledger.build(env, items)
    run = env["dunning.run"].create({})
    run.action_generate_notices()
    env.flush_all()
    env.cr.execute(
        """
        UPDATE dunning_notice SET state = 'issued', name = 'C' || id, is_counted = TRUE, is_open = FALSE,
               date_left = date, delivery_state = CASE WHEN MOD(id, 3) = 0 THEN 'paper' ELSE 'sent' END,
               printed_at = CASE WHEN MOD(id, 3) = 0 THEN now() END
         WHERE run_id = %s AND MOD(id, 10) <> 0;
        UPDATE dunning_notice_line SET is_reserved = FALSE
         WHERE notice_id IN (SELECT id FROM dunning_notice WHERE run_id = %s AND state = 'issued');
        UPDATE dunning_run SET state = 'processing' WHERE id = %s;
        """, [run.id] * 3)  # fmt: skip
    env.invalidate_all()
    ledger.settle(env, "MOD(aml.id, 5) < 2")
    env.invalidate_all()
    return run


def list_screens(env, run):
    """Return what is measured: name -> function that reads it; the first is core's."""
    def page(model, kind, xmlid, domain, **options):
        view = env[model].get_views([(env.ref(xmlid).id, kind)])
        spec = make_spec(env, model, view["views"][kind]["arch"], view["models"])
        return lambda: env[model].web_search_read(domain, spec, **PAGE, **options)

    def form(record):
        view = env[record._name].get_views([(False, "form")])
        spec = make_spec(env, record._name, view["views"]["form"]["arch"], view["models"])
        return lambda: record.web_read(spec)

    def pivot():
        return env["dunning.item.report"].formatted_read_grouping_sets(
            [], [[], ["procedure_id"], ["procedure_id", "level_id"]], MEASURES)

    own = "dunning_mail.dunning_{}".format
    notices = own("notice_view_list")
    issued = env["dunning.notice"].search([("run_id", "=", run.id), ("state", "=", "issued")], limit=1)
    return {
        "core": page(
            "account.move", "list", "account.view_out_invoice_tree",
            [("move_type", "in", ("out_invoice", "out_refund"))]),
        "notices": page("dunning.notice", "list", notices, []),
        **{f"notices of a run by {order}": page(
            "dunning.notice", "list", notices, [("run_id", "=", run.id)], order=order)
           for order in ("status", "level_id", "oldest_days", "name", "amount_total")},
        "notices that are open": page(
            "dunning.notice", "list", notices, [("claim_state", "in", ("open", "overdue"))]),
        "notices on a telephone": page("dunning.notice", "kanban", own("notice_view_kanban"), []),
        "notice": form(issued),
        "run": form(run),
        "runs": page("dunning.run", "list", own("run_view_list"), []),
        "checklist above the runs": env["dunning.checklist"].get_items,
        "effect, pivot": pivot,
        "effect, list": page("dunning.item.report", "list", own("item_report_view_list"), []),
    }  # fmt: skip


def measure(env, function):
    env.invalidate_all()
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("database")
    parser.add_argument("items", type=int)
    parser.add_argument("results", type=Path)
    options = parser.parse_args()
    odoo.tools.config.parse_config(["-d", options.database, "--no-http", "--log-level=warn"], setup_logging=True)
    with Registry(options.database).cursor() as cr:
        env = api.Environment(cr, SUPERUSER_ID, {})
        run = build(env, options.items)
        cr.commit()
        cr.execute("ANALYZE")
        env = env(user=env.ref("base.user_admin"))
        core, *screens = list_screens(env, env["dunning.run"].browse(run.id)).items()
        result = {"items": options.items, "notices": env["dunning.notice"].search_count([]), "screens": {}}
        measure(env, core[1])
        for name, function in screens:
            measure(env, function)
            pairs = [(measure(env, core[1]), measure(env, function)) for _round in range(PAIRS)]
            theirs, ours = (statistics.median(values) for values in zip(*pairs, strict=True))
            result["screens"][name] = {
                "core_ms": round(theirs * 1000), "ms": round(ours * 1000),
                "ratio": round(ours / theirs, 2)}  # fmt: skip
            print(f"{name:40} {ours * 1000:6.0f} ms  core {theirs * 1000:6.0f} ms  {ours / theirs:5.2f}", flush=True)
    options.results.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()

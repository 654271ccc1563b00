"""How fast core's own invoice is made by each engine, in one call and one by one. Run by dev/bench.

    python benchmarks/reports.py DATABASE OUTPUT.json [INVOICES]

The database is a fresh one with accounting and report_pdf_engine, and without dunning_mail. Each figure is of core's
`_render_qweb_pdf()`, as every print button calls it. Core's own engine is measured with and without the second that
Odoo makes it wait for JavaScript, on a few invoices: it takes long. It fetches its styles from a server of its own, as
it does in use. Its build without patched Qt cannot take several documents in one call.
"""

import argparse
import contextlib
import json
import socket
import subprocess
import sys
import time
from pathlib import Path

from core_engine import javascript_delay

import odoo
from odoo import SUPERUSER_ID, api
from odoo.modules.registry import Registry

CORE_SAMPLE = 6
CORE_DELAYED_SAMPLE = 3
WEASYPRINT_SAMPLE = 10


@contextlib.contextmanager
def serve(database):
    """Run a server from which core's engine fetches its styles.

    :return: its address
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen([
        sys.executable, "-m", "odoo", "-d", database, "--http-interface=127.0.0.1", f"--http-port={port}",
        "--max-cron-threads=0", "--log-level=critical"])  # fmt: skip
    try:
        for _second in range(60):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(1)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def make_invoices(env, count):
    partner = env["res.partner"].create({"name": "Customer", "street": "Street 1", "city": "Bern"})
    tax = env["account.tax"].search([("type_tax_use", "=", "sale"), ("amount", ">", 0)], limit=1)
    # What Switzerland's addon appends to an invoice is not what is measured.
    env["res.partner.bank"].search([("partner_id", "=", env.company.partner_id.id)]).active = False
    moves = env["account.move"].create([
        {"move_type": "out_invoice", "partner_id": partner.id, "invoice_date": "2026-11-24",
         "invoice_line_ids": [
             (0, 0, {"name": f"Article {line}", "quantity": line, "price_unit": 100, "tax_ids": [(6, 0, tax.ids)]})
             for line in (1, 2, 3)]}
        for _index in range(count)])  # fmt: skip
    moves.action_post()
    return moves


def measure(env, engine, moves, *, one_call):
    """Return how many invoices a second are made."""
    report = env.ref("account.account_invoices")
    report.pdf_engine = engine
    env.flush_all()
    reports = env["ir.actions.report"].with_context(force_report_rendering=True)
    start = time.monotonic()
    for batch in [moves] if one_call else moves:
        content, _kind = reports._render_qweb_pdf(report, batch.ids)
        if not content.startswith(b"%PDF-"):
            raise SystemExit(f"{engine} gave no PDF")
    return len(moves) / (time.monotonic() - start)


def measure_core(env, moves, url, *, delay, one_call):
    """The same by core's engine; None where it is not installed, or cannot do it."""
    reports = env["ir.actions.report"]
    if reports.get_wkhtmltopdf_state() == "install":
        return None
    if one_call and not odoo.addons.base.models.ir_actions_report._wkhtml().is_patched_qt:
        return None
    env["ir.config_parameter"].set_param("report.url", url)
    with javascript_delay(reports, wanted=delay):
        # a server that has answered nothing yet makes its styles first
        measure(env, "wkhtmltopdf", moves[:1], one_call=True)
        return measure(env, "wkhtmltopdf", moves, one_call=one_call)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("database")
    parser.add_argument("output", type=Path)
    parser.add_argument("invoices", nargs="?", type=int, default=100)
    arguments = parser.parse_args()
    odoo.tools.config.parse_config(["-d", arguments.database, "--log-level=critical", "--max-cron-threads=0"])
    rows = []
    with Registry(arguments.database).cursor() as cr:
        env = api.Environment(cr, SUPERUSER_ID, {})
        moves = make_invoices(env, arguments.invoices)
        # a process that has rendered nothing yet compiles templates and styles first: that is not what is asked
        measure(env, "plutoprint", moves[:1], one_call=True)
        with serve(arguments.database) as url:
            core = {
                (delay, one_call): measure_core(
                    env, moves[: CORE_DELAYED_SAMPLE if delay else CORE_SAMPLE], url, delay=delay, one_call=one_call)
                for delay in (True, False) for one_call in (True, False)}  # fmt: skip
        for engine, sample in (("plutoprint", moves), ("weasyprint", moves[:WEASYPRINT_SAMPLE])):
            for one_call in (True, False):
                speed = measure(env, engine, sample, one_call=one_call)
                rows.append({"engine": engine, "invoices": len(sample), "one_call": one_call, "per_s": speed})
        for (delay, one_call), speed in core.items():
            if speed:
                name = "core's" if delay else "core's without its wait"
                count = min(len(moves), CORE_DELAYED_SAMPLE if delay else CORE_SAMPLE)
                rows.append({"engine": name, "invoices": count, "one_call": one_call, "per_s": speed})
        cr.rollback()
    for row in rows:
        for name, delay in (("times_core", True), ("times_core_without_wait", False)):
            # beside core's one call where its build can do that, else beside its calls one by one
            peer = core[delay, row["one_call"]] or core[delay, False]
            row[name] = round(row["per_s"] / peer, 1) if peer else None
        row["per_s"] = round(row["per_s"], 2)
        how = "in one call" if row["one_call"] else "one by one"
        print(f"{row['engine']:24} {row['invoices']:5} invoices {how:12} "
              f"{row['per_s']:7}/s {row['times_core'] or '-':>7} x core "
              f"{row['times_core_without_wait'] or '-':>7} x core without its wait")  # fmt: skip
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""How fast letters are made: from notices to stored PDFs, beside core's own way. Run by dev/bench.

    python benchmarks/documents.py DATABASE OUTPUT.json [SIZES]

The database is a fresh one with dunning_mail (dev/newdb NAME). Each size issues a run of its own by the scheduled
action that large runs use: amounts read again, numbered, rendered, checked, stored, released, committed in batches.
Core's figure is its `_render_qweb_pdf()` called for each notice, of the same template, with and without the second
that Odoo makes wkhtmltopdf wait for JavaScript.
"""

import argparse
import contextlib
import importlib
import json
import os
import resource
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import customers
from core_engine import javascript_delay

import odoo
from odoo import SUPERUSER_ID, api
from odoo.modules.registry import Registry

ITEMS = 5
CORE_SAMPLE = 6
CORE_DELAYED_SAMPLE = 3


def addon(name):
    """Return a module of the engines' addon; it can be imported once Odoo knows where its addons are."""
    return importlib.import_module(f"odoo.addons.report_pdf_engine.{name}")


def peak_of_tree(stop, found):
    """Watch how much memory this process and its helpers hold together, ten times a second.

    :param stop: event that ends it
    :param list found: takes up the highest figure in MB
    """
    page = os.sysconf("SC_PAGE_SIZE")
    while not stop.wait(0.1):
        total = 0
        pids = [os.getpid()]
        for task in os.listdir("/proc/self/task"):
            with contextlib.suppress(OSError), open(f"/proc/self/task/{task}/children") as file:
                pids += map(int, file.read().split())
        for pid in pids:
            with contextlib.suppress(OSError), open(f"/proc/{pid}/statm") as file:
                total += int(file.read().split()[1]) * page
        found[0] = max(found[0], total / 2**20)


@contextlib.contextmanager
def peak_memory():
    found, stop = [0.0], threading.Event()
    thread = threading.Thread(target=peak_of_tree, args=(stop, found))
    thread.start()
    try:
        yield found
    finally:
        stop.set()
        thread.join()


def prepare(env, letters):
    """Make a company's letterhead and customers with five items each, and propose notices for them.

    :param int letters: how many notices
    :return: the run
    """
    company = env.company
    company.partner_id.write({"street": "Bundesplatz 3", "zip": "3011", "city": "Bern"})
    # one page with five items: the payment part has a page of its own with so many, and a line of its own below
    company.write({"dunning_payment_part": False, "dunning_provider_id": False, "dunning_print_list": True})
    partners = customers.build(env, letters, ITEMS)
    run = env["dunning.run"].create({"partner_ids": [(6, 0, partners.ids)]})
    run.action_generate_notices()
    if len(run.notice_ids) != letters:
        raise SystemExit(f"{len(run.notice_ids)} notices in place of {letters}")
    if {len(notice.line_ids) for notice in run.notice_ids} != {ITEMS}:
        raise SystemExit("notices with other than five items")
    env.cr.commit()
    return run


def issue(env, run, engine):
    """Issue a run as a large one is issued, and time it."""
    env.ref("dunning_mail.report_letter").pdf_engine = engine
    env.cr.commit()
    letters = len(run.notice_ids)
    with peak_memory() as peak:
        start = time.monotonic()
        run.write({"state": "processing", "issue_total": letters, "is_issuing": True})
        env["dunning.run"]._process_issuing()
        seconds = time.monotonic() - start
    env.invalidate_all()
    made = run.notice_ids.filtered("document_id")
    if len(made) != letters:
        raise SystemExit(f"{letters - len(made)} notices without a document: {run.notice_ids.mapped('problem')[:3]}")
    return {
        "engine": engine, "letters": letters, "letters_per_s": round(letters / seconds, 1),
        "peak_rss_mb": round(peak[0])}  # fmt: skip


def print_all(env, run):
    """Put the letters of a run together as the print button does, and time it."""
    with peak_memory() as peak:
        start = time.monotonic()
        content = run._join_letters(run._get_letters())
        seconds = time.monotonic() - start
    return {
        "letters": len(run.notice_ids), "seconds": round(seconds, 1),
        "pages": addon("tools.pdf_pages").count_pages(content),
        "megabytes": round(len(content) / 1e6, 1), "peak_rss_mb": round(peak[0])}  # fmt: skip


def measure_core(env, run, delay):
    """Time core's own way with the same notices: its method and its engine, a call a notice.

    :param bool delay: with the second that Odoo 19 waits for JavaScript
    :return: milliseconds a letter; None where wkhtmltopdf is not installed
    """
    report = env.ref("dunning_mail.report_letter")
    if report.get_wkhtmltopdf_state() == "install":
        return None
    report.pdf_engine = "wkhtmltopdf"
    notices = run.notice_ids[: CORE_DELAYED_SAMPLE if delay else CORE_SAMPLE]
    reports = env["ir.actions.report"].with_context(force_report_rendering=True)
    core = super(addon("models.ir_actions_report").IrActionsReport, reports)
    with javascript_delay(reports, wanted=delay):
        start = time.monotonic()
        for notice in notices:
            # what core does for a report: this addon's hook is passed by, its template is not
            core._render_qweb_pdf_prepare_streams(report, {"report_type": "pdf"}, res_ids=notice.ids)
        seconds = time.monotonic() - start
    env.cr.rollback()
    return 1000 * seconds / len(notices)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("database")
    parser.add_argument("output", type=Path)
    parser.add_argument("sizes", nargs="?", default="100,2000", help="separated by commas")
    arguments = parser.parse_args()
    odoo.tools.config.parse_config(["-d", arguments.database, "--log-level=error", "--max-cron-threads=0"])
    results, prints, core = [], [], {}
    with Registry(arguments.database).cursor() as cr:
        env = api.Environment(cr, SUPERUSER_ID, {})
        # a process that has rendered nothing yet loads templates and fonts first: that is not what is asked
        warm = prepare(env, 20)
        core["ms"] = measure_core(env, warm, delay=True)
        core["ms_without_delay"] = measure_core(env, warm, delay=False)
        issue(env, warm, "plutoprint")
        for size in map(int, arguments.sizes.split(",")):
            results.append(issue(env, prepare(env, size), "plutoprint"))
            prints.append(print_all(env, env["dunning.run"].search([], order="id desc", limit=1)))
        if addon("tools.pdf").engine_available("weasyprint"):
            results.append(issue(env, prepare(env, 100), "weasyprint"))
    for row in results:
        row["ratio_to_core"] = round(row["letters_per_s"] * core["ms"] / 1000, 1) if core["ms"] else None
        undelayed = core["ms_without_delay"]
        row["ratio_to_core_without_delay"] = round(row["letters_per_s"] * undelayed / 1000, 1) if undelayed else None
    for name, delay in (("wkhtmltopdf", "ms"), ("wkhtmltopdf without JavaScript delay", "ms_without_delay")):
        if core[delay]:
            results.append({
                "engine": f"core: {name}", "letters": CORE_DELAYED_SAMPLE if delay == "ms" else CORE_SAMPLE,
                "letters_per_s": round(1000 / core[delay], 2), "ratio_to_core": round(core["ms"] / core[delay], 2),
                "peak_rss_mb": None})  # fmt: skip
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(results, indent=1) + "\n")
    arguments.output.with_name("prints.json").write_text(json.dumps(prints, indent=1) + "\n")
    for row in results:
        print(f"{row['engine']:38} {row['letters']:5} letters {row['letters_per_s']:8}/s "
              f"{row['ratio_to_core'] or '-':>7} x core {row['peak_rss_mb'] or '-':>6} MB")  # fmt: skip
    for row in prints:
        print(f"print PDF of {row['letters']} letters: {row['seconds']} s, {row['pages']} pages, "
              f"{row['megabytes']} MB, {row['peak_rss_mb']} MB of memory")  # fmt: skip
    usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"this process held {usage} MB at most")


if __name__ == "__main__":
    main()

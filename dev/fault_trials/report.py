"""The results as tables in Markdown."""

import datetime
import os
import pathlib
import platform
from collections import Counter

import odoo


def describe_machine():
    model = next((line.split(":", 1)[1].strip() for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")), platform.machine())  # fmt: skip
    return {
        "cpu": model, "cores": os.cpu_count(), "load": [round(load, 1) for load in os.getloadavg()],
        "system": platform.system() + " " + platform.release(), "python": platform.python_version(),
        "odoo": odoo.release.version, "time": f"{datetime.datetime.now():%Y-%m-%d %H:%M}",
    }  # fmt: skip


def describe(results):
    """All that was tried, and on what machine."""
    machine = results["machine"]
    parts = [f"{machine['cpu']}, {machine['cores']} cores, load {machine['load'][0]} at the end; {machine['system']}, "
             f"Python {machine['python']}, PostgreSQL {machine['postgresql']}, Odoo {machine['odoo']}, "
             f"{machine['time']}."]  # fmt: skip
    if "matrix" in results:
        parts.append(describe_matrix(results["matrix"]))
    if "sigkill" in results or "database" in results:
        parts.append(describe_crashes(results.get("sigkill"), results.get("database")))
    if "pace" in results:
        parts.append(describe_pace(results["pace"]))
    if "throughput" in results:
        parts.append(describe_throughput(results["throughput"]))
    if "mail" in results:
        parts.append(describe_mail(results["mail"]))
    return "\n\n".join(parts) + "\n"


def table(head, rows):
    rows = [[str(cell) for cell in row] for row in rows]
    return "\n".join(["| " + " | ".join(head) + " |", "|" + "---|" * len(head),
                      *("| " + " | ".join(cell.replace("|", "/") for cell in row) + " |" for row in rows)])  # fmt: skip


def describe_matrix(found):
    return "### Faults of the mail server\n\n" + table(
        ["step", "fault", "notice", "provider", "attempts", "when the fault is over", "accepted by the server"],
        [[cell[key] for key in ("stage", "fault", "notice", "provider", "attempts", "finally", "accepted")]
         for cell in found["cells"]])  # fmt: skip


def describe_crashes(sigkill, database):
    rows = []
    if sigkill:
        happened = f"{sigkill['kills']} kills, {sigkill['kills_during_handover']} during a handover"
        rows.append(["SIGKILL", happened, *list_outcome(sigkill)])
    if database:
        happened = ", ".join(f"{count} x {event}" for event, count in Counter(database["events"]).items())
        rows.append(["PostgreSQL", happened, *list_outcome(database)])
    return "### Dying processes, restarting database\n\n" + table(
        ["trial", "what happened", "notices", "accepted twice", "sent, but no mail",
         "mail, but not sent or unclear", "sent", "unclear", "left over"], rows)  # fmt: skip


def list_outcome(found):
    """What `check_at_most_once` found, in the order of the columns."""
    states = found["states"]
    return [
        found["notices"], found["accepted_twice"], found["sent_without_mail"], found["mail_without_state"],
        states.get("sent", 0), f"{states.get('unclear', 0)} ({found['unclear_accepted']} of them had arrived)",
        states.get("released", 0) + states.get("sending", 0),
    ]  # fmt: skip


def describe_pace(found):
    first, limit = found["first_handover"], found["hourly_limit"]
    intervals = table(
        ["interval (s)", "mails", "shortest gap", "longest gap", "mean overhead"],
        [[interval, *facts.values()] for interval, facts in found["intervals"].items()])  # fmt: skip
    return (
        f"### Pace: two servers, two engines\n\n{intervals}\n\n"
        f"From release to the first handover: median {first['median']} s, longest {first['longest']} s "
        f"({first['samples']} samples). Hourly limit of {limit['limit']}: at most {limit['most_in_any_hour']} of "
        f"{limit['mails']} mails in any 60 minutes (simulated clock).")  # fmt: skip


def describe_throughput(found):
    engine, core, smtplib = found["engine"], found["core"], found["smtplib"]
    sessions = smtplib["mails_per_s_of_each_session"]
    ways = table(
        ["way", "mails a second", "SQL statements a mail", "commits a mail"], [
            ["process engine, claim and outcome committed", engine["mails_per_s"], engine["statements_per_mail"],
             engine["commits_per_mail"]],
            ["Odoo's own way: `message_post`, then the mail queue", core["mails_per_s"], core["statements_per_mail"],
             core["commits_per_mail"]],
            ["of that, the queue alone", core["queue_alone_mails_per_s"], "", ""],
            [f"bare `smtplib` loop, one TLS session (mean of 7, from {min(sessions)} to {max(sessions)})",
             smtplib["mails_per_s"], "", ""],
            ["the same with `TCP_NODELAY`", smtplib["mails_per_s_without_delay"], "", ""]])  # fmt: skip
    each = found["engine_to_core_queue_of_each_round"]
    return (
        f"### Throughput: {found['mails']} mails with a PDF of 60 kB ({smtplib['kB_per_mail']} kB on the wire)\n\n"
        f"{ways}\n\n"
        f"The middle one of {len(each)} rounds (engine_to_core_queue {', '.join(map(str, each))}). "
        f"engine_to_core_queue {found['engine_to_core_queue']}, engine_to_smtplib {found['engine_to_smtplib']} "
        f"({found['engine_to_smtplib_without_delay']} with `TCP_NODELAY`); "
        f"{engine['sessions']} TLS sessions for {found['mails']} mails; "
        f"{found['engine_with_a_fifth_of_the_mails']['statements_per_mail']} statements a mail with a fifth of the "
        "mails.")  # fmt: skip


def describe_mail(found):
    title = "### Postfix and Dovecot"
    if "skipped" in found:
        return f"{title}\n\nSkipped: {found['skipped']}."
    return (f"{title}\n\nPostfix {found['postfix']}, Dovecot {found['dovecot'].split()[0]}; "
            f"{found['mails_read']} mails read.\n\n") + table(
        ["what the mail servers do", "expected of the notice", "seen", "the envelope's number"],
        [[case[key] for key in ("what", "expected", "seen", "envelope_id")] for case in found["cases"]])  # fmt: skip

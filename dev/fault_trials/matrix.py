"""Each fault of a mail server, at each step, met by a notice with a provider of its own."""

import contextlib
import dataclasses
import time
from collections import Counter

from odoo.service.model import PG_CONCURRENCY_EXCEPTIONS_TO_RETRY

from ..smtpd import SmtpServer
from .lab import mail_server
from .ports import Trickle, open_bad_port

# The steps with an answer: the word of a rule, and answers of a fault that passes and of one that lasts.
REPLIES = {
    "banner": ("connect", "421 4.3.2 Come later", "554 5.3.2 No service"),
    "ehlo": ("ehlo", "421 4.3.2 Come later", "550 5.7.1 Not you"),
    "starttls": ("starttls", "454 4.7.0 TLS not available", "554 5.7.0 TLS refused"),
    "auth": ("auth", "454 4.7.0 Try again", "535 5.7.8 Bad credentials"),
    "mail": ("mail", "451 4.3.0 Try again", "550 5.1.8 Bad sender"),
    "rcpt": ("rcpt", "451 4.3.0 Try again", "550 5.1.1 No such user"),
    "data": ("data", "451 4.3.0 Try again", "554 5.6.0 Not this"),
    "after the dot": ("eod", "451 4.3.0 Try again", "554 5.6.0 Not this"),
    "quit": ("quit", "421 4.3.2 Come later", "500 5.5.1 What?"),
}
PAUSED = {"provider": "paused", "attempts": 0}


@dataclasses.dataclass
class Cell:
    stage: str
    fault: str
    rule: str = ""
    notice: str = "released"  # what has to come of it
    provider: str = "ready"
    attempts: int = 1
    accepted: int = 0
    cert: str = "server"
    tls: str = "starttls"
    kind: str = "smtpd"
    in_short: bool = False


@dataclasses.dataclass
class Case:
    """A cell that is tried: its mail server (which may be behind another port), notice and provider."""

    cell: Cell
    server: SmtpServer
    port: int
    notice_id: int = 0
    provider_id: int = 0
    # (state, attempts, state of the provider, words) after the first attempt
    snapshot: tuple = ()


def try_matrix(lab, short):
    results, problems = [], []
    with contextlib.ExitStack() as stack:
        cases = [open_case(cell, stack) for cell in make_cells() if cell.in_short or not short]
        release_notices(lab, cases)
        ids = [case.notice_id for case in cases]
        lab.start_server()
        lab.wake()
        lab.wait_for("the fault matrix", lambda: settle(lab, cases), 300, wake_every=5, pause=0.05)
        # The faults are over: what waits goes out, what is decided stays.
        good = stack.enter_context(mail_server())
        end_faults(lab, cases, good.port)
        lab.wake()
        lab.wait_for("the way out of the faults", lambda: lab.is_over(ids), 120, wake_every=3)
        time.sleep(1)
        accepted_by_good = Counter(message.message_id for message in good.messages)
        for case in cases:
            result = find_result(lab, case, accepted_by_good)
            results.append(result)
            problems += find_problems(case.cell, result)
        lab.stop_servers()
    return {"cells": results}, problems


# === CELLS === #


def make_cells():
    cells = [
        Cell("connect", "refused", kind="closed", in_short=True, **PAUSED),
        Cell("connect", "drop", kind="drop", **PAUSED),
        Cell("connect", "silence", kind="silent", **PAUSED),
    ]
    for stage, (word, passing, lasting) in REPLIES.items():
        for fault, action in (
                ("4xx", passing), ("5xx", lasting), ("drop", "drop"), ("silence", "silence 30"),
                ("garbage", "garbage")):  # fmt: skip
            cells.append(make_reply_cell(stage, fault, f"* {word} {action}"))
    for fault in ("drop", "silence", "garbage"):
        action = f"accept-then-{fault}" + (" 30" if fault == "silence" else "")
        cells.append(Cell("after the dot", f"accepted, then {fault}", f"* eod {action}", "unclear", accepted=1,
                          in_short=True))  # fmt: skip
    # The systems in between have buffers for all of it, so that nobody can tell whether the end was read: with luck the
    # broken link is noticed before the end is written.
    cells.append(Cell("message", "drop", "* body drop", "released or unclear"))
    cells.append(Cell("message", "silence", "* body silence 60", "unclear"))
    cells.append(Cell("message", "1 byte/s", kind="trickle"))
    cells.append(Cell("no fault", "none", notice="sent", accepted=1, in_short=True))
    for cert, word in (("expired", "expired"), ("otherhost", "of another host"), ("unknown", "unknown authority")):
        cells.append(Cell("certificate", word, cert=cert, in_short=cert == "expired", **PAUSED))
    cells.append(Cell("no STARTTLS", "not offered", tls="none", **PAUSED))
    return cells


def make_reply_cell(stage, fault, rule):
    cell = Cell(stage, fault, rule, in_short=fault == "5xx")
    if stage in ("banner", "ehlo", "starttls", "auth", "mail"):
        cell.provider, cell.attempts = "paused", 0
    elif stage in ("rcpt", "data", "after the dot") and fault == "5xx":
        cell.notice = "failed"
    elif stage == "after the dot" and fault != "4xx":
        cell.notice, cell.in_short = "unclear", True
    elif stage == "quit":
        cell.notice, cell.accepted, cell.in_short = "sent", 1, fault == "silence"
    if fault == "drop" and stage in ("mail", "rcpt", "data"):
        cell.in_short = True
    return cell


# === THE WAY OF A NOTICE === #


def open_case(cell, stack):
    server = stack.enter_context(mail_server(cell.cert, tls=cell.tls))
    server.set_rules(cell.rule)
    port = server.port
    if cell.kind == "trickle":
        trickle = Trickle(port)
        stack.callback(trickle.close)
        port = trickle.port
    elif cell.kind != "smtpd":
        port = open_bad_port(cell.kind, stack)
    return Case(cell, server, port)


def release_notices(lab, cases):
    """Release a notice for each case, to a provider of its own."""
    with lab.env() as env:
        providers = [lab.make_provider(env, case.port) for case in cases]
        ids = lab.release(providers[0], len(cases), "matrix")
        for case, notice, provider in zip(cases, env["dunning.notice"].browse(ids), providers, strict=True):
            notice.provider_id = provider
            case.notice_id, case.provider_id = notice.id, provider.id


def settle(lab, cases):
    """Keep what became of those that were tried since the last call. Returns whether all of them were."""
    for case in cases:
        if case.snapshot:
            continue
        ((state, attempts, info, provider_state, reason),) = lab.sql(
            "SELECT n.delivery_state, n.attempt_count, n.delivery_info, p.state, p.pause_reason"
            " FROM dunning_notice n, dunning_provider p WHERE n.id = %s AND p.id = %s",
            case.notice_id, case.provider_id)  # fmt: skip
        if state in ("sent", "failed", "unclear") or provider_state == "paused" or (
                state == "released" and attempts):  # fmt: skip
            words = " ".join((reason or info or "").split())
            case.snapshot = (state, attempts, provider_state, words)
    return all(case.snapshot for case in cases)


def end_faults(lab, cases, good_port):
    """No server has a rule any more, what cannot be mended is replaced, and all that waits may go."""
    for case in cases:
        case.server.set_rules("")
    # The engines are at work, and may write to a provider at the same moment: it is done again then, as core does.
    for attempt in range(5):
        try:
            with lab.env() as env:
                resume_all(env, cases, good_port)
            return
        except PG_CONCURRENCY_EXCEPTIONS_TO_RETRY:
            if attempt == 4:
                raise
            time.sleep(0.5)


def resume_all(env, cases, good_port):
    providers = env["dunning.provider"].browse([case.provider_id for case in cases])
    for case, provider in zip(cases, providers, strict=True):
        cell = case.cell
        if cell.kind != "smtpd" or cell.cert != "server" or cell.tls != "starttls":
            provider.smtp_port = good_port
        provider.action_resume()
    notices = env["dunning.notice"].browse([case.notice_id for case in cases])
    notices.filtered(lambda n: n.delivery_state == "released").write({"next_attempt_at": False})


def find_result(lab, case, accepted_by_good):
    state, attempts, provider_state, words = case.snapshot
    ((final, message_id),) = lab.sql(
        "SELECT delivery_state, message_id FROM dunning_notice WHERE id = %s", case.notice_id)  # fmt: skip
    return {
        "stage": case.cell.stage, "fault": case.cell.fault, "notice": state, "provider": provider_state,
        "attempts": attempts, "finally": final,
        "accepted": len(case.server.messages) + accepted_by_good[message_id], "words": words,
    }  # fmt: skip


def find_problems(cell, result):
    problems = []
    name, accepted = f"{cell.stage}, {cell.fault}", result["accepted"]
    found = (result["notice"], result["provider"], result["attempts"])
    allowed = cell.notice.split(" or ")
    if found[0] not in allowed or found[1:] != (cell.provider, cell.attempts):
        problems.append(f"{name}: {found} in place of {(cell.notice, cell.provider, cell.attempts)}: {result['words']}")
    if accepted > 1:
        problems.append(f"{name}: accepted {accepted} times")
    end = "sent" if found[0] == "released" else found[0]
    if result["finally"] != end or accepted != (1 if end == "sent" else cell.accepted):
        problems.append(f"{name}: ends as {result['finally']}, accepted {accepted} times")
    return problems

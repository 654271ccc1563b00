"""How notices are spaced: the interval of a provider, the first handover after a release, the hourly limit."""

import contextlib
import statistics
import time

from .checks import check_at_most_once
from .lab import mail_server


def try_pace(lab, short):
    facts = {}
    plans = [(1, 6)] if short else [(1, 30), (5, 12), (30, 6), (60, 5)]
    facts["intervals"], problems = measure_intervals(lab, plans)
    facts["first_handover"], wrong = measure_latency(lab, 3 if short else 10)
    problems += wrong
    facts["hourly_limit"], wrong = measure_limit(lab, 5, 13) if short else measure_limit(lab, 10, 45)
    problems += wrong
    lab.stop_servers()
    return facts, problems


def measure_intervals(lab, plans):
    """Gaps between mails, for pairs of interval and number of mails. The servers go on running."""
    facts, problems, trials = {}, [], []
    with contextlib.ExitStack() as stack:
        with lab.env() as env:
            for number, (interval, count) in enumerate(plans):
                server = stack.enter_context(mail_server())
                # Two engines: one with 1 and 30 s, one with 5 and 60 s.
                provider = lab.make_provider(
                    env, server.port, engine="ir_cron_engine_2" if number % 2 else "ir_cron_engine",
                    send_interval=interval)  # fmt: skip
                trials.append((interval, server, lab.release(provider, count, f"pace{interval}x")))
        lab.start_server()
        lab.start_server()
        lab.wake()
        seconds = max(interval * count for interval, count in plans) + 120
        everything = [notice_id for _interval, _server, ids in trials for notice_id in ids]
        lab.wait_for("the paced mails", lambda: lab.is_over(everything), seconds)
        for interval, server, ids in trials:
            facts[str(interval)], wrong = measure_gaps(lab, interval, server, ids)
            problems += [f"interval {interval}: {problem}" for problem in wrong]
    return facts, problems


def measure_gaps(lab, interval, server, ids):
    """From the end of one handover to the start of the next."""
    ends = [entry["time"] for entry in server.events("accepted")]
    starts = [entry["time"] for entry in server.events("mail")]
    gaps = [start - end for end, start in zip(ends, starts[1:], strict=False)]
    overhead = statistics.mean(gap - interval for gap in gaps)
    found, problems = check_at_most_once(lab, ids, [message.message_id for message in server.messages])
    if found["states"] != {"sent": len(ids)}:
        problems.append(str(found["states"]))
    if min(gaps) < interval:
        problems.append(f"a gap of {min(gaps):.3f} s")
    if overhead >= (2 if interval >= 60 else 1):
        problems.append(f"mean overhead of {overhead:.3f} s")
    facts = {
        "mails": len(ends), "shortest_gap": round(min(gaps), 3), "longest_gap": round(max(gaps), 3),
        "mean_overhead": round(overhead, 3),
    }  # fmt: skip
    return facts, problems


def measure_latency(lab, count):
    """From the commit that releases a notice to the first word of its handover, with idle engines."""
    latencies = []
    with mail_server() as server:
        with lab.env() as env:
            provider = lab.make_provider(env, server.port)
            env.company.dunning_provider_id = provider
            ids = lab.make_drafts(env, count, "latency").ids
        for notice_id in ids:
            time.sleep(1.5)
            with lab.env() as env:
                env["dunning.notice"].browse(notice_id)._issue()
            released = time.time()
            known = len(latencies)
            lab.wait_for("the first handover", lambda known=known: len(server.messages) > known, 30, pause=0.01)
            latencies.append(server.events("mail")[-1]["time"] - released)
    longest = max(latencies)
    facts = {"median": round(statistics.median(latencies), 3), "longest": round(longest, 3), "samples": count}
    return facts, [f"released to handover: {longest:.2f} s"] if longest >= 2 else []


def measure_limit(lab, limit, count):
    """At most how many mails in any hour. The clock is simulated: see `turn_clock`."""
    turned = []  # (real time, seconds)
    with mail_server() as server:
        with lab.env() as env:
            provider = lab.make_provider(env, server.port, hourly_limit=limit)
            ids = lab.release(provider, count, "limit")
            provider_id = provider.id
        seen = 0
        while not lab.is_over(ids):
            wanted = min(seen + limit, count)
            lab.wait_for("mails under the limit", lambda wanted=wanted: len(server.messages) >= wanted, 60,
                         wake_every=5)  # fmt: skip
            seen = len(server.messages)
            time.sleep(1.5)
            if lab.is_over(ids):
                break
            seconds = turn_clock(lab, provider_id, limit)
            turned.append((time.time(), seconds))
            lab.wake()
        times = sorted(
            entry["time"] + sum(seconds for moment, seconds in turned if moment < entry["time"])
            for entry in server.events("accepted"))  # fmt: skip
    most = max(sum(1 for other in times if first <= other < first + 3600) for first in times)
    gaps = [later - first for first, later in zip(times, times[limit:], strict=False)]
    facts = {"limit": limit, "mails": len(times), "most_in_any_hour": most,
             "shortest_to_the_one_after_the_limit": round(min(gaps), 3)}  # fmt: skip
    return facts, [f"{most} mails in an hour, {limit} are allowed"] if most > limit else []


def turn_clock(lab, provider_id, limit):
    """When the limit is reached, move the dates of the log so that the oldest mail of the window is ten seconds short
    of an hour. Then real seconds pass, so that the edge of the window is a real one. Returns by how many seconds."""
    ((oldest,),) = lab.sql("""
        SELECT extract(epoch FROM (now() AT TIME ZONE 'UTC') - min(date))
          FROM (SELECT date FROM dunning_delivery_log WHERE provider_id = %s AND recipient_count > 0
                 ORDER BY date DESC LIMIT %s) newest""", provider_id, limit)
    seconds = int(3590 - oldest)
    lab.sql("UPDATE dunning_delivery_log SET date = date - %s * interval '1 s' WHERE provider_id = %s",
            seconds, provider_id)  # fmt: skip
    return seconds

import argparse
import json
import signal
import sys
import time

from .crash import try_database, try_sigkill
from .lab import ROOT, Lab, say, step
from .mail import try_mail
from .matrix import try_matrix
from .pace import try_pace
from .report import describe, describe_machine
from .throughput import try_throughput

TRIALS = {
    "matrix": try_matrix,
    "sigkill": try_sigkill,
    "database": try_database,
    "pace": try_pace,
    "throughput": try_throughput,
    "mail": try_mail,
}


def main():
    options, chosen = parse_arguments()
    out = ROOT / ".dev" / options.name
    out.mkdir(parents=True, exist_ok=True)
    for log in out.glob("odoo-*.log"):
        log.unlink()
    lab = Lab(options.name, out)
    results, problems = run(lab, chosen, options.short)
    ((version,),) = lab.sql("SHOW server_version")
    results["machine"] = {**describe_machine(), "postgresql": version.split()[0]}
    write(out / "results.json", results)
    text = describe(results)
    (out / "table.md").write_text(text)
    say()
    say(text)
    for problem in problems:
        say(f"error: {problem}")
    return 1 if problems else 0


def parse_arguments():
    """Returns (options, names of the trials)."""
    parser = argparse.ArgumentParser(prog="dev/faults")
    parser.add_argument("--name", required=True)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--only", default="", help=", ".join(TRIALS))
    options = parser.parse_args()
    chosen = options.only.split(",") if options.only else list(TRIALS)
    if options.short and not options.only:
        chosen = [name for name in chosen if name not in ("throughput", "mail")]
    if wrong := set(chosen) - set(TRIALS):
        parser.error(f"unknown: {', '.join(sorted(wrong))}")
    return options, chosen


def run(lab, chosen, short):
    """Run the trials, and leave the facts of each in a file. Returns (facts by name, list of what did not hold)."""
    results, problems = {}, []
    try:
        lab.setup()
        for name in chosen:
            step(name)
            began = time.monotonic()
            try:
                found, wrong = TRIALS[name](lab, short)
            finally:
                lab.stop_servers()
            found["seconds"] = round(time.monotonic() - began, 1)
            found["problems"] = wrong
            results[name] = found
            problems += [f"{name}: {problem}" for problem in wrong]
            write(lab.out / f"{name}.json", found)
    finally:
        lab.stop_servers()
    return results, problems


def write(path, facts):
    path.write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)

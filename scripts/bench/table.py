#!/usr/bin/env python3
"""table.py RESULTS: prints a Markdown table of the figures and their bounds.

Exit status 1 if a bound is missed. A figure is the median of its runs. One failed run
counts as a missed bound.
"""
import json
import statistics
import sys

AT_MOST, AT_LEAST = "≤", "≥"
# Stage, description, figure, unit, direction, bound. The figure `RIVAL` is the ratio to this rival,
# computed within each round.
BOUNDS = [
    ("startup", "both know each other, from exec of the second", "both_ms", "ms", AT_MOST, 15),
    ("latency", "p50, stdin to stdout, all on one core", "p50_us", "µs", None, None),
    ("latency", "p50 as a multiple of mosquitto's", "mosquitto", "×", AT_MOST, 2.0),
    ("latency", "p50 as a multiple of mosquitto's over TLS with QoS 1", "mosquitto_tls", "×", None, None),
    ("latency", "p50 as a multiple of the yardstick's", "yard", "×", None, None),
    ("bulk", "1 000 000 lines of 64 bytes, stdin to stdout", "rate", "lines/s", AT_LEAST, 1_000_000),
    ("bulk", "their rate as a multiple of the yardstick's", "yard", "×", AT_LEAST, 0.9),
    ("bulk", "CPU of all processes for them", "cpu_s", "s", AT_MOST, 1.5),
    ("bulk", "resident size of their sender", "sender_mb", "MB", AT_MOST, 10),
    ("acknowledged", "60 000 lines, encrypted and each one acknowledged", "rate", "lines/s", None, None),
    ("acknowledged", "CPU of all processes for them", "cpu_s", "s", None, None),
    ("fanout-5", "200 000 lines to 5 peers, delivered", "rate", "lines/s", None, None),
    ("fanout-15", "66 666 lines to 15 peers, delivered", "rate", "lines/s", None, None),
    ("fanout-50", "20 000 lines to 50 peers, delivered", "rate", "lines/s", AT_LEAST, 2_000_000),
    ("fanout", "exponent of its growth from 5 to 50 peers", "rate_exponent", "", None, None),
    ("idle-3", "most wake-ups of one of 3 programs in 30 s", "wakeups", "", AT_MOST, 45),
    ("idle-11", "wake-ups in 30 s with 10 peers", "wakeups", "", AT_MOST, 45),
    ("idle-72", "most wake-ups of one of 72 programs in 30 s", "wakeups", "", AT_MOST, 90),
    ("idle-200", "most wake-ups of one of 200 programs in 30 s", "wakeups", "", AT_MOST, 90),
    ("idle", "exponent of their growth from 11 to 200 programs", "wakeups_exponent", "", None, None),
    ("memory-alone", "resident size, alone", "resident_mb", "MB", AT_MOST, 4),
    ("idle-11", "resident size with 10 peers", "resident_mb", "MB", AT_MOST, 5),
    ("memory-50", "resident size with 50 peers", "resident_mb", "MB", AT_MOST, 7),
    ("idle-200", "largest resident size of one of 200 programs", "resident_mb", "MB", None, None),
    ("idle", "exponent of its growth from 11 to 200 programs", "resident_mb_exponent", "", None, None),
    ("memory-static", "resident size of the static program, alone", "resident_mb", "MB", AT_MOST, 4),
    ("memory-static-small", "resident size of the smallest static program, alone", "resident_mb", "MB", AT_MOST, 4),
    ("size", "stripped program, `--profile small --no-default-features`", "mb", "MB", AT_MOST, 1.4),
    ("size-static-small", "the same, static", "mb", "MB", AT_MOST, 1.6),
    ("size-static", "the default program, static", "mb", "MB", None, None),
    ("oneshot", "`echo hi \\| p2pchat send`, exec to exit", "exit_ms", "ms", AT_MOST, 8),
    ("socket", "`echo hi \\| p2pchat send` through a running program", "exit_ms", "ms", AT_MOST, 8),
    ("socket-send", "500 000 lines to `send` through a running program, beside direct", "share", "×", AT_LEAST, 0.8),
    ("socket-listen", "500 000 lines to `listen` through a running program, beside direct", "share", "×", AT_LEAST, 0.5),
    ("catchup", "100 000 missed lines, exec to the last on stdout", "catchup_s", "s", AT_MOST, 0.15),
    ("catchup-typed", "100 000 missed lines that were typed one at a time", "catchup_s", "s", AT_MOST, 1.2),
    ("mesh-12", "12 peers from one start, until all 66 links stand", "mesh_s", "s", None, None),
    ("mesh-25", "25 peers from one start, until all 300 links stand", "mesh_s", "s", None, None),
    ("mesh-50", "50 peers from one start, until all 1225 links stand", "mesh_s", "s", AT_MOST, 0.6),
    ("mesh", "exponent of its growth from 12 to 50 peers", "mesh_s_exponent", "", None, None),
    ("fairness", "`send` to a quiet room while another bursts, beside its idle time", "slower", "×", AT_MOST, 1.5),
    ("fairness", "`/bin/true` during the same bursts, beside its idle time", "true_slower", "×", None, None),
    *[(f"instructions-{kind}{bits}", f"instructions of a {kind} line{what}, {side}", f"{side}_k", "k", None, None)
      for bits, what in (("", ""), ("-32", ", 32-bit arithmetic"))
      for kind in ("typed", "bulk") for side in ("sender", "receiver")],
    *[row for figure, what, unit in (
        ("start_ms", "exec to ready", "ms"), ("resident_mb", "resident size", "MB"), ("p50_us", "p50 of a line", "µs"))
      for row in (
          *[(f"identities-{people}", f"{what}, of a box that has met {people} people", figure, unit, None, None)
            for people in (50, 200, 800)],
          ("identities", "exponent of its growth from 50 to 800", f"{figure}_exponent", "", None, None))],
]
RATIO_OF = {"latency": "p50_us", "bulk": "rate"}
RIVALS = {"mosquitto": "mosquitto", "mosquitto_tls": "with TLS, QoS 1", "mosquitto_session": "and sessions",
          "yard": "yardstick", "raw": "raw limit"}
FAULTS = ("lost", "doubled", "disordered", "foreign")


def values(runs, rival, figure):
    if figure in RIVALS:
        return ratios(runs, rival, figure)
    return [run[figure] for run in runs if run["rival"] == rival and figure in run]


def ratios(runs, rival, other):
    """The rival's figure divided by the other's, for each round."""
    own = [run for run in runs if run["rival"] == rival]
    others = [run for run in runs if run["rival"] == other]
    figure = RATIO_OF[runs[0]["stage"]]
    return [a[figure] / b[figure] for a, b in zip(own, others) if figure in a and figure in b]


def median(runs, rival, figure):
    found = values(runs, rival, figure)
    return statistics.median(found) if found else None


def show(value):
    if value is None:
        return "–"
    if value >= 1000:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.3g}"


def verdict(value, direction, bound):
    if value is None:
        return "no figure"
    if direction is None:
        return ""
    return "ok" if (value <= bound if direction == AT_MOST else value >= bound) else "**over**"


def main():
    with open(sys.argv[1]) as file:
        results = [json.loads(text) for text in file]
    missed = False
    print("| stage | | p2pchat | bound | |", *(f"{title} |" for title in RIVALS.values()))
    print("|---|---|--:|--:|---|" + "--:|" * len(RIVALS))
    for stage, what, figure, unit, direction, bound in BOUNDS:
        runs = [run for run in results if run["stage"] == stage]
        if not runs:
            continue
        value = median(runs, "p2pchat", figure)
        judged = verdict(value, direction, bound)
        missed |= judged in ("**over**", "no figure")
        limit = f"{direction} {show(bound)} {unit}" if direction else ""
        print(f"| {stage} | {what} | {show(value)} {unit} | {limit} | {judged} |",
              *(f"{show(median(runs, rival, figure))} |" for rival in RIVALS))
    for stage in dict.fromkeys(run["stage"] for run in results):
        runs = [run for run in results if run["stage"] == stage]
        own = [run for run in runs if run["rival"] == "p2pchat"]
        counted = [run for run in runs if "lost" in run]
        if counted:
            sums = {rival: sum(run[fault] for run in counted if run["rival"] == rival for fault in FAULTS)
                    for rival in ("p2pchat", *RIVALS)}
            judged = verdict(sums["p2pchat"], AT_MOST, 0)
            missed |= judged != "ok"
            print(f"| {stage} | lines lost, doubled or out of order, all runs | {sums['p2pchat']} | ≤ 0 | {judged} |",
                  *(f"{sums[rival]} |" for rival in RIVALS))
        failed = [run for run in own if "error" in run or run.get("status") or run.get("sender_ended") is False]
        if failed or not own:
            missed = True
            print(f"| {stage} | runs that failed | {len(failed)} of {len(own)} | ≤ 0 | **over** |" + " |" * len(RIVALS))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())

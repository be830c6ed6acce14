#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""What RSS, the receive filter and hash reports cost a worker on the whole path, guest to guest.

    tests/perf/control_cost.py                        three features, both layouts, six pairs of runs each
    tests/perf/control_cost.py --row '^rss' --pairs 12

The same vnicd, the same frames; in one run the guests switch the feature on by their control queues, in the other
they don't. Runs with and without alternate, each with fresh processes. The worker is what limits the rate, so it
spends TSC Hz / frames per second on each frame; the difference is the feature's. README.md says how to read it.
"""
import argparse
import json
import math
import pathlib
import re
import statistics
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from bench import backends, cli, machine, measure as bench, rows as bench_rows  # noqa: E402

IDLE_MIN = 0.02  # of the guests' time; with less, they are the limit
LAYOUTS = ("split", "packed")
# What a feature may add to what a frame costs the worker without it, in the same pairs of runs: no cycles, which are of a
# machine. A report without RSS pays for the hash, and for the header's line that travels.
SHARE_MAX = {"rss": 0.25, "filter": 0.25, "hash-report": 1.0}
# TSC cycles a frame that each feature is meant to cost; hash-report on top of the hash, which RSS has paid for.
BUDGET = {"rss": 8, "filter": 4, "hash-report": 4}
# Instructions a frame that each feature's code may take, by ISA variant: what bench_control --instructions counts with
# GCC 12 (README.md), and a fifth for other compilers. No machine is too slow for it.
GATE = {
    "portable": {"rss": 137, "filter": 45, "hash-report-with-rss": 25},
    "avx512": {"rss": 137, "filter": 25, "hash-report-with-rss": 24},
    "avx512_gfni": {"rss": 40, "filter": 25, "hash-report-with-rss": 24},
}
# Guests that leave the payload alone: else they are the limit, not the worker. Headers they read, as drivers must.
LIGHT = ["--touch", "none", "--read-headers"]
UDP, VLAN = [*LIGHT, "--frames", "udp"], [*LIGHT, "--frames", "vlan"]
# name: (arguments of nullguest in both runs, those of the run with the feature, the budget's name)
ROWS = {}
for _layout in LAYOUTS:
    ROWS.update({
        f"rss-{_layout}": (["--layout", _layout, *UDP], ["--rss"], "rss"),
        f"filter-{_layout}": (["--layout", _layout, *VLAN], ["--filter"], "filter"),
        f"hash-report-{_layout}": (["--layout", _layout, *UDP], ["--hash-report"], "hash-report"),
    })
STANDARD = list(ROWS)
for _layout in LAYOUTS:
    _linux = ["--layout", _layout, "--shape", "linux"]
    ROWS.update({
        # Both runs hash; only the header differs.
        f"hash-report-{_layout}-with-rss": (["--layout", _layout, *UDP, "--rss"], ["--hash-report"], "hash-report"),
        # Header and frame in one line: none is written that would not be written otherwise.
        f"hash-report-{_layout}-linux": ([*_linux, *UDP], ["--hash-report"], "hash-report"),
        f"rss-{_layout}-linux": ([*_linux, *UDP], ["--rss"], "rss"),
        f"filter-{_layout}-linux": ([*_linux, *VLAN], ["--filter"], "filter"),
    })


def cycles(report):
    """TSC cycles that the worker had for each frame that it delivered."""
    return report["tsc_hz"] / (report["mpps"] * 1e6)


def margin(differences):
    """How far the median of the differences may be off by chance: two standard errors, from the median deviation, so
    that a single run gone wrong doesn't widen it."""
    middle = statistics.median(differences)
    sigma = 1.4826 * statistics.median(abs(d - middle) for d in differences)
    return 2 * 1.2533 * sigma / math.sqrt(len(differences))


def code_alone():
    """What bench_control says, for the record beside the whole path."""
    program = machine.program_path("bench_control")
    done = subprocess.run([program, "--json"], capture_output=True, text=True, timeout=120,
                          check=True)
    return json.loads(done.stdout)


def check(report, feature_on):
    """A run that didn't do what it says must not be measured."""
    for name, flow in report["whole_run"].items():
        wrong = {key: flow[key] for key in ("duplicated", "reordered", "foreign", "unhashed") if flow[key]}
        if wrong:
            raise AssertionError(f"{name}: {wrong}")
    if report["conserved"] is False:
        raise AssertionError(f"{report['missing']} frames missing, {report['backend_drops']} counted as dropped")
    if feature_on and (report["control_errors"] or not report["control_ok"]):
        raise AssertionError(f"control commands: {report['control_ok']} ok, {report['control_errors']} refused")


def describe(name, pair, on, report):
    text = (f"{name} {pair} {'on ' if on else 'off'}: {cycles(report):.1f} cycles a frame, {report['mpps']:.2f} Mpps, "
            f"guests idle {100 * report['guest_idle_share']:.0f} %, CPUs {report['distance_ns'][0]:.0f} ns apart")
    return text + ("; NOISY: " + ", ".join(report["noise"]) if report["noise"] else "")


def measure_pair(which, name, pair, cpus, *, duration_s, warmup_s, quiet_wait_s, noisy, say):
    """(report without, report with the feature); who goes first changes from pair to pair."""
    common, feature, _ = ROWS[name]
    reports = {}
    for on in (False, True) if pair % 2 else (True, False):
        complaints = machine.quiet(cpus, quiet_wait_s, noisy)
        report = bench.run_once(which, bench_rows.Row(name, "a feature of the control queue", tuple(common)), cpus,
                                duration_s=duration_s, warmup_s=warmup_s, more=feature if on else ())
        report["noise"] = complaints
        check(report, on)
        reports[on] = report
        say(describe(name, pair, on, report))
    return reports[False], reports[True]


def summary(name, runs):
    budget = BUDGET[ROWS[name][2]]
    off, on = ([cycles(report) for report in runs[key]] for key in ("off", "on"))
    differences = [b - a for a, b in zip(off, on)]
    return {
        "off": bench.spread(off), "on": bench.spread(on), "difference": bench.spread(differences),
        "margin": margin(differences), "budget": budget, "allowed": SHARE_MAX[ROWS[name][2]] * statistics.median(off),
        "unit": "TSC cycles a frame",
        "tsc_hz": statistics.median(report["tsc_hz"] for report in runs["on"]),
        "guest_idle_share": {key: statistics.median(r["guest_idle_share"] for r in runs[key]) for key in runs},
        "dropped_share": {key: statistics.median(
            r["missing"] / sum(flow["sent"] for flow in r["whole_run"].values()) for r in runs[key]) for key in runs},
    }


def measure(which, names, cpus, *, pairs, duration_s, warmup_s=0.5, quiet_wait_s=30, noisy=False, say=lambda s: None):
    """{row: {"off": .., "on": .., "difference": .., "margin": .., "runs": {"off": [report..], "on": [..]}}}"""
    result = {}
    for name in names:
        runs, discarded = {"off": [], "on": []}, []
        while len(runs["on"]) < pairs:
            both = measure_pair(which, name, len(runs["on"]) + 1, cpus, duration_s=duration_s, warmup_s=warmup_s,
                                quiet_wait_s=quiet_wait_s, noisy=noisy, say=say)
            if bench.same_distance(both) or noisy:
                runs["off"].append(both[0])
                runs["on"].append(both[1])
                continue
            discarded.append(both)
            say(f"{name}: the CPUs moved in this pair; once more")
            if len(discarded) > 2 * pairs:
                raise machine.NotPossible("the distance of the two CPUs never stays the same for the time of two runs")
        result[name] = {**summary(name, runs), "runs": runs, "discarded": discarded}
    return result


def table(result):
    def cell(s):
        return f"{s['median']:7.1f} ({s['min']:.1f} to {s['max']:.1f})"

    lines = [f"{'TSC cycles a frame':30}{'off':>27}{'on':>27}{'difference':>26}  +-   budget  guests idle off, on"]
    for name, row in result.items():
        idle = row["guest_idle_share"]
        limit = "  the guests are the limit: says little about the worker" if min(idle.values()) < IDLE_MIN else ""
        lines.append(f"{name:30}{cell(row['off']):>27}{cell(row['on']):>27}{cell(row['difference']):>26}  "
                     f"{row['margin']:4.1f} {row['budget']:4}    "
                     f"{100 * idle['off']:3.0f} %, {100 * idle['on']:3.0f} %{limit}")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0], epilog="rows: " + " ".join(ROWS))
    parser.add_argument("--vnicd", type=lambda path: backends.backend("vnicd:" + path), metavar="BINARY",
                        default="", help="the program to measure ($VNICD, or build/app/vnicd)")
    parser.add_argument("--row", action="append", metavar="REGEX",
                        help="the rows whose name it matches, again for more (the first six)")
    cli.add_run_options(parser, pairs=6, pairs_of="runs with and without, per row", duration_s=1.5, warmup_s=0.3,
                        output="perf-control.json")
    args = parser.parse_args()
    names = [n for n in ROWS if any(re.search(r, n) for r in args.row)] if args.row else STANDARD
    if not names:
        parser.error("no row matches; there are: " + " ".join(ROWS))
    cli.end_cleanly()
    try:
        cpus = machine.Cpus(args.cpus)
        machine.nullguest_path()
        with machine.hugepages(args.reserve, args.vnicd.HUGEPAGES):
            code = code_alone()
            result = measure(args.vnicd, names, cpus, pairs=args.pairs, duration_s=args.duration, warmup_s=args.warmup,
                             quiet_wait_s=args.quiet_wait, noisy=args.noisy,
                             say=lambda s: print(s, file=sys.stderr, flush=True))
    except machine.NotPossible as error:
        sys.exit(f"control_cost.py: {error}")
    pathlib.Path(args.output).write_text(json.dumps(
        {**machine.facts(cpus), "vnicd": args.vnicd.version(), "code": code, "rows": result}, indent=1) + "\n")
    print(table(result))
    for name, figures in code["rows"].items():
        print(f"{name:30}  code alone: {figures['cost']:5.1f}")
    noisy_runs = sum(bool(r["noise"]) for row in result.values() for runs in row["runs"].values() for r in runs)
    if noisy_runs:
        print(f"{noisy_runs} runs were disturbed by other programs: not figures to publish")


if __name__ == "__main__":
    main()

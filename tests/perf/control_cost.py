#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""What RSS, the receive filter and hash reports cost a worker on the whole path, guest to guest.

    tests/perf/control_cost.py                        three features, both layouts
    tests/perf/control_cost.py --row '^rss' --budget 40

Two vnicds, the same frames; guests of one switch the feature on by their control queues, those of the other don't.
They run in slices, in turns. The worker is what limits the rate, so it spends TSC Hz / frames per second on each
frame; the difference is the feature's. README.md says how to read it.
"""
import argparse
import json
import pathlib
import re
import statistics
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from bench import backends, cli, machine, measure as bench, rows as bench_rows, slices  # noqa: E402

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
    "avx2": {"rss": 52, "filter": 37, "hash-report-with-rss": 24},
    "avx512": {"rss": 52, "filter": 25, "hash-report-with-rss": 24},
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


def cycles(one, tsc_hz):
    """TSC cycles that the worker had in a slice for each frame that it delivered."""
    return tsc_hz / (one.figures[bench_rows.THROUGHPUT.name] * 1e6)


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


def summary(name, result):
    """From measure_row()'s: cycles without and with the feature, and the difference of neighbours with its interval."""
    taken = [slices.Slice(**dict(zip(result["slices"]["fields"], row))) for row in result["slices"]["rows"]]
    pairs, dropped = slices.pair_up(taken, slices.nearest(taken))
    if len(pairs) < slices.PAIRS_MIN:
        raise machine.NotPossible(f"{name}: {len(pairs)} pairs of one class, at least {slices.PAIRS_MIN} are needed")
    tsc_hz = result["tsc_hz"]
    on, off = ([cycles(pair[i], tsc_hz) for pair in pairs] for i in (1, 2))
    differences = [a - b for a, b in zip(on, off)]
    low, high = slices.interval(differences)
    ends = {key: result["ends"][0][side] for key, side in (("on", "a"), ("off", "b"))}
    for key, report in ends.items():
        check(report, key == "on")
    return {
        "off": slices.spread(off), "on": slices.spread(on), "difference": slices.spread(differences),
        "margin": (high - low) / 2, "pairs": len(pairs), "dropped": dropped, "budget": BUDGET[ROWS[name][2]],
        "allowed": SHARE_MAX[ROWS[name][2]] * statistics.median(off), "unit": "TSC cycles a frame", "tsc_hz": tsc_hz,
        "guest_idle_share": {"on": result["guest_idle_share"]["a"], "off": result["guest_idle_share"]["b"]},
        "dropped_share": {key: report["missing"] / report["sent"] for key, report in ends.items()},
    }


def measure(which, names, plan):
    """{row: summary(), with "slices"}"""
    result = {}
    for name in names:
        common, feature, _ = ROWS[name]
        row = bench_rows.Row(name, "a feature of the control queue", tuple(common))
        measured = bench.measure_row(row, {"a": (which, tuple(feature)), "b": (which, ())}, plan)
        result[name] = {**summary(name, measured), "slices": measured["slices"]}
        plan.say(table({name: result[name]}).splitlines()[-1])
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
    cli.add_run_options(parser, budget_s=20, output="perf-control.json")
    args = parser.parse_args()
    names = [n for n in ROWS if any(re.search(r, n) for r in args.row)] if args.row else STANDARD
    if not names:
        parser.error("no row matches; there are: " + " ".join(ROWS))
    cli.end_cleanly()
    try:
        plan = cli.plan_of(args, costs=False, settle=lambda taken, name: False)
        machine.nullguest_path()
        code = code_alone()
        result = measure(args.vnicd, names, plan)
    except (machine.NotPossible, machine.RunFailed) as error:
        sys.exit(f"control_cost.py: {error}")
    pathlib.Path(args.output).write_text(json.dumps(
        {**machine.facts(plan.cpus), "vnicd": args.vnicd.version(), "code": code, "rows": result}) + "\n")
    print(table(result))
    for name, figures in code["rows"].items():
        print(f"{name:30}  code alone: {figures['cost']:5.1f}")


if __name__ == "__main__":
    main()

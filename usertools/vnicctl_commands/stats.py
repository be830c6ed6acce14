# SPDX-License-Identifier: BSD-3-Clause
"""vnicctl stats: counters, and rates."""
import time

from .text import print_json, short, table

EXAMPLES = """\
  vnicctl stats                              counters since the start
  vnicctl stats --watch 1                    and rates, each second, until ^C
  vnicctl stats vm0 --queues                 of each queue pair too
  vnicctl stats --describe                   what they mean, and the reasons for drops
  vnicctl stats --json                       the same as vnicd --json prints
"""


def counters_row(name, counters, last, seconds):
    """One row of the table of counters; with rates when `seconds` (since `last` was read) is not None."""
    row = [name]
    for way in ("rx", "tx"):
        row.append(counters[way + "_packets"])
        if seconds is None:
            row.append(counters[way + "_bytes"])
            continue
        pps = bps = "-"
        if last and seconds > 0:
            pps = short(max(0, counters[way + "_packets"] - last[way + "_packets"]) / seconds)
            bps = short(max(0, counters[way + "_bytes"] - last[way + "_bytes"]) * 8 / seconds)
        row += [pps, bps]
    row.append(sum(counters["drops"].values()))
    # What has no column, whatever it is.
    columns = {way + what for way in ("rx", "tx") for what in ("_packets", "_bytes")}
    others = {name: n for name, n in counters.items() if isinstance(n, int) and name not in columns}
    groups = [("", counters["drops"]), ("", others), ("device: ", counters.get("device", {}))]
    words = [(head, ", ".join(f"{name} {n}" for name, n in group.items() if n)) for head, group in groups]
    row.append("; ".join(head + text for head, text in words if text))
    return row


def print_stats(now, before, queues):
    rows = []
    seconds = now["time"] - before["time"] if before else None
    for name, port in now["ports"].items():
        last = before["ports"].get(name) if before else None
        rows.append(counters_row(name, port, last, seconds))
        if not queues:
            continue
        # A port with a single pair has nothing more to say.
        lasts = (last or {}).get("queues", [])
        for i, pair in enumerate(port.get("queues", [])):
            rows.append(counters_row(f"  pair {i}", pair, lasts[i] if i < len(lasts) else None, seconds))
    if before:
        header = ["port", "rx packets", "/s", "bit/s", "tx packets", "/s", "bit/s", "drops", "reasons"]
    else:
        header = ["port", "rx packets", "rx bytes", "tx packets", "tx bytes", "drops", "reasons"]
    table(header, rows, right=set(range(1, len(header) - 1)))


def stats_describe(client, args):
    classes = client.call("stats.describe")
    if args.json:
        print_json(classes)
        return
    for i, one in enumerate(classes):
        print("\n" * (i > 0) + f"{one['class']}: {one['help']}")
        table(["  name", "unit", "direction", "meaning"],
              [["  " + c["name"], c["unit"], c["direction"], c["help"]] for c in one["counters"]])


def stats(client, args):
    if args.describe:
        stats_describe(client, args)
        return
    params = {"name": args.name} if args.name else None
    before = None
    while True:
        now = client.call("stats.get", params)
        if args.json:
            print_json(now)
        else:
            if before:
                print()
            print_stats(now, before, args.queues)
        if args.watch is None:
            return
        before = now
        time.sleep(args.watch)


def seconds(text):
    value = float(text)
    if not 0 < value < 1e6:
        raise ValueError
    return value


def add(verbs, common):
    counters = verbs.add_parser("stats", parents=[common], help="counters")
    counters.add_argument("name", metavar="NAME", nargs="?", help="of this port only")
    counters.add_argument("--watch", metavar="SECONDS", type=seconds, help="again and again, with rates")
    counters.add_argument("--queues", action="store_true", help="a line for each queue pair, where there are several")
    counters.add_argument("--describe", action="store_true", help="what each counter and each drop reason means")
    counters.set_defaults(run=stats)

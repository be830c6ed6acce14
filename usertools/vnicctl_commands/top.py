# SPDX-License-Identifier: BSD-3-Clause
"""vnicctl top: ports, queue pairs and workers, from the busiest down; and the last ten minutes of it."""
import collections
import curses
import time

from .stats import seconds
from .text import print_json, short

EXAMPLES = """\
  vnicctl top                                ports, queues, workers and the pool, live
  vnicctl top --once                         the same, as a table, once
"""

HISTORY_S = 600
SORTS = {"f": ("frames", lambda row: -(row["rx_pps"] + row["tx_pps"])), "b": ("bits", lambda row: -(row["rx_bps"] + row["tx_bps"])),
         "d": ("drops", lambda row: -row["drop_pps"]), "n": ("name", lambda row: row["name"])}
KEYS = "f b d n: sort   q: queues   left right: back and forth   end: now   ^C: quit"


class Look:
    """The counters at one time."""

    def __init__(self, client):
        self.stats, self.info = client.call("stats.get"), client.call("system.info")
        self.time = self.stats["time"]


def row(name, now, before, elapsed):
    rates = {f"{way}_{to}": max(0, now[f"{way}_{what}"] - before[f"{way}_{what}"]) * times / elapsed
             for way in ("rx", "tx") for what, to, times in (("packets", "pps", 1), ("bytes", "bps", 8))}
    drops = {reason: n - before["drops"].get(reason, 0) for reason, n in now["drops"].items()}
    return dict(rates, name=name, drop_pps=sum(drops.values()) / elapsed, drops={reason: n / elapsed for reason, n in drops.items() if n})


def port_rows(before, now, sort, queues):
    """Of each port that was there at both looks; its queue pairs behind it."""
    elapsed = max(now.time - before.time, 1e-3)
    rows = []
    for name, port in now.stats["ports"].items():
        last = before.stats["ports"].get(name)
        if last:
            pairs = zip(port.get("queues", []), last.get("queues", [])) if queues else []
            rows.append((row(name, port, last, elapsed), [row(f"  pair {i}", p, b, elapsed) for i, (p, b) in enumerate(pairs)]))
    rows.sort(key=lambda r: SORTS[sort][1](r[0]))
    return [one for head, pairs in rows for one in [head] + pairs]


def worker_rows(before, now):
    elapsed = max(now.time - before.time, 1e-3)
    for worker, last in zip(now.info["workers"], before.info["workers"]):
        turns, busy = (worker[key] - last[key] for key in ("turns", "busy_turns"))
        yield {"idx": worker["idx"], "cpus": worker["cpus"], "queues": worker["queues"], "busy": busy / turns if turns else 1.0,
               "turns_per_s": turns / elapsed}


def lines(before, now, sort, queues):
    yield f"{'port':16} {'rx/s':>7} {'bit/s':>7} {'tx/s':>7} {'bit/s':>7} {'drops/s':>8}  reasons"
    for r in port_rows(before, now, sort, queues):
        reasons = ", ".join(f"{reason} {short(n)}" for reason, n in sorted(r["drops"].items(), key=lambda item: -item[1]))
        yield (f"{r['name'][:16]:16} {short(r['rx_pps']):>7} {short(r['rx_bps']):>7} {short(r['tx_pps']):>7} {short(r['tx_bps']):>7} "
               f"{short(r['drop_pps']):>8}  {reasons}").rstrip()
    yield ""
    yield f"{'worker':16} {'cpu':>7} {'pairs':>7} {'busy':>7} {'turns/s':>7}"
    for w in worker_rows(before, now):
        yield f"{w['idx']:<16} {','.join(map(str, w['cpus'])):>7} {w['queues']:>7} {w['busy']:>7.0%} {short(w['turns_per_s']):>7}"
    pool = now.info["pool"]
    yield f"pool: {pool['in_use']} of {pool['size']} packet buffers in use"


class Screen:
    def __init__(self, client, interval):
        self.client, self.interval = client, interval
        self.looks = collections.deque(maxlen=max(2, int(HISTORY_S / interval) + 1))
        self.sort, self.queues, self.back = "f", False, 0

    def look(self):
        self.looks.append(Look(self.client))
        # What is looked at stays the same while more comes.
        if self.back:
            self.back = min(self.back + 1, len(self.looks) - 2)

    def key(self, key):
        if key in map(ord, SORTS):
            self.sort = chr(key)
        elif key == ord("q"):
            self.queues = not self.queues
        elif key == curses.KEY_LEFT:
            self.back = max(0, min(self.back + 1, len(self.looks) - 2))
        elif key == curses.KEY_RIGHT:
            self.back = max(self.back - 1, 0)
        elif key == curses.KEY_END:
            self.back = 0

    def text(self):
        """All lines, from the second look on."""
        if len(self.looks) < 2:
            return ["..."]
        before, now = self.looks[-2 - self.back], self.looks[-1 - self.back]
        when = time.strftime("%H:%M:%S", time.localtime(now.time)) + (f", {self.looks[-1].time - now.time:.0f} s ago" if self.back else "")
        return [f"vnicd {now.info['version']}, {now.info['forward_mode']}; {when}; by {SORTS[self.sort][0]}", KEYS, "",
                *lines(before, now, self.sort, self.queues)]

    def run(self, window):
        curses.curs_set(0)
        while True:
            self.look()
            until = time.monotonic() + self.interval
            while (left := until - time.monotonic()) > 0:
                window.erase()
                height, width = window.getmaxyx()
                for y, line in enumerate(self.text()[:height]):
                    window.addnstr(y, 0, line, max(width - 1, 0))
                window.refresh()
                window.timeout(max(1, int(left * 1000)))
                self.key(window.getch())


def top(client, args):
    if not args.once:
        curses.wrapper(Screen(client, args.interval).run)
        return
    before = Look(client)
    time.sleep(args.interval)
    now = Look(client)
    if args.json:
        print_json({"ports": port_rows(before, now, args.sort, args.queues), "workers": list(worker_rows(before, now)), "pool": now.info["pool"]})
    else:
        print("\n".join(lines(before, now, args.sort, args.queues)))


def add(verbs, common):
    verb = verbs.add_parser("top", parents=[common], help="ports, queue pairs and workers, from the busiest down, live")
    verb.add_argument("--once", action="store_true", help="a table, and no more")
    verb.add_argument("--interval", metavar="SECONDS", type=seconds, default=1.0, help="between two looks (default 1)")
    verb.add_argument("--sort", choices=sorted(SORTS), default="f", help="f: frames, b: bits, d: drops, n: name (with --once)")
    verb.add_argument("--queues", action="store_true", help="queue pairs, too (with --once; key q)")
    verb.set_defaults(run=top)

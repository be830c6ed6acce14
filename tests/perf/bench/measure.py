# SPDX-License-Identifier: BSD-3-Clause
"""Two back-ends in slices: both are started once, each with guests of its own, all on the same two CPUs; then one of them
stands still (SIGSTOP) while the other runs for a moment. What the slices say is slices.py's affair.

A row's ratio is refused only when frames vanished uncounted, or when there are too few pairs to say anything.
"""
import collections
import contextlib
import itertools
import os
import signal
import statistics
import subprocess
import time

import instructions  # beside this package
from . import backends, cost, kernel, machine, slices
from .guests import FRONT_ENDS
from .machine import NotPossible, RunFailed, vnictest
from .rows import SELF, THROUGHPUT
from .slices import Slice

BUDGET_S, QUICK_BUDGET_S = 30, 3
SLICE_S, SKIP_S = 0.08, 0.01
WARMUP_S = 0.3
QUIET_WAIT_S = 10
RECORDED_ISA = {"avx512": "avx512", "avx2": "portable"}  # what vnicd runs of tests/perf/instructions
GUESTS_LIMIT = 0.10  # of their time idle: with less they are the limit


# --- One back-end with its guests ------------------------------------------------------------------------------------

def conserved(row, report, account):
    """Whether every frame was delivered or counted as dropped; None when the back-end doesn't say."""
    if account.drops is None:
        return None
    if report["wrong"]:
        return False
    if row.stage.ports == ("guest", "sink"):
        if "a" not in account.rx or "b" not in account.tx:
            return None
        return account.rx["a"] == report["sent"] == account.tx["b"] + account.drops
    if row.stage.ports == ("guest", "source"):
        if "b" not in account.rx or "a" not in account.tx:
            return None
        # Frames go on coming when the guest has stopped looking: what is in its ring then, it has not seen.
        unseen = account.tx["a"] - report["delivered"]
        return account.rx["b"] == account.tx["a"] + account.drops and 0 <= unseen <= row.ring_size
    if row.stage.ports == ("guest", "tap"):
        return conserved_tap(report, account)
    if row.front_end == "virtio-user":
        # It ends with frames still going round: in two rings to the guests, and two from them.
        return 0 <= report["missing"] - account.drops <= 4 * row.ring_size
    return account.drops == report["missing"]


def conserved_tap(report, account):
    """Between the guest and the kernel, which may get a frame in segments, but always all of its payload."""
    if account.drops is None:
        return None
    kernel = report["kernel"]
    if report["sent"]:
        return account.rx["a"] == report["sent"] and kernel["rx_packets"] >= account.tx["b"] and \
            account.tx["b"] + account.drops == report["sent"]
    return 0 < account.rx["b"] <= kernel["tx_packets"] and report["delivered"] <= account.tx["a"] and \
        account.rx["b"] == account.tx["a"] + account.drops


def kernel_of(row, cpus):
    """The kernel's end of a stage that has a tap, or None."""
    if "tap" not in row.stage.ports:
        return None
    return kernel.Kernel(source=cpus.control if row.option("--direction") == "in" else None)


class Side:
    """A back-end and its guests, started, and standing still but for slices. close() it."""

    def __init__(self, which, row, cpus, more, warmup_s):
        """more: guest arguments of this side's own."""
        self.which = which
        self.row = row
        self.cpus = cpus
        self.running = self.guest = None
        self.other_end = kernel_of(row, cpus)
        run_dir = vnictest.tmpdir("vnic-bench-")
        sockets = [os.path.join(run_dir, name) for name in backends.PORT_NAMES[:row.stage.n_guests]]
        try:
            self.running = which.start(row.stage, cpus, run_dir, sockets,
                                       **({"netns": self.other_end.netns} if self.other_end else {}))
            if self.other_end:
                self.other_end.start()
            self.pids = [self.running.pid, *([self.other_end.sender.pid] if self.other_end and self.other_end.sender
                                             else [])]
            self.guest = FRONT_ENDS[row.front_end]().open(
                sockets, [*row.guest, *more], cpus, warmup_s=max(warmup_s, row.warmup_s), listens=which.GUEST_LISTENS,
                pids=self.pids)
        except RunFailed as error:
            self.close()
            raise self.with_last_lines(error) from error
        except BaseException:
            self.close()
            raise

    def with_last_lines(self, error):
        return RunFailed(f"with {self.which.name}: {error}" + (
            f"; the back-end's last lines:\n{self.running.last_lines()}" if self.running else ""))

    def slice(self, key, seconds, skip_s):
        """The Slice of side `key`."""
        stolen, started = machine.stolen_ticks(self.cpus.pair), time.monotonic()
        try:
            report = self.guest.slice(seconds, skip_s)
            if not self.running.proc.alive():
                raise RunFailed("the back-end has ended")
        except RunFailed as error:
            raise self.with_last_lines(error) from error
        ticks = (time.monotonic() - started) * os.sysconf("SC_CLK_TCK") * len(set(self.cpus.pair))
        if self.other_end:
            report["kernel_gbps"] = self.other_end.rate("rx_bytes", report["began_s"], report["seconds"]) * 8 / 1e9
        return Slice(key, {figure.name: figure.of(report) for figure in self.row.figures}, tuple(report["distance_ns"]),
                     report.get("guest_stalled_share", 0), report.get("dry_share", 0),
                     (machine.stolen_ticks(self.cpus.pair) - stolen) / ticks, idle_share(report))

    def go(self):
        for pid in self.pids:
            os.kill(pid, signal.SIGCONT)

    @contextlib.contextmanager
    def awake(self):
        """The back-end runs inside, and its guest does what it is asked for."""
        self.go()
        try:
            yield
        finally:
            for pid in self.pids:
                os.kill(pid, signal.SIGSTOP)

    def finish(self):
        """Ends it well: its frames are all accounted for."""
        self.go()
        try:
            report = self.guest.finish()
            if self.other_end:
                report["kernel"] = self.other_end.stop()
            complaints, isa = self.running.complaints(), self.running.isa()
            account = self.running.stop()
        except RunFailed as error:
            raise self.with_last_lines(error) from error
        return {**report, "backend_command": self.running.command, "backend_drops": account.drops, "complaints": complaints,
                "isa": isa, "conserved": conserved(self.row, report, account)}

    def close(self):
        for one in (self.guest, self.running):
            if one:
                one.kill()
        if self.other_end:
            self.other_end.close()


def idle_share(report):
    """Of the time in which both sides ran, that in which the guests had nothing to do; None when it isn't counted."""
    if "guest_idle_share" not in report:
        return None
    stalled, dry = report.get("guest_stalled_share", 0), report.get("dry_share", 0)
    return max(report["guest_idle_share"] - dry, 0) / (1 - stalled - dry) if stalled + dry < 1 else None


# --- A row -----------------------------------------------------------------------------------------------------------

def sides_of(row, ours, peer=None):
    """{"a": (back-end, guest arguments of its own), "b": ..}: ours and the row's peer, or one given instead."""
    if peer:
        return {"a": (ours, row.ours), "b": (peer, row.ours)}
    if row.peer == SELF:
        return {"a": (ours, row.ours), "b": (ours, ())}
    peer = backends.backend(row.peer)
    peer.simd_bits = ours.simd_bits
    return {"a": (ours, row.ours), "b": (peer, ())}


def hugepages_wanted(row, sides):
    return sum(which.HUGEPAGES + FRONT_ENDS[row.front_end].HUGEPAGES for which, _ in sides.values())


class Plan:
    """How to measure: the same for all rows."""

    def __init__(self, cpus, *, budget_s=BUDGET_S, slice_s=SLICE_S, skip_s=SKIP_S, warmup_s=WARMUP_S, starts=1, costs=True,
                 kind=None, quiet_wait_s=QUIET_WAIT_S, reserve=False, settle=slices.is_settled, say=lambda s: None):
        """budget_s: of slices for a row. starts: so often both sides are started afresh in that time. costs: measured
        where guests are the limit. kind: of machine.KINDS, whose bars count."""
        self.cpus = cpus
        self.budget_s = budget_s
        self.slice_s = slice_s
        self.skip_s = skip_s
        self.warmup_s = warmup_s
        self.starts = starts
        self.costs = costs
        self.kind = kind or machine.kind()
        self.quiet_wait_s = quiet_wait_s
        self.reserve = reserve
        self.settle = settle
        self.say = say


def take_slices(started, plan, name):
    """[Slice]: A B B A and so on until the figure of that name is settled, or the time is spent; twice the time where
    there would be no figure else. Always whole pairs."""
    taken, began = [], time.monotonic()
    for keys in itertools.cycle(slices.ORDER):
        taken += [started[key].slice(key, plan.slice_s - plan.skip_s, plan.skip_s) for key in keys]
        spent = (time.monotonic() - began) * plan.starts / plan.budget_s
        if spent >= 2 or (spent >= 1 and slices.n_pairs(taken) >= slices.PAIRS_MIN):
            return taken
        if len(taken) // 2 % slices.LOOK_EVERY == 0 and plan.settle(taken, name):
            return taken


def idle_shares(taken):
    """{side: median idle share of its guests}"""
    idle = {key: [one.idle for one in taken if one.side == key and one.idle is not None] for key in "ab"}
    return {key: statistics.median(values) for key, values in idle.items() if values}


def guests_limit(idle):
    return bool(idle) and min(idle.values()) < GUESTS_LIMIT


def cost_of(row, started, taken, plan):
    """cost.measure() where it says something that the ratio does not; None elsewhere."""
    pairs, _ = slices.pair_up(taken, slices.nearest(taken))
    if not (plan.costs and pairs and row.can_be_paced and guests_limit(idle_shares(taken))):
        return None
    rates = [statistics.median(one.figures[THROUGHPUT.name] for one in taken if one.side == key) for key in "ab"]
    return cost.measure(started, min(rates), 1 if "--direction" in row.guest else 2, started["a"].guest.tsc_hz)


def start_sides(row, sides, plan, stack):
    started = {}
    for key, (which, more) in sides.items():
        started[key] = Side(which, row, plan.cpus, more, plan.warmup_s)
        stack.callback(started[key].close)
    return started


def measure_row(row, sides, plan):
    """summary() of one row. NotPossible or RunFailed when it can't be."""
    FRONT_ENDS[row.front_end]().check()
    for which, _ in sides.values():
        which.check(row.stage)
    noise = machine.await_quiet(plan.cpus.pair, plan.quiet_wait_s) if plan.quiet_wait_s else []
    began, taken, medians, ends, costs = time.monotonic(), [], [], [], []
    with machine.hugepages(plan.reserve, hugepages_wanted(row, sides)):
        for _ in range(plan.starts):
            with contextlib.ExitStack() as stack:
                started = start_sides(row, sides, plan, stack)
                mine = take_slices(started, plan, row.figures[0].name)
                costs.append(cost_of(row, started, mine, plan))
                ends.append({key: side.finish() for key, side in started.items()})
            taken += mine
            ratios = slices.ratios(slices.pair_up(mine, slices.nearest(mine))[0], row.figures[0].name)
            medians.append(statistics.median(ratios) if ratios else None)
    return summary(row, sides, taken, ends, plan.kind, medians=medians, cost=costs[0], noise=noise,
                   took_s=time.monotonic() - began)


def refusal(compared, ends):
    """Why the ratio is no figure; None when it is one."""
    reports = [report for both in ends for report in both.values()]
    leaks = sum(report["conserved"] is False for report in reports)
    if leaks:
        return f"in {leaks} of {len(reports)} runs frames vanished uncounted, or came twice"
    if "too_few" in compared:
        return f"{compared['too_few']} pairs of one class, at least {slices.PAIRS_MIN} are needed"
    return None


def summary(row, sides, taken, ends, kind, **more):
    """What the slices say: for each figure medians, the ratio with its interval, and the verdict; and what became of all
    slices. ends: [{side: its last report}], one for each start."""
    nearest_ns = slices.nearest(taken)
    pairs, dropped = slices.pair_up(taken, nearest_ns)
    figures = []
    for i, figure in enumerate(row.figures):
        compared = slices.compare(taken, figure.name)
        bar = row.bars.get(kind) if i == 0 else None
        refused = refusal(compared, ends)
        settled = "ratio" in compared and compared["ratio"]["half_width"] <= slices.HALF_WIDTH_MAX
        figures.append({
            "figure": figure.name, "unit": figure.unit, "better": figure.better, "digits": figure.digits, "bar": bar,
            **compared, "refused": refused, "settled": settled,
            "verdict": "not measured" if refused else slices.verdict(figure.better, bar, compared["ratio"])})
    idle = idle_shares(taken)
    return {
        "about": row.about, "layout": row.layout, "ring_size": row.ring_size, "front_end": row.front_end,
        "frame_size": "imix" if "--imix" in row.guest else int(row.option("--frame-size", 64)), "bar": row.bars.get(kind),
        "sides": {key: which.name + more_words(words) for key, (which, words) in sides.items()},
        "simd_bits": sides["a"][0].simd_bits, "instructions": instructions_of(row.loop, kind), "figures": figures, "n_slices": len(taken),
        "n_pairs": len(pairs), "classes": collections.Counter(pair[0] for pair in pairs), "dropped": dropped,
        "nearest_ns": nearest_ns, "farthest_ns": max((ns for one in taken for ns in one.distance_ns), default=0),
        "guest_idle_share": idle, "guests_limit": guests_limit(idle),
        "tsc_hz": ends[0]["a"]["tsc_hz"], **more, "ends": ends,
        "slices": {"fields": slices.FIELDS, "rows": [[getattr(one, field) for field in slices.FIELDS] for one in taken]},
    }


def instructions_of(loop, kind):
    """What tests/perf/instructions has on record for a frame of that loop; None when it has nothing."""
    for path in sorted(instructions.RECORDS.glob("*.txt")):
        counts = instructions.Record.parse(path.read_text()).counts.get(RECORDED_ISA[kind], {})
        if loop in counts:
            return counts[loop][0]
    return None


def more_words(more):
    return (" " + " ".join(more)) if more else ""


def describe(name, result):
    """A line when a row is done."""
    said = []
    for figure in result["figures"]:
        if figure["refused"]:
            said.append(f"{figure['figure']}: not measured: {figure['refused']}")
            continue
        ratio = figure["ratio"]
        said.append(f"{figure['figure']} {ratio['median']:.2f} [{ratio['low']:.2f}-{ratio['high']:.2f}] of {ratio['n']} pairs"
                    + ("" if figure["settled"] else ", not settled"))
    return f"{name}: {'; '.join(said)}; {result['took_s']:.0f} s"


def measure_rows(rows, sides_for, plan, *, done=lambda result: None):
    """{row's name: summary, or {"not_measured": why}}: a row that can't be measured doesn't stop the others. `done` is
    called with the whole after each row."""
    result = {}
    began = time.monotonic()
    for i, row in enumerate(rows):
        sides = sides_for(row)
        each = (time.monotonic() - began) / i if i else plan.budget_s
        plan.say(f"[{i + 1}/{len(rows)}, {each * (len(rows) - i) / 60:.0f} min left] {row.name} ..")
        try:
            result[row.name] = measure_row(row, sides, plan)
            plan.say(describe(row.name, result[row.name]))
        except (NotPossible, RunFailed, AssertionError, OSError, subprocess.SubprocessError) as why:
            plan.say(f"{row.name}: not measured: {why}")
            result[row.name] = {"about": row.about, "not_measured": str(why), "bar": row.bars.get(plan.kind),
                                "figures": [],
                                "sides": {key: which.name + more_words(more) for key, (which, more) in sides.items()}}
        done(result)
    return result

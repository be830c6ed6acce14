# SPDX-License-Identifier: BSD-3-Clause
"""Runs in turns: fresh processes for each, A and B alternating, so that a slow minute of the machine hits both.

A figure is refused, not averaged away, when the pairs don't agree (SPREAD_RULE) or when frames vanished uncounted.
"""
import os
import statistics
import subprocess
import time

from . import backends, kernel, machine
from .guests import FRONT_ENDS
from .machine import NotPossible, RunFailed, vnictest
from .rows import SELF

DISTANCE_SPREAD = 1.5
SPREAD_MAX = 0.10
PAIRS_MIN = 4  # fewer have no quartiles
PAIRS_TO_PUBLISH = 10
SPREAD_RULE = (f"A ratio is refused when half the distance between its quartiles is more than {100 * SPREAD_MAX:.0f} % "
               f"of its median, or with fewer than {PAIRS_MIN} pairs. Fewer than {PAIRS_TO_PUBLISH} are marked: not to "
               "be published.")


# --- One run ---------------------------------------------------------------------------------------------------------

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


def run_once(which, row, cpus, *, duration_s, warmup_s=0.5, more=(), near=None):
    """One fresh back-end, one fresh guest: the guest's report, and what the back-end says. `more`: guest arguments;
    `near`: how far apart the CPUs should be at most, before and after, if patience helps."""
    front_end = FRONT_ENDS[row.front_end]()
    run_dir = vnictest.tmpdir("vnic-bench-")
    warmup_s = max(warmup_s, row.warmup_s)
    sockets = [os.path.join(run_dir, name) for name in backends.PORT_NAMES[:row.stage.n_guests]]
    distances = [machine.distance_ns(cpus, near)]
    stolen = machine.stolen_ticks(cpus.pair)
    started = time.monotonic()
    other_end = kernel_of(row, cpus)
    running = None
    try:
        running = which.start(row.stage, cpus, run_dir, sockets, **({"netns": other_end.netns} if other_end else {}))
        if other_end:
            other_end.start()
        before = machine.switches(running.pid)
        try:
            report = front_end.run(sockets, [*row.guest, *more], cpus, duration_s=duration_s, warmup_s=warmup_s,
                                   listens=which.GUEST_LISTENS)
        except RunFailed as error:
            raise RunFailed(f"with {which.name}: {error}; the back-end's last lines:\n"
                            + running.last_lines()) from error
        after = machine.switches(running.pid)
        if other_end:
            report["kernel"] = other_end.stop()
            if report["sent"]:
                report["kernel_gbps"] = other_end.rate("rx_bytes", warmup_s, duration_s) * 8 / 1e9
        account = running.stop()
    finally:
        if running:
            running.kill()
        if other_end:
            other_end.close()
    ticks = (time.monotonic() - started) * os.sysconf("SC_CLK_TCK") * len(set(cpus.pair))
    report.update(
        backend_command=running.command, backend_switches=after - before, backend_drops=account.drops,
        conserved=conserved(row, report, account), stolen_share=(machine.stolen_ticks(cpus.pair) - stolen) / ticks,
        distance_ns=[*distances, machine.distance_ns(cpus, near)], noise=[])
    return report


def same_distance(reports):
    """Whether the CPUs stayed equally far apart: only then can runs be compared."""
    distances = [ns for report in reports for ns in report["distance_ns"]]
    return max(distances) <= DISTANCE_SPREAD * min(distances)


def describe(row, which, report):
    text = f"{row.name} {which.name}: " + ", ".join(
        f"{f.of(report):.{f.digits}f} {f.unit}{'' if f.name == 'throughput' else ' ' + f.name}" for f in row.figures)
    if "guest_idle_share" in report:
        text += f", guests idle {100 * report['guest_idle_share']:.0f} %"
    text += f", CPUs {' then '.join(f'{ns:.0f}' for ns in report['distance_ns'])} ns apart"
    if report["noise"]:
        text += "; NOISY: " + ", ".join(report["noise"])
    if report["conserved"] is False:
        text += (f"; NOT CONSERVED: {report['missing']} frames missing, {report['backend_drops']} counted as dropped, "
                 f"{report['wrong'] or 'none'} came wrongly")
    return text


# --- Many runs -------------------------------------------------------------------------------------------------------

def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def half_iqr(values):
    """Half the distance between the quartiles, over the median: one run gone wrong does not widen it. None with too
    few to say."""
    if len(values) < PAIRS_MIN:
        return None
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return (high - low) / 2 / middle


def verdict(better, bar, ratio):
    if bar is None:
        return "no bar"
    return "met" if (ratio >= bar if better == "higher" else ratio <= bar) else "missed"


def refusal(ratios, runs):
    """Why the ratio of these pairs is no figure; None when it is one. runs: all reports behind it."""
    leaks = sum(report["conserved"] is False for report in runs)
    if leaks:
        return f"in {leaks} of {len(runs)} runs frames vanished uncounted, or came twice"
    noisy = sum(bool(report["noise"]) for report in runs)
    if noisy:
        return f"{noisy} of {len(runs)} runs were disturbed by other programs"
    wide = half_iqr(ratios)
    if wide is None:
        return f"{len(ratios)} pairs, at least {PAIRS_MIN} are needed"
    if wide > SPREAD_MAX:
        return f"half the quartile distance is {100 * wide:.0f} % of the median, {100 * SPREAD_MAX:.0f} % allowed"
    return None


def summary(row, sides, runs):
    """What the runs say: for each figure and each peer, medians, ranges, the ratio pair by pair, and the verdict."""
    figures = []
    for figure in row.figures:
        ours = [figure.of(report) for report in runs["a"]]
        for key in list(sides)[1:]:
            theirs = [figure.of(report) for report in runs[key]]
            ratios = [x / y for x, y in zip(ours, theirs)]
            refused = refusal(ratios, runs["a"] + runs[key])
            figures.append({
                "figure": figure.name, "unit": figure.unit, "better": figure.better, "digits": figure.digits,
                "bar": row.bar, "a": spread(ours), "peer": key, "b": spread(theirs), "ratio": spread(ratios),
                "ratio_half_iqr": half_iqr(ratios), "refused": refused, "pairs": len(ratios),
                "publishable": not refused and len(ratios) >= PAIRS_TO_PUBLISH,
                "verdict": "not measured" if refused else verdict(row.better, row.bar, statistics.median(ratios)),
            })
    return {
        "about": row.about, "layout": row.layout, "ring_size": row.ring_size, "front_end": row.front_end,
        "frame_size": "imix" if "--imix" in row.guest else int(row.option("--frame-size", 64)), "bar": row.bar,
        "sides": {key: which.name + more_words(more) for key, (which, more) in sides.items()},
        "figures": figures,
        "guest_idle_share": {key: statistics.median(report["guest_idle_share"] for report in runs[key])
                             for key in runs if all("guest_idle_share" in report for report in runs[key])},
        "tsc_hz": statistics.median(report["tsc_hz"] for report in runs["a"]),
        "runs": runs,
    }


def more_words(more):
    return (" " + " ".join(more)) if more else ""


def sides_of(row, ours, peers=None):
    """{"a": (back-end, guest arguments of its own), "b": ..}: ours and the row's peers, or those given instead."""
    sides = {"a": (ours, row.ours)}
    for key, peer in zip("bcdefg", peers or row.peers):
        if peer == SELF:
            sides[key] = (ours, ())
        elif isinstance(peer, str):
            sides[key] = (backends.backend(peer), ())
        else:
            sides[key] = (peer, row.ours)
    return sides


def hugepages_wanted(row, sides):
    return max(which.HUGEPAGES for which, _ in sides.values()) + FRONT_ENDS[row.front_end].HUGEPAGES


class Plan:
    """How to measure: the same for all rows."""

    def __init__(self, cpus, *, pairs, duration_s, warmup_s=0.5, quiet_wait_s=30, noisy=False, reserve=False,
                 discards=None, say=lambda s: None):
        self.cpus = cpus
        self.pairs = pairs
        self.duration_s = duration_s
        self.warmup_s = warmup_s
        self.quiet_wait_s = quiet_wait_s
        self.noisy = noisy
        self.reserve = reserve
        self.discards = 2 * pairs if discards is None else discards
        self.say = say
        self.nearest = None  # of the CPUs, in any run so far

    def run(self, which, row, more):
        complaints = machine.quiet(self.cpus, self.quiet_wait_s, self.noisy)
        report = run_once(which, row, self.cpus, duration_s=self.duration_s, warmup_s=self.warmup_s, more=more,
                          near=self.nearest and DISTANCE_SPREAD * self.nearest)
        report["noise"] = complaints
        self.nearest = min([*report["distance_ns"], *([self.nearest] if self.nearest else [])])
        return report


class Progress:
    """How much is left, judged by how long runs took so far."""

    def __init__(self, n_runs, run_s):
        self.n_runs = max(n_runs, 1)
        self.n_done = 0
        self.guess_s = run_s
        self.started = time.monotonic()

    def step(self):
        self.n_done += 1

    def skip(self, n):
        self.n_runs -= n

    def __str__(self):
        each = (time.monotonic() - self.started) / self.n_done if self.n_done else self.guess_s
        left = max(self.n_runs - self.n_done, 0) * each
        text = f"{left / 60:.0f} min" if left > 90 else f"{left:.0f} s"
        return f"[{self.n_done}/{self.n_runs}, {text} left]"


def measure_row(row, sides, plan, progress=None):
    """summary() of as many rounds as the plan says. NotPossible or RunFailed when it can't be."""
    progress = progress or Progress(plan.pairs * len(sides), plan.duration_s)
    FRONT_ENDS[row.front_end]().check()
    for which, _ in sides.values():
        which.check(row.stage)
    runs, n_discarded, discarded = {key: [] for key in sides}, 0, []
    with machine.hugepages(plan.reserve, hugepages_wanted(row, sides)):
        while len(runs["a"]) < plan.pairs:
            both = {}
            for key, (which, more) in sides.items():
                report = both[key] = plan.run(which, row, more)
                progress.step()
                plan.say(f"{progress} {len(runs['a']) + 1}/{plan.pairs} {describe(row, which, report)}")
            if same_distance(both.values()) or plan.noisy:
                for key in sides:
                    runs[key].append(both[key])
                continue
            n_discarded += 1
            discarded.append(both)
            progress.skip(-len(sides))
            plan.say(f"{row.name}: the CPUs moved in this pair; once more")
            if n_discarded > plan.discards:
                raise NotPossible("the distance of the two CPUs never stays the same for the time of two runs")
    return {**summary(row, sides, runs), "discarded": discarded}


def measure_rows(rows, sides_for, plan, *, done=lambda result: None):
    """{row's name: summary, or {"not_measured": why}}: a row that can't be measured doesn't stop the others. `done` is
    called with the whole after each row."""
    result = {}
    all_sides = {row.name: sides_for(row) for row in rows}
    progress = Progress(plan.pairs * sum(map(len, all_sides.values())), plan.duration_s + plan.warmup_s + 2.5)
    for row in rows:
        sides = all_sides[row.name]
        n_before = progress.n_done
        try:
            result[row.name] = measure_row(row, sides, plan, progress)
        except (NotPossible, RunFailed, AssertionError, subprocess.SubprocessError) as why:
            progress.skip(max(plan.pairs * len(sides) - (progress.n_done - n_before), 0))
            plan.say(f"{row.name}: not measured: {why}")
            result[row.name] = {"about": row.about, "not_measured": str(why), "bar": row.bar, "figures": [],
                                "sides": {key: which.name + more_words(more) for key, (which, more) in sides.items()}}
        done(result)
    return result

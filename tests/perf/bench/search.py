# SPDX-License-Identifier: BSD-3-Clause
"""The highest rate at which no more than a tolerated share of frames is lost, after RFC 2544 ("Throughput"): trials of
fixed length at offered loads that a binary search chooses.

Differences to the RFC, all told in the report: trials are seconds long, not a minute; a failed trial may be repeated,
since a virtual machine loses its CPU now and then; and more than one tolerance is asked for (0: no-drop rate, NDR;
more: partial-drop rate, PDR), the trials of one serving the next.

search() knows nothing of back-ends: a trial is a function from load to Trial.
"""
import dataclasses
import math
import os
import re
import subprocess
import time

from . import machine
from .guests import READY_S, NullGuest, VirtioUser
from .machine import NotPossible, RunFailed, vnictest

GENERATOR_IDLE_MIN = 0.02


@dataclasses.dataclass
class Trial:
    load: float  # what was asked for, in the source's own unit
    offered_mpps: float  # what was really offered, all directions together
    delivered_mpps: float
    loss: float  # share of the offered frames
    limited: bool = False  # the source could not offer so much: the loss may be its own
    off_cpu: float = 0.0  # share of the time in which the guests did not run: no fault of the back-end

    def passes(self, tolerance):
        return self.loss <= tolerance


@dataclasses.dataclass
class Found:
    tolerance: float
    load: float  # 0: even the smallest load was too much
    trial: Trial | None  # the slowest of those that confirm it
    confirmed: int = 0
    tried: int = 0  # at this load, failed ones among them
    capped: bool = False  # no load failed: the limit is the source, or the highest load allowed
    source_limited: bool = False  # the next higher load failed with the source at its limit


class Search:
    def __init__(self, run, high, *, precision=0.01, quantum=0.0, confirm=3, retries=1, say=lambda s: None):
        """run: load -> Trial. high: the highest load to try. precision: of the result, relative; quantum: loads are
        whole multiples of it. confirm: trials that a result must pass; retries: failed ones that are forgiven, each
        time."""
        self.run = run
        self.high = high
        self.precision = precision
        self.quantum = quantum
        self.confirm = confirm
        self.retries = retries
        self.say = say
        self.trials = []

    def snap(self, load):
        return round(load / self.quantum) * self.quantum if self.quantum else load

    def trial(self, load, tolerance):
        trial = self.run(load)
        self.trials.append(trial)
        self.say(trial, tolerance)
        return trial

    def at(self, load):
        return [t for t in self.trials if t.load == load]

    def carries(self, load, tolerance):
        """One trial that passes; earlier ones at this load count."""
        seen = self.at(load)
        if any(t.passes(tolerance) for t in seen):
            return True
        for _ in range(1 + self.retries - len(seen)):
            if self.trial(load, tolerance).passes(tolerance):
                return True
        return False

    def confirms(self, load, tolerance):
        """(confirmed?, passed, tried); earlier trials count."""
        while True:
            seen = self.at(load)
            passed = sum(t.passes(tolerance) for t in seen)
            if len(seen) - passed > self.retries:
                return False, passed, len(seen)
            if passed >= self.confirm:
                return True, passed, len(seen)
            self.trial(load, tolerance)

    def narrow(self, low, high):
        """Whether there is a load between that is worth a trial."""
        return high - low > (self.quantum or 0) and high - low > self.precision * high

    def find(self, tolerance, known=0.0):
        """known: a load that a stricter tolerance has found."""
        floor = self.quantum or self.precision * self.high  # below this we call it nothing
        high = self.snap(self.high)
        passed = [0.0] + ([known] if known else [])  # loads that passed, rising; nothing passes nothing
        if self.carries(high, tolerance):
            sure, n_passed, n_tried = self.confirms(high, tolerance)
            if sure:
                return self.found(tolerance, high, n_passed, n_tried, high, capped=True)
        while True:
            while self.narrow(passed[-1], high):
                middle = self.snap((passed[-1] + high) / 2)
                if not passed[-1] < middle < high or middle < floor:
                    break
                if self.carries(middle, tolerance):
                    passed.append(middle)
                else:
                    high = middle
            low = passed.pop()
            if not low:
                return Found(tolerance, 0.0, None)
            sure, n_passed, n_tried = self.confirms(low, tolerance)
            if sure:
                return self.found(tolerance, low, n_passed, n_tried, high)
            high = low

    def found(self, tolerance, load, n_passed, n_tried, high, capped=False):
        slowest = min((t for t in self.at(load) if t.passes(tolerance)), key=lambda t: t.delivered_mpps)
        limited = not capped and any(t.limited for t in self.at(high))
        return Found(tolerance, load, slowest, n_passed, n_tried, capped, limited)

    def find_all(self, tolerances):
        result, known = [], 0.0
        for tolerance in sorted(tolerances):
            result.append(self.find(tolerance, known))
            known = max(known, result[-1].load)
        return result


# --- Sources ---------------------------------------------------------------------------------------------------------

class NullGuestSource:
    """The null guest, paced: bursts at equal intervals by the TSC. Load: Mpps of each direction.

    Lost are frames whose numbers are missing at the receiver, and those that found no room in the sender's ring when
    their time had come. A trial is limited by the source when the guests were never idle.
    """
    NAME = "nullguest"
    UNIT = "Mpps each way"
    QUANTUM = 0.0

    def __init__(self, sockets, args, cpus, *, trial_s, warmup_s, listens, frame_len=64):
        args = [*args, "--frame-size", frame_len]  # the last one counts
        self.guest = NullGuest()
        self.guest.check()
        self.run_args = (sockets, args, cpus)
        self.command = self.guest.command(sockets, args, cpus, warmup_s, listens)
        self.run_more = {"duration_s": trial_s, "warmup_s": warmup_s, "listens": listens}

    def report(self, *more):
        sockets, args, cpus = self.run_args
        return self.guest.run(sockets, [*args, *more], cpus, **self.run_more)

    def highest(self):
        """A tenth above what gets through when more is offered than can."""
        report = self.report()
        return 1.1 * report["mpps"] / len(report["measured"])

    def trial(self, load):
        report = self.report("--mode", "paced", "--pps", f"{load * 1e6:.0f}")
        flows = report["measured"].values()
        offered = sum(flow["sent"] + flow["unsent"] for flow in flows)
        lost = sum(flow["lost"] + flow["unsent"] for flow in flows)
        return Trial(load, offered / report["seconds"] / 1e6, report["mpps"], lost / offered if offered else 1.0,
                     report["guest_idle_share"] < GENERATOR_IDLE_MIN, report["guest_stalled_share"])

    def close(self):
        pass


class VirtioUserSource:
    """testpmd with two virtio-user ports in mode flowgen, which cannot pace: on each turn it takes what has come and
    sends one burst on each port, again and again without pause. Load: frames in that burst; how many that makes in a
    second is its CPU's affair, and reported. Lost are frames that its receivers don't get, and those that found no room
    in its sender's ring."""
    NAME = "testpmd"
    UNIT = "frames a turn"
    QUANTUM = 4  # and only whole lines of descriptors, once there is more than one
    BURST_MAX = 64  # its receiver takes no more in a turn
    DRAIN_S = 0.1  # for frames that are still on their way

    def __init__(self, sockets, keys, cpus, *, trial_s, warmup_s, listens, frame_len=64):
        front_end = VirtioUser()
        front_end.check()
        self.trial_s = trial_s
        self.warmup_s = warmup_s
        self.command = front_end.command(sockets, keys, cpus, listens, "flowgen", (f"--txpkts={frame_len}",))
        self.proc = vnictest.Proc(self.command, name="virtio-user")
        try:
            self.proc.expect(r"Checking link statuses", READY_S)
        except AssertionError as error:
            self.close()
            raise RunFailed(str(error)) from error

    def highest(self):
        return self.BURST_MAX

    def trial(self, load):
        self.proc.send(f"set burst {load:.0f}")
        # Not measured: what the first frames after a pause meet.
        self.go("flowgen", self.warmup_s)
        self.go("rxonly", self.DRAIN_S)
        seconds, stats = self.go("flowgen", self.trial_s)
        _, late = self.go("rxonly", self.DRAIN_S)
        offered = stats["tx"] + stats["tx_dropped"]
        received = stats["rx"] + late["rx"]
        return Trial(load, offered / seconds / 1e6, received / seconds / 1e6,
                     max(1 - received / offered, 0.0) if offered else 1.0, load >= self.BURST_MAX)

    def go(self, mode, seconds):
        """(seconds, forward statistics) of so long in this mode."""
        for line in (f"set fwd {mode}", "start"):
            self.proc.send(line)
        started = time.monotonic()
        time.sleep(seconds)
        mark = self.proc.mark()
        self.proc.send("stop")
        seconds = time.monotonic() - started
        try:
            self.proc.expect(r"^Done\.", READY_S, since=mark)
        except AssertionError as error:
            raise RunFailed(str(error)) from error
        return seconds, self.stats("\n".join(self.proc.lines[mark:]))

    @staticmethod
    def stats(output):
        tail = output.rpartition("statistics for all ports")[2]
        found = {key: re.search(rf"{word}: (\d+)", tail) for key, word in
                 (("rx", "RX-packets"), ("tx", "TX-packets"), ("tx_dropped", "TX-dropped"))}
        if not all(found.values()):
            raise RunFailed(f"testpmd: can't read its statistics: {tail[-600:]}")
        return {key: int(m.group(1)) for key, m in found.items()}

    def close(self):
        if self.proc.alive():
            try:
                self.proc.send("quit")
                self.proc.wait(READY_S)
            except (BrokenPipeError, subprocess.TimeoutExpired):
                self.proc.kill9()


SOURCES = {cls.NAME: cls for cls in (NullGuestSource, VirtioUserSource)}


# --- A back-end of ours, or the user's -------------------------------------------------------------------------------

class Stand:
    """The back-end under test for as long as the searches take: started here, or there already."""

    def __init__(self, which, stage, cpus, sockets=None, listens=False):
        """which: a Backend, or None when the user runs one behind these sockets."""
        self.which = which
        self.stage = stage
        self.cpus = cpus
        self.sockets = sockets
        self.listens = listens
        self.running = None

    def __enter__(self):
        if self.which:
            self.which.check(self.stage)
            run_dir = vnictest.tmpdir("vnic-bench-")
            self.sockets = [os.path.join(run_dir, name) for name in "ab"[:self.stage.n_guests]]
            self.listens = self.which.GUEST_LISTENS
            self.running = self.which.start(self.stage, self.cpus, run_dir, self.sockets)
        return self

    def __exit__(self, *why):
        if self.running:
            self.running.kill()


def run_search(source, *, tolerances, precision, confirm, retries, high, before_trial=lambda: None,
               say=lambda trial, tolerance: None):
    """([Found], [Trial]) with one source."""
    def run(load):
        before_trial()
        return source.trial(load)

    before_trial()
    high = high or source.highest()
    if not high or math.isnan(high):
        raise NotPossible("nothing comes through at all")
    search = Search(run, high, precision=precision, quantum=source.QUANTUM, confirm=confirm, retries=retries, say=say)
    return search.find_all(tolerances), search.trials


def waiter(cpus, wait_s, noisy, complaints):
    """Before each trial: wait for a quiet guest CPU; with noisy, note what disturbed."""
    def wait():
        complaints.extend(machine.quiet_beside(cpus, wait_s, noisy))
    return wait

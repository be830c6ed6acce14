# SPDX-License-Identifier: BSD-3-Clause
"""What measures: guests that take and give frames, and report what came through.

Each has open(), which starts it beside a back-end and returns it once frames flow and the warm-up is over, both
standing still. Then
    slice()   lets both run for a moment: a report with "mpps" (or "latency_ns"), "seconds", "began_s", "distance_ns" and
              open-ended what else it knows
    finish()  ends it well: a report with "sent", "delivered", "missing" and "wrong" of the whole run, and "tsc_hz"
    kill()    ends it, whatever it does
"""
import json
import os
import re
import shutil
import signal
import subprocess
import time

from . import machine
from .backends import forward_stats, testpmd_stats
from .machine import RUN_SLACK_S, NotPossible, RunFailed, vnictest

FRONT_END_MEM_MIB = 512
READY_S = 20


class NullGuest:
    """tests/perf/nullguest: one or two guests on one CPU that cost almost nothing."""
    NAME = "nullguest"
    HUGEPAGES = 0  # counted with the back-end's

    def check(self):
        machine.nullguest_path()

    @staticmethod
    def command(sockets, args, cpus, warmup_s, listens):
        command = [machine.nullguest_path()]
        for path in sockets:
            command += ["--socket", path]
        return [*command, *(["--server"] if listens else []), "--cpu", str(cpus.guest), "--pages", "huge",
                "--warmup", str(warmup_s), "--json", *map(str, args)]

    def open(self, sockets, args, cpus, *, warmup_s, listens=False, pids=()):
        """pids: processes that stand still between slices."""
        command = [*self.command(sockets, args, cpus, warmup_s, listens), "--slices", "--beside", str(cpus.forward)]
        for pid in pids:
            command += ["--stop", str(pid)]
        return NullGuestInSlices(command, warmup_s)

    def run(self, sockets, args, cpus, *, duration_s, warmup_s, listens=False):
        """The report of one run without slices."""
        command = [*self.command(sockets, args, cpus, warmup_s, listens), "--duration", str(duration_s)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=duration_s + warmup_s + RUN_SLACK_S,
                              check=False)
        if done.returncode:
            raise RunFailed(done.stderr.strip() or f"nullguest ended with status {done.returncode}")
        return whole_run(json.loads(done.stdout))


def whole_run(report):
    """The null guest's report, with sums over all flows from the first frame to the last."""
    flows = report["whole_run"].values()
    report["sent"] = sum(flow["sent"] for flow in flows)
    report["delivered"] = sum(flow["delivered"] for flow in flows)
    # Every frame sent is delivered or dropped; a frame that came twice would hide a dropped one.
    due = report["sent"] * report.get("segments_per_frame", 1)
    report["missing"] = due - report["delivered"] + sum(flow["duplicated"] for flow in flows)
    report["wrong"] = {key: n for key in ("duplicated", "reordered", "foreign", "malformed")
                       if (n := sum(flow.get(key, 0) for flow in flows))}
    return report


class NullGuestInSlices:
    """One null guest for each back-end: the one that waits sleeps in read(), and can't poll."""

    def __init__(self, command, warmup_s):
        self.proc = vnictest.Proc(command, name=NullGuest.NAME)
        try:
            self.tsc_hz = self.answer("ready", warmup_s + RUN_SLACK_S, 0)["tsc_hz"]
        except BaseException:
            self.kill()
            raise

    def answer(self, key, timeout_s, since):
        try:
            return json.loads(self.proc.expect(rf'^\{{"{key}".*', timeout_s, since=since).group(0))
        except AssertionError as error:
            said = [line for line in self.proc.lines if line.startswith(f"{NullGuest.NAME}: ")]
            raise RunFailed(said[-1] if said else str(error)) from error

    def slice(self, seconds, skip_s, pps=0, keep=False):
        """pps: paced, of each flow. keep: the back-end is left running."""
        mark = self.proc.mark()
        self.proc.send(f"{seconds} {skip_s} {pps}" + (" keep" if keep else ""))
        return self.answer("slice", RUN_SLACK_S, mark)

    def finish(self):
        mark = self.proc.mark()
        self.proc.popen.stdin.close()
        report = self.answer("layout", RUN_SLACK_S, mark)
        self.proc.wait(READY_S)
        return {**whole_run(report), "guest_command": self.proc.args}

    def kill(self):
        if self.proc.alive():
            self.proc.kill9()


class VirtioUser:
    """A second testpmd, with two virtio-user ports, on the guests' CPU. It sends what it receives, so a fixed number of
    frames goes round; the figure is frames received by its two ports. args: keys of the vdev.

    It counts the cycles of turns that found frames; the rest of the time it was idle.
    """
    NAME = "virtio-user"
    BINARY = "dpdk-testpmd"
    HUGEPAGES = FRONT_END_MEM_MIB // 2
    TX_FIRST = 32  # bursts of 32 frames that each port begins with

    def check(self):
        if not shutil.which(self.BINARY):
            raise NotPossible(f"no {self.BINARY}: usertools/install-deps bench installs it")

    def command(self, sockets, args, cpus, listens, mode="io", more=()):
        # Its standard output is a pipe, which it would fill before we see a line.
        command = ["stdbuf", "-oL", self.BINARY, "--lcores", f"0@{cpus.control},1@{cpus.guest}", "--no-pci",
                   "--in-memory", "--single-file-segments", "--socket-mem", str(FRONT_END_MEM_MIB), "--no-telemetry",
                   "--force-max-simd-bitwidth=512", "--log-level=pmd.net.virtio.init:info"]
        for i, path in enumerate(sockets):
            keys = [f"path={path}", "queues=1", *(["server=1"] if listens else []), *args]
            command += ["--vdev", f"net_virtio_user{i}," + ",".join(keys)]
        return [*command, "--", "-i", "--nb-cores=1", f"--forward-mode={mode}", "--record-core-cycles", *more]

    def open(self, sockets, args, cpus, *, warmup_s, listens=False, pids=()):
        return VirtioUserInSlices(self.command(sockets, args, cpus, listens), cpus, warmup_s, pids)


class VirtioUserInSlices:
    """It stands still with its back-end: frames stay where they are."""

    def __init__(self, command, cpus, warmup_s, pids):
        self.command = command
        self.cpus = cpus
        self.proc = vnictest.Proc(command, name=VirtioUser.NAME)
        self.pids = [*pids, self.proc.pid]
        try:
            self.proc.expect(r"Checking link statuses", READY_S)
            self.proc.send(f"start tx_first {VirtioUser.TX_FIRST}")
            time.sleep(warmup_s)
            self.tsc_hz = testpmd_stats(self.proc)["mhz"] * 1e6
        except (AssertionError, RunFailed) as error:
            self.kill()
            raise RunFailed(str(error)) from error
        self.signal(signal.SIGSTOP)

    def signal(self, number):
        for pid in self.pids:
            os.kill(pid, number)

    def slice(self, seconds, skip_s, pps=0, keep=False):
        assert not pps and not keep, "it can't pace"
        distances = [machine.distance_now(self.cpus, brief=True)]
        self.signal(signal.SIGCONT)
        time.sleep(skip_s)
        before = testpmd_stats(self.proc)
        time.sleep(seconds)
        after = testpmd_stats(self.proc)
        self.signal(signal.SIGSTOP)
        distances.append(machine.distance_now(self.cpus, brief=True))
        took_s = after["time"] - before["time"]
        return {"began_s": before["time"], "seconds": took_s, "mpps": (after["rx"] - before["rx"]) / took_s / 1e6,
                "guest_idle_share": 1 - (after["cycles"] - before["cycles"]) / (took_s * self.tsc_hz),
                "distance_ns": distances}

    def finish(self):
        self.signal(signal.SIGCONT)
        mark = self.proc.mark()
        self.proc.send("stop")
        try:
            self.proc.expect(r"Done\.", READY_S, since=mark)
            total = forward_stats(self.proc.output)
            self.proc.send("quit")
            self.proc.wait(READY_S)
        except (AssertionError, subprocess.TimeoutExpired) as error:
            raise RunFailed(str(error)) from error
        return {"sent": total["tx"], "delivered": total["rx"], "missing": total["tx"] - total["rx"], "wrong": {},
                "tsc_hz": self.tsc_hz, "guest_command": self.command,
                "paths": sorted(set(re.findall(r"using (.*?) path", self.proc.output)))}

    def kill(self):
        if self.proc.alive():
            self.proc.kill9()


FRONT_ENDS = {cls.NAME: cls for cls in (NullGuest, VirtioUser)}

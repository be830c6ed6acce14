# SPDX-License-Identifier: BSD-3-Clause
"""What measures: guests that take and give frames, and report what came through.

Each has run(), whose report has at least "mpps" (or "latency_ns"), "guest_idle_share", "tsc_hz" and "sent" and
"delivered" of the whole run, and open-ended what else it knows.
"""
import json
import re
import shutil
import subprocess
import time

from . import machine
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
    def command(sockets, args, cpus, duration_s, warmup_s, listens):
        command = [machine.nullguest_path()]
        for path in sockets:
            command += ["--socket", path]
        return [*command, *(["--server"] if listens else []), "--cpu", str(cpus.guest), "--pages", "huge", "--duration",
                str(duration_s), "--warmup", str(warmup_s), "--json", *map(str, args)]

    def run(self, sockets, args, cpus, *, duration_s, warmup_s, listens=False):
        command = self.command(sockets, args, cpus, duration_s, warmup_s, listens)
        done = subprocess.run(command, capture_output=True, text=True, timeout=duration_s + warmup_s + RUN_SLACK_S,
                              check=False)
        if done.returncode:
            raise RunFailed(done.stderr.strip() or f"nullguest ended with status {done.returncode}")
        report = json.loads(done.stdout)
        flows = report["whole_run"].values()
        report["sent"] = sum(flow["sent"] for flow in flows)
        report["delivered"] = sum(flow["delivered"] for flow in flows)
        # Every frame sent is delivered or dropped; a frame that came twice would hide a dropped one.
        due = report["sent"] * report.get("segments_per_frame", 1)
        report["missing"] = due - report["delivered"] + sum(flow["duplicated"] for flow in flows)
        report["wrong"] = {key: n for key in ("duplicated", "reordered", "foreign", "malformed")
                           if (n := sum(flow.get(key, 0) for flow in flows))}
        report["guest_command"] = command
        return report


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

    def run(self, sockets, args, cpus, *, duration_s, warmup_s, listens=False):
        command = self.command(sockets, args, cpus, listens)
        proc = vnictest.Proc(command, name=self.NAME)
        try:
            proc.expect(r"Checking link statuses", READY_S)
            proc.send(f"start tx_first {self.TX_FIRST}")
            time.sleep(warmup_s)
            before = self.counters(proc)
            time.sleep(duration_s)
            after = self.counters(proc)
            proc.send("stop")
            proc.expect(r"Done\.", READY_S, since=proc.mark() - 1)
            total = self.forward_stats(proc.output)
            proc.send("quit")
            proc.wait(READY_S)
        except (AssertionError, BrokenPipeError, subprocess.TimeoutExpired) as error:
            raise RunFailed(f"{self.NAME}: {error}; its last lines:\n" + "\n".join(proc.lines[-15:])) from error
        finally:
            if proc.alive():
                proc.kill9()
        seconds = after["time"] - before["time"]
        n_rx = after["rx"] - before["rx"]
        if not n_rx:
            raise RunFailed(f"{self.NAME}: no frame came back")
        tsc_hz = after["mhz"] * 1e6
        return {
            "mpps": n_rx / seconds / 1e6, "seconds": seconds, "tsc_hz": tsc_hz,
            "guest_idle_share": 1 - (after["cycles"] - before["cycles"]) / (seconds * tsc_hz),
            "guest_tsc_per_frame": (after["cycles"] - before["cycles"]) / n_rx,
            "sent": total["tx"], "delivered": total["rx"], "missing": total["tx"] - total["rx"], "wrong": {},
            "paths": sorted(set(re.findall(r"using (.*?) path", proc.output))), "guest_command": command,
        }

    def counters(self, proc):
        """Asked for while it runs. The answer's last line is that of the cycles."""
        mark = proc.mark()
        now = time.monotonic()
        proc.send("show fwd stats all")
        proc.expect(r"CPU cycles/packet=", READY_S, since=mark)
        return {"time": now, **self.forward_stats("\n".join(proc.lines[mark:]))}

    @staticmethod
    def forward_stats(output):
        """Of the last "Accumulated forward statistics" in there."""
        tail = output.rpartition("statistics for all ports")[2]
        counts = {key: re.search(rf"{word}: (\d+)", tail) for key, word in (("rx", "RX-packets"), ("tx", "TX-packets"))}
        m = re.search(r"total cycles=(\d+).* at (\d+) MHz", tail)
        if not (m and all(counts.values())):
            raise RunFailed(f"virtio-user: can't read its statistics: {tail[-600:]}")
        return {**{key: int(found.group(1)) for key, found in counts.items()}, "cycles": int(m.group(1)),
                "mhz": int(m.group(2))}


FRONT_ENDS = {cls.NAME: cls for cls in (NullGuest, VirtioUser)}

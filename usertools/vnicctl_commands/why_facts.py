# SPDX-License-Identifier: BSD-3-Clause
"""What vnicctl why goes by: two looks at a running vnicd, and what lies between them."""
import contextlib
import glob
import time


class Facts:
    """Of one port. `seconds` lie between the two looks; numbers are what has come in them, unless they say otherwise."""

    def __init__(self, port, ports, guest, stats, infos, waits, seconds):
        self.port, self.ports, self.guest = port, ports, guest
        self.stats, self.infos, self.waits, self.seconds = stats, infos, waits, seconds
        self.name = port["name"]

    def drops(self, reason):
        """(now, since the start)"""
        before, after = (look["ports"].get(self.name, {"drops": {}})["drops"].get(reason, 0) for look in self.stats)
        return after - before, after

    def reasons(self):
        return list(self.stats[1]["ports"].get(self.name, {"drops": {}})["drops"])

    def counted(self, name, port=None):
        before, after = (look["ports"].get(port or self.name, {}).get(name, 0) for look in self.stats)
        return after - before

    def lost(self, reason):
        """A sentence of evidence; None: nothing was dropped for this."""
        now, total = self.drops(reason)
        if not total:
            return None
        if now:
            return f"{reason}: {now} frames in the last {self.seconds:.3g} s, {total} since the start"
        return f"{reason}: {total} frames since the start, none in the last {self.seconds:.3g} s"

    def workers(self):
        """Those of the port: (idx, share of their iterations that had frames, iterations a second)."""
        for idx in sorted(set(self.port["workers"])):
            before, after = (next((w for w in info["workers"] if w["idx"] == idx), None) for info in self.infos)
            if before and after:
                turns = after["turns"] - before["turns"]
                yield idx, (after["busy_turns"] - before["busy_turns"]) / turns if turns else 1.0, turns / self.seconds

    def worker(self, idx):
        return next(w for w in self.infos[1]["workers"] if w["idx"] == idx)

    def busiest(self, idx):
        """Ports of a worker, those with the most frames first: (name, frames a second)."""
        rates = [(p["name"], (self.counted("rx_packets", p["name"]) + self.counted("tx_packets", p["name"])) / self.seconds)
                 for p in self.ports if idx in p["workers"]]
        return sorted((r for r in rates if r[1]), key=lambda r: -r[1])


def cpu_waits(pid):
    """Of each lcore's thread, how long it was ready and another ran on its CPU, ns; and steal time of each CPU, ticks."""
    waits, steal = {}, {}
    with contextlib.suppress(OSError, ValueError, IndexError):
        for path in glob.glob(f"/proc/{pid}/task/*/comm"):
            with open(path) as comm, open(path[:-4] + "schedstat") as schedstat:
                name = comm.read().strip()
                if "worker" in name:
                    waits[name.rsplit("-", 1)[-1]] = int(schedstat.read().split()[1])
    with contextlib.suppress(OSError, ValueError, IndexError):
        with open("/proc/stat") as stat:
            for line in stat:
                words = line.split()
                if words[0].startswith("cpu") and words[0] != "cpu":
                    steal[words[0][3:]] = int(words[8])
    return waits, steal


def gather(client, name, seconds):
    port = client.call("port.show", {"name": name})
    guest = client.call("guest.show", {"name": name}) if port["kind"] == "vhost-user" else None
    looks = []
    for i in range(2):
        if i:
            time.sleep(seconds)
        info = client.call("system.info")
        looks.append((client.call("stats.get"), info, cpu_waits(info["pid"])))
    stats, infos, waits = zip(*looks)
    return Facts(port, client.call("port.list"), guest, stats, infos, waits, stats[1]["time"] - stats[0]["time"] or seconds)

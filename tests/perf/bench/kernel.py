# SPDX-License-Identifier: BSD-3-Clause
"""This machine's kernel at the other end of a tap: a network namespace for the back-end, what is sent from there, and
what the kernel counts.

A sink needs no process: frames are for another MAC address, so the kernel's network stack takes them, looks who wants
them, and lets them go. The source is a process (tap_source.py).
"""
import bisect
import ctypes
import os
import pathlib
import subprocess
import sys
import threading
import time

from .machine import NotPossible, RunFailed, vnictest
import netns  # beside vnictest

IFNAME = "tap0"
READY_S = 10
SAMPLE_S = 0.005
SOURCE = pathlib.Path(__file__).with_name("tap_source.py")


class Kernel:
    """A namespace with a tap in it, which the back-end makes; close() it. source: CPU of a process that sends all it
    can; None: there is none."""

    def __init__(self, source=None):
        if os.geteuid() != 0:
            raise NotPossible(netns.NEEDS_ROOT)
        self.space = netns.Netns()
        self.source = source
        self.sender = None
        self.samples = []  # (seconds, {counter: value})
        self.ended = threading.Event()
        self.thread = None

    @property
    def netns(self):
        return self.space.name

    def start(self):
        """When the back-end is there: the tap is up, looked at, and sent to."""
        deadline = time.monotonic() + READY_S
        while subprocess.run(self.space.command("ip", "link", "set", IFNAME, "up"), capture_output=True,
                             check=False).returncode:
            if time.monotonic() > deadline:
                raise RunFailed(f"the back-end made no {IFNAME} in {READY_S} s")
            time.sleep(0.05)
        self.thread = threading.Thread(target=self.sample, daemon=True)
        self.thread.start()
        if self.source is not None:
            self.sender = vnictest.Proc(["taskset", "-c", self.source, sys.executable, SOURCE, IFNAME],
                                        name="source", netns=self.netns)

    def sample(self):
        libc = ctypes.CDLL(None, use_errno=True)
        with open(f"/run/netns/{self.netns}", encoding="ascii") as there:
            if libc.setns(there.fileno(), 0):  # this thread only
                return
        while not self.ended.wait(SAMPLE_S):
            self.samples.append((time.monotonic(), counters()))

    def stop(self):
        """The counters at the end. The back-end is there still."""
        if self.sender:
            self.sender.kill9()
        if self.thread:
            time.sleep(5 * SAMPLE_S)
            self.ended.set()
            self.thread.join()
        return self.samples[-1][1] if self.samples else {}

    def rate(self, key, began_s, seconds):
        """Per second, of what the kernel counted in that time of the monotonic clock; between samples on a straight
        line."""
        deadline = time.monotonic() + READY_S
        while not self.samples or self.samples[-1][0] < began_s + seconds:
            if not self.thread or self.ended.is_set() or time.monotonic() > deadline:
                raise RunFailed("the kernel's counters were not seen until then")
            time.sleep(SAMPLE_S)
        return (self.at(key, began_s + seconds) - self.at(key, began_s)) / seconds

    def at(self, key, when_s):
        i = bisect.bisect_left(self.samples, when_s, key=lambda sample: sample[0])
        if i == 0:
            raise RunFailed("the kernel's counters were not seen from then on")
        (before_s, before), (after_s, after) = self.samples[i - 1], self.samples[i]
        share = (when_s - before_s) / (after_s - before_s)
        return before.get(key, 0) + share * (after.get(key, 0) - before.get(key, 0))

    def close(self):
        self.stop()
        self.space.remove()


def counters():
    """The tap's, in this thread's namespace; {} without it."""
    with open("/proc/thread-self/net/dev", encoding="ascii") as lines:
        for line in lines:
            name, _, rest = line.partition(":")
            if name.strip() == IFNAME:
                n = [int(word) for word in rest.split()]
                return {"rx_bytes": n[0], "rx_packets": n[1], "rx_drops": n[3], "tx_bytes": n[8], "tx_packets": n[9],
                        "tx_drops": n[11]}
    return {}

# SPDX-License-Identifier: BSD-3-Clause
"""vnicctl why: each cause is provoked, and found, with its evidence first."""
import pathlib
import subprocess
import sys
import unittest

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lib"), str(HERE.parent / "hostile"), str(HERE.parents[1] / "usertools")]
import rawfe as fe  # noqa: E402
import vnictest  # noqa: E402
from vnicctl_commands import why, why_causes  # noqa: E402
from vnicctl_commands.client import Client  # noqa: E402
from vnicctl_commands.why_facts import Facts, gather  # noqa: E402

VNICCTL = HERE.parents[1] / "usertools" / "vnicctl"
A, B = bytes([2, 0, 0, 0, 0, 1]), bytes([2, 0, 0, 0, 0, 2])


class Provoked(vnictest.WithGuests, unittest.TestCase):
    def start(self, mode, ports, **options):
        self.vnicd = vnictest.Vnicd(ports, mode)
        self.guests = {}
        self.addCleanup(self.stop)
        self.client = Client(self.vnicd.control, 10)
        self.addCleanup(lambda: (self.client.lines.close(), self.client.sock.close()))
        for name in ports:
            self.guests[name] = fe.RawFrontend(self.vnicd.sock(name), **options).start()

    def answers(self, name, reason=None, doing=None):
        """Since the start; with `doing`, what it does is done first and its drops are there."""
        if doing:
            doing()
        if reason:
            self.vnicd.wait_stats(lambda p: p[name]["drops"].get(reason))
        return {answer["cause"]: answer for answer in why.answers(gather(self.client, name, 0.01))}

    def check(self, name, cause, evidence, reason=None, doing=None):
        found = self.answers(name, reason, doing)
        self.assertIn(cause, found)
        self.assertIn(evidence, found[cause]["evidence"][0])
        self.assertTrue(found[cause]["likely"] and found[cause]["fix"])

    def send(self, size=50):
        self.guests["a"].send_frame(fe.ethernet(bytes(size), dst=B, src=A))

    def test_guest(self):
        self.start("io", {"a": "vhost-user,police-in=1pps,police-in-burst=2", "b": "vhost-user"}, size=16,
                   features=fe.bits(fe.F_INDIRECT, fe.F_VERSION_1, fe.F_PROTOCOL), rx_buffer=1000)
        a, b = self.guests["a"], self.guests["b"]
        self.assertEqual([c for c in self.answers("b") if "CPU" not in c and "worker" not in c], [])
        self.check("a", "policed", "policed_in: ", "policed_in", lambda: [self.send() for _ in range(6)])
        self.vnicd.rpc("port.set", {"name": "a", "options": "police-in=0"})
        self.check("b", "too long", "too_long: 1 frames", "too_long", lambda: self.send(1400))
        self.check("b", "receiver ring full", "no_buffer: ", "no_buffer", lambda: [self.send() for _ in range(20)])
        self.assertIn("its receive rings have 16 entries", self.answers("b")["receiver ring full"]["evidence"])
        self.check("b", "queue disabled", "queue_disabled: 1 ", "queue_disabled", lambda: (b.enable(0, 0), self.send()))
        self.check("b", "link down", "link is down: set so", "link_down",
                   lambda: (b.enable(0, 1), self.vnicd.rpc("port.set", {"name": "b", "link": "down"}), self.send()))
        self.vnicd.rpc("port.set", {"name": "b", "link": "up"})
        self.assertNotIn("link down", self.answers("b"))
        self.check("b", "queue stopped", "queue_stopped: 1 ", "queue_stopped", lambda: (b.stop_ring(0), self.send()))
        self.check("b", "no guest", "not connected: ", "no_guest", lambda: (b.disconnect(), self.wait_gone(), self.send()))
        gpa = a.pairs[0].tx_free.pop(0)
        self.check("a", "guest's chains", "malformed: 1 ", "malformed", lambda: (a.pairs[0].tx.add([fe.D(gpa, 12)], gpa), a.pairs[0].tx.kick_now()))

    def wait_gone(self):
        for _ in range(1000):
            if not self.vnicd.rpc("guest.show", {"name": "b"})["connected"]:
                return

    @pytest.mark.long
    def test_switch(self):
        self.start("switch", {"a": "vhost-user,vlan=10", "b": "vhost-user"})
        tagged = fe.ethernet(b"\x00\x14" + bytes(50), dst=B, src=A, kind=0x8100)
        done = subprocess.run(["/usr/bin/python3", str(VNICCTL), "--socket", self.vnicd.control, "why", "a", "--seconds", "0.1"],
                              capture_output=True, text=True, timeout=20)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotIn("refused on its way", done.stdout)
        self.guests["a"].send_frame(tagged)
        self.vnicd.wait_stats(lambda p: p["a"]["drops"].get("vlan_tagged"))
        done = subprocess.run(["/usr/bin/python3", str(VNICCTL), "--socket", self.vnicd.control, "why", "a", "--seconds", "0.1"],
                              capture_output=True, text=True, timeout=20)
        for words in ("refused on its way (no longer)\n  seen:   vlan_tagged: 1 frames", "a tagged frame from an access port", "  likely: ", "  fix:    "):
            self.assertIn(words, done.stdout)


def look(ports, worker=None, pool=(1000, 10)):
    worker = dict({"idx": 0, "lcore": 1, "cpus": [2], "turns": 1000, "busy_turns": 10, "stands_still": None}, **(worker or {}))
    return {"ports": ports}, {"workers": [worker], "pool": {"size": pool[0], "in_use": pool[1]}}


class FromFacts(unittest.TestCase):
    """Causes that take a busy machine: from numbers as such a one has them."""

    def answers(self, *, drops=None, worker=None, pool=(1000, 10), waits=(({}, {}), ({}, {})), rx=0, **port):
        port = dict({"name": "a", "workers": [0], "connected": None, "link": "up", "describe": "x"}, **port)
        empty = {"rx_packets": 0, "tx_packets": 0, "drops": {}}
        before = look({"a": empty}, {"turns": 0, "busy_turns": 0})
        after = look({"a": dict(empty, rx_packets=rx, drops=drops or {})}, worker, pool)
        facts = Facts(port, [port], None, (before[0], after[0]), (before[1], after[1]), waits, 1.0)
        return {answer["cause"]: answer["evidence"] for answer in why.answers(facts)}

    def test_nothing(self):
        self.assertEqual(self.answers(), {})

    def test_each(self):
        for cause, evidence, facts in (
                ("worker saturated", "worker 0 had frames in 95% of its iterations; its ports: a 7000 frames/s",
                 {"worker": {"busy_turns": 950}, "rx": 7000}),
                ("handoff ring full", "handoff_full: 5 frames", {"drops": {"handoff_full": 5}}),
                ("transmit queue full", "tx_full: 6 frames", {"drops": {"tx_full": 6}}),
                ("packet buffers used up", "990 of 1000 packet buffers are in use", {"pool": (1000, 990)}),
                ("packet buffers used up", "no_clone: 3 frames", {"drops": {"no_clone": 3}}),
                ("filtered", "filtered: 8 frames", {"drops": {"filtered": 8}}),
                ("checksum refused", "bad_offload: 9 frames", {"drops": {"bad_offload": 9}}),
                ("queue broken", "broken: 2 frames", {"drops": {"broken": 2}}),
                ("link down", "link is down: no carrier", {"link": "down"}),
                ("worker waits", "worker 0 stands still for 3.0 s in the driver of port up0",
                 {"worker": {"stands_still": {"seconds": 3.0, "port": "up0", "queue": 0}}}),
                ("CPU taken away", "worker 0 was ready and did not run for 30%", {"waits": (({"1": 0}, {}), ({"1": 3e8}, {}))}),
                ("CPU taken away", "CPU 2 of worker 0 was taken by the hypervisor for 20%", {"waits": (({}, {"2": 5}), ({}, {"2": 25}))})):
            with self.subTest(cause):
                found = self.answers(**facts)
                self.assertEqual(list(found), [cause])
                self.assertIn(evidence, found[cause][0])

    def test_all_reasons_have_a_row(self):
        rows = (HERE.parents[1] / "lib/port/drops.def").read_text()
        self.assertEqual({name for name in why_causes.KNOWN if f'"{name}"' not in rows}, set())


if __name__ == "__main__":
    unittest.main(verbosity=2)

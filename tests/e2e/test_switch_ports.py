# SPDX-License-Identifier: BSD-3-Clause
"""Keys that the switch gives to its ports."""
import os
import pathlib
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lib"), str(HERE.parent / "hostile")]
import rawfe as fe  # noqa: E402
import vnictest  # noqa: E402

MACS = {name: bytes([2, 0, 0, 0, 0, i]) for i, name in enumerate(("a", "b", "up"), 1)}
BROADCAST = b"\xff" * 6


class Isolated(unittest.TestCase):
    """Two isolated guests, a and b, and a third that stands for the uplink."""

    def setUp(self):
        self.vnicd = vnictest.Vnicd({"a": "vhost-user,isolated=on", "b": "vhost-user,isolated=on", "up": "vhost-user"}, "switch")
        self.guests = {}
        self.addCleanup(self.stop)
        for name in MACS:
            self.guests[name] = fe.RawFrontend(self.vnicd.sock(name)).start()
        for name in MACS:
            self.send(name, BROADCAST)
        # Until all addresses are known.
        self.vnicd.wait_stats(lambda ports: self.flooded_no_more())
        self.drain()

    def stop(self):
        for guest in self.guests.values():
            guest.close()
        self.assertEqual(self.vnicd.stop(), 0, self.vnicd.output)

    def flooded_no_more(self):
        before = self.vnicd.stats()["up"]["copies"]
        for name in ("a", "b"):
            self.send("up", MACS[name])
        return self.vnicd.stats()["up"]["copies"] == before

    def send(self, source, to):
        frame = fe.ethernet(os.urandom(50), dst=to, src=MACS[source])
        self.guests[source].send_frame(frame)
        return frame

    def drain(self):
        for guest in self.guests.values():
            guest.drain(0.05)

    def got(self, name, timeout=0.3):
        try:
            return self.guests[name].receive_frame(timeout=timeout)
        except fe.Silent:
            return None

    def test_what_passes(self):
        self.assertEqual(self.vnicd.rpc("port.show", {"name": "a"})["options"]["isolated"], True)
        for source, to in (("a", "up"), ("b", "up"), ("up", "a"), ("up", "b")):
            frame = self.send(source, MACS[to])
            self.assertEqual(self.got(to), frame, (source, to))
        for source, to in (("a", "b"), ("b", "a")):
            self.send(source, MACS[to])
            self.assertIsNone(self.got(to), (source, to))
            self.assertEqual(self.vnicd.stats()[source]["drops"]["isolated"], 1)
            frame = self.send(source, BROADCAST)
            self.assertEqual(self.got("up"), frame)
            self.assertIsNone(self.got(to), (source, to))
        frame = self.send("up", BROADCAST)
        self.assertEqual((self.got("a"), self.got("b")), (frame, frame))

    def test_of_ports_that_come_later(self):
        self.vnicd.rpc("port.add", {"config": "c=vhost-user,isolated=on"})
        self.guests["c"] = fe.RawFrontend(self.vnicd.sock("c")).start()
        frame = self.send("a", BROADCAST)
        self.assertEqual(self.got("up"), frame)
        self.assertIsNone(self.got("c"))

    def test_of_the_switch_only(self):
        run = vnictest.Vnicd({"x": "vhost-user", "y": "vhost-user"}, "io")
        self.addCleanup(run.stop)
        with self.assertRaisesRegex(vnictest.RpcError, "isolated' is for --forward-mode switch only"):
            run.rpc("port.add", {"config": "z=vhost-user,isolated=on"})


if __name__ == "__main__":
    unittest.main(verbosity=2)

# SPDX-License-Identifier: BSD-3-Clause
"""Keys that the switch gives to its ports."""
import os
import pathlib
import subprocess
import sys
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lib"), str(HERE.parent / "hostile")]
import rawfe as fe  # noqa: E402
import vnictest  # noqa: E402

MACS = {name: bytes([2, 0, 0, 0, 0, i]) for i, name in enumerate(("a", "b", "up"), 1)}
VNICCTL = HERE.parents[1] / "usertools" / "vnicctl"
BROADCAST = b"\xff" * 6


class Isolated(vnictest.WithGuests, unittest.TestCase):
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


class Vlans(unittest.TestCase):
    """Through the control socket and vnicctl; what frames do is test_vlan_reference's."""
    PORTS = {"a": "vhost-user,vlan=10", "b": "vhost-user,vlan=20", "up": "vhost-user,trunk=10+20-30,native=30", "q": "vhost-user,qinq=7",
             "plain": "vhost-user"}

    def setUp(self):
        self.vnicd = vnictest.Vnicd(self.PORTS, "switch,entries=100")
        self.addCleanup(lambda: self.assertEqual(self.vnicd.stop(), 0, self.vnicd.output))

    def refused(self, method, params, cause, hint=""):
        with self.assertRaises(vnictest.RpcError) as caught:
            self.vnicd.rpc(method, params)
        self.assertRegex(str(caught.exception), cause)
        self.assertIn(hint, caught.exception.error["data"]["hint"] or "")

    def ctl(self, *args):
        done = subprocess.run([str(VNICCTL), "--socket", self.vnicd.control, *args], capture_output=True, text=True, timeout=20)
        return done.returncode, done.stdout + done.stderr

    def test_set(self):
        def line(name):
            return self.vnicd.rpc("port.show", {"name": name})["config"]

        def set_(name, options):
            return self.vnicd.rpc("port.set", {"name": name, "options": options})["config"]
        self.assertEqual(line("up"), "up=vhost-user,trunk=10+20-30,native=30")
        # Who says anew what the port is says all of it.
        self.assertEqual(set_("up", "native=20"), "up=vhost-user,trunk=10+20-30,native=20")
        self.assertEqual(set_("up", "qinq=0"), "up=vhost-user,trunk=10+20-30,native=20,qinq=0")
        self.assertEqual(set_("up", "trunk=10+40"), "up=vhost-user,trunk=10+40")
        self.assertEqual(set_("up", "vlan=9"), "up=vhost-user,vlan=9")
        self.assertEqual(set_("up", "isolated=on"), "up=vhost-user,isolated=on,vlan=9")
        self.assertEqual(set_("up", "qinq=100,isolated=off"), "up=vhost-user,isolated=off,qinq=100")
        self.assertEqual(set_("a", "police-in=1gbit,vlan=11"), "a=vhost-user,police-in=1gbit,vlan=11")
        # What is said of a limit's end goes with the limit.
        self.assertEqual(set_("q", "learn-limit=3,learn-full=drop"), "q=vhost-user,qinq=7,learn-limit=3,learn-full=drop")
        self.assertEqual(set_("q", "learn-limit=4"), "q=vhost-user,qinq=7,learn-limit=4,learn-full=drop")
        self.assertEqual(set_("q", "learn-limit=0"), "q=vhost-user,qinq=7,learn-limit=0")
        # Refused, and nothing has changed.
        for options, cause, hint in (
                ("native=20", "native= is for a trunk", "vlan=20, or trunk=1-4094,native=20"),
                ("vlan=10,trunk=20", "vlan= and trunk= contradict", "vlan=10, or trunk=20,native=10"),
                ("vlan=5000", "vlan: 5000 is not in 0..4094", "vlan=4094"),
                ("vlna=10", "has no key 'vlna'", "vlan=10"),
                ("police-in=5mbit,trunk=0", "trunk: 0 is not in 1..4094", "trunk=1"),
                ("queues=2", "'queues' is fixed while the port is open", "")):
            self.refused("port.set", {"name": "b", "options": options}, cause, hint)
            self.assertEqual(line("b"), "b=vhost-user,vlan=20")
        self.refused("port.add", {"config": "x=vhost-user,vlan=1,qinq=2"}, "port x: vlan= and qinq= contradict")
        self.assertEqual(len(self.vnicd.rpc("port.list")), 5)
        self.assertEqual(self.ctl("port", "set", "b", "vlan=10"), (0, "b=vhost-user,vlan=10\n"))
        self.assertEqual(self.ctl("port", "set", "b", "vlan=30", "police-in=1gbit"), (0, "b=vhost-user,police-in=1gbit,vlan=30\n"))
        self.assertEqual(self.ctl("port", "set", "b", "vlan=10,police-in=0")[0], 0)
        status, output = self.ctl("port", "set", "b", "vlan=x")
        self.assertEqual(status, 1)
        self.assertIn("vlan=", output)
        self.assertIn("set: vlan=10", self.vnicd.output)

    def test_fdb(self):
        macs = [f"52:54:00:00:00:{i:02x}" for i in range(8)]

        def table(**params):
            return sorted((s["vlan"], s["mac"].lower(), s["port"]) for s in self.vnicd.rpc("fdb.list", params or None)["stations"])
        # In the VLAN of the port's untagged frames, where none is named.
        for port, vlan in (("a", "10"), ("b", "20"), ("up", "30"), ("q", "s7"), ("plain", "0")):
            self.assertEqual(self.vnicd.rpc("fdb.add", {"port": port, "mac": macs[0]})["vlan"], vlan)
        self.vnicd.rpc("fdb.add", {"port": "up", "mac": macs[1], "vlan": "20"})
        self.vnicd.rpc("fdb.add", {"port": "up", "mac": macs[1], "vlan": "s20"})
        self.assertEqual(table(port="up"), [("20", macs[1], "up"), ("30", macs[0], "up"), ("s20", macs[1], "up")])
        self.assertEqual(table(vlan="20"), [("20", macs[0], "b"), ("20", macs[1], "up")])
        self.refused("fdb.add", {"port": "a", "mac": macs[2], "vlan": "20"}, "port a does not have VLAN 20")
        self.refused("fdb.add", {"port": "a", "mac": macs[2], "vlan": "4095"}, "'4095' is no VLAN", "s100")
        self.refused("fdb.add", {"port": "a", "mac": "01:00:5e:00:00:01"}, "mac")
        self.refused("fdb.delete", {"mac": macs[3], "vlan": "20"}, "is not known in VLAN 20")
        # Of a trunk without native=, one has to be named.
        self.vnicd.rpc("port.set", {"name": "up", "options": "trunk=10+20"})
        self.refused("fdb.add", {"port": "up", "mac": macs[2]}, "which VLAN", "vlan=10")
        # What it no longer has is gone, static or not.
        self.assertEqual(table(port="up"), [("20", macs[1], "up"), ("s20", macs[1], "up")])
        self.assertEqual(self.vnicd.rpc("fdb.flush"), {"forgotten": 0})
        self.vnicd.rpc("fdb.delete", {"mac": macs[1], "vlan": "s20"})
        status, output = self.ctl("fdb", "list")
        self.assertEqual(status, 0, output)
        self.assertEqual([row.split() for row in output.splitlines()[1:]],
                         [["-", macs[0], "plain", "static"], ["10", macs[0], "a", "static"], ["20", macs[0], "b", "static"],
                          ["20", macs[1], "up", "static"], ["s7", macs[0], "q", "static"]])
        self.assertEqual(self.ctl("fdb", "add", "a", macs[5])[0], 0)
        self.assertEqual(self.ctl("fdb", "delete", macs[5], "vlan=10")[0], 0)
        self.assertEqual(self.ctl("fdb", "delete", macs[5], "vlan=10")[0], 1)
        self.assertEqual(self.ctl("fdb", "flush", "port=a", "vlan=10"), (0, "0 forgotten\n"))
        self.assertEqual(self.ctl("fdb", "list", "mac=1")[0], 2)
        # What was learnt goes by flush, and its age is told.
        with fe.RawFrontend(self.vnicd.sock("a")).start() as guest:
            guest.send_frame(fe.ethernet(bytes(50), src=bytes.fromhex(macs[6].replace(":", ""))))
            for _ in range(200):
                learnt = [s for s in self.vnicd.rpc("fdb.list")["stations"] if not s["static"]]
                if learnt:
                    break
                time.sleep(0.01)
            self.assertEqual([(s["mac"].lower(), s["vlan"], s["port"]) for s in learnt], [(macs[6], "10", "a")])
            self.assertLess(learnt[0]["age"], 30)
            self.assertEqual(self.vnicd.rpc("fdb.flush", {"port": "a"}), {"forgotten": 1})
        # Full.
        with self.assertRaisesRegex(vnictest.RpcError, "the table is full: 100 stations"):
            for i in range(200):
                self.vnicd.rpc("fdb.add", {"port": "plain", "mac": f"52:54:00:00:01:{i:02x}"})

    def test_limits(self):
        """A limit of stations, and a loop: told by fdb ports, the counters and the log."""
        def port(name):
            return next(p for p in self.vnicd.rpc("fdb.ports") if p["port"] == name)
        self.vnicd.rpc("port.set", {"name": "a", "options": "vlan=10,learn-limit=3,learn-full=drop"})
        self.vnicd.rpc("port.set", {"name": "b", "options": "vlan=10"})
        with fe.RawFrontend(self.vnicd.sock("a")).start() as a, fe.RawFrontend(self.vnicd.sock("b")).start() as b:
            for i in range(20):
                a.send_frame(fe.ethernet(bytes(50), dst=BROADCAST, src=bytes([2, 9, 0, 0, 0, i])))
                time.sleep(0.02)
            self.assertEqual((port("a")["learnt"], port("a")["limit"]), (3, 3))
            drops = self.vnicd.stats()["a"]["drops"]["stranger"]
            self.assertGreater(drops, 10)
            # What b says is a's station, over and over.
            for _ in range(40):
                a.send_frame(fe.ethernet(bytes(50), dst=BROADCAST, src=bytes([2, 9, 0, 0, 0, 0])))
                time.sleep(0.015)
                b.send_frame(fe.ethernet(bytes(50), dst=BROADCAST, src=bytes([2, 9, 0, 0, 0, 0])))
                time.sleep(0.015)
            self.assertTrue(port("b")["held"])
            self.assertFalse(port("a")["held"])
            self.assertGreaterEqual(port("b")["moves"], 5)
            self.assertGreater(self.vnicd.stats()["b"]["drops"]["held"], 5)
            self.assertIn("port b: held: station 02:09:00:00:00:00 in VLAN 10 moves to it and back", self.vnicd.output)
            status, output = self.ctl("fdb", "ports")
            self.assertEqual(status, 0, output)
            self.assertIn(["b", "0", "-", str(port("b")["moves"]), "yes", "1"], [row.split() for row in output.splitlines()])

    def test_of_the_switch_only(self):
        run = vnictest.Vnicd({"x": "vhost-user", "y": "vhost-user"}, "io")
        self.addCleanup(run.stop)
        with self.assertRaisesRegex(vnictest.RpcError, "mode io has no forwarding database"):
            run.rpc("fdb.list")
        with self.assertRaisesRegex(vnictest.RpcError, "has no key 'vlan'|vlan' is for --forward-mode switch only"):
            run.rpc("port.set", {"name": "x", "options": "vlan=3"})


if __name__ == "__main__":
    unittest.main(verbosity=2)

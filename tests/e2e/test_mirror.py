# SPDX-License-Identifier: BSD-3-Clause
"""Mirrors: exact copies of the frames that they are for, and nobody waits for who looks at them."""
import os
import pathlib
import struct
import subprocess
import sys
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lib"), str(HERE.parent / "hostile")]
import rawfe as fe  # noqa: E402
import vnictest  # noqa: E402

VNICCTL = HERE.parents[1] / "usertools" / "vnicctl"
MAC = {name: bytes([2, 0, 0, 0, 0, i]) for i, name in enumerate(("a", "b", "cap"), 1)}
BROADCAST = b"\xff" * 6


class Mirrors(vnictest.WithGuests, unittest.TestCase):
    # What the switch floods stays away from `cap`, in a VLAN of its own.
    PORTS = {"a": "vhost-user", "b": "vhost-user", "cap": "vhost-user,vlan=4000"}

    def start(self, ports=None, workers=1, **kwargs):
        cpus = vnictest.cpus()
        eal = ["--lcores", f"0@{cpus[-1]}," + ",".join(f"{1 + i}@{cpus[i % len(cpus)]}" for i in range(workers)), "--no-pci",
               "--no-huge", "-m", "256", "--no-shconf", "--no-telemetry", "--file-prefix", "vnictest"]
        self.vnicd = vnictest.Vnicd(ports or self.PORTS, "switch", eal=eal, **kwargs)
        self.guests = {}
        self.addCleanup(self.stop)
        for name in ports or self.PORTS:
            self.attach(name)

    def attach(self, name, **options):
        self.guests[name] = fe.RawFrontend(self.vnicd.sock(name), **options).start()

    def mirror(self, line):
        return self.vnicd.rpc("mirror.add", {"config": line})

    def counters(self, name="m0"):
        mirror = next(m for m in self.vnicd.rpc("mirror.list") if m["name"] == name)
        return mirror["matched"], mirror["sent"], mirror["lost"]

    def send(self, source, frame):
        self.guests[source].send_frame(frame)
        return frame

    def got(self, name="cap", timeout=0.3):
        try:
            return self.guests[name].receive_frame(timeout=timeout)
        except fe.Silent:
            return None

    def check_sum(self):
        """Every copy is in somebody's counters."""
        ports = self.vnicd.stats().values()
        self.assertEqual(sum(p["rx_packets"] + p.get("copies", 0) for p in ports),
                         sum(p["tx_packets"] + sum(p["drops"].values()) for p in ports))

    def udp(self, source, to, port, size=50):
        udp = struct.pack("!HHHH", 1000, port, 8 + size, 0) + os.urandom(size)
        ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2]))
        return fe.ethernet(ip + udp, dst=MAC[to], src=MAC[source], kind=0x800)

    def learn(self):
        for name in ("a", "b"):
            self.send(name, fe.ethernet(bytes(50), dst=BROADCAST, src=MAC[name]))
        for _ in range(100):
            if len(self.vnicd.rpc("fdb.list")["stations"]) == 2:
                break
            time.sleep(0.01)
        for guest in self.guests.values():
            guest.drain(0.05)

    def check_directions(self):
        self.learn()
        for direction, seen in (("in", {"a"}), ("out", {"b"}), ("both", {"a", "b"})):
            self.mirror(f"m0,from=a,direction={direction},to=cap")
            for source, to in (("a", "b"), ("b", "a")):
                for size in (40, 700, 1900):
                    frame = self.send(source, fe.ethernet(os.urandom(size), dst=MAC[to], src=MAC[source]))
                    self.assertEqual(self.got(to), frame)
                    self.assertEqual(self.got(timeout=2 if source in seen else 0.1), frame if source in seen else None)
            self.assertEqual(self.counters(), (3 * len(seen), 3 * len(seen), 0))
            self.vnicd.rpc("mirror.remove", {"name": "m0"})
            self.send("a", fe.ethernet(bytes(50), dst=MAC["b"], src=MAC["a"]))
            self.assertIsNone(self.got(timeout=0.1))
            self.guests["b"].drain(0.05)
        self.check_sum()

    def test_directions(self):
        self.start()
        self.check_directions()

    def test_directions_over_a_ring(self):
        """With workers of their own for each, copies go over the ring."""
        self.start(workers=3)
        self.check_directions()

    def test_filter_vlan_and_sample(self):
        self.start({"a": "vhost-user,trunk=10+20", "b": "vhost-user,vlan=10", "cap": "vhost-user,vlan=4000"})
        self.mirror("m0,from=a+b,filter=vlan and udp port 53,direction=in,to=cap")
        self.mirror("m1,from=b,vlan=10,direction=out,to=cap")

        def tagged(vid, frame):
            return frame[:12] + struct.pack("!HH", 0x8100, vid) + frame[12:]
        for vid, port, n in ((10, 53, 2), (10, 54, 1), (20, 53, 1), (20, 54, 0)):
            frame = self.udp("a", "b", port)
            self.send("a", tagged(vid, frame))
            want = ([tagged(vid, frame)] if port == 53 else []) + ([frame] if vid == 10 else [])
            self.assertEqual(len(want), n)
            self.assertEqual([self.got(timeout=2) for _ in want], want)
            self.assertIsNone(self.got(timeout=0.1))
        # Comes from b without a tag, where m0's expression wants one; goes to a, of which nobody wants to know.
        self.send("b", self.udp("b", "a", 53))
        self.assertIsNone(self.got(timeout=0.1))
        self.assertEqual((self.counters("m0"), self.counters("m1")), ((2, 2, 0), (2, 2, 0)))
        for name in ("m0", "m1"):
            self.vnicd.rpc("mirror.remove", {"name": name})
        self.mirror("m2,from=b,sample=5,to=cap,direction=in")
        frames = [self.send("b", fe.ethernet(struct.pack("!I", i) + bytes(50), dst=BROADCAST, src=MAC["b"])) for i in range(23)]
        self.assertEqual([self.got(timeout=2) for _ in range(5)], frames[::5])
        self.assertEqual(self.counters("m2"), (23, 5, 0))
        self.check_sum()

    def test_vlan_of_what_has_a_second_tag(self):
        """It goes out of an access port with that tag, and is in the port's VLAN all the same."""
        self.start({"a": "vhost-user,trunk=10+20", "b": "vhost-user,vlan=10", "cap": "vhost-user,vlan=4000"})
        self.mirror("m0,from=b,vlan=10,direction=out,to=cap")
        frame = fe.ethernet(bytes(50), dst=MAC["b"], src=MAC["a"])
        self.send("a", frame[:12] + b"\x81\x00\x00\x0a\x81\x00\x00\x14" + frame[12:])
        self.assertEqual(self.got("b", timeout=2), frame[:12] + b"\x81\x00\x00\x14" + frame[12:])
        self.assertEqual(self.got(timeout=2), frame[:12] + b"\x81\x00\x00\x14" + frame[12:])
        self.check_sum()

    def test_policers_come_first(self):
        """Also where they came later: what is policed is not seen."""
        self.start()
        self.mirror("m0,from=a+b,to=cap")
        for name, options, seen in (("a", "police-in=1pps,police-in-burst=1", 2), ("b", "police-out=1pps,police-out-burst=1", 1)):
            self.vnicd.rpc("port.set", {"name": name, "options": options})
            matched, ports = self.counters()[0], self.vnicd.stats()
            for i in range(20):
                self.send("a", fe.ethernet(struct.pack("!I", i) + bytes(50), dst=BROADCAST, src=MAC["a"]))

            def dropped(now):
                return sum(now[name]["drops"].values()) - sum(ports[name]["drops"].values())
            now = self.vnicd.wait_stats(lambda p: p["b"]["tx_packets"] - ports["b"]["tx_packets"] + dropped(p) == 20)
            self.assertGreater(dropped(now), 10)
            self.assertEqual(self.counters()[0] - matched, 40 - seen * dropped(now))
            self.vnicd.rpc("port.set", {"name": name, "options": "police-in=0,police-out=0"})
            for guest in self.guests.values():
                guest.drain(0.05)
        self.check_sum()

    def test_long_frames_and_deep_expressions(self):
        """Of frames that are borrowed, all is there to be looked at, and the copy is whole."""
        self.start()
        self.learn()
        self.mirror("m0,from=a,direction=in,filter=ether[1000] = 7,to=cap")
        self.mirror("m1,from=a,direction=in,filter=ether[ether[14]] = 9,to=cap")
        self.mirror("m2,from=a,direction=in,filter=greater 1400,to=cap")
        for at, value, seen in ((1000, 7, 1), (1000, 8, 0), (200, 9, 1), (201, 9, 0)):
            payload = bytearray(1200)
            payload[0] = 200
            payload[at - 14] = value
            frame = self.send("a", fe.ethernet(bytes(payload), dst=MAC["b"], src=MAC["a"]))
            self.assertEqual(self.got("b"), frame)
            self.assertEqual(self.got(timeout=2 if seen else 0.1), frame if seen else None)
        frame = self.send("a", fe.ethernet(os.urandom(1500), dst=MAC["b"], src=MAC["a"]))
        self.assertEqual(self.got("b"), frame)
        self.assertEqual(self.got(timeout=2), frame)
        self.assertEqual(self.counters("m2"), (1, 1, 0))
        self.check_sum()

    def test_who_looks_is_slow(self):
        """It has no buffers left, then is gone: its own counters say so, and nobody else's."""
        self.start()
        self.learn()
        self.guests["cap"].close()
        self.attach("cap", size=16)
        self.mirror("m0,from=a+b,direction=in,to=cap")
        for i in range(200):
            frame = self.send("a", fe.ethernet(struct.pack("!I", i) + bytes(50), dst=MAC["b"], src=MAC["a"]))
            self.assertEqual(self.got("b"), frame)
        stats = self.vnicd.stats()
        self.assertEqual(self.counters(), (200, 200, 0))
        self.assertEqual(stats["cap"]["tx_packets"] + stats["cap"]["drops"].get("no_buffer", 0), 200)
        self.assertGreater(stats["cap"]["drops"]["no_buffer"], 100)
        self.assertEqual((stats["a"]["drops"], stats["b"]["drops"]), ({}, {}))
        self.check_sum()
        # Removed, and there again.
        self.guests.pop("cap").close()
        self.vnicd.rpc("port.remove", {"name": "cap"})
        self.assertFalse(self.vnicd.rpc("mirror.list")[0]["active"])
        self.send("a", fe.ethernet(bytes(50), dst=MAC["b"], src=MAC["a"]))
        self.assertIsNotNone(self.got("b"))
        self.vnicd.rpc("port.add", {"config": "cap=vhost-user,vlan=4000"})
        self.attach("cap")
        self.assertTrue(self.vnicd.rpc("mirror.list")[0]["active"])
        frame = self.send("b", fe.ethernet(bytes(60), dst=MAC["a"], src=MAC["b"]))
        self.assertEqual(self.got(timeout=2), frame)
        # The same of a port that is watched.
        self.guests.pop("a").close()
        self.vnicd.rpc("port.remove", {"name": "a"})
        frame = self.send("b", fe.ethernet(bytes(61), dst=BROADCAST, src=MAC["b"]))
        self.assertEqual(self.got(timeout=2), frame)
        self.vnicd.rpc("port.add", {"config": "a=vhost-user"})
        self.attach("a")
        frame = self.send("a", fe.ethernet(bytes(62), dst=BROADCAST, src=MAC["a"]))
        self.assertEqual(self.got(timeout=2), frame)
        self.assertEqual(self.counters(), (203, 203, 0))

    def test_lines(self):
        self.start(extra=["--mirror", "m0,from=a,to=cap"])
        self.assertEqual([(m["config"], m["active"]) for m in self.vnicd.rpc("mirror.list")], [("m0,from=a,to=cap", True)])
        for line, cause, hint in (
                ("m0,from=b,to=cap", "mirror m0: there is a mirror of this name", "remove it first"),
                ("m1,from=b", "mirror m1: to is not given", "m1,from=vm0+vm1,to=cap0"),
                ("m1,to=cap", "mirror m1: from is not given", "m1,from=vm0+vm1,to=cap0"),
                ("m1,from=bb,to=cap", "mirror m1: from: there is no port 'bb'", "from=b"),
                ("m1,from=b,to=cab", "mirror m1: to: there is no port 'cab'", "to=cap"),
                ("m1,from=a+b,to=a", "mirror m1: port a would get copies of its copies", "leave it out of from="),
                ("m1,from=cap,to=b", "mirror m1: port cap is of mirror m0", "remove mirror m0 first"),
                ("m1,from=b,to=a", "mirror m1: port a is of mirror m0", "remove mirror m0 first"),
                ("m1,from=b,to=cap,vlan=x", "mirror m1: vlan: 'x' is no VLAN", "vlan=10"),
                ("m1,from=b,to=cap,filter=udp prot 53", "mirror m1: filter: ", "pcap-filter"),
                ("m1,from=b,to=cap,sample=0", "mirror m1: sample: 0 is not in", "sample=1"),
                ("m1,frm=b,to=cap", "mirror m1: a mirror has no key 'frm'", "from"),
                ("m/1,from=b,to=cap", "mirror m/1: that is no name", "m0,from=vm0,to=cap0")):
            with self.subTest(line), self.assertRaises(vnictest.RpcError) as caught:
                self.mirror(line)
            self.assertIn(cause, str(caught.exception))
            self.assertIn(hint, caught.exception.error["data"]["hint"])
        self.assertEqual(len(self.vnicd.rpc("mirror.list")), 1)

        def ctl(*args):
            done = subprocess.run([str(VNICCTL), "--socket", self.vnicd.control, *args], capture_output=True, text=True, timeout=20)
            return done.returncode, done.stdout + done.stderr
        self.assertEqual(ctl("mirror", "add", "m1", "from=b", "to=cap", "filter=host 10.0.0.1 and (tcp or udp)"),
                         (0, "m1,from=b,to=cap,filter=host 10.0.0.1 and (tcp or udp)\n"))
        self.assertEqual(ctl("mirror", "add", "m2", "from=b", "to=cap", "filter=tcp[0:2] in {80, 81}")[0], 1)
        status, output = ctl("mirror", "list")
        self.assertEqual((status, [row.split()[:5] for row in output.splitlines()]),
                         (0, [["mirror", "active", "matched", "sent", "lost"], ["m0", "yes", "0", "0", "0"], ["m1", "yes", "0", "0", "0"]]))
        self.assertEqual(ctl("mirror", "remove", "m0"), (0, "m0: removed\n"))
        self.assertEqual(ctl("mirror", "remove", "m0")[0], 1)
        failed = vnictest.Vnicd({"x": "vhost-user", "y": "vhost-user"}, "io", extra=["--mirror", "m,from=x,to=z"], wait=False)
        self.assertNotEqual(failed.wait(), 0)
        self.assertIn("mirror m: to: there is no port 'z'", failed.output)


if __name__ == "__main__":
    unittest.main(verbosity=2)

# SPDX-License-Identifier: BSD-3-Clause
"""police-in= and police-out=: guests, whose frames are numbered, and a NIC that floods."""
import os
import pathlib
import sys
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lib"), str(HERE.parent / "hostile")]
import rawfe as fe  # noqa: E402
import vnictest  # noqa: E402

PER_S = 100_000
FRAME = 64
# A second's worth: no pause of this machine fills the bucket meanwhile.
BURST = PER_S


class Guests(unittest.TestCase):
    """a and b: of twenty long frames at once, ten pass, and they are the first."""

    def carry(self, a, b):
        vnicd = vnictest.Vnicd({"a": "vhost-user" + a, "b": "vhost-user" + b})
        self.addCleanup(lambda: self.assertEqual(vnicd.stop(), 0, vnicd.output))
        guests = [fe.RawFrontend(vnicd.sock(name)).start() for name in "ab"]
        for guest in guests:
            self.addCleanup(guest.close)
        frames = [fe.ethernet(bytes([i]) + os.urandom(1300)) for i in range(20)]
        for frame in frames:
            guests[0].send_frame(frame)
        got = []
        while len(got) < len(frames):
            try:
                got.append(guests[1].receive_frame(timeout=0.5))
            except fe.Silent:
                break
        self.assertEqual(got, frames[:len(got)])
        # Back: it is the limit of neither.
        guests[1].send_frame(frames[19])
        self.assertEqual(guests[0].receive_frame(timeout=2), frames[19])
        return len(got), vnicd.stats()

    def test_in(self):
        n, stats = self.carry(",police-in=1pps,police-in-burst=10", "")
        self.assertIn(n, range(10, 15))
        self.assertEqual((stats["a"]["rx_packets"], stats["a"]["drops"]["policed_in"]), (20, 20 - n))
        self.assertEqual((stats["b"]["tx_packets"], stats["b"]["drops"]), (n, {}))

    def test_out(self):
        n, stats = self.carry("", ",police-out=8bit,police-out-burst=3000")
        self.assertEqual(n, 3)
        self.assertEqual((stats["a"]["rx_packets"], stats["a"]["drops"]), (20, {}))
        self.assertEqual((stats["b"]["tx_packets"], stats["b"]["drops"]["policed_out"]), (3, 17))


class Flood(unittest.TestCase):
    """A NIC gives frames without end; another takes them. What passes in an interval is the rate."""

    def rate(self, a, b, reason, port):
        vnicd = vnictest.Vnicd({"a": f"nic,vdev=net_null0,vdev.size={FRAME}{a}", "b": f"nic,vdev=net_null1{b}"})
        self.addCleanup(lambda: self.assertEqual(vnicd.stop(), 0, vnicd.output))
        vnicd.wait_stats(lambda ports: ports[port]["drops"].get(reason, 0) > 0)
        start = time.monotonic()
        first = vnicd.stats()["b"]["tx_packets"]
        inner = time.monotonic()
        time.sleep(2)
        inner = time.monotonic() - inner
        ports = vnicd.stats()
        outer = time.monotonic() - start
        passed = ports["b"]["tx_packets"] - first
        # But for frames of a burst that are in the program, and what the clocks differ by.
        self.assertGreaterEqual(passed, PER_S * inner * 0.995 - 64)
        self.assertLessEqual(passed, PER_S * outer * 1.005 + 64)
        return ports

    def test_frames_in(self):
        ports = self.rate(f",police-in={PER_S // 1000}kpps,police-in-burst={BURST}", "", "policed_in", "a")
        self.assertEqual(set(ports["a"]["drops"]), {"policed_in"})

    def test_bits_out(self):
        bits = f",police-out={PER_S * FRAME * 8 // 1000}kbit,police-out-burst={BURST * FRAME}"
        ports = self.rate("", bits, "policed_out", "b")
        self.assertEqual((ports["a"]["drops"], set(ports["b"]["drops"])), ({}, {"policed_out"}))


    def test_changed(self):
        """Under traffic, again and again: nothing is lost but by the limits, and the last one holds."""
        vnicd = vnictest.Vnicd({"a": "nic,vdev=net_null0", "b": "nic,vdev=net_null1"})
        self.addCleanup(lambda: self.assertEqual(vnicd.stop(), 0, vnicd.output))

        def change(options):
            return vnicd.rpc("port.set", {"name": "a", "options": options})["config"]

        for i in range(50):
            self.assertEqual(change(f"police-in={i + 1}kpps,police-in-burst=8,police-out=1mbit"),
                             f"a=nic,police-in={i + 1}kpps,police-in-burst=8,police-out=1mbit,vdev=net_null0")
            self.assertEqual(change("police-in=7mbit,police-out=0"), "a=nic,police-in=7mbit,vdev=net_null0")
        self.assertEqual(change("police-in=0"), "a=nic,vdev=net_null0")
        time.sleep(0.1)
        before = vnicd.stats()
        self.assertGreater(vnicd.wait_stats(lambda ports: ports["b"]["tx_packets"] > before["b"]["tx_packets"] + 10000)
                           ["b"]["tx_packets"], 0)
        self.assertEqual(vnicd.stats()["a"]["drops"], before["a"]["drops"])
        change("police-in=1pps")
        # What the default burst had is gone with the first poll.
        vnicd.wait_stats(lambda ports: ports["a"]["drops"]["policed_in"] > before["a"]["drops"]["policed_in"])
        passed = vnicd.stats()["b"]["tx_packets"]
        time.sleep(0.5)
        self.assertLessEqual(vnicd.stats()["b"]["tx_packets"], passed + 2)
        for options, cause in (("queues=2", "key 'queues' is fixed while the port is open"),
                               ("vdev=net_null7", "key 'vdev' is fixed while the port is open"),
                               ("polise-in=1pps", "an open port has no key 'polise-in'"),
                               ("police-out-burst=9", "police-out-burst is given, and police-out is not"),
                               ("", "nothing stands next to a comma")):
            with self.assertRaisesRegex(vnictest.RpcError, cause):
                change(options)


class Lines(unittest.TestCase):
    """Ports that come and go with a limit, under traffic, and lines that contradict themselves."""

    def test_refused_and_shown(self):
        run = vnictest.Vnicd({"x": "vhost-user"}, "switch")
        self.addCleanup(run.stop)
        for line, cause in (("police-in-burst=4k", "police-in-burst is given, and police-in is not"),
                            ("police-in=fast", "police-in: 'fast' is not a number"),
                            ("police-out=2000gbit", "police-out: 2000gbit is not in"),
                            ("police-in=8kbit,police-in-burst=1g", "police-in-burst: at the rate, 1073741824 bytes take over an hour")):
            with self.assertRaisesRegex(vnictest.RpcError, cause):
                run.rpc("port.add", {"config": "y=vhost-user," + line})
        for _ in range(20):
            run.rpc("port.add", {"config": "y=nic,vdev=net_null0,police-in=10mbit,police-out=1kpps"})
            options = run.rpc("port.show", {"name": "y"})["options"]
            self.assertEqual((options["police-in"], options["police-out"]), ("10mbit", "1kpps"))
            run.rpc("port.remove", {"name": "y"})
        self.assertEqual(list(run.stats()), ["x"])


if __name__ == "__main__":
    unittest.main(verbosity=2)

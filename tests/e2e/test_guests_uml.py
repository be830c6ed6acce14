# SPDX-License-Identifier: BSD-3-Clause
"""User-mode Linux guests (real kernel, real virtio_net driver) through vnicd: io, switch, restart, a third guest."""
import pathlib
import re
import sys
import time
import unittest

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "guests")]
import guests  # noqa: E402


class UmlGuests(guests.GuestTest):
    KIND = guests.UmlGuest

    def pair(self, mode):
        # The driver uses one pair, and another number of them only when it is told to.
        vnicd = self.start({"vm0": "vhost-user,queues=4,mac=02:00:00:00:00:10", "vm1": "vhost-user,queues=2"}, mode)
        a, b = self.guest(vnicd.sock("vm0"), "10.0.0.1"), self.guest(vnicd.sock("vm1"), "10.0.0.2")
        a.wait_ready()
        b.wait_ready()
        return vnicd, a, b

    def check_counters(self, vnicd, port, guest):
        """vnicd's and the guest's counters tell the same story, once no frame is under way."""
        for _ in range(20):
            before = vnicd.stats()[port]
            inside = guest.counters()
            if vnicd.stats()[port] == before:
                break
            time.sleep(0.2)
        else:
            self.fail(f"{port} never came to rest")
        self.assertEqual(inside["rx_packets"], before["tx_packets"], port)
        self.assertEqual(inside["rx_bytes"], before["tx_bytes"], port)
        # The driver counts a sent frame when it takes the buffer back, which it does at its leisure.
        self.assertLessEqual(inside["tx_packets"], before["rx_packets"], port)
        self.assertLess(before["rx_packets"] - inside["tx_packets"], 256, port)
        self.assertGreater(before["rx_packets"], 100, port)
        for key in ("rx_errors", "rx_frame_errors", "rx_length_errors", "tx_errors"):
            self.assertEqual(inside[key], 0, key)

    def check_features(self, guest):
        self.report(f"{guest.name}: Linux {guest.kernel}, features: {' '.join(guest.feature_names())}")
        features = guest.features()
        self.assertIn(guests.FEATURES["VERSION_1"], features)
        self.assertIn(guests.FEATURES["MRG_RXBUF"], features)
        self.assertIn(guests.FEATURES["EVENT_IDX"], features)
        self.assertIn(guests.FEATURES["MAC"], features)
        # Its front-end starts packed rings with wrap counters of 0; that these work is a feat of vnicd.
        self.assertIn(guests.FEATURES["RING_PACKED"], features)

    @pytest.mark.long
    def test_io_pair(self):
        vnicd, a, b = self.pair("io")
        self.check_features(a)
        self.check_features(b)
        self.assertEqual(a.mac(), "02:00:00:00:00:10")
        self.assertNotEqual(b.mac(), a.mac())
        guests.exchange(a, b, mib=8, report=self.report)
        self.check_counters(vnicd, "vm0", a)
        self.check_counters(vnicd, "vm1", b)

    def test_switch_pair_and_restart_of_a_guest(self):
        vnicd, a, b = self.pair("switch")
        guests.exchange(a, b, mib=8, report=self.report)
        self.check_counters(vnicd, "vm0", a)
        self.check_counters(vnicd, "vm1", b)
        before = vnicd.stats()

        b.kill9()
        status, output = a.run("ping -c 3 -i 0.2 -W 1 10.0.0.2")
        self.assertNotEqual(status, 0, "a killed guest answered:\n" + output)
        b = self.guest(vnicd.sock("vm1"), "10.0.0.2").wait_ready()
        seconds = a.ping_until(b.ip)
        self.report(f"vm1 killed and booted again: answers {seconds:.1f} s after it was up")
        guests.exchange(a, b, mib=2, report=self.report)
        # The neighbour neither lost its connection nor its counters.
        self.assertGreater(vnicd.stats()["vm0"]["rx_packets"], before["vm0"]["rx_packets"])
        for reason in ("no_guest", "queue_stopped", "queue_disabled"):
            self.assertEqual(vnicd.stats()["vm0"]["drops"].get(reason, 0), before["vm0"]["drops"].get(reason, 0))
        inside = a.counters()
        self.assertEqual(inside["rx_packets"], vnicd.wait_stats(lambda p: True)["vm0"]["tx_packets"])

    @pytest.mark.long
    def test_third_guest_comes_and_goes_while_two_ping(self):
        vnicd, a, b = self.pair("switch")
        a.ping(b.ip)
        a.check(f"ping -i 0.1 {b.ip} >/tmp/ping 2>&1 & echo $! >/tmp/ping.pid")

        vnicd.rpc("port.add", {"config": "vm2=vhost-user"})
        c = self.guest(vnicd.sock("vm2"), "10.0.0.3").wait_ready()
        c.ping(a.ip, size=1472)
        c.ping(b.ip, size=8192)
        c.kill9()
        c = self.guest(vnicd.sock("vm2"), "10.0.0.3").wait_ready()
        c.ping_until(a.ip)
        guests.exchange(c, b, mib=2, report=self.report)
        c.kill9()
        vnicd.rpc("port.remove", {"name": "vm2"})
        self.assertEqual(sorted(vnicd.stats()), ["vm0", "vm1"])

        a.check("kill -INT $(cat /tmp/ping.pid); sleep 0.5")
        output = a.check("cat /tmp/ping")
        m = re.search(r"(\d+) packets transmitted, (\d+) packets received", output)
        self.assertTrue(m, output)
        self.report(f"meanwhile: {m[0]}")
        self.assertGreater(int(m[1]), 20)
        # One may be under way at the moment of the signal.
        self.assertLessEqual(int(m[1]) - int(m[2]), 1, "the new port disturbed the others:\n" + output[-500:])


if __name__ == "__main__":
    unittest.main(verbosity=2)

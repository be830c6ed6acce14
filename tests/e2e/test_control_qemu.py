# SPDX-License-Identifier: BSD-3-Clause
"""A QEMU guest's settings, as far as they get to us: QEMU serves the control queue itself and tells us by messages
which queues are enabled (SET_VRING_ENABLE) and how long frames may be (NET_SET_MTU); MAC address, filters and the like
stay with QEMU, so nothing may be filtered here."""
import pathlib
import sys
import unittest

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lib"), str(HERE.parent / "guests"), str(HERE.parent / "hostile")]
import guests  # noqa: E402
import vnictest  # noqa: E402
import wire as w  # noqa: E402

MAC = "02:00:00:00:00:10"
ADDRESS, HOST = "10.0.0.1", "10.0.0.9"
PAIRS = 4
MTU = 1400
FLOWS = 48
IP = "/usr/sbin/ip"


def plain(dst, size=46, vlan=None):
    return w.ethernet(b"q" * size, dst=dst, vlan=vlan)


def syn(n):
    packet = w.tcp(b"", src=f"10.1.0.{n}", dst=ADDRESS, sport=1024 + 7 * n, dport=9, flags=w.SYN, seq=n)
    return w.ethernet(packet, dst=MAC, kind=w.ETH_IP)


class QemuControl(guests.GuestTest):
    KIND = guests.QemuGuest

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.vnicd = vnictest.Vnicd({"vm0": f"vhost-user,queues={PAIRS}", "src": f"vhost-user,queues={PAIRS}"}, "io")
        cls.addClassCleanup(cls.vnicd.stop)
        try:
            cls.vm = guests.QemuGuest(cls.vnicd.sock("vm0"), ADDRESS, MAC, queues=PAIRS,
                                      device_args=f"host_mtu={MTU}", kernel_args="ipv6.disable=1",
                                      programs=("ethtool", "ip"))
        except guests.Missing as e:
            raise unittest.SkipTest(str(e)) from None
        cls.addClassCleanup(cls.vm.kill9)
        cls.wire = w.Wire(cls.vnicd.sock("src"), queues=PAIRS).start()
        cls.addClassCleanup(cls.wire.close)
        cls.vm.wait_ready()
        cls.vm.check(f"{IP} neigh replace {HOST} lladdr {w.MAC} dev eth0; {IP} route replace 10.1.0.0/16 via {HOST}")
        cls.report("features: " + " ".join(cls.vm.feature_names()))

    def queues(self, key):
        return [queue[key] for queue in self.vnicd.stats()["vm0"]["queues"]]

    def deliver(self, frames, pair=0):
        """Send frames: (those that vm0 got, by queue; its drops)."""
        before = self.vnicd.stats()["vm0"]
        for frame in frames:
            self.wire.inject(frame, pair)
        self.wire.flush()

        def total(port):
            return port["tx_packets"] + sum(n for reason, n in port["drops"].items() if reason != "disabled")
        after = self.vnicd.wait_stats(lambda ports: total(ports["vm0"]) >= total(before) + len(frames))["vm0"]
        by_queue = [b["tx_packets"] - a["tx_packets"] for a, b in zip(before["queues"], after["queues"])]
        drops = {k: n for k in after["drops"] if (n := after["drops"][k] - before["drops"].get(k, 0))}
        return by_queue, drops

    @pytest.mark.long
    def test_channels(self):
        for n in (4, 1, 2, 3):
            with self.subTest(combined=n):
                self.wire.take(quiet=0.2)   # nothing is under way
                self.vm.check(f"ethtool -L eth0 combined {n}")
                before_rx, guest = self.queues("rx_packets"), self.vm.counters()
                frames = [syn(flow) for flow in range(FLOWS)]
                by_queue, drops = self.deliver(frames)
                self.assertEqual((sum(by_queue), drops), (FLOWS, {}))
                self.assertEqual(by_queue[n:], [0] * (PAIRS - n), "queues that are not in use")
                answers = self.wire.take(lambda p: p.proto == w.TCP and p.flags & w.RST, n=FLOWS)
                self.assertEqual({p.dport for p in answers}, {1024 + 7 * k for k in range(FLOWS)})
                after_rx = self.queues("rx_packets")
                used = {i for i in range(PAIRS) if after_rx[i] != before_rx[i]}
                self.assertEqual(used, set(range(n)), "queues that the guest sends on")
                self.assertEqual(self.vm.counters()["rx_packets"] - guest["rx_packets"], FLOWS)
                # Known by now: each flow's frames come on the queue that it was answered on.
                per_queue = [b - a for a, b in zip(before_rx, after_rx)]
                by_queue, drops = self.deliver(frames, pair=PAIRS - 1)
                self.assertEqual((by_queue, drops), (per_queue, {}))
                self.wire.take(lambda p: p.proto == w.TCP and p.flags & w.RST, n=FLOWS)

    @pytest.mark.long
    def test_mtu(self):
        self.assertEqual(int(self.vm.check("cat /sys/class/net/eth0/mtu")), MTU)
        before = self.vm.counters()["rx_packets"]
        by_queue, drops = self.deliver([plain(MAC, MTU)] * 4)
        self.assertEqual((sum(by_queue), drops), (4, {}))
        by_queue, drops = self.deliver([plain(MAC, MTU + 100)] * 4)
        self.assertEqual((sum(by_queue), drops), (0, {"too_long": 4}))
        self.assertEqual(self.vm.counters()["rx_packets"] - before, 4)

    @pytest.mark.long
    def test_filters_stay_with_qemu(self):
        """What QEMU did not tell us must not be filtered on a guess."""
        self.assertEqual(self.vm.mac(), MAC)
        self.vm.check("ip link set eth0 promisc on; ip link set eth0 promisc off; ip link set eth0 address "
                      "02:00:00:00:00:77")
        self.addCleanup(self.vm.check, f"ip link set eth0 address {MAC}")
        for dst, vlan in ((MAC, None), ("02:00:00:00:00:77", None), ("01:00:5e:01:02:03", None), (MAC, 100)):
            by_queue, drops = self.deliver([plain(dst, vlan=vlan)] * 4)
            self.assertEqual((sum(by_queue), drops), (4, {}), (dst, vlan))


if __name__ == "__main__":
    unittest.main(verbosity=2)

# SPDX-License-Identifier: BSD-3-Clause
"""Linux guests that offload checksums and segmentation, to destinations that don't take it: another guest whose device
has no offloads, and a NIC. TCP has to get through, and vnicd has to have made the segments."""
import atexit
import itertools
import os
import pathlib
import subprocess
import sys
import unittest

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "guests")]
import guests  # noqa: E402

NO_OFFLOADS = ",".join(f"{name}=off" for name in (
    "csum", "gso", "host_tso4", "host_tso6", "host_ecn", "host_ufo",
    "guest_csum", "guest_tso4", "guest_tso6", "guest_ecn", "guest_ufo"))
OFFLOADS = ("CSUM", "GUEST_CSUM", "HOST_TSO4", "HOST_TSO6", "GUEST_TSO4", "GUEST_TSO6")


# What may happen while guests boot, and when a burst of segments is longer than a guest's ring.
NORMAL_DROPS = {"no_guest", "queue_stopped", "queue_disabled", "no_buffer", "filtered"}


class OffloadTest(guests.GuestTest):
    KIND = guests.UmlGuest

    def check_drops(self, ports):
        for name, port in ports.items():
            self.assertEqual({reason for reason, n in port["drops"].items() if n} - NORMAL_DROPS, set(), (name, port))

    def check_guest(self, guest):
        """C86 .. C92, N05: a strict driver found nothing wrong with a header."""
        counters = guest.counters()
        for key in ("rx_errors", "rx_frame_errors", "rx_length_errors", "tx_errors"):
            self.assertEqual(counters[key], 0, (guest.name, key))


class BetweenGuests(OffloadTest):
    def exchange(self, device_args=""):
        """User-mode Linux with all offloads and QEMU's guest; vnicd's counters."""
        try:
            guests.QemuGuest.probe()
        except guests.Missing as missing:
            self.skipTest(str(missing))
        vnicd = self.start({"vm0": "vhost-user", "vm1": "vhost-user"}, "io")
        a = self.guest(vnicd.sock("vm0"), "10.0.0.1")
        b = guests.QemuGuest(vnicd.sock("vm1"), "10.0.0.2", "02:00:00:00:00:02", device_args=device_args)
        self.addCleanup(b.kill9)
        for guest in (a, b):
            guest.wait_ready()
        for name in OFFLOADS:
            self.assertIn(guests.FEATURES[name], a.features())
            self.assertEqual(guests.FEATURES[name] in b.features(), not device_args)
        guests.exchange(a, b, mib=8, report=self.report)
        ports = vnicd.stats()
        self.check_drops(ports)
        self.check_guest(a)
        self.check_guest(b)
        return ports

    @pytest.mark.long
    def test_to_a_guest_without(self):
        ports = self.exchange(NO_OFFLOADS)
        self.report(f"vm1 got {ports['vm1'].get('copies', 0)} segments beyond the first")
        self.assertGreater(ports["vm1"].get("copies", 0), 1000, ports)
        self.assertEqual(ports["vm0"].get("copies", 0), 0, ports)

    @pytest.mark.long
    def test_to_a_guest_with(self):
        """Long frames arrive as they were sent."""
        ports = self.exchange()
        for name, port in ports.items():
            self.assertEqual(port.get("copies", 0), 0, ports)
            self.assertGreater(port["tx_bytes"] / port["tx_packets"], 1518, (name, ports))


@unittest.skipUnless(os.geteuid() == 0 and os.path.exists("/dev/net/tun"), "needs root and /dev/net/tun")
class Nic(OffloadTest):
    _serial = itertools.count()

    def netns(self):
        name = f"vnic-offloads-{os.getpid()}-{next(self._serial)}"
        subprocess.run(["ip", "netns", "add", name], check=True)

        def remove():
            subprocess.run(["ip", "netns", "del", name], stderr=subprocess.DEVNULL, check=False)
        atexit.register(remove)
        self.addCleanup(remove)
        return name

    def test_out_of_a_tap(self):
        ns = self.netns()
        inside = ["ip", "netns", "exec", ns]
        vnicd = self.start({"vm0": "vhost-user", "up0": "nic,vdev=net_tap0;iface=tap0"}, "io", netns=ns)
        for command in ("ip address add 10.0.0.2/24 dev tap0", "ip link set tap0 up"):
            subprocess.run(inside + command.split(), check=True)
        a = self.guest(vnicd.sock("vm0"), "10.0.0.1")
        a.wait_ready()
        a.ping("10.0.0.2")
        before = a.make_file("there", 8)
        a.serve()
        fetched = subprocess.run(inside + ["sh", "-c", "busybox wget -q -O - http://10.0.0.1/there | sha256sum"],
                                 stdout=subprocess.PIPE, text=True, timeout=60, check=True)
        self.assertEqual(fetched.stdout.split()[0], before)
        ports = vnicd.stats()
        self.report(f"up0 sent {ports['up0'].get('copies', 0)} segments beyond the first")
        self.assertGreater(ports["up0"].get("copies", 0), 1000, ports)
        self.check_drops(ports)
        # Nothing that the kernel of the namespace threw away for its checksum.
        snmp = subprocess.run(inside + ["cat", "/proc/net/snmp"], stdout=subprocess.PIPE, text=True, check=True).stdout
        keys, values = [line.split() for line in snmp.splitlines() if line.startswith("Tcp:")]
        self.assertEqual(dict(zip(keys, values))["InCsumErrors"], "0")
        self.check_guest(a)


if __name__ == "__main__":
    unittest.main(verbosity=2)

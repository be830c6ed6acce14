# SPDX-License-Identifier: BSD-3-Clause
"""Datagrams that IP is to fragment (UFO), from a raw front-end to what is at the other end of a port: Linux guests, which take
them whole, and this machine's kernel by a tap and by AF_PACKET, which puts the fragments together again."""
import hashlib
import os
import pathlib
import socket
import struct
import sys
import unittest

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / name) for name in ("guests", "lib", "hostile")] + [str(HERE)]
import guests  # noqa: E402
import netns  # noqa: E402
import rawfe as fe  # noqa: E402
import vnictest  # noqa: E402
import wire as w  # noqa: E402

PORT = 7000
SENDER_MAC = "02:00:00:00:00:01"
SENDS = w.BASE | fe.bits(fe.F_CSUM, fe.F_HOST_UFO)
LENGTHS = (3000, 20001, 65507)


def payload_of(length):
    return bytes((i * 7 + (i >> 8)) & 0xff for i in range(length))


def datagram(payload, src, dst, dst_mac):
    """A frame whose checksum is left open, and where that is."""
    l4 = 14 + (40 if ":" in src else 20)
    packet = w.udp(payload, src=src, dst=dst, sport=7001, dport=PORT)
    at = l4 - 14 + 6
    packet = packet[:at] + struct.pack(">H", w.pseudo_sum(w.UDP, 8 + len(payload), src, dst)) + packet[at + 2:]
    if ":" not in src:  # it may be fragmented
        packet = packet[:6] + bytes(2) + packet[8:10] + bytes(2) + packet[12:]
        packet = packet[:10] + struct.pack(">H", w.ones_sum(packet[:20]) ^ 0xffff) + packet[12:]
    return w.ethernet(packet, dst=dst_mac, src=SENDER_MAC, kind=w.ETH_IPV6 if ":" in src else w.ETH_IP), l4


def fragment_size(src):
    """What an MTU of 1500 leaves: multiples of 8."""
    return 1500 - 40 - 8 & ~7 if ":" in src else 1500 - 20


def send(guest, payload, src, dst, dst_mac):
    """As a driver with HOST_UFO does. Returns the number of fragments that this makes."""
    frame, l4 = datagram(payload, src, dst, dst_mac)
    size = fragment_size(src)
    data = guest.frame_header(flags=w.NEEDS_CSUM, gso_type=w.GSO_UDP, hdr_len=l4 + 8, gso_size=size, csum_start=l4,
                              csum_offset=6) + frame
    gpa = guest.mem.alloc(len(data))
    guest.mem.write(gpa, data)
    guest.pairs[0].tx.add([fe.D(gpa, len(data))], gpa)
    guest.reclaim_tx(0, all_of_them=True)
    return -(-(8 + len(payload)) // size)


@unittest.skipUnless(os.geteuid() == 0, netns.NEEDS_ROOT)
class Kernel(unittest.TestCase):
    HOST, GUEST = {4: "10.0.0.2", 6: "fd00::2"}, {4: "10.0.0.1", 6: "fd00::1"}

    def make(self, config, link):
        """vnicd in a namespace, whose `link` has the addresses; a front-end at its other port."""
        self.ns = netns.Netns(ipv6=True)
        self.addCleanup(self.ns.remove)
        if config.startswith("packet"):
            self.ns.run("ip", "link", "add", "p0", "type", "veth", "peer", "name", "p1")
            self.ns.run("ip", "link", "set", "p1", "up")
        self.vnicd = vnictest.Vnicd({"a": "vhost-user", "up0": config}, "io", netns=self.ns.name)
        self.addCleanup(lambda: self.assertEqual(self.vnicd.stop(), 0, self.vnicd.output))
        for version, bits in ((4, 24), (6, 64)):
            self.ns.run("ip", "address", "add", f"{self.HOST[version]}/{bits}", "dev", link, *["nodad"] * (version == 6))
        self.ns.run("ip", "link", "set", link, "up")
        self.mac = self.ns.run("cat", f"/sys/class/net/{link}/address").strip()
        self.front_end = fe.RawFrontend(self.vnicd.sock("a"), features=SENDS, size=256).start()
        self.addCleanup(self.front_end.close)

    def reassembled(self, version):
        """Fragments that the kernel was given."""
        if version == 6:
            lines = dict(line.split() for line in self.ns.run("cat", "/proc/net/snmp6").splitlines())
            return int(lines["Ip6ReasmReqds"])
        keys, values = [line.split() for line in self.ns.run("cat", "/proc/net/snmp").splitlines() if line.startswith("Ip:")]
        return int(dict(zip(keys, values))["ReasmReqds"])

    def copies(self):
        return self.vnicd.stats()["up0"].get("copies", 0)

    def pass_all(self, ours):
        """ours: whether vnicd makes the fragments."""
        for version in (4, 6):
            src, dst = self.GUEST[version], self.HOST[version]
            sock = self.ns.socket(socket.AF_INET6 if version == 6 else socket.AF_INET, socket.SOCK_DGRAM)
            self.addCleanup(sock.close)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            sock.bind((dst, PORT))
            sock.settimeout(5)
            for length in LENGTHS:
                with self.subTest(version=version, length=length):
                    copies, reassembled = self.copies(), self.reassembled(version)
                    n = send(self.front_end, payload_of(length), src, dst, self.mac)
                    self.assertEqual(sock.recv(65536), payload_of(length))
                    self.assertEqual(self.copies() - copies, n - 1 if ours else 0)
                    if ours:
                        self.assertEqual(self.reassembled(version) - reassembled, n)
        self.assertEqual({reason: n for reason, n in self.vnicd.stats()["up0"]["drops"].items() if n}, {})

    def test_tap(self):
        self.make("tap,ifname=t0", "t0")
        self.assertIn("ufo", self.vnicd.rpc("port.show", {"name": "up0"})["capabilities"])
        self.pass_all(ours=False)

    def test_tap_without(self):
        self.make("tap,ifname=t0,without=ufo", "t0")
        self.assertNotIn("ufo", self.vnicd.rpc("port.show", {"name": "up0"})["capabilities"])
        self.pass_all(ours=True)

    def test_packet(self):
        self.make("packet,ifname=p1", "p0")
        self.pass_all(ours=False)

    def test_packet_without(self):
        self.make("packet,ifname=p1,without=ufo", "p0")
        self.pass_all(ours=True)

    def test_nic(self):
        """No device of DPDK's does it."""
        self.make("nic,vdev=net_tap0;iface=t0", "t0")
        self.pass_all(ours=True)


@pytest.mark.guest
class Guests(guests.GuestTest):
    """Linux has GUEST_UFO for guests that come from hosts which give them such, and takes the datagram as one."""

    PROGRAM = pathlib.Path(vnictest.VNICD).resolve().parents[1] / "tests/guests/udp_once"

    def setUp(self):
        if not self.PROGRAM.exists():
            self.skipTest(f"{self.PROGRAM} is not built (meson setup -Dtests=enabled)")

    def receive(self, guest, vnicd, whole):
        guest.wait_ready()
        self.assertEqual(guests.FEATURES["GUEST_UFO"] in guest.features(), whole)
        front_end = fe.RawFrontend(vnicd.sock("a"), features=SENDS, size=256).start()
        self.addCleanup(front_end.close)
        mac = guest.mac()
        for length in LENGTHS:
            payload = payload_of(length)
            guest.check(f"udp_once {PORT} 20 >/srv/got & while ! grep -qi ':{PORT:04x} ' /proc/net/udp*; do sleep 0.05; done")
            before = vnicd.stats()["b"]
            n = send(front_end, payload, "10.0.0.2", guest.ip, mac)
            guest.check(f"i=0; while [ $(wc -c </srv/got) -ne {length} ] && [ $i -lt 100 ]; do sleep 0.05; i=$((i + 1)); done")
            self.assertEqual(guest.sha256("got"), hashlib.sha256(payload).hexdigest(), length)
            after = vnicd.stats()["b"]
            self.assertEqual(after.get("copies", 0) - before.get("copies", 0), 0 if whole else n - 1)
        snmp = guest.check("grep ^Ip: /proc/net/snmp").splitlines()
        asked = int(dict(zip(*(line.split() for line in snmp)))["ReasmReqds"])
        self.assertEqual(asked > 0, not whole, "fragments that the guest had to put together")
        snmp = guest.check("grep ^Udp: /proc/net/snmp").splitlines()
        self.assertEqual(dict(zip(*(line.split() for line in snmp)))["InCsumErrors"], "0")

    def make(self, config="vhost-user"):
        return self.start({"a": "vhost-user", "b": config}, "io")

    def test_uml(self):
        vnicd = self.make()
        self.receive(self.guest(vnicd.sock("b"), "10.0.0.1", programs=[str(self.PROGRAM)]), vnicd, whole=True)

    @pytest.mark.long
    def test_uml_without(self):
        vnicd = self.make("vhost-user,without=guest_ufo")
        self.receive(self.guest(vnicd.sock("b"), "10.0.0.1", programs=[str(self.PROGRAM)]), vnicd, whole=False)

    @pytest.mark.long
    def test_qemu(self):
        """Its properties host_ufo and guest_ufo are on by default."""
        try:
            guests.QemuGuest.probe()
        except guests.Missing as missing:
            self.skipTest(str(missing))
        vnicd = self.make()
        guest = guests.QemuGuest(vnicd.sock("b"), "10.0.0.1", "02:00:00:00:00:02", programs=[str(self.PROGRAM)])
        self.addCleanup(guest.kill9)
        self.receive(guest, vnicd, whole=True)


if __name__ == "__main__":
    unittest.main(verbosity=2)

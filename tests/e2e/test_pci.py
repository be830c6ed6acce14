# SPDX-License-Identifier: BSD-3-Clause
"""NIC ports over PCI cards (pci_guest.py): frames, tags, offloads.

    this machine                         the guest
    peer a -- datagrams -- QEMU card a -- PMD -- up0 \\
                                                      vnicd
    peer b -- datagrams -- QEMU card b -- PMD -- up1 /

A peer is a socket of the test, or a second vnicd's dgram port with the kernel of this machine behind it.
"""
import itertools
import os
import pathlib
import re
import sys
import time
import unittest

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lib"), str(HERE.parent / "guests"), str(HERE.parent / "hostile")]
import netns  # noqa: E402
import rawfe as fe  # noqa: E402
import vnictest  # noqa: E402

from pci_guest import E1000, E1000E, VIRTIO, VMXNET3, PciTest  # noqa: E402


# A tag or two, and the length of the frame without.
TAGGED = [("81000001", 60), ("8100e7ff", 64), ("81000fff", 1000), ("8100a064", 1514), ("88a80064810000c8", 60),
          ("8100006481000065", 1000)]


@pytest.mark.guest
class Cards(PciTest):
    """Frames cross from one card to the other, unharmed and counted."""

    def pass_frame(self, source, frame):
        self.send(source, frame)
        deadline = time.monotonic() + 20
        while True:
            self.assertLess(time.monotonic(), deadline, f"no frame: {frame[:18].hex()}, {len(frame)} bytes")
            got = self.peers[1 - source].recv(65536)
            if got[12:14] == frame[12:14]:
                return got

    def forward(self, card):
        self.make_peers(2)
        guest = self.boot(card, self.sockets)
        log = guest.start_vnicd({f"up{i}": f"nic,dev={address}" for i, address in enumerate(guest.cards)}, "io")
        self.assertEqual(re.findall(r"port up\d: nic \S+ \(driver (\S+)\)", log), [card[1]] * 2)
        # A link may take its time: the first frame is sent until it comes, in both directions.
        for source in (0, 1):
            self.assertIsNotNone(self.passes(source, 1 - source), f"nothing passes from card {source}")
        self.drain()
        n = 0
        for length, source in itertools.product((60, 61, 64, 128, 1000, 1513, 1514), (0, 1)):
            frame = fe.ethernet(os.urandom(length - 14))
            self.assertEqual(self.pass_frame(source, frame).hex(), frame.hex(), (length, source))
            n += 1
        # Tags stay where they are: any VLAN, priorities, two of them, and in the longest frame.
        for (tags, length), source in itertools.product(TAGGED, (0, 1)):
            plain = fe.ethernet(os.urandom(length - 14))
            frame = plain[:12] + bytes.fromhex(tags) + plain[12:]
            self.assertEqual(self.pass_frame(source, frame).hex(), frame.hex(), (tags, length, source))
            n += 1
        ports = guest.stop_vnicd()
        for name in ("up0", "up1"):
            self.assertGreaterEqual(ports[name]["rx_packets"], n // 2)
            self.assertLessEqual(set(ports[name]["drops"]), {"link_down"}, "of the first frames only")
        self.assertEqual(sum(p["rx_packets"] for p in ports.values()),
                         sum(p["tx_packets"] + sum(p["drops"].values()) for p in ports.values()))

    @pytest.mark.long
    def test_e1000(self):
        self.forward(E1000)

    @pytest.mark.long
    def test_e1000e(self):
        self.forward(E1000E)

    @pytest.mark.long
    def test_vmxnet3(self):
        self.forward(VMXNET3)

    @pytest.mark.long
    def test_virtio(self):
        self.forward(VIRTIO)


@pytest.mark.guest
class Offloads(PciTest):
    """The kernel of the guest speaks TCP to that of this machine: tap, vnicd, card -- dgram, vnicd, tap."""

    MIB = 2

    def talk(self, card):
        if os.geteuid() != 0:
            self.skipTest(netns.NEEDS_ROOT)
        sockets = [os.path.join(self.dir, name) for name in "ab"]
        mid, host = netns.Netns(), netns.Host("10.0.0.2")
        self.addCleanup(mid.remove)
        self.addCleanup(host.remove)
        vnicd = vnictest.Vnicd({"up0": f"dgram,local={sockets[0]}.peer,remote={sockets[0]}.qemu", "t0": "tap"}, "io",
                               netns=mid.name)
        self.addCleanup(lambda: self.assertEqual(vnicd.stop(), 0, vnicd.output))
        mid.run("ip", "link", "set", "t0", "netns", host.name)
        host.up("t0")
        guest = self.boot(card, sockets)
        guest.start_vnicd({"up0": f"nic,dev={guest.cards[0]}", "t0": "tap"}, "io")
        guest.check("/usr/sbin/ip address add 10.0.0.1/24 dev t0; mkdir -p /srv; httpd -p 80 -h /srv")
        for _ in range(50):
            if guest.run("ping -c 1 -W 1 10.0.0.2")[0] == 0:
                break
        digest = guest.make_file("there", self.MIB)
        got, seconds = host.fetch("10.0.0.1", "there", 120)
        self.assertEqual(got, digest)
        time.sleep(1.2)  # until the next statistics
        sent = guest.stats()["up0"]
        mean = sent["tx_bytes"] / sent["tx_packets"]
        digest = host.make_file("back", self.MIB)
        host.serve()
        guest.check("wget -q -O /srv/back http://10.0.0.2/back", 120)
        self.assertEqual(guest.sha256("back"), digest)
        self.assertEqual(host.errors(), {})
        self.assertEqual(netns.errors(guest.check("cat /proc/net/snmp")), {})
        ports = guest.stop_vnicd()
        self.assertLessEqual({r for r, n in ports["up0"]["drops"].items() if n}, {"tx_full", "link_down"})
        print(f"  {card[0]}: {self.MIB} MiB in {seconds:.1f} s; frames to the card: {mean:.0f} bytes", flush=True)
        return mean

    @pytest.mark.long
    def test_e1000e(self):
        """Checksums are the card's; its PMD does not segment."""
        self.assertLessEqual(self.talk(E1000E), 1514)

    @pytest.mark.long
    def test_vmxnet3(self):
        """It segments."""
        self.assertGreater(self.talk(VMXNET3), 1514)

    @pytest.mark.long
    def test_virtio(self):
        """QEMU offers no segmentation, for its datagrams have no header that could ask for it."""
        self.assertLessEqual(self.talk(VIRTIO), 1514)


@pytest.mark.guest
class Joined(PciTest):
    """A card that may join segments (LRO): the kernel of this machine speaks TCP to the guest's: tap, card, vnicd, tap.

    QEMU's vmxnet3 gives on what its tap has, up to 64 KiB, and drops what does not fit one buffer, for DPDK's PMD tells
    it that a frame has no others. So the long frames are tests/unit/test_nic_receive.c's; here it is that all others pass.
    """

    MIB = 1

    @pytest.mark.long
    def test_lro(self):
        if os.geteuid() != 0:
            self.skipTest(netns.NEEDS_ROOT)
        host = netns.Host("10.0.0.2")
        self.addCleanup(host.remove)
        guest = self.boot(VMXNET3, netdevs=["tap,ifname=card0,script=no,downscript=no,vnet_hdr=on"], prefix=host.command())
        host.up("card0")
        host.run("ip", "link", "set", "card0", "gso_max_segs", 1)
        guest.start_vnicd({"up0": f"nic,dev={guest.cards[0]},lro=on", "t0": "tap"}, "io")
        self.assertEqual(guest.port("up0")["options"]["lro"], "on")
        guest.check("/usr/sbin/ip address add 10.0.0.1/24 dev t0")
        for _ in range(50):
            if guest.run("ping -c 1 -W 1 10.0.0.2")[0] == 0:
                break
        digest = host.make_file("back", self.MIB)
        host.serve()
        guest.check("wget -q -O /srv/back http://10.0.0.2/back", 120)
        self.assertEqual(guest.sha256("back"), digest)
        self.assertEqual(netns.errors(guest.check("cat /proc/net/snmp")), {})
        self.assertEqual(host.errors(), {})
        ports = guest.stop_vnicd()
        for name in ports:
            self.assertLessEqual({r for r, n in ports[name]["drops"].items() if n}, {"link_down"})


@pytest.mark.guest
class Keys(PciTest):
    """What a card's driver can and can't be asked for."""

    def refused(self, guest, options):
        with self.assertRaises(AssertionError) as caught:
            guest.rpc("port.add", config=f"up1=nic,dev={guest.cards[1]},{options}")
        return str(caught.exception)

    @pytest.mark.long
    def test_flow_control(self):
        """e1000's sets it, in the registers of the card; a card without LRO says so."""
        self.make_peers(2)
        guest = self.boot(E1000E, self.sockets)
        guest.start_vnicd({"up0": f"nic,dev={guest.cards[0]},flow-control=rx"}, "hub")
        self.assertIn(", flow control rx", guest.port("up0")["describe"])
        self.assertEqual(guest.port("up0")["options"]["flow-control"], "rx")
        self.assertIn(f"port up1: device {guest.cards[1]} (driver net_e1000_em) does not join TCP segments",
                      self.refused(guest, "lro=on"))
        # A port that was refused leaves the card as it was.
        for mode in ("off", "tx", "full"):
            guest.rpc("port.add", config=f"up1=nic,dev={guest.cards[1]},flow-control={mode}")
            self.assertIn(f", flow control {mode}", guest.port("up1")["describe"])
            self.assertIsNotNone(self.passes(0, 1))
            guest.rpc("port.remove", name="up1")
        guest.stop_vnicd()

    @pytest.mark.long
    def test_no_flow_control(self):
        self.make_peers(2)
        guest = self.boot(VIRTIO, self.sockets)
        guest.start_vnicd({"up0": f"nic,dev={guest.cards[0]}"}, "hub")
        self.assertNotIn("flow control", guest.port("up0")["describe"])
        self.assertIn(f"port up1: device {guest.cards[1]} (driver net_virtio) has no flow control that can be set",
                      self.refused(guest, "flow-control=full"))
        guest.rpc("port.add", config=f"up1=nic,dev={guest.cards[1]}")
        self.assertIsNotNone(self.passes(0, 1))
        guest.stop_vnicd()


if __name__ == "__main__":
    unittest.main(verbosity=2)

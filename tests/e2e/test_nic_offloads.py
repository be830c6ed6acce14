# SPDX-License-Identifier: BSD-3-Clause
"""Offloads that a NIC's driver does: a NIC port over DPDK's virtio-user, whose other end is the guest port of a second vnicd.

    User-mode Linux -- vm0, first vnicd, up0 -- virtio-user -- nic0, second vnicd, host0 -- the kernel's TCP

Frames leave the first vnicd unsegmented and without a checksum, and come back so; where the second one withholds
offloads, the first does the work. And offloads that a device lacks: receive coalescing.
"""
import os
import pathlib
import struct
import sys
import unittest

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), *(str(HERE.parent / name) for name in ("lib", "guests", "hostile"))]
import guests  # noqa: E402
import netns  # noqa: E402
import pcapfile  # noqa: E402
import rawfe as fe  # noqa: E402
import test_kernel_ports as kernel  # noqa: E402
import test_nic  # noqa: E402
import vnictest  # noqa: E402
import wire as w  # noqa: E402


class VirtioUser(kernel.KernelPort):
    def chain(self, nic="", guest="", port=""):
        self.second = self.start({"nic0": f"vhost-user{nic}", "host0": "tap"}, "io", netns=self.mid.name)
        self.mid.run("ip", "link", "set", "host0", "netns", self.host.name)
        self.host.up("host0")
        vdev = f"net_virtio_user0,path={self.second.sock('nic0')},queue_size=1024,mac=02:00:00:00:00:55"
        self.vnicd = self.start({"vm0": f"vhost-user{guest}", "up0": "nic,dev=net_virtio_user0" + port}, "switch",
                                eal=test_nic.eal(vdev))
        self.vm = self.guest(self.vnicd.sock("vm0"), kernel.GUEST, modules=("crc-ccitt", "ipv6"),
                             programs=("ip",)).wait_ready()
        self.vm.check(f"/usr/sbin/ip address add {kernel.GUEST6}/64 dev eth0 nodad")

    def capabilities(self):
        return self.vnicd.rpc("port.show", {"name": "up0"})["capabilities"]

    def test_all(self):
        self.chain()
        self.assertEqual(self.capabilities(), ["checksum", "tso4", "tso6", "ecn"])
        self.exchange()

    @pytest.mark.long
    def test_device_without_segmentation(self):
        self.chain(nic=",without=host_tso4+host_tso6+guest_tso4+guest_tso6")
        self.assertEqual(self.capabilities(), ["checksum"])
        self.exchange(long_in=False, long_out=False)

    @pytest.mark.long
    def test_device_without_any(self):
        self.chain(nic=",without=csum+guest_csum")
        self.assertEqual(self.capabilities(), [])
        self.exchange(long_in=False, long_out=False)

    @pytest.mark.long
    def test_gro(self):
        """Segments that the device brings are joined for the guest, who sees fewer and longer ones."""
        self.chain(nic=",without=guest_tso4+guest_tso6", port=",gro=on")
        self.exchange()
        self.assertGreater(self.vnicd.stats()["vm0"]["tx_bytes"] / self.vnicd.stats()["vm0"]["tx_packets"], 1514)

    @pytest.mark.long
    def test_guest_without_any(self):
        """What the device leaves open is finished for it."""
        self.chain(guest=",without=csum+guest_csum")
        self.exchange(long_out=False)


class Joined(unittest.TestCase):
    """TCP segments out of a capture file, over and over, joined for a raw driver."""

    SEGMENT, COUNT = 700, 6

    def setUp(self):
        self.dir = pathlib.Path(vnictest.tmpdir())
        frames, at = [], 0
        for i in range(self.COUNT):
            last = i == self.COUNT - 1
            payload = bytes([i]) * (self.SEGMENT - 99 * last)
            packet = w.tcp(payload, src="10.0.0.2", dst="10.0.0.1", sport=1, dport=2, seq=at,
                           flags=w.ACK | w.PSH * last)
            packet = packet[:4] + struct.pack(">H", i) + packet[6:10] + bytes(2) + packet[12:]
            packet = packet[:10] + struct.pack(">H", w.ones_sum(packet[:20]) ^ 0xffff) + packet[12:]
            frames.append(w.ethernet(packet, dst="02:00:00:00:00:01", kind=w.ETH_IP))
            at += len(payload)
        self.payload = at
        pcapfile.write(self.dir / "in", frames)
        self.vnicd = vnictest.Vnicd({"vm0": "vhost-user", "up0": "nic,dev=net_pcap0,gro=on"}, "io", eal=test_nic.eal(
            f"net_pcap0,rx_pcap={self.dir / 'in'},infinite_rx=1"))
        self.addCleanup(lambda: self.assertEqual(self.vnicd.stop(), 0, self.vnicd.output))

    def headers(self, *features):
        """Of 200 frames: {(flags, gso_type, gso_size, csum_start, csum_offset, payload)}"""
        features = w.BASE | fe.bits(fe.F_GUEST_CSUM, fe.F_GUEST_TSO4, *features)
        with fe.RawFrontend(self.vnicd.sock("vm0"), features=features, size=256) as guest:
            guest.start()
            found = set()
            for _ in range(200):
                frame = guest.receive_frame()
                flags, gso_type, _, size, start, offset = struct.unpack("<BBHHHH", guest.last_header[:10])
                found.add((flags, gso_type, size, start, offset, len(frame) - 54))
        return found

    def test_C91_counts_with_rsc_ext(self):
        joined = {header for header in self.headers(fe.F_CSUM, fe.F_HOST_TSO4, fe.F_RSC_EXT) if header[1]}
        self.assertIn((w.NEEDS_CSUM | w.RSC_INFO, w.GSO_TCPV4, self.SEGMENT, self.COUNT, 0, self.payload), joined)
        for flags, gso_type, size, segments, dup_acks, payload in joined:
            self.assertEqual((flags, gso_type, size, dup_acks), (w.NEEDS_CSUM | w.RSC_INFO, w.GSO_TCPV4, self.SEGMENT, 0))
            self.assertEqual(segments, -(-payload // self.SEGMENT))

    def test_C91_nothing_without(self):
        joined = {header for header in self.headers() if header[1]}
        self.assertIn((w.NEEDS_CSUM, w.GSO_TCPV4, self.SEGMENT, 34, 16, self.payload), joined)
        self.assertEqual({header[:5] for header in joined}, {(w.NEEDS_CSUM, w.GSO_TCPV4, self.SEGMENT, 34, 16)})


if __name__ == "__main__":
    unittest.main(verbosity=2)

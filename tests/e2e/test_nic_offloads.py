# SPDX-License-Identifier: BSD-3-Clause
"""Offloads that a NIC's driver does: a NIC port over DPDK's virtio-user, whose other end is the guest port of a second vnicd.

    User-mode Linux -- vm0, first vnicd, up0 -- virtio-user -- nic0, second vnicd, host0 -- the kernel's TCP

Frames leave the first vnicd unsegmented and without a checksum, and come back so; where the second one withholds
offloads, the first does the work.
"""
import os
import pathlib
import sys
import unittest

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lib"), str(HERE.parent / "guests")]
import guests  # noqa: E402
import netns  # noqa: E402
import test_kernel_ports as kernel  # noqa: E402
import test_nic  # noqa: E402


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


if __name__ == "__main__":
    unittest.main(verbosity=2)

# SPDX-License-Identifier: BSD-3-Clause
"""NIC ports over PCI cards: vnicd in a QEMU guest, which drives QEMU's cards by DPDK's PMDs for the real ones.

    this machine                         the guest
    peer a -- datagrams -- QEMU card a -- PMD -- up0 \\
                                                      vnicd
    peer b -- datagrams -- QEMU card b -- PMD -- up1 /

A peer is a socket of the test, or a second vnicd's dgram port with the kernel of this machine behind it.
"""
import itertools
import json
import os
import pathlib
import re
import socket
import sys
import time
import unittest

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lib"), str(HERE.parent / "guests"), str(HERE.parent / "hostile")]
import guests  # noqa: E402
import netns  # noqa: E402
import rawfe as fe  # noqa: E402
import vnictest  # noqa: E402

PMDS = "/usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0"
PMD_NAMES = ("bus_pci", "bus_vdev", "mempool_ring", "net_e1000", "net_vmxnet3", "net_virtio")
MODULES = ("uio", "uio_pci_generic", "tun")
HUGEPAGES = 160
# Cards: QEMU's device, and the PMD that drives it.
E1000, E1000E = ("e1000", "net_e1000_em"), ("e1000e", "net_e1000_em")
VMXNET3, VIRTIO = ("vmxnet3", "net_vmxnet3"), ("virtio-net-pci,disable-legacy=on,vectors=0", "net_virtio")


def pmd_files():
    """Files and links: EAL loads what is in its folder, and takes two files of one library for two."""
    files, links = {}, []
    for name in PMD_NAMES:
        path = f"/lib/x86_64-linux-gnu/librte_{name}.so.23"
        if not os.path.exists(path):
            raise guests.Missing(f"there is no {path} (usertools/install-deps test)")
        files.update(guests.libraries_of(path))
        files[path.lstrip("/")] = path
        links.append((f"{PMDS.lstrip('/')}/librte_{name}.so.23.0", path))
    return files.items(), links


class PciGuest(guests.Guest):
    """A q35 with two cards, their other ends unix sockets SOCK.qemu (QEMU's) and SOCK.peer."""

    NEEDS_NETWORK = False
    BOOT_TIMEOUT = 120

    def __init__(self, card, sockets):
        super().__init__("192.0.2.1", name=f"pci-{card[0].split(',')[0]}")
        vmlinuz, modules = guests.qemu_kernel()
        found = {p.stem: p for p in pathlib.Path(modules).rglob("*.ko")}
        initrd = guests.build_initramfs(os.path.join(self.dir, "initrd"), [found[name] for name in MODULES if name in found],
                                        [vnictest.VNICD, "ip"], *pmd_files())
        args = [guests.qemu_program(), "-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", 2, "-m", 768,
                "-nodefaults", "-nographic", "-serial", "stdio", "-monitor", "none"]
        for i, path in enumerate(sockets):
            args += ["-netdev", f"dgram,id=n{i},local.type=unix,local.path={path}.qemu,remote.type=unix,remote.path={path}.peer",
                     "-device", f"{card[0]},netdev=n{i},mac=02:00:00:00:00:0{i + 1},addr={i + 4},romfile="]
        self._start([*args, "-kernel", vmlinuz, "-initrd", initrd,
                     "-append", f"console=ttyS0 quiet panic=-1 net.ifnames=0 hugepages={HUGEPAGES} {self._append}"])

    CARDS = ["0000:00:04.0", "0000:00:05.0"]

    def bind(self):
        """Away from the kernel's drivers, to uio_pci_generic."""
        self.check("chmod 755 / /usr /usr/lib /usr/lib/x86_64-linux-gnu /lib /lib/x86_64-linux-gnu /usr/lib/x86_64-linux-gnu/dpdk /usr/lib/x86_64-linux-gnu/dpdk/*; mkdir -p /dev/hugepages /run /var/run && mount -t hugetlbfs none /dev/hugepages && mkdir -p /dev/net; "
                   "[ -e /dev/net/tun ] || mknod /dev/net/tun c 10 200")
        for card in self.CARDS:
            self.check(f"cd /sys/bus/pci/devices/{card} && echo uio_pci_generic > driver_override && "
                       f"{{ [ ! -e driver ] || echo {card} > driver/unbind; }} && echo {card} > /sys/bus/pci/drivers_probe && "
                       f"readlink driver | grep -q uio_pci_generic")

    def start_vnicd(self, ports, mode):
        line = " ".join(f"--port {name}={port}" for name, port in ports.items())
        self.check(f"(vnicd {line} --forward-mode {mode} --json --stats-period 1 > /tmp/out 2> /tmp/err; echo ended $? >> /tmp/err) &"
                   f" for i in $(seq 300); do grep -q 'vnicd: ready' /tmp/err && exit 0; grep -q ended /tmp/err && break; "
                   f"sleep 0.1; done; cat /tmp/err; exit 1", 60)
        return self.check("cat /tmp/err")

    def stop_vnicd(self):
        """The final statistics."""
        self.check("kill -TERM $(pidof vnicd); for i in $(seq 100); do grep -q ended /tmp/err && break; sleep 0.1; done; "
                   "grep -q 'ended 0' /tmp/err", 30)
        return json.loads(self.check("tail -n 1 /tmp/out"))["ports"]

    def stats(self):
        return json.loads(self.check("tail -n 1 /tmp/out"))["ports"]


@pytest.mark.guest
class PciTest(unittest.TestCase):
    def setUp(self):
        self.dir = vnictest.tmpdir()

    def boot(self, card, sockets):
        try:
            guests.qemu_program(), guests.qemu_kernel(), pmd_files()
            guest = PciGuest(card, sockets)
        except guests.Missing as e:
            self.skipTest(str(e))
        self.addCleanup(guest.kill9)
        guest.wait_ready()
        guest.bind()
        return guest


class Cards(PciTest):
    """Frames cross from one card to the other, unharmed and counted."""

    def peers(self):
        sockets = [os.path.join(self.dir, name) for name in "ab"]
        peers = []
        for path in sockets:
            peer = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self.addCleanup(peer.close)
            peer.bind(path + ".peer")
            peer.settimeout(10)
            peers.append(peer)
        return sockets, peers

    def pass_frame(self, peers, source, sockets, frame):
        peers[source].sendto(frame, sockets[source] + ".qemu")
        deadline = time.monotonic() + 20
        while True:
            self.assertLess(time.monotonic(), deadline, "no frame")
            got = peers[1 - source].recv(65536)
            if got[12:14] == frame[12:14]:
                return got

    def forward(self, card):
        sockets, peers = self.peers()
        guest = self.boot(card, sockets)
        log = guest.start_vnicd({f"up{i}": f"nic,dev={address}" for i, address in enumerate(guest.CARDS)}, "io")
        self.assertEqual(re.findall(r"port up\d: nic \S+ \(driver (\S+)\)", log), [card[1]] * 2)
        # A link may take its time: the first frame is sent until it comes, in both directions.
        for source in (0, 1):
            peers[1 - source].settimeout(0.2)
            for _ in range(100):
                peers[source].sendto(fe.ethernet(b"hello"), sockets[source] + ".qemu")
                try:
                    peers[1 - source].recv(65536)
                    break
                except TimeoutError:
                    pass
            else:
                self.fail(f"nothing passes from card {source}")
        # More of them may be under way.
        time.sleep(0.3)
        for peer in peers:
            peer.setblocking(False)
            try:
                while peer.recv(65536):
                    pass
            except BlockingIOError:
                peer.settimeout(10)
        n = 0
        for length, source in itertools.product((60, 61, 64, 128, 1000, 1513, 1514), (0, 1)):
            frame = fe.ethernet(os.urandom(length - 14))
            self.assertEqual(self.pass_frame(peers, source, sockets, frame).hex(), frame.hex(), (length, source))
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

    def test_vmxnet3(self):
        self.forward(VMXNET3)

    @pytest.mark.long
    def test_virtio(self):
        self.forward(VIRTIO)


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
        guest.start_vnicd({"up0": f"nic,dev={guest.CARDS[0]}", "t0": "tap"}, "io")
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


if __name__ == "__main__":
    unittest.main(verbosity=2)

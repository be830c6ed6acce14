# SPDX-License-Identifier: BSD-3-Clause
"""A QEMU guest with PCI network cards, in which vnicd runs and drives them by DPDK's PMDs for the real ones.

    this machine                         the guest
    peer a -- datagrams -- QEMU card 0 -- PMD -- up0 \\
                                                      vnicd
    peer b -- datagrams -- QEMU card 1 -- PMD -- up1 /
"""
import json
import os
import pathlib
import socket
import sys
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "lib"), str(HERE.parent / "guests"), str(HERE.parent / "hostile")]
import guests  # noqa: E402
import rawfe as fe  # noqa: E402
import vnictest  # noqa: E402
from qmp import Qmp  # noqa: E402

PMDS = "/usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0"
PMD_NAMES = ("bus_pci", "bus_vdev", "mempool_ring", "net_bond", "net_e1000", "net_vmxnet3", "net_virtio")
MODULES = ("uio", "uio_pci_generic", "irqbypass", "vfio", "vfio_virqfd", "vfio_iommu_type1", "vfio-pci-core", "vfio-pci", "tun")
ASK = vnictest.ROOT / "build/tests/guests/ask"
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
    """Cards of one kind, the other end of each a unix socket SOCK.qemu (QEMU's) and SOCK.peer, or what netdevs say."""

    NEEDS_NETWORK = False
    BOOT_TIMEOUT = 120

    def __init__(self, card, sockets=(), *, netdevs=None, pluggable=False, machine="q35", prefix=(), vfio=False):
        """pluggable: on a q35, each card is behind a port of its own, as hot-plugging it demands. vfio: there is an IOMMU
        (of a q35), and cards are given to vfio-pci, not to uio_pci_generic."""
        super().__init__("192.0.2.1", name=f"pci-{card[0].split(',')[0]}")
        vmlinuz, modules = guests.qemu_kernel()
        found = {p.stem: p for p in pathlib.Path(modules).rglob("*.ko")}
        initrd = guests.build_initramfs(os.path.join(self.dir, "initrd"), [found[name] for name in MODULES if name in found],
                                        [vnictest.VNICD, "ip", ASK], *pmd_files())
        self.qmp_path = os.path.join(self.dir, "qmp")
        self.card, self.qmp = card[0], None
        self.driver = "vfio-pci" if vfio else "uio_pci_generic"
        self.has_ports = pluggable and machine == "q35"
        netdevs = netdevs or [f"dgram,local.type=unix,local.path={path}.qemu,remote.type=unix,remote.path={path}.peer"
                              for path in sockets]
        self.cards = [f"0000:{i + 1:02x}:00.0" if self.has_ports else f"0000:00:{i + 4:02x}.0" for i in range(len(netdevs))]
        args = [*prefix, guests.qemu_program(), "-machine", machine, "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", 2,
                "-m", 768, "-nodefaults", "-nographic", "-serial", "stdio", "-monitor", "none",
                "-qmp", f"unix:{self.qmp_path},server=on,wait=off"]
        if vfio:
            args += ["-device", "intel-iommu,intremap=off,caching-mode=on"]
        for i, netdev in enumerate(netdevs):
            if self.has_ports:
                args += ["-device", f"pcie-root-port,id=rp{i},chassis={i + 1},slot={i + 1},addr={i + 4}"]
            kind, _, rest = netdev.partition(",")
            args += ["-netdev", f"{kind},id=n{i},{rest}", "-device", self._option(i)]
        self._start([*args, "-kernel", vmlinuz, "-initrd", initrd,
                     "-append", f"console=ttyS0 quiet panic=-1 net.ifnames=0 hugepages={HUGEPAGES} "
                     f"{'intel_iommu=on ' if vfio else ''}{self._append}"])

    def _device(self, i):
        driver, *options = self.card.split(",")
        return {"driver": driver, **dict(option.split("=", 1) for option in options), "netdev": f"n{i}",
                "mac": f"02:00:00:00:00:0{i + 1}", "romfile": "", "id": f"card{i}",
                **({"bus": f"rp{i}"} if self.has_ports else {"addr": f"{i + 4}"})}

    def _option(self, i):
        device = self._device(i)
        return ",".join([device.pop("driver"), *(f"{k}={v}" for k, v in device.items())])

    def monitor(self):
        self.qmp = self.qmp or Qmp(self.qmp_path, timeout=20)
        return self.qmp

    def unplug(self, i):
        """When this returns the guest has let it go."""
        self.monitor()("device_del", id=f"card{i}")
        self.qmp.wait_event("DEVICE_DELETED", f"card{i}")

    def plug(self, i):
        self.monitor()("device_add", **self._device(i))

    def prepare(self):
        self.check("cd /usr/lib/x86_64-linux-gnu && chmod 755 / /usr /usr/lib . /lib /lib/x86_64-linux-gnu dpdk dpdk/*; "
                   "mkdir -p /dev/hugepages /run /var/run && mount -t hugetlbfs none /dev/hugepages && mkdir -p /dev/net; "
                   "[ -e /dev/net/tun ] || mknod /dev/net/tun c 10 200")
        for i in range(len(self.cards)):
            self.bind(i)

    def bind(self, i, timeout=20):
        """Away from the kernel's drivers, to that for DPDK. (QEMU's IOMMU does not remap interrupts here.)"""
        card = self.cards[i]
        self.check(f"for i in $(seq {timeout * 10}); do [ -e /sys/bus/pci/devices/{card} ] && break; sleep 0.1; done; "
                   f"echo 1 > /sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts; "
                   f"cd /sys/bus/pci/devices/{card} && echo {self.driver} > driver_override && "
                   f"{{ [ ! -e driver ] || echo {card} > driver/unbind; }} && echo {card} > /sys/bus/pci/drivers_probe && "
                   f"readlink driver | grep -q {self.driver}", timeout + 5)

    def start_vnicd(self, ports, mode, eal=""):
        line = " ".join(f"--port {name}={port}" for name, port in ports.items())
        self.check(f"(vnicd {eal}{line} --forward-mode {mode} --json --stats-period 1 > /tmp/out 2> /tmp/err; echo ended $? >> /tmp/err) &"
                   f" for i in $(seq 300); do grep -q 'vnicd: ready' /tmp/err && exit 0; grep -q ended /tmp/err && break; "
                   f"sleep 0.1; done; cat /tmp/err; exit 1", 60)
        return self.log()

    def log(self):
        return self.check("cat /tmp/err")

    def stop_vnicd(self):
        """The final statistics."""
        self.check("kill -TERM $(pidof vnicd); for i in $(seq 100); do grep -q ended /tmp/err && break; sleep 0.1; done; "
                   "grep -q 'ended 0' /tmp/err", 30)
        return json.loads(self.check("tail -n 1 /tmp/out"))["ports"]

    def stats(self):
        return json.loads(self.check("tail -n 1 /tmp/out"))["ports"]

    def rpc(self, method, **params):
        line = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        lines = self.check(f"/usr/sbin/ask /run/vnicd/vnicd.ctl '{line}'").splitlines()
        # QEMU's cards have something to say at times.
        answer = json.loads(next(line for line in lines if line.startswith('{"jsonrpc"')))
        if "error" in answer:
            raise AssertionError(f"{method} {params}: {answer['error']}")
        return answer["result"]

    def port(self, name):
        return self.rpc("port.show", name=name)

    def kill9(self):
        if self.qmp:
            self.qmp.close()
            self.qmp = None
        super().kill9()


class PciTest(unittest.TestCase):
    def setUp(self):
        self.dir = vnictest.tmpdir()

    def boot(self, card, sockets=(), **kw):
        try:
            guests.qemu_program(), guests.qemu_kernel(), pmd_files()
            guest = PciGuest(card, sockets, **kw)
        except guests.Missing as e:
            self.skipTest(str(e))
        self.addCleanup(guest.kill9)
        guest.wait_ready()
        guest.prepare()
        return guest

    def make_peers(self, n):
        self.sockets = [os.path.join(self.dir, f"card{i}") for i in range(n)]
        self.peers = []
        for path in self.sockets:
            peer = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self.addCleanup(peer.close)
            peer.bind(path + ".peer")
            peer.settimeout(10)
            self.peers.append(peer)

    def send(self, source, frame):
        self.peers[source].sendto(frame, self.sockets[source] + ".qemu")

    def drain(self):
        """What is under way has come, and nobody wants it."""
        time.sleep(0.3)
        for peer in self.peers:
            peer.setblocking(False)
            try:
                while peer.recv(65536):
                    pass
            except BlockingIOError:
                peer.settimeout(10)

    def passes(self, source, sink, frame=None, timeout=20.0):
        """Seconds until a frame, sent again and again, comes through; None: it does not."""
        frame, start = frame or fe.ethernet(os.urandom(16) + b"hello"), time.monotonic()
        self.peers[sink].settimeout(0.2)
        while time.monotonic() - start < timeout:
            self.send(source, frame)
            try:
                while self.peers[sink].recv(65536)[14:30] != frame[14:30]:
                    pass
                return time.monotonic() - start
            except TimeoutError:
                pass
        return None

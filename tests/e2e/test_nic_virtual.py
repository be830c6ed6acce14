# SPDX-License-Identifier: BSD-3-Clause
"""NIC ports over DPDK's virtual devices that need a peer: memif between two vnicd, bonds, af_xdp.

    peer a -- d0, first vnicd, up0 -- the device -- second vnicd or a kernel's interface -- d0 -- peer b
"""
import os
import pathlib
import socket
import sys
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lib")]
import netns  # noqa: E402
import test_nic  # noqa: E402
import vnictest  # noqa: E402
import pytest  # noqa: E402

PMDS = pathlib.Path("/usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0")
SIZES = (60, 61, 64, 590, 1513, 1514, 1518)


def has(pmd):
    return unittest.skipUnless((PMDS / f"librte_net_{pmd}.so.23.0").exists(), f"DPDK has no net_{pmd} here")


def frame(size=64):
    """A broadcast, unlike any other."""
    return b"\xff" * 6 + b"\2\0\0\0\1\1" + b"\x88\xb5" + os.urandom(size - 14)


class Virtual(unittest.TestCase):
    def setUp(self):
        self.dir = vnictest.tmpdir()

    def vnicd(self, name, ports, mode="io", vdevs=(), netns_name=None):
        """One with a socket port d0, whose peer is the test's."""
        path = os.path.join(self.dir, name)
        peer = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(peer.close)
        peer.bind(path + ".peer")
        eal = [f"{word}-{name}" if word == "vnictest" else word for word in test_nic.eal(*vdevs)]
        backend = vnictest.Vnicd({"d0": f"dgram,local={path}.sock,remote={path}.peer", **ports}, mode, eal=eal,
                                 netns=netns_name)
        self.addCleanup(backend.kill9)
        return backend, Side(lambda data: peer.sendto(data, path + ".sock"), peer)

    def netns(self):
        if os.geteuid() != 0:
            self.skipTest(netns.NEEDS_ROOT)
        ns = netns.Netns()
        self.addCleanup(ns.remove)
        return ns

    def interface(self, ns, name):
        sock = ns.socket(socket.AF_PACKET, socket.SOCK_RAW)
        self.addCleanup(sock.close)
        sock.bind((name, 3))  # ETH_P_ALL
        return Side(sock.send, sock)

    def passes(self, source, sink, timeout=20):
        """Seconds until a frame that is sent again and again comes through; None: it does not."""
        data, start = frame(), time.monotonic()
        sink.sock.settimeout(0.2)
        while time.monotonic() - start < timeout:
            source.send(data)
            try:
                while sink.sock.recv(65536) != data:
                    pass
                return time.monotonic() - start
            except TimeoutError:
                pass
        return None

    def one_way(self, source, sink, sizes=SIZES):
        """Frames pass, byte for byte."""
        self.assertIsNotNone(self.passes(source, sink))
        sink.sock.settimeout(5)
        for size in sizes:
            data = frame(size)
            source.send(data)
            got = sink.sock.recv(65536)
            while got[:30] != data[:30]:
                got = sink.sock.recv(65536)
            self.assertEqual(got.hex(), data.hex(), size)

    def exchange(self, a, b, sizes=SIZES):
        self.one_way(a, b, sizes)
        self.one_way(b, a, sizes)

    def link(self, backend, name="up0"):
        return backend.rpc("port.show", {"name": name})["link"]

    def wait_link(self, backend, state, name="up0", timeout=10):
        deadline = time.monotonic() + timeout
        while self.link(backend, name) != state:
            self.assertLess(time.monotonic(), deadline, f"{name} is not {state}: {backend.output}")
            time.sleep(0.05)

    def stop(self, *backends):
        for backend in backends:
            self.assertEqual(backend.stop(), 0, backend.output[-2000:])


class Side:
    """An end, to send to and to receive from."""

    def __init__(self, send, sock):
        self.send, self.sock = send, sock


@has("memif")
class Memif(Virtual):
    """Shared memory between two vnicd. A client connects when it starts, and only then."""

    def port(self, role, more=""):
        return f"nic,vdev=net_memif0,vdev.role={role},vdev.socket={self.dir}/memif.sock,vdev.socket-abstract=no{more}"

    def test_both_roles(self):
        server, a = self.vnicd("a", {"up0": self.port("server")})
        self.assertEqual(self.link(server), "down")
        client, b = self.vnicd("b", {"up0": self.port("client")})
        self.wait_link(server, "up")
        self.wait_link(client, "up")
        self.exchange(a, b)
        # Without the one the other has no link, and counts so.
        client.rpc("port.remove", {"name": "up0"})
        self.wait_link(server, "down")
        time.sleep(0.3)  # until workers know
        a.send(frame())
        server.wait_stats(lambda ports: ports["up0"]["drops"].get("link_down", 0) >= 1)
        client.rpc("port.add", {"config": "up0=" + self.port("client")})
        self.wait_link(server, "up")
        self.exchange(a, b)
        self.stop(server, client)


@has("bond")
class Bond(Virtual):
    @pytest.mark.long
    def test_lacp(self):
        """Two vnicd speak LACP over two veth pairs (IEEE 802.3ad), without other frames to send it with."""
        ns, sides, backends = self.netns(), [], []
        for i in (0, 1):
            ns.run("ip", "link", "add", f"a{i}", "type", "veth", "peer", "name", f"b{i}")
            ns.run("ip", "link", "set", f"a{i}", "up")
            ns.run("ip", "link", "set", f"b{i}", "up")
        for name in "ab":
            vdevs = [f"net_af_packet{i},iface={name}{i}" for i in (0, 1)]
            backend, side = self.vnicd(name, {"up0": "nic,dev=net_bonding0"}, netns_name=ns.name, vdevs=[
                *vdevs, "net_bonding0,mode=4,slave=net_af_packet0,slave=net_af_packet1"])
            backends.append(backend)
            sides.append(side)
        time.sleep(3)  # as long as partners wait for each other
        self.exchange(*sides, sizes=(60, 64, 1514))
        self.stop(*backends)


@has("af_xdp")
class AfXdp(Virtual):
    def test_receives(self):
        """What comes in. (What goes out the kernel drops on a veth, while DPDK 22.11's PMD reports it as sent.)"""
        ns = self.netns()
        ns.run("ip", "link", "add", "x0", "type", "veth", "peer", "name", "x1")
        ns.run("ip", "link", "set", "x0", "up")
        ns.run("ip", "link", "set", "x1", "up")
        backend, a = self.vnicd("a", {"up0": "nic,vdev=net_af_xdp0,vdev.iface=x0"}, netns_name=ns.name)
        b = self.interface(ns, "x1")
        self.one_way(b, a, sizes=(60, 64, 590, 1513, 1514))
        self.stop(backend)


if __name__ == "__main__":
    unittest.main(verbosity=2)

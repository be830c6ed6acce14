# SPDX-License-Identifier: BSD-3-Clause
"""Ports that are interfaces of this machine's kernel: a guest talks to the kernel's own TCP, all offloads at their defaults.

User-mode Linux behind one port, a network namespace behind the other. Files cross in both directions; no side may
count a wrong checksum, and frames longer than the MTU have to be seen where both ends can.
"""
import os
import pathlib
import signal
import socket
import struct
import subprocess
import sys
import time
import unittest

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lib"), str(HERE.parent / "guests"), str(HERE.parent / "hostile")]
import guests  # noqa: E402
import netns  # noqa: E402
import oracle  # noqa: E402
import rawfe as fe  # noqa: E402
import vnictest  # noqa: E402
import wire as w  # noqa: E402

GUEST, HOST = "10.0.0.1", "10.0.0.2"
GUEST6, HOST6 = "fd00::1", "fd00::2"
MIB = 8


class KernelPort(guests.GuestTest):
    KIND = guests.UmlGuest

    def setUp(self):
        if os.geteuid() != 0:
            self.skipTest(netns.NEEDS_ROOT)
        self.mid = netns.Netns(ipv6=True)  # vnicd's
        self.addCleanup(self.mid.remove)
        self.host = netns.Host(HOST, HOST6)
        self.addCleanup(self.host.remove)

    def veth(self, mtu=1500):
        netns.run("ip", "-n", self.mid.name, "link", "add", "p0", "mtu", mtu, "type", "veth",
                  "peer", "name", "eth0", "mtu", mtu, "netns", self.host.name)
        self.mid.run("ip", "link", "set", "p0", "up")
        self.host.up("eth0")

    def pair(self, port, mtu=1500, guest="", **options):
        """vnicd with that port, up0, and a guest beside it."""
        self.vnicd = self.start({"vm0": f"vhost-user,mtu={mtu}{guest}", "up0": port}, "switch", netns=self.mid.name, **options)
        self.vm = self.guest(self.vnicd.sock("vm0"), GUEST, mtu=mtu, modules=("crc-ccitt", "ipv6"), programs=("ip",)).wait_ready()
        self.vm.check(f"/usr/sbin/ip address add {GUEST6}/64 dev eth0 nodad")

    def assert_no_errors(self):
        self.assertEqual(self.host.errors(), {})
        self.assertEqual(netns.errors(self.vm.check("cat /proc/net/snmp /proc/net/snmp6")), {})

    def drops(self):
        """But for what a guest does not want, and what it has no buffers for just now, which is TCP's business."""
        stats = self.vnicd.stats()
        return {(p, r): n for p, s in stats.items() for r, n in s["drops"].items() if n and r not in ("filtered", "no_buffer")}

    def move(self, source, sink, address, name):
        """Returns the mean length of the frames from and to up0 meanwhile."""
        digest = source.make_file(name, MIB)
        source.serve()
        before = self.vnicd.stats()["up0"]
        got, seconds = sink.fetch(address, name)
        after = self.vnicd.stats()["up0"]
        self.assertEqual(got, digest)
        means = [(after[f"{d}_bytes"] - before[f"{d}_bytes"]) / max(after[f"{d}_packets"] - before[f"{d}_packets"], 1)
                 for d in ("rx", "tx")]
        self.report(f"{MIB} MiB from {address} in {seconds:.2f} s; frames in {means[0]:.0f}, out {means[1]:.0f} bytes")
        return means

    def exchange(self, *, long_in=True, long_out=True, mtu=1500, ipv6=True):
        before = self.drops()  # what came before the guest had booted
        for size, count in ((56, 5), (1472, 5), (8192, 5)):
            self.assertEqual(self.host.ping(GUEST, count, size), count, size)
            self.vm.ping(HOST, size=size, count=count)
        to_guest = [self.move(self.host, self.vm, HOST, "there")]
        to_host = [self.move(self.vm, self.host, GUEST, "back")]
        if ipv6:
            # busybox in the guest reads no brackets, so the guest serves.
            to_host.append(self.move(self.vm, self.host, GUEST6, "back6"))
        for means in to_guest:
            (self.assertGreater if long_in else self.assertLessEqual)(means[0], mtu + 14)
        for means in to_host:
            (self.assertGreater if long_out else self.assertLessEqual)(means[1], mtu + 14)
        self.assert_no_errors()
        self.assertEqual(self.drops(), before)


class Packet(KernelPort):
    """An end of a veth pair, by AF_PACKET."""

    def test_mtu_1500(self):
        self.veth()
        self.pair("packet,ifname=p0")
        self.exchange()

    @pytest.mark.long
    def test_mtu_9000(self):
        self.veth(9000)
        self.pair("packet,ifname=p0", mtu=9000)
        self.exchange(mtu=9000)
        self.assertEqual(self.host.ping(GUEST, 5, 8900), 5)

    @pytest.mark.long
    def test_guest_without_offloads(self):
        """Segments and checksums are made here, of what the kernel leaves open."""
        self.veth()
        self.pair("packet,ifname=p0", guest=",without=csum+guest_csum+mrg_rxbuf")
        self.exchange(long_out=False)


class Tap(KernelPort):
    """An interface of the kernel; the host's end of it is moved to a namespace of its own, away from vnicd."""

    def to_host(self, ifname="up0"):
        self.mid.run("ip", "link", "set", ifname, "netns", self.host.name)
        self.host.up(ifname)

    def test_mtu_1500(self):
        self.pair("tap")
        self.to_host()
        self.exchange()

    @pytest.mark.long
    def test_mtu_9000(self):
        self.pair("tap,mtu=9000", mtu=9000)
        self.to_host()
        self.exchange(mtu=9000)
        self.assertEqual(self.host.ping(GUEST, 5, 8900), 5)

    @pytest.mark.long
    def test_guest_without_offloads(self):
        self.pair("tap", guest=",without=csum+guest_csum+mrg_rxbuf")
        self.to_host()
        self.exchange(long_out=False)

    @pytest.mark.long
    def test_several_queues(self):
        self.pair("tap,queues=2", guest=",queues=2")
        self.to_host()
        self.exchange()

    def test_kept_and_found_again(self):
        """A persistent one stays, with its address; others go with their port."""
        self.pair("tap,ifname=keep0,persist=on,mac=02:00:00:00:00:77")
        self.assertEqual(self.vnicd.rpc("port.show", {"name": "up0"})["mac"].lower(), "02:00:00:00:00:77")
        self.vnicd.rpc("port.add", {"config": "up1=tap,ifname=gone0"})
        self.assertIn("gone0", self.mid.run("ip", "link"))
        for port in ("up0", "up1"):
            self.vnicd.rpc("port.remove", {"name": port})
        links = self.mid.run("ip", "link")
        self.assertNotIn("gone0", links)
        self.assertIn("keep0", links)
        self.vnicd.rpc("port.add", {"config": "up0=tap,ifname=keep0"})
        self.to_host("keep0")
        self.assertEqual(self.host.ping(GUEST, 3), 3)


class Withheld(KernelPort):
    """without= at the port: software does it, in front of the kernel."""

    @pytest.mark.long
    def test_tap(self):
        self.pair("tap,without=tso4+tso6+uso4+uso6")
        self.mid.run("ip", "link", "set", "up0", "netns", self.host.name)
        self.host.up("up0")
        self.assertEqual(self.vnicd.rpc("port.show", {"name": "up0"})["capabilities"], ["checksum"])
        self.exchange(long_in=False, long_out=False)

    @pytest.mark.long
    def test_packet(self):
        self.veth()
        self.pair("packet,ifname=p0,without=checksum")
        self.assertEqual(self.vnicd.rpc("port.show", {"name": "up0"})["capabilities"], [])
        self.exchange(long_out=False)


class Macvtap(KernelPort):
    """All traffic of an end of a veth pair."""

    @pytest.mark.long
    def test_mtu_1500(self):
        self.veth()
        self.pair("tap,macvtap=p0")
        self.exchange()

    @pytest.mark.long
    def test_mtu_9000(self):
        self.veth(9000)
        self.pair("tap,macvtap=p0", mtu=9000)
        self.exchange(mtu=9000)

    def test_goes_with_its_port(self):
        self.veth()
        nodes = set(os.listdir("/dev"))
        self.pair("tap,macvtap=p0,queues=2")
        self.assertIn("up0@p0", self.mid.run("ip", "link"))
        self.vnicd.rpc("port.remove", {"name": "up0"})
        self.assertNotIn("up0@p0", self.mid.run("ip", "link"))
        self.assertEqual(set(os.listdir("/dev")) - nodes, set())


def tagged(frame, *tags):
    """The frame with these (protocol, tag) behind its addresses."""
    return frame[:12] + b"".join(struct.pack("!HH", *tag) for tag in tags) + frame[12:]


class Frames(vnictest.WithGuests, unittest.TestCase):
    """Two raw front-ends, a and b, each wired to an end of a veth pair: what one sends crosses the kernel to the other."""

    LONGEST = 1514

    def setUp(self):
        if os.geteuid() != 0:
            self.skipTest(netns.NEEDS_ROOT)
        self.ns = netns.Netns()
        self.addCleanup(self.ns.remove)
        self.make_links()
        self.vnicd = vnictest.Vnicd({"a": "vhost-user", "up0": self.port("p0"), "up1": self.port("p1"), "b": "vhost-user"},
                                    "io", netns=self.ns.name)
        self.addCleanup(self.stop)
        self.guests = []
        self.a, self.b = self.guest("a"), self.guest("b")

    def make_links(self):
        self.ns.run("ip", "link", "add", "p0", "type", "veth", "peer", "name", "p1")
        for link in ("p0", "p1"):
            self.ns.run("ip", "link", "set", link, "up")

    def port(self, link):
        return f"packet,ifname={link}"

    def stop(self):
        super().stop()
        self.assertNotIn("Invalid port_id", self.vnicd.output, "DPDK is asked of an ethdev that is not there")

    def guest(self, port, **options):
        guest = fe.RawFrontend(self.vnicd.sock(port), **options).start()
        self.guests.append(guest)
        return guest

    def drops(self, port):
        return {r: n for r, n in self.vnicd.stats()[port]["drops"].items() if n}

    def wait_drops(self, port, reason, n):
        return self.vnicd.wait_stats(lambda ports: ports[port]["drops"].get(reason, 0) >= n)

    def pass_frames(self, frames, source=None, sink=None):
        for frame in frames:
            (source or self.a).send_frame(frame)
            self.assertEqual((sink or self.b).receive_frame().hex(), frame.hex())

    def test_all_lengths_both_ways(self):
        frames = [fe.ethernet(os.urandom(n - 14)) for n in (60, 61, 127, 128, 129, 383, 384, 1000, 1513, self.LONGEST)]
        self.pass_frames(frames)
        self.pass_frames(frames, self.b, self.a)
        sent = sum(map(len, frames))
        stats = self.vnicd.stats()
        for port in ("up0", "up1"):
            for way in ("rx", "tx"):
                self.assertEqual((stats[port][f"{way}_packets"], stats[port][f"{way}_bytes"]), (len(frames), sent), port)
            self.assertEqual(self.drops(port), {})

    def test_tags_stay(self):
        """The kernel takes the outer one out, and gives it beside the frame."""
        plain = fe.ethernet(os.urandom(100))
        for tags in ([(0x8100, 5)], [(0x8100, 0)], [(0x8100, 0xffff)], [(0x88a8, 7)], [(0x88a8, 7), (0x8100, 5)],
                     [(0x8100, 1), (0x8100, 2)]):
            with self.subTest(tags):
                self.pass_frames([tagged(plain, *tags)])
        # One tag may stand beside a frame of the whole MTU.
        self.pass_frames([tagged(fe.ethernet(os.urandom(self.LONGEST - 14)), (0x8100, 5))])

    def test_too_long(self):
        for length in (self.LONGEST + 1, 1900):
            self.a.send_frame(fe.ethernet(os.urandom(length - 14)))
        self.wait_drops("up0", "too_long", 2)
        self.assertEqual(self.drops("up0"), {"too_long": 2})
        self.pass_frames([fe.ethernet(b"after that")])

    def test_link_goes_and_comes(self):
        self.ns.run("ip", "link", "set", "p1", "down")
        self.until(lambda: self.link("up0") == "down")
        self.a.send_frame(fe.ethernet(b"nobody there"))
        self.wait_drops("up0", "link_down", 1)
        self.ns.run("ip", "link", "set", "p1", "up")
        self.until(lambda: self.link("up0") == "up")
        self.pass_frames([fe.ethernet(b"again")])

    def test_first_frame_after_the_interface_was_down(self):
        """The kernel tells the socket of that once, and it is over."""
        for _ in range(3):
            self.ns.run("ip", "link", "set", "p0", "down")
            self.until(lambda: self.link("up0") == "down")
            self.ns.run("ip", "link", "set", "p0", "up")
            self.until(lambda: self.link("up0") == "up")
            self.until(lambda: self.link("up1") == "up")
            self.pass_frames([fe.ethernet(b"the first")])
        self.assertEqual(self.drops("up0"), {})

    def test_carrier_goes_and_comes_under_load(self):
        """Each frame is sent or dropped, and each that was sent goes out, or the kernel has counted what it lost."""
        for flapping in ("p1", "p0"):
            with self.subTest(flapping):
                self.flap(flapping)

    def flap(self, flapping, times=4):
        before, (wire, below), n_sent, n_received = self.vnicd.stats(), self.on_the_wire(), 0, 0
        for _ in range(times):
            with subprocess.Popen(self.ns.command("sh", "-c", f"sleep 0.02; ip link set {flapping} down; sleep 0.1; "
                                                              f"ip link set {flapping} up; sleep 0.1")) as process:
                while process.poll() is None:
                    for _ in range(8):
                        self.a.send_frame(fe.ethernet(bytes(50)), wait=False)
                    n_sent += 8
                    n_received += self.b.drain()
                    time.sleep(0.001)
        for port in ("up0", "up1"):
            self.until(lambda: self.link(port) == "up")
        self.a.reclaim_tx(all_of_them=True)
        n_received += self.b.drain(0.2)
        after, (wire, below) = self.vnicd.stats(), (now - then for now, then in zip(self.on_the_wire(), (wire, below)))
        sent = after["up0"]["tx_packets"] - before["up0"]["tx_packets"]
        drops = {r: n - before["up0"]["drops"].get(r, 0) for r, n in after["up0"]["drops"].items()}
        self.assertEqual(sent + sum(drops.values()), n_sent)
        self.assertEqual({r for r, n in drops.items() if n} - {"link_down", "tx_full"}, set())
        self.assertGreater(drops.get("link_down", 0), 0)
        self.assertEqual(after["b"]["tx_packets"] - before["b"]["tx_packets"], n_received)
        lost = after["up0"]["device"]["oerrors"] - before["up0"]["device"]["oerrors"]
        # Of those that it refuses the kernel counts some, and some not.
        self.assertLessEqual(lost - drops.get("tx_full", 0), sent - wire, (drops, lost))
        self.assertLessEqual(sent - wire, lost + self.LOST_BELOW * below, (drops, lost, below))

    LOST_BELOW = 0  # the port's interface is p0

    def on_the_wire(self):
        """What has left p0, and what it has lost."""
        return [int(self.ns.run("cat", f"/sys/class/net/p0/statistics/tx_{what}")) for what in ("packets", "dropped")]

    def link(self, port):
        return self.vnicd.rpc("port.show", {"name": port})["link"]

    def until(self, condition, seconds=10):
        deadline = time.monotonic() + seconds
        while not condition():
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.02)

    def test_interface_is_deleted(self):
        """Its port stays, without a link; a new interface wants a new port."""
        self.pass_frames([fe.ethernet(b"before")])
        self.ns.run("ip", "link", "del", "p0")
        self.until(lambda: self.link("up0") == "down" and self.link("up1") == "down")
        for _ in range(20):
            self.a.send_frame(fe.ethernet(b"nobody there"))
        self.wait_drops("up0", "link_down", 20)
        for port in ("up0", "up1"):
            self.vnicd.rpc("port.remove", {"name": port})
        self.make_links()
        # In io the order is that of adding: a with b, up0 with up1.
        for port, link in (("up0", "p0"), ("up1", "p1")):
            self.vnicd.rpc("port.add", {"config": f"{port}={self.port(link)}"})
        self.pass_frames([fe.ethernet(b"a and b")])

    def test_interface_leaves_and_returns(self):
        """The socket has lost it: the port says so, instead of being up with nothing in it."""
        other = netns.Netns()
        self.addCleanup(other.remove)
        self.pass_frames([fe.ethernet(b"before")])
        self.ns.run("sh", "-c", f"ip link set p0 netns {other.name}; ip -n {other.name} link set p0 netns {self.ns.name}; "
                                "ip link set p0 up")
        self.until(lambda: self.link("up1") == "up" and "LOWER_UP" in self.ns.run("ip", "link", "show", "p0"))
        time.sleep(0.25)  # the port looks ten times a second
        self.assertEqual(self.link("up0"), "down")
        self.a.send_frame(fe.ethernet(b"nobody there"))
        self.wait_drops("up0", "link_down", 1)

    def test_interface_leaves_a_bridge(self):
        """Whose message about that is much like the one of an interface that is deleted."""
        self.ns.run("ip", "link", "add", "br1", "type", "bridge")
        self.ns.run("ip", "link", "set", "p0", "master", "br1")
        self.ns.run("ip", "link", "set", "p0", "nomaster")
        time.sleep(0.25)
        self.assertEqual(self.link("up0"), "up")
        self.pass_frames([fe.ethernet(b"still here")])

    def test_one_that_is_refused_costs_no_others(self):
        """Of a burst."""
        try:
            self.ns.run("tc", "qdisc", "add", "dev", "p0", "root", "tbf", "rate", "100mbit", "burst", "1000", "limit", "100000",
                        "mtu", "1000")
        except (AssertionError, FileNotFoundError) as e:
            self.skipTest(f"no token bucket filter: {e}")
        frames = [fe.ethernet(bytes([i]) * (1400 if i == 2 else 50)) for i in range(10)]
        ring, pair = self.a.pairs[0].tx, self.a.pairs[0]
        for frame in frames:
            gpa = pair.tx_free.pop(0)
            self.a.mem.write(gpa, self.a.frame_header() + frame)
            ring.add([fe.D(gpa, len(self.a.frame_header()) + len(frame))], gpa, publish=False)
        ring.publish()
        for frame in frames[:2] + frames[3:]:
            self.assertEqual(self.b.receive_frame().hex(), frame.hex())
        self.assertEqual(self.drops("up0"), {"tx_full": 1})

    def test_own_frames_of_the_host_are_left_alone(self):
        self.ns.run("ip", "address", "add", "10.0.0.9/24", "dev", "p0")
        self.ns.ping("10.0.0.7", 1)
        time.sleep(0.1)
        self.assertEqual(self.vnicd.stats()["up0"]["rx_packets"], 0)
        self.assertGreater(self.vnicd.stats()["up1"]["rx_packets"], 0, "on the wire they are")

    def test_counted_exactly(self):
        """While vnicd stands still frames wait in its ring, and the rest is the kernel's count."""
        self.vnicd.rpc("port.remove", {"name": "up1"})
        self.vnicd.rpc("port.remove", {"name": "b"})
        self.vnicd.rpc("port.add", {"config": "up1=packet,ifname=p1,ring=15"})
        with self.ns.packet_socket("p0") as sender:
            os.kill(self.vnicd.pid, signal.SIGSTOP)
            try:
                self.until(lambda: all((task / "stat").read_text().rpartition(")")[2].split()[0] == "T"
                                       for task in pathlib.Path(f"/proc/{self.vnicd.pid}/task").iterdir()))
                for i in range(100):
                    sender.send(fe.ethernet(struct.pack("!I", i) + bytes(60)))
                # Of a stopped process nobody asks for statistics.
                time.sleep(0.1)
            finally:
                os.kill(self.vnicd.pid, signal.SIGCONT)
        stats = self.vnicd.wait_stats(lambda p: p["up1"]["rx_packets"] + p["up1"]["device"]["imissed"] >= 100)["up1"]
        self.assertEqual(stats["rx_packets"] + stats["device"]["imissed"], 100)
        self.assertEqual(stats["rx_packets"], 15)


class UdpSegments(unittest.TestCase):
    """The kernel's UDP_SEGMENT: datagrams that travel as one frame, over a veth pair with a raw front-end behind p1."""

    SEGMENT, HOST, GUEST = 1000, {4: "10.0.0.2", 6: "fd00::2"}, {4: "10.0.0.1", 6: "fd00::1"}
    GUEST_MAC = "02:00:00:00:00:01"
    PAYLOAD = bytes(range(250)) * 50  # 12 datagrams and half a one

    def setUp(self):
        if os.geteuid() != 0:
            self.skipTest(netns.NEEDS_ROOT)
        if tuple(map(int, os.uname().release.split(".")[:2])) < (6, 2):
            self.skipTest("USO passes to and from the kernel since Linux 6.2")
        self.ns = netns.Netns(ipv6=True)
        self.addCleanup(self.ns.remove)
        self.ns.run("ip", "link", "add", "p0", "address", w.MAC, "type", "veth", "peer", "name", "p1")
        for version, bits in ((4, 24), (6, 64)):
            self.ns.run("ip", "address", "add", f"{self.HOST[version]}/{bits}", "dev", "p0", *["nodad"] * (version == 6))
        for link in ("p0", "p1"):
            self.ns.run("ip", "link", "set", link, "up")
        for version in (4, 6):
            self.ns.run("ip", "neigh", "replace", self.GUEST[version], "lladdr", self.GUEST_MAC, "dev", "p0")
        self.vnicd = vnictest.Vnicd({"b": "vhost-user", "up1": "packet,ifname=p1"}, "io", netns=self.ns.name)
        self.addCleanup(lambda: self.assertEqual(self.vnicd.stop(), 0, self.vnicd.output))

    def guest(self, *features):
        guest = fe.RawFrontend(self.vnicd.sock("b"), features=w.BASE | fe.bits(*features), size=256).start()
        self.addCleanup(guest.close)
        return guest

    def udp_socket(self, version):
        sock = self.ns.socket(socket.AF_INET6 if version == 6 else socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(sock.close)
        sock.bind((self.HOST[version], 7000))
        sock.settimeout(5)
        return sock

    def udp_from(self, guest):
        """The next frame of UDP, and its header of virtio-net; the kernel says other things, too."""
        while True:
            frame = guest.receive_frame()
            kind, = struct.unpack_from(">H", frame, 12)
            if (kind == w.ETH_IP and frame[23] == w.UDP) or (kind == w.ETH_IPV6 and frame[20] == w.UDP):
                return frame, guest.last_header

    def send_segments(self, version):
        sock = self.udp_socket(version)
        sock.setsockopt(socket.SOL_UDP if hasattr(socket, "SOL_UDP") else 17, 103, self.SEGMENT)  # UDP_SEGMENT
        sock.sendto(self.PAYLOAD, (self.GUEST[version], 7001))

    def datagrams(self):
        return [self.PAYLOAD[i:i + self.SEGMENT] for i in range(0, len(self.PAYLOAD), self.SEGMENT)]

    def test_from_the_kernel_to_a_guest_without(self):
        guest = self.guest()
        for version in (4, 6):
            with self.subTest(version):
                self.send_segments(version)
                for data in self.datagrams():
                    want = w.udp(data, src=self.HOST[version], dst=self.GUEST[version], sport=7000, dport=7001)
                    frame, header = self.udp_from(guest)
                    self.assertEqual(frame[14 + (40 if version == 6 else 20):], want[40 if version == 6 else 20:])
                    self.assertEqual(header[:10], bytes(10))

    def test_from_the_kernel_to_a_guest_with(self):
        guest = self.guest(fe.F_GUEST_CSUM, fe.F_GUEST_USO4, fe.F_GUEST_USO6)
        for version in (4, 6):
            with self.subTest(version):
                self.send_segments(version)
                frame, header = self.udp_from(guest)
                l4 = 14 + (40 if version == 6 else 20)
                self.assertEqual(frame[l4 + 8:], self.PAYLOAD)
                self.assertEqual(struct.unpack("<BBHHHH", header[:10]), (w.NEEDS_CSUM, 5, l4 + 8, self.SEGMENT, l4, 6))

    def test_from_a_guest_to_the_kernel(self):
        guest = self.guest(fe.F_CSUM, fe.F_HOST_USO)
        for version in (4, 6):
            with self.subTest(version):
                sock, src, dst = self.udp_socket(version), self.GUEST[version], self.HOST[version]
                l4 = 14 + (40 if version == 6 else 20)
                packet = w.udp(self.PAYLOAD, src=src, dst=dst, sport=7001, dport=7000)
                at = l4 - 14 + 6
                packet = packet[:at] + struct.pack(">H", w.pseudo_sum(w.UDP, 8 + len(self.PAYLOAD), src, dst)) + packet[at + 2:]
                frame = w.ethernet(packet, dst=w.MAC, src=self.GUEST_MAC, kind=w.ETH_IPV6 if version == 6 else w.ETH_IP)
                self.send_with(guest, frame, flags=w.NEEDS_CSUM, gso_type=5, hdr_len=l4 + 8, gso_size=self.SEGMENT,
                               csum_start=l4, csum_offset=6)
                self.assertEqual([sock.recv(65536) for _ in self.datagrams()], self.datagrams())

    def send_with(self, guest, frame, **header):
        """In as many buffers as it takes."""
        data, ring = guest.frame_header(**header) + frame, guest.pairs[0].tx
        gpa = guest.mem.alloc(len(data))
        guest.mem.write(gpa, data)
        ring.add([fe.D(gpa, len(data))], gpa)


class Tunnels(unittest.TestCase):
    """TCP within VXLAN, from a veth's other end."""

    def setUp(self):
        if os.geteuid() != 0:
            self.skipTest(netns.NEEDS_ROOT)
        self.near, self.far = netns.Netns(), netns.Netns()
        self.addCleanup(self.near.remove)
        self.addCleanup(self.far.remove)
        self.near.run("ip", "link", "add", "p0", "type", "veth", "peer", "name", "p1", "netns", self.far.name)
        self.near.run("ip", "link", "set", "p0", "up")
        try:
            self.far.run("sh", "-ec", "ip link set p1 up; ip address add 10.0.0.2/24 dev p1; "
                                      "ip link add vx0 type vxlan id 7 remote 10.0.0.1 dstport 4789 dev p1; ip link set vx0 up; "
                                      "ip neigh replace 10.0.0.1 lladdr 02:00:00:00:00:01 dev p1; ethtool -k p1")
        except AssertionError as e:
            self.skipTest(f"no VXLAN, or no ethtool: {e}")
        self.vnicd = vnictest.Vnicd({"g": "vhost-user", "up0": "packet,ifname=p0"}, "io", netns=self.near.name)
        self.addCleanup(lambda: self.assertEqual(self.vnicd.stop(), 0, self.vnicd.output))
        self.guest = fe.RawFrontend(self.vnicd.sock("g"), features=w.BASE | fe.bits(fe.F_GUEST_CSUM, fe.F_GUEST_TSO4), size=256)
        self.addCleanup(self.guest.close)
        self.guest.start()
        self.inside = self.far.packet_socket("vx0")
        self.addCleanup(self.inside.close)
        self.inside.setsockopt(263, 15, 1)  # SOL_PACKET, PACKET_VNET_HDR

    def send(self, payload, **fields):
        frame = w.ethernet(w.tcp(payload, src="10.9.0.2", dst="10.9.0.1", sport=1, dport=2, partial=True), dst=w.MAC, kind=w.ETH_IP)
        h = dict(dict(flags=w.NEEDS_CSUM, gso_type=0, hdr_len=54, gso_size=0, csum_start=34, csum_offset=16), **fields)
        self.inside.send(struct.pack("<BBHHHH", *h.values()) + frame)

    def receive(self, n):
        """Frames of VXLAN whose inner checksum is right, without the outer headers."""
        inner = []
        while len(inner) < n:
            frame = self.guest.receive_frame()
            if len(frame) > 104 and frame[12:14] == b"\x08\0" and frame[23] == w.UDP:
                inner.append(frame[50:])
                self.assertEqual(self.guest.last_header[:2], b"\0\0")
                self.assertEqual(oracle.faults(bytes(10), inner[-1], knows_right=True), [])
        return inner

    def test_what_is_cut_and_what_is_not(self):
        self.send(bytes(800))
        self.receive(1)
        self.send(bytes(5000), gso_type=1, gso_size=1000)
        self.vnicd.wait_stats(lambda ports: ports["up0"]["drops"].get("tunnel_segments") == 1)
        self.far.run("ethtool", "-K", "p1", "tx-udp_tnl-segmentation", "off", "tx-udp_tnl-csum-segmentation", "off")
        self.send(bytes(5000), gso_type=1, gso_size=1000)
        self.assertEqual([len(frame) for frame in self.receive(5)], [1054] * 5)


@pytest.mark.long
class FramesOfQueues(Frames):
    """Of a port with several sockets, which share what comes."""

    def port(self, link):
        return f"packet,ifname={link},queues=2"


class MacvtapFrames(Frames):
    """Each port with all of an end's traffic, by a macvtap over it."""

    def port(self, link):
        return f"tap,macvtap={link},ifname=m{link}"

    LOST_BELOW = 1  # a veth drops some, and says that it has sent them

    def test_carrier_goes_and_comes_under_load(self):
        for flapping in ("p1", "mp0"):
            with self.subTest(flapping):
                self.flap(flapping)

    # Of macvtaps these are other stories (Lives), or none.
    test_interface_is_deleted = test_interface_leaves_and_returns = test_interface_leaves_a_bridge = None
    test_own_frames_of_the_host_are_left_alone = test_counted_exactly = test_one_that_is_refused_costs_no_others = None


class TapFrames(Frames):
    """Two taps that a bridge of the kernel joins."""

    def make_links(self):
        # One that snoops speaks of that itself.
        self.ns.run("ip", "link", "add", "br0", "type", "bridge", "mcast_snooping", 0)
        self.ns.run("ip", "link", "set", "br0", "up")

    def setUp(self):
        super().setUp()
        for link in ("p0", "p1"):
            self.ns.run("ip", "link", "set", link, "master", "br0")
        # A bridge's port listens first, for 15 s where spanning trees are on; here at once.
        self.until(lambda: self.ns.run("cat", "/sys/class/net/p0/brport/state").strip() == "3")

    def port(self, link):
        return f"tap,ifname={link}"

    def test_too_long(self):
        """The kernel takes any length from a tap: what is too long for its MTU is its own to drop."""
        self.a.send_frame(fe.ethernet(os.urandom(1900)))
        self.vnicd.wait_stats(lambda ports: ports["up0"]["tx_packets"] == 1)
        self.assertEqual(self.drops("up0"), {})

    def test_link_goes_and_comes(self):
        self.ns.run("ip", "link", "set", "p0", "down")
        self.until(lambda: self.link("up0") == "down")
        self.a.send_frame(fe.ethernet(b"nobody there"))
        self.wait_drops("up0", "link_down", 1)
        self.ns.run("ip", "link", "set", "p0", "up")
        self.until(lambda: self.link("up0") == "up")
        self.until(lambda: self.ns.run("cat", "/sys/class/net/p0/brport/state").strip() == "3")
        self.pass_frames([fe.ethernet(b"again")])

    def test_interface_is_deleted(self):
        self.pass_frames([fe.ethernet(b"before")])
        self.ns.run("ip", "link", "del", "p0")
        for _ in range(20):
            self.a.send_frame(fe.ethernet(b"nobody there"))
        self.wait_drops("up0", "link_down", 20)
        self.assertEqual(self.link("up0"), "down")
        self.vnicd.rpc("port.remove", {"name": "up0"})
        self.vnicd.rpc("port.add", {"config": "up0=tap,ifname=p0"})
        self.assertEqual(self.link("up0"), "up")

    test_own_frames_of_the_host_are_left_alone = test_counted_exactly = None
    # Its carrier is the port, and what the kernel does with a frame from a tap is its own.
    test_first_frame_after_the_interface_was_down = test_carrier_goes_and_comes_under_load = None
    test_interface_leaves_and_returns = test_interface_leaves_a_bridge = test_one_that_is_refused_costs_no_others = None


class Lives(unittest.TestCase):
    """Interfaces that others have made, named or taken along."""

    def setUp(self):
        if os.geteuid() != 0:
            self.skipTest(netns.NEEDS_ROOT)
        self.ns = netns.Netns()
        self.addCleanup(self.ns.remove)
        self.vnicd = vnictest.Vnicd({"a": "vhost-user", "b": "vhost-user"}, "switch", netns=self.ns.name)
        self.addCleanup(self.vnicd.stop)

    def names(self):
        return {line.split()[0].partition("@")[0] for line in self.ns.run("ip", "-br", "link").splitlines()}

    def add(self, config):
        self.vnicd.rpc("port.add", {"config": config})

    def remove(self, name):
        self.vnicd.rpc("port.remove", {"name": name})

    def test_a_persistent_tap_of_somebody_else_stays(self):
        """He has made it for a vnicd that may not make one."""
        self.ns.run("ip", "tuntap", "add", "dev", "his0", "mode", "tap", "vnet_hdr")
        self.add("t0=tap,ifname=his0")
        self.remove("t0")
        self.assertIn("his0", self.names())
        self.add("t0=tap,ifname=his0,persist=off")
        self.remove("t0")
        self.assertNotIn("his0", self.names())

    def link(self, port):
        return self.vnicd.rpc("port.show", {"name": port})["link"]

    def test_a_tap_that_is_elsewhere_is_up(self):
        """And down when it is deleted there."""
        other = netns.Netns()
        self.addCleanup(other.remove)
        self.ns.run("ip", "link", "add", "p0", "type", "veth", "peer", "name", "p1")
        self.ns.run("sh", "-c", "ip link set p0 up; ip link set p1 up")
        for config, name in (("t0=tap", "t0"), ("m0=tap,macvtap=p0,ifname=mv0", "mv0")):
            with self.subTest(config):
                self.add(config)
                self.ns.run("ip", "link", "set", "dev", name, "netns", other.name)
                other.run("ip", "link", "set", name, "up")
                time.sleep(0.25)
                self.assertEqual(self.link(config[:2]), "up")
                other.run("ip", "link", "del", name)
                self.assertEqual(self.link(config[:2]), "down")
                time.sleep(0.25)
                with fe.RawFrontend(self.vnicd.sock("a")) as guest:
                    guest.start().send_frame(fe.ethernet(b"nobody there"))
                    self.vnicd.wait_stats(lambda ports: ports[config[:2]]["drops"].get("link_down", 0) == 1)
                self.remove(config[:2])

    def test_one_port_has_an_interface(self):
        self.ns.run("ip", "link", "add", "p0", "type", "veth", "peer", "name", "p1")
        self.add("m0=tap,macvtap=p0,ifname=mv0")
        for config in ("m1=tap,macvtap=p0", "k0=packet,ifname=p0"):
            with self.assertRaisesRegex(vnictest.RpcError, "two ports on one interface: port m0 has interface p0"):
                self.add(config)

    def test_a_macvtap_goes_whatever_its_name(self):
        """And one that has its name by now stays."""
        self.ns.run("ip", "link", "add", "p0", "type", "veth", "peer", "name", "p1")
        self.add("m0=tap,macvtap=p0,ifname=mv0")
        self.ns.run("sh", "-c", "ip link set mv0 down; ip link set mv0 name mv1; ip tuntap add dev mv0 mode tap")
        self.remove("m0")
        self.assertEqual(self.names(), {"lo", "p0", "p1", "mv0"})


    def timed(self, what, *args):
        began = time.monotonic()
        what(*args)
        return time.monotonic() - began

    @pytest.mark.long
    def test_rings_are_nobody_s_wait(self):
        """The kernel takes its time for each ring, and the control thread answers meanwhile; they come one by one."""
        queues, shares = 16, []
        self.ns.run("ip", "link", "add", "p0", "type", "veth", "peer", "name", "p1")
        self.ns.run("sh", "-c", "ip link set p0 up; ip link set p1 up")
        for _ in range(4):
            began, turns = time.monotonic(), []
            added = self.timed(self.add, f"k0=packet,ifname=p0,queues={queues}")
            self.assertEqual(self.link("k0"), "up", "by the first, from the start")
            while self.n_rings() < queues:
                turns.append(self.timed(self.vnicd.rpc, "system.info"))
                self.assertLess(time.monotonic(), began + 60)
            made = time.monotonic() - began
            began = time.monotonic()
            removed = self.timed(self.remove, "k0")
            while self.n_rings():  # they are closed by the same thread
                self.assertLess(time.monotonic(), began + 60)
            closed = time.monotonic() - began
            shares.append(((added + removed) / (made + closed), sorted(turns)[len(turns) // 2] / made, len(turns)))
        # Who did all of it before answering had a share of 1, and no turn in between.
        self.assertLess(min(share for share, _, _ in shares), 0.5, shares)
        self.assertLess(min(turn for _, turn, _ in shares), 0.1, shares)

    def n_rings(self):
        with open(f"/proc/{self.vnicd.pid}/maps") as maps:
            return maps.read().count("socket:[")

    def test_goes_while_its_rings_are_made(self):
        self.ns.run("ip", "link", "add", "p0", "type", "veth", "peer", "name", "p1")
        self.ns.run("sh", "-c", "ip link set p0 up; ip link set p1 up")
        fds = len(os.listdir(f"/proc/{self.vnicd.pid}/fd"))
        for i in range(20):
            self.add(f"k0=packet,ifname=p0,queues=4,ring={(15, 510, 525)[i % 3]}")
            self.remove("k0")
        deadline = time.monotonic() + 20
        while self.n_rings() or len(os.listdir(f"/proc/{self.vnicd.pid}/fd")) > fds:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)

    def test_a_long_ring(self):
        """Until it is there the port's link is down; what is sent goes out."""
        self.ns.run("ip", "link", "add", "p0", "type", "veth", "peer", "name", "p1")
        self.ns.run("sh", "-c", "ip link set p0 up; ip link set p1 up")
        self.add("k0=packet,ifname=p0,ring=1020")
        deadline = time.monotonic() + 20
        while self.link("k0") == "down":
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)
        with self.ns.packet_socket("p1") as sender:
            sender.send(fe.ethernet(bytes(46)))
        self.vnicd.wait_stats(lambda ports: ports["k0"]["rx_packets"] == 1)

    LONG_NAME = "an-alternative-name-of-an-interface-" + "x" * (127 - 36)

    def rename(self, interface, *names):
        try:
            self.ns.run("ip", "link", "property", "add", "dev", interface, *(w for name in names for w in ("altname", name)))
        except AssertionError as e:
            self.skipTest(f"no alternative names: {e}")

    def test_alternative_names(self):
        """An interface is found by any of its names, and it is one interface by all of them."""
        self.ns.run("ip", "link", "add", "p0", "type", "veth", "peer", "name", "p1")
        self.ns.run("sh", "-c", "ip link set p0 up; ip link set p1 up")
        self.rename("p0", "wan", self.LONG_NAME)
        for name in ("wan", self.LONG_NAME):
            for port in (f"k0=packet,ifname={name}", f"k0=tap,macvtap={name},ifname=mv0"):
                with self.subTest(port):
                    self.add(port)
                    for other in (f"k1=packet,ifname={name}", "k1=packet,ifname=p0", "k1=tap,macvtap=wan",
                                  f"k1=tap,macvtap={self.LONG_NAME}"):
                        with self.assertRaisesRegex(vnictest.RpcError, "two ports on one interface: port k0 has interface p0"):
                            self.add(other)
                    with self.ns.packet_socket("p1") as sender:
                        sender.send(fe.ethernet(bytes(46)))
                    self.vnicd.wait_stats(lambda ports: ports["k0"]["rx_packets"] >= 1)
                    self.remove("k0")

    def test_alternative_names_of_taps(self):
        self.ns.run("ip", "tuntap", "add", "dev", "his0", "mode", "tap", "vnet_hdr")
        self.ns.run("ip", "link", "add", "p0", "type", "veth", "peer", "name", "p1")
        self.rename("his0", "desk", self.LONG_NAME)
        self.rename("p0", "wan", self.LONG_NAME[:-1])
        for name in ("desk", self.LONG_NAME):
            with self.subTest(name):
                self.add(f"t0=tap,ifname={name}")
                self.assertEqual(self.names(), {"lo", "his0", "p0", "p1"})
                self.assertEqual(self.link("t0"), "up")
                self.remove("t0")
        for name in ("wan", self.LONG_NAME[:-1]):
            with self.assertRaisesRegex(vnictest.RpcError, f"interface p0, also named {name}: it can't be attached to"):
                self.add(f"t0=tap,ifname={name}")


class Refused(unittest.TestCase):
    def test_each(self):
        for line, cause, hint in (
                ("packet", "kind packet needs an interface", "ifname=eth1"),
                ("packet,ifname=nosuch0", "there is no interface nosuch0", "interfaces of this network namespace: .*lo"),
                ("packet,ifname=lo", "interface lo is no Ethernet", "ifname="),
                ("packet,ifname=aninterfacewithalongname", "there is no interface aninterfacewithalongname", "interfaces of this "),
                (f"packet,ifname={'x' * 128}", "too long for an interface", "15 characters, or an alternative name of 127"),
                (f"tap,macvtap={'x' * 128}", "is no name of an interface", "15 characters, or an alternative name of 127"),
                ("packet,ifname=lo,mac=02:00:00:00:00:01", "the address of a kernel's interface is the kernel's", "leave mac="),
                ("packet,ifname=lo,ring=1", "ring: 1 is not in 15..8192", "ring=15"),
                ("tap,ifname=aninterfacewithalongname", "is no name of an interface", "15 characters"),
                ("tap,ifname=a/b", "is no name of an interface", "15 characters"),
                ("tap,ifname=up%d", "is no name of an interface", "without .*'%'"),
                ("tap,ifname=..", "is no name of an interface", "15 characters"),
                ("tap,ifname=lo", "it can't be attached to: Invalid argument", "ip tuntap add dev lo mode tap vnet_hdr"),
                ("tap,macvtap=nosuch0", "there is no interface nosuch0", "interfaces of this network namespace: .*lo"),
                ("tap,macvtap=lo", "no macvtap: Invalid argument", "has to be an Ethernet interface"),
                ("tap,macvtap=lo,persist=on", "a macvtap goes with its port", "leave persist=")):
            with self.subTest(line):
                done = subprocess.run([vnictest.VNICD, "--port", f"up0={line}", "--forward-mode", "switch"],
                                      capture_output=True, text=True, timeout=20,
                                      env=dict(os.environ, RUNTIME_DIRECTORY=vnictest.tmpdir()))
                lines = done.stderr.splitlines()
                self.assertIn(done.returncode, (1, 2))
                self.assertRegex(lines[-2], "port up0.*" + cause)
                self.assertRegex(lines[-1], hint)


if __name__ == "__main__":
    unittest.main(verbosity=2)

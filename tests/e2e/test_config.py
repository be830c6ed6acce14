#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The configuration space, links, uplinks and announcing: by the raw front-end, by vnicctl, and by a Linux guest."""
import json
import os
import pathlib
import select
import socket
import struct
import subprocess
import sys
import time
import unittest

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / name) for name in ("lib", "hostile", "guests")] + [str(HERE)]
import guests  # noqa: E402
import rawfe as fe  # noqa: E402
import vnictest  # noqa: E402
from test_nic import NEEDS_ROOT, Netns, eal  # noqa: E402

VNICCTL = HERE.parents[1] / "usertools/vnicctl"
MAC = "02:00:00:00:aa:01"
BROADCAST = b"\xff" * 6
LINK_UP, ANNOUNCE = 1, 2
CONFIG_CHANGE = 2       # vhost-user, back-end message
PROTOCOL = fe.bits(fe.P_MQ, fe.P_REPLY_ACK, fe.P_BACKEND_REQ, fe.P_CONFIG)
FEATURES = fe.bits(fe.F_MRG_RXBUF, fe.F_STATUS, fe.F_MAC, fe.F_VERSION_1, fe.F_PROTOCOL)
CONTROL = FEATURES | fe.bits(fe.F_CTRL_VQ, fe.F_GUEST_ANNOUNCE)
# mac, status, max_virtqueue_pairs, mtu, speed, duplex, rss_max_key_size, rss_max_indirection_table_length,
# supported_hash_types
LAYOUT = struct.Struct("<6sHHHIBBHI")


def veth_up(ns):
    """A veth pair p0 and p1 in the namespace, both ends up."""
    ns.run("ip", "link", "add", "p0", "type", "veth", "peer", "name", "p1")
    for end in ("p0", "p1"):
        ns.run("ip", "link", "set", end, "up")


class Frontend(fe.RawFrontend):
    """With a back-end channel, to hear of configuration changes."""

    def __init__(self, path, **kwargs):
        kwargs.setdefault("protocol", PROTOCOL)
        kwargs.setdefault("features", FEATURES)
        super().__init__(path, **kwargs)
        self.channel = None

    def listen(self):
        self.channel, theirs = socket.socketpair()
        self.tell(fe.SET_BACKEND_REQ_FD, b"", (theirs.fileno(),))
        theirs.close()
        return self

    def notice(self, timeout=2.0):
        """Wait for one configuration change; when it came, monotonic."""
        self.channel.settimeout(fe.seconds(timeout))
        try:
            data = self.channel.recv(12)
        except TimeoutError:
            raise fe.Silent("no configuration change") from None
        request, flags, size = struct.unpack("<III", data)
        if (request, flags & 3, size) != (CONFIG_CHANGE, 1, 0):
            raise AssertionError(f"on the back-end channel: {data.hex()}")
        return time.monotonic()

    def no_notice(self, seconds=0.3):
        try:
            self.notice(seconds)
        except fe.Silent:
            return
        raise AssertionError("a configuration change that nothing has caused")

    def config(self, offset=0, size=LAYOUT.size):
        data = self.ask(fe.GET_CONFIG, struct.pack("<III", offset, size, 0) + bytes(size))
        if struct.unpack("<II", data[:8]) != (offset, size) or len(data) != 12 + size:
            raise AssertionError(f"GET_CONFIG of {size} bytes at {offset}: {data.hex()}")
        return data[12:]

    def status(self):
        return struct.unpack("<H", self.config(6, 2))[0]

    def speed_duplex(self):
        return struct.unpack("<IB", self.config(12, 5))

    def close(self):
        if self.channel:
            self.channel.close()
        super().close()


class Config(vnictest.WithGuests, unittest.TestCase):
    def start(self, ports, mode="io", **kwargs):
        self.vnicd = vnictest.Vnicd(ports, mode, **kwargs)
        self.guests = []
        self.addCleanup(self.stop)

    def guest(self, port, **kwargs):
        guest = Frontend(self.vnicd.sock(port), **kwargs)
        self.guests.append(guest)
        return guest

    def vnicctl(self, *args):
        done = subprocess.run([sys.executable, str(VNICCTL), "--socket", self.vnicd.control, *args],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=20)
        return done.returncode, done.stdout

    def ctl(self, *args):
        status, output = self.vnicctl(*args)
        self.assertEqual(status, 0, output)
        return output

    def show(self, port):
        return self.vnicd.rpc("guest.show", {"name": port})

    def wait(self, what, condition, timeout=3.0):
        deadline = time.monotonic() + fe.seconds(timeout)
        while not condition():
            self.assertLess(time.monotonic(), deadline, what)
            time.sleep(0.01)

    def refused(self, cause, hint, method, **params):
        with self.assertRaises(vnictest.RpcError) as caught:
            self.vnicd.rpc(method, params)
        data = caught.exception.error["data"]
        self.assertEqual((data["cause"], data["hint"]), (cause, hint))


class Space(Config):
    def fields(self, keys, queues=1):
        self.vnicd.rpc("port.add", {"config": f"c=vhost-user,mac={MAC},queues={queues}{keys}"})
        guest = self.guest("c")
        guest.negotiate()
        mac, *fields = LAYOUT.unpack(guest.config())
        self.assertEqual(mac.hex(":"), MAC)
        whole = guest.config(0, 256)
        self.assertEqual(whole[LAYOUT.size:], bytes(256 - LAYOUT.size))
        for offset in range(0, LAYOUT.size + 2):
            for size in (1, 2, 3, 4, 6, 13, 256 - offset):
                self.assertEqual(guest.config(offset, size), whole[offset:offset + size])
        self.guests.remove(guest)
        guest.close()
        self.vnicd.rpc("port.remove", {"name": "c"})
        return fields, guest.offered

    def test_every_key(self):
        self.start({"a": "vhost-user", "b": "vhost-user"})
        rss = [40, 128, 0x1ff]
        unknown = 0xffffffff
        for keys, queues, expect, bits in (
                ("", 1, [LINK_UP, 1, 0, 0, 0], ()),
                ("", 3, [LINK_UP, 3, 0, 0, 0], ()),
                (",mtu=1400", 1, [LINK_UP, 1, 1400, 0, 0], (fe.F_MTU,)),
                (",speed=0", 1, [LINK_UP, 1, 0, 0, 0xff], (fe.F_SPEED_DUPLEX,)),
                (",speed=10gbit", 1, [LINK_UP, 1, 0, 10000, 0xff], (fe.F_SPEED_DUPLEX,)),
                (",speed=25000", 1, [LINK_UP, 1, 0, 25000, 0xff], (fe.F_SPEED_DUPLEX,)),
                (",speed=2147483647,duplex=full", 1, [LINK_UP, 1, 0, 0x7fffffff, 1], (fe.F_SPEED_DUPLEX,)),
                (",duplex=half", 1, [LINK_UP, 1, 0, unknown, 0], (fe.F_SPEED_DUPLEX,)),
                (",duplex=full", 1, [LINK_UP, 1, 0, unknown, 1], (fe.F_SPEED_DUPLEX,)),
                (",standby=on", 1, [LINK_UP, 1, 0, 0, 0], (fe.F_STANDBY,)),
                (",standby=off", 1, [LINK_UP, 1, 0, 0, 0], ())):
            with self.subTest(keys=keys, queues=queues):
                fields, offered = self.fields(keys, queues)
                self.assertEqual(fields, expect + rss)
                optional = fe.bits(fe.F_MTU, fe.F_SPEED_DUPLEX, fe.F_STANDBY)
                self.assertEqual(offered & optional, fe.bits(*bits))

    def test_wrong_keys(self):
        self.start({"a": "vhost-user", "b": "vhost-user"})
        for keys, cause, hint in (
                ("speed=-1", "port c: speed: '-1' is not a number", "speed=0..2147483647"),
                ("speed=2147483648", "port c: speed: 2147483648 is not in 0..2147483647", "speed=2147483647"),
                ("speed=10G", "port c: speed: '10G' is not a number", "speed=10gbit"),
                ("speed=10kbit", "port c: speed: a guest is told whole Mbit/s", "speed=0"),
                ("memory=0", "port c: memory: 0 is not in 1..65536", "memory=1"),
                ("duplex=fulll", "port c: duplex: 'fulll' is none of half, full", "duplex=full"),
                ("standby=yes", "port c: standby: 'yes' is none of off, on", "standby=on"),
                ("uplink=up0", "port c: uplink: there is no port 'up0' that is a NIC",
                 "add the NIC first, for example up0=nic,dev=net_af_packet0, or leave uplink= out"),
                ("uplink=b", "port c: uplink: there is no port 'b' that is a NIC",
                 "add the NIC first, for example b=nic,dev=net_af_packet0, or leave uplink= out")):
            with self.subTest(keys):
                self.refused(cause, hint, "port.add", config=f"c=vhost-user,{keys}")
        self.assertEqual([p["name"] for p in self.vnicd.rpc("port.list")], ["a", "b"])

    def test_uplink_on_the_command_line(self):
        with_nic = {"a": "vhost-user,uplink=up1", "up0": "nic,dev=net_null0"}
        failed = vnictest.Vnicd(with_nic, "switch", eal=eal("net_null0"), wait=False)
        self.assertEqual(failed.wait(), 2, failed.output)
        self.assertIn("vnicd: port a: uplink: there is no port 'up1' that is a NIC\n  uplink=up0", failed.output)
        # A guest may come before the NIC that it names.
        with_nic["a"] = "vhost-user,uplink=up0"
        self.start(with_nic, "switch", eal=eal("net_null0,no-rx=1"))
        guest = self.guest("a")
        guest.negotiate()
        self.assertEqual(guest.status(), LINK_UP)
        self.assertEqual(guest.speed_duplex(), (10000, 1), "what the null driver says")


class Link(Config):
    PORTS = {"a": f"vhost-user,mac={MAC},speed=1000", "b": "vhost-user"}

    def setUp(self):
        self.start(self.PORTS)

    def pair(self, **kwargs):
        a, b = self.guest("a", **kwargs).start(), self.guest("b").start()
        return a.listen(), b

    def pass_frame(self, src, dst):
        frame = fe.ethernet(os.urandom(100))
        src.send_frame(frame)
        self.assertEqual(dst.receive_frame(), frame)

    def test_down_and_up(self):
        for layout in ("split", "packed"):
            with self.subTest(layout):
                a, b = self.pair(layout=layout, features=FEATURES | fe.bits(fe.F_PACKED) if layout == "packed"
                                 else FEATURES)
                self.pass_frame(a, b)
                self.assertEqual(self.ctl("port", "set", "a", "link=down"), "a: link down\n")
                a.notice()
                self.assertEqual(a.status(), 0)
                self.assertEqual([p["link"] for p in self.vnicd.rpc("port.list")], ["down", "up"])
                before = self.vnicd.stats()["a"]["drops"].get("link_down", 0)
                b.send_frame(fe.ethernet(bytes(60)))
                a.send_frame(fe.ethernet(bytes(60)))
                drops = self.vnicd.wait_stats(
                    lambda ports: ports["a"]["drops"].get("link_down", 0) >= before + 2)["a"]["drops"]
                self.assertEqual(drops["link_down"], before + 2)
                self.assertIsNone(b.try_receive())
                self.assertIsNone(a.try_receive())
                # Nothing new: nothing said.
                self.vnicd.rpc("port.set", {"name": "a", "link": "down"})
                a.no_notice()
                self.assertEqual(self.vnicd.rpc("port.set", {"name": "a", "link": "up"})["link"], "up")
                a.notice()
                self.assertEqual(a.status(), LINK_UP)
                self.pass_frame(a, b)
                self.pass_frame(b, a)
                for guest in (a, b):
                    self.guests.remove(guest)
                    guest.close()

    def test_down_before_the_guest_comes(self):
        self.vnicd.rpc("port.set", {"name": "a", "link": "down"})
        a, b = self.pair()
        self.assertEqual(a.status(), 0)
        b.send_frame(fe.ethernet(bytes(60)))
        self.vnicd.wait_stats(lambda ports: ports["a"]["drops"].get("link_down") == 1)
        # The driver starts anew; its cable is still out.
        a.tell(34)      # RESET_DEVICE
        self.assertEqual(a.status(), 0)
        self.vnicd.rpc("port.set", {"name": "a", "link": "up"})
        a.notice()
        self.assertEqual(a.status(), LINK_UP)

    def test_refused(self):
        self.refused('no port "c"', 'did you mean "a"? (port.list shows all)', "port.set", name="c", link="up")
        self.refused("link: 'dwn' is neither up nor down", "link=down", "port.set", name="a", link="dwn")
        self.refused('no port "c"', 'did you mean "a"? (port.list shows all)', "port.announce", name="c")
        status, output = self.vnicctl("port", "set", "a", "lnk=up")
        self.assertEqual(status, 1)
        self.assertIn("port a: an open port has no key 'lnk'", output)
        status, output = self.vnicctl("port", "set", "a", "link")
        self.assertEqual((status, output), (2, "vnicctl: not a setting: link\n  link=up, link=down, a rate: police-in=100mbit, "
                                             "or, of the switch, vlan=10 or trunk=10+20\n"))
        self.vnicd.rpc("port.remove", {"name": "b"})
        self.refused('no guest "c"', 'did you mean "a"? (port.list shows all ports)', "guest.show", name="c")

    # --- announcing ---

    def test_nobody_to_announce(self):
        self.refused("port a: there is no driver to announce", "start the guest first", "port.announce", name="a")
        a, b = self.pair()
        self.vnicd.rpc("port.set", {"name": "a", "link": "down"})
        self.refused("port a: its link is down", "port.set with link=up first", "port.announce", name="a")
        self.assertIsNone(b.try_receive())

    def expect_rarp(self, frame):
        self.assertEqual((frame[:6], frame[6:12].hex(":"), frame[12:14]), (BROADCAST, MAC, b"\x80\x35"))
        self.assertEqual(frame[22:28].hex(":"), MAC)

    def expect_rounds(self, times, due):
        """Seconds after the first one; a loaded machine may be late."""
        for at, expected in zip(times, due):
            self.assertGreater(at - times[0], expected - 0.01, times)
            self.assertLess(at - times[0], expected + 2 * fe.Timing.scale, times)

    def test_no_rarp_on_a_link_that_is_down(self):
        """SEND_RARP is taken, and nothing leaves: neither at once nor when the link is up again."""
        a, b = self.pair()
        mac = bytes.fromhex("02000000aa01")
        self.vnicd.rpc("port.set", {"name": "a", "link": "down"})
        before = self.vnicd.stats()["a"]["rx_packets"]
        a.tell(fe.SEND_RARP, mac + b"\0\0")
        time.sleep(0.1)
        self.vnicd.rpc("port.set", {"name": "a", "link": "up"})
        a.send_frame(fe.ethernet(bytes(60)))
        self.assertEqual(b.receive_frame(), fe.ethernet(bytes(60)), "what came first")
        self.assertEqual(self.vnicd.stats()["a"]["rx_packets"], before + 1)
        a.tell(fe.SEND_RARP, mac + b"\0\0")
        self.expect_rarp(b.receive_frame())

    def test_announce_by_rarp(self):
        """A driver that can't be asked: five RARPs in its name."""
        a, b = self.pair()
        self.vnicd.rpc("port.announce", {"name": "a"})
        times = []
        for _ in range(5):
            self.expect_rarp(b.receive_frame())
            times.append(time.monotonic())
        self.expect_rounds(times, (0, 0.05, 0.2, 0.45, 0.8))
        time.sleep(0.6)
        self.assertIsNone(b.try_receive())
        self.assertEqual(a.status(), LINK_UP)
        a.no_notice(0.05)

    def test_announce_by_the_driver(self):
        a, b = self.pair(features=CONTROL, control=64)
        self.vnicd.rpc("port.announce", {"name": "a"})
        a.notice()
        self.assertEqual(a.status(), LINK_UP | ANNOUNCE)
        self.assertTrue(self.show("a")["announcing"])
        self.assertEqual(a.command(fe.CTRL_ANNOUNCE, fe.ANNOUNCE_ACK)[0], fe.OK)
        self.assertEqual(a.status(), LINK_UP)
        self.assertFalse(self.show("a")["announcing"])
        # It has answered: no more rounds. (Slow machines may have come to the second one before.)
        time.sleep(0.3)
        a.channel.setblocking(False)
        try:
            self.assertLessEqual(len(a.channel.recv(4096)), 2 * 12)
        except BlockingIOError:
            pass
        self.assertEqual(a.status(), LINK_UP)
        a.no_notice(0.9)

    def test_announce_to_a_driver_that_does_not_answer(self):
        """Asked five times; from the second round on a RARP goes out, for it may not hear us."""
        a, b = self.pair(features=CONTROL, control=64)
        self.vnicd.rpc("port.announce", {"name": "a"})
        times = []
        for _ in range(5):
            times.append(a.notice())
            self.assertEqual(a.status(), LINK_UP | ANNOUNCE)
        self.expect_rounds(times, (0, 0.05, 0.2, 0.45, 0.8))
        for _ in range(4):
            self.expect_rarp(b.receive_frame())
        a.no_notice(0.6)
        self.assertIsNone(b.try_receive())
        # A late answer is as good.
        self.assertEqual(a.command(fe.CTRL_ANNOUNCE, fe.ANNOUNCE_ACK)[0], fe.OK)
        self.assertEqual(a.status(), LINK_UP)

    def test_reset_ends_announcing(self):
        a, b = self.pair(features=CONTROL, control=64)
        self.assertEqual(self.ctl("port", "announce", "a"), "a: announced\n")
        a.notice()
        a.tell(34)      # RESET_DEVICE
        self.assertEqual(a.status(), LINK_UP)
        while a.channel in select.select([a.channel], [], [], 0)[0]:
            a.notice()      # of a round before the reset
        b.drain()
        a.no_notice(0.9)
        self.assertIsNone(b.try_receive())

    # --- guest.show ---

    def test_show(self):
        nobody = self.show("a")
        self.assertEqual((nobody["connected"], nobody["features"], nobody["status"]), (False, [], None))
        self.assertEqual((nobody["mac"].lower(), nobody["pairs_max"], nobody["mtu"]), (MAC, 1, None))
        self.assertEqual(nobody["link"], {"state": "up", "speed": 1000, "duplex": None, "set": "up", "uplink": None,
                                          "standby": False})
        self.assertEqual(nobody["controlq"]["served_by"], "nobody: not negotiated")
        features = CONTROL | fe.bits(fe.F_CTRL_RX, fe.F_CTRL_VLAN, fe.F_CTRL_MAC_ADDR)
        a, _ = self.pair(features=features, control=64, protocol=PROTOCOL | fe.bits(fe.P_STATUS))
        shown = self.show("a")
        self.assertTrue(shown["connected"])
        self.assertEqual(shown["status"], ["acknowledge", "driver", "features_ok", "driver_ok"])
        self.assertEqual(shown["features"],
                         ["mac", "mrg_rxbuf", "status", "ctrl_vq", "ctrl_rx", "ctrl_vlan", "guest_announce",
                          "ctrl_mac_addr", "protocol_features", "version_1"])
        self.assertEqual(shown["controlq"], {"served_by": "vnicd, by kick", "ok": 0, "err": 0, "unanswered": 0})
        self.assertEqual(shown["filter"]["promisc"], True)
        self.assertEqual(shown["rss"], {"enabled": False, "types": [], "key": "", "unclassified": 0, "table": []})
        self.assertEqual(shown["coalescing"], {q: {"max_usecs": 0, "max_packets": 0}
                                               for q in ("receiveq1", "transmitq1")})
        # What the driver sets shows.
        other = "02:00:00:00:bb:02"
        unicast = [bytes.fromhex("020000000011"), bytes.fromhex("020000000012")]
        multicast = [bytes.fromhex("333300000001")]
        for class_, command, data in (
                (fe.CTRL_RX, fe.RX_PROMISC, b"\0"), (fe.CTRL_RX, fe.RX_ALLMULTI, b"\1"),
                (fe.CTRL_VLAN, fe.VLAN_ADD, fe.vlan_id(7)), (fe.CTRL_VLAN, fe.VLAN_ADD, fe.vlan_id(4094)),
                (fe.CTRL_MAC, fe.MAC_ADDR_SET, bytes.fromhex(other.replace(":", ""))),
                (fe.CTRL_MAC, fe.MAC_TABLE_SET, fe.mac_tables(unicast, multicast))):
            self.assertEqual(a.command(class_, command, data)[0], fe.OK)
        self.assertEqual(a.command(fe.CTRL_MQ, fe.MQ_VQ_PAIRS_SET, fe.vq_pairs(1))[0], fe.ERR)
        shown = self.show("a")
        self.assertEqual(shown["mac"].lower(), other)
        self.assertEqual(shown["controlq"], {"served_by": "vnicd, by kick", "ok": 6, "err": 1, "unanswered": 0})
        self.assertEqual(shown["filter"], {
            "active": True, "promisc": False, "allmulti": True, "alluni": False, "nomulti": False, "nouni": False,
            "nobcast": False,
            "unicast": {"overflow": False, "addresses": [m.hex(":") for m in unicast]},
            "multicast": {"overflow": False, "addresses": [m.hex(":") for m in multicast]},
            "vlans": [7, 4094]})
        self.assertEqual(json.loads(self.ctl("guest", "show", "a", "--json")), shown)
        text = self.ctl("guest", "show", "a")
        self.assertRegex(text, r"(?mi)^mac +02:00:00:00:bb:02$")
        self.assertRegex(text, r"(?m)^  vlans +7, 4094$")
        self.assertRegex(text, r"(?m)^  promisc +no$")
        # The front-end goes: it is a new driver that comes.
        a.close()
        self.guests.remove(a)
        self.wait("the guest is still there", lambda: not self.show("a")["connected"])
        self.assertEqual(self.show("a")["mac"].lower(), MAC)

    def test_show_rss_and_coalescing(self):
        self.vnicd.rpc("port.add", {"config": "c=vhost-user,queues=2"})
        c = self.guest("c", queues=2, control=64, features=CONTROL | fe.bits(
            fe.F_MQ, fe.F_RSS, fe.F_NOTF_COAL, fe.F_VQ_NOTF_COAL, fe.F_CSUM, fe.F_GUEST_CSUM, fe.F_GUEST_TSO4)).start()
        self.assertEqual(self.show("c")["offloads"], ["guest_csum", "guest_tso4"])
        key = bytes(range(100, 140))
        self.assertEqual(c.command(fe.CTRL_MQ, fe.MQ_RSS_CONFIG, fe.rss_config(
            [0, 1, 1, 0], types=fe.HASH_IPV4 | fe.HASH_UDPV6, unclassified=1, max_tx_vq=2, key=key))[0], fe.OK)
        self.assertEqual(c.command(fe.CTRL_NOTF_COAL, fe.NOTF_COAL_VQ_SET, fe.coal_vq(3, 8, 50))[0], fe.OK)
        shown = self.show("c")
        self.assertEqual(shown["rss"], {"enabled": True, "types": ["ipv4", "udpv6"], "key": key.hex(),
                                        "unclassified": 1, "table": [0, 1, 1, 0]})
        self.assertEqual(shown["coalescing"]["transmitq2"], {"max_usecs": 50, "max_packets": 8})
        self.assertEqual(shown["coalescing"]["receiveq1"], {"max_usecs": 0, "max_packets": 0})
        self.assertEqual((shown["pairs"], shown["pairs_max"]), (2, 2))


class Notices(Config):
    """What neither a guest nor its front-end will say: `guest show` has it, and the log, once a connection."""
    NO_CONFIG = fe.bits(fe.P_MQ, fe.P_REPLY_ACK)
    PRIVATE = "the guest's memory is not shared: its driver kicks, and nothing that it writes is seen here; with " \
        "QEMU: -object memory-backend-memfd,id=mem,size=SIZE,share=on -numa node,memdev=mem; with libvirt: " \
        "<memoryBacking><source type=\"memfd\"/><access mode=\"shared\"/></memoryBacking>"
    ABSENT = "the guest's memory is not shared: its driver has started, and the front-end has named no memory; " \
        + PRIVATE[PRIVATE.index("with QEMU"):]
    LINK = "the guest's driver does not learn of its link: the front-end answers for the configuration space itself; " \
        "with QEMU, in its monitor: set_link NETDEV on|off"
    SILENT = "the guest's driver learns of its link only when it looks: the front-end has made no channel for " \
        "configuration changes"
    MTU = "the guest's driver does not learn of mtu=: the front-end answers for the configuration space itself; with " \
        "QEMU: -device virtio-net-pci,host_mtu=MTU"

    def notices(self, port):
        return self.show(port)["notices"]

    def logged(self, port, text):
        return sum(f"port {port}: {text}" in line for line in self.vnicd.lines)

    def private(self, guest):
        """What its driver writes stays its own, as with share=off: the back-end gets files of the same size."""
        for region in guest.mem.regions:
            fd = os.memfd_create("private", os.MFD_CLOEXEC)
            os.ftruncate(fd, region.file_size)
            self.addCleanup(os.close, fd)
            region.shown_fd = fd
        guest.mem.fds = lambda: [region.shown_fd for region in guest.mem.regions]

    def gone(self, guest, port="a"):
        self.guests.remove(guest)
        guest.close()
        self.wait("it is still there", lambda: not self.show(port)["connected"])

    @pytest.mark.long
    def test_private_memory(self):
        packed = FEATURES | fe.bits(fe.F_PACKED)
        self.start({name: "vhost-user" for name in "abcdef"})
        # Beside it: one that has no buffers for anybody and does not kick, and one that works and is idle.
        for port, layout, post in (("b", "split", False), ("c", "packed", False), ("d", "packed", True)):
            self.guest(port, layout=layout, features=packed if layout == "packed" else FEATURES).start(post=post)
        private = {"a": self.guest("a"), "e": self.guest("e", layout="packed", features=packed)}
        for guest in private.values():
            self.private(guest)
            guest.start()
        for name, guest in private.items():
            self.wait(f"{name}: no notice", lambda: self.notices(name) == [self.PRIVATE], 8)
            self.assertEqual(self.logged(name, self.PRIVATE), 1)
            # Another driver of this front-end is told of once.
            guest.tell(fe.RESET_DEVICE)
            self.gone(guest, name)
            self.assertEqual(self.notices(name), [])
        a = self.guest("a").start()
        b = self.guests[0]
        b.post_rx()
        a.send_frame(fe.ethernet(b"shared" * 20))
        self.assertEqual(b.receive_frame(), fe.ethernet(b"shared" * 20))
        time.sleep(2.5)
        self.assertEqual([self.notices(port) for port in "abcdef"], [[]] * 6)
        for port in "bcd":
            self.assertEqual(self.logged(port, "the guest's memory"), 0)

    @pytest.mark.long
    def test_no_memory(self):
        self.start({"a": "vhost-user", "b": "vhost-user"})
        for port, protocol in (("a", PROTOCOL), ("b", PROTOCOL | fe.bits(fe.P_STATUS))):
            guest = self.guest(port, protocol=protocol)
            guest.negotiate()
            guest.make_rings()
            for idx in range(guest.n_rings()):
                guest.start_ring(idx)
            guest.driver_ok()
        for port in "ab":
            self.wait("no notice", lambda: self.notices(port) == [self.ABSENT], 8)
            self.assertEqual(self.logged(port, self.ABSENT), 1)
        # Better late than never.
        guest.set_memory()
        self.wait("it has memory now", lambda: self.notices("b") == [])

    def test_empty_memory_table(self):
        self.start({"a": "vhost-user", "b": "vhost-user"})
        guest = self.guest("a")
        guest.negotiate()
        self.assertNotEqual(guest.ack(fe.SET_MEM_TABLE, struct.pack("<II", 0, 0)), 0)
        self.vnicd.expect(r"port a: SET_MEM_TABLE \(5\) refused: no region: the front-end has no memory that it can "
                          r"share \(QEMU: share=on; libvirt: <access mode=\"shared\"/>\)$", 2)

    def set_link(self, state):
        result = self.vnicd.rpc("port.set", {"name": "a", "link": state})
        self.assertEqual(result["link"], state)
        return result["notice"]

    def test_link(self):
        self.start({"a": "vhost-user", "b": "vhost-user"})
        for state in ("down", "up"):
            self.assertIsNone(self.set_link(state), "nobody is connected")
        for protocol, listens, text in ((PROTOCOL, True, None), (PROTOCOL, False, self.SILENT),
                                        (self.NO_CONFIG, False, self.LINK), (self.NO_CONFIG, True, self.LINK)):
            with self.subTest(protocol=protocol, listens=listens):
                a = self.guest("a", protocol=protocol)
                self.assertIsNone(self.set_link("up"), "nothing is known of it yet")
                a.start()
                if listens:
                    a.listen()
                self.assertEqual(self.notices("a"), [])
                self.assertEqual(self.set_link("down"), text)
                self.assertEqual(self.notices("a"), [text] if text else [])
                self.assertEqual(self.set_link("up"), text)
                self.assertEqual(self.notices("a"), [])
                self.gone(a)
                self.assertIsNone(self.set_link("up"))
        self.guest("a", protocol=self.NO_CONFIG).start()
        self.assertEqual(self.ctl("port", "set", "a", "link=down"), f"a: link down\n  {self.LINK}\n")
        self.wait("it is in the log", lambda: self.logged("a", self.LINK) == 1)
        self.assertRegex(self.ctl("guest", "show", "a"), r"(?m)^notices +the guest's driver does not learn of its link")

    def test_mtu(self):
        self.start({"a": "vhost-user,mtu=1400", "b": "vhost-user"})
        for protocol, features, expected in ((PROTOCOL, 0, []), (self.NO_CONFIG, fe.bits(fe.F_MTU), []),
                                             (self.NO_CONFIG, 0, [self.MTU])):
            with self.subTest(protocol=protocol, features=features):
                a = self.guest("a", protocol=protocol, features=FEATURES | features).start()
                self.assertEqual(self.notices("a"), expected)
                self.wait("it is in the log", lambda: self.logged("a", self.MTU) == len(expected))
                self.gone(a)


class Uplink(Config):
    def null(self, keys=""):
        self.start({"a": f"vhost-user,mac={MAC},uplink=up0{keys}", "up0": "nic,dev=net_null0", "b": "vhost-user"},
                   "switch", eal=eal("net_null0,no-rx=1"))

    def test_nic_goes_and_comes(self):
        self.null()
        a, b = self.guest("a").start().listen(), self.guest("b").start()
        self.assertEqual(a.status(), LINK_UP)
        self.assertEqual(self.show("a")["link"], {"state": "up", "speed": 10000, "duplex": "full", "set": "up",
                                                  "uplink": "up0", "uplink_state": "up", "standby": False})
        self.vnicd.rpc("port.remove", {"name": "up0"})
        a.notice()
        self.assertEqual(a.status(), 0)
        self.assertEqual(a.speed_duplex(), (0xffffffff, 0xff))
        self.assertEqual(self.show("a")["link"]["uplink_state"], "down")
        self.assertEqual(b.status(), LINK_UP, "it follows nobody")
        # Both have to be up.
        self.assertEqual(self.ctl("port", "set", "a", "link=up"), "a: link down: its uplink keeps it down\n")
        self.refused("port a: its link is down", "bring its uplink up", "port.announce", name="a")
        self.vnicd.rpc("port.set", {"name": "a", "link": "down"})
        self.vnicd.rpc("port.add", {"config": "up0=nic,dev=net_null0"})
        time.sleep(0.3)
        self.assertEqual(a.status(), 0)
        self.vnicd.rpc("port.remove", {"name": "up0"})
        self.vnicd.rpc("port.set", {"name": "a", "link": "up"})
        self.assertEqual(a.status(), 0)
        # Back, the network is told where the guest is: by RARP here.
        b.drain()
        self.vnicd.rpc("port.add", {"config": "up0=nic,dev=net_null0"})
        self.wait("the link stays down", lambda: a.status() == LINK_UP)
        self.assertEqual(a.speed_duplex(), (10000, 1))
        frame = b.receive_frame()
        self.assertEqual((frame[:6], frame[6:12].hex(":"), frame[12:14]), (BROADCAST, MAC, b"\x80\x35"))

    def test_own_speed_counts(self):
        self.null(",speed=2500,duplex=half")
        a = self.guest("a")
        a.negotiate()
        self.assertEqual(a.speed_duplex(), (2500, 0))

    def kernel_link(self, vdev, ready, down, up, is_down_at_first=False):
        """A NIC of this machine's kernel; `down` and `up` are what happens to it. None: it can't tell."""
        ns = Netns()
        self.addCleanup(ns.remove)
        ready(ns)
        self.start({"a": f"vhost-user,mac={MAC},uplink=up0", "up0": f"nic,dev={vdev.split(',')[0]}"}, "io",
                   eal=eal(vdev), netns=ns.name)
        a = self.guest("a").start().listen()
        if is_down_at_first:
            up(ns)
        self.wait("the link never comes up", lambda: a.status() == LINK_UP)
        for _ in range(2):
            down(ns)
            self.wait("the link stays up", lambda: a.status() == 0)
            up(ns)
            self.wait("the link stays down", lambda: a.status() == LINK_UP)
        self.assertGreaterEqual(len(a.channel.recv(4096)), 4 * 12)

    @NEEDS_ROOT
    def test_af_packet(self):
        """The interface itself is set down and up."""
        self.kernel_link("net_af_packet0,iface=p0", veth_up, lambda ns: ns.run("ip", "link", "set", "p0", "down"),
                         lambda ns: ns.run("ip", "link", "set", "p0", "up"))

    @NEEDS_ROOT
    def test_af_packet_cable(self):
        """The peer of a veth pair is set down and up: the interface loses its carrier."""
        self.kernel_link("net_af_packet0,iface=p0", veth_up, lambda ns: ns.run("ip", "link", "set", "p1", "down"),
                         lambda ns: ns.run("ip", "link", "set", "p1", "up"))

    @NEEDS_ROOT
    def test_tap(self):
        if not os.path.exists("/dev/net/tun"):
            self.skipTest("no /dev/net/tun")
        self.kernel_link("net_tap0,iface=tap0", lambda ns: None,
                         lambda ns: ns.run("ip", "link", "set", "tap0", "down"),
                         lambda ns: ns.run("ip", "link", "set", "tap0", "up"))


class Uml(guests.GuestTest):
    """Linux's driver sees it all."""
    KIND = guests.UmlGuest

    @pytest.mark.long
    def test_link_speed_and_announce(self):
        vnicd = self.start({"vm0": f"vhost-user,mac={MAC},speed=40000,duplex=full", "vm1": "vhost-user"}, "io")
        a = self.guest(vnicd.sock("vm0"), "10.0.0.1").wait_ready()
        b = fe.RawFrontend(vnicd.sock("vm1")).start()
        self.addCleanup(b.close)

        def sysfs(name):
            return a.check(f"cat /sys/class/net/eth0/{name}").strip()

        def wait(name, value):
            for _ in range(50):
                if sysfs(name) == value:
                    return
                time.sleep(0.1)
            self.fail(f"{name} is {sysfs(name)}, not {value}")

        wait("carrier", "1")
        self.assertEqual((sysfs("speed"), sysfs("duplex")), ("40000", "full"))
        vnicd.rpc("port.set", {"name": "vm0", "link": "down"})
        wait("carrier", "0")
        vnicd.rpc("port.set", {"name": "vm0", "link": "up"})
        wait("carrier", "1")
        shown = vnicd.rpc("guest.show", {"name": "vm0"})
        self.assertIn("guest_announce", shown["features"])
        self.assertEqual(shown["controlq"]["served_by"], "vnicd, by kick")
        b.drain(0.3)
        vnicd.rpc("port.announce", {"name": "vm0"})
        # A gratuitous ARP: who has 10.0.0.1, tell 10.0.0.1.
        own = socket.inet_aton("10.0.0.1")
        while True:
            frame = b.receive_frame()
            if frame[12:14] == b"\x08\x06" and frame[28:32] == own and frame[38:42] == own:
                break
        self.assertFalse(vnicd.rpc("guest.show", {"name": "vm0"})["announcing"], "the driver has acknowledged")


if __name__ == "__main__":
    unittest.main(verbosity=2)

# SPDX-License-Identifier: BSD-3-Clause
"""What a guest's header or frame does on its way to the kernel or a socket, and theirs on the way to a guest.

For each kind of port, far, the other end of it, is here: a packet socket with the kernel's header (packet, tap, macvtap), or
a peer that speaks without one (stream, dgram). A batch of frames goes one way; then each of them has to be in one
counter, what arrives has to please tests/lib/oracle.py, and an ordinary frame still passes both ways.
"""
import errno
import os
import pathlib
import random
import signal
import socket
import struct
import subprocess
import sys
import time
import unittest

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lib"), str(HERE.parent / "e2e")]
import netns  # noqa: E402
import oracle  # noqa: E402
import rawfe as fe  # noqa: E402
import vnictest  # noqa: E402
import wire as w  # noqa: E402
from rawfe import seconds  # noqa: E402

pytestmark = pytest.mark.long_plain  # 79 times a vnicd is started; with sanitizers more is found

SOL_PACKET, PACKET_VNET_HDR, PACKET_IGNORE_OUTGOING = 263, 15, 23
HOST, GUEST = {4: "10.0.0.2", 6: "fd00::2"}, {4: "10.0.0.1", 6: "fd00::1"}
GUEST_MAC = "02:00:00:00:00:01"
EDGES = (0, 1, 2, 13, 14, 33, 34, 35, 53, 54, 55, 69, 70, 74, 75, 255, 1000, 0x7fff, 0x8000, 0xfffe, 0xffff)
ALL_FROM = (fe.F_CSUM, fe.F_HOST_TSO4, fe.F_HOST_TSO6, fe.F_HOST_ECN, fe.F_HOST_USO)
ALL_TO = (fe.F_GUEST_CSUM, fe.F_GUEST_TSO4, fe.F_GUEST_TSO6, fe.F_GUEST_ECN, fe.F_GUEST_USO4, fe.F_GUEST_USO6)
IP_LENGTH_AT, IP_LENGTH_MAX = 16, 65535


def header(flags=0, gso_type=0, hdr_len=0, gso_size=0, csum_start=0, csum_offset=0):
    return oracle.HEADER.pack(flags, gso_type, hdr_len, gso_size, csum_start, csum_offset)


def packet(proto, version, payload, *, src, dst, **fields):
    """An Ethernet frame whose TCP or UDP checksum is still to be made, and where that starts."""
    if proto == w.TCP:
        body = w.tcp(payload, src=src[version], dst=dst[version], sport=7000, dport=7001, partial=True, **fields)
    else:
        body = w.udp(payload, src=src[version], dst=dst[version], sport=7000, dport=7001)
        at = (40 if version == 6 else 20) + 6
        body = body[:at] + struct.pack(">H", w.pseudo_sum(w.UDP, 8 + len(payload), src[version], dst[version])) + body[at + 2:]
    return w.ethernet(body, dst=w.MAC, src=GUEST_MAC, kind=w.ETH_IPV6 if version == 6 else w.ETH_IP), 14 + (40 if version == 6 else 20)


# --- the other ends ---


class KernelEnd:
    """A packet socket that gives and takes the kernel's header."""

    has_header = True
    longest = 65535

    def __init__(self, ns, interface):
        self.sock = ns.packet_socket(interface)
        for option in (PACKET_VNET_HDR, PACKET_IGNORE_OUTGOING):
            self.sock.setsockopt(SOL_PACKET, option, 1)
        for option in (32, 33):  # SO_SNDBUFFORCE, SO_RCVBUFFORCE
            self.sock.setsockopt(socket.SOL_SOCKET, option, 64 << 20)
        self.sock.bind((interface, 3))
        self.sock.setblocking(False)

    def send(self, hdr, frame):
        """False: the kernel does not take it."""
        is_again = False
        while True:
            try:
                self.sock.send(hdr + frame)
                return True
            except BlockingIOError:
                time.sleep(0.0001)
            except OSError as e:
                if e.errno != errno.ENETDOWN or is_again:
                    return False
                is_again = True  # of the past

    def receive(self):
        try:
            data = self.sock.recv(1 << 17)
        except OSError:  # nothing, or the interface is down
            return None
        return data[:10], data[10:]

    def renew(self):
        """Forget what has come, and that the interface was down."""
        while self.receive():
            pass
        self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)

    def close(self):
        self.sock.close()


class SocketEnd:
    """No header: whatever comes is whole, whatever goes is taken as it is."""

    has_header = False

    def close(self):
        self.sock.close()


class StreamEnd(SocketEnd):
    longest = 65535 + 14 + 8

    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(path)
        self.sock.setblocking(False)
        self.inbox = b""

    def send(self, hdr, frame):
        data = struct.pack(">I", len(frame)) + frame
        while data:
            try:
                data = data[self.sock.send(data):]
            except BlockingIOError:
                time.sleep(0.0001)
        return True

    def receive(self):
        while True:
            if len(self.inbox) >= 4:
                size, = struct.unpack(">I", self.inbox[:4])
                if len(self.inbox) >= 4 + size:
                    frame, self.inbox = self.inbox[4:4 + size], self.inbox[4 + size:]
                    return header(), frame
            try:
                more = self.sock.recv(1 << 20)
            except BlockingIOError:
                return None
            if not more:
                raise AssertionError("the port has ended the connection")
            self.inbox += more


class DgramEnd(SocketEnd):
    longest = 65507

    def __init__(self, own, port):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(own)
        self.sock.setblocking(False)
        self.port = port

    def send(self, hdr, frame):
        while True:
            try:
                self.sock.sendto(frame, self.port)
                return True
            except BlockingIOError:
                time.sleep(0.0001)

    def receive(self):
        try:
            return header(), self.sock.recv(1 << 17)
        except BlockingIOError:
            return None


# --- the cases, for every kind ---


class Ways:
    """Mixed into a TestCase, which says how its port and its other end are made."""

    COUNTER = None  # (interface, counter) of the kernel's: what it has given the port; it may cut what was sent,
    CUTS_LATE = False  # and what it has counted

    def setUp(self):
        if os.geteuid() != 0:
            self.skipTest(netns.NEEDS_ROOT)
        self.ns = netns.Netns()
        self.addCleanup(self.ns.remove)
        self.dir = vnictest.tmpdir()
        self.rng = random.Random(int(os.environ.get("VNICD_TEST_SEED", "1")))
        line = self.make()
        self.vnicd = vnictest.Vnicd({"g": "vhost-user", "up0": line}, "io", netns=self.ns.name)
        self.guest = self.far = None
        self.addCleanup(self.stop)
        self.far = self.end()
        deadline = time.monotonic() + seconds(10)
        while self.vnicd.rpc("port.show", {"name": "up0"})["link"] != "up":
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)

    def stop(self):
        if self.guest:
            self.guest.close()
        if self.far:
            self.far.close()
        self.assertEqual(self.vnicd.stop(), 0, self.vnicd.output)

    def connect(self, *features, mergeable=True, rx_buffer=2048, size=256):
        if self.guest:
            self.guest.mem.check()
            self.guest.close()
        base = w.BASE if mergeable else w.BASE & ~fe.bits(fe.F_MRG_RXBUF)
        self.guest = fe.RawFrontend(self.vnicd.sock("g"), features=base | fe.bits(*features), size=size, rx_buffer=rx_buffer)
        self.guest.start()
        self.tx_at = self.guest.mem.alloc(70000, 4096, region=1)
        return self.guest

    # from the guest

    def send(self, frame, cuts=(), **fields):
        """One frame of the guest; returns when its buffer is back."""
        data, ring = self.guest.frame_header(**fields) + frame, self.guest.pairs[0].tx
        self.guest.mem.write(self.tx_at, data)
        edges = [0] + [c for c in cuts if 0 < c < len(data)] + [len(data)]
        ring.add([fe.D(self.tx_at + a, b - a) for a, b in zip(edges, edges[1:])], "hostile")
        (_, used), = ring.wait_used(1, timeout=5)
        self.assertEqual(used, 0)

    def arrived(self):
        """What the other end has got, judged."""
        frames = []
        while (one := self.far.receive()) is not None:
            frames.append(one)
            self.assertEqual(oracle.faults(*one, hdr_len_is_hint=True), [], (one[0].hex(), len(one[1]), one[1][:80].hex()))
        return frames

    def settled(self):
        """The counters once they stand still, and each frame that came is in one of them: rx + copies = tx + drops."""
        last, deadline = None, time.monotonic() + seconds(10)
        while True:
            now = self.vnicd.stats()
            total = {k: sum(port.get(k, 0) for port in now.values()) for k in ("rx_packets", "tx_packets", "copies")}
            drops = sum(sum(port["drops"].values()) for port in now.values())
            if now == last and total["rx_packets"] + total["copies"] == total["tx_packets"] + drops:
                return now
            self.assertLess(time.monotonic(), deadline, now)
            last = now
            time.sleep(seconds(0.01))

    @staticmethod
    def change(before, after):
        change = {p: {k: after[p].get(k, 0) - before[p].get(k, 0) for k in ("rx_packets", "tx_packets", "copies")} for p in after}
        for p in after:
            change[p]["drops"] = {r: d for r, n in after[p]["drops"].items() if (d := n - before[p]["drops"].get(r, 0))}
        return change

    def from_guest(self, cases):
        """cases: (frame, cuts, header fields). Each is one frame from the guest, in one counter. Returns what arrived, and
        the drops of both ports."""
        before, n, arrived = self.settled(), 0, []
        for frame, cuts, fields in cases:
            self.send(frame, cuts, **fields)
            n += 1
            arrived += self.arrived()
        change = self.change(before, self.settled())
        arrived += self.arrived()
        self.assertEqual(change["g"]["rx_packets"], n, change)
        self.assertNotIn("bad_offload", change["up0"]["drops"], "what is wrong does not get as far as the kernel")
        dropped = {}
        for port in change.values():
            for reason, count in port["drops"].items():
                dropped[reason] = dropped.get(reason, 0) + count
        self.assertEqual(set(dropped) - {"bad_offload", "malformed", "too_long", "tx_full", "oversize", "runt"}, set(), dropped)
        self.alive()
        return arrived, dropped

    def alive(self):
        """An ordinary frame passes both ways."""
        there, back = fe.ethernet(self.rng.randbytes(60)), fe.ethernet(self.rng.randbytes(61))
        self.send(there)
        deadline = time.monotonic() + seconds(5)
        while there not in [frame for _, frame in self.arrived()]:
            self.assertLess(time.monotonic(), deadline, "a frame from the guest is lost")
        self.assertTrue(self.far.send(header(), back))
        while (self.guest.try_receive() or b"") != back:
            self.assertLess(time.monotonic(), deadline, "a frame to the guest is lost")
        self.guest.mem.check()

    @staticmethod
    def one_of_each():
        """(protocol, version, frame with 3000 bytes of payload, where its checksum starts)"""
        return [(proto, version, *packet(proto, version, bytes(range(250)) * 12, src=GUEST, dst=HOST))
                for proto in (w.TCP, w.UDP) for version in (4, 6)]

    def test_checksum_places_from_a_guest(self):
        self.connect(*ALL_FROM)
        cases = []
        for proto, version in ((w.TCP, 4), (w.UDP, 6)):
            frame, start = packet(proto, version, bytes(100), src=GUEST, dst=HOST)
            places = set(EDGES) | {start, start + 1, len(frame) - 2, len(frame) - 1, len(frame)}
            cases += [(frame, self.rng.choice(((), (12, 40), (70,))), dict(flags=w.NEEDS_CSUM, csum_start=a, csum_offset=b))
                      for a in places for b in (0, 1, 6, 16, 17, len(frame) - start - 2, 0x7fff, 0xffff)]
        _, dropped = self.from_guest(cases)
        self.assertGreater(dropped["bad_offload"], len(cases) // 3)

    def test_kinds_and_sizes_of_segments_from_a_guest(self):
        """All kinds of segmentation, sizes of 0, 1 and beyond everything, and lies about the headers' length."""
        self.connect(*ALL_FROM)
        cases = []
        for proto, version, frame, start in self.one_of_each():
            right = dict(flags=w.NEEDS_CSUM, csum_start=start, csum_offset=oracle.CSUM_OFFSET[proto])
            for gso_type in range(256):
                cases.append((frame, (), dict(right, gso_type=gso_type, gso_size=1000, hdr_len=start + 20)))
            for gso_type in (1, 4, 5, 0x81, 0x84, 0x85, 3):
                for gso_size in (0, 1, 7, 8, 536, 3000, 65535):
                    for hdr_len in (0, start, start + 20, len(frame), 65535):
                        cases.append((frame, (12, 60), dict(right, gso_type=gso_type, gso_size=gso_size, hdr_len=hdr_len)))
                cases.append((frame, (), dict(right, gso_type=gso_type, gso_size=1000, flags=0)))
                cases.append((frame, (), dict(right, gso_type=gso_type, gso_size=1000, csum_start=start + 1)))
        self.rng.shuffle(cases)
        self.from_guest(cases[:len(cases) if vnictest.LONG else 400])

    def test_frames_that_are_right_arrive_right(self):
        self.connect(*ALL_FROM)
        for proto, version, frame, start in self.one_of_each():
            with self.subTest(proto=proto, version=version):
                kind = {(w.TCP, 4): 1, (w.TCP, 6): 4}.get((proto, version), 5)
                arrived, dropped = self.from_guest([(frame, (), dict(
                    flags=w.NEEDS_CSUM, csum_start=start, csum_offset=oracle.CSUM_OFFSET[proto], gso_type=kind, gso_size=1000,
                    hdr_len=start + (20 if proto == w.TCP else 8)))])
                self.assertEqual(dropped, {})
                for one in arrived:
                    self.assertEqual(oracle.faults(*one, knows_right=True, hdr_len_is_hint=True), [])
                payload = b"".join(f[start + (20 if proto == w.TCP else 8):] for _, f in arrived)
                self.assertEqual(payload, bytes(range(250)) * 12)

    def test_N02_headers_cut_anywhere(self):
        """Lengths of headers that lie, stacks of tags, and frames that end at each byte, in pieces."""
        self.connect(*ALL_FROM)
        cases = []
        for proto, version, frame, start in self.one_of_each():
            fields = dict(flags=w.NEEDS_CSUM, csum_start=start, csum_offset=oracle.CSUM_OFFSET[proto],
                          gso_type={(w.TCP, 4): 1, (w.TCP, 6): 4}.get((proto, version), 5), gso_size=500, hdr_len=start + 20)
            for end in range(14, start + 24):
                cases.append((frame[:end], (self.rng.randrange(12, 12 + end),), fields))
            for first in range(16) if version == 4 else (0x50, 0x6f, 0x70):
                changed = frame[:14] + bytes([first | 0x40 if version == 4 else first]) + frame[15:]
                cases.append((changed, (30, 47), fields))
            for offset in range(16) if proto == w.TCP else ():
                cases.append((frame[:start + 12] + bytes([offset << 4]) + frame[start + 13:], (), fields))
            for following in (0, 43, 44, 50, 51, 59, 60, 255) if version == 6 else ():
                cases.append((frame[:20] + bytes([following]) + frame[21:], (), fields))
            for tags in range(1, 10):
                cases.append((frame[:12] + struct.pack(">HH", 0x8100, 1) * tags + frame[12:], (),
                              dict(fields, csum_start=start + 4 * tags, hdr_len=start + 20 + 4 * tags)))
        self.from_guest(cases)

    def test_short_frames_from_a_guest(self):
        self.connect(*ALL_FROM)
        cases = [(bytes(n), (), fields) for n in range(14)
                 for fields in ({}, dict(flags=1, csum_start=0, csum_offset=0), dict(flags=1, gso_type=1, gso_size=1, csum_start=14))]
        arrived, dropped = self.from_guest(cases)
        self.assertEqual(arrived, [])
        self.assertEqual(sum(dropped.values()), len(cases))

    def padded(self):
        """Lengths of IP that say less than there is, or nothing, or too much; protocol 0; padding of Ethernet."""
        for proto, version, frame, start in self.one_of_each():
            short = frame[:start + 28]
            at = IP_LENGTH_AT if version == 4 else 18
            for length in (0, 1, 19, 20, 27, 28, 39, 40, 48, IP_LENGTH_MAX):
                yield short[:at] + struct.pack(">H", length) + short[at + 2:] + bytes(18), start, proto
            proto_at = 23 if version == 4 else 20
            yield short[:proto_at] + b"\0" + short[proto_at + 1:], start, proto

    def test_N15_lengths_of_ip_from_a_guest(self):
        self.connect(*ALL_FROM)
        plain = [(frame, (), {}) for frame, _, _ in self.padded()]
        arrived, dropped = self.from_guest(plain)
        self.assertEqual(([f for _, f in arrived], dropped), ([f for f, _, _ in plain], {}), "who asks for nothing is not judged")
        self.from_guest([(frame, (), dict(flags=1, csum_start=start, csum_offset=oracle.CSUM_OFFSET[proto], gso_type=kind, gso_size=8))
                         for frame, start, proto in self.padded() for kind in (0, 1, 4, 5)])

    def test_lengths_beyond_any_from_a_guest(self):
        """Up to 64 KiB and beyond, which no frame has."""
        self.connect(*ALL_FROM)
        cases, right = [], dict(flags=1, csum_start=34, csum_offset=16, gso_type=1, gso_size=1400, hdr_len=54)
        for length in (1514, 1515, 9014, 32767, 65500, 65535, 65536, 65549, 65550, 65557, 65558, 69000):
            body = bytearray(packet(w.TCP, 4, bytes(1000), src=GUEST, dst=HOST)[0] + bytes(length - 1054))
            struct.pack_into(">H", body, IP_LENGTH_AT, min(length - 14, IP_LENGTH_MAX))
            cases += [(bytes(body), (), {}), (bytes(body), (5000, 20000), right)]
        self.from_guest(cases)

    # to the guest

    def to_guest(self, cases, *, features=ALL_TO, knows_right=False, **options):
        """cases: (header, frame), which the other end sends. Returns what the guest got, judged, and the drops."""
        self.connect(*features, **options)
        self.alive()
        before, given, got, n = self.settled(), self.given(), [], 0
        for hdr, frame in cases:
            n += self.far.send(hdr, frame)
            got += self.received(knows_right)
        # What was sent before the last has come when that has.
        last, deadline = fe.ethernet(self.rng.randbytes(62)), time.monotonic() + seconds(10)
        while last not in [frame for _, frame in got]:
            self.assertLess(time.monotonic(), deadline, "the last frame is lost")
            n += self.far.send(header(), last)
            again = time.monotonic() + seconds(0.2)
            while last not in [frame for _, frame in got] and time.monotonic() < again:
                got += self.received(knows_right)
        while True:
            after = self.settled()
            got += self.received(knows_right)
            came, n = self.came(after) - self.came(before), self.given() - given if self.COUNTER else n
            if came >= n if self.CUTS_LATE else came == n:
                break
            self.assertLess(time.monotonic(), deadline, (n, came, after))
        got += self.received(knows_right)
        change = self.change(before, after)
        self.assertEqual(len(got), change["g"]["tx_packets"], change)
        self.alive()
        got = [one for one in got if one[1] != last]
        return got, {**change["g"]["drops"], **change["up0"]["drops"]}

    def given(self):
        """By the kernel to the port, or lost for want of room there."""
        return self.COUNTER and int(self.ns.run("cat", "/sys/class/net/{}/statistics/{}".format(*self.COUNTER)))

    @staticmethod
    def came(stats):
        return stats["up0"]["rx_packets"] + stats["up0"].get("device", {}).get("imissed", 0)

    def received(self, knows_right):
        frames = []
        while (frame := self.guest.try_receive()) is not None:
            hdr = self.guest.last_header
            if knows_right is not None:
                self.assertEqual(oracle.faults(hdr, frame, knows_right=knows_right), [], (hdr.hex(), len(frame), frame[:80].hex()))
            frames.append((hdr, frame))
        return frames

    def test_checksum_places_to_a_guest(self):
        cases = []
        for proto, version in ((w.TCP, 4), (w.UDP, 6)):
            frame, start = packet(proto, version, bytes(100), src=HOST, dst=GUEST)
            places = set(EDGES) | {start, start + 1, len(frame) - 2, len(frame) - 1, len(frame)}
            cases += [(header(1, csum_start=a, csum_offset=b), frame) for a in places for b in (0, 1, 6, 16, 17, 0x7fff, 0xffff)]
        for features in (ALL_TO, ()):
            with self.subTest(features):
                self.to_guest(cases, features=features)

    def test_kinds_and_sizes_of_segments_to_a_guest(self):
        cases = []
        for proto, version, frame, start in self.one_of_each():
            for gso_type in range(256):
                cases.append((header(1, gso_type, start + 20, 1000, start, oracle.CSUM_OFFSET[proto]), frame))
            for gso_type in (1, 4, 5, 0x81, 0x84, 3):
                for gso_size in (0, 1, 536, 3000, 65535):
                    for hdr_len in (0, start, start + 20, len(frame), 65535):
                        cases.append((header(1, gso_type, hdr_len, gso_size, start, oracle.CSUM_OFFSET[proto]), frame))
        self.rng.shuffle(cases)
        for features in (ALL_TO, (fe.F_GUEST_CSUM,), ()):
            with self.subTest(features):
                self.to_guest(cases[:len(cases) if vnictest.LONG else 250], features=features)

    def test_right_frames_to_a_guest(self):
        """A strict driver finds nothing wrong, whatever it takes."""
        cases = []
        for proto, version, frame, start in self.one_of_each():
            kind = {(w.TCP, 4): 1, (w.TCP, 6): 4}.get((proto, version), 5)
            hdr = header(1, kind, start + (20 if proto == w.TCP else 8), 1000, start, oracle.CSUM_OFFSET[proto])
            if not self.far.has_header:
                hdr, frame = header(), oracle.finished(frame, start, oracle.CSUM_OFFSET[proto])
            cases.append((hdr, frame))
        for features in (ALL_TO, (fe.F_GUEST_CSUM,), ()):
            with self.subTest(features):
                got, dropped = self.to_guest(cases, features=features, knows_right=True)
                self.assertEqual(dropped, {})
                payload = sum(len(f) - oracle.Layout(f).l4 - oracle.Layout(f).l4_len for _, f in got)
                self.assertEqual(payload, 3000 * len(cases))

    def test_short_frames_to_a_guest(self):
        got, _ = self.to_guest([(header(flags, csum_start=0), bytes(n)) for n in range(14) for flags in (0, 1)])
        self.assertEqual(got, [])

    def test_N15_lengths_of_ip_to_a_guest(self):
        cases = [(header(1, kind, 0, 8, start, oracle.CSUM_OFFSET[proto]) if kind is not None else header(), frame)
                 for frame, start, proto in self.padded() for kind in (None, 0, 1, 4, 5)]
        self.to_guest(cases)
        plain = [one for one in cases if one[0] == header()]
        got, dropped = self.to_guest(plain, features=())
        self.assertEqual(([f for _, f in got], dropped), ([f for _, f in plain], {}))

    def long_frames(self, n):
        """As long as this way has them."""
        length = min(60000, self.far.longest)
        frame, start = packet(w.TCP, 4, bytes(length - 54), src=HOST, dst=GUEST)
        if self.far.has_header:
            return [(header(1, 1, 54, 1400, start, 16), frame)] * n
        return [(header(), frame)] * n

    def test_flood_of_long_frames(self):
        """Too long for a guest without mergeable buffers: it loses none of them, and its ring is as it was."""
        features = (fe.F_GUEST_CSUM, fe.F_GUEST_TSO4) if self.far.has_header else ()
        got, dropped = self.to_guest(self.long_frames(300), features=features, mergeable=False, rx_buffer=2048, size=64)
        self.assertEqual(got, [])
        self.assertEqual(dropped, {"too_long": 300})
        ring = self.guest.pairs[0].rx
        self.assertEqual(len(ring.chains), self.guest.size // 2, "all of its buffers are still the device's")
        self.assertFalse(ring.erred())

    def test_long_frames_and_beyond(self):
        cases = []
        for length in (1514, 1515, 1518, 32767, 65400, 65507, 65535, 65536, 65549, 65550, 65557):
            frame = w.ethernet(bytes(length - 14), dst=GUEST_MAC)
            if length <= self.far.longest:
                cases.append((header(), frame))
            if self.far.has_header:
                cases.append((header(1, 1, 54, 1400, 34, 16), packet(w.TCP, 4, bytes(max(length - 54, 1)), src=HOST, dst=GUEST)[0]
                              if length <= 65549 else frame))
        self.to_guest(cases)


class KernelWays(Ways):
    """An interface that others can take down or away."""

    def test_more_than_the_queue_holds(self):
        """What the kernel had no room for is in a counter, too."""
        self.connect()
        self.alive()
        before, n = self.settled(), 1500
        os.kill(self.vnicd.pid, signal.SIGSTOP)
        try:
            tasks = pathlib.Path(f"/proc/{self.vnicd.pid}/task")
            while any((task / "stat").read_text().rpartition(")")[2].split()[0] != "T" for task in tasks.iterdir()):
                time.sleep(0.001)
            for i in range(n):
                self.assertTrue(self.far.send(header(), fe.ethernet(struct.pack("!I", i))))
        finally:
            os.kill(self.vnicd.pid, signal.SIGCONT)
        after = self.vnicd.wait_stats(lambda now: self.came(now) - self.came(before) == n)
        self.assertGreater(after["up0"]["device"]["imissed"], before["up0"]["device"]["imissed"])
        self.settled()
        self.received(None)
        self.alive()

    def under_load(self, command, seconds_=0.5):
        """Frames both ways while the command runs; returns how many the guest has sent."""
        frames = [fe.ethernet(bytes(60)), packet(w.TCP, 4, bytes(3000), src=GUEST, dst=HOST)[0]]
        fields, n = [{}, dict(flags=1, csum_start=34, csum_offset=16, gso_type=1, gso_size=1000, hdr_len=54)], 0
        back = packet(w.TCP, 4, bytes(3000), src=HOST, dst=GUEST)[0]
        with subprocess.Popen(self.ns.command("sh", "-c", command)) as process:
            end = time.monotonic() + seconds_
            while process.poll() is None or time.monotonic() < end:
                for frame, header_fields in zip(frames, fields):
                    self.send(frame, **header_fields)
                    n += 1
                self.far.send(header(1, 1, 54, 1000, 34, 16), back)
                self.received(False)
                self.arrived()
        return n

    def test_carrier_goes_and_comes_under_load(self):
        self.connect(*ALL_FROM, *ALL_TO)
        self.alive()
        before = self.settled()
        n = self.under_load("for i in 1 2 3 4 5 6; do " + "; sleep 0.05; ".join(
            f"ip link set {link} {state}" for link in self.LINKS for state in ("down", "up")) + "; sleep 0.1; done")
        after = self.settled()
        self.received(False)
        change = self.change(before, after)
        self.assertEqual(change["g"]["rx_packets"], n)
        self.assertGreater(change["up0"]["drops"].get("link_down", 0), 0)
        deadline = time.monotonic() + seconds(5)
        while self.vnicd.rpc("port.show", {"name": "up0"})["link"] != "up":
            self.assertLess(time.monotonic(), deadline)
        self.far.renew()
        self.alive()

    def test_interface_is_deleted_under_load(self):
        self.connect(*ALL_FROM, *ALL_TO)
        self.alive()
        before = self.settled()
        n = self.under_load(f"sleep 0.1; ip link del {self.LINKS[-1]}")
        change = self.change(before, self.settled())
        self.assertEqual(change["g"]["rx_packets"], n)
        self.assertGreater(change["up0"]["drops"]["link_down"], 0)
        self.assertEqual(self.vnicd.rpc("port.show", {"name": "up0"})["link"], "down")
        self.vnicd.rpc("port.remove", {"name": "up0"})


@pytest.mark.long
class Packet(KernelWays, unittest.TestCase):
    LINKS = "p1", "p0"
    COUNTER = "p0", "rx_packets"

    def make(self):
        self.ns.run("ip", "link", "add", "p0", "type", "veth", "peer", "name", "p1")
        self.ns.run("sh", "-c", "ip link set p0 up; ip link set p1 up")
        return "packet,ifname=p0"

    def end(self):
        return KernelEnd(self.ns, "p1")


@pytest.mark.long
class Macvtap(Packet):
    LINKS = "p1", "mv0"
    COUNTER = "mv0", "rx_packets"
    CUTS_LATE = True

    def make(self):
        super().make()
        return "tap,macvtap=p0,ifname=mv0"


class Tap(KernelWays, unittest.TestCase):
    LINKS = "t0",
    COUNTER = "t0", "tx_packets"

    def given(self):
        return super().given() + int(self.ns.run("cat", "/sys/class/net/t0/statistics/tx_dropped"))

    def make(self):
        return "tap,ifname=t0"

    def end(self):
        return KernelEnd(self.ns, "t0")


class Stream(Ways, unittest.TestCase):
    def make(self):
        return f"stream,listen={self.dir}/s.sock"

    def end(self):
        return StreamEnd(f"{self.dir}/s.sock")


@pytest.mark.long
class Dgram(Ways, unittest.TestCase):
    def make(self):
        return f"dgram,local={self.dir}/port.sock,remote={self.dir}/far.sock"

    def end(self):
        return DgramEnd(f"{self.dir}/far.sock", f"{self.dir}/port.sock")


if __name__ == "__main__":
    unittest.main(verbosity=2)

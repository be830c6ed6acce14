#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Long frames whose sender rewrites them, and their descriptors, while they are borrowed (lib/frame/borrow.h).

The receiver, a1, has asked for all that makes vnicd look into frames: its address filter, RSS, hash reports. Whatever
the sender does meanwhile, what was decided about a frame is what its receiver finds in it: address, queue, hash. The
words that another process keeps changing are aligned, so each arrives as one of its values; everything else in a frame
says whose it is and where it belongs: a frame of two buffers' parts, of a wrong length or with bytes from outside the
buffers would show.
"""
import collections
import contextlib
import functools
import itertools
import os
import struct
import time

import pytest

import invariants
from invariants import CONTROL_FEATURES, HostileCase, LONG, RawFrontend, bits, seconds
import rawfe as fe
from rawfe import D, INDIRECT, NEXT, WRITE
import vnictest

LAYOUTS = ("split", "packed")
UNMAPPED = 0x2000_0000
BORROW_HEAD, BORROW_MIN = 128, 384      # as in borrow.h
N_BUFFERS = 8
FRAME = 1500
HEADER = 12                         # of the sender's driver; the frame behind it starts on a cache line
ME, OTHER, SENDER = b"\x02\0\0\0\0\x02", b"\x02\0\0\0\0\x03", b"\x02\0\0\0\0\x01"
KEY = bytes(range(7, 47))
TABLE = (0, 1, 1, 0)                # the receiver's queue, by the hash
UDP4, UDP6_EX = 3, 9                # hash reports


@functools.lru_cache(None)
def toeplitz(data):
    key, value = int.from_bytes(KEY, "big"), 0
    for bit in range(8 * len(data)):
        if data[bit // 8] & 0x80 >> bit % 8:
            value ^= key >> 8 * len(KEY) - 32 - bit & 0xffffffff
    return value


class Shape:
    """Frames of one kind: their bytes, the words of them that change, and how to tell what became of them."""

    def __init__(self, name, report, body, flips):
        """body: from the Ethernet type on. flips: {offset: bytes by which the values of this word differ}."""
        self.name, self.report = name, report
        self.base = [self.filled(ME + SENDER + body, k) for k in range(N_BUFFERS)]
        self.flips = {at: [int.from_bytes(self.base[0][at:at + 8], "little") ^ int.from_bytes(d, "little")
                           for d in differences] for at, differences in flips.items()}
        mask = bytearray(b"\xff" * FRAME)
        for at in self.flips:
            mask[at:at + 8] = bytes(8)
        self.mask = int.from_bytes(mask, "big")
        self.fixed = [int.from_bytes(frame, "big") & self.mask for frame in self.base]

    @staticmethod
    def filled(front, k):
        """Up to FRAME bytes: each word has its position, some the buffer's number."""
        at = -(-len(front) // 8) * 8
        words = b"".join(struct.pack(">HBBI", n, 0x40 + k if n % 3 else 0x11, 0x5a, n * 0x01010101 & 0x7fffffff)
                         for n in range(at // 8, FRAME // 8 + 1))
        return (front + b"\x11" * (at - len(front)) + words)[:FRAME]

    def own(self, k, at):
        """What is buffer k's own in the word at `at`, beside buffer 0."""
        return int.from_bytes(self.base[k][at:at + 8], "little") ^ int.from_bytes(self.base[0][at:at + 8], "little")

    def places(self, gpa, k):
        """For the flipper: the words of a frame that start at gpa. The buffer's number stays."""
        spots = []
        for at, values in self.flips.items():
            spots.append((gpa + at, 8, [v ^ self.own(k, at) for v in values]))
        return spots

    def check(self, frame, lengths):
        """Is it one of ours, whole? Returns the index of the value of each word."""
        if len(frame) not in lengths:
            raise AssertionError(f"{self.name}: a frame of {len(frame)} bytes, none of {lengths}")
        short = 8 * (FRAME - len(frame))
        what = int.from_bytes(frame, "big") & self.mask >> short
        fixed = [whole >> short for whole in self.fixed]
        if what not in fixed:
            raise AssertionError(f"{self.name}: {len(frame)} bytes that are no frame of ours: {frame.hex()}")
        k = fixed.index(what)
        seen = []
        for at, values in self.flips.items():
            if at + 8 > len(frame):
                continue
            word = int.from_bytes(frame[at:at + 8], "little") ^ self.own(k, at)
            if word not in values:
                raise AssertionError(f"{self.name}: word at {at} is {word:#x}, none of {values}")
            seen.append(values.index(word))
        return seen

    def tuple_of(self, frame):
        """What VIRTIO hashes."""
        if self.report == UDP4:
            return frame[26:38]
        return frame[120:136] + frame[38:54] + frame[150:154]


def differs(at, **what):
    """8 bytes, of which byte `at` has bits that differ."""
    return [bytes(8)] + [bytes(at) + bytes([v]) + bytes(7 - at) for v in what["by"]]


TO_OTHER = bytes(a ^ b for a, b in zip(ME + b"\0\0", OTHER + b"\0\0"))
# Behind the head nobody decides anything, with plain headers.
TAIL = {at: differs(1, by=(0x80, 0x20)) for at in (BORROW_HEAD, BORROW_MIN - 8, 1024, 1488)}


def udp4():
    length = FRAME - 14
    ip = struct.pack(">BBHHHBBH", 0x45, 0, length, 0, 0, 64, 17, 0) + bytes([10, 1, 2, 3, 192, 168, 7, 200])
    body = b"\x08\0" + ip + struct.pack(">HHHH", 0x3039, 443, length - 20, 0)
    # Destination; source address; source port.
    return Shape("IPv4, UDP", UDP4, body, {
        0: [bytes(8), TO_OTHER, bytes(8)], 24: differs(5, by=(1, 2)), 32: differs(3, by=(1, 4)), **TAIL})


def udp6_extended():
    """Destination options whose home address begins in the head and ends in the tail; the ports are in the tail."""
    length = FRAME - 54
    ip = struct.pack(">IHBB", 6 << 28, length, 60, 64) + bytes([0x20, 1]) + bytes(13) + b"\1" + \
        bytes([0x20, 1]) + bytes(13) + b"\2"
    option = b"\xc9\x10" + bytes([0x20, 1]) + bytes(13) + b"\3"
    pad_before, pad_after = 118 - 56, 150 - 136
    options = bytes([17, 11]) + b"\1" + bytes([pad_before - 2]) + bytes(pad_before - 2) + option + \
        b"\1" + bytes([pad_after - 2]) + bytes(pad_after - 2)
    body = b"\x86\xdd" + ip + options + struct.pack(">HHHH", 0x3039, 443, length - 96, 0)
    # Destination; both halves of the home address; the destination port.
    return Shape("IPv6 with options, UDP", UDP6_EX, body, {
        0: [bytes(8), TO_OTHER, bytes(8)], 120: differs(3, by=(1, 2)), 128: differs(6, by=(1, 4)),
        152: differs(1, by=(2, 8)), 1024: TAIL[1024], 1488: TAIL[1488]})


class LentCases:
    """Both sides' layouts; the receiver's is the class's."""

    FLIP_S = 10 if LONG else 0.5

    @classmethod
    def make_peer(cls):
        features = CONTROL_FEATURES | bits(fe.F_GUEST_CSUM, fe.F_HASH_REPORT)
        if cls.layout == "packed":
            features |= bits(fe.F_PACKED)
        peer = RawFrontend(cls.a1, queues=2, size=256, layout=cls.layout, features=features, control=64).start()
        if peer.command(fe.CTRL_MQ, fe.MQ_VQ_PAIRS_SET, fe.vq_pairs(2))[0] != fe.OK:
            raise AssertionError("VQ_PAIRS_SET")
        return peer

    def setUp(self):
        super().setUp()
        self.program = invariants.helper("flipper")
        if not self.program:
            self.skipTest("no C compiler to build the flipper")
        # The worker and we share a CPU, so that it works when we wait; the flipper has the other one for itself.
        self.cpus = vnictest.cpus()
        os.sched_setaffinity(0, {self.cpus[0]})

    def tearDown(self):
        os.sched_setaffinity(0, self.cpus)
        super().tearDown()

    def order(self, cls, cmd, data):
        self.assertEqual(self.peer.command(cls, cmd, data)[0], fe.OK, f"command {cls}, {cmd}")

    @contextlib.contextmanager
    def receiver(self, rx_buffer):
        """It wants frames for ME only, by RSS, into buffers of this size; for as long as this lasts."""
        self.order(fe.CTRL_MAC, fe.MAC_ADDR_SET, ME)
        self.order(fe.CTRL_RX, fe.RX_PROMISC, b"\0")
        self.order(fe.CTRL_MQ, fe.MQ_RSS_CONFIG, fe.rss_config(TABLE, max_tx_vq=2, key=KEY))
        self.buffers_of(rx_buffer)
        try:
            yield
        finally:
            if self.vn.alive():
                self.order(fe.CTRL_RX, fe.RX_PROMISC, b"\1")
                self.order(fe.CTRL_MQ, fe.MQ_VQ_PAIRS_SET, fe.vq_pairs(2))
                self.buffers_of(2048)

    def buffers_of(self, rx_buffer):
        """The receiver's buffers again, of which it gives away so much."""
        for pair, p in enumerate(self.peer.pairs):
            self.peer.restart_ring(2 * pair, post=False)
            p.rx_all = [(gpa, rx_buffer) for gpa, _ in p.rx_all]
            p.rx_free = list(p.rx_all)
            self.peer.post_rx(pair, len(p.rx_all), rx_buffer)

    def sender(self, layout, shape):
        """A guest whose rings and buffers are in one region, the largest: only from there are frames lent. Returns it
        and where its buffers are."""
        mem = fe.Memory([fe.Region(0x4000_0000, 0x20_0000, 0x7e11_0010_0000, offset=5 * fe.PAGE),
                         fe.Region(0x0010_0000, 0x10_0000, 0x7f55_4000_0000)])
        guest = self.running(layout=layout, size=64, mem=mem)
        guest.own_mem = True
        buffers = [guest.mem.alloc(64 + FRAME + 4, region=0) + 64 - HEADER for _ in range(N_BUFFERS)]
        for k, gpa in enumerate(buffers):
            guest.mem.write(gpa, guest.frame_header() + shape.base[k])
        return guest, buffers

    def flipper(self, guest, spots):
        return invariants.flip(self.program, guest, spots, self.FLIP_S, self.cpus[-1])

    def counters(self):
        """(taken from the sender, lost on the way, given to the receiver), and the lost ones by reason."""
        stats = self.vn.stats()
        lost = collections.Counter(stats["a0"]["drops"]) + collections.Counter(stats["a1"]["drops"])
        return stats["a0"]["rx_packets"], sum(lost.values()), stats["a1"]["tx_packets"], lost

    def at_rest(self):
        """The counters when nothing moves any more."""
        last, deadline = None, time.monotonic() + seconds(3)
        while True:
            now = self.counters()
            if now == last:
                return now
            self.assertLess(time.monotonic(), deadline, "the counters do not come to rest")
            last = now
            time.sleep(seconds(0.02))

    def take(self, shape, lengths, seen):
        """Everything that has come: each is a frame of ours, and what was decided on is in it."""
        n = 0
        for pair in (0, 1):
            while True:
                frame = self.peer.try_receive(pair)
                if frame is None:
                    break
                n += 1
                header = self.peer.last_header
                seen.add(tuple(shape.check(frame, lengths)))
                self.assertEqual(frame[:6], ME, f"{shape.name}: through the filter")
                value, report = struct.unpack_from("<IH", header, 12)
                self.assertEqual(report, shape.report, shape.name)
                self.assertEqual(value, toeplitz(shape.tuple_of(frame)), f"{shape.name}: hash of {frame[:160].hex()}")
                self.assertEqual(pair, TABLE[value % len(TABLE)], f"{shape.name}: queue")
        return n

    def conserved(self, before, shape, lengths, seen, n_got):
        """Every frame that was taken has arrived or is counted as lost. Returns how many were, and the reasons."""
        after = self.at_rest()
        n_got += self.take(shape, lengths, seen)
        taken, lost, given = (b - a for a, b in zip(before[:3], after[:3]))
        reasons = {r: n - before[3][r] for r, n in after[3].items() if n != before[3][r]}
        self.assertEqual(taken, given + lost, f"{shape.name}: {reasons}")
        self.assertEqual(n_got, given, shape.name)
        return taken, given, reasons

    # --- the frames ---

    def test_frames_that_change(self):
        """R08: head and tail of lent frames change all the time."""
        for layout, make, rx_buffer in itertools.product(LAYOUTS, (udp4, udp6_extended), (2048, 700)):
            with self.subTest(layout=layout, frames=make.__name__, rx_buffer=rx_buffer):
                shape = make()
                guest, buffers = self.sender(layout, shape)
                with self.receiver(rx_buffer):
                    self.flip_frames(guest, buffers, shape)
                self.finish(guest)

    def flip_frames(self, guest, buffers, shape):
        ring, lengths, seen = guest.pairs[0].tx, (FRAME, BORROW_MIN), set()
        chains = [D(gpa, HEADER + lengths[k % 2]) for k, gpa in enumerate(buffers)]
        before, n_sent, n_got = self.at_rest(), 0, 0
        helper = self.flipper(guest, [spot for k, gpa in enumerate(buffers)
                                      for spot in shape.places(gpa + HEADER, k)])
        until = time.monotonic() + self.FLIP_S
        try:
            while time.monotonic() < until:
                for _ in range(32):
                    ring.add_raw([chains[n_sent % N_BUFFERS]], "lent")
                    n_sent += 1
                ring.publish()
                for state, length in ring.wait_used(32, 5):
                    self.assertEqual((state, length), ("lent", 0), "a buffer of the sender's")
                n_got += self.take(shape, lengths, seen)
                if n_sent % 1024 == 0:
                    self.victims_ok(1)
        finally:
            out, _ = helper.communicate()
        self.assertGreater(int(out), 1000, "the flipper did not run")
        taken, given, reasons = self.conserved(before, shape, lengths, seen, n_got)
        self.assertEqual(taken, n_sent)
        # The filter has seen both addresses, and nothing else was lost.
        self.assertEqual(set(reasons), {"filtered"})
        self.assertGreater(given, n_sent // 10)
        self.assertGreater(len(seen), 4, "the frames hardly changed")

    # --- their descriptors ---

    def test_descriptors_that_change(self):
        """R06: lengths, addresses and flags of descriptors of lent frames change, and the frames too."""
        for layout, which in itertools.product(LAYOUTS, ("len", "addr", "flags")):
            with self.subTest(layout=layout, which=which):
                shape = udp4()
                guest, buffers = self.sender(layout, shape)
                with self.receiver(2048):
                    self.flip_descriptors(guest, buffers, which, shape)
                self.finish(guest)

    @staticmethod
    def places(guest, ring, buffers, which):
        """Buffers are as long as the longest of the lengths that are right; the others lead out of guest memory. No
        NEXT alone: frames of several buffers are in test_rings."""
        region = guest.mem.regions[0]
        end = region.gpa + region.size
        flags = [0, INDIRECT, WRITE, 0xfff8, INDIRECT | NEXT]
        spots = []
        for i in range(ring.size // 4):
            at = ring.desc + 16 * i
            if which == "len":
                spots.append((at + 8, 4, [HEADER + FRAME, HEADER + BORROW_MIN, 0, HEADER + BORROW_MIN - 1, 11, 0xffffffff,
                                          HEADER + 700]))
            elif which == "addr":
                spots.append((at, 8, [buffers[i % N_BUFFERS], buffers[(i + 1) % N_BUFFERS], UNMAPPED, end - 100,
                                      buffers[(i + 2) % N_BUFFERS], (1 << 64) - 8]))
            elif not ring.packed:
                spots.append((at + 12, 2, [0, 0] + flags))
            else:
                # With the available bits of both laps, or nothing would be looked at.
                spots.append((at + 14, 2, [f & 0x7f7f | fe.P_AVAIL for f in flags] + [fe.P_AVAIL, fe.P_USED]))
        return spots

    def flip_descriptors(self, guest, buffers, which, shape):
        guest.restart_ring(1)
        ring, seen = guest.pairs[0].tx, set()
        lengths = (FRAME, BORROW_MIN, BORROW_MIN - 1, 700)
        chains = [D(gpa, HEADER + lengths[k % 2]) for k, gpa in enumerate(buffers)]
        before, n_sent, n_got, rounds = self.at_rest(), 0, 0, 0
        spots = self.places(guest, ring, buffers, which)
        for k, gpa in enumerate(buffers):
            spots += shape.places(gpa + HEADER, k)[::2]
        helper = self.flipper(guest, spots)
        until = time.monotonic() + self.FLIP_S
        try:
            while time.monotonic() < until:
                for _ in range(min(32, ring.free if ring.packed else len(ring.free))):
                    ring.add_raw([chains[n_sent % N_BUFFERS]], "lent")
                    n_sent += 1
                ring.publish()
                n_got += self.take(shape, lengths, seen)
                try:
                    stuck = not ring.poll()
                except fe.Damage:
                    stuck = True    # the flipper itself writes into used descriptors of a packed ring
                if stuck or ring.erred():
                    guest.restart_ring(1)
                rounds += 1
                if rounds % 20 == 0:
                    self.victims_ok(1)
        finally:
            out, _ = helper.communicate()
        self.assertGreater(int(out), 1000, "the flipper did not run")
        guest.restart_ring(1)
        taken, given, reasons = self.conserved(before, shape, lengths, seen, n_got)
        self.assertLessEqual(set(reasons), {"filtered", "malformed", "runt"})
        self.assertGreater(given, 100)

    def finish(self, guest):
        self.good_traffic(guest, 0)
        self.good_traffic(guest, 1)
        self.victims_ok(2)
        self.done(guest)


@pytest.mark.long
class ToSplit(LentCases, HostileCase):
    layout = "split"


@pytest.mark.long_plain
class ToPacked(LentCases, HostileCase):
    layout = "packed"


if __name__ == "__main__":
    invariants.main()

#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Hostile vhost-user messages: each row is refused, and nobody but the sender notices."""
import array
import ctypes
import itertools
import mmap
import os
import random
import socket
import struct
import tempfile
import time
import unittest

import pytest

import invariants
from invariants import (HostileCase, LONG, Closed, Nack, RawFrontend, Silent, SANITIZED, WRITE, bits, frame_of,
                        seconds)
import rawfe as fe
from rawfe import D, PAGE

pytestmark = pytest.mark.long_plain  # with sanitizers more is found

REPEAT = 1_000_000 if LONG else 20_000
ALL_ONES = (1 << 64) - 1


def fill(fd):
    """A pipe or socket takes no more, and whoever writes to it waits."""
    os.set_blocking(fd, False)
    try:
        while True:
            os.write(fd, bytes(4096))
    except BlockingIOError:
        pass
    os.set_blocking(fd, True)


def u64(value):
    return struct.pack("<Q", value & ALL_ONES)


def state(idx, num):
    return struct.pack("<II", idx & 0xffffffff, num & 0xffffffff)


def region(gpa, size, uva, offset):
    return struct.pack("<QQQQ", *(v & ALL_ONES for v in (gpa, size, uva, offset)))


def mem_table(*regions, n=None):
    return struct.pack("<II", len(regions) if n is None else n & 0xffffffff, 0) + b"".join(regions)


def one_region(*fields):
    """The payload of ADD_MEM_REG and REM_MEM_REG."""
    return u64(0) + region(*fields)


class Fds:
    """Descriptors that are closed at the end."""

    def __init__(self):
        self.all = []

    def keep(self, *fds):
        self.all += fds
        return fds[0] if len(fds) == 1 else fds

    def memfd(self, size=PAGE):
        fd = os.memfd_create("hostile", os.MFD_CLOEXEC)
        os.ftruncate(fd, size)
        return self.keep(fd)

    def memfds(self, n, size=PAGE):
        return [self.memfd(size) for _ in range(n)]

    def eventfd(self, value=0, flags=os.EFD_CLOEXEC):
        return self.keep(os.eventfd(value & 0xffffffff, flags))

    def pipe(self):
        return self.keep(*os.pipe2(os.O_CLOEXEC))

    def sockets(self):
        a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        return self.keep(a.detach(), b.detach())

    def open(self, path, flags):
        return self.keep(os.open(path, flags | os.O_CLOEXEC))

    def close(self, *fds):
        for fd in fds:
            self.all.remove(fd)
            os.close(fd)

    def close_all(self):
        for fd in self.all:
            os.close(fd)
        self.all = []


class Messages(HostileCase):
    def setUp(self):
        super().setUp()
        self.fds = Fds()
        self.addCleanup(self.fds.close_all)

    def valid_payload(self, guest, request):
        """(payload, number of fds) of a message in its proper form, for ring 0."""
        r = guest.mem.regions[0]
        forms = {
            fe.SET_FEATURES: (u64(guest.features), 0),
            fe.SET_PROTOCOL_FEATURES: (u64(guest.protocol), 0),
            fe.SET_MEM_TABLE: (mem_table(region(r.gpa, r.size, r.uva, r.offset)), 1),
            fe.SET_LOG_BASE: (struct.pack("<QQ", PAGE, 0), 1),
            fe.SET_LOG_FD: (b"", 1),
            fe.SET_VRING_NUM: (state(0, 64), 0),
            fe.SET_VRING_ADDR: (struct.pack("<IIQQQQ", 0, 0, r.uva, r.uva + 4096, r.uva + 8192, 0), 0),
            fe.SET_VRING_BASE: (state(0, 0), 0),
            fe.GET_VRING_BASE: (state(0, 0), 0),
            fe.SET_VRING_KICK: (u64(0), 1), fe.SET_VRING_CALL: (u64(0), 1), fe.SET_VRING_ERR: (u64(0), 1),
            fe.SET_VRING_ENABLE: (state(0, 0), 0),
            fe.SEND_RARP: (u64(0x020000000001), 0),
            fe.NET_SET_MTU: (u64(1500), 0),
            fe.SET_BACKEND_REQ_FD: (b"", 1),
            fe.IOTLB_MSG: (bytes(32), 0),
            fe.SET_VRING_ENDIAN: (state(0, 0), 0),
            fe.GET_CONFIG: (struct.pack("<III", 0, 6, 0) + bytes(6), 0),
            fe.SET_CONFIG: (struct.pack("<III", 0, 6, 0) + bytes(6), 0),
            fe.GET_INFLIGHT_FD: (struct.pack("<QQHH4x", 0, 0, 2, 64), 0),
            fe.SET_INFLIGHT_FD: (struct.pack("<QQHH4x", PAGE, 0, 2, 64), 1),
            fe.ADD_MEM_REG: (one_region(r.gpa, r.size, r.uva, r.offset), 1),
            fe.REM_MEM_REG: (one_region(r.gpa, r.size, r.uva, r.offset), 0),
            fe.SET_STATUS: (u64(0), 0),
        }
        return forms.get(request, (b"", 0))

    # --- V01 ---

    def test_V01_addresses_at_region_end(self):
        """V01: a descriptor, an indirect table or a ring that leaves its region by one byte."""
        for layout in ("split", "packed"):
            guest = self.running(layout=layout)
            mem = guest.mem
            r1, r2 = mem.regions[1:]
            end = r2.gpa + r2.size
            mem.claim(end - 4096, 4096)
            tail = mem.regions[1].gpa + mem.regions[1].size - 4096
            frame = frame_of(3, 100)
            data = guest.frame_header() + frame
            with self.subTest(layout=layout, what="transmit, 1 byte over the end"):
                mem.write(end - 111, data[:111])
                out = self.tx_chain(guest, [D(end - 111, 112)])
                self.assert_outcome(guest, out, ("drop", "broken"), rx=False, reasons=("malformed",), what="tx end")
            with self.subTest(layout=layout, what="transmit, ends exactly at the end"):
                mem.write(end - 112, data)
                out = self.tx_chain(guest, [D(end - 112, 112)])
                self.assert_outcome(guest, out, ("forwarded",), rx=False, frame=frame, what="tx at the end")
            with self.subTest(layout=layout, what="transmit, length wraps round 2^64"):
                out = self.tx_chain(guest, [D(2**64 - 64, 128)])
                self.assert_outcome(guest, out, ("drop", "broken"), rx=False, reasons=("malformed",), what="tx wrap")
            with self.subTest(layout=layout, what="transmit, 4 GiB - 1"):
                out = self.tx_chain(guest, [D(end - 112, 0xffffffff)])
                self.assert_outcome(guest, out, ("drop", "broken"), rx=False, reasons=("malformed", "oversize"),
                                    what="tx 4G")
            with self.subTest(layout=layout, what="transmit, in the hole between regions"):
                hole = mem.regions[0].gpa + mem.regions[0].size
                for addr in (hole, hole - 1, 0x0010_0000 - 1, 0, r1.gpa - 64):
                    out = self.tx_chain(guest, [D(addr, 112)])
                    self.assert_outcome(guest, out, ("drop", "broken"), rx=False, reasons=("malformed",),
                                        what=f"tx hole {addr:#x}")
            with self.subTest(layout=layout, what="transmit, user address instead of a guest one"):
                out = self.tx_chain(guest, [D(r1.uva, 112)])
                self.assert_outcome(guest, out, ("drop", "broken"), rx=False, reasons=("malformed",), what="tx uva")
            # Contiguous for the guest, not for us: pieces or a drop, never the neighbouring mapping.
            mem.claim(tail, 4096)
            mem.claim(r2.gpa, 64)       # the gap before the first allocation
            with self.subTest(layout=layout, what="transmit over two regions"):
                mem.write(r2.gpa - 50, data[:50])
                mem.write(r2.gpa, data[50:100])
                mem.write(r2.gpa, data[50:50 + 62])
                out = self.tx_chain(guest, [D(r2.gpa - 50, len(data))])
                self.assert_outcome(guest, out, ("forwarded", "drop"), rx=False, reasons=("malformed",), frame=frame,
                                    what="tx two regions")
            with self.subTest(layout=layout, what="receive over two regions"):
                mem.fill(r2.gpa - 50, 50, fe.RX_POISON)
                mem.fill(r2.gpa, 64, fe.RX_POISON)
                guest.restart_ring(0, post=False)
                out = self.rx_chain(guest, [D(r2.gpa - 50, 50 + 62, WRITE)], frame)
                if out.kind == "forwarded":
                    got = mem.read(r2.gpa - 50, 50) + mem.read(r2.gpa, 62)
                    self.assertEqual(got[12:], frame)
                self.assert_outcome(guest, out, ("forwarded", "drop", "broken"), rx=True, what="rx two regions")
            with self.subTest(layout=layout, what="receive, 1 byte over the end"):
                guest.restart_ring(0, post=False)
                out = self.rx_chain(guest, [D(end - 2047, 2048, WRITE)], frame)
                self.assert_outcome(guest, out, ("drop", "broken"), rx=True, what="rx end")
            with self.subTest(layout=layout, what="receive into a hole"):
                for addr in (end, 0, 2**64 - 64, r1.uva):
                    guest.restart_ring(0, post=False)
                    out = self.rx_chain(guest, [D(addr, 2048, WRITE)], frame)
                    self.assert_outcome(guest, out, ("drop", "broken"), rx=True, what=f"rx hole {addr:#x}")
            with self.subTest(layout=layout, what="indirect table over the end"):
                for addr, n in ((end - 16, 2), (end - 31, 2), (2**64 - 16, 2), (0, 1)):
                    out = self.tx_chain(guest, [D(addr, 16 * n, fe.INDIRECT)])
                    self.assert_outcome(guest, out, ("drop", "broken"), rx=False, reasons=("malformed",),
                                        what=f"table {addr:#x}")
            self.done(guest)

    def test_V01_rings_at_region_end(self):
        """V01: a descriptor table or ring that does not fit its region is refused, at the latest when it starts."""
        for layout in ("split", "packed"):
            for which in range(3):
                guest = self.running(layout=layout)
                r = guest.mem.regions[0]
                guest.stop_ring(0)
                ring = guest.ring(0)
                places = [guest.mem.uva(a) for a in ring.addresses()]
                sizes = ((16 * 64, 6 + 8 * 64, 6 + 2 * 64) if layout == "split" else (16 * 64, 4, 4))
                for over in (0x10, sizes[which] + 0x1000, -r.size - 0x100, 2**63):
                    # The lowest aligned address from which the end is beyond the region; then far outside.
                    bad = r.uva + r.size - sizes[which] + over
                    bad += -bad % 16
                    addr = list(places)
                    addr[which] = bad & ALL_ONES
                    payload = struct.pack("<IIQQQQ", 0, 0, *addr, 0)
                    with self.subTest(layout=layout, which=which, over=hex(over & ALL_ONES)):
                        refused = False
                        for name, request, data, fds in guest.ring_messages(0):
                            if name == "ADDR":
                                data = payload
                            refused |= guest.ack(request, data, fds) != 0
                        refused |= guest.ack(fe.SET_VRING_ENABLE, state(0, 1)) != 0
                        if bad + sizes[which] > r.uva + r.size or bad < r.uva:
                            self.assertTrue(refused, "a ring outside of guest memory was taken")
                        self.victims_ok(1)
                        guest.stop_ring(0)
                guest.restart_ring(0)
                self.good_traffic(guest)
                self.done(guest)

    # --- V02, V08: repetition ---

    def repeat(self, guest, request, payload, n, fds=()):
        """The same message n times, in large writes when there is nothing to pass; waits until all were handled."""
        message = struct.pack("<III", request, 1, len(payload)) + payload
        batch = 20 if fds else 500
        for _ in range(n // batch):
            if fds:
                for _ in range(batch):
                    guest.send_bytes(message, fds)
            else:
                guest.send_bytes(message * batch)
            guest.ask_u64(fe.GET_FEATURES, timeout=30)

    def test_V02_same_message_again_and_again(self):
        """V02: a message that makes the back-end allocate, repeated: memory, files and mappings stay."""
        guest = self.running(protocol=bits(fe.P_MQ, fe.P_LOG_SHMFD, fe.P_MTU))
        guest.stop_ring(0)
        few = max(REPEAT // 20, 500)
        cases = [
            ("SET_VRING_NUM", fe.SET_VRING_NUM, state(0, 64), REPEAT, ()),
            ("SET_VRING_BASE", fe.SET_VRING_BASE, state(0, 0), REPEAT, ()),
            ("SET_VRING_ADDR", fe.SET_VRING_ADDR, guest.ring_messages(0)[2][2], REPEAT, ()),
            ("SET_VRING_ENABLE", fe.SET_VRING_ENABLE, state(0, 0), REPEAT, ()),
            ("SET_FEATURES", fe.SET_FEATURES, u64(guest.features), REPEAT // 20, ()),
            ("SET_OWNER", fe.SET_OWNER, b"", REPEAT, ()),
            ("SET_VRING_CALL", fe.SET_VRING_CALL, u64(0), few, (guest.ring(0).call,)),
            ("SET_VRING_ERR", fe.SET_VRING_ERR, u64(0), few, (guest.ring(0).err,)),
            ("SET_MEM_TABLE", fe.SET_MEM_TABLE, guest.mem.table(), few // 5, guest.mem.fds()),
        ]
        for name, request, payload, n, fds in cases:
            with self.subTest(name):
                self.repeat(guest, request, payload, min(n, 500), fds)
                before = (self.vnicd_rss(), invariants.Resources(self.vn.pid))
                began = time.monotonic()
                self.repeat(guest, request, payload, n, fds)
                self.victims_ok(2)
                after = (self.vnicd_rss(), invariants.Resources(self.vn.pid))
                self.assertEqual(after[1].fds, before[1].fds, "fds")
                self.assertEqual(after[1].guest_maps, before[1].guest_maps, "maps of guest memory")
                limit = 16384 if SANITIZED else 512
                self.assertLess(after[0] - before[0], limit, f"kB more after {n} times")
                self.assertLess(time.monotonic() - began, seconds(60))
        # Pair 1 has been running all the time.
        self.good_traffic(guest, 1)
        guest.restart_ring(0)
        self.good_traffic(guest, 0)

    # --- V03 ---

    def test_V03_every_message_with_0_to_32_fds(self):
        """V03: every message type with 0 to 32 descriptors: a wrong number is refused, none is kept."""
        # How many more may be held after the message than before.
        held = {fe.SET_VRING_KICK: 1, fe.SET_VRING_CALL: 1, fe.SET_VRING_ERR: 1, fe.SET_BACKEND_REQ_FD: 1,
                fe.SET_LOG_BASE: 1, fe.SET_LOG_FD: 1, fe.SET_MEM_TABLE: 1, fe.ADD_MEM_REG: 1}
        spare = self.fds.memfds(32)
        everything = ALL_ONES & ~bits(fe.P_STATUS)
        for request in range(1, fe.REQUEST_MAX + 1):
            guest = self.negotiated(protocol=everything, layout="split")
            for n in (0, 1, 2, 3, 8, 9, 16, 31, 32):
                payload, right = self.valid_payload(guest, request)
                base = self.vnicd_fds()
                name = fe.NAMES.get(request, request)
                with self.subTest(f"{name} with {n} fds"):
                    fds = spare[:n]
                    if n == right and request in (fe.SET_VRING_KICK, fe.SET_VRING_CALL, fe.SET_VRING_ERR):
                        fds = [self.fds.eventfd()]
                    what = self.refusal(guest, request, payload, fds)
                    if n not in (right, 1 if request == fe.REM_MEM_REG else right):
                        self.assertIn(what, ("nack", "closed"), f"{n} descriptors where {right} belong")
                    if what == "closed":
                        guest = self.negotiated(protocol=everything, layout="split")
                        continue
                    guest.ask_u64(fe.GET_FEATURES)
                    self.assertLessEqual(self.vnicd_fds() - base, held.get(request, 0) if n == right else 0,
                                         "descriptors are kept open")
            self.done(guest)
            self.victims_ok(1)

    # --- V04, V05: the dirty log ---

    def test_V04_log_base_overflow(self):
        """V04: SET_LOG_BASE whose size and offset overflow, are misaligned, or leave the file."""
        log = self.fds.memfd(64 * PAGE)
        cases = [(2**64 - 4096, 8192), (2**64 - 1, 1), (2**63, 2**63), (64 * PAGE, PAGE), (64 * PAGE + 1, 0),
                 (PAGE, 64 * PAGE), (PAGE, 2**64 - PAGE), (0, 0), (PAGE, 1), (PAGE, 100), (PAGE, PAGE - 1)]
        for size, offset in cases:
            with self.subTest(size=hex(size), offset=hex(offset)):
                self.assert_nack(fe.SET_LOG_BASE, struct.pack("<QQ", size, offset), (log,), close_ok=True)
        for what, fd in (("pipe", self.fds.pipe()[0]), ("socket", self.fds.sockets()[0]),
                         ("directory", self.fds.open("/tmp", os.O_RDONLY)), ("eventfd", self.fds.eventfd())):
            with self.subTest(fd=what):
                self.assert_nack(fe.SET_LOG_BASE, struct.pack("<QQ", PAGE, 0), (fd,), close_ok=True)

    def log_bits(self, data):
        return {8 * i + b for i, byte in enumerate(data) if byte for b in range(8) if byte & 1 << b}

    def test_V05_dirty_bits_land_at_the_offset(self):
        """V05: with an offset into the log file the bits of the pages written, and no others, are set there."""
        for layout in ("split", "packed"):
            with self.subTest(layout=layout):
                guest = self.running(layout=layout)
                log_offset, log_size = 3 * PAGE, 0x4050_0000 // PAGE // 8
                total = log_offset + log_size + 2 * PAGE
                fd = self.fds.memfd(total)
                log = mmap.mmap(fd, total)
                self.addCleanup(log.close)
                guest.ask(fe.SET_LOG_BASE, struct.pack("<QQ", log_size, log_offset), (fd,))
                # What QEMU does when migration starts: both messages on a device that runs.
                guest.tell(fe.SET_FEATURES, u64(guest.features | bits(fe.F_LOG_ALL)))
                for idx in range(guest.n_rings()):
                    _, request, payload, _ = guest.ring_messages(idx, log=True)[2]
                    guest.tell(request, payload)
                guest.ask_u64(fe.GET_FEATURES)
                time.sleep(seconds(0.05))
                log[:] = bytes(total)
                must = set()
                rings = set()
                for idx in range(guest.n_rings()):
                    ring = guest.ring(idx)
                    desc, used, avail = ring.addresses()
                    first = desc if ring.packed else used
                    size = 16 * ring.size if ring.packed else 6 + 8 * ring.size
                    rings |= set(range(first // PAGE, (first + size - 1) // PAGE + 1))
                    # The device's event area, and where a packed ring's log address points.
                    rings |= set(range(used // PAGE, (used + 3) // PAGE + 1))
                for k in range(40):
                    pair = k & 1
                    frame = frame_of(k)
                    self.peer.send_frame(frame, pair)
                    deadline = time.monotonic() + seconds(2)
                    p = guest.pairs[pair]
                    while not p.received and time.monotonic() < deadline:
                        p.received += p.rx.poll()
                    self.assertTrue(p.received, "no frame while the log is on")
                    (gpa, _), used = p.received[0]
                    must |= set(range(gpa // PAGE, (gpa + used - 1) // PAGE + 1))
                    self.assertEqual(guest.receive_frame(pair), frame)
                    guest.send_frame(frame, pair)
                    self.assertEqual(self.peer.receive_frame(pair), frame)
                found = self.log_bits(log[log_offset:log_offset + log_size])
                self.assertEqual(must - found, set(), "pages written whose bits are clear")
                self.assertTrue(found & rings, "no bit for the used rings")
                self.assertEqual(found - must - rings, set(), "bits of pages that were not written")
                self.assertEqual(bytes(log_offset), log[:log_offset], "bits before the log")
                self.assertEqual(bytes(2 * PAGE), log[log_offset + log_size:], "bits after the log")
                guest.tell(fe.SET_FEATURES, u64(guest.features))
                for idx in range(guest.n_rings()):
                    _, request, payload, _ = guest.ring_messages(idx)[2]
                    guest.tell(request, payload)
                time.sleep(seconds(0.05))
                log[:] = bytes(total)
                self.good_traffic(guest)
                self.assertEqual(log[:], bytes(total), "logged after the log was turned off")
                self.done(guest)

    # --- V06, V07 ---

    @pytest.mark.long_sanitized
    def test_V06_vring_index_out_of_range(self):
        """V06: ring indexes that look right when cut to 8 or 16 bits."""
        for idx in (0x10000, 0x10001, 0xffffffff, 2 * 2 + 1, 0x100 + 0x10000, 255):
            addr = struct.pack("<IIQQQQ", idx, 0, *self.some_ring(), 0)
            ev = self.fds.eventfd()
            for request, payload, fds in (
                    (fe.SET_VRING_NUM, state(idx, 64), ()), (fe.SET_VRING_ADDR, addr, ()),
                    (fe.SET_VRING_BASE, state(idx, 0), ()), (fe.GET_VRING_BASE, state(idx, 0), ()),
                    (fe.SET_VRING_KICK, u64(idx), (ev,)), (fe.SET_VRING_CALL, u64(idx), (ev,)),
                    (fe.SET_VRING_ERR, u64(idx), (ev,)), (fe.SET_VRING_ENABLE, state(idx, 1), ())):
                if idx == 0x10100 and fds:
                    fds = ()        # bit 8 says that there is none
                with self.subTest(f"{fe.NAMES[request]} {idx:#x}"):
                    self.assert_nack(request, payload, fds)

    @staticmethod
    def some_ring():
        base = 0x7f55_4000_0000     # user address of the first region of rawfe.Memory
        return base, base + 4096, base + 8192

    def test_V07_lengths_larger_than_their_arrays(self):
        """V07: length fields inside of a payload, beyond the payload or the config space."""
        def config(offset, size, flags=0, data=None):
            return struct.pack("<III", offset, size & 0xffffffff, flags) + (bytes(min(size, 256)) if data is None else data)
        cases = [
            ("size 0xffffffff", fe.GET_CONFIG, config(0, 0xffffffff, data=bytes(6))),
            ("offset + size overflow", fe.GET_CONFIG, config(0xfffffffe, 6)),
            ("offset beyond", fe.GET_CONFIG, config(0xffff, 6)),
            ("size 257", fe.GET_CONFIG, config(0, 257, data=bytes(257))),
            ("size 0", fe.GET_CONFIG, config(0, 0)),
            ("size one beyond the space", fe.GET_CONFIG, config(1, 256)),
            ("no payload", fe.GET_CONFIG, b""),
            ("half a header", fe.GET_CONFIG, bytes(6)),
            ("write beyond the payload", fe.SET_CONFIG, config(0, 200, data=bytes(6))),
            ("write 0xffffffff", fe.SET_CONFIG, config(0, 0xffffffff, data=bytes(6))),
            ("write offset overflow", fe.SET_CONFIG, config(0xfffffffe, 6)),
            ("write of a read-only field", fe.SET_CONFIG, config(6, 2)),
            ("crypto session, long keys", fe.CREATE_CRYPTO_SESSION, b"\xff" * 1000),
            ("crypto session, short", fe.CREATE_CRYPTO_SESSION, b"\xff" * 3),
            ("close crypto session", fe.CLOSE_CRYPTO_SESSION, u64(ALL_ONES)),
            ("u64 too short", fe.SET_FEATURES, bytes(7)),
            ("u64 too long", fe.SET_FEATURES, bytes(9)),
            ("vring state too short", fe.SET_VRING_NUM, bytes(4)),
            ("vring state too long", fe.SET_VRING_NUM, bytes(12)),
            ("vring address too short", fe.SET_VRING_ADDR, bytes(39)),
            ("log too short", fe.SET_LOG_BASE, bytes(8)),
            ("memory table too short", fe.SET_MEM_TABLE, struct.pack("<II", 8, 0) + bytes(32)),
            ("single region too short", fe.ADD_MEM_REG, bytes(39)),
        ]
        for what, request, payload in cases:
            with self.subTest(what):
                self.assert_nack(request, payload, close_ok=True)

    # --- V08, V09, V10: inflight regions ---

    def take_inflight(self, guest, n_queues=4, size=64):
        """GET_INFLIGHT_FD: (bytes, descriptor)."""
        payload = guest.ask(fe.GET_INFLIGHT_FD, struct.pack("<QQHH4x", 0, 0, n_queues, size))
        length, offset, n, got = struct.unpack("<QQHH4x", payload)
        self.assertEqual((offset, n, got, len(guest.reply_fds)), (0, n_queues, size, 1))
        return length, guest.reply_fds.pop()

    def test_V08_inflight_fd_again_and_again(self):
        """V08: GET_INFLIGHT_FD and SET_INFLIGHT_FD repeated: nothing piles up."""
        guest = self.negotiated()
        before = None
        for i in range(max(200, REPEAT // 10)):
            length, fd = self.take_inflight(guest)
            self.assertGreaterEqual(os.fstat(fd).st_size, length)
            self.assertEqual(guest.ack(fe.SET_INFLIGHT_FD, struct.pack("<QQHH4x", length, 0, 4, 64), (fd,)), 0)
            os.close(fd)
            if i == 100:
                before = (invariants.Resources(self.vn.pid), self.vnicd_rss())
        after = (invariants.Resources(self.vn.pid), self.vnicd_rss())
        self.assertEqual((after[0].fds, after[0].guest_maps), (before[0].fds, before[0].guest_maps))
        self.assertLess(after[1] - before[1], 16384 if SANITIZED else 512, "kB more")
        self.done(guest)
        self.victims_ok()

    def test_V08_inflight_fds_that_nobody_reads(self):
        """V08: a front-end that asks and does not read: one descriptor waits for it, and goes with the connection."""
        guest = self.negotiated()
        base = self.vnicd_fds()
        message = struct.pack("<IIIQQHH4x", fe.GET_INFLIGHT_FD, 1, 24, 0, 0, 4, 64)
        guest.sock.setblocking(False)
        try:
            while True:
                guest.sock.sendall(message * 50)
        except BlockingIOError:
            pass
        self.assertLessEqual(self.vnicd_fds(), base + 1)
        guest.sock.setblocking(True)
        self.done(guest)
        self.victims_ok()

    def test_V09_inflight_sizes(self):
        """V09: inflight messages with queue counts and sizes out of range."""
        shm = self.fds.memfd(16 * PAGE)
        for n_queues, size in ((0, 64), (257, 64), (65535, 64), (4, 0), (4, 32769), (4, 65535)):
            payload = struct.pack("<QQHH4x", 16 * PAGE, 0, n_queues, size)
            with self.subTest(n_queues=n_queues, size=size):
                self.assert_nack(fe.SET_INFLIGHT_FD, payload, (shm,), state="negotiated")
                self.assert_nack(fe.GET_INFLIGHT_FD, payload, state="negotiated", close_ok=True)
        for length, offset in ((1, 0), (PAGE, 0), (2**64 - 1, 0), (2**63, 0), (17 * PAGE, 0), (16 * PAGE, 8),
                               (16 * PAGE, 2**64 - 8), (8 * PAGE, 4), (2**40, 0), (0, 0)):
            payload = struct.pack("<QQHH4x", length, offset, 4, 64)
            with self.subTest(length=length, offset=offset):
                self.assert_nack(fe.SET_INFLIGHT_FD, payload, (shm,), state="negotiated")
        with self.subTest("while queues run"):
            self.assert_nack(fe.SET_INFLIGHT_FD, struct.pack("<QQHH4x", 16 * PAGE, 0, 4, 64), (shm,))

    def test_V09_inflight_contents(self):
        """V09: a region that is all ones, or random: the ring is found where it stands, traffic passes."""
        rng = random.Random(9)
        for layout in ("split", "packed"):
            for what in ("ones", "random", "random", "zero"):
                with self.subTest(layout=layout, what=what):
                    shm = self.fds.memfd(16 * PAGE)
                    contents = {"ones": b"\xff", "random": rng.randbytes(1), "zero": b"\0"}[what] * 16 * PAGE
                    if what == "random":  # a header of the right form, and any position
                        contents = (bytes(8) + struct.pack("<HH", 1, 64) + rng.randbytes(500)).ljust(2080, b"\xff") * 8
                    os.pwrite(shm, contents[:16 * PAGE], 0)
                    guest = self.raw(layout=layout)
                    set_memory = guest.set_memory

                    def with_region():
                        set_memory()
                        payload = struct.pack("<QQHH4x", 16 * PAGE, 0, 4, 64)
                        self.assertEqual(guest.ack(fe.SET_INFLIGHT_FD, payload, (shm,)), 0)

                    guest.set_memory = with_region
                    guest.start()
                    self.await_pair(guest)
                    self.good_traffic(guest)
                    self.done(guest)
        self.victims_ok()

    def test_V10_inflight_fds(self):
        """V10: descriptors on inflight messages, and wrong sizes: closed, refused."""
        shm = self.fds.memfds(4)
        payload = struct.pack("<QQHH4x", PAGE, 0, 4, 64)
        guest = self.running()
        base = self.vnicd_fds()
        for request, data, fds in ((fe.GET_INFLIGHT_FD, payload, shm[:1]), (fe.GET_INFLIGHT_FD, payload, shm),
                                   (fe.SET_INFLIGHT_FD, payload, ()), (fe.SET_INFLIGHT_FD, payload, shm),
                                   (fe.SET_INFLIGHT_FD, payload[:-5], shm[:1]), (fe.GET_INFLIGHT_FD, b"", shm[:1]),
                                   (fe.GET_INFLIGHT_FD, payload[:-5], ()), (fe.GET_INFLIGHT_FD, payload + bytes(4), ()),
                                   (fe.SET_INFLIGHT_FD, payload + bytes(4), shm[:1])):
            with self.subTest(f"{fe.NAMES[request]} {len(data)} bytes, {len(fds)} fds"):
                what = self.refusal(guest, request, data, fds)
                self.assertIn(what, ("nack", "closed"))
                if what == "closed":
                    self.done(guest)
                    guest = self.running()
                self.assertEqual(self.vnicd_fds(), base)
        self.good_traffic(guest)

    # --- V11 ---

    def test_V11_truncated_messages(self):
        """V11: cut headers and payloads, sizes beyond any message, descriptors beyond the control buffer."""
        base = None
        header = struct.pack("<III", fe.SET_MEM_TABLE, 1, 8 + 32)
        memfds = self.fds.memfds(8)
        many = self.fds.memfds(200)
        cases = [
            ("5 bytes of a header", header[:5], ()), ("5 bytes and 8 fds", header[:5], memfds),
            ("a header", header, ()), ("a header and 8 fds", header, memfds),
            ("half a payload and 8 fds", header + bytes(20), memfds),
        ]
        for what, data, fds in cases:
            with self.subTest(what):
                guest = self.negotiated()
                base = base or self.vnicd_fds()
                guest.send_bytes(data, fds)
                self.victims_ok(1)
                guest.disconnect()
                self.done(guest)
                self.victims_ok(1)
                guest = self.negotiated()
                self.assertEqual(self.vnicd_fds(), base)
                self.done(guest)
        for size in (0x1000_0000, 0xffffffff, 0x80000000, 100_000):
            with self.subTest(size=hex(size)):
                guest = self.negotiated()
                try:
                    guest.send(fe.SET_MEM_TABLE, bytes(16), memfds, size=size)
                    guest.wait_closed()
                finally:
                    self.done(guest)
                self.victims_ok(1)
        for n in (33, 64, 200):
            with self.subTest(f"{n} fds"):
                guest = self.negotiated()
                guest.send(fe.SET_MEM_TABLE, guest.mem.table(), many[:n])
                guest.wait_closed()
                self.done(guest)
                self.victims_ok(1)
        # Descriptors again and again on the bytes of one message that never ends.
        with self.subTest("fds with every byte"):
            guest = self.negotiated()
            try:
                for i in range(11):
                    guest.send_bytes(header[i:i + 1], memfds)
                guest.wait_closed()
            except Closed:
                pass
            self.done(guest)
        for flags in (0, 2, 3, 1 | 4, 0xfffffffd):
            with self.subTest(f"flags {flags:#x}"):
                guest = self.negotiated(protocol=bits(fe.P_MQ))
                guest.send(fe.SET_OWNER, b"", flags=flags)
                if flags & 3 != 1 or flags & 4:
                    guest.wait_closed()
                self.done(guest)
                self.victims_ok(1)

    # --- V12, V13, V15, V29-like, V31: memory tables ---

    def assert_region_refused(self, gpa, size, uva, offset, fd, **options):
        self.assert_nack(fe.SET_MEM_TABLE, mem_table(region(gpa, size, uva, offset)), (fd,), state="negotiated", **options)
        self.assert_nack(fe.ADD_MEM_REG, one_region(gpa, size, uva, offset), (fd,), state="negotiated", **options)

    def test_V12_region_overflow(self):
        """V12: sizes, offsets and addresses that overflow."""
        fd = self.fds.memfd(1 << 20)
        gpa, size, uva = 0x10_0000, 0x1_0000, 0x7f00_0000_0000
        for what, fields in {
                "size 2^64-1, offset 1": (gpa, 2**64 - 1, uva, 1),
                "size 2^64-4096, offset 8192": (gpa, 2**64 - 4096, uva, 8192),
                "offset 2^64-4096": (gpa, size, uva, 2**64 - 4096),
                "offset + size = 2^64": (gpa, size, uva, 2**64 - size),
                "guest address overflows": (2**64 - 4096, size, uva, 0),
                "guest address ends at 2^64": (2**64 - size + 1, size, uva, 0),
                "user address overflows": (gpa, size, 2**64 - 4096, 0),
                "size 0": (gpa, 0, uva, 0),
                "size 2^63": (gpa, 2**63, uva, 0)}.items():
            with self.subTest(what):
                self.assert_region_refused(*fields, fd)

    def test_V13_region_count(self):
        """V13: region counts of 0, 9 and 2^32-1, and counts that differ from the number of descriptors."""
        fds = self.fds.memfds(9, 1 << 16)
        regions = [region(0x10_0000 * (i + 1), 1 << 16, 0x7f00_0000_0000 + 0x10_0000 * i, 0) for i in range(9)]
        for n, listed, n_fds in ((0, 0, 0), (0, 0, 1), (9, 9, 9), (9, 8, 8), (2**32 - 1, 8, 8), (2**31, 1, 1),
                                 (0x10001, 1, 1), (2, 2, 1), (1, 1, 2), (1, 1, 0), (8, 1, 8), (1, 0, 1)):
            with self.subTest(n=n, listed=listed, fds=n_fds):
                self.assert_nack(fe.SET_MEM_TABLE, mem_table(*regions[:listed], n=n), fds[:n_fds], state="negotiated")

    def test_V13_region_count_on_a_running_device(self):
        """V13: a refused memory table leaves the running device and its old table as they were."""
        fd = self.fds.memfd(1 << 16)
        self.assert_nack(fe.SET_MEM_TABLE, mem_table(region(0, 1 << 16, 0, 0), n=9), (fd,))
        self.assert_nack(fe.SET_MEM_TABLE, mem_table(region(0, 1 << 20, 0x7f0000000000, 0)), (fd,))

    # --- V14 ---

    @pytest.mark.long_sanitized
    def test_V14_unknown_requests(self):
        """V14: every request number that is a hole, zero, negative or of a feature that was not negotiated."""
        holes = [0, fe.IOTLB_MSG, fe.SET_VRING_ENDIAN, fe.CREATE_CRYPTO_SESSION, fe.CLOSE_CRYPTO_SESSION,
                 fe.POSTCOPY_ADVISE, fe.POSTCOPY_LISTEN, fe.POSTCOPY_END, fe.GPU_SET_SOCKET, fe.VRING_KICK,
                 fe.GET_SHARED_OBJECT, fe.SET_DEVICE_STATE_FD, fe.CHECK_DEVICE_STATE]
        holes += list(range(44, 66)) + [127, 128, 255, 256, 257, 0x10001, 0x7fffffff, 0x80000000, 0x80000001, 0xffffffff,
                                        0xfffffffe]
        for request in holes:
            for payload in (b"", u64(1)):
                with self.subTest(f"request {request:#x}, {len(payload)} bytes"):
                    self.assert_nack(request, payload, state="negotiated", close_ok=True)

    # --- V15, V16 ---

    def test_V15_file_shorter_than_region(self):
        """V15: files of 0, 1 page and size - 1 bytes: refused before they are mapped."""
        size = 1 << 20
        for length in (0, PAGE, size - 1, size - PAGE):
            with self.subTest(length=length):
                fd = self.fds.memfd(length)
                self.assert_region_refused(0x10_0000, size, 0x7f00_0000_0000, 0, fd)
        with self.subTest("offset"):
            fd = self.fds.memfd(size)
            self.assert_region_refused(0x10_0000, size, 0x7f00_0000_0000, PAGE, fd)

    def hammer(self, guest, until):
        """Traffic both ways on a guest that is about to lose its memory; errors of the guest's side are its own."""
        sent = 0
        while time.monotonic() < until:
            try:
                self.peer.send_frame(frame_of(sent), sent & 1, wait=False)
                self.peer.reclaim_tx(sent & 1)
                if not guest.mem.regions[0].lost and not guest.mem.regions[1].lost:
                    guest.send_frame(frame_of(sent), sent & 1, wait=False)
                sent += 1
            except Silent:
                pass
            self.peer.drain()

    def test_V16_file_truncated_under_us(self):
        """V16: a guest truncates its memory file: its own connection is closed, nothing else happens."""
        for layout, which, keep in itertools.product(("split", "packed"), (0, 1), (0, 1)):
            with self.subTest(layout=layout, region=("rings", "buffers")[which], keep=keep):
                guest = self.running(layout=layout)
                self.hammer(guest, time.monotonic() + 0.02)
                r = guest.mem.regions[which]
                if not which:       # make sure that there is something to do when the rings go
                    guest.send_frame(frame_of(1), 0, wait=False)
                r.lost = True
                os.ftruncate(r.fd, keep * (r.offset + PAGE))
                if which:
                    # Rings are there: offer chains which lie in the lost memory.
                    tx = guest.pairs[0].tx
                    if tx.free:
                        tx.add([D(r.gpa + 64 * PAGE, 500)])
                if not which and keep and layout == "packed":
                    # Its descriptors lie in the page that is left, its event area does not: a notification looks there.
                    # (Unless so many frames had to be sent that its next descriptor is gone, too.)
                    tx = guest.pairs[1].tx
                    if tx.desc + 16 * (tx.slot + 1) <= r.gpa + PAGE:
                        tx.add([D(guest.mem.regions[1].gpa + 64 * PAGE, 500)])
                self.hammer(guest, time.monotonic() + 0.05)
                self.victims_ok(2)
                guest.wait_closed(5)
                self.victims_ok(2)
                self.done(guest)
        # And the port takes a new guest.
        self.good_traffic(self.running())

    def test_V16_truncated_idle(self):
        """V16: the memory file goes while the guest is silent; a message then makes us look at it."""
        guest = self.running()
        for r in guest.mem.regions:
            r.lost = True
            os.ftruncate(r.fd, 0)
        self.victims_ok(2)
        try:
            for idx in range(4):
                guest.send(fe.GET_VRING_BASE, state(idx, 0))
            guest.send(fe.SET_MEM_TABLE, guest.mem.table(), guest.mem.fds())
        except Closed:
            pass
        self.peer.send_frame(frame_of(1), 0)
        self.victims_ok(2)
        self.done(guest)
        self.good_traffic(self.running())

    def test_V16_hole_punched(self):
        """V16: pages are punched out of the file: they read as zeros, which is the guest's own trouble."""
        libc = ctypes.CDLL(None, use_errno=True)
        for which in (0, 1):
            guest = self.running()
            r = guest.mem.regions[which]
            self.assertEqual(libc.fallocate(r.fd, 3, ctypes.c_long(r.offset), ctypes.c_long(r.size)), 0)
            r.lost = True       # its poison has gone; that is not vnicd's doing
            for k in range(20):
                self.peer.send_frame(frame_of(k), k & 1)
            self.victims_ok(4)
            self.done(guest)
        self.good_traffic(self.running())

    def test_V16_hugetlb_without_pages(self):
        """V16: memory on huge pages that do not exist: refused, or the guest's own loss when touched."""
        try:
            fd = os.memfd_create("hostile", os.MFD_CLOEXEC | 0x4)
            self.fds.keep(fd)
            os.ftruncate(fd, 1 << 30)
        except OSError as e:
            self.skipTest(f"no hugetlbfs here: {e}")
        guest = self.negotiated()
        what = self.refusal(guest, fe.SET_MEM_TABLE,
                            mem_table(region(0x10_0000, 1 << 30, 0x7f00_0000_0000, 0)), (fd,))
        self.assertIn(what, ("nack", "accepted", "closed"))
        self.victims_ok(2)

    # --- V17, V18, V19 ---

    def test_V17_partial_setup_after_stop(self):
        """V17: every subset of the ring set-up messages after GET_VRING_BASE, in random orders: works or is idle."""
        rng = random.Random(17)
        names = ("NUM", "ADDR", "BASE", "KICK", "CALL", "ENABLE")
        for layout in ("split", "packed"):
            guest = self.running(layout=layout, queues=2)
            for mask in range(1 << len(names)):
                chosen = [n for i, n in enumerate(names) if mask & 1 << i]
                for order in range(2):
                    rng.shuffle(chosen)
                    with self.subTest(layout=layout, messages=" ".join(chosen)):
                        guest.stop_ring(1)
                        ring = guest.ring(1)
                        ring.reset()
                        gpa = guest.pairs[0].tx_free[0] if guest.pairs[0].tx_free else guest.mem.alloc(2048)
                        messages = {n: (r, p, f) for n, r, p, f in guest.ring_messages(1)}
                        messages["ENABLE"] = (fe.SET_VRING_ENABLE, state(1, 1), ())
                        refused = 0
                        for name in chosen:
                            refused += guest.ack(*messages[name][:2], messages[name][2]) != 0
                        frame = frame_of(mask, 100)
                        self.peer.drain()
                        guest.mem.write(gpa, guest.frame_header() + frame)
                        ring.add([D(gpa, 112)], gpa)
                        got = None
                        # Only a full set-up has to work; give the others a moment to do wrong.
                        full = len(chosen) == len(names) and not refused
                        end = time.monotonic() + seconds(1.0 if full else 0.002)
                        while time.monotonic() < end and got is None:
                            got = self.peer.try_receive(0)
                        if got is not None:
                            self.assertEqual(got, frame)
                        elif full:
                            self.fail("everything was resent and accepted, but the ring does not run")
                        if "KICK" not in chosen:
                            self.assertIsNone(got, "the ring runs without a new kick descriptor")
                self.victims_ok(1)
            guest.stop_ring(1)
            guest.restart_ring(1)
            # Receive ring of the other pair has never been touched.
            self.good_traffic(guest, 1)
            self.good_traffic(guest, 0)
            self.done(guest)

    def test_V18_configuration_of_a_running_ring(self):
        """V18: NUM, ADDR, BASE and features do not change while the ring runs; nonsense sizes never."""
        for layout in ("split", "packed"):
            for idx in (0, 1):
                guest = self.running(layout=layout)
                ring = guest.ring(idx)
                desc, used, avail = (guest.mem.uva(a) for a in ring.addresses())
                other = [guest.mem.uva(a) for a in guest.ring(2 + idx).addresses()]
                for what, request, payload in (
                        ("NUM 32", fe.SET_VRING_NUM, state(idx, 32)), ("NUM 128", fe.SET_VRING_NUM, state(idx, 128)),
                        ("NUM 0", fe.SET_VRING_NUM, state(idx, 0)), ("NUM 3", fe.SET_VRING_NUM, state(idx, 3)),
                        ("NUM 32769", fe.SET_VRING_NUM, state(idx, 32769)),
                        ("ADDR", fe.SET_VRING_ADDR, struct.pack("<IIQQQQ", idx, 0, *other, 0)),
                        ("ADDR used", fe.SET_VRING_ADDR, struct.pack("<IIQQQQ", idx, 0, desc, other[1], avail, 0)),
                        ("BASE", fe.SET_VRING_BASE, state(idx, 7)),
                        ("features", fe.SET_FEATURES, u64(guest.features ^ bits(fe.F_MRG_RXBUF))),
                        ("layout", fe.SET_FEATURES, u64(guest.features ^ bits(fe.F_PACKED)))):
                    with self.subTest(layout=layout, idx=idx, what=what):
                        self.assert_nack(request, payload, guest=guest)
                        self.good_traffic(guest, 0, 1)
                self.done(guest)

    def test_V18_sizes(self):
        """V18: sizes that no ring can have, on a stopped ring: refused, at the latest when it starts."""
        for layout in ("split", "packed"):
            sizes = (0, 32769, 65535, 65536, 0x10040, 0xffffffff) + ((3, 63, 255, 32767) if layout == "split" else ())
            guest = self.running(layout=layout)
            for size in sizes:
                with self.subTest(layout=layout, size=size):
                    guest.stop_ring(0)
                    refused = 0
                    for name, request, payload, fds in guest.ring_messages(0):
                        if name == "NUM":
                            payload = state(0, size)
                        refused += guest.ack(request, payload, fds) != 0
                    refused += guest.ack(fe.SET_VRING_ENABLE, state(0, 1)) != 0
                    self.assertTrue(refused, f"a ring of {size} descriptors was taken")
                    self.victims_ok(1)
                    guest.stop_ring(0)
                    guest.restart_ring(0)
                    self.good_traffic(guest, 0, 1)
            self.done(guest)
            # The smallest and odd ones that are legal have to work.
            for size in ((1, 2) if layout == "split" else (1, 2, 3, 63)):
                with self.subTest(layout=layout, legal=size):
                    guest = self.running(layout=layout, size=size, post=False, linked=False)
                    for k in range(5):
                        guest.send_frame(frame_of(k), 0)
                        self.assertEqual(self.peer.receive_frame(0), frame_of(k))
                    guest.post_rx(0, 1)
                    for k in range(5):
                        self.peer.send_frame(frame_of(k), 0)
                        self.assertEqual(guest.receive_frame(0), frame_of(k))
                    self.done(guest)

    def test_V18_log_flags_may_change(self):
        """V18: what QEMU does on running rings has to work: LOG_ALL and the rings' log flag, on and off."""
        for layout in ("split", "packed"):
            with self.subTest(layout=layout):
                guest = self.running(layout=layout)
                fd = self.fds.memfd(64 * PAGE)
                guest.ask(fe.SET_LOG_BASE, struct.pack("<QQ", 64 * PAGE, 0), (fd,))
                for k in range(6):
                    log = not k & 1
                    guest.tell(fe.SET_FEATURES, u64(guest.features | (bits(fe.F_LOG_ALL) if log else 0)))
                    for idx in range(guest.n_rings()):
                        _, request, payload, _ = guest.ring_messages(idx, log=log)[2]
                        guest.tell(request, payload)
                    self.good_traffic(guest, 0)
                    self.good_traffic(guest, 1)
                    self.victims_ok(1)
                self.done(guest)

    def test_V19_base_beyond_the_ring(self):
        """V19: packed rings whose base is not inside of the ring; every combination of wrap bits."""
        guest = self.running(layout="packed")
        n = guest.ring(0).size
        for last_avail, last_used in ((n, 0), (0, n), (n, n), (0x7fff, 0), (0, 0x7fff), (n + 1, n + 1), (n, n - 1)):
            for wraps in range(4):
                base = last_avail | (wraps & 1) << 15 | last_used << 16 | (wraps >> 1) << 31
                with self.subTest(base=hex(base)):
                    guest.stop_ring(0)
                    refused = 0
                    for name, request, payload, fds in guest.ring_messages(0):
                        if name == "BASE":
                            payload = state(0, base)
                        refused += guest.ack(request, payload, fds) != 0
                    refused += guest.ack(fe.SET_VRING_ENABLE, state(0, 1)) != 0
                    self.assertTrue(refused, f"base {base:#x} of a ring of {n} was taken")
                    self.peer.send_frame(frame_of(1), 0)
                    self.victims_ok(1)
        guest.stop_ring(0)
        guest.restart_ring(0)
        self.good_traffic(guest)
        self.done(guest)
        # Inside of the ring any of them is the guest's own business.
        for base in (5, 5 | 1 << 15, 5 | 7 << 16, 0x80000000, 0x00008000, (n - 1) | (n - 1) << 16, 10 | 3 << 16):
            guest = self.negotiated(layout="packed")
            guest.set_memory()
            guest.make_rings()
            for idx in (0, 1):
                for name, request, payload, fds in guest.ring_messages(idx):
                    guest.ack(request, state(idx, base) if name == "BASE" else payload, fds)
                guest.ack(fe.SET_VRING_ENABLE, state(idx, 1))
            guest.send_frame(frame_of(1), 0, wait=False)
            self.peer.send_frame(frame_of(1), 0)
            self.victims_ok(1)
            self.done(guest)

    # --- V30, V31, V32 ---

    def test_V30_unaligned_ring_addresses(self):
        """V30: descriptor table, available and used ring off their alignment by one byte and more."""
        for layout in ("split", "packed"):
            guest = self.running(layout=layout)
            guest.stop_ring(0)
            ring = guest.ring(0)
            places = [guest.mem.uva(a) for a in ring.addresses()]
            # In the order of the message: descriptors, used (device area), available (driver area).
            offsets = ((1, 2, 4, 8, 15), (1, 2, 3), (1,) if layout == "split" else (1, 2, 3))
            for which in range(3):
                for off in offsets[which]:
                    with self.subTest(layout=layout, which=("desc", "used", "avail")[which], off=off):
                        addr = list(places)
                        addr[which] += off
                        refused = 0
                        for name, request, payload, fds in guest.ring_messages(0):
                            if name == "ADDR":
                                payload = struct.pack("<IIQQQQ", 0, 0, *addr, 0)
                            refused += guest.ack(request, payload, fds) != 0
                        refused += guest.ack(fe.SET_VRING_ENABLE, state(0, 1)) != 0
                        self.assertTrue(refused, "an unaligned ring was taken")
                        self.victims_ok(1)
                        guest.stop_ring(0)
            guest.restart_ring(0)
            self.good_traffic(guest)
            self.done(guest)

    def test_V31_wrong_kind_of_fd_as_memory(self):
        """V31: sockets, pipes, directories, devices, read-only files and eventfds as guest memory."""
        size = 1 << 16
        path = os.path.join(self.vn.run_dir, "file")
        with open(path, "wb") as f:
            f.truncate(size)
        kinds = {"socket": self.fds.sockets()[0], "pipe read end": self.fds.pipe()[0], "pipe write end":
                 self.fds.pipe()[1], "directory": self.fds.open("/tmp", os.O_RDONLY),
                 "/dev/zero": self.fds.open("/dev/zero", os.O_RDWR), "/dev/null": self.fds.open("/dev/null", os.O_RDWR),
                 "read-only file": self.fds.open(path, os.O_RDONLY),
                 "write-only file": self.fds.open(path, os.O_WRONLY),
                 "O_PATH": self.fds.open(path, os.O_PATH),
                 "eventfd": self.fds.eventfd(),
                 "a memory file of the kernel": self.fds.open("/proc/self/mem", os.O_RDWR)}
        for what, fd in kinds.items():
            with self.subTest(what):
                self.assert_region_refused(0x10_0000, size, 0x7f00_0000_0000, 0, fd)
        os.unlink(path)

    def test_V31_wrong_kind_of_fd_as_kick(self):
        """V31: memory, files and directories as kick, call and error descriptors."""
        path = os.path.join(self.vn.run_dir, "file")
        open(path, "wb").close()
        kinds = {"memfd": self.fds.memfd(), "file": self.fds.open(path, os.O_RDWR),
                 "directory": self.fds.open("/tmp", os.O_RDONLY), "O_PATH": self.fds.open(path, os.O_PATH)}
        for request in (fe.SET_VRING_KICK, fe.SET_VRING_CALL, fe.SET_VRING_ERR):
            for what, fd in kinds.items():
                with self.subTest(f"{fe.NAMES[request]}: {what}"):
                    self.assert_nack(request, u64(0), (fd,), state="negotiated")
        os.unlink(path)

    def hostile_call_fds(self):
        """(name, descriptor for us to write to, things to keep open)."""
        full = self.fds.eventfd(0, os.EFD_CLOEXEC)      # blocking
        os.eventfd_write(full, 2**64 - 2)
        yield "eventfd at its maximum", full
        r, w = self.fds.pipe()
        fill(w)
        yield "full pipe", w
        r, w = self.fds.pipe()
        self.fds.close(r)
        yield "pipe that nobody reads", w
        a, b = self.fds.sockets()
        fill(a)
        yield "full socket", a
        r, w = self.fds.pipe()
        yield "read end of a pipe", r

    def test_V32_hostile_call_fds(self):
        """V32: a notification that can't be delivered does not hold up a core; frames go on."""
        for layout in ("split", "packed"):
            for what, fd in self.hostile_call_fds():
                with self.subTest(what, layout=layout):
                    guest = self.running(layout=layout)
                    refused = [guest.ack(fe.SET_VRING_CALL, u64(idx), (fd,)) for idx in range(2)]
                    if any(refused):
                        self.good_traffic(guest)
                        self.done(guest)
                        continue
                    for k in range(50):
                        guest.send_frame(frame_of(k), 0, wait=False)
                        guest.reclaim_tx(0)
                        self.peer.receive_frame(0)
                        self.peer.send_frame(frame_of(k), 0)
                        guest.receive_frame(0)
                        if k % 10 == 0:
                            times = self.victims_ok(2)
                            self.assertLess(max(times), seconds(0.5), "the victims waited")
                    self.good_traffic(guest)
                    self.assertEqual(guest.ask_u64(fe.GET_FEATURES), guest.offered)
                    self.done(guest)

    def test_V32_hostile_kick_fds(self):
        """V32: a kick descriptor that is at its maximum, at end of file, or shared by all rings: no spinning."""
        for what in ("full", "end of file", "shared", "socket at end of file"):
            with self.subTest(what):
                guest = self.running()
                kick = guest.ring(1).kick
                if what == "full":
                    fd = self.fds.eventfd()
                    os.eventfd_write(fd, 2**64 - 2)
                elif what == "end of file":
                    fd, w = self.fds.pipe()
                    self.fds.close(w)
                elif what == "socket at end of file":
                    fd, w = self.fds.sockets()
                    self.fds.close(w)
                else:
                    fd = guest.ring(0).kick
                refused = guest.ack(fe.SET_VRING_KICK, u64(1), (fd,))
                began, cpu = time.monotonic(), self.control_cpu()
                time.sleep(seconds(0.3))
                busy = (self.control_cpu() - cpu) / (time.monotonic() - began)
                self.assertLess(busy, 0.5, "the control thread spins")
                self.victims_ok(4)
                if not refused:
                    self.good_traffic(guest)
                self.assertTrue(guest.alive())
                self.done(guest)

    def control_cpu(self):
        """Seconds of CPU that the main thread has used."""
        with open(f"/proc/{self.vn.pid}/task/{self.vn.pid}/stat") as f:
            fields = f.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    invariants.main()

#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Hostile rings and descriptors: a guest breaks its own queue or loses its own packet, nothing else.

Every row runs for both layouts, both directions, direct and indirect, where it applies. `tx` is what the guest
transmits, `rx` what it receives.
"""
import itertools
import random
import struct
import time

import pytest

import invariants
from invariants import KeptGuestCase, LONG, Silent, bits, frame_of, seconds
import rawfe as fe
from rawfe import At, D, INDIRECT, NEXT, WRITE

pytestmark = pytest.mark.long_plain  # with sanitizers more is found

LAYOUTS = ("split", "packed")
WAYS = ("tx", "rx")
DROP_TX = ("malformed", "runt", "oversize", "chain_long")
UNMAPPED = 0x2000_0000


class Rings(KeptGuestCase):
    guest = None

    # --- running one case ---

    def buffer(self, guest, way, size=2048, frame=None):
        """A buffer of the guest: poisoned to receive into, or with a frame in it."""
        gpa = guest.mem.alloc(size)
        guest.mem.fill(gpa, size, fe.RX_POISON)
        if way == "tx":
            data = guest.frame_header() + (frame if frame is not None else frame_of(11, 200))
            guest.mem.write(gpa, data[:size])
        return gpa

    def attempt(self, layout, way, build, allowed, what, *, reasons=None, frame=None, **options):
        """build(guest, flag, gpa) makes the hostile chain; what becomes of it has to be among `allowed`."""
        with self.subTest(what, layout=layout, way=way):
            try:
                guest = self.on(layout, **options)
                flag = WRITE if way == "rx" else 0
                if way == "rx":
                    guest.restart_ring(0, post=False)
                gpa = self.buffer(guest, way, frame=frame)
                descs = build(guest, flag, gpa)
                if way == "rx":
                    out = self.rx_chain(guest, descs, frame)
                else:
                    out = self.tx_chain(guest, descs)
                name = f"{what}, {layout}, {way}"
                if way == "rx" and out.kind == "forwarded":
                    self.assertLessEqual(out.used, 2048 * 4, name)
                self.assert_outcome(guest, out, allowed, rx=way == "rx", reasons=reasons if way == "tx" else None,
                                    frame=frame, what=name)
                if way == "rx":
                    # Whatever is left of the hostile chain goes.
                    guest.restart_ring(0)
                return out
            except BaseException:
                self.drop_current()
                raise

    @staticmethod
    def in_table(guest, entries):
        """A descriptor of an indirect table whose entries are given as (addr, len, flags, next or id)."""
        table = guest.mem.alloc(16 * max(len(entries), 1), 16)
        packed = guest.layout == "packed"
        for i, (addr, length, flags, nxt) in enumerate(entries):
            fields = (addr & (1 << 64) - 1, length & 0xffffffff) + ((nxt, flags) if packed else (flags, nxt))
            guest.mem.write(table + 16 * i, struct.pack("<QIHH", *fields))
        return D(table, 16 * len(entries), INDIRECT)

    # --- R01 ---

    @pytest.mark.long
    def test_R01_looping_chains(self):
        """R01: chains that loop: on themselves, in twos, round the whole ring; lengths 0 and 1."""
        for way, length in itertools.product(WAYS, (0, 1, 100)):
            loops = {
                "self": lambda g, f, a: [D(a, length, f | NEXT, At(0))],
                "two": lambda g, f, a: [D(a, length, f | NEXT), D(a, length, f | NEXT, At(0))],
                "tail": lambda g, f, a: [D(a, length, f | NEXT), D(a, length, f | NEXT), D(a, length, f | NEXT, At(1))],
                "ring": lambda g, f, a: [D(a, length, f | NEXT) for _ in range(g.size - 1)]
                + [D(a, length, f | NEXT, At(0))],
            }
            for name, build in loops.items():
                self.attempt("split", way, build, ("broken",), f"loop {name}, length {length}")
            tables = {
                "self": lambda g, f, a: [self.in_table(g, [(a, length, f | NEXT, 0)])],
                "two": lambda g, f, a: [self.in_table(g, [(a, length, f | NEXT, 1), (a, length, f | NEXT, 0)])],
                "table": lambda g, f, a: [self.in_table(g, [(a, length, f | NEXT, (i + 1) % g.size)
                                                            for i in range(g.size)])],
            }
            for name, build in tables.items():
                self.attempt("split", way, build, ("broken",), f"indirect loop {name}, length {length}")

            # A packed list ends where NEXT ends: here it never does.
            def whole_ring(g, f, a):
                ring = g.pairs[0].rx if f & WRITE else g.pairs[0].tx
                return [D(a, length, f | NEXT) for _ in range(min(g.size, ring.free))]
            def reset_then_ring(g, f, a):
                if not f & WRITE:
                    g.restart_ring(1)
                return whole_ring(g, f, a)
            self.attempt("packed", way, reset_then_ring, ("broken",), f"NEXT all round, length {length}")

    # --- R02 ---

    def test_R02_zero_length_descriptors(self):
        """R02: descriptors of length 0: first, in the middle, last, all."""
        frame = frame_of(21, 300)
        n = 12 + 300
        for layout, way in itertools.product(LAYOUTS, WAYS):
            size = n if way == "tx" else 2048
            shapes = {
                "first": [(0, 0), (0, size)], "middle": [(0, 100), (0, 0), (100, size - 100)],
                "last": [(0, size), (0, 0)], "all": [(0, 0)] * 4, "one": [(0, 0)],
            }
            for name, pieces in shapes.items():
                # Harmless when something is left; never when nothing is.
                allowed = ("drop",) if name in ("all", "one") else ("drop", "forwarded")

                def direct(g, f, a, pieces=pieces):
                    return [D(a + o, length, f | (NEXT if i + 1 < len(pieces) else 0))
                            for i, (o, length) in enumerate(pieces)]
                def indirect(g, f, a, pieces=pieces):
                    return [self.in_table(g, [(a + o, length, f | (NEXT if i + 1 < len(pieces) else 0), i + 1)
                                              for i, (o, length) in enumerate(pieces)])]
                self.attempt(layout, way, direct, allowed, f"zero {name}", reasons=("malformed",), frame=frame)
                self.attempt(layout, way, indirect, allowed, f"zero {name}, indirect", reasons=("malformed",),
                             frame=frame)

    # --- R03 ---

    def test_R03_next_outside_the_table(self):
        """R03: next fields that point outside of the table; heads too."""
        for way, nxt in itertools.product(WAYS, (64, 65, 255, 32768, 65535)):
            self.attempt("split", way, lambda g, f, a: [D(a, 20, f | NEXT, nxt)], ("broken",), f"next {nxt}")
            self.attempt("split", way, lambda g, f, a: [D(a, 20, f | NEXT), D(a + 20, 20, f | NEXT, nxt)], ("broken",),
                         f"second next {nxt}")
        for way, nxt in itertools.product(WAYS, (1, 2, 64, 65535)):
            self.attempt("split", way, lambda g, f, a: [self.in_table(g, [(a, 20, f | NEXT, nxt)])], ("broken",),
                         f"indirect next {nxt} of 1")

    def test_R03_heads_outside_the_table(self):
        """R03: an available ring entry that names a descriptor beyond the table."""
        for way, head in itertools.product(WAYS, (64, 65, 255, 32768, 65535)):
            with self.subTest(way=way, head=head):
                guest = self.on("split")
                if way == "rx":
                    guest.restart_ring(0, post=False)
                ring = guest.pairs[0].rx if way == "rx" else guest.pairs[0].tx
                before = self.drops()
                self.peer.drain()
                ring.offer(head)
                ring.publish()
                if way == "rx":
                    self.peer.send_frame(frame_of(1), 0)
                out = self.settle(guest, ring, before, 0, rx=way == "rx")
                self.assert_outcome(guest, out, ("broken",), rx=way == "rx", what=f"head {head}")

    def test_R03_packed_ids(self):
        """R03: a packed buffer id of the driver's is its own; it comes back as it was, also beyond the ring."""
        for ident in (63, 64, 32768, 65535):
            with self.subTest(ident=ident):
                guest = self.on("packed")
                ring = guest.pairs[0].tx
                frame = frame_of(5, 100)
                gpa = self.buffer(guest, "tx", frame=frame)
                before = self.drops()
                self.peer.drain()
                ring.add_raw([D(gpa, 112)], "hostile", ident=ident)
                ring.publish()
                out = self.settle(guest, ring, before, 0, rx=False)
                self.assert_outcome(guest, out, ("forwarded", "broken"), rx=False, frame=frame, what=f"id {ident}")
                if ident in ring.free_ids:
                    ring.free_ids.remove(ident)

    # --- R04 ---

    def test_R04_shorter_than_the_header(self):
        """R04: chains shorter than the virtio-net header, and headers spread over many descriptors."""
        for layout, total in itertools.product(LAYOUTS, (1, 9, 10, 11, 12, 13, 25)):
            self.attempt(layout, "tx", lambda g, f, a: [D(a, total)], ("drop",), f"total {total}", reasons=DROP_TX[:2])
            self.attempt(layout, "tx", lambda g, f, a: [self.in_table(g, [(a, total, 0, 0)])], ("drop",),
                         f"total {total}, indirect", reasons=DROP_TX[:2])
        frame = frame_of(31, 120)
        for layout, pieces, indirect in itertools.product(LAYOUTS, range(1, 13), (False, True)):
            edges = [12 * i // pieces for i in range(pieces)] + [12]

            def only_header(g, f, a):
                return self.cut(g, a, edges, f, indirect)
            self.attempt(layout, "tx", only_header, ("drop",), f"header alone in {pieces}, indirect {indirect}",
                         reasons=DROP_TX[:2])
        for layout, pieces, indirect in itertools.product(LAYOUTS, (1, 2, 5, 12), (False, True)):
            edges = [12 * i // pieces for i in range(pieces)] + [12]

            def with_frame(g, f, a):
                return self.cut(g, a, edges + [12 + 50, 132], f, indirect)
            self.attempt(layout, "tx", with_frame, ("forwarded",), f"header in {pieces}, frame in 2, {indirect}",
                         frame=frame)
        for layout, total in itertools.product(LAYOUTS, (1, 9, 10, 11)):
            self.attempt(layout, "rx", lambda g, f, a: [D(a, total, f)], ("drop", "broken"), f"receive into {total}")
            self.attempt(layout, "rx", lambda g, f, a: [self.in_table(g, [(a, total, f, 0)])], ("drop", "broken"),
                         f"receive into {total}, indirect")

    def test_R04_legacy_header(self):
        """R04: the same with the 10-byte header of legacy drivers."""
        legacy = bits(fe.F_INDIRECT, fe.F_PROTOCOL)
        for total in (1, 9, 10, 11, 23):
            self.attempt("split", "tx", lambda g, f, a: [D(a, total)], ("drop",), f"legacy total {total}",
                         reasons=DROP_TX[:2], features=legacy)
        for total in (1, 9, 10, 11):
            self.attempt("split", "rx", lambda g, f, a: [D(a, total, f)], ("drop", "broken"), f"legacy into {total}",
                         features=legacy)

    def cut(self, guest, gpa, edges, flag, indirect):
        pieces = list(zip(edges, edges[1:]))
        if indirect:
            return [self.in_table(guest, [(gpa + a, b - a, flag | (NEXT if i + 1 < len(pieces) else 0), i + 1)
                                          for i, (a, b) in enumerate(pieces)])]
        return [D(gpa + a, b - a, flag | (NEXT if i + 1 < len(pieces) else 0)) for i, (a, b) in enumerate(pieces)]

    # --- R05 ---

    def test_R05_bad_address_with_length_0_in_a_batch(self):
        """R05: invalid addresses with length 0 among good buffers of one batch."""
        for layout, at, addr in itertools.product(LAYOUTS, range(4), (0, UNMAPPED, (1 << 64) - 1)):
            with self.subTest(layout=layout, at=at, addr=hex(addr)):
                guest = self.on(layout)
                ring = guest.pairs[0].tx
                self.peer.drain()
                before = self.drops()
                frames = [frame_of(40 + k, 100) for k in range(4)]
                for k in range(4):
                    if k == at:
                        ring.add_raw([D(addr, 0)], k)
                    else:
                        ring.add_raw([D(self.buffer(guest, "tx", 112, frames[k]), 112)], k)
                ring.publish()
                used = ring.wait_used(4)
                self.assertEqual(sorted(used), [(k, 0) for k in range(4)])
                self.assertEqual(self.deltas(before), {"malformed": 1})
                for k in range(4):
                    if k != at:
                        self.assertEqual(self.peer.receive_frame(0), frames[k])
                self.good_traffic(guest)
                self.victims_ok(1)
        for layout, addr in itertools.product(LAYOUTS, (0, UNMAPPED, (1 << 64) - 1)):
            for length in (0, 12, 2048, 0xffffffff):
                self.attempt(layout, "rx", lambda g, f, a: [D(addr, length, f)], ("drop", "broken"),
                             f"receive into {addr:#x}+{length}")
                if length:
                    self.attempt(layout, "tx", lambda g, f, a: [D(addr, length)], ("drop", "broken"),
                                 f"transmit {addr:#x}+{length}", reasons=DROP_TX)

    # --- R06, R07, R08 ---

    def flip(self, layout, way, places, descs_of, duration):
        """Traffic through descriptors that another process changes all the time. places(guest, gpa, table) gives
        [(guest address, width, values)]."""
        program = invariants.helper("flipper")
        if not program:
            self.skipTest("no C compiler to build the flipper")
        guest = self.on(layout, size=64)
        idx = 0 if way == "rx" else 1
        guest.restart_ring(idx, post=False)
        ring = guest.ring(idx)
        flag = WRITE if way == "rx" else 0
        gpa = self.buffer(guest, way, 4096, frame_of(1, 200))
        fixed = [descs_of(guest, flag, gpa) for _ in range(8)]
        spots = places(guest, gpa, fixed, ring)
        helper = invariants.flip(program, guest, spots, duration)
        until = time.monotonic() + duration
        rounds = n = 0
        try:
            while time.monotonic() < until:
                rounds += 1
                for _ in range(16):
                    if (ring.free if ring.packed else len(ring.free)) < 8:
                        break
                    ring.add_raw(fixed[n % len(fixed)], "hostile")
                    n += 1
                ring.publish()
                if way == "rx":
                    for k in range(4):
                        self.peer.send_frame(frame_of(k), 0, wait=False)
                    self.peer.reclaim_tx(0)
                try:
                    ring.poll()
                except fe.Damage:
                    # The flipper itself writes into used descriptors of a packed ring; what comes back is worthless.
                    guest.restart_ring(idx, post=False)
                full = ring.free < 8 if ring.packed else len(ring.free) < 8
                if ring.erred() or (rounds % 10 == 0 and full):
                    guest.restart_ring(idx, post=False)
                if rounds % 20 == 0:
                    self.victims_ok(1)
                    self.peer.drain()
        finally:
            out, _ = helper.communicate()
        self.assertEqual(helper.returncode, 0)
        self.assertGreater(int(out), 1000, "the flipper did not run")
        self.assertGreater(n, 15, "hardly any chain was offered")
        self.victims_ok(2)
        self.done(guest)
        self.current = None
        guest = self.on(layout)
        self.good_traffic(guest, 0)
        self.good_traffic(guest, 1)

    FLIP_S = 10 if LONG else 0.2

    def test_R06_flipping_ring_descriptors(self):
        """R06: length, address and flags of descriptors change while the device reads them."""
        for layout, way in itertools.product(LAYOUTS, WAYS):
            flag = WRITE if way == "rx" else 0
            good_flags = [flag, flag | NEXT, flag | INDIRECT, flag ^ WRITE, 0xffff]

            def places(guest, gpa, fixed, ring, which="len"):
                spots = []
                for i in range(8):
                    at = ring.desc + 16 * i
                    if which == "len":
                        spots.append((at + 8, 4, [212, 0, 11, 65536, 0xffffffff, 4096]))
                    elif which == "addr":
                        spots.append((at, 8, [gpa, 0, UNMAPPED, gpa + 3000, (1 << 64) - 8]))
                    elif not ring.packed:
                        spots.append((at + 12, 2, good_flags))
                        spots.append((at + 14, 2, [0, 1, 63, 64, 65535, i]))
                    else:
                        # With the available bits of both laps, or nothing would be looked at.
                        spots.append((at + 14, 2, [f & 0x7f7f | fe.P_AVAIL for f in good_flags]
                                      + [flag | fe.P_USED]))
                        spots.append((at + 12, 2, [0, 1, 63, 64, 65535]))
                return spots
            for which in ("len", "addr", "flags"):
                with self.subTest(layout=layout, way=way, which=which):
                    self.flip(layout, way,
                              lambda g, a, fixed, ring, which=which: places(g, a, fixed, ring, which),
                              lambda g, f, a: [D(a, 212, f | NEXT), D(a + 212, 100, f)], self.FLIP_S)

    def test_R07_flipping_indirect_tables(self):
        """R07: the same inside of indirect tables."""
        for layout, way in itertools.product(LAYOUTS, WAYS):
            flag = WRITE if way == "rx" else 0

            def table_of(g, f, a):
                return [self.in_table(g, [(a, 212, f | NEXT, 1), (a + 212, 100, f | NEXT, 2), (a + 400, 50, f, 0)])]

            def places(guest, gpa, fixed, ring):
                spots = []
                for descs in fixed:
                    table = descs[0].addr
                    spots.append((table + 8, 4, [212, 0, 0xffffffff, 13]))
                    spots.append((table + 16, 8, [gpa + 212, UNMAPPED, (1 << 64) - 1]))
                    flags = 14 if guest.layout == "packed" else 12
                    spots.append((table + 16 + flags, 2, [flag | NEXT, flag, flag | INDIRECT, flag | NEXT | INDIRECT]))
                    spots.append((table + 16 + 26 - flags, 2, [2, 1, 0, 3, 65535]))
                return spots
            with self.subTest(layout=layout, way=way):
                self.flip(layout, way, places, table_of, self.FLIP_S)

    def test_R08_flipping_headers(self):
        """R08: the virtio-net header changes while it is read."""
        for layout, indirect in itertools.product(LAYOUTS, (False, True)):
            def descs_of(g, f, a):
                return [self.in_table(g, [(a, 212, 0, 0)])] if indirect else [D(a, 212)]

            def places(guest, gpa, fixed, ring):
                return [(gpa, 1, [0, 1, 2, 0xff]), (gpa + 1, 1, [0, 1, 3, 4, 5, 0x80, 0xff]),
                        (gpa + 2, 2, [0, 54, 0xffff]), (gpa + 4, 2, [0, 1, 1460, 0xffff]),
                        (gpa + 6, 2, [0, 34, 0xffff]), (gpa + 8, 2, [0, 16, 0xffff]), (gpa + 10, 2, [0, 1, 0xffff])]
            with self.subTest(layout=layout, indirect=indirect):
                self.flip(layout, "tx", places, descs_of, self.FLIP_S)

    # --- R09, R10, R11 ---

    def test_R09_indirect_table_sizes(self):
        """R09: indirect tables of impossible length, unaligned, larger than the ring, outside of memory."""
        for layout, way in itertools.product(LAYOUTS, WAYS):
            for length in (0, 1, 8, 15, 17, 24, 0xffffffff, 0xfffffff0, 0x80000000):
                self.attempt(layout, way, lambda g, f, a: [D(self.in_table(g, [(a, 212, f, 0)] * 4).addr, length, INDIRECT)],
                             ("broken", "drop"), f"table of {length} bytes", reasons=DROP_TX)

            def too_long(g, f, a):
                n = g.size + 1
                return [self.in_table(g, [(a, 10, f | (NEXT if i + 1 < n else 0), i + 1) for i in range(n)])]
            self.attempt(layout, way, too_long, ("forwarded",), "more entries than the ring")

            def huge(g, f, a):
                n = 4096
                return [self.in_table(g, [(a, 10, f | (NEXT if i + 1 < n else 0), i + 1) for i in range(n)])]
            self.attempt(layout, way, huge, ("drop",), "4096 entries", reasons=("chain_long",))
            for name, addr in (("unmapped", UNMAPPED), ("0", 0), ("2^64-16", (1 << 64) - 16)):
                self.attempt(layout, way, lambda g, f, a: [D(addr, 32, INDIRECT)], ("broken", "drop"),
                             f"table at {name}", reasons=DROP_TX)

            def across(g, f, a):
                # Contiguous in guest addresses only: the second half is in another file.
                r = g.mem.regions[2]
                entries = [(a, 112, f | NEXT, 1), (a + 112, 100, f, 0)]
                if not any(o == 0 for o, _ in r.allocated):
                    g.mem.claim(r.gpa, 16)
                    g.mem.claim(r.gpa - 16, 16)
                for i, (addr, n, flags, nxt) in enumerate(entries):
                    fields = (addr, n) + ((nxt, flags) if g.layout == "packed" else (flags, nxt))
                    g.mem.write(r.gpa - 16 + 16 * i, struct.pack("<QIHH", *fields))
                return [D(r.gpa - 16, 32, INDIRECT)]
            self.attempt(layout, way, across, ("broken", "drop", "forwarded"), "table across two regions",
                         reasons=DROP_TX, frame=frame_of(11, 200))

    def test_R10_indirect_nested_and_chained(self):
        """R10: indirect descriptors in indirect tables, indirect with NEXT, in all combinations of flags."""
        good = frame_of(11, 200)
        for layout, way in itertools.product(LAYOUTS, WAYS):
            def nested(g, f, a):
                inner = self.in_table(g, [(a, 212, f, 0)])
                return [self.in_table(g, [(inner.addr, 16, INDIRECT, 0)])]
            allowed = ("broken",) if layout == "split" else ("broken", "drop", "forwarded")
            self.attempt(layout, way, nested, allowed, "nested", reasons=DROP_TX)

            def to_itself(g, f, a):
                d = self.in_table(g, [(a, 212, f, 0)])
                fields = (d.addr, 16) + ((0, INDIRECT) if layout == "packed" else (INDIRECT, 0))
                g.mem.write(d.addr, struct.pack("<QIHH", *fields))
                return [d]
            self.attempt(layout, way, to_itself, allowed, "table that is its own entry", reasons=DROP_TX)

            def with_next(g, f, a):
                d = self.in_table(g, [(a, 212, f, 0)])
                return [D(d.addr, d.length, INDIRECT | NEXT), D(a + 212, 100, f)]
            self.attempt(layout, way, with_next, ("broken",), "indirect with NEXT")

            def next_to_itself(g, f, a):
                d = self.in_table(g, [(a, 212, f, 0)])
                return [D(d.addr, d.length, INDIRECT | NEXT, At(0))]
            if layout == "split":
                self.attempt(layout, way, next_to_itself, ("broken",), "indirect with NEXT to itself")

            def after_direct(g, f, a):
                d = self.in_table(g, [(a + 12, 200 if not f else 2036, f, 0)])
                return [D(a, 12, f | NEXT), d]
            # Legal in a split ring, not in a packed one ("Indirect Descriptors", "Indirect Flag").
            self.attempt(layout, way, after_direct, ("forwarded",) if layout == "split" else ("forwarded", "broken"),
                         "indirect after direct", frame=good)

            def outer_write(g, f, a):
                d = self.in_table(g, [(a, 212 if not f else 2048, f, 0)])
                return [D(d.addr, d.length, INDIRECT | WRITE)]
            self.attempt(layout, way, outer_write, ("forwarded",), "WRITE on the outer descriptor", frame=good)
            # All other flags at once, inside and outside.
            for flags in (0x8, 0xfff8 & ~(fe.P_AVAIL | fe.P_USED), 0x7f00):
                self.attempt(layout, way, lambda g, f, a: [D(a, 212 if not f else 2048, f | flags)],
                             ("forwarded", "drop", "broken"), f"unknown flags {flags:#x}", frame=good, reasons=DROP_TX)

    def test_R10_directions(self):
        """R10: WRITE on buffers to be read, in every pattern: refused, but not in a packed ring's table, where DPDK's
        driver leaves it set and it can't mean anything; and receive buffers without it."""
        frame = frame_of(11, 200)
        edges = [0, 12, 112, 212]
        for layout, indirect, pattern in itertools.product(LAYOUTS, (False, True), range(1, 8)):
            def turned(g, f, a):
                pieces = [(a + b, e - b, f ^ (WRITE if pattern >> i & 1 else 0) | (NEXT if i < 2 else 0), i + 1)
                          for i, (b, e) in enumerate(zip(edges, edges[1:]))]
                return [self.in_table(g, pieces)] if indirect else [D(*p[:3]) for p in pieces]
            what = f"directions {pattern:03b}, indirect {indirect}"
            allowed = ("forwarded",) if layout == "packed" and indirect else ("broken", "drop")
            self.attempt(layout, "tx", turned, allowed, what, frame=frame, reasons=("malformed",))
            self.attempt(layout, "rx", turned, ("broken", "drop"), what)

    def test_R10_indirect_not_negotiated(self):
        """R10: indirect descriptors although the feature was not negotiated."""
        for layout, way in itertools.product(LAYOUTS, WAYS):
            features = bits(fe.F_MRG_RXBUF, fe.F_VERSION_1, fe.F_PROTOCOL) | (bits(fe.F_PACKED) if layout == "packed"
                                                                             else 0)
            self.attempt(layout, way, lambda g, f, a: [self.in_table(g, [(a, 212, f, 0)])], ("broken", "drop"),
                         "indirect without the feature", features=features, reasons=DROP_TX)

    def test_R11_packed_indirect_with_next(self):
        """R11: packed descriptors with INDIRECT and NEXT, alone and all round the ring: broken, and no busy loop."""
        for way in WAYS:
            def one(g, f, a):
                d = self.in_table(g, [(a, 212, f, 0)])
                return [D(d.addr, 16, INDIRECT | NEXT)]
            self.attempt("packed", way, one, ("broken",), "INDIRECT|NEXT with nothing after it")

            def ring(g, f, a):
                if not f:
                    g.restart_ring(1)
                d = self.in_table(g, [(a, 212, f, 0)])
                r = g.pairs[0].rx if f else g.pairs[0].tx
                return [D(d.addr, 16, INDIRECT | NEXT) for _ in range(min(g.size, r.free))]
            self.attempt("packed", way, ring, ("broken",), "INDIRECT|NEXT all round")

            def empty(g, f, a):
                return [D(a, 0, INDIRECT | NEXT), D(a, 0, INDIRECT | NEXT), D(a, 0, INDIRECT)]
            self.attempt("packed", way, empty, ("broken",), "empty INDIRECT|NEXT")

    # --- R12 ---

    def test_R12_available_index_jumps(self):
        """R12: the available index moves by more than the ring has entries, or back."""
        rng = random.Random(12)
        for way in WAYS:
            for jump in [65, 66, 128, 32768, -1, -2, -64, 65535] + [rng.randrange(65, 65536) for _ in range(4)]:
                with self.subTest(way=way, jump=jump):
                    guest = self.on("split")
                    ring = guest.pairs[0].rx if way == "rx" else guest.pairs[0].tx
                    if way == "rx":
                        guest.restart_ring(0, post=False)
                    before = self.drops()
                    self.peer.drain()
                    guest.mem.store(ring.avail + 2, 2, (ring.avail_idx + jump) & 0xffff)
                    if way == "rx":
                        self.peer.send_frame(frame_of(1), 0)
                    out = self.settle(guest, ring, before, 0, rx=way == "rx")
                    self.assert_outcome(guest, out, ("broken",), rx=way == "rx", what=f"jump {jump}")

    def test_R12_index_of_a_whole_ring(self):
        """R12: exactly as many as the ring has entries is legal, with every head the same one: each handled once."""
        guest = self.on("split")
        ring = guest.pairs[0].tx
        guest.restart_ring(1)
        frame = frame_of(3, 100)
        gpa = self.buffer(guest, "tx", 112, frame)
        self.peer.drain()
        ring.put_desc(0, gpa, 112, 0, 0)
        for _ in range(ring.size):
            ring.offer(0)
        guest.mem.store(ring.avail + 2, 2, ring.avail_idx)
        for _ in range(ring.size):
            self.assertEqual(self.peer.receive_frame(0), frame)
        time.sleep(seconds(0.02))
        self.assertIsNone(self.peer.try_receive(0), "a chain was handled twice")
        self.assertEqual(guest.mem.load(ring.used + 2, 2), ring.avail_idx)
        guest.restart_ring(1)
        self.good_traffic(guest)

    def test_R12_packed_flags_at_random(self):
        """R12: packed descriptors with random contents in the whole ring: broken or dropped, and it ends."""
        rng = random.Random(120)
        for way in WAYS:
            for k in range(40 if not LONG else 2000):
                guest = self.on("packed")
                idx = 0 if way == "rx" else 1
                guest.restart_ring(idx, post=False)
                ring = guest.ring(idx)
                gpa = self.buffer(guest, way, 4096) if k % 20 == 0 else gpa  # noqa: F821
                data = b""
                for i in range(ring.size):
                    flags = rng.choice((0, NEXT, WRITE, INDIRECT, NEXT | WRITE, rng.randrange(65536)))
                    flags = flags & 0x7f7f | rng.choice((fe.P_AVAIL, fe.P_USED, fe.P_AVAIL, 0x8080))
                    addr = rng.choice((gpa, gpa + 2000, UNMAPPED, rng.randrange(1 << 64)))
                    length = rng.choice((0, 12, 100, 2000, rng.randrange(1 << 32)))
                    # A device may write wherever a descriptor allows: stay within the buffer when it is valid.
                    if gpa <= addr < gpa + 4096:
                        length = min(length, gpa + 4096 - addr)
                    elif any(r.gpa <= addr < r.gpa + r.size for r in guest.mem.regions):
                        addr = UNMAPPED
                    data += struct.pack("<QIHH", addr, length, rng.randrange(65536), flags)
                head = guest.mem.load(ring.desc + 14, 2)
                guest.mem.write(ring.desc + 16, data[16:])
                guest.mem.write(ring.desc, data[:14])
                guest.mem.store(ring.desc + 14, 2, struct.unpack("<H", data[14:16])[0])
                ring.kick_now()
                if way == "rx":
                    for _ in range(3):
                        self.peer.send_frame(frame_of(2), 0)
                if k % 10 == 0:
                    self.victims_ok(1)
                self.peer.drain()
            guest.restart_ring(idx)
            self.victims_ok(1)
        guest.restart_ring(0)
        self.good_traffic(guest)


if __name__ == "__main__":
    invariants.main()

#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Hostile and honest use of the control queue: a command is answered, exactly and soon, or the guest has broken its
own control queue; its other queues, its settings and everybody else go on.

Rows R*, N*, X* are those of the ring and descriptor tests, of network headers and commands, and of exhaustion.
"""
import itertools
import os
import random
import socket
import struct
import time
import unittest

import pytest

import invariants
from invariants import CONTROL_FEATURES, ControlPing, KeptGuestCase, LONG, Nack, Silent, bits, frame_of, median, quantile
from invariants import seconds
import rawfe as fe
from rawfe import At, D, ERR, INDIRECT, NEXT, OK, WRITE
import vnictest

pytestmark = pytest.mark.long_sanitized  # its unit programs run under the sanitizers always

LAYOUTS = ("split", "packed")
UNMAPPED = 0x2000_0000
PROTOCOL = bits(fe.P_MQ, fe.P_LOG_SHMFD, fe.P_REPLY_ACK, fe.P_CONFIG, fe.P_MEM_SLOTS, fe.P_RESET_DEVICE, fe.P_STATUS)

OFFLOADS = (fe.F_GUEST_CSUM, fe.F_GUEST_TSO4, fe.F_GUEST_TSO6, fe.F_GUEST_ECN, fe.F_GUEST_USO4, fe.F_GUEST_USO6,
            fe.F_GUEST_UFO)
EVERYTHING = CONTROL_FEATURES | bits(fe.F_CTRL_VLAN, fe.F_HASH_REPORT, fe.F_CSUM, fe.F_HOST_TSO4, fe.F_HOST_TSO6,
                                     fe.F_HOST_ECN, *OFFLOADS)
HERE = b"\x02\0\0\0\0\x02"          # where frame_of() sends to
ELSEWHERE = b"\x02\0\0\0\0\x99"

RX_MODES = (fe.RX_PROMISC, fe.RX_ALLMULTI, fe.RX_ALLUNI, fe.RX_NOMULTI, fe.RX_NOUNI, fe.RX_NOBCAST)


def mac(i, multicast=False):
    return bytes([3 if multicast else 2, 0, 0, 1]) + struct.pack(">H", i)


def good_commands():
    """[(name, class, command, data, bytes of result, features that it needs)]: all commands, as they should be."""
    rx, extra = bits(fe.F_CTRL_RX), bits(fe.F_CTRL_RX_EXTRA)
    found = []
    for mode, on in itertools.product(RX_MODES, (1, 0)):
        found.append((f"rx mode {mode} {on}", fe.CTRL_RX, mode, bytes([on]), 0,
                      rx if mode in (fe.RX_PROMISC, fe.RX_ALLMULTI) else extra))
    found.append(("promiscuous again", fe.CTRL_RX, fe.RX_PROMISC, b"\1", 0, rx))
    for n, m in ((0, 0), (1, 0), (0, 1), (32, 32), (64, 0), (0, 64), (65, 0), (10, 300), (1000, 1000)):
        found.append((f"mac tables of {n} and {m}", fe.CTRL_MAC, fe.MAC_TABLE_SET,
                      fe.mac_tables([mac(i) for i in range(n)], [mac(i, True) for i in range(m)]), 0, rx))
    found += [
        ("mac address", fe.CTRL_MAC, fe.MAC_ADDR_SET, mac(7), 0, bits(fe.F_CTRL_MAC_ADDR)),
        ("vlan add 0", fe.CTRL_VLAN, fe.VLAN_ADD, fe.vlan_id(0), 0, bits(fe.F_CTRL_VLAN)),
        ("vlan add 4095", fe.CTRL_VLAN, fe.VLAN_ADD, fe.vlan_id(4095), 0, bits(fe.F_CTRL_VLAN)),
        ("vlan del 4095", fe.CTRL_VLAN, fe.VLAN_DEL, fe.vlan_id(4095), 0, bits(fe.F_CTRL_VLAN)),
        ("pairs 2", fe.CTRL_MQ, fe.MQ_VQ_PAIRS_SET, fe.vq_pairs(2), 0, bits(fe.F_MQ)),
        ("rss", fe.CTRL_MQ, fe.MQ_RSS_CONFIG, fe.rss_config([0, 1] * 64, max_tx_vq=2), 0, bits(fe.F_RSS)),
        ("rss of one", fe.CTRL_MQ, fe.MQ_RSS_CONFIG, fe.rss_config([1], max_tx_vq=1), 0, bits(fe.F_RSS)),
        ("hash", fe.CTRL_MQ, fe.MQ_HASH_CONFIG, fe.hash_config(), 0, bits(fe.F_HASH_REPORT)),
        ("pairs 1", fe.CTRL_MQ, fe.MQ_VQ_PAIRS_SET, fe.vq_pairs(1), 0, bits(fe.F_MQ)),
        ("pairs 2 again", fe.CTRL_MQ, fe.MQ_VQ_PAIRS_SET, fe.vq_pairs(2), 0, bits(fe.F_MQ)),
        ("offloads none", fe.CTRL_GUEST_OFFLOADS, fe.GUEST_OFFLOADS_SET, fe.guest_offloads(), 0,
         bits(fe.F_CTRL_GUEST_OFFLOADS)),
        ("coalesce tx", fe.CTRL_NOTF_COAL, fe.NOTF_COAL_TX_SET, fe.coal(8, 50), 0, bits(fe.F_NOTF_COAL)),
        ("coalesce rx", fe.CTRL_NOTF_COAL, fe.NOTF_COAL_RX_SET, fe.coal(16, 60), 0, bits(fe.F_NOTF_COAL)),
        ("coalesce queue", fe.CTRL_NOTF_COAL, fe.NOTF_COAL_VQ_SET, fe.coal_vq(0, 3, 7), 0, bits(fe.F_VQ_NOTF_COAL)),
        ("coalesced queue", fe.CTRL_NOTF_COAL, fe.NOTF_COAL_VQ_GET, fe.coal_vq(0), 8, bits(fe.F_VQ_NOTF_COAL)),
        ("coalesce rx off", fe.CTRL_NOTF_COAL, fe.NOTF_COAL_RX_SET, fe.coal(0, 0), 0, bits(fe.F_NOTF_COAL)),
        ("coalesce tx off", fe.CTRL_NOTF_COAL, fe.NOTF_COAL_TX_SET, fe.coal(0, 0), 0, bits(fe.F_NOTF_COAL)),
        ("statistics offered", fe.CTRL_STATS, fe.STATS_QUERY, b"", 8, bits(fe.F_DEVICE_STATS)),
        ("statistics of queues 0 and 1", fe.CTRL_STATS, fe.STATS_GET,
         fe.stats_get((0, fe.STATS_RX_BASIC), (1, fe.STATS_TX_BASIC)), 112, bits(fe.F_DEVICE_STATS)),
    ]
    return found


class Answer:
    """What became of a hostile chain on the control queue. kind: answered (with an acknowledgement), returned (without
    one), broken, silent."""

    def __init__(self, kind, ack=None, used=None, took=None):
        self.kind, self.ack, self.used, self.took = kind, ack, used, took

    def __repr__(self):
        return self.kind + (f", ack {self.ack}" if self.ack is not None else "") + \
            (f", used length {self.used}" if self.used is not None else "")


class ControlCase(KeptGuestCase):
    """The guest that is kept has a control queue."""

    def setUp(self):
        super().setUp()
        self.times = []

    def new_guest(self, layout, **options):
        return self.controlled(layout=layout, **options)

    def ask(self, guest, cls, cmd, data=b"", expect=OK, result_len=0, what="", **options):
        """A command whose answer is known; returns its result. The time is kept for assert_soon()."""
        ack, result, used = guest.command(cls, cmd, data, result_len, **options)
        self.times.append(guest.latency)
        self.assertEqual(ack, expect, f"{what or (cls, cmd)}: answered {ack}")
        self.assertEqual(used, 1 + len(result), what)
        if expect == ERR:
            self.assertEqual(used, 1, f"{what}: a refusal has no result")
        return result

    def assert_soon(self):
        """Commands are answered within a millisecond, or on a slow or busy machine in some times what the same thread
        takes for the simplest of messages. test_control_latency.py compares exactly."""
        if self.times and median(self.times) >= seconds(0.001):
            message = []
            for _ in range(21):
                began = time.monotonic()
                self.peer.ask_u64(fe.GET_FEATURES)
                message.append(time.monotonic() - began)
            self.assertLess(median(self.times), 10 * median(message), "answers come late")
        if self.times:
            self.assertLess(max(self.times), seconds(5), "an answer came very late")

    def assert_serves(self, guest, traffic=True):
        """The control queue answers (an unknown command is refused), and frames pass on the first pair."""
        self.ask(guest, 99, 0, expect=ERR, what="unknown command")
        if traffic:
            self.good_traffic(guest, 0, 1)

    # --- hostile chains ---

    def hostile(self, guest, descs, command=None, ident=None, timeout=1.0):
        """Offer a chain as it is, and see."""
        ring = guest.control
        if command:
            guest.mem.fill(command.writable, command.writable_len, fe.ACK_POISON)
        began = time.monotonic()
        if ident is None:
            ring.add_raw(descs, "hostile")
        else:
            ring.add_raw(descs, "hostile", ident)
        ring.publish()
        return self.settle_control(guest, command, began, timeout)

    def settle_control(self, guest, command=None, began=None, timeout=1.0):
        ring = guest.control
        began = began or time.monotonic()
        while True:
            for state, used in ring.poll():
                if state != "hostile":
                    continue
                took = time.monotonic() - began
                ack = guest.mem.read(command.writable, 1)[0] if command and used else None
                return Answer("answered" if used else "returned", ack, used, took)
            if ring.erred():
                return Answer("broken", took=time.monotonic() - began)
            if time.monotonic() - began > seconds(timeout):
                self.assert_alive()
                return Answer("silent")
            os.sched_yield()

    def after(self, guest, answer, allowed, what):
        """Is it what is allowed, and does everything else go on?"""
        self.assertIn(answer.kind, allowed, f"{what}: {answer}")
        self.victims_ok(1)
        if answer.kind == "broken":
            self.assert_stays_broken(guest, what)
            guest.restart_ring(guest.control_idx)
        else:
            self.times.append(answer.took)
        self.good_traffic(guest, 0, 1)
        self.assert_serves(guest, traffic=False)

    def assert_stays_broken(self, guest, what):
        ring = guest.control
        frozen = ring.device_area() if not ring.packed else None
        if (ring.free if ring.packed else len(ring.free)) >= 2:
            guest.command_send(99, 0)
            frozen = ring.device_area()
        ring.kick_now()
        time.sleep(seconds(0.02))
        if frozen is not None:
            self.assertEqual(ring.device_area(), frozen, f"{what}: a broken queue was written to")
        self.assertFalse(ring.erred(), f"{what}: err signalled again")

    def attempt(self, layout, build, allowed, what, **options):
        """build(guest, command, descriptors) tampers with an honest command (promiscuous on: two bytes, one byte, one
        byte to write) and returns raw descriptors."""
        with self.subTest(what, layout=layout):
            try:
                guest = self.on(layout, **options)
                command, descs, _ = guest.command_build(fe.CTRL_RX, fe.RX_PROMISC, b"\1")
                answer = self.hostile(guest, build(guest, command, descs), command)
                self.after(guest, answer, allowed, f"{what}, {layout}")
                return answer
            except BaseException:
                self.drop_current()
                raise

    @staticmethod
    def chain(descs):
        return [D(d.addr, d.length, d.flags | (NEXT if i + 1 < len(descs) else 0), d.nxt)
                for i, d in enumerate(descs)]

    @staticmethod
    def in_table(guest, entries, n_bytes=None):
        """A descriptor of an indirect table of (addr, len, flags, next or id)."""
        table = guest.mem.alloc(16 * max(len(entries), 1), 16)
        packed = guest.layout == "packed"
        for i, (addr, length, flags, nxt) in enumerate(entries):
            fields = (addr & (1 << 64) - 1, length & 0xffffffff) + ((nxt, flags) if packed else (flags, nxt))
            guest.mem.write(table + 16 * i, struct.pack("<QIHH", *fields))
        return D(table, 16 * len(entries) if n_bytes is None else n_bytes, INDIRECT)

    def table_of(self, guest, descs, **options):
        return self.in_table(guest, [(d.addr, d.length, d.flags | (NEXT if i + 1 < len(descs) else 0),
                                      i + 1 if i + 1 < len(descs) else 0) for i, d in enumerate(descs)], **options)


ANSWERED = ("answered",)
RETURNED = ("returned",)
BROKEN = ("broken",)


class Honest(ControlCase):
    """Commands as they should be, in every shape that descriptors allow."""

    def test_N11_every_command_in_every_layout(self):
        """N11: every command, in all layouts: OK, the exact used length, nothing beyond it written."""
        for layout in LAYOUTS:
            guest = self.on(layout, features=EVERYTHING, control=256)
            for name, cls, cmd, data, room, _ in good_commands():
                for shape in guest.LAYOUTS:
                    if shape.endswith("byte by byte") and len(data) + room > 120:
                        continue
                    with self.subTest(name, layout=layout, shape=shape):
                        result = self.ask(guest, cls, cmd, data, result_len=room, layout=shape, what=name)
                        self.assertEqual(len(result), room, name)
            with self.subTest("announce", layout=layout):
                # Nothing was announced: yes or no, but at once.
                ack, _, used = guest.command(fe.CTRL_ANNOUNCE, fe.ANNOUNCE_ACK)
                self.assertIn(ack, (OK, ERR))
                self.assertEqual(used, 1)
            with self.subTest("traffic", layout=layout):
                self.good_traffic(guest, 0)
                self.good_traffic(guest, 1)
        self.assert_soon()

    def test_N11_room_for_the_result(self):
        """N11: too little room for a result, or too much: never more than the room, and the used length says how
        much."""
        for layout in LAYOUTS:
            guest = self.on(layout)
            get = fe.stats_get((0, fe.STATS_RX_BASIC))
            for cls, cmd, data, whole in ((fe.CTRL_NOTF_COAL, fe.NOTF_COAL_VQ_GET, fe.coal_vq(0), 8),
                                          (fe.CTRL_STATS, fe.STATS_QUERY, b"", 8),
                                          (fe.CTRL_STATS, fe.STATS_GET, get, 56)):
                for room in (0, 1, 7, whole - 1, whole, whole + 1, 4000):
                    with self.subTest(layout=layout, cls=cls, cmd=cmd, room=room):
                        ack, result, used = guest.command(cls, cmd, data, room)
                        self.assertIn(ack, (OK, ERR) if room < whole else (OK,))
                        self.assertEqual(used, 1 + (min(room, whole) if ack == OK else 0))
                        self.assertEqual(len(result), used - 1)
        self.assert_soon()

    @pytest.mark.long
    def test_R25_more_commands_than_the_ring_has_entries(self):
        """R25, R18: indexes wrap: many times round small rings, packed ones of odd sizes too; every command once."""
        for layout, size in (("split", 2), ("split", 4), ("split", 64), ("packed", 3), ("packed", 5), ("packed", 64)):
            with self.subTest(layout=layout, size=size):
                guest = self.controlled(layout=layout, control=size)
                for i in range(1000 if size < 64 else 70_000 // (1 if LONG else 20)):
                    # Two descriptors each, so that chains cross the end of an odd ring.
                    ack, _, used = guest.command(99, i & 0xff, layout="packed together")
                    self.assertEqual((ack, used), (ERR, 1), i)
                self.done(guest)

    def test_batches_are_answered_in_order(self):
        """As many commands at once as the ring has room for: each answered once, in order."""
        for layout in LAYOUTS:
            guest = self.on(layout, control=256)
            ring = guest.control
            for _ in range(20):
                sent = [guest.command_send(99, i, layout="packed together", publish=False) for i in range(100)]
                ring.publish()
                found = ring.wait_used(100)
                self.assertEqual([c for c, _ in found], sent)
                for c, used in found:
                    self.assertEqual(guest.command_end(c, used)[0], ERR)
            self.good_traffic(guest)

    def test_notification(self):
        """The driver is told when a command is answered, unless it does not want to be."""
        for layout, event_idx in itertools.product(LAYOUTS, (0, bits(fe.F_EVENT_IDX))):
            with self.subTest(layout=layout, event_idx=bool(event_idx)):
                guest = self.controlled(layout=layout, features=CONTROL_FEATURES | event_idx)
                ring = guest.control
                while ring.called():
                    pass
                for i in range(5):
                    guest.command(99, i)
                    self.assertTrue(ring.called(seconds(1)), "not notified")
                if not event_idx:
                    if ring.packed:
                        guest.mem.store(ring.driver_event + 2, 2, 1)
                    else:
                        guest.mem.store(ring.avail, 2, 1)
                    guest.command(99, 0)
                    self.assertFalse(ring.called(seconds(0.02)), "notified although it does not want to be")
                self.done(guest)


class Chains(ControlCase):
    """R01 to R12 on the control queue (N10)."""

    def test_R01_loops(self):
        for at, length in itertools.product(range(3), (0, 1, 2)):
            def loop(g, c, descs):
                descs = self.chain(descs)
                descs[at] = D(descs[at].addr, length, descs[at].flags | NEXT, At(at))
                return descs
            self.attempt("split", loop, BROKEN, f"descriptor {at} of length {length} points to itself")

            def back(g, c, descs):
                descs = self.chain(descs)
                descs[2] = D(descs[2].addr, length, descs[2].flags | NEXT, At(at))
                return descs
            self.attempt("split", back, BROKEN, f"the last points to {at}, length {length}")

            def table(g, c, descs):
                return [self.in_table(g, [(d.addr, length, d.flags | NEXT, (i + 1) % 3) for i, d in enumerate(descs)])]
            self.attempt("split", table, BROKEN, f"loop in a table, length {length}")

        def whole(g, c, descs):
            return [D(c.readable, 1, NEXT) for _ in range(g.control.size - 1)] + [D(c.readable, 1, NEXT, At(0))]
        self.attempt("split", lambda g, c, d: (g.restart_ring(g.control_idx), whole(g, c, d))[1], BROKEN, "whole ring")

        def endless(g, c, descs):
            g.restart_ring(g.control_idx)
            return [D(c.readable, 1, NEXT) for _ in range(g.control.size)]
        self.attempt("packed", endless, BROKEN, "NEXT all round")
        self.assert_soon()

    def test_R02_zero_lengths(self):
        for layout in LAYOUTS:
            for at in range(3):
                def zero(g, c, descs):
                    return self.chain([D(d.addr, 0 if i == at else d.length, d.flags) for i, d in enumerate(descs)])
                # With nothing left to write to there is nothing to answer in.
                self.attempt(layout, zero, ANSWERED + RETURNED if at < 2 else RETURNED, f"descriptor {at} is empty")
                self.attempt(layout, lambda g, c, d: [self.table_of(g, zero(g, c, d))],
                             ANSWERED + RETURNED if at < 2 else RETURNED, f"entry {at} of a table is empty")
            self.attempt(layout, lambda g, c, descs: self.chain([D(d.addr, 0, d.flags) for d in descs]), RETURNED,
                         "all are empty")
            self.attempt(layout, lambda g, c, descs: [D(c.writable, 0, WRITE)], RETURNED, "one, empty")
            self.attempt(layout, lambda g, c, descs: self.chain([D(c.readable, 0)] * 30 + descs), ANSWERED + RETURNED,
                         "thirty empty ones first")
        self.assert_soon()

    def test_R03_next_and_heads_out_of_range(self):
        for nxt in (64, 65, 255, 32768, 65535):
            for at in (0, 1):
                def out(g, c, descs):
                    descs = self.chain(descs)
                    descs[at] = D(descs[at].addr, descs[at].length, descs[at].flags, nxt)
                    return descs
                self.attempt("split", out, BROKEN, f"next of {at} is {nxt}")
            self.attempt("split", lambda g, c, d: [self.in_table(g, [(c.readable, 2, NEXT, nxt)])], BROKEN,
                         f"next in a table is {nxt}")
            with self.subTest(head=nxt):
                guest = self.on("split")
                guest.control.offer(nxt)
                guest.control.publish()
                self.after(guest, self.settle_control(guest), BROKEN, f"head {nxt}")
        for ident in (63, 64, 32768, 65535):
            with self.subTest(ident=ident):
                guest = self.on("packed")
                command, descs, _ = guest.command_build(99, 0, b"x")
                answer = self.hostile(guest, self.chain(descs), command, ident)
                self.after(guest, answer, ANSWERED + BROKEN, f"id {ident}")
                if ident in guest.control.free_ids:
                    guest.control.free_ids.remove(ident)

    def test_R04_short_commands(self):
        """R04: less than class and command, no readable part, nothing writable: refused where there is room for it."""
        for layout in LAYOUTS:
            for indirect in (False, True):
                def shape(descs):
                    return lambda g, c, d: [self.table_of(g, descs(c))] if indirect else self.chain(descs(c))

                def answered(what, descs):
                    answer = self.attempt(layout, shape(descs), ANSWERED, f"{what}, indirect {indirect}")
                    if answer:
                        self.assertEqual((answer.ack, answer.used), (ERR, 1), what)
                answered("no readable part", lambda c: [D(c.writable, 1, WRITE)])
                answered("class alone", lambda c: [D(c.readable, 1), D(c.writable, 1, WRITE)])
                for what, descs in {
                    "nothing writable": lambda c: [D(c.readable, 2), D(c.readable + 2, 1)],
                    "class alone, nothing writable": lambda c: [D(c.readable, 1)],
                }.items():
                    self.attempt(layout, shape(descs), RETURNED, f"{what}, indirect {indirect}")
                self.attempt(layout, shape(lambda c: [D(c.writable, 1, WRITE), D(c.readable, 3)]),
                             BROKEN + RETURNED + ANSWERED, f"writable before readable, indirect {indirect}")
                self.attempt(layout, shape(lambda c: [D(c.readable, 2), D(c.writable, 1, WRITE), D(c.readable, 1)]),
                             BROKEN + RETURNED, f"readable behind writable, indirect {indirect}")
        self.assert_soon()

    def test_R05_unmapped(self):
        for layout, at in itertools.product(LAYOUTS, range(3)):
            for addr, length in ((0, 1), (UNMAPPED, 1), ((1 << 64) - 1, 1), ((1 << 64) - 4, 16), (UNMAPPED, 0),
                                 (UNMAPPED, 0xffffffff), (0x4050_0000 - 1, 2), (0x4050_0000, 1)):
                def unmapped(g, c, descs):
                    return self.chain([D(addr, length, d.flags) if i == at else d for i, d in enumerate(descs)])
                self.attempt(layout, unmapped, RETURNED, f"descriptor {at} at {addr:#x}+{length:#x}")
        self.assert_soon()

    def test_V01_a_command_across_two_regions(self):
        """Contiguous in guest addresses only: a command may lie there, in two files."""
        for layout in LAYOUTS:
            guest = self.on(layout)
            border = guest.mem.regions[2].gpa
            guest.mem.claim(border - 1, 1)
            guest.mem.claim(border, 2)
            guest.mem.write(border - 1, bytes([fe.CTRL_RX]))
            guest.mem.write(border, bytes([fe.RX_PROMISC, 1]))
            command, _, _ = guest.command_build(0, 0)
            answer = self.hostile(guest, [D(border - 1, 3, NEXT), D(command.writable, 1, WRITE)], command)
            self.assertEqual((answer.kind, answer.ack), ("answered", OK))

    def test_R09_indirect_tables_of_wrong_size(self):
        for layout in LAYOUTS:
            for n_bytes in (0, 1, 8, 15, 17, 24, 47, 49, 0xffffffff, 0xfffffff0, 0x80000000):
                # Whole entries, but far beyond the end of memory: a bad address like any other.
                self.attempt(layout, lambda g, c, d: [self.table_of(g, d, n_bytes=n_bytes)],
                             BROKEN if n_bytes == 0 or n_bytes % 16 else RETURNED, f"table of {n_bytes} bytes")

            def long(g, c, descs, n):
                return [self.in_table(g, [(c.readable, 1, NEXT, i + 1) for i in range(n - 1)]
                                      + [(c.writable, 1, WRITE, 0)])]
            self.attempt(layout, lambda g, c, d: long(g, c, d, 65), ANSWERED, "more entries than the ring")
            self.attempt(layout, lambda g, c, d: long(g, c, d, 4096), RETURNED, "4096 entries")
            self.attempt(layout, lambda g, c, d: long(g, c, d, 64), ANSWERED, "as many entries as the ring")
            for addr in (0, UNMAPPED, (1 << 64) - 16):
                self.attempt(layout, lambda g, c, d: [D(addr, 48, INDIRECT)], RETURNED + BROKEN, f"table at {addr:#x}")

    def test_R10_R11_indirect_nested_and_chained(self):
        for layout in LAYOUTS:
            def nested(g, c, descs):
                inner = self.table_of(g, descs)
                return [self.in_table(g, [(inner.addr, inner.length, INDIRECT, 0)])]
            self.attempt(layout, nested, BROKEN, "table in a table")

            def with_next(g, c, descs):
                table = self.table_of(g, descs)
                return [D(table.addr, table.length, INDIRECT | NEXT), descs[2]]
            self.attempt(layout, with_next, BROKEN, "INDIRECT with NEXT")

            def after_direct(g, c, descs):
                return self.chain([descs[0], self.table_of(g, descs[1:])])
            self.attempt(layout, after_direct, ANSWERED if layout == "split" else ANSWERED + BROKEN,
                         "table after a direct descriptor")

            def outer_write(g, c, descs):
                table = self.table_of(g, descs)
                return [D(table.addr, table.length, INDIRECT | WRITE)]
            self.attempt(layout, outer_write, ANSWERED, "WRITE on the outer descriptor")
        for n in (1, 2, 63):
            def all_round(g, c, descs):
                g.restart_ring(g.control_idx)
                table = self.table_of(g, descs)
                return [D(table.addr, table.length, INDIRECT | NEXT) for _ in range(n)]
            self.attempt("packed", all_round, BROKEN, f"{n} times INDIRECT|NEXT with nothing after it")

    def test_R10_indirect_not_negotiated(self):
        for layout in LAYOUTS:
            self.attempt(layout, lambda g, c, d: [self.table_of(g, d)], BROKEN, "indirect without the feature",
                         features=CONTROL_FEATURES & ~bits(fe.F_INDIRECT))

    def test_R12_available_index_jumps(self):
        rng = random.Random(12)
        for jump in [65, 66, 128, 32768, -1, -2, -64, 65535] + [rng.randrange(65, 65536) for _ in range(8)]:
            with self.subTest(jump=jump):
                guest = self.on("split")
                ring = guest.control
                guest.mem.store(ring.avail + 2, 2, (ring.avail_idx + jump) & 0xffff)
                ring.kick_now()
                self.after(guest, self.settle_control(guest), BROKEN, f"jump {jump}")

    def test_R12_the_same_command_all_over_the_ring(self):
        """A whole ring of the same head is legal: answered as often, and no more."""
        guest = self.on("split")
        guest.restart_ring(guest.control_idx)
        ring = guest.control
        command, descs, _ = guest.command_build(99, 0)
        for i, d in enumerate(self.chain(descs)):
            ring.put_desc(i, d.addr, d.length, d.flags, i + 1)
        for _ in range(ring.size):
            ring.offer(0)
        ring.publish()
        deadline = time.monotonic() + seconds(2)
        while guest.mem.load(ring.used + 2, 2) != ring.size and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(seconds(0.02))
        self.assertEqual(guest.mem.load(ring.used + 2, 2), ring.size)
        guest.restart_ring(guest.control_idx)
        self.assert_serves(guest)

    def test_R12_packed_rings_at_random(self):
        """Random contents in the whole ring: broken or refused, and it ends."""
        rng = random.Random(121)
        guest = self.on("packed")
        gpa = guest.mem.alloc(4096)
        for k in range(100 if not LONG else 5000):
            guest.restart_ring(guest.control_idx)
            ring = guest.control
            data = b""
            for _ in range(ring.size):
                flags = rng.choice((0, NEXT, WRITE, INDIRECT, NEXT | WRITE, rng.randrange(65536)))
                flags = flags & 0x7f7f | rng.choice((fe.P_AVAIL, fe.P_USED, fe.P_AVAIL, 0x8080))
                addr = rng.choice((gpa, gpa + 2000, UNMAPPED, rng.randrange(1 << 64)))
                length = rng.choice((0, 1, 2, 100, 2000, rng.randrange(1 << 32)))
                if gpa <= addr < gpa + 4096:
                    length = min(length, gpa + 4096 - addr)
                elif any(r.gpa <= addr < r.gpa + r.size for r in guest.mem.regions):
                    addr = UNMAPPED
                data += struct.pack("<QIHH", addr, length, rng.randrange(65536), flags)
            guest.mem.write(ring.desc + 16, data[16:])
            guest.mem.write(ring.desc, data[:14])
            guest.mem.store(ring.desc + 14, 2, struct.unpack("<H", data[14:16])[0])
            ring.kick_now()
            if k % 10 == 0:
                self.good_traffic(guest, 0, 1)
                self.victims_ok(1)
        guest.restart_ring(guest.control_idx)
        self.assert_serves(guest)

    def test_R24_commands_in_the_ring_itself(self):
        """Descriptors that name the control queue's own ring, another ring, or each other: harm to this guest only."""
        for layout in LAYOUTS:
            spots = {"own descriptors": lambda g: g.control.desc, "own device area": lambda g: g.control.addresses()[1],
                     "own driver area": lambda g: g.control.addresses()[2]}
            for name, at in spots.items():
                with self.subTest(layout=layout, spot=name):
                    guest = self.controlled(layout=layout)
                    command, _, _ = guest.command_build(99, 0)
                    answer = self.hostile(guest, [D(command.readable, 2, NEXT), D(at(guest), 4, WRITE)], timeout=0.1)
                    self.assertIn(answer.kind, ("answered", "broken", "silent"))
                    self.victims_ok(1)
                    self.good_traffic(guest, 0, 1)
                    guest.restart_ring(guest.control_idx)
                    self.assert_serves(guest)
                    self.done(guest)

    # --- R06, R07 ---

    FLIP_S = 10 if LONG else 0.2

    def flip(self, layout, places, shape, program):
        guest = self.on(layout)
        guest.restart_ring(guest.control_idx)
        ring = guest.control
        commands = [guest.command_build(fe.CTRL_MQ, fe.MQ_RSS_CONFIG, fe.rss_config([0, 1] * 2, max_tx_vq=2))
                    for _ in range(4)]
        chains = []
        for command, descs, _ in commands:
            chains.append([self.table_of(guest, descs)] if shape == "indirect" else self.chain(descs))
        spots = places(guest, commands, chains)
        flipper = invariants.flip(program, guest, spots, self.FLIP_S)
        until = time.monotonic() + self.FLIP_S
        n = 0
        try:
            while time.monotonic() < until:
                for chain in chains:
                    if (ring.free if ring.packed else len(ring.free)) < 8:
                        break
                    ring.add_raw(chain, "hostile")
                    n += 1
                ring.publish()
                os.sched_yield()
                try:
                    ring.poll()
                    broken = ring.erred()
                except fe.Damage:
                    broken = True       # the flipper's own doing
                if broken or (ring.free if ring.packed else len(ring.free)) < 8:
                    guest.restart_ring(guest.control_idx)
                if n % 64 == 0:
                    self.victims_ok(1)
        finally:
            out, _ = flipper.communicate()
        self.assertGreater(int(out), 1000, "the flipper did not run")
        self.assertGreater(n, 15, "hardly any command was offered")
        guest.restart_ring(guest.control_idx)
        self.assert_serves(guest)
        self.victims_ok(2)

    def test_R06_R07_flipping_commands(self):
        """R06, R07: descriptors, indirect tables and the commands themselves change while they are read."""
        program = invariants.helper("flipper")
        if not program:
            self.skipTest("no C compiler to build the flipper")

        def ring_descs(guest, commands, chains):
            spots = []
            for i in range(0, 12):
                at = guest.control.desc + 16 * i
                spots.append((at + 8, 4, [2, 21, 1, 0, 65539, 0xffffffff]))
            return spots

        def ring_addrs(guest, commands, chains):
            good = commands[0][0]
            return [(guest.control.desc + 16 * i, 8, [good.readable, good.writable, UNMAPPED, (1 << 64) - 4])
                    for i in range(12)]

        def tables(guest, commands, chains):
            spots = []
            for chain in chains:
                table = chain[0].addr
                flags = 14 if guest.layout == "packed" else 12
                spots.append((table + 8, 4, [2, 0, 0xffffffff, 1]))
                spots.append((table + 16 + 8, 4, [21, 0, 0xffffffff, 60000]))
                spots.append((table + 16 + flags, 2, [NEXT, 0, NEXT | WRITE, INDIRECT]))
                spots.append((table + 32, 8, [commands[0][0].writable, UNMAPPED]))
            return spots

        def contents(guest, commands, chains):
            # Class, command, mask, table entries, max_tx_vq, key length: all that is checked before it is used.
            spots = []
            for command, _, _ in commands:
                at = command.readable
                spots += [(at, 1, [4, 0, 1, 6, 8]), (at + 1, 1, [1, 0, 2]), (at + 6, 1, [3, 127, 255, 0]),
                          (at + 10, 1, [0, 1, 2, 255]), (at + 14, 1, [0, 1, 255]), (at + 18, 1, [2, 0, 255]),
                          (at + 20, 1, [40, 0, 255, 41])]
            return spots
        for layout in LAYOUTS:
            for name, places, shape in (("lengths", ring_descs, "direct"), ("addresses", ring_addrs, "direct"),
                                        ("tables", tables, "indirect"), ("contents", contents, "direct")):
                with self.subTest(name, layout=layout):
                    try:
                        self.flip(layout, places, shape, program)
                    except BaseException:
                        self.drop_current()
                        raise
            self.done(self.on(layout))
            self.current = None


class Commands(ControlCase):
    """What is refused, and that refusals change nothing."""

    def refused(self, guest, cls, cmd, data=b"", what="", **options):
        with self.subTest(what or f"class {cls}, command {cmd}, {len(data)} bytes", layout=guest.layout):
            self.ask(guest, cls, cmd, data, expect=ERR, what=what, **options)

    def test_N12_undefined_commands(self):
        """N12: every class with every command that is not defined, without and with data."""
        defined = {(cls, cmd) for _, cls, cmd, _, _, _ in good_commands()} | {(fe.CTRL_ANNOUNCE, fe.ANNOUNCE_ACK)}
        for layout in LAYOUTS:
            guest = self.on(layout, features=EVERYTHING, control=256)
            ring = guest.control
            numbers = list(range(256)) if LONG else list(range(12)) + [127, 128, 255]
            batch = []
            all_of_them = [p for p in itertools.product(range(256), numbers) if p not in defined]
            for i, (cls, cmd) in enumerate(all_of_them):
                batch.append((cls, cmd, guest.command_send(cls, cmd, bytes(i % 3), 8, "packed together", False)))
                if len(batch) < 64 and i + 1 < len(all_of_them):
                    continue
                ring.publish()
                for (cls, cmd, sent), (c, used) in zip(batch, ring.wait_used(len(batch))):
                    self.assertIs(sent, c)
                    ack, _, used = guest.command_end(c, used)
                    self.assertEqual((ack, used), (ERR, 1), f"class {cls}, command {cmd}")
                batch = []
            for cls, cmd in ((7, 0), (8, 2), (9, 0), (255, 255)):
                self.refused(guest, cls, cmd)
            self.assert_serves(guest)
        self.assert_soon()

    def test_N12_commands_without_their_feature(self):
        """N12: each command without the feature that it needs; with CTRL_VQ alone all of them."""
        commands = good_commands()
        for missing in sorted({features for *_, features in commands}) + [EVERYTHING]:
            layout = "packed" if missing.bit_length() % 2 else "split"
            left = EVERYTHING & ~missing
            if missing == EVERYTHING:
                left = bits(fe.F_VERSION_1, fe.F_PROTOCOL, fe.F_CTRL_VQ)
            elif missing == bits(fe.F_CTRL_RX):
                left &= ~bits(fe.F_CTRL_RX_EXTRA)
            several = bool(left & bits(fe.F_MQ, fe.F_RSS))
            guest = self.controlled(layout=layout, features=left, queues=2 if several else 1)
            for name, cls, cmd, data, room, features in commands:
                if features & missing:
                    self.refused(guest, cls, cmd, data, f"{name}, without bits {missing:#x}", result_len=room)
            if missing == EVERYTHING:
                self.refused(guest, fe.CTRL_ANNOUNCE, fe.ANNOUNCE_ACK, what="announce")
            self.good_traffic(guest, 0, 1)
            self.done(guest)
        self.assert_soon()

    def test_N12_data_too_short_and_too_long(self):
        """N12: each command with no data, cut data, one byte more, and more than there can be."""
        for layout in LAYOUTS:
            guest = self.on(layout, features=EVERYTHING, control=256)
            for name, cls, cmd, data, room, _ in good_commands():
                lengths = {0, len(data) // 2, len(data) - 1, len(data) + 1, 4096, 65535, 65536, 65537, 100_000}
                if cmd == fe.STATS_GET and cls == fe.CTRL_STATS:
                    lengths -= {0, len(data) // 2}      # a list of any length, 16 bytes each
                for n in sorted(x for x in lengths if x >= 0 and x != len(data)):
                    wrong = data[:n] + b"\xff" * (n - len(data))
                    if wrong and cls == fe.CTRL_STATS and cmd == fe.STATS_QUERY and n > 8:
                        continue
                    self.refused(guest, cls, cmd, wrong, f"{name}, {n} bytes instead of {len(data)}", result_len=room)
            for n in (65534, 65535, 65536, 65537, 1 << 20):
                self.refused(guest, 99, 0, bytes(n), f"unknown command of {n} bytes")
            self.assert_serves(guest)
        self.assert_soon()

    def test_N12_values_out_of_range(self):
        for layout in LAYOUTS:
            guest = self.on(layout, features=EVERYTHING & ~bits(fe.F_GUEST_TSO6, fe.F_GUEST_UFO))
            for n in (0, 3, 4, 255, 256, 0x8000, 0x8001, 0xffff):
                self.refused(guest, fe.CTRL_MQ, fe.MQ_VQ_PAIRS_SET, fe.vq_pairs(n), f"{n} pairs of 2")
            for vid in (4096, 4097, 0x8001, 0xffff):
                for cmd in (fe.VLAN_ADD, fe.VLAN_DEL):
                    self.refused(guest, fe.CTRL_VLAN, cmd, fe.vlan_id(vid), f"VLAN {vid}")
            for bit in (0, 2, 8, 10, 11, 17, 32, 46, 51, 56, 63):
                self.refused(guest, fe.CTRL_GUEST_OFFLOADS, fe.GUEST_OFFLOADS_SET,
                             fe.guest_offloads(fe.F_GUEST_CSUM, bit), f"offload {bit}, not negotiated or none")
            for idx in (4, 5, 6, 255, 256, 0x8000, 0xffff):
                self.refused(guest, fe.CTRL_NOTF_COAL, fe.NOTF_COAL_VQ_SET, fe.coal_vq(idx, 1, 1), f"coalesce {idx}")
                self.refused(guest, fe.CTRL_NOTF_COAL, fe.NOTF_COAL_VQ_GET, fe.coal_vq(idx), f"coalesce {idx}",
                             result_len=8)
            bad_stats = {
                "queue beyond": [(5, fe.STATS_RX_BASIC)], "queue 0xffff": [(0xffff, fe.STATS_RX_BASIC)],
                "rx type of a tx queue": [(1, fe.STATS_RX_BASIC)], "tx type of an rx queue": [(0, fe.STATS_TX_BASIC)],
                "control type of an rx queue": [(0, fe.STATS_CVQ)], "rx type of the control queue":
                [(4, fe.STATS_RX_BASIC)], "unknown type": [(0, 1 << 15)], "unknown type 63": [(0, 1 << 63)],
                "known and unknown type": [(0, fe.STATS_RX_BASIC | 1 << 40)],
                "good ones, then a bad one": [(0, fe.STATS_RX_BASIC)] * 3 + [(1, fe.STATS_RX_BASIC)],
            }
            for name, queues in bad_stats.items():
                self.refused(guest, fe.CTRL_STATS, fe.STATS_GET, fe.stats_get(*queues), f"statistics: {name}",
                             result_len=400)
            self.assert_serves(guest)
        # Types that need features which are not there.
        guest = self.controlled()
        for idx, types in ((0, fe.STATS_RX_CSUM), (0, fe.STATS_RX_GSO), (1, fe.STATS_TX_CSUM), (1, fe.STATS_TX_GSO)):
            self.refused(guest, fe.CTRL_STATS, fe.STATS_GET, fe.stats_get((idx, types)), f"statistics {types:#x}",
                         result_len=400)
        self.assert_soon()

    def test_N12_thousands_of_statistics(self):
        """The longest list of statistics that fits: all of it, or refused; never more than the room."""
        for layout in LAYOUTS:
            guest = self.on(layout, features=EVERYTHING)
            for n, room in ((4096, 65535), (4096, 100), (4096, 200_000), (1000, 56_000)):
                with self.subTest(layout=layout, n=n, room=room):
                    ack, result, used = guest.command(
                        fe.CTRL_STATS, fe.STATS_GET, fe.stats_get(*[(0, fe.STATS_RX_BASIC)] * n), room)
                    self.assertIn(ack, (OK, ERR))
                    self.assertLessEqual(used, 1 + room)
                    self.assertLess(guest.latency, seconds(5))
            self.assert_serves(guest)

    # --- N08, N09 ---

    @staticmethod
    def tcp(n, dst=HERE):
        """A TCP segment over IPv4 of flow n."""
        payload = bytes([n & 0xff]) * 32
        ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 40 + len(payload), n, 0, 64, 6, 0, bytes([10, 0, 0, 1]),
                         bytes([10, 0, 1, n & 0xff]))
        total = sum(struct.unpack(">10H", ip))
        ip = ip[:10] + struct.pack(">H", 0xffff - (total + (total >> 16) & 0xffff)) + ip[12:]
        return fe.ethernet(ip + struct.pack(">HHIIBBHHH", 1000 + n, 80, n, 0, 0x50, 0x10, 1000, 0, 0) + payload,
                           dst=dst, kind=0x0800)

    def where(self, guest, frame, from_pair=0):
        """The peer sends it; on which pair does the guest get it? None: it is kept out."""
        self.drain_all(guest)
        before = self.drops()
        self.peer.send_frame(frame, from_pair)
        deadline = time.monotonic() + seconds(2)
        while time.monotonic() < deadline:
            for pair in range(guest.queues):
                got = guest.try_receive(pair)
                if got is not None:
                    self.assertEqual(got, frame)
                    return pair
            deltas = self.deltas(before)
            if deltas:
                self.assertEqual(deltas, {"filtered": 1})
                return None
        self.fail(f"a frame is lost: {self.drops()}")

    @staticmethod
    def drain_all(guest):
        for pair in range(guest.queues):
            while guest.try_receive(pair) is not None:
                pass

    def test_N08_rss(self):
        """N08: tables and keys that don't fit are refused, and what was set before stays."""
        for layout in LAYOUTS:
            guest = self.on(layout)
            frames = [self.tcp(n) for n in range(8)]
            self.ask(guest, fe.CTRL_MQ, fe.MQ_RSS_CONFIG, fe.rss_config([0], max_tx_vq=2), what="all to pair 0")
            self.assertEqual([self.where(guest, f) for f in frames], [0] * 8)
            self.ask(guest, fe.CTRL_MQ, fe.MQ_RSS_CONFIG, fe.rss_config([1], max_tx_vq=2), what="all to pair 1")
            self.assertEqual([self.where(guest, f) for f in frames], [1] * 8)
            self.assertEqual(self.where(guest, frame_of(1, 100)), 0, "not to be hashed: unclassified_queue")

            # All of these would bring frames to pair 0, if they were taken.
            good = dict(max_tx_vq=2)
            cases = {f"entry {q:#x}": fe.rss_config([0, q, 0, 0], **good)
                     for q in (2, 3, 4, 127, 255, 256, 0x7fff, 0x8000, 0x8001, 0xffff)}
            cases.update({f"only entry {q:#x}": fe.rss_config([q], **good) for q in (2, 0x7fff, 0xffff)})
            cases.update({f"table of {n}": fe.rss_config([0] * n, **good) for n in (3, 5, 6, 7, 100, 127, 129, 256,
                                                                                     1024, 32768)})
            cases.update({f"mask {m:#x} with {n} entries": fe.rss_config([0] * n, mask=m, **good) for m, n in (
                (0xffff, 1), (127, 4), (127, 127), (0, 2), (3, 2), (0, 0), (0xffff, 0), (0xffff, 32700), (1, 128))})
            cases.update({f"key of {n} bytes": fe.rss_config([0], key=bytes(n), **good) for n in (41, 64, 255)})
            cases.update({f"key length {claimed}, {n} bytes": fe.rss_config([0], key=bytes(n), key_len=claimed, **good)
                          for claimed, n in ((40, 39), (40, 0), (255, 40), (39, 40), (0, 40), (40, 41), (41, 40),
                                             (1, 0))})
            cases.update({f"max_tx_vq {n}": fe.rss_config([0], max_tx_vq=n) for n in (0, 3, 4, 255, 0x8000, 0xffff)})
            cases.update({f"unclassified {q:#x}": fe.rss_config([0], unclassified=q, **good)
                          for q in (2, 3, 0x7fff, 0xffff)})
            cases.update({f"hash types {t:#x}": fe.rss_config([0], types=t, **good) for t in (
                0x200, 0x3ff, 0x8000, 0xffffffff)})
            whole = fe.rss_config([0, 0], **good)
            cases.update({f"cut at {n}": whole[:n] for n in range(len(whole))})
            for name, data in cases.items():
                self.refused(guest, fe.CTRL_MQ, fe.MQ_RSS_CONFIG, data, f"RSS: {name}")
            self.assertEqual([self.where(guest, f) for f in frames], [1] * 8, "a refused command has an effect")
            self.assertEqual(self.where(guest, frame_of(1, 100)), 0)
            self.good_traffic(guest, 1, 1, rx=False)
            self.ask(guest, fe.CTRL_MQ, fe.MQ_RSS_CONFIG, fe.rss_config([0, 1] * 64, max_tx_vq=2), what="128 entries")
            self.assertEqual({self.where(guest, self.tcp(n)) for n in range(32)}, {0, 1})
            self.ask(guest, fe.CTRL_MQ, fe.MQ_VQ_PAIRS_SET, fe.vq_pairs(1), what="one pair")
            self.assertEqual([self.where(guest, f) for f in frames], [0] * 8)
            self.ask(guest, fe.CTRL_MQ, fe.MQ_VQ_PAIRS_SET, fe.vq_pairs(2), what="two pairs")
            self.good_traffic(guest, 1, 1, rx=False)
        self.assert_soon()

    def test_N08_hash_config(self):
        for layout in LAYOUTS:
            guest = self.on(layout, features=CONTROL_FEATURES | bits(fe.F_HASH_REPORT))
            self.ask(guest, fe.CTRL_MQ, fe.MQ_HASH_CONFIG, fe.hash_config(fe.HASH_IPV4 | fe.HASH_TCPV4), what="hash")
            self.assertEqual(self.where(guest, self.tcp(1)), 0)
            value, report = struct.unpack("<IH", guest.last_header[12:18])
            self.assertEqual(report, 2, "TCPv4")
            cases = {f"types {t:#x}": fe.hash_config(t) for t in (0x200, 0xffffffff)}
            cases.update({f"key of {n} bytes": fe.hash_config(fe.HASH_TCPV4, key=bytes(n)) for n in (41, 255)})
            cases.update({f"key length {claimed}, {n} bytes": fe.hash_config(0, key=bytes(n), key_len=claimed)
                          for claimed, n in ((40, 39), (40, 0), (255, 40), (39, 40), (0, 40), (40, 41))})
            cases.update({f"cut at {n}": fe.hash_config(0)[:n] for n in (0, 4, 11, 12, 13, 30)})
            for name, data in cases.items():
                self.refused(guest, fe.CTRL_MQ, fe.MQ_HASH_CONFIG, data, f"hash: {name}")
            self.assertEqual(self.where(guest, self.tcp(1)), 0)
            self.assertEqual(struct.unpack("<IH", guest.last_header[12:18]), (value, report),
                             "a refused command has an effect")
            self.ask(guest, fe.CTRL_MQ, fe.MQ_HASH_CONFIG, fe.hash_config(0), what="hash nothing")
            self.where(guest, self.tcp(1))
            self.assertEqual(struct.unpack("<H", guest.last_header[16:18]), (0,), "no hash, no report")

    def only(self, guest, *addresses):
        self.ask(guest, fe.CTRL_RX, fe.RX_PROMISC, b"\0", what="not promiscuous")
        self.ask(guest, fe.CTRL_MAC, fe.MAC_TABLE_SET, fe.mac_tables(addresses), what="table")

    def test_N09_mac_tables(self):
        """N09: counts that don't go with the data are refused, and the table stays."""
        here, there = frame_of(1, 100), ELSEWHERE + frame_of(1, 100)[6:]
        for layout in LAYOUTS:
            guest = self.on(layout)
            self.only(guest, HERE)
            self.assertEqual((self.where(guest, here), self.where(guest, there)), (0, None))
            # All of these would let the other address in, if they were taken.
            cases = {}
            for n in (2, 3, 64, 65, 10922, 10923, 0x2aaaaaab, 0x55555556, 1 << 31, 0xffffffff, 0x80000001):
                cases[f"{n:#x} unicast entries of 1"] = struct.pack("<I", n) + ELSEWHERE + struct.pack("<I", 0)
                first = fe.mac_tables([ELSEWHERE])[:-4]
                cases[f"{n:#x} multicast entries of none"] = first + struct.pack("<I", n)
                cases[f"{n:#x} multicast entries of 1"] = first + struct.pack("<I", n) + mac(1)
            whole = fe.mac_tables([ELSEWHERE], [mac(1, True)])
            cases.update({f"cut at {n}": whole[:n] for n in range(len(whole))})
            cases.update({f"{n} bytes more": whole + bytes(n) for n in (1, 2, 3, 5, 6, 7, 100)})
            cases["0 and 0, and more"] = fe.mac_tables() + ELSEWHERE
            for name, data in cases.items():
                self.refused(guest, fe.CTRL_MAC, fe.MAC_TABLE_SET, data, f"tables: {name}")
            self.assertEqual((self.where(guest, here), self.where(guest, there)), (0, None))
            for n in (0, 1, 5, 7, 12):
                self.refused(guest, fe.CTRL_MAC, fe.MAC_ADDR_SET, ELSEWHERE[:n] + bytes(max(0, n - 6)),
                             f"address of {n} bytes")
            self.assertEqual((self.where(guest, here), self.where(guest, there)), (0, None))
            # More addresses than there is room for: everything comes in, the driver loses nothing.
            self.only(guest, *[mac(i) for i in range(10_000)])
            self.assertEqual((self.where(guest, here), self.where(guest, there)), (0, 0))
            self.only(guest, *[mac(i) for i in range(63)], ELSEWHERE)
            self.assertEqual((self.where(guest, here), self.where(guest, there)), (None, 0))
            self.ask(guest, fe.CTRL_RX, fe.RX_PROMISC, b"\1")
            self.assertEqual((self.where(guest, here), self.where(guest, there)), (0, 0))
        self.assert_soon()

    def test_N12_vq_pairs_are_what_was_accepted_last(self):
        for layout in LAYOUTS:
            guest = self.on(layout)
            for n in (2, 1, 2):
                self.ask(guest, fe.CTRL_MQ, fe.MQ_VQ_PAIRS_SET, fe.vq_pairs(n))
                self.refused(guest, fe.CTRL_MQ, fe.MQ_VQ_PAIRS_SET, fe.vq_pairs(0))
                self.refused(guest, fe.CTRL_MQ, fe.MQ_VQ_PAIRS_SET, fe.vq_pairs(3))
                self.peer.drain()
                frame = frame_of(60 + n, 100)
                before = self.drops()
                guest.send_frame(frame, 1)
                if n == 2:
                    self.assertEqual(self.peer.receive_frame(1), frame)
                else:
                    time.sleep(seconds(0.01))
                    self.assertEqual(self.deltas(before), {"disabled": 1}, "transmitted on a pair that is not in use")
                seen = {self.where(guest, self.tcp(k), from_pair=k % 2) for k in range(16)}
                self.assertTrue(seen <= set(range(n)), f"{n} pairs in use, frames came on {seen}")

    # --- N07 ---

    def test_N07_header_sizes(self):
        """N07: the header in the buffers, both ways, under all combinations of the features that it depends on."""
        for mrg, v1, report, layout in itertools.product((0, 1), (0, 1), (0, 1), LAYOUTS):
            if layout == "packed" and not v1:
                continue
            features = bits(fe.F_PROTOCOL)
            for on, more in ((mrg, (fe.F_MRG_RXBUF,)), (v1, (fe.F_VERSION_1,)), (layout == "packed", (fe.F_PACKED,)),
                             (report, (fe.F_HASH_REPORT, fe.F_CTRL_VQ))):
                features |= bits(*more) if on else 0
            size = 20 if report else 12 if mrg or v1 else 10
            with self.subTest(layout=layout, mrg=mrg, v1=v1, report=report):
                guest = self.raw(layout=layout, features=features, queues=1)
                try:
                    guest.start()
                except Nack:
                    self.assertTrue(report and not v1, "only a legacy driver with a modern feature may be refused")
                    continue
                self.assertEqual(guest.header_size, size)
                self.await_pair(guest)
                for n in (14, 60, 61, 1000, 1514):
                    frame = frame_of(n, max(n, 22))[:n]
                    self.peer.send_frame(frame)
                    found = guest.pairs[0].rx.wait_used(1)
                    self.assertEqual(len(found), 1)
                    (gpa, length), used = found[0]
                    self.assertEqual(used, size + n, "used length is header and frame")
                    data = guest.mem.read(gpa, length)
                    self.assertEqual(data[size:used], frame, "the frame starts where the header ends")
                    self.assertEqual(data[:10], bytes(10), "no flags, no segmentation")
                    self.assertEqual(data[10:size], (b"\1\0" + bytes(8))[:size - 10], "one buffer, no hash")
                    self.assertEqual(data[used:].count(fe.RX_POISON), length - used)
                    guest.post_rx(0, 1)
                    guest.send_frame(frame)
                    self.assertEqual(self.peer.receive_frame(), frame)
                self.done(guest)


class Life(ControlCase):
    """The control queue's life: stops, resets, connections, memory, other queues."""

    def status_guest(self, layout, **options):
        return self.controlled(layout=layout, protocol=PROTOCOL, **options)

    def filtering(self, guest):
        """Does what the driver has set still hold?"""
        self.peer.drain()
        before = self.drops()
        frame = ELSEWHERE + frame_of(1, 100)[6:]
        self.peer.send_frame(frame)
        deadline = time.monotonic() + seconds(2)
        while time.monotonic() < deadline:
            if guest.try_receive(0) == frame:
                return False
            if self.deltas(before).get("filtered"):
                return True
        self.fail(f"the frame is lost: {self.deltas(before)}")

    def set_filter(self, guest):
        self.ask(guest, fe.CTRL_RX, fe.RX_PROMISC, b"\0")
        self.ask(guest, fe.CTRL_MAC, fe.MAC_TABLE_SET, fe.mac_tables([HERE]))
        self.assertTrue(self.filtering(guest))

    def test_N10_a_broken_control_queue_alone_stops(self):
        """Broken: err descriptor, NEEDS_RESET, a line in the log; the data queues go on; after a reset all is well."""
        for layout in LAYOUTS:
            with self.subTest(layout=layout):
                guest = self.status_guest(layout)
                mark = self.vn.mark()
                if layout == "split":
                    guest.control.offer(65535)
                    guest.control.publish()
                else:
                    guest.control.add_raw([D(1, 16, INDIRECT | NEXT)], "hostile")
                    guest.control.publish()
                self.assertTrue(guest.control.erred(seconds(2)), "err is not signalled")
                self.assertTrue(guest.ask_u64(fe.GET_STATUS) & fe.S_NEEDS_RESET)
                self.vn.expect(f"queue {guest.control_idx} is broken by its driver", 2, since=mark)
                self.assert_stays_broken(guest, layout)
                for ring in (guest.pairs[0].rx, guest.pairs[0].tx):
                    self.assertFalse(ring.erred())
                self.good_traffic(guest, 0, 5)
                guest.tell(fe.SET_STATUS, struct.pack("<Q", 0))
                self.assertEqual(guest.ask_u64(fe.GET_STATUS), 0)
                guest.restart_ring(guest.control_idx)
                for idx in (0, 1):
                    guest.restart_ring(idx)
                guest.driver_ok()
                self.await_pair(guest, 1)
                self.assert_serves(guest)
                self.done(guest)

    def test_stop_and_resume_where_it_stood(self):
        """GET_VRING_BASE tells how far it was; there it goes on, with its settings, and with what came meanwhile."""
        for layout, size in (("split", 64), ("packed", 64), ("packed", 7)):
            with self.subTest(layout=layout, size=size):
                guest = self.controlled(layout=layout, control=size)
                ring, idx = guest.control, guest.control_idx
                self.set_filter(guest)
                for n in (0, 1, 5, 40, 100):
                    for _ in range(n):
                        self.assert_serves(guest, traffic=False)
                    base = guest.stop_ring(idx)
                    self.assertEqual(base, ring.base(), "where it stopped")
                    frozen = ring.device_area()
                    waiting = guest.command_send(99, 1, layout="packed together")
                    time.sleep(seconds(0.01))
                    if layout == "split":
                        self.assertEqual(ring.device_area(), frozen, "a stopped queue was written to")
                    self.good_traffic(guest, 0, 1)
                    for name, request, payload, fds in guest.ring_messages(idx):
                        if name == "BASE":
                            payload = struct.pack("<II", idx, base)
                        if name == "KICK":
                            os.eventfd_read(ring.kick)      # the kick is not what it is waiting for
                        guest.tell(request, payload, fds)
                    found = ring.wait_used(1)
                    self.assertEqual([c for c, _ in found], [waiting])
                    self.assertEqual(guest.command_end(waiting, found[0][1])[0], ERR)
                    self.assert_serves(guest)
                    self.assertTrue(self.filtering(guest), "the settings are lost")
                self.done(guest)

    def test_a_reset_forgets_the_settings(self):
        """RESET_DEVICE, SET_STATUS 0, a new connection; SET_FEATURES when the front-end does not speak of status."""
        def reset_device(guest):
            guest.tell(fe.RESET_DEVICE)

        def status_0(guest):
            guest.tell(fe.SET_STATUS, struct.pack("<Q", 0))

        def new_features(guest):
            for idx in (0, 1, 2, 3, guest.control_idx):
                guest.stop_ring(idx)
            guest.tell(fe.SET_FEATURES, struct.pack("<Q", guest.features))
        for layout, how in itertools.product(LAYOUTS, (reset_device, status_0, new_features, None)):
            with self.subTest(layout=layout, how=how and how.__name__):
                guest = self.controlled(layout=layout) if how is new_features else self.status_guest(layout)
                self.set_filter(guest)
                if how:
                    how(guest)
                    for idx in (0, 1, guest.control_idx):
                        guest.restart_ring(idx)
                    guest.driver_ok()
                else:
                    self.done(guest)
                    guest = self.status_guest(layout)
                self.await_pair(guest, 1)
                self.assertFalse(self.filtering(guest), "a setting outlives the reset")
                self.assert_serves(guest)
                self.done(guest)

    @pytest.mark.long
    def test_disconnect_in_the_middle(self):
        """The connection ends while commands wait, run, or are half made."""
        rng = random.Random(5)
        for round_ in range(60 if not LONG else 2000):
            layout = LAYOUTS[round_ % 2]
            guest = self.controlled(layout=layout, control=256, linked=False)
            n = rng.randrange(1, 60)
            for i in range(n):
                guest.command_send(fe.CTRL_MQ, fe.MQ_VQ_PAIRS_SET, fe.vq_pairs(1 + i % 2), publish=rng.random() < 0.2)
            guest.control.publish()
            if round_ % 3 == 0:
                # Close, and a reset in front of it that is still being read.
                guest.send(fe.GET_VRING_BASE, struct.pack("<II", guest.control_idx, 0))
            if round_ % 5 == 0:
                guest.sock.shutdown(socket.SHUT_RDWR)
            guest.disconnect()
            self.done(guest)
            if round_ % 10 == 0:
                self.victims_ok(1)
        guest = self.controlled()
        self.assert_serves(guest)

    COMMANDS = [(fe.CTRL_RX, fe.RX_ALLMULTI, b"\1"), (fe.CTRL_RX, fe.RX_ALLMULTI, b"\0"),
                (fe.CTRL_MAC, fe.MAC_TABLE_SET, fe.mac_tables([mac(i) for i in range(8)])),
                (fe.CTRL_MQ, fe.MQ_RSS_CONFIG, fe.rss_config([0, 1] * 8, max_tx_vq=2)),
                (fe.CTRL_MQ, fe.MQ_VQ_PAIRS_SET, fe.vq_pairs(2)), (99, 0, b"")]

    def assert_pinged(self, report, n):
        self.assertEqual((report["n"], report["odd"]), (n, 0), report)
        self.assertEqual(report["ok"] + report["err"], n, report)
        n_bad = sum(cls == 99 for cls, _, _ in self.COMMANDS)
        whole = n // len(self.COMMANDS)
        self.assertLessEqual(abs(report["err"] - whole * n_bad), n_bad, f"commands were refused: {report}")

    @pytest.mark.long
    def test_memory_table_changes_while_commands_run(self):
        """SET_MEM_TABLE, SET_VRING_*, traffic, all while command follows command: each is answered."""
        for layout in LAYOUTS:
            with self.subTest(layout=layout):
                guest = self.controlled(layout=layout)
                guest.restart_ring(guest.control_idx)
                n = 3000
                ping = ControlPing(guest, self.COMMANDS, n, depth=4, pause_us=100)
                rounds = 0
                spare = os.eventfd(0, os.EFD_NONBLOCK)
                try:
                    while ping.running():
                        guest.tell(fe.SET_MEM_TABLE, guest.mem.table(), guest.mem.fds())
                        idx = guest.control_idx
                        guest.tell(fe.SET_VRING_CALL, struct.pack("<Q", idx), (spare,))
                        guest.enable(idx, 0)
                        guest.enable(idx, 1)
                        guest.tell(fe.SET_VRING_KICK, struct.pack("<Q", idx), (guest.control.kick,))
                        guest.tell(fe.SET_VRING_CALL, struct.pack("<Q", idx), (guest.control.call,))
                        if rounds % 10 == 0:
                            self.good_traffic(guest, 0, 1)
                            self.victims_ok(1)
                        rounds += 1
                    self.assert_pinged(ping.report(), n)
                finally:
                    os.close(spare)
                    ping.popen.kill()
                self.assertGreater(rounds, 5)
                guest.restart_ring(guest.control_idx)
                self.assert_serves(guest)
                self.done(guest)

    def test_without_a_kick_descriptor(self):
        """Bit 8 of SET_VRING_KICK: no descriptor comes, the device looks by itself, soon."""
        for layout in LAYOUTS:
            with self.subTest(layout=layout):
                guest = self.controlled(layout=layout)
                idx = guest.control_idx
                guest.stop_ring(idx)
                guest.control.reset()
                for name, request, payload, fds in guest.ring_messages(idx):
                    if name == "KICK":
                        payload, fds = struct.pack("<Q", idx | fe.NOFD), ()
                    guest.tell(request, payload, fds)
                times = []
                for _ in range(100):
                    self.ask(guest, 99, 0, expect=ERR)
                    times.append(guest.latency)
                    time.sleep(0.001)
                self.assertLess(max(times), seconds(5))
                # And back to a descriptor, while it runs.
                guest.tell(fe.SET_VRING_KICK, struct.pack("<Q", idx), (guest.control.kick,))
                self.assert_serves(guest)
                self.done(guest)

    def test_V32_hostile_kick_descriptors(self):
        """V32: the front-end makes its kick descriptor block, reads its kicks itself, fills the counter: it may have to
        wait for its answers, nobody else does, and an honest kick brings all of them."""
        for layout in LAYOUTS:
            with self.subTest(layout=layout):
                guest = self.controlled(layout=layout, control=256)
                ring = guest.control

                def read_back():
                    os.set_blocking(ring.kick, False)
                    try:
                        os.eventfd_read(ring.kick)
                    except BlockingIOError:
                        pass
                    os.set_blocking(ring.kick, True)

                def all_come(sent):
                    found = []
                    deadline = time.monotonic() + seconds(2)
                    while len(found) < len(sent) and time.monotonic() < deadline:
                        found += ring.poll()
                    self.assertEqual([c for c, _ in found], sent)
                    for c, used in found:
                        self.assertEqual(guest.command_end(c, used)[0], ERR)
                for i in range(200):
                    read_back()
                    sent = [guest.command_send(99, i) for _ in range(3)]
                    # What the device is woken by is gone when it looks.
                    read_back()
                    if i % 20 == 0:
                        self.victims_ok(1)
                        self.assertTrue(guest.alive())
                    ring.kick_now()
                    all_come(sent)
                read_back()
                os.set_blocking(ring.kick, False)
                os.eventfd_write(ring.kick, (1 << 64) - 2)
                time.sleep(seconds(0.01))
                sent = [guest.command_send(99, i) for i in range(20)]   # these kicks have no room in the counter
                os.set_blocking(ring.kick, True)
                time.sleep(seconds(0.02))
                self.victims_ok(1)
                self.good_traffic(guest, 0, 1)
                read_back()
                ring.kick_now()
                all_come(sent)
                self.assert_serves(guest)
                self.done(guest)

    def test_V32_full_call_descriptor(self):
        """V32: the call descriptor has no room for a notification: it is left out."""
        for layout in LAYOUTS:
            with self.subTest(layout=layout):
                guest = self.controlled(layout=layout)
                guest.control.called()
                os.eventfd_write(guest.control.call, (1 << 64) - 2)
                for _ in range(20):
                    self.assert_serves(guest)
                self.victims_ok(1)
                self.done(guest)

    def test_control_queue_of_one_pair_of_several(self):
        """Neither MQ nor RSS, on a port with two pairs: the control queue is queue 2, pair 1 does not exist."""
        features = CONTROL_FEATURES & ~bits(fe.F_MQ, fe.F_RSS)
        for layout in LAYOUTS:
            with self.subTest(layout=layout):
                guest = self.controlled(layout=layout, queues=1, features=features)
                self.assertEqual(guest.control_idx, 2)
                self.assert_serves(guest)
                self.ask(guest, fe.CTRL_RX, fe.RX_ALLMULTI, b"\1")
                self.ask(guest, fe.CTRL_MQ, fe.MQ_VQ_PAIRS_SET, fe.vq_pairs(2), expect=ERR)
                # Frames for a second pair come on the first.
                for k in range(4):
                    frame = frame_of(70 + k, 100)
                    self.peer.send_frame(frame, k % 2)
                    self.assertEqual(guest.receive_frame(0), frame)
                self.done(guest)

    def test_queues_that_do_not_exist_without_mq(self):
        """All five queues set up although there are three: nobody is harmed; then the same connection with MQ."""
        few = CONTROL_FEATURES & ~bits(fe.F_MQ, fe.F_RSS)
        for layout in LAYOUTS:
            with self.subTest(layout=layout):
                guest = self.raw(layout=layout, control=64,
                                 features=few | (bits(fe.F_PACKED) if layout == "packed" else 0))
                guest.negotiate()
                guest.set_memory()
                guest.make_rings()
                self.assertEqual(guest.control_idx, 2)
                for idx in (0, 1, 2, 3):
                    guest.start_ring(idx)
                # Queue 4: a ring of pair 1.
                guest.control_idx = 4
                third = guest.control
                guest.control = guest.pairs[1].rx
                guest.start_ring(4)
                guest.control, guest.control_idx = third, 2
                guest.post_rx(0)
                guest.post_rx(1)
                self.await_pair(guest, 1)
                self.assert_serves(guest)
                for k in range(16):
                    self.peer.send_frame(frame_of(k, 100), k % 2)
                    self.assertEqual(guest.receive_frame(0), frame_of(k, 100))
                self.assertIsNone(guest.try_receive(1))
                for idx in range(5):
                    guest.stop_ring(idx)
                # A driver with MQ: queue 2 is receiveq 1 now, the control queue has moved.
                guest.features |= bits(fe.F_MQ)
                guest.tell(fe.SET_FEATURES, struct.pack("<Q", guest.features))
                guest.control_idx = guest.find_control()
                self.assertEqual(guest.control_idx, 4)
                for idx in range(5):
                    guest.restart_ring(idx)
                self.await_pair(guest, 1)
                self.assert_serves(guest)
                self.ask(guest, fe.CTRL_MQ, fe.MQ_VQ_PAIRS_SET, fe.vq_pairs(2))
                self.await_pair(guest)
                self.assert_serves(guest)
                self.done(guest)

    def test_front_end_that_keeps_the_queue(self):
        """CTRL_VQ and all the rest acknowledged, but the control queue never starts: nothing is kept from the guest."""
        for layout in LAYOUTS:
            with self.subTest(layout=layout):
                guest = self.raw(layout=layout, features=EVERYTHING & ~bits(fe.F_HASH_REPORT)
                                 | (bits(fe.F_PACKED) if layout == "packed" else 0))
                guest.start()
                self.await_pair(guest)
                self.good_traffic(guest, 0)
                self.good_traffic(guest, 1)
                tagged = frame_of(3, 100)
                tagged = tagged[:12] + b"\x81\0\0\7" + tagged[12:]
                self.peer.send_frame(tagged)
                self.assertEqual(guest.receive_frame(0), tagged, "a VLAN that nobody told us about")
                self.done(guest)


class Storm(ControlCase):
    """X05: as many commands and kicks as a guest can send."""

    N = 1_000_000 if LONG else 20_000

    def measure(self, n):
        times = []
        for _ in range(n):
            times += self.victims_ok(1)
        return times

    def ask_others(self):
        """What else the control thread does; how long it takes."""
        began = time.monotonic()
        self.vn.rpc("system.info")
        self.peer.ask_u64(fe.GET_FEATURES)
        return time.monotonic() - began

    def storm(self, layout, depth):
        guest = self.controlled(layout=layout, control=256)
        calm, asked_calm = self.measure(100), [self.ask_others() for _ in range(21)]
        guest.restart_ring(guest.control_idx)
        ping = ControlPing(guest, Life.COMMANDS, self.N, depth=depth)
        now, asked = [], []
        try:
            while ping.running():
                now += self.measure(10)
                asked.append(self.ask_others())
            Life.assert_pinged(self, ping.report(), self.N)
        finally:
            ping.popen.kill()
        report = {"victims calm": median(calm), "victims": median(now), "victims 99 %": quantile(now, 0.99),
                  "others on the control thread": median(asked), "worst": max(asked)}
        print(f"{layout}, {depth} at once: " + ", ".join(f"{k} {v * 1e6:.0f} us" for k, v in report.items()))
        self.assertLess(median(now), 3 * median(calm) + seconds(0.001), "the victims notice")
        self.assertLess(quantile(now, 0.9), 3 * quantile(calm, 0.9) + seconds(0.03), "the victims notice")
        self.assertLess(median(asked), 20 * median(asked_calm) + seconds(0.03), "the control thread has no time for others")
        self.assertLess(max(asked), seconds(5), "the control thread has no time for others")
        guest.restart_ring(guest.control_idx)
        self.assert_serves(guest)
        self.done(guest)

    COMMANDS = Life.COMMANDS

    @pytest.mark.long
    def test_X05_commands(self):
        """X05: command after command, and whole rings of them at once; the victims don't notice, others are served."""
        for layout, depth in (("split", 1), ("packed", 100)) if not LONG else itertools.product(LAYOUTS, (1, 100)):
            with self.subTest(layout=layout, depth=depth):
                self.storm(layout, depth)

    def test_X05_kicks_without_commands(self):
        """X05: kicks with nothing in the ring, and toggled enable bits."""
        guest = self.controlled()
        calm = self.measure(50)
        now = []
        for _ in range(40):
            for _ in range(500 if not LONG else 25_000):
                guest.control.kick_now()
            guest.enable(guest.control_idx, 0)
            guest.enable(guest.control_idx, 1)
            now += self.measure(2)
        self.assertLess(median(now), 3 * median(calm) + seconds(0.001), "the victims notice")
        self.assert_serves(guest)

    def test_X05_refusals_do_not_flood_the_log(self):
        guest = self.controlled()
        mark = self.vn.mark()
        for _ in range(2000):
            guest.command(99, 0)
        time.sleep(seconds(0.05))
        self.assertLess(self.vn.mark() - mark, 30, "a line for every refusal")


class BlockingCall(unittest.TestCase):
    """V32: a front-end makes its call descriptor block, whatever the device has made of it (they share the
    open file), and fills it. Who notifies must not wait: not the control thread, not a worker."""

    def stage(self, **options):
        vn = vnictest.Vnicd({"a0": "vhost-user,queues=2", "a1": "vhost-user,queues=2", "v0": "vhost-user",
                             "v1": "vhost-user"}, "io")
        self.addCleanup(vn.kill9)
        victims = invariants.Victims(vn.sock("v0"), vn.sock("v1"))
        self.addCleanup(victims.close)
        peer = fe.RawFrontend(vn.sock("a1"), queues=2).start()
        self.addCleanup(peer.close)
        guest = fe.RawFrontend(vn.sock("a0"), queues=2, **options).start()
        self.addCleanup(guest.close)
        return vn, victims, peer, guest

    def block(self, ring):
        ring.called()
        os.eventfd_write(ring.call, (1 << 64) - 2)
        os.set_blocking(ring.call, True)
        # The cleanups want a back-end that answers.
        self.addCleanup(lambda: (os.set_blocking(ring.call, False), ring.called()))

    def test_V32_control_thread(self):
        vn, _, peer, guest = self.stage(control=64, features=CONTROL_FEATURES)
        self.block(guest.control)
        guest.command(99, 0)
        self.assertTrue(peer.alive(), "the control thread waits for a guest")
        guest.command(99, 0)

    def test_V32_worker(self):
        vn, victims, peer, guest = self.stage()
        deadline = time.monotonic() + seconds(5)
        while time.monotonic() < deadline:
            peer.send_frame(frame_of(1))
            try:
                guest.receive_frame(timeout=0.1)
                break
            except Silent:
                pass
        self.block(guest.pairs[0].rx)
        peer.send_frame(frame_of(2), wait=False)
        time.sleep(seconds(0.05))
        victims.check(2)


if __name__ == "__main__":
    invariants.main()

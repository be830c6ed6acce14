#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Front-ends that map all they can: what they get is bounded, and others still get theirs."""
import os
import struct

import invariants
from invariants import HostileCase, RawFrontend, bits
import rawfe as fe

GIB = 1 << 30
FILE_SIZE = 1 << 47


class Budget(HostileCase):
    def setUp(self):
        super().setUp()
        self.file = os.memfd_create("rawfe", os.MFD_CLOEXEC)
        os.ftruncate(self.file, FILE_SIZE)
        self.ports = []

    def tearDown(self):
        try:
            for name in self.ports:
                self.vn.rpc("port.remove", {"name": name})
            super().tearDown()
        finally:
            os.close(self.file)

    def add_port(self, name, keys=""):
        self.vn.rpc("port.add", {"config": f"{name}=vhost-user{keys}"})
        self.ports.append(name)
        return self.vn.sock(name)

    def front_end(self, path, **options):
        guest = RawFrontend(path, **options)
        self.guests.append(guest)
        return guest

    def region(self, size, offset=0):
        """The next one, at addresses that no other has."""
        self.n_regions = getattr(self, "n_regions", 0) + 1
        return struct.pack("<QQQQ", self.n_regions << 47, size, self.n_regions << 47 | 1 << 12, offset)

    def add(self, guest, region):
        """Is it taken?"""
        return guest.ack(fe.ADD_MEM_REG, bytes(8) + region, (self.file,)) == 0

    def take_all(self, guest):
        """Regions from the largest size there is to a page, each until no more are taken; bytes and regions."""
        total = n = 0
        size = 1 << 46
        while size >= 4096:
            if self.add(guest, self.region(size)):
                total += size
                n += 1
            else:
                size //= 2
        return total, n

    def newcomers(self):
        """Two guests come, and their frames pass."""
        ends = [self.front_end(self.add_port(name), layout=layout, protocol=bits(fe.P_MQ, fe.P_REPLY_ACK))
                for name, layout in (("n0", "split"), ("n1", "packed"))]
        for end in ends:
            end.start()
        invariants.Victims.await_link(_Pair(ends))
        for end in ends:
            self.done(end)

    def test_two_take_all_they_can(self):
        """Two front-ends map as much as they are let; two guests come after them and forward."""
        hostile = [self.front_end(self.add_port(name)) for name in ("b0", "b1")]
        mark = self.vn.mark()
        for guest in hostile:
            guest.negotiate()
            total, n = self.take_all(guest)
            self.assertLessEqual(total, 1024 * GIB, "bytes that one front-end has mapped")
            self.assertGreaterEqual(total, 1023 * GIB, "and what it may have, it gets")
            self.assertLessEqual(n, guest.ask_u64(fe.GET_MAX_MEM_SLOTS))
            self.victims_ok()
        self.vn.expect(r"port b0: ADD_MEM_REG .* refused: .*\d+ GiB.* 1024.*memory=", since=mark)
        self.newcomers()
        # Who is at the limit can still replace what it has.
        table = struct.pack("<II", 1, 0) + self.region(1024 * GIB)
        for _ in range(3):
            hostile[0].tell(fe.SET_MEM_TABLE, table, (self.file,))
        more = struct.pack("<II", 1, 0) + self.region(1024 * GIB + 4096)
        self.assertNotEqual(hostile[0].ack(fe.SET_MEM_TABLE, more, (self.file,)), 0)
        self.victims_ok()
        for guest in hostile:
            self.done(guest)

    def test_slots_that_are_promised(self):
        """As many regions as GET_MAX_MEM_SLOTS answers are taken, of each front-end, and not one more."""
        hostile = [self.front_end(self.add_port(name)) for name in ("b0", "b1")]
        for guest in hostile:
            guest.negotiate()
            for _ in range(guest.ask_u64(fe.GET_MAX_MEM_SLOTS)):
                last = self.region(4096)
                self.assertTrue(self.add(guest, last))
            self.assertFalse(self.add(guest, self.region(4096)))
            # Named once more, as QEMU does for each queue pair, it is no region more.
            self.assertTrue(self.add(guest, last))
            self.victims_ok(1)
        self.newcomers()
        for guest in hostile:
            self.done(guest)

    def test_memory_of_a_port(self):
        """memory= is the limit for regions; new tables and logs replace old ones. A guest that has all of it can be
        migrated: the dirty log has a limit of its own."""
        guest = self.front_end(self.add_port("b0", ",memory=2"))
        guest.negotiate()
        log = struct.pack("<QQ", 4 * GIB, 0)
        table = struct.pack("<II", 1, 0) + self.region(2 * GIB)
        for _ in range(2):
            guest.tell(fe.SET_MEM_TABLE, table, (self.file,))
            guest.ask(fe.SET_LOG_BASE, log, (self.file,))
        self.assertFalse(self.add(guest, self.region(4096, 4096)))
        self.assertIn(self.refusal(guest, fe.SET_LOG_BASE, struct.pack("<QQ", 4 * GIB + 4096, 0), (self.file,),
                                   need_reply=False), ("closed", "nack"))
        self.done(guest)
        self.victims_ok(1)


class _Pair:
    """What Victims.await_link() looks at."""

    def __init__(self, ends):
        self.ends = ends


if __name__ == "__main__":
    invariants.main()

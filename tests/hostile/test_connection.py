#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Hostile connections: half messages, unread replies, floods; the victims do not notice."""
import os
import resource
import socket
import struct
import time

import pytest

import invariants
from invariants import Closed, HostileCase, LONG, RawFrontend, Silent, Timing, quantile, seconds
import rawfe as fe


@pytest.mark.long_sanitized     # it waits, mostly
class Stalls(HostileCase):
    """X02."""

    def measure(self, n=150):
        """Times of n exchanges between the victims."""
        return self.victims_ok(n)

    def assert_latency(self, calm, now, what):
        # The victims' own processor may be shared: the second allows for a few time slices of somebody else.
        for q, name, noise in ((0.5, "median", 0.001), (0.9, "90 %", 0.03)):
            limit = 3 * quantile(calm, q) + seconds(noise)
            self.assertLess(quantile(now, q), limit, f"{what}: victims' {name} latency was {quantile(calm, q):.6f} s")

    @pytest.mark.long
    def test_X02_half_a_message_then_silence(self):
        """X02: the connection is closed about a second after a message began and did not end."""
        calm = self.measure()
        header = struct.pack("<III", fe.SET_MEM_TABLE, 1, 8 + 32)
        for what, data in (("1 byte", header[:1]), ("11 bytes", header[:11]), ("a header", header),
                           ("all but one byte", header + bytes(39))):
            with self.subTest(what):
                guest = self.raw()
                guest.send_bytes(data)
                began = time.monotonic()
                now = self.measure(50)
                measured = time.monotonic() - began
                guest.wait_closed(4)
                took = time.monotonic() - began
                self.assertGreater(took, 0.5, "closed too early for a slow front-end")
                self.assertLess(took, max(seconds(2.5), measured + 0.5), "closed too late")
                self.assert_latency(calm, now, what)
                self.done(guest)
                self.victims_ok(2)

    def test_X02_a_byte_at_a_time(self):
        """X02: a message that drips in byte by byte does not keep its deadline off; a fast enough one is served."""
        message = struct.pack("<III", fe.GET_FEATURES, 1, 0)
        guest = self.raw()
        for i in range(12):
            guest.send_bytes(message[i:i + 1])
            time.sleep(0.01)
        self.assertEqual(len(guest.reply(fe.GET_FEATURES)), 8)
        long = struct.pack("<III", fe.SET_MEM_TABLE, 1, 8 + 32 * 8) + bytes(8 + 32 * 8)
        began = time.monotonic()
        try:
            for i in range(len(long)):
                guest.send_bytes(long[i:i + 1])
                time.sleep(0.03)
        except Closed:
            pass
        took = time.monotonic() - began
        self.assertLess(took, 6, "one byte a time keeps it open for ever")  # all of it takes eight
        self.victims_ok(2)

    @pytest.mark.long
    def test_X02_many_whole_messages_without_a_pause(self):
        """X02: a front-end that is never silent and never late is not cut off by the deadline of a message."""
        guest = self.running()
        # Each of these takes vnicd longer than us, so that there is always a next one waiting.
        message = struct.pack("<III", fe.SET_MEM_TABLE, 1, len(guest.mem.table())) + guest.mem.table()
        until = time.monotonic() + 3
        while time.monotonic() < until:
            guest.send_bytes(message, guest.mem.fds())
        self.assertEqual(guest.ask_u64(fe.GET_FEATURES, timeout=10), guest.offered)
        self.good_traffic(guest, 1)

    @pytest.mark.long
    def test_X02_unread_replies(self):
        """X02: requests whose replies are never read: bounded memory, closed after a deadline, nobody waits."""
        calm = self.measure()
        guest = self.raw()
        rss = self.vnicd_rss()
        message = struct.pack("<III", fe.GET_FEATURES, 1, 0) * 1000
        guest.sock.setblocking(False)
        guest.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sent = 0
        began = time.monotonic()
        closed = False
        while time.monotonic() - began < seconds(5) and not closed:
            try:
                sent += guest.sock.send(message, socket.MSG_NOSIGNAL)
            except BlockingIOError:
                self.victims_ok(1)
            except (BrokenPipeError, ConnectionResetError):
                closed = True
        self.assertTrue(closed, f"still open after {sent} bytes of requests")
        self.assertLess(self.vnicd_rss() - rss, 16384 if invariants.SANITIZED else 2048, "kB of unread replies")
        guest.disconnect()
        self.assert_latency(calm, self.measure(50), "after")
        self.victims_ok(4)

    def test_X02_silent_but_complete(self):
        """X02: a front-end with nothing to say is not disturbed."""
        guest = self.running()
        time.sleep(2.5)
        self.good_traffic(guest)
        self.assertTrue(guest.alive())

    def test_X02_half_message_of_a_running_guest(self):
        """X02: a guest whose front-end hangs in a message goes on forwarding until it is closed."""
        guest = self.running()
        guest.send_bytes(struct.pack("<III", fe.SET_VRING_NUM, 1, 8) + bytes(3))
        self.good_traffic(guest, 0, 10)
        guest.wait_closed(4)
        self.victims_ok(2)


class Flood(HostileCase):
    """X03."""

    def flood(self, n):
        held = []
        for _ in range(n):
            s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            s.setblocking(False)
            try:
                s.connect(self.a0)
            except (BlockingIOError, ConnectionRefusedError):
                s.close()
                continue
            held.append(s)
            try:
                s.send(struct.pack("<III", fe.GET_FEATURES, 1, 0))
            except OSError:
                pass
        return held

    def test_X03_two_hundred_connections(self):
        """X03: 200 connections at once to one socket, held open: one is served, descriptors stay few, victims connect."""
        base = self.vnicd_fds()
        for _ in range(3 if LONG else 1):
            deadline = time.monotonic() + seconds(3)
            held = self.flood(200)
            while not held and time.monotonic() < deadline:
                time.sleep(0.01)        # the queue of connections is still full of those just closed
                held = self.flood(200)
            self.assertGreater(len(held), 0)
            self.victims_ok(10)
            time.sleep(seconds(0.3))
            self.assertLessEqual(self.vnicd_fds() - base, 5, "descriptors of connections that are not served")
            self.victims_ok(10)
            cpu = self.control_cpu()
            time.sleep(seconds(0.3))
            self.assertLess(self.control_cpu() - cpu, 0.2 * Timing.scale, "the control thread spins")
            for s in held:
                s.close()
            self.victims_ok(4)
        self.good_traffic(self.running())

    def test_X03_second_connection(self):
        """X03: a second front-end on a socket in use does not disturb the first."""
        guest = self.running()
        second = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        second.settimeout(1)
        second.connect(self.a0)
        try:
            second.send(struct.pack("<III", fe.GET_FEATURES, 1, 0))
            data = second.recv(100)
        except (TimeoutError, ConnectionResetError, BrokenPipeError):
            data = b""
        self.assertEqual(data, b"", "the second connection is served as well")
        self.good_traffic(guest, 0)
        self.good_traffic(guest, 1)
        second.close()
        self.good_traffic(guest, 0)
        self.assertTrue(guest.alive())

    def test_X03_connect_and_close(self):
        """X03: connections that come and go as fast as they can."""
        for _ in range(500):
            s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                s.connect(self.a0)
            except (BlockingIOError, ConnectionRefusedError):
                pass
            s.close()
        self.victims_ok(10)
        self.good_traffic(self.running())

    def control_cpu(self):
        with open(f"/proc/{self.vn.pid}/task/{self.vn.pid}/stat") as f:
            fields = f.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class NoFdsLeft(HostileCase):
    """X03: with hardly any descriptors."""

    def limit(self, n):
        resource.prlimit(self.vn.pid, resource.RLIMIT_NOFILE, (n, 65536 if n > 4096 else 4096))

    def tearDown(self):
        self.limit(1024)
        super().tearDown()

    def test_X03_out_of_descriptors(self):
        """X03: EMFILE on accept and on received descriptors: no spinning, served again when there are some."""
        guest = self.running()
        soft = self.highest_fd() + 1
        self.limit(soft)        # not one more
        held = []
        for _ in range(50):
            s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            s.setblocking(False)
            try:
                s.connect(self.a0)
                held.append(s)
            except OSError:
                s.close()
        cpu = Flood.control_cpu(self)
        time.sleep(seconds(0.5))
        self.assertLess(Flood.control_cpu(self) - cpu, 0.25 * Timing.scale, "the control thread spins")
        self.victims_ok(10)
        self.good_traffic(guest)
        # Descriptors that the kernel can't install: the message is refused, or the connection ends; the process stays.
        try:
            guest.ack(fe.SET_VRING_CALL, struct.pack("<Q", 0), (guest.ring(0).call,))
        except (Closed, Silent):
            pass
        self.victims_ok(4)
        for s in held:
            s.close()
        self.done(guest)
        self.victims_ok(4)
        self.limit(1024)
        time.sleep(seconds(0.3))
        self.good_traffic(self.running())

    def test_X03_victim_connects_while_none_are_left(self):
        """X03: a flood on one socket that uses up all descriptors there are: another port still takes its guest."""
        self.victims.ends[0].disconnect()
        time.sleep(seconds(0.2))
        self.limit(self.highest_fd() + 12)      # enough for one guest with two rings
        held = Flood.flood(self, 300)
        time.sleep(seconds(0.3))
        end = RawFrontend(self.vn.sock("v0"), layout="split", size=128, mem=None)
        try:
            end.start()
            old = self.victims.ends[0]
            self.victims.ends[0] = end
            old.close()
            self.victims.ends[1].drain(0.01)
            self.victims.await_link()
            self.victims_ok(10)
        finally:
            for s in held:
                s.close()
            self.limit(1024)

    def highest_fd(self):
        return max(int(n) for n in os.listdir(f"/proc/{self.vn.pid}/fd"))


if __name__ == "__main__":
    invariants.main()

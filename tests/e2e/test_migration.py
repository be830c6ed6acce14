# SPDX-License-Identifier: BSD-3-Clause
"""A QEMU guest that is paused, saved, and moved from one vnicd to another and back, while it talks to a host on the wire.

Both layouts, two queue pairs. After each step: frames pass both ways on both pairs, the guest has not rebooted, a file
in its memory is what it was. After each migration all of the guest's memory is compared between source and destination
before the destination runs: what vnicd wrote and did not log would differ."""
import copy
import json
import mmap
import os
import pathlib
import select
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
import unittest

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "guests"), str(HERE.parent / "hostile"), str(HERE)]
import guests  # noqa: E402
import rawfe  # noqa: E402
import vnictest  # noqa: E402
import wire  # noqa: E402
from qmp import Qmp  # noqa: E402

HOST_MAC, HOST_IP = "02:00:00:00:00:99", "10.0.0.99"
GUEST_MAC, GUEST_IP = "02:00:00:00:00:01", "10.0.0.1"
N_PAIRS = 2
N_FRAMES = 5            # each way and on each pair, that show that a step went well
PATIENCE_S = 30         # until they have passed
PAUSES = 10 if vnictest.LONG else 3
CANCELLED = 2 if vnictest.LONG else 1
HOPS = 50 if vnictest.LONG else 2
PAGE = 4096


class MovableGuest(guests.QemuGuest):
    """A guest that is one QEMU process after the other; each has a machine protocol socket."""

    def _start(self, args, env=None, netns=None):
        self._plain = list(args)
        self._extra = getattr(self, "_extra", [])
        self.qmp_path = os.path.join(self.dir, "qmp")
        self._qmp = None
        super()._start(self._plain + ["-qmp", f"unix:{self.qmp_path},server=on,wait=off"] + self._extra, env, netns)

    @property
    def qmp(self):
        if not self._qmp:
            self._qmp = Qmp(self.qmp_path)
        return self._qmp

    def twin(self, sock):
        """The other side of a migration: the same machine, its device on another socket; it waits for `uri`, and for
        `cont` when it has arrived."""
        other = copy.copy(self)
        other.name = f"{self.name.split('>')[0]}>{pathlib.Path(sock).parent.name}"
        other.dir = vnictest.tmpdir("vnicd-guest-")
        other._logfile = os.path.join(other.dir, "console.log")
        other.uri = f"unix:{other.dir}/in"
        other._extra = ["-S", "-incoming", other.uri]
        other._start([f"socket,id=c0,path={sock}" if str(a).startswith("socket,id=c0,path=") else a
                      for a in self._plain], self._start_env)
        return other

    def memory(self):
        """The guest's memory, as a read-only mapping."""
        for fd in os.listdir(f"/proc/{self.proc.pid}/fd"):
            path = f"/proc/{self.proc.pid}/fd/{fd}"
            try:
                if os.readlink(path).startswith("/memfd:memory-backend-memfd"):
                    with open(path, "rb") as file:
                        return mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
            except OSError:
                continue
        raise AssertionError(f"{self.name}: no memfd in /proc/{self.proc.pid}/fd")

    def boot_id(self):
        return self.check("cat /proc/sys/kernel/random/boot_id").strip()

    def end(self):
        if self._qmp:
            self._qmp.close()
            self._qmp = None
        self.kill9()


class Host(threading.Thread):
    """A host on the wire of one vnicd: answers ARP and pings, and pings the guest itself, numbered, on each pair in
    turn, with datagrams to nobody in between. Counts by pair."""

    PERIOD_S = 0.01

    def __init__(self, sock):
        super().__init__(daemon=True)
        self.wire = wire.Wire(sock, queues=N_PAIRS, size=256).start()
        self.asked = [0] * N_PAIRS      # pings from the guest that arrived, by the pair they came on
        self.answered = 0               # pings of ours that the guest answered
        self.strange = []               # answers that are not what was asked
        self.error = None
        self._number = 0
        self._done = threading.Event()
        self.start()

    def run(self):
        due = time.monotonic()
        try:
            while not self._done.is_set():
                for pair, packet in self.wire.poll():
                    self._take(pair, packet)
                if time.monotonic() >= due:
                    due = time.monotonic() + self.PERIOD_S
                    self._ask()
                time.sleep(0.001)
        except Exception as e:
            self.error = e

    def close(self):
        self._done.set()
        self.join()
        self.wire.close()

    def _send(self, packet, pair):
        if not self.wire.pairs[pair].tx_free:
            self.wire.reclaim_tx(pair, timeout=PATIENCE_S)
        self.wire.inject(wire.ethernet(packet, dst=GUEST_MAC, src=HOST_MAC, kind=wire.ETH_IP), pair)

    @staticmethod
    def _pattern(number):
        return struct.pack(">I", number) * (16 + number * 7 % 330)

    def _ask(self):
        self._number += 1
        pair = self._number % N_PAIRS
        self._send(wire.icmp_echo(self._pattern(self._number), src=HOST_IP, dst=GUEST_IP, ident=7,
                                  seq=self._number & 0xffff), pair)
        # A flow that the guest never sends: it stays on the pair that it came on.
        self._send(wire.udp(self._pattern(self._number), src=HOST_IP, dst=GUEST_IP, sport=1000 + pair, dport=9), pair)

    def _take(self, pair, packet):
        if packet.kind == wire.ETH_ARP and packet.frame[packet.l3 + 7] == wire.ARP_REQUEST \
                and packet.frame[packet.l3 + 24:packet.l3 + 28] == wire.ip_bytes(HOST_IP):
            self.wire.inject(wire.arp_reply(mac=HOST_MAC, ip_addr=HOST_IP, to_mac=packet.src, to_ip=GUEST_IP), pair)
        elif packet.proto == wire.ICMP and packet.ip_dst == HOST_IP:
            if not packet.checksum_is_whole():
                self.strange.append(packet.frame.hex())
            elif packet.frame[packet.l4] == wire.ICMP_ECHO:
                self.asked[pair] += 1
                ident, seq = struct.unpack_from(">HH", packet.frame, packet.l4 + 4)
                echo = wire.icmp_echo(packet.payload, src=HOST_IP, dst=GUEST_IP, ident=ident, seq=seq)
                # The same as a reply: the type is 0, and the checksum grows by what the type lost.
                head, message = echo[:20], bytearray(echo[20:])
                message[0:4] = struct.pack(">BBH", wire.ICMP_ECHO_REPLY, 0, 0)
                message[2:4] = struct.pack(">H", wire.ones_sum(bytes(message)) ^ 0xffff)
                self._send(head + bytes(message), pair)
            elif packet.frame[packet.l4] == wire.ICMP_ECHO_REPLY:
                number, = struct.unpack_from(">I", packet.payload)
                if packet.payload != self._pattern(number):
                    self.strange.append(packet.frame.hex())
                self.answered += 1


class Moves(guests.GuestTest):
    """The cases of one layout, in alphabetical order, with one guest, booted again after a failure."""

    KIND = MovableGuest
    VARIANT = None      # of QemuGuest.VARIANTS

    guest_now = None    # it is up, and the last case left it well
    at_now = 0          # at which vnicd
    well = False

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.vnicds, cls.hosts = [], []

    @classmethod
    def tearDownClass(cls):
        if cls.guest_now:
            cls.guest_now.end()
        for host in cls.hosts:
            host.close()
        for vnicd in cls.vnicds:
            if vnicd.stop() != 0:
                raise AssertionError(f"vnicd did not end well:\n{vnicd.output}")

    def vnicd(self, n):
        """The n-th vnicd, with its host on the wire; the first one is where the guest boots."""
        while len(self.vnicds) <= n:
            vnicd = vnictest.Vnicd({"vm0": f"vhost-user,queues={N_PAIRS}", "wire": f"vhost-user,queues={N_PAIRS}"},
                                   "io")
            self.vnicds.append(vnicd)
            self.hosts.append(Host(vnicd.sock("wire")))
        return self.vnicds[n]

    def setUp(self):
        cls = type(self)
        if cls.guest_now:
            self.moved = cls.guest_now
            cls.guest_now = None
            return
        cls.at_now = 0
        self.moved = MovableGuest(self.vnicd(0).sock("vm0"), GUEST_IP, GUEST_MAC, self.VARIANT, mem=192, smp=N_PAIRS,
                                  queues=N_PAIRS, programs=("ethtool",))
        try:
            self.boot()
        except BaseException:
            self.moved.end()
            raise

    def boot(self):
        cls = type(self)
        self.moved.wait_ready()
        self.assertEqual(self.moved.variant(), self.VARIANT)
        cls.file_sum = self.moved.make_file("kept", 4)
        cls.boot_id = self.moved.boot_id()
        # From each CPU, so from each pair.
        self.moved.check("; ".join(
            f"(setsid taskset {1 << n} ping -i 0.05 -s {100 + 900 * n} {HOST_IP} >/dev/null 2>&1 &)"
            for n in range(N_PAIRS)))
        self.report(f"{self.moved.name}: up in {self.moved.boot_seconds:.0f} s")
        self.check("booted")

    def tearDown(self):
        if self.well:
            type(self).guest_now = self.moved
        else:
            print(self.moved.proc.output[-3000:], *(v.output for v in self.vnicds), sep="\n")
            self.moved.end()

    def check(self, step):
        """Frames pass both ways on both pairs from now on."""
        host = self.hosts[self.at_now]
        before = self.moved.driver_counters()
        asked, answered, start = list(host.asked), host.answered, time.monotonic()

        def passed():
            return host.answered - answered >= N_FRAMES and all(
                host.asked[n] - asked[n] >= N_FRAMES for n in range(N_PAIRS))
        while not passed() and not host.error:
            if time.monotonic() - start > PATIENCE_S:
                self.fail(f"{step}: {host.answered - answered} of our pings answered, "
                          f"{[b - a for a, b in zip(asked, host.asked)]} of the guest's arrived in {PATIENCE_S} s; "
                          f"{json.dumps(self.vnicds[self.at_now].stats())}")
            time.sleep(0.01)
        self.assertIsNone(host.error)
        self.assertEqual(host.strange, [])
        after = self.moved.driver_counters()
        for n in range(N_PAIRS):
            for way in "rx", "tx":
                key = f"{way}_queue_{n}_packets"
                self.assertGreater(after[key], before[key], f"{step}: {key}")

    def same_guest(self):
        self.assertEqual(self.moved.boot_id(), self.boot_id, "the guest has rebooted")
        self.assertEqual(self.moved.sha256("kept"), self.file_sum)

    # --- the cases ---

    def test_1_stop_and_cont(self):
        for n in range(PAUSES):
            self.moved.qmp("stop")
            self.moved.qmp("cont")
            self.check(f"pause {n + 1}")
        self.same_guest()
        self.well = True

    def test_2_savevm_and_loadvm(self):
        if not shutil.which("qemu-img"):
            self.skipTest("qemu-img is not installed (Debian package qemu-utils)")
        disk = os.path.join(self.moved.dir, "snapshots.qcow2")
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", disk, "16M"], check=True)
        qmp = self.moved.qmp
        qmp("blockdev-add", driver="qcow2", node_name="snapshots", file={"driver": "file", "filename": disk})
        qmp.hmp("savevm one")
        self.check("savevm")
        self.moved.check("echo later >/srv/later")
        for n in range(2):
            qmp.hmp("loadvm one")
            self.check(f"loadvm {n + 1}")
            self.assertNotEqual(self.moved.run("cat /srv/later")[0], 0, "the snapshot knows what came after it")
            self.same_guest()
        qmp("blockdev-del", node_name="snapshots")
        self.well = True

    def _migrate(self, other, bandwidth):
        self.moved.qmp("migrate-set-parameters", max_bandwidth=bandwidth)
        other.qmp("query-status")   # it listens
        self.moved.qmp("migrate", uri=other.uri)

    def test_3_migration_cancelled(self):
        for n in range(CANCELLED):
            other = self.moved.twin(self.vnicd(1 - self.at_now).sock("vm0"))
            try:
                self._migrate(other, 4 << 20)
                self.moved.qmp.wait("query-migrate", "active", never=("completed", "failed"))
                self.check(f"migration {n + 1} under way")
                self.moved.qmp("migrate_cancel")
                self.moved.qmp.wait("query-migrate", "cancelled", never=("completed", "failed"))
            finally:
                other.end()
            self.check(f"migration {n + 1} cancelled")
        self.same_guest()
        self.hop("after being cancelled")
        self.well = True

    def test_4_there_and_back(self):
        for n in range(HOPS):
            self.hop(f"hop {n + 1}")
        self.well = True

    def hop(self, step):
        """To the other vnicd, while frames pass both ways."""
        cls, start = type(self), time.monotonic()
        there = 1 - self.at_now
        here_host = self.hosts[self.at_now]
        other = self.moved.twin(self.vnicd(there).sock("vm0"))
        try:
            answered, asked = here_host.answered, sum(here_host.asked)
            self._migrate(other, 96 << 20)
            done = self.moved.qmp.wait("query-migrate", "completed", never=("failed", "cancelled"))
            answered, asked = here_host.answered - answered, sum(here_host.asked) - asked
            other.qmp.wait("query-status", "paused", never=("internal-error",))
            self.compare_memory(self.moved, other, step)
            other.qmp("cont")
        except BaseException:
            print(other.proc.output[-2000:])
            other.end()
            raise
        self.moved.end()
        other._number = self.moved._number
        self.moved, cls.at_now = other, there
        self.check(step)
        self.same_guest()
        self.assertGreater(answered, 0, "nothing passed to the guest while it was migrated")
        self.assertGreater(asked, 0, "nothing came from the guest while it was migrated")
        self.report(f"{step}: {done['ram']['transferred'] >> 20} MiB, {done['total-time']} ms, down for "
                    f"{done['downtime']} ms, {answered} and {asked} pings meanwhile; all in "
                    f"{time.monotonic() - start:.1f} s")

    def compare_memory(self, source, sink, step):
        """Both stand still: the destination has not run yet."""
        a, b = source.memory(), sink.memory()
        self.assertEqual(len(a), len(b))
        differ = [at for at in range(0, len(a), 1 << 20) if a[at:at + (1 << 20)] != b[at:at + (1 << 20)]]
        pages = [page for at in differ for page in range(at, at + (1 << 20), PAGE)
                 if a[page:page + PAGE] != b[page:page + PAGE]]
        n_pages = len(a) // PAGE
        a.close(), b.close()
        self.assertEqual([hex(page) for page in pages], [], f"{step}: of {n_pages} pages these differ")


class Split(Moves):
    VARIANT = "modern"

    @pytest.mark.long
    def test_2_savevm_and_loadvm(self):
        super().test_2_savevm_and_loadvm()

    @pytest.mark.long
    def test_1_stop_and_cont(self):
        super().test_1_stop_and_cont()

    @pytest.mark.long
    def test_3_migration_cancelled(self):
        super().test_3_migration_cancelled()


class Packed(Moves):
    VARIANT = "packed"

    @pytest.mark.long
    def test_1_stop_and_cont(self):
        super().test_1_stop_and_cont()

    @pytest.mark.long
    def test_2_savevm_and_loadvm(self):
        super().test_2_savevm_and_loadvm()

    @pytest.mark.long
    def test_3_migration_cancelled(self):
        super().test_3_migration_cancelled()

    @pytest.mark.long
    def test_4_there_and_back(self):
        super().test_4_there_and_back()


del Moves   # not a case of its own


class Positions(unittest.TestCase):
    """The order of QEMU's messages from a raw front-end: what answers GET_VRING_BASE after each end that a driver may
    have, and that the back-end channel outlives all of them but the connection."""

    FRESH = {"split": 0, "packed": 0x80008000}

    @classmethod
    def setUpClass(cls):
        cls.vnicd = vnictest.Vnicd({"vm0": "vhost-user,queues=2"}, "rxonly")

    @classmethod
    def tearDownClass(cls):
        assert cls.vnicd.stop() == 0, cls.vnicd.output

    def front_end(self, layout):
        """It has sent some frames on its second pair. Returns it and our end of its back-end channel."""
        protocol = rawfe.bits(rawfe.P_MQ, rawfe.P_REPLY_ACK, rawfe.P_BACKEND_REQ, rawfe.P_CONFIG, rawfe.P_RESET_DEVICE,
                              rawfe.P_STATUS)
        fe = rawfe.RawFrontend(self.vnicd.sock("vm0"), layout=layout, queues=2, protocol=protocol).start()
        self.addCleanup(fe.close)
        ours, theirs = socket.socketpair()
        self.addCleanup(ours.close)
        fe.tell(rawfe.SET_BACKEND_REQ_FD, fds=(theirs.fileno(),))
        theirs.close()
        for n in range(5):
            fe.send_frame(bytes(60), pair=1)
        return fe, ours

    def is_open(self, channel):
        if not select.select([channel], [], [], 0)[0]:
            return True
        return channel.recv(4096) != b""

    def ends(self):
        yield "SET_STATUS 0", True, lambda fe: fe.tell(rawfe.SET_STATUS, struct.pack("<Q", 0))
        yield "RESET_OWNER", True, lambda fe: fe.tell(rawfe.RESET_OWNER)
        yield "RESET_DEVICE", False, lambda fe: fe.tell(rawfe.RESET_DEVICE)
        yield "SET_PROTOCOL_FEATURES", True, lambda fe: fe.send(
            rawfe.SET_PROTOCOL_FEATURES, struct.pack("<Q", fe.protocol))
        yield "GET_VRING_BASE, SET_FEATURES", True, lambda fe: (
            fe.stop_ring(3), fe.tell(rawfe.SET_FEATURES, struct.pack("<Q", fe.features)))

    def test_position_after_each_end(self):
        for layout in "split", "packed":
            for name, keeps, end in self.ends():
                with self.subTest(f"{name}, {layout}"):
                    fe, channel = self.front_end(layout)
                    where = fe.ring(3).base()
                    self.assertNotEqual(where, self.FRESH[layout])
                    end(fe)
                    self.assertEqual(fe.stop_ring(3), where if keeps else self.FRESH[layout])
                    self.assertEqual(fe.stop_ring(1), self.FRESH[layout], "a ring on which nothing has moved")
                    self.assertTrue(self.is_open(channel))
                    fe.disconnect()
                    self.assertTrue(select.select([channel], [], [], 5)[0])
                    self.assertFalse(self.is_open(channel))

    def test_driver_that_starts_afresh(self):
        """After a reset the ring is a new one at the same place, and no base is named."""
        for layout in "split", "packed":
            for name, _, end in list(self.ends())[:1] + list(self.ends())[2:3]:
                with self.subTest(f"{name}, {layout}"):
                    fe, _ = self.front_end(layout)
                    end(fe)
                    ring, pair = fe.ring(3), fe.pairs[1]
                    ring.reset()
                    pair.tx_free = list(pair.tx_all)
                    fe.tell(rawfe.SET_FEATURES, struct.pack("<Q", fe.features))
                    for message, request, payload, fds in fe.ring_messages(3):
                        if message != "BASE":
                            fe.tell(request, payload, fds)
                    fe.enable(3, 1)
                    fe.driver_ok()
                    for n in range(5):
                        fe.send_frame(bytes(60), pair=1)
                    self.assertEqual(fe.stop_ring(3), ring.base())
                    fe.disconnect()

if __name__ == "__main__":
    unittest.main(verbosity=2)

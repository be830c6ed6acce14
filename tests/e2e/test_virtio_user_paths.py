#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Every receive and transmit path of DPDK's virtio-user driver, in both roles of the socket; then queue pairs and
ring sizes. Frames go from a capture file through one guest port, vnicd and another guest port to a capture file,
and the two files are compared byte for byte."""
import os
import pathlib
import re
import sys
import time
import unittest

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import virtio_user as vu  # noqa: E402  (adds tests/lib to the path)
import pcapfile  # noqa: E402
from vnictest import Vnicd, cpus  # noqa: E402

SMALL = list(range(64, 1519, 4)) + [65, 127, 129, 255, 257, 511, 513, 1023, 1025, 1514, 1515, 1516, 1517, 1518]
# Around the edges of receive buffers of 2048 bytes, and of pages.
LARGE = [1519, 1600, 2035, 2036, 2037, 2047, 2048, 2049, 2060, 2061, 3000, 4083, 4084, 4095, 4096, 4097, 6143, 6144,
         6145, 8191, 8192, 8193, 8999, 9000]
SIZES = SMALL + LARGE * 3 + SMALL[::7]  # large between small ones, so that a bad end of a large one shows
DEFAULT_ROOM = 2048  # payload bytes of testpmd's default mbuf
LARGE_MBUF = 9216 + 128


def drops(ports):
    return {f"{name}.{reason}": n for name, p in ports.items() for reason, n in p["drops"].items() if n}


class Pair(unittest.TestCase):
    """Two guest ports of one vnicd; both guests, the source file and the sink file in one testpmd."""

    def transfer(self, path, sizes, *, mode="io", server=False, rxd=256, txd=128, mbuf_size=None, queue_size=None,
                 mbufs=8192, lost=()):
        """Send frames of these sizes through; `lost`: indices of the frames that cannot arrive."""
        path = vu.PATHS[path]
        if path.needs_avx512 and not vu.has_avx512():
            self.skipTest("the CPU has no AVX512")
        work = vu.workdir()
        sent = vu.frames(sizes)
        source, sink = os.path.join(work, "in.pcap"), os.path.join(work, "out.pcap")
        pcapfile.write(source, sent)
        spec = "vhost-user,mode=client" if server else "vhost-user"
        socks = [os.path.join(work, f"s{i}") for i in (0, 1)]
        backend = Vnicd({f"vm{i}": f"{spec},path={socks[i]}" for i in (0, 1)}, mode)
        self.addCleanup(backend.kill9)
        fe = vu.VirtioUser([vu.pcap_source(0, source),
                            vu.virtio_user(0, socks[0], path, server=server, queue_size=queue_size),
                            vu.virtio_user(1, socks[1], path, server=server, queue_size=queue_size),
                            vu.pcap_sink(1, sink)],
                           rxd=rxd, txd=txd, mbufs=mbufs, mbuf_size=mbuf_size, eal=path.eal,
                           rx_offload=path.rx_offload)
        self.addCleanup(fe.kill9)
        vu.assert_path(self, fe, path, (1, 2), socks)
        self.wait_guests(backend)
        lost = set(lost)
        expected = [f for i, f in enumerate(sent) if i not in lost]
        if mode == "macswap":
            expected = [vu.swapped(f) for f in expected]
        result = vu.forward_file(fe, 0, 2, len(expected), sink)
        ports = backend.stats()
        self.assertEqual(pcapfile.differences(expected, result.received), "",
                         f"{path} {mode}: vnicd's counters: {ports}")
        self.assertEqual(ports["vm0"]["rx_packets"], len(sent), ports)
        self.assertEqual(ports["vm1"]["tx_packets"], len(expected), ports)
        self.assertEqual(ports["vm0"]["rx_bytes"], sum(sizes), ports)
        self.assertEqual(ports["vm1"]["tx_bytes"], sum(len(f) for f in expected), ports)
        self.assertEqual(drops(ports), {"vm1.too_long": len(lost)} if lost else {})
        self.assertEqual(backend.stop(), 0, backend.output[-2000:])

    def wait_guests(self, backend):
        """The last messages of the set-up need no answer: give vnicd the time to read them."""
        time.sleep(0.2)


class DriverPaths(Pair):
    """vnicd listens. Cases test_PATH (every size arrives) and test_PATH_oversize (buffers too small for some)."""


class DriverPathsServer(Pair):
    """The guest listens (server=1), vnicd connects."""


def _add_path_cases():
    for i, path in enumerate(vu.PATHS.values()):
        name = path.name.replace("-", "_")
        mode = "macswap" if i % 4 == 3 else "io"

        def every_size(self, path=path.name, mode=mode, server=False):
            if vu.PATHS[path].mrg:  # a frame takes up to five buffers
                big = not vu.PATHS[path].vectorized
                self.transfer(path, SIZES, mode=mode, server=server, queue_size=1024 if big else None,
                              rxd=1024 if big else 256, txd=128 if big else 32)
            else:
                self.transfer(path, SIZES, mode=mode, server=server, mbuf_size=LARGE_MBUF, mbufs=4096)

        def every_size_server(self, path=path.name):
            every_size(self, path, "io", True)

        def oversize(self, path=path.name):
            self.transfer(path, SIZES, lost=[i for i, size in enumerate(SIZES) if size > DEFAULT_ROOM])

        setattr(DriverPaths, f"test_{name}", every_size)
        # Who makes the socket matters to connections, not to paths: one of each layout in the usual run.
        usual = path.name in ("S-NOM-IO", "P-MRG-IO")
        setattr(DriverPathsServer, f"test_{name}_server",
                every_size_server if usual else pytest.mark.long(every_size_server))
        if not path.mrg:
            usual = path.name in ("S-NOM", "P-NOM")
            setattr(DriverPaths, f"test_{name}_oversize", oversize if usual else pytest.mark.long(oversize))


_add_path_cases()


class RingSizes(Pair):
    """More frames than the ring has entries, several times round."""

    def ring(self, path, size, rounds=3):
        count = max(2000, rounds * size + 17)
        sizes = [64 + (i * 37) % 300 for i in range(count)]
        # A source fills half the ring; the sink has all of its ring posted.
        self.transfer(path, sizes, queue_size=size, rxd=size, txd=max(32, size // 2), mbufs=4 * size + 8192)

    def test_split_256(self):
        self.ring("S-MRG", 256, 20)

    def test_split_1024(self):
        self.ring("S-NOM", 1024)

    @pytest.mark.long
    def test_split_4096(self):
        self.ring("S-MRG-IO", 4096)

    def test_packed_255(self):
        self.ring("P-MRG", 255, 20)

    def test_packed_1025(self):
        self.ring("P-NOM", 1025)

    @pytest.mark.long
    def test_packed_4096(self):
        self.ring("P-MRG-IO", 4096)


class Queues(unittest.TestCase):
    """1 to 8 queue pairs on both sides; queue i of the source arrives on queue i of the sink, in order."""

    PER_QUEUE = 700

    def setUp(self):
        self.work = vu.workdir()

    def eal(self, workers):
        every = cpus()
        lcores = ",".join([f"0@{every[-1]}"] + [f"{1 + w}@{every[w % len(every)]}" for w in range(workers)])
        return ["--lcores", lcores, "--no-pci", "--no-huge", "-m", "256", "--no-shconf", "--no-telemetry",
                "--file-prefix", "vnictest"]

    def start(self, queues, workers, path="S-MRG"):
        self.socks = [os.path.join(self.work, f"s{i}") for i in (0, 1)]
        backend = Vnicd({f"vm{i}": f"vhost-user,queues={queues},path={self.socks[i]}" for i in (0, 1)}, "io",
                        eal=self.eal(workers))
        self.addCleanup(backend.kill9)
        owners = {w for p in backend.rpc("port.list") for w in p["workers"]}
        self.assertEqual(owners, set(range(min(workers, queues))))
        self.sent, self.sources, self.sinks = [], [], []
        for q in range(queues):
            self.sent.append(vu.frames([64 + (i * 41) % 1455 for i in range(self.PER_QUEUE)], seed=q))
            self.sources.append(os.path.join(self.work, f"in{q}.pcap"))
            self.sinks.append(os.path.join(self.work, f"out{q}.pcap"))
            pcapfile.write(self.sources[q], self.sent[q])
        fe = vu.VirtioUser([vu.pcap_source(0, self.sources),
                            vu.virtio_user(0, self.socks[0], path, queues=queues),
                            vu.virtio_user(1, self.socks[1], path, queues=queues),
                            vu.pcap_sink(1, self.sinks)],
                           queues=queues, rxd=256, txd=64, mbufs=4 * 256 * queues + 8192)
        self.addCleanup(fe.kill9)
        vu.assert_path(self, fe, path, (1, 2), self.socks)
        fe.retry_io()
        time.sleep(0.2)
        return backend, fe

    def round(self, fe, queues):
        """One start of forwarding, until the frames of this many queues have arrived."""
        fe.command("clear port stats all")
        fe.start()
        fe.wait_rx(2, queues * self.PER_QUEUE, timeout=20)
        fe.wait_idle(quiet=0.2)
        fe.stop_forwarding()

    def check_files(self, backend, queues):
        for q in range(queues):
            self.assertEqual(pcapfile.differences(self.sent[q], pcapfile.read(self.sinks[q])), "",
                             f"queue {q} of {queues}; vnicd's counters: {backend.stats()}")

    def run_queues(self, queues, workers, path):
        backend, fe = self.start(queues, workers, path)
        self.round(fe, queues)
        xstats = fe.xstats(2)
        for q in range(queues):
            self.assertEqual(xstats[f"rx_q{q}_good_packets"], self.PER_QUEUE, xstats)
        fe.quit()
        self.check_files(backend, queues)
        ports = backend.stats()
        self.assertEqual(ports["vm0"]["rx_packets"], queues * self.PER_QUEUE, ports)
        self.assertEqual(ports["vm1"]["tx_packets"], queues * self.PER_QUEUE, ports)
        self.assertEqual(drops(ports), {})
        self.assertEqual(backend.stop(), 0)

    def handoff(self, path):
        """Four queue pairs of two workers into one queue pair of one of them: half of the frames change worker.
        Those of one source queue stay in order."""
        path = vu.PATHS[path]
        queues, ring = 4, 4096  # the sink has room for all, whenever its process gets to run
        self.assertLess(queues * self.PER_QUEUE, ring)
        socks = [os.path.join(self.work, f"s{i}") for i in (0, 1)]
        backend = Vnicd({"vm0": f"vhost-user,queues={queues},path={socks[0]}",
                         "vm1": f"vhost-user,path={socks[1]}"}, "io", eal=self.eal(2))
        self.addCleanup(backend.kill9)
        owners = [p["workers"] for p in backend.rpc("port.list")]
        self.assertTrue(set(owners[0]) - set(owners[1]), f"nothing to hand over: {owners}")
        sent, sources, sink = [], [], os.path.join(self.work, "out.pcap")
        for q in range(queues):
            sent.append(vu.frames([64 + (i * 41) % 1455 for i in range(self.PER_QUEUE)], seed=q))
            sources.append(os.path.join(self.work, f"in{q}.pcap"))
            pcapfile.write(sources[q], sent[q])
        receiver = vu.VirtioUser([vu.virtio_user(1, socks[1], path, queue_size=ring), vu.pcap_sink(1, sink)],
                                 rxd=ring, txd=256, mbufs=4 * ring)
        self.addCleanup(receiver.kill9)
        sender = vu.VirtioUser([vu.pcap_source(0, sources), vu.virtio_user(0, socks[0], path, queues=queues)],
                               queues=queues, txd=64, mbufs=16384)
        self.addCleanup(sender.kill9)
        vu.assert_path(self, receiver, path, (0,), [socks[1]])
        vu.assert_path(self, sender, path, (1,), [socks[0]])
        sender.retry_io()
        time.sleep(0.2)
        receiver.start()
        sender.start()
        receiver.wait_rx(0, queues * self.PER_QUEUE, timeout=20)
        receiver.wait_idle(0)
        for fe in (sender, receiver):
            fe.stop_forwarding()
            fe.quit()
        received = pcapfile.read(sink)
        self.assertEqual(len(received), queues * self.PER_QUEUE)
        for q in range(queues):
            of_queue = [f for f in received if f[14:16] == q.to_bytes(2, "big")]
            self.assertEqual(pcapfile.differences(sent[q], of_queue), "", f"from queue {q}: {backend.stats()}")
        self.assertEqual(drops(backend.stats()), {})
        self.assertEqual(backend.stop(), 0)

    @pytest.mark.long
    def test_handoff_split(self):
        self.handoff("S-MRG")

    @pytest.mark.long
    def test_handoff_packed(self):
        self.handoff("P-NOM")

    def change_queues(self, path, workers):
        """Frames go round through both guest ports on every queue pair in use, and on no other. Of many flows: one
        flow comes back on one queue, whichever it was last sent on."""
        socks = [os.path.join(self.work, f"s{i}") for i in (0, 1)]
        backend = Vnicd({f"vm{i}": f"vhost-user,queues=4,path={socks[i]}" for i in (0, 1)}, "io",
                        eal=self.eal(workers))
        self.addCleanup(backend.kill9)
        # A capture file's port cannot have more queues after it had fewer, so none is used here.
        fe = vu.VirtioUser([vu.virtio_user(i, socks[i], path, queues=4) for i in (0, 1)], queues=4, mbufs=16384,
                           args=("--txonly-multi-flow",))
        self.addCleanup(fe.kill9)
        vu.assert_path(self, fe, path, (0, 1), socks)
        now = 4
        for queues in (4, 1, 2, 4, 3, 1):
            if queues != now:
                fe.command("port stop all")
                fe.command(f"port config all rxq {queues}")
                fe.command(f"port config all txq {queues}")
                fe.command("port start all")
                now = queues
            self.wait_active(backend, queues)
            fe.start(tx_first=1)
            before = [fe.xstats(port) for port in (0, 1)]
            deadline = time.monotonic() + 20
            while True:
                after = [fe.xstats(port) for port in (0, 1)]
                moved = [sum(after[p][key] > before[p][key]
                             for key in (f"rx_q{q}_good_packets" for q in range(queues))) for p in (0, 1)]
                if moved == [queues, queues]:
                    break
                self.assertLess(time.monotonic(), deadline,
                                f"{queues} queues: only {moved} carry traffic: {after}; vnicd: {backend.stats()}")
            fe.stop_forwarding()
        reasons = {r for p in backend.stats().values() for r, n in p["drops"].items() if n}
        self.assertFalse(reasons & {"malformed", "broken", "oversize", "runt"}, backend.stats())
        fe.quit()
        self.assertEqual(backend.stop(), 0)

    def wait_active(self, backend, queues):
        deadline = time.monotonic() + 5
        while True:
            active = [p["active_queues"] for p in backend.rpc("port.list")]
            if active == [queues, queues]:
                return
            self.assertLess(time.monotonic(), deadline, f"{active} queue pairs in use, {queues} expected")
            time.sleep(0.05)

    @pytest.mark.long
    def test_change_split(self):
        self.change_queues("S-MRG", 1)

    def test_change_packed(self):
        self.change_queues("P-MRG", 2)


def _add_queue_cases():
    for queues in (1, 2, 4, 8):
        for workers in (1, 2):
            for path in ("S-MRG", "P-NOM"):
                def case(self, queues=queues, workers=workers, path=path):
                    self.run_queues(queues, workers, path)
                ring = "packed" if vu.PATHS[path].packed else "split"
                setattr(Queues, f"test_{queues}_queues_{workers}_workers_{ring}",
                        case if (queues, workers) == (8, 2) else pytest.mark.long(case))


_add_queue_cases()

if __name__ == "__main__":
    unittest.main(verbosity=2)

#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Guests and vnicd that die, come back, stop and start, and ports that come and go, while frames flow.
The guests are DPDK's virtio-user."""
import os
import pathlib
import sys
import time
import unittest

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import virtio_user as vu  # noqa: E402  (adds tests/lib to the path)
import pcapfile  # noqa: E402
from vnictest import LONG, Vnicd  # noqa: E402

FAULTS = {"malformed", "runt", "oversize", "broken", "no_clone"}


def fd_count(proc):
    """The least of several looks: the connection of the last call over the control socket takes a moment to go."""
    counts = []
    for _ in range(6):
        counts.append(len(vu.open_fds(proc.pid)))
        time.sleep(0.05)
    return min(counts)


def guest_mappings(proc):
    """Memory of other processes (memfd files) that is mapped, as a number of areas."""
    with open(f"/proc/{proc.pid}/maps") as f:
        return sum("memfd:" in line for line in f)


class Life(unittest.TestCase):
    def setUp(self):
        self.work = vu.workdir()

    def sock(self, name):
        return os.path.join(self.work, name)

    def vnicd(self, ports, mode="io", **kw):
        backend = Vnicd(ports, mode, **kw)
        self.addCleanup(backend.kill9)
        return backend

    def guest(self, *args, **kw):
        fe = vu.VirtioUser(*args, **kw)
        self.addCleanup(fe.kill9)
        return fe

    def eventually(self, what, get, wanted, timeout=5):
        """get() == wanted, within the timeout."""
        deadline = time.monotonic() + timeout
        while True:
            now = get()
            if now == wanted:
                return
            self.assertLess(time.monotonic(), deadline, f"{what}: {now}, not {wanted}")
            time.sleep(0.05)

    def flowing(self, backend, port, what, counter="tx_packets", more=2000, timeout=15):
        """A counter of a port moves on by this much."""
        goal = backend.stats()[port][counter] + more
        deadline = time.monotonic() + timeout
        while True:
            ports = backend.stats()
            if ports[port][counter] >= goal:
                return ports
            self.assertLess(time.monotonic(), deadline, f"{what}: no traffic: {ports}\n{backend.output[-1500:]}")
            time.sleep(0.02)

    def stop(self, backend):
        self.assertTrue(backend.alive(), backend.output[-2000:])
        self.assertEqual(backend.stop(), 0, backend.output[-2000:])


class FrontEndKilled(Life):
    CYCLES = 10 if LONG else 2

    def run_kills(self, path, receivers_path):
        names = [f"vm{i}" for i in range(4)]
        backend = self.vnicd({n: f"vhost-user,path={self.sock(n)}" for n in names})

        def sender():
            fe = self.guest([vu.virtio_user(0, self.sock("vm0"), path)], fwd="txonly")
            fe.start()
            return fe

        def receiver():
            fe = self.guest([vu.virtio_user(1, self.sock("vm1"), receivers_path)], fwd="rxonly")
            fe.start()
            return fe

        # The neighbours: frames that go round for ever through vm2 and vm3. One that is lost is missed for good.
        other = self.guest([vu.virtio_user(i, self.sock(f"vm{i}"), path) for i in (2, 3)])
        vu.assert_path(self, other, path, (0, 1), [self.sock("vm2"), self.sock("vm3")])
        time.sleep(0.3)
        other.start(tx_first=1)
        self.flowing(backend, "vm2", "the neighbours")
        fds_start, mappings_start = fd_count(backend), guest_mappings(backend)
        fes = {"sender": sender(), "receiver": receiver()}
        self.flowing(backend, "vm1", "before the first kill")
        fds_up, mappings_up = fd_count(backend), guest_mappings(backend)
        for cycle in range(self.CYCLES):
            which = "sender" if cycle % 2 == 0 else "receiver"
            what = f"cycle {cycle}, {which} killed"
            fes[which].kill9()
            self.flowing(backend, "vm2", what + ": the neighbours")
            fes[which] = sender() if which == "sender" else receiver()
            ports = self.flowing(backend, "vm1", what)
            for name in ("vm2", "vm3"):
                self.assertEqual({r: n for r, n in ports[name]["drops"].items() if n}, {}, what)
            for name in names:
                self.assertFalse(FAULTS & {r for r, n in ports[name]["drops"].items() if n}, (what, ports))
            self.eventually(f"{what}: descriptors", lambda: fd_count(backend), fds_up)
            self.eventually(f"{what}: mapped guest memory", lambda: guest_mappings(backend), mappings_up)
        self.flowing(backend, "vm2", "the neighbours, at the end")
        for fe in fes.values():
            fe.kill9()
        self.eventually("descriptors", lambda: fd_count(backend), fds_start)
        self.eventually("mapped guest memory", lambda: guest_mappings(backend), mappings_start)
        other.stop_forwarding()
        other.quit()
        self.eventually("packet buffers in use", lambda: backend.rpc("system.info")["pool"]["in_use"], 0)
        self.stop(backend)

    @pytest.mark.long
    def test_split_sends_to_packed(self):
        self.run_kills("S-MRG", "P-NOM-IO")

    @pytest.mark.long
    def test_packed_sends_to_split(self):
        self.run_kills("P-NOM-IO", "S-MRG")


class BackEndKilled(Life):
    """The guest listens, vnicd connects; flowgen sends and receives on both ports, so that frames which die with
    vnicd do not matter."""

    CYCLES = 5 if LONG else 2

    def run_kills(self, path):
        socks = [self.sock("s0"), self.sock("s1")]
        ports = {f"vm{i}": f"vhost-user,mode=client,path={socks[i]}" for i in (0, 1)}
        backend = self.vnicd(ports)
        fe = self.guest([vu.virtio_user(i, socks[i], path, server=True) for i in (0, 1)], fwd="flowgen", txd=64)
        vu.assert_path(self, fe, path, (0, 1), socks)
        fe.start()
        for cycle in range(self.CYCLES + 1):
            what = f"vnicd killed {cycle} times"
            for name in ports:
                for counter in ("rx_packets", "tx_packets"):
                    self.flowing(backend, name, f"{what}, {name} {counter}", counter)
            seen = [p["rx_packets"] for p in fe.port_stats()]
            for port in (0, 1):
                fe.wait_rx(port, seen[port] + 2000, timeout=10)
            stats = backend.stats()
            for name in ports:
                self.assertFalse(FAULTS & {r for r, n in stats[name]["drops"].items() if n}, (what, stats))
            self.assertTrue(fe.alive(), fe.output[-1000:])
            if cycle == self.CYCLES:
                break
            backend.kill9()
            time.sleep(0.2)
            backend = self.vnicd(ports, run_dir=backend.run_dir)
        fe.stop_forwarding()
        fe.quit()
        self.stop(backend)

    def test_split(self):
        self.run_kills("S-MRG")

    def test_packed(self):
        self.run_kills("P-MRG")

    def test_stale_socket_is_replaced(self):
        """vnicd listens and is killed; the next one takes its socket over, and a guest connects to that."""
        ports = {f"vm{i}": f"vhost-user,path={self.sock(f'vm{i}')}" for i in (0, 1)}
        backend = self.vnicd(ports)
        backend.kill9()
        self.assertTrue(os.path.exists(self.sock("vm0")), "a killed vnicd was expected to leave its socket")
        backend = self.vnicd(ports, run_dir=backend.run_dir)
        fe = self.guest([vu.virtio_user(i, self.sock(f"vm{i}")) for i in (0, 1)])
        time.sleep(0.3)
        fe.start(tx_first=1)
        self.flowing(backend, "vm0", "after the restart")
        fe.quit()
        self.stop(backend)
        self.assertFalse(os.path.exists(self.sock("vm0")), "vnicd ended and left its socket")


class StopStart(Life):
    def run_rounds(self, path):
        sent = vu.frames([64 + (i * 53) % 1455 for i in range(600)])
        source, sink = self.sock("in.pcap"), self.sock("out.pcap")
        pcapfile.write(source, sent)
        socks = [self.sock("s0"), self.sock("s1")]
        backend = self.vnicd({f"vm{i}": f"vhost-user,path={socks[i]}" for i in (0, 1)})
        fe = self.guest([vu.pcap_source(0, source), vu.virtio_user(0, socks[0], path),
                         vu.virtio_user(1, socks[1], path), vu.pcap_sink(1, sink)])
        vu.assert_path(self, fe, path, (1, 2), socks)
        fe.retry_io()
        rounds = 6 if LONG else 3
        for i in range(rounds):
            if i:
                fe.command("port start all")
            time.sleep(0.2)
            fe.command("clear port stats all")
            fe.start()
            fe.wait_rx(2, len(sent), timeout=20)
            fe.wait_idle(quiet=0.2)
            fe.stop_forwarding()
            fe.command("port stop all")
            self.assertEqual(pcapfile.differences(sent, pcapfile.read(sink)), "", f"round {i}: {backend.stats()}")
        ports = backend.stats()
        self.assertEqual(ports["vm1"]["tx_packets"], rounds * len(sent), ports)
        self.assertEqual([n for p in ports.values() for n in p["drops"].values() if n], [], ports)
        fe.quit()
        self.stop(backend)

    def test_split(self):
        self.run_rounds("S-NOM-IO")

    def test_packed(self):
        self.run_rounds("P-MRG")


class HotPlug(Life):
    CYCLES = 10 if LONG else 3

    def run_hotplug(self, path, mode):
        source = self.sock("in.pcap")
        pcapfile.write(source, vu.frames([64 + i * 16 for i in range(64)]))
        backend = self.vnicd({f"vm{i}": f"vhost-user,path={self.sock(f'vm{i}')}" for i in (0, 1)}, mode)
        switch = mode == "switch"
        # Sends the file over and over; what arrives at the second guest goes nowhere. In mode io net_null's own
        # frames go the other way; a switch would flood them.
        fe = self.guest([vu.pcap_source(0, source, ",infinite_rx=1"), vu.virtio_user(0, self.sock("vm0"), path),
                         vu.virtio_user(1, self.sock("vm1"), path), "net_null0" + (",no-rx=1" if switch else "")])
        vu.assert_path(self, fe, path, (1, 2), [self.sock("vm0"), self.sock("vm1")])
        fe.retry_io()
        time.sleep(0.3)
        fe.start()
        self.flowing(backend, "vm1", "before the first change")
        fds_start = fd_count(backend)
        for cycle in range(self.CYCLES):
            what = f"cycle {cycle}"
            for name in ("vm2", "vm3"):
                backend.rpc("port.add", {"config": f"{name}=vhost-user,path={self.sock(name)}"})
            self.assertEqual([p["name"] for p in backend.rpc("port.list")], ["vm0", "vm1", "vm2", "vm3"], what)
            guest = None
            if cycle in (0, self.CYCLES - 1):  # a guest comes and is still there when its ports go
                guest = self.guest([vu.virtio_user(i, self.sock(f"vm{i}"), path) for i in (2, 3)],
                                   fwd="rxonly" if switch else "io")
                time.sleep(0.3)
                guest.start(tx_first=0 if switch else 1)
                self.flowing(backend, "vm2", what + ": the new ports")
            self.flowing(backend, "vm1", what + ": with the new ports")
            for name in ("vm3", "vm2"):
                backend.rpc("port.remove", {"name": name})
                self.assertFalse(os.path.exists(self.sock(name)), f"{what}: {name} left its socket")
            self.assertEqual([p["name"] for p in backend.rpc("port.list")], ["vm0", "vm1"], what)
            self.flowing(backend, "vm1", what + ": after the removal")
            if guest:
                guest.kill9()
        self.eventually("descriptors", lambda: fd_count(backend), fds_start)
        fe.stop_forwarding()
        # What was under way when forwarding stopped is still in the rings: take it, then compare both ends.
        fe.command("set fwd rxonly")
        fe.start()
        deadline = time.monotonic() + 5
        while True:
            stats = fe.port_stats()
            sent = [stats[1]["tx_packets"], stats[2]["tx_packets"]]
            received = [stats[2]["rx_packets"], stats[1]["rx_packets"]]
            if sent == received or time.monotonic() > deadline:
                break
            time.sleep(0.1)
        self.assertEqual(sent, received, f"frames lost between the guests; vnicd: {backend.stats()}")
        self.assertGreater(sent[0], 1000)
        fe.quit()
        self.stop(backend)

    @pytest.mark.long
    def test_io_split(self):
        self.run_hotplug("S-MRG", "io")

    @pytest.mark.long
    def test_io_packed(self):
        self.run_hotplug("P-MRG-IO", "io")

    @pytest.mark.long
    def test_switch(self):
        self.run_hotplug("S-MRG", "switch")


class ClientMode(Life):
    def run_late_guest(self, path):
        """vnicd is there long before the guest's socket."""
        socks = [self.sock("s0"), self.sock("s1")]
        backend = self.vnicd({f"vm{i}": f"vhost-user,mode=client,path={socks[i]}" for i in (0, 1)})
        time.sleep(1)
        sent = vu.frames([64 + (i * 53) % 1455 for i in range(600)])
        source, sink = self.sock("in.pcap"), self.sock("out.pcap")
        pcapfile.write(source, sent)
        fe = self.guest([vu.pcap_source(0, source), vu.virtio_user(0, socks[0], path, server=True),
                         vu.virtio_user(1, socks[1], path, server=True), vu.pcap_sink(1, sink)])
        vu.assert_path(self, fe, path, (1, 2), socks)
        time.sleep(0.3)
        result = vu.forward_file(fe, 0, 2, len(sent), sink)
        self.assertEqual(pcapfile.differences(sent, result.received), "", backend.stats())
        self.stop(backend)

    def test_split(self):
        self.run_late_guest("S-MRG-IO")

    def test_packed(self):
        self.run_late_guest("P-NOM")


if __name__ == "__main__":
    unittest.main(verbosity=2)

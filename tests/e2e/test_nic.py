#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""NIC ports: capture files, null devices, tap, and af_packet over veth pairs in network namespaces, with real
kernels' stacks and DPDK's virtio-user at the other end."""
import json
import os
import pathlib
import struct
import subprocess
import sys
import time
import unittest

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import virtio_user as vu  # noqa: E402  (adds tests/lib to the path)
import pcapfile  # noqa: E402
from netns import Netns, run  # noqa: E402
from vnictest import VNICD, Vnicd, cpus  # noqa: E402

NULLGUEST = os.environ.get("NULLGUEST", str(pathlib.Path(VNICD).parents[1] / "tests/perf/nullguest"))
LIB = pathlib.Path(__file__).resolve().parents[1] / "lib"
VNICCTL = LIB.parents[1] / "usertools/vnicctl"
NEEDS_ROOT = unittest.skipUnless(os.geteuid() == 0, "network namespaces need root")
SIZES = list(range(64, 1519, 6)) + [1514, 1515, 1516, 1517, 1518]
JUMBO = [1519, 2047, 2048, 2049, 4095, 4096, 4097, 8191, 8192, 8193, 8999, 9000]


def eal(*vdevs, memory=256):
    every = cpus()
    return ["--lcores", f"0@{every[-1]},1@{every[0]}", "--no-pci", "--no-huge", "-m", str(memory), "--no-shconf",
            "--no-telemetry", "--file-prefix", "vnictest", *[f"--vdev={v}" for v in vdevs]]


# Frames of the tests' EtherType that come in at an interface, to a file.
CAPTURE = """
import socket, sys
sys.path.insert(0, sys.argv[1])
import pcapfile
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x88b5))
s.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE
s.bind((sys.argv[2], 0x88b5))
s.settimeout(10)
print("ready", flush=True)
frames = []
while len(frames) < int(sys.argv[4]):
    try:
        frames.append(s.recv(65536))
    except TimeoutError:
        break
pcapfile.write(sys.argv[3], frames)
"""


class Nic(unittest.TestCase):
    def setUp(self):
        self.work = vu.workdir()

    def file(self, name):
        return os.path.join(self.work, name)

    def vnicd(self, *args, **kw):
        backend = Vnicd(*args, **kw)
        self.addCleanup(backend.kill9)
        return backend

    def netns(self):
        ns = Netns()
        self.addCleanup(ns.remove)
        return ns

    def stop(self, backend):
        self.assertEqual(backend.stop(), 0, backend.output[-2000:])

    def lends(self, backend, name="up0"):
        """Frames are lent to a NIC port, and all of them have come back."""
        time.sleep(0.15)  # a driver that keeps frames is found within 0.1 s
        describe = {p["name"]: p["describe"] for p in backend.rpc("port.list")}[name]
        self.assertIn(", borrowed frames: yes (", describe)

    def no_drops(self, ports):
        self.assertEqual({(p, r): n for p, s in ports.items() for r, n in s["drops"].items() if n}, {})

    def sending_guest(self, source, sock, path):
        """testpmd's virtio-user, which sends the frames of a pcap file."""
        guest = vu.VirtioUser([vu.pcap_source(0, source), vu.virtio_user(0, sock, path)], txd=128)
        self.addCleanup(guest.kill9)
        vu.assert_path(self, guest, path, (1,), [sock])
        time.sleep(0.2)
        guest.retry_io()
        guest.start()
        return guest

    def guest_to_kernel(self, port, eal_vdev, ns, interface, capture_ns, sizes, paths=("S-MRG", "P-MRG-IO"),
                        prepare=lambda: None):
        """A guest's frames, byte for byte as a kernel gets them from a NIC port that long ones are lent to."""
        sent = vu.frames(sizes)
        source, out = self.file("in"), self.file("out")
        pcapfile.write(source, sent)
        for path in paths:
            with self.subTest(path):
                sock = self.file(f"{path}.sock")
                backend = self.vnicd({"vm0": f"vhost-user,path={sock}", "up0": port}, "io", eal=eal(eal_vdev),
                                     netns=ns.name)
                self.lends(backend)
                prepare()
                with subprocess.Popen(["ip", "netns", "exec", capture_ns.name, sys.executable, "-c", CAPTURE, str(LIB),
                                       interface, out, str(len(sent))], stdout=subprocess.PIPE, text=True) as capture:
                    self.addCleanup(capture.kill)
                    self.assertEqual(capture.stdout.readline(), "ready\n")
                    guest = self.sending_guest(source, sock, path)
                    self.assertEqual(capture.wait(30), 0)
                guest.stop_forwarding()
                guest.quit()
                self.no_drops(backend.stats())
                self.lends(backend)
                self.stop(backend)
                self.assertEqual(pcapfile.differences(sent, pcapfile.read(out)), "")


class Pcap(Nic):
    """Two NIC ports that are capture files: frames of each go into the other's output."""

    def cross(self, mode, sizes, expect=lambda frame, by: frame):
        sent = [vu.frames(sizes, seed=1), vu.frames(sizes[::-1], seed=2)]
        vdevs = []
        for i in (0, 1):
            pcapfile.write(self.file(f"in{i}"), sent[i])
            vdevs.append(f"net_pcap{i},rx_pcap={self.file(f'in{i}')},tx_pcap={self.file(f'out{i}')}")
        backend = self.vnicd({f"up{i}": f"nic,dev=net_pcap{i}" for i in (0, 1)}, mode, eal=eal(*vdevs))
        ports = backend.wait_stats(lambda p: all(p[n]["tx_packets"] >= len(sizes) for n in ("up0", "up1")))
        macs = {p["name"]: bytes.fromhex(p["mac"].replace(":", "")) for p in backend.rpc("port.list")}
        self.no_drops(ports)
        self.stop(backend)  # completes the files
        for i in (0, 1):
            other = 1 - i
            expected = [expect(f, macs[f"up{other}"]) for f in sent[i]]
            received = pcapfile.read(self.file(f"out{other}"))
            if mode == "mac":
                # The destination is a made-up station behind the port; which one is vnicd's to say.
                self.assertEqual({f[:5] for f in received}, {b"\x02\x00\x00\x00\x00"})
                self.assertEqual(len({f[:6] for f in received}), 1)
                expected = [received[0][:6] + f[6:] for f in expected]
            self.assertEqual(pcapfile.differences(expected, received), "", f"{mode}: from up{i} to up{other}")
            self.assertEqual(ports[f"up{i}"]["rx_packets"], len(sizes))
            self.assertEqual(ports[f"up{i}"]["rx_bytes"], sum(sizes))
            self.assertEqual(ports[f"up{other}"]["tx_bytes"], sum(sizes))

    def test_io(self):
        self.cross("io", SIZES)

    def test_io_jumbo(self):
        self.cross("io", (JUMBO + SIZES[::9]) * 4)

    def test_macswap(self):
        self.cross("macswap", SIZES, lambda frame, by: vu.swapped(frame))

    def test_mac(self):
        self.cross("mac", SIZES, lambda frame, by: frame[:6] + by + frame[12:])

    def test_rxonly(self):
        pcapfile.write(self.file("in"), vu.frames(SIZES))
        backend = self.vnicd({"up0": "nic,dev=net_pcap0"}, "rxonly",
                             eal=eal(f"net_pcap0,rx_pcap={self.file('in')},tx_pcap={self.file('out')}"))
        ports = backend.wait_stats(lambda p: p["up0"]["rx_packets"] >= len(SIZES))
        self.assertEqual(ports["up0"]["rx_packets"], len(SIZES))
        self.assertEqual(ports["up0"]["rx_bytes"], sum(SIZES))
        self.assertEqual({r: n for r, n in ports["up0"]["drops"].items() if n}, {})
        self.assertEqual(ports["up0"]["consumed"], len(SIZES))
        self.stop(backend)
        self.assertEqual(pcapfile.read(self.file("out")), [])

    def test_txonly(self):
        backend = self.vnicd({"up0": "nic,dev=net_pcap0"}, "txonly", extra=["--json"],
                             eal=eal(f"net_pcap0,tx_pcap={self.file('out')}"))
        mac = bytes.fromhex(backend.rpc("port.list")[0]["mac"].replace(":", ""))
        self.stop(backend)
        up0 = final_json(backend)["up0"]
        frames = pcapfile.read(self.file("out"))
        self.assertGreater(len(frames), 32)
        self.assertEqual(len(frames), up0["tx_packets"])
        self.assertEqual(sum(map(len, frames)), up0["tx_bytes"])
        self.assertEqual(set(map(len, frames)), {64})
        self.assertEqual({f[6:12] for f in frames}, {mac})
        self.assertEqual({f[12:14] for f in frames}, {b"\x08\x00"})


def final_json(backend):
    lines = [text for text in backend.lines if text.startswith("{")]
    if not lines:
        raise AssertionError("--json: no object on standard output:\n" + backend.output[-2000:])
    return json.loads(lines[-1])["ports"]


class Null(Nic):
    """As fast as it goes; the counters at the end agree."""

    def run_mode(self, mode, vdevs):
        backend = self.vnicd({f"up{i}": f"nic,dev=net_null{i}" for i in range(len(vdevs))}, mode,
                             extra=["--json", "--duration", "1"], eal=eal(*vdevs))
        self.assertEqual(backend.wait(15), 0, backend.output[-2000:])
        return final_json(backend)

    def drops(self, port):
        return {r: n for r, n in port["drops"].items() if n}

    def test_rxonly(self):
        up0 = self.run_mode("rxonly", ["net_null0"])["up0"]
        self.assertGreater(up0["rx_packets"], 10000)
        self.assertEqual(up0["rx_bytes"], 64 * up0["rx_packets"])
        self.assertEqual((up0["tx_packets"], self.drops(up0)), (0, {}))
        self.assertEqual(up0["consumed"], up0["rx_packets"])

    def test_txonly(self):
        up0 = self.run_mode("txonly", ["net_null0,no-rx=1"])["up0"]
        self.assertGreater(up0["tx_packets"], 10000)
        self.assertEqual(up0["tx_bytes"], 64 * up0["tx_packets"])
        self.assertEqual((up0["rx_packets"], self.drops(up0)), (0, {}))

    def test_io(self):
        ports = self.run_mode("io", ["net_null0", "net_null1"])
        for a, b in (("up0", "up1"), ("up1", "up0")):
            self.assertGreater(ports[a]["rx_packets"], 10000)
            self.assertEqual(ports[a]["rx_packets"], ports[b]["tx_packets"])
            self.assertEqual(ports[a]["rx_bytes"], ports[b]["tx_bytes"])
            self.assertEqual(self.drops(ports[a]), {})

    def test_frames_elsewhere(self):
        """The ring driver never gives back what was in it: the packet buffers of a port that is gone wait, and are shown;
        the port can come back; and vnicd ends as ever."""
        # In this order frames are in the ring at the end of each turn.
        backend = self.vnicd({"up1": "nic,dev=net_ring0", "up0": "nic,dev=net_null0"}, "io",
                             eal=eal("net_null0", "net_ring0"))
        backend.wait_stats(lambda p: p["up1"]["tx_packets"] > 10000)
        backend.rpc("port.remove", {"name": "up1"})
        backend.rpc("port.remove", {"name": "up0"})
        for _ in range(2):
            (waiting,) = backend.rpc("system.info")["pool"]["waiting"]
            self.assertEqual(waiting["port"], "up0")
            self.assertIn(waiting["out"], range(1, waiting["size"]))
            shown = run(sys.executable, VNICCTL, "--socket", backend.control, "info")
            self.assertIn(f"{waiting['out']} of {waiting['size']} of port up0, which is gone, are not back yet", shown)
            backend.rpc("port.add", {"config": "up0=nic,dev=net_null0"})
            backend.wait_stats(lambda p: p["up0"]["rx_packets"] > 1000)
            backend.rpc("port.remove", {"name": "up0"})
        self.stop(backend)

    @pytest.mark.long
    def test_many_queues_to_a_guest(self):
        """33 queues of a device, each of which has its turn, into the one of a guest."""
        for layout in ("split", "packed"):
            with self.subTest(layout):
                sock = self.file(f"{layout}.sock")
                backend = self.vnicd({"vm0": f"vhost-user,path={sock}", "up0": "nic,dev=net_null0,queues=33"}, "io",
                                     extra=["--json"], eal=eal("net_null0", memory=1024))
                done = subprocess.run([NULLGUEST, "--socket", sock, "--direction", "in", "--warmup", "0", "--duration",
                                       "0.2", "--ring-size", "64", "--layout", layout, "--json"],
                                      stdout=subprocess.PIPE, text=True, check=True)
                got = json.loads(done.stdout)["whole_run"]["in"]
                rx = [q["rx_packets"] for q in backend.stats()["up0"]["queues"]]
                self.stop(backend)
                ports = final_json(backend)
                self.assertEqual(len(rx), 33)
                self.assertGreater(min(rx), 1000, f"a queue that is hardly served: {rx}")
                self.assertGreater(got["delivered"], 10000)
                self.assertEqual(got["bytes"], 64 * got["delivered"])
                # The guest's last look may have come before the last frames.
                self.assertIn(ports["vm0"]["tx_packets"] - got["delivered"], range(65))
                drops = self.drops(ports["vm0"])
                self.assertLessEqual(set(drops), {"no_guest", "queue_stopped", "queue_disabled", "no_buffer"})
                self.assertEqual(ports["up0"]["rx_packets"], ports["vm0"]["tx_packets"] + sum(drops.values()))
                self.assertEqual(self.drops(ports["up0"]), {})


@NEEDS_ROOT
class Tap(Nic):
    """The kernel of a namespace pings through a tap; icmpecho answers for everybody."""

    def test_icmpecho(self):
        if not os.path.exists("/dev/net/tun"):
            self.skipTest("no /dev/net/tun")
        ns = self.netns()
        backend = self.vnicd({"up0": "nic,dev=net_tap0"}, "icmpecho", eal=eal("net_tap0,iface=tap0"), netns=ns.name)
        ns.run("ip", "address", "add", "10.99.0.1/24", "dev", "tap0")
        ns.run("ip", "link", "set", "tap0", "up")
        self.assertEqual(ns.ping("10.99.0.2", 5, 56), 5)
        self.assertEqual(ns.ping("10.99.0.3", 3, 1400), 3)
        before = backend.stats()["up0"]
        self.assertGreaterEqual(before["tx_packets"], 8 + 2)  # echo replies, and ARP replies for two addresses
        # Neither ARP nor echo: counted under its own reason, and not answered.
        ns.run(sys.executable, "-c",
               "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
               "for _ in range(7): s.sendto(b'x' * 50, ('10.99.0.2', 9))")
        ports = backend.wait_stats(
            lambda p: p["up0"]["drops"].get("not_echo", 0) >= before["drops"].get("not_echo", 0) + 7)
        self.assertEqual({r for r, n in ports["up0"]["drops"].items() if n}, {"not_echo"}, ports)
        self.stop(backend)

    @pytest.mark.long
    def test_guest(self):
        if not os.path.exists("/dev/net/tun"):
            self.skipTest("no /dev/net/tun")
        ns = self.netns()
        self.guest_to_kernel("nic,dev=net_tap0", "net_tap0,iface=tap0", ns, "tap0", ns, SIZES,
                             prepare=lambda: ns.run("ip", "link", "set", "tap0", "up"))


@NEEDS_ROOT
class AfPacket(Nic):
    """vnicd in a namespace of its own, one end of a veth pair a port; kernels behind the other ends."""

    AFP = ",blocksz=65536,framesz=16384,framecnt=1024"  # all of a test at once, if need be

    def fabric(self, n, mtu=1500):
        """n kernels k0 .. with the addresses 10.98.0.1 .. on their ends; returns (vnicd's namespace, theirs)."""
        mid, kernels = self.netns(), []
        for i in range(n):
            k = self.netns()
            run("ip", "-n", mid.name, "link", "add", f"p{i}", "mtu", mtu, "type", "veth",
                "peer", "name", "eth0", "mtu", mtu, "netns", k.name)
            mid.run("ip", "link", "set", f"p{i}", "up")
            k.run("ip", "address", "add", f"10.98.0.{i + 1}/24", "dev", "eth0")
            k.run("ip", "link", "set", "eth0", "up")
            kernels.append(k)
        return mid, kernels

    def vdevs(self, n, extra=""):
        return [f"net_af_packet{i},iface=p{i}{extra}" for i in range(n)]

    def test_switch_ping(self):
        """Three kernels on a learning switch: the third sees what is flooded, and nothing after that."""
        mid, (a, b, c) = self.fabric(3)
        backend = self.vnicd({f"up{i}": f"nic,dev=net_af_packet{i}" for i in range(3)}, "switch",
                             eal=eal(*self.vdevs(3)), netns=mid.name)
        # The switch learns a little later than it forwards.
        deadline, flooded = time.monotonic() + 10, -1
        while flooded != (flooded := backend.stats()["up2"]["tx_packets"]):
            self.assertLess(time.monotonic(), deadline, "it never learns")
            self.assertEqual(a.ping("10.98.0.2", 1), 1)
            time.sleep(0.05)
        first = backend.stats()
        self.assertGreater(first["up2"]["tx_packets"], 0, f"the first ARP request was to be flooded: {first}")
        self.assertGreater(first["up0"]["copies"], 0, first)
        self.assertEqual(a.ping("10.98.0.2", 5), 5)
        self.assertEqual(b.ping("10.98.0.1", 5, 1400), 5)
        # No larger ones here: DPDK's af_packet driver has the kernel put fragments together
        # (PACKET_FANOUT_FLAG_DEFRAG), and what comes out does not fit the next link.
        later = backend.stats()
        # Kernels ask again now and then whether a neighbour is there, but to its own address.
        self.assertEqual(later["up2"]["tx_packets"], first["up2"]["tx_packets"], f"{first}\n{later}")
        self.assertGreaterEqual(later["up1"]["tx_packets"] - first["up1"]["tx_packets"], 10)
        self.no_drops(later)
        # And the third is reachable like the others.
        self.assertEqual(c.ping("10.98.0.1", 2), 2)
        self.stop(backend)

    def test_jumbo_ping(self):
        mid, (a, _) = self.fabric(2, mtu=9000)
        backend = self.vnicd({f"up{i}": f"nic,dev=net_af_packet{i}" for i in range(2)}, "io",
                             eal=eal(*self.vdevs(2, self.AFP)), netns=mid.name)
        self.assertEqual(a.ping("10.98.0.2", 2), 2)
        before = backend.stats()
        self.assertEqual(a.ping("10.98.0.2", 5, 8900), 5)
        after = backend.stats()
        for port in ("up0", "up1"):
            frames = after[port]["rx_packets"] - before[port]["rx_packets"]
            octets = after[port]["rx_bytes"] - before[port]["rx_bytes"]
            self.assertLessEqual(frames, 5 + 2, "in one piece each")  # the kernels may confirm ARP entries
            self.assertGreaterEqual(octets, 5 * (8900 + 8 + 20 + 14))
        self.no_drops(after)
        self.stop(backend)

    def test_icmpecho(self):
        mid, (a,) = self.fabric(1)
        backend = self.vnicd({"up0": "nic,dev=net_af_packet0"}, "icmpecho", eal=eal(*self.vdevs(1)), netns=mid.name)
        self.assertEqual(a.ping("10.98.0.77", 5), 5)
        self.stop(backend)

    def test_ping_a_guest(self):
        """A kernel pings a guest: testpmd's own echo mode on virtio-user."""
        for path in ("S-MRG", "P-NOM"):
            with self.subTest(path):
                mid, (a,) = self.fabric(1)
                sock = self.file(f"{path}.sock")
                backend = self.vnicd({"vm0": f"vhost-user,path={sock}", "up0": "nic,dev=net_af_packet0"}, "io",
                                     eal=eal(*self.vdevs(1)), netns=mid.name)
                guest = vu.VirtioUser([vu.virtio_user(0, sock, path)], fwd="icmpecho")
                self.addCleanup(guest.kill9)
                vu.assert_path(self, guest, path, (0,), [sock])
                guest.start()
                self.assertEqual(a.ping("10.98.0.50", 5), 5)
                self.assertEqual(a.ping("10.98.0.50", 5, 1400), 5)
                self.no_drops(backend.stats())
                guest.quit()
                self.stop(backend)

    def test_nic_to_guest(self):
        """Frames from a socket in a namespace to a guest's capture file, jumbo frames too."""
        sizes = JUMBO * 2 + SIZES
        sent = vu.frames(sizes)
        pcapfile.write(self.file("in"), sent)
        mid, (a,) = self.fabric(1, mtu=9000)
        sock, sink = self.file("vm0.sock"), self.file("out")
        backend = self.vnicd({"vm0": f"vhost-user,path={sock}", "up0": "nic,dev=net_af_packet0"}, "io",
                             eal=eal(*self.vdevs(1, self.AFP)), netns=mid.name)
        guest = vu.VirtioUser([vu.virtio_user(0, sock, "S-MRG", queue_size=1024), vu.pcap_sink(0, sink)], rxd=1024)
        self.addCleanup(guest.kill9)
        vu.assert_path(self, guest, "S-MRG", (0,), [sock])
        time.sleep(0.2)
        guest.start()
        time.sleep(0.1)
        # Slow enough for the packet socket's ring of frames.
        a.run(sys.executable, "-c",
              f"import sys, socket, time; sys.path.insert(0, {str(LIB)!r}); import pcapfile\n"
              "s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(('eth0', 0))\n"
              f"for i, f in enumerate(pcapfile.read({self.file('in')!r})):\n"
              "    s.send(f)\n"
              "    if i % 16 == 15: time.sleep(0.01)")
        guest.wait_rx(0, len(sent), timeout=10)
        guest.wait_idle(0, quiet=0.2)
        guest.stop_forwarding()
        guest.quit()
        # The kernel of the namespace may speak too (ARP): only the test's EtherType counts.
        received = [f for f in pcapfile.read(sink) if f[12:14] == b"\x88\xb5"]
        self.assertEqual(pcapfile.differences(sent, received), "", backend.stats())
        self.stop(backend)

    def test_guest(self):
        mid, (a,) = self.fabric(1, mtu=9000)
        self.guest_to_kernel("nic,dev=net_af_packet0", self.vdevs(1, self.AFP)[0], mid, "eth0", a,
                             # Long ones first: those that the socket has no room for wait for the next burst.
                             (SIZES + JUMBO)[::-1])


class GuestToNic(Nic):
    LINE = 64

    @pytest.mark.long
    def test_guest_rewrites(self):
        """Frames lent to a NIC are the guest's again only when they are written: it writes to each line of each, at
        once, and yet no frame in the capture file has lines of two."""
        for layout in ("split", "packed"):
            with self.subTest(layout):
                sock, out = self.file(f"{layout}.sock"), self.file("out")
                backend = self.vnicd({"vm0": f"vhost-user,path={sock}", "up0": "nic,dev=net_pcap0"}, "io",
                                     eal=eal(f"net_pcap0,tx_pcap={out}"))
                self.lends(backend)
                done = subprocess.run([NULLGUEST, "--socket", sock, "--direction", "out", "--frame-size", "1518",
                                       "--touch", "all", "--warmup", "0", "--duration", "0.1", "--ring-size", "64",
                                       "--layout", layout, "--json"], stdout=subprocess.PIPE, text=True, check=True)
                sent = json.loads(done.stdout)["whole_run"]["out"]["sent"]
                ports = backend.stats()
                self.lends(backend)
                self.no_drops(ports)
                self.stop(backend)
                frames = pcapfile.read(out)
                self.assertGreater(len(frames), 4 * 64, "some laps of the ring")
                self.assertEqual(len(frames), sent)
                for number, frame in enumerate(frames):
                    self.assertEqual(len(frame), 1518)
                    self.check_rewritten(number, frame)

    def check_rewritten(self, number, frame):
        """The null guest writes the frame's number, with a tag, to byte 16, the next one to each line after it."""
        first = 16
        word, = struct.unpack_from("<Q", frame, first)
        self.assertEqual(word & 0xFFFFFFFF, number)
        for at in range(first + self.LINE, len(frame) - 8, self.LINE):
            line, = struct.unpack_from("<Q", frame, at)
            self.assertEqual(line, word + 1, f"frame {number}, byte {at}")

    @pytest.mark.long
    def test_guest_to_pcap(self):
        """A guest's frames into the capture file of a NIC port."""
        self.guest_to_pcap(SIZES)

    def test_guest_to_pcap_jumbo(self):
        self.guest_to_pcap((JUMBO + SIZES[::9]) * 4, ("S-MRG", "P-MRG-IO"))

    def test_guest_to_pcap_jumbo_first(self):
        """Frames of many buffers in the ring's first slots: there DPDK's driver leaves WRITE set in the middle and at
        the end of a packed ring's tables."""
        self.guest_to_pcap((SIZES + JUMBO)[::-1], ("P-MRG", "P-NOM"))

    def guest_to_pcap(self, sizes, paths=("S-MRG", "P-MRG", "P-MRG-IO", "P-NOM")):
        sent = vu.frames(sizes)
        source, out = self.file("in"), self.file("out")
        pcapfile.write(source, sent)
        for path in paths:
            with self.subTest(path):
                sock = self.file(f"{path}.sock")
                backend = self.vnicd({"vm0": f"vhost-user,path={sock}", "up0": "nic,dev=net_pcap0"}, "io",
                                     eal=eal(f"net_pcap0,tx_pcap={out}"))
                self.lends(backend)
                guest = self.sending_guest(source, sock, path)
                ports = backend.wait_stats(lambda p: p["up0"]["tx_packets"] >= len(sent))
                self.no_drops(ports)
                guest.stop_forwarding()
                guest.quit()
                self.stop(backend)
                self.assertEqual(pcapfile.differences(sent, pcapfile.read(out)), "", ports)

    def test_pcap_to_guest_before_it_is_there(self):
        """Nobody is connected yet: every frame is counted as such, on the port it was meant for."""
        sent = vu.frames(SIZES)
        pcapfile.write(self.file("in"), sent)
        backend = self.vnicd({"vm0": "vhost-user", "up0": "nic,dev=net_pcap0"}, "io",
                             eal=eal(f"net_pcap0,rx_pcap={self.file('in')}"))
        ports = backend.wait_stats(lambda p: p["up0"]["rx_packets"] >= len(sent))
        self.assertEqual({r: n for r, n in ports["vm0"]["drops"].items() if n}, {"no_guest": len(sent)}, ports)
        self.stop(backend)


if __name__ == "__main__":
    unittest.main(verbosity=2)

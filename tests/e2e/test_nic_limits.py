#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""What a kernel's interface behind a NIC port can't take or does not give whole: each frame of it has its drop reason,
and none that is counted as sent is lost. A raw front-end is the guest; the other end of a veth pair is the network."""
import json
import os
import pathlib
import socket
import subprocess
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import test_nic  # noqa: E402  (adds tests/lib to the path)
import pcapfile  # noqa: E402
import wire as w  # noqa: E402
from vnictest import ROOT, Vnicd, tmpdir  # noqa: E402

GUEST, OTHER = "02:00:00:00:00:01", "02:00:00:00:00:02"
BIG = ",blocksz=16384,framesz=16384,framecnt=256"

# Sends what it is told, and says what came in, in a namespace of its own. One line of JSON each way.
PEER = """
import json, socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
s.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE
s.setsockopt(263, 8, 1)  # PACKET_AUXDATA: where the kernel puts a VLAN tag
s.bind((sys.argv[1], 3))
print("ready", flush=True)
for line in sys.stdin:
    order = json.loads(line)
    if "send" in order:
        for frame in order["send"]:
            s.send(bytes.fromhex(frame))
        print("[]", flush=True)
        continue
    frames = []
    s.settimeout(order["quiet"])
    while True:
        try:
            data, aux, _, address = s.recvmsg(65536, 256)
        except OSError:  # silence, or the interface is down
            break
        if address[2] == 4:  # PACKET_OUTGOING
            continue
        tagged = any(len(a[2]) >= 20 and int.from_bytes(a[2][:4], "little") & 16 for a in aux)
        if data[12:14] == b"\\x88\\xb5" or tagged:
            frames.append(len(data) + 4 * tagged)
    print(json.dumps(frames), flush=True)
"""


class Peer:
    """The other end of a veth pair."""

    def __init__(self, test, ns, interface="eth0"):
        self.process = subprocess.Popen(["ip", "netns", "exec", ns.name, sys.executable, "-c", PEER, interface],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        test.addCleanup(self.end)
        assert self.process.stdout.readline() == "ready\n"

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()

    def order(self, **order):
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def send(self, frames):
        self.order(send=[frame.hex() for frame in frames])

    def lengths(self, quiet=0.3):
        """Of the tests' frames that came in."""
        return self.order(quiet=quiet)


def frame(length, tags=(), *, dst=OTHER, src=GUEST):
    head = w.mac_bytes(dst) + w.mac_bytes(src) + b"".join(t.to_bytes(2, "big") + b"\0\5" for t in tags) + b"\x88\xb5"
    return head + bytes(i * 7 & 0xff for i in range(length - len(head)))


class Limits(unittest.TestCase):
    def setUp(self):
        self.work = tmpdir()

    def netns(self):
        ns = test_nic.Netns()
        self.addCleanup(ns.remove)
        return ns

    def vnicd(self, vdev, **kw):
        """A guest and a NIC port of this device."""
        backend = Vnicd({"vm0": "vhost-user", "up0": f"nic,dev={vdev.split(',')[0]}"}, "io",
                        eal=test_nic.eal(vdev), **kw)
        self.addCleanup(backend.kill9)
        guest = w.Wire(backend.sock("vm0"), tx_buffer=10240, rx_buffer=10240, size=64).start()
        self.addCleanup(guest.close)
        return backend, guest

    def veth(self, mtu=1500):
        mid, far = self.netns(), self.netns()
        test_nic.run("ip", "-n", mid.name, "link", "add", "p0", "mtu", mtu, "type", "veth",
                     "peer", "name", "eth0", "mtu", mtu, "netns", far.name)
        mid.run("ip", "link", "set", "p0", "up")
        far.run("ip", "link", "set", "eth0", "up")
        return mid, far

    def afp(self, mtu=1500, extra=""):
        """A port on one end of a veth pair. Returns vnicd, the guest, the other end, and both namespaces."""
        mid, far = self.veth(mtu)
        backend, guest = self.vnicd(f"net_af_packet0,iface=p0{extra}", netns=mid.name)
        return backend, guest, Peer(self, far), mid, far

    def drops(self, backend, port="up0"):
        return {reason: n for reason, n in backend.stats()[port]["drops"].items() if n}

    def send(self, guest, frames):
        for one in frames:
            guest.inject(one)
        guest.flush()

    def wait_for(self, backend, what, timeout=10):
        """Until the port's line in port.list has it."""
        deadline = time.monotonic() + timeout
        while True:
            port = {p["name"]: p for p in backend.rpc("port.list")}["up0"]
            if what(port):
                return
            self.assertLess(time.monotonic(), deadline, port)
            time.sleep(0.02)

    def until(self, condition, timeout=10):
        deadline = time.monotonic() + timeout
        while not condition():
            self.assertLess(time.monotonic(), deadline, "it never happened")
            time.sleep(0.02)

    def passes(self, backend, guest, peer, length):
        """Whether a frame of this length goes out now. It is counted, and what is counted is true."""
        before = backend.stats()["up0"]
        self.send(guest, [frame(length)])
        after = backend.wait_stats(
            lambda p: p["up0"]["tx_packets"] + sum(p["up0"]["drops"].values())
            > before["tx_packets"] + sum(before["drops"].values()))["up0"]
        sent = after["tx_packets"] - before["tx_packets"]
        self.assertEqual(peer.lengths(quiet=0.1), [length] * sent)
        return bool(sent)


@test_nic.NEEDS_ROOT
class AfPacket(Limits):
    def test_out(self):
        """Longer than the interface's MTU: too_long, with none, one and two VLAN tags. What fits arrives."""
        backend, guest, peer, _, _ = self.afp()
        good = [frame(1514)] * 10 + [frame(1518, [0x8100])] * 10 + [frame(1518, [0x8100, 0x8100])] * 10
        bad = ([frame(1515)] * 10 + [frame(1519, [0x8100])] * 10 + [frame(1522, [0x8100, 0x8100])] * 10
               + [frame(1518, [0x88a8])] * 10 + [frame(5000)] * 10)
        mixed = [one for pair in zip(good, bad) for one in pair] + bad[len(good):]
        self.send(guest, mixed)
        got = peer.lengths()
        stats = backend.stats()["up0"]
        self.assertEqual(got, [len(one) for one in good], stats)
        self.assertEqual(self.drops(backend), {"too_long": len(bad)})
        self.assertEqual(stats["tx_packets"], len(good))
        self.assertEqual(stats["tx_bytes"], sum(map(len, good)))
        self.assertEqual(set(stats["device"].values()), {0}, stats)

    def test_out_ring(self):
        """Longer than a slot of the device's ring, where the MTU is no limit."""
        backend, guest, peer, _, _ = self.afp(mtu=9000)
        self.send(guest, [frame(2016), frame(2017), frame(9000)] * 10)
        self.assertEqual(peer.lengths(), [2016] * 10)
        self.assertEqual(self.drops(backend), {"too_long": 20})
        self.assertEqual(backend.stats()["up0"]["tx_packets"], 10)
        warning = backend.expect(r"vnicd: warning: port up0: p0 has an MTU of 9000, .*framesz=(\d+),blocksz=(\d+)")
        # And with what it says, they pass.
        backend.stop()
        mid, far = self.veth(9000)
        backend, guest = self.vnicd(f"net_af_packet0,iface=p0,framesz={warning[1]},blocksz={warning[2]}",
                                    netns=mid.name)
        peer = Peer(self, far)
        self.send(guest, [frame(9014)] * 10)
        self.assertEqual(peer.lengths(), [9014] * 10)
        self.assertNotIn("MTU of 9000", backend.output)

    def test_in_cut(self):
        """What the device's ring has no room for comes in cut: truncated, and never delivered."""
        backend, guest, peer, _, _ = self.afp(mtu=9000)
        back = {"dst": GUEST, "src": OTHER}
        peer.send([frame(n, **back) for n in (1981, 1982, 1983, 5000, 9000)] * 10
                  + [frame(n, [0x8100], **back) for n in (1985, 1986, 5000)] * 10)
        got = [len(packet.frame) for packet in guest.take(lambda p: p.frame[6:12] == w.mac_bytes(OTHER))]
        self.assertEqual(got, [1981] * 10 + [1985] * 10, self.drops(backend))
        self.assertEqual(self.drops(backend), {"truncated": 60})

    def test_mtu_follows(self):
        """The MTU of either end changes while frames flow."""
        backend, guest, peer, mid, far = self.afp(extra=BIG)
        self.assertTrue(self.passes(backend, guest, peer, 1514))
        self.assertFalse(self.passes(backend, guest, peer, 5000))
        far.run("ip", "link", "set", "eth0", "mtu", "9000")
        mid.run("ip", "link", "set", "p0", "mtu", "9000")
        self.until(lambda: self.passes(backend, guest, peer, 5000))
        self.assertTrue(self.passes(backend, guest, peer, 9014))
        self.assertFalse(self.passes(backend, guest, peer, 9015))
        # Only the other end's: a veth pair drops what that does not take.
        before = self.drops(backend)["too_long"]
        far.run("ip", "link", "set", "eth0", "mtu", "1000")
        backend.expect("port up0: .*1018 bytes")
        self.assertFalse(self.passes(backend, guest, peer, 1019))
        self.assertTrue(self.passes(backend, guest, peer, 1018))
        self.assertEqual(self.drops(backend), {"too_long": before + 1})
        far.run("ip", "link", "set", "eth0", "mtu", "9000")
        self.until(lambda: self.passes(backend, guest, peer, 5000))

    def test_carrier_down(self):
        """No carrier, or the interface down: link_down, nothing is counted as sent; and on again."""
        backend, guest, peer, mid, far = self.afp()
        for ns, interface in ((far, "eth0"), (mid, "p0")):
            with self.subTest(interface):
                before, mark = backend.stats()["up0"], backend.mark()
                ns.run("ip", "link", "set", interface, "down")
                self.wait_for(backend, lambda port: port["link"] == "down")
                backend.expect("port up0: link down", since=mark)
                self.send(guest, [frame(100)] * 100)
                after = backend.wait_stats(
                    lambda p: p["up0"]["drops"].get("link_down", 0) >= before["drops"].get("link_down", 0) + 100)["up0"]
                self.assertEqual(after["tx_packets"], before["tx_packets"])
                self.assertEqual(after["device"], before["device"])
                mark = backend.mark()
                ns.run("ip", "link", "set", interface, "up")
                self.assertEqual(peer.lengths(quiet=0.1), [])
                backend.expect("port up0: link up", since=mark)
                # The first may wait in the socket for the second: it has the news of the interface's being down first.
                self.send(guest, [frame(100)])
                backend.wait_stats(lambda p: p["up0"]["tx_packets"] == before["tx_packets"] + 1)
                self.send(guest, [frame(101)])
                self.assertEqual(peer.lengths(), [100, 101])

    def test_no_carrier_at_first(self):
        """What is said of the port when it opens is true of its link."""
        mid, far = self.veth()
        far.run("ip", "link", "set", "eth0", "down")
        backend, _ = self.vnicd("net_af_packet0,iface=p0", netns=mid.name)
        up0 = {p["name"]: p for p in backend.rpc("port.list")}["up0"]
        self.assertEqual(up0["link"], "down")
        self.assertIn(", link down", up0["describe"])
        backend.expect("vnicd: port up0: nic net_af_packet0 .*, link down")

    def test_interface_goes(self):
        """The interface is deleted: as without a carrier."""
        backend, guest, _, mid, _ = self.afp()
        mid.run("ip", "link", "del", "p0")
        self.wait_for(backend, lambda port: port["link"] == "down")
        backend.expect("port up0: link down")
        self.send(guest, [frame(100)] * 100)
        backend.wait_stats(lambda p: p["up0"]["drops"].get("link_down", 0) == 100)
        self.assertEqual(backend.stats()["up0"]["tx_packets"], 0)

    def test_warns_of_checksums(self):
        """TCP from a veth comes unfinished: a warning with the line that helps, in which namespace the other end is."""
        backend, _, _, _, far = self.afp()
        line = backend.expect(r"vnicd: warning: port up0: .*\bethtool -K (\S+) tx off")
        self.assertEqual(line[1], "eth0")
        self.assertIn("other network namespace", line.string)
        far.run(*"ethtool -K eth0 tx off".split())  # it is a command that works
        backend.stop()

    def test_warns_in_one_namespace(self):
        ns = self.netns()
        test_nic.run("ip", "-n", ns.name, "link", "add", "p0", "type", "veth", "peer", "name", "p1")
        for name in ("p0", "p1"):
            ns.run("ip", "link", "set", name, "up")
        backend, _ = self.vnicd("net_af_packet0,iface=p0", netns=ns.name)
        line = backend.expect(r"vnicd: warning: port up0: .*\bethtool -K (\S+) tx off")
        self.assertEqual(line[1], "p1")
        self.assertNotIn("namespace", line.string)
        ns.run("ethtool", "-K", "p1", "tx", "off")
        # Seen to be off: nothing to warn of.
        backend.rpc("port.remove", {"name": "up0"})
        mark = backend.mark()
        backend.rpc("port.add", {"config": "up0=nic,dev=net_af_packet0"})
        backend.expect("port up0: nic", since=mark)
        self.assertEqual([line for line in backend.lines[mark:] if "ethtool" in line], [])
        # Segments put together are longer than a guest takes.
        backend.rpc("port.remove", {"name": "up0"})
        ns.run("ethtool", "-K", "p0", "gro", "on")
        mark = backend.mark()
        backend.rpc("port.add", {"config": "up0=nic,dev=net_af_packet0"})
        backend.expect(r"vnicd: warning: port up0: .*ethtool -K p0 gro off", since=mark)

    def test_tcp_after_the_warning(self):
        """The line that the warning gives, pasted, makes TCP's checksums whole."""
        backend, guest, peer, _, far = self.afp()
        far.run("ip", "address", "add", "10.97.0.2/24", "dev", "eth0")
        far.run("ip", "neigh", "add", "10.97.0.1", "lladdr", GUEST, "dev", "eth0", "nud", "permanent")
        syn = ("import socket; s = socket.socket(); s.settimeout(0.1)\n"
               "try: s.connect(('10.97.0.1', 9))\nexcept OSError: pass")

        def checksums_are_right():
            far.run(sys.executable, "-c", syn)
            packet = guest.take(lambda p: p.proto == w.TCP, n=1)[0].frame
            ip = packet[14:]
            return w.transport_sum(w.TCP, ip[20:int.from_bytes(ip[2:4], "big")], "10.97.0.2", "10.97.0.1") == 0xffff

        self.assertFalse(checksums_are_right(), "then there is nothing to warn of")
        far.run(*backend.expect(r"warning: port up0: .*\b(ethtool -K \S+ tx off)")[1].split())
        guest.take(lambda p: p.proto == w.TCP)
        self.assertTrue(checksums_are_right())


@test_nic.NEEDS_ROOT
class OtherDrivers(Limits):
    """The same of the other drivers that hand frames to a kernel."""

    def test_pcap_interface(self):
        for arguments in ("iface=p0", "rx_iface=p0,tx_iface=p0"):
            with self.subTest(arguments):
                mid, far = self.veth()
                backend, guest = self.vnicd(f"net_pcap0,{arguments}", netns=mid.name)
                peer = Peer(self, far)
                self.send(guest, [frame(1514), frame(1515), frame(1518, [0x8100]), frame(1519, [0x8100])] * 5)
                self.assertEqual(peer.lengths(), [1514, 1518] * 5)
                self.assertEqual(self.drops(backend), {"too_long": 10})
                far.run("ip", "link", "set", "eth0", "down")
                self.wait_for(backend, lambda port: port["link"] == "down")
                backend.expect("port up0: link down")
                self.send(guest, [frame(100)] * 100)
                backend.wait_stats(lambda p: p["up0"]["drops"].get("link_down", 0) == 100)
                self.assertEqual(backend.stats()["up0"]["tx_packets"], 10)
                self.assertIn("ethtool -K eth0 tx off", backend.output)
                guest.close()
                backend.stop()

    @unittest.skipUnless(os.path.exists("/dev/net/tun"), "no /dev/net/tun")
    def test_tap(self):
        ns = self.netns()
        backend, guest = self.vnicd("net_tap0,iface=tap0", netns=ns.name)
        ns.run("ip", "link", "set", "tap0", "up")
        self.wait_for(backend, lambda port: port["link"] == "up")
        peer = Peer(self, ns, "tap0")
        # The driver ends a burst at a frame that is too long for it: the others must not suffer.
        self.send(guest, [frame(1514), frame(1522), frame(1523), frame(5000), frame(60)] * 5)
        self.assertEqual(peer.lengths(), [1514, 1522, 60] * 5)
        self.assertEqual(self.drops(backend), {"too_long": 10})
        ns.run("ip", "link", "set", "tap0", "down")
        self.wait_for(backend, lambda port: port["link"] == "down")
        backend.expect("port up0: link down")
        before = backend.stats()["up0"]
        self.send(guest, [frame(100)] * 100)
        after = backend.wait_stats(
            lambda p: p["up0"]["drops"].get("link_down", 0) >= before["drops"].get("link_down", 0) + 100)["up0"]
        self.assertEqual(after["tx_packets"], before["tx_packets"])
        self.assertNotIn("ethtool", backend.output)


    @unittest.skipUnless(os.path.exists("/dev/net/tun"), "no /dev/net/tun")
    def test_tap_in_a_container(self):
        """A tap that is moved to another network namespace still works, both ways, though its state can't be asked."""
        here, there = self.netns(), self.netns()
        backend, guest = self.vnicd("net_tap0,iface=tap0", netns=here.name)
        here.run("ip", "link", "set", "tap0", "netns", there.name)
        there.run("ip", "link", "set", "tap0", "up")
        time.sleep(0.3)  # some looks at it
        peer = Peer(self, there, "tap0")
        self.send(guest, [frame(100)] * 100)
        self.assertEqual(peer.lengths(), [100] * 100, backend.stats()["up0"])
        self.assertEqual(self.drops(backend), {})
        peer.send([frame(101, dst=GUEST, src=OTHER)])
        got = guest.take(lambda p: p.frame[6:12] == w.mac_bytes(OTHER))
        self.assertEqual([len(packet.frame) for packet in got], [101])


class Counters(Limits):
    """What the device itself counts as lost is shown, in DPDK's words."""

    NAMES = ["imissed", "ierrors", "oerrors", "rx_nombuf"]

    def test_device(self):
        # A capture file that breaks off in the middle of a record: each attempt to read on is an error.
        broken = os.path.join(self.work, "in")
        pcapfile.write(broken, [frame(60)] * 3)
        os.truncate(broken, os.path.getsize(broken) - 10)
        backend = Vnicd({"vm0": "vhost-user", "up0": "nic,dev=net_pcap0"}, "io", extra=["--json"],
                        eal=test_nic.eal(f"net_pcap0,rx_pcap={broken},tx_pcap={broken}.out"))
        self.addCleanup(backend.kill9)
        ports = backend.wait_stats(lambda p: p["up0"]["device"]["ierrors"] > 0)
        self.assertEqual(list(ports["up0"]["device"]), self.NAMES)
        self.assertEqual({n: ports["up0"]["device"][n] for n in ("imissed", "oerrors", "rx_nombuf")},
                         {"imissed": 0, "oerrors": 0, "rx_nombuf": 0})
        self.assertNotIn("device", ports["vm0"])
        shown = subprocess.run([sys.executable, ROOT / "usertools/vnicctl", "--socket", backend.control, "stats"],
                               stdout=subprocess.PIPE, text=True, check=True).stdout
        self.assertRegex(shown, r"up0 .*\bdevice: ierrors \d+\n")
        self.assertNotRegex(shown, r"oerrors|imissed|vm0 .*device")
        # Since the port was opened, and no longer.
        backend.rpc("port.remove", {"name": "up0"})
        pcapfile.write(broken, [])
        backend.rpc("port.add", {"config": "up0=nic,dev=net_pcap0"})
        time.sleep(0.1)
        self.assertEqual(backend.stats()["up0"]["device"], dict.fromkeys(self.NAMES, 0))
        self.assertEqual(backend.stop(), 0)
        self.assertEqual(list(test_nic.final_json(backend)["up0"]["device"]), self.NAMES)

    def test_table(self):
        broken = os.path.join(self.work, "in")
        pcapfile.write(broken, [frame(60)])
        os.truncate(broken, os.path.getsize(broken) - 10)
        backend = Vnicd({"vm0": "vhost-user", "up0": "nic,dev=net_pcap0"}, "io",
                        eal=test_nic.eal(f"net_pcap0,rx_pcap={broken},tx_pcap={broken}.out"))
        self.addCleanup(backend.kill9)
        backend.wait_stats(lambda p: p["up0"]["device"]["ierrors"] > 0)
        self.assertEqual(backend.stop(), 0)
        self.assertRegex(backend.output, r"\nup0 .*\(device: ierrors \d+\)")


if __name__ == "__main__":
    unittest.main(verbosity=2)

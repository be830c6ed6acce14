# SPDX-License-Identifier: BSD-3-Clause
"""Captures: exact frames, the reasons for drops, and nobody waits for who reads."""
import collections
import io
import json
import os
import pathlib
import signal
import socket
import struct
import subprocess
import sys
import time
import unittest

import pytest
from scapy.utils import RawPcapNgReader

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lib"), str(HERE.parent / "hostile")]
import rawfe as fe  # noqa: E402
import vnictest  # noqa: E402
from pcapng import Pcapng  # noqa: E402

VNICCTL = HERE.parents[1] / "usertools" / "vnicctl"
MAC = {name: bytes([2, 0, 0, 0, 0, i]) for i, name in enumerate(("a", "b"), 1)}
BROADCAST = b"\xff" * 6


def udp(port, size=50):
    packet = struct.pack("!HHHH", 1000, port, 8 + size, 0) + os.urandom(size)
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(packet), 0, 0, 64, 17, 0, bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2]))
    return fe.ethernet(ip + packet, dst=MAC["b"], src=MAC["a"], kind=0x800)


class Captures(vnictest.WithGuests, unittest.TestCase):
    def start(self, ports=None, mode="switch", workers=1, attach=("a", "b"), **options):
        cpus = vnictest.cpus()
        eal = ["--lcores", f"0@{cpus[-1]}," + ",".join(f"{1 + i}@{cpus[i % len(cpus)]}" for i in range(workers)), "--no-pci",
               "--no-huge", "-m", "256", "--no-shconf", "--no-telemetry", "--file-prefix", "vnictest"]
        self.vnicd = vnictest.Vnicd(ports or {"a": "vhost-user", "b": "vhost-user"}, mode, eal=eal)
        self.guests = {}
        self.addCleanup(self.stop)
        for name in attach:
            self.guests[name] = fe.RawFrontend(self.vnicd.sock(name), **options).start()

    def ctl(self, *args, wait_for=1, **kwargs):
        """vnicctl capture, which has begun."""
        proc = subprocess.Popen(["/usr/bin/python3", str(VNICCTL), "--socket", self.vnicd.control, "capture", *args],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, **kwargs)
        self.addCleanup(lambda: (proc.poll() is None and proc.kill(), proc.wait(), proc.stdout.close(), proc.stderr.close()))
        self.wait(lambda: len(self.begun()) == wait_for or proc.poll() is not None)
        return proc

    def wait(self, condition, timeout=10):
        deadline = time.monotonic() + timeout
        while not condition():
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.005)

    def begun(self):
        """Those whose hooks are there: the reply comes before them, the log line after."""
        return [c for c in self.vnicd.rpc("capture.list") if f"capture {c['id']}: from=" in self.vnicd.output]

    def finish(self, proc, sig=signal.SIGINT):
        """Its file, and what it says at the end."""
        if sig:
            proc.send_signal(sig)
        out, err = proc.communicate(timeout=20)
        self.assertEqual(proc.returncode, 0, err)
        self.wait(lambda: self.vnicd.rpc("capture.list") == [])
        return Pcapng(out), err.decode()

    def send(self, source, frame):
        self.guests[source].send_frame(frame)
        return frame

    def to(self, name, size=50, source="a"):
        return fe.ethernet(os.urandom(size), dst=MAC[name], src=MAC[source])

    def learn(self):
        for name in self.guests:
            self.send(name, fe.ethernet(bytes(50), dst=BROADCAST, src=MAC[name]))
        self.wait(lambda: len(self.vnicd.rpc("fdb.list")["stations"]) == len(self.guests))
        for guest in self.guests.values():
            guest.drain(0.02)

    def check_bytes(self):
        self.learn()
        proc = self.ctl("a")
        frames = []
        for size in (40, 200, 700, 1486, 1900):
            frames.append((1, self.send("a", self.to("b", size))))
            frames.append((2, self.send("b", self.to("a", size, "b"))))
            self.assertEqual(self.guests["b"].receive_frame(), frames[-2][1])
            self.assertEqual(self.guests["a"].receive_frame(), frames[-1][1])
        before = time.time()
        file, err = self.finish(proc)
        self.assertEqual((err, file.statistics[0]["seen"], [(p.flags, len(p.data)) for p in file.packets]),
                         ("10 frames captured, 0 lost\n", 10, [(way, len(data)) for way, data in frames]))
        self.assertEqual([(p.flags, p.data) for p in file.packets], frames)
        self.assertEqual(err, "10 frames captured, 0 lost\n")
        for packet in file.packets:
            self.assertEqual((packet.interface, packet.queue, packet.length, packet.comments), (0, 0, len(packet.data), []))
            self.assertLess(abs(packet.time - before), 20)
        self.assertEqual([i["name"] for i in file.interfaces], ["a"])
        self.assertEqual(file.statistics, {0: {"seen": 10, "wanted": 10, "lost": 0, "written": 10}})
        return file, [frame for _, frame in frames]

    def test_bytes(self):
        """As others read them, too."""
        self.start()
        file, frames = self.check_bytes()
        self.assertEqual([data for data, _ in RawPcapNgReader(io.BytesIO(file.data))], frames)
        shown = subprocess.run(["tcpdump", "-nexx", "-r", "-"], input=file.data, capture_output=True, timeout=20)
        self.assertEqual(shown.returncode, 0, shown.stderr)
        text = b"".join(line.split(b":", 1)[1] if b"\t0x" in line else b"|" for line in shown.stdout.splitlines())
        self.assertEqual([bytes.fromhex(part.decode()) for part in text.split(b"|") if part], frames)

    @pytest.mark.long
    def test_bytes_over_a_ring(self):
        self.start(workers=2)
        self.check_bytes()

    @pytest.mark.long
    def test_filter_direction_queue_snaplen_count(self):
        self.start({"a": "vhost-user,queues=2", "b": "vhost-user"}, queues=1)
        self.learn()
        proc = self.ctl("all", "-Q", "in", "-s", "60", "-c", "2", "udp", "port", "53")
        other = self.ctl("a", "--queue", "1", wait_for=2)
        frames = [self.send("a", udp(port, 200)) for port in (53, 54, 53, 53, 53)]
        file, err = self.finish_one(proc)
        self.assertEqual([(p.data, p.length, p.flags, p.interface) for p in file.packets],
                         [(f[:60], len(f), 1, 0) for f in (frames[0], frames[2])])
        self.assertEqual(([i["name"] for i in file.interfaces], file.interfaces[0]["filter"]), (["a", "b"], "udp port 53"))
        self.assertEqual(err, "2 frames captured, 0 lost\n")
        self.assertEqual(self.finish(other)[0].packets, [])

    def finish_one(self, proc):
        out, err = proc.communicate(timeout=20)
        self.assertEqual(proc.returncode, 0, err)
        return Pcapng(out), err.decode()

    def reasons(self, file):
        return [(p.flags, p.comments[0].split(":")[1].strip(), p.data) for p in file.packets]

    def test_drops(self):
        """Where a frame is lost, it is seen with its reason, and counted as often."""
        self.start({"a": "vhost-user,police-in=1pps,police-in-burst=2", "b": "vhost-user,vlan=10", "c": "vhost-user,vlan=10"})
        proc = self.ctl("all", "--drops-only")
        # In their VLANs, nobody is behind a, and c has no guest.
        want = [(1, "no_port", self.send("a", self.to("b"))),
                (1, "vlan_tagged", self.send("b", fe.ethernet(b"\x00\x05" + bytes(40), dst=MAC["a"], src=MAC["b"], kind=0x8100))),
                (2, "no_guest", self.send("b", fe.ethernet(bytes(51), dst=BROADCAST, src=MAC["b"])))]
        # No bytes behind the header.
        sender = self.guests["a"].pairs[0]
        gpa = sender.tx_free.pop(0)
        sender.tx.add([fe.D(gpa, 12)], gpa)
        self.guests["a"].reclaim_tx(0, 2.0, all_of_them=True)
        want.append((1, "malformed", b""))
        frames = [self.send("a", self.to("b")) for _ in range(6)]

        def drops():
            total = {}
            for port in self.vnicd.stats().values():
                for reason, n in port["drops"].items():
                    total[reason] = total.get(reason, 0) + n
            return total
        self.wait(lambda: sum(drops().values()) == 10)
        file, err = self.finish(proc)
        found = self.reasons(file)
        self.assertEqual(found[:4], want)
        self.assertEqual([data for _, _, data in found[4:]], frames)
        self.assertEqual(drops(), dict(collections.Counter(reason for _, reason, _ in found)))
        self.assertEqual({reason for _, reason, _ in found[4:]}, {"no_port", "policed_in"})

    @pytest.mark.long
    def test_drops_of_a_full_receiver(self):
        """Those, and not those beside them, also in one burst; and with all frames, they come after what was sent."""
        self.start(mode="io", size=16, features=fe.bits(fe.F_INDIRECT, fe.F_VERSION_1, fe.F_PROTOCOL))
        proc = self.ctl("b", "--drops", "--header")
        frames = [self.send("a", self.to("b", 60 + 47 * i)) for i in range(40)]
        n = self.vnicd.wait_stats(lambda p: p["b"]["tx_packets"] + p["b"]["drops"].get("no_buffer", 0) == 40)["b"]["tx_packets"]
        self.assertEqual([self.guests["b"].receive_frame() for _ in range(n)], frames[:n])
        file, err = self.finish(proc)
        self.assertEqual([p.data for p in file.packets if len(p.comments) == 1], frames)
        self.assertEqual([(p.comments[0].split(":")[1], p.data) for p in file.packets if len(p.comments) == 2],
                         [(" no_buffer", frame) for frame in frames[n:]])
        self.assertEqual(file.packets[0].comments, ["virtio_net_hdr: flags 0, gso_type NONE"])

    def stream(self, line):
        """capture.start by hand."""
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(20)
        self.addCleanup(sock.close)
        sock.connect(self.vnicd.control)
        sock.sendall(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "capture.start", "params": {"config": line}}).encode())
        reply = b""
        while not reply.endswith(b"\n"):
            reply += sock.recv(1)
        return sock, json.loads(reply)

    def test_reader_is_slow(self):
        """It loses frames and is told how many; the port loses none."""
        self.start(mode="io", size=256)
        sock, reply = self.stream("from=b,direction=out,buffer=256k")
        self.assertEqual(reply["result"]["config"], "from=b,direction=out,buffer=256k")
        self.wait(lambda: len(self.begun()) == 1)
        n = 0
        while self.vnicd.rpc("capture.list")[0]["lost"] < 20:
            for _ in range(50):
                frame = self.send("a", self.to("b", 1900))
                n += 1
                self.assertEqual(self.guests["b"].receive_frame(), frame)
        sock.shutdown(socket.SHUT_WR)
        data = b""
        while chunk := sock.recv(1 << 20):
            data += chunk
        file = Pcapng(data)
        statistics = file.statistics[0]
        self.assertEqual((statistics["seen"], statistics["wanted"], statistics["written"]), (n, n, len(file.packets)))
        self.assertEqual(statistics["lost"], n - len(file.packets))
        self.assertGreaterEqual(statistics["lost"], 20)
        stats = self.vnicd.stats()
        self.assertEqual((stats["b"]["tx_packets"], stats["a"]["drops"], stats["b"]["drops"]), (n, {}, {}))
        self.wait(lambda: self.vnicd.rpc("capture.list") == [])

    def resources(self):
        return len(os.listdir(f"/proc/{self.vnicd.pid}/fd")), len(os.listdir(f"/proc/{self.vnicd.pid}/task"))

    def test_nothing_is_left(self):
        """Killed, cut off by its pipe, or with vnicd; and a port that goes and comes."""
        self.start()
        self.learn()
        before = self.resources()
        proc = self.ctl("a+b")
        self.send("a", self.to("b"))
        proc.kill()
        self.wait(lambda: self.vnicd.rpc("capture.list") == [])
        self.wait(lambda: self.resources() == before)
        proc = self.ctl("a+b", "--drops")
        proc.stdout.close()
        self.wait(lambda: self.send("a", self.to("b")) and proc.poll() is not None)
        self.wait(lambda: self.resources() == before)
        proc = self.ctl("a+b")
        self.guests.pop("a").close()
        self.vnicd.rpc("port.remove", {"name": "a"})
        self.vnicd.rpc("port.add", {"config": "a=vhost-user"})
        self.guests["a"] = fe.RawFrontend(self.vnicd.sock("a")).start()
        frame = self.send("a", fe.ethernet(bytes(70), dst=BROADCAST, src=MAC["a"]))
        file, _ = self.finish(proc, signal.SIGTERM)
        self.assertEqual([(p.interface, p.flags, p.data) for p in file.packets], [(0, 1, frame), (1, 2, frame)])
        proc = self.ctl("b")
        self.vnicd.stop()
        out, err = proc.communicate(timeout=20)
        self.assertEqual((proc.returncode, Pcapng(out).packets), (0, []))

    @pytest.mark.long
    def test_lines(self):
        self.start(attach=())
        for line, cause, hint in (
                ("from=a,filter=udp prot 53", "capture: filter: ", "pcap-filter"),
                ("from=aa", "capture: from: there is no port 'aa'", "from=a"),
                ("direction=in", "capture: from is not given", "from=vm0+vm1"),
                ("from=a,snaplen=0", "capture: snaplen: 0 is not in", "snaplen=1"),
                ("from=a,drops=all", "capture: drops: 'all'", "drops="),
                ("from=a,frm=b", "capture: a capture has no key 'frm'", "from")):
            with self.subTest(line), self.assertRaises(vnictest.RpcError) as caught:
                self.vnicd.rpc("capture.start", {"config": line})
            self.assertIn(cause, str(caught.exception))
            self.assertIn(hint, caught.exception.error["data"]["hint"])
        self.assertEqual(self.vnicd.rpc("capture.list"), [])
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(self.vnicd.control)
            request = {"jsonrpc": "2.0", "id": 1, "method": "capture.start", "params": {"config": "from=a"}}
            sock.sendall(json.dumps([request, request]).encode())
            self.assertEqual([reply["error"]["message"] for reply in json.loads(sock.makefile().readline())],
                             ["this method takes the whole connection"] * 2)
        held = [self.stream("from=a,buffer=256k")[0] for _ in range(16)]
        self.assertIn("16 captures run already", self.stream("from=a")[1]["error"]["message"])
        for sock in held:
            sock.close()
        self.wait(lambda: self.vnicd.rpc("capture.list") == [])
        done = subprocess.run([str(VNICCTL), "--socket", self.vnicd.control, "capture", "a", "-w", "/nowhere/x"],
                              capture_output=True, text=True, timeout=20)
        self.assertEqual((done.returncode, done.stderr.splitlines()[0]), (2, "vnicctl: /nowhere/x: No such file or directory"))


if __name__ == "__main__":
    unittest.main(verbosity=2)

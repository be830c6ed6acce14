# SPDX-License-Identifier: BSD-3-Clause
"""The switch with VLANs beside a reference, on random frames: each port is a stream, and what comes out of each, the
counters of drops and the table must be exactly what the reference says. Nothing of one VLAN in another, ever.

The reference is written from the table in switch_port.h's words, not from the code: it knows ports as lines, and
frames as bytes.
"""
import collections
import os
import pathlib
import random
import select
import socket
import sys
import time
import unittest

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lib")]
import vnictest  # noqa: E402
from sockettest import SocketTest, until  # noqa: E402

FRAMES = 10_000_000 if vnictest.LONG else 60_000
BATCH = 400
MACS = 12
BROADCAST = b"\xff" * 6
TYPE = b"\x88\xb5"
TPIDS = (b"\x81\x00", b"\x88\xa8")

LINES = {
    "a0": ["vlan=10", "vlan=20", "", "isolated=on"],
    "a1": ["vlan=10", "vlan=10,isolated=on", "trunk=10,native=20"],
    "a2": ["vlan=20,isolated=on", "vlan=20", "qinq=100"],
    "a3": ["vlan=20,isolated=on", "vlan=10,isolated=on"],
    "t0": ["trunk=10+20+30-40", "trunk=10+100,native=20", "trunk=10+100,native=30"],
    "t1": ["trunk=10+20,native=30", "trunk=20", "vlan=30"],
    "t2": ["trunk=1-4094", "trunk=1-99+101-4094,native=35"],
    "q0": ["qinq=100", "qinq=10"],
    "q1": ["qinq=100", "", "qinq=10,isolated=on"],
    "p0": [""],
    "p1": ["", "vlan=35", "isolated=on"],
}


class Reference:
    """A switch with VLANs, frame by frame."""

    def __init__(self):
        self.ports = {}
        self.known = {}  # (VLAN, address): port
        self.drops = collections.Counter()

    def set(self, name, line):
        keys = dict(pair.split("=") for pair in line.split(",") if pair)
        port = {"isolated": keys.get("isolated") == "on", "tags": keys.keys() & {"trunk"}, "bare": None, "has": set()}
        if "vlan" in keys:
            port["bare"] = ("c", int(keys["vlan"]))
        elif "qinq" in keys:
            port["bare"] = ("s", int(keys["qinq"]))
        elif "trunk" in keys:
            for part in keys["trunk"].split("+"):
                first, _, last = part.partition("-")
                for vid in range(int(first), int(last or first) + 1):
                    port["has"] |= {("c", vid), ("s", vid)}
            if "native" in keys:
                port["bare"] = ("c", int(keys["native"]))
        port["plain"] = not keys.keys() & {"vlan", "qinq", "trunk"}
        port["tunnel"] = "qinq" in keys
        if port["bare"]:
            port["has"].add(port["bare"])
        self.ports[name] = port
        self.known = {key: behind for key, behind in self.known.items() if behind != name or self.has(name, key[0])}

    def has(self, name, vlan):
        port = self.ports[name]
        return vlan is None if port["plain"] else vlan in port["has"]

    def members(self, vlan):
        return [name for name in self.ports if self.has(name, vlan)]

    def enter(self, name, frame):
        """(VLAN, the frame without the tag that said it, the tag's upper four bits) or a reason."""
        port = self.ports[name]
        if port["plain"]:
            return None, frame, 0
        if port["tunnel"] or frame[12:14] not in (b"\x81\x00", b"\x88\xa8"):
            return (port["bare"], frame, 0) if port["bare"] else "vlan_untagged"
        refusal = "vlan_foreign" if port["tags"] else "vlan_tagged"
        if len(frame) < 18:
            return refusal
        tci = int.from_bytes(frame[14:16], "big")
        bare = frame[:12] + frame[16:]
        if tci & 0xfff == 0 and frame[12:14] == b"\x81\x00":
            if bare[12:14] in TPIDS:
                return refusal
            return (port["bare"], bare, tci & 0xf000) if port["bare"] else "vlan_untagged"
        vlan = ("c" if frame[12:14] == b"\x81\x00" else "s", tci & 0xfff)
        return (vlan, bare, tci & 0xf000) if port["tags"] and vlan in port["has"] else refusal

    def leave(self, name, vlan, bare, priority):
        port = self.ports[name]
        # Without the native VLAN's tag the one behind would say another VLAN.
        hidden = port["tags"] and bare[12:14] in TPIDS
        if vlan is None or vlan == port["bare"] and not hidden:
            return bare
        tpid = b"\x81\x00" if vlan[0] == "c" else b"\x88\xa8"
        return bare[:12] + tpid + (priority | vlan[1]).to_bytes(2, "big") + bare[12:]

    def forward(self, name, frame, learn):
        """{port: frame}"""
        entered = self.enter(name, frame)
        if isinstance(entered, str):
            self.drops[name, entered] += 1
            return {}
        vlan, bare, priority = entered
        dst, src = bare[:6], bare[6:12]
        to = self.known.get((vlan, dst))
        if learn:
            self.known[vlan, src] = name
        if to == name:
            self.drops[name, "same_port"] += 1
            return {}
        if to:
            if self.ports[name]["isolated"] and self.ports[to]["isolated"]:
                self.drops[name, "isolated"] += 1
                return {}
            return {to: self.leave(to, vlan, bare, priority)}
        if dst[:5] == b"\x01\x80\xc2\x00\x00" and dst[5] < 16:
            self.drops[name, "bpdu"] += 1
            return {}
        ports = [
            other for other in self.members(vlan)
            if other != name and not (self.ports[name]["isolated"] and self.ports[other]["isolated"])]
        if not ports:
            self.drops[name, "no_port"] += 1
        return {other: self.leave(other, vlan, bare, priority) for other in ports}


class Stream:
    """The other end of a stream port."""

    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(path)
        self.buffer = bytearray()

    def send(self, frames):
        self.sock.sendall(b"".join(len(frame).to_bytes(4, "big") + frame for frame in frames))

    def take(self):
        """The whole frames that have come."""
        self.buffer += self.sock.recv(1 << 20, socket.MSG_DONTWAIT)
        frames, at = [], 0
        while at + 4 <= len(self.buffer):
            end = at + 4 + int.from_bytes(self.buffer[at:at + 4], "big")
            if end > len(self.buffer):
                break
            frames.append(bytes(self.buffer[at + 4:end]))
            at = end
        del self.buffer[:at]
        return frames


def vlan_text(vlan):
    return "0" if vlan is None else f"{'s' * (vlan[0] == 's')}{vlan[1]}"


def number_of(frame):
    """The frame's number, behind its tags; None: it is too short for one."""
    at = 12
    while frame[at:at + 2] in (b"\x81\x00", b"\x88\xa8"):
        at += 4
    return int.from_bytes(frame[at + 2:at + 6], "big") if len(frame) >= at + 6 else None


class Compared(SocketTest):
    def setUp(self):
        super().setUp()
        self.seed = int(os.environ.get("VNICD_TEST_SEED", random.randrange(1 << 31)))
        self.random = random.Random(self.seed)
        self.reference = Reference()
        self.number = 0
        self.sent_to = collections.Counter()
        paths = {name: os.path.join(self.dir, f"{name}.sock") for name in LINES}
        ports = {}
        for name, lines in LINES.items():
            ports[name] = f"stream,listen={paths[name]}" + (f",{lines[0]}" if lines[0] else "")
            self.reference.set(name, lines[0])
        self.vnicd = self.start(ports, mode="switch,ageing=100000s")
        self.streams = {name: Stream(path) for name, path in paths.items()}
        self.addCleanup(lambda: [stream.sock.close() for stream in self.streams.values()])
        until(lambda: all(p["link"] == "up" for p in self.vnicd.rpc("port.list")))

    def owner(self, vlan, m):
        members = self.reference.members(vlan)
        return members[(m * 7 + hash_of(vlan)) % len(members)] if members else None

    def tags_of(self, name, vlan):
        """That say this VLAN at this port."""
        port = self.reference.ports[name]
        if vlan is None or vlan == port["bare"] and (not port["tags"] or self.random.random() < 0.7):
            if vlan is None or port["tunnel"] or self.random.random() < 0.8:
                return b""
            return b"\x81\x00" + (self.random.randrange(16) << 12).to_bytes(2, "big")
        return (b"\x81\x00" if vlan[0] == "c" else b"\x88\xa8") + (self.random.randrange(16) << 12 | vlan[1]).to_bytes(2, "big")

    def frame(self, dst, src, tags):
        self.number += 1
        return dst + src + tags + TYPE + self.number.to_bytes(4, "big") + bytes(self.random.randrange(90))

    def exchange(self, sent, learn):
        """[(port, frame)]: what comes out is what the reference says, from each port to each in order."""
        expected = {name: collections.defaultdict(list) for name in self.streams}
        count = collections.Counter()
        origin = {}
        by_port = collections.defaultdict(list)
        for name, frame in sent:
            by_port[name].append(frame)
            out = self.reference.forward(name, frame, learn)
            origin[number_of(frame)] = name
            for to, what in out.items():
                expected[to][name].append(what)
                count[to] += 1
        self.sent_to += count
        for name, frames in by_port.items():
            self.streams[name].send(frames)
        got = {name: collections.defaultdict(list) for name in self.streams}
        left = +count
        deadline = time.monotonic() + 20
        by_sock = {stream.sock: name for name, stream in self.streams.items()}
        while left:
            ready, _, _ = select.select(list(by_sock), [], [], max(0, deadline - time.monotonic()))
            self.assertTrue(ready, f"seed {self.seed}: missing {dict(left)}")
            for sock in ready:
                name = by_sock[sock]
                frames = self.streams[name].take()
                left[name] -= len(frames)
                for frame in frames:
                    got[name][origin.get(number_of(frame))].append(frame)
            left = +left
        for name in self.streams:
            self.assertEqual(got[name], expected[name], f"seed {self.seed}: to {name}")

    def introduce(self):
        """All stations of all VLANs speak, until the table is the reference's."""
        vlans = {None} | {vlan for port in self.reference.ports.values() for vlan in port["has"]
                          if vlan[1] in (10, 20, 30, 35, 100)}
        self.vlans = sorted(vlans, key=str)
        self.exchange([(self.owner(vlan, m), self.frame(BROADCAST, mac_of(m), self.tags_of(self.owner(vlan, m), vlan)))
                       for vlan in self.vlans for m in range(MACS)], True)
        self.check_table()

    def check_table(self):
        wanted = sorted((vlan_text(vlan), mac.hex(":"), port) for (vlan, mac), port in self.reference.known.items())

        def table():
            return sorted((s["vlan"], s["mac"].lower(), s["port"]) for s in self.vnicd.rpc("fdb.list")["stations"])
        end = time.monotonic() + 10
        while table() != wanted and time.monotonic() < end:
            time.sleep(0.02)
        self.assertEqual(table(), wanted, f"seed {self.seed}")

    def random_frame(self):
        r = self.random
        kind = r.random()
        name = r.choice(list(self.streams))
        if kind < 0.15:
            # Whatever: of a VLAN that the port may not have, cut off, two tags.
            tags = b"".join(r.choice((b"\x81\x00", b"\x88\xa8")) + r.choice((0, 1, 5, 10, 20, 30, 35, 100, 4095, r.randrange(4096))).to_bytes(2, "big")
                            for _ in range(r.choice((1, 1, 2))))
            frame = self.frame(BROADCAST, bytes.fromhex("02ee00000001"), tags)
            entered = self.reference.enter(name, frame)
            if r.random() < 0.05:
                cut = frame[:r.randrange(14, 18)]
                if isinstance(self.reference.enter(name, cut), str):
                    return name, cut
            if isinstance(entered, str):
                return name, frame
            vlan = entered[0]
            if vlan not in self.vlans:
                # A VLAN whose stations are nobody's: only what does not teach.
                return name, BROADCAST + b"\x01" + frame[7:]
            tags = frame[12:frame.index(TYPE)]
        else:
            vlan = r.choice([vlan for vlan in self.vlans if self.reference.has(name, vlan)])
            tags = self.tags_of(name, vlan)
            if r.random() < 0.1:
                tags += b"\x81\x00\x00\x07"
                if self.reference.ports[name]["tags"] and tags.startswith(b"\x81\x00\x00\x07"):
                    tags = tags[4:]
        own = [m for m in range(MACS) if self.owner(vlan, m) == name]
        src = mac_of(r.choice(own)) if own else b"\x01" + bytes(5)
        pick = r.random()
        if pick < 0.6:
            dst = mac_of(r.randrange(MACS))
        elif pick < 0.75:
            dst = BROADCAST
        elif pick < 0.8:
            dst = b"\x01\x80\xc2\x00\x00" + bytes([r.randrange(20)])
        elif pick < 0.9:
            dst = b"\x01\x00\x5e" + r.randbytes(3)
        else:
            dst = b"\x02\xdd" + r.randbytes(4)
        frame = self.frame(dst, src, tags)
        entered = self.reference.enter(name, frame)
        if not isinstance(entered, str) and entered[0] != vlan:
            return name, frame[:6] + b"\x01" + frame[7:]
        return name, frame

    @pytest.mark.timeout(2400)
    def test_random_frames(self):
        self.introduce()
        sent, since = 0, 0
        while sent < FRAMES:
            self.exchange([self.random_frame() for _ in range(BATCH)], False)
            sent += BATCH
            since += BATCH
            if since >= 4000:
                since = 0
                self.check_table()
                self.change()
        # Nothing came that was not waited for.
        self.assertEqual({name: port["tx_packets"] for name, port in self.vnicd.stats().items()},
                         {name: self.sent_to[name] for name in LINES}, f"seed {self.seed}")
        drops = {(name, reason): n for name, port in self.vnicd.stats().items() for reason, n in port["drops"].items() if n}
        self.assertEqual(drops, {key: n for key, n in self.reference.drops.items() if n}, f"seed {self.seed}")
        # All of them have been seen.
        reasons = {reason for _, reason in drops}
        self.assertEqual(reasons, {"vlan_tagged", "vlan_untagged", "vlan_foreign", "same_port", "isolated", "no_port", "bpdu"})

    def change(self):
        """A port becomes another one."""
        name = self.random.choice([name for name, lines in LINES.items() if len(lines) > 1])
        line = self.random.choice(LINES[name])
        said = line or "vlan=0"
        if "isolated" not in line:
            said += ",isolated=off"
        elif line == "isolated=on":
            said += ",vlan=0"
        self.vnicd.rpc("port.set", {"name": name, "options": said})
        self.reference.set(name, line)
        self.check_table()
        self.introduce()


def hash_of(vlan):
    return 0 if vlan is None else vlan[1] + 5 * (vlan[0] == "s")


def mac_of(m):
    return b"\x02\xaa\x00\x00\x00" + bytes([m])


if __name__ == "__main__":
    unittest.main(verbosity=2)

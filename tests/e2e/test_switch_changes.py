# SPDX-License-Identifier: BSD-3-Clause
"""The switch changes under load: ports come, go and become others, VLANs, mirrors, static stations; two neighbours exchange
numbered frames meanwhile, and lose none."""
import itertools
import os
import pathlib
import random
import socket
import sys
import threading
import unittest

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lib")]
import vnictest  # noqa: E402
from sockettest import SocketTest, until  # noqa: E402

CHANGES = 10_000 if vnictest.LONG else 400
WINDOW = 64
TYPE = b"\x88\xb5"
SHAPES = ("vlan=10", "vlan=20", "trunk=10+20,native=30", "trunk=1-4094", "qinq=10", "vlan=0", "isolated=on,vlan=10", "isolated=off,vlan=10",
          "guard=mac,vlan=10", "guard=off", "storm-broadcast=10pps", "storm-broadcast=0", "learn-limit=3,learn-full=drop",
          "learn-limit=0,learn-full=flood", "police-in=1mbit", "police-in=0", "loop=ignore")


class Pair:
    """Two stations behind streams, in one VLAN; each sends numbered frames, and answers nothing."""

    def __init__(self, paths, macs, tag=b""):
        self.tag = tag
        self.socks = [socket.socket(socket.AF_UNIX) for _ in paths]
        for sock, path in zip(self.socks, paths):
            sock.connect(path)
            sock.settimeout(20)
        self.macs = macs
        self.sent = [0, 0]
        self.got = [0, 0]
        self.buffers = [bytearray(), bytearray()]
        self.failure = None
        self.stop = threading.Event()

    def header(self, side):
        """Of what this side sends."""
        return self.macs[1 - side] + self.macs[side] + self.tag + TYPE

    def frames(self, side, n):
        frames = (self.header(side) + (self.sent[side] + i).to_bytes(8, "big") + bytes(60) for i in range(n))
        return b"".join(len(frame).to_bytes(4, "big") + frame for frame in frames)

    def take(self, side):
        """Those for this side, in order."""
        buffer, header = self.buffers[side], self.header(1 - side)
        data = self.socks[side].recv(1 << 18)
        if not data:
            raise AssertionError("the stream has ended")
        buffer += data
        while len(buffer) >= 4 and len(buffer) >= 4 + int.from_bytes(buffer[:4], "big"):
            length = int.from_bytes(buffer[:4], "big")
            frame = bytes(buffer[4:4 + length])
            del buffer[:4 + length]
            # On a trunk, what is flooded of the other VLAN is the other pair's.
            if frame[12:12 + len(self.tag)] != self.tag:
                continue
            number = int.from_bytes(frame[len(header):len(header) + 8], "big")
            if frame[:len(header)] != header or number != self.got[side]:
                raise AssertionError(f"frame {number} where {self.got[side]} was due: {frame.hex()}")
            self.got[side] += 1

    def run(self):
        try:
            while not self.stop.is_set():
                for side in (0, 1):
                    self.socks[side].sendall(self.frames(side, WINDOW))
                    self.sent[side] += WINDOW
                for side in (0, 1):
                    while self.got[side] < self.sent[1 - side]:
                        self.take(side)
        except (AssertionError, OSError) as error:
            self.failure = f"{error!r}, sent {self.sent}, got {self.got}"


class Changes(SocketTest):
    @pytest.mark.timeout(1800)
    def test_under_load(self):
        seed = int(os.environ.get("VNICD_TEST_SEED", random.randrange(1 << 31)))
        rng = random.Random(seed)
        names = ("a", "b", "c", "d")
        paths = {name: os.path.join(self.dir, name) for name in names}
        ports = {"a": "vlan=10", "b": "vlan=10", "c": "trunk=10+30", "d": "trunk=10+30"}
        vnicd = self.start({name: f"stream,listen={paths[name]},{keys}" for name, keys in ports.items()}, mode="switch,ageing=10000s")
        # One pair by access ports, one by trunks, which say the same addresses in VLAN 30.
        access = Pair([paths["a"], paths["b"]], [bytes([2, 0, 0, 0, 0, i]) for i in (1, 2)])
        tagged = Pair([paths["c"], paths["d"]], [bytes([2, 0, 0, 0, 0, i]) for i in (1, 2)], b"\x81\x00\x00\x1e")
        until(lambda: all(p["link"] == "up" for p in vnicd.rpc("port.list")))
        threads = [threading.Thread(target=pair.run, daemon=True) for pair in (access, tagged)]
        for thread in threads:
            thread.start()
        others, mirrors, made = [], [], itertools.count()
        for i in range(CHANGES):
            kind = rng.random()
            if len(others) < 2 or (kind < 0.1 and len(others) < 12):
                name = f"x{next(made)}"
                line = f"{name}=stream,listen={self.dir}/{name}" + rng.choice(["", ",vlan=10", ",vlan=20", ",trunk=20+40"])
                vnicd.rpc("port.add", {"config": line})
                others.append(name)
            elif kind < 0.2:
                name = others.pop(rng.randrange(len(others)))
                vnicd.rpc("port.remove", {"name": name})
            elif kind < 0.8:
                name, shape = rng.choice(others), rng.choice(SHAPES)
                try:
                    vnicd.rpc("port.set", {"name": name, "options": shape})
                except vnictest.RpcError as error:
                    # What contradicts what the port is, and nothing else.
                    self.assertRegex(str(error), "contradict|is of learn-limit=|no trunk=", shape)
            elif kind < 0.9:
                if mirrors and rng.random() < 0.5:
                    vnicd.rpc("mirror.remove", {"name": mirrors.pop()})
                else:
                    name = f"m{i}"
                    try:
                        vnicd.rpc("mirror.add", {"config": f"{name},from={rng.choice('abcd')}+{rng.choice(others)},to={others[0]}"})
                        mirrors.append(name)
                    except vnictest.RpcError as error:
                        self.assertRegex(str(error), "copies of its copies|on the other side|is not a list|twice", name)
            else:
                name, mac = rng.choice(others), f"52:54:00:00:00:{rng.randrange(40):02x}"
                try:
                    vnicd.rpc("fdb.add", {"port": name, "mac": mac})
                except vnictest.RpcError as error:
                    self.assertIn("which VLAN", str(error))
                if rng.random() < 0.3:
                    vnicd.rpc("fdb.flush", {"port": name})
            for pair in (access, tagged):
                self.assertIsNone(pair.failure, f"seed {seed}, after change {i}")
        for pair in (access, tagged):
            pair.stop.set()
        for thread in threads:
            thread.join(30)
        for pair, at in ((access, "ab"), (tagged, "cd")):
            self.assertIsNone(pair.failure, f"seed {seed}")
            self.assertEqual(pair.got, pair.sent[::-1])
            self.assertGreater(min(pair.got), 1000)
            for name in at:
                drops = vnicd.stats()[name]["drops"]
                self.assertEqual({reason: n for reason, n in drops.items() if reason != "link_down"}, {}, f"seed {seed}: {name}")


if __name__ == "__main__":
    unittest.main(verbosity=2)

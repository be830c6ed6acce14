# SPDX-License-Identifier: BSD-3-Clause
"""The peer of a stream port takes its time, lies, does not read, goes and comes."""
import os
import pathlib
import socket
import struct
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lib")]
import rawfe as fe  # noqa: E402
from sockettest import SocketTest, free_port, recv_exactly, until  # noqa: E402

FRAME_MAX = 14 + 2 * 4 + 40 + 65535


class StreamPeer(SocketTest):
    """A peer that is made here: it takes its time, lies, goes and comes."""

    def setUp(self):
        super().setUp()
        self.port = free_port()
        self.vnicd = self.start({"a": "vhost-user", "up0": f"stream,listen=127.0.0.1:{self.port}"})
        self.a = self.guest(self.vnicd, "a")

    def connect(self):
        peer = socket.create_connection(("127.0.0.1", self.port))
        peer.settimeout(10)
        self.addCleanup(peer.close)
        return peer

    def connected(self):
        until(lambda: self.link(self.vnicd) == "down")
        peer = self.connect()
        until(lambda: self.link(self.vnicd) == "up")
        return peer

    def drops(self):
        return {r: n for r, n in self.vnicd.stats()["up0"]["drops"].items() if n}

    def packed(self, frame):
        return struct.pack(">I", len(frame)) + frame

    def test_a_byte_at_a_time(self):
        peer, frames = self.connected(), [fe.ethernet(os.urandom(n)) for n in (0, 46, 300)]
        for byte in b"".join(map(self.packed, frames)):
            peer.send(bytes([byte]))
        self.assertEqual([self.a.receive_frame() for _ in frames], frames)

    def test_lengths(self):
        """0 to 13 bytes are runts and no harm; more than a frame can have ends the connection."""
        peer = self.connected()
        for n in range(14):
            peer.sendall(self.packed(bytes(n)))
        peer.sendall(self.packed(fe.ethernet(b"after")))
        self.assertEqual(self.a.receive_frame(), fe.ethernet(b"after"))
        self.assertEqual(self.drops(), {"runt": 14})
        for length in (FRAME_MAX + 1, 0x7fffffff, 0xffffffff):
            with self.subTest(length):
                peer.sendall(struct.pack(">I", length) + bytes(100))
                self.assertEqual(peer.recv(1), b"")
                peer = self.connected()
        peer.sendall(self.packed(fe.ethernet(b"and again")))
        self.assertEqual(self.a.receive_frame(), fe.ethernet(b"and again"))
        self.assertRegex(self.vnicd.output, "connection to 127.0.0.1:.* ended: it says that a frame is longer than frames are")

    def test_half_a_frame_at_the_end_is_nothing(self):
        peer = self.connected()
        peer.sendall(self.packed(fe.ethernet(b"whole")) + self.packed(fe.ethernet(bytes(1000)))[:500])
        peer.close()
        self.assertEqual(self.a.receive_frame(), fe.ethernet(b"whole"))
        peer = self.connected()
        peer.sendall(self.packed(fe.ethernet(b"a new connection starts afresh")))
        self.assertEqual(self.a.receive_frame(), fe.ethernet(b"a new connection starts afresh"))
        self.assertEqual(self.vnicd.stats()["up0"]["rx_packets"], 2)

    def test_who_does_not_read(self):
        """Frames wait up to a limit, then they are dropped and counted; nothing else is disturbed, none is torn."""
        peer, sent, payload = self.connected(), 0, bytes(1800)
        while self.drops().get("tx_full", 0) == 0:
            self.assertLess(sent, 20000, "there is a limit")
            for _ in range(100):
                self.a.send_frame(fe.ethernet(struct.pack("!I", sent) + payload))
                sent += 1
        counted = self.vnicd.stats()["up0"]
        self.assertEqual(counted["tx_packets"] + counted["drops"]["tx_full"], sent)
        numbers = []
        while len(numbers) < counted["tx_packets"]:
            size, = struct.unpack(">I", recv_exactly(peer, 4))
            numbers.append(struct.unpack_from("!I", recv_exactly(peer, size), 14)[0])
        self.assertEqual(numbers, sorted(set(numbers)), "in order, each once")

    def test_one_peer(self):
        peer = self.connected()
        other = self.connect()
        self.assertEqual(other.recv(1), b"", "sent away")
        peer.sendall(self.packed(fe.ethernet(b"the first stays")))
        self.assertEqual(self.a.receive_frame(), fe.ethernet(b"the first stays"))
        self.assertIn("a port has one peer", self.vnicd.output)

    def test_without_a_peer(self):
        self.a.send_frame(fe.ethernet(b"nobody there"))
        until(lambda: self.drops() == {"link_down": 1})

    def test_goes_and_comes(self):
        for i in range(20):
            peer = self.connected()
            frame = fe.ethernet(struct.pack("!I", i))
            self.a.send_frame(frame)
            self.assertEqual(recv_exactly(peer, 4 + len(frame)), self.packed(frame))
            peer.close()
        fds = len(os.listdir(f"/proc/{self.vnicd.pid}/fd"))
        for _ in range(20):
            self.connected().close()
        until(lambda: self.link(self.vnicd) == "down")
        # The last is closed when no worker can be using it, a moment after the link is down.
        until(lambda: len(os.listdir(f"/proc/{self.vnicd.pid}/fd")) <= fds)


if __name__ == "__main__":
    unittest.main(verbosity=2)

# SPDX-License-Identifier: BSD-3-Clause
"""Ports that are sockets: stream and dgram: two vnicd joined by them, with a QEMU between them or not."""
import os
import pathlib
import shutil
import socket
import struct
import subprocess
import sys
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lib"), str(HERE.parent / "hostile")]
import netns  # noqa: E402
import rawfe as fe  # noqa: E402
import vnictest  # noqa: E402
import wire as w  # noqa: E402
from sockettest import SocketTest, free_port, recv_exactly, until  # noqa: E402


class Joined(SocketTest):
    """A guest behind each of two vnicd."""

    def join(self, first, second):
        self.one, self.two = self.start({"a": "vhost-user", "up0": first}), self.start({"b": "vhost-user", "up0": second})
        until(lambda: self.link(self.one) == "up" and self.link(self.two) == "up")
        return self.guest(self.one, "a"), self.guest(self.two, "b")

    def exchange(self, a, b, many=30):
        for source, sink in ((a, b), (b, a)):
            for length in (14, 60, 61, 1514, 1900):
                frame = fe.ethernet(os.urandom(length - 14))
                source.send_frame(frame)
                self.assertEqual(sink.receive_frame().hex(), frame.hex())
            # Many at once, in their order.
            frames = [fe.ethernet(struct.pack("!I", i) + bytes(100)) for i in range(many)]
            for frame in frames:
                source.send_frame(frame, wait=False)
            self.assertEqual([sink.receive_frame() for _ in frames], frames)
        for vnicd in (self.one, self.two):
            self.assertEqual({p: s["drops"] for p, s in vnicd.stats().items() if s["drops"]}, {})

    def test_stream_tcp(self):
        port = free_port()
        self.exchange(*self.join(f"stream,listen=127.0.0.1:{port}", f"stream,connect=localhost:{port}"))

    def test_stream_tcp_ipv6(self):
        port = free_port()
        self.exchange(*self.join(f"stream,listen=[::1]:{port}", f"stream,connect=[::1]:{port}"))

    def test_stream_unix(self):
        path = os.path.join(self.dir, "stream.sock")
        self.exchange(*self.join(f"stream,listen={path}", f"stream,connect={path}"))
        self.assertEqual(oct(os.stat(path).st_mode & 0o777), "0o660")

    def test_dgram_udp(self):
        p, q = free_port(socket.SOCK_DGRAM), free_port(socket.SOCK_DGRAM)
        self.exchange(*self.join(f"dgram,local=127.0.0.1:{p},remote=127.0.0.1:{q}",
                                 f"dgram,local=127.0.0.1:{q},remote=127.0.0.1:{p}"))

    def test_dgram_unix(self):
        p, q = os.path.join(self.dir, "p.sock"), os.path.join(self.dir, "q.sock")
        # The kernel lets ten wait for a reader (net.unix.max_dgram_qlen).
        self.exchange(*self.join(f"dgram,local={p},remote={q}", f"dgram,local={q},remote={p}"), many=8)

    def test_dgram_group(self):
        """Nobody gets back what he has sent."""
        group = f"230.{os.getpid() >> 8 & 255}.{os.getpid() & 255}.1:{free_port(socket.SOCK_DGRAM)}"
        line = f"dgram,local=127.0.0.1:0,remote={group}"
        a, b = self.join(line, line)
        self.exchange(a, b)
        self.assertEqual(self.one.stats()["up0"]["rx_packets"], self.two.stats()["up0"]["tx_packets"])

    def qemu(self, *netdevs):
        """One without a machine: netdevs a and b, joined by its hub."""
        program = shutil.which("qemu-system-x86_64")
        if not program:
            self.skipTest("qemu-system-x86_64 is not installed (Debian package qemu-system-x86)")
        args = [program, "-M", "none", "-display", "none", "-nodefaults", "-serial", "none", "-monitor", "none"]
        for name, netdev in zip("ab", netdevs):
            args += ["-netdev", netdev.replace("ID", name), "-netdev", f"hubport,id=h{name},hubid=0,netdev={name}"]
        proc = vnictest.Proc(args, name="qemu")
        self.addCleanup(proc.kill9)
        return proc

    def through_qemu(self, first, second, *netdevs):
        self.one, self.two = self.start({"a": "vhost-user", "up0": first}), self.start({"b": "vhost-user", "up0": second})
        qemu = self.qemu(*netdevs)
        until(lambda: not qemu.alive() or (self.link(self.one) == "up" and self.link(self.two) == "up"))
        self.assertTrue(qemu.alive(), qemu.output)
        a, b = self.guest(self.one, "a"), self.guest(self.two, "b")
        # Datagrams have no link: QEMU may still be opening its sockets.
        deadline = time.monotonic() + 10
        while True:
            a.send_frame(fe.ethernet(b"hello"))
            try:
                self.assertEqual(b.receive_frame(timeout=0.5), fe.ethernet(b"hello"))
                break
            except fe.Silent:
                self.assertLess(time.monotonic(), deadline)
        b.drain(0.2)
        before = {v: v.stats()["up0"]["drops"] for v in (self.one, self.two)}
        for source, sink in ((a, b), (b, a)):
            for length in (14, 60, 1514, 1900):
                frame = fe.ethernet(os.urandom(length - 14))
                source.send_frame(frame)
                self.assertEqual(sink.receive_frame().hex(), frame.hex())
        self.assertEqual({v: v.stats()["up0"]["drops"] for v in (self.one, self.two)}, before)

    def test_qemu_stream_and_dgram(self):
        s, p, q = free_port(), free_port(socket.SOCK_DGRAM), free_port(socket.SOCK_DGRAM)
        host = "addr.type=inet,addr.host=127.0.0.1,addr.port="
        self.through_qemu(f"stream,listen=127.0.0.1:{s}", f"dgram,local=127.0.0.1:{p},remote=127.0.0.1:{q}",
                          f"stream,id=ID,server=off,{host}{s}",
                          f"dgram,id=ID,local.type=inet,local.host=127.0.0.1,local.port={q},"
                          f"remote.type=inet,remote.host=127.0.0.1,remote.port={p}")

    def test_qemu_listens(self):
        """And -netdev socket, which is older and speaks the same."""
        s, t = free_port(), os.path.join(self.dir, "qemu.sock")
        self.through_qemu(f"stream,connect=127.0.0.1:{s}", f"stream,connect={t}",
                          f"socket,id=ID,listen=127.0.0.1:{s}", f"stream,id=ID,server=on,addr.type=unix,addr.path={t}")

    def test_unfinished_frames_are_finished(self):
        """No header goes along: a frame for TSO becomes frames, with their checksums."""
        port = free_port()
        self.one = self.start({"a": "vhost-user", "up0": f"stream,listen=127.0.0.1:{port}"})
        peer = socket.create_connection(("127.0.0.1", port))
        self.addCleanup(peer.close)
        until(lambda: self.link(self.one) == "up")
        wire = w.Wire(self.one.sock("a"), queues=1, features=w.BASE | w.GIVES_OFFLOADS)
        self.addCleanup(wire.close)
        wire.start()
        data = os.urandom(1700)
        packet = w.tcp(data, src="10.0.0.1", dst="10.0.0.2", sport=1, dport=2, partial=True)
        wire.inject(w.ethernet(packet, dst=w.MAC, kind=w.ETH_IP), 0, flags=w.NEEDS_CSUM, gso_type=w.GSO_TCPV4, gso_size=1000,
                    hdr_len=54, csum_start=34, csum_offset=16)
        wire.flush()
        got = b""
        for _ in range(2):
            size, = struct.unpack(">I", recv_exactly(peer, 4))
            packet = w.Packet(recv_exactly(peer, size))
            self.assertTrue(packet.checksum_is_whole())
            got += packet.payload
        self.assertEqual(got, data)


class StreamClient(SocketTest):
    def test_connects_again(self):
        """1 s after the first failure, and at once when it has had a connection."""
        port = free_port()
        vnicd = self.start({"a": "vhost-user", "up0": f"stream,connect=127.0.0.1:{port}"})
        time.sleep(0.2)
        self.assertEqual(self.link(vnicd), "down")
        self.assertRegex(vnicd.output, f"no connection to 127.0.0.1:{port}: Connection refused")
        listener = socket.create_server(("127.0.0.1", port))
        self.addCleanup(listener.close)
        listener.settimeout(10)
        peer, _ = listener.accept()
        until(lambda: self.link(vnicd) == "up")
        peer.close()
        peer, _ = listener.accept()
        peer.close()


class Loopback(SocketTest):
    def test_without_another_address(self):
        """An address is one, whatever this machine has besides."""
        ns = netns.Netns()
        self.addCleanup(ns.remove)
        vnicd = vnictest.Vnicd({"a": "stream,listen=127.0.0.1:7000", "b": "dgram,local=127.0.0.1:7001,remote=127.0.0.1:7002"},
                               netns=ns.name)
        self.addCleanup(lambda: self.assertEqual(vnicd.stop(), 0, vnicd.output))
        self.assertEqual([p["name"] for p in vnicd.rpc("port.list")], ["a", "b"])


class Refused(SocketTest):
    def test_each(self):
        for line, cause, hint in (
                ("stream", "listens or connects", "listen=ADDRESS"),
                ("stream,listen=:1,connect=:2", "listens or connects", "listen=ADDRESS"),
                ("stream,listen=:7000,queues=2", "one connection is one queue pair", "queues=1"),
                ("stream,listen=nowhere", "it names no port", r"HOST:PORT"),
                ("stream,listen=::1:7000", "an IPv6 address stands in brackets", r"\[IPV6\]:PORT"),
                ("stream,connect=no.such.host.invalid:7000", "listen|connect", r"HOST:PORT"),
                (f"stream,listen=/{'x' * 200}", "the path is too long", "HOST:PORT"),
                ("dgram", "needs a remote address", "local=:7000,remote="),
                ("dgram,remote=127.0.0.1:7000", "without local= nothing comes", "local=:PORT"),
                ("dgram,remote=/tmp/x.sock", "two unix sockets need two paths", "local="),
                ("dgram,local=127.0.0.1:1,remote=/tmp/x.sock", "of two families", "both of IPv4"),
                ("dgram,local=[::1]:7000,remote=[ff02::1]:7000", "groups of IPv6", "a group of IPv4")):
            with self.subTest(line):
                done = subprocess.run([vnictest.VNICD, "--port", f"up0={line}", "--forward-mode", "switch"],
                                      capture_output=True, text=True, timeout=30,
                                      env=dict(os.environ, RUNTIME_DIRECTORY=self.dir))
                lines = done.stderr.splitlines()
                self.assertIn(done.returncode, (1, 2))
                self.assertRegex(lines[-2], "port up0.*" + cause)
                self.assertRegex(lines[-1], hint)

    def test_somebody_listens_there(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            vnicd = self.start({"a": "vhost-user"}, "switch")
            with self.assertRaisesRegex(vnictest.RpcError, "Address already in use"):
                vnicd.rpc("port.add", {"config": f"up0=stream,listen=127.0.0.1:{port}"})


if __name__ == "__main__":
    unittest.main(verbosity=2)

# SPDX-License-Identifier: BSD-3-Clause
"""What tests of ports that are sockets have in common."""
import pathlib
import socket
import sys
import time
import unittest

import vnictest

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "hostile"))
import rawfe as fe  # noqa: E402


def free_port(kind=socket.SOCK_STREAM):
    """Of the moment; two lanes hardly ever get the same."""
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def until(condition, seconds=10):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s")
        time.sleep(0.02)


class SocketTest(unittest.TestCase):
    def setUp(self):
        self.guests = []
        self.dir = vnictest.tmpdir()

    def start(self, ports, mode="io"):
        vnicd = vnictest.Vnicd(ports, mode)

        def stop():
            for guest in self.guests:
                guest.close()
            self.assertEqual(vnicd.stop(), 0, vnicd.output)
        self.addCleanup(stop)
        return vnicd

    def guest(self, vnicd, port, **options):
        guest = fe.RawFrontend(vnicd.sock(port), **options).start()
        self.guests.append(guest)
        return guest

    def link(self, vnicd, port="up0"):
        return vnicd.rpc("port.show", {"name": port})["link"]


def recv_exactly(sock, n):
    data = b""
    while len(data) < n:
        more = sock.recv(n - len(data))
        if not more:
            raise AssertionError(f"the connection ended after {len(data)} of {n} bytes")
        data += more
    return data

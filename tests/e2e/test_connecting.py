#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""How front-ends and ports find each other: a second front-end, one that says nothing, a client that finds nobody; what
the log and guest.show say of it."""
import os
import pathlib
import re
import shutil
import socket
import stat
import subprocess
import sys
import time
import unittest

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "lib"), str(HERE.parent / "hostile")]
import rawfe as fe  # noqa: E402
import vnictest  # noqa: E402

# A process of its own, and of its own name, that connects and prints what becomes of that.
OTHER = """
import ctypes, socket, sys
ctypes.CDLL(None).prctl(15, b"other\\x1b[7m", 0, 0, 0)
s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
s.settimeout(20)
s.connect(sys.argv[1])
try:
    print("data" if s.recv(1) else "closed")
except ConnectionResetError:
    print("closed")
"""


class Case(vnictest.WithGuests, unittest.TestCase):
    def start(self, ports, **kwargs):
        self.vnicd = vnictest.Vnicd(ports, "io", **kwargs)
        self.addCleanup(self.stop)
        self.guests = []

    def show(self, port):
        return self.vnicd.rpc("guest.show", {"name": port})

    def wait(self, what, condition, timeout=10):
        deadline = time.monotonic() + timeout
        while not condition():
            self.assertLess(time.monotonic(), deadline, f"{what}; log:\n{self.vnicd.output}")
            time.sleep(0.02)

    def logged(self, pattern):
        return [line for line in self.vnicd.output.splitlines() if re.search(pattern, line)]


class Server(Case):
    def setUp(self):
        self.start({"a": "vhost-user", "b": "vhost-user"})

    def guest(self, port, **kwargs):
        guest = fe.RawFrontend(self.vnicd.sock(port), **kwargs)
        self.guests.append(guest)
        return guest

    def connect(self, port):
        s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.addCleanup(s.close)
        s.settimeout(10)
        s.connect(self.vnicd.sock(port))
        return s

    def assert_closed(self, s):
        try:
            self.assertEqual(s.recv(1), b"")
        except ConnectionResetError:
            pass

    def pass_frames(self, a, b):
        for src, dst in ((a, b), (b, a)):
            frame = fe.ethernet(os.urandom(100))
            src.send_frame(frame)
            self.assertEqual(dst.receive_frame(), frame)

    def test_second_front_end_is_told_who_is_there(self):
        a, b = self.guest("a").start(), self.guest("b").start()
        other = subprocess.Popen([sys.executable, "-c", OTHER, self.vnicd.sock("a")], stdout=subprocess.PIPE, text=True)
        output, _ = other.communicate(timeout=30)
        self.assertEqual(output, "closed\n")
        self.vnicd.expect(rf"warning: port a: front-end pid {other.pid}( \(other\?\[7m\))? refused: "
                          rf"pid {os.getpid()} \(.+\) is connected; stop one of them", 5)
        self.pass_frames(a, b)

    def test_one_line_for_one_that_goes_on_trying(self):
        a, b = self.guest("a").start(), self.guest("b").start()
        began = time.monotonic()
        for _ in range(12):
            self.assert_closed(self.connect("a"))
        self.assertGreater(time.monotonic() - began, 0.5, "as often as it likes")
        self.vnicd.expect("refused", 5)
        self.assertEqual(len(self.logged("refused")), 1)
        self.pass_frames(a, b)
        # As soon as the place is free it is given away.
        a.close()
        self.guests.remove(a)
        self.pass_frames(self.guest("a").start(), b)

    def test_show_says_who_is_there(self):
        self.assertIsNone(self.show("a")["front_end"])
        guest = self.guest("a").start()
        with open("/proc/self/comm") as f:
            name = f.read().rstrip("\n")
        self.assertEqual(self.show("a")["front_end"], {"pid": os.getpid(), "name": name})
        self.assertIsNone(self.show("a")["connecting"])
        guest.disconnect()
        self.wait("still shown", lambda: self.show("a")["front_end"] is None)

    def test_a_silent_connection_gives_way(self):
        silent = self.connect("a")
        self.wait("not connected", lambda: self.show("a")["connected"])
        time.sleep(1.2)
        self.assertTrue(self.show("a")["connected"], "nobody else came")
        b = self.guest("b").start()
        a = self.guest("a").start()
        self.assert_closed(silent)
        self.assertEqual(len(self.logged("port a: front-end disconnected: it has never sent anything")), 1)
        self.pass_frames(a, b)
        self.assertFalse(self.logged("refused"))

    def test_a_slow_front_end_is_not_sent_away(self):
        """It has a second for its first byte even if somebody else comes meanwhile."""
        slow = self.guest("a")
        second = self.connect("a")
        time.sleep(0.4)
        slow.start()
        self.assert_closed(second)
        self.vnicd.expect("port a: front-end .* refused", 5)
        self.pass_frames(slow, self.guest("b").start())

    @pytest.mark.long
    def test_many_silent_ones(self):
        """Each gives way to the next, and the one that speaks stays."""
        held = [self.connect("a")]
        for _ in range(2):
            held.append(self.connect("a"))
        for s in held[:-1]:
            self.assert_closed(s)
        self.wait("the last one is there", lambda: self.show("a")["connected"])
        a = self.guest("a").start()
        self.assert_closed(held[-1])
        self.pass_frames(a, self.guest("b").start())

    def test_front_end_that_comes_back_at_once(self):
        """The end of its connection and the new one arrive together: it is the same place, and free."""
        b = self.guest("b").start()
        for _ in range(50):
            guest = fe.RawFrontend(self.vnicd.sock("a"))
            self.assertEqual(len(guest.ask(fe.GET_FEATURES)), 8)
            guest.close()
        self.assertFalse(self.logged("refused"))
        self.pass_frames(self.guest("a").start(), b)

    def test_two_qemus(self):
        qemu = shutil.which("qemu-system-x86_64")
        if not qemu:
            self.skipTest("qemu-system-x86_64 is not installed (Debian package qemu-system-x86)")
        procs = []

        def run():
            procs.append(vnictest.Proc([
                qemu, "-S", "-machine", "q35", "-accel", "tcg", "-m", "64", "-nodefaults", "-display", "none",
                "-object", "memory-backend-memfd,id=mem,size=64M,share=on", "-numa", "node,memdev=mem",
                "-chardev", f"socket,id=c0,path={self.vnicd.sock('a')}", "-netdev", "vhost-user,id=n0,chardev=c0",
                "-device", "virtio-net-pci,netdev=n0,vectors=0,romfile="], name="qemu"))
            self.addCleanup(procs[-1].kill9)
            return procs[-1]
        first = run()
        self.vnicd.expect(rf"port a: front-end connected: pid {first.pid} \(qemu-system", 20)
        second = run()
        self.vnicd.expect(rf"front-end pid {second.pid} \(qemu-system.*\) refused: pid {first.pid} \(qemu-system", 20)
        second.expect("Failed to read msg header", 10)
        time.sleep(0.5)
        self.assertEqual(len(self.logged("refused")), 1)
        self.assertEqual(self.show("a")["front_end"]["pid"], first.pid)
        first.kill9()
        self.wait("the second has not got the place", lambda: (self.show("a")["front_end"] or {}).get("pid") == second.pid)


class Client(Case):
    """mode=client: why nobody is connected."""

    def setUp(self):
        self.dir = vnictest.tmpdir()
        self.inner = os.path.join(self.dir, "inner")
        self.path = os.path.join(self.inner, "fe.sock")
        # Without what lets root into everything.
        wrapper = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search") if os.geteuid() == 0 else ()
        self.start({"a": f"vhost-user,mode=client,path={self.path}", "b": "vhost-user"}, wrapper=wrapper)

    def expect_reason(self, cause, hint, level=""):
        """Shown, and logged once."""
        self.wait(f"no '{cause}'", lambda: cause in (self.show("a")["connecting"] or {}).get("failure", ""))
        shown = self.show("a")["connecting"]
        self.assertEqual((shown["failure"], hint in shown["hint"]), (f"socket {self.path}: {cause}", True), shown)
        time.sleep(0.35)        # some more attempts
        lines = self.logged(re.escape(cause))
        self.assertEqual(lines, [f"vnicd: {level}port a: no front-end yet, trying on: {shown['failure']}; {shown['hint']}"])

    def bind(self, kind):
        s = socket.socket(socket.AF_UNIX, kind)
        self.addCleanup(s.close)
        s.bind(self.path)
        return s

    def test_each_reason_is_logged_when_it_changes(self):
        self.expect_reason(f"the directory {self.inner} does not exist", "make it")
        os.mkdir(self.inner)
        # The same error number as before, so not a line of its own; the reason shown is today's.
        self.wait("the directory is there", lambda: "does not exist" in self.show("a")["connecting"]["failure"]
                  and "directory" not in self.show("a")["connecting"]["failure"])
        pathlib.Path(self.path).touch()
        self.expect_reason("a file that is no socket is there", "name the socket", "warning: ")
        os.unlink(self.path)
        datagram = self.bind(socket.SOCK_DGRAM)
        self.expect_reason("not a stream socket", "name a stream socket", "warning: ")
        datagram.close()
        os.unlink(self.path)
        self.bind(socket.SOCK_STREAM).close()
        self.expect_reason("nobody listens there", "start the process")
        os.chmod(self.inner, 0)
        self.addCleanup(os.chmod, self.inner, stat.S_IRWXU)
        self.expect_reason("permission denied", f"allow user {os.geteuid()} to write", "warning: ")
        self.wait("the seconds do not pass", lambda: self.show("a")["connecting"]["seconds"] >= 1)
        self.assertLess(self.show("a")["connecting"]["seconds"], 10)
        os.chmod(self.inner, stat.S_IRWXU)
        os.unlink(self.path)
        guest = fe.RawFrontend(listen=self.path)
        self.guests.append(guest)
        guest.negotiate()
        shown = self.show("a")
        self.assertEqual((shown["connected"], shown["connecting"], shown["front_end"]["pid"]), (True, None, os.getpid()))

    def test_the_same_reason_again_after_a_connection(self):
        os.mkdir(self.inner)
        self.wait("nothing is logged", lambda: len(self.logged("does not exist")) == 1)
        guest = fe.RawFrontend(listen=self.path)
        guest.negotiate()
        guest.close()
        self.wait("nothing is logged", lambda: len(self.logged("does not exist")) == 2)
        self.assertIsNone(self.show("a")["front_end"])

    def test_a_silent_front_end_is_kept(self):
        """We called it: nobody else waits for the place."""
        os.mkdir(self.inner)
        guest = fe.RawFrontend(listen=self.path)
        self.guests.append(guest)
        time.sleep(1.3)     # one that calls us has a second
        guest.negotiate()
        self.assertEqual(len(self.logged("front-end connected")), 1)

    def test_printed_for_a_person(self):
        text = subprocess.run([str(vnictest.ROOT / "usertools/vnicctl"), "--socket", self.vnicd.control, "guest", "show", "a"],
                              check=True, capture_output=True, text=True).stdout
        self.assertRegex(text, r"(?m)^connected +no$")
        self.assertRegex(text, rf"(?m)^connecting\n  failure +socket {self.path}: .*\n  hint +\S.*\n  seconds +\d+$")


if __name__ == "__main__":
    unittest.main(verbosity=2)

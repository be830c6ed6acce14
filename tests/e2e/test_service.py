# SPDX-License-Identifier: BSD-3-Clause
"""As a service: what the manager is told, and the log file that is rotated."""
import os
import pathlib
import signal
import socket
import sys
import time
import unittest

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "lib"))
import vnictest  # noqa: E402

PORTS = {"a": "vhost-user"}


class Notify(unittest.TestCase):
    """A manager's socket (sd_notify(3))."""

    def manager(self, address):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(sock.close)
        sock.bind(address)
        sock.settimeout(10)
        return sock

    def run_vnicd(self, address, **env):
        name = address.replace("\0", "@")
        vnicd = vnictest.Vnicd(PORTS, "hub", env={"NOTIFY_SOCKET": name, **env})
        self.addCleanup(vnicd.kill9)
        return vnicd

    def test_from_start_to_stop(self):
        address = os.path.join(vnictest.tmpdir(), "notify")
        manager = self.manager(address)
        vnicd = self.run_vnicd(address)
        self.assertEqual(manager.recv(4096), b"READY=1")
        self.assertTrue(os.path.exists(vnicd.sock("a")))
        self.assertEqual(vnicd.stop(), 0)
        # And no watchdog that nobody has asked for.
        self.assertEqual(manager.recv(4096), b"STOPPING=1")

    def test_watchdog(self):
        address = f"\0vnicd-test-{os.getpid()}"
        manager = self.manager(address)
        vnicd = self.run_vnicd(address, WATCHDOG_USEC="40000")
        self.assertEqual(manager.recv(4096), b"READY=1")
        self.assertEqual([manager.recv(4096) for _ in range(3)], [b"WATCHDOG=1"] * 3)
        # It is the control thread that is alive.
        vnicd.signal(signal.SIGSTOP)
        time.sleep(0.1)
        manager.settimeout(0.2)
        with self.assertRaises(TimeoutError):
            while True:
                manager.recv(4096)
        vnicd.signal(signal.SIGCONT)
        manager.settimeout(10)
        self.assertEqual(manager.recv(4096), b"WATCHDOG=1")
        self.assertEqual(vnicd.stop(), 0)

    @pytest.mark.long
    def test_another_process_is_watched(self):
        address = os.path.join(vnictest.tmpdir(), "notify")
        manager = self.manager(address)
        vnicd = self.run_vnicd(address, WATCHDOG_USEC="4000", WATCHDOG_PID="1")
        self.assertEqual(manager.recv(4096), b"READY=1")
        time.sleep(0.05)
        self.assertEqual(vnicd.stop(), 0)
        self.assertEqual(manager.recv(4096), b"STOPPING=1")

    @pytest.mark.long
    def test_a_manager_that_does_not_read(self):
        """Its queue is full: nobody waits for it."""
        address = os.path.join(vnictest.tmpdir(), "notify")
        self.manager(address)
        vnicd = self.run_vnicd(address, WATCHDOG_USEC="2000")
        time.sleep(0.1)
        self.assertEqual(len(vnicd.stats()), 1)
        self.assertEqual(vnicd.stop(), 0)


class LogFile(unittest.TestCase):
    def wait_for(self, path, text):
        deadline = time.monotonic() + 10
        while text not in (path.read_text() if path.exists() else ""):
            self.assertLess(time.monotonic(), deadline, f"{text!r} never came to {path}")
            time.sleep(0.01)

    def start(self, path, *extra, **kwargs):
        vnicd = vnictest.Vnicd(PORTS, "hub", extra=["--log-file", str(path), *extra], wait=False, **kwargs)
        self.addCleanup(vnicd.kill9)
        return vnicd

    def test_rotated(self):
        work = pathlib.Path(vnictest.tmpdir())
        log, old = work / "log", work / "log.1"
        # Also where who started it ignores SIGHUP: nohup.
        vnicd = self.start(log, wrapper=["env", "--ignore-signal=HUP"])
        self.wait_for(log, "vnicd: ready")
        self.assertEqual(vnicd.output, "")
        log.rename(old)
        vnicd.rpc("port.add", {"config": "b=vhost-user"})
        self.wait_for(old, "port b")
        vnicd.signal(signal.SIGHUP)
        self.wait_for(log, "log file opened again")
        before = old.read_text()
        self.assertEqual(vnicd.stop(), 0)
        self.assertEqual(old.read_text(), before)
        self.assertIn("stopping: SIGTERM", log.read_text())

    @pytest.mark.long
    def test_can_not_be_opened_again(self):
        log = pathlib.Path(vnictest.tmpdir(), "log")
        vnicd = self.start(log)
        self.wait_for(log, "vnicd: ready")
        log.rename(f"{log}.1")
        log.mkdir()
        vnicd.signal(signal.SIGHUP)
        self.wait_for(pathlib.Path(f"{log}.1"), "SIGHUP: the log goes on where it was: --log-file")
        self.assertEqual(vnicd.stop(), 0)

    def test_failures_are_told_on_the_terminal_too(self):
        log = pathlib.Path(vnictest.tmpdir(), "log")
        vnicd = self.start(log, "--control-socket", "/nowhere/vnicd.ctl")
        self.assertEqual(vnicd.wait(), 1)
        for text in (log.read_text(), vnicd.output):
            self.assertIn("socket /nowhere/vnicd.ctl: No such file or directory", text)

    def test_no_such_directory(self):
        vnicd = self.start("/nowhere/log")
        self.assertEqual(vnicd.wait(), 2)
        self.assertIn("vnicd: --log-file /nowhere/log: No such file or directory\n  name a file", vnicd.output)


if __name__ == "__main__":
    unittest.main(verbosity=2)

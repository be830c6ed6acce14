# SPDX-License-Identifier: BSD-3-Clause
"""usertools/guest: a Linux guest with one command. What README shows of it, a console, is in test_readme.py."""
import os
import pathlib
import subprocess
import sys
import unittest

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "lib"), str(HERE.parent / "guests")]
import guests  # noqa: E402
import vnictest  # noqa: E402

GUEST = str(vnictest.ROOT / "usertools/guest")


def guest(*words, run_dir="/nowhere", timeout=180):
    # --no-install: a test installs nothing.
    return subprocess.run([GUEST, *words, "--no-install"], env=dict(os.environ, RUNTIME_DIRECTORY=run_dir), capture_output=True,
                          text=True, timeout=timeout, stdin=subprocess.DEVNULL)


class Words(unittest.TestCase):
    def refused(self, *words):
        done = guest(*words)
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        return done.stderr.splitlines()

    def test_no_socket(self):
        self.assertEqual(self.refused("uml", "vm7"), [
            "guest: no socket /nowhere/vm7.sock",
            "  start vnicd with --port vm7=vhost-user (or vnicctl port add), or name it: --socket PATH"])

    @pytest.mark.long
    def test_for_the_other_kind(self):
        self.assertIn("--queues is for qemu", self.refused("uml", "--queues", "2")[-1])
        self.assertIn("--listen is for qemu", self.refused("uml", "--listen")[-1])
        self.assertIn("is no address of a station", self.refused("qemu", "--mac", "01:00:00:00:00:01")[-1])

    def test_printed(self):
        try:
            guests.UmlGuest.probe()
        except guests.Missing as e:
            self.skipTest(str(e))
        done = guest("uml", "vm3", "--print", "--mac", "52:54:00:00:00:09", "--socket", "/s/x.sock")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        for word in ("virtio_uml.device=/s/x.sock:1", "gmac=52:54:00:00:00:09", "gip=10.0.0.4/24", "gshell"):
            self.assertIn(word, done.stdout.split())


@pytest.mark.guest
@pytest.mark.long
class Run(guests.GuestTest):
    """--run: output and exit status are those of the command in the guest."""

    def test_uml(self):
        vnicd = self.start({"vm0": "vhost-user", "vm1": "vhost-user"}, "switch")
        done = guest("uml", "vm1", "--mac", "52:54:00:00:00:07", "--run", "cat /sys/class/net/eth0/address; exit 7",
                     run_dir=vnicd.run_dir)
        self.assertEqual((done.returncode, done.stdout), (7, "52:54:00:00:00:07\n"), done.stderr)

    def test_two_guests(self):
        guests.QemuGuest.probe()
        vnicd = self.start({"vm0": "vhost-user", "vm1": "vhost-user,queues=2"}, "switch")
        with guests.UmlGuest(vnicd.sock("vm0"), "10.0.0.1/24") as other:
            other.wait_ready()
            done = guest("qemu", "vm1", "--queues", "2", "--run", "ping -c 2 10.0.0.1 && ls /sys/class/net/eth0/queues",
                         run_dir=vnicd.run_dir)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("2 packets received", done.stdout)
        self.assertIn("tx-1", done.stdout)

    def test_out_of_time(self):
        vnicd = self.start({"vm0": "vhost-user"}, "hub")
        done = guest("uml", "--timeout", "1", "--run", "sleep 60", run_dir=vnicd.run_dir)
        self.assertEqual(done.returncode, 3, done.stderr)
        self.assertIn("took longer than 1 s", done.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)

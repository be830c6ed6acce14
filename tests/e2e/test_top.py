# SPDX-License-Identifier: BSD-3-Clause
"""vnicctl top: its table, its order, and its way back."""
import contextlib
import curses
import json
import os
import pathlib
import pty
import select
import subprocess
import sys
import time
import unittest

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lib"), str(HERE.parents[1] / "usertools")]
import vnictest  # noqa: E402
from vnicctl_commands import top  # noqa: E402

VNICCTL = HERE.parents[1] / "usertools" / "vnicctl"


def port(rx, tx, **drops):
    return {"rx_packets": rx, "rx_bytes": 100 * rx, "tx_packets": tx, "tx_bytes": 100 * tx, "drops": drops}


class Fake:
    """Answers as a vnicd whose counters go on."""

    def __init__(self):
        self.n = 0

    def call(self, method, params=None):
        if method == "stats.get":
            self.n += 1
            n = self.n
            return {"time": 1000.0 + 2 * n, "ports": {"a": dict(port(20 * n, 0), queues=[port(20 * n, 0), port(0, 0)]),
                                                      "b": port(0, 4000 * n, no_buffer=10 * n, filtered=4)}}
        return {"version": "1", "forward_mode": "io", "pool": {"in_use": 3, "size": 9},
                "workers": [{"idx": 0, "cpus": [1], "queues": 3, "turns": 1000 * self.n, "busy_turns": 250 * self.n}]}


class Top(unittest.TestCase):
    def test_screen(self):
        screen = top.Screen(Fake(), 1.0)
        screen.look()
        self.assertEqual(screen.text(), ["..."])
        screen.look()
        rows = [line.split() for line in screen.text()[4:]]
        self.assertEqual(rows[0], ["b", "0", "0", "2.00k", "1.60M", "5", "no_buffer", "5"])
        self.assertEqual(rows[1], ["a", "10", "8.00k", "0", "0", "0"])
        self.assertEqual(rows[4], ["0", "1", "3", "25%", "500"])
        self.assertEqual(screen.text()[-1], "pool: 3 of 9 packet buffers in use")
        screen.key(ord("n"))
        screen.key(ord("q"))
        self.assertEqual([line.split()[0] for line in screen.text()[4:8]], ["a", "pair", "pair", "b"])
        # Back, where it stays while more comes, and to the present again.
        screen.look()
        screen.key(curses.KEY_LEFT)
        was = screen.text()
        self.assertIn(", 2 s ago; by name", was[0])
        screen.look()
        self.assertEqual(screen.text()[3:], was[3:])
        self.assertIn(", 4 s ago", screen.text()[0])
        screen.key(curses.KEY_END)
        self.assertNotIn("ago", screen.text()[0])
        for _ in range(1000):
            screen.look()
        self.assertEqual(len(screen.looks), 601)
        for _ in range(1000):
            screen.key(curses.KEY_LEFT)
        self.assertIn(f", {2 * 599} s ago", screen.text()[0])

    @pytest.mark.long
    def test_live(self):
        vnicd = vnictest.Vnicd({"a": "vhost-user", "b": "vhost-user"}, "io")
        self.addCleanup(vnicd.stop)
        command = ["/usr/bin/python3", str(VNICCTL), "--socket", vnicd.control, "top", "--interval", "0.1"]
        done = subprocess.run([*command, "--once"], capture_output=True, text=True, timeout=20)
        self.assertEqual((done.returncode, [line.split()[0] for line in done.stdout.splitlines()[:3]]), (0, ["port", "a", "b"]), done.stderr)
        done = subprocess.run([*command, "--once", "--json"], capture_output=True, text=True, timeout=20)
        self.assertEqual([p["name"] for p in json.loads(done.stdout)["ports"]], ["a", "b"])
        master, slave = pty.openpty()
        proc = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=dict(os.environ, TERM="xterm"), start_new_session=True)
        os.close(slave)
        self.addCleanup(lambda: (proc.kill(), proc.wait(), os.close(master)))
        text, deadline = b"", time.monotonic() + 10
        while b"pool: " not in text and time.monotonic() < deadline:
            if select.select([master], [], [], 0.5)[0]:
                text += os.read(master, 65536)
        self.assertIn(b"pool: ", text)
        proc.send_signal(2)
        with contextlib.suppress(OSError):  # its end is gone
            while proc.poll() is None and time.monotonic() < deadline:
                if select.select([master], [], [], 0.1)[0]:
                    os.read(master, 65536)
        self.assertEqual(proc.wait(5), 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)

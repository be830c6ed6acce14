# SPDX-License-Identifier: BSD-3-Clause
"""vnicctl events: what happens is told once, in order, and in bounds."""
import json
import pathlib
import subprocess
import sys
import time
import unittest

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lib"), str(HERE.parent / "hostile")]
import rawfe as fe  # noqa: E402
import vnictest  # noqa: E402

VNICCTL = HERE.parents[1] / "usertools" / "vnicctl"


class Events(unittest.TestCase):
    def setUp(self):
        self.vnicd = vnictest.Vnicd({"a": "vhost-user,learn-limit=1", "b": "vhost-user"}, "switch")
        self.addCleanup(self.vnicd.stop)

    def ctl(self, *args):
        done = subprocess.run(["/usr/bin/python3", str(VNICCTL), "--socket", self.vnicd.control, "events", *args],
                              capture_output=True, text=True, timeout=20)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def seen(self, port=None):
        return [(e["event"], e.get("port")) for e in self.vnicd.rpc("events.list")["events"] if port in (None, e.get("port"))]

    def test_all_kinds(self):
        self.assertEqual(self.seen(), [("port_added", "a"), ("port_added", "b")])
        follow = subprocess.Popen(["/usr/bin/python3", str(VNICCTL), "--socket", self.vnicd.control, "events", "a", "--follow", "--json"],
                                  stdout=subprocess.PIPE, text=True)
        self.addCleanup(lambda: (follow.kill(), follow.wait(), follow.stdout.close()))
        self.assertEqual(json.loads(follow.stdout.readline())["event"], "port_added")
        a = fe.RawFrontend(self.vnicd.sock("a")).start()
        self.addCleanup(a.close)
        self.assertEqual([json.loads(follow.stdout.readline())["event"] for _ in range(2)], ["connected", "features"])
        second = fe.RawFrontend(self.vnicd.sock("a"))
        second.wait_closed()
        second.close()
        for i in range(2):
            a.send_frame(fe.ethernet(bytes(50), dst=b"\xff" * 6, src=bytes([2, 0, 0, 0, 0, i])))
        for link in ("down", "up"):
            self.vnicd.rpc("port.set", {"name": "a", "link": link})
            self.wait(lambda: f"link is {link}" in [e["text"] for e in self.vnicd.rpc("events.list")["events"]])
        self.vnicd.rpc("port.set", {"name": "a", "options": "police-in=1gbit"})
        # A descriptor that is not there.
        pair = a.pairs[0]
        pair.tx.offer(5000)
        pair.tx.publish()
        pair.tx.kick_now()
        self.wait(lambda: ("fault", "a") in self.seen("a"))
        a.disconnect()
        self.wait(lambda: self.seen("a")[-1][0] == "disconnected")
        self.vnicd.rpc("port.remove", {"name": "b"})
        kinds = [kind for kind, _ in self.seen("a")]
        self.assertEqual([k for k in kinds if k != "limit"],
                         ["port_added", "connected", "features", "refused", "link", "link", "port_set", "fault", "disconnected"])
        self.assertEqual(kinds.count("limit"), 1)
        self.assertEqual(self.seen()[-1], ("port_removed", "b"))
        text = self.ctl("a").splitlines()
        self.assertEqual([line.split()[2] for line in text], kinds)
        self.assertEqual(self.ctl("--since", "0.000s"), "")
        known = {line.split()[0] for line in self.ctl("--describe").splitlines()[1:]}
        self.assertLessEqual(set(kinds), known)

    def wait(self, condition):
        deadline = time.monotonic() + 10
        while not condition():
            self.assertLess(time.monotonic(), deadline, self.vnicd.rpc("events.list"))
            time.sleep(0.01)

    @pytest.mark.long
    def test_again_and_again(self):
        """The same is one event; many others push the oldest out."""
        for _ in range(20):
            self.vnicd.rpc("port.set", {"name": "a", "options": "police-in=1gbit"})
        last = self.vnicd.rpc("events.list")
        self.assertEqual([(e["event"], e["times"]) for e in last["events"][2:]], [("port_set", 20)])
        for i in range(1100):
            self.vnicd.rpc("port.set", {"name": "a", "options": f"police-in={100 + i}mbit"})
        reply = self.vnicd.rpc("events.list", {"after": str(last["last"])})
        self.assertEqual(len(reply["events"]), 1024)
        self.assertEqual(reply["events"][-1]["seq"], reply["last"])
        self.assertEqual(self.vnicd.rpc("events.list", {"after": str(reply["last"])})["events"], [])
        with self.assertRaises(vnictest.RpcError):
            self.vnicd.rpc("events.list", {"after": "x"})


if __name__ == "__main__":
    unittest.main(verbosity=2)

# SPDX-License-Identifier: BSD-3-Clause
"""What the tests themselves promise: nothing that they have started is left, however they end."""
import os
import pathlib
import signal
import subprocess
import sys
import time
import unittest

LIB = pathlib.Path(__file__).resolve().parents[1] / "lib"
sys.path.insert(0, str(LIB))
import vnictest  # noqa: E402

STARTS_ONE = """
import sys, time
sys.path.insert(0, sys.argv[1])
import vnictest
print(vnictest.Vnicd({"vm0": "vhost-user", "vm1": "vhost-user"}).pid, flush=True)
time.sleep(60)
"""


class Killed(unittest.TestCase):
    def left_over(self, signum):
        with subprocess.Popen([sys.executable, "-c", STARTS_ONE, str(LIB)], stdout=subprocess.PIPE, text=True) as test:
            pid = int(test.stdout.readline())
            test.send_signal(signum)
            test.wait()
        deadline = time.monotonic() + 10
        while os.path.exists(f"/proc/{pid}/exe") and time.monotonic() < deadline:
            if open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0] == "Z":
                return False
            time.sleep(0.02)
        return os.path.exists(f"/proc/{pid}/exe")

    def test_vnicd_ends_with_its_test(self):
        for signum in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
            with self.subTest(signum.name):
                self.assertFalse(self.left_over(signum), "vnicd goes on without its test")


if __name__ == "__main__":
    unittest.main(verbosity=2)

#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""The speed that is promised from the first day: as fast as the usual back-end, with one forwarding core.

Short, so it says little about how much faster; compare.py is for that. Skipped where it can't be measured: no
hugepages, one CPU, or other programs running.
"""
import os
import pathlib
import shutil
import statistics
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import compare  # noqa: E402
import vnictest  # noqa: E402

PAIRS = 3
MORE_PAIRS = 8  # when three pairs leave a doubt; then all of them count
DURATION_S = 2
QUIET_WAIT_S = 30


class GuestToGuest(unittest.TestCase):
    def at_least_as_fast(self, workload):
        if not shutil.which("dpdk-testpmd"):
            self.skipTest("no dpdk-testpmd (Debian package dpdk-dev) to compare with")
        # A missing program of ours is a failure, not a skip.
        self.assertTrue(os.access(vnictest.VNICD, os.X_OK), f"no vnicd at {vnictest.VNICD}")
        runs = self.measure(workload, PAIRS)
        if self.ratio(runs) < 1.0:
            more = self.measure(workload, MORE_PAIRS)
            runs = {key: runs[key] + more[key] for key in runs}
        self.assertGreaterEqual(self.ratio(runs), 1.0,
                                f"vnicd is slower than testpmd's net_vhost over {len(runs['a'])} pairs")

    @staticmethod
    def ratio(runs):
        return statistics.median(run["mpps"] for run in runs["a"]) / statistics.median(run["mpps"] for run in runs["b"])

    def measure(self, workload, pairs):
        """{"a": [report..], "b": [report..]}: vnicd's runs and testpmd's."""
        ours, peer = compare.backend("vnicd"), compare.backend("testpmd")
        try:
            cpus = compare.Cpus()
            with compare.hugepages(reserve=os.geteuid() == 0):
                result = compare.compare(ours, peer, [workload], cpus, pairs=pairs, duration_s=DURATION_S,
                                         quiet_wait_s=QUIET_WAIT_S, say=lambda s: print(s, file=sys.stderr))
        except compare.NotPossible as why:
            self.skipTest(str(why))
        row = result[workload]
        print(compare.table(ours, peer, result), file=sys.stderr)
        for run in row["runs"]["a"]:
            self.assertIsNot(run["conserved"], False,
                             f"{run['missing']} frames missing, vnicd counted {run['backend_drops']} as dropped")
            for name, flow in run["whole_run"].items():
                self.assertEqual((flow["duplicated"], flow["reordered"], flow["foreign"]), (0, 0, 0), name)
        return row["runs"]

    def test_split_64(self):
        self.at_least_as_fast("64-split-256")

    def test_packed_64(self):
        self.at_least_as_fast("64-packed-256")


if __name__ == "__main__":
    unittest.main()

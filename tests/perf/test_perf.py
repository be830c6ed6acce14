#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""The speed that is promised: as fast as the usual back-end, with one forwarding core, and what the features of the
control queue may cost.

Short, so it says little about how much faster; vnic-bench is for that. Skipped where it can't be measured, within
seconds: no hugepages, one CPU, other programs running, or CPUs that are not the same from moment to moment. What the
features' code takes is counted always.
"""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import unittest

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import control_cost  # noqa: E402
from bench import backends, machine, measure, report, rows  # noqa: E402
from bench.machine import vnictest  # noqa: E402

BUDGET_S = 2  # of slices
MORE_BUDGET_S = 20  # when these leave a doubt
LOOK_WAIT_S = 3
COST_BUDGET_S = 20
COST_MARGIN_MAX = 0.1  # of what a frame costs without the feature; a wider margin is not believed


class GuestToGuest(unittest.TestCase):
    not_possible = None

    @classmethod
    def setUpClass(cls):
        """A few seconds decide whether there is anything to compare."""
        try:
            machine.look(machine.Cpus(), LOOK_WAIT_S)
        except machine.NotPossible as why:
            raise unittest.SkipTest(str(why)) from why

    def at_least_as_fast(self, workload):
        if not shutil.which("dpdk-testpmd"):
            self.skipTest("no dpdk-testpmd (Debian package dpdk-dev) to compare with")
        # A missing program of ours is a failure, not a skip.
        self.assertTrue(os.access(vnictest.VNICD, os.X_OK), f"no vnicd at {vnictest.VNICD}")
        ratio = self.measure(workload, BUDGET_S)
        if ratio["high"] < 1.0:
            ratio = self.measure(workload, MORE_BUDGET_S)
        self.assertGreaterEqual(ratio["high"], 1.0,
                                f"vnicd is slower than testpmd's net_vhost, over {ratio['n']} pairs of slices")

    def measure(self, workload, budget_s):
        """The ratio of vnicd's rate to testpmd's, with its interval."""
        row, cls = rows.ROWS[workload], type(self)
        if cls.not_possible:
            self.skipTest(cls.not_possible)
        try:
            plan = measure.Plan(machine.Cpus(), budget_s=budget_s, quiet_wait_s=LOOK_WAIT_S, reserve=os.geteuid() == 0,
                                costs=False, say=lambda s: print(s, file=sys.stderr))
            result = measure.measure_row(row, measure.sides_of(row, backends.backend("vnicd")), plan)
        except machine.NotPossible as why:
            cls.not_possible = str(why)     # the other case need not find out
            self.skipTest(str(why))
        print(report.table({plan.kind: {"rows": {workload: result}}}), file=sys.stderr)
        for end in result["ends"]:
            run = end["a"]
            self.assertIsNot(run["conserved"], False,
                             f"{run['missing']} frames missing, vnicd counted {run['backend_drops']} as dropped")
            for name, flow in run["whole_run"].items():
                self.assertEqual((flow["duplicated"], flow["reordered"], flow["foreign"]), (0, 0, 0), name)
        figure = result["figures"][0]
        if figure["refused"]:
            self.skipTest(figure["refused"])
        return figure["ratio"]

    @pytest.mark.long
    def test_split_64(self):
        self.at_least_as_fast("64-split-256")

    def test_packed_64(self):
        self.at_least_as_fast("64-packed-256")


class ControlFeatureCode(unittest.TestCase):
    """How many instructions a feature's code takes for a frame, counted one by one: the same on every machine, whatever
    else it does. For each ISA variant that this CPU has."""

    def within_budget(self, row):
        program = machine.program_path("bench_control")
        for isa, gate in control_cost.GATE.items():
            with self.subTest(isa):
                done = subprocess.run([program, "--json", "--instructions", "--isa", isa, "--row", row],
                                      capture_output=True, text=True, timeout=120, check=False)
                if isa != "portable" and "not for this CPU" in done.stderr:
                    print(f"{isa}: not for this CPU", file=sys.stderr)
                    continue
                self.assertEqual(done.returncode, 0, done.stderr.strip())
                report = json.loads(done.stdout)
                self.assertEqual((report["isa"], report["unit"]), (isa, "instructions"))
                for name, figures in report["rows"].items():
                    print(f"{isa} {name}: {figures['cost']:.1f} instructions a frame", file=sys.stderr)
                    self.assertGreater(figures["cost"], 0, name)
                    self.assertLessEqual(figures["cost"], gate[row], f"{name}: instructions a frame")

    def test_rss(self):
        self.within_budget("rss")

    def test_filter(self):
        self.within_budget("filter")

    def test_hash_report(self):
        self.within_budget("hash-report-with-rss")


@pytest.mark.long
class ControlFeaturePath(unittest.TestCase):
    """The same from guest to guest through a whole vnicd, where lines travel between CPUs: control_cost.py. Four minutes,
    two CPUs that nobody else uses, 640 hugepages of 2 MiB."""

    def within_budget(self, row):
        self.assertTrue(os.access(vnictest.VNICD, os.X_OK), f"no vnicd at {vnictest.VNICD}")
        figures = self.measure(row, COST_BUDGET_S)
        if self.excess(figures) > 0:
            figures = self.measure(row, 2 * COST_BUDGET_S)
        self.assertGreaterEqual(min(figures["guest_idle_share"].values()), control_cost.IDLE_MIN,
                                f"{row}: the guests are the limit, so the worker's cost doesn't show")
        self.assertLessEqual(self.excess(figures), 0,
                             f"{row}: {figures['difference']['median']:.1f} +- {figures['margin']:.1f} TSC cycles a "
                             f"frame over {figures['pairs']} pairs, {figures['allowed']:.1f} allowed")

    @staticmethod
    def excess(figures):
        """Cycles over what is allowed that chance doesn't explain."""
        margin = min(figures["margin"], COST_MARGIN_MAX * figures["off"]["median"])
        return figures["difference"]["median"] - figures["allowed"] - margin

    def measure(self, row, budget_s):
        try:
            plan = measure.Plan(machine.Cpus(), budget_s=budget_s, reserve=os.geteuid() == 0, costs=False,
                                settle=lambda taken, name: False, say=lambda s: print(s, file=sys.stderr))
            result = control_cost.measure(backends.backend("vnicd"), [row], plan)
        except machine.NotPossible as why:
            self.skipTest(str(why))
        print(control_cost.table(result), file=sys.stderr)
        return result[row]

    def test_rss_split(self):
        self.within_budget("rss-split")

    def test_rss_packed(self):
        self.within_budget("rss-packed")

    def test_filter_split(self):
        self.within_budget("filter-split")

    def test_filter_packed(self):
        self.within_budget("filter-packed")

    def test_hash_report_split(self):
        self.within_budget("hash-report-split")

    def test_hash_report_packed(self):
        self.within_budget("hash-report-packed")


if __name__ == "__main__":
    unittest.main()

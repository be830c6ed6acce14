# SPDX-License-Identifier: BSD-3-Clause
"""The notification scheme of lib/virtq/notify.c, proved on a model by Spin: every interleaving under x86's memory order.

The scheme has to hold for both ways in which a driver asks, and with bursts that are held back anywhere (coalescing);
the others have to fail, each lacking one thing that the scheme depends on: without them a proof could be one of nothing.
"""
import pathlib
import sys
import unittest

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from explore import HAVE_SPIN, explore  # noqa: E402


@unittest.skipUnless(HAVE_SPIN, "spin is not installed (Debian package spin)")
class Notify(unittest.TestCase):
    def explore(self, *defines):
        return explore(self, "notify.pml", *defines)

    def holds(self, *defines):
        errors, states = self.explore(*defines)
        self.assertEqual(errors, 0)
        self.assertGreater(states, 5000, "the whole state space was searched")

    def fails(self, *defines):
        self.assertEqual(self.explore(*defines)[0], 1)

    def test_flag(self):
        self.holds()

    def test_flag_more_buffers(self):
        self.holds("-DN=7")

    def test_event_index(self):
        self.holds("-DEVENT_IDX")

    @pytest.mark.long
    def test_event_index_more_buffers(self):
        self.holds("-DEVENT_IDX", "-DN=7")

    @pytest.mark.long
    def test_held_back(self):
        for defines in ((), ("-DEVENT_IDX",), ("-DN=7",), ("-DEVENT_IDX", "-DN=7")):
            self.holds("-DCOALESCE", *defines)

    @pytest.mark.long
    def test_held_back_needs_to_come_due(self):
        for defines in ((), ("-DEVENT_IDX",)):
            self.fails("-DCOALESCE", "-DNO_DUE", *defines)

    def test_flag_needs_settling(self):
        self.fails("-DNO_SETTLE")

    def test_event_index_needs_settling(self):
        self.fails("-DEVENT_IDX", "-DNO_SETTLE")

    def test_flag_needs_the_drivers_fence(self):
        self.fails("-DNO_DRIVER_FENCE")

    def test_event_index_needs_the_drivers_fence(self):
        self.fails("-DEVENT_IDX", "-DNO_DRIVER_FENCE")


if __name__ == "__main__":
    unittest.main()

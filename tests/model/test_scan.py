# SPDX-License-Identifier: BSD-3-Clause
"""Where a packed ring goes on when its back-end was killed at any step (lib/virtq/start.c, scan.pml), proved by Spin. The
mutants have to fail: without them a proof could be one of nothing.
"""
import pathlib
import sys
import unittest

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lib")]
from explore import HAVE_SPIN, explore  # noqa: E402
from vnictest import LONG  # noqa: E402


@unittest.skipUnless(HAVE_SPIN, "spin is not installed (Debian package spin)")
class Scan(unittest.TestCase):
    def explore(self, *defines):
        return explore(self, "scan.pml", *defines, optimize="-O0")

    def test_each_buffer_comes_back_once(self):
        for defines in ((), ("-DSIZE=4", "-DN=9"))[:2 if LONG else 1]:
            errors, states = self.explore(*defines)
            self.assertEqual(errors, 0)
            self.assertGreater(states, 5000, "the whole state space was searched")

    @pytest.mark.long
    def test_half_a_batch_has_to_be_settled(self):
        self.assertEqual(self.explore("-DNO_SETTLE")[0], 1)

    @pytest.mark.long
    def test_the_lap_is_in_the_slot(self):
        self.assertEqual(self.explore("-DNO_SLOT_LAP")[0], 1)

    def test_a_held_batch_may_be_published(self):
        self.assertEqual(self.explore("-DNO_LAP_CHECK")[0], 1)


if __name__ == "__main__":
    unittest.main()

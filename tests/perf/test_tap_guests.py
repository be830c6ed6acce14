#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""tap_guests.py: that its two sides are what it says, and what it makes of figures. With --long, both once."""
import os
import pathlib
import re
import sys
import unittest

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import tap_guests  # noqa: E402


class Figures(unittest.TestCase):
    def test_in_turns(self):
        order = []

        def side(name, gbps):
            class Made(tap_guests.Side):
                NAME = name

                def run(self):
                    order.append(name)
                    return {words: gbps for words, _ in tap_guests.DIRECTIONS}
            return Made("modern", 1)

        said = []
        result = tap_guests.measure([side("x", 1.0), side("y", 4.0)], 3, said.append)
        self.assertEqual(order, ["x", "y"] * 3)
        self.assertEqual(len(said), 12)
        text = tap_guests.table(result, ["x", "y"])
        for words, _ in tap_guests.DIRECTIONS:
            self.assertIn(f"{words}: x 1.000 Gbit/s, y 4.000 Gbit/s, ratio pair by pair 0.25 (0.25-0.25)", text)
        self.assertIn("emulated", text)

    def test_usage(self):
        for args in (("--pairs", "0"), ("--seconds", "0"), ("--variant", "nonsense")):
            with self.assertRaises(SystemExit) as ended:
                tap_guests.main(args)
            self.assertEqual(ended.exception.code, 2)


@pytest.mark.long
class Guests(unittest.TestCase):
    def test_both(self):
        try:
            tap_guests.check()
        except tap_guests.NotPossible as why:
            self.skipTest(str(why))
        before = set(os.listdir("/run/netns")) if os.path.exists("/run/netns") else set()
        commands = {}
        for kind in (tap_guests.VnicdTap, tap_guests.QemuTap):
            side = kind("modern", 1)
            boot = side.boot

            def remember(host, side=side, boot=boot):
                guest = boot(host)
                commands[side.NAME] = " ".join(guest.args)
                return guest

            side.boot = remember
            for words, gbps in side.run().items():
                self.assertGreater(gbps, 0.001, (side.NAME, words))
        ours, peer = commands["vnicd's tap"], commands["QEMU's tap"]
        self.assertRegex(ours, "-netdev vhost-user,")
        self.assertRegex(peer, "-netdev tap,")

        def rest(command):
            """All but what is to differ: the device's other half, and names of a run."""
            return re.sub(r"-chardev \S+ |-netdev \S+|-initrd \S+|gtoken=\S+", "", command).split()

        self.assertEqual(rest(ours), rest(peer), "the same guest")
        self.assertEqual({name for name in os.listdir("/run/netns") if name.startswith(f"vnic-{os.getpid()}-")} - before,
                         set())


if __name__ == "__main__":
    unittest.main()

#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""What a driver has set by its control queue is in effect again when vnicd was killed and its front-end is back."""
import pathlib
import sys
import unittest

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "lib"), str(HERE.parent / "hostile")]
import rawfe as fe  # noqa: E402
from invariants import CONTROL_FEATURES  # noqa: E402
from vnictest import LONG, Vnicd, tmpdir  # noqa: E402


class Settings(unittest.TestCase):
    def connect(self, guest, fresh):
        guest.connect()
        guest.negotiate()
        guest.set_memory()
        if fresh:
            guest.make_rings()
        for idx in [0, 1, guest.control_idx]:
            guest.start_ring(idx)
        guest.ask_u64(fe.GET_FEATURES)

    def shown(self, backend):
        """What the driver has set: all of it but counters and what belongs to the connection."""
        shown = backend.rpc("guest.show", {"name": "vm0"})
        for key in ("front_end", "connected", "connecting", "queues", "notices", "controlq"):
            shown.pop(key, None)
        return shown

    def run_layout(self, layout):
        work = tmpdir("vnic-rs-", where="/dev/shm")
        ports = {"vm0": "vhost-user", "vm1": "vhost-user"}
        backend = Vnicd(ports, run_dir=work)
        self.addCleanup(backend.kill9)
        features = CONTROL_FEATURES | (fe.bits(fe.F_PACKED) if layout == "packed" else 0)
        guest = fe.RawFrontend(backend.sock("vm0"), layout=layout, control=64, features=features, connect=False)
        self.addCleanup(guest.close)
        self.connect(guest, fresh=True)
        usual = self.shown(backend)
        for cls, cmd, data in ((0, 0, b"\0"), (0, 1, b"\1"), (1, 1, bytes([2, 0, 0, 0, 0x12, 0x34]))):
            self.assertEqual(guest.command(cls, cmd, data)[0], 0, (cls, cmd))
        before = self.shown(backend)
        self.assertNotEqual(before, usual)
        for _ in range(2 if LONG else 1):
            backend.kill9()
            guest.disconnect()
            backend = Vnicd(ports, run_dir=work)
            self.addCleanup(backend.kill9)
            self.connect(guest, fresh=False)
            self.assertEqual(self.shown(backend), before)
            backend.expect("its driver's settings are in effect again", 2)
            # The queue goes on.
            self.assertEqual(guest.command(0, 1, b"\1")[0], 0)
        self.assertEqual(backend.stop(), 0, backend.output)

    @pytest.mark.long
    def test_split(self):
        self.run_layout("split")

    def test_packed(self):
        self.run_layout("packed")


if __name__ == "__main__":
    unittest.main()

#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Notification coalescing, from the driver's command to the call descriptor (VIRTIO, "Notifications Coalescing")."""
import functools
import os
import pathlib
import sys
import time
import unittest

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "lib"), str(HERE.parent / "hostile")]
import rawfe as fe  # noqa: E402
from vnictest import Vnicd  # noqa: E402

FEATURES = fe.bits(fe.F_VERSION_1, fe.F_PROTOCOL, fe.F_MRG_RXBUF, fe.F_CTRL_VQ, fe.F_NOTF_COAL, fe.F_VQ_NOTF_COAL)
LAYOUTS = {"split": 0, "packed": fe.bits(fe.F_PACKED)}
FOREVER_US = 4_000_000_000
RX, TX = 0, 1
NO_INTERRUPT = 1
SHORT_S, LONG_S = 0.1, 10       # long enough to see that nothing comes; to wait for what has to come


def calls(ring, n=0):
    """Notifications of a ring since the last look: waits for n, and whether there are more."""
    deadline = time.monotonic() + LONG_S
    got = 0
    while True:
        try:
            got += os.eventfd_read(ring.call)
        except BlockingIOError:
            pass
        if got >= n or time.monotonic() >= deadline:
            break
        time.sleep(0.001)
    time.sleep(SHORT_S)
    try:
        return got + os.eventfd_read(ring.call)
    except BlockingIOError:
        return got


def each_layout(test):
    """A test that takes a layout, for all of them; each starts without guests."""
    @functools.wraps(test)
    def run(self):
        for layout in LAYOUTS:
            with self.subTest(layout=layout):
                try:
                    test(self, layout)
                finally:
                    self.doCleanups()
    return run


class Coalescing(unittest.TestCase):
    def setUp(self):
        self.vnicd = Vnicd({"vm0": "vhost-user", "vm1": "vhost-user"})

    def tearDown(self):
        self.assertEqual(self.vnicd.stop(), 0)

    def guests(self, layout, rx_buffer=2048):
        """One with a control queue, and its peer, which sends it frames."""
        guest = fe.RawFrontend(self.vnicd.sock("vm0"), layout=layout, size=256, control=64, rx_buffer=rx_buffer,
                               features=FEATURES | LAYOUTS[layout])
        peer = fe.RawFrontend(self.vnicd.sock("vm1"))
        for one in (guest, peer):
            one.start()
            self.addCleanup(one.close)
        while True:     # until both can be sent to
            peer.send_frame(fe.ethernet(b"are you there?"))
            try:
                guest.receive_frame(timeout=0.1)
                break
            except fe.Silent:
                pass
        self.quiet(guest)
        return guest, peer

    def quiet(self, guest):
        """Nothing is held back any more, and all has been heard."""
        self.rx_set(guest, 0, 0)
        self.tx_set(guest, 0, 0)
        calls(guest.ring(RX))
        calls(guest.ring(TX))

    def command(self, guest, cmd, data):
        self.assertEqual(guest.command(fe.CTRL_NOTF_COAL, cmd, data)[0], fe.OK)

    def rx_set(self, guest, *limits):
        self.command(guest, fe.NOTF_COAL_RX_SET, fe.coal(*limits))

    def tx_set(self, guest, *limits):
        self.command(guest, fe.NOTF_COAL_TX_SET, fe.coal(*limits))

    def send(self, peer, guest, n, length=100):
        """n frames, one after the other, and all received."""
        for i in range(n):
            peer.send_frame(fe.ethernet(bytes([i % 256]) * length))
            guest.receive_frame()

    @each_layout
    def test_packets(self, layout):
        guest, peer = self.guests(layout)
        self.send(peer, guest, 10)
        self.assertEqual(calls(guest.ring(RX), 10), 10, "without coalescing: each")
        self.rx_set(guest, 8, FOREVER_US)
        self.send(peer, guest, 39)
        self.assertEqual(calls(guest.ring(RX), 4), 4)
        self.send(peer, guest, 1)
        self.assertEqual(calls(guest.ring(RX), 1), 1, "the 40th")
        for limits in ((0, FOREVER_US), (8, 0), (1, FOREVER_US), (0, 0)):
            self.rx_set(guest, *limits)
            self.send(peer, guest, 10)
            self.assertEqual(calls(guest.ring(RX), 10), 10, f"{limits}: a limit of 0 means each")

    @each_layout
    def test_frames_are_counted_not_buffers(self, layout):
        guest, peer = self.guests(layout, rx_buffer=256)
        self.rx_set(guest, 8, FOREVER_US)
        self.send(peer, guest, 7, length=1000)
        self.assertEqual(calls(guest.ring(RX)), 0)
        self.send(peer, guest, 1, length=1000)
        self.assertEqual(calls(guest.ring(RX), 1), 1)

    @each_layout
    def test_from_the_guest(self, layout):
        """Of a transmit queue; by its number; the other queue is not touched."""
        guest, peer = self.guests(layout)
        self.command(guest, fe.NOTF_COAL_VQ_SET, fe.coal_vq(TX, 8, FOREVER_US))
        for i in range(20):
            guest.send_frame(fe.ethernet(bytes([i])))
        self.assertEqual(calls(guest.ring(TX), 2), 2)
        self.send(peer, guest, 3)
        self.assertEqual(calls(guest.ring(RX), 3), 3)

    @pytest.mark.long
    @each_layout
    def test_time(self, layout):
        guest, peer = self.guests(layout)
        self.rx_set(guest, 1000, 300_000)
        for _ in range(3):
            start = time.monotonic()
            self.send(peer, guest, 5)
            self.assertEqual(calls(guest.ring(RX), 1), 1)
            self.assertGreaterEqual(time.monotonic() - start, 0.29)

    def test_suppressed(self):
        guest, peer = self.guests("split")
        ring = guest.ring(RX)
        self.rx_set(guest, 4, FOREVER_US)
        guest.mem.store(ring.avail, 2, NO_INTERRUPT)
        self.send(peer, guest, 50)
        self.assertEqual(calls(ring), 0)
        guest.mem.store(ring.avail, 2, 0)
        self.send(peer, guest, 4)
        self.assertEqual(calls(ring, 1), 1)

    @each_layout
    def test_change(self, layout):
        """What is held back is due under the new limits, as in the standard's example."""
        guest, peer = self.guests(layout)
        self.rx_set(guest, 15, FOREVER_US)
        self.send(peer, guest, 10)
        self.assertEqual(calls(guest.ring(RX)), 0)
        self.rx_set(guest, 11, FOREVER_US)
        self.assertEqual(calls(guest.ring(RX)), 0)
        self.rx_set(guest, 8, FOREVER_US)
        self.assertEqual(calls(guest.ring(RX), 1), 1)
        self.send(peer, guest, 3)
        self.assertEqual(calls(guest.ring(RX)), 0)
        self.rx_set(guest, 8, 1)
        self.assertEqual(calls(guest.ring(RX), 1), 1)
        self.rx_set(guest, 8, FOREVER_US)
        self.send(peer, guest, 3)
        self.assertEqual(calls(guest.ring(RX)), 0)
        self.rx_set(guest, 0, 0)
        self.assertEqual(calls(guest.ring(RX), 1), 1, "off")

    @each_layout
    def test_stopped_queue(self, layout):
        """Whoever serves the queue next does not know what was held back: it is told when the queue stops."""
        guest, peer = self.guests(layout)
        self.rx_set(guest, 100, FOREVER_US)
        self.send(peer, guest, 3)
        self.assertEqual(calls(guest.ring(RX)), 0)
        guest.stop_ring(RX)
        self.assertEqual(calls(guest.ring(RX), 1), 1)


if __name__ == "__main__":
    unittest.main()

# SPDX-License-Identifier: BSD-3-Clause
"""Cards of a running vnicd (pci_guest.py) that lose their link, are unplugged under traffic, and plugged again."""
import os
import pathlib
import re
import sys
import threading
import time
import unittest

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lib"), str(HERE.parent / "guests"), str(HERE.parent / "hostile")]
from pci_guest import E1000, E1000E, VIRTIO, VMXNET3, PciTest  # noqa: E402


def broadcast(source):
    """A frame for everybody, unlike any other."""
    return b"\xff" * 6 + bytes([2, 0, 0, 0, 1, source]) + b"\x88\xb5" + os.urandom(50)


class Stream(threading.Thread):
    """Frames from one peer, 200 a second, to see whether another one gets them all the time."""

    def __init__(self, test, source):
        super().__init__(daemon=True)
        self.test, self.source, self.ends = test, source, threading.Event()
        self.sent = 0
        self.start()

    def run(self):
        while not self.ends.wait(0.005):
            try:
                self.test.peers[self.source].sendto(broadcast(self.source), self.test.sockets[self.source] + ".qemu")
                self.sent += 1
            except OSError:
                pass  # the card is not there

    def stop(self):
        self.ends.set()
        self.join()


class Listener(threading.Thread):
    """What a peer gets from another one: how many, and the longest time without."""

    def __init__(self, test, sink, source):
        super().__init__(daemon=True)
        self.sock, self.ends, self.mark = test.peers[sink], threading.Event(), bytes([2, 0, 0, 0, 1, source])
        self.got, self.gap = 0, 0.0
        self.sock.settimeout(0.2)
        self.start()

    def run(self):
        last = time.monotonic()
        while not self.ends.is_set():
            try:
                frame = self.sock.recv(65536)
            except TimeoutError:
                continue
            if frame[6:12] == self.mark:
                now = time.monotonic()
                self.gap, last = max(self.gap, now - last), now
                self.got += 1

    def stop(self):
        self.ends.set()
        self.join()


@pytest.mark.guest
class Hotplug(PciTest):
    def wait_port(self, guest, name, what, is_so, timeout=30):
        deadline = time.monotonic() + timeout
        while not is_so(guest.port(name)):
            self.assertLess(time.monotonic(), deadline, f"{name} is not {what}: {guest.port(name)}; {guest.log()}")
            time.sleep(0.1)

    def lose(self, guest):
        guest.unplug(0)
        self.wait_port(guest, "up0", "lost", lambda port: port["describe"].endswith(", lost"))
        self.assertEqual(guest.port("up0")["link"], "down")

    def replug(self, card, machine="q35", vfio=False):
        self.make_peers(3)
        guest = self.boot(card, self.sockets, pluggable=True, machine=machine, vfio=vfio)
        guest.start_vnicd({f"up{i}": f"nic,dev={address}" for i, address in enumerate(guest.cards)}, "switch")
        for source, sink in ((1, 2), (0, 2), (2, 0)):
            self.assertIsNotNone(self.passes(source, sink, broadcast(source)), (source, sink))
        before = guest.rpc("stats.get")["ports"]["up0"]
        streams, listener = [Stream(self, 0), Stream(self, 1)], Listener(self, 2, 1)
        try:
            time.sleep(0.5)
            # Back by itself, as soon as it is bound.
            self.lose(guest)
            after = guest.rpc("stats.get")["ports"]["up0"]
            self.assertGreater(after["rx_packets"], before["rx_packets"], "counters stay, those of the last second too")
            self.assertGreater(after["tx_packets"], before["tx_packets"])
            time.sleep(0.5)
            self.assertGreater(guest.rpc("stats.get")["ports"]["up0"]["drops"].get("link_down", 0), 0)
            guest.plug(0)
            guest.bind(0)
            self.wait_port(guest, "up0", "back", lambda port: port["link"] == "up")
        finally:
            for thread in (*streams, listener):
                thread.stop()
        log = guest.log()
        for text in ("was unplugged", "is back"):
            self.assertEqual(len(re.findall(rf"port up0: device \S+ {text}", log)), 1, log)
        self.assertNotIn("port up1: link down", log)
        print(f"  {card[0]}: of {streams[1].sent} frames between the others {listener.got} came, the longest wait was "
              f"{listener.gap:.2f} s", flush=True)
        self.assertLess(listener.gap, 1.5, "the others go on")
        self.assertGreater(listener.got, 0.9 * streams[1].sent)
        for source, sink in ((0, 2), (2, 0), (1, 0)):
            self.assertIsNotNone(self.passes(source, sink, broadcast(source)), f"{source} to {sink}: {guest.log()}")
        self.assertGreater(guest.rpc("stats.get")["ports"]["up0"]["rx_packets"], after["rx_packets"])
        # As a port that is removed while the card is away, and added when it is there again.
        self.lose(guest)
        guest.rpc("port.remove", name="up0")
        self.assertIsNotNone(self.passes(1, 2, broadcast(1)))
        guest.plug(0)
        guest.bind(0)
        # Its PMD may be waiting still for the one that is gone.
        for _ in range(100):
            try:
                guest.rpc("port.add", config=f"up0=nic,dev={guest.cards[0]}")
                break
            except AssertionError as e:
                self.assertIn("is still being closed", str(e))
                time.sleep(1)
        for source, sink in ((0, 2), (2, 0)):
            self.assertIsNotNone(self.passes(source, sink, broadcast(source)), f"{source} to {sink}: {guest.log()}")
        guest.stop_vnicd()

    @pytest.mark.long
    def test_e1000(self):
        self.replug(E1000, "pc")

    @pytest.mark.long
    def test_e1000e(self):
        self.replug(E1000E)

    @pytest.mark.long
    def test_vmxnet3(self):
        self.replug(VMXNET3)

    @pytest.mark.long
    def test_virtio(self):
        self.replug(VIRTIO)

    @pytest.mark.long
    def test_vfio(self):
        """Where the kernel waits until the device is let go."""
        self.replug(E1000E, vfio=True)


@pytest.mark.guest
class Links(PciTest):
    """What the monitor does to a card's link."""

    INTERRUPTS = "cat /proc/interrupts | grep uio_pci | sed 's/.*: *//' | tr -s ' ' | cut -d' ' -f1,2 | tr ' ' '+' | tr '\\n' '+'; echo 0"

    def change(self, card, machine="q35", by_interrupt=False, options=""):
        self.make_peers(2)
        guest = self.boot(card, self.sockets, machine=machine)
        guest.start_vnicd({f"up{i}": f"nic,dev={address}{options}" for i, address in enumerate(guest.cards)}, "io")
        self.assertIsNotNone(self.passes(0, 1))
        for up in (False, True, False, True):
            interrupts = sum(int(n) for n in guest.check(self.INTERRUPTS).split("+"))
            guest.monitor()("set_link", name="n0", up=up)
            start, word = time.monotonic(), "up" if up else "down"
            while guest.port("up0")["link"] != word:
                self.assertLess(time.monotonic() - start, 10, word)
            print(f"  {card[0]}: link {word} after {time.monotonic() - start:.2f} s", flush=True)
            if by_interrupt:
                self.assertGreater(sum(int(n) for n in guest.check(self.INTERRUPTS).split("+")), interrupts)
        self.assertEqual(re.findall(r"port up0: link (\w+)", guest.log())[-4:], ["down", "up"] * 2)
        self.assertEqual(guest.port("up1")["link"], "up")
        self.assertIsNotNone(self.passes(0, 1))
        guest.stop_vnicd()

    @pytest.mark.long
    def test_e1000(self):
        self.change(E1000, "pc", by_interrupt=True)

    @pytest.mark.long
    def test_e1000e(self):
        self.change(E1000E, by_interrupt=True)

    @pytest.mark.long
    def test_vmxnet3(self):
        self.change(VMXNET3)

    @pytest.mark.long
    def test_polled(self):
        """As one may ask for."""
        self.change(E1000E, options=",link-polling=on")

    @pytest.mark.long
    def test_virtio(self):
        self.change(VIRTIO)

    @pytest.mark.long
    def test_bond(self):
        """A bond of two cards (active-backup) uses the other one when a link is lost, and has none without both."""
        self.make_peers(3)
        guest = self.boot(E1000E, self.sockets)
        eal = ["-l 0-1", *(f"-a {card}" for card in guest.cards),
               f"--vdev net_bonding0,mode=1,slave={guest.cards[0]},slave={guest.cards[1]},primary={guest.cards[0]}"]
        guest.start_vnicd({"up0": "nic,dev=net_bonding0", "up1": f"nic,dev={guest.cards[2]}"}, "io",
                          eal=" ".join(eal) + " -- ")
        self.assertIsNotNone(self.passes(2, 0, broadcast(2)))
        self.assertIsNotNone(self.passes(0, 2, broadcast(0)))
        self.assertIsNone(self.passes(2, 1, broadcast(2), 1), "the other one is in reserve")
        guest.monitor()("set_link", name="n0", up=False)
        print(f"  bond: {self.passes(2, 1, broadcast(2)):.2f} s after a link was lost", flush=True)
        self.assertIsNotNone(self.passes(1, 2, broadcast(1)))
        self.assertEqual(guest.port("up0")["link"], "up")
        guest.monitor()("set_link", name="n1", up=False)
        deadline = time.monotonic() + 10
        while guest.port("up0")["link"] == "up":
            self.assertLess(time.monotonic(), deadline, guest.log())
        guest.monitor()("set_link", name="n0", up=True)
        self.assertIsNotNone(self.passes(2, 0, broadcast(2)))
        guest.stop_vnicd()


if __name__ == "__main__":
    unittest.main(verbosity=2)

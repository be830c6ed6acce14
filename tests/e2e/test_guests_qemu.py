# SPDX-License-Identifier: BSD-3-Clause
"""QEMU guests (software emulation, Debian's cloud kernel) through vnicd, as every kind of device a driver may meet:
legacy, transitional, modern; split and packed."""
import contextlib
import os
import pathlib
import sys
import time
import unittest

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "guests")]
import guests  # noqa: E402
import vnictest  # noqa: E402
from qmp import Qmp  # noqa: E402


class QemuGuests(guests.GuestTest):
    KIND = guests.QemuGuest

    def pair(self, mode, **kwargs):
        return self.start({"vm0": "vhost-user,queues=1", "vm1": "vhost-user,queues=1"}, mode, **kwargs)

    def boot(self, vnicd, variants, **kwargs):
        both = []
        for n, variant in enumerate(variants):
            both.append(self.guest(vnicd.sock(f"vm{n}"), f"10.0.0.{n + 1}", f"02:00:00:00:00:0{n + 1}", variant,
                                   **kwargs))
        for guest, variant in zip(both, variants):
            guest.wait_ready()
            self.check_variant(guest, variant)
            self.report(f"{guest.name}: Linux {guest.kernel} up in {guest.boot_seconds:.0f} s, features: "
                        + " ".join(guest.feature_names()))
        return both

    def check_variant(self, guest, variant):
        """The guest's own driver says so, not our command line."""
        self.assertEqual(guest.variant(), variant)
        features = guest.features()
        self.assertEqual(guests.FEATURES["VERSION_1"] in features, variant != "legacy")
        self.assertEqual(guests.FEATURES["RING_PACKED"] in features, variant == "packed")
        self.assertIn(guests.FEATURES["EVENT_IDX"], features)
        self.assertIn(guests.FEATURES["MRG_RXBUF"], features)

    def exchange(self, a, b):
        guests.exchange(a, b, mib=2, report=self.report)

    def reboot(self, guest, variant, other):
        guest.reboot()
        self.check_variant(guest, variant)
        other.ping_until(guest.ip)
        guest.ping(other.ip, size=8192)
        self.report(f"{guest.name}: rebooted in {guest.boot_seconds:.0f} s, answers again")

    def test_legacy_and_packed(self):
        vnicd = self.pair("io")
        a, b = self.boot(vnicd, ["legacy", "packed"])
        self.exchange(a, b)
        self.reboot(b, "packed", a)
        self.reboot(a, "legacy", b)

    @pytest.mark.long
    def test_transitional_and_modern(self):
        vnicd = self.pair("switch")
        a, b = self.boot(vnicd, ["transitional", "modern"])
        self.exchange(a, b)

    @pytest.mark.long
    def test_split_and_packed_chosen_by_the_device(self):
        """Buffers that are not mergeable, no event index: the other half of what the driver can be told to do. vnicd is
        killed under them."""
        vnicd = self.pair("switch")
        both = [self.guest(vnicd.sock("vm0"), "10.0.0.1", "02:00:00:00:00:01", "modern", reconnect=True,
                           device_args="mrg_rxbuf=off,event_idx=off"),
                self.guest(vnicd.sock("vm1"), "10.0.0.2", "02:00:00:00:00:02", "packed", reconnect=True,
                           device_args="mrg_rxbuf=off,event_idx=off,indirect_desc=off")]
        for guest, variant in zip(both, ("modern", "packed")):
            guest.wait_ready()
            self.assertEqual(guest.variant(), variant)
            features = guest.features()
            self.assertNotIn(guests.FEATURES["EVENT_IDX"], features)
            self.assertNotIn(guests.FEATURES["MRG_RXBUF"], features)
            self.report(f"{guest.name}: features: {' '.join(guest.feature_names())}")
        self.exchange(*both)
        self.restarts(vnicd, *both)

    def restart(self, vnicd, a, b):
        """kill -9 and another vnicd in its place: traffic both ways again, and nobody reboots."""
        vnicd.killed = True
        vnicd.kill9()
        vnicd = self.pair("io", run_dir=vnicd.run_dir)
        seconds = max(a.ping_until(b.ip, 30), b.ping_until(a.ip, 30))
        self.report(f"vnicd killed and started again: traffic {seconds:.1f} s after it was ready")
        return vnicd

    def check_restarts(self, *variants):
        """variants: (variant, device_args) of each guest."""
        vnicd = self.pair("io")
        a, b = [self.guest(vnicd.sock(f"vm{n}"), f"10.0.0.{n + 1}", f"02:00:00:00:00:0{n + 1}", variant,
                           reconnect=True, device_args=device_args)
                for n, (variant, device_args) in enumerate(variants)]
        for guest, (variant, _) in zip((a, b), variants):
            guest.wait_ready()
            self.assertEqual(guest.variant(), variant)
        a.ping(b.ip)
        vnicd = self.restart(vnicd, a, b)
        self.exchange(a, b)
        self.restarts(vnicd, a, b)

    def restarts(self, vnicd, a, b):
        # Again, with frames of all kinds in hand and rings that stand anywhere.
        for guest, other in ((a, b), (b, a)):
            guest.check(f"for size in 56 1400 8192; do ping -A -q -s $size {other.ip} >/dev/null & done")
        for _ in range(4 if vnictest.LONG else 1):
            time.sleep(1)
            vnicd = self.restart(vnicd, a, b)
        for guest in (a, b):
            guest.check("killall ping")
        self.exchange(a, b)
        self.assertEqual([d for port in ("vm0", "vm1") for d in ("broken", "malformed")
                          if vnicd.stats()[port]["drops"].get(d)], [])

    @pytest.mark.long
    def test_restart_of_the_backend(self):
        self.check_restarts(("modern", ""), ("transitional", ""))

    @pytest.mark.long
    def test_restart_of_the_backend_packed(self):
        """One guest with a descriptor for each chain, and one with chains of several."""
        self.check_restarts(("packed", ""), ("packed", "mrg_rxbuf=off,indirect_desc=off"))


class Unshared(guests.GuestTest):
    """The mistakes that everybody makes, with the program that they are made with."""
    KIND = guests.QemuGuest

    @pytest.mark.long
    def test_memory_that_is_not_shared(self):
        """Said a few seconds after the driver has started, with the way out. A link that QEMU keeps up is in the answer
        to who takes it down."""
        file = f"/dev/shm/vnicd-test-{os.getpid()}.mem"
        self.addCleanup(lambda: os.path.exists(file) and os.unlink(file))
        rows = (("modern", "memory-backend-memfd,share=off", "kicks, and nothing that it writes is seen here"),
                ("packed", f"memory-backend-file,share=off,mem-path={file}",
                 "kicks, and nothing that it writes is seen here"),
                ("modern", "memory-backend-ram", "the front-end has named no memory"),
                ("transitional", None, "the front-end has named no memory"))
        rows = rows if vnictest.LONG else rows[::3]
        vnicd = self.start({f"vm{n}": "vhost-user,queues=1,mtu=1400" for n in range(len(rows))}, "switch")
        qmp = os.path.join(vnicd.run_dir, "qmp")
        everyone = [self.guest(vnicd.sock(f"vm{n}"), f"10.0.0.{n + 1}", f"02:00:00:00:00:0{n + 1}", variant, mem=192,
                               backend=backend, qmp=qmp if backend is None else None)
                    for n, (variant, backend, _) in enumerate(rows)]
        for n, (_, backend, text) in enumerate(rows):
            guest = everyone[n].wait_ready()
            # Somebody tries to use the network.
            guest.run("ping -c 1 -W 1 10.0.0.77")
            line = vnicd.expect(f"port vm{n}: the guest's memory is not shared: .*", 30)[0]
            self.report(f"{backend}: {line}")
            self.assertIn(text, line)
            self.assertIn("share=on", line)
            self.assertIn('<access mode="shared"/>', line)
            notices = vnicd.rpc("guest.show", {"name": f"vm{n}"})["notices"]
            self.assertTrue(line.endswith(notices[0]), notices)
            self.assertRegex(notices[1], "does not learn of mtu=: .*host_mtu=")
        for n in range(len(rows)):
            self.assertEqual(sum(f"port vm{n}: the guest's memory" in line for line in vnicd.lines), 1)
        self.check_link(vnicd, f"vm{n}", guest, qmp)

    def check_link(self, vnicd, name, guest, qmp):
        def carrier():
            return int(guest.check("cat /sys/class/net/eth0/carrier"))
        answer = vnicd.rpc("port.set", {"name": name, "link": "down"})
        self.assertEqual(answer["link"], "down")
        self.assertIn("set_link NETDEV on|off", answer["notice"])
        time.sleep(0.5)
        self.assertEqual(carrier(), 1, "QEMU takes it from us: say so no more")
        with contextlib.closing(Qmp(qmp, timeout=10)) as monitor:
            monitor("set_link", name="n0", up=False)
            deadline = time.monotonic() + 10
            while carrier():
                self.assertLess(time.monotonic(), deadline, "what we advise does not help")


if __name__ == "__main__":
    unittest.main(verbosity=2)

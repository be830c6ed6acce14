# SPDX-License-Identifier: BSD-3-Clause
"""VLANs of the switch with Linux guests: two in VLANs of their own, and one behind a trunk with interfaces in both."""
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "guests")]
import guests  # noqa: E402

GUEST = {"modules": guests.VLAN_MODULES, "programs": ("ip",)}


class Vlans(guests.GuestTest):
    KIND = guests.UmlGuest

    def test_access_and_trunk(self):
        vnicd = self.start({"vm10": "vhost-user,vlan=10", "vm20": "vhost-user,vlan=20", "trunk": "vhost-user,trunk=10+20"},
                           "switch")
        # One network in each VLAN, with the same addresses.
        ten, twenty = (self.guest(vnicd.sock(name), "10.0.0.2", **GUEST) for name in ("vm10", "vm20"))
        router = self.guest(vnicd.sock("trunk"), "10.9.9.9", **GUEST)
        for guest in (ten, twenty, router):
            guest.wait_ready()
        for vid in (10, 20):
            router.check(f"ip link add link eth0 name eth0.{vid} type vlan id {vid} && ip link set eth0.{vid} up && "
                         f"ip address add 10.0.{vid}.1/24 dev eth0.{vid}")
        for guest, vid in ((ten, 10), (twenty, 20)):
            guest.check(f"ip address add 10.0.{vid}.2/24 dev eth0")
            guest.ping(f"10.0.{vid}.1")
            guest.ping(f"10.0.{vid}.1", size=1472)
        # Addresses of the other VLAN are nobody's here: not even ARP is answered, though both have 10.0.0.2.
        for guest, other in ((ten, "10.0.20.2"), (twenty, "10.0.10.2")):
            guest.check(f"ip route replace {other}/32 dev eth0")
            status, output = guest.run(f"ping -c 2 -W 1 {other}")
            self.assertNotEqual(status, 0, output)
        # TCP, whose segments of up to 64 KiB go through a tag that comes and goes.
        for guest, vid in ((ten, 10), (twenty, 20)):
            digest = router.make_file(f"down{vid}", 4)
            router.serve()
            got, seconds = guest.fetch(f"10.0.{vid}.1", f"down{vid}")
            self.assertEqual(got, digest)
            self.report(f"VLAN {vid}: 4 MiB from the trunk in {seconds:.2f} s")
            digest = guest.make_file(f"up{vid}", 4)
            guest.serve()
            got, seconds = router.fetch(f"10.0.{vid}.2", f"up{vid}")
            self.assertEqual(got, digest)
            self.report(f"VLAN {vid}: 4 MiB to the trunk in {seconds:.2f} s")
        stats = vnicd.stats()
        mean = stats["trunk"]["tx_bytes"] / stats["trunk"]["tx_packets"]
        self.report(f"mean frame to the trunk: {mean:.0f} bytes")
        for guest in (ten, twenty, router):
            errors = {key: n for key, n in guest.counters().items() if "error" in key and n}
            self.assertEqual(errors, {}, guest.name)
            self.assertIsNone(re.search("bad gso|bad csum|csum failure", guest.dmesg(), re.I))
        # The router's own untagged frames have no VLAN.
        drops = {name: {reason: n for reason, n in port["drops"].items() if reason.startswith("vlan")}
                 for name, port in stats.items()}
        router.run("ping -c 2 -W 1 10.9.9.8")
        now = {name: {reason: n for reason, n in port["drops"].items() if reason.startswith("vlan")}
               for name, port in vnicd.stats().items()}
        self.assertGreater(now["trunk"]["vlan_untagged"], drops["trunk"].get("vlan_untagged", 0))
        self.assertEqual(now["trunk"].get("vlan_foreign", 0), 0)
        # From one VLAN to the other while it runs: its neighbours are others now.
        vnicd.rpc("port.set", {"name": "vm10", "options": "vlan=20"})
        self.assertNotEqual(ten.run("ping -c 2 -W 1 10.0.10.1")[0], 0)
        ten.check("ip route del 10.0.20.2/32 dev eth0; ip address add 10.0.20.3/24 dev eth0")
        self.report(f"moved to VLAN 20: answered after {ten.ping_until('10.0.20.1'):.2f} s")
        ten.ping("10.0.20.2")

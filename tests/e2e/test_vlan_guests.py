# SPDX-License-Identifier: BSD-3-Clause
"""VLANs of the switch with Linux guests: two in VLANs of their own, and one behind a trunk with interfaces in both."""
import pathlib
import re
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "guests")]
import guests  # noqa: E402

GUEST = {"modules": guests.VLAN_MODULES, "programs": ("ip",)}


class Vlans(guests.GuestTest):
    KIND = guests.UmlGuest

    @pytest.mark.long
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

    @pytest.mark.long
    def test_guarded_guest(self):
        """A guest speaks for itself, IPv4 and IPv6, and for nobody else; its neighbour does not learn that it tries."""
        vnicd = self.start({"a": "vhost-user,guard=mac+ip,allow-ip=10.0.0.1+fd00::1,learn-limit=2", "b": "vhost-user"}, "switch")
        # IPv6 is a module.
        a, b = (self.guest(vnicd.sock(name), ip, modules=("crc-ccitt", "ipv6"), programs=("ip",)) for name, ip in (("a", "10.0.0.1"), ("b", "10.0.0.2")))
        for guest, n in ((a, 1), (b, 2)):
            guest.wait_ready()
            # With an address that is not yet its own (tentative), Linux would send from ::1.
            guest.check(f"ip -6 address add fd00::{n}/64 dev eth0; while ip -6 address show dev eth0 | grep -q tentative; do sleep 0.1; done")
        for size in (56, 1400):
            a.ping("10.0.0.2", size=size)
            b.ping("10.0.0.1", size=size)
        # Neighbor Discovery, by the address and by the link-local one that is made of its MAC address.
        a.ping_until("fd00::2")
        link_local = re.search(r"inet6 (fe80::\S+)/", b.check("ip -6 address show dev eth0 scope link"))[1]
        a.ping_until(f"{link_local}%eth0")
        digest = b.make_file("down", 2)
        b.serve()
        self.assertEqual(a.fetch("10.0.0.2", "down")[0], digest)
        drops = vnicd.stats()["a"]["drops"]
        self.assertEqual({reason: n for reason, n in drops.items() if reason in ("spoofed_ip", "spoofed_mac", "not_server")}, {})
        # Another's addresses: not answered, and not even asked for. b's own ping finds nobody.
        a.check("ip address del 10.0.0.1/24 dev eth0; ip address add 10.0.0.9/24 dev eth0")
        self.assertNotEqual(a.run("ping -c 2 -W 1 10.0.0.2")[0], 0)
        b.check("ip neigh flush dev eth0")
        self.assertNotEqual(b.run("ping -c 2 -W 1 10.0.0.9")[0], 0)
        self.assertGreater(vnicd.stats()["a"]["drops"]["spoofed_ip"], 1)
        a.check("ip -6 address add fd00::9/64 dev eth0; ip -6 address del fd00::1/64 dev eth0")
        self.assertNotEqual(b.run("ping -c 2 -W 1 fd00::9")[0], 0)
        a.check("ip address add 10.0.0.1/24 dev eth0; ip link set eth0 down; ip link set eth0 address 52:54:00:00:00:99 up")
        self.assertNotEqual(a.run("ping -c 2 -W 1 10.0.0.2")[0], 0)
        self.assertGreater(vnicd.stats()["a"]["drops"]["spoofed_mac"], 0)
        self.assertEqual([s["mac"] for s in vnicd.rpc("fdb.list", {"port": "a"})["stations"] if s["mac"].endswith("99")], [])
        # Allowed, while it runs.
        vnicd.rpc("port.set", {"name": "a", "options": "guard=mac+ip,allow-mac=52:54:00:00:00:99,allow-ip=10.0.0.0/24"})
        a.ping_until("10.0.0.2")

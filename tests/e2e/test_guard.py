# SPDX-License-Identifier: BSD-3-Clause
"""Guarded ports of the switch: what a guest may say, and what not, as frames made by scapy."""
import pathlib
import random
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lib"), str(HERE.parent / "hostile")]
import rawfe as fe  # noqa: E402
import vnictest  # noqa: E402

from scapy.all import (ARP, BOOTP, DHCP, ICMP, IP, TCP, UDP, Dot1AD, Dot1Q, Ether, ICMPv6EchoRequest,  # noqa: E402
                       ICMPv6MLReport2, ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6ND_RA, ICMPv6ND_Redirect, ICMPv6ND_RS,
                       ICMPv6NDOptDstLLAddr, ICMPv6NDOptSrcLLAddr, IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment,
                       IPv6ExtHdrHopByHop, IPv6ExtHdrRouting, PadN, Raw, conf)

conf.verb = 0
OWN, SECOND, FOREIGN, ALL = "52:54:00:aa:bb:cc", "52:54:00:00:00:02", "52:54:00:00:00:99", "ff:ff:ff:ff:ff:ff"
IP4, NET4, BAD4 = "10.0.0.7", "10.1.200.3", "10.0.0.8"
IP6, NET6, BAD6 = "2001:db8::7", "2001:db8:1::77", "2001:db8::8"
LOCAL, BADLOCAL = "fe80::5054:ff:feaa:bbcc", "fe80::1"
MAC, IP_, SERVER = "spoofed_mac", "spoofed_ip", "not_server"


def eth(src=OWN, **more):
    return Ether(src=src, dst=ALL, **more)


def arp(hwsrc=OWN, psrc=IP4, src=OWN, **more):
    return eth(src) / ARP(hwsrc=hwsrc, psrc=psrc, pdst="10.0.0.1", **more)


def v4(src=IP4, **more):
    return eth() / IP(src=src, dst="10.0.0.1", **more)


def v6(src=IP6, dst="2001:db8::1", **more):
    return eth() / IPv6(src=src, dst=dst, **more)


def cut(frame, n):
    return bytes(frame)[:n]


def ns(target=BAD6, src=IP6, ll=OWN):
    return v6(src, "ff02::1:ff00:8") / ICMPv6ND_NS(tgt=target) / (ICMPv6NDOptSrcLLAddr(lladdr=ll) if ll else b"")


def na(target=IP6, src=IP6, ll=OWN):
    return v6(src, "ff02::1") / ICMPv6ND_NA(tgt=target) / (ICMPv6NDOptDstLLAddr(lladdr=ll) if ll else b"")


def snap(packet, oui=b"\0\0\0", length=None, type_=None):
    """A packet without its Ethernet header, in LLC/SNAP, behind a length that is right, or this."""
    type_ = type_ or {"ARP": 0x0806, "IP": 0x0800, "IPv6": 0x86dd}[packet.name]
    body = b"\xaa\xaa\x03" + oui + type_.to_bytes(2, "big") + bytes(packet)
    return (length or len(body)).to_bytes(2, "big") + body


def addresses(rest):
    return bytes(eth())[:12] + rest


def inner(frame):
    return frame.payload


DISCOVER = BOOTP(op=1) / DHCP(options=[("message-type", "discover"), "end"])
OFFER = BOOTP(op=2) / DHCP(options=[("message-type", "offer"), "end"])

# What passes (None) or why not, of: guard=mac+ip with lists.
ROWS = {
    "IPv4": (v4() / TCP(), None),
    "IPv4, of a prefix": (v4(NET4) / UDP(), None),
    "IPv4, another's": (v4(BAD4) / TCP(), IP_),
    "IPv4, nobody's": (v4("0.0.0.0") / TCP(), IP_),
    "IPv4, broadcast's": (v4("255.255.255.255") / ICMP(), IP_),
    "IPv4 with options": (v4(options=[b"\x94\x04\x00\x00"]) / UDP(sport=1, dport=2), None),
    "IPv4 with options, a server's": (v4(options=[b"\x94\x04\x00\x00"]) / UDP(sport=67, dport=68) / OFFER, SERVER),
    "IPv4, cut": (cut(v4() / TCP(), 33), IP_),
    "IPv4, version 5": (v4(version=5) / TCP(), IP_),
    "IPv4, no header": (v4(ihl=4) / TCP(), IP_),
    "IPv4, options that are not there": (cut(v4(ihl=15) / TCP(), 60), IP_),
    "second MAC": (eth(SECOND) / IP(src=IP4, dst="10.0.0.1") / TCP(), None),
    "MAC, another's": (eth(FOREIGN) / IP(src=IP4, dst="10.0.0.1") / TCP(), MAC),
    "MAC, another's, of no protocol": (Ether(src=FOREIGN, dst=ALL, type=0x88b5) / b"x", MAC),
    "no protocol": (Ether(src=OWN, dst=ALL, type=0x88b5) / b"x", None),
    "DHCP client": (v4("0.0.0.0") / UDP(sport=68, dport=67) / DISCOVER, None),
    "DHCP client's ports, another's address": (v4(BAD4) / UDP(sport=68, dport=67) / DISCOVER, IP_),
    "no address, other ports": (v4("0.0.0.0") / UDP(sport=68, dport=53), IP_),
    "no address, a later fragment": (v4("0.0.0.0", frag=100, proto=17) / Raw(bytes(UDP(sport=68, dport=67))), IP_),
    "DHCP server": (v4() / UDP(sport=67, dport=68) / OFFER, SERVER),
    "DHCP relay": (v4() / UDP(sport=67, dport=67) / OFFER, SERVER),
    "DHCP server, from a port of its own": (v4() / UDP(sport=1067, dport=68) / OFFER, SERVER),
    "DHCP server, cut": (v4(proto=17) / Raw(b"\x00\x43\x00"), SERVER),
    "fragment, first": (v4(flags="MF") / UDP(sport=1, dport=2) / bytes(64), None),
    "fragment, first, a server's": (v4(flags="MF") / UDP(sport=67, dport=68) / bytes(64), SERVER),
    "fragment, later": (v4(frag=8, proto=17) / Raw(b"\x00\x43\x00\x44" * 4), None),
    "fragment, later, another's": (v4(BAD4, frag=8, proto=17) / Raw(bytes(64)), IP_),
    "ARP request": (arp(), None),
    "ARP reply": (arp(op=2), None),
    "ARP, of a prefix": (arp(psrc=NET4), None),
    "ARP probe": (arp(psrc="0.0.0.0"), None),
    "ARP, another's address": (arp(psrc=BAD4), IP_),
    "ARP, another's MAC": (arp(hwsrc=FOREIGN), MAC),
    "ARP, gratuitous, another's": (arp(psrc=BAD4, op=2), IP_),
    "ARP of no Ethernet": (arp(hwtype=6), IP_),
    "ARP of no IPv4": (arp(ptype=0x86dd), IP_),
    "ARP, other lengths": (arp(hwlen=8), IP_),
    "ARP, cut": (cut(arp(), 41), IP_),
    "RARP": (Ether(src=OWN, dst=ALL, type=0x8035) / ARP(op=3, hwsrc=OWN, psrc="0.0.0.0"), None),
    "RARP, another's": (Ether(src=OWN, dst=ALL, type=0x8035) / ARP(op=3, hwsrc=FOREIGN, psrc="0.0.0.0"), MAC),
    "IPv6": (v6() / TCP(), None),
    "IPv6, of a prefix": (v6(NET6) / UDP(sport=1, dport=2), None),
    "IPv6, another's": (v6(BAD6) / TCP(), IP_),
    "IPv6, link-local": (v6(LOCAL) / ICMPv6EchoRequest(), None),
    "IPv6, another's link-local": (v6(BADLOCAL) / ICMPv6EchoRequest(), IP_),
    "IPv6, unspecified": (v6("::") / TCP(), IP_),
    "IPv6, unspecified, UDP": (v6("::") / UDP(sport=1, dport=2), IP_),
    "IPv6, unspecified, echo": (v6("::") / ICMPv6EchoRequest(), IP_),
    "IPv6, cut": (cut(v6() / TCP(), 53), IP_),
    "IPv6, version 4": (v6(version=4) / TCP(), IP_),
    "IPv4-mapped": (v6("::ffff:10.0.0.8") / TCP(), IP_),
    "DHCPv6 client": (v6(LOCAL, "ff02::1:2") / UDP(sport=546, dport=547), None),
    "DHCPv6 server": (v6(LOCAL) / UDP(sport=547, dport=546), SERVER),
    "DHCPv6 server, from a port of its own": (v6(LOCAL) / UDP(sport=1547, dport=546), SERVER),
    # The second half of the options, and the server's header, would come with the second fragment.
    "DHCPv6 server, hidden by padding": (v6(LOCAL, plen=16) / IPv6ExtHdrFragment(m=1, nh=60) / Raw(
        b"\x11\x01\x01\x0c" + bytes(12) + bytes(UDP(sport=1, dport=2))), IP_),
    "IPv6 with padding": (v6() / UDP(sport=1, dport=2) / Raw(bytes(4)) / conf.padding_layer(bytes(6)), None),
    "IPv6, no length": (v6(plen=0) / UDP(sport=1, dport=2), None),
    "DHCPv6 server, no length": (v6(LOCAL, plen=0) / UDP(sport=547, dport=546), SERVER),
    "DHCPv6 server behind options": (v6(LOCAL) / IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(2))]) / UDP(sport=547, dport=546), SERVER),
    "DHCPv6 server in a first fragment": (v6(LOCAL) / IPv6ExtHdrFragment(m=1) / UDP(sport=547, dport=546), SERVER),
    "IPv6 later fragment": (v6() / IPv6ExtHdrFragment(offset=8, m=0, nh=58) / Raw(bytes(64)), None),
    "IPv6 later fragment, unspecified": (v6("::") / IPv6ExtHdrFragment(offset=8, m=0, nh=58) / Raw(bytes(64)), IP_),
    "NS": (ns(), None),
    "NS, another's MAC": (ns(ll=FOREIGN), IP_),
    "NS, DAD of its own": (ns(IP6, "::", None), None),
    "NS, DAD of its link-local": (ns(LOCAL, "::", None), None),
    "NS, DAD of another's": (ns(BAD6, "::", None), IP_),
    "NA": (na(), None),
    "NA of its link-local": (na(LOCAL, LOCAL), None),
    "NA, another's address": (na(BAD6), IP_),
    "NA, another's MAC": (na(ll=FOREIGN), IP_),
    "NA, from nobody": (na(src="::"), IP_),
    "NA, an option of no length": (v6() / ICMPv6ND_NA(tgt=IP6) / Raw(b"\x02\x00" + bytes(6)), IP_),
    "NA, an option that is cut": (v6() / ICMPv6ND_NA(tgt=IP6) / Raw(b"\x02\x02" + bytes(6)), IP_),
    "NA, another's MAC in the second option": (v6() / ICMPv6ND_NA(tgt=IP6) / ICMPv6NDOptDstLLAddr(lladdr=OWN) /
                                               ICMPv6NDOptDstLLAddr(lladdr=FOREIGN), IP_),
    "NA, cut": (cut(na(ll=None), 14 + 40 + 20), IP_),
    "NA behind hop-by-hop": (v6() / IPv6ExtHdrHopByHop(options=[PadN(optdata=bytes(4))]) / ICMPv6ND_NA(tgt=BAD6), IP_),
    "NA behind routing": (v6() / IPv6ExtHdrRouting() / ICMPv6ND_NA(tgt=BAD6), IP_),
    "NA in a fragment": (v6() / IPv6ExtHdrFragment(m=1) / ICMPv6ND_NA(tgt=IP6), IP_),
    "NA in an atomic fragment": (v6() / IPv6ExtHdrFragment(m=0) / ICMPv6ND_NA(tgt=BAD6), IP_),
    "NA behind what can't be read": (v6() / IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(92))]) / ICMPv6ND_NA(tgt=BAD6), IP_),
    "NA behind many headers": (v6() / (IPv6ExtHdrDestOpt() / IPv6ExtHdrDestOpt() / IPv6ExtHdrDestOpt() / IPv6ExtHdrDestOpt() /
                                       IPv6ExtHdrDestOpt() / IPv6ExtHdrDestOpt() / IPv6ExtHdrDestOpt() / IPv6ExtHdrDestOpt()) /
                               ICMPv6ND_NA(tgt=BAD6), IP_),
    "RS": (v6("::", "ff02::2") / ICMPv6ND_RS(), None),
    "RS, another's MAC": (v6(LOCAL, "ff02::2") / ICMPv6ND_RS() / ICMPv6NDOptSrcLLAddr(lladdr=FOREIGN), IP_),
    "RA": (v6(LOCAL, "ff02::1") / ICMPv6ND_RA(), SERVER),
    "redirect": (v6(LOCAL) / ICMPv6ND_Redirect(), SERVER),
    "MLD": (v6("::", "ff02::16") / ICMPv6MLReport2(), None),
    "tag": (eth() / Dot1Q(vlan=7) / IP(src=IP4) / TCP(), None),
    "tag, another's": (eth() / Dot1Q(vlan=7) / IP(src=BAD4) / TCP(), IP_),
    "two tags, another's": (eth() / Dot1AD(vlan=7) / Dot1Q(vlan=7) / ARP(hwsrc=OWN, psrc=BAD4), IP_),
    "three tags": (eth() / Dot1Q(vlan=7) / Dot1Q(vlan=7) / Dot1Q(vlan=7) / IP(src=BAD4) / TCP(), IP_),
    "old service tag, another's": (eth(type=0x9100) / Raw(b"\0\7" + b"\x08\x00" + bytes(inner(v4(BAD4) / TCP()))), IP_),
    "SNAP": (addresses(snap(inner(v4() / TCP()))), None),
    "SNAP, another's": (addresses(snap(inner(v4(BAD4) / TCP()))), IP_),
    "SNAP of a bridge, another's ARP": (addresses(snap(inner(arp(psrc=BAD4)), b"\0\0\xf8")), IP_),
    "SNAP, another's MAC in ARP": (addresses(snap(inner(arp(hwsrc=FOREIGN)))), MAC),
    "SNAP, RA": (addresses(snap(inner(v6(LOCAL, "ff02::1") / ICMPv6ND_RA()))), SERVER),
    "SNAP, RA, a wrong length": (addresses(snap(inner(v6(LOCAL, "ff02::1") / ICMPv6ND_RA()), length=3)), SERVER),
    "SNAP, RA, no length": (addresses(snap(inner(v6(LOCAL, "ff02::1") / ICMPv6ND_RA()), length=0x5ff)), SERVER),
    "SNAP behind VID 0, RA": (addresses(b"\x81\0\0\0" + snap(inner(v6(LOCAL, "ff02::1") / ICMPv6ND_RA()))), SERVER),
    "tag in SNAP, another's": (addresses(snap(Raw(b"\0\0\x08\0" + bytes(inner(v4(BAD4) / TCP()))), type_=0x8100)), IP_),
    "SNAP in a tag in SNAP": (addresses(snap(Raw(b"\0\0" + snap(inner(v4() / TCP()))), type_=0x8100)), IP_),
    "SNAP of somebody's protocol": (addresses(snap(Raw(bytes(30)), b"\0\0\x0c", type_=0x2000)), None),
    "LLC": (addresses(b"\0\x26\x42\x42\x03" + bytes(43)), None),
    "LLC, cut": (addresses(b"\0\x02\xaa\xaa\x03" + bytes(2)), None),
    "tag, cut": (cut(eth() / Dot1Q(vlan=7) / IP(src=IP4), 17), IP_),
}

# Of guard=mac, what is otherwise.
MAC_ONLY = {
    "IPv4, another's": None, "IPv4, nobody's": None, "IPv4, broadcast's": None, "IPv4, cut": None, "IPv4, version 5": None,
    "IPv4, no header": None, "IPv4, options that are not there": None, "DHCP client's ports, another's address": None,
    "no address, other ports": None, "no address, a later fragment": None, "fragment, later, another's": None,
    "ARP, another's address": None, "ARP, gratuitous, another's": None, "IPv6, another's": None, "IPv6, another's link-local": None,
    "IPv6, unspecified": None, "IPv6, unspecified, UDP": None, "IPv6, unspecified, echo": None, "IPv6, cut": None,
    "IPv6, version 4": None, "IPv4-mapped": None, "IPv6 later fragment, unspecified": None, "NS, DAD of another's": None,
    "NA, another's address": None, "NA, from nobody": None, "NA behind hop-by-hop": None, "NA behind routing": None,
    "NA in an atomic fragment": None, "old service tag, another's": None, "SNAP, another's": None,
    "SNAP of a bridge, another's ARP": None, "tag in SNAP, another's": None, "tag, another's": None, "two tags, another's": None,
}
LISTS = f"allow-mac={OWN}+{SECOND},allow-ip={IP4}+10.1.0.0/16+{IP6}+2001:db8:1::/64"


class Guarded(vnictest.WithGuests, unittest.TestCase):
    def setUp(self):
        self.vnicd = vnictest.Vnicd({"a": f"vhost-user,guard=mac+ip,{LISTS}", "b": "vhost-user"}, "switch")
        self.guests = {name: fe.RawFrontend(self.vnicd.sock(name)).start() for name in ("a", "b")}
        self.addCleanup(self.stop)

    def set(self, options):
        self.vnicd.rpc("port.set", {"name": "a", "options": options})

    def check(self, name, frame, reason, cuts=()):
        frame = bytes(frame)
        before = self.vnicd.stats()["a"]["drops"]
        self.guests["a"].send_frame(frame, cuts=cuts)
        if reason is None:
            self.assertEqual(self.guests["b"].receive_frame(timeout=2), frame, name)
        after = self.vnicd.wait_stats(lambda p: reason is None or p["a"]["drops"].get(reason, 0) > before.get(reason, 0))
        before[reason] = before.get(reason, 0) + 1
        if reason is None:
            del before[reason]
        self.assertEqual(after["a"]["drops"], before, name)

    def test_rows(self):
        for name, (frame, reason) in ROWS.items():
            with self.subTest(name):
                self.check(name, frame, reason)
        self.assertEqual({reason for _, reason in ROWS.values()}, {None, MAC, IP_, SERVER})

    def test_rows_in_pieces(self):
        """The same where the guest's buffers are cut anywhere."""
        rng = random.Random(3)
        for name, (frame, reason) in ROWS.items():
            cuts = sorted(rng.sample(range(1, len(bytes(frame))), min(3, len(bytes(frame)) - 1)))
            with self.subTest(name, cuts=cuts):
                self.check(name, frame, reason, [12 + at for at in cuts])

    def test_mac_only(self):
        self.set(f"guard=mac,allow-mac={OWN}+{SECOND}")
        for name, (frame, reason) in ROWS.items():
            with self.subTest(name):
                self.check(name, frame, MAC_ONLY.get(name, reason))

    def test_servers_and_routers(self):
        self.set("allow=dhcp-server+router")
        for name, (frame, reason) in ROWS.items():
            if reason == SERVER and "cut" not in name:
                self.check(name, frame, None)
        self.set("allow=router")
        self.check("RA", ROWS["RA"][0], None)
        self.check("DHCP server", ROWS["DHCP server"][0], SERVER)
        self.set("guard=off")
        for name, (frame, _) in ROWS.items():
            self.check(name, frame, None)

    def test_default_is_the_ports_own(self):
        self.vnicd.rpc("port.add", {"config": f"c=vhost-user,mac={SECOND},guard=mac"})
        with fe.RawFrontend(self.vnicd.sock("c")).start() as guest:
            guest.send_frame(bytes(eth(SECOND) / (b"x" * 50)))
            self.assertEqual(self.guests["b"].receive_frame(timeout=2), bytes(eth(SECOND) / (b"x" * 50)))
            guest.send_frame(bytes(eth(OWN) / (b"x" * 50)))
            self.vnicd.wait_stats(lambda p: p["c"]["drops"].get(MAC) == 1)

    def test_lines(self):
        for options, cause, hint in (
                ("guard=mac+ipv6", "guard: there is no 'ipv6'", "ip"),
                ("guard=mac,allow-mac=52:54:00:00:00", "allow-mac: '52:54:00:00:00' is no address of a station", "allow-mac="),
                ("guard=mac,allow-mac=01:00:5e:00:00:01", "is no address of a station", "allow-mac="),
                ("guard=mac+ip,allow-ip=10.0.0.0/33", "allow-ip: '10.0.0.0/33' is no IP address or prefix", "allow-ip="),
                ("guard=mac+ip,allow-ip=10.0.0", "is no IP address or prefix", "allow-ip="),
                ("guard=mac+ip,allow-ip=2001:db8::/129", "is no IP address or prefix", "allow-ip="),
                ("guard=off+mac", "guard=off is all that it says", "guard=mac"),
                ("guard=mac+ip", "guard=mac+ip needs allow-ip=", "allow-ip=10.0.0.1"),
                ("guard=mac,allow-ip=10.0.0.1", "allow-ip= needs guard=mac+ip", "guard=mac+ip"),
                ("allow=router", "allow= is of guard=, which is not given", "guard=mac"),
                ("guard=mac,allow-mac=" + "+".join(f"52:54:00:00:00:{i:02x}" for i in range(33)), "more than 32 addresses", "fewer")):
            with self.subTest(options), self.assertRaises(vnictest.RpcError) as caught:
                self.vnicd.rpc("port.add", {"config": f"z=vhost-user,{options}"})
            self.assertIn(cause, str(caught.exception))
            self.assertIn(hint, caught.exception.error["data"]["hint"])


if __name__ == "__main__":
    unittest.main(verbosity=2)

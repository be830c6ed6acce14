# SPDX-License-Identifier: BSD-3-Clause
"""What becomes of a frame's offloads between two guests, by a reference that knows nothing of vnicd: scapy.

One raw driver sends frames of every kind with checksums and segmentation left open, the other has accepted this or
that. The reference says which frames have to arrive, byte by byte, and what has to stand in their headers.
"""
import itertools
import os
import pathlib
import struct
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lib"), str(HERE.parent / "hostile")]
import rawfe as fe  # noqa: E402
import vnictest  # noqa: E402
import wire as w  # noqa: E402

try:
    from scapy.config import conf
    conf.ipv6_enabled = True
    from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption, fragment
    from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop, PadN
    from scapy.layers.l2 import Dot1AD, Dot1Q, Ether
    from scapy.packet import Raw
except ImportError:
    Ether = None

SENDER = (fe.F_CSUM, fe.F_HOST_TSO4, fe.F_HOST_TSO6, fe.F_HOST_ECN, fe.F_HOST_USO, fe.F_HOST_UFO)
# What the receiver has accepted.
RECEIVERS = {
    "nothing": (),
    "checksums": (fe.F_GUEST_CSUM,),
    "tso4": (fe.F_GUEST_CSUM, fe.F_GUEST_TSO4),
    "tso6": (fe.F_GUEST_CSUM, fe.F_GUEST_TSO6),
    "tso4+ecn": (fe.F_GUEST_CSUM, fe.F_GUEST_TSO4, fe.F_GUEST_ECN),
    "uso4": (fe.F_GUEST_CSUM, fe.F_GUEST_USO4),
    "uso6": (fe.F_GUEST_CSUM, fe.F_GUEST_USO6),
    "ufo": (fe.F_GUEST_CSUM, fe.F_GUEST_UFO),
    "all but ufo": (fe.F_GUEST_CSUM, fe.F_GUEST_TSO4, fe.F_GUEST_TSO6, fe.F_GUEST_ECN, fe.F_GUEST_USO4, fe.F_GUEST_USO6),
    "all": (fe.F_GUEST_CSUM, fe.F_GUEST_TSO4, fe.F_GUEST_TSO6, fe.F_GUEST_ECN, fe.F_GUEST_USO4, fe.F_GUEST_USO6,
            fe.F_GUEST_UFO),
    "rsc": (fe.F_CSUM, fe.F_HOST_TSO6, fe.F_RSC_EXT, fe.F_GUEST_CSUM, fe.F_GUEST_TSO4, fe.F_GUEST_TSO6, fe.F_GUEST_UFO,
            fe.F_GUEST_USO4, fe.F_GUEST_USO6),
    "rsc alone": (fe.F_CSUM, fe.F_HOST_TSO4, fe.F_RSC_EXT, fe.F_GUEST_CSUM, fe.F_GUEST_UFO),
}


def links():
    ether = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
    yield "plain", ether
    yield "VLAN", ether / Dot1Q(vlan=5, prio=3)
    yield "QinQ", ether / Dot1AD(vlan=7) / Dot1Q(vlan=5)


def networks():
    yield "IPv4", IP(src="10.0.0.1", dst="10.0.0.2", id=0xfffe, tos=0x2e, ttl=63)
    yield "IPv4 with options", IP(src="10.0.0.1", dst="10.0.0.2", id=7, options=[IPOption(b"\x94\x04\x00\x00")])
    yield "IPv6", IPv6(src="fd00::1", dst="fd00::2", fl=0x12345, tc=0x2e, hlim=63)
    yield "IPv6 with headers", IPv6(src="fd00::1", dst="fd00::2") / IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt()


def transports():
    """Name, header, length of the payload, of a segment (0: not to be segmented).
    Of UFO it is that of a fragment, UDP's header included: in multiples of 8, but for the last."""
    options = [("NOP", None), ("NOP", None), ("Timestamp", (1, 2))]
    yield "TCP", TCP(sport=1000, dport=2000, seq=0xffffff00, flags="A", options=options), 333, 0
    yield "TCP of nothing", TCP(sport=1000, dport=2000, seq=5, flags="A"), 0, 0
    yield "TSO", TCP(sport=1000, dport=2000, seq=0xffffff00, flags="PA", options=options), 3001, 1000
    yield "TSO of whole segments, FIN", TCP(sport=1000, dport=2000, seq=1, flags="FPA"), 3000, 1000
    yield "TSO with CWR", TCP(sport=1000, dport=2000, seq=1, flags="CA"), 2500, 900
    yield "UDP", UDP(sport=1000, dport=2000), 501, 0
    yield "UDP of nothing", UDP(sport=1000, dport=2000), 0, 0
    yield "USO, the last one short", UDP(sport=1000, dport=2000), 2777, 1200
    yield "USO of short ones", UDP(sport=1000, dport=2000), 160, 16
    yield "UFO", UDP(sport=1000, dport=2000), 4001, 1480
    yield "UFO in odd sizes", UDP(sport=1000, dport=2000), 3000 - 8 + 3, 1005
    yield "UFO of whole ones", UDP(sport=1000, dport=2000), 3 * 800 - 24, 800


def built(packet):
    """With all lengths and checksums as a wire wants them."""
    return bytes(packet)


def with_ip_lengths(link, network, transport, payload, n):
    """The n-th segment."""
    packet = link.copy() / network.copy() / transport.copy() / Raw(payload)
    if IP in packet:
        packet[IP].id = (network[IP].id + n) & 0xffff
    return packet


class Reference:
    """A frame as the driver sends it, and what others have to see of it."""

    def __init__(self, link, network, transport, payload_len, segment, ufo=False):
        self.link, self.network, self.transport, self.segment, self.ufo = link, network, transport, segment, ufo
        self.payload = bytes((i * 7 + (i >> 8)) & 0xff for i in range(payload_len))
        self.tcp, self.v6 = TCP in transport, IPv6 in network
        whole = built(self.link / self.network / self.transport / Raw(self.payload))
        self.l4 = len(whole) - len(bytes(self.transport)) - payload_len
        self.sum_at = 16 if self.tcp else 6
        src, dst = (self.network[IPv6 if self.v6 else IP].src, self.network[IPv6 if self.v6 else IP].dst)
        pseudo = w.pseudo_sum(w.TCP if self.tcp else w.UDP, len(whole) - self.l4, src, dst)
        at = self.l4 + self.sum_at
        self.whole = whole
        self.open = whole[:at] + struct.pack(">H", pseudo) + whole[at + 2:]
        self.cwr = self.tcp and "C" in str(self.transport.flags)

    def gso(self):
        if not self.segment:
            return 0
        kind = (w.GSO_TCPV6 if self.v6 else w.GSO_TCPV4) if self.tcp else w.GSO_UDP if self.ufo else w.GSO_UDP_L4
        return kind | (w.GSO_ECN if self.cwr else 0)

    def header(self):
        return dict(flags=w.NEEDS_CSUM, gso_type=self.gso(), gso_size=self.segment, csum_start=self.l4, csum_offset=self.sum_at,
                    hdr_len=len(self.open) - len(self.payload) if self.segment else 0)

    def needs(self):
        """The feature that a receiver of the frame as it is needs, besides the checksum's."""
        if not self.segment:
            return set()
        if self.ufo:
            return {fe.F_GUEST_UFO}
        if not self.tcp:
            return {fe.F_GUEST_USO6 if self.v6 else fe.F_GUEST_USO4}
        return {fe.F_GUEST_TSO6 if self.v6 else fe.F_GUEST_TSO4} | ({fe.F_GUEST_ECN} if self.cwr else set())

    def segments(self):
        """By scapy, from the layers."""
        if not self.segment or len(self.payload) <= self.segment:
            return [self.whole]
        out, n = [], -(-len(self.payload) // self.segment)
        for i in range(n):
            transport = self.transport.copy()
            if self.tcp:
                transport.seq = (self.transport.seq + i * self.segment) & 0xffffffff
                flags = str(self.transport.flags)
                if i:
                    flags = flags.replace("C", "")
                if i < n - 1:
                    flags = flags.replace("F", "").replace("P", "")
                transport.flags = flags
            part = self.payload[i * self.segment:(i + 1) * self.segment]
            out.append(built(with_ip_lengths(self.link, self.network, transport, part, i)))
        return out

    def fragments(self):
        """By scapy. Identifications of IPv6 are 0 here."""
        if self.v6:
            head = self.network.copy()
            if IPv6ExtHdrDestOpt in head:
                head[IPv6ExtHdrHopByHop].remove_payload()  # what follows is for the destination, and fragmented
            start = len(bytes(self.link / head))
            first = 60 if IPv6ExtHdrDestOpt in self.network else w.UDP
        else:
            head, start = self.network, self.l4
        body, out, at = self.whole[start:], [], 0
        while at < len(body):
            left = len(body) - at
            length = left if left <= self.segment else self.segment // 8 * 8
            packet = self.link.copy() / head.copy()
            if self.v6:
                packet /= IPv6ExtHdrFragment(nh=first, offset=at // 8, m=int(length < left), id=0)
            else:
                packet[IP].frag, packet[IP].flags, packet[IP].proto = at // 8, "MF" if length < left else 0, w.UDP
            out.append(built(packet / Raw(body[at:at + length])))
            at += length
        return out

    def fragment_id_at(self):
        """Where a fragment has its identification, of which only this much is known: all have the same."""
        header = 8 if IPv6ExtHdrHopByHop in self.network else 0
        return len(bytes(self.link)) + 40 + header + 4

    def places(self, accepted, gso_type):
        """Flags, csum_start and csum_offset of a frame whose checksum is open. C91: with RSC_EXT, the number of segments
        is where the place of the checksum was, and that of duplicate ACKs."""
        if fe.F_RSC_EXT in accepted and gso_type and self.tcp:
            return w.NEEDS_CSUM | w.RSC_INFO, len(self.segments()), 0
        return w.NEEDS_CSUM, self.l4, self.sum_at

    def expected(self, accepted):
        """[(frame, the header's flags, gso_type, gso_size)]"""
        if self.ufo and not self.needs() <= set(accepted):
            return [(frame, 0, 0, 0) for frame in self.fragments()]
        if fe.F_GUEST_CSUM not in accepted:
            return [(frame, 0, 0, 0) for frame in self.segments()]
        if self.needs() <= set(accepted):
            return [(self.open, w.NEEDS_CSUM, self.gso(), self.segment)]
        frames = []
        for frame in self.segments():
            # Each with its checksum left open, as the receiver takes that.
            at, length = self.l4 + self.sum_at, len(frame) - self.l4
            net = self.network[IPv6 if self.v6 else IP]
            pseudo = w.pseudo_sum(w.TCP if self.tcp else w.UDP, length, net.src, net.dst)
            frames.append((frame[:at] + struct.pack(">H", pseudo) + frame[at + 2:], w.NEEDS_CSUM, 0, 0))
        return frames


def all_frames():
    for (link_name, link), (net_name, network), (name, transport, payload_len, segment) in itertools.product(
            links(), networks(), transports()):
        yield f"{link_name}, {net_name}, {name}", Reference(link, network, transport, payload_len, segment, "UFO" in name)


@unittest.skipUnless(Ether, "scapy is not installed (Debian package python3-scapy)")
class Matrix(vnictest.WithGuests, unittest.TestCase):
    def setUp(self):
        self.vnicd = vnictest.Vnicd({"a": "vhost-user", "b": "vhost-user"}, "io")
        self.guests = []
        self.addCleanup(self.stop)

    def guest(self, port, *features):
        guest = fe.RawFrontend(self.vnicd.sock(port), features=w.BASE | fe.bits(*features), size=256).start()
        self.guests.append(guest)
        return guest

    def send(self, guest, frame, **header):
        data, ring = guest.frame_header(**header) + frame, guest.pairs[0].tx
        guest.mem.write(self.gpa, data)
        ring.add([fe.D(self.gpa, len(data))], self.gpa)
        while not ring.poll():
            pass

    def matrix(self, name):
        accepted = RECEIVERS[name]
        sender, receiver = self.guest("a", *SENDER), self.guest("b", *accepted)
        self.gpa = sender.mem.alloc(8192)
        n = 0
        for what, reference in all_frames():
            self.send(sender, reference.open, **reference.header())
            expected, ids = reference.expected(accepted), set()
            for k, (frame, flags, gso_type, gso_size) in enumerate(expected):
                got = receiver.receive_frame()
                if reference.ufo and reference.v6 and len(expected) > 1:
                    at = reference.fragment_id_at()
                    ids.add(got[at:at + 4])
                    got = got[:at] + bytes(4) + got[at + 4:]
                header = struct.unpack("<BBHHHH", receiver.last_header[:10])
                where = f"{what}, to a driver with {name}: frame {k}"
                self.assertEqual(got.hex(), frame.hex(), where)
                self.assertEqual((header[1], header[3]), (gso_type, gso_size), where)
                places = reference.places(accepted, gso_type) if flags else (0, 0, 0)
                self.assertEqual((header[0], *header[4:]), places, where)
                if gso_type:  # C92
                    self.assertEqual(header[2], len(frame) - len(reference.payload), where)
                n += 1
            self.assertLessEqual(len(ids), 1, f"{what}: identifications")
        self.assertEqual(self.vnicd.stats()["b"]["tx_packets"], n)
        self.assertEqual({p: s["drops"] for p, s in self.vnicd.stats().items() if any(s["drops"].values())}, {})

    def test_what_cannot_be_fragmented_is_counted(self):
        """N02, N03, N04, N16: each is a drop with a reason, and the next frame passes."""
        sender, receiver = self.guest("a", *SENDER), self.guest("b")
        self.gpa = sender.mem.alloc(1 << 17)
        link, udp = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02"), UDP(sport=1, dport=2)
        v4, v6 = IP(src="10.0.0.1", dst="10.0.0.2"), IPv6(src="fd00::1", dst="fd00::2")
        good = Reference(link, v4, udp, 3000, 1000, True)
        chain = v6 / IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(60))])
        for what, reference, changes in (
                ("no size", good, dict(gso_size=0)), ("too small", good, dict(gso_size=27)), ("USO's way", good, dict(gso_type=5)),
                ("less than a unit", good, dict(gso_size=7)), ("no checksum", good, dict(flags=0)),
                ("ECN", good, dict(gso_type=w.GSO_UDP | w.GSO_ECN)), ("another checksum", good, dict(csum_offset=16)),
                ("no UDP there", good, dict(csum_start=38)),
                ("a fragment", Reference(link, IP(src="10.0.0.1", dst="10.0.0.2", flags="MF"), udp, 3000, 1000, True), {}),
                ("TCP", Reference(link, v4, TCP(sport=1, dport=2, flags="A"), 3000, 1000), dict(gso_type=w.GSO_UDP)),
                ("no room for headers", Reference(link, chain, udp, 3000, 64, True), {})):
            before = self.vnicd.stats()["a"]["drops"].get("bad_offload", 0)
            if what == "USO's way":  # more datagrams than there may be
                changes = dict(changes, gso_size=20)
            self.send(sender, reference.open, **dict(reference.header(), **changes))
            self.assertEqual(self.vnicd.stats()["a"]["drops"].get("bad_offload", 0), before + 1, what)
            self.send(sender, good.open, **good.header())
            for frame in good.fragments():
                self.assertEqual(receiver.receive_frame().hex(), frame.hex(), what)
        # Longer, put together, than there may be: by a byte.
        longest = Reference(link, v4, udp, 65535 - 20 - 8, 1480, True)
        self.send(sender, longest.open, **longest.header())
        for frame in longest.fragments():
            self.assertEqual(receiver.receive_frame().hex(), frame.hex())
        before = self.vnicd.stats()["a"]["drops"]["bad_offload"]
        self.send(sender, longest.open + b"x", **longest.header())
        self.assertEqual(self.vnicd.stats()["a"]["drops"]["bad_offload"], before + 1)

    def test_what_has_no_request_passes(self):
        """Fragments, a UDP checksum of zero, ICMP: byte by byte, whatever they are."""
        sender, receiver = self.guest("a", *SENDER), self.guest("b", *RECEIVERS["all"])
        self.gpa = sender.mem.alloc(8192)
        packets = [Ether() / part for part in fragment(IP(src="10.0.0.1", dst="10.0.0.2") / UDP() / Raw(os.urandom(2000)), 600)]
        packets += [Ether() / IP() / UDP(chksum=0) / Raw(b"x" * 31), Ether() / IP() / ICMP() / Raw(b"y" * 57),
                    Ether() / IPv6() / IPv6ExtHdrFragment(offset=5, m=1) / Raw(os.urandom(80))]
        for packet in packets:
            frame = built(packet)
            self.send(sender, frame)
            self.assertEqual(receiver.receive_frame().hex(), frame.hex())
            self.assertEqual(receiver.last_header[:10], bytes(10))


for _name in RECEIVERS:
    setattr(Matrix, f"test_{_name.replace('+', '_').replace(' ', '_')}", lambda self, name=_name: self.matrix(name))


if __name__ == "__main__":
    unittest.main(verbosity=2)

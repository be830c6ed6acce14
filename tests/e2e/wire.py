# SPDX-License-Identifier: BSD-3-Clause
"""The other end of a guest's wire: a raw front-end that sends frames made here and looks at what the guest sends.

    wire = Wire(vnicd.sock("src"), queues=4).start()
    wire.inject(ethernet(b"x" * 46, dst=GUEST_MAC))
    frames = wire.take(quiet=0.2)

Frames are made of bytes by the functions below, from the inside to the outside. Standard library only.
"""
import pathlib
import socket
import struct
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "hostile")]
import rawfe  # noqa: E402

ETH_IP, ETH_ARP, ETH_IPV6, ETH_VLAN, ETH_TEST = 0x0800, 0x0806, 0x86dd, 0x8100, 0x88b5
ICMP, TCP, UDP = 1, 6, 17
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
ICMP_ECHO_REPLY, ICMP_ECHO = 0, 8
ARP_REQUEST, ARP_REPLY = 1, 2

# The virtio-net header
NEEDS_CSUM, DATA_VALID, RSC_INFO = 1, 2, 4
GSO_NONE, GSO_TCPV4, GSO_UDP, GSO_TCPV6, GSO_UDP_L4, GSO_ECN = 0, 1, 3, 4, 5, 0x80

# Virtio features for frames that are not finished: what the back-end may give us, and what we may give it.
F_CSUM, F_GUEST_CSUM, F_GUEST_TSO4, F_GUEST_TSO6, F_HOST_TSO4, F_HOST_TSO6 = 0, 1, 7, 8, 11, 12
BASE = rawfe.bits(rawfe.F_MRG_RXBUF, rawfe.F_INDIRECT, rawfe.F_VERSION_1, rawfe.F_PROTOCOL)
GIVES_OFFLOADS = rawfe.bits(F_CSUM, F_HOST_TSO4, F_HOST_TSO6)
TAKES_OFFLOADS = rawfe.bits(F_GUEST_CSUM, F_GUEST_TSO4, F_GUEST_TSO6)

MAC = "02:00:00:00:00:99"


# --- frames ---

def mac_bytes(mac):
    return bytes.fromhex(mac.replace(":", ""))


def ip_bytes(ip):
    return socket.inet_pton(socket.AF_INET6 if ":" in ip else socket.AF_INET, ip)


def ones_sum(data):
    """The ones' complement sum of 16-bit words, not inverted."""
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return total


def ethernet(payload, *, dst, src=MAC, kind=ETH_TEST, vlan=None):
    tag = b"" if vlan is None else struct.pack(">HH", ETH_VLAN, vlan)
    return mac_bytes(dst) + mac_bytes(src) + tag + struct.pack(">H", kind) + payload


def ip(payload, proto, *, src, dst, ttl=64):
    """IPv4 or IPv6, as the addresses are."""
    if ":" in src:
        return struct.pack(">IHBB", 6 << 28, len(payload), proto, ttl) + ip_bytes(src) + ip_bytes(dst) + payload
    head = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 0, 0x4000, ttl, proto, 0, ip_bytes(src),
                       ip_bytes(dst))
    return head[:10] + struct.pack(">H", ones_sum(head) ^ 0xffff) + head[12:] + payload


def pseudo_sum(proto, length, src, dst):
    return ones_sum(ip_bytes(src) + ip_bytes(dst) + struct.pack(">II", length, proto))


def transport_sum(proto, segment, src, dst):
    """The sum that a TCP or UDP checksum is the inverse of, over whatever is in the checksum field."""
    padded = segment + b"\0" * (len(segment) % 2)
    return ones_sum(padded + struct.pack(">H", pseudo_sum(proto, len(segment), src, dst)))


def tcp(payload, *, src, dst, sport, dport, flags=ACK, seq=0, ack=0, window=65535, options=b"", partial=False):
    """An IP packet. partial: its checksum is the sum of the pseudo header, to be completed on the way."""
    size = 20 + len(options)
    head = struct.pack(">HHIIBBHHH", sport, dport, seq & 0xffffffff, ack & 0xffffffff, size // 4 << 4, flags,
                       window, 0, 0)
    segment = head + options + payload
    csum = pseudo_sum(TCP, len(segment), src, dst)
    if not partial:
        csum = transport_sum(TCP, segment, src, dst) ^ 0xffff
    return ip(segment[:16] + struct.pack(">H", csum) + segment[18:], TCP, src=src, dst=dst)


def udp(payload, *, src, dst, sport, dport):
    datagram = struct.pack(">HHHH", sport, dport, 8 + len(payload), 0) + payload
    csum = transport_sum(UDP, datagram, src, dst)
    return ip(datagram[:6] + struct.pack(">H", csum ^ 0xffff or 0xffff) + datagram[8:], UDP, src=src, dst=dst)


def icmp_echo(payload, *, src, dst, ident=1, seq=0):
    message = struct.pack(">BBHHH", ICMP_ECHO, 0, 0, ident, seq) + payload
    return ip(message[:2] + struct.pack(">H", ones_sum(message) ^ 0xffff) + message[4:], ICMP, src=src, dst=dst)


def arp_reply(*, mac, ip_addr, to_mac, to_ip):
    body = struct.pack(">HHBBH", 1, ETH_IP, 6, 4, ARP_REPLY)
    body += mac_bytes(mac) + ip_bytes(ip_addr) + mac_bytes(to_mac) + ip_bytes(to_ip)
    return ethernet(body, dst=to_mac, src=mac, kind=ETH_ARP)


class Packet:
    """What is in a frame. Only IPv4 is taken apart further; absent fields are None."""

    def __init__(self, frame, header=None):
        self.frame, self.header = frame, header
        self.dst, self.src = frame[:6].hex(":"), frame[6:12].hex(":")
        at = 12
        self.vlan = None
        self.kind = struct.unpack_from(">H", frame, at)[0]
        if self.kind == ETH_VLAN:
            self.vlan, self.kind = struct.unpack_from(">HH", frame, at + 2)
            self.vlan &= 0xfff
            at += 4
        self.l3 = at + 2
        self.ip_src = self.ip_dst = self.proto = self.l4 = self.payload = None
        if self.kind == ETH_IP:
            size, self.proto = struct.unpack_from(">2xH5xB", frame, self.l3)
            self.ip_src, self.ip_dst = (socket.inet_ntoa(frame[self.l3 + k:self.l3 + k + 4]) for k in (12, 16))
            self.l4 = self.l3 + (frame[self.l3] & 15) * 4
            self.end = self.l3 + size
            if self.proto == TCP:
                self.sport, self.dport, self.seq, self.ack, offset, self.flags = \
                    struct.unpack_from(">HHIIBB", frame, self.l4)
                self.payload = frame[self.l4 + (offset >> 4) * 4:self.end]
            else:
                self.payload = frame[self.l4 + 8:self.end]

    def checksum_is_whole(self):
        """The checksums of IP and of TCP, UDP or ICMP are what a receiver without offloads wants to see."""
        segment = self.frame[self.l4:self.end]
        total = ones_sum(segment) if self.proto == ICMP else \
            transport_sum(self.proto, segment, self.ip_src, self.ip_dst)
        return ones_sum(self.frame[self.l3:self.l4]) == 0xffff == total


# --- the wire ---

class Wire(rawfe.RawFrontend):
    """A raw front-end that behaves. `header` is the virtio-net header of the frame that was received last."""

    def __init__(self, path, **options):
        options.setdefault("size", 256)
        options.setdefault("features", BASE)
        self._offload = {}
        self.header = None
        super().__init__(path, **options)

    def frame_header(self, **fields):
        return super().frame_header(**dict(self._offload, **fields))

    def inject(self, frame, pair=0, **offload):
        """Send a frame; returns at once. offload: fields of the virtio-net header."""
        self._offload = offload
        self.send_frame(frame, pair, wait=False)

    def flush(self):
        """The back-end has taken all that was sent."""
        for pair in range(self.queues):
            self.reclaim_tx(pair, all_of_them=True)

    def try_receive(self, pair=0):
        p = self.pairs[pair]
        p.received += p.rx.poll()
        if p.received:
            names = ("flags", "gso_type", "hdr_len", "gso_size", "csum_start", "csum_offset", "num_buffers")
            self.header = dict(zip(names, struct.unpack("<BBHHHHH", self.mem.read(p.received[0][0][0], 12))))
        return super().try_receive(pair)

    def poll(self):
        """What is there now: [(pair, Packet)]."""
        found = []
        for pair in range(self.queues):
            while (frame := self.try_receive(pair)) is not None:
                found.append((pair, Packet(frame, self.header)))
        return found

    def take(self, wanted=lambda packet: True, *, n=None, quiet=0.3, timeout=5.0):
        """Packets for which wanted(packet) holds: n of them, or all until there was none for `quiet` seconds."""
        found = []
        deadline = time.monotonic() + rawfe.seconds(timeout)
        until = time.monotonic() + quiet
        while time.monotonic() < (deadline if n else until):
            now = [packet for _, packet in self.poll() if wanted(packet)]
            found += now
            if n and len(found) >= n:
                return found
            if now:
                until = time.monotonic() + quiet
            time.sleep(0.001)
        if n:
            raise AssertionError(f"{len(found)} of {n} frames in {timeout} s: {[p.frame.hex() for p in found]}")
        return found


class TcpSink:
    """A host behind the wire that answers ARP and takes what one TCP connection after the other sends it. No
    windows, no timers: the wire loses nothing, or the test fails. `packets` is all that the other one sent."""

    MSS = 1460

    def __init__(self, wire, address, mac=MAC):
        self.wire, self.address, self.mac = wire, address, mac
        self.packets = []
        self.data = b""
        self.next = None
        self.unanswered = []  # segments

    def _send(self, to, flags, seq, options=b""):
        packet = tcp(b"", src=self.address, dst=to.ip_src, sport=to.dport, dport=to.sport, flags=flags, seq=seq,
                     ack=self.next, options=options)
        self.wire.inject(ethernet(packet, dst=to.src, src=self.mac, kind=ETH_IP))

    def _tcp(self, packet):
        """True: that was the end."""
        self.packets.append(packet)
        if packet.flags & SYN:
            self.next = packet.seq + 1 & 0xffffffff
            self._send(packet, SYN | ACK, 0, struct.pack(">BBH", 2, 4, self.MSS))
            return False
        if packet.seq == self.next:
            self.data += packet.payload
            self.next = packet.seq + len(packet.payload) & 0xffffffff
            if packet.flags & FIN:
                self.next = self.next + 1 & 0xffffffff
                self._send(packet, FIN | ACK, 1)
                return True
        if packet.payload:
            self.unanswered.append(packet)
        return False

    def _acknowledge(self, at_least):
        """Several segments at once: a sender whose window opens by single segments sends single segments."""
        if len(self.unanswered) >= at_least:
            self._send(self.unanswered[-1], ACK, 1)
            self.unanswered.clear()

    def run(self, timeout=20.0):
        """Until the other end has sent all it has. Returns the bytes."""
        deadline = time.monotonic() + rawfe.seconds(timeout)
        heard = time.monotonic()
        while time.monotonic() < deadline:
            packets = self.wire.poll()
            if packets:
                heard = time.monotonic()
            self._acknowledge(8 if time.monotonic() - heard < 0.003 else 1)
            for _, packet in packets:
                if packet.kind == ETH_ARP and packet.frame[packet.l3 + 24:packet.l3 + 28] == ip_bytes(self.address) \
                        and packet.frame[packet.l3 + 7] == ARP_REQUEST:
                    sender = socket.inet_ntoa(packet.frame[packet.l3 + 14:packet.l3 + 18])
                    self.wire.inject(arp_reply(mac=self.mac, ip_addr=self.address, to_mac=packet.src, to_ip=sender))
                elif packet.proto == TCP and packet.ip_dst == self.address and self._tcp(packet):
                    return self.data
            time.sleep(0.0002)
        raise AssertionError(f"the connection did not end in {timeout} s; {len(self.data)} bytes of it arrived")


# --- receive-side scaling ---

# "Verifying the RSS Hash Calculation": destination, port, source, port, hash of the addresses, hash with TCP ports.
RSS_KEY = bytes.fromhex("6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fa")
RSS_VECTORS = [
    ("161.142.100.80", 1766, "66.9.149.187", 2794, 0x323e8fc2, 0x51ccc178),
    ("65.69.140.83", 4739, "199.92.111.2", 14230, 0xd718262a, 0xc626b0ea),
    ("12.22.207.184", 38024, "24.19.198.95", 12898, 0xd2d0a5de, 0x5c2b394a),
    ("209.142.163.6", 2217, "38.27.205.30", 48228, 0x82989176, 0xafc7327f),
    ("202.188.127.2", 1303, "153.39.163.191", 44251, 0x5d1809c5, 0x10e828a2),
    ("3ffe:2501:200:3::1", 1766, "3ffe:2501:200:1fff::7", 2794, 0x2cc18cd5, 0x40207d3d),
    ("ff02::1", 4739, "3ffe:501:8::260:97ff:fe40:efab", 14230, 0x0f0c461c, 0xdde51bbf),
    ("fe80::200:f8ff:fe21:67cf", 38024, "3ffe:1900:4545:3:200:f8ff:fe21:67cf", 44251, 0x4b61e985, 0x02d1feef),
]


def vector_frame(vector, make, dst_mac):
    """make: tcp or udp"""
    dst, dport, src, sport, _, _ = vector
    packet = make(b"vector", src=src, dst=dst, sport=sport, dport=dport)
    return ethernet(packet, dst=dst_mac, kind=ETH_IPV6 if ":" in dst else ETH_IP)

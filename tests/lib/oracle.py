# SPDX-License-Identifier: BSD-3-Clause
"""What a strict receiver finds wrong with a frame and the virtio-net header in front of it.

Written from the specification (VIRTIO, "Processing of Incoming Packets"; RFC 791, 8200, 9293, 768), for tests to judge by;
nothing of it comes from what is tested. Standard library only.
"""
import struct

NEEDS_CSUM, DATA_VALID = 1, 2
GSO_NONE, GSO_TCPV4, GSO_UDP, GSO_TCPV6, GSO_UDP_L4, GSO_ECN = 0, 1, 3, 4, 5, 0x80
TCP, UDP = 6, 17
HEADER = struct.Struct("<BBHHHH")  # flags, gso_type, hdr_len, gso_size, csum_start, csum_offset
CSUM_OFFSET = {TCP: 16, UDP: 6}
CWR = 0x80
TAGS = (0x8100, 0x88a8)
EXTENSIONS = (0, 43, 60)  # hop by hop, routing, destination


def ones_sum(data):
    data = bytes(data) + b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return total


class Layout:
    """Where the headers are; l4 is None where there is no whole TCP or UDP header, or the frame is a fragment."""

    def __init__(self, frame):
        self.version = self.proto = self.l4 = self.end = self.l4_len = None
        at = 12
        while frame[at:at + 2] and int.from_bytes(frame[at:at + 2], "big") in TAGS:
            at += 4
        kind, at = int.from_bytes(frame[at:at + 2], "big"), at + 2
        if kind == 0x0800:
            self.ipv4(frame, at)
        elif kind == 0x86dd:
            self.ipv6(frame, at)
        if self.l4 is None:
            return
        least = {TCP: 20, UDP: 8}.get(self.proto)
        if least is None or len(frame) < self.l4 + least:
            self.l4 = None
            return
        self.l4_len = frame[self.l4 + 12] >> 4 << 2 if self.proto == TCP else 8

    def ipv4(self, frame, at):
        if len(frame) < at + 20 or frame[at] >> 4 != 4 or frame[at] & 15 < 5:
            return
        self.version, self.proto = 4, frame[at + 9]
        size, fragment = struct.unpack_from(">H2xH", frame, at + 2)
        self.addresses, self.end = frame[at + 12:at + 20], at + size
        if fragment & 0x3fff == 0:
            self.l4 = at + (frame[at] & 15) * 4

    def ipv6(self, frame, at):
        if len(frame) < at + 40 or frame[at] >> 4 != 6:
            return
        size, proto = struct.unpack_from(">HB", frame, at + 4)
        self.version, self.addresses, self.end = 6, frame[at + 8:at + 40], at + 40 + size
        at += 40
        while proto in EXTENSIONS and len(frame) >= at + 8:
            proto, at = frame[at], at + 8 * (frame[at + 1] + 1)
        self.proto, self.l4 = proto, at

    def is_valid(self, frame):
        """The checksum of TCP or UDP is right."""
        segment = frame[self.l4:self.end]
        if self.proto == UDP and segment[6:8] == b"\0\0":
            return self.version == 4
        pseudo = self.addresses + struct.pack(">II", len(segment), self.proto)
        return ones_sum(segment + b"\0" * (len(segment) % 2) + pseudo) == 0xffff


def finished(frame, start, offset):
    """With the checksum that the header asks for."""
    value = ones_sum(frame[start:]) ^ 0xffff
    at = start + offset
    return frame[:at] + struct.pack(">H", value or 0xffff) + frame[at + 2:]


def faults(header, frame, *, knows_right=False, hdr_len_is_hint=False):
    """A list of complaints; empty: there is nothing to complain of. knows_right: of a frame whose sender has made no
    mistake, so that its checksums are right, too. hdr_len_is_hint: as Linux has it, how much of the frame lies in one piece."""
    flags, gso_type, hdr_len, gso_size, start, offset = HEADER.unpack(header[:10])
    found = []

    def claim(truth, what):
        if not truth:
            found.append(what)

    claim(len(frame) >= 14, f"a frame of {len(frame)} bytes")
    claim(flags & ~(NEEDS_CSUM | DATA_VALID) == 0, f"flags {flags:#x}")
    claim(flags != NEEDS_CSUM | DATA_VALID, "verified, and to be made")
    layout = Layout(frame)
    if flags & NEEDS_CSUM:
        claim(start >= 14 and start + offset + 2 <= len(frame), f"a checksum at {start}+{offset} of {len(frame)}")
        if not found and knows_right:
            claim(layout.l4 == start and CSUM_OFFSET.get(layout.proto) == offset, f"a checksum at {start}+{offset}")
    if gso_type == GSO_NONE:
        claim(not flags & NEEDS_CSUM or layout.l4 is None or len(frame) <= 65535 + 14 + 8, "a frame beyond all lengths")
    else:
        kind = gso_type & ~GSO_ECN
        claim(flags & NEEDS_CSUM, "segments without a checksum")
        claim((kind, layout.version, layout.proto) in ((GSO_TCPV4, 4, TCP), (GSO_TCPV6, 6, TCP), (GSO_UDP_L4, 4, UDP),
                                                       (GSO_UDP_L4, 6, UDP)),
              f"segmentation {gso_type:#x} of IPv{layout.version}, protocol {layout.proto}")
        claim(layout.l4 == start, f"segments, and the checksum starts at {start}, not {layout.l4}")
        if not found:
            end = layout.l4 + layout.l4_len
            claim(layout.l4_len >= 8 and end <= hdr_len <= (len(frame) if hdr_len_is_hint else end), f"hdr_len {hdr_len}, headers end at {end} of {len(frame)}")
            claim(0 < gso_size < len(frame) - layout.l4 - layout.l4_len, f"gso_size {gso_size}")
            claim(not gso_type & GSO_ECN or (layout.proto == TCP and frame[layout.l4 + 13] & CWR), "ECN without CWR")
    if knows_right and not found and layout.l4 is not None:
        whole = finished(frame, start, offset) if flags & NEEDS_CSUM else frame
        claim(layout.is_valid(whole), "a wrong checksum")
    return found

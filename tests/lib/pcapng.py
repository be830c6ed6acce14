# SPDX-License-Identifier: BSD-3-Clause
"""A capture file, read strictly: every block, every option; what is not as the format says raises."""
import dataclasses
import struct

SECTION, INTERFACE, STATISTICS, PACKET = 0x0a0d0d0a, 1, 5, 6
NAMES = {4: "seen", 5: "lost", 6: "wanted", 8: "written"}


@dataclasses.dataclass
class Packet:
    interface: int
    time: float
    length: int
    data: bytes
    flags: int = 0
    queue: int = 0
    comments: list = dataclasses.field(default_factory=list)


class Pcapng:
    def __init__(self, data):
        self.data = data
        self.interfaces, self.packets, self.statistics = [], [], {}
        at, first = 0, True
        while at < len(data):
            kind, size = struct.unpack_from("=II", data, at)
            assert size % 4 == 0 and at + size <= len(data), f"block of {size} bytes at {at} of {len(data)}"
            assert struct.unpack_from("=I", data, at + size - 4)[0] == size, f"two lengths at {at}"
            assert first == (kind == SECTION), f"block {kind:#x} at {at}"
            {SECTION: self.section, INTERFACE: self.interface, STATISTICS: self.statistic, PACKET: self.packet}[kind](
                data[at + 8:at + size - 4])
            at, first = at + size, False

    @staticmethod
    def options(body):
        found, at = [], 0
        while True:
            code, size = struct.unpack_from("=HH", body, at)
            value = body[at + 4:at + 4 + size]
            at += 4 + size + (-size & 3)
            if code == 0:
                assert size == 0 and at == len(body), "what is behind the last option?"
                return found
            found.append((code, value))

    def section(self, body):
        assert struct.unpack_from("=IHHq", body) == (0x1a2b3c4d, 1, 0, -1)
        self.options(body[16:])

    def interface(self, body):
        link, zero, snaplen = struct.unpack_from("=HHI", body)
        options = dict(self.options(body[8:]))
        assert (link, zero) == (1, 0) and options[9] == b"\x09"
        self.interfaces.append({"name": options[2].decode(), "description": options[3].decode(), "snaplen": snaplen,
                                "filter": options[11][1:].decode() if 11 in options else None})

    def packet(self, body):
        interface, high, low, captured, length = struct.unpack_from("=IIIII", body)
        assert interface < len(self.interfaces) and captured <= length
        packet = Packet(interface, (high << 32 | low) / 1e9, length, body[20:20 + captured])
        for code, value in self.options(body[20 + captured + (-captured & 3):]):
            if code == 1:
                packet.comments.append(value.decode())
            elif code == 2:
                packet.flags = struct.unpack("=I", value)[0]
            elif code == 6:
                packet.queue = struct.unpack("=I", value)[0]
            else:
                raise AssertionError(f"option {code} of a packet")
        self.packets.append(packet)

    def statistic(self, body):
        interface = struct.unpack_from("=I", body)[0]
        options = dict(self.options(body[12:]))
        self.statistics[interface] = {name: struct.unpack("=Q", options[code])[0] for code, name in NAMES.items()}

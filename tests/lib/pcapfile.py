# SPDX-License-Identifier: BSD-3-Clause
"""Capture files (pcap, Ethernet) as lists of frames, for tests that compare payloads byte for byte."""
import struct

_HEADER = struct.Struct("IHHiIII")
_RECORD = struct.Struct("IIII")
_MAGIC = 0xA1B2C3D4
_MAGIC_NS = 0xA1B23C4D
_LINKTYPE_ETHERNET = 1


def write(path, frames):
    """A capture of `frames` (each a bytes object, Ethernet header first, without FCS), a microsecond apart."""
    with open(path, "wb") as f:
        f.write(_HEADER.pack(_MAGIC, 2, 4, 0, 0, 262144, _LINKTYPE_ETHERNET))
        for i, frame in enumerate(frames):
            f.write(_RECORD.pack(i // 1000000, i % 1000000, len(frame), len(frame)))
            f.write(frame)


def read(path):
    """The frames of a capture. A record that was cut short at the end of the file (its writer died) is left out."""
    with open(path, "rb") as f:
        data = f.read()
    if not data:
        return []
    for order in "<>":
        (magic,) = struct.unpack_from(order + "I", data)
        if magic in (_MAGIC, _MAGIC_NS):
            break
    else:
        raise ValueError(f"{path}: not a pcap file")
    linktype = struct.unpack_from(order + "IHHiIII", data)[6]
    if linktype != _LINKTYPE_ETHERNET:
        raise ValueError(f"{path}: link type {linktype}, not Ethernet")
    frames = []
    at = 24
    while at + 16 <= len(data):
        _, _, captured, length = struct.unpack_from(order + "IIII", data, at)
        if captured != length:
            raise ValueError(f"{path}: frame {len(frames)} was captured only in part ({captured} of {length} bytes)")
        if at + 16 + captured > len(data):
            break
        frames.append(data[at + 16:at + 16 + captured])
        at += 16 + captured
    return frames


def differences(sent, received, names=("sent", "received")):
    """What is wrong with `received`, as text for people; empty when it is `sent`, byte for byte and in order."""
    if sent == received:
        return ""
    out = [f"{len(sent)} frames {names[0]}, {len(received)} {names[1]}"]
    have = set(received)
    missing = [i for i, frame in enumerate(sent) if frame not in have]
    if missing:
        out.append(f"{len(missing)} missing, the first are "
                   + ", ".join(f"#{i} ({len(sent[i])} bytes)" for i in missing[:5]))
    known = set(sent)
    foreign = [i for i, frame in enumerate(received) if frame not in known]
    if foreign:
        out.append(f"{len(foreign)} were never sent, the first are "
                   + ", ".join(f"#{i} ({len(received[i])} bytes, {received[i][:24].hex()}...)" for i in foreign[:3]))
    if not missing and not foreign:
        first = next((i for i, (a, b) in enumerate(zip(sent, received)) if a != b), min(len(sent), len(received)))
        out.append(f"the same frames, in another order or repeated, from #{first} on")
    return "; ".join(out)

#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Sends frames of TCP on an interface for ever, as the kernel's own TCP would: 64 KiB with a request to segment, which the
kernel does itself before a device that can't. For the address of the null guest's port A.

    tap_source.py INTERFACE
"""
import os
import socket
import struct
import sys

HDRS_LEN, SEGMENT_LEN, SEGMENTS = 66, 1448, 45
SOL_PACKET, PACKET_VNET_HDR = 263, 15
VNET_HDR = struct.pack("<BBHHHH", 1, 1, HDRS_LEN, SEGMENT_LEN, 34, 16)  # TCP over IPv4, checksum open


def sum16(data):
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return total


def frame():
    """TCP with all of its segments, for the address of the null guest's port A."""
    tcp_len = 32 + SEGMENTS * SEGMENT_LEN
    ip = bytearray(struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + tcp_len, 1, 0x4000, 64, 6, 0, bytes((10, 0, 0, 2)),
                               bytes((10, 0, 0, 1))))
    ip[10:12] = struct.pack(">H", 0xffff - sum16(bytes(ip)))
    pseudo = sum16(bytes(ip[12:20]) + struct.pack(">HH", 6, tcp_len))
    tcp = struct.pack(">HHIIBBHHH", 5201, 40000, 1, 1, 8 << 4, 0x18, 8192, pseudo, 0) + bytes((8, 10, *8 * [0], 1, 1))
    return bytes.fromhex("02000000000a02000000000b0800") + bytes(ip) + tcp + bytes(SEGMENTS * SEGMENT_LEN)


def send_for_ever(ifname):
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    sock.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    sock.bind((ifname, 0))
    data = VNET_HDR + frame()
    while True:
        try:
            sock.send(data)
        except OSError:  # the tap's queue is full
            os.sched_yield()


if __name__ == "__main__":
    send_for_ever(sys.argv[1])

# SPDX-License-Identifier: BSD-3-Clause
"""vnicctl capture: frames of some ports as pcapng, live, into a file or a pipe.

vnicd writes the file to the connection, behind its reply; shutting down our end of it ends the capture, and vnicd adds
the statistics.
"""
import contextlib
import os
import signal
import socket
import struct
import sys
import threading

from .client import EXIT_NO_VNICD, EXIT_USAGE, Trouble
from .text import print_json

EXAMPLES = """\
  vnicctl capture vm0 | tcpdump -nr -        its frames as they pass, until ^C; all: of all ports
  vnicctl capture vm0+up0 -w x.pcapng -c 100 "tcp port 80"
                                             the first hundred of these, into a file
  vnicctl capture vm0 --drops-only | wireshark -k -i -
                                             what is lost there, and in the comments why
"""

CHUNK = 1 << 20
TAIL_MAX = 256 << 10  # of the file: more than the statistics of all ports take
BLOCK_STATISTICS = 5
OPTION_LOST, OPTION_WRITTEN = 5, 8


def statistics(tail):
    """(frames written, frames lost), from the blocks at the end of a file; None: there are none."""
    totals = None
    while len(tail) >= 12:
        length = struct.unpack_from("=I", tail, len(tail) - 4)[0]
        start = len(tail) - length
        if start < 0 or length < 24 or struct.unpack_from("=I", tail, start)[0] != BLOCK_STATISTICS:
            break
        at, numbers = start + 20, {}
        while at + 4 <= len(tail) - 4:
            code, size = struct.unpack_from("=HH", tail, at)
            if code == 0:
                break
            if size == 8:
                numbers[code] = struct.unpack_from("=Q", tail, at + 4)[0]
            at += 4 + size + (-size & 3)
        totals = totals or [0, 0]
        totals[0] += numbers.get(OPTION_WRITTEN, 0)
        totals[1] += numbers.get(OPTION_LOST, 0)
        tail = tail[:start]
    return totals


def config_line(client, args):
    ports = args.ports
    if ports == "all":
        ports = "+".join(port["name"] for port in client.call("port.list"))
    pairs = [("from", ports), ("direction", args.direction), ("queue", args.queue), ("snaplen", args.snaplen),
             ("count", args.count), ("drops", args.drops), ("header", "on" if args.header else None),
             ("buffer", args.buffer), ("filter", " ".join(args.expression) or None)]
    # Commas separate keys; those of a value are doubled.
    return ",".join(f"{key}={str(value).replace(',', ',,')}" for key, value in pairs if value is not None)


def copy(client, out):
    """The stream to `out`, up to its end; returns its tail."""
    tail = b""
    client.sock.settimeout(None)
    while True:
        data = client.lines.read1(CHUNK)
        if not data:
            return tail
        tail = (tail + data)[-TAIL_MAX:] if len(data) < TAIL_MAX else data[-TAIL_MAX:]
        out.write(data)
        out.flush()


def end_by_signals(sock):
    """The first asks for the rest and the end, the next ends us. They come to a thread: a write that a signal
    interrupts is not to be relied on."""
    caught = {sig for sig in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(sig) != signal.SIG_IGN}

    def await_signals():
        signal.sigwait(caught)
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_WR)
        os._exit(128 + signal.sigwait(caught))
    signal.pthread_sigmask(signal.SIG_BLOCK, caught)
    if caught:
        threading.Thread(target=await_signals, daemon=True).start()


def capture(client, args):
    to_stdout = args.write in (None, "-")
    if to_stdout and sys.stdout.isatty():
        raise Trouble(EXIT_USAGE, "a terminal can't show pcapng", f"vnicctl capture {args.ports} | tcpdump -nr -, or -w FILE")
    try:
        out = sys.stdout.buffer if to_stdout else open(args.write, "wb")
    except OSError as error:
        raise Trouble(EXIT_USAGE, f"{args.write}: {error.strerror}", "name a file that you may write: -w FILE") from None
    end_by_signals(client.sock)
    client.call("capture.start", {"config": config_line(client, args)})
    try:
        tail = copy(client, out)
    except OSError as error:
        if isinstance(error, BrokenPipeError) and to_stdout:
            raise
        raise Trouble(1, f"{'standard output' if to_stdout else args.write}: {error.strerror}") from None
    totals = statistics(tail)
    if totals is None:
        raise Trouble(EXIT_NO_VNICD, "vnicd ended before the capture: the file has no statistics", "is vnicd still there?")
    written, lost = totals
    if args.json:
        print_json({"captured": written, "lost": lost}, file=sys.stderr)
    else:
        print(f"{written} frame{'s' * (written != 1)} captured, {lost} lost"
              + (": the reader was too slow: a filter, -s or --buffer helps" if lost else ""), file=sys.stderr)


def add(verbs, common):
    verb = verbs.add_parser("capture", parents=[common], help="frames of some ports as pcapng, live, to a file or a pipe")
    verb.add_argument("ports", metavar="PORT[+PORT]...|all")
    verb.add_argument("expression", metavar="EXPRESSION", nargs="*", help="frames of which this is true: tcp port 80 (pcap-filter(7))")
    verb.add_argument("-w", "--write", metavar="FILE", help="- or nothing: standard output, for a pipe")
    verb.add_argument("-c", "--count", metavar="N", type=int, help="end after so many frames")
    verb.add_argument("-s", "--snaplen", metavar="BYTES", type=int, help="of each frame (default: all)")
    verb.add_argument("-Q", "--direction", choices=("in", "out", "both"), help="in: what comes from the port; out: what goes to it")
    verb.add_argument("-q", "--queue", metavar="PAIR", type=int, help="of one queue pair")
    drops = verb.add_mutually_exclusive_group()
    drops.add_argument("--drops", dest="drops", action="store_const", const="on", help="also what is dropped, with the reason as a comment")
    drops.add_argument("--drops-only", dest="drops", action="store_const", const="only", help="nothing but that")
    verb.add_argument("--header", action="store_true", help="each frame's virtio-net header as a comment")
    verb.add_argument("--buffer", metavar="SIZE", help="that waits for us, of each worker (default 4m)")
    verb.set_defaults(run=capture)

#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""A Linux guest and this machine's kernel over TCP: QEMU's own tap, beside vnicd with a tap port.

The same QEMU guest is booted in turns with `-netdev tap` and with `-netdev vhost-user` and a vnicd whose other port is a
tap. The interface is in a network namespace, where iperf3 serves; the guest's iperf3 sends there, and receives from there.
Prints the Gbit/s of each run, the medians, and the ratios pair by pair.

vnicd's worker polls on the first CPU that we may use, while QEMU and iperf3 run wherever they like: three CPUs are the least.

    tap_guests.py [--pairs N] [--seconds S] [--variant modern|packed|..]

Without KVM the guest is emulated, and its TCP is most of what is measured: a ratio near 1 says that the path behind the
device is not what the guest waits for, and not that both are equally fast. Needs root, iperf3 and QEMU with a kernel for
guests (usertools/install-deps test bench).

Exit status: 0 measured; 1 something could not be measured; 2 wrong usage.
"""
import argparse
import json
import os
import pathlib
import shutil
import statistics
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "guests"), str(HERE.parent / "lib")]
import guests  # noqa: E402
import netns  # noqa: E402
import vnictest  # noqa: E402

GUEST, HOST, MAC, IFNAME, PORT = "10.0.0.1", "10.0.0.2", "52:54:00:00:00:01", "tap0", 5201
DIRECTIONS = (("guest to host", ""), ("host to guest", "-R"))


class NotPossible(Exception):
    """Why nothing can be measured here."""


class Side:
    """A guest with the kernel at its other end. run() boots, measures each direction and ends all."""
    NAME = ""

    def __init__(self, variant, seconds):
        self.variant = variant
        self.seconds = seconds
        self.started = []

    def boot(self, host):
        """A guest, and the tap in the host's namespace."""
        raise NotImplementedError

    def run(self):
        host = netns.Host(HOST)
        try:
            guest = self.boot(host)
            self.started.append(guest)
            if not self.is_up(host):
                host.up(IFNAME)
            guest.wait_ready()
            server = vnictest.Proc(host.command("iperf3", "-s", "-p", PORT, "--forceflush"), name="iperf3")
            self.started.append(server)
            server.expect("Server listening")
            guest.ping_until(HOST)
            return {words: self.measure(guest, option) for words, option in DIRECTIONS}
        finally:
            for process in reversed(self.started):
                process.kill9()
            self.started.clear()
            host.remove()

    @staticmethod
    def is_up(host):
        return HOST in host.run("ip", "address", "show", "dev", IFNAME)

    def measure(self, guest, option):
        """Gbit/s, as the receiver says."""
        text = guest.check(f"/usr/sbin/iperf3 -c {HOST} -p {PORT} -t {self.seconds} -O 1 {option} --json",
                           self.seconds + 30)
        return json.loads(text)["end"]["sum_received"]["bits_per_second"] / 1e9

    def guest(self, *args, **more):
        return guests.QemuGuest(*args, self.variant, programs=("iperf3",), **more)


class QemuTap(Side):
    NAME = "QEMU's tap"

    def boot(self, host):
        host.run("ip", "tuntap", "add", IFNAME, "mode", "tap", "vnet_hdr")
        host.up(IFNAME)
        return self.guest(None, GUEST, MAC, netns=host.name,
                          netdev=f"tap,ifname={IFNAME},script=no,downscript=no,vhost=off")


class VnicdTap(Side):
    NAME = "vnicd's tap"

    def boot(self, host):
        vnicd = vnictest.Vnicd({"vm0": "vhost-user", "up0": f"tap,ifname={IFNAME}"}, netns=host.name)
        self.started.append(vnicd)
        return self.guest(vnicd.sock("vm0"), GUEST, MAC)


def check():
    if os.geteuid() != 0:
        raise NotPossible(netns.NEEDS_ROOT)
    if not shutil.which("iperf3"):
        raise NotPossible("no iperf3: usertools/install-deps bench")
    try:
        guests.QemuGuest.probe()
    except guests.Missing as why:
        raise NotPossible(str(why)) from why


def measure(sides, pairs, say):
    """{direction: {side's name: [Gbit/s, ..]}}, the sides in turns."""
    result = {words: {side.NAME: [] for side in sides} for words, _ in DIRECTIONS}
    for pair in range(pairs):
        for side in sides:
            for words, gbps in side.run().items():
                result[words][side.NAME].append(gbps)
                say(f"[{pair + 1}/{pairs}] {side.NAME}, {words}: {gbps:.3f} Gbit/s")
    return result


def table(result, names):
    ours, peer = names
    lines = []
    for words, rates in result.items():
        ratios = [a / b for a, b in zip(rates[ours], rates[peer])]
        lines.append(f"{words}: {ours} {statistics.median(rates[ours]):.3f} Gbit/s, {peer} "
                     f"{statistics.median(rates[peer]):.3f} Gbit/s, ratio pair by pair {statistics.median(ratios):.2f} "
                     f"({min(ratios):.2f}-{max(ratios):.2f})")
    lines.append("The guest is emulated: these are mostly its own TCP, not the path behind its device.")
    return "\n".join(lines)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5, metavar="N", help="of runs (5)")
    parser.add_argument("--seconds", type=int, default=5, metavar="S", help="of each direction in each run (5)")
    parser.add_argument("--variant", choices=sorted(guests.QemuGuest.VARIANTS), default="modern",
                        help="what the guest's device is (modern: split ring)")
    args = parser.parse_args(argv)
    if args.pairs < 1 or args.seconds < 1:
        parser.error("--pairs, --seconds: at least 1")
    sides = [VnicdTap(args.variant, args.seconds), QemuTap(args.variant, args.seconds)]
    try:
        check()
        result = measure(sides, args.pairs, lambda text: print(text, file=sys.stderr, flush=True))
    except (NotPossible, AssertionError, OSError) as why:
        print(f"tap_guests: {why}", file=sys.stderr)
        return 1
    print(table(result, [side.NAME for side in sides]))
    return 0


if __name__ == "__main__":
    sys.exit(main())

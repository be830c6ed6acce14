# SPDX-License-Identifier: BSD-3-Clause
"""Network namespaces, and this machine's kernel in one of them as somebody to talk to."""
import atexit
import ctypes
import hashlib
import itertools
import os
import pathlib
import re
import socket
import subprocess
import time

import vnictest

NEEDS_ROOT = "needs root, to make network namespaces"


def run(*args, **kw):
    """The command's output; it has to succeed."""
    done = subprocess.run([str(a) for a in args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **kw)
    if done.returncode:
        raise AssertionError(f"{' '.join(map(str, args))}: {done.stdout}")
    return done.stdout


class Netns:
    """A network namespace; every link that a test makes lives in one, so nothing of it is seen outside."""

    _serial = itertools.count()

    def __init__(self, ipv6=False):
        self.name = f"vnic-{os.getpid()}-{next(self._serial)}"
        run("ip", "netns", "add", self.name)
        atexit.register(self.remove)
        if not ipv6:
            # Router solicitations and the like would blur the counters.
            self.run("sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6; "
                                 "echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6")
        else:
            self.run("sh", "-c", "echo 0 > /proc/sys/net/ipv6/conf/all/accept_dad; "
                                 "echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad")
        self.run("ip", "link", "set", "lo", "up")

    def command(self, *args):
        return ["ip", "netns", "exec", self.name, *(str(a) for a in args)]

    def run(self, *args, **kw):
        return run(*self.command(*args), **kw)

    def packet_socket(self, interface):
        """AF_PACKET, raw, on an interface of this namespace."""
        sock = self.socket(socket.AF_PACKET, socket.SOCK_RAW)
        sock.bind((interface, 0))
        return sock

    def socket(self, family, kind):
        """A socket of this namespace, which this thread enters for the moment."""
        libc = ctypes.CDLL(None, use_errno=True)
        with open("/proc/self/ns/net") as here, open(f"/run/netns/{self.name}") as there:
            if libc.setns(there.fileno(), 0):
                raise OSError(ctypes.get_errno(), f"setns {self.name}")
            try:
                sock = socket.socket(family, kind, 0)
            finally:
                libc.setns(here.fileno(), 0)
        return sock

    def remove(self):
        if self.name:
            subprocess.run(["ip", "netns", "del", self.name], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            self.name = None

    def ping(self, address, count=5, size=56):
        """Number of answers. The next one is asked for when one has come."""
        done = subprocess.run(self.command("busybox", "ping", "-A", "-c", count, "-s", size, "-W", 2, address),
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        m = re.search(r"(\d+) packets transmitted, (\d+) packets received", done.stdout)
        if not m:
            raise AssertionError(f"ping {address}: {done.stdout}")
        return int(m.group(2))


class Host(Netns):
    """A namespace with files to fetch over HTTP, and an end of a link that the caller makes."""

    def __init__(self, address, address6=None):
        super().__init__(ipv6=address6 is not None)
        self.ip, self.ip6 = address, address6
        self.files = pathlib.Path(vnictest.tmpdir())
        self.server = None

    def up(self, interface, mtu=None):
        if mtu:
            self.run("ip", "link", "set", interface, "mtu", mtu)
        self.run("ip", "address", "add", f"{self.ip}/24", "dev", interface)
        if self.ip6:
            self.run("ip", "address", "add", f"{self.ip6}/64", "dev", interface, "nodad")
        self.run("ip", "link", "set", interface, "up")

    def make_file(self, name, mib):
        """A file of random bytes; returns its SHA-256."""
        data = os.urandom(int(mib * 2**20))
        (self.files / name).write_bytes(data)
        return hashlib.sha256(data).hexdigest()

    def serve(self):
        if not self.server:
            self.server = vnictest.Proc(self.command("busybox", "httpd", "-f", "-p", "80", "-h", self.files), name="httpd")
            while not self.run("busybox", "netstat", "-ltn").count(":80 "):
                time.sleep(0.05)

    def fetch(self, address, name, timeout=60):
        """Returns (SHA-256 of what arrived, seconds)."""
        host, start = f"[{address}]" if ":" in address else address, time.monotonic()
        self.run("busybox", "wget", "-q", "-O", self.files / "fetched", f"http://{host}/{name}", timeout=timeout)
        seconds = time.monotonic() - start
        return hashlib.sha256((self.files / "fetched").read_bytes()).hexdigest(), seconds

    def errors(self):
        return errors(self.run("cat", "/proc/net/snmp", "/proc/net/snmp6"))

    def remove(self):
        if getattr(self, "server", None):
            self.server.kill9()
            self.server = None
        super().remove()


def errors(snmp):
    """Of /proc/net/snmp and snmp6: checksums that were wrong and headers that could not be read, those that are not 0."""
    found, header = {}, {}
    for line in snmp.splitlines():
        words = line.split()
        if len(words) == 2 and words[0].startswith(("Ip6", "Udp6", "Icmp6")):
            found[words[0]] = int(words[1])
        elif words and words[0].endswith(":") and not words[1].lstrip("-").isdigit():
            header[words[0]] = words[1:]
        elif words and words[0] in header:
            found.update({words[0][:-1] + name: int(n) for name, n in zip(header[words[0]], words[1:])})
    return {name: n for name, n in found.items() if n and re.search("CsumErrors|InHdrErrors|InTruncatedPkts|InErrs", name)}

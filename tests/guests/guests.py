# SPDX-License-Identifier: BSD-3-Clause
"""Real Linux guests on a vhost-user socket: User-mode Linux and QEMU, booted from an initramfs made here.

A guest is its kernel, one virtio-net device, busybox and our /init, which runs commands that arrive on the
console. Nothing of this needs root, KVM or hugepages. The back-end must listen on the socket already.

    with UmlGuest("/tmp/x/vm0.sock", "10.0.0.1/24") as a, UmlGuest("/tmp/x/vm1.sock", "10.0.0.2/24") as b:
        a.wait_ready(), b.wait_ready()
        a.ping("10.0.0.2", count=3)

Standard library only. Environment:
  VNICD_GUEST_KERNEL  directory with boot/vmlinuz-* and lib/modules/* for QEMU guests
  VNICD_CACHE         where usertools/install-deps keeps the kernel it fetched (default: ~/.cache/vnicd)
"""
import base64
import glob
import os
import pathlib
import re
import secrets
import shutil
import stat
import subprocess
import sys
import tempfile
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "lib"))
import vnictest  # noqa: E402

# Kernel modules for VLAN interfaces, in the order in which they load.
VLAN_MODULES = ("llc", "stp", "garp", "mrp", "8021q")

# Virtio feature bits by the names of the specification.
FEATURES = {
    "CSUM": 0, "GUEST_CSUM": 1, "CTRL_GUEST_OFFLOADS": 2, "MTU": 3, "MAC": 5, "GUEST_TSO4": 7, "GUEST_TSO6": 8,
    "GUEST_ECN": 9, "GUEST_UFO": 10, "HOST_TSO4": 11, "HOST_TSO6": 12, "HOST_ECN": 13, "HOST_UFO": 14, "MRG_RXBUF": 15,
    "STATUS": 16, "CTRL_VQ": 17, "CTRL_RX": 18, "CTRL_VLAN": 19, "CTRL_RX_EXTRA": 20, "GUEST_ANNOUNCE": 21, "MQ": 22,
    "CTRL_MAC_ADDR": 23, "ANY_LAYOUT": 27, "INDIRECT_DESC": 28, "EVENT_IDX": 29, "VERSION_1": 32, "RING_PACKED": 34,
    "IN_ORDER": 35, "DEVICE_STATS": 50, "VQ_NOTF_COAL": 52, "NOTF_COAL": 53, "HASH_REPORT": 57, "RSS": 60,
    "STANDBY": 62, "SPEED_DUPLEX": 63,
}


BOOT_ATTEMPTS = 3  # see Guest.first_fork_failed()


class Missing(Exception):
    """A program or kernel that the guest needs is not on this machine; says which and how to get it."""


class GuestError(AssertionError):
    """The guest did not do what it was asked to."""


# --- initramfs ---

def _cpio(entries):
    """A "newc" cpio archive. entries: (name, mode, data, (major, minor)). Needs no root, not even for devices."""
    out = bytearray()
    trailer = ("TRAILER!!!", 0, b"", (0, 0))
    for ino, (name, mode, data, rdev) in enumerate(list(entries) + [trailer], 1):
        raw = name.encode() + b"\0"
        fields = (ino, mode, 0, 0, 1, 0, len(data), 0, 0, rdev[0], rdev[1], len(raw), 0)
        out += b"070701" + b"".join(b"%08X" % field for field in fields) + raw
        out += b"\0" * (-len(out) % 4)
        out += data
        out += b"\0" * (-len(out) % 4)
    return bytes(out)


def libraries_of(path):
    """The libraries and the loader that a program or library names: (name in an initramfs, file) each."""
    listed = subprocess.run(["ldd", path], capture_output=True, text=True, check=True).stdout
    return [(file.lstrip("/"), file) for file in re.findall(r"(?:=> |^\s*)(/\S+) \(0x", listed, re.M)]


def _program(name):
    """A program of this machine, by name or path, for the initramfs, with what it needs."""
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if not path:
        raise Missing(f"{name} is not installed (usertools/install-deps test)")
    return [(f"usr/sbin/{os.path.basename(name)}", path), *libraries_of(path)]


def _directories(names):
    """All directories that files of these names need, parents first."""
    found = set()
    for name in names:
        found.update(str(parent) for parent in pathlib.PurePath(name).parents)
    return sorted(found - {"."})


def build_initramfs(path, modules, programs=(), files=(), links=()):
    """Write an initramfs to path. modules: files of kernel modules in the order in which they are to be loaded.
    programs: names or paths of this machine's programs that the guest gets beside busybox, in /usr/sbin.
    files: more of them: (name there, file); links: (name there, where it leads)."""
    busybox = shutil.which("busybox")
    if not busybox:
        raise Missing("busybox is not installed (Debian package busybox-static)")
    program = pathlib.Path(busybox).read_bytes()
    if b"/lib64/ld-linux" in program[:4096]:
        raise Missing(f"{busybox} is not statically linked; install the Debian package busybox-static")

    files = dict(files) | {name: file for program in programs for name, file in _program(program)}
    entries = [(name, stat.S_IFDIR | 0o755, b"", (0, 0))
               for name in _directories(list(files) + [name for name, _ in links] + ["bin/x", "dev/x", "lib/modules/x"])]
    entries += [(name, stat.S_IFLNK | 0o777, target.encode(), (0, 0)) for name, target in links]
    entries += [(name, stat.S_IFREG | 0o755, pathlib.Path(file).read_bytes(), (0, 0)) for name, file in files.items()]
    entries += [
        # The kernel opens /dev/console for us before there is a devtmpfs.
        ("dev/console", stat.S_IFCHR | 0o600, b"", (5, 1)),
        ("dev/tty0", stat.S_IFCHR | 0o600, b"", (4, 0)),
        ("dev/null", stat.S_IFCHR | 0o666, b"", (1, 3)),
        ("bin/busybox", stat.S_IFREG | 0o755, program, (0, 0)),
        ("bin/sh", stat.S_IFLNK | 0o777, b"busybox", (0, 0)),
        ("init", stat.S_IFREG | 0o755, (HERE / "init").read_bytes(), (0, 0)),
    ]
    names = [pathlib.Path(module).stem for module in modules]
    entries.append(("lib/modules/list", stat.S_IFREG | 0o644, "".join(n + "\n" for n in names).encode(), (0, 0)))
    for name, module in zip(names, modules):
        data = pathlib.Path(module).read_bytes()
        entries.append((f"lib/modules/{name}.ko", stat.S_IFREG | 0o644, data, (0, 0)))
    pathlib.Path(path).write_bytes(_cpio(entries))
    return path


def _find_modules(top, names):
    """Files of the named modules below top, in the given order; a name that is built in is left out."""
    found = {p.stem: p for p in pathlib.Path(top).rglob("*.ko")}
    if "virtio_net" not in found:
        raise Missing(f"no virtio_net.ko below {top}")
    return [found[name] for name in names if name in found]


# --- kernels ---

def uml_kernel():
    """(program, directory of its modules)"""
    program = shutil.which("linux.uml")
    if not program:
        raise Missing("linux.uml is not installed (Debian package user-mode-linux)")
    modules = sorted(glob.glob("/usr/lib/uml/modules/*/kernel"))
    if not modules:
        raise Missing("no modules below /usr/lib/uml/modules (Debian package user-mode-linux)")
    return program, modules[-1]


def cache_dir():
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return pathlib.Path(os.environ.get("VNICD_CACHE") or os.path.join(base, "vnicd"))


def qemu_program():
    program = shutil.which("qemu-system-x86_64")
    if not program:
        raise Missing("qemu-system-x86_64 is not installed (Debian package qemu-system-x86)")
    return program


def qemu_kernel():
    """(vmlinuz, directory of its modules): the one named in the environment, the fetched one, or an installed one."""
    named = os.environ.get("VNICD_GUEST_KERNEL")
    fetched = sorted(cache_dir().glob("guest-kernel/*"), reverse=True)
    for top in [pathlib.Path(named)] if named else fetched + [pathlib.Path("/")]:
        found = _kernel_below(top)
        if found:
            return found
    raise Missing("no Linux kernel for QEMU guests; usertools/install-deps test fetches one")


def _kernel_below(top):
    for vmlinuz in sorted(top.glob("boot/vmlinuz-*-cloud-amd64"), reverse=True):
        modules = top / "lib/modules" / vmlinuz.name.removeprefix("vmlinuz-") / "kernel"
        if os.access(vmlinuz, os.R_OK) and modules.is_dir():
            return vmlinuz, modules
    return None


# --- guests ---

class Guest:
    """What both kinds have in common: a console to run commands on. `proc` is the program that is the guest."""

    def __init__(self, ip, *, name, logfile=None, mtu=None, kernel_args=""):
        if "/" not in ip:
            ip += "/24"
        self.ip = ip.split("/")[0]
        self.name = name
        self.dir = vnictest.tmpdir("vnicd-guest-")
        self._logfile = logfile or os.path.join(self.dir, "console.log")
        self._token = secrets.token_hex(4)
        self._number = 0
        self._boot_mark = 0
        self._append = f"gtoken={self._token} gip={ip}"
        if mtu:
            self._append += f" gmtu={mtu}"
        if kernel_args:
            self._append += " " + kernel_args
        self.proc = None
        self.kernel = None
        self.boot_seconds = None

    def _start(self, args, env=None, netns=None):
        self._netns = netns
        self._started = time.monotonic()
        self.args = [str(a) for a in args]
        self._start_env = env
        self.proc = vnictest.Proc(self.args, name=self.name, logfile=self._logfile, env=env, netns=netns)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill9()

    NEEDS_NETWORK = True

    def wait_ready(self, timeout=None):
        """The drivers are loaded and the network interface is up. Returns self."""
        timeout = timeout or self.BOOT_TIMEOUT
        for attempt in range(BOOT_ATTEMPTS):
            try:
                m = self.proc.expect(rf"@{self._token} (ready|no-network) (\S+)", timeout, since=self._boot_mark)
                break
            except AssertionError as e:
                if attempt + 1 == BOOT_ATTEMPTS or self._boot_mark or not self.first_fork_failed():
                    raise GuestError(f"{self.name} did not boot in {timeout} s (console: {self._logfile}): {e}") from None
                print(f"{self.name}: its first process could not fork; once more", file=sys.stderr)
                self._start(self.args, self._start_env, self._netns)
        if m[1] != "ready" and self.NEEDS_NETWORK:
            raise GuestError(f"{self.name} found no network device (console: {self._logfile})")
        self.kernel = m[2]
        self.boot_seconds = time.monotonic() - self._started
        return self

    def command_line(self):
        """What a person would type to start it."""
        return (["env"] + [f"{k}={v}" for k, v in self._start_env.items()] if self._start_env else []) + self.args

    def first_fork_failed(self):
        """User-mode Linux 6.1.176 refuses the very first fork with EAGAIN once in some thirty starts on some hosts (seen
        on Linux 6.18 with AMX), whatever the device does."""
        return not self.proc.alive() and bool(re.search(r"can't fork: Resource temporarily unavailable", self.proc.output))

    def run(self, command, timeout=20):
        """Run a shell command in the guest. Returns (exit status, output). Raises GuestError when it takes longer."""
        self._number += 1
        code = base64.b64encode(command.encode()).decode()
        if len(code) > 3500:
            raise ValueError("command too long for the guest's console")
        tag = f"@{self._token} {self._number}"
        mark = self.proc.mark()
        try:
            self._request(f"{self._token} {self._number} {max(1, int(timeout))} {code}", rf"{tag} begin", mark)
            m = self.proc.expect(rf"{tag} end (\d+)", timeout + 15, since=mark)
        except AssertionError as e:
            raise GuestError(f"{self.name}: no answer to {command!r} in {timeout} s; {e}") from None
        lines = self.proc.output.split("\n")[mark:]
        begin = next(i for i, line in enumerate(lines) if line.endswith(f"{tag} begin"))
        end = next(i for i, line in enumerate(lines) if f"{tag} end" in line)
        status, output = int(m[1]), "\n".join(lines[begin + 1:end]).rstrip("\n")
        if status in (137, 143):
            raise GuestError(f"{self.name}: {command!r} took longer than {timeout} s; so far:\n{output}")
        return status, output

    def _request(self, line, answer, mark):
        """Send a line to the console until it is answered: consoles of busy guests lose a line once in a blue moon.
        The guest does nothing twice that has the number of the one before."""
        for patience in (3, 17):
            self.proc.send("\n" + line)
            try:
                self.proc.expect(answer, patience, since=mark)
                return
            except AssertionError:
                if not self.proc.alive():
                    raise
        self.proc.send("\n" + line)

    def check(self, command, timeout=20):
        """Like run(), but the command has to succeed; returns its output."""
        status, output = self.run(command, timeout)
        if status != 0:
            raise GuestError(f"{self.name}: {command!r} failed with status {status}:\n{output}")
        return output

    # --- traffic ---

    def ping(self, ip, *, size=56, count=5, wait=5, flood=True):
        """Ping; all must be answered. flood: the next one as soon as the last was answered. Returns the report."""
        status, output = self.run(f"ping {'-A' if flood else '-i 0.2'} -c {count} -s {size} -W {wait} {ip}",
                                  timeout=count * 0.5 + wait + 10)
        m = re.search(r"(\d+) packets transmitted, (\d+) packets received", output)
        if status != 0 or not m or int(m[2]) != count or "DUP!" in output:
            raise GuestError(f"{self.name}: ping {ip}, {count} times {size} bytes: status {status}\n{output}\n"
                             f"{self.run('ip -s link show eth0; ip neigh')[1]}")
        return output.splitlines()[-1] if "round-trip" in output else output

    def ping_until(self, ip, timeout=20):
        """Wait until a ping is answered; returns the seconds that took."""
        start = time.monotonic()
        while self.run(f"ping -c 1 -W 1 {ip}")[0] != 0:
            if time.monotonic() - start > timeout:
                raise GuestError(f"{self.name}: {ip} has not answered for {timeout} s")
        return time.monotonic() - start

    def make_file(self, name, mib):
        """A file of random bytes in /srv; returns its SHA-256."""
        self.check(f"dd if=/dev/urandom of=/srv/{name} bs=64k count={int(mib * 16)} 2>/dev/null", 30 + mib * 2)
        return self.sha256(name)

    def sha256(self, name):
        return self.check(f"sha256sum /srv/{name}", 120).split()[0]

    def serve(self):
        """Serve /srv over HTTP on port 80."""
        self.check("pidof httpd >/dev/null || httpd -p 80 -h /srv")

    def fetch(self, ip, name, save_as=None, timeout=60):
        """Fetch a file that another guest serves into /srv. Returns (SHA-256 of what arrived, seconds)."""
        save_as = save_as or name
        start = time.monotonic()
        # No -T: this busybox handles the alarm with a handler that crashes in User-mode Linux; run() has the limit.
        self.check(f"wget -q -O /srv/{save_as} http://{ip}/{name}", timeout)
        return self.sha256(save_as), time.monotonic() - start

    # --- what the driver sees ---

    def dmesg(self):
        return self.check("dmesg")

    def features(self):
        """The set of feature bits that driver and device agreed on."""
        bits = self.check("cat /sys/bus/virtio/devices/virtio0/features")
        return {bit for bit, char in enumerate(bits.strip()) if char == "1"}

    def feature_names(self):
        bits = self.features()
        return sorted((n for n, bit in FEATURES.items() if bit in bits), key=FEATURES.get)

    def driver_counters(self):
        """What `ethtool -S` shows: {"rx_queue_0_packets": ...}. Needs the program."""
        output = self.check("ethtool -S eth0")
        return {key: int(value) for key, value in re.findall(r"^\s+(\S+): (\d+)$", output, re.M)}

    def counters(self):
        """The interface's counters: {"rx_packets": ..., "tx_bytes": ...}"""
        output = self.check("cd /sys/class/net/eth0/statistics; for f in *; do echo $f $(cat $f); done")
        return {key: int(value) for key, value in (line.split() for line in output.splitlines())}

    def mac(self):
        return self.check("cat /sys/class/net/eth0/address").strip()

    # --- life ---

    def reboot(self, timeout=None):
        """Reboot from inside; the program that is the guest stays."""
        self._boot_mark = self.proc.mark()
        self._started = time.monotonic()
        self.proc.send(f"{self._token} 0 10 {base64.b64encode(b'reboot -f').decode()}")
        return self.wait_ready(timeout)

    def poweroff(self, timeout=20):
        """End it the way a person would. Returns the exit status of the program."""
        self.proc.send(f"{self._token} 0 10 {base64.b64encode(b'poweroff -f').decode()}")
        return self.proc.wait(timeout)

    def kill9(self):
        if self.proc:
            self.proc.kill9()


class UmlGuest(Guest):
    """User-mode Linux: its virtio_uml driver connects to the socket."""

    MODULES = ("failover", "net_failover", "virtio_net")
    BOOT_TIMEOUT = 40

    @staticmethod
    def probe():
        """Raises Missing where such a guest can't run."""
        uml_kernel()

    def __init__(self, sock, ip, *, mem=96, name=None, kernel_args="", mtu=None, logfile=None, initrd=None,
                 modules=(), programs=()):
        """modules, programs: beyond the usual ones, as for build_initrd()."""
        super().__init__(ip, name=name or "uml-" + pathlib.Path(sock).stem, kernel_args=kernel_args, mtu=mtu,
                         logfile=logfile)
        program, _ = uml_kernel()
        initrd = initrd or self.build_initrd(os.path.join(self.dir, "initrd"), modules, programs)
        self._start([program, f"mem={mem}M", f"initrd={initrd}", "root=/dev/ram0", "rdinit=/init",
                     f"virtio_uml.device={sock}:1", "con=null", "con0=fd:0,fd:1", "console=tty0", "quiet",
                     f"uml_dir={self.dir}/", f"umid={self._token}"] + self._append.split(), self._env(mem))

    @classmethod
    def build_initrd(cls, path, modules=(), programs=()):
        return build_initramfs(path, _find_modules(uml_kernel()[1], tuple(modules) + cls.MODULES), programs)

    @staticmethod
    def _env(mem):
        """The guest's memory is a file in /dev/shm; where that does not do (containers), in another directory.
        On CPUs with AMX the kernel needs usertools/uml_xstate.c."""
        env = {}
        shim = pathlib.Path(vnictest.VNICD).resolve().parents[1] / "usertools/uml_xstate.so"
        if shim.exists():
            env["LD_PRELOAD"] = str(shim)
        try:
            shm = os.statvfs("/dev/shm")
        except OSError:
            return env
        if shm.f_flag & os.ST_NOEXEC or shm.f_bavail * shm.f_frsize < mem << 20:
            env["TMPDIR"] = tempfile.gettempdir()
        return env


class QemuGuest(Guest):
    """QEMU without KVM, Debian's cloud kernel, one virtio-net-pci device on a vhost-user chardev."""

    MODULES = ("virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci", "failover",
               "net_failover", "virtio_net")
    BOOT_TIMEOUT = 120  # 5 s on an idle machine

    @staticmethod
    def probe():
        """Raises Missing where such a guest can't run."""
        qemu_program()
        qemu_kernel()

    # What the device may be: options of QEMU's device.
    VARIANTS = {
        "legacy": "disable-modern=on,disable-legacy=off",
        "transitional": "disable-modern=off,disable-legacy=off",
        "modern": "disable-modern=off,disable-legacy=on",
        "packed": "disable-modern=off,disable-legacy=on,packed=on",
    }

    def __init__(self, sock, ip, mac, variant="modern", *, mem=256, smp=1, name=None, kernel_args="", mtu=None,
                 device_args="", queues=1, reconnect=False, server=False, logfile=None, modules=(), programs=(),
                 backend="memory-backend-memfd,share=on", qmp=None, netdev=None, netns=None, accel="tcg", initrd=None):
        """backend: of its memory, without id and size; None: what QEMU takes by itself. qmp: the path of a socket.
        netdev: another kind of QEMU's than vhost-user, without id; sock is of no account then. netns: where QEMU runs."""
        super().__init__(ip, name=name or f"qemu-{pathlib.Path(sock or 'tap').stem}-{variant}", kernel_args=kernel_args,
                         mtu=mtu, logfile=logfile)
        qemu = qemu_program()
        vmlinuz, _ = qemu_kernel()
        initrd = initrd or self.build_initrd(os.path.join(self.dir, "initrd"), modules, programs)
        chardev = f"socket,id=c0,path={sock}"
        if server:
            chardev += ",server=on,wait=off"
        elif reconnect:
            chardev += ",reconnect=1"
        # vectors=0: this QEMU crashes when a driver unmasks an MSI-X vector of a vhost-user device without KVM.
        vectors = 0 if accel == "tcg" else 2 * queues + 2
        device = f"virtio-net-pci,netdev=n0,mac={mac},vectors={vectors},romfile=,{self.VARIANTS[variant]}"
        if queues > 1:
            device += ",mq=on"
        if device_args:
            device += "," + device_args
        self._start([qemu, "-machine", "q35", "-accel", accel, "-cpu", "max", "-smp", smp, "-m", mem, "-nodefaults",
                     "-nographic", "-serial", "stdio", "-monitor", "none"]
                    + (["-object", f"{backend},id=mem,size={mem}M", "-numa", "node,memdev=mem"] if backend else [])
                    + (["-qmp", f"unix:{qmp},server=on,wait=off"] if qmp else []) +
                    (["-netdev", f"{netdev},id=n0"] if netdev else
                     ["-chardev", chardev, "-netdev", f"vhost-user,id=n0,chardev=c0,queues={queues}"]) +
                    ["-device", device, "-kernel", vmlinuz, "-initrd", initrd,
                     "-append", f"console=ttyS0 quiet panic=-1 net.ifnames=0 {self._append}"], netns=netns)

    @classmethod
    def build_initrd(cls, path, modules=(), programs=()):
        return build_initramfs(path, _find_modules(qemu_kernel()[1], tuple(modules) + cls.MODULES), programs)

    def variant(self):
        """Which of VARIANTS the guest's driver really drives, from what it shows in /sys."""
        ids = self.check("cat /sys/bus/virtio/devices/virtio0/../device").split()[0]
        bits = self.features()
        if FEATURES["RING_PACKED"] in bits:
            return "packed"
        if FEATURES["VERSION_1"] not in bits:
            return "legacy"
        # The PCI device id tells a device that could also have been driven the old way.
        return "transitional" if int(ids, 16) < 0x1040 else "modern"


class GuestTest(unittest.TestCase):
    """A test case with guests: skipped where KIND's guests can't run; what it starts is gone when it ends."""

    KIND = UmlGuest

    @classmethod
    def setUpClass(cls):
        try:
            cls.KIND.probe()
        except Missing as e:
            raise unittest.SkipTest(str(e)) from None

    def start(self, ports, mode, **kwargs):
        """vnicd; it has to survive the test and to stop cleanly after it. A test that kills it sets `killed`."""
        vnicd = vnictest.Vnicd(ports, mode, **kwargs)
        vnicd.killed = False

        def stop():
            if not vnicd.killed:
                self.assertEqual(vnicd.stop(), 0, vnicd.output)
        self.addCleanup(stop)
        return vnicd

    def guest(self, *args, **kwargs):
        """A guest of KIND; not ready yet."""
        guest = self.KIND(*args, **kwargs)
        self.addCleanup(guest.kill9)
        return guest

    @staticmethod
    def report(line):
        print("  " + line, flush=True)


def exchange(a, b, *, mib=2, report=lambda line: None):
    """What two guests that see each other can do: ping small and large both ways, move a file there and back."""
    for size, count in ((56, 10), (1472, 10), (8192, 10)):
        report(f"{a.name} -> {b.name} ping {size} bytes: " + a.ping(b.ip, size=size, count=count))
        b.ping(a.ip, size=size, count=count)
    before = a.make_file("there", mib)
    for source, sink, name, save_as in ((a, b, "there", "there"), (b, a, "there", "back")):
        source.serve()
        after, seconds = sink.fetch(source.ip, name, save_as)
        if after != before:
            raise GuestError(f"{mib} MiB from {source.name} to {sink.name}: SHA-256 was {before}, is {after}")
        report(f"{source.name} -> {sink.name} {mib} MiB over TCP in {seconds:.1f} s, SHA-256 equal")
    a.run("rm -f /srv/*")
    b.run("rm -f /srv/*")


if __name__ == "__main__":
    if sys.argv[1:] != ["kernel"] and (len(sys.argv) != 3 or sys.argv[1] not in ("uml", "qemu")):
        sys.exit("usage: guests.py uml|qemu FILE   write the initramfs of such a guest to FILE\n"
                 "       guests.py kernel          print where the kernel of QEMU guests is")
    try:
        if sys.argv[1] == "kernel":
            print(qemu_kernel()[0])
            sys.exit(0)
        (UmlGuest if sys.argv[1] == "uml" else QemuGuest).build_initrd(sys.argv[2])
    except Missing as missing:
        sys.exit(f"guests.py: {missing}")

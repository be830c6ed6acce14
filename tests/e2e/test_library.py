# SPDX-License-Identifier: BSD-3-Clause
"""The library as it is installed: what other programs can build against, and what they get from it."""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import virtio_user as vu  # noqa: E402  (adds tests/lib to the path)
import pcapfile  # noqa: E402
import vnictest  # noqa: E402

BUILD = pathlib.Path(vnictest.VNICD).resolve().parents[1]
EXAMPLE = vnictest.ROOT / "docs/examples/macswap.c"
HEADER = vnictest.ROOT / "lib/vnic/vnic.h"
CC = os.environ.get("CC", "cc").split()


def run(*args, **kw):
    done = subprocess.run([str(a) for a in args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **kw)
    if done.returncode:
        raise AssertionError(f"{' '.join(map(str, args))}: exit status {done.returncode}\n{done.stdout}")
    return done.stdout


def declared():
    """The functions of vnic.h."""
    return set(re.findall(r"^VNIC_API [^;(]*?(\w+)\(", HEADER.read_text(), re.M))


class Installed(unittest.TestCase):
    """In a tree of its own, below DESTDIR, as a package would be made of it."""
    @classmethod
    def setUpClass(cls):
        cls.work = vnictest.tmpdir()
        run("meson", "install", "-C", BUILD, "--no-rebuild", "--quiet", "--destdir", f"{cls.work}/dest")
        (pc,) = pathlib.Path(cls.work, "dest").rglob("vnic.pc")
        cls.pkg_config_path = str(pc.parent)
        cls.libdir = pc.parents[1]
        cls.env = dict(os.environ, PKG_CONFIG_PATH=cls.pkg_config_path)

    def pkg_config(self, *args):
        return run("pkg-config", *args, env=self.env).split()

    def build(self, name, sources, libs):
        program = os.path.join(self.work, name)
        run(*CC, "-O2", "-Wall", "-Wextra", "-Werror", *sources, "-o", program, *self.pkg_config("--cflags", "vnic"), *libs)
        return program

    def echoes(self, program, env=None, n_frames=500):
        """A guest sends frames to it and gets back all of them, addresses swapped."""
        sock, sent, got = (os.path.join(self.work, name) for name in ("sock", "sent.pcap", "got.pcap"))
        frames = [bytes([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5]) + i.to_bytes(4, "big") + bytes(46 + i * 13 % 1400)
                  for i in range(n_frames)]
        pcapfile.write(sent, frames)
        cpus = vnictest.cpus()
        app = vnictest.Proc([program, "--lcores", f"0@{cpus[-1]},1@{cpus[0]}", "--no-pci", "--no-huge", "-m", "128",
                             "--no-shconf", "--no-telemetry", "--file-prefix=vnictest", "--log-level=lib.*:error", "--", sock],
                            env=env)
        self.addCleanup(app.kill9)
        app.expect(r"^macswap: ready, library 1\.\d+$")
        guest = vu.VirtioUser([vu.virtio_user(0, sock), f"net_pcap0,rx_pcap={sent},tx_pcap={got}"], txd=64)
        self.addCleanup(guest.kill9)
        guest.retry_io()
        app.expect(r"^macswap: vm0: started$")
        guest.start()
        guest.wait_idle()
        guest.stop()
        app.expect(r"^macswap: vm0: disconnected$")
        self.assertEqual(app.stop(), 0, app.output)
        app.expect(rf"^macswap: rx {n_frames} tx {n_frames} drops 0$", timeout=1)
        back = sorted(pcapfile.read(got), key=lambda frame: frame[14:18])
        self.assertEqual(back, [frame[6:12] + frame[:6] + frame[12:] for frame in frames])
        self.assertFalse(os.path.exists(sock))

    def test_example_with_the_shared_library(self):
        program = self.build("macswap", [EXAMPLE], self.pkg_config("--libs", "vnic"))
        self.echoes(program, {"LD_LIBRARY_PATH": str(self.libdir)})

    def test_example_with_the_static_library(self):
        """In a program that has functions of its own with the names of ours."""
        own = os.path.join(self.work, "own.c")
        names = ["log_write", "loop_open", "port_open", "port_rx", "diag_set", "ctx_open", "vnet_init", "device_close"]
        with open(own, "w") as f:
            f.writelines(f"void {name}(void);\nvoid {name}(void) {{ __builtin_abort(); }}\n" for name in names)
        library = self.libdir / "libvnic.a"
        program = self.build("macswap-static", [EXAMPLE, own], [library, *self.pkg_config("--libs", "libdpdk")])
        self.assertNotIn("libvnic", run("ldd", program))
        self.echoes(program)

    def test_header_alone(self):
        """It needs no other, in C and in C++, and no warning comes from it."""
        (header,) = pathlib.Path(self.work, "dest").rglob("vnic.h")
        self.assertEqual(header.parent.name, "vnic")
        for compiler, std in (("gcc", "c11"), ("g++", "c++11"), ("clang", "c11"), ("clang++", "c++11")):
            if not shutil.which(compiler):
                continue
            with self.subTest(compiler):
                run(compiler, "-x", "c++" if "++" in compiler else "c", f"-std={std}", "-Wall", "-Wextra", "-Werror", "-pedantic",
                    "-fsyntax-only", "-include", header, "/dev/null")

    def test_versions(self):
        text = HEADER.read_text()
        major, minor = (re.search(rf"^#define VNIC_API_VERSION_{part} (\d+)$", text, re.M)[1] for part in ("MAJOR", "MINOR"))
        self.assertEqual(self.pkg_config("--variable=api_version", "vnic"), [f"{major}.{minor}"])
        self.assertIn(f"Library soname: [libvnic.so.{major}]", run("readelf", "-d", self.libdir / "libvnic.so"))

    def test_exports(self):
        """vnic.h, all of it, and nothing else."""
        functions = declared()
        self.assertGreater(len(functions), 15)
        shared = run("nm", "-D", "--defined-only", self.libdir / "libvnic.so").split("\n")
        self.assertEqual({line.split()[-1].split("@")[0] for line in shared if line and " A " not in line}, functions)
        static = run("nm", "--defined-only", "--extern-only", self.libdir / "libvnic.a").split("\n")
        self.assertEqual({line.split()[-1] for line in static if len(line.split()) == 3}, functions)


REGISTERED = "put into its list by a constructor, before main(); never changed after that"
DAEMON = "of the program vnicd, whose ports have one context; not in libvnic"
# What is a variable of the process, and why it can't be a context's. By room and name.
GLOBALS = {
    "base": {
        "isa_selected": "of the CPU; atomic",
        "notifier_thread": "of the thread, and of the kernel's context for it",
        "null_fd": "a descriptor of /dev/null, opened once; atomic",
    },
    "gmem": {
        "sigbus": "a signal has one handler; under its mutex",
        "sigbus_table": "an address has one mapping; atomic",
        "sigbus_top": "of that table",
        "sigbus_hint": "of that table",
    },
    "virtq": {
        "virtq_faults": "counts up, and each context remembers what it has seen; atomic",
        "start_mutex": "of what follows:",
        "scan_words": "scratch, nothing between calls; under start_mutex",
        "seen": "the same",
        "heads": "the same",
        "ids": "the same",
    },
    "vdev": {"transports": REGISTERED},
    "vhost_user": {"vhost_user_transport": REGISTERED},
    "vnet_control": {
        "controlq_commands": REGISTERED,
        **{f"{name}_commands": REGISTERED for name in ("announce", "coal", "mac", "mq", "offloads", "rx", "stats", "vlan")},
    },
    "vnic": {"n_devices": "a process has so many mappings (decision 0024); atomic"},
    "port": {
        "pools_serial": "a process has one list of names for its mempools; atomic",
        "port_rxq_none": "has nothing that is written",
        "port_txq_none": "the same",
        "port_kind_list": REGISTERED,
        "config_modes": REGISTERED,
        "port_env": DAEMON,
        "port_table": DAEMON,
        "port_table_count": DAEMON,
    },
    "port_kinds": {
        "guest_kind": REGISTERED,
        "dgram_kind": REGISTERED,
        "nic_kind": REGISTERED,
        "packet_kind": REGISTERED,
        "stream_kind": REGISTERED,
        "tap_kind": REGISTERED,
        "names": DAEMON,
        "nic_device_timer": DAEMON,
        "nic_devices_closed": DAEMON,
        "nic_kernel_buffer": DAEMON,
        "uplinks": DAEMON,
        "uplink_timer": DAEMON,
    },
    "fwd": {
        "fwd_mode_list": REGISTERED,
        **{f"{name}_mode": REGISTERED for name in ("hub", "icmpecho", "io", "mac", "macswap", "rxonly", "switch", "txonly")},
        "handoff_field": "where DPDK has put a field into every mbuf of the process",
        "serial": DAEMON,
    },
    "switch": {"n_opened": DAEMON, "switch_port_keys": REGISTERED},
}
# Sections that are never written, for all that the linker's relocations put into them.
CONSTANT = re.compile(r"\.(text|rodata|data\.rel\.ro|init_array|eh_frame|comment|note|debug)")


def variables(archive):
    """Names of what can be written in the objects of an archive."""
    names = set()
    for line in run("objdump", "-t", archive).split("\n"):
        m = re.match(r"[0-9a-f]{16} .{5}(.)(.) (\S+)\t[0-9a-f]+\s+(?:\.hidden )?(\S+)$", line)
        if not m or m[1] in "df" or m[3].startswith("*UND") or CONSTANT.match(m[3]):
            continue
        # What is a thread's has no mark as an object.
        if m[2] == "O" or re.match(r"\.t(bss|data)", m[3]):
            names.add(re.sub(r"\.\d+$", "", m[4]))
    return names


class Globals(unittest.TestCase):
    """Contexts share nothing that is not listed, with its reason: whoever adds a variable has a struct for it."""
    def test_variables_of_the_process(self):
        rooms = {re.sub("^libvnicd_", "", archive.stem): archive
                 for folder in ("lib", "drivers") for archive in (BUILD / folder).rglob("libvnicd_*.a")}
        self.assertLess(set(GLOBALS), set(rooms))
        for room, archive in sorted(rooms.items()):
            with self.subTest(room):
                self.assertEqual(variables(archive), set(GLOBALS.get(room, {})))

    def test_what_is_written_is_found(self):
        with open(os.path.join(vnictest.tmpdir(), "a.c"), "w") as f:
            f.write("static int a, b = 1; extern int c; int c; static _Thread_local int d; static const int e = 1; extern int u;\n"
                    "static const char *const f[] = {\"x\"}; static const char *g[] = {\"x\"};\n"
                    "const void *all(int i);\nconst void *all(int i) { static int h; h++; a++; b++; d++; return &e + h + a + b + d + c + u"
                    " + (int)(long)f[i] + (int)(long)g[i]++; }\n")
        for flags in ([], ["-O2", "-fPIC"]):
            run(*CC, "-w", *flags, "-c", f.name, "-o", f.name + ".o")
            self.assertEqual(variables(f.name + ".o"), set("abcdgh"))


if __name__ == "__main__":
    unittest.main()

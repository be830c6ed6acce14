#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The command line: what it refuses and how, how vnicd starts, and what it leaves behind."""
import fcntl
import json
import os
import pathlib
import pty
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import unittest

import pytest

TESTS = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "lib"), str(TESTS / "hostile")]
import rawfe as fe  # noqa: E402
import vnictest  # noqa: E402
from vnictest import VNICD, Proc, Vnicd, tmpdir  # noqa: E402

READY_S = 1.0         # start to ready
READY_MARGIN = 2      # on a machine that does other things as well
IDLE_PORTS = 64
IDLE_MIB = 64         # what they may cost beyond the pool
ASAN = b"__asan_init" in pathlib.Path(VNICD).read_bytes()


def run(*args, run_dir=None, env=None, timeout=15, **kwargs):
    """vnicd to its end; stdout and stderr apart."""
    full_env = dict(os.environ, RUNTIME_DIRECTORY=run_dir or tmpdir(), **(env or {}))
    return subprocess.run([VNICD, *args], capture_output=True, text=True, env=full_env, timeout=timeout, **kwargs)


def listing(path):
    return sorted(str(p.relative_to(path)) for p in pathlib.Path(path).rglob("*"))


def two_ports(*extra):
    return ["--port", "a=vhost-user", "--port", "b=vhost-user", "--forward-mode", "io", *extra]


def pool_mib(output):
    n, size = re.search(r"rounded to (\d+) mbufs of (\d+) bytes", output).groups()
    return int(n) * int(size) / 2**20


def rss_mib(pid):
    """Resident memory; the kernel counts huge pages apart."""
    text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(kib) for kib in re.findall(r"^(?:Rss|\w+_Hugetlb):\s+(\d+) kB", text, re.M)) / 1024


def listener(path):
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.bind(path)
    sock.listen(1)
    return sock


def is_live(path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(2)
        try:
            sock.connect(path)
            return True
        except ConnectionRefusedError:
            return False


# What is wrong, the command line, what the cause must say, what the hint must say.
REFUSED = [
    ("nothing at all", [], r"no --port", r"--port NAME=vhost-user"),
    ("no port", ["--forward-mode", "io"], r"no --port", r"--port NAME="),
    ("no mode", ["--port", "a=vhost-user"], r"no --forward-mode", r"--forward-mode .*io.*switch"),
    ("misspelt option", ["--prot", "a=vhost-user"], r"unknown option --prot", r"did you mean --port NAME=KIND"),
    ("misspelt option with value", ["--stats-perod=1"], r"unknown option --stats-perod$", r"--stats-period SECONDS"),
    ("EAL option without --", ["-l", "0-1", *two_ports()], r"unknown option -l", r"before a --"),
    ("our option left of --", ["--port", "a=vhost-user", "--", "--forward-mode", "io"], r"--port stands before",
     r"-- --port NAME"),
    ("a stray word", ["io"], r'"io" is not an option', r"--port NAME=KIND"),
    ("no value", ["--port"], r"--port needs a value", r"--port NAME=KIND"),
    ("an option for a value", ["--port", "--forward-mode", "io"], r"--port needs a value", r"--port NAME=KIND"),
    ("value for a flag", two_ports("--json=yes"), r"--json takes no value", r"--json"),
    ("twice", two_ports("--duration", "1", "--duration", "2"), r"--duration is given twice", r"once"),
    ("not a number", two_ports("--duration", "soon"), r'--duration: "soon" is not a number', r"--duration SECONDS"),
    ("half a number", two_ports("--duration", "1s"), r'"1s" is not a number', r"--duration SECONDS"),
    ("negative", two_ports("--stats-period", "-1"), r'"-1" is not a number', r"--stats-period SECONDS"),
    ("zero", two_ports("--stats-period", "0"), r"out of range", r"0\.001"),
    ("not a number (nan)", two_ports("--duration", "nan"), r"is not a number", r"--duration SECONDS"),
    ("huge", two_ports("--duration", "1e99"), r"is not a number", r"--duration SECONDS"),
    ("unknown mode", ["--port", "a=vhost-user", "--forward-mode", "swich"], r'no mode "swich"',
     r"did you mean --forward-mode switch\?"),
    ("unknown key of a mode", ["--port", "a=vhost-user", "--forward-mode", "switch,agein=5s"],
     r"switch.*'agein'", r"ageing=5s \(keys: ageing, entries, loop-moves, loop-hold\)"),
    ("bad value of a mode's key", ["--port", "a=vhost-user", "--forward-mode", "switch,ageing=soon"],
     r"switch: ageing: 'soon'", r"ageing=1\.\.1000000"),
    ("a mode without keys", two_ports()[:4] + ["--forward-mode", "io,ageing=5s"], r"io.*'ageing'", r"no keys"),
    ("a feature that there is not", ["--port", "a=vhost-user,without=ring_packt", "--forward-mode", "switch"],
     r"port a: without: .*ring_packt", r"without=ring_packed"),
    ("a feature of the transport", ["--port", "a=vhost-user,without=protocol_features", "--forward-mode", "switch"],
     r"port a: without: .*protocol_features", r"without="),
    ("a secondary process", ["--proc-type=secondary", "--"] + two_ports(), r"--proc-type: vnicd is a primary", r"leave"),
    ("a secondary process, in two words", ["--proc-type", "auto", "--"] + two_ports(), r"vnicd is a primary", r"leave"),
    ("no file", ["--config", "/nowhere/vnicd.conf"], r"--config /nowhere/vnicd\.conf: No such file", r"--config FILE"),
    ("a directory for a file", ["--config", "/tmp"], r"--config /tmp: it is no file", r"--config FILE"),
    ("unknown log level", two_ports("--log-level", "wran"), r'no level "wran"', r"--log-level warn"),
    ("unknown kind", ["--port", "a=vhost-usr", "--forward-mode", "switch"], r"vhost-usr", r"vhost-user"),
    ("no kind", ["--port", "a", "--forward-mode", "switch"], r"\ba\b", r"NAME=KIND|a=vhost-user|a=nic"),
    ("unknown key", ["--port", "a=vhost-user,queus=2", "--forward-mode", "switch"], r"queus", r"queues="),
    ("bad number in a key", ["--port", "a=vhost-user,queues=two", "--forward-mode", "switch"], r"two", r"queues="),
    ("too many queues in a port", ["--port", "a=vhost-user,queues=129", "--forward-mode", "switch"], r"129", r"128"),
    ("no queues in a port", ["--port", "a=vhost-user,queues=0", "--forward-mode", "switch"], r"queues", r"1"),
    ("bad mac", ["--port", "a=vhost-user,mac=12:34", "--forward-mode", "switch"], r"12:34", r"mac="),
    ("bad path mode", ["--port", "a=vhost-user,mode=sever", "--forward-mode", "switch"], r"sever", r"server"),
    ("odd number of ports in io", ["--port", "a=vhost-user", "--forward-mode", "io"], r"even number.*1", r"two|switch"),
    ("three ports in macswap", [*two_ports()[:4], "--port", "c=vhost-user", "--forward-mode", "macswap"],
     r"even number.*3", r"."),
    ("two ports of one name", ["--port", "a=vhost-user", "--port", "a=vhost-user,path=/tmp/other.sock",
                               "--forward-mode", "io"], r"\ba\b", r"."),
    ("two ports on one socket", ["--port", "a=vhost-user,path=/tmp/one.sock", "--port",
                                 "b=vhost-user,path=/tmp/one.sock", "--forward-mode", "io"],
     r"two ports on one socket.*/tmp/one\.sock", r"."),
    ("the default socket given to another", ["--port", "a=vhost-user,path={run_dir}/b.sock", "--port",
                                             "b=vhost-user", "--forward-mode", "io"], r"b\.sock", r"."),
    ("more queues than workers can serve",
     ["-l", "0-1", "--", *[arg for i in range(5) for arg in ("--port", f"p{i}=vhost-user,queues=128")],
      "--forward-mode", "switch"], r"640 queue pairs are too many for 1 worker", r"-l|queues="),
    ("one lcore only", ["-l", "0", "--", *two_ports()], r"no lcore is left for a worker", r"two lcores"),
    ("all lcores for services", ["--lcores", "0@0,1@0,2@0", "-S", "1-2", "--", *two_ports()],
     r"no lcore is left for a worker.*2 serve\b", r"-S 2"),
    ("the same as a mask", ["-c", "3", "-s", "0x2", "--", *two_ports()], r"no lcore is left for a worker.*1 serves",
     r"-S 2"),
    ("a service lcore that is none", ["--lcores", "0@0,1@0", "-S", "2", "--", *two_ports()],
     r"service lcore 2 is not among the lcores", r"--lcores 0@0,1@1,2@0 -S 2"),
    ("control socket path too long", two_ports("--control-socket", "/tmp/" + "x" * 200), r"--control-socket",
     r"107 characters"),
]


class Refused(unittest.TestCase):
    """Two lines on stderr, exit status 2, nothing opened, nothing left."""

    def test_each(self):
        for name, args, cause, hint in REFUSED:
            with self.subTest(name):
                run_dir = tmpdir()
                start = time.monotonic()
                done = run(*[a.replace("{run_dir}", run_dir) for a in args], run_dir=run_dir)
                seconds = time.monotonic() - start
                lines = done.stderr.splitlines()
                self.assertEqual(done.returncode, 2, done.stderr)
                self.assertEqual(len(lines), 2, done.stderr)
                self.assertRegex(lines[0], r"^vnicd: \S")
                self.assertRegex(lines[1], r"^  \S")
                self.assertRegex(lines[0], cause)
                self.assertRegex(lines[1], hint)
                self.assertEqual(done.stdout, "")
                self.assertEqual(listing(run_dir), [])
                self.assertLess(seconds, 5, "checked before EAL, so at once")

    def test_run_dir_is_not_made(self):
        run_dir = os.path.join(tmpdir(), "not-there")
        self.assertEqual(run("--port", "a=vhost-user", "--forward-mode", "io", run_dir=run_dir).returncode, 2)
        self.assertFalse(os.path.exists(run_dir))

    def test_no_run_dir(self):
        if os.geteuid() != 0:
            self.skipTest("needs root, to become another user who has no XDG_RUNTIME_DIR")
        # A copy that any user can reach, wherever the build directory is.
        place = tmpdir()
        os.chmod(place, 0o755)
        program = shutil.copy(VNICD, place)
        done = subprocess.run([program, *two_ports()], capture_output=True, text=True, timeout=20, user="nobody",
                              group="nogroup", extra_groups=[], env={"PATH": os.environ["PATH"]}, cwd="/")
        lines = done.stderr.splitlines()
        self.assertEqual((done.returncode, len(lines)), (2, 2), done.stderr)
        self.assertIn("XDG_RUNTIME_DIR is not set", lines[0])
        self.assertIn("RUNTIME_DIRECTORY=", lines[1])


class RunTimeFailure(unittest.TestCase):
    """Exit status 1; the last two lines are cause and hint; nothing left."""

    def failed(self, done, run_dir, cause, left=()):
        lines = done.stderr.splitlines()
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertRegex(lines[-2], r"^vnicd: ")
        self.assertRegex(lines[-2], cause)
        self.assertRegex(lines[-1], r"^  \S")
        self.assertEqual(listing(run_dir), sorted(left))

    def test_eal_refuses(self):
        run_dir = tmpdir()
        self.failed(run("--no-such-option", "--", *two_ports(), run_dir=run_dir), run_dir,
                    r"EAL does not start: .*no-such-option")

    def test_eal_has_too_little_memory(self):
        run_dir = tmpdir()
        done = run("--no-huge", "-m", "8", "--no-pci", "--", *two_ports(), run_dir=run_dir)
        self.failed(done, run_dir, r"pool: no memory for \d+ mbufs|EAL does not start")

    def test_live_port_socket(self):
        run_dir = tmpdir()
        path = os.path.join(run_dir, "b.sock")
        with listener(path):
            inode = os.stat(path).st_ino
            done = run(*two_ports(), run_dir=run_dir)
            self.failed(done, run_dir, r"b\.sock", left=["b.sock"])
            self.assertEqual(os.stat(path).st_ino, inode)
            self.assertTrue(is_live(path))

    def test_live_control_socket(self):
        run_dir = tmpdir()
        path = os.path.join(run_dir, "other.ctl")
        with listener(path):
            inode = os.stat(path).st_ino
            done = run(*two_ports("--control-socket", path), run_dir=run_dir)
            self.failed(done, run_dir, r"socket .*another process listens there", left=["other.ctl"])
            self.assertEqual(os.stat(path).st_ino, inode)
            self.assertTrue(is_live(path))

    def test_control_socket_is_a_file(self):
        run_dir = tmpdir()
        path = pathlib.Path(run_dir, "file.ctl")
        path.write_text("mine")
        done = run(*two_ports("--control-socket", str(path)), run_dir=run_dir)
        self.failed(done, run_dir, r"no socket is there", left=["file.ctl"])
        self.assertEqual(path.read_text(), "mine")

    def test_control_socket_is_a_link(self):
        """To a stale socket, even: what a link points to was not named."""
        run_dir = tmpdir()
        listener(os.path.join(run_dir, "stale")).close()
        os.symlink("stale", os.path.join(run_dir, "link.ctl"))
        done = run(*two_ports("--control-socket", os.path.join(run_dir, "link.ctl")), run_dir=run_dir)
        self.failed(done, run_dir, r"no socket is there", left=["link.ctl", "stale"])

    def test_run_dir_is_a_file(self):
        place = tmpdir()
        path = os.path.join(place, "file")
        pathlib.Path(path).touch()
        self.failed(run(*two_ports(), run_dir=path), place, r"not a directory", left=["file"])


# What is wrong, the file's lines, what the cause must say after FILE:, what the hint must say.
FILES_REFUSED = [
    ("misspelt word", ["port a=vhost-user", "", "prt b=vhost-user"], r"3: unknown option --prt", r"--port NAME=KIND"),
    ("with dashes", ["--port a=vhost-user"], r"1: unknown word --port", r"without dashes"),
    ("with an equals sign", ["port=a=vhost-user"], r"1: unknown word port=a", r"a blank before the value"),
    ("no value", ["port"], r"1: --port needs a value", r"--port NAME=KIND"),
    ("value for a flag", ["json yes"], r"1: --json takes no value", r"--json"),
    ("twice", ["duration 1", "duration 2"], r"2: --duration is given twice", r"once"),
    ("on the command line, too", ["forward-mode io"], r"1: --forward-mode is given twice", r"once"),
    ("bad mode", ["# a comment", "  log-level loud"], r'2: --log-level: no level "loud"', r"levels:"),
    ("another file", ["config x"], r"1: --config is not for a file", r"command line"),
    ("help", ["help"], r"1: --help is not for a file", r"command line"),
    ("a port's key", ["", "port a=vhost-user,mtu=67"], r"2: port a: mtu: 67 is not in 68\.\.65535", r"mtu=68"),
    ("ours for EAL", ["eal --no-huge --port a=vhost-user"], r"1: --port stands among the EAL options", r"own: port"),
    ("the end of EAL's", ["eal --no-huge -- --json"], r"1: an eal line has no --", r"line of its own"),
]


class ConfigFile(unittest.TestCase):
    """The command line's words, one a line."""

    def write(self, *lines, ending="\n"):
        path = os.path.join(tmpdir(), "vnicd.conf")
        pathlib.Path(path).write_bytes(b"".join((line + ending).encode() for line in lines))
        return path

    def test_runs_what_it_says(self):
        for ending in ("\n", "\r\n"):
            with self.subTest(repr(ending)):
                path = self.write("# two guests", "", "eal  --lcores 0@0,1@0  --no-pci", "eal --no-shconf --no-huge -m 256",
                                  "port\tvm0=vhost-user,without=ring_packed   # no packed rings",
                                  "  port vm1=vhost-user,queues=2", "forward-mode switch,ageing=60s", "log-level debug",
                                  ending=ending)
                run_dir = tmpdir()
                proc = Proc([VNICD, "--config", path], env={"RUNTIME_DIRECTORY": run_dir})
                control = proc.expect(r"ready: 2 ports, mode switch, 1 worker, .* control (\S+)", 20).group(1)
                info = vnictest.rpc(control, "system.info")
                self.assertEqual((info["mode"], info["forward_mode"]), ("switch", "switch,ageing=60s"))
                self.assertEqual([p["config"] for p in vnictest.rpc(control, "port.list")],
                                 ["vm0=vhost-user,without=ring_packed", "vm1=vhost-user,queues=2"])
                self.assertEqual(proc.stop(), 0)

    def test_adds_to_the_command_line(self):
        path = self.write("port b=vhost-user", "forward-mode io")
        done = run("--port", "a=vhost-user", "--config", path, "--duration", "0.1")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout, r"(?ms)^a +0 .*^b +0 ")

    def test_last_line_without_its_end(self):
        path = self.write("port a=vhost-user", "forward-mode switch")
        text = pathlib.Path(path).read_bytes()
        pathlib.Path(path).write_bytes(text[:-1])
        self.assertEqual(run("--config", path, "--duration", "0.1").returncode, 0)

    def test_refused(self):
        for name, lines, cause, hint in FILES_REFUSED:
            with self.subTest(name):
                path = self.write(*lines)
                done = run("--port", "z=vhost-user", "--forward-mode", "switch", "--config", path)
                first, second = done.stderr.splitlines()
                self.assertEqual(done.returncode, 2)
                self.assertRegex(first, "^vnicd: " + re.escape(path) + ":" + cause)
                self.assertRegex(second, hint)

    def test_not_a_text(self):
        path = self.write("port a=vhost-user\0")
        done = run("--config", path)
        self.assertEqual(done.returncode, 2)
        self.assertIn("it is no text", done.stderr)

    def test_a_pipe(self):
        """It is not waited for somebody to write to it."""
        path = os.path.join(tmpdir(), "pipe")
        os.mkfifo(path)
        done = run("--config", path)
        self.assertEqual(done.returncode, 2)
        self.assertIn("it is no file", done.stderr)

    def test_too_many_ports(self):
        path = self.write(*(f"port p{i}=vhost-user" for i in range(1025)), "forward-mode switch")
        done = run("--config", path)
        self.assertEqual(done.returncode, 2)
        self.assertRegex(done.stderr, r":1025: more than 1024 ports")


class Help(unittest.TestCase):
    def test_help(self):
        for args in (["--help"], ["--", "--help"], ["--help", "--"], ["--port", "x", "--help"]):
            done = run(*args)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            for word in ("--port", "--forward-mode", "--stats-period", "--json", "--duration", "--control-socket",
                         "--log-level", "--config", "without=", "ageing=", "entries=", "size=", "vhost-user", "nic", "path=", "mode=", "dev=", "queues=", "mac=", "mtu=",
                         "io", "mac", "macswap", "rxonly", "txonly", "icmpecho", "switch", "hub", "examples:",
                         "exit status"):
                self.assertIn(word, done.stdout)

    def test_help_fits_a_screen(self):
        for line in run("--help").stdout.splitlines():
            self.assertLessEqual(len(line), 120, line)

    def test_version(self):
        done = run("--version")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertRegex(done.stdout, r"^vnicd \d+\.\d+\.\d+\n$")


class Start(unittest.TestCase):
    def test_without_eal_options(self):
        """Picks everything itself, says so, is ready in a second, and leaves nothing."""
        run_dir = os.path.join(tmpdir(), "made-by-vnicd")
        best = None
        for _ in range(3):
            start = time.monotonic()
            proc = Proc([VNICD, *two_ports()], env={"RUNTIME_DIRECTORY": run_dir})
            ready = proc.expect(r"vnicd: ready: 2 ports, mode io, (\d+) workers?, control queues on the control thread, "
                                r"control (\S+)", 20)
            seconds = time.monotonic() - start
            best = min(best or seconds, seconds)
            self.assertEqual(ready.group(2), os.path.join(run_dir, "vnicd.ctl"))
            self.assertEqual(oct(os.stat(run_dir).st_mode & 0o777), "0o751")
            self.assertEqual(oct(os.stat(ready.group(2)).st_mode & 0o777), "0o660")
            self.assertTrue(os.path.exists(os.path.join(run_dir, "a.sock")))
            self.assertRegex(proc.output, r"vnicd: picked: .*CPU.*memory.*file prefix vnicd-\d+")
            self.assertRegex(proc.output, r"vnicd: pool: .* = \d+, rounded to \d+ mbufs of \d+ bytes, \d+ MiB")
            self.assertRegex(proc.output, r"vnicd: port a: .*a\.sock")
            self.assertEqual([line for line in proc.lines if "EAL" in line], [])
            self.assertEqual(proc.stop(), 0)
            self.assertFalse(os.path.exists(run_dir), "made by vnicd, so removed by it")
        print(f"\nstart to ready: {best:.3f} s (best of 3)", file=sys.stderr)
        if not ASAN:
            self.assertLess(best, READY_S * READY_MARGIN)

    def test_one_cpu(self):
        """Control and worker share it."""
        proc = Proc(["taskset", "-c", str(vnictest.cpus()[0]), VNICD, *two_ports()],
                    env={"RUNTIME_DIRECTORY": tmpdir()})
        proc.expect(r"picked: control and 1 worker share CPU", 20)
        proc.expect(r"vnicd: ready", 20)
        self.assertEqual(proc.stop(20), 0)

    def test_two_at_once(self):
        """Each with its own prefix and control socket."""
        run_dir = tmpdir()
        first = Proc([VNICD, *two_ports()], env={"RUNTIME_DIRECTORY": run_dir})
        first.expect(r"ready", 20)
        second = Proc([VNICD, "--port", "c=vhost-user", "--forward-mode", "switch"],
                      env={"RUNTIME_DIRECTORY": run_dir})
        path = second.expect(r"ready: .* control (\S+)", 20).group(1)
        self.assertEqual(path, os.path.join(run_dir, f"vnicd-{second.pid}.ctl"))
        self.assertIn("belongs to another running vnicd", second.output)
        self.assertEqual(vnictest.rpc(path, "system.info")["pid"], second.pid)
        self.assertEqual(vnictest.rpc(os.path.join(run_dir, "vnicd.ctl"), "system.info")["pid"], first.pid)
        self.assertEqual(second.stop(), 0)
        self.assertEqual(vnictest.rpc(os.path.join(run_dir, "vnicd.ctl"), "system.info")["pid"], first.pid)
        self.assertEqual(first.stop(), 0)
        self.assertEqual(listing(run_dir), [])

    def test_duration(self):
        start = time.monotonic()
        done = run(*two_ports("--duration", "0.5"))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertGreaterEqual(time.monotonic() - start, 0.5)
        self.assertIn("duration is over", done.stderr)
        self.assertRegex(done.stdout, r"^port +rx packets")
        self.assertRegex(done.stdout, r"(?m)^a +0 ")

    def test_log_level(self):
        done = run(*two_ports("--duration", "0.1", "--log-level", "error"))
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_signals_leave_nothing(self):
        for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            with self.subTest(sig):
                vnicd = Vnicd({"vm0": "vhost-user", "vm1": "vhost-user,queues=2"})
                self.assertTrue(is_live(vnicd.sock("vm0")))
                self.assertEqual(vnicd.stop(sig=sig), 0)
                self.assertEqual(listing(vnicd.run_dir), [])

    def test_signals_that_change_nothing(self):
        """What a closed terminal, an init script and log rotation send is told, and vnicd goes on."""
        vnicd = Vnicd({"vm0": "vhost-user", "vm1": "vhost-user"})
        for sig in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
            mark = vnicd.mark()
            vnicd.signal(sig)
            vnicd.expect(rf"vnicd: {sig.name} is ignored", since=mark)
        for sig in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGTTOU):
            vnicd.signal(sig)
        for _ in range(50):
            vnicd.signal(signal.SIGHUP)
            vnicd.rpc("system.info")
        self.assertLess(vnicd.output.count("SIGHUP is ignored"), 20, "not a line each for who sends many")
        self.assertTrue(is_live(vnicd.sock("vm0")))
        self.assertEqual(vnicd.stop(), 0, vnicd.output)
        self.assertEqual(listing(vnicd.run_dir), [])

    def test_terminal_closes(self):
        """vnicd as a terminal's foreground job: it outlives the terminal, and still stops cleanly when told to."""
        run_dir = tmpdir()
        pid, terminal = pty.fork()
        if pid == 0:
            os.environ["RUNTIME_DIRECTORY"] = run_dir
            os.execv(VNICD, [VNICD, *two_ports("--stats-period", "0.05")])
        output = b""
        while b"vnicd: ready" not in output:
            output += os.read(terminal, 65536)
        os.close(terminal)
        time.sleep(0.3)
        self.assertEqual(os.waitpid(pid, os.WNOHANG), (0, 0), "it goes on")
        self.assertEqual(vnictest.rpc(os.path.join(run_dir, "vnicd.ctl"), "system.info")["pid"], pid)
        os.kill(pid, signal.SIGTERM)
        self.assertEqual(os.waitpid(pid, 0)[1], 0)
        self.assertEqual([name for name in listing(run_dir) if not name.startswith("dpdk")], [])

    def test_signals_ignored_by_who_started_it(self):
        """nohup, or a script's background job: ignored stays ignored, without a word; SIGTERM stops it."""
        vnicd = Vnicd({"vm0": "vhost-user", "vm1": "vhost-user"},
                      wrapper=["sh", "-c", 'trap "" HUP INT QUIT; exec "$@"', "sh"])
        for sig in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
            vnicd.signal(sig)
        self.assertEqual(vnicd.rpc("system.info")["pid"], vnicd.pid)
        self.assertNotIn("SIG", vnicd.output)
        self.assertEqual(vnicd.stop(), 0, vnicd.output)

    def test_stale_sockets_are_replaced(self):
        first = Vnicd({"vm0": "vhost-user", "vm1": "vhost-user"})
        run_dir = first.run_dir
        first.kill9()
        left = listing(run_dir)
        self.assertIn("vm0.sock", left)
        self.assertIn("vnicd.ctl", left)
        self.assertFalse(is_live(first.control))
        second = Vnicd({"vm0": "vhost-user", "vm1": "vhost-user"}, run_dir=run_dir)
        self.assertTrue(is_live(second.sock("vm0")))
        self.assertEqual(second.rpc("system.info")["pid"], second.pid)
        self.assertEqual(second.stop(), 0)

    def test_killed_without_eal_options_leaves_nothing_for_long(self):
        """The next one removes EAL's directory of the killed one."""
        run_dir = tmpdir()
        first = Proc([VNICD, *two_ports()], env={"RUNTIME_DIRECTORY": run_dir})
        first.expect(r"ready", 20)
        first.kill9()
        self.assertTrue(os.path.exists(os.path.join(run_dir, "dpdk", f"vnicd-{first.pid}")))
        done = run(*two_ports("--duration", "0.1"), run_dir=run_dir)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual([name for name in listing(run_dir) if name != "dpdk"], [])

    def test_our_socket_replaced_by_another(self):
        """At the end vnicd removes its own control socket, not the one that somebody put in its place."""
        vnicd = Vnicd({"vm0": "vhost-user", "vm1": "vhost-user"})
        os.unlink(vnicd.control)
        with listener(vnicd.control):
            self.assertEqual(vnicd.stop(), 0)
            self.assertTrue(is_live(vnicd.control))


class ServiceCore(unittest.TestCase):
    """EAL's -S: an lcore that serves the guests' control queues without a pause."""

    EAL = ["--no-pci", "--no-huge", "-m", "256", "--no-shconf", "--no-telemetry", "--file-prefix", "vnictest"]

    def start(self, lcores, *service):
        """lcores: where they run, as indices of our CPUs."""
        cpus = vnictest.cpus()
        return Vnicd({"vm0": "vhost-user,queues=2", "vm1": "vhost-user"}, "switch",
                     eal=["--lcores", ",".join(f"{i}@{cpus[cpu % len(cpus)]}" for i, cpu in enumerate(lcores)),
                          *service, *self.EAL])

    def thread_ticks(self, vnicd, name):
        """CPU time of the threads of this name."""
        ticks = []
        for task in pathlib.Path(f"/proc/{vnicd.pid}/task").iterdir():
            comm, rest = re.match(r"\d+ \((.*)\) (.*)", (task / "stat").read_text(), re.S).groups()
            if comm == name:
                fields = rest.split()
                ticks.append(int(fields[11]) + int(fields[12]))
        return ticks

    def test_ready_and_stop(self):
        """On the control thread's CPU and on a worker's, by list and by mask; ready soon, and stops cleanly."""
        best = None
        for lcores, service, said in (((0, 1, 0), ("-S", "2"), "service lcore 2"),
                                      ((0, 1, 1), ("-S", "2"), "service lcore 2"),
                                      ((0, 0, 1), ("-s", "0x2"), "service lcore 1"),
                                      ((0, 1, 0, 1), ("-S", "2,3"), "service lcores 2, 3"),
                                      ((0, 1, 0), ("-S", "2"), "service lcore 2")):
            with self.subTest(lcores=lcores, service=service):
                start = time.monotonic()
                vnicd = self.start(lcores, *service)
                seconds = time.monotonic() - start
                best = min(best or seconds, seconds)
                self.assertRegex(vnicd.output, rf"ready: 2 ports, mode switch, 1 worker, control queues on {said}, "
                                               rf"control {re.escape(vnicd.control)}$")
                self.assertIn("pool: 1 worker x", vnicd.output)
                workers = vnicd.rpc("system.info")["workers"]
                self.assertEqual([worker["lcore"] for worker in workers], [2 if service[0] == "-s" else 1])
                self.assertEqual(vnicd.stop(), 0, vnicd.output)
        if not ASAN:
            self.assertLess(best, READY_S * READY_MARGIN)

    def test_workers_and_memory(self):
        """Memory is picked before EAL says what the lcores are for: enough for all workers, none for the others."""
        for lcores, service, n_workers in (("0@0,1@0,2@0,3@0", "3", 2), ("(0-4)@0", "2-3", 2), ("0@0,1@0", "0", 1)):
            with self.subTest(lcores=lcores, service=service):
                done = run("--lcores", lcores, "-S", service, "--", *two_ports("--duration", "0.1"))
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertRegex(done.stderr, rf"pool: {n_workers} workers? x")
                self.assertRegex(done.stderr, rf"ready: .* {n_workers} workers?, ")

    def test_control_thread_is_not_kept_waiting(self):
        """Although the service core tries for the control lock all the time, ports come and go as ever."""
        vnicd = self.start((0, 1, 1), "-S", "2")
        slowest = 0
        for i in range(50):
            start = time.monotonic()
            vnicd.rpc("port.add", {"config": f"hot{i}=vhost-user,queues=2"})
            vnicd.rpc("port.remove", {"name": f"hot{i}"})
            slowest = max(slowest, time.monotonic() - start)
        self.assertLess(slowest, 2)
        self.assertEqual(vnicd.stop(), 0, vnicd.output)

    def test_serves(self):
        """Polled: it uses its CPU, the guest need not kick, and what a guest sets is in effect."""
        features = fe.bits(fe.F_VERSION_1, fe.F_PROTOCOL, fe.F_MQ, fe.F_CTRL_VQ, fe.F_CTRL_RX)
        vnicd = self.start((0, 1, 0), "-S", "2")
        before = self.thread_ticks(vnicd, "rte-worker-2")
        for layout in ("split", "packed"):
            guest = fe.RawFrontend(vnicd.sock("vm0"), layout=layout, queues=2, control=64,
                                   features=features | (fe.bits(fe.F_PACKED) if layout == "packed" else 0))
            guest.start()
            for n in (2, 1, 2):
                self.assertEqual(guest.command(fe.CTRL_MQ, fe.MQ_VQ_PAIRS_SET, fe.vq_pairs(n))[0], fe.OK)
            for i in range(50):
                self.assertEqual(guest.command(fe.CTRL_RX, fe.RX_PROMISC, bytes([i % 2]))[0], fe.OK)
            self.assertEqual(guest.command(fe.CTRL_MQ, fe.MQ_VQ_PAIRS_SET, fe.vq_pairs(3))[0], fe.ERR)
            self.assertGreaterEqual(os.eventfd_read(guest.control.kick), 54, "nobody waits for kicks")
            guest.close()
        deadline = time.monotonic() + 20
        while sum(self.thread_ticks(vnicd, "rte-worker-2")) < sum(before) + 10:
            self.assertLess(time.monotonic(), deadline, "the service lcore sleeps")
            time.sleep(0.05)
        self.assertEqual(vnicd.stop(), 0, vnicd.output)


class Json(unittest.TestCase):
    def check(self, stats):
        self.assertEqual(set(stats), {"time", "ports"})
        self.assertAlmostEqual(stats["time"], time.time(), delta=60)
        for port in stats["ports"].values():
            self.check_counters(port, {"copies", "queues", "device"})
            queues = port.get("queues", [])
            self.assertNotEqual(len(queues), 1, "a single pair's counters are the port's")
            for pair in queues:
                self.check_counters(pair, {"copies"})
            if queues:
                for counter in ("rx_packets", "rx_bytes", "tx_packets", "tx_bytes"):
                    self.assertEqual(port[counter], sum(pair[counter] for pair in queues))
                for reason in {reason for pair in queues for reason in pair["drops"]} | set(port["drops"]):
                    self.assertEqual(port["drops"].get(reason), sum(pair["drops"].get(reason, 0) for pair in queues))

    def check_counters(self, counters, optional):
        self.assertEqual(set(counters) - optional, {"rx_packets", "rx_bytes", "tx_packets", "tx_bytes", "drops"})
        for counter in ("rx_packets", "rx_bytes", "tx_packets", "tx_bytes"):
            self.assertIsInstance(counters[counter], int)
        self.assertTrue(all(n > 0 for n in counters["drops"].values()))

    def test_idle(self):
        lines = run(*two_ports("--json", "--stats-period", "0.2", "--duration", "1.5")).stdout.splitlines()
        self.assertGreaterEqual(len(lines), 2)  # 8 on an idle machine
        for line in lines:
            stats = json.loads(line)
            self.check(stats)
            self.assertEqual(list(stats["ports"]), ["a", "b"])

    def test_only_the_last(self):
        done = run(*two_ports("--json", "--duration", "0.2"))
        self.assertEqual(len(done.stdout.splitlines()), 1)
        self.check(json.loads(done.stdout))

    def test_adds_up(self):
        """Made traffic, nobody there to take it: every frame that came in or was made is in one reason or sent."""
        done = run("--vdev", "net_null0,size=64", "--vdev", "net_null1,size=64", "--", "--port",
                   "n0=nic,dev=net_null0", "--port", "n1=nic,dev=net_null1", "--port", "vm0=vhost-user", "--port",
                   "vm1=vhost-user", "--forward-mode", "io", "--json", "--stats-period", "0.3", "--duration", "1.3")
        self.assertEqual(done.returncode, 0, done.stderr)
        last = {}
        for line in done.stdout.splitlines():
            stats = json.loads(line)
            self.check(stats)
            for name, port in stats["ports"].items():
                for counter in ("rx_packets", "tx_packets"):
                    self.assertGreaterEqual(port[counter], last.get((name, counter), 0))
                    last[name, counter] = port[counter]
        ports = stats["ports"].values()
        n_in = sum(p["rx_packets"] + p.get("copies", 0) for p in ports)
        n_out = sum(p["tx_packets"] + sum(p["drops"].values()) for p in ports)
        self.assertGreater(n_in, 1000)
        self.assertEqual(n_in, n_out)

    def test_of_each_queue_pair(self):
        """Each pair's counters beside their sums, which agree in every line although the workers count on."""
        done = run("--vdev", "net_null0,size=64", "--", "--port", "n0=nic,dev=net_null0,queues=2", "--port",
                   "vm0=vhost-user,queues=3", "--forward-mode", "io", "--json", "--stats-period", "0.1",
                   "--duration", "1.1")
        self.assertEqual(done.returncode, 0, done.stderr)
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        for stats in lines:
            self.check(stats)
        ports = lines[-1]["ports"]
        self.assertEqual([len(ports[name]["queues"]) for name in ("n0", "vm0")], [2, 3])
        for pair in ports["n0"]["queues"]:
            self.assertGreater(pair["rx_packets"], 1000)
            self.assertEqual(pair["rx_bytes"], 64 * pair["rx_packets"])
        self.assertEqual(sum(pair["rx_packets"] for pair in ports["n0"]["queues"]),
                         sum(n for pair in ports["vm0"]["queues"] for n in pair["drops"].values()))

    def test_flooding_adds_up(self):
        """The same with copies: a switch that floods to a guest that is not there."""
        done = run("--vdev", "net_null0,size=64", "--", "--port", "n0=nic,dev=net_null0", "--port", "vm0=vhost-user",
                   "--port", "vm1=vhost-user", "--forward-mode", "switch", "--json", "--duration", "0.7")
        self.assertEqual(done.returncode, 0, done.stderr)
        ports = json.loads(done.stdout)["ports"]
        n_in = sum(p["rx_packets"] + p.get("copies", 0) for p in ports.values())
        n_out = sum(p["tx_packets"] + sum(p["drops"].values()) for p in ports.values())
        self.assertGreater(ports["n0"]["rx_packets"], 1000)
        self.assertEqual(n_in, n_out)

    def test_reader_goes_away(self):
        """A closed standard output is no reason to stop."""
        proc = subprocess.Popen([VNICD, *two_ports("--json", "--stats-period", "0.05", "--duration", "1")],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                env=dict(os.environ, RUNTIME_DIRECTORY=tmpdir()))
        proc.stdout.readline()
        proc.stdout.close()
        stderr = proc.stderr.read()
        proc.stderr.close()
        self.assertEqual(proc.wait(20), 0, stderr)
        self.assertIn("duration is over", stderr)


class PausedReader(unittest.TestCase):
    """Whoever reads vnicd's output may pause for as long as it likes; a paused one is a full pipe here."""

    PIPE = 4096
    PERIOD_S = 0.002
    FILL = 800

    def pipe(self, flags=0):
        read_end, write_end = os.pipe2(os.O_CLOEXEC | flags)
        fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, self.PIPE)
        self.addCleanup(os.close, write_end)
        reader = open(read_end, "rb", buffering=0)
        self.addCleanup(reader.close)
        return reader, write_end

    def start(self, stdout, stderr, *extra):
        run_dir = tmpdir()
        popen = subprocess.Popen([VNICD, *two_ports("--json", "--stats-period", str(self.PERIOD_S), *extra)],
                                 stdout=stdout, stderr=stderr, start_new_session=True,
                                 env=dict(os.environ, RUNTIME_DIRECTORY=run_dir))
        self.addCleanup(popen.wait)
        self.addCleanup(popen.kill)
        return popen, run_dir, self.control_of(run_dir)

    def control_of(self, run_dir):
        """The control socket, once it is there."""
        control = os.path.join(run_dir, "vnicd.ctl")
        deadline = time.monotonic() + 20
        while not os.path.exists(control):
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)
        return control

    def serves(self, run_dir, control, path="a.sock"):
        """The control socket and a front-end are answered."""
        self.assertEqual(vnictest.rpc(control, "system.info")["mode"], "io")
        guest = fe.RawFrontend(os.path.join(run_dir, path))
        guest.start()
        guest.close()

    def fill(self, control):
        """Until nothing goes anywhere: queue and pipe are full many times over, of statistics and of log lines."""
        for i in range(self.FILL):
            vnictest.rpc(control, "port.add", {"config": f"some_name_{i}=vhost-user"})
            vnictest.rpc(control, "port.remove", {"name": f"some_name_{i}"})

    def check_lines(self, text):
        """Whole records only; returns (objects, log lines)."""
        self.assertTrue(text.endswith(b"\n"))
        stats, log = [], []
        for line in text.decode().splitlines():
            if line.startswith("{"):
                stats.append(json.loads(line))
                self.assertEqual(set(stats[-1]), {"time", "ports"})
            else:
                self.assertRegex(line, r"^vnicd: \S")
                log.append(line)
        times = [one["time"] for one in stats]
        self.assertEqual(times, sorted(times))
        return stats, log

    def end(self, popen, readers):
        """SIGTERM, and everything that is still read; returns the texts."""
        popen.terminate()
        texts = [b""] * len(readers)
        for reader in readers:
            os.set_blocking(reader.fileno(), False)
        while popen.poll() is None:
            for i, reader in enumerate(readers):
                texts[i] += reader.read(65536) or b""
            time.sleep(0.001)
        for i, reader in enumerate(readers):
            texts[i] += reader.read(65536) or b""
        self.assertEqual(popen.returncode, 0, texts)
        return texts

    def test_stdout(self):
        """Statistics nobody reads; then somebody does, and sees whole lines, their gap told, and the final one."""
        reader, writer = self.pipe()
        log_reader, log_writer = self.pipe()
        popen, run_dir, control = self.start(writer, log_writer)
        # Until both the pipe and what is queued have long been full.
        time.sleep(max(1, 3 * 65536 / 200 * self.PERIOD_S))
        self.serves(run_dir, control)
        self.assertFalse(fcntl.fcntl(writer, fcntl.F_GETFL) & os.O_NONBLOCK, "the open file is not ours alone")
        cpus = {}
        for task in pathlib.Path(f"/proc/{popen.pid}/task").iterdir():
            allowed = re.search(r"Cpus_allowed_list:\t(.*)", (task / "status").read_text()).group(1)
            cpus.setdefault((task / "comm").read_text().strip(), set()).add(allowed)
        self.assertEqual(cpus["vnicd-output"], cpus["vnicd"], "the control thread's CPU, not a worker's")
        got = reader.read(4096)
        while len(got) < 65536 * 2:
            got += reader.read(4096)
        term = time.time()
        text, log = self.end(popen, [reader, log_reader])
        stats, none = self.check_lines(got + text)
        self.assertEqual(none, [])
        gap = max(b["time"] - a["time"] for a, b in zip(stats, stats[1:]))
        n_missing = sum(int(n) for n in re.findall(r"statistics: (\d+) periods were not shown", log.decode()))
        self.assertGreater(gap, 0.2)
        self.assertGreater(n_missing, 10)
        self.assertGreaterEqual(stats[-1]["time"], term, "the final statistics are there")

    def test_stderr(self):
        """Log lines nobody reads."""
        reader, writer = self.pipe()
        popen, run_dir, control = self.start(subprocess.DEVNULL, writer)
        self.fill(control)
        self.serves(run_dir, control)
        got = b""
        while b"some_name" not in got:
            got += reader.read(4096)
        deadline = time.monotonic() + 20
        os.set_blocking(reader.fileno(), False)
        while b"missing here" not in got:
            self.assertLess(time.monotonic(), deadline)
            self.serves(run_dir, control)
            got += reader.read(1 << 20) or b""
        (text,) = self.end(popen, [reader])
        lines = self.check_lines(got + text)[1]
        n_missing = sum(int(n) for line in lines for n in re.findall(r"(\d+) log lines are missing here", line))
        n_there = sum("some_name" in line for line in lines)
        self.assertGreater(n_missing, 100)
        self.assertGreaterEqual(n_missing + n_there, 2 * self.FILL)
        self.assertIn("vnicd: stopping: SIGTERM", lines)

    @pytest.mark.long
    def test_both_in_one(self):
        """2>&1: one queue, so lines stay in their order."""
        reader, writer = self.pipe()
        popen, run_dir, control = self.start(writer, writer)
        self.fill(control)
        self.serves(run_dir, control)
        (text,) = self.end(popen, [reader])
        stats, log = self.check_lines(text)
        self.assertTrue(log[0].startswith("vnicd: picked"), log[0])
        self.assertTrue(text.splitlines()[-1].startswith(b"{"), "the final statistics are the last line")

    def test_slow_reader(self):
        """A stream that somebody else has made non-blocking loses nothing while it is read."""
        reader, writer = self.pipe(os.O_NONBLOCK)
        os.set_blocking(reader.fileno(), True)
        popen, run_dir, control = self.start(writer, writer, "--duration", "1")
        got = b""
        while popen.poll() is None or got.count(b"{\"time") < 2:
            got += reader.read(256)
            if b"duration is over" in got:
                break
        (text,) = self.end(popen, [reader])
        stats, log = self.check_lines(got + text)
        self.assertGreater(len(stats), 20)
        self.assertEqual([line for line in log if "not shown" in line or "missing" in line], [])

    @pytest.mark.long
    def test_ends_all_the_same(self):
        """The reader never comes back: that keeps vnicd for a second, not for longer."""
        for both in (False, True):
            with self.subTest(both=both):
                reader, writer = self.pipe()
                popen, run_dir, control = self.start(writer, writer if both else self.pipe()[1])
                self.fill(control)
                start = time.monotonic()
                popen.terminate()
                self.assertEqual(popen.wait(20), 0)
                self.assertLess(time.monotonic() - start, 6)
                self.assertEqual([name for name in listing(run_dir) if not name.startswith("dpdk")], [])
                reader.close()

    def test_failure_is_told_last(self):
        """A failure at the start: the lines before it first, although they are written by another thread."""
        run_dir = tmpdir()
        with listener(os.path.join(run_dir, "b.sock")):
            done = run(*two_ports(), run_dir=run_dir)
        self.assertEqual(done.returncode, 1)
        lines = done.stderr.splitlines()
        self.assertRegex(lines[-4], r"^vnicd: pool: ")
        self.assertRegex(lines[-3], r"^vnicd: port a: ")
        self.assertRegex(lines[-2], r"^vnicd: .*b\.sock")

    def test_closed_streams(self):
        """Started without standard streams: no descriptor of vnicd's takes their place."""
        run_dir = tmpdir()
        popen = subprocess.Popen(["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", VNICD,
                                  *two_ports("--json", "--stats-period", "0.01")],
                                 env=dict(os.environ, RUNTIME_DIRECTORY=run_dir))
        self.addCleanup(popen.wait)
        self.addCleanup(popen.kill)
        self.serves(run_dir, self.control_of(run_dir))
        for fd in (0, 1, 2):
            self.assertEqual(os.readlink(f"/proc/{popen.pid}/fd/{fd}"), "/dev/null")
        popen.terminate()
        self.assertEqual(popen.wait(20), 0)


class Memory(unittest.TestCase):
    @unittest.skipIf(ASAN, "the sanitizer's own memory would be measured")
    def test_idle_ports(self):
        beyond = {}
        for n in (2, IDLE_PORTS):
            args = [arg for i in range(n) for arg in ("--port", f"p{i}=vhost-user,queues=2")]
            proc = Proc([VNICD, *args, "--forward-mode", "switch"], env={"RUNTIME_DIRECTORY": tmpdir()})
            proc.expect(rf"ready: {n} ports", 20)
            time.sleep(0.5)
            beyond[n] = rss_mib(proc.pid) - pool_mib(proc.output)
            self.assertEqual(proc.stop(), 0)
        cost = beyond[IDLE_PORTS] - beyond[2]
        print(f"\n{IDLE_PORTS} idle ports with 2 queue pairs: {beyond[IDLE_PORTS]:.1f} MiB beyond the pool, "
              f"{cost:.1f} MiB more than 2 ports", file=sys.stderr)
        self.assertLess(cost, IDLE_MIB)


if __name__ == "__main__":
    unittest.main(verbosity=2)

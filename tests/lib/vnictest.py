# SPDX-License-Identifier: BSD-3-Clause
"""What every end-to-end test needs: processes that can't leak, and a vnicd to test.

Standard library only. Environment:
  VNICD        the program to test (default: build/app/vnicd of this checkout)
  VNICD_LONG   repeat more of what is repeated (run-tests --long)
  VNICD_KEEP   keep temporary directories, for looking at logs
"""
import atexit
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
VNICD = os.environ.get("VNICD", str(ROOT / "build/app/vnicd"))
LONG = bool(os.environ.get("VNICD_LONG"))

_live = []
_dirs = []

# A shell in the background, or nohup, starts programs with these ignored, and so would every one that is tested.
for _sig in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
    if signal.getsignal(_sig) == signal.SIG_IGN:
        signal.signal(_sig, signal.SIG_DFL)


def tmpdir(prefix="vnicd-test-", where="/tmp"):
    """A directory that tidy() removes (unless VNICD_KEEP is set); short, for unix socket paths."""
    _dirs.append(tempfile.mkdtemp(prefix=prefix, dir=where))
    return _dirs[-1]


def _can_set_pdeathsig():
    return shutil.which("setpriv") and threading.current_thread() is threading.main_thread()


class Proc:
    """A child process whose output is collected line by line (both streams, in order of arrival)."""

    def __init__(self, args, *, env=None, cwd=None, name=None, logfile=None, netns=None):
        if netns:
            args = ["ip", "netns", "exec", netns] + list(args)
        self.args = [str(a) for a in args]
        self.name = name or os.path.basename(self.args[0])
        self.lines = []
        self._cond = threading.Condition()
        self._eof = False
        self._log = open(logfile, "w") if logfile else None
        full_env = dict(os.environ, **(env or {}))
        # Killed with us, however we end: nobody cleans up after a test that was killed. (The signal comes when the
        # thread ends that has started it, so not for processes of other threads.)
        dies_with_us = ["setpriv", "--pdeathsig", "KILL"] if _can_set_pdeathsig() else []
        self.popen = subprocess.Popen(dies_with_us + self.args, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                      stderr=subprocess.STDOUT, env=full_env, cwd=cwd,
                                      start_new_session=True)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        _live.append(self)

    def _read(self):
        for raw in iter(self.popen.stdout.readline, b""):
            line = raw.decode("utf-8", "replace").rstrip("\r\n")
            with self._cond:
                self.lines.append(line)
                if self._log:
                    self._log.write(line + "\n")
                    self._log.flush()
                self._cond.notify_all()
        with self._cond:
            self._eof = True
            self._cond.notify_all()

    @property
    def pid(self):
        return self.popen.pid

    @property
    def output(self):
        with self._cond:
            return "\n".join(self.lines)

    def send(self, line):
        self.popen.stdin.write((line + "\n").encode())
        self.popen.stdin.flush()

    def expect(self, pattern, timeout=20, since=0):
        """Wait for a line that matches; returns the match. `since`: ignore lines before this index."""
        rx = re.compile(pattern)
        deadline = time.monotonic() + timeout
        at = since
        with self._cond:
            while True:
                while at < len(self.lines):
                    m = rx.search(self.lines[at])
                    if m:
                        return m
                    at += 1
                left = deadline - time.monotonic()
                if self._eof or left <= 0:
                    why = "ended" if self._eof else f"silent on it for {timeout} s"
                    raise AssertionError(f"{self.name}: no line matches {pattern!r} ({why}); last lines:\n"
                                         + "\n".join(self.lines[-30:]))
                self._cond.wait(left)

    def mark(self):
        with self._cond:
            return len(self.lines)

    def alive(self):
        return self.popen.poll() is None

    def wait(self, timeout=20):
        rc = self.popen.wait(timeout)
        self._thread.join(5)
        return rc

    def signal(self, sig):
        if self.alive():
            os.kill(self.pid, sig)

    def kill9(self):
        if self.alive():
            os.killpg(self.pid, signal.SIGKILL)
        self.wait()

    def stop(self, timeout=10, sig=None):
        """End it gently; returns the exit code. Kills it (and fails) when it does not listen."""
        if self.alive():
            self.signal(sig or signal.SIGTERM)
            try:
                self.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill9()
                raise AssertionError(f"{self.name}: still there {timeout} s after signal {sig}")
        return self.wait()


@atexit.register
def tidy():
    """At exit, and after each file's tests: what they have started and made is gone."""
    for proc in _live:
        if proc.alive():
            try:
                os.killpg(proc.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
    _live.clear()
    while _dirs:
        path = _dirs.pop()
        if not os.environ.get("VNICD_KEEP"):
            shutil.rmtree(path, True)


class RpcError(Exception):
    def __init__(self, error):
        super().__init__(error.get("message"))
        self.error = error


def rpc(path, method, params=None, timeout=10):
    """One JSON-RPC 2.0 call over the control socket: a line each way."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
        s.settimeout(timeout)
        s.connect(path)
        request = {"jsonrpc": "2.0", "id": 1, "method": method}
        if params is not None:
            request["params"] = params
        s.sendall(json.dumps(request).encode() + b"\n")
        data = b""
        while not data.endswith(b"\n"):
            chunk = s.recv(65536)
            if not chunk:
                break
            data += chunk
    reply = json.loads(data)
    if "error" in reply:
        raise RpcError(reply["error"])
    return reply["result"]


def cpus():
    """Those that we may use: a worker goes to the first, what controls it to the last; the other way round in the second
    of run-tests' lanes, so that the workers of both do not meet."""
    return sorted(os.sched_getaffinity(0), reverse="VNICD_LANE" in os.environ)


class Vnicd(Proc):
    """A running vnicd: control thread on the last CPU, one worker on the first, no hugepages, unless told otherwise.

    ports: {"vm0": "vhost-user,queues=2", ...}; sockets default to self.sock("vm0").
    """

    def __init__(self, ports, mode="io", *, eal=None, extra=(), run_dir=None, wait=True, wrapper=(), env=None,
                 netns=None):
        self.run_dir = run_dir or tmpdir()
        self.control = os.path.join(self.run_dir, "vnicd.ctl")
        if eal is None:
            all_cpus = cpus()
            eal = ["--lcores", f"0@{all_cpus[-1]},1@{all_cpus[0]}", "--no-pci", "--no-huge", "-m", "256",
                   "--no-shconf", "--no-telemetry", "--file-prefix", "vnictest"]
        # Beside another file's tests (run-tests): its workers poll, and would take half a CPU from any guest.
        nice = ["nice", "-n", os.environ["VNICD_NICE"]] if "VNICD_NICE" in os.environ else []
        args = nice + list(wrapper) + [VNICD] + list(eal) + ["--"]
        for name, spec in ports.items():
            args += ["--port", f"{name}={spec}"]
        args += ["--forward-mode", mode] + list(extra)
        super().__init__(args, name="vnicd", netns=netns,
                         env=dict({"RUNTIME_DIRECTORY": self.run_dir}, **(env or {})))
        if wait:
            self.expect(r"vnicd: ready", 20)

    def sock(self, port):
        return os.path.join(self.run_dir, port + ".sock")

    def rpc(self, method, params=None):
        return rpc(self.control, method, params)

    def stats(self):
        """{"vm0": {"rx_packets": ..., "drops": {...}}, ...}"""
        return self.rpc("stats.get")["ports"]

    def wait_stats(self, condition, timeout=10):
        """Poll the counters until condition(ports) holds; returns them; fails with the last ones."""
        deadline, pause_s = time.monotonic() + timeout, 0.001
        while True:
            ports = self.stats()
            if condition(ports):
                return ports
            if time.monotonic() > deadline:
                raise AssertionError(f"counters never got there: {json.dumps(ports)}")
            time.sleep(pause_s)
            pause_s = min(0.05, 1.5 * pause_s)


class WithGuests:
    """For a test that has its `vnicd`, and its front-ends in `guests`: a list, or a dictionary of ports."""

    def stop(self):
        """Cleans up: the front-ends close, then vnicd ends well."""
        for guest in self.guests.values() if isinstance(self.guests, dict) else self.guests:
            guest.close()
        self.assertEqual(self.vnicd.stop(), 0, self.vnicd.output)

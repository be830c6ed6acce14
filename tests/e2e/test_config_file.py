#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""What runs as a configuration file (vnicctl config save), and what runs made into what a file says (config apply)."""
import grp
import os
import pathlib
import pwd
import re
import subprocess
import sys
import time
import unittest

TESTS = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "lib"), str(TESTS / "hostile")]
import rawfe as fe  # noqa: E402
import vnictest  # noqa: E402

VNICCTL = vnictest.ROOT / "usertools/vnicctl"
# Of the command line alone.
NOT_IN_FILES = {"config", "help", "version"}


def wait_for(path):
    deadline = time.monotonic() + 20
    while not os.path.exists(path):
        if time.monotonic() > deadline:
            raise AssertionError(f"no {path}")
        time.sleep(0.02)


class ConfigFile(unittest.TestCase):
    PORTS = {"vm0": "vhost-user,queues=2,mtu=9000,police-in=100mbit,police-in-burst=64k,without=ring_packed,vlan=10",
             "vm1": "vhost-user,mac=02:00:00:00:00:11,retry=3,retry-time=50us,isolated=on,trunk=10+20-30,native=5",
             "up0": "nic,vdev=net_null0,vdev.size=64,isolated=off"}
    MIRROR = "m0,from=vm0+vm1,to=up0,direction=in,vlan=10,filter=tcp port 80,sample=3"

    def start(self, ports=None, mode="switch,ageing=77s", extra=(), **kwargs):
        self.vnicd = vnictest.Vnicd(ports or self.PORTS, mode, extra=["--mirror", self.MIRROR, *extra], **kwargs)
        self.addCleanup(self.vnicd.stop)
        return self.vnicd

    def vnicctl(self, *args, text=None):
        done = subprocess.run([sys.executable, str(VNICCTL), "--socket", self.vnicd.control, "config", *args],
                              input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=20)
        return done.returncode, done.stdout

    def saved(self):
        status, text = self.vnicctl("save")
        self.assertEqual(status, 0, text)
        return text

    def apply(self, text, *args):
        return self.vnicctl("apply", "-", *args, text=text)

    def test_every_option_is_saved_and_loads_to_the_same(self):
        user, group = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(os.getegid()).gr_name
        run_dir = vnictest.tmpdir()
        options = {"stats-period": "100", "json": None, "duration": "1000.5", "log-level": "debug",
                   "control-socket": os.path.join(run_dir, "vnicd.ctl"), "log-file": os.path.join(run_dir, "log"),
                   "socket-owner": user, "socket-group": group, "socket-mode": "0600",
                   "control-group": group, "control-mode": "0600"}
        helped = subprocess.run([vnictest.VNICD, "--help"], stdout=subprocess.PIPE, text=True, timeout=10).stdout
        known = set(re.findall(r"^  --([a-z-]+)", helped.partition("kinds of ports")[0], re.M)) - NOT_IN_FILES
        self.assertEqual(known - {"port", "mirror", "forward-mode"}, set(options))
        extra = [word for name, value in options.items() for word in ([f"--{name}"] + ([value] if value else []))]
        vnicd = self.start(extra=extra, run_dir=run_dir, wait=False)
        wait_for(vnicd.control)
        first = self.saved()
        for name in known:
            self.assertRegex(first, rf"(?m)^{name}( |$)")
        self.assertIn("\nport vm0=" + self.PORTS["vm0"], first)
        self.assertIn("\nmirror " + self.MIRROR, first)
        self.assertEqual(vnicd.stop(), 0)
        path = os.path.join(run_dir, "saved.conf")
        with open(path, "w") as file:
            file.write(first)
        self.vnicd = again = vnictest.Proc([vnictest.VNICD, "--config", path], name="vnicd",
                                           env={"RUNTIME_DIRECTORY": run_dir})
        again.control = vnicd.control
        self.addCleanup(again.stop)
        wait_for(again.control)
        self.assertEqual(self.saved(), first)

    def test_what_is_changed_while_it_runs_is_saved(self):
        self.start()
        self.vnicd.rpc("port.set", {"name": "vm0", "options": "vlan=20,police-in=0"})
        self.vnicd.rpc("port.add", {"config": "vm2=vhost-user"})
        self.vnicd.rpc("port.remove", {"name": "vm1"})
        self.vnicd.rpc("mirror.remove", {"name": "m0"})
        text = self.saved()
        self.assertRegex(text, r"\nport vm0=vhost-user,queues=2,mtu=9000,.*vlan=20\nport up0=.*\nport vm2=vhost-user\n$")
        self.assertNotIn("police", text)
        self.assertEqual(self.apply(text), (0, "nothing to change\n"))

    def test_a_file_is_applied_without_touching_the_rest(self):
        self.start()
        before = self.saved()
        guest = fe.RawFrontend(self.vnicd.sock("vm0"))
        self.addCleanup(guest.close)
        owner = guest.ask(fe.GET_FEATURES)
        lines = [line for line in before.splitlines() if not line.startswith(("port vm1=", "mirror ", "eal "))]
        text = "\n".join(lines).replace("ring_packed,vlan=10", "ring_packed,vlan=11").replace(",police-in=100mbit,police-in-burst=64k", "")
        text += "\nport vm2=vhost-user\nmirror m0,from=vm0,to=up0\n"
        status, told = self.apply(text, "--dry-run")
        self.assertEqual(status, 0, told)
        self.assertEqual([line.partition("=")[0] for line in told.splitlines()],
                         ["- port vm1", "~ port vm0", "+ port vm2", "! mirror m0,from"])
        self.assertEqual(self.saved(), before)
        self.assertEqual(self.apply(text), (0, told))
        self.assertEqual(guest.ask(fe.GET_FEATURES), owner, "the guest's connection is the same")
        after = self.saved()
        self.assertEqual([line for line in after.splitlines() if line.startswith(("port ", "mirror "))],
                         [line for line in text.splitlines() if line.startswith(("port vm0", "port up0"))]
                         + ["port vm2=vhost-user", "mirror m0,from=vm0,to=up0"])
        self.assertEqual(self.apply(text), (0, "nothing to change\n"))
        # All of it again.
        status, told = self.apply(before)
        self.assertEqual(status, 0, told)
        self.assertEqual(sorted(self.saved().splitlines()), sorted(before.splitlines()))

    def test_all_or_nothing(self):
        self.start()
        before = self.saved()
        for bad, cause in (
                ("port vm9=vhost-user,path=/nowhere/vm9.sock", "/nowhere/vm9.sock"),
                ("mirror m1,from=vm0,to=nobody", "nobody")):
            text = "\n".join(line for line in before.splitlines() if not line.startswith("port vm1=")) \
                .replace("ring_packed,vlan=10", "ring_packed,vlan=12").replace("from=vm0+vm1", "from=vm0") + f"\n{bad}\n"
            status, told = self.apply(text)
            self.assertEqual(status, 1, told)
            self.assertIn(cause, told)
            self.assertEqual(sorted(self.saved().splitlines()), sorted(before.splitlines()), bad)

    def test_what_does_not_go(self):
        self.start()
        before = self.saved()
        ports = "".join(line + "\n" for line in before.splitlines() if line.startswith("port "))
        for text, cause in (
                (before.replace("ageing=77s", "ageing=78s"), "forward-mode can't be changed while vnicd runs"),
                (before.replace("-m 256", "-m 257"), "EAL options can't be changed while vnicd runs"),
                (ports + "log-level debug\n", "log-level can't be changed while vnicd runs"),
                (ports + "prot vm3=vhost-user\n", "-:4: unknown option --prot"),
                (ports + "port vm3=vhost-user,vlna=3\n", "-:4: port vm3: kind vhost-user has no key 'vlna'"),
                (ports + "port vm0=vhost-user\n", "two ports have this name")):
            status, told = self.apply(text)
            self.assertEqual(status, 1, told)
            self.assertIn(cause, told)
            self.assertEqual(self.saved(), before)


if __name__ == "__main__":
    unittest.main()

# SPDX-License-Identifier: BSD-3-Clause
"""The lines of README.md that people copy, run as they stand there.

Only the run-time directory is another one, so that a vnicd of the machine's owner is left alone.
"""
import os
import pathlib
import re
import shlex
import subprocess
import sys
import time
import unittest

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "lib"), str(HERE.parent / "guests")]
import guests  # noqa: E402
import vnictest  # noqa: E402


def readme_block(name):
    """The fenced block after the comment <!-- test: NAME -->."""
    text = (vnictest.ROOT / "README.md").read_text()
    m = re.search(rf"<!-- test: {re.escape(name)} -->\n```sh\n(.*?)```", text, re.S)
    if not m:
        raise AssertionError(f"README.md has no block for {name}")
    return m[1]


class Attach(unittest.TestCase):
    PORTS = {"vm0": "vhost-user", "vm1": "vhost-user"}

    def setUp(self):
        self.vnicd = vnictest.Vnicd(self.PORTS, "switch")
        self.addCleanup(lambda: self.vnicd.stop())

    def attach(self, name, changes=()):
        """The block as it stands; its last command is the guest."""
        script = readme_block(name).replace("/run/vnicd", self.vnicd.run_dir)
        env = {"TMPDIR": vnictest.tmpdir(), "RUNTIME_DIRECTORY": self.vnicd.run_dir}
        for old, new in changes:
            self.assertIn(old, script)
            script = script.replace(old, new)
        script, n = re.subn(r"^(usertools/guest|dpdk-testpmd) ", r"exec \1 ", script, flags=re.M)
        self.assertEqual(n, 1, script)
        proc = vnictest.Proc(["bash", "-e", "-c", script], env=env, cwd=vnictest.ROOT, name=name)
        self.addCleanup(proc.stop)
        return proc

    def guest(self, name, kind, port="vm0", changes=()):
        try:
            kind.probe()
        except guests.Missing as e:
            self.skipTest(str(e))
        proc = self.attach(name, changes)
        proc.expect(r"@\w+ ready", kind.BOOT_TIMEOUT)
        proc.expect(r"built-in shell", 20)
        self.says_something(proc, port)
        return proc

    def says_something(self, proc, port="vm0"):
        """The guest's console is a shell: make its kernel send something."""
        before = self.vnicd.stats()[port]["rx_packets"]
        for _ in range(10):
            proc.send("ping -c 1 -W 1 10.0.0.77")
            try:
                self.vnicd.wait_stats(lambda ports: ports[port]["rx_packets"] > before, 4)
                return
            except AssertionError:
                pass  # it may not have come back yet
        self.fail(f"nothing comes from the guest: {self.vnicd.stats()}\n{self.vnicd.output[-1000:]}")

    def restart(self, ports):
        """kill -9, and another one in its place."""
        run_dir = self.vnicd.run_dir
        self.vnicd.kill9()
        self.vnicd = vnictest.Vnicd(ports, "switch", run_dir=run_dir)

    def test_qemu(self):
        proc = self.guest("qemu", guests.QemuGuest)
        self.restart(self.PORTS)
        self.says_something(proc)

    @pytest.mark.long
    def test_qemu_makes_the_socket(self):
        ports = {"vm0": f"vhost-user,path={vnictest.tmpdir()}/vm0,mode=client", "vm1": "vhost-user"}
        self.vnicd.stop()
        self.vnicd = vnictest.Vnicd(ports, "switch", run_dir=self.vnicd.run_dir)
        proc = self.guest("qemu", guests.QemuGuest,
                          changes=[("guest qemu", f"guest qemu --listen --socket {ports['vm0'].split(',')[1][5:]}")])
        self.restart(ports)
        self.says_something(proc)

    def test_uml(self):
        proc = self.guest("uml", guests.UmlGuest, "vm1")
        proc.send("poweroff -f")
        self.assertEqual(proc.wait(), 0)

    @pytest.mark.long
    def test_qemu_line(self):
        """What README says of the line is in the line that is run."""
        try:
            guests.QemuGuest.probe()
        except guests.Missing as e:
            self.skipTest(str(e))
        printed = subprocess.run([vnictest.ROOT / "usertools/guest", "qemu", "vm0", "--print", "--mac", "52:54:00:00:00:01"],
                                 env=dict(os.environ, RUNTIME_DIRECTORY="/run/vnicd"), capture_output=True, text=True, timeout=60,
                                 check=True).stdout
        options = [set(word.split(",")) for word in shlex.split(printed)]
        for word in shlex.split(readme_block("qemu-line").replace("\\\n", " ")):
            if word not in ("qemu-system-x86_64", "disk.qcow2"):
                self.assertTrue(any(set(word.split(",")) <= option for option in options), f"{word} is not in: {printed}")

    def test_virtio_user(self):
        if len(vnictest.cpus()) < 2:
            self.skipTest("one CPU")
        proc = self.attach("virtio-user")
        self.vnicd.wait_stats(lambda ports: ports["vm0"]["rx_packets"] > 1000, 20)
        self.assertTrue(proc.alive())


class JsonExample(unittest.TestCase):
    def test_shape_is_what_the_program_prints(self):
        import json
        text = (vnictest.ROOT / "README.md").read_text()
        example = json.loads(re.search(r"```json\n(.*?)```", text, re.S)[1])
        vnicd = vnictest.Vnicd({"vm0": "vhost-user", "vm1": "vhost-user"}, "io", extra=["--json", "--stats-period", "1"])
        self.addCleanup(vnicd.stop)
        time.sleep(0.1)
        line = json.loads(vnicd.expect(r"^\{.*\}$", 5)[0])
        self.assertEqual(set(line), set(example))
        self.assertEqual(set(line["ports"]["vm0"]), set(example["ports"]["vm0"]))


if __name__ == "__main__":
    unittest.main(verbosity=2)

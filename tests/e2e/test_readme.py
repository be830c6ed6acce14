# SPDX-License-Identifier: BSD-3-Clause
"""The lines of README.md that people copy, run as they stand there.

Only the run-time directory is another one, so that a vnicd of the machine's owner is left alone.
"""
import base64
import os
import pathlib
import re
import sys
import time
import unittest

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
        for old, new in changes:
            self.assertIn(old, script)
            script = script.replace(old, new)
        script, n = re.subn(r"^(qemu-system-x86_64|env|dpdk-testpmd) ", r"exec \1 ", script, flags=re.M)
        self.assertEqual(n, 1, script)
        proc = vnictest.Proc(["bash", "-e", "-c", script], env={"TMPDIR": vnictest.tmpdir()}, cwd=vnictest.ROOT, name=name)
        self.addCleanup(proc.kill9)
        return proc

    def guest(self, name, kind, changes=()):
        try:
            kind.probe()
        except guests.Missing as e:
            self.skipTest(str(e))
        proc = self.attach(name, changes)
        proc.expect(r"@guest ready", kind.BOOT_TIMEOUT)
        self.n_commands = 0
        self.says_something(proc)
        return proc

    def says_something(self, proc):
        """The guest's console takes commands (tests/guests/init): make its kernel send something."""
        before = self.vnicd.stats()["vm0"]["rx_packets"]
        for _ in range(10):
            self.n_commands += 1
            command = b"ip addr replace 10.0.0.1/24 dev eth0; ping -c 1 -W 1 10.0.0.2"
            proc.send(f"guest {self.n_commands} 10 {base64.b64encode(command).decode()}")
            try:
                self.vnicd.wait_stats(lambda ports: ports["vm0"]["rx_packets"] > before, 4)
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

    def test_qemu_makes_the_socket(self):
        ports = {"vm0": f"vhost-user,path={vnictest.tmpdir()}/vm0,mode=client", "vm1": "vhost-user"}
        self.vnicd.stop()
        self.vnicd = vnictest.Vnicd(ports, "switch", run_dir=self.vnicd.run_dir)
        proc = self.guest("qemu", guests.QemuGuest,
                          [(f"path={self.vnicd.run_dir}/vm0.sock,reconnect=1",
                            ports["vm0"].split(",")[1] + ",server=on")])
        self.restart(ports)
        self.says_something(proc)

    def test_uml(self):
        self.guest("uml", guests.UmlGuest)

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

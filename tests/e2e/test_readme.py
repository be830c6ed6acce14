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
    def setUp(self):
        self.vnicd = vnictest.Vnicd({"vm0": "vhost-user", "vm1": "vhost-user"}, "switch")
        self.addCleanup(self.vnicd.stop)

    def attach(self, name, env=None):
        script = readme_block(name).replace("/run/vnicd", self.vnicd.run_dir)
        proc = vnictest.Proc(["bash", "-c", "exec " + script.strip()], env=env, name=name)
        self.addCleanup(proc.kill9)
        return proc

    def guest(self, name, kind):
        initrd = os.path.join(vnictest.tmpdir(), "initrd")
        try:
            env = {"KERNEL": str(guests.qemu_kernel()[0])} if name == "qemu" else {}
            kind.build_initrd(initrd)
        except guests.Missing as e:
            self.skipTest(str(e))
        proc = self.attach(name, dict(env, INITRD=initrd))
        proc.expect(r"@guest ready", kind.BOOT_TIMEOUT)
        # The guest's console takes commands (tests/guests/init): make its kernel say something.
        command = b"ip addr add 10.0.0.1/24 dev eth0; ping -c 1 -W 1 10.0.0.2"
        proc.send(f"guest 1 10 {base64.b64encode(command).decode()}")
        self.vnicd.wait_stats(lambda ports: ports["vm0"]["rx_packets"] > 0, 20)

    def test_qemu(self):
        self.guest("qemu", guests.QemuGuest)

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

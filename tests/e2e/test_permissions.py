# SPDX-License-Identifier: BSD-3-Clause
"""Who may open the sockets: --socket-owner, -group, -mode, the same as keys of a port, and --control-group, -mode.

Users and groups are numbers that need not exist on this machine."""
import os
import pathlib
import struct
import subprocess
import sys
import unittest

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "lib"), str(HERE.parent / "guests")]
import guests  # noqa: E402
import vnictest  # noqa: E402

GROUP, OTHER, USER = 64055, 64056, 64057

# A front-end's first words: GET_FEATURES, and what comes back.
CLIENT = """
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.settimeout(10)
try:
    s.connect(sys.argv[1])
    s.sendall(bytes.fromhex(sys.argv[2]))
    print(len(s.recv(4096)))
except PermissionError:
    print("refused")
"""
GET_FEATURES = struct.pack("<III", 1, 1, 0)
VERSION = b'{"jsonrpc": "2.0", "id": 1, "method": "system.version"}\n'


def connect_as(path, user, group, words=GET_FEATURES):
    done = subprocess.run([sys.executable, "-c", CLIENT, path, words.hex()], user=user, group=group, extra_groups=[],
                          capture_output=True, text=True, timeout=20, check=True)
    return "refused" if done.stdout == "refused\n" else int(done.stdout) > 0


def owner_of(path):
    st = os.stat(path)
    return st.st_uid, st.st_gid, oct(st.st_mode & 0o777)


@unittest.skipUnless(os.geteuid() == 0, "only root gives sockets away and becomes somebody else")
class Permissions(unittest.TestCase):
    def start(self, ports, *extra):
        top = vnictest.tmpdir()
        os.chmod(top, 0o755)
        self.vnicd = vnictest.Vnicd(ports, "hub", extra=extra, run_dir=os.path.join(top, "run"))
        self.addCleanup(lambda: self.assertEqual(self.vnicd.stop(), 0))
        return self.vnicd

    def test_a_front_end_of_the_group(self):
        vnicd = self.start({"a": "vhost-user", "b": f"vhost-user,socket-group={OTHER},socket-owner={USER},socket-mode=600",
                            "c": "stream,listen=" + vnictest.tmpdir() + "/c.sock"}, "--socket-group", str(GROUP))
        self.assertEqual(owner_of(vnicd.sock("a")), (0, GROUP, "0o660"))
        self.assertEqual(owner_of(vnicd.sock("b")), (USER, OTHER, "0o600"))
        self.assertEqual(owner_of(vnicd.control), (0, 0, "0o660"))
        self.assertEqual(owner_of(vnicd.rpc("port.show", {"name": "c"})["options"]["listen"]), (0, GROUP, "0o660"))
        self.assertIs(connect_as(vnicd.sock("a"), 65534, GROUP), True)
        self.assertEqual(connect_as(vnicd.sock("a"), 65534, OTHER), "refused")
        self.assertIs(connect_as(vnicd.sock("b"), USER, 65534), True)
        self.assertEqual(connect_as(vnicd.sock("b"), 65534, OTHER), "refused")
        # Which ports there are is not for who may connect to one.
        self.assertEqual(owner_of(vnicd.run_dir), (0, 0, "0o751"))
        # While it runs: the global options hold for ports to come.
        vnicd.rpc("port.add", {"config": "d=vhost-user,socket-mode=0666"})
        self.assertEqual(owner_of(vnicd.sock("d")), (0, GROUP, "0o666"))
        self.assertEqual(vnicd.rpc("port.show", {"name": "b"})["options"]["socket-mode"], "0600")

    def test_operators(self):
        vnicd = self.start({"a": "vhost-user"}, "--control-group", str(OTHER), "--socket-group", str(GROUP))
        self.assertEqual(owner_of(vnicd.control), (0, OTHER, "0o660"))
        self.assertEqual(owner_of(vnicd.run_dir), (0, OTHER, "0o751"))
        self.assertIs(connect_as(vnicd.control, 65534, OTHER, VERSION), True)
        self.assertEqual(connect_as(vnicd.control, 65534, GROUP, VERSION), "refused")
        self.assertEqual(connect_as(vnicd.sock("a"), 65534, OTHER), "refused")

    def test_not_root(self):
        """Who runs vnicd may use groups of his own."""
        top = vnictest.tmpdir()
        os.chown(top, USER, OTHER)
        os.chmod(top, 0o700)
        wrapper = ["setpriv", "--reuid", str(USER), "--regid", str(OTHER), "--groups", str(GROUP), "--"]
        vnicd = vnictest.Vnicd({"a": f"vhost-user,socket-group={GROUP}"}, "hub", run_dir=top, wrapper=wrapper)
        self.addCleanup(lambda: self.assertEqual(vnicd.stop(), 0))
        self.assertEqual(owner_of(vnicd.sock("a")), (USER, GROUP, "0o660"))
        for keys, hint in (("socket-group=0", "a member of group root"), ("socket-owner=0", "only root gives files away")):
            with self.assertRaises(vnictest.RpcError) as caught:
                vnicd.rpc("port.add", {"config": f"b=vhost-user,{keys}"})
            self.assertIn("can't give it to", str(caught.exception))
            self.assertIn(hint, caught.exception.error["data"]["hint"])
            self.assertFalse(os.path.exists(vnicd.sock("b")))

    @pytest.mark.long
    @pytest.mark.guest
    def test_a_qemu_of_the_group(self):
        """As libvirt starts it: another user, with a group that may use the socket."""
        guests.QemuGuest.probe()
        vnicd = self.start({"vm0": "vhost-user", "vm1": "vhost-user"}, "--socket-group", str(GROUP))
        kernel, _ = guests.qemu_kernel()
        work = vnictest.tmpdir()
        os.chmod(work, 0o755)
        initrd = guests.QemuGuest.build_initrd(os.path.join(work, "initrd"))
        there = os.path.join(work, "vmlinuz")
        pathlib.Path(there).write_bytes(pathlib.Path(kernel).read_bytes())
        for group in (OTHER, GROUP):
            qemu = vnictest.Proc(
                ["setpriv", "--reuid", "65534", "--regid", str(group), "--clear-groups", "--", "qemu-system-x86_64",
                 "-machine", "q35", "-m", "256", "-nographic", "-nodefaults", "-no-reboot", "-serial", "stdio",
                 "-object", "memory-backend-memfd,id=mem,size=256M,share=on", "-numa", "node,memdev=mem",
                 "-chardev", f"socket,id=c0,path={vnicd.sock('vm0')}", "-netdev", "vhost-user,id=n0,chardev=c0",
                 "-device", "virtio-net-pci,netdev=n0,vectors=0,romfile=", "-kernel", there, "-initrd", initrd,
                 "-append", "console=ttyS0 quiet panic=-1"])
            self.addCleanup(qemu.kill9)
            if group == OTHER:
                qemu.expect("Permission denied", 20)
                continue
            qemu.expect("@guest ready", guests.QemuGuest.BOOT_TIMEOUT)
            vnicd.wait_stats(lambda ports: ports["vm0"]["rx_packets"] > 0)


class Refused(unittest.TestCase):
    def refused(self, *words):
        done = subprocess.run([vnictest.VNICD, *words, "--forward-mode", "hub"], capture_output=True, text=True, timeout=20,
                              env=dict(os.environ, RUNTIME_DIRECTORY=vnictest.tmpdir()))
        self.assertEqual(done.returncode, 2)
        return done.stderr

    def test_words(self):
        for words, cause, hint in (
            (["--port", "a=vhost-user,socket-group=no-such"], "vnicd: port a: socket-group: there is no group 'no-such'",
             "groupadd --system no-such"),
            (["--port", "a=vhost-user", "--socket-owner", "no-such"], "vnicd: --socket-owner: there is no user 'no-such'",
             "useradd --system no-such"),
            (["--port", "a=vhost-user", "--control-mode", "rw"], "vnicd: --control-mode: 'rw' is not the mode", "0660"),
            (["--port", "a=vhost-user,path=/tmp/x,mode=client,socket-mode=0600"], "it is the front-end that makes the socket",
             "leave socket-owner"),
        ):
            with self.subTest(words):
                lines = self.refused(*words).splitlines()
                self.assertEqual(len(lines), 2, lines)
                self.assertIn(cause, lines[0])
                self.assertIn(hint, lines[1])


if __name__ == "__main__":
    unittest.main(verbosity=2)

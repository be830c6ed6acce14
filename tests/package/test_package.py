# SPDX-License-Identifier: BSD-3-Clause
"""The Debian package, in a clean Debian 12: built, installed, its service's line run with two guests attached, upgraded,
removed. Takes a quarter of an hour, root, and the network.

    usertools/install-deps package test
    VNICD_LONG=1 pytest-3 tests/package

Environment, for trying things:
  VNICD_PACKAGE_CHROOT  a directory made by debootstrap, to be used and left there
  VNICD_PACKAGE_DEBS    a directory with packages that have been built already
"""
import glob
import os
import pathlib
import re
import shutil
import subprocess
import sys
import unittest

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lib"), str(HERE.parent / "guests")]
import guests  # noqa: E402
import vnictest  # noqa: E402
from chroot import Chroot  # noqa: E402

pytestmark = [pytest.mark.long, pytest.mark.guest, pytest.mark.timeout(3600)]


def copy_tree(to):
    """The checkout as it would be committed."""
    to.mkdir(parents=True)
    names = subprocess.run(["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=vnictest.ROOT, capture_output=True, check=True)
    for name in filter(None, names.stdout.decode().split("\0")):
        if (vnictest.ROOT / name).is_file():  # not one that is deleted
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(vnictest.ROOT / name, to / name)


@unittest.skipUnless(os.geteuid() == 0, "needs root")
class Package(unittest.TestCase):
    def setUp(self):
        if not shutil.which("debootstrap"):
            self.skipTest("debootstrap is not installed (usertools/install-deps package)")
        guests.UmlGuest.probe()

    def step(self, text):
        print(f"package: {text}", flush=True)

    def build(self, chroot):
        """Where the packages are, as seen in there."""
        (chroot.path / "root").chmod(0o755)
        work = chroot.path / "root/build"
        shutil.rmtree(work, ignore_errors=True)
        built = os.environ.get("VNICD_PACKAGE_DEBS")
        if built:
            work.mkdir()
            for path in glob.glob(f"{built}/*.deb"):
                shutil.copy(path, work)
            return work
        copy_tree(work / "vnicd")
        self.step("installing what the build needs")
        chroot.apt("update")
        chroot.apt("install", "build-essential", "fakeroot")
        chroot.apt("build-dep", "/root/build/vnicd")
        self.step("building")
        chroot.run("sh", "-c", f"cd /root/build/vnicd && DEB_BUILD_OPTIONS=parallel={len(vnictest.cpus())} "
                   "dpkg-buildpackage -us -uc -b", timeout=1800)
        return work

    def lint(self, work):
        if not shutil.which("lintian") or not glob.glob(f"{work}/*.changes"):
            return self.step("lintian: not run")
        done = subprocess.run(["lintian", "--profile", "debian", "--fail-on", "error,warning", *glob.glob(f"{work}/*.changes")],
                              capture_output=True, text=True, timeout=600)
        self.assertEqual(done.returncode, 0, done.stdout)
        return self.step("lintian: neither errors nor warnings")

    def unit(self, chroot):
        text = (chroot.path / "lib/systemd/system/vnicd.service").read_text()
        return dict(re.findall(r"^(\w+)=(.*)$", text, re.M))

    def start_service(self, chroot):
        """What systemd would do with the unit, as far as it is about processes."""
        unit = self.unit(chroot)
        self.assertEqual((unit["Type"], unit["User"]), ("notify", "vnicd"))
        run_dir = f"/run/{unit['RuntimeDirectory']}"
        capabilities = ",".join("+" + name.removeprefix("CAP_").lower() for name in unit["AmbientCapabilities"].split())
        chroot.run("install", "-d", "-o", unit["User"], "-g", unit["Group"], "-m", unit["RuntimeDirectoryMode"], run_dir)
        vnicd = chroot.start("sh", "-c", f"RUNTIME_DIRECTORY={run_dir} exec setpriv --reuid {unit['User']} --regid {unit['Group']} "
                             f"--init-groups --inh-caps {capabilities} --ambient-caps {capabilities} --bounding-set -all,{capabilities} "
                             f"--no-new-privs {unit['ExecStart']}")
        self.addCleanup(vnicd.kill9)
        vnicd.expect("vnicd: ready: 2 ports, mode switch", 30)
        return vnicd

    def stop_service(self, chroot, vnicd):
        self.assertEqual(vnicd.stop(), 0, vnicd.output)
        # systemd removes the directory.
        shutil.rmtree(chroot.path / "run/vnicd")

    def guests_talk(self, chroot):
        run_dir = chroot.path / "run/vnicd"
        with guests.UmlGuest(run_dir / "vm0.sock", "10.0.0.1") as a, guests.UmlGuest(run_dir / "vm1.sock", "10.0.0.2") as b:
            a.wait_ready(), b.wait_ready()
            a.ping("10.0.0.2", count=5)
            shown = chroot.run("vnicctl", "--socket", "/run/vnicd/vnicd.ctl", "stats")
            self.assertRegex(shown, r"(?m)^vm0 +[1-9]")

    def higher_version(self, chroot, deb):
        """The same package, as the next one."""
        chroot.run("sh", "-ec", f"cd /root/build; rm -rf next; dpkg-deb -R {deb} next; "
                   "sed -i 's/^Version: .*/&+next1/' next/DEBIAN/control; dpkg-deb -b next next.deb")
        return "/root/build/next.deb"

    def test_life(self):
        self.step("making a Debian 12")
        chroot = Chroot(os.environ.get("VNICD_PACKAGE_CHROOT"))
        work = self.build(chroot)
        self.lint(work)
        (deb,) = [os.path.basename(path) for path in glob.glob(f"{work}/vnicd_*.deb")]
        depends = chroot.run("dpkg-deb", "-f", f"/root/build/{deb}", "Depends")
        self.step("installing what it depends on, then it")
        chroot.apt("update")
        chroot.apt("satisfy", depends.strip())
        before = chroot.files()
        chroot.apt("install", f"/root/build/{deb}")
        self.assertIn("vnicd", chroot.run("id", "vnicd"))
        self.assertIn("/etc/vnicd/vnicd.conf", chroot.run("dpkg-query", "-W", "-f", "${Conffiles}", "vnicd"))
        self.assertRegex(chroot.run("vnicctl", "--help"), "^usage: vnicctl")
        self.assertIn("--port", chroot.run("/usr/lib/vnicd/complete", "vnicd", "--p").split())

        self.step("running the line of its unit, as its user; two guests")
        vnicd = self.start_service(chroot)
        owner = (chroot.path / "run/vnicd/vnicd.ctl").stat()
        self.assertEqual(f"{owner.st_uid}", chroot.run("id", "-u", "vnicd").strip())
        self.guests_talk(chroot)
        # What its capabilities are for.
        self.assertIn("t0: tap", chroot.run("vnicctl", "--socket", "/run/vnicd/vnicd.ctl", "port", "add", "t0=tap"))
        self.stop_service(chroot, vnicd)
        # What an administrator has changed.
        conf = chroot.path / "etc/vnicd/vnicd.conf"
        conf.write_text(conf.read_text() + "# mine\n")

        self.step("upgrading")
        chroot.apt("install", self.higher_version(chroot, deb))
        self.assertTrue(chroot.run("dpkg-query", "-W", "-f", "${Version}", "vnicd").endswith("+next1"))
        self.assertTrue(conf.read_text().endswith("# mine\n"))
        vnicd = self.start_service(chroot)
        self.guests_talk(chroot)
        self.stop_service(chroot, vnicd)

        self.step("removing")
        chroot.apt("remove", "vnicd")
        self.assertTrue(conf.exists())
        chroot.apt("purge", "vnicd")
        self.assertNotEqual(chroot.run("getent", "passwd", "vnicd", check=False).returncode, 0)
        after = chroot.files()
        self.assertEqual(sorted(set(after) - set(before)), [], "left behind")
        self.assertEqual(sorted(name for name in before if after.get(name) != before[name]), [], "changed")


if __name__ == "__main__":
    unittest.main(verbosity=2)

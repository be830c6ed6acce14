# SPDX-License-Identifier: BSD-3-Clause
"""What `meson install` puts beside the programs: manual pages, completion, configuration, unit; and vnicd-hugepages."""
import contextlib
import importlib.machinery
import importlib.util
import io
import os
import pathlib
import re
import shutil
import subprocess
import sys
import unittest
import unittest.mock

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "lib"))
import vnictest  # noqa: E402

BUILD = pathlib.Path(vnictest.VNICD).resolve().parents[1]
VNICCTL = vnictest.ROOT / "usertools/vnicctl"
PAGES = {"vnicd.8": "man8", "vnicd.conf.5": "man5", "vnicctl.1": "man1", "vnicd-hugepages.8": "man8"}


def run(*args, **kw):
    return subprocess.run([str(a) for a in args], capture_output=True, text=True, timeout=60, **kw)


def install(dest):
    done = run("meson", "install", "-C", BUILD, "--no-rebuild", "--quiet", "--destdir", dest)
    if done.returncode:
        raise AssertionError(done.stdout + done.stderr)
    return [path for path in pathlib.Path(dest).rglob("*") if path.is_file()]


class Pages(unittest.TestCase):
    """Made by the build, from what the programs say of themselves."""

    def page(self, name):
        """Without what roff makes of it."""
        text = (BUILD / "packaging" / name).read_text()
        return re.sub(r"\\f[BIR]|\\&", "", text).replace("\\-", "-").replace("\\e", "\\")

    def test_pages_have_what_help_has(self):
        help_ = run(vnictest.VNICD, "--help").stdout
        options = re.findall(r"^  (--[a-z-]+)( \S+)? .*?  *(\S.*)$", help_, re.M)
        keys = re.findall(r"^      ([a-z.A-Z-]+=\S+) +(\S.*)$", help_, re.M)
        self.assertGreater(len(options), 10)
        self.assertGreater(len(keys), 40)
        vnicd, conf = self.page("vnicd.8"), self.page("vnicd.conf.5")
        for name, form, _ in options:
            self.assertIn(f"\n{name}{form}\n", vnicd)
            if name not in ("--config", "--help", "--version"):
                self.assertIn(f"\n{name[2:]}{form}\n", conf)
        for usage, text in keys:
            self.assertIn(f"\n{usage}\n{text}\n", vnicd)
        for line in re.findall(r"^  [a-z][a-z-]* +(\S.*)$", help_, re.M):
            self.assertIn(line, vnicd)

    def test_page_has_the_commands(self):
        page = self.page("vnicctl.1")
        for command in re.findall(r"^  vnicctl ([a-z]+(?: (?:add|remove|list|show|set|announce|ports|flush))?)",
                                  run(VNICCTL, "--help").stdout, re.M):
            self.assertRegex(page, rf"(?m)^{command}\b")

    @pytest.mark.long
    def test_pages_have_no_mistakes(self):
        if not shutil.which("man") or not shutil.which("groff"):
            self.skipTest("no man or groff (Debian packages man-db, groff-base)")
        for name in PAGES:
            page = BUILD / "packaging" / name
            done = run("man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", page,
                       env=dict(os.environ, LC_ALL="C.UTF-8", MANROFFSEQ="", MANWIDTH="80"))
            self.assertEqual((done.returncode, done.stderr), (0, ""), name)

    def test_configuration_starts(self):
        done = run(vnictest.VNICD, "--config", vnictest.ROOT / "packaging/vnicd.conf", "--duration", "0.05",
                   env=dict(os.environ, RUNTIME_DIRECTORY=vnictest.tmpdir()))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("ready: 2 ports, mode switch", done.stderr)


@pytest.mark.long
class Installed(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dest = vnictest.tmpdir()
        cls.files = install(cls.dest)

    def path(self, end):
        (path,) = [path for path in self.files if str(path).endswith(end)]
        return path

    def test_all_of_it(self):
        for end in ("bin/vnicd", "bin/vnicctl", "bin/vnicd-hugepages", "completions/vnicd", "completions/vnicctl", "/_vnicd",
                    "/_vnicctl", "systemd/system/vnicd.service", "vnicd/vnicd.conf", "libexec/vnicd/complete",
                    *(f"share/man/{section}/{name}" for name, section in PAGES.items())):
            self.path(end)

    def test_an_edited_configuration_stays(self):
        conf = self.path("vnicd/vnicd.conf")
        before = conf.read_text()
        conf.write_text("# mine\n")
        try:
            install(self.dest)
            self.assertEqual(conf.read_text(), "# mine\n")
        finally:
            conf.write_text(before)

    def test_unit(self):
        text = self.path("vnicd.service").read_text()
        self.assertNotIn("@bindir", text.lower())
        self.assertIn(f"--config /{self.path('vnicd/vnicd.conf').relative_to(self.dest)}\n", text)
        if not shutil.which("systemd-analyze"):
            self.skipTest("no systemd-analyze (Debian package systemd)")
        unit = pathlib.Path(vnictest.tmpdir(), "vnicd.service")
        # Of a machine on which it is not installed.
        unit.write_text(re.sub("ExecStart=.*?/vnicd ", f"ExecStart={vnictest.VNICD} ", text).replace("=vnicd\n", "=root\n", 1))
        done = run("systemd-analyze", "verify", "--man=no", unit)
        said = [line for line in done.stderr.splitlines() if "vnicd.service" in line]
        self.assertEqual((done.returncode, said), (0, []), done.stderr)


class Completion(unittest.TestCase):
    COMPLETE = vnictest.ROOT / "packaging/complete"

    def setUp(self):
        loader = importlib.machinery.SourceFileLoader("complete", str(self.COMPLETE))
        self.module = importlib.util.module_from_spec(importlib.util.spec_from_loader("complete", loader))
        loader.exec_module(self.module)
        self.env = dict(os.environ, VNICD=vnictest.VNICD, VNICCTL=str(VNICCTL))
        changed = unittest.mock.patch.dict(os.environ, self.env)
        changed.start()
        self.addCleanup(changed.stop)

    def complete(self, *words):
        with contextlib.redirect_stdout(io.StringIO()) as said:
            self.module.main(*words)
        return said.getvalue().split()

    def test_options(self):
        self.assertEqual(self.complete("vnicd", "--log-"), ["--log-level", "--log-file"])
        self.assertEqual(self.complete("vnicd", "--log-level", ""), ["error", "warn", "info", "debug"])
        self.assertEqual(self.complete("vnicd", "--port", "a=vh"), ["a=vhost-user"])
        self.assertEqual(self.complete("vnicd", "--port", "a=vhost-user,mode="),
                         ["a=vhost-user,mode=server", "a=vhost-user,mode=client"])
        self.assertEqual(self.complete("vnicd", "--port", "a=vhost-user,queues=2,que"), [])
        self.assertIn("a=tap,vlan=", self.complete("vnicd", "--port", "a=tap,vl"))
        self.assertEqual(self.complete("vnicd", "--forward-mode", "switch,age"), ["switch,ageing="])
        self.assertEqual(self.complete("vnicctl", "mi"), ["mirror"])
        self.assertEqual(self.complete("vnicctl", "--json", "fdb", "f"), ["flush"])
        self.assertEqual(self.complete("vnicctl", "port", "set", "vm0", "link="), ["link=up", "link=down"])

    def test_live(self):
        vnicd = vnictest.Vnicd({"vm0": "vhost-user", "vm1": "vhost-user", "other": "vhost-user"}, "switch",
                               extra=["--mirror", "m0,from=vm0,to=other"])
        self.addCleanup(vnicd.stop)
        os.environ["RUNTIME_DIRECTORY"] = vnicd.run_dir
        self.assertEqual(self.complete("vnicctl", "port", "show", ""), ["vm0", "vm1", "other"])
        self.assertEqual(self.complete("vnicctl", "stats", "v"), ["vm0", "vm1"])
        self.assertEqual(self.complete("vnicctl", "mirror", "remove", ""), ["m0"])
        self.assertEqual(self.complete("vnicctl", "mirror", "add", "m1", "from=vm0+o"), ["from=vm0+other"])
        self.assertEqual(self.complete("vnicctl", "fdb", "flush", "port=o"), ["port=other"])
        self.assertIn("port.add", self.complete("vnicctl", "call", "port."))
        self.assertEqual(self.complete("vnicctl", "--socket", vnicd.control, "guest", "show", "o"), ["other"])

    @pytest.mark.long
    def test_nobody_answers(self):
        """Not a word on the terminal of somebody who is typing."""
        done = run(self.COMPLETE, "vnicctl", "port", "show", "", env=dict(self.env, RUNTIME_DIRECTORY="/nowhere"))
        self.assertEqual((done.returncode, done.stdout, done.stderr), (1, "", ""))

    @pytest.mark.long
    def test_shells(self):
        """What is installed, in the shells themselves."""
        vnicd = vnictest.Vnicd({"vm0": "vhost-user", "vm1": "vhost-user", "other": "vhost-user"}, "switch")
        self.addCleanup(vnicd.stop)
        self.env["RUNTIME_DIRECTORY"] = vnicd.run_dir
        dest = pathlib.Path(vnictest.tmpdir())
        for tool in ("vnicd", "vnicctl"):
            for shell in ("bash", "zsh"):
                text = (BUILD / f"packaging/{tool}.{shell}").read_text()
                text = re.sub(r"/\S*/vnicd/complete", str(self.COMPLETE), text)
                (dest / f"{tool}.{shell}").write_text(text)
        functions = pathlib.Path("/usr/share/bash-completion/bash_completion")
        if functions.exists():
            for line, want in (("vnicctl port show v", "vm0 vm1"), ("vnicctl fdb flush port=o", "other"),
                               ("vnicctl port set vm0 link=d", "down")):
                words = re.split(r"(=)|\s+", line)
                words = [word for word in words if word]
                script = (f"source {functions}; source {dest}/vnicctl.bash; compopt() {{ :; }}; COMP_LINE={line!r}; "
                          f"COMP_POINT={len(line)}; COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}; "
                          "_vnicctl; echo ${COMPREPLY[*]}")
                done = run("bash", "--norc", "-c", script, env=self.env)
                self.assertEqual((done.stdout, done.stderr), (want + "\n", ""), line)
        if shutil.which("zsh"):
            # compadd, outside a line editor, as a function that says what it was given.
            script = (f"compadd() {{ while [[ $1 != -a ]] shift; print -l ${{(P)2}}; }}; words=(vnicctl port show v); CURRENT=4; "
                      f"() {{ source {dest}/vnicctl.zsh }}")
            done = run("zsh", "-f", "-c", script, env=self.env)
            self.assertEqual((done.stdout.split(), done.stderr), (["vm0", "vm1"], ""))


class Hugepages(unittest.TestCase):
    """vnicd-hugepages, with files in place of the kernel's."""

    def setUp(self):
        self.top = pathlib.Path(vnictest.tmpdir())
        self.env = dict(os.environ, VNICD_HUGEPAGES_SYS=str(self.top), VNICD_HUGEPAGES_CONF=str(self.top / "conf"))
        for base in ("kernel/mm", "devices/system/node/node0"):
            for kib, n, free in ((2048, 10, 4), (1048576, 0, 0)):
                where = self.top / base / f"hugepages/hugepages-{kib}kB"
                where.mkdir(parents=True)
                (where / "nr_hugepages").write_text(f"{n}\n")
                (where / "free_hugepages").write_text(f"{free}\n")

    def tool(self, *words):
        return run(vnictest.ROOT / "usertools/vnicd-hugepages", *words, env=self.env)

    def pages(self, base="kernel/mm", kib=2048):
        return int((self.top / base / f"hugepages/hugepages-{kib}kB/nr_hugepages").read_text())

    def test_show(self):
        self.assertIn("pages of 2 MiB: 10 (20 MiB) reserved, 4 (8 MiB) free\n  node0:", self.tool().stdout)

    def test_reserve_and_release(self):
        self.assertEqual(self.tool("--dry-run", "1024").returncode, 0)
        self.assertEqual(self.pages(), 10)
        # Six are used: so many more, and never fewer than there are.
        self.assertIn("reserved: 518 (1036 MiB)", self.tool("1023", "--boot").stdout)
        self.assertEqual(self.pages(), 518)
        self.assertEqual((self.top / "conf").read_text(), "vm.nr_hugepages = 518\n")
        self.assertEqual(self.tool("2").returncode, 0)
        self.assertEqual(self.pages(), 518)
        self.assertEqual(self.tool("--page-size", "1G", "--node", "0", "2048").returncode, 0)
        self.assertEqual(self.pages("devices/system/node/node0", 1048576), 2)
        self.assertEqual(self.tool("--release", "--boot").returncode, 0)
        self.assertEqual(self.pages(), 514)
        self.assertFalse((self.top / "conf").exists())

    def test_refused(self):
        for words, cause in (((), None), (("--release", "10"), "MIB and --release together"), (("1g",), "is no number of MiB"),
                             (("--page-size", "3M", "1"), "is none of 2M, 1G"), (("--node", "7", "1"), "no NUMA node '7'"),
                             (("--boot", "--page-size", "1G", "1024"), "--boot is for pages of 2 MiB"), (("--foo",), "unknown option"),
                             (("--dry-run",), "how many MiB?")):
            done = self.tool(*words)
            self.assertEqual(done.returncode, 2 if cause else 0, words)
            if cause:
                self.assertIn(cause, done.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)

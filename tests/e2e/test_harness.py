# SPDX-License-Identifier: BSD-3-Clause
"""What the tests themselves promise: every case is counted, a crash is a failure, nothing that they have started is left,
however they end. run-tests and conftest.py are tried on a small project of their own."""
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
import unittest

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
LIB = ROOT / "tests/lib"

STARTS_ONE = """
import sys, time
sys.path.insert(0, sys.argv[1])
import vnictest
print(vnictest.Vnicd({"vm0": "vhost-user", "vm1": "vhost-user"}).pid, flush=True)
time.sleep(60)
"""


def gone(pid):
    """Within ten seconds a process has ended."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            if pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.02)
    return False


class Killed(unittest.TestCase):
    def test_vnicd_ends_with_its_test(self):
        for signum in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
            with self.subTest(signum.name), subprocess.Popen([sys.executable, "-c", STARTS_ONE, str(LIB)],
                                                             stdout=subprocess.PIPE, text=True) as test:
                pid = int(test.stdout.readline())
                test.send_signal(signum)
                test.wait()
                self.assertTrue(gone(pid), "vnicd goes on without its test")


class Project:
    """A project with a few tests; some patience less than usual."""

    def __init__(self, top):
        self.top = top
        for name in ("usertools/run-tests", "tests/conftest.py", "tests/pytest.ini", "tests/lib/orphans.py",
                     "tests/lib/vnictest.py"):
            (top / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, top / name)
            text = (top / name).read_text()
            (top / name).write_text(re.sub(r"^SILENCE_S = \d+", "SILENCE_S = 1", text, flags=re.M))
        for folder in ("unit", "package", "source", "model", "e2e", "restart", "hostile", "perf"):
            (top / "tests" / folder).mkdir()
        (top / "meson_options.txt").write_text("option('tests', type: 'feature')\n")
        self.meson = "project('small')\n"
        self.program("test_good", "1..1\nok 1 - test_1\n")

    def program(self, name, output, end="exit 0"):
        """One that speaks TAP."""
        script = self.top / "tests/unit" / name
        script.write_text(f"#!/bin/sh\ncat <<'END'\n{output}END\n{end}\n")
        script.chmod(0o755)
        self.meson += f"test('{name}', find_program('tests/unit/{name}'), protocol: 'tap', suite: 'unit')\n"

    def file(self, name, text):
        head = "import os, pathlib, subprocess, time, unittest\nimport pytest\n"
        (self.top / "tests" / name).write_text(head + textwrap.dedent(text))

    def start(self, *options):
        (self.top / "meson.build").write_text(self.meson)
        env = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_", "VNICD"))}
        return subprocess.Popen([self.top / "usertools/run-tests", "--no-install", "--no-sanitizers", *options],
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env)

    def run(self, *options):
        """(exit status, output, {section of the summary: names in it}, last line)"""
        proc = self.start(*options)
        output = proc.communicate(timeout=120)[0]
        return proc.returncode, output, self.sections(output), output.splitlines()[-1]

    @staticmethod
    def sections(output):
        found, head = {}, None
        for line in output.splitlines():
            if line in ("Skipped:", "Failed:", "Failed beside another, and passed alone:"):
                head = found.setdefault(line, [])
            elif head is not None and (m := re.match(r"  (\S.*)", line)):
                head.append(m[1])
        return found


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


@pytest.mark.long
def test_all_is_well(project):
    project.file("e2e/test_a.py", """
        def test_1():
            pass
        @pytest.mark.long
        def test_2():
            pass
    """)
    project.file("perf/test_b.py", "def test_1(): assert 'VNICD_NICE' not in os.environ")
    status, output, sections, last = project.run()
    assert (status, sections, last) == (0, {}, "3 passed, 0 failed, 0 skipped"), output
    status, output, _, last = project.run("--long", "--only", "*test_a.py test_[2]")
    assert (status, last) == (0, "1 passed, 0 failed, 0 skipped"), output
    status, output, _, last = project.run("--only", "nothing")
    assert (status, last) == (1, "0 passed, 0 failed, 0 skipped"), output


def test_all_is_wrong(project):
    project.program("test_bad", "1..3\nok 1 - test_1\nnot ok 2 - test_2\n# 1 != 2\nok 3 - test_3\n"
                    "# SKIP test_4: no such CPU\n", "exit 1")
    project.program("test_killed", "1..2\nok 1 - test_1\n", "kill -9 $$")
    project.file("e2e/test_a.py", """
        class Several(unittest.TestCase):
            def test_1(self):
                pass
            def test_2_crashes(self):
                os.kill(os.getpid(), 11)
            def test_3(self):
                for n in range(3):
                    with self.subTest(n):
                        self.assertNotEqual(n, 1)
            def test_4_hangs(self):
                while True:
                    time.sleep(1)
            test_4_hangs = pytest.mark.timeout(2)(test_4_hangs)
            @unittest.skip("no reason")
            def test_5(self):
                pass
        class Unready(unittest.TestCase):
            @classmethod
            def setUpClass(cls):
                raise OSError("not today")
            def test_1(self):
                pass
    """)
    project.file("e2e/test_b.py", "import nothing_like_it")
    project.file("hostile/test_c.py", """
        def test_beside_others():
            assert os.environ.get("VNICD_NICE") is None
        def test_1(tmp_path):
            with open(tmp_path / "pid", "w+") as pid:
                subprocess.run("sleep 1000 & echo $!", shell=True, stdout=pid)
    """)
    status, output, sections, last = project.run()
    lanes = len(os.sched_getaffinity(0)) > 1
    failed = {name.partition("  (")[0]: name.partition("  (")[2] for name in sections["Failed:"]}
    assert failed.keys() == {
        "unit/test_bad test_2", "unit/test_killed", "e2e/test_a.py Several.test_2_crashes",
        "e2e/test_a.py Several.test_3", "e2e/test_a.py Several.test_4_hangs", "e2e/test_a.py Unready.test_1",
        "e2e/test_b.py", "hostile/test_c.py test_1"}, output
    assert sections["Skipped:"] == ["unit/test_bad test_4  (no such CPU)",
                                    "e2e/test_a.py Several.test_5  (no reason)"], output
    if lanes:
        assert [name.split("  ")[0] for name in sections["Failed beside another, and passed alone:"]] == [
            "hostile/test_c.py test_beside_others"], output
    assert "after test_1" in failed["unit/test_killed"], output
    assert "left behind: sleep" in failed["hostile/test_c.py test_1"], output
    assert "not today" in failed["e2e/test_a.py Unready.test_1"], output
    assert re.search(r"^\.\.\. .*e2e/test_a.py Several.test_4_hangs running$", output, re.M), output
    assert (status, last) == (1, "6 passed, 8 failed, 2 skipped"), output


@pytest.mark.long
def test_interrupted(project):
    project.file("e2e/test_a.py", """
        def test_0():
            pass
        def test_1():
            child = subprocess.Popen("sleep 1000 & echo $! >" + os.environ["PID_FILE"] + "; sleep 1000", shell=True)
            child.wait()
    """)
    pid_file = project.top / "pid"
    os.environ["PID_FILE"] = str(pid_file)
    for signum in (signal.SIGINT, signal.SIGTERM):
        pid_file.unlink(missing_ok=True)
        proc = project.start("--only", "e2e")
        while proc.poll() is None and not (pid_file.exists() and pid_file.read_text().strip()):
            time.sleep(0.05)
        proc.send_signal(signum)
        began = time.monotonic()
        output = proc.communicate()[0]
        assert gone(int(pid_file.read_text())), output
        assert time.monotonic() - began < 15, output
        assert proc.returncode == 130, output
        assert output.splitlines()[-1] == "1 passed, 0 failed, 0 skipped", output
        assert f"interrupted by {signum.name}" in output

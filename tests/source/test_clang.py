#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""A second compiler builds the whole program and its tests, without a warning: in the long run.

In a build directory of its own beside the one under test, which stays: later builds take what has changed. Not optimized,
for it is never run.
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import unittest

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
import vnictest  # noqa: E402

COMPILER = "clang"
OPTIONS = ["-Dtests=enabled", "-Dwerror=true", "-Doptimization=0", "-Ddebug=false"]


class Clang(unittest.TestCase):
    def step(self, *command):
        print("+", *command, flush=True)
        done = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, errors="replace", check=False, env=dict(os.environ, CC=COMPILER))
        print(done.stdout, flush=True)
        errors = re.findall(r"^.*(?:error|ERROR):? .*$", done.stdout, re.M)
        self.assertEqual(done.returncode, 0, (errors or done.stdout.splitlines()[-1:] or [""])[0])

    def build(self, *targets):
        if not shutil.which(COMPILER):
            self.skipTest(f"no {COMPILER}: usertools/install-deps test")
        build = pathlib.Path(vnictest.VNICD).resolve().parents[1]
        build = build.with_name(build.name + "-clang")
        if not (build / "build.ninja").exists():
            self.step("meson", "setup", build, vnictest.ROOT, *OPTIONS)
        self.step("ninja", "-C", build, *targets)

    @pytest.mark.long
    def test_builds_without_warnings(self):
        self.build()


if __name__ == "__main__":
    unittest.main()

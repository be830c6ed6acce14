#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""codespell finds nothing. Words that are meant as they are stand in spelling-words.txt, one a line."""
import pathlib
import shutil
import subprocess
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
WORDS = pathlib.Path(__file__).with_name("spelling-words.txt")
WHERE = ["README.md", ".ci", "app", "config", "docs", "drivers", "lib", "meson.build", "meson_options.txt", "tests", "usertools"]
SKIP = "*.svg,__pycache__,spelling-words.txt"


class Spelling(unittest.TestCase):
    def codespell(self, *args, **how):
        return subprocess.run(["codespell", "--quiet-level", "2", "--skip", SKIP, "--ignore-words", str(WORDS), *args], text=True,
                              capture_output=True, cwd=ROOT, timeout=120, check=False, **how)

    def setUp(self):
        if not shutil.which("codespell"):
            self.skipTest("no codespell: usertools/install-deps test")

    def test_tree(self):
        done = self.codespell(*(name for name in WHERE if (ROOT / name).exists()))
        self.assertEqual(done.stdout, "", "as codespell would have it; what is meant goes to tests/source/spelling-words.txt")
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_it_would_find_one(self):
        self.assertIn("==> receive", self.codespell("-", input="rec" + "ieve\n").stdout)


if __name__ == "__main__":
    unittest.main()

# SPDX-License-Identifier: BSD-3-Clause
"""The whole state space of a model, by Spin."""
import pathlib
import re
import shutil
import subprocess
import tempfile

FOLDER = pathlib.Path(__file__).resolve().parent
HAVE_SPIN = bool(shutil.which("spin"))


def explore(test, model, *defines, optimize="-O1"):
    """(errors, states); `model`: a file of this folder. A small one is compiled sooner than searched: optimize="-O0"."""
    with tempfile.TemporaryDirectory(prefix="vnicd-spin-") as directory:
        def run(*args):
            return subprocess.run(args, cwd=directory, check=True, text=True, capture_output=True).stdout
        run("spin", *defines, "-a", str(FOLDER / model))
        run("gcc", optimize, "-w", "-DSAFETY", "-o", "pan", "pan.c")
        out = run("./pan", "-m1000000")
    test.assertNotIn("max search depth too small", out)
    test.assertRegex(out, r"invalid end states\s+\+", "the search looked for those who wait for ever")
    return int(re.search(r"errors: (\d+)", out)[1]), int(re.search(r"(\d+) states, stored", out)[1])

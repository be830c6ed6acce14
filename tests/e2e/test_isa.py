# SPDX-License-Identifier: BSD-3-Clause
"""CPUs with fewer extensions than this one: nothing that was compiled for others is in the way there.

Statically: each object file is taken apart, and the assembler, told what a CPU of its ISA variant has (isa.def, which
the program's own check is made of), accepts all of it. And by running vnicd, and unit tests of what has variants, on
CPUs that qemu-user plays. It knows AVX2, no AVX-512.
"""
import json
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

BUILD = pathlib.Path(vnictest.VNICD).resolve().parents[1]
# What Debian's libdpdk is compiled for, and with it all of ours that is no variant (pkg-config --cflags libdpdk).
BASELINE = "corei7"
# The oldest CPU of that kind, and the first with AVX2, BMI and FMA; and which ISA variant runs there.
CPUS = {"Nehalem": "portable", "Haswell": "avx2"}
# What older CPUs take for something that does as well: BSF, which is what the compiler meant; NOP; NOP.
HARMLESS = {"tzcnt", "endbr64", "prefetchw"}
# Targets of jumps are elsewhere, and what fills gaps is not always spelt as the assembler would have it.
SKIPPED = re.compile(r"\(bad\)|j\w+|call\w*|nop\w*|data16|cs|loop\w*|xbegin|notrack|bnd|repz?|repnz|lock")
EMULATED_CASE_S = 120


def isa_variants():
    """{name of the variant: all the extensions that it asks the CPU for}, from the table as the program has it."""
    variants, words = {}, []
    for line in (BUILD / "lib/base/isa.def").read_text().splitlines():
        m = re.match(r"ISA_(VARIANT|EXTENSION)\(\w+, (\w+)", line)
        if m and m[1] == "VARIANT":
            variants[m[2]] = words = list(words)
        elif m:
            words.append(m[2])
    return variants


def instructions(objects):
    """{instruction as the assembler takes it: an object file that has it}"""
    listing = subprocess.run(["objdump", "-d", "--no-show-raw-insn", *map(str, objects)], capture_output=True, text=True,
                             check=True).stdout
    found, name = {}, ""
    for line in listing.splitlines():
        if "file format" in line:
            name = line.split(":")[0]
        m = re.match(r"\s+[0-9a-f]+:\t(.*)", line)
        if not m:
            continue
        text = re.sub(r"\s*(#|<).*", "", m[1]).strip()
        words = text.split()
        if words and not SKIPPED.fullmatch(words[0]) and words[0] not in HARMLESS:
            found.setdefault(text, name)
    return found


def refused(found, march):
    """Those of the instructions that a CPU does not have: [(instruction, object file, the assembler's words)]"""
    texts = list(found)
    done = subprocess.run(["as", f"-march={march}", "-o", os.devnull, "-"], input="\n".join(texts) + "\n",
                          capture_output=True, text=True, check=False)
    return [(texts[int(number) - 1], found[texts[int(number) - 1]], why)
            for number, why in re.findall(r"\{standard input\}:(\d+): Error: (.*)", done.stderr)]


class Objects(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        commands = {c["output"]: c["command"] for c in json.loads((BUILD / "compile_commands.json").read_text())}
        if any("-march=native" in command for command in commands.values()):
            raise unittest.SkipTest("this build is for this machine alone: -march=native")
        # A room's code for a variant is a library of its own; portable is all the rest.
        name = "|".join(map(re.escape, isa_variants()))
        cls.objects = {BUILD / output: re.search(rf"libvnicd_\w+?_({name})\.a\.p/", output) for output in commands
                       if re.match(r"(lib|drivers|app)/", output)}

    def of(self, variant):
        return [path for path, m in self.objects.items() if (m[1] if m else "portable") == variant]

    def accepted(self, variant, march):
        objects = self.of(variant)
        self.assertTrue(objects, f"no object files of {variant}")
        found = instructions(objects)
        self.assertGreater(len(found), 100)
        wrong = refused(found, march)
        self.assertEqual(wrong[:5], [], f"{len(wrong)} kinds of instructions that {march} does not have")
        return found

    def test_portable(self):
        self.accepted("portable", BASELINE)

    def test_variants(self):
        variants = isa_variants()
        self.assertTrue(variants)
        for variant, words in variants.items():
            with self.subTest(variant):
                found = self.accepted(variant, "+".join([BASELINE, *words]))
                # It is one, so with less than its own extensions it would not do: the assembler does look.
                self.assertTrue(refused(found, BASELINE))


class Limit(unittest.TestCase):
    def isa(self, *eal):
        cpu = vnictest.cpus()[0]
        vnicd = vnictest.Vnicd({"vm0": "vhost-user"}, "switch", eal=[
            "--lcores", f"0@{cpu},1@{cpu}", "--no-pci", "--no-huge", "-m", "256", "--no-shconf", "--no-telemetry",
            "--file-prefix", "vnictest", *eal])
        self.addCleanup(vnicd.stop)
        return vnicd.rpc("system.info")["isa"]

    def test_eal_option(self):
        """A width that is EAL's own choice says nothing, a forced one does."""
        widest = self.isa()
        self.assertEqual(self.isa("--force-max-simd-bitwidth=512"), widest)
        self.assertEqual(self.isa("--force-max-simd-bitwidth=256"), "portable" if widest == "portable" else "avx2")
        self.assertEqual(self.isa("--force-max-simd-bitwidth=128"), "portable")


def qemu_user():
    program = shutil.which("qemu-x86_64")
    if not program:
        raise unittest.SkipTest("no qemu-x86_64 (Debian package qemu-user)")
    return program


class Emulated(unittest.TestCase):
    def unit(self, cpu, program, limit_s=EMULATED_CASE_S):
        done = subprocess.run([qemu_user(), "-cpu", cpu, str(BUILD / "tests/unit" / program)], capture_output=True,
                              text=True, timeout=limit_s, check=False)
        self.assertEqual(done.returncode, 0, (done.stdout + done.stderr)[-2000:])
        self.assertIn("[  PASSED  ]", done.stdout + done.stderr)
        return done.stdout + done.stderr

    def test_selection(self):
        for cpu, isa in CPUS.items():
            with self.subTest(cpu):
                self.assertIn(f"this CPU: {isa}\n", self.unit(cpu, "test_isa"))

    def test_filter(self):
        for cpu in CPUS:
            with self.subTest(cpu):
                self.unit(cpu, "test_filter")

    @pytest.mark.long
    def test_variants(self):
        """Burst bodies, flows and hashes."""
        for program in ("test_direct", "test_steer"):
            with self.subTest(program):
                self.unit("Haswell", program)

    def test_vnicd(self):
        """All of it: both layouts, RSS, the receive filter and hash reports, frame by frame."""
        nullguest = BUILD / "tests/perf/nullguest"
        for cpu in CPUS:
            # Both null guests say the same address.
            vnicd = vnictest.Vnicd({"vm0": "vhost-user", "vm1": "vhost-user"}, "switch,loop-moves=0",
                                   wrapper=[qemu_user(), "-cpu", cpu])
            self.addCleanup(vnicd.stop)
            for args in (["--layout", "split", "--rss", "--frames", "udp"],
                         ["--layout", "packed", "--rss", "--hash-report", "--frames", "udp"],
                         ["--layout", "packed", "--filter", "--frames", "vlan"]):
                with self.subTest(f"{cpu} {' '.join(args)}"):
                    done = subprocess.run([str(nullguest), "--socket", vnicd.sock("vm0"), "--socket",
                                           vnicd.sock("vm1"), "--cpu", str(vnictest.cpus()[-1]), "--json",
                                           "--pages", "small", "--duration", "0.2", "--warmup", "0.1", *args],
                                          capture_output=True, text=True, timeout=60, check=False)
                    self.assertEqual(done.returncode, 0, done.stderr + vnicd.output[-2000:])
                    report = json.loads(done.stdout)
                    for name, flow in report["whole_run"].items():
                        self.assertGreater(flow["delivered"], 0, name)
                        self.assertEqual((flow["duplicated"], flow["reordered"], flow["foreign"], flow["unhashed"]),
                                         (0, 0, 0, 0), name)
            self.assertEqual(vnicd.stop(), 0, vnicd.output[-2000:])


if __name__ == "__main__":
    unittest.main(verbosity=2)

#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""No hot loop takes more instructions for a frame than are on record (instructions.py), by more than 2 %.

A count is the same on any machine, quiet or not. A rise that is worth it goes on record in the same commit, with the
reason. An ISA variant that this CPU lacks is not run, and says so.
"""
import pathlib
import subprocess
import sys
import unittest
import warnings

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lib")]
import instructions  # noqa: E402
import vnictest  # noqa: E402


class HotLoops(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.facts = instructions.facts()  # a program that is not there is a failure
        try:
            cls.facts.require_release()
            cls.record = instructions.Record.of(cls.facts)
        except instructions.NotCounted as why:
            raise unittest.SkipTest(str(why)) from why
        cls.counted = instructions.start([isa for isa, runs in cls.facts.isas.items() if runs])

    def compare(self, isa):
        if not self.facts.isas.get(isa):
            self.skipTest(f"not run: this CPU, or this build, has no {isa}")
        compared = instructions.Comparison(self.record.counts.get(isa, {}), self.counted[isa].result())
        for line in compared.moved:
            print(f"{isa} {line}")
        unrecorded = compared.unknown + compared.gone
        self.assertFalse(unrecorded, f"{isa}: the record has other loops, such as {unrecorded[:1]}: {instructions.COMMAND}")
        if compared.better:
            warnings.warn(f"{isa}: {len(compared.better)} loops take less than on record, such as {compared.better[-1]}; please "
                          f"renew it: {instructions.COMMAND}")
        self.assertFalse(compared.worse, f"{isa} {compared.worse[0] if compared.worse else ''}"
                         + (f"; and {len(compared.worse) - 1} more" if compared.worse[1:] else ""))

    def test_every_variant_is_on_record(self):
        self.assertEqual(set(self.facts.isas), set(self.record.counts), instructions.COMMAND)

    def test_counts_are_exact(self):
        loop = "from_guest/64/split"
        again = [instructions.start(["portable"], loop)["portable"].result()[loop] for _ in range(3)]
        self.assertEqual(set(again), {self.counted["portable"].result()[loop]})


def _add_variants():
    """A case for each variant that any record knows."""
    isas = {isa: None for path in sorted(instructions.RECORDS.glob("*.txt"))
            for isa in instructions.Record.parse(path.read_text()).counts}
    for isa in isas:
        setattr(HotLoops, f"test_{isa}", lambda self, isa=isa: self.compare(isa))


_add_variants()


class Usage(unittest.TestCase):
    def test_unknown_option(self):
        for name in ("instructions", "bench_control"):
            with self.subTest(name):
                program = pathlib.Path(vnictest.VNICD).resolve().parents[1] / "tests/perf" / name
                done = subprocess.run([program, "--nonsense"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                      stderr=subprocess.PIPE, text=True, timeout=20, check=False)
                self.assertEqual(done.returncode, 1)
                self.assertIn(f"\n{name}: usage: {name} ", done.stderr)


class Records(unittest.TestCase):
    COUNTS = {"portable": {"a": (100.0, 1.0), "b": (50.0, 0.0)}, "avx512": {"a": (80.0, 1.0)}}

    def compare(self, a):
        return instructions.Comparison({"a": (100.0, 1.0)}, {"a": a})

    def test_text_and_back(self):
        text = instructions.Record("22.11", self.COUNTS).text()
        record = instructions.Record.parse(text)
        self.assertEqual((record.dpdk, record.counts), ("22.11", self.COUNTS))
        self.assertEqual(record.text(), text)

    def test_two_percent(self):
        self.assertEqual(self.compare((102.0, 1.0)).worse, [])
        self.assertEqual(self.compare((102.1, 1.0)).worse,
                         ["a: instructions a frame: 100.00 on record, 102.10 now (+2.1 %)"])
        self.assertEqual(self.compare((100.0, 1.1)).worse,
                         ["a: calls of the C library a frame: 1.00 on record, 1.10 now (+10.0 %)"])

    def test_better_is_not_worse(self):
        compared = self.compare((90.0, 1.0))
        self.assertEqual((compared.worse, len(compared.better)), ([], 1))

    def test_what_was_nothing(self):
        compared = instructions.Comparison({"a": (10.0, 0.0)}, {"a": (10.0, 0.03)})
        self.assertEqual(compared.worse, ["a: calls of the C library a frame: 0.00 on record, 0.03 now"])

    def test_worst_first(self):
        compared = instructions.Comparison({"a": (100.0, 0.0), "b": (10.0, 0.0)}, {"a": (110.0, 0.0), "b": (12.0, 0.0)})
        self.assertEqual([line[0] for line in compared.worse], ["b", "a"])

    def test_loops_come_and_go(self):
        compared = instructions.Comparison({"a": (1.0, 0.0)}, {"b": (1.0, 0.0)})
        self.assertEqual((compared.unknown, compared.gone), (["b"], ["a"]))


if __name__ == "__main__":
    unittest.main()

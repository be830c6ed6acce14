#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""How many instructions each hot loop takes for a frame, beside those on record.

    tests/perf/instructions.py                    count and compare; what has changed is shown
    tests/perf/instructions.py --loop switch/     loops with that in their name
    tests/perf/instructions.py --update           make what is counted the record, tests/perf/instructions/COMPILER.txt

For each ISA variant that this CPU has. README.md says what is counted and how to read it.
"""
import argparse
import concurrent.futures
import os
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from bench import machine  # noqa: E402

RECORDS = pathlib.Path(__file__).resolve().parent / "instructions"
WORSE = 1.02  # times what is on record: that fails
ROUNDING = 0.006
TIMEOUT_S = 120
RELEASE = "optimization=3,sanitize=none"
COMMAND = "tests/perf/instructions.py --update"
HEAD = """\
# What each hot loop takes for a frame, by ISA variant: instructions, and calls of the C library.
# See README.md, "Instructions"; renewed by tests/perf/instructions.py --update.
"""


class NotCounted(Exception):
    """Why there is nothing to count or to compare with."""


class Facts:
    """What the program says of itself."""

    def __init__(self, text):
        lines = [line.split() for line in text.splitlines()]
        said = {line[0]: line[1] for line in lines if len(line) == 2}
        self.compiler, self.dpdk, self.build = said["compiler"], said["dpdk"], said["build"]
        self.isas = {line[1]: line[2] == "runs" for line in lines if line[0] == "isa"}

    def require_release(self):
        if self.build != RELEASE:
            raise NotCounted(f"instructions are those of a release build ({RELEASE}), and this one has {self.build}")


class Record:
    """{isa: {loop: (instructions, calls)}} of a compiler; the loops in the order of the program."""

    def __init__(self, dpdk, counts):
        self.dpdk, self.counts = dpdk, counts

    @staticmethod
    def path(compiler):
        return RECORDS / f"{compiler}.txt"

    @classmethod
    def of(cls, facts):
        path = cls.path(facts.compiler)
        if not path.exists():
            raise NotCounted(f"nothing is on record for {facts.compiler}: {COMMAND}")
        record = cls.parse(path.read_text())
        if record.dpdk != facts.dpdk:
            raise NotCounted(f"{path.name} is of DPDK {record.dpdk}, whose code is in ours, and this is {facts.dpdk}")
        return record

    @classmethod
    def parse(cls, text):
        dpdk, isas, counts = None, [], {}
        for line in text.splitlines():
            words = line.split()
            if not words or words[0] == "#":
                continue
            if words[0] == "dpdk":
                dpdk = words[1]
            elif words[0] == "loop":
                isas = words[1::2]
                counts = {isa: {} for isa in isas}
            else:
                for isa, instructions, calls in zip(isas, words[1::2], words[2::2]):
                    if instructions != "-":
                        counts[isa][words[0]] = (float(instructions), float(calls))
        return cls(dpdk, counts)

    def text(self):
        loops = list(dict.fromkeys(loop for count in self.counts.values() for loop in count))
        width = max(map(len, loops))
        lines = [f"dpdk {self.dpdk}", "loop".ljust(width) + "".join(f"{isa:>13}  calls" for isa in self.counts)]
        for loop in loops:
            cells = (count.get(loop) for count in self.counts.values())
            lines.append(loop.ljust(width) + "".join(
                f"{cell[0]:13.2f} {cell[1]:6.2f}" if cell else f"{'-':>13} {'-':>6}" for cell in cells))
        return HEAD + "\n".join(lines) + "\n"


class Comparison:
    """Lines about what is worse, better, and not on record, the worst first."""

    def __init__(self, recorded, counted):
        changes = []
        for loop, now in counted.items():
            for before, value, what in zip(recorded.get(loop, ()), now, ("instructions", "calls of the C library")):
                changes.append((value - before, value / before if before else float("inf"), f"{loop}: {what} a frame: {before:.2f} on record, {value:.2f} now"
                                + (f" ({100 * (value / before - 1):+.1f} %)" if before else "")))
        changes.sort(key=lambda change: -change[1] if change[0] > ROUNDING else 0)
        self.worse = [line for more, ratio, line in changes if more > ROUNDING and ratio > WORSE]
        self.better = [line for more, ratio, line in changes if more < -ROUNDING and ratio < 1 / WORSE]
        self.moved = [line for more, ratio, line in changes if abs(more) > ROUNDING]
        self.unknown = [loop for loop in counted if loop not in recorded]
        self.gone = [loop for loop in recorded if loop not in counted]


def facts():
    done = subprocess.run([machine.program_path("instructions"), "--facts"], capture_output=True, text=True,
                          timeout=TIMEOUT_S, check=True)
    return Facts(done.stdout)


def count(isa, cpu, loop=None):
    """{loop: (instructions, calls)}"""
    command = [machine.program_path("instructions"), "--isa", isa, "--cpu", str(cpu), *(["--loop", loop] if loop else [])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit status {done.returncode}: {done.stderr.strip()}")
    return {name: (float(instructions), float(calls))
            for name, instructions, calls in (line.split() for line in done.stdout.splitlines())}


def start(isas, loop=None):
    """{isa: future of count()}, as many at a time as there are CPUs."""
    cpus = sorted(os.sched_getaffinity(0))
    pool = concurrent.futures.ThreadPoolExecutor(len(cpus))
    futures = {isa: pool.submit(count, isa, cpus[i % len(cpus)], loop) for i, isa in enumerate(isas)}
    pool.shutdown(wait=False)
    return futures


def update(said, counted):
    """What is counted goes on record; the variants that this CPU lacks keep what they have."""
    path = Record.path(said.compiler)
    old = Record.parse(path.read_text()).counts if path.exists() else {}
    loops = next(iter(counted.values()))
    counts = {}
    for isa in said.isas:
        known = counted.get(isa) or old.get(isa, {})
        counts[isa] = {loop: known[loop] for loop in loops if loop in known}
    path.parent.mkdir(exist_ok=True)
    path.write_text(Record(said.dpdk, counts).text())
    print(path)
    for isa in said.isas:
        if isa not in counted:
            print(f"{isa}: not run, this CPU does not have it: its figures stay as they were")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--update", action="store_true", help="make what is counted the record")
    parser.add_argument("--loop", metavar="PART", help="only loops with that in their name")
    args = parser.parse_args()
    if args.update and args.loop:
        parser.error("a record is of all loops")
    try:
        said = facts()
        said.require_release()
        counted = {isa: future.result() for isa, future in start([i for i, runs in said.isas.items() if runs], args.loop).items()}
        if args.update:
            update(said, counted)
            return
        record = Record.of(said)
    except (NotCounted, machine.NotPossible) as why:
        sys.exit(f"instructions.py: {why}")
    for isa, runs in said.isas.items():
        if not runs:
            print(f"{isa}: not run: this CPU does not have it")
            continue
        compared = Comparison(record.counts.get(isa, {}), counted[isa])
        for line in compared.moved + [f"{loop}: not on record" for loop in compared.unknown]:
            print(f"{isa} {line}")
        print(f"{isa}: {len(counted[isa])} loops, {len(compared.worse)} worse, {len(compared.better)} better, "
              f"{len(compared.unknown)} not on record")


if __name__ == "__main__":
    main()

#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""docs/conformance.md and the names of tests agree: ids in names have rows, and rows name tests that there are."""
import collections
import pathlib
import re
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/conformance.md"
COLUMNS = ["id", "level", "what", "where", "tested"]
# In lower case with two digits at least: test_v6_frames is about IPv6.
ID = r"(?:[BCRVNX]\d+|[bcrvnx]\d\d+)_"
IDS = re.compile(f"test_((?:{ID})+)")
DEFINITION = {".py": re.compile(r"^\s*def (test_\w+)\(", re.M),
              ".c": re.compile(r"^(?:[a-z]\w*[ *]+)*(test_\w+)\(.*\)$", re.M)}
REASONS = ("not offered", "not ours", "not tested")
TEST = re.compile(r"`([^`]*)::([^`]*)`")


def names_in(text, suffix):
    """What a file defines that is named as a test is."""
    return set(DEFINITION[suffix].findall(text))


def ids_in(name):
    """test_C54_c155_mtu: C54 and C155."""
    found = IDS.match(name)
    return [word.upper() for word in found[1].split("_") if word] if found else []


def rows_of(page):
    """The cells of each row of the tables that have our columns."""
    rows, inside = [], False
    for line in page.splitlines():
        if not line.startswith("|"):
            inside = False
            continue
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if cells == COLUMNS:
            inside = True
        elif inside and not set(line) <= set("|- "):
            rows.append(cells)
    return rows


def faults_of_row(cells, names, defined):
    """names: {id: names of tests that have it}; defined: {path: names of tests in that file}."""
    if len(cells) != len(COLUMNS):
        return [f"{cells[0]}: {len(cells)} cells, not {len(COLUMNS)}"]
    row, tested = cells[0], cells[-1]
    faults = [f"{row}: no {column}" for column, cell in zip(COLUMNS, cells) if not cell]
    if not re.fullmatch(r"[BCRVNX]\d+", row):
        faults.append(f"{row}: not an id")
    form, _, reason = (part.strip() for part in tested.partition(":"))
    if form in REASONS:
        if not reason:
            faults.append(f"{row}: {form}, but why?")
    elif tested == "named":
        if row not in names:
            faults.append(f"{row}: named, but no test has it in its name")
    elif re.fullmatch(rf"{TEST.pattern}(?:, {TEST.pattern})*", tested):
        faults += [f"{row}: {path} is no file of tests" if path not in defined else f"{row}: no {name} in {path}"
                   for path, name in TEST.findall(tested) if name not in defined.get(path, ())]
    elif tested:
        faults.append(f"{row}: {tested!r} is neither named, nor tests, nor any of {', '.join(REASONS)}")
    if row in names and tested != "named":
        faults.append(f"{row}: named, for there is {min(names[row])}")
    return faults


def faults_of(page, names, defined):
    rows = rows_of(page)
    ids = collections.Counter(cells[0] for cells in rows)
    faults = [f"{row}: {n} rows" for row, n in ids.items() if n > 1]
    faults += [f"{row}: no row, but {min(names[row])}" for row in names if row not in ids]
    for letter in sorted({row[:1] for row in ids}):
        numbers = {int(row[1:]) for row in ids if row[:1] == letter and row[1:].isdigit()}
        missing = set(range(1, max(numbers, default=0))) - numbers
        faults += [f"{letter}{n}: no row, but one after it" for n in sorted(missing)]
    for cells in rows:
        faults += faults_of_row(cells, names, defined)
    return faults


def tree():
    """names and defined, of all that is below tests/."""
    names, defined = collections.defaultdict(set), {}
    for path in sorted((ROOT / "tests").rglob("*")):
        if path.suffix not in DEFINITION:
            continue
        defined[str(path.relative_to(ROOT))] = names_in(path.read_text(), path.suffix)
        for name in defined[str(path.relative_to(ROOT))]:
            for row in ids_in(name):
                names[row].add(name)
    return names, defined


class Conformance(unittest.TestCase):
    def test_page_and_tests_agree(self):
        names, defined = tree()
        self.assertGreater(len(rows_of(PAGE.read_text())), 200, "the tables are not found")
        self.assertGreater(len(names), 90, "names of tests are not found")
        self.assertEqual(faults_of(PAGE.read_text(), names, defined), [], f"in {PAGE.relative_to(ROOT)}")


class Checker(unittest.TestCase):
    """It can fail."""

    NAMES = {"C1": {"test_C1_as_it_should_be"}, "C2": {"test_C2_here"}}
    DEFINED = {"tests/unit/test_it.c": {"test_C1_as_it_should_be", "test_C2_here", "test_other"}}
    TABLE = "words\n\n| id | level | what | where | tested |\n|---|---|---|---|---|\n"

    def faults(self, *rows, names=None):
        page = self.TABLE + "".join(f"| {row} |\n" for row in rows)
        return faults_of(page, self.NAMES if names is None else names, self.DEFINED)

    def test_nothing_wrong(self):
        good = ("C1 | M | what | where | named", "C2 | S | what | where | named",
                "C3 | d | what | where | `tests/unit/test_it.c::test_other`, `tests/unit/test_it.c::test_C2_here`",
                "C4 | M | what | where | not offered: VIRTIO_F_IT", "C5 | M | what | where | not ours: the VMM's",
                "C6 | M | what | where | not tested: it is too hard")
        self.assertEqual(self.faults(*good), [])
        self.assertEqual([cells[0] for cells in rows_of(self.TABLE + "| a | b | c | d | e |\n\n| C9 | no | table |\n")], ["a"])

    def test_each_fault_is_found(self):
        for row, fault in (
                ("C1 | M | what | where | named |\n| C1 | M | what | where | named", "C1: 2 rows"),
                ("C1 | M | what | where | not tested: lazy", "C1: named, for there is test_C1_as_it_should_be"),
                ("C3 | M | what | where | named", "C3: named, but no test has it in its name"),
                ("C3 | M | what | where | `tests/unit/test_no.c::test_other`",
                 "C3: tests/unit/test_no.c is no file of tests"),
                ("C3 | M | what | where | `tests/unit/test_it.c::test_gone`", "C3: no test_gone in tests/unit/test_it.c"),
                ("C3 | M | what | where | `tests/unit/test_it.c::test_other`, `tests/unit/test_it.c::test_gone`",
                 "C3: no test_gone in tests/unit/test_it.c"),
                ("C3 | M | what | where | not tested:", "C3: not tested, but why?"),
                ("C3 | M | what | where | not offered", "C3: not offered, but why?"),
                ("C3 | M | what | where | not ours: ", "C3: not ours, but why?"),
                ("C3 | M | what | where | later", "C3: 'later' is neither named, nor tests, nor any of not offered, not "
                                                  "ours, not tested"),
                ("C3 | M | what | where | ", "C3: no tested"),
                ("C3 | M |  | where | not tested: lazy", "C3: no what"),
                ("C3 | M | what | named", "C3: 4 cells, not 5"),
                ("see C3 | M | what | where | not tested: lazy", "see C3: not an id"),
                ("C4 | M | what | where | not tested: lazy", "C3: no row, but one after it")):
            with self.subTest(row):
                self.assertIn(fault, self.faults(row, "C2 | M | what | where | named"))
        self.assertIn("C2: no row, but test_C2_here", self.faults("C1 | M | what | where | named"))

    def test_names(self):
        self.assertEqual(names_in("static void\ntest_C1_it(void **state)\n{\n\ttest_call(1);\n}\nvoid test_later(int);\n"
                                  "int test_one_line(int a)\n{\n", ".c"), {"test_C1_it", "test_one_line"})
        self.assertEqual(names_in("class A:\n    def test_C2_it(self):\n        self.test_other()\n\ndef test_plain():\n"
                                  "x = 1  # def test_comment()\n", ".py"), {"test_C2_it", "test_plain"})
        self.assertEqual(ids_in("test_C54_C55_mtu"), ["C54", "C55"])
        self.assertEqual(ids_in("test_c101_n02_frames"), ["C101", "N02"])
        for name in ("test_plain", "test_v6_frames", "test_C", "test_C54", "test_nothing_C54_here"):
            self.assertEqual(ids_in(name), [], name)


if __name__ == "__main__":
    unittest.main()

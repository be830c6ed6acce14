#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""What includes what: headers that need nothing before them, rooms that keep to the map, and no circles.

The list below the picture in docs/architecture.md says which rooms a room may include; what those may is open to it too.
"""
import collections
import concurrent.futures
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
import vnictest  # noqa: E402

ROOT = vnictest.ROOT
MAP = ROOT / "docs/architecture.md"
TREES = ("lib", "drivers", "app", "tests")
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.M)

# Files that lead to each other, .c and .h as one: an object and its parts, whose header the object's own header includes and
# whose .c works on the object. All in one room; there is no circle of headers. None is to be added without such a reason.
KNOWN_CIRCLES = [
    {"lib/gmem/gmem", "lib/gmem/gmem_map", "lib/gmem/gmem_sigbus"},
    {"lib/vdev/vdev", "lib/vdev/vdev_conf", "lib/vdev/vdev_watch"},
    {"lib/port/port", "lib/port/port_config"},
    {"lib/vnet/filter", "lib/vnet/filter_table"},
    {"lib/vnet/control/announce", "lib/vnet/control/controlq", "lib/vnet/control/notice", "lib/vnet/control/reconcile",
     "lib/vnet/control/settings", "lib/vnet/control/state", "lib/vnet/control/vnet_dev"},
    {"drivers/transport/vhost_user/messages", "drivers/transport/vhost_user/session"},
]


def circles(edges):
    """Sets of nodes of which each can be reached from each (Tarjan), those of one node left out."""
    index, low, stack, found = {}, {}, [], []

    def visit(node):
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(edges.get(node, ())):
            if other not in index:
                visit(other)
            if other in stack:
                low[node] = min(low[node], low[other])
        if low[node] == index[node]:
            at = stack.index(node)
            found.append(set(stack[at:]))
            del stack[at:]

    for node in sorted(edges):
        if node not in index:
            visit(node)
    return [circle for circle in found if len(circle) > 1]


class Tree:
    """The sources, and what each includes of ours. Paths are relative to the root."""

    def __init__(self):
        files = [path.relative_to(ROOT) for tree in TREES for path in sorted((ROOT / tree).rglob("*.[ch]"))]
        self.headers = [path for path in files if path.suffix == ".h"]
        by_name = collections.defaultdict(list)
        for path in self.headers:
            by_name[path.name].append(path)
        self.includes = {}
        for path in files:
            names = [pathlib.PurePath(name).name for name in INCLUDE.findall((ROOT / path).read_text())]
            self.includes[path] = {self.nearest(path, by_name[name]) for name in names if by_name[name]}

    @staticmethod
    def nearest(path, candidates):
        """Of headers of the same name the one in the same folder; else a room's, never a test's."""
        here = [candidate for candidate in candidates if candidate.parent == path.parent]
        return (here or [c for c in candidates if c.parts[0] != "tests"] or candidates)[0]

    @staticmethod
    def comes_first(header):
        own = (ROOT / header).with_suffix(".c")
        first = re.search(r"^\s*#\s*include\s+(.*)", own.read_text(), re.M) if own.exists() else None
        return bool(first) and first[1] == f'"{header.name}"'

    @staticmethod
    def unit(path):
        return str(path.with_suffix(""))

    def header_edges(self):
        return {str(path): {str(other) for other in self.includes[path]} for path in self.headers}

    def unit_edges(self):
        edges = collections.defaultdict(set)
        for path, others in self.includes.items():
            edges[self.unit(path)] |= {self.unit(other) for other in others} - {self.unit(path)}
        return edges


def arrows():
    """{room: all rooms that it may include} by the list in the map."""
    direct = {}
    for room, others in re.findall(r"^\| `((?:lib|drivers|app)[^`]*)` \|(.*)\|$", MAP.read_text(), re.M):
        direct[room] = re.findall(r"`([^`]+)`", others)

    def below(room):
        return {room}.union(*(below(other) for other in direct[room]))

    return {room: below(room) for room in direct}


def flags():
    """{folder: the longest list of what the compiler is told about headers there}, by the build under test."""
    build = pathlib.Path(vnictest.VNICD).resolve().parents[1]
    longest = {}
    for entry in json.loads((build / "compile_commands.json").read_text()):
        words, kept = shlex.split(entry["command"]), []
        while words:
            word = words.pop(0)
            if word in ("-include", "-isystem", "-I"):
                kept += [word, words.pop(0)]
            elif word.startswith(("-I", "-D", "-isystem", "-std=", "-m")):
                kept.append(word)
        folder = pathlib.Path(os.path.relpath(os.path.normpath(os.path.join(entry["directory"], entry["file"])), ROOT)).parent
        if len(kept) > len(longest.get(folder, ())):
            longest[folder] = kept
    return build, longest


class Includes(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.tree = Tree()

    def test_headers_need_nothing_before_them(self):
        """Those that are not the first in their own .c, which the build has shown."""
        build, by_folder = flags()
        headers = [header for header in self.tree.headers if not self.tree.comes_first(header)]

        def compile_alone(header):
            command = ["cc", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-Wno-unused", "-Wno-unused-parameter", "-Wno-psabi", *by_folder[header.parent],
                       "-x", "c", str(ROOT / header)]
            return subprocess.run(command, cwd=build, capture_output=True, text=True, timeout=120, check=False).stderr

        with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            wrong = [text for text in pool.map(compile_alone, headers) if text]
        for text in wrong:
            print(text)
        if wrong:
            self.fail(next(line for line in wrong[0].splitlines() if "error:" in line).replace(f"{ROOT}/", ""))

    def test_rooms_keep_to_the_map(self):
        allowed = arrows()
        rooms = {str(path.parent) for path in self.tree.includes if path.parts[0] != "tests"}
        self.assertEqual(set(allowed), rooms, f"the list of rooms in {MAP.relative_to(ROOT)}")
        wrong = [f"{path} includes {other}" for path, others in self.tree.includes.items() for other in others
                 if str(path.parent) in allowed and str(other.parent) not in allowed[str(path.parent)]]
        self.assertEqual(wrong, [])

    def test_no_circles_of_headers(self):
        self.assertEqual(circles(self.tree.header_edges()), [])

    def test_no_circles_of_files(self):
        found = circles(self.tree.unit_edges())
        for circle in found:
            for unit in sorted(circle):
                print(unit, "->", *sorted(self.tree.unit_edges()[unit] & circle))
        new = [sorted(circle) for circle in found if not any(circle <= known for known in KNOWN_CIRCLES)]
        self.assertEqual(new, [], "these lead to each other")
        gone = [sorted(known) for known in KNOWN_CIRCLES if not any(circle <= known for circle in found)]
        self.assertEqual(gone, [], "broken up: take it out of KNOWN_CIRCLES")


class Circles(unittest.TestCase):
    def test_found(self):
        self.assertEqual(circles({"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set()}), [{"b", "c"}])

    def test_none(self):
        self.assertEqual(circles({"a": {"b", "c"}, "b": {"c"}}), [])

    def test_two(self):
        found = circles({"a": {"b"}, "b": {"a", "c"}, "c": {"d"}, "d": {"c"}})
        self.assertEqual(sorted(map(sorted, found)), [["a", "b"], ["c", "d"]])


if __name__ == "__main__":
    unittest.main()

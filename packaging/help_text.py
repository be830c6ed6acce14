# SPDX-License-Identifier: BSD-3-Clause
"""`vnicd --help`, taken apart. It is made from the tables that read options and keys, so what is made from it (manual
pages, completion) can't differ from what the program takes."""
import dataclasses
import re


@dataclasses.dataclass
class Row:
    name: str  # of an option, with its dashes; of a key
    form: str  # of its value; "": takes none
    help: str


@dataclasses.dataclass
class Kind:
    """Of ports, or a forwarding mode."""
    name: str
    help: str
    keys: list = dataclasses.field(default_factory=list)
    port_keys: list = dataclasses.field(default_factory=list)  # that a mode gives to its ports


class Help:
    """title, usage, options, kinds (the first is "any"), modes, mirror_keys; paragraphs, each a list of lines;
    examples: (what, [lines of a command])."""

    def __init__(self, text):
        self.options, self.kinds, self.modes, self.mirror_keys, self.paragraphs, self.examples = [], [], [], [], [], []
        blocks = text.rstrip("\n").split("\n\n")
        self.title = blocks[0]
        for block in blocks[1:]:
            head, *lines = block.split("\n")
            if head.startswith("usage: "):
                self.usage = head.removeprefix("usage: ")
            elif head == "options:":
                self.options = [self._option(line) for line in lines]
            elif head == "kinds of ports, and their keys:":
                self.kinds = self._kinds(lines)
            elif head == "forwarding modes:":
                self.modes = self._kinds(lines)
            elif head == "mirrors:":
                self.mirror_keys = [self._key(line) for line in lines]
            elif head == "examples:":
                self._examples(lines)
            else:
                self.paragraphs.append([head, *lines])

    @staticmethod
    def _match(pattern, line):
        m = re.fullmatch(pattern, line)
        if not m:
            raise ValueError(f"vnicd --help: not understood: {line!r}")
        return m

    def _option(self, line):
        m = self._match(r"  (--\S+)(?: (\S+))? +(\S.*)", line)
        return Row(m[1], m[2] or "", m[3])

    def _key(self, line):
        m = self._match(r"      ([^=\s]+)=(\S+) +(\S.*)", line)
        return Row(m[1], m[2], m[3])

    def _kinds(self, lines):
        kinds = []
        for line in lines:
            if line == "    and of its ports:":
                into = kinds[-1].port_keys
            elif line.startswith("      "):
                into.append(self._key(line))
            else:
                m = self._match(r"  (\S+)(?: +(\S.*))?", line)
                kinds.append(Kind(m[1], m[2] or ""))
                into = kinds[-1].keys
        return kinds

    def _examples(self, lines):
        for line in lines:
            if line.startswith("    "):
                self.examples[-1][1].append(line[4:])
            else:
                self.examples.append((line.strip().rstrip(":"), []))

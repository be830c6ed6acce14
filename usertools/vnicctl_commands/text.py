# SPDX-License-Identifier: BSD-3-Clause
"""What people are shown: tables, trees, numbers; and JSON."""
import json
import sys


def print_json(value, file=None):
    print(json.dumps(value), file=file, flush=True)


def table(header, rows, right=()):
    """Columns as wide as they need to be; the ones in `right` are numbers."""
    rows = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in [header] + rows) for i in range(len(header))]
    for row in [header] + rows:
        cells = [cell.rjust(width) if i in right else cell.ljust(width)
                 for i, (cell, width) in enumerate(zip(row, widths))]
        print("  ".join(cells).rstrip())
    sys.stdout.flush()


def short(value):
    """1234567 -> 1.23M"""
    units = iter(" kMGTPE")
    unit = next(units)
    while value >= 999.5:
        value /= 1000
        unit = next(units)
    if unit == " ":
        return f"{value:.0f}"
    return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f}{unit}"


def print_tree(tree, indent=""):
    """Names and values; what is grouped is indented below its name."""
    width = max((len(name) for name, value in tree.items() if not isinstance(value, dict)), default=0)
    for name, value in tree.items():
        if isinstance(value, dict):
            print(f"{indent}{name}")
            print_tree(value, indent + "  ")
            continue
        if isinstance(value, list):
            value = ", ".join(str(v) for v in value)
        elif isinstance(value, bool):
            value = "yes" if value else "no"
        elif value is None:
            value = "-"
        print(f"{indent}{name.ljust(width)}  {value}".rstrip())

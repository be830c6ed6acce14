# SPDX-License-Identifier: BSD-3-Clause
"""What was measured, as text, Markdown and JSON."""
import json
import pathlib

from .machine import KINDS
from .rows import ROWS

FORMAT = 2
KIND_WORDS = {"avx512": "AVX-512", "avx2": "AVX2"}
LIMITED_WORDS = "both sides limited to vectors of 256 bits on a CPU with AVX-512"


def write(path, kind, facts, backends, body):
    """kind: scoreboard, compare, search. Written aside and renamed: an interrupted run leaves the last whole one."""
    text = json.dumps({"vnic_bench": FORMAT, "kind": kind, **facts, "backends": backends, **body}) + "\n"
    path = pathlib.Path(path)
    if path.exists() and not path.is_file():  # /dev/null, /dev/stdout: not to be replaced
        path.write_text(text)
        return
    aside = path.with_name(path.name + ".new")
    aside.write_text(text)
    aside.replace(path)


def read(path):
    """ValueError with a sentence when it is not one of ours."""
    try:
        data = json.loads(pathlib.Path(path).read_text())
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"{path}: not JSON: {error}") from error
    if not isinstance(data, dict) or data.get("vnic_bench") != FORMAT:
        raise ValueError(f"{path}: not written by this vnic-bench")
    return data


def read_boards(paths):
    """{one of machine.KINDS: a file's data, with the rows of all files of that kind in the table's order}: a row of a
    later file replaces the same one of an earlier file."""
    boards = {}
    for path in paths:
        data = read(path)
        if "rows" not in data:
            raise ValueError(f"{path}: a file of vnic-bench {data['kind']}; rows come from scoreboard and compare")
        board = boards.setdefault(data["cpu_kind"], {**data, "rows": {}})
        board["rows"].update(data["rows"])
    order = {name: i for i, name in enumerate(ROWS)}
    for board in boards.values():
        board["rows"] = dict(sorted(board["rows"].items(), key=lambda item: order.get(item[0], len(order))))
    return {kind: boards[kind] for kind in KINDS if kind in boards}


def figures(rows):
    """Each figure of each row: (row's name, row, figure)."""
    return [(name, row, figure) for name, row in rows.items() for figure in row["figures"]]


def label(name, figure):
    return name if figure["figure"] == "throughput" else f"{name} {figure['figure']}"


# --- What is said of a figure ----------------------------------------------------------------------------------------

def ratio_words(estimate):
    return f"{estimate['median']:.2f} [{estimate['low']:.2f}-{estimate['high']:.2f}]"


def rates_words(row, figure):
    ours, theirs = (f"{figure[key]['median']:.{figure['digits']}f}" for key in "ab")
    return f"{ours} : {theirs} {figure['unit']}"


def verdict_words(figure):
    """"met", and what it is that was met."""
    if figure["refused"]:
        return "not measured: " + figure["refused"]
    if figure["bar"] is None:
        return ""
    return f"{figure['verdict']} ({'>=' if figure['better'] == 'higher' else '<='} {figure['bar']:g})"


def settled_words(figure):
    if figure["settled"]:
        return ""
    return f"not settled: +- {100 * figure['ratio']['half_width']:.0f} %"


def guests_words(row):
    """Where guests are the limit, the ratio is no more than a lower bound; what is behind it where that was measured."""
    idle = row["guest_idle_share"]
    if not idle:
        return ""
    text = "guests idle " + " : ".join(f"{100 * idle[key]:.0f} %" for key in "ab" if key in idle)
    if not row["guests_limit"]:
        return text
    cost = row["cost"]
    if not cost or not cost["ratio"]:
        return f"{text}: they are the limit" + ("; no cycles a frame, too much was stolen" if cost else "")
    return (f"{text}: they are the limit; at {cost['mpps']:.1f} Mpps {cost['a']:.0f} : {cost['b']:.0f} cycles a frame, "
            f"{cost['ratio']:.2f}")


def classes_words(figure):
    classes = figure["classes"]
    if len(classes) < 2:
        return ", ".join(classes)
    return "; ".join(f"{class_} {ratio_words(some)} of {some['n']}" for class_, some in classes.items())


def slices_words(row):
    """What became of all slices."""
    text = f"{row['n_pairs']} pairs"
    unused = [f"{n['a']} : {n['b']} ({why})" for why, n in row["dropped"].items()]
    return text + (f"; of {row['n_slices']} slices not used: " + ", ".join(unused) if unused else "")


def remarks(row, figure):
    """Sentences, the first figure of a row has all of them."""
    if figure["refused"]:
        return [slices_words(row)]
    first = figure is row["figures"][0]
    said = [settled_words(figure), classes_words(figure)]
    if first:
        said += [f"both sides limited to {row['simd_bits']} bits" if row["simd_bits"] else "",
                 guests_words(row), slices_words(row),
                 f"{row['instructions']:.0f} instructions a frame" if row.get("instructions") else "",
                 "disturbed: " + ", ".join(row["noise"]) if row["noise"] else ""]
        if len(row["medians"]) > 1:
            said.append("each start: " + ", ".join("-" if m is None else f"{m:.2f}" for m in row["medians"]))
    return [words for words in said if words]


def not_measured_words(row):
    return "not measured: " + row["not_measured"].splitlines()[0]


def table(boards):
    """For a terminal: a line for each figure, and below it what is to be said of it."""
    lines = []
    for kind, board in boards.items():
        if len(boards) > 1 or board.get("simd_limited"):
            lines.append(heading(kind, board))
        rows = board["rows"]
        width = max((len(label(name, figure)) for name, _, figure in figures(rows)), default=0)
        for name, row, figure in figures(rows):
            text = label(name, figure).ljust(width) + "  "
            if figure["refused"]:
                lines.append(text + verdict_words(figure))
            else:
                lines.append(f"{text}{ratio_words(figure['ratio']):20}{verdict_words(figure):16}"
                             f"{rates_words(row, figure):22}{row['sides']['a']} : {row['sides']['b']}".rstrip())
            lines += [f"{'':{width}}      {words}" for words in remarks(row, figure)]
        lines += [f"{name}: {not_measured_words(row)}" for name, row in rows.items() if "not_measured" in row]
    return "\n".join(lines)


def heading(kind, board):
    return KIND_WORDS[kind] + (f" ({LIMITED_WORDS})" if board.get("simd_limited") else "")


def totals(rows):
    """How many of each verdict over all figures."""
    counts = dict.fromkeys(("met", "missed", "open", "not measured", "no bar"), 0)
    for _, _, figure in figures(rows):
        counts[figure["verdict"]] += 1
    counts["not measured"] += sum("not_measured" in row for row in rows.values())
    return counts


def environment(data):
    """The sentences that belong to any figure."""
    cpus = data["cpus"]
    lines = [f"{data['cpu']}" + (", virtual machine" if data.get("hypervisor") else "")
             + (f", TSC {data['tsc_hz'] / 1e9:.2f} GHz" if data.get("tsc_hz") else "")
             + (f"; {LIMITED_WORDS}" if data.get("simd_limited") else ""),
             f"Linux {data['kernel']}; back-end on CPU {cpus['forward']}, guests on CPU {cpus['guest']}; "
             f"{data['hugepage_kib'] // 1024} MiB pages"]
    distances = [row[key] for row in data.get("rows", {}).values() for key in ("nearest_ns", "farthest_ns") if row.get(key)]
    if distances:
        lines.append(f"A cache line takes {min(distances):.0f} to {max(distances):.0f} ns between the two")
    for facts in data["backends"].values():
        options = facts.get("build_options")
        name = facts["spec"] if isinstance(facts["spec"], str) else ", ".join(facts["spec"])
        lines.append(f"{name.partition(':')[0]}: {facts['version']}" + (
            f"; {options['buildtype']}, {options['compiler']}, `{options['flags']}`" if options else ""))
    return lines


def markdown(boards):
    """The table for a page of documentation, with what it was measured on; a column for each kind of CPU."""
    lines = []
    for kind, board in boards.items():
        lines += [f"{heading(kind, board)}, measured {board['time'][:10]} on:", ""]
        lines += [f"* {line}" for line in environment(board)] + [""]
    lines += ["| row | what | " + " | ".join(KIND_WORDS[kind] for kind in boards) + " |", "|---" * (2 + len(boards)) + "|"]
    names = dict.fromkeys((label(name, figure), name, figure["figure"]) for board in boards.values()
                          for name, _, figure in figures(board["rows"]))
    for text, name, which in names:
        row = next(board["rows"][name] for board in boards.values() if name in board["rows"])
        cells = [cell(board["rows"].get(name), which) for board in boards.values()]
        lines.append(f"| `{text}` | {row['about']}; beside {row['sides']['b']} | " + " | ".join(cells) + " |")
    measured = {name for _, name, _ in names}
    for name in dict.fromkeys(name for board in boards.values() for name in board["rows"]):
        if name not in measured:
            rows = [board["rows"].get(name) for board in boards.values()]
            about = next(row["about"] for row in rows if row)
            lines.append(f"| `{name}` | {about} | " + " | ".join(cell(row, None) for row in rows) + " |")
    return "\n".join(lines)


def cell(row, which):
    """All about one figure of a row, or why there is none."""
    if row is None:
        return ""
    if "not_measured" in row:
        return not_measured_words(row).replace("|", "/")
    figure = next(figure for figure in row["figures"] if figure["figure"] == which)
    if figure["refused"]:
        said = [verdict_words(figure)]
    else:
        said = [f"**{figure['ratio']['median']:.2f}** [{figure['ratio']['low']:.2f}-{figure['ratio']['high']:.2f}] "
                + verdict_words(figure), rates_words(row, figure)]
    return "<br>".join(words.strip() for words in said + remarks(row, figure))


def search_markdown(data):
    lines = [f"Measured {data['time'][:10]} on:", ""] + [f"* {line}" for line in environment(data)] + [""]
    lines += ["| row | loss allowed | Mpps | Gbit/s | trials passed |", "|---|---|---|---|---|"]
    for one in data["searches"]:
        for found in one["found"]:
            lines.append(f"| `{one['row']}` {one['frame_size']} B | {found_loss(found)} | {found_mpps(found)} | "
                         f"{found_gbps(one, found)} | {found['confirmed']} of {found['tried']}{found_remark(found)} |")
    return "\n".join(lines)


def found_loss(found):
    return f"{100 * found['tolerance']:g} %"


def found_mpps(found):
    return f"{found['trial']['offered_mpps']:.3f}" if found["trial"] else "none"


def found_gbps(one, found):
    if not found["trial"] or not isinstance(one["frame_size"], int):
        return "-"
    return f"{found['trial']['offered_mpps'] * one['frame_size'] * 8 / 1000:.3f}"


def found_remark(found):
    if found["capped"]:
        return ", the highest load tried: the limit is not known"
    if found["source_limited"]:
        return ", above this the source was at its own limit"
    return ""


def search_table(searches):
    lines = [f"{'row':28}{'frame':>6}{'loss allowed':>14}{'Mpps':>10}{'Gbit/s':>10}  trials passed"]
    for one in searches:
        for found in one["found"]:
            lines.append(f"{one['row']:28}{one['frame_size']:>6}{found_loss(found):>14}{found_mpps(found):>10}"
                         f"{found_gbps(one, found):>10}  {found['confirmed']} of {found['tried']}{found_remark(found)}")
    return "\n".join(lines)

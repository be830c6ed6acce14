# SPDX-License-Identifier: BSD-3-Clause
"""What was measured, as text, Markdown and JSON."""
import json
import pathlib

from .rows import ROWS

FORMAT = 1
IDLE_MIN = 0.02  # of the guests' time; with less they are the limit


def write(path, kind, facts, backends, body):
    """kind: scoreboard, compare, search. Written aside and renamed: an interrupted run leaves the last whole one."""
    text = json.dumps({"vnic_bench": FORMAT, "kind": kind, **facts, "backends": backends, **body}, indent=1) + "\n"
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
        raise ValueError(f"{path}: not written by vnic-bench")
    return data


def read_rows(paths):
    """(the first file's data, rows of all, in the table's order): a row of a later file replaces the same one of an
    earlier file."""
    files = [read(path) for path in paths]
    rows = {}
    for path, data in zip(paths, files):
        if "rows" not in data:
            raise ValueError(f"{path}: a file of vnic-bench {data['kind']}; rows come from scoreboard and compare")
        rows.update(data["rows"])
    order = {name: i for i, name in enumerate(ROWS)}
    return files[0], dict(sorted(rows.items(), key=lambda item: order.get(item[0], len(order))))


def figures(rows):
    """Each figure of each row: (row's name, row, figure)."""
    return [(name, row, figure) for name, row in rows.items() for figure in row["figures"]]


def span(s, digits):
    return f"{s['median']:.{digits}f} ({s['min']:.{digits}f}-{s['max']:.{digits}f})"


def label(name, figure):
    return name if figure["figure"] == "throughput" else f"{name} {figure['figure']}"


def bar_words(figure):
    if figure["bar"] is None:
        return ""
    return f"{'>=' if figure['better'] == 'higher' else '<='} {figure['bar']:g}"


def verdict_words(figure):
    if figure["refused"]:
        return "not measured: " + figure["refused"]
    words = "" if figure["verdict"] == "no bar" else figure["verdict"]
    return words if figure["publishable"] else f"{words} ({figure['pairs']} pairs only)".strip()


def remarks(row, figure):
    said = []
    idle = row.get("guest_idle_share", {})
    if "a" in idle:
        said.append(f"guests idle {100 * idle['a']:.0f} %" + (f", {100 * idle[figure['peer']]:.0f} %"
                                                              if figure["peer"] in idle else ""))
        if idle["a"] < IDLE_MIN:
            said.append("guests are A's limit: the ratio is at least this")
    return "; ".join(said)


def table(rows):
    """For a terminal. Refused ratios stand in brackets."""
    lines = [("row", "unit", "A", "B", "A/B, pair by pair", "bar", "verdict", "")]
    for name, row, figure in figures(rows):
        ratio = span(figure["ratio"], 2)
        lines.append((label(name, figure), figure["unit"], span(figure["a"], figure["digits"]),
                      f"{row['sides'][figure['peer']]} {span(figure['b'], figure['digits'])}",
                      f"[{ratio}]" if figure["refused"] else ratio, bar_words(figure), verdict_words(figure),
                      remarks(row, figure)))
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]) - 1)]
    text = ["  ".join([word.ljust(width) for word, width in zip(line, widths)] + [line[-1]]).rstrip() for line in lines]
    text += [f"{name}: not measured: {row['not_measured'].splitlines()[0]}"
             for name, row in rows.items() if "not_measured" in row]
    return "\n".join(text)


def totals(rows):
    """{"met": n, "missed": n, "not measured": n, "no bar": n} over all figures."""
    counts = dict.fromkeys(("met", "missed", "not measured", "no bar"), 0)
    for _, _, figure in figures(rows):
        counts[figure["verdict"]] += 1
    counts["not measured"] += sum("not_measured" in row for row in rows.values())
    return counts


def disturbances(rows):
    """Sentences about runs that are no figures."""
    runs = [report for row in rows.values() for reports in row.get("runs", {}).values() for report in reports]
    noisy = sum(bool(report["noise"]) for report in runs)
    leaks = sum(report["conserved"] is False for report in runs)
    said = []
    if noisy:
        said.append(f"{noisy} runs were disturbed by other programs: not figures to publish")
    if leaks:
        said.append(f"{leaks} runs in which frames vanished uncounted, or were counted as dropped and delivered")
    return said


def environment(data):
    """The sentences that belong to any figure."""
    cpus = data["cpus"]
    lines = [f"{data['cpu']}" + (", virtual machine" if data.get("hypervisor") else "")
             + (f", TSC {data['tsc_hz'] / 1e9:.2f} GHz" if data.get("tsc_hz") else ""),
             f"Linux {data['kernel']}; back-end on CPU {cpus['forward']}, guests on CPU {cpus['guest']}; "
             f"{data['hugepage_kib'] // 1024} MiB pages"]
    distances = [ns for row in data.get("rows", {}).values() for reports in row.get("runs", {}).values()
                 for report in reports for ns in report["distance_ns"]]
    if distances:
        lines.append(f"A cache line takes {min(distances):.0f} to {max(distances):.0f} ns between the two")
    for facts in data["backends"].values():
        options = facts.get("build_options")
        name = facts["spec"] if isinstance(facts["spec"], str) else ", ".join(facts["spec"])
        lines.append(f"{name.partition(':')[0]}: {facts['version']}" + (
            f"; {options['buildtype']}, {options['compiler']}, `{options['flags']}`" if options else ""))
    return lines


def markdown(data, rows):
    """The table for a page of documentation, with what it was measured on."""
    lines = [f"Measured {data['time'][:10]} on:", ""]
    lines += [f"* {line}" for line in environment({**data, "rows": rows})]
    lines += ["", "| row | what | A | B | A/B, pair by pair | bar | |", "|---|---|---|---|---|---|---|"]
    for name, row, figure in figures(rows):
        ratio = "-" if figure["refused"] else f"**{figure['ratio']['median']:.2f}** " \
            f"({figure['ratio']['min']:.2f}-{figure['ratio']['max']:.2f})"
        ours, theirs = (f"{span(figure[key], figure['digits'])} {figure['unit']}" for key in "ab")
        peer = row["sides"][figure["peer"]]
        lines.append(f"| `{label(name, figure)}` | {row['about']} | {ours} | {peer}: {theirs} | {ratio} | "
                     f"{bar_words(figure)} | {verdict_words(figure)} |")
    for name, row in rows.items():
        if "not_measured" in row:
            lines.append(f"| `{name}` | {row['about']} | | | - | | not measured: "
                         f"{row['not_measured'].splitlines()[0].replace('|', '/')} |")
    return "\n".join(lines)


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

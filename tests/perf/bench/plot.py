# SPDX-License-Identifier: BSD-3-Clause
"""Pictures of what scoreboard and compare have measured, as SVG. The only module that needs matplotlib."""
import pathlib

from . import report
from .machine import NotPossible

COLOURS = ("#1b6ca8", "#e08e2b", "#6b9a3c", "#9b4f96", "#57a5a5", "#b5651d", "#8c8c3c", "#555555")
MARKERS = {"avx512": "o", "avx2": "s"}
MARKER_WORDS = {"avx512": "round", "avx2": "square"}
REFUSED = {"hatch": "///", "edgecolor": "white", "alpha": 0.5}


def pyplot():
    try:
        import matplotlib
    except ImportError as error:
        raise NotPossible("no matplotlib: usertools/install-deps bench installs it (python3-matplotlib)") from error
    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "vnic-bench", "font.size": 9,
                                "axes.spines.top": False, "axes.spines.right": False})
    from matplotlib import pyplot as plt
    return plt


def side_name(kind, boards, row, key):
    return row["sides"][key] + (f", {report.KIND_WORDS[kind]}" if len(boards) > 1 else "")


def series_of(boards, wanted, value):
    """(labels, {side's name: [(label index, median, least, most, refused)]}); value: (row, spread) -> spread. Figures
    that were refused for want of pairs have no spread and are left out."""
    labels, series = [], {}
    for kind, board in boards.items():
        for name, row, figure in report.figures(board["rows"]):
            if not wanted(figure) or "a" not in figure:
                continue
            text = report.label(name, figure)
            if text not in labels:
                labels.append(text)
            for key in ("a", "b"):
                s = value(row, figure[key])
                series.setdefault(side_name(kind, boards, row, key), []).append(
                    (labels.index(text), s["median"], s["min"], s["max"], bool(figure["refused"])))
    return labels, series


def bars(path, title, axis, labels, series):
    """One bar for each row and side, with its range; figures that were refused are hatched."""
    plt = pyplot()
    fig, ax = plt.subplots(figsize=(max(6, 1.2 + 0.55 * len(labels)), 4.5))
    there = [[name for name in series if any(p[0] == x for p in series[name])] for x in range(len(labels))]
    width = 0.8 / max(map(len, there))
    for i, name in enumerate(series):
        points = {point[0]: point for point in series[name]}  # a side may stand beside several peers
        at = [x + (there[x].index(name) - (len(there[x]) - 1) / 2) * width for x in points]
        middle = [p[1] for p in points.values()]
        drawn = ax.bar(at, middle, width, color=COLOURS[i % len(COLOURS)], label=name)
        ax.errorbar(at, middle, yerr=[[max(p[1] - p[2], 0) for p in points.values()],
                                      [max(p[3] - p[1], 0) for p in points.values()]],
                    fmt="none", ecolor="black", elinewidth=0.8, capsize=2)
        for patch, point in zip(drawn, points.values()):
            if point[4]:
                patch.set(**REFUSED)
    ax.set_xticks(range(len(labels)), labels, rotation=40, ha="right")
    ax.set_ylabel(axis)
    ax.set_title(title)
    ax.set_ylim(bottom=0)
    ax.grid(axis="y", linewidth=0.3)
    ax.set_axisbelow(True)
    ax.legend(frameon=False)
    fig.tight_layout()
    fig.savefig(path, format="svg", metadata={"Date": None})
    plt.close(fig)
    return path


def cycles(row, s):
    """TSC cycles that the forwarding core had for each frame."""
    mega = row["tsc_hz"] / 1e6
    return {"median": mega / s["median"], "min": mega / s["max"], "max": mega / s["min"]}


def ratios(path, boards):
    """The ratio of each row with its interval, beside its bar."""
    plt = pyplot()
    found = {kind: {report.label(name, figure): figure for name, _, figure in report.figures(board["rows"])
                    if "ratio" in figure} for kind, board in boards.items()}
    labels = list(dict.fromkeys(text for figures in found.values() for text in figures))
    fig, ax = plt.subplots(figsize=(7, 1.2 + 0.25 * len(labels) * max(len(boards), 1)))
    for i, (kind, figures) in enumerate(found.items()):
        shift = (i - (len(found) - 1) / 2) * 0.4
        for text, figure in figures.items():
            y, s = labels.index(text) + shift, figure["ratio"]
            colour = {"met": COLOURS[2], "missed": "#c0392b", "open": COLOURS[1]}.get(figure["verdict"], "#888888")
            ax.errorbar(s["median"], y, xerr=[[s["median"] - s["low"]], [s["high"] - s["median"]]], fmt=MARKERS[kind],
                        color=colour, ecolor=colour, elinewidth=1, capsize=2, markersize=4,
                        fillstyle="none" if figure["refused"] else "full")
            if figure["bar"] is not None:
                ax.plot([figure["bar"]] * 2, [y - 0.2, y + 0.2], color="black", linewidth=1.5)
    ax.axvline(1, color="#888888", linewidth=0.6)
    ax.set_yticks(range(len(labels)), labels)
    ax.invert_yaxis()
    ax.set_xlim(left=0)
    ax.set_xlabel("A/B, median and 95 % interval; black: the bar; hollow: refused\n" + ", ".join(
        f"{MARKER_WORDS[kind]}: {report.KIND_WORDS[kind]}" for kind in boards))
    fig.tight_layout()
    fig.savefig(path, format="svg", metadata={"Date": None})
    plt.close(fig)
    return path


def write(boards, directory):
    """The paths of the pictures that the rows give."""
    if not any("ratio" in figure for board in boards.values() for _, _, figure in report.figures(board["rows"])):
        raise NotPossible("no row was measured: nothing to draw")
    pyplot()
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    written = []

    def is_throughput(figure):
        return figure["figure"] == "throughput"

    def is_latency(figure):
        return figure["unit"] == "ns"

    labels, series = series_of(boards, is_throughput, lambda row, s: s)
    if labels:
        written.append(bars(directory / "throughput.svg", "Frames per second, one forwarding core", "Mpps", labels,
                            series))
        labels, series = series_of(boards, is_throughput, cycles)
        written.append(bars(directory / "cycles.svg", "TSC cycles of the forwarding core per frame", "cycles", labels,
                            series))
    labels, series = series_of(boards, is_latency, lambda row, s: s)
    if labels:
        written.append(bars(directory / "latency.svg", "One way, one frame in flight", "ns", labels, series))
    written.append(ratios(directory / "ratios.svg", boards))
    return written

# SPDX-License-Identifier: BSD-3-Clause
"""What a frame costs a back-end's core where the guests are its limit: at fixed rates below saturation, the same for both,
from the back-end's own counters.

testpmd counts the cycles of iterations that found frames (--record-core-cycles). vnicd counts iterations, and those that
found frames. In each of many windows, at two rates,

    TSC cycles of its CPU time = frames * cost of a frame + idle iterations * cost of an idle iteration

so the two costs are what fits all windows best (least squares).
"""
import statistics

from .slices import STOLEN_MAX

SHARES = (0.6, 0.3)  # of the slower back-end's saturated rate; the first is the load that is reported
WINDOWS = 6  # at each
CLEAN_MIN = 3  # windows at each in which neither side was away; with fewer there is no figure
WINDOW_S = 0.15


def fit(windows):
    """(cycles of a frame, cycles of an idle iteration) from [(cycles, frames, idle iterations)]; None when all windows are
    alike, so that one can't be told from the other, or one comes out as less than nothing."""
    ff = sum(f * f for _, f, _ in windows)
    fi = sum(f * i for _, f, i in windows)
    ii = sum(i * i for _, _, i in windows)
    cf = sum(c * f for c, f, _ in windows)
    ci = sum(c * i for c, _, i in windows)
    det = ff * ii - fi * fi
    if not det:
        return None
    frame, idle = (cf * ii - ci * fi) / det, (ci * ff - cf * fi) / det
    return (frame, idle) if frame > 0 and idle > 0 else None


def cycles_per_frame(windows, tsc_hz):
    """From [(share, Work before, Work after)] of one back-end; None with too few in which frames came."""
    windows = [(share, before, after) for share, before, after in windows if after.frames > before.frames]
    if any(sum(one[0] == share for one in windows) < CLEAN_MIN for share in SHARES):
        return None
    if windows[0][1].cycles is not None:
        return statistics.median((after.cycles - before.cycles) / (after.frames - before.frames)
                                 for share, before, after in windows if share == SHARES[0])
    found = fit([((after.cpu_s - before.cpu_s) * tsc_hz, after.frames - before.frames,
                  after.idle_iterations - before.idle_iterations) for _, before, after in windows])
    return found[0] if found else None


def measure(started, mpps, n_flows, tsc_hz):
    """started: {"a": Side, "b": Side}, standing still; mpps: of the slower. {"mpps", "a", "b", "ratio"}, cycles a frame, and
    how many times more the peer's costs than ours; None for each that could not be told because others took too much of the
    machine. None where a back-end does not count."""
    for side in started.values():
        with side.awake():
            if not side.running.count_work():
                return None
    windows = {key: [] for key in started}
    for _ in range(WINDOWS):
        for share in SHARES:
            for key, side in started.items():
                with side.awake():
                    before = side.running.work()
                    report = side.guest.slice(WINDOW_S, 0, share * mpps * 1e6 / n_flows, keep=True)
                    if report["guest_stalled_share"] + report["dry_share"] <= STOLEN_MAX:
                        windows[key].append((share, before, side.running.work()))
    found = {key: cycles_per_frame(windows[key], tsc_hz) for key in started}
    ratio = found["b"] / found["a"] if all(found.values()) else None
    return {"mpps": SHARES[0] * mpps, **found, "ratio": ratio}

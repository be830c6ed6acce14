# SPDX-License-Identifier: BSD-3-Clause
"""What slices say: classes, pairs, ratios with their intervals, and when a row is settled. Knows no back-ends.

    slices in time   A   B   |   B   A   |   A   B   |  ..      sides a and b of a row
    pairs            (A, B)      (B, A)      (A, B)            neighbours; who is first alternates

A pair counts when both slices are of the same class. Every other slice is counted with the reason.
"""
import dataclasses
import random
import statistics

ORDER = ("a", "b"), ("b", "a")  # A B B A
NEAR, MIDDLE = 1.5, 3.0  # times the nearest that the two CPUs have been
MOVED = 1.5  # from before a slice to behind it
STOLEN_MAX = 0.01  # of a slice, in gaps
HALF_WIDTH_MAX = 0.03  # of the median
PAIRS_MIN = 10  # fewer are no figure
LOOK_EVERY = 10  # pairs, at whether the row is settled:
SETTLED_MIN = 30  # by chance an interval is narrow too early
RESAMPLES, RESAMPLES_LOOK = 2000, 400
LEVEL = 0.95
MOVED_WORDS = "the CPUs moved within it"
CLASS_WORDS = "its neighbour was of another class"
NOTHING_WORDS = "nothing came through, in it or its neighbour"
RULES = f"""\
near: up to {NEAR:g} times the shortest distance of the two CPUs that was seen; middle: up to {MIDDLE:g} times; far: beyond;
unknown: both CPUs were never ours for long enough
stolen: more than {100 * STOLEN_MAX:g} % of it in gaps of a millisecond and more, or time that the hypervisor says it took
settled: half the {100 * LEVEL:g} % interval is no more than {100 * HALF_WIDTH_MAX:g} % of the median, over {SETTLED_MIN} pairs or more
fewer than {PAIRS_MIN} pairs are no figure"""


@dataclasses.dataclass
class Slice:
    side: str
    figures: dict  # name: value
    distance_ns: tuple = (0.0, 0.0)  # before and behind it; 0: not known
    stalled: float = 0.0  # shares of it: the guest was off its CPU,
    dry: float = 0.0  # the back-end stood still,
    steal: float = 0.0  # the hypervisor says so
    idle: float | None = None  # the guests'

    @property
    def stolen(self):
        return self.stalled + self.dry > STOLEN_MAX or self.steal > 0

    def moved(self):
        near, far = sorted(self.distance_ns)
        return far > MOVED * near > 0

    def class_of(self, nearest_ns):
        """"near", "middle stolen" and so on; None when it has none."""
        if self.moved():
            return None
        ns = max(self.distance_ns)
        place = "unknown" if not ns else "near" if ns <= NEAR * nearest_ns else "middle" if ns <= MIDDLE * nearest_ns else "far"
        return place + (" stolen" if self.stolen else "")


FIELDS = [field.name for field in dataclasses.fields(Slice)]


def nearest(slices):
    """The shortest distance that lasted for a slice."""
    return min((max(one.distance_ns) for one in slices if all(one.distance_ns)), default=0.0)


def pair_up(slices, nearest_ns):
    """([(class, slice of a, slice of b)], {reason: {side: slices that count for nothing}})"""
    pairs, dropped = [], {}

    def drop(one, why):
        dropped.setdefault(why, {"a": 0, "b": 0})[one.side] += 1

    for first, second in zip(slices[::2], slices[1::2]):
        assert {first.side, second.side} == {"a", "b"}, "neighbours are of two sides"
        classes = [one.class_of(nearest_ns) for one in (first, second)]
        if not all((*first.figures.values(), *second.figures.values())):
            drop(first, NOTHING_WORDS)
            drop(second, NOTHING_WORDS)
            continue
        if classes[0] and classes[0] == classes[1]:
            a, b = (first, second) if first.side == "a" else (second, first)
            pairs.append((classes[0], a, b))
            continue
        for one, class_ in zip((first, second), classes):
            drop(one, CLASS_WORDS if class_ else MOVED_WORDS)
    return pairs, dropped


def n_pairs(slices):
    return len(pair_up(slices, nearest(slices))[0])


def interval(values, resamples=RESAMPLES, seed=1):
    """(low, high) of the median, by bootstrap. What comes in sequence is not independent, so blocks of neighbours are
    drawn and not single values: as many in a block as the third root of the number."""
    n = len(values)
    block = max(1, round(n ** (1 / 3)))
    starts = n - block + 1
    rng = random.Random(seed)
    medians = []
    for _ in range(resamples):
        drawn = []
        while len(drawn) < n:
            at = int(rng.random() * starts)
            drawn += values[at:at + block]
        medians.append(statistics.median(drawn[:n]))
    medians.sort()
    edge = (1 - LEVEL) / 2
    return medians[int(edge * resamples)], medians[min(int((1 - edge) * resamples), resamples - 1)]


def estimate(values, resamples=RESAMPLES):
    """{"median", "low", "high", "half_width" (of the median), "n"}"""
    middle = statistics.median(values)
    low, high = interval(values, resamples)
    return {"median": middle, "low": low, "high": high, "half_width": (high - low) / 2 / middle if middle else None,
            "n": len(values)}


def ratios(pairs, name):
    return [a.figures[name] / b.figures[name] for _, a, b in pairs]


def is_settled(slices, name):
    """Whether more slices are not worth their time."""
    pairs, _ = pair_up(slices, nearest(slices))
    values = ratios(pairs, name)
    if len(values) < SETTLED_MIN:
        return False
    width = estimate(values, RESAMPLES_LOOK)["half_width"]
    return width is not None and width <= HALF_WIDTH_MAX


def verdict(better, bar, ratio):
    """Only what the whole interval agrees on is met or missed."""
    if bar is None:
        return "no bar"
    worst, best = (ratio["low"], ratio["high"]) if better == "higher" else (ratio["high"], ratio["low"])
    if better == "higher":
        return "met" if worst >= bar else "missed" if best < bar else "open"
    return "met" if worst <= bar else "missed" if best > bar else "open"


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def compare(slices, name):
    """All about one figure: overall, by class, and as it would be if classes did not matter. None of it is there when
    there are too few pairs: {"too_few": how many}."""
    pairs, _ = pair_up(slices, nearest(slices))
    if len(ratios(pairs, name)) < PAIRS_MIN:
        return {"too_few": len(ratios(pairs, name))}
    classes = {}
    for pair in pairs:
        classes.setdefault(pair[0], []).append(pair)
    regardless = [(None, *sorted(two, key=lambda s: s.side)) for two in zip(slices[::2], slices[1::2])
                  if all(one.figures[name] for one in two)]
    return {
        "ratio": estimate(ratios(pairs, name)),
        "classes": {class_: estimate(ratios(some, name), RESAMPLES_LOOK) for class_, some in sorted(classes.items())
                    if len(ratios(some, name)) > 1},
        "regardless_of_class": estimate(ratios(regardless, name), RESAMPLES_LOOK),
        "a": spread([a.figures[name] for _, a, _ in pairs]), "b": spread([b.figures[name] for _, _, b in pairs]),
    }

# SPDX-License-Identifier: BSD-3-Clause
"""The table of rows: which guest drives which back-end, beside which peer, and what is to be reached.

A name says size, layout, ring size, and what is special. What a row's guest arguments don't name is the null guest's
default: both directions, mergeable buffers, DPDK's buffer shape, the first payload line touched, bursts of 32.
"""
import dataclasses
import re

from .backends import Stage
from .machine import KINDS


@dataclasses.dataclass(frozen=True)
class Figure:
    name: str
    unit: str
    better: str = "higher"  # or "lower"
    digits: int = 2
    key: str = ""  # in a guest's report; none: a percentile of its latency

    def of(self, report):
        """From a guest's report."""
        return report[self.key] if self.key else report["latency_ns"][self.name]


THROUGHPUT = Figure("throughput", "Mpps", key="mpps")
PAYLOAD = Figure("payload", "Gbit/s", key="payload_gbps")  # of TCP
LATENCY = (Figure("p50", "ns", "lower", 0), Figure("p99", "ns", "lower", 0))
SELF = "self"  # a peer: the same back-end without what `ours` adds


@dataclasses.dataclass(frozen=True)
class Row:
    name: str
    about: str
    guest: tuple  # arguments of the front-end
    stage: Stage = Stage()
    front_end: str = "nullguest"
    peer: str = "testpmd"
    figures: tuple = (THROUGHPUT,)  # the first is what the bar is for, and what settles the row
    # {machine.KINDS: of the ratio to the peer: at least, or, where lower is better, at most}
    bars: dict = dataclasses.field(default_factory=dict)
    ours: tuple = ()  # guest arguments in our runs only
    warmup_s: float = 0  # at least so long, until a back-end has learnt what it will
    loop: str = ""  # of tests/perf/instructions that does the same in one thread

    @property
    def better(self):
        return self.figures[0].better

    @property
    def layout(self):
        return "packed" if re.search(r"\bpacked\b", self.name) else "split"

    @property
    def ring_size(self):
        return int(self.option("--ring-size", 256))

    @property
    def searchable(self):
        """Whether there is an offered load that could be varied."""
        return (self.stage.n_guests, len(self.stage.ports), self.front_end, self.figures) == \
            (2, 2, "nullguest", (THROUGHPUT,))

    @property
    def can_be_paced(self):
        """Whether back-ends can be compared below saturation, at the same rate for both."""
        return self.front_end == "nullguest" and THROUGHPUT in self.figures and \
            self.option("--direction") != "in" and "tap" not in self.stage.ports

    def option(self, name, default=None):
        """The value of a guest argument."""
        return self.guest[self.guest.index(name) + 1] if name in self.guest else default


ROWS = {}
MACS = 1000
IDLE_PAIRS = 32  # of each guest: two guests make 64
TO_NIC, FROM_NIC = Stage(ports=("guest", "sink")), Stage(ports=("guest", "source"))
# What gives testpmd's virtio-user its fastest ring code of each layout.
VIRTIO_USER = {"split": ("queue_size=256", "mrg_rxbuf=0", "in_order=0", "vectorized=1"),
               "packed": ("queue_size=256", "packed_vq=1", "mrg_rxbuf=0", "in_order=1", "vectorized=1")}


def bars_of(bar, layout):
    """From one bar for all, {layout: one for all kinds} or {layout: (one for each of KINDS)}."""
    if isinstance(bar, dict):
        bar = bar[layout]
    if bar is None:
        return {}
    return dict(zip(KINDS, bar if isinstance(bar, tuple) else (bar,) * len(KINDS)))


def add(name, about, *guest, bar=None, loop="", **more):
    for layout in ("split", "packed"):
        row = Row(name.format(layout=layout), about, ("--layout", layout, *map(str, guest)), bars=bars_of(bar, layout),
                  loop=loop.format(layout=layout), **more)
        ROWS[row.name] = row


# With bars: the scoreboard. In the order in which one would read it.
add("64-{layout}-256", "guest to guest, 64 B, warm", bar={"split": (3.3, 3.0), "packed": (3.0, 3.3)},
    loop="poll/io/64/{layout}")
add("64-{layout}-1024", "guest to guest, 64 B, warm, long rings", "--ring-size", 1024, bar=3.0,
    loop="poll/io/64/{layout}")
add("imix-{layout}-256-linux", "guest to guest, 7 x 64, 4 x 570, 1 x 1518 B, Linux's buffers", "--imix", "--shape",
    "linux", bar=2.5)
add("1518-{layout}-256-warm", "guest to guest, 1518 B, one line of each touched", "--frame-size", 1518,
    bar={"split": 2.8, "packed": 2.5}, loop="poll/io/1514/{layout}")
add("1518-{layout}-256-cold", "guest to guest, 1518 B, every line touched", "--frame-size", 1518, "--touch", "all",
    bar={"split": 1.8, "packed": 1.6}, loop="poll/io/1514/{layout}")
add("9000-{layout}-256-warm", "guest to guest, 9000 B in buffers of 2 KiB, one line of each touched", "--frame-size", 9000,
    bar={"split": 3.0, "packed": 2.5})
# A sender waits for answers: no more is on its way than the receiver has room for, half of it of a frame in 45 pieces.
TSO_LEN = 66 + 45 * 1448  # bytes
TSO = ("--shape", "linux", "--frame-size", TSO_LEN, "--tso")
add("tso-{layout}-256", "guest to guest, TCP frames of 64 KiB that stay whole", *TSO, "whole", "--window", 8,
    stage=Stage(offload="tso"), figures=(PAYLOAD, THROUGHPUT), bar=2.5)
# With rings of 1024 each slot keeps its two addresses: two thousand pairs that talk. With shorter ones the null guest
# lets everybody talk to everybody, half a million pairs, and then Open vSwitch makes flows without end.
for _word, _about, _bar, _more in (
        ("switch", f"through the learning switch, {MACS} addresses", 5.0, {}),
        ("vlan", "switch, both ports access ports of VLAN 10", 3.0, {"vlan": 10}),
        ("police", "switch, limits of what guests send that are never reached", 3.0, {"police_gbit": 100}),
        ("mirror", "switch, what one guest sends mirrored to a null NIC", 3.0,
         {"mirror": True, "ports": ("guest", "guest", "sink")})):
    add(f"64-{{layout}}-1024-{_word}", _about, "--frames", "macs", "--macs", MACS, "--ring-size", 1024,
        stage=Stage(mode="switch", **_more), peer="ovs", bar=_bar, warmup_s=2.0)
add("64-{layout}-256-burst4", "guest to guest, saturated, by four", "--burst", 4,
    bar={"split": 3.0, "packed": 2.5})
add("64-{layout}-256-to-nic", "guest to a null NIC, 64 B", "--direction", "out", stage=TO_NIC,
    bar={"split": 2.5, "packed": 2.0}, loop="from_guest/64/mergeable/{layout}")
add("1518-{layout}-256-to-nic", "guest to a null NIC, 1518 B", "--direction", "out", "--frame-size", 1518, stage=TO_NIC,
    bar=2.5, loop="from_guest/1514/borrowed-mergeable/{layout}")
add("64-{layout}-256-from-nic", "null NIC to guest, 64 B", "--direction", "in", stage=FROM_NIC,
    bar={"split": 2.5, "packed": 2.0}, loop="to_guest/64/mergeable/{layout}")
for _layout, _keys in VIRTIO_USER.items():
    _name = f"64-{_layout}-256-virtio-user"
    ROWS[_name] = Row(_name, "testpmd with two virtio-user ports as the guests, frames go round", _keys,
                      bars=bars_of(1.35, _layout), front_end="virtio-user")
add("64-{layout}-256-idle64", f"one busy pair each way, and {2 * IDLE_PAIRS} idle ones", "--idle-pairs", IDLE_PAIRS,
    stage=Stage(queues=IDLE_PAIRS + 1), bar=5.0)
add("64-{layout}-256-latency", "one way, one frame in flight", "--mode", "latency", figures=LATENCY,
    bar={"split": 0.7, "packed": 0.6})
add("64-{layout}-256-dirty-log", "with the dirty log on and harvested, beside off", peer=SELF,
    ours=("--dirty-log",), bar=0.7)
SCOREBOARD = list(ROWS)

# Without bars: for comparing two builds.
add("64-{layout}-256-nomrg", "guest to guest, no mergeable buffers", "--no-mergeable")
add("64-{layout}-256-inorder", "guest to guest, in order", "--in-order")
add("64-{layout}-256-linux", "guest to guest, Linux's buffers", "--shape", "linux")
add("64-{layout}-256-linux-nomrg", "guest to guest, Linux's buffers, header apart", "--shape", "linux",
    "--no-mergeable")
add("256-{layout}-1024", "guest to guest, 256 B", "--frame-size", 256, "--ring-size", 1024)
add("imix-{layout}-256", "guest to guest, 7 x 64, 4 x 570, 1 x 1518 B", "--imix")
add("9000-{layout}-256-cold", "guest to guest, 9000 B, every line touched", "--frame-size", 9000, "--touch", "all")

add("gso-{layout}-256", "guest to guest, TCP frames of 64 KiB cut into 1514 B and summed up", *TSO, "segments",
    "--window", 4, stage=Stage(offload="cut"), figures=(PAYLOAD,))

# Where the peer's tap takes no 64 KiB, its guest sends what it takes; towards guests the kernel cuts frames itself.
TO_TAP = ("--direction", "out", "--shape", "linux", "--frame-size", 1514)
KERNEL = Figure("kernel", "Gbit/s", key="kernel_gbps")
add("tap-to-{layout}-256", "guest to a tap of the kernel, TCP frames of 64 KiB beside 1514 B", *TO_TAP,
    stage=Stage(ports=("guest", "tap")), figures=(KERNEL,),
    ours=("--tso", "whole", "--frame-size", str(TSO_LEN), "--window", "8"))
add("tap-to-{layout}-256-1514", "guest to a tap of the kernel, 1514 B", *TO_TAP, stage=Stage(ports=("guest", "tap")),
    figures=(KERNEL,))
add("tap-from-{layout}-256", "tap of the kernel to a guest, TCP frames of 64 KiB beside 1514 B", *TSO, "whole",
    "--direction", "in", stage=Stage(ports=("guest", "tap"), offload="tso"),
    figures=(Figure("guest", "Gbit/s", key="gbps"),))

# What two builds are compared by unless said otherwise.
STANDARD = [f"64-{layout}-{ring}" for layout in ("split", "packed") for ring in (256, 1024)] + \
    [f"1518-{layout}-256-{word}" for layout in ("split", "packed") for word in ("warm", "cold")]


def select(patterns, default):
    """The rows that one of the regular expressions finds, or the default; [] when none does."""
    if not patterns:
        return [ROWS[name] for name in default]
    return [row for name, row in ROWS.items() if any(re.search(p, name) for p in patterns)]

#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""vnic-bench itself: what it believes, what it refuses, what it finds, what it draws. Without hugepages, but for one
short run at the end."""
import contextlib
import dataclasses
import io
import json
import os
import pathlib
import random
import re
import signal
import statistics
import subprocess
import sys
import time
import types
import unittest
import xml.etree.ElementTree

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from bench import backends, cli, cost, kernel, machine, measure, plot, report, rows, search, slices  # noqa: E402
from bench.guests import FRONT_ENDS, NullGuest  # noqa: E402
from bench.machine import NotPossible, RunFailed, vnictest  # noqa: E402
from bench.slices import Slice  # noqa: E402

VNIC_BENCH = vnictest.ROOT / "usertools/vnic-bench"


def a_slice(side, value, *, figure="throughput", ns=70.0, **more):
    return Slice(side, {figure: value} if not isinstance(value, dict) else value, (ns, ns), idle=0.3, **more)


def in_turns(ours, theirs, **more):
    """Slices A B B A of values one by one."""
    taken = []
    for i, (x, y) in enumerate(zip(ours, theirs)):
        both = {"a": a_slice("a", x, **more), "b": a_slice("b", y, **more)}
        taken += [both[key] for key in slices.ORDER[i % 2]]
    return taken


def an_end(**more):
    return {"conserved": True, "tsc_hz": 2e9, "missing": 0, "sent": 10, "complaints": [], **more}


def a_result(row, taken, kind="avx512", cost=None, **more):
    """What measure_row() makes of such slices."""
    sides = {"a": (backends.backend("vnicd"), ()), "b": (backends.backend("testpmd"), ())}
    ends = [{"a": an_end(**more), "b": an_end()}]
    return measure.summary(row, sides, taken, ends, kind, medians=[1.0], cost=cost, noise=[], took_s=1.0)


def noisy(middle, n, width, seed=1):
    rng = random.Random(seed)
    return [middle * (1 + rng.uniform(-width, width)) for _ in range(n)]


class Table(unittest.TestCase):
    def test_rows_are_well_formed(self):
        for name, row in rows.ROWS.items():
            with self.subTest(name):
                self.assertEqual(name, row.name)
                self.assertTrue(row.about)
                self.assertIn(row.front_end, FRONT_ENDS)
                self.assertIn(row.stage.mode, ("io", "switch"))
                self.assertGreaterEqual(row.stage.n_guests, 1)
                if row.peer != rows.SELF:
                    which = backends.backend(row.peer)
                    self.assertIn(row.stage.mode, which.MODES)
                    self.assertLessEqual(set(row.stage.ports), set(which.PORTS))
                self.assertTrue(all(isinstance(word, str) for word in row.guest))
                self.assertIn(str(row.ring_size), name)
                self.assertEqual(len({figure.better for figure in row.figures}), 1)

    def test_both_layouts_and_a_bar_everywhere_on_the_scoreboard(self):
        for name in rows.SCOREBOARD:
            other = name.replace("split", "packed") if "split" in name else name.replace("packed", "split")
            self.assertIn(other, rows.SCOREBOARD)
            self.assertEqual(tuple(rows.ROWS[name].bars), machine.KINDS)

    def test_bars(self):
        """One for all, one for each layout, one for each layout and kind of CPU."""
        def bars(name):
            return tuple(rows.ROWS[name].bars[kind] for kind in machine.KINDS)
        self.assertEqual([bars("64-split-256"), bars("64-packed-256")], [(3.3, 3.0), (3.0, 3.3)])
        self.assertEqual([bars("1518-split-256-cold"), bars("1518-packed-256-cold")], [(1.8, 1.8), (1.6, 1.6)])
        self.assertEqual([bars("64-split-1024-switch"), bars("64-packed-1024-switch")], [(5.0, 5.0), (5.0, 5.0)])
        self.assertEqual(rows.ROWS["256-split-1024"].bars, {})

    def test_lower_is_better_has_a_bar_below_one(self):
        for row in rows.ROWS.values():
            if row.better == "lower":
                self.assertLess(max(row.bars.values()), 1)

    def test_loops_are_on_record(self):
        for row in rows.ROWS.values():
            for kind in machine.KINDS:
                self.assertIs(bool(row.loop), bool(measure.instructions_of(row.loop, kind)), row.name)

    def test_who_can_be_paced(self):
        can = {name for name, row in rows.ROWS.items() if row.can_be_paced}
        self.assertLessEqual({"64-split-256", "64-packed-256-to-nic", "64-split-256-burst4"}, can)
        self.assertFalse(can & {"64-split-256-from-nic", "gso-split-256", "64-split-256-latency", "64-split-256-virtio-user",
                                "tap-to-split-256"})

    def test_the_null_guest_knows_every_option(self):
        try:
            known = set(re.findall(r"--[a-z-]+", machine.output_of(machine.nullguest_path(), "--help")))
        except NotPossible as why:
            self.skipTest(str(why))
        for row in rows.ROWS.values():
            if row.front_end == "nullguest":
                used = {word for word in (*row.guest, *row.ours) if word.startswith("--")}
                self.assertLessEqual(used, known, row.name)

    def test_selection(self):
        self.assertEqual([row.name for row in rows.select(["^64-split-256$"], [])], ["64-split-256"])
        self.assertEqual(rows.select(["no such"], []), [])
        self.assertEqual([row.name for row in rows.select(None, rows.STANDARD)], rows.STANDARD)

    def test_a_peer_given_replaces_the_rows_own_and_meets_the_same_guest(self):
        row = rows.ROWS["64-split-256-dirty-log"]
        ours = backends.backend("vnicd")
        own = measure.sides_of(row, ours)
        self.assertEqual((own["a"][1], own["b"][1]), (("--dirty-log",), ()))
        self.assertIs(own["b"][0], ours)
        given = measure.sides_of(row, ours, backends.backend("vnicd:/old"))
        self.assertEqual((given["a"][1], given["b"][1]), (("--dirty-log",), ("--dirty-log",)))


class Commands(unittest.TestCase):
    """What back-ends are told for each field of a stage."""
    CPUS = types.SimpleNamespace(forward=0, guest=1, control=1)

    def setUp(self):
        self.started, self.said, self.tools = [], [], []
        saved = vnictest.Proc, backends.await_line, backends.Ovs.__dict__["tool"]

        def restore():
            vnictest.Proc, backends.await_line, backends.Ovs.tool = saved

        self.addCleanup(restore)
        test = self

        class Proc:
            pid, lines = 0, []

            def __init__(self, args, **more):
                test.started.append([str(word) for word in args])
                test.more = more

            def send(self, line):
                test.said.append(line)

        vnictest.Proc = Proc
        backends.await_line = lambda proc, pattern: None
        backends.Ovs.tool = staticmethod(lambda env, *args: self.tools.append(" ".join(map(str, args))))

    def command(self, spec, name):
        """Of the back-end for that row."""
        row = rows.ROWS[name]
        sockets = [f"/tmp/x/{port}" for port in backends.PORT_NAMES[:row.stage.n_guests]]
        backends.backend(spec).start(row.stage, self.CPUS, "/tmp/x", sockets)
        return " ".join(self.started[-1])

    def ports(self, command):
        return re.findall(r"--port (\S+)", command)

    def test_vlan(self):
        self.assertEqual(self.ports(self.command("vnicd", "64-split-1024-vlan")),
                         ["a=vhost-user,path=/tmp/x/a,vlan=10", "b=vhost-user,path=/tmp/x/b,vlan=10"])
        self.command("ovs", "64-split-1024-vlan")
        for port in "ab":
            self.assertTrue([words for words in self.tools if f"add-port br0 {port} tag=10 -- set Interface {port} "
                             "type=dpdkvhostuserclient" in words], self.tools)

    def test_police(self):
        self.assertEqual(self.ports(self.command("vnicd", "64-split-1024-police")),
                         ["a=vhost-user,path=/tmp/x/a,police-in=100gbit", "b=vhost-user,path=/tmp/x/b,police-in=100gbit"])
        self.command("ovs", "64-split-1024-police")
        limits = [words for words in self.tools if "ingress_policing_rate=100000000 ingress_policing_burst=1000000" in words]
        self.assertEqual(len(limits), 2, self.tools)

    def test_mirror(self):
        command = self.command("vnicd", "64-packed-1024-mirror")
        self.assertIn("--vdev net_null2,size=64,no-rx=1", command)
        self.assertEqual(self.ports(command)[2], "c=nic,dev=net_null2,vlan=4000")
        self.assertIn("--mirror m0,from=a,direction=in,to=c", command)
        self.command("ovs", "64-packed-1024-mirror")
        said = "\n".join(self.tools)
        self.assertIn("add-port br0 c -- set Interface c type=dpdk options:dpdk-devargs=net_null2,no-rx=1", said)
        self.assertRegex(said, r"get Port a .*get Port c .*create Mirror name=m0 select-src-port=@from output-port=@to")

    def test_offload(self):
        self.assertIn("iface=/tmp/x/a,queues=1,tso=1,legacy-ol-flags=1", self.command("testpmd", "tso-split-256"))
        self.assertEqual(self.said, ["start"])
        self.said.clear()
        command = self.command("testpmd", "gso-split-256")
        self.assertIn("iface=/tmp/x/b,queues=1,tso=1 ", command)
        self.assertIn("--rx-offloads=0xc", command)
        self.assertEqual(self.said[:3] + self.said[-2:],
                         ["port stop all", "set fwd csum", "set gso segsz 1514", "port start all", "start"])
        for port in (0, 1):
            for line in ("csum set ip sw {}", "csum set tcp hw {}", "set port {} gso on"):
                self.assertIn(line.format(port), self.said)

    def test_tap(self):
        for direction in ("to", "from"):
            row = f"tap-{direction}-split-256"
            self.assertEqual(self.ports(self.command("vnicd", row))[1], f"b=tap,ifname={kernel.IFNAME}")
            self.assertIn(f"--vdev net_tap1,iface={kernel.IFNAME} ", self.command("testpmd", row))
        with self.assertRaisesRegex(NotPossible, "no tap ports"):
            backends.backend("ovs:/bin/true").check(rows.ROWS["tap-to-split-256"].stage)

    def test_no_wider_vectors(self):
        for spec in ("vnicd", "testpmd", "ovs"):
            for bits in (None, 256):
                self.tools.clear()
                which, stage = backends.backend(spec), rows.ROWS["64-split-256"].stage
                which.simd_bits = bits
                which.start(stage, self.CPUS, vnictest.tmpdir(), ["/tmp/x/a", "/tmp/x/b"])
                told = " ".join([*self.started[-1], *self.tools])
                self.assertEqual("--force-max-simd-bitwidth=256" in told, bits == 256, told)

    def test_plain_rows_say_nothing_of_these(self):
        for spec in ("vnicd", "testpmd"):
            self.assertNotRegex(self.command(spec, "64-split-256"), "vlan|police|mirror|tso")
        self.assertEqual(rows.ROWS["64-split-256"].stage.extras, [])

    def test_who_can_not_says_so(self):
        for spec, stage, words in (("testpmd", backends.Stage(vlan=10), "no vlan"),
                                   ("testpmd", backends.Stage(mirror=True), "no mirror"),
                                   ("vnicd", backends.Stage(mode="nonsense"), "no mode"),
                                   ("ovs", backends.Stage(offload="cut"), "no offload")):
            which = backends.backend(f"{spec}:/bin/true")
            with self.assertRaisesRegex(NotPossible, words):
                which.check(stage)

    def test_vnicd_takes_what_it_is_told(self):
        """The same lines, without hugepages: the mirror's copies and nothing else come out at the port that looks."""
        self.doCleanups()
        stage = rows.ROWS["64-split-1024-mirror"].stage
        keys = backends.Vnicd.guest_keys(dataclasses.replace(stage, vlan=10, police_gbit=100))
        vnicd = vnictest.Vnicd({"a": f"vhost-user{keys}", "b": f"vhost-user{keys}",
                                "c": f"nic,vdev=net_null0;no-rx=1,vlan={backends.MIRROR_VLAN}"}, "switch",
                               extra=["--mirror", "m0,from=a,direction=in,to=c"])
        self.addCleanup(vnicd.stop)
        done = subprocess.run([machine.nullguest_path(), "--socket", vnicd.sock("a"), "--socket", vnicd.sock("b"), "--frames",
                               "macs", "--duration", "0.2", "--warmup", "0.1", "--json"], capture_output=True, text=True,
                              timeout=60, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        ports = vnicd.stats()
        lost = sum(port["drops"].get(reason, 0) for port in ports.values() for reason in ("policed_in", "vlan_foreign"))
        self.assertEqual(lost, 0)
        copies = vnicd.rpc("mirror.list")[0]
        self.assertGreater(ports["c"]["tx_packets"], 100)
        self.assertLessEqual(ports["c"]["tx_packets"], ports["a"]["rx_packets"], copies)


class Classes(unittest.TestCase):
    def test_by_distance(self):
        for ns, word in ((60, "near"), (89, "near"), (91, "middle"), (179, "middle"), (181, "far")):
            self.assertEqual(a_slice("a", 1, ns=ns).class_of(60), word)

    def test_stolen(self):
        for more in ({"stalled": 0.02}, {"dry": 0.02}, {"steal": 0.001}, {"stalled": 0.006, "dry": 0.006}):
            self.assertEqual(a_slice("a", 1, **more).class_of(70), "near stolen")
        self.assertEqual(a_slice("a", 1, stalled=0.009).class_of(70), "near")

    def test_moved_within(self):
        moved = Slice("a", {"throughput": 1}, (70.0, 200.0))
        self.assertIsNone(moved.class_of(70))
        self.assertEqual(Slice("a", {"throughput": 1}, (0.0, 0.0)).class_of(70), "unknown")
        self.assertEqual(Slice("a", {"throughput": 1}, (0.0, 80.0)).class_of(70), "near")

    def test_nearest_lasted(self):
        self.assertEqual(slices.nearest([Slice("a", {}, (20.0, 80.0)), Slice("a", {}, (70.0, 75.0))]), 75)


class Pairs(unittest.TestCase):
    def test_neighbours_of_one_class(self):
        taken = in_turns([30.0, 31.0, 32.0], [10.0, 10.0, 10.0])
        self.assertEqual([one.side for one in taken], list("abbaab"))
        pairs, dropped = slices.pair_up(taken, 70)
        self.assertEqual(slices.ratios(pairs, "throughput"), [3.0, 3.1, 3.2])
        self.assertEqual(dropped, {})

    def test_nothing_is_lost_silently(self):
        """Each slice is in a pair, or counted with a reason."""
        taken = in_turns([30.0] * 5, [10.0] * 5)
        taken[0].stalled = 0.5  # a, and its neighbour is not
        taken[3].distance_ns = (70.0, 300.0)  # a
        taken[4].figures["throughput"] = 0.0  # a
        pairs, dropped = slices.pair_up(taken, 70)
        self.assertEqual(dropped, {slices.CLASS_WORDS: {"a": 1, "b": 2}, slices.MOVED_WORDS: {"a": 1, "b": 0},
                                   slices.NOTHING_WORDS: {"a": 1, "b": 1}})
        self.assertEqual(2 * len(pairs) + sum(n for both in dropped.values() for n in both.values()), len(taken))

    def test_stolen_with_stolen_is_a_pair(self):
        taken = in_turns([30.0] * 4, [10.0] * 4, stalled=0.4)
        self.assertEqual([class_ for class_, _, _ in slices.pair_up(taken, 70)[0]], ["near stolen"] * 4)

    def test_what_others_take_of_a_slice_is_no_figure(self):
        """Where a third of all slices lost half their time, the ratio is still what it is, and regardless of classes it
        is not as narrow."""
        rng = random.Random(5)
        ours, theirs = noisy(30, 90, 0.03), noisy(10, 90, 0.03, 2)
        taken = in_turns(ours, theirs)
        for one in taken:
            if rng.random() < 0.33:
                one.figures["throughput"] *= rng.uniform(0.3, 0.7)
                one.dry = 0.5
        found = slices.compare(taken, "throughput")
        self.assertAlmostEqual(found["classes"]["near"]["median"], 3, delta=0.05)
        self.assertAlmostEqual(found["ratio"]["median"], 3, delta=0.1)
        self.assertLess(found["classes"]["near"]["half_width"], found["regardless_of_class"]["half_width"] + 0.01)
        self.assertIn("near stolen", found["classes"])
        self.assertGreaterEqual(found["ratio"]["n"], sum(some["n"] for some in found["classes"].values()))

    def test_overall_and_by_class(self):
        near, far = in_turns([30.0] * 20, [10.0] * 20), in_turns([20.0] * 30, [10.0] * 30, ns=300.0)
        found = slices.compare(near + far, "throughput")
        self.assertEqual({class_: (some["median"], some["n"]) for class_, some in found["classes"].items()},
                         {"near": (3.0, 20), "far": (2.0, 30)})
        self.assertEqual((found["ratio"]["median"], found["ratio"]["n"]), (2.0, 50))


class Intervals(unittest.TestCase):
    def test_holds_what_it_should(self):
        """Values with a known median, and values that drift: some 95 of 100 intervals hold it."""
        for drift in (0, 0.5):
            held = 0
            for seed in range(60):
                rng, x, values = random.Random(seed), 0, []
                for _ in range(80):
                    x = drift * x + rng.gauss(0, 0.1)
                    values.append(3 * (1 + x))
                low, high = slices.interval(values, 200, seed)
                held += low <= 3 <= high
            self.assertGreater(held, 46, f"of 60, drift {drift}")

    def test_narrower_with_more(self):
        few, many = (slices.estimate(noisy(3, n, 0.2))["half_width"] for n in (20, 300))
        self.assertLess(many, few / 2)

    def test_the_same_each_time(self):
        values = noisy(3, 40, 0.2)
        self.assertEqual(slices.interval(values), slices.interval(values))

    def test_settled(self):
        self.assertTrue(slices.is_settled(in_turns(noisy(30, 60, 0.05), [10.0] * 60), "throughput"))
        self.assertFalse(slices.is_settled(in_turns(noisy(30, 60, 0.9), [10.0] * 60), "throughput"))
        few = slices.SETTLED_MIN - 1
        self.assertFalse(slices.is_settled(in_turns([30.0] * few, [10.0] * few), "throughput"))

    def test_verdict(self):
        for better, bar, low, high, words in (("higher", 3, 3.1, 3.4, "met"), ("higher", 3, 2.9, 3.4, "open"),
                                              ("higher", 3, 2.5, 2.9, "missed"), ("lower", 0.7, 0.6, 0.65, "met"),
                                              ("lower", 0.7, 0.6, 0.75, "open"), ("lower", 0.7, 0.8, 0.9, "missed"),
                                              ("higher", None, 1, 2, "no bar")):
            self.assertEqual(slices.verdict(better, bar, {"low": low, "high": high}), words)


class Cost(unittest.TestCase):
    """Cycles a frame from counters that are made up."""

    def windows(self, make):
        work, found = {"cpu_s": 0.0, "frames": 0, "cycles": 0, "idle_iterations": 0}, []
        for i in range(6):
            for share in cost.SHARES:
                before = backends.Work(**work)
                for key, more in make(i, share).items():
                    work[key] += more
                found.append((share, before, backends.Work(**work)))
        return found

    def test_from_cycles(self):
        found = self.windows(lambda i, share: {"frames": 1000, "cycles": 170_000 if share == cost.SHARES[0] else 1})
        self.assertEqual(cost.cycles_per_frame(found, 2e9), 170)

    def test_from_iterations(self):
        """60 cycles a frame, 45 an idle iteration, whatever the load."""
        def make(i, share):
            frames, idle = int(share * 1e6) + i, int((1 - share) * 2e6)
            return {"frames": frames, "idle_iterations": idle, "cpu_s": (60 * frames + 45 * idle) / 2e9}
        found = [(share, dataclasses.replace(before, cycles=None), dataclasses.replace(after, cycles=None))
                 for share, before, after in self.windows(make)]
        self.assertAlmostEqual(cost.cycles_per_frame(found, 2e9), 60, places=3)

    def test_fit_that_says_nothing(self):
        self.assertIsNone(cost.fit([(100, 1, 1)] * 3))  # all alike
        self.assertIsNone(cost.fit([(100, 10, 1), (10, 1, 10)]))  # idle iterations for less than nothing

    def test_too_few_windows(self):
        found = self.windows(lambda i, share: {"frames": 1000, "cycles": 170_000})
        few = [one for one in found if one[0] == cost.SHARES[0]] + found[1:2 * cost.CLEAN_MIN - 2:2]
        self.assertIsNone(cost.cycles_per_frame(few, 2e9))

    def test_nothing_came(self):
        self.assertIsNone(cost.cycles_per_frame(self.windows(lambda i, share: {"cycles": 5}), 2e9))


def a_run(**more):
    """What conserved() looks at."""
    return {"missing": 0, "wrong": {}, **more}


class Judgement(unittest.TestCase):
    row = rows.ROWS["64-split-256"]

    def figure(self, ours, theirs, row=None, **more):
        return a_result(row or self.row, in_turns(ours, theirs), **more)["figures"][0]

    def test_bars_of_the_kind(self):
        ours, theirs = noisy(31.5, 40, 0.05), [10.0] * 40
        self.assertEqual(self.figure(ours, theirs)["verdict"], "missed")  # 3.3
        self.assertEqual(self.figure(ours, theirs, kind="avx2")["verdict"], "met")  # 3.0

    def test_lower_is_better(self):
        row = rows.ROWS["64-split-256-latency"]
        for ours, verdict in ((300.0, "met"), (500.0, "missed")):
            values = [{"p50": ns, "p99": 2 * ns} for ns in noisy(ours, 40, 0.05)]
            figures = a_result(row, in_turns(values, [{"p50": 600.0, "p99": 1200.0}] * 40))["figures"]
            self.assertEqual([(f["figure"], f["verdict"]) for f in figures], [("p50", verdict), ("p99", "no bar")])

    def test_segments_are_counted_one_by_one(self):
        """A frame that is cut into 45 is missing 45 times."""
        row = rows.ROWS["gso-split-256"]
        self.assertEqual([figure.of({"payload_gbps": 20.5, "mpps": 1.7}) for figure in row.figures], [20.5])
        made_up = {"mpps": 1, "whole_run": {"a2b": {"sent": 10, "delivered": 440, "duplicated": 0, "malformed": 0}},
                   "segments_per_frame": 45}
        saved = subprocess.run, NullGuest.__dict__["command"]
        try:
            NullGuest.command = staticmethod(lambda *args: [])
            subprocess.run = lambda *args, **more: types.SimpleNamespace(returncode=0, stdout=json.dumps(made_up))
            told = NullGuest().run([], [], None, duration_s=1, warmup_s=0)
            made_up["whole_run"]["a2b"]["malformed"] = 1
            wrong = NullGuest().run([], [], None, duration_s=1, warmup_s=0)
        finally:
            subprocess.run, NullGuest.command = saved
        self.assertEqual(told["missing"], 10)
        self.assertTrue(measure.conserved(row, told, backends.Account(drops=10)))
        self.assertFalse(measure.conserved(row, wrong, backends.Account(drops=10)))

    def test_wide_is_reported_with_its_interval(self):
        figure = self.figure(noisy(33, 40, 0.9), [10.0] * 40)
        self.assertEqual((figure["refused"], figure["settled"], figure["verdict"]), (None, False, "open"))
        self.assertGreater(figure["ratio"]["half_width"], slices.HALF_WIDTH_MAX)

    def test_both_slow_in_the_same_minute_is_no_width(self):
        slow = noisy(1, 40, 0.6)
        self.assertTrue(self.figure([31 * s for s in slow], [10 * s for s in slow])["settled"])

    def test_too_few_pairs(self):
        few = slices.PAIRS_MIN - 1
        figure = self.figure([31.0] * few, [10.0] * few)
        self.assertIn("pairs", figure["refused"])
        self.assertEqual(figure["verdict"], "not measured")

    def test_frames_that_vanished(self):
        self.assertIn("vanished", self.figure([31.0] * 20, [10.0] * 20, conserved=False)["refused"])
        self.assertIsNone(self.figure([31.0] * 20, [10.0] * 20, conserved=None)["refused"])

    def test_idle_share_is_of_the_time_that_both_ran(self):
        """Half of it others had; of what the guests saw as idle, the back-end was away for a part."""
        report_ = {"guest_idle_share": 0.30, "guest_stalled_share": 0.3, "dry_share": 0.2}
        self.assertAlmostEqual(measure.idle_share(report_), 0.2)
        self.assertIsNone(measure.idle_share({**report_, "guest_stalled_share": 0.8}))
        self.assertIsNone(measure.idle_share({}))

    def test_guests_are_the_limit(self):
        for idle, limit in ((0.3, False), (0.05, True)):
            taken = in_turns([31.0] * 20, [10.0] * 20)
            for one in taken:
                one.idle = idle if one.side == "a" else 0.3
            self.assertIs(a_result(self.row, taken)["guests_limit"], limit)

    def test_conservation_guest_to_guest(self):
        account = backends.Account(drops=3)
        self.assertTrue(measure.conserved(self.row, a_run(missing=3), account))
        self.assertFalse(measure.conserved(self.row, a_run(missing=4), account))
        self.assertFalse(measure.conserved(self.row, a_run(missing=3, wrong={"duplicated": 1}), account))
        self.assertIsNone(measure.conserved(self.row, a_run(missing=4), backends.Account()))

    def test_conservation_with_a_null_nic(self):
        out, into = rows.ROWS["64-split-256-to-nic"], rows.ROWS["64-split-256-from-nic"]
        account = backends.Account(drops=2, rx={"a": 10, "b": 0}, tx={"a": 0, "b": 8})
        self.assertTrue(measure.conserved(out, a_run(sent=10), account))
        self.assertFalse(measure.conserved(out, a_run(sent=11), account))
        account = backends.Account(drops=40, rx={"a": 0, "b": 1000}, tx={"a": 960, "b": 0})
        self.assertTrue(measure.conserved(into, a_run(delivered=900), account))
        self.assertFalse(measure.conserved(into, a_run(delivered=961), account))
        self.assertFalse(measure.conserved(into, a_run(delivered=600), account))
        account.drops = 39
        self.assertFalse(measure.conserved(into, a_run(delivered=960), account))

    def test_conservation_with_a_tap(self):
        """The kernel may get more frames than were sent, never less; of what it sends it drops what nobody took."""
        out, into = rows.ROWS["tap-to-split-256"], rows.ROWS["tap-from-split-256"]
        account = backends.Account(drops=2, rx={"a": 10, "b": 0}, tx={"a": 0, "b": 8})
        for n, verdict in ((8, True), (360, True), (7, False)):
            self.assertIs(measure.conserved(out, a_run(sent=10, kernel={"rx_packets": n}), account), verdict)
        self.assertFalse(measure.conserved(out, a_run(sent=11, kernel={"rx_packets": 9}), account))
        account = backends.Account(drops=4, rx={"a": 0, "b": 20}, tx={"a": 16, "b": 0})
        for delivered, sent, verdict in ((16, 20, True), (10, 30, True), (17, 30, False), (16, 19, False)):
            got = a_run(sent=0, delivered=delivered, kernel={"tx_packets": sent})
            self.assertIs(measure.conserved(into, got, account), verdict)
        self.assertIsNone(measure.conserved(into, a_run(sent=0, kernel={}), backends.Account()))


class Rounds(unittest.TestCase):
    """measure_row() with back-ends that are made up."""

    class Fake:
        HUGEPAGES = 0
        simd_bits = None

        def __init__(self, name, error=None):
            self.name = name
            self.error = error

        def check(self, stage):
            if self.error:
                raise self.error

    class FakeSide:
        order = []
        values = {}
        closed = []
        ns = 70.0, 70.0

        def __init__(self, which, row, cpus, more, warmup_s):
            self.name = which.name
            self.guest = types.SimpleNamespace(tsc_hz=2e9)

        def slice(self, key, seconds, skip_s):
            self.order.append(key)
            time.sleep(0.001)
            value = self.values.get(key, {"a": 20.0, "b": 10.0}[key])
            if isinstance(value, Exception):
                raise value
            made = a_slice(key, value)
            made.distance_ns = self.ns
            return made

        def finish(self):
            return an_end()

        def close(self):
            self.closed.append(self.name)

    def setUp(self):
        saved = measure.Side, FRONT_ENDS["nullguest"].check

        def restore():
            measure.Side, FRONT_ENDS["nullguest"].check = saved

        self.addCleanup(restore)
        self.side = type("FakeSide", (self.FakeSide,), {"order": [], "values": {}, "closed": []})
        measure.Side = self.side
        FRONT_ENDS["nullguest"].check = lambda self: None

    def plan(self, **more):
        return measure.Plan(None, quiet_wait_s=0, kind="avx512", **{"budget_s": 60, **more})

    def sides(self):
        return {"a": (self.Fake("x"), ()), "b": (self.Fake("y"), ())}

    def test_until_settled(self):
        result = measure.measure_row(rows.ROWS["64-split-256"], self.sides(), self.plan())
        self.assertEqual("".join(self.side.order[:8]), "abbaabba")
        self.assertEqual(result["n_slices"], 2 * slices.SETTLED_MIN)
        figure = result["figures"][0]
        self.assertEqual((figure["ratio"]["median"], figure["settled"]), (2, True))
        self.assertEqual(sorted(self.side.closed), ["x", "y"])

    def test_twice_the_budget_where_there_is_no_figure(self):
        """Each pair has moved CPUs: none counts."""
        self.side.ns = 1.0, 100.0
        result = measure.measure_row(rows.ROWS["64-split-256"], self.sides(), self.plan(budget_s=0.2))
        self.assertGreaterEqual(result["took_s"], 0.4)
        self.assertIn("0 pairs", result["figures"][0]["refused"])

    def test_until_the_budget_is_spent(self):
        result = measure.measure_row(rows.ROWS["64-split-256"], self.sides(),
                                     self.plan(budget_s=0.1, settle=lambda taken, name: False))
        self.assertLess(result["took_s"], 5)
        self.assertEqual(result["n_slices"] % 2, 0)

    def test_started_more_than_once(self):
        result = measure.measure_row(rows.ROWS["64-split-256"], self.sides(), self.plan(starts=3))
        self.assertEqual((len(result["ends"]), result["medians"]), (3, [2.0] * 3))
        self.assertEqual(result["n_slices"], 3 * 2 * slices.SETTLED_MIN)

    def test_one_that_fails_is_closed(self):
        self.side.values["b"] = RunFailed("gone")
        with self.assertRaises(RunFailed):
            measure.measure_row(rows.ROWS["64-split-256"], self.sides(), self.plan())
        self.assertEqual(sorted(self.side.closed), ["x", "y"])

    def test_a_row_that_can_not_be_measured_does_not_stop_the_others(self):
        missing = {"a": (self.Fake("x"), ()), "b": (self.Fake("y", NotPossible("no such program")), ())}
        chosen = [rows.ROWS["64-split-256"], rows.ROWS["64-packed-256"]]
        saved = []
        result = measure.measure_rows(chosen, lambda row: self.sides() if row.layout == "packed" else missing, self.plan(),
                                      done=lambda so_far: saved.append(len(so_far)))
        self.assertEqual(result["64-split-256"]["not_measured"], "no such program")
        self.assertIsNone(result["64-packed-256"]["figures"][0]["refused"])
        self.assertEqual(saved, [1, 2])
        self.assertEqual(report.totals(result)["not measured"], 1)
        self.assertIn("64-split-256: not measured: no such program", report.table({"avx512": {"rows": result}}))


class Device:
    """A made-up back-end: carries so much, loses the rest; now and then a trial goes wrong by itself."""

    def __init__(self, capacity, seed=1, jitter=0.0, blips=0.0):
        self.capacity = capacity
        self.random = random.Random(seed)
        self.jitter = jitter
        self.blips = blips
        self.n = 0

    def __call__(self, load):
        self.n += 1
        capacity = self.capacity * (1 + self.random.uniform(-self.jitter, self.jitter))
        loss = max(0.0, 1 - capacity / load)
        if self.random.random() < self.blips:
            loss = max(loss, 0.02)
        return search.Trial(load, 2 * load, 2 * load * (1 - loss), loss)


class NoDropRate(unittest.TestCase):
    def find(self, device, tolerances=(0.0,), high=40.0, **more):
        return search.Search(device, high, say=lambda *args: None, **more).find_all(tolerances)

    def test_exact_device(self):
        for capacity in (0.9, 7.0, 13.3, 39.0):
            with self.subTest(capacity=capacity):
                found, = self.find(Device(capacity))
                self.assertLessEqual(found.load, capacity)
                # The precision is relative to the result, but never finer than that of the highest load at the low end.
                self.assertGreaterEqual(found.load, capacity * 0.985 if capacity > 2 else capacity * 0.6)
                self.assertGreaterEqual(found.confirmed, 3)
                self.assertFalse(found.capped)

    def test_noise_and_trials_gone_wrong(self):
        errors = []
        for seed in range(60):
            found, = self.find(Device(13.3, seed, jitter=0.005, blips=0.1))
            self.assertLessEqual(found.load, 13.3 * 1.006)
            errors.append(found.load / 13.3)
        self.assertGreater(statistics.median(errors), 0.97)
        self.assertGreater(statistics.quantiles(errors, n=20)[0], 0.5)

    def test_a_rate_that_passes_by_luck_is_not_confirmed(self):
        """At every load above 5, each second trial passes."""
        class Lucky(Device):
            def __call__(self, load):
                self.n += 1
                return search.Trial(load, load, load, 0.0 if load <= 5 or self.n % 2 else 0.1)
        found, = self.find(Lucky(0), confirm=4, retries=1)
        self.assertLessEqual(found.load, 5)
        self.assertGreater(found.load, 4)

    def test_tolerances_rise_and_share_trials(self):
        device = Device(10.0)
        zero, small, large = self.find(device, (0.05, 0.0, 0.01))
        self.assertEqual([f.tolerance for f in (zero, small, large)], [0.0, 0.01, 0.05])
        self.assertLessEqual(zero.load, 10.0)
        self.assertAlmostEqual(small.load, 10 / 0.99, delta=0.2)
        self.assertAlmostEqual(large.load, 10 / 0.95, delta=0.2)
        alone = Device(10.0)
        for tolerance in (0.0, 0.01, 0.05):
            self.find(alone, (tolerance,))
        self.assertLess(device.n, alone.n)

    def test_carries_all(self):
        found, = self.find(Device(100.0))
        self.assertTrue(found.capped)
        self.assertEqual(found.load, 40.0)

    def test_carries_nothing(self):
        device = Device(1e-9)
        found, = self.find(device)
        self.assertEqual((found.load, found.trial), (0.0, None))
        self.assertLess(device.n, 40)

    def test_whole_numbers(self):
        loads = []

        def device(load):
            loads.append(load)
            return search.Trial(load, load, load, 0.0 if load <= 24 else 0.5)
        found, = self.find(device, high=64, quantum=4, retries=0)
        self.assertEqual(found.load, 24)
        self.assertTrue(all(load % 4 == 0 and load > 0 for load in loads), loads)

    def test_a_source_at_its_limit_is_named(self):
        def device(load):
            return search.Trial(load, load, load, 0.0 if load < 10 else 0.5, limited=load >= 10)
        found, = self.find(device)
        self.assertTrue(found.source_limited)


class Pages(unittest.TestCase):
    """Files, tables, pictures."""

    def setUp(self):
        self.dir = pathlib.Path(vnictest.tmpdir("vnic-bench-test-"))
        latency = [{"p50": 300.0, "p99": 900.0}] * 20, [{"p50": 600.0, "p99": 1800.0}] * 20
        moved = in_turns([35.0] * 20, [10.0] * 20)
        moved[0].distance_ns = (70.0, 300.0)
        for one in moved:
            one.idle = 0.02 if one.side == "a" else 0.4
        self.rows = {
            "64-split-256": a_result(rows.ROWS["64-split-256"], moved,
                                     cost={"mpps": 8.1, "a": 52.0, "b": 182.0, "ratio": 3.5}),
            "64-packed-256": a_result(rows.ROWS["64-packed-256"], in_turns(noisy(30, 40, 0.9), [10.0] * 40)),
            "64-split-256-latency": a_result(rows.ROWS["64-split-256-latency"], in_turns(*latency)),
            "64-split-256-to-nic": a_result(rows.ROWS["64-split-256-to-nic"], in_turns([3.0] * 2, [1.0] * 2)),
            "64-split-1024-switch": {"about": "switch", "not_measured": "no ovs", "bar": 5.0, "figures": [],
                                     "sides": {"a": "vnicd", "b": "ovs"}},
        }
        self.file = self.write("board.json", self.rows)

    def write(self, name, found, kind="avx512", **more):
        path = self.dir / name
        facts = {**machine.facts(some_cpus()), "tsc_hz": 2e9, "cpu_kind": kind, "simd_limited": False, **more}
        report.write(path, "scoreboard", facts, {"vnicd": {"spec": "vnicd", "version": "vnicd 1"}}, {"rows": found})
        return path

    def boards(self):
        return report.read_boards([self.file])

    def pictures(self, boards, name):
        try:
            return plot.write(boards, self.dir / name)
        except NotPossible as why:
            self.skipTest(str(why))

    def test_pictures_are_svg_and_show_what_they_should(self):
        paths = self.pictures(self.boards(), "pictures")
        self.assertEqual([p.name for p in paths], ["throughput.svg", "cycles.svg", "latency.svg", "ratios.svg"])
        for path in paths:
            root = xml.etree.ElementTree.parse(path).getroot()
            self.assertEqual(root.tag, "{http://www.w3.org/2000/svg}svg")
        text = (self.dir / "pictures/throughput.svg").read_text()
        for word in ("64-split-256", "64-packed-256", "vnicd", "testpmd", "Mpps"):
            self.assertIn(word, text)
        self.assertIn("p99", (self.dir / "pictures/latency.svg").read_text())

    def test_pictures_of_two_kinds(self):
        second = self.write("second.json", {"64-split-256": self.rows["64-split-256"]}, "avx2")
        self.pictures(report.read_boards([self.file, second]), "two-kinds")
        self.assertIn("testpmd, AVX2", (self.dir / "two-kinds/throughput.svg").read_text())

    def test_pictures_are_the_same_each_time(self):
        first = [p.read_bytes() for p in self.pictures(self.boards(), "one")]
        self.assertEqual(first, [p.read_bytes() for p in self.pictures(self.boards(), "two")])

    def test_cycles_turn_the_range_round(self):
        self.assertEqual(plot.cycles({"tsc_hz": 2e9}, {"median": 20.0, "min": 10.0, "max": 40.0}),
                         {"median": 100.0, "min": 50.0, "max": 200.0})

    def test_no_figure_no_picture(self):
        with self.assertRaises(NotPossible):
            plot.write({"avx512": {"rows": {"x": self.rows["64-split-1024-switch"]}}}, self.dir / "none")

    def test_file_and_markdown(self):
        boards = self.boards()
        self.assertEqual(boards["avx512"]["rows"], json.loads(json.dumps(self.rows)))
        text = report.markdown(boards)
        self.assertIn("**3.50** [3.50-3.50] met (>= 3.3)<br>35.00 : 10.00 Mpps", text)
        self.assertIn("guests idle 2 % : 40 %: they are the limit; at 8.1 Mpps 52 : 182 cycles a frame, 3.50", text)
        self.assertIn("19 pairs; of 40 slices not used: 1 : 0 (the CPUs moved within it), "
                      "0 : 1 (its neighbour was of another class)", text)
        self.assertRegex(text, r"64-split-256`.*<br>\d+ instructions a frame")
        self.assertRegex(text, r"64-packed-256`.*open \(>= 3\).*not settled: \+- \d+ %")
        self.assertIn("| `64-split-256-latency p50` |", text)
        self.assertIn("met (<= 0.7)", text)
        self.assertIn("not measured: 2 pairs of one class, at least 10 are needed", text)
        self.assertIn("not measured: no ovs", text)
        tables = [line for line in text.splitlines() if line.startswith("|")]
        self.assertEqual({line.count("|") for line in tables}, {4})

    def test_a_column_for_each_kind(self):
        second = self.write("second.json", {"64-split-256": a_result(
            rows.ROWS["64-split-256"], in_turns([31.0] * 20, [10.0] * 20), "avx2")}, "avx2", simd_limited=True)
        text = report.markdown(report.read_boards([second, self.file]))
        self.assertIn("| row | what | AVX-512 | AVX2 |", text)
        self.assertIn("limited to vectors of 256 bits", text)
        line = next(line for line in text.splitlines() if line.startswith("| `64-split-256` "))
        self.assertRegex(line, r"\| \*\*3\.50\*\*.*>= 3\.3.* \| \*\*3\.10\*\*.*>= 3\)")
        alone = next(line for line in text.splitlines() if line.startswith("| `64-packed-256` "))
        self.assertTrue(alone.endswith(" |  |"), alone)

    def test_table(self):
        text = report.table(self.boards())
        self.assertRegex(text, r"64-split-256 +3\.50 \[3\.50-3\.50\] +met \(>= 3\.3\) +35\.00 : 10\.00 Mpps +vnicd : testpmd")
        self.assertRegex(text, r"64-split-256-to-nic +not measured: 2 pairs")

    def test_totals(self):
        self.assertEqual(report.totals(self.rows), {"met": 2, "missed": 0, "open": 1, "not measured": 2, "no bar": 1})

    def test_later_files_win(self):
        second = self.write("second.json", {"64-split-256": {**self.rows["64-split-256"], "about": "new"}})
        board = report.read_boards([self.file, second])["avx512"]
        self.assertEqual(board["rows"]["64-split-256"]["about"], "new")
        self.assertEqual(len(board["rows"]), len(self.rows))

    def test_files_of_others_are_refused(self):
        other = self.dir / "other.json"
        for content in ("{}", "[1]", "nonsense"):
            other.write_text(content)
            with self.assertRaises(ValueError):
                report.read(other)


def some_cpus():
    cpus = machine.Cpus.__new__(machine.Cpus)
    cpus.forward = cpus.guest = cpus.control = 0
    return cpus


def end_if_there(pid):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


class KernelsEnd(unittest.TestCase):
    """A tap of vnicd's, and the kernel at its other end."""

    def setUp(self):
        if os.geteuid() != 0:
            self.skipTest("needs root, to make network namespaces")

    def run_tap(self, *args, source=None):
        end = kernel.Kernel(source)
        self.addCleanup(end.close)
        vnicd = vnictest.Vnicd({"vm0": "vhost-user", "up0": f"tap,ifname={kernel.IFNAME}"}, netns=end.netns)
        self.addCleanup(vnicd.stop)
        end.start()
        done = subprocess.run([machine.nullguest_path(), "--socket", vnicd.sock("vm0"), "--duration", "0.4", "--warmup",
                               "0.1", "--json", *args], capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        return end, json.loads(done.stdout), vnicd.stats()

    def test_to_the_kernel(self):
        end, report_, ports = self.run_tap("--direction", "out", "--tso", "whole", "--window", "8")
        counted = end.stop()
        sent = report_["whole_run"]["out"]["sent"]
        self.assertGreater(sent, 0)
        self.assertEqual((counted["rx_packets"], counted["rx_bytes"]), (sent, sent * 65226))
        self.assertEqual(ports["up0"]["tx_packets"], sent)
        first, last = end.samples[1][0], end.samples[-1][0]
        n_bytes = end.rate("rx_bytes", first, last - first) * (last - first)
        self.assertAlmostEqual(n_bytes, sent * 65226, delta=sent * 65226 / 2)

    def test_from_the_kernel(self):
        end, report_, ports = self.run_tap("--direction", "in", "--tso", "whole", "--shape", "linux",
                                           source=vnictest.cpus()[-1])
        whole = report_["whole_run"]["in"]
        self.assertGreater(whole["delivered"], 0)
        self.assertEqual(whole["bytes"], 65226 * whole["delivered"], "what was sent to be segmented came whole")
        self.assertLessEqual(ports["up0"]["rx_packets"], end.stop()["tx_packets"])
        self.assertGreaterEqual(ports["vm0"]["tx_packets"], whole["delivered"])

    def test_nothing_came(self):
        end = kernel.Kernel()
        self.addCleanup(end.close)
        end.stop()
        with self.assertRaisesRegex(RunFailed, "not seen until then"):
            end.rate("rx_bytes", 0, 1)

    def test_between_samples(self):
        end = kernel.Kernel()
        self.addCleanup(end.close)
        end.samples = [(10.0, {}), (10.1, {"rx_bytes": 100}), (10.2, {"rx_bytes": 300})]
        self.assertAlmostEqual(end.rate("rx_bytes", 10.05, 0.1), 1500)
        with self.assertRaisesRegex(RunFailed, "from then on"):
            end.rate("rx_bytes", 9.0, 1)


class Accounts(unittest.TestCase):
    def test_work_of_vnicd(self):
        vnicd = vnictest.Vnicd({"a": "vhost-user", "b": "vhost-user"})
        self.addCleanup(vnicd.stop)
        running = backends.RunningVnicd(vnicd, [], vnicd.control)
        self.assertTrue(running.count_work())
        before, deadline = running.work(), time.monotonic() + 5
        after = running.work()
        while after.idle_iterations == before.idle_iterations and time.monotonic() < deadline:
            time.sleep(0.02)
            after = running.work()
        self.assertEqual((after.frames, after.cycles), (0, None))
        self.assertGreater(after.idle_iterations, before.idle_iterations)
        self.assertGreater(after.cpu_s, before.cpu_s)

    def test_testpmd(self):
        account = backends.testpmd_account("""
  ---------------------- Forward statistics for port 0  ----------------------
  RX-packets: 100            RX-dropped: 0             RX-total: 100
  TX-packets: 90             TX-dropped: 1             TX-total: 91
  ----------------------------------------------------------------------------

  ---------------------- Forward statistics for port 1  ----------------------
  RX-packets: 91             RX-dropped: 0             RX-total: 91
  TX-packets: 97             TX-dropped: 3             TX-total: 100
  ----------------------------------------------------------------------------

  +++++++++++++++ Accumulated forward statistics for all ports+++++++++++++++
  RX-packets: 191            RX-dropped: 0             RX-total: 191
  TX-packets: 187            TX-dropped: 4             TX-total: 191
""")
        self.assertEqual((account.drops, account.rx, account.tx), (4, {"a": 100, "b": 91}, {"a": 90, "b": 97}))

    def test_testpmd_that_says_nothing(self):
        self.assertIsNone(backends.testpmd_account("killed").drops)

    def test_testpmd_that_counts_cycles(self):
        stats = backends.forward_stats("""
  +++++++++++++++ Accumulated forward statistics for all ports+++++++++++++++
  RX-packets: 191            RX-dropped: 0             RX-total: 191
  TX-packets: 187            TX-dropped: 4             TX-total: 191

  CPU cycles/packet=101.29 (total cycles=19347 / total RX packets=191) at 2600 MHz Clock
""")
        self.assertEqual(stats, {"rx": 191, "tx": 187, "cycles": 19347, "mhz": 2600})
        with self.assertRaises(RunFailed):
            backends.forward_stats("nothing")


class CommandLine(unittest.TestCase):
    def run_bench(self, *args):
        done = subprocess.run([str(VNIC_BENCH), *args], capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stdout, done.stderr

    @staticmethod
    def run_here(*args):
        """The same without a process of its own."""
        with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
            try:
                status = cli.main(list(args))
            except SystemExit as end:
                status = end.code
        return status, out.getvalue(), err.getvalue()

    def test_usage_errors_are_named(self):
        for args, words in (
                ((), "COMMAND"), (("nonsense",), "nonsense"), (("--row", "("), "regular expression"),
                (("--a", "snabb"), "vnicd"), (("--row", "nosuchrow"), "no row matches"),
                (("scoreboard", "--starts", "0"), "more than 0"), (("scoreboard", "--simd", "128"), "256"),
                (("scoreboard", "--slice", "0.01"), "slices are from"), (("--cpus", "1,1"), "two CPUs"),
                (("search", "--sockets", "/tmp/a"), "two sockets"), (("search", "--loss", "2"), "0 to 1"),
                (("search", "--row", "64-split-256-to-nic"), "guest-to-guest"),
                (("search", "--server"), "--sockets"),
                (("search", "--backend", "vnicd", "--sockets", "a,b"), "not allowed"),
                (("table", "/nonexistent.json", "--plot", "x"), "No such file"),
                (("table", str(VNIC_BENCH)), "not JSON")):
            with self.subTest(args):
                status, out, err = self.run_here(*args)
                self.assertEqual((status, out), (2, ""), err)
                self.assertIn(words, err)
        self.assertEqual(self.run_bench("nonsense"), self.run_here("nonsense"))

    def test_help_teaches(self):
        for args in (("--help",), ("scoreboard", "--help"), ("compare", "--help"), ("search", "--help"),
                     ("table", "--help"), ("list", "--help")):
            status, out, err = self.run_here(*args)
            self.assertEqual((status, err), (0, ""))
            self.assertGreater(len(out.splitlines()), 5)
        self.assertIn("settled:", self.run_here("scoreboard", "--help")[1])
        self.assertIn("exit status", self.run_here("--help")[1])

    def test_list(self):
        status, out, _ = self.run_here("list")
        self.assertEqual(status, 0)
        self.assertEqual([line.split()[0] for line in out.splitlines()], list(rows.ROWS))

    def test_without_a_command_it_compares(self):
        options = cli.parser_make().parse_args(["compare", "--a", "vnicd:/new", "--b", "vnicd:/old", "--row", "64"])
        self.assertEqual((options.a.binary, options.b.binary, options.row), ("/new", "/old", ["64"]))
        status, _, err = self.run_bench("--a", "vnicd:/nonexistent", "--b", "vnicd:/nonexistent", "--row",
                                        "^64-split-256$", "--output", os.devnull)
        self.assertEqual(status, 1, err)
        self.assertNotIn("Traceback", err)

    def test_gate(self):
        """Exit statuses of a scoreboard whose rows are made up."""
        for verdict, gate, status in (("met", True, 0), ("missed", True, 3), ("missed", False, 0),
                                      ("not measured", True, 1)):
            with self.subTest(verdict=verdict, gate=gate):
                saved = cli.run_rows
                cli.run_rows = lambda *args, v=verdict: {"r": {"figures": [{"verdict": v}]}}
                try:
                    with contextlib.redirect_stdout(io.StringIO()):
                        self.assertEqual(cli.main(["scoreboard", *(["--gate"] if gate else [])]), status)
                finally:
                    cli.run_rows = saved

    def test_nothing_is_left_when_it_is_ended(self):
        """SIGTERM while a back-end runs: made up of a shell that would sleep for long."""
        script = ("import sys, time; sys.path.insert(0, sys.argv[1]); from bench import cli, machine\n"
                  "def run(args):\n"
                  "    proc = machine.vnictest.Proc(['sleep', '600'])\n"
                  "    print(proc.pid, flush=True)\n"
                  "    time.sleep(60)\n"
                  "cli.run_list = run\n"
                  "sys.exit(cli.main(['list']))\n")
        bench = vnictest.Proc([sys.executable, "-c", script, str(HERE)])
        child = int(bench.expect(r"^\d+$").group(0))
        self.addCleanup(end_if_there, child)
        bench.signal(signal.SIGTERM)
        self.assertEqual(bench.wait(10), 128 + signal.SIGTERM)
        for _ in range(50):
            try:
                os.kill(child, 0)
                state = pathlib.Path(f"/proc/{child}/stat").read_text().rsplit(")", 1)[1].split()[0]
            except (ProcessLookupError, FileNotFoundError):
                return
            if state == "Z":  # ended; whoever inherits it has not looked yet
                return
            time.sleep(0.1)
        self.fail("what it had started is still there")

    def test_one_short_run(self):
        """The real thing: vnicd beside itself for a second; what a figure is worth is not asked."""
        self.assertTrue(os.access(vnictest.VNICD, os.X_OK), f"no vnicd at {vnictest.VNICD}")
        try:
            machine.Cpus()
            with machine.hugepages(os.geteuid() == 0, 2 * backends.Vnicd.HUGEPAGES):
                pass
        except NotPossible as why:
            self.skipTest(str(why))
        out = pathlib.Path(vnictest.tmpdir("vnic-bench-test-")) / "out.json"
        status, text, err = self.run_bench("--row", "^64-packed-256$", "--b", f"vnicd:{vnictest.VNICD}", "--quick",
                                           "--budget", "1", "--simd", "256", "--slice", "0.04", "--warmup", "0.1",
                                           "--quiet-wait", "0", "--output", str(out),
                                           *(["--reserve"] if os.geteuid() == 0 else []))
        self.assertIn(status, (0, 1), err)  # 1: beside other programs there may be too few pairs of one class
        board = report.read_boards([out])["avx2"]
        row = board["rows"]["64-packed-256"]
        self.assertGreater(row["n_slices"], 4)
        self.assertEqual(2 * row["n_pairs"] + sum(sum(n.values()) for n in row["dropped"].values()), row["n_slices"])
        for key in "ab":
            run = row["ends"][0][key]
            self.assertIs(run["conserved"], True, run)
            self.assertEqual(run["complaints"], [])
            self.assertIn(run["isa"], ("portable", "avx2"))
            self.assertGreater(run["delivered"], 1000)
            self.assertIn("--forward-mode", run["backend_command"])
            self.assertIn("packed", run["guest_command"])
        self.assertIn("64-packed-256", text)
        self.assertEqual(board["backends"]["vnicd"]["spec"], "vnicd")
        for fact in ("cpu", "kernel", "hugepage_kib", "cpus", "tsc_hz"):
            self.assertTrue(board[fact], fact)


if __name__ == "__main__":
    unittest.main()

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
from bench import backends, cli, kernel, machine, measure, plot, report, rows, search  # noqa: E402
from bench.guests import FRONT_ENDS, NullGuest, VirtioUser  # noqa: E402
from bench.machine import NotPossible, RunFailed, vnictest  # noqa: E402

VNIC_BENCH = vnictest.ROOT / "usertools/vnic-bench"


def a_report(mpps=10.0, **more):
    return {"mpps": mpps, "conserved": True, "noise": [], "distance_ns": [70.0, 75.0], "guest_idle_share": 0.3,
            "tsc_hz": 2e9, "missing": 0, "backend_drops": 0, "wrong": {}, **more}


def a_result(row, ours, theirs, **more):
    """What measure_row() makes of runs with these rates."""
    sides = {"a": (backends.backend("vnicd"), ()), "b": (backends.backend("testpmd"), ())}
    return measure.summary(row, sides, {"a": [a_report(x, **more) for x in ours], "b": [a_report(x) for x in theirs]})


class Table(unittest.TestCase):
    def test_rows_are_well_formed(self):
        for name, row in rows.ROWS.items():
            with self.subTest(name):
                self.assertEqual(name, row.name)
                self.assertTrue(row.about)
                self.assertIn(row.front_end, FRONT_ENDS)
                self.assertIn(row.stage.mode, ("io", "switch"))
                self.assertGreaterEqual(row.stage.n_guests, 1)
                for peer in row.peers:
                    if peer != rows.SELF:
                        which = backends.backend(peer)
                        self.assertIn(row.stage.mode, which.MODES)
                        self.assertLessEqual(set(row.stage.ports), set(which.PORTS))
                self.assertTrue(all(isinstance(word, str) for word in row.guest))
                self.assertIn(str(row.ring_size), name)
                self.assertEqual(len({figure.better for figure in row.figures}), 1)

    def test_both_layouts_and_a_bar_everywhere_on_the_scoreboard(self):
        for name in rows.SCOREBOARD:
            other = name.replace("split", "packed") if "split" in name else name.replace("packed", "split")
            self.assertIn(other, rows.SCOREBOARD)
            self.assertIsNotNone(rows.ROWS[name].bar)

    def test_lower_is_better_has_a_bar_below_one(self):
        for row in rows.ROWS.values():
            if row.better == "lower":
                self.assertLess(row.bar, 1)

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
        given = measure.sides_of(row, ours, [backends.backend("vnicd:/old")])
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
        self.assertEqual(self.said, [])
        command = self.command("testpmd", "gso-split-256")
        self.assertIn("iface=/tmp/x/b,queues=1,tso=1 ", command)
        self.assertIn("--rx-offloads=0xc -i", command)
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


class Judgement(unittest.TestCase):
    row = rows.ROWS["64-split-256"]

    def figure(self, ours, theirs, row=None, **more):
        return a_result(row or self.row, ours, theirs, **more)["figures"][0]

    def test_met_and_missed(self):
        theirs = [10.0, 10.1, 9.9, 10.0] * 3
        self.assertEqual(self.figure([31.0] * 12, theirs)["verdict"], "met")
        self.assertEqual(self.figure([29.0] * 12, theirs)["verdict"], "missed")

    def test_lower_is_better(self):
        row = rows.ROWS["64-split-256-latency"]
        for ours, verdict in ((300.0, "met"), (400.0, "missed")):
            with self.subTest(ours=ours):
                sides = measure.sides_of(row, backends.backend("vnicd"))
                runs = {key: [a_report(latency_ns={"p50": ns, "p99": 2 * ns}) for _ in range(10)]
                        for key, ns in (("a", ours), ("b", 600.0))}
                figures = measure.summary(row, sides, runs)["figures"]
                self.assertEqual([f["figure"] for f in figures], ["p50", "p99"])
                self.assertEqual([f["verdict"] for f in figures], [verdict] * 2)

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

    def test_pairs_that_disagree_are_refused(self):
        wild = [20.0, 45.0, 30.0, 44.0, 21.0, 40.0, 33.0, 25.0, 41.0, 28.0]
        figure = self.figure(wild, [10.0] * 10)
        self.assertIn("quartile", figure["refused"])
        self.assertEqual(figure["verdict"], "not measured")
        self.assertFalse(figure["publishable"])

    def test_one_run_gone_wrong_is_not_enough_to_refuse(self):
        figure = self.figure([31.0] * 9 + [5.0], [10.0] * 10)
        self.assertIsNone(figure["refused"])
        self.assertEqual(figure["verdict"], "met")

    def test_both_slow_in_the_same_minute_is_no_spread(self):
        slow = [1.0, 0.5, 1.0, 0.6, 0.9, 0.4, 1.0, 0.7, 0.8, 1.0]
        figure = self.figure([31 * s for s in slow], [10 * s for s in slow])
        self.assertIsNone(figure["refused"])

    def test_too_few_pairs(self):
        self.assertIn("pairs", self.figure([31.0] * 3, [10.0] * 3)["refused"])
        figure = self.figure([31.0] * 5, [10.0] * 5)
        self.assertEqual((figure["refused"], figure["publishable"]), (None, False))
        self.assertTrue(self.figure([31.0] * 10, [10.0] * 10)["publishable"])

    def test_frames_that_vanished(self):
        self.assertIn("vanished", self.figure([31.0] * 10, [10.0] * 10, conserved=False)["refused"])
        self.assertIsNone(self.figure([31.0] * 10, [10.0] * 10, conserved=None)["refused"])

    def test_disturbed_runs(self):
        self.assertIn("disturbed", self.figure([31.0] * 10, [10.0] * 10, noise=["CPU 0 is 90 % busy"])["refused"])

    def test_conservation_guest_to_guest(self):
        account = backends.Account(drops=3)
        self.assertTrue(measure.conserved(self.row, a_report(missing=3), account))
        self.assertFalse(measure.conserved(self.row, a_report(missing=4), account))
        self.assertFalse(measure.conserved(self.row, a_report(missing=3, wrong={"duplicated": 1}), account))
        self.assertIsNone(measure.conserved(self.row, a_report(missing=4), backends.Account()))

    def test_conservation_with_a_null_nic(self):
        out, into = rows.ROWS["64-split-256-to-nic"], rows.ROWS["64-split-256-from-nic"]
        account = backends.Account(drops=2, rx={"a": 10, "b": 0}, tx={"a": 0, "b": 8})
        self.assertTrue(measure.conserved(out, a_report(sent=10), account))
        self.assertFalse(measure.conserved(out, a_report(sent=11), account))
        account = backends.Account(drops=40, rx={"a": 0, "b": 1000}, tx={"a": 960, "b": 0})
        self.assertTrue(measure.conserved(into, a_report(delivered=900), account))
        self.assertFalse(measure.conserved(into, a_report(delivered=961), account))
        self.assertFalse(measure.conserved(into, a_report(delivered=600), account))
        account.drops = 39
        self.assertFalse(measure.conserved(into, a_report(delivered=960), account))

    def test_conservation_with_a_tap(self):
        """The kernel may get more frames than were sent, never less; of what it sends it drops what nobody took."""
        out, into = rows.ROWS["tap-to-split-256"], rows.ROWS["tap-from-split-256"]
        account = backends.Account(drops=2, rx={"a": 10, "b": 0}, tx={"a": 0, "b": 8})
        for n, verdict in ((8, True), (360, True), (7, False)):
            self.assertIs(measure.conserved(out, a_report(sent=10, kernel={"rx_packets": n}), account), verdict)
        self.assertFalse(measure.conserved(out, a_report(sent=11, kernel={"rx_packets": 9}), account))
        account = backends.Account(drops=4, rx={"a": 0, "b": 20}, tx={"a": 16, "b": 0})
        for delivered, sent, verdict in ((16, 20, True), (10, 30, True), (17, 30, False), (16, 19, False)):
            got = a_report(sent=0, delivered=delivered, kernel={"tx_packets": sent})
            self.assertIs(measure.conserved(into, got, account), verdict)
        self.assertIsNone(measure.conserved(into, a_report(sent=0, kernel={}), backends.Account()))

    def test_distance(self):
        self.assertTrue(measure.same_distance([a_report(), a_report(distance_ns=[80, 100])]))
        self.assertFalse(measure.same_distance([a_report(), a_report(distance_ns=[80, 300])]))


class Rounds(unittest.TestCase):
    """measure_row() with back-ends that are made up."""

    class Fake:
        HUGEPAGES = 0
        GUEST_LISTENS = False

        def __init__(self, name, error=None):
            self.name = name
            self.error = error

        def check(self, stage):
            if self.error:
                raise self.error

    def setUp(self):
        self.order = []
        saved = measure.run_once, machine.quiet, FRONT_ENDS["nullguest"].check

        def restore():
            measure.run_once, machine.quiet, FRONT_ENDS["nullguest"].check = saved

        self.addCleanup(restore)
        measure.run_once = self.run_once
        machine.quiet = lambda *args: []
        FRONT_ENDS["nullguest"].check = lambda self: None
        self.distances = iter([])

    def run_once(self, which, row, cpus, **more):
        self.order.append(which.name)
        return a_report(20.0 if which.name == "x" else 10.0, distance_ns=[next(self.distances, 70.0)] * 2)

    def plan(self, pairs):
        return measure.Plan(None, pairs=pairs, duration_s=1, say=lambda s: None)

    def sides(self, row):
        return {"a": (self.Fake("x"), ()), "b": (self.Fake("y"), ())}

    def test_in_turns(self):
        row = rows.ROWS["64-split-256"]
        result = measure.measure_row(row, self.sides(row), self.plan(5))
        self.assertEqual(self.order, ["x", "y"] * 5)
        self.assertEqual(result["figures"][0]["ratio"], {"median": 2, "min": 2, "max": 2})

    def test_a_pair_whose_cpus_moved_is_repeated(self):
        row = rows.ROWS["64-split-256"]
        self.distances = iter([70, 70, 70, 300])
        result = measure.measure_row(row, self.sides(row), self.plan(2))
        self.assertEqual((len(self.order), len(result["runs"]["a"]), len(result["discarded"])), (6, 2, 1))

    def test_cpus_that_always_move(self):
        row = rows.ROWS["64-split-256"]
        self.distances = iter([70, 300] * 100)
        with self.assertRaisesRegex(NotPossible, "distance"):
            measure.measure_row(row, self.sides(row), self.plan(2))

    def test_a_row_that_can_not_be_measured_does_not_stop_the_others(self):
        missing = self.Fake("y", NotPossible("no such program"))
        chosen = [rows.ROWS["64-split-256"], rows.ROWS["64-packed-256"]]
        saved = []
        result = measure.measure_rows(
            chosen, lambda row: self.sides(row) if row.layout == "packed" else {"a": (self.Fake("x"), ()),
                                                                               "b": (missing, ())},
            self.plan(4), done=lambda so_far: saved.append(len(so_far)))
        self.assertEqual(result["64-split-256"]["not_measured"], "no such program")
        self.assertIsNone(result["64-packed-256"]["figures"][0]["refused"])
        self.assertEqual(saved, [1, 2])
        self.assertEqual(report.totals(result)["not measured"], 1)
        self.assertIn("64-split-256: not measured: no such program", report.table(result))

    def test_time_left(self):
        progress = measure.Progress(10, 3)
        self.assertEqual(str(progress), "[0/10, 30 s left]")


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
        latency = rows.ROWS["64-split-256-latency"]
        runs = {key: [a_report(latency_ns={"p50": ns, "p99": 3 * ns}) for _ in range(10)]
                for key, ns in (("a", 300.0), ("b", 600.0))}
        self.rows = {
            "64-split-256": a_result(rows.ROWS["64-split-256"], [31.0] * 10, [10.0] * 10),
            "64-packed-256": a_result(rows.ROWS["64-packed-256"], [31.0, 90.0] * 5, [10.0] * 10),
            "64-split-256-latency": measure.summary(
                latency, measure.sides_of(latency, backends.backend("vnicd")), runs),
            "64-split-1024-switch": {"about": "switch", "not_measured": "no ovs", "bar": 4.0, "figures": [],
                                    "sides": {}},
        }
        self.file = self.dir / "board.json"
        facts = {**machine.facts(some_cpus()), "tsc_hz": 2e9}
        report.write(self.file, "scoreboard", facts, {"vnicd": {"spec": "vnicd", "version": "vnicd 1"}},
                     {"rows": self.rows})

    def test_pictures_are_svg_and_show_what_they_should(self):
        try:
            plot.pyplot()
        except NotPossible as why:
            self.skipTest(str(why))
        paths = plot.write(self.rows, self.dir / "pictures")
        self.assertEqual([p.name for p in paths], ["throughput.svg", "cycles.svg", "latency.svg", "ratios.svg"])
        for path in paths:
            root = xml.etree.ElementTree.parse(path).getroot()
            self.assertEqual(root.tag, "{http://www.w3.org/2000/svg}svg")
        text = (self.dir / "pictures/throughput.svg").read_text()
        for word in ("64-split-256", "64-packed-256", "vnicd", "testpmd", "Mpps"):
            self.assertIn(word, text)
        self.assertIn("p99", (self.dir / "pictures/latency.svg").read_text())

    def test_pictures_are_the_same_each_time(self):
        try:
            first = [p.read_bytes() for p in plot.write(self.rows, self.dir / "one")]
        except NotPossible as why:
            self.skipTest(str(why))
        self.assertEqual(first, [p.read_bytes() for p in plot.write(self.rows, self.dir / "two")])

    def test_cycles_turn_the_range_round(self):
        self.assertEqual(plot.cycles({"tsc_hz": 2e9}, {"median": 20.0, "min": 10.0, "max": 40.0}),
                         {"median": 100.0, "min": 50.0, "max": 200.0})

    def test_no_figure_no_picture(self):
        with self.assertRaises(NotPossible):
            plot.write({"x": self.rows["64-split-1024-switch"]}, self.dir / "none")

    def test_file_and_markdown(self):
        data, read = report.read_rows([self.file])
        self.assertEqual(read, json.loads(json.dumps(self.rows)))
        text = report.markdown(data, read)
        self.assertIn("**3.10** (3.10-3.10) | >= 3 | met |", text)
        refused = next(line for line in text.splitlines() if line.startswith("| `64-packed-256`"))
        self.assertIn("| - | >= 3 | not measured: half the quartile distance", refused)
        self.assertIn("| `64-split-256-latency p50` |", text)
        self.assertIn("<= 0.6 | met |", text)
        self.assertIn("not measured: no ovs", text)
        tables = [line for line in text.splitlines() if line.startswith("|")]
        self.assertEqual({line.count("|") for line in tables}, {8})

    def test_a_refused_ratio_stands_in_brackets(self):
        line = next(line for line in report.table(self.rows).splitlines() if line.startswith("64-packed-256"))
        self.assertIn("[", line)
        self.assertIn("not measured", line)

    def test_totals(self):
        self.assertEqual(report.totals(self.rows), {"met": 3, "missed": 0, "not measured": 2, "no bar": 0})

    def test_later_files_win(self):
        second = self.dir / "second.json"
        report.write(second, "compare", machine.facts(some_cpus()), {}, {"rows": {
            "64-split-256": {**self.rows["64-split-256"], "about": "new"}}})
        self.assertEqual(report.read_rows([self.file, second])[1]["64-split-256"]["about"], "new")
        self.assertEqual(len(report.read_rows([self.file, second])[1]), len(self.rows))

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
        self.assertGreater(end.rate("rx_bytes", 0, 10), 0)

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
        with self.assertRaisesRegex(RunFailed, "no frame"):
            end.rate("rx_bytes", 0, 1)


class Accounts(unittest.TestCase):
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

    def test_virtio_user(self):
        stats = VirtioUser.forward_stats("""
  +++++++++++++++ Accumulated forward statistics for all ports+++++++++++++++
  RX-packets: 191            RX-dropped: 0             RX-total: 191
  TX-packets: 187            TX-dropped: 4             TX-total: 191

  CPU cycles/packet=101.29 (total cycles=19347 / total RX packets=191) at 2600 MHz Clock
""")
        self.assertEqual(stats, {"rx": 191, "tx": 187, "cycles": 19347, "mhz": 2600})
        with self.assertRaises(RunFailed):
            VirtioUser.forward_stats("nothing")


class CommandLine(unittest.TestCase):
    def run_bench(self, *args):
        done = subprocess.run([str(VNIC_BENCH), *args], capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stdout, done.stderr

    def test_usage_errors_are_named(self):
        for args, words in (
                ((), "COMMAND"), (("nonsense",), "nonsense"), (("--row", "("), "regular expression"),
                (("--a", "snabb"), "vnicd"), (("--row", "nosuchrow"), "no row matches"),
                (("scoreboard", "--restarts", "0"), "more than 0"), (("--cpus", "1,1"), "two CPUs"),
                (("search", "--sockets", "/tmp/a"), "two sockets"), (("search", "--loss", "2"), "0 to 1"),
                (("search", "--row", "64-split-256-to-nic"), "guest-to-guest"),
                (("search", "--server"), "--sockets"),
                (("search", "--backend", "vnicd", "--sockets", "a,b"), "not allowed"),
                (("plot", "/nonexistent.json", "--output-dir", "x"), "No such file"),
                (("table", str(VNIC_BENCH)), "not JSON")):
            with self.subTest(args):
                status, out, err = self.run_bench(*args)
                self.assertEqual((status, out), (2, ""), err)
                self.assertIn(words, err)
                self.assertNotIn("Traceback", err)

    def test_help_teaches(self):
        for args in (("--help",), ("scoreboard", "--help"), ("compare", "--help"), ("search", "--help"),
                     ("plot", "--help"), ("table", "--help"), ("list", "--help")):
            status, out, err = self.run_bench(*args)
            self.assertEqual((status, err), (0, ""))
            self.assertGreater(len(out.splitlines()), 5)
        self.assertIn("quartiles", self.run_bench("scoreboard", "--help")[1])
        self.assertIn("exit status", self.run_bench("--help")[1])

    def test_list(self):
        status, out, _ = self.run_bench("list")
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
        """The real thing: vnicd beside itself, 0.2 seconds each; what a figure is worth is not asked."""
        self.assertTrue(os.access(vnictest.VNICD, os.X_OK), f"no vnicd at {vnictest.VNICD}")
        try:
            machine.Cpus()
            with machine.hugepages(False, backends.Vnicd.HUGEPAGES):
                pass
        except NotPossible as why:
            self.skipTest(str(why))
        out = pathlib.Path(vnictest.tmpdir("vnic-bench-test-")) / "out.json"
        status, text, err = self.run_bench("--row", "^64-packed-256$", "--b", f"vnicd:{vnictest.VNICD}", "--pairs", "1",
                                           "--duration", "0.2", "--warmup", "0.1", "--quiet-wait", "1", "--noisy",
                                           "--output", str(out))
        self.assertEqual(status, 1, err)  # one pair is no figure
        data, read = report.read_rows([out])
        row = read["64-packed-256"]
        for key in "ab":
            run, = row["runs"][key]
            self.assertIs(run["conserved"], True, run)
            self.assertGreater(run["mpps"], 0.1)
            self.assertIn("--forward-mode", run["backend_command"])
            self.assertIn("packed", run["guest_command"])
        self.assertIn("at least 4", row["figures"][0]["refused"])
        self.assertIn("not measured", text)
        self.assertEqual(data["backends"]["vnicd"]["spec"], "vnicd")
        for fact in ("cpu", "kernel", "hugepage_kib", "cpus", "tsc_hz"):
            self.assertTrue(data[fact], fact)


if __name__ == "__main__":
    unittest.main()

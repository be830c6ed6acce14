#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""The null guest does what its options say: seen from the other side, by vnicd's counters, a capture file, guest.show.

Says nothing about speed, so it runs anywhere, without hugepages, beside other programs.
"""
import json
import os
import pathlib
import subprocess
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from bench import machine  # noqa: E402
import pcapfile  # noqa: E402
import vnictest  # noqa: E402

LAYOUTS = ("split", "packed")
DURATION_S = 0.3
HARVEST_S = 0.01
# Of each guest with the usual rings: 256 buffers of 2112 bytes from page to page, and a page for each ring.
DIRTY_PAGES = 256 * 2112 // 4096 + 2


class NullGuest(unittest.TestCase):
    def setUp(self):
        try:
            self.program = machine.nullguest_path()
        except machine.NotPossible as why:
            self.fail(str(why))

    def vnicd(self, ports, mode="io"):
        vnicd = vnictest.Vnicd(ports, mode)
        self.addCleanup(vnicd.stop)
        return vnicd

    def start(self, *args):
        process = subprocess.Popen([self.program, "--cpu", str(vnictest.cpus()[-1]), "--json", *map(str, args)],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.stderr.close)
        return process

    def run_against(self, vnicd, ports, *args):
        """The guests' report."""
        sockets = [word for port in ports for word in ("--socket", vnicd.sock(port))]
        process = self.start(*sockets, "--duration", DURATION_S, "--warmup", 0.1, *args)
        out, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 0, err)
        return json.loads(out)

    def refused(self, status, cause, *args):
        process = self.start(*args)
        out, err = process.communicate(timeout=60)
        self.assertEqual((process.returncode, out), (status, ""), err)
        self.assertIn(cause, err.splitlines()[0])


class Direction(NullGuest):
    def test_out(self):
        for layout in LAYOUTS:
            with self.subTest(layout):
                vnicd = self.vnicd({"vm0": "vhost-user", "up0": "nic,vdev=net_null0;no-rx=1"})
                report = self.run_against(vnicd, ["vm0"], "--direction", "out", "--layout", layout)
                measured, whole = report["measured"]["out"], report["whole_run"]["out"]
                ports = vnicd.stats()
                self.assertGreater(measured["taken"], 0)
                self.assertAlmostEqual(report["mpps"], measured["taken"] / report["seconds"] / 1e6, places=2)
                self.assertAlmostEqual(report["gbps"], report["mpps"] * 64 * 8 / 1e3, places=2)
                self.assertEqual((whole["taken"], whole["delivered"]), (whole["sent"], 0))
                self.assertEqual(ports["vm0"]["rx_packets"], whole["sent"])
                self.assertEqual(ports["up0"]["tx_packets"] + sum(ports["up0"]["drops"].values()), whole["sent"])

    def test_in(self):
        for layout in LAYOUTS:
            with self.subTest(layout):
                vnicd = self.vnicd({"vm0": "vhost-user", "up0": "nic,vdev=net_null0;size=200"})
                report = self.run_against(vnicd, ["vm0"], "--direction", "in", "--layout", layout)
                measured, whole = report["measured"]["in"], report["whole_run"]["in"]
                vm0 = vnicd.stats()["vm0"]
                self.assertGreater(measured["delivered"], 0)
                self.assertAlmostEqual(report["mpps"], measured["delivered"] / report["seconds"] / 1e6, places=2)
                self.assertEqual([whole[key] for key in ("sent", "taken", "foreign", "lost")], [0, 0, 0, 0])
                self.assertEqual((vm0["tx_packets"], vm0["rx_packets"]), (whole["delivered"], 0))
                self.assertEqual(whole["bytes"], 200 * whole["delivered"])


class Macs(NullGuest):
    def captured(self, *args):
        """The frames that a guest sent, as (source, destination)."""
        path = os.path.join(vnictest.tmpdir(), "out.pcap")
        vnicd = self.vnicd({"vm0": "vhost-user", "up0": f"nic,vdev=net_pcap0;tx_pcap={path}"})
        report = self.run_against(vnicd, ["vm0"], "--direction", "out", "--frames", "macs", "--mode", "paced",
                                  "--pps", 20000, *args)
        vnicd.stop()
        frames = pcapfile.read(path)
        self.assertEqual(len(frames), report["whole_run"]["out"]["sent"])
        return [(frame[6:12], frame[:6]) for frame in frames]

    def check(self, pairs, each):
        """So many addresses of each port, different ones, and none twice before all had their turn."""
        self.assertGreater(len(pairs), 2 * each)
        for side in (0, 1):
            addresses = [pair[side] for pair in pairs]
            self.assertEqual(len(set(addresses)), each)
            self.assertEqual(len(set(addresses[:each])), each)
            self.assertEqual({address[0] for address in addresses}, {0x02}, "locally administered, unicast")
        sources, destinations = map(set, zip(*pairs))
        self.assertTrue(sources.isdisjoint(destinations), "a port has addresses of its own")

    def test_more_than_slots(self):
        """A ring of 256, 500 addresses: a buffer has others each time, and meets others each lap."""
        pairs = self.captured()
        self.check(pairs, 500)
        for at in range(0, len(pairs) - 500, 500):
            self.assertEqual(len({source for source, _ in pairs[at:at + 500]}), 500)
        self.assertGreater(len(set(pairs)), len(pairs) * 0.99)

    def test_by_slot(self):
        for layout in LAYOUTS:
            with self.subTest(layout):
                self.check(self.captured("--macs", 100, "--layout", layout), 50)

    def test_switch_learns_all(self):
        """The first run teaches; in the second no frame goes to the third port."""
        vnicd = self.vnicd({"vm0": "vhost-user", "vm1": "vhost-user", "up0": "nic,vdev=net_null0;no-rx=1"}, "switch")
        self.run_against(vnicd, ["vm0", "vm1"], "--frames", "macs", "--warmup", 0.5)
        flooded = vnicd.stats()["up0"]["tx_packets"]
        self.assertGreater(flooded, 0, "addresses that nobody has seen are flooded")
        report = self.run_against(vnicd, ["vm0", "vm1"], "--frames", "macs")
        self.assertEqual(report["macs"], 1000)
        self.assertGreater(report["measured"]["a2b"]["delivered"], 1000)
        self.assertEqual(vnicd.stats()["up0"]["tx_packets"], flooded)


class IdlePairs(NullGuest):
    def test_enabled_and_idle(self):
        vnicd = self.vnicd({"vm0": "vhost-user,queues=4", "vm1": "vhost-user,queues=4"})
        for layout in LAYOUTS:
            with self.subTest(layout):
                guests = self.start("--socket", vnicd.sock("vm0"), "--socket", vnicd.sock("vm1"), "--idle-pairs", 2,
                                    "--layout", layout, "--warmup", 0, "--duration", 0.8)
                self.await_pairs(vnicd, 3)
                out, err = guests.communicate(timeout=60)
                self.assertEqual(guests.returncode, 0, err)
                report = json.loads(out)
                self.assertEqual(report["idle_pairs"], 2)
                self.assertGreater(report["measured"]["a2b"]["delivered"], 0)
        for port in vnicd.stats().values():
            for key in ("rx_packets", "tx_packets"):
                self.assertGreater(port["queues"][0][key], 0)
                self.assertEqual([queue[key] for queue in port["queues"][1:]], [0, 0, 0])

    def await_pairs(self, vnicd, n_pairs):
        deadline = time.monotonic() + 5
        while True:
            shown = [vnicd.rpc("guest.show", {"name": name}) for name in ("vm0", "vm1")]
            if all(guest["pairs"] == n_pairs and "mq" in guest["features"] for guest in shown):
                return
            self.assertLess(time.monotonic(), deadline,
                            f"{[guest['pairs'] for guest in shown]} pairs are enabled, not {n_pairs} each")
            time.sleep(0.02)

    def test_too_few(self):
        vnicd = self.vnicd({"one": "vhost-user", "four": "vhost-user,queues=4"})
        # It counts virtqueues, with the control queue.
        self.refused(1, "back-end says that it has 9 queues, 10 pairs are needed", "--socket", vnicd.sock("four"),
                     "--idle-pairs", 9)
        self.refused(1, "does not offer VIRTIO_NET_F_MQ", "--socket", vnicd.sock("one"), "--idle-pairs", 1)


class DirtyLog(NullGuest):
    def test_pages_are_found(self):
        """Every page that frames and used descriptors were written to, at each look, and no other."""
        vnicd = self.vnicd({"vm0": "vhost-user", "vm1": "vhost-user"})
        for layout in LAYOUTS:
            with self.subTest(layout):
                report = self.run_against(vnicd, ["vm0", "vm1"], "--dirty-log", "--layout", layout)
                n_looks = report["seconds"] / HARVEST_S + 2
                self.assertGreaterEqual(report["dirty_pages"], 2 * DIRTY_PAGES)
                self.assertLessEqual(report["dirty_pages"], 2 * DIRTY_PAGES * n_looks)

    def test_what_is_sent_dirties_the_ring_only(self):
        vnicd = self.vnicd({"vm0": "vhost-user", "up0": "nic,vdev=net_null0;no-rx=1"})
        report = self.run_against(vnicd, ["vm0"], "--dirty-log", "--direction", "out")
        self.assertGreaterEqual(report["dirty_pages"], 1)
        self.assertLessEqual(report["dirty_pages"], report["seconds"] / HARVEST_S + 2)


class Tso(NullGuest):
    """TCP that somebody else is to segment. The null guest checks each header, and vnicd passes; who does not is told."""
    SEGMENTS = 45
    KEYS = ("duplicated", "reordered", "foreign", "malformed")

    def run_tso(self, kind, layout, *args, port="vhost-user"):
        self.running = self.vnicd({"vm0": port, "vm1": port})
        return self.run_against(self.running, ["vm0", "vm1"], "--tso", kind, "--shape", "linux", "--layout", layout,
                                "--window", 4, *args)

    def check(self, report, arrive):
        """`arrive`: frames that come of each one."""
        ports = self.running.stats()
        self.assertEqual(report["segments_per_frame"], arrive)
        for flow, sender, receiver in (("a2b", "vm0", "vm1"), ("b2a", "vm1", "vm0")):
            whole = report["whole_run"][flow]
            self.assertGreater(report["measured"][flow]["delivered"], arrive)
            self.assertEqual([whole[key] for key in self.KEYS], [0] * 4)
            self.assertEqual(ports[sender]["rx_packets"], whole["sent"])
            self.assertEqual(ports[receiver]["tx_packets"], whole["delivered"])
            self.assertEqual(whole["sent"] * arrive, whole["delivered"] + sum(ports[receiver]["drops"].values()))
            self.assertEqual(whole["bytes"] % whole["delivered"], 0, "all of one length")
            self.assertEqual(whole["bytes"] // whole["delivered"], 66 + self.SEGMENTS * 1448 // arrive)
        self.assertAlmostEqual(report["payload_gbps"] / report["gbps"], 1 - 66 * arrive / (66 * arrive + 65160), places=3)

    def test_whole(self):
        for layout in LAYOUTS:
            with self.subTest(layout):
                self.check(self.run_tso("whole", layout), 1)

    def test_segments(self):
        for layout in LAYOUTS:
            with self.subTest(layout):
                self.check(self.run_tso("segments", layout), self.SEGMENTS)

    def test_what_was_negotiated(self):
        for kind, receivers in (("whole", {"guest_csum", "guest_tso4"}), ("segments", set())):
            with self.subTest(kind):
                vnicd = self.vnicd({"vm0": "vhost-user", "vm1": "vhost-user"})
                guests = self.start("--socket", vnicd.sock("vm0"), "--socket", vnicd.sock("vm1"), "--tso", kind,
                                    "--warmup", 0, "--duration", 0.8)
                vnicd.wait_stats(lambda ports: ports["vm0"]["rx_packets"] and ports["vm1"]["rx_packets"])
                features = set(vnicd.rpc("guest.show", {"name": "vm0"})["features"])
                self.assertLessEqual({"csum", "host_tso4", "indirect_desc"}, features)
                self.assertEqual(features & {"guest_csum", "guest_tso4"}, receivers)
                out, err = guests.communicate(timeout=60)
                self.assertEqual(guests.returncode, 0, err)
                self.assertEqual(json.loads(out)["tso"], kind)

    def test_frames_as_captured(self):
        """What leaves, seen by another: cut by vnicd for a port that leaves nothing open."""
        path = os.path.join(vnictest.tmpdir(), "out.pcap")
        vnicd = self.vnicd({"vm0": "vhost-user", "up0": f"nic,vdev=net_pcap0;tx_pcap={path}"})
        report = self.run_against(vnicd, ["vm0"], "--direction", "out", "--tso", "segments", "--frame-size", 66 + 3 * 1448,
                                  "--mode", "paced", "--pps", 2000)
        vnicd.stop()
        frames = pcapfile.read(path)
        self.assertEqual(report["segments_per_frame"], 1, "what is counted is taken, not received")
        self.assertEqual(len(frames), 3 * report["whole_run"]["out"]["sent"])
        for number, frame in enumerate(frames):
            self.assertEqual(len(frame), 1514)
            self.assertEqual(int.from_bytes(frame[38:42], "big"), number * 1448)
            self.assertEqual(self.sum16(frame[14:34]), 0xffff)
            self.assertEqual(self.sum16(frame[26:34] + bytes((0, 6)) + (1480).to_bytes(2, "big") + frame[34:]), 0xffff)

    @staticmethod
    def sum16(data):
        total = sum(int.from_bytes(data[i:i + 2], "big") for i in range(0, len(data), 2))
        while total >> 16:
            total = (total & 0xffff) + (total >> 16)
        return total

    def test_what_is_wrong_is_found(self):
        """Frames of a third, which are no TCP, among ours."""
        vnicd = self.vnicd({"vm0": "vhost-user", "vm1": "vhost-user", "up0": "nic,vdev=net_null0;size=1514"}, "switch")
        report = self.run_against(vnicd, ["vm0", "vm1"], "--tso", "segments", "--window", 4)
        self.assertGreater(sum(flow["foreign"] for flow in report["whole_run"].values()), 0)
        self.assertGreater(sum(flow["malformed"] for flow in report["whole_run"].values()), 0)

    def test_not_offered(self):
        vnicd = self.vnicd({"bare": "vhost-user,without=csum", "one": "vhost-user,without=guest_csum"})
        self.refused(1, "does not offer VIRTIO_NET_F_CSUM", "--socket", vnicd.sock("bare"), "--tso", "segments")
        self.refused(1, "does not offer VIRTIO_NET_F_GUEST_CSUM", "--socket", vnicd.sock("one"), "--tso", "whole")


class Window(NullGuest):
    def test_no_more_is_on_its_way(self):
        vnicd = self.vnicd({"vm0": "vhost-user", "up0": "nic,vdev=net_null0;no-rx=1"})
        for layout in LAYOUTS:
            with self.subTest(layout):
                report = self.run_against(vnicd, ["vm0"], "--direction", "out", "--window", 5, "--layout", layout)
                whole = report["whole_run"]["out"]
                self.assertEqual(whole["taken"], whole["sent"])
                self.assertLessEqual(report["guest_frames_per_iteration"], 5)
                self.assertGreater(whole["sent"], 100)


class Slices(NullGuest):
    """vnicd runs only while the guest is told to."""

    def setUp(self):
        super().setUp()
        self.device = self.vnicd({"vm0": "vhost-user", "vm1": "vhost-user"})

    def start_in_slices(self, *args):
        sockets = [word for port in ("vm0", "vm1") for word in ("--socket", self.device.sock(port))]
        process = subprocess.Popen([self.program, "--cpu", str(vnictest.cpus()[-1]), "--json", "--warmup", "0.05",
                                    "--slices", *sockets, *map(str, args)], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, text=True)
        self.addCleanup(process.wait)
        self.addCleanup(process.terminate)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.stdin.close)
        self.assertIs(json.loads(process.stdout.readline())["ready"], True)
        return process

    @staticmethod
    def order(process, line):
        process.stdin.write(line + "\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline())

    @staticmethod
    def stands_still(pid):
        """Whether all threads are stopped."""
        return all(path.read_text().rsplit(")", 1)[1].split()[0] == "T"
                   for path in pathlib.Path(f"/proc/{pid}/task").glob("*/stat"))

    def soon_stands_still(self, pid):
        deadline = time.monotonic() + 5
        while not self.stands_still(pid) and time.monotonic() < deadline:
            time.sleep(0.01)
        self.assertTrue(self.stands_still(pid))

    def test_back_end_stands_still_between_slices(self):
        pid = self.device.pid
        process = self.start_in_slices("--stop", pid)
        self.soon_stands_still(pid)
        reports = [self.order(process, "0.03 0.01 0") for _ in range(4)]
        paced = self.order(process, "0.1 0 1000")
        self.soon_stands_still(pid)
        self.order(process, "0.03 0 0 keep")
        self.assertFalse(self.stands_still(pid))
        process.stdin.close()
        whole = json.loads(process.stdout.readline())["whole_run"]
        self.assertEqual(process.wait(30), 0)
        for report in reports:
            self.assertGreater(report["mpps"], 0)
            self.assertGreaterEqual(report["seconds"], 0.03)
            self.assertEqual(report["distance_ns"], [0, 0])
        self.assertLess(paced["mpps"], 0.01)
        missing = sum(flow["sent"] - flow["delivered"] for flow in whole.values())
        self.assertEqual(missing, sum(sum(port["drops"].values()) for port in self.device.stats().values()))
        for flow in whole.values():
            self.assertEqual([flow[key] for key in ("duplicated", "reordered", "foreign")], [0, 0, 0])
        self.assertNotIn("stands still", self.device.output)

    def test_latency(self):
        process = self.start_in_slices("--stop", self.device.pid, "--mode", "latency")
        latency = self.order(process, "0.05 0.01 0")["latency_ns"]
        self.assertGreater(latency["n"], 0)
        self.assertLessEqual(latency["p50"], latency["p99"])

    def test_ended_while_it_waits(self):
        """What it has stopped goes on."""
        process = self.start_in_slices("--stop", self.device.pid)
        process.terminate()
        self.assertEqual(process.wait(30), 0)
        self.assertFalse(self.stands_still(self.device.pid))

    def test_an_order_that_is_none(self):
        process = self.start_in_slices()
        process.stdin.write("1 0 0 drop\n")
        process.stdin.close()
        self.assertEqual(process.wait(30), 1)


class Nonsense(NullGuest):
    CASES = (
        ("works with one --socket only", "--direction out --socket b"),
        ("works with one --socket only", "--direction in --socket b"),
        ("needs frames that are both sent and received", "--direction out --mode latency"),
        ("nothing is sent", "--direction in --mode paced --pps 1"),
        ("nothing is sent", "--direction in --frames udp"),
        ("--macs needs --frames macs", "--macs 10"),
        ("must be even", "--frames macs --macs 3"),
        ("not a number from 2 to 4096", "--frames macs --macs 5000"),
        ("--touch none", "--frames macs --touch none"),
        ("no control queue", "--idle-pairs 1 --rss"),
        ("not a number from 0 to 127", "--idle-pairs 128"),
        ("has frames of its own", "--tso whole --imix"),
        ("has frames of its own", "--tso whole --frames udp"),
        ("has frames of its own", "--tso whole --rss"),
        ("a multiple of 1448", "--tso whole --frame-size 1514 --touch one --frame-size 1515"),
        ("needs --tso", "--frame-size 9001"),
        ("with --touch one only", "--tso segments --touch all"),
        ("without --no-mergeable", "--tso segments --no-mergeable"),
        ("all descriptors in turn", "--window 4 --in-order"),
        ("for --slices", "--stop 1000"),
        ("for --slices", "--beside 0"),
        ("one by one", "--slices --mode paced --pps 1000"),
    )

    def test_refused(self):
        for cause, args in self.CASES:
            with self.subTest(args):
                self.refused(2, cause, "--socket", "a", *args.split())


if __name__ == "__main__":
    unittest.main()

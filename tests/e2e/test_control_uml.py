# SPDX-License-Identifier: BSD-3-Clause
"""What `ethtool` and `ip` set in a guest changes what vnicd does with frames.

The guest is User-mode Linux, whose front-end passes the control queue to us; the other end of its wire is a raw
front-end that sends frames made here and looks at what arrives. No command's word is taken: each is proved by the
frames that came through before and after it, in the guest's counters and in vnicd's.
"""
import hashlib
import pathlib
import re
import sys
import threading
import time
import unittest

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lib"), str(HERE.parent / "guests"), str(HERE.parent / "hostile")]
import guests  # noqa: E402
import vnictest  # noqa: E402
import wire as w  # noqa: E402

MAC = "02:00:00:00:00:10"
FOREIGN = "02:00:00:00:0f:0f"
GROUP, OTHER_GROUP = "01:00:5e:01:02:03", "01:00:5e:01:02:04"
ADDRESS, HOST = "10.0.0.1", "10.0.0.9"
PAIRS = 4
IP = "/usr/sbin/ip"     # busybox has an `ip` of its own, and its shell prefers that

# Reasons under which a frame for the guest can be counted on its port instead of in tx_packets.
TO_GUEST_DROPS = ("filtered", "no_buffer", "too_long", "no_guest", "queue_stopped", "queue_disabled", "link_down", "broken")


def by_queue(ports, key):
    """vnicd's counters of the guest's queue pairs."""
    return [queue[key] for queue in ports["vm0"]["queues"]]


class Delivery:
    """What became of injected frames: arrived: the guest's count; by_queue: the same, queue by queue; filtered and
    drops: vnicd's; ours: vnicd's count queue by queue."""

    def __init__(self, before, after):
        (ports0, sum0, queues0), (ports1, sum1, queues1) = before, after
        drops0, drops1 = (p["vm0"]["drops"] for p in (ports0, ports1))
        self.arrived = sum1 - sum0
        self.by_queue = [b - a for a, b in zip(queues0, queues1)]
        self.sent = ports1["vm0"]["tx_packets"] - ports0["vm0"]["tx_packets"]
        self.drops = {k: n for k in drops1 if (n := drops1[k] - drops0.get(k, 0))}
        self.filtered = self.drops.get("filtered", 0)
        self.ours = [b - a for a, b in zip(by_queue(ports0, "tx_packets"), by_queue(ports1, "tx_packets"))]


class ControlTest(guests.GuestTest):
    """One vnicd, one guest on port vm0, and the wire on port src."""

    VM0 = f"vhost-user,queues={PAIRS},mac={MAC}"
    # Hosts behind the wire that the guest can answer without asking.
    PEERS = f"{IP} neigh replace {HOST} lladdr {w.MAC} dev eth0; {IP} route replace 10.1.0.0/16 via {HOST}"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.vnicd = vnictest.Vnicd({"vm0": cls.VM0, "src": f"vhost-user,queues={PAIRS}"}, "io")
        cls.addClassCleanup(cls.stop_vnicd)
        cls.wire = cls.vm = None
        cls.boot()
        cls.report("features: " + " ".join(cls.vm.feature_names()))

    @classmethod
    def boot(cls):
        """A new guest, in the place of the one there was."""
        if cls.vm:
            cls.vm.kill9()
        try:
            cls.vm = guests.UmlGuest(cls.vnicd.sock("vm0"), ADDRESS, modules=guests.VLAN_MODULES,
                                     programs=("ethtool", "ip"))
        except guests.Missing as e:
            raise unittest.SkipTest(str(e)) from None
        cls.addClassCleanup(cls.vm.kill9)
        cls.vm.wait_ready()
        cls.vm.check(cls.PEERS)

    @classmethod
    def stop_vnicd(cls):
        code = cls.vnicd.stop()
        if code != 0:
            raise AssertionError(f"vnicd ended with {code}:\n{cls.vnicd.output}")

    def setUp(self):
        if not self.vnicd.alive():
            self.fail("vnicd is gone:\n" + self.vnicd.output[-3000:])
        self.connect()

    def tearDown(self):
        self.disconnect()

    def connect(self, features=w.BASE, queues=PAIRS, **options):
        """The wire, with these virtio features."""
        self.disconnect()
        type(self).wire = w.Wire(self.vnicd.sock("src"), queues=queues, features=features, **options)
        self.wire.start()

    def disconnect(self):
        if self.wire:
            self.wire.close()
            type(self).wire = None

    def set(self, command, undo=None):
        """A command in the guest that has to succeed; undo: run when the test ends."""
        self.vm.check(command)
        if undo:
            self.addCleanup(self.vm.check, undo)

    # --- frames to the guest ---

    def look(self):
        output = self.vm.check("cat /sys/class/net/eth0/statistics/rx_packets; ethtool -S eth0")
        queues = [0] * PAIRS
        for queue, n in re.findall(r"rx_queue_(\d+)_packets: (\d+)", output):
            queues[int(queue)] = int(n)
        return self.vnicd.stats(), int(output.split()[0]), queues

    def inject(self, frames, pair=0, **offload):
        for frame in frames:
            self.wire.inject(frame, pair, **offload)
        self.wire.flush()

    def deliver(self, frames, *, pair=0, becomes=None, **offload):
        """Send frames to the guest and wait until all are accounted for: `becomes` of them (default: all)."""
        before = self.look()
        self.inject(frames, pair, **offload)
        return self.outcome(before, len(frames) if becomes is None else becomes)

    def outcome(self, before, n):
        """What has become of n frames that were sent since `before`."""
        def accounted(ports):
            drops = ports["vm0"]["drops"]
            return ports["vm0"]["tx_packets"] + sum(drops.get(k, 0) for k in TO_GUEST_DROPS)
        self.vnicd.wait_stats(lambda ports: accounted(ports) - accounted(before[0]) >= n)
        for _ in range(20):     # the guest's driver takes them in its own time
            result = Delivery(before, self.look())
            if result.arrived == result.sent:
                break
            time.sleep(0.1)
        self.assertEqual(result.arrived, result.sent, "the guest's counter and vnicd's")
        self.assertEqual(result.by_queue, result.ours, "the guest's counters by queue and vnicd's")
        self.assertEqual(result.sent + sum(result.drops.values()), n, "frames counted twice")
        return result

    def assert_in(self, frame, n=5):
        got = self.deliver([frame] * n)
        self.assertEqual((got.arrived, got.drops), (n, {}), f"wanted, but kept out: {frame.hex()}")

    def assert_out(self, frame, n=5):
        got = self.deliver([frame] * n)
        self.assertEqual((got.arrived, got.drops), (0, {"filtered": n}), f"not wanted, but let in: {frame.hex()}")

    def moved_pair(self, frame, key):
        """Send a frame; the one queue pair of the guest whose counter it moved."""
        before = by_queue(self.vnicd.stats(), key)
        self.inject([frame])
        after = by_queue(self.vnicd.wait_stats(lambda ports: by_queue(ports, key) != before), key)
        moved = [i for i in range(PAIRS) if after[i] != before[i]]
        self.assertEqual(len(moved), 1, f"{key}: {before} -> {after}")
        return moved[0]

    def pair_of(self, frame):
        """The queue pair that a frame is sent to."""
        return self.moved_pair(frame, "tx_packets")


def plain(dst, vlan=None, size=46):
    return w.ethernet(b"v" * size, dst=dst, vlan=vlan)


def syn(n):
    """The first segment of flow n, to a port where nobody listens: Linux answers each with a reset."""
    packet = w.tcp(b"", src=f"10.1.{n >> 8}.{n & 255}", dst=ADDRESS, sport=1024 + 7 * n, dport=9, flags=w.SYN, seq=n)
    return w.ethernet(packet, dst=MAC, kind=w.ETH_IP)


class Filter(ControlTest):
    def test_own_address_broadcast_and_nothing_else(self):
        self.assertEqual(self.vm.mac(), MAC)
        self.assert_in(plain(MAC))
        self.assert_in(plain("ff:ff:ff:ff:ff:ff"))
        self.assert_in(plain("01:00:5e:00:00:01"))     # all hosts: the kernel joins that group by itself
        self.assert_out(plain(FOREIGN))
        self.assert_out(plain(GROUP))

    def test_promiscuous(self):
        self.set("ip link set eth0 promisc on", "ip link set eth0 promisc off")
        self.assert_in(plain(FOREIGN))
        self.assert_in(plain(GROUP))
        self.assert_in(plain(FOREIGN, vlan=77))
        self.set("ip link set eth0 promisc off")
        self.assert_out(plain(FOREIGN))
        self.assert_out(plain(GROUP))
        self.assert_in(plain(MAC))

    @pytest.mark.long
    def test_all_multicast(self):
        self.set(f"{IP} link set eth0 allmulticast on", f"{IP} link set eth0 allmulticast off")
        self.assert_in(plain(GROUP))
        self.assert_out(plain(FOREIGN))
        self.set(f"{IP} link set eth0 allmulticast off")
        self.assert_out(plain(GROUP))

    def test_multicast_group(self):
        self.set(f"{IP} maddr add {GROUP} dev eth0")
        self.assert_in(plain(GROUP))
        self.assert_out(plain(OTHER_GROUP))
        self.set(f"{IP} maddr del {GROUP} dev eth0")
        self.assert_out(plain(GROUP))

    @pytest.mark.long
    def test_more_groups_than_the_table_holds(self):
        each = r"for i in $(seq 1 70); do printf 'addr {} 239.127.0.%d/32 dev eth0 {}\n' $i; done | " + IP + " -batch -"
        self.set("echo 100 >/proc/sys/net/ipv4/igmp_max_memberships; " + each.format("add", "autojoin"))
        self.assert_in(plain("01:00:5e:7f:00:46"))
        self.assert_in(plain(GROUP))       # best effort: one too many, so all
        self.assert_out(plain(FOREIGN))    # the other table has room
        self.set(each.format("del", ""))
        self.assert_out(plain("01:00:5e:7f:00:46"))
        self.assert_out(plain(GROUP))

    def test_more_unicast_addresses(self):
        """An interface on top with an address of its own: the driver asks for that one, too."""
        self.set(f"{IP} link add link eth0 name eth0.8 type vlan id 8; {IP} link set eth0.8 address {FOREIGN} up",
                 f"{IP} link del eth0.8")
        self.assert_in(plain(FOREIGN))
        self.assert_out(plain("02:00:00:00:0f:10"))

    def test_own_address_changes(self):
        other = "02:00:00:00:00:77"
        self.set(f"ip link set eth0 address {other}", f"ip link set eth0 address {MAC}")
        self.assertEqual(self.vm.mac(), other)
        self.assert_in(plain(other))
        self.assert_out(plain(MAC))
        self.set(f"ip link set eth0 address {MAC}")
        self.assert_in(plain(MAC))
        self.assert_out(plain(other))

    def test_vlans(self):
        self.assert_out(plain(MAC, vlan=100))
        self.set("ip link add link eth0 name eth0.100 type vlan id 100; ip link set eth0.100 up")
        self.assert_in(plain(MAC, vlan=100))
        self.assert_in(plain(MAC, vlan=100 | 5 << 13))     # a priority is no part of the number
        self.assert_out(plain(MAC, vlan=200))
        self.assert_out(plain(FOREIGN, vlan=100))
        self.assertEqual(self.vm.check("cat /sys/class/net/eth0.100/statistics/rx_packets").strip(), "10")
        self.set("ip link del eth0.100")
        self.assert_out(plain(MAC, vlan=100))
        self.assert_in(plain(MAC))


class Queues(ControlTest):
    FLOWS = 48

    def channels(self, n):
        # The kernel refuses to take queues away that the table names.
        self.set(f"ethtool -L eth0 combined {n}", "ethtool -X eth0 default; ethtool -L eth0 combined 1")

    def answered_on(self, n):
        """The queue pair on which the guest answers a SYN of flow n."""
        return self.moved_pair(syn(n), "rx_packets")

    def resets(self, n):
        """n resets have come out at the wire, and nothing was lost on the way."""
        self.wire.take(lambda p: p.proto == w.TCP and p.flags & w.RST, n=n)

    @pytest.mark.long
    def test_as_many_queues_as_asked_for(self):
        """Flows come back on the queue that the guest sends them on (automatic steering)."""
        for n in (4, 1, 3, 2):
            with self.subTest(combined=n):
                self.channels(n)
                self.assertIn(f"Combined:\t{n}", self.vm.check("ethtool -l eth0").split("Current")[1])
                sent_on = [self.answered_on(flow) for flow in range(self.FLOWS)]
                self.assertEqual(set(sent_on), set(range(n)), "queues that the guest sends on")
                came_on = [self.pair_of(syn(flow)) for flow in range(self.FLOWS)]
                self.assertEqual(came_on, sent_on)
                self.resets(2 * self.FLOWS)
                got = self.deliver([plain(MAC)] * 20 + [syn(1000 + k) for k in range(20)], pair=PAIRS - 1)
                self.assertEqual(got.arrived, 40)
                self.assertEqual(got.by_queue[n:], [0] * (PAIRS - n), "queues that are not in use")

    # --- receive-side scaling ---

    def table(self):
        output = self.vm.check("ethtool -x eth0")
        table = [int(word) for row in re.findall(r"^ *\d+:((?: +\d+)+)$", output, re.M) for word in row.split()]
        self.assertIn(len(table), (64, 128))
        return table

    def rss(self, options):
        self.channels(PAIRS)
        self.set(f"ethtool -X eth0 hkey {w.RSS_KEY.hex(':')} {options}")
        return self.table()

    def check_vectors(self, table, make, column, what):
        """Every vector's frame goes where the table says for the hash in this column of the vectors."""
        before = self.look()
        expected = [table[vector[column] % len(table)] for vector in w.RSS_VECTORS]
        came_on = [self.pair_of(w.vector_frame(vector, make, MAC)) for vector in w.RSS_VECTORS]
        self.assertEqual(came_on, expected, what)
        got = self.outcome(before, len(expected))
        self.assertEqual(got.by_queue, [expected.count(i) for i in range(PAIRS)], what)

    @pytest.mark.long
    def test_rss_table_and_key(self):
        for options, queues in (("equal 4", {0, 1, 2, 3}), ("equal 2", {0, 1}), ("weight 1 0 2 1", {0, 2, 3}),
                                ("start 2 equal 2", {2, 3}), ("weight 0 1", {1})):
            with self.subTest(options):
                table = self.rss(options)
                self.assertEqual(set(table), queues)
                if options == "equal 4":
                    # What the vectors are known to give, not only what we make of the guest's table.
                    self.assertEqual([table[v[5] % len(table)] for v in w.RSS_VECTORS], [0, 2, 2, 3, 2, 1, 3, 3])
                self.check_vectors(table, w.tcp, 5, "TCP")
                self.check_vectors(table, w.udp, 5, "UDP")

    def test_rss_with_another_key(self):
        self.rss("equal 4")
        # A key of zeros hashes everything to 0.
        self.set(f"ethtool -X eth0 hkey {bytes(40).hex(':')}")
        got = self.deliver([w.vector_frame(vector, w.tcp, MAC) for vector in w.RSS_VECTORS])
        self.assertEqual(got.by_queue, [8, 0, 0, 0])

    def test_rss_hash_fields(self):
        """What is hashed: addresses only for TCP, ports too for UDP, and so on."""
        table = self.rss("equal 4")
        self.set("ethtool -K eth0 rxhash on")
        self.check_vectors(table, w.tcp, 5, "TCP by default")
        for kind in ("tcp4", "tcp6"):
            self.set(f"ethtool -N eth0 rx-flow-hash {kind} sd", f"ethtool -N eth0 rx-flow-hash {kind} sdfn")
        self.check_vectors(table, w.tcp, 4, "TCP by addresses")
        self.check_vectors(table, w.udp, 5, "UDP by addresses and ports")
        for kind in ("tcp4", "tcp6"):
            self.set(f"ethtool -N eth0 rx-flow-hash {kind} sdfn")
        self.check_vectors(table, w.tcp, 5, "TCP by addresses and ports again")
        # No kind of hash is asked for: all frames are unclassified.
        self.set("ethtool -K eth0 rxhash off", "ethtool -K eth0 rxhash on")
        self.check_vectors([0], w.tcp, 5, "without hashes")

    def test_rss_unclassified(self):
        self.rss("start 1 equal 3")
        got = self.deliver([plain(MAC)] * 10, pair=2)
        self.assertEqual(got.by_queue, [10, 0, 0, 0], "no hash: unclassified_queue, which Linux sets to 0")

    def test_rss_guest_still_sends_on_all_queues(self):
        self.rss("equal 2")
        sent_on = [self.answered_on(flow) for flow in range(self.FLOWS)]
        self.assertEqual(set(sent_on), set(range(PAIRS)))
        self.resets(self.FLOWS)

    def icmp(self):
        """The counters of the guest's kernel."""
        names, values = self.vm.check("grep ^Icmp: /proc/net/snmp").splitlines()
        return {name: int(value) for name, value in zip(names.split()[1:], values.split()[1:])}

    @pytest.mark.long
    def test_tables_change_under_load(self):
        """The table changes while numbered echo requests come in: each comes once, and so does each answer.
        (A kernel that waits for a CPU answers only so many: the buffer of its ICMP socket is small.)"""
        changes = 100 if vnictest.LONG else 40
        self.rss("equal 4")
        before, icmp0 = self.look(), self.icmp()
        drops0 = {name: dict(port["drops"]) for name, port in before[0].items()}
        done = threading.Event()

        def change():
            try:
                self.vm.check(f"for i in $(seq {changes // 2}); do ethtool -X eth0 start $((i % 4)) equal 1 && "
                              "ethtool -X eth0 equal $((i % 3 + 2)) || exit 1; done", 60)
            finally:
                done.set()
        thread = threading.Thread(target=change)
        n, answers = 0, []
        thread.start()
        while not done.is_set() or n < 2000:
            frame = w.icmp_echo(b"%08d" % n, src=f"10.1.2.{n % 64 + 1}", dst=ADDRESS, seq=n & 0xffff)
            self.wire.inject(w.ethernet(frame, dst=MAC, kind=w.ETH_IP), n % PAIRS)
            n += 1
            until = time.monotonic() + 0.0005
            while time.monotonic() < until:
                answers += self.wire.poll()
        thread.join()
        answers = [packet for _, packet in answers] + self.wire.take(quiet=0.5)
        numbers = [int(p.payload) for p in answers if p.proto == w.ICMP]
        got, icmp = self.outcome(before, n), self.icmp()
        self.report(f"{n} echo requests while the table changed {changes} times; by queue {got.by_queue}")
        self.assertEqual({name: port["drops"] for name, port in self.vnicd.stats().items()}, drops0)
        self.assertEqual(got.arrived, n)
        self.assertEqual(len(numbers), len(set(numbers)), "an answer came twice")
        self.assertLessEqual(set(numbers), set(range(n)))
        self.assertEqual((icmp["InEchos"] - icmp0["InEchos"], icmp["InErrors"]), (n, icmp0["InErrors"]))
        self.assertEqual(len(numbers), icmp["OutEchoReps"] - icmp0["OutEchoReps"], "an answer is missing")
        self.assertGreater(len(numbers), n * 0.9)
        self.assertGreater(min(got.by_queue), 0, "the changes were not seen")


class Offloads(ControlTest):
    SIZE = 300_000

    def transfer(self):
        """The guest sends a file over TCP; returns the segments with data. Their contents are right."""
        sink = w.TcpSink(self.wire, HOST)
        self.set(f"head -c {self.SIZE} /dev/urandom >/srv/data")
        thread = threading.Thread(target=self.vm.check, args=(f"nc {HOST} 5001 </srv/data",))
        thread.start()
        try:
            data = sink.run()
        finally:
            thread.join()
        self.assertEqual(hashlib.sha256(data).hexdigest(), self.vm.sha256("data"))
        segments = [packet for packet in sink.packets if packet.payload]
        self.assertEqual(sum(len(p.payload) for p in segments), self.SIZE, "segments were sent twice")
        return segments

    def check_small_and_whole(self, segments):
        self.assertLessEqual(max(len(p.frame) for p in segments), 1514)
        for p in segments:
            self.assertEqual((p.header["flags"], p.header["gso_type"]), (0, w.GSO_NONE))
            self.assertTrue(p.checksum_is_whole(), p.frame.hex())

    @pytest.mark.long
    def test_sent_to_a_peer_without_offloads(self):
        """Whatever the guest leaves to the device is done by the device when the peer can't do it."""
        for settings in ("tx on tso on", "tx on tso off", "tx off"):
            with self.subTest(settings):
                self.set(f"ethtool -K eth0 {settings}", "ethtool -K eth0 tx on tso on")
                for _ in range(10):
                    before = self.vnicd.stats()["vm0"]["rx_packets"]
                    segments = self.transfer()
                    self.check_small_and_whole(segments)
                    from_guest = self.vnicd.stats()["vm0"]["rx_packets"] - before
                    self.report(f"{settings}: {from_guest} frames from the guest, {len(segments)} segments at the peer")
                    # How many are sent together depends on how fast the sender's program is, beside the answers: that
                    # it is never one, as with tso off, is the point. (Below, frames without data are counted as well.)
                    if "tso on" not in settings or from_guest < len(segments) * 0.5:
                        break
                if "tso on" in settings:
                    self.assertLess(from_guest, len(segments) * 0.5)
                else:
                    self.assertGreaterEqual(from_guest, len(segments))

    @pytest.mark.long
    def test_sent_to_a_peer_with_offloads(self):
        self.connect(w.BASE | w.TAKES_OFFLOADS)
        self.set("ethtool -K eth0 tx on tso on", "ethtool -K eth0 tx on tso on")
        large = [p for p in self.transfer() if len(p.frame) > 1514]
        self.assertTrue(large, "nothing was left unsegmented")
        for p in large:
            self.assertEqual(p.header["gso_type"], w.GSO_TCPV4)
            self.assertEqual(p.header["gso_size"], w.TcpSink.MSS)
            self.assertEqual(p.header["flags"] & w.NEEDS_CSUM, w.NEEDS_CSUM)
            self.assertEqual((p.header["csum_start"], p.header["csum_offset"]), (34, 16))

        self.set("ethtool -K eth0 tso off")
        segments = self.transfer()
        self.assertLessEqual(max(len(p.frame) for p in segments), 1514)
        self.assertEqual({p.header["gso_type"] for p in segments}, {w.GSO_NONE})
        self.assertTrue(all(p.header["flags"] & w.NEEDS_CSUM for p in segments), "checksums were left to the peer")

        self.set("ethtool -K eth0 tx off")
        segments = self.transfer()
        self.assertFalse(any(p.header["flags"] & w.NEEDS_CSUM for p in segments))
        self.assertTrue(all(p.checksum_is_whole() for p in segments))

    @pytest.mark.long
    def test_received_segmentation(self):
        """rx-gro-hw: with it the guest gets a large segment in one piece, without it in pieces that fit the wire."""
        self.connect(w.BASE | w.GIVES_OFFLOADS, queues=1, tx_buffer=16384)
        mss, n = 1448, 7
        packet = w.tcp((bytes(range(256)) * 40)[:mss * n], src=HOST, dst=ADDRESS, sport=5, dport=9, partial=True)
        frame = w.ethernet(packet, dst=MAC, kind=w.ETH_IP)
        offload = dict(flags=w.NEEDS_CSUM, gso_type=w.GSO_TCPV4, hdr_len=54, gso_size=mss, csum_start=34,
                       csum_offset=16)
        errors = self.checksum_errors()
        for state, becomes in (("on", 1), ("off", n), ("on", 1)):
            with self.subTest(rx_gro_hw=state):
                self.set(f"ethtool -K eth0 rx-gro-hw {state}", "ethtool -K eth0 rx-gro-hw on")
                bytes_before = self.vm.counters()["rx_bytes"]
                got = self.deliver([frame], becomes=becomes, **offload)
                self.assertEqual((got.arrived, got.drops), (becomes, {}))
                self.assertEqual(self.vm.counters()["rx_bytes"] - bytes_before, len(frame) + (becomes - 1) * 54)
        self.assertEqual(self.checksum_errors(), errors)

    def checksum_errors(self):
        return int(self.vm.check("grep ^Tcp: /proc/net/snmp | tail -n 1").split()[-1])


class Coalescing(ControlTest):
    N = 150
    AT_ONCE = "ethtool -C eth0 rx-usecs 0 rx-frames 0 tx-usecs 0 tx-frames 1"

    def setUp(self):
        super().setUp()
        # tx-frames 0 stands for an older mode of the driver, which can't be chosen while the interface is up.
        self.set(self.AT_ONCE, self.AT_ONCE)

    def interrupts(self):
        return int(re.search(r"^ *\d+: +(\d+) .*virtio-uml", self.vm.check("cat /proc/interrupts"), re.M)[1])

    def receive_some(self):
        """N frames to the guest, one by one: (interrupts, seconds)."""
        before, frames = self.interrupts(), self.look()
        start = time.monotonic()
        for _ in range(self.N):
            self.wire.inject(plain(MAC))
            time.sleep(0.003)
        took = time.monotonic() - start
        self.assertEqual(self.outcome(frames, self.N).arrived, self.N)
        return self.interrupts() - before, took

    @pytest.mark.long
    def test_receive(self):
        # Each frame is answered before the next one comes: however busy the machine is, none is found by chance.
        before = self.interrupts()
        for _ in range(100):
            self.echo()
        at_once = self.interrupts() - before
        self.report(f"100 frames to the guest one after the other: {at_once} interrupts")
        self.assertGreaterEqual(at_once, 95)
        for n_frames in (4, 15):
            self.set(f"ethtool -C eth0 rx-usecs 2000000 rx-frames {n_frames}")
            got, _ = self.receive_some()
            self.report(f"rx-frames {n_frames}: {got}")
            self.assertLess(got, self.N / n_frames * 1.3 + 5)
            self.assertGreater(got, self.N / n_frames * 0.2)
        self.set("ethtool -C eth0 rx-usecs 30000 rx-frames 10000")
        got, took = self.receive_some()
        self.report(f"rx-usecs 30000: {got} in {took:.2f} s")
        self.assertLess(got, took / 0.03 * 1.3 + 5)
        self.assertGreater(got, 5)

    def test_the_last_frames_wait_no_longer_than_asked(self):
        self.set("ethtool -C eth0 rx-usecs 300000 rx-frames 1000")
        took = self.echo()
        self.report(f"rx-usecs 300000: one echo request answered after {took * 1000:.0f} ms")
        self.assertGreater(took, 0.25)
        self.assertLess(took, 10)
        self.set(self.AT_ONCE)
        self.assertLess(min(self.echo() for _ in range(5)), took / 2)

    def echo(self):
        """Send an echo request; the seconds until it is answered."""
        start = time.monotonic()
        self.wire.inject(w.ethernet(w.icmp_echo(b"echo", src=HOST, dst=ADDRESS), dst=MAC, kind=w.ETH_IP))
        self.wire.take(lambda p: p.proto == w.ICMP, n=1)
        return time.monotonic() - start

    def send_some(self):
        """Interrupts for 150 frames that the guest sends in 1.5 seconds and nobody answers."""
        before = self.interrupts()
        sent = self.vnicd.stats()["vm0"]["rx_packets"]
        self.vm.run(f"ping -q -c 150 -i 0.01 -W 1 {HOST}")
        self.vnicd.wait_stats(lambda ports: ports["vm0"]["rx_packets"] >= sent + 150)
        return self.interrupts() - before

    @pytest.mark.long
    def test_transmit(self):
        at_once = self.send_some()
        self.report(f"150 frames from the guest: {at_once} interrupts")
        self.assertGreater(at_once, 50)
        self.set("ethtool -C eth0 tx-usecs 2000000 tx-frames 10")
        got = self.send_some()
        self.report(f"tx-frames 10: {got}")
        self.assertLess(got, 25)
        self.assertGreater(got, 7)


class Driver(ControlTest):
    def test_driver_and_statistics(self):
        self.assertIn("driver: virtio_net", self.vm.check("ethtool -i eth0"))
        before = self.vm.driver_counters()
        self.deliver([syn(k) for k in range(10)])
        self.wire.take(lambda p: p.proto == w.TCP and p.flags & w.RST, n=10)
        after = self.vm.driver_counters()
        self.assertEqual(after["rx_queue_0_packets"] - before["rx_queue_0_packets"], 10)
        self.assertEqual(after["rx_queue_0_drops"], before["rx_queue_0_drops"])
        self.assertGreaterEqual(after["tx_queue_0_packets"] - before["tx_queue_0_packets"], 5)

    @pytest.mark.long
    def test_next_guest_starts_afresh(self):
        """What one guest has set is forgotten when the next one comes."""
        other = "02:00:00:00:00:78"
        self.set(f"ip link set eth0 address {other}; ip link set eth0 promisc on; ethtool -L eth0 combined 3; "
                 "ethtool -X eth0 start 1 equal 2; ethtool -C eth0 rx-usecs 1000000 rx-frames 1000 tx-frames 1")
        self.assertEqual(self.deliver([plain(FOREIGN)] * 10).by_queue, [10, 0, 0, 0])
        self.boot()
        self.assertEqual(self.vm.mac(), MAC)
        self.assert_in(plain(MAC))
        self.assert_out(plain(FOREIGN))
        self.assert_out(plain(other))
        self.assert_out(plain(MAC, vlan=100))
        got = self.deliver([syn(k) for k in range(20)], pair=3)
        self.assertEqual(got.by_queue, [20, 0, 0, 0])

    @pytest.mark.long
    def test_driver_is_loaded_again(self):
        """The same without a new connection."""
        self.set("ip link set eth0 promisc on; ethtool -L eth0 combined 3")
        self.assert_in(plain(FOREIGN))
        self.addCleanup(self.boot)
        self.set(f"rmmod virtio_net; insmod /lib/modules/virtio_net.ko; ip addr add {ADDRESS}/24 dev eth0; "
                 f"ip link set eth0 up; {self.PEERS}")
        self.assert_in(plain(MAC))
        self.assert_out(plain(FOREIGN))


class Configuration(ControlTest):
    """What the host sets and the guest sees."""

    MTU = 1400
    VM0 = f"vhost-user,queues={PAIRS},mac={MAC},mtu={MTU}"

    def link(self):
        return self.vm.check("cat /sys/class/net/eth0/carrier").strip()

    def rpc(self, method, **params):
        try:
            return self.vnicd.rpc(method, params)
        except vnictest.RpcError as e:
            self.fail(f"{method} {params}: {e}")

    def test_mtu(self):
        self.assertEqual(int(self.vm.check("cat /sys/class/net/eth0/mtu")), self.MTU)
        got = self.deliver([plain(MAC, size=self.MTU)] * 3)
        self.assertEqual((got.arrived, got.drops), (3, {}))
        got = self.deliver([plain(MAC, size=self.MTU + 100)] * 3)
        self.assertEqual((got.arrived, got.drops), (0, {"too_long": 3}))
        status, output = self.vm.run(f"ip link set eth0 mtu {self.MTU + 1}")
        self.assertNotEqual(status, 0, "the driver takes no larger one: " + output)

    def test_link(self):
        self.assertEqual(self.link(), "1")
        self.assert_in(plain(MAC))
        self.rpc("port.set", name="vm0", link="down")
        self.addCleanup(self.rpc, "port.set", name="vm0", link="up")
        self.wait_link("0")
        got = self.deliver([plain(MAC)] * 3)
        self.assertEqual(got.arrived, 0, got.drops)
        self.rpc("port.set", name="vm0", link="up")
        self.wait_link("1")
        self.assert_in(plain(MAC))

    def wait_link(self, state):
        deadline = time.monotonic() + 5
        while self.link() != state:
            self.assertLess(time.monotonic(), deadline, f"carrier never became {state}")
            time.sleep(0.05)

    def test_announce(self):
        self.wire.take(quiet=0.3)
        self.rpc("port.announce", name="vm0")

        def is_gratuitous(packet):
            arp = packet.frame[packet.l3:]
            return packet.kind == w.ETH_ARP and arp[14:18] == arp[24:28] == w.ip_bytes(ADDRESS)
        packet = self.wire.take(is_gratuitous, n=1)[0]
        self.assertEqual((packet.src, packet.dst), (MAC, "ff:ff:ff:ff:ff:ff"))


class TwoGuests(guests.GuestTest):
    """Every combination of offloads at both ends moves a file without damage."""

    MIB = 3

    def average(self, guest, before):
        now = guest.counters()
        return (now["rx_bytes"] - before["rx_bytes"]) / (now["rx_packets"] - before["rx_packets"])

    @pytest.mark.long
    def test_transfers(self):
        vnicd = self.start({"vm0": f"vhost-user,queues={PAIRS}", "vm1": f"vhost-user,queues={PAIRS}"}, "switch")
        a, b = (self.guest(vnicd.sock(f"vm{n}"), f"10.0.0.{n + 1}", programs=("ethtool",)) for n in (0, 1))
        a.wait_ready()
        b.wait_ready()
        expected = a.make_file("data", self.MIB)
        a.serve()
        for sender, receiver, channels in (("tx on tso on", "rx-gro-hw on", 1), ("tx on tso on", "rx-gro-hw off", 1),
                                           ("tx on tso off", "rx-gro-hw on", 1), ("tx off", "rx-gro-hw on", 1),
                                           ("tx off", "rx-gro-hw off", 1), ("tx on tso on", "rx-gro-hw on", PAIRS),
                                           ("tx on tso on", "rx-gro-hw off", PAIRS)):
            with self.subTest(sender=sender, receiver=receiver, channels=channels):
                a.check(f"ethtool -K eth0 {sender}")
                b.check(f"ethtool -K eth0 {receiver}")
                for guest in (a, b):
                    guest.run(f"ethtool -L eth0 combined {channels}")
                before = b.counters()
                got, seconds = b.fetch(a.ip, "data")
                self.assertEqual(got, expected)
                average = self.average(b, before)
                self.report(f"{sender}, {receiver}, {channels} pairs: {seconds:.2f} s, {average:.0f} bytes a packet")
                if "tso on" in sender and "on" in receiver:
                    self.assertGreater(average, 3000)
                else:
                    self.assertLessEqual(average, 1514)
        self.assertEqual(b.check("grep ^Tcp: /proc/net/snmp | tail -n 1").split()[-1], "0", "checksum errors")
        for name, port in vnicd.stats().items():
            self.assertFalse(port["drops"].get("bad_offload"), name)


if __name__ == "__main__":
    unittest.main(verbosity=2)

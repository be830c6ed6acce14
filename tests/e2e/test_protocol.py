# SPDX-License-Identifier: BSD-3-Clause
"""What the vhost-user messages do when they are right: each is sent by the raw front-end and its effect is looked at."""
import os
import pathlib
import random
import shutil
import socket
import struct
import sys
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "lib"), str(HERE.parent / "hostile")]
import rawfe as fe  # noqa: E402
import vnictest  # noqa: E402

MAC = "02:00:00:00:aa:01"
LINK_UP = 1
BROADCAST = b"\xff" * 6

# What every port offers; `queues` above 1 adds MQ, mtu= adds MTU, speed= SPEED_DUPLEX, standby=on STANDBY.
OFFERED = fe.bits(
    fe.F_CSUM, fe.F_GUEST_CSUM, fe.F_CTRL_GUEST_OFFLOADS, fe.F_MAC, fe.F_GUEST_TSO4, fe.F_GUEST_TSO6, fe.F_GUEST_ECN,
    fe.F_HOST_TSO4, fe.F_HOST_TSO6, fe.F_HOST_ECN, fe.F_MRG_RXBUF, fe.F_STATUS, fe.F_CTRL_VQ, fe.F_CTRL_RX,
    fe.F_CTRL_VLAN, fe.F_CTRL_RX_EXTRA, fe.F_GUEST_ANNOUNCE, fe.F_CTRL_MAC_ADDR, fe.F_LOG_ALL, fe.F_ANY_LAYOUT,
    fe.F_INDIRECT, fe.F_EVENT_IDX, fe.F_PROTOCOL, fe.F_VERSION_1, fe.F_PACKED, fe.F_IN_ORDER, fe.F_ORDER_PLATFORM,
    fe.F_DEVICE_STATS, fe.F_VQ_NOTF_COAL, fe.F_NOTF_COAL, fe.F_HASH_REPORT, fe.F_RSS, fe.F_GUEST_USO4, fe.F_GUEST_USO6,
    fe.F_HOST_USO, fe.F_GUEST_HDRLEN, fe.F_GUEST_UFO, fe.F_HOST_UFO, fe.F_NOTIFICATION_DATA, fe.F_RSC_EXT)

# VIRTIO, "Feature bit requirements": {bit: one of these has to be there too}.
DEPENDENCIES = {
    fe.F_GUEST_TSO4: (fe.F_GUEST_CSUM,), fe.F_GUEST_TSO6: (fe.F_GUEST_CSUM,),
    fe.F_GUEST_ECN: (fe.F_GUEST_TSO4, fe.F_GUEST_TSO6),
    fe.F_GUEST_UFO: (fe.F_GUEST_CSUM,), fe.F_HOST_UFO: (fe.F_CSUM,),
    fe.F_GUEST_USO4: (fe.F_GUEST_CSUM,), fe.F_GUEST_USO6: (fe.F_GUEST_CSUM,), fe.F_HOST_USO: (fe.F_CSUM,),
    fe.F_RSC_EXT: (fe.F_HOST_TSO4, fe.F_HOST_TSO6),
    fe.F_HOST_TSO4: (fe.F_CSUM,), fe.F_HOST_TSO6: (fe.F_CSUM,), fe.F_HOST_ECN: (fe.F_HOST_TSO4, fe.F_HOST_TSO6),
    **dict.fromkeys((fe.F_CTRL_GUEST_OFFLOADS, fe.F_CTRL_RX, fe.F_CTRL_VLAN, fe.F_CTRL_RX_EXTRA, fe.F_GUEST_ANNOUNCE,
                     fe.F_MQ, fe.F_CTRL_MAC_ADDR, fe.F_DEVICE_STATS, fe.F_VQ_NOTF_COAL, fe.F_NOTF_COAL,
                     fe.F_HASH_REPORT, fe.F_RSS), (fe.F_CTRL_VQ,)),
}


def needed(bit):
    """The bit and, all the way down, one set of bits that it needs."""
    prerequisites = DEPENDENCIES.get(bit, ())
    return 1 << bit | (needed(prerequisites[0]) if prerequisites else 0)


def names_of(word):
    names = {getattr(fe, name): name for name in dir(fe) if name.startswith("F_")}
    return [names.get(bit, bit) for bit in range(64) if word >> bit & 1]


def u64(value):
    return struct.pack("<Q", value)


class Protocol(vnictest.WithGuests, unittest.TestCase):
    PORTS = {"a": f"vhost-user,queues=2,mac={MAC},mtu=1500", "b": "vhost-user,queues=2"}

    def setUp(self):
        self.vnicd = vnictest.Vnicd(self.PORTS, "io")
        self.addCleanup(self.stop)
        self.guests = []

    def guest(self, port, **kwargs):
        guest = fe.RawFrontend(self.vnicd.sock(port), queues=kwargs.pop("queues", 2), **kwargs)
        self.guests.append(guest)
        return guest

    def pair(self, **kwargs):
        a, b = self.guest("a", **kwargs).start(), self.guest("b").start()
        self.pass_frame(a, b)
        return a, b

    def pass_frame(self, src, dst, queue=0, length=200):
        frame = fe.ethernet(os.urandom(length))
        src.send_frame(frame, queue)
        self.assertEqual(dst.receive_frame(queue), frame)

    def drops(self, port):
        return self.vnicd.stats()[port]["drops"]

    def get_config(self, guest, offset, size):
        data = guest.ask(fe.GET_CONFIG, struct.pack("<III", offset, size, 0) + bytes(size))
        if not data:
            return None
        got_offset, got_size, _ = struct.unpack("<III", data[:12])
        self.assertEqual((got_offset, got_size, len(data)), (offset, size, 12 + size))
        return data[12:]

    def set_config(self, guest, offset, data, flags=0):
        return guest.ack(fe.SET_CONFIG, struct.pack("<III", offset, len(data), flags) + data)

    # --- configuration space ---

    def test_config_space_at_any_offset(self):
        guest = self.guest("a")
        guest.negotiate()
        whole = self.get_config(guest, 0, 256)
        mac, status, pairs, mtu = struct.unpack("<6sHHH", whole[:12])
        self.assertEqual((mac.hex(":"), status & LINK_UP, pairs, mtu), (MAC, LINK_UP, 2, 1500))
        for offset in range(0, 30):
            for size in (1, 2, 4, 7, 256 - offset):
                self.assertEqual(self.get_config(guest, offset, size), whole[offset:offset + size])
        for offset, size in ((0, 0), (0, 257), (256, 1), (255, 2), (0xffffffff, 2)):
            data = guest.ask(fe.GET_CONFIG, struct.pack("<III", offset, size, 0) + bytes(min(size, 256)))
            self.assertEqual(data, b"", "an error is a reply without payload")

    def test_config_write(self):
        guest = self.guest("a", features=fe.bits(fe.F_MRG_RXBUF, fe.F_PROTOCOL))
        guest.negotiate()
        other = bytes.fromhex("020000000077")
        self.assertEqual(self.set_config(guest, 0, other), 0, "a legacy driver may set the address")
        self.assertEqual(self.get_config(guest, 0, 6), other)
        self.assertNotEqual(self.set_config(guest, 6, b"\0\0"), 0, "status is read-only")
        self.assertNotEqual(self.set_config(guest, 5, b"\0\0"), 0)
        self.assertEqual(self.get_config(guest, 0, 8)[:6], other)

    def test_config_write_by_a_modern_driver_is_refused(self):
        guest = self.guest("a")
        guest.negotiate()
        self.assertNotEqual(self.set_config(guest, 0, b"\2\0\0\0\0\x77"), 0)
        self.assertEqual(self.get_config(guest, 0, 6).hex(":"), MAC)
        self.assertEqual(self.set_config(guest, 0, b"\2\0\0\0\0\x77", flags=1), 0, "migration restores it")

    # --- features ---

    def test_features_offered(self):
        """Exactly these, in every configuration; and what all configurations have in common (C4, C64, C65)."""
        ports = {
            "a": OFFERED | fe.bits(fe.F_MTU, fe.F_MQ),
            "b": OFFERED | fe.bits(fe.F_MQ),
            "c": OFFERED,
            "d": OFFERED | fe.bits(fe.F_MTU),
        }
        self.vnicd.rpc("port.add", {"config": "c=vhost-user"})
        self.vnicd.rpc("port.add", {"config": "d=vhost-user,mtu=9000"})
        for port, expected in ports.items():
            with self.subTest(port):
                queues = 2 if port in "ab" else 1
                guest = self.guest(port, queues=queues)
                guest.negotiate()
                self.assertEqual(guest.offered, expected, f"differs in bits {names_of(guest.offered ^ expected)}")
                self.assertEqual(guest.ask_u64(fe.GET_QUEUE_NUM), 2 * queues + 1, "virtqueues, with the control queue")
                self.assertEqual(guest.ask_u64(fe.GET_MAX_MEM_SLOTS), 48)
                self.assert_prerequisites_offered(guest.offered)

    def assert_prerequisites_offered(self, offered):
        for bit, prerequisites in DEPENDENCIES.items():
            if offered >> bit & 1:
                self.assertTrue(any(offered >> p & 1 for p in prerequisites), f"bit {bit} without {prerequisites}")

    def test_speed_is_offered_when_given(self):
        for key in ("speed=10000", "speed=10000,duplex=full"):
            try:
                self.vnicd.rpc("port.add", {"config": f"e=vhost-user,{key}"})
            except vnictest.RpcError as e:
                self.skipTest(f"ports do not take {key}: {e}")
            guest = self.guest("e", queues=1)
            guest.negotiate()
            self.assertEqual(guest.offered, OFFERED | fe.bits(fe.F_SPEED_DUPLEX))
            guest.close()
            self.guests.remove(guest)
            self.vnicd.rpc("port.remove", {"name": "e"})

    def test_standby_is_offered_when_asked_for(self):
        try:
            self.vnicd.rpc("port.add", {"config": "e=vhost-user,standby=on"})
        except vnictest.RpcError as e:
            self.skipTest(f"ports do not take standby=: {e}")
        guest = self.guest("e", queues=1)
        guest.negotiate()
        self.assertEqual(guest.offered, OFFERED | fe.bits(fe.F_STANDBY))

    def test_without(self):
        """What is withheld, and what VIRTIO says needs it; shown, not to be had, and the rest as before."""
        controlq = [bit for bit, needs in DEPENDENCIES.items() if needs == (fe.F_CTRL_VQ,)]
        for words, bits in (("ring_packed+host_tso4", (fe.F_PACKED, fe.F_HOST_TSO4)),
                            ("host_tso4+host_tso6", (fe.F_HOST_TSO4, fe.F_HOST_TSO6, fe.F_HOST_ECN, fe.F_RSC_EXT)),
                            ("csum", (fe.F_CSUM, fe.F_HOST_TSO4, fe.F_HOST_TSO6, fe.F_HOST_ECN, fe.F_HOST_USO,
                                     fe.F_HOST_UFO, fe.F_RSC_EXT)),
                            ("guest_csum+mtu", (fe.F_GUEST_CSUM, fe.F_GUEST_TSO4, fe.F_GUEST_TSO6, fe.F_GUEST_ECN,
                                               fe.F_GUEST_USO4, fe.F_GUEST_USO6, fe.F_GUEST_UFO)),
                            ("ctrl_vq", (fe.F_CTRL_VQ, *controlq)),
                            ("version_1", (fe.F_VERSION_1, fe.F_PACKED)),
                            ("event_idx+indirect_desc+mrg_rxbuf", (fe.F_EVENT_IDX, fe.F_INDIRECT, fe.F_MRG_RXBUF))):
            with self.subTest(words):
                self.vnicd.rpc("port.add", {"config": f"e=vhost-user,without={words}"})
                expected = OFFERED & ~fe.bits(*bits)
                guest = self.guest("e", queues=1, features=fe.bits(fe.F_PROTOCOL))
                guest.negotiate()
                self.assertEqual(guest.offered, expected, f"differs in bits {names_of(guest.offered ^ expected)}")
                self.assert_prerequisites_offered(guest.offered)
                self.assertNotEqual(guest.ack(fe.SET_FEATURES, u64(fe.bits(bits[0]) | guest.features)), 0)
                shown = self.vnicd.rpc("guest.show", {"name": "e"})["offered"]
                self.assertLessEqual({"mac", "status"}, set(shown))
                self.assertFalse(set(words.split("+")) & set(shown))
                self.guests.remove(guest)
                guest.close()
                self.vnicd.rpc("port.remove", {"name": "e"})

    def test_capabilities_are_the_drivers(self):
        def capabilities():
            return self.vnicd.rpc("port.show", {"name": "a"})["capabilities"]

        self.assertEqual(capabilities(), [])
        guest = self.guest("a", features=fe.bits(fe.F_VERSION_1, fe.F_PROTOCOL, fe.F_GUEST_CSUM, fe.F_GUEST_TSO4,
                                                 fe.F_CSUM, fe.F_HOST_TSO6))
        guest.start()
        self.assertEqual(capabilities(), ["checksum", "tso4"])

    def test_one_pair_does_not_offer_mq(self):
        self.vnicd.rpc("port.add", {"config": "c=vhost-user"})
        c = self.guest("c", queues=1)
        c.negotiate()
        self.assertFalse(c.offered & fe.bits(fe.F_MQ))
        self.assertTrue(c.offered & fe.bits(fe.F_CTRL_VQ))
        self.assertNotEqual(c.ack(fe.SET_FEATURES, u64(c.features | fe.bits(fe.F_CTRL_VQ, fe.F_MQ))), 0)

    # --- how many queues ---

    # What front-ends negotiate of what is offered, as far as they know it.
    QEMU = fe.bits(fe.P_MQ, fe.P_LOG_SHMFD, fe.P_RARP, fe.P_REPLY_ACK, fe.P_MTU, fe.P_BACKEND_REQ, fe.P_RESET_DEVICE,
                   fe.P_MEM_SLOTS, fe.P_STATUS)
    QEMU_OLD = fe.bits(fe.P_MQ, fe.P_LOG_SHMFD, fe.P_RARP)
    VIRTIO_USER = fe.bits(fe.P_MQ, fe.P_REPLY_ACK, fe.P_STATUS)
    RUST_VMM = fe.bits(fe.P_MQ, fe.P_LOG_SHMFD, fe.P_REPLY_ACK, fe.P_MEM_SLOTS)
    RUST_VMM_CONFIG = RUST_VMM | fe.bits(fe.P_CONFIG)
    RUST_VMM_ALL = RUST_VMM_CONFIG | fe.bits(fe.P_RARP, fe.P_MTU, fe.P_BACKEND_REQ, fe.P_RESET_DEVICE)
    CROSVM = fe.bits(fe.P_MQ, fe.P_REPLY_ACK, fe.P_BACKEND_REQ, fe.P_CONFIG)
    UML = fe.bits(fe.P_REPLY_ACK, fe.P_BACKEND_REQ, fe.P_CONFIG)

    def test_one_pair_has_no_mq(self):
        """One pair: nothing to ask; who believes that there is takes an answer of 1 for one virtqueue."""
        self.vnicd.rpc("port.add", {"config": "c=vhost-user"})
        for port, mq in (("a", True), ("c", False)):
            guest = self.guest(port, queues=1 + mq)
            guest.negotiate()
            self.assertEqual(bool(guest.offered_protocol & fe.bits(fe.P_MQ)), mq, port)
            self.assertEqual(guest.ack(fe.SET_PROTOCOL_FEATURES, u64(guest.protocol | fe.bits(fe.P_MQ))) == 0, mq, port)

    def test_queue_number_suits_each_front_end(self):
        """Who counts what, and what it does with more or less than it wants."""
        for n in range(1, 4):
            self.vnicd.rpc("port.add", {"config": f"n{n}=vhost-user,queues={n}"})
            for name, protocol, wants, default, counts in (
                    ("QEMU", self.QEMU, n, 1, "pairs, and says so when it has more"),
                    ("QEMU without REPLY_ACK", self.QEMU_OLD, n, 1, "pairs, and says so when it has more"),
                    ("virtio-user", self.VIRTIO_USER, n, 1, "nothing"),
                    ("cloud-hypervisor", self.RUST_VMM, 2 * n, 2, "virtqueues"),
                    ("cloud-hypervisor with CONFIG", self.RUST_VMM_CONFIG, 2 * n, 2, "virtqueues"),
                    ("rust-vmm, all that there is", self.RUST_VMM_ALL, 2 * n, 2, "virtqueues"),
                    ("crosvm", self.CROSVM, 2 * n + 1, 3, "virtqueues, and makes them all")):
                with self.subTest(name, pairs=n):
                    guest = self.guest(f"n{n}", queues=n, protocol=protocol)
                    guest.negotiate()
                    self.assertEqual(guest.protocol, protocol & ~(fe.bits(fe.P_MQ) if n == 1 else 0))
                    number = default
                    if guest.protocol & fe.bits(fe.P_MQ):
                        number = guest.ask_u64(fe.GET_QUEUE_NUM)
                    self.assertLessEqual(wants, number)
                    if counts.startswith("pairs") or "makes" in counts:
                        self.assertEqual(number, wants, counts)
                    guest.close()
                    self.guests.remove(guest)

    def test_each_front_end_brings_its_queues_up(self):
        """With one pair and with two: all rings that it makes are taken, and frames pass on each."""
        self.vnicd.rpc("port.add", {"config": "c=vhost-user"})
        self.vnicd.rpc("port.add", {"config": "d=vhost-user"})
        for name in ("QEMU", "QEMU_OLD", "VIRTIO_USER", "RUST_VMM", "RUST_VMM_CONFIG", "CROSVM"):
            for layout in ("split",) if name in ("RUST_VMM", "RUST_VMM_CONFIG", "CROSVM") else ("split", "packed"):
                for ports in ("cd", "ab"):
                    n = 1 + (ports == "ab")
                    with self.subTest(name, layout=layout, pairs=n):
                        options = dict(queues=n, protocol=getattr(self, name), layout=layout)
                        if name == "CROSVM":
                            features = fe.bits(fe.F_VERSION_1, fe.F_PROTOCOL, fe.F_MRG_RXBUF, fe.F_CTRL_VQ,
                                               fe.F_CTRL_RX) | (fe.bits(fe.F_MQ) if n > 1 else 0)
                            options.update(control=16, features=features)
                        pair = [self.guest(port, **options).start() for port in ports]
                        for guest in pair if name == "CROSVM" and n > 1 else ():
                            self.assertEqual(guest.command(fe.CTRL_MQ, fe.MQ_VQ_PAIRS_SET, fe.vq_pairs(n))[0], fe.OK)
                        for queue in range(n):
                            self.pass_frame(pair[0], pair[1], queue)
                            self.pass_frame(pair[1], pair[0], queue)
                        if name == "CROSVM":
                            self.assertEqual(pair[0].control_idx, 2 * n)
                            self.assertEqual(pair[0].command(fe.CTRL_RX, fe.RX_PROMISC, b"\1")[0], fe.OK)
                        for guest in pair:
                            guest.close()
                            self.guests.remove(guest)

    def test_qemu_says_itself_that_it_has_too_many_pairs(self):
        """As many as the port has are taken; of more QEMU is told by the number, not by a connection that ends."""
        qemu = shutil.which("qemu-system-x86_64")
        if not qemu:
            self.skipTest("qemu-system-x86_64 is not installed (Debian package qemu-system-x86)")
        self.vnicd.rpc("port.add", {"config": "c=vhost-user"})
        for port, queues, expected in (("c", 1, None), ("a", 2, None), ("b", 4, "more queues than supported: 2")):
            proc = vnictest.Proc([
                qemu, "-S", "-machine", "q35", "-accel", "tcg", "-m", "64", "-nodefaults", "-display", "none",
                "-object", "memory-backend-memfd,id=mem,size=64M,share=on", "-numa", "node,memdev=mem",
                "-chardev", f"socket,id=c0,path={self.vnicd.sock(port)}",
                "-netdev", f"vhost-user,id=n0,chardev=c0,queues={queues}",
                "-device", "virtio-net-pci,netdev=n0,vectors=0,romfile=,mq=on"], name="qemu")
            try:
                if expected:
                    proc.expect(expected, 20)
                else:
                    self.vnicd.expect(f"port {port}: front-end connected", 20)
                    time.sleep(0.3)
                    self.assertTrue(self.vnicd.rpc("guest.show", {"name": port})["connected"])
            finally:
                proc.kill9()
        self.assertNotIn("refused", self.vnicd.output)

    def test_base_zero_of_a_fresh_packed_ring(self):
        """User-mode Linux: base 0, with whatever number of pairs, is the start of a ring that was never used."""
        self.vnicd.rpc("port.add", {"config": "c=vhost-user"})
        self.vnicd.rpc("port.add", {"config": "d=vhost-user"})
        other = self.guest("d", queues=1).start()
        guest = self.guest("c", queues=1, layout="packed", protocol=self.UML)
        guest.negotiate()
        guest.set_memory()
        guest.make_rings()
        for idx in range(guest.n_rings()):
            for name, request, payload, fds in guest.ring_messages(idx):
                guest.tell(request, struct.pack("<II", idx, 0) if name == "BASE" else payload, fds)
            guest.enable(idx, 1)
        guest.post_rx(0)
        self.pass_frame(guest, other)
        self.pass_frame(other, guest)

    def test_features_that_were_not_offered_are_refused(self):
        guest = self.guest("a")
        guest.negotiate()
        for bit in range(64):
            if not guest.offered >> bit & 1:
                self.assertNotEqual(guest.ack(fe.SET_FEATURES, u64(guest.features | 1 << bit)), 0, f"bit {bit}")
                self.assertNotEqual(guest.ack(fe.SET_FEATURES, u64(guest.offered | 1 << bit)), 0, f"bit {bit}")
        self.assertNotEqual(guest.ack(fe.SET_FEATURES, u64(fe.bits(fe.F_PACKED))), 0, "packed without VERSION_1")
        self.assertEqual(guest.ack(fe.SET_FEATURES, u64(guest.features)), 0)
        self.assertEqual(guest.ack(fe.SET_FEATURES, u64(guest.offered & ~fe.bits(fe.F_LOG_ALL))), 0, "all of them")

    def test_features_without_their_prerequisites_are_refused(self):
        """C52, the whole table: each bit alone, and with each of those that it may lean on."""
        guest = self.guest("a")
        guest.negotiate()
        base = fe.bits(fe.F_VERSION_1, fe.F_PROTOCOL)
        for bit, prerequisites in DEPENDENCIES.items():
            if not guest.offered >> bit & 1:
                continue
            # What those need in their turn.
            whole = base
            for p in prerequisites:
                whole |= needed(p)
            value = guest.ack(fe.SET_FEATURES, u64(whole & ~fe.bits(*prerequisites) | 1 << bit))
            if prerequisites == (fe.F_CTRL_VQ,):
                # Whoever leaves CTRL_VQ out keeps the queue to himself, and knows what he does.
                self.assertEqual(value, 0, f"bit {bit} of a front-end that serves the control queue itself")
            else:
                self.assertNotEqual(value, 0, f"bit {bit} without {prerequisites}")
            for p in prerequisites:
                self.assertEqual(guest.ack(fe.SET_FEATURES, u64(base | needed(p) | 1 << bit)), 0,
                                 f"bit {bit} with {p}")
            self.assertEqual(guest.ack(fe.SET_FEATURES, u64(base)), 0)
        # A refusal changes nothing: rings come up with what was accepted last.
        features = base | fe.bits(fe.F_MRG_RXBUF)
        self.assertEqual(guest.ack(fe.SET_FEATURES, u64(features)), 0)
        self.assertNotEqual(guest.ack(fe.SET_FEATURES, u64(base | fe.bits(fe.F_HOST_TSO4, fe.F_PACKED))), 0)
        guest.features = features
        guest.set_memory()
        guest.make_rings()
        for idx in range(guest.n_rings()):
            guest.start_ring(idx)
        guest.post_rx(0)
        self.pass_frame(self.guest("b").start(), guest)

    def test_control_queue_follows_the_pairs(self):
        """The index of the control queue: after all pairs with MQ or RSS, else 2; the next one does not exist."""
        for more, idx, last in (((), 2, 4), ((fe.F_MQ,), 4, 4), ((fe.F_RSS,), 4, 4)):
            with self.subTest(features=more):
                guest = self.guest("a", queues=2 if more else 1, control=16, features=fe.bits(
                    fe.F_VERSION_1, fe.F_PROTOCOL, fe.F_MRG_RXBUF, fe.F_CTRL_VQ, fe.F_CTRL_RX, *more))
                guest.start()
                self.assertEqual(guest.control_idx, idx)
                ack, _, used = guest.command(fe.CTRL_RX, 77)
                self.assertEqual((ack, used), (fe.ERR, 1), "an answer to a command that does not exist")
                self.assertEqual(guest.ack(fe.SET_VRING_NUM, struct.pack("<II", last + 1, 64)) != 0, True)
                guest.close()
                self.guests.remove(guest)

    def test_pairs_that_the_driver_does_not_use(self):
        """A front-end may enable all pairs, and its driver use one: every frame goes where buffers have been."""
        flows = [fe.ethernet(bytes.fromhex("45000032000000004011000a0a0000010a000002") +
                             struct.pack(">HHHH", 1000 + 7 * flow, 9, 30, 0) + bytes(22), kind=0x800)
                 for flow in range(64)]

        def deliver(src, dst):
            """How many of the flows' frames came to each pair of dst."""
            for n, frame in enumerate(flows):
                src.send_frame(frame, n % 4)
            got = [0] * 4
            self.vnicd.wait_stats(lambda ports: ports["c"]["tx_packets"] + sum(ports["c"]["drops"].values())
                                  >= deliver.total + len(flows))
            deliver.total += len(flows)
            for pair in range(4):
                while dst.pairs[pair].rx_all and dst.try_receive(pair):
                    got[pair] += 1
            return got

        def active():
            return next(p["active_queues"] for p in self.vnicd.rpc("port.list") if p["name"] == "c")

        def wait_active(n):
            deadline = time.monotonic() + fe.seconds(2)
            while active() != n:
                self.assertLess(time.monotonic(), deadline, f"{active()} pairs in use, not {n}")
                time.sleep(0.002)

        deliver.total = 0
        for name in "cd":
            self.vnicd.rpc("port.add", {"config": f"{name}=vhost-user,queues=4"})
        src = self.guest("d", queues=4).start()
        for layout in ("split", "packed"):
            with self.subTest(layout):
                guest = self.guest("c", queues=4, layout=layout, size=256).start(post=False)
                guest.post_rx(0)
                self.assertEqual(deliver(src, guest), [64, 0, 0, 0])
                # The driver begins to use the others; the third is none of them yet.
                guest.post_rx(1)
                wait_active(2)
                guest.post_rx(3)
                first = deliver(src, guest)
                self.assertEqual((sum(first), first[2:]), (64, [0, 0]))
                self.assertGreater(min(first[:2]), 0)
                guest.post_rx(2)
                wait_active(4)
                self.assertGreater(min(deliver(src, guest)), 0)
                # The next driver of this front-end uses one again.
                guest.tell(fe.RESET_DEVICE)
                self.next_driver(guest, pairs=1)
                self.assertEqual(deliver(src, guest), [64, 0, 0, 0])
                self.guests.remove(guest)
                guest.close()
        self.assertEqual(self.drops("c"), {})

    # --- what frames do ---

    def test_mtu_limits_what_is_delivered(self):
        a, b = self.pair()
        # mtu=1500 of the port: 1500 bytes and two VLAN tags pass, more does not.
        self.pass_frame(b, a, length=1508)
        b.send_frame(fe.ethernet(bytes(1509)))
        self.vnicd.wait_stats(lambda ports: ports["a"]["drops"].get("too_long") == 1)
        self.assertEqual(a.ack(fe.NET_SET_MTU, u64(1000)), 0)
        b.send_frame(fe.ethernet(bytes(1009)))
        self.vnicd.wait_stats(lambda ports: ports["a"]["drops"].get("too_long") == 2)
        self.pass_frame(b, a, length=1008)
        for bad in (0, 67, 65536, 2**64 - 1):
            self.assertNotEqual(a.ack(fe.NET_SET_MTU, u64(bad)), 0)

    def check_mtu(self, src, dst, mtu):
        """The longest frames that dst gets from src are those of this MTU."""
        self.pass_frame(src, dst, length=mtu + 8)
        before = self.drops("a").get("too_long", 0)
        src.send_frame(fe.ethernet(bytes(mtu + 9)))
        self.vnicd.wait_stats(lambda ports: ports["a"]["drops"].get("too_long", 0) == before + 1)

    def next_driver(self, guest, pairs=None):
        """After the end of one driver; the front-end and its rings are the same. pairs: those it makes buffers for."""
        if guest.protocol & fe.bits(fe.P_STATUS):
            guest.tell(fe.SET_STATUS, u64(fe.S_ACKNOWLEDGE | fe.S_DRIVER))
        guest.tell(fe.SET_FEATURES, u64(guest.features))
        for idx in range(guest.n_rings()):
            guest.restart_ring(idx, post=False)
        guest.driver_ok()
        for pair in range(pairs or guest.queues):
            guest.post_rx(pair)

    def test_mtu_of_a_front_end_ends_with_its_driver(self):
        """NET_SET_MTU is not for the next one, whatever ends it; what the port was configured with stays."""
        def stop_all(guest):
            for idx in range(guest.n_rings()):
                guest.stop_ring(idx)

        b = self.guest("b").start()
        with_status = fe.bits(fe.P_MQ, fe.P_REPLY_ACK, fe.P_MTU, fe.P_STATUS)
        for name, end, protocol in (
                ("status 0", lambda guest: guest.tell(fe.SET_STATUS, u64(0)), with_status),
                ("RESET_DEVICE", lambda guest: guest.tell(fe.RESET_DEVICE), None),
                ("RESET_DEVICE with status", lambda guest: guest.tell(fe.RESET_DEVICE), with_status),
                ("RESET_OWNER", lambda guest: guest.tell(fe.RESET_OWNER), None),
                ("features", stop_all, None),
                ("disconnect", None, None)):
            with self.subTest(name):
                a = self.guest("a", protocol=protocol).start()
                self.check_mtu(b, a, 1500)
                a.tell(fe.NET_SET_MTU, u64(1000))
                self.check_mtu(b, a, 1000)
                if end:
                    end(a)
                    self.next_driver(a)
                    self.check_mtu(b, a, 1500)
                self.guests.remove(a)
                a.close()
        a = self.guest("a").start()
        self.check_mtu(b, a, 1500)
        self.assertEqual(self.vnicd.rpc("guest.show", {"name": "a"})["mtu"], 1500)

    def test_mtu_said_before_the_features(self):
        """QEMU says it before SET_FEATURES, at each start of a driver: it is for the driver that comes."""
        b = self.guest("b").start()
        for protocol in (None, fe.bits(fe.P_MQ, fe.P_REPLY_ACK, fe.P_MTU, fe.P_STATUS)):
            with self.subTest(protocol=protocol):
                a = self.guest("a", protocol=protocol)
                a.negotiate()
                a.set_memory()
                a.make_rings()
                for mtu in (1000, 1200, 1200, 900):
                    a.tell(fe.NET_SET_MTU, u64(mtu))
                    self.next_driver(a)
                    self.check_mtu(b, a, mtu)
                    # The driver goes, as with QEMU.
                    if protocol:
                        a.tell(fe.SET_STATUS, u64(0))
                    for idx in range(a.n_rings()):
                        a.stop_ring(idx)
                # This time nobody says anything.
                self.next_driver(a)
                self.check_mtu(b, a, 1500)
                self.guests.remove(a)
                a.close()

    def test_send_rarp_announces_the_address(self):
        a, b = self.pair(protocol=fe.bits(fe.P_MQ, 2, fe.P_REPLY_ACK))
        mac = bytes.fromhex("02000000aa01")
        self.assertEqual(a.ack(fe.SEND_RARP, mac + b"\0\0"), 0)
        frame = b.receive_frame(0)
        self.assertEqual(frame[:6], BROADCAST)
        self.assertEqual(frame[6:12], mac)
        self.assertEqual(frame[12:14], b"\x80\x35")
        self.assertEqual(frame[22:28], mac, "sender hardware address")
        self.assertNotEqual(a.ack(fe.SEND_RARP, u64(0)), 0)

    def test_disabled_queue_discards_and_takes_nothing(self):
        a, b = self.pair()
        a.enable(3, 0)
        a.send_frame(fe.ethernet(bytes(100)), 1)
        self.vnicd.wait_stats(lambda ports: ports["a"]["drops"].get("disabled") == 1)
        a.enable(3, 1)
        self.pass_frame(a, b, 1)
        # Nothing is delivered on a disabled receive queue; what was for pair 1 goes to pair 0.
        a.enable(2, 0)
        b.send_frame(fe.ethernet(bytes(100)), 1)
        self.assertEqual(a.receive_frame(0), fe.ethernet(bytes(100)))
        a.enable(0, 0)
        b.send_frame(fe.ethernet(bytes(100)), 0)
        self.vnicd.wait_stats(lambda ports: ports["a"]["drops"].get("queue_disabled") == 1)
        a.enable(0, 1)
        a.enable(2, 1)
        self.pass_frame(b, a, 0)
        self.pass_frame(b, a, 1)

    def test_frames_wait_for_the_first_enable(self):
        """What a driver sends before its ring is enabled is delivered when it is, without another kick; what it sends
        on a ring that was enabled and then disabled is drained."""
        for layout in ("split", "packed"):
            with self.subTest(layout):
                b = self.guest("b").start(post=False)
                for pair in (0, 1):
                    b.post_rx(pair, 48)
                a = self.guest("a", layout=layout)
                a.negotiate()
                a.set_memory()
                a.make_rings()
                for idx in range(a.n_rings()):
                    a.start_ring(idx, enable=False)
                a.driver_ok()
                before = self.drops("a").get("disabled", 0)
                frames = [fe.ethernet(os.urandom(100)) for _ in range(32)]
                for frame in frames:
                    a.send_frame(frame, wait=False)
                time.sleep(0.3)
                self.assertEqual(self.drops("a").get("disabled", 0), before)
                self.assertFalse(a.pairs[0].tx.poll(), "nothing has come back")
                a.enable(1, 1)
                self.assertEqual([b.receive_frame(0) for _ in frames], frames)
                a.enable(1, 0)
                a.send_frame(frames[0])
                self.vnicd.wait_stats(lambda ports: ports["a"]["drops"].get("disabled", 0) == before + 1)
                for guest in (a, b):
                    guest.close()
                    self.guests.remove(guest)

    def test_stop_and_resume_where_it_stood(self):
        for layout in ("split", "packed"):
            with self.subTest(layout):
                a, b = self.pair(layout=layout)
                for _ in range(100):
                    self.pass_frame(a, b)
                    self.pass_frame(b, a)
                bases = [a.stop_ring(idx) for idx in (0, 1)]
                if layout == "split":
                    self.assertEqual(bases, [101 - 1, 101])
                # While it is stopped nothing moves.
                b.send_frame(fe.ethernet(bytes(60)))
                self.vnicd.wait_stats(lambda ports: ports["a"]["drops"].get("queue_stopped", 0) >= 1)
                for idx, base in zip((0, 1), bases):
                    for name, request, payload, fds in a.ring_messages(idx):
                        if name == "BASE":
                            payload = struct.pack("<II", idx, base)
                        a.tell(request, payload, fds)
                self.pass_frame(a, b)
                self.pass_frame(b, a)
                a.close()
                b.close()
                self.guests.clear()

    def test_C36_notification_data_is_not_read(self):
        """A driver that says where it is in its notifications, and a front-end that puts that into the descriptor, rightly or
        not: frames and commands pass, and a queue goes on where it stood."""
        wants = fe.bits(fe.F_VERSION_1, fe.F_PROTOCOL, fe.F_MRG_RXBUF, fe.F_CTRL_VQ, fe.F_CTRL_RX, fe.F_MQ,
                        fe.F_NOTIFICATION_DATA)
        rng = random.Random(1)
        for layout in ("split", "packed"):
            with self.subTest(layout):
                features = wants | fe.bits(fe.F_PACKED) * (layout == "packed")
                a, b = self.guest("a", layout=layout, features=features, control=16), self.guest("b", layout=layout)
                a.start(), b.start()
                self.assertTrue(a.features & fe.bits(fe.F_NOTIFICATION_DATA))
                for idx in range(a.n_rings()):
                    a.ring(idx).kick_value = lambda idx=idx: idx | rng.getrandbits(16) << 16 or 1
                a.control.kick_value = lambda: a.control_idx | rng.getrandbits(16) << 16
                for _ in range(3 * a.size):  # laps of the rings
                    self.pass_frame(a, b)
                    self.pass_frame(b, a)
                for _ in range(50):
                    self.assertEqual(a.command(fe.CTRL_RX, fe.RX_PROMISC, b"\1")[0], fe.OK)
                bases = [a.stop_ring(idx) for idx in (0, 1)]
                for idx, base in zip((0, 1), bases):
                    for name, request, payload, fds in a.ring_messages(idx):
                        a.tell(request, struct.pack("<II", idx, base) if name == "BASE" else payload, fds)
                self.pass_frame(a, b)
                self.pass_frame(b, a)
                for idx in range(a.n_rings()):
                    a.restart_ring(idx)
                self.pass_frame(a, b)
                self.pass_frame(b, a)
                self.assertNotIn("broken", {reason for reason, n in self.drops("a").items() if n})
                a.close()
                b.close()
                self.guests.clear()

    def test_reset_device(self):
        a, b = self.pair()
        a.tell(34)      # RESET_DEVICE
        b.send_frame(fe.ethernet(bytes(60)))
        self.vnicd.wait_stats(lambda ports: ports["a"]["drops"].get("queue_stopped") == 1)
        for idx in range(4):
            a.restart_ring(idx)
        self.pass_frame(a, b)
        self.pass_frame(b, a)

    def test_nothing_moves_before_driver_ok(self):
        protocol = fe.bits(fe.P_MQ, fe.P_REPLY_ACK, fe.P_STATUS)
        a, b = self.guest("a", protocol=protocol), self.guest("b").start()
        a.negotiate()
        a.set_memory()
        a.make_rings()
        for idx in range(a.n_rings()):
            a.start_ring(idx)
        self.assertEqual(a.ask_u64(fe.GET_STATUS), 11)
        a.send_frame(fe.ethernet(bytes(60)), wait=False)
        b.send_frame(fe.ethernet(bytes(60)))
        time.sleep(0.1)
        self.assertEqual(a.pairs[0].tx.poll(), [])
        self.assertEqual(self.vnicd.stats()["a"]["rx_packets"], 0)
        self.assertEqual(self.drops("a"), {"queue_stopped": 1})
        a.driver_ok()
        a.reclaim_tx(0, all_of_them=True)
        b.receive_frame(0)
        a.tell(fe.SET_STATUS, u64(0))
        self.assertEqual(a.ask_u64(fe.GET_STATUS), 0)

    # --- memory ---

    def test_memory_regions_come_and_go_under_traffic(self):
        a, b = self.pair()
        extra = fe.Region(0x9000_0000, 1 << 20, 0x6600_0000_0000)
        self.addCleanup(extra.close)
        region = struct.pack("<QQQQQ", 0, extra.gpa, extra.size, extra.uva, extra.offset)
        a.tell(fe.ADD_MEM_REG, region, (extra.fd,))
        self.assertEqual(a.ack(fe.ADD_MEM_REG, region, (extra.fd,)), 0, "the same again is counted, as QEMU needs")
        self.pass_frame(a, b)
        # A frame that lies in the new region arrives; after its removal it is malformed.
        frame = fe.ethernet(b"there" * 20)
        data = a.frame_header() + frame
        extra.map[extra.offset:extra.offset + len(data)] = data
        a.pairs[0].tx.add([fe.D(extra.gpa, len(data))], None)
        self.assertEqual(b.receive_frame(0), frame)
        a.tell(fe.REM_MEM_REG, region)
        a.pairs[0].tx.add([fe.D(extra.gpa, len(data))], None)
        self.assertEqual(b.receive_frame(0), frame, "it was added twice and removed once")
        other = fe.Region(extra.gpa, extra.size, extra.uva)
        self.addCleanup(other.close)
        self.assertNotEqual(a.ack(fe.ADD_MEM_REG, region, (other.fd,)), 0, "the same place, but another file")
        a.tell(fe.REM_MEM_REG, region)
        a.pairs[0].tx.add([fe.D(extra.gpa, len(data))], None)
        self.vnicd.wait_stats(lambda ports: ports["a"]["drops"].get("malformed") == 1)
        self.assertNotEqual(a.ack(fe.REM_MEM_REG, region), 0, "it is gone")
        a.pairs[0].tx.poll()
        self.pass_frame(a, b)
        a.tell(fe.SET_MEM_TABLE, a.mem.table(), a.mem.fds())
        self.pass_frame(a, b)

    # --- the dirty log ---

    def test_reply_to_set_log_base(self):
        """What each kind of front-end reads: QEMU anything, rust-vmm's what it sent, its older ones an acknowledgement."""
        log = struct.pack("<QQ", 4096, 0)
        for name, protocol, need_reply, expected in (
                ("QEMU", self.QEMU, False, None),
                ("QEMU without REPLY_ACK", self.QEMU_OLD, False, None),
                ("rust-vmm before 0.16", self.RUST_VMM, True, u64(0)),
                ("rust-vmm", self.RUST_VMM_CONFIG, True, log),
                ("rust-vmm without NEED_REPLY", self.RUST_VMM_CONFIG, False, log),
                ("rust-vmm without REPLY_ACK", fe.bits(fe.P_LOG_SHMFD), False, log),
                ("a flag that was not negotiated", fe.bits(fe.P_LOG_SHMFD), True, log)):
            with self.subTest(name):
                guest = self.guest("a", protocol=protocol).start()
                fd = os.memfd_create("log")
                self.addCleanup(os.close, fd)
                os.ftruncate(fd, 4096)
                for _ in range(2):
                    guest.send(fe.SET_LOG_BASE, log, (fd,), flags=fe.FLAG_VERSION | need_reply * fe.FLAG_NEED_REPLY)
                    reply = guest.reply(fe.SET_LOG_BASE)
                    if expected is not None:
                        self.assertEqual(reply, expected)
                    self.assertTrue(guest.alive(), "the reply was all that came")
                guest.close()
                self.guests.remove(guest)

    def test_set_log_base_refused(self):
        """By the acknowledgement to who reads one, else by the end of the connection; never by what looks like success."""
        for protocol, need_reply, closes in ((self.RUST_VMM, True, False), (self.RUST_VMM_CONFIG, True, True),
                                             (self.QEMU, False, True)):
            with self.subTest(protocol=protocol):
                guest = self.guest("a", protocol=protocol).start()
                fd = os.memfd_create("log")     # empty
                self.addCleanup(os.close, fd)
                guest.send(fe.SET_LOG_BASE, struct.pack("<QQ", 4096, 0), (fd,),
                           flags=fe.FLAG_VERSION | need_reply * fe.FLAG_NEED_REPLY)
                if closes:
                    with self.assertRaises(fe.Closed):
                        guest.reply(fe.SET_LOG_BASE)
                else:
                    self.assertEqual(guest.reply(fe.SET_LOG_BASE), u64(1))
                    self.assertTrue(guest.alive())
                guest.close()
                self.guests.remove(guest)

    # --- notification ---

    def test_driver_is_notified_when_it_wants(self):
        for layout in ("split", "packed"):
            with self.subTest(layout):
                a, b = self.pair(layout=layout)
                ring = a.pairs[0].rx
                while ring.called():
                    pass
                b.send_frame(fe.ethernet(bytes(60)))
                self.assertTrue(ring.called(2.0), "no notification for a received frame")
                a.close()
                b.close()
                self.guests.clear()

    def test_broken_queue_is_announced(self):
        """The error descriptor, NEEDS_RESET, and a configuration change on the back-end channel."""
        protocol = fe.bits(fe.P_MQ, fe.P_REPLY_ACK, fe.P_STATUS, fe.P_BACKEND_REQ, fe.P_CONFIG)
        a, b = self.guest("a", protocol=protocol), self.guest("b").start()
        a.start()
        ours, theirs = socket.socketpair()
        self.addCleanup(ours.close)
        a.tell(fe.SET_BACKEND_REQ_FD, b"", (theirs.fileno(),))
        theirs.close()
        self.pass_frame(a, b, 1)
        ring = a.pairs[0].tx
        ring.mem.store(ring.addresses()[2] + 2, 2, 5000)     # available index: a jump
        self.assertTrue(ring.erred(2.0))
        ours.settimeout(2)
        request, flags, size = struct.unpack("<III", ours.recv(12))
        self.assertEqual((request, flags & 3, size), (2, 1, 0))
        self.assertTrue(a.ask_u64(fe.GET_STATUS) & 64)
        self.pass_frame(a, b, 1)
        self.vnicd.expect("queue 1 is broken by its driver", 2)


if __name__ == "__main__":
    unittest.main(verbosity=2)

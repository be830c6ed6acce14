# SPDX-License-Identifier: BSD-3-Clause
"""What must hold whatever a guest or its front-end does, and the stage on which the hostile tests play.

Ports a0 and a1 are the attacked pair, v0 and v1 the victims; forwarding mode io, one worker for all of them, so that
whatever holds up the attacker's queues holds up the victims' too. a1 has a well-behaved front-end (the *peer*) that
sees what comes through and sends frames to the attacker.

Every test of a HostileCase asserts: the process lives; the victims exchange frames before, after each hostile act and
at the end, none lost, reordered or altered; open files, mappings and packet buffers return to what they were; no byte
of guest memory outside the buffers and rings changes, nor of the memory files beyond the regions.
"""
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))

import rawfe as fe_  # noqa: E402
import vnictest  # noqa: E402
from vnictest import LONG  # noqa: E402,F401
from rawfe import Closed, D, Nack, RawFrontend, Silent, Timing, WRITE, bits, seconds  # noqa: E402,F401



def sanitized(program):
    try:
        with open(program, "rb") as f:
            return b"__asan_init" in f.read()
    except OSError:
        return False


SANITIZED = sanitized(vnictest.VNICD)
if SANITIZED and "VNICD_TEST_SCALE" not in os.environ:
    Timing.scale = 4.0


def frame_of(seq, size=None):
    """A frame that can be told from every other, and checked with nothing but itself."""
    size = size or 60 + seq * 37 % 1440
    body = seq.to_bytes(8, "big") + bytes((seq * 31 + i * 7) & 0xff for i in range(size - 22))
    return fe_.ethernet(body)


class Victims:
    """Two guests that want to be left alone."""

    def __init__(self, path0, path1):
        status = bits(fe_.P_MQ, fe_.P_REPLY_ACK, fe_.P_STATUS)
        self.ends = [RawFrontend(path0, layout="split", protocol=status, size=128).start(),
                     RawFrontend(path1, layout="packed", size=100).start()]
        self.seq = 0
        self.await_link()

    def await_link(self):
        """Wait until frames pass: the workers have to see the new queues first."""
        deadline = time.monotonic() + seconds(5)
        for way in (0, 1):
            src, dst = self.ends[way], self.ends[1 - way]
            while True:
                src.send_frame(frame_of(0))
                try:
                    dst.receive_frame(timeout=0.05)
                    dst.drain(0.01)
                    break
                except Silent:
                    if time.monotonic() > deadline:
                        raise

    def check(self, n=4):
        """n frames each way; returns the time of each."""
        times = []
        for _ in range(n):
            for way in (0, 1):
                self.seq += 1
                frame = frame_of(self.seq)
                src, dst = self.ends[way], self.ends[1 - way]
                began = time.monotonic()
                src.send_frame(frame, timeout=5)
                got = dst.receive_frame(timeout=5)
                times.append(time.monotonic() - began)
                if got != frame:
                    raise AssertionError(f"victims: frame {self.seq} of {len(frame)} bytes came as {len(got)} bytes "
                                         f"{got[:32].hex()}")
        return times

    def burst(self, n=32):
        """n frames at once each way."""
        for way in (0, 1):
            src, dst = self.ends[way], self.ends[1 - way]
            frames = []
            for _ in range(n):
                self.seq += 1
                frames.append(frame_of(self.seq))
                src.send_frame(frames[-1], wait=False)
            for frame in frames:
                if dst.receive_frame(timeout=5) != frame:
                    raise AssertionError("victims: a frame of a burst is lost, altered or out of order")
            src.reclaim_tx(0, 5, all_of_them=True)

    def check_memory(self):
        for end in self.ends:
            end.mem.check()

    def close(self):
        for end in self.ends:
            end.close()


class Resources:
    """What a process holds."""

    def __init__(self, pid):
        self.fds = len(os.listdir(f"/proc/{pid}/fd"))
        with open(f"/proc/{pid}/maps") as f:
            lines = f.readlines()
        self.maps = len(lines)
        self.guest_maps = sum("memfd:rawfe" in line for line in lines)

    def __repr__(self):
        return f"{self.fds} fds, {self.maps} maps, {self.guest_maps} of guest memory"


# malloc and the sanitizers map memory as they please; what we map of guests is counted exactly.
MAPS_SLACK = 64 if SANITIZED else 6


# All that a driver needs to send every command, but for what changes the datapath by its presence alone (CTRL_VLAN,
# HASH_REPORT).
CONTROL_FEATURES = bits(
    fe_.F_MRG_RXBUF, fe_.F_INDIRECT, fe_.F_VERSION_1, fe_.F_PROTOCOL, fe_.F_CTRL_VQ, fe_.F_CTRL_RX,
    fe_.F_CTRL_RX_EXTRA, fe_.F_CTRL_MAC_ADDR, fe_.F_GUEST_ANNOUNCE, fe_.F_MQ, fe_.F_RSS, fe_.F_NOTF_COAL,
    fe_.F_VQ_NOTF_COAL, fe_.F_DEVICE_STATS, fe_.F_CTRL_GUEST_OFFLOADS)


def helper(name):
    """A program built with the tests; built here when somebody runs a file by hand. None: no compiler."""
    for place in (os.environ.get(name.upper()),
                  pathlib.Path(vnictest.VNICD).resolve().parents[1] / "tests/hostile" / name):
        if place and os.access(place, os.X_OK):
            return str(place)
    compiler = shutil.which("cc")
    if not compiler:
        return None
    target = os.path.join(vnictest.tmpdir(), name)
    source = pathlib.Path(__file__).with_name(name + ".c")
    subprocess.run([compiler, "-O2", "-D_GNU_SOURCE", "-o", target, str(source)], check=True)
    return target


def flip(program, guest, spots, duration_s, cpu=None):
    """The program flipper, which changes words of the guest's memory as fast as it can: spots are [(guest address, width,
    values)], all in one file. On the CPU, if one is given. It ends by itself, and prints how often it went round."""
    region = guest.mem.find(spots[0][0])[0]
    arguments = []
    for address, width, values in spots:
        r, offset = guest.mem.find(address, width)
        assert r is region, "one file only"
        arguments.append(f"{offset}:{width}:" + ":".join(str(v) for v in values))
    pin = None if cpu is None else lambda: os.sched_setaffinity(0, {cpu})
    return subprocess.Popen([program, str(region.fd), str(duration_s)] + arguments, pass_fds=[region.fd],
                            stdout=subprocess.PIPE, preexec_fn=pin)


class ControlPing:
    """The program controlping on a guest's control queue, which has to be empty and at its start: commands as fast as
    they are answered, and how long each took. restart_ring() before anything else is done there."""

    WAITS = ("yield", "spin", "call")

    def __init__(self, guest, commands, n, *, depth=1, pause_us=0, wait="yield", cpu=None, answer_len=1):
        program = helper("controlping")
        if not program:
            raise unittest.SkipTest("no C compiler to build controlping")
        ring = guest.control
        region, _ = guest.mem.find(ring.desc)
        if not hasattr(guest, "ping_area"):
            guest.ping_area = guest.mem.alloc(32 * 512 + 256 * 256, 64, region=guest.mem.regions.index(region))
        delta = region.gpa - region.offset
        desc, device, driver = ring.addresses()
        where = {"desc": desc, "driver": driver, "device": device, "area": guest.ping_area}
        options = {key: gpa - delta for key, gpa in where.items()}
        options.update(packed=int(ring.packed), size=ring.size, delta=delta, n=n, depth=depth, pause=pause_us,
                       wait=self.WAITS.index(wait), answer=answer_len)
        prefix = ["taskset", "-c", str(cpu)] if cpu is not None else []
        self.popen = subprocess.Popen(
            prefix + [program, str(region.fd), str(ring.kick), str(ring.call)]
            + [f"{key}={value}" for key, value in options.items()]
            + ["command=" + (bytes([cls, cmd]) + data).hex() for cls, cmd, data in commands],
            pass_fds=[region.fd, ring.kick, ring.call], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def running(self):
        return self.popen.poll() is None

    def report(self, timeout=600):
        """What it measured. Raises Silent when a command was not answered."""
        try:
            out, err = self.popen.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.communicate()
            raise Silent("controlping does not come to an end") from None
        if self.popen.returncode:
            raise Silent(err.strip() or f"controlping ended with {self.popen.returncode}")
        return json.loads(out)


def find_in_use(node):
    """The number of packet buffers in use, wherever system.info has it."""
    if isinstance(node, dict):
        for key, value in node.items():
            if isinstance(value, int) and re.search(r"(mbuf|buf|pool).*(in_use|used)|^in_use$", key):
                return value
            found = find_in_use(value)
            if found is not None:
                return found
    elif isinstance(node, list):
        for value in node:
            found = find_in_use(value)
            if found is not None:
                return found
    return None


class Outcome:
    """What became of one hostile chain. kind: forwarded, drop, broken, stuck."""

    def __init__(self, kind, reason=None, used=None, frame=None, deltas=None):
        self.kind, self.reason, self.used, self.frame, self.deltas = kind, reason, used, frame, deltas

    def __repr__(self):
        return f"{self.kind}" + (f" ({self.reason})" if self.reason else "") + \
            (f", used length {self.used}" if self.used is not None else "") + \
            (f", counters {self.deltas}" if self.deltas else "") + \
            (f", frame of {len(self.frame)} bytes" if self.frame is not None else "")


class HostileCase(unittest.TestCase):
    wrapper = ()
    vn = None

    # --- the stage ---

    @classmethod
    def raise_stage(cls):
        queues2 = "vhost-user,queues=2"
        cls.vn = vnictest.Vnicd({"a0": queues2, "a1": queues2, "v0": "vhost-user", "v1": "vhost-user"}, "io",
                                wrapper=cls.wrapper, env=cls.sanitizer_env())
        cls.a0, cls.a1 = cls.vn.sock("a0"), cls.vn.sock("a1")
        cls.victims = Victims(cls.vn.sock("v0"), cls.vn.sock("v1"))
        cls.peer = cls.make_peer()
        # The first guest may make vnicd allocate what it then keeps; the second must not.
        for layout in ("split", "packed"):
            with RawFrontend(cls.a0, layout=layout, queues=2).start() as guest:
                cls.await_pair(guest)
            cls.await_gone()
        cls.pool_start = cls.pool_in_use()
        cls.start = cls.settled()

    @classmethod
    def make_peer(cls):
        return RawFrontend(cls.a1, queues=2, size=256).start()

    @classmethod
    def settled(cls):
        """Resources once they stand still: closed connections have been noticed."""
        last, same = None, 0
        deadline = time.monotonic() + seconds(5)
        while same < 5:
            now = Resources(cls.vn.pid)
            same = same + 1 if repr(now) == repr(last) else 0
            last = now
            if time.monotonic() > deadline:
                raise AssertionError(f"vnicd does not come to rest: {now}")
            time.sleep(0.02)
        return last

    @staticmethod
    def sanitizer_env():
        # The quarantine would look like a leak in the tests that watch memory.
        return {"ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=8",
                "UBSAN_OPTIONS": os.environ.get("UBSAN_OPTIONS", "") + ":print_stacktrace=1"}

    @classmethod
    def strike_stage(cls):
        for thing in ("peer", "victims"):
            if getattr(cls, thing, None):
                getattr(cls, thing).close()
                setattr(cls, thing, None)

    @classmethod
    def setUpClass(cls):
        if not os.path.exists(vnictest.VNICD):
            raise unittest.SkipTest(f"no program to test: {vnictest.VNICD}")
        cls.raise_stage()

    @classmethod
    def tearDownClass(cls):
        cls.strike_stage()
        if cls.vn and cls.vn.alive():
            code = cls.vn.stop()
            output = cls.vn.output
            if code != 0 or re.search(r"runtime error:|ERROR: \w+Sanitizer", output):
                raise AssertionError(f"vnicd ended with {code}:\n{output[-6000:]}")

    @classmethod
    def pool_in_use(cls):
        try:
            return find_in_use(cls.vn.rpc("system.info"))
        except (vnictest.RpcError, OSError, ValueError):
            return None

    @classmethod
    def await_gone(cls):
        """Wait until vnicd has noticed that the attacker's connection is closed."""
        deadline = time.monotonic() + seconds(3)
        while time.monotonic() < deadline:
            probe = None
            try:
                probe = RawFrontend(cls.a0, mem=())
                probe.ask_u64(fe_.GET_FEATURES, timeout=0.5)
                return
            except (Closed, Silent, OSError):
                time.sleep(0.01)
            finally:
                if probe:
                    probe.mem = None
                    probe.close()
        raise AssertionError("the attacker's port takes no new connection")

    @classmethod
    def await_pair(cls, guest, pairs=None):
        """Frames pass both ways on all queue pairs, or on so many."""
        deadline = time.monotonic() + seconds(5)
        for pair in range(guest.queues if pairs is None else pairs):
            for src, dst in ((guest, cls.peer), (cls.peer, guest)):
                while True:
                    src.send_frame(frame_of(1), pair)
                    try:
                        dst.receive_frame(pair, timeout=0.1)
                        break
                    except Silent:
                        if time.monotonic() > deadline:
                            raise

    def setUp(self):
        if not self.vn.alive():
            # An earlier test lost it, and has said so.
            self.strike_stage()
            type(self).raise_stage()
        self.guests = []
        self.peer.drain()
        self.victims.check()
        self.mark = self.vn.mark()

    def tearDown(self):
        if not getattr(self._outcome, "success", True):
            print("vnicd said, from the start of this test:\n    " + "\n    ".join(self.vn.lines[self.mark:][-40:]),
                  file=sys.stderr)
        for guest in self.guests:
            if guest.mem:
                try:
                    guest.mem.check()
                finally:
                    guest.close()
        self.guests = []
        self.assert_alive()
        self.victims.burst()
        self.victims_ok(8)
        self.victims.check_memory()
        self.peer.drain(0.02)
        self.peer.mem.check()
        self.await_resources()
        bad = re.search(r".*runtime error:.*|.*ERROR: \w+Sanitizer.*", "\n".join(self.vn.lines[self.mark:]))
        self.assertIsNone(bad, bad and bad.group(0))

    def assert_alive(self):
        if not self.vn.alive():
            code = self.vn.wait()
            self.fail(f"vnicd died, exit code {code}; last lines:\n" + "\n".join(self.vn.lines[-60:]))

    def victims_ok(self, n=2):
        self.assert_alive()
        try:
            return self.victims.check(n)
        except Silent as e:
            self.assert_alive()
            self.fail(f"victims: {e}")

    def await_resources(self):
        deadline = time.monotonic() + seconds(3)
        while True:
            now = Resources(self.vn.pid)
            pool = self.pool_in_use()
            good = (now.fds == self.start.fds and now.guest_maps == self.start.guest_maps
                    and now.maps <= self.start.maps + MAPS_SLACK and pool == self.pool_start)
            if good:
                return
            if time.monotonic() > deadline:
                self.fail(f"not given back: {now}, {pool} packet buffers; at the start {self.start}, "
                          f"{self.pool_start} packet buffers")
            time.sleep(0.02)

    def vnicd_fds(self):
        return len(os.listdir(f"/proc/{self.vn.pid}/fd"))

    def vnicd_rss(self):
        """Kilobytes of anonymous memory."""
        with open(f"/proc/{self.vn.pid}/status") as f:
            return int(re.search(r"RssAnon:\s+(\d+)", f.read()).group(1))

    # --- actors ---

    def raw(self, **options):
        """A connection to the attacked port on which nothing has been said yet."""
        for guest in self.guests:
            guest.disconnect()
        deadline = time.monotonic() + seconds(3)
        options.setdefault("queues", 2)
        while True:
            guest = RawFrontend(self.a0, **options)
            try:
                guest.ask_u64(fe_.GET_FEATURES, timeout=1)
                self.guests.append(guest)
                return guest
            except (Closed, Silent):
                guest.close()
                if time.monotonic() > deadline:
                    self.assert_alive()
                    raise
                time.sleep(0.005)

    def negotiated(self, **options):
        guest = self.raw(**options)
        guest.negotiate()
        return guest

    def running(self, *, post=True, linked=True, **options):
        """A guest with all rings running; linked: frames have been seen to pass."""
        guest = self.raw(**options)
        guest.start(post=post)
        if linked and post:
            self.await_pair(guest)
        elif linked:
            self.await_tx(guest)
        return guest

    def controlled(self, *, pairs=1, features=None, control=64, linked=True, **options):
        """A guest whose control queue is ours to serve; pairs: how many it tells the device to use."""
        if features is None:
            features = CONTROL_FEATURES
        if options.get("layout") == "packed":
            features |= bits(fe_.F_PACKED)
        guest = self.raw(control=control, features=features, **options)
        guest.start()
        if linked:
            self.await_pair(guest, 1)
        if pairs > 1:
            self.assertEqual(guest.command(fe_.CTRL_MQ, fe_.MQ_VQ_PAIRS_SET, fe_.vq_pairs(pairs))[0], fe_.OK,
                             "VQ_PAIRS_SET")
            self.await_pair(guest, pairs)
        return guest

    def await_tx(self, guest):
        for pair in range(guest.queues):
            deadline = time.monotonic() + seconds(5)
            while True:
                guest.send_frame(frame_of(1), pair)
                try:
                    self.peer.receive_frame(pair, timeout=0.1)
                    break
                except Silent:
                    if time.monotonic() > deadline:
                        raise

    def done(self, guest):
        """Finished with a guest: its memory is checked and given back now, not at the end of the test."""
        try:
            if guest.mem:
                guest.mem.check()
        finally:
            guest.close()
            if guest in self.guests:
                self.guests.remove(guest)

    def good_traffic(self, guest, pair=0, n=2, rx=True, tx=True):
        """Frames pass both ways between the attacker's guest, behaving for once, and the peer."""
        self.peer.drain()
        for k in range(n):
            if tx:
                frame = frame_of(1000 + k)
                guest.send_frame(frame, pair)
                self.assertEqual(self.peer.receive_frame(pair), frame)
            if rx:
                frame = frame_of(2000 + k)
                self.peer.send_frame(frame, pair)
                self.assertEqual(guest.receive_frame(pair), frame)

    # --- counters ---

    def drops(self, port="a0"):
        return self.vn.stats()[port]["drops"]

    def deltas(self, before, port="a0"):
        now = self.drops(port)
        return {k: v - before.get(k, 0) for k, v in now.items() if v != before.get(k, 0)}

    # --- messages that must be refused ---

    def refusal(self, guest, request, payload=b"", fds=(), *, size=None, need_reply=True, timeout=3.0):
        """Send; returns "nack", "closed", or "accepted" (or "silent", which is wrong with need_reply)."""
        flags = fe_.FLAG_VERSION | (fe_.FLAG_NEED_REPLY if need_reply else 0)
        own = request in fe_.OWN_REPLY
        try:
            guest.send(request, payload, fds, size=size, flags=flags)
            if not need_reply and not own:
                try:
                    # Accepted messages have no reply; the reply to this one says that the connection lives.
                    guest.ask_u64(fe_.GET_FEATURES, timeout=timeout)
                except Silent:
                    return "silent"
                return "accepted"
            got, reply_flags, data = guest.receive(timeout)
        except Closed:
            return "closed"
        except Silent:
            return "silent"
        if got != request & 0xffffffff or reply_flags & 7 != fe_.FLAG_VERSION | fe_.FLAG_REPLY:
            raise AssertionError(f"request {request:#x} answered by request {got:#x}, flags {reply_flags:#x}")
        if request == fe_.GET_CONFIG and not data:
            return "nack"       # "a zero-length payload indicates an error"
        if len(data) == 8 and (not own or need_reply):
            value = int.from_bytes(data, "little")
            if request == fe_.SET_LOG_BASE or not own:
                return "nack" if value else "accepted"
            # A number here is an answer: NEED_REPLY changes nothing for a message that has a reply of its own.
        return "accepted"

    def assert_nack(self, request, payload=b"", fds=(), *, state="running", guest=None, size=None, close_ok=False,
                    without_ack=True, **options):
        """Refused with an error reply, the connection and its traffic unharmed; without REPLY_ACK closed."""
        name = fe_.NAMES.get(request, f"request {request:#x}")
        make = {"running": self.running, "negotiated": self.negotiated, "raw": self.raw}[state]
        mine = guest is None
        if mine:
            guest = make(**options)
        what = self.refusal(guest, request, payload, fds, size=size)
        if what == "closed" and (close_ok or request in fe_.OWN_REPLY):
            pass        # the only way to refuse a message that has a reply of its own
        else:
            self.assertEqual(what, "nack", f"{name} {payload[:64].hex()} with {len(fds)} fds and NEED_REPLY")
            self.assertEqual(guest.ask_u64(fe_.GET_FEATURES), guest.offered or guest.ask_u64(fe_.GET_FEATURES))
            if state == "running":
                self.good_traffic(guest, 0, 1)
        if mine:
            self.done(guest)
        self.victims_ok(1)
        if without_ack:
            guest = make(**dict(options, protocol=bits(fe_.P_MQ, fe_.P_LOG_SHMFD, fe_.P_CONFIG, fe_.P_MEM_SLOTS,
                                                       fe_.P_MTU))) if mine else None
            if guest:
                what = self.refusal(guest, request, payload, fds, size=size, need_reply=False)
                ok = ("closed", "nack") if request in (fe_.GET_CONFIG, fe_.SET_LOG_BASE) else ("closed",)
                self.assertIn(what, ok, f"{name} {payload[:64].hex()} with {len(fds)} fds, without NEED_REPLY")
                self.done(guest)
                self.victims_ok(1)

    # --- chains ---

    def settle(self, guest, ring, before, pair, *, rx, timeout=2.0):
        deadline = time.monotonic() + seconds(timeout)
        used = frame = None
        broken = False
        while True:
            for state, length in ring.poll():
                if state == "hostile":
                    used = length
            broken = broken or ring.erred()
            if not rx and frame is None:
                frame = self.peer.try_receive(pair)
            deltas = self.deltas(before)
            if broken:
                return Outcome("broken", used=used, deltas=deltas, frame=frame)
            if used is not None and (frame is not None or (rx and used)):
                return Outcome("forwarded", used=used, frame=frame, deltas=deltas)
            if deltas and (used is not None or rx):
                if rx and used is None:     # a buffer that is given back comes back at once
                    # The control thread tells of a broken queue a moment after the worker has counted.
                    end = time.monotonic() + seconds(1 if "broken" in deltas else 0.02)
                    while used is None and not broken and time.monotonic() < end:
                        for state, length in ring.poll():
                            used = length if state == "hostile" else used
                        broken = ring.erred(0.001)
                    if broken:
                        return Outcome("broken", used=used, deltas=deltas)
                return Outcome("drop", reason="+".join(sorted(deltas)), used=used, deltas=self.deltas(before))
            if time.monotonic() > deadline:
                self.assert_alive()
                return Outcome("stuck", used=used, frame=frame, deltas=deltas)
            time.sleep(0.0005)

    def tx_chain(self, guest, descs, pair=0):
        """The guest transmits this chain; what becomes of it?"""
        self.peer.drain()
        ring = guest.pairs[pair].tx
        before = self.drops()
        ring.add_raw(descs, "hostile")
        ring.publish()
        return self.settle(guest, ring, before, pair, rx=False)

    def rx_chain(self, guest, descs, frame=None, pair=0):
        """The guest offers this chain to receive into, and a frame comes."""
        ring = guest.pairs[pair].rx
        before = self.drops()
        ring.add_raw(descs, "hostile")
        ring.publish()
        self.peer.send_frame(frame if frame is not None else frame_of(7, 200), pair)
        return self.settle(guest, ring, before, pair, rx=True)

    def assert_outcome(self, guest, outcome, allowed, *, rx, pair=0, reasons=None, frame=None, what=""):
        """Is it what is allowed, and does the rest hold: the other pair goes on, this queue goes on when the packet
        was dropped, stays silent when broken, and works again after it has been set up anew."""
        self.assertIn(outcome.kind, allowed, f"{what}: {outcome}")
        self.victims_ok(1)
        ring = guest.pairs[pair].rx if rx else guest.pairs[pair].tx
        idx = 2 * pair + (0 if rx else 1)
        if outcome.kind == "forwarded":
            if frame is not None and not rx:
                self.assertEqual(outcome.frame, frame, f"{what}: forwarded, but altered")
            self.assertFalse(outcome.deltas, f"{what}: forwarded and counted as dropped")
        elif outcome.kind == "drop":
            self.assertEqual(sum(outcome.deltas.values()), 1, f"{what}: {outcome}: one drop, counted once")
            if reasons:
                self.assertIn(outcome.reason, reasons, f"{what}: {outcome}")
            if not rx or outcome.reason in ("malformed", "chain_long"):
                self.assertEqual(outcome.used, 0, f"{what}: {outcome}: the buffer comes back with length 0")
        if outcome.kind == "broken":
            self.check_broken(guest, idx, what)
        self.good_traffic(guest, 1 - pair, 1)
        if outcome.kind == "broken" or outcome.used is None:
            guest.restart_ring(idx)
        elif rx:
            guest.post_rx(pair, 4)
        self.good_traffic(guest, pair, 1)
        self.victims_ok(1)

    def check_broken(self, guest, idx, what=""):
        """The device does not touch the queue any more, even when valid work is in it."""
        pair, rx = idx // 2, not idx & 1
        ring = guest.ring(idx)
        frozen = ring.device_area() if not ring.packed else None
        before = self.drops()
        if rx:
            self.peer.send_frame(frame_of(9), pair)
        elif not ring.packed and ring.free:
            # One more honest buffer, at the place where the device would look next.
            gpa = guest.mem.alloc(256)
            guest.mem.write(gpa, guest.frame_header() + frame_of(9, 100))
            ring.add([D(gpa, 112)], "after")
            frozen = ring.device_area()
        else:
            frozen = None
        time.sleep(seconds(0.02))
        if frozen is not None:
            self.assertEqual(ring.device_area(), frozen, f"{what}: a broken queue was written to")
        self.assertFalse(ring.erred(), f"{what}: err signalled again")
        if rx:
            self.assertEqual(self.deltas(before), {"broken": 1}, f"{what}: a frame for a broken queue")
        else:
            self.assertIsNone(self.peer.try_receive(pair), f"{what}: a frame came from a broken queue")


def quantile(times, q):
    times = sorted(times)
    return times[min(len(times) - 1, int(len(times) * q))]


def median(times):
    return statistics.median(times)


class KeptGuestCase(HostileCase):
    """Many cases on one guest, as long as it serves."""

    def setUp(self):
        super().setUp()
        self.current = None

    def tearDown(self):
        try:
            super().tearDown()
        finally:
            self.current = None

    def new_guest(self, layout, **options):
        return self.running(layout=layout, **options)

    def on(self, layout, **options):
        """A guest of this layout that runs: the one that is kept, if it is such a one."""
        key = (layout, tuple(sorted(options.items())))
        if self.current and self.current[0] == key and self.current[1].sock:
            return self.current[1]
        if self.current:
            self.done(self.current[1])
        guest = self.new_guest(layout, **options)
        self.current = (key, guest)
        return guest

    def drop_current(self):
        """Do not let one failure be the cause of the next."""
        if self.current:
            self.current[1].disconnect()
            self.current = None



def main():
    unittest.main(verbosity=2)

# SPDX-License-Identifier: BSD-3-Clause
"""A raw vhost-user front-end: the VMM and the guest driver in one Python object, obeying only when asked to.

It connects to (or listens for) a back-end, sends any message with any payload, size, flags and descriptors, owns
the guest memory (memfds whose guest, user and file offsets all differ, so that a mix-up shows) and has the driver
half of split and packed virtqueues with control over every byte.

    fe = RawFrontend(path, layout="packed", queues=2)
    fe.start()                        # negotiate, memory, rings
    fe.send_frame(frame)              # guest -> device
    frame = fe.receive_frame()        # device -> guest
    fe.close()

With control=SIZE there is a control queue too, of that many entries:

    ack, result, used_len = fe.command(CTRL_MQ, MQ_VQ_PAIRS_SET, vq_pairs(2))

Standard library only.
"""
import array
import errno
import mmap
import os
import select
import socket
import struct
import time

PAGE = 4096
POISON = 0xA5        # what guest memory holds where nobody has a reason to write
RX_POISON = 0x5C     # what receive buffers hold before the device writes to them

# Messages, front-end to back-end
GET_FEATURES, SET_FEATURES, SET_OWNER, RESET_OWNER, SET_MEM_TABLE = 1, 2, 3, 4, 5
SET_LOG_BASE, SET_LOG_FD = 6, 7
SET_VRING_NUM, SET_VRING_ADDR, SET_VRING_BASE, GET_VRING_BASE = 8, 9, 10, 11
SET_VRING_KICK, SET_VRING_CALL, SET_VRING_ERR = 12, 13, 14
GET_PROTOCOL_FEATURES, SET_PROTOCOL_FEATURES, GET_QUEUE_NUM, SET_VRING_ENABLE = 15, 16, 17, 18
SEND_RARP, NET_SET_MTU, SET_BACKEND_REQ_FD, IOTLB_MSG, SET_VRING_ENDIAN = 19, 20, 21, 22, 23
GET_CONFIG, SET_CONFIG, CREATE_CRYPTO_SESSION, CLOSE_CRYPTO_SESSION = 24, 25, 26, 27
POSTCOPY_ADVISE, POSTCOPY_LISTEN, POSTCOPY_END, GET_INFLIGHT_FD, SET_INFLIGHT_FD = 28, 29, 30, 31, 32
GPU_SET_SOCKET, RESET_DEVICE, VRING_KICK, GET_MAX_MEM_SLOTS, ADD_MEM_REG, REM_MEM_REG = 33, 34, 35, 36, 37, 38
SET_STATUS, GET_STATUS, GET_SHARED_OBJECT, SET_DEVICE_STATE_FD, CHECK_DEVICE_STATE = 39, 40, 41, 42, 43
REQUEST_MAX = 43

NAMES = {value: name for name, value in list(globals().items())
         if name.isupper() and isinstance(value, int) and 1 <= value <= REQUEST_MAX
         and name.split("_")[0] in ("GET", "SET", "RESET", "SEND", "NET", "IOTLB", "CREATE", "CLOSE", "POSTCOPY",
                                    "GPU", "VRING", "ADD", "REM", "CHECK")}

# Messages which always have a reply of their own (SET_LOG_BASE has one when LOG_SHMFD is negotiated).
OWN_REPLY = {GET_FEATURES, GET_PROTOCOL_FEATURES, GET_VRING_BASE, GET_QUEUE_NUM, GET_CONFIG, GET_MAX_MEM_SLOTS,
             GET_STATUS, GET_INFLIGHT_FD, SET_LOG_BASE}

FLAG_VERSION, FLAG_REPLY, FLAG_NEED_REPLY = 1, 4, 8

# Protocol features
P_MQ, P_LOG_SHMFD, P_RARP, P_REPLY_ACK, P_MTU, P_BACKEND_REQ = 0, 1, 2, 3, 4, 5
P_CONFIG, P_INFLIGHT, P_RESET_DEVICE, P_MEM_SLOTS, P_STATUS = 9, 12, 13, 15, 16

# Virtio features
F_CSUM, F_GUEST_CSUM, F_CTRL_GUEST_OFFLOADS, F_MTU, F_MAC = 0, 1, 2, 3, 5
F_GUEST_TSO4, F_GUEST_TSO6, F_GUEST_ECN, F_HOST_TSO4, F_HOST_TSO6, F_HOST_ECN = 7, 8, 9, 11, 12, 13
F_GUEST_UFO, F_HOST_UFO = 10, 14
F_MRG_RXBUF, F_STATUS, F_CTRL_VQ, F_CTRL_RX, F_CTRL_VLAN, F_CTRL_RX_EXTRA = 15, 16, 17, 18, 19, 20
F_GUEST_ANNOUNCE, F_MQ, F_CTRL_MAC_ADDR = 21, 22, 23
F_NOTIFY_ON_EMPTY, F_LOG_ALL, F_ANY_LAYOUT, F_INDIRECT, F_EVENT_IDX, F_PROTOCOL = 24, 26, 27, 28, 29, 30
F_VERSION_1, F_ACCESS_PLATFORM, F_PACKED, F_IN_ORDER, F_ORDER_PLATFORM, F_NOTIFICATION_DATA = 32, 33, 34, 35, 36, 38
F_DEVICE_STATS, F_VQ_NOTF_COAL, F_NOTF_COAL, F_HASH_REPORT, F_RSS = 50, 52, 53, 57, 60
F_GUEST_USO4, F_GUEST_USO6, F_HOST_USO, F_GUEST_HDRLEN = 54, 55, 56, 59
F_RSC_EXT, F_STANDBY, F_SPEED_DUPLEX = 61, 62, 63

# Descriptor flags
NEXT, WRITE, INDIRECT = 1, 2, 4
P_AVAIL, P_USED = 1 << 7, 1 << 15

S_ACKNOWLEDGE, S_DRIVER, S_DRIVER_OK, S_FEATURES_OK, S_NEEDS_RESET, S_FAILED = 1, 2, 4, 8, 0x40, 0x80

NOFD = 0x100

# The control queue: classes, their commands, answers (VIRTIO, "Control Virtqueue")
CTRL_RX, CTRL_MAC, CTRL_VLAN, CTRL_ANNOUNCE, CTRL_MQ, CTRL_GUEST_OFFLOADS = 0, 1, 2, 3, 4, 5
CTRL_NOTF_COAL, CTRL_STATS = 6, 8
RX_PROMISC, RX_ALLMULTI, RX_ALLUNI, RX_NOMULTI, RX_NOUNI, RX_NOBCAST = 0, 1, 2, 3, 4, 5
MAC_TABLE_SET, MAC_ADDR_SET = 0, 1
VLAN_ADD, VLAN_DEL = 0, 1
ANNOUNCE_ACK = 0
MQ_VQ_PAIRS_SET, MQ_RSS_CONFIG, MQ_HASH_CONFIG = 0, 1, 2
GUEST_OFFLOADS_SET = 0
NOTF_COAL_TX_SET, NOTF_COAL_RX_SET, NOTF_COAL_VQ_SET, NOTF_COAL_VQ_GET = 0, 1, 2, 3
STATS_QUERY, STATS_GET = 0, 1
OK, ERR = 0, 1

# Hash types (the report code of each is its bit number + 1), types of statistics
HASH_IPV4, HASH_TCPV4, HASH_UDPV4, HASH_IPV6, HASH_TCPV6, HASH_UDPV6 = 1, 2, 4, 8, 16, 32
HASH_ALL = 0x1ff
STATS_RX_BASIC, STATS_RX_CSUM, STATS_RX_GSO, STATS_RX_SPEED = 1 << 0, 1 << 1, 1 << 2, 1 << 3
STATS_TX_BASIC, STATS_TX_CSUM, STATS_TX_GSO, STATS_TX_SPEED = 1 << 16, 1 << 17, 1 << 18, 1 << 19
STATS_CVQ = 1 << 32

ACK_POISON = 0x5C    # what the writable part of a command holds before the device writes to it


def bits(*numbers):
    return sum(1 << n for n in numbers)


# --- command-specific data ---

def mac_tables(unicast=(), multicast=()):
    return b"".join(struct.pack("<I", len(table)) + b"".join(table) for table in (unicast, multicast))


def vlan_id(vid):
    return struct.pack("<H", vid)


def vq_pairs(n):
    return struct.pack("<H", n)


def rss_config(table, *, types=HASH_ALL, mask=None, unclassified=0, max_tx_vq=1, key=bytes(range(40)), key_len=None):
    """mask and key_len may lie."""
    return struct.pack("<IHH", types, (len(table) - 1 if mask is None else mask) & 0xffff, unclassified) + \
        b"".join(struct.pack("<H", q) for q in table) + \
        struct.pack("<HB", max_tx_vq, len(key) if key_len is None else key_len) + key


def hash_config(types=HASH_ALL, *, reserved=(0, 0, 0, 0), key=bytes(range(40)), key_len=None):
    return struct.pack("<I4HB", types, *reserved, len(key) if key_len is None else key_len) + key


def guest_offloads(*feature_bits):
    return struct.pack("<Q", bits(*feature_bits))


def coal(max_packets, max_usecs):
    return struct.pack("<II", max_packets, max_usecs)


def coal_vq(vq_idx, max_packets=None, max_usecs=0):
    """Without max_packets: what VQ_GET takes."""
    return struct.pack("<HH", vq_idx, 0) + (b"" if max_packets is None else coal(max_packets, max_usecs))


def stats_get(*queues):
    """queues: (vq_idx, types)."""
    return b"".join(struct.pack("<HHHHQ", idx, 0, 0, 0, types) for idx, types in queues)


def detect_scale():
    """Sanitizer builds are several times slower; so are machines that say so."""
    if "VNICD_TEST_SCALE" in os.environ:
        return float(os.environ["VNICD_TEST_SCALE"])
    return 1.0


class Timing:
    scale = detect_scale()


def seconds(value):
    return value * Timing.scale


class Closed(Exception):
    """The back-end closed the connection."""


class Silent(Exception):
    """The back-end did not answer, or did not deliver, in time."""


class Nack(Exception):
    """The back-end refused a message."""


class Damage(AssertionError):
    """Memory changed that nobody had a right to change."""


class Region:
    """One piece of guest memory: a memfd which is larger than the region on both sides."""

    def __init__(self, gpa, size, uva, offset=3 * PAGE, tail=2 * PAGE, fd=None):
        self.gpa, self.size, self.uva, self.offset = gpa, size, uva, offset
        self.file_size = offset + size + tail
        if fd is None:
            self.fd = os.memfd_create("rawfe", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            os.ftruncate(self.fd, self.file_size)
        else:
            self.fd = fd
        self.map = mmap.mmap(self.fd, self.file_size)
        self.map[:] = bytes([POISON]) * self.file_size
        view = memoryview(self.map)
        # 16-bit and wider stores through these are single stores; struct.pack_into writes byte by byte.
        self._views = {1: view, 2: view.cast("H"), 4: view.cast("I"), 8: view.cast("Q")}
        self.next_free = 64
        self.limit = size       # where claimed pieces begin
        self.allocated = []     # [(offset in region, size)], ascending once sorted
        self.lost = False       # the file was truncated: do not touch the mapping any more

    def view(self, width):
        return self._views[width]

    def close(self):
        for width in (8, 4, 2, 1):
            self._views[width].release()
        self.map.close()
        os.close(self.fd)

    def desc(self):
        return struct.pack("<QQQQ", self.gpa, self.size, self.uva, self.offset)

    def check(self):
        """Everything but allocated pieces still holds the poison. Page-wise compare first: fast when right."""
        if self.lost:
            return
        at = 0
        clean = [(o + self.offset, n) for o, n in sorted(self.allocated)] + [(self.file_size, 0)]
        for start, size in clean:
            gap = self.map[at:start]
            if gap.count(POISON) != len(gap):
                bad = next(i for i, b in enumerate(gap) if b != POISON) + at
                where = f"gpa {self.gpa + bad - self.offset:#x}" if 0 <= bad - self.offset < self.size \
                    else f"file offset {bad:#x}, outside the region"
                raise Damage(f"memory changed that is nobody's to write: {where}: "
                             f"{self.map[bad:bad + 16].hex()}")
            at = start + size


class Memory:
    """Guest memory. Three regions: rings, buffers, and one that continues the second in guest addresses only."""

    def __init__(self, regions=None):
        self.regions = regions or [
            Region(0x0010_0000, 0x10_0000, 0x7f55_4000_0000, offset=3 * PAGE),
            Region(0x4000_0000, 0x40_0000, 0x7e11_0010_0000, offset=5 * PAGE),
            Region(0x4040_0000, 0x10_0000, 0x7d00_0000_0000, offset=1 * PAGE),
        ]
        self._last = self.regions[0]

    def find(self, gpa, n=1):
        r = self._last
        if not r.gpa <= gpa < r.gpa + r.size:
            for r in self.regions:
                if r.gpa <= gpa < r.gpa + r.size:
                    self._last = r
                    break
            else:
                raise ValueError(f"gpa {gpa:#x} is not guest memory")
        if gpa + n > r.gpa + r.size:
            raise ValueError(f"gpa {gpa:#x}+{n:#x} leaves its region")
        return r, gpa - r.gpa + r.offset

    def alloc(self, size, align=64, region=1):
        r = self.regions[region]
        at = (r.next_free + align - 1) // align * align
        if at + size > r.limit:
            raise MemoryError("guest memory is used up")
        r.allocated.append((at, size))
        r.next_free = at + size + 64    # a gap whose poison is checked
        return r.gpa + at

    def claim(self, gpa, size):
        """Make a given range allocated. alloc() never goes beyond the lowest claim above it."""
        r, _ = self.find(gpa, size)
        at = gpa - r.gpa
        r.allocated.append((at, size))
        r.allocated.sort()
        if at >= r.next_free:
            r.limit = min(r.limit, at)
        return gpa

    def uva(self, gpa):
        r, _ = self.find(gpa)
        return gpa - r.gpa + r.uva

    def read(self, gpa, n):
        r, at = self.find(gpa, n)
        return r.map[at:at + n]

    def write(self, gpa, data):
        r, at = self.find(gpa, len(data))
        r.map[at:at + len(data)] = data

    def fill(self, gpa, n, byte):
        self.write(gpa, bytes([byte]) * n)

    def load(self, gpa, width):
        r, at = self.find(gpa, width)
        return r.view(width)[at // width]

    def store(self, gpa, width, value):
        """One store instruction (x86: also in order with the others)."""
        r, at = self.find(gpa, width)
        r.view(width)[at // width] = value

    def table(self):
        return struct.pack("<II", len(self.regions), 0) + b"".join(r.desc() for r in self.regions)

    def fds(self):
        return [r.fd for r in self.regions]

    def check(self):
        for r in self.regions:
            r.check()

    def close(self):
        for r in self.regions:
            r.close()


class D:
    """One descriptor as the driver wants it. nxt: None = the following one, int = that very value, At(k) = the
    k-th descriptor of this chain."""

    def __init__(self, addr, length, flags=0, nxt=None):
        self.addr, self.length, self.flags, self.nxt = addr, length, flags, nxt


class At:
    def __init__(self, k):
        self.k = k


class Ring:
    """What both layouts share. `state` of a buffer is the caller's own and comes back with poll()."""

    def __init__(self, mem, size, region=0):
        self.mem, self.size, self.region = mem, size, region
        self.kick = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.call = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.err = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.event_idx = False
        self.tables = {}        # number of entries -> [guest addresses of free indirect tables]
        self.tables_used = {}   # head or id -> (free list, table)
        self.reset()

    kick_value = staticmethod(lambda: 1)

    def kick_now(self):
        try:
            os.eventfd_write(self.kick, self.kick_value())
        except BlockingIOError:
            pass

    def _signalled(self, fd, timeout):
        ready, _, _ = select.select([fd], [], [], timeout)
        if ready:
            os.eventfd_read(fd)
        return bool(ready)

    def called(self, timeout=0.0):
        return self._signalled(self.call, timeout)

    def erred(self, timeout=0.0):
        return self._signalled(self.err, timeout)

    def wait_used(self, n=1, timeout=2.0):
        """At least n used buffers: [(state, length)]. Raises Silent."""
        found = []
        deadline = time.monotonic() + seconds(timeout)
        while True:
            found += self.poll()
            if len(found) >= n:
                return found
            if time.monotonic() > deadline:
                raise Silent(f"{len(found)} of {n} buffers came back")
            time.sleep(0.0001)

    def close(self):
        for fd in (self.kick, self.call, self.err):
            os.close(fd)

    def table_done(self, head):
        """The buffer `head` has come back: its indirect table can be used again."""
        if head in self.tables_used:
            pool, table = self.tables_used.pop(head)
            pool.append(table)

    def indirect(self, descs, region=1, table=None):
        """Write an indirect table; returns the descriptor that points to it."""
        table = table or self.mem.alloc(max(16 * len(descs), 16), 16, region)
        self.mem.write(table, self.pack_table(descs))
        return D(table, 16 * len(descs), INDIRECT)

    def add(self, descs, state=None, indirect=False, publish=True):
        """A well-formed chain: NEXT flags are filled in."""
        chain = [D(d.addr, d.length, d.flags | (NEXT if i + 1 < len(descs) else 0)) for i, d in enumerate(descs)]
        if indirect:
            pool = self.tables.setdefault(len(chain), [])
            table = pool.pop() if pool else None
            chain = [self.indirect(chain, table=table)]
        head = self.add_raw(chain, state)
        if indirect:
            self.tables_used[head] = (pool, chain[0].addr)
        if publish:
            self.publish()
        return head


class SplitRing(Ring):
    packed = False

    def reset(self):
        if not hasattr(self, "desc"):
            self.desc = self.mem.alloc(16 * self.size, 16, self.region)
            self.avail = self.mem.alloc(6 + 2 * self.size, 2, self.region)
            self.used = self.mem.alloc(6 + 8 * self.size, 4, self.region)
        self.mem.fill(self.desc, 16 * self.size, 0)
        self.mem.fill(self.avail, 6 + 2 * self.size, 0)
        self.mem.fill(self.used, 6 + 8 * self.size, 0)
        self.avail_idx = 0
        self.used_idx = 0
        self.free = list(range(self.size))
        self.chains = {}        # head -> (descriptor indexes, state)

    def base(self):
        return self.avail_idx

    def addresses(self):
        return self.desc, self.used, self.avail

    def put_desc(self, i, addr, length, flags, nxt, table=None):
        self.mem.write((table or self.desc) + 16 * i, struct.pack("<QIHH", addr & (1 << 64) - 1, length, flags, nxt))

    def pack_table(self, descs):
        out = b""
        for i, d in enumerate(descs):
            nxt = d.nxt.k if isinstance(d.nxt, At) else d.nxt if d.nxt is not None else \
                (i + 1 if d.flags & NEXT else 0)
            out += struct.pack("<QIHH", d.addr & (1 << 64) - 1, d.length & 0xffffffff, d.flags, nxt & 0xffff)
        return out

    def add_raw(self, descs, state=None):
        """Put descriptors as given and the head in the available ring; publish() shows it."""
        idxs = [self.free.pop(0) for _ in descs]
        for k, (i, d) in enumerate(zip(idxs, descs)):
            if isinstance(d.nxt, At):
                nxt = idxs[d.nxt.k]
            elif d.nxt is not None:
                nxt = d.nxt
            else:
                nxt = idxs[k + 1] if d.flags & NEXT and k + 1 < len(idxs) else 0
            self.put_desc(i, d.addr, d.length & 0xffffffff, d.flags, nxt & 0xffff)
        self.chains[idxs[0]] = (idxs, state)
        self.offer(idxs[0])
        return idxs[0]

    def offer(self, head):
        self.mem.store(self.avail + 4 + 2 * (self.avail_idx % self.size), 2, head & 0xffff)
        self.avail_idx = (self.avail_idx + 1) & 0xffff

    def publish(self):
        if self.event_idx:      # always ask for the next notification
            self.mem.store(self.avail + 4 + 2 * self.size, 2, self.used_idx)
        self.mem.store(self.avail + 2, 2, self.avail_idx)
        self.kick_now()

    def poll(self):
        found = []
        while self.mem.load(self.used + 2, 2) != self.used_idx:
            at = self.used + 4 + 8 * (self.used_idx % self.size)
            head, length = self.mem.load(at, 4), self.mem.load(at + 4, 4)
            self.used_idx = (self.used_idx + 1) & 0xffff
            if head not in self.chains:
                raise Damage(f"used ring returns {head}, which was not outstanding")
            idxs, state = self.chains.pop(head)
            self.table_done(head)
            self.free += idxs
            found.append((state, length))
        return found

    def device_area(self):
        """What only the device writes, as bytes: to see that it has stopped."""
        return self.mem.read(self.used, 4 + 8 * self.size)


class PackedRing(Ring):
    packed = True

    def reset(self):
        if not hasattr(self, "desc"):
            self.desc = self.mem.alloc(16 * self.size, 16, self.region)
            self.driver_event = self.mem.alloc(4, 4, self.region)
            self.device_event = self.mem.alloc(4, 4, self.region)
        self.mem.fill(self.desc, 16 * self.size, 0)
        self.mem.fill(self.driver_event, 4, 0)
        self.mem.fill(self.device_event, 4, 0)
        self.slot = 0
        self.wrap = 1
        self.used_slot = 0
        self.used_wrap = 1
        self.free = self.size
        self.free_ids = list(range(self.size))
        self.chains = {}        # id -> (number of descriptors, state)
        self.pending = []       # [(slot, flags)] of heads, not visible yet

    def base(self):
        one = self.slot | self.wrap << 15
        return one | (self.used_slot | self.used_wrap << 15) << 16

    def addresses(self):
        return self.desc, self.device_event, self.driver_event

    def put_desc(self, i, addr, length, flags, ident, table=None):
        at = (table or self.desc) + 16 * i
        self.mem.write(at, struct.pack("<QIH", addr & (1 << 64) - 1, length & 0xffffffff, ident & 0xffff))
        self.mem.store(at + 14, 2, flags & 0xffff)

    def pack_table(self, descs):
        # Inside an indirect table nothing but WRITE counts; a caller that wants NEXT there writes its own table.
        return b"".join(struct.pack("<QIHH", d.addr & (1 << 64) - 1, d.length & 0xffffffff, d.nxt or 0,
                                    d.flags & ~NEXT) for d in descs)

    def add_raw(self, descs, state=None, ident=None):
        if ident is None:
            ident = self.free_ids.pop(0)
        self.chains[ident] = (len(descs), state)
        self.free -= len(descs)
        for k, d in enumerate(descs):
            flags = d.flags | (P_AVAIL if self.wrap else P_USED)
            if k == 0:
                at = self.desc + 16 * self.slot
                self.mem.write(at, struct.pack("<QIH", d.addr & (1 << 64) - 1, d.length & 0xffffffff, ident))
                self.pending.append((self.slot, flags))
            else:
                self.put_desc(self.slot, d.addr, d.length, flags, ident)
            self.slot += 1
            if self.slot == self.size:
                self.slot = 0
                self.wrap ^= 1
        return ident

    def publish(self):
        # Heads from the last to the first, so that the device sees all of them or a prefix of nothing.
        for slot, flags in reversed(self.pending):
            self.mem.store(self.desc + 16 * slot + 14, 2, flags)
        self.pending = []
        self.kick_now()

    def poll(self):
        found = []
        while self.chains:
            at = self.desc + 16 * self.used_slot
            flags = self.mem.load(at + 14, 2)
            if bool(flags & P_AVAIL) != bool(self.used_wrap) or bool(flags & P_USED) != bool(self.used_wrap):
                break
            length, ident = self.mem.load(at + 8, 4), self.mem.load(at + 12, 2)
            if not flags & WRITE:
                length = 0      # reserved ("Element Address and Length"): nothing was written
            if ident not in self.chains:
                raise Damage(f"packed ring returns id {ident}, which was not outstanding")
            n, state = self.chains.pop(ident)
            self.table_done(ident)
            self.free += n
            self.free_ids.append(ident)
            self.used_slot += n
            if self.used_slot >= self.size:
                self.used_slot -= self.size
                self.used_wrap ^= 1
            found.append((state, length))
        return found

    def device_area(self):
        return self.mem.read(self.desc, 16 * self.size)


class Pair:
    """A queue pair: `rx` carries frames to the guest, `tx` from it (the guest's words, as in the specification)."""

    def __init__(self, rx, tx):
        self.rx, self.tx = rx, tx
        self.tx_all = []        # guest addresses of transmit buffers
        self.tx_free = []       # those not under way
        self.rx_all = []        # [(guest address, length)] of receive buffers
        self.rx_free = []       # those not given to the device
        self.received = []      # used receive buffers not yet made into frames


class Command:
    """A command under way: where its parts are in guest memory."""

    def __init__(self, readable, readable_len, writable, writable_len):
        self.readable, self.readable_len = readable, readable_len
        self.writable, self.writable_len = writable, writable_len
        self.sent = time.monotonic()


class RawFrontend:
    """See the module's first comment. Nothing is sent before a method is called."""

    def __init__(self, path=None, *, listen=None, layout="split", queues=1, size=64, features=None, protocol=None,
                 mem=None, rx_buffer=2048, tx_buffer=2048, connect=True, control=0):
        self.path, self.listen_path = path, listen
        self.layout, self.queues, self.size = layout, queues, size
        self.want = features if features is not None else bits(
            F_MRG_RXBUF, F_INDIRECT, F_VERSION_1, F_PROTOCOL) | (bits(F_PACKED) if layout == "packed" else 0)
        self.want_protocol = protocol if protocol is not None else bits(
            P_MQ, P_LOG_SHMFD, P_REPLY_ACK, P_MTU, P_CONFIG, P_MEM_SLOTS, P_RESET_DEVICE)
        self.mem = mem or Memory()
        self.own_mem = mem is None
        self.rx_buffer, self.tx_buffer = rx_buffer, tx_buffer
        self.features = self.protocol = 0
        self.offered = self.offered_protocol = None
        self.pairs = []
        self.control_size = control
        self.control_idx = None     # of the control queue, once it is known
        self.control = None         # its ring
        self.command_buffers = {}   # length -> [guest addresses that are free]
        self.latency = 0.0          # of the last command, from making it available to seeing it used
        self.sock = None
        self.listener = None
        self.inbox = b""
        self.reply_fds = []
        if connect:
            self.connect()

    # --- the connection ---

    def connect(self, timeout=5.0):
        if self.listen_path:
            if not self.listener:
                self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                self.listener.bind(self.listen_path)
                self.listener.listen(8)
            self.listener.settimeout(seconds(timeout))
            self.sock, _ = self.listener.accept()
        else:
            # A server may be about to notice that the previous connection has gone.
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock.settimeout(seconds(timeout))
            self.sock.connect(self.path)
        self.inbox = b""

    def disconnect(self):
        if self.sock:
            self.sock.close()
            self.sock = None

    def close(self):
        self.disconnect()
        if self.listener:
            self.listener.close()
            os.unlink(self.listen_path)
            self.listener = None
        for pair in self.pairs:
            pair.rx.close()
            pair.tx.close()
        self.pairs = []
        if self.control:
            self.control.close()
            self.control = None
        for fd in self.reply_fds:
            os.close(fd)
        self.reply_fds = []
        if self.own_mem and self.mem:
            self.mem.close()
        self.mem = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send_bytes(self, data, fds=()):
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        try:
            sent = self.sock.sendmsg([data], ancillary, socket.MSG_NOSIGNAL)
            while sent < len(data):
                sent += self.sock.send(data[sent:], socket.MSG_NOSIGNAL)
        except (BrokenPipeError, ConnectionResetError) as e:
            raise Closed(str(e)) from None
        except (TimeoutError, BlockingIOError):
            raise Silent("the back-end does not read") from None

    def send(self, request, payload=b"", fds=(), *, size=None, flags=FLAG_VERSION):
        """Any message: `size` and `flags` may lie."""
        header = struct.pack("<III", request & 0xffffffff, flags, len(payload) if size is None else size)
        self.send_bytes(header + payload, fds)

    def _recv(self, deadline):
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([self.sock], [], [], left)[0]:
            raise Silent("no reply")
        try:
            data, ancillary, _, _ = self.sock.recvmsg(65536, 1024)
        except ConnectionResetError:
            raise Closed("reset") from None
        for level, kind, blob in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                got = array.array("i")
                got.frombytes(blob[:len(blob) - len(blob) % got.itemsize])
                self.reply_fds += got
        if not data:
            raise Closed("end of file")
        self.inbox += data

    def receive(self, timeout=2.0):
        """One message from the back-end: (request, flags, payload)."""
        deadline = time.monotonic() + seconds(timeout)
        while len(self.inbox) < 12:
            self._recv(deadline)
        request, flags, size = struct.unpack("<III", self.inbox[:12])
        while len(self.inbox) < 12 + size:
            self._recv(deadline)
        payload, self.inbox = self.inbox[12:12 + size], self.inbox[12 + size:]
        return request, flags, payload

    def reply(self, request, timeout=2.0):
        """The reply to `request`, its header checked; returns the payload."""
        got, flags, payload = self.receive(timeout)
        if got != request:
            raise AssertionError(f"reply to {NAMES.get(got, got)}, expected {NAMES.get(request, request)}")
        if flags & 3 != FLAG_VERSION or not flags & FLAG_REPLY:
            raise AssertionError(f"reply to {NAMES.get(got, got)} has flags {flags:#x}")
        return payload

    def ask(self, request, payload=b"", fds=(), timeout=2.0):
        """A message that has a reply of its own; returns the payload of that."""
        self.send(request, payload, fds)
        return self.reply(request, timeout)

    def ask_u64(self, request, payload=b"", timeout=2.0):
        data = self.ask(request, payload, timeout=timeout)
        if len(data) != 8:
            raise AssertionError(f"{NAMES.get(request, request)}: reply of {len(data)} bytes, expected 8")
        return struct.unpack("<Q", data)[0]

    def ack(self, request, payload=b"", fds=(), *, size=None, timeout=2.0):
        """With NEED_REPLY: the value of the acknowledgement; 0 is success. Needs REPLY_ACK."""
        self.send(request, payload, fds, size=size, flags=FLAG_VERSION | FLAG_NEED_REPLY)
        data = self.reply(request, timeout)
        if len(data) != 8:
            raise AssertionError(f"{NAMES.get(request, request)}: acknowledgement of {len(data)} bytes")
        return struct.unpack("<Q", data)[0]

    def tell(self, request, payload=b"", fds=()):
        """A message that has to succeed."""
        if self.protocol & bits(P_REPLY_ACK):
            value = self.ack(request, payload, fds)
            if value:
                raise Nack(f"{NAMES.get(request, request)} refused: {value:#x}")
        else:
            self.send(request, payload, fds)

    def wait_closed(self, timeout=3.0):
        """The back-end has to close the connection; replies until then are thrown away. Raises Silent."""
        deadline = time.monotonic() + seconds(timeout)
        try:
            while True:
                self._recv(deadline)
        except Closed:
            return

    def alive(self):
        """The connection still answers."""
        return self.ask_u64(GET_FEATURES) == self.offered if self.offered is not None else True

    # --- bringing a device up ---

    def negotiate(self):
        self.offered = self.ask_u64(GET_FEATURES)
        self.features = self.want & self.offered
        if self.layout == "packed" and not self.features & bits(F_PACKED):
            raise Nack("the back-end does not offer packed rings")
        if self.offered & bits(F_PROTOCOL) and self.want & bits(F_PROTOCOL):
            self.offered_protocol = self.ask_u64(GET_PROTOCOL_FEATURES)
            protocol = self.want_protocol & self.offered_protocol
            self.send(SET_PROTOCOL_FEATURES, struct.pack("<Q", protocol))
            self.protocol = protocol
        self.tell(SET_OWNER)
        if self.protocol & bits(P_STATUS):
            self.tell(SET_STATUS, struct.pack("<Q", S_ACKNOWLEDGE | S_DRIVER))
        self.tell(SET_FEATURES, struct.pack("<Q", self.features))
        if self.protocol & bits(P_STATUS):
            self.tell(SET_STATUS, struct.pack("<Q", S_ACKNOWLEDGE | S_DRIVER | S_FEATURES_OK))
        if self.control_size:
            self.control_idx = self.find_control()

    def find_control(self):
        """VIRTIO, "Virtqueues" of the network device: behind all pairs that there may be; without MQ and RSS behind
        the first."""
        if not self.features & bits(F_MQ, F_RSS):
            return 2
        if not self.protocol & bits(P_MQ):
            return 2 * self.queues
        # Virtqueues, the control queue among them; pairs for a front-end that looks like QEMU's -netdev.
        n = self.ask_u64(GET_QUEUE_NUM)
        return 2 * n if self.protocol & bits(P_RARP) and not self.protocol & bits(P_CONFIG) else n - 1

    def set_memory(self):
        self.tell(SET_MEM_TABLE, self.mem.table(), self.mem.fds())

    @property
    def header_size(self):
        if self.features & bits(F_HASH_REPORT):
            return 20
        return 12 if self.features & bits(F_VERSION_1, F_MRG_RXBUF) else 10

    def make_rings(self):
        kind = PackedRing if self.layout == "packed" else SplitRing
        for _ in range(self.queues):
            pair = Pair(kind(self.mem, self.size), kind(self.mem, self.size))
            for ring in (pair.rx, pair.tx):
                ring.event_idx = bool(self.features & bits(F_EVENT_IDX))
            pair.tx_all = [self.mem.alloc(self.tx_buffer) for _ in range(min(self.size, 64))]
            pair.tx_free = list(pair.tx_all)
            self.pairs.append(pair)
        if self.control_size:
            self.control = kind(self.mem, self.control_size)
            self.control.event_idx = bool(self.features & bits(F_EVENT_IDX))

    def ring(self, idx):
        """The ring of a queue index of the protocol: even ones go to the guest, odd ones come from it."""
        if self.control and idx == self.control_idx:
            return self.control
        pair = self.pairs[idx // 2]
        return pair.tx if idx & 1 else pair.rx

    def n_rings(self):
        return 2 * self.queues

    def ring_messages(self, idx, ring=None, log=False):
        """[(name, request, payload, fds)] that set a ring up, in the usual order."""
        ring = ring or self.ring(idx)
        desc, used, avail = (self.mem.uva(a) for a in ring.addresses())
        log_addr = ring.addresses()[1] if log else 0
        return [
            ("NUM", SET_VRING_NUM, struct.pack("<II", idx, ring.size), ()),
            ("BASE", SET_VRING_BASE, struct.pack("<II", idx, ring.base()), ()),
            ("ADDR", SET_VRING_ADDR, struct.pack("<IIQQQQ", idx, 1 if log else 0, desc, used, avail, log_addr), ()),
            ("CALL", SET_VRING_CALL, struct.pack("<Q", idx), (ring.call,)),
            ("ERR", SET_VRING_ERR, struct.pack("<Q", idx), (ring.err,)),
            ("KICK", SET_VRING_KICK, struct.pack("<Q", idx), (ring.kick,)),
        ]

    def start_ring(self, idx, enable=True, log=False):
        for _, request, payload, fds in self.ring_messages(idx, log=log):
            self.tell(request, payload, fds)
        # Without PROTOCOL_FEATURES a ring starts enabled.
        if enable and self.features & bits(F_PROTOCOL):
            self.enable(idx, 1)

    def enable(self, idx, on):
        self.tell(SET_VRING_ENABLE, struct.pack("<II", idx, on))

    def stop_ring(self, idx):
        """GET_VRING_BASE; returns the base."""
        data = self.ask(GET_VRING_BASE, struct.pack("<II", idx, 0))
        got, base = struct.unpack("<II", data)
        if got != idx:
            raise AssertionError(f"GET_VRING_BASE of {idx} answers for {got}")
        return base

    def restart_ring(self, idx, post=True):
        """Stop, forget everything in the ring, start at 0."""
        self.stop_ring(idx)
        ring = self.ring(idx)
        commands = [state for _, state in ring.chains.values()] if ring is self.control else []
        ring.reset()
        if ring is self.control:
            for state in commands:
                if isinstance(state, Command):
                    self.command_done(state)
            self.start_ring(idx)
            self.ask_u64(GET_FEATURES)
            return
        pair = self.pairs[idx // 2]
        if idx & 1:
            pair.tx_free = list(pair.tx_all)
        else:
            pair.received = []
            pair.rx_free = list(pair.rx_all)
        self.start_ring(idx)
        self.ask_u64(GET_FEATURES)      # proof that all before it has been handled
        if not idx & 1 and post:
            self.post_rx(idx // 2, 8)

    def driver_ok(self):
        if self.protocol & bits(P_STATUS):
            self.tell(SET_STATUS, struct.pack("<Q", S_ACKNOWLEDGE | S_DRIVER | S_FEATURES_OK | S_DRIVER_OK))

    def start(self, post=True, rings=None):
        """Everything. rings: only these indexes; post: give the device receive buffers."""
        self.negotiate()
        self.set_memory()
        self.make_rings()
        if rings is None:
            rings = list(range(self.n_rings())) + ([self.control_idx] if self.control else [])
        # A pair counts from its first receive buffer on: it is there before the pair is enabled, as with Linux's driver.
        for idx in rings:
            self.start_ring(idx, enable=False)
        self.driver_ok()
        if post:
            for n in range(self.queues):
                self.post_rx(n)
        for idx in rings:
            if self.features & bits(F_PROTOCOL):
                self.enable(idx, 1)
        # The reply to this is proof that all before it has been handled.
        self.ask_u64(GET_FEATURES)
        return self

    # --- well-behaved traffic ---

    def post_rx(self, pair=0, n=None, length=None, indirect=False):
        """Give the device n receive buffers (default: as many as half the ring)."""
        p = self.pairs[pair]
        ring = p.rx
        length = length or self.rx_buffer
        for _ in range(n if n is not None else self.size // 2):
            if p.rx_free and p.rx_free[-1][1] == length:
                gpa = p.rx_free.pop()[0]
            else:
                gpa = self.mem.alloc(length)
                p.rx_all.append((gpa, length))
            self._post(ring, gpa, length, indirect)
        ring.publish()

    def _post(self, ring, gpa, length, indirect=False):
        self.mem.fill(gpa, length, RX_POISON)
        ring.add([D(gpa, length, WRITE)], (gpa, length), indirect, publish=False)

    def frame_header(self, **fields):
        h = dict(flags=0, gso_type=0, hdr_len=0, gso_size=0, csum_start=0, csum_offset=0, num_buffers=0)
        h.update(fields)
        data = struct.pack("<BBHHHHHQ", h["flags"], h["gso_type"], h["hdr_len"], h["gso_size"], h["csum_start"],
                           h["csum_offset"], h["num_buffers"], 0)
        return data[:self.header_size]

    def send_frame(self, frame, pair=0, wait=True, indirect=False, cuts=(), timeout=2.0):
        """Transmit one frame; waits until its buffer is back. cuts: split the buffer at these places."""
        p = self.pairs[pair]
        if not p.tx_free:
            self.reclaim_tx(pair, timeout)
        gpa = p.tx_free.pop(0)
        data = self.frame_header() + frame
        if len(data) > self.tx_buffer:
            raise ValueError("frame is longer than the transmit buffers")
        self.mem.write(gpa, data)
        edges = [0] + [c for c in cuts if 0 < c < len(data)] + [len(data)]
        descs = [D(gpa + a, b - a) for a, b in zip(edges, edges[1:])]
        p.tx.add(descs, gpa, indirect)
        if wait:
            self.reclaim_tx(pair, timeout, all_of_them=True)

    def reclaim_tx(self, pair=0, timeout=2.0, all_of_them=False):
        p = self.pairs[pair]
        deadline = time.monotonic() + seconds(timeout)
        while True:
            for gpa, length in p.tx.poll():
                if length:
                    raise Damage(f"a transmit buffer came back with length {length}")
                p.tx_free.append(gpa)
            if not p.tx.chains or (p.tx_free and not all_of_them):
                return
            if time.monotonic() > deadline:
                raise Silent(f"{len(p.tx.chains)} transmit buffers did not come back")

    def try_receive(self, pair=0):
        """A frame or None. Checks the header, and that nothing beyond the used length was written."""
        p = self.pairs[pair]
        p.received += p.rx.poll()
        if not p.received:
            return None
        (gpa, length), used = p.received[0]
        if used < self.header_size:
            raise Damage(f"a receive buffer came back with {used} bytes")
        count = 1
        if self.header_size >= 12:
            count = struct.unpack("<H", self.mem.read(gpa + 10, 2))[0]
            if not self.features & bits(F_MRG_RXBUF) and count != 1:
                raise Damage(f"num_buffers is {count} without MRG_RXBUF")
        if count < 1 or count > self.size:
            raise Damage(f"num_buffers is {count}")
        if len(p.received) < count:
            raise Damage(f"only {len(p.received)} of {count} buffers of a frame were published")
        data = b""
        for k in range(count):
            (gpa, length), used = p.received.pop(0)
            if used > length:
                raise Damage(f"used length {used} of a buffer of {length}")
            if k + 1 < count and used != length:
                raise Damage("a buffer in the middle of a frame is not full")
            tail = self.mem.read(gpa + used, length - used)
            if tail.count(RX_POISON) != len(tail):
                raise Damage(f"bytes beyond the used length {used} were written")
            data += self.mem.read(gpa, used)
            self._post(p.rx, gpa, length)
        p.rx.publish()
        self.last_header = data[:self.header_size]
        return data[self.header_size:]

    def receive_frame(self, pair=0, timeout=2.0):
        deadline = time.monotonic() + seconds(timeout)
        while True:
            frame = self.try_receive(pair)
            if frame is not None:
                return frame
            if time.monotonic() > deadline:
                raise Silent("no frame")
            time.sleep(0.00005)

    def drain(self, quiet=0.0):
        """Throw away what has arrived on all pairs."""
        n = 0
        until = time.monotonic() + quiet
        while True:
            for pair in range(self.queues):
                while self.try_receive(pair) is not None:
                    n += 1
            if time.monotonic() >= until:
                return n
            time.sleep(0.001)


    # --- the control queue ---

    LAYOUTS = ("linux", "packed together", "byte by byte", "indirect", "indirect byte by byte")

    def command_buffer(self, length):
        free = self.command_buffers.setdefault(length, [])
        return free.pop() if free else self.mem.alloc(max(length, 1))

    def command_build(self, cls, cmd, data=b"", result_len=0, layout="linux", head=None):
        """Guest memory and descriptors of a command: (Command, descriptors, indirect). result_len -1: no room for an
        answer either. head: instead of class and command, any bytes."""
        readable = (bytes([cls, cmd]) if head is None else head) + data
        c = Command(self.command_buffer(len(readable)), len(readable), self.command_buffer(1 + result_len),
                    1 + result_len)
        self.mem.write(c.readable, readable)
        self.mem.fill(c.writable, c.writable_len, ACK_POISON)
        r, w = c.readable, c.writable
        if layout.endswith("byte by byte"):
            edges = [(r + i, 1, 0) for i in range(len(readable))] + [(w + i, 1, WRITE) for i in range(c.writable_len)]
        elif layout == "packed together":
            edges = [(r, len(readable), 0), (w, c.writable_len, WRITE)]
        else:
            n = len(readable) - len(data)
            edges = [(r, n, 0), (r + n, len(data), 0), (w, min(c.writable_len, 1), WRITE), (w + 1, result_len, WRITE)]
        return c, [D(addr, length, flags) for addr, length, flags in edges if length > 0], layout.startswith("indirect")

    def command_send(self, cls, cmd, data=b"", result_len=0, layout="linux", publish=True, **options):
        """Make a command available; returns it for command_end(), or for control.poll() to bring it back."""
        c, descs, indirect = self.command_build(cls, cmd, data, result_len, layout, **options)
        c.sent = time.monotonic()
        self.control.add(descs, c, indirect, publish)
        return c

    def command_end(self, c, used):
        """What the device made of a used command: (ack, result, used length). ack None: it wrote nothing."""
        data = self.mem.read(c.writable, c.writable_len)
        if used > c.writable_len:
            raise Damage(f"used length {used} of {c.writable_len} writable bytes")
        if data[used:].count(ACK_POISON) != len(data) - used:
            raise Damage(f"bytes beyond the used length {used} were written: {data.hex()}")
        self.command_done(c)
        return (data[0] if used else None), data[1:used], used

    def command_done(self, c):
        self.command_buffers[c.readable_len].append(c.readable)
        self.command_buffers[c.writable_len].append(c.writable)

    def command(self, cls, cmd, data=b"", result_len=0, layout="linux", timeout=2.0, **options):
        """One command and its answer: (ack, result, used length). Raises Silent."""
        c = self.command_send(cls, cmd, data, result_len, layout, **options)
        deadline = c.sent + seconds(timeout)
        while True:
            found = self.control.poll()
            if found:
                break
            if time.monotonic() > deadline:
                raise Silent(f"command {cls}, {cmd} is not answered")
            os.sched_yield()
        self.latency = time.monotonic() - c.sent
        if len(found) != 1 or found[0][0] is not c:
            raise Damage(f"{len(found)} commands came back, expected one")
        return self.command_end(c, found[0][1])


def ethernet(payload, dst=b"\x02\0\0\0\0\x02", src=b"\x02\0\0\0\0\x01", kind=0x88b5):
    return dst + src + struct.pack(">H", kind) + payload


def errno_name(value):
    return errno.errorcode.get(value, str(value))

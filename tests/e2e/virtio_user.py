# SPDX-License-Identifier: BSD-3-Clause
"""DPDK's virtio-user as the guest: dpdk-testpmd processes, driven through their prompt.

One process can hold several virtio-user ports together with capture files (net_pcap) as sources and sinks;
ports are numbered in the order of `vdevs`, and forwarding mode io pairs 0 with 1, 2 with 3 and so on.
"""
import collections
import os
import pathlib
import re
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from vnictest import Proc, cpus, tmpdir  # noqa: E402

# Feature bits of virtio and virtio-net, as virtio-user prints them.
F_MRG_RXBUF = 1 << 15
F_VERSION_1 = 1 << 32
F_RING_PACKED = 1 << 34
F_IN_ORDER = 1 << 35

# The driver's own words for its functions.
_SPLIT_RX = {"mergeable": "using mergeable buffer Rx path", "standard": "using standard Rx path",
             "inorder": "using inorder Rx path", "vectorized": "using vectorized Rx path"}
_PACKED_RX = {"mergeable": "using packed ring mergeable buffer Rx path",
              "standard": "using packed ring standard Rx path",
              "vectorized": "using packed ring vectorized Rx path"}
_SPLIT_TX = {"standard": "using standard Tx path", "inorder": "using inorder Tx path"}
_PACKED_TX = {"standard": "using packed ring standard Tx path", "vectorized": "using packed ring vectorized Tx path"}


class Path:
    """One Rx/Tx path of the driver: how to ask for it, and what proves that it was taken."""

    def __init__(self, name, *, packed, mrg, in_order, rx, tx, vectorized=0, queue_size=256,
                 rx_offload=None):
        self.name = name
        self.packed = bool(packed)
        self.mrg = bool(mrg)
        self.in_order = bool(in_order)
        self.vectorized = bool(vectorized)
        self.queue_size = queue_size
        self.rx_line = (_PACKED_RX if packed else _SPLIT_RX)[rx]
        self.tx_line = (_PACKED_TX if packed else _SPLIT_TX)[tx]
        self.options = f"packed_vq={packed},mrg_rxbuf={mrg},in_order={in_order}"
        if vectorized:
            self.options += ",vectorized=1"
        # The packed vector functions are AVX512; the split ones do with what every x86-64 has.
        self.needs_avx512 = bool(packed and vectorized)
        self.eal = ["--force-max-simd-bitwidth=512"] if self.needs_avx512 else []
        self.rx_offload = rx_offload

    def __repr__(self):
        return self.name


PATHS = {p.name: p for p in [
    Path("P-MRG", packed=1, mrg=1, in_order=0, rx="mergeable", tx="standard"),
    Path("P-MRG-IO", packed=1, mrg=1, in_order=1, rx="mergeable", tx="standard"),
    Path("P-NOM", packed=1, mrg=0, in_order=0, rx="standard", tx="standard"),
    Path("P-NOM-IO", packed=1, mrg=0, in_order=1, rx="standard", tx="standard"),
    Path("P-VEC", packed=1, mrg=0, in_order=1, vectorized=1, rx="vectorized", tx="vectorized"),
    Path("P-VEC-255", packed=1, mrg=0, in_order=1, vectorized=1, queue_size=255, rx="vectorized", tx="vectorized"),
    Path("P-VTX-MRG", packed=1, mrg=1, in_order=1, vectorized=1, rx="mergeable", tx="vectorized"),
    Path("S-MRG", packed=0, mrg=1, in_order=0, rx="mergeable", tx="standard"),
    Path("S-MRG-IO", packed=0, mrg=1, in_order=1, rx="inorder", tx="inorder"),
    # Any receive offload keeps the driver from its vectorized functions; this one costs nothing.
    Path("S-NOM", packed=0, mrg=0, in_order=0, rx="standard", tx="standard", rx_offload="vlan_strip"),
    Path("S-NOM-IO", packed=0, mrg=0, in_order=1, rx="inorder", tx="inorder"),
    Path("S-VEC", packed=0, mrg=0, in_order=0, vectorized=1, rx="vectorized", tx="standard"),
]}


def has_avx512():
    with open("/proc/cpuinfo") as f:
        flags = re.search(r"^flags\s*:(.*)$", f.read(), re.M)
    return bool(flags) and {"avx512f", "avx512bw", "avx512vl"} <= set(flags.group(1).split())


def virtio_user(idx, sock, path="S-MRG", *, queues=1, queue_size=None, server=False, extra=""):
    """The --vdev value for virtio-user number idx on a socket."""
    path = PATHS.get(path, path)
    return (f"net_virtio_user{idx},mac=00:01:02:03:04:{idx + 5:02x},path={sock},queues={queues},{path.options},"
            f"queue_size={queue_size or path.queue_size}" + (",server=1" if server else "") + extra)


def pcap_source(idx, files, extra=""):
    """Sends the frames of one capture file a queue, once after each start of the port; drops what it is given."""
    return f"net_pcap{idx}" + "".join(f",rx_pcap={f}" for f in _list(files)) + extra


def pcap_sink(idx, files):
    """Writes what it is given to one capture file a queue (anew after each start of the port); sends nothing."""
    return f"net_pcap{idx}" + "".join(f",tx_pcap={f}" for f in _list(files))


def _list(files):
    return [files] if isinstance(files, str) else list(files)


_serial = 0


class VirtioUser(Proc):
    """A running dpdk-testpmd with its ports started; nothing is forwarded before start().

    rxd, txd: descriptors that the driver puts to use in each ring (the ring itself has queue_size entries).
    A frame is never lost for want of ring space when all that the source can have under way (txd frames a
    queue) fits what the sink has posted (rxd buffers a queue), because the source waits for free descriptors.
    """

    def __init__(self, vdevs, *, queues=1, rxd=256, txd=128, mbufs=8192, mbuf_size=None, fwd="io", eal=(), args=(),
                 rx_offload=None, mem=192, cpu=None, wait=True, logfile=None, netns=None):
        global _serial
        _serial += 1
        cpu = cpus()[-1] if cpu is None else cpu
        # No files in the run-time directory, so that a killed process leaves nothing behind.
        cmd = ["stdbuf", "-oL", "dpdk-testpmd", "--lcores", f"0@{cpu},1@{cpu}", "--no-pci", "--no-huge", "-m", str(mem),
               "--no-shconf", "--no-telemetry", "--file-prefix=vnictest",
               "--log-level=pmd.net.virtio.*:info", *eal]
        cmd += [f"--vdev={v}" for v in vdevs]
        cmd += ["--", "-i", "--nb-cores=1", f"--total-num-mbufs={mbufs}", "--no-flush-rx", f"--forward-mode={fwd}",
                f"--rxq={queues}", f"--txq={queues}", f"--rxd={rxd}", f"--txd={txd}",
                "--portlist=" + ",".join(str(i) for i in range(len(vdevs))), *args]
        if mbuf_size:
            cmd.append(f"--mbuf-size={mbuf_size}")
        # An option would turn the offload on for every port, and a capture file has none.
        self._rx_offload = {i: rx_offload for i, v in enumerate(vdevs) if v.startswith("net_virtio_user")}
        if rx_offload:
            cmd.append("--disable-device-start")
        self._sync = 0
        self.n_ports = len(vdevs)
        super().__init__(cmd, name=f"testpmd{_serial}", logfile=logfile, netns=netns)
        if wait:
            self.wait_prompt()

    def wait_prompt(self, timeout=30):
        """All ports are started."""
        if "--disable-device-start" in self.args:
            self.expect(r"^Port \d+ is not started|^Interactive-mode|^testpmd: preferred mempool", timeout)
            for port, offload in self._rx_offload.items():
                self.command(f"port config {port} rx_offload {offload} on")
            self.command("port start all", timeout)
        else:
            self.expect(r"^Checking link statuses", timeout)
        self.command("set burst tx delay 20 retry 60000")

    def command(self, line, timeout=20):
        """Give a command; returns the lines it printed. The prompt has no line end, so a second, unknown word
        marks the end: it is echoed when the first command is done."""
        self._sync += 1
        word = f"sync-{self._sync}"
        since = self.mark()
        self.send(line)
        self.send(word)
        self.expect(rf"^testpmd> {word}$", timeout, since)
        with self._cond:
            lines = self.lines[since:]
        end = next(i for i, text in enumerate(lines) if text == f"testpmd> {word}")
        begin = next((i for i, text in enumerate(lines[:end]) if text == f"testpmd> {line}"), -1)
        out = lines[begin + 1:end]
        if any(re.match(r"(Command not found|Bad arguments|Ambiguous command|Fail)", text) for text in out):
            raise AssertionError(f"{self.name}: {line!r}: {out}")
        return out

    def start(self, tx_first=0):
        out = self.command(f"start tx_first {tx_first}" if tx_first else "start", timeout=40)
        if not any("packet forwarding" in text for text in out):
            raise AssertionError(f"{self.name}: forwarding did not start: {out}")

    def stop_forwarding(self):
        return self.command("stop")

    def retry_io(self):
        """From here io forwarding waits for free transmit descriptors instead of dropping."""
        self.command("set fwd io retry")

    def port_stats(self):
        """[{"rx_packets":, "tx_packets":, ...}] by port number, as the driver counts them."""
        ports = [{} for _ in range(self.n_ports)]
        port = None
        for text in self.command("show port stats all"):
            m = re.search(r"statistics for port (\d+)", text)
            if m:
                port = ports[int(m.group(1))]
            for key, value in re.findall(r"([RT]X-\w+):\s*(\d+)", text):
                if port is not None:
                    port[key.lower().replace("-", "_")] = int(value)
        return ports

    def xstats(self, port):
        out = {}
        for text in self.command(f"show port xstats {port}"):
            m = re.match(r"(\w+): (\d+)$", text)
            if m:
                out[m.group(1)] = int(m.group(2))
        return out

    def wait_idle(self, port=None, quiet=0.3, timeout=30):
        """Until the counters (of one port or of all) have not moved for `quiet` seconds; returns them."""
        deadline = time.monotonic() + timeout
        last, since = None, time.monotonic()
        while True:
            now = [{k: v for k, v in p.items() if k.endswith("packets")} for p in self.port_stats()]
            if port is not None:
                now = now[port]
            if now != last:
                last, since = now, time.monotonic()
            elif time.monotonic() - since >= quiet:
                return now
            if time.monotonic() > deadline:
                raise AssertionError(f"{self.name}: the counters still move after {timeout} s: {now}")
            time.sleep(0.05)

    def wait_rx(self, port, at_least, timeout=30):
        deadline = time.monotonic() + timeout
        while True:
            count = self.port_stats()[port]["rx_packets"]
            if count >= at_least:
                return count
            if time.monotonic() > deadline:
                raise AssertionError(f"{self.name}: port {port} has received {count} frames, {at_least} expected")
            time.sleep(0.1)

    def features(self):
        """Feature words that the driver has set, by socket, the last one of each."""
        found = {}
        for text in self.output.splitlines():
            m = re.search(r"virtio_user_dev_set_features\(\): \((.*?)\) set features: 0x([0-9a-f]+)", text)
            if m:
                found[m.group(1)] = int(m.group(2), 16)
        return found

    def quit(self, timeout=20):
        """End it through its prompt; its ports are stopped and its capture files are complete after this."""
        if self.alive():
            self.send("quit")
            try:
                self.wait(timeout)
            except Exception:
                self.kill9()
                raise AssertionError(f"{self.name}: still there {timeout} s after quit; last lines:\n"
                                     + "\n".join(self.lines[-20:]))
        return self.wait()

    # A test that fails half way must not hand a poller to the next one.
    def __enter__(self):
        return self

    def __exit__(self, *exc):
        if exc[0] is not None or not self.alive():
            self.kill9()
        else:
            self.quit()


def assert_path(test, fe, path, ports, socks):
    """The driver itself says that this path runs on these ports; the case is void otherwise."""
    path = PATHS.get(path, path)
    for port in ports:
        for line in (path.rx_line, path.tx_line):
            wanted = line.replace("using ", "virtio: using ") + f" on port {port}"
            test.assertIn(wanted, fe.output, f"{path}: the driver took another path")
    features = fe.features()
    for sock in socks:
        word = features.get(sock)
        test.assertIsNotNone(word, f"{path}: no feature negotiation on {sock}")
        test.assertTrue(word & F_VERSION_1, f"{path}: features {word:#x}: not a modern device")
        for bit, name, want in ((F_RING_PACKED, "RING_PACKED", path.packed), (F_IN_ORDER, "IN_ORDER", path.in_order),
                                (F_MRG_RXBUF, "MRG_RXBUF", path.mrg)):
            test.assertEqual(bool(word & bit), want, f"{path}: features {word:#x}: {name}")


def frames(sizes, seed=0, src=b"\x02\x00\x00\x00\x00\x01", dst=b"\x02\x00\x00\x00\x00\x02", ethertype=0x88B5):
    """One frame of each size (bytes, without FCS), all different: serial number, then a pattern that depends on
    the position, so that a byte in the wrong place shows. The default EtherType is for local experiments."""
    out = []
    for i, size in enumerate(sizes):
        head = dst + src + ethertype.to_bytes(2, "big") + seed.to_bytes(2, "big") + i.to_bytes(4, "big")
        body = bytes((j * 7 + (j >> 8) * 13 + i + seed) & 0xFF for j in range(min(size, 2048)))
        body = (body * (size // 2048 + 1))[:max(0, size - len(head))]
        if size > 4096:  # the pattern above repeats every 2048 bytes: number the repetitions
            body = bytearray(body)
            for k in range(2048, len(body) - 2, 2048):
                body[k:k + 2] = k.to_bytes(2, "big")
            body = bytes(body)
        out.append((head + body)[:size])
    return out


def swapped(frame):
    """What mode macswap makes of a frame."""
    return frame[6:12] + frame[0:6] + frame[12:]


_FORWARDED = collections.namedtuple("Forwarded", "received fe_stats")


def forward_file(fe, source, sink, expected, out_file, timeout=60):
    """Start forwarding in a process whose ports are source file, guest, guest, sink file; wait until `expected`
    frames have come to the sink's guest (or nothing moves any more), end the process, read the capture."""
    import pcapfile
    fe.retry_io()
    fe.start()
    deadline = time.monotonic() + timeout
    last, moved = -1, 0.0
    while (now := time.monotonic()) < deadline and (received := fe.port_stats()[sink]["rx_packets"]) < expected:
        if received != last:
            last, moved = received, now
        elif now > moved + 2:
            break
        time.sleep(0.01)
    stats = fe.wait_idle(quiet=0.2)
    fe.stop_forwarding()
    fe.quit()
    return _FORWARDED(pcapfile.read(out_file), stats)


def workdir():
    return tmpdir("vnic-vu-")


def open_fds(pid):
    """Descriptors a process holds, by what they point at."""
    out = {}
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            out[int(fd)] = os.readlink(f"/proc/{pid}/fd/{fd}")
        except FileNotFoundError:
            pass
    return out

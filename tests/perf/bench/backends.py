# SPDX-License-Identifier: BSD-3-Clause
"""What is measured: back-ends that are started fresh, serve guests' sockets, and say at the end what became of frames.

Adding one is adding a class with KIND, and its name is known to the command line.
"""
import contextlib
import dataclasses
import json
import os
import pathlib
import re
import shutil
import subprocess
import time

from . import machine
from .kernel import IFNAME
from .machine import NotPossible, RunFailed, vnictest

BACKEND_MEM_MIB = 512
READY_S = 20
END_S = 10
PORT_NAMES = "abcdefgh"


@dataclasses.dataclass(frozen=True)
class Stage:
    """What a back-end is to be: its ports, and what it does between them, with one forwarding core."""
    # "guest"; "sink", "source": a NIC that swallows all, or has always more; "tap": an interface of the kernel
    ports: tuple = ("guest", "guest")
    mode: str = "io"  # or "switch": a learning bridge
    queues: int = 1  # pairs that a guest may have
    null_len: int = 64  # of frames that a source makes
    vlan: int = 0  # mode switch: guests' ports are access ports of this VLAN; 0: of none
    police_gbit: int = 0  # a limit of what each guest sends, in Gbit/s; 0: none
    offload: str = ""  # "tso": frames that guests leave to be cut go on as they are; "cut": they are cut and summed up
    mirror: bool = False  # mode switch: what the first port sends is copied to the last one, which gets nothing else

    @property
    def n_guests(self):
        return self.ports.count("guest")

    @property
    def extras(self):
        """What is asked of a back-end beyond ports and a mode: names of fields."""
        return [field.name for field in dataclasses.fields(self)
                if field.name in EXTRAS and getattr(self, field.name) != field.default]


EXTRAS = ("vlan", "police_gbit", "offload", "mirror")
POLICE_BURST_MS = 10  # what passes at once, of a limit: vnicd's default
MIRROR_VLAN = 4000  # of the port that looks, where the switch would send it other frames too


@dataclasses.dataclass
class Account:
    """What a back-end says of all frames since its start, by port; None where it says nothing."""
    drops: int | None = None
    rx: dict = dataclasses.field(default_factory=dict)  # from the port
    tx: dict = dataclasses.field(default_factory=dict)


class Backend:
    KIND = ""
    BINARY = ""
    MISSING = "usertools/install-deps bench installs all peers"
    HUGEPAGES = 320  # its memory, and what its guests need
    GUEST_LISTENS = False  # who makes the socket
    MODES = ("io",)
    PORTS = ("guest",)
    EXTRAS = ()

    def __init__(self, spec, binary=None):
        self.name = spec
        self.binary = binary or self.BINARY
        self.simd_bits = None  # no wider vectors than that; None: whatever the CPU has

    def check(self, stage):
        """Whether this back-end can be that, as far as one knows before it is started."""
        if not shutil.which(self.binary):
            raise NotPossible(f"no {self.binary}: {self.MISSING}")
        if stage.mode not in self.MODES:
            raise NotPossible(f"{self.name} has no mode {stage.mode} here")
        for kind in stage.ports:
            if kind not in self.PORTS:
                raise NotPossible(f"{self.name} has no {kind} ports here")
        for extra in stage.extras:
            if extra not in self.EXTRAS:
                raise NotPossible(f"{self.name} has no {extra} here")

    def start(self, stage, cpus, run_dir, sockets, netns=None):
        """A Running back-end that has made its sockets, or will connect to them. netns: where a tap is to be."""
        raise NotImplementedError

    def version(self):
        return machine.debian_version(self.binary)

    def facts(self):
        return {"spec": self.name, "binary": self.binary, "version": self.version()}

    def simd(self):
        return [f"--force-max-simd-bitwidth={self.simd_bits}"] if self.simd_bits else []

    def eal(self, cpus):
        return ["--lcores", f"0@{cpus.control},1@{cpus.forward}", "--no-pci", "--in-memory",
                "--socket-mem", BACKEND_MEM_MIB, *self.simd()]

    @staticmethod
    def null_vdev(i, kind, stage):
        return ["--vdev", f"net_null{i},size={stage.null_len}" + (",no-rx=1" if kind == "sink" else "")]


def await_line(proc, pattern):
    """Until it says so. One that doesn't is ended."""
    try:
        proc.expect(pattern, READY_S)
    except AssertionError as error:
        proc.kill9()
        raise RunFailed(str(error)) from error


@dataclasses.dataclass
class Work:
    """What a back-end's forwarding core has done since its start."""
    cpu_s: float  # that the whole process had a CPU, without what others took of it
    frames: int  # that its ports received
    cycles: int | None = None  # in iterations that found frames
    idle_iterations: int | None = None  # of those that found none, where cycles are not counted


class Running:
    """A started back-end: ended by stop(), which returns its Account, or by kill(), which may be done to one that stands
    still."""

    def __init__(self, proc, command):
        self.proc = proc
        self.command = [str(word) for word in command]

    @property
    def pid(self):
        return self.proc.pid

    def last_lines(self):
        return "\n".join(self.proc.lines[-15:])

    def count_work(self):
        """From now on work() is asked for. False: it never says."""
        return False

    def work(self):
        raise NotImplementedError

    def complaints(self):
        """Lines in which it says that it stood still: the bench made it."""
        return []

    def isa(self):
        """The ISA variant that it runs, if it says so."""
        return None

    def stop(self):
        self.proc.stop()
        return Account()

    def kill(self):
        if self.proc.alive():
            self.proc.kill9()


# --- vnicd -----------------------------------------------------------------------------------------------------------

class Vnicd(Backend):
    KIND = "vnicd"
    MISSING = "build it, or set VNICD"
    MODES = ("io", "switch")
    PORTS = ("guest", "sink", "source", "tap")
    EXTRAS = EXTRAS

    def __init__(self, spec, binary=None):
        super().__init__(spec, binary or vnictest.VNICD)

    @staticmethod
    def guest_keys(stage):
        return ((f",queues={stage.queues}" if stage.queues > 1 else "") + (f",vlan={stage.vlan}" if stage.vlan else "")
                + (f",police-in={stage.police_gbit}gbit" if stage.police_gbit else ""))

    def start(self, stage, cpus, run_dir, sockets, netns=None):
        args, eal, left = [], self.eal(cpus), list(sockets)
        for i, kind in enumerate(stage.ports):
            if kind == "guest":
                args += ["--port", f"{PORT_NAMES[i]}=vhost-user,path={left.pop(0)}{self.guest_keys(stage)}"]
            elif kind == "tap":
                args += ["--port", f"{PORT_NAMES[i]}=tap,ifname={IFNAME}"]
            else:
                eal += self.null_vdev(i, kind, stage)
                looks = stage.mirror and i + 1 == len(stage.ports)
                args += ["--port", f"{PORT_NAMES[i]}=nic,dev=net_null{i}" + (f",vlan={MIRROR_VLAN}" if looks else "")]
        if stage.mirror:
            args += ["--mirror", f"m0,from={PORT_NAMES[0]},direction=in,to={PORT_NAMES[len(stage.ports) - 1]}"]
        command = [self.binary, *eal, "--", *args, "--forward-mode", stage.mode, "--json"]
        proc = vnictest.Proc(command, name=self.name, env={"RUNTIME_DIRECTORY": run_dir}, netns=netns)
        await_line(proc, r"vnicd: ready")
        return RunningVnicd(proc, command, os.path.join(run_dir, "vnicd.ctl"))

    def version(self):
        return machine.output_of(self.binary, "--version")

    def facts(self):
        return {**super().facts(), "build_options": machine.build_options(self.binary)}


class RunningVnicd(Running):
    def __init__(self, proc, command, control):
        super().__init__(proc, command)
        self.control = control

    def count_work(self):
        return True

    def work(self):
        before = machine.cpu_seconds(self.pid)
        worker, = vnictest.rpc(self.control, "system.info")["workers"]
        cpu_s = (before + machine.cpu_seconds(self.pid)) / 2
        ports = vnictest.rpc(self.control, "stats.get")["ports"]
        return Work(cpu_s, sum(port["rx_packets"] for port in ports.values()),
                    idle_iterations=worker["turns"] - worker["busy_turns"])

    def complaints(self):
        return [line for line in self.proc.lines if "stands still" in line]

    def isa(self):
        return vnictest.rpc(self.control, "system.info").get("isa")

    def stop(self):
        self.proc.stop()
        finals = [line for line in self.proc.lines if line.startswith('{"')]
        if not finals:
            return Account()
        ports = json.loads(finals[-1])["ports"]
        return Account(drops=sum(n for port in ports.values() for n in port["drops"].values()),
                       rx={name: port["rx_packets"] for name, port in ports.items()},
                       tx={name: port["tx_packets"] for name, port in ports.items()})


# --- testpmd with net_vhost ------------------------------------------------------------------------------------------

class Testpmd(Backend):
    KIND = "testpmd"
    BINARY = "dpdk-testpmd"
    PORTS = ("guest", "sink", "source", "tap")
    EXTRAS = ("offload",)
    # Of a guest's port: mbufs keep what the guest's header says, so that it is in the header at the other end, or for
    # the csum engine, in the flags that net_vhost had for that before 22.07.
    OFFLOAD_KEYS = {"": "", "tso": ",tso=1,legacy-ol-flags=1", "cut": ",tso=1"}
    RX_UDP_CKSUM, RX_TCP_CKSUM = 1 << 2, 1 << 3
    GSO_PORTS = "set fwd csum", "set gso segsz 1514"
    GSO_PORT = ("csum set ip sw {port}", "csum set tcp hw {port}", "csum parse-tunnel off {port}", "set port {port} gso on")

    def start(self, stage, cpus, run_dir, sockets, netns=None):
        command, left = [self.binary, *self.eal(cpus), "--no-telemetry"], list(sockets)
        for i, kind in enumerate(stage.ports):
            keys = f",queues={stage.queues}{self.OFFLOAD_KEYS[stage.offload]}"
            if kind == "guest":
                command += ["--vdev", f"net_vhost{i},iface={left.pop(0)}{keys}"]
            elif kind == "tap":
                command += ["--vdev", f"net_tap{i},iface={IFNAME}"]
            else:
                command += self.null_vdev(i, kind, stage)
        command += ["--", "-i", "--nb-cores=1"]
        if stage.queues > 1:
            command += [f"--rxq={stage.queues}", f"--txq={stage.queues}"]
        lines, mode = ["start"], "io"
        if stage.offload == "cut":
            # Guests' frames with an open checksum are fine: else net_vhost would sum up each whole one first.
            command += [f"--rx-offloads={self.RX_UDP_CKSUM | self.RX_TCP_CKSUM:#x}"]
            # Ports have to be stopped for some of these settings.
            lines, mode = ["port stop all", *self.GSO_PORTS,
                           *(line.format(port=port) for port in range(len(stage.ports)) for line in self.GSO_PORT),
                           "port start all", "start"], "csum"
        else:
            command += ["--forward-mode=io"]
        proc = vnictest.Proc(["stdbuf", "-oL", *command], name=self.name, netns=netns)
        await_line(proc, r"Checking link statuses")
        for line in lines:
            proc.send(line)
        await_line(proc, rf"{mode} packet forwarding - ports=")
        return RunningTestpmd(proc, command)


class RunningTestpmd(Running):
    def count_work(self):
        """Not from the start: it reads the TSC twice for each burst then."""
        self.proc.send("set record-core-cycles on")
        return True

    def work(self):
        stats = testpmd_stats(self.proc)
        return Work(machine.cpu_seconds(self.pid), stats["rx"], stats["cycles"])

    def stop(self):
        with contextlib.suppress(BrokenPipeError):
            for line in ("stop", "quit"):
                self.proc.send(line)
        try:
            self.proc.wait(END_S)
        except subprocess.TimeoutExpired:
            self.proc.stop()
        return testpmd_account(self.proc.output)


def testpmd_stats(proc):
    """Of all its ports, asked for while it forwards and counts cycles: {"time", "rx", "tx", "cycles", "mhz"}."""
    mark, now = proc.mark(), time.monotonic()
    proc.send("show fwd stats all")
    try:
        proc.expect(r"CPU cycles/packet=", READY_S, since=mark)
    except AssertionError as error:
        raise RunFailed(str(error)) from error
    return {"time": now, **forward_stats("\n".join(proc.lines[mark:]))}


def forward_stats(output):
    """Of the last "Accumulated forward statistics" in there."""
    tail = output.rpartition("statistics for all ports")[2]
    counts = {key: re.search(rf"{word}: (\d+)", tail) for key, word in (("rx", "RX-packets"), ("tx", "TX-packets"))}
    m = re.search(r"total cycles=(\d+).* at (\d+) MHz", tail)
    if not (m and all(counts.values())):
        raise RunFailed(f"testpmd: can't read its statistics: {tail[-600:]}")
    return {**{key: int(found.group(1)) for key, found in counts.items()}, "cycles": int(m.group(1)),
            "mhz": int(m.group(2))}


def testpmd_account(output):
    """The Account of its forward statistics, the last ones that it printed."""
    head, all_ports, tail = output.rpartition("statistics for all ports")
    m = re.search(r"TX-dropped: (\d+)", tail)
    account = Account(drops=int(m.group(1)) if all_ports and m else None)
    ports = re.findall(r"Forward statistics for port (\d+) .*?RX-packets: (\d+).*?TX-packets: (\d+)", head, re.S)
    for port, rx, tx in ports:
        account.rx[PORT_NAMES[int(port)]] = int(rx)
        account.tx[PORT_NAMES[int(port)]] = int(tx)
    return account


# --- Open vSwitch with DPDK ------------------------------------------------------------------------------------------

class Ovs(Backend):
    """A private database and switch in the run directory; nothing of an installed one is touched. The bridge is as it
    comes: one flow, action NORMAL. For mode io, a flow for each port instead."""
    KIND = "ovs"
    BINARY = "/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk"
    SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"
    HUGEPAGES = 768
    GUEST_LISTENS = True
    MODES = ("io", "switch")
    PORTS = ("guest", "sink")
    EXTRAS = ("vlan", "police_gbit", "mirror")

    def check(self, stage):
        super().check(stage)
        for tool in ("ovsdb-tool", "ovsdb-server", "ovs-vsctl", "ovs-ofctl"):
            if not shutil.which(tool):
                raise NotPossible(f"no {tool}: {self.MISSING}")

    def version(self):
        said = machine.output_of(self.binary, "--version").splitlines()
        return machine.debian_version(self.binary) + (f" ({said[0]}, {said[-1]})" if len(said) > 1 else "")

    def start(self, stage, cpus, run_dir, sockets, netns=None):
        env = dict.fromkeys(("OVS_RUNDIR", "OVS_DBDIR", "OVS_LOGDIR", "OVS_SYSCONFDIR"), run_dir)
        remote = f"unix:{run_dir}/db.sock"
        self.tool(env, "ovsdb-tool", "create", f"{run_dir}/conf.db", self.SCHEMA)
        database = vnictest.Proc(["ovsdb-server", f"{run_dir}/conf.db", f"--remote=p{remote}",
                                  f"--unixctl={run_dir}/db.ctl"], name="ovsdb-server", env=env)
        running = None
        try:
            vsctl = ["ovs-vsctl", f"--db={remote}", "--timeout=20"]
            self.tool(env, *vsctl, "--retry", "--no-wait", "init")
            self.tool(env, *vsctl, "--no-wait", "set", "Open_vSwitch", ".", "other_config:dpdk-init=true",
                      f"other_config:dpdk-socket-mem={BACKEND_MEM_MIB}",
                      f"other_config:dpdk-lcore-mask={1 << cpus.control:#x}",
                      f"other_config:pmd-cpu-mask={1 << cpus.forward:#x}",
                      f'other_config:dpdk-extra="{" ".join(["--no-pci", "--in-memory", *self.simd()])}"')
            command = [self.binary, remote, f"--unixctl={run_dir}/switch.ctl"]
            running = RunningOvs(vnictest.Proc(command, name=self.name, env=env), command, database)
            self.tool(env, *vsctl, "add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev")
            for words in self.ports(stage, sockets):
                self.tool(env, *vsctl, "add-port", "br0", *words)
            if stage.mirror:
                self.tool(env, *vsctl, *self.mirror(stage))
            if stage.mode == "io":
                if len(sockets) != 2:
                    raise NotPossible("ovs: io between two guests only")
                flows = "in_port=a,actions=output:b\nin_port=b,actions=output:a\n"
                path = pathlib.Path(run_dir, "flows")
                path.write_text(flows)
                self.tool(env, "ovs-ofctl", "--names", "replace-flows", f"unix:{run_dir}/br0.mgmt", path)
            return running
        except BaseException:
            (running.kill if running else database.kill9)()
            raise

    @staticmethod
    def ports(stage, sockets):
        """For each port what follows `add-port br0`."""
        left = list(sockets)
        for name, kind in zip(PORT_NAMES, stage.ports):
            if kind != "guest":
                yield [name, "--", "set", "Interface", name, "type=dpdk",
                       f"options:dpdk-devargs=net_null{PORT_NAMES.index(name)},no-rx=1"]
                continue
            words = [name, *([f"tag={stage.vlan}"] if stage.vlan else []), "--", "set", "Interface", name,
                     "type=dpdkvhostuserclient", f"options:vhost-server-path={left.pop(0)}"]
            if stage.police_gbit:  # in kbit/s and kbit: what passes at once as vnicd takes it by itself
                words += [f"ingress_policing_rate={stage.police_gbit * 10**6}",
                          f"ingress_policing_burst={stage.police_gbit * POLICE_BURST_MS * 10**3}"]
            yield words

    @staticmethod
    def mirror(stage):
        watched, looks = PORT_NAMES[0], PORT_NAMES[len(stage.ports) - 1]
        return ["--", "--id=@from", "get", "Port", watched, "--", "--id=@to", "get", "Port", looks, "--", "--id=@m",
                "create", "Mirror", "name=m0", "select-src-port=@from", "output-port=@to", "--", "set", "Bridge", "br0",
                "mirrors=@m"]

    @staticmethod
    def tool(env, *args):
        done = subprocess.run([str(a) for a in args], env=dict(os.environ, **env), capture_output=True, text=True,
                              timeout=60, check=False)
        if done.returncode:
            raise RunFailed(f"{' '.join(map(str, args))}: {done.stderr.strip() or done.stdout.strip()}")


class RunningOvs(Running):
    """Its counters are fetched every few seconds and forgotten when a guest goes, so it has no Account."""

    def __init__(self, proc, command, database):
        super().__init__(proc, command)
        self.database = database

    def stop(self):
        try:
            self.proc.stop()
        finally:
            self.database.stop()
        return Account()

    def kill(self):
        for proc in (self.proc, self.database):
            if proc.alive():
                proc.kill9()


KINDS = {cls.KIND: cls for cls in (Vnicd, Testpmd, Ovs)}
SPECS = ", ".join(f"{kind}[:PATH]" for kind in KINDS)


def backend(spec):
    """vnicd, vnicd:/path, testpmd:/path and so on: what KINDS has. ValueError for others."""
    kind, _, path = spec.partition(":")
    if kind not in KINDS:
        raise ValueError(f"{spec}: must be one of {SPECS}")
    return KINDS[kind](spec, path or None)

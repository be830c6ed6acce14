#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Two back-ends, the same null guests, turn by turn: who delivers more frames with one forwarding core?

    tests/perf/compare.py                       vnicd against dpdk-testpmd with two net_vhost ports
    tests/perf/compare.py --a vnicd:/new/vnicd --b vnicd:/old/vnicd --workload 64

Every run starts a fresh back-end (memory lands elsewhere each time, and that matters), and A and B alternate, so
that a slow minute of the machine hits both. The figure is frames delivered to the receiving guest per second;
what a back-end drops doesn't count. README.md says how to read the table.
"""
import argparse
import contextlib
import json
import os
import pathlib
import platform
import re
import shutil
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "lib"))
import vnictest  # noqa: E402

BACKEND_MEM_MIB = 512
HUGEPAGES_WANTED = 320  # the back-end's memory, and what the guests need
HUGEPAGES_RESERVED = 1024
NR_HUGEPAGES = pathlib.Path("/proc/sys/vm/nr_hugepages")
RUN_SLACK_S = 60
DISTANCE_SPREAD = 1.5

# name: arguments of nullguest. What is not named here is nullguest's default: both directions, mergeable buffers,
# DPDK's buffer shape, the first payload line touched.
WORKLOADS = {}
for _layout in ("split", "packed"):
    for _ring in (256, 1024):
        WORKLOADS[f"64-{_layout}-{_ring}"] = ["--layout", _layout, "--ring-size", _ring]
for _layout in ("split", "packed"):
    for _touch, _word in (("one", "warm"), ("all", "cold")):
        WORKLOADS[f"1518-{_layout}-256-{_word}"] = ["--layout", _layout, "--frame-size", 1518, "--touch", _touch]
STANDARD = list(WORKLOADS)
for _layout in ("split", "packed"):
    WORKLOADS.update({
        f"64-{_layout}-256-nomrg": ["--layout", _layout, "--no-mergeable"],
        f"64-{_layout}-256-inorder": ["--layout", _layout, "--in-order"],
        f"64-{_layout}-256-linux": ["--layout", _layout, "--shape", "linux"],
        f"64-{_layout}-256-linux-nomrg": ["--layout", _layout, "--shape", "linux", "--no-mergeable"],
        f"256-{_layout}-1024": ["--layout", _layout, "--frame-size", 256, "--ring-size", 1024],
        f"imix-{_layout}-256": ["--layout", _layout, "--imix"],
        f"9000-{_layout}-256-cold": ["--layout", _layout, "--frame-size", 9000, "--touch", "all"],
        f"64-{_layout}-256-burst4": ["--layout", _layout, "--burst", 4],
    })


class NotPossible(Exception):
    """This machine can't measure now; the text says why and what to do."""


def program_path(name):
    """$NAME, or where meson puts it beside the vnicd under test or in build/."""
    chosen = os.environ.get(name.upper())
    tried = [chosen] if chosen else [
        pathlib.Path(vnictest.VNICD).resolve().parents[1] / "tests/perf" / name,
        vnictest.ROOT / "build/tests/perf" / name]
    for path in tried:
        if os.access(path, os.X_OK):
            return str(path)
    raise NotPossible(f"no {name} at " + " or ".join(map(str, tried)) + f": build first, or set {name.upper()}")


def nullguest_path():
    return program_path("nullguest")


# --- The machine -----------------------------------------------------------------------------------------------------

def hugepages_free():
    text = pathlib.Path("/proc/meminfo").read_text()
    return (int(re.search(r"HugePages_Free:\s+(\d+)", text).group(1))
            if re.search(r"Hugepagesize:\s+2048 kB", text) else 0)


@contextlib.contextmanager
def hugepages(reserve):
    """Enough free 2 MiB pages inside; with reserve, gets them and gives them back."""
    before = None
    if hugepages_free() < HUGEPAGES_WANTED and reserve:
        before = int(NR_HUGEPAGES.read_text())
        try:
            NR_HUGEPAGES.write_text(str(before + HUGEPAGES_RESERVED))
        except OSError as error:
            raise NotPossible(f"can't reserve hugepages: {error}") from error
    try:
        free = hugepages_free()
        if free < HUGEPAGES_WANTED:
            raise NotPossible(f"{free} free 2 MiB hugepages, {HUGEPAGES_WANTED} needed: as root, "
                              f"echo {HUGEPAGES_RESERVED} > {NR_HUGEPAGES} (or --reserve)")
        yield
    finally:
        if before is not None:
            NR_HUGEPAGES.write_text(str(before))


class Cpus:
    """forward: the back-end's core; guest: the null guests'; control: what sleeps, on a third CPU if there is one."""

    def __init__(self, choice=None):
        have = vnictest.cpus()
        if choice:
            self.forward, self.guest = choice
        elif len(have) < 2:
            raise NotPossible(f"{len(have)} CPU; two are needed: one for the back-end, one for the guests")
        else:
            self.forward, self.guest = have[0], have[1]
        rest = [cpu for cpu in have if cpu not in (self.forward, self.guest)]
        self.control = rest[0] if rest else self.guest

    @property
    def pair(self):
        return (self.forward, self.guest)


def cpu_times(cpus):
    """{cpu: (busy ticks, all ticks)}; time stolen by the host counts as busy."""
    times = {}
    for line in pathlib.Path("/proc/stat").read_text().splitlines():
        m = re.match(r"cpu(\d+) (.*)", line)
        if m and int(m.group(1)) in cpus:
            fields = [int(field) for field in m.group(2).split()[:8]]
            times[int(m.group(1))] = (sum(fields) - fields[3] - fields[4], sum(fields))
    return times


def process_times():
    """{pid: (name, ticks)} of all processes but this one."""
    times = {}
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            head, tail = path.read_text().rsplit(")", 1)
        except OSError:
            continue
        pid, name = head.split(" (", 1)
        fields = tail.split()
        if int(pid) != os.getpid():
            times[int(pid)] = (name, int(fields[11]) + int(fields[12]))
    return times


def noise(cpus, window_s=0.5):
    """What else runs: a list of complaints, empty on a quiet machine."""
    tick_s = 1 / os.sysconf("SC_CLK_TCK")
    cpu_before, proc_before = cpu_times(cpus), process_times()
    time.sleep(window_s)
    cpu_after, proc_after = cpu_times(cpus), process_times()
    complaints = []
    for cpu in sorted(set(cpus)):
        busy, total = (after - before for after, before in zip(cpu_after[cpu], cpu_before[cpu]))
        if total and busy / total > 0.10:
            complaints.append(f"CPU {cpu} is {100 * busy / total:.0f} % busy")
    for pid, (name, ticks) in proc_after.items():
        share = (ticks - proc_before.get(pid, (name, 0))[1]) * tick_s / window_s
        # One tick in a short window is already 2 %: two more than the limit's worth, to be sure.
        if share > 0.05 + 2 * tick_s / window_s:
            complaints.append(f"process {pid} ({name}) uses {100 * share:.0f} %")
    return complaints


def await_quiet(cpus, wait_s):
    """Returns the complaints that were left when patience ended: none, usually."""
    deadline = time.monotonic() + wait_s
    while True:
        complaints = noise(cpus)
        if not complaints or time.monotonic() > deadline:
            return complaints
        time.sleep(1)


# --- The back-ends ---------------------------------------------------------------------------------------------------

class Backend:
    """Starts fresh, serves two sockets, says at the end how many frames it dropped (None: it doesn't say)."""

    def __init__(self, name, binary):
        self.name = name
        self.binary = binary

    def eal(self, cpus):
        return ["--lcores", f"0@{cpus.control},1@{cpus.forward}", "--no-pci", "--in-memory",
                "--socket-mem", BACKEND_MEM_MIB]

    def version(self):
        return self.binary


class Vnicd(Backend):
    def start(self, cpus, run_dir, sockets):
        args = [self.binary, *self.eal(cpus), "--"]
        for port, path in zip("ab", sockets):
            args += ["--port", f"{port}=vhost-user,path={path}"]
        proc = vnictest.Proc(args + ["--forward-mode", "io", "--json"], name=self.name,
                             env={"RUNTIME_DIRECTORY": run_dir})
        proc.expect(r"vnicd: ready", 20)
        return proc

    def stop(self, proc):
        proc.stop()
        finals = [line for line in proc.lines if line.startswith('{"')]
        if not finals:
            return None
        return sum(n for port in json.loads(finals[-1])["ports"].values() for n in port["drops"].values())

    def version(self):
        done = subprocess.run([self.binary, "--version"], capture_output=True, text=True, check=False)
        return f"{self.binary}: {done.stdout.strip()}"


class Testpmd(Backend):
    def start(self, cpus, run_dir, sockets):
        args = [self.binary, *self.eal(cpus), "--no-telemetry"]
        for i, path in enumerate(sockets):
            args += ["--vdev", f"net_vhost{i},iface={path},queues=1"]
        # Not interactive: it forwards at once and ends at a line on its standard input, which we keep open.
        proc = vnictest.Proc(args + ["--", "--nb-cores=1", "--forward-mode=io"], name=self.name)
        proc.expect(r"Checking link statuses|Press enter", 20)
        return proc

    def stop(self, proc):
        with contextlib.suppress(BrokenPipeError):
            proc.send("")
        try:
            proc.wait(10)
        except subprocess.TimeoutExpired:
            proc.stop()
        tail = proc.output.rsplit("statistics for all ports", 1)
        m = re.search(r"TX-dropped: (\d+)", tail[1]) if len(tail) == 2 else None
        return int(m.group(1)) if m else None

    def version(self):
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            owner = subprocess.run(["dpkg-query", "-S", shutil.which(self.binary)], capture_output=True, text=True,
                                   check=True).stdout.split(":")[0]
            return self.binary + " of " + subprocess.run(["dpkg-query", "-W", owner], capture_output=True, text=True,
                                                         check=True).stdout.strip().replace("\t", " ")
        return self.binary


def backend(spec):
    """vnicd, vnicd:/path, testpmd or testpmd:/path"""
    kind, _, path = spec.partition(":")
    if kind == "vnicd":
        return Vnicd(spec, path or vnictest.VNICD)
    if kind == "testpmd":
        return Testpmd(spec, path or "dpdk-testpmd")
    raise argparse.ArgumentTypeError(f"{spec}: vnicd[:PATH] or testpmd[:PATH]")


# --- Measuring -------------------------------------------------------------------------------------------------------

def switches(pid):
    """Times the kernel took a CPU away from one of the process's threads."""
    n = 0
    for path in pathlib.Path(f"/proc/{pid}/task").glob("*/status"):
        with contextlib.suppress(OSError):
            n += int(re.search(r"nonvoluntary_ctxt_switches:\s+(\d+)", path.read_text()).group(1))
    return n


def distance_ns(cpus):
    """How long a cache line takes between the two CPUs now. A hypervisor moves virtual CPUs, and that triples it."""
    done = subprocess.run([nullguest_path(), "--distance", f"{cpus.forward},{cpus.guest}"],
                          capture_output=True, text=True, timeout=RUN_SLACK_S, check=True)
    return float(done.stdout)


def run_once(which, guest_args, cpus, duration_s, warmup_s):
    """One fresh back-end, one nullguest: its report, with the back-end's own account of drops added."""
    run_dir = vnictest.tmpdir("vnicd-perf-")
    sockets = [os.path.join(run_dir, name) for name in "ab"]
    distances = [distance_ns(cpus)]
    proc = which.start(cpus, run_dir, sockets)
    try:
        before = switches(proc.pid)
        done = subprocess.run(
            [nullguest_path(), "--socket", sockets[0], "--socket", sockets[1], "--cpu", str(cpus.guest),
             "--pages", "huge", "--duration", str(duration_s), "--warmup", str(warmup_s), "--json",
             *map(str, guest_args)],
            capture_output=True, text=True, timeout=duration_s + warmup_s + RUN_SLACK_S, check=False)
        after = switches(proc.pid)
        if done.returncode:
            raise AssertionError(f"with {which.name}: {done.stderr.strip()}; the back-end's last lines:\n"
                                 + "\n".join(proc.lines[-15:]))
        drops = which.stop(proc)
    finally:
        if proc.alive():
            proc.kill9()
    report = json.loads(done.stdout)
    distances.append(distance_ns(cpus))
    report["distance_ns"] = distances
    report["backend_switches"] = after - before
    report["backend_drops"] = drops
    flows = report["whole_run"].values()
    # Every frame sent is delivered or dropped; a frame that came twice would hide a dropped one.
    report["missing"] = sum(f["sent"] - f["delivered"] + f["duplicated"] for f in flows)
    report["conserved"] = None if drops is None else drops == report["missing"]
    return report


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def same_distance(reports):
    """Whether the CPUs stayed equally far apart: only then can runs be compared."""
    distances = [ns for report in reports for ns in report["distance_ns"]]
    return max(distances) <= DISTANCE_SPREAD * min(distances)


def describe(name, pair, which, report):
    text = (f"{name} {pair} {which.name}: {report['mpps']:.2f} Mpps, "
            f"guests idle {100 * report['guest_idle_share']:.0f} %, CPUs {report['distance_ns'][0]:.0f} ns apart")
    if report["noise"]:
        text += "; NOISY: " + ", ".join(report["noise"])
    if report["conserved"] is False:
        text += f"; NOT CONSERVED: {report['missing']} frames missing, {report['backend_drops']} counted as dropped"
    return text


def compare(a, b, workloads, cpus, *, pairs, duration_s, warmup_s=0.5, quiet_wait_s=30, noisy=False,
            say=lambda s: None):
    """{workload: {"a": .., "b": .., "ratio": .., "runs": {"a": [report..], "b": [..]}}}, figures in Mpps."""
    result = {}
    for name in workloads:
        runs, discarded = {"a": [], "b": []}, []
        while len(runs["a"]) < pairs:
            both = []
            for which in (a, b):
                complaints = await_quiet(cpus.pair, quiet_wait_s)
                if complaints and not noisy:
                    raise NotPossible("the machine is not quiet (--noisy measures anyway): " + ", ".join(complaints))
                report = run_once(which, WORKLOADS[name], cpus, duration_s, warmup_s)
                report["noise"] = complaints
                both.append(report)
                say(describe(name, f"{len(runs['a']) + 1}/{pairs}", which, report))
            if same_distance(both) or noisy:
                runs["a"].append(both[0])
                runs["b"].append(both[1])
                continue
            discarded.append(both)
            say(f"{name}: the CPUs moved in this pair; once more")
            if len(discarded) > 2 * pairs:
                raise NotPossible("the distance of the two CPUs never stays the same for the time of two runs")
        mpps = {key: [run["mpps"] for run in runs[key]] for key in runs}
        result[name] = {
            "a": spread(mpps["a"]), "b": spread(mpps["b"]),
            "ratio": spread([x / y for x, y in zip(mpps["a"], mpps["b"])]),
            "ratio_of_medians": statistics.median(mpps["a"]) / statistics.median(mpps["b"]),
            "guest_idle_share": {key: statistics.median(r["guest_idle_share"] for r in runs[key]) for key in runs},
            "runs": runs, "discarded": discarded,
        }
    return result


def table(a, b, result):
    def cell(s):
        return f"{s['median']:7.2f} ({s['min']:.2f}-{s['max']:.2f})"

    lines = [f"{'workload':24}{'A ' + a.name + ', Mpps':>26}{'B ' + b.name + ', Mpps':>26}{'A/B, pair by pair':>26}"
             "  guests idle A, B"]
    for name, row in result.items():
        idle = row["guest_idle_share"]
        lines.append(f"{name:24}{cell(row['a']):>26}{cell(row['b']):>26}{cell(row['ratio']):>26}"
                     f"  {100 * idle['a']:3.0f} %, {100 * idle['b']:3.0f} %"
                     + ("  guests are A's limit: the ratio is at least this" if idle["a"] < 0.02 else ""))
    return "\n".join(lines)


def cpu_model():
    m = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    return m.group(1) if m else platform.machine()


def facts(cpus):
    """What a figure is worth nothing without."""
    return {"time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "cpu": cpu_model(), "kernel": platform.release(),
            "cpus": {"forward": cpus.forward, "guest": cpus.guest, "control": cpus.control}}


def add_run_options(parser, *, pairs, pairs_of, duration_s, warmup_s, output):
    """How to measure: what all programs here have in common."""
    parser.add_argument("--pairs", type=int, default=pairs, help=f"{pairs_of} ({pairs})")
    parser.add_argument("--duration", type=float, default=duration_s, help=f"seconds per run ({duration_s})")
    parser.add_argument("--warmup", type=float, default=warmup_s, help=f"seconds before each ({warmup_s})")
    parser.add_argument("--cpus", metavar="FORWARD,GUEST", type=lambda s: tuple(map(int, s.split(","))))
    parser.add_argument("--output", metavar="FILE", default=output, help=f"all figures ({output})")
    parser.add_argument("--reserve", action="store_true", help="as root: reserve hugepages, give them back at the end")
    parser.add_argument("--noisy", action="store_true", help="measure although other programs run; marked as such")
    parser.add_argument("--quiet-wait", type=float, default=60, help="seconds to wait for quiet CPUs (60)")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0],
                                     epilog="workloads: " + " ".join(WORKLOADS))
    parser.add_argument("--a", type=backend, default="vnicd", metavar="KIND[:BINARY]", help="vnicd, testpmd (vnicd)")
    parser.add_argument("--b", type=backend, default="testpmd", metavar="KIND[:BINARY]", help="the peer (testpmd)")
    parser.add_argument("--workload", action="append", metavar="REGEX",
                        help="the workloads whose name it matches, again for more (the first eight)")
    add_run_options(parser, pairs=5, pairs_of="runs of each back-end per workload", duration_s=3, warmup_s=0.5,
                    output="perf-compare.json")
    args = parser.parse_args()
    names = STANDARD
    if args.workload:
        names = [n for n in WORKLOADS if any(re.search(r, n) for r in args.workload)]
        if not names:
            parser.error("no workload matches; there are: " + " ".join(WORKLOADS))
    try:
        cpus = Cpus(args.cpus)
        nullguest_path()
        with hugepages(args.reserve):
            result = compare(args.a, args.b, names, cpus, pairs=args.pairs, duration_s=args.duration,
                             warmup_s=args.warmup, quiet_wait_s=args.quiet_wait, noisy=args.noisy,
                             say=lambda s: print(s, file=sys.stderr, flush=True))
    except NotPossible as error:
        sys.exit(f"compare.py: {error}")
    pathlib.Path(args.output).write_text(json.dumps(
        {**facts(cpus), "a": args.a.version(), "b": args.b.version(), "workloads": result}, indent=1) + "\n")
    print(table(args.a, args.b, result))
    noisy_runs = sum(bool(r["noise"]) for row in result.values() for runs in row["runs"].values() for r in runs)
    leaks = sum(r["conserved"] is False for row in result.values() for runs in row["runs"].values() for r in runs)
    if noisy_runs:
        print(f"{noisy_runs} runs were disturbed by other programs: not figures to publish")
    if leaks:
        print(f"{leaks} runs in which frames vanished uncounted, or were counted as dropped and delivered")


if __name__ == "__main__":
    main()

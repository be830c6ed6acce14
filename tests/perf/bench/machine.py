# SPDX-License-Identifier: BSD-3-Clause
"""The machine that figures are taken on: programs, hugepages, quiet CPUs, and what a figure is worth nothing
without."""
import contextlib
import json
import os
import pathlib
import platform
import re
import shlex
import shutil
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "lib"))
import vnictest  # noqa: E402

HUGEPAGES_RESERVED = 1024
NR_HUGEPAGES = pathlib.Path("/proc/sys/vm/nr_hugepages")
RUN_SLACK_S = 60
STOP_NS = 200_000  # a gap that no code of ours makes
STOPPED_SHARE_MAX = 0.01
BUSY_MAX = 0.10  # of a CPU that is to be measured on
PROCESS_MAX = 0.05
# What on the kernel's command line can change a figure.
KERNEL_OPTIONS = re.compile(r"(isolcpus|nohz|nohz_full|rcu_nocbs|mitigations|idle|processor\.max_cstate|intel_\w+|"
                            r"amd_\w+|default_hugepagesz|hugepagesz|hugepages|transparent_hugepage|tsc|preempt|"
                            r"irqaffinity|numa_balancing)(=.*)?")


class NotPossible(Exception):
    """This machine can't measure now; the text says why and what to do."""


class RunFailed(Exception):
    """A guest or a back-end did not do what it was started for; the text has its last words."""


# --- Programs --------------------------------------------------------------------------------------------------------

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


def output_of(*args):
    """What a short command says, "" when it can't run."""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        return subprocess.run([str(a) for a in args], capture_output=True, text=True, timeout=10,
                              check=False).stdout.strip()
    return ""


def debian_version(binary):
    """"/usr/bin/x of package 1.2-3", or the binary alone when no package has it."""
    path = os.path.realpath(shutil.which(binary) or binary)
    for name in (shutil.which(binary) or binary, path):
        owner = output_of("dpkg-query", "-S", name).split(":")[0]
        if owner and not owner.startswith("diversion"):
            return f"{binary} of " + output_of("dpkg-query", "-W", owner).replace("\t", " ")
    return binary


def build_options(binary):
    """How a binary that lies in its meson build directory was compiled: the compiler, and what decides how fast the
    result is. {} when it doesn't lie there."""
    build = pathlib.Path(binary).resolve().parent.parent
    try:
        commands = json.loads((build / "compile_commands.json").read_text())
        options = json.loads((build / "meson-info/intro-buildoptions.json").read_text())
    except (OSError, ValueError):
        return {}
    words = next((shlex.split(c["command"]) for c in commands if c["file"].endswith("app/main.c")), [])
    words = words[1:] if words[:1] and words[0].endswith("ccache") else words
    version = output_of(*words[:1], "--version").splitlines() if words else []
    return {"buildtype": next((o["value"] for o in options if o["name"] == "buildtype"), None),
            "compiler": version[0] if version else None,
            "flags": " ".join(word for word in words if re.match(r"-(O|m|f|g|std)", word))}


# --- Hugepages -------------------------------------------------------------------------------------------------------

def hugepages_free():
    text = pathlib.Path("/proc/meminfo").read_text()
    return (int(re.search(r"HugePages_Free:\s+(\d+)", text).group(1))
            if re.search(r"Hugepagesize:\s+2048 kB", text) else 0)


@contextlib.contextmanager
def hugepages(reserve, wanted):
    """At least so many free 2 MiB pages inside; with reserve, gets them and gives them back."""
    before = None
    if hugepages_free() < wanted and reserve:
        before = int(NR_HUGEPAGES.read_text())
        try:
            NR_HUGEPAGES.write_text(str(before + max(wanted, HUGEPAGES_RESERVED)))
        except OSError as error:
            raise NotPossible(f"can't reserve hugepages: {error}") from error
    try:
        free = hugepages_free()
        if free < wanted:
            raise NotPossible(f"{free} free 2 MiB hugepages, {wanted} needed: as root, "
                              f"echo {max(wanted, HUGEPAGES_RESERVED)} > {NR_HUGEPAGES} (or --reserve)")
        yield
    finally:
        if before is not None:
            NR_HUGEPAGES.write_text(str(before))


# --- CPUs ------------------------------------------------------------------------------------------------------------

class Cpus:
    """forward: the back-end's core; guest: the null guests'; control: what sleeps, on a third CPU if there is one."""

    def __init__(self, choice=None):
        have = vnictest.cpus()
        if choice:
            self.forward, self.guest = choice
            for cpu in choice:
                if cpu not in have:
                    raise NotPossible(f"CPU {cpu} is not ours; we may use {', '.join(map(str, have))}")
        elif len(have) < 2:
            raise NotPossible(f"{len(have)} CPU; two are needed: one for the back-end, one for the guests")
        else:
            self.forward, self.guest = have[0], have[1]
        rest = [cpu for cpu in have if cpu not in (self.forward, self.guest)]
        self.control = rest[0] if rest else self.guest

    @property
    def pair(self):
        return (self.forward, self.guest)


def cpu_fields(cpus):
    """{cpu: the first eight fields of its line in /proc/stat}"""
    fields = {}
    for line in pathlib.Path("/proc/stat").read_text().splitlines():
        m = re.match(r"cpu(\d+) (.*)", line)
        if m and int(m.group(1)) in cpus:
            fields[int(m.group(1))] = [int(field) for field in m.group(2).split()[:8]]
    return fields


def cpu_times(cpus):
    """{cpu: (busy ticks, all ticks)}; time stolen by the host counts as busy."""
    return {cpu: (sum(f) - f[3] - f[4], sum(f)) for cpu, f in cpu_fields(cpus).items()}


def stolen_ticks(cpus):
    return sum(f[7] for f in cpu_fields(cpus).values())


def cpu_seconds(pid):
    """That all threads of a process had a CPU, to this moment: the clock that clock_getcpuclockid(3) names."""
    return time.clock_gettime((~pid << 3) | 2)


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


def noise(cpus, window_s=0.5, processes=True):
    """What else runs: a list of complaints, empty on a quiet machine. Without processes: on these CPUs only."""
    tick_s = 1 / os.sysconf("SC_CLK_TCK")
    cpu_before, proc_before = cpu_times(cpus), process_times()
    time.sleep(window_s)
    cpu_after, proc_after = cpu_times(cpus), process_times()
    complaints = []
    for cpu in sorted(set(cpus)):
        busy, total = (after - before for after, before in zip(cpu_after[cpu], cpu_before[cpu]))
        if total and busy / total > BUSY_MAX:
            complaints.append(f"CPU {cpu} is {100 * busy / total:.0f} % busy")
    for pid, (name, ticks) in proc_after.items() if processes else ():
        share = (ticks - proc_before.get(pid, (name, 0))[1]) * tick_s / window_s
        # One tick in a short window is already 2 %: two more than the limit's worth, to be sure.
        if share > PROCESS_MAX + 2 * tick_s / window_s:
            complaints.append(f"process {pid} ({name}) uses {100 * share:.0f} %")
    return complaints


def await_quiet(cpus, wait_s, processes=True):
    """Returns the complaints that were left when patience ended: none, usually."""
    deadline = time.monotonic() + wait_s
    while True:
        complaints = noise(cpus, processes=processes)
        if not complaints or time.monotonic() > deadline:
            return complaints
        time.sleep(1)


def quiet(cpus, wait_s, noisy):
    """The same, but only who asked for it (--noisy) gets complaints back; others can't measure."""
    return tolerate(await_quiet(cpus.pair, wait_s), noisy)


def quiet_beside(cpus, wait_s, noisy):
    """The same while a back-end is polling: the guests' CPU is all that can be seen to be idle."""
    return tolerate(await_quiet([cpus.guest], wait_s, processes=False), noisy)


def tolerate(complaints, noisy):
    if complaints and not noisy:
        raise NotPossible("the machine is not quiet (--noisy measures anyway): " + ", ".join(complaints))
    return complaints


def stopped_share(seconds_=1):
    """How much of the time goes by in gaps of a loop that does nothing else: other programs' time, or the host's."""
    last = time.perf_counter_ns()
    end = last + int(seconds_ * 1e9)
    lost = 0
    while last < end:
        now = time.perf_counter_ns()
        if now - last > STOP_NS:
            lost += now - last
        last = now
    return lost / (seconds_ * 1e9)


def look(cpus, wait_s):
    """A few seconds' look at whether anything can be measured here and now; NotPossible when not."""
    quiet(cpus, wait_s, False)
    stopped = stopped_share()
    if stopped > STOPPED_SHARE_MAX:
        raise NotPossible(f"the machine itself stops {100 * stopped:.1f} % of the time")


def distance_now(cpus, brief=False):
    """How long a cache line takes between the two CPUs. A hypervisor moves virtual CPUs, and that triples it. brief: in
    two milliseconds, which is right for CPUs that have been busy until now."""
    done = subprocess.run([nullguest_path(), "--distance", f"{cpus.forward},{cpus.guest}" + (",brief" if brief else "")],
                          capture_output=True, text=True, timeout=RUN_SLACK_S, check=True)
    return float(done.stdout)


# --- Its kind --------------------------------------------------------------------------------------------------------

KINDS = ("avx512", "avx2")  # what back-ends may use: vectors of 512 bits, or of 256
SIMD_BITS = {"avx512": 512, "avx2": 256}
AVX512_FLAGS = {"avx512f", "avx512bw", "avx512dq", "avx512vl"}


def kind():
    return "avx512" if AVX512_FLAGS <= set((cpu_info("flags") or "").split()) else "avx2"


# --- What a figure is worth nothing without --------------------------------------------------------------------------

def cpu_info(field):
    m = re.search(rf"^{field}\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text(), re.M)
    return m.group(1) if m else None


def read_if(path):
    with contextlib.suppress(OSError):
        return pathlib.Path(path).read_text().strip()
    return None


def facts(cpus):
    meminfo = dict(re.findall(r"^(\w+):\s+(\d+)", read_if("/proc/meminfo") or "", re.M))
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "cpu": cpu_info("model name") or platform.machine(),
        "microcode": cpu_info("microcode"),
        "hypervisor": bool(re.search(r"\bhypervisor\b", cpu_info("flags") or "")),
        "kernel": platform.release(),
        "kernel_options": [word for word in (read_if("/proc/cmdline") or "").split() if KERNEL_OPTIONS.fullmatch(word)],
        "governor": read_if(f"/sys/devices/system/cpu/cpu{cpus.forward}/cpufreq/scaling_governor"),
        "isolated_cpus": read_if("/sys/devices/system/cpu/isolated"),
        "page_bytes": os.sysconf("SC_PAGE_SIZE"),
        "hugepage_kib": int(meminfo.get("Hugepagesize", 0)),
        "hugepages": int(meminfo.get("HugePages_Total", 0)),
        "cpus": {"forward": cpus.forward, "guest": cpus.guest, "control": cpus.control},
        "n_cpus": os.cpu_count(),
    }

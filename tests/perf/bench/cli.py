# SPDX-License-Identifier: BSD-3-Clause
"""The command line of vnic-bench."""
import argparse
import dataclasses
import os
import re
import signal
import subprocess
import sys
import threading

from . import backends, machine, measure, plot, report, rows, search, slices
from .guests import FRONT_ENDS
from .machine import NotPossible, RunFailed

EXIT_MEASURED, EXIT_NOT_MEASURED, EXIT_USAGE, EXIT_MISSED = 0, 1, 2, 3

ABOUT = """\
How fast is a virtio-net back-end with one forwarding core, and beside others? Both run in turns of a tenth of a second
on the same CPUs; frames are counted by the guests that receive them.
"""

EPILOG = """\
examples:
  vnic-bench scoreboard --row '^64-.*-256$'      some rows beside their peers
  vnic-bench scoreboard --plot pictures --gate   all rows, 20 minutes; exit status 3 when a bar is missed
  vnic-bench scoreboard --quick                  all rows in five minutes, with wider intervals
  vnic-bench scoreboard --simd 256               on a CPU with AVX-512: both sides do without
  vnic-bench --a vnicd:new/vnicd --b vnicd:old/vnicd --row '^64-'   two builds (short for: vnic-bench compare ..)
  vnic-bench list                                rows, with what they are
  vnic-bench search --backend testpmd            the highest rate without loss (RFC 2544)
  vnic-bench search --sockets /tmp/a,/tmp/b      the same of a back-end that you have started
  vnic-bench table scoreboard.json --markdown    what a file says, as a table
  vnic-bench table epyc.json xeon.json --markdown --plot pictures    two kinds of CPU beside each other

Two CPUs that nobody else uses, and 2 MiB hugepages (640 free; some rows want 1152; --reserve gets them as root).
tests/perf/README.md says what the figures mean.

exit status: 0 measured; 1 something could not be measured, or was refused; 2 wrong usage; 3 a bar was missed
(scoreboard --gate)
"""


def say(text):
    print(text, file=sys.stderr, flush=True)


# --- Options ---------------------------------------------------------------------------------------------------------

def backend_option(spec):
    try:
        return backends.backend(spec)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def regex_option(text):
    try:
        re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"{text}: not a regular expression: {error}") from error
    return text


def cpus_option(text):
    m = re.fullmatch(r"(\d+),(\d+)", text)
    if not m or m.group(1) == m.group(2):
        raise argparse.ArgumentTypeError(f"{text}: two CPUs are needed, as in 2,3")
    return int(m.group(1)), int(m.group(2))


def positive(kind):
    def convert(text):
        try:
            value = kind(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text}: not a number") from error
        if not value > 0:
            raise argparse.ArgumentTypeError(f"{text}: must be more than 0")
        return value
    return convert


def slice_option(text):
    value = positive(float)(text)
    if not 2 * measure.SKIP_S <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text}: slices are from {2 * measure.SKIP_S} to 1 second")
    return value


def shares_option(text):
    """"0,0.001": shares of frames, rising."""
    try:
        shares = sorted({float(word) for word in text.split(",")})
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text}: shares of frames, as in 0,0.001") from error
    if not 0 <= shares[0] <= shares[-1] < 1:
        raise argparse.ArgumentTypeError(f"{text}: shares are from 0 to 1")
    return shares


def sizes_option(text):
    try:
        sizes = [int(word) for word in text.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text}: bytes, as in 64,1518") from error
    if not all(64 <= size <= 9000 for size in sizes):
        raise argparse.ArgumentTypeError(f"{text}: frames are from 64 to 9000 bytes")
    return sizes


def sockets_option(text):
    paths = text.split(",")
    if len(paths) != 2 or not all(paths):
        raise argparse.ArgumentTypeError(f"{text}: two sockets are needed, as in /tmp/a,/tmp/b")
    return paths


def add_machine_options(parser, output, warmup_s, quiet_wait_s):
    parser.add_argument("--warmup", type=float, default=warmup_s, metavar="S", help=f"seconds before each ({warmup_s})")
    parser.add_argument("--cpus", metavar="BACKEND,GUEST", type=cpus_option, help="(the first two we may use)")
    parser.add_argument("--output", metavar="FILE", default=output, help=f"all figures as JSON ({output})")
    parser.add_argument("--reserve", action="store_true", help="as root: reserve hugepages, give them back at the end")
    parser.add_argument("--quiet-wait", type=float, default=quiet_wait_s, metavar="S",
                        help=f"to wait for quiet CPUs ({quiet_wait_s})")


def add_run_options(parser, *, budget_s, output):
    """How to measure: what all programs here that measure in slices have in common."""
    parser.add_argument("--budget", type=positive(float), default=budget_s, metavar="S",
                        help=f"seconds of slices for a row at most ({budget_s})")
    parser.add_argument("--slice", type=slice_option, default=measure.SLICE_S, metavar="S",
                        help=f"seconds, of which the first {measure.SKIP_S} do not count ({measure.SLICE_S})")
    parser.add_argument("--starts", type=positive(int), default=1, metavar="N",
                        help="of both back-ends within the budget: memory lands elsewhere each time (1)")
    add_machine_options(parser, output, measure.WARMUP_S, measure.QUIET_WAIT_S)


def add_rows_options(parser, output):
    """Of scoreboard and compare."""
    add_run_options(parser, budget_s=measure.BUDGET_S, output=output)
    parser.set_defaults(budget=None)
    parser.add_argument("--quick", action="store_true", help=f"a budget of {measure.QUICK_BUDGET_S} s unless said "
                        "otherwise, and no cycles a frame where guests are the limit")
    parser.add_argument("--simd", type=int, choices=sorted(machine.SIMD_BITS.values()), metavar="BITS",
                        help="both sides limited to vectors so wide, 256 or 512 (as the CPU has them)")
    parser.add_argument("--plot", metavar="DIR", help="write pictures there too")


def plan_of(args, **more):
    return measure.Plan(machine.Cpus(args.cpus), budget_s=args.budget, slice_s=args.slice, starts=args.starts,
                        warmup_s=args.warmup, quiet_wait_s=args.quiet_wait, reserve=args.reserve, say=say, **more)


def add_row_option(parser, default):
    parser.add_argument("--row", "--workload", action="append", metavar="REGEX", type=regex_option,
                        help=f"the rows whose name it matches, again for more ({default})")


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, and where to read more."""

    def error(self, message):
        sys.stderr.write(f"{self.prog}: {message}\n{self.prog}: see {self.prog} --help\n")
        sys.exit(EXIT_USAGE)


def parser_make():
    raw = {"formatter_class": argparse.RawDescriptionHelpFormatter}
    parser = Parser(prog="vnic-bench", description=ABOUT, epilog=EPILOG, **raw)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=Parser)

    one = commands.add_parser("scoreboard", help="all rows beside their peers and bars", **raw, description=f"""\
Every row of the table that has a bar: our vnicd and the row's peer, each started once with guests of its own, in slices
of a tenth of a second in the order A B B A; the one whose turn it isn't stands still. What is compared is the ratio of
neighbouring slices of the same class; shown are the median and its 95 % interval, and what became of all other slices.

{slices.RULES}

A row ends when it is settled or its budget is spent. A bar is met or missed when the whole interval is on one side of
it, and open otherwise. A row in which frames vanished uncounted (sent = delivered + dropped, by the back-end's own
counters) counts as not measured, whatever its figure.""")
    one.add_argument("--vnicd", "--a", type=backend_option, default="vnicd", metavar="KIND[:PATH]", dest="a",
                     help="ours ($VNICD, or build/app/vnicd)")
    add_row_option(one, "all with a bar")
    add_rows_options(one, "scoreboard.json")
    one.add_argument("--gate", action="store_true", help="exit status 3 when a bar is missed")
    one.set_defaults(run=run_scoreboard)

    one = commands.add_parser("compare", help="two back-ends on any rows (the default command)", **raw,
                              epilog="rows: " + " ".join(rows.ROWS), description=f"""\
Two back-ends under the same guests, slice by slice. Without --b: the row's peer, as in the scoreboard.

{slices.RULES}""")
    one.add_argument("--a", type=backend_option, default="vnicd", metavar="KIND[:PATH]",
                     help=f"{backends.SPECS} (vnicd)")
    one.add_argument("--b", type=backend_option, metavar="KIND[:PATH]", help="the peer (the row's)")
    add_row_option(one, "eight of 64 and 1518 B")
    add_rows_options(one, "compare.json")
    one.set_defaults(run=run_compare)

    one = commands.add_parser("list", help="the rows, with what they are", **raw)
    add_row_option(one, "all")
    one.set_defaults(run=run_list)

    one = commands.add_parser("search", help="the highest rate without loss (RFC 2544)", **raw, description="""\
Binary search over offered load, after RFC 2544: the highest rate at which no more than a tolerated share of frames is
lost; 0 is the no-drop rate, the others are partial-drop rates. A result is a rate that passed --confirm trials; up to
--retries failed ones are forgiven (--retries 0 for the letter of the RFC, with --trial 60). Each trial is printed, then
a table.

Sources of traffic:
  nullguest   two guests that cost almost nothing; bursts of 32 (a row may say otherwise) at equal intervals by the TSC.
              Lost are frames that the receiver misses by their numbers, and frames that found no room in the sender's
              ring when their time had come. Rates are frames offered, both directions together.
  testpmd     DPDK's driver: two virtio-user ports in mode flowgen. It cannot pace. What is searched is the number of
              frames that it sends on each turn, 4 to 64 by four, without pause; which rate that makes is measured and
              reported, and the lowest one may already be too high for a slow back-end. Frames on their way at the end
              are waited for.

The back-end is started for you (--backend), with one forwarding core in the row's mode, or it is yours and runs already
(--sockets; with --server it connects to sockets that the guests make). It stays up for all trials; guests
reconnect.""")
    where = one.add_mutually_exclusive_group()
    where.add_argument("--backend", type=backend_option, default=None, metavar="KIND[:PATH]",
                       help=f"{backends.SPECS} (vnicd)")
    where.add_argument("--sockets", type=sockets_option, metavar="A,B",
                       help="vhost-user sockets of a back-end of yours")
    one.add_argument("--server", action="store_true", help="with --sockets: the guests make the sockets")
    one.add_argument("--source", choices=sorted(search.SOURCES), default="nullguest", help="(nullguest)")
    one.add_argument("--row", default="64-split-256", metavar="NAME",
                     help="ring, buffers, mode: any guest-to-guest row of vnic-bench list (64-split-256)")
    one.add_argument("--frame-size", type=sizes_option, metavar="N,..", help="instead of the row's; RFC 2544 has "
                     "64,128,256,512,1024,1280,1518")
    one.add_argument("--loss", type=shares_option, default=[0, 0.001, 0.005], metavar="SHARE,..",
                     help="tolerated (0,0.001,0.005)")
    one.add_argument("--trial", type=positive(float), default=5, metavar="S", help="seconds per trial (5)")
    one.add_argument("--confirm", type=positive(int), default=3, metavar="N", help="trials a result must pass (3)")
    one.add_argument("--retries", type=int, default=1, metavar="N", help="failed trials forgiven at a rate (1)")
    one.add_argument("--precision", type=positive(float), default=0.01, metavar="SHARE", help="of the result (0.01)")
    one.add_argument("--max", type=positive(float), metavar="LOAD",
                     help="highest load: Mpps each way, or frames a turn with --source testpmd "
                     "(a tenth above what a saturated run delivers; 64)")
    add_machine_options(one, "search.json", 0.5, 60)
    one.add_argument("--noisy", action="store_true", help="measure although other programs run; marked as such")
    one.set_defaults(run=run_search_command)

    one = commands.add_parser("table", help="tables and pictures of what was measured", **raw, description="""\
Files of scoreboard or compare as one table, with a column for each kind of CPU (AVX-512; AVX2 only, or limited to
that), or one file of search. A row in more than one file of a kind is taken from the last.

Pictures are SVG: throughput.svg, cycles.svg (TSC Hz / rate), latency.svg, ratios.svg.""")
    one.add_argument("files", nargs="+", metavar="FILE.json")
    one.add_argument("--plot", metavar="DIR", help="write pictures there too")
    one.add_argument("--markdown", action="store_true",
                     help="for a page of documentation, with what it was measured on")
    one.set_defaults(run=run_table)
    return parser


# --- Commands --------------------------------------------------------------------------------------------------------

def selected(args, default):
    chosen = rows.select(args.row, default)
    if not chosen:
        say(f"vnic-bench: no row matches {' or '.join(args.row)}; there are: {' '.join(rows.ROWS)}")
        sys.exit(EXIT_USAGE)
    return chosen


def run_list(args):
    for row in selected(args, rows.ROWS):
        print(f"{row.name:28}{bars_words(row):28}{row.about}".rstrip())
    return EXIT_MEASURED


def bars_words(row):
    """">= 3.3 x testpmd", or with that of another kind of CPU: ">= 3.3 (AVX2: 3) x testpmd"."""
    if not row.bars:
        return ""
    first = row.bars[machine.KINDS[0]]
    others = [f" ({report.KIND_WORDS[kind]}: {bar:g})" for kind, bar in row.bars.items() if bar != first]
    return f"{'>=' if row.better == 'higher' else '<='} {first:g}{''.join(others)} x {row.peer}"


def limit_simd(args):
    """(machine.KINDS' one to be measured, bits that both sides are limited to or None)"""
    kind = machine.kind()
    if not args.simd:
        return kind, None
    if args.simd > machine.SIMD_BITS[kind]:
        raise NotPossible(f"--simd {args.simd}: this CPU has no AVX-512")
    if args.simd == machine.SIMD_BITS[kind]:
        return kind, None
    return "avx2", args.simd


def run_rows(args, chosen, sides_for, command):
    """Measures, writes after each row, prints. Returns the rows' results."""
    kind, bits = limit_simd(args)
    if args.budget is None:
        args.budget = measure.QUICK_BUDGET_S if args.quick else measure.BUDGET_S
    plan = plan_of(args, kind=kind, costs=not args.quick)
    machine.nullguest_path()
    facts = {**machine.facts(plan.cpus), "cpu_kind": kind, "simd_limited": bool(bits)}
    whiches = {which.name: which for row in chosen for which, _ in sides_for(row).values()}
    facts_of = {name: which.facts() for name, which in whiches.items()}

    def sides(row):
        both = sides_for(row)
        for which, _ in both.values():
            which.simd_bits = bits
        return both

    def save(result):
        facts["tsc_hz"] = next((row["tsc_hz"] for row in result.values() if "tsc_hz" in row), None)
        report.write(args.output, command, facts, facts_of,
                     {"budget_s": args.budget, "slice_s": args.slice, "skip_s": plan.skip_s, "starts": args.starts,
                      "warmup_s": args.warmup, "rules": slices.RULES, "rows": result})

    result = measure.measure_rows(chosen, sides, plan, done=save)
    boards = {kind: {**facts, "rows": result}}
    print(report.table(boards))
    print(f"all figures are in {args.output}")
    if args.plot:
        for path in plot.write(boards, args.plot):
            print(path)
    return result


def run_scoreboard(args):
    chosen = selected(args, rows.SCOREBOARD)
    result = run_rows(args, chosen, lambda row: measure.sides_of(row, args.a), "scoreboard")
    counts = report.totals(result)
    print(", ".join(f"{n} {word}" for word, n in counts.items() if n or word == "met"))
    if args.gate and counts["missed"]:
        return EXIT_MISSED
    return EXIT_NOT_MEASURED if counts["not measured"] else EXIT_MEASURED


def run_compare(args):
    chosen = selected(args, rows.STANDARD)
    if args.b:  # a bar is for the row's own peer
        chosen = [dataclasses.replace(row, bars={}) for row in chosen]
    result = run_rows(args, chosen, lambda row: measure.sides_of(row, args.a, args.b), "compare")
    return EXIT_NOT_MEASURED if report.totals(result)["not measured"] else EXIT_MEASURED


def run_search_command(args):
    row = rows.ROWS.get(args.row)
    if not row or not row.searchable:
        say(f"vnic-bench search: --row {args.row}: must be a guest-to-guest row: "
            + " ".join(r.name for r in rows.ROWS.values() if r.searchable))
        return EXIT_USAGE
    if args.server and not args.sockets:
        say("vnic-bench search: --server is for --sockets; a back-end that we start says itself who listens")
        return EXIT_USAGE
    if args.source == "testpmd" and "--imix" in row.guest:
        say("vnic-bench search: --source testpmd sends frames of one size only")
        return EXIT_USAGE
    if args.retries < 0:
        say("vnic-bench search: --retries: not less than 0")
        return EXIT_USAGE
    which = None if args.sockets else args.backend or backends.backend("vnicd")
    cpus = machine.Cpus(args.cpus)
    machine.nullguest_path()
    facts = machine.facts(cpus)
    options = {key: getattr(args, key) for key in ("source", "trial", "confirm", "retries", "precision", "warmup")}
    searches, complaints = [], []
    wanted = (which.HUGEPAGES if which else backends.Backend.HUGEPAGES // 4) + \
        (FRONT_ENDS["virtio-user"].HUGEPAGES if args.source == "testpmd" else 0)
    with machine.hugepages(args.reserve, wanted):
        with search.Stand(which, row.stage, cpus, args.sockets, args.server) as stand:
            for size in args.frame_size or [None]:
                searches.append(search_one(args, row, size, stand, cpus, complaints))
                report.write(args.output, "search", facts, {"a": which.facts() if which else
                             {"spec": args.sockets, "version": "started by the user"}},
                             {"options": options, "noise": complaints, "searches": searches})
    print(report.search_table(searches))
    if any(trial["off_cpu"] and trial["loss"] for one in searches for trial in one["trials"]):
        print("In trials with loss the guests lost their CPU for a millisecond or more: a ring is full long before "
              "that. Give them a CPU of their own (isolcpus, no other programs), or read the partial-drop rates.")
    if complaints:
        print(f"{len(complaints)} disturbances by other programs: not figures to publish")
    print(f"all trials are in {args.output}")
    return EXIT_MEASURED


def search_one(args, row, size, stand, cpus, complaints):
    frame_size = size or ("imix" if "--imix" in row.guest else int(row.option("--frame-size", 64)))
    kind = search.SOURCES[args.source]
    if args.source == "nullguest":
        guest = [word for word in row.guest if size is None or word != "--imix"]
    else:
        guest = [f"queue_size={row.ring_size}" if key.startswith("queue_size") else key
                 for key in rows.VIRTIO_USER[row.layout] if key != "vectorized=1"]  # that takes no less than 8 a turn
    source = kind(stand.sockets, guest, cpus, trial_s=args.trial, warmup_s=args.warmup, listens=stand.listens,
                  frame_len=size or row.option("--frame-size", 1518 if "--imix" in row.guest else 64))
    print(f"{row.name}, {frame_size} B; load in {source.UNIT}")
    print(f"{'load':>10}{'offered Mpps':>14}{'delivered':>12}{'lost':>14}")

    def show(trial, tolerance):
        print(f"{trial.load:10.4g}{trial.offered_mpps:14.4f}{trial.delivered_mpps:12.4f}{100 * trial.loss:12.5f} %  "
              f"{'pass' if trial.passes(tolerance) else 'FAIL'} at {100 * tolerance:g} %"
              + (", the source is at its limit" if trial.limited else "")
              + (f", guests off the CPU {100 * trial.off_cpu:.1f} %" if trial.off_cpu else ""), flush=True)

    try:
        found, trials = search.run_search(
            source, tolerances=args.loss, precision=args.precision, confirm=args.confirm, retries=args.retries,
            high=args.max, before_trial=search.waiter(cpus, args.quiet_wait, args.noisy, complaints), say=show)
    finally:
        source.close()
    return {"row": row.name, "frame_size": frame_size, "unit": source.UNIT,
            "found": [dataclasses.asdict(f) for f in found], "trials": [dataclasses.asdict(t) for t in trials],
            "guest_command": list(map(str, source.command)),
            "backend_command": stand.running.command if stand.running else None}


def run_table(args):
    first = report.read(args.files[0])
    if first["kind"] == "search":
        if len(args.files) > 1 or args.plot:
            say("vnic-bench table: one file of search at a time, and no pictures")
            return EXIT_USAGE
        print(report.search_markdown(first) if args.markdown else report.search_table(first["searches"]))
        return EXIT_MEASURED
    boards = report.read_boards(args.files)
    print(report.markdown(boards) if args.markdown else report.table(boards))
    if args.plot:
        for path in plot.write(boards, args.plot):
            say(path)
    return EXIT_MEASURED


def on_terminate(signum, frame):
    signal.signal(signum, signal.SIG_IGN)
    raise SystemExit(128 + signum)


def end_cleanly():
    """SIGTERM and SIGHUP end us like ^C does: what we have started polls on CPUs that others want, and ends too."""
    if threading.current_thread() is threading.main_thread():
        for signum in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(signum, on_terminate)


def main(argv=None):
    argv = sys.argv[1:] if argv is None else list(argv)
    if argv and argv[0].startswith("-") and argv[0] not in ("-h", "--help"):
        argv.insert(0, "compare")
    args = parser_make().parse_args(argv)
    end_cleanly()
    try:
        status = args.run(args)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_MEASURED
    except (NotPossible, RunFailed, AssertionError, subprocess.SubprocessError, OSError) as why:
        say(f"vnic-bench: {why}")
        return EXIT_NOT_MEASURED
    except ValueError as why:
        say(f"vnic-bench: {why}")
        return EXIT_USAGE
    except KeyboardInterrupt:
        return 130

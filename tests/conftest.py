# SPDX-License-Identifier: BSD-3-Clause
"""What every test gets from pytest: a name, marks, a lane, and an end of all that it has started.

Two workers of pytest-xdist are two lanes: what they start goes to different CPUs (vnictest.cpus), and vnicd to a lower
priority than its guests, for it polls. A class stays in one lane, its cases in order.
"""
import collections
import faulthandler
import fnmatch
import os
import pathlib
import sys
import threading
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "lib"))
import orphans  # noqa: E402
import vnictest  # noqa: E402

SILENCE_S = 30  # then a line says what is running


def pytest_addoption(parser):
    group = parser.getgroup("vnicd")
    group.addoption("--long", action="store_true", default=bool(os.environ.get("VNICD_LONG")),
                    help="also what is marked so, and more of others (VNICD_LONG=1)")
    group.addoption("--only", metavar="PATTERN", action="append", default=[],
                    help="what has this in its name, or matches it as in a shell; may be given more than once")
    group.addoption("--label", default="", help="what names begin with: asan/ where VNICD is built for the sanitizers")


def pytest_configure(config):
    if config.getoption("long"):
        os.environ["VNICD_LONG"] = "1"
        vnictest.LONG = True
    if int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1)) > 1:
        os.environ.setdefault("VNICD_NICE", "5")
        if int(os.environ["PYTEST_XDIST_WORKER"].removeprefix("gw")) % 2:
            os.environ["VNICD_LANE"] = "1"
    orphans.adopt()
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Progress(config), "progress")


def name_of(nodeid, config):
    """e2e/test_config.py Uml.test_link_speed"""
    path, *rest = nodeid.split("::")
    return f"{config.getoption('label')}{path} {'.'.join(rest)}".strip()


# --- which cases, and where ---


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    only, label, long = (config.getoption(key) for key in ("only", "label", "long"))
    named = bool(only) or any("::" in arg for arg in config.args)  # whoever names a case gets it
    kept, left = [], []
    for item in items:
        if (group := item.nodeid.split("/")[0]) in ("hostile", "perf"):
            item.add_marker(group)
        if item.cls and any(base.__name__ == "GuestTest" for base in item.cls.__mro__):
            item.add_marker("guest")
        name = name_of(item.nodeid, config)
        wanted = not only or any(pattern in name or fnmatch.fnmatchcase(name, pattern) for pattern in only)
        if item.get_closest_marker("long_sanitized" if label else "long_plain"):
            item.add_marker("long")
        (kept if wanted and (long or named or not item.get_closest_marker("long")) else left).append(item)
    config.hook.pytest_deselected(items=left)
    items[:] = kept


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    from xdist.scheduler import LoadScopeScheduling

    class Lanes(LoadScopeScheduling):
        def schedule(self):
            """A lane starts with two classes, or knows that there is one only; in the place of a crashed one, too."""
            super().schedule()
            for node in self.nodes:
                self._reschedule(node)

        def remove_node(self, node):
            """A lane has crashed: the case it was in is not tried again."""
            todo = [(unit, nodeid) for unit in self.assigned_work[node].values() for nodeid in unit if not unit[nodeid]]
            for unit, crashed in todo[:1]:
                unit[crashed] = True
            super().remove_node(node)
            return todo[0][1] if todo else None

    return Lanes(config, log)


# --- what is said ---


class Progress:
    """A line for each case, and one when there was none for long."""

    def __init__(self, config):
        self.config = config
        self.running = {}
        self.seconds = collections.Counter()
        self.heard = time.monotonic()

    def pytest_sessionstart(self):
        self.config.pluginmanager.getplugin("terminalreporter").showfspath = False  # our lines have it
        threading.Thread(target=self.watch, daemon=True).start()

    def watch(self):
        while True:
            time.sleep(0.2)
            if self.running and time.monotonic() > self.heard + SILENCE_S:
                self.heard = time.monotonic()
                self.config.get_terminal_writer().line(f"...    {' and '.join(self.running.values())} running")

    def pytest_runtest_logstart(self, nodeid):
        self.running[nodeid] = name_of(nodeid, self.config)

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report, config):
        if config.option.verbose:
            return None
        self.heard = time.monotonic()
        if report.when not in ("setup", "call"):  # teardown, or a crash
            self.running.pop(report.nodeid, None)
        self.seconds[report.nodeid] += getattr(report, "duration", 0)
        if report.passed and report.when != "call":
            return "", "", ""
        why, word, category = "", "ok", report.outcome
        if report.skipped:
            word, why = "skip", report.longrepr[2].removeprefix("Skipped: ")
        elif report.failed:
            word = "FAIL"
            why = getattr(getattr(report.longrepr, "reprcrash", None), "message", str(report.longrepr))
            category = "failed" if report.when == "call" else "error"
        why = f"  ({why.splitlines()[0][:300]})" if why else ""
        return category, f"{word:4} {self.seconds[report.nodeid]:7.2f} s  {name_of(report.nodeid, config)}{why}\n", word


# --- how it ends ---


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item):
    """Where its time limit (pytest-timeout) does not end a case, this ends the lane."""
    limit = item.config.getoption("timeout") or float(item.config.getini("timeout"))
    own = item.get_closest_marker("timeout")
    limit = max(limit, own.args[0]) if own else limit
    faulthandler.dump_traceback_later(limit + 60, exit=True, file=sys.__stderr__)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture(autouse=True, scope="module")
def nothing_is_left():
    yield
    vnictest.tidy()
    if left := orphans.end():
        pytest.fail(f"left behind: {', '.join(left)}", pytrace=False)

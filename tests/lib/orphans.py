# SPDX-License-Identifier: BSD-3-Clause
"""Nothing that a test has started outlives it, not even what its children have started."""
import ctypes
import os
import signal

PR_SET_CHILD_SUBREAPER = 36


def adopt():
    """From here we are the parent of those whose own parent has ended."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children():
    """{process id: (name, state)}"""
    found = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{entry}/stat") as f:
                head, _, rest = f.read().rpartition(") ")
        except OSError:
            continue
        state, parent = rest.split()[:2]
        if int(parent) == os.getpid():
            found[int(entry)] = (head.partition("(")[2], state)
    return found


def end(but=frozenset()):
    """Kill all that we are the parent of, until there is none; the names of those that were alive. but: process ids."""
    names = []
    while found := {pid: child for pid, child in children().items() if pid not in but}:
        for pid, (name, state) in found.items():
            if state != "Z":
                names.append(name)
            try:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            except (ProcessLookupError, ChildProcessError):
                pass
    return names

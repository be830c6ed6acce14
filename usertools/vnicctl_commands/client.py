# SPDX-License-Identifier: BSD-3-Clause
"""The connection to vnicd: where its control socket is, and one call."""
import glob
import json
import os
import socket

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_NO_VNICD = 0, 1, 2, 3


class Trouble(Exception):
    def __init__(self, status, cause, hint=""):
        super().__init__(cause)
        self.status, self.cause, self.hint = status, cause, hint


SYSTEM_DIR = "/run/vnicd"  # of vnicd as root, and as a service


def run_dirs():
    """Where sockets may be, the likeliest first."""
    directory = os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
    if directory:
        return [directory]
    own = os.environ.get("XDG_RUNTIME_DIR") if os.geteuid() else None
    return ([os.path.join(own, "vnicd")] if own else []) + [SYSTEM_DIR]


def find_socket():
    for directory in run_dirs():
        first = os.path.join(directory, "vnicd.ctl")
        if os.path.exists(first):
            return first
        others = sorted(glob.glob(os.path.join(glob.escape(directory), "vnicd-*.ctl")))
        if len(others) == 1:
            return others[0]
        if others:
            raise Trouble(EXIT_NO_VNICD, f"several vnicd run: {', '.join(others)}",
                          "name one: vnicctl --socket PATH ...")
    raise Trouble(EXIT_NO_VNICD, f"no control socket in {' or '.join(run_dirs())}",
                  "start vnicd, or name its socket: vnicctl --socket PATH ...")


class Client:
    def __init__(self, path, timeout):
        self.path = path
        self.last_id = 0
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(timeout)
        try:
            self.sock.connect(path)
        except OSError as error:
            raise Trouble(EXIT_NO_VNICD, f"{path}: {error.strerror or error}",
                          "is vnicd running, and may you write to its socket?") from None
        self.lines = self.sock.makefile("rb")

    def call(self, method, params=None):
        self.last_id += 1
        request = {"jsonrpc": "2.0", "id": self.last_id, "method": method}
        if params is not None:
            request["params"] = params
        try:
            self.sock.sendall(json.dumps(request).encode() + b"\n")
            line = self.lines.readline()
        except OSError as error:
            raise Trouble(EXIT_NO_VNICD, f"{self.path}: {error.strerror or error}", "is vnicd still there?") from None
        if not line:
            raise Trouble(EXIT_NO_VNICD, f"{self.path}: vnicd closed the connection", "is vnicd still there?")
        try:
            reply = json.loads(line)
        except ValueError:
            raise Trouble(EXIT_NO_VNICD, f"{self.path}: what answers there is not vnicd",
                          "name vnicd's socket: vnicctl --socket PATH ...") from None
        if "error" in reply:
            data = reply["error"].get("data") or {}
            raise Trouble(EXIT_FAILED, data.get("cause") or reply["error"].get("message", "refused"),
                          data.get("hint", ""))
        return reply["result"]

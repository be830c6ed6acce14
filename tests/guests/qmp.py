# SPDX-License-Identifier: BSD-3-Clause
"""QEMU's machine protocol."""
import json
import socket
import time


class Qmp:
    """A line of JSON each way; events are kept until somebody waits for them. Called with a command and its arguments, in which
    an underscore is a hyphen."""

    def __init__(self, path, timeout=60):
        """Waits for QEMU to listen. timeout: for that, and of each answer; seconds."""
        deadline = time.monotonic() + timeout
        while True:
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                self.sock.connect(path)
                break
            except OSError:
                self.sock.close()
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        self.sock.settimeout(timeout)
        self.file = self.sock.makefile("r")
        self.events = []
        self.file.readline()
        self("qmp_capabilities")

    def close(self):
        self.file.close()
        self.sock.close()

    def __call__(self, execute, **arguments):
        arguments = {name.replace("_", "-"): value for name, value in arguments.items()}
        self.sock.sendall(json.dumps({"execute": execute, "arguments": arguments}).encode() + b"\n")
        while True:
            answer = self._line(execute)
            if "error" in answer:
                raise AssertionError(f"{execute} {arguments}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]
            self.events.append(answer)

    def _line(self, waits_for):
        line = self.file.readline()
        if not line:
            raise AssertionError(f"{waits_for}: QEMU has gone")
        return json.loads(line)

    def hmp(self, line):
        """A command that is there for people only; it succeeds in silence."""
        output = self("human-monitor-command", command_line=line).strip()
        if output:
            raise AssertionError(f"{line}: {output}")

    def wait(self, command, wanted, timeout=60, never=()):
        """Ask until the status is `wanted`; fails at once when it is one of `never`. Returns the last answer."""
        deadline = time.monotonic() + timeout
        while True:
            answer = self(command)
            status = answer.get("status")
            if status == wanted:
                return answer
            if status in never or time.monotonic() > deadline:
                raise AssertionError(f"{command}: {answer}, never {wanted!r}")
            time.sleep(0.02)

    def wait_event(self, name, device, timeout=20):
        """The event of that name about the device: one that has come, or comes."""
        self.sock.settimeout(timeout)
        while True:
            for event in self.events:
                if event["event"] == name and event["data"].get("device") == device:
                    self.events.remove(event)
                    return
            self.events.append(self._line(name))

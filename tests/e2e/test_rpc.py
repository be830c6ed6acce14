#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The control socket: every method, every kind of error, clients that misbehave; and vnicctl."""
import importlib
import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import time
import unittest
import unittest.mock

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
import vnictest  # noqa: E402
from vnictest import ROOT, Proc, RpcError, Vnicd, tmpdir  # noqa: E402

VNICCTL = str(ROOT / "usertools/vnicctl")
CYCLES = 100
PARSE_ERROR, INVALID_REQUEST, NO_METHOD, INVALID_PARAMS, FAILED = -32700, -32600, -32601, -32602, -32000


class Raw:
    """A client that sends what it likes."""

    def __init__(self, path, timeout=5):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(timeout)
        self.sock.connect(path)
        self.lines = self.sock.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.lines.close()
        self.sock.close()

    def send(self, data):
        self.sock.sendall(data if isinstance(data, bytes) else data.encode())

    def reply(self):
        line = self.lines.readline()
        return json.loads(line) if line else None

    def ask(self, data):
        self.send(data)
        return self.reply()

    def silent(self, seconds=0.3):
        """Nothing comes. (Ends the use of `lines`: a timeout leaves it in a state of its own.)"""
        self.sock.settimeout(seconds)
        try:
            return self.sock.recv(1) is None
        except TimeoutError:
            return True


def request(method, params=None, ident=1):
    message = {"jsonrpc": "2.0", "method": method}
    if ident is not None:
        message["id"] = ident
    if params is not None:
        message["params"] = params
    return json.dumps(message) + "\n"


def n_fds(pid):
    """Open descriptors, once connections that were just closed are closed at the other end too."""
    def count():
        return len(os.listdir(f"/proc/{pid}/fd"))
    last, since = count(), time.monotonic()
    deadline = since + 5
    while time.monotonic() - since < 0.3 and time.monotonic() < deadline:
        time.sleep(0.02)
        now = count()
        if now != last:
            last, since = now, time.monotonic()
    return last


class OneVnicd(unittest.TestCase):
    """All tests of a class share one vnicd, which has to survive them all."""

    ports = {"vm0": "vhost-user", "vm1": "vhost-user,queues=2"}
    mode = "io"

    @classmethod
    def setUpClass(cls):
        cls.vnicd = Vnicd(cls.ports, cls.mode)

    @classmethod
    def tearDownClass(cls):
        code = cls.vnicd.stop()
        left = [p for p in os.listdir(cls.vnicd.run_dir) if p != "dpdk"]
        if code != 0 or left:
            raise AssertionError(f"exit status {code}, left: {left}\n{cls.vnicd.output}")

    def raw(self):
        return Raw(self.vnicd.control)

    def refused(self, code, method, params=None):
        with self.assertRaises(RpcError) as caught:
            self.vnicd.rpc(method, params)
        error = caught.exception.error
        self.check_error(error, code)
        return error["data"]

    def check_error(self, error, code):
        self.assertEqual(error["code"], code, error)
        self.assertTrue(error["message"])
        self.assertEqual(error["data"]["cause"], error["message"])
        self.assertTrue(error["data"]["hint"])


class Methods(OneVnicd):
    def test_port_list(self):
        ports = self.vnicd.rpc("port.list")
        self.assertEqual([p["name"] for p in ports], ["vm0", "vm1"])
        self.assertEqual([p["queues"] for p in ports], [1, 2])
        for port in ports:
            self.assertEqual(port["kind"], "vhost-user")
            self.assertRegex(port["mac"], r"^([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}$")
            self.assertIn(port["name"] + ".sock", port["describe"])
            self.assertEqual(len(port["workers"]), port["queues"])
            self.assertEqual((port["connected"], port["guest_mac"], port["link"]), (False, None, "up"))
            self.assertTrue(all(w == 0 for w in port["workers"]))

    def test_stats_get(self):
        stats = self.vnicd.rpc("stats.get")
        self.assertAlmostEqual(stats["time"], time.time(), delta=60)
        self.assertEqual(list(stats["ports"]), ["vm0", "vm1"])
        none = {"rx_packets": 0, "rx_bytes": 0, "tx_packets": 0, "tx_bytes": 0, "drops": {}}
        self.assertEqual(stats["ports"]["vm0"], none)
        self.assertEqual(stats["ports"]["vm1"], dict(none, queues=[none, none]))

    def test_stats_get_one(self):
        self.assertEqual(list(self.vnicd.rpc("stats.get", {"name": "vm1"})["ports"]), ["vm1"])
        self.assertIn("vm7", self.refused(FAILED, "stats.get", {"name": "vm7"})["cause"])

    def test_stats_describe(self):
        """Each counter that is shown is described, and each that is always shown is there."""
        classes = {c["class"]: c["counters"] for c in self.vnicd.rpc("stats.describe")}
        self.assertTrue(all(c["help"] and c["unit"] and c["direction"] for rows in classes.values() for c in rows))
        shown = {"port": self.vnicd.stats()["vm0"], "worker": self.vnicd.rpc("system.info")["workers"][0],
                 "controlq": self.vnicd.rpc("guest.show", {"name": "vm0"})["controlq"]}
        self.assertLess(set(shown), set(classes))
        for name, counters in shown.items():
            with self.subTest(name):
                self.assertEqual([c["name"] for c in classes[name] if c["always"]],
                                 [c["name"] for c in classes[name] if c["name"] in counters])
        self.assertIn("no_buffer", [c["name"] for c in classes["drops"]])
        self.assertIn("turns", [c["name"] for c in classes["worker"]])

    def test_system_info(self):
        info = self.vnicd.rpc("system.info")
        self.assertEqual(info["pid"], self.vnicd.pid)
        self.assertEqual((info["mode"], info["forward_mode"]), ("io", "io"))
        self.assertEqual(info["control_socket"], self.vnicd.control)
        self.assertRegex(info["version"], r"^\d+\.\d+\.\d+$")
        self.assertEqual(self.vnicd.rpc("system.version"), {"program": info["version"], "api": info["api"]})
        self.assertEqual(info["api"], {"major": 1, "minor": 6})
        self.assertGreaterEqual(info["pool"]["size"], 8191)
        self.assertLess(info["pool"]["in_use"], info["pool"]["size"])
        self.assertEqual(info["pool"]["waiting"], [])
        again, deadline = info, time.monotonic() + 5
        while again["workers"][0]["turns"] == info["workers"][0]["turns"] and time.monotonic() < deadline:
            time.sleep(0.05)
            again = self.vnicd.rpc("system.info")
        self.assertEqual(len(info["workers"]), 1)
        self.assertEqual(info["workers"][0]["queues"], 3)
        self.assertEqual(info["workers"][0]["cpus"], [vnictest.cpus()[0]])
        self.assertEqual(info["main_cpus"], [vnictest.cpus()[-1]])
        self.assertGreater(again["workers"][0]["turns"], info["workers"][0]["turns"])

    def test_rpc_list(self):
        methods = {m["name"]: m for m in self.vnicd.rpc("rpc.list")}
        self.assertLessEqual({"port.add", "port.remove", "port.list", "stats.get", "system.info", "rpc.list"},
                             set(methods))
        self.assertTrue(all(m["help"] for m in methods.values()))
        self.assertTrue(methods["port.add"]["params"]["config"]["required"])
        self.assertFalse(methods["stats.get"]["params"]["name"]["required"])

    def test_port_add_and_remove(self):
        port = self.vnicd.rpc("port.add", {"config": "vm2=vhost-user,queues=4"})
        self.assertEqual((port["name"], port["queues"]), ("vm2", 4))
        self.assertTrue(os.path.exists(self.vnicd.sock("vm2")))
        # io without a peer is allowed for a time
        self.assertEqual([p["name"] for p in self.vnicd.rpc("port.list")], ["vm0", "vm1", "vm2"])
        self.assertEqual(list(self.vnicd.stats()), ["vm0", "vm1", "vm2"])
        self.vnicd.rpc("port.remove", {"name": "vm2"})
        self.assertFalse(os.path.exists(self.vnicd.sock("vm2")))
        self.assertEqual([p["name"] for p in self.vnicd.rpc("port.list")], ["vm0", "vm1"])

    def test_port_show(self):
        line = "vm2=vhost-user,queues=2,speed=10gbit,without=host_tso4+ring_packed"
        self.vnicd.rpc("port.add", {"config": line.replace("host_tso4+ring_packed", "ring_packed+host_tso4")})
        self.addCleanup(self.vnicd.rpc, "port.remove", {"name": "vm2"})
        port = self.vnicd.rpc("port.show", {"name": "vm2"})
        self.assertEqual(port["config"], line, "as it can be given again")
        self.assertEqual(port["capabilities"], [], "no driver yet")
        options = port["options"]
        self.assertEqual((options["queues"], options["mode"], options["standby"]), (2, "server", False))
        self.assertEqual(options["without"], ["host_tso4", "ring_packed"])
        self.assertNotIn("mtu", options, "neither given nor a default")
        listed = [p for p in self.vnicd.rpc("port.list") if p["name"] == "vm2"]
        self.assertEqual(listed, [{k: v for k, v in port.items() if k != "options"}])
        self.assertIn("vm3", self.refused(FAILED, "port.show", {"name": "vm3"})["cause"])

    def test_port_add_refused(self):
        before = self.vnicd.rpc("port.list")
        for config, word in (("vm0=vhost-user,path=/tmp/vnicd-other.sock", "vm0"), ("vm9=vhost-usr", "vhost-usr"),
                             ("vm9=vhost-user,queus=1", "queus"), ("vm9", "vm9"), ("", ""),
                             ("vm9=vhost-user,queues=1000", "1000"),
                             (f"vm9=vhost-user,path={self.vnicd.sock('vm0')}", "vm0"),
                             (f"vm9=vhost-user,path={self.vnicd.control}", "vnicd.ctl"),
                             ("vm9=vhost-user,path=/nowhere/at/all.sock", "all.sock"),
                             ("vm9=nic,dev=net_nothing7", "net_nothing7")):
            with self.subTest(config):
                self.assertIn(word, self.refused(FAILED, "port.add", {"config": config})["cause"])
        self.assertEqual(self.vnicd.rpc("port.list"), before)

    def test_port_remove_refused(self):
        data = self.refused(FAILED, "port.remove", {"name": "vm00"})
        self.assertIn("vm00", data["cause"])
        self.assertIn('"vm0"', data["hint"])

    def test_too_many_queue_pairs(self):
        """A worker serves 512 pairs; the port that would be one too many leaves nothing behind."""
        for i in range(3):
            self.vnicd.rpc("port.add", {"config": f"big{i}=vhost-user,queues=128"})
        self.vnicd.rpc("port.add", {"config": "fits=vhost-user,queues=125"})
        data = self.refused(FAILED, "port.add", {"config": "last=vhost-user"})
        self.assertIn("512", data["cause"])
        self.assertFalse(os.path.exists(self.vnicd.sock("last")))
        for name in ("big0", "big1", "big2", "fits"):
            self.vnicd.rpc("port.remove", {"name": name})
        self.assertEqual(len(self.vnicd.rpc("port.list")), 2)


class Protocol(OneVnicd):
    def test_unknown_method(self):
        self.assertIn("port.list", self.refused(NO_METHOD, "port.lst")["hint"])

    def test_params(self):
        for params in ({}, {"nane": "vm0"}, {"name": 1}, {"name": None}, ["vm0"], {"name": "a", "more": "b"},
                       {"name": "vm0\0"}, "vm0", 7):
            with self.subTest(params):
                self.assertIn("port.remove", self.refused(INVALID_PARAMS, "port.remove", params)["hint"])
        self.assertIn("no parameters", self.refused(INVALID_PARAMS, "port.list", {"x": "y"})["hint"])

    def test_null_params_are_no_object(self):
        with self.raw() as raw:
            self.check_error(raw.ask('{"jsonrpc":"2.0","id":1,"method":"port.list","params":null}\n')["error"],
                             INVALID_PARAMS)

    def test_ids_come_back(self):
        with self.raw() as raw:
            for ident in (7, 0, -1, "seven", "", 1.5, None, "\u00e9\u4e16"):
                reply = raw.ask(request("rpc.list", None, 0).replace('"id": 0', f'"id": {json.dumps(ident)}'))
                self.assertEqual(reply["id"], ident)
                self.assertIn("result", reply)

    def test_invalid_requests(self):
        with self.raw() as raw:
            for text in ("1", '"x"', "null", "true", "{}", "[]", '{"jsonrpc":"1.0","id":1,"method":"rpc.list"}',
                         '{"jsonrpc":"2.0","id":1}', '{"jsonrpc":"2.0","id":1,"method":1}',
                         '{"jsonrpc":"2.0","id":{},"method":"rpc.list"}', '{"id":1,"method":"rpc.list"}'):
                with self.subTest(text):
                    self.check_error(raw.ask(text + "\n")["error"], INVALID_REQUEST)

    def test_garbage(self):
        """A parse error a line, and the connection goes on."""
        with self.raw() as raw:
            for text in (b"hello", b"{", b'{"jsonrpc":', b'"open', b"}", b"]]]]", b'{"a":1}}', b"\xff\xfe\xfd", b"\0\0",
                         b"{]", b'{"a":1,"a":2}', b"[" * 10000, b'{"x":"\xff"}', b"GET / HTTP/1.1"):
                with self.subTest(text[:20]):
                    raw.send(text + b"\n")
                    reply = raw.reply()
                    if text == b'{"a":1}}':  # an object that is no request, then the rest of the line
                        self.check_error(reply["error"], INVALID_REQUEST)
                        reply = raw.reply()
                    self.check_error(reply["error"], PARSE_ERROR)
                    self.assertIsNone(reply["id"])
            self.assertIn("result", raw.ask(request("port.list")))

    def test_batch(self):
        with self.raw() as raw:
            replies = raw.ask(json.dumps([
                {"jsonrpc": "2.0", "id": 1, "method": "port.list"},
                {"jsonrpc": "2.0", "method": "port.list"},
                {"jsonrpc": "2.0", "id": 2, "method": "no.such"},
                17,
                {"jsonrpc": "2.0", "id": 3, "method": "stats.get", "params": {"name": "vm0"}},
            ]) + "\n")
            self.assertEqual([r["id"] for r in replies], [1, 2, None, 3])
            self.assertEqual([r.get("error", {}).get("code") for r in replies],
                             [None, NO_METHOD, INVALID_REQUEST, None])
            self.assertEqual(list(replies[3]["result"]["ports"]), ["vm0"])

    def test_batch_limits(self):
        one = {"jsonrpc": "2.0", "id": 1, "method": "stats.get"}
        with self.raw() as raw:
            self.assertEqual(len(raw.ask(json.dumps([one] * 1024) + "\n")), 1024)
            self.check_error(raw.ask(json.dumps([one] * 1025) + "\n")["error"], INVALID_REQUEST)

    def test_notifications_have_no_reply(self):
        with self.raw() as raw:
            raw.send(request("port.list", ident=None) + request("no.such", ident=None)
                     + request("port.remove", {}, ident=None)
                     + json.dumps([{"jsonrpc": "2.0", "method": "port.list"}] * 3) + "\n")
            self.assertEqual(raw.ask(request("rpc.list", ident="after"))["id"], "after")
            raw.send(request("port.list", ident=None))
            self.assertTrue(raw.silent())

    def test_framing(self):
        """One text a line; or several on one; or no newline; or byte by byte; with blank lines between."""
        with self.raw() as raw:
            raw.send((request("rpc.list", ident=1).strip() + request("rpc.list", ident=2).strip()
                      + "  " + request("rpc.list", ident=3).strip()))
            self.assertEqual([raw.reply()["id"] for _ in range(3)], [1, 2, 3])
            raw.send("\r\n\n  \n")
            for byte in request("stats.get", {"name": "vm0"}, ident='}"\\{'):
                raw.send(byte)
            self.assertEqual(raw.reply()["id"], '}"\\{')

    def test_half_closed(self):
        """A client that has said all it has to say still gets its replies."""
        with self.raw() as raw:
            raw.send(request("rpc.list", ident=1) + request("rpc.list", ident=2))
            raw.sock.shutdown(socket.SHUT_WR)
            self.assertEqual([raw.reply()["id"] for _ in range(2)], [1, 2])
            self.assertIsNone(raw.reply())
        with self.raw() as raw:
            raw.send('{"jsonrpc": "2.0"')
            raw.sock.shutdown(socket.SHUT_WR)
            self.check_error(raw.reply()["error"], PARSE_ERROR)
            self.assertIsNone(raw.reply())

    def test_giant_request(self):
        with self.raw() as raw:
            raw.send(b'{"jsonrpc":"2.0","id":1,"method":"' + b"x" * (3 << 20) + b'"}\n')
            reply = raw.reply()
            self.check_error(reply["error"], INVALID_REQUEST)
            self.assertIn("1048576", reply["error"]["message"])
            self.assertIn("result", raw.ask(request("port.list")))

    def test_giant_line_of_nothing(self):
        with self.raw() as raw:
            raw.send(b" " * (2 << 20) + b"\n")
            self.check_error(raw.reply()["error"], INVALID_REQUEST)
            self.assertIn("result", raw.ask(request("port.list")))

    def test_large_request_that_fits(self):
        with self.raw() as raw:
            reply = raw.ask(request("stats.get", {"name": "x" * 900000}))
            self.check_error(reply["error"], FAILED)
            self.assertLess(len(reply["error"]["message"]), 1000)

    def test_method_name_cut_in_a_character(self):
        with self.raw() as raw:
            self.check_error(raw.ask(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "x" + "\u4e16" * 40},
                                                ensure_ascii=False).encode() + b"\n")["error"], NO_METHOD)


class Clients(OneVnicd):
    def test_several(self):
        clients = [self.raw() for _ in range(20)]
        for i, client in enumerate(clients):
            client.send(request("port.list", ident=i))
        for i, client in enumerate(clients):
            self.assertEqual(client.reply()["id"], i)
            client.__exit__()

    def test_too_many(self):
        clients = [self.raw() for _ in range(64)]
        self.assertIn("result", clients[-1].ask(request("port.list")))
        with self.raw() as one_more:
            self.check_error(one_more.reply()["error"], FAILED)
            self.assertIsNone(one_more.reply())
        self.assertIn("result", clients[0].ask(request("port.list")))
        for client in clients:
            client.__exit__()
        with self.raw() as raw:
            self.assertIn("result", raw.ask(request("port.list")))

    @pytest.mark.long   # ten seconds of waiting
    def test_slow_reader_is_dropped(self):
        """It sends and never reads: dropped, while others are served at once."""
        before = n_fds(self.vnicd.pid)
        mark = self.vnicd.mark()
        slow = self.raw()
        slow.sock.settimeout(1)
        sent = 0
        data = request("rpc.list").encode() * 1000
        try:
            while sent < 200 << 20:
                sent += slow.sock.send(data)
        except (TimeoutError, BrokenPipeError, ConnectionResetError):
            pass
        self.assertLess(sent, 200 << 20, "it was read without end")
        start = time.monotonic()
        self.vnicd.rpc("port.list")
        self.assertLess(time.monotonic() - start, 5)
        self.vnicd.expect(r"dropped a client that does not read", 20, since=mark)
        slow.__exit__()
        self.assertEqual(n_fds(self.vnicd.pid), before)

    def test_slow_reader_that_reads_after_all(self):
        with self.raw() as raw:
            n = 1000
            data = b"".join(request("rpc.list", ident=i).encode() for i in range(n))
            raw.sock.settimeout(20)
            raw.sock.setblocking(False)
            sent, got = 0, b""
            deadline = time.monotonic() + 20
            while got.count(b"\n") < n and time.monotonic() < deadline:
                try:
                    sent += raw.sock.send(data[sent:sent + 65536]) if sent < len(data) else 0
                except BlockingIOError:
                    pass
                try:
                    got += raw.sock.recv(65536)
                except BlockingIOError:
                    time.sleep(0.001)
            self.assertEqual([json.loads(line)["id"] for line in got.splitlines()], list(range(n)))

    def test_gone_without_a_word(self):
        before = n_fds(self.vnicd.pid)
        for i in range(200):
            raw = self.raw()
            if i % 2:
                raw.send(request("rpc.list") * 20)
            raw.__exit__()
            if i % 50 == 49:
                self.vnicd.rpc("port.list")  # so that the queue of connections does not overflow
        self.vnicd.rpc("port.list")
        self.assertEqual(n_fds(self.vnicd.pid), before)


class Cycles(OneVnicd):
    mode = "switch"

    def test_add_and_remove(self):
        """Nothing is lost on the way: no descriptor, no packet buffer, no frame on its way to the port."""
        def cycle(i):
            self.vnicd.rpc("port.add", {"config": f"hot{i}=vhost-user,queues={1 + i % 4}"})
            self.vnicd.rpc("port.remove", {"name": f"hot{i}"})
        cycle(0)  # what is allocated on first use
        fds = n_fds(self.vnicd.pid)
        info = self.vnicd.rpc("system.info")
        start = time.monotonic()
        for i in range(CYCLES):
            cycle(i)
        seconds = time.monotonic() - start
        print(f"\n{CYCLES} port.add and port.remove: {seconds:.2f} s", file=sys.stderr)
        after = self.vnicd.rpc("system.info")
        self.assertEqual(n_fds(self.vnicd.pid), fds)
        self.assertEqual(after["pool"], info["pool"])
        self.assertEqual([w["lost"] for w in after["workers"]], [0])
        self.assertEqual([p["name"] for p in self.vnicd.rpc("port.list")], ["vm0", "vm1"])

    def test_down_to_none(self):
        """A running vnicd may be without ports for a time."""
        for name in ("vm0", "vm1"):
            self.vnicd.rpc("port.remove", {"name": name})
        self.assertEqual(self.vnicd.rpc("port.list"), [])
        self.assertEqual(self.vnicd.stats(), {})
        self.assertIn("port.add", self.refused(FAILED, "port.remove", {"name": "vm0"})["hint"])
        for name, spec in self.ports.items():
            self.vnicd.rpc("port.add", {"config": f"{name}={spec}"})


class UnderTraffic(unittest.TestCase):
    def test_add_and_remove(self):
        """Ports come and go while a NIC floods; all frames are accounted for, none is lost on a handoff ring."""
        cpus = vnictest.cpus()
        eal = ["--lcores", f"0@{cpus[-1]},1@{cpus[0]},2@{cpus[-1]}", "--no-pci", "--no-huge", "-m", "256", "--no-shconf",
               "--vdev", "net_null0,size=64", "--vdev", "net_null1,size=64"]
        vnicd = Vnicd({"n0": "nic,dev=net_null0", "vm0": "vhost-user", "n1": "nic,dev=net_null1",
                       "vm1": "vhost-user"}, "switch", eal=eal)
        workers = {w for p in vnicd.rpc("port.list") for w in p["workers"]}
        self.assertEqual(workers, {0, 1}, "both workers own something, so frames travel between them")
        before = vnicd.wait_stats(lambda ports: ports["n0"]["rx_packets"] > 1000)
        for i in range(20):
            vnicd.rpc("port.add", {"config": f"hot{i}=vhost-user,queues=2"})
            vnicd.rpc("port.remove", {"name": f"hot{i}"})
        after = vnicd.stats()
        self.assertGreater(after["n0"]["rx_packets"], before["n0"]["rx_packets"])
        self.assertEqual([w["lost"] for w in vnicd.rpc("system.info")["workers"]], [0, 0])
        self.assertEqual(vnicd.stop(20), 0)


class Vnicctl(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.vnicd = Vnicd({"vm0": "vhost-user", "vm1": "vhost-user"}, "switch")

    @classmethod
    def tearDownClass(cls):
        cls.vnicd.stop()

    def ctl(self, *args, run_dir=None, **kwargs):
        return subprocess.run(["/usr/bin/python3", VNICCTL, *args], capture_output=True, text=True, timeout=20,
                              env=dict(os.environ, RUNTIME_DIRECTORY=run_dir or self.vnicd.run_dir), **kwargs)

    def ok(self, *args):
        done = self.ctl(*args)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout

    def test_ports(self):
        self.assertRegex(self.ok("port", "add", "vm2=vhost-user,queues=2"), r"^vm2: .*vm2\.sock, 2 queue pairs")
        table = self.ok("port", "list").splitlines()
        self.assertEqual(table[0].split()[:2], ["name", "kind"])
        self.assertEqual([line.split()[0] for line in table[1:]], ["vm0", "vm1", "vm2"])
        self.assertEqual([p["name"] for p in json.loads(self.ok("port", "list", "--json"))], ["vm0", "vm1", "vm2"])
        self.assertEqual(self.ok("port", "remove", "vm2"), "vm2: removed\n")

    def test_stats(self):
        self.assertRegex(self.ok("stats"), r"^port +rx packets +rx bytes")
        self.assertEqual(list(json.loads(self.ok("stats", "--json"))["ports"]), ["vm0", "vm1"])
        self.assertEqual(list(json.loads(self.ok("--json", "stats", "vm1"))["ports"]), ["vm1"])

    def test_stats_of_queue_pairs(self):
        self.ok("port", "add", "vm2=vhost-user,queues=3")
        self.addCleanup(self.ok, "port", "remove", "vm2")
        for args in (("stats", "--queues"), ("stats", "vm2", "--queues")):
            names = [line.split("  ")[0] if line[0] != " " else line.strip().split("  ")[0]
                     for line in self.ok(*args).splitlines()]
            self.assertEqual(names[names.index("vm2"):], ["vm2", "pair 0", "pair 1", "pair 2"], "one line a pair")
            self.assertEqual(len([name for name in names if name.startswith("pair")]), 3, "none for ports with one")
        self.assertNotIn("pair", self.ok("stats"))
        proc = Proc(["/usr/bin/python3", VNICCTL, "stats", "vm2", "--queues", "--watch", "0.1"],
                    env={"RUNTIME_DIRECTORY": self.vnicd.run_dir})
        proc.expect(r"^port .*bit/s", 10)
        proc.expect(r"^  pair 2 +0 +0 +0 ", 10)
        self.assertEqual(proc.stop(sig=2), 0)

    def test_stats_describe(self):
        text = self.ok("stats", "--describe")
        for one in json.loads(self.ok("stats", "--describe", "--json")):
            self.assertIn(f"{one['class']}: {one['help']}\n", text)
            for counter in one["counters"]:
                self.assertRegex(text, rf"(?m)^  {counter['name']} +{counter['unit']} .* {re.escape(counter['help'])}$")

    @staticmethod
    def module(name):
        bytecode, sys.dont_write_bytecode = sys.dont_write_bytecode, True
        sys.path.insert(0, str(ROOT / "usertools"))
        try:
            return importlib.import_module(f"vnicctl_commands.{name}")
        finally:
            sys.path.pop(0)
            sys.dont_write_bytecode = bytecode

    def test_where_sockets_are(self):
        """An operator who is not root finds the vnicd of the machine, when he has none of his own."""
        ctl, own, system = self.module("client"), tmpdir(), tmpdir()
        os.mkdir(f"{own}/vnicd")
        with unittest.mock.patch.dict(os.environ, XDG_RUNTIME_DIR=own), unittest.mock.patch("os.geteuid", lambda: 1000), \
                unittest.mock.patch.object(ctl, "SYSTEM_DIR", system):
            os.environ.pop("RUNTIME_DIRECTORY", None)
            with self.assertRaisesRegex(ctl.Trouble, f"no control socket in {own}/vnicd or {system}"):
                ctl.find_socket()
            for directory in (system, f"{own}/vnicd"):
                path = pathlib.Path(directory, "vnicd.ctl")
                path.touch()
                self.assertEqual(ctl.find_socket(), str(path))

    def test_stats_of_counters_to_come(self):
        """What a later vnicd counts is shown, too."""
        ctl = self.module("stats")
        none = dict.fromkeys(("rx_packets", "rx_bytes", "tx_packets", "tx_bytes"), 0)
        row = ctl.counters_row("vm0", dict(none, mirrored=7, unused=0, drops={"policed": 3}, device={"crc": 2, "x": 0}), None,
                               None)
        self.assertEqual(row[-2:], [3, "policed 3; mirrored 7; device: crc 2"])

    def test_stats_watch(self):
        proc = Proc(["/usr/bin/python3", VNICCTL, "stats", "--watch", "0.2"],
                    env={"RUNTIME_DIRECTORY": self.vnicd.run_dir})
        proc.expect(r"^port .*bit/s", 10)
        self.assertEqual(proc.stop(sig=2), 0)

    def test_info_and_call(self):
        self.assertRegex(self.ok("info"), rf"pid {self.vnicd.pid}, mode switch")
        self.assertIn("port.add", [m["name"] for m in json.loads(self.ok("call", "rpc.list"))])
        self.assertEqual(list(json.loads(self.ok("call", "stats.get", '{"name": "vm0"}'))["ports"]), ["vm0"])

    def test_help(self):
        text = self.ok("--help")
        for word in ("port", "stats", "info", "call", "examples:", "exit status"):
            self.assertIn(word, text)

    def test_refused(self):
        done = self.ctl("port", "remove", "vmO")
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        cause, hint = done.stderr.splitlines()
        self.assertRegex(cause, r'^vnicctl: no port "vmO"')
        self.assertRegex(hint, r'^  did you mean "vm0"')

    def test_usage(self):
        for args in ((), ("prot",), ("port",), ("port", "add"), ("stats", "--watch", "x"), ("call", "a", "{")):
            with self.subTest(args):
                self.assertEqual(self.ctl(*args).returncode, 2)

    def test_nobody_there(self):
        empty = tmpdir()
        done = self.ctl("info", run_dir=empty)
        self.assertEqual((done.returncode, len(done.stderr.splitlines())), (3, 2), done.stderr)
        self.assertEqual(self.ctl("--socket", "/nowhere.ctl", "info").returncode, 3)
        stale = os.path.join(empty, "vnicd.ctl")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.bind(stale)
        self.assertEqual(self.ctl("info", run_dir=empty).returncode, 3)

    def test_finds_the_only_other(self):
        other = tmpdir()
        os.symlink(self.vnicd.control, os.path.join(other, "vnicd-77.ctl"))
        self.assertEqual(self.ctl("info", run_dir=other).returncode, 0)
        os.symlink(self.vnicd.control, os.path.join(other, "vnicd-78.ctl"))
        done = self.ctl("info", run_dir=other)
        self.assertEqual(done.returncode, 3)
        self.assertIn("several vnicd", done.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)

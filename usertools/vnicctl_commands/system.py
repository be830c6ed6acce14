# SPDX-License-Identifier: BSD-3-Clause
"""vnicctl info and call: the program as a whole, and any method."""
import json

from .client import EXIT_USAGE, Trouble
from .text import print_json, table

EXAMPLES = """\
  vnicctl info                               version, lcores, packet buffers
  vnicctl call rpc.list                      any method, with raw JSON
"""


def cpus(numbers):
    return ",".join(str(n) for n in numbers)


def info(client, args):
    result = client.call("system.info")
    if args.json:
        print_json(result)
        return
    pool = result["pool"]
    print(f"vnicd {result['version']} ({result['dpdk']}), pid {result['pid']}, mode {result['forward_mode']}, "
          f"ISA variant {result['isa']}")
    print(f"control  {result['control_socket']}, lcore {result['main_lcore']} on CPU {cpus(result['main_cpus'])}")
    print(f"picked   {result['picked']}")
    print(f"pool     {pool['in_use']} of {pool['size']} packet buffers in use")
    for waiting in pool["waiting"]:
        print(f"         {waiting['out']} of {waiting['size']} of port {waiting['port']}, which is gone, are not back yet")
    table(["worker", "lcore", "cpu", "queue pairs", "turns", "busy turns"],
          [[w["idx"], w["lcore"], cpus(w["cpus"]), w["queues"], w["turns"], w["busy_turns"]] for w in result["workers"]],
          right={0, 1, 2, 3, 4, 5})
    for worker in result["workers"]:
        still = worker["stands_still"]
        if still:
            where = f"in the driver of port {still['port']}, queue {still['queue']}" if still["port"] else \
                "in no port's driver"
            print(f"worker {worker['idx']} stands still for {still['seconds']:.1f} s, {where}")


def call(client, args):
    params = None
    if args.params is not None:
        try:
            params = json.loads(args.params)
        except ValueError as error:
            raise Trouble(EXIT_USAGE, f"not JSON: {args.params} ({error})",
                          "for example: vnicctl call stats.get '{\"name\": \"vm0\"}'") from None
    print_json(client.call(args.method, params))


def add(verbs, common):
    verbs.add_parser("info", parents=[common], help="version, lcores, packet buffers").set_defaults(run=info)
    raw = verbs.add_parser("call", parents=[common], help="any method; raw JSON in and out")
    raw.add_argument("method", metavar="METHOD")
    raw.add_argument("params", metavar="JSON", nargs="?", help="an object of parameters")
    raw.set_defaults(run=call)

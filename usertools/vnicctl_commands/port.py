# SPDX-License-Identifier: BSD-3-Clause
"""vnicctl port: ports come, go and change."""
from .client import EXIT_USAGE, Trouble
from .text import print_json, print_tree, table

EXAMPLES = """\
  vnicctl port add vm2=vhost-user,queues=2   a new port, while the others forward
  vnicctl port list                          ports, their queue pairs and sockets
  vnicctl port show vm0                      its options, and what it is capable of
  vnicctl port remove vm2
  vnicctl port set vm0 link=down             the guest sees its cable pulled
  vnicctl port set vm0 police-in=100mbit     it may send that much; police-in=0 ends it
  vnicctl port set vm0 vlan=20               it is in VLAN 20 now (mode switch)
  vnicctl port announce vm0                  make the network learn where the guest is
"""


def link(port):
    """Of a guest that is there; without one, nobody sees a cable, unless it is pulled anyway."""
    if port["connected"] is False and port["link"] == "up":
        return "-"
    return port["link"] or "-"


def print_ports(ports):
    table(["name", "kind", "queues", "connected", "mac", "link", "workers", "what"],
          [[p["name"], p["kind"], p["queues"], {None: "-", True: "yes", False: "no"}[p["connected"]], p["guest_mac"] or p["mac"], link(p),
            ",".join(str(w) for w in sorted(set(p["workers"]))), p["describe"]] for p in ports], right={2})


def port_add(client, args):
    port = client.call("port.add", {"config": args.config})
    if args.json:
        print_json(port)
    else:
        print(f"{port['name']}: {port['describe']}, {port['queues']} queue pair{'s' * (port['queues'] != 1)}, "
              f"mac {port['mac']}")


def port_remove(client, args):
    result = client.call("port.remove", {"name": args.name})
    if args.json:
        print_json(result)
    else:
        print(f"{args.name}: removed")


def port_set(client, args):
    args.setting = ",".join(args.setting)
    key, _, value = args.setting.partition("=")
    if value and key not in ("link", "mtu"):
        port = client.call("port.set", {"name": args.name, "options": args.setting})
        print_json(port) if args.json else print(port["config"])
        return
    if key != "link" or not value:
        hint = "link=up, link=down, a rate: police-in=100mbit, or, of the switch, vlan=10 or trunk=10+20"
        if args.setting.startswith("mtu="):
            hint = f"an MTU is set when a port is made: port add {args.name}=vhost-user,{args.setting}"
        raise Trouble(EXIT_USAGE, f"not a setting: {args.setting}", hint)
    port = client.call("port.set", {"name": args.name, "link": value})
    if args.json:
        print_json(port)
    else:
        print(f"{args.name}: link {port['link']}"
              + ("" if port["link"] == value else ": its uplink keeps it down"))
        if port["notice"]:
            print(f"  {port['notice']}")


def port_announce(client, args):
    result = client.call("port.announce", {"name": args.name})
    if args.json:
        print_json(result)
    else:
        print(f"{args.name}: announced")


def port_show(client, args):
    result = client.call("port.show", {"name": args.name})
    if args.json:
        print_json(result)
    else:
        print_tree(result)


def port_list(client, args):
    ports = client.call("port.list")
    if args.json:
        print_json(ports)
    else:
        print_ports(ports)


def add(verbs, common):
    port = verbs.add_parser("port", help="add, remove, list and set ports").add_subparsers(metavar="VERB", required=True)
    verb = port.add_parser("add", parents=[common], help="add a port while the others forward")
    verb.add_argument("config", metavar="NAME=KIND[,key=value...]", help="as after vnicd --port")
    verb.set_defaults(run=port_add)
    verb = port.add_parser("remove", parents=[common], help="remove a port while the others forward")
    verb.add_argument("name", metavar="NAME")
    verb.set_defaults(run=port_remove)
    port.add_parser("list", parents=[common], help="all ports").set_defaults(run=port_list)
    verb = port.add_parser("show", parents=[common], help="one port: its options, what it is capable of, its workers")
    verb.add_argument("name", metavar="NAME")
    verb.set_defaults(run=port_show)
    verb = port.add_parser("set", parents=[common], help="take a guest's link down or up, limit a port's rates, change its VLANs")
    verb.add_argument("name", metavar="NAME")
    verb.add_argument("setting", metavar="link=up|down|KEY=VALUE[,KEY=VALUE]...", nargs="+",
                      help="police-in, police-out, police-in-burst, police-out-burst; of the switch's ports, vlan, trunk, native, qinq, "
                      "isolated, guard, allow-mac, allow-ip, allow, storm-broadcast, storm-multicast, storm-unknown, learn-limit, "
                      "learn-full, bpdu, loop")
    verb.set_defaults(run=port_set)
    verb = port.add_parser("announce", parents=[common], help="make the network learn where a guest is")
    verb.add_argument("name", metavar="NAME")
    verb.set_defaults(run=port_announce)

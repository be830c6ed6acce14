# SPDX-License-Identifier: BSD-3-Clause
"""vnicctl fdb: the stations that the switch knows."""
from .client import EXIT_USAGE, Trouble
from .text import print_json, table

EXAMPLES = """\
  vnicctl fdb list vlan=20                   the stations that the switch knows
  vnicctl fdb add vm0 52:54:00:00:00:01      a static one, in the VLAN of vm0; fdb delete ends it
  vnicctl fdb ports                          how many each port has learnt, and which are held
  vnicctl fdb flush port=up0                 forget what was learnt there
"""


def filters(words):
    """port=NAME and vlan=VLAN, as parameters."""
    params = {}
    for word in words:
        key, _, value = word.partition("=")
        if key not in ("port", "vlan") or not value:
            raise Trouble(EXIT_USAGE, f"not a filter: {word}", "port=vm0, or vlan=10")
        params[key] = value
    return params or None


def vlan_order(text):
    return (text.startswith("s"), int(text.lstrip("s")))


def fdb_list(client, args):
    result = client.call("fdb.list", filters(args.filters))
    if args.json:
        print_json(result)
        return
    stations = sorted(result["stations"], key=lambda s: (vlan_order(s["vlan"]), s["mac"]))
    table(["vlan", "mac", "port", "seen"],
          [["-" if s["vlan"] == "0" else s["vlan"], s["mac"], s["port"], "static" if s["static"] else f"{s['age']} s ago"]
           for s in stations], right={0})
    if result["more"]:
        print(f"and more: {result['known']} in all; port= and vlan= choose")


def fdb_ports(client, args):
    ports = client.call("fdb.ports")
    if args.json:
        print_json(ports)
        return
    table(["port", "learnt", "limit", "moves", "held", "times held"],
          [[p["port"], p["learnt"], p["limit"] or "-", p["moves"], "yes" if p["held"] else "no", p["times_held"]] for p in ports],
          right={1, 2, 3, 5})


def fdb_add(client, args):
    station = client.call("fdb.add", {"port": args.name, "mac": args.mac, **(filters(args.vlan) or {})})
    print_json(station) if args.json else print(f"{station['mac']}: static, behind {station['port']}, VLAN {station['vlan']}")


def fdb_delete(client, args):
    station = client.call("fdb.delete", {"mac": args.mac, **(filters(args.vlan) or {})})
    print_json(station) if args.json else print(f"{station['mac']}: forgotten")


def fdb_flush(client, args):
    result = client.call("fdb.flush", filters(args.filters))
    print_json(result) if args.json else print(f"{result['forgotten']} forgotten")


def add(verbs, common):
    fdb = verbs.add_parser("fdb", help="the stations that the switch knows").add_subparsers(metavar="VERB", required=True)
    for name, run, text in (("list", fdb_list, "all, or those of a port or VLAN"),
                            ("flush", fdb_flush, "forget what was learnt")):
        verb = fdb.add_parser(name, parents=[common], help=text)
        verb.add_argument("filters", metavar="port=NAME|vlan=VLAN", nargs="*")
        verb.set_defaults(run=run)
    fdb.add_parser("ports", parents=[common], help="how many each port has learnt, and which are held for a loop") \
        .set_defaults(run=fdb_ports)
    verb = fdb.add_parser("add", parents=[common], help="a static station")
    verb.add_argument("name", metavar="PORT")
    verb.add_argument("mac", metavar="MAC")
    verb.add_argument("vlan", metavar="vlan=VLAN", nargs="*", help="default: that of the port's untagged frames")
    verb.set_defaults(run=fdb_add)
    verb = fdb.add_parser("delete", parents=[common], help="forget a station")
    verb.add_argument("mac", metavar="MAC")
    verb.add_argument("vlan", metavar="vlan=VLAN", nargs="*", help="default: none")
    verb.set_defaults(run=fdb_delete)

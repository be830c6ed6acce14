# SPDX-License-Identifier: BSD-3-Clause
"""vnicctl mirror: copies of frames for a port where somebody looks at them."""
from .text import print_json, table

EXAMPLES = """\
  vnicctl mirror add m0 from=vm0+vm1 to=cap0 "filter=tcp port 80"
                                             copies of their frames for port cap0
  vnicctl mirror list                        and how many were sent and lost
"""


def mirror_add(client, args):
    # Commas separate keys; those of a value are doubled.
    config = ",".join([args.name] + [pair.replace(",", ",,") for pair in args.pairs])
    mirror = client.call("mirror.add", {"config": config})
    print_json(mirror) if args.json else print(mirror["config"])


def mirror_remove(client, args):
    result = client.call("mirror.remove", {"name": args.name})
    print_json(result) if args.json else print(f"{args.name}: removed")


def mirror_list(client, args):
    mirrors = client.call("mirror.list")
    if args.json:
        print_json(mirrors)
        return
    table(["mirror", "active", "matched", "sent", "lost", "what"],
          [[m["name"], "yes" if m["active"] else "no", m["matched"], m["sent"], m["lost"], m["config"].partition(",")[2]]
           for m in mirrors], right={2, 3, 4})


def add(verbs, common):
    mirror = verbs.add_parser("mirror", help="copy frames to a port where somebody looks at them") \
        .add_subparsers(metavar="VERB", required=True)
    verb = mirror.add_parser("add", parents=[common], help="copy the frames of some ports")
    verb.add_argument("name", metavar="NAME")
    verb.add_argument("pairs", metavar="KEY=VALUE", nargs="+",
                      help="from=PORT[+PORT].. to=PORT [direction=in|out] [vlan=VLAN] [filter=EXPRESSION] [sample=N]")
    verb.set_defaults(run=mirror_add)
    verb = mirror.add_parser("remove", parents=[common], help="end a mirror")
    verb.add_argument("name", metavar="NAME")
    verb.set_defaults(run=mirror_remove)
    mirror.add_parser("list", parents=[common], help="all mirrors, and what they counted").set_defaults(run=mirror_list)

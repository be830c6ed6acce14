# SPDX-License-Identifier: BSD-3-Clause
"""vnicctl guest: what a guest's driver has negotiated and set."""
from .text import print_json, print_tree

EXAMPLES = """\
  vnicctl guest show vm0                     what its driver has negotiated and set
"""


def guest_show(client, args):
    result = client.call("guest.show", {"name": args.name})
    if args.json:
        print_json(result)
    else:
        print_tree(result)


def add(verbs, common):
    guest = verbs.add_parser("guest", help="look at guests").add_subparsers(metavar="VERB", required=True)
    show = guest.add_parser("show", parents=[common], help="what its driver has negotiated and set, and its link")
    show.add_argument("name", metavar="NAME")
    show.set_defaults(run=guest_show)

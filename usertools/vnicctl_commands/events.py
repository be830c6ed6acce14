# SPDX-License-Identifier: BSD-3-Clause
"""vnicctl events: what has happened lately, and what happens from now on."""
import re
import time

from .text import print_json, table

EXAMPLES = """\
  vnicctl events --since 10m                 connects, faults, links, refusals, .. of the last ten minutes
  vnicctl events vm0 --follow --json         of one port, as they come, a line of JSON each
  vnicctl events --describe                  which there are
"""

PERIOD_S = 0.25
UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def since(text):
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text)
    if not found:
        raise ValueError
    return float(found[1]) * UNITS[found[2]]


def show(event, as_json):
    if as_json:
        print_json(event)
        return
    moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(event["time"])) + f".{int(event['time'] * 1000) % 1000:03d}"
    times = f" ({event['times']} times)" if event["times"] > 1 else ""
    print(f"{moment}  {event['event']:12}  {event.get('port', '-'):8}  {event['text']}{times}", flush=True)


def events(client, args):
    if args.describe:
        kinds = client.call("events.describe")
        print_json(kinds) if args.json else table(["event", "meaning"], [[k["event"], k["help"]] for k in kinds])
        return
    begin = 0 if args.since is None else time.time() - args.since
    after = 0
    while True:
        reply = client.call("events.list", {"after": str(after)})
        if reply["last"] < after:
            after = 0
            continue
        for event in reply["events"]:
            if event["time"] >= begin and args.name in (None, event.get("port")):
                show(event, args.json)
        after = reply["last"]
        if not args.follow:
            return
        time.sleep(PERIOD_S)


def add(verbs, common):
    verb = verbs.add_parser("events", parents=[common], help="what has happened: connects, features, faults, links, refusals, limits, ..")
    verb.add_argument("name", metavar="PORT", nargs="?", help="to this port only")
    verb.add_argument("--since", metavar="TIME", type=since, help="of the last 30s, 10m, 2h, 1d (default: the last 1024)")
    verb.add_argument("-f", "--follow", action="store_true", help="and go on, until ^C")
    verb.add_argument("--describe", action="store_true", help="which events there are")
    verb.set_defaults(run=events)

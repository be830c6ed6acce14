# SPDX-License-Identifier: BSD-3-Clause
"""vnicctl why: what keeps a port from passing frames: evidence, then what it means, then what to do."""
from . import why_causes
from .stats import seconds
from .text import print_json
from .why_facts import gather

EXAMPLES = """\
  vnicctl why vm0                            why it loses frames, or gets none
"""


def answers(facts):
    """What is so now comes before what has only been."""
    found = []
    for name, look, meaning, fix in why_causes.CAUSES:
        evidence = look(facts)
        if evidence:
            found.append({"cause": name, "evidence": evidence, "likely": meaning, "fix": fix.format(name=facts.name),
                          "now": "none in the last" not in evidence[0]})
    return sorted(found, key=lambda answer: not answer["now"])


def why(client, args):
    rows = next(c["counters"] for c in client.call("stats.describe") if c["class"] == "drops")
    why_causes.DESCRIBED.update({row["name"]: row["help"] for row in rows if row["name"] not in why_causes.KNOWN})
    facts = gather(client, args.name, args.seconds)
    found = answers(facts)
    if args.json:
        print_json({"port": args.name, "seconds": facts.seconds, "answers": found})
        return
    rates = ", ".join(f"{way} {facts.counted(way + '_packets') / facts.seconds:.0f}/s" for way in ("rx", "tx"))
    print(f"{args.name}: {facts.port['describe']}; {rates} in {facts.seconds:.1f} s")
    for answer in found:
        print(f"\n{answer['cause']}" + ("" if answer["now"] else " (no longer)"))
        for line in answer["evidence"]:
            print(f"  seen:   {line}")
        print(f"  likely: {answer['likely']}\n  fix:    {answer['fix']}")
    if not found:
        print("nothing is wrong here: no drops, a link, and workers with time; vnicctl capture shows what passes")


def add(verbs, common):
    verb = verbs.add_parser("why", parents=[common], help="why a port loses frames, or gets none: evidence, likely cause, fix")
    verb.add_argument("name", metavar="PORT")
    verb.add_argument("--seconds", metavar="SECONDS", type=seconds, default=1.0, help="between two looks at the counters (default 1)")
    verb.set_defaults(run=why)

# SPDX-License-Identifier: BSD-3-Clause
"""vnicctl config: what runs, as a configuration file, and what runs made into what a file says."""
import sys

from .client import EXIT_FAILED, Trouble
from .text import print_json

EXAMPLES = """\
  vnicctl config save /etc/vnicd/vnicd.conf  what runs now, to be started again with vnicd --config
  vnicctl config apply FILE --dry-run        which ports and mirrors would change
  vnicctl config apply FILE                  change them, all or none; others are not touched
"""

MARKS = {"add": "+", "remove": "-", "set": "~", "replace": "!"}


def config_save(client, args):
    text = client.call("config.get")["text"]
    if args.file == "-":
        sys.stdout.write(text)
        return
    try:
        with open(args.file, "w") as file:
            file.write(text)
    except OSError as error:
        raise Trouble(EXIT_FAILED, f"{args.file}: {error.strerror}", "vnicctl config save FILE") from error
    print(f"{args.file}: {len(text.splitlines())} lines")


def config_apply(client, args):
    try:
        with sys.stdin if args.file == "-" else open(args.file) as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise Trouble(EXIT_FAILED, f"{args.file}: {getattr(error, 'strerror', 'it is no text')}",
                      "vnicctl config apply FILE") from error
    try:
        changes = client.call("config.apply", {"text": text, "dry_run": "on" if args.dry_run else "off"})["changes"]
    except Trouble as trouble:
        # Places are those of the file.
        trouble.cause = trouble.cause.replace("configuration:", f"{args.file}:", 1)
        raise
    if args.json:
        print_json(changes)
        return
    for change in changes:
        print(f"{MARKS[change['action']]} {change['what']} {change['line']}")
    if not changes:
        print("nothing to change")


def add(verbs, common):
    config = verbs.add_parser("config", help="save what runs as a file; make what runs what a file says") \
        .add_subparsers(metavar="VERB", required=True)
    verb = config.add_parser("save", parents=[common], help="what runs now, as a file for vnicd --config")
    verb.add_argument("file", metavar="FILE", nargs="?", default="-", help="default: standard output")
    verb.set_defaults(run=config_save)
    verb = config.add_parser("apply", parents=[common], help="change ports and mirrors to those of a file, all or none",
                             description="Marks of what changes: + added, - removed, ~ set while it is open, "
                                         "! opened anew.")
    verb.add_argument("file", metavar="FILE", help="- for standard input")
    verb.add_argument("--dry-run", action="store_true", help="only say what would change")
    verb.set_defaults(run=config_apply)

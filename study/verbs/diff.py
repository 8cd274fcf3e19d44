"""What differs: between two study files, key by key and in the trials they share, or between two trials."""

from __future__ import annotations

import argparse
import json

from study.commandline import SCALE_NAMES, add_out


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("a", metavar="A", help="a study file, or a trial's id")
    parser.add_argument("b", metavar="B", help="another one")
    parser.add_argument(
        "--scale", default="laptop", choices=SCALE_NAMES, help="of the files; default: laptop"
    )
    add_out(parser)
    parser.add_argument("--json", action="store_true", help="the same as a record")


def run(options: argparse.Namespace) -> int:
    from study.diff import facts, text

    found = facts(options.a, options.b, options.scale, options.out)
    print(json.dumps(found, indent=1) if options.json else text(found))
    return 0

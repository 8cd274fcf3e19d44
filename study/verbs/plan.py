"""What a study would run and what it would cost; nothing is run."""

from __future__ import annotations

import argparse
import json

from study.commandline import add_out, add_study, positive


def add(parser: argparse.ArgumentParser) -> None:
    add_study(parser)
    add_out(parser)
    parser.add_argument(
        "--spread",
        type=positive,
        metavar="POINTS",
        help="standard deviation of paired differences; default: from the trials that stand",
    )
    parser.add_argument(
        "--effect", type=positive, metavar="POINTS", help="a difference to be shown: how many seeds it needs"
    )
    parser.add_argument("--json", action="store_true", help="the same as a record")


def run(options: argparse.Namespace) -> int:
    from study.studyfile import load

    source = load(options.file, options.scale, options.overrides)
    from study.plan import facts, text
    from study.space import Space

    found = facts(Space(source), options.out, spread=options.spread, effect=options.effect)
    print(json.dumps(found, indent=1) if options.json else text(found))
    return 0

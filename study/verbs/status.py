"""How a study stands: planned, running, done, pruned, diverged, collapsed, failed by cause; what is left."""

from __future__ import annotations

import argparse
import json

from study.commandline import add_out, add_study


def add(parser: argparse.ArgumentParser) -> None:
    add_study(parser)
    add_out(parser)
    parser.add_argument("--json", action="store_true", help="the same as a record")


def run(options: argparse.Namespace) -> int:
    from study.studyfile import load

    source = load(options.file, options.scale, options.overrides)
    from study.space import Space
    from study.status import facts, text

    found = facts(Space(source), options.out)
    print(json.dumps(found, indent=1) if options.json else text(found))
    return 0

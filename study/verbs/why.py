"""Why a trial of a study would run, or would not run again."""

from __future__ import annotations

import argparse
import json

from study.commandline import add_out, add_study


def add(parser: argparse.ArgumentParser) -> None:
    add_study(parser)
    parser.add_argument("trial", metavar="ID", help="a trial's id, the beginning of one, or an arm's name")
    add_out(parser)
    parser.add_argument("--json", action="store_true", help="the same as records")


def run(options: argparse.Namespace) -> int:
    from study.studyfile import load

    source = load(options.file, options.scale, options.overrides)
    from study.space import Space
    from study.status import why

    found = why(Space(source), options.out, options.trial)
    if options.json:
        print(json.dumps(found, indent=1))
    else:
        print("\n".join(f"{r['id']}  {r['arm']}, seed {r['seed']}: {r['why']}" for r in found))
    return 0

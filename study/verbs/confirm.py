"""Run the best configurations of a study again with fresh seeds, and say how much better they looked than they
are: the best of many is chosen for its luck too."""

from __future__ import annotations

import argparse

from study.commandline import add_study, add_where, count


def add(parser: argparse.ArgumentParser) -> None:
    add_study(parser)
    add_where(parser)
    parser.add_argument("--top", type=count, default=3, help="so many configurations, best first; default: 3")
    parser.add_argument("--seeds", type=count, default=5, help="so many fresh seeds; default: 5")
    parser.add_argument("--dry-run", action="store_true", help="say which, and run nothing")


def run(options: argparse.Namespace) -> int:
    from study.analyses import ANALYSES, view
    from study.conduct import Conductor, Where, headlines
    from study.confirm import confirmation, told
    from study.space import Space
    from study.studyfile import load
    from study.table import Tables

    space = Space(load(options.file, options.scale, options.overrides))
    chosen = confirmation(space, options.out, options.top, options.seeds)
    print("\n".join(told(space, chosen)), flush=True)
    if options.dry_run:
        return 0
    ending = Conductor(chosen, Where.of(options)).run()
    tables = Tables(options.out, space.settings.study)
    print("\n" + ANALYSES["confirmation"](tables, view(space, headlines(space))).text())
    for reason in ending.reasons:
        print(f"not done: {reason}")
    return ending.code

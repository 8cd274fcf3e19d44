"""Run the trials again that failed (with --diverged or --collapsed, those too): each is a new attempt in the
tables, from the beginning; the earlier attempts stay."""

from __future__ import annotations

import argparse

from study.commandline import add_study, add_where


def add(parser: argparse.ArgumentParser) -> None:
    add_study(parser)
    add_where(parser)
    for status in ("failed", "diverged", "collapsed"):
        parser.add_argument(f"--{status}", action="store_true", help=f"trials that ended as {status}")
    parser.add_argument("--mark", action="store_true", help="only mark them; the next run runs them")


def run(options: argparse.Namespace) -> int:
    from study.mistake import Mistakes
    from study.studyfile import load

    statuses = {s for s in ("failed", "diverged", "collapsed") if getattr(options, s)}
    if not statuses:
        raise Mistakes("retry: say which: --failed, --diverged, --collapsed")
    source = load(options.file, options.scale, options.overrides)
    from study.space import Space
    from study.status import reopen

    reopened = reopen(Space(source), options.out, statuses)
    print(
        f"{len(reopened)} trials will run again"
        if reopened
        else f"no trial of the study is {' or '.join(statuses)}"
    )
    if options.mark or not reopened:
        return 0
    from study.run import run_study

    options.dry_run = False
    return run_study(options)

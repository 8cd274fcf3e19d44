"""The door: `python -m study.run searchspaces/lewel_groups.yaml` runs a study and answers its question."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from study.threads import settle, wanted


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code; see `python -m study.run --help`."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    settle(wanted(arguments))  # before anything imports torch
    from study.commandline import parse, run_parser
    from study.mistake import EXIT_MISTAKE, Mistakes

    options = parse(run_parser(), arguments)
    try:
        return run_study(options)
    except Mistakes as error:
        print(error, file=sys.stderr)
        return EXIT_MISTAKE
    except OSError as error:  # a full disk, a lost mount: named, nothing lost, running again continues
        print(f"stopped: {error}", file=sys.stderr)
        return 1


def run_study(options: object) -> int:
    """Run or continue the study that parsed options name. Raises Mistakes."""
    from study.answer import answer, opening
    from study.conduct import Conductor, Where
    from study.guard import report
    from study.plan import plan
    from study.search import best
    from study.space import Space
    from study.studyfile import load

    o = vars(options)
    space = Space(load(o["file"], o["scale"], o["overrides"]))
    if o["dry_run"]:
        print(plan(space, o["out"]))
        return 0
    where = Where.of(options)
    print(opening(space), flush=True)
    propose = None
    if space.sampled:
        from study.cluster.searcher import proposer

        propose = proposer(where.out)
    ending = Conductor(space, where, propose).run()
    print(answer(space, where.out, ending), flush=True)
    for line in [*best(where.out, space), *report(where.out, space)]:
        print(line, flush=True)
    return ending.code


if __name__ == "__main__":
    raise SystemExit(main())

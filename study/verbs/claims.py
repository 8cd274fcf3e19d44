"""Judge the claims of a study from its tables; exit code 5 when a gated claim is not supported."""

from __future__ import annotations

import argparse
import json

from study.commandline import add_out, add_study

EXIT_GATE = 5


def add(parser: argparse.ArgumentParser) -> None:
    add_study(parser)
    add_out(parser)
    parser.add_argument("--json", action="store_true", help="the same as records")


def run(options: argparse.Namespace) -> int:
    from study.analyses import ANALYSES, view
    from study.conduct import headlines
    from study.space import Space
    from study.studyfile import load
    from study.table import Tables

    space = Space(load(options.file, options.scale, options.overrides))
    study = view(space, headlines(space))
    found = ANALYSES["claims"](Tables(options.out, study.name), study)
    print(json.dumps(found.rows, indent=1, default=str) if options.json else found.text())
    lost = [row for row in found.rows if row["gate"] and row["verdict"] != "supported"]
    return EXIT_GATE if lost else 0

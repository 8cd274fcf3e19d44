"""The report of a study from its tables: one HTML page without network or script."""

from __future__ import annotations

import argparse

from study.commandline import add_out, add_study


def add(parser: argparse.ArgumentParser) -> None:
    add_study(parser)
    add_out(parser)
    parser.add_argument("--markdown", action="store_true", help="print every answer as Markdown instead")


def run(options: argparse.Namespace) -> int:
    from study import report
    from study.analyses import ANALYSES, view
    from study.conduct import headlines
    from study.space import Space
    from study.studyfile import load
    from study.table import Tables

    space = Space(load(options.file, options.scale, options.overrides))
    study = view(space, headlines(space))
    if options.markdown:
        tables = Tables(options.out, study.name)
        answers = [analysis(tables, study) for analysis in ANALYSES.values()]
        print("\n\n".join(answer.markdown() for answer in answers if answer.rows))
    else:
        print(report.write(options.out, study))
    return 0

"""The report of studies from their tables: one HTML page with everything in it, and its twins beside it."""

from __future__ import annotations

import argparse
from pathlib import Path

from study.commandline import add_out, add_studies


def add(parser: argparse.ArgumentParser) -> None:
    add_studies(parser)
    add_out(parser)
    form = parser.add_mutually_exclusive_group()
    form.add_argument(
        "--html",
        action="store_const",
        dest="form",
        const="html",
        help="write the page with Markdown, LaTeX, CSV and SVG beside it (the default)",
    )
    for name, words in (("markdown", "Markdown"), ("latex", "LaTeX with booktabs"), ("csv", "CSV")):
        form.add_argument(
            f"--{name}", action="store_const", dest="form", const=name, help=f"print every answer as {words}"
        )
    parser.set_defaults(form="html")


def run(options: argparse.Namespace) -> int:
    from study import report, twins
    from study.analyses import view
    from study.chapter import Chapter
    from study.conduct import headlines
    from study.mistake import Mistakes
    from study.space import Space
    from study.studyfile import load
    from study.table import Tables

    views = []
    names: dict[str, Path] = {}
    for file in options.files:
        space = Space(load(file, options.scale, options.overrides))
        name = space.settings.study
        if name in names:
            raise Mistakes(f"{file}: is the study {name}, and so is {names[name]}; a report has a study once")
        names[name] = file
        views.append(view(space, headlines(space)))
    if options.form == "html":
        print(report.write(options.out, *views))
        return 0
    chapters = [Chapter(Tables(options.out, study.name), study) for study in views]
    if options.form == "markdown":
        print(twins.markdown(chapters), end="")
    elif options.form == "latex":
        print(twins.latex(chapters), end="")
    else:
        print(twins.all_csv(chapters), end="")
    return 0

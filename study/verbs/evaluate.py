"""Add evaluations to finished trials from their encoders, without training again."""

from __future__ import annotations

import argparse
from pathlib import Path

from study.commandline import add_out, add_study


def add(parser: argparse.ArgumentParser) -> None:
    add_study(parser)
    add_out(parser)
    parser.add_argument("--data", type=Path, default=Path("~/.cache/ssl-study"), help="where datasets are")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")


def run(options: argparse.Namespace) -> int:
    from study.later import evaluate_later
    from study.space import Space
    from study.studyfile import load

    space = Space(load(options.file, options.scale, options.overrides))
    added, failed = evaluate_later(
        space, options.out, options.data, options.device, lambda line: print(line, flush=True)
    )
    print(f"{added} trials were evaluated anew" + (f", {failed} could not be" if failed else ""))
    return 1 if failed else 0

"""Pictures of a study's trials, as PNG files: the views of their recipes, and what their kept encoders see."""

from __future__ import annotations

import argparse
from pathlib import Path

from study.commandline import add_out, add_study

KINDS = ("views", "montages", "alignment", "matches", "learned", "pairs", "correspondences", "attention")


def add(parser: argparse.ArgumentParser) -> None:
    add_study(parser)
    add_out(parser)
    parser.add_argument("--arm", action="append", default=[], help="of this arm only; may be repeated")
    parser.add_argument("--seed", type=int, help="of this seed; default: the first")
    parser.add_argument(
        "--only", action="append", default=[], choices=KINDS, help="this kind; may be repeated"
    )
    parser.add_argument("--count", type=int, default=6, help="pictures that are shown; default: 6")
    parser.add_argument("--data", type=Path, default=Path("~/.cache/ssl-study"), help="where datasets are")


def run(options: argparse.Namespace) -> int:
    from study.gallery import hang
    from study.mistake import Mistakes, choices, nearest
    from study.space import Space
    from study.studyfile import load

    space = Space(load(options.file, options.scale, options.overrides))
    labels = [cell.label for cell in space.cells]
    for arm in options.arm:
        if arm not in labels:
            raise Mistakes(
                f"--arm {arm}: there is no such arm; there are {choices(labels)}.{nearest(arm, labels)}"
            )
    seed = space.seeds[0] if options.seed is None else options.seed
    if seed not in space.seeds:
        raise Mistakes(f"--seed {seed}: the seeds of the study are {choices(map(str, space.seeds))}")
    if not 1 <= options.count <= 50:
        raise Mistakes(f"--count {options.count}: must be from 1 to 50")
    kinds = options.only or list(KINDS)
    made = hang(space, options.out, options.data, options.arm or labels, seed, kinds, options.count, print)
    return 0 if made else 1

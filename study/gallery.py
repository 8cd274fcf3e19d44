"""The pictures of a study's arms, drawn from what their trials left, into files beside its tables."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from data.sets.dataset import DataError
from study import table
from study.analyses import view
from study.analyses.runs import Runs, configuration
from study.cells import Cell
from study.later import finished
from study.pictures import PICTURES, Absent, Exhibit
from study.space import Space
from study.spec import TrialSpec
from study.task import study_folder
from study.trial import load, method_of

Say = Callable[[str], None]


def hang(
    space: Space,
    out: Path,
    root: Path,
    arms: Sequence[str],
    seed: int,
    kinds: Sequence[str],
    count: int,
    say: Say,
) -> list[Path]:
    """Draw `kinds` of pictures of every arm, with `seed`; returns the files. What an arm has nothing of is left
    out, and said where its trial has left no encoder or its pictures are not there."""
    folder = study_folder(out, space.settings.study) / "pictures"
    made = []
    for cell in (c for c in space.cells if c.label in arms):
        spec = chosen(space, out, cell, seed)
        name = f"{cell.label}, seed {seed}"
        method = method_of(spec, out / "checkpoints" / spec.id)
        if method is None:
            say(f"{name}: has left no encoder (yet); only what needs none is drawn")
        try:
            exhibit = Exhibit(name, spec, load(spec.data, root.expanduser()), method, count)
        except DataError as error:
            say(f"{name}: {error}")
            continue
        for kind in kinds:
            try:
                sheet = PICTURES[kind].draw(exhibit)
            except Absent:
                continue
            path = folder / f"{kind}-{slug(cell.label)}-seed{seed}.png"
            sheet.save(path)
            say(str(path))
            made.append(path)
    if not made:
        say("nothing was drawn")
    return made


def chosen(space: Space, out: Path, cell: Cell, seed: int) -> TrialSpec:
    """The trial that stands for an arm: its own, or its best sampled point's (of those, an example where none
    has ended)."""
    if not space.dimensions_of(cell):
        return space.trial(cell, {}, seed).spec
    from study.conduct import headlines

    runs = Runs(table.Tables(out, space.settings.study), view(space, headlines(space)))
    best = runs.chosen(cell.label)
    for row, spec in finished(space, out) if best is not None else ():
        if best is not None and row["seed"] == seed and configuration(row) == best:
            return spec
    return space.example(cell).spec


def slug(label: str) -> str:
    """An arm's label as part of a file's name."""
    return re.sub(r"[^A-Za-z0-9.=+-]+", "_", label).strip("_.")[:80]

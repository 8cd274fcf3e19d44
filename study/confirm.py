"""Confirmation of a study's best: the same configurations with seeds that selected nothing."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

from study.analyses import view
from study.analyses.confirmation import name_of, ranked
from study.analyses.runs import Configuration, Runs, label
from study.cells import Cell
from study.conduct import headlines
from study.document import Block, place_of
from study.mistake import Mistakes
from study.sources import Sources
from study.space import Space
from study.studyfile import SchedulerSpec, StudyBudget, changed
from study.table import Tables


def confirmation(space: Space, out: Path, top: int, seeds: int) -> Space:
    """The space of the `top` configurations by the study's objective, with `seeds` fresh seeds.

    Fresh seeds follow the greatest one of the file and of the study's trials; asking for more of them later
    adds to those that ran. Trained in full: no scheduler, no budget. Raises Mistakes when nothing has ended.
    """
    name = space.settings.study
    runs = Runs(Tables(out, name), view(space, headlines(space)))
    found = ranked(runs, runs.objective) if runs.trials and runs.metrics else []
    if not found:
        raise Mistakes(f"confirm: no trial of the study {name} in {out} has a score; run the study first")
    used = [*space.seeds, *(row["seed"] for row in runs.trials if row["seed"] is not None)]
    first = max(used) + 1
    made = copy.copy(space)
    made.settings = space.settings.model_copy(
        update={
            "study": name_of(name),
            "seeds": tuple(range(first, first + seeds)),
            "baseline": None,
            "scheduler": SchedulerSpec(),
            "budget": StudyBudget(),
            "claims": (),
            "search": {},
        }
    )
    made.dimensions, made.excluded = [], []
    made.cells = [_cell(space, point) for point, *_ in found[:top]]
    for cell in made.cells:  # grows: what an arm starts from is trained with the fresh seeds too
        start = cell.template.get("start")
        if isinstance(start, Block) and start.get("name") == "arm" and start.get("study") is None:
            known = {each.label for each in made.cells}
            made.cells += [c for c in space.cells if c.label == start["arm"] and c.label not in known]
    made.sources = Sources(made, ())
    return made


def told(space: Space, chosen: Space) -> Sequence[str]:
    """What is about to be run."""
    seeds = chosen.seeds
    lines = [
        f"{len(chosen.cells)} configurations of {space.settings.study}, best first, with seeds "
        f"{seeds[0]} to {seeds[-1]}: {chosen.count()} trials"
    ]
    return [*lines, *(f"  {cell.label}: {label(cell.axes) or cell.label}" for cell in chosen.cells)]


def _cell(space: Space, point: Configuration) -> Cell:
    """The cell of a configuration of the tables, its sampled values put where the file's template has them."""
    cell = next((c for c in space.cells if c.label == point.arm), None)
    if cell is None:
        raise Mistakes(
            f"confirm: the arm '{point.arm}' of the tables is not in {space.source.path}; "
            "confirm with the file and the scale that made them"
        )
    template = cell.template
    for dimension in space.dimensions_of(cell):
        if dimension.key in point.axes:
            place = place_of(space.source.blocks, ("search", dimension.key), template.place)
            template = changed(template, tuple(dimension.key.split(".")), point.axes[dimension.key], place)
    return Cell(point.arm, dict(point.axes), template)

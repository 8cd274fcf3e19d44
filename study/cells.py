"""The cells of a study: named arms and combinations of grid values, less what `where` takes out."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from study.axes import Dimension, exists_elsewhere, grid_of, has_key, key_problem
from study.document import Block, Items, place_of, plain
from study.expression import Absent, Expression, ExpressionError
from study.mistake import Mistake, Mistakes, Place, choices, nearest
from study.resolve import resolve, template_of
from study.spec import BLOCKS
from study.studyfile import Source, changed, merge

MAX_CELLS, MAX_TRIALS = 5_000, 1_000_000


@dataclass(frozen=True)
class Cell:
    """One row of the question: an arm or a combination of grid values, before seeds and samples."""

    label: str
    axes: Mapping[str, Any]
    template: Block = field(repr=False, hash=False, compare=False)


@dataclass(frozen=True)
class Excluded:
    """A cell that `where` took out, and by which constraint."""

    label: str
    by: str


def cells_of(source: Source, dimensions: list[Dimension]) -> tuple[list[Cell], list[Excluded]]:
    template = template_of(source)
    found: list[Mistake] = []
    grid = grid_of(source, found)
    constraints = _constraints(source, found)
    cells: list[Cell] = []
    excluded: list[Excluded] = []
    size = math.prod(len(values) for values in grid.values()) if grid else 0
    if size > MAX_CELLS:
        place = place_of(source.blocks, ("grid",), template.place)
        raise Mistakes([Mistake(place, "grid", f"makes {size:,} cells; at most {MAX_CELLS:,} are allowed")])
    if found:
        raise Mistakes(found)
    labels = _short(list(grid))
    for arm in source.arms:
        change = source.arms[arm]
        if not isinstance(change, Block | None):
            found.append(Mistake(source.arms.at[arm], f"arms.{arm}", "must be a block of keys"))
            continue
        keys = change or Block(source.arms.place)
        for key in [k for k in keys if k not in (*BLOCKS, "evaluate")]:
            what = f"unknown key; known here: {choices(BLOCKS)}.{nearest(key, BLOCKS)}"
            found.append(Mistake(keys.at[key], f"arms.{arm}.{key}", what))
        cells.append(Cell(arm, {"arm": arm}, merge(template, change) if change else template))
    combinations: list[dict[str, Any]] = [
        dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())
    ]
    seen: set[str] = set()
    for values in combinations if grid else ([] if cells else [{}]):
        cell = template
        used: dict[str, Any] = {}
        # A block's name first: which keys exist depends on it.
        for key in sorted(values, key=lambda k: (not k.endswith(".name") and "." in k, list(grid).index(k))):
            path = tuple(key.split("."))
            if not has_key(cell, key) and exists_elsewhere(key, grid, source):
                continue
            place = place_of(source.blocks, ("grid", key), template.place)
            cell = changed(cell, path, values[key], place)
            used[key] = values[key]
        used = {key: used[key] for key in grid if key in used}
        label = ", ".join(f"{labels[k]}={word(v)}" for k, v in used.items()) or source.settings.study
        if label in seen:
            continue
        seen.add(label)
        cells.append(Cell(label, {k: word(v) if isinstance(v, dict) else v for k, v in used.items()}, cell))
    if found:
        raise Mistakes(found)
    kept = []
    for made in cells:
        against = _against(made, constraints, dimensions, source, found)
        if against is None:
            kept.append(made)
        else:
            excluded.append(Excluded(made.label, against))
    if not kept and not found:
        place = place_of(source.blocks, ("where",), template.place)
        found.append(Mistake(place, "where", f"excludes every one of the {len(cells)} cells"))
    duplicates = [label for label, n in Counter(c.label for c in kept).items() if n > 1]
    if duplicates:
        found.append(Mistake(source.arms.place, "arms", f"'{duplicates[0]}' names two cells"))
    if found:
        raise Mistakes(found)
    return kept, excluded


def _constraints(source: Source, found: list[Mistake]) -> list[tuple[Expression, Place]]:
    result = []
    where = source.blocks.get("where")
    for i, text in enumerate(source.settings.where):
        place = where.at[i] if isinstance(where, Items) else source.base.place
        try:
            result.append((Expression(text), place))
        except ExpressionError as error:
            found.append(Mistake(place, f"where.{i}", str(error)))
    return result


def _against(
    cell: Cell,
    constraints: list[tuple[Expression, Place]],
    dimensions: list[Dimension],
    source: Source,
    found: list[Mistake],
) -> str | None:
    """The first constraint that excludes the cell. Constraints on sampled axes are the sampler's."""
    if not constraints:
        return None
    sampled = {d.key for d in dimensions}
    try:
        values = resolve(cell.template, 0).model_dump()
    except Mistakes:
        values = plain(cell.template)  # a cell that a constraint takes out need not be possible
    for expression, place in constraints:
        if expression.keys & sampled:
            continue
        try:
            if not expression(values):
                return expression.text
        except Absent as error:
            key = next(iter(k for k in sorted(expression.keys)), "")
            if all(key_problem(k, source) for k in expression.keys):
                found.append(Mistake(place, f"where: {key}", str(error)))
        except ExpressionError as error:
            found.append(Mistake(place, "where", str(error)))
    return None


def _short(keys: list[str]) -> dict[str, str]:
    """The last word of every key, or the whole key where two keys end alike."""
    lasts = [k.split(".")[-1] for k in keys]
    return {
        k: k if lasts.count(last) > 1 or (last == "name" and len(keys) > 1) else last
        for k, last in zip(keys, lasts, strict=True)
    }


def word(value: Any) -> Any:
    if isinstance(value, dict):
        rest = ", ".join(f"{k}: {word(v)}" for k, v in value.items() if k != "name")
        name = str(value.get("name", ""))
        return f"{name}({rest})" if name and rest else name or rest
    if isinstance(value, list):
        return "[" + ", ".join(str(word(v)) for v in value) + "]"
    return value

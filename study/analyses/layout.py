"""The grid in the paper's layout: one axis across, the others down, a cell a mean with its interval."""

from typing import Any

from study.analyses.answer import Answer, Row
from study.analyses.runs import Configuration, Runs, StudyView, label
from study.table import Tables


def run(tables: Tables, study: StudyView) -> Answer:
    """A block of rows a metric: the axis with most levels across (the last of them where several have as many),
    every combination of the others down. Named arms stand in columns of their own, in the block's first row.
    """
    runs = Runs.of(tables, study)
    title = f"{study.name}: the grid as rows and columns"
    chosen = [p for p in map(runs.chosen, runs.arms) if p is not None]
    cells, named = [p for p in chosen if not p.named], [p for p in chosen if p.named]
    levels = {key: _levels(cells, key) for key in dict.fromkeys(k for p in cells for k in p.axes)}
    axes = [key for key in levels if len(levels[key]) > 1 and key not in study.sampled]
    if not axes:
        return Answer(title, ["metric"], [], ["no axis of a grid has two levels"])
    across = max(axes, key=lambda key: (len(levels[key]), axes.index(key)))
    down = [key for key in axes if key != across]
    heads = [f"{across.rpartition('.')[2]}={level}" for level in levels[across]]
    columns = ["metric", *(["setting"] if down else []), *(p.arm for p in named), *heads]
    rows: list[Row] = []
    for metric in runs.metrics:
        block: dict[str, Row] = {}
        for cell in cells:
            if across in cell.axes:
                setting = label({key: cell.axes[key] for key in down if key in cell.axes}) or "–"
                row = block.setdefault(setting, {"metric": metric, "setting": setting})
                _put(row, runs, metric, cell, heads[levels[across].index(str(cell.axes[across]))])
        for i, row in enumerate(block.values()):
            for point in named if i == 0 else ():
                _put(row, runs, metric, point, point.arm)
        rows += block.values()
    rows = [row for row in rows if len(row) > 2]
    notes = [f"{across} across; mean over seeds with its 95 % t interval"]
    if named:
        notes.append("arms beside the grid stand in the first row of each metric")
    return Answer(title, columns, rows, notes + runs.selection_note())


def _levels(cells: list[Configuration], key: str) -> list[str]:
    """The levels of an axis as words: numbers ascending, words as the file has them."""
    found: dict[str, Any] = {str(p.axes[key]): p.axes[key] for p in cells if key in p.axes}
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in found.values())
    return sorted(found, key=lambda word: found[word]) if numbers else list(found)


def _put(row: Row, runs: Runs, metric: str, point: Configuration, column: str) -> None:
    mean = runs.mean(metric, point)
    if mean.n:
        row |= {column: mean.text(), f"{column}.mean": mean.estimate, f"{column}.n": mean.n}
        row |= {f"{column}.low": mean.low, f"{column}.high": mean.high, f"{column}.ids": runs.ids(point)}

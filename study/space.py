"""The space of a study: cells, sampled axes, seeds, and their trials."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from study import sources
from study.axes import Dimension, dimensions_of, has_key
from study.cells import MAX_TRIALS, Cell, cells_of
from study.document import place_of, plain
from study.mistake import Mistake, Mistakes, choices, nearest
from study.reading import shown
from study.resolve import check_base, classes_of, of_blocks, resolve, resolve_evaluations
from study.sources import Sources
from study.spec import TrialSpec
from study.studyfile import Source, changed


@dataclass(frozen=True)
class Trial:
    """One trial of a study: where it stands in the space, and its whole configuration."""

    arm: str
    axes: Mapping[str, Any]
    spec: TrialSpec
    point: Mapping[str, Any] = field(default_factory=dict)
    point_index: int = 0
    source: Trial | None = None  # the trial of this study that it starts from

    @property
    def id(self) -> str:
        return self.spec.id


class Space:
    """Everything that a study file asks for, expanded and checked. Raises Mistakes."""

    def __init__(self, source: Source, above: tuple[Path, ...] = ()) -> None:
        self.source = source
        self.settings = source.settings
        self.sources = Sources(self, above)
        found: list[Mistake] = []
        self.dimensions: list[Dimension] = []
        try:
            check_base(source.base)
            self.dimensions = dimensions_of(source)
        except Mistakes as error:
            found += error.mistakes
        try:
            self.cells, self.excluded = cells_of(source, self.dimensions)
        except Mistakes as error:
            found += error.mistakes
        if found:
            raise Mistakes([*found, *of_blocks(source.blocks)])
        for cell in self.cells:
            try:
                self.example(cell)
            except Mistakes as error:
                found += error.mistakes
        found += _named(self)
        if self.count() > MAX_TRIALS:
            what = (
                f"makes {self.count():,} trials over all cells and seeds; at most {MAX_TRIALS:,} are allowed"
            )
            found.append(
                Mistake(place_of(source.blocks, ("sampler",), source.base.place), "sampler.trials", what)
            )
        if found:
            raise Mistakes(found)

    @property
    def seeds(self) -> tuple[int, ...]:
        return self.settings.seed_list

    @property
    def sampled(self) -> bool:
        return bool(self.dimensions)

    def points(self, cell: Cell) -> int:
        """How many points are sampled in a cell: one where nothing of it is sampled."""
        return self.settings.sampler.trials if self.dimensions_of(cell) else 1

    def dimensions_of(self, cell: Cell) -> list[Dimension]:
        """The sampled axes that exist in this cell: a key that its method does not have is conditional."""
        return [d for d in self.dimensions if has_key(cell.template, d.key)]

    def trial(self, cell: Cell, point: Mapping[str, Any], seed: int, index: int = 0) -> Trial:
        """The trial of one seed at one point. Raises Mistakes."""
        template = cell.template
        for key, value in point.items():
            place = place_of(self.source.blocks, ("search", key), template.place)
            template = changed(template, tuple(key.split(".")), value, place)
        template, begun, here = self.sources.resolved(template, seed)
        spec = resolve(template, seed)
        if begun is not None:
            sources.check(spec, begun, template)
        return Trial(cell.label, {**cell.axes, **point}, spec, dict(point), index, begun if here else None)

    def example(self, cell: Cell) -> Trial:
        """A possible trial of a cell: where sampled axes are in the middle, or near it where that is impossible.
        Raises Mistakes, those of the middle, when none is found."""
        dimensions = self.dimensions_of(cell)
        middle = {d.key: d.middle for d in dimensions}
        try:
            return self.trial(cell, middle, self.seeds[0])
        except Mistakes as error:
            for d in dimensions:
                for value in d.samples[1:]:
                    with contextlib.suppress(Mistakes):
                        return self.trial(cell, {**middle, d.key: value}, self.seeds[0])
            raise error

    def chance(self) -> dict[str, dict[str, float]]:
        """Of every arm, the score of guessing among the classes, by evaluation.metric; empty where the number of
        classes is not known without the pictures."""
        found = {}
        for cell in self.cells:
            own = classes_of(cell.template.get("data"))
            known: dict[str, float] = {}
            for evaluation in resolve_evaluations(cell.template):
                classes = own if evaluation.data is None else evaluation.data.classes
                if classes:
                    share = 100 / classes
                    by_metric = {"top1": share, "top5": min(100.0, 5 * share), "mean_class": share}
                    known |= {f"{evaluation.label}.{metric}": v for metric, v in by_metric.items()}
            found[cell.label] = known
        return found

    def fixed(self) -> Iterator[Trial]:
        """Trials of the cells where nothing is sampled, seed by seed, so that every arm has its first number
        early and an interrupted study is still balanced."""
        for seed in self.seeds:
            for cell in self.cells:
                if not self.dimensions_of(cell):
                    yield self.trial(cell, {}, seed)

    def count(self) -> int:
        return sum(self.points(cell) for cell in self.cells) * len(self.seeds)


def _named(space: Space) -> list[Mistake]:
    """The words of a file that name arms and metrics must name something."""
    found = []
    source, settings = space.source, space.settings
    labels = [cell.label for cell in space.cells]
    evaluations = {e.label for cell in space.cells for e in resolve_evaluations(cell.template)}

    def wrong(path: tuple[Any, ...], what: str) -> None:
        place = place_of(source.blocks, path, source.base.place, True)
        found.append(Mistake(place, ".".join(str(p) for p in path), what))

    def metric(path: tuple[Any, ...], text: str) -> None:
        name = text.partition(".")[0]
        if name not in evaluations and name != "trial":
            wrong(
                path,
                f"there is no evaluation '{name}' in `evaluate`; it has {choices(sorted(evaluations))}."
                f"{nearest(name, evaluations)}",
            )

    if settings.baseline is not None and settings.baseline not in labels:
        wrong(
            ("baseline",),
            f"there is no arm '{settings.baseline}'; there are {choices(labels)}.{nearest(settings.baseline, labels)}",
        )
    for i, text in enumerate(settings.metrics):
        metric(("metrics", i), text)
    if space.sampled:
        several = isinstance(settings.objective, tuple)
        for i, objective in enumerate(settings.objectives):
            metric(("objective", i, "metric") if several else ("objective", "metric"), objective.metric)
    if settings.scheduler.name != "none":
        if settings.scheduler.metric.startswith("trial."):
            wrong(("scheduler", "metric"), "must be of an evaluation, not a cost")
        else:
            metric(("scheduler", "metric"), settings.scheduler.metric)
    for i, claim in enumerate(settings.claims):
        metric(("claims", i, "metric"), claim.metric)
        for side in ("a", "b"):
            chosen = plain(getattr(claim, side))
            if not any(all(cell.axes.get(k) == v for k, v in chosen.items()) for cell in space.cells):
                wrong(("claims", i, side), f"no arm has {shown(chosen)}; there are {choices(labels)}")
    return found

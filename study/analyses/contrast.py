"""Contrasts of arms: pairs of configurations that differ in what is compared only, one difference a seed."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from study import statistics
from study.analyses.runs import Configuration, Runs, matches


@dataclass(frozen=True)
class Contrast:
    """a - b by seed.

    pairs: of configurations, averaged within a seed. filled: seeds that some pair lacked and a fit completed.
    lost: seeds that were left out for it. points: the configurations whose runs were compared.
    """

    values: Mapping[int, float]
    pairs: int
    filled: tuple[int, ...] = ()
    lost: tuple[int, ...] = ()
    points: tuple[Configuration, ...] = ()

    @property
    def difference(self) -> statistics.Difference:
        """The differences over seeds, the seed being the independent unit."""
        return statistics.difference(list(self.values.values()))


def between(runs: Runs, metric: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> Contrast:
    """The contrast of all arms whose axes have the values `a` with those that have `b`.

    Arms that agree in all other axes are paired; where none do (a named arm against cells of a grid), the
    means of the sides are.
    """
    left, right = _chosen(runs, a), _chosen(runs, b)
    apart = {*a, *b, "arm", *runs.study.sampled}
    pairs = [(x, y) for x in left for y in right if x != y and _rest(x, apart) == _rest(y, apart)]
    if pairs:
        return over(runs, metric, pairs)
    one, other = _means(runs, metric, left), _means(runs, metric, right)
    values = {seed: one[seed] - other[seed] for seed in one if seed in other}
    return Contrast(values, 1 if one and other else 0, points=(*left, *right))


def over(runs: Runs, metric: str, pairs: Iterable[tuple[Configuration, Configuration]]) -> Contrast:
    """The mean difference of the pairs within every seed that all of them have."""
    found: list[dict[int, float]] = []
    points: list[Configuration] = []
    for a, b in pairs:
        one, other = runs.values(metric, a.arm, a.key), runs.values(metric, b.arm, b.key)
        if both := {seed: one[seed] - other[seed] for seed in one if seed in other}:
            found.append(both)
            points += [a, b]
    return replace(mean_of(found), points=tuple(points))


def mean_of(found: Sequence[Mapping[int, float]]) -> Contrast:
    """The mean of several differences within every seed.

    Where a seed lacks some of them (a trial failed), its mean over the others would not compare: a fit of
    difference = pair + seed fills them in. Where what is left cannot carry that fit, only whole seeds count.
    """
    if not found:
        return Contrast({}, 0)
    seeds = list(dict.fromkeys(seed for each in found for seed in each))
    whole = [seed for seed in seeds if all(seed in each for each in found)]
    filled = tuple(seed for seed in seeds if seed not in whole)
    fitted = _additive(found, seeds) if filled else None
    if fitted is not None:
        return Contrast(fitted, len(found), filled=filled)
    values = {seed: sum(each[seed] for each in found) / len(found) for seed in whole}
    return Contrast(values, len(found), lost=filled)


def _additive(found: Sequence[Mapping[int, float]], seeds: Sequence[int]) -> dict[int, float] | None:
    """Per seed, the mean over pairs of the fit; None where the pairs are not tied by common seeds."""
    spots = [(i, seeds.index(seed), value) for i, each in enumerate(found) for seed, value in each.items()]
    design = np.zeros((len(spots), len(found) + len(seeds)))
    for row, (pair, seed, _) in enumerate(spots):
        design[row, pair] = design[row, len(found) + seed] = 1.0
    if np.linalg.matrix_rank(design) < len(found) + len(seeds) - 1:
        return None
    fit = np.linalg.lstsq(design, np.array([value for *_, value in spots]), rcond=None)[0]
    level = float(fit[: len(found)].mean())
    return {seed: level + float(fit[len(found) + i]) for i, seed in enumerate(seeds)}


def _chosen(runs: Runs, wanted: Mapping[str, Any]) -> list[Configuration]:
    found = [runs.chosen(arm) for arm in runs.arms]
    return [point for point in found if point is not None and matches(point.axes, wanted)]


def _rest(point: Configuration, apart: set[str]) -> dict[str, Any]:
    return {key: value for key, value in point.axes.items() if key not in apart}


def _means(runs: Runs, metric: str, points: Sequence[Configuration]) -> dict[int, float]:
    measured = [v for v in (runs.values(metric, p.arm, p.key) for p in points) if v]
    return dict(mean_of(measured).values)

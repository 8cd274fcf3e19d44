"""What early stopping threw away: stopped points trained in full after the study, and ranks compared."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from study import table
from study.search import Record
from study.space import Space, Trial
from study.statistics import rank_correlation


@dataclass
class Unit:
    """One configuration with its seeds, as the scheduler saw it.

    group: the units that competed: a sampled cell's points, or the arms without samples. marks: mean over the
    seeds at the rungs that all of them reached. final: the same metric at the end, where all seeds are done.
    """

    group: str
    name: str
    trials: list[Trial]
    marks: dict[int, float] = field(default_factory=dict)
    stopped: bool = False
    final: float | None = None


def units(out: Path, space: Space) -> list[Unit]:
    """Every configuration of the study that has met a rung."""
    made = []
    arms = []
    for cell in space.cells:
        if not space.dimensions_of(cell):
            arms.append(Unit("", cell.label, [space.trial(cell, {}, seed) for seed in space.seeds]))
            continue
        for index, point in sorted(Record(out, space, cell).points.items()):
            trials = [space.trial(cell, point.params, seed, index) for seed in space.seeds]
            made.append(Unit(cell.label, f"point {index}", trials))
    name, metric = space.settings.scheduler.metric.split(".")
    marks: dict[str, dict[int, float]] = {}
    stopped: set[str] = set()
    for row in table.read(out, "rungs", space.settings.study):
        if row["value"] is not None:
            marks.setdefault(row["id"], {})[row["rung"]] = row["value"]
        if row["stopped"]:
            stopped.add(row["id"])
    done = {i for i, status in table.finished(out, space.settings.study).items() if status == "done"}
    finals = {
        row["id"]: row["value"]
        for row in table.read(out, "scores", space.settings.study, ["id", "evaluation", "metric", "value"])
        if (row["evaluation"], row["metric"]) == (name, metric)
        and row["value"] is not None
        and row["id"] in done
    }
    for unit in made + arms:
        seeds = [marks.get(trial.id, {}) for trial in unit.trials]
        shared = set.intersection(*(set(s) for s in seeds))
        unit.marks = {rung: sum(s[rung] for s in seeds) / len(seeds) for rung in sorted(shared)}
        unit.stopped = any(trial.id in stopped for trial in unit.trials)
        ends = [finals[trial.id] for trial in unit.trials if trial.id in finals]
        unit.final = sum(ends) / len(ends) if len(ends) == len(unit.trials) else None
    return [unit for unit in made + arms if unit.marks]


def chosen(out: Path, space: Space) -> list[Trial]:
    """The trials that the guard has still to train in full: of each group the best stopped units and some at
    random, the same whenever it is asked."""
    spec = space.settings.scheduler
    if spec.name == "none":
        return []
    sign = 1.0 if spec.goal == "max" else -1.0
    groups: dict[str, list[Unit]] = {}
    for unit in units(out, space):
        if unit.stopped:
            groups.setdefault(unit.group, []).append(unit)
    standing = table.finished(out, space.settings.study)
    trials: list[Trial] = []
    for found in groups.values():
        found.sort(key=lambda u: (max(u.marks), sign * u.marks[max(u.marks)]), reverse=True)
        rest = sorted(found[spec.guard.top :], key=lambda u: _draw(space.settings.sampler.seed, u))
        for unit in found[: spec.guard.top] + rest[: spec.guard.random]:
            trials += [trial for trial in unit.trials if standing.get(trial.id) == "pruned"]
    return trials


def report(out: Path, space: Space) -> list[str]:
    """Whether the rungs told the truth: rank correlation of each rung with the end, and the best that was
    stopped beside the best that was not. Empty where nothing was stopped."""
    spec = space.settings.scheduler
    if spec.name == "none":
        return []
    sign = 1.0 if spec.goal == "max" else -1.0
    groups: dict[str, list[Unit]] = {}
    for unit in units(out, space):
        groups.setdefault(unit.group, []).append(unit)
    lines = []
    for group, found in groups.items():
        stopped = [u for u in found if u.stopped]
        if not stopped:
            continue
        full = [u for u in stopped if u.final is not None]
        what = f"{group}: " if group and group != space.settings.study else ""
        what += f"{spec.name} stopped {len(stopped)} of {len(found)}"
        lines.append(f"{what}; {len(full)} of them were trained in full as a guard")
        for rung in sorted({r for u in found for r in u.marks}):
            both = [(u.marks[rung], u.final) for u in found if rung in u.marks and u.final is not None]
            found_rank = rank_correlation([a for a, _ in both], [b for _, b in both])
            if found_rank is not None:
                words = f"Spearman's rank correlation {found_rank[0]:.2f} over {len(both)}"
                lines.append(f"  rung {rung + 1}: {words} of {spec.metric} there and at the end")
        ends = [sign * u.final for u in found if not u.stopped and u.final is not None]
        if full and ends:
            wrong = [u for u in full if u.final is not None and sign * u.final > max(ends)]
            best = max(full, key=lambda u: sign * (u.final or 0.0))
            word = "WRONGLY STOPPED, better than" if wrong else "no better than"
            lines.append(
                f"  best stopped one in full: {best.final:.4g} ({best.name}), {word} {sign * max(ends):.4g}"
            )
    return lines


def _draw(seed: int, unit: Unit) -> str:
    return hashlib.sha256(repr((seed, unit.group, unit.name)).encode()).hexdigest()

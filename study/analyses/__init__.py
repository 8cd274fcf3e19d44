"""Analyses: each reads the tables of a study and gives one answer; none knows a model."""

from collections.abc import Callable, Mapping
from typing import Any

from study.analyses import (
    ablation,
    accounting,
    claims,
    confirmation,
    cost,
    effects,
    efficiency,
    importance,
    layout,
    low_data,
    power,
    printed,
    question,
    sensitivity,
    variance,
)
from study.analyses.answer import Answer
from study.analyses.runs import StudyView
from study.table import Tables

ANALYSES: Mapping[str, Callable[[Tables, StudyView], Answer]] = {
    "question": question.run,
    "claims": claims.run,
    "ablation": ablation.run,
    "layout": layout.run,
    "published": printed.run,
    "effects": effects.run,
    "importance": importance.run,
    "low_data": low_data.run,
    "efficiency": efficiency.run,
    "cost": cost.run,
    "variance": variance.run,
    "power": power.run,
    "confirmation": confirmation.run,
    "accounting": accounting.run,
    "sensitivity": sensitivity.run,
}

__all__ = ["ANALYSES", "Answer", "StudyView", "Tables", "view"]


def view(space: Any, metrics: list[str]) -> StudyView:
    """The view of an expanded space (study.space.Space), without importing what a space needs."""
    settings = space.settings
    seeds = len(space.seeds)
    axes = dict.fromkeys(key for cell in space.cells for key in cell.axes if key != "arm")
    return StudyView(
        name=settings.study,
        question=settings.question,
        baseline=settings.baseline,
        metrics=list(metrics),
        axes=[*axes, *(d.key for d in space.dimensions if d.key not in axes)],
        claims=[claim.model_dump() for claim in settings.claims],
        reproduces=settings.reproduces.model_dump() if settings.reproduces else None,
        arms=[cell.label for cell in space.cells],
        sampled=[d.key for d in space.dimensions],
        goals={o.metric: o.goal for o in settings.objectives} if space.dimensions else {},
        planned={cell.label: space.points(cell) * seeds for cell in space.cells},
        chance=space.chance(),
        file=space.source.path.read_text(encoding="utf-8"),
        scale=space.source.scale,
    )

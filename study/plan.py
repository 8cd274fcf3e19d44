"""What a study would run, before it runs: cells, trials, what stands already, the cost, what it can show."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from study import pilot, statistics, table
from study.agenda import FINAL
from study.estimate import Costs
from study.space import Space

SHOWN = 40  # arms printed


def plan(space: Space, out: Path, *, gpus: bool | None = None) -> str:
    """The plan as a page of text; nothing is run."""
    return text(facts(space, out, gpus=gpus))


def facts(
    space: Space,
    out: Path,
    *,
    gpus: bool | None = None,
    spread: float | None = None,
    effect: float | None = None,
) -> dict[str, Any]:
    """The plan as a record. gpus: whether trials run on accelerators; None: where this machine has one.

    spread: of paired differences in points, where no pilot stands in the tables; effect: a difference to be shown.
    """
    settings = space.settings
    device = "gpu" if (_has_gpu() if gpus is None else gpus) else "cpu"
    tables = table.Tables(out.expanduser())
    rows = tables.trials
    standing = table.finished(out.expanduser())
    mine = [row for row in rows if row["study"] == settings.study]
    costs = Costs(rows, device)
    arms: list[dict[str, Any]] = []
    seen: set[str] = set()
    for cell in space.cells:
        dimensions = space.dimensions_of(cell)
        first = space.example(cell)
        count = space.points(cell) * len(space.seeds)
        if dimensions:
            stands = sum(row["arm"] == cell.label and row["status"] in FINAL for row in mine)
        else:
            trials = [space.trial(cell, {}, seed) for seed in space.seeds]
            count = len({t.id for t in trials} - seen)
            stands = sum(standing.get(t.id) in FINAL for t in trials if t.id not in seen)
            seen |= {t.id for t in trials}
        arms.append(
            {
                "arm": cell.label,
                "points": space.points(cell),
                "trials": count,
                "stand": min(stands, count),
                "searched": [d.key for d in dimensions],
                "seconds_a_trial": round(costs.seconds(first.spec), 1),
            }
        )
    total, stand = sum(a["trials"] for a in arms), sum(a["stand"] for a in arms)
    to_run = total - stand
    if settings.budget.trials is not None:
        to_run = min(to_run, settings.budget.trials)
    seconds = sum((a["trials"] - a["stand"]) * a["seconds_a_trial"] for a in arms)
    seconds *= to_run / max(1, total - stand)
    cores = os.cpu_count() or 1
    mean = sum(a["trials"] * a["seconds_a_trial"] for a in arms) / max(1, total)
    return {
        "study": settings.study,
        "question": settings.question,
        "scale": space.source.scale,
        "file": str(space.source.path),
        "out": str(out),
        "arms": arms,
        "seeds": list(space.seeds),
        "trials": total,
        "stand": stand,
        "to_run": to_run,
        "excluded": [{"arm": e.label, "by": e.by} for e in space.excluded],
        "sampler": settings.sampler.name if space.sampled else None,
        "scheduler": settings.scheduler.name if space.sampled else None,
        "budget": settings.budget.model_dump(exclude_none=True),
        "device": device,
        "seconds": round(seconds, 1),
        "seconds_on_this_machine": round(seconds / (min(cores, to_run) or 1), 1)
        if device == "cpu"
        else round(seconds, 1),
        "cores": cores,
        "estimated": costs.source,
        "notes": notes(len(space.seeds), len(settings.claims)),
        "shows": pilot.shows(space, out, spread, effect, mean),
    }


def notes(seeds: int, claims: int = 0) -> list[str]:
    """What cannot be concluded from so few seeds."""
    if seeds < 2:
        return ["1 seed: no interval and no test; a difference cannot be told from the luck of a seed"]
    found = []
    floor = statistics.sign_flip_floor(seeds)
    least = statistics.detectable(1.0, seeds)
    if least is not None:
        found.append(
            f"{seeds} paired seeds show (80 % power, p < 0.05) a mean difference of {least:.1f} or more "
            f"standard deviations of the paired differences; a smaller one will mostly stay undecided"
        )
    if floor > 0.05:
        needed = next(n for n in range(2, 20) if statistics.sign_flip_floor(n) <= 0.05)
        found.append(
            f"the exact sign-flip test cannot fall below p = {floor:.2g} with {seeds} seeds; "
            f"{needed} are needed for 0.05"
        )
    if claims > 1:
        found.append(f"{claims} claims are judged together (Holm): each needs a smaller p than one alone")
    return found


def text(plan: dict[str, Any]) -> str:
    """The record as a person reads it."""
    arms = plan["arms"]
    lines = [f"{plan['study']} ({plan['scale']} scale)", plan["question"], ""]
    width = max(len("arm"), *(len(_cut(a["arm"])) for a in arms[:SHOWN]))
    sampled = any(a["searched"] for a in arms)
    head = f"{'arm':<{width}}" + ("  points" if sampled else "") + "  trials  stand  a trial"
    lines.append(head)
    for a in arms[:SHOWN]:
        points = f"  {a['points']:>6}" if sampled else ""
        counts = f"{points}  {a['trials']:>6}  {a['stand']:>5}  {duration(a['seconds_a_trial']):>7}"
        lines.append(f"{_cut(a['arm']):<{width}}{counts}")
    if len(arms) > SHOWN:
        lines.append(f"... and {len(arms) - SHOWN} more arms")
    if plan["excluded"]:
        lines += ["", f"{len(plan['excluded'])} combinations are excluded by `where`:"]
        lines += [f"  {_cut(e['arm'])}: {e['by']}" for e in plan["excluded"][:SHOWN]]
        if len(plan["excluded"]) > SHOWN:
            lines.append(f"  ... and {len(plan['excluded']) - SHOWN} more")
    keys = sorted({key for a in arms for key in a["searched"]})
    if keys:
        lines += ["", f"sampled by {plan['sampler']}: {', '.join(keys)}; scheduler: {plan['scheduler']}"]
    lines += ["", f"{len(arms)} arms, {len(plan['seeds'])} seeds, {plan['trials']} trials"]
    if plan["stand"]:
        lines[-1] += f"; {plan['stand']} stand in {plan['out']}"
    lines[-1] += f"; {plan['to_run']} to run"
    if plan["budget"]:
        lines.append("budget: " + ", ".join(f"{k} {v:g}" for k, v in plan["budget"].items()))
    if plan["to_run"]:
        lines.append(_cost(plan))
    return "\n".join([*lines, *plan["notes"], *pilot.told(plan["shows"], duration)])


def _cost(plan: dict[str, Any]) -> str:
    one = f"about {duration(plan['seconds'])} on one {'core' if plan['device'] == 'cpu' else 'accelerator'}"
    if plan["device"] == "cpu" and plan["cores"] > 1:
        one += f", {duration(plan['seconds_on_this_machine'])} on the {plan['cores']} cores here"
    return f"{one} ({plan['estimated']})"


def duration(seconds: float) -> str:
    """As 12 s, 3.4 min, 5.6 h or 7.8 days."""
    for size, name in ((86_400 * 2, "days"), (5_400, "h"), (90, "min")):
        if seconds >= size:
            return f"{seconds / {'days': 86_400, 'h': 3_600, 'min': 60}[name]:.1f} {name}"
    return f"{seconds:.0f} s"


def _cut(label: str) -> str:
    return label if len(label) <= 60 else label[:57] + "..."


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()

"""What a planned study can show in points: from a pilot's spread, or a stated one, and what it would cost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from study import statistics
from study.space import Space


def shows(
    space: Space, out: Path, spread: float | None, effect: float | None, seconds: float
) -> list[dict[str, Any]]:
    """A record a metric: the spread of paired differences, the smallest difference that the study's seeds show with
    80 % power, and the seeds and trials that `effect` needs.

    A pilot's spread is pooled over the arms that stand, against the baseline; plans rest on its 80 % upper bound.
    seconds: of a trial. Empty where there is neither a pilot nor a stated spread.
    """
    spreads = {"": (spread, None, "stated")} if spread is not None else _pilot(space, out)
    found = []
    for metric, (sd, upper, source) in spreads.items():
        used = upper if upper is not None else sd
        row: dict[str, Any] = {"metric": metric or None, "spread": sd, "upper": upper, "source": source}
        row |= {"seeds": len(space.seeds), "detectable": statistics.detectable(used, len(space.seeds))}
        if effect is not None:
            seeds = statistics.pairs_needed(effect, used)
            trials = None if seeds is None else seeds * space.count() // len(space.seeds)
            row |= {"effect": effect, "seeds_needed": seeds, "trials_needed": trials}
            row["seconds_needed"] = None if trials is None else round(trials * seconds, 1)
        found.append(row)
    return found


def _pilot(space: Space, out: Path) -> dict[str, tuple[float, float | None, str]]:
    """By metric: the pooled spread of paired differences, its upper bound, and where it is from."""
    from study.analyses import view
    from study.analyses.runs import Runs
    from study.conduct import headlines
    from study.table import Tables

    runs = Runs.of(Tables(out.expanduser(), space.settings.study), view(space, headlines(space)))
    found: dict[str, tuple[float, float | None, str]] = {}
    for metric in runs.metrics if runs.trials and runs.baseline is not None else []:
        reference = runs.values(metric, runs.baseline or "")
        gaps = [statistics.paired(runs.values(metric, a), reference) for a in runs.arms if a != runs.baseline]
        whole = statistics.pooled([(g.interval.sd, g.interval.n) for g in gaps if g.interval.sd is not None])
        if whole is not None and whole[0] > 0:
            sd, freedom = whole
            arms = sum(g.interval.n > 1 for g in gaps)
            source = f"{arms} arms that stand, against {runs.baseline}"
            found[metric] = (sd, statistics.upper_spread(sd, freedom), source)
    return found


def told(records: list[dict[str, Any]], duration: Callable[[float], str]) -> list[str]:
    """The records as lines."""
    lines = []
    for row in records:
        name = f"{row['metric']}: " if row["metric"] else ""
        text = f"{name}paired differences spread by {row['spread']:.3g} ({row['source']}"
        text += f"; at most {row['upper']:.3g} with 80 % confidence, which is used)" if row["upper"] else ")"
        if row["detectable"] is not None:
            text += f": {row['seeds']} seeds show a difference of {row['detectable']:.3g} with 80 % power"
        if row.get("effect") is not None:
            if row["seeds_needed"] is None:
                text += f"; {row['effect']:g} would need more than 10,000 seeds"
            else:
                text += (
                    f"; {row['effect']:g} needs {row['seeds_needed']} seeds, {row['trials_needed']} trials"
                )
                text += f", about {duration(row['seconds_needed'])} one after another"
        lines.append(text)
    return lines

"""What every change to the baseline does: an arm a row, ordered by its effect, with paired intervals."""

from collections.abc import Mapping
from typing import Any

from study import statistics
from study.analyses.answer import Answer, Row, shown
from study.analyses.runs import Runs, StudyView
from study.table import Tables

_MANY = 4


def run(tables: Tables, study: StudyView) -> Answer:
    """Paired differences to the baseline; p of the paired t test, Holm over all arms and metrics shown."""
    runs = Runs.of(tables, study)
    base = runs.baseline
    title = f"{study.name}: each change against {base or 'the baseline'}"
    columns = ["arm", "change", "metric", "difference", "n", "effect size", "wins", "p (Holm)"]
    rows: list[Row] = []
    if base is None or not runs.trials:
        return Answer(title, columns, rows, ["no trial has ended yet"])
    for metric in runs.metrics:
        reference = runs.values(metric, base)
        part = []
        for arm in runs.arms:
            if arm == base:
                continue
            gap = statistics.paired(runs.values(metric, arm), reference)
            if gap.interval.n == 0:
                continue
            row: Row = {"arm": arm, "change": changes(runs, base, arm), "metric": metric}
            row |= {
                "difference": statistics.signed(gap.interval),
                "n": gap.interval.n,
                "effect size": gap.effect_size,
            }
            row |= {"wins": f"{gap.wins}/{gap.interval.n}", "p": gap.p, "p_exact": gap.p_exact}
            row |= {"estimate": gap.interval.estimate, "low": gap.interval.low, "high": gap.interval.high}
            part.append(row | {"ids": runs.ids(arm, base)})
        better = runs.study.higher_is_better(metric)
        rows += sorted(part, key=lambda r: r["estimate"], reverse=better)
    for row, adjusted in zip(rows, statistics.holm([row["p"] for row in rows])):
        row["p (Holm)"] = adjusted
    notes = ["difference: arm - baseline over the seeds both have, 95 % t interval; effect size: Hedges' d_z"]
    absent = [arm for arm in runs.arms if arm != base and not any(row["arm"] == arm for row in rows)]
    if absent:
        notes.append(f"without a seed in common with the baseline: {', '.join(absent)}")
    if any(row["n"] < 2 for row in rows):
        notes.append("one seed in common: no interval")
    return Answer(title, columns, rows, notes + runs.selection_note())


def changes(runs: Runs, base: str, arm: str) -> str:
    """What the spec of an arm has otherwise than the baseline's, as `method.groups: 1 -> 4`."""
    before, after = _spec(runs, base), _spec(runs, arm)
    keys = [key for key in dict.fromkeys([*before, *after]) if before.get(key) != after.get(key)]
    # A change of name brings a whole block of new knobs with it: the name says it all.
    blocks = {key.rpartition(".")[0] for key in keys if key.endswith(".name")}
    keys = [key for key in keys if key.endswith(".name") or key.split(".")[0] not in blocks]
    told = [f"{key}: {shown(before.get(key))} -> {shown(after.get(key))}" for key in keys[:_MANY]]
    return "; ".join(told + ([f"and {len(keys) - _MANY} more"] if len(keys) > _MANY else []))


def _spec(runs: Runs, arm: str) -> dict[str, Any]:
    chosen = runs.chosen(arm)
    for row in runs.trials:
        if row["arm"] == arm and chosen is not None:
            spec = {
                key: value for key, value in (row["spec"] or {}).items() if key not in ("seed", "evaluate")
            }
            return _flat(spec) | dict(chosen.axes if not spec else {})
    return {}


def _flat(value: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, inner in value.items():
        if isinstance(inner, Mapping):
            found |= _flat(inner, f"{above}{key}.")
        else:
            found[f"{above}{key}"] = inner
    return found

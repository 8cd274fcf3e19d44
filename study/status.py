"""How a study stands against its file: what is done, what failed and why, what is left; reopening it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from study import perform, table
from study.agenda import FINAL
from study.diff import differences
from study.estimate import Costs
from study.mistake import Mistakes, nearest
from study.plan import duration
from study.space import Space, Trial
from study.task import locked, study_folder

Row = dict[str, Any]
CAUSE = 100  # characters of a reason that make a cause


def facts(space: Space, out: Path) -> dict[str, Any]:
    """The state of the study as a record."""
    out = out.expanduser()
    name = space.settings.study
    rows = table.Tables(out).trials
    mine = {row["id"]: row for row in table.Tables(out, name).trials}
    standing = table.finished(out)
    everywhere = {row["id"]: row for row in rows}
    costs = Costs(rows)
    fixed = {trial.id: trial for trial in space.fixed()}
    sampled = {cell.label: cell for cell in space.cells if space.dimensions_of(cell)}
    within = [everywhere[i] for i in fixed if standing.get(i) in FINAL]
    within += [row for row in mine.values() if row["arm"] in sampled and row["status"] in FINAL]
    removed = [row for row in mine.values() if row["id"] not in fixed and row["arm"] not in sampled]
    waiting = [trial for trial in fixed.values() if standing.get(trial.id) not in FINAL]
    left = sum(costs.seconds(trial.spec) for trial in waiting)
    for label, cell in sampled.items():
        done = sum(row["arm"] == label and row["status"] in FINAL for row in mine.values())
        open_ = max(0, space.points(cell) * len(space.seeds) - done)
        left += open_ * costs.seconds(space.example(cell).spec)
    running, live = _running(out, name)
    by_arm: dict[str, Counter[str]] = {cell.label: Counter() for cell in space.cells}
    arms = {i: trial.arm for i, trial in fixed.items()}
    for row in within:
        by_arm[arms.get(str(row["id"]), str(row["arm"]))][row["status"]] += 1
    total = len(fixed) + sum(space.points(c) * len(space.seeds) for c in sampled.values())
    counts = Counter(row["status"] for row in within)
    causes = Counter(
        (r["status"], _cause(r["reason"])) for r in within if r["status"] not in ("done", "pruned")
    )
    on_gpu = [row for row in mine.values() if row["device"] not in (None, "cpu")]
    return {
        "study": name,
        "question": space.settings.question,
        "scale": space.source.scale,
        "out": str(out),
        "planned": total,
        "running": live if running else [],
        "run_going_on": running,
        **{status: counts[status] for status in FINAL},
        "left": max(0, total - len(within)),
        "causes": [{"status": s, "cause": c, "trials": n} for (s, c), n in causes.most_common()],
        "arms": {label: dict(counter) for label, counter in by_arm.items()},
        "removed": sorted({row["arm"] for row in removed}),
        "removed_trials": len(removed),
        "seconds_spent": round(sum(row["seconds"] or 0.0 for row in mine.values()), 1),
        "gpu_hours_spent": round(sum((r["seconds"] or 0) * (r["workers"] or 1) for r in on_gpu) / 3600, 3),
        "seconds_left": round(left, 1),
        "estimated": costs.source,
    }


def text(facts: dict[str, Any]) -> str:
    """The record as a person reads it."""
    words = [f"{facts[status]} {status}" for status in FINAL if facts[status]]
    going = f"{len(facts['running'])} running" if facts["run_going_on"] else "no run is going on"
    lines = [
        f"{facts['study']} ({facts['scale']} scale) in {facts['out']}",
        f"{facts['planned']} planned: {', '.join([*words, going, str(facts['left']) + ' left'])}",
    ]
    for told in facts["running"]:
        share = f"{told['step']}/{told['total']}" if told.get("total") else "starting"
        lines.append(f"  running  {told['arm']}, seed {told['seed']}: {share}")
    short = {arm: c for arm, c in facts["arms"].items() if set(c) - {"done"}}
    for arm, counter in short.items():
        lines.append(f"  {arm}: {', '.join(f'{n} {status}' for status, n in counter.items())}")
    for cause in facts["causes"]:
        lines.append(f"  {cause['trials']} {cause['status']}: {cause['cause']}")
    if facts["removed_trials"]:
        what = ", ".join(facts["removed"][:8])
        lines.append(f"{facts['removed_trials']} trials are kept that the file no longer asks for: {what}")
    spent = f"spent {duration(facts['seconds_spent'])} of trial time"
    if facts["gpu_hours_spent"]:
        spent += f", {facts['gpu_hours_spent']:g} GPU-hours"
    lines.append(f"{spent}; about {duration(facts['seconds_left'])} left ({facts['estimated']})")
    return "\n".join(lines)


def why(space: Space, out: Path, wanted: str) -> list[dict[str, Any]]:
    """Of every trial that `wanted` names (an id, its beginning, or an arm): whether it would run, and why.

    Raises Mistakes where it names none.
    """
    out = out.expanduser()
    rows = {row["id"]: row for row in table.Tables(out).trials}
    standing = table.finished(out)
    mine = [row for row in rows.values() if row["study"] == space.settings.study]
    fixed = list(space.fixed())
    found = []
    for trial in fixed:
        if wanted == trial.arm or trial.id.startswith(wanted):
            runs, what = _reason(trial, rows, standing, mine, out)
            found.append(
                {"id": trial.id, "arm": trial.arm, "seed": trial.spec.seed, "runs": runs, "why": what}
            )
    known = {trial.id for trial in fixed}
    sampled = {cell.label for cell in space.cells if space.dimensions_of(cell)}
    for row in rows.values():
        if row["id"] in known or not (row["id"].startswith(wanted) or (row in mine and row["arm"] == wanted)):
            continue
        if row in mine and row["arm"] in sampled:
            runs, what = row["status"] not in FINAL, _standing(row)
        else:
            runs, what = False, "the file does not ask for it" + _nearest_trial(row, fixed)
        found.append({"id": row["id"], "arm": row["arm"], "seed": row["seed"], "runs": runs, "why": what})
    if not found:
        names = [cell.label for cell in space.cells]
        raise Mistakes(
            f"why: neither the file nor {out} has a trial or arm '{wanted}'; arms: {', '.join(names[:20])}."
            f"{nearest(wanted, [*names, *known])}"
        )
    return found


def reopen(space: Space, out: Path, statuses: set[str]) -> list[str]:
    """Let the study's trials that ended with one of `statuses` run again; returns their ids.

    Each gets a further attempt in the tables, `interrupted`, and loses its checkpoints: it starts anew. The
    rows of the attempt that failed stay.
    """
    out = out.expanduser()
    if (study_folder(out, space.settings.study) / "lock").exists() and _running(out, space.settings.study)[0]:
        raise Mistakes(f"{space.settings.study} is running in {out}; `stop` it first")
    wanted = {trial.id for trial in space.fixed()}
    sampled = {cell.label for cell in space.cells if space.dimensions_of(cell)}
    reopened = []
    for row in table.Tables(out).trials:
        here = row["id"] in wanted or (row["study"] == space.settings.study and row["arm"] in sampled)
        if not here or row["status"] not in statuses:
            continue
        keep = ("id", "study", "arm", "seed", "spec", "axes")
        again = {
            "status": "interrupted",
            "reason": f"to run again; was {row['status']}: {row['reason'] or ''}",
        }
        while table.finished(out).get(row["id"]) in FINAL:  # of whichever study holds the last attempt
            table.record(out, {**{key: row[key] for key in keep}, **again})
        perform.forget(out, row["id"])
        reopened.append(row["id"])
    return reopened


def _reason(
    trial: Trial, rows: dict[str, Row], standing: dict[str, str], mine: list[Row], out: Path
) -> tuple[bool, str]:
    row = rows.get(trial.id)
    if row is not None and trial.id in standing:
        return standing[trial.id] not in FINAL, _standing(row)
    if row is not None:
        return True, "will run: the part with its scores cannot be read"
    if (out / "checkpoints" / trial.id / "training.pt").exists():
        return True, "will continue from the checkpoint that an interrupted run left"
    like = [r for r in mine if r["arm"] == trial.arm and r["seed"] == trial.spec.seed]
    if not like:
        return True, "will run: the tables have no row of it"
    changes = _changes(like[-1]["spec"], trial.spec.model_dump(mode="json"))
    return (
        True,
        f"will run: its configuration is new; {like[-1]['id']}, of this arm and seed, differs in {changes}",
    )


def _standing(row: Row) -> str:
    when = f" on {row['finished']:%Y-%m-%d %H:%M} UTC" if row["finished"] else ""
    if row["status"] == "done":
        return f"is not run again: done{when} (attempt {row['attempt']}, study {row['study']})"
    if row["status"] == "pruned":
        return f"is not run again: pruned by the scheduler{when} ({row['reason']})"
    if row["status"] in FINAL:
        again = f"`retry --{row['status']}` runs it again"
        return f"is not run again: {row['status']}{when}: {row['reason']}; {again}"
    return f"will run: {row['reason'] or 'it was interrupted'}"


def _nearest_trial(row: Row, fixed: list[Trial]) -> str:
    like = [t for t in fixed if t.arm == row["arm"] and t.spec.seed == row["seed"]]
    if not like:
        return f": it has no arm '{row['arm']}' with seed {row['seed']}"
    return f": its {row['arm']}, seed {row['seed']}, differs in " + _changes(
        row["spec"], like[0].spec.model_dump(mode="json")
    )


def _changes(there: Any, here: Any) -> str:
    without = [{k: v for k, v in spec.items() if k != "evaluate"} for spec in (there, here)]
    found = [f"{key} ({a} there, {b} in the file)" for key, a, b in differences(without[0], without[1])]
    return ", ".join(found[:6]) + (f" and {len(found) - 6} more" if len(found) > 6 else "")


def _running(out: Path, name: str) -> tuple[bool, list[dict[str, Any]]]:
    """Whether a run of the study is going on, and what its trials last told."""
    folder = study_folder(out, name)
    if not folder.is_dir():
        return False, []
    with locked(folder / "lock", wait=False) as free:
        running = not free
    return running, list(_told(folder / "live"))


def _told(folder: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.glob("*.json")):
        try:
            told = json.loads(path.read_text())
        except (OSError, ValueError):  # it ended meanwhile
            continue
        if isinstance(told, dict):
            yield {"id": path.stem, **told}


def _cause(reason: str | None) -> str:
    return (reason or "no reason was recorded").split("\n")[0][:CAUSE]

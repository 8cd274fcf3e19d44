"""Evaluating later: the evaluations that a study file asks for and a finished trial lacks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from data.sets.dataset import DataError
from study import table
from study.pretrain import Place
from study.resolve import resolve_evaluations
from study.space import Space
from study.spec import TrialSpec, from_json
from study.task import locked
from study.trial import encoder_of, evaluate, load, subject

Say = Callable[[str], None]


def finished(space: Space, out: Path) -> Iterator[tuple[table.Row, TrialSpec]]:
    """The row of every trial of the study that is done and belongs to the file, sampled points too, and its
    spec with the evaluations that the file asks for now."""
    study = space.settings.study
    rows = {row["id"]: row for row in table.read(out, "trials", study, columns=table.SCHEMAS["trials"].names)}
    done = {id for id, row in rows.items() if row["status"] == "done"}
    for trial in space.fixed():
        if trial.id in done:
            yield rows[trial.id], trial.spec
    sampled = {cell.label: cell for cell in space.cells if space.dimensions_of(cell)}
    for id in sorted(done):
        row = rows[id]
        if row["arm"] in sampled and row["seed"] in space.seeds:
            asked = resolve_evaluations(sampled[row["arm"]].template)
            yield row, from_json(json.dumps(row["spec"])).model_copy(update={"evaluate": asked})


def evaluate_later(space: Space, out: Path, root: Path, device: str, say: Say) -> tuple[int, int]:
    """Run them from the encoders that the trials left; returns how many trials gained scores, and how many
    were asked to and could not. The numbers of the training stay as they are: a new attempt of the row
    carries them on, with the new scores beside."""
    added = failed = 0
    for row, spec in finished(space, out):
        name = f"{row['arm']}, seed {row['seed']}"
        old = [_bare(r) for r in table.scores_of(out, space.settings.study, row["id"])]
        have = {r["evaluation"] for r in old}
        for label in _changed(row["spec"], spec, have):
            say(f"{name}: {label} was measured with other knobs and stays; give the new one a label")
        wanted = {e.label for e in spec.evaluate} - have
        if not wanted:
            continue
        folder = out / "checkpoints" / row["id"]
        with locked(folder / "lock"):
            encoder = encoder_of(spec, folder)
            if encoder is None:
                say(f"{name}: its encoder is gone from {folder}; not evaluated")
                failed += 1
                continue
            step = next((r["step"] for r in old if r["evaluation"] == "trial"), 0)
            corrupt = dict(row.get("corrupt") or {})
            try:
                data = load(spec.data, root.expanduser())
                encoder.backbone.to(device)
                given = subject(spec, data, encoder, Place(device=device))
                new = evaluate(spec, given, step, root, wanted, corrupt)
            except (DataError, ValueError, RuntimeError) as error:
                say(f"{name}: not evaluated: {str(error).splitlines()[0]}")
                failed += 1
                continue
            stored = {e["label"]: e for e in row["spec"].get("evaluate", ()) if e["label"] in have}
            now = {e.label: e.model_dump(mode="json") for e in spec.evaluate}
            whole = {**row["spec"], "evaluate": list({**now, **stored}.values())}
            curves = [
                _bare(r) for r in table.read(out, "curves", space.settings.study) if r["id"] == row["id"]
            ]
            table.record(
                out,
                {**_bare(row), "id": row["id"], "spec": whole, "corrupt": corrupt or None},
                [*old, *new],
                curves,
            )
        say(f"{name}: {', '.join(sorted(wanted))}")
        added += 1
    return added, failed


def _bare(row: table.Row) -> dict[str, Any]:
    return {k: v for k, v in row.items() if k not in ("id", "attempt")}


def _changed(before: dict[str, Any], spec: TrialSpec, have: set[str]) -> list[str]:
    """Labels whose scores stand, of knobs that the file no longer has. A knob that the row does not know has
    come since."""
    stored = {e["label"]: e for e in before.get("evaluate", ()) if e["label"] in have}
    found = []
    for evaluation in spec.evaluate:
        old = stored.get(evaluation.label, {})
        new = evaluation.model_dump(mode="json")
        if any(new.get(key) != value for key, value in old.items() if key != "every"):
            found.append(evaluation.label)
    return found

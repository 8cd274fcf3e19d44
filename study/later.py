"""Evaluating later: the evaluations that a study file asks for and a finished trial lacks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from study import table
from study.perform import locked
from study.pretrain import Place
from study.space import Space, Trial
from study.trial import encoder_of, evaluate, load, subject


def missing(out: Path, study: str, trial: Trial) -> set[str]:
    """The evaluations of the file that have no score in the tables."""
    have = {row["evaluation"] for row in table.scores_of(out, study, trial.id)}
    return {e.label for e in trial.spec.evaluate} - have


def evaluate_later(space: Space, out: Path, root: Path, device: str, say: Callable[[str], None]) -> int:
    """Run them from the encoders that the trials left; returns how many trials gained scores. The numbers of
    the training stay as they are: a new attempt of the row carries them on, with the new scores beside."""
    study = space.settings.study
    status = table.finished(out, study)
    rows = {row["id"]: row for row in table.read(out, "trials", study, columns=table.SCHEMAS["trials"].names)}
    added = 0
    for trial in space.fixed():
        wanted = missing(out, study, trial) if status.get(trial.id) == "done" else set()
        if not wanted:
            continue
        name = f"{trial.arm}, seed {trial.spec.seed}"
        with locked(out / "checkpoints" / trial.id / "lock"):
            encoder = encoder_of(trial.spec, out / "checkpoints" / trial.id)
            if encoder is None:
                say(f"{name}: its encoder is gone from {out / 'checkpoints' / trial.id}; not evaluated")
                continue
            data = load(trial.spec.data, root.expanduser())
            given = subject(trial.spec, data, encoder.to(device), Place(device=device))
            old = table.scores_of(out, study, trial.id)
            step = max((row["step"] or 0 for row in old), default=0)
            new = evaluate(trial.spec, given, step, root, wanted)
            kept = {k: v for k, v in rows[trial.id].items() if k not in ("id", "attempt")}
            curves = [r for r in table.read(out, "curves", study) if r["id"] == trial.id]
            keep = [{k: v for k, v in r.items() if k not in ("id", "attempt")} for r in curves]
            scores = [{k: v for k, v in r.items() if k not in ("id", "attempt")} for r in old] + new
            table.record(out, {**kept, "id": trial.id, "spec": trial.spec.model_dump_json()}, scores, keep)
        say(f"{name}: {', '.join(sorted(wanted))}")
        added += 1
    return added

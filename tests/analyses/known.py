"""A store in memory with known scores, for the tests of the analyses."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from study.columns import TABLES
from study.table import Tables

START = datetime(2026, 1, 1, tzinfo=UTC)


class Store:
    """Trials and scores added by hand; `tables` is what an analysis reads."""

    def __init__(self, study: str = "s") -> None:
        self.study = study
        self.trials: list[dict[str, Any]] = []
        self.scores: list[dict[str, Any]] = []

    def add(
        self, arm: str, seed: int, axes: Mapping[str, Any], scores: Mapping[str, float], **more: Any
    ) -> None:
        """One trial; scores by evaluation.metric."""
        identity = f"t{len(self.trials)}"
        row: dict[str, Any] = {column.name: None for column in TABLES["trials"]}
        row |= {"id": identity, "attempt": 1, "study": self.study, "arm": arm, "seed": seed, "status": "done"}
        row |= {"axes": dict(axes), "spec": {}, "seconds": 10.0, "device": "cpu", "workers": 1}
        row |= {"started": START, "finished": START + timedelta(seconds=len(self.trials))}
        self.trials.append(row | more)
        for name, value in scores.items():
            evaluation, metric = name.split(".")
            score = {"id": identity, "attempt": 1, "evaluation": evaluation, "metric": metric, "value": value}
            self.scores.append(score | {"n": 100, "step": 1})

    @property
    def tables(self) -> Tables:
        made = Tables(Path("nowhere"), self.study)
        made.trials, made.scores, made.curves = self.trials, self.scores, []
        return made


def groups() -> Store:
    """byol: 80, 82, 81; groups=1: the same; groups=4: 2, 3 and 4 above it; one more seed of it diverged."""
    store = Store()
    for seed, base in enumerate((80.0, 82.0, 81.0)):
        spec = {"method": {"name": "lewel_b"}}
        store.add("byol", seed, {"arm": "byol"}, {"linear.top1": base})
        store.add("groups=1", seed, {"method.groups": 1}, {"linear.top1": base}, spec=spec)
        store.add(
            "groups=4", seed, {"method.groups": 4}, {"linear.top1": base + 2 + seed}, seconds=20.0, spec=spec
        )
    store.add(
        "groups=4", 3, {"method.groups": 4}, {}, status="diverged", reason="loss is not finite at step 3"
    )
    return store

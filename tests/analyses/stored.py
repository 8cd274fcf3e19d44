"""A store of known scores written as Parquet, for the tests of what reads a folder."""

from pathlib import Path

from known import Store

from study import table


def stored(out: Path, store: Store, study: str) -> None:
    """Every trial with its scores and a loss curve."""
    for row in store.trials:
        trial = {k: v for k, v in row.items() if k != "attempt"} | {"study": study}
        scores = [
            {k: v for k, v in s.items() if k not in ("id", "attempt")}
            for s in store.scores
            if s["id"] == row["id"]
        ]
        curves = [{"step": step, "epoch": step / 2, "name": "loss", "value": 5.0 - step} for step in range(5)]
        table.record(out, trial, scores, curves)

"""What a report costs: every table and the whole page, of 10,000 trials with 1,000 curve rows each."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from study import report, table
from study.analyses import ANALYSES, StudyView
from study.chapter import Chapter
from study.table import Tables

TRIALS, POINTS, SEEDS = 10_000, 1_000, 20
TABLE_LIMIT, PAGE_LIMIT = 2.0, 20.0  # seconds on 2 cores
GROUPS, WEIGHTS = (1, 2, 4, 8, 16), (0.1, 0.3, 0.5, 0.7, 0.9)
FRACTIONS = (0.01, 0.1, 0.3, 1.0)
VIEW = StudyView(
    "bench",
    question="How long does a report take?",
    metrics=["linear.top1", "knn.top1"],
    sampled=["optim.lr"],
    goals={"linear.top1": "max"},
    chance={},
    claims=[
        {
            "say": "four groups beat one",
            "a": {"method.groups": 4},
            "b": {"method.groups": 1},
            "metric": "linear.top1",
            "expect": "a > b",
        }
    ],
)


def run(
    print_line: Callable[[str], None], trials: int = TRIALS, points: int = POINTS, folder: Path | None = None
) -> tuple[float, float]:
    """Print the seconds of the slowest table and of the page, and return them.

    The page is made with nothing read before, as after a run; a table's seconds include reading what the page's
    reading left merged. folder: where the tables are left; by default nowhere.
    """
    with tempfile.TemporaryDirectory() as temporary:
        out = folder or Path(temporary)
        started = time.monotonic()
        if not (out / "tables").exists():
            store(out, trials, points)
        print_line(f"{trials:,} trials x {points:,} curve rows written in {time.monotonic() - started:.1f} s")
        shutil.rmtree(out / "merged", ignore_errors=True)
        started = time.monotonic()
        text = report.page([Chapter(Tables(out, VIEW.name), VIEW)])
        page = time.monotonic() - started
        print_line(f"{'page':>14}: {page:6.2f} s ({len(text) / 2**20:.1f} MiB), every part opened")
        slowest = 0.0
        for name, analysis in ANALYSES.items():
            started = time.monotonic()
            found = analysis(Tables(out, VIEW.name), VIEW)
            seconds = time.monotonic() - started
            slowest = max(slowest, seconds)
            print_line(f"{name:>14}: {seconds:6.2f} s ({len(found.rows):,} rows)")
    print_line(
        f"slowest table {slowest:.2f} s (at most {TABLE_LIMIT:g}), page at most {PAGE_LIMIT:g} s on 2 cores"
    )
    return slowest, page


def store(out: Path, trials: int, points: int) -> None:
    """A store of `trials` trials over a grid with a sampled rate, 20 seeds a point, with losses of `points` rows."""
    rng = np.random.default_rng(0)
    epoch = datetime(2026, 1, 1, tzinfo=UTC)
    cells = [(g, w, f) for g in GROUPS for w in WEIGHTS for f in FRACTIONS]
    steps = np.arange(points // 2)
    for i in range(trials):
        seed, point = i % SEEDS, i // SEEDS
        groups, weight, fraction = cells[point % len(cells)]
        rate = float(10 ** np.random.default_rng(point).uniform(-3, 0))
        axes = {"method.groups": groups, "method.weight": weight, "data.fraction": fraction, "optim.lr": rate}
        value = 60 + 8 * np.log10(fraction) + 3 * np.log2(groups) + 2 * np.log10(rate) + rng.normal()
        arm = f"groups={groups}, weight={weight}, fraction={fraction}"
        row = {"id": f"{i:012x}", "study": "bench", "arm": arm, "seed": seed, "status": "done", "axes": axes}
        row |= {"spec": {"method": {"name": "lewel_b", "groups": groups, "weight": weight}}, "seconds": 100.0}
        row |= {"device": "cpu", "workers": 1, "code": "0" * 12, "environment": {"torch": "2"}}
        row |= {"started": epoch, "finished": epoch + timedelta(seconds=i)}
        if i % 50 == 49:
            row |= {"status": "diverged", "reason": f"loss is not finite at step {i % 7}"}
        scores = [
            {"evaluation": name, "metric": "top1", "value": float(value + shift), "n": 10_000, "step": points}
            for name, shift in (("linear", 0.0), ("knn", -2.0))
        ]
        loss = 5 * np.exp(-steps / points) + 0.1 * rng.normal(size=len(steps))
        curves = [
            {"step": int(s), "epoch": s / 10, "name": name, "value": float(v)}
            for name, values in (("loss", loss), ("lr", np.cos(steps / points)))
            for s, v in zip(steps, values)
        ]
        table.record(out, row, scores if row["status"] == "done" else [], curves)

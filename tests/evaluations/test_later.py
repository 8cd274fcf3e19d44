"""`python -m study evaluate`: what a finished trial lacks is added, and nothing twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from study import table
from study.__main__ import main as verbs
from study.run import main as run

TEXT = """
study: later
question: Can it be asked later?
base:
  data:     {name: digits, fraction: 0.1}
  backbone: {name: resnet_tiny, width: 8}
  method:   {name: simclr, dim: 16, hidden: 32}
  views:    {size: 8}
  optim:    {name: sgd, lr: 0.05, warmup: 0}
  budget:   {epochs: 1, batch: 32}
evaluate: [knn]
seeds: 1
"""
FIXED = TEXT + "arms: {one: {}, two: {optim: {lr: 0.04}}}\n"
SAMPLED = TEXT + "search: {optim.lr: {log: [0.01, 0.1]}}\nsampler: {name: random, trials: 2}\n"
MORE = "[knn, {name: correspondence, pictures: 20, top: 1}, {name: knn, data: {name: digits}, k: 5}]"


def ran(folder: Path, text: str) -> Path:
    path = folder / "later.yaml"
    path.write_text(text)
    assert run([str(path), "--local", "--out", str(folder / "out")]) == 0
    return path


def scores(out: Path) -> list[tuple[Any, ...]]:
    rows = table.read(out, "scores")
    return sorted((r["id"], r["evaluation"], r["metric"], r["value"], r["step"]) for r in rows)


@pytest.mark.parametrize("text", [FIXED, SAMPLED], ids=["arms", "sampled points"])
def test_added_once_from_the_encoders(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    path = ran(tmp_path, text)
    before, curves = scores(out), len(table.read(out, "curves"))
    ask = ["evaluate", str(path), "--out", str(out)]
    assert verbs(ask) == 0
    assert "0 trials were evaluated anew" in capsys.readouterr().out
    path.write_text(text.replace("[knn]", MORE))
    assert verbs(ask) == 0
    assert "2 trials were evaluated anew" in capsys.readouterr().out
    after = scores(out)
    assert set(before) < set(after)  # nothing of the training, nor an earlier score, has changed
    assert len(table.read(out, "curves")) == curves
    assert {row[1] for row in after} == {"trial", "knn", "correspondence", "knn_digits"}
    assert {row[4] for row in after} == {4}  # all of the end of training
    parts = sorted(out.rglob("*.parquet"))
    assert verbs(ask) == 0
    assert "0 trials were evaluated anew" in capsys.readouterr().out
    assert sorted(out.rglob("*.parquet")) == parts
    assert run([str(path), "--local", "--out", str(out)]) == 0  # nor is anything trained again
    assert sorted(out.rglob("tables/trials/**/*.parquet")) == [p for p in parts if "/trials/" in str(p)]


def test_other_knobs_and_lost_encoders_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    path = ran(tmp_path, FIXED)
    ask = ["evaluate", str(path), "--out", str(out)]
    path.write_text(FIXED.replace("[knn]", "[{name: knn, k: 3}]"))
    capsys.readouterr()
    assert verbs(ask) == 0
    assert "one, seed 0: knn was measured with other knobs" in capsys.readouterr().out
    min(out.rglob("encoder.pt")).unlink()
    path.write_text(FIXED.replace("[knn]", "[knn, cost]"))
    assert verbs(ask) == 1
    printed = capsys.readouterr().out
    assert "its encoder is gone" in printed
    assert "1 trials were evaluated anew, 1 could not be" in printed


def test_a_set_that_is_missing_is_told_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = ran(tmp_path, FIXED)
    path.write_text(FIXED.replace("[knn]", "[{name: knn, data: {name: cifar10}}]"))
    nowhere = ["--data", str(tmp_path / "nowhere")]
    assert verbs(["evaluate", str(path), "--out", str(tmp_path / "out"), *nowhere]) == 1
    assert "one, seed 0: not evaluated: " in capsys.readouterr().out

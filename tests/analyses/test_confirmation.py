"""Confirmation: the best are run again with seeds that selected nothing, and their optimism is told."""

from pathlib import Path

import pytest
from known import Store
from scipy import stats as sps
from stored import stored

from study import table
from study.__main__ import main
from study.analyses import ANALYSES, StudyView
from study.analyses.confirmation import ranked
from study.analyses.runs import Runs
from study.run import main as run
from study.table import Tables

VIEW = StudyView("s", metrics=["knn.top1"], sampled=["optim.lr"], goals={"knn.top1": "max"})


def searched() -> Store:
    """Three points with two seeds each; the best one has 90 and 92; a fourth point has one lucky seed."""
    store = Store()
    for rate, values in ((0.1, (80.0, 82.0)), (0.2, (90.0, 92.0)), (0.4, (85.0, 87.0)), (0.8, (99.0,))):
        for seed, value in enumerate(values):
            store.add("all", seed, {"optim.lr": rate}, {"knn.top1": value})
    return store


def again(values: dict[float, tuple[float, ...]]) -> Store:
    store = Store("s-confirm")
    for rate, scores in values.items():
        for seed, value in enumerate(scores, 2):
            store.add("all", seed, {"optim.lr": rate}, {"knn.top1": value}, id=f"c{len(store.trials)}")
    for row, score in zip(store.trials, store.scores):
        score["id"] = row["id"]
    return store


def test_ranking_leaves_out_the_lucky_seed() -> None:
    found = ranked(Runs(searched().tables, VIEW), "knn.top1")
    assert [(p.axes["optim.lr"], value, n) for p, value, n in found] == [
        (0.2, 91.0, 2),
        (0.4, 86.0, 2),
        (0.1, 81.0, 2),
    ]


def test_optimism_by_hand(tmp_path: Path) -> None:
    stored(tmp_path, searched(), "s")
    stored(tmp_path, again({0.2: (88.0, 86.0, 87.0), 0.4: (86.0, 88.0, 87.0)}), "s-confirm")
    answer = ANALYSES["confirmation"](Tables(tmp_path, "s"), VIEW)
    best, second = answer.rows
    low, high = sps.t.interval(0.95, 2, 87.0, sps.sem([86, 87, 88]))
    assert (best["rank"], best["selected"], best["estimate"], best["fresh seeds"]) == (1, 91.0, 87.0, 3)
    assert best["optimism.estimate"] == pytest.approx(4.0)
    assert best["optimism.low"] == pytest.approx(91 - high)
    assert best["optimism.high"] == pytest.approx(91 - low)
    assert second["optimism.estimate"] == pytest.approx(-1.0)
    assert any("best of 3 configurations" in note for note in answer.notes)
    assert any("mean optimism of the 2: +1.5" in note for note in answer.notes)


def test_optimism_of_an_error_has_the_same_sign(tmp_path: Path) -> None:
    low_is_good = StudyView("s", metrics=["knn.top1"], sampled=["optim.lr"], goals={"knn.top1": "min"})
    stored(tmp_path, searched(), "s")
    stored(tmp_path, again({0.1: (84.0, 84.0, 87.0)}), "s-confirm")
    row = ANALYSES["confirmation"](Tables(tmp_path, "s"), low_is_good).rows[0]
    assert (row["rank"], row["optimism.estimate"]) == (1, pytest.approx(4.0))
    assert row["optimism.low"] < 4 < row["optimism.high"]


FILE = """\
study: searched
question: Which rate?
base:
  data:     {name: digits, fraction: 0.1}
  backbone: {name: resnet_tiny, width: 8}
  method:   {name: byol, dim: 16, hidden: 32, batch_norm: sync}
  views:    {size: 16}
  optim:    {name: sgd, lr: 0.05}
  budget:   {epochs: 1, batch: 32}
evaluate: [knn]
search:   {optim.lr: {log: [0.01, 0.5]}}
seeds:    1
sampler:  {name: random, trials: 3}
"""


@pytest.mark.slow
def test_the_best_are_run_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = tmp_path / "searched.yaml", tmp_path / "out"
    file.write_text(FILE)
    words = ["confirm", str(file), "--out", str(out), "--local", "--top", "2", "--seeds", "2"]
    assert main(words) == 2
    assert "run the study first" in capsys.readouterr().err
    assert run([str(file), "--out", str(out), "--local"]) == 0
    capsys.readouterr()
    assert main([*words, "--dry-run"]) == 0
    assert "with seeds 1 to 2: 4 trials" in capsys.readouterr().out
    assert table.read(out, "trials", "searched-confirm") == []
    assert main(words) == 0
    told = capsys.readouterr().out
    assert "best of 3 configurations" in told
    rows = table.read(out, "trials", "searched-confirm")
    assert sorted(row["seed"] for row in rows) == [1, 1, 2, 2]
    old = {row["spec"]["optim"]["lr"] for row in table.read(out, "trials", "searched")}
    assert len({row["spec"]["optim"]["lr"] for row in rows}) == 2
    assert {row["spec"]["optim"]["lr"] for row in rows} <= old
    # Again: nothing is run; one seed more: only that one.
    assert main(words) == 0
    assert len(table.read(out, "trials", "searched-confirm")) == 4
    assert "4 of 4 trials stand" in capsys.readouterr().out
    assert len(table.read(out, "trials", "searched")) == 3

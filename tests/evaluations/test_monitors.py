"""Evaluations during training: where their values land, and that the training does not feel them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from models.health import in_use
from study.pretrain import Watch
from tests.little_trials import DINO, points, spec, trained

KNN = {"name": "knn", "every": 1}


def test_values_land_in_the_curves_and_the_last_is_the_score(tmp_path: Path) -> None:
    asked = spec([KNN, {"name": "correspondence", "every": 2, "pictures": 20, "top": 1}])
    outcome, _ = trained(asked, tmp_path)
    assert outcome.status in ("done", "collapsed")
    assert [step for step, _ in points(outcome, "knn.top1")] == [4, 8, 12]
    assert [step for step, _ in points(outcome, "correspondence.accuracy")] == [8, 12]
    final = next(r["value"] for r in outcome.scores if (r["evaluation"], r["metric"]) == ("knn", "top1"))
    assert points(outcome, "knn.top1")[-1] == (12, final)
    assert len([r for r in outcome.scores if r["evaluation"] == "knn" and r["metric"] == "top1"]) == 1


def test_training_does_not_feel_them(tmp_path: Path) -> None:
    """Same id, same weights to the bit, same loss: an evaluation with draws of its own asked every epoch."""
    linear = {"name": "linear", "features": "cached", "epochs": 1, "every": 1}
    watched, plain = spec([KNN, linear]), spec([{"name": "knn"}])
    assert watched.id == plain.id
    one, first = trained(watched, tmp_path / "watched")
    two, second = trained(plain, tmp_path / "plain")
    assert points(one, "loss") == points(two, "loss")
    for name, value in first["encoder"].items():
        assert torch.equal(value, second["encoder"][name]), name


def test_a_resumed_training_measures_no_epoch_twice(tmp_path: Path) -> None:
    asked = spec([KNN])
    steps: list[int] = []

    def stop() -> bool:
        steps.append(1)
        return len(steps) == 4  # just after the first measurement

    assert trained(asked, tmp_path, Watch(stop=stop))[0].status == "interrupted"
    resumed, _ = trained(asked, tmp_path)
    whole, _ = trained(asked, tmp_path / "whole")
    assert points(resumed, "knn.top1") == points(whole, "knn.top1")


def test_the_teachers_entropy_and_the_prototypes_in_use(tmp_path: Path) -> None:
    outcome, _ = trained(spec([], DINO), tmp_path)
    for name, low, high in (("teacher_entropy", 0, 4.16), ("prototypes_in_use", 1 / 64, 1)):
        found = points(outcome, name)
        assert [step for step, _ in found] == [4, 8, 12]
        assert all(low < value <= high for _, value in found)


@pytest.mark.parametrize(
    ("shares", "value"),
    [(torch.eye(4), 1.0), (torch.eye(4)[:2], 0.5), (torch.eye(4)[[2, 2, 2]], 0.25)],
)
def test_share_of_prototypes_by_hand(shares: torch.Tensor, value: float) -> None:
    assert in_use(shares).item() == pytest.approx(value)

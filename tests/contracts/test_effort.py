"""The arithmetic of training is counted right, once a kind of step, and counting changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from small import SMALL, batch_of, build
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from models.method import Moment
from study.effort import Effort, Operations
from study.pretrain import Watch
from tests.little_trials import DINO, spec, trained


def test_a_linear_layer_by_hand() -> None:
    layer, rows = nn.Linear(3, 5), torch.randn(7, 3, requires_grad=True)
    with Operations() as counted:
        layer(rows).sum().backward()
    assert counted.total == 3 * 2 * 7 * 3 * 5  # forward, and the gradients of weight and input


def step(label: str, counting: Any) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss and the gradients of one step."""
    method, batch = build(SMALL[label]), batch_of(SMALL[label])
    torch.manual_seed(3)
    method.prepare(Moment(0, 10, 5))
    with counting:
        loss = method(batch, Moment(0, 10, 5)).loss
        loss.backward()
    return loss.detach(), {n: p.grad for n, p in method.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("label", SMALL)
def test_counting_changes_no_bit_and_agrees_with_torch(label: str) -> None:
    ours, theirs = Operations(), FlopCounterMode(display=False)
    loss, gradients = step(label, ours)
    plain, others = step(label, Effort().watching())
    step(label, theirs)
    assert torch.equal(loss, plain)
    assert gradients.keys() == others.keys()
    assert all(torch.equal(gradients[name], others[name]) for name in gradients)
    assert ours.total == theirs.get_total_flops() > 0


def test_a_kind_of_step_that_joins_later_is_counted() -> None:
    effort = Effort()
    size = {"view": 2, "region,view": 3}
    for kind in ["view"] * 3 + ["region,view"] * 4:
        with effort.watching():
            torch.ones(size[kind], 1) @ torch.ones(1, 1)
        effort.took(kind)
    assert effort.flops == {"view": 4, "region,view": 6}
    assert effort.total == 3 * 4 + 4 * 6


def numbers(outcome: Any) -> dict[str, float]:
    return {row["metric"]: row["value"] for row in outcome.scores if row["evaluation"] == "trial"}


def test_every_trial_stores_what_it_cost(tmp_path: Path) -> None:
    cost = {"name": "cost", "batch": 2, "repeats": 1}
    outcome, _ = trained(spec([cost], {**DINO, "region_from_epoch": 1}), tmp_path)
    found = numbers(outcome)
    assert found["seconds_per_epoch"] == pytest.approx(4 * found["seconds_per_step"])
    assert found["train_seconds"] == pytest.approx(12 * found["seconds_per_step"])
    assert found["pictures_per_second"] * found["seconds_per_step"] == pytest.approx(32)
    assert found["train_tflops"] == pytest.approx(12 * found["gflops_per_step"] / 1000)
    alone = next(r["value"] for r in outcome.scores if (r["evaluation"], r["metric"]) == ("cost", "gflops"))
    assert found["encoder_gflops"] == alone
    # A student's step is at least a forward and a backward pass of the two large views.
    assert found["gflops_per_step"] > 2 * 32 * 2 * found["encoder_gflops"]
    assert found["encoder_images_per_second"] > 0
    assert outcome.facts["peak_memory_mb"] > 50
    without, _ = trained(spec([], {**DINO, "region_from_epoch": 2}), tmp_path / "later")
    assert numbers(without)["train_tflops"] < found["train_tflops"]


def test_a_resumed_training_has_the_operations_of_a_whole_one(tmp_path: Path) -> None:
    asked = spec([])
    steps: list[int] = []

    def stop() -> bool:
        steps.append(1)
        return len(steps) == 5

    assert trained(asked, tmp_path, Watch(stop=stop))[0].status == "interrupted"
    resumed, whole = trained(asked, tmp_path)[0], trained(asked, tmp_path / "whole")[0]
    assert numbers(resumed)["train_tflops"] == numbers(whole)["train_tflops"]

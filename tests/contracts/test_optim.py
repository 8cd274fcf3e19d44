"""Optimisers against torch's, schedules against the papers' formulas."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import nn

from models.method import Moment
from study import optim

MOMENTS = [Moment(step=i, per_epoch=4, epochs=5) for i in range(20)]


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 2)).double()


def descend(net: nn.Module, step: Any, count: int = 6) -> None:
    draw = torch.Generator().manual_seed(2)
    for i in range(count):
        x = torch.randn(7, 3, generator=draw, dtype=torch.float64)
        for p in net.parameters():
            p.grad = None
        net(x).square().sum().backward()
        step(MOMENTS[i])


def constant(**knobs: Any) -> dict[str, Any]:
    return {"warmup": 0.0, "schedule": "constant", "clip": "none", **knobs}


@pytest.mark.parametrize(
    ("spec", "theirs"),
    [
        (
            optim.SGDSpec(**constant(lr=0.01, weight_decay=0.1, momentum=0.8, nesterov=True)),
            lambda p: torch.optim.SGD(p, 0.01, 0.8, weight_decay=0.1, nesterov=True),
        ),
        (
            optim.SGDSpec(**constant(lr=0.01, weight_decay=0.1, momentum=0.0)),
            lambda p: torch.optim.SGD(p, 0.01, weight_decay=0.1),
        ),
        (
            optim.AdamWSpec(
                **constant(lr=0.01, weight_decay=0.1, weight_decay_end=None, exclude="none", beta2=0.99)
            ),
            lambda p: torch.optim.AdamW(p, 0.01, (0.9, 0.99), weight_decay=0.1),
        ),
    ],
)
def test_same_as_torch(spec: Any, theirs: Any) -> None:
    mine, other = network(), network()
    optimizer, reference = optim.build(mine, spec), theirs(other.parameters())
    descend(mine, lambda moment: optim.apply(optimizer, spec, moment))
    descend(other, lambda moment: reference.step())
    for a, b in zip(mine.parameters(), other.parameters()):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("spec", [optim.SGDSpec(), optim.LARSSpec(warmup=1.0), optim.AdamWSpec(warmup=1.0)])
def test_saved_and_loaded_goes_on_the_same(spec: Any) -> None:
    net = network()
    optimizer = optim.build(net, spec)
    descend(net, lambda moment: optim.apply(optimizer, spec, moment), 3)
    twin = copy.deepcopy(net)
    second = optim.build(twin, spec)
    second.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for one, its in ((net, optimizer), (twin, second)):
        descend(one, lambda moment, its=its: optim.apply(its, spec, moment), 3)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), twin.parameters()))


def test_lars_survives_a_weight_of_zero() -> None:
    weight = torch.zeros(3, requires_grad=True)
    optimizer = optim.LARS([weight], [], optim.LARSSpec())
    for grad in (torch.zeros(3), torch.ones(3)):
        weight.grad = grad
        optimizer.step()
    assert weight.tolist() == [0.0, 0.0, 0.0]


def test_excluded_by_rule() -> None:
    names = {rule: optim.excluded(network(), rule) for rule in ("norm_and_bias", "one_dimensional", "none")}
    both = {"0.bias", "1.weight", "1.bias", "3.bias"}
    assert names == {"norm_and_bias": both, "one_dimensional": both, "none": set()}
    groups = optim.build(network(), optim.LARSSpec()).param_groups
    assert [len(group["params"]) for group in groups] == [2, 4]


def test_excluded_parameters_are_not_decayed() -> None:
    net, spec = network(), optim.AdamWSpec()
    optimizer = optim.build(net, spec)
    descend(net, lambda moment: optim.apply(optimizer, spec, moment), 1)
    assert [group["weight_decay"] for group in optimizer.param_groups] == pytest.approx([0.04, 0.0])


def test_cosine_of_dino() -> None:
    spec = optim.AdamWSpec(lr=1.0, lr_end=0.1, warmup=2.0, weight_decay=0.04, weight_decay_end=0.4)
    rates = [optim.lr_at(spec, m) for m in MOMENTS]
    assert rates[:8] == pytest.approx([i / 7 for i in range(8)])
    assert rates[8:] == pytest.approx([0.1 + 0.45 * (1 + math.cos(math.pi * i / 12)) for i in range(12)])
    decays = [optim.weight_decay_at(spec, m) for m in MOMENTS]
    assert decays == pytest.approx([0.4 - 0.18 * (1 + math.cos(math.pi * i / 20)) for i in range(20)])


def test_cosine_of_an_epoch_and_steps() -> None:
    spec = optim.LARSSpec(lr=1.0, warmup=1.0)
    rates = [optim.lr_at(spec, m) for m in MOMENTS]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[4:] == pytest.approx([0.5 * (1 + math.cos(math.pi * (i // 4) / 4)) for i in range(16)])
    spec = optim.LARSSpec(lr=1.0, warmup=0.0, schedule="step", milestones=(2, 3), gamma=0.5)
    assert [optim.lr_at(spec, m) for m in MOMENTS] == [1.0] * 8 + [0.5] * 4 + [0.25] * 8


def test_a_warm_up_longer_than_the_training_only_rises() -> None:
    rates = [optim.lr_at(optim.LARSSpec(lr=1.0, warmup=10.0), m) for m in MOMENTS]
    assert rates == pytest.approx([(i + 1) / 40 for i in range(20)])


@pytest.mark.parametrize("how", ["whole", "tensor"])
def test_clipping(how: str) -> None:
    spec = optim.SGDSpec(clip=how, clip_norm=1.0)
    weights = [torch.zeros(2, requires_grad=True) for _ in range(2)]
    weights[0].grad, weights[1].grad = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 0.4])
    norm = optim.clip(weights, spec)
    assert norm.item() == pytest.approx(9.16**0.5)
    expected = [3 / 9.16**0.5, 0.4 / 9.16**0.5] if how == "whole" else [1.0, 0.4]
    assert [w.grad.norm().item() for w in weights if w.grad is not None] == pytest.approx(expected, rel=1e-5)


def test_refusals() -> None:
    with pytest.raises(ValueError, match="milestones"):
        optim.SGDSpec(schedule="step")
    with pytest.raises(ValueError, match=r"lr_end 2\.0 is above lr 1\.0"):
        optim.SGDSpec(lr=1.0, lr_end=2.0)
    assert optim.SGDSpec.model_validate({"schedule": "step", "milestones": [1, 2], "lr": 1}).milestones == (
        1,
        2,
    )

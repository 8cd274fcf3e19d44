"""How a step is computed: in half precision, in several passes, channels last, clipped, compiled. For every
method, two whole steps of the loop; none of it may change more than rounding, or than its definition says."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from small import SMALL, Small
from torch import Tensor

from data.sets.digits import Digits
from data.subsets import subset
from models.methods import METHODS
from models.norms import BatchNorm1d
from study.pretrain import HERE, Place, Trained, pretrain
from study.spec import TrialSpec, from_json

REGIONS = ["dino, similarity", "dino, geometric", "dino, optimal transport", "dino, squared error"]
LABELS = [*[label for label in SMALL if label in METHODS], *REGIONS]
SGD = {"name": "sgd", "lr": 0.05, "warmup": 0, "schedule": "constant"}
GENTLE = {**SGD, "lr": 1e-4}
# Methods without batch norm and without negatives within the batch: a picture's loss does not depend on the
# others, so that the passes of a step may be cut as one likes.
ONE_BY_ONE = {
    **{label: SMALL[label] for label in ["dino", *REGIONS]},
    "moco_v2": Small(SMALL["moco_v2"].method, SMALL["dino"].backbone),
    "supervised": Small(SMALL["supervised"].method, SMALL["dino"].backbone, (16,)),
}


def spec(small: Small, optim: dict[str, Any] | None = None, **budget: Any) -> TrialSpec:
    """Two steps of 12 digits."""
    recipe = METHODS[small.method.name].recipe
    large = sum(size == small.sizes[0] for size in small.sizes)
    views: dict[str, Any] = {"name": recipe, "size": 16, "count": large}
    if recipe == "dino":
        views |= {"local_crops": len(small.sizes) - large, "local_size": 8}
    method = small.method.model_dump(mode="json")
    method |= {"classes": 10} if "classes" in method else {}
    method |= {"queue": 24} if "queue" in method else {}
    method |= {"freeze_last_layer": 0} if "freeze_last_layer" in method else {}
    block = {
        "data": {"name": "digits", "fraction": 0.02},
        "backbone": small.backbone.model_dump(mode="json"),
        "method": method,
        "views": views,
        "optim": optim or SGD,
        "budget": {"epochs": 1, "batch": 12, **budget},
    }
    return from_json(json.dumps(block))


def trained(given: TrialSpec, place: Place = HERE) -> Trained:
    data = Digits(fraction=0.02).load(Path())
    return pretrain(given, data, subset(data.train.labels, 0.02, 0), place)


def losses(of: Trained) -> list[float]:
    return [point["value"] for point in of.curves if point["name"] == "loss"]


def weights(of: Trained) -> dict[str, Tensor]:
    return {k: v for k, v in of.method.state_dict().items() if v.is_floating_point()}


def close(one: Trained, other: Trained, rtol: float, atol: float) -> None:
    assert len(losses(one)) == len(losses(other)) == 2
    assert losses(one) == pytest.approx(losses(other), rel=rtol, abs=atol)
    theirs = weights(other)
    for name, value in weights(one).items():
        assert torch.isfinite(value).all(), name
        assert torch.allclose(value, theirs[name], rtol, atol), (name, (value - theirs[name]).abs().max())


@cache
def plain(label: str) -> Trained:
    return trained(spec(SMALL[label]))


@cache
def gentle(label: str) -> Trained:
    return trained(spec(SMALL[label], GENTLE))


@cache
def still(label: str) -> dict[str, Tensor]:
    """Weights after two steps of no length."""
    return weights(trained(spec(SMALL[label], {**SGD, "lr": 1e-30})))


FEW = ("byol", "lewel_m", "mcl", "dino, geometric")
every = pytest.mark.parametrize(
    "label", [pytest.param(label, marks=() if label in FEW else pytest.mark.slow) for label in LABELS]
)


def update(of: Trained, still: dict[str, Tensor]) -> Tensor:
    """By how much two steps moved the trained weights."""
    names = [name for name, p in of.method.named_parameters() if p.requires_grad]
    return torch.cat([(weights(of)[name] - still[name]).flatten() for name in names])


@every
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_goes_the_same_way(
    label: str,
    precision: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The scaler's usual 65,536 overflows in the first steps, which are then left out, as they should be.
    scaler = torch.amp.GradScaler
    monkeypatch.setattr(torch.amp, "GradScaler", lambda *a, **how: scaler(*a, init_scale=16.0, **how))
    found = trained(spec(SMALL[label], GENTLE, precision=precision))
    assert all(value.dtype == torch.float32 for value in weights(found).values()), "weights stay wide"
    assert losses(found) == pytest.approx(losses(gentle(label)), rel=0.05, abs=0.05)
    cosine = torch.cosine_similarity(update(found, still(label)), update(gentle(label), still(label)), 0)
    assert cosine > 0.9


def test_a_step_that_overflows_in_fp16_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    scalers = []
    scaler = torch.amp.GradScaler

    def made(*a: Any, **how: Any) -> Any:
        scalers.append(scaler(*a, init_scale=2.0**40, **how))
        return scalers[-1]

    monkeypatch.setattr(torch.amp, "GradScaler", made)
    found = trained(spec(SMALL["byol"], precision="fp16"))
    assert update(found, still("byol")).abs().max() < 1e-20
    assert scalers[0].get_scale() == 2.0**38  # halved twice
    assert losses(found)[0] == pytest.approx(losses(found)[1], rel=0.5)


@every
def test_channels_last_changes_nothing_but_rounding(label: str) -> None:
    close(trained(spec(SMALL[label]), Place(channels_last=True)), plain(label), 1e-3, 1e-4)


@every
@pytest.mark.parametrize("clip", ["whole", "tensor"])
def test_clipped_steps_are_short(
    label: str,
    clip: str,
) -> None:
    how = {**SGD, "momentum": 0.0, "weight_decay": 0.0, "lr": 1.0, "clip": clip, "clip_norm": 1e-3}
    of = trained(spec(SMALL[label], how))
    names = {name for name, p in of.method.named_parameters() if p.requires_grad}
    moved = {name: (weights(of)[name] - still(label)[name]).norm().item() for name in names}
    bound = 2 * 1e-3 * 1.01  # two steps
    assert max(moved.values()) <= bound
    whole = sum(value**2 for value in moved.values()) ** 0.5
    if clip == "whole":
        assert bound / 10 < whole <= bound
    else:
        assert whole > bound  # each tensor for itself


@pytest.mark.parametrize(
    "label",
    [
        pytest.param(k, marks=() if k in (*FEW, "moco_v2", "supervised") else pytest.mark.slow)
        for k in ONE_BY_ONE
    ],
)
def test_several_passes_equal_one(label: str) -> None:
    """Loss, weights, teacher, centres and queue after two steps."""
    small = ONE_BY_ONE[label]
    whole = trained(spec(small))
    assert not any(isinstance(m, torch.nn.BatchNorm2d | BatchNorm1d) for m in whole.method.modules())
    close(trained(spec(small, accumulate=3)), whole, 1e-4, 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("label", [label for label in LABELS if label not in ONE_BY_ONE])
def test_several_passes_train_where_they_cannot_equal_one(label: str) -> None:
    """Batch statistics and negatives are those of a pass."""
    small = SMALL[label]
    found = trained(spec(small, accumulate=2))
    assert all(torch.isfinite(value).all() for value in weights(found).values())
    assert len(losses(found)) == 2


@pytest.mark.slow
def test_compiled_is_the_same() -> None:
    close(trained(spec(SMALL["byol"]), Place(compile=True)), plain("byol"), 1e-3, 1e-4)

"""What every backbone keeps: the sizes that it announces, fresh weights, no picture seen by another."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import nn

from models.backbones import BACKBONES, make
from models.backbones.backbone import Backbone
from models.backbones.resnet import ResNetSpec, TinySpec

# Sides of pictures, 64 px where none stands.
SIDES = {"resnet_tiny": 16, "swin_tiny": 32}
CLASS_TOKEN = {"vit_s16", "vit_tiny", "pvt_t"}
MILLIONS = {"resnet_tiny": 0.2, "resnet18": 11.2, "resnet34": 21.3, "resnet50": 23.5}

# The deeper and wider of a family differ from the smallest by numbers alone.
LARGE = {"swin_s", "swin_b"}
every = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in LARGE)) for name in BACKBONES]
)


def build(name: str, **knobs: Any) -> Backbone:
    torch.manual_seed(0)
    return make(BACKBONES[name][0](name=name, **knobs))  # type: ignore[call-arg]


def pictures(name: str, count: int = 2) -> torch.Tensor:
    side = SIDES.get(name, 64)
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1))


@every
def test_sizes_are_as_announced(name: str) -> None:
    backbone, images = build(name).eval(), pictures(name)
    with torch.no_grad():
        pooled, dense = backbone(images)
        maps = backbone.stages(images)
        blocks = backbone.last_blocks(images, 1)
    places = images.shape[-1] // backbone.stride
    assert pooled.shape == (2, backbone.channels)
    assert dense.shape == (2, backbone.channels, places, places)
    assert tuple(m.shape[1] for m in maps) == backbone.stage_channels
    assert maps[-1].shape == dense.shape
    assert all(a.shape[-1] >= b.shape[-1] for a, b in pairwise(maps))
    assert blocks.shape[0] == 2
    assert blocks.dim() == 2
    assert torch.isfinite(pooled).all()


@every
def test_pooled_is_the_mean_over_places(name: str) -> None:
    """Or the class token, where there is one."""
    backbone = build(name).eval()
    with torch.no_grad():
        pooled, dense = backbone(pictures(name))
    mean = torch.allclose(pooled, dense.mean((2, 3)), rtol=1e-3, atol=1e-4)
    assert mean == (name not in CLASS_TOKEN)


@every
def test_pictures_do_not_see_each_other_in_evaluation(name: str) -> None:
    backbone, images = build(name).eval(), pictures(name)
    with torch.no_grad():
        together, alone = backbone(images).pooled, backbone(images[:1]).pooled
    torch.testing.assert_close(together[:1], alone, rtol=1e-3, atol=1e-4)


@every
def test_gradient_reaches_every_parameter(name: str) -> None:
    backbone = build(name).train()
    backbone(pictures(name)).pooled.square().sum().backward()
    assert not [n for n, p in backbone.named_parameters() if p.requires_grad and p.grad is None]


@pytest.mark.parametrize("name", ["resnet_tiny", "resnet50"])
def test_unknown_changes_are_left_out(name: str) -> None:
    spec = BACKBONES[name][0](name=name)  # type: ignore[call-arg]
    make(spec, drop_path=0.0, no_such_knob=1)


@pytest.mark.parametrize("name", MILLIONS)
def test_number_of_parameters(name: str) -> None:
    found = sum(p.numel() for p in build(name).parameters()) / 1e6
    assert found == pytest.approx(MILLIONS[name], abs=0.05)


def test_small_stem_keeps_places() -> None:
    backbone = build("resnet18", stem="small").eval()
    with torch.no_grad():
        dense = backbone(torch.randn(1, 3, 32, 32)).dense
    assert backbone.stride == 8
    assert dense.shape == (1, 512, 4, 4)


def test_a_bottleneck_has_its_stride_in_the_3x3() -> None:
    strided = [
        (m.kernel_size, m.stride)
        for n, m in build("resnet50").named_modules()
        if isinstance(m, nn.Conv2d) and m.stride == (2, 2) and "downsample" not in n
    ]
    assert strided == [((7, 7), (2, 2))] + 3 * [((3, 3), (2, 2))]


@pytest.mark.parametrize("mode", ["fan_out", "fan_in"])
def test_initial_weights(mode: str) -> None:
    backbone = build("resnet18", init=mode)
    conv = backbone.get_submodule("layer3.0.conv1")  # 128 -> 256
    fan = 9 * (256 if mode == "fan_out" else 128)
    assert isinstance(conv, nn.Conv2d)
    assert conv.weight.std().item() == pytest.approx((2 / fan) ** 0.5, rel=0.02)
    norms = [m for m in backbone.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(bool((m.weight == 1).all()) and bool((m.bias == 0).all()) for m in norms)


def test_zero_init_last() -> None:
    backbone = make(ResNetSpec(name="resnet50", zero_init_last=True))
    last = [m for n, m in backbone.named_modules() if n.endswith("bn3") and isinstance(m, nn.BatchNorm2d)]
    assert len(last) == 16
    assert all(not m.weight.any() for m in last)


def test_tiny_width_must_divide() -> None:
    with pytest.raises(ValueError, match="width 10 must be a multiple of 4"):
        TinySpec(width=10)

"""Dilation keeps the old map inside the new one; the FCN gives every pixel its logits on every backbone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from models.backbones import BACKBONES, make
from models.backbones.backbone import Backbone
from models.fcn import FCN

SLOW = {"swin_s", "swin_b", "resnet34", "resnet50", "vil_t", "cvt_t", "pvt_t", "swin_t", "vit_s16"}
every = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in BACKBONES]
)


def build(name: str, **knobs: Any) -> Backbone:
    torch.manual_seed(0)
    return make(BACKBONES[name][0](name=name, **knobs))  # type: ignore[call-arg]


def lively(network: nn.Module) -> None:
    """Batch norms with statistics of their own, so that nothing cancels."""
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.running_mean, -0.5, 0.5)  # type: ignore[arg-type]
            nn.init.uniform_(part.running_var, 0.5, 2.0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "knobs", "wanted"),
    [
        ("resnet_tiny", {"blocks": 3}, 2),
        ("resnet_tiny", {"blocks": 2}, 1),
        ("resnet18", {}, 8),
        ("resnet18", {}, 16),
        ("resnet18", {"stem": "small"}, 4),
        ("resnet50", {}, 8),
    ],
)
def test_the_old_map_lies_within_the_dilated_one(name: str, knobs: dict[str, Any], wanted: int) -> None:
    backbone = build(name, **knobs).eval()
    lively(backbone)
    images = torch.randn(1, 3, 64, 96)
    stride, parameters = backbone.stride, sum(p.numel() for p in backbone.parameters())
    with torch.no_grad():
        before = backbone.stages(images)
        backbone.dilate(wanted)
        after = backbone.stages(images)
    assert backbone.stride == wanted
    assert sum(p.numel() for p in backbone.parameters()) == parameters
    assert after[-1].shape[2:] == (64 // wanted, 96 // wanted)
    step = stride // wanted
    torch.testing.assert_close(after[-1][:, :, ::step, ::step], before[-1], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(after[0], before[0])


@pytest.mark.parametrize("name", ["resnet_tiny", "swin_tiny", "vit_tiny"])
def test_a_map_that_is_fine_enough_stays(name: str) -> None:
    backbone, images = build(name).eval(), torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        before = backbone(images).dense
        backbone.dilate(8)
        assert torch.equal(backbone(images).dense, before)


@every
def test_every_backbone_gives_every_pixel_its_logits(name: str) -> None:
    net = FCN(build(name), 5, width=16)
    net.train()
    images = torch.randn(2, 3, 72, 88)
    logits, extra = net(images)
    assert logits.shape == (2, 5, 72, 88)
    assert (extra is None) == (len(net.backbone.stage_channels) == 1)
    total = logits.square().sum() + (0 if extra is None else extra.square().sum())
    total.backward()
    without = {n for n, p in net.named_parameters() if p.requires_grad and p.grad is None}
    assert without <= {
        f"backbone.{n}" for n, _ in net.backbone.named_parameters() if "cls" in n or "norm" in n
    }
    net.eval()
    with torch.no_grad():
        logits, extra = net(images[:, :, :40, :51])
    assert logits.shape == (2, 5, 40, 51)
    assert extra is None
    assert bool(logits.isfinite().all())


def test_a_frozen_backbone_is_left_alone() -> None:
    net = FCN(build("resnet_tiny"), 3, width=8, frozen=True)
    net.train()
    before = {k: v.clone() for k, v in net.backbone.state_dict().items()}
    logits, extra = net(torch.randn(2, 3, 16, 16))
    assert extra is None
    logits.square().sum().backward()
    assert all(p.grad is None for p in net.backbone.parameters())
    assert all(p.grad is not None for p in net.classifier.parameters())
    assert all(torch.equal(before[k], v) for k, v in net.backbone.state_dict().items())

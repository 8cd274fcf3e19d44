"""Transformer backbones: maps, tokens, windows, and what a small crop does to them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from models import backbones
from models.backbones.backbone import Backbone
from models.backbones.blocks import DropPath, without_drop_path
from models.backbones.cvt import CvTSpec
from models.backbones.pvt import PvTSpec
from models.backbones.swin import Swin, SwinSpec, SwinTinySpec, partition, reverse
from models.backbones.vil import LongAttention, ViL, ViLSpec
from models.backbones.vit import ViTSpec, ViTTinySpec

SMALL: list[Any] = [SwinTinySpec(), SwinTinySpec(padding="shrink"), ViTTinySpec()]
# spec, parameters in millions, dense side at 224 and 96 px, width of the last four blocks
LARGE: list[tuple[Any, float, int, int, int]] = [
    (SwinSpec(), 27.5, 7, 3, 2304),
    (SwinSpec(window=14), 27.6, 7, 3, 2304),
    (ViTSpec(), 21.7, 14, 6, 1536),
    (CvTSpec(), 29.3, 7, 3, 2304),
    (ViLSpec(), 27.6, 7, 3, 2304),
    (PvTSpec(), 19.3, 7, 3, 1664),
]


def pictures(side: int, count: int = 2) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(side))


def consistent(net: Backbone, images: Tensor) -> None:
    found, maps = net(images), net.stages(images)
    assert found.pooled.shape == (len(images), net.channels)
    assert found.dense.shape[:2] == (len(images), net.channels)
    assert tuple(m.shape[1] for m in maps) == net.stage_channels
    assert torch.allclose(maps[-1], found.dense, atol=1e-5)
    assert torch.allclose(net.last_blocks(images, 1), found.pooled, atol=1e-5)


@pytest.mark.parametrize("spec", SMALL, ids=lambda s: f"{s.name}")
def test_small_ones_have_four_by_four_places_at_32_px_and_take_odd_sizes(spec: Any) -> None:
    net = backbones.make(spec).eval()
    with torch.no_grad():
        for side in (32, 16, 20, 13):
            consistent(net, pictures(side))
        assert min(net(pictures(32)).dense.shape[2:]) >= 4
        assert net(pictures(32)).dense.shape[-1] == 32 // net.stride


@pytest.mark.parametrize(
    ("spec", "millions", "large", "small", "width"), LARGE, ids=lambda v: getattr(v, "name", "")
)
def test_layouts_of_the_papers(spec: Any, millions: float, large: int, small: int, width: int) -> None:
    net = backbones.make(spec).eval()
    assert sum(p.numel() for p in net.parameters()) / 1e6 == pytest.approx(millions, abs=0.06)
    with torch.no_grad():
        consistent(net, pictures(96, 1))
        assert net(pictures(96, 1)).dense.shape[2:] == (small, small)
        assert net(pictures(224, 1)).dense.shape[2:] == (large, large)
        assert net.last_blocks(pictures(96, 1), 4).shape == (1, width)


@pytest.mark.parametrize(
    ("spec", "millions"), [(SwinSpec(name="swin_s"), 48.8), (SwinSpec(name="swin_b"), 86.7)]
)
def test_larger_swins(spec: Any, millions: float) -> None:
    with torch.device("meta"):
        net = backbones.make(spec)
    assert sum(p.numel() for p in net.parameters()) / 1e6 == pytest.approx(millions, abs=0.1)


@pytest.mark.parametrize(
    "spec", [*SMALL, CvTSpec(), ViLSpec(neighbours="all"), PvTSpec()], ids=lambda s: s.name
)
def test_every_parameter_gets_a_gradient(spec: Any) -> None:
    net = without_drop_path(backbones.make(spec)).train()
    side = 32 if spec in SMALL else 96
    found = net(pictures(side))
    (found.pooled.square().sum() + found.dense.square().sum() + found.dense.pow(3).sum()).backward()
    assert not [n for n, p in net.named_parameters() if p.grad is None or not p.grad.isfinite().all()]


def test_a_swin_like_timms_where_nothing_is_padded() -> None:
    """timm's Swin with our weights, on a size that the windows divide."""
    timm = pytest.importorskip("timm")
    knobs = {"embed_dim": 32, "depths": (2, 2), "num_heads": (1, 2), "window_size": 4, "patch_size": 2}
    theirs = timm.models.swin_transformer.SwinTransformer(img_size=32, num_classes=0, **knobs)
    ours = Swin(32, (2, 2), (1, 2), 4, 0.0, 2, 4.0, 32)
    state = ours.state_dict()
    for name in list(state):
        if ".downsample." in name:  # timm merges at the beginning of a stage
            state[name.replace("layers.0.downsample", "layers.1.downsample")] = state.pop(name)
    theirs.load_state_dict(state, strict=False)
    for module in theirs.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = 1e-6
    with torch.no_grad():
        images = pictures(32)
        wanted = theirs.eval().forward_features(images).permute(0, 3, 1, 2)
        found = ours.eval()(images).dense
    assert torch.allclose(found, wanted, atol=1e-4)


def test_padding_matters_only_where_a_map_is_smaller_than_a_window() -> None:
    free, shrink = (
        backbones.make(SwinTinySpec()).eval(),
        backbones.make(SwinTinySpec(padding="shrink")).eval(),
    )
    shrink.load_state_dict(free.state_dict())
    with torch.no_grad():
        assert torch.allclose(free(pictures(32)).dense, shrink(pictures(32)).dense, atol=1e-6)
        assert not torch.allclose(free(pictures(16)).dense, shrink(pictures(16)).dense, atol=1e-3)


def test_windows_come_back_where_they_were() -> None:
    x = torch.randn(2, 6, 9, 4)
    assert torch.equal(reverse(partition(x, 3), 3, 6, 9), x)
    assert torch.equal(partition(x, 3)[1], x[0, :3, 3:6].reshape(9, 4))


def test_a_shifted_window_does_not_look_around_the_rim() -> None:
    """Changing the last row must not reach the first one through the cyclic shift of the first two blocks."""
    net = Swin(32, (2,), (2,), 4, 0.0, 1, 2.0, 16).eval()
    one = pictures(16, 1)
    other = one.clone()
    other[:, :, -1] += 1
    with torch.no_grad():
        change = (net(one).dense - net(other).dense).abs().amax((0, 1, 3))
    assert change[:4].max() == 0
    assert change[12:].min() > 0


def test_long_attention_is_full_attention_where_all_windows_are_neighbours() -> None:
    """On 2 x 2 windows every place sees every place; without biases that is plain attention."""
    layer = LongAttention(8, 2, 3, 1).double()
    with torch.no_grad():
        layer.relative_position_bias_table.zero_()
    x, token = torch.randn(2, 5, 6, 8).double(), torch.randn(2, 1, 8).double()
    offsets = tuple((dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1))
    places, others = layer(x, token, offsets)
    every = torch.cat([token, x.flatten(1, 2)], 1)
    q, k, v = (y.unflatten(-1, (2, 4)).transpose(1, 2) for y in layer.qkv(every).chunk(3, -1))
    full = layer.proj(torch.softmax(q @ k.mT * 4**-0.5, -1).matmul(v).transpose(1, 2).flatten(2))
    assert torch.allclose(torch.cat([others, places.flatten(1, 2)], 1), full)


def test_vil_takes_one_random_neighbour_until_the_switch() -> None:
    net = backbones.make(ViLSpec(switch=0.75)).train()
    assert isinstance(net, ViL)
    net.prepare(0.7)
    assert len(net._offsets()) == 2
    net.prepare(0.75)
    assert len(net._offsets()) == 9
    net.prepare(0.0)
    net.eval()
    assert len(net._offsets()) == 9


def test_drop_path_keeps_the_mean_and_a_teacher_has_none() -> None:
    torch.manual_seed(0)
    drop = DropPath(0.25).train()
    x = torch.ones(4000, 3)
    out = drop(x)
    assert out.unique().tolist() == pytest.approx([0.0, 4 / 3])
    assert out.mean() == pytest.approx(1, abs=0.05)
    net = without_drop_path(backbones.make(SwinTinySpec(drop_path=0.5))).train()
    with torch.no_grad():
        assert torch.equal(net(pictures(16)).pooled, net(pictures(16)).pooled)
    rates = [m.rate for m in backbones.make(SwinSpec()).modules() if isinstance(m, DropPath)]
    assert rates == pytest.approx([0.1 * i / 11 for i in range(12)])


def test_positions_are_resampled_only_for_other_sizes() -> None:
    net = backbones.make(ViTTinySpec()).eval()
    with torch.no_grad():
        before = net(pictures(32)).pooled
        net.pos_embed[:, 1:] += torch.randn_like(net.pos_embed[:, 1:])  # type: ignore[index,operator]
        assert not torch.allclose(net(pictures(32)).pooled, before)
        assert net(pictures(16)).dense.shape[2:] == (4, 4)


def test_impossible_knobs_are_refused() -> None:
    with pytest.raises(ValueError, match="48"):
        ViTTinySpec(dim=48)
    with pytest.raises(ValueError, match="24"):
        SwinTinySpec(dim=24)

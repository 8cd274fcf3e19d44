"""Montages: every tile is where its table says, every picture equally often, on any number of processes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from models.backbones import make
from models.backbones.resnet import TinySpec
from models.fpn import C4, FPN
from models.levels import LevelEncoder, LevelSpec, draw_tables, lay
from models.method import Batch, Moment
from models.methods.mcl import MCL, MCLSpec
from models.methods.mcl_supervised import MCLSupervised, MCLSupervisedSpec
from models.montage import assemble, cells, divisor, draw, montages, shrink

BACKBONE = TinySpec(width=8)
START = Moment(step=0, per_epoch=10, epochs=1)


def small_backbone(**_: Any) -> Any:
    return make(BACKBONE)


@pytest.mark.parametrize("ratio", [2, 4])
def test_shrinking_keeps_what_it_promises(ratio: int) -> None:
    images = torch.randn(2, 3, 16, 8)
    assert torch.equal(shrink(images, ratio)[1, 2, 3, 1], images[1, 2, 3 * ratio, ratio])
    area = shrink(images, ratio, "area")
    torch.testing.assert_close(area[0, 0, 0, 0], images[0, 0, :ratio, :ratio].mean())
    flat = torch.full((1, 1, 16, 16), 0.7)
    for how in ("nearest", "area", "bilinear"):
        torch.testing.assert_close(shrink(flat, ratio, how), flat[..., ::ratio, ::ratio])


def test_the_filters_do_not_alias() -> None:
    """Stripes one pixel wide: subsampling keeps one colour, the filters give the grey between."""
    stripes = (torch.arange(32) % 2).float().expand(1, 1, 32, 32)
    assert shrink(stripes, 4, "nearest").std() == 0
    assert shrink(stripes, 4, "nearest").mean() == 0
    for how in ("area", "bilinear"):
        inner = shrink(stripes, 4, how)[..., 1:-1, 1:-1]
        torch.testing.assert_close(inner, torch.full_like(inner, 0.5))


def test_a_side_that_does_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match=r"30 x 30 .* 1/4"):
        shrink(torch.zeros(1, 3, 30, 30), 4)


@pytest.mark.parametrize(
    ("pictures", "ratio", "showings", "count"),
    [(128, 1, 1, 128), (128, 2, 1, 32), (128, 4, 1, 8), (128, 8, 2, 4), (4, 4, 1, 1), (5, 2, 1, 2)],
)
def test_numbers_of_montages(pictures: int, ratio: int, showings: int, count: int) -> None:
    """The released configuration's 128, 32, 8, 4 a device, and what does not divide rounded up."""
    assert montages(pictures, ratio, showings) == count
    seen = torch.bincount(draw(pictures, ratio, count), minlength=pictures)
    assert seen.sum() == count * ratio**2
    assert seen.min() >= showings
    assert seen.max() - seen.min() <= 1


def test_a_tile_stands_where_its_table_says() -> None:
    tiles = torch.arange(6.0).view(6, 1, 1, 1).expand(6, 1, 2, 2)
    sheet = assemble(tiles, torch.tensor([5, 4, 3, 2, 0, 1, 2, 3]), 2)
    assert sheet[0, 0].tolist() == [[5, 5, 4, 4], [5, 5, 4, 4], [3, 3, 2, 2], [3, 3, 2, 2]]
    assert sheet.shape == (2, 1, 4, 4)


def test_cutting_undoes_assembling() -> None:
    tiles, ids = torch.randn(7, 3, 5, 5), torch.randint(0, 7, (32,))
    assert torch.equal(cells(assemble(tiles, ids, 4), 5), tiles[ids])
    with pytest.raises(ValueError, match=r"20 x 20 places .* 3 x 3"):
        cells(assemble(tiles, ids, 4), 3)


def test_divisor() -> None:
    assert [divisor(n, m) for n, m in ((128, 128), (192, 128), (8, 128), (7, 3))] == [128, 96, 8, 1]


def test_level_weights() -> None:
    assert LevelSpec().level_weights() == (0.5, 0.25, 0.125, 0.125)
    assert LevelSpec(weighting="halving").level_weights() == (0.5, 0.25, 0.125, 0.0625)
    assert MCLSupervisedSpec().level_weights() == pytest.approx((4 / 7, 2 / 7, 1 / 7))
    assert LevelSpec(levels=1).level_weights() == (1.0,)
    assert LevelSpec(levels=2, weights=[1, 0]).level_weights() == (1, 0)
    assert LevelSpec().level_showings() == (1, 1, 1, 2)
    for bad in ({"weights": (1.0,)}, {"levels": 2, "showings": (1, 1, 1)}, {"levels": 1, "weights": (0.0,)}):
        with pytest.raises(ValueError, match=r"weights|showings"):
            LevelSpec(**bad)


def test_groups_do_not_share_montages() -> None:
    spec = LevelSpec(levels=3, group=4)
    tables = draw_tables(8, spec, 2, torch.device("cpu"))
    assert [[t.shape for t in side] for side in tables] == [[(8, 1), (2, 4), (2, 16)]] * 2
    for side in tables:
        for table in side:
            groups = table.div(4, rounding_mode="floor").view(2, -1)
            assert groups.tolist() == [[0] * groups.shape[1], [1] * groups.shape[1]]


@pytest.mark.parametrize("how", ["fpn", "c4"])
@pytest.mark.parametrize("slices", ["all", "used"])
def test_every_tile_reads_its_own_cell(how: str, slices: str) -> None:
    """In evaluation mode, another picture changes level 0 in its own row alone, and the other levels, where
    tiles mix in backbone and pyramid, in its own tile far more than elsewhere."""
    torch.manual_seed(0)
    spec = LevelSpec(levels=3, width=8, convs=1, pyramid=how, slices=slices, downsampling="area")
    net = LevelEncoder(spec, small_backbone).eval()
    views = [torch.randn(16, 3, 32, 32) for _ in range(3)]
    tables = draw_tables(16, spec, 1, torch.device("cpu"))[0]
    sheet = lay(views, tables, spec)
    before = net(sheet.images, sheet.rows)
    changed = [torch.where(torch.arange(16).view(-1, 1, 1, 1) == 5, -3 * v, v) for v in views]
    other = lay(changed, tables, spec)
    after = net(other.images, other.rows)
    for level in range(3):
        assert before[level].shape == (16, 8)
        moved = (after[level] - before[level]).norm(dim=1)
        own = sheet.ids[level] == 5
        assert own.sum() == 1
        assert moved[own] > 3 * moved[~own].mean()
    # Level 0's pictures stand alone.
    assert (after[0] - before[0])[sheet.ids[0] != 5].abs().max() < 1e-5


def test_the_pyramid_says_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match=r"4 levels .* has 3"):
        LevelEncoder(LevelSpec(levels=4, width=4), small_backbone)
    net = LevelEncoder(LevelSpec(levels=3, width=4, convs=0), small_backbone)
    with pytest.raises(ValueError, match=r"level 1 needs a map of 16 .* gives 15"):
        net(torch.zeros(2, 3, 30, 30), [slice(0, 2)] * 3)
    with pytest.raises(ValueError, match=r"2 levels .* gives 1"):
        FPN([4], 4)([torch.zeros(1, 4, 2, 2)], [None, None])


def test_c4_resizes_one_map() -> None:
    maps = [torch.randn(2, 4, 8, 8), torch.randn(2, 6, 4, 4)]
    for resize in ("bilinear", "nearest"):
        out = C4([4, 6], 3, resize)(maps, [None, slice(1, 2)])
        assert [o.shape for o in out] == [(2, 3, 4, 4), (1, 3, 8, 8)]


def test_unread_stages_are_not_trained() -> None:
    net = LevelEncoder(LevelSpec(levels=1, width=4, convs=1), small_backbone)
    net(torch.randn(2, 3, 16, 16), [slice(0, 2)])[0].sum().backward()
    for name, parameter in net.named_parameters():
        reached = parameter.grad is not None
        assert reached == parameter.requires_grad, name
    assert not net.pyramid.fpn_convs[0].conv.weight.requires_grad


def built(kind: str, group: int) -> tuple[Any, Batch]:
    torch.manual_seed(1)
    views = [torch.randn(16, 3, 16, 16, dtype=torch.float64) for _ in range(4)]
    labels = torch.randint(0, 5, (16,))
    knobs: dict[str, Any] = {"levels": 2, "group": group, "width": 4, "convs": 1}
    if kind == "mcl":
        method: Any = MCL(MCLSpec(**knobs, hidden=8, dim=4), small_backbone)
    else:
        method = MCLSupervised(MCLSupervisedSpec(**knobs, classes=5), small_backbone)
        views = views[:2]
    return method.double(), Batch(views, torch.zeros(len(views), 16, 4), labels)


def step(kind: str, group: int, rows: slice, seed: int) -> tuple[Tensor, list[Tensor]]:
    method, whole = built(kind, group)
    torch.manual_seed(seed)  # as the loop does, another on every process
    mine = Batch([v[rows] for v in whole.views], whole.boxes[:, rows], whole.labels[rows])
    loss = method(mine, START).loss
    loss.backward()
    return loss.detach(), [p.grad for p in method.parameters() if p.requires_grad]


CASES = [("mcl", 4), ("mcl", 16), ("mcl_supervised", 16)]  # groups within a process, and over both


def process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    made = {}
    for case in CASES:
        loss, gradients = step(*case, slice(8 * rank, 8 * rank + 8), seed=100 + rank)
        for value in (loss, *gradients):
            dist.all_reduce(value)
            value /= 2
        made[case] = (loss, gradients)
    method, whole = built("mcl", 16)
    method.spec = method.spec.model_copy(update={"levels": 3})
    tables = draw_tables(16, method.spec, 1, torch.device("cpu"))[0]
    try:
        lay([v[:8] for v in whole.views[:3]], tables, method.spec)
    except ValueError as refusal:
        made["refusal"] = str(refusal)
    if rank == 0:
        torch.save(made, os.path.join(folder, "made.pt"))
    dist.destroy_process_group()


def test_two_processes_are_one(tmp_path: Path) -> None:
    mp.spawn(process, (str(tmp_path),), nprocs=2)
    made = torch.load(tmp_path / "made.pt", weights_only=False)
    for case in CASES:
        loss, gradients = step(*case, slice(0, 16), seed=100)
        torch.testing.assert_close(made[case][0], loss, rtol=1e-9, atol=1e-12)
        for ours, theirs in zip(gradients, made[case][1], strict=True):
            torch.testing.assert_close(theirs, ours, rtol=1e-7, atol=1e-10)
    assert "level 2 has 1 montages, which 2 processes" in made["refusal"]

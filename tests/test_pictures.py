"""Pictures: what is drawn is what the networks do, sheets are readable, and the verb leaves the files it names."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

from data.sets.digits import Digits
from models import backbones, methods
from models.attention import _weights, has_attention, last_attention, windows
from models.backbones.resnet import TinySpec
from models.backbones.swin import SwinTinySpec, relative_index
from models.backbones.vit import ViTTinySpec
from models.methods.dino import DinoSpec
from study.__main__ import main as verbs
from study.pictures import PICTURES, Absent, Exhibit
from study.pictures.alignment import telling
from study.pictures.attention import entropy, mass
from study.pictures.links import links_of, place_colour
from study.pictures.matches import partners
from study.pictures.sheet import Panel, Row, Sheet, heat, picture, wrapped
from study.pretrain import build
from study.run import main as run
from study.trial import method_of
from study.verbs.pictures import KINDS
from tests.little_trials import DINO, spec

TEXT = """
study: little
question: What is seen?
base:
  data:     {name: digits, fraction: 0.1}
  backbone: {name: resnet_tiny, width: 8}
  method:   {name: lewel_b, dim: 16, channels: 16, groups: 4, hidden: 16, batch_norm: sync}
  views:    {size: 16}
  optim:    {name: sgd, lr: 0.05, warmup: 0}
  budget:   {epochs: 1, batch: 32}
evaluate: []
arms:
  lewel: {}
  "mcl, two levels": {method: {name: mcl, levels: 2, width: 8, convs: 1, dim: 8, hidden: 8}, views: {name: mcl, size: 16, count: 4}}
seeds: 1
"""


def images(size: int = 16, count: int = 2) -> torch.Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(0))


def test_attention_of_a_vit_is_what_its_block_does() -> None:
    vit = backbones.make(ViTTinySpec(dim=32, depth=2)).eval()
    block = vit.blocks[-1]
    nn.init.normal_(block.attn.qkv.weight, std=0.3)
    tokens = torch.randn(2, 10, 32, generator=torch.Generator().manual_seed(1))
    values = block.attn.qkv(tokens).chunk(3, -1)[2].unflatten(-1, (block.attn.heads, -1)).transpose(1, 2)
    mixed = (_weights(block, tokens, None) @ values).transpose(1, 2).flatten(2)
    assert torch.allclose(block.attn.proj(mixed), block.attn(tokens), atol=1e-5)
    maps = last_attention(vit, images(), 1, 2)
    assert maps.shape == (2, 1, 4, 4)
    assert torch.allclose(maps.sum((2, 3)), torch.ones(2, 1))
    assert maps.std() > 0


@pytest.mark.parametrize("padding", ["mask_free", "shrink"])
def test_attention_of_a_swin_stays_in_the_window(padding: str) -> None:
    # 32 px: 4 x 4 places in windows of 2, the last block shifted by 1.
    swin = backbones.make(SwinTinySpec(dim=16, window=2, padding=padding)).eval()
    block = swin.layers[-1].blocks[-1]
    assert block.shift == 1
    ids = windows(block, 4, 4)
    assert ids[0].tolist() == [5, 6, 9, 10]
    maps = last_attention(swin, images(32), 1, 1)[0, 0]
    assert maps.flatten().nonzero().flatten().tolist() == [5, 6, 9, 10]
    assert maps.sum().item() == pytest.approx(1)
    corner = last_attention(swin, images(32), 0, 0)[0, 0]  # rolled to a window of four corners, and masked
    assert corner[0, 0].item() == pytest.approx(1)


def test_attention_of_a_swin_is_what_its_block_does() -> None:
    swin = backbones.make(SwinTinySpec(dim=16, window=4)).eval()
    attn = swin.layers[-1].blocks[-1].attn
    tokens = torch.randn(3, 16, 64, generator=torch.Generator().manual_seed(1))
    bias = attn.relative_position_bias_table[relative_index(4, attn.window, tokens.device)].permute(2, 0, 1)
    values = attn.qkv(tokens).chunk(3, -1)[2].unflatten(-1, (attn.heads, -1)).transpose(1, 2)
    mixed = (_weights(swin.layers[-1].blocks[-1], tokens, bias[None]) @ values).transpose(1, 2).flatten(2)
    assert torch.allclose(attn.proj(mixed), attn(tokens, 4, None), atol=1e-5)


def test_a_convolution_has_no_attention() -> None:
    assert not has_attention(backbones.make(TinySpec(width=8)))
    with pytest.raises(ValueError, match="no attention"):
        last_attention(backbones.make(TinySpec(width=8)), images(), 0, 0)


def test_mass_and_entropy_by_hand() -> None:
    maps = torch.tensor([[0.5, 0.2], [0.2, 0.1]])
    assert mass(maps, 0.6).tolist() == [[True, True], [False, False]]
    assert mass(maps, 0.4).sum() == 1
    assert mass(maps, 1.0).all()
    assert entropy(torch.full((1, 4, 4), 1 / 16)).item() == pytest.approx(math.log(16))


@pytest.mark.parametrize("matching", ["geometric", "similarity", "optimal_transport"])
def test_the_matches_shown_are_those_that_training_enforces(matching: str) -> None:
    dino = methods.build(
        DinoSpec(matching=matching, out_dim=8, hidden=8, bottleneck=4),
        lambda **changes: backbones.make(SwinTinySpec(dim=16, window=2), **changes),
    )
    draw = torch.Generator().manual_seed(0)
    one, other = torch.randn(1, 8, 3, 3, generator=draw), torch.randn(1, 8, 4, 4, generator=draw)
    box, other_box = torch.tensor([[2.0, 2, 20, 20]]), torch.tensor([[30.0, 0, 0, 30]])
    shown = partners(matching, one, other, box[0], other_box[0])
    assert torch.equal(shown, dino.match_pair(one, other, box, other_box)[0])


def test_links_name_the_heaviest_partner_or_none() -> None:
    weights = torch.tensor([[0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0], [0.2, 0.1, 0.1, 0.6], [1.0, 0, 0, 0]])
    links = links_of(weights, (2, 2), (2, 2))
    assert [link.left for link in links] == [(0, 1), None, (1, 1), (0, 0)]
    assert [link.right for link in links] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert len({place_colour((r, c), (7, 7)) for r in range(7) for c in range(7)}) == 49


def test_small_pictures_grow_pixel_by_pixel_and_large_ones_shrink() -> None:
    values = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0))
    grown = picture(values, 128)
    assert grown.size == (128, 128)
    assert len(set(grown.crop((0, 0, 16, 16)).getdata())) == 1
    assert picture(torch.zeros(3, 200, 400), 100).size == (100, 50)


def test_heat_is_brighter_where_values_are_larger() -> None:
    grey = list(heat(torch.linspace(0, 1, 32)[None], (32, 1)).convert("L").getdata())
    assert grey == sorted(grey)
    assert grey[-1] - grey[0] > 180


def test_a_sheet_holds_all_of_its_words(tmp_path: Path) -> None:
    long = "a note of many words " * 20
    sheet = Sheet("Title", "subtitle", ["one", "two"], notes=[long])
    sheet.rows = [Row("row", [Panel(picture(torch.rand(3, 8, 8), 64), "two\nlines") for _ in range(2)])]
    sheet.legend, sheet.bar = [((1, 2, 3), "this", "disc"), ((9, 9, 9), "that", "triangle")], ("0", "1")
    sheet.save(tmp_path / "deep" / "sheet.png")
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["sheet.png"]
    drawn = Image.open(tmp_path / "deep" / "sheet.png")
    bottom = drawn.crop((0, drawn.height - 24, drawn.width, drawn.height)).convert("L")
    assert bottom.getextrema() == (255, 255)  # nothing is cut off below
    assert drawn.crop((drawn.width - 20, 0, drawn.width, drawn.height)).convert("L").getextrema() == (
        255,
        255,
    )
    assert " ".join(wrapped(long, 300, 13)).split() == long.split()


def test_telling_maps_differ_between_places() -> None:
    shares = torch.ones(2, 16, 2, 2)
    shares[:, [1, 2, 5, 7, 9, 11, 13, 14], 0, 0] = 2
    assert telling(shares).tolist() == [1, 2, 5, 7, 9, 11, 13, 14]


def test_what_a_trial_has_not_is_absent() -> None:
    data = Digits().load(Path())
    fresh = Exhibit("x", spec([]), data, None, 2)
    assert len(PICTURES["views"].draw(fresh).rows) == 2
    with pytest.raises(Absent, match="no encoder is kept"):
        PICTURES["correspondences"].draw(fresh)
    byol = Exhibit("x", spec([]), data, build(spec([])), 2)
    for kind in ("alignment", "attention", "montages"):
        with pytest.raises(Absent):
            PICTURES[kind].draw(byol)


def test_dino_s_matches_have_columns_for_both_sizes_and_name_the_enforced_one() -> None:
    given = spec([], DINO)
    sheet = PICTURES["matches"].draw(Exhibit("x", given, Digits().load(Path()), build(given), 2))
    assert sum("ENFORCED" in head for head in sheet.columns) == 2
    assert len(sheet.columns) == 4
    assert [len(row.panels) for row in sheet.rows] == [4, 4]


def test_the_verb_s_kinds_are_the_shelf() -> None:
    assert tuple(PICTURES) == KINDS


def test_pictures_of_a_study(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = tmp_path / "little.yaml", tmp_path / "out"
    file.write_text(TEXT)
    ask = ["pictures", str(file), "--out", str(out), "--count", "2"]
    assert verbs([*ask, "--only", "views"]) == 0  # before anything is trained
    assert "has left no encoder (yet)" in capsys.readouterr().out
    folder = out / "studies" / "little" / "pictures"
    assert {p.name for p in folder.iterdir()} == {"views-lewel-seed0.png", "views-mcl_two_levels-seed0.png"}
    assert run([str(file), "--local", "--out", str(out)]) == 0
    assert verbs(ask) == 0
    names = {p.name for p in folder.iterdir()}
    both = {"views", "matches", "learned", "pairs", "correspondences"}
    assert names == {f"{kind}-{arm}-seed0.png" for kind in both for arm in ("lewel", "mcl_two_levels")} | {
        "alignment-lewel-seed0.png",
        "montages-mcl_two_levels-seed0.png",
    }
    for path in folder.iterdir():
        assert min(Image.open(path).size) > 200, path
    assert verbs([*ask, "--arm", "lewl"]) == 2
    assert "Did you mean 'lewel'?" in capsys.readouterr().err
    assert verbs([*ask, "--seed", "7"]) == 2

    from study.space import Space
    from study.studyfile import load

    trial = next(t for t in Space(load(file)).fixed() if t.arm == "lewel")
    kept = method_of(trial.spec, out / "checkpoints" / trial.id)
    assert kept is not None
    mine, fresh = kept.shown().state_dict(), build(trial.spec).shown().state_dict()
    assert any(not torch.equal(mine[name], fresh[name]) for name in mine)


def test_a_searched_arm_is_shown_at_its_best_point(tmp_path: Path) -> None:
    text = TEXT[: TEXT.index("arms:")].replace("evaluate: []", "evaluate: [knn]")
    text += "search: {optim.lr: {log: [0.01, 0.1]}}\nsampler: {name: random, trials: 1}\nseeds: 1\n"
    file, out = tmp_path / "little.yaml", tmp_path / "out"
    file.write_text(text)
    assert run([str(file), "--local", "--out", str(out)]) == 0
    assert verbs(["pictures", str(file), "--out", str(out), "--count", "1", "--only", "alignment"]) == 0
    assert len(list((out / "studies" / "little" / "pictures").glob("alignment-*.png"))) == 1

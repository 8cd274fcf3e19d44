"""Weights into a method: files of other people, timm's, and states of other trials."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models import backbones, methods
from models.backbones.resnet import ResNetSpec, TinySpec
from models.backbones.swin import SwinSpec
from models.backbones.vit import ViTSpec
from models.method import Method
from models.methods.byol import BYOLSpec
from models.methods.dino import DinoSpec
from study import weights
from study.start import FileStart, TimmStart, TrialStart, begin, digest, into_backbones, into_method, keep
from study.weights import StartError

TINY = TinySpec(width=8)
DINO = {"out_dim": 16, "hidden": 12, "bottleneck": 8}


def made(spec: Any, backbone: Any = TINY, seed: int = 0) -> Method:
    torch.manual_seed(seed)
    return methods.build(spec, lambda **changes: backbones.make(backbone, **changes)).eval()


def backbone(spec: Any, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return backbones.make(spec)


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.fixture(scope="module")
def timm_net() -> Iterator[Any]:
    """timm's networks with random weights in place of the pretrained ones, which would have to be fetched."""
    import timm

    real = timm.create_model

    def create(name: str, pretrained: bool = False, **how: Any) -> Any:
        torch.manual_seed(7)
        return real(name, pretrained=False, **how)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timm, "create_model", create)
        yield create


@pytest.mark.parametrize(
    ("name", "spec", "pooled"),
    [
        (
            "resnet18.a1_in1k",
            ResNetSpec(name="resnet18"),
            lambda net, x: net.forward_features(x).mean((2, 3)),
        ),
        (
            "swin_tiny_patch4_window7_224.ms_in1k",
            SwinSpec(),
            lambda net, x: net.forward_features(x).mean((1, 2)),
        ),
        ("deit_small_patch16_224.fb_in1k", ViTSpec(), lambda net, x: net.forward_features(x)[:, 0]),
    ],
)
def test_timms_weights_give_timms_features(name: str, spec: Any, pooled: Any, timm_net: Any) -> None:
    method = made(BYOLSpec(dim=8, hidden=12), spec)
    assert begin(method, TimmStart(model=name), None) == 0
    net = timm_net(name, num_classes=0).eval()
    images = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(method.encoder(images).pooled, pooled(net, images), rtol=1e-4, atol=1e-4)
        twin = method.get_submodule("target.network.backbone")
        assert torch.equal(twin(images).pooled, method.encoder(images).pooled)


def test_timm_must_have_the_weights() -> None:
    with pytest.raises(StartError, match=r"has no pretrained weights resnet18.nonsense"):
        weights.of_timm("resnet18.nonsense")


def test_timm_normalises_as_we_do(timm_net: Any) -> None:
    with pytest.raises(StartError, match="wants pictures with mean"):
        weights.of_timm("vit_small_patch16_224.augreg_in1k")


def started(method: Method, path: Path, **how: Any) -> Method:
    begin(method, FileStart(path=str(path), digest=digest(path), **how), None)
    return method


@pytest.mark.parametrize("nest", ["flat", "state_dict", "model"])
def test_a_state_dict_of_a_backbone(nest: str, tmp_path: Path) -> None:
    wanted = backbone(TINY, 3).state_dict()
    classified = {**wanted, "fc.weight": torch.zeros(10, 64), "fc.bias": torch.zeros(10)}
    torch.save(classified if nest == "flat" else {nest: classified, "epoch": 3}, tmp_path / "w.pth")
    method = started(made(BYOLSpec(dim=8, hidden=12)), tmp_path / "w.pth")
    assert equal(dict(method.encoder.state_dict()), dict(wanted))


def test_a_file_of_mocos(tmp_path: Path) -> None:
    """Two encoders and a queue, behind a wrapper's name: which one has to be said."""
    query, key = backbone(TINY, 3).state_dict(), backbone(TINY, 4).state_dict()
    names = {f"module.encoder_q.{k}": v for k, v in query.items()}
    names |= {f"module.encoder_k.{k}": v for k, v in key.items()} | {"module.queue": torch.zeros(8, 16)}
    torch.save({"arch": "x", "state_dict": names}, tmp_path / "w.pth")
    with pytest.raises(
        StartError, match=r"choose one by start.prefix: state_dict.module.encoder_k, state_dict.m"
    ):
        started(made(BYOLSpec(dim=8, hidden=12)), tmp_path / "w.pth")
    method = started(
        made(BYOLSpec(dim=8, hidden=12)), tmp_path / "w.pth", prefix="state_dict.module.encoder_q"
    )
    assert equal(dict(method.encoder.state_dict()), dict(query))


def test_a_file_of_dinos_with_its_command_line(tmp_path: Path) -> None:
    one, other = made(DinoSpec(**DINO), seed=3), made(DinoSpec(**DINO), seed=4)
    student = {f"module.{k}": v for k, v in one.get_submodule("student").state_dict().items()}
    state = {"student": student, "teacher": other.get_submodule("teacher").state_dict(), "epoch": 3}
    torch.save({**state, "args": argparse.Namespace(arch="x")}, tmp_path / "w.pth")
    method = started(made(DinoSpec(**DINO)), tmp_path / "w.pth", prefix="teacher")
    for path in ("student.backbone", "teacher.backbone"):
        assert equal(dict(method.get_submodule(path).state_dict()), dict(other.encoder.state_dict()))


def test_safetensors(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    wanted = dict(backbone(TINY, 3).state_dict())
    save_file(wanted, tmp_path / "w.safetensors")
    assert equal(
        dict(started(made(DinoSpec(**DINO)), tmp_path / "w.safetensors").encoder.state_dict()), wanted
    )


def test_our_own_files_name_their_encoder(tmp_path: Path) -> None:
    method = made(DinoSpec(**DINO), seed=3)
    with torch.no_grad():
        for p in method.encoder.parameters():
            p.add_(1.0)  # a teacher that differs from its student
    keep(tmp_path, "0" * 12, method, 2, 4)
    other = started(made(BYOLSpec(dim=8, hidden=12)), tmp_path / "epoch-2.pt")
    assert equal(dict(other.encoder.state_dict()), dict(method.encoder.state_dict()))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda s: {k: v for k, v in s.items() if k != "layers.1.0.conv1.weight"},
         "of the backbone's .* tensors are there; layers.1.0.conv1.weight is not"),
        (lambda s: {**s, "conv1.weight": torch.zeros(8, 3, 7, 7)}, r"conv1.weight is \(8, 3, 7, 7\) there and \(8, 3, 3, 3\) here"),
        (lambda s: {"x": torch.zeros(1)}, "none of the backbone's .* tensors is there; there are x, ..."),
        (lambda s: {}, "there are nothing"),
    ],
)  # fmt: skip
def test_weights_that_do_not_fit(change: Any, told: str, tmp_path: Path) -> None:
    torch.save(change(dict(backbone(TINY, 3).state_dict())), tmp_path / "w.pth")
    with pytest.raises(StartError, match=told):
        started(made(BYOLSpec(dim=8, hidden=12)), tmp_path / "w.pth")


def test_files_that_are_no_checkpoints(tmp_path: Path) -> None:
    for name, content in (("a.pt", b""), ("b.pt", b"weights"), ("c.safetensors", b"x" * 64)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(StartError, match="is no checkpoint of tensors"):
            weights.of_file(tmp_path / name)


def test_a_file_that_changed_is_refused(tmp_path: Path) -> None:
    torch.save(backbone(TINY, 3).state_dict(), tmp_path / "w.pth")
    start = FileStart(path=str(tmp_path / "w.pth"), digest=digest(tmp_path / "w.pth"))
    torch.save(backbone(TINY, 4).state_dict(), tmp_path / "w.pth")
    with pytest.raises(StartError, match="is not the file that it was when the study was read"):
        begin(made(DinoSpec(**DINO)), start, None)


def test_regions_are_added_to_a_method_that_had_none(tmp_path: Path) -> None:
    """EsViT's continued training: student, teacher, heads and centre go on, the region head and its centre are fresh."""
    first = made(DinoSpec(**DINO), seed=3)
    with torch.no_grad():
        first.get_buffer("centre").fill_(0.5)
    keep(tmp_path / ("0" * 12), "0" * 12, first, 2, 4)
    method = made(DinoSpec(**DINO, matching="similarity"), seed=5)
    fresh = {k: v.clone() for k, v in method.state_dict().items()}
    start = TrialStart(id="0" * 12, epoch=2, schedule="continue")
    assert begin(method, start, tmp_path / "1") == 2
    there = first.state_dict()
    for name, value in method.state_dict().items():
        assert torch.equal(value, there.get(name, fresh[name])), name
    assert sum("dense" in name for name in fresh) > 3
    assert begin(method, start.model_copy(update={"schedule": "restart"}), tmp_path / "1") == 0


def test_shapes_and_kinds_of_methods_must_agree() -> None:
    first = made(DinoSpec(**DINO)).state_dict()
    with pytest.raises(StartError, match=r"there and .* here"):
        into_method(made(DinoSpec(**{**DINO, "out_dim": 32})), dict(first))
    with pytest.raises(StartError, match=r"another method was trained there, without online\.backbone"):
        into_method(made(BYOLSpec(dim=8, hidden=12)), dict(first))
    with pytest.raises(
        StartError, match=r"of the backbone's 100 tensors are under .*; layer1.0.conv1.weight is not"
    ):
        into_backbones(
            made(DinoSpec(**DINO), ResNetSpec(name="resnet18")), dict(backbone(TINY, 0).state_dict())
        )


@pytest.mark.parametrize(
    ("start", "told"),
    [
        (TrialStart(id="0" * 12), r"left no method of its end .*\(a method's state is kept when it is small"),
        (TrialStart(id="0" * 12, epoch=3), "left no method of its epoch 3"),
        (TrialStart(id="0" * 12, epoch=3, part="encoder"), "left no encoder of its epoch 3"),
        (TrialStart(id="1" * 12, epoch=2), "trial 111111111111 left no method"),
    ],
)
def test_a_state_that_is_not_there(start: TrialStart, told: str, tmp_path: Path) -> None:
    method = made(DinoSpec(**DINO))
    keep(tmp_path / ("0" * 12), "0" * 12, method, 2, 4)  # of an intermediate epoch alone
    with pytest.raises(StartError, match=told):
        begin(method, start, tmp_path / "x")


def test_a_trial_without_a_folder_has_no_neighbours() -> None:
    with pytest.raises(StartError, match="beside the trial's folder; it has none"):
        begin(made(DinoSpec(**DINO)), TrialStart(id="0" * 12), None)

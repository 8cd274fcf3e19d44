"""Segmentation: mIoU by hand, an oracle, perfect and shuffled classes, and that the encoder is not touched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from data.sets.annotations import IGNORED
from data.sets.dataset import Dataset, HeldSplit
from data.sets.scenes import DigitsScenes, SceneSplit
from models.backbones import make
from models.backbones.resnet import TinySpec
from study.evaluations import Subject
from study.evaluations.segmentation import (
    Segmentation,
    confusion,
    judged,
    pixel_loss,
    poly,
    together,
)

PLAIN: dict[str, Any] = {"distort": False, "scale": (1.0, 1.0)}  # colours are the toy's classes


def scores(subject: Subject, **knobs: Any) -> dict[str, float]:
    return {s.metric: s.value for s in Segmentation(**{**Segmentation.smallest(), **knobs}).run(subject)}


def test_miou_by_hand() -> None:
    """Four classes: 0 has 3 of 4 pixels found and one more taken for it, 1 has 1 of 2, 2 is found where it is
    not, 3 is nowhere."""
    truth = torch.tensor([[0, 0, 0, 0], [1, 1, IGNORED, IGNORED]], dtype=torch.uint8)
    found = torch.tensor([[0, 0, 0, 2], [1, 0, 1, 3]])
    counts = confusion(found, truth, 4)
    assert counts.tolist() == [[3, 0, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    expected = {
        "mIoU": 100 * (3 / 5 + 1 / 2 + 0) / 3,
        "pixel_accuracy": 100 * 4 / 6,
        "mean_accuracy": 100 * (3 / 4 + 1 / 2) / 2,
    }
    assert judged(counts) == pytest.approx(expected)


def test_an_oracle_scores_100(tmp_path: Any) -> None:
    test = DigitsScenes(scenes=40, size=32).load(tmp_path).test
    assert isinstance(test, SceneSplit)
    truth = torch.stack(test.semantic(range(len(test))))
    assert set(judged(confusion(truth.long(), truth, 11)).values()) == {100}
    all_background = judged(confusion(torch.zeros_like(truth).long(), truth, 11))
    share = float((truth == 0).double().mean())
    assert all_background["pixel_accuracy"] == pytest.approx(100 * share)
    assert all_background["mIoU"] == pytest.approx(100 * share / 11)


def test_counts_add_up_over_pictures() -> None:
    draw = torch.Generator().manual_seed(0)
    truth = torch.randint(0, 5, (6, 9, 9), generator=draw).to(torch.uint8)
    found = torch.randint(0, 5, (6, 9, 9), generator=draw)
    apart = sum(confusion(f, t, 5) for f, t in zip(found, truth))
    assert torch.equal(apart, confusion(found, truth, 5))
    with pytest.raises(ValueError, match="no pixel of the test pictures counts"):
        judged(torch.zeros(3, 3, dtype=torch.int64))


def test_perfect_features_give_a_perfect_score(subject: Subject) -> None:
    """Each place of the toy's map names its class; a frozen map has to be read only."""
    found = scores(subject, frozen=True, steps=40, batch=16, lr=0.1, tested=70, **PLAIN)
    assert found["mIoU"] > 99
    assert found["pixel_accuracy"] > 99


def test_shuffled_classes_give_chance(make_subject: Callable[..., Subject]) -> None:
    found = scores(make_subject(shuffled=True), frozen=True, steps=40, batch=16, lr=0.1, tested=None, **PLAIN)
    assert abs(found["pixel_accuracy"] - 100 / 7) < 8


class Ink(SceneSplit):
    """Scenes whose digits are all of one class."""

    semantic_classes = ("background", "ink")

    def semantic(self, indices: Sequence[int] | Tensor) -> list[Tensor]:
        return [mask.clamp(max=1) for mask in super().semantic(indices)]


def test_fine_tuning_learns_and_leaves_the_encoder(tmp_path: Any) -> None:
    data = DigitsScenes(scenes=48, size=32, digits=1).load(tmp_path)
    train, test = (Ink(s.held, s.labels, s.places, s.digits) for s in (data.train, data.test))  # type: ignore[attr-defined]
    torch.manual_seed(0)
    encoder = make(TinySpec(width=8))
    subject = Subject(encoder, Dataset(train, test, 10, 32), size=32, mean=(0.5,) * 3, std=(0.25,) * 3)
    before = {k: v.clone() for k, v in encoder.state_dict().items()}
    found = scores(subject, steps=30, batch=8, lr=0.05, tested=None)
    assert found["mIoU"] > 60  # the background alone gives half of its share, 47
    assert all(torch.equal(before[k], v) for k, v in encoder.state_dict().items())


def test_pictures_of_several_sizes_are_judged_at_their_own(subject: Subject) -> None:
    sizes = torch.tensor([[4, 6], [5, 6], [4, 6], [4, 6]])
    assert [part.tolist() for part in together(sizes, 2)] == [[0, 2], [3], [1]]
    assert scores(subject, short=24)["mIoU"] >= 0  # enlarged pictures, judged on the 16 px that they have


def test_the_loss_is_a_mean_over_counted_pixels() -> None:
    logits = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    truth = torch.randint(0, 3, (2, 4, 4), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
    truth[:, :2] = IGNORED
    expected = F.cross_entropy(logits[:, :, 2:], truth[:, 2:].long())
    assert torch.allclose(pixel_loss(logits, truth), expected)
    assert float(pixel_loss(logits, torch.full_like(truth, IGNORED))) == 0


def test_the_rate_falls_polynomially() -> None:
    assert poly(0.01, 0) == pytest.approx(0.01)
    assert poly(0.01, 1) == pytest.approx(1e-4)
    assert poly(0.01, 0.5) == pytest.approx(0.0099 * 0.5**0.9 + 1e-4)
    assert poly(1e-3, 1) == pytest.approx(1e-5)


def test_a_set_without_masks_is_refused(subject: Subject) -> None:
    plain = HeldSplit(torch.zeros(4, 3, 16, 16, dtype=torch.uint8), torch.zeros(4).long())
    with pytest.raises(ValueError, match=r"needs a set with classes of pixels, such as data: {name: digits"):
        Segmentation(steps=1).run(subject.on(Dataset(plain, plain, 7, 16)))


def test_divergence_is_said(subject: Subject) -> None:
    with pytest.raises(ValueError, match=r"segmentation diverged at lr 1e\+30 in step"):
        scores(subject, lr=1e30, steps=20)


def test_passes_and_steps_are_the_budget(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    import study.evaluations.segmentation as file

    seen: list[int] = []
    crops = file.crops
    monkeypatch.setattr(
        file, "crops", lambda s, rows, *rest: (seen.append(len(rows)), crops(s, rows, *rest))[1]
    )
    scores(subject, steps=None, epochs=0.2, batch=10)  # of 210 pictures
    assert seen == [10] * 5
    seen.clear()
    scores(subject, steps=2, epochs=7.0, batch=400)  # no more than there are
    assert seen == [210] * 2

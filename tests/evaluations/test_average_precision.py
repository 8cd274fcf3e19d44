"""Average precision: a case known by hand, an oracle, and pycocotools on random pictures."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
import torch
from torch import Tensor

from data.sets.annotations import Objects
from study.evaluations.average_precision import AveragePrecision, Detections

SIDE = 40


def masks_of(boxes: Tensor) -> Tensor:
    """The boxes, of whole pixels, as masks: (n, 4) to bool (n, SIDE, SIDE)."""
    at = torch.arange(SIDE)
    across = (at >= boxes[:, :1]) & (at < boxes[:, 2:3])
    down = (at >= boxes[:, 1:2]) & (at < boxes[:, 3:])
    return down[:, :, None] & across[:, None]


def objects(boxes: list[list[float]], labels: list[int], ignored: list[bool] | None = None) -> Objects:
    corners = torch.tensor(boxes).float().view(-1, 4)
    aside = torch.tensor(ignored if ignored is not None else [False] * len(labels), dtype=torch.bool)
    return Objects(corners, torch.tensor(labels).long(), aside, masks_of(corners))


def detections(boxes: list[list[float]], scores: list[float], labels: list[int]) -> Detections:
    corners = torch.tensor(boxes).float().view(-1, 4)
    return Detections(corners, torch.tensor(scores), torch.tensor(labels).long(), masks_of(corners))


def random_picture(draw: np.random.Generator, crowds: bool) -> tuple[Detections, Objects]:
    """Up to 6 objects of 3 classes, some moved and found again, some found twice, some invented."""

    def boxes(n: int) -> np.ndarray:
        corner = draw.integers(0, SIDE - 12, (n, 2))
        return np.concatenate([corner, corner + draw.integers(4, 13, (n, 2))], 1)

    truth = boxes(draw.integers(0, 7))
    labels = draw.integers(0, 3, len(truth))
    again = np.repeat(np.arange(len(truth)), draw.integers(0, 3, len(truth)))
    found = np.clip(truth[again] + draw.integers(-1, 2, (len(again), 4)), 0, SIDE)
    found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 1)
    invented = boxes(draw.integers(0, 4))
    names = np.concatenate([labels[again], draw.integers(0, 3, len(invented))])
    scores = draw.integers(1, 12, len(names)) / 12  # many are equal
    ignored = (draw.random(len(truth)) < 0.3) & crowds
    return (
        detections(np.concatenate([found, invented]).tolist(), scores.tolist(), names.tolist()),
        objects(truth.tolist(), labels.tolist(), ignored.tolist()),
    )


def reference(pictures: list[tuple[Detections, Objects]], masks: bool) -> list[float]:
    """AP, AP50, AP75 by pycocotools."""
    coco = pytest.importorskip("pycocotools.coco")
    from pycocotools import mask as coder
    from pycocotools.cocoeval import COCOeval

    def entries(i: int, boxes: Tensor, labels: Tensor, shapes: Tensor) -> list[dict]:
        return [
            {
                "image_id": i,
                "category_id": int(c),
                "bbox": [float(v) for v in (x0, y0, x1 - x0, y1 - y0)],
                "area": float((x1 - x0) * (y1 - y0)),
                "segmentation": coder.encode(np.asfortranarray(shape.numpy().astype(np.uint8))),
            }
            for (x0, y0, x1, y1), c, shape in zip(boxes, labels, shapes)
        ]

    truth, found = [], []
    for i, (guess, real) in enumerate(pictures, 1):
        rows = entries(i, real.boxes, real.labels, real.masks)
        truth += [{**row, "iscrowd": int(flag)} for row, flag in zip(rows, real.ignored)]
        rows = entries(i, guess.boxes, guess.labels, guess.masks)
        found += [{**row, "score": float(s)} for row, s in zip(rows, guess.scores)]
    with contextlib.redirect_stdout(io.StringIO()):
        data = coco.COCO()
        data.dataset = {
            "images": [{"id": i + 1, "height": SIDE, "width": SIDE} for i in range(len(pictures))],
            "categories": [{"id": c} for c in range(3)],
            "annotations": [{**row, "id": i} for i, row in enumerate(truth, 1)],
        }
        data.createIndex()
        judged = COCOeval(data, data.loadRes(found), "segm" if masks else "bbox")
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
    return [100 * float(value) for value in judged.stats[:3]]


def test_a_case_known_by_hand() -> None:
    """Two objects of one class. By falling score: one is found with an overlap of 0.8, one guess lies in the
    void, the other is found exactly: precision 1 up to a recall of 1/2, then 2/3."""
    judged = AveragePrecision(2, crowds=False)
    truth = objects([[0, 0, 10, 10], [20, 20, 30, 30]], [1, 1])
    judged.add(
        detections([[0, 0, 10, 8], [0, 30, 5, 35], [20, 20, 30, 30]], [0.9, 0.8, 0.7], [1, 1, 1]), truth
    )
    low = 100 * (51 * 1 + 50 * 2 / 3) / 101  # recalls 0 to 0.5, then 0.51 to 1
    high = 100 * 51 / 3 / 101  # above 0.8 the first guess is wrong too: 1 of 3 up to a recall of 1/2
    summary = judged.summary()
    assert summary["AP50"] == pytest.approx(low)
    assert summary["AP75"] == pytest.approx(low)
    assert summary["AP"] == pytest.approx((7 * low + 3 * high) / 10)


def test_eleven_points_are_those_of_voc_2007() -> None:
    judged = AveragePrecision(1, crowds=False, points=11)
    truth = objects([[0, 0, 10, 10], [20, 20, 30, 30]], [0, 0])
    judged.add(detections([[0, 0, 10, 10]], [0.9], [0]), truth)
    assert judged.summary()["AP"] == pytest.approx(100 * 6 / 11)


@pytest.mark.parametrize("masks", [False, True])
def test_an_oracle_scores_100(masks: bool) -> None:
    draw = np.random.default_rng(0)
    judged = AveragePrecision(3, crowds=True)
    for _ in range(20):
        truth = random_picture(draw, crowds=True)[1]
        keep = ~truth.ignored
        guess = Detections(
            truth.boxes[keep], torch.rand(int(keep.sum())), truth.labels[keep], truth.masks[keep]
        )
        judged.add(guess, truth, masks=masks)
    assert judged.summary() == {"AP": 100.0, "AP50": 100.0, "AP75": 100.0}


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("crowds", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_the_numbers_are_those_of_pycocotools(seed: int, crowds: bool, masks: bool) -> None:
    draw = np.random.default_rng(seed)
    pictures = [random_picture(draw, crowds) for _ in range(30)]
    judged = AveragePrecision(3, crowds=True)
    for guess, truth in pictures:
        judged.add(guess, truth, masks=masks)
    ours = list(judged.summary().values())
    assert ours == pytest.approx(reference(pictures, masks), abs=1e-9)
    assert 3 < ours[0] < ours[1] < 100  # a case in which something is right and something wrong


def test_more_than_a_hundred_guesses_are_cut() -> None:
    truth = objects([[0, 0, 10, 10]], [0])
    judged = AveragePrecision(1, crowds=False)
    judged.add(detections([[20, 20, 30, 30]] * 100 + [[0, 0, 10, 10]], [0.9] * 100 + [0.8], [0] * 101), truth)
    assert judged.summary()["AP"] == 0


def test_an_ignored_object_counts_neither_way() -> None:
    """A guess on it is no error, missing it none either; of a crowd any part will do, of a difficult object
    the overlap has to be right."""
    truth = objects([[0, 0, 10, 10], [20, 20, 40, 40]], [0, 0], [False, True])
    part, whole = [20, 20, 30, 30], [20, 20, 40, 40]
    two_errors_before_the_hit = 100 / 3
    cases = [(True, part, 100), (False, whole, 100), (False, part, two_errors_before_the_hit)]
    for crowds, guess, expected in cases:
        judged = AveragePrecision(1, crowds=crowds)
        judged.add(detections([guess, guess, [0, 0, 10, 10]], [0.9, 0.85, 0.8], [0, 0, 0]), truth)
        assert judged.summary()["AP50"] == pytest.approx(expected)


def test_nothing_to_be_found_is_an_error() -> None:
    judged = AveragePrecision(1, crowds=False)
    judged.add(detections([[0, 0, 5, 5]], [0.5], [0]), objects([], []))
    with pytest.raises(ValueError, match="at least 1 object"):
        judged.summary()

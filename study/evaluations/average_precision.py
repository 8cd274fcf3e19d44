"""COCO's average precision of boxes and masks, picture by picture (the definition of pycocotools, area `all`).

Detections of a class are matched greedily by falling score with the truth that they overlap most, at ten
thresholds; precision is made monotone and read at 101 recalls; the mean is over thresholds and over the
classes that occur. A picture is reduced to its matches when it is added, so no mask is kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from data.sets.annotations import Objects

THRESHOLDS = np.linspace(0.5, 0.95, 10)  # overlaps
REACHED = np.minimum(THRESHOLDS, 1 - 1e-10)[:, None]  # as in pycocotools: an overlap of 1 - eps is one of 1
MOST = 100  # detections of a class and picture that count, the best first


@dataclass(frozen=True)
class Detections:
    """The n detections of a picture. boxes: (n, 4), x0 y0 x1 y1 in its pixels. scores, labels: (n,).
    masks: bool (n, H, W), where they are measured."""

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    masks: Tensor | None = None


@dataclass(frozen=True)
class _Matches:
    """Of the d detections of a class in a picture, best first: scores (d,), and at each of the T thresholds
    whether one found an object, and whether it lies on an ignored one and does not count, bool (T, d)."""

    scores: np.ndarray
    hit: np.ndarray
    aside: np.ndarray


class AveragePrecision:
    """Gathers pictures with `add`; `summary` gives AP, AP50 and AP75 in %.

    classes: their number. crowds: whether ignored objects are regions of which a detection may be any part
    (COCO), rather than single difficult objects (VOC). points: recalls that are read; VOC 2007 has 11.
    """

    def __init__(self, classes: int, *, crowds: bool, points: int = 101) -> None:
        self.crowds = crowds
        self.recalls = np.linspace(0, 1, points)
        self._matches: list[list[_Matches]] = [[] for _ in range(classes)]
        self._objects = np.zeros(classes, dtype=np.int64)

    def add(self, found: Detections, truth: Objects, *, masks: bool = False) -> None:
        """One picture, measured by its boxes or by its masks."""
        overlap = mask_overlap if masks else box_overlap
        shapes = (found.masks, truth.masks) if masks else (found.boxes, truth.boxes)
        if shapes[0] is None or shapes[1] is None:
            raise ValueError("masks are measured, but the detections or the objects have none")
        crowd = truth.ignored if self.crowds else torch.zeros_like(truth.ignored)
        overlaps = overlap(shapes[0], shapes[1], crowd)
        scores = found.scores.double().cpu().numpy()
        labels, classes = found.labels.cpu().numpy(), truth.labels.cpu().numpy()
        ignored = truth.ignored.cpu().numpy()
        for c in np.union1d(labels, classes):
            mine = (labels == c).nonzero()[0]
            mine = mine[np.argsort(-scores[mine], kind="stable")][:MOST]
            real, aside = ((classes == c) & ~ignored).nonzero()[0], ((classes == c) & ignored).nonzero()[0]
            hit, over = match(overlaps[np.ix_(mine, real)], overlaps[np.ix_(mine, aside)])
            self._matches[c].append(_Matches(scores[mine], hit, over))
            self._objects[c] += len(real)

    def summary(self) -> dict[str, float]:
        """AP (mean over the thresholds), AP50 and AP75, in %. Raises ValueError where nothing was to be found."""
        curves = [
            self._precision(matches, int(n)) for matches, n in zip(self._matches, self._objects) if n > 0
        ]
        if not curves:
            raise ValueError("average precision needs at least 1 object in the test pictures; there are 0")
        mean = 100 * np.mean(curves, axis=(0, 2))  # (T,)
        return {"AP": float(mean.mean()), "AP50": float(mean[0]), "AP75": float(mean[5])}

    def _precision(self, matches: list[_Matches], objects: int) -> np.ndarray:
        """(T, R): the best precision at each recall or beyond it."""
        scores = np.concatenate([m.scores for m in matches])
        order = np.argsort(-scores, kind="stable")
        hit = np.concatenate([m.hit for m in matches], axis=1)[:, order]
        aside = np.concatenate([m.aside for m in matches], axis=1)[:, order]
        right = np.cumsum(hit, axis=1, dtype=np.float64)
        wrong = np.cumsum(~hit & ~aside, axis=1, dtype=np.float64)
        recall, precision = right / objects, right / (right + wrong + np.spacing(1))
        precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        padded = np.pad(precision, ((0, 0), (0, 1)))  # 0 at recalls that are never reached
        rows = [row[np.searchsorted(r, self.recalls, side="left")] for row, r in zip(padded, recall)]
        return np.stack(rows)


def match(real: np.ndarray, aside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Detections, best first, with the objects of their class and picture.

    real: (d, g) overlaps with the objects to be found; each is found once, and of equal overlaps the last
    wins. aside: (d, i) overlaps with the ignored ones, which any number may lie on. Returns bool (T, d)
    twice: found an object; else lies on an ignored one.
    """
    count, objects = real.shape
    hit = np.zeros((len(THRESHOLDS), count), dtype=bool)
    over = aside.max(1, initial=-1.0)[None] >= REACHED
    free = np.ones((len(THRESHOLDS), objects), dtype=bool)
    rows = np.arange(len(THRESHOLDS))
    for i in range(count if objects else 0):
        here = np.where(free, real[i], -1.0)  # (T, g)
        best = objects - 1 - here[:, ::-1].argmax(1)
        hit[:, i] = here[rows, best] >= REACHED[:, 0]
        free[rows[hit[:, i]], best[hit[:, i]]] = False
    return hit, over & ~hit


def box_overlap(found: Tensor, truth: Tensor, crowd: Tensor) -> np.ndarray:
    """(n, m) float64: intersection over union of boxes (n, 4) and (m, 4), over the found one's area where the
    other is a crowd, bool (m,)."""
    a, b = found.double(), truth.double().to(found.device)
    low, high = torch.maximum(a[:, None, :2], b[:, :2]), torch.minimum(a[:, None, 2:], b[:, 2:])
    shared = (high - low).clamp(min=0).prod(2)
    return _ratio(shared, (a[:, 2:] - a[:, :2]).prod(1), (b[:, 2:] - b[:, :2]).prod(1), crowd)


def mask_overlap(found: Tensor, truth: Tensor, crowd: Tensor) -> np.ndarray:
    """The same of masks, bool (n, H, W) and (m, H, W)."""
    # Counts are exact in float32 up to 16.7 million pixels.
    a, b = found.flatten(1).float(), truth.flatten(1).float().to(found.device)
    return _ratio((a @ b.t()).double(), a.sum(1).double(), b.sum(1).double(), crowd)


def _ratio(shared: Tensor, found: Tensor, truth: Tensor, crowd: Tensor) -> np.ndarray:
    union = torch.where(crowd.to(shared.device), found[:, None], found[:, None] + truth - shared)
    return torch.where(shared > 0, shared / union, 0.0).cpu().numpy()

"""Correspondence: is a place of a picture found again in another view of it, by the cosine of dense features?

esvit (Fig 8): the untouched picture against its mirrored, grey, jittered view; the ten most similar of its
places count. glsd (Fig 4): two views with the training pipeline's colours and the same crop, the second
mirrored by half; every place counts. The distance error is that between the centres of the found and of the
true place, in pixels of the view.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from data.augment import augment
from data.draws import draw
from data.recipes import RECIPES, Interpolation, ViewSpec
from study.evaluations.evaluation import Evaluation, Score, Subject

UNTOUCHED = ViewSpec(
    224, (1.0, 1.0), "bicubic", (0.0, 0.0, 0.0, 0.0), 0.0, flip_p=0.0, jitter_p=0.0, grey_p=0.0
)
ESVIT = replace(UNTOUCHED, jitter=(0.4, 0.4, 0.2, 0.1), jitter_p=0.8, grey_p=1.0, flip_p=1.0)
GLSD = tuple(replace(view, flip_p=flip) for view, flip in zip(RECIPES["dino"], (0.0, 0.5)))


class Correspondence(Evaluation):
    """Scores: accuracy (%), distance_px, and distance_cells, means over pictures of the test split."""

    name: Literal["correspondence"] = Field(
        "correspondence", description="places found again in another view"
    )
    form: Literal["esvit", "glsd"] = Field("esvit", description="the paper whose views and count are used")
    top: int | None = Field(
        None, ge=1, description="places of a picture that count, the most similar; absent: esvit 10, glsd all"
    )
    pictures: int | None = Field(
        None, ge=1, description="pictures of the test split, drawn by the seed; all where absent"
    )
    interpolation: Interpolation = Field("bicubic", description="resampling of the pictures")

    def run(self, subject: Subject) -> list[Score]:
        """Raises ValueError where `top` exceeds the places of the map."""
        indices = subject.drawn("test", self.pictures or len(subject.indices("test")))
        generator = subject.generator("correspondence", self.form)
        plan = self.plan(subject.size)
        top = self.top or (10 if self.form == "esvit" else None)
        hits, pixels, cells = [], [], []
        for part in indices.split(subject.batch):
            first, second, mirrored = self.views(subject, part, plan, generator)
            one = subject.encode(first, lambda images: subject.encoder(images).dense)
            two = subject.encode(second, lambda images: subject.encoder(images).dense)
            side = subject.size / max(one.shape[2:])
            count = min(top, one[0, 0].numel()) if self.top is None and top is not None else top
            hit, distance = compare(one, two, mirrored.to(one.device), count)
            hits.append(hit)
            cells.append(distance)
            pixels.append(distance * side)
        n = len(indices)
        return [
            Score("accuracy", 100 * torch.cat(hits).mean().item(), n),
            Score("distance_px", torch.cat(pixels).mean().item(), n),
            Score("distance_cells", torch.cat(cells).mean().item(), n),
        ]

    def plan(self, size: int) -> tuple[ViewSpec, ...]:
        """The two views of a picture of `size` pixels, without their crops: what changes their colours."""
        return tuple(_at(view, size) for view in ((UNTOUCHED, ESVIT) if self.form == "esvit" else GLSD))

    def views(
        self, subject: Subject, indices: Tensor, plan: tuple[ViewSpec, ...], generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Two views (B, 3, s, s), normalised, and whether the second is mirrored, (B,) bool."""
        images = subject.pictures("test", indices, self.interpolation)
        mean, std = (
            torch.tensor(v, device=images.device)[:, None, None] for v in (subject.mean, subject.std)
        )
        plain = (images * std + mean).clamp(0, 1)
        sizes = torch.full((len(indices), 2), subject.size)
        draws = draw(plan, sizes, generator)
        views = []
        for v, view in enumerate(plan):
            changed = plain.clone()
            one = type(draws)(**{key: value[v : v + 1] for key, value in vars(draws).items()})
            augment(changed, one, view.threshold)
            flip = one.flip[0].to(changed.device)
            changed[flip] = changed[flip].flip(3)
            views.append((changed - mean) / std)
        return views[0], views[1], draws.flip[1]


def match(one: Tensor, two: Tensor) -> tuple[Tensor, Tensor]:
    """The most similar place of `two` for every place of `one`, both (B, D, H, W): its cosine and its number,
    row by row, each (B, H W)."""
    s, t = (F.normalize(maps.flatten(2), dim=1) for maps in (one, two))  # (B, D, S), (B, D, T)
    similarity, found = torch.einsum("bds,bdt->bst", s, t).max(2)
    return similarity, found


def compare(one: Tensor, two: Tensor, mirrored: Tensor, top: int | None = None) -> tuple[Tensor, Tensor]:
    """Matches every place of `one` to the most similar place of `two`, and compares with the truth.

    one, two: (B, D, H, W). mirrored: (B,) bool, `two` is flipped left to right. top: how many places count,
    those with the highest cosine; all where None. Returns, each (B,) float64: the share that is matched
    exactly, and the mean distance from the true place, in cells. Raises ValueError where top > H W.
    """
    height, width = one.shape[2:]
    if top is not None and top > height * width:
        raise ValueError(f"top is {top}, but a map of {height} x {width} has {height * width} places")
    similarity, found = match(one, two)  # (B, S)
    place = torch.arange(height * width, device=one.device)
    row, column = place // width, place % width
    true_column = torch.where(mirrored[:, None], width - 1 - column, column)  # (B, S)
    down = (found // width - row).double()
    across = (found % width - true_column).double()
    distance = (down.square() + across.square()).sqrt()
    if top is not None:
        chosen = similarity.topk(top, dim=1).indices
        distance = distance.gather(1, chosen)
    return (distance == 0).double().mean(1), distance.mean(1)


def _at(view: ViewSpec, size: int) -> ViewSpec:
    """The view at another size: the blur keeps its share of the picture."""
    low, high = (sigma * size / view.size for sigma in view.sigma)
    return replace(view, size=size, sigma=(low, high))

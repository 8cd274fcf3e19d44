"""Scenes of digits: scikit-learn's handwritten digits at several sizes and places of a larger picture.

The dense companion of `digits`: every pixel's class, every digit's box and visible mask are known exactly, and
nothing is downloaded. Training scenes are made of the digits of the training split only, test scenes of those
of the test split. A scene is a smooth dark background, its digits of one bright colour each; its label is the
class of its largest digit, so that scenes can also be pre-trained on and probed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from data.sets.annotations import Detection, Objects, Semantic
from data.sets.dataset import Dataset, HeldSplit, SetSpec, Split, digest
from data.sets.digits import Digits

SEEDS = (1, 2)  # of the training and of the test scenes; a trial's seed never changes a scene
LARGEST = (0.38, 0.55)  # side of the first digit, of the scene's
OTHERS = (0.16, 0.32)  # and of the others: the label is never a matter of a pixel
LEAST = 8  # pixels of a digit's side
OVERLAP = 0.1  # of the smaller of two digits' squares, at most
TRIES = 40  # places that are tried for a digit before it is left out
INK = 0.5  # opacity from which a pixel belongs to a digit
NAMES = tuple(str(digit) for digit in range(10))


class DigitsScenes(SetSpec):
    """Several handwritten digits in a scene, with boxes, masks and the class of every pixel."""

    classes, side = 10, 64
    annotated = ("pixels", "objects", "masks")

    name: Literal["digits_scenes"] = Field(
        "digits_scenes", description="handwritten digits in larger scenes, with boxes and masks, 10 classes"
    )
    size: int = Field(64, ge=32, le=512, description="side of a scene in pixels")
    scenes: int = Field(
        1000, ge=40, le=100_000, description="training scenes; the test split has a quarter of them"
    )
    digits: int = Field(5, ge=1, le=9, description="digits in a scene, at most; each scene draws its number")

    def training_pictures(self) -> int:
        return self.scenes

    def load(self, root: Path) -> Dataset:
        parts = Digits().load(root)
        train = compose(parts.train, self.scenes, self.size, self.digits, SEEDS[0])
        test = compose(parts.test, self.scenes // 4, self.size, self.digits, SEEDS[1])
        return Dataset(train, test, 10, self.size)


class SceneSplit(HeldSplit, Semantic, Detection):
    """Scenes in memory. held: uint8 (N, 3, H, W). places: uint8 (N, H, W), 0 the background and k + 1 what is
    visible of the k-th digit. digits: the classes of each scene's digits, from back to front."""

    semantic_classes = ("background", *NAMES)
    object_classes = NAMES
    with_masks = True

    def __init__(self, held: Tensor, labels: Tensor, places: Tensor, digits: list[Tensor]) -> None:
        super().__init__(
            held, labels, digest(*(x.numpy() for x in (held, labels, places, torch.cat(digits))))
        )
        self.places = places
        self.digits = digits

    def semantic(self, indices: Sequence[int] | Tensor) -> list[Tensor]:
        """uint8 (H, W) each: 0 the background, 1 to 10 the digits 0 to 9."""
        return [self._classes(int(i))[self.places[int(i)].long()] for i in indices]

    def _classes(self, i: int) -> Tensor:
        """(n + 1,) uint8: from what `places` holds to the classes of pixels."""
        return torch.cat([torch.zeros(1, dtype=torch.uint8), (self.digits[i] + 1).to(torch.uint8)])

    def objects(self, indices: Sequence[int] | Tensor, masks: bool = True) -> list[Objects]:
        """Every digit with the box of what is visible of it; none is ignored."""
        return [self._objects(int(i)) for i in indices]

    def _objects(self, i: int) -> Objects:
        labels = self.digits[i]
        masks = self.places[i] == torch.arange(1, len(labels) + 1)[:, None, None]  # (n, H, W)
        return Objects(bounds(masks), labels, torch.zeros(len(labels), dtype=torch.bool), masks)


def bounds(masks: Tensor) -> Tensor:
    """The smallest boxes around masks, none of them empty: (n, H, W) bool to (n, 4) float32, x0 y0 x1 y1,
    ends exclusive."""
    ends = []
    for over in (1, 2):  # columns that hold something, then rows
        some = masks.any(over).float()
        ends.append((some.argmax(1), some.shape[1] - some.flip(1).argmax(1)))
    (x0, x1), (y0, y1) = ends
    return torch.stack([x0, y0, x1, y1], 1).float()


def compose(digits: Split, count: int, size: int, most: int, seed: int) -> SceneSplit:
    """`count` scenes of `size` pixels with 1 to `most` of `digits` each; the same for the same seed.

    Drawn in float64: a last bit that depends on the CPU would move a rounded pixel, and the fingerprint.
    """
    draw = torch.Generator().manual_seed(seed)
    held = torch.empty(count, 3, size, size, dtype=torch.uint8)
    places = torch.zeros(count, size, size, dtype=torch.uint8)
    classes: list[Tensor] = []
    for i in range(count):
        picture = _background(size, draw)
        chosen: list[int] = []
        taken: list[tuple[int, int, int]] = []
        for k in range(_whole(1, most, draw)):
            side = max(LEAST, round(size * _between(*(OTHERS if k else LARGEST), draw)))
            place = _place(size, side, taken, draw)
            if place is None:
                continue
            taken.append((*place, side))
            chosen.append(_whole(0, len(digits) - 1, draw))
            _paint(picture, places[i], digits.read(chosen[-1:])[0][0], (*place, side), len(chosen), draw)
        classes.append(digits.labels[chosen])
        held[i] = (picture.clamp(0, 1) * 255).round().to(torch.uint8)
    return SceneSplit(held, torch.stack([scene[0] for scene in classes]), places, classes)


def _background(size: int, draw: torch.Generator) -> Tensor:
    """(3, size, size): a few dark colours that run into each other, with a little noise."""
    coarse = 0.35 * torch.rand(1, 3, 4, 4, generator=draw, dtype=torch.float64)
    smooth = F.interpolate(coarse, (size, size), mode="bilinear", align_corners=True)[0]
    return smooth + 0.06 * (torch.rand(3, size, size, generator=draw) - 0.5)


def _place(
    size: int, side: int, taken: list[tuple[int, int, int]], draw: torch.Generator
) -> tuple[int, int] | None:
    """Top and left of a square that hardly covers those that are there, or None where none was found."""
    for _ in range(TRIES):
        top, left = _whole(0, size - side, draw), _whole(0, size - side, draw)
        for y, x, other in taken:
            down = min(top + side, y + other) - max(top, y)
            across = min(left + side, x + other) - max(left, x)
            if max(0, down) * max(0, across) > OVERLAP * min(side, other) ** 2:
                break
        else:
            return top, left
    return None


def _paint(
    picture: Tensor,
    places: Tensor,
    digit: Tensor,
    square: tuple[int, int, int],
    number: int,
    draw: torch.Generator,
) -> None:
    """Lays a digit, (8, 8) uint8, over the picture and marks its pixels with its number."""
    top, left, side = square
    ink = F.interpolate(digit[None, None].double() / 255, (side, side), mode="bilinear", align_corners=False)[
        0
    ]
    colour = 0.55 + 0.45 * torch.rand(3, 1, 1, generator=draw)
    under = picture[:, top : top + side, left : left + side]
    under.copy_(under * (1 - ink) + colour * ink)
    places[top : top + side, left : left + side][ink[0] >= INK] = number


def _whole(low: int, high: int, draw: torch.Generator) -> int:
    return int(torch.randint(low, high + 1, (), generator=draw))


def _between(low: float, high: float, draw: torch.Generator) -> float:
    return low + (high - low) * float(torch.rand((), generator=draw))

"""The views bench: pictures a second of the batched views over torchvision's picture-by-picture ones.

Two BYOL views a picture, one core, both ways in one run and in turn, from pictures already decoded. The
rival is what the papers' code does: torchvision's transforms on Pillow pictures, Pillow's own blur.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from data.recipes import ViewSpec
from data.sets.dataset import HeldSplit
from data.views import ViewsSpec, draw, plan, render

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# side of the views: the pictures' height and width, pictures a batch
CASES = {224: ((375, 500), 32), 32: ((32, 32), 512)}
ROUNDS = 7


def run(console_print: Callable[[str], None]) -> None:
    """Prints pictures a second of both ways and their ratio (median, range), views of 224 and 32 px."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        console_print("views of size | batched, pictures/s | torchvision, pictures/s | ratio (range)")
        for size in CASES:
            ours, theirs, ratios = measure(size)
            console_print(
                f"{size:>10} px | {ours:19.0f} | {theirs:23.0f} | "
                f"{statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})"
            )
        console_print(
            "2 BYOL views a picture, 1 thread, decoded pictures of 500 x 375 and 32 x 32 px, paired rounds"
        )
    finally:
        torch.set_num_threads(threads)


def measure(size: int, rounds: int = ROUNDS) -> tuple[float, float, list[float]]:
    """Median pictures a second of the batched way and of torchvision's, and each round's ratio."""
    from PIL import Image

    (height, width), batch = CASES[size]
    held = pictures(batch, height, width)
    split = HeldSplit(held, torch.zeros(batch, dtype=torch.int64))
    views = plan(ViewsSpec(name="byol", size=size))
    images = [Image.fromarray(picture.permute(1, 2, 0).numpy()) for picture in held]
    rivals = [transform(view) for view in views]
    generator = torch.Generator().manual_seed(0)

    def ours() -> None:
        draws = draw(views, split.sizes(range(batch)), generator)
        render(split, range(batch), draws, views, "cpu", MEAN, STD)

    def theirs() -> None:
        for rival in rivals:
            torch.stack([rival(image) for image in images])

    ours()  # warm
    theirs()
    speeds = [(batch / _seconds(ours), batch / _seconds(theirs)) for _ in range(rounds)]
    mine, other = (statistics.median(column) for column in zip(*speeds))
    return mine, other, [a / b for a, b in speeds]


def pictures(count: int, height: int, width: int) -> Tensor:
    """Smooth coloured noise, uint8 (count, 3, height, width), channels last as decoders give it."""
    generator = torch.Generator().manual_seed(1)
    coarse = torch.rand(count, 3, height // 8 + 2, width // 8 + 2, generator=generator)
    fine = F.interpolate(coarse, (height, width), mode="bicubic").mul(255).clamp(0, 255)
    return fine.to(torch.uint8).contiguous(memory_format=torch.channels_last)


def transform(view: ViewSpec) -> Callable[[Any], Tensor]:
    """A view as torchvision's transforms of one Pillow picture."""
    from PIL import ImageFilter
    from torchvision import transforms as T
    from torchvision.transforms import InterpolationMode

    def blur(image: Any) -> Any:
        return image.filter(ImageFilter.GaussianBlur(random.uniform(*view.sigma)))

    return T.Compose(
        [
            T.RandomResizedCrop(
                view.size, view.scale, view.ratio, interpolation=InterpolationMode(view.interpolation)
            ),
            T.RandomHorizontalFlip(view.flip_p),
            T.RandomApply([T.ColorJitter(*view.jitter)], view.jitter_p),
            T.RandomGrayscale(view.grey_p),
            T.RandomApply([T.Lambda(blur)], view.blur_p),
            T.RandomSolarize(128, view.solarise_p),
            T.ToTensor(),
            T.Normalize(MEAN, STD),
        ]
    )


def _seconds(work: Callable[[], None]) -> float:
    """Processor seconds: what others do on the machine at the moment counts for neither way."""
    start = time.process_time()
    work()
    return time.process_time() - start

"""The region-loss bench: what a step costs with matched places over one with views alone (EsViT Table 9).

Swin-T with window 7, 2 x 224 + 8 x 96 px, two heads of 65,536 prototypes, the whole step: both networks,
backward, clipping, AdamW, teacher and centres. Each setting runs in a process of its own, so that its peak
of memory is its own; on a GPU in bf16 with batch 12, on a CPU in fp32 with batch 1.
"""

from __future__ import annotations

import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

from data.recipes import ViewsSpec, plan
from models import backbones, methods
from models.backbones.swin import SwinSpec
from models.method import Batch, Moment
from models.methods.dino import DinoSpec
from study import optim

SETTINGS = ("none", "similarity", "geometric")
PUBLISHED = {1: (1.377, 1.057), 8: (1.474, 1.157), 12: (1.589, 1.149)}  # batch: ratios of memory, of time
ROUNDS = {"cpu": 3, "cuda": 20}
PIXELS = 500.0  # side of the source pictures, which only the boxes see


def run(console_print: Callable[[str], None], batch: int | None = None) -> None:
    """Prints, a setting a line, seconds and peak memory of a step and their ratios to the views alone."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    batch = batch or (12 if device == "cuda" else 1)
    context = multiprocessing.get_context("spawn")
    console_print("matching   | s/step | memory, MB | time ratio | memory ratio")
    first: tuple[float, float] | None = None
    for matching in SETTINGS:
        with context.Pool(1) as pool:
            seconds, megabytes = pool.apply(measure, (matching, device, batch))
        first = first or (seconds, megabytes)
        console_print(
            f"{matching:10} | {seconds:6.2f} | {megabytes:10.0f} | "
            f"{seconds / first[0]:10.2f} | {megabytes / first[1]:12.2f}"
        )
    memory, duration = PUBLISHED.get(batch, PUBLISHED[12])
    console_print(f"EsViT, similarity over none: {duration:.2f} in time, {memory:.2f} in memory")
    console_print(f"Swin-T, batch {batch}, {device}, median of {ROUNDS[device]} steps")


def measure(matching: str, device: str, batch: int) -> tuple[float, float]:
    """Seconds a step (median), and the peak of memory in MB above what the imports hold."""
    before = _peak(device)
    spec = DinoSpec(matching=matching)  # type: ignore[arg-type]
    method = methods.build(spec, lambda **changes: backbones.make(SwinSpec(), **changes)).to(device).train()
    rates = optim.AdamWSpec()
    optimizer = optim.build(method, rates)
    given = pictures(batch, device)
    moment = Moment(1000, 100, 300)
    spent = []
    for _ in range(ROUNDS[device] + 1):
        start = _now(device)
        optimizer.zero_grad()
        with torch.autocast(device, dtype=torch.bfloat16, enabled=device == "cuda"):
            step = method(given, moment)
        step.loss.backward()
        method.trim(moment)
        optim.apply(optimizer, rates, moment)
        method.update(step.memo, moment)
        del step
        spent.append(_now(device) - start)
    return statistics.median(spent[1:]), _peak(device) - before


def pictures(batch: int, device: str) -> Batch:
    """Noise in the sizes of DINO's recipe, and boxes of its crop scales."""
    draw = torch.Generator().manual_seed(0)
    views, boxes = [], []
    for view in plan(ViewsSpec(name="dino")):
        views.append(torch.randn(batch, 3, view.size, view.size, generator=draw).to(device))
        low, high = view.scale
        side = PIXELS * (low + (high - low) * torch.rand(batch, 1, generator=draw)).sqrt()
        corner = (PIXELS - side) * torch.rand(batch, 2, generator=draw)
        boxes.append(torch.cat([corner, corner + side], 1))
    labels: Tensor = torch.full((batch,), -1)
    return Batch(views, torch.stack(boxes).to(device), labels.to(device))


def _now(device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def _peak(device: str) -> float:
    """The highest use of memory so far in MB: of the card, or of this process."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 1e6
    unit = 1 if sys.platform == "darwin" else 1024  # bytes on a Mac, KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6

"""What the encoder costs: parameters, operations and speed of one picture's features."""

from __future__ import annotations

import time
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from study.effort import Operations
from study.evaluations.evaluation import Evaluation, Score, Subject, resting


class Cost(Evaluation):
    """Scores: parameters; gflops, 10^9 operations of one picture's forward; images_per_second; on a GPU
    peak_memory_mb. A multiplication and an addition are two operations; papers often count them as one."""

    name: Literal["cost"] = Field("cost", description="parameters, operations and speed of the encoder")
    batch: int = Field(64, ge=1, description="pictures a forward while its speed is measured")
    repeats: int = Field(5, ge=1, le=1000, description="forwards that are timed; the median counts")

    @classmethod
    def smallest(cls) -> dict[str, Any]:
        return {"batch": 4, "repeats": 2}

    def run(self, subject: Subject) -> list[Score]:
        parameters = sum(p.numel() for p in subject.encoder.parameters())
        images = torch.zeros(self.batch, 3, subject.size, subject.size, device=subject.device)
        scores = [
            Score("parameters", float(parameters), 1),
            Score("gflops", flops(subject, images[:1]) / 1e9, 1),
        ]
        cuda = subject.device.type == "cuda"
        if cuda:
            torch.cuda.reset_peak_memory_stats(subject.device)
        scores.append(
            Score(
                "images_per_second", self.batch / forward_seconds(subject, images, self.repeats), self.repeats
            )
        )
        if cuda:
            peak = torch.cuda.max_memory_allocated(subject.device) / 2**20
            scores.append(Score("peak_memory_mb", peak, self.batch))
        return scores


def forward_seconds(subject: Subject, images: Tensor, repeats: int) -> float:
    """The median wall time of one forward, after one that is not counted."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        subject.encode(images, lambda x: subject.encoder(x).pooled)
        if subject.device.type == "cuda":
            torch.cuda.synchronize(subject.device)
        times.append(time.perf_counter() - start)
    return sorted(times[1:])[len(times[1:]) // 2]


def flops(subject: Subject, images: Tensor) -> int:
    """Floating-point operations of one forward of `images`: matrix products, convolutions and attention."""
    with Operations() as counter, resting(subject.encoder), torch.no_grad():
        subject.encoder(images)
    return counter.total

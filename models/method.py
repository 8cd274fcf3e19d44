"""What every method is: views in, named loss terms out, and a memory that is updated after the step."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from models.backbones.backbone import Backbone
from models.spec import Spec


@dataclass(frozen=True)
class Moment:
    """Where in the *planned* training we are: a trial that is stopped early is the head of a full one."""

    step: int  # optimiser steps done before this one
    per_epoch: int  # optimiser steps an epoch
    epochs: int  # planned epochs

    @property
    def total(self) -> int:
        return self.per_epoch * self.epochs

    @property
    def t(self) -> float:
        """Progress in [0, 1)."""
        return self.step / self.total

    @property
    def epoch(self) -> int:
        return self.step // self.per_epoch


@dataclass(frozen=True)
class Batch:
    """What a method is given. B pictures a process, V views.

    views: V tensors (B, 3, s_v, s_v), normalised. Views of one size stand together, largest first.
    boxes: (V, B, 4) float, x0 y0 x1 y1 of each view in source pixels, mirrored when x0 > x1.
    labels: (B,) int64; -1 where the set has none.
    """

    views: list[Tensor]
    boxes: Tensor
    labels: Tensor


@dataclass
class Step:
    """What forward returns.

    terms: named, already weighted scalars whose sum is the loss.
    memo: what `update` will need, detached.
    embedding: (N, D) detached view embeddings, for the monitors of collapse.
    monitors: detached scalars written to the curves (the teacher's entropy, ...).
    """

    terms: dict[str, Tensor]
    memo: Any = None
    embedding: Tensor | None = None
    monitors: dict[str, Tensor] = field(default_factory=dict)

    @property
    def loss(self) -> Tensor:
        return torch.stack(list(self.terms.values())).sum()


class Method(nn.Module):
    """One paper's method.

    A subclass has `Spec`, a frozen record with `name: Literal[...]`; `recipe`, the name of the views'
    recipe that its paper uses; and is built from (spec, make_backbone). Forward leaves no trace but
    batch-norm statistics; what is random in it draws from torch's global generator, which the loop seeds
    from (seed, step, rank).
    """

    Spec: ClassVar[type[Spec]]
    recipe: ClassVar[str]

    def __init__(self, spec: Any, make_backbone: Callable[..., Backbone]) -> None:
        super().__init__()
        self.spec = spec

    @property
    def encoder(self) -> Backbone:
        """The backbone that evaluations are given: the online one, where a paper does not say the teacher's."""
        network: Any = getattr(self, "online", self)
        backbone: Backbone = network.backbone
        return backbone

    def shown(self) -> nn.Module | None:
        """What pictures of the trained method need besides the encoder (LEWEL's head of maps), or None."""
        return None

    def transfer(self) -> dict[str, nn.Module]:
        """What else of the trained network an evaluation may start from: `pyramid`, an FPN, and `convs`, the
        convolutions of a detector's head. Nothing in most methods."""
        return {}

    def prepare(self, moment: Moment) -> None:
        """Before forward: what the paper does first (MoCo updates its momentum encoder here)."""

    def forward(self, batch: Batch, moment: Moment) -> Step:
        raise NotImplementedError

    def trim(self, moment: Moment) -> None:
        """Between backward and the optimiser's step: gradients that the paper drops."""

    def update(self, memo: Any, moment: Moment) -> None:
        """After the optimiser's step: EMA, queue, centres."""


def cosine(start: float, end: float, t: float) -> float:
    """From `start` at t = 0 to `end` at t = 1 along half a cosine."""
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * t))

"""What a method remembers from step to step: a momentum network and a queue of keys."""

from __future__ import annotations

import copy
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models import parallel
from models.method import Moment, cosine
from models.norms import Kind

Schedule = Literal["constant", "cosine"]


def momentum_at(start: float, schedule: Schedule, moment: Moment) -> float:
    """m at a step: constant, or 1 - (1 - start)(cos(pi k / K) + 1) / 2 (BYOL, arXiv 2006.07733)."""
    return start if schedule == "constant" else cosine(start, 1.0, moment.t)


@torch.no_grad()
def follow(target: nn.Module, online: nn.Module, momentum: float, *, buffers: bool = False) -> None:
    """target <- m target + (1 - m) online, parameters; with `buffers` also floating-point buffers, integer
    ones being copied (EMAN, arXiv 2101.08482)."""
    pairs = list(zip(target.parameters(), online.parameters(), strict=True))
    if buffers:
        for mine, other in zip(target.buffers(), online.buffers(), strict=True):
            if mine.is_floating_point():
                pairs.append((mine, other))  # type: ignore[arg-type]
            else:
                mine.copy_(other)
    if pairs:
        mine_all, other_all = [a.detach() for a, _ in pairs], [b.detach() for _, b in pairs]
        torch._foreach_mul_(mine_all, momentum)
        torch._foreach_add_(mine_all, other_all, alpha=1 - momentum)


class Teacher(nn.Module):
    """A copy of a network that gets no gradient and follows the online one.

    norm: `eman` runs it on running statistics, which follow the online ones; `shuffle` runs it on pictures
    permuted over the processes (and over virtual devices, see models.norms), so that its batch statistics
    tell nothing about which pictures belong together; otherwise it is as the online one.
    """

    def __init__(self, online: nn.Module, norm: Kind = "per_device") -> None:
        super().__init__()
        self.network = copy.deepcopy(online).requires_grad_(False)
        self.norm = norm
        self.train(self.training)

    def train(self, mode: bool = True) -> Teacher:
        super().train(mode)
        if self.norm == "eman":
            self.network.eval()
        return self

    @torch.no_grad()
    def forward(self, images: Tensor) -> Any:
        """What the network gives for (B, ...), rows in the order of `images`."""
        if self.norm != "shuffle" or not self.training:
            return self.network(images)
        rows, rank = images.shape[0], parallel.rank()
        everybody = parallel.plain_gather(images)
        order = parallel.broadcast(torch.randperm(len(everybody)).to(images.device))
        mine = everybody[order[rank * rows : (rank + 1) * rows]]
        back = order.argsort()[rank * rows : (rank + 1) * rows]
        return _every_tensor(self.network(mine), back)

    def follow(self, online: nn.Module, momentum: float) -> None:
        follow(self.network, online, momentum, buffers=self.norm == "eman")


def _every_tensor(value: Any, rows: Tensor) -> Any:
    """Gathers each tensor of a (named) tuple over processes and picks `rows` of it."""
    if isinstance(value, Tensor):
        return parallel.plain_gather(value)[rows]
    if value is None:
        return None
    parts = [_every_tensor(part, rows) for part in value]
    return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)


class Queue(nn.Module):
    """The last `length` keys, first in first out; unit Gaussian vectors at the start (MoCo)."""

    keys: Tensor  # (D, K)
    pointer: Tensor  # () int64

    def __init__(self, dim: int, length: int) -> None:
        super().__init__()
        self.register_buffer("keys", F.normalize(torch.randn(dim, length), dim=0))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def push(self, keys: Tensor) -> None:
        """Append the keys (B, D) of every process, in the order of ranks. K must be a multiple of R B."""
        keys = parallel.plain_gather(keys)
        count, length = keys.shape[0], self.keys.shape[1]
        if length % count:
            raise ValueError(f"the queue's length {length} is not a multiple of the batch {count}")
        start = int(self.pointer)
        self.keys[:, start : start + count] = keys.T.to(self.keys.dtype)
        self.pointer.fill_((start + count) % length)

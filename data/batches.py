"""Which pictures are in the batch of a step: a pure function of the seed and the step.

Exact resumption therefore needs no saved sampler: asking for step s again gives the same pictures.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

import torch
from torch import Tensor


def steps_per_epoch(n: int, batch: int) -> int:
    """Full batches in `n` pictures; the rest of an epoch is dropped. Raises ValueError where n < batch."""
    if n < batch:
        raise ValueError(f"a batch of {batch} needs at least as many pictures, but there are {n}")
    return n // batch


def indices_at(step: int, n: int, batch: int, seed: int) -> Tensor:
    """The global batch of optimiser step `step` (from 0): int64 (batch,), distinct, in 0..n-1.

    Each epoch is a fresh permutation of the n pictures, cut into batches.
    """
    epoch, place = divmod(step, steps_per_epoch(n, batch))
    return _order(n, epoch, seed)[place * batch : (place + 1) * batch].clone()


@lru_cache(maxsize=4)  # an epoch's steps share one permutation
def _order(n: int, epoch: int, seed: int) -> Tensor:
    mixed = int.from_bytes(hashlib.sha256(f"order {seed} {epoch}".encode()).digest()[:8], "little") >> 1
    return torch.randperm(n, generator=torch.Generator().manual_seed(mixed))

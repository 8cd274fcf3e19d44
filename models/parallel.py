"""The only torch.distributed of the project: collectives that are the identity in a single process.

Convention for gradients: processes minimise the mean of their losses and average their gradients afterwards
(as DistributedDataParallel does), so the backward of a sum over processes is the sum of their gradients.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def rank() -> int:
    """This process's number, 0 where there is one process only."""
    return dist.get_rank() if _initialised() else 0


def world() -> int:
    """How many processes train together."""
    return dist.get_world_size() if _initialised() else 1


def _initialised() -> bool:
    return dist.is_available() and dist.is_initialized()


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, local: Tensor) -> Tensor:
        return plain_sum(local)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return plain_sum(grads[0])


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, local: Tensor) -> Tensor:
        ctx.rows = local.shape[0]
        return plain_gather(local)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return plain_sum(grads[0]).narrow(0, rank() * ctx.rows, ctx.rows)


def plain_sum(local: Tensor) -> Tensor:
    """The sum over processes, without gradient; a new tensor."""
    total = local.detach().clone(memory_format=torch.contiguous_format)
    if world() > 1:
        dist.all_reduce(total)
    return total


def plain_mean(local: Tensor) -> Tensor:
    """The mean over processes, without gradient."""
    return plain_sum(local) / world()


def plain_gather(local: Tensor) -> Tensor:
    """(N, ...) of every process to (R N, ...) in the order of ranks, without gradient. N must be equal."""
    if world() == 1:
        return local.detach()
    parts = [torch.empty_like(local, memory_format=torch.contiguous_format) for _ in range(world())]
    dist.all_gather(parts, local.detach().contiguous())
    return torch.cat(parts)


def all_sum(local: Tensor) -> Tensor:
    """The sum over processes; the gradient flows to every process's part."""
    return local if world() == 1 else _Sum.apply(local)


def all_mean(local: Tensor) -> Tensor:
    """The mean over processes, with gradient."""
    return all_sum(local) / world()


def gather(local: Tensor) -> Tensor:
    """(N, ...) of every process to (R N, ...) in the order of ranks; the gradient flows to every part."""
    return local if world() == 1 else _Gather.apply(local)


def broadcast(value: Tensor, source: int = 0) -> Tensor:
    """The `source` process's value, in every process; a new tensor where there are several."""
    if world() == 1:
        return value
    copy = value.detach().clone(memory_format=torch.contiguous_format)
    dist.broadcast(copy, source)
    return copy


def of_first(value: Any) -> Any:
    """The first process's value, anything that pickles, in every process."""
    if world() == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def barrier() -> None:
    """Wait until every process is here."""
    if world() > 1:
        dist.barrier()

"""The k most similar rows of a bank, exactly, with bounded memory.

Two things make this faster than a matrix product followed by a selection over all of it:

* on a GPU the selection dominates. The k largest of a row lie in the k blocks whose maxima are largest, so
  only those blocks are sorted;
* on a CPU the product dominates. For any rotation that splits a vector into a head and a tail,
  q.b <= q_head.b_head + |q_tail||b_tail| (Cauchy-Schwarz), one product of few dimensions. The candidates with
  the largest bounds are scored in full; where the k-th score reaches the next bound, nothing was missed.
  Features whose spectrum is flat gain nothing; they are recognised on the first chunk.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

BLOCK = 32  # columns summarised by one maximum
WIDTH = 65536  # columns of one matrix of similarities
TAIL_ENERGY = 0.01  # of the bank, left outside the head
CANDIDATES = 3  # scored in full, times k
SLACK = 1e-6  # squared norm; covers the rounding of the bounds


def nearest(queries: Tensor, bank: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k rows of `bank` with the largest inner product with each query.

    queries: (Q, D) float32; bank: (N, D) float32, on either device. Returns similarities (Q, k), descending,
    and indices (Q, k) int64, both where `queries` are. Raises ValueError where k > N.
    """
    if k > len(bank):
        raise ValueError(f"k is {k}, but the bank has {len(bank)} rows")
    device = queries.device
    similarity = torch.empty(len(queries), k, device=device)
    index = torch.empty(len(queries), k, dtype=torch.int64, device=device)
    # A thread's part of a chunk should fit into its cache; threads want work between meetings.
    rows = 1024 if device.type != "cpu" else min(128 * torch.get_num_threads(), 2048)
    open_ = torch.arange(len(queries), device=device)
    if device.type == "cpu" and (screen := Screen.of(bank, k)) is not None:
        proven = torch.zeros(len(queries), dtype=torch.bool)
        for part in open_.split(rows):
            similarity[part], index[part], proven[part] = screen.search(queries[part], k)
            if int(proven[part].sum()) * 2 < len(part):
                break  # these features are not worth screening
        open_ = (~proven).nonzero().squeeze(1)
    for part in open_.split(rows):
        similarity[part], index[part] = _product(queries[part], bank, k)
    return similarity, index


def _product(queries: Tensor, bank: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """As `nearest`, by the whole product, `WIDTH` rows of the bank at a time."""
    best = queries.new_empty(len(queries), 0)
    index = torch.empty(len(queries), 0, dtype=torch.int64, device=queries.device)
    for start in range(0, len(bank), WIDTH):
        part = bank[start : start + WIDTH].to(queries.device, non_blocking=True)
        value, place = largest(queries @ part.t(), min(k, len(part)))
        best, index = torch.cat([best, value], 1), torch.cat([index, place + start], 1)
        best, order = best.topk(min(k, best.shape[1]), dim=1)
        index = index.gather(1, order)
    return best, index


def largest(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """`scores.topk(k, 1)` of a (Q, N) matrix, by the maxima of blocks of columns."""
    rows, n = scores.shape
    blocks = n // BLOCK
    if blocks <= 4 * k:  # nothing to save
        value, place = scores.topk(k, dim=1)
        return value, place
    body = scores[:, : blocks * BLOCK].unflatten(1, (blocks, BLOCK))  # (Q, blocks, BLOCK)
    chosen = body.amax(2).topk(k, dim=1, sorted=False).indices  # (Q, k)
    columns = (chosen[:, :, None] * BLOCK + torch.arange(BLOCK, device=scores.device)).flatten(1)
    edge = torch.arange(blocks * BLOCK, n, device=scores.device).expand(rows, -1)
    columns = torch.cat([columns, edge], 1)  # (Q, k * BLOCK + n % BLOCK)
    value, order = scores.gather(1, columns).topk(k, dim=1)
    return value, columns.gather(1, order)


@dataclass(frozen=True)
class Screen:
    """bank: (N, D). axes: (D, R), orthonormal. bounds: (N, R + 1), a head and the norm of its tail."""

    bank: Tensor
    axes: Tensor
    bounds: Tensor

    @classmethod
    def of(cls, bank: Tensor, k: int) -> Screen | None:
        """A screen for this bank, or None where it cannot pay: few rows, few dimensions, a flat spectrum."""
        n, dims = bank.shape
        if n < max(2048, 64 * k) or dims < 128 or bank.device.type != "cpu":
            return None
        sample = bank[:: max(1, n // 4096)].double()
        energy, axes = torch.linalg.eigh(sample.t() @ sample)  # ascending
        outside = energy.clamp(min=0).cumsum(0) / energy.sum().clamp(min=1e-12)
        head = dims - int((outside <= TAIL_ENERGY).sum())
        head = -(-max(head, 1) // 16) * 16 - 1  # with the tail a multiple of 16
        if head + 1 > dims // 3:
            return None
        axes = axes[:, -head:].to(bank.dtype).contiguous()
        return cls(bank, axes, _bounds(bank, axes))

    def search(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
        """As `nearest`, with a mask (Q,) of the queries whose answer is proven."""
        bound, index = _product(_bounds(queries, self.axes), self.bounds, CANDIDATES * k)
        rows = self.bank.index_select(0, index.flatten()).view(*index.shape, -1)  # (Q, candidates, D)
        exact = torch.bmm(rows, queries[:, :, None]).squeeze(2)
        value, order = exact.topk(k, dim=1)
        return value, index.gather(1, order), value[:, -1] >= bound[:, -1]


def _bounds(rows: Tensor, axes: Tensor) -> Tensor:
    """(N, D) to (N, R + 1): coordinates along `axes`, and the norm of what lies outside them."""
    head = rows @ axes
    tail = (rows.square().sum(1) - head.square().sum(1)).clamp(min=0).add(SLACK).sqrt()
    return torch.cat([head, tail[:, None]], 1)

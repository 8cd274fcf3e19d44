"""How much faster the k-nearest-neighbour evaluation is than a plain loop, and that the answers agree."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from study.evaluations.knn import vote
from study.evaluations.neighbours import nearest

QUERIES, BANK, DIMS, CLASSES, K, TEMPERATURE = 10_000, 50_000, 512, 100, 20, 0.07


def plain(queries: Tensor, bank: Tensor, labels: Tensor, k: int) -> Tensor:
    """The plain loop: a hundredth of the queries at a time, the whole row of similarities, a sorted top-k of
    it, one-hot votes of every neighbour, and all classes sorted. Returns the predicted classes (Q,)."""
    predicted = []
    step = max(1, len(queries) // 100)
    for start in range(0, len(queries), step):
        similarity, index = (queries[start : start + step] @ bank.t()).topk(k, largest=True, sorted=True)
        votes = F.one_hot(labels[index], CLASSES) * (similarity / TEMPERATURE).exp()[:, :, None]
        predicted.append(votes.sum(1).sort(1, descending=True).indices[:, 0])
    return torch.cat(predicted)


def ours(queries: Tensor, bank: Tensor, labels: Tensor, k: int) -> Tensor:
    """The evaluation's own path. Returns the predicted classes (Q,)."""
    similarity, index = nearest(queries, bank, k)
    return vote(similarity, labels[index], CLASSES, [k], TEMPERATURE)[k].argmax(1)


def features(n: int, decay: float, seed: int, labels: Tensor) -> Tensor:
    """Unit features (n, DIMS) of noisy classes; the i-th direction has standard deviation i^-decay. Encoders
    have a decaying spectrum (0.5 to 1.5 is usual); 0 is white noise, the worst case."""
    scale = torch.arange(1, DIMS + 1).float().pow(-decay)
    centres = torch.randn(CLASSES, DIMS, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(n, DIMS, generator=torch.Generator().manual_seed(seed))
    return F.normalize((0.5 * centres[labels] + noise) * scale)


def timed(
    work: Callable[[Tensor, Tensor, Tensor, int], Tensor],
    queries: Tensor,
    bank: Tensor,
    labels: Tensor,
    device: torch.device,
) -> tuple[float, Tensor]:
    """Seconds and the answer: on a GPU by the clock, else of processor time (others share the clock)."""
    if device.type != "cuda":
        start = time.process_time()
        answer = work(queries, bank, labels, K)
        return time.process_time() - start, answer
    torch.cuda.synchronize()
    start = time.perf_counter()
    answer = work(queries, bank, labels, K)
    torch.cuda.synchronize()
    return time.perf_counter() - start, answer


def run(print_line: Callable[[str], None]) -> None:
    """Time both on features of a decaying and of a flat spectrum; say how often their answers agree."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    where = f"{device}, {torch.get_num_threads()} threads"
    print_line(f"{QUERIES:,} queries, {BANK:,} features of {DIMS} dims, k = {K}, {where}")
    draw = torch.Generator().manual_seed(1)
    labels = torch.randint(CLASSES, (BANK,), generator=draw)
    asked = torch.randint(CLASSES, (QUERIES,), generator=draw)
    for kind, decay in (("decaying spectrum", 1.0), ("white noise, the worst case", 0.0)):
        bank = features(BANK, decay, 2, labels).to(device)
        queries = features(QUERIES, decay, 3, asked).to(device)
        there = labels.to(device)
        for work in (plain, ours):  # warm up
            work(queries[:200], bank, there, K)
        slow, reference = timed(plain, queries, bank, there, device)
        fast, answer = timed(ours, queries, bank, there, device)
        same = 100 * (answer == reference).double().mean().item()
        times = f"plain loop {slow:.2f} s, ours {fast:.2f} s, {slow / fast:.1f}x faster"
        print_line(f"{kind}: {times}; {same:.2f} % of the answers equal")


if __name__ == "__main__":
    run(print)

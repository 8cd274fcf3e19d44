"""Subsets are nested and balanced; batches are a pure function of the step."""

import itertools

import pytest
import torch

from data.batches import indices_at, steps_per_epoch
from data.subsets import subset

LABELS = torch.arange(10).repeat_interleave(torch.tensor([100, 50, 200, 130, 70, 100, 100, 90, 110, 50]))


def test_subsets_are_nested_balanced_sorted():
    parts = [subset(LABELS, fraction, seed=3) for fraction in (0.01, 0.1, 0.5, 1.0)]
    for small, large in itertools.pairwise(parts):
        assert set(small.tolist()) < set(large.tolist())
    counts = torch.bincount(LABELS[parts[1]])
    assert torch.equal(counts, torch.bincount(LABELS) // 10)
    assert torch.bincount(LABELS[parts[0]]).min() == 1
    assert all(torch.equal(part, part.sort().values) for part in parts)
    assert torch.equal(parts[1], subset(LABELS, 0.1, seed=3))
    assert not torch.equal(parts[1], subset(LABELS, 0.1, seed=4))


@pytest.mark.parametrize(
    ("labels", "fraction", "said"),
    [([0, 0, 2], 0.5, "class 1 of 3"), ([0, -1], 0.5, "1 of 2 pictures have none"), ([0, 1], 0.0, "outside")],
)
def test_impossible_subsets_are_refused(labels, fraction, said):
    with pytest.raises(ValueError, match=said):
        subset(torch.tensor(labels), fraction, 0)


def test_an_epoch_covers_the_pictures_once_and_each_differs():
    n, batch = 103, 10
    steps = steps_per_epoch(n, batch)
    assert steps == 10
    epochs = [torch.cat([indices_at(e * steps + s, n, batch, 5) for s in range(steps)]) for e in range(3)]
    for epoch in epochs:
        assert len(epoch.unique()) == steps * batch
        assert int(epoch.max()) < n
    assert not torch.equal(epochs[0], epochs[1])
    assert len(torch.cat(epochs).unique()) == n


def test_batches_are_pure():
    first = indices_at(17, 50, 8, 1).clone()
    indices_at(17, 50, 8, 1).zero_()
    for step in (0, 40, 3):
        indices_at(step, 50, 8, 2)
    assert torch.equal(indices_at(17, 50, 8, 1), first)
    assert not torch.equal(indices_at(17, 50, 8, 2), first)


def test_a_batch_larger_than_the_set_is_refused():
    with pytest.raises(ValueError, match=r"a batch of 64 .* there are 50"):
        steps_per_epoch(50, 64)

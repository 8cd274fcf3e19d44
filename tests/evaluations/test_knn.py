"""k nearest neighbours: the answers of scikit-learn, of a plain selection, and of each other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

from study import bench_knn
from study.evaluations import EVALUATIONS, Subject, neighbours
from study.evaluations.knn import vote
from study.evaluations.neighbours import Screen, largest, nearest


def unit(n: int, dims: int, seed: int, decay: float = 0.0) -> Tensor:
    scale = torch.arange(1, dims + 1).float().pow(-decay)
    return F.normalize(torch.randn(n, dims, generator=torch.Generator().manual_seed(seed)) * scale)


@pytest.mark.parametrize("temperature", [0.07, 1.0, None])
def test_agrees_with_scikit_learn(temperature: float | None) -> None:
    bank, queries = unit(400, 8, 0), unit(300, 8, 1)
    labels = torch.randint(5, (400,), generator=torch.Generator().manual_seed(2))

    def weights(distance: Any) -> Any:
        return np.exp((1 - distance) / temperature) if temperature else np.ones_like(distance)

    theirs = KNeighborsClassifier(15, metric="cosine", weights=weights).fit(bank, labels)
    similarity, index = nearest(queries, bank, 15)
    mass = vote(similarity, labels[index], 5, [15], temperature)[15]
    share = (mass / mass.sum(1, keepdim=True)).numpy()
    assert np.allclose(share, theirs.predict_proba(queries), atol=1e-5)


@pytest.mark.parametrize("columns", [33, 4096, 5003])
def test_largest_is_topk(columns: int) -> None:
    scores = torch.randn(7, columns, generator=torch.Generator().manual_seed(0))
    value, index = largest(scores, 5)
    expected = scores.topk(5, dim=1)
    assert torch.equal(value, expected.values)
    assert torch.equal(index, expected.indices)


@pytest.mark.parametrize("decay", [0.0, 0.6, 1.5, 3.0])
def test_screened_search_is_exact(decay: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "WIDTH", 1500)  # several parts of the bank
    bank, queries = unit(4000, 192, 0, decay), unit(200, 192, 1, decay)
    assert (Screen.of(bank, 10) is not None) == (decay > 1)
    value, index = nearest(queries, bank, 10)
    expected = (queries @ bank.t()).topk(10, dim=1)
    assert torch.allclose(value, expected.values, atol=1e-6)
    assert (index == expected.indices).double().mean() > 0.99  # but for ties of rounding


def test_what_the_screen_cannot_prove_is_searched_in_full() -> None:
    bank, queries = unit(4000, 192, 0, 1.5), unit(200, 192, 1, 0.0)  # the queries lie outside the bank's axes
    screen = Screen.of(bank, 10)
    assert screen is not None
    assert not screen.search(queries, 10)[2].all()
    expected = (queries @ bank.t()).topk(10, dim=1).values
    assert torch.allclose(nearest(queries, bank, 10)[0], expected, atol=1e-6)


def test_a_list_of_k_gives_what_each_k_gives(subject: Subject) -> None:
    knn = EVALUATIONS["knn"]
    both = {s.metric: s.value for s in knn(k=[3, 12]).run(subject)}
    for k in (3, 12):
        alone = {s.metric: s.value for s in knn(k=k).run(subject)}
        assert alone == {m: both[f"{m}_k{k}"] for m in ("top1", "top5")}


@pytest.mark.parametrize("k", [0, [], [5, 5], [0, 3]])
def test_refuses_k(k: object) -> None:
    with pytest.raises(ValueError):
        EVALUATIONS["knn"](k=k)


def test_more_neighbours_than_pictures_is_said(subject: Subject) -> None:
    with pytest.raises(ValueError, match=r"1000.*210"):
        EVALUATIONS["knn"](k=1000).run(subject)


def test_bench_says_faster_and_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"QUERIES": 300, "BANK": 3000, "DIMS": 128}.items():
        monkeypatch.setattr(bench_knn, name, value)
    lines: list[str] = []
    bench_knn.run(lines.append)
    assert len(lines) == 3
    assert all("faster" in line and "100.00 % of the answers equal" in line for line in lines[1:])

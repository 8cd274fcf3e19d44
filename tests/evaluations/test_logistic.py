"""Logistic regression: scikit-learn's minimum in less time, the search, and the metrics of sets."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from data.sets.dataset import Dataset, HeldSplit
from study import bench_logistic
from study.evaluations import EVALUATIONS, Subject
from study.evaluations.logistic import STRENGTHS, Logistic, Problem, halved
from study.evaluations.metrics import map11, mean_class, roc_auc


def drawn(n: int = 200, width: int = 6, classes: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    rows = torch.randn(n, width, generator=draw) * torch.arange(1, width + 1)
    noise = 4 * torch.randn(n, classes, generator=draw)
    labels = (rows @ torch.randn(width, classes, generator=draw) + noise).argmax(1)
    assert len(labels.unique()) == classes
    return rows + 5, labels


@pytest.mark.parametrize("strength", [1e-2, 1.0, 1e3])
@pytest.mark.parametrize("exact", [True, False])
def test_the_minimum_is_scikit_learns(strength: float, exact: bool) -> None:
    rows, labels = drawn()
    weight, bias = Problem(rows, labels, 4, exact).solve(strength, tolerance=1e-9 if exact else 1e-5)
    theirs = LogisticRegression(C=1 / strength, max_iter=10_000, tol=1e-8)
    theirs.fit(rows.double().numpy(), labels.numpy())
    within = 1e-4 if exact else 5e-3
    assert np.allclose(weight - weight.mean(0), theirs.coef_ - theirs.coef_.mean(0), atol=within)
    assert np.allclose(bias - bias.mean(), theirs.intercept_ - theirs.intercept_.mean(), atol=20 * within)


def test_constant_and_repeated_features_do_no_harm() -> None:
    rows, labels = drawn()
    odd = torch.cat([rows, rows[:, :1], torch.full((200, 1), 7.0)], 1)
    weight, bias = Problem(odd, labels, 4, exact=True).solve(1.0, tolerance=1e-9)
    theirs = LogisticRegression(C=1.0, max_iter=10_000, tol=1e-8).fit(odd.double().numpy(), labels.numpy())
    ours = (odd.double() @ weight.t() + bias).softmax(1)
    assert np.allclose(ours, theirs.predict_proba(odd.double().numpy()), atol=1e-3)


def test_several_classes_a_picture_are_fitted_one_by_one_without_what_is_open() -> None:
    rows, labels = drawn()
    targets = torch.stack([labels == 0, labels < 2, labels > 0], 1).to(torch.int8)
    targets[:50, 1] = -1
    weight, bias = Problem(rows, targets, 3, exact=True).solve(1.0, tolerance=1e-9)
    for k in range(3):
        counted = targets[:, k] >= 0
        theirs = LogisticRegression(C=1.0, max_iter=10_000, tol=1e-8)
        theirs.fit(rows[counted].double().numpy(), targets[counted, k].numpy())
        assert np.allclose(weight[k], theirs.coef_[0], atol=1e-4)
        assert np.allclose(bias[k], theirs.intercept_[0], atol=2e-3)


def test_a_start_elsewhere_ends_in_the_same_place() -> None:
    problem = Problem(*drawn(), 4, exact=True)
    there = problem.solve(1e-3, tolerance=1e-6)
    cold, warm = (problem.solve(1.0, start=start, tolerance=1e-9) for start in (None, there))
    assert torch.allclose(cold[0], warm[0], atol=1e-4)


@pytest.mark.parametrize("peak", [0, 37, 96])
def test_the_search_finds_a_single_peak(peak: int) -> None:
    tried: list[int] = []

    def score(step: int) -> float:
        if step not in tried:
            tried.append(step)
        return -abs(step - peak)

    assert halved(score) == peak
    assert tried[:7] == [96, 80, 64, 48, 32, 16, 0]  # lambda of 1e6, 1e4, ..., 1e-6
    assert len(tried) <= 15
    assert (STRENGTHS[0], STRENGTHS[48], len(STRENGTHS)) == (1e-6, 1.0, 97)
    assert pytest.approx(1e6) == STRENGTHS[-1]
    assert STRENGTHS[9] / STRENGTHS[8] == pytest.approx(10 ** (1 / 8))


def test_of_equal_strengths_the_strongest_is_taken() -> None:
    assert halved(lambda step: float(step <= 48)) == 48


def scored(subject: Subject, **knobs: object) -> dict[str, float]:
    found = Logistic(**knobs).run(subject)  # type: ignore[arg-type]
    return {score.metric: score.value for score in found}


def of(subject: Subject, **changes: object) -> Subject:
    subject.dataset = Dataset(**{**subject.dataset.__dict__, **changes})  # type: ignore[arg-type]
    return subject


def test_the_sets_own_metric_stands_first(make_subject: Callable[..., Subject]) -> None:
    assert list(scored(make_subject())) == ["top1", "top5", "mean_class", "strength"]
    found = scored(of(make_subject(), metric="mean_class"))
    assert list(found) == ["mean_class", "top1", "top5", "strength"]
    assert found["mean_class"] == 100


def test_the_authors_validation_pictures_choose_lambda(subject: Subject) -> None:
    own = torch.arange(0, 210, 3)
    found = EVALUATIONS["logistic"](iterations=20).run(of(subject, validation=own))
    assert found[-1].n == 70
    assert Logistic()._held(subject, 210).nonzero()[:, 0].tolist() == own.tolist()


def two_kinds(subject: Subject) -> Subject:
    """The toy's seven colours as two classes."""
    parts = [HeldSplit(s.held, (s.labels % 2)) for s in (subject.dataset.train, subject.dataset.test) if s.held is not None]  # fmt: skip
    return of(subject, train=parts[0], test=parts[1], classes=2, metric="roc_auc")


def test_two_classes_have_an_area_under_the_curve(subject: Subject) -> None:
    found = scored(two_kinds(subject))
    assert list(found) == ["roc_auc", "top1", "mean_class", "strength"]
    assert found["roc_auc"] == 100


def several(subject: Subject, shuffled: bool = False) -> Subject:
    """The toy's colours as three properties, each of which may hold."""
    parts = []
    for split in (subject.dataset.train, subject.dataset.test):
        assert split.held is not None
        labels = split.labels
        if shuffled:
            labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(5))]
        made = HeldSplit(split.held, torch.full_like(labels, -1))
        made.targets = torch.stack([labels < 3, labels % 2 == 0, labels > 4], 1).to(torch.int8)
        parts.append(made)
    return of(subject, train=parts[0], test=parts[1], classes=3, metric="map11")


def test_several_classes_a_picture(make_subject: Callable[..., Subject]) -> None:
    subject = several(make_subject())
    found = scored(subject)
    assert list(found) == ["map11", "strength"]
    assert found["map11"] == 100
    assert scored(several(make_subject(), shuffled=True))["map11"] < 70
    with pytest.raises(ValueError, match="several of the 3 classes: use logistic"):
        EVALUATIONS["knn"]().run(subject)


def test_eleven_points_by_hand() -> None:
    scores = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4], [0.5, 0.5]])
    targets = torch.tensor([[1, 0], [0, -1], [1, 0], [0, 0], [1, 0]])
    # Hits at ranks 1, 3 and 5 of 5: precision 1 up to a recall of 1/3, 2/3 up to 2/3, 3/5 up to 1.
    assert map11(scores, targets) == pytest.approx(100 * (4 * 1 + 3 * 2 / 3 + 4 * 3 / 5) / 11)
    targets[1, 0] = -1  # left open: hits at ranks 1, 2 and 4
    assert map11(scores, targets) == pytest.approx(100 * (7 * 1 + 4 * 3 / 4) / 11)
    with pytest.raises(ValueError, match="none of the 2 classes"):
        map11(scores, torch.zeros(5, 2))


def test_tenths_of_recall_are_reached_exactly() -> None:
    targets = torch.tensor([1] * 3 + [0] + [1] * 7)[:, None]
    scores = torch.arange(11, 0, -1).float()[:, None]
    # 3 of 10 are found before the first miss; from then on 10/11 at the end is the best.
    assert map11(scores, targets) == pytest.approx(100 * (4 * 1 + 7 * 10 / 11) / 11)


def test_areas_are_scikit_learns_also_with_equals() -> None:
    draw = torch.Generator().manual_seed(0)
    scores = torch.randint(0, 9, (300,), generator=draw).float()
    positive = torch.rand(300, generator=draw) < 0.1 * scores.clamp(max=8) + 0.05
    assert roc_auc(scores, positive) == pytest.approx(100 * roc_auc_score(positive.numpy(), scores.numpy()))
    assert roc_auc(torch.zeros(4), torch.tensor([True, False, True, False])) == 50
    with pytest.raises(ValueError, match="0 of 3 pictures"):
        roc_auc(torch.zeros(3), torch.zeros(3, dtype=torch.bool))


def test_every_class_counts_the_same() -> None:
    assert mean_class(torch.tensor([0, 0, 0, 1]), torch.tensor([0, 0, 0, 2])) == 50


@pytest.mark.slow
def test_the_bench_holds() -> None:
    """Half of scikit-learn's time at most, and its minimum within 0.2 points, on three sets of features."""
    for given in bench_logistic.sets()[1:]:
        mine, other, exact = bench_logistic.compared(given)
        assert mine.seconds <= other.seconds / 2, given.name
        assert math.isclose(mine.accuracy, exact, abs_tol=0.2 + 1e-9), given.name

"""Importance: the axis that matters is found, an idle one is noise, Optuna agrees, few trials are unknown."""

import numpy as np
import optuna
import pytest
from known import Store, groups

from study.analyses import ANALYSES, StudyView, pedanova

VIEW = StudyView("s", metrics=["knn.top1"], sampled=["optim.lr"])


def searched(n: int = 80) -> Store:
    """The score rises by 10 a decade of the rate and by 1 a unit of the width; the kind does nothing."""
    store, rng = Store(), np.random.default_rng(0)
    for i in range(n):
        rate, width, kind = 10 ** rng.uniform(-3, 0), int(rng.integers(1, 5)), str(rng.choice(["x", "y"]))
        value = 60 + 10 * np.log10(rate) + width + rng.normal(0, 0.3)
        axes = {"optim.lr": float(rate), "method.width": width, "method.kind": kind}
        store.add("all", i, axes, {"knn.top1": float(value)})
    return store


def test_importance_finds_the_axis_that_matters() -> None:
    answer = ANALYSES["importance"](searched().tables, VIEW)
    rows = {str(row["axis"]): row for row in answer.rows}
    assert answer.rows[0]["axis"] == "optim.lr"
    rate = rows["optim.lr"]
    assert rate["share"] > 0.7
    assert rate["forest"] > 0.8
    assert rate["low"] <= rate["share"] <= rate["high"]
    assert rate["told"]
    assert rate["kept"] > 0.95
    assert rate["rank correlation"] > 0.9
    assert rows["method.kind"]["forest.high"] < 0.05
    assert not rows["method.kind"]["told"]
    assert answer == ANALYSES["importance"](searched().tables, VIEW)


def test_shuffled_scores_are_noise() -> None:
    store, rng = Store(), np.random.default_rng(1)
    for i in range(60):
        axes = {"optim.lr": float(rng.uniform()), "method.width": int(rng.integers(1, 5))}
        store.add("all", i, axes, {"knn.top1": float(rng.normal())})
    rows = ANALYSES["importance"](store.tables, VIEW).rows
    assert [row["told"] for row in rows] == [False, False]


def test_pedanova_by_hand() -> None:
    # Four levels of five trials each; the five best are all of the last level.
    column = np.repeat([0.0, 1.0, 2.0, 3.0], 5)
    scores = np.arange(20.0)
    top = np.array([0.25, 0.25, 0.25, 5.25]) / 6  # with a pseudo-count spread over the levels
    want = (5 / 20) ** 2 * float((0.25 * (top / 0.25 - 1) ** 2).sum())
    assert pedanova.divergences(column[:, None], scores, 5) == pytest.approx([want])
    assert pedanova.divergences(np.ones((20, 1)), scores, 5) == [0.0]
    assert pedanova.shares(np.array([3.0, 1.0])) == pytest.approx([0.75, 0.25])
    assert pedanova.shares(np.zeros(2)).tolist() == [0.0, 0.0]


def test_a_monotone_change_of_an_axis_changes_nothing() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.uniform(-3, 0, 100), rng.normal(size=100)
    one = pedanova.divergences(np.column_stack([x, y]), x + y, 10)
    other = pedanova.divergences(np.column_stack([10**x, y]), x + y, 10)
    assert one == pytest.approx(other)


def test_optuna_gives_the_same_order() -> None:
    rng = np.random.default_rng(3)
    study = optuna.create_study(direction="maximize")
    space = {
        "a": optuna.distributions.FloatDistribution(1e-3, 1.0, log=True),
        "b": optuna.distributions.FloatDistribution(0.0, 1.0),
        "c": optuna.distributions.CategoricalDistribution(["x", "y", "z"]),
    }
    rows, scores = [], []
    for _ in range(200):
        a, b, c = 10 ** rng.uniform(-3, 0), rng.uniform(), int(rng.integers(3))
        score = 3 * np.log10(a) - 6 * (b - 0.5) ** 2 + 0.8 * (c == 0) + rng.normal(0, 0.2)
        params = {"a": a, "b": b, "c": "xyz"[c]}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=space, value=score))
        rows.append([a, b, c])
        scores.append(score)
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    theirs = optuna.importance.get_param_importances(study, evaluator=evaluator)
    ours = pedanova.shares(pedanova.divergences(np.array(rows), np.array(scores), 20))
    assert np.argsort(-ours).tolist() == np.argsort([-theirs[k] for k in "abc"]).tolist()
    assert ours == pytest.approx([theirs[k] for k in "abc"], abs=0.2)


def test_importance_of_few_trials_is_unknown_not_nought() -> None:
    answer = ANALYSES["importance"](groups().tables, StudyView("s", metrics=["linear.top1"]))
    assert answer.rows == []
    assert "insufficient data: 9 done" in answer.notes[0]
    row = ANALYSES["importance"](searched(12).tables, VIEW).rows[0]
    assert (row["PED-ANOVA"], row["fANOVA"], row["rank"]) == ("unknown", "unknown", "unknown")

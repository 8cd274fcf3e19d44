"""Where the spread comes from, what failures would change, and the grid as the papers lay it out."""

import numpy as np
import pytest
from known import Store, groups

from study.analyses import ANALYSES, Answer, StudyView
from study.analyses.variance import components, nested


def by(answer: Answer, *keys: str) -> dict[object, dict[str, object]]:
    return {tuple(row[k] for k in keys) if len(keys) > 1 else row[keys[0]]: row for row in answer.rows}


def test_components_by_hand_and_by_simulation() -> None:
    # Rows differ by a constant: all spread is the seeds'.
    assert components(np.array([[1.0, 2.0, 3.0], [5.0, 6.0, 7.0]])) == (
        pytest.approx(1.0),
        pytest.approx(0.0),
    )
    # Opposite in the two arms: none is.
    assert components(np.array([[1.0, 3.0], [3.0, 1.0]])) == (0.0, pytest.approx(4.0))
    rng = np.random.default_rng(0)
    found = [
        components(np.arange(4)[:, None] + rng.normal(0, 2, (1, 6)) + rng.normal(0, 1, (4, 6)))
        for _ in range(2000)
    ]
    seeds, left = np.mean(found, axis=0)
    assert seeds == pytest.approx(4.0, rel=0.1)
    assert left == pytest.approx(1.0, rel=0.05)
    between, within = np.mean(
        [nested(rng.normal(0, 1, (8, 1)) + rng.normal(0, 3, (8, 5))) for _ in range(2000)], axis=0
    )
    assert within == pytest.approx(9.0, rel=0.05)
    assert between == pytest.approx(1.0, rel=0.6)  # cut at 0: a little too much


def test_variance_splits_seed_and_arm() -> None:
    rows = by(ANALYSES["variance"](groups().tables, StudyView("s", metrics=["linear.top1"])), "source")
    assert rows["seed, shared by the arms"]["from"] == "3 arms x 3 seeds"
    grid = np.array([[80.0, 82, 81], [80, 82, 81], [82, 85, 85]])
    seeds, left = components(grid)
    assert rows["seed, shared by the arms"]["sd"] == pytest.approx(seeds**0.5)
    assert rows["arm x seed"]["share"] == pytest.approx(left / (seeds + left))
    p = grid.mean() / 100
    assert rows["test pictures"]["sd"] == pytest.approx(100 * (p * (1 - p) / 100) ** 0.5)


def test_repeated_probes_tell_the_probes_share() -> None:
    store = Store()
    spec = {
        "evaluate": [{"name": "linear", "label": f"l{draw}", "draw": draw, "epochs": 3} for draw in range(3)]
    }
    for seed, values in enumerate(((80.0, 81.0, 82.0), (84.0, 85.0, 86.0))):
        scores = {f"l{draw}.top1": value for draw, value in enumerate(values)}
        store.add("byol", seed, {"arm": "byol"}, scores, spec=spec)
    answer = ANALYSES["variance"](store.tables, StudyView("s", metrics=["l0.top1"]))
    rows = by(answer, "source")
    assert rows["probe (subset draw and start)"]["sd"] == pytest.approx(1.0)
    assert rows["run, without its probe"]["sd"] == pytest.approx((8 - 1 / 3) ** 0.5)
    assert not any("unknown" in note for note in answer.notes)


def test_failures_at_chance() -> None:
    store = groups()
    view = StudyView(
        "s",
        baseline="byol",
        metrics=["linear.top1"],
        chance={arm: {"linear.top1": 10.0} for arm in ("byol", "groups=1", "groups=4")},
    )
    store.add("byol", 3, {"arm": "byol"}, {"linear.top1": 81.0})
    answer = ANALYSES["sensitivity"](store.tables, view)
    four = by(answer, "arm")["groups=4"]
    assert four["failed"] == 1
    assert four["done.estimate"] == 84.0
    assert four["estimate"] == pytest.approx((3 * 84 + 10) / 4)
    assert four["difference.estimate"] == pytest.approx(3.0)
    assert four["filled.difference.estimate"] == pytest.approx((9 - 71) / 4)
    assert any("turns: groups=4, linear.top1" in note for note in answer.notes)
    unknown = ANALYSES["sensitivity"](store.tables, StudyView("s", baseline="byol", metrics=["linear.top1"]))
    assert unknown.rows == []
    assert "chance is not known" in unknown.notes[-1]


def test_the_grid_as_rows_and_columns() -> None:
    store = Store()
    store.add("byol", 0, {"arm": "byol"}, {"knn.top1": 1.0})
    for dim in (64, 128):
        for groups_ in (1, 16, 4):
            axes = {"method.dim": dim, "method.groups": groups_}
            store.add(f"{dim} {groups_}", 0, axes, {"knn.top1": float(dim + groups_)})
    answer = ANALYSES["layout"](store.tables, StudyView("s", metrics=["knn.top1"]))
    assert answer.columns == ["metric", "setting", "byol", "groups=1", "groups=4", "groups=16"]
    assert [[row.get(c) for c in answer.columns] for row in answer.rows] == [
        ["knn.top1", "dim=64", "1", "65", "68", "80"],
        ["knn.top1", "dim=128", None, "129", "132", "144"],
    ]

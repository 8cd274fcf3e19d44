"""Curves over the fraction of data: bands that hold together, data needed, crossing points, draws averaged."""

import math

import numpy as np
import pytest
from known import Store
from scipy import stats as sps

from study.analyses import ANALYSES, Answer, StudyView
from study.analyses.curves import crossings, reach

FRACTIONS = (0.01, 0.1, 1.0)
VIEW = StudyView("s", baseline="groups=1, fraction=1.0", metrics=["linear.top1"])


def store_of(gain: dict[float, tuple[float, ...]]) -> Store:
    """groups=1: 50, 60, 70, a unit more a seed; groups=4: `gain` more, by fraction and seed."""
    store = Store()
    for seed in range(3):
        for fraction, score in zip(FRACTIONS, (50.0, 60.0, 70.0)):
            for groups, more in ((1, 0.0), (4, gain[fraction][seed])):
                axes = {"method.groups": groups, "data.fraction": fraction}
                label = f"groups={groups}, fraction={fraction}"
                store.add(label, seed, axes, {"linear.top1": score + seed + more})
    return store


def measured(answer: Answer) -> dict[str, dict[str, object]]:
    return {str(row["measure"]): row for row in answer.rows}


def test_curves_and_their_bands() -> None:
    store = store_of(dict.fromkeys(FRACTIONS, (9.0, 10.0, 11.0)))
    at = {(r["arm"], r["fraction"]): r for r in ANALYSES["low_data"](store.tables, VIEW).rows}
    four = at["groups=4", 0.01]
    assert four["difference.estimate"] == pytest.approx(10.0)
    assert "difference" not in at["groups=1", 0.01]
    assert at["groups=1", 0.1]["of full"] == pytest.approx(61 / 71)
    # Three fractions at once: each at 1 - 0.05 / 3.
    low, high = sps.t.interval(1 - 0.05 / 3, 2, 61.0, sps.sem([59, 61, 63]))
    assert (four["band.low"], four["band.high"]) == (pytest.approx(low), pytest.approx(high))
    low, high = sps.t.interval(1 - 0.05 / 3, 2, 10.0, sps.sem([9, 10, 11]))
    assert (four["difference.band.low"], four["difference.band.high"]) == (
        pytest.approx(low),
        pytest.approx(high),
    )
    assert len(four["ids"]) == 3
    assert len(four["difference.ids"]) == 6


def test_bands_hold_for_all_fractions_at_once() -> None:
    rng, together = np.random.default_rng(0), 0
    for _ in range(150):
        gain = {f: tuple(rng.normal(0, 1, 3)) for f in FRACTIONS}
        rows = ANALYSES["low_data"](store_of(gain).tables, VIEW).rows
        bands = [r for r in rows if r["arm"] == "groups=4"]
        together += all(r["difference.band.low"] < 0 < r["difference.band.high"] for r in bands)
    assert together / 150 >= 0.92


def test_data_needed_for_the_baselines_score() -> None:
    store = store_of(dict.fromkeys(FRACTIONS, (10.0, 10.0, 10.0)))
    rows = measured(ANALYSES["efficiency"](store.tables, VIEW))
    assert rows["area"]["estimate"] == pytest.approx(10.0)
    # 10 points more at every decade: a tenth of the data.
    assert rows["data for the score at 1"]["value"] == "10 % [10 %, 10 %]"
    assert rows["data for the score at 0.1"]["estimate"] == pytest.approx(0.1)
    assert str(rows["data for the score at 0.01"]["value"]).startswith("under 100 %: 3 of 3 seeds")
    assert "crossing" not in rows
    worse = measured(ANALYSES["efficiency"](store_of(dict.fromkeys(FRACTIONS, (-5.0,) * 3)).tables, VIEW))
    assert worse["data for the score at 1"]["value"] == "not reached by 3 of 3 seeds"


def test_the_ratios_interval_is_of_logs() -> None:
    store = store_of(dict.fromkeys(FRACTIONS, (4.0, 5.0, 6.0)))
    row = measured(ANALYSES["efficiency"](store.tables, VIEW))["data for the score at 1"]
    logs = [math.log(10 ** (-g / 10)) for g in (4.0, 5.0, 6.0)]
    low, high = sps.t.interval(0.95, 2, np.mean(logs), sps.sem(logs))
    assert row["estimate"] == pytest.approx(10**-0.5)
    assert (row["low"], row["high"]) == (pytest.approx(math.exp(low)), pytest.approx(math.exp(high)))


def test_a_crossing_has_its_interval_and_is_shown_or_not() -> None:
    # +3 at 1 %, nought half a decade below 100 %, -3 there, up to a little a seed.
    store = store_of({0.01: (3.0, 3.1, 2.9), 0.1: (3.0, 3.1, 2.9), 1.0: (-3.0, -3.1, -2.9)})
    row = measured(ANALYSES["efficiency"](store.tables, VIEW))["crossing"]
    assert row["estimate"] == pytest.approx(10**-0.5)
    assert row["all at once"] == "between 0.1 and 1"
    noisy = store_of({0.01: (3.0, 2.0, 9.0), 0.1: (1.0, 1.0, 1.0), 1.0: (-3.0, 5.0, -9.0)})
    row = measured(ANALYSES["efficiency"](noisy.tables, VIEW))["crossing"]
    assert row["all at once"] == "not shown"
    assert "2 of 3 seeds cross" in str(row["value"])


def test_reach_and_crossings_by_hand() -> None:
    curve = {0.01: {0: 50.0}, 0.1: {0: 60.0}, 1.0: {0: 55.0}}
    assert reach(curve, 55.0, 0, True) == pytest.approx(10**-1.5)
    assert reach(curve, 49.0, 0, True) == 0.0
    assert reach(curve, 61.0, 0, True) == math.inf
    assert reach(curve, 45.0, 0, False) == math.inf
    assert crossings([0.01, 1.0], [1.0, -1.0]) == [pytest.approx(0.1)]
    assert crossings([0.01, 0.1, 1.0], [1.0, 0.0, -1.0]) == [pytest.approx(0.1)]
    assert crossings([0.01, 1.0], [1.0, 2.0]) == []


def test_curves_of_labels_and_draws_averaged() -> None:
    store = Store()
    spec = {
        "evaluate": [
            {"name": "finetune", "label": label, "fraction": fraction, "draw": draw}
            for label, fraction, draw in (("f1", 0.01, 0), ("f1b", 0.01, 1), ("f10", 0.1, 0))
        ]
    }
    scores = {"f1.top1": 40.0, "f1b.top1": 44.0, "f10.top1": 60.0}
    store.add("byol", 0, {"arm": "byol"}, scores, spec=spec)
    answer = ANALYSES["low_data"](store.tables, StudyView("s"))
    assert [(r["metric"], r["fraction"], r["estimate"], r["n"]) for r in answer.rows] == [
        ("finetune.top1", 0.01, 42.0, 1),
        ("finetune.top1", 0.1, 60.0, 1),
    ]

"""Every analysis: a known table gives a known answer, an empty table an empty one."""

import numpy as np
import pytest
from known import Store, groups
from scipy import stats as sps

from study.analyses import ANALYSES, Answer, StudyView

VIEW = StudyView(
    "s",
    question="Does grouping help?",
    baseline="byol",
    metrics=["linear.top1"],
    axes=["method.groups"],
    reproduces={"paper": "LEWEL", "table": "Tab7"},
    arms=["byol", "groups=1", "groups=4"],
    planned={"byol": 3, "groups=1": 3, "groups=4": 5},
)


def rows_by(answer: Answer, key: str = "arm") -> dict[str, dict[str, object]]:
    return {str(row[key]): row for row in answer.rows}


@pytest.mark.parametrize("name", ANALYSES)
def test_an_empty_table_is_an_empty_answer(name: str) -> None:
    answer = ANALYSES[name](Store().tables, StudyView("s"))
    assert answer.rows == []
    assert answer.notes
    assert "nothing to show" in answer.text(80)
    assert answer.markdown()


@pytest.mark.parametrize("name", ANALYSES)
@pytest.mark.parametrize("seeds", [1, 3])
def test_nothing_is_ever_not_a_number(name: str, seeds: int) -> None:
    store = Store()
    for seed in range(seeds):
        for fraction in (0.1, 1.0):
            axes = {"method.groups": 1, "data.fraction": fraction}
            store.add(f"groups=1, fraction={fraction}", seed, axes, {"linear.top1": 80.0})
    claims = [
        {
            "say": "x",
            "a": {"data.fraction": 1.0},
            "b": {"data.fraction": 0.1},
            "metric": "linear.top1",
            "expect": "a > b",
        }
    ]
    answer = ANALYSES[name](store.tables, StudyView("s", metrics=["linear.top1"], claims=claims))
    assert "nan" not in answer.text(200).lower()
    for row in answer.rows:
        assert not [k for k, v in row.items() if isinstance(v, float) and not np.isfinite(v)]


@pytest.mark.parametrize("name", ANALYSES)
def test_columns_are_in_the_rows_and_fit_the_width(name: str) -> None:
    answer = ANALYSES[name](groups().tables, VIEW)
    for column in answer.columns:
        assert not answer.rows or any(column in row for row in answer.rows), column
    for width in (60, 100, 160):
        assert max(map(len, answer.text(width).splitlines())) <= width
    assert answer.markdown().startswith("### ")


def test_question() -> None:
    answer = ANALYSES["question"](groups().tables, VIEW)
    rows = rows_by(answer)
    assert list(rows) == ["byol (baseline)", "groups=1", "groups=4"]
    four = rows["groups=4"]
    low, high = sps.t.interval(0.95, 2, 3.0, sps.sem([2, 3, 4]))
    assert (four["linear.top1.mean"], four["n"]) == (84.0, 3)
    assert four["linear.top1.difference"] == pytest.approx(3.0)
    assert four["linear.top1.difference.low"] == pytest.approx(low)
    assert four["linear.top1.difference.high"] == pytest.approx(high)
    assert four["not done"] == "1 diverged"
    assert (
        four["linear.top1: paper"] == "83.3"
    )  # at d = 256 as the others of h, not the rows of the d ablation
    assert rows["groups=1"]["linear.top1: paper"] == "81"
    assert rows["byol (baseline)"]["linear.top1: paper"] == "81.4"
    text = answer.text(160)
    assert "another protocol" in text
    assert "1 diverged" in text
    assert "p = 0.25" in text


def test_question_with_one_seed_gives_no_interval() -> None:
    store = Store()
    store.add("a", 0, {"arm": "a"}, {"knn.top1": 50.0})
    store.add("b", 0, {"arm": "b"}, {"knn.top1": 60.0})
    answer = ANALYSES["question"](store.tables, StudyView("s"))
    b = rows_by(answer)["b"]
    assert b["knn.top1"] == "60"
    assert b["knn.top1: difference"] == "+10"
    assert b["knn.top1.low"] is None
    assert any("one seed" in note for note in answer.notes)


def test_question_shows_the_best_sampled_point_and_says_so() -> None:
    store = Store()
    for seed in (0, 1):
        for rate, value in ((0.1, 50.0), (0.5, 70.0 + seed)):
            store.add("byol", seed, {"arm": "byol", "optim.lr": rate}, {"knn.top1": value})
    store.add("byol", 0, {"arm": "byol", "optim.lr": 0.9}, {"knn.top1": 99.0})  # one lucky seed
    answer = ANALYSES["question"](store.tables, StudyView("s", sampled=["optim.lr"]))
    assert answer.rows[0]["knn.top1.mean"] == 70.5
    assert any("best of up to 3 sampled points" in note for note in answer.notes)


def test_the_last_step_of_an_evaluation_counts() -> None:
    store = Store()
    store.add("a", 0, {"arm": "a"}, {"knn.top1": 50.0})
    store.scores.insert(0, {**store.scores[0], "value": 90.0, "step": 0})
    assert ANALYSES["question"](store.tables, StudyView("s")).rows[0]["knn.top1.mean"] == 50.0


def claim(expect: str, a: object, b: object, **more: object) -> dict[str, object]:
    return {"say": "it is so", "a": a, "b": b, "metric": "linear.top1", "expect": expect, **more}


FOUR, ONE, BYOL = {"method.groups": 4}, {"method.groups": 1}, {"arm": "byol"}


@pytest.mark.parametrize(
    ("made", "verdict"),
    [
        (claim("a > b", FOUR, ONE), "supported"),  # 2, 3, 4: t = 5.2, p = .035
        (claim("a < b", FOUR, ONE), "contradicted"),
        (claim("a < b", ONE, FOUR), "supported"),
        (claim("a > b", FOUR, ONE, margin=2.5), "undecided"),
        (claim("a > b", FOUR, ONE, margin=9.0), "contradicted"),
        (claim("a > b", FOUR, BYOL), "supported"),  # a named arm against a cell of the grid
        (claim("a = b", FOUR, ONE, margin=6.0), "supported"),
        (claim("a = b", FOUR, ONE, margin=3.5), "undecided"),
        (claim("a = b", FOUR, ONE, margin=0.1), "contradicted"),
        (claim("a > b", ONE, BYOL), "undecided"),  # equal in every seed
        (claim("a > b", FOUR, {"method.groups": 99}), "undecided"),
    ],
)
def test_a_claim_has_its_verdict(made: dict[str, object], verdict: str) -> None:
    answer = ANALYSES["claims"](groups().tables, StudyView("s", claims=[made]))
    assert answer.rows[0]["verdict"] == verdict, answer.rows[0]


def test_claims_are_adjusted_over_the_study() -> None:
    one = claim("a > b", FOUR, ONE)
    row = ANALYSES["claims"](groups().tables, StudyView("s", claims=[one, one])).rows[0]
    alone = sps.ttest_1samp([2, 3, 4], 0).pvalue
    assert (row["p"], row["p (Holm)"]) == (pytest.approx(alone), pytest.approx(2 * alone))
    assert row["verdict"] == "undecided"
    assert row["seeds needed"] > 3
    assert row["not done"] == 1


def test_a_claim_over_several_cells_is_one_difference_a_seed() -> None:
    store = Store()
    for seed in range(3):
        for dim in (64, 128):
            for groups_, gain in ((1, 0.0), (4, 1.0 + dim / 64)):
                axes = {"method.groups": groups_, "method.dim": dim}
                store.add(f"{groups_} {dim}", seed, axes, {"linear.top1": 50 + seed + gain})
    row = ANALYSES["claims"](store.tables, StudyView("s", claims=[claim("a > b", FOUR, ONE)])).rows[0]
    assert (row["n"], row["pairs"], row["difference"]) == (3, 2, pytest.approx(2.5))


def test_ablation_tells_the_change() -> None:
    store = groups()
    for row in store.trials:
        method = (
            {"name": "byol", "dim": 64}
            if row["arm"] == "byol"
            else {"name": "lewel_b", "dim": 64, "groups": row["axes"]["method.groups"]}
        )
        row["spec"] = {"method": method, "seed": row["seed"]}
    view = StudyView("s", baseline="groups=1", metrics=["linear.top1"], arms=VIEW.arms)
    answer = ANALYSES["ablation"](store.tables, view)
    assert [row["arm"] for row in answer.rows] == ["groups=4", "byol"]
    assert answer.rows[0]["change"] == "method.groups: 1 -> 4"
    assert answer.rows[1]["change"] == "method.name: lewel_b -> byol"
    assert answer.rows[0]["wins"] == "3/3"
    assert answer.rows[0]["p (Holm)"] == pytest.approx(2 * sps.ttest_1samp([2, 3, 4], 0).pvalue)


def factorial() -> Store:
    """a adds 2, b adds 4 (+1 a seed), both together add 3 more."""
    store = Store()
    for seed in range(4):
        for a in (0, 1):
            for b in (0, 1):
                value = 10 * seed + 2 * a + (4 + seed) * b + 3 * a * b
                store.add(f"a={a}, b={b}", seed, {"m.a": a, "m.b": b}, {"knn.top1": float(value)})
    return store


def test_effects_of_a_factorial() -> None:
    rows = {(r["axis"]): r for r in ANALYSES["effects"](factorial().tables, StudyView("s")).rows}
    assert rows["m.a"]["estimate"] == pytest.approx(2 + 1.5)
    assert rows["m.b"]["estimate"] == pytest.approx(4 + 1.5 + 1.5)
    assert rows["m.a x m.b"]["estimate"] == pytest.approx(3)
    assert (rows["m.b"]["n"], rows["m.b"]["cells"]) == (4, 2)
    low, _ = sps.t.interval(0.95, 3, 7.0, sps.sem([5.5, 6.5, 7.5, 8.5]))
    assert rows["m.b"]["low"] == pytest.approx(low)


def test_low_data_of_labels() -> None:
    store = Store()
    spec = {"evaluate": [{"name": "finetune", "label": f"f{p}", "fraction": p / 100} for p in (1, 10)]}
    store.add("byol", 0, {"arm": "byol"}, {"f1.top1": 40.0, "f10.top1": 60.0}, spec=spec)
    answer = ANALYSES["low_data"](store.tables, StudyView("s"))
    assert [(r["metric"], r["fraction"], r["estimate"]) for r in answer.rows] == [
        ("finetune.top1", 0.01, 40.0),
        ("finetune.top1", 0.1, 60.0),
    ]


def test_cost_counts_failures_and_finds_the_front() -> None:
    rows = rows_by(ANALYSES["cost"](groups().tables, VIEW))
    assert rows["groups=4"]["hours"] == pytest.approx((3 * 20 + 10) / 3600)
    assert rows["groups=4"]["seconds a trial"] == 20.0
    assert rows["all"]["trials"] == 10
    assert rows["all"]["GPU-hours"] == 0.0
    assert [rows[a]["Pareto"] for a in VIEW.arms] == [True, True, True]
    store = groups()
    store.add("dear", 0, {"arm": "dear"}, {"linear.top1": 70.0}, seconds=3600.0, device="Some GPU", workers=2)
    rows = rows_by(ANALYSES["cost"](store.tables, VIEW))
    assert rows["dear"]["Pareto"] is False
    assert rows["dear"]["GPU-hours"] == 2.0


def test_power_of_three_seeds() -> None:
    rows = rows_by(ANALYSES["power"](groups().tables, VIEW))
    four = rows["groups=4"]
    assert (four["spread"], four["n"]) == (pytest.approx(1.0), 3)
    assert four["detectable"] == pytest.approx(3.26, abs=0.01)
    assert four["observed"] == 3.0
    assert rows["groups=1"]["correlation"] == pytest.approx(1.0)
    assert rows["groups=1"].get("detectable") is None  # no spread: unknown, not nought


def test_accounting_loses_no_trial() -> None:
    answer = ANALYSES["accounting"](groups().tables, VIEW)
    rows = rows_by(answer)
    assert [rows["groups=4"][c] for c in ("planned", "done", "diverged", "not run")] == [5, 3, 1, 1]
    assert rows["all"]["planned"] == 11
    assert rows["all"]["not run"] == 1
    assert rows["byol"]["seeds done"] == "0 1 2"
    assert answer.notes == ["1 diverged: loss is not finite at step 3"]


def test_another_studys_trials_do_not_count() -> None:
    store = groups()
    store.trials[0]["study"] = "other"
    assert rows_by(ANALYSES["question"](store.tables, VIEW))["byol (baseline)"]["n"] == 2


def test_a_failed_trial_does_not_take_its_seed_away() -> None:
    """Two pairs, of which one is 10 higher; a missing run must neither drop the seed nor shift its mean."""
    store = Store()
    for seed in range(4):
        for dim, gain in ((64, 1.0), (128, 11.0)):
            for groups_ in (1, 4):
                if (seed, dim, groups_) == (2, 128, 4):
                    store.add("4 128", seed, {"method.groups": 4, "method.dim": 128}, {}, status="failed")
                    continue
                value = 50 + seed + (gain + seed if groups_ == 4 else 0.0)
                axes = {"method.groups": groups_, "method.dim": dim}
                store.add(f"{groups_} {dim}", seed, axes, {"linear.top1": value})
    row = ANALYSES["claims"](store.tables, StudyView("s", claims=[claim("a > b", FOUR, ONE)])).rows[0]
    assert row["values"] == pytest.approx({0: 6.0, 1: 7.0, 2: 8.0, 3: 9.0})
    assert row["filled"] == (2,)

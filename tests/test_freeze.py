"""Claims: frozen with the first run, post hoc after it."""

from pathlib import Path

from study import table
from study.freeze import freeze, post_hoc

ONE = {
    "say": "four beat one",
    "a": {"x": 4},
    "b": {"x": 1},
    "metric": "knn.top1",
    "expect": "a > b",
    "gate": False,
}


def test_a_claim_made_before_the_first_trial_stays_one(tmp_path: Path) -> None:
    freeze(tmp_path, "s", [ONE])
    table.record(tmp_path, {"id": "a", "study": "s", "arm": "x=1", "status": "done"})
    freeze(tmp_path, "s", [ONE])
    assert post_hoc(tmp_path, "s", [ONE]) == [False]


def test_a_changed_claim_is_another_claim(tmp_path: Path) -> None:
    freeze(tmp_path, "s", [ONE])
    table.record(tmp_path, {"id": "a", "study": "s", "arm": "x=1", "status": "done"})
    changed = {**ONE, "expect": "a < b"}
    assert post_hoc(tmp_path, "s", [ONE, changed]) == [False, True]
    freeze(tmp_path, "s", [ONE, changed])
    assert post_hoc(tmp_path, "s", [ONE, changed]) == [False, True]

"""Early stopping: examples worked by hand."""

from __future__ import annotations

from collections import Counter

import pytest

from study.schedulers import bracket, rungs, verdict
from study.studyfile import SchedulerSpec

ASHA = SchedulerSpec(name="asha", grace=0.1, eta=3)


def stopped(
    spec: SchedulerSpec, mine: float, others: list[float], *, rung: int = 0, count: int = 2, before=()
) -> bool:
    values = {f"other{i}": value for i, value in enumerate(others)} | {"mine": mine}
    return verdict(spec, "mine", rung, count, values, before) is not None


def test_rungs_are_shares_of_the_full_training():
    assert rungs(ASHA, 1000) == (100, 300, 900)
    assert rungs(SchedulerSpec(name="asha", grace=0.25, eta=2), 100) == (25, 50)
    assert rungs(SchedulerSpec(), 1000) == ()


def test_rungs_of_a_very_short_training_are_before_its_end_and_distinct():
    assert rungs(ASHA, 3) == (1,)
    assert rungs(ASHA, 1) == ()


@pytest.mark.parametrize(
    ("mine", "others", "expected"),
    [
        (10, [], False),  # the first one goes on
        (9, [10], True),  # the best of two: 2 // 3 = 0, so one is kept
        (10, [10], False),  # equals go on together
        (30, [10, 20], False),
        (20, [10, 30], True),  # one of three
        (50, [10, 20, 30, 40, 60], False),  # two of six
        (40, [10, 20, 30, 50, 60], True),
        (40, [10, 20, 30, 50, 60, 35, 36, 37], False),  # three of nine
        (float("nan"), [], True),
        (float("inf"), [], True),
        (10, [float("nan"), float("inf")], False),  # rivals that are no numbers do not count
    ],
)
def test_asha_keeps_one_of_eta(mine, others, expected):
    assert stopped(ASHA, mine, others) is expected


def test_asha_on_a_metric_that_is_to_be_small():
    spec = SchedulerSpec(name="asha", goal="min")
    assert not stopped(spec, 1, [2, 3])
    assert stopped(spec, 3, [2, 1])


def test_the_reason_has_both_numbers():
    words = verdict(ASHA, "a", 0, 2, {"a": 10.0, "b": 20.0, "c": 30.0})
    assert words == "knn.top1 10 is not among the best 1 of 3, 30 or better"


def test_median_waits_for_four_others_and_counts_the_best_so_far():
    spec = SchedulerSpec(name="median")
    assert not stopped(spec, 0, [10, 20, 30])
    assert stopped(spec, 24, [10, 20, 30, 40])  # the median is 25
    assert not stopped(spec, 25, [10, 20, 30, 40])
    assert not stopped(spec, 0, [10, 20, 30, 40], before=(26.0,))
    assert stopped(SchedulerSpec(name="median", goal="min"), 26, [10, 20, 30, 40])


def test_brackets_have_the_shares_of_hyperband():
    # Three rungs, eta 3: ceil(4/4) * 27 = 27, ceil(4/3) * 9 = 18, ceil(4/2) * 3 = 6 and ceil(4/1) = 4 of 55.
    drawn = Counter(bracket(f"trial {i}", 3, 3) for i in range(5500))
    assert set(drawn) == {0, 1, 2, 3}
    for which, share in enumerate((2700, 1800, 600, 400)):
        assert abs(drawn[which] - share) < 5 * share**0.5


def test_hyperband_compares_within_a_bracket_and_spares_the_first_rungs():
    spec = SchedulerSpec(name="hyperband")
    names = [f"trial {i}" for i in range(200)]
    early = [n for n in names if bracket(n, 2, 3) == 0]
    late = [n for n in names if bracket(n, 2, 3) == 1]
    values = {early[0]: 1.0, early[1]: 2.0, late[0]: 3.0, late[1]: 0.0}
    assert verdict(spec, early[1], 0, 2, values) is None  # 3.0 is another bracket's
    assert verdict(spec, early[0], 0, 2, values) is not None
    assert verdict(spec, late[1], 0, 2, values) is None  # its bracket has no rung here
    assert verdict(spec, late[1], 1, 2, values) is not None

"""Statistics against scipy and cases that a hand can check."""

import math

import numpy as np
import pytest
from scipy import stats as sps

from study import statistics as st


def test_mean_is_scipys_t_interval() -> None:
    values = [80.0, 82.0, 81.5, 79.0]
    got = st.mean(values)
    low, high = sps.t.interval(0.95, 3, np.mean(values), sps.sem(values))
    assert (got.estimate, got.n) == (pytest.approx(80.625), 4)
    assert (got.low, got.high) == (pytest.approx(low), pytest.approx(high))


def test_two_values_by_hand() -> None:
    got = st.mean([1.0, 3.0])  # sd = sqrt 2, se = 1, t(1, .975) = 12.706
    assert (got.low, got.high) == (pytest.approx(2 - 12.7062, abs=1e-3), pytest.approx(2 + 12.7062, abs=1e-3))


def test_one_value_has_no_interval() -> None:
    assert st.mean([3.0]) == st.Interval(3.0, None, None, 1, None)
    assert st.mean([]) == st.Interval(None, None, None, 0, None)
    assert st.t_test([1.0]) is None
    assert st.equivalence([1.0], 0.5) is None
    assert st.detectable(1.0, 1) is None
    assert st.power(1.0, 1.0, 1) is None
    assert st.difference([1.0]).p is None
    assert st.difference([]).p_exact is None
    assert st.mean([3.0]).text() == "3"


def test_what_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match="1 of 2"):
        st.mean([1.0, math.nan])


def test_paired_takes_the_common_seeds() -> None:
    a, b = {0: 5.0, 1: 6.0, 2: 8.0, 7: 0.0}, {2: 5.0, 0: 4.0, 1: 4.0, 9: 0.0}
    got = st.paired(a, b)
    assert got.values == (1.0, 2.0, 3.0)
    assert got.p == pytest.approx(sps.ttest_rel([5, 6, 8], [4, 4, 5]).pvalue)
    assert got.wins == 3
    # d_z = 2 / 1, Hedges' J(2) = 1 - 3/7
    assert got.effect_size == pytest.approx(2 * (1 - 3 / 7))


def test_sign_flip_by_hand_and_floor() -> None:
    assert st.sign_flip([1.0, 2.0, 3.0]) == 0.25 == st.sign_flip_floor(3)
    assert st.sign_flip([1.0, -1.0]) == 1.0
    assert st.sign_flip([3.0, 1.0, -1.0]) == 0.75  # |3|, of 5, 3, 3, 1 and their mirrors: 6 of 8
    assert st.sign_flip([0.0, 0.0]) == 1.0
    assert st.sign_flip([0.1] * 20) == pytest.approx(1 / 20_001, rel=5)


def test_sign_flip_agrees_with_scipy() -> None:
    d = np.random.default_rng(1).normal(0.4, 1, 9)
    want = sps.permutation_test((d,), np.sum, permutation_type="samples", n_resamples=10_000).pvalue
    assert st.sign_flip(list(d)) == pytest.approx(want)


def test_equivalence_is_two_one_sided_tests() -> None:
    d = [0.1, -0.2, 0.05, 0.0, 0.1]
    low = sps.ttest_1samp(d, -0.5, alternative="greater").pvalue
    high = sps.ttest_1samp(d, 0.5, alternative="less").pvalue
    assert st.equivalence(d, 0.5) == pytest.approx(max(low, high))
    assert st.equivalence([5.0, 5.1, 4.9], 0.5) > 0.99
    with pytest.raises(ValueError, match="above 0"):
        st.equivalence(d, 0.0)


def test_values_without_spread_give_the_exact_p() -> None:
    assert st.t_test([1.0, 1.0, 1.0]) == 0.25
    assert st.t_test([0.0, 0.0, 0.0]) == 1.0
    assert st.t_test([1.0, 1.0], alternative="greater") == 0.25
    assert st.t_test([1.0, 1.0], alternative="less") == 1.0
    assert st.mean([0.1 + 0.2, 0.3, 0.3]).sd == 0.0


def test_holm_by_hand() -> None:
    assert st.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert st.holm([0.5, None]) == [1.0, None]
    assert st.holm([None, 0.01, 0.02]) == [None, pytest.approx(0.03), pytest.approx(0.04)]
    assert st.holm([]) == []


def test_power_matches_tables_and_simulation() -> None:
    # Paired t at 5 %: d_z -> pairs for 80 and 90 %.
    for size, few, more in ((0.5, 34, 44), (0.8, 15, 19), (1.0, 10, 13), (2.0, 5, 5)):
        assert (st.pairs_needed(size, 1.0), st.pairs_needed(size, 1.0, 0.9)) == (few, more)
    draws = np.random.default_rng(0).normal(1.0, 1.0, (20_000, 6))
    found = (sps.ttest_1samp(draws, 0.0, axis=1).pvalue < 0.05).mean()
    assert st.power(1.0, 1.0, 6) == pytest.approx(found, abs=0.01)
    assert st.power(100.0, 1.0, 3) == 1.0
    assert st.power(-1.0, 1.0, 6) == st.power(1.0, 1.0, 6)


@pytest.mark.parametrize("n", [2, 3, 5, 20])
def test_detectable_inverts_power(n: int) -> None:
    assert st.power(st.detectable(2.0, n), 2.0, n) == pytest.approx(0.8, abs=1e-3)


def test_pairs_needed_has_its_ends() -> None:
    assert st.pairs_needed(0.0, 1.0) is None
    assert st.pairs_needed(1e-6, 1.0) is None


def test_bootstrap_is_silent_under_ten() -> None:
    assert st.bootstrap([1.0] * 9).low is None
    x = np.random.default_rng(0).normal(5, 1, 200)
    got, t = st.bootstrap(list(x)), st.mean(list(x))
    assert got == st.bootstrap(list(x))
    assert got.low == pytest.approx(t.low, abs=0.05)
    assert st.bootstrap(list(x), np.median).estimate == np.median(x)


def test_rank_correlation() -> None:
    assert st.rank_correlation([1, 2, 3, 4], [10, 20, 30, 40])[0] == pytest.approx(1.0)
    assert st.rank_correlation([1, 2, 3], [5, 5, 5]) is None
    assert st.rank_correlation([1, 2], [1, 2]) is None
    with pytest.raises(ValueError, match="paired"):
        st.rank_correlation([1], [1, 2])


def test_interquartile_mean_leaves_out_the_ends() -> None:
    assert st.interquartile_mean([0, 1, 2, 1000]) == 1.5
    assert st.interquartile_mean([]) is None


@pytest.mark.parametrize("n", [3, 5, 10])
def test_intervals_of_paired_differences_cover_what_they_say(n: int) -> None:
    """Nominal 95 %: two arms that share their seeds' noise, a true difference of 0.7."""
    rng, hits, rejected, draws = np.random.default_rng(3), 0, 0, 3000
    for _ in range(draws):
        shared = rng.normal(60, 3, n)
        a, b = shared + 0.7 + rng.normal(0, 1, n), shared + rng.normal(0, 0.5, n)
        got = st.paired(dict(enumerate(a)), dict(enumerate(b)))
        hits += got.interval.low <= 0.7 <= got.interval.high
        rejected += st.t_test(list(a - b), 0.7) < 0.05
    assert 0.93 < hits / draws < 0.97
    assert rejected == draws - hits

"""The honest few statistics of small studies: paired t intervals, exact tests, equivalence, power.

The unit is one pre-training run; runs of two arms with the same seed are a pair. The default interval is
Student's t: at 3 to 10 runs a bootstrap interval covers far less than it says. One run gives no interval:
what cannot be known is None, never NaN.
"""

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import TypeVar

import numpy as np
from scipy import optimize, special
from scipy import stats as sps

K = TypeVar("K", bound=Hashable)
LEVEL = 0.95
_EXACT = 16  # up to 2^16 sign patterns are enumerated


@dataclass(frozen=True)
class Interval:
    """An estimate with its interval; `low`, `high` and `sd` are None when n < 2, the estimate when n = 0."""

    estimate: float | None
    low: float | None
    high: float | None
    n: int
    sd: float | None

    def text(self, digits: int = 4) -> str:
        """As `0.812 [0.79, 0.83]`, without brackets when there is no interval."""
        if self.estimate is None:
            return "–"
        words = f"{self.estimate:.{digits}g}"
        if self.low is not None and self.high is not None:
            words += f" [{self.low:.{digits}g}, {self.high:.{digits}g}]"
        return words


@dataclass(frozen=True)
class Difference:
    """a - b over the seeds that both have, with two-sided p of the paired t and of the exact sign flip."""

    interval: Interval
    p: float | None
    p_exact: float | None
    values: tuple[float, ...]

    @property
    def effect_size(self) -> float | None:
        """Hedges' correction of the mean difference in units of its spread (d_z); None without spread."""
        i = self.interval
        if i.estimate is None or not i.sd or i.n < 3:
            return None
        return i.estimate / i.sd * (1 - 3 / (4 * (i.n - 1) - 1))

    @property
    def wins(self) -> int:
        """Pairs in which a is the greater."""
        return sum(v > 0 for v in self.values)


def signed(interval: Interval) -> str:
    """A difference with its sign: `+1.2 [-0.3, +2.7]`."""
    if interval.estimate is None:
        return "–"
    text = f"{interval.estimate:+.3g}"
    if interval.low is not None and interval.high is not None:
        text += f" [{interval.low:+.3g}, {interval.high:+.3g}]"
    return text


def mean(values: Sequence[float], level: float = LEVEL) -> Interval:
    """Mean with its t interval."""
    n = len(values)
    if n == 0:
        return Interval(None, None, None, 0, None)
    x = np.asarray(values, float)
    if not np.isfinite(x).all():
        raise ValueError(f"{n - int(np.isfinite(x).sum())} of {n} values are not finite")
    centre = float(x.mean())
    if n == 1:
        return Interval(centre, None, None, 1, None)
    sd = _spread(x)
    half = float(special.stdtrit(n - 1, (1 + level) / 2)) * sd / math.sqrt(n)
    return Interval(centre, centre - half, centre + half, n, sd)


def paired(a: Mapping[K, float], b: Mapping[K, float], level: float = LEVEL) -> Difference:
    """Difference of two arms over the keys (seeds) that both have."""
    return difference([a[key] - b[key] for key in a if key in b], level)


def difference(values: Sequence[float], level: float = LEVEL) -> Difference:
    """As `paired`, from the differences themselves."""
    return Difference(mean(values, level), t_test(values), sign_flip(values), tuple(float(v) for v in values))


def t_test(values: Sequence[float], centre: float = 0.0, alternative: str = "two-sided") -> float | None:
    """p of Student's t that the mean is `centre`; `alternative` is two-sided, greater or less. None if n < 2.

    Values without any spread (a score that counts few test items) give no t: the exact sign-flip p stands in.
    """
    n = len(values)
    if n < 2:
        return None
    x = np.asarray(values, float) - centre
    sd = _spread(x)
    if sd == 0:
        up = 0.5**n
        shift = float(x.mean())
        if abs(shift) <= 1e-12 * max(1.0, abs(centre)):
            return 1.0
        if alternative == "two-sided":
            return min(1.0, 2 * up)
        return up if (shift > 0) == (alternative == "greater") else 1.0
    t = float(x.mean()) / (sd / math.sqrt(n))
    if alternative == "two-sided":
        return float(2 * special.stdtr(n - 1, -abs(t)))
    return float(special.stdtr(n - 1, -t if alternative == "greater" else t))


def sign_flip(values: Sequence[float], draws: int = 20_000, seed: int = 0) -> float | None:
    """Two-sided p of the sign-flip test of a zero mean, exact to n = 16, then sampled; None if n = 0.

    It cannot go below `sign_flip_floor(n)`: three pairs can show nothing at 5 %.
    """
    x = np.asarray(values, float)
    if len(x) == 0:
        return None
    seen = abs(float(x.sum()))
    slack = 1e-9 * float(np.abs(x).sum())  # equal sums must count as equal
    signs = _signs(len(x), draws, seed)
    if len(x) <= _EXACT:
        return float((np.abs(signs @ x) >= seen - slack).mean())
    return float((1 + int((np.abs(signs @ x) >= seen - slack).sum())) / (draws + 1))


@lru_cache(maxsize=8)
def _signs(n: int, draws: int, seed: int) -> np.ndarray:
    """(2^n or draws, n) of 1 and -1."""
    if n <= _EXACT:
        return np.array(list(product((1.0, -1.0), repeat=n)))
    return np.random.default_rng(seed).choice((1.0, -1.0), (draws, n))


def sign_flip_floor(n: int) -> float:
    """The smallest two-sided p that the exact sign-flip test of n pairs can give: 2 / 2^n."""
    return min(1.0, 2 * 0.5**n)


def equivalence(values: Sequence[float], margin: float) -> float | None:
    """p of two one-sided t tests (TOST) that the mean lies within +-margin; None if n < 2."""
    if margin <= 0:
        raise ValueError(f"a margin of equivalence must be above 0, not {margin}")
    above = t_test(values, -margin, "greater")
    below = t_test(values, margin, "less")
    return None if above is None or below is None else max(above, below)


def holm(ps: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down adjustment (1979) of a family; a p of None stays None and counts for the family."""
    order = sorted((i for i, p in enumerate(ps) if p is not None), key=lambda i: ps[i] or 0.0)
    adjusted: list[float | None] = [None] * len(ps)
    highest = 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(ps) - rank) * (ps[i] or 0.0)))
        adjusted[i] = highest
    return adjusted


def bootstrap(
    values: Sequence[float],
    statistic: Callable[[np.ndarray], float] | None = None,
    level: float = LEVEL,
    draws: int = 5_000,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap of a statistic, the mean by default; under 10 values without an interval."""
    measure = statistic or (lambda x: float(np.mean(x)))
    x = np.asarray(values, float)
    if len(x) == 0:
        return Interval(None, None, None, 0, None)
    if len(x) < 10:
        return Interval(float(measure(x)), None, None, len(x), None)
    rng = np.random.default_rng(seed)
    drawn = np.array([measure(x[rng.integers(0, len(x), len(x))]) for _ in range(draws)])
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(measure(x)), float(low), float(high), len(x), float(drawn.std(ddof=1)))


def power(size: float, sd: float, n: int, alpha: float = 1 - LEVEL) -> float | None:
    """Power of the two-sided paired t test of n pairs for a true difference `size`."""
    if n < 2:
        return None
    if sd == 0:
        return 1.0 if size else alpha
    shift = abs(size) / sd * math.sqrt(n)
    spread = _spreads(n - 1) * float(special.stdtrit(n - 1, 1 - alpha / 2))
    return float((special.ndtr(shift - spread) + special.ndtr(-spread - shift)).mean())


@lru_cache(maxsize=512)
def _spreads(freedom: int) -> np.ndarray:
    """Equally likely ratios of a sample's spread to the true one: scipy's noncentral t returns NaN in places
    (2 pairs, a large difference), so power averages the normal over them instead.
    """
    ranks = (np.arange(2048) + 0.5) / 2048
    return np.sqrt(special.chdtri(freedom, 1 - ranks) / freedom)


def detectable(sd: float, n: int, wanted: float = 0.8, alpha: float = 1 - LEVEL) -> float | None:
    """Smallest true difference that n pairs with spread `sd` show with power `wanted`; None if n < 2."""
    if n < 2:
        return None
    return sd * _detectable(n, wanted, alpha) if sd > 0 else 0.0


@lru_cache(maxsize=1024)
def _detectable(n: int, wanted: float, alpha: float) -> float:
    """As `detectable`, in units of the spread."""
    top = 1.0
    while (power(top, 1.0, n, alpha) or 0.0) < wanted:
        top *= 2
    return float(optimize.brentq(lambda size: (power(size, 1.0, n, alpha) or 0.0) - wanted, 0.0, top))


def pairs_needed(size: float, sd: float, wanted: float = 0.8, alpha: float = 1 - LEVEL) -> int | None:
    """Fewest pairs that show a true difference `size` with power `wanted`; None for 0 or beyond 10 000."""
    if size == 0:
        return None
    low, high = 1, 2
    while (power(size, sd, high, alpha) or 0.0) < wanted:
        low, high = high, high * 2
        if high > 16_384:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if (power(size, sd, middle, alpha) or 0.0) >= wanted else (middle, high)
    return high if high <= 10_000 else None


def pooled(spreads: Sequence[tuple[float, int]]) -> tuple[float, int] | None:
    """One spread of several (sd, n) and its degrees of freedom; None without any n > 1."""
    known = [(sd, n - 1) for sd, n in spreads if n > 1]
    freedom = sum(f for _, f in known)
    return (math.sqrt(sum(sd**2 * f for sd, f in known) / freedom), freedom) if freedom else None


def upper_spread(sd: float, freedom: int, confidence: float = 0.8) -> float:
    """What a spread is at most, with this confidence (chi-square): a pilot's own spread is uncertain."""
    return sd * math.sqrt(freedom / float(special.chdtri(freedom, confidence)))


def rank_correlation(a: Sequence[float], b: Sequence[float]) -> tuple[float, float] | None:
    """Spearman's rho and its two-sided p; None under 3 pairs or when one side is constant."""
    if len(a) != len(b):
        raise ValueError(f"{len(a)} values cannot be paired with {len(b)}")
    if len(a) < 3 or len(set(a)) == 1 or len(set(b)) == 1:
        return None
    result = sps.spearmanr(a, b)
    return float(result.statistic), float(result.pvalue)


def interquartile_mean(values: Sequence[float]) -> float | None:
    """Mean of the middle half (Agarwal et al. 2021); None without values."""
    return float(sps.trim_mean(np.asarray(values, float), 0.25)) if len(values) else None


def _spread(x: np.ndarray) -> float:
    """Sample standard deviation, 0 where the values differ by rounding only."""
    sd = float(x.std(ddof=1))
    return 0.0 if sd <= 1e-12 * float(np.abs(x).max(initial=0.0)) else sd

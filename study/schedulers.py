"""Early stopping as pure functions: where the rungs are, and whether a trial goes on past one.

A decision needs no coordinator: a trial that stands at a rung compares its value with those that the others
left there. Every rung is a share of the *full* training, and so is every schedule inside it: a trial that is
stopped is the head of a full one.

    asha       asynchronous successive halving (Li et al. 2020, arXiv 1810.05934): among the best 1/eta so far
    hyperband  Hyperband's brackets (Li et al. 2018, arXiv 1603.06560), each of them asynchronous: a trial
               belongs to one bracket for ever, and the gentler brackets pass over the first rungs
    median     the median rule of Vizier (Golovin et al. 2017): its best so far reaches the others' median
"""

from __future__ import annotations

import hashlib
import math
import statistics
from collections.abc import Mapping

from study.studyfile import SchedulerSpec

PATIENCE = 4  # others that must have passed a rung before the median rule stops anything


def rungs(spec: SchedulerSpec, total: int) -> tuple[int, ...]:
    """The steps of a training of `total` steps at which it is measured: grace, grace * eta, ... below 1."""
    if spec.name == "none":
        return ()
    shares = []
    share = spec.grace
    while share < 1:
        shares.append(share)
        share *= spec.eta
    steps = [max(1, round(s * total)) for s in shares]
    return tuple(dict.fromkeys(s for s in steps if s < total))


def bracket(identity: str, count: int, eta: int) -> int:
    """Which bracket of `count` rungs a trial belongs to: the number of rungs that it passes without question.

    A function of the trial's id alone. The brackets have the shares of Hyperband, in which the one that
    passes over s of the S rungs holds ceil((S + 1) / (S - s + 1)) * eta^(S - s) trials.
    """
    weights = [math.ceil((count + 1) / (count - s + 1)) * eta ** (count - s) for s in range(count + 1)]
    draw = int.from_bytes(hashlib.sha256(f"bracket {identity}".encode()).digest()[:8], "little") / 2**64
    at = draw * sum(weights)
    for s, weight in enumerate(weights):
        at -= weight
        if at < 0:
            return s
    return count


def verdict(
    spec: SchedulerSpec,
    identity: str,
    rung: int,
    count: int,
    values: Mapping[str, float],
    before: tuple[float, ...] = (),
) -> str | None:
    """None when trial `identity` goes on past rung `rung` (from 0) of `count`; else why it is stopped.

    values: by trial, those measured at this rung so far, the trial's own among them. before: the trial's own
    values at earlier rungs.
    """
    mine = values[identity]
    if spec.name == "none":
        return None
    if not math.isfinite(mine):
        return f"{spec.metric} is {mine}"
    sign = 1.0 if spec.goal == "max" else -1.0
    rivals = {i: sign * v for i, v in values.items() if math.isfinite(v)}
    if spec.name == "median":
        return _median(spec, identity, rivals, [sign * v for v in (*before, mine) if math.isfinite(v)], sign)
    if spec.name == "hyperband":
        own = bracket(identity, count, spec.eta)
        if rung < own:
            return None
        rivals = {i: v for i, v in rivals.items() if bracket(i, count, spec.eta) == own}
    kept = max(1, len(rivals) // spec.eta)
    last = sorted(rivals.values(), reverse=True)[kept - 1]
    if sign * mine >= last:
        return None
    edge = f"{sign * last:.4g} or better"
    return f"{spec.metric} {mine:.4g} is not among the best {kept} of {len(rivals)}, {edge}"


def _median(
    spec: SchedulerSpec, identity: str, rivals: dict[str, float], own: list[float], sign: float
) -> str | None:
    others = [v for i, v in rivals.items() if i != identity]
    if len(others) < PATIENCE:
        return None
    middle = statistics.median(others)
    if max(own) >= middle:
        return None
    word = "below" if sign > 0 else "above"
    edge = f"{sign * middle:.4g}, the median of {len(others)} others"
    return f"{spec.metric} {sign * max(own):.4g} is {word} {edge}"

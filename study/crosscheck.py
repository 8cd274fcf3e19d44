"""What no block can see alone: combinations of blocks that cannot work."""

from __future__ import annotations

from typing import Any

from study.spec import TrialSpec


def crosscheck(spec: TrialSpec) -> list[tuple[tuple[str, ...], str]]:
    """Every impossible combination: the key to blame, and a sentence with both values."""
    found: list[tuple[tuple[str, ...], str]] = []
    budget, method = spec.budget, spec.method
    if budget.batch < 2:
        found.append((("budget", "batch"), f"must be at least 2 (batch statistics need two pictures), not {budget.batch}"))
    if budget.batch % budget.accumulate:
        found.append((("budget", "accumulate"), f"must divide the batch of {budget.batch}, not {budget.accumulate}"))
    elif budget.batch // budget.accumulate < 2:
        what = f"leaves {budget.batch // budget.accumulate} picture a pass of the batch of {budget.batch}; 2 are needed"
        found.append((("budget", "accumulate"), what))
    queue: Any = getattr(method, "queue", None)
    if isinstance(queue, int) and queue and queue % budget.batch:
        found.append((("method", "queue"), f"must be a multiple of budget.batch {budget.batch}, not {queue}"))
    warmup = getattr(spec.optim, "warmup", 0)
    if isinstance(warmup, int | float) and warmup > budget.epochs:
        found.append((("optim", "warmup"), f"is {warmup} epochs, more than budget.epochs {budget.epochs}"))
    labels = [e.label for e in spec.evaluate]
    for label in {x for x in labels if labels.count(x) > 1}:
        found.append((("evaluate",), f"'{label}' stands twice; give one of them another `label`"))
    return found

"""Verdicts on a study's claims: supported, contradicted or undecided, never better than the seeds allow."""

from typing import Any

from study import statistics
from study.analyses.answer import Answer, Row
from study.analyses.contrast import between
from study.analyses.runs import Runs, StudyView, matches
from study.freeze import post_hoc
from study.table import Tables

ALPHA = 0.05
COLUMNS = ["claim", "verdict", "a - b", "n", "p (Holm)", "80 % power at", "seeds needed", "source"]


def run(tables: Tables, study: StudyView) -> Answer:
    """One row a claim. Holm's adjustment is over all claims of the study, decided or not.

    `a > b` (plus a margin) is supported or contradicted by the paired two-sided t test. `a = b` is supported
    by two one-sided tests within the margin (TOST), contradicted when the difference is beyond it.
    """
    title = f"{study.name}: claims"
    if not study.claims:
        return Answer(title, COLUMNS, [], ["the study file makes no claim"])
    runs = Runs.of(tables, study)
    rows = [_row(runs, claim) for claim in study.claims]
    for row, late in zip(rows, post_hoc(tables.out, study.name, study.claims)):
        row["post hoc"] = late
        if late:
            row["claim"] = f"{row['claim']} (post hoc)"
    for row, adjusted in zip(rows, statistics.holm([row["p"] for row in rows])):
        row["p (Holm)"] = adjusted
        decided = adjusted is not None and adjusted < ALPHA
        row["verdict"] = ("supported" if row["agrees"] else "contradicted") if decided else "undecided"
        if row["verdict"] != "undecided" or row["expect"] == "a = b":
            row["seeds needed"] = None
    return Answer(title, COLUMNS, rows, _notes(runs, rows))


def _row(runs: Runs, claim: dict[str, Any]) -> Row:
    margin = claim.get("margin") or 0.0
    expect, metric = claim["expect"], claim["metric"]
    contrast = between(runs, metric, claim["a"], claim["b"])
    values = list(contrast.values.values())
    gap = contrast.difference
    row: Row = {"claim": claim["say"], "metric": metric, "expect": expect, "margin": margin or None}
    row |= {"a": claim["a"], "b": claim["b"], "gate": bool(claim.get("gate")), "source": claim.get("source")}
    row |= {
        "n": gap.interval.n,
        "values": dict(contrast.values),
        "pairs": contrast.pairs,
        "filled": contrast.filled,
        "lost": contrast.lost,
    }
    row |= {"difference": gap.interval.estimate, "low": gap.interval.low, "high": gap.interval.high}
    row |= {"p_exact": gap.p_exact, "effect_size": gap.effect_size, "wins": gap.wins}
    row["a - b"] = statistics.signed(gap.interval) if gap.interval.n else None
    row["agrees"], row["p"] = _test(values, expect, margin)
    sd, n = gap.interval.sd, gap.interval.n
    if sd:  # without any spread nothing is known of how small a difference would be seen
        row["80 % power at"] = statistics.detectable(sd, n)
        row["seeds needed"] = statistics.pairs_needed(
            (gap.interval.estimate or 0.0) - _threshold(expect, margin), sd
        )
    row["not done"] = _lost(runs, claim)
    row["ids"] = runs.ids(*contrast.points)
    return row


def _threshold(expect: str, margin: float) -> float:
    """The difference a - b that separates support from contradiction."""
    return {"a > b": margin, "a < b": -margin}.get(expect, 0.0)


def _test(values: list[float], expect: str, margin: float) -> tuple[bool, float | None]:
    """Whether the estimate agrees with the claim, and p of that finding."""
    if len(values) < 2:
        return False, None
    centre = sum(values) / len(values)
    if expect == "a = b":
        if abs(centre) <= margin:
            return True, statistics.equivalence(values, margin)
        edge = margin if centre > 0 else -margin
        return False, statistics.t_test(values, edge)
    edge = _threshold(expect, margin)
    return (centre > edge) == (expect == "a > b") and centre != edge, statistics.t_test(values, edge)


def _lost(runs: Runs, claim: dict[str, Any]) -> int:
    """Trials of the claim's arms that ended otherwise than done."""
    sides = (claim["a"], claim["b"])
    return sum(
        row["status"] != "done" and any(matches(row["axes"] or {}, side) for side in sides)
        for row in runs.trials
    )


def _notes(runs: Runs, rows: list[Row]) -> list[str]:
    notes = [
        "a - b: mean over seeds with its 95 % t interval, each seed a pair; verdicts at 5 % after Holm's "
        f"adjustment over the {len(rows)} claims of this study"
    ]
    fewest = min(row["n"] for row in rows)
    if fewest < 2:
        notes.append("a claim with fewer than 2 seeds on both sides stays undecided")
    elif fewest < 6:
        floor = statistics.sign_flip_floor(fewest)
        notes.append(
            f"with {fewest} seeds the exact sign-flip test cannot go below p = {floor:.2g}: verdicts rest on "
            "normally distributed differences"
        )
    if any(row["verdict"] == "undecided" and row["n"] >= 2 for row in rows):
        notes.append("undecided is not 'no difference': only a = b with a margin can show that")
    if any(row["filled"] for row in rows):
        notes.append("a seed that lacks one of several paired arms is completed by a fit of pair + seed")
    if any(row["lost"] for row in rows):
        notes.append("seeds that one of several paired arms lacks are left out of the pair")
    for row in rows:
        if row["not done"]:
            notes.append(f"{row['claim']}: {row['not done']} trials of its arms are not done and left out")
    return notes + runs.selection_note()

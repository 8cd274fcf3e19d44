"""Every method learns: after seconds of training on the digits its k-NN score is above the untrained network's."""

from __future__ import annotations

import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from statistics import mean

import pytest

from models.methods import METHODS
from models.methods.dino import DinoSpec
from study import table
from study.space import Space
from study.studyfile import load

FILE = Path(__file__).with_name("beats_random.yaml")


def test_every_method_and_matching_is_asked() -> None:
    specs = [trial.spec for trial in Space(load(FILE)).fixed() if trial.spec.budget.epochs]
    assert {spec.method.name for spec in specs} == set(METHODS)
    matchings = {spec.method.matching for spec in specs if spec.method.name == "dino"}
    assert matchings == set(DinoSpec.model_fields["matching"].annotation.__args__)  # type: ignore[union-attr]


@pytest.mark.slow
def test_every_method_beats_random_weights(tmp_path: Path) -> None:
    """The mean of three seeds; without training, k-NN gets nine digits of ten right, at chance one."""
    subprocess.run([sys.executable, "-m", "study.run", str(FILE), "--out", str(tmp_path)], check=True)
    arms = {row["id"]: row["arm"] for row in table.read(tmp_path, "trials") if row["status"] == "done"}
    scores = defaultdict(list)
    for row in table.read(tmp_path, "scores"):
        if (row["evaluation"], row["metric"]) == ("knn", "top1"):
            scores[arms[row["id"]]].append(row["value"])
    assert {arm: len(values) for arm, values in scores.items()} == dict.fromkeys(
        (cell.label for cell in Space(load(FILE)).cells), 3
    )
    random = mean(scores.pop("random"))
    assert random > 80
    below = {arm: round(mean(values), 2) for arm, values in scores.items() if mean(values) <= random}
    assert not below, f"no better than random weights, {random:.2f}"

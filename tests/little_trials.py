"""Trials of a second or so on a tenth of the digits, and what is read off them: material of several tests."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from study import checkpoint
from study.pretrain import HERE, Watch
from study.spec import TrialSpec, from_json
from study.trial import Outcome, run

BYOL = {"name": "byol", "dim": 16, "hidden": 32}
DINO = {"name": "dino", "matching": "geometric", "out_dim": 64, "hidden": 32, "bottleneck": 16}


def spec(evaluate: list[dict[str, Any]], method: dict[str, Any] = BYOL, epochs: int = 3) -> TrialSpec:
    views: dict[str, Any] = {"name": "dino", "size": 16, "local_crops": 1, "local_size": 8}
    block = {
        "data": {"name": "digits", "fraction": 0.1},
        "backbone": {"name": "resnet_tiny", "width": 8},
        "method": method,
        "views": views if method is DINO else {"name": "byol", "size": 8},
        "optim": {"name": "sgd", "lr": 0.01, "warmup": 0},
        "budget": {"epochs": epochs, "batch": 32},
        "evaluate": evaluate,
    }
    return from_json(json.dumps(block))


def trained(given: TrialSpec, folder: Path, watch: Watch | None = None) -> tuple[Outcome, dict[str, Any]]:
    outcome = run(given, place=replace(HERE, folder=folder, save_every=0), watch=watch)
    return outcome, checkpoint.load(folder / "encoder.pt") or {}


def points(outcome: Outcome, name: str) -> list[tuple[int, float]]:
    return [(c["step"], c["value"]) for c in outcome.curves if c["name"] == name]

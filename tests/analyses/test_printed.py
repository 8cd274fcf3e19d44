"""Against the published numbers: prediction intervals, and a verdict only where the protocols agree."""

from typing import Any

import numpy as np
import pytest
from known import Store
from scipy import stats as sps

from study.analyses import ANALYSES, StudyView
from study.analyses.printed import differences, prediction

ROWS = {"lewel_b": {"method": "LEWEL_B", "epochs": 200}}
VIEW = StudyView("s", metrics=["linear.top1"], reproduces={"paper": "LEWEL", "table": "Tab1", "rows": ROWS})


def spec(**more: Any) -> dict[str, Any]:
    """LEWEL's Table 1: ImageNet-1K, ResNet-50, 200 epochs, 72.8 %."""
    made = {"method": {"name": "lewel_b"}, "data": {"name": "imagenet", "fraction": 1.0}}
    return made | {"backbone": {"name": "resnet50"}, "budget": {"epochs": 200}, "evaluate": []} | more


def store(values: tuple[float, ...], **more: Any) -> Store:
    made = Store()
    for seed, value in enumerate(values):
        made.add("lewel_b", seed, {"arm": "lewel_b"}, {"linear.top1": value}, spec=spec(**more))
    return made


def test_prediction_interval_by_hand_and_by_simulation() -> None:
    got = prediction([80.0, 82.0, 84.0])
    half = sps.t.ppf(0.975, 2) * 2 * (4 / 3) ** 0.5
    assert (got.low, got.high) == (pytest.approx(82 - half), pytest.approx(82 + half))
    assert prediction([80.0]).low is None
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(3000):
        got, new = prediction(list(rng.normal(0, 1, 3))), rng.normal(0, 1)
        inside += got.low <= new <= got.high
    assert 0.93 < inside / 3000 < 0.97


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ((72.3, 73.1, 72.6), "consistent"),
        ((62.0, 62.5, 62.2), "lower"),
        ((93.0, 93.5, 93.2), "higher"),
        ((72.0,), "unknown"),
    ],
)
def test_a_verdict_where_protocols_match(values: tuple[float, ...], verdict: str) -> None:
    (row,) = ANALYSES["published"](store(values).tables, VIEW).rows
    assert (row["paper"], row["differs"], row["verdict"]) == (72.8, None, verdict)
    assert row["printed as"].startswith("LEWEL_B, backbone=ResNet-50, epochs=200")


def test_no_verdict_where_they_differ() -> None:
    made = store((72.0, 72.5), data={"name": "digits"}, budget={"epochs": 6})
    answer = ANALYSES["published"](made.tables, VIEW)
    assert answer.rows[0]["verdict"] == "not comparable"
    assert answer.rows[0]["differs"] == "data digits, not IN-1K; epochs 6, not 200"
    assert any("every protocol differs" in note for note in answer.notes)
    nothing = ANALYSES["published"](made.tables, StudyView("s", metrics=["linear.top1"]))
    assert nothing.rows == []


@pytest.mark.parametrize(
    ("more", "setting", "told"),
    [
        ({}, {}, []),
        ({"data": {"name": "imagenet100"}}, {"pretrain": "IN-100"}, []),
        ({"data": {"name": "imagenet", "fraction": 0.1}}, {}, ["10 % of the pictures"]),
        ({}, {"backbone": None}, ["backbone not printed"]),
        ({"backbone": {"name": "swin_t", "window": 7}}, {"backbone": "Swin-T/7x7"}, []),
        (
            {"backbone": {"name": "swin_t", "window": 7}},
            {"backbone": "Swin-T/14x14"},
            ["backbone swin_t, not Swin-T/14x14"],
        ),
        ({"backbone": {"name": "vit_s16"}}, {"backbone": "ViT-S/P=16"}, []),
        ({"evaluate": [{"name": "linear", "label": "linear", "fraction": 0.01}]}, {"labels": "1%"}, []),
        ({"evaluate": [{"name": "linear", "fraction": 0.1}]}, {"labels": "1%"}, ["labels 10 %, not 1%"]),
        ({"evaluate": [{"name": "linear", "fraction": 0.1}]}, {}, ["10 % of the labels"]),
    ],
)
def test_what_differs(more: dict[str, Any], setting: dict[str, Any], told: list[str]) -> None:
    printed = {"pretrain": "IN-1K", "backbone": "ResNet-50", "epochs": 200} | setting
    printed = {k: v for k, v in printed.items() if v is not None}
    assert differences(spec(**more), "linear", printed) == told

"""A detector in whole trials: what the method trained is taken over, also when it is measured later."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from study import crosscheck, trial
from study.estimate import modelled
from study.evaluations import Subject
from study.evaluations.detection import ObjectDetection
from study.pretrain import HERE
from study.spec import TrialSpec

TINY = {"name": "detection", "steps": 2, "batch": 2, "rois": 4, "precise": 1, "tested": 6}
SPEC: dict[str, Any] = {
    "data": {"name": "digits_scenes", "scenes": 40, "size": 32},
    "backbone": {"name": "resnet_tiny", "width": 8},
    "method": {"name": "mcl", "levels": 2, "width": 16, "hidden": 16, "dim": 8},
    "views": {"name": "mcl", "size": 32, "count": 4},
    "optim": {"name": "sgd", "lr": 0.001, "warmup": 0},
    "budget": {"epochs": 1, "batch": 8},
}
BYOL = {"method": {"name": "byol", "dim": 16, "hidden": 32}, "views": {"name": "byol", "size": 32}}


def spec(*evaluations: dict[str, Any], **blocks: Any) -> TrialSpec:
    return TrialSpec(**{**SPEC, **blocks}, evaluate=tuple({**TINY, **e} for e in evaluations))


def test_an_fpn_is_taken_over_now_and_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []
    whole = ObjectDetection._detector

    def detector(self: ObjectDetection, subject: Subject, train: Any) -> Any:
        net = whole(self, subject, train)
        taken.append({name: p.detach().clone() for name, p in net.named_parameters()})
        return net

    monkeypatch.setattr(ObjectDetection, "_detector", detector)
    asked = spec({"transfer": "head"}, {"label": "masks", "model": "mask_rcnn"})
    outcome = trial.run(asked, place=replace(HERE, folder=tmp_path, save_every=0))
    assert outcome.status == "done", outcome.reason
    named = {(row["evaluation"], row["metric"]) for row in outcome.scores}
    assert {("detection", "AP_bb"), ("detection", "AP75_bb"), ("masks", "AP50_mk")} <= named
    encoder = trial.encoder_of(asked, tmp_path)
    assert encoder is not None
    lateral = encoder.parts["pyramid"].lateral_convs[-1].conv.weight
    conv = encoder.parts["convs"][0].conv.weight
    assert torch.equal(taken[0]["backbone.fpn.lateral_convs.1.conv.weight"], lateral)  # without stride 1
    assert torch.equal(taken[0]["roi_heads.box_head.0.0.conv.weight"], conv)
    assert not torch.equal(taken[1]["backbone.fpn.lateral_convs.1.conv.weight"][:16], lateral)
    later = trial.subject(asked, trial.load(asked.data, tmp_path), encoder, HERE)
    again = {s.metric: s.value for s in asked.evaluate[0].run(later)}
    before = {r["metric"]: r["value"] for r in outcome.scores if r["evaluation"] == "detection"}
    assert again == before


@pytest.mark.parametrize(
    ("evaluation", "blocks", "key", "message"),
    [
        ({}, {"data": {"name": "digits"}}, (), "detection needs annotated objects, which digits has not"),
        (
            {"model": "mask_rcnn", "data": {"name": "voc2007"}},
            {},
            ("model",),
            "mask_rcnn needs masks, but voc2007 has boxes only",
        ),
        (
            {"neck": "c4"},
            {"backbone": {"name": "swin_tiny"}},
            ("neck",),
            "c4 takes a resnet's last stage as its head; swin_tiny has none: fpn",
        ),
        (
            {"transfer": "pyramid"},
            BYOL,
            ("transfer",),
            "pyramid needs a method that trains an fpn (mcl), not byol",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_anything_starts(
    evaluation: dict[str, Any], blocks: dict[str, Any], key: tuple[str, ...], message: str
) -> None:
    found = [f for f in crosscheck.crosscheck(spec(evaluation, **blocks)) if f[0][:1] == ("evaluate",)]
    assert [where for where, _ in found] == [("evaluate", 0, *key)]
    assert message in found[0][1]


def test_masks_of_coco_need_their_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = spec({"model": "mask_rcnn", "data": {"name": "coco"}})
    monkeypatch.setattr(crosscheck, "find_spec", lambda name: None)
    ((where, what),) = crosscheck.crosscheck(asked)
    assert where == ("evaluate", 0, "model")
    assert what.endswith("pycocotools, which is not installed: pip install ssl-study[detection]")
    monkeypatch.setattr(crosscheck, "find_spec", lambda name: object())
    assert not crosscheck.crosscheck(asked)


def test_what_it_costs_is_estimated() -> None:
    def seconds(**knobs: Any) -> float:
        given = TrialSpec(
            **{**SPEC, **BYOL, "data": {"name": "digits_scenes"}, "backbone": {"name": "resnet_tiny"}},
            evaluate=({"name": "detection", **knobs},),
        )
        return modelled(given) - modelled(given.model_copy(update={"evaluate": ()}))

    assert 45 < seconds(steps=150) < 180  # 90 s of one core were measured
    assert 1.9 < seconds(steps=4000) / seconds(steps=2000) < 2.1
    assert 5.9 < seconds(schedule="6x", steps=4000) / seconds(steps=4000) < 6.1
    assert seconds(size=128, steps=100) > 2 * seconds(steps=100)


def test_pictures_that_only_an_evaluation_needs_are_missed_before_training(tmp_path: Path) -> None:
    asked = spec({"data": {"name": "voc_detection", "path": "cells"}}, **BYOL)
    outcome = trial.run(asked, tmp_path)
    assert outcome.status == "failed"
    assert str(tmp_path / "cells") in outcome.reason
    assert not outcome.curves

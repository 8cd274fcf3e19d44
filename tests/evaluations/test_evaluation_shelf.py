"""What holds for every evaluation of the shelf."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from study.evaluations import EVALUATIONS, Evaluation, Subject

MEASURED = {"images_per_second", "peak_memory_mb"}  # by the clock
ACCURACIES = ("knn", "linear", "finetune", "logistic")


def smallest(name: str, **knobs: Any) -> Evaluation:
    kind = EVALUATIONS[name]
    return kind(**{**kind.smallest(), **knobs})


def numbers(evaluation: Evaluation, subject: Subject) -> dict[str, float]:
    return {s.metric: s.value for s in evaluation.run(subject) if s.metric not in MEASURED}


@pytest.mark.parametrize("name", EVALUATIONS)
def test_named_as_registered_and_labelled_by_name(name: str) -> None:
    assert smallest(name).name == name == smallest(name).label
    assert smallest(name, label="second").label == "second"
    with pytest.raises(ValueError):
        smallest(name, label="has a blank")


@pytest.mark.parametrize("name", EVALUATIONS)
def test_every_knob_is_described(name: str) -> None:
    assert all(field.description for field in EVALUATIONS[name].model_fields.values())


@pytest.mark.parametrize("name", EVALUATIONS)
def test_scores_are_finite_counted_and_named_once(name: str, subject: Subject) -> None:
    scores = smallest(name).run(subject)
    assert scores
    assert len({s.metric for s in scores}) == len(scores)
    assert all(torch.tensor(s.value).isfinite() and s.n > 0 for s in scores)


@pytest.mark.parametrize("name", EVALUATIONS)
def test_same_seed_same_number(name: str, make_subject: Callable[..., Subject]) -> None:
    torch.manual_seed(1)
    first = numbers(smallest(name), make_subject(seed=3))
    torch.manual_seed(2)  # nothing may depend on the global generator
    assert numbers(smallest(name), make_subject(seed=3)) == first


@pytest.mark.parametrize("name", EVALUATIONS)
def test_the_encoder_is_left_as_it_was(name: str, subject: Subject) -> None:
    encoder = subject.encoder
    encoder.train()
    encoder.norm.eval()
    encoder.sharpness.requires_grad_(False)
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    smallest(name).run(subject)
    assert encoder.training
    assert not encoder.norm.training
    assert not encoder.sharpness.requires_grad
    assert encoder.sharpness.grad is None
    assert all(torch.equal(before[key], value) for key, value in encoder.state_dict().items())


@pytest.mark.parametrize("name", ACCURACIES)
def test_perfect_features_give_a_perfect_score(name: str, subject: Subject) -> None:
    knobs = {"epochs": 40} if name == "finetune" else {}
    found = numbers(smallest(name, **knobs), subject)
    assert found["top1"] == 100
    assert found["top5"] == 100


@pytest.mark.parametrize("name", ACCURACIES)
def test_shuffled_labels_give_chance(name: str, make_subject: Callable[..., Subject]) -> None:
    top1 = numbers(smallest(name), make_subject(shuffled=True))["top1"]
    assert abs(top1 - 100 / 7) < 8  # four standard deviations of 350 guesses are 7.5


def test_features_are_extracted_once(subject: Subject) -> None:
    pictures = len(subject.labels("train")) + len(subject.labels("test"))
    for evaluation in (smallest("knn"), smallest("linear"), smallest("logistic"), smallest("knn", k=[5, 10])):
        evaluation.run(subject)
    assert subject.encoder.seen == pictures


def test_last_blocks_of_a_convolution_are_the_pooled_features(subject: Subject) -> None:
    assert subject.last_blocks("test", 4) is subject.features("test")


def test_pictures_without_a_label_are_left_out(subject: Subject) -> None:
    subject.dataset.train.labels[:10] = -1
    assert len(subject.labels("train")) == len(subject.features("train")) == 200
    assert int(subject.indices("train")[0]) == 10
    assert numbers(smallest("knn"), subject)["top1"] == 100
    assert numbers(smallest("linear", features="augmented"), subject)["top1"] == 100


def test_dense_maps_are_those_of_the_drawn_pictures(subject: Subject) -> None:
    maps = subject.dense("test", 30)
    assert maps.shape == (30, 7, 4, 4)
    assert torch.allclose(maps.mean((2, 3)), subject.features("test")[subject.drawn("test", 30)], atol=1e-6)


def test_bf16_extraction_gives_float32_features(make_subject: Callable[..., Subject]) -> None:
    exact, rough = make_subject(), make_subject()
    for subject in (exact, rough):
        subject.encoder.norm = torch.nn.Conv2d(7, 7, 1)
    rough.encoder.load_state_dict(exact.encoder.state_dict())
    rough.precision = "bf16"
    assert rough.features("test").dtype == torch.float32
    assert not rough.features("test").requires_grad
    difference = (rough.features("test") - exact.features("test")).abs().max()
    assert 0 < difference < 0.02


def test_another_draw_is_another_subset_of_the_same_features(subject: Subject) -> None:
    assert subject.redrawn(0) is subject
    other = subject.redrawn(1)
    assert other.seed != subject.seed
    assert other.seed == subject.redrawn(1).seed != subject.redrawn(2).seed
    assert torch.equal(other.features("train"), subject.features("train"))
    assert subject.encoder.seen == 210  # seen once by both
    assert not torch.equal(other.drawn("test", 20), subject.drawn("test", 20))

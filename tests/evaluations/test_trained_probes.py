"""Linear probe and fine-tuning: what their knobs do."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from models.method import Moment
from study.evaluations import Subject, finetune
from study.evaluations.finetune import Finetune
from study.evaluations.linear import RECIPES, Linear, _optim
from study.optim import LARSSpec, lr_at


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_learns(recipe: str, subject: Subject) -> None:
    scores = Linear(recipe=recipe, features="cached", lr=200.0 if recipe == "lewel_m" else 1.0).run(subject)
    assert scores[0].metric == "top1"
    assert scores[0].value > 90


def test_schedules_are_the_papers() -> None:
    def rate(recipe: str, epoch: int) -> float:
        spec = _optim(RECIPES[recipe], 1.0, RECIPES[recipe].epochs)
        return lr_at(spec, Moment(epoch * 7, 7, RECIPES[recipe].epochs))

    assert [rate("lewel_b", e) for e in (0, 29, 30, 39, 40, 49)] == pytest.approx(
        [1, 1, 0.1, 0.1, 0.01, 0.01]
    )
    assert [rate("mcl", e) for e in (59, 60, 80)] == pytest.approx([1, 0.1, 0.01])
    assert rate("esvit", 50) == pytest.approx(0.5)
    assert rate("lewel_m", 30) == pytest.approx(0.75)
    assert isinstance(_optim(RECIPES["lewel_m"], 1.0, 90), LARSSpec)


def test_one_or_two_epochs_have_a_schedule(subject: Subject) -> None:
    for epochs in (1, 2):
        assert Linear(features="cached", epochs=epochs).run(subject)
        assert Finetune(fraction=0.5, epochs=epochs).run(subject)


def test_the_useful_rate_is_chosen_without_the_test_pictures(make_subject: Callable[..., Subject]) -> None:
    linear = Linear(features="cached", epochs=10, lrs=[1e-6, 1.0])
    subject = make_subject()
    found = {s.metric: s for s in linear.run(subject)}
    assert (found["lr"].value, found["lr"].n) == (1.0, 21)
    alone = {s.metric: s.value for s in Linear(features="cached", epochs=10, lr=1.0).run(subject)}
    assert found["top1"].value == alone["top1"]
    blind = make_subject()
    blind.dataset.test.labels[:] = 0
    assert {s.metric: s.value for s in linear.run(blind)}["lr"] == 1.0


def test_best_epoch_is_at_least_the_last(make_subject: Callable[..., Subject]) -> None:
    found = {
        s.metric: s.value for s in Linear(features="cached", best_epoch=True).run(make_subject(shuffled=True))
    }
    assert found["top1_best"] >= found["top1"]
    assert "top1_best" not in {s.metric for s in Linear(features="cached", epochs=2).run(make_subject())}


def test_augmented_features_differ_every_epoch(subject: Subject) -> None:
    Linear(features="augmented", epochs=3).run(subject)
    assert subject.encoder.seen == 3 * 210 + 350  # and the test pictures once


@pytest.mark.parametrize("rates", [{"lr": 1e9}, {"lrs": [1e9, 1e10]}])
def test_a_diverged_probe_says_so(rates: dict[str, object], subject: Subject) -> None:
    plain = subject.features
    subject.features = lambda part, mode="bicubic": plain(part, mode) * 1e20  # type: ignore[method-assign]
    with pytest.raises(ValueError, match=r"diverged at .*1000000000"):
        Linear(features="cached", epochs=5, **rates).run(subject)


def test_a_rate_that_diverges_is_not_chosen(subject: Subject) -> None:
    plain = subject.features
    subject.features = lambda part, mode="bicubic": plain(part, mode) * 1e18  # type: ignore[method-assign]
    found = {s.metric: s.value for s in Linear(features="cached", epochs=3, lrs=[1e9, 1e-18]).run(subject)}
    assert found["lr"] == 1e-18
    assert found["top1"] == 100


def test_lr_and_lrs_exclude_each_other() -> None:
    with pytest.raises(ValueError, match=r"0\.1.*0\.2"):
        Linear(lr=0.1, lrs=[0.2, 0.3])


def test_finetuning_trains_a_copy_on_a_part_of_the_labels(subject: Subject) -> None:
    used: list[torch.Tensor] = []
    augmented = subject.augmented

    def watched(part, indices, *rest):  # type: ignore[no-untyped-def]
        used.append(indices)
        return augmented(part, indices, *rest)

    subject.augmented = watched  # type: ignore[method-assign]
    Finetune(fraction=0.1, epochs=2, batch=21).run(subject)
    assert subject.encoder.seen == 0
    rows = torch.cat(used).unique()
    assert torch.equal(torch.bincount(subject.labels("train")[rows]), torch.full((7,), 3))


@pytest.mark.parametrize(("fraction", "rates"), [(0.01, (1e-4, 1.0)), (0.1, (0.01, 0.1))])
def test_finetuning_takes_the_papers_rates(
    fraction: float, rates: tuple[float, float], subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[float] = []
    build = finetune._optim
    monkeypatch.setattr(finetune, "_optim", lambda rate, *rest: (seen.append(rate), build(rate, *rest))[1])
    Finetune(fraction=fraction, epochs=1, batch=7).run(subject)
    assert tuple(seen) == rates

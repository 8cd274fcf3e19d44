"""Matchings as weights, and the losses that are built on them."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from models.distillation import weighted_cross_entropy, weighted_squared_error
from models.geometry import centres, half_diagonal2
from models.matching import MATCHINGS, geometric, optimal_transport, similarity


def rand(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("name", sorted(MATCHINGS))
def test_rows_sum_to_one_and_carry_no_gradient(name: str) -> None:
    places, others = rand(2, 5, 2).requires_grad_(), rand(2, 7, 2, seed=1).requires_grad_()
    weights = MATCHINGS[name](places, others)
    assert weights.shape == (2, 5, 7)
    assert not weights.requires_grad
    assert (weights >= 0).all()
    assert torch.allclose(weights.sum(-1), torch.ones(2, 5, dtype=torch.float64))


@pytest.mark.parametrize("name", sorted(MATCHINGS))
def test_the_same_places_are_their_own_partners(name: str) -> None:
    # On a circle, so that no two have the same direction.
    angles = torch.arange(6, dtype=torch.float64) / 6 * 2 * math.pi
    points = torch.stack([angles.cos(), angles.sin()], -1)[None]
    assert torch.equal(MATCHINGS[name](points, points).argmax(-1)[0], torch.arange(6))


def test_a_mirrored_view_has_mirrored_partners() -> None:
    box = torch.tensor([[3.0, 2.0, 17.0, 12.0]])
    places = centres(box, 4, 4)
    mirrored = centres(box[:, [2, 1, 0, 3]], 4, 4)
    found = geometric(places, mirrored).argmax(-1).view(4, 4)
    assert torch.equal(found, torch.arange(16).view(4, 4).flip(1))


def test_geometric_takes_the_nearest_and_the_threshold_is_strict() -> None:
    places = torch.tensor([[[0.0, 0.0], [3.0, 0.0], [10.0, 0.0]]])
    others = torch.tensor([[[1.0, 0.0], [4.0, 2.0]]])
    assert geometric(places, others).argmax(-1).tolist() == [[0, 0, 1]]
    kept = geometric(places, others, torch.tensor([4.0])).sum(-1)
    assert kept.tolist() == [[1, 0, 0]]  # squared distances 1, 4 (not below 4), 40


def test_views_that_do_not_overlap_have_no_partners() -> None:
    one, other = torch.tensor([[0.0, 0.0, 50.0, 50.0]]), torch.tensor([[90.0, 90.0, 140.0, 140.0]])
    limit2 = torch.maximum(half_diagonal2(one, 7, 7), half_diagonal2(other, 3, 3))
    assert geometric(centres(one, 7, 7), centres(other, 3, 3), limit2).sum() == 0


def test_similarity_ignores_lengths() -> None:
    places, others = rand(1, 4, 3), rand(1, 9, 3, seed=1)
    scaled = others * torch.linspace(0.1, 10, 9, dtype=torch.float64)[None, :, None]
    assert torch.equal(similarity(places, others), similarity(places, scaled))


def test_similarity_in_half_precision_is_that_of_the_widened_features() -> None:
    places, others = rand(2, 30, 64).bfloat16(), rand(2, 49, 64, seed=1).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = similarity(places, others)
    assert torch.equal(found, similarity(places.float(), others.float()))


def test_optimal_transport_uses_every_partner_equally() -> None:
    places = rand(1, 12, 4)
    others = places[:, :6] + 0.01
    plan = optimal_transport(places, others, epsilon=0.5, iterations=200)
    assert torch.allclose(plan.sum(1), torch.full((1, 6), 2.0, dtype=torch.float64), atol=1e-6)


def plain(student: Tensor, teacher: Tensor, weights: Tensor, centre: Tensor) -> Tensor:
    """The definition: every pair's cross-entropy, weighted."""
    p = torch.softmax((teacher - centre) / 0.05, -1)
    log_q = torch.log_softmax(student / 0.1, -1)
    pairs = -(p[:, None] * log_q[:, :, None]).sum(-1)
    return (weights * pairs).sum((1, 2))


@pytest.mark.parametrize("chunk", [1, 10**9])
def test_cross_entropy_is_the_sum_over_pairs(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.distillation.CHUNK", chunk)
    student, teacher = rand(3, 4, 11).requires_grad_(), rand(3, 6, 11, seed=1)
    weights, centre = rand(3, 4, 6, seed=2).abs(), rand(11, seed=3)
    loss, entropy = weighted_cross_entropy(student, teacher, weights, centre, 0.1, 0.05)
    scale = rand(3, seed=4)
    (found,) = torch.autograd.grad((loss * scale).sum(), student)
    wanted = plain(student, teacher, weights, centre)
    (gradient,) = torch.autograd.grad((wanted * scale).sum(), student)
    assert torch.allclose(loss, wanted, rtol=1e-10)
    assert torch.allclose(found, gradient, rtol=1e-10, atol=1e-12)
    p = torch.softmax((teacher - centre) / 0.05, -1)
    assert torch.allclose(entropy, torch.special.entr(p).sum(-1))


def test_cross_entropy_of_half_precision_logits_is_computed_wide() -> None:
    student, teacher = rand(2, 4, 50).bfloat16(), rand(2, 6, 50, seed=1).bfloat16()
    weights, centre = rand(2, 4, 6, seed=2).abs().float(), torch.zeros(50)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        narrow = weighted_cross_entropy(student.requires_grad_(), teacher, weights, centre, 0.1, 0.05)[0]
        narrow.sum().backward()
    wide = plain(student.float(), teacher.float(), weights, centre)
    assert narrow.dtype == torch.float32
    assert torch.allclose(narrow, wide, rtol=1e-5)
    assert student.grad is not None
    assert student.grad.dtype == torch.bfloat16


def test_the_teacher_gets_no_gradient() -> None:
    student, teacher = rand(2, 3, 5).requires_grad_(), rand(2, 4, 5, seed=1).requires_grad_()
    weights = torch.ones(2, 3, 4, dtype=torch.float64)
    weighted_cross_entropy(student, teacher, weights, torch.zeros(5), 0.1, 0.05)[0].sum().backward()
    weighted_squared_error(student, teacher, weights).sum().backward()
    assert teacher.grad is None
    assert student.grad is not None


def test_squared_error_is_the_sum_over_pairs() -> None:
    student, teacher, weights = rand(2, 3, 5), rand(2, 4, 5, seed=1), rand(2, 3, 4, seed=2).abs()
    wanted = (weights * (student[:, :, None] - teacher[:, None]).square().sum(-1)).sum((1, 2))
    assert torch.allclose(weighted_squared_error(student, teacher, weights), wanted)

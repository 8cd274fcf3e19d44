"""What every method keeps: one loss however it is computed, a teacher that matters and gets no gradient."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from small import SMALL, Small, batch_of, build, part
from torch import Tensor, nn

from models import parallel
from models.backbones.backbone import Backbone
from models.method import Batch, Method, Moment, Step
from models.methods import METHODS
from study import optim

START = Moment(step=0, per_epoch=5, epochs=4)
LATER = Moment(step=11, per_epoch=5, epochs=4)
RECIPES = {"byol", "moco_v2", "dino", "mcl", "supervised"}

every = pytest.mark.parametrize("label", SMALL)
with_teacher = pytest.mark.parametrize("label", [k for k, small in SMALL.items() if small.teacher])


def run(method: Method, batch: Batch, moment: Moment = START, seed: int = 5) -> Step:
    torch.manual_seed(seed)
    return method(batch, moment)


def teacher_of(method: Method, small: Small) -> nn.Module:
    assert small.teacher
    return method.get_submodule(small.teacher)


def trained(small: Small) -> Method:
    """A method after one whole step, so that its teacher and memories differ from the start."""
    method, batch = build(small), batch_of(small, seed=3)
    spec = optim.SGDSpec(lr=0.5)
    optimizer = optim.build(method, spec)
    torch.manual_seed(4)
    method.prepare(START)
    step = method(batch, START)
    step.loss.backward()
    method.trim(START)
    optim.apply(optimizer, spec, START)
    method.update(step.memo, START)
    method.zero_grad()
    return method


def statistics(method: Method) -> set[str]:
    """The names of batch norms' buffers."""
    return {
        f"{path}.{name}"
        for path, module in method.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
        for name, _ in module.named_buffers()
    }


def state(method: Method) -> dict[str, Tensor]:
    """A copy of all but batch norms' buffers."""
    out = statistics(method)
    return {k: v.clone() for k, v in method.state_dict().items() if k not in out}


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    return {k for k, v in after.items() if not torch.equal(before[k], v)}


def test_every_method_has_a_small_configuration() -> None:
    assert {small.method.name for small in SMALL.values()} == set(METHODS), "add the missing ones to small.py"


@every
def test_finite_and_made_of_its_terms(label: str) -> None:
    small = SMALL[label]
    method = build(small)
    step = run(method, batch_of(small))
    assert step.terms
    assert torch.isfinite(step.loss)
    assert step.loss.item() == pytest.approx(sum(term.item() for term in step.terms.values()))
    assert all(term.dim() == 0 and term.requires_grad for term in step.terms.values())
    assert step.embedding is not None
    assert step.embedding.dim() == 2
    assert not step.embedding.requires_grad
    assert isinstance(method.encoder, Backbone)
    assert method.recipe in RECIPES


@every
def test_gradient_reaches_everything_but_the_teacher(label: str) -> None:
    small = SMALL[label]
    method = build(small)
    run(method, batch_of(small), LATER).loss.backward()
    inside = {id(p) for p in teacher_of(method, small).parameters()} if small.teacher else set()
    for name, p in method.named_parameters():
        if id(p) in inside:
            assert p.grad is None, name
            assert not p.requires_grad, name
        elif p.requires_grad:
            # A parameter that no loss reaches stops DistributedDataParallel.
            assert p.grad is not None, f"no gradient reaches {name}"
            assert torch.isfinite(p.grad).all(), name
    online = [p for n, p in method.named_parameters() if p.grad is not None and "backbone" in n]
    assert sum(float(p.grad.abs().sum() > 0) for p in online if p.grad is not None) > 0.9 * len(online) > 0


@every
def test_forward_twice_is_the_same_and_leaves_no_trace(label: str) -> None:
    small = SMALL[label]
    method, batch = trained(small), batch_of(small)
    views, before = [v.clone() for v in batch.views], state(method)
    first = run(method, batch, LATER).loss
    assert not changed(before, state(method))
    assert all(torch.equal(a, b) for a, b in zip(views, batch.views))
    assert torch.equal(first, run(method, batch, LATER).loss)


@with_teacher
def test_disturbing_the_teacher_changes_the_loss(label: str) -> None:
    small = SMALL[label]
    method, batch = trained(small), batch_of(small)
    before = run(method, batch, LATER).loss
    with torch.no_grad():
        for p in teacher_of(method, small).parameters():
            p += 0.1 * torch.randn_like(p)
    assert run(method, batch, LATER).loss.item() != pytest.approx(before.item(), rel=1e-6)


@with_teacher
def test_teacher_moves_in_prepare_and_update_alone(label: str) -> None:
    small = SMALL[label]
    method, batch = build(small), batch_of(small)
    with torch.no_grad():
        inside = {id(p) for p in teacher_of(method, small).parameters()}
        for p in method.parameters():
            if id(p) not in inside:
                p += 0.1 * torch.randn_like(p)
    before = state(method)
    step = run(method, batch)
    step.loss.backward()
    assert not changed(before, state(method))
    method.prepare(START)
    method.update(step.memo, START)
    moved = changed(before, state(method))
    assert any(name.startswith(f"{small.teacher}.") for name in moved)
    trainable = {name for name, p in method.named_parameters() if p.requires_grad}
    assert not moved & trainable


@every
def test_saved_and_loaded_has_the_same_next_loss(label: str) -> None:
    small = SMALL[label]
    method, batch = trained(small), batch_of(small)
    other = build(small, seed=9)
    other.load_state_dict(method.state_dict())
    for one in (method, other):
        one.prepare(LATER)
    assert torch.equal(run(method, batch, LATER).loss, run(other, batch, LATER).loss)


@every
def test_untouched_by_evaluation(label: str) -> None:
    """An evaluation in the middle of training leaves nothing behind."""
    small = SMALL[label]
    method, batch = trained(small), batch_of(small)
    before = run(method, batch, LATER).loss
    method.eval()
    with torch.no_grad():
        method.encoder(batch.views[0])
    assert torch.equal(before, run(method.train(), batch, LATER).loss)


def measured(small: Small, rank: int, world: int) -> dict[str, Any]:
    """The loss and gradients of two steps, averaged over processes."""
    method, batch = build(small), part(batch_of(small), rank, world)
    spec = optim.SGDSpec(lr=0.1, warmup=0.0, schedule="constant")
    optimizer = optim.build(method, spec)
    told: dict[str, Any] = {}
    for i in range(2):
        moment = Moment(step=10 + i, per_epoch=5, epochs=4)
        method.prepare(moment)
        step = run(method, batch, moment)
        optimizer.zero_grad()
        step.loss.backward()
        told[f"loss {i}"] = parallel.plain_mean(step.loss)
        for name, p in method.named_parameters():
            if p.grad is not None:
                p.grad = parallel.plain_mean(p.grad)
                told[f"gradient {i} of {name}"] = p.grad.clone()
        method.trim(moment)
        optim.apply(optimizer, spec, moment)
        method.update(step.memo, moment)
    return told | {f"state: {k}": v.clone() for k, v in method.state_dict().items()}


def meet(rank: int, folder: str) -> dict[str, dict[str, Any]]:
    os.environ |= {"GLOO_SOCKET_IFNAME": "lo"}
    patience = timedelta(seconds=120)
    where = f"file://{folder}/meet"
    dist.init_process_group("gloo", init_method=where, rank=rank, world_size=2, timeout=patience)
    try:
        return {k: measured(small, rank, 2) for k, small in SMALL.items() if small.world_free}
    finally:
        dist.destroy_process_group()


def other(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    meet(rank, folder)


@pytest.fixture(scope="module")
def by_two(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Tensor]]:
    """What this process, as the first of two, measures: one set of imports less than with two new ones."""
    folder = str(tmp_path_factory.mktemp("two"))
    second = mp.get_context("spawn").Process(target=other, args=(1, folder))
    second.start()
    try:
        return meet(0, folder)
    finally:
        second.join(60)
        second.kill()


@pytest.mark.parametrize("label", [k for k, small in SMALL.items() if small.world_free])
def test_two_processes_are_one(label: str, by_two: dict[str, dict[str, Tensor]]) -> None:
    alone = measured(SMALL[label], 0, 1)
    assert alone.keys() == by_two[label].keys()
    for name, value in alone.items():
        torch.testing.assert_close(
            by_two[label][name], value, rtol=1e-6, atol=1e-9, msg=lambda m, name=name: f"{name}: {m}"
        )

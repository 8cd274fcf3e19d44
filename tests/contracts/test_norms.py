"""Batch norm over chosen batches: torch's own in one process, its parts over virtual devices."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from models import norms
from models.memory import Queue, Teacher, follow
from models.norms import BatchNorm1d, BatchNorm2d, convert


def pair(devices: int = 0) -> tuple[nn.BatchNorm2d, BatchNorm2d]:
    torch.manual_seed(0)
    plain = nn.BatchNorm2d(3).double()
    nn.init.normal_(plain.weight)
    nn.init.normal_(plain.bias)
    ours = convert(copy.deepcopy(plain), devices=devices)
    assert isinstance(ours, BatchNorm2d)
    return plain, ours


def test_one_process_is_torchs_batch_norm() -> None:
    plain, ours = pair()
    x = torch.randn(6, 3, 2, 2).double()
    for _ in range(2):
        assert torch.equal(plain(x), ours(x))
    for (name, a), b in zip(plain.state_dict().items(), ours.state_dict().values()):
        assert torch.equal(a, b), name
    assert torch.equal(plain.eval()(x), ours.eval()(x))


def test_virtual_devices_are_batch_norms_of_their_parts() -> None:
    plain, ours = pair(devices=3)
    x = torch.randn(6, 3, 2, 2).double().requires_grad_()
    y = x.detach().clone().requires_grad_()
    copies = [copy.deepcopy(plain) for _ in range(3)]
    expected = torch.cat([bn(part) for bn, part in zip(copies, y.chunk(3))])
    found = ours(x)
    torch.testing.assert_close(found, expected)
    weights = torch.randn_like(found)
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(x.grad, y.grad)
    mean = torch.stack([bn.running_mean for bn in copies if bn.running_mean is not None]).mean(0)
    var = torch.stack([bn.running_var for bn in copies if bn.running_var is not None]).mean(0)
    torch.testing.assert_close(ours.running_mean, mean)
    torch.testing.assert_close(ours.running_var, var)
    assert int(ours.num_batches_tracked or 0) == 1


def test_parts_must_be_equal() -> None:
    with pytest.raises(ValueError, match="6 rows of batch norm cannot be split among 4"):
        pair(devices=4)[1](torch.randn(6, 3, 2, 2).double())


def test_conversion_keeps_parameters_and_places() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Flatten(), nn.BatchNorm1d(4, affine=False))
    before = list(net.parameters())
    convert(net, "sync")
    assert [type(m) for m in net if isinstance(m, nn.modules.batchnorm._BatchNorm)] == [
        BatchNorm2d,
        BatchNorm1d,
    ]
    assert all(a is b for a, b in zip(before, net.parameters()))
    assert net[1].devices == net[3].devices == 1
    with pytest.raises(TypeError, match="BatchNorm3d"):
        convert(nn.BatchNorm3d(2))


def test_plain_is_torchs_again() -> None:
    first = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3), nn.Flatten(), nn.BatchNorm1d(12)).double()
    x = torch.randn(6, 2, 2, 2).double()
    first(x)
    ours = convert(copy.deepcopy(first), devices=3)
    ours[1].eval()
    back = norms.plain(ours)
    assert [type(part) for part in back] == [type(part) for part in first]
    assert [part.training for part in back] == [True, False, True, True]
    assert all(torch.equal(a, b) for a, b in zip(first.state_dict().values(), back.state_dict().values()))
    assert torch.equal(back.train()(x[:5]), first(x[:5]))  # five pictures are no three equal parts


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2)).double()


def test_eman_teacher_runs_on_followed_statistics() -> None:
    online = network().train()
    teacher = Teacher(online, "eman").train()
    x = torch.randn(8, 3).double()
    online(x)
    assert not teacher.network.training
    alone = teacher(x[:1])
    torch.testing.assert_close(teacher(x)[:1], alone)
    teacher.follow(online, 0.25)
    bn, followed = online[1], teacher.network[1]  # type: ignore[index]
    torch.testing.assert_close(followed.running_mean, 0.75 * bn.running_mean)
    torch.testing.assert_close(followed.running_var, 0.25 + 0.75 * bn.running_var)
    assert followed.num_batches_tracked == bn.num_batches_tracked == 1


def test_other_teachers_keep_their_own_statistics() -> None:
    online = network().train()
    teacher = Teacher(online, "per_device").train()
    online(torch.randn(8, 3).double())
    teacher.follow(online, 0.0)
    assert not teacher.network[1].running_mean.any()  # type: ignore[index]
    assert all(torch.equal(a, b) for a, b in zip(teacher.network.parameters(), online.parameters()))


def test_shuffled_teacher_returns_rows_in_order() -> None:
    plain = nn.Linear(3, 2).double()
    x = torch.randn(8, 3).double()
    torch.testing.assert_close(Teacher(plain, "shuffle").train()(x), plain(x).detach())


def test_shuffling_changes_which_pictures_share_statistics() -> None:
    online = convert(network(), "shuffle", devices=2).train()
    teacher = Teacher(online, "shuffle").train()
    x = torch.randn(8, 3).double()
    torch.manual_seed(1)
    first = teacher(x)
    torch.manual_seed(2)
    assert not torch.allclose(first, teacher(x))
    torch.manual_seed(1)
    order = torch.randperm(8)
    torch.testing.assert_close(first[order], online(x[order]).detach())


def test_follow_leaves_buffers_unless_asked() -> None:
    target, online = network(), network()
    nn.init.ones_(online[1].running_mean)  # type: ignore[arg-type]
    follow(target, online, 0.5)
    assert not target[1].running_mean.any()  # type: ignore[operator, union-attr]


def test_queue_goes_round() -> None:
    queue = Queue(2, 4)
    torch.testing.assert_close(queue.keys.norm(dim=0), torch.ones(4))
    for i in range(3):
        queue.push(torch.full((2, 2), float(i)))
    assert queue.keys[0].tolist() == [2, 2, 1, 1]
    assert int(queue.pointer) == 2
    with pytest.raises(ValueError, match="length 4 is not a multiple of the batch 3"):
        queue.push(torch.zeros(3, 2))

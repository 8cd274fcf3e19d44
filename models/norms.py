"""Batch norm whose batch is chosen: this process's pictures, everybody's, or those of a virtual device.

Batch statistics are over B / devices pictures. `devices` 0 means the real processes, 1 the whole batch
(SyncBN), and G a batch split in G whatever the number of processes: that emulates the papers' 8 GPUs on one,
and makes a result independent of how many processes computed it. Works on CPU; torch's SyncBatchNorm does
not.
"""

from __future__ import annotations

from typing import Any, Literal, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models import parallel

Norm = TypeVar("Norm", bound=nn.modules.batchnorm._BatchNorm)
Kind = Literal["per_device", "sync", "eman", "shuffle"]
KINDS = (
    "per_device: each process's own statistics in both branches; sync: statistics over all processes; "
    "eman: the momentum branch uses running statistics that follow the online ones (EMAN, arXiv 2101.08482); "
    "shuffle: the momentum branch sees pictures permuted over processes (MoCo, arXiv 1911.05722)"
)


class _Joint(torch.autograd.Function):
    """Normalisation by statistics summed over the processes of one virtual device.

    Two passes (mean, then squared deviations): one pass loses the digits that a small variance needs.
    Returns the output, the mean and the biased variance, (C,) each; the statistics carry no gradient.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, devices: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        axes = [0, *range(2, x.dim())]
        shape = [1, -1, *[1] * (x.dim() - 2)]
        wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        rows = wide.new_full((1,), wide.numel() / wide.shape[1])
        total, count = _over_device(torch.cat([wide.sum(axes), rows]), devices).split([wide.shape[1], 1])
        mean = total / count
        centred = wide - mean.view(shape)
        var = _over_device(centred.square().sum(axes), devices) / count
        scale = torch.rsqrt(var + eps)
        out = centred * (scale * weight).view(shape) + bias.view(shape)
        ctx.save_for_backward(x, weight, mean, scale, count)
        ctx.devices = devices
        ctx.mark_non_differentiable(mean, var, count)
        return out.to(x.dtype), mean, var, count

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, scale, count = ctx.saved_tensors
        axes = [0, *range(2, x.dim())]
        shape = [1, -1, *[1] * (x.dim() - 2)]
        grad = grads[0].to(mean.dtype)
        unit = (x.to(mean.dtype) - mean.view(shape)) * scale.view(shape)
        grad_bias = grad.sum(axes)
        grad_weight = (grad * unit).sum(axes)
        both = _over_device(torch.cat([grad_bias, grad_weight]), ctx.devices) / count
        shift, tilt = both.chunk(2)
        inner = grad - shift.view(shape) - unit * tilt.view(shape)
        return (inner * (scale * weight).view(shape)).to(x.dtype), grad_weight, grad_bias, None, None


def _over_device(local: Tensor, devices: int) -> Tensor:
    """The sum over the processes that make up this process's virtual device: one row a device, all summed."""
    rows = local.new_zeros(devices, local.shape[0])
    mine = parallel.rank() * devices // parallel.world()
    rows[mine] = local
    return parallel.plain_sum(rows)[mine]


class _Chosen(nn.modules.batchnorm._BatchNorm):
    """What both dimensions share. `devices`: see the module."""

    devices: int = 0

    def forward(self, input: Tensor) -> Tensor:
        world = parallel.world()
        devices = self.devices or world
        if not self.training or devices == world == 1:
            return super().forward(input)
        if devices % world == 0:
            return self._split(input, devices // world)
        if world % devices == 0:
            return self._joint(input, devices)
        raise ValueError(
            f"batch norm over {devices} virtual devices cannot be divided among {world} processes: "
            "one must be a multiple of the other"
        )

    def _split(self, input: Tensor, groups: int) -> Tensor:
        """Each of `groups` equal parts of this process's batch by its own statistics."""
        rows, channels = input.shape[:2]
        if rows % groups:
            raise ValueError(f"{rows} rows of batch norm cannot be split among {groups} virtual devices")
        # Copies, one a group: autograd keeps what batch_norm is given, and the running ones change below.
        means = None if self.running_mean is None else self.running_mean.repeat(groups)
        variances = None if self.running_var is None else self.running_var.repeat(groups)
        weight, bias = (value.repeat(groups) for value in self._affine(input))
        rate = self._rate()
        if groups == 1:
            out = F.batch_norm(input, means, variances, weight, bias, True, rate, self.eps)
        else:
            # (G b, C, ...) to (b, G C, ...): a group's channels become channels of their own.
            wide = input.unflatten(0, (groups, rows // groups)).transpose(0, 1).flatten(1, 2)
            out = F.batch_norm(wide, means, variances, weight, bias, True, rate, self.eps)
            out = out.unflatten(1, (groups, channels)).transpose(0, 1).flatten(0, 1)
        if means is not None and variances is not None:
            parts = means.view(groups, channels), variances.view(groups, channels)
            self._settle(parts[0].mean(0), parts[1].mean(0))
        return out

    def _settle(self, mean: Tensor, var: Tensor, differ: bool = True) -> None:
        """Running statistics become the mean over processes: what is evaluated, saved, or followed by a
        teacher is the same in each."""
        assert self.running_mean is not None
        assert self.running_var is not None
        if differ:
            mean, var = parallel.plain_mean(torch.stack([mean, var]))
        self.running_mean.copy_(mean)
        self.running_var.copy_(var)

    def _joint(self, input: Tensor, devices: int) -> Tensor:
        out, mean, var, count = _Joint.apply(input, *self._affine(input), self.eps, devices)
        rate = self._rate()
        if self.running_mean is not None and self.running_var is not None:
            unbiased = (var * count / (count - 1)).to(self.running_var.dtype)
            new = self.running_mean.lerp(mean.to(self.running_mean.dtype), rate)
            self._settle(new, self.running_var.lerp(unbiased, rate), devices > 1)
        return out

    def _affine(self, input: Tensor) -> tuple[Tensor, Tensor]:
        """Gain and shift; 1 and 0 where the layer has none (after MCL's and SimSiam's projectors)."""
        if self.weight is not None:
            return self.weight, self.bias
        like = input if self.running_mean is None else self.running_mean
        blank = like.new_zeros(self.num_features)
        return blank + 1, blank

    def _rate(self) -> float:
        """The share of the new statistics in the running ones; counts the batch."""
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        if self.momentum is None:
            return 1.0 / float(self.num_batches_tracked)  # type: ignore[arg-type]
        return self.momentum


class BatchNorm1d(_Chosen):
    """(N, C) or (N, C, L)."""

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() not in (2, 3):
            raise ValueError(f"BatchNorm1d takes 2 or 3 axes, not {input.dim()}")


class BatchNorm2d(_Chosen):
    """(N, C, H, W)."""

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() != 4:
            raise ValueError(f"BatchNorm2d takes 4 axes, not {input.dim()}")


def convert(module: nn.Module, kind: Kind = "per_device", devices: int = 0) -> nn.Module:
    """`module` with every batch norm (torch's or ours) made ours, its parameters and statistics kept.

    devices: virtual devices (see the module); kind `sync` is one device. What `eman` and `shuffle` do is the
    matter of `models.memory.Teacher`: for the layers themselves they are `per_device`.
    """
    devices = 1 if kind == "sync" else devices
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.modules.batchnorm._BatchNorm):
                setattr(parent, name, _converted(child, devices))
    return _converted(module, devices) if isinstance(module, nn.modules.batchnorm._BatchNorm) else module


def plain(module: nn.Module) -> nn.Module:
    """`module` with every batch norm of ours made torch's, its parameters and statistics kept: for training
    that one process does alone while others have gone on, where a collective would wait for ever."""
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if isinstance(child, _Chosen):
                cls = nn.BatchNorm1d if isinstance(child, BatchNorm1d) else nn.BatchNorm2d
                setattr(parent, name, _like(cls, child))
    return module


def _converted(old: nn.modules.batchnorm._BatchNorm, devices: int) -> _Chosen:
    if isinstance(old, _Chosen):
        old.devices = devices
        return old
    if not isinstance(old, nn.BatchNorm1d | nn.BatchNorm2d):
        raise TypeError(f"only BatchNorm1d and BatchNorm2d are known, not {type(old).__name__}")
    cls = BatchNorm1d if isinstance(old, nn.BatchNorm1d) else BatchNorm2d
    new = _like(cls, old)
    new.devices = devices
    return new


def _like(cls: type[Norm], old: nn.modules.batchnorm._BatchNorm) -> Norm:
    new = cls(old.num_features, old.eps, old.momentum, old.affine, old.track_running_stats)
    new.weight, new.bias = old.weight, old.bias
    new.running_mean, new.running_var = old.running_mean, old.running_var
    new.num_batches_tracked = old.num_batches_tracked
    return new.train(old.training)

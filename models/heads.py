"""Heads: the small networks behind a backbone that losses are computed on, and are thrown away afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

from models.norms import BatchNorm1d

Init = Literal["fan_out", "small", "torch"]


class MLP(nn.Sequential):
    """Linear - batch norm - ReLU - Linear on the last axis, (..., inputs) to (..., outputs).

    All leading axes are one batch for the norm: of tokens (B, T, D) its statistics are over B T rows (LEWEL's
    pooled vector and places share them so). Nothing stands after the last layer. The linear layers are 0 and
    3, without `norm` 0 and 2.

    init: fan_out, kaiming normal (LEWEL's, BYOL's projector); small, N(0, 0.01^2) (BYOL's predictor); torch,
    uniform (MoCo).
    """

    def __init__(
        self,
        inputs: int,
        hidden: int,
        outputs: int,
        *,
        norm: bool = True,
        bias: bool = False,
        init: Init = "fan_out",
    ) -> None:
        middle: list[nn.Module] = [BatchNorm1d(hidden)] if norm else []
        super().__init__(
            nn.Linear(inputs, hidden, bias=bias), *middle, nn.ReLU(), nn.Linear(hidden, outputs, bias=bias)
        )
        initialise(self, init)

    def forward(self, input: Tensor) -> Tensor:
        rows = super().forward(input.reshape(-1, input.shape[-1]))
        return rows.unflatten(0, input.shape[:-1])


def initialise(module: nn.Module, init: Init) -> None:
    """The weights of every Linear in `module`; biases become 0. `torch` leaves all as constructed."""
    for layer in module.modules():
        if not isinstance(layer, nn.Linear) or init == "torch":
            continue
        if init == "fan_out":
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        else:
            nn.init.normal_(layer.weight, std=0.01)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def projector(widths: Sequence[int], *, last_norm: bool = False) -> nn.Sequential:
    """Bias-free linear layers from widths[0] to widths[-1], batch norm and ReLU between them, and batch norm
    without gain at the end if asked for: the expanders of SimCLR, SimSiam, Barlow Twins and VICReg."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths[:-1]):
        layers += [nn.Linear(inputs, outputs, bias=False), BatchNorm1d(outputs), nn.ReLU()]
    layers.append(nn.Linear(widths[-2], widths[-1], bias=False))
    if last_norm:
        layers.append(BatchNorm1d(widths[-1], affine=False))
    return nn.Sequential(*layers)

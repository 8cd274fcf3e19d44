"""DINO's head: an MLP to a small sphere, then prototypes with normalised rows (https://arxiv.org/abs/2104.14294)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, normalize


class Prototypes(nn.Module):
    """Weight-normalised linear layer without bias: row r is weight_g[r] * weight_v[r] / |weight_v[r]|.

    The gains are (K, 1), two-dimensional, so the papers' rule decays them when they are trained.
    """

    def __init__(self, dim: int, prototypes: int, fixed_norm: bool) -> None:
        super().__init__()
        self.weight_g = nn.Parameter(torch.ones(prototypes, 1), requires_grad=not fixed_norm)
        self.weight_v = nn.Parameter(torch.empty(prototypes, dim))
        nn.init.uniform_(self.weight_v, -(dim**-0.5), dim**-0.5)  # what a Linear starts from

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight_v * (self.weight_g / self.weight_v.norm(dim=1, keepdim=True))
        return linear(x, weight)


class DinoHead(nn.Module):
    """(N, dim) -> logits (N, K): (Linear, [norm,] GELU) x (layers - 1), Linear, unit length, prototypes.

    prototypes: K; None gives a head that only projects.
    """

    def __init__(
        self,
        dim: int,
        prototypes: int | None,
        hidden: int = 2048,
        bottleneck: int = 256,
        layers: int = 3,
        fixed_norm: bool = False,
        norm: Callable[[int], nn.Module] | None = None,
    ) -> None:
        super().__init__()
        mlp: list[nn.Module] = []
        width = dim
        for _ in range(layers - 1):
            mlp.append(nn.Linear(width, hidden, bias=True))
            if norm is not None:
                mlp.append(norm(hidden))
            mlp.append(nn.GELU())
            width = hidden
        mlp.append(nn.Linear(width, bottleneck))
        self.mlp = nn.Sequential(*mlp)
        for layer in mlp:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)
        if prototypes is not None:
            self.last_layer = Prototypes(bottleneck, prototypes, fixed_norm)

    def project(self, x: Tensor) -> Tensor:
        """(..., dim) -> points on the bottleneck's unit sphere (..., bottleneck)."""
        projected: Tensor = self.mlp(x)
        # eps: in half precision 1e-12 is zero
        return normalize(projected, dim=-1, eps=1e-6 if projected.dtype == torch.float16 else 1e-12)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.last_layer(self.project(x))
        return logits

"""What the transformer backbones share: drop-path, the MLP, attention, and token maps."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import interpolate, scaled_dot_product_attention

LAYER_NORM_EPS = 1e-6


class DropPath(nn.Module):
    """Drops the residual branch of a sample with probability `rate`, in training (stochastic depth).

    A teacher has rate 0 (`without_drop_path`): its answer must not be random.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if self.rate == 0.0 or not self.training:
            return x
        keep = 1 - self.rate
        mask = x.new_empty((x.shape[0],) + (1,) * (x.dim() - 1)).bernoulli_(keep)
        return x * (mask / keep)


def without_drop_path(module: nn.Module) -> nn.Module:
    """The same module with every drop-path rate 0, in place."""
    for part in module.modules():
        if isinstance(part, DropPath):
            part.rate = 0.0
    return module


def drop_path_rates(last: float, depths: tuple[int, ...]) -> list[list[float]]:
    """Rates rising linearly over all blocks from 0 to `last`, one list a stage."""
    total, start, rates = sum(depths), 0, []
    for depth in depths:
        rates.append([last * i / max(1, total - 1) for i in range(start, start + depth)])
        start += depth
    return rates


class Mlp(nn.Module):
    """Linear, GELU, Linear on the last axis."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(self.act(self.fc1(x)))
        return out


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int, scale: float, bias: Tensor | None = None) -> Tensor:
    """Multi-head attention. q (N, L, C), k and v (N, M, C), bias broadcastable to (N, heads, L, M)."""

    def split(x: Tensor) -> Tensor:
        return x.unflatten(-1, (heads, -1)).transpose(1, 2)  # (N, heads, L, C / heads)

    bias = None if bias is None else bias.to(q.dtype)
    out = scaled_dot_product_attention(split(q), split(k), split(v), attn_mask=bias, scale=scale)
    return out.transpose(1, 2).flatten(2)


def init_transformer(module: nn.Module) -> None:
    """Linear trunc-normal 0.02 and bias 0, LayerNorm (1, 0): for `Module.apply`."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.LayerNorm):
        nn.init.ones_(module.weight)
        nn.init.zeros_(module.bias)


def resize_positions(positions: Tensor, height: int, width: int) -> Tensor:
    """Position embeddings (1, C, H0, W0) resampled bicubically to (1, C, height, width)."""
    if positions.shape[-2:] == (height, width):
        return positions
    return interpolate(positions, size=(height, width), mode="bicubic", align_corners=False, antialias=False)


def to_map(tokens: Tensor, height: int, width: int) -> Tensor:
    """(B, H * W, C) or (B, H, W, C) -> (B, C, H, W)."""
    if tokens.dim() == 3:
        tokens = tokens.unflatten(1, (height, width))
    return tokens.permute(0, 3, 1, 2)

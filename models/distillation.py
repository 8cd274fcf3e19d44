"""The softmax cross-entropy between weighted places, without a copy of the targets for every place.

    L_b = sum_st w_bst CE(softmax((t_bt - c) / tau_t), log-softmax(s_bs / tau_s))

is DINO's loss when the places are views, and EsViT's and GLSD's region loss when they are tokens.
Written out, L_b = sum_s r_s lse_s - sum_st w_st p_t . z_s with r_s = sum_t w_st: one product of logits
with logits. K is 65,536 in the papers, so a tensor (B, S, K) is what a step's memory consists of: here
the two given ones are kept for backward, and softmaxes live for a few pictures at a time.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

CHUNK = 2**25  # elements of a (pictures, places, K) block that is held in float32 at one time


def _pictures(student: Tensor, teacher: Tensor) -> int:
    """How many pictures a chunk holds."""
    return max(1, CHUNK // max(1, (student.shape[1] + teacher.shape[1]) * student.shape[2]))


class _WeightedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        student: Tensor,
        teacher: Tensor,
        weights: Tensor,
        centre: Tensor,
        tau_s: float,
        tau_t: float,
    ) -> tuple[Tensor, Tensor]:
        wide = torch.promote_types(student.dtype, torch.float32)
        weights, centre = weights.to(wide), centre.to(wide)
        losses, entropies = [], []
        with torch.autocast(student.device.type, enabled=False):
            for start in range(0, len(student), step := _pictures(student, teacher)):
                part = slice(start, start + step)
                z = student[part].to(wide) / tau_s  # (b, S, K)
                log_p = torch.log_softmax((teacher[part].to(wide) - centre) / tau_t, dim=-1)  # (b, T, K)
                p = log_p.exp()
                w = weights[part]
                agreement = (w * torch.bmm(z, p.transpose(1, 2))).sum((1, 2))
                losses.append((w.sum(-1) * z.logsumexp(-1)).sum(-1) - agreement)
                entropies.append(-(p * log_p).sum(-1))
        entropy = torch.cat(entropies)
        ctx.save_for_backward(student, teacher, weights, centre)
        ctx.temperatures = (tau_s, tau_t)
        ctx.mark_non_differentiable(entropy)
        return torch.cat(losses), entropy

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        student, teacher, weights, centre = ctx.saved_tensors
        tau_s, tau_t = ctx.temperatures
        wide = weights.dtype
        out = torch.empty_like(student)
        with torch.autocast(student.device.type, enabled=False):
            for start in range(0, len(student), step := _pictures(student, teacher)):
                part = slice(start, start + step)
                p = torch.softmax((teacher[part].to(wide) - centre) / tau_t, dim=-1)
                w = weights[part] * (grad[part].to(wide) / tau_s)[:, None, None]
                slope = torch.softmax(student[part].to(wide) / tau_s, dim=-1).mul_(w.sum(-1, keepdim=True))
                out[part] = slope.baddbmm_(w, p, alpha=-1)
        return out, None, None, None, None, None


def weighted_cross_entropy(
    student: Tensor, teacher: Tensor, weights: Tensor, centre: Tensor, tau_s: float, tau_t: float
) -> tuple[Tensor, Tensor]:
    """The loss of every picture (B,), and the entropy of every teacher place (B, T) in nats, detached.

    student (B, S, K) and teacher (B, T, K) logits, weights (B, S, T), centre (K,); gradient flows to the
    student only. Half-precision logits are widened a chunk at a time.
    """
    loss, entropy = _WeightedCrossEntropy.apply(
        student, teacher.detach(), weights.detach(), centre.detach(), tau_s, tau_t
    )
    return loss, entropy


def weighted_squared_error(student: Tensor, teacher: Tensor, weights: Tensor) -> Tensor:
    """sum_st w_st |s_s - t_t|^2 of every picture (B,).

    student (B, S, D), teacher (B, T, D), weights (B, S, T); gradient flows to the student only.
    """
    teacher, weights = teacher.detach(), weights.detach()
    squares = weights.sum(-1) * student.square().sum(-1)  # (B, S)
    others = weights.sum(-2) * teacher.square().sum(-1)  # (B, T)
    agreement = (weights * (student @ teacher.transpose(-2, -1))).sum((-2, -1))
    return squares.sum(-1) + others.sum(-1) - 2 * agreement

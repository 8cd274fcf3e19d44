"""Optimisers and their schedules: SGD, LARS and AdamW with exactly the papers' arithmetic.

They are written here rather than taken from torch.optim for two reasons: LARS (learning rate inside the
momentum buffer) is not there, and a process's first torch.optim optimiser imports torch._dynamo, some 3 s.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from models.backbones.backbone import Backbone
from models.method import Moment, cosine
from models.spec import Spec

Rule = Literal["norm_and_bias", "backbone_norm_and_bias", "named_norm_and_bias", "one_dimensional", "none"]


class _Common(Spec):
    lr: float = Field(..., gt=0, description="peak learning rate, for the whole batch")
    lr_end: float = Field(0.0, ge=0, description="learning rate at the end of the cosine")
    weight_decay: float = Field(..., ge=0, description="weight decay of parameters that are not excluded")
    weight_decay_end: float | None = Field(
        None, ge=0, description="weight decay at the end of a cosine over all steps; null: constant"
    )
    exclude: Rule = Field(
        ...,
        description="parameters without weight decay and LARS adaptation. norm_and_bias: norms and biases; "
        "backbone_norm_and_bias: as in LEWEL's SyncBN runs, the scales of the heads' norms are kept; "
        "named_norm_and_bias: as in MCL's, only norms called bn or gn, not those of MLPs and shortcuts; "
        "one_dimensional: biases and vectors (DINO); none",
    )
    warmup: float = Field(0.0, ge=0, description="epochs of linear warm-up, stepwise")
    warmup_start: Literal["step", "zero", "factor"] = Field(
        "step",
        description="learning rate of the first step: a step of the ramp (LEWEL, BYOL), zero (DINO), or "
        "factor: the ramp runs from warmup_ratio to 1 and multiplies a schedule that starts with it (MCL)",
    )
    warmup_ratio: float = Field(1e-4, ge=0, le=1, description="where the ramp of warmup_start factor begins")
    schedule: Literal["cosine", "cosine_epoch", "step", "constant"] = Field(
        "cosine", description="after warm-up: cosine a step or an epoch, drops at `milestones`, or constant"
    )
    milestones: tuple[int, ...] = Field(
        (), description="epochs at which `step` multiplies by gamma", strict=False
    )
    gamma: float = Field(0.1, gt=0, lt=1, description="factor at each milestone")
    clip: Literal["none", "whole", "tensor"] = Field(
        "none", description="clip the norm of all gradients together, or of each tensor alone (DINO)"
    )
    clip_norm: float = Field(3.0, gt=0, description="the norm that `clip` allows")

    @model_validator(mode="after")
    def _consistent(self) -> _Common:
        if bool(self.milestones) != (self.schedule == "step"):
            raise ValueError(f"schedule {self.schedule} does not go with milestones {list(self.milestones)}")
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError(f"milestones {list(self.milestones)} must rise")
        if self.lr_end > self.lr:
            raise ValueError(f"lr_end {self.lr_end} is above lr {self.lr}")
        return self


class SGDSpec(_Common):
    """Stochastic gradient descent with momentum; MoCo's numbers for a batch of 256."""

    name: Literal["sgd"] = Field("sgd", description="SGD with momentum")
    lr: float = Field(0.06, gt=0, description="peak learning rate, for the whole batch")
    weight_decay: float = Field(1e-4, ge=0, description="weight decay of parameters that are not excluded")
    exclude: Rule = Field("none", description="parameters without weight decay; see LARS")
    momentum: float = Field(0.9, ge=0, lt=1, description="momentum")
    nesterov: bool = Field(False, description="look ahead")
    schedule: Literal["cosine", "cosine_epoch", "step", "constant"] = Field(
        "cosine_epoch",
        description="after warm-up: cosine a step or an epoch, drops at `milestones`, or constant",
    )


class LARSSpec(_Common):
    """Layer-wise adaptive rates (You et al. 2017) as in BYOL, LEWEL_B and MCL; numbers for a batch of 512."""

    name: Literal["lars"] = Field("lars", description="layer-wise adaptive rates")
    lr: float = Field(1.8, gt=0, description="peak learning rate, for the whole batch")
    weight_decay: float = Field(1e-6, ge=0, description="weight decay of parameters that are not excluded")
    exclude: Rule = Field("norm_and_bias", description="parameters without weight decay and adaptation")
    momentum: float = Field(0.9, ge=0, lt=1, description="momentum")
    nesterov: bool = Field(False, description="look ahead")
    eta: float = Field(1e-3, gt=0, description="trust coefficient")
    form: Literal["gradient", "update"] = Field(
        "gradient",
        description="gradient: adapts to |g| + l |w|, learning rate inside the momentum buffer (LEWEL, BYOL, "
        "MCL); update: adapts to |g + l w|, learning rate outside (DINO, Barlow Twins, MoCo v3)",
    )
    excluded_lr: float = Field(
        1.0, ge=0, description="factor on excluded parameters' learning rate; Barlow Twins 0.0048/0.2"
    )
    warmup: float = Field(10.0, ge=0, description="epochs of linear warm-up, stepwise")
    schedule: Literal["cosine", "cosine_epoch", "step", "constant"] = Field(
        "cosine_epoch",
        description="after warm-up: cosine a step or an epoch, drops at `milestones`, or constant",
    )


class AdamWSpec(_Common):
    """AdamW as in DINO, EsViT and GLSD; numbers for a batch of 256 (lr is proportional to the batch)."""

    name: Literal["adamw"] = Field("adamw", description="Adam with decoupled weight decay")
    lr: float = Field(5e-4, gt=0, description="peak learning rate, for the whole batch")
    lr_end: float = Field(1e-6, ge=0, description="learning rate at the end of the cosine")
    weight_decay: float = Field(0.04, ge=0, description="weight decay of parameters that are not excluded")
    weight_decay_end: float | None = Field(
        0.4, ge=0, description="weight decay at the end of a cosine over all steps; null: constant"
    )
    exclude: Rule = Field("one_dimensional", description="parameters without weight decay")
    beta1: float = Field(0.9, ge=0, lt=1, description="decay of the first moment")
    beta2: float = Field(0.999, ge=0, lt=1, description="decay of the second moment")
    eps: float = Field(1e-8, gt=0, description="added to the root of the second moment")
    warmup: float = Field(10.0, ge=0, description="epochs of linear warm-up, stepwise")
    warmup_start: Literal["step", "zero", "factor"] = Field(
        "zero", description="learning rate of the first step; see the other optimisers"
    )
    clip: Literal["none", "whole", "tensor"] = Field(
        "tensor", description="clip the norm of all gradients together, or of each tensor alone (DINO)"
    )


OptimSpec = Annotated[SGDSpec | LARSSpec | AdamWSpec, Field(discriminator="name")]


def lr_at(spec: OptimSpec, moment: Moment) -> float:
    """The learning rate of the step that `moment` opens (methods.md 1.6: per-step and per-epoch cosines)."""
    ramp = round(spec.warmup * moment.per_epoch)
    if spec.warmup_start == "factor" and ramp:
        risen = min(moment.step / ramp, 1.0)
        whole = spec.model_copy(update={"warmup": 0.0})
        return lr_at(whole, moment) * (1 - (1 - risen) * (1 - spec.warmup_ratio))
    if moment.step < ramp:
        if spec.warmup_start == "zero":
            return spec.lr * moment.step / max(ramp - 1, 1)
        return spec.lr * (moment.step + 1) / ramp
    if spec.schedule == "constant":
        return spec.lr
    if spec.schedule == "step":
        return spec.lr * spec.gamma ** sum(moment.epoch >= epoch for epoch in spec.milestones)
    if spec.schedule == "cosine":
        return cosine(spec.lr, spec.lr_end, (moment.step - ramp) / (moment.total - ramp))
    # A warm-up of broken epochs leaves the first whole epoch after it at a progress above 0, never below.
    progress = max(moment.epoch - spec.warmup, 0.0) / (moment.epochs - spec.warmup)
    return cosine(spec.lr, spec.lr_end, progress)


def weight_decay_at(spec: OptimSpec, moment: Moment) -> float:
    """The weight decay of the step that `moment` opens."""
    if spec.weight_decay_end is None:
        return spec.weight_decay
    return cosine(spec.weight_decay, spec.weight_decay_end, moment.t)


class Optimizer:
    """Parameter groups and their state; what torch.optim.Optimizer's users (GradScaler, checkpoints) rely on.

    Group 0 is decayed (and adapted by LARS), group 1 (`excluded`) is not.
    """

    def __init__(self, adapted: Iterable[Tensor], excluded: Iterable[Tensor], spec: OptimSpec) -> None:
        self.spec = spec
        self.param_groups: list[dict[str, Any]] = [
            {"params": list(adapted), "lr": spec.lr, "weight_decay": spec.weight_decay, "excluded": False},
            {"params": list(excluded), "lr": spec.lr, "weight_decay": 0.0, "excluded": True},
        ]
        self.state: dict[Tensor, dict[str, Any]] = {}

    @property
    def parameters(self) -> list[Tensor]:
        return [p for group in self.param_groups for p in group["params"]]

    def zero_grad(self, set_to_none: bool = True) -> None:
        for p in self.parameters:
            if set_to_none:
                p.grad = None
            elif p.grad is not None:
                p.grad.zero_()

    @torch.no_grad()
    def step(self) -> None:
        """One step on the parameters that have a gradient."""
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if params:
                self._step(params, [p.grad for p in params], group)

    def _step(self, params: list[Tensor], grads: list[Tensor], group: dict[str, Any]) -> None:
        raise NotImplementedError

    def _momentum(self, params: list[Tensor], updates: list[Tensor]) -> list[Tensor]:
        """buf <- m buf + u, the first time buf = u; the buffers, or u + m buf with Nesterov."""
        m = self.spec.momentum  # type: ignore[union-attr]
        for p, u in zip(params, updates):
            if p not in self.state:
                self.state[p] = {"momentum": u.clone()}
            else:
                self.state[p]["momentum"].mul_(m).add_(u)
        buffers = [self.state[p]["momentum"] for p in params]
        if self.spec.nesterov:  # type: ignore[union-attr]
            return list(torch._foreach_add(updates, buffers, alpha=m))
        return buffers

    def state_dict(self) -> dict[str, Any]:
        """The state by the parameter's place in `parameters`, and the groups' rates."""
        return {
            "state": {i: dict(self.state[p]) for i, p in enumerate(self.parameters) if p in self.state},
            "rates": [(group["lr"], group["weight_decay"]) for group in self.param_groups],
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        parameters = self.parameters
        self.state = {}
        for i, entry in saved["state"].items():
            p = parameters[i]
            self.state[p] = {
                key: value.to(p.device, copy=True) if isinstance(value, Tensor) else value
                for key, value in entry.items()
            }
        for group, (lr, weight_decay) in zip(self.param_groups, saved["rates"]):
            group["lr"], group["weight_decay"] = lr, weight_decay


class SGD(Optimizer):
    """buf <- m buf + g + l w; w <- w - r buf: the learning rate stands outside the buffer."""

    def _step(self, params: list[Tensor], grads: list[Tensor], group: dict[str, Any]) -> None:
        updates = list(torch._foreach_add(grads, params, alpha=group["weight_decay"]))
        if self.spec.momentum:  # type: ignore[union-attr]
            updates = self._momentum(params, updates)
        torch._foreach_add_(params, updates, alpha=-group["lr"])


class LARS(Optimizer):
    """local = eta |w| / (|g| + l |w|); u = (g + l w) local r; buf <- m buf + u; w <- w - buf.

    local is 1 for excluded parameters. The learning rate stands inside the buffer. No clipping of local; a
    weight at zero has local 0 and never moves, so nothing that is adapted may start at zero.
    Form `update`: local = eta |w| / |g + l w|, 1 where either is 0; buf <- m buf + u; w <- w - r buf.
    """

    def _step(self, params: list[Tensor], grads: list[Tensor], group: dict[str, Any]) -> None:
        decay, lr = group["weight_decay"], group["lr"]
        updates = list(torch._foreach_add(grads, params, alpha=decay))
        if self.spec.form == "update":  # type: ignore[union-attr]
            if not group["excluded"]:
                for update, norm, length in zip(
                    updates, torch._foreach_norm(params), torch._foreach_norm(updates)
                ):
                    local = self.spec.eta * norm / length  # type: ignore[union-attr]
                    update.mul_(torch.where((norm > 0) & (length > 0), local, 1.0))
            torch._foreach_add_(params, self._momentum(params, updates), alpha=-lr)
            return
        if group["excluded"]:
            torch._foreach_mul_(updates, lr)
        else:
            norms = torch._foreach_norm(params)
            below = torch._foreach_add(torch._foreach_norm(grads), norms, alpha=decay)
            for update, norm, divisor in zip(updates, norms, below):
                # 0 / 0: a weight and a gradient of zero stay where they are.
                local = torch.where(divisor > 0, self.spec.eta * norm / divisor, 0.0)  # type: ignore[union-attr]
                update.mul_(local * lr)
        torch._foreach_add_(params, self._momentum(params, updates), alpha=-1)


class AdamW(Optimizer):
    """Adam with decoupled weight decay (arXiv 1711.05101); bias-corrected moments, eps outside the root."""

    def _step(self, params: list[Tensor], grads: list[Tensor], group: dict[str, Any]) -> None:
        spec, lr = self.spec, group["lr"]
        assert isinstance(spec, AdamWSpec)
        for p in params:
            if p not in self.state:
                self.state[p] = {"step": 0, "mean": torch.zeros_like(p), "square": torch.zeros_like(p)}
        states = [self.state[p] for p in params]
        for state in states:
            state["step"] += 1
        means, squares = [s["mean"] for s in states], [s["square"] for s in states]
        torch._foreach_lerp_(means, grads, 1 - spec.beta1)
        torch._foreach_mul_(squares, spec.beta2)
        torch._foreach_addcmul_(squares, grads, grads, 1 - spec.beta2)
        divisors = torch._foreach_sqrt(squares)
        torch._foreach_div_(divisors, [math.sqrt(1 - spec.beta2 ** s["step"]) for s in states])
        torch._foreach_add_(divisors, spec.eps)
        torch._foreach_mul_(params, 1 - lr * group["weight_decay"])
        sizes = [-lr / (1 - spec.beta1 ** s["step"]) for s in states]
        torch._foreach_addcdiv_(params, means, divisors, sizes)


OPTIMIZERS: dict[str, type[Optimizer]] = {"sgd": SGD, "lars": LARS, "adamw": AdamW}


def excluded(module: nn.Module, rule: Rule) -> set[str]:
    """The names of the trainable parameters of `module` that `rule` excludes."""
    names: set[str] = set()
    if rule == "none":
        return names
    in_backbone = {id(m) for b in module.modules() if isinstance(b, Backbone) for m in b.modules()}
    for path, owner in module.named_modules():
        norm = isinstance(owner, nn.modules.batchnorm._NormBase | nn.LayerNorm | nn.GroupNorm)
        if rule == "backbone_norm_and_bias":
            norm = norm and id(owner) in in_backbone
        elif rule == "named_norm_and_bias":
            norm = re.fullmatch(r"(bn|gn)\d*", path.rsplit(".", 1)[-1]) is not None
        for name, p in owner.named_parameters(prefix=path, recurse=False):
            vector = rule == "one_dimensional" and p.dim() <= 1
            if p.requires_grad and (norm or vector or name.rsplit(".", 1)[-1] == "bias"):
                names.add(name)
    return names


def build(method: nn.Module, spec: OptimSpec) -> Optimizer:
    """The optimiser of every trainable parameter of `method`, in two groups: decayed and excluded."""
    out = excluded(method, spec.exclude)
    trainable = [(name, p) for name, p in method.named_parameters() if p.requires_grad]
    return OPTIMIZERS[spec.name](
        [p for name, p in trainable if name not in out], [p for name, p in trainable if name in out], spec
    )


def apply(
    optimizer: Optimizer, spec: OptimSpec, moment: Moment, step: Callable[[], object] | None = None
) -> Tensor:
    """Set this step's rates, clip the gradients as `spec` says, and step. Returns the gradients' norm before
    clipping, of all tensors together. Gradients must be unscaled. step: what steps the optimiser, where a
    loss scaler has a say in it."""
    for group in optimizer.param_groups:
        group["lr"] = lr_at(spec, moment)
        if group["excluded"] and isinstance(spec, LARSSpec):
            group["lr"] *= spec.excluded_lr
        group["weight_decay"] = 0.0 if group["excluded"] else weight_decay_at(spec, moment)
    norm = clip(optimizer.parameters, spec)
    (step or optimizer.step)()
    return norm


@torch.no_grad()
def clip(parameters: list[Tensor], spec: OptimSpec) -> Tensor:
    """Scale gradients whose norm is above `clip_norm` down to it; the norm of all together before that.

    The divisor is norm + 1e-6, as in torch and in DINO.
    """
    grads = [p.grad for p in parameters if p.grad is not None]
    if not grads:
        return torch.zeros(())
    norms = torch._foreach_norm(grads)
    whole = torch.linalg.vector_norm(torch.stack(list(norms)))
    if spec.clip == "whole":
        torch._foreach_mul_(grads, (spec.clip_norm / (whole + 1e-6)).clamp(max=1.0))
    elif spec.clip == "tensor":
        for grad, norm in zip(grads, norms):
            grad.mul_((spec.clip_norm / (norm + 1e-6)).clamp(max=1.0))
    return whole

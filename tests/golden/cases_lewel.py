"""What the authors' LEWEL and LARS code returns, reproduced with this project's parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models import backbones, methods
from models.align import AlignedHead, AlignSpec
from models.backbones.backbone import Backbone, Features
from models.memory import momentum_at
from models.method import Batch, Moment
from models.methods.lewel_b import LEWELB, LEWELBSpec
from models.norms import BatchNorm1d
from study import optim

Arrays = Mapping[str, np.ndarray]
Made = dict[str, np.ndarray]


class Given(Backbone):
    """The vectors' backbone: pictures are feature maps already."""

    stride = 1

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.stage_channels = (channels,)

    def forward(self, images: Tensor) -> Features:
        return Features(images.mean((2, 3)), images)


AUTHORS = (
    ("online_net.", "online."),
    ("target_net.", "target.network."),
    ("neck.proj_obj.mlp.", "head.p."),
    ("neck.proj.mlp.", "head.g."),
    ("predictor_obj.mlp.", "predictor_aligned."),
    ("predictor.mlp.", "predictor."),
)


def ours(name: str) -> str:
    for theirs, mine in AUTHORS:
        name = name.replace(theirs, mine)
    return name


def theirs(name: str) -> str:
    for authors, mine in AUTHORS:
        name = name.replace(mine, authors)
    return name


def group(arrays: Arrays, prefix: str) -> dict[str, np.ndarray]:
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}


def load(module: nn.Module, state: Mapping[str, np.ndarray]) -> None:
    """The authors' state by their names; their 1x1 convolutions (out, in, 1) are linear layers here."""
    current = module.state_dict()
    found = {ours(k): torch.from_numpy(np.array(v)) for k, v in state.items()}
    module.load_state_dict({k: v.reshape(current[k].shape) for k, v in found.items()})


def named(values: Mapping[str, Tensor], like: Arrays, prefix: str) -> Made:
    """Our tensors under the authors' names and in their shapes, where the vector holds them."""
    made = {prefix + theirs(k): v.detach().numpy() for k, v in values.items()}
    return {k: v.reshape(like[k].shape) for k, v in made.items() if k in like}


def gradients(module: nn.Module) -> dict[str, Tensor]:
    return {k: p.grad for k, p in module.named_parameters() if p.grad is not None}


def double(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array).double()


def neck(arrays: Arrays, params: Mapping[str, Any]) -> Made:
    hyper = params["hyper"]
    spec = AlignSpec(
        dim=hyper["d"],
        channels=len(arrays["state/proj_obj.mlp.3.weight"]),
        hidden=hyper["hidden"],
        groups=hyper["h"],
        scale=hyper["scale"],
    )
    head = AlignedHead(spec, hyper["D"]).double()
    for norm in head.modules():
        if isinstance(norm, BatchNorm1d):
            norm.eps, norm.momentum = hyper["bn_eps"], hyper["bn_momentum"]
    state = {f"neck.{k}": v for k, v in group(arrays, "state/").items()}
    assert head.g is not None
    assert head.p is not None
    seen: dict[str, Tensor] = {}
    head.g.register_forward_hook(lambda _, args, out: seen.update(tokens=args[0], z=out))
    head.p.register_forward_pre_hook(lambda _, args: seen.update(y=args[0]))
    made: Made = {}
    for prefix in ("eval_", ""):
        load(_Holder(head), state)
        head.zero_grad()
        head.train(prefix == "")
        features = double(arrays["F"]).requires_grad_()
        out = head(features)
        heat = seen["z"][:, 1:].transpose(1, 2)  # (N, d, T)
        z_g, z_a = out.embedding[..., None], out.aligned.transpose(1, 2)
        ((z_g * double(arrays["R_g"])).sum() + (z_a * double(arrays["R_a"])).sum()).backward()
        values = {
            "x_pool": seen["tokens"][:, :1].transpose(1, 2),
            "z": seen["z"].transpose(1, 2),
            "heat": heat,
            "heat_l2": F.normalize(heat, dim=1),
            "maps": out.maps.unflatten(1, (spec.groups, -1)),
            "y": seen["y"].transpose(1, 2),
            "z_g": z_g,
            "z_a": z_a,
            "grad_F": features.grad,
        }
        made |= {prefix + k: v.detach().numpy() for k, v in values.items()}
    made |= _bare(gradients(_Holder(head)), arrays, "grad/")
    return made | _bare(_Holder(head).state_dict(), arrays, "state_after/")


class _Holder(nn.Module):
    """Gives a head the names that it has in a network."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head


def _bare(values: Mapping[str, Tensor], arrays: Arrays, prefix: str) -> Made:
    like = {k.replace(prefix, prefix + "neck.", 1): v for k, v in arrays.items() if k.startswith(prefix)}
    return {k.replace("neck.", "", 1): v for k, v in named(values, like, prefix).items()}


def method_of(hyper: Mapping[str, Any], **knobs: Any) -> LEWELB:
    eman = hyper["arch"] == "LEWELB_EMAN"
    spec = LEWELBSpec(
        dim=hyper["d"],
        channels=hyper.get("c"),
        hidden=hyper["hidden"],
        groups=hyper["h"],
        **{"weight": 1 - hyper["loss_weight"], **knobs},  # their weight is the global term's
        momentum=hyper.get("base_momentum", hyper.get("base_ema")),
        batch_norm="eman" if eman else "per_device",
    )
    return LEWELB(spec, lambda: Given(hyper["D"])).double().train()


def batch_of(first: Tensor, second: Tensor) -> Batch:
    return Batch([first, second], torch.zeros(2, len(first), 4), torch.full((len(first),), -1))


def loss(arrays: Arrays, params: Mapping[str, Any]) -> Made:
    hyper = params["hyper"]
    state = {"online_net." + k: v for k, v in group(arrays, "online/").items()}
    state |= {"target_net." + k: v for k, v in group(arrays, "target/").items()}
    state |= {"predictor." + k: v for k, v in group(arrays, "predictor/").items()}
    state |= {"predictor_obj." + k: v for k, v in group(arrays, "predictor_obj/").items()}
    made: Made = {}
    for letter, weight in (("g", 0.0), ("a", 1.0)):
        method = method_of(hyper, weight=weight)
        load(method, state)
        views = [double(arrays[k]).requires_grad_() for k in ("F1", "F2")]
        o1, o2 = (method.online(v) for v in views)
        t1, t2 = (method.target(v) for v in views)
        term = {"g": "global", "a": "aligned"}[letter]
        there, back = method.direction(o1, t2)[term], method.direction(o2, t1)[term]
        (there + back).backward()
        made[f"L_{letter}_12"], made[f"L_{letter}_21"] = there.detach().numpy(), back.detach().numpy()
        for i, view in enumerate(views, 1):
            assert view.grad is not None
            made[f"grad_F{i}_L{letter}"] = view.grad.numpy()
    for name, out in (("o1", o1), ("o2", o2), ("t1", t1), ("t2", t2)):
        made[f"z_{name}"] = out.embedding[..., None].detach().numpy()
        made[f"a_{name}"] = out.aligned.transpose(1, 2).detach().numpy()

    method = method_of(hyper)
    load(method, state)
    views = [double(arrays[k]).requires_grad_() for k in ("F1", "F2")]
    moment = Moment(step=hyper["cur_iter"], per_epoch=1, epochs=hyper["max_iter"])
    step = method(batch_of(*views), moment)
    step.loss.backward()
    method.update(step.memo, moment)
    spec = method.spec
    made["loss"] = step.loss.detach().numpy()
    made["momentum"] = np.array(momentum_at(spec.momentum, spec.momentum_schedule, moment))
    for i, view in enumerate(views, 1):
        assert view.grad is not None
        made[f"grad_F{i}"] = view.grad.numpy()
    made |= named(gradients(method), arrays, "grad/")
    made |= named(method.online.state_dict(), arrays, "online_after/")
    return made | named(method.target.network.state_dict(), arrays, "target_after/")


def trajectory(arrays: Arrays, params: Mapping[str, Any]) -> Made:
    hyper = params["hyper"]
    method = method_of(hyper)
    load(method, group(arrays, "init/"))
    spec = optim.LARSSpec(
        lr=hyper["base_lr"],
        weight_decay=hyper["weight_decay"],
        momentum=hyper["sgd_momentum"],
        eta=hyper["eta"],
        warmup=hyper["warmup_epochs"],
        exclude="norm_and_bias" if hyper["arch"] == "LEWELB_EMAN" else "backbone_norm_and_bias",
    )
    optimizer = optim.build(method, spec)
    told: dict[str, list[float]] = {"loss": [], "lr": [], "momentum": []}
    for i, (first, second) in enumerate(zip(arrays["V1"], arrays["V2"])):
        moment = Moment(step=i, per_epoch=hyper["iters_per_epoch"], epochs=hyper["epochs"])
        method.prepare(moment)
        step = method(batch_of(double(first), double(second)), moment)
        optimizer.zero_grad()
        step.loss.backward()
        method.trim(moment)
        optim.apply(optimizer, spec, moment)
        method.update(step.memo, moment)
        told["loss"].append(step.loss.item())
        told["lr"].append(optimizer.param_groups[0]["lr"])
        told["momentum"].append(momentum_at(method.spec.momentum, "cosine", moment))
    made = {k: np.array(v) for k, v in told.items()}
    return made | named(method.state_dict(), arrays, "final/")


def schedule(arrays: Arrays, params: Mapping[str, Any]) -> Made:
    hyper = params["hyper"]
    spec = optim.LARSSpec(lr=hyper["base_lr"], warmup=hyper["warmup_epochs"])
    per_epoch, epochs = hyper["iters_per_epoch"], hyper["epochs"]
    moments = [Moment(step=i, per_epoch=per_epoch, epochs=epochs) for i in range(per_epoch * epochs)]
    return {
        "lr": np.array([optim.lr_at(spec, m) for m in moments]),
        "momentum": np.array([momentum_at(hyper["base_ema"], "cosine", m) for m in moments]),
    }


def param_groups(arrays: Arrays, params: Mapping[str, Any]) -> Made:
    made: Made = {}
    for arch, rule in (("LEWELB", "backbone_norm_and_bias"), ("LEWELB_EMAN", "norm_and_bias")):
        for depth in ("resnet18", "resnet50"):
            kept = backbones.BACKBONES[depth][0](name=depth)  # type: ignore[call-arg]
            with torch.device("meta"):
                method = methods.build(LEWELBSpec(), lambda kept=kept: backbones.make(kept))
            out = optim.excluded(method, rule)  # type: ignore[arg-type]
            trainable = {k for k, p in method.named_parameters() if p.requires_grad}
            made[f"{arch}/{depth}_encoder/excluded"] = np.array(sorted(theirs(k) for k in out))
            made[f"{arch}/{depth}_encoder/adapted"] = np.array(sorted(theirs(k) for k in trainable - out))
    return made


def lars(arrays: Arrays, params: Mapping[str, Any]) -> Made:
    hyper = params["hyper"]
    weights = {k: double(v).clone().requires_grad_() for k, v in group(arrays, "init/").items()}
    out = set(hyper["excluded"])
    spec = optim.LARSSpec(
        momentum=hyper["momentum"],
        weight_decay=hyper["weight_decay"],
        eta=hyper["eta"],
        nesterov=hyper["nesterov"],
    )
    optimizer = optim.LARS(
        [w for k, w in weights.items() if k not in out], [w for k, w in weights.items() if k in out], spec
    )
    optimizer.param_groups[1]["weight_decay"] = hyper["excluded_weight_decay"]
    made: Made = {}
    for i, lr in enumerate(hyper["lrs"]):
        for rates in optimizer.param_groups:
            rates["lr"] = lr
        for k, w in weights.items():
            w.grad = double(arrays[f"grad{i}/{k}"])
        optimizer.step()
        for k, w in weights.items():
            made[f"after{i}/{k}"] = w.detach().numpy().copy()
            made[f"buf{i}/{k}"] = optimizer.state[w]["momentum"].numpy().copy()
    return made


CASES = {
    "lewel_neck_h1": neck,
    "lewel_neck_h2": neck,
    "lewel_neck_h4": neck,
    "lewel_neck_h4_scale05": neck,
    "lewel_b_loss_h1": loss,
    "lewel_b_loss_h2": loss,
    "lewel_b_loss_h2_c6": loss,
    "lewel_b_loss_h4": loss,
    "lewel_b_eman_loss_h4": loss,
    "lewel_b_train_trajectory": trajectory,
    "lewel_b_eman_train_trajectory": trajectory,
    "lewel_lr_ema_schedule": schedule,
    "lewel_param_groups": param_groups,
    "lars_lewel": lars,
    "lars_lewel_nesterov": lars,
}

TOLERANCES = {
    "lewel_b_train_trajectory": (1e-7, 1e-12),
    "lewel_b_eman_train_trajectory": (1e-7, 1e-12),
    "lewel_lr_ema_schedule": (1e-12, 0.0),
}

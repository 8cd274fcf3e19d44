"""What the authors' EsViT code (and DINO's) returns, reproduced with this project's parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d

from models.backbones.backbone import Backbone, Features
from models.backbones.swin import Swin, SwinSpec, build_swin
from models.dino_head import DinoHead
from models.distillation import weighted_cross_entropy
from models.matching import similarity
from models.method import Batch, Moment
from models.methods.dino import Dino, DinoSpec, Network, view_pairs
from models.norms import BatchNorm1d
from study import optim

Arrays = Mapping[str, np.ndarray]
Made = dict[str, np.ndarray]


def double(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(array)).double()


def group(arrays: Arrays, prefix: str) -> dict[str, Tensor]:
    """The arrays under prefix/, integers kept."""
    found = {
        k.removeprefix(prefix + "/"): torch.from_numpy(np.array(v)) for k, v in arrays.items() if prefix in k
    }
    chosen = {k: v for k, v in found.items() if prefix + "/" + k in arrays}
    return {k: v.double() if v.is_floating_point() else v for k, v in chosen.items()}


def crops(rows: Tensor, count: int) -> Tensor:
    """Rows crop by crop, (count * B, ...) -> (B, count, ...)."""
    return rows.unflatten(0, (count, -1)).transpose(0, 1)


def crop_tokens(rows: Tensor, pictures: int, sizes: list[int]) -> Tensor:
    """Rows crop-major, sample, token -> (B, all tokens of all crops, D)."""
    parts = rows.split([pictures * size for size in sizes])
    return torch.cat([p.unflatten(0, (pictures, -1)) for p in parts], dim=1)


def method_of(hyper: Mapping[str, Any], **knobs: Any) -> DinoSpec:
    return DinoSpec(
        out_dim=hyper["K"],
        student_temperature=hyper["student_temp"],
        centre_momentum=hyper.get("center_momentum", 0.9),
        **knobs,
    )


def heads(hyper: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "warmup_teacher_temperature": hyper["warmup_teacher_temp"],
        "teacher_temperature": hyper["teacher_temp"],
        "warmup_teacher_temperature_epochs": hyper["warmup_teacher_temp_epochs"],
    }


class Nothing(Backbone):
    """A backbone with one weight, for methods of which only the memory is used."""

    channels, stride, stage_channels = 2, 1, (2,)

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, images: Tensor) -> Features:
        dense = images[:, :2] * self.scale
        return Features(dense.mean((2, 3)), dense)


def dino_loss(arrays: Arrays, params: Mapping[str, Any]) -> Made:
    hyper = params["hyper"]
    spec = method_of(hyper, **heads(hyper))
    method = Dino(spec, lambda **_: Nothing()).double()
    count = hyper["ncrops"]
    weights = torch.zeros(1, count, 2, dtype=torch.float64)
    pairs = view_pairs(2, count)
    for a, v in pairs:
        weights[0, v, a] = 1 / len(pairs)
    weights = weights.expand(hyper["B"], -1, -1)
    made: Made = {"teacher_temp_schedule": np.array([spec.tau_t(e) for e in range(hyper["nepochs"])])}
    for s, epoch in enumerate(hyper["epochs_of_calls"]):
        student = double(arrays[f"student{s}"]).requires_grad_()
        goals = crops(double(arrays[f"teacher{s}"]), 2)
        taus = (spec.student_temperature, spec.tau_t(epoch))
        loss = weighted_cross_entropy(crops(student, count), goals, weights, method.centre, *taus)[0].mean()
        loss.backward()
        method.update({"view": goals.mean((0, 1))[None]}, Moment(epoch, 1, hyper["nepochs"]))
        made |= {f"loss{s}": loss.detach().numpy(), f"grad_student{s}": student.grad.numpy()}
        made[f"center_after{s}"] = method.centre[None].numpy().copy()
    return made | mixup(arrays, hyper, spec, weights)


def mixup(arrays: Arrays, hyper: Mapping[str, Any], spec: DinoSpec, weights: Tensor) -> Made:
    """Mixed targets are one more matrix of weights: places are then the views of all pictures together."""
    count, pictures = hyper["ncrops"], hyper["B"]
    student = double(arrays["mix_student"]).requires_grad_()
    targets = double(arrays["mix_targets"])  # (crops, rows of the teacher, rows of the student)
    blocks = [[weights[0, v, a] * targets[v].T / pictures for a in range(2)] for v in range(count)]
    w = torch.cat([torch.cat(row, dim=1) for row in blocks])[None]
    taus = (spec.student_temperature, spec.tau_t(hyper["mix_epoch"]))
    centre = double(arrays["center_before_mixup"])[0]
    loss = weighted_cross_entropy(student[None], double(arrays["mix_teacher"])[None], w, centre, *taus)[0]
    loss.sum().backward()
    return {"mix_loss": loss[0].detach().numpy(), "mix_grad_student": student.grad.numpy()}


def ddino_loss(arrays: Arrays, params: Mapping[str, Any]) -> Made:
    hyper = params["hyper"]
    pictures, count = hyper["B"], hyper["ncrops"]
    spec = method_of(hyper, matching="similarity", **heads(hyper))
    method = Dino(spec, lambda **_: Nothing()).double()
    sizes = [hyper["T_global"]] * 2 + [hyper["T_local"]] * (count - 2)
    made: Made = {}
    for s, epoch in enumerate(hyper["epochs_of_calls"]):
        moment = Moment(epoch, 1, hyper["nepochs"])
        call = {k: arrays[f"{k}{s}"] for k in ("s_cls", "s_region", "s_fea", "t_cls", "t_region", "t_fea")}
        found = pair_losses(method, call, sizes, pictures, spec.tau_t(epoch))
        made |= {f"{k}{s}": found[k] for k in ("grad_s_cls", "grad_s_region")}
        made[f"loss{s}"] = found["loss_view"] + found["loss_region"]
        for pair in (f"t{a}_s{v}" for a, v in view_pairs(2, count)):
            made[f"match{s}/{pair}"] = found[f"match/{pair}"]
            made[f"pair_region_loss{s}/{pair}"] = found[f"pair_region/{pair}"]
            made[f"pair_loss{s}/{pair}"] = found[f"pair_view/{pair}"] + 0.5 * found[f"pair_region/{pair}"]
        method.update({"view": found["view"], "region": found["region"]}, moment)
        made[f"center_after{s}"] = method.centre[None].numpy().copy()
        made[f"center_grid_after{s}"] = method.centre_dense[None].numpy().copy()
    return made


def pair_losses(
    method: Dino,
    call: Mapping[str, np.ndarray],
    sizes: list[int],
    pictures: int,
    tau_t: float,
    pair_weights: Mapping[tuple[int, int], Tensor] | None = None,
) -> dict[str, Any]:
    """The two terms of given outputs, of all pairs in one call and of every pair alone.

    pair_weights: (B, S_v, T_a) of every pair; None matches by similarity.
    """
    count, pairs = len(sizes), view_pairs(2, len(sizes))
    s_cls, s_region = (double(call[k]).requires_grad_() for k in ("s_cls", "s_region"))
    student, goals = crops(s_cls, count), crops(double(call["t_cls"]), 2)
    places = crop_tokens(s_region, pictures, sizes)
    others = crop_tokens(double(call["t_region"]), pictures, sizes[:2])
    features = crop_tokens(double(call["s_fea"]), pictures, sizes).split(sizes, dim=1)
    other_features = crop_tokens(double(call["t_fea"]), pictures, sizes[:2]).split(sizes[:2], dim=1)
    taus = (method.spec.student_temperature, tau_t)
    view_weights = torch.zeros(pictures, count, 2, dtype=torch.float64)
    region_weights = torch.zeros(pictures, sum(sizes), sum(sizes[:2]), dtype=torch.float64)
    made: dict[str, Any] = {}
    for a, v in pairs:
        w = similarity(features[v], other_features[a]) if pair_weights is None else pair_weights[a, v]
        if pair_weights is None:
            made[f"match/t{a}_s{v}"] = w.argmax(-1).numpy()
        view_weights[:, v, a] = 1 / len(pairs)
        top, left = sum(sizes[:v]), sum(sizes[:a])
        region_weights[:, top : top + sizes[v], left : left + sizes[a]] = w / (sizes[v] * len(pairs))
        view = weighted_cross_entropy(
            student[:, v : v + 1], goals[:, a : a + 1], torch.ones(pictures, 1, 1), method.centre, *taus
        )
        region = weighted_cross_entropy(
            places[:, top : top + sizes[v]],
            others[:, left : left + sizes[a]],
            w / sizes[v],
            method.centre_dense,
            *taus,
        )
        made[f"pair_view/t{a}_s{v}"] = 0.5 * view[0].detach().numpy()
        made[f"pair_region/t{a}_s{v}"] = region[0].detach().numpy()
    loss_view = 0.5 * weighted_cross_entropy(student, goals, view_weights, method.centre, *taus)[0].mean()
    loss_region = (
        0.5 * weighted_cross_entropy(places, others, region_weights, method.centre_dense, *taus)[0].mean()
    )
    (loss_view + loss_region).backward()
    made |= {"loss_view": loss_view.detach().numpy(), "loss_region": loss_region.detach().numpy()}
    made |= {"grad_s_cls": s_cls.grad.numpy(), "grad_s_region": s_region.grad.numpy()}
    return made | {"view": goals.mean((0, 1))[None], "region": others.mean((0, 1))[None]}


def dino_head(arrays: Arrays, params: Mapping[str, Any]) -> Made:
    hyper = params["hyper"]
    head = DinoHead(
        hyper["in_dim"],
        hyper["out_dim"],
        hyper["hidden_dim"],
        hyper["bottleneck_dim"],
        hyper["nlayers"],
        hyper["norm_last_layer"],
        BatchNorm1d if hyper["use_bn"] else None,
    ).double()
    head.load_state_dict(group(arrays, "state"))
    x = double(arrays["x"]).requires_grad_()
    made: Made = {"eval_y": head.eval()(x).detach().numpy()}
    y = head.train()(x)
    (y * double(arrays["R"])).sum().backward()
    made |= {"y": y.detach().numpy(), "grad_x": x.grad.numpy()}
    return made | gradients(head, "grad")


def gradients(module: nn.Module, prefix: str) -> Made:
    return {f"{prefix}/{n}": p.grad.numpy() for n, p in module.named_parameters() if p.grad is not None}


def schedules(arrays: Arrays, params: Mapping[str, Any]) -> Made:
    hyper = params["hyper"]
    epochs, steps = hyper["epochs"], hyper["iters_per_epoch"]
    (lr, lr_end), (wd, wd_end) = hyper["lr"], hyper["wd"]
    rates = optim.AdamWSpec(
        lr=lr, lr_end=lr_end, weight_decay=wd, weight_decay_end=wd_end, warmup=float(hyper["warmup_epochs"])
    )
    spec = DinoSpec(
        momentum=hyper["momentum"][0],
        momentum_end=float(hyper["momentum"][1]),
        warmup_teacher_temperature=hyper["teacher_temp"][0],
        teacher_temperature=hyper["teacher_temp"][1],
        warmup_teacher_temperature_epochs=hyper["warmup_teacher_temp_epochs"],
    )
    moments = [Moment(i, steps, epochs) for i in range(steps * epochs)]
    return {
        "lr": np.array([optim.lr_at(rates, m) for m in moments]),
        "wd": np.array([optim.weight_decay_at(rates, m) for m in moments]),
        "momentum": np.array([spec.momentum_at(m.t) for m in moments]),
        "teacher_temp": np.array([spec.tau_t(e) for e in range(epochs)]),
    }


class Parts(nn.Module):
    """The three modules whose gradients the authors' function was given."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.last_layer, self.n = nn.Linear(5, 4), nn.Linear(4, 3), nn.LayerNorm(4)


def clip_gradients(arrays: Arrays, params: Mapping[str, Any]) -> Made:
    hyper = params["hyper"]
    method = Dino(DinoSpec(out_dim=2, hidden=2, bottleneck=2), lambda **_: Nothing())
    method.student = Parts().double()  # type: ignore[assignment]
    named = dict(method.student.named_parameters())
    for name, p in named.items():
        p.grad = double(arrays[f"grad/{name}"])
    norms = np.array([named[str(name)].grad.norm().item() for name in arrays["names"]])
    optim.clip(list(named.values()), optim.AdamWSpec(clip="tensor", clip_norm=hyper["clip"]))
    made: Made = {"norms": norms} | {f"clipped/{n}": p.grad.numpy().copy() for n, p in named.items()}
    method.trim(Moment(0, 1, 2))
    made["cancelled"] = np.array([n for n in named if named[n].grad is None])
    return made | decay_groups(method.student)


def decay_groups(module: nn.Module) -> Made:
    """The names of both groups, sorted as the authors' list was."""
    out = optim.excluded(module, "one_dimensional")
    names = [n for n, p in module.named_parameters() if p.requires_grad]
    return {
        "regularized": np.array([n for n in names if n not in out]),
        "not_regularized": np.array([n for n in names if n in out]),
    }


def swin_groups(arrays: Arrays, params: Mapping[str, Any]) -> Made:
    with torch.device("meta"):
        spec = DinoSpec(matching="similarity", norm_last_layer=True, out_dim=8)
        network = Network(spec, build_swin(SwinSpec()))
    found = decay_groups(network)
    return {k: np.array(sorted(str(n).removeprefix("backbone.") for n in v)) for k, v in found.items()}


def swin(arrays: Arrays, params: Mapping[str, Any]) -> Made:
    hyper = params["hyper"]
    head = hyper["head"]
    backbone = Swin(
        hyper["embed_dim"],
        tuple(hyper["depths"]),
        tuple(hyper["num_heads"]),
        hyper["window_size"],
        0.0,
        hyper["patch_size"],
        hyper["mlp_ratio"],
        hyper["img_size"],
    )
    spec = DinoSpec(
        matching="similarity",
        out_dim=head["out_dim"],
        hidden=head["hidden_dim"],
        bottleneck=head["bottleneck_dim"],
        norm_last_layer=True,
    )
    network = Network(spec, backbone).double()
    state = group(arrays, "state")
    network.load_state_dict({("" if n.startswith("head") else "backbone.") + n: v for n, v in state.items()})
    count = len(hyper["crops_px"])
    views = [double(arrays[f"crop{i}"]).requires_grad_() for i in range(count)]
    made = outputs(network, views)
    (
        (made["cls"] * double(arrays["R_cls"])).sum() + (made["region"] * double(arrays["R_region"])).sum()
    ).backward()
    out: Made = {k: v.detach().numpy() for k, v in made.items()}
    out |= {f"grad_crop{i}": v.grad.numpy() for i, v in enumerate(views)}
    out |= {n.replace("grad/backbone.", "grad/"): v for n, v in gradients(network, "grad").items()}
    with torch.no_grad():
        first = backbone(views[0])
        out["view_feature_crop0"] = first.pooled.numpy()
        out["region_feature_crop0"] = first.dense.flatten(2).transpose(1, 2).numpy()
        for i in (0, 2):
            out[f"last_blocks3_crop{i}"] = backbone.last_blocks(views[i], 3).numpy()
    return out


def outputs(network: Network, views: list[Tensor]) -> dict[str, Tensor]:
    """What the authors' wrapper returns, rows crop-major."""
    pooled, maps = network.features(views)
    rows = torch.cat([m.flatten(2).transpose(1, 2).flatten(0, 1) for m in maps])
    cls = network.head(pooled.transpose(0, 1).flatten(0, 1))
    sizes = sorted({m[0, 0].numel() for m in maps}, reverse=True)
    return {"cls": cls, "region": network.head_dense(rows), "fea": rows, "npatch": torch.tensor(sizes)}


class Convs(Backbone):
    """The trajectory's backbone."""

    channels, stride, stage_channels = 10, 4, (10,)

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.layer1 = nn.Sequential(nn.Conv2d(6, 8, 3, padding=1))
        self.layer3 = nn.Sequential(nn.Conv2d(8, 10, 1))

    def forward(self, images: Tensor) -> Features:
        x = torch.tanh(self.layer1(max_pool2d(torch.relu(self.conv1(images)), 2)))
        dense = torch.tanh(self.layer3(x))
        return Features(dense.mean((2, 3)), dense)


def trajectory(arrays: Arrays, params: Mapping[str, Any]) -> Made:
    """The loop's order: rates, forward, backward, trim, clip, step, update."""
    hyper = params["hyper"]
    epochs, steps, count = hyper["epochs"], hyper["iters_per_epoch"], hyper["ncrops"]
    init = {n.replace("backbone.backbone", "backbone"): v for n, v in group(arrays, "init").items()}
    spec = method_of(
        hyper,
        matching="similarity",
        hidden=len(init["head.mlp.0.bias"]),
        bottleneck=len(init["head.mlp.4.bias"]),
        norm_last_layer=True,
        freeze_last_layer=hyper["freeze_last_layer"],
        warmup_teacher_temperature=hyper["teacher_temp"][0],
        teacher_temperature=hyper["teacher_temp"][1],
        warmup_teacher_temperature_epochs=hyper["warmup_teacher_temp_epochs"],
        momentum=hyper["ema"][0],
        momentum_end=hyper["ema"][1],
    )
    (lr, lr_end), (wd, wd_end) = hyper["lr"], hyper["wd"]
    rates = optim.AdamWSpec(
        lr=lr,
        lr_end=lr_end,
        weight_decay=wd,
        weight_decay_end=wd_end,
        warmup=float(hyper["warmup_epochs"]),
        clip_norm=hyper["clip_grad"],
    )
    method = Dino(spec, lambda **_: Convs()).double()
    method.student.load_state_dict(init)
    method.teacher.load_state_dict(init)
    optimizer = optim.build(method, rates)
    made: Made = {k: np.zeros(epochs * steps) for k in ("loss", "lr", "wd", "momentum")}
    for i in range(epochs * steps):
        moment = Moment(i, steps, epochs)
        views = [double(arrays[f"images/it{i}_crop{v}"]) for v in range(count)]
        if i == 0:
            with torch.no_grad():
                for who, network, seen in (
                    ("student", method.student, views),
                    ("teacher", method.teacher, views[:2]),
                ):
                    found = outputs(network, seen)
                    made |= {f"it0/{who}_output/{k}": v.numpy() for k, v in found.items()}
        optimizer.zero_grad()
        step = method(Batch(views, torch.zeros(count, len(views[0]), 4), torch.zeros(0)), moment)
        step.loss.backward()
        named = {authors(n): p for n, p in method.student.named_parameters()}
        norms = [named[str(n)].grad.norm().item() for n in arrays["grad_norm_names"]]
        made[f"grad_norms/it{i}"] = np.array(norms)
        method.trim(moment)
        optim.apply(optimizer, rates, moment)
        method.update(step.memo, moment)
        made["loss"][i] = step.loss.item()
        made["lr"][i] = optimizer.param_groups[0]["lr"]
        made["wd"][i] = optimizer.param_groups[0]["weight_decay"]
        made["momentum"][i] = spec.momentum_at(moment.t)
        after = states(method)
        after |= {"center": method.centre[None], "center_grid": method.centre_dense[None]}
        kept = {f"after_it{i}/{k}": v.numpy().copy() for k, v in after.items()}
        made |= {k: v for k, v in kept.items() if k in arrays}
    return made | {f"final_{k}": v.numpy() for k, v in states(method).items()}


def authors(name: str) -> str:
    return name.replace("backbone.", "backbone.backbone.", 1)


def states(method: Dino) -> dict[str, Tensor]:
    both = (("student", method.student), ("teacher", method.teacher))
    return {f"{who}/{authors(n)}": p.detach() for who, net in both for n, p in net.state_dict().items()}


CASES = {
    "dino_schedules": schedules,
    "esvit_clip_gradients": clip_gradients,
    "esvit_ddino_loss_4x4_2x2": ddino_loss,
    "esvit_ddino_loss_7x7_3x3": ddino_loss,
    "esvit_dino_head_bn_freelast": dino_head,
    "esvit_dino_head_bn_normlast": dino_head,
    "esvit_dino_head_nobn_freelast": dino_head,
    "esvit_dino_head_nobn_normlast": dino_head,
    "esvit_dino_loss": dino_loss,
    "esvit_swin_multicrop_forward": swin,
    "esvit_swin_tiny_param_groups": swin_groups,
    "esvit_train_trajectory": trajectory,
}

TOLERANCES = {
    "dino_schedules": (1e-12, 0.0),
    "esvit_swin_multicrop_forward": (1e-8, 1e-10),
    "esvit_train_trajectory": (1e-7, 1e-10),  # Adam divides by sqrt(v)
}

"""What the authors' MCL code returns, reproduced with this project's parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.backbones.backbone import Backbone, Features
from models.backbones.resnet import ResNetSpec, build_resnet
from models.fpn import FPN, BoxConvs
from models.levels import LevelSpec, lay
from models.method import Moment
from models.methods.mcl import MCL, MCLSpec, find, mlp
from models.montage import assemble, cells, montages, shrink
from study import optim

Arrays = Mapping[str, np.ndarray]
Made = dict[str, np.ndarray]


def double(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).double()


def group(arrays: Arrays, prefix: str) -> dict[str, Tensor]:
    """The arrays under prefix/, integers kept."""
    start = f"{prefix}/"
    found = {k.removeprefix(start): torch.from_numpy(v) for k, v in arrays.items() if k.startswith(start)}
    return {k: v.double() if v.is_floating_point() else v for k, v in found.items()}


def gradients(module: nn.Module, prefix: str, rename: Callable[[str], str] = str) -> Made:
    named = module.named_parameters()
    return {f"{prefix}/{rename(n)}": p.grad.numpy() for n, p in named if p.grad is not None}


def levels_of(ratios: list[int]) -> int:
    assert ratios == [2**i for i in range(len(ratios))]
    return len(ratios)


def showings_of(ratios: list[int], counts: list[int], pictures: int) -> tuple[int, ...]:
    """The times each picture is shown that give the authors' numbers of montages."""
    showings = tuple(max(1, n * r**2 // pictures) for r, n in zip(ratios, counts))
    assert [montages(pictures, r, s) for r, s in zip(ratios, showings)] == counts
    return showings


def tables_of(arrays: Arrays, side: str, ratios: list[int]) -> list[Tensor]:
    return [torch.from_numpy(arrays[f"ids_{side}{i}"]).view(-1, r**2) for i, r in enumerate(ratios)]


def montage(arrays: Arrays, params: Mapping[str, Any]) -> Made:
    hyper = params["hyper"]
    ratios, counts, pictures = hyper["downsample_ratios"], hyper["batch_sizes"], hyper["B"]
    img = torch.from_numpy(arrays["img"])
    spec = LevelSpec(levels=levels_of(ratios), showings=showings_of(ratios, counts, pictures))
    made: Made = {"img_num_idx": np.cumsum(counts)}
    for side, pipes in (("q", hyper["pipe_idxs_1"]), ("k", hyper["pipe_idxs_2"])):
        order = [arrays.get(f"slot_idx_{side}{i}") for i in range(spec.levels)]
        flat = [torch.arange(pictures) if o is None else torch.from_numpy(o) for o in order]
        sheet = lay([img[:, p] for p in pipes], [f.view(-1, r**2) for f, r in zip(flat, ratios)], spec)
        made[f"montage_{side}"] = sheet.images.numpy()
        for level, ids in enumerate(sheet.ids):
            made[f"ids_{side}{level}"] = ids.numpy()
            if side == "q" and level:
                small = shrink(img[:, pipes[level]], ratios[level], "nearest")
                made[f"down_q{level}"] = small.numpy()
                # Cutting apart undoes assembling.
                again = cells(assemble(small, ids, ratios[level]), small.shape[-1])
                assert torch.equal(again, small[ids])
        assert [r.stop for r in sheet.rows] == list(made["img_num_idx"])
    return made


def fpn(arrays: Arrays, params: Mapping[str, Any]) -> Made:
    hyper = params["hyper"]
    count = len(hyper["in_channels"])
    net = FPN(hyper["in_channels"], hyper["out_channels"]).double()
    net.load_state_dict(group(arrays, "state"))
    maps = [double(arrays[f"x{i}"]).requires_grad_() for i in range(count)]
    out = net(maps, [None] * count)[::-1]
    sum((y * double(arrays[f"R{i}"])).sum() for i, y in enumerate(out)).backward()
    made = {f"y{i}": y.detach().numpy() for i, y in enumerate(out)}
    made |= {f"grad_x{i}": x.grad.numpy() for i, x in enumerate(maps)}
    return made | gradients(net, "grad")


class Neck(nn.Module):
    """The authors' neck: cells, convolutions, average, projector."""

    def __init__(self, width: int, convs: int, hidden: int, out: int, side: int) -> None:
        super().__init__()
        self.cls_convs = BoxConvs(width, convs)
        self.mlp = mlp(width, hidden, out, last_norm=True)
        self.side = side

    def forward(self, maps: Tensor) -> Tensor:
        return self.mlp(self.cls_convs(cells(maps, self.side)).mean((2, 3)))


def neck(arrays: Arrays, params: Mapping[str, Any]) -> Made:
    hyper = params["hyper"]
    sizes = (hyper["in_channels"], hyper["stacked_convs"], hyper["hid"], hyper["out"], hyper["avg_size"])
    net = Neck(*sizes).double()
    net.load_state_dict(group(arrays, "state"))
    made: Made = {}
    inputs: list[Tensor] = []
    total = torch.zeros((), dtype=torch.float64)
    while f"x{len(inputs)}" in arrays:
        i = len(inputs)
        inputs.append(double(arrays[f"x{i}"]).requires_grad_())
        y = net(inputs[i]).view(len(inputs[i]), -1, hyper["out"])
        total = total + (y * double(arrays[f"R{i}"])).sum()
        made[f"y{i}"] = y.detach().numpy()
    total.backward()
    made |= {f"grad_x{i}": x.grad.numpy() for i, x in enumerate(inputs)}
    state = net.state_dict()
    made |= {f"state_after/{n}": v.numpy() for n, v in state.items() if f"state_after/{n}" in arrays}
    return made | gradients(net, "grad")


def predictors_of(arrays: Arrays, prefix: str, count: int, dim: int, hidden: int) -> nn.ModuleList:
    nets = nn.ModuleList(mlp(dim, hidden, dim, last_norm=False) for _ in range(count)).double()
    state = group(arrays, prefix)
    nets.load_state_dict({k.removeprefix("predictor.").replace(".mlp.", "."): v for k, v in state.items()})
    return nets


def authors_predictor(name: str) -> str:
    level, rest = name.split(".", 1)
    return f"predictor.{level}.mlp.{rest}"


def head(arrays: Arrays, params: Mapping[str, Any]) -> Made:
    hyper = params["hyper"]
    count = hyper["head_num"]
    nets = predictors_of(arrays, "state", count, hyper["dim"], hyper["hidden"])
    made: Made = {}
    for level, weight in enumerate(hyper["level_weights"]):
        nets.zero_grad()
        x = double(arrays[f"x{level}"]).requires_grad_()
        ids = torch.from_numpy(arrays[f"labels{level}"])
        found = find(nets[level](x), double(arrays[f"target{level}"]), ids, hyper["T"])
        (weight * found.loss).backward()
        made[f"loss{level}"] = (weight * found.loss).detach().numpy()
        made[f"pos_cos{level}"] = found.positive.numpy()
        made[f"neg_cos{level}"] = found.negative.numpy()
        made[f"grad_x{level}"] = x.grad.numpy()
        made |= gradients(nets, f"grad{level}", authors_predictor)
    return made


def multilevel(arrays: Arrays, params: Mapping[str, Any]) -> Made:
    hyper = params["hyper"]
    count = levels_of(hyper["downsample_ratios"])
    nets = predictors_of(arrays, "head_state", count, hyper["dim"], hyper["hidden"])
    targets = {s: nn.functional.normalize(double(arrays[f"target_raw_{s}"]), dim=1) for s in "qk"}
    made: Made = {f"target_{s}": t.numpy() for s, t in targets.items()}
    inputs: dict[str, Tensor] = {}
    total = torch.zeros((), dtype=torch.float64)
    for level, weight in enumerate(hyper["level_weights"]):
        for side, other in (("q", "k"), ("k", "q")):
            x = inputs[f"grad_online_{side}{level}"] = double(
                arrays[f"online_{side}{level}"]
            ).requires_grad_()
            ids = torch.from_numpy(arrays[f"ids_{side}{level}"])
            found = find(nets[level](x), targets[other], ids, hyper["T"])
            total = total + weight * found.loss
            made[f"loss_{side}{level}"] = (weight * found.loss).detach().numpy()
            made[f"pos_cos_{side}{level}"] = found.positive.numpy()
            made[f"neg_cos_{side}{level}"] = found.negative.numpy()
    total.backward()
    made |= {name: x.grad.numpy() for name, x in inputs.items()}
    return made | {"total": total.detach().numpy()} | gradients(nets, "grad_head", authors_predictor)


class Tanhs(Backbone):
    """The vectors' tiny backbone: 3x3 convolutions of stride 2 with bias, each followed by tanh."""

    def __init__(self, weights: list[Tensor]) -> None:
        super().__init__()
        pairs = [(w.shape[1], w.shape[0]) for w in weights]
        self.convs = nn.ModuleList(nn.Conv2d(i, o, 3, stride=2, padding=1) for i, o in pairs)
        self.stage_channels = tuple(o for _, o in pairs)
        self.channels, self.stride = self.stage_channels[-1], 2 ** len(pairs)

    def stages(self, images: Tensor) -> list[Tensor]:
        out = []
        for conv in self.convs:
            images = torch.tanh(conv(images))
            out.append(images)
        return out

    def forward(self, images: Tensor) -> Features:
        dense = self.stages(images)[-1]
        return Features(dense.mean((2, 3)), dense)


AUTHORS_PARTS = {"backbone": "0", "pyramid": "1", "cls_convs": "2.cls_convs", "mlp": "2.mlp"}


def authors_encoder(name: str) -> str:
    part, rest = name.split(".", 1)
    return f"{AUTHORS_PARTS[part]}.{rest}"


def forward_train(arrays: Arrays, params: Mapping[str, Any]) -> Made:
    hyper = params["hyper"]
    ratios, pictures = hyper["downsample_ratios"], hyper["B"]
    q, k = group(arrays, "encoder_q"), group(arrays, "encoder_k")
    hidden, dim = len(q["2.mlp.0.bias"]), len(q["2.mlp.3.bias"])
    spec = MCLSpec(
        levels=levels_of(ratios),
        weights=tuple(hyper["level_weights"]),
        showings=showings_of(ratios, hyper["batch_sizes"], pictures),
        width=q["1.fpn_convs.0.conv.weight"].shape[0],
        convs=sum(name.startswith("2.cls_convs") and name.endswith("conv.weight") for name in q),
        hidden=hidden,
        dim=dim,
        temperature=hyper["T"],
        momentum=hyper["ema"],
        momentum_end=hyper["ema"],
    )
    convs = [v for name, v in q.items() if name.startswith("0.convs") and name.endswith("weight")]
    method = MCL(spec, lambda: Tanhs(convs)).double()
    inner = len(arrays["head/predictor.0.mlp.0.bias"])
    method.predictors = predictors_of(arrays, "head", spec.levels, dim, inner)
    for net, state in ((method.online, q), (method.target, k)):
        net.load_state_dict({name: state[authors_encoder(name)] for name in net.state_dict()})

    img = double(arrays["img"])
    views = [img[:, i] for i in range(img.shape[1])]
    step = method.contrast(views, [tables_of(arrays, s, ratios) for s in "qk"])
    step.loss.backward()
    method.update(step.memo, Moment(step=0, per_epoch=1, epochs=1))
    made: Made = {"total": step.loss.detach().numpy()}
    made |= {f"loss_{name}": term.detach().numpy() for name, term in step.terms.items()}
    made |= gradients(method.online, "grad_encoder_q", authors_encoder)
    made |= gradients(method.predictors, "grad_head", authors_predictor)
    moved = method.target.named_parameters()
    return made | {f"encoder_k_after/{authors_encoder(n)}": p.numpy() for n, p in moved}


def schedules(arrays: Arrays, params: Mapping[str, Any]) -> Made:
    hyper = params["hyper"]
    optimiser = optim.LARSSpec(
        lr=hyper["base_lr"],
        lr_end=hyper["min_lr"],
        schedule="cosine",
        warmup=hyper["warmup_iters"],
        warmup_start="factor",
        warmup_ratio=hyper["warmup_ratio"],
    )
    start, end = hyper["base_momentum"], hyper["end_momentum"]
    weights = [torch.zeros(2, 3, 3, 3)]
    method = MCL(
        MCLSpec(levels=1, width=2, hidden=2, dim=2, momentum=start, momentum_end=end), lambda: Tanhs(weights)
    ).double()
    rates, momenta = [], []
    probe, followed = next(method.online.parameters()), next(method.target.parameters())
    for step in range(hyper["iters"]):
        moment = Moment(step=step, per_epoch=1, epochs=hyper["iters"])
        rates.append(optim.lr_at(optimiser, moment))
        # 1 followed by 0: what is left is the momentum.
        nn.init.zeros_(probe)
        nn.init.ones_(followed)
        method.update(None, moment)
        momenta.append(followed.flatten()[0].item())
    return {"lr": np.array(rates), "momentum": np.array(momenta)}


def param_groups(arrays: Arrays, params: Mapping[str, Any]) -> Made:
    """Of the released ResNet-50 configuration, built here and named as there."""
    spec = ResNetSpec(name="resnet50", init="fan_in")
    with torch.device("meta"):
        method = MCL(MCLSpec(), lambda: build_resnet(spec))
    out = optim.excluded(method, "named_norm_and_bias")
    official: dict[str, str] = {}
    for name, parameter in method.named_parameters():
        if not parameter.requires_grad:
            continue
        owner, rest = name.split(".", 1)
        official[name] = (
            f"encoder_q.{authors_encoder(rest)}" if owner == "online" else f"head.{authors_predictor(rest)}"
        )
    return {
        "excluded": np.array(sorted(official[n] for n in out)),
        "adapted": np.array(sorted(v for n, v in official.items() if n not in out)),
    }


CASES = {
    "mcl_montage_3levels": montage,
    "mcl_montage_official_ratios": montage,
    "mcl_fpn": fpn,
    "mcl_det_head_neck": neck,
    "mcl_head_loss_T0p2": head,
    "mcl_head_loss_T1p0": head,
    "mcl_multilevel_loss": multilevel,
    "mcl_forward_train_full": forward_train,
    "mcl_schedules": schedules,
    "mcl_param_groups": param_groups,
}

TOLERANCES = {"mcl_forward_train_full": (1e-7, 1e-10), "mcl_schedules": (1e-12, 0.0)}

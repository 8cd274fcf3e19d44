"""What the public code of SimCLR, SimSiam, Barlow Twins and VICReg returns, and their LARS and DINO's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.backbones.backbone import Backbone, Features
from models.method import Batch, Moment
from models.methods.barlow_twins import correlation, redundancy
from models.methods.simclr import nt_xent
from models.methods.simsiam import SimSiam, SimSiamSpec
from models.methods.vicreg import VICReg, VICRegSpec
from models.norms import BatchNorm1d
from study import optim

Arrays = Mapping[str, np.ndarray]
Made = dict[str, np.ndarray]
START = Moment(step=0, per_epoch=1, epochs=1)


def leaf(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(array)).double().requires_grad_()


class Rows(Backbone):
    """Rows (B, C) to rows: the vectors' stand-in for a backbone."""

    def __init__(self, body: nn.Module, channels: int) -> None:
        super().__init__()
        self.body = body
        self.channels, self.stride, self.stage_channels = channels, 1, (channels,)

    def forward(self, images: Tensor) -> Features:
        rows = self.body(images)
        return Features(rows, rows[..., None, None])


def simclr(arrays: Arrays, params: Mapping[str, Any]) -> Made:
    z = leaf(arrays["z"])
    loss = nt_xent(z[:, 0], z[:, 1], params["hyper"]["T"])
    loss.backward()
    return {"loss": loss.detach().numpy(), "grad_z": z.grad.numpy()}


def simsiam(arrays: Arrays, params: Mapping[str, Any]) -> Made:
    hyper = params["hyper"]
    state = {
        k.removeprefix("state/"): torch.from_numpy(v) for k, v in arrays.items() if k.startswith("state/")
    }
    outputs, inputs = state["encoder.body.weight"].shape
    body = nn.Sequential(nn.Linear(inputs, outputs), nn.ReLU())
    spec = SimSiamSpec(dim=hyper["dim"], bottleneck=hyper["pred_dim"])
    method = SimSiam(spec, lambda: Rows(body, outputs)).double()
    names = {"backbone.body.0": "encoder.body", "projector": "encoder.fc", "predictor": "predictor"}

    def theirs(name: str) -> str:
        start = next(s for s in names if name.startswith(s))
        return names[start] + name.removeprefix(start)

    # Their projector's last bias, before a norm, changes nothing but the running mean; ours has none.
    method.load_state_dict({name: state[theirs(name)] for name in method.state_dict()})
    x1, x2 = leaf(arrays["x1"]), leaf(arrays["x2"])
    outs: dict[str, list[Tensor]] = {"z": [], "p": []}
    for letter, module in (("z", method.projector), ("p", method.predictor)):
        module.register_forward_hook(lambda _m, _i, out, letter=letter: outs[letter].append(out.detach()))
    step = method(Batch([x1, x2], torch.zeros(2, len(x1), 4), torch.zeros(len(x1))), START)
    step.loss.backward()
    made: Made = {"loss": step.loss.detach().numpy(), "grad_x1": x1.grad.numpy(), "grad_x2": x2.grad.numpy()}
    made |= {f"{letter}{i + 1}": out.numpy() for letter in outs for i, out in enumerate(outs[letter])}
    return made | {f"grad/{theirs(n)}": p.grad.numpy() for n, p in method.named_parameters()}


def barlow_twins(arrays: Arrays, params: Mapping[str, Any]) -> Made:
    hyper = params["hyper"]
    z1, z2 = leaf(arrays["z1"]), leaf(arrays["z2"])
    standardise = BatchNorm1d(hyper["dim"], eps=hyper["bn_eps"], affine=False).double()
    c = correlation(standardise(z1), standardise(z2))
    on, off = redundancy(c)
    loss = on + hyper["lambd"] * off
    loss.backward()
    made = {"c": c, "loss": loss, "grad_z1": z1.grad, "grad_z2": z2.grad}
    return {name: value.detach().numpy() for name, value in made.items()}


def vicreg(arrays: Arrays, params: Mapping[str, Any]) -> Made:
    hyper = params["hyper"]
    z1, z2 = leaf(arrays["z1"]), leaf(arrays["z2"])
    weights = {"invariance": hyper["sim"], "variance": hyper["std"], "covariance": hyper["cov"]}
    spec = VICRegSpec(dim=hyper["dim"], eps=hyper["eps"], **weights)
    terms = VICReg(spec, lambda: Rows(nn.Identity(), hyper["dim"])).terms(z1, z2)
    loss = torch.stack(list(terms.values())).sum()
    loss.backward()
    names = {"repr_loss": "invariance", "std_loss": "variance", "cov_loss": "covariance"}
    made = {theirs: terms[ours] / weights[ours] for theirs, ours in names.items() if weights[ours]}
    made |= {"loss": loss, "grad_z1": z1.grad, "grad_z2": z2.grad}
    return {name: value.detach().numpy() for name, value in made.items()}


def lars(rates: Callable[[Mapping[str, Any], int], tuple[float, float]]) -> Callable[..., Made]:
    """The form `update` of LARS; `rates`: the learning rates of weights and of vectors at a step."""

    def case(arrays: Arrays, params: Mapping[str, Any]) -> Made:
        hyper = params["hyper"]
        weights = {k.removeprefix("init/"): leaf(v) for k, v in arrays.items() if k.startswith("init/")}
        spec = optim.LARSSpec(
            momentum=hyper["momentum"],
            weight_decay=hyper["weight_decay"],
            eta=hyper.get("eta", hyper.get("trust_coefficient")),
            form="update",
        )
        vectors = [w for w in weights.values() if w.dim() == 1]
        optimizer = optim.LARS([w for w in weights.values() if w.dim() != 1], vectors, spec)
        made: Made = {}
        step = 0
        while any(name.startswith(f"grad{step}/") for name in arrays):
            for group, lr in zip(optimizer.param_groups, rates(hyper, step)):
                group["lr"] = lr
            for name, w in weights.items():
                w.grad = leaf(arrays[f"grad{step}/{name}"]).detach()
            optimizer.step()
            for name, w in weights.items():
                made[f"after{step}/{name}"] = w.detach().numpy().copy()
                if f"mu{step}/{name}" in arrays:
                    made[f"mu{step}/{name}"] = optimizer.state[w]["momentum"].numpy().copy()
            step += 1
        return made

    return case


def falling(text: str, step: int) -> float:
    """`0.5/(s+1)` at a step."""
    peak, rest = text.split("/")
    assert rest == "(s+1)"
    return float(peak) / (step + 1)


one_rate = lars(lambda hyper, step: (hyper["lr"], hyper["lr"]))
two_rates = lars(lambda hyper, s: (falling(hyper["lr_weights"], s), falling(hyper["lr_biases"], s)))

CASES = {
    "simclr_ntxent_T0p1": simclr,
    "simclr_ntxent_T0p5": simclr,
    "simsiam": simsiam,
    "barlow_twins": barlow_twins,
    "vicreg": vicreg,
    "lars_barlow_twins": two_rates,
    "lars_esvit_dino": one_rate,
    "lars_moco_v3": one_rate,
}

TOLERANCES = {"simclr_ntxent_T0p1": (1e-8, 1e-11), "simclr_ntxent_T0p5": (1e-8, 1e-11)}

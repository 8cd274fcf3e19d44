"""What the public code of BYOL's loss and of MoCo v2 returns, reproduced with this project's parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.backbones.backbone import Backbone, Features
from models.heads import MLP
from models.losses import queue_logits, regression
from models.method import Batch, Moment
from models.methods.moco_v2 import MoCoV2, MoCoV2Spec
from study import optim

Arrays = Mapping[str, np.ndarray]
Made = dict[str, np.ndarray]


def double(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array).double()


def load(module: nn.Module, arrays: Arrays, prefix: str) -> None:
    chosen = {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
    module.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in chosen.items()})


def byol_loss(arrays: Arrays, params: Mapping[str, Any]) -> Made:
    prediction = double(arrays["pred"]).requires_grad_()
    loss = regression(prediction, double(arrays["target"]))
    loss.backward()
    assert prediction.grad is not None
    return {"loss": loss.detach().numpy(), "grad_pred": prediction.grad.numpy()}


def byol_head(arrays: Arrays, params: Mapping[str, Any]) -> Made:
    """Their loss lacks the constant 2."""
    hyper = params["hyper"]
    predictor = MLP(hyper["dim"], hyper["hidden"], hyper["dim"], bias=True).double().train()
    load(predictor, arrays, "state/predictor.mlp.")
    x = double(arrays["x"]).requires_grad_()
    loss = regression(predictor(x), double(arrays["target"])) - 2
    loss.backward()
    assert x.grad is not None
    made = {"loss": loss.detach().numpy(), "grad_x": x.grad.numpy()}
    named = predictor.named_parameters()
    return made | {f"grad/predictor.mlp.{k}": p.grad.numpy() for k, p in named if p.grad is not None}


class Body(Backbone):
    """The vectors' backbone: a linear layer and a ReLU on rows (B, C)."""

    stride = 1

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        self.body = nn.Linear(inputs, channels)
        self.channels = channels
        self.stage_channels = (channels,)

    def forward(self, images: Tensor) -> Features:
        pooled = F.relu(self.body(images))
        return Features(pooled, pooled[..., None, None])


def theirs(name: str) -> str:
    return name.replace("backbone.", "").replace("head.", "fc.")


def load_encoder(network: nn.Module, arrays: Arrays, prefix: str) -> None:
    state = {k: torch.from_numpy(arrays[prefix + theirs(k)]) for k in network.state_dict()}
    network.load_state_dict(state)


def moco_of(hyper: Mapping[str, Any], body: np.ndarray, head: np.ndarray) -> MoCoV2:
    spec = MoCoV2Spec(
        dim=hyper["dim"],
        hidden=len(head),
        queue=hyper["K"],
        temperature=hyper["T"],
        momentum=hyper["m"],
        batch_norm="per_device",
    )
    return MoCoV2(spec, lambda: Body(body.shape[1], body.shape[0])).double().train()


def rows(first: Tensor, second: Tensor) -> Batch:
    return Batch([first, second], torch.zeros(2, len(first), 4), torch.full((len(first),), -1))


def queue(arrays: Arrays, params: Mapping[str, Any]) -> Made:
    method = moco_of(params["hyper"], arrays["encoder_q/body.weight"], arrays["encoder_q/fc.0.weight"])
    load_encoder(method.online, arrays, "encoder_q/")
    load_encoder(method.target.network, arrays, "encoder_k/")
    method.queue.keys.copy_(double(arrays["queue0"]))
    made: Made = {}
    s = 0
    while f"xq{s}" in arrays:
        moment = Moment(step=s, per_epoch=1, epochs=100)
        query = double(arrays[f"xq{s}"]).requires_grad_()
        before = method.queue.keys.clone()
        method.zero_grad()
        method.prepare(moment)
        step = method(rows(query, double(arrays[f"xk{s}"])), moment)
        step.loss.backward()
        method.update(step.memo, moment)
        assert query.grad is not None
        assert step.embedding is not None
        logits = queue_logits(step.embedding, step.memo, before, method.spec.temperature)
        made |= {
            f"q{s}": step.embedding.numpy(),
            f"k{s}": step.memo.numpy(),
            f"logits{s}": logits.numpy(),
            f"labels{s}": np.zeros(len(logits), dtype=np.int64),
            f"loss{s}": step.loss.detach().numpy(),
            f"grad_xq{s}": query.grad.numpy(),
            f"queue_after{s}": method.queue.keys.numpy().copy(),
            f"ptr_after{s}": method.queue.pointer.numpy().reshape(1).copy(),
        }
        for k, p in method.online.named_parameters():
            assert p.grad is not None
            made[f"grad{s}/{theirs(k)}"] = p.grad.numpy()
        s += 1
    after = method.target.network.state_dict()
    return made | {f"encoder_k_after/{theirs(k)}": v.numpy() for k, v in after.items()}


def trajectory(arrays: Arrays, params: Mapping[str, Any]) -> Made:
    hyper = params["hyper"]
    method = moco_of(hyper, arrays["init/encoder_q.body.weight"], arrays["init/encoder_q.fc.0.weight"])
    load_encoder(method.online, arrays, "init/encoder_q.")
    load_encoder(method.target.network, arrays, "init/encoder_k.")
    method.queue.keys.copy_(double(arrays["init/queue"]))
    method.queue.pointer.fill_(int(arrays["init/queue_ptr"][0]))
    spec = optim.SGDSpec(lr=hyper["lr"], momentum=hyper["sgd_momentum"], weight_decay=hyper["weight_decay"])
    optimizer = optim.build(method, spec)
    losses, rates = [], []
    for i, (first, second) in enumerate(double(arrays["X"])):
        moment = Moment(step=i, per_epoch=hyper["iters_per_epoch"], epochs=hyper["epochs"])
        method.prepare(moment)
        step = method(rows(first, second), moment)
        optimizer.zero_grad()
        step.loss.backward()
        method.trim(moment)
        optim.apply(optimizer, spec, moment)
        method.update(step.memo, moment)
        losses.append(step.loss.item())
        rates.append(optimizer.param_groups[0]["lr"])
    made: Made = {"loss": np.array(losses), "lr": np.array(rates)}
    made["final/queue"] = method.queue.keys.numpy()
    made["final/queue_ptr"] = method.queue.pointer.numpy().reshape(1)
    for side, network in (("q", method.online), ("k", method.target.network)):
        for k, v in network.state_dict().items():
            made[f"final/encoder_{side}.{theirs(k)}"] = v.numpy()
    return made


CASES = {
    "byol_mse_loss_lewel": byol_loss,
    "byol_latent_predict_head": byol_head,
    "moco_v2_infonce_queue": queue,
    "moco_v2_train_trajectory": trajectory,
}

TOLERANCES = {"moco_v2_train_trajectory": (1e-7, 1e-10)}

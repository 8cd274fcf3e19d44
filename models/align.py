"""LEWEL's alignment: maps that say from which places an embedding is gathered (arXiv 2203.14898).

A picture's map F (T places, C channels) goes through the coupled head g, place by place: g's d outputs at the
places become d alignment maps, softmax over places of the unit outputs (eq. 1), and g's output for the pooled
vector is the global embedding z. F is cut in h groups of channels, each gathered by d/h maps (eq. 2 and 6),
and a second head p makes of the result n = d/h aligned embeddings. LEWEL_B and LEWEL_M share all of this.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from models.backbones.backbone import Backbone
from models.heads import MLP
from models.memory import Schedule
from models.norms import KINDS, Kind
from models.spec import Spec


class AlignSpec(Spec):
    """The knobs that LEWEL_B and LEWEL_M share."""

    dim: int = Field(256, ge=1, description="d, width of the global embedding and number of alignment maps")
    channels: int | None = Field(None, ge=1, description="c, width of an aligned embedding; null: d")
    hidden: int = Field(4096, ge=1, description="width of the heads' hidden layer")
    groups: int = Field(4, ge=1, description="h, groups of channels; there are n = d/h aligned embeddings")
    weight: float = Field(
        0.5, ge=0, le=1, description="beta, weight of the aligned loss; 1 - beta of the global"
    )
    loss: Literal["both", "global", "aligned"] = Field(
        "both", description="terms of the loss; one alone has weight 1 and needs no heads of the other"
    )
    coupled: bool = Field(
        True, description="one head g makes embedding and maps; false: the maps have a head of their own"
    )
    projector: Literal["extra", "shared"] = Field(
        "extra", description="aligned features go through a head p of their own, or through g"
    )
    maps: Literal["learned", "random"] = Field(
        "learned", description="alignment maps predicted, or drawn from Gaussian logits for each view"
    )
    scale: float = Field(1.0, gt=0, description="temperature of the maps' softmax over places")
    momentum: float = Field(0.98, ge=0, le=1, description="EMA momentum of the teacher at the start")
    momentum_schedule: Schedule = Field(
        "cosine", description="momentum constant, or cosine to 1 over training"
    )
    batch_norm: Kind = Field("eman", description=KINDS)
    devices: int = Field(
        0,
        ge=0,
        description="virtual devices of batch norm: statistics over batch/devices pictures; 0: processes",
    )

    @property
    def width(self) -> int:
        """c"""
        return self.channels or self.dim

    @model_validator(mode="after")
    def _consistent(self) -> AlignSpec:
        if self.dim % self.groups:
            raise ValueError(f"dim {self.dim} must be a multiple of groups {self.groups}")
        if self.projector == "shared" and self.width != self.dim:
            raise ValueError(f"a shared projector gives dim {self.dim} channels, not {self.width}")
        return self


class Projection(NamedTuple):
    """embedding: z (B, d), None where only the aligned loss is asked. aligned: (B, n, c) and maps: (B, d, T),
    None where only the global one is."""

    embedding: Tensor | None
    aligned: Tensor | None
    maps: Tensor | None


def alignment_maps(heat: Tensor, scale: float = 1.0) -> Tensor:
    """Heat (B, T, d) to maps (B, d, T) that sum to 1 over places.

    Each place's d values are made a unit vector first (eq. 1 with the softmax over all places), so that two
    places of a map differ by e^(2/scale) at most: gentle reweightings of the mean, not peaks.
    """
    return (F.normalize(heat, dim=-1) / scale).softmax(1).transpose(1, 2)


def random_maps(like: Tensor, count: int, scale: float = 1.0) -> Tensor:
    """Maps (B, count, T) of Gaussian heat, for a feature (B, T, C): the control of Table 6."""
    return alignment_maps(torch.randn(*like.shape[:2], count, dtype=like.dtype, device=like.device), scale)


def gather_aligned(features: Tensor, maps: Tensor, groups: int) -> Tensor:
    """Features (B, T, C) by maps (B, d, T) to aligned features (B, n, C), n = d / groups.

    Channel block j of embedding k uses map j n + k (the authors' code; eq. 2 has (k-1) h + j, the same up to
    a permutation of g's outputs that the losses do not see).
    """
    batch, places, channels = features.shape
    weights = maps.unflatten(1, (groups, -1))  # (B, G, n, T)
    blocks = features.view(batch, places, groups, channels // groups).transpose(1, 2)  # (B, G, T, C/G)
    return (weights @ blocks).transpose(1, 2).flatten(2)  # (B, n, C)


class AlignedHead(nn.Module):
    """g, p and where they differ the head of the maps, on a feature of `inputs` channels."""

    def __init__(self, spec: AlignSpec, inputs: int) -> None:
        super().__init__()
        if inputs % spec.groups:
            raise ValueError(f"groups {spec.groups} must divide the backbone's {inputs} channels")
        self.spec = spec
        aligned = spec.loss != "global"
        learned = aligned and spec.maps == "learned"
        self.g: MLP | None = None
        self.p: MLP | None = None
        self.mapper: MLP | None = None
        # Only heads that a gradient will reach: DistributedDataParallel waits for every parameter's.
        self.gives_embedding = spec.loss != "aligned"
        self.couples = learned and spec.coupled
        if self.gives_embedding or self.couples or spec.projector == "shared":
            self.g = MLP(inputs, spec.hidden, spec.dim)
        if aligned and spec.projector == "extra":
            self.p = MLP(inputs, spec.hidden, spec.width)
        if learned and not spec.coupled:
            self.mapper = MLP(inputs, spec.hidden, spec.dim)

    def forward(self, dense: Tensor) -> Projection:
        """A map (B, C, H, W) to its embeddings."""
        spec = self.spec
        features = dense.flatten(2).transpose(1, 2)  # (B, T, C)
        pooled = features.mean(1, keepdim=True)  # (B, 1, C)
        embedding: Tensor | None = None
        maps: Tensor | None = None
        if self.couples:
            assert self.g is not None
            # One pass over the pooled vector and all places: they share g's batch statistics.
            both = self.g(torch.cat([pooled, features], 1))  # (B, 1 + T, d)
            embedding, maps = both[:, 0], alignment_maps(both[:, 1:], spec.scale)
        elif self.gives_embedding:
            assert self.g is not None
            embedding = self.g(pooled)[:, 0]
        if not self.gives_embedding:
            embedding = None
        if spec.loss == "global":
            return Projection(embedding, None, None)
        if maps is None:
            if self.mapper is not None:
                maps = alignment_maps(self.mapper(features), spec.scale)
            else:
                maps = random_maps(features, spec.dim, spec.scale)
        projector = self.p if self.p is not None else self.g
        assert projector is not None
        return Projection(embedding, projector(gather_aligned(features, maps, spec.groups)), maps)


class AlignedNetwork(nn.Module):
    """A backbone and its aligned head: pictures (B, 3, s, s) to a Projection."""

    def __init__(self, backbone: Backbone, spec: AlignSpec) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = AlignedHead(spec, backbone.channels)

    def forward(self, images: Tensor) -> Projection:
        return self.head(self.backbone(images).dense)


def sharpness(maps: Tensor) -> Tensor:
    """1 - entropy / log T, mean over maps (B, d, T): 0 for the mean over places, 1 for a single place."""
    places = maps.shape[-1]
    if places == 1:
        return maps.new_zeros(())
    entropy = torch.special.entr(maps.detach().float()).sum(-1).mean()
    return 1 - entropy / torch.log(torch.tensor(float(places), device=maps.device))

"""The shelf of methods: a name and its class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from models.backbones.backbone import Backbone
from models.method import Method
from models.methods.barlow_twins import BarlowTwins
from models.methods.byol import BYOL
from models.methods.dino import Dino
from models.methods.lewel_b import LEWELB
from models.methods.lewel_m import LEWELM
from models.methods.mcl import MCL
from models.methods.mcl_supervised import MCLSupervised
from models.methods.moco_v2 import MoCoV2
from models.methods.simclr import SimCLR
from models.methods.simsiam import SimSiam
from models.methods.supervised import Supervised
from models.methods.vicreg import VICReg

METHODS: dict[str, type[Method]] = {
    "byol": BYOL,
    "moco_v2": MoCoV2,
    "lewel_b": LEWELB,
    "lewel_m": LEWELM,
    "dino": Dino,
    "mcl": MCL,
    "mcl_supervised": MCLSupervised,
    "supervised": Supervised,
    "vicreg": VICReg,
    "simsiam": SimSiam,
    "simclr": SimCLR,
    "barlow_twins": BarlowTwins,
}


def build(spec: Any, make_backbone: Callable[..., Backbone]) -> Method:
    """The method that `spec` names. `make_backbone(**changes)` gives a freshly initialised backbone."""
    return METHODS[spec.name](spec, make_backbone)

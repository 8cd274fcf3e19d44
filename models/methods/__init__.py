"""The shelf of methods: a name and its class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from models.backbones.backbone import Backbone
from models.method import Method
from models.methods.byol import BYOL
from models.methods.lewel_b import LEWELB
from models.methods.lewel_m import LEWELM
from models.methods.moco_v2 import MoCoV2

METHODS: dict[str, type[Method]] = {
    "byol": BYOL,
    "moco_v2": MoCoV2,
    "lewel_b": LEWELB,
    "lewel_m": LEWELM,
}


def build(spec: Any, make_backbone: Callable[..., Backbone]) -> Method:
    """The method that `spec` names. `make_backbone(**changes)` gives a freshly initialised backbone."""
    return METHODS[spec.name](spec, make_backbone)

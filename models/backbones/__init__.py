"""The shelf of backbones: a name, its spec, and who builds it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from models.backbones.backbone import Backbone
from models.backbones.cvt import CvTSpec, build_cvt
from models.backbones.pvt import PvTSpec, build_pvt
from models.backbones.resnet import ResNetSpec, TinySpec, build_resnet, build_tiny
from models.backbones.swin import SwinSpec, SwinTinySpec, build_swin, build_swin_tiny
from models.backbones.vil import ViLSpec, build_vil
from models.backbones.vit import ViTSpec, ViTTinySpec, build_vit, build_vit_tiny
from models.spec import Spec

BACKBONES: dict[str, tuple[type[Spec], Callable[[Any], Backbone]]] = {
    "resnet_tiny": (TinySpec, build_tiny),
    "resnet18": (ResNetSpec, build_resnet),
    "resnet34": (ResNetSpec, build_resnet),
    "resnet50": (ResNetSpec, build_resnet),
    "swin_t": (SwinSpec, build_swin),
    "swin_s": (SwinSpec, build_swin),
    "swin_b": (SwinSpec, build_swin),
    "swin_tiny": (SwinTinySpec, build_swin_tiny),
    "vit_s16": (ViTSpec, build_vit),
    "vit_tiny": (ViTTinySpec, build_vit_tiny),
    "cvt_t": (CvTSpec, build_cvt),
    "vil_t": (ViLSpec, build_vil),
    "pvt_t": (PvTSpec, build_pvt),
}


def make(spec: Any, **changes: Any) -> Backbone:
    """A freshly initialised backbone. `changes` replaces knobs (a teacher's drop_path is 0); those that this
    backbone does not have are left out."""
    known = {knob: value for knob, value in changes.items() if knob in type(spec).model_fields}
    return BACKBONES[spec.name][1](spec.model_copy(update=known))

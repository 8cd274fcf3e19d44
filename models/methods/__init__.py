"""The shelf of methods: a name and its class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from models.backbones.backbone import Backbone
from models.method import Method
from models.methods.byol import BYOL

METHODS: dict[str, type[Method]] = {
    "byol": BYOL,
}


def build(spec: Any, make_backbone: Callable[..., Backbone]) -> Method:
    """The method that `spec` names. `make_backbone(**changes)` gives a freshly initialised backbone."""
    return METHODS[spec.name](spec, make_backbone)

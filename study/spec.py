"""One trial's whole configuration: frozen, typed, and hashed into the trial's id."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, Union

from pydantic import Field

from data.sets import SETS
from data.views import ViewsSpec
from models.backbones import BACKBONES
from models.methods import METHODS
from models.spec import Spec
from study.evaluations import EVALUATIONS
from study.optim import OptimSpec
from study.start import StartSpec, hashed


def _union(specs: list[Any]) -> Any:
    return Annotated[Union[tuple(specs)], Field(discriminator="name")]  # noqa: UP007


if TYPE_CHECKING:
    DataSpec: TypeAlias = Any
    MethodSpec: TypeAlias = Any
    BackboneSpec: TypeAlias = Any
    EvaluationSpec: TypeAlias = Any
else:
    DataSpec = _union([*SETS.values()])
    MethodSpec = _union([m.Spec for m in METHODS.values()])
    BackboneSpec = _union([spec for spec, _ in BACKBONES.values()])
    EvaluationSpec = _union([*EVALUATIONS.values()])


class BudgetSpec(Spec):
    """How long a trial trains, and in what arithmetic."""

    epochs: int = Field(
        ge=0,
        le=100_000,
        description="planned epochs; every schedule runs over them; 0: the `start` is evaluated as it is",
    )
    batch: int = Field(ge=1, le=1_000_000, description="pictures a step over all processes")
    accumulate: int = Field(
        1, ge=1, le=4096, description="backward passes a step, each with batch/accumulate pictures"
    )
    precision: Literal["fp32", "bf16", "fp16"] = Field(
        "fp32", description="autocast; fp16 with a loss scaler"
    )


class TrialSpec(Spec):
    """One trial, complete. Whatever can change its numbers is here; workers, devices and folders are not."""

    data: DataSpec
    backbone: BackboneSpec
    method: MethodSpec
    views: ViewsSpec
    optim: OptimSpec
    budget: BudgetSpec
    start: StartSpec | None = Field(None, description="what training starts from; null: fresh weights")
    seed: int = Field(
        0, ge=0, le=2**31 - 1, description="seeds the weights, the data order, the subset, the views"
    )
    evaluate: tuple[EvaluationSpec, ...] = Field((), description="what is measured when training has ended")

    @property
    def id(self) -> str:
        """12 hex digits over everything that can change the trained weights. Evaluations cannot: their
        scores carry their own names, and one can be added later without training again. Nor can the
        permission to fetch a set: the pictures are the same."""
        dumped = self.model_dump(mode="json", exclude={"evaluate": True, "data": {"download"}})
        start = dumped.pop("start")
        return digest(dumped if start is None else {**dumped, "start": hashed(start)})


BLOCKS = ("data", "backbone", "method", "views", "optim", "budget", "start")


def digest(value: Any) -> str:
    """12 hex digits of a JSON value, keys sorted."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def from_json(text: str) -> TrialSpec:
    """The spec of a row of the table `trials`."""
    return TrialSpec.model_validate_json(text)


@cache
def fields_of(block: str, name: str | None) -> frozenset[str]:
    """The keys that `block` has when its name is `name` (all of any name when None)."""
    from study.reading import known_keys

    value = {block: {"name": name} if name else {}}
    return frozenset(known_keys(TrialSpec, value, (block,)))

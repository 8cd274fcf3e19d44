"""How views are made of a picture: the papers' augmentation recipes and the knobs on them.

Five recipes: MoCo v2 (He et al. 2020; LEWEL_M), BYOL as in the EMAN code (LEWEL_B), DINO's multi-crop
(EsViT, GLSD), MCL's eight views, and the crop and flip of supervised training. In every one the order is
crop, flip, jitter, grey, blur, solarise: MoCo v2 flips last, which gives the same pictures because the flip
commutes with all that follows it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal

from pydantic import Field, model_validator

from data.spec import Spec

Interpolation = Literal["bilinear", "bicubic"]
Share = Annotated[float, Field(gt=0, le=1)]
Pair = Annotated[tuple[Share, Share], Field(strict=False)]  # a YAML list is a pair as well

PAPER_SIZE = 224  # the side at which the papers' blur is stated
RATIO = (3 / 4, 4 / 3)  # width over height of a crop, every recipe


@dataclass(frozen=True)
class ViewSpec:
    """How one view is drawn. Probabilities in [0, 1]; sizes and blur in pixels of the view.

    scale: the crop's share of the picture's area. jitter: half widths of the brightness, contrast and
    saturation factors around 1, and of the hue's turn around 0 (1 = a full turn). sigma: the blur's range.
    """

    size: int
    scale: tuple[float, float]
    interpolation: Interpolation
    jitter: tuple[float, float, float, float]
    blur_p: float
    solarise_p: float = 0.0
    ratio: tuple[float, float] = RATIO
    flip_p: float = 0.5
    jitter_p: float = 0.8
    grey_p: float = 0.2
    sigma: tuple[float, float] = (0.1, 2.0)
    threshold: float = 128 / 255  # values from here on are inverted by the solarisation


_MOCO = ViewSpec(PAPER_SIZE, (0.2, 1.0), "bilinear", (0.4, 0.4, 0.4, 0.1), blur_p=0.5)
_BYOL_1 = ViewSpec(PAPER_SIZE, (0.2, 1.0), "bilinear", (0.4, 0.4, 0.2, 0.1), blur_p=1.0)
_BYOL_2 = replace(_BYOL_1, blur_p=0.1, solarise_p=0.2)
_DINO_1 = replace(_BYOL_1, scale=(0.4, 1.0), interpolation="bicubic")
_DINO_2 = replace(_BYOL_2, scale=(0.4, 1.0), interpolation="bicubic")
_DINO_LOCAL = replace(_DINO_1, size=96, scale=(0.05, 0.4), blur_p=0.5)

_LABELLED = ViewSpec(
    PAPER_SIZE, (0.08, 1.0), "bilinear", (0.4, 0.4, 0.4, 0.1), blur_p=0.0, jitter_p=0.0, grey_p=0.0
)

RECIPES: dict[str, tuple[ViewSpec, ...]] = {  # the views of full size; dino adds local ones
    "moco_v2": (_MOCO, _MOCO),
    "byol": (_BYOL_1, _BYOL_2),
    "dino": (_DINO_1, _DINO_2),
    "mcl": (_BYOL_1,) * 4 + (_BYOL_2,) * 4,
    "supervised": (_LABELLED,),  # crop and flip; jitter's strengths are for whoever turns it on
}
LOCAL_CROPS = 8  # of dino


class ViewsSpec(Spec):
    """The `views:` block of a study file: a recipe and what differs from it. None = as the recipe has it."""

    name: Literal["moco_v2", "byol", "dino", "mcl", "supervised"] = Field(
        ..., description="the recipe of a paper"
    )
    size: int = Field(
        PAPER_SIZE,
        ge=8,
        le=1024,
        description="side of the large views in pixels; where a file names none: digits 16, cifar 32, others 224",
    )
    count: int | None = Field(
        None, ge=1, le=64, description="large views a picture; moco_v2, byol, dino 2; mcl 8; supervised 1"
    )
    scale: Pair | None = Field(None, description="crop area of the large views, shares of the picture")
    local_crops: int | None = Field(None, ge=0, le=64, description="small views a picture; dino only, 8")
    local_size: int | None = Field(
        None, ge=8, le=1024, description="side of the small views; 3/7 of size to a multiple of 8 (96 at 224)"
    )
    local_scale: Pair | None = Field(None, description="crop area of the small views; dino (0.05, 0.4)")
    interpolation: Interpolation | None = Field(None, description="resampling; dino bicubic, others bilinear")
    flip: float | None = Field(
        None, ge=0, le=1, description="probability of a horizontal flip, all views; 0.5"
    )
    jitter: float | None = Field(None, ge=0, le=1, description="probability of colour jitter, all views; 0.8")
    color: float = Field(1.0, ge=0, le=2.5, description="multiplies the four strengths of the colour jitter")
    grey: float | None = Field(None, ge=0, le=1, description="probability of greyscale, all views; 0.2")
    blur: float | None = Field(None, ge=0, le=1, description="probability of blur, all views")
    blur_scaled: bool = Field(
        True, description="blur widths grow with size / 224, so that small views stay legible"
    )
    solarise: float | None = Field(None, ge=0, le=1, description="probability of solarisation, all views")

    @model_validator(mode="after")
    def _agree(self) -> ViewsSpec:
        for key in ("local_crops", "local_size", "local_scale"):
            if getattr(self, key) is not None and self.name != "dino":
                raise ValueError(f"{key} {getattr(self, key)} needs recipe dino, but name is {self.name}")
        for key in ("scale", "local_scale"):
            pair = getattr(self, key)
            if pair is not None and pair[0] > pair[1]:
                raise ValueError(
                    f"{key} runs from {pair[0]} down to {pair[1]}: the smaller share stands first"
                )
        if self.local_size is not None and self.local_size > self.size:
            raise ValueError(f"local_size {self.local_size} is above size {self.size}")
        return self


def plan(spec: ViewsSpec) -> tuple[ViewSpec, ...]:
    """One ViewSpec per view of a picture, the largest first."""
    recipe = RECIPES[spec.name]
    count = spec.count or len(recipe)
    large = [
        recipe[v * len(recipe) // count] if count < len(recipe) else recipe[v % len(recipe)]
        for v in range(count)
    ]
    views = [_turned(view, spec, spec.size, spec.scale) for view in large]
    if spec.name == "dino":
        side = spec.local_size or max(8, (spec.size * 3 + 28) // 56 * 8)  # 3/7 of size, to a multiple of 8
        small = _turned(_DINO_LOCAL, spec, side, spec.local_scale)
        views += [small] * (LOCAL_CROPS if spec.local_crops is None else spec.local_crops)
    return tuple(views)


def _turned(view: ViewSpec, spec: ViewsSpec, size: int, scale: tuple[float, float] | None) -> ViewSpec:
    """The recipe's view with the spec's knobs turned."""
    b, c, s, h = (strength * spec.color for strength in view.jitter)
    widths = spec.size / PAPER_SIZE if spec.blur_scaled else 1.0
    return replace(
        view,
        size=size,
        scale=scale or view.scale,
        interpolation=spec.interpolation or view.interpolation,
        jitter=(b, c, s, min(h, 0.5)),
        sigma=(view.sigma[0] * widths, view.sigma[1] * widths),
        flip_p=_first(spec.flip, view.flip_p),
        jitter_p=_first(spec.jitter, view.jitter_p),
        grey_p=_first(spec.grey, view.grey_p),
        blur_p=_first(spec.blur, view.blur_p),
        solarise_p=_first(spec.solarise, view.solarise_p),
    )


def _first(knob: float | None, otherwise: float) -> float:
    return otherwise if knob is None else knob

"""MCL, supervised: montages whose tiles carry their pictures' labels (arXiv 2304.02010, appendix, figure 4).

S views are shrunk to 1/2^s and assembled; every tile is classified at its level:

    L = sum_s w_s CE(classifier(tile of level s), label of its picture).

MCL without the second side, the momentum encoder and the predictors. There is no released code; left open by
the text and chosen here (M7): S = 3, MCL's pyramid and head, one linear classifier for all levels, weights
1/2^(s+1) over their sum, the supervised baseline's optimiser. Smallest set: three levels with a ResNet of
stride 4 and 32 px; the accuracy falls with the level, since small tiles tell less.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from models import parallel
from models.backbones.backbone import Backbone
from models.levels import LevelEncoder, LevelSpec, Weighting, draw_tables, lay
from models.method import Batch, Method, Moment, Step
from models.norms import convert


class MCLSupervisedSpec(LevelSpec):
    """Three levels; the optimiser is that of the supervised baseline."""

    name: Literal["mcl_supervised"] = Field("mcl_supervised", description="multi-level cross-entropy")
    levels: int = Field(3, ge=1, le=6, description="levels and views (S); level s shows its view at 1/2^s")
    weighting: Weighting = Field(
        "normalised",
        description="weights of the levels: normalised = 1/2^(s+1) over their sum, halving = not divided, "
        "released = the last doubled instead, equal = 1/levels",
    )
    slices: Literal["all", "used"] = Field(
        "used",
        description="which pictures go through every level's head: used = those the loss reads, all = every "
        "one, as MCL's code does for its batch-norm statistics",
    )
    classes: int = Field(1000, ge=2, description="classes of the set")
    classifier: Literal["shared", "level"] = Field("shared", description="one for all levels, or one a level")
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="share of the target spread over all classes")
    batch_norm: Literal["sync", "per_device"] = Field(
        "sync", description="batch statistics over all processes, or of each process"
    )


class MCLSupervised(Method):
    """Multi-level classification of montage tiles."""

    Spec = MCLSupervisedSpec
    recipe = "supervised"
    spec: MCLSupervisedSpec

    def __init__(self, spec: MCLSupervisedSpec, make_backbone: Callable[..., Backbone]) -> None:
        super().__init__(spec, make_backbone)
        self.online = LevelEncoder(spec, make_backbone)
        count = spec.levels if spec.classifier == "level" else 1
        self.classifiers = nn.ModuleList(nn.Linear(spec.width, spec.classes) for _ in range(count))
        convert(self, spec.batch_norm)

    def transfer(self) -> dict[str, nn.Module]:
        return self.online.transfer()

    def forward(self, batch: Batch, moment: Moment) -> Step:
        first = batch.views[0]
        pictures = len(first) * parallel.world()
        return self.classify(batch, draw_tables(pictures, self.spec, 1, first.device)[0])

    def classify(self, batch: Batch, tables: Sequence[Tensor]) -> Step:
        """The step for given tiles: `tables` as `draw_tables` gives them for one side."""
        if len(batch.views) != self.spec.levels:
            raise ValueError(
                f"{self.spec.levels} levels need {self.spec.levels} views; the batch has {len(batch.views)} "
                "(views.count)"
            )
        sheet = lay(batch.views, tables, self.spec)
        features = self.online(sheet.images, sheet.rows)
        everybody = parallel.plain_gather(batch.labels)
        terms: dict[str, Tensor] = {}
        monitors: dict[str, Tensor] = {}
        for level, weight in enumerate(self.spec.level_weights()):
            classify = self.classifiers[level if self.spec.classifier == "level" else 0]
            logits, labels = classify(features[level]), everybody[sheet.ids[level]]  # a row a tile
            smoothing = self.spec.label_smoothing
            terms[f"level{level}"] = weight * F.cross_entropy(logits, labels, label_smoothing=smoothing)
            monitors[f"accuracy{level}"] = (logits.argmax(1) == labels).float().mean()
        return Step(terms, embedding=features[0].detach(), monitors=monitors)

"""What every evaluation is: a spec that scores a subject, a frozen encoder with its pictures."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, Union

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from data.plain import centre, crop_flip
from data.recipes import Interpolation
from data.sets import SETS
from data.sets.dataset import Dataset, Split
from models.backbones.backbone import Backbone
from models.spec import Spec

Part = Literal["train", "test"]
if TYPE_CHECKING:
    OtherData = Any
else:
    OtherData = Annotated[Union[tuple(SETS.values())], Field(discriminator="name")]  # noqa: UP007
ON_DEVICE = 0.4  # of a GPU's free memory; larger cached features stay in host memory


@dataclass(frozen=True)
class Score:
    """metric: its name within the evaluation. value: accuracies are percentages. n: pictures (or pairs) that
    the value is a mean over. step: of training, where the evaluation has steps of its own."""

    metric: str
    value: float
    n: int
    step: int | None = None


class Evaluation(Spec):
    """The base of every evaluation: its knobs, and `run`. A subclass has `name: Literal[...]`.

    needs: what its set has to know beside labels, as in `SetSpec.annotated`. one_class: whether it needs
    pictures of one class each.
    """

    needs: ClassVar[str | None] = None
    one_class: ClassVar[bool] = False
    name: str
    label: str = Field(
        "",
        pattern=r"^[A-Za-z][A-Za-z0-9_\-]*$|^$",
        max_length=40,
        description="what its scores are called (label.metric); where absent, its name (and its data's)",
    )

    data: OtherData | None = Field(
        None,
        description="the set it is measured on, where that is not the one of the pre-training (transfer)",
    )
    every: int | None = Field(
        None,
        ge=1,
        le=100_000,
        description="epochs between its measurements during training, as curves; absent: only at the end",
    )

    draw: int = Field(
        0,
        ge=0,
        le=10_000,
        description="another draw of what the seed draws for it (labelled subset, probe's start); with a label",
    )

    @model_validator(mode="after")
    def _labelled(self) -> Self:
        if self.data is not None and self.data.fraction != 1:
            raise ValueError(
                f"an evaluation's data is used whole, not {self.data.fraction:g} of it; see its own fraction"
            )
        if not self.label:
            # Frozen; a default that depends on the name. With other data the label tells which.
            label = f"{self.name}_{self.data.name}" if self.data is not None else self.name
            object.__setattr__(self, "label", label)
        return self

    @classmethod
    def smallest(cls) -> dict[str, Any]:
        """Knobs with which it runs within a second on a toy subject, for the contract tests."""
        return {}

    def run(self, subject: Subject) -> list[Score]:
        """The scores, final first. Leaves the subject's encoder as it was."""
        raise NotImplementedError


class Subject:
    """What is evaluated: an encoder, with the labelled pictures of both splits and their cached features.

    encoder: on `device`; put into eval mode while features are extracted and restored after.
    train_indices: (M,) int64, the training pictures that pre-training saw. Evaluations use every labelled
    training picture unless their paper says otherwise.
    size: pixels of the square crop. mean, std: of the three channels, in [0, 1]. precision: of extraction;
    features are float32 in either case. Pictures without a label (-1) are left out everywhere.
    parts: what the method trained beside the encoder, as its `transfer` gives it.
    """

    def __init__(
        self,
        encoder: Backbone,
        dataset: Dataset,
        *,
        size: int,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
        train_indices: Tensor | None = None,
        device: torch.device | str = "cpu",
        seed: int = 0,
        batch: int = 256,
        precision: Literal["fp32", "bf16"] = "fp32",
        parts: Mapping[str, nn.Module] | None = None,
    ) -> None:
        self.encoder = encoder
        self.dataset = dataset
        self.size = size
        self.mean = mean
        self.std = std
        self.device = torch.device(device)
        self.seed = seed
        self.batch = batch
        self.precision = precision
        self.parts = parts or {}
        self.train_indices = train_indices if train_indices is not None else self.indices("train")
        self._cache: dict[tuple[str, Part, int, Interpolation], Tensor] = {}

    def on(self, dataset: Dataset) -> Subject:
        """The same encoder before other pictures, none of which pre-training has seen."""
        return Subject(
            self.encoder,
            dataset,
            size=self.size,
            mean=self.mean,
            std=self.std,
            device=self.device,
            seed=self.seed,
            batch=self.batch,
            precision=self.precision,
            parts=self.parts,
        )

    def redrawn(self, draw: int) -> Subject:
        """The same subject, features and all, with another draw of what its seed draws; itself for 0."""
        if draw == 0:
            return self
        other = copy.copy(self)
        other.seed = (
            int.from_bytes(hashlib.sha256(f"{self.seed} {draw}".encode()).digest()[:4], "little") >> 1
        )
        return other

    @property
    def classes(self) -> int:
        return self.dataset.classes

    def split(self, part: Part) -> Split:
        return self.dataset.train if part == "train" else self.dataset.test

    def indices(self, part: Part) -> Tensor:
        """(N,) int64: the labelled pictures of the split, whose order features and labels follow."""
        split = self.split(part)
        if split.targets is not None:
            return torch.arange(len(split))
        return (split.labels >= 0).nonzero().squeeze(1)

    def labels(self, part: Part) -> Tensor:
        """(N,) int64, on the CPU. Raises ValueError where a picture may be of several classes."""
        split = self.split(part)
        if split.targets is not None:
            raise ValueError(
                f"a picture may be of several of the {split.targets.shape[1]} classes: use logistic"
            )
        return split.labels[split.labels >= 0]

    def targets(self, part: Part) -> Tensor | None:
        """(N, K) int8, on the CPU: 1 where a picture is of the class, 0 where it is not, -1 where that is left
        open; None where every picture has one class."""
        return self.split(part).targets

    def features(self, part: Part, interpolation: Interpolation = "bicubic") -> Tensor:
        """(N, C) float32: the pooled feature of every labelled picture. Extracted once."""
        return self._cached("pooled", part, 0, interpolation, lambda images: self.encoder(images).pooled)

    def last_blocks(self, part: Part, blocks: int, interpolation: Interpolation = "bicubic") -> Tensor:
        """(N, sum of channels) float32: pooled features of the last blocks, concatenated. Extracted once."""
        if type(self.encoder).last_blocks is Backbone.last_blocks:  # convolutional: the pooled feature
            return self.features(part, interpolation)
        return self._cached(
            "blocks", part, blocks, interpolation, lambda images: self.encoder.last_blocks(images, blocks)
        )

    def dense(self, part: Part, count: int, interpolation: Interpolation = "bicubic") -> Tensor:
        """(min(count, N), C, H, W) float32: the maps of the pictures that `drawn` names. Extracted once."""
        return self._cached("dense", part, count, interpolation, lambda images: self.encoder(images).dense)

    def drawn(self, part: Part, count: int) -> Tensor:
        """(min(count, N),) int64, sorted: labelled pictures, drawn without replacement by the seed."""
        indices = self.indices(part)
        order = torch.randperm(len(indices), generator=self.generator("drawn"))
        return indices[order[:count]].sort().values

    def pictures(self, part: Part, indices: Tensor, interpolation: Interpolation = "bicubic") -> Tensor:
        """(B, 3, size, size) float32 on the device: resized, cut at the centre, normalised."""
        return centre(
            self.split(part),
            indices,
            self.size,
            self.device,
            self.mean,
            self.std,
            interpolation=interpolation,
        )

    def augmented(
        self,
        part: Part,
        indices: Tensor,
        generator: torch.Generator,
        interpolation: Interpolation = "bilinear",
    ) -> Tensor:
        """(B, 3, size, size) float32 on the device: a random resized crop (area 0.08 to 1), half flipped."""
        split = self.split(part)
        return crop_flip(
            split,
            indices,
            self.size,
            generator,
            self.device,
            self.mean,
            self.std,
            interpolation=interpolation,
        )

    def generator(self, *words: object) -> torch.Generator:
        """A generator on the CPU that depends on the subject's seed and on what it is for."""
        text = " ".join(map(str, (self.seed, *words)))
        mixed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1
        return torch.Generator().manual_seed(mixed)

    def autocast(self) -> AbstractContextManager[object]:
        """The subject's precision, for the encoder's forward."""
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def encode(self, images: Tensor, forward: Callable[[Tensor], Tensor]) -> Tensor:
        """`forward` of the resting encoder in the subject's precision, as float32 without gradient."""
        # no_grad and not inference_mode: a backbone may cache what it makes on the way (attention masks),
        # and an inference tensor in that cache would break the next training step.
        with resting(self.encoder), torch.no_grad(), self.autocast():
            return forward(images).float()

    def _cached(
        self,
        kind: str,
        part: Part,
        number: int,
        interpolation: Interpolation,
        forward: Callable[[Tensor], Tensor],
    ) -> Tensor:
        held = self.split(part).held
        if held is not None and tuple(held.shape[2:]) == (self.size, self.size):
            interpolation = "bilinear"  # nothing is resampled: both are the same pictures
        key = (kind, part, number, interpolation)
        if key not in self._cache:
            indices = self.drawn(part, number) if kind == "dense" else self.indices(part)
            self._cache[key] = self._extract(part, indices, interpolation, forward)
        return self._cache[key]

    def _home(self, total: int) -> torch.device:
        """Where `total` bytes of features are kept."""
        if self.device.type == "cuda" and total > ON_DEVICE * torch.cuda.mem_get_info(self.device)[0]:
            return torch.device("cpu")
        return self.device

    def _extract(
        self, part: Part, indices: Tensor, interpolation: Interpolation, forward: Callable[[Tensor], Tensor]
    ) -> Tensor:
        out: Tensor | None = None
        at = 0
        for chunk in indices.split(self.batch):
            rows = self.encode(self.pictures(part, chunk, interpolation), forward)
            if out is None:  # one allocation: a list of chunks would need twice the memory
                home = self._home(len(indices) * rows[0].numel() * 4)
                out = torch.empty(len(indices), *rows.shape[1:], device=home)
            out[at : at + len(rows)] = rows
            at += len(rows)
        if out is None:
            raise ValueError(
                f"the {part} split has {len(self.split(part))} pictures, of which 0 are labelled"
            )
        return out


@contextmanager
def resting(module: nn.Module) -> Iterator[None]:
    """`module` in eval mode; every part's own mode is restored after."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


def accuracies(logits: Tensor, labels: Tensor, suffix: str = "", step: int | None = None) -> list[Score]:
    """top1 and, with more than five classes, top5, in %. logits: (N, K); labels: (N,)."""
    labels = labels.to(logits.device)
    ranked = logits.topk(min(5, logits.shape[1]), dim=1).indices
    ranked[:, 0] = logits.argmax(1)  # the first of equals
    hits = ranked == labels[:, None]
    scores = [Score(f"top1{suffix}", 100 * hits[:, 0].double().mean().item(), len(labels), step)]
    if logits.shape[1] > 5:
        scores.append(Score(f"top5{suffix}", 100 * hits.any(1).double().mean().item(), len(labels), step))
    return scores

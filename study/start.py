"""What a trial starts from: fresh weights, another trial, a checkpoint file, or timm's pretrained weights."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator
from torch import Tensor

from models import parallel
from models.backbones.backbone import Backbone
from models.method import Method
from models.spec import Spec
from study import checkpoint, weights
from study.weights import StartError

Part = Literal["method", "encoder"]
PART = (
    "method: its weights, teacher, heads and memories, as far as this method has them; encoder: the backbone"
)
Schedule = Literal["restart", "continue"]
SCHEDULE = (
    "restart: all schedules begin anew, over budget.epochs; continue: the epochs are counted on from there, up to "
    "budget.epochs (EsViT)"
)


class RandomStart(Spec):
    """Fresh weights: what an untrained network scores (with budget.epochs 0)."""

    name: Literal["random"] = Field("random", description="fresh weights")


class ArmStart(Spec):
    """The trial of the same seed in another arm, of this study or of another file. The optimiser starts anew."""

    name: Literal["arm"] = Field("arm", description="a trial that a study file describes")
    arm: str = Field(description="the arm's label, as the tables show it")
    study: str | None = Field(None, description="the other study's file, beside this one; null: this study")
    epoch: int | None = Field(None, ge=1, description="after so many epochs of its training; null: its end")
    part: Part = Field("method", description=PART)
    schedule: Schedule = Field("restart", description=SCHEDULE)


class TrialStart(Spec):
    """A trial of the same store, whatever its study and seed. The optimiser starts anew."""

    name: Literal["trial"] = Field("trial", description="a trial by its id")
    id: str = Field(description="its 12 hexadecimal digits, as in the table `trials`")
    epoch: int | None = Field(None, ge=0, description="after so many epochs of its training; null: its end")
    part: Part = Field("method", description=PART)
    schedule: Schedule = Field("restart", description=SCHEDULE)

    @field_validator("id")
    @classmethod
    def _whole(cls, identity: str) -> str:
        if not re.fullmatch(r"[0-9a-f]{12}", identity):
            raise ValueError(f"must be the 12 hexadecimal digits of a trial, not '{identity}'")
        return identity


class FileStart(Spec):
    """A checkpoint file: a state dict, or a nest of them, whose names are the backbone's behind some prefix."""

    name: Literal["file"] = Field("file", description="a checkpoint file (.pt, .pth, .safetensors)")
    path: str = Field(min_length=1, description="where it is, from the study file's folder")
    digest: str | None = Field(
        None, pattern=r"^[0-9a-f]{64}$", description="SHA-256 of its content; filled in when null"
    )
    prefix: str | None = Field(
        None, description="which of several backbones in it, as `teacher` or `state_dict.module.encoder_q`"
    )


class TimmStart(Spec):
    """timm's pretrained weights, for backbones that timm has."""

    name: Literal["timm"] = Field("timm", description="pretrained weights by their name in timm")
    model: str = Field(
        description="with its tag, as resnet50.tv_in1k or swin_tiny_patch4_window7_224.ms_in1k"
    )

    @field_validator("model")
    @classmethod
    def _tagged(cls, model: str) -> str:
        if not re.fullmatch(r"\w+\.\w+", model):
            what = "a bare name's weights change with timm's version"
            raise ValueError(f"'{model}' must have its tag, like resnet50.tv_in1k: {what}")
        return model


StartSpec = Annotated[
    RandomStart | ArmStart | TrialStart | FileStart | TimmStart, Field(discriminator="name")
]
TIMM = ("resnet18", "resnet34", "resnet50", "swin_t", "swin_s", "swin_b", "vit_s16")  # what timm has of ours


def hashed(start: dict[str, Any]) -> dict[str, Any]:
    """What of a start is part of the trial's id: of a file its content, not its place."""
    return {key: value for key, value in start.items() if (start["name"], key) != ("file", "path")}


def keep(folder: Path, identity: str, method: Method, epoch: int, planned: int) -> None:
    """Leave the state of a trial after `epoch` of `planned` epochs, for others to start from."""
    state = {"id": identity, "epoch": epoch, "planned": planned, "method": method.state_dict()}
    checkpoint.save(folder / f"epoch-{epoch}.pt", {**state, "encoder": method.encoder.state_dict()})


def stands(folder: Path, start: TrialStart) -> bool:
    """Whether the trial whose folder this is has left what `start` needs."""
    if start.epoch is not None:
        return (folder / f"epoch-{start.epoch}.pt").exists()
    return (folder / "encoder.pt").exists() if start.part == "encoder" else any(folder.glob("epoch-*.pt"))


def begin(method: Method, start: Any, folder: Path | None, epochs: int = 0) -> int:
    """Put the weights that `start` names into the method; the epoch from which schedules count on, or 0.

    folder: the trial's own, beside which those of other trials are. Of several processes the first one alone
    has to see it. epochs: planned, 0 where nothing is trained. Raises StartError, in all of them.
    """
    epoch, error = 0, None
    if parallel.rank() == 0:
        try:
            epoch = _begin(method, start, folder)
            if 0 < epochs <= epoch:
                raise StartError(f"start: budget.epochs {epochs} is no more than the {epoch} trained there")
        except StartError as why:
            error = str(why)
    epoch, error = parallel.of_first((epoch, error))
    if error is not None:
        raise StartError(error)
    if parallel.world() > 1:
        first = parallel.rank() == 0
        state = {name: value.cpu() for name, value in method.state_dict().items()} if first else None
        method.load_state_dict(parallel.of_first(state))
    return epoch


def _begin(method: Method, start: Any, folder: Path | None) -> int:
    if isinstance(start, TimmStart):
        into_backbones(method, weights.of_timm(start.model))
    elif isinstance(start, FileStart):
        path = Path(start.path).expanduser()
        if digest(path) != start.digest:
            raise StartError(f"start: {path} is not the file that it was when the study was read")
        into_backbones(method, weights.of_file(path), start.prefix)
    elif isinstance(start, TrialStart):
        if folder is None:
            raise StartError(f"start: trial {start.id} is looked for beside the trial's folder; it has none")
        return _of_trial(method, start, folder.parent / start.id)
    elif not isinstance(start, RandomStart):
        raise StartError(f"start: arm {start.arm} stands for no trial without its study file")
    return 0


def _of_trial(method: Method, start: TrialStart, folder: Path) -> int:
    for state in _states(folder, start):
        if state["epoch"] != (state["planned"] if start.epoch is None else start.epoch):
            continue
        if start.part == "encoder":
            into_backbones(method, state["encoder"])
        else:
            into_method(method, state["method"])
        return int(state["epoch"]) if start.schedule == "continue" else 0
    what = "end" if start.epoch is None else f"epoch {start.epoch}"
    hint = " (a method's state is kept when it is small, or another arm of its study starts from it)"
    raise StartError(
        f"start: trial {start.id} left no {start.part} of its {what} in {folder}"
        f"{hint if start.part == 'method' else ''}"
    )


def _states(folder: Path, start: TrialStart) -> Iterator[dict[str, Any]]:
    if start.epoch is not None:
        paths = [folder / f"epoch-{start.epoch}.pt"]
    else:
        paths = [folder / "encoder.pt"] if start.part == "encoder" else sorted(folder.glob("epoch-*.pt"))
    for path in paths:
        state = checkpoint.load(path)
        if state is not None and "epoch" in state and state["id"] == start.id:
            yield state


def into_backbones(method: Method, tensors: dict[str, Tensor], prefix: str | None = None) -> None:
    """Load the tensors into every backbone of the method, the online one and its teacher. Raises StartError."""
    fitting = weights.fitting(tensors, method.encoder.state_dict(), prefix)
    for module in method.modules():
        if isinstance(module, Backbone):
            module.load_state_dict(fitting, strict=False)


def into_method(method: Method, tensors: dict[str, Tensor]) -> None:
    """Load what both have; what is new stays fresh. Raises StartError where shapes differ, or no backbone is
    there."""
    own = method.state_dict()
    shared = {name: value for name, value in tensors.items() if name in own}
    weights.same_shapes(shared, own)
    for path, module in method.named_modules():
        absent = (
            []
            if not isinstance(module, Backbone)
            else [name for name in module.state_dict(prefix=f"{path}.") if name not in shared]
        )
        if absent:
            raise StartError(
                f"start: another method was trained there, without {absent[0]}; take part: encoder"
            )
    method.load_state_dict(shared, strict=False)


def digest(path: Path) -> str:
    """SHA-256 of a file's content. Raises StartError where it cannot be read."""
    try:
        facts = path.stat()
        return _digest(path, facts.st_mtime_ns, facts.st_size)
    except OSError as error:
        raise StartError(f"start: {path} cannot be read ({error.strerror})") from None


@lru_cache(maxsize=64)  # every cell and seed of a study asks for it
def _digest(path: Path, changed: int, size: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

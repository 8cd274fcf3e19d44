"""Weights of other people's files: which tensors in a nest of state dicts are those of a backbone."""

from __future__ import annotations

import argparse
import pickle
import re
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

Tensors = dict[str, Tensor]


class StartError(ValueError):
    """A trial cannot start from what it is told to."""


def of_file(path: Path) -> Tensors:
    """Every tensor of a checkpoint, by its dotted path of keys. No code of the file is run. Raises StartError."""
    try:
        if path.suffix == ".safetensors":
            return _safetensors(path)
        with torch.serialization.safe_globals([argparse.Namespace]):  # DINO's files hold their command line
            state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise StartError(f"start: {path} cannot be read ({error.strerror or error})") from None
    except (RuntimeError, EOFError, ValueError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        what = str(error).strip().splitlines()
        raise StartError(
            f"start: {path} is no checkpoint of tensors ({what[0][:160] if what else ''})"
        ) from None
    return dict(flat(state))


def _safetensors(path: Path) -> Tensors:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except SafetensorError as error:
        raise ValueError(str(error)) from None


def flat(state: Any, path: str = "") -> Iterable[tuple[str, Tensor]]:
    """The tensors of nested mappings with their dotted paths."""
    if isinstance(state, Tensor):
        yield path, state
    elif isinstance(state, Mapping):
        for key, value in state.items():
            yield from flat(value, f"{path}.{key}" if path else str(key))


def of_timm(name: str) -> Tensors:
    """Pretrained weights by timm's name. Raises StartError where there are none, or they cannot be fetched."""
    import timm

    if name not in timm.list_pretrained():
        raise StartError(f"start: timm {timm.__version__} has no pretrained weights {name}")
    try:
        net: Any = timm.create_model(name, pretrained=True, num_classes=0)
    except (OSError, RuntimeError, ValueError) as error:
        what = str(error).strip().splitlines()
        raise StartError(
            f"start: timm's {name} cannot be fetched ({what[0][:160] if what else ''})"
        ) from None
    mean = tuple(net.pretrained_cfg.get("mean", ()))
    if mean and any(abs(a - b) > 0.01 for a, b in zip(mean, (0.485, 0.456, 0.406))):
        raise StartError(f"start: timm's {name} wants pictures with mean {mean}; ours have ImageNet's")
    return dict(net.state_dict())


def fitting(tensors: Tensors, wanted: Mapping[str, Tensor], prefix: str | None = None) -> Tensors:
    """Of `tensors`, those of a backbone with the state `wanted`, under the backbone's own names.

    The names have to be the backbone's behind some prefix (`module.encoder_q.`, `teacher.backbone.`), which is
    found; what else is there is left. Raises StartError where no prefix fits, several do, or a shape differs.
    """
    needed = [name for name in wanted if not name.endswith("num_batches_tracked")]  # old files have none
    found: dict[str, Tensors] = {}
    best: tuple[int, str, str] = (-1, "", "")
    for named in (tensors, _from_timm(tensors)):
        for start in _prefixes(named, needed):
            if prefix is not None and not start.startswith(prefix.rstrip(".") + "."):
                continue
            absent = [name for name in needed if start + name not in named]
            best = max(best, (len(needed) - len(absent), start, absent[0] if absent else ""))
            if not absent and start not in found:
                found[start] = {name: named[start + name] for name in wanted if start + name in named}
    if "encoder." in found:  # our own files name the one that evaluations are given
        found = {"encoder.": found["encoder."]}
    if not found:
        raise StartError(_unfit(tensors, len(needed), best, prefix))
    first, *others = found.values()
    if any(not torch.equal(first[name], other[name]) for other in others for name in needed):
        choices = ", ".join(start.rstrip(".") or "(none)" for start in found)
        raise StartError(f"start: the file has several backbones; choose one by start.prefix: {choices}")
    same_shapes(first, wanted)
    return first


def same_shapes(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Raises StartError naming the first tensor whose shape is not the one wanted."""
    for name, value in tensors.items():
        if value.shape != wanted[name].shape:
            there, here = tuple(value.shape), tuple(wanted[name].shape)
            raise StartError(f"start: {name} is {there} there and {here} here")


def _prefixes(tensors: Tensors, needed: list[str]) -> list[str]:
    """What stands before any of a few of the needed names: a file may lack one of them."""
    ends = [needed[0], needed[len(needed) // 2], needed[-1]]
    found = {name.removesuffix(end) for name in tensors for end in ends if name.endswith(end)}
    return sorted(start for start in found if not start or start.endswith("."))


def _from_timm(tensors: Tensors) -> Tensors:
    """timm's Swin merges patches at the beginning of a stage, everybody else's at the end of the one before."""
    if not any(".downsample.reduction." in name for name in tensors):
        return {}
    moved = re.compile(r"(^|\.)layers\.(\d+)\.downsample\.")
    return {
        moved.sub(lambda m: f"{m[1]}layers.{int(m[2]) - 1}.downsample.", name): value
        for name, value in tensors.items()
    }


def _unfit(tensors: Tensors, needed: int, best: tuple[int, str, str], prefix: str | None) -> str:
    count, start, absent = best
    if count <= 0:
        some = ", ".join(list(tensors)[:3]) or "nothing"
        under = f" under {prefix}" if prefix else ""
        return f"start: none of the backbone's {needed} tensors is there{under}; there are {some}, ..."
    where = f"under {start.rstrip('.')}" if start else "there"
    return f"start: {count} of the backbone's {needed} tensors are {where}; {absent} is not"

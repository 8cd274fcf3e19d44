"""Checkpoints: whole, or not there. Written to a temporary name, flushed to disk, renamed into place."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from models import parallel


def save(path: Path, state: dict[str, Any]) -> None:
    """Save `state` at `path` atomically. Raises OSError naming the path when the disk is full or refuses."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:
        # torch reports a full disk as a RuntimeError of its zip writer.
        if (
            isinstance(error, RuntimeError)
            and "write" not in str(error)
            and "PytorchStreamWriter" not in str(error)
        ):
            raise
        number = getattr(error, "errno", None) or 28
        raise OSError(number, f"cannot write a checkpoint ({os.strerror(number)})", str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def load(path: Path) -> dict[str, Any] | None:
    """The state at `path`, on the CPU; None when there is none, or when what is there is torn."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        return None
    except (OSError, EOFError, RuntimeError, pickle.UnpicklingError, zipfile.BadZipFile):
        return None
    return state if isinstance(state, dict) else None


def shared(path: Path | None) -> dict[str, Any] | None:
    """The state at `path`, in every process that which the first one sees: on a cluster the others may see none,
    or another one."""
    return parallel.of_first(load(path) if path is not None and parallel.rank() == 0 else None)

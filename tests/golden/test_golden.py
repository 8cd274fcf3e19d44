"""Numbers of the authors' own code, reproduced in double precision; GOLDEN_DIR names another folder."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from cases import CASES, DEFAULT, TOLERANCES

HERE = Path(__file__).parent / "vectors"


def folder() -> Path:
    return Path(os.environ.get("GOLDEN_DIR", HERE))


def read(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


def disagreements(made: Mapping[str, np.ndarray], arrays: Mapping[str, np.ndarray], stem: str) -> list[str]:
    rtol, atol = TOLERANCES.get(stem, DEFAULT)
    found = []
    for name, value in made.items():
        if name not in arrays:
            found.append(f"{name}: not in the vector")
        elif arrays[name].shape != value.shape:
            found.append(f"{name}: shape {value.shape}, not {arrays[name].shape}")
        elif arrays[name].dtype.kind != "f":
            if not np.array_equal(arrays[name], value):
                found.append(f"{name}: not equal")
        elif not np.allclose(value, arrays[name], rtol=rtol, atol=atol):
            found.append(f"{name}: differs by {np.abs(value - arrays[name]).max():.2e}")
    return found


@pytest.mark.parametrize("stem", sorted(CASES))
def test_numbers_of_the_authors_code(stem: str) -> None:
    path = folder() / f"{stem}.npz"
    if not path.exists() and "GOLDEN_DIR" in os.environ:
        pytest.skip(f"GOLDEN_DIR has no {path.name}")
    arrays = read(path)
    made = CASES[stem](arrays, json.loads(str(arrays["params_json"])))
    assert made
    assert not disagreements(made, arrays, stem)


def test_every_vector_has_a_case() -> None:
    assert {path.stem for path in HERE.glob("*.npz")} == set(CASES)


def test_a_wrong_number_is_found() -> None:
    right = {"x": np.array([1.0, 2.0])}
    assert disagreements({"x": np.array([1.0, 2.0 + 1e-7])}, right, "any")
    assert disagreements({"y": np.array([1.0, 2.0])}, right, "any")
    assert not disagreements(right, right, "any")

"""The table of golden cases: the stem of a vector file to the function that reproduces its arrays.

A function takes the file's arrays and its parameters ({"hyper": {...}}, or the hyper-parameters alone) and
gives arrays under the names that they have in the file.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

Case = Callable[[Mapping[str, np.ndarray], Mapping[str, Any]], dict[str, np.ndarray]]

sys.path.insert(0, str(Path(__file__).parent))  # for whoever loads this file by its path

CASES: dict[str, Case] = {}
TOLERANCES: dict[
    str, tuple[float, float]
] = {}  # rtol, atol; where the vectors' index says other than DEFAULT
DEFAULT = (1e-9, 1e-12)


def _hyper_first(case: Case) -> Case:
    def made(arrays: Mapping[str, np.ndarray], params: Mapping[str, Any]) -> dict[str, np.ndarray]:
        return case(arrays, params if "hyper" in params else {"hyper": params})

    return made


for _file in sorted(Path(__file__).parent.glob("cases_*.py")):
    _module = importlib.import_module(_file.stem)
    CASES |= {stem: _hyper_first(case) for stem, case in _module.CASES.items()}
    TOLERANCES |= getattr(_module, "TOLERANCES", {})

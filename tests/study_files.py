"""A small good study file, and how it is spoilt: material of the tests of refusals."""

from __future__ import annotations

from pathlib import Path

from study.mistake import Mistakes
from study.space import Space
from study.studyfile import load

GOOD = """\
study: small
question: Does it refuse what it should?
base:
  data:     {name: digits}
  backbone: {name: resnet_tiny}
  method:   {name: lewel_b, dim: 64, channels: 64, groups: 4, hidden: 128, batch_norm: sync}
  views:    {size: 16, flip: 0.0}
  optim:    {name: sgd, lr: 0.1, weight_decay: 1e-4}
  budget:   {epochs: 12, batch: 32}
evaluate: [knn, linear]
grid:
  method.groups: [1, 2, 4]
arms:
  byol: {method: {name: byol, dim: 64, hidden: 128}}
baseline: byol
seeds: 3
"""
DINO = "  method:   {name: dino, out_dim: 64, hidden: 32, bottleneck: 16, matching: similarity}"
METHOD, VIEWS, OPTIM, BUDGET, EVALUATE = (GOOD.splitlines()[i] for i in (5, 6, 7, 8, 9))
GRID = "grid:\n  method.groups: [1, 2, 4]\n"
ALONE = GOOD.replace(GRID, "").replace(
    "baseline: byol\n", ""
)  # only the arm byol, whatever the base's method


def refusal(text: str | bytes, folder: Path, scale: str = "laptop", overrides: tuple[str, ...] = ()) -> str:
    """What the file is refused with; an empty text when it is not."""
    path = folder / "f.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    try:
        Space(load(path, scale, overrides))
    except Mistakes as error:
        return str(error).replace(str(path), "f.yaml")
    return ""


def swapped(old: str, new: str, text: str = GOOD) -> str:
    assert old in text, old
    return text.replace(old, new, 1)


def method(line: str, rest: str = "") -> str:
    """The good file with one arm, of this method; `rest` is put at its end."""
    text = swapped(METHOD, "  method:   " + line, GOOD).replace(GRID, "")
    head, _, tail = text.partition("arms:\n")
    return head + tail.partition("baseline: byol\n")[2] + rest


def dino(extra: str = "", views: str = "size: 16, local_crops: 2, local_size: 8") -> str:
    text = method("{name: dino, out_dim: 64, hidden: 32, bottleneck: 16, batch_norm: sync" + extra + "}")
    return swapped(VIEWS, "  views:    {" + views + "}", text)


def searched(line: str, rest: str = "") -> str:
    return GOOD + "search:\n  " + line + "\n" + rest

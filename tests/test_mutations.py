"""Study files with accidents: read or refused, within seconds, and never a traceback."""

from __future__ import annotations

import contextlib
import random
import string
import time
from pathlib import Path

import pytest

from study.mistake import Mistakes
from study.space import Space
from study.studyfile import load
from tests.study_files import GOOD, dino

# fmt: off
VALUES = [
    "", "null", "true", "-1", "0", "1e308", "1e-400", ".nan", "'x'", "[]", "{}", "[1, [2]]", "{a: 1}",
    "010", "1:30", "~", "&a 1", "*a", "!!set {}", "!x", "2024-01-01", "99999999999999999999999", "-0.0",
    "\u00e9", '"\\x00"', "|", ">", "? ", "- 1", "<<: {a: 1}", "%", "@", "`", "#", "{a: &b [*b]}", "1.5",
    "100000", "x" * 300,
]
# fmt: on


def mutated(text: str, rng: random.Random) -> bytes:
    """The text with one to three accidents of an editor: lines, words, characters, values."""
    for _ in range(rng.randint(1, 3)):
        lines = text.split("\n")
        i = rng.randrange(len(lines))
        kind = rng.randrange(9)
        if kind == 0:
            del lines[i]
        elif kind == 1:
            lines.insert(i, lines[rng.randrange(len(lines))])
        elif kind == 2:
            lines[i] = "  " * rng.randint(0, 3) + lines[i].strip()
        elif kind == 3 and ":" in lines[i]:
            lines[i] = lines[i].split(":")[0] + ": " + rng.choice(VALUES)
        elif kind == 4:
            words = lines[i].split(" ")
            words[rng.randrange(len(words))] = rng.choice(VALUES)
            lines[i] = " ".join(words)
        elif kind == 5 and lines[i]:
            at = rng.randrange(len(lines[i]))
            lines[i] = lines[i][:at] + rng.choice(string.printable) + lines[i][at + 1 :]
        elif kind == 6 and lines[i]:
            at = rng.randrange(len(lines[i]))
            lines[i] = lines[i][:at] + lines[i][at + 1 :]
        elif kind == 7:
            j = rng.randrange(len(lines))
            lines[i], lines[j] = lines[j], lines[i]
        else:
            numbers = [w for w in lines[i].replace(",", " ").replace("}", " ").split() if w[:1].isdigit()]
            if numbers:
                lines[i] = lines[i].replace(rng.choice(numbers), rng.choice(VALUES), 1)
        text = "\n".join(lines)
    data = text.encode()
    if rng.random() < 0.05:
        at = rng.randrange(len(data) + 1)
        data = data[:at] + rng.randbytes(rng.randint(1, 4)) + data[at:]
    return data


FULL = (
    GOOD
    + """\
search: {optim.lr: {log: [0.01, 1.0]}, optim.momentum: {choice: [0.9, 0.99]}}
where: ["method.dim % method.groups == 0", "optim.lr < 0.5 or method.groups in [1, 2]"]
objective: {metric: knn.top1, goal: max}
sampler: {name: tpe, trials: 4, seed: 1}
scheduler: {name: asha, grace: 0.2, eta: 3}
scales:
  laptop: {}
  gpu:
    base: {data: {name: cifar10}, backbone: {name: resnet18, stem: small}, views: {size: 32}}
claims:
  - say: four groups beat one
    a: {method.groups: 4}
    b: {method.groups: 1}
    metric: linear.top1
    expect: a > b
"""
)

STARTED = (
    GOOD.replace("baseline: byol\n", "").replace("seeds: 3\n", "")
    + """\
  later: {start: {name: arm, arm: byol, epoch: 3, part: encoder, schedule: restart}, budget: {epochs: 2}}
  random: {start: {name: random}, budget: {epochs: 0}}
  other: {start: {name: trial, id: 0123456789ab}}
"""
)


def mutate(count: int, seed: int, folder: Path) -> tuple[int, float]:
    """Files that were accepted, and the longest seconds that one took. Whatever is raised but Mistakes is a
    failure, with the file's text."""
    rng, good, longest = random.Random(seed), 0, 0.0
    path = folder / "m.yaml"
    for i in range(count):
        data = mutated(rng.choice([FULL, GOOD, dino(), STARTED]), rng)
        path.write_bytes(data)
        began = time.process_time()
        try:
            with contextlib.suppress(Mistakes):
                space = Space(load(path, rng.choice(["laptop", "gpu"])))
                good += 1
                space.count()
        except Exception as error:
            raise AssertionError(f"mutation {i} of seed {seed}: {data!r}") from error
        longest = max(longest, time.process_time() - began)
    return good, longest


def test_mutated_files_are_read_or_refused(tmp_path: Path) -> None:
    good, longest = mutate(300, 0, tmp_path)
    assert 5 < good < 200
    assert longest < 5


@pytest.mark.slow
def test_ten_thousand_mutated_files_are_read_or_refused(tmp_path: Path) -> None:
    good, longest = mutate(10_000, 1, tmp_path)
    assert 150 < good < 6_000
    assert longest < 5

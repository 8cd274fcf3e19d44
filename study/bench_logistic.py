"""How much faster the logistic probe's whole search is than scikit-learn's solver, and that the answers agree."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from data.sets.digits import Digits
from data.sets.scenes import DigitsScenes
from data.subsets import subset
from models.backbones import make
from models.backbones.resnet import TinySpec
from study.evaluations import Subject
from study.evaluations.logistic import STRENGTHS, Logistic, Problem, halved
from study.pretrain import MEAN, STD

SCENES, SIDE = 2000, 64
EXACT = 1e-6  # scikit-learn's tolerance where its minimum is wanted; 1e-4 is its default


class Features(NamedTuple):
    """Features and labels of the training and of the test pictures."""

    name: str
    train: Tensor
    labels: Tensor
    test: Tensor
    truth: Tensor


class Timed(NamedTuple):
    """What a search took, in seconds of processor time, the place in STRENGTHS it found, and the accuracy in %."""

    seconds: float
    step: int
    accuracy: float


def sets() -> list[Features]:
    """The digits' pixels, where the overhead of an iteration rules, and features of three kinds by untrained
    networks: of digits, of scenes, and wider ones of scenes."""
    digits = Digits().load(Path())
    scenes = DigitsScenes(scenes=SCENES, size=SIDE, digits=3).load(Path())
    pixels = [s.held[:, 0].flatten(1) / 255 for s in (digits.train, digits.test) if s.held is not None]
    made = [Features("digits, pixels", pixels[0], digits.train.labels, pixels[1], digits.test.labels)]
    for name, data, size, width in (
        ("digits, features", digits, 16, 16),
        ("scenes, features", scenes, SIDE, 16),
        ("scenes, wide features", scenes, SIDE, 32),
    ):
        torch.manual_seed(0)
        net = make(TinySpec(width=width))
        subject = Subject(net, data, size=size, mean=MEAN, std=STD)
        with torch.no_grad():  # statistics of the pictures for its batch norms
            net.train()(subject.pictures("train", torch.arange(512)))
        train, test = subject.features("train"), subject.features("test")
        made.append(Features(name, train, subject.labels("train"), test, subject.labels("test")))
    return made


def ours(given: Features, held: Tensor) -> Timed:
    start = time.process_time()
    classes = int(given.labels.max()) + 1
    step, fit = Logistic().search(given.train, given.labels, held, classes)
    weight, bias = Problem(given.train, given.labels, classes).solve(STRENGTHS[step], start=fit)
    hit = (given.test.double() @ weight.t() + bias).argmax(1) == given.truth
    return Timed(time.process_time() - start, step, 100 * hit.double().mean().item())


def theirs(given: Features, held: Tensor) -> Timed:
    """The same search with scikit-learn's solver as CLIP uses it: 1000 iterations at most, every fit from zero,
    its default tolerance."""
    start = time.process_time()
    found: dict[int, float] = {}

    def score(step: int) -> float:
        if step not in found:
            fitted = fit(given.train[~held], given.labels[~held], step)
            found[step] = fitted.score(given.train[held].numpy(), given.labels[held].numpy())
        return found[step]

    step = halved(score)
    accuracy = fit(given.train, given.labels, step).score(given.test.numpy(), given.truth.numpy())
    return Timed(time.process_time() - start, step, 100 * accuracy)


def fit(rows: Tensor, labels: Tensor, step: int, **knobs: Any) -> Any:
    """scikit-learn's estimator at a place of STRENGTHS."""
    from sklearn.linear_model import LogisticRegression

    knobs = {"max_iter": 1000, **knobs}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says where it has not converged
        return LogisticRegression(C=1 / STRENGTHS[step], **knobs).fit(rows.numpy(), labels.numpy())


def minimum(given: Features, step: int) -> float:
    """scikit-learn's accuracy at a strength, in %, where it has gone on to its minimum."""
    fitted = fit(given.train.double(), given.labels, step, tol=EXACT, max_iter=10_000)
    return 100 * float(fitted.score(given.test.double().numpy(), given.truth.numpy()))


def compared(given: Features) -> tuple[Timed, Timed, float]:
    """Ours, scikit-learn's, and its accuracy at our strength."""
    held = torch.zeros(len(given.labels), dtype=torch.bool)
    held[subset(given.labels, 0.2, 0)] = True
    mine = ours(given, held)
    return mine, theirs(given, held), minimum(given, mine.step)


def run(print_line: Callable[[str], None]) -> None:
    """Time both searches on embedded sets."""
    print_line(f"a whole search over lambda and the last fit; {torch.get_num_threads()} threads")
    for given in sets():
        mine, other, exact = compared(given)
        n, dims = given.train.shape
        took = f"scikit-learn {other.seconds:.2f} s, ours {mine.seconds:.2f} s"
        print_line(
            f"{given.name} ({n} x {dims}): {took}, {other.seconds / mine.seconds:.1f}x faster; at lambda "
            f"{STRENGTHS[mine.step]:.2g} ours {mine.accuracy:.2f} %, scikit-learn's minimum {exact:.2f} %; its search "
            f"ends at {STRENGTHS[other.step]:.2g} with {other.accuracy:.2f} %"
        )


if __name__ == "__main__":
    run(print)

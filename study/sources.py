"""Which trial another one starts from: an arm's label in a study file becomes the id of the trial of that seed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from study.document import Block, located, place_of, plain
from study.mistake import Mistake, Mistakes, Place, choices, nearest
from study.reading import read
from study.start import ArmStart, TrialStart, stands

if TYPE_CHECKING:
    from study.space import Space, Trial
    from study.spec import TrialSpec


class Sources:
    """The sources of a space's trials, each looked up once.

    above: files that are being read because they start from one another, and labels likewise.
    """

    def __init__(self, space: Space, above: tuple[Path, ...]) -> None:
        self.space = space
        self.files = (*above, space.source.path.resolve())
        self._others: dict[Path, Space] = {}
        self._found: dict[tuple[str, str, int], Trial] = {}
        self._going: list[str] = []

    def resolved(self, template: Block, seed: int) -> tuple[Block, Trial | None, bool]:
        """The template with an id where its start names an arm; the trial of that id; whether it is of this
        study. Raises Mistakes."""
        start = template.get("start")
        if not isinstance(start, Block) or start.get("name") != "arm":
            return template, None, False
        asked = read(ArmStart, start, template.at["start"], ("start",))
        place = start.values_at["arm"]
        space = self.space if asked.study is None else self._other(asked.study, start.values_at["study"])
        trial = self._trial(space, asked.arm, seed, place)
        named = {key: value for key, value in plain(start).items() if key not in ("arm", "study")}
        epochs, epoch = trial.spec.budget.epochs, asked.epoch
        if epoch is not None and epoch > epochs:
            what = f"epoch {epoch} is after the end of {trial.arm}, whose budget.epochs is {epochs}"
            raise Mistakes([Mistake(start.values_at["epoch"], "start.epoch", what)])
        # One way of writing the end, so that it is one trial: none for an encoder, which is always left, and the
        # number for a method's state, of which there may be several.
        end = None if asked.part == "encoder" else epochs
        named |= {"name": "trial", "id": trial.id, "epoch": end if epoch in (None, epochs) else epoch}
        result = Block(template.place)
        for key in template:
            result.take(template, key)
        found = located(named, place)
        for key in start:
            if key in found:
                found.at[key], found.values_at[key] = start.at[key], start.values_at[key]
        result.put("start", found, template.at["start"], template.values_at["start"])
        return result, trial, space is self.space

    def _other(self, study: str, place: Place) -> Space:
        from study.space import Space
        from study.studyfile import load

        path = (self.space.source.path.parent / study).resolve()
        if path in self.files:
            raise Mistakes([Mistake(place, "start.study", f"{path.name} starts from itself")])
        if path not in self._others:
            if not path.is_file():
                near = nearest(path.name, [p.name for p in path.parent.glob("*.y*ml")])
                raise Mistakes([Mistake(place, "start.study", f"there is no file {path}.{near}")])
            self._others[path] = Space(load(path, self.space.source.scale), self.files)
        return self._others[path]

    def _trial(self, space: Space, arm: str, seed: int, place: Place) -> Trial:
        """The trial of an arm and seed."""
        key = (str(space.source.path), arm, seed)
        if key in self._found:
            return self._found[key]
        labels = [cell.label for cell in space.cells]
        cell = next((cell for cell in space.cells if cell.label == arm), None)
        where = "" if space is self.space else f" in {space.source.path.name}"
        what = ""
        if cell is None:
            what = f"there is no arm '{arm}'{where}; there are {choices(labels)}.{nearest(arm, labels)}"
        elif space.dimensions_of(cell):
            what = f"{arm} is sampled{where}: no one trial of it to start from"
        elif seed not in space.seeds:
            what = f"there is no seed {seed}{where}; there are {choices(map(str, space.seeds))}"
        elif arm in self._going:
            what = f"{' starts from '.join([*self._going, arm])}: a circle"
        if what or cell is None:
            raise Mistakes([Mistake(place, "start.arm", what)])
        self._going.append(arm)
        try:
            self._found[key] = space.trial(cell, {}, seed)
        finally:
            self._going.pop()
        return self._found[key]


def check(spec: TrialSpec, source: Trial, template: Block) -> None:
    """Whether a trial can start from another. Raises Mistakes."""
    start, there = spec.start, source.spec
    assert isinstance(start, TrialStart)

    def wrong(key: str, what: str) -> None:
        raise Mistakes(
            [Mistake(place_of(template, ("start", key), template.place, True), f"start.{key}", what)]
        )

    if spec.backbone.name != there.backbone.name:
        wrong("arm", f"{source.arm} has the backbone {there.backbone.name}, not {spec.backbone.name}")
    if start.part == "method" and spec.method.name != there.method.name:
        what = f"of {source.arm} is {there.method.name}, not {spec.method.name}; part: encoder takes its backbone"
        wrong("part", f"the method {what}")
    epochs = spec.budget.epochs
    if start.schedule == "continue" and start.epoch is not None and 0 < epochs <= start.epoch:
        what = f"budget.epochs {epochs} is no more than the {start.epoch} epochs of {source.arm}"
        wrong("schedule", f"{what} that it goes on from")


def kept(space: Space) -> dict[str, list[int]]:
    """The epochs after which trials of an arm leave their state, because another arm starts from it."""
    epochs: dict[str, set[int]] = {}
    for cell in space.cells:
        for trial in [space.example(cell)]:
            if trial.source is not None and isinstance(trial.spec.start, TrialStart):
                epoch = trial.spec.start.epoch
                epochs.setdefault(trial.source.arm, set()).update(() if epoch is None else [epoch])
    return {arm: sorted(found) for arm, found in epochs.items()}


def there(out: Path, trial: Trial) -> bool:
    """Whether what a trial starts from stands in the store; true of one that starts from no trial."""
    start = trial.spec.start
    return not isinstance(start, TrialStart) or stands(out / "checkpoints" / start.id, start)


def absent(space: Space, out: Path, ended: set[str]) -> Iterator[Mistake]:
    """Trials of other studies that this one starts from and the store does not have."""
    told: set[str] = set()
    for trial in _samples(space):
        start = trial.spec.start
        if trial.source is not None or trial.id in ended or not isinstance(start, TrialStart):
            continue
        if not there(out, trial) and start.id not in told:
            told.add(start.id)
            at = "" if start.epoch is None else f" after epoch {start.epoch}"
            what = f"{trial.arm}, seed {trial.spec.seed}, starts from trial {start.id}{at}, of which {out} has no "
            what += f"{start.part}: run its study first, with the same --out"
            yield Mistake(None, "start", what)


def _samples(space: Space) -> Iterator[Trial]:
    yield from space.fixed()
    for cell in space.cells:
        if space.dimensions_of(cell):
            yield space.example(cell)

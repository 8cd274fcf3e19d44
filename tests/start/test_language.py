"""`start:` in a study file: an arm's label becomes the id of a trial, and mistakes are told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from study import sources
from study.agenda import Agenda
from study.mistake import Mistakes
from study.space import Space, Trial
from study.spec import from_json
from study.start import FileStart, TrialStart
from study.studyfile import load

FILE = """\
study: starts
question: Does starting from another trial work?
base:
  data:     {name: digits}
  backbone: {name: resnet_tiny, width: 8}
  method:   {name: dino, out_dim: 64, hidden: 32, bottleneck: 16}
  views:    {name: dino, size: 16, local_crops: 2, local_size: 8}
  optim:    {name: sgd, lr: 0.05, warmup: 1}
  budget:   {epochs: 4, batch: 32}
evaluate: [knn]
seeds: 2
arms:
  vanilla:
"""
LATER = "  later: {method: {matching: similarity}, start: {name: arm, arm: vanilla, epoch: 3, schedule: continue}}\n"


def space(text: str, folder: Path, name: str = "f.yaml") -> Space:
    (folder / name).write_text(text)
    return Space(load(folder / name))


def refused(line: str, folder: Path) -> str:
    with pytest.raises(Mistakes) as caught:
        space(FILE + f"  later: {line}\n", folder)
    return str(caught.value).replace(str(folder), "")


def by_arm(made: Space) -> dict[tuple[str, int], Trial]:
    return {(t.arm, t.spec.seed): t for t in made.fixed()}


def test_an_arm_is_its_trial_of_the_same_seed(tmp_path: Path) -> None:
    found = by_arm(space(FILE + LATER, tmp_path))
    for seed in (0, 1):
        later, vanilla = found["later", seed], found["vanilla", seed]
        assert later.spec.start == TrialStart(id=vanilla.id, epoch=3, schedule="continue")
        assert later.source == vanilla
    assert found["later", 0].id != found["later", 1].id
    again = from_json(found["later", 0].spec.model_dump_json())
    assert again == found["later", 0].spec
    assert again.id == found["later", 0].id


def test_ids_without_a_start_are_what_they_were(tmp_path: Path) -> None:
    """Tables that stand already are recognised."""
    from study.spec import digest

    spec = by_arm(space(FILE, tmp_path))["vanilla", 0].spec
    assert spec.id == digest(spec.model_dump(mode="json", exclude={"evaluate", "start"}))


def test_the_id_follows_what_it_starts_from(tmp_path: Path) -> None:
    one = by_arm(space(FILE + LATER, tmp_path))["later", 0].id
    assert by_arm(space(FILE.replace("lr: 0.05", "lr: 0.06") + LATER, tmp_path))["later", 0].id != one
    assert by_arm(space(FILE + LATER.replace("epoch: 3", "epoch: 2"), tmp_path))["later", 0].id != one
    end = "  later: {start: {name: arm, arm: vanilla}}\n"
    named = end.replace("vanilla}", "vanilla, epoch: 4}")
    assert (
        by_arm(space(FILE + end, tmp_path))["later", 0].id
        == by_arm(space(FILE + named, tmp_path))["later", 0].id
    )


def test_an_arm_of_another_file(tmp_path: Path) -> None:
    vanilla = by_arm(space(FILE, tmp_path, "first.yaml"))["vanilla", 1]
    line = "  later: {start: {name: arm, study: first.yaml, arm: vanilla}}\n"
    made = space(FILE + line, tmp_path)
    later = by_arm(made)["later", 1]
    assert isinstance(later.spec.start, TrialStart)
    assert later.spec.start.id == vanilla.id
    assert later.source is None  # this study does not run it
    told = [str(m) for m in sources.absent(made, tmp_path / "out", set())]
    assert len(told) == 2
    assert f"starts from trial {vanilla.id} after epoch 4" in told[1]
    assert "run its study first, with the same --out" in told[1]


def test_epochs_to_start_from_are_an_axis(tmp_path: Path) -> None:
    text = FILE.replace("arms:", "grid: {start.epoch: [1, 3]}\narms:").replace(
        "budget: ", "start: {name: arm, arm: vanilla}\n  budget: "
    )
    made = space(text.replace("vanilla:\n", "vanilla: {start: null}\n"), tmp_path)
    assert [c.label for c in made.cells] == ["vanilla", "epoch=1", "epoch=3"]
    assert sources.kept(made) == {"vanilla": [1, 3]}


def test_a_file_is_known_by_its_content(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / "weights.pt")
    line = "  given: {budget: {epochs: 0}, start: {name: file, path: weights.pt}}\n"
    given = by_arm(space(FILE + line, tmp_path))["given", 0].spec
    assert isinstance(given.start, FileStart)
    assert given.start.path == str(tmp_path / "weights.pt")
    (tmp_path / "weights.pt").rename(tmp_path / "moved.pt")
    moved = by_arm(space(FILE + line.replace("weights.pt", "moved.pt"), tmp_path))["given", 0].spec
    assert moved.id == given.id
    torch.save({"a": torch.ones(1)}, tmp_path / "moved.pt")
    other = by_arm(space(FILE + line.replace("weights.pt", "moved.pt"), tmp_path))["given", 0].spec
    assert other.id != given.id


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{start: {name: arm, arm: vanila}}", "start.arm: there is no arm 'vanila'; there are vanilla, later. Did you"),
        ("{start: {name: arm, arm: later}}", "later starts from later: a circle"),
        ("{start: {name: arm, arm: vanilla, epoch: 5}}", "epoch 5 is after the end of vanilla, whose budget.epochs is 4"),
        ("{start: {name: arm, arm: vanilla, schedule: continue}}", "budget.epochs 4 is no more than the 4 epochs of"),
        ("{start: {name: arm, arm: vanilla, study: g.yaml}}", "start.study: there is no file /g.yaml"),
        ("{start: {name: arm, arm: vanilla, study: f.yaml}}", "f.yaml starts from itself"),
        ("{start: {name: arm, arm: vanilla, epoc: 3}}", "start.epoc: unknown key; known here: arm, epoch, name, part, schedule, study. Did"),
        ("{start: {name: arm}}", "start.arm: is missing"),
        ("{start: vanilla}", "start: must be a block of keys, not the text 'vanilla'"),
        ("{start: {arm: vanilla}}", "start: needs a `name`"),
        ("{method: {name: byol}, views: {name: byol, size: 16}, start: {name: arm, arm: vanilla}}",
         "the method of vanilla is dino, not byol; part: encoder takes its backbone"),
        ("{backbone: {name: swin_tiny, image_size: 16}, start: {name: arm, arm: vanilla}}",
         "vanilla has the backbone resnet_tiny, not swin_tiny"),
        ("{start: {name: file, path: gone.pt}}", "start.path: there is no file /gone.pt"),
        ("{start: {name: timm, model: resnet50}}", "start.model: 'resnet50' must have its tag, like resnet50.tv_in1k"),
        ("{start: {name: timm, model: resnet50.tv_in1k}}", "timm has no resnet_tiny; it has resnet18, resnet34"),
        ("{budget: {epochs: 0}}", "budget.epochs: must be at least 1, not 0 (0 needs a `start`, such as {name: random}"),
        ("{start: {name: random}}", "what every training starts from: budget.epochs is 4, not 0"),
        ("{start: {name: trial, id: abc}}", "start.id: must be the 12 hexadecimal digits of a trial, not 'abc'"),
    ],
)  # fmt: skip
def test_mistakes(line: str, told: str, tmp_path: Path) -> None:
    assert told in refused(line, tmp_path)


def test_what_a_trial_starts_from_is_not_sampled(tmp_path: Path) -> None:
    text = FILE + LATER + "search: {start.epoch: {int: [1, 3]}}\n"
    with pytest.raises(Mistakes, match="cannot be sampled; put it in the grid"):
        space(text, tmp_path)
    with pytest.raises(Mistakes, match="vanilla is sampled: no one trial of it to start from"):
        space(FILE + LATER + "search: {optim.lr: {log: [0.01, 0.1]}}\n", tmp_path)


ORDER = FILE.replace("  vanilla:\n", "") + LATER + "  vanilla:\n  last: {start: {name: arm, arm: later}}\n"


def run_through(agenda: Agenda, statuses: dict[str, str] | None = None) -> list[str]:
    """The arms in the order in which an agenda of two places gives them."""
    order: list[str] = []
    running: list[Trial] = []
    while not agenda.finished:
        trial = agenda.next() if len(running) < 2 else None
        if trial is not None:
            order.append(f"{trial.arm} {trial.spec.seed}")
            running.append(trial)
            continue
        assert running, "nothing runs and nothing may start"
        ended = running.pop(0)
        agenda.ended(ended, (statuses or {}).get(ended.arm, "done"))
    return order


def before(order: Sequence[str], *arms: str) -> bool:
    return all(
        [order.index(f"{arm} {seed}") for arm in arms] == sorted(order.index(f"{arm} {seed}") for arm in arms)
        for seed in (0, 1)
    )


def test_a_trial_waits_for_what_it_starts_from(tmp_path: Path) -> None:
    made = space(ORDER, tmp_path)
    order = run_through(Agenda(made, {}, lambda i: {}))
    assert len(order) == 6
    assert before(order, "vanilla", "later", "last")


def test_a_trial_whose_source_failed_is_begun_and_fails_by_itself(tmp_path: Path) -> None:
    made = space(ORDER, tmp_path)
    assert len(run_through(Agenda(made, {}, lambda i: {}), {"vanilla": "diverged"})) == 6


def test_a_source_that_is_gone_is_run_again_once(tmp_path: Path) -> None:
    made = space(ORDER, tmp_path)
    done = {t.id: "done" for t in made.fixed() if t.arm == "vanilla"}
    agenda = Agenda(made, done, lambda i: {}, there=lambda trial: trial.arm != "later")
    order = run_through(agenda)
    assert sorted(set(order)) == sorted(order), "each once"
    assert len(order) == 6
    assert before(order, "vanilla", "later", "last")
    assert agenda.total == agenda.kept + 6


def test_a_sampled_trial_waits_too(tmp_path: Path) -> None:
    text = FILE.replace("  vanilla:\n", "  vanilla: {method: {name: byol}, views: {name: byol, size: 16}}\n")
    text += "  later: {start: {name: arm, arm: vanilla, part: encoder}}\nsearch: {method.centre_momentum: {choice: [0.8, 0.9]}}\n"
    text += "sampler: {name: random, trials: 1}\n"
    made = space(text, tmp_path)

    class Proposed:
        def ask(self) -> dict[str, float]:
            return {"method.centre_momentum": 0.8}

        def tell(self, *told: object) -> None:
            return None

    order = run_through(Agenda(made, {}, lambda i: {}, lambda space, cell: Proposed()))
    assert len(order) == 4
    assert before(order, "vanilla", "later")

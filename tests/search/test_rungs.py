"""Early stopping in real trainings: what is measured, what is stopped, what is left, and the guard."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hill import space_of
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from data.subsets import subset
from study import checkpoint, guard, perform, rungs, table, trial
from study.cluster.searcher import proposer
from study.conduct import Conductor, Where
from study.pretrain import Interrupted, Place, Pruned, Watch, pretrain
from study.task import Task, task_of

TEXT = """
study: hill
question: Which learning rate is best?
base:
  data:     {name: digits, fraction: 0.1}
  backbone: {name: resnet_tiny, width: 8}
  method:   {name: lewel_b, dim: 16, channels: 16, groups: 4, weight: 0.5, hidden: 16, batch_norm: sync}
  views:    {size: 16}
  optim:    {name: sgd, lr: 0.1}
  budget:   {epochs: 3, batch: 32}
evaluate: [knn]
search:   {optim.lr: {log: [0.01, 1.0]}}
seeds:    1
sampler:   {name: random, trials: 5}
scheduler: {name: asha, grace: 0.25, eta: 3, guard: {top: 1, random: 1}}
"""
STEPS = 12  # 143 pictures, 4 batches an epoch


@pytest.fixture(scope="module")
def spec():
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        space = space_of(Path(folder), text=TEXT)
        return space.trial(space.cells[0], {"optim.lr": 0.1}, 0).spec


def train(spec, folder: Path | None, watch: Watch):
    data = trial.load(spec.data, Path("~/.cache/ssl-study").expanduser())
    return pretrain(spec, data, subset(data.train.labels, 0.1, 0), Place(folder=folder), watch)


def test_a_pruned_training_is_the_head_of_a_full_one(spec, tmp_path):
    """Stopped at a rung it leaves a checkpoint; continued without rungs it ends where it would have."""
    whole = train(spec, None, Watch())
    assert whole.steps == STEPS
    asked: list[int] = []

    def measure(method, step):
        asked.append(step)
        assert not method.training
        return "too low" if step == 6 else None

    with pytest.raises(Pruned, match="too low") as stopped:
        train(spec, tmp_path, Watch(rungs=lambda total: (total // 4, total // 2), measure=measure))
    assert asked == [3, 6]
    assert stopped.value.epochs == 1.5
    assert stopped.value.curves
    state = checkpoint.load(tmp_path / "training.pt")
    assert state is not None
    assert state["step"] == 6
    continued = train(spec, tmp_path, Watch())
    ours, theirs = continued.method.state_dict(), whole.method.state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_a_training_that_was_left_at_a_rung_is_decided_there(spec, tmp_path):
    """Its process died after the checkpoint: the decision is asked for again before another step."""
    asked: list[int] = []

    def measure(method, step):
        asked.append(step)
        return None if len(asked) == 1 else "too low"

    stop = Watch(rungs=lambda total: (6,), measure=measure, stop=lambda: bool(asked))
    with pytest.raises(Interrupted, match="step 6"):
        train(spec, tmp_path, stop)
    with pytest.raises(Pruned):
        train(spec, tmp_path, Watch(rungs=lambda total: (6,), measure=measure))
    assert asked == [6, 6]


def test_a_rung_that_was_passed_is_not_measured_again(tmp_path, monkeypatch):
    space = space_of(tmp_path, text=TEXT)
    one = space.trial(space.cells[0], {"optim.lr": 0.1}, 0)
    task = task_of(one, "hill", tmp_path, tmp_path, extra=rungs.extra(space, one))
    values = iter([50.0])
    monkeypatch.setattr(rungs.Rungs, "_value", lambda self, method, step: next(values))
    for other, value in (("a" * 12, 60.0), ("b" * 12, 40.0)):
        row = {"id": other, "study": "hill", "arm": "hill", "seed": 0, "rung": 0, "step": 3, "value": value}
        table.write(tmp_path, "rungs", f"{other}-0", [row], study="hill")
    words = []
    for _ in range(2):  # the second is a resumed process's: a second value would raise StopIteration
        here = rungs.Rungs(Task.from_json(task.to_json()), one.spec, Place())
        assert here.steps(STEPS) == (3, 9)
        words.append(here.measure(torch.nn.Identity(), 3))  # type: ignore[arg-type]
    assert words[0] == words[1]
    assert (
        words[0] == "stopped at rung 1 of 2, step 3: knn.top1 50 is not among the best 1 of 3, 60 or better"
    )


def test_other_arms_and_seeds_do_not_count(tmp_path, monkeypatch):
    space = space_of(tmp_path, text=TEXT)
    one = space.trial(space.cells[0], {"optim.lr": 0.1}, 0)
    task = task_of(one, "hill", tmp_path, tmp_path, extra=rungs.extra(space, one))
    monkeypatch.setattr(rungs.Rungs, "_value", lambda self, method, step: 50.0)
    for name, arm, seed in (("a" * 12, "another", 0), ("b" * 12, "hill", 1)):
        row = {"id": name, "study": "hill", "arm": arm, "seed": seed, "rung": 0, "step": 3, "value": 60.0}
        table.write(tmp_path, "rungs", f"{name}-0", [row], study="hill")
    here = rungs.Rungs(task, one.spec, Place())
    here.steps(STEPS)
    assert here.measure(torch.nn.Identity(), 3) is None  # type: ignore[arg-type]


def test_a_metric_that_the_evaluation_does_not_measure_fails_the_trial(tmp_path):
    space = space_of(tmp_path, "scheduler.metric=knn.topp1", text=TEXT)
    one = space.trial(space.cells[0], {"optim.lr": 0.1}, 0)
    task = task_of(one, "hill", tmp_path, tmp_path, extra=rungs.extra(space, one))
    status, reason = perform.perform(task)
    assert status == "failed"
    assert "scheduler.metric knn.topp1: knn measures top1, top5" in reason


def test_a_study_with_asha_and_its_guard(tmp_path):
    space = space_of(tmp_path, text=TEXT)
    where = Where(out=tmp_path, local=True, gpus=0)
    ending = Conductor(space, where, proposer(tmp_path)).run()
    assert ending.code == 0
    decisions = table.read(tmp_path, "rungs", "hill")
    ended = {row["id"]: row for row in decisions if row["stopped"]}
    assert len(ended) >= 2  # of five, at the first rung at most two go on
    trials = table.read(tmp_path, "trials", "hill")
    pruned = [row for row in trials if row["status"] == "pruned"]
    assert len(trials) == 5
    # The guard trained two of those that were stopped in full, from their checkpoints.
    assert {row["id"] for row in pruned} < set(ended)
    assert len(pruned) == len(ended) - 2
    assert ending.counts == {"pruned": len(ended), "done": 5 - len(ended) + 2}
    for row in pruned:
        step = ended[row["id"]]["step"]
        assert row["epochs_done"] == step / 4
        assert f"step {step}" in row["reason"]
        assert (tmp_path / "checkpoints" / row["id"] / "training.pt").exists()
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "studies" / "hill" / "optuna.journal")))
    (study,) = storage.get_all_studies()
    found = storage.get_all_trials(study._study_id)
    last = sorted(t.last_step for t in found if t.state.name == "PRUNED")
    assert last == sorted(row["step"] for row in ended.values())
    lines = guard.report(tmp_path, space)
    assert lines[0] == f"asha stopped {len(ended)} of 5; 2 of them were trained in full as a guard"
    assert lines[1].startswith("  rung 1: Spearman's rank correlation ")
    # A second run has nothing to do, and the guard's trainings are not told to the search.
    again = Conductor(space, where, proposer(tmp_path)).run()
    assert again.counts == {}
    assert again.kept == 5
    assert [t.state.name for t in storage.get_all_trials(study._study_id)] == [t.state.name for t in found]

"""The searcher: states, determinism, replay after kills, constraints and the journal."""

from __future__ import annotations

import math
from pathlib import Path

import optuna
import pytest
from hill import TEXT, Driver, Killed, height, space_of
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from study import table
from study.cluster.searcher import Search, proposer
from study.mistake import Mistakes
from study.search import Record

SAMPLERS = ("random", "qmc", "tpe", "cmaes", "nsga2", "gp")


def journal(out: Path) -> dict[str, optuna.Study]:
    storage = JournalStorage(JournalFileBackend(str(out / "studies" / "hill" / "optuna.journal")))
    return {
        s.study_name: optuna.load_study(study_name=s.study_name, storage=storage)
        for s in storage.get_all_studies()
    }


def sampler(name: str, trials: int) -> str:
    return f"sampler={{name: {name}, trials: {trials}}}"


def shape(study: optuna.Study) -> list[object]:
    return [
        (t.state.name, t.params, t.values, t.intermediate_values) for t in study.get_trials(deepcopy=False)
    ]


def test_states_in_optunas_storage(tmp_path):
    """Done, failed, not a number, infinite, diverged and pruned points."""
    fates = ["done", "failed", "nan", "inf", "diverged", "pruned", "done"]
    seen: dict[str, str] = {}

    def numbers(trial):
        fate = fates[trial.point_index]
        seen[trial.id] = fate
        if fate == "pruned":
            row = {"id": trial.id, "study": "hill", "arm": trial.arm, "seed": 0}
            for rung, step, value in ((0, 9, 31.5), (1, 27, 30.25)):
                told = {
                    **row,
                    "rung": rung,
                    "step": step,
                    "value": value,
                    "stopped": "too low" if rung else None,
                }
                table.write(tmp_path, "rungs", f"{trial.id}-{rung}", [told], study="hill")
            return "pruned", {}
        value = {"nan": math.nan, "inf": math.inf}.get(fate, height(trial)[1]["knn.top1"])
        return ("done" if fate in ("nan", "inf") else fate), {"knn.top1": value}

    space = space_of(tmp_path, sampler("random", 7), "scheduler.name=asha")
    Driver(space, tmp_path, numbers).run()
    (study,) = journal(tmp_path).values()
    trials = study.get_trials()
    assert study.study_name == "hill"
    assert [t.state.name for t in trials] == [
        "COMPLETE",
        "FAIL",
        "FAIL",
        "FAIL",
        "FAIL",
        "PRUNED",
        "COMPLETE",
    ]
    assert trials[5].intermediate_values == {9: 31.5, 27: 30.25}
    assert trials[5].last_step == 27
    assert trials[0].value == height(_trial(space, trials[0].params))[1]["knn.top1"]
    assert study.best_trial.number in (0, 6)


def _trial(space, params):
    return space.trial(space.cells[0], params, 0)


def test_a_failed_seed_fails_the_point_and_means_are_over_seeds(tmp_path):
    def numbers(trial):
        if trial.point_index == 1 and trial.spec.seed == 2:
            return "failed", {}
        return "done", {"knn.top1": float(trial.spec.seed)}

    Driver(space_of(tmp_path, sampler("random", 2), "seeds=[1, 2, 6]"), tmp_path, numbers).run()
    (study,) = journal(tmp_path).values()
    assert [t.state.name for t in study.get_trials()] == ["COMPLETE", "FAIL"]
    assert study.get_trials()[0].value == 3.0


@pytest.mark.parametrize("name", SAMPLERS)
def test_one_seed_one_search(tmp_path, name):
    trials = 12
    runs = []
    for folder in ("a", "b"):
        out = tmp_path / folder
        out.mkdir()
        runs.append(Driver(space_of(out, sampler(name, trials)), out).run())
    assert runs[0] == runs[1]
    assert len(runs[0]) == trials
    other = tmp_path / "c"
    other.mkdir()
    changed = Driver(space_of(other, f"sampler={{name: {name}, trials: {trials}, seed: 1}}"), other).run()
    assert changed[0] != runs[0][0]


@pytest.mark.parametrize("name", ["random", "qmc"])
def test_two_at_once_propose_what_one_does(tmp_path, name):
    def numbers(trial):
        return ("failed", {}) if trial.point_index in (0, 3) else height(trial)

    runs = []
    for at_once in (1, 2, 3):
        out = tmp_path / str(at_once)
        out.mkdir()
        runs.append(Driver(space_of(out, sampler(name, 9)), out, numbers, at_once).run())
    assert runs[0] == runs[1] == runs[2]


@pytest.mark.parametrize(
    ("name", "trials", "at_once"),
    [("random", 4, 1), ("qmc", 4, 1), ("qmc", 3, 2), ("tpe", 13, 1), ("cmaes", 7, 1), ("nsga2", 3, 1)],
)
def test_a_kill_at_any_event_changes_nothing(tmp_path, name, trials, at_once):
    """Killed at every event, and continued: the same points, none run twice, the same journal."""
    whole = tmp_path / "whole"
    whole.mkdir()
    calm = Driver(space_of(whole, sampler(name, trials)), whole, at_once=at_once)
    expected = calm.run()
    # TPE and CMA-ES propose at random at first: the kills that matter are those after it.
    first = {"tpe": 19, "cmaes": 10}.get(name, 0)
    for kill in range(first, 2 * trials):
        out = tmp_path / str(kill)
        out.mkdir()
        driver = Driver(space_of(out, sampler(name, trials)), out, at_once=at_once)
        with pytest.raises(Killed):
            driver.run(kill)
        assert driver.run() == expected, f"killed at event {kill}"
        assert sorted(driver.ran) == sorted(calm.ran)
        states = [[s[0:3] for s in shape(j)] for d in (out, whole) for j in journal(d).values()]
        assert states[0] == states[1]


def test_a_killed_point_is_given_again_before_a_new_one(tmp_path):
    space = space_of(tmp_path, sampler("random", 5))
    (cell,) = space.cells
    first = proposer(tmp_path)(space, cell)
    given = [first.ask() for _ in range(3)]
    first.tell(1, "done", [50.0])
    again = proposer(tmp_path)(space, cell)
    assert [again.ask() for _ in range(3)] == given
    again.tell(1, "done", [50.0])
    assert again.ask() not in given
    assert {i: p.state for i, p in Record(tmp_path, space, cell).points.items()} == {
        0: "running",
        1: "done",
        2: "running",
        3: "running",
    }


@pytest.mark.parametrize("damage", ["cut", "gone", "noise", "locked"])
def test_a_damaged_journal_is_made_again(tmp_path, damage):
    space = space_of(tmp_path, sampler("random", 3))
    Driver(space, tmp_path).run()
    path = tmp_path / "studies" / "hill" / "optuna.journal"
    before = [shape(s) for s in journal(tmp_path).values()]
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-40])
    elif damage == "gone":
        path.unlink()
    elif damage == "noise":
        path.write_bytes(b"\x00" * 100)
    else:
        path.with_name("optuna.journal.lock").symlink_to(path)
    proposer(tmp_path)(space, space.cells[0])
    assert [shape(s) for s in journal(tmp_path).values()] == before


def test_a_torn_point_loses_only_itself(tmp_path):
    space = space_of(tmp_path, sampler("random", 4))
    driver = Driver(space, tmp_path)
    points = driver.run()
    part = sorted((tmp_path / "tables" / "points" / "hill").glob("*-2.parquet"))[0]
    part.write_bytes(part.read_bytes()[:50])
    ran = len(driver.ran)
    assert driver.run() == points
    assert len(driver.ran) == ran


def test_more_trials_continue_the_search(tmp_path):
    few, many = tmp_path / "few", tmp_path / "many"
    for folder in (few, many):
        folder.mkdir()
    driver = Driver(space_of(few, sampler("tpe", 11)), few)
    driver.run()
    driver.space = space_of(few, sampler("tpe", 14))
    assert driver.run() == Driver(space_of(many, sampler("tpe", 14)), many).run()
    assert len(driver.ran) == 14


@pytest.mark.parametrize(
    "change",
    ["search.optim.lr={log: [0.02, 1.0]}", "objective.goal=min", "base.optim.momentum=0.5", "sampler.seed=3"],
)
def test_another_question_begins_another_search(tmp_path, change):
    space = space_of(tmp_path, sampler("tpe", 3))
    Driver(space, tmp_path).run()
    other = space_of(tmp_path, sampler("tpe", 3), change)
    assert not Record(tmp_path, other, other.cells[0]).points
    search = proposer(tmp_path)(other, other.cells[0])
    assert isinstance(search, Search)
    assert not search.study.get_trials()
    assert len(Record(tmp_path, space, space.cells[0]).points) == 3


def test_a_failure_that_is_tried_again_is_told_again(tmp_path):
    space = space_of(tmp_path, sampler("tpe", 3))
    driver = Driver(
        space, tmp_path, lambda trial: ("failed", {}) if trial.point_index == 1 else height(trial)
    )
    driver.run()
    driver.numbers_of = height
    driver.status = {i: s for i, s in driver.status.items() if s != "failed"}
    driver.run()
    (study,) = journal(tmp_path).values()
    assert [t.state.name for t in study.get_trials()] == ["COMPLETE"] * 3


def test_where_over_sampled_axes(tmp_path):
    where = 'where=["optim.lr * method.weight < 0.05"]'
    runs = []
    for at_once in (1, 2):
        out = tmp_path / str(at_once)
        out.mkdir()
        for name in ("random", "qmc", "tpe"):
            (out / name).mkdir()
            driver = Driver(space_of(out, sampler(name, 6), where), out / name, at_once=at_once)
            points = driver.run()
            assert all(p["optim.lr"] * p["method.weight"] < 0.05 for p in points)
            runs.append(points)
    assert runs[0] == runs[3]
    assert runs[1] == runs[4]


def test_replay_with_rejected_points(tmp_path):
    where = 'where=["optim.lr * method.weight < 0.05"]'
    calm = tmp_path / "calm"
    calm.mkdir()
    expected = Driver(space_of(calm, sampler("qmc", 6), where), calm).run()
    driver = Driver(space_of(tmp_path, sampler("qmc", 6), where), tmp_path)
    with pytest.raises(Killed):
        driver.run(kill=6)
    assert driver.run() == expected


def test_impossible_trials_are_passed_over(tmp_path):
    """A sampled number of groups that does not divide the channels would be no trial at all."""
    space = space_of(tmp_path, sampler("random", 6), "search={method.groups: {int: [4, 8]}}")
    assert {p["method.groups"] for p in Driver(space, tmp_path).run()} <= {4, 8}


def test_a_constraint_that_leaves_nothing_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("study.cluster.searcher.MAX_TRIES", 40)
    space = space_of(tmp_path, sampler("random", 3), 'where=["optim.lr > 2"]')
    with pytest.raises(
        Mistakes, match=r"40 proposed points in a row are excluded, the last by: optim.lr > 2"
    ):
        Driver(space, tmp_path).run()


@pytest.mark.parametrize("name", ["nsga2", "tpe"])
def test_several_objectives(tmp_path, name):
    objectives = "objective=[{metric: knn.top1, goal: max}, {metric: knn.top5, goal: min}]"
    Driver(space_of(tmp_path, sampler(name, 24), objectives), tmp_path).run()
    (study,) = journal(tmp_path).values()
    assert [d.name for d in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert all(len(t.values) == 2 for t in study.get_trials())
    assert study.best_trials


def test_kinds_of_axes_and_every_cell_a_study(tmp_path):
    axes = "search={method.hidden: {int: [8, 32]}, optim.nesterov: {choice: [true, false]}}"
    text = TEXT.replace("method.weight: {uniform: [0.0, 1.0]}", "budget.epochs: {int: [1, 3]}")
    grid = "grid={method.weight: [0.1, 0.9]}"
    space = space_of(tmp_path, sampler("tpe", 4), axes, grid, text=text)
    points = Driver(space, tmp_path).run()
    assert all(type(p["method.hidden"]) is int and type(p["optim.nesterov"]) is bool for p in points)
    studies = journal(tmp_path)
    assert sorted(studies) == ["hill: weight=0.1", "hill: weight=0.9"]
    assert all(len(s.get_trials()) == 4 for s in studies.values())


def test_tpe_finds_the_hill(tmp_path):
    points = Driver(space_of(tmp_path, sampler("tpe", 40)), tmp_path).run()
    last = points[-10:]
    assert sum(abs(p["optim.lr"] - 0.1) < 0.1 and abs(p["method.weight"] - 0.3) < 0.2 for p in last) >= 6

"""The verbs beside the door, as a shell runs them: output, exit codes, and that nothing is run."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from scipy import stats as sps

from study import table
from study.__main__ import VERBS, main
from study.crosscheck import built_shape, shape_of
from study.diff import differences
from study.document import plain, read
from study.estimate import Costs, modelled
from study.plan import duration, facts, notes
from study.schema import schema
from study.space import Space, Trial
from study.studyfile import load
from study.task import locked, stop_file, study_folder
from tests.study_files import GOOD, dino, swapped

ROOT = Path(__file__).parent.parent


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(GOOD)
    return path


def told(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    """Exit code, output and errors of `python -m study words`."""
    code = main([str(word) for word in words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def ended(
    out: Path, trial: Trial, status: str = "done", reason: str | None = None, seconds: float = 10.0
) -> None:
    """A row of the trial as a run would leave it."""
    row: dict[str, Any] = {"id": trial.id, "study": "small", "arm": trial.arm, "seed": trial.spec.seed}
    row |= {
        "status": status,
        "reason": reason,
        "spec": trial.spec.model_dump_json(),
        "axes": dict(trial.axes),
    }
    row |= {"seconds": seconds, "device": "cpu", "workers": 1, "finished": datetime(2025, 1, 2, tzinfo=UTC)}
    scores = [{"evaluation": "knn", "metric": "top1", "value": 90.0, "n": 355, "step": 1}]
    table.record(out, row, scores if status == "done" else [])


def test_alone_it_lists_the_verbs(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = told(capsys)
    assert code == 0
    assert all(f"\n  {verb} " in out and line in out for verb, (_, line) in VERBS.items())
    assert "exit codes" in out


def test_plan_tells_what_a_pilot_shows(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space, out = Space(load(file)), tmp_path / "out"
    code, text, _ = told(capsys, "plan", file, "--out", out, "--effect", 2, "--spread", 2.0)
    assert code == 0
    # d_z = 1: 10 pairs for 80 % power; 3 pairs show 3.26 spreads.
    assert "3 seeds show a difference of 6.53 with 80 % power; 2 needs 10 seeds, 40 trials" in text
    assert "paired differences spread" not in told(capsys, "plan", file, "--out", out)[1]
    values = {"byol": (80.0, 80.0, 80.0), "groups=1": (81.0, 82.0, 83.0), "groups=2": (80.0, 83.0, 86.0)}
    for trial in space.fixed():
        if trial.arm in values:
            value = values[trial.arm][trial.spec.seed]
            row: dict[str, Any] = {
                "id": trial.id,
                "study": "small",
                "arm": trial.arm,
                "seed": trial.spec.seed,
            }
            row |= {"status": "done", "axes": dict(trial.axes), "spec": trial.spec.model_dump_json()}
            table.record(out, row, [{"evaluation": "knn", "metric": "top1", "value": value, "n": 355}])
    pooled = ((1.0 + 9.0) / 2) ** 0.5
    upper = pooled * (4 / sps.chi2.ppf(0.2, 4)) ** 0.5
    found = facts(space, out, effect=3.0)["shows"][0]
    assert found["metric"] == "knn.top1"
    assert found["spread"] == pytest.approx(pooled)
    assert found["upper"] == pytest.approx(upper)
    assert found["detectable"] == pytest.approx(3.263 * upper, rel=2e-3)
    assert found["trials_needed"] == 4 * found["seeds_needed"]
    assert f"at most {upper:.3g} with 80 % confidence" in told(capsys, "plan", file, "--out", out)[1]


def test_an_unknown_verb_is_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = told(capsys, "chek")
    assert code == 2
    assert "there is no verb 'chek'. Did you mean 'check'?" in err


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself_and_refuses_what_it_does_not_know(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main([verb, "--help"])
    assert caught.value.code == 0
    assert f"python -m study {verb}" in capsys.readouterr().out
    with pytest.raises(SystemExit) as caught:
        main([verb, "a", "b", "c", "--nonsense"])
    assert caught.value.code == 2


def test_check(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(GOOD + "scales: {gpu: {seeds: 5}}\n")
    code, out, _ = told(capsys, "check", file)
    assert (code, out) == (0, f"{file}: good; laptop: 4 arms, 12 trials; gpu: 4 arms, 20 trials\n")
    file.write_text(swapped("lr: 0.1", "lr: fast") + "scales: {gpu: {seeds: 0}}\n")
    code, out, err = told(capsys, "check", file)
    assert (code, out) == (2, "")
    assert err.splitlines() == [
        f"{file}:8:29: optim.lr: must be a number, not the text 'fast'",
        f"{file}:17:23: seeds: must be 1 to 1000 seeds, not 0",
    ]
    code, out, _ = told(capsys, "check", file, "--json")
    assert code == 2
    assert [(m["line"], m["key"]) for m in json.loads(out)[0]["mistakes"]] == [(8, "optim.lr"), (17, "seeds")]


@pytest.mark.parametrize("verb", ["plan", "status", "retry"])
def test_mistakes_of_a_file_end_every_verb_alike(
    verb: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text(swapped("seeds: 3", "seeds: 0"))
    code, out, err = told(capsys, verb, file, *(["--failed"] if verb == "retry" else []))
    assert (code, out) == (2, "")
    assert err == f"{file}:16:8: seeds: must be 1 to 1000 seeds, not 0\n"


def test_a_mistake_ends_within_five_seconds_without_torch_ray_or_a_traceback(file: Path) -> None:
    file.write_text(GOOD + "seeds: 4\n")
    code = "import sys; from study.__main__ import main; code = main(['check', sys.argv[1]]); "
    code += "print([m for m in ('torch', 'ray', 'optuna', 'timm') if m in sys.modules]); sys.exit(code)"
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code, file], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert (done.returncode, done.stdout) == (2, "[]\n")
    assert done.stderr == f"{file}:17:1: seeds: the key stands twice (first in line 16); keep one\n"
    assert time.monotonic() - began < 30  # 0.5 s where nothing else runs


def test_plan_says_what_would_run(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(swapped("[1, 2, 4]", "[1, 2, 3]") + "where: ['method.dim % method.groups == 0']\n")
    space = Space(load(file))
    ended(tmp_path / "out", next(space.fixed()))
    code, out, _ = told(capsys, "plan", file, "--out", tmp_path / "out")
    assert code == 0
    assert "groups=3: method.dim % method.groups == 0" in out
    assert f"3 arms, 3 seeds, 9 trials; 1 stand in {tmp_path / 'out'}; 8 to run" in out
    assert "the exact sign-flip test cannot fall below p = 0.25 with 3 seeds; 6 are needed for 0.05" in out
    code, out, _ = told(capsys, "plan", file, "--out", tmp_path / "out", "--json")
    plan = json.loads(out)
    assert (plan["trials"], plan["stand"], plan["to_run"]) == (9, 1, 8)
    assert [a["arm"] for a in plan["arms"]] == ["byol", "groups=1", "groups=2"]
    assert not (tmp_path / "results").exists()


def test_plan_of_a_search_counts_points_and_its_budget(file: Path, tmp_path: Path) -> None:
    file.write_text(
        GOOD + "search: {optim.lr: {log: [0.1, 1]}}\nsampler: {trials: 5}\nbudget: {trials: 20}\n"
    )
    plan = facts(Space(load(file)), tmp_path)
    assert (plan["trials"], plan["to_run"]) == (4 * 5 * 3, 20)
    assert plan["seconds"] == pytest.approx(
        sum(a["seconds_a_trial"] * 15 for a in plan["arms"]) / 3, rel=0.01
    )


def test_what_few_seeds_cannot_show() -> None:
    assert "no interval and no test" in notes(1)[0]
    assert not any("sign-flip" in note for note in notes(6))
    assert any("Holm" in note for note in notes(6, claims=2))


def test_estimates_follow_the_tables(file: Path, tmp_path: Path) -> None:
    trials = list(Space(load(file)).fixed())
    byol, groups = trials[0], trials[1]
    assert Costs().seconds(byol.spec) == modelled(byol.spec)
    ended(tmp_path, byol, seconds=7 * modelled(byol.spec))
    costs = Costs(table.Tables(tmp_path).trials)
    assert costs.seconds(trials[4].spec) == pytest.approx(
        7 * modelled(byol.spec)
    )  # the same arm, another seed
    assert costs.seconds(groups.spec) == pytest.approx(
        7 * modelled(groups.spec)
    )  # another arm, the same machine
    twice = byol.spec.model_copy(update={"budget": byol.spec.budget.model_copy(update={"epochs": 24})})
    assert 1.2 < modelled(twice) / modelled(byol.spec) < 2


def test_an_evaluation_costs_what_its_own_pictures_cost(file: Path) -> None:
    from study.evaluations import EVALUATIONS

    spec = next(Space(load(file)).fixed()).spec
    here = spec.model_copy(update={"evaluate": (EVALUATIONS["knn"](),)})
    there = spec.model_copy(update={"evaluate": (EVALUATIONS["knn"](data={"name": "cifar10"}),)})
    none = modelled(spec.model_copy(update={"evaluate": ()}))
    ratio = (modelled(there) - none) / (modelled(here) - none)
    assert ratio == pytest.approx(50_000 / 1442)


@pytest.mark.parametrize(
    ("seconds", "text"), [(5, "5 s"), (90, "1.5 min"), (5_400, "1.5 h"), (345_600, "4.0 days")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_status_why_and_retry(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    trials = list(Space(load(file)).fixed())
    ended(out, trials[0])
    ended(out, trials[1], "failed", "out of memory with 32 pictures", 3.0)
    ended(out, trials[2], "diverged", "the loss was nan")
    (out / "checkpoints" / trials[1].id).mkdir(parents=True)
    (out / "checkpoints" / trials[3].id).mkdir(parents=True)
    (out / "checkpoints" / trials[3].id / "training.pt").touch()

    code, text, _ = told(capsys, "status", file, "--out", out)
    assert code == 0
    assert "12 planned: 1 done, 1 diverged, 1 failed, no run is going on, 9 left" in text
    assert "1 failed: out of memory with 32 pictures" in text
    record = json.loads(told(capsys, "status", file, "--out", out, "--json")[1])
    assert (record["done"], record["failed"], record["left"], record["seconds_spent"]) == (1, 1, 9, 23.0)
    assert record["arms"]["groups=1"] == {"failed": 1}

    def why(name: str, *more: object) -> dict[str, Any]:
        return dict(json.loads(told(capsys, "why", file, name, "--out", out, "--json", *more)[1])[0])

    assert (why(trials[0].id)["runs"], why(trials[0].id)["why"].split(" on ")[0]) == (
        False,
        "is not run again: done",
    )
    assert (
        "failed on 2025-01-02 00:00 UTC: out of memory with 32 pictures; `retry --failed`"
        in why(trials[1].id)["why"]
    )
    assert "from the checkpoint" in why(trials[3].id)["why"]
    assert why(trials[4].id) | {"why": ""} == {
        "id": trials[4].id, "arm": "byol", "seed": 1, "runs": True, "why": "",
    }  # fmt: skip
    changed = why("byol", "--set", "optim.lr=0.2")
    assert "its configuration is new" in changed["why"]
    assert "optim.lr (0.1 there, 0.2 in the file)" in changed["why"]
    gone = why(trials[0].id, "--set", "optim.lr=0.2")
    assert (gone["runs"], "the file does not ask for it" in gone["why"]) == (False, True)
    assert "Did you mean 'groups=1'?" in told(capsys, "why", file, "group=1", "--out", out)[2]

    code, text, _ = told(capsys, "retry", file, "--failed", "--mark", "--out", out)
    assert (code, text) == (0, "1 trials will run again\n")
    assert table.finished(out)[trials[1].id] == "interrupted"
    assert table.finished(out)[trials[2].id] == "diverged"
    assert not (out / "checkpoints" / trials[1].id).exists()
    assert why(trials[1].id)["runs"]
    assert (
        told(capsys, "retry", file, "--failed", "--mark", "--out", out)[1]
        == "no trial of the study is failed\n"
    )
    assert told(capsys, "retry", file, "--out", out)[0] == 2


def test_a_trial_that_the_file_no_longer_asks_for_is_kept_and_told(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ended(tmp_path / "out", list(Space(load(file)).fixed())[3])
    file.write_text(swapped("[1, 2, 4]", "[1, 2]"))
    text = told(capsys, "status", file, "--out", tmp_path / "out")[1]
    assert "1 trials are kept that the file no longer asks for: groups=4" in text


def test_diff_of_files_and_of_trials(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(
        swapped("lr: 0.1", "lr: 0.2").replace("[1, 2, 4]", "[1, 2, 8]").replace("seeds: 3", "seeds: 4")
    )
    code, text, _ = told(capsys, "diff", file, other)
    assert code == 0
    assert "  seeds: 3 -> 4" in text
    assert "arm groups=1:\n  optim.lr: 0.1 -> 0.2" in text
    assert f"only in {file}: groups=4" in text
    assert "trials that are not sampled: 12 and 16, of which 0 are shared" in text
    assert "12 and 12, of which 12 are shared" in told(capsys, "diff", file, file)[1]

    a, b = list(Space(load(file)).fixed())[1:3]
    ended(tmp_path / "out", a)
    ended(tmp_path / "out", b)
    found = json.loads(told(capsys, "diff", a.id[:6], b.id, "--out", tmp_path / "out", "--json")[1])
    assert found["spec"] == [{"key": "method.groups", "a": 1, "b": 2}]
    assert found["scores"] == []
    assert told(capsys, "diff", file, a.id, "--out", tmp_path / "out")[0] == 2
    assert "has no trial 'zzz'" in told(capsys, "diff", a.id, "zzz", "--out", tmp_path / "out")[2]


def test_differences() -> None:
    assert differences({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}, "d": 4}) == [
        ("a.c", 2, 3),
        ("d", "(absent)", 4),
    ]
    assert differences({"a": 1}, {"a": True}) == [("a", 1, True)]


def test_stop_asks_a_run_that_is_going_on(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert told(capsys, "stop", file, "--out", out)[:2] == (0, f"small: no run of it is going on in {out}\n")
    with locked(study_folder(out, "small") / "lock"):
        assert "asked to stop" in told(capsys, "stop", "small", "--out", out)[1]
        assert stop_file(out, "small").exists()
        assert told(capsys, "stop", file, "--out", out, "--wait", 0.3)[0] == 1
        assert json.loads(told(capsys, "status", file, "--out", out, "--json")[1])["run_going_on"]
        assert told(capsys, "retry", file, "--failed", "--mark", "--out", out)[0] == 2
    code, _, err = told(capsys, "stop", "smal", "--out", out)
    assert (code, "has no study 'smal'; it has small. Did you mean 'small'?" in err) == (2, True)


def test_the_schema_takes_good_files_and_refuses_bad_ones(file: Path, tmp_path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    made = schema()
    jsonschema.Draft202012Validator.check_schema(made)
    validator = jsonschema.Draft202012Validator(made)
    for path in [file, *(ROOT / "searchspaces").glob("*.yaml")]:
        assert not list(validator.iter_errors(plain(read(path)))), path
    for text in (
        dino(),
        GOOD + "scales: {gpu: {base: {optim: {lr: 0.3}}}}\n",
        GOOD + "search: {optim.lr: {log: [1, 2]}}\n",
    ):
        file.write_text(text)
        assert not list(validator.iter_errors(plain(read(file)))), text
    for bad in (
        swapped("lr: 0.1", "lr: -1"),
        swapped("lr: 0.1", "lrr: 1"),
        swapped("name: sgd", "name: sdg"),
        swapped("name: byol", "name: byol, groups: 4"),
        swapped("[knn, linear]", "[nearest]"),
        swapped("epochs: 12", "epochs: 1.5"),
        swapped("  method.groups", "  metod.groups"),
        swapped("baseline", "basline"),
        GOOD + "search: {optim.lr: {logg: [1, 2]}}\n",
        GOOD + "scales: {gpu: {base: {optim: {name: sgd, eta: 0.3}}}}\n",
    ):
        file.write_text(bad)
        assert list(validator.iter_errors(plain(read(file)))), bad


def test_the_schema_describes_every_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = told(capsys, "schema")
    assert code == 0
    made = json.loads(out)
    assert told(capsys, "schema", "--to", tmp_path / "s.json")[0] == 0
    assert json.loads((tmp_path / "s.json").read_text()) == made
    specs = {name: d for name, d in made["$defs"].items() if "properties" in d and name[0].isupper()}
    told_elsewhere = {"description", "$ref", "anyOf"}  # of a block: its own description
    bare = [
        f"{n}.{k}"
        for n, d in specs.items()
        for k, v in d["properties"].items()
        if not told_elsewhere & set(v)
    ]
    assert all("description" in d for d in specs.values())
    assert bare == []


def test_what_is_known_of_sets_and_backbones_without_making_them() -> None:
    from data.sets import SETS
    from models.backbones import BACKBONES

    spec = SETS["digits"](name="digits")
    digits = spec.load(Path("."))
    assert (spec.pictures, spec.classes) == (len(digits.train), digits.classes)
    for name in ("resnet_tiny", "swin_t", "resnet18", "resnet50"):
        spec = BACKBONES[name][0](name=name)
        assert shape_of(spec) == built_shape(spec), name
    small = BACKBONES["resnet18"][0](name="resnet18", stem="small")
    assert shape_of(small) == built_shape(small)

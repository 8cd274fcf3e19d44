"""YAML to Parquet to an answer in one process, and what happens when it is stopped."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from study import table
from study.run import main

FILE = str(Path(__file__).with_name("shared.yaml"))
VOLATILE = {"attempt", "seconds", "started", "finished", "peak_memory_mb", "environment"}


def deterministic(out: Path) -> tuple[Any, Any, Any]:
    """Everything in the tables that a second run must repeat."""
    trials = [{k: v for k, v in row.items() if k not in VOLATILE} for row in table.read(out, "trials")]
    scores = [
        (r["id"], r["evaluation"], r["metric"], r["value"], r["n"], r["step"])
        for r in table.read(out, "scores")
        if "second" not in r["metric"]
    ]
    curves = [(r["id"], r["step"], r["name"], r["value"]) for r in table.read(out, "curves")]
    return sorted(trials, key=lambda r: r["id"]), sorted(scores), sorted(curves, key=repr)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed")
    assert main([FILE, "--local", "--out", str(out)]) == 0
    return out


def test_every_trial_has_its_rows(undisturbed: Path) -> None:
    trials = table.read(undisturbed, "trials")
    assert len(trials) == 6
    assert {row["status"] for row in trials} == {"done"}
    assert {(row["arm"], row["seed"]) for row in trials} == {
        (a, s) for a in ("byol", "groups=1", "groups=4") for s in (0, 1)
    }
    scores = table.read(undisturbed, "scores")
    top1 = [r["value"] for r in scores if (r["evaluation"], r["metric"]) == ("knn", "top1")]
    assert len(top1) == 6
    assert all(20 < value <= 100 for value in top1)
    curves = table.read(undisturbed, "curves")
    assert {"loss", "lr", "global", "aligned", "embedding_std"} <= {r["name"] for r in curves}


def test_a_second_run_runs_nothing(undisturbed: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = sorted(p.stat().st_mtime_ns for p in undisturbed.rglob("*.parquet"))
    assert main([FILE, "--local", "--out", str(undisturbed)]) == 0
    assert sorted(p.stat().st_mtime_ns for p in undisturbed.rglob("*.parquet")) == before
    assert "not run again" in capfd.readouterr().out


def test_the_answer_names_arms_and_files(undisturbed: Path, capfd: pytest.CaptureFixture[str]) -> None:
    main([FILE, "--local", "--out", str(undisturbed)])
    text = capfd.readouterr().out
    for word in (
        "Does the whole way work?",
        "byol (baseline)",
        "groups=4",
        "knn.top1",
        "trials/**/*.parquet",
    ):
        assert word in text


def test_a_changed_file_runs_only_what_is_new(
    undisturbed: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import shutil

    out = tmp_path / "out"
    shutil.copytree(undisturbed, out)
    text = Path(FILE).read_text().replace("[1, 4]", "[1, 2, 4]")
    changed = tmp_path / "changed.yaml"
    changed.write_text(text)
    assert main([str(changed), "--local", "--out", str(out)]) == 0
    assert len(table.read(out, "trials")) == 8
    assert "6 of 8 trials stand" in capfd.readouterr().out


def start(out: Path, *more: str) -> subprocess.Popen[str]:
    environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    command = [sys.executable, "-m", "study.run", FILE, "--out", str(out), "--save-every", "0", *more]
    return subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def until(condition: Any, process: subprocess.Popen[str], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.02)


def test_ctrl_c_checkpoints_and_the_same_command_continues(undisturbed: Path, tmp_path: Path) -> None:
    process = start(tmp_path, "--local")
    until(lambda: list(tmp_path.rglob("training.pt")), process)
    process.send_signal(signal.SIGINT)
    printed, _ = process.communicate(timeout=120)
    assert process.returncode == 130, printed
    assert "Traceback" not in printed
    assert len(table.read(tmp_path, "trials")) < 6
    assert main([FILE, "--local", "--out", str(tmp_path)]) == 0
    assert deterministic(tmp_path) == deterministic(undisturbed)


def test_killed_at_a_random_moment_and_continued(undisturbed: Path, tmp_path: Path) -> None:
    """Bit for bit: the process is killed without a word, twice, wherever it is."""
    chance = random.Random()
    for _ in range(2):
        process = start(tmp_path, "--local")
        until(lambda: list(tmp_path.rglob("live/*.json")), process)
        time.sleep(chance.uniform(0, 3))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    assert main([FILE, "--local", "--out", str(tmp_path)]) == 0
    assert deterministic(tmp_path) == deterministic(undisturbed)


def test_a_study_is_run_once_at_a_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from study.task import locked, study_folder

    with locked(study_folder(tmp_path, "journey") / "lock"):
        assert main([FILE, "--local", "--out", str(tmp_path)]) == 2
    assert "being run already" in capsys.readouterr().err


def test_a_torn_part_is_run_again(undisturbed: Path, tmp_path: Path) -> None:
    import shutil

    out = tmp_path / "out"
    shutil.copytree(undisturbed, out)
    part = min((out / "tables" / "trials").rglob("*.parquet"))
    part.write_bytes(part.read_bytes()[:200])
    with pytest.warns(table.TornPart):
        assert main([FILE, "--local", "--out", str(out)]) == 0
    part.unlink()
    assert deterministic(out) == deterministic(undisturbed)


def test_a_failing_trial_is_a_row_and_the_others_go_on(tmp_path: Path) -> None:
    text = Path(FILE).read_text().replace("lr: 0.05", "lr: 1e18").replace("seeds:    2", "seeds: 1")
    file = tmp_path / "failing.yaml"
    file.write_text(text)
    main([str(file), "--local", "--out", str(tmp_path / "out")])
    rows = table.read(tmp_path / "out", "trials")
    assert len(rows) == 3
    assert all(row["status"] in ("diverged", "collapsed", "failed", "done") for row in rows)
    assert any(row["status"] == "diverged" and row["reason"] for row in rows)

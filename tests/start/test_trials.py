"""Trials that start from others, from nothing and from files, run, killed and run again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from study import checkpoint, table
from study.run import main
from study.space import Space, Trial
from study.studyfile import load

FILE = """\
study: starts
question: Does starting work?
base:
  data:     {name: digits, fraction: 0.2}
  backbone: {name: resnet_tiny, width: 8}
  method:   {name: dino, out_dim: 32, hidden: 16, bottleneck: 8, head_norm: true}
  views:    {name: dino, size: 16, local_crops: 2, local_size: 8}
  optim:    {name: sgd, lr: 0.05, momentum: 0.0, warmup: 1}
  budget:   {epochs: 3, batch: 32}
evaluate: [knn]
seeds: 1
arms:
  # Listed first, run last. Without momentum in the optimiser it is the same training as vanilla's.
  same:    {start: {name: arm, arm: vanilla, epoch: 2, schedule: continue}}
  vanilla:
  regions: {method: {matching: geometric}, start: {name: arm, arm: vanilla, epoch: 2, schedule: continue}}
  byol:    {method: {name: byol, dim: 8, hidden: 16}, views: {name: byol, size: 16},
            start: {name: arm, arm: vanilla, part: encoder}, budget: {epochs: 1}}
  random:  {start: {name: random}, budget: {epochs: 0}}
  frozen:  {start: {name: arm, arm: vanilla, epoch: 1}, budget: {epochs: 0}}
  given:   {start: {name: file, path: given.pth}, budget: {epochs: 0}}
"""


def trials(file: Path) -> dict[str, Trial]:
    return {trial.arm: trial for trial in Space(load(file)).fixed()}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from models import backbones
    from models.backbones.resnet import TinySpec

    folder = tmp_path_factory.mktemp("starts")
    torch.manual_seed(11)
    torch.save(backbones.make(TinySpec(width=8)).state_dict(), folder / "given.pth")
    (folder / "f.yaml").write_text(FILE)
    return folder / "f.yaml"


@pytest.fixture(scope="module")
def out(file: Path) -> Path:
    assert main([str(file), "--local", "--out", str(file.parent / "out")]) == 0
    return file.parent / "out"


def encoder(out: Path, trial: Trial) -> dict[str, torch.Tensor]:
    state = checkpoint.load(out / "checkpoints" / trial.id / "encoder.pt")
    assert state is not None
    return dict(state["encoder"])


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


def test_every_arm_is_done_after_what_it_starts_from(file: Path, out: Path) -> None:
    rows = {row["arm"]: row for row in table.read(out, "trials")}
    assert {arm: row["status"] for arm, row in rows.items()} == dict.fromkeys(trials(file), "done")
    for arm in ("same", "regions", "byol", "frozen"):
        assert rows[arm]["started"] > rows["vanilla"]["finished"]
    assert {arm: (row["epochs_planned"], row["epochs_done"]) for arm, row in rows.items()} == {
        "vanilla": (3, 3), "same": (3, 1), "regions": (3, 1), "byol": (1, 1), "random": (0, 0), "frozen": (0, 0),
        "given": (0, 0),
    }  # fmt: skip


def test_a_continued_training_is_the_whole_one(file: Path, out: Path) -> None:
    """Bit for bit: pictures, views and schedules are those of the epochs that are left."""
    found = trials(file)
    assert equal(encoder(out, found["same"]), encoder(out, found["vanilla"]))
    assert not equal(encoder(out, found["regions"]), encoder(out, found["vanilla"]))


def test_what_is_not_trained_is_evaluated_as_it_is(file: Path, out: Path) -> None:
    found = trials(file)
    given = torch.load(file.parent / "given.pth", weights_only=True)
    assert equal(encoder(out, found["given"]), given)
    kept = checkpoint.load(out / "checkpoints" / found["vanilla"].id / "epoch-1.pt")
    assert kept is not None
    assert equal(encoder(out, found["frozen"]), kept["encoder"])
    scores = {
        (row["id"], row["evaluation"], row["metric"]): row["value"] for row in table.read(out, "scores")
    }
    for arm in ("random", "frozen", "given"):
        assert scores[found[arm].id, "trial", "train_seconds"] == 0
        assert scores[found[arm].id, "knn", "top1"] > 20
        assert (found[arm].id, "trial", "pictures_per_second") not in scores


def test_only_what_is_needed_is_left_on_the_disk(file: Path, out: Path) -> None:
    names = {p.name for p in (out / "checkpoints" / trials(file)["vanilla"].id).glob("*.pt")}
    assert names == {"encoder.pt", "epoch-1.pt", "epoch-2.pt", "epoch-3.pt"}
    names = {p.name for p in (out / "checkpoints" / trials(file)["random"].id).glob("*.pt")}
    assert names == {"encoder.pt"}


def test_a_second_run_runs_nothing(file: Path, out: Path) -> None:
    before = sorted(p.stat().st_mtime_ns for p in out.rglob("*.parquet"))
    assert main([str(file), "--local", "--out", str(out)]) == 0
    assert sorted(p.stat().st_mtime_ns for p in out.rglob("*.parquet")) == before


def test_a_source_that_is_gone_is_run_again_for_a_new_arm(file: Path, out: Path, tmp_path: Path) -> None:
    import shutil

    there = tmp_path / "out"
    shutil.copytree(out, there)
    found = trials(file)
    (there / "checkpoints" / found["vanilla"].id / "epoch-2.pt").unlink()
    shutil.copy(file.parent / "given.pth", tmp_path)
    later = tmp_path / "f.yaml"
    later.write_text(
        file.read_text() + "  later: {start: {name: arm, arm: vanilla, epoch: 2}, budget: {epochs: 1}}\n"
    )
    assert main([str(later), "--local", "--out", str(there)]) == 0
    rows = {row["arm"]: row for row in table.read(there, "trials")}
    assert (rows["later"]["status"], rows["later"]["epochs_done"]) == ("done", 1)
    assert {arm for arm, row in rows.items() if row["attempt"] > 1} == {"vanilla"}
    assert equal(encoder(there, found["vanilla"]), encoder(out, found["vanilla"]))


def test_a_trial_of_another_study(
    file: Path, out: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    other = file.parent / "other.yaml"
    text = file.read_text().split("arms:")[0].replace("study: starts", "study: other")
    arms = "arms:\n  more: {start: {name: arm, study: f.yaml, arm: vanilla}, budget: {epochs: 1}}\n"
    arms += f"  by_id: {{start: {{name: trial, id: {trials(file)['vanilla'].id}, part: encoder}}, budget: {{epochs: 0}}}}\n"
    other.write_text(text + arms)
    assert main([str(other), "--local", "--out", str(tmp_path)]) == 2
    printed = capfd.readouterr().err
    assert "run its study first, with the same --out" in printed
    assert "Traceback" not in printed
    assert main([str(other), "--local", "--out", str(out)]) == 0
    rows = {row["arm"]: row["status"] for row in table.read(out, "trials", "other")}
    assert rows == {"more": "done", "by_id": "done"}
    assert equal(encoder(out, trials(other)["by_id"]), encoder(out, trials(file)["vanilla"]))


@pytest.mark.slow
def test_killed_anywhere_and_continued(file: Path, out: Path, tmp_path: Path) -> None:
    """The process is killed without a word, three times; what others start from is the same all the same."""
    command = [
        sys.executable,
        "-m",
        "study.run",
        str(file),
        "--local",
        "--out",
        str(tmp_path),
        "--save-every",
        "0",
    ]
    for seconds in (1.0, 2.0, 3.5):
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        end = time.monotonic() + 120
        while not list(tmp_path.rglob("live/*.json")) and process.poll() is None and time.monotonic() < end:
            time.sleep(0.02)
        time.sleep(seconds)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    assert main([str(file), "--local", "--out", str(tmp_path)]) == 0
    for trial in trials(file).values():
        assert equal(encoder(tmp_path, trial), encoder(out, trial)), trial.arm

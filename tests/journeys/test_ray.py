"""Through Ray: the same rows as in one process, also after a kill, also with two workers a trial."""

import math
import os
import signal
import time
from pathlib import Path

import pytest

from study import table
from study.run import main
from tests.journeys.test_local import FILE, deterministic, start, until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("local")
    assert main([FILE, "--local", "--out", str(out)]) == 0
    return out


def test_ray_gives_the_rows_of_one_process(local: Path, tmp_path: Path) -> None:
    process = start(tmp_path)
    printed, _ = process.communicate(timeout=600)
    assert process.returncode == 0, printed
    assert deterministic(tmp_path) == deterministic(local)
    assert "ray" not in printed.lower().replace(str(tmp_path).lower(), ""), "Ray's own noise is silenced"


def test_driver_killed_and_continued(local: Path, tmp_path: Path) -> None:
    process = start(tmp_path)
    until(lambda: list(tmp_path.rglob("training.pt")), process, 300)
    time.sleep(1)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(5)
    process = start(tmp_path)
    printed, _ = process.communicate(timeout=600)
    assert process.returncode == 0, printed
    assert deterministic(tmp_path) == deterministic(local)


def test_sigterm_checkpoints(tmp_path: Path) -> None:
    """Ray puts a handler of its own on SIGTERM, which would end the driver, and with it the trials, at once."""
    process = start(tmp_path)
    until(lambda: list(tmp_path.rglob("training.pt")), process, 300)
    process.send_signal(signal.SIGTERM)
    printed, _ = process.communicate(timeout=300)
    assert process.returncode == 143, printed
    assert list(tmp_path.rglob("training.pt"))
    assert "interrupted" in printed
    assert len(table.read(tmp_path, "trials")) < 6


def test_two_workers_give_the_rows_of_one_process(tmp_path: Path) -> None:
    """Rounding differs (sums run in another order), and training amplifies it: the first steps agree to
    rounding, the rest to what six epochs make of it."""
    one, two = tmp_path / "one", tmp_path / "two"
    sets = ["--set", "seeds=1", "--set", "grid.method.groups=[4]"]
    assert main([FILE, "--local", "--out", str(one), *sets]) == 0
    process = start(two, "--workers", "2", *sets)
    printed, _ = process.communicate(timeout=900)
    assert process.returncode == 0, printed
    mine, theirs = table.read(one, "trials"), table.read(two, "trials")
    assert [(r["id"], r["status"]) for r in mine] == [(r["id"], r["status"]) for r in theirs]
    assert {r["workers"] for r in theirs} == {2}
    first = {(r["id"], r["step"], r["name"]): r["value"] for r in table.read(one, "curves")}
    second = {(r["id"], r["step"], r["name"]): r["value"] for r in table.read(two, "curves")}
    losses = [key for key in first if key[2] == "loss"]
    assert losses
    for key in losses:
        tolerance = 1e-5 if key[1] < 2 else 2e-2
        assert math.isclose(first[key], second[key], rel_tol=tolerance), key

"""A sampled study with early stopping, its driver killed again and again: nothing lost, nothing repeated."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from test_rungs import TEXT

from study import table

KILLS = int(os.environ.get("SSL_STUDY_KILLS", "12"))


def start(folder: Path, sampler: str) -> subprocess.Popen[bytes]:
    (folder / "hill.yaml").write_text(TEXT.replace("random, trials: 5", f"{sampler}, trials: 13"))
    words = [sys.executable, "-m", "study.run", str(folder / "hill.yaml"), "--local", "--out", str(folder)]
    return subprocess.Popen(
        [*words, "--save-every", "0.2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def facts(out: Path) -> tuple[Any, ...]:
    """What two runs of a study must agree on."""
    trials = [
        (r["id"], r["status"], r["reason"], r["epochs_done"], r["attempt"]) for r in table.read(out, "trials")
    ]
    scores = [
        (r["id"], r["metric"], r["value"]) for r in table.read(out, "scores") if r["evaluation"] == "knn"
    ]
    rungs = [tuple(r.values()) for r in table.read(out, "rungs")]
    points = [{k: v for k, v in r.items() if k not in ("began", "ended")} for r in table.read(out, "points")]
    return sorted(trials), sorted(scores), sorted(rungs, key=repr), sorted(points, key=lambda p: p["index"])


def parts(out: Path) -> int:
    return sum(1 for _ in (out / "tables").rglob("*.parquet"))


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["tpe", "qmc"])
def test_kills_at_random_moments(tmp_path: Path, sampler: str) -> None:
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    calm.mkdir()
    killed.mkdir()
    process = start(calm, sampler)
    output, _ = process.communicate(timeout=900)
    assert process.returncode == 0, output.decode()
    chance = random.Random(sampler)
    seen: dict[str, str] = {}
    done = 0
    while done < KILLS:
        process = start(killed, sampler)
        wanted = parts(killed) + chance.randint(0, 4)
        while process.poll() is None and parts(killed) < wanted:
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.5))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            done += 1
        process.communicate()
        standing = table.finished(killed)
        assert all(standing[i] == "done" for i, status in seen.items() if status == "done")
        assert set(seen) <= set(standing)
        seen = standing
        if process.returncode == 0:
            break  # it came to its end between two kills
    assert done >= min(KILLS, 3), f"only {done} kills before the study had ended"
    process = start(killed, sampler)
    output, _ = process.communicate(timeout=900)
    assert process.returncode == 0, output.decode()
    assert facts(killed) == facts(calm)

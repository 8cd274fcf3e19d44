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


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["tpe", "qmc"])
def test_kills_at_random_moments(tmp_path: Path, sampler: str) -> None:
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    calm.mkdir()
    killed.mkdir()
    began = time.monotonic()
    process = start(calm, sampler)
    output, _ = process.communicate(timeout=900)
    assert process.returncode == 0, output.decode()
    length = time.monotonic() - began
    chance = random.Random(sampler)
    seen: dict[str, str] = {}
    done = 0
    while done < KILLS:
        process = start(killed, sampler)
        try:
            process.communicate(timeout=chance.uniform(0, 0.7 * length))
            break  # it came to its end between two kills
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            done += 1
        standing = table.finished(killed)
        assert all(standing[i] == "done" for i, status in seen.items() if status == "done")
        assert set(seen) <= set(standing)
        seen = standing
    assert done >= min(KILLS, 3), f"only {done} kills before the study had ended"
    process = start(killed, sampler)
    output, _ = process.communicate(timeout=900)
    assert process.returncode == 0, output.decode()
    assert facts(killed) == facts(calm)

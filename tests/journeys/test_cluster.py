"""On a cluster of several nodes: a submitted study gives the rows of one process, whether the nodes see the results
folder or not, and early stopping of trials of several processes leaves nothing behind."""

from __future__ import annotations

import importlib.util
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from study import table
from study.run import main
from tests.journeys.test_local import deterministic, until
from tests.journeys.three_nodes import ThreeNodes, three_nodes

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("aiohttp_cors") is None,
        reason="Ray's dashboard is not installed: ray[default]",
    ),
]

TEXT = """
study: nodes
question: Does a cluster give the rows of one process?
base:
  data:     {name: digits, fraction: 0.2}
  backbone: {name: resnet_tiny, width: 8}
  method:   {name: lewel_b, dim: 16, groups: 4, hidden: 32, batch_norm: sync}
  views:    {size: 16}
  optim:    {name: sgd, lr: 0.05}
  budget:   {epochs: 3, batch: 32}
evaluate: [knn]
seeds: 1
"""
TWO = TEXT + "grid: {method.groups: [1, 4]}\nbaseline: groups=1\n"
# Features that hardly train: an arm of fewer pictures has fewer neighbours of the right class, and nothing else.
EARLY = TEXT.replace("lr: 0.05", "lr: 1e-6")
EARLY += "scheduler: {name: asha, grace: 0.5, eta: 2, guard: {top: 0, random: 0}}\narms:\n"
GOOD = "  good: {data: {fraction: 0.2}}\n"
POOR = "  poor: {data: {fraction: 0.025}}\n  next: {data: {fraction: 0.03}}\n"


@pytest.fixture(scope="module")
def cluster() -> Iterator[ThreeNodes]:
    with three_nodes() as nodes:
        yield nodes


def begin(cluster: ThreeNodes, *words: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", *words, "--save-every", "0"],
        env=cluster.environment() | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def test_a_submitted_study_gives_the_rows_of_one_process(cluster: ThreeNodes, tmp_path: Path) -> None:
    """One trial on each of two nodes, one of which does not see the results; stopped in between."""
    file, out, local = tmp_path / "nodes.yaml", cluster.apart / "out", tmp_path / "local"
    file.write_text(TWO)
    assert main([str(file), "--local", "--out", str(local)]) == 0
    words = ("study", "submit", str(file), "--address", cluster.dashboard, "--out", str(out))
    process = begin(cluster, *words)
    until(lambda: len(list(out.rglob("live/*.json"))) == 2, process, 300)
    actors = [
        a for a in cluster.state("actors") if a["state"] == "ALIVE" and "ImplicitFunc" in a["class_name"]
    ]
    process.send_signal(signal.SIGINT)
    printed, _ = process.communicate(timeout=300)
    assert process.returncode == 130, printed
    assert "Traceback" not in printed
    assert len({actor["node_id"] for actor in actors}) == 2, "the trials are spread by their resources"
    assert not table.read(out, "trials")
    assert len(list(out.glob("checkpoints/*/training.pt"))) == 2, printed

    process = begin(cluster, *words)
    printed, _ = process.communicate(timeout=400)
    assert process.returncode == 0, printed
    assert ("did not see" in printed) == cluster.hidden
    assert deterministic(out) == deterministic(local)
    assert len(list(out.glob("checkpoints/*/encoder.pt"))) == 2
    assert not list(out.glob("checkpoints/*/training.pt"))


def test_early_stopping_of_several_processes_leaves_nothing_behind(
    cluster: ThreeNodes, tmp_path: Path
) -> None:
    """The nodes have the two cores that a trial needs and no more: whatever one keeps, the next cannot have. None
    of them sees the results, so that the values at a rung go through the driver too."""
    file, out = tmp_path / "nodes.yaml", cluster.alone / "out"
    file.write_text(EARLY + GOOD)
    assert main([str(file), "--local", "--out", str(out)]) == 0
    file.write_text(EARLY + GOOD + POOR)
    words = ("--address", cluster.address, "--workers", "2", "--out", str(out))
    began = datetime.now(UTC)
    process = begin(cluster, "study.run", str(file), *words, RAY_AUTH_MODE="token")
    printed, _ = process.communicate(timeout=500)
    assert process.returncode == 0, printed
    rows = {row["arm"]: row for row in table.read(out, "trials")}
    assert {arm: row["status"] for arm, row in rows.items()} == {
        "good": "done",
        "poor": "pruned",
        "next": "pruned",
    }
    assert rows["poor"]["workers"] == 2
    assert "of 2" in rows["poor"]["reason"], "it was compared with the arm that ran elsewhere"
    gap = between(rows["poor"]["finished"], rows["next"]["started"])
    assert gap < max(30, between(began, rows["poor"]["started"])), "a busy machine starts nothing in 30 s"
    end = time.monotonic() + 30
    while (left := groups(cluster)) and time.monotonic() < end:
        time.sleep(0.5)
    assert not left


def groups(cluster: ThreeNodes) -> list[str]:
    return [g["state"] for g in cluster.state("placement_groups") if g["state"] != "REMOVED"]


def between(first: datetime, second: datetime) -> float:
    return (second - first).total_seconds()

"""A trial of several processes: Ray Train's TorchTrainer, N processes, one trial."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from study.cluster import courier
from study.task import Task


def run_group(task: Task, cpus: float, gpus: float) -> tuple[str, str]:
    """Train `task` with its number of workers; returns (status, reason). gpus: a worker."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    word = task.folder / "word.json"
    if not courier.clear_word(task):
        word.unlink(missing_ok=True)
    resources: dict[str, float] = {"CPU": cpus} | ({"GPU": gpus} if gpus else {})
    with tempfile.TemporaryDirectory(prefix="ssl-study-") as scratch:
        trainer = TorchTrainer(
            _member,
            train_loop_config={"task": task.to_json()},
            torch_config=TorchConfig(backend="nccl" if gpus else "gloo", timeout_s=600),
            scaling_config=ScalingConfig(
                num_workers=task.workers, use_gpu=bool(gpus), resources_per_worker=resources
            ),
            run_config=RunConfig(
                name=task.id,  # a name used twice would silently resume the other's checkpoints
                storage_path=scratch,
                failure_config=FailureConfig(max_failures=1),  # a worker that dies costs its last steps only
            ),
        )
        trainer.fit()
    if "courier" in task.extra:
        if (said := courier.word_of(task)) is None:
            raise RuntimeError("its processes ended without a word")
        return said
    told = json.loads(word.read_text())
    return told["status"], told["reason"]


def _member(config: dict[str, Any]) -> None:
    """One process of the group. The first leaves a word on how it ended."""
    import torch
    from ray.train.torch import get_device

    from models import parallel
    from study.perform import perform

    task = Task.from_json(config["task"])
    device = get_device()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    task = replace(task, device=str(device))
    # Only the first process reads and writes files.
    status, reason = courier.carried(task) if parallel.rank() == 0 else perform(task)
    if parallel.rank() == 0 and not courier.tell_word(task, status, reason):
        word = Path(task.folder) / "word.json"
        word.parent.mkdir(parents=True, exist_ok=True)
        word.write_text(json.dumps({"status": status, "reason": reason}))
    parallel.barrier()

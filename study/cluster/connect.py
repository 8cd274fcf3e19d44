"""A Ray to run on: the cluster that is asked for, or one on this machine, quiet."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from study.mistake import Mistakes

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # the driver has its own: finish the step, checkpoint, leave
    "TUNE_MAX_PENDING_TRIALS_PG": "64",
    "TUNE_RESULT_BUFFER_LENGTH": "0",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",  # our tables are the truth; Tune's own state is never read
    "RAY_DEDUP_LOGS": "0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_TRAIN_V2_ENABLED": "1",
    "RAY_raylet_start_wait_time_s": "120",  # a busy laptop needs more than the 30 s of the default
}


@dataclass(frozen=True)
class Resources:
    """What the connected cluster has."""

    cpus: int
    gpus: int
    nodes: int


def quieten() -> None:
    """Silence Ray's own noise; call before importing ray."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    warnings.filterwarnings("ignore", module="ray")
    for name in ("ray", "ray.tune", "ray.train", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)


@contextlib.contextmanager
def silenced(log: Path) -> Iterator[None]:
    """Everything that this process prints goes to the file `log`, Ray's C++ included, which no logging level
    reaches. Whoever has to be heard writes to a duplicate of the terminal made before (progress.py)."""
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    with log.open("w", buffering=1) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            with contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
                yield
        finally:
            for number, saved in zip((1, 2), kept, strict=True):
                os.dup2(saved, number)
                os.close(saved)


@contextlib.contextmanager
def connected(address: str | None = None, cpus: int | None = None) -> Iterator[Resources]:
    """Join the cluster at `address` (or RAY_ADDRESS), else start Ray on this machine and end it after.

    Raises Mistakes when the cluster cannot be reached.
    """
    quieten()
    import ray

    address = address or os.environ.get("RAY_ADDRESS") or None
    options: dict[str, object] = {
        "logging_level": "ERROR",
        "log_to_driver": False,
        "configure_logging": False,
    }
    if address:
        # Every worker gets these sources, not a folder that a node has by chance.
        import data
        import models
        import study

        modules = [study, models, data]
        options |= {"address": address, "runtime_env": {"py_modules": modules, "env_vars": _environment()}}
    else:
        options |= {"include_dashboard": False, "num_cpus": cpus or len(os.sched_getaffinity(0))}
    try:
        ray.init(**options)  # type: ignore[arg-type]
    except Exception as error:  # ray.init raises bare ones; whatever it is, the user reads one line of it
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise Mistakes(f"no Ray cluster answers at {address or 'this machine'}: {first}") from None
    try:
        have = ray.cluster_resources()
        yield Resources(int(have.get("CPU", 1)), int(have.get("GPU", 0)), len(ray.nodes()))
    finally:
        ray.shutdown()


def _environment() -> dict[str, str]:
    return {**QUIET, **{k: v for k, v in os.environ.items() if k.endswith("_NUM_THREADS")}}

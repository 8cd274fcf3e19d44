"""A Ray to run on: the cluster that is asked for, or one on this machine, quiet."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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

JOB_CONFIG = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # what Ray tells the driver of a submitted job


@dataclass(frozen=True)
class Resources:
    """What the connected cluster has.

    nodes: (CPUs, GPUs) of each node. joined: it runs without us, perhaps on several machines.
    """

    nodes: tuple[tuple[float, float], ...]
    joined: bool = False

    @property
    def cpus(self) -> float:
        return sum(cpus for cpus, _ in self.nodes)

    @property
    def gpus(self) -> float:
        return sum(gpus for _, gpus in self.nodes)


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
        options |= {"address": address, "runtime_env": _lacking(runtime_env())}
    else:
        # "local": without it Ray joins a cluster that somebody has started on this machine.
        here = {"include_dashboard": False, "num_cpus": cpus or len(os.sched_getaffinity(0))}
        options |= {"address": "local", **here}
    try:
        with _own_signals():
            ray.init(**options)  # type: ignore[arg-type]
    except Exception as error:  # ray.init raises bare ones; whatever it is, the user reads one line of it
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        if address and isinstance(error, ConnectionError) and "RAY_AUTH_MODE" not in os.environ:
            first += " (one that asks for a token answers with RAY_AUTH_MODE=token only)"
        raise Mistakes(f"no Ray cluster answers at {address or 'this machine'}: {first}") from None
    try:
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        yield Resources(tuple((n.get("CPU", 0.0), n.get("GPU", 0.0)) for n in nodes), bool(address))
    finally:
        ray.shutdown()


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Ray puts a handler of its own on SIGTERM, which ends the process at once: ours is put back."""
    before = signal.getsignal(signal.SIGTERM) or signal.SIG_DFL
    yield
    with contextlib.suppress(ValueError):  # not the main thread, which alone has handlers
        signal.signal(signal.SIGTERM, before)


def runtime_env() -> dict[str, Any]:
    """What every worker of a cluster gets: these sources, not a folder that its node has by chance, and the
    same quiet and threads as here."""
    import data
    import models
    import study

    threads = {k: v for k, v in os.environ.items() if k.endswith("_NUM_THREADS")}
    modules = [str(Path(package.__path__[0]).resolve()) for package in (study, models, data)]
    return {"py_modules": modules, "env_vars": {**QUIET, **threads}}


def _lacking(wanted: dict[str, Any]) -> dict[str, Any]:
    """Without what a submitted job was given already: Ray refuses to be told the same thing twice."""
    config = json.loads(os.environ.get(JOB_CONFIG, "{}"))
    given = config.get("runtime_env") or {}
    if given.pop("working_dir", None):
        # The study file's folder is the driver's affair. A node that fetched it anew would remove the folder
        # below the feet of another node on the same machine.
        os.environ[JOB_CONFIG] = json.dumps(config)
    variables = {k: v for k, v in wanted["env_vars"].items() if k not in given.get("env_vars", {})}
    lacking = {k: v for k, v in wanted.items() if k not in given and k != "env_vars"}
    return {**lacking, "env_vars": variables} if variables else lacking

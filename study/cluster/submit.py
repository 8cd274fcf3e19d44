"""A study as a job of a running Ray cluster: hand it over, follow its log, ask it to stop, read its exit code."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
import os
import secrets
import shlex
import signal
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.cluster.connect import quieten, runtime_env
from study.mistake import Mistakes

ANSWER = 5.0  # seconds that a cluster has for a first answer
STOPPING = 3600  # seconds that a job has to finish its steps and write checkpoints; Ray's own 3 are too few
LOST = 120  # tries, one in five seconds, to find a lost cluster again
EXIT_FAILED, EXIT_INTERRUPTED, EXIT_TERMINATED = 1, 130, 143
OVERRIDES = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS")  # Ray lets them win over an address that it is given


@dataclass(frozen=True)
class Job:
    """files: name to text, found in the folder where `command` runs."""

    study: str
    files: Mapping[str, str]
    command: Sequence[str]


def submit(job: Job, address: str, tell: Callable[[str], None]) -> int:
    """Run the job on the cluster whose dashboard is at `address`; everything it prints is told. Returns its exit
    code. Raises Mistakes when the cluster cannot be talked to, before anything has started."""
    client = _client(address)
    identity = f"{job.study}-{secrets.token_hex(4)}"
    environment = runtime_env()
    environment["env_vars"]["RAY_JOB_STOP_WAIT_TIME_S"] = str(STOPPING)
    with tempfile.TemporaryDirectory(prefix="ssl-study-") as folder:
        for name, text in job.files.items():
            (Path(folder) / name).write_text(text, encoding="utf-8")
        try:
            client.submit_job(
                # exec: the signal that ends the job goes to the study itself, once.
                entrypoint=f"exec {shlex.join(job.command)}",
                submission_id=identity,
                runtime_env={**environment, "working_dir": folder},
            )
        except (OSError, RuntimeError, ValueError) as error:
            raise Mistakes(f"--address {address}: the cluster refuses the job: {_line(error)}") from None
    tell(f"job {identity} at {address}; Ctrl-C stops it, its trials write checkpoints first\n")
    return asyncio.run(_Follower(client, identity, address, tell).follow())


class _Follower:
    """Tells a job's log from its first character to its last, over lost connections."""

    def __init__(self, client: Any, identity: str, address: str, tell: Callable[[str], None]) -> None:
        self.client, self.identity, self.address, self.tell = client, identity, address, tell
        self.told = 0  # characters
        self.signal = 0

    async def follow(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(NotImplementedError, ValueError, RuntimeError):  # not the main thread
                loop.add_signal_handler(number, self._stop, number)
        failures = 0
        while True:
            before = self.told
            try:
                await self._log()
                info = await asyncio.to_thread(self.client.get_job_info, self.identity)
                if info.status.is_terminal():
                    rest = await asyncio.to_thread(self.client.get_job_logs, self.identity)
                    self.tell(rest[self.told :])  # the stream may end before the job's last words
                    return self._code(info)
            except (OSError, RuntimeError, _http_error()) as error:
                failures = 1 if self.told > before else failures + 1
                if failures == 1:
                    self.tell(f"\nthe cluster does not answer ({_line(error)}); trying again\n")
                if failures > LOST:
                    self.tell(
                        f"\nlost; the job goes on: ray job logs {self.identity} --address {self.address}\n"
                    )
                    return EXIT_FAILED
                await asyncio.sleep(5)
            await asyncio.sleep(0.5)

    async def _log(self) -> None:
        """Tell what has not been told; returns when the stream ends, which begins anew every time."""
        passed = 0
        async for text in self.client.tail_job_logs(self.identity):
            new = text[max(0, self.told - passed) :]
            passed += len(text)
            if new:
                self.told = passed
                self.tell(new)

    def _stop(self, number: int) -> None:
        if self.signal:
            os._exit(EXIT_TERMINATED if number == signal.SIGTERM else EXIT_INTERRUPTED)
        self.signal = number
        self.tell("\nstopping the job: its trials finish their steps and write checkpoints\n")
        try:
            self.client.stop_job(self.identity)
        except (OSError, RuntimeError) as error:
            self.signal = 0
            self.tell(f"it could not be asked ({_line(error)}); try again\n")

    def _code(self, info: Any) -> int:
        status = str(getattr(info.status, "value", info.status))
        if status == "STOPPED":  # Ray keeps no exit code of a job that it was asked to stop
            return EXIT_INTERRUPTED if self.signal == signal.SIGINT else EXIT_TERMINATED
        if info.driver_exit_code is not None:
            return int(info.driver_exit_code)
        if status != "SUCCEEDED":
            self.tell(f"job {self.identity} {status.lower()}: {(info.message or 'without a word').strip()}\n")
        return 0 if status == "SUCCEEDED" else EXIT_FAILED


def _client(address: str) -> Any:
    """A client of the job API. Raises Mistakes."""
    if not address.startswith(("http://", "https://")):
        raise Mistakes(f"--address {address}: must be the cluster's dashboard, like http://HOST:8265")
    quieten()
    if importlib.util.find_spec("aiohttp") is None:
        raise Mistakes("submit: needs the extra `cluster`: pip install 'ssl-study[cluster]'")
    import requests

    try:
        answer = requests.get(f"{address.rstrip('/')}/api/version", timeout=ANSWER)
    except requests.Timeout:
        raise Mistakes(f"--address {address}: no answer within {ANSWER:g} s") from None
    except (requests.RequestException, ValueError):
        raise Mistakes(f"--address {address}: nothing answers there") from None
    if answer.status_code == 401:  # it asks for a token, which Ray looks for when it is imported in this mode
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobSubmissionClient

    # They name every upload and every socket that closes.
    for name in (
        "dashboard.modules.dashboard_sdk",
        "dashboard.modules.job.sdk",
        "_private.runtime_env.packaging",
    ):
        logging.getLogger(f"ray.{name}").setLevel(logging.ERROR)
    try:
        with _unset(OVERRIDES):
            return JobSubmissionClient(address)
    except AuthenticationError:
        raise Mistakes(f"--address {address}: the cluster wants its token in RAY_AUTH_TOKEN") from None
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise Mistakes(f"--address {address}: is no Ray dashboard that takes jobs: {_line(error)}") from None


def _http_error() -> type[BaseException]:
    import aiohttp

    return aiohttp.ClientError


@contextlib.contextmanager
def _unset(names: Sequence[str]) -> Iterator[None]:
    kept = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)


def _line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__

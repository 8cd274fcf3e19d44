"""Hand a study to a running Ray cluster through its job API, follow the log, return the job's exit code. Folders
are the cluster's: --out and --data are absolute, or below the home folder of its head node. Ctrl-C stops the job:
every trial finishes its step and writes a checkpoint; submitting again continues."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from study.commandline import add_how, add_study


def add(parser: argparse.ArgumentParser) -> None:
    add_study(parser)
    parser.add_argument(
        "--out", type=Path, default=Path("results"), help="tables and checkpoints; default: ~/results there"
    )
    add_how(parser)
    parser.add_argument(
        "--address",
        default=os.environ.get("RAY_API_SERVER_ADDRESS"),
        metavar="http://HOST:8265",
        help="the dashboard of the cluster; default: RAY_API_SERVER_ADDRESS",
    )
    parser.add_argument(
        "--python", default="python", help="the interpreter on the head node; default: python on its PATH"
    )


def run(options: argparse.Namespace) -> int:
    from study.bundle import bundle
    from study.mistake import Mistakes
    from study.studyfile import load

    if not options.address:
        raise Mistakes("submit: needs --address http://HOST:8265, the dashboard of a running Ray cluster")
    source = load(options.file, options.scale, options.overrides)
    from study.space import Space

    Space(source)  # a mistake of the file is told here, with the lines of the file
    from study.cluster.submit import Job, submit

    files = bundle(options.file)
    job = Job(source.settings.study, files, [options.python, *command(next(iter(files)), options)])
    return submit(job, options.address, lambda text: print(text, end="", flush=True))


def command(name: str, options: argparse.Namespace) -> list[str]:
    """What the job runs: the door, with the same flags."""
    words = ["-m", "study.run", name, "--scale", options.scale]
    words += [word for override in options.overrides for word in ("--set", override)]
    words += ["--out", below_home(options.out), "--data", below_home(options.data)]
    words += ["--workers", str(options.workers), "--cpus", str(options.cpus)]
    words += ["--gpus", f"{options.gpus:g}"] if options.gpus is not None else []
    words += ["--save-every", f"{options.save_every:g}"]
    words += ["--compile"] if options.compile else []
    return [*words, "--channels-last"] if options.channels_last else words


def below_home(folder: Path) -> str:
    """A folder of the cluster: a job's own working folder is removed when it ends."""
    return str(folder) if folder.is_absolute() or str(folder).startswith("~") else f"~/{folder}"

"""End a study that is running: every trial finishes its step, writes a checkpoint and ends; running the study
again continues it."""

from __future__ import annotations

import argparse
from pathlib import Path

from study.commandline import add_out


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", help="the study's name, or its file")
    add_out(parser)
    parser.add_argument("--wait", type=float, default=0.0, metavar="SECONDS", help="until it has ended")


def run(options: argparse.Namespace) -> int:
    import time

    from study.task import locked, stop_file, study_folder

    out = options.out.expanduser()
    name = name_of(options.study, out)
    lock = study_folder(out, name) / "lock"
    if not lock.parent.is_dir():
        return _idle(name, out)
    with locked(lock, wait=False) as free:
        if free:
            return _idle(name, out)
    stop_file(out, name).touch()
    print(f"{name}: asked to stop; its trials write checkpoints and end", flush=True)
    deadline = time.monotonic() + options.wait
    while options.wait:
        with locked(lock, wait=False) as free:
            if free:
                print(f"{name}: has ended")
                return 0
        if time.monotonic() > deadline:
            print(f"{name}: still running after {options.wait:g} s")
            return 1
        time.sleep(0.2)
    return 0


def name_of(study: str, out: Path) -> str:
    """The name of a study that is given by name or by file. Raises Mistakes."""
    from study.mistake import Mistakes, choices, nearest

    known = [p.name for p in (out / "studies").glob("*") if p.is_dir()]
    if study in known:
        return study
    if Path(study).suffix in (".yaml", ".yml") or Path(study).is_file():
        from study.document import read

        name = read(Path(study)).get("study")
        if not isinstance(name, str):
            raise Mistakes(f"{study}: has no `study:` with a name")
        return name
    has = f"; it has {choices(sorted(known)[:20])}" if known else ""
    raise Mistakes(f"--out {out}: has no study '{study}'{has}.{nearest(study, known)}")


def _idle(name: str, out: Path) -> int:
    print(f"{name}: no run of it is going on in {out}")
    return 0

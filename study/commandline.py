"""The command lines: `python -m study.run FILE` and the verbs beside it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from study.mistake import EXIT_MISTAKE, nearest

EXIT_CODES = """exit codes: 0 done; 1 no trial succeeded; 2 a mistake in the file or the command line;
  5 a gated claim is not supported; 130 stopped by Ctrl-C; 143 stopped by SIGTERM. Running again continues."""


class Parser(argparse.ArgumentParser):
    """One clear line for a mistake, with the nearest right word."""

    def error(self, message: str) -> NoReturn:
        words = message.split()
        known = [option for action in self._actions for option in action.option_strings]
        hint = nearest(words[-1], known) if "unrecognized" in message else ""
        print(f"{self.prog}: {message}.{hint}", file=sys.stderr)
        raise SystemExit(EXIT_MISTAKE)


SCALE_NAMES = ("laptop", "gpu", "paper")


def add_study(parser: argparse.ArgumentParser) -> None:
    """The file, its scale and its overrides: what decides a study's numbers."""
    parser.add_argument("file", type=Path, help="the study file")
    _add_reading(parser)


def add_studies(parser: argparse.ArgumentParser) -> None:
    """As `add_study`, for several files."""
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="study files")
    _add_reading(parser)


def _add_reading(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--scale", default="laptop", choices=SCALE_NAMES, help="default: laptop")
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="optim.lr=0.1, seeds=5",
    )


def add_out(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out", type=_folder, default=Path("results"), help="tables and checkpoints; default: results"
    )


def add_where(parser: argparse.ArgumentParser) -> None:
    """Where and how it is run: what changes no number."""
    add_out(parser)
    add_how(parser)
    parser.add_argument(
        "--local", action="store_true", help="without Ray: one trial after another in this process"
    )
    parser.add_argument(
        "--address", help="a running Ray cluster to join; default: RAY_ADDRESS, else this machine"
    )
    parser.add_argument("--cores", type=count, help="cores that a Ray on this machine may use; default: all")


def add_how(parser: argparse.ArgumentParser) -> None:
    """How its trials are run, wherever that is."""
    parser.add_argument(
        "--data",
        type=Path,
        default=Path("~/.cache/ssl-study"),
        help="where datasets are; default: ~/.cache/ssl-study",
    )
    parser.add_argument("--workers", type=count, default=1, help="processes a trial (DDP through Ray Train)")
    parser.add_argument("--cpus", type=count, default=1, help="cores and threads a process; default: 1")
    parser.add_argument(
        "--gpus", type=_share, help="GPUs a process, fractions allowed; default: 1 where there is one"
    )
    parser.add_argument(
        "--save-every", type=_share, default=60.0, metavar="SECONDS", help="between checkpoints"
    )
    parser.add_argument(
        "--compile", action="store_true", help="torch.compile; changes no result beyond rounding"
    )
    parser.add_argument("--channels-last", action="store_true", help="memory layout for convolutions on GPUs")


def _folder(text: str) -> Path:
    return Path(text).expanduser()  # a shell leaves the ~ of a quoted word, and of --out=~/x


def count(text: str) -> int:
    """A whole number from 1."""
    value = int(text)
    if not 1 <= value <= 100_000:
        raise argparse.ArgumentTypeError(f"must be from 1 to 100000, not {text}")
    return value


def positive(text: str) -> float:
    """A number above 0."""
    value = float(text)
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"must be above 0, not {text}")
    return value


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value < 1e6:
        raise argparse.ArgumentTypeError(f"must be 0 or more, not {text}")
    return value


def run_parser() -> Parser:
    parser = Parser(
        prog="python -m study.run",
        description="Run a study, or continue it: finished trials are not run again.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_study(parser)
    add_where(parser)
    parser.add_argument("--dry-run", action="store_true", help="print the plan and run nothing")
    return parser


def parse(parser: Parser, arguments: Sequence[str] | None) -> argparse.Namespace:
    return parser.parse_args(arguments)

"""What a run shows while it runs: a live table on a terminal, a line an event elsewhere."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from study.space import Trial

SHOWN = 12  # rows of ended trials


class Progress:
    """Told of every event by the conductor; draws at most twice a second.

    total: trials of the study. kept: those that the tables already held.
    """

    def __init__(
        self, study: str, total: int, kept: int, at_once: int, live: Path, headline: list[str]
    ) -> None:
        self.study, self.total, self.kept, self.at_once = study, total, kept, at_once
        self.live_folder, self.headline = live, headline
        self.started = time.monotonic()
        self.counts: Counter[str] = Counter()
        self.rows: list[tuple[Trial, str, dict[str, float], float]] = []
        self.running: dict[str, Trial] = {}
        self.began: dict[str, float] = {}
        # Its own way to the terminal: while Ray runs, what the process prints goes to a log.
        sys.stdout.flush()
        try:
            self.stream: TextIO = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
        except (OSError, ValueError):  # a notebook's stdout has no file
            self.stream = sys.stdout
        self.console = Console(file=self.stream)
        self._drawn = 0.0
        self._live: Live | None = None
        if self.console.is_terminal:
            self._live = Live(console=self.console, auto_refresh=False, transient=True)
            self._live.start()

    def begun(self, trial: Trial) -> None:
        self.running[trial.id] = trial
        self.began[trial.id] = time.monotonic()
        self.draw()

    def ended(self, trial: Trial, status: str, reason: str, numbers: dict[str, float]) -> None:
        self.running.pop(trial.id, None)
        seconds = time.monotonic() - self.began.pop(trial.id, time.monotonic())
        self.counts[status] += 1
        self.rows.append((trial, status, numbers, seconds))
        if self._live is None:
            shown = "  ".join(f"{k} {numbers[k]:.1f}" for k in self.headline if k in numbers)
            why = f"  {reason}" if status not in ("done",) and reason else ""
            print(
                f"{self._count():>9}  {status:<11} {_name(trial):<28} {seconds:6.1f} s  {shown}{why}{self._left()}",
                file=self.stream,
                flush=True,
            )
        self.draw(force=True)

    def say(self, line: str) -> None:
        """A line that stays."""
        if self._live is not None:
            self._live.console.print(Text(line))
        else:
            print(line, file=self.stream, flush=True)

    def draw(self, force: bool = False) -> None:
        now = time.monotonic()
        if self._live is None or (not force and now - self._drawn < 0.5):
            return
        self._drawn = now
        self._live.update(self._picture(), refresh=True)

    def close(self) -> None:
        if self._live is not None:
            self._live.update(Text(""), refresh=True)
            self._live.stop()
            self._live = None

    def _ended(self) -> int:
        return sum(self.counts.values())

    def _count(self) -> str:
        return f"{self.kept + self._ended()}/{self.total}"

    def remaining(self) -> float | None:
        """Seconds left at the speed so far, or None before the first trial has ended."""
        if not self._ended():
            return None
        each = (time.monotonic() - self.started) / self._ended()
        return max(0.0, each * (self.total - self.kept - self._ended()))

    def _left(self) -> str:
        left = self.remaining()
        return "" if not left else f"  {_minutes(left)} left"

    def _picture(self) -> Group:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for title in ("trial", "status", *self.headline, "s"):
            table.add_column(title, justify="left" if title in ("trial", "status") else "right")
        for trial, status, numbers, seconds in self.rows[-SHOWN:]:
            cells = [f"{numbers[k]:.1f}" if k in numbers else "" for k in self.headline]
            table.add_row(_name(trial), status, *cells, f"{seconds:.0f}")
        for identity, trial in self.running.items():
            told = self._told(identity)
            share = f"{told['step']}/{told['total']}" if told.get("total") else "starting"
            loss = told.get("loss", math.nan)
            note = f"loss {loss:.3f}" if isinstance(loss, float) and math.isfinite(loss) else ""
            cells = [note, *[""] * (len(self.headline) - 1)] if self.headline else []
            table.add_row(
                _name(trial), share, *cells, f"{time.monotonic() - self.began[identity]:.0f}", style="cyan"
            )
        failed = {k: n for k, n in self.counts.items() if k != "done"}
        notes = "".join(f", {n} {k}" for k, n in failed.items())
        head = f"{self.study}: {self._count()} trials{notes}, {len(self.running)} running{self._left()}"
        return Group(Text(head, style="bold"), table)

    def _told(self, identity: str) -> dict[str, Any]:
        try:
            told = json.loads((self.live_folder / f"{identity}.json").read_text())
            return told if isinstance(told, dict) else {}
        except (OSError, ValueError):
            return {}


def _name(trial: Trial) -> str:
    """The varying parameters only."""
    point = ", ".join(
        f"{k.split('.')[-1]}={v:.3g}" if isinstance(v, float) else f"{k.split('.')[-1]}={v}"
        for k, v in trial.point.items()
    )
    return ", ".join(x for x in (trial.arm, point, f"seed {trial.spec.seed}") if x)


def _minutes(seconds: float) -> str:
    if seconds >= 5400:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


def width() -> int:
    """Columns of the terminal, 120 where there is none."""
    return Console(file=sys.stdout).width if sys.stdout.isatty() else 120

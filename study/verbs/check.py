"""Read study files at every scale that they have, and print every mistake; nothing is run."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from study.commandline import SCALE_NAMES
from study.mistake import EXIT_MISTAKE, Mistakes


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="study files")
    parser.add_argument(
        "--scale", choices=SCALE_NAMES, help="this scale alone; default: every one of the file"
    )
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--json", action="store_true", help="a record a file instead of lines")


def run(options: argparse.Namespace) -> int:
    records = [check(file, options.scale, options.overrides) for file in options.files]
    if options.json:
        print(json.dumps(records, indent=1))
    for record in records:
        if options.json:
            continue
        if record["mistakes"]:
            print("\n".join(m["message"] for m in record["mistakes"]), file=sys.stderr)
        else:
            print(f"{record['file']}: good; " + "; ".join(record["scales"]))
    return EXIT_MISTAKE if any(record["mistakes"] for record in records) else 0


def check(file: Path, scale: str | None, overrides: list[str]) -> dict[str, Any]:
    """The file's mistakes at each of its scales, none twice, and what each scale would run."""
    from study.studyfile import load, scales_of

    found: dict[str, dict[str, Any]] = {}
    good: list[str] = []
    try:
        scales = [scale] if scale else scales_of(file)
    except Mistakes as error:
        return {"file": str(file), "scales": [], "mistakes": error.records()}
    for name in scales:
        try:
            source = load(file, name, overrides)  # before the specs, and with them torch, are imported
            from study.space import Space

            space = Space(source)
        except Mistakes as error:
            found |= {str(record["message"]): record for record in error.records()}
        else:
            good.append(f"{name}: {len(space.cells)} arms, {space.count()} trials")
    return {"file": str(file), "scales": good, "mistakes": list(found.values())}

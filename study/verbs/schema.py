"""The JSON Schema of study files: editors complete and check a file by it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--to", type=Path, metavar="FILE", help="write it there instead of printing it")


def run(options: argparse.Namespace) -> int:
    from study.schema import schema

    text = json.dumps(schema(), indent=1)
    if options.to:
        options.to.write_text(text + "\n")
    else:
        print(text)
    return 0

"""Work out every number of a report's page anew from the tables; exit code 1 names those that differ."""

from __future__ import annotations

import argparse
from pathlib import Path

EXIT_MISMATCH = 1


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("page", type=Path, help="the report.html")
    parser.add_argument(
        "--out", type=Path, help="the folder of the tables; default: where the page says, seen from its own"
    )


def run(options: argparse.Namespace) -> int:
    from study.verify import told, verify

    found = verify(options.page, options.out)
    for line in told(found):
        print(line)
    return EXIT_MISMATCH if found.mismatches else 0

"""Measure this machine against a plain way of doing the same."""

from __future__ import annotations

import argparse
import importlib
import importlib.util

from study.mistake import Mistakes

BENCHES = {  # name: the module with `run(print_line)`
    "views": "study.bench_views",
    "region-loss": "study.bench_region",
    "knn": "study.bench_knn",
    "logistic": "study.bench_logistic",
    "sweep": "study.bench_sweep",
    "tables": "study.bench_tables",
}


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", choices=BENCHES, help="what is measured")


def run(options: argparse.Namespace) -> int:
    name = BENCHES[options.name]
    if importlib.util.find_spec(name) is None:
        raise Mistakes(f"bench {options.name}: is not part of this installation ({name})")
    importlib.import_module(name).run(lambda line: print(line, flush=True))
    return 0

"""Threads a process computes with, settled before torch is imported.

The number of threads changes the order of sums, and with it the last bits of a result: a trial must have the
same number in a warm actor, in a worker and in this process.
"""

import os


def settle(threads: int = 1) -> None:
    """Compute with `threads` threads in this process and in those it starts. Call before importing torch."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(threads)


def wanted(arguments: list[str]) -> int:
    """The value of --cpus among raw arguments, read before the parser (and torch) can be imported; else 1."""
    for i, word in enumerate(arguments):
        value = word.removeprefix("--cpus=") if word.startswith("--cpus=") else None
        if word == "--cpus" and i + 1 < len(arguments):
            value = arguments[i + 1]
        if value is not None and value.isdigit() and int(value) > 0:
            return int(value)
    return 1

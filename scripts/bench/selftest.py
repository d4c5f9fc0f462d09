#!/usr/bin/env python3
"""Checks the harness by a filter that drops every 100th line and repeats every 250th."""
import os
import sys
import tempfile

from rivals import Rival
from stages import pour

FILTER = "/probe/ {print; fflush(); next} {n++; if (n % 100 == 0) next; print; if (n % 250 == 1) print}"


def main():
    with tempfile.TemporaryDirectory() as folder:
        pipe = os.path.join(folder, "pipe")
        os.mkfifo(pipe)
        figures = pour(Rival(
            name="filter",
            receiver=lambda _: ["cat", pipe],
            sender=lambda _: ["sh", "-c", 'exec awk "$1" > "$2"', "sh", FILTER, pipe]), 1, 10_000, 0, quiet=1)
    expected = dict(lost=100, doubled=40, foreign=0, disordered=0)
    if any(figures[key] != value for key, value in expected.items()):
        return f"the harness counts wrong: {figures}, expected {expected}"


if __name__ == "__main__":
    sys.exit(main())

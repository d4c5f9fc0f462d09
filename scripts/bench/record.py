"""Records the result of each run as a JSON line in $BENCH_RESULTS."""
import json
import math
import os
import statistics
import sys

import rivals


def result(stage, rival, **figures):
    text = json.dumps(dict(stage=stage, rival=rival, **figures))
    print(text, file=sys.stderr, flush=True)
    with open(os.environ["BENCH_RESULTS"], "a") as file:
        file.write(text + "\n")


def rounds(stage, names, count, measure):
    """Records `measure(rival, round)` for each rival and round. A failed run is a result, too.

    Returns what was measured by rival, without the failed runs.
    """
    measured = {name: [] for name in names}
    for number in range(count):
        for name in names:
            try:
                figures = measure(rivals.ALL[name](), number)
                measured[name].append(figures)
            except (RuntimeError, OSError) as error:
                figures = dict(error=str(error))
            result(stage, name, **figures)
    return measured


def growth(stage, sizes, *figures):
    """Records the exponent with which each figure grows from the smallest size to the largest.

    `sizes` has the runs of each size. Without a run of the smallest or the largest, there is no exponent.
    """
    low, high = min(sizes), max(sizes)
    if not sizes[low] or not sizes[high]:
        return
    ratios = {figure: statistics.median(run[figure] for run in sizes[high])
              / statistics.median(run[figure] for run in sizes[low]) for figure in figures}
    result(stage, "p2pchat", **{
        f"{figure}_exponent": round(math.log(ratio) / math.log(high / low), 3) for figure, ratio in ratios.items()})

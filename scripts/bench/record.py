"""Records the result of each run as a JSON line in $BENCH_RESULTS."""
import json
import os
import sys

import rivals


def result(stage, rival, **figures):
    text = json.dumps(dict(stage=stage, rival=rival, **figures))
    print(text, file=sys.stderr, flush=True)
    with open(os.environ["BENCH_RESULTS"], "a") as file:
        file.write(text + "\n")


def rounds(stage, names, count, measure):
    """Records `measure(rival, round)` for each rival and round. A failed run is a result, too."""
    for number in range(count):
        for name in names:
            try:
                figures = measure(rivals.ALL[name](), number)
            except (RuntimeError, OSError) as error:
                figures = dict(error=str(error))
            result(stage, name, **figures)

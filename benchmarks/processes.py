"""New interpreters that time a statement."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def seconds(statements: str, timed: str, **environment: str) -> float:
    """Return how long ``timed`` takes in a new interpreter that has run ``statements``.

    Bytecode files are written, as for installed packages, so only the first run compiles.
    """
    lines = [
        "from time import perf_counter",
        statements,
        "start = perf_counter()",
        timed,
    ]
    script = "\n".join([*lines, "print(perf_counter() - start)"])
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name != "PYTHONDONTWRITEBYTECODE"
    }
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        check=True,
        cwd=ROOT,
        env=inherited | environment,
        text=True,
    )
    return float(done.stdout)

"""New interpreters that time a statement."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def as_installed() -> dict[str, str]:
    """Return the variables of processes that write bytecode files.

    Only the first run compiles, as for installed packages.
    """
    return {
        name: value
        for name, value in os.environ.items()
        if name != "PYTHONDONTWRITEBYTECODE"
    }


def seconds(statements: str, timed: str, **environment: str) -> float:
    """Return how long ``timed`` takes in a new interpreter that has run ``statements``."""
    lines = [
        "from time import perf_counter",
        statements,
        "start = perf_counter()",
        timed,
    ]
    script = "\n".join([*lines, "print(perf_counter() - start)"])
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        check=True,
        cwd=ROOT,
        env=as_installed() | environment,
        text=True,
    )
    return float(done.stdout)

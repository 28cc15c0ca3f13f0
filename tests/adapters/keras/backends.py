"""Run checks under every backend of Keras, each in its own process."""

import json
import os
import subprocess
import sys
import traceback
import warnings
from pathlib import Path

import pytest

BACKENDS = ("tensorflow", "jax", "torch")
ROOT = Path(__file__).parents[3]


def python(*arguments, **environment):
    """Start Python with the package and the tests on its path."""
    paths = os.pathsep.join(
        [str(ROOT), str(ROOT / "tests"), environment.pop("PYTHONPATH", "")]
    )
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        env={
            **os.environ,
            "PYTHONPATH": paths,
            "TF_CPP_MIN_LOG_LEVEL": "3",
            **environment,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def last_line(process):
    """Return the last line that ``process`` prints; it must succeed."""
    out, err = process.communicate()
    assert process.returncode == 0, err[-3000:]
    return out.splitlines()[-1]


def raised_by_checks():
    """Return by backend and name what the checks of `all_checks` raised."""
    script = Path(__file__).with_name("all_checks.py")
    running = {backend: python(script, KERAS_BACKEND=backend) for backend in BACKENDS}
    outcomes = {
        backend: json.loads(last_line(process)) for backend, process in running.items()
    }
    assert all(outcome["backend"] == backend for backend, outcome in outcomes.items())
    return {backend: outcome["raised"] for backend, outcome in outcomes.items()}


def checks_of(names):
    """Return the functions check_* of a module's ``globals()`` by the rest of the name."""
    return {
        name.removeprefix("check_"): run
        for name, run in list(names.items())
        if name.startswith("check_")
    }


def run(checks, backend):
    """Run ``checks`` and print as JSON what each of them raised."""
    outcome = {}
    for name, check in checks.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                warnings.filterwarnings(
                    "ignore", "__array__ implementation doesn't accept a copy"
                )  # Keras 3.15
                check()
        except (Exception, pytest.fail.Exception):
            outcome[name] = traceback.format_exc()
    print(json.dumps({"backend": backend, "raised": outcome}))

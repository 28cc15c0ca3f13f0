"""Folding and transferring in models of Keras under every backend: the checks of `keras_weights_backends`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import torchvision  # noqa: F401  # before TensorFlow, or the process aborts

# isort: split
import pytest
from adapters.keras_weights_backends import CHECKS

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def raised():
    """What the checks raised, by backend and name: one process a backend, all of them at once."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    script = Path(__file__).with_name("keras_weights_backends.py")
    running = {
        backend: subprocess.Popen(
            [sys.executable, script],
            env={**os.environ, "PYTHONPATH": paths, "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": backend},
            stdout=subprocess.PIPE,
            text=True,
        )
        for backend in ("tensorflow", "jax", "torch")
    }
    told = {backend: json.loads(process.communicate()[0].splitlines()[-1]) for backend, process in running.items()}
    assert all(outcome["backend"] == backend for backend, outcome in told.items())
    return {backend: outcome["raised"] for backend, outcome in told.items()}


@pytest.mark.parametrize("name", CHECKS)
@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_under_every_backend(raised, backend, name):
    assert name not in raised[backend], raised[backend][name]

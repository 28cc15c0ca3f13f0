"""Eight processes of eight threads each, started together on an empty cache of kernels."""

# mypy: ignore-errors

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]

PROCESSES = 8

# Every thread creates plans of its own, so that all of them compile the same kernels.
USE = """
import sys, threading
from concurrent.futures import ThreadPoolExecutor
import numpy as np
import graypipe as gp

image = (np.arange(35 * 50) % 251).astype(sys.argv[1]).reshape(35, 50)
barrier = threading.Barrier(8)

def use(number):
    barrier.wait()
    plan = gp.plan(gp.Source("gray", range=(0, 255)), gp.Target("RGB", "HWC", image.dtype, range=(0, 255)))
    for view in (image[:, ::-1], image.T):
        np.testing.assert_array_equal(plan(view), np.dstack([view] * 3))

with ThreadPoolExecutor(8) as pool:
    list(pool.map(use, range(8)))
"""


def case(random: np.random.Generator) -> str:
    """Start processes that fill one cache; then another one uses it."""
    with tempfile.TemporaryDirectory() as cache_folder:
        dtypes = random.choice(["uint8", "uint16"], PROCESSES)
        for process in [_start(cache_folder, dtype) for dtype in dtypes]:
            _check(process)
        _check(_start(cache_folder, dtypes[0]))
    return "equal"


def _check(process):
    errors = process.communicate()[1]
    assert process.returncode == 0, f"exit code {process.returncode}: {errors}"
    assert errors == "", errors


def _start(cache_folder, dtype):
    environment = {
        **os.environ,
        "GRAYPIPE_ENGINE": "numba",
        "NUMBA_CACHE_DIR": cache_folder,
        "PYTHONPATH": str(ROOT),
    }
    return subprocess.Popen(
        [sys.executable, "-c", USE, dtype],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )

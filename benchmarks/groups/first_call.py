"""The first call of a process: with an empty cache of compiled kernels, and with a filled one."""

import atexit
import shutil
import tempfile
from collections.abc import Iterator
from functools import cache, partial

from ..case import Build, Case
from ..engines import NUMPY, OURS
from ..processes import seconds
from ..scale import Scale

PREPARE = """
import numpy as np
import graypipe as gp
image = np.zeros((196, 256), np.uint8)
"""
TASKS = {
    "normalise": "gp.plan('gray', 'imagenet')(image)",
    "expand": "gp.replicate()(image, layout='HW')",
}


def cases(scale: Scale) -> Iterator[Build]:  # noqa: ARG001
    """Yield the first normalisation and the first expansion."""
    for task in TASKS:
        yield partial(_case, task)


def _case(task: str) -> Case:
    call = TASKS[task]
    return Case(
        task,
        {"task": task},
        ours={
            f"{OURS}, empty cache": partial(_cold, call),
            f"{OURS}, filled cache": partial(_warm, call),
            NUMPY: partial(seconds, PREPARE, call, GRAYPIPE_ENGINE="numpy"),
        },
        check=_positive,
        gauge="reported",
    )


def _warm(call: str) -> float:
    return seconds(PREPARE, call, NUMBA_CACHE_DIR=_filled_cache(call))


@cache
def _filled_cache(call: str) -> str:
    """Return a folder with the compiled kernels of ``call``; it is removed at exit."""
    folder = tempfile.mkdtemp(prefix="graypipe-kernels-")
    atexit.register(shutil.rmtree, folder)
    seconds(PREPARE, call, NUMBA_CACHE_DIR=folder)
    return folder


def _cold(call: str) -> float:
    with tempfile.TemporaryDirectory() as empty:
        return seconds(PREPARE, call, NUMBA_CACHE_DIR=empty)


def _positive(name: str, result: float) -> None:
    assert result > 0, name

"""graypipe as a contender, with its default engine and with the NumPy engine."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from graypipe import engine

from .case import Run

OURS = "graypipe"
NUMPY = "graypipe (numpy engine)"
CONTIGUOUS = "graypipe, contiguous"


def ours(make: Callable[[], Run]) -> dict[str, Run]:
    """Return one contender per engine; ``make`` builds a new plan or map each time."""
    if engine.name() == "numpy":
        return {OURS: make()}
    return {OURS: make(), NUMPY: _with_numpy(make)}


def _with_numpy(make: Callable[[], Run]) -> Run:
    with _numpy_engine():
        run = make()
        run()  # a plan keeps the engine of its first call
    return run


@contextmanager
def _numpy_engine() -> Iterator[None]:
    before = os.environ.get("GRAYPIPE_ENGINE")
    os.environ["GRAYPIPE_ENGINE"] = "numpy"
    engine.engine.cache_clear()
    try:
        yield
    finally:
        os.environ.pop("GRAYPIPE_ENGINE")
        if before is not None:
            os.environ["GRAYPIPE_ENGINE"] = before
        engine.engine.cache_clear()

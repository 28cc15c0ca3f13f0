"""Threads: the pixels of one call split into parts."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray


def split(
    kernel: Callable[[NDArray[Any], NDArray[Any]], None],
    source: NDArray[Any],
    target: NDArray[Any],
    threads: int,
) -> None:
    """Execute ``kernel`` over (bands, *pixels) planes, the pixels split over ``threads`` threads.

    Every pixel is computed alone, so the result depends neither on the split nor on the number of threads.
    """
    pixels = target.shape[1:]
    axis = next(
        (k for k, size in enumerate(pixels) if size >= threads), int(np.argmax(pixels))
    )
    edges = [pixels[axis] * part // threads for part in range(threads + 1)]
    lead = (slice(None),) * (axis + 1)
    parts = [(*lead, slice(a, b)) for a, b in pairwise(edges) if a < b]
    in_threads(lambda part: kernel(source[part], target[part]), parts, threads)


def in_threads(
    function: Callable[[Any], object], items: list[Any], threads: int
) -> None:
    """Call ``function`` on every item, from ``threads`` threads where there are several; the first error is raised.

    The threads end with the call: a pool that outlived it would not survive a fork.
    """
    if threads == 1:
        for item in items:
            function(item)
        return
    from concurrent.futures import (
        ThreadPoolExecutor,
    )  # 8 ms that `import graypipe` need not pay

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(function, items))


def check_threads(threads: int) -> None:
    """Raise ValueError unless ``threads`` is a positive integer."""
    if (
        isinstance(threads, bool)
        or not isinstance(threads, int | np.integer)
        or threads < 1
    ):
        raise ValueError(f"threads is a positive integer, got {threads!r}")

"""Threads: the pixels of one call are split into parts."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray


def split(
    run: Callable[[NDArray[Any], NDArray[Any]], None],
    source: NDArray[Any],
    target: NDArray[Any],
    threads: int,
) -> None:
    """Execute ``run`` on parts of the pixels, in several threads.

    Every pixel is computed alone, so the result depends neither on the split nor on
    the number of threads.

    Parameters
    ----------
    run : callable
        A function ``(source planes, target planes) -> None``.
    source, target : numpy.ndarray
        Planes of shape (bands, pixel axes...).
    threads : int
        The number of parts, and of threads.
    """
    pixels = target.shape[1:]
    # The first axis that is long enough keeps the parts contiguous.
    axis = int(np.argmax(pixels))
    for candidate, size in enumerate(pixels):
        if size >= threads:
            axis = candidate
            break
    edges = [pixels[axis] * part // threads for part in range(threads + 1)]
    lead = (slice(None),) * (axis + 1)
    parts = [(*lead, slice(a, b)) for a, b in pairwise(edges) if a < b]

    def run_part(part: tuple[slice, ...]) -> None:
        run(source[part], target[part])

    in_threads(run_part, parts, threads)


def in_threads(
    function: Callable[[Any], object], items: list[Any], threads: int
) -> None:
    """Call ``function`` on every item, in ``threads`` threads; raise the first error.

    The threads end with the call, because a pool that outlives it does not survive a
    fork.
    """
    if threads == 1:
        for item in items:
            function(item)
        return
    # Imported here because it takes 8 ms, which `import graypipe` need not pay.
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(function, items))


def check_threads(threads: int) -> None:
    """Raise ValueError unless ``threads`` is a positive integer."""
    is_integer = isinstance(threads, int | np.integer) and not isinstance(threads, bool)
    if not is_integer or threads < 1:
        raise ValueError(f"threads must be a positive integer, got {threads!r}")

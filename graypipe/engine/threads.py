"""Split the pixels of one call among threads."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Result = TypeVar("Result")

# More threads than this are never started: they would only take memory and time.
MAX_THREADS = 256


def split(
    run: Callable[[NDArray[Any], NDArray[Any]], bool],
    source: NDArray[Any],
    target: NDArray[Any],
    threads: int,
) -> bool:
    """Execute ``run`` on parts of the pixels, in several threads.

    Each pixel is computed on its own, so the result depends neither on the split nor on
    the number of threads.

    Parameters
    ----------
    run : callable
        A function ``(source planes, target planes) -> bool``.
    source, target : numpy.ndarray
        Planes of shape (bands, pixel axes...).
    threads : int
        The number of parts, and of threads. Numbers above `MAX_THREADS` count as that.

    Returns
    -------
    bool
        Whether ``run`` returned True for any part.
    """
    threads = min(threads, MAX_THREADS)
    pixels = target.shape[1:]
    # The first axis that is long enough keeps the parts contiguous.
    axis = int(np.argmax(pixels))
    for candidate, size in enumerate(pixels):
        if size >= threads:
            axis = candidate
            break
    edges = [pixels[axis] * part // threads for part in range(threads + 1)]
    # All bands, and all of the axes before this one.
    leading = (slice(None),) * (axis + 1)
    parts = [(*leading, slice(a, b)) for a, b in pairwise(edges) if a < b]

    def run_part(part: tuple[slice, ...]) -> bool:
        return run(source[part], target[part])

    return any(in_threads(run_part, parts, threads))


def in_threads(
    function: Callable[[Any], Result], items: list[Any], threads: int
) -> list[Result]:
    """Return ``function`` of every item, called in ``threads`` threads.

    Raises the first error.

    The threads end with the call, because those of a permanent pool would be missing
    after a fork.
    """
    if threads == 1:
        return [function(item) for item in items]
    # Imported here because it would add 8 ms to `import graypipe`.
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(min(threads, MAX_THREADS)) as pool:
        return list(pool.map(function, items))


def check_threads(threads: int) -> None:
    """Raise ValueError unless ``threads`` is a positive integer."""
    is_integer = isinstance(threads, int | np.integer) and not isinstance(threads, bool)
    if not is_integer or threads < 1:
        raise ValueError(f"threads must be a positive integer, got {threads!r}")

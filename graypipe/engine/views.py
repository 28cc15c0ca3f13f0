"""Return the result of a map as a view, if strides alone can express it."""

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..layouts import LayoutConversion


def progression(bands: tuple[int, ...]) -> tuple[int, int] | None:
    """Return (first band, step) if ``bands`` are in arithmetic progression, else None.

    Step 0 repeats one band, a negative step reverses the order.
    """
    step = 0
    if len(bands) > 1:
        step = bands[1] - bands[0]
    if any(b - a != step for a, b in pairwise(bands)):
        return None
    return bands[0], step


def view(
    image: NDArray[Any], conversion: LayoutConversion, first: int, step: int, count: int
) -> NDArray[Any]:
    """Return every ``step``-th band of ``image`` as a view in the target layout.

    Parameters
    ----------
    image : numpy.ndarray
        An image of the source layout.
    conversion : LayoutConversion
        The layouts.
    first, step, count : int
        The bands of the result, as `progression` returns them, and their number.

    Returns
    -------
    numpy.ndarray
        A read-only view of ``image``; nothing is copied.
    """
    planes = conversion.source_planes(image)
    if step == 0:
        bands = np.broadcast_to(planes[first], (count, *planes.shape[1:]))
    else:
        stop: int | None = first + count * step
        if stop is not None and stop < 0:  # a negative index would count from the end
            stop = None
        bands = planes[first:stop:step]
    result = conversion.from_planes(bands).view()
    result.flags.writeable = False
    return result

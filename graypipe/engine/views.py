"""Views: the map executed by strides alone."""

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..layouts import LayoutConversion


def progression(picks: tuple[int, ...]) -> tuple[int, int] | None:
    """Return (first band, step) where ``picks`` stand in arithmetic progression, else None.

    Step 0 repeats one band, a negative step flips the order.
    """
    step = picks[1] - picks[0] if len(picks) > 1 else 0
    regular = all(b - a == step for a, b in pairwise(picks))
    return (picks[0], step) if regular else None


def view(
    image: NDArray[Any], conversion: LayoutConversion, first: int, step: int, count: int
) -> NDArray[Any]:
    """Return ``count`` bands of ``image`` from ``first`` on, in the target layout: a read-only view, 0 bytes copied."""
    planes = conversion.source_planes(image)
    if step == 0:
        chosen = np.broadcast_to(planes[first], (count, *planes.shape[1:]))
    else:
        stop = first + count * step
        chosen = planes[first : stop if stop >= 0 else None : step]
    out = conversion.from_planes(chosen).view()
    out.flags.writeable = False
    return out

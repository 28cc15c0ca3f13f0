"""Inverting: which stored values a result goes back to."""

from dataclasses import replace
from typing import Any

import numpy as np

from . import engine
from .bands import show
from .errors import RangeError
from .sources import Pair, Source


def stored_range(source: Source, dtype: np.dtype[Any] | None) -> tuple[Pair, ...]:
    """Return (black, white) per band of the stored values of ``source`` that ``dtype``, where given, must hold.

    RangeError where neither the source nor ``dtype`` says which values are meant, and where ``dtype`` is too narrow.
    """
    source = replace(source, nodata=None)
    if not source.declares_range and source.dtype is None and dtype is None:
        raise RangeError("stored values in which range? Declare range=, bits= or dtype= in the source, or pass dtype=")
    pairs = source.pairs(source.dtype or dtype)
    levels = [level for pair in pairs for level in pair]
    if dtype is not None and not all(engine.holds(dtype, level) for level in levels):
        raise RangeError(
            f"the stored values range from {min(levels):g} to {max(levels):g}, which {dtype} cannot hold: leave "
            f"dtype= away, or, to show an image, invert with a plan whose source declares no range, "
            f"gp.plan({show(source.bands)}, plan.target).invert(x, dtype='uint8')"
        )
    return pairs

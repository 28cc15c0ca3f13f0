"""The pixels that count: an image block by block, without those that hold nodata."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import layouts
from ..source import Source

SCRATCH = 1 << 20
"""Elements of float64 a block may take, over all its rows: 8 MiB, whatever the size of the image."""


def blocks(image: NDArray[Any], source: Source, rows: int) -> Iterator[NDArray[Any]]:
    """Yield ``image`` as (bands, pixels) of its dtype, in parts that ``rows`` numbers a pixel keep within `SCRATCH`.

    The pixels come in the order of N, T, D, H and W. One that holds nodata in any band is left out, as in a plan.
    """
    from ..engine.numpy_engine import blocks as cut
    from ..engine.numpy_engine import stored_nodata

    planes = layouts.conversion(source.layout, source.layout).source_planes(image)
    nodata = (
        None if source.nodata is None else stored_nodata(source.nodata, image.dtype)
    )
    for block in cut(planes.shape[1:], max(1, SCRATCH // rows)):
        pixels = planes[(slice(None), *block)].reshape(len(planes), -1)
        if nodata is not None:
            same = np.isnan(pixels) if np.isnan(nodata) else pixels == nodata
            pixels = pixels[:, ~same.any(axis=0)]
        if pixels.size:
            yield pixels

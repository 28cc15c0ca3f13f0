"""Choose the accumulator of a `BandStats`, select its pixels, and load it from JSON."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import layouts
from ..engine import numpy_engine
from ..engine.spec import stored_value
from ..errors import ChannelError
from ..source import Source
from .exact import ExactAccumulator
from .streaming import StreamingAccumulator

Accumulator = ExactAccumulator | StreamingAccumulator

# Maximum number of float64 values per block of pixels in an accumulator (8 MiB),
# independent of the image size. `ExactAccumulator.add` relies on fewer than 2**20
# pixels per block.
BLOCK_VALUES = 1 << 20


def empty_accumulator(source: Source, dtype: str) -> Accumulator:
    """Return an empty accumulator of the class for ``dtype``.

    Parameters
    ----------
    source : Source
        The source of the pixels.
    dtype : str
        The dtype of the pixels.

    Returns
    -------
    ExactAccumulator or StreamingAccumulator
    """
    bounds = []
    if source.clip:
        # A reversed range inverts the band, but it is clipped to the same bounds.
        bounds = [(min(pair), max(pair)) for pair in source._pairs(dtype)]
    element = np.dtype(dtype)
    if element.kind in "iub" and element.itemsize <= 2:
        return ExactAccumulator(len(source.bands), bounds, dtype)
    return StreamingAccumulator(len(source.bands), bounds)


def valid_blocks(
    image: NDArray[Any], source: Source, rows: int
) -> Iterator[NDArray[Any]]:
    """Yield the valid pixels of an image, in blocks of bounded size.

    Parameters
    ----------
    image : ndarray
        An image of the source.
    source : Source
        The source, which declares layout and nodata.
    rows : int
        Number of float64 values per pixel in the accumulator.

    Yields
    ------
    ndarray of shape (bands, pixels)
        Pixels in the order of the axes N, T, D, H and W, in the dtype of the image.
        Pixels that are nodata in any band are left out, also if every band has a nodata
        value of its own: covariances need complete pixels.
    """
    conversion = layouts.conversion(source.layout, source.layout)
    # A view of shape (bands, *other axes).
    planes = conversion.source_planes(image)
    block_size = max(1, BLOCK_VALUES // rows)
    for block in numpy_engine.blocks(planes.shape[1:], block_size):
        pixels = planes[(slice(None), *block)].reshape(len(planes), -1)
        if source.nodata is not None:
            pixels = pixels[:, ~missing_pixels(pixels, source)]
        # Accumulators compute extremes, which an empty block does not have.
        if pixels.size:
            yield pixels


def missing_pixels(planes: NDArray[Any], source: Source) -> NDArray[np.bool_]:
    """Return the mask of the pixels in which any band equals its nodata value.

    Parameters
    ----------
    planes : ndarray of shape (bands, *pixels)
        Pixels of ``source``.
    source : Source
        The source, which declares nodata.
    """
    mask = np.zeros(planes.shape[1:], bool)
    for plane, nodata in zip(planes, source._nodata_values, strict=True):
        stored = None
        if nodata is not None:
            stored = stored_value(nodata, planes.dtype)
        # None also if the dtype cannot represent the value, so that no pixel equals it.
        if stored is not None:
            mask |= numpy_engine.is_nodata(plane, stored)
    return mask


def load_record(accumulator: Accumulator, record: Any) -> None:
    """Load statistics from JSON into an empty accumulator.

    Raises
    ------
    ChannelError
        If ``record`` is malformed or not consistent.
    """
    try:
        accumulator.load(record)
    # What Python and NumPy raise when they index, iterate or convert malformed data.
    except (IndexError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise ChannelError(
            "expected statistics written by gp.BandStats.to_json, but they are "
            f"inconsistent ({error!r}): compute the statistics again"
        ) from None

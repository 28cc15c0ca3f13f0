"""From stored units to what a plan takes: windows as ranges, and the moments of unit intensities."""

import numpy as np
from numpy.typing import NDArray

from ..errors import RangeError
from ..source import Pair, Source
from .tallies import Tally

Floats = NDArray[np.float64]


def moments(tally: Tally, source: Source, dtype: str | None) -> tuple[Floats, Floats]:
    """Return mean and covariance of unit intensities, clipped where the source clips; RangeError for constant bands."""
    pairs = source._pairs(dtype)
    if not source._declares_range and np.dtype(dtype).kind == "f":
        from ..engine.numpy_engine import check_implied

        least, greatest = tally.extremes()
        check_implied(least.min(), greatest.max())
    mean, covariance = tally.moments(clipped=True)
    flat = _listed(source, np.diagonal(covariance) <= 0)
    if flat:
        raise RangeError(
            f"{flat}: one value everywhere{' once clipped' if source.clip else ''}, so std is 0: "
            f"leave such bands out of the images, or write mean and std (such as 1) by hand"
        )
    black, white = np.array(pairs).T
    return (mean - black) / (white - black), covariance / np.outer(
        white - black, white - black
    )


def window(
    q: Pair, found: Floats, source: Source, dtype: str | None
) -> Pair | tuple[Pair, ...]:
    """Return the two percentiles ``q``, ``found`` (2, bands), as a ``range``, reversed where the source's is."""
    black, white = found
    flat = _listed(source, black == white)
    if flat:
        raise RangeError(
            f"percentiles {q[0]:g} and {q[1]:g} are one value in {flat}: take wider percentiles, or declare the range "
            f"of a constant band by hand"
        )
    pairs = tuple(zip(black.tolist(), white.tolist(), strict=True))
    if source._declares_range:
        declared = source._pairs(dtype)
        pairs = tuple(
            p[::-1] if d[0] > d[1] else p for p, d in zip(pairs, declared, strict=True)
        )
    return pairs if len(pairs) > 1 else pairs[0]


def _listed(source: Source, chosen: NDArray[np.bool_]) -> str:
    """Return the names of the ``chosen`` bands, empty where there are none."""
    bands = [
        repr(band)
        for band, is_chosen in zip(source.bands, chosen, strict=True)
        if is_chosen
    ]
    return f"band{'s' if len(bands) > 1 else ''} {', '.join(bands)}" if bands else ""

"""`AffineSpec`: what a pass over an image computes, and in which precision."""

from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np

from .arrays import limits

# The rounding error of a sum grows with the number of terms. Beyond this number,
# float32 exceeds the guaranteed tolerance of 8 eps (docs/design.md).
MAX_FLOAT32_TERMS = 16

# Coefficients outside these magnitudes could overflow or lose bits as float32.
FLOAT32_MAGNITUDES = (1e-30, 1e30)

# Adding this to a float64 and subtracting it again rounds the value to a multiple of
# 2^-30, or of a higher power of two for large values. Integers and half-integers in the
# 32-bit range do not change. A value that rounded coefficients moved slightly away from
# a tie, such as 2.4999999999, becomes the tie 2.5 again and is then rounded half to
# even.
TIE_SHIFT = 1.5 * 2.0**22

# Floating values beyond these limits contradict an implied range (0, 1). Between them,
# they may be overshoots of an interpolation or an augmentation.
IMPLIED_LIMITS = (-1, 2)


@dataclass(frozen=True)
class AffineSpec:
    """Describe one pass over the pixels of an image.

    The steps are, in this order: test for nodata; clip; compute
    ``matrix @ (x - black_levels) + offset``; round, saturate and cast to the output
    dtype.

    Parameters
    ----------
    matrix : tuple of tuple of float
        One row per output band, one factor per input band. A factor of 0 means that
        the band is not read for this output, so its NaN does not spread.
    offset : tuple of float
        One value per output band, added last.
    black_levels : tuple of float
        The black level of each input band. It is subtracted first, so that a narrow
        range far from zero does not lose digits.
    clip : tuple of (float, float), optional
        The lowest and highest value of each input band.
    nodata : float or tuple of (float or None), optional
        If a number, a pixel is 0 in every output band if any input band holds this
        stored value. If a tuple with one value per input band, a pixel is 0 in the
        output bands that read an input band which holds its own value; None stands for
        bands without nodata.
    check_implied_range : bool
        Whether values outside of `IMPLIED_LIMITS` raise, because the range (0, 1) was
        implied. This and the other tests skip bands that are not read, and nodata.
    highest : tuple of float, optional
        Integers above this value raise, one for each input band.
    undivided_bands : tuple of int
        Input bands, of those read, whose values an earlier step must not have divided.
        An image raises if `value_tests` finds that this has happened.
    """

    matrix: tuple[tuple[float, ...], ...]
    offset: tuple[float, ...]
    black_levels: tuple[float, ...]
    clip: tuple[tuple[float, float], ...] | None = None
    nodata: float | tuple[float | None, ...] | None = None
    check_implied_range: bool = False
    highest: tuple[float, ...] | None = None
    undivided_bands: tuple[int, ...] = ()

    @cached_property
    def terms(self) -> tuple[tuple[tuple[int, float], ...], ...]:
        """The (input band, factor) pairs of each output band, without zeros."""
        return tuple(_nonzero_factors(row) for row in self.matrix)

    @cached_property
    def bands_read(self) -> tuple[int, ...]:
        """The input bands that at least one output band reads."""
        bands: set[int] = set()
        for row in self.terms:
            bands.update(j for j, _ in row)
        return tuple(sorted(bands))

    @property
    def tests_values(self) -> bool:
        """Whether some values raise."""
        return (
            self.check_implied_range
            or self.highest is not None
            or bool(self.undivided_bands)
        )

    @cached_property
    def bands_tested(self) -> tuple[int, ...]:
        """The input bands that are compared with a nodata value."""
        if isinstance(self.nodata, tuple):
            return tuple(j for j in self.bands_read if self.nodata[j] is not None)
        if self.nodata is None:
            return ()
        return tuple(range(len(self.black_levels)))

    def stored_nodata(self, dtype: np.dtype[Any]) -> dict[int, Any]:
        """Return the nodata value of each tested band, as ``dtype`` stores it.

        Bands are left out if no pixel of ``dtype`` can equal their value.
        """
        values = {}
        for j in self.bands_tested:
            value = self.nodata[j] if isinstance(self.nodata, tuple) else self.nodata
            stored = None if value is None else stored_value(value, dtype)
            if stored is not None:
                values[j] = stored
        return values

    @cached_property
    def selected_bands(self) -> tuple[int, ...] | None:
        """The input band of each output band, or None if values are computed."""
        if (
            any(self.offset)
            or any(self.black_levels)
            or any(len(row) != 1 or row[0][1] != 1 for row in self.terms)
        ):
            return None
        return tuple(row[0][0] for row in self.terms)

    def only_copies(
        self, source_dtype: np.dtype[Any], target_dtype: np.dtype[Any]
    ) -> bool:
        """Return whether the elements of the target are copies of those of the source.

        If so, the values may still have to be tested.
        """
        if source_dtype.newbyteorder("=") != target_dtype.newbyteorder("="):
            return False
        return (
            self.selected_bands is not None
            and self.clip is None
            and self.nodata is None
        )

    def compute_dtype(
        self, source_dtype: np.dtype[Any], target_dtype: np.dtype[Any]
    ) -> np.dtype[Any]:
        """Return the precision of the affine part: float32 or float64.

        float32 is used if it represents every input value, black level and clip bound
        exactly, the output is float16 or float32, and sums have few terms.
        """
        bounds = chain.from_iterable(self.clip or ())
        levels = [*self.black_levels, *bounds]
        coefficients = [*self.offset, *levels]
        for row in self.terms:
            coefficients.extend(factor for _, factor in row)
        low, high = FLOAT32_MAGNITUDES
        is_float32 = (
            (source_dtype.itemsize <= 2 or source_dtype.name == "float32")
            and target_dtype.name in ("float16", "float32")
            and max(map(len, self.terms), default=0) <= MAX_FLOAT32_TERMS
            and all(x == 0 or low < abs(x) < high for x in coefficients)
            and all(float(np.float32(level)) == level for level in levels)
        )
        return np.dtype("float32" if is_float32 else "float64")


def _nonzero_factors(row: tuple[float, ...]) -> tuple[tuple[int, float], ...]:
    """Return (index, factor) for each factor of a row that is not 0."""
    return tuple((j, factor) for j, factor in enumerate(row) if factor)


def stored_value(nodata: float, dtype: np.dtype[Any]) -> Any:
    """Return ``nodata`` as ``dtype`` stores it, or None if no pixel can equal it."""
    native = dtype.newbyteorder("=").type
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            stored = native(nodata)
        return None if np.isinf(stored) else stored
    low, high = limits(dtype)
    if np.isnan(nodata) or not low <= nodata <= high or nodata != int(nodata):
        return None
    return native(int(nodata))

"""The NumPy engine: passes in blocks that fit the cache of the processor.

It defines the results that the numba engine reproduces bit for bit.
"""

from collections.abc import Callable, Iterator
from functools import partial, reduce
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arrays import limits
from .spec import IMPLIED_LIMITS, TIE_SHIFT, AffineSpec

Array = NDArray[Any]
Run = Callable[[Array, Array], bool]
Bind = Callable[[Array, Array], Run]

# Elements of temporary arrays per block: 256 KiB of float32, which the second-level
# cache holds. Smaller blocks pay more for calls into NumPy: with blocks of 8,192
# pixels, a gray image of 224 x 224 takes 1.8 times as long.
SCRATCH_ELEMENTS = 65_536


def prepare(
    spec: AffineSpec, source_dtype: np.dtype[Any], target_dtype: np.dtype[Any]
) -> Bind:
    """Return a function that binds ``spec`` to the strides of planes.

    Parameters
    ----------
    spec : AffineSpec
        What to compute.
    source_dtype, target_dtype : numpy.dtype
        Supported dtypes, of any byte order.

    Returns
    -------
    callable
        ``bind(source, target)`` for planes, which are views of shape (bands, pixel
        axes...) with equal pixel axes. It returns the function that executes ``spec``
        on such planes; here it is the same for all strides. That function returns
        whether `value_tests.check_values` must decide about the values; for values
        that it refuses, it always does so.
    """
    bands = spec.selected_bands
    if (
        bands is not None
        and spec.only_copies(source_dtype, target_dtype)
        and not spec.tests_values
    ):
        run: Run = partial(_copy_bands, bands)
    else:
        run = _Blocks(spec, source_dtype, target_dtype).run
    return bind_any_strides(run)


def bind_any_strides(run: Run) -> Bind:
    """Return a function that returns ``run``, which does not depend on strides."""

    def bind(*_planes: Array) -> Run:
        return run

    return bind


def blocks(shape: tuple[int, ...], size: int) -> Iterator[tuple[Any, ...]]:
    """Yield indices of blocks of at most ``size`` pixels that cover ``shape``."""
    inner, axis = 1, len(shape) - 1
    while axis > 0 and inner * shape[axis] <= size:
        inner *= shape[axis]
        axis -= 1
    step = max(1, size // max(1, inner))
    for lead in product(*map(range, shape[:axis])):
        for start in range(0, shape[axis], step):
            yield (*lead, slice(start, start + step))


def _copy_bands(bands: tuple[int, ...], source: Array, target: Array) -> bool:
    """Copy ``bands`` of the source."""
    if target.flags.c_contiguous or len(bands) == 1:
        # No cache line belongs to several bands, so blocks would gain nothing.
        for i, j in enumerate(bands):
            target[i] = source[j]
        return False
    for block in blocks(target.shape[1:], SCRATCH_ELEMENTS):
        for i, j in enumerate(bands):
            target[i][block] = source[j][block]
    return False


class _Blocks:
    """A pass with its coefficients in the precision of the computation."""

    def __init__(
        self, spec: AffineSpec, source: np.dtype[Any], target: np.dtype[Any]
    ) -> None:
        dtype = self.dtype = spec.compute_dtype(source, target)
        self.spec = spec
        self.block = max(1024, SCRATCH_ELEMENTS // (1 + len(spec.bands_read)))
        self.store = _store_integer if target.kind in "iub" else _store_float
        self.black_levels = [dtype.type(c) for c in spec.black_levels]
        self.clip = [
            (dtype.type(low), dtype.type(high)) for low, high in spec.clip or ()
        ]
        self.nodata = spec.stored_nodata(source)
        self.rows = [
            ([(j, dtype.type(m)) for j, m in row], dtype.type(b))
            for row, b in zip(spec.terms, spec.offset, strict=True)
        ]

    def run(self, source: Array, target: Array) -> bool:
        """Execute the pass on planes; return whether values must be checked.

        Always true if images may have been divided: blocks do not show that.
        """
        if not target.size:
            return False
        is_reported = bool(self.spec.undivided_bands)
        with np.errstate(all="ignore"):
            for block in blocks(target.shape[1:], self.block):
                is_reported |= self._block(
                    source[(slice(None), *block)], target[(slice(None), *block)]
                )
        return is_reported

    def _block(self, source: Array, target: Array) -> bool:
        """Execute the pass on the planes of one block.

        Returns whether values are out of range.
        """
        masks = self._nodata_masks(source)
        any_band: Array | None = None
        if masks and not isinstance(self.spec.nodata, tuple):
            any_band = reduce(np.logical_or, masks.values())
            masks = dict.fromkeys(masks, any_band)
        inputs, out_of_range = {}, False
        for j in self.spec.bands_read:
            x = self._valid_values(source[j], masks.get(j))
            out_of_range |= self._is_out_of_range(x, j)
            inputs[j] = self._guard(x, j)
        # Contiguous planes of the computing type are written without a copy.
        direct = target.dtype == self.dtype and target.strides[-1] == target.itemsize
        if not direct:
            y = np.empty(target.shape[1:], self.dtype)
        for (terms, offset), plane in zip(self.rows, target, strict=True):
            if direct:
                y = plane
            _mix(inputs, terms, offset, y)
            if any_band is not None:
                y[any_band] = 0
            else:
                for j, _ in terms:
                    if j in masks:
                        y[masks[j]] = 0
            if not direct:
                self.store(y, plane)
        return out_of_range

    def _nodata_masks(self, source: Array) -> dict[int, Array]:
        """Return the mask of the pixels that hold nodata, for each tested band."""
        return {j: is_nodata(source[j], value) for j, value in self.nodata.items()}

    def _valid_values(self, band: Array, mask: Array | None) -> Array:
        """Return a copy in the precision of the computation, with nodata as NaN."""
        x: Array = band.astype(self.dtype)
        if mask is not None:
            x[mask] = np.nan
        return x

    def _is_out_of_range(self, x: Array, j: int) -> bool:
        """Return whether a value of band ``j`` contradicts the range of the source."""
        # If all values are NaN, the extremes are NaN, and all comparisons false.
        if self.spec.check_implied_range:
            low, high = IMPLIED_LIMITS
            lowest = np.fmin.reduce(x, axis=None)
            return bool(lowest < low or np.fmax.reduce(x, axis=None) > high)
        if self.spec.highest is not None:
            return bool(np.fmax.reduce(x, axis=None) > self.spec.highest[j])
        return False

    def _guard(self, x: Array, j: int) -> Array:
        """Clip the values of band ``j`` in place, and subtract the black level."""
        if self.clip:
            np.clip(x, *self.clip[j], out=x)
        if self.black_levels[j]:
            x -= self.black_levels[j]
        return x


def _mix(
    inputs: dict[int, Array], terms: list[tuple[int, Any]], offset: Any, y: Array
) -> None:
    """Write the sum of weighted bands and an offset, in this order, into ``y``."""
    if not terms:
        y[...] = offset
        return
    (first, factor), *rest = terms
    np.multiply(inputs[first], factor, out=y)
    for j, factor in rest:
        y += inputs[j] * factor
    if offset:
        y += offset


def _store_float(y: Array, plane: Array) -> None:
    plane[...] = y


def _store_integer(y: Array, plane: Array) -> None:
    """Round half to even, saturate, and turn NaN into 0; ``y`` is overwritten."""
    low, high = limits(plane.dtype)
    top = float(high)
    if plane.itemsize <= 4:
        y += TIE_SHIFT
        y -= TIE_SHIFT
    np.rint(y, out=y)
    y[np.isnan(y)] = 0
    over = y >= top
    # float(2**63 - 1) is 2**63, which the dtype cannot hold: clip to the float64 below.
    if high > 2**53:
        top = np.nextafter(top, 0)
    plane[...] = np.clip(y, low, top, out=y)
    plane[over] = high


def is_nodata(plane: Array, nodata: Any) -> Array:
    """Return the mask of the pixels that equal ``nodata``, which may be NaN."""
    if np.isnan(nodata):
        return np.asarray(np.isnan(plane))
    return np.asarray(plane == nodata)

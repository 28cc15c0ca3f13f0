"""The NumPy engine: one pass in blocks that stay in the cache, written into memory that is already there."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import RangeError
from .arrays import limits
from .spec import TO_TIES, AffineSpec

Array = NDArray[Any]

SCRATCH = 65_536
"""Elements of scratch a block may take: as float32 256 KiB, which the second-level cache holds. Smaller blocks pay more
for NumPy's calls: at 8,192 pixels a block, a gray image of 224 x 224 takes 1.8 times as long."""


def prepare(
    spec: AffineSpec, source: np.dtype[Any], target: np.dtype[Any]
) -> Callable[[Array, Array], None]:
    """Return a function (source planes, target planes) -> None that executes ``spec`` for these element types.

    Both are (bands, *pixels) views with equal pixel axes, of any strides and byte order.
    """
    picks = spec.picks
    if picks is not None and spec.moves(source, target) and not spec.implied:
        return partial(_move, picks)
    return _Blocks(spec, source, target).run


def blocks(shape: tuple[int, ...], size: int) -> Iterator[tuple[Any, ...]]:
    """Yield indices that cut pixel axes of ``shape`` into blocks of at most ``size`` pixels, in memory order."""
    inner, axis = 1, len(shape) - 1
    while axis > 0 and inner * shape[axis] <= size:
        inner *= shape[axis]
        axis -= 1
    step = max(1, size // max(1, inner))
    for lead in product(*map(range, shape[:axis])):
        for start in range(0, shape[axis], step):
            yield (*lead, slice(start, start + step))


def _move(picks: tuple[int, ...], source: Array, target: Array) -> None:
    whole = target.flags.c_contiguous or len(picks) == 1
    for block in [...] if whole else blocks(target.shape[1:], SCRATCH):
        for i, j in enumerate(picks):
            target[i][block] = source[j][block]


class _Blocks:
    """A pass with its coefficients in the precision it computes in."""

    def __init__(
        self, spec: AffineSpec, source: np.dtype[Any], target: np.dtype[Any]
    ) -> None:
        dtype = self.dtype = spec.compute_dtype(source, target)
        self.spec = spec
        self.block = max(1024, SCRATCH // (1 + len(spec.reads)))
        self.store = _store_integer if target.kind in "iub" else _store_float
        self.centre = [dtype.type(c) for c in spec.centre]
        self.clip = [
            (dtype.type(low), dtype.type(high)) for low, high in spec.clip or ()
        ]
        self.nodata = (
            None if spec.nodata is None else stored_nodata(spec.nodata, source)
        )
        self.rows = [
            ([(j, dtype.type(m)) for j, m in row], dtype.type(b))
            for row, b in zip(spec.terms, spec.offset, strict=True)
        ]

    def run(self, source: Array, target: Array) -> None:
        if not target.size:
            return
        with np.errstate(all="ignore"):
            for block in blocks(target.shape[1:], self.block):
                self._block(
                    source[(slice(None), *block)], target[(slice(None), *block)]
                )

    def _block(self, source: Array, target: Array) -> None:
        empty = self._empty(source)
        inputs = {j: self._input(source, j, empty) for j in self.spec.reads}
        direct = target.dtype == self.dtype and target.strides[-1] == target.itemsize
        spare = None if direct else np.empty(target.shape[1:], self.dtype)
        for (terms, offset), plane in zip(self.rows, target, strict=True):
            y = plane if spare is None else spare
            _mix(inputs, terms, offset, y)
            if empty is not None:
                y[empty] = 0
            if spare is not None:
                self.store(y, plane)

    def _empty(self, source: Array) -> Array | None:
        """Return the pixels that hold nodata in any band, or None where the pass has no such test."""
        if self.nodata is None:
            return None
        same: Array = (
            np.isnan(source) if np.isnan(self.nodata) else source == self.nodata
        )
        return np.asarray(np.logical_or.reduce(same, axis=0))

    def _input(self, source: Array, j: int, empty: Array | None) -> Array:
        x: Array = source[j].astype(self.dtype)
        if empty is not None:
            x[empty] = 0
        if self.spec.implied:
            check_implied(np.fmin.reduce(x, axis=None), np.fmax.reduce(x, axis=None))
        if self.clip:
            np.clip(x, *self.clip[j], out=x)
        if self.centre[j]:
            x -= self.centre[j]
        return x


def _mix(
    inputs: dict[int, Array], terms: list[tuple[int, Any]], offset: Any, y: Array
) -> None:
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
    """Round half to even, saturate, NaN to 0. ``y`` is float64 and is overwritten."""
    low, high = limits(plane.dtype)
    top = float(high)
    if plane.itemsize <= 4:
        y += TO_TIES
        y -= TO_TIES
    np.rint(y, out=y)
    y[np.isnan(y)] = 0
    over = y >= top
    if high > 2**53:  # float64 rounds such a limit up, out of the type
        top = np.nextafter(top, 0)
    plane[...] = np.clip(y, low, top, out=y)
    plane[over] = high


def stored_nodata(nodata: float, dtype: np.dtype[Any]) -> Any:
    """Return ``nodata`` as pixels of ``dtype`` store it, or None where none of them can equal it."""
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            stored = dtype.newbyteorder("=").type(nodata)
        return None if np.isinf(stored) else stored
    low, high = limits(dtype)
    held = not np.isnan(nodata) and low <= nodata <= high and nodata == int(nodata)
    return dtype.newbyteorder("=").type(int(nodata)) if held else None


def check_implied(low: float, high: float) -> None:
    """Raise RangeError where floating values contradict the implied range (0, 1)."""
    if high > 2 or low < -1:
        raise RangeError(
            f"a floating image without a declared range is read as 0 to 1, but holds values from {low:g} to {high:g}"
            f"{', which looks like 0-255' if low >= 0 and 2 < high <= 255 else ''}: "
            f"declare range= in the source, such as gp.Source(..., range=(0, 255))"
        )

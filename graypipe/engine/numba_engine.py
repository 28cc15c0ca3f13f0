"""The numba engine: the passes that compiled kernels run; the rest is left to the NumPy engine."""

from collections.abc import Callable, Iterator
from functools import cache, partial
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import kernel_cache, numpy_engine
from .arrays import limits
from .kernels import (
    CLIP,
    IMPLIED,
    MOST_ROWS,
    NODATA,
    OUT_OF_RANGE,
    ROUND,
    SAME,
    UNSUPPORTED_STRIDES,
    VECTOR,
)
from .spec import TO_TIES, AffineSpec

Array = NDArray[Any]
Run = Callable[[Array, Array], None]

TURNED = 56 * 1024
"""Most bytes of a part of the image that is turned from columns into rows."""

NOTHING = -0.0
"""What leaves every sum alone, the sign of a zero included."""

CONVERTED = 8192
"""Pixels in a block of converted elements: its copies stay in the cache."""


def prepare(spec: AffineSpec, source: np.dtype[Any], target: np.dtype[Any]) -> Run:
    """Return a function (source planes, target planes) -> None that executes ``spec`` for these element types.

    Both are (bands, *pixels) views with equal pixel axes, of any strides and byte order. Compiles at the first pass
    over a pair of element types, unless an earlier process left the machine code on disk.
    """
    moves = spec.moves(source, target) and not spec.implied
    if moves and spec.picks is not None and source == target:
        return _mover(spec.picks, source)
    rare = any(dtype.kind in "iu" and dtype.itemsize == 8 for dtype in (source, target))
    if moves or rare or len(spec.reads) + len(spec.matrix) > MOST_ROWS:
        return numpy_engine.prepare(spec, source, target)
    run = _few(spec, source, target) or _any(spec, source, target)
    held, written = (
        _held(source, np.dtype(np.float32)),
        _held(target, spec.compute_dtype(source, target)),
    )
    return (
        run
        if (held, written) == (source, target)
        else partial(_converted, run, held, written)
    )


def _few(spec: AffineSpec, source: np.dtype[Any], target: np.dtype[Any]) -> Run | None:
    """Return how to make three bands of few without nodata and clip, or None where the pass is another one."""
    held, made = _held(source, np.dtype(np.float32)), spec.compute_dtype(source, target)
    guarded = spec.clip is not None or spec.nodata is not None or not all(spec.terms)
    if guarded or _held(target, made) != made or len(spec.matrix) != 3:
        return None
    bands, offsets = len(spec.centre), [offset or NOTHING for offset in spec.offset]
    if bands == 1:
        numbers = np.array(
            [*spec.centre, *(row[0] for row in spec.matrix), *offsets], made
        )
        return _quick(
            kernel_cache.one_to_three(held, made),
            (numbers, spec.implied),
            spec,
            source,
            target,
        )
    if (
        bands not in (3, 4)
        or spec.implied
        or (source.kind == "f" and not all(map(all, spec.matrix)))
    ):
        return None  # a factor of 0 would spread the NaN of a band that is not read
    numbers = np.full((4, 5), NOTHING, made)
    numbers[0, :bands] = [
        centre if j in spec.reads else 0 for j, centre in enumerate(spec.centre)
    ]
    numbers[1:, :bands] = [[m or NOTHING for m in row] for row in spec.matrix]
    numbers[1:, 4] = offsets
    return _quick(
        kernel_cache.few_to_three(held, made), (numbers,), spec, source, target
    )


def _quick(
    kernel: Any,
    numbers: tuple[Any, ...],
    spec: AffineSpec,
    stored: np.dtype[Any],
    target_: np.dtype[Any],
) -> Run:
    """Return how to run a kernel for few bands, and where it does not know the strides, the one for any pass."""
    otherwise = cache(
        partial(_any, spec, stored, target_)
    )  # compiled when it is needed, which may be never

    def run(source: Array, target: Array) -> None:
        found = (
            kernel(source, target, *numbers)
            if source.ndim == 3
            else UNSUPPORTED_STRIDES
        )
        if found == UNSUPPORTED_STRIDES:
            for images in _images(source, target):
                found = kernel(*images, *numbers)
                if found == UNSUPPORTED_STRIDES:
                    otherwise()(*images)
                elif found == OUT_OF_RANGE:
                    break
        if found == OUT_OF_RANGE:
            _refuse(spec, stored, source)

    return run


def _held(dtype: np.dtype[Any], instead_of_half: np.dtype[Any]) -> np.dtype[Any]:
    """Return the native type that stands for ``dtype`` in a kernel; numba lacks bool arithmetic and float16."""
    native = dtype.newbyteorder("=")
    return (
        instead_of_half
        if native == np.float16
        else np.dtype(np.uint8)
        if native == np.bool_
        else native
    )


def _program(
    spec: AffineSpec, source: np.dtype[Any], target: np.dtype[Any]
) -> tuple[NDArray[np.int64], Array]:
    """Return what `kernels.general` takes as ``bands`` and ``numbers``."""
    compute = spec.compute_dtype(source, target)
    nodata = (
        None if spec.nodata is None else numpy_engine.stored_nodata(spec.nodata, source)
    )
    inputs = [*spec.reads, *(j for j in range(len(spec.centre)) if j not in spec.reads)]
    bands = np.zeros((1 + len(spec.matrix), 1 + len(inputs)), np.int64)
    numbers = np.zeros((4 + len(spec.matrix), 1 + len(spec.reads)), compute)
    numbers[0, 0] = 0 if nodata is None else nodata
    numbers[1:3, 0] = limits(target) if target.kind in "iub" else 0
    numbers[3, 0] = TO_TIES
    numbers[0, 1:] = [spec.centre[j] for j in spec.reads]
    if spec.clip is not None:
        numbers[1:3, 1:] = np.transpose(
            [spec.clip[j] for j in spec.reads] or np.empty((0, 2))
        )
    bands[0] = [_flags(spec, nodata, compute, target), *inputs]
    for i, (terms, offset) in enumerate(zip(spec.terms, spec.offset, strict=True)):
        bands[i + 1, : len(terms) + 1] = [
            len(terms),
            *(spec.reads.index(j) for j, _ in terms),
        ]
        numbers[i + 4, : len(terms) + 1] = [
            offset or (NOTHING if terms else 0),
            *(m for _, m in terms),
        ]
    return bands, numbers


def _flags(
    spec: AffineSpec, nodata: Any, compute: np.dtype[Any], target: np.dtype[Any]
) -> int:
    wanted = {
        CLIP: spec.clip is not None,
        IMPLIED: spec.implied,
        NODATA: nodata is not None,
    }
    wanted |= {ROUND: target.kind in "iub", SAME: _held(target, compute) == compute}
    return sum(flag for flag, is_set in wanted.items() if is_set)


def _any(spec: AffineSpec, stored: np.dtype[Any], target: np.dtype[Any]) -> Run:
    """Return how to execute any pass, on arrays of the types that stand for ``stored`` and ``target``."""
    compute = spec.compute_dtype(stored, target)
    kernel = kernel_cache.general(
        _held(stored, np.dtype(np.float32)), compute, _held(target, compute)
    )
    bands, numbers = _program(spec, stored, target)

    def run(source: Array, target: Array) -> None:
        if source.ndim == 3 and source.strides[1] != source.itemsize:
            strange = kernel(source, target, bands, numbers)
        else:
            strange = any(
                kernel(*images, bands, numbers) for images in _images(source, target)
            )
        if strange:
            _refuse(spec, stored, source)

    return run


def _refuse(spec: AffineSpec, dtype: np.dtype[Any], source: Array) -> None:
    """Raise RangeError with the extremes of the bands read, pixels that hold nodata excepted."""
    nodata = (
        None if spec.nodata is None else numpy_engine.stored_nodata(spec.nodata, dtype)
    )
    empty = np.zeros(source.shape, bool)
    if nodata is not None:
        empty |= np.isnan(source) if np.isnan(nodata) else source == nodata
    kept = ~empty.any(axis=0)
    values = [source[j][kept] for j in spec.reads]
    numpy_engine.check_implied(
        min(map(np.fmin.reduce, values)), max(map(np.fmax.reduce, values))
    )


def _mover(picks: tuple[int, ...], dtype: np.dtype[Any]) -> Run:
    order = np.array(picks, np.int64)
    kernel = cache(
        partial(kernel_cache.copy_bands, np.dtype(f"u{dtype.itemsize}"))
    )  # it looks at sizes of elements alone

    def run(source: Array, target: Array) -> None:
        if source.ndim != 3 or not kernel()(source, target, order):
            for images in _images(source, target):
                kernel()(*images, order)

    return run


def _images(source: Array, target: Array) -> Iterator[tuple[Array, Array]]:
    """Yield views (bands, rows, columns) that together make up the planes, one where the strides allow it.

    Columns that are contiguous (Fortran order) are turned into rows first, some rows of the image at a time.
    """
    if source.ndim == 3:
        yield from _upright(source, target) if _lies(source) else [(source, target)]
        return
    if source.ndim == 2:
        yield source[:, None], target[:, None]
        return
    for axis in (source.ndim - 2, 1):
        if _joined(source, axis) and _joined(target, axis):
            yield from _images(_join(source, axis), _join(target, axis))
            return
    for part in zip(source.swapaxes(0, 1), target.swapaxes(0, 1), strict=True):
        yield from _images(*part)


def _joined(planes: Array, axis: int) -> bool:
    """Whether what lies along the next axis repeats along ``axis`` without a gap."""
    gapless: bool = (
        planes.strides[axis] == planes.strides[axis + 1] * planes.shape[axis + 1]
    )
    return gapless


def _join(planes: Array, axis: int) -> Array:
    """View two axes that are joined as one."""
    shape = planes.shape
    return planes.reshape(
        *shape[:axis], shape[axis] * shape[axis + 1], *shape[axis + 2 :]
    )


def _lies(source: Array) -> bool:
    size = source.itemsize
    return (
        source.strides[1] == size != source.strides[2]
        and source.shape[1] > 1
        and source.size > 0
    )


def _upright(source: Array, target: Array) -> Iterator[tuple[Array, Array]]:
    bands, rows, columns = source.shape
    unsigned, size = np.dtype(f"u{source.itemsize}"), bands * source.itemsize
    square = VECTOR // source.itemsize
    tall = (
        max(1, TURNED // (columns * size) // square) * square
    )  # whole rows, which are written as they follow
    wide = min(columns, max(1, TURNED // (tall * size)))
    for r, c in product(range(0, rows, tall), range(0, columns, wide)):
        part = source[:, r : r + tall, c : c + wide]
        turned = np.empty(part.shape, source.dtype)
        kernel_cache.transpose(unsigned)(part, turned)
        yield turned, target[:, r : r + tall, c : c + wide]


def _converted(
    run: Run, held: np.dtype[Any], written: np.dtype[Any], source: Array, target: Array
) -> None:
    """Execute ``run`` on copies, a block at a time, for element types that the kernels do not know."""
    for block in numpy_engine.blocks(target.shape[1:], CONVERTED):
        piece = (slice(None), *block)
        x, y = source[piece].astype(held), np.empty(target[piece].shape, written)
        run(x, y)
        target[piece] = y

"""The numba engine: the passes that compiled kernels run; the rest is left to the NumPy engine."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import numba_kernels_compiled, numpy_engine
from .arrays import limits
from .numba_kernels import CLIP, IMPLIED, MOST_ROWS, NODATA, PLAIN, ROUND, SAME
from .passes import TO_TIES, Pass

Array = NDArray[Any]
Run = Callable[[Array, Array], None]

TURNED = 48 * 1024
"""Most bytes of a part of the image that is turned from columns into rows."""

CONVERTED = 8192
"""Pixels in a block of converted elements: its copies stay in the cache."""


def prepare(job: Pass, source: np.dtype[Any], target: np.dtype[Any]) -> Run:
    """Return a function (source planes, target planes) -> None that executes ``job`` for these element types.

    Both are (bands, *pixels) views with equal pixel axes, of any strides and byte order. Compiles at the first pass
    over a pair of element types, unless an earlier process left the machine code on disk.
    """
    moves = job.moves(source, target) and not job.implied
    if moves and job.picks is not None and source == target:
        return _mover(job.picks, source)
    rare = any(dtype.kind in "iu" and dtype.itemsize == 8 for dtype in (source, target))
    if moves or rare or len(job.reads) + len(job.matrix) > MOST_ROWS:
        return numpy_engine.prepare(job, source, target)
    compute = job.compute_dtype(source, target)
    held, written = _held(source, np.dtype(np.float32)), _held(target, compute)
    run = _runner(job, source, numba_kernels_compiled.affine(held, compute, written), *_program(job, source, target))
    return run if (held, written) == (source, target) else partial(_converted, run, held, written)


def _held(dtype: np.dtype[Any], instead_of_half: np.dtype[Any]) -> np.dtype[Any]:
    """Return the native type that stands for ``dtype`` in a kernel; numba lacks bool arithmetic and float16."""
    native = dtype.newbyteorder("=")
    return instead_of_half if native == np.float16 else np.dtype(np.uint8) if native == np.bool_ else native


def _program(job: Pass, source: np.dtype[Any], target: np.dtype[Any]) -> tuple[NDArray[np.int64], Array]:
    """Return what `numba_kernels.affine` takes as ``bands`` and ``numbers``."""
    compute = job.compute_dtype(source, target)
    nodata = None if job.nodata is None else numpy_engine.stored_nodata(job.nodata, source)
    inputs = [*job.reads, *(j for j in range(len(job.centre)) if j not in job.reads)]
    bands = np.zeros((1 + len(job.matrix), 1 + len(inputs)), np.int64)
    numbers = np.zeros((4 + len(job.matrix), 1 + len(job.reads)), compute)
    numbers[0, 0] = 0 if nodata is None else nodata
    numbers[1:3, 0] = limits(target) if target.kind in "iub" else 0
    numbers[3, 0] = TO_TIES
    numbers[0, 1:] = [job.centre[j] for j in job.reads]
    if job.clip is not None:
        numbers[1:3, 1:] = np.transpose([job.clip[j] for j in job.reads] or np.empty((0, 2)))
    bands[0] = [_flags(job, nodata, compute, target), *inputs]
    for i, (terms, offset) in enumerate(zip(job.terms, job.offset, strict=True)):
        bands[i + 1, : len(terms) + 1] = [len(terms), *(job.reads.index(j) for j, _ in terms)]
        nothing = -0.0 if terms else 0.0  # what leaves every sum alone, the sign of a zero included
        numbers[i + 4, : len(terms) + 1] = [offset or nothing, *(m for _, m in terms)]
    return bands, numbers


def _flags(job: Pass, nodata: Any, compute: np.dtype[Any], target: np.dtype[Any]) -> int:
    rounds = target.kind in "iub"
    plain = nodata is None and not rounds and all(len(terms) == 1 for terms in job.terms)
    same = _held(target, compute) == compute
    wanted = {CLIP: job.clip is not None, IMPLIED: job.implied, NODATA: nodata is not None}
    wanted |= {ROUND: rounds, SAME: same, PLAIN: plain}
    return sum(flag for flag, is_set in wanted.items() if is_set)


def _runner(job: Pass, dtype: np.dtype[Any], kernel: Any, bands: NDArray[np.int64], numbers: Array) -> Run:
    def run(source: Array, target: Array) -> None:
        if source.ndim == 3 and source.strides[1] != source.itemsize:
            strange = kernel(source, target, bands, numbers)
        else:
            strange = any(kernel(*images, bands, numbers) for images in _images(source, target))
        if strange:
            _refuse(job, dtype, source)

    return run


def _refuse(job: Pass, dtype: np.dtype[Any], source: Array) -> None:
    """Raise RangeError with the extremes of the bands read, pixels that hold nodata excepted."""
    nodata = None if job.nodata is None else numpy_engine.stored_nodata(job.nodata, dtype)
    empty = np.zeros(source.shape, bool)
    if nodata is not None:
        empty |= np.isnan(source) if np.isnan(nodata) else source == nodata
    kept = ~empty.any(axis=0)
    values = [source[j][kept] for j in job.reads]
    numpy_engine.check_implied(min(map(np.fmin.reduce, values)), max(map(np.fmax.reduce, values)))


def _mover(picks: tuple[int, ...], dtype: np.dtype[Any]) -> Run:
    order, size, only = np.array(picks, np.int64), dtype.itemsize, picks[0] if len(set(picks)) == 1 else None
    unsigned = np.dtype(f"u{size}")
    same = dtype == unsigned

    def run(source: Array, target: Array) -> None:
        if source.strides[-1] == size == target.strides[-1]:  # contiguous pixels: NumPy copies memory
            if only is not None:
                target[...] = source[only]
            else:
                for i, j in enumerate(picks):
                    target[i] = source[j]
            return
        if not same:
            source, target = source.view(unsigned), target.view(unsigned)
        kernel = numba_kernels_compiled.move(unsigned)
        if source.ndim == 3 and source.strides[1] != size:
            kernel(source, target, order)
        else:
            for images in _images(source, target):
                kernel(*images, order)

    return run


def _images(source: Array, target: Array) -> Iterator[tuple[Array, Array]]:
    """Yield views (bands, rows, columns) that together make up the planes, one where the strides allow it.

    Columns that are contiguous (Fortran order) are turned into rows first, some rows of the image at a time.
    """
    if source.ndim == 3:
        yield from _upright(source, target) if _lies(source) else [(source, target)]
    elif target.size and _is_one_run(source) and _is_one_run(target):
        yield source.reshape(len(source), 1, -1), target.reshape(len(target), 1, -1)
    else:
        for part in zip(source.swapaxes(0, 1), target.swapaxes(0, 1), strict=True):
            yield from _images(*part)


def _lies(source: Array) -> bool:
    return source.strides[1] == source.itemsize and source.shape[1] > 1 and source.strides[2] != source.itemsize


def _upright(source: Array, target: Array) -> Iterator[tuple[Array, Array]]:
    bands, rows, columns = source.shape
    unsigned = np.dtype(f"u{source.itemsize}")
    most = max(1, TURNED // max(1, bands * columns * source.itemsize))
    for r in range(0, rows, most):
        part = source[:, r : r + most]
        turned = np.empty(part.shape, source.dtype)
        numba_kernels_compiled.turn(unsigned)(part.view(unsigned), turned.view(unsigned))
        yield turned, target[:, r : r + most]


def _is_one_run(planes: Array) -> bool:
    strides, shape = planes.strides[1:], planes.shape[1:]
    return all(a == b * n for a, b, n in zip(strides, strides[1:], shape[1:], strict=False))


def _converted(run: Run, held: np.dtype[Any], written: np.dtype[Any], source: Array, target: Array) -> None:
    """Execute ``run`` on copies, a block at a time, for element types that the kernels do not know."""
    for block in numpy_engine.blocks(target.shape[1:], CONVERTED):
        piece = (slice(None), *block)
        x, y = source[piece].astype(held), np.empty(target[piece].shape, written)
        run(x, y)
        target[piece] = y

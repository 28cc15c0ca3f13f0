"""The numba engine: choose the compiled kernel of a pass, and run it.

The NumPy engine runs the passes for which there is no kernel.
"""

from collections.abc import Callable, Iterator
from functools import cache
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import kernel_cache, numpy_engine
from .arrays import limits
from .intrinsics import VECTOR_BYTES
from .kernels import (
    BAND_NODATA,
    CLIP,
    DIVIDED,
    DIVIDED_ROWS,
    IMPLIED_RANGE,
    LIMIT,
    MAX_BANDS,
    NODATA,
    ROUND,
    SAME_DTYPE,
    MemoryLayout,
)
from .spec import TIE_SHIFT, AffineSpec

Array = NDArray[Any]
Run = Callable[[Array, Array], bool]
Bind = Callable[[Array, Array], Run]

# The memory layouts that `kernels.one_to_three` reads and writes.
ONE_TO_THREE_SOURCES = (MemoryLayout.PLANAR, MemoryLayout.REVERSED)
ONE_TO_THREE_TARGETS = (MemoryLayout.PLANAR, MemoryLayout.INTERLEAVED)

# A Fortran-ordered image is transposed in blocks of at most this many bytes, so that a
# block stays in the second-level cache until it is read again.
TRANSPOSED_BYTES = 56 * 1024

# An offset that changes no sum, not even the sign of a zero.
NO_OFFSET = -0.0

# Pixels in a block of converted elements, so that the copies stay in the cache.
CONVERTED_PIXELS = 8192


def prepare(
    spec: AffineSpec, source_dtype: np.dtype[Any], target_dtype: np.dtype[Any]
) -> Bind:
    """Return a function that binds ``spec`` to the strides of planes.

    Compiles the kernel for a pair of dtypes that this process has not seen,
    unless the machine code is on disk.

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
        axes...) with equal pixel axes and any strides. It reads no element, and
        returns the function that executes ``spec`` on planes of the same shapes and
        strides. That function returns whether `value_tests.check_values` must decide
        about the values; for values that it refuses, it always does so.
    """
    copies_only = spec.only_copies(source_dtype, target_dtype) and not spec.tests_values
    if copies_only and spec.selected_bands is not None and source_dtype == target_dtype:
        return _copy(spec.selected_bands, source_dtype)
    # The NumPy engine does what the kernels cannot: copies that change the byte order,
    # 64-bit integers (float64 cannot hold all of them), and very many bands.
    wide = any(
        dtype.kind in "iu" and dtype.itemsize == 8
        for dtype in (source_dtype, target_dtype)
    )
    if copies_only or wide or len(spec.bands_read) + len(spec.matrix) > MAX_BANDS:
        return numpy_engine.prepare(spec, source_dtype, target_dtype)
    bind_images = _general
    if _is_one_to_three(spec, source_dtype, target_dtype):
        bind_images = _one_to_three
    tests = _tests(spec)
    bind_rows = None
    if tests == DIVIDED:
        bind_rows = bind_images(spec, source_dtype, target_dtype, DIVIDED_ROWS)
    bind = _accept_any_planes(
        bind_images(spec, source_dtype, target_dtype, tests), bind_rows
    )
    read = _kernel_dtype(source_dtype, np.dtype(np.float32))
    written = _kernel_dtype(
        target_dtype, spec.compute_dtype(source_dtype, target_dtype)
    )
    if (read, written) == (source_dtype, target_dtype):
        return bind
    return _convert(bind, read, written)


def memory_layout(planes: Array) -> MemoryLayout:
    """Return how the pixels of (bands, rows, columns) planes lie in memory."""
    band, row, column = planes.strides
    size = planes.itemsize
    if column == size:
        return MemoryLayout.PLANAR
    if band == size and column == len(planes) * size:
        return MemoryLayout.INTERLEAVED
    if column == -size:
        return MemoryLayout.REVERSED
    if row == size and planes.shape[1] > 1 and planes.size > 0:
        return MemoryLayout.FORTRAN
    return MemoryLayout.STRIDED


def _layout_numbers(source: Array, target: Array) -> tuple[int, int]:
    """Return the memory layouts as kernels take them.

    Plain integers, because numba takes 0.1 microseconds more for members of an enum.
    """
    return int(memory_layout(source)), int(memory_layout(target))


def _kernel_dtype(
    dtype: np.dtype[Any], instead_of_half: np.dtype[Any]
) -> np.dtype[Any]:
    """Return the native dtype to which ``dtype`` is converted for a kernel.

    numba has no arithmetic for bool and float16, and supports no other byte order.
    """
    native = dtype.newbyteorder("=")
    if native == np.float16:
        return instead_of_half
    if native == np.bool_:
        return np.dtype(np.uint8)
    return native


def _accept_any_planes(bind: Bind, bind_rows: Bind | None = None) -> Bind:
    """Return ``bind`` for planes of any axes and strides.

    Parameters
    ----------
    bind : callable
        Takes (bands, rows, columns) of any layout but FORTRAN.
    bind_rows : callable, optional
        The same for planes whose rows are images. If it is given, images along the
        first pixel axis are kept apart. Otherwise ``bind`` may get several as one.
    """

    def run_images(source: Array, target: Array) -> bool:
        run = None
        is_reported = False
        for image, part in _images(source, target):
            if run is None:  # all images have the same strides, hence the same kernel
                run = bind(image, part)
            is_reported |= run(image, part)
        return is_reported

    def run_separate_images(source: Array, target: Array) -> bool:
        assert bind_rows is not None
        rows = _images_as_rows(source, target)
        if rows is not None:
            return bind_rows(*rows)(*rows)
        is_reported = False
        for image, part in _along_first_axis(source, target):
            is_reported |= bind_planes(image, part)(image, part)
        return is_reported

    def bind_planes(source: Array, target: Array) -> Run:
        if source.ndim == 3 and memory_layout(source) != MemoryLayout.FORTRAN:
            return bind(source, target)
        if bind_rows is not None and source.ndim > 3:
            return run_separate_images
        return run_images

    return bind_planes


def _copy(selected_bands: tuple[int, ...], dtype: np.dtype[Any]) -> Bind:
    """Return a function that binds the copying of the bands ``selected_bands``."""
    bands = np.array(selected_bands, np.int64)

    def bind(source: Array, target: Array) -> Run:
        kernel = kernel_cache.copy_bands(dtype.itemsize)
        source_layout, target_layout = _layout_numbers(source, target)

        def run(source: Array, target: Array) -> bool:
            kernel(source, target, bands, source_layout, target_layout)
            return False

        return run

    return _accept_any_planes(bind)


def _tests(spec: AffineSpec) -> int:
    """Return the test of values that a kernel makes of a single image, or 0."""
    if spec.check_implied_range:
        return IMPLIED_RANGE
    if spec.highest is not None:
        return LIMIT
    if spec.undivided_bands:
        return DIVIDED
    return 0


def _is_one_to_three(
    spec: AffineSpec, source_dtype: np.dtype[Any], target_dtype: np.dtype[Any]
) -> bool:
    """Return whether `kernels.one_to_three` can execute ``spec`` for these dtypes."""
    compute = spec.compute_dtype(source_dtype, target_dtype)
    return (
        len(spec.black_levels) == 1
        and len(spec.matrix) == 3
        and all(spec.terms)
        and spec.clip is None
        and spec.nodata is None
        and _kernel_dtype(target_dtype, compute) == compute
    )


def _one_to_three(
    spec: AffineSpec,
    source_dtype: np.dtype[Any],
    target_dtype: np.dtype[Any],
    tests: int,
) -> Bind:
    """Return a function that binds a pass from one band to three."""
    compute = spec.compute_dtype(source_dtype, target_dtype)
    kernel = kernel_cache.one_to_three(
        _kernel_dtype(source_dtype, np.dtype(np.float32)), compute
    )
    factors = [row[0] for row in spec.matrix]
    offsets = [offset or NO_OFFSET for offset in spec.offset]
    limit = 0.0 if spec.highest is None else spec.highest[0]
    numbers = np.array([*spec.black_levels, *factors, *offsets, limit], compute)

    @cache
    def bind_general() -> Bind:  # compiled only if a memory layout requires it
        return _general(spec, source_dtype, target_dtype, tests)

    def bind(image: Array, out: Array) -> Run:
        image_layout, out_layout = _layout_numbers(image, out)
        is_readable = image_layout in ONE_TO_THREE_SOURCES
        if not is_readable or out_layout not in ONE_TO_THREE_TARGETS:
            return bind_general()(image, out)

        def run(image: Array, out: Array) -> bool:
            is_reported: bool = kernel(
                image, out, numbers, tests, image_layout, out_layout
            )
            return is_reported

        return run

    return bind


def _general(
    spec: AffineSpec,
    source_dtype: np.dtype[Any],
    target_dtype: np.dtype[Any],
    tests: int,
) -> Bind:
    """Return a function that binds any pass."""
    compute = spec.compute_dtype(source_dtype, target_dtype)
    kernel = kernel_cache.general(
        _kernel_dtype(source_dtype, np.dtype(np.float32)),
        compute,
        _kernel_dtype(target_dtype, compute),
    )
    bands, numbers = _general_arguments(spec, source_dtype, target_dtype)
    bands[0, 0] += tests

    def run(image: Array, out: Array) -> bool:
        is_reported: bool = kernel(image, out, bands, numbers)
        return is_reported

    return numpy_engine.bind_any_strides(run)


def _general_arguments(
    spec: AffineSpec, source_dtype: np.dtype[Any], target_dtype: np.dtype[Any]
) -> tuple[NDArray[np.int64], Array]:
    """Return the arguments ``bands`` and ``numbers`` of `kernels.general`."""
    compute = spec.compute_dtype(source_dtype, target_dtype)
    nodata = spec.stored_nodata(source_dtype)
    reads = spec.bands_read
    unread = [j for j in range(len(spec.black_levels)) if j not in reads]

    bands = np.zeros((2 + len(spec.matrix), 1 + len(spec.black_levels)), np.int64)
    bands[0] = [_flags(spec, nodata, compute, target_dtype), *reads, *unread]
    numbers = np.zeros((6 + len(spec.matrix), 1 + len(reads)), compute)
    for k, j in enumerate(reads):
        if j in nodata:
            bands[-1, k + 1] = 1
            numbers[4, k + 1] = nodata[j]
    if nodata:  # the same value for every band, with the flag NODATA
        numbers[4, 0] = next(iter(nodata.values()))
    numbers[0, 1:] = [spec.black_levels[j] for j in reads]
    if target_dtype.kind in "iub":
        numbers[1:3, 0] = limits(target_dtype)
    if spec.clip is not None:
        for k, j in enumerate(reads):
            numbers[1:3, k + 1] = spec.clip[j]
    numbers[3, 0] = TIE_SHIFT
    numbers[5, 1:] = [_limit(spec, j) for j in reads]
    for i, (terms, offset) in enumerate(zip(spec.terms, spec.offset, strict=True)):
        bands[i + 1, 0] = len(terms)
        numbers[i + 6, 0] = offset
        if terms and not offset:
            numbers[i + 6, 0] = NO_OFFSET
        for k, (j, factor) in enumerate(terms):
            bands[i + 1, k + 1] = reads.index(j)
            numbers[i + 6, k + 1] = factor
    return bands, numbers


def _limit(spec: AffineSpec, band: int) -> float:
    """Return the limit of a band; for DIVIDED, 1 if the band is tested; else 0."""
    if spec.highest is not None:
        return spec.highest[band]
    return float(band in spec.undivided_bands)


def _flags(
    spec: AffineSpec,
    nodata: dict[int, Any],
    compute: np.dtype[Any],
    target_dtype: np.dtype[Any],
) -> int:
    """Return the sum of the flags of `kernels.general` that are set, without tests."""
    conditions = {
        CLIP: spec.clip is not None,
        NODATA: bool(nodata) and not isinstance(spec.nodata, tuple),
        BAND_NODATA: bool(nodata) and isinstance(spec.nodata, tuple),
        ROUND: target_dtype.kind in "iub",
        SAME_DTYPE: _kernel_dtype(target_dtype, compute) == compute,
    }
    return sum(flag for flag, is_set in conditions.items() if is_set)


def _images(source: Array, target: Array) -> Iterator[tuple[Array, Array]]:
    """Yield views of one image each, (bands, rows, columns), that make up the planes.

    A single view, if the strides allow it. Blocks of a FORTRAN image are transposed
    copies instead.
    """
    if source.ndim == 3:
        if memory_layout(source) == MemoryLayout.FORTRAN:
            yield from _transposed_blocks(source, target)
        else:
            yield source, target
        return
    if source.ndim == 2:
        yield source[:, None], target[:, None]
        return
    # Join rows and columns first: one long row is faster than many short images.
    for axis in (source.ndim - 2, 1):
        if _is_joined(source, axis) and _is_joined(target, axis):
            yield from _images(_join(source, axis), _join(target, axis))
            return
    for image, part in _along_first_axis(source, target):
        yield from _images(image, part)


def _along_first_axis(source: Array, target: Array) -> Iterator[tuple[Array, Array]]:
    """Yield the planes of each index of the first pixel axis."""
    yield from zip(source.swapaxes(0, 1), target.swapaxes(0, 1), strict=True)


def _images_as_rows(source: Array, target: Array) -> tuple[Array, Array] | None:
    """View planes as (bands, images, pixels), with images along the first pixel axis.

    Returns None if the strides do not allow it.
    """
    while source.ndim > 3:
        axis = source.ndim - 2
        if not (_is_joined(source, axis) and _is_joined(target, axis)):
            return None
        source, target = _join(source, axis), _join(target, axis)
    return source, target


def _is_joined(planes: Array, axis: int) -> bool:
    """Return whether one stride can step through ``axis`` and the next axis."""
    strides = planes.strides
    gapless: bool = strides[axis] == strides[axis + 1] * planes.shape[axis + 1]
    return gapless


def _join(planes: Array, axis: int) -> Array:
    """View ``axis`` and the next axis as one."""
    shape = planes.shape
    joined = shape[axis] * shape[axis + 1]
    return planes.reshape(*shape[:axis], joined, *shape[axis + 2 :])


def _transposed_blocks(source: Array, target: Array) -> Iterator[tuple[Array, Array]]:
    """Yield C-ordered copies of blocks of a FORTRAN image, and where they belong.

    Read row by row, such an image would need a new cache line for every pixel.
    """
    bands, rows, columns = source.shape
    kernel = kernel_cache.transpose(source.itemsize)
    size = bands * source.itemsize
    square = VECTOR_BYTES // source.itemsize
    # Prefer blocks of whole rows, which are contiguous in the target.
    height = max(1, TRANSPOSED_BYTES // (columns * size) // square) * square
    width = min(columns, max(1, TRANSPOSED_BYTES // (height * size)))
    for r, c in product(range(0, rows, height), range(0, columns, width)):
        block = (slice(None), slice(r, r + height), slice(c, c + width))
        transposed = np.empty(source[block].shape, source.dtype)
        kernel(source[block], transposed)
        yield transposed, target[block]


def _convert(bind: Bind, read: np.dtype[Any], written: np.dtype[Any]) -> Bind:
    """Return ``bind`` for dtypes without a kernel, on converted copies of blocks."""

    def run_converted(source: Array, target: Array) -> bool:
        is_reported = False
        for pixels in numpy_engine.blocks(target.shape[1:], CONVERTED_PIXELS):
            block = (slice(None), *pixels)
            converted = source[block].astype(read)
            result = np.empty(target[block].shape, written)
            is_reported |= bind(converted, result)(converted, result)
            target[block] = result
        return is_reported

    return numpy_engine.bind_any_strides(run_converted)

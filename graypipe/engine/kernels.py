"""Every compiled function of the numba engine, in one file.

A kernel works on planes, arrays of shape (bands, rows, columns). Arrays are typed by
their elements alone; coefficients, sizes and strides are run-time values, so nothing
is compiled per plan, layout or shape. Offsets and strides are counted in bytes.

No flag relaxes arithmetic: every operation rounds once, in the order written, so a
result depends only on the values of its pixel. With ``fastmath`` or ``contract`` it
would depend on the position in a vector, as the sign of a sum of several NaN does.

Gains noted at an optimisation are times saved on one thread of an AMD Zen 3, for
images of about 224 x 224 pixels unless another size is given.

numba's cache on disk depends only on the source file of the function it compiles: after
an edit of a helper in another file, it would load old machine code. `kernel_cache`
therefore names the cache folder after the contents of this file and of `intrinsics`,
and these two files import nothing else from the package.
"""

# mypy: ignore-errors
# ruff: noqa: C901, PLR0912, PLR0915, PLR0917
# numba's type inference replaces annotations here. Each function call costs compile
# time, so a kernel is one long function.

from enum import IntEnum

import numba
import numpy as np
from numba.np.unsafe.ndarray import to_fixed_tuple

from .intrinsics import (
    CACHE_LINE_BYTES,
    VECTOR_BYTES,
    WIDE_BYTES,
    copy_bytes,
    higher,
    memory,
    prefetch,
    repeat_vector,
    transpose_square,
)


class MemoryLayout(IntEnum):
    """How the pixels of (bands, rows, columns) planes are arranged in memory."""

    PLANAR = 1  # neighbouring columns of a band are adjacent
    INTERLEAVED = 2  # the bands of a pixel are adjacent, and so are the pixels
    REVERSED = 3  # as PLANAR, but from right to left
    FORTRAN = 4  # neighbouring rows of a band are adjacent
    STRIDED = 5  # anything else


# Maximum number of pixels in a block of `one_to_three` and `copy_bands`: a row of
# float32 fills 16 KiB, half of a first-level cache.
BLOCK_PIXELS = 4096

# Maximum number of pixels in a block of `general`, so that the rows of a few bands stay
# in the first-level cache; 2016 pixels take 5 % longer. Rows of 1024 would all map to
# the same lines of that cache: three of thirteen interleaved bands take 5-18 % longer.
GENERAL_PIXELS = 1008

# Maximum number of bytes of scratch memory, for all rows of a block. It is allocated by
# every call: the stack of a thread may be too small, and overflows unnoticed.
SCRATCH_BYTES = 80 * 1024

# Maximum number of bands read plus bands written. With more, blocks would have only a
# few pixels.
MAX_BANDS = 256

# Flags of `general`. SAME_DTYPE: the target holds elements of the computing type.
# NODATA: one nodata value for all bands; BAND_NODATA: one for each band that has any.
CLIP, NODATA, ROUND, SAME_DTYPE, BAND_NODATA = 1, 2, 4, 8, 16

# Tests of values, which are flags of `general` too; at most one is set. A kernel
# reports floats that contradict the implied range (0, 1), integers above a limit, or
# images of floats that an earlier step may have divided. DIVIDED_ROWS: every row of
# the planes is an image of its own.
IMPLIED_RANGE, LIMIT, DIVIDED, DIVIDED_ROWS = 32, 64, 128, 256

# Pixels after which the search for DIVIDED stops if one of them contradicts it.
SEARCHED_PIXELS = 128

# Result of `_excess_of_fractions` for values that contradict DIVIDED.
NOT_DIVIDED = -(2**62)

# Bytes of a band that are copied at a time, so that they are still in the first-level
# cache if the band is copied again.
COPIED_BYTES = 4096

_kernel = numba.njit(nogil=True)
_helper = numba.njit(no_cpython_wrapper=True, no_cfunc_wrapper=True)
_inlined = numba.njit(inline="always")


# Rows: cutting an image into blocks, and reading and writing the pixels of one


@_helper
def _joined_rows(source, target, tests):
    """Return (rows, columns); a single row if rows are contiguous on both sides."""
    rows, columns = target.shape[1:]
    if tests & DIVIDED_ROWS:
        return rows, columns
    joined = target.strides[1] == columns * target.strides[2]
    if rows == 1 or (joined and source.strides[1] == columns * source.strides[2]):
        return 1, rows * columns
    return rows, columns


@_helper
def _cut(source, target, block, tests):
    """Return (rows, columns, rows of a block, columns of a block).

    A block holds at most ``block`` pixels, which are equally spaced in the target.
    """
    rows, columns = _joined_rows(source, target, tests)
    across = max(1, min(block, columns))
    if tests & DIVIDED_ROWS:
        return rows, columns, 1, across
    if rows == 1 or target.strides[1] == columns * target.strides[2]:
        return rows, columns, max(1, min(rows, block // across)), across
    return rows, columns, 1, across


@_helper
def _pixels_to_cache_line(target, columns):
    """Return how many pixels of a long row come before a cache line starts.

    Stores across cache lines take twice as long. If the second block starts on a
    line, `one_to_three` takes 15 % less for PLANAR memory that does not start on one,
    and `copy_bands` 5-18 % less for INTERLEAVED memory.
    """
    step, size = target.strides[2], target.itemsize
    if columns < 2 * BLOCK_PIXELS or (step != size and step != 3 * size):
        return 0
    elements = -(target.ctypes.data // size) % (CACHE_LINE_BYTES // size)
    if step == size:
        return elements
    # 43 undoes the factor of 3: 3 * 43 = 129 is 1 modulo the elements of a line.
    return elements * 43 % (CACHE_LINE_BYTES // size)


@_helper
def _prefetch_row(source, start, length):
    """Prefetch the ``length`` bytes from ``start`` on.

    Used for the next row of an image that is mirrored or upside down, because the
    processor prefetches by itself only if addresses increase. For 1024 x 1024 pixels,
    this saves 25-30 % for mirrored images, and 4-10 % for those upside down.
    """
    for line in range(0, length, CACHE_LINE_BYTES):
        prefetch(source, start + line)


@_helper
def _read(source, start, down, step, out, across, highest):
    """Convert a block into contiguous ``out``.

    Returns the higher of ``highest`` and the elements read, if they are integers.

    Its rows have ``across`` pixels, ``step`` bytes apart, and are ``down`` bytes
    apart. Each common pixel stride has a loop of its own, because a constant stride
    allows vector instructions.
    """
    size, last = source.itemsize, across - 1
    pixel_stride = step // size if step % size == 0 else 0
    for i in range(out.size // across):
        origin = start + i * down
        length = abs(pixel_stride) * last + 1
        leftmost = origin + min(0, step * last)
        row = memory(source, leftmost, length, source)
        x = memory(out, i * across * out.itemsize, across, out)
        if pixel_stride == 1:
            for p in range(across):
                highest = higher(row[p], highest)
                x[p] = row[p]
        elif pixel_stride == 3:
            for p in range(across):
                highest = higher(row[3 * p], highest)
                x[p] = row[3 * p]
        elif pixel_stride == 4:
            for p in range(across):
                highest = higher(row[4 * p], highest)
                x[p] = row[4 * p]
        elif pixel_stride == -1:
            _prefetch_row(source, leftmost + down, length * size)
            for p in range(across):
                v = row[np.uintp(last - p)]
                highest = higher(v, highest)
                x[p] = v
        elif pixel_stride == -3:
            for p in range(across):
                v = row[np.uintp(3 * (last - p))]
                highest = higher(v, highest)
                x[p] = v
        else:
            for p in range(across):
                v = memory(source, origin + p * step, 1, source)[0]
                highest = higher(v, highest)
                x[p] = v
    return highest


@_helper
def _deinterleave(source, start, down, step, across, lines, out, pitch):
    """Copy bands of a block of interleaved pixels into rows ``pitch`` bytes apart.

    VECTOR_BYTES of each pixel are read, in squares of as many pixels as elements. The
    last square of a line overlaps the one before.
    """
    count = VECTOR_BYTES // out.itemsize
    for i in range(lines):
        for p in range(0, across, count):
            q = min(p, across - count)
            at = (i * across + q) * out.itemsize
            transpose_square(source, start + i * down + q * step, step, out, at, pitch)


@_helper
def _convert(a, x, highest):
    """Convert a row of elements to the computing type.

    Returns the higher of ``highest`` and the elements, if they are integers.
    """
    for p in range(x.size):
        highest = higher(a[p], highest)
        x[p] = a[p]
    return highest


@_helper
def _write(y, target, at, step):
    """Cast a row into pixels ``step`` bytes apart."""
    if step == target.itemsize:
        out = memory(target, at, y.size, target)
        for p in range(y.size):
            out[p] = y[p]
    else:
        for p in range(y.size):
            memory(target, at + p * step, 1, target)[0] = y[p]


@_helper
def _interleave(a, b, c, out):
    """Cast three rows into three bands of interleaved pixels."""
    for p in range(a.size):
        out[3 * p] = a[p]
        out[3 * p + 1] = b[p]
        out[3 * p + 2] = c[p]


# Tests of values


@_helper
def _out_of_range(a):
    """Return whether a value contradicts the implied range (0, 1)."""
    outside = False
    for p in range(a.size):
        outside |= (a[p] > 2) | (a[p] < -1)
    return outside


@_helper
def _is_above(x, limit):
    """Return whether a value is above ``limit``."""
    above = False
    for p in range(x.size):
        above |= x[p] > limit
    return above


@_helper
def _highest(a, highest):
    """Return the higher of ``highest`` and the elements, which are integers."""
    for p in range(a.size):
        highest = higher(a[p], highest)
    return highest


@_helper
def _excess_of_fractions(a):
    """Return how many values lie between 0 and 1, less those that are 0 or 1.

    NOT_DIVIDED if a finite value lies outside of [0, 1]. In most images, one of the
    first values does, so that no others are read.
    """
    if a.dtype.type(0.5) == 0:  # integers, for which LLVM then compiles no loop
        return NOT_DIVIDED
    excess = 0
    for start in range(0, a.size, SEARCHED_PIXELS):
        outside = False
        for p in range(start, min(start + SEARCHED_PIXELS, a.size)):
            v = a[p]
            is_finite = v - v == 0
            outside |= is_finite & ((v < 0) | (v > 1))
            excess += (v > 0) & (v < 1)
            excess -= (v == 0) | (v == 1)
        if outside:
            return NOT_DIVIDED
    return excess


# Three bands of one, without guards that change values


@_inlined
def _affine(t, f, o):
    return t * f + o


@_inlined
def _to_planes(a, reverse, k, x, y, z):
    number, last = x.dtype.type, a.size - 1
    for p in range(a.size):
        t = number(a[np.uintp(last - p) if reverse else p]) - k[0]
        x[p] = _affine(t, k[1], k[4])
        y[p] = _affine(t, k[2], k[5])
        z[p] = _affine(t, k[3], k[6])


@_inlined
def _to_pixels(a, reverse, k, out):
    """Write interleaved pixels, by vectors if there are enough, which saves 45 %."""
    number, last, count = out.dtype.type, a.size - 1, WIDE_BYTES // out.itemsize
    if a.size < count:
        for p in range(a.size):
            t = number(a[np.uintp(last - p) if reverse else p]) - k[0]
            out[3 * p] = _affine(t, k[1], k[4])
            out[3 * p + 1] = _affine(t, k[2], k[5])
            out[3 * p + 2] = _affine(t, k[3], k[6])
        return
    for p in range(0, a.size, count):
        q = min(p, a.size - count)
        start = a.size - count - q if reverse else q
        at = 3 * q * out.itemsize
        repeat_vector(a, start * a.itemsize, reverse, out, at, k)


@_kernel
def one_to_three(source, target, numbers, tests, source_layout, target_layout):
    """Compute three bands from one, without guards that change values.

    ``numbers`` holds the black level, three factors, three offsets and the value of
    LIMIT. The source is PLANAR or REVERSED, the target PLANAR or INTERLEAVED. Returns
    whether ``tests``, one of these or 0, reports the values.
    """
    rows, columns = _joined_rows(source, target, tests)
    _, down, step = source.strides
    band, tdown, tstep = target.strides
    reverse = source_layout == MemoryLayout.REVERSED
    planar = target_layout == MemoryLayout.PLANAR
    coefficients = to_fixed_tuple(numbers, 7)
    head = _pixels_to_cache_line(target, columns) if rows == 1 else 0
    # Of the type of the elements, as comparing wider numbers would take longer.
    limit = source.dtype.type(numbers[7])
    highest = limit
    is_reported, may_be_divided, excess = False, tests >= DIVIDED, 0
    # With a head, `edge` starts below 0: the first block has only `head` pixels, and
    # all others start on a cache line.
    for r in range(rows):
        for edge in range(head - BLOCK_PIXELS if head else 0, columns, BLOCK_PIXELS):
            q = max(0, edge)
            n, at = min(edge + BLOCK_PIXELS, columns) - q, r * tdown + q * tstep
            start = r * down + q * step + min(0, (n - 1) * step)
            a = memory(source, start, n, source)
            if reverse or down < 0:
                _prefetch_row(source, start + down, n * source.itemsize)
            if tests == IMPLIED_RANGE and _out_of_range(a):
                return True
            if may_be_divided:
                excess += _excess_of_fractions(a)
                may_be_divided = excess > NOT_DIVIDED // 2
            if planar:
                x = memory(target, at, n, target)
                y = memory(target, at + band, n, target)
                z = memory(target, at + 2 * band, n, target)
                if reverse:
                    _to_planes(a, True, coefficients, x, y, z)
                else:
                    _to_planes(a, False, coefficients, x, y, z)
            else:
                out = memory(target, at, 3 * n, target)
                if reverse:
                    _to_pixels(a, True, coefficients, out)
                else:
                    _to_pixels(a, False, coefficients, out)
            if tests == LIMIT:  # last, when the block is in the cache
                highest = _highest(a, highest)
        if tests == DIVIDED_ROWS:
            is_reported |= may_be_divided and excess >= 0
            may_be_divided, excess = True, 0
    if tests == LIMIT:
        return highest > limit
    return is_reported or (tests == DIVIDED and may_be_divided and excess >= 0)


# Any bands, any strides, with guards


@_helper
def _mark(x, nodata, is_nodata):
    """Mark the pixels that hold nodata, which may be NaN; return whether any does."""
    any_nodata, nodata_is_nan, one = False, np.isnan(nodata), x.dtype.type(1)
    for p in range(x.size):
        same = (x[p] == nodata) | (nodata_is_nan & (x[p] != x[p]))
        any_nodata |= same
        is_nodata[p] = one if same else is_nodata[p]
    return any_nodata


@_helper
def _unite(x, pitch, first_mask, rows, is_nodata):
    """Mark the pixels without data in any band that an output reads.

    ``rows`` are the rows of scratch of these bands, after their number.
    """
    is_nodata[:] = 0
    for k in range(1, rows[0] + 1):
        mask = memory(x, (first_mask + rows[k]) * pitch, is_nodata.size, x)
        for p in range(is_nodata.size):
            is_nodata[p] = max(is_nodata[p], mask[p])


@_helper
def _discard(x, is_nodata):
    """Set nodata to NaN, which no test of values reports."""
    nan = x.dtype.type(np.nan)
    for p in range(x.size):
        x[p] = nan if is_nodata[p] != 0 else x[p]


@_helper
def _guard(x, black, low, high, flags):
    """Clip and subtract the black level."""
    n = x.size
    if flags & CLIP:
        for p in range(n):
            v = low if x[p] < low else x[p]
            x[p] = high if v > high else v
    if black != 0:
        for p in range(n):
            x[p] -= black


@_helper
def _mix(x, pitch, rows, weights, y):
    """Sum weighted rows of ``x``, then an offset, in this order.

    An offset of -0.0 means no offset: it changes no sum, not even the sign of a zero.
    """
    n, count, offset = y.size, rows[0], weights[0]
    if count == 0:
        y[:] = offset
        return
    a, u = memory(x, rows[1] * pitch, n, x), weights[1]
    if count == 1:
        for p in range(n):
            y[p] = a[p] * u + offset
        return
    b, v = memory(x, rows[2] * pitch, n, x), weights[2]
    if count == 2:
        for p in range(n):
            y[p] = a[p] * u + b[p] * v + offset
        return
    c, w = memory(x, rows[3] * pitch, n, x), weights[3]
    if count == 3:
        for p in range(n):
            y[p] = a[p] * u + b[p] * v + c[p] * w + offset
        return
    for p in range(n):
        y[p] = a[p] * u + b[p] * v + c[p] * w
    for k in range(4, count + 1):
        a, u = memory(x, rows[k] * pitch, n, x), weights[k]
        for p in range(n):
            y[p] += a[p] * u
    for p in range(n):
        y[p] += offset


@_helper
def _finish(y, low, high, ties, is_nodata, any_nodata, flags):
    """Set nodata to 0; for an integer target round half to even and saturate."""
    zero = y.dtype.type(0)
    if any_nodata:
        for p in range(y.size):
            y[p] = zero if is_nodata[p] != 0 else y[p]
    if flags & ROUND:
        for p in range(y.size):
            v = zero if y[p] != y[p] else np.rint(y[p] + ties - ties)
            v = low if v < low else v
            y[p] = high if v > high else v


@_kernel
def general(source, target, bands, numbers):
    """Execute any pass; return whether a test reports the values.

    For each block, bands are read into rows of scratch memory, guards and sums run over
    these rows in the cache, and the results are written to the target.

    The first row of ``bands`` holds the flags, then the bands to read; row 1 + i the
    number of terms of output i, then their rows of scratch; the last row which bands
    read have a nodata value. With NODATA all bands are read, those with a factor first.
    The rows of ``numbers``, of the computing type:
    0: unused, then the black levels of the bands read
    1: lowest value of the target, then the lower clip bounds
    2: highest value of the target, then the upper clip bounds
    3: the number that restores ties
    4: nodata of all bands, then of each band read
    5: an unused number, then the limits of the bands read; for DIVIDED, 1 for each band
       that is tested
    6 + i: the offset of output i, then its factors
    """
    output_count, read_count = len(target), numbers.shape[1] - 1
    has_nodata = bands[output_count + 1]
    flags, width = bands[0, 0], numbers.itemsize
    band, down, step = source.strides
    row_count = read_count + output_count + 2
    mask_count = read_count if bands[0, 0] & BAND_NODATA else 0
    row_count += mask_count
    block = SCRATCH_BYTES // (width * row_count + VECTOR_BYTES)
    block = min(GENERAL_PIXELS, block)
    rows, columns, lines, part = _cut(source, target, block, flags)
    tband, tdown, tstep = target.strides
    pitch = block * width
    x = np.empty(block * (row_count + VECTOR_BYTES // width), numbers.dtype)
    # Of the computing type, because vectors of mixed widths compile slowly.
    is_nodata = memory(x, (row_count - 1) * pitch, block, x)
    first_mask = read_count + output_count + 1
    input_count = len(source) if flags & NODATA else read_count
    # Neighbouring bands of interleaved pixels, such as three of thirteen, are read
    # VECTOR_BYTES at a time, which takes 40 % less than element by element.
    neighbours = VECTOR_BYTES // source.itemsize
    stored_pitch = block * source.itemsize
    stored = memory(x, row_count * pitch, neighbours * block, source)
    first, last = len(source) - neighbours, -1
    for k in range(input_count):
        first, last = min(first, bands[0, k + 1]), max(last, bands[0, k + 1])
    are_neighbours = first >= 0 and last < first + neighbours
    reads_vectors = band == source.itemsize and input_count > 1 and are_neighbours
    direct = flags & SAME_DTYPE and tstep == width
    interleaved = output_count == 3 and tband == target.itemsize and tstep == 3 * tband
    # The maximum for LIMIT is part of the loops that read, where it takes no time. Only
    # with nodata must the values be tested later, when nodata are out of the way.
    exceeds_limit, skips_nodata = False, (flags & (NODATA | BAND_NODATA)) != 0
    tests_valid_only = skips_nodata and (flags & LIMIT) != 0
    is_reported, may_be_divided, excess = False, flags >= DIVIDED, 0
    for r in range(0, rows, lines):
        for q in range(0, columns, part):
            across = min(part, columns - q)
            n = min(lines, rows - r) * across
            at = r * tdown + q * tstep
            any_nodata = False
            if flags & NODATA:
                is_nodata[:] = 0
            for k in range(mask_count):
                memory(x, (first_mask + k) * pitch, n, x)[:] = 0
            start = r * down + q * step
            by_vectors = reads_vectors and across >= neighbours
            if by_vectors:
                corner, height = start + first * band, n // across
                _deinterleave(
                    source, corner, down, step, across, height, stored, stored_pitch
                )
            for k in range(input_count):
                row = memory(x, min(k, read_count) * pitch, n, x)
                number = bands[0, k + 1]
                limit = source.dtype.type(numbers[5, min(k + 1, read_count)])
                if by_vectors:
                    at_band = (number - first) * stored_pitch
                    a = memory(stored, at_band, n, stored)
                    highest = _convert(a, row, limit)
                else:
                    origin = start + number * band
                    highest = _read(source, origin, down, step, row, across, limit)
                exceeds_limit |= highest > limit
                if flags & NODATA:
                    any_nodata |= _mark(row, numbers[4, 0], is_nodata)
                elif mask_count > 0 and has_nodata[k + 1] != 0:
                    mask = memory(x, (first_mask + k) * pitch, n, x)
                    any_nodata |= _mark(row, numbers[4, k + 1], mask)
            for k in range(1, read_count + 1):
                row = memory(x, (k - 1) * pitch, n, x)
                if any_nodata:
                    mask = is_nodata
                    if mask_count > 0:
                        mask = memory(x, (first_mask + k - 1) * pitch, n, x)
                    _discard(row, mask)
                if flags & IMPLIED_RANGE:
                    is_reported |= _out_of_range(row)
                if tests_valid_only:
                    is_reported |= _is_above(row, numbers[5, k])
                if may_be_divided and numbers[5, k] == 1:
                    excess += _excess_of_fractions(row)
                    may_be_divided = excess > NOT_DIVIDED // 2
                _guard(row, numbers[0, k], numbers[1, k], numbers[2, k], flags)
            low, high, ties = numbers[1, 0], numbers[2, 0], numbers[3, 0]
            for i in range(output_count):
                row = memory(x, (read_count + 1 + i) * pitch, n, x)
                y = memory(target, i * tband + at, n, x) if direct else row
                _mix(x, pitch, bands[i + 1], numbers[i + 6], y)
                if mask_count > 0 and any_nodata:
                    _unite(x, pitch, first_mask, bands[i + 1], is_nodata)
                _finish(y, low, high, ties, is_nodata, any_nodata, flags)
                if not direct and not interleaved:
                    _write(y, target, i * tband + at, tstep)
            if interleaved:
                a = memory(x, (read_count + 1) * pitch, n, x)
                b = memory(x, (read_count + 2) * pitch, n, x)
                c = memory(x, (read_count + 3) * pitch, n, x)
                _interleave(a, b, c, memory(target, at, 3 * n, target))
        if flags & DIVIDED_ROWS:
            is_reported |= may_be_divided and excess >= 0
            may_be_divided, excess = True, 0
    if flags & LIMIT and not skips_nodata:
        return exceeds_limit
    is_single = (flags & DIVIDED) != 0
    return is_reported or (is_single and may_be_divided and excess >= 0)


# Copies without arithmetic: elements of any dtype are read as unsigned integers


@_helper
def _repeat(source, start, target, at, n):
    """Write ``n`` contiguous elements as three bands of interleaved pixels.

    The last vector overlaps the one before.
    """
    size = target.itemsize
    count = WIDE_BYTES // size
    if n < count:
        a = memory(source, start, n, target)
        _interleave(a, a, a, memory(target, at, 3 * n, target))
        return
    for p in range(0, n, count):
        q = min(p, n - count) * size
        repeat_vector(source, start + q, False, target, at + 3 * q, None)


@_kernel
def copy_bands(source, target, selected, source_layout, target_layout):
    """Copy the bands ``selected`` of ``source`` into ``target``.

    Both hold unsigned integers. The source has any layout; FORTRAN is read slowly.
    """
    straight = source_layout == MemoryLayout.PLANAR
    size = target.itemsize
    band, down, step = source.strides
    tband, tdown, tstep = target.strides
    interleaved = target_layout == MemoryLayout.INTERLEAVED and len(selected) == 3
    equal = interleaved and selected[0] == selected[1] == selected[2]
    block = min(BLOCK_PIXELS, SCRATCH_BYTES // (size * 3))
    rows, columns, lines, part = _cut(source, target, block, 0)
    head = 0
    if straight:  # rows are used where they are, without a copy in scratch
        lines, part = 1, COPIED_BYTES // size
        if interleaved:
            part = max(1, columns)
            head = _pixels_to_cache_line(target, columns) if rows == 1 else 0
    pitch, zero = block * size, source.dtype.type(0)
    x = np.empty(0 if straight else 3 * block, target.dtype)
    for r in range(0, rows, lines):
        for edge in range(head - part if head else 0, columns, part):
            q = max(0, edge)
            across = min(edge + part, columns) - q
            n = min(lines, rows - r) * across
            at = r * tdown + q * tstep
            if straight and tstep == size:
                for i in range(len(selected)):
                    start = selected[i] * band + r * down + q * step
                    if down < 0:
                        _prefetch_row(source, start + down, n * size)
                    copy_bytes(source, start, target, i * tband + at, n * size)
                continue
            a, b, c = memory(x, 0, n, x), memory(x, 0, n, x), memory(x, 0, n, x)
            for i in range(1 if equal else len(selected)):
                start = selected[i] * band + r * down + q * step
                if straight:
                    if down < 0:
                        _prefetch_row(source, start + down, n * size)
                    y = memory(source, start, n, x)
                elif i > 0 and selected[i] == selected[i - 1]:
                    y = c
                else:
                    y = memory(x, i % 3 * pitch, n, x)
                    _read(source, start, down, step, y, across, zero)
                a, b, c = b, c, y
                if not interleaved:
                    _write(y, target, i * tband + at, tstep)
            if equal:
                _repeat(c, 0, target, at, n)
            elif interleaved:
                _interleave(a, b, c, memory(target, at, 3 * n, target))


@_kernel
def transpose(source, out):
    """Copy FORTRAN planes into C order, a square of elements at a time.

    The last squares of a row and of a column overlap those before them.
    """
    band, size, step = source.strides
    bands, rows, columns = source.shape
    n = VECTOR_BYTES // size
    for k in range(bands):
        if rows < n or columns < n:
            for i in range(rows):
                for p in range(columns):
                    out[k, i, p] = source[k, i, p]
            continue
        for i in range(0, rows, n):
            down = min(i, rows - n)
            for p in range(0, columns, n):
                across = min(p, columns - n)
                start = k * band + down * size + across * step
                at = ((k * rows + down) * columns + across) * size
                transpose_square(source, start, step, out, at, columns * size)


@_kernel
def undo_png_filters(coded, pixels, step):
    """Undo the filters of PNG rows, and return whether they have valid numbers.

    PNG specification, third edition, section 9.2. A row of ``coded`` has the number of
    its filter in front. ``step`` is the number of bytes of a pixel.

    The bytes of a pixel are independent of each other, so each is decoded for a whole
    row before the next one. A pixel then waits for little more than one comparison of
    the pixel before. libpng, which branches for each byte, takes 2.4 times as long for
    gray images, and 1.2 times for RGB, for which it has vector instructions.
    """
    rows, columns = pixels.shape
    above = np.zeros(columns, np.uint8)
    for i in range(rows):
        number = coded[i, 0]
        source = coded[i, 1:]
        row = pixels[i]
        if number == 0:
            for p in range(columns):
                row[p] = source[p]
        elif number == 1:
            for first in range(step):
                left = np.int32(0)
                for p in range(first, columns, step):
                    left = (np.int32(source[p]) + left) & np.int32(255)
                    row[p] = left
        elif number == 2:
            for p in range(columns):
                row[p] = source[p] + above[p]
        elif number == 3:
            for first in range(step):
                left = np.int32(0)
                for p in range(first, columns, step):
                    mean = (left + np.int32(above[p])) >> np.int32(1)
                    left = (np.int32(source[p]) + mean) & np.int32(255)
                    row[p] = left
        elif number == 4:
            for first in range(step):
                left = np.int32(0)
                corner = np.int32(0)
                for p in range(first, columns, step):
                    # Of left, top and corner, in this order, the one closest to
                    # left + top - corner. That is the lower of left and top if the
                    # corner is high, the higher one if it is low, else the corner.
                    top = np.int32(above[p])
                    bound = (np.int32(3) * corner - top) - left
                    low = min(left, top)
                    high = max(left, top)
                    predicted = low if high <= bound else corner
                    predicted = high if bound <= low else predicted
                    left = (np.int32(source[p]) + predicted) & np.int32(255)
                    row[p] = left
                    corner = top
        else:
            return False
        above = row
    return True

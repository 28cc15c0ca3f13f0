"""The compiled passes over few bands: three bands of one, three or four, without guards, in one loop over registers.

They are what most images need, and several times as fast as the pass that knows everything: no row of scratch lies
between reading and writing, and sizes are known when they are compiled.
"""
# mypy: ignore-errors
# ruff: noqa: PLR0917

import numba
import numpy as np

from .numba_memory import kernel, memory, part_of_a_kernel
from .numba_rows import PIXELS

UNKNOWN, DONE, STRANGE = 0, 1, 2
"""What a kernel returns: the strides are none that it knows; it is done; values contradict the implied range."""


@part_of_a_kernel
def _lies_as(source, target):
    """Return how many elements apart pixels lie on both sides: 1 in planes, the bands where they interleave, else 0.

    One band that is read from right to left gives -1.
    """
    bands, size, step = len(source), source.itemsize, source.strides[2]
    pace = 1 if step == size else bands if step == bands * size and source.strides[0] == size else 0
    pace = -1 if bands == 1 and step == -size else pace
    size, step = target.itemsize, target.strides[2]
    return pace, 1 if step == size else 3 if step == 3 * size and target.strides[0] == size else 0


@part_of_a_kernel
def _bands(array, origin, band, size):
    """View ``size`` elements from each of three bands on."""
    a, b = memory(array, origin, size, array), memory(array, origin + band, size, array)
    return a, b, memory(array, origin + 2 * band, size, array)


@part_of_a_kernel
def _one_line(source, target):
    """Whether rows follow each other without a gap on both sides."""
    columns, (_, down, step), (_, tdown, tstep) = source.shape[2], source.strides, target.strides
    return down == columns * step and tdown == columns * tstep


@part_of_a_kernel
def _outside(a):
    """Whether a value contradicts the implied range (0, 1)."""
    found = False
    for p in range(a.size):
        found |= (a[p] > 2) | (a[p] < -1)
    return found


@numba.njit(inline="always")
def _to_planes(a, flip, k, x, y, z):
    number, last = x.dtype.type, a.size - 1
    for p in range(a.size):
        t = number(a[np.uintp(last - p) if flip else p]) - k[0]
        x[p], y[p], z[p] = t * k[1] + k[4], t * k[2] + k[5], t * k[3] + k[6]


@numba.njit(inline="always")
def _to_pixels(a, flip, k, out):
    number, last = out.dtype.type, a.size - 1
    for p in range(a.size):
        t = number(a[np.uintp(last - p) if flip else p]) - k[0]
        out[3 * p], out[3 * p + 1], out[3 * p + 2] = t * k[1] + k[4], t * k[2] + k[5], t * k[3] + k[6]


@kernel
def spread(source, target, numbers, implied):
    """Make three bands of one, unguarded but for an ``implied`` range.

    ``numbers`` holds black, then three factors, then three offsets.
    """
    pace, stretch = _lies_as(source, target)
    if pace == 0 or stretch == 0:
        return UNKNOWN
    rows, columns = (1, source[0].size) if _one_line(source, target) else source.shape[1:]
    (_, down, step), (tband, tdown, tstep) = source.strides, target.strides
    k = numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], numbers[5], numbers[6]
    for r in range(rows):
        for q in range(0, columns, PIXELS):
            n, at = min(PIXELS, columns - q), r * tdown + q * tstep
            a = memory(source, r * down + q * step + min(0, (n - 1) * step), n, source)
            x, y, z = _bands(target, at, tband, n)
            out = memory(target, at, 3 * n, target)
            if implied and _outside(a):
                return STRANGE
            if stretch == 1 and pace == 1:
                _to_planes(a, False, k, x, y, z)
            elif stretch == 1:
                _to_planes(a, True, k, x, y, z)
            elif pace == 1:
                _to_pixels(a, False, k, out)
            else:
                _to_pixels(a, True, k, out)
    return DONE


@numba.njit(inline="always")
def _mix(f, g, h, i, k):
    """Return three sums of four weighted values and an offset."""
    f, g, h, i = f - k[0][0], g - k[0][1], h - k[0][2], i - k[0][3]
    x = f * k[1][0] + g * k[1][1] + h * k[1][2] + i * k[1][3] + k[1][4]
    y = f * k[2][0] + g * k[2][1] + h * k[2][2] + i * k[2][3] + k[2][4]
    return x, y, f * k[3][0] + g * k[3][1] + h * k[3][2] + i * k[3][3] + k[3][4]


@part_of_a_kernel
def _plane(a, b, c, d, k, m, y):
    """Sum four weighted planes and an offset into one; three at a time would be too many for vector instructions."""
    number = y.dtype.type
    for p in range(y.size):
        f, g, h, i = number(a[p]) - k[0], number(b[p]) - k[1], number(c[p]) - k[2], number(d[p]) - k[3]
        y[p] = f * m[0] + g * m[1] + h * m[2] + i * m[3] + m[4]


@numba.njit(inline="always")
def _planes(a, b, c, d, pace, k, x, y, z):
    """Mix interleaved bands, ``pace`` elements a pixel, into planes."""
    number = x.dtype.type
    for p in range(x.size):
        q = pace * p
        x[p], y[p], z[p] = _mix(number(a[q]), number(b[q]), number(c[q]), number(d[q]), k)


@numba.njit(inline="always")
def _pixels(a, b, c, d, pace, k, out):
    """Mix bands, ``pace`` elements a pixel, into interleaved bands."""
    number = out.dtype.type
    for p in range(out.size // 3):
        q = pace * p
        out[3 * p], out[3 * p + 1], out[3 * p + 2] = _mix(number(a[q]), number(b[q]), number(c[q]), number(d[q]), k)


@part_of_a_kernel
def _row(numbers, i):
    return numbers[i, 0], numbers[i, 1], numbers[i, 2], numbers[i, 3], numbers[i, 4]


@kernel
def blend(source, target, numbers):
    """Make three bands of three or four, unguarded.

    ``numbers`` holds [black levels], then per output [factors, offset], four of each: a third band stands for the
    fourth where there is none. Every factor counts, so the source holds neither NaN nor infinity where one is 0.
    """
    pace, stretch = _lies_as(source, target)
    if pace == 0 or stretch == 0:
        return UNKNOWN
    rows, columns = (1, source[0].size) if _one_line(source, target) else source.shape[1:]
    size, band, four = source.itemsize, source.strides[0], len(source) == 4
    k = _row(numbers, 0), _row(numbers, 1), _row(numbers, 2), _row(numbers, 3)
    for r in range(rows):
        origin, at = r * source.strides[1], r * target.strides[1]
        span = max(0, (columns - 1) * pace + 1)
        a, b, c = _bands(source, origin, size, span)
        d = memory(source, origin + 3 * size, span, source)
        if pace == 1:
            a, b, c = _bands(source, origin, band, columns)
            d = memory(source, origin + 3 * band, columns, source) if four else c
        x, y, z = _bands(target, at, target.strides[0], columns)
        out = memory(target, at, 3 * columns, target)
        if stretch == 1 and pace == 1:
            _plane(a, b, c, d, k[0], k[1], x)
            _plane(a, b, c, d, k[0], k[2], y)
            _plane(a, b, c, d, k[0], k[3], z)
        elif stretch == 1 and four:
            _planes(a, b, c, d, 4, k, x, y, z)
        elif stretch == 1:
            _planes(a, b, c, c, 3, k, x, y, z)
        elif pace == 1:
            _pixels(a, b, c, d, 1, k, out)
        elif four:
            _pixels(a, b, c, d, 4, k, out)
        else:
            _pixels(a, b, c, c, 3, k, out)
    return DONE

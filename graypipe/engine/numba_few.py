"""The compiled passes over few bands: three bands of one, three or four, without guards.

They are what most images need, and several times as fast as the pass that knows everything: sizes are known when they
are compiled, and little or nothing lies between reading and writing.
"""
# mypy: ignore-errors
# ruff: noqa: C901, PLR0912, PLR0917

import numba
import numpy as np

from .numba_memory import kernel, memory, part_of_a_kernel, stack
from .numba_rows import PIXELS, expect, leading

UNKNOWN, DONE, STRANGE = 0, 1, 2
"""What a kernel returns: the strides are none that it knows; it is done; values contradict the implied range."""

SPARE = 1024
"""Pixels whose bands, as numbers, fit the first-level cache beside what is written."""


@part_of_a_kernel
def _lies_as(source, target):
    """Return how many elements apart pixels lie on both sides: 1 in planes, the bands where they interleave, else 0.

    One band that is read from right to left gives -1.
    """
    bands, size, step = len(source), source.itemsize, source.strides[2]
    pace = (
        1
        if step == size
        else bands
        if step == bands * size and source.strides[0] == size
        else 0
    )
    pace = -1 if bands == 1 and step == -size else pace
    size, step = target.itemsize, target.strides[2]
    return pace, 1 if step == size else 3 if step == 3 * size and target.strides[
        0
    ] == size else 0


@part_of_a_kernel
def _bands(array, origin, band, size):
    """View ``size`` elements from each of three bands on."""
    a, b = memory(array, origin, size, array), memory(array, origin + band, size, array)
    return a, b, memory(array, origin + 2 * band, size, array)


@part_of_a_kernel
def _one_line(source, target):
    """Whether rows follow each other without a gap on both sides."""
    columns, (_, down, step), (_, tdown, tstep) = (
        source.shape[2],
        source.strides,
        target.strides,
    )
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
        out[3 * p], out[3 * p + 1], out[3 * p + 2] = (
            t * k[1] + k[4],
            t * k[2] + k[5],
            t * k[3] + k[6],
        )


@kernel
def spread(source, target, numbers, implied):
    """Make three bands of one, unguarded but for an ``implied`` range.

    ``numbers`` holds black, then three factors, then three offsets.
    """
    pace, stretch = _lies_as(source, target)
    if pace == 0 or stretch == 0:
        return UNKNOWN
    rows, columns = (
        (1, source[0].size) if _one_line(source, target) else source.shape[1:]
    )
    (_, down, step), (tband, tdown, tstep) = source.strides, target.strides
    head = leading(target, columns) if rows == 1 else 0
    k = (
        numbers[0],
        numbers[1],
        numbers[2],
        numbers[3],
        numbers[4],
        numbers[5],
        numbers[6],
    )
    for r in range(rows):
        if rows > 1:
            expect(source, (r + 1) * down, step, columns)
        for edge in range(head - PIXELS if head else 0, columns, PIXELS):
            q = max(0, edge)
            n, at = min(edge + PIXELS, columns) - q, r * tdown + q * tstep
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
def _level(row, pace, black, x):
    """Convert a band, ``pace`` elements a pixel, and take its black level off."""
    number = x.dtype.type
    for p in range(x.size):
        x[p] = number(row[pace * p]) - black


@numba.njit(inline="always")
def _mix(four, a, b, c, d, m):
    """Return the sum of three or ``four`` weighted values and an offset."""
    return (
        a * m[0] + b * m[1] + c * m[2] + d * m[3] + m[4]
        if four
        else a * m[0] + b * m[1] + c * m[2] + m[4]
    )


@numba.njit(inline="always")
def _plane(four, a, b, c, d, m, y):
    for p in range(y.size):
        y[p] = _mix(four, a[p], b[p], c[p], d[p], m)


@numba.njit(inline="always")
def _pixels(four, a, b, c, d, k, out):
    for p in range(a.size):
        out[3 * p] = _mix(four, a[p], b[p], c[p], d[p], k[0])
        out[3 * p + 1] = _mix(four, a[p], b[p], c[p], d[p], k[1])
        out[3 * p + 2] = _mix(four, a[p], b[p], c[p], d[p], k[2])


@part_of_a_kernel
def _row(numbers, i):
    return numbers[i, 0], numbers[i, 1], numbers[i, 2], numbers[i, 3], numbers[i, 4]


@kernel
def blend(source, target, numbers):
    """Make three bands of three or four, unguarded.

    ``numbers`` holds [black levels], then per output [factors, offset], four of each: the last is not read where there
    are three. Every other factor counts, so the source holds neither NaN nor infinity where one is 0.

    The bands of some pixels become numbers on the stack first: of memory that overlaps nothing else, and lies a pixel
    an element, the compiler makes vector instructions in every loop.
    """
    pace, stretch = _lies_as(source, target)
    if pace == 0 or stretch == 0:
        return UNKNOWN
    rows, columns = (
        (1, source[0].size) if _one_line(source, target) else source.shape[1:]
    )
    (band, down, step), (tband, tdown, tstep) = source.strides, target.strides
    bands, k = len(source), (_row(numbers, 1), _row(numbers, 2), _row(numbers, 3))
    x, pitch = stack(target), SPARE * target.itemsize
    for r in range(rows):
        for q in range(0, columns, SPARE):
            n, at = min(SPARE, columns - q), r * tdown + q * tstep
            for j in range(bands):
                if q == 0 and (j == 0 or pace == 1):
                    expect(source, j * band + (r + 1) * down, step, columns)
                row = memory(
                    source, j * band + r * down + q * step, pace * (n - 1) + 1, source
                )
                y, black = memory(x, j * pitch, n, x), numbers[0, j]
                if pace == 1:
                    _level(row, 1, black, y)
                elif bands == 3:
                    _level(row, 3, black, y)
                else:
                    _level(row, 4, black, y)
            (a, b, c), d = _bands(x, 0, pitch, n), memory(x, 3 * pitch, n, x)
            out = memory(target, at, 3 * n, target)
            if stretch == 3 and bands == 4:
                _pixels(True, a, b, c, d, k, out)
            elif stretch == 3:
                _pixels(False, a, b, c, d, k, out)
            else:
                for i in range(3):
                    y = memory(target, i * tband + at, n, target)
                    if bands == 4:
                        _plane(True, a, b, c, d, k[i], y)
                    else:
                        _plane(False, a, b, c, d, k[i], y)
    return DONE

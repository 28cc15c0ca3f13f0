"""The compiled pass: whatever the layouts and guards, each pixel is read once into the cache and written once.

A pass walks over blocks of pixels. The bands it reads are converted into rows of scratch, one kind of stride a loop, so
that the compiler makes vector instructions of it; guards and sums then run over rows in the first-level cache, and what
they give is written where it belongs. Arrays are typed by their elements alone: coefficients, sizes and strides are
run-time values, so nothing is compiled per plan, layout or shape.

No flag relaxes arithmetic, so a pixel's result depends on nothing but the pixel.
"""
# mypy: ignore-errors
# ruff: noqa: C901, PLR0917
# numba infers types from arguments; every call here is paid in compile time, so a loop a case beats a function a case

import numpy as np

from .numba_memory import SCRATCH, kernel, memory, part_of_a_kernel, stack
from .numba_rows import PIXELS, leading, read, walk, weave, write

MOST_ROWS = 256
"""Most bands read and written by one pass; more would leave blocks of a few pixels."""

CLIP, IMPLIED, NODATA, ROUND, SAME = 1, 2, 4, 8, 16
"""Flags of a pass. SAME: the target holds elements of the computing type."""


@part_of_a_kernel
def _mark(x, nodata, empty):
    """Mark the pixels that hold nodata, which may be NaN; return whether there are any."""
    found, absent = False, np.isnan(nodata)
    if absent:
        for p in range(x.size):
            found |= x[p] != x[p]
    else:
        for p in range(x.size):
            found |= x[p] == nodata
    if found:
        for p in range(x.size):
            empty[p] |= (x[p] == nodata) | (absent & (x[p] != x[p]))
    return found


@part_of_a_kernel
def _guard(x, black, low, high, empty, holes, flags):
    """Take nodata out of a row, test an implied range, clip and subtract black; return whether the test failed."""
    n, zero, strange = x.size, x.dtype.type(0), False
    if holes:
        for p in range(n):
            x[p] = zero if empty[p] else x[p]
    if flags & IMPLIED:
        for p in range(n):
            strange |= (x[p] > 2) | (x[p] < -1)
    if flags & CLIP:
        for p in range(n):
            v = low if x[p] < low else x[p]
            x[p] = high if v > high else v
    if black != 0:
        for p in range(n):
            x[p] -= black
    return strange


@part_of_a_kernel
def _mix(x, pitch, rows, weights, y):
    """Sum weighted rows of ``x`` and an offset, in this order, one rounding an operation; an offset -0.0 is none."""
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


@part_of_a_kernel
def _finish(y, low, high, ties, empty, holes, flags):
    """Give nodata its 0, and values for an integer target its rounding: half to even, saturated, NaN to 0."""
    zero = y.dtype.type(0)
    if holes:
        for p in range(y.size):
            y[p] = zero if empty[p] else y[p]
    if flags & ROUND:
        for p in range(y.size):
            v = zero if y[p] != y[p] else np.rint(y[p] + ties - ties)
            v = low if v < low else v
            y[p] = high if v > high else v


@kernel
def affine(source, target, bands, numbers):
    """Execute a pass on (bands, rows, columns); return whether values contradict the implied range.

    ``bands`` holds [flags, bands to read], then per output [count of terms, their rows of scratch]; ``numbers``, of the
    computing type, holds [nodata, black levels], [least, lower bounds], [greatest, upper bounds], [what restores
    ties], then per output [offset, factors]. With NODATA the bands to read are all bands, those that count first.
    """
    outs, reads, flags, width = (
        len(target),
        numbers.shape[1] - 1,
        bands[0, 0],
        numbers.itemsize,
    )
    block = min(PIXELS, SCRATCH // (width * (reads + outs + 2)))
    rows, columns, part, lines = walk(source, target, block)
    band, down, step = source.strides
    tband, tdown, tstep = target.strides
    x, pitch = stack(numbers), block * width
    empty = memory(x, (reads + outs + 1) * pitch, block, np.empty(0, np.uint8))
    direct = flags & SAME and tstep == width
    woven = outs == 3 and tband == target.itemsize and tstep == 3 * tband
    strange, head = False, leading(target, columns) if rows == 1 else 0
    for r in range(0, rows, lines):
        for edge in range(head - part if head else 0, columns, part):
            q = max(0, edge)
            across = min(edge + part, columns) - q
            n = min(lines, rows - r) * across
            at = r * tdown + q * tstep
            holes = False
            if flags & NODATA:
                empty[:] = 0
            for k in range(len(source) if flags & NODATA else reads):
                row = memory(x, min(k, reads) * pitch, n, x)
                read(
                    source,
                    bands[0, k + 1] * band + r * down + q * step,
                    down,
                    step,
                    row,
                    across,
                )
                if flags & NODATA:
                    holes |= _mark(row, numbers[0, 0], empty)
            for k in range(1, reads + 1):
                row = memory(x, (k - 1) * pitch, n, x)
                strange |= _guard(
                    row,
                    numbers[0, k],
                    numbers[1, k],
                    numbers[2, k],
                    empty,
                    holes,
                    flags,
                )
            for i in range(outs):
                row = memory(x, (reads + 1 + i) * pitch, n, x)
                y = memory(target, i * tband + at, n, x) if direct else row
                _mix(x, pitch, bands[i + 1], numbers[i + 4], y)
                _finish(
                    y, numbers[1, 0], numbers[2, 0], numbers[3, 0], empty, holes, flags
                )
                if not direct and not woven:
                    write(y, target, i * tband + at, tstep)
            if woven:
                a = memory(x, (reads + 1) * pitch, n, x)
                b = memory(x, (reads + 2) * pitch, n, x)
                c = memory(x, (reads + 3) * pitch, n, x)
                weave(a, b, c, memory(target, at, 3 * n, target))
    return strange

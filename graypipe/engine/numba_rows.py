"""Rows: how kernels cut an image into blocks, and read and write the pixels of one."""
# mypy: ignore-errors
# ruff: noqa: C901, PLR0912, PLR0917

import numpy as np

from .numba_memory import CACHE_LINE, memory, part_of_a_kernel, prefetch

PIXELS = 4096
"""Most pixels in a block: a row of float32 fills 16 KiB, a fraction of the first-level cache."""

THIRD = 43
"""Times 3, this leaves 1 when divided by the bytes of a cache line, or by 32 or 16."""


@part_of_a_kernel
def walk(source, target, block):
    """Return (rows, columns, columns of a block, rows of a block): a block is one run of pixels in the target."""
    rows, columns = target.shape[1:]
    whole = rows == 1 or target.strides[1] == columns * target.strides[2]
    if whole and (rows == 1 or source.strides[1] == columns * source.strides[2]):
        rows, columns = 1, rows * columns
    across = max(1, min(block, columns))
    return rows, columns, across, max(1, min(rows, block // across)) if whole else 1


@part_of_a_kernel
def leading(target, columns):
    """Return how many of many pixels come before one that starts a cache line: stores across lines cost double."""
    step, size = target.strides[2], target.itemsize
    if columns < 2 * PIXELS or (step != size and step != 3 * size):
        return 0
    elements = -(target.ctypes.data // size) % (CACHE_LINE // size)
    return elements if step == size else elements * THIRD % (CACHE_LINE // size)


@part_of_a_kernel
def expect(source, origin, step, columns):
    """Ask for a short row that is read next: of rows that do not follow each other, processors foresee too little."""
    length = abs(step) * columns
    if length <= PIXELS:
        first = origin + min(0, step * (columns - 1))
        for line in range(0, length, CACHE_LINE):
            prefetch(source, first + line)


@part_of_a_kernel
def read(source, origin, down, step, out, across):
    """Convert rows of ``across`` pixels, ``step`` bytes apart, rows ``down`` bytes apart, into contiguous ``out``."""
    size, last = source.itemsize, across - 1
    pace = step // size if step % size == 0 else 0
    for i in range(out.size // across):
        start = origin + i * down
        if out.size > across:
            expect(source, start + down, step, across)
        row = memory(source, start + min(0, step * last), abs(pace) * last + 1, source)
        x = memory(out, i * across * out.itemsize, across, out)
        if pace == 1:
            for p in range(across):
                x[p] = row[p]
        elif pace == 2:
            for p in range(across):
                x[p] = row[2 * p]
        elif pace == 3:
            for p in range(across):
                x[p] = row[3 * p]
        elif pace == 4:
            for p in range(across):
                x[p] = row[4 * p]
        elif pace == -1:
            for p in range(across):
                x[p] = row[np.uintp(last - p)]
        elif pace == -3:
            for p in range(across):
                x[p] = row[np.uintp(3 * (last - p))]
        else:
            for p in range(across):
                x[p] = memory(source, start + p * step, 1, source)[0]


@part_of_a_kernel
def write(y, target, origin, step):
    """Cast a row into pixels ``step`` bytes apart."""
    if step == target.itemsize:
        out = memory(target, origin, y.size, target)
        for p in range(y.size):
            out[p] = y[p]
    else:
        for p in range(y.size):
            memory(target, origin + p * step, 1, target)[0] = y[p]


@part_of_a_kernel
def weave(a, b, c, out):
    """Cast three rows into three bands of interleaved pixels."""
    for p in range(a.size):
        out[3 * p] = a[p]
        out[3 * p + 1] = b[p]
        out[3 * p + 2] = c[p]

"""The compiled moves: elements change places and keep every bit, so any of them is an unsigned integer here."""
# mypy: ignore-errors
# ruff: noqa: C901, PLR0917

import numba
import numpy as np

from .numba_memory import SCRATCH, kernel, memory, part_of_a_kernel, stack
from .numba_rows import PIXELS, leading, read, walk, weave, write

ONES, TWOS, FOURS = np.uint64(0x00FF00FF00FF00FF), np.uint64(0x0000FFFF0000FFFF), np.uint64(0x00000000FFFFFFFF)
BITS = (np.uint64(8), np.uint64(16), np.uint64(32))
"""Every second byte, pair and four of bytes, and the bits of each."""


@part_of_a_kernel
def _repeat(a, out):
    """Write one row as three bands of interleaved pixels."""
    for p in range(a.size):
        out[3 * p] = a[p]
        out[3 * p + 1] = a[p]
        out[3 * p + 2] = a[p]


@kernel
def move(source, target, picks):
    """Copy the bands ``picks`` of (bands, rows, columns) into ``target``; any element is an unsigned integer here."""
    size = target.itemsize
    band, down, step = source.strides
    tband, tdown, tstep = target.strides
    woven = len(picks) == 3 and tband == size and tstep == 3 * size
    straight = woven and step == size
    block = min(PIXELS, SCRATCH // (size * 4))
    rows, columns, part, lines = walk(source, target, block)
    head = leading(target, columns) if rows == 1 else 0
    if straight:
        part, lines = columns, 1
    x, pitch = stack(target), block * size
    for r in range(0, rows, lines):
        for edge in range(head - part if head else 0, columns, part):
            q = max(0, edge)
            across = min(edge + part, columns) - q
            n = min(lines, rows - r) * across
            at = r * tdown + q * tstep
            spare = memory(x, 3 * pitch, n, x)
            a, b, c = spare, spare, spare
            for i in range(len(picks)):
                origin = picks[i] * band + r * down + q * step
                y = memory(target, i * tband + at, n, x) if tstep == size else memory(x, i % 3 * pitch, n, x)
                again = i > 0 and picks[i] == picks[i - 1]
                if straight:
                    y = memory(source, origin, n, x)
                elif again and tstep == size:
                    for p in range(n):
                        y[p] = c[p]
                elif again:
                    y = c
                else:
                    read(source, origin, down, step, y, spare, across)
                a, b, c = b, c, y
                if not woven and tstep != size:
                    write(y, target, i * tband + at, tstep)
            if woven and picks[0] == picks[1] == picks[2]:
                _repeat(c, memory(target, at, 3 * n, target))
            elif woven:
                weave(a, b, c, memory(target, at, 3 * n, target))


@part_of_a_kernel
def _column(source, origin, rows, out, at, columns):
    """Copy one column of ``rows`` contiguous elements into ``out``, a pixel a row."""
    column = memory(source, origin, rows, source)
    for i in range(rows):
        out[at + i * columns] = column[i]


@part_of_a_kernel
def _columns(source, origin, step, rows, out, at, columns):
    """Copy four columns at once: a row takes four neighbouring pixels at a time."""
    a, b = memory(source, origin, rows, source), memory(source, origin + step, rows, source)
    c, d = memory(source, origin + 2 * step, rows, source), memory(source, origin + 3 * step, rows, source)
    for i in range(rows):
        out[at] = a[i]
        out[at + 1] = b[i]
        out[at + 2] = c[i]
        out[at + 3] = d[i]
        at += columns


@numba.njit(inline="always")
def _swap(a, b, mask, shift):
    """Exchange the masked bytes of ``b`` and those that lie ``shift`` bits higher in ``a``."""
    changed = ((a >> shift) ^ b) & mask
    return a ^ (changed << shift), b ^ changed


@part_of_a_kernel
def _eight_by_eight(source, origin, step, out, at, columns, word):
    """Turn 8 columns of 8 bytes into rows, in registers: bytes, then pairs, then fours change places."""
    a, b = memory(source, origin, 1, word)[0], memory(source, origin + step, 1, word)[0]
    c, d = memory(source, origin + 2 * step, 1, word)[0], memory(source, origin + 3 * step, 1, word)[0]
    e, f = memory(source, origin + 4 * step, 1, word)[0], memory(source, origin + 5 * step, 1, word)[0]
    g, h = memory(source, origin + 6 * step, 1, word)[0], memory(source, origin + 7 * step, 1, word)[0]
    (a, b), (c, d) = _swap(a, b, ONES, BITS[0]), _swap(c, d, ONES, BITS[0])
    (e, f), (g, h) = _swap(e, f, ONES, BITS[0]), _swap(g, h, ONES, BITS[0])
    (a, c), (b, d) = _swap(a, c, TWOS, BITS[1]), _swap(b, d, TWOS, BITS[1])
    (e, g), (f, h) = _swap(e, g, TWOS, BITS[1]), _swap(f, h, TWOS, BITS[1])
    (a, e), (b, f) = _swap(a, e, FOURS, BITS[2]), _swap(b, f, FOURS, BITS[2])
    (c, g), (d, h) = _swap(c, g, FOURS, BITS[2]), _swap(d, h, FOURS, BITS[2])
    memory(out, at, 1, word)[0], memory(out, at + columns, 1, word)[0] = a, b
    memory(out, at + 2 * columns, 1, word)[0], memory(out, at + 3 * columns, 1, word)[0] = c, d
    memory(out, at + 4 * columns, 1, word)[0], memory(out, at + 5 * columns, 1, word)[0] = e, f
    memory(out, at + 6 * columns, 1, word)[0], memory(out, at + 7 * columns, 1, word)[0] = g, h


@kernel
def turn(source, out):
    """Copy (bands, rows, columns) whose columns are contiguous into C order, reading down the columns as they lie."""
    band, size, step = source.strides[0], source.itemsize, source.strides[2]
    bands, rows, columns = source.shape
    word, fours = np.empty(0, np.uint64), columns - columns % 4
    eights, above = (columns - columns % 8, rows - rows % 8) if size == 1 else (0, 0)
    for k in range(bands):
        for i in range(0, above, 8):
            for p in range(0, eights, 8):
                at = (k * rows + i) * columns + p
                _eight_by_eight(source, k * band + p * step + i * size, step, out, at, columns, word)
        plane = memory(out, k * rows * columns * size, rows * columns, out)
        for p in range(0, fours, 4):
            first = above if p < eights else 0
            origin = k * band + p * step + first * size
            _columns(source, origin, step, rows - first, plane, first * columns + p, columns)
        for p in range(fours, columns):
            _column(source, k * band + p * step, rows, plane, p, columns)

"""The compiled moves: elements change places and keep every bit, so any of them is an unsigned integer here."""
# mypy: ignore-errors
# ruff: noqa: C901, PLR0912

from .numba_memory import (
    SCRATCH,
    copy,
    kernel,
    memory,
    part_of_a_kernel,
    prefetch,
    stack,
)
from .numba_rows import PIXELS, expect, leading, read, walk, weave, write
from .numba_vectors import VECTOR, WIDE, square, thrice

PIECE = 4096
"""Bytes of a band copied at a time: the other bands made of it find them in the first-level cache."""

WHOLE = 3 * 2**20
"""Bytes of a run of pixels from which on it is copied whole: the streaming stores of `memcpy` pay more then."""


@part_of_a_kernel
def _repeat(source, origin, target, at, n):
    """Write ``n`` contiguous elements as three bands of interleaved pixels; the last vector overlaps the one before."""
    size = target.itemsize
    count = WIDE // size
    if n < count:
        a = memory(source, origin, n, target)
        weave(a, a, a, memory(target, at, 3 * n, target))
    else:
        for p in range(0, n, count):
            q = min(p, n - count) * size
            thrice(source, origin + q, target, at + 3 * q)


@part_of_a_kernel
def _repeat_rows(source, origin, target, rows, columns):
    """Write one band whose pixels are contiguous as three bands of interleaved pixels."""
    size, down, tdown = target.itemsize, source.strides[1], target.strides[1]
    head = leading(target, columns) if rows == 1 else 0
    for r in range(rows):
        expect(source, origin + (r + 1) * down, size, columns)
        if head:
            _repeat(source, origin, target, 0, head)
        _repeat(
            source,
            origin + r * down + head * size,
            target,
            r * tdown + 3 * head * size,
            columns - head,
        )


@part_of_a_kernel
def _copy_planes(source, target, picks, rows, columns):
    """Copy bands whose pixels are contiguous on both sides."""
    size, (band, down, _), (tband, tdown, _) = (
        target.itemsize,
        source.strides,
        target.strides,
    )
    length = columns * size
    piece = PIECE if length < WHOLE else length
    for r in range(rows):
        expect(source, picks[0] * band + (r + 1) * down, size, columns)
        for q in range(0, length, piece):
            n = min(piece, length - q)
            for i in range(len(picks)):
                copy(
                    source,
                    picks[i] * band + r * down + q,
                    target,
                    i * tband + r * tdown + q,
                    n,
                )


@kernel
def move(source, target, picks):
    """Copy the bands ``picks`` of (bands, rows, columns) into ``target``; any element is an unsigned integer here.

    False, and nothing done, where columns are contiguous: `turn` comes first then.
    """
    size = target.itemsize
    (band, down, step), (tband, tdown, tstep) = source.strides, target.strides
    if step != size and down == size and source.shape[1] > 1 and source.size > 0:
        return False
    block = min(PIXELS, SCRATCH // (size * 3))
    rows, columns, part, lines = walk(source, target, block)
    if step == size == tstep:
        _copy_planes(source, target, picks, rows, columns)
        return True
    woven = len(picks) == 3 and tband == size and tstep == 3 * size
    equal = woven and picks[0] == picks[1] == picks[2]
    straight = woven and step == size
    if equal and straight:
        _repeat_rows(source, picks[0] * band, target, rows, columns)
        return True
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
            a, b, c = memory(x, 0, n, x), memory(x, 0, n, x), memory(x, 0, n, x)
            for i in range(len(picks)):
                origin = picks[i] * band + r * down + q * step
                y = memory(x, i % 3 * pitch, n, x)
                if straight:
                    y = memory(source, origin, n, x)
                elif i > 0 and picks[i] == picks[i - 1]:
                    y = c
                else:
                    read(source, origin, down, step, y, across)
                a, b, c = b, c, y
                if tstep == size:
                    copy(y, 0, target, i * tband + at, n * size)
                elif not woven:
                    write(y, target, i * tband + at, tstep)
            if straight:
                expect(source, picks[0] * band + (r + 1) * down, step, columns)
            if equal:
                _repeat(c, 0, target, at, n)
            elif woven:
                weave(a, b, c, memory(target, at, 3 * n, target))
    return True


@kernel
def turn(source, out):
    """Copy (bands, rows, columns) whose columns are contiguous into C order, a square of elements at a time.

    The last squares of a row and of a column overlap those before them.
    """
    (band, size, step), (bands, rows, columns) = source.strides, source.shape
    n = VECTOR // size
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
                at = ((k * rows + down) * columns + across) * size
                if i == 0:
                    for c in range(n):
                        prefetch(source, k * band + rows * size + (across + c) * step)
                square(
                    source,
                    k * band + down * size + across * step,
                    step,
                    out,
                    at,
                    columns * size,
                )

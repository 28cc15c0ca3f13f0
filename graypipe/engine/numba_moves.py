"""The compiled moves: elements change places and keep every bit, so any of them is an unsigned integer here."""
# mypy: ignore-errors
# ruff: noqa: C901, PLR0917

from .numba_memory import SCRATCH, kernel, memory, part_of_a_kernel, stack
from .numba_rows import PIXELS, leading, read, walk, weave, write


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


@kernel
def turn(source, out):
    """Copy (bands, rows, columns) whose columns are contiguous into C order, reading down the columns as they lie."""
    band, size, step = source.strides[0], source.itemsize, source.strides[2]
    bands, rows, columns = source.shape
    fours = columns - columns % 4
    for k in range(bands):
        plane = memory(out, k * rows * columns * size, rows * columns, out)
        for p in range(0, fours, 4):
            _columns(source, k * band + p * step, step, rows, plane, p, columns)
        for p in range(fours, columns):
            _column(source, k * band + p * step, rows, plane, p, columns)

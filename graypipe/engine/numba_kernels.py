"""The compiled passes: whatever the layouts, each pixel is read once into the cache and written once.

A pass walks over blocks of pixels. The bands it reads are converted into rows of scratch, one kind of stride a loop, so
that the compiler makes vector instructions of it; guards and sums then run over rows in the first-level cache, and what
they give is written where it belongs. Arrays are typed by their elements alone: coefficients, sizes and strides are
run-time values, so nothing is compiled per plan, layout or shape.

No flag relaxes arithmetic, so a pixel's result depends on nothing but the pixel. All compiled code stands in this one
file, since numba trusts what it kept on disk until the file of the kernel changes.
"""
# mypy: ignore-errors
# ruff: noqa: C901, PLR0912, PLR0917
# numba infers types from arguments; every call here is paid in compile time, so a loop a case beats a function a case

import numba
import numpy as np
from numba.core import cgutils, types
from numba.extending import intrinsic
from numba.np.arrayobj import make_array, populate_array

PIXELS = 4096
"""Most pixels in a block: a row of float32 fills 16 KiB, a fraction of the first-level cache."""

SCRATCH = 80 * 1024
"""Bytes of stack that the rows of a block share."""

LINE, THIRD = 64, 43
"""Bytes of a cache line, and a number that times 3 leaves 1 when divided by it."""

MOST_ROWS = 256
"""Most bands read and written by one pass; more would leave blocks of a few pixels."""

CLIP, IMPLIED, NODATA, ROUND, SAME, PLAIN = 1, 2, 4, 8, 16, 32
"""Flags of a pass. SAME: the target holds elements of the computing type. PLAIN: one term a band, no guard after it."""

part_of_a_kernel = numba.njit(no_cpython_wrapper=True, no_cfunc_wrapper=True)


def kernel(function):
    """Compile ``function`` on demand and keep the machine code on disk, or in memory where no place is writable."""
    try:
        return numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:
        return numba.njit(nogil=True)(function)


def _view(context, builder, flat, data, size):
    """Emit a contiguous array struct of ``size`` elements at ``data`` that owns nothing."""
    view = make_array(flat)(context, builder)
    width = context.get_constant(types.intp, context.get_abi_sizeof(context.get_data_type(flat.dtype)))
    shape, strides = cgutils.pack_array(builder, [size]), cgutils.pack_array(builder, [width])
    populate_array(view, data=data, shape=shape, strides=strides, itemsize=width, meminfo=None)
    return view._getvalue()


@intrinsic
def _memory(typing, array, offset, size, like):  # noqa: ARG001
    """View ``size`` contiguous elements of the type of ``like``, ``offset`` bytes into ``array``, aligned or not."""
    flat = types.Array(like.dtype, 1, "C", aligned=False)

    def emit(context, builder, signature, arguments):
        origin = make_array(signature.args[0])(context, builder, arguments[0]).data
        pointer = context.get_data_type(flat.dtype).as_pointer()
        return _view(context, builder, flat, cgutils.pointer_add(builder, origin, arguments[1], pointer), arguments[2])

    return flat(array, types.intp, types.intp, like), emit


@intrinsic
def _stack(typing, like):  # noqa: ARG001
    """Reserve SCRATCH bytes of the caller's stack as elements of the type of ``like``."""
    flat = types.Array(like.dtype, 1, "C", aligned=False)

    def emit(context, builder, signature, arguments):  # noqa: ARG001
        element = context.get_data_type(flat.dtype)
        size = context.get_constant(types.intp, SCRATCH // context.get_abi_sizeof(element))
        memory = cgutils.alloca_once(builder, element, size=size)
        memory.align = LINE
        return _view(context, builder, flat, memory, size)

    return flat(like), emit


@part_of_a_kernel
def _walk(source, target, block):
    """Return (rows, columns, columns of a block, rows of a block): a block is one run of pixels in the target."""
    rows, columns = target.shape[1:]
    whole = rows == 1 or target.strides[1] == columns * target.strides[2]
    if whole and (rows == 1 or source.strides[1] == columns * source.strides[2]):
        rows, columns = 1, rows * columns
    across = max(1, min(block, columns))
    return rows, columns, across, max(1, min(rows, block // across)) if whole else 1


@part_of_a_kernel
def _head(target, columns):
    """Return how many of many pixels come before one that starts a cache line: stores across lines cost double."""
    step, size = target.strides[2], target.itemsize
    if columns < 2 * PIXELS or (step != size and step != 3 * size):
        return 0
    elements = -(target.ctypes.data // size) % (LINE // size)
    return elements if step == size else elements * THIRD % (LINE // size)


@part_of_a_kernel
def _read(source, origin, down, step, out, spare, across):
    """Convert rows of ``across`` pixels, ``step`` bytes apart, rows ``down`` bytes apart, into contiguous ``out``."""
    width, last = out.itemsize, across - 1
    into = spare if step < 0 else out
    first, size = origin + min(0, step * last), source.itemsize
    pace = abs(step) // size if abs(step) % size == 0 and abs(step) <= 4 * size else 0
    for i in range(out.size // across):
        row = _memory(source, first + i * down, pace * last + 1, source)
        x = _memory(into, i * across * width, across, out)
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
        else:
            for p in range(across):
                x[p] = _memory(source, first + i * down + p * abs(step), 1, source)[0]
        if step < 0:
            backwards, z = x[::-1], _memory(out, i * across * width, across, out)
            for p in range(across):
                z[p] = backwards[p]


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
    a, u = _memory(x, rows[1] * pitch, n, x), weights[1]
    if count == 1:
        for p in range(n):
            y[p] = a[p] * u + offset
        return
    b, v = _memory(x, rows[2] * pitch, n, x), weights[2]
    if count == 2:
        for p in range(n):
            y[p] = a[p] * u + b[p] * v + offset
        return
    c, w = _memory(x, rows[3] * pitch, n, x), weights[3]
    if count == 3:
        for p in range(n):
            y[p] = a[p] * u + b[p] * v + c[p] * w + offset
        return
    for p in range(n):
        y[p] = a[p] * u + b[p] * v + c[p] * w
    for k in range(4, count + 1):
        a, u = _memory(x, rows[k] * pitch, n, x), weights[k]
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


@part_of_a_kernel
def _write(y, target, origin, step):
    """Cast a row into pixels ``step`` bytes apart."""
    if step == target.itemsize:
        out = _memory(target, origin, y.size, target)
        for p in range(y.size):
            out[p] = y[p]
    else:
        for p in range(y.size):
            _memory(target, origin + p * step, 1, target)[0] = y[p]


@part_of_a_kernel
def _interleave(a, b, c, u, v, w, r, s, t, out):
    """Write three rows, each times a factor plus an offset, as three bands of interleaved pixels."""
    for p in range(a.size):
        out[3 * p] = a[p] * u + r
        out[3 * p + 1] = b[p] * v + s
        out[3 * p + 2] = c[p] * w + t


@kernel
def affine(source, target, bands, numbers):
    """Execute a pass on (bands, rows, columns); return whether values contradict the implied range.

    ``bands`` holds [flags, bands to read], then per output [count of terms, their rows of scratch]; ``numbers``, of the
    computing type, holds [nodata, black levels], [least, lower bounds], [greatest, upper bounds], [what restores
    ties], then per output [offset, factors]. With NODATA the bands to read are all bands, those that count first.
    """
    outs, reads, flags, width = len(target), numbers.shape[1] - 1, bands[0, 0], numbers.itemsize
    block = min(PIXELS, SCRATCH // (width * (reads + outs + 3)))
    rows, columns, part, lines = _walk(source, target, block)
    band, down, step = source.strides
    tband, tdown, tstep = target.strides
    x, pitch = _stack(numbers), block * width
    empty = _memory(x, (reads + outs + 2) * pitch, block, np.empty(0, np.uint8))
    direct = flags & SAME and tstep == width
    woven = outs == 3 and tband == target.itemsize and tstep == 3 * tband
    plain = woven and flags & PLAIN
    strange, head = False, _head(target, columns) if rows == 1 else 0
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
                row = _memory(x, min(k, reads) * pitch, n, x)
                spare = _memory(x, (reads + 1) * pitch, n, x)
                _read(source, bands[0, k + 1] * band + r * down + q * step, down, step, row, spare, across)
                if flags & NODATA:
                    holes |= _mark(row, numbers[0, 0], empty)
            for k in range(1, reads + 1):
                row = _memory(x, (k - 1) * pitch, n, x)
                strange |= _guard(row, numbers[0, k], numbers[1, k], numbers[2, k], empty, holes, flags)
            for i in range(0 if plain else outs):
                row = _memory(x, (reads + 2 + i) * pitch, n, x)
                y = _memory(target, i * tband + at, n, x) if direct else row
                _mix(x, pitch, bands[i + 1], numbers[i + 4], y)
                _finish(y, numbers[1, 0], numbers[2, 0], numbers[3, 0], empty, holes, flags)
                if not direct and not woven:
                    _write(y, target, i * tband + at, tstep)
            if woven:
                a = _memory(x, (bands[1, 1] if plain else reads + 2) * pitch, n, x)
                b = _memory(x, (bands[2, 1] if plain else reads + 3) * pitch, n, x)
                c = _memory(x, (bands[3, 1] if plain else reads + 4) * pitch, n, x)
                u, v, w = numbers.dtype.type(1), numbers.dtype.type(1), numbers.dtype.type(1)
                e, f, g = numbers.dtype.type(-0.0), numbers.dtype.type(-0.0), numbers.dtype.type(-0.0)
                if plain:
                    u, v, w = numbers[4, 1], numbers[5, 1], numbers[6, 1]
                    e, f, g = numbers[4, 0], numbers[5, 0], numbers[6, 0]
                _interleave(a, b, c, u, v, w, e, f, g, _memory(target, at, 3 * n, target))
    return strange


@part_of_a_kernel
def _weave(a, b, c, out):
    """Write three rows as three bands of interleaved pixels."""
    for p in range(a.size):
        out[3 * p] = a[p]
        out[3 * p + 1] = b[p]
        out[3 * p + 2] = c[p]


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
    rows, columns, part, lines = _walk(source, target, block)
    head = _head(target, columns) if rows == 1 else 0
    if straight:
        part, lines = columns, 1
    x, pitch = _stack(target), block * size
    for r in range(0, rows, lines):
        for edge in range(head - part if head else 0, columns, part):
            q = max(0, edge)
            across = min(edge + part, columns) - q
            n = min(lines, rows - r) * across
            at = r * tdown + q * tstep
            spare = _memory(x, 3 * pitch, n, x)
            a, b, c = spare, spare, spare
            for i in range(len(picks)):
                origin = picks[i] * band + r * down + q * step
                y = _memory(target, i * tband + at, n, x) if tstep == size else _memory(x, i % 3 * pitch, n, x)
                again = i > 0 and picks[i] == picks[i - 1]
                if straight:
                    y = _memory(source, origin, n, x)
                elif again and tstep == size:
                    for p in range(n):
                        y[p] = c[p]
                elif again:
                    y = c
                else:
                    _read(source, origin, down, step, y, spare, across)
                a, b, c = b, c, y
                if not woven and tstep != size:
                    _write(y, target, i * tband + at, tstep)
            if woven and picks[0] == picks[1] == picks[2]:
                _repeat(c, _memory(target, at, 3 * n, target))
            elif woven:
                _weave(a, b, c, _memory(target, at, 3 * n, target))


@part_of_a_kernel
def _column(source, origin, rows, out, at, columns):
    """Copy one column of ``rows`` contiguous elements into ``out``, a pixel a row."""
    column = _memory(source, origin, rows, source)
    for i in range(rows):
        out[at + i * columns] = column[i]


@part_of_a_kernel
def _columns(source, origin, step, rows, out, at, columns):
    """Copy four columns at once: a row takes four neighbouring pixels at a time."""
    a, b = _memory(source, origin, rows, source), _memory(source, origin + step, rows, source)
    c, d = _memory(source, origin + 2 * step, rows, source), _memory(source, origin + 3 * step, rows, source)
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
        plane = _memory(out, k * rows * columns * size, rows * columns, out)
        for p in range(0, fours, 4):
            _columns(source, k * band + p * step, step, rows, plane, p, columns)
        for p in range(fours, columns):
            _column(source, k * band + p * step, rows, plane, p, columns)
